"""Dates: rewrite an English date, character by character, as ISO or in French, German or Spanish.

All names and patterns come from the CLDR data in Babel. A text is written field by field, so the place of
every field is known, and with it the gold links.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from functools import cache
from itertools import product

import numpy as np
from babel import Locale
from babel.dates import format_date, get_date_format, tokenize_pattern

from attncourse._checks import check_choice, check_count
from attncourse.tasks.pairs import Pair, Vocabulary

# Locale and format of every way to write a source. The last format is a CLDR skeleton: weekday and month
# shortened. Formats with the month in digits are left out: 3/4 is one day in London, another in New York.
SOURCE_STYLES = (
    *(("en", style) for style in ("full", "long", "medium", "yMMMEd")),
    *(("en_GB", style) for style in ("full", "long", "medium", "yMMMEd")),
    *(("en_AU", style) for style in ("medium", "yMMMEd")),
    ("en_IE", "full"),
    *(("en_ZA", style) for style in ("full", "long")),
)
TARGETS = ("iso", "fr", "de", "es")
ISO_PATTERN = "y-MM-dd"
WEEKDAY, MONTH, DAY, YEAR = "E", "M", "d", "y"  # the letters of CLDR's fields


@cache
def _segments(locale: str, style: str) -> tuple[tuple[str, str], ...]:
    """Return a style's pattern as segments (letter of the field or "", field or plain text)."""
    if style == "iso":
        pattern = ISO_PATTERN
    elif style in Locale.parse(locale).datetime_skeletons:
        pattern = Locale.parse(locale).datetime_skeletons[style].pattern
    else:
        pattern = get_date_format(style, locale).pattern
    segments = []
    for kind, value in tokenize_pattern(pattern):
        if kind == "field":
            letter, count = value
            segments.append((letter, letter * count))
        else:
            segments.append(("", value))
    return tuple(segments)


@cache
def _field_text(locale: str, field: str, day: date) -> str:
    """Return what Babel writes for one field of a day."""
    return format_date(day, field, locale)


@cache
def _example_days() -> dict[str, dict[int, date]]:
    """Return, for weekday, month and day of the month, a day on which the field has each value."""
    days = [date.fromordinal(date(2024, 1, 1).toordinal() + step) for step in range(366)]
    return {
        WEEKDAY: {day.weekday(): day for day in days},
        MONTH: {day.month: day for day in days},
        DAY: {day.day: day for day in days},
    }


def _write(day: date, locale: str, style: str) -> tuple[str, dict[str, range]]:
    """Write a day and return the text and where each field stands in it."""
    numbers = {WEEKDAY: day.weekday(), MONTH: day.month, DAY: day.day, YEAR: day.year}
    parts: list[str] = []
    places: dict[str, range] = {}
    start = 0
    for letter, value in _segments(locale, style):
        if letter:
            # The year alone depends on the day itself; the other fields repeat, so few calls reach Babel.
            example = date(day.year, 1, 1) if letter == YEAR else _example_days()[letter][numbers[letter]]
            value = _field_text(locale, value, example)
            places[letter] = range(start, start + len(value))
        parts.append(value)
        start += len(value)
    return "".join(parts), places


def _links(target: dict[str, range], source: dict[str, range]) -> frozenset[tuple[int, int]]:
    """Link the fields that both texts have: names as blocks, digits one to one from the right."""
    links: list[tuple[int, int]] = []
    for letter in target.keys() & source.keys():
        if letter in (WEEKDAY, MONTH):
            links.extend(product(target[letter], source[letter]))
        else:  # 3 and 03: the last digits correspond, the zero has no counterpart
            links.extend(zip(reversed(target[letter]), reversed(source[letter]), strict=False))
    return frozenset(links)


