"""Blockwise attention equals the ordinary one, gradients included, and never makes the square matrix."""

import itertools
import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from attncourse import blockwise
from attncourse.attention import scaled_dot_product_attention
from attncourse.blockwise import blockwise_attention
from attncourse.costs import fit_exponent, score_bytes
from attncourse.masks import causal_mask, padding_mask, window_mask
from tests.support.counting import TensorMeter, extra_megabytes
from tests.support.strategies import attention_cases
from tests.support.tolerances import BFLOAT16, FLOAT16, FLOAT32

BATCH, HEADS, N_QUERIES, N_KEYS, D_HEAD, D_VALUE = 2, 3, 19, 29, 5, 7
EXACT = {"rtol": 0, "atol": 1e-12}  # the acceptance in float64; the worst seen is 2e-15
SINGLE = {"rtol": 0, "atol": 1e-6}  # the acceptance in float32; the worst seen is 2e-7
IMPORT = "from attncourse.blockwise import blockwise_attention"


def arrays(
    dtype=torch.float64,
    *,
    leading=(BATCH, HEADS),
    n_queries=N_QUERIES,
    n_keys=N_KEYS,
    sizes=(D_HEAD, D_VALUE),
    requires_grad=False,
    seed=0,
):
    generator = torch.Generator().manual_seed(seed)
    d_head, d_value = sizes
    made = [
        torch.randn(*leading, *shape, generator=generator, dtype=torch.float64)
        for shape in ((n_queries, d_head), (n_keys, d_head), (n_keys, d_value))
    ]
    return [array.to(dtype).requires_grad_(requires_grad) for array in made]


def random_mask(*shape, seed=1):
    """Return a mask that hides much, and everything from query 2 of the last sequence."""
    mask = torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < 0.4
    mask[(-1,) * (len(shape) - 2)][2] = False
    return mask


