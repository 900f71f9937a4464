"""Argument checks: each rule fails on its own fault, and the text names parameter, rule and value."""

import math

import numpy as np
import pytest
import torch

from attncourse import _checks as checks


@pytest.mark.parametrize("make", [np.zeros, torch.zeros])
def test_dtype_name_is_bare(make):
    assert checks.dtype_name(make((2, 3)) != 0) == "bool"
    assert checks.dtype_name(torch.zeros(2, dtype=torch.bfloat16)) == "bfloat16"
    assert checks.dtype_name(np.zeros(2, dtype=np.float32)) == "float32"


def test_an_array_is_required():
    with pytest.raises(TypeError, match="key must be an array or tensor, got key of type list"):
        checks.check_array("key", [1.0, 2.0])
    with pytest.raises(ValueError, match=r"key must have at least 2 axes, got key\.shape=\(3,\)"):
        checks.check_array("key", np.zeros(3), min_axes=2)


@pytest.mark.parametrize("make", [np.asarray, torch.tensor])
def test_rows_are_integers(make):
    checks.check_rows("rows", make([2, 0, 2]))
    with pytest.raises(TypeError, match=r"^rows must be an array or tensor, got rows of type list$"):
        checks.check_rows("rows", [1, 2])
    with pytest.raises(TypeError, match=r"^rows must be integers, got rows\.dtype=bool$"):
        checks.check_rows("rows", make([True, False]))
    nothing = make([1])[:0]
    checks.check_rows("rows", nothing, may_be_empty=True)
    with pytest.raises(ValueError, match=r"^rows must not be empty, got rows\.shape=\(0,\)$"):
        checks.check_rows("rows", nothing)


@pytest.mark.parametrize("make", [np.asarray, torch.tensor])
def test_floats_are_required(make):
    with pytest.raises(TypeError, match=r"value must be floating point, got value\.dtype=int64"):
        checks.check_floats("value", make([[1, 2]]))
    with pytest.raises(ValueError, match="value must not contain NaN, got value with 2 NaN"):
        checks.check_floats("value", make([[1.0, float("nan")], [float("nan"), 0.0]]))
    checks.check_floats("value", make([[float("inf"), 1.0]]))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_a_nan_is_found_beside_infinities_and_in_sums_that_overflow(dtype):
    large = torch.full((3, 5), torch.finfo(dtype).max, dtype=dtype)
    infinite = torch.tensor([[math.inf, -math.inf, 0.0]], dtype=dtype)
    for array in (large, -large, infinite, torch.cat([large, -large])):
        checks.check_floats("x", array)
        with_nan = array.clone().requires_grad_()
        with torch.no_grad():
            with_nan[0, 2] = math.nan
        with pytest.raises(ValueError, match="x must not contain NaN, got x with 1 NaN"):
            checks.check_floats("x", with_nan)


@pytest.mark.parametrize("shape", [(2, 0, 3), (2, 3, 0)])
def test_empty_sequences_and_features_are_refused(shape):
    with pytest.raises(ValueError, match=rf"query must not be empty, got query\.shape=\({shape[0]}, "):
        checks.check_floats("query", torch.zeros(shape))


def test_an_empty_batch_is_allowed():
    checks.check_floats("query", torch.zeros(0, 3, 5))


def test_same_axis_and_dtype():
    text = r"query and key must have the same last axis, got query\.shape=\(2, 4\), key\.shape=\(3, 2\)"
    with pytest.raises(ValueError, match=text):
        checks.check_same_axis("query", np.zeros((2, 4)), "key", np.zeros((3, 2)), axis=-1, what="last axis")
    with pytest.raises(TypeError, match=r"the same dtype, got query\.dtype=float32, key\.dtype=float64"):
        checks.check_same_dtype("query", torch.zeros(2), "key", torch.zeros(2, dtype=torch.float64))


@pytest.mark.parametrize(
    "shapes",
    [
        ((3, 1), (1, 5)),
        ((5,), (2, 3, 1)),
        ((2, 3), (2, 3)),
        ((), (4,)),
        ((2, 3), (3, 2)),
        ((2,), (3,)),
        ((0,), (1,)),
    ],
)
def test_broadcast_shape_agrees_with_numpy(shapes):
    try:
        expected = np.broadcast_shapes(*shapes)
    except ValueError:
        expected = None
    assert checks.broadcast_shape(*shapes) == expected


def test_leading_axes():
    assert checks.check_leading_axes(query=np.zeros((2, 1, 5, 7)), key=np.zeros((3, 11, 7))) == (2, 3)
    with pytest.raises(
        ValueError,
        match=r"query and key must have leading axes that broadcast, got query\.shape=\(2, 5, 7\), key\.sh",
    ):
        checks.check_leading_axes(query=np.zeros((2, 5, 7)), key=np.zeros((3, 5, 7)))


def test_masks():
    checks.check_mask(np.ones((1, 5), dtype=bool), (2, 3, 5))
    with pytest.raises(TypeError, match="mask must be an array or tensor of bool, got mask of type list"):
        checks.check_mask([True], (1, 1))
    with pytest.raises(
        TypeError, match=r"mask must be boolean \(True = may attend\), got mask\.dtype=float32"
    ):
        checks.check_mask(torch.zeros(3, 5), (3, 5))
    with pytest.raises(
        ValueError, match=r"must broadcast to the scores .*=\(3, 5\), got mask\.shape=\(5, 3\)"
    ):
        checks.check_mask(torch.ones(5, 3, dtype=torch.bool), (3, 5))
    with pytest.raises(ValueError, match=r"got mask\.shape=\(2, 3, 5\)"):
        checks.check_mask(torch.ones(2, 3, 5, dtype=torch.bool), (3, 5))  # would enlarge the scores


@pytest.mark.parametrize("value", [True, 3.0, "3", None])
def test_counts_are_whole_numbers(value):
    with pytest.raises(TypeError, match="n_keys must be an integer, got n_keys="):
        checks.check_count("n_keys", value)


def test_counts_have_a_least_value():
    checks.check_count("n_keys", np.int64(1))
    with pytest.raises(ValueError, match="n_keys must be at least 1, got n_keys=0"):
        checks.check_count("n_keys", 0)


def test_numbers_keep_their_limits():
    checks.check_number("dropout", 0, at_least=0, below=1)
    checks.check_number("dropout", np.float64(0.5), at_least=0, below=1)
    with pytest.raises(ValueError, match="dropout must be below 1, got dropout=1"):
        checks.check_number("dropout", 1, at_least=0, below=1)
    with pytest.raises(ValueError, match=r"dropout must be at least 0, got dropout=-0\.1"):
        checks.check_number("dropout", -0.1, at_least=0)
    with pytest.raises(ValueError, match="scale must be above 0, got scale=0"):
        checks.check_number("scale", 0, above=0)
    with pytest.raises(ValueError, match="scale must be a number, got scale=nan"):
        checks.check_number("scale", float("nan"))
    with pytest.raises(TypeError, match="scale must be a number, got scale='2'"):
        checks.check_number("scale", "2")


def test_choices_are_listed():
    with pytest.raises(ValueError, match="name must be one of 'dot', 'cosine', got name='dots'"):
        checks.check_choice("name", "dots", ("dot", "cosine"))
