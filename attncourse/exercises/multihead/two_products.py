"""Checker: the two products of matrices by which a head's weights act, and what follows from them."""

import torch

from attncourse.exercises._exercise import Exercise, Mistake, Property, call_part, normal


def _blocks(matrix, n_heads, dim):
    return torch.stack(matrix.chunk(n_heads, dim=dim))


def _score_form(query_proj, key_proj, n_heads, scale=lambda d_model, d_head: d_head**-0.5):
    query, key = _blocks(query_proj, n_heads, 1), _blocks(key_proj, n_heads, 1)
    return query @ key.transpose(-2, -1) * scale(len(query_proj), query.shape[-1])


def _turned_keys(key_proj, turn):
    return torch.linalg.solve(turn, key_proj.T).T


def _one_head(value_proj, output_proj, n_heads):
    return sum(
        v @ o for v, o in zip(value_proj.chunk(n_heads, 1), output_proj.chunk(n_heads, 0), strict=True)
    )


def _ranks(d_model, d_memory, n_heads, d_head):
    return min(d_model, d_memory, d_head), min(d_model, d_memory, n_heads * d_head)


def _properties(rng):
    def double(*shape):
        return normal(rng, *shape, dtype=torch.float64)

    def form(n_heads, d_head, d_model=6, d_memory=5):
        inputs = double(d_model, n_heads * d_head), double(d_memory, n_heads * d_head)
        return dict(
            zip(("part", "query_proj", "key_proj", "n_heads"), ("score_form", *inputs, n_heads), strict=True)
        )

    def keys(d_head):
        turn = torch.eye(d_head, dtype=torch.float64) * 2 + 0.5 * double(d_head, d_head)
        return {"part": "turned_keys", "key_proj": double(5, d_head), "turn": turn}

    def one(n_heads, d_value, d_model=6):
        value_proj, output_proj = double(5, n_heads * d_value), double(n_heads * d_value, d_model)
        return {"part": "one_head", "value_proj": value_proj, "output_proj": output_proj, "n_heads": n_heads}

    def sizes(*numbers):
        return {"part": "ranks"} | dict(
            zip(("d_model", "d_memory", "n_heads", "d_head"), numbers, strict=True)
        )

    some = rng.integers(2, 30, size=(4, 4)).tolist()
    return [
        Property('part "score_form", one head', [form(1, 4)], 1),
        Property('part "score_form", several heads', [form(3, 2), form(2, 4, 7, 9)], 2),
        Property('part "turned_keys"', [keys(3), keys(4)], 3),
        Property('part "one_head"', [one(3, 2), one(2, 5, 8)], 2),
        Property(
            'part "ranks"',
            [
                sizes(64, 48, 8, 8),
                sizes(8, 9, 2, 12),
                sizes(9, 8, 4, 12),
                sizes(20, 30, 3, 5),
                *(sizes(*n) for n in some),
            ],
            2,
        ),
    ]


def _interleaved(query_proj, key_proj, n_heads):
    query, key = (torch.stack([one[:, r::n_heads] for r in range(n_heads)]) for one in (query_proj, key_proj))
    return query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5


def _viewed(query_proj, key_proj, n_heads):
    query, key = (one.reshape(n_heads, len(one), -1) for one in (query_proj, key_proj))
    return query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5


def _mean_first(value_proj, output_proj, n_heads):
    return sum(value_proj.chunk(n_heads, 1)) / n_heads @ sum(output_proj.chunk(n_heads, 0))


