"""Checker: what layer normalisation keeps of the scale and the shift of a vector."""

import math

import torch
from torch.nn import functional as F

from attncourse.exercises._exercise import Exercise, Mistake, Property, normal

CHOICES = ("a", "b", "c")


def _factor(a, variance, epsilon):
    return a * math.sqrt((variance + epsilon) / (a**2 * variance + epsilon))


def _change(x, a, c):
    return (F.layer_norm(a * x + c, x.shape[-1:]) - F.layer_norm(x, x.shape[-1:])).abs().amax(dim=-1)


def _smallest(variance, epsilon, share):
    return math.sqrt(epsilon / variance * share**2 / (1 - share**2))


def _run(answer, inputs):
    part, *others = inputs.values()
    if part == "prediction":
        return answer[part] in CHOICES
    return answer[part](*others)


def _properties(rng):
    def scalings(*factors):
        return [
            {"part": "factor", "a": a, "variance": float(rng.uniform(0.1, 3)), "epsilon": epsilon}
            for a in factors
            for epsilon in (1e-5, 0.3)
        ]

    def moved(*pairs):
        return [
            {"part": "change", "x": normal(rng, 2, 3, 8, dtype=torch.float64), "a": a, "c": c}
            for a, c in pairs
        ]

    sizes = [
        (0.5, 1e-5, 0.9),
        (float(rng.uniform(1, 4)), 1e-3, float(rng.uniform(0.2, 0.8))),
        (3.0, 1e-6, 0.99),
        (0.5, 0.3, 0.6),
    ]
    return [
        Property("a prediction", [{"part": "prediction"}], 0.5),
        Property('part "factor", positive numbers', scalings(3.0, 0.02), 2),
        Property('part "factor", negative numbers', scalings(-2.0, -0.1), 1),
        Property('part "change"', moved((3.0, 5.0), (-0.7, 2.0), (0.001, -1.0)), 1.5),
        Property(
            'part "smallest"',
            [{"part": "smallest", "variance": v, "epsilon": e, "share": s} for v, e, s in sizes],
            2,
        ),
    ]


def _remark(outputs):
    (bent,) = outputs['part "change"'][1:2]
    kept = "is far from" if float(torch.as_tensor(bent).max()) > 0.1 else "equals"
    return f"With a = -0.7, LN(a x + c) {kept} LN(x). Compare with your prediction."


EXERCISE = Exercise(
    reference={"prediction": "b", "factor": _factor, "change": _change, "smallest": _smallest},
    properties=_properties,
    run=_run,
    remark=_remark,
    mistakes=[
        Mistake(
            "only the sign",
            "The factor is the sign of a, which is right for large spreads. For small ones ε is no longer "
            "small beside "
            "the variance, and the output shrinks.",
            {"factor": lambda a, variance, epsilon: math.copysign(1.0, a)},
        ),
        Mistake(
            "the sign forgotten",
            "The size is right, and a negative number gives the same as a positive one; but a vector turned "
            "round has "
            "its largest feature where the smallest was.",
            {"factor": lambda a, variance, epsilon: abs(_factor(a, variance, epsilon))},
        ),
        Mistake(
            "the scale kept",
            "The factor is a itself, as if nothing were divided by the standard deviation.",
            {"factor": lambda a, variance, epsilon: float(a)},
        ),
        Mistake(
            "compared with the ideal",
            "The output was compared with a vector of variance 1; LN(x) itself is a little smaller than "
            "that, because "
            "its ε counts, too.",
            {"factor": lambda a, variance, epsilon: a * math.sqrt(variance / (a**2 * variance + epsilon))},
        ),
        Mistake(
            "ε outside the root",
            "ε was added to the standard deviation; it stands under the root, beside the variance.",
            {
                "factor": lambda a, variance, epsilon: (
                    a * (math.sqrt(variance) + epsilon) / (abs(a) * math.sqrt(variance) + epsilon)
                )
            },
        ),
        Mistake(
            "variances for standard deviations",
            "The centred vector was divided by a variance; layer normalisation divides by its root.",
            {"factor": lambda a, variance, epsilon: a * (variance + epsilon) / (a**2 * variance + epsilon)},
        ),
        Mistake(
            "the change of all tokens together",
            "There is one number; it was asked for each token, because each is normalised by itself.",
            {"change": lambda x, a, c: _change(x, a, c).max()},
        ),
        Mistake(
            "the largest over the tokens",
            "The largest difference was taken over the tokens, one for each feature; asked for is one for "
            "each "
            "token, over its features.",
            {
                "change": lambda x, a, c: (
                    (F.layer_norm(a * x + c, x.shape[-1:]) - F.layer_norm(x, x.shape[-1:])).abs().amax(dim=1)
                )
            },
        ),
        Mistake(
            "scaled behind the normalisation",
            "The normalised vector was scaled and shifted. It is the incoming one that changes, and the "
            "normalisation comes after that.",
            {"change": lambda x, a, c: ((a - 1) * F.layer_norm(x, x.shape[-1:]) + c).abs().amax(dim=-1)},
        ),
        Mistake(
            "a change with its sign",
            "The largest difference without its sign was asked for; a large negative one is a change as "
            "well.",
            {
                "change": lambda x, a, c: (
                    F.layer_norm(a * x + c, x.shape[-1:]) - F.layer_norm(x, x.shape[-1:])
                ).amax(dim=-1)
            },
        ),
        Mistake(
            "all axes normalised",
            "Mean and variance were taken over tokens and features together. A token is normalised over its "
            "features.",
            {
                "change": lambda x, a, c: (
                    (F.layer_norm(a * x + c, x.shape) - F.layer_norm(x, x.shape)).abs().amax(dim=-1)
                )
            },
        ),
        Mistake(
            "unbiased variance",
            "The variance was divided by the number of features less one.",
            {"change": lambda x, a, c: (_by_std(a * x + c) - _by_std(x)).abs().amax(dim=-1)},
        ),
        Mistake(
            "the share of the variance",
            "The share was applied to the variance of the output; it was asked for its standard deviation.",
            {
                "smallest": lambda variance, epsilon, share: math.sqrt(
                    epsilon / variance * share / (1 - share)
                )
            },
        ),
        Mistake(
            "a share of LN(x)",
            "The share was taken of the standard deviation of LN(x), which is itself a little below 1.",
            {
                "smallest": lambda variance, epsilon, share: _smallest(
                    variance, epsilon, share * math.sqrt(variance / (variance + epsilon))
                )
            },
        ),
        Mistake(
            "the factor squared",
            "This is the square of the number: the variance of a x is a² times that of x.",
            {"smallest": lambda variance, epsilon, share: epsilon / variance * share**2 / (1 - share**2)},
        ),
    ],
    see=(8, "Layer normalisation: every token at one size"),
    variants={
        "written out": {
            "prediction": "c",
            "factor": lambda a, variance, epsilon: (
                a / (a**2 * variance + epsilon) ** 0.5 * (variance + epsilon) ** 0.5
            ),
            "change": lambda x, a, c: (_by_hand(a * x + c) - _by_hand(x)).abs().max(dim=-1).values,
            "smallest": lambda variance, epsilon, share: (epsilon / (variance * (share**-2 - 1))) ** 0.5,
        }
    },
)


def _by_std(x):
    return (x - x.mean(dim=-1, keepdim=True)) / (x.var(dim=-1, keepdim=True) + 1e-5).sqrt()


def _by_hand(x):
    return (x - x.mean(dim=-1, keepdim=True)) / (x.var(dim=-1, keepdim=True, correction=0) + 1e-5).sqrt()