def gradients(output, inputs, seed=2):
    upstream = torch.randn(output.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.autograd.grad(output, inputs, upstream.to(output.dtype), retain_graph=True)


# The same numbers as everybody


@pytest.mark.parity
@given(attention_cases(), st.integers(2, 8), st.integers(2, 8), st.booleans())
def test_equals_torch_and_our_own(case, block_queries, block_keys, is_causal):
    query, key, value, mask = (
        torch.from_numpy(array) for array in (case.query, case.key, case.value, case.mask)
    )
    inputs = [array.requires_grad_() for array in (query, key, value)]
    blocks = {"block_queries": block_queries, "block_keys": block_keys}
    output = blockwise_attention(*inputs, mask, is_causal=is_causal, **blocks)
    both = mask & causal_mask(query.shape[-2], key.shape[-2]) if is_causal else mask
    torch.testing.assert_close(output, scaled_dot_product_attention(*inputs, both), **EXACT)
    theirs = F.scaled_dot_product_attention(*inputs, attn_mask=both)
    torch.testing.assert_close(output, theirs, **EXACT)
    for mine, other in zip(gradients(output, inputs), gradients(theirs, inputs), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-11)


def growing_scores(inputs):
    """Let every later key match better: each block of keys brings a new largest score."""
    query, key, value = inputs
    growth = torch.linspace(0.1, 2, key.shape[-2], dtype=key.dtype)[:, None]
    return [query.abs(), key.abs() * growth, value], None


def falling_scores(inputs):
    (query, key, value), _ = growing_scores(inputs)
    return [query, key.flip(-2), value], None


def first_blocks_hidden(inputs):
    return inputs, (torch.arange(inputs[1].shape[-2]) >= 700).expand(inputs[0].shape[-2], -1)


def very_negative_scores(inputs):
    """Bring the scores of the first head to about -1e4: exp is 0 unless the largest comes off first."""
    query, key, value = inputs
    key = key.clone()
    query = torch.cat([query[..., :-1], torch.full_like(query[..., :1], 1.0)], dim=-1)
    key[0, 0, :, -1] = -(2.0**15)
    return [query, key, value], None


def some_rows_hidden(inputs):
    return inputs, random_mask(inputs[0].shape[-2], inputs[1].shape[-2])


@pytest.mark.parity
@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize(
    "special", [growing_scores, falling_scores, first_blocks_hidden, very_negative_scores, some_rows_hidden]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_hard_cases_over_several_blocks(special, is_causal, dtype):
    # 5 blocks of queries and 3 of keys, the last of each ragged. In float32 against torch's fused kernel,
    # which wants d_value = d_head, with values of at most 1: an error has the size of the values.
    single = dtype == torch.float32
    sizes = (16, 16) if single else (D_HEAD, D_VALUE)
    inputs, mask = special(arrays(dtype, leading=(1, 2), n_queries=1031, n_keys=1301, sizes=sizes))
    inputs[2] = inputs[2].tanh()

    def ours(*inputs):
        return blockwise_attention(*inputs, mask, is_causal=is_causal)

    def theirs(*inputs):
        causal = causal_mask(1031, 1301)
        both = mask if not is_causal else causal if mask is None else mask & causal
        return F.scaled_dot_product_attention(*inputs, attn_mask=both)

    if single:
        check_single(inputs, ours, theirs)
    else:
        torch.testing.assert_close(ours(*inputs), theirs(*inputs), **EXACT)


def check_single(inputs, ours, theirs):
    """Compare with torch in float32: softmax and sums alone, and then with the rounding of the scores.

    A large score is rounded by the order in which its products are added, which differs between kernels and
    numbers of threads: torch's own result moves by 2e-5 then. On a grid of sixteenths every score is exact.
    """
    on_grid = [(array * 16).round() / 16 for array in inputs[:2]] + inputs[2:]
    torch.testing.assert_close(ours(*on_grid), theirs(*on_grid), **SINGLE)

    truth = theirs(*(array.double() for array in inputs))
    errors = [(attend(*inputs) - truth).abs().max() for attend in (ours, theirs)]
    assert errors[0] <= 2 * errors[1] + 1e-6  # as near to the truth as torch's


@pytest.mark.parity
def test_gradients_equal_torchs_over_several_blocks():
    inputs = arrays(n_queries=131, n_keys=313, requires_grad=True)
    mask = random_mask(BATCH, 1, 131, 313)
    output = blockwise_attention(*inputs, mask, is_causal=True, block_queries=32, block_keys=64)
    expected = F.scaled_dot_product_attention(*inputs, attn_mask=mask & causal_mask(131, 313))
    for mine, theirs in zip(gradients(output, inputs), gradients(expected, inputs), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)


def test_hand_values_over_two_blocks():
    # scores 0, ln 3 and ln 4 in blocks of 2 and 1: weights 1/8, 3/8, 4/8
    query = torch.tensor([[1.0]], dtype=torch.float64)
    key = torch.tensor([[1.0], [3.0], [4.0]], dtype=torch.float64).log()
    value = torch.tensor([[8.0, 0.0], [16.0, 8.0], [2.0, -2.0]], dtype=torch.float64)
    output = blockwise_attention(query, key, value, block_keys=2)
    torch.testing.assert_close(output, torch.tensor([[8.0, 2.0]], dtype=torch.float64), **EXACT)


@given(st.integers(1, 40), st.integers(1, 40), st.booleans())
def test_block_sizes_change_only_the_rounding(block_queries, block_keys, is_causal):
    inputs = arrays(leading=())
    blocks = {"block_queries": block_queries, "block_keys": block_keys}
    torch.testing.assert_close(
        blockwise_attention(*inputs, is_causal=is_causal, **blocks),
        blockwise_attention(*inputs, is_causal=is_causal),
        **EXACT,
    )


def test_long_texts_get_larger_blocks_unless_sizes_are_given(monkeypatch):
    seen, real = [], blockwise._Blocks
    monkeypatch.setattr(blockwise, "_Blocks", lambda *given: seen.append(given[-2:]) or real(*given))
    monkeypatch.setattr(blockwise, "_LONG_TEXT", 1100)
    for sizes in ((1100, 1100), (1101, 1101), (600, 1101)):
        inputs = arrays(n_queries=sizes[0], n_keys=sizes[1], leading=())
        output = blockwise_attention(*inputs, is_causal=True)
        small = blockwise_attention(*inputs, is_causal=True, block_queries=256, block_keys=512)
        torch.testing.assert_close(output, small, **EXACT)
    assert seen[::2] == [(256, 512), (1024, 1024), (600, 1024)]
    assert seen[1::2] == [(256, 512)] * 3


@pytest.mark.parametrize(("n_queries", "n_keys"), [(11, 29), (29, 11), (13, 13), (1, 17), (17, 1)])
def test_the_last_query_stands_beside_the_last_key(n_queries, n_keys):
    inputs = arrays(n_queries=n_queries, n_keys=n_keys)
    output = blockwise_attention(*inputs, is_causal=True, block_queries=4, block_keys=3)
    mask = causal_mask(n_queries, n_keys)
    torch.testing.assert_close(output, scaled_dot_product_attention(*inputs, mask), **EXACT)
    assert (output[..., : max(0, n_queries - n_keys), :] == 0).all()
    torch.testing.assert_close(output[..., -1, :], blockwise_attention(*inputs)[..., -1, :], **EXACT)


@pytest.mark.parametrize("scale", [0.0, 0.3, -2.0])
def test_scale_is_used_forward_and_backward(scale):
    inputs = arrays(requires_grad=True)
    output = blockwise_attention(*inputs, scale=scale, block_queries=8, block_keys=8)
    expected = scaled_dot_product_attention(*inputs, scale=scale)
    torch.testing.assert_close(output, expected, **EXACT)
    torch.testing.assert_close(gradients(output, inputs), gradients(expected, inputs), **EXACT)


@pytest.mark.parametrize(
    ("query_axes", "key_axes", "value_axes", "mask_axes"),
    [
        ((), (), (), ()),
        ((4,), (), (4,), ()),
        ((2, 6), (2, 1), (1,), (2, 1)),
        ((1, 1), (2, 1), (3,), (3,)),
        ((2, 2, 3), (2, 1, 3), (2, 1, 3), (1, 1, 1)),  # grouped heads: two queries share a key-value head
    ],
)
def test_leading_axes_broadcast_and_their_gradients_add_up(query_axes, key_axes, value_axes, mask_axes):
    generator = torch.Generator().manual_seed(4)
    shapes = ((*query_axes, 7, D_HEAD), (*key_axes, 11, D_HEAD), (*value_axes, 11, D_VALUE))
    inputs = [torch.randn(s, generator=generator, dtype=torch.float64, requires_grad=True) for s in shapes]
    mask = torch.rand(*mask_axes, 7, 11, generator=generator) < 0.7
    output = blockwise_attention(*inputs, mask, block_queries=3, block_keys=4)
    expected = scaled_dot_product_attention(*inputs, mask)
    assert output.shape == expected.shape
    torch.testing.assert_close(output, expected, **EXACT)
    torch.testing.assert_close(gradients(output, inputs), gradients(expected, inputs), **EXACT)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, FLOAT16), (torch.bfloat16, BFLOAT16)])
