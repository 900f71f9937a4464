"""The sliding window equals attention under its mask, at a cost in proportion to length times window."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attncourse.attention import scaled_dot_product_attention
from attncourse.costs import fit_exponent
from attncourse.masks import causal_mask, window_mask
from attncourse.windowed import sliding_window_attention
from tests.support.counting import TensorMeter
from tests.support.tolerances import BFLOAT16, FLOAT16

D_HEAD, D_VALUE = 3, 5
EXACT = {"rtol": 0, "atol": 1e-12}  # the worst seen is 3e-15


def arrays(n_queries, n_keys, dtype=torch.float64, *, leading=(2,), seed=0, requires_grad=True):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((n_queries, D_HEAD), (n_keys, D_HEAD), (n_keys, D_VALUE))
    made = [torch.randn(*leading, *shape, generator=generator, dtype=torch.float64) for shape in shapes]
    return [array.to(dtype).requires_grad_(requires_grad) for array in made]


def gradients(output, inputs, seed=2):
    upstream = torch.randn(output.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.autograd.grad(output, inputs, upstream.to(output.dtype))


# The same numbers as under the mask


@pytest.mark.parity
@given(st.integers(1, 150), st.integers(1, 150), st.integers(1, 160), st.integers(0, 2**20))
def test_equals_attention_under_the_mask(n_queries, n_keys, window, seed):
    inputs = arrays(n_queries, n_keys, leading=(), seed=seed)
    output = sliding_window_attention(*inputs, window)
    expected = scaled_dot_product_attention(*inputs, window_mask(n_queries, n_keys, window))
    torch.testing.assert_close(output, expected, **EXACT)
    torch.testing.assert_close(gradients(output, inputs), gradients(expected, inputs), **EXACT)


@pytest.mark.parametrize(
    ("n", "window"), [(64, 64), (65, 64), (128, 64), (127, 63), (1100, 700), (1025, 512)]
)
def test_edges_of_the_chunks(n, window):
    inputs = arrays(n, n)
    output = sliding_window_attention(*inputs, window)
    expected = scaled_dot_product_attention(*inputs, window_mask(n, n, window))
    torch.testing.assert_close(output, expected, **EXACT)
    torch.testing.assert_close(gradients(output, inputs), gradients(expected, inputs), **EXACT)


def test_a_window_of_one_returns_the_value():
    query, key, value = arrays(200, 200)
    torch.testing.assert_close(sliding_window_attention(query, key, value, 1), value, **EXACT)


def test_hand_values():
    # each query weighs its own key and the one before with scores ln 3 and 0: 3/4 and 1/4
    query = torch.ones(3, 1, dtype=torch.float64)
    key = torch.tensor([[1.0], [3.0], [1.0]], dtype=torch.float64).log()
    value = torch.tensor([[4.0], [8.0], [16.0]], dtype=torch.float64)
    expected = torch.tensor([[4.0], [7.0], [10.0]], dtype=torch.float64)
    torch.testing.assert_close(sliding_window_attention(query, key, value, 2), expected, **EXACT)


@pytest.mark.parametrize("leading", [(), (3,), (2, 3), (2, 1, 3)])
def test_leading_axes(leading):
    inputs = arrays(71, 83, leading=leading)
    expected = scaled_dot_product_attention(*inputs, window_mask(71, 83, 9))
    torch.testing.assert_close(sliding_window_attention(*inputs, 9), expected, **EXACT)


def test_leading_axes_broadcast_and_their_gradients_add_up():
    query, key, value = (
        array.detach()[index].requires_grad_()
        for array, index in zip(arrays(71, 71, leading=(2, 3)), ((), (slice(None), [0]), 1), strict=True)
    )
    output = sliding_window_attention(query, key, value, 9)
    expected = scaled_dot_product_attention(query, key, value, window_mask(71, 71, 9))
    torch.testing.assert_close(output, expected, **EXACT)
    inputs = (query, key, value)
    torch.testing.assert_close(gradients(output, inputs), gradients(expected, inputs), **EXACT)


def test_scale_is_used():
    inputs = arrays(70, 70)
    expected = scaled_dot_product_attention(*inputs, window_mask(70, 70, 7), scale=0.3)
    torch.testing.assert_close(sliding_window_attention(*inputs, 7, scale=0.3), expected, **EXACT)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, FLOAT16), (torch.bfloat16, BFLOAT16)])
def test_half_precision(dtype, tolerance):
    inputs = arrays(130, 130, dtype)
    output = sliding_window_attention(*inputs, 17)
    wide = sliding_window_attention(*(array.float() for array in inputs), 17)
    assert output.dtype == dtype
    torch.testing.assert_close(output.float(), wide, **tolerance)


@pytest.mark.gradients
def test_gradcheck():
    inputs = arrays(7, 5, leading=())  # the first two queries stand before any key
    assert torch.autograd.gradcheck(lambda *given: sliding_window_attention(*given, 3), inputs)


@pytest.mark.parametrize("n_queries", [6, 150])
def test_queries_before_the_first_key_give_zeros_and_no_gradient(n_queries):
    inputs = arrays(n_queries, 3)
    output = sliding_window_attention(*inputs, 2)
    assert (output[..., :-3, :] == 0).all()
    assert (output[..., -3:, :] != 0).all()
    grad_query, grad_key, grad_value = gradients(output, inputs)
    assert (grad_query[..., :-3, :] == 0).all()
    for gradient in (grad_query, grad_key, grad_value):
        assert gradient.isfinite().all()


# Who sees what


@pytest.mark.properties
@given(st.integers(0, 149), st.integers(1, 90), st.integers(0, 2**20))
def test_a_token_has_a_part_in_its_window_and_nowhere_else(place, window, seed):
    query, key, value = arrays(150, 150, leading=(), seed=seed, requires_grad=False)
    before = sliding_window_attention(query, key, value, window)
    value[place] += 1e6
    changed = (sliding_window_attention(query, key, value, window) != before).any(dim=-1)
    seen_by = window_mask(150, 150, window)[:, place]
    assert not changed[~seen_by].any()
    assert changed[place]
    key[place] = 1e30
    after = sliding_window_attention(query, key, value, window)
    assert torch.equal(after[~seen_by], before[~seen_by])


def test_nothing_that_comes_in_is_written():
    inputs = arrays(128, 128)  # two whole chunks: nothing needs padding
    copies = [array.detach().clone() for array in inputs]
    sliding_window_attention(*inputs, 64).sum().backward()
    for array, copy in zip(inputs, copies, strict=True):
        assert torch.equal(array, copy)


# Memory and time, counted: every byte that torch sets aside, which it must also write


def metered(n, window, backward):
    inputs = arrays(n, n, torch.float32, leading=(), requires_grad=backward)
    with TensorMeter() as meter:
        output = sliding_window_attention(*inputs, window)
        if backward:
            output.sum().backward()
    return meter


@pytest.mark.parametrize("backward", [False, True])
def test_work_and_memory_grow_with_the_length_and_not_with_its_square(backward):
    sizes = (2048, 4096, 8192)
    meters = [metered(n, 128, backward) for n in sizes]
    assert fit_exponent(sizes, [meter.total for meter in meters]) <= 1.02
    assert fit_exponent(sizes, [meter.largest for meter in meters]) <= 1.02
    assert meters[-1].largest <= 8192 * 4 * 128  # one row of numbers a query, as long as the window


def test_a_wide_window_takes_a_byte_for_each_key_of_itself_and_a_chunk():
    assert metered(3000, 1500, backward=False).largest <= 6 * 512 * (1500 + 512)


def test_a_window_beyond_every_length_is_the_causal_mask_and_costs_no_more():
    inputs = arrays(90, 100)
    expected = scaled_dot_product_attention(*inputs, causal_mask(90, 100))
    with TensorMeter() as meter:
        output = sliding_window_attention(*inputs, 10**6)
    torch.testing.assert_close(output, expected, **EXACT)
    assert meter.largest <= 8 * 90 * (90 + 99)  # one block of scores


def test_one_query_touches_one_window_of_a_long_past():
    inputs = arrays(1, 50_000, torch.float32, leading=(), requires_grad=False)
    with TensorMeter() as meter:
        sliding_window_attention(*inputs, 10)
    # Only the list of which keys are real is as long as the past, a byte each.
    assert meter.largest <= 50_000


# What is refused


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"window": 0}, ValueError, "window must be at least 1, got window=0"),
        ({"window": 2.5}, TypeError, "window must be an integer, got window=2.5"),
        ({"query": [1.0]}, TypeError, "query must be of type Tensor, got query of type list"),
        ({"key": torch.randn(4, 2).double()}, ValueError, "query and key must have the same last axis"),
        (
            {"value": torch.randn(3, 2).double()},
            ValueError,
            "key and value must have the same number of tokens",
        ),
        ({"value": torch.randn(4, 2)}, TypeError, "key and value must have the same dtype"),
        ({"scale": None, "query": torch.randn(2, 0)}, ValueError, "query must not be empty"),
        ({"scale": "1"}, TypeError, "scale must be a number, got scale='1'"),
    ],
)
def test_errors_say_what_is_wrong(change, error, text):
    query, key, value = arrays(4, 4, leading=())
    with pytest.raises(error, match=text):
        sliding_window_attention(**({"query": query, "key": key, "value": value, "window": 2} | change))
