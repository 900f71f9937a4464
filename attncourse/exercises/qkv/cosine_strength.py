"""Checker: how strong a cosine score must be, as functions of the sizes."""

import math

from attncourse.exercises._exercise import Exercise, Mistake, Property, call_part


def _weight(beta, n_keys, cosine):
    return 1 / (1 + (n_keys - 1) * math.exp(beta * (cosine - 1)))


def _beta(weight, n_keys, cosine):
    return math.log(weight / (1 - weight) * (n_keys - 1)) / (1 - cosine)


def _n_keys(weight, beta, cosine):
    return math.floor(1 + (1 / weight - 1) * math.exp(beta * (1 - cosine)))


def _properties(rng):
    def weights(n_keys, cosine):
        return {"part": "weight", "beta": float(rng.uniform(1, 8)), "n_keys": n_keys, "cosine": cosine}

    def betas(n_keys, cosine):
        return {"part": "beta", "weight": float(rng.uniform(0.6, 0.99)), "n_keys": n_keys, "cosine": cosine}

    def most(cosine):
        while True:
            weight, beta = float(rng.uniform(0.3, 0.95)), float(rng.uniform(3, 9))
            limit = (1 / weight - 1) * math.exp(beta * (1 - cosine))
            if 2 < limit < 1e6 and 0.2 < limit % 1 < 0.8:
                return {"part": "n_keys", "weight": weight, "beta": beta, "cosine": cosine}

    sizes, between = [int(n) for n in rng.integers(3, 60, size=4)], float(rng.uniform(0.1, 0.6))
    cosines = (-1.0, 0.0, between, -between)
    return [
        Property('part "weight", the others opposite', [weights(12, -1.0)], 1),
        Property(
            'part "weight", other cosines', [weights(n, c) for n, c in zip(sizes, cosines, strict=True)], 1
        ),
        Property('part "beta", the others opposite', [betas(12, -1.0)], 1),
        Property('part "beta", other cosines', [betas(n, c) for n, c in zip(sizes, cosines, strict=True)], 1),
        Property('part "n_keys"', [most(c) for c in cosines], 2),
    ]


EXERCISE = Exercise(
    reference={"weight": _weight, "beta": _beta, "n_keys": _n_keys},
    properties=_properties,
    mistakes=[
        Mistake(
            "all keys are others",
            "The gold key is counted among the others: the sum has one term too many.",
            {
                "weight": lambda b, n, c: math.exp(b) / (math.exp(b) + n * math.exp(c * b)),
                "beta": lambda w, n, c: math.log(w / (1 - w) * n) / (1 - c),
                "n_keys": lambda w, b, c: math.floor((1 / w - 1) * math.exp(b * (1 - c))),
            },
        ),
        Mistake(
            "the others always opposite",
            "This is the bound of the chapter, in which all other keys are opposite to the query; the "
            "cosine is not used.",
            {
                "weight": lambda b, n, c: _weight(b, n, -1),
                "beta": lambda w, n, c: _beta(w, n, -1),
                "n_keys": lambda w, b, c: _n_keys(w, b, -1),
            },
        ),
        Mistake(
            "the others always at right angles",
            "The other keys are taken to score zero; the cosine is not used.",
            {
                "weight": lambda b, n, c: _weight(b, n, 0),
                "beta": lambda w, n, c: _beta(w, n, 0),
                "n_keys": lambda w, b, c: _n_keys(w, b, 0),
            },
        ),
        Mistake(
            "sign of the cosine",
            "The cosine enters with the wrong sign: keys that are alike would disturb less than opposite "
            "ones.",
            {
                "weight": lambda b, n, c: math.exp(b) / (math.exp(b) + (n - 1) * math.exp(-c * b)),
                "beta": lambda w, n, c: _beta(w, n, -c),
                "n_keys": lambda w, b, c: _n_keys(w, b, -c),
            },
        ),
        Mistake(
            "ratio instead of share",
            "This compares the gold key with all others together instead of with everything: a ratio of 9 "
            "to 1 is a weight of 0.9.",
            {
                "weight": lambda b, n, c: math.exp(b * (1 - c)) / (n - 1),
                "beta": lambda w, n, c: math.log(w * (n - 1)) / (1 - c),
                "n_keys": lambda w, b, c: math.floor(1 + math.exp(b * (1 - c)) / w),
            },
        ),
        Mistake(
            "one key too many",
            "The number is rounded up, and with that many keys the weight is already below the one asked "
            "for.",
            {"weight": _weight, "beta": _beta, "n_keys": lambda w, b, c: _n_keys(w, b, c) + 1},
        ),
        Mistake(
            "not a whole number",
            "This is where the weight is exactly the one asked for; a memory has a whole number of keys.",
            {
                "weight": _weight,
                "beta": _beta,
                "n_keys": lambda w, b, c: 1 + (1 / w - 1) * math.exp(b * (1 - c)),
            },
        ),
        Mistake(
            "rounded to the nearest",
            "The number is rounded to the nearest whole one. Where that is upwards, the weight is already "
            "below the one asked for.",
            {
                "weight": _weight,
                "beta": _beta,
                "n_keys": lambda w, b, c: round(1 + (1 / w - 1) * math.exp(b * (1 - c))),
            },
        ),
        Mistake(
            "sign of the exponent",
            "The exponent has the wrong sign, or the fraction is turned over: a larger strength would make "
            "the gold key weaker.",
            {
                "weight": lambda b, n, c: _weight(-b, n, c),
                "beta": lambda w, n, c: -_beta(w, n, c),
                "n_keys": lambda w, b, c: _n_keys(w, -b, c),
            },
        ),
    ],
    see=(3, "Cosine: the angle alone"),
    variants={
        "from odds": {
            "weight": lambda b, n, c: math.exp(b) / (math.exp(b) + (n - 1) * math.exp(b * c)),
            "beta": lambda w, n, c: (math.log(n - 1) + math.log(w) - math.log1p(-w)) / (1 - c),
            "n_keys": lambda w, b, c: int((1 - w) / w * math.exp(b * (1 - c))) + 1,
        }
    },
    run=call_part,
)