def test_half_precision_is_computed_in_float32_and_rounded_once(dtype, tolerance):
    inputs = arrays(dtype, n_queries=67, n_keys=131, requires_grad=True)
    blocks = {"block_queries": 16, "block_keys": 32}
    output = blockwise_attention(*inputs, is_causal=True, **blocks)
    wide = [array.detach().float().requires_grad_() for array in inputs]
    expected = blockwise_attention(*wide, is_causal=True, **blocks)
    assert output.dtype == dtype
    assert torch.equal(output, expected.to(dtype))
    for mine, theirs in zip(gradients(output, inputs), gradients(expected, wide), strict=True):
        assert mine.dtype == dtype
        torch.testing.assert_close(mine.float(), theirs, **tolerance)


def test_float16_scores_beyond_its_range_are_no_problem():
    query = torch.full((1, 3), 200.0, dtype=torch.float16)
    key = torch.tensor(
        [[-300.0] * 3, [300.0] * 3], dtype=torch.float16
    )  # scores of ± 104 000; largest: 65 504
    output = blockwise_attention(query, key, torch.tensor([[1.0], [2.0]], dtype=torch.float16))
    assert output.item() == 2.0


# Gradients


@pytest.mark.gradients
@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_gradcheck(is_causal, masked):
    inputs = arrays(leading=(2,), n_queries=6, n_keys=6, sizes=(2, 3), requires_grad=True)
    mask = torch.rand(6, 6, generator=torch.Generator().manual_seed(5)) < 0.5 if masked else None
    if masked:
        mask[3] = False

    def attend(query, key, value):
        blocks = {"block_queries": 4, "block_keys": 4}
        return blockwise_attention(query, key, value, mask, is_causal=is_causal, **blocks)

    assert torch.autograd.gradcheck(attend, inputs)


