"""The NumPy specification: by hand, by property, and against loops written independently."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attncourse import reference
from tests.support.strategies import attention_cases
from tests.support.tolerances import FLOAT64


def attention_by_loops(query, key, value, mask):
    """One query, one key and one number at a time, with math.exp only."""
    n_queries, d_head = query.shape
    n_keys, d_value = value.shape
    output, weights = np.zeros((n_queries, d_value)), np.zeros((n_queries, n_keys))
    for i in range(n_queries):
        seen = [j for j in range(n_keys) if mask[i, j]]
        scores = {j: sum(query[i, d] * key[j, d] for d in range(d_head)) / math.sqrt(d_head) for j in seen}
        for j in seen:
            weights[i, j] = 1 / sum(math.exp(scores[other] - scores[j]) for other in seen)
        for d in range(d_value):
            output[i, d] = sum(weights[i, j] * value[j, d] for j in seen)
    return output, weights


def test_hand_values():
    # softmax of (ln 3, 0) is (3/4, 1/4); the second query is indifferent.
    query = np.array([[math.log(3.0)], [0.0]])
    key = np.array([[1.0], [0.0]])
    value = np.array([[8.0, 0.0], [0.0, 4.0]])
    output, weights = reference.attention(query, key, value)
    np.testing.assert_allclose(weights, [[0.75, 0.25], [0.5, 0.5]], **FLOAT64)
    np.testing.assert_allclose(output, [[6.0, 1.0], [4.0, 2.0]], **FLOAT64)


def test_scale_is_one_over_the_root_of_the_head_size():
    query, key = np.full((1, 16), 2.0), np.full((1, 16), 3.0)
    assert reference.dot_product_scores(query, key).item() == 96 / 4
    assert reference.dot_product_scores(query, key, scale=1.0).item() == 96


@pytest.mark.parity
@given(attention_cases(leading=False))
def test_equals_plain_loops(case):
    output, weights = reference.attention(case.query, case.key, case.value, case.mask)
    loop_output, loop_weights = attention_by_loops(case.query, case.key, case.value, case.mask)
    np.testing.assert_allclose(weights, loop_weights, **FLOAT64)
    np.testing.assert_allclose(output, loop_output, **FLOAT64)


@pytest.mark.properties
@given(attention_cases())
def test_rows_sum_to_one_or_zero(case):
    weights = reference.masked_softmax(reference.dot_product_scores(case.query, case.key), case.mask)
    expected = np.broadcast_to(case.mask.any(-1), weights.shape[:-1]).astype(float)
    np.testing.assert_allclose(weights.sum(-1), expected, **FLOAT64)
    assert (weights >= 0).all()
    assert (weights[np.broadcast_to(~case.mask, weights.shape)] == 0).all()


@pytest.mark.properties
@given(attention_cases(leading=False), st.randoms(use_true_random=False))
def test_permuting_keys_and_values_together_changes_nothing(case, random):
    order = random.sample(range(len(case.key)), len(case.key))
    output, weights = reference.attention(case.query, case.key, case.value, case.mask)
    moved, moved_weights = reference.attention(
        case.query, case.key[order], case.value[order], case.mask[:, order]
    )
    np.testing.assert_allclose(moved, output, **FLOAT64)
    np.testing.assert_allclose(moved_weights, weights[:, order], **FLOAT64)


@pytest.mark.properties
@given(attention_cases(leading=False))
def test_output_stays_in_the_hull_of_the_values(case):
    output, _ = reference.attention(case.query, case.key, case.value)
    slack = 1e-12
    assert (output <= case.value.max(0) + slack).all()
    assert (output >= case.value.min(0) - slack).all()


@pytest.mark.properties
@given(attention_cases(leading=False), st.floats(-1e3, 1e3))
def test_softmax_ignores_a_constant_per_row(case, shift):
    scores = reference.dot_product_scores(case.query, case.key)
    np.testing.assert_allclose(
        reference.masked_softmax(scores + shift, case.mask),
        reference.masked_softmax(scores, case.mask),
        rtol=1e-9,
        atol=1e-9,
    )


def test_huge_scores_do_not_overflow():
    weights = reference.masked_softmax(np.array([[1e6, 1e6 - math.log(3.0), -1e6]]))
    np.testing.assert_allclose(weights, [[0.75, 0.25, 0.0]], rtol=1e-9)


def test_inputs_are_not_written():
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape) for shape in ((3, 5), (7, 5), (7, 2))]
    mask = rng.random((3, 7)) < 0.5
    copies = [array.copy() for array in (*arrays, mask)]
    reference.attention(*arrays, mask)
    for array, copy in zip((*arrays, mask), copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_dtype_is_kept():
    rng = np.random.default_rng(0)
    query, key, value = (rng.standard_normal(shape).astype(np.float32) for shape in ((3, 5), (7, 5), (7, 2)))
    output, weights = reference.attention(query, key, value)
    assert output.dtype == weights.dtype == np.float32


def test_embed_and_project():
    table = np.arange(12.0).reshape(4, 3)
    inputs = reference.embed(np.array([[2, 0], [3, 3]]), table)
    np.testing.assert_array_equal(inputs[0], table[[2, 0]])
    np.testing.assert_array_equal(inputs[1], table[[3, 3]])
    rng = np.random.default_rng(0)
    matrices = [rng.standard_normal((3, size)) for size in (5, 5, 2)]
    for got, matrix in zip(reference.project(inputs, *matrices), matrices, strict=True):
        np.testing.assert_allclose(got, np.einsum("btm,mh->bth", inputs, matrix), **FLOAT64)


def test_entropy():
    weights = np.array([[1.0, 0.0, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25], [0.0, 0.0, 0.0, 0.0]])
    np.testing.assert_allclose(reference.entropy(weights), [0.0, math.log(4), 0.0], **FLOAT64)


def good():
    rng = np.random.default_rng(1)
    return [rng.standard_normal(shape) for shape in ((3, 5), (7, 5), (7, 2))]


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (lambda a: a.__setitem__(1, a[1][:, :4]), ValueError, "query and key must have the same last axis"),
        (
            lambda a: a.__setitem__(2, a[2][:6]),
            ValueError,
            "key and value must have the same number of tokens",
        ),
        (lambda a: a.__setitem__(0, a[0].astype(int)), TypeError, "query must be floating point"),
        (lambda a: a.__setitem__(0, a[0][:0]), ValueError, "query must not be empty"),
        (lambda a: a[2].__setitem__((1, 1), np.nan), ValueError, "value must not contain NaN"),
        (
            lambda a: a.__setitem__(1, a[1].astype(np.float32)),
            TypeError,
            "query and key must have the same dtype",
        ),
        (lambda a: a.append(np.ones((3, 7))), TypeError, "mask must be boolean"),
        (lambda a: a.append(np.ones((7, 3), dtype=bool)), ValueError, "mask must broadcast to the scores"),
    ],
)
def test_attention_refuses_bad_input(change, error, text):
    arguments = good()
    change(arguments)
    with pytest.raises(error, match=text):
        reference.attention(*arguments)


def test_the_other_functions_refuse_bad_input():
    with pytest.raises(TypeError, match=r"tokens must be integers, got tokens\.dtype=float64"):
        reference.embed(np.array([1.0]), np.ones((3, 2)))
    with pytest.raises(
        ValueError, match=r"tokens must lie in 0 … 2 \(the rows of table\), got tokens from -1 to 3"
    ):
        reference.embed(np.array([-1, 3]), np.ones((3, 2)))
    with pytest.raises(ValueError, match="key_proj must have as many rows as inputs has features"):
        reference.project(np.ones((2, 3)), np.ones((3, 2)), np.ones((4, 2)), np.ones((3, 2)))
    with pytest.raises(ValueError, match="query_proj and key_proj must have the same last axis"):
        reference.project(np.ones((2, 3)), np.ones((3, 2)), np.ones((3, 5)), np.ones((3, 2)))
    with pytest.raises(ValueError, match="weights must have one entry per row of value on its last axis"):
        reference.weighted_sum(np.ones((2, 3)), np.ones((4, 5)))
    with pytest.raises(
        ValueError, match=r"scores must be finite \(hide keys by a mask\), got scores with 2 inf"
    ):
        reference.masked_softmax(np.array([[np.inf, -np.inf]]))
    with pytest.raises(ValueError, match="weights must not be negative"):
        reference.entropy(np.array([1.5, -0.5]))
