"""The course folder: what was assigned to whom, and how nbgrader is told."""

import json
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from traitlets.config import Config
from traitlets.config.loader import PyFileConfigLoader

from attncourse.classroom.bank import FOLDER, ROOT, STUB
from attncourse.classroom.problem import CourseProblem
from attncourse.classroom.records import write_text

CONFIG = "nbgrader_config.py"
GRADEBOOK_SECONDS = 60
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,60}")
CONFIG_TEXT = f"""\
# Made by `attncourse assign`. Yours to change, except where a comment says otherwise.
c = get_config()

c.CourseDirectory.course_id = "attention"
c.ClearSolutions.code_stub = {{"python": {STUB!r}}}

# Grade with `attncourse grade`: nbgrader's own command would run students' code without protection.
c.Autograde.sanitize_preprocessors = ["attncourse.classroom.plugins.Refuse"]
# Students' texts are shown without their scripts.
c.HTMLExporter.sanitize_html = True

# `nbgrader zip_collect` opens downloaded/HW1/archive/submissions.zip and looks students up in roster.csv.
c.ZipCollectApp.extractor_plugin = "attncourse.classroom.collecting.ClassArchive"
c.ZipCollectApp.collector_plugin = "attncourse.classroom.collecting.ByRoster"
"""


@dataclass(frozen=True)
class Assigned:
    """One exercise of an assignment."""

    id: str
    slug: str
    points: int
    kind: str

    @property
    def has_checker(self) -> bool:
        """Whether a program can grade it."""
        return self.kind != "essay"


@dataclass(frozen=True)
class Assignment:
    """What was assigned.

    Parameters
    ----------
    name : str
        Such as ``"HW1"``.
    exercises : sequence of Assigned
        In their order.
    seed : int
        Which versions: the seed itself, or with `per_student` what each student's seed is made from.
    per_student : bool
        Whether every student has a seed of their own.
    students : sequence of str
        Ids of those who should hand in; empty if no roster was given.
    draw : int
        Which inputs the answers are graded on. Students do not know it.
    """

    name: str
    exercises: tuple[Assigned, ...]
    seed: int
    per_student: bool
    students: tuple[str, ...]
    draw: int

    def seed_of(self, student: str) -> int:
        """Return a student's seed; it depends on nobody else, so a late student changes no seed."""
        if not self.per_student:
            return self.seed
        digest = sha256(f"{self.name}/{self.seed}/{student}".encode()).digest()
        return int.from_bytes(digest[:4], "big") % 1000


def assignment_path(course: Path, name: str) -> Path:
    """Return the file that says what was assigned."""
    return course / "assignments" / f"{name}.json"


def check_name(name: str) -> None:
    """Look at an assignment's name, which becomes the name of folders.

    Raises
    ------
    CourseProblem
        If it cannot be one.
    """
    if not NAME.fullmatch(name):
        raise CourseProblem(
            f"an assignment's name must be letters, digits, dots, hyphens and underscores, got {name!r}"
        )


def write_assignment(course: Path, assignment: Assignment) -> None:
    """Store what was assigned."""
    text = json.dumps(asdict(assignment), indent=1) + "\n"
    write_text(assignment_path(course, assignment.name), text)


def read_assignment(course: Path, name: str) -> Assignment:
    """Return what was assigned under a name.

    Raises
    ------
    CourseProblem
        If nothing was, or the file was damaged.
    """
    check_name(name)
    path = assignment_path(course, name)
    if not path.is_file():
        there = sorted(one.stem for one in path.parent.glob("*.json"))
        known = f"; assigned so far: {', '.join(there)}" if there else ""
        raise CourseProblem(
            f"there is no assignment {name!r} in {course}{known}. "
            "Make one with `attncourse assign`, or say where the course is with --course"
        )
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        exercises = tuple(Assigned(**one) for one in stored.pop("exercises"))
        return Assignment(**(stored | {"exercises": exercises, "students": tuple(stored["students"])}))
    except (ValueError, TypeError, LookupError) as error:
        raise CourseProblem(f"{path} is damaged ({error}): restore it from a copy") from error


def open_course(folder: Path) -> Path:
    """Return a course folder as an absolute path, made if it is not there.

    Raises
    ------
    CourseProblem
        If it lies in the book's repository, or the book's repository is not there.
    """
    course = folder.expanduser().resolve()
    if course.is_relative_to(ROOT):
        raise CourseProblem(
            f"a course holds students' work and must lie outside the book's repository, got {course}; "
            "make a folder for it and go there, or name it with --course"
        )
    if not FOLDER.is_dir():
        raise CourseProblem(
            f"the exercises' files are not at {FOLDER}: run this from a clone of the book's repository, "
            "where `make setup` was done"
        )
    if course.exists() and not course.is_dir():
        raise CourseProblem(f"a course is a folder, and {course} is a file")
    return course


def write_config(course: Path) -> None:
    """Write nbgrader's configuration unless there is one."""
    if not (course / CONFIG).exists():
        write_text(course / CONFIG, CONFIG_TEXT)


def read_config(course: Path) -> Config:
    """Return nbgrader's configuration of a course."""
    config = PyFileConfigLoader(CONFIG, path=str(course)).load_config()
    config.CourseDirectory.root = str(course)
    config.CourseDirectory.db_url = database(course)
    return config


@contextmanager
def nbgrader_ready() -> Iterator[None]:
    """Let nbgrader find its own programs, and keep its warnings about itself to ourselves."""
    before = os.environ["PATH"]
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), before])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        os.environ["PATH"] = before


def database(course: Path) -> str:
    """Return the address of the gradebook; whoever finds another process writing waits so many seconds."""
    return f"sqlite:///{course / 'gradebook.db'}?timeout={GRADEBOOK_SECONDS}"
