"""Dates: the texts are Babel's own, the links join fields that mean the same, and no held-out day leaks."""

import re
from datetime import date

import numpy as np
import pytest
from babel.dates import format_date, format_skeleton
from hypothesis import given
from hypothesis import strategies as st

from attncourse.tasks.dates import SOURCE_STYLES, TARGETS, DateTask

DAYS = st.dates(date(1000, 1, 1), date(9999, 12, 31))
HAS_WEEKDAY = {"full", "yMMMEd"}


def texts(pair):
    return "".join(pair.source), "".join(pair.target)


def linked(pair, target_part, source_part):
    """Return the links between two parts of the texts, counted from the starts of the parts."""
    source, target = texts(pair)
    assert source.count(source_part) == target.count(target_part) == 1
    row, column = target.index(target_part), source.index(source_part)
    return {
        (r - row, c - column)
        for r, c in pair.links
        if 0 <= r - row < len(target_part) and 0 <= c - column < len(source_part)
    }


@pytest.mark.parity
@given(day=DAYS, style=st.sampled_from(SOURCE_STYLES), to=st.sampled_from(TARGETS))
def test_texts_are_those_of_babel(day, style, to):
    locale, form = style
    source, target = texts(DateTask(to).pair(day, style))
    if form == "yMMMEd":
        assert source == format_skeleton(form, day, locale=locale)
    else:
        assert source == format_date(day, form, locale)
    if to == "iso":
        assert target == day.isoformat()
    else:
        assert target == format_date(day, "full" if form in HAS_WEEKDAY else "long", to)


@pytest.mark.parametrize(
    ("to", "style", "source", "target"),
    [
        ("iso", ("en", "full"), "Tuesday, March 3, 2026", "2026-03-03"),
        ("iso", ("en", "medium"), "Mar 3, 2026", "2026-03-03"),
        ("iso", ("en_ZA", "long"), "03 March 2026", "2026-03-03"),
        ("fr", ("en", "full"), "Tuesday, March 3, 2026", "mardi 3 mars 2026"),
        ("fr", ("en_GB", "long"), "3 March 2026", "3 mars 2026"),
        ("de", ("en_IE", "full"), "Tuesday 3 March 2026", "Dienstag, 3. März 2026"),
        ("es", ("en_GB", "yMMMEd"), "Tue, 3 Mar 2026", "martes, 3 de marzo de 2026"),
    ],
)
def test_texts_by_hand(to, style, source, target):
    assert texts(DateTask(to).pair(date(2026, 3, 3), style)) == (source, target)


def test_links_to_iso_by_hand():
    pair = DateTask("iso").pair(date(2031, 3, 4), ("en", "medium"))
    assert texts(pair) == ("Mar 4, 2031", "2031-03-04")
    year = {(0, 7), (1, 8), (2, 9), (3, 10)}
    month = {(5, 0), (5, 1), (5, 2), (6, 0), (6, 1), (6, 2)}
    assert pair.links == year | month | {(9, 4)}  # the zero of "04", at place 8, has no counterpart


def test_links_of_two_digits_and_of_a_zero_on_both_sides():
    two = DateTask("iso").pair(date(2031, 3, 28), ("en", "medium"))
    assert linked(two, "28", "28") == {(0, 0), (1, 1)}
    padded = DateTask("iso").pair(date(2031, 3, 4), ("en_ZA", "long"))
    assert linked(padded, "04", "04") == {(0, 0), (1, 1)}
    to_plain = DateTask("de").pair(date(2031, 3, 4), ("en_ZA", "long"))
    assert texts(to_plain) == ("04 March 2031", "4. März 2031")
    assert linked(to_plain, "4", "04") == {(0, 1)}


def test_links_of_names_are_blocks():
    pair = DateTask("es").pair(date(2031, 3, 4), ("en_GB", "full"))
    assert texts(pair) == ("Tuesday, 4 March 2031", "martes, 4 de marzo de 2031")
    assert linked(pair, "martes", "Tuesday") == {(row, column) for row in range(6) for column in range(7)}
    assert linked(pair, "marzo", "March") == {(row, column) for row in range(5) for column in range(5)}
    assert linked(pair, "4", "4") == {(0, 0)}
    assert linked(pair, "2031", "2031") == {(place, place) for place in range(4)}
    assert len(pair.links) == 6 * 7 + 5 * 5 + 1 + 4
    assert not linked(pair, ", ", ", ")


@pytest.mark.properties
@given(day=DAYS, style=st.sampled_from(SOURCE_STYLES), to=st.sampled_from(TARGETS))
def test_links_join_what_means_the_same(day, style, to):
    pair = DateTask(to).pair(day, style)
    has_links = {row for row, _ in pair.links}
    for row, column in pair.links:
        written, read = pair.target[row], pair.source[column]
        assert read.isalnum()
        assert written == read if read.isdigit() else written.isalnum()
    for row, character in enumerate(pair.target):
        if not character.isalnum():
            assert row not in has_links
    # Digits: all are linked, but for the zero of "03" where the source says "3".
    unlinked = [
        row for row, character in enumerate(pair.target) if character.isdigit() and row not in has_links
    ]
    padded = to == "iso" and day.day < 10 and style[0] != "en_ZA"
    assert unlinked == ([8] if padded else [])
    # Letters: whole words, all but "de", are linked to whole words.
    for match in re.finditer(r"[^\W\d]+", "".join(pair.target)):
        columns = [{c for r, c in pair.links if r == row} for row in range(*match.span())]
        if match.group() == "de":
            assert columns == [set(), set()]
        else:
            assert all(column == columns[0] for column in columns)
            place = min(columns[0])
            word = re.compile(r"[^\W\d]+").match("".join(pair.source), place)
            assert columns[0] == set(range(*word.span()))


