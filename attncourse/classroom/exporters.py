"""Export grades: a table for a person, and the files that Canvas and Moodle import.

A score is exported only if it is one. nbgrader's own exporter writes 0 where nothing was graded yet; here a
student with an exercise that waits for a person, or that could not be read, has no total.

csv
    One line for each student, with the points of every exercise, the state and the reasons. It begins with a
    byte order mark, so that spreadsheets show umlauts.
canvas
    The import of Canvas's gradebook [1]_ [2]_: `Student`, `ID`, `SIS User ID`, `SIS Login ID`, `Section`, the
    assignment; the second line holds the points possible. The assignment is found by the number behind its
    title, ``HW1 (12345)``, as in a file that Canvas exported, else by its title; a title that Canvas does not
    know becomes a new assignment. A student is found by `ID`, then `SIS User ID` (empty here), then
    `SIS Login ID` (the student id), and by the name only if all of these fail.
moodle
    The CSV import of Moodle's gradebook [3]_ [4]_: a person maps `ID number` or `Email address` to the
    student, the other columns to the grade and its feedback. A line without an address would give its grade
    to the student of the line before [4]_, so addresses are written only if every student has one. Moodle
    cuts points above the grade item's maximum, and refuses points above 100 unless an administrator allows
    them.

Canvas and Moodle take an empty cell for an empty grade, which removes a grade that is there [2]_ [4]_. A
student whose grades are incomplete is therefore left out of these two files, and listed.

Text that a spreadsheet would take for a formula gets an apostrophe in front [5]_, in all three formats.
Canvas and Moodle lose nothing by it: they find a student by an id, and no id can begin like a formula.

References
----------
.. [1] Instructure, "How do I import grades in the Gradebook?", Canvas Instructor Guide.
.. [2] instructure/canvas-lms, ``lib/gradebook_importer.rb`` and
   ``ui/features/gradebook_uploads/jquery/process_gradebook_upload.js``.
.. [3] MoodleDocs, "Grade import", https://docs.moodle.org/405/en/Grade_import
.. [4] moodle/moodle, ``grade/import/csv/classes/load_data.php`` and ``grade/import/lib.php``.
.. [5] OWASP, "CSV Injection"; Application Security Verification Standard 5.0, requirement 1.2.10.
"""

import csv
import io
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nbgrader import api
from nbgrader.plugins import ExportPlugin
from traitlets import Bool, Unicode

from attncourse.classroom.problem import CourseProblem
from attncourse.classroom.records import write_text
from attncourse.classroom.roster import Student, read_roster
from attncourse.classroom.standings import NOTHING, Standing, standings

# What a spreadsheet takes for the begin of a formula, also in the full-width forms of East Asian keyboards.
FORMULA = tuple("=+-@＝＋－＠")


@dataclass(frozen=True)
class Exported:
    """What was written, and for whom there is no grade yet.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    assignment : str
        The assignment.
    maximum : float
        What the assignment is worth.
    standings : tuple of Standing
        All students, also those whom the file leaves out.
    """

    path: Path
    assignment: str
    maximum: float
    standings: tuple[Standing, ...]

    @property
    def graded(self) -> tuple[Standing, ...]:
        """The students with a total."""
        return tuple(one for one in self.standings if one.total is not None)

    @property
    def incomplete(self) -> tuple[Standing, ...]:
        """The students without a total."""
        return tuple(one for one in self.standings if one.total is None)

    def messages(self) -> Iterator[str]:
        """Yield what a person should read: where the file is, and who has no grade yet."""
        everybody, waiting = len(self.standings), len(self.incomplete)
        yield (
            f"{self.assignment}: {everybody - waiting} of {everybody} totals, "
            f"out of {_number(self.maximum)} points, in {self.path}"
        )
        for one in self.incomplete:
            why = _plain("; ".join(one.reasons))
            yield f"no total for {_plain(one.student.student_id)}, {one.state}: {why}"


