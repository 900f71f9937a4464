"""Checker: how far attention stays below even weights, whatever the number of keys."""

import math

import torch

from attncourse.attention import scaled_dot_product_attention
from attncourse.exercises._exercise import Exercise, Mistake, Property, call_part, normal
from attncourse.reference import entropy


def _weights(query, key, scale=None):
    return scaled_dot_product_attention(query, key, key, scale=scale, return_weights=True)[1]


def _gap(query, key):
    return math.log(key.shape[-2]) - float(entropy(_weights(query, key).numpy()).mean())


RIGHT = {
    "prediction": "b",
    "gap": _gap,
    "share": lambda deviation: math.exp(-(deviation**2) / 2),
}


def _properties(rng):
    def inputs(n_queries, n_keys, d_head, loudness=1.0, batch=2):
        query, key = normal(rng, batch, n_queries, d_head), normal(rng, batch, n_keys, d_head)
        return {"part": "gap", "query": loudness * query, "key": key}

    deviations = [round(float(number), 2) for number in rng.uniform(0.3, 2.5, size=3)]
    return [
        Property('part "prediction"', [{"part": "prediction"}], 0.5),
        Property(
            'part "gap" for few queries', [inputs(3, 7, 5), inputs(1, 2, 9), inputs(3, 4, 16, batch=5)], 1.5
        ),
        Property('part "gap" for 16, 128 and 1024 keys', [inputs(25, n, 64) for n in (16, 128, 1024)], 1),
        Property('part "gap" where weights are rounded to 0', [inputs(3, 7, 5, 300.0)], 1),
        Property('part "share"', [{"part": "share", "deviation": number} for number in deviations], 1.5),
    ]


def _entropy(weights):
    return -torch.xlogy(weights, weights).sum(dim=-1)


def _with_nan(query, key):
    weights = _weights(query, key)
    return math.log(key.shape[-2]) + (weights * weights.log()).sum(dim=-1).mean().item()


def _of_the_mean(query, key):
    return math.log(key.shape[-2]) - _entropy(_weights(query, key).mean(dim=(0, 1))).item()


def _over_queries(query, key):
    weights = (query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5).softmax(dim=-2)
    return (math.log(key.shape[-2]) - _entropy(weights)).mean()


def _summed(query, key):
    return (math.log(key.shape[-2]) - _entropy(_weights(query, key))).sum().item()


def _unscaled(query, key):
    return math.log(key.shape[-2]) - float(entropy(_weights(query, key, 1.0).numpy()).mean())


def _by_definition(query, key):
    log_weights = (query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5).log_softmax(dim=-1)
    return (math.log(key.shape[-2]) + (log_weights.exp() * log_weights).sum(dim=-1)).mean()


def _wrong(name, message, part, function, place):
    return Mistake(name, message, RIGHT | {part: function}, see=(4, place))


def _remark(outputs):
    found = outputs['part "gap" for 16, 128 and 1024 keys']
    numbers = " and ".join(f"{float(gap):.2f}" for gap in found)
    return f"Your gaps at 16, 128 and 1024 keys: {numbers}. Compare them with your prediction."


SCALES, ROOT = "Three scales against the head size", "Why the square root"

EXERCISE = Exercise(
    reference=RIGHT,
    run=call_part,
    remark=_remark,
    properties=_properties,
    mistakes=[
        _wrong(
            "the entropy itself",
            "This is the entropy. The question is how far it stays below its maximum.",
            "gap",
            lambda query, key: float(entropy(_weights(query, key).numpy()).mean()),
            SCALES,
        ),
        _wrong(
            "the sign turned round",
            "The maximum is taken from the entropy, so the gap is negative.",
            "gap",
            lambda query, key: -_gap(query, key),
            SCALES,
        ),
        _wrong(
            "in bits",
            "Logarithms to the base 2 measure in bits; the question asks for nats.",
            "gap",
            lambda query, key: _gap(query, key) / math.log(2),
            "Scale the scores, not the weights",
        ),
        _wrong(
            "zero times the logarithm of zero",
            "Where a weight is rounded to 0 its logarithm is minus infinity, and the product is NaN "
            "instead of 0.",
            "gap",
            _with_nan,
            SCALES,
        ),
        _wrong(
            "the entropy of the mean weights",
            "The weights are averaged before the entropy is taken. Sharp queries that look at different keys "
            "then seem to spread their weight.",
            "gap",
            _of_the_mean,
            SCALES,
        ),
        _wrong(
            "softmax over the queries",
            "The weights of a key over the queries sum to 1, not those of a query over the keys, so the "
            "gap can even be negative.",
            "gap",
            _over_queries,
            SCALES,
        ),
        _wrong(
            "a sum over the queries",
            "The gaps of all queries are added up, so the result grows with their number.",
            "gap",
            _summed,
            SCALES,
        ),
        _wrong(
            "scores without the scale",
            "The weights come from plain dot products, whose deviation grows with the length of the vectors.",
            "gap",
            _unscaled,
            ROOT,
        ),
        _wrong(
            "the usual deviation for all",
            "The deviation plays no part in it: this is the share for scores of deviation 1.",
            "share",
            lambda deviation: math.exp(-0.5),
            ROOT,
        ),
        _wrong(
            "the deviation for the variance",
            "The deviation stands where the variance belongs; the two agree only at 1.",
            "share",
            lambda deviation: math.exp(-deviation / 2),
            ROOT,
        ),
        _wrong(
            "the gap, not the share",
            "This is the gap in nats. The share is what it does to the effective number of keys.",
            "share",
            lambda deviation: deviation**2 / 2,
            ROOT,
        ),
        _wrong(
            "one of two terms",
            "Only one of the two terms of the gap is counted, the mean score under the weights; the "
            "other is ln(Z / n).",
            "share",
            lambda deviation: math.exp(-(deviation**2)),
            ROOT,
        ),
        _wrong(
            "more keys than there are",
            "The share exceeds 1. The effective number of keys is at most their number.",
            "share",
            lambda deviation: math.exp(deviation**2 / 2),
            ROOT,
        ),
    ],
    see=(4, SCALES),
    variants={"by logarithms": RIGHT | {"gap": _by_definition}},
)
