"""Checker: weights over the allowed keys, also for empty rows and large scores."""

import math

import torch

from attncourse.attention import masked_softmax
from attncourse.exercises._exercise import Exercise, Mistake, Property, normal


def _run(answer, inputs):
    """Return the weights, or the gradient at the scores where ``inputs`` name a direction."""
    if "direction" not in inputs:
        return answer(*inputs.values())
    scores = inputs["scores"].clone().requires_grad_()
    weights = answer(scores, inputs["mask"])
    return torch.autograd.grad((weights * inputs["direction"]).sum(), scores)[0]


def _some(rng, *shape):
    """Return a mask that leaves every row its first key and hides at least one."""
    mask = torch.from_numpy(rng.random(shape) < 0.6)
    mask[..., 0], mask[..., 1] = True, False
    return mask


def _properties(rng):
    everything = torch.ones(3, 7, dtype=torch.bool)
    one_empty, all_empty = _some(rng, 2, 3, 7), torch.zeros(2, 1, 5, dtype=torch.bool)
    one_empty[1, 2] = False
    some = _some(rng, 3, 7)
    huge = normal(rng, 3, 7) + torch.tensor([[1e6], [-1e6], [0.0]])
    return [
        Property("everything visible", [{"scores": normal(rng, 2, 3, 7), "mask": everything}], 1),
        Property(
            "some keys hidden",
            [
                {"scores": normal(rng, 2, 3, 7), "mask": some},
                {"scores": normal(rng, 2, 4, 3, 7), "mask": _some(rng, 2, 1, 1, 7)},
            ],
            2,
        ),
        Property("scores of a million", [{"scores": huge, "mask": some}], 1),
        Property(
            "hidden keys with large scores",
            [{"scores": normal(rng, 3, 7) + size * ~some, "mask": some} for size in (500.0, 1e6)],
            1,
        ),
        Property(
            "a query that sees nothing",
            [
                {"scores": normal(rng, 2, 3, 7), "mask": one_empty},
                {"scores": normal(rng, 2, 4, 5), "mask": all_empty},
            ],
            2,
        ),
        Property(
            "the gradient with a query that sees nothing",
            [{"scores": normal(rng, 2, 3, 7), "mask": one_empty, "direction": normal(rng, 2, 3, 7)}],
            2,
        ),
        Property(
            "double precision",
            [{"scores": 1000 + normal(rng, 2, 3, 7, dtype=torch.float64), "mask": some}],
            1,
        ),
    ]


def _fill(scores, mask, number=-math.inf):
    return scores.masked_fill(~mask, number)


def _no_maximum(scores, mask):
    exponentials = scores.exp() * mask
    return exponentials / exponentials.sum(dim=-1, keepdim=True).clamp_min(1e-30)


def _adds_infinity(scores, mask):
    added = torch.zeros(mask.shape, dtype=scores.dtype).masked_fill(~mask, -math.inf)
    return torch.nan_to_num((scores + added).softmax(dim=-1))


def _renormalises(scores, mask):
    kept = scores.softmax(dim=-1) * mask
    return kept / (kept.sum(dim=-1, keepdim=True) + 1e-9)


def _inverted(scores, mask):
    return torch.nan_to_num(_fill(scores, ~mask).softmax(dim=-1))


def _over_queries(scores, mask):
    return torch.nan_to_num(_fill(scores, mask).softmax(dim=-2))


def _in_place(scores, mask):
    scores[~mask.expand_as(scores)] = -math.inf
    weights = scores.softmax(dim=-1)
    weights[weights.isnan()] = 0.0
    return weights


def _single(scores, mask):
    return masked_softmax(scores.float(), mask).to(scores.dtype)


def _by_exponentials(scores, mask):
    largest = _fill(scores, mask, -1e30).amax(dim=-1, keepdim=True)
    exponentials = torch.where(mask, scores - largest, -math.inf).exp()
    total = exponentials.sum(dim=-1, keepdim=True)
    return exponentials / torch.where(total == 0, 1, total)


def _attends_to_everything(scores, mask):
    empty = ~mask.any(dim=-1, keepdim=True)
    return _fill(scores, mask | empty).softmax(dim=-1)


ROW = {"see": (4, "A row with nothing to attend to")}
WHEN = {"see": (4, "Before or after the softmax?")}

EXERCISE = Exercise(
    reference=masked_softmax,
    run=_run,
    properties=_properties,
    mistakes=[
        Mistake(
            "minus infinity alone",
            "A query that sees nothing has only scores of minus infinity, and its weights are 0/0: NaN, "
            "which would reach every parameter through the loss.",
            lambda scores, mask: _fill(scores, mask).softmax(dim=-1),
            **ROW,
        ),
        Mistake(
            "a large negative number",
            "Hidden scores get a finite number. Where all keys are hidden they are all equal, "
            "and the query quietly attends to the padding with equal weights.",
            lambda scores, mask: _fill(scores, mask, -1e9).softmax(dim=-1),
            **ROW,
        ),
        Mistake(
            "lowered by a fixed number",
            "Hidden scores are lowered by the same large number each. One that was larger still takes the "
            "weight, and where all keys are hidden nothing changes between them.",
            lambda scores, mask: (scores - 1e4 * ~mask).softmax(dim=-1),
            **ROW,
        ),
        Mistake(
            "NaN wiped from the weights",
            "Minus infinity is added and the NaN replaced afterwards. The weights look right, but the "
            "gradient passes back through the softmax and is NaN there.",
            _adds_infinity,
            **ROW,
        ),
        Mistake(
            "the mask lifted for empty rows",
            "A query that sees nothing is allowed to see everything, and its weights stay in the result.",
            _attends_to_everything,
            **ROW,
        ),
        Mistake(
            "maximum not subtracted",
            "The exponential of a large score overflows, and of a very negative one becomes 0 for the "
            "whole row.",
            _no_maximum,
            see=(4, "What a sharp softmax does to the gradient"),
        ),
        Mistake(
            "mask after the softmax",
            "Hidden keys still take part in the denominator, so the rows do not sum to 1 and hidden scores "
            "change the weights of the others.",
            lambda scores, mask: scores.softmax(dim=-1) * mask,
            **WHEN,
        ),
        Mistake(
            "renormalised afterwards",
            "Hidden keys take part until the end. Where one has a large score, the allowed weights are "
            "rounded to 0 beside it, and nothing is left to be renormalised.",
            _renormalises,
            **WHEN,
        ),
        Mistake(
            "scores times mask",
            "A hidden key gets the score 0, which is a score like any other: its weight is not 0.",
            lambda scores, mask: (scores * mask).softmax(dim=-1),
        ),
        Mistake(
            "mask inverted",
            "It hides the keys that may be seen and shows the others: True means that a key may be seen.",
            _inverted,
            see=(4, "What does True mean?"),
        ),
        Mistake(
            "softmax over the queries",
            "The columns sum to 1 instead of the rows: the softmax runs over the wrong axis.",
            _over_queries,
        ),
        Mistake(
            "the scores written to",
            "Minus infinity is written into the scores themselves. The caller's tensor is changed, and "
            "torch refuses where that tensor asks for its own gradient.",
            _in_place,
        ),
        Mistake(
            "computed in single precision",
            "The scores were converted to float32 on the way, and half of the digits of a float64 are lost.",
            _single,
            see=(4, "Half precision"),
        ),
    ],
    see=(4, "A row with nothing to attend to"),
    variants={
        "by exponentials": _by_exponentials,
        "filled, then NaN replaced": lambda scores, mask: torch.nan_to_num(
            _fill(scores, mask).softmax(dim=-1)
        ),
    },
)
