"""Checker: the bias of the straight-through gradient, by enumerating all choices."""

import torch
from torch.nn import functional as F

from attncourse.exercises._exercise import Exercise, Mistake, Property, normal

WANTED = torch.tensor([0.5, -1.0, 0.25], dtype=torch.float64)
COSTS = {
    "squared distance": lambda context: ((context - WANTED) ** 2).sum(),
    "linear": lambda context: context @ WANTED,
    "cross-entropy": lambda context: F.cross_entropy(context, torch.tensor(1)),
}


def _expected(scores, contents, cost):
    scores = scores.detach().requires_grad_()
    p = scores.softmax(dim=-1)
    total = sum(p[k] * cost(row) for k, row in enumerate(contents))
    return torch.autograd.grad(total, scores)[0]


def _straight(scores, contents, cost, *, uniform=False, at_mixture=False, forgets=False, from_p=False):
    scores = scores.detach().requires_grad_()
    total = torch.zeros_like(scores)
    for k in range(len(scores)):
        p = scores.softmax(dim=-1)
        choice = torch.eye(len(scores), dtype=scores.dtype)[k]
        weights = p if at_mixture else choice + p if forgets else choice + p - p.detach()
        (gradient,) = torch.autograd.grad(cost(weights @ contents), p if from_p else scores)
        total += gradient / len(scores) if uniform else p[k].detach() * gradient
    return total


def _bias(scores, contents, cost):
    return _straight(scores, contents, cost) - _expected(scores, contents, cost)


def _soft_truth(scores, contents, cost):
    return _straight(scores, contents, cost) - _straight(scores, contents, cost, at_mixture=True)


def _bias_of(scores, contents, costs, slopes):
    """Return the bias and the true gradient of a cost, known at the contents with its slopes there."""
    p = scores.softmax(dim=-1)
    mean = p @ (slopes @ contents.T)
    true = p * (costs - p @ costs)
    return p * (mean - p @ mean) - true, true


def _by_hand(scores, contents, cost):
    leaf = contents.clone().requires_grad_()
    (slopes,) = torch.autograd.grad(sum(map(cost, leaf)), leaf)
    return _bias_of(scores.detach(), contents, torch.stack([cost(row) for row in contents]), slopes)[0]


def _linear(context):
    return 2 * context[1] - context.sum()


def _spread(p, contents):
    mean = p @ contents
    return p @ ((contents - mean) ** 2).sum(dim=-1)


def _run(answer, inputs):
    name, scores, contents = inputs["part"], inputs.get("scores"), inputs.get("contents")
    if name == "prediction":
        return answer["prediction"] in ("a", "b", "c")
    if name == "bias":
        return answer["bias"](scores, contents, COSTS[inputs["cost"]]).detach()
    if name == "unbiased":
        leaves = [row.clone().requires_grad_() for row in contents]
        costs = [answer["unbiased"](leaf.clone()) for leaf in leaves]
        slopes = [torch.autograd.grad(cost, leaf)[0] for cost, leaf in zip(costs, leaves, strict=True)]
        return {"costs": torch.stack(costs), "slopes": torch.stack(slopes)}
    scores = scores.clone().requires_grad_()
    return torch.autograd.grad(-answer["spread"](scores.softmax(dim=-1), contents), scores)[0]


def _reading(output, inputs):
    # A cost is known at the contents, with its slopes there; that is all that its gradients depend on.
    if inputs["part"] != "unbiased":
        return output
    scores, contents = inputs["scores"], inputs["contents"]
    costs, slopes = output["costs"], output["slopes"]
    if costs.numel() != len(scores) or slopes.shape != contents.shape:
        raise ValueError("a cost must be one number")
    bias, moves = _bias_of(scores, contents, costs.reshape(-1).double(), slopes)
    return {
        "the bias is zero": bias.abs().max().item() < 1e-6,
        "the true gradient is zero": moves.abs().max().item() < 1e-6,
    }


