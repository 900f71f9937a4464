"""Checker: additive scores of all pairs at once."""

import torch

from attncourse.exercises._exercise import Exercise, Mistake, Property, normal
from attncourse.scores import AdditiveScore


def _reference(query, key, query_matrix, key_matrix, bias, readout):
    score = AdditiveScore(query.shape[-1], key.shape[-1], len(readout)).to(query.dtype)
    with torch.no_grad():
        score.query_proj.weight.copy_(query_matrix.T)
        score.key_proj.weight.copy_(key_matrix.T)
        score.key_proj.bias.copy_(bias)
        score.readout.weight.copy_(readout.unsqueeze(0))
        return score(query, key)


def _properties(rng):
    def inputs(*front, n_queries=3, n_keys=5, size=1.0, dtype=torch.float32):
        d_query, d_key, d_hidden = 4, 6, 8
        shapes = (
            (*front, n_queries, d_query),
            (*front, n_keys, d_key),
            (d_query, d_hidden),
            (d_key, d_hidden),
        )
        made = [normal(rng, *shape, dtype=dtype) for shape in (*shapes, (d_hidden,), (d_hidden,))]
        names = ("query", "key", "query_matrix", "key_matrix", "bias", "readout")
        return dict(
            zip(names, [size * made[0], size * made[1], made[2] / 2, made[3] / 2, *made[4:]], strict=True)
        )

    return [
        Property("one query and one key", [inputs(n_queries=1, n_keys=1)], 1),
        Property("several queries and keys", [inputs(), inputs(n_queries=5)], 2),
        Property("a batch", [inputs(2), inputs(5, n_queries=5)], 1),
        Property("several axes in front", [inputs(2, 4)], 1),
        Property("large inputs", [inputs(2, size=4.0)], 1),
        Property("double precision", [inputs(2, dtype=torch.float64)], 1),
    ]


def _sums(query, key, query_matrix, key_matrix):
    return (query @ query_matrix).unsqueeze(-2) + (key @ key_matrix).unsqueeze(-3)


def _like_this(inside, outside=lambda scores: scores):
    """Return a version from what stands around the readout: inside the sum over hidden units, and outside."""

    def scores(query, key, query_matrix, key_matrix, bias, readout):
        hidden = inside(_sums(query, key, query_matrix, key_matrix), bias)
        return outside(hidden @ readout)

    return scores


def _tanh_on_keys(query, key, query_matrix, key_matrix, bias, readout):
    hidden = (query @ query_matrix).unsqueeze(-2) + torch.tanh(key @ key_matrix + bias).unsqueeze(-3)
    return hidden @ readout


def _tanh_on_each(query, key, query_matrix, key_matrix, bias, readout):
    hidden = torch.tanh(query @ query_matrix).unsqueeze(-2) + torch.tanh(key @ key_matrix + bias).unsqueeze(
        -3
    )
    return hidden @ readout


def _keys_first(query, key, query_matrix, key_matrix, bias, readout):
    return _reference(query, key, query_matrix, key_matrix, bias, readout).transpose(-2, -1)


def _axes_at(query_axis, key_axis):
    """Return a version that puts the new axes at fixed places counted from the front, or nowhere."""

    def scores(query, key, query_matrix, key_matrix, bias, readout):
        queries, keys = query @ query_matrix, key @ key_matrix
        queries = queries if query_axis is None else queries.unsqueeze(query_axis)
        keys = keys if key_axis is None else keys.unsqueeze(key_axis)
        return torch.tanh(queries + keys + bias) @ readout

    return scores


def _weights(*inputs):
    return _reference(*inputs).softmax(dim=-1)


def _concatenated(query, key, query_matrix, key_matrix, bias, readout):
    n_queries, n_keys = query.shape[-2], key.shape[-2]
    queries = query.unsqueeze(-2).expand(*query.shape[:-1], n_keys, query.shape[-1])
    keys = key.unsqueeze(-3).expand(*key.shape[:-2], n_queries, n_keys, key.shape[-1])
    both = torch.cat([queries, keys], dim=-1)
    return torch.tanh(both @ torch.cat([query_matrix, key_matrix]) + bias) @ readout


EXERCISE = Exercise(
    reference=_reference,
    properties=_properties,
    mistakes=[
        Mistake(
            "no tanh",
            "Without the tanh a score is a term of the query plus a term of the key; a softmax over the "
            "keys drops the query's term, so that every query gets the same weights.",
            _like_this(lambda sums, bias: sums + bias),
            (3, "Common mistakes"),
        ),
        Mistake(
            "tanh around the key alone",
            "The tanh is closed too early: the query is added outside it and drops out of the softmax.",
            _tanh_on_keys,
            (3, "Common mistakes"),
        ),
        Mistake(
            "a tanh for each",
            "Query and key each get a tanh of their own before they are added, so they never meet inside "
            "one; the query drops out of the softmax.",
            _tanh_on_each,
        ),
        Mistake(
            "tanh outside",
            "The tanh acts on the finished score. All scores then lie between -1 and 1, and every query "
            "ranks the keys alike.",
            _like_this(lambda sums, bias: sums + bias, torch.tanh),
        ),
        Mistake(
            "bias left out",
            "The bias is missing. Then the score is odd: it turns its sign when query and key turn theirs.",
            _like_this(lambda sums, bias: torch.tanh(sums)),
            (3, "Why the additive score needs a bias"),
        ),
        Mistake(
            "bias twice",
            "The bias is added twice, to query and key; the formula has it once.",
            _like_this(lambda sums, bias: torch.tanh(sums + 2 * bias)),
        ),
        Mistake(
            "bias outside the tanh",
            "The bias is added behind the tanh. There it adds the same number to every score, and changes "
            "no weight.",
            _like_this(lambda sums, bias: torch.tanh(sums) + bias),
        ),
        Mistake(
            "keys as rows",
            "The scores stand with a row for every key. Rows belong to queries.",
            _keys_first,
        ),
        Mistake(
            "two axes only",
            "It works for one memory and for no batch: the new axes are counted from the front, where the "
            "batch stands.",
            _axes_at(1, 0),
        ),
        Mistake(
            "a batch only",
            "It works with exactly one axis in front: the new axes are counted from the front, and there "
            "may be none, or several.",
            _axes_at(2, 1),
        ),
        Mistake(
            "no axis for the pairs",
            "Queries and keys are added as they are, the first to the first, the second to the second; that "
            "needs as many of each, and compares no other pairs.",
            _axes_at(None, None),
        ),
        Mistake(
            "weights instead of scores",
            "This returns the weights; the softmax is not part of a score.",
            _weights,
        ),
    ],
    see=(3, "Additive: a small network"),
    variants={"concatenated": _concatenated},
)
