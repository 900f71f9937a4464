"""Topics: the help texts that ship with Python, character by character, for language models."""

import re
from pydoc_data.topics import topics

import numpy as np

from attncourse._checks import check_count, check_number, check_type
from attncourse.tasks.pairs import Vocabulary

_BLANK_LINES = re.compile(r"\n\s*\n")
# The row of marks under a heading: its length and its mark depend on where the heading stands.
_UNDERLINE = re.compile(r"^\s*([*=\-^~\"#])\1+\s*$", flags=re.MULTILINE)
_BETWEEN = "\n\n"


class TopicsTask:
    """Split the texts behind ``help("topics")`` into a training text and a held-out text of other topics.

    Many topics repeat each other: "comparison" is an excerpt of "expressions", and so on. A held-out text
    that the model has read would measure its memory. So repeated paragraphs are removed before the split,
    and whole topics are held out after it.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness: it decides which topics are held out. The same state gives the same split on
        one version of Python.
    held_out_share : float
        Share of the characters to hold out at most, above 0 and below 1.

    Attributes
    ----------
    vocabulary : Vocabulary
        Every character of both texts, numbered behind the special tokens (which do not occur in the texts).
    train, held_out : ndarray of int64, shape (n_characters,)
        The two texts: their topics in alphabetical order, paragraphs with one empty line between them.
    held_out_topics : tuple of str
        Names of the topics held out.
    repeated_share : float
        Share of all characters that were removed because their paragraph stands elsewhere too, 0 to 1.

    Raises
    ------
    TypeError
        If an argument is of the wrong type.
    ValueError
        If ``held_out_share`` is out of range, or too small for even the shortest topic.

    Notes
    -----
    Two paragraphs count as one if they differ only in white space and in the marks under a heading. The
    copy in the longest topic stays, so that the long texts hang together. A held-out paragraph that is
    part of a training paragraph goes as well. The texts differ a little from one version of Python to the
    next: on 3.11 they have 465 thousand characters, 20 % of them repeated, and 103 symbols. Used in
    chapter 9.

    Examples
    --------
    >>> task = TopicsTask(np.random.default_rng(0))
    >>> "".join(task.vocabulary.decode(task.vocabulary.encode("lambda x: x")))
    'lambda x: x'
    """

    def __init__(self, rng: np.random.Generator, *, held_out_share: float = 0.1) -> None:
        check_type("rng", rng, np.random.Generator)
        check_number("held_out_share", held_out_share, above=0, below=1)
        paragraphs, n_repeated = _different_paragraphs()
        sizes = {name: _n_characters(kept) for name, kept in paragraphs.items()}
        room = held_out_share * sum(sizes.values())
        chosen = set()
        for name in rng.permutation(sorted(paragraphs)).tolist():
            if sizes[name] <= room:
                chosen.add(name)
                room -= sizes[name]
        if not chosen:
            raise ValueError(
                "held_out_share must leave room for the shortest topic, "
                f"got held_out_share={held_out_share} with {min(sizes.values())} characters in that topic"
            )
        train = [paragraph for name in sorted(paragraphs.keys() - chosen) for paragraph in paragraphs[name]]
        known = "\n".join(map(_without_layout, train))
        candidates = [paragraph for name in sorted(chosen) for paragraph in paragraphs[name]]
        held_out = [paragraph for paragraph in candidates if _without_layout(paragraph) not in known]
        n_repeated += _n_characters(candidates) - _n_characters(held_out)

        self.vocabulary = Vocabulary(_BETWEEN.join(train + held_out))
        self.train = np.array(self.vocabulary.encode(_BETWEEN.join(train)))
        self.held_out = np.array(self.vocabulary.encode(_BETWEEN.join(held_out)))
        self.held_out_topics = tuple(sorted(chosen))
        self.repeated_share = n_repeated / (n_repeated + _n_characters(train) + _n_characters(held_out))

    def sample(self, batch_size: int, n_tokens: int, rng: np.random.Generator) -> np.ndarray:
        """Draw pieces of the training text: what a model reads, and one character more to foretell.

        Parameters
        ----------
        batch_size : int
            Number of pieces; each starts at a character of its own choice, all equally likely.
        n_tokens : int
            Characters that the model reads.
        rng : numpy.random.Generator
            Source of randomness.

        Returns
        -------
        ndarray of int64, shape (batch_size, n_tokens + 1)
            Copies; ``[:, :-1]`` is read, ``[:, 1:]`` is foretold.

        Raises
        ------
        TypeError
            If a number is not an integer.
        ValueError
            If a number is below 1, or the training text is too short.
        """
        check_count("batch_size", batch_size)
        check_count("n_tokens", n_tokens)
        if n_tokens >= len(self.train):
            raise ValueError(f"n_tokens must be below {len(self.train)}, got n_tokens={n_tokens}")
        starts = rng.integers(len(self.train) - n_tokens, size=batch_size)
        return self.train[starts[:, None] + np.arange(n_tokens + 1)]


def _different_paragraphs() -> tuple[dict[str, list[str]], int]:
    """Return the paragraphs of every topic, each in one topic only, and how many characters repeat them."""
    seen = set()
    paragraphs = {}
    n_repeated = 0
    for name in sorted(topics, key=lambda name: (-len(topics[name]), name)):
        kept = []
        for paragraph in _BLANK_LINES.split(topics[name].strip("\n")):
            bare = _without_layout(paragraph)
            if bare in seen:
                n_repeated += _n_characters([paragraph])
            elif bare:
                kept.append(paragraph)
                seen.add(bare)
        if kept:
            paragraphs[name] = kept
    return paragraphs, n_repeated


def _without_layout(paragraph: str) -> str:
    """Return the words of a paragraph with single spaces, without the marks under a heading."""
    return " ".join(_UNDERLINE.sub("", paragraph).split())


def _n_characters(paragraphs: list[str]) -> int:
    """Count the characters of paragraphs, each with the empty line behind it."""
    return sum(len(paragraph) + len(_BETWEEN) for paragraph in paragraphs)
