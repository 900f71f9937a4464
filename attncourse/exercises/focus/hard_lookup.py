"""Checker: the hard limit of attention, with ties and a mask."""

import numpy as np

from attncourse.exercises._exercise import Exercise, Mistake, Property


def _share(best, value):
    count = best.sum(axis=-1, keepdims=True)
    return best / np.where(count == 0, 1, count) @ value


def _lookup(query, key, value, mask):
    scores = np.where(mask, query @ key.T, -np.inf)
    return _share(mask & (scores == scores.max(axis=-1, keepdims=True)), value)


def _by_loops(query, key, value, mask):
    output = np.zeros((len(query), value.shape[1]))
    for i, row in enumerate(query):
        visible = [j for j in range(len(key)) if mask[i, j]]
        scores = {j: sum(float(a) * float(b) for a, b in zip(row, key[j], strict=True)) for j in visible}
        best = [j for j in visible if scores[j] == max(scores.values())]
        output[i] = sum((value[j] for j in best), np.zeros(value.shape[1])) / max(len(best), 1)
    return output


def _first_of_the_best(query, key, value, mask):
    scores = np.where(mask, query @ key.T, -np.inf)
    return value[scores.argmax(axis=-1)] * mask.any(axis=-1, keepdims=True)


def _sees_everything(query, key, value, mask):
    return _lookup(query, key, value, np.ones_like(mask))


def _hidden_scores_zero(query, key, value, mask):
    scores = (query @ key.T) * mask
    return _share(scores == scores.max(axis=-1, keepdims=True), value)


def _adds_ties(query, key, value, mask):
    scores = np.where(mask, query @ key.T, -np.inf)
    return (mask & (scores == scores.max(axis=-1, keepdims=True))).astype(float) @ value


def _mean_for_an_empty_row(query, key, value, mask):
    scores = np.where(mask, query @ key.T, -np.inf)
    return _share(scores == scores.max(axis=-1, keepdims=True), value)


def _nan_for_an_empty_row(query, key, value, mask):
    with np.errstate(invalid="ignore"):
        best = mask & (query @ key.T == np.where(mask, query @ key.T, -np.inf).max(axis=-1, keepdims=True))
        return best / best.sum(axis=-1, keepdims=True) @ value


def _nearest(query, key, value, mask):
    distance = np.where(mask, ((query[:, None] - key[None]) ** 2).sum(axis=-1), np.inf)
    return _share(mask & (distance == distance.min(axis=-1, keepdims=True)), value)


def _hidden_zero_then_masked(query, key, value, mask):
    scores = (query @ key.T) * mask
    return _share(mask & (scores == scores.max(axis=-1, keepdims=True)), value)


def _one_best_for_all(query, key, value, mask):
    scores = np.where(mask, query @ key.T, -np.inf)
    return _share(mask & (scores == scores.max()), value)


def _nearly_equal(query, key, value, mask):
    scores = np.where(mask, query @ key.T, -np.inf)
    return _share(mask & np.isclose(scores, scores.max(axis=-1, keepdims=True)), value)


def _best_query_of_each_key(query, key, value, mask):
    scores = np.where(mask, query @ key.T, -np.inf)
    return _share(mask & (scores == scores.max(axis=0, keepdims=True)), value)


def _whole_numbers(rng, *shape):
    return rng.integers(-3, 4, size=shape).astype(float)


def _properties(rng):
    def inputs(mask, draw=_whole_numbers):
        n_queries, n_keys = mask.shape
        return {
            "query": draw(rng, n_queries, 3),
            "key": draw(rng, n_keys, 3),
            "value": rng.normal(size=(n_keys, 2)),
            "mask": mask,
        }

    def normal(rng, *shape):
        return rng.normal(size=shape)

    some = rng.random((5, 7)) < 0.5
    some[:, 2] = True
    everything = np.ones((6, 7), dtype=bool)
    tied = inputs(everything)
    tied["key"][5:] = tied["key"][:2]  # every best key among these has a twin
    tied["query"] = 10 * tied["key"][:6] + tied["query"]
    hidden_best = inputs(some, normal)
    hidden_best["key"] = np.abs(hidden_best["key"])
    hidden_best["query"] = -np.abs(hidden_best["query"])  # all scores negative
    empty = inputs(rng.random((4, 5)) < 0.6, normal)
    empty["mask"][1], empty["mask"][2:, 0] = False, True
    close = inputs(np.ones((3, 5), dtype=bool))
    close["query"] = np.abs(close["query"]) + 1
    close["key"][2] = 9.0
    close["key"][4] = 9.0 + 2.0**-30  # all its products and sums are exact
    return [
        Property("one best key each", [inputs(np.ones((4, 7), dtype=bool), normal)], 2),
        Property("keys that tie", [tied, inputs(everything)], 2),
        Property("keys that nearly tie", [close], 1),
        Property("some keys hidden", [inputs(some, normal), hidden_best], 2),
        Property("a query that may see nothing", [empty], 1),
    ]


EXERCISE = Exercise(
    reference=_lookup,
    properties=_properties,
    mistakes=[
        Mistake(
            "the first of the best",
            "Among keys with the same best score you take the first. In the limit of a falling temperature "
            "they share the weight, because the softmax gives equal scores equal weights.",
            _first_of_the_best,
        ),
        Mistake(
            "ties added",
            "With several best keys you add their values instead of taking the mean, so the weights of the "
            "row sum to more than 1.",
            _adds_ties,
        ),
        Mistake("mask ignored", "The mask changes nothing: hidden keys can win.", _sees_everything),
        Mistake(
            "hidden scores zero",
            "You set hidden scores to 0. Where all visible scores are negative, 0 is the best one.",
            _hidden_scores_zero,
        ),
        Mistake(
            "an empty row answered",
            "A query that may see nothing gets the mean of all values, because all its scores tie at the "
            "lowest number. The page asks for zeros.",
            _mean_for_an_empty_row,
        ),
        Mistake(
            "zero winners",
            "Where a query may see nothing you divide by the number of its best keys, which is 0, and get "
            "NaN.",
            _nan_for_an_empty_row,
        ),
        Mistake(
            "the nearest key",
            "You compare by distance. With keys of unequal norm the nearest key is not the one with the "
            "largest dot product.",
            _nearest,
            see=(2, "Width is temperature"),
        ),
        Mistake(
            "hidden scores zero in the maximum",
            "Hidden scores count as 0 when you look for the largest. Where all visible scores are negative, "
            "none of them reaches it, and nothing is returned.",
            _hidden_zero_then_masked,
        ),
        Mistake(
            "one best score for all",
            "You took the largest score of all queries together, which few keys of other queries reach.",
            _one_best_for_all,
        ),
        Mistake(
            "nearly equal taken for equal",
            "Two scores that differ by very little share the weight in your answer. However small the "
            "difference, in the limit the better key takes everything.",
            _nearly_equal,
        ),
        Mistake(
            "best query of each key",
            "You looked for the best score along the queries instead of along the keys.",
            _best_query_of_each_key,
        ),
    ],
    see=(2, "Weights are a distribution"),
    variants={"loops": _by_loops},
)
