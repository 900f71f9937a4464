"""Prove the checkers of the exercise bank: pass what is right, fail what is wrong, name the mistake.

Usage::

    python tools/exercise_proof.py                                   every exercise
    python tools/exercise_proof.py book/exercises/NAME.md ...        some
"""

import contextlib
import inspect
import io
import re
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

from attncourse.classroom.bank import (
    HINT,
    SOLUTION,
    BadExercise,
    ExerciseFile,
    exercise_paths,
    read_exercise,
    run_cells,
)
from attncourse.exercises import Result, check
from attncourse.exercises._catalogue import exercise as checker_of
from attncourse.exercises._exercise import Exercise
from attncourse.exercises._run import can_fork

MAX_SECONDS = 2.0
MIN_MISTAKES = 3
MIN_VERSIONS = 3
MAX_COLUMNS = 88
MORE_DRAWS = range(2, 6)


def quietly(function: Any, *args: Any, **options: Any) -> tuple[Any, str]:
    """Call a function with warnings as errors; return its value and what it printed."""
    printed = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(printed):
        warnings.simplefilter("error")
        value = function(*args, **options)
    return value, printed.getvalue()


def form_problems(exercise: ExerciseFile) -> Iterator[str]:
    """Yield what is wrong with the form of a file."""
    meta, markdown = (
        exercise.meta,
        "\n\n".join(cell.source for cell in exercise.cells if cell.kind == "markdown"),
    )
    yield from (f"{key} is {meta[key]}" for key in ("minutes", "points") if not 1 <= meta[key] <= 120)
    if meta["level"] not in (1, 2, 3):
        yield f"level is {meta['level']}, not 1, 2 or 3"
    if not meta["needs"] or not all(isinstance(one, str) for one in meta["needs"]):
        yield "needs must list what a reader must know, each as a text"
    numbers = [int(number) for number, _ in HINT.findall(markdown)]
    if numbers != [1, 2, 3]:
        yield f"hints numbered {numbers}, not 1, 2, 3"
    if not exercise.title:
        yield "no title"
    answers = exercise.tagged("answer")
    if not exercise.has_checker:
        if [cell.kind for cell in answers] != ["markdown"] or len(exercise.tagged("rubric")) != 1:
            yield "a question in words needs one Markdown cell tagged answer and one tagged rubric"
        return
    if len(SOLUTION.findall(markdown)) != 1:
        yield "there must be one admonition Solution"
    if [cell.kind for cell in answers] != ["code"]:
        yield f"{len(answers)} code cells tagged answer, not 1"
    elif "### BEGIN SOLUTION" not in answers[0].source or answers[0].starter() == answers[0].solved():
        yield "the answer's cell has no solution between ### BEGIN SOLUTION and ### END SOLUTION"
    checks = exercise.tagged("check")
    if len(checks) != 1 or f'check("{exercise.id}", ' not in checks[0].source:
        yield f'one cell tagged check must call check("{exercise.id}", ...)'
    elif not checks[0].source.rstrip().endswith(f".points({meta['points']})"):
        yield f"the check's cell must end in .points({meta['points']})"
    elif exercise.is_family != (f"seed={exercise.seed})" in checks[0].source):
        yield "the check of a family, and only of one, says seed=<<seed>>"
    lines = [line for cell in exercise.cells if cell.kind == "code" for line in cell.source.split("\n")]
    if max(map(len, lines)) > MAX_COLUMNS:
        yield f"a line of code is longer than {MAX_COLUMNS} characters"


def file_problems(exercise: ExerciseFile) -> Iterator[str]:
    """Yield what is wrong when the file is run with its starter and with its solution."""
    value, printed = quietly(run_cells, exercise, solved=False)
    if value != 0.0 or type(value) is not float or "not attempted yet" not in printed:
        yield f"the starter gets {value!r} and the report: {printed.strip()}"
    value, printed = quietly(run_cells, exercise, solved=True)
    if value != float(exercise.meta["points"]) or type(value) is not float:
        yield f"the solution gets {value!r} points and the report: {printed.strip()}"


def _checked(exercise: ExerciseFile, answer: Any, draw: int) -> tuple[Result, str, float]:
    """Check an answer; a slow one once more, because a busy machine can only add time.

    Version 0 with its first inputs is checked as for readers on Linux, where each check forks; the others in
    this process, as on other systems: the comparison is the same, and a fork takes longer than it.
    """
    forks = can_fork if exercise.seed == draw == 0 else lambda: False
    seconds = []
    with patch("attncourse.exercises._run.can_fork", forks):
        for _ in range(2):
            start = time.perf_counter()
            result, printed = quietly(check, exercise.id, answer, seed=exercise.seed, draw=draw)
            seconds.append(time.perf_counter() - start)
            if seconds[-1] <= MAX_SECONDS:
                break
    return result, printed, min(seconds)


