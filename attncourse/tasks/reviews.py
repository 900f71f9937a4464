"""Reviews: opinions on several things, one of which decides, with the words that decide known.

"we saw the truly stale popcorn but the never dull film ." is a good review: the film decides, "dull" is what
is said about it, and "never" turns that round. The other opinions, their negators included, mean nothing.
"""

import itertools
from dataclasses import dataclass, fields

import numpy as np

from attncourse._checks import check_choice, check_count, check_rows, check_type
from attncourse.tasks.pairs import PADDING, Vocabulary

NEGATIVE, POSITIVE = 0, 1
QUESTIONS = ("verdict", "word")
SPLITS = ("train", "held-out")
# Every bad word stands at the place of its opposite, and so does every negator.
GOOD_WORDS = (
    "good", "great", "funny", "fresh", "clever", "lovely", "brilliant", "charming", "warm", "superb",
)  # fmt: skip
BAD_WORDS = ("bad", "awful", "dull", "stale", "stupid", "ugly", "terrible", "tedious", "cold", "poor")
OPINIONS = BAD_WORDS + GOOD_WORDS
INTENSIFIERS = ("very", "truly", "really", "quite", "rather")
NEGATORS = ("not", "never", "hardly", "barely", "scarcely")
DECIDING_THINGS = ("film", "movie", "picture")
OTHER_THINGS = (
    "popcorn", "seats", "queue", "parking", "trailer", "poster", "crowd", "hall", "sound", "carpet", "coffee",
    "foyer",
)  # fmt: skip
ROLES = (
    "filler", "thing", "modifier", "opinion", "other thing", "other modifier", "other opinion",
)  # fmt: skip

_OPENERS = (
    ("we", "saw", "the"), ("they", "had", "the"), ("today", "came", "the"), ("i", "remember", "the"),
    ("the",),
)  # fmt: skip
_LINKS = (
    ("and", "the"), ("but", "the"), ("after", "the"), ("beside", "the"), ("with", "the"),
    ("then", "came", "the"), ("so", "was", "the"),
)  # fmt: skip
_CLOSERS = ((), ("last", "week"), ("in", "town"), ("as", "expected"), ("with", "friends"))
_ASIDES = ("frankly", "somehow", "perhaps", "indeed")
_STOP = "."
_PERIOD = len(NEGATORS)  # opinion words whose places differ by this share their held-out modifiers
_ABSENT = -1

_MODIFIERS = INTENSIFIERS + NEGATORS
_FILLERS = tuple(sorted({_STOP, *_ASIDES, *itertools.chain(*_OPENERS, *_LINKS, *_CLOSERS)}))
_VOCABULARY = Vocabulary((*OPINIONS, *_MODIFIERS, *DECIDING_THINGS, *OTHER_THINGS, *_FILLERS))


def _numbers(words: tuple[str, ...]) -> np.ndarray:
    return np.array(_VOCABULARY.encode(words))


def _phrases(phrases: tuple[tuple[str, ...], ...]) -> np.ndarray:
    """Return phrases as rows of one array, the absent words of the shorter ones marked."""
    width = max(map(len, phrases))
    return np.array([[*_VOCABULARY.encode(words), *[_ABSENT] * (width - len(words))] for words in phrases])


def _word_choices(split: str) -> np.ndarray:
    """Return all (modifier, opinion, modifier, opinion) for two clauses of opposite opinion words.

    Only such as stay in the split when the clauses exchange their modifiers: without this a bag of words
    would tell something about who belongs to whom, see ``ReviewTask``.
    """
    modifiers, opinions = np.arange(len(_MODIFIERS)), np.arange(len(OPINIONS))
    is_held_out = modifiers[:, None] % _PERIOD == opinions % _PERIOD
    allowed = is_held_out if split == "held-out" else ~is_held_out
    grid = np.stack(np.meshgrid(modifiers, opinions, modifiers, opinions, indexing="ij"), axis=-1)
    first, opinion, second, other = grid.reshape(-1, 4).T
    is_opposite = (opinion < len(BAD_WORDS)) != (other < len(BAD_WORDS))
    stays = (
        allowed[first, opinion] & allowed[second, other] & allowed[second, opinion] & allowed[first, other]
    )
    return grid.reshape(-1, 4)[is_opposite & stays]


