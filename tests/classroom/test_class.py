"""A whole class, from the assignment to the export: right, wrong and hostile work, and what becomes of it."""

import csv
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from hashlib import sha256
from html.parser import HTMLParser
from itertools import zip_longest
from pathlib import Path

import nbformat
import psutil
import pytest

from attncourse.classroom.assigning import solution_of
from attncourse.classroom.course import read_assignment
from attncourse.classroom.grading import look_at
from attncourse.classroom.records import Record, read_record, read_records
from tests.classroom.submissions import (
    BROWSER_MARK,
    CASES,
    LEFT_BEHIND,
    MARK,
    SLUGS,
    Handout,
    named,
)
from tests.support import ordinary

pytestmark = pytest.mark.instructor
NAME = "HW1"
JOBS = "2"
# These also hand in a right answer to another exercise, which must not suffer.
IN_COMPANY = named(
    "os-exit-in-the-cell", "segfault-in-the-function", "fork-bomb-in-the-cell", "kills-everything",
    "writes-gradebook", "deletes-grades", "twenty-gb-in-the-cell", "broken-json",
)  # fmt: skip
COMPANION = "qkv-cosine-strength"
ABSENT = "nobody-handed-in"


@dataclass(frozen=True)
class Graded:
    """What there is after everything was done once."""

    course: Path
    points: dict[str, float]
    seconds: float
    heard: list[bytes]
    before: dict[str, str]
    changed: list
    said: dict[str, subprocess.CompletedProcess]

    def record(self, student: str, slug: str) -> Record:
        """Return a notebook's record."""
        found = read_record(self.course / "grading" / NAME / student / f"{slug}.json")
        assert found is not None, f"{student}, {slug}: neither graded nor listed"
        return found


def hashes(folder: Path) -> dict[str, str]:
    """Return what lies below a folder: links by their target, files by their hash."""
    found = {}
    for parent, folders, files in os.walk(folder):
        for name in folders + files:
            path = Path(parent, name)
            if path.is_symlink():
                found[str(path)] = f"link to {os.readlink(path)}"
            elif path.is_file():
                found[str(path)] = sha256(path.read_bytes()).hexdigest()
            else:
                found[str(path)] = "other"
    return found


def listen(heard: list[bytes]) -> int:
    """Listen on this machine for anybody who comes out of a sandbox; return the port."""
    server = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            line, _ = server.accept()
            heard.append(line.recv(100) or b"(came)")

    threading.Thread(target=accept, daemon=True).start()
    return server.getsockname()[1]


def assign(course: Path) -> None:
    """Assign the exercises to a student for every case, and to one who hands nothing in."""
    people = [case.name for case in CASES] + [ABSENT]
    lines = "".join(f"{name},Student,{number}\n" for number, name in enumerate(people))
    (course / "roster.csv").write_text("student_id,last_name,first_name\n" + lines, encoding="utf-8")
    ordinary.give(course)
    ids = [slug.replace("-", ".", 1) for slug in SLUGS]
    done = ordinary.attncourse(course, "assign", NAME, *ids, "--per-student", "roster.csv")
    assert done.returncode == 0, done.stderr


def hand_in(course: Path, port: int) -> None:
    """Hand everything in."""
    assignment = read_assignment(course, NAME)
    for case in CASES:
        seed = assignment.seed_of(case.name)
        given = course / "handout" / NAME / case.name
        notebooks = {slug: nbformat.read(given / f"{slug}.ipynb", as_version=4) for slug in SLUGS}
        solutions = {slug: solution_of(slug, seed) for slug in SLUGS}
        handout = Handout(case.name, NAME, notebooks, solutions, course, {"port": str(port)})
        folder = course / "submitted" / case.name / NAME
        case.write(handout, folder)
        if case in IN_COMPANY:
            notebook = notebooks[COMPANION]
            for cell in notebook.cells:
                if cell.metadata.get("nbgrader", {}).get("solution"):
                    cell.source = solutions[COMPANION]
            nbformat.write(notebook, folder / f"{COMPANION}.ipynb")
    ordinary.give(course / "submitted")


