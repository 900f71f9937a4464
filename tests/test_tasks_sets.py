"""Odd one out: the gold vector lies apart, its place means nothing, and comparing the vectors finds it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attncourse.tasks.sets import OddOneOutTask


def farthest_from_the_others(vectors):
    """Answer by comparison alone: the vector that lies farthest from the mean of the others."""
    n_vectors = vectors.shape[1]
    others = (vectors.sum(axis=1, keepdims=True) - vectors) / (n_vectors - 1)
    return np.linalg.norm(vectors - others, axis=-1).argmax(axis=1)


@pytest.mark.properties
@given(n_vectors=st.integers(3, 9), d_vector=st.integers(2, 7), seed=st.integers(0, 2**16))
def test_without_noise_all_but_one_stand_at_one_centre(n_vectors, d_vector, seed):
    batch = OddOneOutTask(n_vectors, d_vector, 0.0).sample(11, np.random.default_rng(seed))
    assert batch.vectors.shape == (11, n_vectors, d_vector)
    assert batch.vectors.dtype == np.float32
    for vectors, gold in zip(batch.vectors, batch.gold, strict=True):
        others = np.delete(vectors, gold, axis=0)
        assert (others == others[0]).all()
        assert (vectors[gold] != others[0]).any()
    np.testing.assert_allclose(np.linalg.norm(batch.vectors, axis=-1), 1.0, rtol=1e-6)


def test_noise_has_the_deviation_asked_for():
    quiet, noisy = (OddOneOutTask(5, 7, noise).sample(2000, np.random.default_rng(0)) for noise in (0.0, 0.3))
    np.testing.assert_array_equal(quiet.gold, noisy.gold)
    # 70 000 numbers: five standard errors of a deviation of 0.3 are 0.004.
    assert abs((noisy.vectors - quiet.vectors).std() - 0.3) < 0.004
    assert abs((noisy.vectors - quiet.vectors).mean()) < 0.006


def test_comparing_finds_the_odd_one_and_a_vector_alone_does_not():
    batch = OddOneOutTask(10).sample(4000, np.random.default_rng(0))
    assert (farthest_from_the_others(batch.vectors) == batch.gold).mean() > 0.95
    # Chance is 0.1; its standard error over 4000 sets is 0.005.
    largest = np.linalg.norm(batch.vectors, axis=-1).argmax(axis=1)
    assert abs((largest == batch.gold).mean() - 0.1) < 0.025


def test_all_places_occur_equally_often():
    gold = OddOneOutTask(4).sample(8000, np.random.default_rng(0)).gold
    np.testing.assert_allclose(np.bincount(gold, minlength=4) / 8000, 0.25, atol=0.025)


def test_places_can_be_restricted():
    gold = OddOneOutTask(7).sample(2000, np.random.default_rng(0), among_first=3).gold
    np.testing.assert_allclose(np.bincount(gold) / 2000, 1 / 3, atol=0.055)


def test_the_generator_alone_decides():
    first, again, other = (OddOneOutTask(5).sample(7, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.vectors, again.vectors)
    np.testing.assert_array_equal(first.gold, again.gold)
    assert (first.vectors != other.vectors).any()


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda rng: OddOneOutTask(2), ValueError, "n_vectors must be at least 3, got n_vectors=2"),
        (lambda rng: OddOneOutTask(5, 1), ValueError, "d_vector must be at least 2, got d_vector=1"),
        (lambda rng: OddOneOutTask(5, noise=-0.1), ValueError, r"noise must be at least 0, got noise=-0\.1"),
        (lambda rng: OddOneOutTask(5, noise="no"), TypeError, "noise must be a number, got noise='no'"),
        (
            lambda rng: OddOneOutTask(5).sample(0, rng),
            ValueError,
            "batch_size must be at least 1, got batch_size=0",
        ),
        (
            lambda rng: OddOneOutTask(5).sample(2, rng, among_first=0),
            ValueError,
            "among_first must be at least 1, got among_first=0",
        ),
        (
            lambda rng: OddOneOutTask(5).sample(2, rng, among_first=6),
            ValueError,
            "among_first must be at most n_vectors=5, got among_first=6",
        ),
    ],
)
def test_bad_arguments_are_refused(call, error, text):
    with pytest.raises(error, match=f"^{text}$"):
        call(np.random.default_rng(0))
