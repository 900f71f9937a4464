"""Continuous retrieval: a query is a distorted, noisy image of one of the keys; find which."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from attncourse._checks import check_count, check_number


@dataclass(frozen=True)
class RetrievalBatch:
    """Hold one batch of queries, the memories to search, and the gold places.

    Parameters
    ----------
    query : ndarray of float32, shape (batch, n_queries, d_query)
        The fixed map applied to the gold key, plus noise.
    key : ndarray of float32, shape (batch, n_keys, d_key)
        Standard normal vectors, new in every row.
    value : ndarray of float32, shape (batch, n_keys, d_value)
        Standard normal vectors, new in every row and independent of the keys.
    gold : ndarray of int64, shape (batch, n_queries)
        Index of the key that each query was made from.
    answer : ndarray of float32, shape (batch, n_queries, d_value)
        The value at that index.
    """

    query: np.ndarray
    key: np.ndarray
    value: np.ndarray
    gold: np.ndarray
    answer: np.ndarray


@dataclass(frozen=True)
class RetrievalTask:
    r"""Describe a retrieval problem; ``sample`` draws from it.

    .. math:: q = R\,k_{gold} + \sigma\,\varepsilon, \qquad R \in \mathbb{R}^{d_{query} \times d_{key}}

    A model never sees the map :math:`R`; it must learn how to compare a query with a key. The map comes
    from ``map_seed`` alone, so training and held-out batches share it.

    Parameters
    ----------
    n_keys : int
        Keys to choose from.
    d_key, d_value, d_query : int
        Sizes of the vectors; all three may differ.
    noise : float
        Standard deviation of the noise on every entry of the query. Without noise, an entry of the query
        has variance 1 on average over maps.
    map_seed : int
        Seed of the map.

    Raises
    ------
    TypeError
        If a size is not an integer or ``noise`` is not a number.
    ValueError
        If a size is too small or ``noise`` is negative.

    Notes
    -----
    Used from chapter 3 on.
    """

    n_keys: int
    d_key: int
    d_value: int
    d_query: int
    noise: float = 0.1
    map_seed: int = 0

    def __post_init__(self) -> None:
        """Check the sizes once."""
        check_count("n_keys", self.n_keys, at_least=2)
        check_count("d_key", self.d_key)
        check_count("d_value", self.d_value)
        check_count("d_query", self.d_query)
        check_count("map_seed", self.map_seed, at_least=0)
        check_number("noise", self.noise, at_least=0.0)

    @cached_property
    def query_map(self) -> np.ndarray:
        """Return the fixed map R as a read-only float32 array of shape (d_query, d_key)."""
        rng = np.random.default_rng(self.map_seed)
        # Rows of expected length one, so that an entry of R k has variance 1.
        query_map = (rng.standard_normal((self.d_query, self.d_key)) / np.sqrt(self.d_key)).astype(np.float32)
        query_map.setflags(write=False)
        return query_map

    def sample(self, batch_size: int, rng: np.random.Generator, *, n_queries: int = 1) -> RetrievalBatch:
        """Draw queries with fresh keys and values; each gold index is uniform and independent.

        Parameters
        ----------
        batch_size : int
            Number of memories.
        rng : numpy.random.Generator
            Source of randomness. Held-out sets come from a generator with another seed.
        n_queries : int
            Queries asked of every memory.

        Returns
        -------
        RetrievalBatch
            Queries, keys, values, gold indices and answers.

        Raises
        ------
        TypeError
            If a count is not an integer.
        ValueError
            If a count is below 1.
        """
        check_count("batch_size", batch_size)
        check_count("n_queries", n_queries)
        key = rng.standard_normal((batch_size, self.n_keys, self.d_key), dtype=np.float32)
        value = rng.standard_normal((batch_size, self.n_keys, self.d_value), dtype=np.float32)
        gold = rng.integers(self.n_keys, size=(batch_size, n_queries))
        noise = rng.standard_normal((batch_size, n_queries, self.d_query), dtype=np.float32)

        gold_key = np.take_along_axis(key, gold[..., None], axis=1)  # (batch, n_queries, d_key)
        query = gold_key @ self.query_map.T + np.float32(self.noise) * noise  # (batch, n_queries, d_query)
        answer = np.take_along_axis(value, gold[..., None], axis=1)  # (batch, n_queries, d_value)
        return RetrievalBatch(query=query, key=key, value=value, gold=gold, answer=answer)