def export(
    course: Path,
    assignment: str,
    to: str,
    *,
    out: Path | None = None,
    roster: Sequence[Student] = (),
    column: str = "",
    overwrite: bool = False,
) -> Exported:
    """Write the grades of an assignment to a file.

    Parameters
    ----------
    course : pathlib.Path
        The course folder, with `gradebook.db` and `grading/`.
    assignment : str
        The assignment's name.
    to : str
        "csv", "canvas" or "moodle".
    out : pathlib.Path, optional
        The file; by default `<assignment>-<to>.csv` in the course folder.
    roster : sequence of Student, optional
        The class list; by default `roster.csv` in the course folder. If there is none, everybody whom the
        gradebook knows is in the class.
    column : str, optional
        The name of the grade's column, "HW1 (12345)" for Canvas's assignment 12345; by default the
        assignment's name.
    overwrite : bool, optional
        Whether a file that exists may be replaced.

    Returns
    -------
    Exported
        What was written, and who has no grade yet.

    Raises
    ------
    CourseProblem
        If nothing was graded, the format is unknown, or the file exists.
    """
    database = course / "gradebook.db"
    if not database.is_file():  # nbgrader would make an empty one
        raise CourseProblem(f"{database}: there is no gradebook; run `attncourse grade {assignment}` first")
    # An empty course id: nbgrader would add a course of this name to the gradebook.
    with api.Gradebook(f"sqlite:///{database.resolve()}", course_id="") as gradebook:
        return _export(
            gradebook, course, assignment, to, out=out, roster=roster, column=column, overwrite=overwrite
        )


def _export(
    gradebook: api.Gradebook,
    course: Path,
    assignment: str,
    to: str,
    *,
    out: Path | None = None,
    roster: Sequence[Student] = (),
    column: str = "",
    overwrite: bool = False,
    only: Collection[str] = (),
) -> Exported:
    """Write the grades that an open gradebook holds; `only` names the students, empty for all.

    Raises
    ------
    CourseProblem
        If nothing was graded, the format is unknown, or the file exists.
    """
    if to not in FORMATS:
        raise CourseProblem(f"grades can be exported to {', '.join(FORMATS)}, got {to!r}")
    path = out or course / f"{assignment}-{to}.csv"
    if path.exists() and not overwrite:
        raise CourseProblem(
            f"{path} exists and is not overwritten: name another file, or remove this one first"
        )
    try:
        maxima = {book.name: book.max_score for book in gradebook.find_assignment(assignment).notebooks}
    except api.MissingEntry:
        raise CourseProblem(f"the gradebook of {course} has no assignment {assignment!r}") from None
    class_list = course / "roster.csv"
    if not roster and class_list.exists():
        roster = read_roster(class_list)
    found = tuple(
        one
        for one in standings(gradebook, course, assignment, list(maxima), roster)
        if not only or one.student.student_id in only
    )
    if unknown := sorted(set(only) - {one.student.student_id for one in found}):
        raise CourseProblem(f"{assignment} has no student {', '.join(unknown)}")
    done = Exported(path, assignment, sum(maxima.values()), found)
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows(FORMATS[to](done, column or assignment))
    mark = "\ufeff" if to == "csv" else ""
    write_text(path, mark + table.getvalue())
    return done


# --- the three formats --------------------------------------------------------------------------------------


def _number(value: float | None) -> str:
    """Return points as text: at most four decimals, no zeros at the end, nothing for no score."""
    return "" if value is None else f"{round(value, 4):.12g}"


def _plain(text: str) -> str:
    """Return a text on one line, without control characters and halves of characters."""
    printable = "".join(" " if unicodedata.category(sign) in ("Cc", "Cs") else sign for sign in text)
    return " ".join(printable.split())


def spreadsheet_cell(text: str) -> str:
    """Return a text as a cell that no spreadsheet takes for a formula."""
    plain = _plain(text)
    return f"'{plain}" if plain.startswith(FORMULA) else plain


