"""Checker: variances of scores under other assumptions, and the gradient through the softmax."""

import torch

from attncourse.attention import masked_softmax
from attncourse.exercises._exercise import Exercise, Mistake, Property, normal


def _run(answer, inputs):
    """Call the named part of the answers with the other inputs."""
    name, *arguments = inputs.values()
    result = answer[name](*arguments)
    return tuple(result) if isinstance(result, list) else result


def _backward(weights, gradient):
    return torch.autograd.functional.vjp(masked_softmax, weights.clamp_min(1e-38).log(), gradient)[1]


RIGHT = {
    "means": lambda d, mean: d * (1 + 2 * mean**2),
    "correlated": lambda d, r: d * (1 - r**2) + (d * r) ** 2,
    "one side": lambda d, r: d,
    "with itself": lambda d: (d, 2 * d),
    "backward": _backward,
}


def _properties(rng):
    def numbers(part, name, low, high):
        drawn = [(int(rng.integers(5, 60)), float(rng.uniform(low, high))) for _ in range(3)]
        return [{"part": part, "d": d, name: round(number, 2)} for d, number in drawn]

    def gradients(dtype, *shape):
        weights = masked_softmax(2 * normal(rng, *shape, dtype=dtype))
        return {"part": "backward", "weights": weights, "gradient": normal(rng, *shape, dtype=dtype)}

    return [
        Property('part "means"', numbers("means", "mean", 0.4, 3), 1.5),
        Property('part "correlated"', numbers("correlated", "r", 0.1, 0.9), 2),
        Property('part "one side"', numbers("one side", "r", 0.1, 0.9), 1),
        Property(
            'part "with itself"',
            [{"part": "with itself", "d": int(rng.integers(5, 60))} for _ in range(2)],
            1.5,
        ),
        Property(
            'part "backward"',
            [
                gradients(torch.float32, 3, 7),
                gradients(torch.float32, 2, 4, 3, 5),
                gradients(torch.float64, 2, 6),
            ],
            2,
        ),
    ]


def _wrong(name, message, part, function, place="Why the square root"):
    return Mistake(name, message, RIGHT | {part: function}, see=(4, place))


def _dot(weights, gradient):
    return (weights * gradient).sum(dim=-1, keepdim=True)


SOFTMAX = "What a sharp softmax does to the gradient"

EXERCISE = Exercise(
    reference=RIGHT,
    run=_run,
    properties=_properties,
    mistakes=[
        _wrong(
            "the mean left out",
            "This is the variance for entries of mean 0. A product of two entries with a mean varies more: "
            "each factor's deviation is multiplied by the other's mean.",
            "means",
            lambda d, mean: d,
        ),
        _wrong(
            "the mean square instead of the variance",
            "This is the mean of the squared products. The square of their mean has not been taken away.",
            "means",
            lambda d, mean: d * (1 + mean**2) ** 2,
        ),
        _wrong(
            "one mean counted",
            "Only one of the two vectors has been given its mean; the other contributes as much.",
            "means",
            lambda d, mean: d * (1 + mean**2),
        ),
        _wrong(
            "the mean square of the whole score",
            "This is the mean of the squared score, which holds the square of its mean as well.",
            "means",
            lambda d, mean: d * (1 + 2 * mean**2) + (d * mean**2) ** 2,
        ),
        _wrong(
            "the correlation once",
            "Two different products share a correlation from the query and one from the key. "
            "Here only one of them is counted.",
            "correlated",
            lambda d, r: d + d * (d - 1) * r,
        ),
        _wrong(
            "each pair once",
            "The variance of a sum holds the covariance of every pair twice, once in each order.",
            "correlated",
            lambda d, r: d + d * (d - 1) / 2 * r**2,
        ),
        _wrong(
            "an entry paired with itself",
            "The products that are paired with themselves are counted again among the correlated pairs.",
            "correlated",
            lambda d, r: d + d**2 * r**2,
        ),
        _wrong(
            "correlation left out",
            "This is the variance for independent entries; the covariances between different products "
            "are missing.",
            "correlated",
            lambda d, r: d,
        ),
        _wrong(
            "both sides correlated",
            "This is the answer for correlation in both vectors. Here the key's entries are independent, "
            "and a covariance of products is a product of two covariances.",
            "one side",
            lambda d, r: d + d * (d - 1) * r**2,
        ),
        _wrong(
            "the query's correlation counted as the products'",
            "The products of different entries inherit no correlation unless both vectors have one.",
            "one side",
            lambda d, r: d + d * (d - 1) * r,
        ),
        _wrong(
            "a stranger instead of itself",
            "Mean 0 and variance d belong to two independent vectors. A vector's score with itself is "
            "its squared length.",
            "with itself",
            lambda d: (0, d),
        ),
        _wrong(
            "the mean square of one term",
            "The fourth moment of a normal entry has been taken for the variance of its square.",
            "with itself",
            lambda d: (d, 3 * d),
        ),
        _wrong(
            "variance one a term",
            "The mean is right, but the square of a normal entry does not have the variance 1.",
            "with itself",
            lambda d: (d, d),
        ),
        _wrong(
            "the diagonal alone",
            "Each weight is treated as if it depended on its own score only; the sum in the denominator "
            "is forgotten.",
            "backward",
            lambda weights, gradient: weights * (1 - weights) * gradient,
            SOFTMAX,
        ),
        _wrong(
            "weights times gradient",
            "The first half of the Jacobian is there, the outer product is missing. Adding a constant to "
            "all scores would seem to matter.",
            "backward",
            lambda weights, gradient: weights * gradient,
            SOFTMAX,
        ),
        _wrong(
            "the mean gradient taken away",
            "The mean over the keys is taken with equal weights, where the softmax takes it with its own.",
            "backward",
            lambda weights, gradient: weights * (gradient - gradient.mean(dim=-1, keepdim=True)),
            SOFTMAX,
        ),
        _wrong(
            "not multiplied by the weight",
            "The weighted mean is taken away, but the result is not multiplied by the weight of its own key.",
            "backward",
            lambda weights, gradient: gradient - _dot(weights, gradient),
            SOFTMAX,
        ),
        _wrong(
            "summed over the queries",
            "The weighted mean runs over the queries. Keys share a softmax; queries do not.",
            "backward",
            lambda weights, gradient: weights * (gradient - (weights * gradient).sum(dim=-2, keepdim=True)),
            SOFTMAX,
        ),
        _wrong(
            "only the first term multiplied by the weight",
            "The weighted mean is taken away as it is; its term, too, holds the weight of the own key.",
            "backward",
            lambda weights, gradient: weights * gradient - _dot(weights, gradient),
            SOFTMAX,
        ),
    ],
    see=(4, "Why the square root"),
    variants={
        "with the whole Jacobian": RIGHT
        | {
            "backward": lambda weights, gradient: (
                (torch.diag_embed(weights) - weights[..., :, None] * weights[..., None, :])
                @ gradient[..., None]
            )[..., 0]
        }
    },
)
