"""Checker: the gradients of layer normalisation, by hand."""

import torch

from attncourse.exercises._exercise import Exercise, Mistake, Property, normal

PARTS = ("input", "gain", "bias")


def _normal_form(x, epsilon, correction=0):
    sigma = (x.var(dim=-1, keepdim=True, correction=correction) + epsilon).sqrt()
    return (x - x.mean(dim=-1, keepdim=True)) / sigma, sigma


def _by_autograd(which):
    def gradient(x, upper, gain, epsilon):
        with torch.enable_grad():
            leaves = [one.detach().clone().requires_grad_() for one in (x, gain, torch.zeros_like(gain))]
            output = leaves[1] * _normal_form(leaves[0], epsilon)[0] + leaves[2]
            return torch.autograd.grad(output, leaves[which], upper)[0]

    return gradient


def _input(lacks="", correction=0):
    def gradient(x, upper, gain, epsilon):
        unit, sigma = _normal_form(x, 0.0 if lacks == "epsilon" else epsilon, correction)
        inner = upper if lacks == "gain" else upper * gain
        mean = 0.0 if lacks == "mean" else inner.mean(dim=-1, keepdim=True)
        along = 0.0 if lacks == "spread" else unit * (inner * unit).mean(dim=-1, keepdim=True)
        if lacks == "direction":
            along = (inner * unit).mean(dim=-1, keepdim=True)
        if lacks == "rest":
            along = along / unit.square().mean(dim=-1, keepdim=True)
        if lacks == "signs":
            mean, along = -mean, -along
        if lacks == "sums":
            mean, along = mean * x.shape[-1], along * x.shape[-1]
        return (inner - mean - along) / (1.0 if lacks == "root" else sigma)

    return gradient


def _gain_at_the_end(x, upper, gain, epsilon):
    return gain * _input("gain")(x, upper, gain, epsilon)


def _epsilon_outside(x, upper, gain, epsilon):
    unit, sigma = _normal_form(x, 0.0)
    unit, inner = unit * sigma / (sigma + epsilon), upper * gain
    along = unit * (inner * unit).mean(dim=-1, keepdim=True)
    return (inner - inner.mean(dim=-1, keepdim=True) - along) / (sigma + epsilon)


def _gain(x, upper, gain, epsilon):
    return (upper * _normal_form(x, epsilon)[0]).sum(dim=(0, 1))


def _path(ratio, n_sublayers):
    return (1 + ratio**2) ** (-n_sublayers / 2)


def _run(answer, inputs):
    part, *others = inputs.values()
    with torch.no_grad():
        return answer[part](*others)


def _properties(rng):
    def case(part, size=1.0, epsilon=1e-5, plain=False, shape=(2, 5, 7)):
        gain = normal(rng, shape[-1], dtype=torch.float64)
        return {
            "part": part,
            "x": size * normal(rng, *shape, dtype=torch.float64) + 2,
            "upper": normal(rng, *shape, dtype=torch.float64),
            "gain": torch.ones_like(gain) if plain else gain,
            "epsilon": epsilon,
        }

    ratios = [(1.0, 6), (0.3, 12), (float(rng.uniform(0.5, 2)), 1), (float(rng.uniform(0.1, 1)), 25)]
    return [
        Property('part "bias"', [case("bias"), case("bias", shape=(3, 4, 6))], 1),
        Property('part "gain"', [case("gain"), case("gain", size=0.1, epsilon=0.02, shape=(3, 4, 6))], 1),
        Property('part "input", gain 1 and tiny ε', [case("input", epsilon=1e-9, plain=True)], 2),
        Property('part "input", any gain', [case("input"), case("input", size=3.0, shape=(1, 4, 8))], 1),
        Property('part "input", ε as large as the variance', [case("input", size=0.1, epsilon=0.02)], 1),
        Property('part "path"', [{"part": "path", "ratio": r, "n_sublayers": n} for r, n in ratios], 1),
    ]


