"""Checker: cut the features of every token into heads."""

import torch

from attncourse.exercises._exercise import Exercise, Mistake, Property, normal
from attncourse.multihead import split_heads


def _properties(rng):
    return [
        Property("one head", [{"x": normal(rng, 2, 5, 6), "n_heads": 1}], 1),
        Property("several heads", [{"x": normal(rng, 2, 5, 12), "n_heads": 3}], 2),
        Property("as many heads as tokens", [{"x": normal(rng, 2, 4, 12), "n_heads": 4}], 2),
        Property(
            "more axes in front, or none",
            [{"x": normal(rng, 2, 3, 7, 10), "n_heads": 5}, {"x": normal(rng, 5, 8), "n_heads": 2}],
            1,
        ),
    ]


def _views(x, n_heads):
    *front, n_tokens, d_model = x.shape
    return x.reshape(*front, n_heads, n_tokens, d_model // n_heads)


def _keeps_tokens_first(x, n_heads):
    return x.unflatten(-1, (n_heads, -1))


def _interleaves(x, n_heads):
    return x.unflatten(-1, (-1, n_heads)).movedim(-1, -3)


def _swaps_sizes(x, n_heads):
    return x.unflatten(-1, (-1, n_heads)).transpose(-2, -3)


def _moves_the_wrong_axis(x, n_heads):
    return x.unflatten(-1, (n_heads, -1)).transpose(-1, -2)


def _wants_three_axes(x, n_heads):
    batch, n_tokens, d_model = x.shape
    return x.view(batch, n_tokens, n_heads, d_model // n_heads).transpose(1, 2)


def _counts_from_the_front(x, n_heads):
    return x.unflatten(-1, (n_heads, -1)).transpose(1, 2)


def _heads_before_the_batch(x, n_heads):
    return torch.stack(x.chunk(n_heads, dim=-1))


def _by_chunks(x, n_heads):
    return torch.stack(x.chunk(n_heads, dim=-1), dim=-3)


EXERCISE = Exercise(
    reference=split_heads,
    properties=_properties,
    mistakes=[
        Mistake(
            "view instead of two steps",
            "The shape is right, but the numbers of different tokens are mixed: the heads' axis was made by "
            "reading the numbers in a new shape, and no axis was exchanged.",
            _views,
            see=(7, "The bug that trains"),
        ),
        Mistake(
            "heads behind tokens",
            "The features are cut, but the heads' axis still stands behind the tokens; attention would mix "
            "heads.",
            _keeps_tokens_first,
        ),
        Mistake(
            "features dealt out like cards",
            "Head h gets every n_heads-th feature. A head takes a run of neighbouring features.",
            _interleaves,
        ),
        Mistake(
            "n_heads and d_head exchanged",
            "The features are cut into d_head groups of n_heads numbers instead of n_heads groups of d_head.",
            _swaps_sizes,
        ),
        Mistake(
            "the wrong axes exchanged",
            "The features are cut into heads, and then heads and features change places instead of heads "
            "and tokens.",
            _moves_the_wrong_axis,
        ),
        Mistake(
            "three axes only",
            "It works for (batch, tokens, d_model) and for nothing else. Count the axes from the end.",
            _wants_three_axes,
        ),
        Mistake(
            "axes counted from the front",
            "The axes 1 and 2 are those of tokens and heads for an x of three axes only. "
            "With more axes in front, or with none, they are others.",
            _counts_from_the_front,
        ),
        Mistake(
            "heads before the batch",
            "The numbers are right, but the heads' axis stands before all others; it belongs right before "
            "the tokens.",
            _heads_before_the_batch,
        ),
    ],
    see=(7, "All heads in one tensor"),
    variants={"by chunks": _by_chunks},
)
