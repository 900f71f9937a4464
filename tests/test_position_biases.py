"""Biases on scores equal loops over pairs of tokens, clip where they should, and fit a cache."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attncourse.masks import causal_mask
from attncourse.position_biases import (
    RelativeKeys,
    alibi_bias,
    alibi_slopes,
    linear_bias,
    relative_distances,
)
from tests.support.tolerances import FLOAT64

BATCH, N_QUERIES, N_KEYS, D_HEAD = 2, 5, 11, 7
SIZES = st.integers(1, 9)


def queries(seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(BATCH, 3, N_QUERIES, D_HEAD, generator=generator, dtype=dtype)


def test_distances_by_hand():
    assert relative_distances(2, 4).tolist() == [[-2, -1, 0, 1], [-3, -2, -1, 0]]
    assert relative_distances(3, 1).tolist() == [[2], [1], [0]]


@pytest.mark.properties
@given(SIZES, SIZES)
def test_distances_agree_with_the_causal_mask(n_queries, n_keys):
    assert torch.equal(relative_distances(n_queries, n_keys) <= 0, causal_mask(n_queries, n_keys))


# Relative keys -------------------------------------------------------------------------------------------


def looped_bias(query, table, max_distance, n_keys):
    """Follow equations 4 and 5 of the paper pair by pair: q_i · a_ij / sqrt(d)."""
    *_, n_queries, d_head = query.shape
    columns = []
    for i in range(n_queries):
        row = []
        for j in range(n_keys):
            distance = j - (i + n_keys - n_queries)
            clipped = max(-max_distance, min(max_distance, distance))
            row.append((query[..., i, :] * table[clipped + max_distance]).sum(-1) / math.sqrt(d_head))
        columns.append(torch.stack(row, dim=-1))
    return torch.stack(columns, dim=-2)


@pytest.mark.parity
@pytest.mark.parametrize("max_distance", [1, 3, 10, 20])
@pytest.mark.parametrize("n_keys", [3, N_QUERIES, N_KEYS])
def test_relative_keys_equal_a_loop_with_gradients(max_distance, n_keys):
    layer = RelativeKeys(D_HEAD, max_distance).double()
    query = queries().requires_grad_()
    bias, expected = layer(query, n_keys), looped_bias(query, layer.table, max_distance, n_keys)
    torch.testing.assert_close(bias, expected, **FLOAT64)
    upstream = torch.randn(bias.shape, generator=torch.Generator().manual_seed(1), dtype=bias.dtype)
    inputs = [query, layer.table]
    for got, want in zip(
        torch.autograd.grad(bias, inputs, upstream),
        torch.autograd.grad(expected, inputs, upstream),
        strict=True,
    ):
        torch.testing.assert_close(got, want, **FLOAT64)


def test_beyond_the_clipping_distance_all_keys_look_alike():
    layer = RelativeKeys(D_HEAD, 2).double()
    bias = layer(queries(), N_KEYS)
    distances = relative_distances(N_QUERIES, N_KEYS)
    for i in range(N_QUERIES):
        far = bias[:, :, i, distances[i] <= -2]
        assert far.shape[-1] > 3
        torch.testing.assert_close(far, far[..., :1].expand_as(far), rtol=0, atol=0)
        assert (bias[:, :, i, distances[i] == -1] != far[..., :1]).all()


@pytest.mark.properties
def test_relative_keys_of_the_last_queries_equal_those_of_the_whole():
    layer = RelativeKeys(D_HEAD, 3).double()
    query = queries()
    torch.testing.assert_close(layer(query[..., 3:, :], N_QUERIES), layer(query, N_QUERIES)[..., 3:, :])


@pytest.mark.gradients
def test_gradcheck():
    layer = RelativeKeys(D_HEAD, 2).double()
    assert torch.autograd.gradcheck(lambda query: layer(query, 4), [queries()[0, :1].requires_grad_()])


# ALiBi ---------------------------------------------------------------------------------------------------


def test_slopes_of_the_paper():
    # Section 3: 1/2, 1/4 … 1/256 for 8 heads; for 16 the geometric means come in between.
    assert alibi_slopes(8, dtype=torch.float64).tolist() == [2.0**-h for h in range(1, 9)]
    sixteen = [2.0 ** (-h / 2) for h in range(1, 17)]
    assert alibi_slopes(16, dtype=torch.float64).tolist() == pytest.approx(sixteen, rel=1e-12)


def published_slopes(n_heads):
    """Follow the authors' recursion: a power of two by the rule, else every other slope of twice as many."""

    def power_of_two(n):
        start = 2 ** (-(2 ** -(math.log2(n) - 3)))
        return [start * start**i for i in range(n)]

    if math.log2(n_heads).is_integer():
        return power_of_two(n_heads)
    closest = 2 ** math.floor(math.log2(n_heads))
    return power_of_two(closest) + published_slopes(2 * closest)[0::2][: n_heads - closest]


@pytest.mark.parity
@pytest.mark.parametrize("n_heads", [*range(1, 41), 64, 100, 127, 128])
def test_slopes_equal_the_published_rule(n_heads):
    slopes = alibi_slopes(n_heads, dtype=torch.float64)
    assert slopes.tolist() == pytest.approx(published_slopes(n_heads), rel=1e-12)
    assert len(set(slopes.tolist())) == n_heads


