"""Assign exercises: nbgrader's source, what students get, and each student's own version."""

import contextlib
import difflib
import io
import secrets
import zipfile
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbgrader.converters import GenerateAssignment
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import CheckCellMetadata, ClearOutput, ClearSolutions, ComputeChecksums, LockCells

from attncourse.classroom.bank import (
    FOLDER,
    STUB,
    ExerciseFile,
    execute,
    exercise_paths,
    grader_notebook,
    read_exercise,
)
from attncourse.classroom.course import (
    Assigned,
    Assignment,
    assignment_path,
    check_name,
    nbgrader_ready,
    read_assignment,
    read_config,
    write_assignment,
    write_config,
)
from attncourse.classroom.problem import CourseProblem
from attncourse.classroom.rerun import asked_for
from attncourse.classroom.roster import Student
from attncourse.exercises._check import check

MAX_DRAW = 10**6
FEW_TRIES = 20


def find_exercises(ids: Sequence[str]) -> list[ExerciseFile]:
    """Return the exercises of the bank that are asked for.

    Raises
    ------
    CourseProblem
        If there is no such exercise, or one is asked for twice.
    """
    known = {path.stem.replace("-", ".", 1): path for path in exercise_paths()}
    found = []
    for one in ids:
        if one not in known:
            near = difflib.get_close_matches(one, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise CourseProblem(
                f"there is no exercise {one!r} in the book{hint} (the list is the book's page Exercises; "
                "ids look like multihead.split-heads)"
            )
        if ids.count(one) > 1:
            raise CourseProblem(f"the exercise {one} is named twice")
        found.append(read_exercise(known[one]))
    if not found:
        raise CourseProblem("name at least one exercise, such as multihead.split-heads")
    return found


@cache
def handed_out(slug: str, seed: int) -> NotebookNode:
    """Return the notebook that a student with this seed gets, made by nbgrader's own steps. Do not modify."""
    notebook = grader_notebook(read_exercise(FOLDER / f"{slug}.md", seed))
    steps = (
        LockCells(),
        ClearSolutions(code_stub={"python": STUB}),
        ClearOutput(),
        CheckCellMetadata(),
        ComputeChecksums(),
    )
    for step in steps:
        notebook, _ = step.preprocess(notebook, {"nbgrader": {"notebook": slug}})
    return notebook


def solution_of(slug: str, seed: int) -> str:
    """Return the right answer to a version, as the source of the answer's cell."""
    return read_exercise(FOLDER / f"{slug}.md", seed).tagged("answer")[0].solved()


def _is_solved(exercise: ExerciseFile, draw: int) -> bool:
    """Say whether the exercise's own solution earns full points on the inputs that students are graded on."""
    names: dict = {"__name__": "__main__"}
    with contextlib.redirect_stdout(io.StringIO()):
        for cell in exercise.cells:
            if cell.kind == "code" and cell.tag in ("", "answer"):
                execute(cell.solved(), names, exercise.path.name)
            elif cell.tag == "check":
                answer = eval(asked_for(cell.source), names)
                return check(exercise.id, answer, seed=exercise.seed, draw=draw).passed
    return True  # a question in words


def _draw_for(versions: Iterable[tuple[str, int]], proved: Callable[[], None]) -> int:
    """Choose the inputs that students will be graded on, and prove every solution on them.

    Random inputs have unlucky cases, such as two equal scores where a maximum is asked for.

    Raises
    ------
    CourseProblem
        If no inputs can be found.
    """
    exercises = [read_exercise(FOLDER / f"{slug}.md", seed) for slug, seed in versions]
    for _ in range(FEW_TRIES):
        draw = 2 + secrets.randbelow(MAX_DRAW)
        if all(_is_solved(one, draw) for one in exercises):
            proved()
            return draw
    ids = ", ".join(sorted({one.id for one in exercises}))
    raise CourseProblem(f"the book's own solutions fail on new inputs in one of {ids}: please report this")


def _write_source(course: Path, assignment: Assignment) -> None:
    """Write nbgrader's source, and let nbgrader make the release from it.

    Raises
    ------
    CourseProblem
        If nbgrader refuses.
    """
    folder = course / "source" / assignment.name
    folder.mkdir(parents=True, exist_ok=True)
    for one in assignment.exercises:
        exercise = read_exercise(FOLDER / f"{one.slug}.md", assignment.seed)
        nbformat.write(grader_notebook(exercise), folder / f"{one.slug}.ipynb")
    with nbgrader_ready(), contextlib.redirect_stderr(io.StringIO()) as said:
        directory = CourseDirectory(config=read_config(course), assignment_id=assignment.name)
        converter = GenerateAssignment(coursedir=directory, config=read_config(course), force=True)
        converter.log.setLevel("ERROR")
        try:
            converter.start()
        except (Exception, SystemExit) as error:
            raise CourseProblem(
                f"nbgrader could not make {assignment.name}: {error} {said.getvalue()}"
            ) from error


def _write_handouts(course: Path, assignment: Assignment, done: Callable[[], None]) -> None:
    """Write every student's own notebooks, and an archive of them."""
    root = course / "handout" / assignment.name
    for student in assignment.students:
        folder = root / student
        folder.mkdir(parents=True, exist_ok=True)
        seed = assignment.seed_of(student)
        with zipfile.ZipFile(root / f"{student}.zip", "w") as archive:
            for one in assignment.exercises:
                text = nbformat.writes(handed_out(one.slug, seed)) + "\n"
                (folder / f"{one.slug}.ipynb").write_text(text, encoding="utf-8")
                entry = zipfile.ZipInfo(f"{assignment.name}/{one.slug}.ipynb")  # without the time of today
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, text, zipfile.ZIP_DEFLATED)
        done()