def checker_problems(exercise: ExerciseFile, draw: int = 0) -> Iterator[str]:
    """Yield what is wrong with a checker: what passes or fails against its list, or takes too long."""
    task = checker_of(exercise.id, exercise.seed)
    if len(task.mistakes) < MIN_MISTAKES:
        yield f"{len(task.mistakes)} known mistakes, at least {MIN_MISTAKES}"
    names = [mistake.name for mistake in task.mistakes]
    yield from (f"two mistakes are called {name!r}" for name in {n for n in names if names.count(n) > 1})
    for name, answer in right_answers(task).items():
        result, printed, seconds = _checked(exercise, answer, draw)
        if not result.passed or result.points(4) != 4.0:
            yield f"{name} does not pass: {printed.strip()}"
        if seconds > MAX_SECONDS:
            yield f"{name} takes {seconds:.1f} s, at most {MAX_SECONDS:g}"
    for mistake in task.mistakes:
        result, printed, seconds = _checked(exercise, mistake.answer, draw)
        if result.passed or result.points(1) >= 1.0:
            yield f"the mistake {mistake.name!r} passes"
        elif result.mistakes != (mistake.name,):
            yield f"the mistake {mistake.name!r} is named {result.mistakes}: {printed.strip()}"
        elif mistake.message not in printed:
            yield f"the report of {mistake.name!r} lacks its message"
        if seconds > MAX_SECONDS:
            yield f"the mistake {mistake.name!r} takes {seconds:.1f} s, at most {MAX_SECONDS:g}"
        if len(mistake.message) < 15 or not mistake.message.endswith("."):
            yield f"the message of {mistake.name!r} is no sentence"
        yield from (
            f"the report of {mistake.name!r} shows the reference" for _ in leaks(task.reference, printed)
        )


def right_answers(task: Exercise) -> dict[str, Any]:
    """Return what a checker calls right, by name."""
    variants = {f"variant {name}": answer for name, answer in {**task.variants, **task.accepted}.items()}
    return {"reference": task.reference} | variants


def draw_problems(exercise: ExerciseFile) -> Iterator[str]:
    """Yield the right answers that fail on other inputs, for instance by how they break a tie."""
    for name, answer in right_answers(checker_of(exercise.id, exercise.seed)).items():
        for draw in MORE_DRAWS:
            result, printed, _ = _checked(exercise, answer, draw)
            if not result.passed:
                yield f"[draw {draw}] {name} does not pass: {printed.strip()}"


def leaks(reference: Any, printed: str) -> list[str]:
    """Return the lines of the reference's body that a report shows."""
    try:
        source = inspect.getsource(reference)
    except (TypeError, OSError):
        return []
    lines = [line.strip() for line in source.splitlines() if "return " in line or " = " in line]
    return [line for line in lines if len(line) > 20 and line in printed]


def family_problems(path: Path) -> Iterator[str]:
    """Yield what is wrong with a family: too few versions, or an answer that is right for two of them."""
    first = read_exercise(path)
    if not first.is_family:
        return
    if first.n_versions < MIN_VERSIONS:
        yield f"{first.n_versions} versions, at least {MIN_VERSIONS}"
    versions = [read_exercise(path, seed) for seed in range(first.n_versions)]
    texts = ["\n".join(cell.source for cell in one.cells if cell.tag in ("", "answer")) for one in versions]
    for one, text in zip(versions, texts, strict=True):
        yield from (f"[version {one.seed}] {problem}" for problem in file_problems(one) if one.seed)
        if texts.count(text) > 1:
            yield f"[version {one.seed}] reads like another version"
        other = versions[(one.seed + 1) % len(versions)]
        value, _ = quietly(run_cells, other, solved=True, answer=one.tagged("answer")[0].solved())
        if value >= other.meta["points"]:
            yield f"the solution of version {one.seed} gets full points in version {other.seed}"


def all_problems(path: Path) -> list[str]:
    """Return everything that is wrong with an exercise."""
    try:
        exercise = read_exercise(path)
        found = list(form_problems(exercise))
        if exercise.has_checker and not found:
            found += [*file_problems(exercise), *family_problems(path)]
            for seed in range(exercise.n_versions):
                one = read_exercise(path, seed)
                prefix = f"[version {seed}] " if exercise.is_family else ""
                found += [prefix + problem for problem in checker_problems(one)]
            found += [f"[draw 1] {problem}" for problem in checker_problems(exercise, draw=1)]
            found += draw_problems(exercise)
    except (BadExercise, ValueError, ImportError, AttributeError) as error:
        return [f"{type(error).__name__}: {error}"]
    return found


def main(names: list[str]) -> int:
    """Prove the exercises and print one line for each."""
    total, bad = 0, 0
    for path in [Path(name) for name in names] or exercise_paths():
        start = time.perf_counter()
        problems = all_problems(path)
        bad += bool(problems)
        detail = ""
        if not problems and (exercise := read_exercise(path)).has_checker:
            task = checker_of(exercise.id)
            total += len(task.mistakes)
            n_variants = len(task.variants | task.accepted)
            detail = f"{len(task.mistakes)} mistakes, {n_variants} variants, {exercise.n_versions} versions, "
        print(f"{'✗' if problems else '✓'} {path.stem}: {detail}{time.perf_counter() - start:.1f} s")
        for problem in problems:
            print("    " + re.sub(r"\n", "\n      ", problem))
    print(f"{total} known mistakes")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
