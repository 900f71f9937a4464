"""Checker: what two sinusoidal positions have in common, by formula."""

import math

import torch

from attncourse.exercises._exercise import Exercise, Mistake, Property, call_part
from attncourse.positions import position_angles, sinusoidal_positions


def _vectors(t, s, d):
    return sinusoidal_positions(max(t, s) + 1, d, dtype=torch.float64)[[t, s]]


def _product(t, s, d):
    first, second = _vectors(t, s, d)
    return float(first @ second)


def _apart(t, s, d):
    first, second = _vectors(t, s, d)
    return float((first - second).norm())


RIGHT = {
    "length": lambda d: float(sinusoidal_positions(1, d, dtype=torch.float64).norm()),
    "product": _product,
    "apart": _apart,
    "full turn": lambda i, d: 2 * math.pi / float(position_angles(2, d)[1, i]),
}


def _properties(rng):
    def pairs(part):
        drawn = [
            (*(int(t) for t in rng.integers(0, 400, size=2)), 2 * int(rng.integers(3, 20))) for _ in range(3)
        ]
        return [{"part": part, "t": t, "s": s, "d": d} for t, s, d in [*drawn, (2, 5, 4), (7, 7, 10)]]

    def sizes():
        return [int(size) for size in 2 * rng.integers(4, 40, size=2)]

    return [
        Property('part "length"', [{"part": "length", "d": d} for d in sizes()], 1),
        Property('part "product"', pairs("product"), 2),
        Property('part "apart"', pairs("apart"), 1),
        Property(
            'part "full turn"',
            [
                {"part": "full turn", "i": i, "d": d}
                for i, d in [
                    (0, 4),
                    *((size // 2 - less, size) for less, size in enumerate(sizes(), start=1)),
                ]
            ],
            1,
        ),
    ]


def _cosines(t, s, d, *, exponent=2):
    return sum(math.cos((t - s) * 10000 ** (-exponent * i / d)) for i in range(d // 2))


def _wrong(name, message, part, function, place="A shift is a rotation"):
    return Mistake(name, message, RIGHT | {part: function}, see=(6, place))


FORMULA = "Add something to the inputs: sines and cosines"

EXERCISE = Exercise(
    reference=RIGHT,
    run=call_part,
    properties=_properties,
    mistakes=[
        _wrong(
            "one for every entry",
            "Each entry is counted as 1. It is a hand, its sine and its cosine together, that has the "
            "length 1.",
            "length",
            lambda d: math.sqrt(d),
        ),
        _wrong(
            "the squared length",
            "This is the vector's product with itself, the square of its length.",
            "length",
            lambda d: d / 2,
        ),
        _wrong(
            "always one", "Each of the hands has the length 1, but there are many.", "length", lambda d: 1.0
        ),
        _wrong(
            "positions added",
            "The cosine of the sum stands here. Sine times sine is added to cosine times cosine, not "
            "taken away.",
            "product",
            lambda t, s, d: _cosines(t, -s, d),
        ),
        _wrong(
            "every hand twice",
            "The sum runs over all entries, so every hand is counted twice; a pair of entries is one hand.",
            "product",
            lambda t, s, d: 2 * _product(t, s, d),
        ),
        _wrong(
            "a mean over the hands",
            "The sum over the hands has been divided by their number, so equal positions have the product 1.",
            "product",
            lambda t, s, d: _product(t, s, d) / (d / 2),
        ),
        _wrong(
            "exponent i over d",
            "The hands slow down half as fast as they should: the slowest has half of the exponent that "
            "it needs.",
            "product",
            lambda t, s, d: _cosines(t, s, d, exponent=1),
            FORMULA,
        ),
        _wrong(
            "sines of the distance",
            "The sum holds sines. It would be 0 for equal positions, which are most alike.",
            "product",
            lambda t, s, d: sum(math.sin((t - s) * 10000 ** (-2 * i / d)) for i in range(d // 2)),
        ),
        _wrong(
            "the squared distance",
            "This is the square of the distance: the root is missing.",
            "apart",
            lambda t, s, d: _apart(t, s, d) ** 2,
        ),
        _wrong(
            "the product counted once",
            "In the squared distance of two vectors their product appears twice; here it appears once.",
            "apart",
            lambda t, s, d: math.sqrt(d - _product(t, s, d)),
        ),
        _wrong(
            "the length of the sum",
            "The product was added instead of taken away: this is the length of the sum of the two vectors.",
            "apart",
            lambda t, s, d: math.sqrt(max(0.0, d + 2 * _product(t, s, d))),
        ),
        _wrong(
            "one radian",
            "This is how many tokens a hand needs for one radian; a full turn has more.",
            "full turn",
            lambda i, d: 10000 ** (2 * i / d),
            FORMULA,
        ),
        _wrong(
            "the speed, not the time",
            "This grows with the speed of the hand. The slower a hand, the more tokens it needs for a turn.",
            "full turn",
            lambda i, d: 2 * math.pi * 10000 ** (-2 * i / d),
            FORMULA,
        ),
        _wrong(
            "entries for hands",
            "The number of an entry stands in the exponent where twice the number of a hand belongs.",
            "full turn",
            lambda i, d: 2 * math.pi * 10000 ** (i / d),
            FORMULA,
        ),
    ],
    see=(6, "A shift is a rotation"),
    rtol=1e-5,
    atol=3e-4,  # a sum of cosines of large angles, for those who compute in float32
    variants={"by the cosine of the difference": RIGHT | {"product": _cosines}},
)
