"""Associative recall: the gold answer and alignment are true of every sequence that is drawn."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attncourse.tasks.recall import RecallTask


@pytest.mark.properties
@given(
    n_pairs=st.integers(1, 7),
    gap=st.integers(0, 5),
    spare_keys=st.integers(0, 3),
    n_values=st.integers(2, 5),
    seed=st.integers(0, 2**16),
)
def test_every_sequence_is_what_the_docstring_says(n_pairs, gap, spare_keys, n_values, seed):
    task = RecallTask(n_pairs, gap, n_keys=n_pairs + spare_keys, n_values=n_values)
    batch = task.sample(11, np.random.default_rng(seed))
    assert batch.tokens.shape == (11, task.n_tokens)
    assert batch.tokens.max() < task.vocab_size
    for tokens, answer, gold, distance in zip(
        batch.tokens.tolist(), batch.answer, batch.gold, batch.distance, strict=True
    ):
        keys, values = tokens[0 : 2 * n_pairs : 2], tokens[1 : 2 * n_pairs : 2]
        assert len(set(keys)) == n_pairs
        assert all(key < task.n_keys for key in keys)
        assert all(task.n_keys <= value < task.filler for value in values)
        assert tokens[2 * n_pairs : -1] == [task.filler] * gap
        assert dict(zip(keys, values, strict=True))[tokens[-1]] == answer == tokens[gold]
        assert tokens[gold - 1] == tokens[-1]
        assert distance == len(tokens) - 1 - gold


def test_one_pair_with_a_gap_is_asked_at_that_distance():
    batch = RecallTask(n_pairs=1, gap=7).sample(3, np.random.default_rng(0))
    assert batch.gold.tolist() == [1, 1, 1]
    assert batch.distance.tolist() == [8, 8, 8]


def test_every_pair_is_asked_for_equally_often():
    task = RecallTask(n_pairs=4)
    gold = task.sample(8000, np.random.default_rng(0)).gold
    shares = np.bincount(gold, minlength=8)[1::2] / 8000
    np.testing.assert_allclose(shares, 0.25, atol=0.025)  # five standard deviations


def test_the_generator_alone_decides():
    task = RecallTask(n_pairs=3, gap=2)
    first, again, other = (task.sample(5, np.random.default_rng(seed)) for seed in (1, 1, 2))
    for field in dataclasses.fields(first):
        np.testing.assert_array_equal(getattr(first, field.name), getattr(again, field.name))
    assert (first.tokens != other.tokens).any()


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"n_pairs": 0}, ValueError, "n_pairs must be at least 1, got n_pairs=0"),
        ({"n_pairs": 2.0}, TypeError, "n_pairs must be an integer, got n_pairs=2.0"),
        ({"n_pairs": 1, "gap": -1}, ValueError, "gap must be at least 0, got gap=-1"),
        ({"n_pairs": 1, "n_values": 1}, ValueError, "n_values must be at least 2, got n_values=1"),
        ({"n_pairs": 1, "n_keys": 0}, ValueError, "n_keys must be at least 1, got n_keys=0"),
        (
            {"n_pairs": 27},
            ValueError,
            "n_pairs must be at most n_keys, because the keys of one sequence are distinct, "
            "got n_pairs=27, n_keys=26",
        ),
    ],
)
def test_bad_sizes_are_refused(arguments, error, text):
    with pytest.raises(error, match=f"^{text}$"):
        RecallTask(**arguments)


def test_an_empty_batch_is_refused():
    with pytest.raises(ValueError, match=r"^batch_size must be at least 1, got batch_size=0$"):
        RecallTask(n_pairs=1).sample(0, np.random.default_rng(0))
