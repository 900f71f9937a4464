"""Checker: weights whose keys were reshaped and whose softmax ran over the queries."""

import torch

from attncourse.exercises._exercise import Exercise, Mistake, Property, normal
from attncourse.scores import ScaledDotScore


def _reference(query, key):
    return ScaledDotScore()(query, key).softmax(dim=-1)


def _like_this(*, reshaped=False, over=-1, root=lambda key: key.shape[-1] ** 0.5):
    def weights(query, key):
        turned = key.reshape(key.shape[0], key.shape[2], key.shape[1]) if reshaped else key.transpose(1, 2)
        return (query @ turned / root(key)).softmax(dim=over)

    return weights


def _root_too_late(query, key):
    return (query @ key.transpose(1, 2)).softmax(dim=-1) / key.shape[-1] ** 0.5


def _keys_as_queries(query, key):
    return (key @ query.transpose(1, 2) / key.shape[-1] ** 0.5).softmax(dim=-1)


def _by_einsum(query, key):
    return torch.einsum("bqd,bkd->bqk", query, key).div(key.shape[-1] ** 0.5).softmax(dim=2)


def _properties(rng):
    def inputs(batch, n_queries, n_keys, d):
        return {"query": normal(rng, batch, n_queries, d), "key": normal(rng, batch, n_keys, d)}

    return [
        Property("vectors of one number", [inputs(2, 1, 4, 1)], 1),
        Property("one query", [inputs(2, 1, 5, 3)], 1),
        Property("as many queries as keys", [inputs(2, 4, 4, 3), inputs(3, 5, 5, 5)], 2),
        Property("more keys than queries", [inputs(2, 3, 7, 5), inputs(1, 2, 6, 11)], 2),
    ]


EXERCISE = Exercise(
    reference=_reference,
    properties=_properties,
    mistakes=[
        Mistake("nothing mended", "Both faults are still there.", _like_this(reshaped=True, over=1)),
        Mistake(
            "only the keys mended",
            "One fault is left: the columns of the weights sum to 1, and the rows do not.",
            _like_this(over=1),
        ),
        Mistake(
            "only the axis mended",
            "One fault is left: put the keys in another order, and the weights do not follow.",
            _like_this(reshaped=True),
        ),
        Mistake(
            "softmax over the batch",
            "The softmax now runs over the batch, so that the memories of a batch share each weight.",
            _like_this(over=0),
        ),
        Mistake(
            "the root changed as well",
            "The root was right. It now counts the keys instead of the size of a vector.",
            _like_this(root=lambda key: key.shape[-2] ** 0.5),
            (3, "Dot product, plain and scaled"),
        ),
        Mistake(
            "the root dropped",
            "The root was right, and it is gone: the weights are sharper than they should be.",
            _like_this(root=lambda key: 1.0),
            (3, "Dot product, plain and scaled"),
        ),
        Mistake(
            "keys as rows",
            "There is a row of weights for every key, which says how the key is shared among the queries. "
            "Every query needs a row of its own.",
            _keys_as_queries,
        ),
        Mistake(
            "the root behind the softmax",
            "The weights are divided by the root, and not the scores: the rows no longer sum to 1.",
            _root_too_late,
            (3, "Dot product, plain and scaled"),
        ),
    ],
    see=(3, "Common mistakes"),
    variants={"by einsum": _by_einsum},
)
