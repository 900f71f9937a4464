"""Checker: one step of an online softmax, for a block of keys."""

import math

import torch

from attncourse.exercises._exercise import Exercise, Mistake, Property, normal


def _absorb(largest, total, mixed, scores, value):
    joined = torch.cat([largest, scores], dim=-1)
    new_largest = joined.amax(dim=-1, keepdim=True)
    factors = (joined - new_largest).exp().masked_fill(joined == -math.inf, 0.0)
    shrink, weights = factors[..., :1], factors[..., 1:]
    return new_largest, shrink * total + weights.sum(dim=-1, keepdim=True), shrink * mixed + weights @ value


def _properties(rng):
    def state(*leading):
        scores, value = normal(rng, *leading, 3), normal(rng, *leading[:-1], 3, 4)
        largest = scores.amax(dim=-1, keepdim=True)
        weights = (scores - largest).exp()
        return {"largest": largest, "total": weights.sum(dim=-1, keepdim=True), "mixed": weights @ value}

    def block(*leading, shift=0.0, factor=1.0):
        scores, value = normal(rng, *leading, 6), normal(rng, *leading[:-1], 6, 4)
        return {"scores": shift + factor * scores, "value": value}

    def nothing(*leading):
        return {
            "largest": torch.full((*leading, 1), -math.inf),
            "total": torch.zeros(*leading, 1),
            "mixed": torch.zeros(*leading, 4),
        }

    late = state(2, 3, 5) | block(2, 3, 5)
    late["scores"][..., ::2] = -math.inf  # some keys hidden
    late["scores"][0, 1] = -math.inf  # and for some queries the whole block
    unseen = nothing(2, 3, 5) | block(2, 3, 5)
    unseen["scores"][:, :, 1:3] = -math.inf
    large = state(2, 3, 5) | block(2, 3, 5, factor=90.0)
    large["largest"] += 300.0
    large["scores"] += torch.tensor([0.0, 0.0, 300.0, 300.0, 600.0])[:, None]
    double = {name: array.double() for name, array in (state(2, 3, 5) | block(2, 3, 5)).items()}
    return [
        Property("the first block", [nothing(2, 3, 5) | block(2, 3, 5)], 1),
        Property("a block with larger scores", [state(2, 3, 5) | block(2, 3, 5, shift=4.0)], 2),
        Property("a block with smaller scores", [state(2, 3, 5) | block(2, 3, 5, shift=-4.0)], 1),
        Property("scores in the hundreds", [large], 1),
        Property("hidden keys after others", [late, double], 1),
        Property("queries that have seen no key yet", [unseen], 2),
    ]


def _step(
    shrink_total=True, shrink_mixed=True, upside_down=False, guard=True, divide=False, largest_of="both"
):
    def absorb(largest, total, mixed, scores, value):
        of_block = scores.amax(dim=-1, keepdim=True)
        new_largest = {
            "both": torch.maximum(largest, of_block),
            "block": of_block,
            "all queries": torch.maximum(largest, of_block).amax().expand_as(largest).clone(),
        }[largest_of]
        safe = new_largest.masked_fill(new_largest == -math.inf, 0.0) if guard else new_largest
        shrink = (safe - largest if upside_down else largest - safe).exp()
        weights = (scores - safe).exp()
        new_total = (shrink if shrink_total else 1.0) * total + weights.sum(dim=-1, keepdim=True)
        new_mixed = (shrink if shrink_mixed else 1.0) * mixed + weights @ value
        return new_largest, new_total, new_mixed / new_total if divide else new_mixed

    return absorb


def _relative_to_the_old(largest, total, mixed, scores, value):
    weights = (scores - largest).exp()
    new_largest = torch.maximum(largest, scores.amax(dim=-1, keepdim=True))
    return new_largest, total + weights.sum(dim=-1, keepdim=True), mixed + weights @ value


def _unshifted(largest, total, mixed, scores, value):
    new_largest = torch.maximum(largest, scores.amax(dim=-1, keepdim=True))
    weights = scores.exp()
    return new_largest, total + weights.sum(dim=-1, keepdim=True), mixed + weights @ value


def _softmax_in_the_block(largest, total, mixed, scores, value):
    weights = scores.softmax(dim=-1)
    new_largest = torch.maximum(largest, scores.amax(dim=-1, keepdim=True))
    return new_largest, total + weights.sum(dim=-1, keepdim=True), mixed + weights @ value