EXERCISE = Exercise(
    reference={"input": _by_autograd(0), "gain": _by_autograd(1), "bias": _by_autograd(2), "path": _path},
    properties=_properties,
    run=_run,
    mistakes=[
        Mistake(
            "the mean held fixed",
            "The term that comes from the mean is missing: moving one feature moves the mean of all.",
            {"input": _input("mean")},
        ),
        Mistake(
            "the standard deviation held fixed",
            "The term that comes from the standard deviation is missing: moving one feature changes what "
            "all are divided by.",
            {"input": _input("spread")},
        ),
        Mistake(
            "sums for means",
            "The two correcting terms hold sums over the features where they should hold means.",
            {"input": _input("sums")},
        ),
        Mistake(
            "the correcting terms added",
            "The two correcting terms have the wrong sign: what all features share is taken out of the "
            "gradient, not put in twice.",
            {"input": _input("signs")},
        ),
        Mistake(
            "the spread as a constant",
            "The term that comes from the standard deviation is the same for all features. A feature far "
            "from the mean moves the standard deviation more than one near it.",
            {"input": _input("direction")},
        ),
        Mistake(
            "the direction taken out completely",
            "What points along the normalised vector was taken out completely. That is so for ε = 0 only: "
            "otherwise a stretch is noticed a little.",
            {"input": _input("rest")},
        ),
        Mistake(
            "the gain left out",
            "The gradient that reaches the normalised vector has passed through the gain; here it has not.",
            {"input": _input("gain")},
        ),
        Mistake(
            "the gain at the wrong end",
            "The gain was multiplied at the end. On the way down a gradient meets the gain first and the "
            "normalisation "
            "after it, and the means mix what the gain has weighted.",
            {"input": _gain_at_the_end},
        ),
        Mistake(
            "ε outside the root",
            "ε was added to the standard deviation; it stands under the root, beside the variance.",
            {"input": _epsilon_outside},
            see=(8, "Layer normalisation: every token at one size"),
        ),
        Mistake(
            "not divided",
            "The direction is right, and the factor of the standard deviation is missing.",
            {"input": _input("root")},
        ),
        Mistake(
            "ε left out",
            "The formula is that for ε = 0. Where the variance is as small as ε, it is another one.",
            {"input": _input("epsilon")},
        ),
        Mistake(
            "unbiased variance",
            "The variance was divided by the number of features less one.",
            {"input": _input(correction=1)},
            see=(8, "Layer normalisation: every token at one size"),
        ),
        Mistake(
            "a gradient for each token",
            "Gain and bias are the same for all tokens, so each of their gradients is a sum over all tokens.",
            {
                "gain": lambda x, upper, gain, epsilon: upper * _normal_form(x, epsilon)[0],
                "bias": lambda x, upper, gain, epsilon: upper.clone(),
            },
        ),
        Mistake(
            "a gradient for each place",
            "The gradient was summed over the sequences only; the tokens of a sequence share gain and bias, "
            "too.",
            {
                "gain": lambda x, upper, gain, epsilon: (upper * _normal_form(x, epsilon)[0]).sum(dim=0),
                "bias": lambda x, upper, gain, epsilon: upper.sum(dim=0),
            },
        ),
        Mistake(
            "the gain's gradient from x",
            "The gain multiplies the normalised vector, not the incoming one.",
            {"gain": lambda x, upper, gain, epsilon: (upper * x).sum(dim=(0, 1))},
        ),
        Mistake(
            "means over the tokens",
            "The gradients of gain or bias were averaged over the tokens. The chain rule adds them; a mean, "
            "if any, belongs "
            "to the loss.",
            {
                "gain": lambda *inputs: _gain(*inputs) / inputs[0][..., 0].numel(),
                "bias": lambda x, upper, gain, epsilon: upper.mean(dim=(0, 1)),
            },
        ),
        Mistake(
            "the bias behind the gain",
            "The bias is added after the gain, so the gain has no part in its gradient.",
            {"bias": lambda x, upper, gain, epsilon: (upper * gain).sum(dim=(0, 1))},
        ),
        Mistake(
            "sizes added",
            "The sizes were added up. Independent features add their variances.",
            {"path": lambda ratio, n_sublayers: (1 + ratio) ** -n_sublayers},
        ),
        Mistake(
            "a growing gradient",
            "This is one over the number: what is divided on the way up is divided on the way down, too.",
            {"path": lambda ratio, n_sublayers: 1 / _path(ratio, n_sublayers)},
        ),
        Mistake(
            "the root of two for every ratio",
            "The factor is that for a ratio of 1. A small output of a sublayer shortens the path less.",
            {"path": lambda ratio, n_sublayers: _path(1.0, n_sublayers)},
        ),
        Mistake(
            "variances for standard deviations",
            "This is the square of the number: the gradient is divided by a standard deviation.",
            {"path": lambda ratio, n_sublayers: (1 + ratio**2) ** -n_sublayers},
        ),
    ],
    see=(8, "Layer normalisation: every token at one size"),
    variants={
        "by the formula": {
            "input": _input(),
            "gain": _gain,
            "bias": lambda x, upper, gain, epsilon: upper.sum(dim=0).sum(dim=0),
            "path": _path,
        }
    },
)
