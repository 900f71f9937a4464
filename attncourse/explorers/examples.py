"""Figures that the book's Markdown pages show; chapters make their own."""

from collections.abc import Callable

import numpy as np

from attncourse.explorers.sentence import sentence_explorer
from attncourse.explorers.shell import Explorer


def first_sentence() -> Explorer:
    """Return the sentence that chapter 2 computes by hand, with the word *small* chosen."""
    # Chapter 2 makes these from its table of words and its three matrices; a test compares them.
    query = np.array([[0.0, 1], [2, 0], [1, -1], [2, -1]])
    key = np.array([[1.0, 1], [0, 0], [0, -1], [1, -1]])
    value = np.array([[4.0, 2], [0, 4], [0, -2], [4, -2]])
    return sentence_explorer(["cats", "chase", "small", "mice"], query, key, value, chosen=2)


# The names that the directive ``{explorer}`` knows.
EXAMPLES: dict[str, Callable[[], Explorer]] = {"sentence": first_sentence}