_CHOICES = {split: _word_choices(split) for split in SPLITS}


@dataclass(frozen=True)
class ReviewBatch:
    """Hold reviews, what they say, and by which words.

    Parameters
    ----------
    tokens : ndarray of int64, shape (batch, n_tokens)
        Words, then ``PADDING``.
    lengths : ndarray of int64, shape (batch,)
        Words before the padding.
    label : ndarray of int64, shape (batch,)
        What the review says about the thing that decides: ``POSITIVE`` or ``NEGATIVE``, or the opinion in one
        word, as its place in ``OPINIONS``.
    evidence : ndarray of bool, shape (batch, n_tokens)
        True at the opinion word on that thing, and at the negator in front of it if there is one.
    roles : ndarray of int64, shape (batch, n_tokens)
        Place in ``ROLES`` of what every word does; -1 at the padding.
    is_negated : ndarray of bool, shape (batch,)
        True where the deciding opinion has a negator.
    """

    tokens: np.ndarray
    lengths: np.ndarray
    label: np.ndarray
    evidence: np.ndarray
    roles: np.ndarray
    is_negated: np.ndarray

    def __len__(self) -> int:
        """Return the number of reviews."""
        return len(self.tokens)

    def take(self, rows: np.ndarray) -> "ReviewBatch":
        """Return some of the reviews, as padded as the longest of them needs.

        Parameters
        ----------
        rows : ndarray of int, shape (n_rows,)
            Which reviews, in which order; a review may come twice.

        Returns
        -------
        ReviewBatch
            Copies of these reviews.

        Raises
        ------
        TypeError
            If ``rows`` is not an array of integers.
        ValueError
            If ``rows`` is empty.
        """
        check_rows("rows", rows)
        width = self.lengths[rows].max()
        columns = {field.name: getattr(self, field.name)[rows] for field in fields(self)}
        return ReviewBatch(
            **{
                name: values[:, :width].copy() if values.ndim == 2 else values
                for name, values in columns.items()
            }
        )

    def sample(self, batch_size: int, rng: np.random.Generator) -> "ReviewBatch":
        """Draw different reviews at random.

        Parameters
        ----------
        batch_size : int
            Number of reviews, at most all.
        rng : numpy.random.Generator
            Source of randomness.

        Returns
        -------
        ReviewBatch
            The reviews drawn.

        Raises
        ------
        TypeError
            If ``batch_size`` is not an integer.
        ValueError
            If ``batch_size`` is below 1 or above the number of reviews.
        """
        check_count("batch_size", batch_size)
        if batch_size > len(self):
            raise ValueError(f"batch_size must be at most {len(self)}, got batch_size={batch_size}")
        return self.take(rng.choice(len(self), size=batch_size, replace=False))


