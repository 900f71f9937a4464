"""Grade one notebook, and all notebooks of one student, in a process that serves for nothing else."""

import contextlib
import ctypes
import io
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import nbformat
from nbgrader.api import Gradebook
from nbgrader.converters import Autograde
from nbgrader.converters.base import NbGraderException
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import (
    AssignLatePenalties,
    CheckCellMetadata,
    ClearOutput,
    DeduplicateIds,
    Execute,
    SaveAutoGrades,
)
from nbgrader.utils import is_grade, is_solution
from traitlets.config import Config

from attncourse.classroom import handed_in
from attncourse.classroom.assigning import handed_out
from attncourse.classroom.bank import FOLDER, read_exercise
from attncourse.classroom.bare import PACKAGE
from attncourse.classroom.course import Assigned, Assignment, database, nbgrader_ready, read_config
from attncourse.classroom.framing import (
    Framed,
    Unreadable,
    code_before_test,
    frame,
    read_notebook,
    their_code,
)
from attncourse.classroom.handed_in import Found
from attncourse.classroom.kernel import Client
from attncourse.classroom.plugins import Finish
from attncourse.classroom.records import Record, path_of, write_record, write_text
from attncourse.classroom.rerun import Verdict, asked_for, rerun
from attncourse.classroom.sandbox import Limits, Sandbox, Watch
from attncourse.classroom.suspicion import imports_of, ready_made_for, remarks_on
from attncourse.exercises._check import questions

KERNEL = "attncourse-sandbox"
CELL_SECONDS = 15
KERNEL_LIMITS = Limits(seconds=75, cpu_seconds=45)
SAME_SCORE = 0.005
# More than all limits of one notebook together, on a busy machine.
NOTEBOOK_SECONDS = 300.0
# A run that was killed is one try; so is another student's work that ended all graders at once.
MAX_TRIES = 3
RETRY_SECONDS = 5.0  # what disturbed the grader, such as another student's fork bomb, may be over then
PR_SET_PDEATHSIG = 1
NOT_ATTEMPTED = "not attempted"
NOTHING_HANDED_IN = "nothing was handed in"


@dataclass(frozen=True)
class Workplace:
    """What a worker needs: the course, and folders of its own."""

    course: Path
    assignment: Assignment
    program: Path
    safe: bool
    folder: Path


def _outcome(place: Workplace, exercise: Assigned, seed: int, framed: Framed, job: Path) -> Verdict:
    """Run the answer outside and judge it."""
    asked = questions(exercise.id, seed, place.assignment.draw)
    ours = handed_out(exercise.slug, seed)
    test = next(cell.source for cell in ours.cells if is_grade(cell) and not is_solution(cell))
    folder = job / "outside"
    folder.mkdir()
    cells = code_before_test(framed.notebook)
    return rerun(asked, cells, asked_for(test), place.program, folder, safe=place.safe)


def _suspicions(exercise: Assigned, seed: int, framed: Framed) -> tuple[str, ...]:
    """Return what a person should look at in the code that a student wrote."""
    ours = handed_out(exercise.slug, seed)
    given = [cell.source for cell in ours.cells if cell.cell_type == "code"]
    ready_made = ready_made_for(exercise.id, seed) if exercise.has_checker else set()
    theirs = their_code(framed.notebook, ours)
    return remarks_on(theirs, allowed=imports_of(given), ready_made=ready_made)


def _is_untouched(framed: Framed, ours: nbformat.NotebookNode) -> bool:
    """Say whether a question in words has the text that was handed out; nbgrader gives it 0."""
    theirs, given = ([c.source for c in one.cells if is_grade(c)] for one in (framed.notebook, ours))
    return theirs == given


def _rubric(exercise: Assigned, seed: int) -> str:
    if exercise.has_checker:
        return ""
    cells = read_exercise(FOLDER / f"{exercise.slug}.md", seed).tagged("rubric")
    return "\n\n".join(cell.source for cell in cells)


def _write_kernel(place: Workplace, job: Path) -> None:
    """Tell Jupyter how to start a kernel in the sandbox."""
    run = job / "run"
    run.mkdir()
    box = Sandbox(place.safe, read=(PACKAGE,), hidden=(PACKAGE / "classroom",), write=(run,))
    kernel = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    argv = box.command(kernel, KERNEL_LIMITS)
    spec = {"argv": argv, "display_name": "sandbox", "language": "python", "interrupt_mode": "message"}
    folder = place.folder / "share" / "kernels" / KERNEL
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")


