"""Sparse masks counted by loops, and reach measured by changing an input."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attncourse.attention import scaled_dot_product_attention
from attncourse.masks import causal_mask, window_mask
from attncourse.sparse_masks import (
    block_mask,
    dilated_mask,
    global_token_mask,
    random_mask,
    reach,
    strided_mask,
)

sizes = st.integers(1, 11)


def by_loops(n_tokens, allowed):
    return torch.tensor([[allowed(i, j) for j in range(n_tokens)] for i in range(n_tokens)])


@pytest.mark.properties
@given(sizes, sizes, sizes)
def test_masks_equal_their_definitions(n_tokens, width, gap):
    seen = dilated_mask(n_tokens, width, gap)
    assert torch.equal(seen, by_loops(n_tokens, lambda i, j: i - j in range(0, width * gap, gap)))
    assert seen.sum(dim=1).max() <= width
    assert torch.equal(
        strided_mask(n_tokens, gap),
        by_loops(n_tokens, lambda i, j: i - j in range(gap) or i - j in range(0, n_tokens, gap)),
    )
    assert torch.equal(block_mask(n_tokens, width), by_loops(n_tokens, lambda i, j: i // width == j // width))


@pytest.mark.properties
@given(sizes, st.sets(st.integers(0, 10)))
def test_global_tokens_see_and_are_seen(n_tokens, places):
    places = sorted(place for place in places if place < n_tokens)
    mask = global_token_mask(n_tokens, torch.tensor(places, dtype=torch.int64))
    assert torch.equal(mask, by_loops(n_tokens, lambda i, j: i in places or j in places or i == j))


@pytest.mark.properties
@given(sizes, st.integers(0, 10), st.integers(0, 2**31))
def test_random_rows_have_equally_many_keys_and_themselves(n_tokens, n_random, seed):
    n_random = min(n_random, n_tokens - 1)
    mask = random_mask(n_tokens, n_random, torch.Generator().manual_seed(seed))
    assert (mask.sum(dim=1) == n_random + 1).all()
    assert mask.diagonal().all()
    assert torch.equal(mask, random_mask(n_tokens, n_random, torch.Generator().manual_seed(seed)))


def test_random_keys_are_uniform():
    mask = random_mask(400, 80, torch.Generator().manual_seed(0))
    share = mask.float().fill_diagonal_(0).sum(dim=0) / 399  # how often a key is seen
    assert (share - 80 / 399).abs().max() < 0.1


def test_special_cases():
    assert torch.equal(dilated_mask(7, 3, 1), window_mask(7, 7, 3))
    assert torch.equal(strided_mask(7, 7), causal_mask(7, 7))
    assert torch.equal(strided_mask(7, 1), causal_mask(7, 7))
    assert block_mask(6, 6).all()


class TestReach:
    @pytest.mark.properties
    @given(st.integers(2, 8), st.integers(1, 4), st.integers(0, 2**31), st.floats(0.1, 0.9))
    def test_equals_what_changing_an_input_changes(self, n_tokens, n_layers, seed, density):
        generator = torch.Generator().manual_seed(seed)
        mask = torch.rand(n_tokens, n_tokens, generator=generator) < density
        x = torch.randn(n_tokens, n_tokens, 3, generator=generator, dtype=torch.float64)
        x[:] = x[:1]
        changed = x.clone()
        for token in range(n_tokens):  # batch item t has another token t
            changed[token, token] += 1.0

        def stack(x):
            for _ in range(n_layers):
                # Small scores: a saturated softmax would lose a change in rounding.
                x = x + 0.3 * scaled_dot_product_attention(0.3 * x, 0.3 * x, x, mask)
            return x

        moved = (stack(changed) != stack(x)).any(dim=-1)  # (changed token, output token)
        assert torch.equal(moved.mT, reach(mask, n_layers))

    def test_layers_needed(self):
        n_tokens, causal = 16, causal_mask(16, 16)
        assert not reach(window_mask(n_tokens, n_tokens, 4), 4)[-1, 0]
        assert torch.equal(reach(window_mask(n_tokens, n_tokens, 4), 5), causal)
        assert not torch.equal(reach(strided_mask(n_tokens, 4), 1), causal)
        assert torch.equal(reach(strided_mask(n_tokens, 4), 2), causal)
        assert torch.equal(reach(block_mask(n_tokens, 4), 9), block_mask(n_tokens, 4))
        assert reach(global_token_mask(n_tokens, torch.tensor([3])), 2).all()

    def test_many_layers_do_not_overflow(self):
        assert reach(torch.ones(30, 30, dtype=torch.bool), 60).all()

    def test_mask_is_not_written(self):
        mask = block_mask(5, 2)
        before = mask.clone()
        reach(mask, 3)
        assert torch.equal(mask, before)


def test_errors():
    generator = torch.Generator()
    for call, name in (
        (lambda: dilated_mask(0, 1, 1), "n_tokens"),
        (lambda: dilated_mask(3, 0, 1), "window"),
        (lambda: dilated_mask(3, 1, 0), "dilation"),
        (lambda: strided_mask(3, 0), "stride"),
        (lambda: block_mask(3, 0), "block"),
        (lambda: reach(torch.ones(2, 2).bool(), 0), "n_layers"),
    ):
        with pytest.raises(ValueError, match=f"{name} must be at least 1, got {name}=0"):
            call()
    with pytest.raises(ValueError, match="n_random must be below n_tokens, got n_random=3, n_tokens=3"):
        random_mask(3, 3, generator)
    with pytest.raises(ValueError, match="n_random must be at least 0"):
        random_mask(3, -1, generator)
    with pytest.raises(TypeError, match="generator must be"):
        random_mask(3, 1, 7)
    with pytest.raises(TypeError, match="places must be"):
        global_token_mask(3, [1])
    with pytest.raises(TypeError, match=r"places must be of dtype int64, got places\.dtype=float32"):
        global_token_mask(3, torch.tensor([1.0]))
    with pytest.raises(ValueError, match=r"places must lie in 0 … 2, got places=\[0, 3\]"):
        global_token_mask(3, torch.tensor([0, 3]))
    with pytest.raises(
        ValueError, match=r"places must have one axis \(n_global,\), got places\.shape=\(1, 1\)"
    ):
        global_token_mask(3, torch.tensor([[1]]))
    with pytest.raises(TypeError, match=r"mask must be of dtype bool, got mask\.dtype=float32"):
        reach(torch.ones(2, 2), 1)
    with pytest.raises(ValueError, match=r"mask must be square, got mask\.shape=\(2, 3\)"):
        reach(torch.ones(2, 3).bool(), 1)
    with pytest.raises(TypeError, match="mask must be"):
        reach([[True]], 1)
