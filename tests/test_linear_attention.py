"""Linear attention equals its quadratic form in all three ways to compute it, with a state of fixed size."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from attncourse.costs import fit_exponent
from attncourse.linear_attention import (
    LinearState,
    elu_features,
    linear_attention,
    linear_attention_step,
    linear_attention_weights,
)
from attncourse.masks import causal_mask, padding_mask
from tests.support.counting import TensorMeter
from tests.support.tolerances import BFLOAT16, FLOAT16

D_HEAD, D_VALUE = 3, 5
EXACT = {"rtol": 0, "atol": 1e-12}  # the worst seen is 4e-15

sizes = st.integers(1, 23)
seeds = st.integers(0, 2**20)


def arrays(n_queries, n_keys, dtype=torch.float64, *, leading=(2,), seed=0, requires_grad=True):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((n_queries, D_HEAD), (n_keys, D_HEAD), (n_keys, D_VALUE))
    made = [2 * torch.randn(*leading, *shape, generator=generator, dtype=torch.float64) for shape in shapes]
    return [array.to(dtype).requires_grad_(requires_grad) for array in made]


def gradients(output, inputs, seed=2):
    upstream = torch.randn(output.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.autograd.grad(output, inputs, upstream.to(output.dtype))


def by_definition(query, key, value, mask):
    """Write equation 4 of the paper down, pair by pair."""
    products = (F.elu(query) + 1) @ (F.elu(key) + 1).transpose(-2, -1)
    products = products * mask
    total = products.sum(dim=-1, keepdim=True)
    return products @ value / torch.where(total == 0, 1.0, total)


# Features


def test_features_are_elu_plus_one():
    x = torch.linspace(-9, 9, 37, dtype=torch.float64)  # 0 included
    torch.testing.assert_close(elu_features(x), F.elu(x) + 1, rtol=0, atol=1e-15)
    hand = elu_features(torch.tensor([-1.0, 0.0, 2.0], dtype=torch.float64))
    torch.testing.assert_close(
        hand, torch.tensor([0.36787944117144233, 1.0, 3.0]).double(), rtol=0, atol=1e-8
    )


def test_features_stay_positive_where_elu_plus_one_rounds_to_zero():
    x = torch.tensor([-30.0])
    assert (F.elu(x) + 1).item() == 0
    torch.testing.assert_close(elu_features(x), x.exp(), rtol=1e-6, atol=0)


def test_slopes_of_the_features_are_right_at_zero_and_far_out():
    x = torch.tensor([-800.0, -1.0, 0.0, 3.0, 800.0], dtype=torch.float64, requires_grad=True)
    elu_features(x).sum().backward()
    expected = torch.tensor([0.0, torch.tensor(-1.0).double().exp(), 1.0, 1.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(x.grad, expected, **EXACT)


# Three forms, one result


@pytest.mark.parity
@given(sizes, sizes, seeds)
def test_the_sums_equal_the_quadratic_form(n_queries, n_keys, seed):
    inputs = arrays(n_queries, n_keys, seed=seed)
    output = linear_attention(*inputs)
    everything = torch.ones(n_queries, n_keys, dtype=torch.bool)
    for other in (linear_attention_weights(*inputs[:2]) @ inputs[2], by_definition(*inputs, everything)):
        torch.testing.assert_close(output, other, **EXACT)
    torch.testing.assert_close(gradients(output, inputs), gradients(other, inputs), **EXACT)


@pytest.mark.parity
@given(sizes, sizes, st.integers(1, 25), seeds)
def test_the_causal_blocks_equal_the_quadratic_form(n_queries, n_keys, block_size, seed):
    inputs = arrays(n_queries, n_keys, seed=seed)
    output = linear_attention(*inputs, is_causal=True, block_size=block_size)
    other = linear_attention_weights(*inputs[:2], is_causal=True) @ inputs[2]
    torch.testing.assert_close(output, other, **EXACT)
    other = by_definition(*inputs, causal_mask(n_queries, n_keys))
    torch.testing.assert_close(output, other, **EXACT)
    torch.testing.assert_close(gradients(output, inputs), gradients(other, inputs), **EXACT)


@pytest.mark.parity
@given(st.lists(st.integers(1, 6), min_size=1, max_size=6), seeds)
def test_the_recurrent_steps_equal_the_quadratic_form(steps, seed):
    n = sum(steps)
    inputs = arrays(n, n, seed=seed)
    outputs, state = [], None
    for piece in zip(*(array.split(steps, dim=-2) for array in inputs), strict=True):
        output, state = linear_attention_step(*piece, state)
        outputs.append(output)
    output = torch.cat(outputs, dim=-2)
    other = by_definition(*inputs, causal_mask(n, n))
    torch.testing.assert_close(output, other, **EXACT)
    torch.testing.assert_close(gradients(output, inputs), gradients(other, inputs), **EXACT)


def test_the_state_is_the_two_sums_of_the_paper():
    query, key, value = arrays(7, 7, leading=())
    _, state = linear_attention_step(query, key, value)
    features = F.elu(key) + 1
    sums = sum(torch.outer(f, v) for f, v in zip(features, value, strict=True))
    torch.testing.assert_close(state.sums, sums, **EXACT)
    torch.testing.assert_close(state.total, features.sum(dim=0), **EXACT)


def test_hand_values():
    # features 1 and 3 of keys 0 and 2, for any query: weights 1/4 and 3/4
    query = torch.tensor([[-5.0], [0.5]], dtype=torch.float64)
    key = torch.tensor([[0.0], [2.0]], dtype=torch.float64)
    value = torch.tensor([[4.0], [8.0]], dtype=torch.float64)
    expected = torch.tensor([[7.0], [7.0]], dtype=torch.float64)
    torch.testing.assert_close(linear_attention(query, key, value), expected, **EXACT)
    expected[0] = 4.0
    torch.testing.assert_close(linear_attention(query, key, value, is_causal=True), expected, **EXACT)


@pytest.mark.parametrize("is_causal", [False, True])
def test_tiny_features_weigh_as_large_ones(is_causal):
    # Below 0, features are exponentials: a common shift is a common factor, of e^-60 for every product here.
    query, key, value = arrays(9, 9)
    query, key = -query.abs(), -key.abs()
    expected = linear_attention(query, key, value, is_causal=is_causal)
    shifted = linear_attention(query - 30, key - 30, value, is_causal=is_causal)
    torch.testing.assert_close(shifted, expected, **EXACT)


@pytest.mark.gradients
@pytest.mark.parametrize("is_causal", [False, True])
def test_gradcheck(is_causal):
    inputs = arrays(5, 4, leading=())
    mask = torch.tensor([False, True, True, False])

    def attend(*given):
        return linear_attention(*given, mask, is_causal=is_causal, block_size=2)

    assert torch.autograd.gradcheck(attend, inputs)


def test_leading_axes_broadcast():
    generator = torch.Generator().manual_seed(3)
    shapes = ((2, 1, 7, D_HEAD), (3, 7, D_HEAD), (7, D_VALUE))
    inputs = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    mask = torch.rand(2, 3, 1, 7, generator=generator) < 0.7
    assert mask.any(dim=-1).all()
    for is_causal in (False, True):
        output = linear_attention(*inputs, mask, is_causal=is_causal, block_size=3)
        weights = linear_attention_weights(*inputs[:2], mask, is_causal=is_causal)
        torch.testing.assert_close(output, weights @ inputs[2], **EXACT)


# Masks


@pytest.mark.properties
@given(st.integers(0, 9), st.booleans(), seeds)
def test_what_stands_behind_the_padding_has_no_part_in_it(length, is_causal, seed):
    query, key, value = arrays(9, 9, leading=(1,), seed=seed, requires_grad=False)
    mask = padding_mask(torch.tensor([length]), 9)
    before = linear_attention(query, key, value, mask, is_causal=is_causal, block_size=4)
    torch.testing.assert_close(
        before, by_definition(query, key, value, mask & causal_mask(9, 9) if is_causal else mask), **EXACT
    )
    key[:, length:], value[:, length:] = 1e30, -1e30
    after = linear_attention(query, key, value, mask, is_causal=is_causal, block_size=4)
    assert torch.equal(after, before)


@pytest.mark.parametrize("shape", [(1,), (9,), (1, 9), (1, 1), (2, 1, 9), (2, 1, 1)])
def test_masks_of_keys_may_have_any_shape_that_broadcasts(shape):
    inputs = arrays(7, 9)
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(1)) < 0.6
    expected = linear_attention_weights(*inputs[:2], mask) @ inputs[2]
    torch.testing.assert_close(linear_attention(*inputs, mask), expected, **EXACT)


@pytest.mark.parametrize("kind", ["hidden", "before the first key"])
@pytest.mark.parametrize("is_causal", [False, True])
def test_a_query_that_sees_nothing_gives_zeros_and_no_gradient(kind, is_causal):
    inputs = arrays(11, 4 if kind == "before the first key" else 11)
    if kind == "hidden":
        mask, empty = torch.zeros(11, dtype=torch.bool), slice(None)
    else:
        mask, empty = None, slice(0, 7 if is_causal else 0)
    output = linear_attention(*inputs, mask, is_causal=is_causal, block_size=3)
    assert (output[:, empty] == 0).all()
    found = gradients(output, inputs)
    assert (found[0][:, empty] == 0).all()
    for gradient in found:
        assert gradient.isfinite().all()
    if kind == "hidden":
        assert (found[1] == 0).all()
        assert (found[2] == 0).all()


@pytest.mark.properties
@given(st.integers(1, 22), st.integers(1, 9), seeds)
def test_the_future_has_no_part_in_the_past(first, block_size, seed):
    query, key, value = arrays(23, 23, seed=seed, requires_grad=False)
    before = linear_attention(query, key, value, is_causal=True, block_size=block_size)
    query[:, first:], key[:, first:], value[:, first:] = -1e3, 1e30, -1e30
    after = linear_attention(query, key, value, is_causal=True, block_size=block_size)
    assert torch.equal(after[:, :first], before[:, :first])
    assert (after[:, first] != before[:, first]).all()


@pytest.mark.properties
@given(sizes, sizes, st.booleans(), seeds)
def test_weights_are_positive_and_sum_to_one_or_zero(n_queries, n_keys, is_causal, seed):
    query, key, _ = arrays(n_queries, n_keys, seed=seed)
    mask = torch.rand(n_queries, n_keys, generator=torch.Generator().manual_seed(seed)) < 0.5
    weights = linear_attention_weights(query, key, mask, is_causal=is_causal)
    if is_causal:
        mask = mask & causal_mask(n_queries, n_keys)
    assert ((weights > 0) == mask).all()
    torch.testing.assert_close(weights.sum(dim=-1), mask.any(dim=-1).double().expand(2, -1), **EXACT)


# Precision, memory, manners


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, FLOAT16), (torch.bfloat16, BFLOAT16)])
@pytest.mark.parametrize("is_causal", [False, True])
def test_half_precision_is_summed_in_float32_and_rounded_once(dtype, tolerance, is_causal):
    inputs = arrays(300, 300, dtype)
    output = linear_attention(*inputs, is_causal=is_causal)
    expected = linear_attention(*(array.float() for array in inputs), is_causal=is_causal)
    assert output.dtype == dtype
    assert torch.equal(output, expected.to(dtype))
    step, state = linear_attention_step(*inputs)
    assert step.dtype == dtype
    assert state.sums.dtype == state.total.dtype == torch.float32
    weights = linear_attention_weights(*inputs[:2])
    assert weights.dtype == dtype
    torch.testing.assert_close(weights.float().sum(dim=-1), torch.ones(2, 300), **tolerance)


def test_the_state_has_the_same_size_however_long_the_text():
    leading, state, n_bytes = (2, 3), None, []
    for n_new in (1, 1, 50, 1):
        inputs = arrays(n_new, n_new, torch.float32, leading=leading, requires_grad=False)
        _, state = linear_attention_step(*inputs, state)
        n_bytes.append(state.n_bytes)
    assert set(n_bytes) == {4 * 2 * 3 * (D_HEAD * D_VALUE + D_HEAD)}


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("backward", [False, True])
def test_work_and_memory_grow_with_the_length_and_not_with_its_square(is_causal, backward):
    lengths, meters = (1024, 2048, 4096), []
    for n in lengths:
        inputs = arrays(n, n, torch.float32, requires_grad=backward)
        with TensorMeter() as meter:
            output = linear_attention(*inputs, is_causal=is_causal)
            if backward:
                output.sum().backward()
        meters.append(meter)
    assert fit_exponent(lengths, [meter.total for meter in meters]) <= 1.02
    assert fit_exponent(lengths, [meter.largest for meter in meters]) <= 1.02


def test_nothing_that_comes_in_is_written():
    inputs = arrays(9, 9)
    mask = torch.arange(9) < 7
    _, state = linear_attention_step(*inputs)
    everything = (*inputs, mask, *state)
    copies = [array.detach().clone() for array in everything]
    linear_attention(*inputs, mask).sum().backward()
    linear_attention(*inputs, mask, is_causal=True, block_size=4).sum().backward()
    linear_attention_weights(*inputs[:2], mask).sum().backward()
    linear_attention_step(*inputs, state)
    elu_features(inputs[0])
    for array, copy in zip(everything, copies, strict=True):
        assert torch.equal(array, copy)


# What is refused


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"query": 3}, TypeError, "query must be of type Tensor, got query of type int"),
        ({"mask": torch.ones(4, 4, dtype=torch.bool)}, ValueError, r"mask must be the same for every query"),
        ({"mask": torch.ones(5, dtype=torch.bool)}, ValueError, "mask must broadcast to the scores"),
        ({"mask": torch.ones(4)}, TypeError, "mask must be boolean"),
        ({"key": torch.randn(4, 2).double()}, ValueError, "query and key must have the same last axis"),
        (
            {"value": torch.randn(3, 2).double()},
            ValueError,
            "key and value must have the same number of tokens",
        ),
        ({"block_size": 0}, ValueError, "block_size must be at least 1, got block_size=0"),
    ],
)
def test_errors_say_what_is_wrong(change, error, text):
    query, key, value = arrays(4, 4, leading=())
    with pytest.raises(error, match=text):
        linear_attention(**({"query": query, "key": key, "value": value} | change))


def test_steps_say_what_is_wrong():
    query, key, value = arrays(4, 4)
    with pytest.raises(
        ValueError, match=r"query and key must be of the same tokens, got query.shape=\(2, 3, 3\)"
    ):
        linear_attention_step(query[:, 1:], key, value)
    with pytest.raises(TypeError, match="state must be of type LinearState, got state of type tuple"):
        linear_attention_step(query, key, value, (torch.zeros(2, 3, 5), torch.zeros(2, 3)))
    other = LinearState(torch.zeros(7, 3, 5), torch.zeros(7, 3))
    with pytest.raises(ValueError, match=r"state must have sums of shape .*=\(2, 3, 5\), got .*=\(7, 3, 5\)"):
        linear_attention_step(query, key, value, other)


def test_weights_and_features_say_what_is_wrong():
    query, key, _ = arrays(4, 4)
    with pytest.raises(TypeError, match="query and key must have the same dtype"):
        linear_attention_weights(query, key.float())
    with pytest.raises(ValueError, match="key must not contain NaN"):
        linear_attention_weights(query, key * float("nan"))
    with pytest.raises(TypeError, match=r"x must be floating point, got x\.dtype=int64"):
        elu_features(torch.arange(3))