@given(st.integers(0, 2**20), st.sampled_from(["all", "some", "causal"]))
def test_empty_rows_give_zeros_and_no_gradient(seed, kind):
    inputs = arrays(leading=(2,), seed=seed, requires_grad=True)
    mask = torch.zeros(N_QUERIES, N_KEYS, dtype=torch.bool)
    if kind == "some":
        mask[::3] = random_mask(N_QUERIES, N_KEYS, seed=seed)[::3]
    if kind == "causal":
        inputs = [inputs[0], *(array[..., :4, :] for array in inputs[1:])]  # 15 queries stand before any key
        mask = None
    blocks = {"block_queries": 5, "block_keys": 7}
    output = blockwise_attention(*inputs, mask, is_causal=kind == "causal", **blocks)
    allowed = causal_mask(N_QUERIES, 4) if mask is None else mask
    empty = ~allowed.any(dim=-1)
    assert empty.any()
    assert (output[..., empty, :] == 0).all()
    grad_query, grad_key, grad_value = gradients(output, inputs)
    assert (grad_query[..., empty, :] == 0).all()
    unseen = ~allowed.any(dim=-2)
    assert (grad_key[..., unseen, :] == 0).all()
    assert (grad_value[..., unseen, :] == 0).all()
    for gradient in (grad_query, grad_key, grad_value):
        assert gradient.isfinite().all()


@pytest.mark.parametrize("wanted", [0, 1, 2])
def test_one_input_alone_may_want_a_gradient(wanted):
    inputs = arrays()
    inputs[wanted].requires_grad_()
    (mine,) = gradients(blockwise_attention(*inputs), inputs[wanted])
    (theirs,) = gradients(scaled_dot_product_attention(*inputs), inputs[wanted])
    torch.testing.assert_close(mine, theirs, **EXACT)


def test_an_upstream_gradient_without_memory_of_its_own():
    inputs = arrays(requires_grad=True)
    (mine,) = torch.autograd.grad(blockwise_attention(*inputs).sum(), inputs[:1])  # stride 0
    (theirs,) = torch.autograd.grad(scaled_dot_product_attention(*inputs).sum(), inputs[:1])
    torch.testing.assert_close(mine, theirs, **EXACT)


def test_a_mask_that_changes_before_the_backward_pass_is_noticed():
    inputs = arrays(requires_grad=True)
    mask = random_mask(N_QUERIES, N_KEYS)
    output = blockwise_attention(*inputs, mask)
    mask[0] = True
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


@pytest.mark.gradients
@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("is_masked", [False, True])
def test_second_derivatives(is_masked, is_causal):
    inputs = arrays(leading=(2,), n_queries=5, n_keys=7, sizes=(3, 2), requires_grad=True)
    mask = random_mask(2, 5, 7) if is_masked else None  # with an empty row

    def attend(query, key, value):
        return blockwise_attention(
            query, key, value, mask, is_causal=is_causal, scale=0.7, block_queries=2, block_keys=3
        )

    assert torch.autograd.gradgradcheck(attend, inputs)