@dataclass(frozen=True)
class ReviewTask:
    """Describe a family of reviews; ``sample`` draws from it.

    A review has several clauses in random order: a modifier, an opinion word and a thing, with filler between
    the clauses. One thing decides (``DECIDING_THINGS``), half of the modifiers are negators, and a negator
    turns its own opinion word round, no other.

    Parameters
    ----------
    min_clauses, max_clauses : int
        Clauses of a review: any number from the first to the second, equally likely. At least 2.
    max_gap : int
        Most asides between a modifier and its opinion word ("never perhaps somehow dull"); any number up
        to this, equally likely.
    question : {"verdict", "word"}
        What the label says. "verdict" has two classes. "word" has twenty, the opinion words: "hardly dull"
        means what stands opposite to "dull", which is "funny". Whoever finds no sign of one class of two may
        answer the other; with twenty that does not pay.

    Raises
    ------
    TypeError
        If a number is not an integer.
    ValueError
        If a number is too small, or the question is unknown.

    Notes
    -----
    How often each word occurs says nothing about the label. Every review has a second clause with an opinion
    word of the opposite kind. Exchange the things of these two clauses if both or neither are negated, their
    modifiers otherwise: the words are the same, the review is as likely as before, and its label is the other
    one. So no reader of words without their order tells good from bad reviews better than by chance.

    A fifth of all pairs of modifier and opinion word never stands in a "train" review, and no other pair in a
    "held-out" one. Used from chapter 16 on.
    """

    min_clauses: int = 2
    max_clauses: int = 4
    max_gap: int = 0
    question: str = "verdict"

    def __post_init__(self) -> None:
        """Check the numbers once."""
        check_count("min_clauses", self.min_clauses, at_least=2)
        check_count("max_clauses", self.max_clauses, at_least=self.min_clauses)
        check_count("max_gap", self.max_gap, at_least=0)
        check_choice("question", self.question, QUESTIONS)

    @property
    def vocabulary(self) -> Vocabulary:
        """Return the words of the reviews, numbered."""
        return _VOCABULARY

    @property
    def n_classes(self) -> int:
        """Return how many answers the question has."""
        return 2 if self.question == "verdict" else len(OPINIONS)

    @property
    def opposites(self) -> np.ndarray:
        """Return for every token the word to put in its place, int64 of shape (vocab_size,).

        A good word for a bad one at the same place in its list, a negator for an intensifier, and both ways
        round: in the deciding clause either exchange turns the label round. A thing gives way to another of
        its kind, a filler word to another one; they change no label. Special tokens stay.
        """
        opposite = np.arange(len(_VOCABULARY))
        for words, others in ((GOOD_WORDS, BAD_WORDS), (INTENSIFIERS, NEGATORS)):
            opposite[_numbers(words)] = _numbers(others)
            opposite[_numbers(others)] = _numbers(words)
        for words in (DECIDING_THINGS, OTHER_THINGS, _FILLERS):
            opposite[_numbers(words)] = np.roll(_numbers(words), 1)
        return opposite

    def sample(self, batch_size: int, rng: np.random.Generator, *, split: str = "train") -> ReviewBatch:
        """Draw reviews.

        Parameters
        ----------
        batch_size : int
            Number of reviews.
        rng : numpy.random.Generator
            Source of randomness. Fresh reviews come from a generator with another seed.
        split : {"train", "held-out"}
            Which pairs of modifier and opinion word may stand in the reviews.

        Returns
        -------
        ReviewBatch
            The reviews, padded to the longest.

        Raises
        ------
        TypeError
            If ``batch_size`` is not an integer or ``rng`` no generator.
        ValueError
            If ``batch_size`` is below 1, or ``split`` is unknown.
        """
        check_count("batch_size", batch_size)
        check_type("rng", rng, np.random.Generator)
        check_choice("split", split, SPLITS)
        shape = (batch_size, self.max_clauses)
        n_clauses = rng.integers(self.min_clauses, self.max_clauses + 1, size=batch_size)
        choices = _CHOICES[split]
        # Clause 0 decides, clause 1 has an opinion word of the opposite kind; the rest are on their own.
        drawn = choices[rng.integers(len(choices), size=shape)]
        modifier, opinion = drawn[..., 0].copy(), drawn[..., 1].copy()
        modifier[:, 1], opinion[:, 1] = drawn[:, 0, 2], drawn[:, 0, 3]
        thing = rng.choice(_numbers(OTHER_THINGS), size=shape)
        thing[:, 0] = rng.choice(_numbers(DECIDING_THINGS), size=batch_size)
        is_negated = modifier[:, 0] >= len(INTENSIFIERS)
        meant = (opinion[:, 0] + is_negated * len(BAD_WORDS)) % len(
            OPINIONS
        )  # the opposite stands ten further
        label = meant if self.question == "word" else np.where(meant >= len(BAD_WORDS), POSITIVE, NEGATIVE)

        is_absent = np.arange(self.max_clauses) >= n_clauses[:, None]  # (batch, max_clauses)
        order = (rng.random(shape) + is_absent).argsort(axis=1)
        slots, roles = self._slots(modifier, opinion, thing, order, is_absent, rng)
        return _compress(slots, roles, label=label, is_negated=is_negated)

    def _slots(
        self,
        modifier: np.ndarray,
        opinion: np.ndarray,
        thing: np.ndarray,
        order: np.ndarray,
        is_absent: np.ndarray,
        rng: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return words and their roles, (batch, n_slots) each, with ``_ABSENT`` where nothing stands."""
        batch_size, n_most = order.shape
        opener = _phrases(_OPENERS)[rng.integers(len(_OPENERS), size=batch_size)]
        links = _phrases(_LINKS)[rng.integers(len(_LINKS), size=order.shape)]  # (batch, clauses, 3)
        links[:, 0] = opener
        asides = rng.choice(_numbers(_ASIDES), size=(*order.shape, self.max_gap))
        n_asides = rng.integers(self.max_gap + 1, size=order.shape)
        asides[np.arange(self.max_gap) >= n_asides[..., None]] = _ABSENT
        core = np.stack([_numbers(OPINIONS)[opinion], thing], axis=-1)
        clause = np.concatenate([_numbers(_MODIFIERS)[modifier][..., None], asides, core], axis=-1)
        clause_roles = np.zeros(clause.shape, dtype=np.int64)
        clause_roles[..., 0], clause_roles[..., -2], clause_roles[..., -1] = (
            ROLES.index(f"other {name}") for name in ("modifier", "opinion", "thing")
        )
        for column, name in ((0, "modifier"), (-2, "opinion"), (-1, "thing")):
            clause_roles[:, 0, column] = ROLES.index(name)
        clause = np.take_along_axis(clause, order[..., None], axis=1)
        clause_roles = np.take_along_axis(clause_roles, order[..., None], axis=1)
        body = np.concatenate([links, clause], axis=-1)
        body_roles = np.concatenate([np.zeros_like(links), clause_roles], axis=-1)
        body[is_absent] = _ABSENT
        closer = _phrases(_CLOSERS)[rng.integers(len(_CLOSERS), size=batch_size)]
        stop = np.broadcast_to(_numbers((_STOP,)), (batch_size, 1))
        slots = np.concatenate([body.reshape(batch_size, -1), closer, stop], axis=1)
        roles = np.zeros_like(slots)
        roles[:, : n_most * body.shape[-1]] = body_roles.reshape(batch_size, -1)
        return slots, roles


def _compress(
    slots: np.ndarray, roles: np.ndarray, *, label: np.ndarray, is_negated: np.ndarray
) -> ReviewBatch:
    """Move the words of every row together, to the left, and pad the rest."""
    is_absent = slots == _ABSENT
    lengths = (~is_absent).sum(axis=1)
    order = is_absent.argsort(axis=1, kind="stable")[:, : lengths.max()]
    is_padding = np.arange(lengths.max()) >= lengths[:, None]
    tokens = np.where(is_padding, PADDING, np.take_along_axis(slots, order, axis=1))
    roles = np.where(is_padding, -1, np.take_along_axis(roles, order, axis=1))
    is_negator = (roles == ROLES.index("modifier")) & is_negated[:, None]
    return ReviewBatch(
        tokens=tokens,
        lengths=lengths,
        label=label,
        evidence=(roles == ROLES.index("opinion")) | is_negator,
        roles=roles,
        is_negated=is_negated,
    )
