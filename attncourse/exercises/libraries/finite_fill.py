"""Checker: what a finite number in place of minus infinity hides, and what it does not."""

import math

import torch

from attncourse.exercises._exercise import Exercise, Mistake, Property, normal

CHOICES = ("a", "b", "c", "d")


def _weights(scores, mask, fill):
    return (scores + torch.where(mask, 0.0, fill).to(scores.dtype)).softmax(dim=-1)


def _leak(scores, mask, fill):
    return (_weights(scores, mask, fill) * ~mask).sum(dim=-1)


def _kind(row, fill):
    weights = _weights(row, torch.zeros_like(row, dtype=torch.bool), fill)
    if weights.isnan().any():
        return "NaN"
    equal = torch.full_like(row, 1 / len(row))
    return "mean" if torch.allclose(weights, equal, rtol=0.0, atol=0.01) else "unmasked"


def _replaced(scores, mask, fill):
    return scores.masked_fill(~mask, fill).softmax(dim=-1)


def _with_weights(weights):
    """Return wrong answers that follow from wrong weights."""

    def kind(row, fill):
        found = weights(row[None], torch.zeros_like(row, dtype=torch.bool)[None], fill)[0]
        equal = torch.full_like(row, 1 / len(row))
        return (
            "NaN"
            if found.isnan().any()
            else "mean"
            if torch.allclose(found, equal, atol=0.01)
            else "unmasked"
        )

    return {
        "weights": weights,
        "leak": lambda scores, mask, fill: (weights(scores, mask, fill) * ~mask).sum(dim=-1),
        "kind": kind,
    }


def _run(answers, inputs):
    name, *rest = inputs.values()
    return answers[name] in CHOICES if name.startswith("prediction") else answers[name](*rest)


def _properties(rng):
    def case(part, fill, dtype=torch.float32, empty=False):
        mask = torch.from_numpy(rng.random((4, 7)) < 0.6)
        mask[:, 0], mask[:, 1] = True, False
        if empty:
            mask[2] = False
        return {"part": part, "scores": 2 * normal(rng, 4, 7, dtype=dtype), "mask": mask, "fill": fill}

    def almost(other, fill=-2.0):
        """Return a row in which one score differs, so that its weight differs from the others."""
        spread = torch.zeros(12, dtype=torch.float64)
        spread[int(rng.integers(12))] = other
        return {"part": "kind", "row": spread, "fill": fill}

    def row(fill, dtype):
        spread = torch.linspace(-2, 2, 6)[torch.from_numpy(rng.permutation(6))].to(dtype)
        return {"part": "kind", "row": spread + normal(rng, 6, dtype=dtype) / 4, "fill": fill}

    return [
        Property("predictions are given", [{"part": "prediction_large"}, {"part": "prediction_small"}], 0.5),
        Property("weights", [case("weights", fill) for fill in (-3.0, -20.0, -math.inf)], 1),
        Property(
            "weights in other number formats",
            [case("weights", -4.0, dtype) for dtype in (torch.float16, torch.float64)],
            0.5,
        ),
        Property(
            "weights where a query has no key",
            [case("weights", -5.0, empty=True), case("weights", -1e9, torch.float64, empty=True)],
            1,
        ),
        Property(
            "leaks",
            [*(case("leak", fill, torch.float64) for fill in (-1.0, -4.0, -8.0)), case("leak", -math.inf)],
            2,
        ),
        Property(
            "kinds in float32",
            [row(fill, torch.float32) for fill in (-10.0, -1e4, -1e9, -1e30, -math.inf)],
            2,
        ),
        Property("weights that are almost equal", [almost(x) for x in (0.08, 0.155, 0.5, -0.5)], 0.5),
        Property(
            "kinds in float64", [row(fill, torch.float64) for fill in (-1e4, -1e9, -1e30, -math.inf)], 1
        ),
        Property("kinds in float16", [row(fill, torch.float16) for fill in (-100.0, -6e4, -math.inf)], 1),
    ]


def _remark(outputs):
    kinds = outputs["kinds in float32"]
    return (
        f"By your measurement a row in which all is hidden is “{kinds[2]}” with −1e9 and "
        f"“{kinds[1]}” with −1e4, "
        "both in float32. Compare this with your predictions."
    )


ANSWERS = {
    "prediction_large": "c",
    "prediction_small": "d",
    "weights": _weights,
    "leak": _leak,
    "kind": _kind,
}

EXERCISE = Exercise(
    reference=ANSWERS,
    properties=_properties,
    run=_run,
    remark=_remark,
    mistakes=[
        Mistake(
            "always the mean",
            "A row in which all is hidden is taken to be uniform whatever the number is. It is so only where "
            "adding the number loses all differences.",
            {"kind": lambda row, fill: "NaN" if fill == -math.inf else "mean"},
        ),
        Mistake(
            "replaced instead of added",
            "Hidden scores are replaced by the number. Added to, they keep their differences, "
            "as far as the number format can hold them.",
            _with_weights(_replaced),
        ),
        Mistake(
            "polarity",
            "The number is added where the mask is True. In this course True = may attend.",
            _with_weights(lambda scores, mask, fill: _weights(scores, ~mask, fill)),
        ),
        Mistake(
            "the number times the mask",
            "The number is multiplied by the mask. Minus infinity times 0 is NaN, where a key may be read.",
            _with_weights(
                lambda scores, mask, fill: (scores + fill * (~mask).to(scores.dtype)).softmax(dim=-1)
            ),
        ),
        Mistake(
            "in single precision",
            "The numbers to add are an array of float32 whatever the scores are, so half "
            "precision comes back as float32.",
            {
                "weights": lambda scores, mask, fill: (scores + torch.where(mask, 0.0, fill).float()).softmax(
                    dim=-1
                )
            },
        ),
        Mistake(
            "over the queries",
            "The softmax runs over the queries: columns sum to 1 and rows do not.",
            {
                "weights": lambda scores, mask, fill: (
                    scores + torch.where(mask, 0.0, fill).to(scores.dtype)
                ).softmax(dim=-2)
            },
        ),
        Mistake(
            "after the softmax",
            "The number is added to the weights, where it no longer means anything.",
            {
                "weights": lambda scores, mask, fill: (
                    scores.softmax(dim=-1) + torch.where(mask, 0.0, fill).to(scores.dtype)
                )
            },
        ),
        Mistake(
            "what the visible keys get",
            "This is the weight of the visible keys; a leak is the weight of the hidden ones.",
            {"leak": lambda scores, mask, fill: (_weights(scores, mask, fill) * mask).sum(dim=-1)},
        ),
        Mistake(
            "one leak for all queries",
            "The leaks of all queries are averaged. The question is asked for each of them.",
            {"leak": lambda scores, mask, fill: _leak(scores, mask, fill).mean()},
        ),
        Mistake(
            "in double precision",
            "The row is turned to float64 before the number is added, and float64 keeps what the row's own "
            "format would have lost.",
            {"kind": lambda row, fill: _kind(row.double(), fill)},
        ),
        Mistake(
            "NaN overlooked",
            "A comparison with NaN is always False, so a test for the mean alone calls NaN something else.",
            {"kind": lambda row, fill: "unmasked" if _kind(row, fill) == "NaN" else _kind(row, fill)},
            see=(14, "A query that may attend nowhere"),
        ),
    ],
    see=(14, "A mask of numbers"),
    variants={
        "other predictions, counted from the visible keys": ANSWERS
        | {
            "prediction_large": "a",
            "leak": lambda scores, mask, fill: 1 - (_weights(scores, mask, fill) * mask).sum(dim=-1),
        }
    },
)
