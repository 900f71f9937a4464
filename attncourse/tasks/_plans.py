"""Plans of sentences: which words, in which clauses, before either language is written."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from attncourse.tasks._french import (
    ADJECTIVES,
    ANYTHING,
    BE,
    CONJUNCTIONS,
    NOUNS,
    PERSON,
    PREPOSITIONS,
    VERBS,
    Adjective,
    Noun,
    Verb,
)

FEWEST_CLAUSE_WORDS, USUAL_CLAUSE_WORDS, MOST_CLAUSE_WORDS = 3, 5, 14

SUITABLE = {kind: [word for word in ADJECTIVES if kind in word.kinds] for kind in ANYTHING}
BEFORE = {kind: [word for word in words if word.before] for kind, words in SUITABLE.items()}
AFTER = {kind: [word for word in words if not word.before] for kind, words in SUITABLE.items()}
AFTER_BE = {kind: [word for word in words if word.after_be] for kind, words in SUITABLE.items()}

Item = TypeVar("Item")


class Dice:
    """Draw small random numbers quickly: one call to the generator serves many of them."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._numbers: list[float] = []

    def below(self, n: int) -> int:
        """Return a whole number from 0 to n − 1."""
        if not self._numbers:
            self._numbers = self._rng.random(4096).tolist()
        return int(self._numbers.pop() * n)

    def pick(self, items: Sequence[Item]) -> Item:
        """Return one of several items."""
        return items[self.below(len(items))]


@dataclass
class NounPhrase:
    """Hold a noun with its article and what describes it: by its possessor or by a clause, not by both."""

    noun: Noun
    plural: bool
    definite: bool
    before: Adjective | None = None
    after: Adjective | None = None
    possessor: "NounPhrase | None" = None
    relative: "Clause | None" = None


@dataclass
class Clause:
    """Hold a clause; a relative one lacks the subject or the object, for which its noun stands."""

    verb: Verb
    subject: NounPhrase | None = None
    thing: NounPhrase | None = None  # the direct object
    recipient: NounPhrase | None = None
    predicate: Adjective | None = None  # after "is"
    adverb: str = ""
    preposition: str = ""
    place: NounPhrase | None = None
    conjunction: str = ""  # joins this clause to the one before


def _verb_words(verb: Verb, *, without_object: bool = False) -> int:
    """Return the fewest English words of a verb with all that must follow it."""
    if verb is BE:
        return 2
    objects = 2 if verb.objects and not without_object else 0
    return 1 + bool(verb.particle) + objects + (3 if verb.recipients else 0)


