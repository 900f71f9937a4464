"""Grade an assignment: every notebook by itself, students in parallel, nothing lost when one goes wrong."""

import contextlib
import csv
import io
import multiprocessing
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from nbgrader.api import Gradebook, MissingEntry

from attncourse.classroom import handed_in, sandbox
from attncourse.classroom.bare import make_bare
from attncourse.classroom.course import Assigned, Assignment, database, nbgrader_ready, read_assignment
from attncourse.classroom.exporters import spreadsheet_cell
from attncourse.classroom.handed_in import Found
from attncourse.classroom.one_notebook import (
    MAX_TRIES,
    NOT_ATTEMPTED,
    NOTHING_HANDED_IN,
    grade_student,
    start_worker,
)
from attncourse.classroom.problem import CourseProblem
from attncourse.classroom.records import Record, folder_of, path_of, read_record, write_text
from attncourse.classroom.roster import student_id_problem

# Reasons for a 0 that nobody has to look at.
UNREMARKABLE = (NOTHING_HANDED_IN, NOT_ATTEMPTED)


@dataclass(frozen=True)
class Summary:
    """What a run of `grade` did.

    Parameters
    ----------
    records : tuple of Record
        All of the assignment, old and new.
    n_new : int
        How many of them are new.
    strays : tuple of str
        Folders in ``submitted/`` that cannot be a student's, and why.
    """

    records: tuple[Record, ...]
    n_new: int
    strays: tuple[str, ...] = ()


@contextlib.contextmanager
def _only_one(course: Path, assignment: str) -> Iterator[None]:
    """Hold the assignment while it is graded.

    Raises
    ------
    CourseProblem
        If another process grades it.
    """
    import fcntl  # not on Windows, where nothing is graded

    folder = folder_of(course, assignment)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise CourseProblem(f"{assignment} is being graded by another process") from error
        yield


def _people(course: Path, assignment: Assignment) -> tuple[list[str], list[str]]:
    """Return the students of an assignment, and folders that cannot be a student's."""
    people, strays = set(assignment.students), []
    root = course / "submitted"
    for path in sorted(root.iterdir()) if root.is_dir() else ():
        if path.is_file() or not (path / assignment.name).exists():
            continue
        if problem := student_id_problem(path.name):
            strays.append(f"submitted/{path.name!r} was left out: {problem}")
        else:
            people.add(path.name)
    return sorted(people), strays


def _in_gradebook(course: Path, assignment: Assignment) -> set[tuple[str, str]]:
    """Return (student, slug) of every notebook that the gradebook knows.

    Raises
    ------
    CourseProblem
        If it does not know the assignment.
    """
    with nbgrader_ready(), Gradebook(database(course)) as book:
        try:
            found = book.find_assignment(assignment.name)
        except MissingEntry as error:
            raise CourseProblem(
                f"the gradebook does not know {assignment.name}: run the same `attncourse assign` again"
            ) from error
        return {(one.student.id, note.name) for one in found.submissions for note in one.notebooks}


def _is_done(course: Path, assignment: Assignment, record: Record | None, key: str, known: set) -> bool:
    if record is None or record.key != key:
        return False
    if record.state == "missing":
        return True
    page = course / "autograded" / record.student / assignment.name / f"{record.slug}.ipynb"
    return page.exists() and (record.student, record.slug) in known


def _to_do(
    course: Path, assignment: Assignment, people: Sequence[str], safe: bool, again: bool
) -> Mapping[str, list[tuple[Assigned, Found, str]]]:
    """Return for every student what has to be graded."""
    known = _in_gradebook(course, assignment)
    work = {}
    for student in people:
        found = handed_in.find(handed_in.folder_of(course, student, assignment.name), assignment.exercises)
        seed = assignment.seed_of(student)
        for exercise in assignment.exercises:
            one = found[exercise.slug]
            key = one.key(exercise, seed, assignment.draw, safe)
            record = read_record(path_of(course, assignment.name, student, exercise.slug))
            if again or not _is_done(course, assignment, record, key, known):
                work.setdefault(student, []).append((exercise, one, key))
    return work


