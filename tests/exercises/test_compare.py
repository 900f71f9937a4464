"""How an output differs is said in words, and what is equal up to rounding does not differ."""

import numpy as np
import pytest
import torch

from attncourse.exercises._compare import difference

pytestmark = pytest.mark.exercises
TENSOR = torch.tensor([[1.0, 2.0], [3.0, 4.0]])


def differs(got, wanted):
    return difference(got, wanted, 1e-4, 1e-5)


@pytest.mark.parametrize(
    ("got", "wanted"),
    [
        (TENSOR + 5e-6, TENSOR),
        (TENSOR.double() + 5e-9, TENSOR.double()),
        (TENSOR.half() * 1.001, TENSOR.half()),
        (TENSOR.bfloat16() * 1.01, TENSOR.bfloat16()),
        (torch.tensor([1.0, float("nan"), float("inf")]), torch.tensor([1.0, float("nan"), float("inf")])),
        (torch.tensor(3.0), 3),
        (np.float64(3), 3.0),
        (3, 3.0),
        (float("nan"), float("nan")),
        (np.bool_(True).item(), True),
        (torch.tensor(True), True),
        (("a", (1, TENSOR)), ("a", (1, TENSOR))),
        ({"a": 1, "b": TENSOR}, {"b": TENSOR, "a": 1}),
        (None, None),
        (TENSOR > 2, TENSOR > 2),
    ],
)
def test_equal_up_to_rounding(got, wanted):
    assert differs(got, wanted) is None


@pytest.mark.parametrize(
    ("got", "wanted", "text"),
    [
        (
            TENSOR + 1e-2,
            TENSOR,
            "the output has the right shape, but 4 of 4 numbers differ, the first at [0, 0]",
        ),
        (TENSOR.double() + 5e-6, TENSOR.double(), "4 of 4 numbers differ"),
        (TENSOR.half() * 1.02, TENSOR.half(), "4 of 4 numbers differ"),
        (TENSOR.T, TENSOR, "2 of 4 numbers differ, the first at [0, 1]"),
        (TENSOR > 1, TENSOR > 2, "1 of 4 entries differ, the first at [0, 1]"),
        (TENSOR[0], TENSOR, "the output has the shape (2,), not (2, 2)"),
        (TENSOR.long(), TENSOR, "the output is of int64, not of float32"),
        (TENSOR / 0 * 0, TENSOR, "the output contains NaN: 4 of 4 numbers"),
        (TENSOR.numpy(), TENSOR, "the output is a numpy.ndarray, not a torch.Tensor"),
        (None, TENSOR, "the output is None: is the return missing?"),
        (None, 3, "the output is None: is the return missing?"),
        (None, True, "the output is None: is the return missing?"),
        (4.0, 3.0, "the output is 4"),
        ("3", 3, "the output is a text, not a number"),
        (True, 3, "the output is a truth value, not a number"),
        (1, True, "the output is an integer, not True or False"),
        (False, True, "the output is False"),
        ((1, 2), (1, 2, 3), "the output has 2 entries, not 3"),
        (TENSOR, (TENSOR, TENSOR), "the output is a torch.Tensor, not 2 results"),
        ((1, 5), (1, 2), "entry 1 of the output is 5"),
        ({"a": 1}, {"a": 1, "b": 2}, "the output has the keys ['a'], not ['a', 'b']"),
        ({"a": 1}, {"a": 2}, "a is 1"),
        (3, {"a": 2}, "the output is an integer, not a dictionary"),
        ("b", "a", "the output is 'b'"),
        ("b" * 99, "a", "the output is another"),
        (3, "a", "the output is an integer, not a text"),
    ],
)
def test_a_difference_is_said_in_words(got, wanted, text):
    assert text in differs(got, wanted)


def test_the_wanted_number_is_not_said():
    assert "7.25" not in differs(4.0, 7.25)
    assert "7.25" not in differs(torch.tensor([4.0]), torch.tensor([7.25]))
