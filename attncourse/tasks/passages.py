"""Passages of facts about people, a question about one of them, and the words of the passage that answer it.

Other facts of a passage share the person or the relation that is asked about: both must match.
"""

from dataclasses import dataclass, fields

import numpy as np

from attncourse._checks import check_count, check_rows, check_type
from attncourse.tasks._sentences import check_range, is_held_out, pad_rows
from attncourse.tasks.pairs import PADDING, Vocabulary

_FIRST_NAMES = ("ada", "ben", "carla", "dan", "edith", "farid", "grace", "hugo", "ines", "jonas")
_FAMILY_NAMES = ("brook", "field", "ford", "hill", "marsh", "reed", "stone", "wood")
PEOPLE = tuple(f"{first} {family}" for first in _FIRST_NAMES for family in _FAMILY_NAMES)
_PLACES = (
    "paris", "oslo", "lima", "cairo", "quito", "kyoto", "accra", "turin",
    "new haven", "san jose", "port louis", "cape town", "hong kong", "los angeles", "tel aviv", "saint paul",
    "salt lake city", "new york city", "rio de janeiro", "port of spain", "isle of man", "santa cruz island",
    "bay of kotor", "saint john harbour",
)  # fmt: skip
_THINGS = (
    "bicycle", "piano", "tent", "clock", "guitar", "lamp", "mirror", "kettle",
    "red bicycle", "old piano", "green tent", "brass clock", "wooden guitar", "silver lamp", "small mirror",
    "green kettle", "old red bicycle", "small wooden piano", "old green tent", "small brass clock",
    "red wooden guitar", "old silver lamp", "small silver mirror", "red brass kettle",
)  # fmt: skip
# Two ways to state each relation and two to ask for it: "@" is the person and "#" the place or thing.
_WORDINGS = {
    "moved": ("@ moved to #", "@ settled in #", "where did @ move to ?", "which place is the home of @ ?"),
    "born": ("@ was born in #", "@ comes from #", "where was @ born ?", "where does @ come from ?"),
    "works": ("@ works in #", "@ has a job in #", "where does @ work ?", "where is the office of @ ?"),
    "visited": ("@ visited #", "@ spent a week in #", "which place did @ see ?", "where did @ travel to ?"),
    "bought": ("@ bought the #", "@ paid for the #", "what did @ buy ?", "what is new at the home of @ ?"),
    "sold": ("@ sold the #", "@ gave away the #", "what did @ sell ?", "what does @ no longer own ?"),
    "lost": ("@ lost the #", "@ cannot find the #", "what did @ lose ?", "what is @ looking for ?"),
    "mended": ("@ mended the #", "@ repaired the #", "what did @ mend ?", "what works again thanks to @ ?"),
}
RELATIONS = tuple(_WORDINGS)
_VALUES = dict.fromkeys(RELATIONS[:4], _PLACES) | dict.fromkeys(RELATIONS[4:], _THINGS)
_TIMES = ("in may", "in june", "last year", "last week")
_TEXTS = (
    *PEOPLE,
    *_PLACES,
    *_THINGS,
    *_TIMES,
    ".",
    *(text for texts in _WORDINGS.values() for text in texts),
)
_VOCABULARY = Vocabulary(word for text in _TEXTS for word in text.split() if word not in ("@", "#"))
MOST_FACTS = len(_PLACES)  # a passage may be about nothing but places


