"""Copying: target, padding, end token and gold alignment fit each other in every string that is drawn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attncourse.tasks.copying import FIRST_SYMBOL, NO_SOURCE, CopyTask
from attncourse.tasks.pairs import END, PADDING, START


@pytest.mark.properties
@given(
    min_length=st.integers(1, 4),
    extra=st.integers(0, 5),
    n_symbols=st.integers(2, 7),
    seed=st.integers(0, 2**16),
)
def test_every_string_is_what_the_docstring_says(min_length, extra, n_symbols, seed):
    task = CopyTask(min_length, min_length + extra, n_symbols)
    batch = task.sample(13, np.random.default_rng(seed))
    assert batch.source.shape == (13, task.max_length)
    assert batch.target.shape == batch.gold.shape == (13, task.max_length + 1)
    assert START not in batch.source
    assert START not in batch.target
    for source, length, target, gold in zip(
        batch.source.tolist(), batch.lengths, batch.target.tolist(), batch.gold.tolist(), strict=True
    ):
        assert min_length <= length <= task.max_length
        assert all(FIRST_SYMBOL <= symbol < task.vocab_size for symbol in source[:length])
        assert source[length:] == [PADDING] * (task.max_length - length)
        assert target == source[:length] + [END] + [PADDING] * (task.max_length - length)
        assert [source[place] for place in gold[:length]] == target[:length]
        assert gold == list(range(length)) + [NO_SOURCE] * (task.max_length + 1 - length)


def test_all_lengths_occur_equally_often():
    lengths = CopyTask(3, 6).sample(8000, np.random.default_rng(0)).lengths
    shares = np.bincount(lengths, minlength=7)[3:] / 8000
    np.testing.assert_allclose(shares, 0.25, atol=0.025)  # five standard deviations


def test_the_generator_alone_decides():
    first, again, other = (CopyTask(2, 5).sample(7, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.target, again.target)
    np.testing.assert_array_equal(first.lengths, again.lengths)
    assert (first.target != other.target).any()


@pytest.mark.parametrize(
    ("sizes", "error", "text"),
    [
        ((0, 3), ValueError, "min_length must be at least 1, got min_length=0"),
        ((1, 2.5), TypeError, "max_length must be an integer, got max_length=2.5"),
        ((4, 3), ValueError, "max_length must be at least min_length, got max_length=3, min_length=4"),
        ((1, 3, 1), ValueError, "n_symbols must be at least 2, got n_symbols=1"),
    ],
)
def test_bad_sizes_are_refused(sizes, error, text):
    with pytest.raises(error, match=f"^{text}$"):
        CopyTask(*sizes)


def test_an_empty_batch_is_refused():
    with pytest.raises(ValueError, match=r"^batch_size must be at least 1, got batch_size=0$"):
        CopyTask(1, 2).sample(0, np.random.default_rng(0))
