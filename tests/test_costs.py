"""Counted operations equal torch's own count, and counted bytes the bytes of real tensors and caches."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from attncourse.attention import scaled_dot_product_attention
from attncourse.costs import (
    LayerSizes,
    attention_bytes,
    attention_flops,
    cache_bytes,
    count_pairs,
    fit_exponent,
    multihead_flops,
    score_bytes,
)
from attncourse.kv_cache import KVCache, build_caches
from attncourse.masks import causal_mask, window_mask
from attncourse.multihead import MultiHeadAttention, split_heads
from attncourse.transformer_language_model import TransformerLanguageModel
from tests.support.counting import counted_flops

BATCH, N_QUERIES, N_KEYS = 3, 5, 11
DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]

sizes_of_axes = st.integers(1, 23)


# Pairs


@pytest.mark.properties
@given(sizes_of_axes, sizes_of_axes, st.integers(1, 30))
def test_pairs_are_the_ones_of_the_masks(n_queries, n_keys, window):
    assert count_pairs(n_queries, n_keys) == n_queries * n_keys
    assert count_pairs(n_queries, n_keys, is_causal=True) == causal_mask(n_queries, n_keys).sum()
    in_window = window_mask(n_queries, n_keys, window).sum()
    assert count_pairs(n_queries, n_keys, window=window) == in_window
    assert count_pairs(n_queries, n_keys, window=window, is_causal=True) == in_window


def test_pairs_by_hand():
    assert count_pairs(4, 4, is_causal=True) == 1 + 2 + 3 + 4
    assert count_pairs(1, 100, is_causal=True) == 100
    assert count_pairs(5, 5, window=2) == 1 + 2 + 2 + 2 + 2
    assert count_pairs(2, 5, window=3) == 3 + 3
    assert count_pairs(10**6, 10**6, is_causal=True) == 500_000_500_000  # and no mask of 1 TB


# Operations


@pytest.mark.parity
@given(*[sizes_of_axes] * 4, st.integers(1, 4), st.integers(1, 3))
def test_the_core_equals_torchs_count(n_queries, n_keys, d_head, d_value, n_heads, batch_size):
    shapes = ((n_queries, d_head), (n_keys, d_head), (n_keys, d_value))
    arrays = [torch.zeros(batch_size, n_heads, *shape) for shape in shapes]
    formula = attention_flops(n_queries, n_keys, d_head, d_value, n_heads=n_heads, batch_size=batch_size)
    assert formula == counted_flops(lambda: scaled_dot_product_attention(*arrays))


def test_the_core_by_hand():
    # 2 · 3 pairs, each with 4 multiply-adds for the score and 5 for the value
    assert attention_flops(2, 3, 4, 5) == 2 * 6 * (4 + 5)
    assert attention_flops(2, 3, 4) == attention_flops(2, 3, 4, 4)
    assert attention_flops(3, 3, 4, is_causal=True) == 2 * 6 * 8
    assert attention_flops(3, 3, 4, window=2) == 2 * 5 * 8


def test_torch_counts_nothing_for_its_fused_kernel_on_a_cpu():
    # If this fails, torch has closed the gap: take the sentence out of the module's docstring.
    query = torch.zeros(1, 2, 7, 3)
    with FlopCounterMode(display=False) as counter:
        F.scaled_dot_product_attention(query, query, query)
    assert counter.get_total_flops() == 0


def test_a_mask_saves_nothing_where_all_scores_are_made():
    query = torch.zeros(7, 3)
    with_mask = counted_flops(lambda: scaled_dot_product_attention(query, query, query, causal_mask(7, 7)))
    assert with_mask == attention_flops(7, 7, 3) > attention_flops(7, 7, 3, is_causal=True)


@pytest.mark.parity
@pytest.mark.parametrize("n_kv_heads", [8, 4, 2, 1])
@pytest.mark.parametrize("is_cross", [False, True])
@pytest.mark.parametrize("return_weights", [False, True])
def test_a_layer_equals_torchs_count(n_kv_heads, is_cross, return_weights):
    layer = MultiHeadAttention(40, 8, n_kv_heads=n_kv_heads)
    query = torch.randn(BATCH, N_QUERIES, 40)
    key = torch.randn(BATCH, N_KEYS, 40) if is_cross else query
    sizes = LayerSizes(40, 8, n_kv_heads)
    formula = multihead_flops(sizes, N_QUERIES, key.shape[1], batch_size=BATCH)
    assert formula == counted_flops(lambda: layer(query, key, return_weights=return_weights))


@pytest.mark.parity
@pytest.mark.parametrize("n_kv_heads", [4, 1])
@pytest.mark.parametrize(("n_new", "n_held"), [(1, 6), (3, 6), (4, 0)])
def test_a_layer_with_a_cache_equals_torchs_count(n_kv_heads, n_new, n_held):
    layer = MultiHeadAttention(20, 4, n_kv_heads=n_kv_heads)
    cache = KVCache(BATCH, n_kv_heads, 16, 5)
    with torch.no_grad():
        if n_held:
            layer(torch.randn(BATCH, n_held, 20), cache=cache)
        found = counted_flops(lambda: layer(torch.randn(BATCH, n_new, 20), cache=cache, is_causal=True))
    sizes = LayerSizes(20, 4, n_kv_heads)
    assert multihead_flops(sizes, n_new, n_new + n_held, n_held=n_held, batch_size=BATCH) == found


def test_a_layer_by_hand():
    # d_model 6 in 3 heads of 2, one of them for keys and values; 4 queries, 5 keys
    projections = 4 * 6 * 6 + 2 * (5 * 6 * 2) + 4 * 6 * 6
    core = 3 * (4 * 5 * (2 + 2))
    assert multihead_flops(LayerSizes(6, 3, 1), 4, 5) == 2 * (projections + core)


# Bytes


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_kv_heads", [6, 3, 1])
def test_bytes_of_the_core_are_those_of_its_tensors(dtype, n_kv_heads):
    query = torch.zeros(BATCH, N_QUERIES, 24, dtype=dtype)
    key = value = torch.zeros(BATCH, N_KEYS, n_kv_heads * 4, dtype=dtype)
    group = 6 // n_kv_heads
    heads = [
        split_heads(array, n).detach() for array, n in ((query, 6), (key, n_kv_heads), (value, n_kv_heads))
    ]
    shared = [heads[0], *(array.repeat_interleave(group, dim=1) for array in heads[1:])]
    output, weights = scaled_dot_product_attention(*shared, return_weights=True)
    number_bytes = dtype.itemsize
    found = attention_bytes(
        LayerSizes(24, 6, n_kv_heads), N_QUERIES, N_KEYS, batch_size=BATCH, number_bytes=number_bytes
    )
    assert found == query.nbytes + key.nbytes + value.nbytes + output.nbytes
    found = score_bytes(N_QUERIES, N_KEYS, n_heads=6, batch_size=BATCH, number_bytes=number_bytes)
    assert found == weights.nbytes


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_kv_heads", [8, 2, 1])  # multi-head, grouped, multi-query
def test_bytes_of_a_cache_are_those_of_real_caches(dtype, n_kv_heads):
    model = TransformerLanguageModel(17, d_model=32, n_heads=8, n_layers=3, n_kv_heads=n_kv_heads).to(dtype)
    caches = build_caches(model, batch_size=2, max_tokens=13)
    found = cache_bytes(
        LayerSizes(32, 8, n_kv_heads), 13, n_layers=3, batch_size=2, number_bytes=dtype.itemsize
    )
    assert found == sum(cache.n_bytes for cache in caches)


def test_bytes_by_hand():
    assert score_bytes(16_384, 16_384, n_heads=4) == 4 * 2**30  # 4 heads of 2^14 · 2^14 numbers of 4 bytes
    multi_head, grouped, multi_query = (LayerSizes(256, 8, n) for n in (8, 2, 1))
    assert cache_bytes(multi_head, 1, n_layers=6) == 12_288
    assert cache_bytes(grouped, 1, n_layers=6) == 12_288 // 4
    assert cache_bytes(multi_query, 1024, n_layers=6) == 12_288 // 8 * 1024


# Sizes


def test_sizes_fill_in_what_is_not_given():
    sizes = LayerSizes(24, 6)
    assert (sizes.n_kv_heads, sizes.d_ff, sizes.activation) == (6, 96, "relu")
    assert (sizes.d_head, sizes.d_kv) == (4, 24)
    assert LayerSizes(24, 6, 2).d_kv == 8
    assert LayerSizes(24, 6) == LayerSizes(24, 6, 6, 96)


# Exponents


@pytest.mark.properties
@given(
    st.floats(-3, 3),
    st.floats(0.01, 100),
    st.lists(st.integers(1, 10**6), min_size=2, max_size=9, unique=True),
)
def test_a_power_law_gives_its_exponent_back(exponent, factor, sizes):
    values = [factor * size**exponent for size in sizes]
    # Neighbours such as 999 999 and 1 000 000 leave few digits of their ratio.
    tolerance = 1e-12 / abs(math.log(max(sizes) / min(sizes)))
    assert fit_exponent(sizes, values) == pytest.approx(exponent, abs=max(1e-9, 100 * tolerance))


def test_exponents_by_hand():
    assert fit_exponent([1, 2, 4], [3, 6, 12]) == pytest.approx(1)
    assert fit_exponent([1, 2, 4], [3, 12, 48]) == pytest.approx(2)
    assert fit_exponent((10, 1000), (5.0, 5.0)) == pytest.approx(0)
    # logarithms to base 2: x = 0, 1, 2 and y = 0, 3, 3: slope Σ (x - 1) (y - 2) / Σ (x - 1)² = 3 / 2
    assert fit_exponent([1, 2, 4], [1, 8, 8]) == pytest.approx(1.5)
    assert fit_exponent([Fraction(1, 2), 1], torch.tensor([1.0, 4.0]).tolist()) == pytest.approx(2)


def test_a_constant_part_pulls_the_exponent_down():
    sizes = [1000, 2000, 4000]
    assert fit_exponent(sizes, [size**2 + 4e6 for size in sizes]) < 1.5


def test_nothing_that_comes_in_is_written():
    sizes, values = [1, 2], [3.0, 4.0]
    fit_exponent(sizes, values)
    assert (sizes, values) == ([1, 2], [3.0, 4.0])


# What is refused


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"d_model": 0}, ValueError, "d_model must be at least 1, got d_model=0"),
        ({"d_model": 2.0}, TypeError, r"d_model must be an integer, got d_model=2\.0"),
        ({"d_model": 8, "n_heads": 3}, ValueError, "n_heads must divide d_model=8, got n_heads=3"),
        ({"d_model": 8, "n_heads": 0}, ValueError, "n_heads must be at least 1"),
        ({"d_model": 8, "n_heads": 4, "n_kv_heads": 3}, ValueError, "n_kv_heads must divide n_heads=4"),
        ({"d_model": 8, "n_kv_heads": 0}, ValueError, "n_kv_heads must be at least 1"),
        ({"d_model": 8, "d_ff": 0}, ValueError, "d_ff must be at least 1, got d_ff=0"),
        (
            {"d_model": 8, "activation": "tanh"},
            ValueError,
            "activation must be one of 'relu', 'gelu', 'gated'",
        ),
    ],
)
def test_sizes_say_what_is_wrong(arguments, error, text):
    with pytest.raises(error, match=text):
        LayerSizes(**arguments)


SIZES = LayerSizes(8, 2)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: count_pairs(0, 3), ValueError, "n_queries must be at least 1, got n_queries=0"),
        (lambda: count_pairs(3, 2.0), TypeError, r"n_keys must be an integer, got n_keys=2\.0"),
        (lambda: count_pairs(3, 3, window=0), ValueError, "window must be at least 1, got window=0"),
        (lambda: attention_flops(3, 3, 0), ValueError, "d_head must be at least 1, got d_head=0"),
        (lambda: attention_flops(3, 3, 1, 0), ValueError, "d_value must be at least 1, got d_value=0"),
        (lambda: attention_flops(3, 3, 1, n_heads=0), ValueError, "n_heads must be at least 1"),
        (lambda: attention_flops(3, 3, 1, batch_size=0), ValueError, "batch_size must be at least 1"),
        (
            lambda: multihead_flops(8, 3, 3),
            TypeError,
            "sizes must be of type LayerSizes, got sizes of type int",
        ),
        (
            lambda: multihead_flops(SIZES, 3, 3, n_held=4),
            ValueError,
            "n_held must be at most n_keys=3, got n_held=4",
        ),
        (
            lambda: multihead_flops(SIZES, 3, 3, n_held=-1),
            ValueError,
            "n_held must be at least 0, got n_held=-1",
        ),
        (lambda: attention_bytes(SIZES, 0, 3), ValueError, "n_queries must be at least 1"),
        (lambda: attention_bytes(8, 3, 3), TypeError, "sizes must be of type LayerSizes"),
        (lambda: attention_bytes(SIZES, 3, 3, number_bytes=0), ValueError, "number_bytes must be at least 1"),
        (lambda: score_bytes(3, 3, n_heads=0), ValueError, "n_heads must be at least 1, got n_heads=0"),
        (lambda: cache_bytes(8, 3), TypeError, "sizes must be of type LayerSizes"),
        (lambda: cache_bytes(SIZES, 0), ValueError, "n_tokens must be at least 1, got n_tokens=0"),
        (
            lambda: cache_bytes(SIZES, 3, n_layers=0),
            ValueError,
            "n_layers must be at least 1, got n_layers=0",
        ),
        (
            lambda: fit_exponent([1, 2], [1]),
            ValueError,
            r"values must be as many as sizes \(2\), got .* length 1",
        ),
        (lambda: fit_exponent([1, 0], [1, 1]), ValueError, "sizes must be above 0, got sizes=0"),
        (lambda: fit_exponent([1, 2], [1, -1.0]), ValueError, r"values must be above 0, got values=-1\.0"),
        (lambda: fit_exponent([1, 2], [1, math.inf]), ValueError, "values must be below inf, got values=inf"),
        (lambda: fit_exponent([1, 2], [1, math.nan]), ValueError, "values must be above 0, got values=nan"),
        (lambda: fit_exponent([1, "2"], [1, 1]), TypeError, "sizes must be a number, got sizes='2'"),
        (
            lambda: fit_exponent([3, 3], [1, 2]),
            ValueError,
            r"sizes must hold at least two .*, got sizes=\[3, 3\]",
        ),
        (lambda: fit_exponent([], []), ValueError, r"sizes must hold at least two .*, got sizes=\[\]"),
    ],
)
def test_errors_say_what_is_wrong(call, error, text):
    with pytest.raises(error, match=text):
        call()