@dataclass(frozen=True)
class PassageBatch:
    """Hold passages, a question about each, and where the answer stands.

    Parameters
    ----------
    passage : ndarray of int64, shape (batch, n_passage)
        Words and marks of the passages, then ``PADDING``.
    passage_lengths : ndarray of int64, shape (batch,)
        Passage tokens before the padding.
    question : ndarray of int64, shape (batch, n_question)
        Words and marks of the questions, then ``PADDING``.
    question_lengths : ndarray of int64, shape (batch,)
        Question tokens before the padding.
    start, end : ndarray of int64, shape (batch,)
        First and last token of the answer in the passage; the last one belongs to it.
    sentences : ndarray of int64, shape (batch, n_passage)
        Number of the sentence that a passage token stands in, from 0; -1 in the padding.
    asked : ndarray of int64, shape (batch,)
        Number of the sentence that holds the answer.
    facts : ndarray of int64, shape (batch, n_facts, 2)
        Person and relation of every sentence, places in ``PEOPLE`` and ``RELATIONS``; -1 behind the last.
    """

    passage: np.ndarray
    passage_lengths: np.ndarray
    question: np.ndarray
    question_lengths: np.ndarray
    start: np.ndarray
    end: np.ndarray
    sentences: np.ndarray
    asked: np.ndarray
    facts: np.ndarray

    def __len__(self) -> int:
        """Return the number of passages."""
        return len(self.passage)

    @property
    def evidence(self) -> np.ndarray:
        """Return the tokens of the sentence that holds the answer, bool of shape (batch, n_passage)."""
        return self.sentences == self.asked[:, None]

    @property
    def ceilings(self) -> dict[str, float]:
        """Return how often a guess finds the sentence that knows the asked person, relation, or neither."""
        asked = self.facts[np.arange(len(self)), self.asked][:, None]  # (batch, 1, 2)
        same = (self.facts == asked).sum(axis=1)  # (batch, 2)
        n_facts = (self.facts[..., 0] >= 0).sum(axis=1)
        return {
            "person": float((1 / same[:, 0]).mean()),
            "relation": float((1 / same[:, 1]).mean()),
            "neither": float((1 / n_facts).mean()),
        }

    def take(self, rows: np.ndarray) -> "PassageBatch":
        """Return some of the passages with their questions, as padded as the longest of them needs.

        Parameters
        ----------
        rows : ndarray of int, shape (n_rows,)
            Which passages, in which order; a passage may come twice.

        Returns
        -------
        PassageBatch
            Copies of these passages.

        Raises
        ------
        TypeError
            If ``rows`` is not an array of integers.
        ValueError
            If ``rows`` is empty.
        """
        check_rows("rows", rows)
        taken = {field.name: getattr(self, field.name)[rows] for field in fields(self)}
        n_passage, n_question = taken["passage_lengths"].max(), taken["question_lengths"].max()
        for name, width in (("passage", n_passage), ("sentences", n_passage), ("question", n_question)):
            taken[name] = taken[name][:, :width]
        return PassageBatch(**taken)


