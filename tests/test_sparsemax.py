"""Sparsemax is a projection: compared with an optimiser that knows nothing of sorting."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq

from attncourse.sparsemax import sparsemax
from tests.support.tolerances import BFLOAT16, FLOAT16, FLOAT64

seeds = st.integers(0, 2**31)


def scores_of(seed, shape=(2, 3, 5), scale=1.0):
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def projected(row):
    """Find the threshold by bisection: the weights above it must sum to 1."""
    tau = brentq(lambda t: np.maximum(row - t, 0).sum() - 1, row.min() - 1, row.max(), xtol=1e-14)
    return np.maximum(row - tau, 0)


def test_hand_values():
    rows = torch.tensor([[0.0, 0.0], [2.0, 0.5], [0.5, 0.1]], dtype=torch.float64)
    expected = torch.tensor([[0.5, 0.5], [1.0, 0.0], [0.7, 0.3]], dtype=torch.float64)
    torch.testing.assert_close(sparsemax(rows), expected, **FLOAT64)


@pytest.mark.parity
@given(seeds, st.sampled_from([0.1, 1.0, 10.0]))
def test_equals_bisection(seed, scale):
    scores = scores_of(seed, scale=scale)
    expected = np.apply_along_axis(projected, -1, scores.numpy())
    torch.testing.assert_close(sparsemax(scores), torch.from_numpy(expected), rtol=1e-8, atol=1e-10)


@pytest.mark.properties
@given(seeds, st.floats(-50, 50), st.sampled_from([0.0, 0.4, 1.0]))
def test_properties(seed, shift, visible):
    scores = scores_of(seed)
    mask = torch.rand(3, 5, generator=torch.Generator().manual_seed(seed)) < visible
    weights = sparsemax(scores, mask)
    assert (weights >= 0).all()
    assert not weights[~mask.expand_as(weights)].any()
    torch.testing.assert_close(weights.sum(dim=-1), mask.any(-1).double().expand(2, 3), **FLOAT64)
    torch.testing.assert_close(sparsemax(scores + shift, mask), weights, rtol=1e-8, atol=1e-10)
    garbage = torch.where(mask, scores, 1e6)
    torch.testing.assert_close(sparsemax(garbage, mask), weights, rtol=0, atol=0)
    order = torch.randperm(5, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(
        sparsemax(scores[..., order], mask[..., order]), weights[..., order], **FLOAT64
    )


@given(seeds)
def test_masked_equals_without_the_hidden_keys(seed):
    scores = scores_of(seed)
    mask = torch.tensor([True, False, True, True, False])
    torch.testing.assert_close(sparsemax(scores, mask)[..., mask], sparsemax(scores[..., mask]), **FLOAT64)


def test_keys_more_than_one_apart_never_share():
    assert sparsemax(torch.tensor([[3.0, 1.99, -4.0]])).tolist() == [[1.0, 0.0, 0.0]]


def test_half_precision():
    scores = scores_of(4)
    for dtype, tolerance in ((torch.float16, FLOAT16), (torch.bfloat16, BFLOAT16)):
        weights = sparsemax(scores.to(dtype))
        assert weights.dtype == dtype
        torch.testing.assert_close(weights.double(), sparsemax(scores.to(dtype).double()), **tolerance)


@pytest.mark.gradients
def test_gradients():
    scores = scores_of(5).requires_grad_()
    assert torch.autograd.gradcheck(sparsemax, scores)
    mask = torch.tensor([[True, True, False, True, True], [True] * 5, [False] * 5])
    assert torch.autograd.gradcheck(lambda s: sparsemax(s, mask), scores)
    out = sparsemax(scores, mask)
    (gradient,) = torch.autograd.grad(out.square().sum(), scores)
    assert torch.isfinite(gradient).all()
    assert not gradient[:, 2].any()  # an empty row


def test_scores_are_not_written_and_errors():
    scores = scores_of(6)
    before = scores.clone()
    sparsemax(scores, torch.ones(3, 5).bool())
    assert torch.equal(scores, before)
    with pytest.raises(TypeError, match="mask must be boolean"):
        sparsemax(scores, torch.ones(3, 5))
    with pytest.raises(TypeError, match="mask must be"):
        sparsemax(scores, [True])
    with pytest.raises(TypeError, match="scores must be"):
        sparsemax([[1.0]])
    with pytest.raises(ValueError, match="mask must broadcast to the scores"):
        sparsemax(scores, torch.ones(3, 4).bool())
    with pytest.raises(ValueError, match="scores must be finite"):
        sparsemax(torch.tensor([[1.0, -torch.inf]]))
