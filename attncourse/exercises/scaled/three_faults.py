"""Checker: an attention function with three faults, mended."""

import math

import torch
from torch.nn import functional as F

from attncourse.attention import scaled_dot_product_attention
from attncourse.exercises._exercise import Exercise, Mistake, Property, normal


def _run(answer, inputs):
    """Return the output, and with dropout in training also that without."""
    query, key, value, mask, dropout, training = inputs.values()
    output = answer(query, key, value, mask, dropout, training)
    if not (training and dropout):
        return output
    return {"in training": output, "outside": answer(query, key, value, mask, dropout, False)}


def _reading(output, inputs):
    # Say of two outputs, with dropout and without, what does not depend on which weights fell.
    if not (inputs["training"] and inputs["dropout"]):
        return output
    # The values are two identities side by side: the output is the weights, twice.
    dropped, whole = output["in training"], output["outside"]
    wanted = (*inputs["query"].shape[:-1], inputs["value"].shape[-1])
    if not all(isinstance(one, torch.Tensor) and tuple(one.shape) == wanted for one in (dropped, whole)):
        raise ValueError(f"the output must be a tensor of shape {wanted}")
    fallen, ratio = dropped == 0, dropped / whole
    away = abs(fallen.float().mean().item() - inputs["dropout"])
    kept = torch.zeros(1) if fallen.all() else ratio[~fallen]
    return {
        "whether the share of dropped weights is near the probability": away < 0.06,
        "whether whole weights are dropped": torch.equal(*dropped.chunk(2, dim=-1)),
        "whether all other weights grow alike": (kept.max() - kept.min()).item() < 1e-3,
        "the smallest growth of the other weights": round(kept.min().item(), 3),
    }


def _inputs(rng, batch, n_queries, n_keys, d_head, *, hide=True, **options):
    mask = torch.ones(batch, 1, n_keys, dtype=torch.bool)
    if hide:
        mask = torch.from_numpy(rng.random((batch, n_queries, n_keys)) < 0.6)
        mask[..., 0] = True
    shapes = ((batch, n_queries, d_head), (batch, n_keys, d_head), (batch, n_keys, 3))
    query, key, value = (normal(rng, *shape) for shape in shapes)
    return {
        "query": query,
        "key": key,
        "value": value,
        "mask": mask,
        "dropout": 0.0,
        "training": False,
    } | options


def _properties(rng):
    empty = _inputs(rng, 2, 3, 6, 6)
    empty["mask"][1, 2] = False
    dropping = _inputs(rng, 2, 200, 5, 5, hide=False, dropout=0.3, training=True)
    dropping["value"] = torch.eye(5).repeat(1, 2).expand(2, 5, 10).contiguous()
    return [
        Property("as many keys as entries of a key", [_inputs(rng, 2, 3, 6, 6)], 1),
        Property(
            "more keys, or fewer", [_inputs(rng, 2, 3, 11, 5), _inputs(rng, 2, 4, 3, 13, training=True)], 2
        ),
        Property("a query that sees nothing", [empty], 2),
        Property("dropout outside training", [_inputs(rng, 2, 3, 6, 6, dropout=0.5)], 2),
        Property("dropout in training", [dropping], 1),
    ]


def _attend(*, size=lambda q, k, v: q.shape[-1], weigh=None, drop=None, after=None):
    """Return the mended function, with one step exchanged."""

    def attend(query, key, value, mask, dropout, training):
        scores = query @ key.transpose(-2, -1) / math.sqrt(size(query, key, value))
        if weigh is None:
            weights = scores.masked_fill(~mask, -math.inf).softmax(dim=-1).masked_fill(~mask, 0.0)
        else:
            weights = weigh(scores, mask)
        weights = F.dropout(weights, dropout, training) if drop is None else drop(weights, dropout, training)
        return weights @ value if after is None else after(weights @ value, dropout, training)

    return attend


def _reference(query, key, value, mask, dropout, training):
    return scaled_dot_product_attention(query, key, value, mask, dropout=dropout if training else 0.0)


def _uniform(scores, mask):
    return scores.masked_fill(~mask, -1e9).softmax(dim=-1)


def _keep(weights, dropout, training):
    return weights