@dataclass(frozen=True)
class PassageTask:
    """Describe a family of passages with questions; ``sample`` draws from it.

    Every sentence states one fact: a person, one of 8 relations, and a place or a thing of one to three
    words, with or without a time before or behind it. A passage speaks of few people, who share first names
    and family names, and of few relations; it states no pair of them twice, and at least one other sentence
    shares the asked person, and one the asked relation. No place or thing stands in a passage twice. Every
    relation is stated in two ways and asked for in two.

    Parameters
    ----------
    n_facts : (int, int)
        Sentences of a passage: any number from the first to the second, all equally likely. At least 4, at
        most 24.

    Raises
    ------
    TypeError
        If ``n_facts`` is not a pair of integers.
    ValueError
        If a number is out of range.

    Notes
    -----
    One in five pairs of a person and a relation is held out: training passages state them, but no training
    question asks for them, so that no place or thing was ever the answer to such a question. Used from
    chapter 17 on.
    """

    n_facts: tuple[int, int] = (6, 12)

    def __post_init__(self) -> None:
        """Check the numbers once.

        Raises
        ------
        TypeError
            If ``n_facts`` is not a pair.
        ValueError
            If a number is out of range.
        """
        check_range("n_facts", self.n_facts, at_least=4, at_most=MOST_FACTS)

    @property
    def vocabulary(self) -> Vocabulary:
        """Return the words of passages and questions, numbered."""
        return _VOCABULARY

    def sample(self, batch_size: int, rng: np.random.Generator, *, held_out: bool = False) -> PassageBatch:
        """Draw passages and questions.

        Parameters
        ----------
        batch_size : int
            Number of passages, each with one question.
        rng : numpy.random.Generator
            Source of randomness.
        held_out : bool
            Whether every question asks for one of the held-out pairs; otherwise none does.

        Returns
        -------
        PassageBatch
            Passages, questions and answers.

        Raises
        ------
        TypeError
            If an argument is of the wrong type.
        ValueError
            If ``batch_size`` is below 1.
        """
        check_count("batch_size", batch_size)
        check_type("rng", rng, np.random.Generator)
        check_type("held_out", held_out, bool)
        drawn = [self._draw(rng, held_out) for _ in range(batch_size)]
        rows = {name: [example[name] for example in drawn] for name in drawn[0]}
        facts = np.full((batch_size, max(map(len, rows["facts"])), 2), -1)
        for row, pairs in zip(facts, rows["facts"], strict=True):
            row[: len(pairs)] = pairs
        return PassageBatch(
            passage=pad_rows(rows["passage"], PADDING),
            passage_lengths=np.array([len(tokens) for tokens in rows["passage"]]),
            question=pad_rows(rows["question"], PADDING),
            question_lengths=np.array([len(tokens) for tokens in rows["question"]]),
            start=np.array(rows["start"]),
            end=np.array(rows["end"]),
            sentences=pad_rows(rows["sentences"], -1),
            asked=np.array(rows["asked"]),
            facts=facts,
        )

    def _draw(self, rng: np.random.Generator, held_out: bool) -> dict[str, int | list]:
        """Draw one passage and a question about it."""
        n_facts = int(rng.integers(self.n_facts[0], self.n_facts[1] + 1))
        facts, asked = _draw_facts(rng, n_facts, held_out)
        values = _draw_values(rng, facts)
        example = {"passage": [], "sentences": [], "facts": facts, "asked": asked}
        for number, ((person, relation), value) in enumerate(zip(facts, values, strict=True)):
            wordings = _WORDINGS[RELATIONS[relation]]
            before, behind = _draw_time(rng)
            statement = wordings[rng.integers(2)].replace("@", PEOPLE[person])
            words = f"{before} {statement} {behind} .".split()
            place = words.index("#")
            if number == asked:
                start = len(example["passage"]) + place
                example |= {"start": start, "end": start + len(value) - 1}
                question = wordings[2 + rng.integers(2)].replace("@", PEOPLE[person])
                example["question"] = _VOCABULARY.encode(question.split())
            words[place : place + 1] = value
            example["passage"] += _VOCABULARY.encode(words)
            example["sentences"] += [number] * len(words)
        return example


def _draw_time(rng: np.random.Generator) -> tuple[str, str]:
    """Draw what stands before and behind a fact: nothing as often as a time, on either side alike."""
    time = _TIMES[rng.integers(len(_TIMES))]
    return (("", ""), ("", ""), (time, ""), ("", time))[rng.integers(4)]


def _draw_facts(rng: np.random.Generator, n_facts: int, held_out: bool) -> tuple[list[tuple[int, int]], int]:
    """Draw pairs of a person and a relation, all different, and which of them is asked about."""
    # So many people and relations that about half of their pairs are stated.
    side = int(np.ceil(np.sqrt(2 * n_facts)))
    n_names = int(np.ceil(np.sqrt(side)))  # of either kind: people share them
    while True:
        first = rng.permutation(len(_FIRST_NAMES))[:n_names]
        family = rng.permutation(len(_FAMILY_NAMES))[:n_names]
        people = rng.permutation(np.add.outer(first * len(_FAMILY_NAMES), family).ravel())[:side]
        relations = rng.permutation(len(RELATIONS))[: min(side, len(RELATIONS))]
        grid = [(int(person), int(relation)) for person in people for relation in relations]
        facts = [grid[place] for place in rng.permutation(len(grid))[:n_facts]]
        of_people, of_relations = zip(*facts, strict=True)
        askable = [
            number
            for number, (person, relation) in enumerate(facts)
            if is_held_out(person, relation) == held_out
            and of_people.count(person) > 1
            and of_relations.count(relation) > 1
        ]
        if askable:
            return facts, askable[rng.integers(len(askable))]


def _draw_values(rng: np.random.Generator, facts: list[tuple[int, int]]) -> list[list[str]]:
    """Draw the words of a place or thing for every fact, all different."""
    decks = {id(values): rng.permutation(len(values)).tolist() for values in (_PLACES, _THINGS)}
    drawn = []
    for _, relation in facts:
        values = _VALUES[RELATIONS[relation]]
        drawn.append(values[decks[id(values)].pop()].split())
    return drawn
