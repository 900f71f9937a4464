"""The doctor looks at what grading needs, and every complaint says how to mend it."""

import importlib.metadata
from types import SimpleNamespace

import nbformat
import pytest

from attncourse.classroom import doctor, sandbox
from attncourse.classroom.assigning import solution_of
from attncourse.classroom.doctor import Finding, examine
from attncourse.classroom.grading import Summary
from attncourse.classroom.problem import CourseProblem
from attncourse.classroom.records import Record
from attncourse.classroom.sandbox import GIB
from tests.support import ordinary

pytestmark = pytest.mark.exercises
RIGHT = Record("student", "multihead-split-heads", "graded", 4, 4.0, 4.0)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Leave out what takes time or depends on who runs the tests."""
    monkeypatch.setattr(sandbox, "problem", lambda: None)
    monkeypatch.setattr("attncourse.classroom.assigning.assign", assigned)
    monkeypatch.setattr("attncourse.classroom.grading.grade", graded_as(RIGHT))


def assigned(course, name, ids, **_):
    return SimpleNamespace(exercises=[SimpleNamespace(slug=one.replace(".", "-", 1)) for one in ids])


def graded_as(record):
    def grade(course, name, *, jobs):
        handed_in = course / "submitted" / "student" / name / "multihead-split-heads.ipynb"
        notebook = nbformat.read(handed_in, as_version=4)
        assert solution_of("multihead-split-heads", 0) in [cell.source for cell in notebook.cells]
        return Summary((record,), 1)

    return grade


def found(course, what):
    [one] = [one for one in examine(course) if one.what == what]
    assert one.fine or one.mend
    return one


def test_everything_is_looked_at_in_order_and_shown_at_once(tmp_path):
    shown = []
    every = examine(tmp_path / "not" / "there", done=shown.append)
    assert list(every) == shown
    assert [one.what for one in every] == [
        "Python", "packages", "exercises", "sandbox", "disk: course folder", "disk: temporary files",
        "temporary path", "memory", "file system", "a trial",
    ]  # fmt: skip
    assert not (tmp_path / "not").exists()
    assert found(tmp_path, "a trial") == Finding(
        "a trial", True, "a right answer got 4.0 of 4 points", found(tmp_path, "a trial").mend
    )


def test_an_old_python(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor.sys, "version_info", (3, 10, 4))
    assert found(tmp_path, "Python") == Finding("Python", False, "3.10.4", "install Python 3.11 or newer")


def test_packages_that_are_missing_or_others(tmp_path, monkeypatch):
    real = importlib.metadata.version

    def version(name):
        if name == "nbgrader":
            raise importlib.metadata.PackageNotFoundError
        return "0.0.1+cpu" if name == "jupytext" else real(name)

    monkeypatch.setattr(doctor.importlib.metadata, "version", version)
    one = found(tmp_path, "packages")
    assert not one.fine
    assert one.found.startswith("nbgrader is missing, jupytext is 0.0.1, tried with ")
    assert one.mend == "run `make setup` in the clone"


def test_no_exercises_and_no_trial(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "FOLDER", tmp_path)
    one = found(tmp_path, "exercises")
    assert (one.fine, one.found) == (False, f"no exercises at {tmp_path}")
    assert "make setup" in one.mend
    assert "a trial" not in [one.what for one in examine(tmp_path)]


def test_no_sandbox_and_no_trial(tmp_path, monkeypatch):
    monkeypatch.setattr(sandbox, "problem", lambda: "you are root")
    assert found(tmp_path, "sandbox") == Finding("sandbox", False, "you are root", sandbox.HOW_TO_GET)
    assert "a trial" not in [one.what for one in examine(tmp_path)]


def test_no_room(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: SimpleNamespace(free=GIB // 2))
    one = found(tmp_path, "disk: course folder")
    assert one == Finding(
        "disk: course folder", False, f"0.5 GiB free at {tmp_path}", "make room for at least 1 GiB"
    )


def test_a_long_temporary_path(tmp_path, monkeypatch):
    folder = tmp_path / ("x" * 60)
    folder.mkdir()
    monkeypatch.setattr(doctor.tempfile, "gettempdir", lambda: str(folder))
    one = found(tmp_path, "temporary path")
    assert (one.fine, one.found) == (False, f"{len(str(folder))} characters")
    assert "TMPDIR" in one.mend


@pytest.mark.parametrize(("gib", "fine", "jobs"), [(1, False, 0), (2, True, 1), (9, True, 4)])
def test_memory_says_how_many_jobs(gib, fine, jobs, tmp_path, monkeypatch):
    monkeypatch.setattr(doctor.psutil, "virtual_memory", lambda: SimpleNamespace(available=gib * GIB))
    one = found(tmp_path, "memory")
    assert (one.fine, one.found) == (fine, f"{gib:.1f} GiB, enough for --jobs {jobs}")


def test_a_network_file_system(tmp_path, monkeypatch):
    def mounted(kind):
        places = {"/": "ext4", "/nowhere": "x", str(tmp_path): kind}
        return [SimpleNamespace(mountpoint=place, fstype=kind) for place, kind in places.items()]

    monkeypatch.setattr(doctor.psutil, "disk_partitions", lambda **_: mounted("nfs4"))
    one = found(tmp_path / "course", "file system")
    assert (one.fine, one.found) == (False, "nfs4")
    assert "keep the course on a local disk" in one.mend
    monkeypatch.setattr(doctor.psutil, "disk_partitions", lambda **_: mounted("xfs"))
    assert found(tmp_path, "file system").fine
    monkeypatch.setattr(doctor.psutil, "disk_partitions", lambda **_: [])
    assert found(tmp_path, "file system").found == "unknown"


@pytest.mark.parametrize(
    ("record", "mend"),
    [
        (Record("s", "a", "graded", 4, 3.0, 4.0, remarks=("odd",)), "odd; please report this"),
        (Record("s", "a", "graded", 4, 4.0, None), "the kernel gave None; please report this"),
        (Record("s", "a", "unreadable", 4, None, reason="why"), "why; please report this"),
        (Record("s", "a", "graded", 4, 4.0, 4.0, "why", ("odd",)), "why; odd; please report this"),
    ],
)
def test_a_trial_that_fails_is_told(record, mend, tmp_path, monkeypatch):
    monkeypatch.setattr("attncourse.classroom.grading.grade", graded_as(record))
    one = found(tmp_path, "a trial")
    assert (one.fine, one.found) == (False, f"a right answer got {record.score} of 4 points")
    assert one.mend == mend


def test_a_trial_that_cannot_begin_is_told(tmp_path, monkeypatch):
    def grade(*_, **__):
        raise CourseProblem("no room")

    monkeypatch.setattr("attncourse.classroom.grading.grade", grade)
    assert found(tmp_path, "a trial") == Finding(
        "a trial", False, "no room", "mend what is named above first"
    )


@pytest.mark.instructor
def test_on_this_machine_everything_is_fine(tmp_path):
    folder = ordinary.own_folder()
    try:
        done = ordinary.attncourse(folder, "doctor", seconds=300)
    finally:
        ordinary.remove(folder)
    assert done.returncode == 0, done.stdout
    assert "✓ a trial: a right answer got 4.0 of 4 points" in done.stdout
    assert "✗" not in done.stdout