def _thin(weights, dropout, training):
    return weights * (torch.rand(weights.shape) >= dropout) if training else weights


def _share_again(weights, dropout, training):
    thinned = _thin(weights, dropout, training)
    return thinned / thinned.sum(dim=-1, keepdim=True).clamp_min(1e-30)


def _scores_dropped(query, key, value, mask, dropout, training):
    scores = F.dropout(query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1]), dropout, training)
    return scores.masked_fill(~mask, -math.inf).softmax(dim=-1).masked_fill(~mask, 0.0) @ value


def _one_minus(weights, dropout, training):
    return F.dropout(weights, 1 - dropout, training)


def _always(weights, dropout, training):
    return F.dropout(weights, dropout)


def _by_hand(weights, dropout, training):
    return _thin(weights, dropout, training) / (1 - dropout) if training else weights


def _keys(query, key, value):
    return key.shape[-2]


EMPTY, DROPOUT = (4, "A row with nothing to attend to"), (4, "Dropout on the weights")

EXERCISE = Exercise(
    reference=_reference,
    run=_run,
    reading=_reading,
    properties=_properties,
    mistakes=[
        Mistake(
            "as it was given",
            "All three faults are still there. Each of the failed checks points to one of them.",
            _attend(size=_keys, weigh=_uniform, drop=_always),
        ),
        Mistake(
            "root of the number of keys",
            "The scale still depends on how many keys there are; the longer the sequence, the more even "
            "its weights.",
            _attend(size=_keys),
            see=(4, "Why the square root"),
        ),
        Mistake(
            "root of the number of queries",
            "The scale now depends on how many queries there are: a query would get other weights in "
            "other company.",
            _attend(size=lambda query, key, value: query.shape[-2]),
            see=(4, "Why the square root"),
        ),
        Mistake(
            "root of the size of a value",
            "The scale depends on the values, which take no part in a score.",
            _attend(size=lambda query, key, value: value.shape[-1]),
            see=(4, "Why the square root"),
        ),
        Mistake(
            "no scale",
            "The wrong divisor is gone, and no other has taken its place.",
            _attend(size=lambda query, key, value: 1),
            see=(4, "Why the square root"),
        ),
        Mistake(
            "an empty row attends to everything",
            "A query that sees nothing still shares its weight evenly among hidden keys: their scores "
            "are all equal.",
            _attend(weigh=_uniform),
            see=EMPTY,
        ),
        Mistake(
            "an empty row is NaN",
            "With minus infinity alone, a query that sees nothing divides zero by zero.",
            _attend(weigh=lambda scores, mask: scores.masked_fill(~mask, -math.inf).softmax(dim=-1)),
            see=EMPTY,
        ),
        Mistake(
            "dropout in evaluation",
            "Weights are dropped outside training too, so two calls with equal inputs give different "
            "outputs.",
            _attend(drop=_always),
            see=DROPOUT,
        ),
        Mistake(
            "no dropout",
            "Nothing is dropped any more, not even in training.",
            _attend(drop=_keep),
            see=DROPOUT,
        ),
        Mistake(
            "dropout on the scores",
            "A dropped score is 0, which is a score like any other; it is the weight that must become 0.",
            _scores_dropped,
            see=DROPOUT,
        ),
        Mistake(
            "dropout on the output",
            "Single numbers of the output are dropped, where whole weights should be.",
            _attend(drop=_keep, after=lambda output, dropout, training: F.dropout(output, dropout, training)),
            see=DROPOUT,
        ),
        Mistake(
            "the kept weights do not grow",
            "Weights are dropped and the others left as they are, so outputs are smaller in training "
            "than afterwards.",
            _attend(drop=_thin),
            see=DROPOUT,
        ),
        Mistake(
            "normalised again after dropout",
            "The rows are made to sum to 1 again. Dropout keeps the mean of every weight; its rows sum "
            "to 1 on average only.",
            _attend(drop=_share_again),
            see=DROPOUT,
        ),
        Mistake(
            "probability of keeping",
            "The share that should fall is kept, and the rest falls.",
            _attend(drop=_one_minus),
            see=DROPOUT,
        ),
    ],
    see=(4, "Tests that find the mistakes"),
    variants={"dropout by hand": _attend(drop=_by_hand)},
)
