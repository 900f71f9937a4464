"""What became of every notebook that was or was not handed in: one small file each.

A record is written last, after the gradebook. Grading reads it to know what is done; exports and the list of
things to look at are made from it.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from attncourse.classroom.problem import CourseProblem

STATES = ("graded", "manual", "missing", "unreadable")


@dataclass(frozen=True)
class Record:
    """What became of one notebook.

    Parameters
    ----------
    student : str
        The student's id.
    slug : str
        The exercise, and the name of its notebook without the ending.
    state : str
        "graded"; "manual": a question in words, which a person grades; "missing": nothing was handed in;
        "unreadable": there is no score, and `reason` says why.
    points : float
        What the exercise is worth.
    score : float or None
        The score that counts; None where a person has to give it.
    inside : float or None
        What the check said inside the student's own kernel; None if it did not come that far.
    reason : str
        Why there is no score, or why it is 0.
    remarks : tuple of str
        What a person should look at. Never a verdict.
    key : str
        Hash of everything that the result depends on: the same key, the same result.
    """

    student: str
    slug: str
    state: str
    points: float
    score: float | None = None
    inside: float | None = None
    reason: str = ""
    remarks: tuple[str, ...] = ()
    key: str = ""


def folder_of(course: Path, assignment: str) -> Path:
    """Return the folder of an assignment's records."""
    return course / "grading" / assignment


def path_of(course: Path, assignment: str, student: str, slug: str) -> Path:
    """Return the file of one record."""
    return folder_of(course, assignment) / student / f"{slug}.json"


def write_text(path: Path, text: str) -> None:
    """Write a file so that a reader finds the old text or the new one, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.{os.getpid()}")
    half.write_text(text, encoding="utf-8")
    half.replace(path)


def write_record(course: Path, assignment: str, record: Record) -> None:
    """Store a record."""
    text = json.dumps(asdict(record), indent=1, ensure_ascii=False) + "\n"
    text = text.encode("utf-8", "replace").decode("utf-8")  # half characters of a student's
    write_text(path_of(course, assignment, record.student, record.slug), text)


def read_record(path: Path) -> Record | None:
    """Return a stored record, or None if there is none or it was written by another version."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return Record(**(stored | {"remarks": tuple(stored["remarks"])}))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def read_records(course: Path, assignment: str) -> tuple[Record, ...]:
    """Return all records of an assignment, sorted by student and exercise.

    Raises
    ------
    CourseProblem
        If nothing was graded yet.
    """
    found = tuple(_records(folder_of(course, assignment)))
    if not found:
        raise CourseProblem(
            f"{assignment} has not been graded in {course}: run `attncourse grade {assignment}` first"
        )
    return found


def _records(folder: Path) -> Iterator[Record]:
    for path in sorted(folder.glob("*/*.json")):
        if (record := read_record(path)) is not None:
            yield record