def _relative_to_the_block(largest, total, mixed, scores, value):
    of_block = scores.amax(dim=-1, keepdim=True)
    new_largest = torch.maximum(largest, of_block)
    shrink = torch.nan_to_num((largest - new_largest).exp())
    weights = torch.nan_to_num((scores - of_block).exp())
    return new_largest, shrink * total + weights.sum(dim=-1, keepdim=True), shrink * mixed + weights @ value


def _starts_from(lowest):
    def absorb(largest, total, mixed, scores, value):
        new_largest, total, mixed = _absorb(largest, total, mixed, scores, value)
        return new_largest.masked_fill(new_largest == -math.inf, lowest), total, mixed

    return absorb


def _repairs_nan(largest, total, mixed, scores, value):
    new_largest = torch.maximum(largest, scores.amax(dim=-1, keepdim=True))
    shrink, weights = (torch.nan_to_num((old - new_largest).exp()) for old in (largest, scores))
    return new_largest, shrink * total + weights.sum(-1, keepdim=True), shrink * mixed + weights @ value


EXERCISE = Exercise(
    reference=_absorb,
    properties=_properties,
    mistakes=[
        Mistake(
            "sums not shrunk",
            "The largest score follows, but what was summed before stays as it was. Old and new "
            "exponentials are then relative to different numbers, and early keys weigh too much.",
            _step(shrink_total=False, shrink_mixed=False),
            see=(15, "Limits and common mistakes"),
        ),
        Mistake(
            "only total shrunk",
            "The sum of the exponentials shrinks and the mixed values do not: their quotient is no mean of "
            "the values any more, and may lie outside of them.",
            _step(shrink_mixed=False),
        ),
        Mistake(
            "only mixed shrunk",
            "The mixed values shrink and the sum of the exponentials does not, so the quotient comes out "
            "too near to zero.",
            _step(shrink_total=False),
        ),
        Mistake(
            "factor upside down",
            "The old sums grow where they should shrink: the factor has the wrong sign in its exponent.",
            _step(upside_down=True),
        ),
        Mistake(
            "the block's own largest score",
            "The largest score is taken from this block alone. It may fall, and then the old sums grow "
            "without limit, until they overflow.",
            _step(largest_of="block"),
        ),
        Mistake(
            "exponentials relative to the block",
            "The new exponentials are relative to the largest score of their own block, and the old ones to "
            "the largest of all. Where the block's scores are the smaller ones, its keys weigh too much.",
            _relative_to_the_block,
        ),
        Mistake(
            "one largest score for all queries",
            "Every query has its own row of scores, and its own largest one; here all share one number, and "
            "a row far below it loses its exponentials to underflow.",
            _step(largest_of="all queries"),
        ),
        Mistake(
            "relative to the old largest score",
            "The new exponentials are relative to the largest score before this block. Larger ones "
            "overflow, and before the first block that score is minus infinity.",
            _relative_to_the_old,
        ),
        Mistake(
            "nothing subtracted",
            "The exponentials are those of the bare scores, so they overflow at scores in the hundreds, and "
            "they do not fit the sums that were made relative to a largest score.",
            _unshifted,
        ),
        Mistake(
            "no guard for an empty row",
            "Where a query has seen no key yet, minus infinity is subtracted from minus infinity, which is "
            "NaN, and it stays NaN for all later blocks.",
            _step(guard=False),
            see=(15, "From keys to blocks"),
        ),
        Mistake(
            "a softmax within the block",
            "The softmax of this block divides by the block's own sum, so every block counts alike, "
            "whatever its scores.",
            _softmax_in_the_block,
        ),
        Mistake(
            "minus infinity lost",
            "Where a query has seen no key yet, the largest score is handed on as a finite number. The next "
            "block may have only scores far below it, whose exponentials vanish.",
            _starts_from(0.0),
            see=(15, "From keys to blocks"),
        ),
        Mistake(
            "a very low number",
            "Where a query has seen no key yet, a very low number stands for minus infinity. The "
            "sums stay right, but the state that is handed on is not the one that was asked for.",
            _starts_from(-1e9),
            see=(15, "From keys to blocks"),
        ),
        Mistake(
            "divided in every step",
            "The mixture is divided by the sum already. The division has to wait until all keys have been "
            "seen, or the next block adds to a mean as if it were a sum.",
            _step(divide=True),
        ),
    ],
    see=(15, "A softmax that never sees all scores"),
    variants={"NaN repaired afterwards": _repairs_nan},
)
