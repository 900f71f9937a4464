"""Pairs of texts with gold links, their vocabularies, and the padded batches that models read."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from attncourse._checks import check_count, check_rows

PADDING, START, END = 0, 1, 2
SPECIAL_TOKENS = ("<padding>", "<start>", "<end>")


@dataclass(frozen=True)
class Pair:
    """Hold a source text, its target text, and which target token renders which source token.

    Parameters
    ----------
    source, target : tuple of str
        Tokens, without special ones.
    links : frozenset of (int, int)
        Gold alignment: pairs (target position, source position). A token may have several links or none.

    Raises
    ------
    ValueError
        If a text is empty or a link points outside the texts.
    """

    source: tuple[str, ...]
    target: tuple[str, ...]
    links: frozenset[tuple[int, int]] = frozenset()

    def __post_init__(self) -> None:
        """Check the texts and the links once.

        Raises
        ------
        ValueError
            If a text is empty or a link points outside the texts.
        """
        if not self.source or not self.target:
            raise ValueError(
                f"source and target must not be empty, got source={self.source}, target={self.target}"
            )
        outside = sorted(
            (row, column)
            for row, column in self.links
            if not (0 <= row < len(self.target) and 0 <= column < len(self.source))
        )
        if outside:
            raise ValueError(
                f"links must point into {len(self.target)} target and {len(self.source)} source tokens, "
                f"got links with {outside}"
            )


class Vocabulary:
    """Number the tokens of one side: the special ones first, then the others in sorted order.

    Parameters
    ----------
    tokens : iterable of str
        Tokens to number; repeated ones count once.

    Raises
    ------
    ValueError
        If a token is spelt like a special one.
    """

    def __init__(self, tokens: Iterable[str]) -> None:
        ordinary = sorted(set(tokens))
        taken = [token for token in ordinary if token in SPECIAL_TOKENS]
        if taken:
            raise ValueError(f"tokens must not contain the special ones, got tokens with {taken}")
        self.tokens = (*SPECIAL_TOKENS, *ordinary)
        self._number = {token: number for number, token in enumerate(self.tokens)}

    def __len__(self) -> int:
        """Return the number of tokens, the special ones included."""
        return len(self.tokens)

    def encode(self, text: Sequence[str]) -> list[int]:
        """Return the number of every token of a text.

        Raises
        ------
        ValueError
            If the vocabulary does not hold a token.
        """
        unknown = sorted({token for token in text if token not in self._number})
        if unknown:
            raise ValueError(f"text must consist of known tokens, got text with {unknown}")
        return [self._number[token] for token in text]

    def decode(self, numbers: Iterable[int]) -> tuple[str, ...]:
        """Return the tokens of a text up to its end token, without padding and start tokens.

        Raises
        ------
        ValueError
            If a number stands for no token.
        """
        text = []
        for number in map(int, numbers):
            if number == END:
                break
            if not 0 <= number < len(self.tokens):
                raise ValueError(f"numbers must lie in 0 … {len(self.tokens) - 1}, got numbers with {number}")
            if number not in (PADDING, START):
                text.append(self.tokens[number])
        return tuple(text)


@dataclass(frozen=True)
class PairBatch:
    """Hold encoded pairs, padded to one width on either side.

    Parameters
    ----------
    source : ndarray of int64, shape (batch, n_source)
        Source tokens, then ``PADDING``.
    lengths : ndarray of int64, shape (batch,)
        Source tokens before the padding.
    target : ndarray of int64, shape (batch, n_target)
        Target tokens, then ``END``, then ``PADDING``.
    target_lengths : ndarray of int64, shape (batch,)
        Target tokens before the padding, the end token included.
    gold : ndarray of bool, shape (batch, n_target, n_source)
        True where a target token renders a source token; empty rows at tokens without a link.
    """

    source: np.ndarray
    lengths: np.ndarray
    target: np.ndarray
    target_lengths: np.ndarray
    gold: np.ndarray

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.source)

    @property
    def sure(self) -> np.ndarray:
        """Return the gold links of target tokens that have one link, shape (batch, n_target, n_source).

        A target token with several links ("cherche" for "looks for") allows any of them: in the terms of the
        alignment error rate, ``gold`` holds the possible links and ``sure`` the sure ones. Without this, one
        link per target token could never reach an error rate of zero.
        """
        return self.gold & (self.gold.sum(axis=2, keepdims=True) == 1)

    def take(self, rows: np.ndarray) -> "PairBatch":
        """Return some of the pairs, as padded as the longest of them needs.

        Parameters
        ----------
        rows : ndarray of int, shape (n_rows,)
            Which pairs, in which order; a pair may come twice.

        Returns
        -------
        PairBatch
            Copies of these pairs.

        Raises
        ------
        TypeError
            If ``rows`` is not an array of integers.
        ValueError
            If ``rows`` is empty.
        """
        check_rows("rows", rows)
        n_source, n_target = self.lengths[rows].max(), self.target_lengths[rows].max()
        return PairBatch(
            source=self.source[rows, :n_source],
            lengths=self.lengths[rows],
            target=self.target[rows, :n_target],
            target_lengths=self.target_lengths[rows],
            gold=self.gold[rows, :n_target, :n_source],
        )

    def sample(self, batch_size: int, rng: np.random.Generator) -> "PairBatch":
        """Draw different pairs at random.

        Parameters
        ----------
        batch_size : int
            Number of pairs, at most all.
        rng : numpy.random.Generator
            Source of randomness.

        Returns
        -------
        PairBatch
            The pairs drawn, as padded as the longest of them needs.

        Raises
        ------
        TypeError
            If ``batch_size`` is not an integer.
        ValueError
            If ``batch_size`` is below 1 or above the number of pairs.
        """
        check_count("batch_size", batch_size)
        if batch_size > len(self):
            raise ValueError(f"batch_size must be at most {len(self)}, got batch_size={batch_size}")
        return self.take(rng.choice(len(self), size=batch_size, replace=False))


def encode_pairs(pairs: Sequence[Pair], source_vocab: Vocabulary, target_vocab: Vocabulary) -> PairBatch:
    """Encode pairs into one padded batch.

    Parameters
    ----------
    pairs : sequence of Pair
        At least one pair. Not modified.
    source_vocab, target_vocab : Vocabulary
        The vocabularies of both sides.

    Returns
    -------
    PairBatch
        All pairs, in order.

    Raises
    ------
    ValueError
        If there are no pairs, or a text holds a token that its vocabulary lacks.
    """
    if not pairs:
        raise ValueError(f"pairs must not be empty, got pairs={pairs}")
    lengths = np.array([len(pair.source) for pair in pairs])
    target_lengths = np.array([len(pair.target) + 1 for pair in pairs])
    source = np.full((len(pairs), lengths.max()), PADDING)
    target = np.full((len(pairs), target_lengths.max()), PADDING)
    gold = np.zeros((len(pairs), target.shape[1], source.shape[1]), dtype=bool)
    for row, pair in enumerate(pairs):
        source[row, : lengths[row]] = source_vocab.encode(pair.source)
        target[row, : target_lengths[row]] = [*target_vocab.encode(pair.target), END]
        for target_position, source_position in pair.links:
            gold[row, target_position, source_position] = True
    return PairBatch(source=source, lengths=lengths, target=target, target_lengths=target_lengths, gold=gold)