def _csv_rows(done: Exported, column: str) -> Iterator[list[str]]:
    """Yield the table for a person."""
    slugs = list(done.standings[0].scores) if done.standings else []
    numbers = [*slugs, "late_penalty", "total", "maximum"]
    yield ["student_id", "last_name", "first_name", "email", *numbers, "state", "reasons"]
    for standing in done.standings:
        one = standing.student
        points = [*standing.scores.values(), standing.penalty, standing.total, done.maximum]
        who = map(spreadsheet_cell, (one.student_id, one.last_name, one.first_name, one.email))
        yield [*who, *map(_number, points), standing.state, spreadsheet_cell("; ".join(standing.reasons))]


def _canvas_rows(done: Exported, column: str) -> Iterator[list[str]]:
    """Yield what Canvas imports."""
    yield ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", spreadsheet_cell(column)]
    yield ["    Points Possible", "", "", "", "", _number(done.maximum)]
    for standing in done.graded:
        one = standing.student
        name = ", ".join(filter(None, (one.last_name, one.first_name))) or one.student_id
        who = map(spreadsheet_cell, (name, one.canvas_id, "", one.student_id, one.section))
        yield [*who, _number(standing.total)]


def _moodle_rows(done: Exported, column: str) -> Iterator[list[str]]:
    """Yield what Moodle imports."""
    addresses = all(standing.student.email for standing in done.graded)
    address = ["Email address"] if addresses else []
    yield [
        "ID number",
        *address,
        "Last name",
        "First name",
        spreadsheet_cell(column),
        spreadsheet_cell(f"{column} (feedback)"),
    ]
    for standing in done.graded:
        one = standing.student
        address = [one.email] if addresses else []
        who = map(spreadsheet_cell, (one.student_id, *address, one.last_name, one.first_name))
        # Students read the feedback: it holds points, and no text that came from a notebook.
        points = [f"{slug} {_number(score)}" for slug, score in standing.scores.items()]
        if standing.penalty:
            points.append(f"handed in late {_number(-standing.penalty)}")
        feedback = NOTHING if standing.state == NOTHING else "; ".join(points)
        yield [*who, _number(standing.total), feedback]


FORMATS = {"csv": _csv_rows, "canvas": _canvas_rows, "moodle": _moodle_rows}


# --- nbgrader's plug-ins ------------------------------------------------------------------------------------


class CourseExporter(ExportPlugin):
    """Base of the plug-ins for ``nbgrader export --exporter=…``, run in a course folder."""

    format_name = ""
    column = Unicode("", help="name of the grade's column, 'HW1 (12345)' for Canvas").tag(config=True)
    overwrite = Bool(False, help="whether a file that exists may be replaced").tag(config=True)

    def export(self, gradebook: api.Gradebook) -> None:
        """Write the grades of one assignment.

        Parameters
        ----------
        gradebook : nbgrader.api.Gradebook
            The open gradebook.

        Raises
        ------
        SystemExit
            With the status 1, after a line in the log, if there is something to mend.
        """
        try:
            done = self._write(gradebook)
        except CourseProblem as problem:
            self.log.error(str(problem))
            raise SystemExit(1) from None
        for message in done.messages():
            self.log.info(message)

    def _write(self, gradebook: api.Gradebook) -> Exported:
        """Write the file that the traits ask for.

        Raises
        ------
        CourseProblem
            If there is something to mend.
        """
        if len(self.assignment) != 1:
            names = ", ".join(one.name for one in gradebook.assignments) or "none"
            raise CourseProblem(f"name one assignment with --assignment, the gradebook has: {names}")
        return _export(
            gradebook,
            Path(self.parent.coursedir.root),
            str(self.assignment[0]),
            self.format_name,
            out=Path(self.to) if self.to else None,
            column=self.column,
            overwrite=self.overwrite,
            only=[str(one) for one in self.student],
        )


class CsvExporter(CourseExporter):
    """Write a table for a person."""

    format_name = "csv"


class CanvasExporter(CourseExporter):
    """Write the file that Canvas's gradebook imports."""

    format_name = "canvas"


class MoodleExporter(CourseExporter):
    """Write the file that Moodle's gradebook imports."""

    format_name = "moodle"
