"""What every student's grade is: the scores of nbgrader's gradebook, and what grading recorded behind them.

The gradebook holds a person's grades and the late penalties, but it cannot say that there is no score: where
nothing was graded, it says 0. The records can.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nbgrader import api

from attncourse.classroom.records import Record, read_records
from attncourse.classroom.roster import Student

COMPLETE = "complete"
NOT_READABLE = "not readable"
NOT_GRADED = "not graded yet"
WAITING = "waiting for a person"
NOTHING = "nothing handed in"


@dataclass(frozen=True)
class Standing:
    """Where one student stands in one assignment.

    Parameters
    ----------
    student : Student
        Who it is.
    scores : dict of str to (float or None)
        Points by exercise; None where there is no score yet.
    penalty : float
        Points off for handing in late.
    state : str
        "complete", "not readable", "not graded yet", "waiting for a person" or "nothing handed in".
    reasons : tuple of str
        Why a score is missing, or 0.
    """

    student: Student
    scores: dict[str, float | None]
    penalty: float
    state: str
    reasons: tuple[str, ...]

    @property
    def total(self) -> float | None:
        """The points that count, never below 0; None if a score is missing."""
        points = list(self.scores.values())
        return None if None in points else max(0.0, sum(points) - self.penalty)


@dataclass
class _Marks:
    """What the gradebook holds for the graded cells of one notebook."""

    penalty: float
    score: float = 0.0
    auto: float = 0.0
    by_hand: bool = True  # a person graded every cell
    open: bool = False  # a cell has no score, or one that a person should look at again


def _marks(gradebook: api.Gradebook, assignment: str) -> dict[tuple[str, str], _Marks]:
    """Return the gradebook's entries by student and exercise, read in one query."""
    found: dict[tuple[str, str], _Marks] = {}
    rows = (
        gradebook.db.query(
            api.SubmittedAssignment.student_id,
            api.Notebook.name,
            api.SubmittedNotebook.late_submission_penalty,
            api.Grade,
        )
        .select_from(api.SubmittedNotebook)
        .join(api.SubmittedNotebook.assignment)
        .join(api.SubmittedNotebook.notebook)
        .join(api.Notebook.assignment)
        .join(api.SubmittedNotebook.grades)
        .filter(api.Assignment.name == assignment)
    )
    for student, slug, penalty, grade in rows:
        marks = found.setdefault((student, slug), _Marks(penalty=penalty or 0.0))
        marks.score += grade.score
        marks.auto += grade.auto_score or 0.0
        marks.by_hand &= grade.manual_score is not None
        nobody = grade.manual_score is None and grade.auto_score is None
        marks.open |= nobody or grade.needs_manual_grade
    return found


def standings(
    gradebook: api.Gradebook, course: Path, assignment: str, slugs: Sequence[str], roster: Sequence[Student]
) -> Iterator[Standing]:
    """Yield the standing of every student: the class list first, then who handed in without being on it.

    Parameters
    ----------
    gradebook : nbgrader.api.Gradebook
        The open gradebook.
    course : pathlib.Path
        The course folder.
    assignment : str
        The assignment's name.
    slugs : sequence of str
        Its exercises.
    roster : sequence of Student
        The class list; if it is empty, everybody whom the gradebook knows is in the class.

    Yields
    ------
    Standing
        One for each student.
    """
    records = {(one.student, one.slug): one for one in read_records(course, assignment)}
    marks = _marks(gradebook, assignment)
    handed_in = {one.parent.name for one in course.glob("submitted/*/*") if one.name == assignment}
    known = {
        one.id: Student(one.id, one.first_name or "", one.last_name or "", one.email or "")
        for one in gradebook.students
    }
    people = {one.student_id: one for one in roster or known.values()}
    others = {student for student, _ in (*records, *marks)} | handed_in
    for student in sorted(others - people.keys()):
        people[student] = known.get(student, Student(student))
    for student, person in people.items():
        scores, states, reasons = {}, set(), []
        for slug in slugs:
            found, its_marks = records.get((student, slug)), marks.get((student, slug))
            if found is None and student not in others:
                found = Record(student, slug, "missing", points=0.0, reason=NOTHING)
            scores[slug], state, reason = _score(found, its_marks)
            states.add(state)
            if reason:
                reasons.append(f"{slug}: {reason}")
        penalty = sum(marks[student, slug].penalty for slug in slugs if (student, slug) in marks)
        yield Standing(person, scores, penalty, _worst(states), tuple(reasons))


def _score(record: Record | None, marks: _Marks | None) -> tuple[float | None, str, str]:
    """Return the score of one notebook (None: there is none yet), its state, and the reason."""
    if record is None:
        return None, NOT_GRADED, NOT_GRADED
    reason = "" if record.state == "manual" else record.reason  # "waits", although it was graded since
    if marks is not None and marks.by_hand and not marks.open:
        return marks.score, COMPLETE, reason  # a person has the last word, whatever became of the file
    if record.state == "missing":
        return 0.0, NOTHING, record.reason or NOTHING
    if record.state == "unreadable":
        return None, NOT_READABLE, record.reason or NOT_READABLE
    if marks is None:
        return None, NOT_GRADED, "not in the gradebook"
    if marks.open:
        return None, WAITING, record.reason or WAITING
    if record.score is not None and abs(marks.auto - record.score) > 1e-6:
        # Somebody ran nbgrader's autograde again: its points come from the student's kernel.
        points = f"{marks.auto:g} points in the gradebook, {record.score:g} by the grading"
        return None, NOT_GRADED, f"{points}; grade it again"
    return marks.score, COMPLETE, reason


def _worst(states: Collection[str]) -> str:
    """Return the state of a student whose notebooks have these states."""
    for state in (NOT_READABLE, NOT_GRADED, WAITING, COMPLETE):
        if state in states:
            return state
    return NOTHING