EXERCISE = Exercise(
    reference={
        "score_form": _score_form,
        "turned_keys": _turned_keys,
        "one_head": _one_head,
        "ranks": _ranks,
    },
    properties=_properties,
    run=call_part,
    mistakes=[
        Mistake(
            "a form without scale",
            "The factor by which the scores are scaled is missing; it belongs into the matrix.",
            {"score_form": lambda q, k, n: _score_form(q, k, n, scale=lambda d_model, d_head: 1.0)},
        ),
        Mistake(
            "root of d_model",
            "The matrix is scaled by the root of d_model; a head scales its scores by the root of d_head.",
            {"score_form": lambda q, k, n: _score_form(q, k, n, scale=lambda d_model, d_head: d_model**-0.5)},
            see=(7, "All heads in one tensor"),
        ),
        Mistake(
            "key before query",
            "The matrix stands the wrong way round: its rows belong to the memory and its columns to the "
            "queries.",
            {"score_form": lambda q, k, n: _score_form(q, k, n).transpose(-2, -1)},
        ),
        Mistake(
            "one matrix for all heads",
            "There is one matrix, the sum over the heads; every head has its own scores.",
            {"score_form": lambda q, k, n: _score_form(q, k, n).sum(dim=0)},
        ),
        Mistake(
            "heads dealt out like cards",
            "A head was given every n_heads-th column of the projections; it has a run of neighbouring ones.",
            {"score_form": _interleaved},
            see=(7, "The bug that trains"),
        ),
        Mistake(
            "heads by a view",
            "The projections were read in a new shape, so a head got some rows with all of their columns; "
            "it has all rows and a run of columns.",
            {"score_form": _viewed},
            see=(7, "The bug that trains"),
        ),
        Mistake(
            "the keys turned in the same way",
            "The keys were multiplied by the same matrix as the queries. That leaves the scores as they are "
            "only if the "
            "matrix is orthogonal, as a rotation is.",
            {"turned_keys": lambda key_proj, turn: key_proj @ turn},
        ),
        Mistake(
            "the inverse without the transpose",
            "The inverse is right; but the keys enter the scores transposed, and so must what is done to "
            "them.",
            {"turned_keys": lambda key_proj, turn: key_proj @ torch.linalg.inv(turn)},
        ),
        Mistake(
            "the transpose without the inverse",
            "With the transposed matrix the scores hold the product of the matrix with itself, which is not "
            "the identity.",
            {"turned_keys": lambda key_proj, turn: key_proj @ turn.T},
        ),
        Mistake(
            "the new keys transposed",
            "This is the transpose: in the matrix asked for, each row belongs to a feature of the memory.",
            {"turned_keys": lambda key_proj, turn: _turned_keys(key_proj, turn).T},
        ),
        Mistake(
            "one matrix for each head",
            "Each head's product is right, but the layer adds the terms of the heads, and C is one matrix.",
            {"one_head": lambda v, o, n: _blocks(v, n, 1) @ _blocks(o, n, 0)},
        ),
        Mistake(
            "a product of sums",
            "Value and output matrices were added up over the heads before they were multiplied, so that "
            "every head's "
            "values also meet the output rows of all others.",
            {"one_head": _mean_first},
        ),
        Mistake(
            "ranks of d_head",
            "Each head's term has no more than d_head independent directions, but different heads may use "
            "different ones.",
            {
                "ranks": lambda d_model, d_memory, n_heads, d_head: (
                    (_ranks(d_model, d_memory, 1, d_head)[0],) * 2
                )
            },
        ),
        Mistake(
            "ranks that forget the matrix",
            "A rank is never larger than the number of rows or of columns of the matrix.",
            {"ranks": lambda d_model, d_memory, n_heads, d_head: (d_head, n_heads * d_head)},
        ),
        Mistake(
            "ranks that forget the memory",
            "The memory may have fewer features than the model, and no product has a larger rank than that.",
            {
                "ranks": lambda d_model, d_memory, n_heads, d_head: (
                    min(d_model, d_head),
                    min(d_model, n_heads * d_head),
                )
            },
        ),
    ],
    see=(7, "Several attentions, one after the other"),
    variants={
        "in one product": {
            "score_form": lambda q, k, n: (
                torch.einsum("ihf,jhf->hij", q.unflatten(1, (n, -1)), k.unflatten(1, (n, -1)))
                / (q.shape[1] // n) ** 0.5
            ),
            "turned_keys": lambda key_proj, turn: key_proj @ torch.linalg.inv(turn).T,
            "one_head": lambda v, o, n: v @ o,
            "ranks": _ranks,
        }
    },
)