class Plan:
    """Grow a sentence to a given number of English words.

    It starts from the shortest clauses. Everything that can be added (adjective, adverb, possessor …) is a
    step, kept with the fewest words it needs. Steps are drawn until no room is left; if the last ones do
    not fit, ``room`` is above zero and the plan is of no use.
    """

    def __init__(self, n_words: int, dice: Dice) -> None:
        self.dice = dice
        self.room = n_words
        self.steps: list[tuple[int, Callable[[], None]]] = []
        self.clauses: list[Clause] = []
        self.descriptions: list[tuple[Clause, NounPhrase]] = []  # clauses with "is", and what they describe
        self.changes_order = False

        fewest = -(-n_words // MOST_CLAUSE_WORDS)
        n_clauses = fewest + dice.below(max(n_words // USUAL_CLAUSE_WORDS - fewest, 0) + 1)
        for later in reversed(range(n_clauses)):
            clause = self._main_clause(keep=later * (1 + FEWEST_CLAUSE_WORDS) + bool(self.clauses))
            if self.clauses:
                clause.conjunction = dice.pick(tuple(CONJUNCTIONS))
                self.room -= 1
            self.clauses.append(clause)
        while self.room and (fitting := [step for step in self.steps if step[0] <= self.room]):
            step = dice.pick(fitting)
            self.steps.remove(step)
            step[1]()
        for clause, phrase in self.descriptions:  # last, when the adjectives of the noun are known
            said = {word.about for word in (phrase.before, phrase.after) if word}
            clause.predicate = dice.pick(
                [word for word in AFTER_BE[phrase.noun.kind] if word.about not in said]
            )

    def _main_clause(self, *, keep: int) -> Clause:
        """Return a new clause that leaves room for ``keep`` words."""
        verb = self.dice.pick([verb for verb in (*VERBS, BE) if 2 + _verb_words(verb) <= self.room - keep])
        subject = self._noun_phrase(verb.subjects)
        clause = Clause(verb, subject)
        self._complete(clause, subject)
        return clause

    def _complete(
        self, clause: Clause, subject: NounPhrase, *, without_object: bool = False, nested: bool = False
    ) -> None:
        """Give a clause what its verb demands, and offer what it allows."""
        verb = clause.verb
        if verb is BE:
            self.descriptions.append((clause, subject))
        self.room -= 2 if verb is BE else 1 + bool(verb.particle)
        if verb.objects and not without_object:
            clause.thing = self._noun_phrase(verb.objects, definite=verb.definite, nested=nested)
        if verb.recipients:
            self.room -= 1
            clause.recipient = self._noun_phrase(verb.recipients, nested=nested)

        def add_adverb() -> None:
            clause.adverb = self.dice.pick(("never", "never", "often", "always"))
            self.room -= 1
            # "is often" is "est souvent", all others cross: "is never", "n' est jamais"
            self.changes_order |= verb is not BE or clause.adverb == "never"

        def add_place() -> None:
            clause.preposition = self.dice.pick(tuple(PREPOSITIONS))
            clause.place = self._noun_phrase(PREPOSITIONS[clause.preposition][1], nested=nested)
            self.room -= 1

        self.steps.append((1, add_adverb))
        if verb is not BE:
            self.steps.append((3, add_place))

    def _noun_phrase(
        self, kinds: frozenset[str], *, definite: bool = False, nested: bool = False
    ) -> NounPhrase:
        """Return an article and a noun, and offer what may be added; ``nested`` ones stay simple."""
        noun = self.dice.pick([noun for noun in NOUNS if noun.kind in kinds])
        phrase = NounPhrase(
            noun, plural=bool(self.dice.below(2)), definite=definite or not self.dice.below(2)
        )
        self.room -= 2

        def add_before() -> None:
            phrase.before = self.dice.pick(BEFORE[noun.kind])
            self.room -= 1

        def add_after() -> None:
            phrase.after = self.dice.pick(AFTER[noun.kind])
            self.room -= 1
            self.changes_order = True

        def add_possessor() -> None:
            if not phrase.relative:  # "le chat du garçon qui dort" would leave open who sleeps
                phrase.possessor = self._noun_phrase(frozenset({PERSON}), nested=True)
                self.changes_order = True

        def add_relative() -> None:
            if not phrase.possessor:
                phrase.relative = self._relative_clause(phrase)

        self.steps += [(1, add_before), (1, add_after)]
        if not nested:
            self.steps.append((3, add_relative))
            if noun.kind != PERSON:  # "the man 's girl" is his daughter in one language only
                self.steps.append((2, add_possessor))
        return phrase

    def _relative_clause(self, head: NounPhrase) -> Clause:
        """Return a clause about a noun, which is its subject or its object."""
        self.room -= 1  # "that"
        kind = head.noun.kind
        choices = [
            (verb, False) for verb in (*VERBS, BE) if kind in verb.subjects and _verb_words(verb) <= self.room
        ] + [
            (verb, True)
            for verb in VERBS
            if kind in verb.objects and 2 + _verb_words(verb, without_object=True) <= self.room
        ]
        verb, is_object = self.dice.pick(choices)
        subject = self._noun_phrase(verb.subjects, nested=True) if is_object else None
        clause = Clause(verb, subject)
        self._complete(clause, subject or head, without_object=is_object, nested=True)
        return clause
