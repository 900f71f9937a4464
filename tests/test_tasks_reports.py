"""Reports say what their summaries say, rare words have numbers and a split, gold marks every occurrence."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attncourse.tasks.pairs import END, PADDING
from attncourse.tasks.reports import (
    KNOWN_NAME,
    KNOWN_NAMES,
    ORDINARY,
    RARE_NAME,
    REPORT_KINDS,
    UNKNOWN_WORD,
    Report,
    ReportTask,
    is_held_out,
)

N = 400


@pytest.fixture(scope="module")
def task():
    return ReportTask()


@pytest.fixture(scope="module")
def reports(task):
    return task.draw(N, np.random.default_rng(0))


@pytest.fixture(scope="module")
def batch(task, reports):
    return task.encode(reports)


def sentences(report):
    """Return the sentences of a report, and whether each is a filler."""
    words, found = [], []
    for word, is_filler in zip(report.pair.source, report.filler, strict=True):
        words.append(word)
        if word == ".":
            found.append((" ".join(words), is_filler))
            words = []
    assert not words
    return found


# What every way of telling a fact says, read by hand-written patterns rather than by the task's templates.
NAME, NUMBER = r"([A-Z]\w+)", r"(\d+)"
PATTERNS = {
    "match": [
        (rf"{NAME} beat {NAME} {NUMBER} to {NUMBER} \.", "wlst"),
        (rf"{NAME} lost to {NAME} {NUMBER} to {NUMBER} \.", "lwts"),
        (rf"{NAME} won {NUMBER} to {NUMBER} against {NAME} \.", "wstl"),
        (rf"{NAME} went down {NUMBER} to {NUMBER} against {NAME} \.", "ltsw"),
        (rf"{NAME} scored the first goal \.", "p"),
        (rf"the first goal came from {NAME} \.", "p"),
        (rf"first {NAME} found the net \.", "p"),
    ],
    "storm": [
        (rf"storm {NAME} reached {NAME} at night \.", "ab"),
        (rf"{NAME} was hit by storm {NAME} \.", "ba"),
        (rf"in {NAME} storm {NAME} arrived early \.", "ba"),
        (rf"{NUMBER} houses had no power \.", "n"),
        (rf"power failed in {NUMBER} houses \.", "n"),
        (rf"no light burned in {NUMBER} houses \.", "n"),
    ],
    "fire": [
        (rf"a fire broke out in {NAME} \.", "b"),
        (rf"{NAME} saw a fire in a factory \.", "b"),
        (rf"in {NAME} a hall caught fire \.", "b"),
        (rf"{NAME} led {NUMBER} people to safety \.", "pn"),
        (rf"{NUMBER} people owe their lives to {NAME} \.", "np"),
        (rf"{NAME} , a nurse , got {NUMBER} people out \.", "pn"),
    ],
}
SUMMARIES = {
    "match": ("{w} beat {l} {s} to {t} .", "{p} scored first .", "p"),
    "storm": ("storm {a} hit {b} .", "{n} houses lost power .", "n"),
    "fire": ("a fire hit {b} .", "{p} saved {n} people .", "n"),
}


class TestReports:
    def test_the_summary_says_what_the_facts_say(self, reports):
        assert {report.kind for report in reports} == set(REPORT_KINDS)
        for report in reports:
            facts = {}
            for text, is_filler in sentences(report):
                for pattern, slots in PATTERNS[report.kind]:
                    match = re.fullmatch(pattern, text)
                    if match:
                        assert not is_filler
                        facts |= zip(slots, match.groups(), strict=True)
            first, second, slot = SUMMARIES[report.kind]
            expected = f"{first} {second}" if slot in facts else first
            assert " ".join(report.pair.target) == expected.format(**facts)
            if report.kind == "match":
                assert int(facts["s"]) > int(facts["t"])

    def test_one_or_two_sentences_out_of_four_to_seven(self, reports):
        assert {len(sentences(report)) for report in reports} == {4, 5, 6, 7}
        assert {report.pair.target.count(".") for report in reports} == {1, 2}
        short = np.mean([report.pair.target.count(".") == 1 for report in reports])
        assert abs(short - 0.5) < 3 * 0.5 / N**0.5

    def test_facts_stand_anywhere(self, reports):
        first = np.mean([sentences(report)[0][1] for report in reports])
        last = np.mean([sentences(report)[-1][1] for report in reports])
        assert 0.4 < first < 0.9
        assert 0.4 < last < 0.9

    def test_other_names_stand_in_the_sentences_left_out(self, reports):
        others = [
            {
                word
                for word, out in zip(report.pair.source, report.filler, strict=True)
                if out and word[0].isupper()
            }
            - set(report.pair.target)
            for report in reports
        ]
        assert np.mean([bool(names) for names in others]) > 0.6

    def test_names_are_different_words(self, reports):
        for report in reports:
            names = [word for word in report.pair.target if word[0].isupper() or word.isdigit()]
            assert len(names) == len(set(names))

    def test_links_mark_every_occurrence_of_every_name(self, reports):
        several = 0
        for report in reports:
            source, target = report.pair.source, report.pair.target
            assert report.pair.links == {
                (row, column)
                for row, word in enumerate(target)
                if word[0].isupper() or word.isdigit()
                for column, other in enumerate(source)
                if other == word
            }
            rows = {row for row, _ in report.pair.links}
            several += len(report.pair.links) > len(rows)
        assert several > 0.2 * N

    def test_a_seed_makes_the_same_reports(self, task, reports):
        assert task.draw(N, np.random.default_rng(0)) == reports
        assert task.draw(N, np.random.default_rng(1)) != reports

    def test_new_ways_tell_the_same_facts_in_known_words(self, task):
        known, number = set(task.vocabulary.tokens), 0
        for report in task.draw(N, np.random.default_rng(0), new_ways=True):
            facts = [text for text, is_filler in sentences(report) if not is_filler]
            for text in facts:
                assert not any(re.fullmatch(pattern, text) for pattern, _ in PATTERNS[report.kind])
                assert all(word in known or word[0].isupper() or word.isdigit() for word in text.split())
            told = {word for text in facts for word in text.split()}
            assert {word for word in report.pair.target if word[0].isupper() or word.isdigit()} <= told
            number += len(facts)
        assert number > N


class TestTheSplit:
    def test_no_rare_word_stands_on_both_sides(self, task, batch):
        held_out = task.encode(task.draw(N, np.random.default_rng(1), held_out=True))
        trained = {word for words in batch.rare_words for word in words}
        kept = {word for words in held_out.rare_words for word in words}
        assert trained
        assert kept
        assert not trained & kept
        assert all(map(is_held_out, kept))
        assert not any(map(is_held_out, trained))
        assert not (trained | kept) & set(task.vocabulary.tokens)

    def test_hand_values_of_the_split(self):
        assert ord("B") + ord("a") == 163
        assert not is_held_out("Ba")
        assert is_held_out("B" + "a" * 2 + "b" * 0 + chr(120))  # 66 + 97 + 97 + 120 = 380 = 4 · 95
        assert is_held_out("13")  # 49 + 51 = 100
        assert not is_held_out("14")

    @given(share=st.sampled_from([0.0, 0.3, 1.0]), seed=st.integers(0, 20))
    def test_share_of_rare_names(self, share, seed):
        task = ReportTask(rare_share=share)
        classes = task.encode(task.draw(60, np.random.default_rng(seed))).classes
        goals_aside = classes[(classes == RARE_NAME) | (classes == KNOWN_NAME)]
        rare = np.mean(goals_aside == RARE_NAME)
        if share == 0:
            assert rare == 0
        elif share == 1:
            assert 0.6 < rare < 1  # goals are always known
        else:
            assert 0.1 < rare < 0.45

    def test_sixty_known_names(self, task):
        assert len(set(KNOWN_NAMES)) == 60
        assert set(KNOWN_NAMES) < set(task.vocabulary.tokens)
        assert UNKNOWN_WORD in task.vocabulary.tokens
        assert task.vocabulary.tokens[task.unknown] == UNKNOWN_WORD


class TestBatch:
    def test_spelling_gives_the_words_back(self, task, reports, batch):
        for row, report in enumerate(reports):
            rare = batch.rare_words[row]
            assert task.spell(batch.target[row], rare) == report.pair.target
            assert task.spell(batch.source[row, : batch.lengths[row]], rare) == report.pair.source

    def test_rare_words_are_numbered_in_order(self, task, reports, batch):
        known = set(task.vocabulary.tokens)
        for row, report in enumerate(reports):
            seen = []
            for place, word in enumerate(report.pair.source):
                if word not in known and word not in seen:
                    assert batch.source[row, place] == len(known) + len(seen)
                    seen.append(word)
            assert batch.rare_words[row] == tuple(seen)

    def test_classes(self, reports, batch):
        known = ReportTask().vocabulary.tokens
        for row, report in enumerate(reports):
            for place, word in enumerate(report.pair.target):
                name = word[0].isupper() or word.isdigit()
                expected = (KNOWN_NAME if word in known else RARE_NAME) if name else ORDINARY
                assert batch.classes[row, place] == expected
            assert (batch.classes[row, len(report.pair.target) :] == ORDINARY).all()
            assert batch.target[row, len(report.pair.target)] == END
            assert (batch.filler[row, : batch.lengths[row]] == report.filler).all()
            assert not batch.filler[row, batch.lengths[row] :].any()

    def test_gold(self, reports, batch):
        for row, report in enumerate(reports):
            assert set(zip(*np.nonzero(batch.gold[row]), strict=True)) == set(report.pair.links)

    def test_take_and_sample(self, task, batch):
        rows = np.array([5, 2, 5])
        part = batch.take(rows)
        assert part.source.shape == part.filler.shape == (3, batch.lengths[rows].max())
        assert part.target.shape == part.classes.shape == (3, batch.target_lengths[rows].max())
        assert part.rare_words == tuple(batch.rare_words[row] for row in rows)
        for row, old in enumerate(rows):
            assert task.spell(part.target[row], part.rare_words[row]) == task.spell(
                batch.target[old], batch.rare_words[old]
            )
            assert part.filler[row].sum() == batch.filler[old].sum()
            assert (part.classes[row] > 0).sum() == (batch.classes[old] > 0).sum()
        part.source[:] = PADDING
        part.filler[:] = False
        assert batch.source[5].any()
        assert batch.filler.any()
        sample = batch.sample(7, np.random.default_rng(0))
        assert len(sample.rare_words) == len(sample) == 7
        with pytest.raises(ValueError, match=r"^rows must not be empty, got rows.shape=\(0,\)$"):
            batch.take(np.array([], dtype=int))

    def test_a_lone_report(self, task):
        lone = Report(task.draw(1, np.random.default_rng(3))[0].pair, "fire", ())
        assert len(task.encode([lone])) == 1


class TestBadArguments:
    @pytest.mark.parametrize(
        ("options", "error", "text"),
        [
            ({"rare_share": 1.5}, ValueError, "rare_share must be at most 1, got rare_share=1.5"),
            ({"rare_share": -0.1}, ValueError, "rare_share must be at least 0, got rare_share=-0.1"),
            ({"rare_share": "a"}, TypeError, "rare_share must be a number, got rare_share='a'"),
            ({"min_sentences": 3}, ValueError, "min_sentences must be at least 4, got min_sentences=3"),
            (
                {"min_sentences": 9},
                ValueError,
                "max_sentences must be at least min_sentences=9, got max_sentences=7",
            ),
            ({"max_sentences": 16}, ValueError, "max_sentences must be at most 15, got max_sentences=16"),
            ({"max_sentences": 4.0}, TypeError, "max_sentences must be an integer, got max_sentences=4.0"),
        ],
    )
    def test_task(self, options, error, text):
        with pytest.raises(error, match=f"^{re.escape(text)}$"):
            ReportTask(**options)

    def test_draw(self, task):
        with pytest.raises(ValueError, match=r"^n_reports must be at least 1, got n_reports=0$"):
            task.draw(0, np.random.default_rng(0))

    def test_encode(self, task):
        with pytest.raises(ValueError, match=r"^pairs must not be empty, got pairs=\[\]$"):
            task.encode([])

    def test_spell(self, task):
        n_known = len(task.vocabulary)
        with pytest.raises(
            ValueError,
            match=rf"^numbers must lie below {n_known} \+ 1 rare words, got numbers with {n_known + 1}$",
        ):
            task.spell([n_known, n_known + 1], ("Bibibi",))