@dataclass(frozen=True)
class DateTask:
    """Describe a family of dates to rewrite; ``sample_pairs`` and ``split_pairs`` draw from it.

    The source is an English date with the month as a word, in one of ``SOURCE_STYLES`` (several formats of
    several countries, with and without weekday). The target is the ISO date, or the date as CLDR writes it
    in French, German or Spanish, with the weekday if the source has one: nothing needs to be calculated.
    Days are uniform over whole years, styles uniform and independent.

    Parameters
    ----------
    to : {"iso", "fr", "de", "es"}
        What to write.
    first_year, last_year : int
        Range of the years, both included, from 1000 to 9999.

    Raises
    ------
    TypeError
        If a year is not an integer.
    ValueError
        If ``to`` is unknown, a year has not four digits, or ``last_year`` is before ``first_year``.

    Notes
    -----
    Tokens are characters. Gold links: the digits of year and day one to one (the zero of "03" has no link
    where the source says "3"); every character of the month with every character of the month's name, and
    the same for the weekday. Spaces, punctuation and "de" have no link. A character of the
    month may look at any character of its name: ``PairBatch.sure`` holds the links of day and year only.
    Used from chapter 5 on.
    """

    to: str = "iso"
    first_year: int = 1950
    last_year: int = 2049

    def __post_init__(self) -> None:
        """Check the language and the years once.

        Raises
        ------
        ValueError
            If a year has more than four digits, or ``last_year`` is before ``first_year``.
        """
        check_choice("to", self.to, TARGETS)
        check_count("first_year", self.first_year, at_least=1000)
        check_count("last_year", self.last_year, at_least=1000)
        if self.last_year > 9999:
            raise ValueError(f"last_year must be at most 9999, got last_year={self.last_year}")
        if self.last_year < self.first_year:
            raise ValueError(
                "last_year must be at least first_year, "
                f"got last_year={self.last_year}, first_year={self.first_year}"
            )

    def pair(self, day: date, style: tuple[str, str] = SOURCE_STYLES[0]) -> Pair:
        """Return the pair of one day.

        Parameters
        ----------
        day : datetime.date
            The day to write.
        style : (str, str)
            Locale and format of the source, one of ``SOURCE_STYLES``.

        Returns
        -------
        Pair
            Characters of both texts, and their gold links.

        Raises
        ------
        ValueError
            If the style is unknown.
        """
        if style not in SOURCE_STYLES:
            raise ValueError(f"style must be one of SOURCE_STYLES, got style={style}")
        source, source_places = _write(day, *style)
        if self.to == "iso":
            target, target_places = _write(day, "en", "iso")
        else:
            target, target_places = _write(day, self.to, "full" if WEEKDAY in source_places else "long")
        return Pair(tuple(source), tuple(target), _links(target_places, source_places))

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
        return self._draw(self._days(), n_pairs, rng)

    def split_pairs(
        self, n_train: int, n_held_out: int, rng: np.random.Generator
    ) -> tuple[list[Pair], list[Pair]]:
        """Draw training pairs and held-out pairs that share no date.

        Every day belongs to one side, in proportion to the numbers of pairs, so a held-out day never occurs
        in training, in whatever style: neither a source text nor a target text is shared.

        Parameters
        ----------
        n_train, n_held_out : int
            Number of pairs on either side; a pair may come twice on its side.
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
            If a number is below 1.
        """
        check_count("n_train", n_train)
        check_count("n_held_out", n_held_out)
        days = rng.permutation(self._days())
        share = n_held_out / (n_train + n_held_out)
        n_days = min(max(round(share * len(days)), 1), len(days) - 1)  # neither side is ever empty
        return self._draw(days[n_days:], n_train, rng), self._draw(days[:n_days], n_held_out, rng)

    def vocabularies(self) -> tuple[Vocabulary, Vocabulary]:
        """Return the characters of all sources and of all targets, whatever was drawn."""
        examples = [day for days in _example_days().values() for day in days.values()]
        pairs = [self.pair(day, style) for day in examples for style in SOURCE_STYLES]
        return _characters(pair.source for pair in pairs), _characters(pair.target for pair in pairs)

    def _days(self) -> np.ndarray:
        """Return the ordinal of every day of the range."""
        return np.arange(
            date(self.first_year, 1, 1).toordinal(), date(self.last_year, 12, 31).toordinal() + 1
        )

    def _draw(self, days: np.ndarray, n_pairs: int, rng: np.random.Generator) -> list[Pair]:
        """Draw days among some, and a style for each."""
        ordinals = rng.choice(days, size=n_pairs).tolist()
        styles = rng.integers(len(SOURCE_STYLES), size=n_pairs).tolist()
        return [
            self.pair(date.fromordinal(ordinal), SOURCE_STYLES[style])
            for ordinal, style in zip(ordinals, styles, strict=True)
        ]


def _characters(texts: Iterable[tuple[str, ...]]) -> Vocabulary:
    """Return the vocabulary of some texts and of all digits."""
    return Vocabulary({character for text in texts for character in text} | set("0123456789"))
