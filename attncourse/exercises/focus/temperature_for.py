"""Checker: the temperature at which a row of scores uses a given number of keys."""

import math

import numpy as np

from attncourse.exercises._exercise import Exercise, Mistake, Property


def _weights(scores, temperature):
    exponentials = np.exp((scores - scores.max()) / temperature)
    return exponentials / exponentials.sum()


def _keys(weights):
    positive = weights[weights > 0]
    return float(np.exp(-(positive * np.log(positive)).sum()))


def _keys_by_bits(weights):
    positive = weights[weights > 0]
    return float(np.exp(-(positive * np.log2(positive)).sum()))


def _search(count, *, low=1e-9, high=1e9, n_steps=90, give=lambda temperature: temperature, linear=False):
    def temperature_for(scores, n_effective):
        bottom, top = low, high
        for _ in range(n_steps):
            middle = (bottom + top) / 2 if linear else math.sqrt(bottom * top)
            if count(_weights(scores, middle)) < n_effective:
                bottom = middle
            else:
                top = middle
        return give(bottom)

    return temperature_for


def _downhill(scores, n_effective):
    """Follow the slope of the entropy in the logarithm of the temperature, in steps that are not too long."""
    log_temperature, target = math.log(np.ptp(scores)), math.log(n_effective)
    for _ in range(200):
        weights = _weights(scores, math.exp(log_temperature))
        gap = math.log(_keys(weights)) - target
        slope = math.exp(-2 * log_temperature) * float(weights @ (scores - weights @ scores) ** 2)
        step = gap / slope if slope else math.copysign(math.inf, gap)
        log_temperature -= max(-0.5, min(0.5, step))
    return math.exp(log_temperature)


def _properties(rng):
    def inputs(n_keys, n_effective, scale=1.0, shift=0.0):
        scores = scale * rng.permutation(np.arange(n_keys) + rng.uniform(-0.3, 0.3, n_keys)) + shift
        return {"scores": scores, "n_effective": n_effective + 0.1 * float(rng.random())}

    outlier = inputs(5, 2.4)
    outlier["scores"][3] -= 5000.0  # its weight is exactly 0 at every temperature that matters
    return [
        Property("moderate scores", [inputs(5, 2.5), inputs(7, 3.6)], 2),
        Property("nearly hard", [inputs(6, 1.1)], 0.5),
        Property("nearly uniform", [inputs(7, 6.7)], 0.5),
        Property("tiny and huge scores", [inputs(5, 2.2, 1e-4), inputs(6, 3.1, 2e3, -9e5), outlier], 2),
    ]


EXERCISE = Exercise(
    reference=_search(_keys),
    properties=_properties,
    mistakes=[
        Mistake(
            "entropy instead of its exponential",
            "You made the entropy itself equal to the number. The number of keys is the exponential of the "
            "entropy.",
            _search(lambda weights: math.log(_keys(weights)) if _keys(weights) > 0 else 0.0),
        ),
        Mistake(
            "scale for temperature",
            "You return the factor that multiplies the scores. The temperature divides them, so it is the "
            "inverse.",
            _search(_keys, give=lambda temperature: 1 / temperature),
        ),
        Mistake(
            "width for temperature",
            "You return the width of the kernel. The temperature is its square.",
            _search(_keys, give=math.sqrt),
            see=(2, "Width is temperature"),
        ),
        Mistake(
            "bits and nats mixed",
            "Your entropy uses the logarithm to base 2 and your exponential the base e. Both must have the "
            "same base.",
            _search(_keys_by_bits),
        ),
        Mistake(
            "largest weight taken for one share",
            "You asked that the largest weight be one part in n_effective. The entropy counts all keys by "
            "their weights.",
            _search(lambda weights: 1 / weights.max()),
        ),
        Mistake(
            "number by squares",
            "You counted keys by one over the sum of squared weights. That is another effective number, not "
            "the exponential of the entropy.",
            _search(lambda weights: 1 / float((weights**2).sum())),
        ),
        Mistake(
            "range too small",
            "Your search looks between two fixed temperatures that suit scores near 1. Tiny or huge scores "
            "need temperatures far outside.",
            _search(_keys, low=0.01, high=100.0),
        ),
        Mistake(
            "too few halvings",
            "Your search stops early: halving a wide range a few times leaves a wide range.",
            _search(_keys, n_steps=12),
        ),
    ],
    see=(2, "Weights are a distribution"),
    variants={"downhill": _downhill},
    atol=0.0,  # temperatures may be tiny; four digits are asked for
)
