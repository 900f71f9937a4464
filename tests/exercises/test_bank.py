"""Every exercise of the bank proves its checker: right passes, wrong fails, mistakes are named."""

import re
from collections import Counter

import pytest
from exercise_pages import chapter_file, generated
from exercise_proof import all_problems

from attncourse.classroom.bank import KINDS, exercise_paths, read_exercise
from attncourse.exercises import exercise_ids
from attncourse.exercises._catalogue import exercise, load
from attncourse.exercises._exercise import Family
from tests.support.book import chapters, none_of, read_page

pytestmark = pytest.mark.exercises
FILES = exercise_paths()
HEADING = re.compile(r"^#{2,4} (.+)$", re.MULTILINE)


@pytest.fixture(autouse=True)
def _one_thread(one_thread):
    """References run in this process: several threads would wait for each other."""


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_checker_proves_itself(path):
    none_of(all_problems(path))


def test_files_and_checkers_belong_together():
    files = {one.id for one in map(read_exercise, FILES) if one.has_checker}
    assert files == set(exercise_ids())


def test_the_bank_is_as_large_as_the_book_promises():
    bank = [read_exercise(path) for path in FILES]
    assert len(bank) >= 60
    assert sum(len(exercise(one.id).mistakes) for one in bank if one.has_checker) >= 250
    assert sum(one.is_family for one in bank) >= 15
    per_chapter = Counter(one.meta["chapter"] for one in bank)
    assert set(per_chapter) == set(range(1, len(chapters()) + 1))
    assert min(per_chapter.values()) >= 3
    assert {one.meta["kind"] for one in bank} == set(KINDS)
    assert {one.meta["level"] for one in bank} == {1, 2, 3}


def test_every_place_to_read_on_is_there():
    problems = []
    for exercise_id in exercise_ids():
        task = exercise(exercise_id)
        for chapter, heading in {task.see, *(one.see for one in task.mistakes if one.see)}:
            texts = [text for _, text in read_page(chapter_file(chapter)).markdown]
            if heading not in {found for text in texts for found in HEADING.findall(text)}:
                problems.append(f"{exercise_id}: chapter {chapter} has no heading {heading!r}")
    none_of(problems)


def test_a_seed_beyond_the_last_version_starts_again():
    for exercise_id in exercise_ids():
        found = load(exercise_id)
        if isinstance(found, Family):
            assert found.version(len(found.versions)) is found.version(0)


def test_the_lists_of_exercises_are_as_the_tool_writes_them():
    none_of(
        [
            f"{path.name}: run tools/exercise_pages.py write"
            for path, text in generated().items()
            if path.read_text(encoding="utf-8") != text
        ]
    )
