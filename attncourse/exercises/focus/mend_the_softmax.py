"""Checker: a softmax with a mask, mended."""

import numpy as np

from attncourse.exercises._exercise import Exercise, Mistake, Property
from attncourse.reference import masked_softmax


def _softmax(scores, mask, *, axis=-1, largest=None, hide=None, guard=True):
    hidden = np.where(mask, scores, -np.inf) if hide is None else hide(scores, mask)
    top = hidden.max(axis=-1, keepdims=True) if largest is None else largest(scores, hidden)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        exponentials = np.exp(hidden - (np.where(np.isinf(top), 0.0, top) if guard else top))
        total = exponentials.sum(axis=axis, keepdims=True)
        return exponentials / (np.where(total == 0, 1.0, total) if guard else total)


def _with(**changes):
    return lambda scores, mask: _softmax(scores, mask, **changes)


def _in_place(scores, mask):
    scores -= np.where(mask, scores, scores.min()).max(axis=-1, keepdims=True)
    exponentials = np.exp(np.where(mask, scores, -np.inf))
    total = exponentials.sum(axis=-1, keepdims=True)
    return exponentials / np.where(total == 0, 1.0, total)


def _after(scores, mask):
    return _softmax(scores, np.ones_like(mask)) * mask


def _zeros_in_the_maximum(scores, mask):
    shown = scores * mask
    exponentials = np.exp(shown - shown.max(axis=-1, keepdims=True)) * mask
    total = exponentials.sum(axis=-1, keepdims=True)
    return exponentials / np.where(total == 0, 1.0, total)


def _row_by_row(scores, mask):
    weights = np.zeros_like(scores)
    for place in np.ndindex(*scores.shape[:-1]):
        seen = mask[place]
        if seen.any():
            exponentials = np.exp(scores[place][seen] - scores[place][seen].max())
            weights[place][seen] = exponentials / exponentials.sum()
    return weights


def _properties(rng):
    def inputs(*shape, scale=1.0, shift=0.0, share=0.6):
        mask = rng.random(shape) < share
        mask[..., 0] = True
        return {"scores": scale * rng.normal(size=shape) + shift, "mask": mask}

    large = inputs(4, 7, scale=700.0, shift=800.0, share=1.1)
    uneven = inputs(3, 5, share=1.1)
    uneven["scores"] += np.array([[-1500.0], [0.0], [900.0]])
    tempting = inputs(4, 7)
    tempting["scores"] = np.where(tempting["mask"], tempting["scores"], 2000.0)
    low, far_below = inputs(4, 7, shift=-5.0), inputs(4, 7, shift=-1500.0)
    empty = inputs(2, 3, 5)
    empty["mask"][0, 1] = False
    return [
        Property("one row, everything visible", [inputs(1, 5, share=1.1)], 1),
        Property("several rows, everything visible", [inputs(4, 7, share=1.1)], 1),
        Property("large scores", [large, uneven], 2),
        Property("some keys hidden", [inputs(4, 7), low], 2),
        Property("hidden keys, visible scores far below", [tempting, far_below], 1),
        Property("a row with nothing to see", [empty], 1),
    ]


EXERCISE = Exercise(
    reference=masked_softmax,
    properties=_properties,
    mistakes=[
        Mistake(
            "written into the scores",
            "The weights are right, but the caller's scores are changed by the call; whoever uses them next "
            "reads other numbers.",
            _in_place,
        ),
        Mistake(
            "divided along the queries",
            "The columns sum to 1 instead of the rows: a key's weight depends on the other queries.",
            _with(axis=-2),
        ),
        Mistake(
            "one maximum for the whole array",
            "You subtract the largest of all scores. A row that lies far below it has only zeros left to "
            "divide by.",
            _with(largest=lambda scores, hidden: hidden.max(), guard=False),
            see=(2, "The exponential breaks first"),
        ),
        Mistake(
            "one maximum for all, and a guard",
            "You subtract the largest of all scores, so a row far below it vanishes, and the guard for "
            "empty rows hides that it did.",
            _with(largest=lambda scores, hidden: hidden.max()),
            see=(2, "The exponential breaks first"),
        ),
        Mistake(
            "no maximum subtracted",
            "Large scores overflow to infinity, and infinity over infinity is NaN.",
            _with(largest=lambda scores, hidden: np.zeros((*scores.shape[:-1], 1))),
            see=(2, "The exponential breaks first"),
        ),
        Mistake(
            "maximum of hidden keys",
            "The largest score of a row is taken over hidden keys, too. If one of them is far above the "
            "visible ones, these all become 0.",
            _with(largest=lambda scores, hidden: scores.max(axis=-1, keepdims=True)),
        ),
        Mistake(
            "hidden keys as 0 in the maximum",
            "Hidden keys enter the largest score of the row as 0. Visible scores far below 0 then leave "
            "nothing but zeros.",
            _zeros_in_the_maximum,
        ),
        Mistake(
            "scores times mask",
            "A hidden key gets the score 0, which is a score like any other. Its weight is not 0.",
            _with(hide=lambda scores, mask: scores * mask),
        ),
        Mistake(
            "mask after the softmax",
            "Hidden weights become 0 at the end, and those of the visible keys are too small: rows no "
            "longer sum to 1.",
            _after,
        ),
        Mistake(
            "a large negative number",
            "Hidden scores are a large negative number instead of minus infinity. A row in which all are "
            "hidden then has equal weights instead of zeros.",
            _with(hide=lambda scores, mask: np.where(mask, scores, -1e9)),
        ),
        Mistake(
            "no guard for an empty row",
            "Where a query may see nothing, minus infinity is subtracted from itself, and the row is NaN.",
            _with(guard=False),
        ),
        Mistake(
            "mask inverted",
            "You hide the keys that may be seen. True means that a query may attend.",
            lambda scores, mask: _softmax(scores, ~mask),
        ),
    ],
    see=(2, "The version we keep"),
    variants={"row by row": _row_by_row},
)
