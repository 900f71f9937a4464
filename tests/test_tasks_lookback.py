"""Looking back: every answer stands where the rule says, at every position of strings of any length."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attncourse.tasks.copying import FIRST_SYMBOL, NO_SOURCE
from attncourse.tasks.lookback import LatestTask, LookbackTask
from attncourse.tasks.pairs import PADDING

SEEDS = st.integers(0, 2**16)


def rows(batch, task):
    """Return each string with its target and gold positions as lists, after checking the padding."""
    found = []
    for tokens, length, target, gold in zip(
        batch.tokens.tolist(), batch.lengths, batch.target.tolist(), batch.gold.tolist(), strict=True
    ):
        assert len(tokens) == len(target) == len(gold) == task.max_length
        assert task.min_length <= length <= task.max_length
        assert all(FIRST_SYMBOL <= symbol < task.vocab_size for symbol in tokens[:length])
        n_padding = task.max_length - length
        assert tokens[length:] == target[length:] == [PADDING] * n_padding
        assert gold[length:] == [NO_SOURCE] * n_padding
        found.append((tokens[:length], target[:length], gold[:length]))
    return found


@pytest.mark.properties
@given(distance=st.integers(1, 4), spare=st.integers(1, 3), extra=st.integers(0, 30), seed=SEEDS)
def test_lookback_asks_for_the_symbol_a_fixed_distance_back(distance, spare, extra, seed):
    task = LookbackTask(distance + spare, distance + spare + extra, 5, distance)
    for tokens, target, gold in rows(task.sample(11, np.random.default_rng(seed)), task):
        assert target == [PADDING] * distance + tokens[:-distance]
        assert gold == [NO_SOURCE] * distance + list(range(len(tokens) - distance))


@pytest.mark.properties
@given(min_length=st.integers(1, 5), extra=st.integers(0, 30), n_marked=st.integers(1, 4), seed=SEEDS)
def test_latest_asks_for_the_nearest_marked_symbol(min_length, extra, n_marked, seed):
    task = LatestTask(min_length, min_length + extra, 5, n_marked)
    for tokens, target, gold in rows(task.sample(11, np.random.default_rng(seed)), task):
        latest = NO_SOURCE
        for position, symbol in enumerate(tokens):
            if symbol < FIRST_SYMBOL + n_marked:
                latest = position
            assert gold[position] == latest
            assert target[position] == (PADDING if latest == NO_SOURCE else tokens[latest])


@pytest.mark.parametrize("task", [LookbackTask(4, 9), LatestTask(4, 9)])
def test_the_generator_alone_decides(task):
    first, again, other = (task.sample(7, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.target, again.target)
    np.testing.assert_array_equal(first.lengths, again.lengths)
    assert (first.target != other.target).any()


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: LookbackTask(0, 3), ValueError, "min_length must be at least 1, got min_length=0"),
        (lambda: LookbackTask(4, 9, distance=0), ValueError, "distance must be at least 1, got distance=0"),
        (
            lambda: LookbackTask(3, 9),
            ValueError,
            "min_length must be above distance, or a string asks nothing, got min_length=3, distance=3",
        ),
        (lambda: LatestTask(5, 4), ValueError, "max_length must be at least min_length, got .*"),
        (
            lambda: LatestTask(1, 4, n_marked=1.0),
            TypeError,
            r"n_marked must be an integer, got n_marked=1\.0",
        ),
        (
            lambda: LatestTask(1, 4, 3, 3),
            ValueError,
            "n_marked must be below n_symbols, got n_marked=3, n_symbols=3",
        ),
    ],
)
def test_bad_sizes_are_refused(call, error, text):
    with pytest.raises(error, match=f"^{text}$"):
        call()


@pytest.mark.parametrize("task", [LookbackTask(4, 9), LatestTask(4, 9)])
def test_an_empty_batch_is_refused(task):
    with pytest.raises(ValueError, match=r"^batch_size must be at least 1, got batch_size=0$"):
        task.sample(0, np.random.default_rng(0))
