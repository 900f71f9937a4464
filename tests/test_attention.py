"""Scaled dot-product attention equals torch's and the NumPy reference, and keeps its promises."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from attncourse import reference
from attncourse.attention import attend, masked_softmax, masked_softmax_, scaled_dot_product_attention
from attncourse.masks import causal_mask
from tests.support.strategies import attention_cases
from tests.support.tolerances import BFLOAT16, FLOAT16, FLOAT32, FLOAT64

BATCH, HEADS, N_QUERIES, N_KEYS, D_HEAD, D_VALUE = 2, 3, 5, 11, 7, 13


def arrays(dtype=torch.float64, *, requires_grad=False, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((N_QUERIES, D_HEAD), (N_KEYS, D_HEAD), (N_KEYS, D_VALUE))
    made = [
        torch.randn(BATCH, HEADS, *shape, generator=generator, dtype=torch.float64).to(dtype)
        for shape in shapes
    ]
    return [array.requires_grad_(requires_grad) for array in made]


def mask_with_empty_row(seed=1):
    mask = torch.rand(BATCH, 1, N_QUERIES, N_KEYS, generator=torch.Generator().manual_seed(seed)) < 0.4
    mask[1, :, 2] = False
    return mask


def as_torch(case):
    return [torch.from_numpy(array) for array in (case.query, case.key, case.value, case.mask)]


@pytest.mark.parity
@given(attention_cases())
def test_equals_torch_and_the_reference(case):
    query, key, value, mask = as_torch(case)
    output, weights = scaled_dot_product_attention(query, key, value, mask, return_weights=True)
    fused = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    spec_output, spec_weights = reference.attention(case.query, case.key, case.value, case.mask)
    torch.testing.assert_close(output, fused, **FLOAT64)
    np.testing.assert_allclose(output, spec_output, **FLOAT64)
    np.testing.assert_allclose(weights, spec_weights, **FLOAT64)


@pytest.mark.parity
@given(attention_cases(), st.integers(0, 2**31))
def test_gradients_equal_torchs(case, seed):
    *inputs, mask = as_torch(case)
    inputs = [array.requires_grad_() for array in inputs]
    ours = scaled_dot_product_attention(*inputs, mask)
    theirs = F.scaled_dot_product_attention(*inputs, attn_mask=mask)
    upstream = torch.randn(ours.shape, generator=torch.Generator().manual_seed(seed), dtype=ours.dtype)
    for mine, other in zip(
        torch.autograd.grad(ours, inputs, upstream),
        torch.autograd.grad(theirs, inputs, upstream),
        strict=True,
    ):
        torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-10)


@pytest.mark.parity
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float32, FLOAT32), (torch.float16, FLOAT16), (torch.bfloat16, BFLOAT16)],
)
def test_lower_precision_stays_near_float64(dtype, tolerance):
    # The same rounded inputs on both sides: the difference is the arithmetic alone.
    low = arrays(dtype, requires_grad=True)
    exact = [array.detach().double().requires_grad_() for array in low]
    mask = mask_with_empty_row()
    got, want = scaled_dot_product_attention(*low, mask), scaled_dot_product_attention(*exact, mask)
    fused = F.scaled_dot_product_attention(*low, attn_mask=mask)
    assert got.dtype == dtype
    torch.testing.assert_close(got.double(), want, **tolerance)
    torch.testing.assert_close(got, fused, **tolerance)
    scale = {"rtol": 10 * tolerance["rtol"], "atol": 10 * tolerance["atol"]}
    for mine, other in zip(
        torch.autograd.grad(got.sum(), low), torch.autograd.grad(want.sum(), exact), strict=True
    ):
        assert mine.isfinite().all()
        torch.testing.assert_close(mine.double(), other, **scale)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_scores_do_not_overflow(dtype):
    # The plain dot product is 256 * 16 * 32 = 131072, beyond float16; scaled it is 8192.
    query = torch.full((1, 256), 16.0, dtype=dtype)
    key = torch.cat([torch.full((1, 256), 32.0), torch.zeros(1, 256)]).to(dtype)
    value = torch.tensor([[1.0], [2.0]], dtype=dtype)
    assert scaled_dot_product_attention(query, key, value).item() == 1.0


def test_an_empty_row_gives_zeros_and_finite_gradients():
    inputs = arrays(requires_grad=True)
    mask = mask_with_empty_row()
    output, weights = scaled_dot_product_attention(*inputs, mask, return_weights=True)
    assert (output[1, :, 2] == 0).all()
    assert (weights[1, :, 2] == 0).all()
    gradients = torch.autograd.grad(output.square().sum(), inputs)
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert (gradients[0][1, :, 2] == 0).all()
    assert (gradients[0][0] != 0).any()


def test_an_empty_row_makes_no_nan_anywhere_on_the_way():
    # A NaN that is masked out later still stops a reader who debugs with anomaly detection.
    inputs = arrays(requires_grad=True)
    with pytest.warns(UserWarning, match="Anomaly Detection"), torch.autograd.detect_anomaly():
        scaled_dot_product_attention(*inputs, mask_with_empty_row()).sum().backward()


@pytest.mark.gradients
def test_gradcheck():
    inputs = arrays(requires_grad=True)
    mask = mask_with_empty_row()
    assert torch.autograd.gradcheck(lambda q, k, v: scaled_dot_product_attention(q, k, v, mask), inputs)
    scores = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: masked_softmax(s, torch.eye(3, 5).bool()), [scores])


@pytest.mark.properties
@given(attention_cases())
def test_garbage_in_hidden_keys_changes_nothing(case):
    query, key, value, mask = as_torch(case)
    hidden = ~mask.reshape(-1, *mask.shape[-2:]).any(0).any(0)  # keys that no query sees
    expected = scaled_dot_product_attention(query, key, value, mask)
    key, value = key.clone(), value.clone()
    key[..., hidden, :], value[..., hidden, :] = 1e30, -1e30
    torch.testing.assert_close(
        scaled_dot_product_attention(query, key, value, mask), expected, rtol=0, atol=0
    )


@pytest.mark.properties
@given(attention_cases(leading=False), st.integers(0, 6))
def test_changing_the_future_never_changes_the_past(case, changed):
    _, key, value, _ = as_torch(case)
    n_tokens = key.shape[0]
    changed %= n_tokens
    mask = causal_mask(n_tokens, n_tokens)
    before = scaled_dot_product_attention(key, key, value, mask)
    key, value = key.clone(), value.clone()
    key[changed:] += 3.0
    value[changed:] -= 5.0
    after = scaled_dot_product_attention(key, key, value, mask)
    torch.testing.assert_close(after[:changed], before[:changed], rtol=0, atol=0)
    assert (after[changed:] != before[changed:]).any()


@pytest.mark.properties
def test_batch_items_are_independent():
    query, key, value = arrays()
    mask = mask_with_empty_row()
    whole = scaled_dot_product_attention(query, key, value, mask)
    for item in range(BATCH):
        alone = scaled_dot_product_attention(query[item], key[item], value[item], mask[item])
        torch.testing.assert_close(alone, whole[item], **FLOAT64)


def test_inputs_are_not_written():
    inputs = [*arrays(), mask_with_empty_row()]
    copies = [array.clone() for array in inputs]
    scaled_dot_product_attention(*inputs, dropout=0.5)
    attend(inputs[0] @ inputs[1].transpose(-2, -1), inputs[2], inputs[3])
    for array, copy in zip(inputs, copies, strict=True):
        assert torch.equal(array, copy)


def test_scale_can_be_given():
    query, key, value = arrays()
    torch.testing.assert_close(
        scaled_dot_product_attention(query, key, value, scale=0.3),
        F.scaled_dot_product_attention(query, key, value, scale=0.3),
        **FLOAT64,
    )


def test_attend_takes_any_scores():
    query, key, value = arrays()
    mask = mask_with_empty_row()
    scores = query @ key.transpose(-2, -1) / math.sqrt(D_HEAD)
    expected = scaled_dot_product_attention(query, key, value, mask, return_weights=True)
    for got, want in zip(attend(scores, value, mask), expected, strict=True):
        torch.testing.assert_close(got, want, **FLOAT64)


def test_dropout_scales_what_it_keeps_and_is_seen_in_the_weights():
    query, key, value = (torch.randn(size, 4, dtype=torch.float64) for size in (400, 50, 50))
    _, plain = scaled_dot_product_attention(query, key, value, return_weights=True)
    torch.manual_seed(3)
    output, weights = scaled_dot_product_attention(query, key, value, dropout=0.25, return_weights=True)
    kept = weights != 0
    torch.testing.assert_close(weights[kept], plain[kept] / 0.75, **FLOAT64)
    # 20 000 weights are kept with probability 0.75: five standard deviations are 0.015.
    assert abs(kept.double().mean() - 0.75) < 0.015
    torch.testing.assert_close(output, weights @ value, **FLOAT64)


def test_dropout_zero_draws_no_random_numbers():
    state = torch.get_rng_state()
    scaled_dot_product_attention(*arrays())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("largest", [1e4, 1e6, 1e30])
def test_softmax_is_stable(largest):
    scores = torch.tensor([[largest, largest, -largest]], dtype=torch.float64)
    assert masked_softmax(scores).tolist() == [[0.5, 0.5, 0.0]]


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (
            {"key": torch.ones(11, 6)},
            ValueError,
            r"the same last axis, got query\.shape=\(5, 7\), key\.shape=\(11, 6",
        ),
        ({"value": torch.ones(10, 3)}, ValueError, "key and value must have the same number of tokens"),
        (
            {"query": torch.ones(5, 7).long()},
            TypeError,
            "query must be floating point, got query.dtype=int64",
        ),
        ({"query": torch.ones(7)}, ValueError, "query must have at least 2 axes"),
        ({"query": [[1.0]]}, TypeError, "query must be of type Tensor, got query of type list"),
        ({"key": torch.ones(0, 7), "value": torch.ones(0, 3)}, ValueError, "key must not be empty"),
        (
            {"value": torch.full((11, 3), math.nan)},
            ValueError,
            "value must not contain NaN, got value with 33 NaN",
        ),
        ({"key": torch.ones(11, 7).double()}, TypeError, "query and key must have the same dtype"),
        (
            {"key": torch.ones(2, 11, 7), "value": torch.ones(3, 11, 3)},
            ValueError,
            "leading axes that broadcast",
        ),
        (
            {"mask": torch.ones(5, 11)},
            TypeError,
            r"mask must be boolean \(True = may attend\), got mask\.dtype=float32",
        ),
        (
            {"mask": torch.ones(11, 5).bool()},
            ValueError,
            r"mask must broadcast .*=\(5, 11\), got mask\.shape=\(11, 5\)",
        ),
        ({"dropout": 1.0}, ValueError, r"dropout must be below 1, got dropout=1\.0"),
        ({"dropout": -0.1}, ValueError, "dropout must be at least 0"),
        ({"scale": math.nan}, ValueError, "scale must be a number, got scale=nan"),
    ],
)
def test_bad_input(change, error, text):
    arguments = {"query": torch.ones(5, 7), "key": torch.ones(11, 7), "value": torch.ones(11, 3)} | change
    with pytest.raises(error, match=text):
        scaled_dot_product_attention(**arguments)


def scores_of(query, key):
    return query @ key.transpose(-2, -1)


@pytest.mark.parity
@given(attention_cases(), st.booleans())
def test_writing_over_the_scores_gives_the_same_weights_and_gradients(case, with_mask):
    query, key, _, mask = as_torch(case)
    mask = mask if with_mask else None
    inputs = [query.requires_grad_(), key.requires_grad_()]
    weights = masked_softmax(scores_of(*inputs), mask)
    again = masked_softmax_(scores_of(*inputs), mask)
    torch.testing.assert_close(again, weights, rtol=0, atol=0)
    upstream = torch.rand(weights.shape, generator=torch.Generator().manual_seed(0), dtype=weights.dtype)
    for ours, other in zip(
        torch.autograd.grad(again, inputs, upstream),
        torch.autograd.grad(weights, inputs, upstream),
        strict=True,
    ):
        torch.testing.assert_close(ours, other, **FLOAT64)


@pytest.mark.parametrize(
    "mask",
    [
        torch.tensor(True),
        torch.tensor(False),
        torch.tensor([False]),
        torch.tensor([False, True, True]),  # the first key is hidden, and no row is empty
        torch.tensor([[True], [False]]),
        torch.tensor([[False, True, False], [False, False, False]]),
        torch.tensor([[True, False, False], [True, True, False]]),
    ],
    ids=lambda mask: str(mask.int().tolist()),
)
def test_writing_over_the_scores_finds_empty_rows_in_masks_of_every_shape(mask):
    scores = torch.randn(2, 2, 3, generator=torch.Generator().manual_seed(0))
    expected = masked_softmax(scores, mask)
    assert torch.equal(masked_softmax_(scores.clone(), mask), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_writing_over_half_precision_scores_rounds_once_too(dtype):
    query, key, _ = arrays(dtype)
    mask = mask_with_empty_row()
    expected = masked_softmax(scores_of(query, key), mask)
    assert torch.equal(masked_softmax_(scores_of(query, key), mask), expected)


@pytest.mark.gradients
def test_gradcheck_of_writing_over_the_scores():
    query, key, _ = arrays(requires_grad=True)
    mask = mask_with_empty_row()

    def weights(query, key):
        return masked_softmax_(scores_of(query, key), mask)

    assert torch.autograd.gradcheck(weights, [query, key])
    small = [one[:1, :1, :2].detach().requires_grad_() for one in (query, key)]
    mask = torch.tensor([[True, False], [False, False]])
    assert torch.autograd.gradgradcheck(weights, small)


def test_hidden_scores_that_overflowed_change_nothing_when_written_over():
    scores = torch.tensor([[1.0, math.inf, 2.0], [math.inf, 0.0, 0.0]])
    mask = torch.tensor([[True, False, True], [False, False, False]])
    weights = masked_softmax_(scores, mask)
    expected = masked_softmax(torch.tensor([[1.0, 0.0, 2.0], [0.0, 0.0, 0.0]]), mask)
    assert torch.equal(weights, expected)


def test_only_the_scores_are_written_over():
    query, key, _ = arrays()
    mask = mask_with_empty_row()
    before = [query.clone(), key.clone(), mask.clone()]
    scores = scores_of(query, key)
    masked_softmax_(scores, mask)
    assert all(torch.equal(now, was) for now, was in zip((query, key, mask), before, strict=True))
    assert not torch.equal(scores, scores_of(query, key))
    untouched = scores_of(query, key)
    masked_softmax_(untouched)
    assert torch.equal(untouched, scores_of(query, key))


@pytest.mark.parametrize(
    ("scores", "mask", "error", "text"),
    [
        ([[1.0]], None, TypeError, "scores must be of type Tensor, got scores of type list"),
        (torch.ones(2, 3).long(), None, TypeError, "scores must be floating point, got scores.dtype=int64"),
        (torch.ones(2, 3), torch.ones(2, 3), TypeError, "mask must be boolean"),
        (torch.ones(2, 3), [[True]], TypeError, "mask must be of type Tensor, got mask of type list"),
        (torch.ones(2, 3), torch.ones(3, 2).bool(), ValueError, r"mask must broadcast .*=\(2, 3\)"),
        (torch.ones(2, 3), torch.ones(4, 2, 3).bool(), ValueError, r"mask must broadcast .*=\(2, 3\)"),
    ],
)
def test_writing_over_the_scores_refuses_bad_input_and_writes_nothing(scores, mask, error, text):
    before = scores.clone() if isinstance(scores, torch.Tensor) else None
    with pytest.raises(error, match=text):
        masked_softmax_(scores, mask)
    assert before is None or torch.equal(scores, before)


def test_attend_and_masked_softmax_refuse_bad_input():
    with pytest.raises(ValueError, match="scores must have one entry per row of value on its last axis"):
        attend(torch.ones(2, 3), torch.ones(4, 5))
    with pytest.raises(TypeError, match="scores and value must have the same dtype"):
        attend(torch.ones(2, 3), torch.ones(3, 5).double())
    with pytest.raises(ValueError, match="scores must not contain NaN"):
        masked_softmax(torch.tensor([[math.nan]]))
    with pytest.raises(
        ValueError, match=r"scores must be finite \(hide keys by a mask\), got scores with 1 inf"
    ):
        masked_softmax(torch.tensor([[0.0, -math.inf]]))
    with pytest.raises(ValueError, match="scores must be finite"):
        attend(torch.tensor([[0.0, math.inf]]), torch.ones(2, 3))
    with pytest.raises(TypeError, match="mask must be boolean"):
        masked_softmax(torch.ones(2, 3), torch.ones(2, 3))
