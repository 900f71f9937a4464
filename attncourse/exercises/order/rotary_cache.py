"""Checker: a step with a cache, rotary positions and a penalty on distance, mended."""

import math

import torch

from attncourse.exercises._exercise import Exercise, Mistake, Property, normal
from attncourse.position_biases import alibi_bias
from attncourse.positions import rotate


def _run(answer, inputs):
    """Take a step for every token of a sequence, and of a second one if there is one, each with its cache."""
    query, key, *second = inputs.values()
    scores = {}
    for number, (one, other) in enumerate([(query, key), tuple(second)][: 1 + bool(second)], start=1):
        cache = []
        for t in range(one.shape[2]):
            name = f"token {t}" + f" of sequence {number}" * bool(second)
            scores[name] = answer(one[:, :, [t]], other[:, :, [t]], cache)
    return scores


def _sequence(rng, *shape, dtype=torch.float32, second=None):
    inputs = {"queries": normal(rng, *shape, dtype=dtype), "keys": normal(rng, *shape, dtype=dtype)}
    return inputs | (
        {"then queries": normal(rng, *second), "and keys": normal(rng, *second)} if second else {}
    )


def _properties(rng):
    return [
        Property("one token", [_sequence(rng, 2, 4, 1, 6)], 0.5),
        Property("one head", [_sequence(rng, 2, 1, 5, 6)], 2),
        Property("several heads", [_sequence(rng, 2, 4, 5, 6), _sequence(rng, 1, 3, 4, 8)], 2),
        Property("a second sequence", [_sequence(rng, 2, 2, 4, 6, second=(3, 2, 3, 6))], 1),
        Property("double precision", [_sequence(rng, 2, 2, 4, 10, dtype=torch.float64)], 0.5),
    ]


def _step(*, query_at=lambda t: t, key_at=lambda t: t, bias=None, size=None, layout="half"):
    """Return a step that keeps turned keys, with one choice exchanged."""

    def step(query, key, cache):
        t = len(cache)
        cache.append(rotate(key, offset=key_at(t), layout=layout))
        keys = torch.cat(cache, dim=-2)
        divisor = math.sqrt(query.shape[-1] if size is None else size(query, keys))
        scores = rotate(query, offset=query_at(t)) @ keys.transpose(-2, -1) / divisor
        return scores + (_penalty if bias is None else bias)(scores)

    return step


def _penalty(scores):
    return alibi_bias(scores.shape[1], 1, scores.shape[-1]).to(scores.dtype)


def _step_over_raw(turn_query, turn_keys, bias=_penalty):
    """Return a step that keeps the keys as they come, and turns them, or not, when they are read."""

    def step(query, key, cache):
        cache.append(key)
        keys, t = torch.cat(cache, dim=-2), len(cache) - 1
        scores = turn_query(query, t) @ turn_keys(keys, t).transpose(-2, -1) / math.sqrt(query.shape[-1])
        return scores + bias(scores)

    return step


def _turned(query, t):
    return rotate(query, offset=t)


def _as_it_is(vectors, t):
    return vectors


def _one_slope(scores):
    return alibi_bias(1, 1, scores.shape[-1]).to(scores.dtype)


def _turned_again(query, key, cache):
    cache.append(rotate(key, offset=len(cache)))
    keys = rotate(torch.cat(cache, dim=-2))
    query = rotate(query, offset=len(cache) - 1)
    scores = query @ keys.transpose(-2, -1) / math.sqrt(query.shape[-1])
    return scores + _penalty(scores)


ROTARY = {"see": (6, "Turn the queries and keys: rotary positions")}
MOVES = {"see": (6, "The position that never moves")}
ALIBI = {"see": (6, "Punish distance: ALiBi")}

EXERCISE = Exercise(
    reference=_step(),
    run=_run,
    properties=_properties,
    mistakes=[
        Mistake(
            "as it was given",
            "All three faults are still there. Compare with one run over the whole sequence, first with "
            "one head.",
            _step_over_raw(lambda query, t: rotate(query, offset=t + 1), _as_it_is, _one_slope),
            **MOVES,
        ),
        Mistake(
            "keys never turned",
            "Only the query is turned; keys are left as they come, or turned as if each stood at position 0. "
            "A score then depends on where the query stands, not on how far away the key is.",
            _step_over_raw(_turned, _as_it_is),
            **ROTARY,
        ),
        Mistake(
            "the query one position ahead",
            "The query stands one position after the key of its own token. The cache was counted when the "
            "new key was already in it.",
            _step(query_at=lambda t: t + 1),
            **MOVES,
        ),
        Mistake(
            "the key one position ahead",
            "The key stands one position after the query of its own token. The cache was counted before the "
            "new key was in it for one of them, and after for the other.",
            _step(key_at=lambda t: t + 1),
            **MOVES,
        ),
        Mistake(
            "all turned alike",
            "Query and keys are all turned by the same angle, or not at all, so the turning cancels in "
            "every score. Each key has a position of its own, which never changes.",
            _step(query_at=lambda t: 0, key_at=lambda t: 0),
            **MOVES,
        ),
        Mistake(
            "turned again at every step",
            "Keys that were turned when they came are turned once more when they are read.",
            _turned_again,
            **ROTARY,
        ),
        Mistake(
            "two layouts",
            "Queries are turned in one layout and keys in another, so their pairs no longer meet.",
            _step(layout="interleaved"),
            see=(6, "The right weights in the wrong layout"),
        ),
        Mistake(
            "one slope for all heads",
            "Every head gets the slope of a layer with one head. With one head nobody notices.",
            _step(bias=_one_slope),
            **ALIBI,
        ),
        Mistake(
            "no penalty",
            "The penalty on distance is gone, and with it the layer's preference for near tokens.",
            _step(bias=torch.zeros_like),
            **ALIBI,
        ),
        Mistake(
            "a reward for distance",
            "The penalty is taken away instead of added, so far keys gain.",
            _step(bias=lambda scores: -_penalty(scores)),
            **ALIBI,
        ),
        Mistake(
            "distance from the first key",
            "The penalty grows towards the newest key: distances are counted from the wrong end.",
            _step(bias=lambda scores: _penalty(scores).flip(-1)),
            **ALIBI,
        ),
        Mistake(
            "no scale",
            "The product of query and key is not divided by anything.",
            _step(size=lambda query, keys: 1),
            see=(4, "Why the square root"),
        ),
        Mistake(
            "root of the number of keys",
            "The divisor grows with the cache, where it should be the root of the length of a key.",
            _step(size=lambda query, keys: keys.shape[-2]),
            see=(4, "Why the square root"),
        ),
    ],
    see=(6, "The position that never moves"),
    variants={
        "keys turned when they are read": _step_over_raw(_turned, lambda keys, t: rotate(keys)),
        "both one position ahead": _step(query_at=lambda t: t + 1, key_at=lambda t: t + 1),
    },
)
