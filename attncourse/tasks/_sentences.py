"""Tools that the tasks of made-up sentences share: padded rows, and which pairs are kept for the test."""

from collections.abc import Sequence

import numpy as np

from attncourse._checks import check_count

HELD_OUT_ONE_IN = 5


def pad_rows(rows: Sequence[Sequence[int]], filler: int) -> np.ndarray:
    """Return rows of unequal length as one array, filled up behind the shorter ones."""
    array = np.full((len(rows), max(map(len, rows))), filler)
    for row, numbers in zip(array, rows, strict=True):
        row[: len(numbers)] = numbers
    return array


def is_held_out(first: int, second: int) -> bool:
    """Say whether a pair of numbers is kept for the test: one in five, and each number in some of both."""
    return (first + second) % HELD_OUT_ONE_IN == 0


def check_range(name: str, pair: object, *, at_least: int, at_most: int) -> None:
    """Require a pair of integers (fewest, most) inside two bounds.

    Raises
    ------
    TypeError
        If it is not a pair of integers.
    ValueError
        If a number is out of range, or the most is below the fewest.
    """
    if not (isinstance(pair, tuple) and len(pair) == 2):
        raise TypeError(f"{name} must be a pair, got {name}={pair!r}")
    check_count(f"{name}[0]", pair[0], at_least=at_least)
    check_count(f"{name}[1]", pair[1], at_least=pair[0])
    if pair[1] > at_most:
        raise ValueError(f"{name}[1] must be at most {at_most}, got {name}={pair}")
