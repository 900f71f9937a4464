"""What is assigned is what nbgrader releases, stays the same at a second call, and can be solved."""

import contextlib
import json
import os
import sqlite3
import warnings
import zipfile
from hashlib import sha256

import nbformat
import nbgrader.api
import pytest

from attncourse.classroom import assigning
from attncourse.classroom.assigning import assign, find_exercises, handed_out, solution_of
from attncourse.classroom.bank import STUB, BadExercise, execute, exercise_paths, read_exercise
from attncourse.classroom.course import assignment_path, nbgrader_ready, read_assignment, write_config
from attncourse.classroom.problem import CourseProblem
from attncourse.classroom.roster import Student
from attncourse.exercises import check

pytestmark = pytest.mark.exercises
HEADS, FAMILY, LETTER = "multihead.split-heads", "scaled.weigh-by-rule", "focus.letter-to-a-psychologist"
IDS = [HEADS, FAMILY, LETTER]
SLUGS = [one.replace(".", "-", 1) for one in IDS]
CLASS = [Student(name) for name in ("bob", "ann", "cyd")]


def hashes(course):
    """Return what lies in a course: files by their hash, the gradebook by its rows."""
    found = {}
    for path in course.rglob("*"):
        if path.name == "gradebook.db":
            with contextlib.closing(sqlite3.connect(path)) as book:
                found[path.name] = "\n".join(sorted(book.iterdump()))
        elif path.is_file():
            found[str(path.relative_to(course))] = sha256(path.read_bytes()).hexdigest()
    return found


def cells(notebook):
    return [(cell.cell_type, cell.source, dict(cell.metadata)) for cell in notebook.cells]


def stored(path):
    return nbformat.read(path, as_version=4)


@pytest.fixture(autouse=True, scope="module")
def quick_gradebook():
    """Ask for the version of nbgrader's tables once: it is a process of two seconds."""
    with pytest.MonkeyPatch.context() as patch, nbgrader_ready():
        version = nbgrader.api.get_alembic_version()
        patch.setattr(nbgrader.api, "get_alembic_version", lambda: version)
        yield


@pytest.fixture(scope="module")
def one_version(tmp_path_factory):
    """A course with an assignment that is the same for all; tests do not change it."""
    course = tmp_path_factory.mktemp("course")
    return course, assign(course, "HW1", IDS, seed=2)


@pytest.fixture(scope="module")
def each_their_own(tmp_path_factory):
    """A course where every student has a version; assigned to three, and then to a fourth."""
    course = tmp_path_factory.mktemp("course")
    first = assign(course, "HW1", IDS, students=CLASS, per_student=True)
    before = hashes(course)
    zoe = Student("0-zoe")  # sorted before the others
    second = assign(course, "HW1", IDS, students=[*CLASS, zoe], per_student=True)
    return course, first, before, second


# --- what is asked for -----------------------------------------------------------------------------------


def test_exercises_are_found_in_their_order():
    assert [one.id for one in find_exercises([FAMILY, HEADS])] == [FAMILY, HEADS]


@pytest.mark.parametrize(
    ("ids", "text"),
    [
        ([], r"^name at least one exercise, such as multihead\.split-heads$"),
        ([HEADS, FAMILY, HEADS], r"^the exercise multihead\.split-heads is named twice$"),
        (
            ["multihead.split-head"],
            r"^there is no exercise 'multihead\.split-head' in the book; did you mean m",
        ),
        (
            ["multihead-split-heads"],
            r"did you mean multihead\.split-heads\? \(the list is the book's",
        ),
        (
            [HEADS, "zzz"],
            r"^there is no exercise 'zzz' in the book \(the list .*; ids look like multihead",
        ),
        (["../secret"], r"^there is no exercise '\.\./secret' in the book"),
    ],
)
def test_what_is_no_exercise_is_said(ids, text, tmp_path):
    with pytest.raises(CourseProblem, match=text):
        find_exercises(ids)
    with pytest.raises(CourseProblem, match=text):
        assign(tmp_path, "HW1", ids)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("../x", {}, "an assignment's name must be letters"),
        ("HW1", {"seed": -1}, "--seed must be at least 0, got -1"),
        ("HW1", {"per_student": True}, "--per-student needs a roster with at least one student"),
    ],
)
def test_what_cannot_be_assigned_is_said_and_nothing_is_written(name, options, text, tmp_path):
    with pytest.raises(CourseProblem, match=text):
        assign(tmp_path, name, [HEADS], **options)
    assert list(tmp_path.iterdir()) == []


