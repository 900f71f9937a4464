"""Relations: every token answers several questions at once, each with its own gold place."""

from dataclasses import dataclass

import numpy as np

from attncourse._checks import check_choice, check_count
from attncourse.tasks.copying import NO_SOURCE

NO_ANSWER = -1


@dataclass(frozen=True)
class RelationBatch:
    """Hold one batch of sequences with the answers to every question and where they stand.

    Parameters
    ----------
    tokens : ndarray of int64, shape (batch, n_tokens)
        The sequences; token = symbol · n_colours + colour.
    answer : ndarray of int64, shape (batch, n_tokens, n_relations)
        Token that stands in a relation to a token, ``tokens[b, gold[b, t, r]]``; ``NO_ANSWER`` where there
        is none (nothing stands before the first token).
    gold : ndarray of int64, shape (batch, n_tokens, n_relations)
        Position of that token, or ``NO_SOURCE``.
    """

    tokens: np.ndarray
    answer: np.ndarray
    gold: np.ndarray

    def links(self, relation: int) -> np.ndarray:
        """Return the gold places of one relation as a map that attention weights can be compared with.

        Parameters
        ----------
        relation : int
            Index of the relation.

        Returns
        -------
        ndarray of bool, shape (batch, n_tokens, n_tokens)
            True where the token of the row finds its answer; rows without an answer are empty.

        Raises
        ------
        TypeError
            If ``relation`` is not an integer.
        ValueError
            If there is no such relation.
        """
        check_count("relation", relation, at_least=0)
        n_relations = self.gold.shape[-1]
        if relation >= n_relations:
            raise ValueError(f"relation must be below {n_relations}, got relation={relation}")
        return self.gold[..., relation, None] == np.arange(self.tokens.shape[1])


def _neighbour(positions: np.ndarray, shift: int) -> np.ndarray:
    """Return the positions ``shift`` further on, or ``NO_SOURCE`` beyond either end."""
    moved = positions + shift
    return np.where((moved >= 0) & (moved < len(positions)), moved, NO_SOURCE)


def _twins(symbols: np.ndarray) -> np.ndarray:
    """Return the position of the other token with the same symbol, for rows that hold each symbol twice."""
    # Sorting puts the two tokens of a symbol side by side: each one's partner is its neighbour there.
    order = symbols.argsort(axis=1, kind="stable")  # (batch, n_tokens)
    partners = order.reshape(len(order), -1, 2)[:, :, ::-1].reshape(order.shape)
    twins = np.empty_like(order)
    np.put_along_axis(twins, order, partners, axis=1)
    return twins


# From symbols (batch, n_tokens) and positions (n_tokens,) to gold places, broadcastable to (batch, n_tokens).
_GOLD = {
    "previous": lambda symbols, positions: _neighbour(positions, -1),
    "next": lambda symbols, positions: _neighbour(positions, 1),
    "first": lambda symbols, positions: np.zeros_like(positions),
    "twin": lambda symbols, positions: _twins(symbols),
    "mirror": lambda symbols, positions: positions[::-1],
    "last": lambda symbols, positions: np.full_like(positions, len(positions) - 1),
}
RELATIONS = tuple(_GOLD)


@dataclass(frozen=True)
class RelationTask:
    """Describe a family of sequences whose tokens ask for others; ``sample`` draws from it.

    A token is a symbol in a colour. Every symbol of a sequence stands in it exactly twice, and colours are
    uniform and independent, so no answer can be guessed without looking at its place.

    Parameters
    ----------
    relations : tuple of str
        The questions that every token answers, some of ``RELATIONS``: the token before ("previous") and
        after it ("next"), the "first" and the "last" token of the sequence, its "twin" (the other token
        with its symbol), and its "mirror" (as far from the end as it is from the start). All but "twin" are
        decided by position, "twin" by content alone.
    n_tokens : int
        Length of every sequence, in tokens; even.
    n_symbols : int
        Distinct symbols to choose from, at least ``n_tokens / 2``.
    n_colours : int
        Distinct colours.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a relation is unknown or named twice, a size is too small, or ``n_tokens`` is odd.

    Notes
    -----
    Used from chapter 7 on.
    """

    relations: tuple[str, ...] = ("previous", "next", "first", "twin")
    n_tokens: int = 16
    n_symbols: int = 8
    n_colours: int = 8

    def __post_init__(self) -> None:
        """Check the relations and the sizes once.

        Raises
        ------
        ValueError
            If there is no relation, one is named twice, ``n_tokens`` is odd, or symbols are too few.
        """
        for name in self.relations:
            check_choice("relations", name, RELATIONS)
        if not self.relations or len(set(self.relations)) < len(self.relations):
            raise ValueError(f"relations must be different ones, got relations={self.relations}")
        check_count("n_tokens", self.n_tokens, at_least=2)
        check_count("n_symbols", self.n_symbols)
        check_count("n_colours", self.n_colours, at_least=2)
        if self.n_tokens % 2:
            raise ValueError(
                f"n_tokens must be even (every symbol comes twice), got n_tokens={self.n_tokens}"
            )
        if 2 * self.n_symbols < self.n_tokens:
            raise ValueError(
                f"n_symbols must be at least n_tokens / 2 = {self.n_tokens // 2}, "
                f"got n_symbols={self.n_symbols}"
            )

    @property
    def vocab_size(self) -> int:
        """Return the number of distinct tokens."""
        return self.n_symbols * self.n_colours

    @property
    def n_relations(self) -> int:
        """Return the number of questions that every token answers."""
        return len(self.relations)

    def sample(self, batch_size: int, rng: np.random.Generator) -> RelationBatch:
        """Draw sequences with their answers.

        Parameters
        ----------
        batch_size : int
            Number of sequences.
        rng : numpy.random.Generator
            Source of randomness. Held-out sets come from a generator with another seed.

        Returns
        -------
        RelationBatch
            Tokens, answers and gold places.

        Raises
        ------
        TypeError
            If ``batch_size`` is not an integer.
        ValueError
            If ``batch_size`` is below 1.
        """
        check_count("batch_size", batch_size)
        # The first places of a random order of all symbols, each taken twice, in random order again.
        chosen = rng.random((batch_size, self.n_symbols)).argsort(axis=1)[:, : self.n_tokens // 2]
        symbols = rng.permuted(np.concatenate([chosen, chosen], axis=1), axis=1)  # (batch, n_tokens)
        tokens = symbols * self.n_colours + rng.integers(self.n_colours, size=symbols.shape)

        positions = np.arange(self.n_tokens)
        places = [np.broadcast_to(_GOLD[name](symbols, positions), symbols.shape) for name in self.relations]
        gold = np.stack(places, axis=-1)  # (batch, n_tokens, n_relations)
        found = tokens[np.arange(batch_size)[:, None, None], gold]
        return RelationBatch(tokens=tokens, answer=np.where(gold == NO_SOURCE, NO_ANSWER, found), gold=gold)
