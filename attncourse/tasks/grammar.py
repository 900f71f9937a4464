"""A grammar of English sentences and their French translations, with gold links between the words."""

from dataclasses import dataclass

import numpy as np

from attncourse._checks import check_count
from attncourse.tasks._french import (
    ADVERBS,
    BE,
    CONJUNCTIONS,
    PREPOSITIONS,
    Adjective,
    LinkedWord,
    english_words,
    french_words,
    join_sounds,
    starts_with_vowel,
)
from attncourse.tasks._plans import Clause, Dice, NounPhrase, Plan
from attncourse.tasks.pairs import Pair, Vocabulary

SHORTEST, LONGEST = 4, 30  # English words: limits of the parameters
MONOTONE_KEPT = 4  # one in so many plans whose words would stay in order is kept: 85 % of all change it
MOST_MISSES = 1000  # so many known sentences in a row, and split_pairs gives up looking for a new one


def write(clauses: list[Clause]) -> Pair:
    """Write a planned sentence in both languages."""
    writer = _Writer()
    french = join_sounds(writer.sentence(clauses))
    links = frozenset((row, column) for row, (_, columns) in enumerate(french) for column in columns)
    return Pair(tuple(writer.english), tuple(word for word, _ in french), links)


class _Writer:
    """Write a plan in both languages at once.

    Every method appends its English words to ``english`` and returns its French words, each with the
    positions of the English words it renders.
    """

    def __init__(self) -> None:
        self.english: list[str] = []

    def sentence(self, clauses: list[Clause]) -> list[LinkedWord]:
        """Write all clauses, each after its conjunction."""
        french: list[LinkedWord] = []
        for clause in clauses:
            if clause.conjunction:
                links = self._say(clause.conjunction)
                french += [(word, links) for word in CONJUNCTIONS[clause.conjunction]]
            french += self._clause(clause)
        return french

    def _say(self, *words: str) -> tuple[int, ...]:
        """Append English words and return their positions."""
        start = len(self.english)
        self.english += words
        return tuple(range(start, len(self.english)))

    def _clause(self, clause: Clause, head: NounPhrase | None = None) -> list[LinkedWord]:
        """Write a clause; the noun it describes, if any, is its subject unless it has one of its own."""
        verb, never = clause.verb, clause.adverb == "never"
        french = self._noun_phrase(clause.subject) if clause.subject else []
        subject = clause.subject or head
        if verb is BE:
            verb_links = self._say(verb.english[subject.plural])
        adverb_links = self._say(clause.adverb) if clause.adverb else ()
        if verb is not BE:
            particle = (verb.particle,) if verb.particle else ()
            verb_links = self._say(verb.english[subject.plural], *particle)

        if never:
            french.append(("ne", adverb_links))
        french.append((verb.french[subject.plural], verb_links))
        if clause.adverb:
            french.append((ADVERBS[clause.adverb], adverb_links))
        if clause.predicate:
            french.append((_agree(clause.predicate, subject), self._say(clause.predicate.english)))
        if clause.thing:
            french += self._noun_phrase(clause.thing, negated=never)
        if clause.recipient:
            french += [("à", self._say("to")), *self._noun_phrase(clause.recipient, some=not never)]
        if clause.place:
            links = self._say(clause.preposition)
            words = PREPOSITIONS[clause.preposition][0]
            french += [(word, links) for word in words]
            # "de des maisons" would have to lose its article, and "never … some" is hardly English.
            french += self._noun_phrase(clause.place, some=not never and words[-1] != "de")
        return french

    def _noun_phrase(
        self, phrase: NounPhrase, *, negated: bool = False, some: bool = True
    ) -> list[LinkedWord]:
        """Write article, adjectives, noun, possessor and relative clause.

        ``negated`` direct objects take "any" and "de"; without ``some`` indefinite plurals become definite.
        """
        owner: list[LinkedWord] = []
        article_links: tuple[int, ...] = ()
        definite = phrase.definite or (phrase.plural and not some)
        adjectives = [word.english for word in (phrase.before, phrase.after) if word]
        noun = phrase.noun.english[phrase.plural]
        if phrase.possessor:
            definite = True
            owner = self._noun_phrase(phrase.possessor, some=False)
            mark = "'" if self.english[-1].endswith("s") and phrase.possessor.plural else "'s"
            owner = [("de", self._say(mark)), *owner]
        else:
            follower = adjectives[0] if adjectives else noun
            article_links = self._say(_english_article(definite, phrase.plural, negated, follower))

        before_links, after_links = (
            self._say(word.english) if word else () for word in (phrase.before, phrase.after)
        )
        core = [(phrase.noun.french[phrase.plural], self._say(noun))]
        if phrase.before:
            core.insert(0, (_agree(phrase.before, phrase, attached=True), before_links))
        if phrase.after:
            core.append((_agree(phrase.after, phrase), after_links))
        article = _french_article(phrase, definite=definite, negated=negated)
        french = [(article, article_links), *core, *owner]
        if phrase.relative:
            pronoun = "que" if phrase.relative.subject else "qui"
            french += [(pronoun, self._say("that")), *self._clause(phrase.relative, head=phrase)]
        return french


def _english_article(definite: bool, plural: bool, negated: bool, follower: str) -> str:
    """Return the English article before a word."""
    if definite:
        return "the"
    if plural:
        return "any" if negated else "some"
    return "an" if follower[0] in "aeiou" else "a"