def test_every_day_and_every_style_is_drawn():
    pairs = DateTask("iso", 2023, 2024).sample_pairs(8000, np.random.default_rng(0))
    counts = {}
    for pair in pairs:
        counts[pair.target] = counts.get(pair.target, 0) + 1
    assert len(counts) == 365 + 366
    assert max(counts.values()) < 35  # the mean is 11, the deviation 3.3
    one_day = DateTask("iso", 2023, 2023)
    seen = {"".join(pair.source) for pair in pairs if "".join(pair.target) == "2023-09-05"}
    assert seen <= {"".join(one_day.pair(date(2023, 9, 5), style).source) for style in SOURCE_STYLES}


def test_styles_differ_and_name_the_month_in_letters():
    assert len({DateTask().pair(date(2026, 9, 3), style).source for style in SOURCE_STYLES}) >= 10
    for style in SOURCE_STYLES:
        assert "Sep" in texts(DateTask().pair(date(2026, 9, 3), style))[0]


@pytest.mark.properties
@given(to=st.sampled_from(TARGETS), seed=st.integers(0, 2**16), sizes=st.tuples(*[st.integers(1, 300)] * 2))
def test_sides_of_a_split_share_no_day(to, seed, sizes):
    task = DateTask(to, 2019, 2021)
    train, held_out = task.split_pairs(*sizes, np.random.default_rng(seed))
    assert (len(train), len(held_out)) == sizes
    # Without its weekday every target names one day.
    days = [
        {re.sub(r"^[^\W\d]+,? ", "", "".join(pair.target)) for pair in side} for side in (train, held_out)
    ]
    assert days[0].isdisjoint(days[1])
    assert {pair.source for pair in train}.isdisjoint({pair.source for pair in held_out})


def test_a_split_keeps_most_days_for_training():
    train, held_out = DateTask("iso", 2001, 2010).split_pairs(20_000, 2000, np.random.default_rng(0))
    assert len({pair.target for pair in held_out}) <= 3652 / 11 + 1
    assert len({pair.target for pair in train}) > 0.98 * 3652 * 10 / 11


def test_the_generator_alone_decides():
    task = DateTask("fr")
    draws = [task.sample_pairs(50, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    splits = [task.split_pairs(50, 7, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    for first, again, other in (draws, splits):
        assert first == again
        assert first != other


@pytest.mark.parametrize("to", TARGETS)
def test_the_vocabularies_are_closed_and_have_no_spare_characters(to):
    task = DateTask(to, 1950, 2049)
    source, target = task.vocabularies()
    pairs = task.sample_pairs(4000, np.random.default_rng(5))
    assert {character for pair in pairs for character in pair.source} == set(source.tokens[3:])
    assert {character for pair in pairs for character in pair.target} == set(target.tokens[3:])


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        (("it",), ValueError, "to must be one of 'iso', 'fr', 'de', 'es', got to='it'"),
        (("iso", 999), ValueError, "first_year must be at least 1000, got first_year=999"),
        (("iso", 2000, 10_000), ValueError, "last_year must be at most 9999, got last_year=10000"),
        (
            ("iso", 2001, 2000),
            ValueError,
            "last_year must be at least first_year, got last_year=2000, first_year=2001",
        ),
        (("iso", 2000.0), TypeError, "first_year must be an integer, got first_year=2000.0"),
        (("iso", 2000, "2001"), TypeError, "last_year must be an integer, got last_year='2001'"),
    ],
)
def test_bad_tasks_are_refused(arguments, error, text):
    with pytest.raises(error, match=f"^{text}$"):
        DateTask(*arguments)


def test_bad_draws_are_refused():
    task, rng = DateTask(), np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"^n_pairs must be at least 1, got n_pairs=0$"):
        task.sample_pairs(0, rng)
    with pytest.raises(TypeError, match=r"^n_train must be an integer, got n_train=1.5$"):
        task.split_pairs(1.5, 1, rng)
    with pytest.raises(ValueError, match=r"^n_held_out must be at least 1, got n_held_out=0$"):
        task.split_pairs(1, 0, rng)
    with pytest.raises(
        ValueError, match=r"^style must be one of SOURCE_STYLES, got style=\('en', 'short'\)$"
    ):
        task.pair(date(2000, 1, 1), ("en", "short"))


def test_tasks_do_not_change_and_compare_by_value():
    assert DateTask("fr") == DateTask("fr", 1950, 2049)
    with pytest.raises(AttributeError):
        DateTask("fr").to = "de"
