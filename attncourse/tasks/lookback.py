"""Looking back: two tasks whose answers depend on relative order, so that strings may grow at test time."""

from dataclasses import dataclass

import numpy as np

from attncourse._checks import check_count
from attncourse.tasks.copying import FIRST_SYMBOL, CopyBatch
from attncourse.tasks.reversal import AskingTask


@dataclass(frozen=True)
class LookbackTask(AskingTask):
    r"""Describe strings that ask, at each position, which symbol stood a fixed distance back.

    .. math:: \text{target}_i = \text{token}_{i - k}, \qquad i = k \dots n - 1

    The first ``distance`` positions ask nothing. The same rule holds at every position of a string of any
    length. Strings are those of ``CopyTask``.

    Parameters
    ----------
    min_length, max_length : int
        Shortest and longest string, in symbols; lengths are uniform.
    n_symbols : int
        Distinct symbols to choose from.
    distance : int
        How far back k to look, in tokens.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is too small, ``max_length`` is below ``min_length``, or a string might ask nothing.

    Notes
    -----
    Used from chapter 6 on.
    """

    distance: int = 3

    def __post_init__(self) -> None:
        """Check the sizes once.

        Raises
        ------
        ValueError
            If the shortest string would ask nothing.
        """
        super().__post_init__()
        check_count("distance", self.distance)
        if self.min_length <= self.distance:
            raise ValueError(
                "min_length must be above distance, or a string asks nothing, "
                f"got min_length={self.min_length}, distance={self.distance}"
            )

    def _gold(self, strings: CopyBatch) -> np.ndarray:
        return np.broadcast_to(np.arange(self.max_length) - self.distance, strings.source.shape)


@dataclass(frozen=True)
class LatestTask(AskingTask):
    r"""Describe strings that ask, at each position, for the latest marked symbol so far.

    .. math:: \text{target}_i = \text{token}_g, \qquad g = \max\{j \le i : \text{token}_j \text{ is marked}\}

    The first ``n_marked`` symbols are the marked ones. Positions before the first of them ask nothing. No
    fixed distance answers: the nearest of several matching tokens must win. Strings are those of
    ``CopyTask``.

    Parameters
    ----------
    min_length, max_length : int
        Shortest and longest string, in symbols; lengths are uniform.
    n_symbols : int
        Distinct symbols to choose from.
    n_marked : int
        How many of them are marked.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is too small, ``max_length`` is below ``min_length``, or all symbols are marked.

    Notes
    -----
    Used from chapter 6 on.
    """

    n_marked: int = 3

    def __post_init__(self) -> None:
        """Check the sizes once.

        Raises
        ------
        ValueError
            If no symbol is left unmarked.
        """
        super().__post_init__()
        check_count("n_marked", self.n_marked)
        if self.n_marked >= self.n_symbols:
            raise ValueError(
                f"n_marked must be below n_symbols, got n_marked={self.n_marked}, n_symbols={self.n_symbols}"
            )

    def _gold(self, strings: CopyBatch) -> np.ndarray:
        # Padding counts as marked, but nothing is asked there and nothing comes after it.
        is_marked = strings.source < FIRST_SYMBOL + self.n_marked  # (batch, max_length)
        places = np.where(is_marked, np.arange(self.max_length), -1)
        return np.maximum.accumulate(places, axis=1)