def assign(
    course: Path,
    name: str,
    ids: Sequence[str],
    *,
    seed: int = 0,
    students: Sequence[Student] = (),
    per_student: bool = False,
    done: Callable[[], None] = lambda: None,
) -> Assignment:
    """Assign exercises.

    The same call again changes nothing but adds students who are new on the roster. Another call under the
    same name is refused as soon as notebooks may be in students' hands.

    Parameters
    ----------
    course : Path
        The course folder.
    name : str
        Of the assignment; becomes the name of folders.
    ids : sequence of str
        Of the exercises.
    seed : int
        Which versions of exercises that have several.
    students : sequence of Student
        Those who should hand in.
    per_student : bool
        Whether every student has a seed of their own, made from ``seed``.
    done : callable
        Called after every step, for a progress bar: once for the proof, once for the source, once for each
        student's handout.

    Returns
    -------
    Assignment
        Also stored in the course folder.

    Raises
    ------
    CourseProblem
        If an exercise is not known, the name is no name or is taken, or students are needed and none given.
    """
    check_name(name)
    exercises = find_exercises(ids)
    if seed < 0:
        raise CourseProblem(f"--seed must be at least 0, got {seed}")
    if per_student and not students:
        raise CourseProblem("--per-student needs a roster with at least one student")
    asked = tuple(Assigned(one.id, one.slug, one.meta["points"], one.meta["kind"]) for one in exercises)
    people = tuple(sorted(one.student_id for one in students))
    wanted = Assignment(name, asked, seed, per_student, people, 0)
    draw = _earlier_draw(course, wanted)
    versions = {(one.slug, wanted.seed_of(who)) for one in asked for who in (people or ("",))}
    firsts = {(slug, seed % read_exercise(FOLDER / f"{slug}.md").n_versions): seed for slug, seed in versions}
    if draw is None:
        draw = _draw_for([(slug, seed) for (slug, _), seed in firsts.items()], done)
    assignment = Assignment(name, asked, seed, per_student, people, draw)
    write_config(course)
    write_assignment(course, assignment)  # first: the same call again finishes what was cut short
    _write_source(course, assignment)
    done()
    if per_student:
        _write_handouts(course, assignment, done)
    return assignment


def _earlier_draw(course: Path, wanted: Assignment) -> int | None:
    """Return the inputs chosen when the same exercises were assigned before, or None.

    Raises
    ------
    CourseProblem
        If something else was assigned under this name, or students would be forgotten.
    """
    if not assignment_path(course, wanted.name).exists():
        if (course / "source" / wanted.name).exists():
            raise CourseProblem(
                f"{course / 'source' / wanted.name} exists and was not made by `attncourse assign`: "
                "choose another name"
            )
        return None
    before = read_assignment(course, wanted.name)
    same = (before.exercises, before.seed, before.per_student) == (
        wanted.exercises, wanted.seed, wanted.per_student,
    )  # fmt: skip
    if not same:
        raise CourseProblem(
            f"{wanted.name} was assigned before, with other exercises or another seed, and may be in "
            f"students' hands: choose another name, or remove it from {course} by hand"
        )
    if gone := sorted(set(before.students) - set(wanted.students)):
        raise CourseProblem(
            f"{wanted.name} was assigned to students who are not on this roster: {', '.join(gone[:5])}"
        )
    return before.draw