def test_a_source_that_is_not_ours_is_not_touched(tmp_path):
    (tmp_path / "source" / "HW1").mkdir(parents=True)
    text = rf"^{tmp_path}/source/HW1 exists and was not made by `attncourse assign`: choose another name$"
    with pytest.raises(CourseProblem, match=text):
        assign(tmp_path, "HW1", [HEADS])
    assert list((tmp_path / "source" / "HW1").iterdir()) == []


def test_a_refusal_of_nbgraders_is_said(tmp_path, monkeypatch):
    def refuse(self):
        raise ValueError("no disk")

    monkeypatch.setattr(assigning.GenerateAssignment, "start", refuse)
    with pytest.raises(CourseProblem, match=r"^nbgrader could not make HW1: no disk"):
        assign(tmp_path, "HW1", [LETTER])


# --- what is released --------------------------------------------------------------------------------------


@pytest.mark.parametrize("slug", SLUGS)
def test_nbgrader_releases_what_the_frame_holds(slug, one_version):
    """Source by source, and in all that nbgrader says of a cell: grading puts answers into `handed_out`."""
    course, _ = one_version
    released = stored(course / "release" / "HW1" / f"{slug}.ipynb")
    assert cells(released) == cells(handed_out(slug, 2))
    assert released.metadata.kernelspec == handed_out(slug, 2).metadata.kernelspec


@pytest.mark.parametrize("slug", SLUGS)
def test_no_solution_is_released(slug, one_version):
    course, _ = one_version
    source = stored(course / "source" / "HW1" / f"{slug}.ipynb")
    released = (course / "release" / "HW1" / f"{slug}.ipynb").read_text(encoding="utf-8")
    assert "BEGIN SOLUTION" not in released
    for cell in source.cells:
        if "### BEGIN SOLUTION" in cell.source:
            for line in cell.source.partition("BEGIN SOLUTION\n")[2].partition("    ### END")[0].splitlines():
                assert json.dumps(line)[1:-1] not in released


def test_what_was_assigned_is_stored(one_version):
    course, made = one_version
    assert read_assignment(course, "HW1") == made
    assert [one.id for one in made.exercises] == IDS
    assert [one.slug for one in made.exercises] == SLUGS
    for one in made.exercises:
        meta = read_exercise(assigning.FOLDER / f"{one.slug}.md").meta
        assert (one.points, one.kind) == (meta["points"], meta["kind"])
    assert (made.seed, made.per_student, made.students) == (2, False, ())
    assert 2 <= made.draw < 2 + assigning.MAX_DRAW  # readers check with draw 0, so it must be another
    assert not (course / "handout").exists()


def test_the_same_call_again_changes_nothing(one_version):
    course, made = one_version
    before = hashes(course)
    assert assign(course, "HW1", IDS, seed=2) == made
    assert hashes(course) == before


def test_other_exercises_under_the_same_name_are_refused(one_version):
    course, _ = one_version
    before = hashes(course)
    text = "^HW1 was assigned before, with other exercises or another seed, and may be in students' hands"
    for ids, options in [
        (IDS[:2], {"seed": 2}), (IDS[::-1], {"seed": 2}), (IDS, {"seed": 3}),
        ([*IDS, "qkv.ring"], {"seed": 2}), (IDS, {"seed": 2, "students": CLASS, "per_student": True}),
    ]:  # fmt: skip
        with pytest.raises(CourseProblem, match=text):
            assign(course, "HW1", ids, **options)
    assert hashes(course) == before


# --- versions of students ----------------------------------------------------------------------------------


