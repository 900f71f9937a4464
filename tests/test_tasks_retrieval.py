"""Continuous retrieval: queries come from the gold keys by one fixed map, and that map solves the task."""

import numpy as np
import pytest

from attncourse.tasks.retrieval import RetrievalTask
from tests.support.tolerances import FLOAT32

SIZES = {"n_keys": 7, "d_key": 5, "d_value": 3, "d_query": 11}


def test_shapes_and_dtypes():
    batch = RetrievalTask(**SIZES).sample(13, np.random.default_rng(0), n_queries=2)
    assert batch.query.shape == (13, 2, 11)
    assert batch.key.shape == (13, 7, 5)
    assert batch.value.shape == (13, 7, 3)
    assert batch.gold.shape == (13, 2)
    assert batch.answer.shape == (13, 2, 3)
    assert {array.dtype.name for array in (batch.query, batch.key, batch.value, batch.answer)} == {"float32"}


def test_without_noise_the_query_is_the_map_of_the_gold_key():
    task = RetrievalTask(**SIZES, noise=0.0)
    batch = task.sample(4, np.random.default_rng(0), n_queries=2)
    for b in range(4):
        for q in range(2):
            gold = batch.gold[b, q]
            np.testing.assert_allclose(batch.query[b, q], task.query_map @ batch.key[b, gold], **FLOAT32)
            np.testing.assert_array_equal(batch.answer[b, q], batch.value[b, gold])


def test_noise_has_the_stated_size():
    quiet, noisy = (
        RetrievalTask(**SIZES, noise=noise).sample(4000, np.random.default_rng(3)) for noise in (0.0, 0.5)
    )
    np.testing.assert_array_equal(quiet.key, noisy.key)
    assert np.std(noisy.query - quiet.query) == pytest.approx(0.5, rel=0.02)


def test_an_entry_of_the_query_has_variance_one_on_average_over_maps():
    variances = [
        np.var(
            RetrievalTask(**SIZES, noise=0.0, map_seed=seed).sample(200, np.random.default_rng(seed)).query
        )
        for seed in range(60)
    ]
    assert np.mean(variances) == pytest.approx(1.0, abs=0.1)


def test_whoever_knows_the_map_finds_the_gold_key():
    task = RetrievalTask(**SIZES, noise=0.1)
    batch = task.sample(500, np.random.default_rng(0))
    mapped = batch.key @ task.query_map.T  # (batch, n_keys, d_query)
    nearest = np.linalg.norm(mapped - batch.query, axis=-1).argmin(axis=-1)
    assert np.mean(nearest == batch.gold[:, 0]) > 0.98
    unmapped = np.linalg.norm(batch.key - batch.query[..., :5], axis=-1).argmin(axis=-1)
    assert np.mean(unmapped == batch.gold[:, 0]) < 0.5


def test_the_map_depends_on_its_own_seed_only():
    task = RetrievalTask(**SIZES)
    before = task.query_map.copy()
    task.sample(3, np.random.default_rng(5))
    np.testing.assert_array_equal(RetrievalTask(**SIZES).query_map, before)
    assert (RetrievalTask(**SIZES, map_seed=1).query_map != before).all()
    assert not task.query_map.flags.writeable


def test_the_generator_alone_decides():
    task = RetrievalTask(**SIZES)
    first, again, other = (task.sample(5, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.query, again.query)
    np.testing.assert_array_equal(first.value, again.value)
    assert (first.key != other.key).all()


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"n_keys": 1}, ValueError, "n_keys must be at least 2, got n_keys=1"),
        ({"d_key": 0}, ValueError, "d_key must be at least 1, got d_key=0"),
        ({"d_value": True}, TypeError, "d_value must be an integer, got d_value=True"),
        ({"d_query": -2}, ValueError, "d_query must be at least 1, got d_query=-2"),
        ({"noise": -0.1}, ValueError, "noise must be at least 0.0, got noise=-0.1"),
        ({"map_seed": -1}, ValueError, "map_seed must be at least 0, got map_seed=-1"),
    ],
)
def test_bad_sizes_are_refused(change, error, text):
    with pytest.raises(error, match=f"^{text}$"):
        RetrievalTask(**(SIZES | change))


def test_empty_batches_are_refused():
    with pytest.raises(ValueError, match=r"^batch_size must be at least 1, got batch_size=0$"):
        RetrievalTask(**SIZES).sample(0, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"^n_queries must be at least 1, got n_queries=0$"):
        RetrievalTask(**SIZES).sample(1, np.random.default_rng(0), n_queries=0)
