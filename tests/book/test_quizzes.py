"""Every chapter has a quiz; each question has one right option, and each option says why."""

import re

import pytest

from tests.support.book import chapters, name_of, none_of, read_page
from tests.support.sample import sample

pytestmark = pytest.mark.book
QUESTION = re.compile(
    r"^::::\{admonition\} (\d+)\. ([^\n]+)\n:class: quiz\n(.*?)^::::$", re.MULTILINE | re.DOTALL
)
OPTION = re.compile(r"^:::\{dropdown\} ([^\n]+)\n(.*?)^:::$", re.MULTILINE | re.DOTALL)
VERDICT = re.compile(r"\*\*(Yes|No)\.\*\* ")
MIN_QUESTIONS, MIN_OPTIONS, MIN_WORDS = 5, 3, 4


def quiz_problems(page):
    """Return what is wrong with the quiz of a chapter."""
    cells = {cell["id"]: cell["source"] for cell in page.cells}
    if "check-yourself" not in cells:
        return [f"{page.name}: no cell check-yourself"]
    questions = QUESTION.findall(cells["check-yourself"])
    found = []
    if len(questions) < MIN_QUESTIONS or len(questions) != cells["check-yourself"].count(":class: quiz"):
        found.append(f"{page.name}: {len(questions)} questions that can be read, at least {MIN_QUESTIONS}")
    if [int(number) for number, *_ in questions] != list(range(1, len(questions) + 1)):
        found.append(f"{page.name}: the questions are not numbered in order")
    places = set()
    for number, _, body in questions:
        options = OPTION.findall(body)
        verdicts = [VERDICT.match(text) for _, text in options]
        right = [i for i, verdict in enumerate(verdicts) if verdict and verdict[1] == "Yes"]
        places |= set(right)
        where = f"{page.name}: question {number}"
        if len(options) < MIN_OPTIONS:
            found.append(f"{where} has {len(options)} options, at least {MIN_OPTIONS}")
        if len(right) != 1:
            found.append(f"{where} has {len(right)} right options")
        found += [
            f"{where}, {option!r}: begin with **Yes.** or **No.**, and say why"
            for (option, text), verdict in zip(options, verdicts, strict=True)
            if not verdict or len(text.split()) <= MIN_WORDS
        ]
    if len(places) < 2:
        found.append(f"{page.name}: the right option always stands at the same place")
    return found


@pytest.mark.parametrize("path", chapters(), ids=name_of)
def test_the_quiz_of_a_chapter_is_sound(path):
    none_of(quiz_problems(read_page(path)))


def quiz(*changes):
    """Return a page with a sound quiz, changed."""
    wrong, right = (
        f":::{{dropdown}} {word}\n**{word}.** It is so because of this and that.\n:::"
        for word in ("No", "Yes")
    )
    parts = []
    for number in range(1, 6):
        options = [wrong, right, wrong] if number % 2 else [right, wrong, wrong]
        body = "\n".join(options)
        parts.append(f"::::{{admonition}} {number}. Why?\n:class: quiz\n\n{body}\n::::")
    text = "%% md check-yourself\n## Check yourself\n\n" + "\n\n".join(parts) + "\n\n"
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    return ("%% md limits", f"{text}%% md limits")


def test_a_sound_quiz_passes(tmp_path):
    assert quiz_problems(sample(tmp_path, quiz())) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("**Yes.**", "**No.**", "question 1 has 0 right options"),
        ("**No.**", "**Yes.**", "question 1 has 2 right options"),
        ("**No.** It", "It", "begin with **Yes.** or **No.**"),
        ("It is so because of this and that.", "No.", "and say why"),
        ("} 2. Why", "} 4. Why", "not numbered in order"),
        ("} 2. Why", "} Why", "4 questions that can be read"),
    ],
)
def test_a_fault_in_a_quiz_is_found(tmp_path, old, new, problem):
    found = quiz_problems(sample(tmp_path, quiz((old, new))))
    assert any(problem in one for one in found), found


def test_a_chapter_without_a_quiz_is_found(tmp_path):
    assert quiz_problems(sample(tmp_path)) == ["04-sample.ipynb: no cell check-yourself"]