def grade_and_kill(course: Path) -> None:
    """Grade, and end the whole grader without warning as soon as a few notebooks are done."""
    command = [sys.executable, "-m", "attncourse.classroom", "grade", NAME, "--jobs", JOBS]
    process = subprocess.Popen(
        ordinary.ordinary(command), cwd=course, env=ordinary.environment(course), start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    end = time.monotonic() + 300
    while time.monotonic() < end and len(list(course.glob(f"grading/{NAME}/*/{SLUGS[0]}.json"))) < 4:
        assert process.poll() is None, "the grader ended by itself"
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture(scope="module")
def graded():
    course = ordinary.own_folder()
    heard: list[bytes] = []
    assign(course)
    hand_in(course, listen(heard))
    before = hashes(course / "submitted")
    grade_and_kill(course)
    begin = time.monotonic()
    said = {"grade": ordinary.attncourse(course, "grade", NAME, "--jobs", JOBS)}
    seconds = time.monotonic() - begin
    assert said["grade"].returncode == 0, said["grade"].stderr
    state = [*rows(course), *read_records(course, NAME)]
    said["again"] = ordinary.attncourse(course, "grade", NAME)
    after = [*rows(course), *read_records(course, NAME)]
    changed = [(old, new) for old, new in zip_longest(state, after) if old != new]
    for name, *more in (("feedback",), ("export", "--to", "csv", "--roster", "roster.csv")):
        said[name] = ordinary.attncourse(course, name, NAME, *more)
    points = {one.slug: one.points for one in read_assignment(course, NAME).exercises}
    yield Graded(course, points, seconds, heard, before, changed, said)
    ordinary.remove(course)


class Active(HTMLParser):
    """Collect what a browser would run of a page, as far as the attack's name stands in it."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._in_script = False

    def handle_starttag(self, tag, attrs):
        self._in_script = tag == "script"
        for name, value in attrs:
            if BROWSER_MARK in (value or "") and (name.startswith("on") or name in ("href", "src", "srcdoc")):
                self.found.append(f"<{tag} {name}={value}>")

    def handle_endtag(self, tag):
        self._in_script = False

    def handle_data(self, data):
        if self._in_script and BROWSER_MARK in data:
            self.found.append(data)


def active_parts(page: str) -> list[str]:
    """Return what of a student's would run in the browser of whoever reads a page."""
    parser = Active()
    parser.feed(page)
    return parser.found


def rows(course: Path) -> list[tuple]:
    """Return the grades in the gradebook."""
    with sqlite3.connect(course / "gradebook.db") as book:
        return book.execute(
            "select s.student_id, n.name, g.auto_score, g.manual_score, g.extra_credit, g.needs_manual_grade"
            " from grade g join submitted_notebook sn on g.notebook_id = sn.id"
            " join submitted_assignment s on sn.assignment_id = s.id join notebook n on sn.notebook_id = n.id"
            " order by 1, 2"
        ).fetchall()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_notebook_gets_what_it_deserves(graded, case):
    record = graded.record(case.name, case.slug)
    points = graded.points[case.slug]
    found = "; ".join([record.reason, *record.remarks]).strip("; ")
    assert record.state == case.state, found
    if case.share is None:
        assert record.score is None
    elif isinstance(case.share, tuple):
        low, high = case.share
        assert low * points < record.score < high * points, found
    else:
        assert record.score == pytest.approx(case.share * points), found
    if case.look:
        assert re.search(case.look, found), found
    else:
        assert not record.remarks
    if case.fools_inside:
        assert record.inside == points, "the forgery does not even fool the check inside"
        assert "outside counts" in found


@pytest.mark.parametrize("case", IN_COMPANY, ids=lambda case: case.name)
def test_the_rest_of_a_hostile_students_work_is_graded(graded, case):
    record = graded.record(case.name, COMPANION)
    assert (record.state, record.score) == ("graded", graded.points[COMPANION])


def test_the_gradebook_holds_the_scores_that_count_and_nothing_else(graded):
    records = {(one.student, one.slug): one for one in read_records(graded.course, NAME)}
    for student, slug, auto, manual, extra, waits in rows(graded.course):
        record = records[student, slug]
        assert manual is None, student
        assert extra is None, student
        assert auto == (None if record.state in ("manual", "unreadable") else record.score), (student, slug)
        assert bool(waits) == (record.state in ("manual", "unreadable")), (student, slug)


def test_whoever_hands_nothing_in_is_missing(graded):
    assert {graded.record(ABSENT, slug).state for slug in SLUGS} == {"missing"}


def test_a_killed_run_goes_on_and_a_second_run_changes_nothing(graded):
    assert graded.changed == []
    assert ": 0 notebooks graded now" in graded.said["again"].stdout


def test_what_students_handed_in_is_not_touched(graded):
    assert hashes(graded.course / "submitted") == graded.before


def test_nothing_left_its_sandbox(graded):
    assert graded.heard == []
    assert not [one for one in psutil.process_iter(["cmdline"]) if LEFT_BEHIND in (one.info["cmdline"] or ())]
    places = [graded.course, Path("/tmp"), Path("/dev/shm"), ordinary.ROOT / "attncourse", Path(sys.prefix)]
    left = [path for place in places for path in place.glob(f"*{MARK}*")]
    assert left == []
    for path in graded.course.glob("autograded/**/*.ipynb"):
        assert not re.search(rf"{MARK} b'[^']", path.read_text(encoding="utf-8")), path


def test_outputs_stay_small(graded):
    sizes = {path: path.stat().st_size for path in graded.course.glob("autograded/**/*.ipynb")}
    assert max(sizes.values()) < 3 * 2**20


def test_the_list_to_look_at_names_every_remark(graded):
    with (graded.course / "grading" / NAME / "look.csv").open(encoding="utf-8", newline="") as file:
        listed = {(row["student"], row["exercise"]) for row in csv.DictReader(file)}
    for record in read_records(graded.course, NAME):
        assert bool(look_at(record)) == ((record.student, record.slug) in listed), record


def test_feedback_shows_the_message_and_hides_the_rest(graded):
    assert graded.said["feedback"].returncode == 0, graded.said["feedback"].stderr
    for record in read_records(graded.course, NAME):
        page = graded.course / "feedback" / record.student / NAME / f"{record.slug}.html"
        if record.state == "missing":
            assert not page.exists()
            continue
        text = page.read_text(encoding="utf-8")
        assert active_parts(text) == [], page
        assert str(ordinary.ROOT / "attncourse") not in text, page
        assert "For the grader" not in text, page
        assert len(text) < 5 * 2**20, page
    wrong = graded.course / "feedback" / "view-in-one-step" / NAME / f"{SLUGS[0]}.html"
    assert "known mistake" in wrong.read_text(encoding="utf-8")


def test_the_export_has_everybody_and_no_zero_for_what_is_not_graded(graded):
    assert graded.said["export"].returncode == 0, graded.said["export"].stderr
    (path,) = graded.course.glob(f"{NAME}-csv.csv")
    with path.open(encoding="utf-8-sig", newline="") as file:
        table = {row["student_id"]: row for row in csv.DictReader(file)}
    assert set(table) >= {case.name for case in CASES} | {ABSENT}
    for case in CASES:
        record = graded.record(case.name, case.slug)
        shown = table[case.name][case.slug]
        assert shown == ("" if record.score is None else f"{record.score:g}"), case.name
        assert (table[case.name]["total"] == "") == (record.score is None), case.name


def test_the_sandbox_was_used(graded):
    assert "Without a sandbox" not in graded.said["grade"].stderr
