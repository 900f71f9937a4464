"""Odd one out: find the one vector of a set that lies apart, in whatever order they come."""

from dataclasses import dataclass

import numpy as np

from attncourse._checks import check_count, check_number


@dataclass(frozen=True)
class SetBatch:
    """Hold one batch of sets, and which of its vectors is the odd one.

    Parameters
    ----------
    vectors : ndarray of float32, shape (batch, n_vectors, d_vector)
        The vectors of every set, in an order that means nothing.
    gold : ndarray of int64, shape (batch,)
        Index of the odd one: the answer, and the only place that holds it.
    """

    vectors: np.ndarray
    gold: np.ndarray


@dataclass(frozen=True)
class OddOneOutTask:
    r"""Describe a family of sets with one vector that does not belong; ``sample`` draws from it.

    .. math:: x_j = c_{[j = gold]} + \sigma\,\varepsilon_j, \qquad \lVert c_0 \rVert = \lVert c_1 \rVert = 1

    Both centres are new in every set, in uniform and independent directions, so nothing about a vector alone
    tells that it is odd: it must be compared with the others. Reordering the vectors reorders the answer.

    Parameters
    ----------
    n_vectors : int
        Vectors in a set; at least 3, since of two neither is odd.
    d_vector : int
        Entries of a vector.
    noise : float
        Standard deviation σ of the noise on every entry.

    Raises
    ------
    TypeError
        If a size is not an integer or ``noise`` is not a number.
    ValueError
        If a size is too small or ``noise`` is negative.

    Notes
    -----
    Used from chapter 6 on.
    """

    n_vectors: int
    d_vector: int = 8
    noise: float = 0.2

    def __post_init__(self) -> None:
        """Check the sizes once."""
        check_count("n_vectors", self.n_vectors, at_least=3)
        check_count("d_vector", self.d_vector, at_least=2)
        check_number("noise", self.noise, at_least=0)

    def sample(
        self, batch_size: int, rng: np.random.Generator, *, among_first: int | None = None
    ) -> SetBatch:
        """Draw sets; the place of the odd one is uniform.

        Parameters
        ----------
        batch_size : int
            Number of sets.
        rng : numpy.random.Generator
            Source of randomness. Held-out sets come from a generator with another seed.
        among_first : int, optional
            Put the odd one among that many first places: training data with an accident in their order.

        Returns
        -------
        SetBatch
            Vectors and gold indices.

        Raises
        ------
        TypeError
            If a count is not an integer.
        ValueError
            If a count is below 1, or ``among_first`` is above ``n_vectors``.
        """
        check_count("batch_size", batch_size)
        n_places = self.n_vectors if among_first is None else among_first
        check_count("among_first", n_places)
        if n_places > self.n_vectors:
            raise ValueError(
                f"among_first must be at most n_vectors={self.n_vectors}, got among_first={among_first}"
            )
        centres = rng.standard_normal((batch_size, 2, self.d_vector))
        centres /= np.linalg.norm(centres, axis=-1, keepdims=True)
        noise = rng.standard_normal((batch_size, self.n_vectors, self.d_vector))
        gold = rng.integers(n_places, size=batch_size)

        is_odd = np.arange(self.n_vectors) == gold[:, None]  # (batch, n_vectors)
        vectors = np.where(is_odd[..., None], centres[:, 1:], centres[:, :1]) + self.noise * noise
        return SetBatch(vectors=vectors.astype(np.float32), gold=gold)
