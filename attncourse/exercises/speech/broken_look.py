"""Checker: mend the look of a location-aware decoder."""

import torch
from torch.nn import functional as F

from attncourse.attention import masked_softmax
from attncourse.exercises._exercise import Exercise, Mistake, Property, normal

PLACES = {
    "same": (1, 1),
    "ahead": (0, 2),
    "before": (2, 0),
}  # paddings in front, behind


def _look(*, padding="same", tanh="inside", mask="scores", flip=False):
    def look(query, states, last, shown, parts):
        filters = parts["filters"].flip(-1) if flip else parts["filters"]
        half = filters.shape[-1] // 2
        if padding == "behind":
            location = F.pad(F.conv1d(last[:, None], filters), (0, 2 * half))
        else:
            front, behind = (times * half for times in PLACES[padding])
            location = F.conv1d(F.pad(last[:, None], (front, behind)), filters)
        hidden = (query @ parts["A_query"])[:, None] + states @ parts["A_key"] + parts["bias"]
        if tanh == "without the place":
            hidden = hidden.tanh() + location.mT @ parts["U"]
        else:
            hidden = hidden + location.mT @ parts["U"]
        hidden = hidden.tanh() if tanh == "inside" else hidden
        scores = hidden @ parts["readout"]
        scores = scores.tanh() if tanh == "outside" else scores
        scores = scores * shown if mask == "product" else scores
        weights = masked_softmax(scores, shown if mask == "scores" else None)
        if mask == "weights":
            weights = weights * shown
        return (weights[:, None] @ states)[:, 0], weights

    return look


def _properties(rng):
    def inputs(n_states, lengths, place=None, dtype=torch.float32, width=7):
        def drawn(*shape):
            return normal(rng, *shape, dtype=dtype)

        mask = torch.arange(n_states) < torch.tensor(lengths)[:, None]
        last = drawn(len(lengths), n_states).masked_fill(~mask, -torch.inf).softmax(dim=-1)
        if place is not None:
            last = F.one_hot(torch.full((len(lengths),), place), n_states).to(dtype)
        return {
            "query": drawn(len(lengths), 4),
            "states": 1.5 * drawn(len(lengths), n_states, 3),
            "last": last,
            "mask": mask,
            "parts": {
                "A_query": drawn(4, 5),
                "A_key": drawn(3, 5),
                "bias": drawn(5),
                "filters": 2 * drawn(6, 1, width),
                "U": drawn(6, 5),
                "readout": drawn(5),
            },
        }

    return [
        Property(
            "the last look at the end of the sound", [inputs(9, [9, 9], 8), inputs(8, [8], 7, width=3)], 1
        ),
        Property("the last look in the middle", [inputs(11, [11, 11, 11], 5), inputs(12, [12, 12])], 2),
        Property("padding behind the sound", [inputs(10, [10, 4, 1])], 2),
        Property("fewer states than a filter is wide", [inputs(4, [4, 2])], 1),
        Property("double precision", [inputs(9, [7, 9], dtype=torch.float64)], 1),
    ]


def _by_hand(query, states, last, mask, parts):
    filters = parts["filters"][:, 0]
    half = filters.shape[1] // 2
    padded = F.pad(last, (half, half))
    location = torch.einsum("bjd,fd->bjf", padded.unfold(1, filters.shape[1], 1), filters)
    compared = torch.einsum("bq,qh->bh", query, parts["A_query"])[:, None, :] + states @ parts["A_key"]
    scores = torch.tanh(compared + location @ parts["U"] + parts["bias"]) @ parts["readout"]
    weights = scores.masked_fill(~mask, -torch.inf).softmax(dim=1)
    return torch.einsum("bj,bjd->bd", weights, states), weights


BEHIND = "The filters still read only the states from a place on and none before it"
NO_TANH = (
    "without a bend between query and key, the query adds the same to all scores and drops out of the softmax"
)

EXERCISE = Exercise(
    reference=_look(),
    properties=_properties,
    mistakes=[
        Mistake(
            "nothing mended",
            "This computes what the broken version computes. Feed it a last look on one state, another "
            "query, and a longer padding, and see what moves.",
            _look(padding="behind", tanh="nowhere", mask="nowhere"),
        ),
        Mistake(
            "only the reach mended",
            f"The filters reach to both sides now. Two faults are left: {NO_TANH}; and padding gets weight.",
            _look(tanh="nowhere", mask="nowhere"),
        ),
        Mistake(
            "only the bend mended",
            f"The query counts now. Two faults are left. {BEHIND}; and padding gets weight.",
            _look(padding="behind", mask="nowhere"),
        ),
        Mistake(
            "only the mask mended",
            f"Padding is hidden now. Two faults are left. {BEHIND}; and {NO_TANH}.",
            _look(padding="behind", tanh="nowhere"),
        ),
        Mistake(
            "filters read what lies ahead only",
            f"{BEHIND}, so the score cannot see a last look that lies earlier in the sound.",
            _look(padding="ahead"),
        ),
        Mistake(
            "padding behind the filters",
            "One fault is left: the zeros are put behind what the filters found, so every result stands too "
            "far to the front, and a sound shorter than a filter fails.",
            _look(padding="behind"),
        ),
        Mistake(
            "filters read what lies before only",
            "The filters read only the states up to a place and none after it: the padding now "
            "stands all in front.",
            _look(padding="before"),
        ),
        Mistake("no bend", f"One fault is left: {NO_TANH}.", _look(tanh="nowhere")),
        Mistake(
            "bend in the wrong place",
            "The tanh is applied to the finished scores. By then the query is one number, the same for "
            "all states, so every query puts them into the same order.",
            _look(tanh="outside"),
            see=(3, "Additive: a small network"),
        ),
        Mistake(
            "place outside the bend",
            "What the filters found is added behind the tanh, so query and key cannot change how "
            "the place counts.",
            _look(tanh="without the place"),
        ),
        Mistake(
            "no mask",
            "One fault is left: states behind the end of the sound get weight, so more padding "
            "changes the answer.",
            _look(mask="nowhere"),
        ),
        Mistake(
            "scores times the mask",
            "Hidden states get the score 0. Real scores can be negative, and e to the power 0 is 1, so the "
            "padding still gets weight.",
            _look(mask="product"),
            see=(4, "Masks: who may attend to whom"),
        ),
        Mistake(
            "mask on the weights",
            "Hidden states get weight 0, but they took part in the softmax: the weights of the real "
            "ones sum to less than 1.",
            _look(mask="weights"),
            see=(4, "Masks: who may attend to whom"),
        ),
        Mistake(
            "filters turned round",
            "The filters are read backwards: what should count a look before this state counts one after it.",
            _look(flip=True),
        ),
    ],
    see=(13, "Tell the score where it looked last"),
    variants={"with unfold": _by_hand},
)
