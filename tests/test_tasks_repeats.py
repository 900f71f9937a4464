"""Repeats: a block comes again from its first token on, and the links are where the next token stood."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attncourse.tasks.copying import FIRST_SYMBOL
from attncourse.tasks.repeats import RepeatBatch, RepeatTask

SEEDS = st.integers(0, 2**16)


@pytest.mark.properties
@given(shortest=st.integers(1, 5), extra=st.integers(0, 3), room=st.integers(1, 20), seed=SEEDS)
def test_one_block_of_different_symbols_repeats(shortest, extra, room, seed):
    longest = shortest + extra
    task = RepeatTask(longest + room, longest + 2, shortest, longest)
    batch = task.sample(7, np.random.default_rng(seed))
    assert batch.tokens.shape == (7, task.n_tokens + 1)
    for tokens, period in zip(batch.tokens.tolist(), batch.period.tolist(), strict=True):
        assert shortest <= period <= longest
        assert len(set(tokens[:period])) == period
        assert all(FIRST_SYMBOL <= token < task.vocab_size for token in tokens)
        assert tokens[period:] == tokens[:-period]


@pytest.mark.properties
@given(shortest=st.integers(1, 5), extra=st.integers(0, 3), room=st.integers(1, 20), seed=SEEDS)
def test_links_are_whole_periods_before_the_next_token(shortest, extra, room, seed):
    longest = shortest + extra
    batch = RepeatTask(longest + room, longest, shortest, longest).sample(5, np.random.default_rng(seed))
    links = batch.links()
    for tokens, period, rows, predictable in zip(
        batch.tokens, batch.period, links, batch.predictable, strict=True
    ):
        for t, row in enumerate(rows):
            wanted = [g for g in range(t + 1) if (t + 1 - g) % period == 0] if t >= period else []
            assert np.flatnonzero(row).tolist() == wanted
            assert predictable[t] == (len(wanted) > 0)
            assert all(tokens[g] == tokens[t + 1] for g in wanted)


def test_a_hand_made_text():
    batch = RepeatBatch(tokens=np.array([[7, 4, 9, 7, 4, 9, 7]]), period=np.array([3]))
    assert batch.predictable.tolist() == [[False, False, False, True, True, True]]
    wanted = [[], [], [], [1], [2], [0, 3]]
    assert [np.flatnonzero(row).tolist() for row in batch.links()[0]] == wanted


def test_periods_and_symbols_are_uniform():
    task = RepeatTask(12, 8, 3, 7)
    batch = task.sample(4000, np.random.default_rng(0))
    for counts, n_kinds in (
        (np.bincount(batch.period)[3:], 5),
        (np.bincount(batch.tokens[:, 0])[FIRST_SYMBOL:], 8),
        (np.bincount(batch.tokens[:, 2])[FIRST_SYMBOL:], 8),
    ):
        mean = 4000 / n_kinds
        assert len(counts) == n_kinds
        assert abs(counts - mean).max() < 5 * mean**0.5


def test_the_generator_alone_decides():
    task = RepeatTask()
    first, again, other = (task.sample(7, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.tokens, again.tokens)
    np.testing.assert_array_equal(first.period, again.period)
    assert (first.tokens != other.tokens).any()


def test_tasks_do_not_change_and_compare_by_value():
    assert RepeatTask() == RepeatTask(64, 64, 16, 32)
    with pytest.raises(AttributeError):
        RepeatTask().n_tokens = 5


@pytest.mark.parametrize(
    ("sizes", "error", "text"),
    [
        ((0,), ValueError, "n_tokens must be at least 1, got n_tokens=0"),
        ((9.0,), TypeError, r"n_tokens must be an integer, got n_tokens=9\.0"),
        ((9, 0), ValueError, "n_symbols must be at least 1, got n_symbols=0"),
        ((9, 5, 0), ValueError, "min_period must be at least 1, got min_period=0"),
        ((9, 5, 2, True), TypeError, "max_period must be an integer, got max_period=True"),
        (
            (9, 5, 4, 3),
            ValueError,
            "max_period must be at least min_period, got max_period=3, min_period=4",
        ),
        (
            (5, 9, 4, 5),
            ValueError,
            "max_period must be below n_tokens, or nothing repeats, got max_period=5, n_tokens=5",
        ),
        (
            (9, 5, 4, 6),
            ValueError,
            r"max_period must be at most n_symbols \(a block holds each symbol once\), "
            "got max_period=6, n_symbols=5",
        ),
    ],
)
def test_bad_sizes_are_refused(sizes, error, text):
    with pytest.raises(error, match=f"^{text}$"):
        RepeatTask(*sizes)


def test_an_empty_batch_is_refused():
    with pytest.raises(ValueError, match=r"^batch_size must be at least 1, got batch_size=0$"):
        RepeatTask().sample(0, np.random.default_rng(0))
