"""Copying: say a string of random symbols again, after having read all of it."""

from dataclasses import dataclass

import numpy as np

from attncourse._checks import check_count
from attncourse.tasks.pairs import END, PADDING, SPECIAL_TOKENS

FIRST_SYMBOL = len(SPECIAL_TOKENS)
NO_SOURCE = -1


@dataclass(frozen=True)
class CopyBatch:
    """Hold one batch of strings, padded to one width, with their gold alignments.

    Parameters
    ----------
    source : ndarray of int64, shape (batch, max_length)
        The symbols of every string, then ``PADDING``.
    lengths : ndarray of int64, shape (batch,)
        Symbols in every string.
    target : ndarray of int64, shape (batch, max_length + 1)
        The same symbols, then ``END``, then ``PADDING``.
    gold : ndarray of int64, shape (batch, max_length + 1)
        Source position that target position t copies: t itself, or ``NO_SOURCE`` at the end token and
        at padding.
    """

    source: np.ndarray
    lengths: np.ndarray
    target: np.ndarray
    gold: np.ndarray


@dataclass(frozen=True)
class CopyTask:
    """Describe a family of strings to copy; ``sample`` draws from it.

    Lengths are uniform from ``min_length`` to ``max_length``, symbols are uniform and independent, so
    nothing short of remembering the whole string helps.

    Parameters
    ----------
    min_length, max_length : int
        Shortest and longest string, in symbols.
    n_symbols : int
        Distinct symbols to choose from.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is too small, or ``max_length`` is below ``min_length``.

    Notes
    -----
    Used from chapter 1 on.
    """

    min_length: int
    max_length: int
    n_symbols: int = 26

    def __post_init__(self) -> None:
        """Check the sizes once.

        Raises
        ------
        ValueError
            If ``max_length`` is below ``min_length``.
        """
        check_count("min_length", self.min_length)
        check_count("max_length", self.max_length)
        check_count("n_symbols", self.n_symbols, at_least=2)
        if self.max_length < self.min_length:
            raise ValueError(
                "max_length must be at least min_length, "
                f"got max_length={self.max_length}, min_length={self.min_length}"
            )

    @property
    def vocab_size(self) -> int:
        """Return the number of distinct tokens: the symbols and the three special ones."""
        return FIRST_SYMBOL + self.n_symbols

    def sample(self, batch_size: int, rng: np.random.Generator) -> CopyBatch:
        """Draw strings.

        Parameters
        ----------
        batch_size : int
            Number of strings.
        rng : numpy.random.Generator
            Source of randomness. Held-out sets come from a generator with another seed.

        Returns
        -------
        CopyBatch
            Source, lengths, target and gold alignment.

        Raises
        ------
        TypeError
            If ``batch_size`` is not an integer.
        ValueError
            If ``batch_size`` is below 1.
        """
        check_count("batch_size", batch_size)
        lengths = rng.integers(self.min_length, self.max_length + 1, size=batch_size)
        symbols = FIRST_SYMBOL + rng.integers(self.n_symbols, size=(batch_size, self.max_length))
        positions = np.arange(self.max_length + 1)
        is_symbol = positions < lengths[:, None]  # (batch, max_length + 1)

        source = np.where(is_symbol[:, :-1], symbols, PADDING)
        target = np.concatenate([source, np.full((batch_size, 1), PADDING)], axis=1)
        target[np.arange(batch_size), lengths] = END
        gold = np.where(is_symbol, positions, NO_SOURCE)
        return CopyBatch(source=source, lengths=lengths, target=target, gold=gold)
