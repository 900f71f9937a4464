"""Reports of several sentences and summaries that must copy names and numbers from outside the vocabulary.

Used from chapter 17 on.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np

from attncourse._checks import check_count, check_number
from attncourse.tasks._report_texts import FACTS, FILLERS, NEW_FACTS, PLAIN_FILLERS, SUMMARIES
from attncourse.tasks.pairs import END, Pair, PairBatch, Vocabulary, encode_pairs

UNKNOWN_WORD = "<unknown>"
ORDINARY, KNOWN_NAME, RARE_NAME = 0, 1, 2  # what a word of a summary is; numbers count as names

REPORT_KINDS = tuple(FACTS)
Ways = dict[str, tuple[tuple[str, ...], ...]]  # for each kind and each of its facts, how it may be told

_SYLLABLES = tuple(first + vowel for first in "bdfgklmnprstvz" for vowel in "aeiou")
_LAST_LETTERS = "n", "r", "s", "t", "l", ""
_N_KNOWN_NAMES = 60
_KNOWN_NUMBERS = tuple(str(number) for number in range(10, 40))
_GOALS = tuple(str(number) for number in range(10))
_RARE_NUMBERS = (100, 99_999)
_HELD_OUT_PART = 4  # one in so many rare words is kept for held-out reports


@dataclass(frozen=True)
class Report:
    """Hold a report and its summary.

    Parameters
    ----------
    pair : Pair
        The report's words, the summary's words, and a link from every name or number of the summary to
        every place of the report where the same word stands.
    kind : {"match", "storm", "fire"}
        What the report is about.
    filler : tuple of bool
        For each word of the report: does it stand in a sentence that the summary leaves out?
    """

    pair: Pair
    kind: str
    filler: tuple[bool, ...]


@dataclass(frozen=True)
class ReportBatch(PairBatch):
    """Hold encoded reports and summaries, padded, in which rare words have numbers of their own.

    A rare word has no place in the vocabulary. The first one of a report is numbered ``vocab_size``, the next
    one ``vocab_size`` + 1, and so on: the numbers mean something within one report only.

    Parameters
    ----------
    source, lengths, target, target_lengths, gold
        As in ``PairBatch``, with extended numbers on both sides. ``gold`` marks every place of the report
        where the word stands, for each name and number of the summary.
    classes : ndarray of int64, shape (batch, n_target)
        ``ORDINARY``, ``KNOWN_NAME`` (a name or number of the vocabulary) or ``RARE_NAME``, for each token.
    filler : ndarray of bool, shape (batch, n_source)
        True in sentences that the summary leaves out.
    rare_words : tuple of tuple of str
        The rare words of every report, in the order of their numbers.
    """

    classes: np.ndarray
    filler: np.ndarray
    rare_words: tuple[tuple[str, ...], ...]

    def take(self, rows: np.ndarray) -> "ReportBatch":
        """Return some of the reports, as padded as the longest of them needs.

        Parameters
        ----------
        rows : ndarray of int, shape (n_rows,)
            Which reports, in which order; a report may come twice.

        Returns
        -------
        ReportBatch
            Copies of these reports.

        Raises
        ------
        TypeError
            If ``rows`` is not an array of integers.
        ValueError
            If ``rows`` is empty.
        """
        pairs = super().take(rows)
        return ReportBatch(
            **{field.name: getattr(pairs, field.name) for field in fields(PairBatch)},
            classes=self.classes[rows, : pairs.target.shape[1]],
            filler=self.filler[rows, : pairs.source.shape[1]],
            rare_words=tuple(self.rare_words[row] for row in rows),
        )


class ReportTask:
    """Draw reports of a match, a storm or a fire, with summaries that keep the facts and leave out the rest.

    Parameters
    ----------
    rare_share : float
        Probability that a name or a number (goals aside) is a rare one, from 0 to 1.
    min_sentences, max_sentences : int
        Sentences of a report, 4 to 15.

    Raises
    ------
    TypeError
        If a number is of the wrong type.
    ValueError
        If ``rare_share`` lies outside 0 … 1, the sentences are fewer than 4 or more than 15, or their limits
        are crossed.

    Notes
    -----
    Rare names have three syllables, rare numbers three to five digits: over two million words. One in four is
    kept for reports drawn with ``held_out=True`` (the codes of its letters add up to a multiple of 4), so no
    such word ever stands in a report for training. The 60 known names and 30 known numbers are the same on
    both sides.

    A summary has two sentences if the report says who scored first, how many houses were dark or who saved
    whom; otherwise one. The facts stand in any order among the other sentences, and those tell of other
    names in the same words: who scored the last goal, which storm came last year. Used from chapter 17 on.
    """

    def __init__(self, *, rare_share: float = 0.5, min_sentences: int = 4, max_sentences: int = 7) -> None:
        check_number("rare_share", rare_share, at_least=0)
        if rare_share > 1:
            raise ValueError(f"rare_share must be at most 1, got rare_share={rare_share}")
        check_count("min_sentences", min_sentences, at_least=4)
        check_count("max_sentences", max_sentences)
        if max_sentences < min_sentences:
            raise ValueError(
                f"max_sentences must be at least min_sentences={min_sentences}, "
                f"got max_sentences={max_sentences}"
            )
        most = len(PLAIN_FILLERS) + min(map(len, FILLERS.values())) + 1  # the shortest news has one fact
        if max_sentences > most:
            raise ValueError(f"max_sentences must be at most {most}, got max_sentences={max_sentences}")
        self.rare_share = rare_share
        self.min_sentences = min_sentences
        self.max_sentences = max_sentences
        self.vocabulary = Vocabulary(
            (UNKNOWN_WORD, *_template_words(), *KNOWN_NAMES, *_KNOWN_NUMBERS, *_GOALS)
        )
        self.unknown = self.vocabulary.encode([UNKNOWN_WORD])[0]

    def draw(
        self, n_reports: int, rng: np.random.Generator, *, held_out: bool = False, new_ways: bool = False
    ) -> list[Report]:
        """Draw reports.

        Parameters
        ----------
        n_reports : int
            How many.
        rng : numpy.random.Generator
            Source of randomness; the same state gives the same reports.
        held_out : bool
            Whether the rare words come from those that are kept for testing.
        new_ways : bool
            Whether the facts are told in ways that no other report uses, in words of the vocabulary.

        Returns
        -------
        list of Report
            The reports.

        Raises
        ------
        TypeError
            If ``n_reports`` is not an integer.
        ValueError
            If ``n_reports`` is below 1.
        """
        check_count("n_reports", n_reports)
        return [self._draw_one(rng, held_out, NEW_FACTS if new_ways else FACTS) for _ in range(n_reports)]

    def encode(self, reports: Sequence[Report]) -> ReportBatch:
        """Encode reports into one padded batch, rare words with the numbers of their report.

        Parameters
        ----------
        reports : sequence of Report
            At least one report. Not modified.

        Returns
        -------
        ReportBatch
            All reports, in order.

        Raises
        ------
        ValueError
            If there are no reports.
        """
        known = set(self.vocabulary.tokens)
        rare_words = tuple(
            tuple(dict.fromkeys(word for word in report.pair.source if word not in known))
            for report in reports
        )
        hidden = [_with_unknown(report.pair, known) for report in reports]
        pairs = encode_pairs(hidden, self.vocabulary, self.vocabulary)
        source, target = pairs.source.copy(), pairs.target.copy()
        classes = np.full_like(target, ORDINARY)
        filler = np.zeros(source.shape, dtype=bool)
        for row, (report, words) in enumerate(zip(reports, rare_words, strict=True)):
            number = {word: len(known) + place for place, word in enumerate(words)}
            for tokens, text in ((source, report.pair.source), (target, report.pair.target)):
                for place, word in enumerate(text):
                    tokens[row, place] = number.get(word, tokens[row, place])
            linked = {place for place, _ in report.pair.links}
            for place in linked:
                classes[row, place] = RARE_NAME if report.pair.target[place] in number else KNOWN_NAME
            filler[row, : len(report.filler)] = report.filler
        return ReportBatch(
            source=source,
            lengths=pairs.lengths,
            target=target,
            target_lengths=pairs.target_lengths,
            gold=pairs.gold,
            classes=classes,
            filler=filler,
            rare_words=rare_words,
        )

    def spell(self, numbers: Iterable[int], rare_words: Sequence[str]) -> tuple[str, ...]:
        """Return the words of a text up to its end token.

        Parameters
        ----------
        numbers : iterable of int
            Extended numbers. Not modified.
        rare_words : sequence of str
            The rare words of the report, such as a row of ``ReportBatch.rare_words``.

        Returns
        -------
        tuple of str
            The words, without padding and start tokens.

        Raises
        ------
        ValueError
            If a number stands for no word of the vocabulary and for no rare word of the report.
        """
        n_known = len(self.vocabulary)
        words = []
        for number in map(int, numbers):
            if number == END:
                break
            if number < n_known:
                words += self.vocabulary.decode([number])
            elif number - n_known < len(rare_words):
                words.append(rare_words[number - n_known])
            else:
                raise ValueError(
                    f"numbers must lie below {n_known} + {len(rare_words)} rare words, "
                    f"got numbers with {number}"
                )
        return tuple(words)

    def _draw_one(self, rng: np.random.Generator, held_out: bool, ways: Ways) -> Report:
        """Draw one report: its facts, other sentences around them, and its summary."""
        dice = _Dice(rng, self.rare_share, held_out)
        kind = REPORT_KINDS[rng.integers(len(REPORT_KINDS))]
        goals = sorted(rng.choice(len(_GOALS), size=2, replace=False))
        slots = {name: dice.name() for name in "ABCP"}
        slots |= {"n": dice.number(), "s": _GOALS[goals[1]], "t": _GOALS[goals[0]]}
        facts = ways[kind]
        short = bool(rng.integers(2))  # the last fact is missing, and with it the second sentence
        told = facts[:-1] if short else facts
        n_sentences = int(rng.integers(self.min_sentences, self.max_sentences + 1))
        fillers = FILLERS[kind] + PLAIN_FILLERS
        chosen = rng.choice(len(fillers), size=n_sentences - len(told), replace=False)
        sentences = [(fact[rng.integers(len(fact))].format(**slots), False) for fact in told]
        for place in chosen:
            others = {"X": dice.name(), "Y": dice.name(), "m": dice.number()}
            sentences.append((fillers[place].format(**slots, **others), True))
        report = [sentences[place] for place in rng.permutation(len(sentences))]
        source = tuple(word for text, _ in report for word in text.split())
        target = tuple(SUMMARIES[kind][short].format(**slots).split())
        names = set(slots.values())
        links = frozenset(
            (row, column)
            for row, word in enumerate(target)
            if word in names
            for column, other in enumerate(source)
            if other == word
        )
        filler = tuple(is_filler for text, is_filler in report for _ in text.split())
        return Report(Pair(source, target, links), kind, filler)


class _Dice:
    """Draw the names and numbers of one report, none of them twice."""

    def __init__(self, rng: np.random.Generator, rare_share: float, held_out: bool) -> None:
        self.rng = rng
        self.rare_share = rare_share
        self.held_out = held_out
        self.used: set[str] = set()

    def name(self) -> str:
        return self._new(lambda: KNOWN_NAMES[self.rng.integers(len(KNOWN_NAMES))], self._rare_name)

    def number(self) -> str:
        return self._new(
            lambda: _KNOWN_NUMBERS[self.rng.integers(len(_KNOWN_NUMBERS))],
            lambda: str(self.rng.integers(*_RARE_NUMBERS)),
        )

    def _rare_name(self) -> str:
        return _join_syllables(
            self.rng.integers(len(_SYLLABLES), size=3), self.rng.integers(len(_LAST_LETTERS))
        )

    def _new(self, draw_known: Callable[[], str], draw_rare: Callable[[], str]) -> str:
        """Draw until the word is a new one and, if rare, on the right side of the split."""
        rare = self.rng.random() < self.rare_share
        while True:
            word = draw_rare() if rare else draw_known()
            if word not in self.used and not (rare and is_held_out(word) != self.held_out):
                self.used.add(word)
                return word


def is_held_out(word: str) -> bool:
    """Say whether a rare word is kept for held-out reports.

    Parameters
    ----------
    word : str
        A rare name or number.

    Returns
    -------
    bool
        True if the codes of its characters add up to a multiple of 4.
    """
    return sum(map(ord, word)) % _HELD_OUT_PART == 0


def _with_unknown(pair: Pair, known: set[str]) -> Pair:
    """Return the pair with the unknown word in place of every rare one."""
    source, target = (
        tuple(word if word in known else UNKNOWN_WORD for word in text) for text in (pair.source, pair.target)
    )
    return Pair(source, target, pair.links)


def _join_syllables(places: Sequence[int], last: int) -> str:
    return ("".join(_SYLLABLES[place] for place in places) + _LAST_LETTERS[last]).capitalize()


def _template_words() -> set[str]:
    """Return every word of the templates that is no slot."""
    texts = [*PLAIN_FILLERS]
    for kind in REPORT_KINDS:
        texts += [text for fact in FACTS[kind] for text in fact] + [*SUMMARIES[kind], *FILLERS[kind]]
    return {word for text in texts for word in text.split() if not word.startswith("{")}


# Two syllables, so that no rare name is spelt like a known one; 37 shares no factor with the 70 syllables.
KNOWN_NAMES = tuple(
    _join_syllables((place, (37 * place + 11) % len(_SYLLABLES)), place % len(_LAST_LETTERS))
    for place in range(_N_KNOWN_NAMES)
)
