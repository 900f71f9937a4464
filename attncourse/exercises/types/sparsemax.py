"""Checker: sparsemax in closed form for simple rows, and the gradient that passes through it."""

import torch

from attncourse.exercises._exercise import Exercise, Mistake, Property, normal
from attncourse.sparsemax import sparsemax


def _run(answer, inputs):
    part, *values = inputs.values()
    result = answer[part](*values)
    return result if part == "gradient" else float(result)


def _properties(rng):
    def lead(low, high):
        return float(rng.uniform(low, high))

    def gradient(*shape, scale):
        scores = scale * normal(rng, *shape, dtype=torch.float64)
        return {
            "part": "gradient",
            "weights": sparsemax(scores),
            "upstream": normal(rng, *shape, dtype=torch.float64),
        }

    def spacing(*cases):
        return [{"part": "kept", "spacing": step, "n_keys": n_keys} for step, n_keys in cases]

    alone = torch.tensor([[3.0, 0.0, 0.5, -1.0], [0.4, 0.1, 0.9, 0.3]])
    passed_back = normal(rng, 2, 4)
    return [
        Property(
            "two keys",
            [{"part": "two", "lead": one} for one in (0.0, lead(0.1, 0.5), lead(0.5, 0.9), lead(1.1, 3))],
            1,
        ),
        Property(
            "one key and its equal rivals",
            [
                {"part": "crowd", "lead": one, "n_keys": n_keys}
                for one, n_keys in (
                    (lead(0.1, 0.9), 2),
                    (lead(0.1, 0.9), 7),
                    (lead(0.1, 0.9), 40),
                    (lead(1.1, 3), 5),
                )
            ],
            1.5,
        ),
        Property(
            "evenly spaced scores",
            spacing((0.04, 30), (0.26, 30), (0.4, 9), (0.15, 9), (0.75, 6), (1.0, 6), (2.0, 6), (0.05, 3)),
            1.5,
        ),
        Property("the gradient, one row", [gradient(1, 7, scale=0.4), gradient(1, 9, scale=0.7)], 1.5),
        Property(
            "the gradient, several rows",
            [
                gradient(2, 3, 6, scale=0.8),
                {"part": "gradient", "weights": sparsemax(alone), "upstream": passed_back},
            ],
            1.5,
        ),
    ]


def _gradient(weights, upstream):
    """Let autograd find it: sparsemax of its own weights is again these weights, with the same keys in."""
    scores = weights.detach().clone()
    scores[weights == 0] -= 1.0
    scores.requires_grad_()
    return torch.autograd.grad(sparsemax(scores), scores, upstream)[0]


def _two(lead):
    return min(1.0, (1 + lead) / 2)


def _crowd(lead, n_keys):
    return min(1.0, lead + (1 - lead) / n_keys)


def _kept(spacing, n_keys):
    return max(k for k in range(1, n_keys + 1) if spacing * k * (k - 1) / 2 < 1)


def _kept_by_scores(spacing, n_keys):
    scores = -spacing * torch.arange(n_keys, dtype=torch.float64)
    return int((sparsemax(scores[None]) > 1e-9).sum())


def _of_softmax(weights, upstream):
    return weights * (upstream - (weights * upstream).sum(dim=-1, keepdim=True))


def _centred(weights, upstream):
    inside = weights > 0
    rows = zip(inside.flatten(0, -2), upstream.flatten(0, -2), strict=True)
    out = torch.zeros_like(upstream.flatten(0, -2))
    for row, (kept, above) in zip(out, rows, strict=True):
        row[kept] = above[kept] - above[kept].mean()
    return out.view_as(upstream)


def _centre_outside(weights, upstream):
    inside = (weights > 0).to(upstream)
    return upstream * inside - (upstream * inside).sum(-1, keepdim=True) / inside.sum(-1, keepdim=True)


def _over_all_rows(weights, upstream):
    inside = (weights > 0).to(upstream)
    return inside * (upstream - (upstream * inside).sum() / inside.sum())


