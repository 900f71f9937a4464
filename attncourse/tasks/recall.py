"""Associative recall: pairs are shown, then one key is asked for, and its value is the answer.

Two knobs make the task hard in two different ways: ``n_pairs`` sets how much must be remembered, ``gap``
sets for how long.
"""

from dataclasses import dataclass

import numpy as np

from attncourse._checks import check_count


@dataclass(frozen=True)
class RecallBatch:
    """Hold one batch of questions with their answers and gold alignments.

    Parameters
    ----------
    tokens : ndarray of int64, shape (batch, n_tokens)
        ``k1 v1 … kn vn``, then ``gap`` fillers, then the key that is asked for.
    answer : ndarray of int64, shape (batch,)
        The value token that belongs to the key: ``tokens[b, gold[b]]``.
    gold : ndarray of int64, shape (batch,)
        Position of that value in the sequence (the gold alignment).
    distance : ndarray of int64, shape (batch,)
        Steps from the value to the question, in tokens.
    """

    tokens: np.ndarray
    answer: np.ndarray
    gold: np.ndarray
    distance: np.ndarray


@dataclass(frozen=True)
class RecallTask:
    """Describe a family of recall questions; ``sample`` draws from it.

    Tokens ``0 … n_keys - 1`` are keys, the next ``n_values`` are values, the last one is the filler.

    Parameters
    ----------
    n_pairs : int
        Pairs shown before the question: how much must be remembered.
    gap : int
        Filler tokens between the last pair and the question: for how long.
    n_keys, n_values : int
        Distinct keys and values to choose from.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is too small, or there are more pairs than distinct keys.

    Notes
    -----
    Used from chapter 1 on.
    """

    n_pairs: int
    gap: int = 0
    n_keys: int = 26
    n_values: int = 26

    def __post_init__(self) -> None:
        """Check the sizes once.

        Raises
        ------
        ValueError
            If there are more pairs than distinct keys.
        """
        check_count("n_pairs", self.n_pairs)
        check_count("gap", self.gap, at_least=0)
        check_count("n_keys", self.n_keys)
        check_count("n_values", self.n_values, at_least=2)
        if self.n_pairs > self.n_keys:
            raise ValueError(
                "n_pairs must be at most n_keys, because the keys of one sequence are distinct, "
                f"got n_pairs={self.n_pairs}, n_keys={self.n_keys}"
            )

    @property
    def filler(self) -> int:
        """Return the filler token."""
        return self.n_keys + self.n_values

    @property
    def vocab_size(self) -> int:
        """Return the number of distinct tokens."""
        return self.n_keys + self.n_values + 1

    @property
    def n_tokens(self) -> int:
        """Return the length of every sequence, in tokens."""
        return 2 * self.n_pairs + self.gap + 1

    def sample(self, batch_size: int, rng: np.random.Generator) -> RecallBatch:
        """Draw questions; the pair that is asked for is uniform over the pairs.

        Parameters
        ----------
        batch_size : int
            Number of sequences.
        rng : numpy.random.Generator
            Source of randomness. Held-out sets come from a generator with another seed.

        Returns
        -------
        RecallBatch
            Tokens, answers and gold alignments.

        Raises
        ------
        TypeError
            If ``batch_size`` is not an integer.
        ValueError
            If ``batch_size`` is below 1.
        """
        check_count("batch_size", batch_size)
        # The first n_pairs places of a random order of all keys: distinct keys in every row.
        keys = rng.random((batch_size, self.n_keys)).argsort(axis=1)[:, : self.n_pairs]
        values = self.n_keys + rng.integers(self.n_values, size=(batch_size, self.n_pairs))
        asked = rng.integers(self.n_pairs, size=batch_size)
        rows = np.arange(batch_size)

        tokens = np.full((batch_size, self.n_tokens), self.filler, dtype=np.int64)
        tokens[:, 0 : 2 * self.n_pairs : 2] = keys
        tokens[:, 1 : 2 * self.n_pairs : 2] = values
        tokens[:, -1] = keys[rows, asked]
        gold = 2 * asked + 1
        return RecallBatch(
            tokens=tokens, answer=tokens[rows, gold], gold=gold, distance=self.n_tokens - 1 - gold
        )