def _french_article(phrase: NounPhrase, *, definite: bool, negated: bool) -> str:
    """Return the French article in its full form."""
    masculine = phrase.noun.gender == "m"
    if definite:
        return "les" if phrase.plural else "le" if masculine else "la"
    if negated or (phrase.plural and phrase.before):
        return "de"
    return "des" if phrase.plural else "un" if masculine else "une"


def _agree(adjective: Adjective, phrase: NounPhrase, *, attached: bool = False) -> str:
    """Return the form of an adjective; ``attached`` to the front of its noun it minds a vowel."""
    masculine, before_vowel, feminine, masculine_plural, feminine_plural = adjective.french
    if phrase.noun.gender == "f":
        return feminine_plural if phrase.plural else feminine
    if phrase.plural:
        return masculine_plural
    return before_vowel if attached and starts_with_vowel(phrase.noun.french[0]) else masculine


@dataclass(frozen=True)
class GrammarTask:
    """Describe a family of English sentences with their French translations.

    Lengths are uniform. Sentences are built from a closed lexicon (99 English words, 139 French forms):
    articles, adjectives, possessors ("the boy 's cat"), adverbs, prepositions, relative clauses, and from
    ten words on several clauses. The English text leaves one right translation. The French one needs
    gender and number agreement, elision, contraction, adjectives before and after the noun, vowel forms
    ("vieil homme"), "ne … jamais", and "de" after it or before a plural adjective.

    Parameters
    ----------
    min_words, max_words : int
        Shortest and longest English sentence, in words, from 4 to 30.

    Raises
    ------
    TypeError
        If a length is not an integer.
    ValueError
        If a length is out of range, or ``max_words`` is below ``min_words``.

    Notes
    -----
    Tokens are words; an elided word ("l'", "n'") and the possessive mark are tokens of their own. Gold
    links: every French word with the English words it renders. "ne" and "jamais" both render "never"; "du"
    renders "the" and the preposition or possessive mark it has merged; "cherche" renders "looks" and "for";
    "parce" and "que" render "because", "près" and "de" render "near". The article of a possessed noun
    ("the boy 's cat": "le chat du garçon") has no counterpart and no link. Every English word has a link.
    A French word with two links allows either: see ``PairBatch.sure``. About 85 % of the sentences of the
    default lengths change the order of words. Used from chapter 5 on.
    """

    min_words: int = 4
    max_words: int = 11

    def __post_init__(self) -> None:
        """Check the lengths once.

        Raises
        ------
        ValueError
            If ``max_words`` is above 30 or below ``min_words``.
        """
        check_count("min_words", self.min_words, at_least=SHORTEST)
        check_count("max_words", self.max_words, at_least=SHORTEST)
        if self.max_words > LONGEST:
            raise ValueError(f"max_words must be at most {LONGEST}, got max_words={self.max_words}")
        if self.max_words < self.min_words:
            raise ValueError(
                "max_words must be at least min_words, "
                f"got max_words={self.max_words}, min_words={self.min_words}"
            )

    def sample_pairs(self, n_pairs: int, rng: np.random.Generator) -> list[Pair]:
        """Draw pairs; the same one may come twice.

        Parameters
        ----------
        n_pairs : int
            Number of pairs.
        rng : numpy.random.Generator
            Source of randomness.

        Returns
        -------
        list of Pair
            The pairs, independent of each other.

        Raises
        ------
        TypeError
            If ``n_pairs`` is not an integer.
        ValueError
            If ``n_pairs`` is below 1.
        """
        check_count("n_pairs", n_pairs)
        dice = Dice(rng)
        return [self._draw(dice) for _ in range(n_pairs)]

    def split_pairs(
        self, n_train: int, n_held_out: int, rng: np.random.Generator
    ) -> tuple[list[Pair], list[Pair]]:
        """Draw training pairs and held-out pairs that share no sentence.

        Held-out sentences are drawn first, all different; training sentences are drawn as by
        ``sample_pairs``, without the held-out ones.

        Parameters
        ----------
        n_train, n_held_out : int
            Number of pairs on either side.
        rng : numpy.random.Generator
            Source of randomness; the same state gives the same pairs.

        Returns
        -------
        train, held_out : list of Pair
            The pairs of both sides.

        Raises
        ------
        TypeError
            If a number is not an integer.
        ValueError
            If a number is below 1, or there are too few different sentences.
        """
        check_count("n_train", n_train)
        check_count("n_held_out", n_held_out)
        dice = Dice(rng)
        held_out: dict[tuple[str, ...], Pair] = {}
        train: list[Pair] = []
        misses = 0
        while len(train) < n_train:
            pair = self._draw(dice)
            if pair.source in held_out:
                misses += 1
                if misses == MOST_MISSES:
                    raise ValueError(
                        "n_held_out must leave sentences for training, "
                        f"got n_held_out={n_held_out} with {len(held_out)} different ones found"
                    )
                continue
            misses = 0
            if len(held_out) < n_held_out:
                held_out[pair.source] = pair
            else:
                train.append(pair)
        return train, list(held_out.values())

    def vocabularies(self) -> tuple[Vocabulary, Vocabulary]:
        """Return all English words and all French words of the grammar, whatever was drawn."""
        return Vocabulary(english_words()), Vocabulary(french_words())

    def _draw(self, dice: Dice) -> Pair:
        """Draw one pair: a plan of the right length, written in both languages."""
        n_words = self.min_words + dice.below(self.max_words - self.min_words + 1)
        plan = Plan(n_words, dice)
        while plan.room or not (plan.changes_order or dice.below(MONOTONE_KEPT) == 0):
            plan = Plan(n_words, dice)
        return write(plan.clauses)
