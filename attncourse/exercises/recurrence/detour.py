"""Checker: powers of a matrix that grow before they shrink."""

import math

import torch

from attncourse.exercises._exercise import Exercise, Mistake, Property


def _matrix(radius, shear):
    return torch.tensor([[radius, radius * shear], [0.0, radius]], dtype=torch.float64)


def _power(radius, shear, distance):
    return torch.linalg.matrix_power(_matrix(radius, shear), distance)


def _peak(radius, shear):
    return -1 / math.log(radius)


def _norm(radius, shear, distance):
    return torch.linalg.matrix_norm(_power(radius, shear, distance), ord=2).item()


def _first(test):
    return next((distance for distance in range(1, 2000) if test(distance)), 2000)


def _below_from(radius, shear):
    return _first(lambda distance: _norm(radius, shear, distance) < 1)


def _run(answer, inputs):
    function, *rest = inputs.values()
    value = answer[function](*rest)
    return torch.as_tensor(value, dtype=torch.float32) if function == "power" else value


def _properties(rng):
    def case(part, radius, shear, *rest):
        values = (radius + 0.02 * float(rng.random()), shear + 0.02 * float(rng.random()), *rest)
        return {"part": part} | dict(zip(("r", "c", "D"), values, strict=False))

    return [
        Property("the power at D = 1", [case("power", 0.5, 6.0, 1)], 1),
        Property(
            "the power at any D", [case("power", r, c, d) for r, c, d in ((0.5, 6.0, 3), (0.8, 1.5, 7))], 2
        ),
        Property(
            "where the corner is largest",
            [case("peak", r, c) for r, c in ((0.3, 2.0), (0.6, 0.7), (0.9, 5.0))],
            2,
        ),
        Property(
            "from where on the norm stays below 1",
            [
                case("below_from", r, c)
                for r, c in ((0.5, 6.0), (0.9, 0.3), (0.9, 6.0), (0.7, 1.1), (0.8, 0.2))
            ],
            2,
        ),
    ]


def _keeps_the_corner(radius, shear, distance):
    return radius ** (distance - 1) * _matrix(radius, shear)


def _entry_by_entry(radius, shear, distance):
    return _matrix(radius, shear) ** distance


def _forgets_the_radius(radius, shear, distance):
    power = _power(radius, shear, distance)
    power[0, 1] = distance * shear * radius
    return power


def _corner_below(radius, shear):
    return _first(lambda distance: distance * shear * radius**distance < 1)


def _by_frobenius(radius, shear):
    return _first(lambda distance: _power(radius, shear, distance).norm().item() < 1)


def _power_in_words(radius, shear, distance):
    diagonal = radius**distance
    return [[diagonal, distance * shear * diagonal], [0, diagonal]]


EXERCISE = Exercise(
    reference={"power": _power, "peak": _peak, "below_from": _below_from},
    properties=_properties,
    mistakes=[
        Mistake(
            "the detour grows no longer",
            "Your corner is c r^D, as if the off-diagonal part were met once however long the way is. It "
            "can be taken at any of the D steps.",
            {"power": _keeps_the_corner},
        ),
        Mistake(
            "power of every entry",
            "You raised each entry to the power D. A matrix power multiplies rows by columns D times.",
            {"power": _entry_by_entry},
        ),
        Mistake(
            "corner without decay",
            "Your corner grows with D and never shrinks, so the spectral radius would not decide in the "
            "long run.",
            {"power": _forgets_the_radius},
        ),
        Mistake(
            "sign of the logarithm",
            "A distance cannot be negative: the logarithm of a number below 1 is.",
            {"peak": lambda radius, shear: 1 / math.log(radius)},
        ),
        Mistake(
            "ratio of neighbours",
            "You asked where two whole neighbouring distances have equal corners. That lies near the "
            "highest point of the smooth curve and is not it; set the derivative with respect to D to zero.",
            {"peak": lambda radius, shear: radius / (1 - radius)},
        ),
        Mistake(
            "half-life for peak",
            "That is the distance at which r^D has fallen to one half; the factor D in front moves the "
            "highest point.",
            {"peak": lambda radius, shear: -math.log(2) / math.log(radius)},
        ),
        Mistake(
            "the spectral radius decides at once",
            "You say that the norm is below 1 from the first step on, because the spectral radius is. The "
            "spectral radius speaks about the long run only.",
            {"below_from": lambda radius, shear: 1},
        ),
        Mistake(
            "norm taken for its corner",
            "You waited until the corner is below 1. The norm is at least as large as every entry, and here "
            "it is larger, since the diagonal counts too.",
            {"below_from": _corner_below},
        ),
        Mistake(
            "root of the summed squares",
            "You took the root of the sum of all squared entries, which counts every direction. The largest "
            "singular value counts the one direction that is lengthened most.",
            {"below_from": _by_frobenius},
        ),
        Mistake(
            "last above instead of first below",
            "You return the last distance at which the norm is still above 1; the question is for the next "
            "one.",
            {"below_from": lambda radius, shear: _below_from(radius, shear) - 1},
        ),
    ],
    see=(1, "How far does a gradient reach?"),
    variants={"closed form": {"power": _power_in_words, "peak": _peak, "below_from": _below_from}},
    run=_run,
)
