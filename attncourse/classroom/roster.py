"""The class list: who is in the course, read from ``roster.csv``."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from attncourse.classroom.problem import CourseProblem

ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
CANVAS_ID = re.compile(r"[0-9]{0,20}")


@dataclass(frozen=True)
class Student:
    """One line of the class list.

    Parameters
    ----------
    student_id : str
        The id in nbgrader, and the name of the student's folders.
    first_name, last_name : str
        The names as the learning platform shows them.
    email : str
        The address by which Moodle can find the student.
    section : str
        The section in Canvas.
    canvas_id : str
        Canvas's own number of the student: the column ``ID`` of a gradebook that Canvas exported.
    """

    student_id: str
    first_name: str = ""
    last_name: str = ""
    email: str = ""
    section: str = ""
    canvas_id: str = ""


COLUMNS = tuple(field.name for field in fields(Student))


def student_id_problem(text: str) -> str | None:
    """Say why a text is no student id.

    Ids become names of folders: an id with a slash, or ``..``, would lead out of the course folder.

    Parameters
    ----------
    text : str
        What stands in the class list, or the name of a folder in ``submitted/``.

    Returns
    -------
    str or None
        The rule and what was found, or None if the id is allowed.
    """
    shown = repr(text if len(text) <= 80 else text[:79] + "…")
    if not ID.fullmatch(text):
        return f"must be 1 to 64 of the characters A-Z a-z 0-9 . _ -, got {shown}"
    if text[0] in ".-":
        return f"must not begin with a dot or a hyphen, got {shown}"
    return None


def read_roster(path: Path) -> tuple[Student, ...]:
    """Read the class list.

    A CSV file in UTF-8 (with or without a byte order mark), with commas or semicolons. Its first line names
    the columns, in any order; `student_id` is required, columns that `Student` does not have are not read.

    Parameters
    ----------
    path : pathlib.Path
        The file.

    Returns
    -------
    tuple of Student
        In the order of the file.

    Raises
    ------
    CourseProblem
        If there is no such file, or a line breaks a rule.
    """
    lines = _lines(path, _text(path))
    begin, header = next(lines, (1, []))
    places = _places(f"{path}, line {begin}", header)
    students: list[Student] = []
    seen: dict[str, str] = {}
    for line, cells in lines:
        where = f"{path}, line {line}"
        if len(cells) > len(header):
            raise CourseProblem(
                f"{where}: must have at most {len(header)} cells, one for each column of the header, "
                f"got {len(cells)}: put a text that holds a separator in double quotes"
            )
        cells += [""] * (len(header) - len(cells))
        student = Student(**{name: cells[place] for name, place in places.items()})
        if (problem := _problem(student)) is not None:
            raise CourseProblem(f"{where}, column {problem}")
        # The folders `Ann` and `ann` are one folder on macOS and Windows.
        folded = student.student_id.lower()
        if folded in seen:
            raise CourseProblem(
                f"{where}, column student_id: must differ from every other id, and not only in upper and "
                f"lower case, got {student.student_id!r} after {seen[folded]}"
            )
        seen[folded] = f"{student.student_id!r} in line {line}"
        students.append(student)
    if not students:
        raise CourseProblem(f"{path}: must have at least one student below the header, got none")
    return tuple(students)


def _text(path: Path) -> str:
    """Return what the file says.

    Raises
    ------
    CourseProblem
        If it cannot be read.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise CourseProblem(
            f"{path}: there is no such file; write one with the header {','.join(COLUMNS)}"
        ) from None
    except OSError as error:
        raise CourseProblem(f"{path}: cannot be read: {error.strerror}") from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # The error counts from behind a byte order mark.
        line = error.object.count(b"\n", 0, error.start) + 1
        raise CourseProblem(
            f"{path}, line {line}: must be UTF-8, got the byte 0x{error.object[error.start]:02x}; "
            "save it as CSV UTF-8"
        ) from error


def _lines(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the cells of every line that is not empty; a quoted cell may span lines.

    Raises
    ------
    CourseProblem
        If the text is no CSV.
    """
    first = text.split("\n", 1)[0]
    separator = ";" if first.count(";") > first.count(",") else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    begin = 1
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if any(stripped):
                yield begin, stripped
            begin = reader.line_num + 1
    except csv.Error as error:
        raise CourseProblem(f"{path}, line {begin}: must be CSV, got: {error}") from error


def _places(where: str, header: Sequence[str]) -> dict[str, int]:
    """Return where the columns stand that we know.

    Raises
    ------
    CourseProblem
        If a column is missing or there twice.
    """
    names = [name.lower() for name in header]
    if "student_id" not in names:
        raise CourseProblem(
            f"{where}: the header must have the column student_id, got {', '.join(header) or 'no header'}"
        )
    for name in COLUMNS:
        if names.count(name) > 1:
            raise CourseProblem(f"{where}: the header must have the column {name} once, got it twice")
    return {name: names.index(name) for name in COLUMNS if name in names}


def _problem(student: Student) -> str | None:
    """Return the column, the rule and what was found instead, or None if the line keeps the rules."""
    if not student.student_id:
        return "student_id: must not be empty, got ''"
    if (problem := student_id_problem(student.student_id)) is not None:
        return f"student_id: {problem}"
    if not CANVAS_ID.fullmatch(student.canvas_id):
        return (
            "canvas_id: must be the number in the column ID of a gradebook that Canvas exported, "
            f"got {student.canvas_id!r}"
        )
    return None