EXERCISE = Exercise(
    reference={"two": _two, "crowd": _crowd, "kept": _kept, "gradient": _gradient},
    properties=_properties,
    run=_run,
    mistakes=[
        Mistake(
            "weights above 1",
            "The formula for two kept keys is used where only one is left: its weight is 1 and not more.",
            {"two": lambda lead: (1 + lead) / 2, "crowd": lambda lead, n: lead + (1 - lead) / n},
        ),
        Mistake(
            "the lead itself",
            "The lead is taken for the weight. It is the *difference* of the two weights, which also sum to "
            "1.",
            {"two": lambda lead: min(1.0, lead)},
        ),
        Mistake(
            "a softmax",
            "These are softmax weights, which no finite lead brings to 1.",
            {"two": lambda lead: torch.sigmoid(torch.tensor(lead))},
        ),
        Mistake(
            "one rival only",
            "The number of rivals plays no part. Each of them that is kept takes a share.",
            {"crowd": lambda lead, n_keys: _two(lead)},
        ),
        Mistake(
            "the limit of many rivals",
            "The lead is what the key keeps among infinitely many equal rivals; with few it keeps more.",
            {"crowd": lambda lead, n_keys: min(1.0, lead)},
        ),
        Mistake(
            "the leader not counted",
            "The rest is shared among the rivals alone, but the leader takes an equal share of it, too.",
            {"crowd": lambda lead, n_keys: min(1.0, lead + (1 - lead) / (n_keys - 1))},
        ),
        Mistake(
            "only differences from the best",
            "All keys less than 1 below the best are counted as kept. Those in between have taken shares by "
            "then.",
            {"kept": lambda spacing, n_keys: sum(k * spacing < 1 for k in range(n_keys))},
        ),
        Mistake(
            "one key too few",
            "The condition is that of the key that comes next.",
            {"kept": lambda s, n: max([k for k in range(1, n + 1) if s * k * (k + 1) / 2 < 1] or [1])},
        ),
        Mistake(
            "a bound that is reached",
            "A key whose weight comes out as exactly 0 is counted as kept.",
            {"kept": lambda s, n: max(k for k in range(1, n + 1) if s * k * (k - 1) / 2 <= 1)},
        ),
        Mistake(
            "more keys than there are",
            "The formula goes on beyond the row: no more keys can be kept than there are.",
            {"kept": lambda s, n: max(k for k in range(1, 60) if s * k * (k - 1) / 2 < 1)},
        ),
        Mistake(
            "the gradient of softmax",
            "This is how a softmax passes a gradient back, with the weights as factors.",
            {"gradient": _of_softmax},
        ),
        Mistake(
            "threshold held fixed",
            "Kept keys pass the gradient on as it is. The threshold depends on the scores, too: raise all of "
            "them, and no weight changes.",
            {"gradient": lambda weights, upstream: upstream * (weights > 0)},
        ),
        Mistake(
            "mean over all keys",
            "The mean runs over all keys of a row; those with weight 0 have no part in it.",
            {"gradient": lambda w, g: (w > 0) * (g - g.mean(dim=-1, keepdim=True))},
        ),
        Mistake(
            "keys without weight get a gradient",
            "The mean is taken off everywhere, so that keys with weight 0 get a gradient, too.",
            {"gradient": _centre_outside},
        ),
        Mistake(
            "one mean for all rows",
            "The mean is taken over the whole tensor; each row has its own threshold and its own mean.",
            {"gradient": _over_all_rows},
        ),
    ],
    see=(10, "Weights that are exactly zero"),
    variants={
        "by the package": {
            "two": lambda lead: sparsemax(torch.tensor([[lead, 0.0]], dtype=torch.float64))[0, 0].item(),
            "crowd": lambda lead, n: sparsemax(torch.tensor([[lead, *[0.0] * (n - 1)]], dtype=torch.float64))[
                0, 0
            ].item(),
            "kept": _kept_by_scores,
            "gradient": _centred,
        }
    },
)
