"""The check that a reader calls: run the answer, compare, name the mistake, count the points."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from attncourse._checks import check_count
from attncourse.exercises._answer import kind_problem, untouched
from attncourse.exercises._catalogue import exercise
from attncourse.exercises._compare import difference
from attncourse.exercises._exercise import Exercise, Mistake, Property
from attncourse.exercises._result import PropertyResult, Result, call_text, print_report
from attncourse.exercises._run import CPU_SECONDS, Outcome, Run, one_thread, run_cases, run_trusted


def _problem(outcome: Outcome, wanted: Any, task: Exercise, one_of_several: bool) -> str | None:
    """Return what is wrong with one outcome, or None."""
    if outcome.kind == "time":
        return f"takes too long: stopped after {CPU_SECONDS:g} s; does a loop never end?"
    if outcome.kind == "not run":
        return "was not run, because an earlier call did not come back"
    if outcome.kind == "ended":
        return "ended its process, as a crash or an exit does"
    if outcome.kind == "not written":
        return "is not written yet"
    if outcome.kind in ("raised", "memory"):
        return outcome.error
    if outcome.changed:
        return f"changes its input {' and '.join(outcome.changed)}; work on a copy"
    return difference(outcome.output, wanted, task.rtol, task.atol, "it" if one_of_several else "the output")


def _equal(first: Outcome, second: Outcome, task: Exercise) -> bool:
    """Say whether two wrong answers did the same in one call."""
    if first.kind != second.kind or first.changed != second.changed:
        return False
    if first.kind != "output":
        said = [outcome.error.partition(", in the line")[0] for outcome in (first, second)]
        return first.kind == "raised" and said[0] == said[1]
    return difference(first.output, second.output, task.rtol, task.atol) is None


def _slices(properties: Sequence[Property]) -> list[slice]:
    bounds = np.cumsum([0, *(len(one.inputs) for one in properties)]).tolist()
    return [slice(start, stop) for start, stop in pairwise(bounds)]


def _named(
    task: Exercise, properties: Sequence[Property], run: Run, failed: Sequence[bool], draw: int
) -> tuple[list[Mistake], bool]:
    """Return the known mistakes that the answer equals, and whether one of them explains every failure."""
    cases = [case for one in properties for case in one.inputs]
    equal = []  # for each mistake, for each case: did the answer do the same?
    for mistake in task.mistakes:
        outcomes = run_trusted(task.run, mistake.answer, cases, draw).outcomes
        equal.append(
            [_equal(mine, theirs, task) for mine, theirs in zip(run.outcomes, outcomes, strict=True)]
        )
    wrong = [which for which, bad in zip(_slices(properties), failed, strict=True) if bad]

    def nearest(places: Sequence[slice]) -> int | None:
        fitting = [i for i, row in enumerate(equal) if all(all(row[which]) for which in places)]
        return max(fitting, key=lambda i: sum(equal[i]), default=None)

    whole = nearest(wrong)
    found = [whole] if whole is not None else [nearest([which]) for which in wrong]
    return [task.mistakes[i] for i in dict.fromkeys(found) if i is not None], whole is not None


def _remark(task: Exercise, properties: Sequence[Property], run: Run) -> str:
    if task.remark is None:
        return ""
    outputs = {
        one.name: [outcome.output for outcome in run.outcomes[which]]
        for one, which in zip(properties, _slices(properties), strict=True)
    }
    try:
        return task.remark(outputs)
    except (TypeError, ValueError, KeyError, RuntimeError, AttributeError):
        return ""  # outputs of the wrong kind; the report has said so


def _problems(task: Exercise, right: Any, run: Run, cases: Sequence[dict], draw: int) -> list[str | None]:
    """Return for every case what is wrong with its outcome when `right` is taken as right."""
    wanted = run_trusted(task.run, right, cases, draw).outcomes
    return [
        _problem(got, want.output, task, set(case) == {"part"})
        for got, want, case in zip(run.outcomes, wanted, cases, strict=True)
    ]


def _not_attempted(exercise_id: str) -> Result:
    print(
        f"· {exercise_id}: not attempted yet. "
        "Write your answer in the cell above, run it, and run this cell again."
    )
    return Result(exercise_id, attempted=False)


def check(exercise_id: str, answer: Any, *, seed: int = 0, draw: int = 0) -> Result:
    """Check an answer to an exercise: print what is right and wrong, and name the mistake if it is known.

    The answer runs once on every input, on copies, in a process of its own where the system allows it
    (Linux), so that loops, crashes, floods of text and hunger for memory cost it its points and nothing else.

    Parameters
    ----------
    exercise_id : str
        Such as ``"multihead.split-heads"``; it stands on the exercise's page.
    answer : object
        The function, class or dictionary of answers that the exercise asks for.
    seed : int
        Which version of an exercise that has several; it stands in the check's cell.
    draw : int
        Which random inputs.

    Returns
    -------
    Result
        With ``passed``, the outcome of every property, and ``points(maximum)``.

    Raises
    ------
    TypeError
        If ``exercise_id`` is not a text, or ``seed`` or ``draw`` not an integer.
    ValueError
        If there is no such exercise, or ``seed`` or ``draw`` is negative.

    Notes
    -----
    An answer is stopped after 1.5 seconds of processor time, and may ask for 2 GiB of memory.

    Examples
    --------
    >>> from attncourse.exercises import check
    >>> check("multihead.split-heads", lambda x, n_heads: x).points(4)
    ✗ multihead.split-heads: 0 of 4 checks right
    ...
    0.0
    """
    check_count("draw", draw, at_least=0)
    task = exercise(exercise_id, seed)
    if untouched(answer):
        return _not_attempted(exercise_id)
    if (problem := kind_problem(answer, task.reference)) is not None:
        print(f"✗ {exercise_id}: {problem}.")
        return Result(exercise_id, attempted=True)
    with one_thread():
        properties = list(task.properties(np.random.default_rng(draw)))
    cases = [case for one in properties for case in one.inputs]
    run = run_cases(task.run, answer, cases, draw)
    if all(outcome.kind == "not written" for outcome in run.outcomes):
        return _not_attempted(exercise_id)
    problems = min(
        (_problems(task, right, run, cases, draw) for right in (task.reference, *task.accepted.values())),
        key=lambda found: len(cases) - found.count(None),
    )
    results = []
    for one, which in zip(properties, _slices(properties), strict=True):
        bad = [(text, case) for text, case in zip(problems[which], one.inputs, strict=True) if text]
        text, called = (bad[0][0], call_text(bad[0][1])) if bad else ("", "")
        results.append(PropertyResult(one.name, one.weight, not bad, text, called))
    failed = [not one.passed for one in results]
    mistakes, whole = _named(task, properties, run, failed, draw) if any(failed) else ([], False)
    result = Result(exercise_id, True, tuple(results), tuple(mistake.name for mistake in mistakes))
    print_report(task, result, run, mistakes, whole, _remark(task, properties, run))
    return result
