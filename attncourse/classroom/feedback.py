"""Write every student's feedback pages: their notebook, the check's message, points and comments."""

import contextlib
import io
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from nbconvert.preprocessors import CSSHTMLHeaderPreprocessor
from nbgrader.api import Gradebook
from nbgrader.converters import GenerateFeedback
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import GetGrades

from attncourse.classroom.course import database, nbgrader_ready, read_assignment, read_config
from attncourse.classroom.plugins import DropRubric
from attncourse.classroom.problem import CourseProblem
from attncourse.classroom.records import read_records


@dataclass(frozen=True)
class Written:
    """What was written.

    Parameters
    ----------
    folders : tuple of Path
        One for each student who handed in.
    waiting : int
        Notebooks among them that a person has not graded yet.
    """

    folders: tuple[Path, ...]
    waiting: int


def write_feedback(
    course: Path,
    name: str,
    *,
    rubric: bool = False,
    begin: Callable[[int], None] = lambda n_students: None,
    done: Callable[[int], None] = lambda n_students: None,
) -> Written:
    """Write the feedback pages of an assignment.

    Parameters
    ----------
    course : Path
        The course folder.
    name : str
        Of the assignment.
    rubric : bool
        Whether students see the rubric of questions in words.
    begin, done : callable
        For a progress bar: the number of students, and 1 after each.

    Returns
    -------
    Written
        Pages lie in ``feedback/<student>/<assignment>/``; writing them again replaces them, and removes
        those of notebooks that are no longer handed in.

    Raises
    ------
    CourseProblem
        If nothing was graded, or nbgrader fails.
    """
    assignment = read_assignment(course, name)
    records = read_records(course, name)
    gone = {(one.student, one.slug) for one in records if one.state == "missing"}
    there = course / "autograded"
    students = sorted(
        {one.student for one in records if one.state != "missing" and (there / one.student / name).is_dir()}
    )
    begin(len(students))
    folders = []
    for student in students:
        _write_student(course, assignment.name, student, rubric=rubric)
        folders.append(course / "feedback" / student / name)
        done(1)
    _remove(course, name, gone)
    return Written(tuple(folders), _waiting(course, name, gone))


def _remove(course: Path, name: str, gone: Collection[tuple[str, str]]) -> None:
    """Remove the pages of notebooks that were graded once and are no longer handed in."""
    for student, slug in gone:
        (course / "feedback" / student / name / f"{slug}.html").unlink(missing_ok=True)


def _waiting(course: Path, name: str, gone: Collection[tuple[str, str]]) -> int:
    """Return how many notebooks wait for a person, but for those that are gone."""
    with nbgrader_ready(), Gradebook(database(course)) as book:
        return sum(
            notebook.needs_manual_grade
            for one in book.find_assignment(name).submissions
            for notebook in one.notebooks
            if (one.student_id, notebook.name) not in gone
        )


def _write_student(course: Path, name: str, student: str, *, rubric: bool) -> None:
    config = read_config(course)
    config.HTMLExporter.sanitize_html = True  # a student's text must not run scripts in a browser
    directory = CourseDirectory(config=config, assignment_id=name, student_id=student)
    with nbgrader_ready(), contextlib.redirect_stderr(io.StringIO()) as said:
        converter = GenerateFeedback(coursedir=directory, config=config, force=True)
        converter.log.setLevel("ERROR")
        steps = [GetGrades, CSSHTMLHeaderPreprocessor]
        converter.preprocessors = steps if rubric else [DropRubric, *steps]
        try:
            converter.start()
        except (Exception, SystemExit) as error:
            text = f"nbgrader could not write the feedback of {student}: {error} {said.getvalue()}"
            raise CourseProblem(text) from error
