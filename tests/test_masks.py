"""Masks: counted by loops, aligned at the bottom right, with clear errors."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attncourse.masks import causal_mask, padding_mask, window_mask

sizes = st.integers(1, 9)


def test_hand_values():
    assert causal_mask(2, 4).tolist() == [[True, True, True, False], [True, True, True, True]]
    assert window_mask(3, 3, 2).tolist() == [[True, False, False], [True, True, False], [False, True, True]]
    assert padding_mask(torch.tensor([2, 0, 3]), 3).tolist() == [
        [[True, True, False]],
        [[False, False, False]],
        [[True, True, True]],
    ]


@pytest.mark.properties
@given(sizes, sizes, sizes)
def test_window_counts_visible_keys(n_queries, n_keys, window):
    mask = window_mask(n_queries, n_keys, window)
    for i in range(n_queries):
        position = i + n_keys - n_queries
        seen = [j for j in range(n_keys) if position - window < j <= position]
        assert mask[i].nonzero().flatten().tolist() == seen


@pytest.mark.properties
@given(sizes, sizes)
def test_a_wide_window_is_the_causal_mask(n_queries, n_keys):
    wide = n_keys + max(0, n_queries - n_keys)
    assert torch.equal(window_mask(n_queries, n_keys, wide), causal_mask(n_queries, n_keys))


@pytest.mark.properties
@given(sizes, sizes)
def test_the_last_rows_of_a_longer_causal_mask_serve_cached_decoding(n_keys, n_queries):
    n_queries = min(n_queries, n_keys)
    assert torch.equal(causal_mask(n_queries, n_keys), causal_mask(n_keys, n_keys)[-n_queries:])


@pytest.mark.parity
@given(sizes)
def test_square_causal_mask_is_the_lower_triangle(n_tokens):
    assert torch.equal(causal_mask(n_tokens, n_tokens), torch.ones(n_tokens, n_tokens).tril().bool())


@pytest.mark.properties
@given(st.lists(st.integers(0, 7), min_size=1, max_size=5))
def test_padding_mask_counts_the_lengths(lengths):
    before = torch.tensor(lengths)
    mask = padding_mask(before, 7)
    assert mask.dtype == torch.bool
    assert mask.sum(-1).squeeze(1).tolist() == lengths
    for row, length in zip(mask[:, 0], lengths, strict=True):
        assert row[:length].all()
    assert before.tolist() == lengths


def test_masks_combine_with_and():
    mask = causal_mask(3, 3) & padding_mask(torch.tensor([3, 2]), 3)
    assert mask.shape == (2, 3, 3)
    assert mask[0].equal(causal_mask(3, 3))
    assert mask[1, 2].tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: causal_mask(0, 3), ValueError, "n_queries must be at least 1, got n_queries=0"),
        (lambda: causal_mask(3, 2.0), TypeError, r"n_keys must be an integer, got n_keys=2\.0"),
        (lambda: window_mask(3, 3, 0), ValueError, "window must be at least 1, got window=0"),
        (
            lambda: padding_mask([1, 2], 3),
            TypeError,
            "lengths must be of type Tensor, got lengths of type list",
        ),
        (lambda: padding_mask(torch.tensor([1.0]), 3), TypeError, "lengths must be integers"),
        (lambda: padding_mask(torch.tensor([True]), 3), TypeError, "lengths must be integers"),
        (lambda: padding_mask(torch.tensor([[1]]), 3), ValueError, r"must have one axis \(batch,\)"),
        (lambda: padding_mask(torch.tensor([4, -1]), 3), ValueError, "n_keys=3, got lengths from -1 to 4"),
    ],
)
def test_bad_input(call, error, text):
    with pytest.raises(error, match=text):
        call()