def _autograde(
    place: Workplace, student: str, slug: str, config: Config, finish: Finish, *, run: bool
) -> None:
    """Let nbgrader grade one notebook, with its cells run or not, and store the score of ``finish``."""
    directory = CourseDirectory(
        config=config, assignment_id=place.assignment.name, student_id=student, notebook_id=slug,
        submitted_directory="checked",
    )  # fmt: skip
    converter = Autograde(coursedir=directory, config=config, force=True)
    converter.log.setLevel("CRITICAL")
    converter.sanitize_preprocessors = [ClearOutput, DeduplicateIds, CheckCellMetadata]
    execute = [Execute] if run else []
    converter.autograde_preprocessors = [
        *execute, finish, SaveAutoGrades, AssignLatePenalties, CheckCellMetadata,
    ]  # fmt: skip
    with contextlib.redirect_stderr(io.StringIO()):
        converter.start()


def _kernel_config(course: Path, job: Path) -> Config:
    config = read_config(course)
    config.Execute.kernel_name = KERNEL
    config.Execute.timeout = CELL_SECONDS
    config.Execute.startup_timeout = 60
    # A kernel that does not end in time, or speaks nonsense, is not asked to stop: it is stopped.
    config.Execute.interrupt_on_timeout = False
    config.Execute.shutdown_kernel = "immediate"
    config.KernelManager.client_factory = Client
    config.KernelManager.transport = "ipc"  # sockets in a folder: there is no network
    config.KernelManager.ip = str(job / "run" / "k")
    return config


def _run_notebook(
    place: Workplace, student: str, exercise: Assigned, finish: Finish, job: Path, *, run: bool
) -> str:
    """Put a notebook through nbgrader; return why its cells could not be run, or an empty text."""
    config, said = read_config(place.course), ""
    if run:
        _write_kernel(place, job)
        before, tempfile.tempdir = tempfile.tempdir, str(job / "run")
        try:
            with Watch(KERNEL_LIMITS, job / "run") as watch:
                _autograde(place, student, exercise.slug, _kernel_config(place.course, job), finish, run=True)
        except (Exception, SystemExit) as error:
            said = f"the notebook could not be run to its end: {_why(error, watch.reason)}"
        finally:
            tempfile.tempdir = before
    if not run or said:
        finish.inside = None
        _autograde(place, student, exercise.slug, config, finish, run=False)
    return said


def _why(error: BaseException, complaint: str) -> str:
    if complaint:
        return f"its kernel {complaint}"
    if isinstance(error, NbGraderException):
        return "its kernel ended, or did not stop when it was told to"
    last = f"{error}".strip().splitlines()
    return f"{type(error).__name__}{': ' + last[-1][:200] if last else ''}"


def _grade_one(
    place: Workplace, student: str, exercise: Assigned, found: Found, key: str, job: Path
) -> Record:
    """Grade one notebook and return its record."""
    seed = place.assignment.seed_of(student)
    record = Record(student, exercise.slug, "graded", exercise.points, key=key, remarks=found.remarks)
    if not found.name:
        return replace(record, state="missing", score=0.0, reason=NOTHING_HANDED_IN)
    try:
        framed = _framed(found, exercise, seed)
    except Unreadable as error:
        _write_checked(place, student, exercise, _placeholder(exercise, seed, str(error)))
        finish = Finish(f"What was handed in could not be graded: {error}.\n", 0.0, _rubric(exercise, seed))
        _run_notebook(place, student, exercise, finish, job, run=False)
        _leave_open(place, student, exercise)
        return replace(record, state="unreadable", reason=str(error))
    _write_checked(place, student, exercise, framed)
    remarks = [*found.remarks, *framed.remarks, *_suspicions(exercise, seed, framed)]
    if not exercise.has_checker:
        finish = Finish(rubric=_rubric(exercise, seed))
        code = their_code(framed.notebook, handed_out(exercise.slug, seed))
        said = _run_notebook(place, student, exercise, finish, job, run=bool(code))
        if _is_untouched(framed, handed_out(exercise.slug, seed)):
            return replace(record, score=0.0, reason=NOT_ATTEMPTED, remarks=_joined(remarks, said))
        return replace(record, state="manual", remarks=_joined(remarks, said))
    verdict = _outcome(place, exercise, seed, framed, job)
    points = verdict.result.points(exercise.points)
    finish = Finish(verdict.report, points)
    # Cells that do not come to their end outside would not do so in a kernel either.
    said = _run_notebook(place, student, exercise, finish, job, run=verdict.ran)
    if finish.inside is not None and abs(finish.inside - points) > SAME_SCORE:
        said = (
            f"the check in the student's own kernel said {finish.inside:g} of {exercise.points}, "
            f"the run outside {points:g}; the run outside counts"
        )
    return replace(
        record, score=points, inside=finish.inside, reason=verdict.reason, remarks=_joined(remarks, said)
    )


