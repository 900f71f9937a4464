"""Reversal: targets run backwards through each string of any length, and padding asks nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attncourse.tasks.copying import FIRST_SYMBOL, NO_SOURCE
from attncourse.tasks.pairs import PADDING
from attncourse.tasks.reversal import ReversalTask, answers_from_gold


@pytest.mark.properties
@given(
    min_length=st.integers(1, 4),
    extra=st.integers(0, 5),
    n_symbols=st.integers(2, 7),
    seed=st.integers(0, 2**16),
)
def test_every_string_is_what_the_docstring_says(min_length, extra, n_symbols, seed):
    task = ReversalTask(min_length, min_length + extra, n_symbols)
    batch = task.sample(13, np.random.default_rng(seed))
    for array in (batch.tokens, batch.target, batch.gold):
        assert array.shape == (13, task.max_length)
        assert array.dtype == np.int64
    for tokens, length, target, gold in zip(
        batch.tokens.tolist(), batch.lengths, batch.target.tolist(), batch.gold.tolist(), strict=True
    ):
        n_padding = task.max_length - length
        assert min_length <= length <= task.max_length
        assert all(FIRST_SYMBOL <= symbol < task.vocab_size for symbol in tokens[:length])
        assert tokens[length:] == [PADDING] * n_padding
        assert target == tokens[:length][::-1] + [PADDING] * n_padding
        assert gold == list(range(length))[::-1] + [NO_SOURCE] * n_padding


def test_the_generator_alone_decides():
    first, again, other = (ReversalTask(2, 5).sample(7, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.target, again.target)
    np.testing.assert_array_equal(first.lengths, again.lengths)
    assert (first.target != other.target).any()


def test_answer_batch_by_hand_writes_no_input():
    arguments = np.array([[5, 4, 3, 0]]), np.array([3]), np.array([[2, -7, 0, 1]])
    copies = [array.copy() for array in arguments]
    batch = answers_from_gold(*arguments)
    assert batch.target.tolist() == [[3, PADDING, 5, PADDING]]
    assert batch.gold.tolist() == [[2, NO_SOURCE, 0, NO_SOURCE]]
    for array, copy in zip(arguments, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize(
    ("sizes", "error", "text"),
    [
        ((0, 3), ValueError, "min_length must be at least 1, got min_length=0"),
        ((1, 2.5), TypeError, r"max_length must be an integer, got max_length=2\.5"),
        ((4, 3), ValueError, "max_length must be at least min_length, got max_length=3, min_length=4"),
        ((1, 3, 1), ValueError, "n_symbols must be at least 2, got n_symbols=1"),
    ],
)
def test_bad_sizes_are_refused(sizes, error, text):
    with pytest.raises(error, match=f"^{text}$"):
        ReversalTask(*sizes)


def test_an_empty_batch_is_refused():
    with pytest.raises(ValueError, match=r"^batch_size must be at least 1, got batch_size=0$"):
        ReversalTask(1, 2).sample(0, np.random.default_rng(0))