def grade(
    course: Path,
    name: str,
    *,
    jobs: int = 2,
    unsafe: bool = False,
    again: bool = False,
    students: Sequence[str] = (),
    begin: Callable[[int], None] = lambda n_notebooks: None,
    done: Callable[[int], None] = lambda n_notebooks: None,
) -> Summary:
    """Grade what was handed in for an assignment and is not graded yet.

    Parameters
    ----------
    course : Path
        The course folder.
    name : str
        Of the assignment.
    jobs : int
        How many students at once.
    unsafe : bool
        Whether to grade without protection where there is no sandbox.
    again : bool
        Whether to grade once more what is graded. A score that a person gave stays, and waits for another
        look.
    students : sequence of str
        Only these; empty means all.
    begin, done : callable
        For a progress bar: the number of notebooks to grade, and after every student the number graded.

    Returns
    -------
    Summary
        Every notebook has a record: graded, waiting for a person, missing, or not readable with a reason.

    Raises
    ------
    CourseProblem
        If there is no such assignment, nothing was handed in, no sandbox, or it is being graded already.
    """
    assignment = read_assignment(course, name)
    safe = sandbox.require(unsafe=unsafe)
    if jobs < 1:
        raise CourseProblem(f"--jobs must be at least 1, got {jobs}")
    people, strays = _people(course, assignment)
    if unknown := sorted(set(students) - set(people)):
        raise CourseProblem(f"{name} was neither given to nor handed in by {', '.join(unknown)}")
    people = [one for one in people if not students or one in students]
    if not people:
        raise CourseProblem(f"nobody has handed in {name}: there is no {course / 'submitted'}/STUDENT/{name}")
    with _only_one(course, name), tempfile.TemporaryDirectory(prefix="attn-") as temporary:
        folder = Path(temporary)
        work = _to_do(course, assignment, people, safe, again)
        begin(sum(map(len, work.values())))
        program = make_bare(folder / "bare")
        start = (course, assignment, program, safe, folder)
        new = _grade_all(work, start, min(jobs, len(work) or 1), done)
        records = _all_records(course, assignment)
        _write_look(course, assignment, records, strays)
    return Summary(records, len(new), tuple(strays))


def _grade_all(
    work: Mapping[str, list], start: tuple, jobs: int, done: Callable[[int], None]
) -> list[Record]:
    """Grade all students, each in some worker; a worker that dies costs nobody a grade.

    Raises
    ------
    KeyboardInterrupt
        When somebody stops it; what is graded stays graded.
    """
    context, records, left = multiprocessing.get_context("spawn"), [], dict(work)
    rounds = 1 + MAX_TRIES * sum(map(len, work.values()))  # a notebook that ends workers is given up then
    for _ in range(rounds):
        if not left:
            break
        with ProcessPoolExecutor(jobs, context, start_worker, start) as pool:
            futures: dict[Future, str] = {pool.submit(grade_student, one, left[one]): one for one in left}
            try:
                for future in as_completed(futures):
                    with contextlib.suppress(BrokenProcessPool):  # who ended it is not known: all try again
                        records += future.result()
                        done(len(left.pop(futures[future])))
            except KeyboardInterrupt:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    return records


def _all_records(course: Path, assignment: Assignment) -> tuple[Record, ...]:
    people, _ = _people(course, assignment)
    found = (
        read_record(path_of(course, assignment.name, student, one.slug))
        for student in people
        for one in assignment.exercises
    )
    return tuple(record for record in found if record is not None)


def look_at(record: Record) -> str:
    """Return what a person should look at, or an empty text."""
    reason = record.reason if record.reason not in UNREMARKABLE else ""
    return "; ".join([*([reason] if reason else []), *record.remarks])


def _write_look(
    course: Path, assignment: Assignment, records: Sequence[Record], strays: Sequence[str]
) -> None:
    """Write the list of what a person should look at."""
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(["student", "exercise", "state", "score", "points", "what"])
    for record in records:
        if what := look_at(record):
            score = "" if record.score is None else f"{record.score:g}"
            writer.writerow(
                [record.student, record.slug, record.state, score, record.points, spreadsheet_cell(what)]
            )
    for stray in strays:
        writer.writerow(["", "", "left out", "", "", spreadsheet_cell(stray)])
    write_text(folder_of(course, assignment.name) / "look.csv", table.getvalue())