@pytest.mark.gradients
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_gradients_are_the_same_whether_or_not_they_are_differentiated(dtype):
    inputs = arrays(dtype, requires_grad=True)
    output = blockwise_attention(*inputs, random_mask(N_QUERIES, N_KEYS), is_causal=True, scale=0.7)
    usual = torch.autograd.grad(output.sum(), inputs, retain_graph=True)
    again = torch.autograd.grad(output.sum(), inputs, create_graph=True)
    tolerance = {torch.float64: EXACT, torch.float32: FLOAT32, torch.bfloat16: BFLOAT16}[dtype]
    for one, other in zip(usual, again, strict=True):
        assert one.dtype == other.dtype == dtype
        torch.testing.assert_close(one, other, **tolerance)


@pytest.mark.gradients
def test_second_derivatives_of_a_broadcast_query_alone():
    query, key, value = arrays()
    query = query[:, :1].requires_grad_()  # one query for all heads; key and value want no gradient
    ours, theirs = (
        torch.autograd.grad(attend(query, key, value).square().sum(), query, create_graph=True)[0]
        for attend in (blockwise_attention, scaled_dot_product_attention)
    )
    torch.testing.assert_close(ours, theirs, **EXACT)
    second = [torch.autograd.grad(first.square().sum(), query)[0] for first in (ours, theirs)]
    torch.testing.assert_close(*second, rtol=1e-10, atol=1e-11)


# Who sees what


@pytest.mark.properties
@given(st.integers(0, N_KEYS - 1), st.integers(0, 2**20))
def test_what_is_hidden_has_no_part_in_it(hidden, seed):
    query, key, value = arrays(leading=(2,), seed=seed)
    mask = torch.rand(N_QUERIES, N_KEYS, generator=torch.Generator().manual_seed(seed)) < 0.7
    mask[:, hidden] = False
    blocks = {"block_queries": 4, "block_keys": 6}
    before = blockwise_attention(query, key, value, mask, **blocks)
    key[..., hidden, :], value[..., hidden, :] = 1e30, -1e30
    assert torch.equal(blockwise_attention(query, key, value, mask, **blocks), before)


@pytest.mark.properties
@given(st.integers(1, N_KEYS - 1), st.integers(0, 2**20))
def test_the_future_has_no_part_in_the_past(first, seed):
    query, key, value = arrays(leading=(2,), n_queries=N_KEYS, seed=seed)
    blocks = {"block_queries": 4, "block_keys": 6}
    before = blockwise_attention(query, key, value, is_causal=True, **blocks)
    key[..., first:, :], value[..., first:, :] = 1e30, -1e30
    after = blockwise_attention(query, key, value, is_causal=True, **blocks)
    assert torch.equal(after[..., :first, :], before[..., :first, :])
    assert not torch.equal(after[..., first, :], before[..., first, :])


def test_nothing_that_comes_in_is_written():
    inputs = arrays(torch.float32, requires_grad=True)
    mask = random_mask(BATCH, HEADS, N_QUERIES, N_KEYS)
    copies = [array.detach().clone() for array in (*inputs, mask)]
    upstream = torch.randn(BATCH, HEADS, N_QUERIES, D_VALUE)
    upstream_copy = upstream.clone()
    blockwise_attention(*inputs, mask, is_causal=True).backward(upstream)
    for array, copy in zip((*inputs, mask, upstream), (*copies, upstream_copy), strict=True):
        assert torch.equal(array, copy)


# Memory and time


def test_kept_for_the_backward_pass_are_the_arguments_the_output_and_a_number_a_query():
    inputs = arrays(torch.float32, n_queries=211, n_keys=307, requires_grad=True)
    kept = {}

    def keep(tensor):
        kept[tensor.data_ptr()] = tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = blockwise_attention(*inputs)
    arguments = sum(array.numel() for array in inputs)
    assert sum(kept.values()) == arguments + output.numel() + BATCH * HEADS * 211


