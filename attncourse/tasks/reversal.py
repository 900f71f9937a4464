"""Reversal: say a string of random symbols backwards, one symbol at each position."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from attncourse.tasks.copying import NO_SOURCE, CopyBatch, CopyTask
from attncourse.tasks.pairs import PADDING


@dataclass(frozen=True)
class AnswerBatch:
    """Hold one batch of strings that ask for one symbol of themselves at each position.

    Parameters
    ----------
    tokens : ndarray of int64, shape (batch, max_length)
        The symbols of every string, then ``PADDING``.
    lengths : ndarray of int64, shape (batch,)
        Symbols in every string.
    target : ndarray of int64, shape (batch, max_length)
        The symbol asked for at every position; ``PADDING`` where nothing is asked.
    gold : ndarray of int64, shape (batch, max_length)
        The position where that symbol stands; ``NO_SOURCE`` where nothing is asked.
    """

    tokens: np.ndarray
    lengths: np.ndarray
    target: np.ndarray
    gold: np.ndarray


def answers_from_gold(tokens: np.ndarray, lengths: np.ndarray, gold: np.ndarray) -> AnswerBatch:
    """Read the targets off the strings, given where they stand.

    Parameters
    ----------
    tokens : ndarray of int64, shape (batch, max_length)
        Symbols, then ``PADDING``. Not modified.
    lengths : ndarray of int64, shape (batch,)
        Symbols in every string. Not modified.
    gold : ndarray of int64, shape (batch, max_length)
        Where the answer to each position stands; any negative number where there is none. What stands at
        padding is ignored. Not modified.

    Returns
    -------
    AnswerBatch
        The strings with targets, and gold positions that are ``NO_SOURCE`` at padding too.
    """
    is_asked = (gold >= 0) & (np.arange(tokens.shape[1]) < lengths[:, None])  # (batch, max_length)
    gold = np.where(is_asked, gold, NO_SOURCE)
    found = np.take_along_axis(tokens, np.maximum(gold, 0), axis=1)
    return AnswerBatch(tokens=tokens, lengths=lengths, target=np.where(is_asked, found, PADDING), gold=gold)


@dataclass(frozen=True)
class AskingTask(ABC):
    """Hold what all tasks have in common that ask a string of ``CopyTask`` for its own symbols.

    Parameters
    ----------
    min_length, max_length : int
        Shortest and longest string, in symbols; lengths are uniform.
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
    A task says where each answer stands; the rest is here. Used from chapter 6 on.
    """

    min_length: int
    max_length: int
    n_symbols: int = 10

    def __post_init__(self) -> None:
        """Check the sizes once."""
        self._strings()

    def _strings(self) -> CopyTask:
        return CopyTask(self.min_length, self.max_length, self.n_symbols)

    @abstractmethod
    def _gold(self, strings: CopyBatch) -> np.ndarray:
        """Return where each answer stands, (batch, max_length); negative where nothing is asked."""

    @property
    def vocab_size(self) -> int:
        """Return the number of distinct tokens: the symbols and the three special ones."""
        return self._strings().vocab_size

    def sample(self, batch_size: int, rng: np.random.Generator) -> AnswerBatch:
        """Draw strings.

        Parameters
        ----------
        batch_size : int
            Number of strings.
        rng : numpy.random.Generator
            Source of randomness. Held-out sets come from a generator with another seed.

        Returns
        -------
        AnswerBatch
            Tokens, lengths, targets and gold positions.

        Raises
        ------
        TypeError
            If ``batch_size`` is not an integer.
        ValueError
            If ``batch_size`` is below 1.
        """
        strings = self._strings().sample(batch_size, rng)
        return answers_from_gold(strings.source, strings.lengths, self._gold(strings))


@dataclass(frozen=True)
class ReversalTask(AskingTask):
    r"""Describe a family of strings to reverse; ``sample`` draws from it.

    .. math:: \text{target}_i = \text{token}_{n - 1 - i}, \qquad i = 0 \dots n - 1

    A position must know how far it is from the end of its own string: the order of the symbols is all
    that matters. Strings are those of ``CopyTask``.

    Parameters
    ----------
    min_length, max_length : int
        Shortest and longest string, in symbols; lengths are uniform.
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
    Used from chapter 6 on.
    """

    def _gold(self, strings: CopyBatch) -> np.ndarray:
        return strings.lengths[:, None] - 1 - np.arange(self.max_length)  # (batch, max_length)