def test_slopes_of_twelve_heads_by_hand():
    expected = [2.0**-h for h in range(1, 9)] + [2**-0.5, 2**-1.5, 2**-2.5, 2**-3.5]
    assert alibi_slopes(12, dtype=torch.float64).tolist() == pytest.approx(expected, rel=1e-12)


def test_bias_by_hand_with_a_cache():
    # Two heads (slopes 1/16 and 1/256), two new queries beside four keys.
    expected = [[2, 1, 0, 1], [3, 2, 1, 0]]
    bias = alibi_bias(2, 2, 4)
    assert bias.tolist() == [
        [[-distance * slope for distance in row] for row in expected] for slope in (1 / 16, 1 / 256)
    ]


@pytest.mark.properties
@given(n_heads=SIZES, n_queries=SIZES, extra=SIZES)
def test_bias_of_the_last_queries_equals_that_of_the_whole(n_heads, n_queries, extra):
    n_keys = n_queries + extra
    whole = alibi_bias(n_heads, n_keys, n_keys)
    assert torch.equal(alibi_bias(n_heads, n_queries, n_keys), whole[:, extra:])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_far_biases_are_rounded_once(dtype):
    exact = alibi_bias(12, 1, 20_001, dtype=torch.float64)
    bias = alibi_bias(12, 1, 20_001, dtype=dtype)
    assert bias.dtype == dtype
    # Slopes and products in float32 on the way: one unit in the last place of the result at most.
    torch.testing.assert_close(bias.double(), exact, rtol=1.01 * torch.finfo(dtype).eps, atol=0)
    slopes = alibi_slopes(12, dtype=dtype)
    # Up to 4096 tokens a product with a half-precision slope fits into float32 without rounding.
    products = -slopes.double()[:, None, None] * torch.arange(4000, -1, -1).double()
    assert torch.equal(linear_bias(slopes, 1, 4001), products.to(dtype))


def test_linear_bias_takes_one_slope_or_many_and_passes_gradients():
    slopes = torch.tensor([[0.5, 0.25, 2.0], [1.0, 0.0, 3.0]], dtype=torch.float64, requires_grad=True)
    bias = linear_bias(slopes, 3, 5)
    assert bias.shape == (2, 3, 3, 5)
    torch.testing.assert_close(bias[1, 2], linear_bias(torch.tensor(3.0, dtype=torch.float64), 3, 5))
    bias.sum().backward()
    # Distances of row 0: 2 1 0 1 2, row 1: 3 2 1 0 1, row 2: 4 3 2 1 0.
    assert (slopes.grad == -23).all()


def test_the_device_is_followed():
    assert relative_distances(2, 3, device="meta").device.type == "meta"
    assert alibi_slopes(3, device="meta").device.type == "meta"
    layer, query, slopes = RelativeKeys(4, 2), torch.ones(3, 4), torch.ones(2)
    with torch.device("meta"):  # whatever is made without a word on the device comes without numbers
        assert layer(query, 5).device.type == "cpu"
        assert linear_bias(slopes, 2, 5).device.type == "cpu"
        assert alibi_bias(3, 2, 5, device="cpu").device.type == "cpu"


def test_inputs_are_not_written():
    slopes, query = torch.tensor([0.5, 1.0]), queries()
    copies = slopes.clone(), query.clone()
    linear_bias(slopes, 2, 3).zero_()
    RelativeKeys(D_HEAD, 2).double()(query, 3).detach().zero_()
    assert torch.equal(slopes, copies[0])
    assert torch.equal(query, copies[1])


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: relative_distances(0, 3), ValueError, "n_queries must be at least 1, got n_queries=0"),
        (lambda: relative_distances(2, 3.0), TypeError, r"n_keys must be an integer, got n_keys=3\.0"),
        (lambda: RelativeKeys(0, 3), ValueError, "d_head must be at least 1, got d_head=0"),
        (lambda: RelativeKeys(3, 0), ValueError, "max_distance must be at least 1, got max_distance=0"),
        (
            lambda: RelativeKeys(3, 2)(torch.ones(5, 4), 5),
            ValueError,
            r"query must have d_head=3 as its last axis, got query\.shape=\(5, 4\)",
        ),
        (
            lambda: RelativeKeys(3, 2)([1.0], 5),
            TypeError,
            "query must be of type Tensor, got query of type list",
        ),
        (lambda: alibi_slopes(0), ValueError, "n_heads must be at least 1, got n_heads=0"),
        (lambda: alibi_bias(2.0, 3, 3), TypeError, r"n_heads must be an integer, got n_heads=2\.0"),
        (lambda: alibi_bias(2, 3, 0), ValueError, "n_keys must be at least 1, got n_keys=0"),
        (lambda: linear_bias(2, 3, 3), TypeError, "slopes must be of type Tensor, got slopes of type int"),
        (
            lambda: linear_bias(torch.tensor([2]), 3, 3),
            TypeError,
            r"slopes must be floating point, got slopes\.dtype=int64",
        ),
    ],
)
def test_bad_input(call, error, text):
    with pytest.raises(error, match=f"^{text}$"):
        call()