@pytest.mark.parametrize("kind", ["none", "causal", "padding", "one row", "expanded"])
def test_no_memory_of_the_size_of_the_square_is_ever_made(kind):
    n, block = 509, 64
    inputs = arrays(torch.float32, n_queries=n, n_keys=n, requires_grad=True)
    mask = {
        "padding": padding_mask(torch.tensor([300, 509]), n).unsqueeze(1),  # (batch, 1, 1, n)
        "one row": torch.arange(n) % 3 > 0,
        "expanded": (torch.arange(n) % 3 > 0).expand(BATCH, HEADS, n, n),
    }.get(kind)
    with TensorMeter() as meter:
        output = blockwise_attention(
            *inputs, mask, is_causal=kind == "causal", block_queries=block, block_keys=block
        )
        output.sum().backward()
    assert meter.largest <= 4 * BATCH * HEADS * n * D_VALUE  # the output; one square of bits has n² bytes
    assert meter.largest < n**2


def test_blocks_that_hold_nothing_are_left_out():
    n, block = 512, 64
    inputs = [array[0, 0] for array in arrays(n_queries=n, n_keys=n, requires_grad=True)]

    def products(**options):
        with torch.profiler.profile() as profile:
            blockwise_attention(*inputs, block_queries=block, block_keys=block, **options)
        calls = [event for event in profile.events() if event.name == "aten::mm"]
        return len(calls)

    side = n // block
    assert products() == side**2
    assert products(is_causal=True) == side * (side + 1) // 2
    assert products(mask=window_mask(n, n, block)) == 2 * side - 1
    assert products(mask=torch.zeros(n, n, dtype=torch.bool)) == 0


def test_16384_tokens_take_at_most_60_megabytes():
    call = "blockwise_attention(query, key, value, is_causal=True)"
    assert extra_megabytes(call, size=16_384, imports=IMPORT) <= 60
    assert score_bytes(16_384, 16_384, n_heads=4) > 4e9


def test_memory_grows_with_the_length_and_not_with_its_square_backward_too():
    call = "blockwise_attention(query, key, value)"
    sizes = (2_048, 8_192)
    megabytes = [extra_megabytes(call, size=size, imports=IMPORT, backward=True, n_heads=2) for size in sizes]
    assert fit_exponent(sizes, megabytes) <= 1.2


def test_time_is_of_the_order_of_torchs_kernel(one_thread):
    # Measured: 1.3 times. Other programs take the caches away, so the bound of a test is wide.
    inputs = [torch.randn(1, 2, 4096, 64) for _ in range(3)]

    def seconds(attend):
        start = time.process_time()
        attend(*inputs, is_causal=True)
        return time.process_time() - start

    rounds = [
        (seconds(blockwise_attention), seconds(F.scaled_dot_product_attention))
        for _ in itertools.repeat(None, 5)
    ]
    ours, theirs = (min(times) for times in zip(*rounds, strict=True))
    assert ours <= 3 * theirs


# What is refused


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"query": None}, TypeError, "query must be of type Tensor, got query of type NoneType"),
        ({"mask": torch.ones(N_QUERIES, N_KEYS)}, TypeError, r"mask must be boolean .*mask.dtype=float32"),
        ({"mask": torch.ones(3, N_KEYS, dtype=torch.bool)}, ValueError, "mask must broadcast to the scores"),
        ({"key": torch.randn(N_KEYS, 3).double()}, ValueError, "must have the same last axis"),
        ({"value": torch.randn(3, D_VALUE).double()}, ValueError, "must have the same number of tokens"),
        ({"value": torch.randn(N_KEYS, D_VALUE)}, TypeError, "must have the same dtype"),
        ({"key": torch.randn(5, 1, N_KEYS, D_HEAD).double()}, ValueError, "leading axes that broadcast"),
        ({"query": torch.full((2, D_HEAD), float("nan")).double()}, ValueError, "query must not contain NaN"),
        ({"scale": "big"}, TypeError, "scale must be a number, got scale='big'"),
        ({"scale": float("nan")}, ValueError, "scale must be a number, got scale=nan"),
        ({"block_queries": 0}, ValueError, "block_queries must be at least 1, got block_queries=0"),
        ({"block_keys": 2.0}, TypeError, "block_keys must be an integer, got block_keys=2.0"),
    ],
)
def test_errors_say_what_is_wrong(change, error, text):
    query, key, value = arrays()
    with pytest.raises(error, match=text):
        blockwise_attention(**({"query": query, "key": key, "value": value} | change))
