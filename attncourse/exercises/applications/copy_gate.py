"""Checker: what the gate of a copying model does, in formulas."""

import math

from attncourse.exercises._exercise import Exercise, Mistake, Property, call_part


def _probability(gate, generated, weights):
    return gate * generated + (1 - gate) * sum(weights)


def _break_even(generated, copied):
    return copied / (generated + copied)


def _sigmoid(logit):
    return 1 / (1 + math.exp(-logit))


def _loss(logit, generated, copied):
    gate = _sigmoid(logit)
    return -math.log(gate * generated + (1 - gate) * copied)


def _gradient(logit, generated, copied):
    step = 1e-5
    return (_loss(logit + step, generated, copied) - _loss(logit - step, generated, copied)) / (2 * step)


def _was_copied(gate, generated, copied):
    return 1 - gate * generated / (gate * generated + (1 - gate) * copied)


def _properties(rng):
    def share(low=0.05, high=0.95):
        return round(float(rng.uniform(low, high)), 2)

    def mixture(n_places):
        weights = tuple(round(float(one), 2) for one in rng.uniform(0.02, 0.2, size=n_places))
        return {"part": "probability", "gate": share(), "generated": share(), "weights": weights}

    def gradient(generated, copied):
        return {"part": "gradient", "logit": share(-2, 2), "generated": generated, "copied": copied}

    def copied(generated, weight):
        return {"part": "copied", "gate": share(), "generated": generated, "copied": weight}

    even = [{"part": "break_even", "generated": share(), "copied": share()} for _ in range(3)]
    return [
        Property('part "probability"', [mixture(1), mixture(4), mixture(0) | {"generated": 0.25}], 1),
        Property('part "break_even"', even, 1),
        Property(
            'part "gradient"', [gradient(share(), share()), gradient(0.0, share()), gradient(share(), 0.0)], 2
        ),
        Property('part "copied"', [copied(share(), share()), copied(0.0, share()), copied(share(), 0.0)], 1),
    ]


def _right_gradient(logit, generated, copied):
    gate = _sigmoid(logit)
    return gate * (1 - gate) * (copied - generated) / (gate * generated + (1 - gate) * copied)


EXERCISE = Exercise(
    reference={
        "probability": _probability,
        "break_even": _break_even,
        "gradient": _gradient,
        "copied": _was_copied,
    },
    run=call_part,
    properties=_properties,
    mistakes=[
        Mistake(
            "gate turned round",
            "The gate is the trust in the vocabulary, and not in copying.",
            {
                "probability": lambda gate, generated, weights: _probability(1 - gate, generated, weights),
                "copied": lambda gate, generated, copied: _was_copied(1 - gate, generated, copied),
            },
        ),
        Mistake(
            "one vote only",
            "A word that stands at several places gets all of its weights, not the largest alone.",
            {
                "probability": lambda gate, generated, weights: _probability(
                    gate, generated, [max(weights, default=0)]
                )
            },
        ),
        Mistake(
            "the mean vote",
            "The weights of a word's places are averaged. They have to be added.",
            {
                "probability": lambda gate, generated, weights: _probability(
                    gate, generated, [sum(weights) / max(1, len(weights))]
                )
            },
        ),
        Mistake(
            "the other share",
            "This is one minus the gate: with it, the word that can be generated is not as likely as the "
            "other one.",
            {"break_even": lambda generated, copied: generated / (generated + copied)},
        ),
        Mistake(
            "quotient of both",
            "This solves for the quotient of gate and its complement, and may be above one; a gate lies "
            "between 0 and 1.",
            {"break_even": lambda generated, copied: copied / generated},
        ),
        Mistake(
            "derivative by the gate",
            "This is the derivative with respect to the gate. Its logit moves the gate by a factor that is "
            "missing here.",
            {
                "gradient": lambda logit, generated, copied: (
                    (copied - generated) / _probability(_sigmoid(logit), generated, [copied])
                )
            },
        ),
        Mistake(
            "sign of the loss",
            "The sign is turned round: the loss is minus the logarithm.",
            {"gradient": lambda logit, generated, copied: -_right_gradient(logit, generated, copied)},
        ),
        Mistake(
            "derivative of the probability",
            "This is the derivative of minus the probability. The logarithm adds a division.",
            {
                "gradient": lambda logit, generated, copied: (
                    _right_gradient(logit, generated, copied)
                    * _probability(_sigmoid(logit), generated, [copied])
                )
            },
        ),
        Mistake(
            "the logit taken for the gate",
            "The logit is used as if it were the gate itself; the gate is its sigmoid.",
            {
                "gradient": lambda logit, generated, copied: (
                    (copied - generated) * logit * (1 - logit) / _probability(logit, generated, [copied])
                )
            },
        ),
        Mistake(
            "copied and written",
            "This is the probability that the word is copied *and* is this one. That it was written is known "
            "already.",
            {"copied": lambda gate, generated, copied: (1 - gate) * copied},
        ),
        Mistake(
            "the gate alone",
            "This is the share of copying before the word is known. Whether this word came that way also "
            "depends on how likely either way makes it.",
            {"copied": lambda gate, generated, copied: 1 - gate},
        ),
        Mistake(
            "the gate left out",
            "The two ways are weighed as if both were as likely beforehand.",
            {"copied": lambda gate, generated, copied: copied / (generated + copied)},
        ),
        Mistake(
            "was generated",
            "This is the probability that the word was generated, which is the rest.",
            {"copied": lambda gate, generated, copied: 1 - _was_copied(gate, generated, copied)},
        ),
    ],
    see=(17, "Generate or copy"),
    variants={
        "by hand": {
            "probability": lambda p, v, a: p * v + sum((1 - p) * one for one in a),
            "break_even": lambda v, c: 1 / (1 + v / c),
            "gradient": _right_gradient,
            "copied": lambda p, v, c: (1 - p) * c / (p * v + (1 - p) * c),
        }
    },
    rtol=1e-5,  # the derivative of the reference is a difference quotient
    atol=1e-7,
)
