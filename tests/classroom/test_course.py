"""The course folder lies outside the repository, and what was assigned is stored and found again."""

import json
import os
import re
import sys
import warnings
from hashlib import sha256
from pathlib import Path

import pytest

from attncourse.classroom import course as module
from attncourse.classroom.bank import ROOT, STUB
from attncourse.classroom.course import (
    CONFIG,
    Assigned,
    Assignment,
    assignment_path,
    check_name,
    database,
    nbgrader_ready,
    open_course,
    read_assignment,
    read_config,
    write_assignment,
    write_config,
)
from attncourse.classroom.problem import CourseProblem

pytestmark = pytest.mark.exercises
ASSIGNED = Assigned("multihead.split-heads", "multihead-split-heads", 4, "implement")
ESSAY = Assigned("a.b", "a-b", 6, "essay")
HW1 = Assignment("HW1", (ASSIGNED, ESSAY), 3, False, ("ann", "bob"), 77)


def test_an_assignment_is_read_as_it_was_written(tmp_path):
    write_assignment(tmp_path, HW1)
    assert read_assignment(tmp_path, "HW1") == HW1
    assert HW1.exercises[0].has_checker
    assert not HW1.exercises[1].has_checker


def test_a_missing_assignment_is_said_with_those_that_are_there(tmp_path):
    with pytest.raises(CourseProblem, match=rf"^there is no assignment 'HW1' in {tmp_path}\. Make one with"):
        read_assignment(tmp_path, "HW1")
    for name in ("HW2", "HW3"):
        write_assignment(tmp_path, Assignment(name, (), 0, False, (), 0))
    with pytest.raises(CourseProblem, match=r"; assigned so far: HW2, HW3\. Make one with `attncourse"):
        read_assignment(tmp_path, "HW1")


@pytest.mark.parametrize(
    "change",
    [lambda text: "", lambda text: text[:-20], lambda text: "[]", lambda text: "{}",
     lambda text: text.replace('"draw"', '"drawn"'), lambda text: text.replace('"kind"', '"kin"'),
     lambda text: json.dumps(json.loads(text) | {"students": 3})],
)  # fmt: skip
def test_a_damaged_assignment_is_said(change, tmp_path):
    write_assignment(tmp_path, HW1)
    path = assignment_path(tmp_path, "HW1")
    path.write_text(change(path.read_text()))
    with pytest.raises(CourseProblem, match=rf"^{path} is damaged \(.*\): restore it from a copy$"):
        read_assignment(tmp_path, "HW1")


@pytest.mark.parametrize("name", ["HW1", "a", "2026-w3_b.2", "x" * 61])
def test_names(name):
    check_name(name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "a\\b", "-x", ".x", "a b", "é", "x" * 62, "a\n"]
)
def test_what_is_no_name_is_refused(name, tmp_path):
    text = f"must be letters, digits, dots, hyphens and underscores, got {re.escape(repr(name))}"
    with pytest.raises(CourseProblem, match=text):
        check_name(name)
    with pytest.raises(CourseProblem, match=text):
        read_assignment(tmp_path, name)


def test_seeds_of_students():
    assert HW1.seed_of("ann") == HW1.seed_of("bob") == 3
    each = Assignment("HW1", (), 3, True, (), 0)
    late = Assignment("HW1", (), 3, True, ("zoe",), 9)
    seeds = {f"s{number}": each.seed_of(f"s{number}") for number in range(200)}
    assert all(late.seed_of(student) == seed for student, seed in seeds.items())
    assert all(0 <= seed < 1000 for seed in seeds.values())
    assert len(set(seeds.values())) > 150
    assert (each.seed_of("ann"), each.seed_of("bob")) == (seed_again("ann"), seed_again("bob"))
    others = (Assignment("HW2", (), 3, True, (), 0), Assignment("HW1", (), 4, True, (), 0))
    for other in others:
        assert {student: other.seed_of(student) for student in seeds} != seeds


def seed_again(student):
    """The rule as the book states it: stored versions of students must stay theirs."""
    return int.from_bytes(sha256(f"HW1/3/{student}".encode()).digest()[:4], "big") % 1000


def test_a_course_is_an_absolute_folder_that_may_not_be_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert open_course(Path("new")) == tmp_path.resolve() / "new"
    assert not (tmp_path / "new").exists()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_course(Path("~/course")) == tmp_path.resolve() / "course"


@pytest.mark.parametrize("inside", [".", "book", "course/new"])
def test_a_course_in_the_repository_is_refused(inside, tmp_path):
    text = "a course holds students' work and must lie outside the book's repository, got .*; make a folder"
    with pytest.raises(CourseProblem, match=text):
        open_course(ROOT / inside)
    (tmp_path / "link").symlink_to(ROOT)
    with pytest.raises(CourseProblem, match=text):
        open_course(tmp_path / "link" / inside)


def test_a_file_is_no_course(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CourseProblem, match=f"^a course is a folder, and {tmp_path / 'file'} is a file$"):
        open_course(tmp_path / "file")


def test_without_the_books_files_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FOLDER", tmp_path / "nothing")
    text = "^the exercises' files are not at .*nothing: run this from a clone of the book's repository, where"
    with pytest.raises(CourseProblem, match=text):
        open_course(tmp_path)


def test_the_configuration_is_written_once_and_read(tmp_path):
    write_config(tmp_path)
    config = read_config(tmp_path)
    assert config.CourseDirectory.root == str(tmp_path)
    assert config.CourseDirectory.course_id == "attention"
    assert config.ClearSolutions.code_stub == {"python": STUB}
    assert config.Autograde.sanitize_preprocessors == ["attncourse.classroom.plugins.Refuse"]
    assert config.HTMLExporter.sanitize_html is True
    (tmp_path / CONFIG).write_text("c = get_config()\nc.CourseDirectory.course_id = 'mine'\n")
    write_config(tmp_path)
    assert read_config(tmp_path).CourseDirectory.course_id == "mine"


def test_nbgrader_finds_its_programs_and_is_quiet(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with nbgrader_ready():
        assert os.environ["PATH"] == f"{Path(sys.executable).parent}{os.pathsep}/nowhere"
        warnings.warn("about nbgrader itself", stacklevel=1)
    assert os.environ["PATH"] == "/nowhere"
    with pytest.raises(KeyError), nbgrader_ready():
        raise KeyError
    assert os.environ["PATH"] == "/nowhere"


def test_the_gradebook_lies_in_the_course(tmp_path):
    assert database(tmp_path) == f"sqlite:///{tmp_path}/gradebook.db?timeout=60"