def _properties(rng):
    def inputs(part, n_choices, **more):
        numbers = {"scores": normal(rng, n_choices, dtype=torch.float64)}
        return {"part": part, **numbers, "contents": normal(rng, n_choices, 3, dtype=torch.float64), **more}

    return [
        Property("a prediction", [{"part": "prediction"}], 0.5),
        Property("the bias of a linear cost", [inputs("bias", 4, cost="linear")], 1),
        Property("the bias of a squared distance", [inputs("bias", 5, cost="squared distance")], 2),
        Property(
            "the bias of a cross-entropy",
            [inputs("bias", 3, cost="cross-entropy"), inputs("bias", 6, cost="cross-entropy")],
            2,
        ),
        Property("a cost without bias", [inputs("unbiased", n) for n in (3, 5)], 1.5),
        Property("the spread", [inputs("spread", n) for n in (2, 6)], 2),
    ]


EXERCISE = Exercise(
    reference={"prediction": "b", "bias": _bias, "unbiased": _linear, "spread": _spread},
    properties=_properties,
    run=_run,
    reading=_reading,
    mistakes=[
        Mistake(
            "sign reversed",
            "The difference was taken the other way round: a bias is what an estimate says on average, "
            "minus the truth.",
            {"bias": lambda *inputs: -_bias(*inputs)},
        ),
        Mistake(
            "the estimate alone",
            "What is left is the mean of the straight-through gradient. Either the true gradient was never "
            "taken away, or the chance in front of each draw has a gradient too, which puts the true one "
            "back in.",
            {"bias": _straight},
        ),
        Mistake(
            "the mean over places",
            "Every choice was given the same weight, but the choices are drawn with the probabilities of "
            "the softmax.",
            {"bias": lambda *inputs: _straight(*inputs, uniform=True) - _expected(*inputs)},
        ),
        Mistake(
            "the cost of the mixture as the truth",
            "What you call the true gradient is that of soft attention, the cost of the mixed context. With "
            "a hard choice the expected cost mixes the costs of the contents.",
            {"bias": _soft_truth},
        ),
        Mistake(
            "soft attention as the estimate",
            "The slope of the cost was taken at the mixture. Straight-through uses the choice forwards, so "
            "the slope is that at the chosen content.",
            {"bias": lambda *inputs: _straight(*inputs, at_mixture=True) - _expected(*inputs)},
        ),
        Mistake(
            "probabilities added twice",
            "The weights are the choice plus the probabilities and sum to 2: what has a gradient must be "
            "zero in numbers.",
            {"bias": lambda *inputs: _straight(*inputs, forgets=True) - _expected(*inputs)},
        ),
        Mistake(
            "gradient for the probabilities",
            "The gradient of the estimate stops at the probabilities; it was asked for the scores.",
            {"bias": lambda *inputs: _straight(*inputs, from_p=True) - _expected(*inputs)},
        ),
        Mistake(
            "a constant cost",
            "A cost that reads nothing has no bias because both gradients are zero. Find one that depends "
            "on the context.",
            {"unbiased": lambda context: 0 * context.sum() + 1.0},
        ),
        Mistake(
            "a cost that bends",
            "Between two contents this cost is not a straight line, so the cost of a mixture is not the "
            "mixture of the costs, and the bias stays.",
            {"unbiased": lambda context: ((context - WANTED) ** 2).sum()},
        ),
        Mistake(
            "the mean not taken away",
            "This is the mean squared length of the contents: it changes when all contents are shifted by "
            "the same vector, and a bias of squared distances does not.",
            {"spread": lambda p, contents: p @ (contents**2).sum(dim=-1)},
        ),
        Mistake(
            "distances from the plain mean",
            "The squared distances were taken from the mean of all contents with equal weights, not from "
            "what is read on average.",
            {"spread": lambda p, contents: p @ ((contents - contents.mean(dim=0)) ** 2).sum(dim=-1)},
        ),
        Mistake(
            "the opposite",
            "The right quantity with the wrong sign: write down the expected squared distance as that of "
            "the mean, plus something.",
            {"spread": lambda p, contents: -_spread(p, contents)},
        ),
    ],
    see=(11, "Hard attention: pick one"),
    variants={
        "closed forms": {
            "prediction": "a",
            "bias": _by_hand,
            "unbiased": lambda context: 3 * context[0] - context[2],
            "spread": lambda p, contents: p @ (contents**2).sum(dim=-1) - ((p @ contents) ** 2).sum(),
        }
    },
)
