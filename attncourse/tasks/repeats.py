"""Repeats: a block of random symbols comes again and again, and whoever looks back can foretell the rest."""

from dataclasses import dataclass

import numpy as np

from attncourse._checks import check_count
from attncourse.tasks.copying import FIRST_SYMBOL


@dataclass(frozen=True)
class RepeatBatch:
    """Hold one batch of repeating texts, and say where each next token can be read.

    Parameters
    ----------
    tokens : ndarray of int64, shape (batch, n_tokens + 1)
        The texts; the last column is only foretold, never read.
    period : ndarray of int64, shape (batch,)
        Length of the block that repeats, in tokens.
    """

    tokens: np.ndarray
    period: np.ndarray

    @property
    def predictable(self) -> np.ndarray:
        """Return whether the text up to a token shows what follows it, bool of shape (batch, n_tokens).

        It does from the second block on, where the token itself has come before.
        """
        return np.arange(self.tokens.shape[1] - 1) >= self.period[:, None]

    def links(self) -> np.ndarray:
        """Return where the next token can be read, as a map that attention weights can be compared with.

        Returns
        -------
        ndarray of bool, shape (batch, n_tokens, n_tokens)
            True at every place up to the token t of the row that holds token t + 1: one period before it,
            two periods, and so on. Rows of the first block are empty.
        """
        read, follows = self.tokens[:, None, :-1], self.tokens[:, 1:, None]
        n_tokens = read.shape[-1]
        is_past = np.tri(n_tokens, dtype=bool)
        return (read == follows) & is_past & self.predictable[:, :, None]


@dataclass(frozen=True)
class RepeatTask:
    r"""Describe texts in which one random block repeats; ``sample`` draws from it.

    .. math:: w_{t + P} = w_t, \qquad P \in \{P_{\min}, \dots, P_{\max}\}

    The symbols of a block are all different and drawn anew for every text, and so is the period P. Neither
    frequent symbols nor a fixed distance foretell the next token. Two rules foretell it exactly: find the
    token that is read now in the block before, and say what followed it there; or say the symbol that was
    read longest ago. On these texts they agree; a jump within the block tells them apart.

    Parameters
    ----------
    n_tokens : int
        Tokens that are read.
    n_symbols : int
        Distinct symbols to choose from.
    min_period, max_period : int
        Shortest and longest block, in tokens; periods are uniform.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is too small, ``max_period`` is below ``min_period``, a block does not repeat within the
        text, or its symbols cannot all be different.

    Notes
    -----
    After its first block a text holds the answer once in each earlier block, and nowhere else. Used from
    chapter 16 on.

    References
    ----------
    .. [1] Olsson et al. (2022), "In-context learning and induction heads", which test heads on repeated
       random tokens.
    """

    n_tokens: int = 64
    n_symbols: int = 64
    min_period: int = 16
    max_period: int = 32

    def __post_init__(self) -> None:
        """Check the sizes once.

        Raises
        ------
        ValueError
            If ``max_period`` is out of range.
        """
        check_count("n_tokens", self.n_tokens)
        check_count("n_symbols", self.n_symbols)
        check_count("min_period", self.min_period)
        check_count("max_period", self.max_period)
        if self.max_period < self.min_period:
            raise ValueError(
                "max_period must be at least min_period, "
                f"got max_period={self.max_period}, min_period={self.min_period}"
            )
        if self.max_period >= self.n_tokens:
            raise ValueError(
                "max_period must be below n_tokens, or nothing repeats, "
                f"got max_period={self.max_period}, n_tokens={self.n_tokens}"
            )
        if self.max_period > self.n_symbols:
            raise ValueError(
                "max_period must be at most n_symbols (a block holds each symbol once), "
                f"got max_period={self.max_period}, n_symbols={self.n_symbols}"
            )

    @property
    def vocab_size(self) -> int:
        """Return the number of distinct tokens, the special ones included."""
        return FIRST_SYMBOL + self.n_symbols

    def sample(self, batch_size: int, rng: np.random.Generator) -> RepeatBatch:
        """Draw texts.

        Parameters
        ----------
        batch_size : int
            Number of texts.
        rng : numpy.random.Generator
            Source of randomness. Held-out sets come from a generator with another seed.

        Returns
        -------
        RepeatBatch
            Tokens and periods.

        Raises
        ------
        TypeError
            If ``batch_size`` is not an integer.
        ValueError
            If ``batch_size`` is below 1.
        """
        check_count("batch_size", batch_size)
        period = rng.integers(self.min_period, self.max_period + 1, size=batch_size)
        symbols = rng.random((batch_size, self.n_symbols)).argsort(axis=1)  # each row in random order
        within_block = np.arange(self.n_tokens + 1) % period[:, None]  # (batch, n_tokens + 1)
        tokens = FIRST_SYMBOL + np.take_along_axis(symbols, within_block, axis=1)
        return RepeatBatch(tokens=tokens, period=period)