def test_every_student_gets_their_version(each_their_own):
    course, made, _, _ = each_their_own
    assert made.students == ("ann", "bob", "cyd")
    for student in made.students:
        for slug in SLUGS:
            found = stored(course / "handout" / "HW1" / student / f"{slug}.ipynb")
            assert cells(found) == cells(handed_out(slug, made.seed_of(student)))
        family = stored(course / "handout" / "HW1" / student / f"{SLUGS[1]}.ipynb")
        assert f"seed={made.seed_of(student)})" in str(family)


def test_archives_hold_what_the_folders_hold(each_their_own):
    course, made, _, _ = each_their_own
    for student in made.students:
        folder = course / "handout" / "HW1" / student
        with zipfile.ZipFile(folder.with_suffix(".zip")) as archive:
            assert archive.namelist() == [f"HW1/{slug}.ipynb" for slug in SLUGS]
            assert {entry.external_attr >> 16 for entry in archive.infolist()} == {0o644}
            for slug in SLUGS:
                assert archive.read(f"HW1/{slug}.ipynb") == (folder / f"{slug}.ipynb").read_bytes()


def test_a_late_student_changes_nobody(each_their_own):
    course, first, before, second = each_their_own
    assert second.students == ("0-zoe", *first.students)
    assert second.draw == first.draw
    assert all(second.seed_of(student) == first.seed_of(student) for student in first.students)
    after = hashes(course)
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {os.path.join("assignments", "HW1.json")}
    new = {name.removeprefix("handout/HW1/").partition("/")[0] for name in after.keys() - before.keys()}
    assert new == {"0-zoe", "0-zoe.zip"}


def test_the_same_call_again_changes_nothing_for_students(each_their_own):
    course, first, _, _ = each_their_own
    before, people = hashes(course), [Student("0-zoe"), *CLASS]
    assert assign(course, "HW1", IDS, students=people, per_student=True).draw == first.draw
    assert hashes(course) == before


def test_students_who_are_gone_are_not_forgotten(each_their_own):
    course, *_ = each_their_own
    text = "^HW1 was assigned to students who are not on this roster: 0-zoe, ann$"
    with pytest.raises(CourseProblem, match=text):
        assign(course, "HW1", IDS, students=CLASS[::2], per_student=True)


@pytest.mark.parametrize("slug", [path.stem for path in exercise_paths() if "<<" in path.read_text("utf-8")])
def test_versions_ask_different_questions(slug):
    exercise = read_exercise(assigning.FOLDER / f"{slug}.md")
    texts = {
        "\n".join(cell.source for cell in handed_out(slug, seed).cells).replace(f"seed={seed}", "seed=")
        for seed in range(exercise.n_versions)
    }
    assert len(texts) == exercise.n_versions


def test_solutions_of_versions_differ_and_are_right_for_theirs_alone():
    n_versions = read_exercise(assigning.FOLDER / f"{SLUGS[1]}.md").n_versions
    solutions = [solution_of(SLUGS[1], seed) for seed in range(n_versions)]
    assert len(set(solutions)) == n_versions > 2
    for seed in range(n_versions):
        names = {}
        execute("import torch\n" + solutions[seed], names, "<test>")
        shares = [check(FAMILY, names["weigh"], seed=other).points(1) for other in range(n_versions)]
        assert [share == 1.0 for share in shares] == [other == seed for other in range(n_versions)]


def test_solutions_hold_no_marks():
    for slug in SLUGS[:2]:
        solution = solution_of(slug, 1)
        assert "SOLUTION" not in solution
        assert STUB not in solution


# --- inputs that students are graded on --------------------------------------------------------------------


def test_the_draw_is_proved_on_every_version(tmp_path, monkeypatch):
    tried, proved = [], []

    def is_solved(exercise, draw):
        tried.append((exercise.slug, exercise.seed, draw))
        return len(tried) > 3

    monkeypatch.setattr(assigning, "_is_solved", is_solved)
    made = assign(tmp_path, "HW1", [FAMILY], students=CLASS, per_student=True, done=lambda: proved.append(1))
    assert {slug for slug, _, _ in tried} == {SLUGS[1]}
    n_versions = read_exercise(assigning.FOLDER / f"{SLUGS[1]}.md").n_versions
    asked = {seed % n_versions for _, seed, draw in tried if draw == made.draw}
    assert asked == {made.seed_of(student) % n_versions for student in made.students}
    assert len({draw for _, _, draw in tried}) == 4  # three unlucky ones
    assert len(proved) == 2 + len(CLASS)