def _framed(found: Found, exercise: Assigned, seed: int) -> Framed:
    """Return a clean notebook.

    Raises
    ------
    Unreadable
        If there is none to be had.
    """
    if found.reason:
        raise Unreadable(found.reason)
    return frame(read_notebook(found.data, found.name), handed_out(exercise.slug, seed), found.name)


def _joined(remarks: Sequence[str], said: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*remarks, *([said] if said else [])]))


def _placeholder(exercise: Assigned, seed: int, reason: str) -> Framed:
    """Return a notebook in the place of one that cannot be read, so that a person can grade it."""
    ours = handed_out(exercise.slug, seed)
    notebook = nbformat.from_dict(json.loads(nbformat.writes(ours)))
    text = f"**What was handed in could not be graded:** {reason}."
    notebook.cells.insert(0, nbformat.v4.new_markdown_cell(text))
    return Framed(notebook)


def _write_checked(place: Workplace, student: str, exercise: Assigned, framed: Framed) -> None:
    path = place.course / "checked" / student / place.assignment.name / f"{exercise.slug}.ipynb"
    write_text(path, nbformat.writes(framed.notebook) + "\n")


def _leave_open(place: Workplace, student: str, exercise: Assigned) -> None:
    """Take the score of a notebook away, so that it waits for a person."""
    with Gradebook(database(place.course)) as book:
        notebook = book.find_submission_notebook(exercise.slug, place.assignment.name, student)
        for grade in notebook.grades:
            grade.auto_score = None
            grade.needs_manual_grade = grade.manual_score is None
        book.db.commit()


# --- one student ----------------------------------------------------------------------------------------

_HERE: list[Workplace] = []


def start_worker(course: Path, assignment: Assignment, program: Path, safe: bool, folder: Path) -> None:
    """Prepare a process that grades students."""
    import torch

    _end_with_parent()
    torch.set_num_threads(1)
    os.nice(5)
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):  # kernels are talkative
        os.dup2(null, standard)
    mine = Path(tempfile.mkdtemp(prefix="w", dir=folder))
    os.environ["JUPYTER_PATH"] = str(mine / "share")
    os.environ["JUPYTER_PLATFORM_DIRS"] = "1"
    _HERE[:] = [Workplace(course, assignment, program, safe, mine)]


def _end_with_parent() -> None:
    """End this process when the one that started it ends, however it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@contextlib.contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """End this process if what is inside does not end; the grader goes on with another."""
    timer = threading.Timer(seconds, os._exit, (1,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _tries(place: Workplace, student: str, slug: str) -> Path:
    """Return the file that counts how often a notebook was begun and not ended."""
    return path_of(place.course, place.assignment.name, student, slug).with_suffix(".begun")


def _grade_safely(place: Workplace, student: str, exercise: Assigned, found: Found, key: str) -> Record:
    """Grade one notebook, whatever it does; give up when several tries have failed.

    A try that ends this process counts as well: the file that counts them is written before.
    """
    begun = _tries(place, student, exercise.slug)
    begun.parent.mkdir(parents=True, exist_ok=True)
    n_tries = len(begun.read_bytes()) if begun.exists() else 0
    record = Record(
        student, exercise.slug, "unreadable", exercise.points,
        reason=f"the grader did not come to an end with it, in {MAX_TRIES} tries",
    )  # fmt: skip
    while n_tries < MAX_TRIES:
        n_tries += 1
        begun.write_bytes(b"." * n_tries)
        job = Path(tempfile.mkdtemp(prefix="j", dir=place.folder))
        try:
            with nbgrader_ready(), _deadline(NOTEBOOK_SECONDS):
                record = _grade_one(place, student, exercise, found, key, job)
                break
        except (Exception, SystemExit) as error:
            record = replace(record, reason=f"the grader itself failed: {_why(error, '')}")
        finally:
            shutil.rmtree(job, ignore_errors=True)
        if n_tries < MAX_TRIES:
            time.sleep(RETRY_SECONDS)
    write_record(place.course, place.assignment.name, record)
    begun.unlink(missing_ok=True)
    return record


def grade_student(student: str, work: Sequence[tuple[Assigned, Found, str]]) -> list[Record]:
    """Grade what one student handed in; whatever happens to one notebook, the others are graded."""
    (place,) = _HERE
    name = place.assignment.name
    folder = handed_in.folder_of(place.course, student, name)
    for note, text in handed_in.notes_of_nbgrader(folder).items():
        write_text(place.course / "checked" / student / name / note, text)
    return [_grade_safely(place, student, exercise, found, key) for exercise, found, key in work]