def test_solutions_are_right_on_the_inputs_that_were_drawn(one_version):
    _, made = one_version
    for slug in SLUGS:
        assert assigning._is_solved(read_exercise(assigning.FOLDER / f"{slug}.md", 2), made.draw)
    unlucky = read_exercise(assigning.FOLDER / f"{SLUGS[0]}.md")
    wrong = [cell for cell in unlucky.cells if cell.tag != "answer"]
    broken = type(unlucky.cells[0])("code", "answer", "def split_heads(x, n_heads):\n    return x")
    wrong.insert(2, broken)
    assert not assigning._is_solved(type(unlucky)(unlucky.path, unlucky.meta, tuple(wrong)), made.draw)


def test_without_lucky_inputs_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(assigning, "_is_solved", lambda exercise, draw: False)
    text = rf"^the book's own solutions fail on new inputs in one of {HEADS}, {FAMILY}: please report this$"
    with pytest.raises(CourseProblem, match=text):
        assign(tmp_path, "HW1", IDS[:2])
    assert list(tmp_path.iterdir()) == []


def test_the_draws_of_assignments_differ(tmp_path, monkeypatch):
    monkeypatch.setattr(assigning, "_write_source", lambda *_: None)
    monkeypatch.setattr(assigning, "_is_solved", lambda *_: True)
    draws = {assign(tmp_path, f"HW{number}", [LETTER]).draw for number in range(20)}
    assert len(draws) > 18


# --- what was cut short ------------------------------------------------------------------------------------


@pytest.mark.parametrize("killed_in", ["_write_source", "_write_handouts"])
def test_a_killed_run_is_completed_by_the_next(killed_in, tmp_path, monkeypatch):
    class Killed(BaseException):
        """Stands for the end of the process."""

    whole = getattr(assigning, killed_in)

    def killed(course, assignment, *more):
        if killed_in == "_write_handouts":
            half = type(assignment)(**{**vars(assignment), "students": assignment.students[:1]})
            whole(course, half, *more)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(assigning, killed_in, killed)
        with pytest.raises(Killed):
            assign(tmp_path, "HW1", [HEADS, FAMILY], students=CLASS, per_student=True)
    draw = read_assignment(tmp_path, "HW1").draw
    made = assign(tmp_path, "HW1", [HEADS, FAMILY], students=CLASS, per_student=True)
    assert made.draw == draw
    assert len(list(tmp_path.glob("release/HW1/*.ipynb"))) == 2
    assert len(list(tmp_path.glob("handout/HW1/*/*.ipynb"))) == 6
    assert len(list(tmp_path.glob("handout/HW1/*.zip"))) == 3


def test_a_run_killed_before_the_draw_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(assigning, "_draw_for", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        assign(tmp_path, "HW1", [HEADS])
    assert not assignment_path(tmp_path, "HW1").exists()


def test_a_configuration_of_ones_own_is_kept(tmp_path):
    write_config(tmp_path)
    path = tmp_path / "nbgrader_config.py"
    path.write_text(path.read_text() + "\nc.CourseDirectory.course_id = 'mine'\n")
    before = path.read_text()
    assign(tmp_path, "HW1", [LETTER])
    assert path.read_text() == before


def test_nothing_is_said_aloud(tmp_path, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assign(tmp_path, "HW1", [LETTER])
    assert capfd.readouterr() == ("", "")


def test_a_damaged_file_of_the_bank_is_no_silent_release(tmp_path, monkeypatch):
    bank = tmp_path / "bank"
    bank.mkdir()
    (bank / "a-b.md").write_text("---\nx: [\n---\n")
    monkeypatch.setattr(assigning, "exercise_paths", lambda: exercise_paths(bank))
    with pytest.raises(BadExercise, match=r"a-b\.md"):
        assign(tmp_path / "course", "HW1", ["a.b"])
