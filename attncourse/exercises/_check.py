"""The check that a reader calls: run the answer, compare, name the mistake, count the points."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
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
from attncourse.exercises._wire import decode, encode


@dataclass(frozen=True)
class Questions:
    """One version of an exercise with inputs drawn for it: all that is needed to judge a run of an answer."""

    exercise_id: str
    task: Exercise
    properties: tuple[Property, ...]
    draw: int
    # What reference and mistakes give, by the answer's identity: it stays the same, however often one tries.
    given: dict[int, tuple[Outcome, ...]] = field(default_factory=dict, compare=False, repr=False)

    @property
    def cases(self) -> list[dict[str, Any]]:
        """The inputs of every call, property by property."""
        return [case for one in self.properties for case in one.inputs]


def questions(exercise_id: str, seed: int, draw: int) -> Questions:
    """Return one version of an exercise with inputs drawn for it; the last few are kept."""
    check_count("draw", draw, at_least=0)
    exercise(exercise_id, seed)  # says what is wrong with them
    return _drawn(exercise, exercise_id, seed, draw)


@lru_cache(maxsize=8)
def _drawn(find: Callable[..., Exercise], exercise_id: str, seed: int, draw: int) -> Questions:
    task = find(exercise_id, seed)
    with one_thread():
        properties = tuple(task.properties(np.random.default_rng(draw)))
    return Questions(exercise_id, task, properties, draw)


def _read(asked: Questions, run: Run) -> Run:
    """Return a run with what is compared in the place of what came back."""
    reading = asked.task.reading
    if reading is None:
        return run

    def read(outcome: Outcome, case: dict[str, Any]) -> Outcome:
        if outcome.kind != "output":
            return outcome
        try:
            return replace(outcome, output=decode(encode(reading(outcome.output, case))))
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            return Outcome(error=f"gives what cannot be judged: {error}", kind="raised")

    with one_thread():
        return replace(run, outcomes=tuple(map(read, run.outcomes, asked.cases)))


def _trusted(asked: Questions, answer: Any) -> tuple[Outcome, ...]:
    """Return what an answer of ours gives."""
    if id(answer) not in asked.given:
        run = run_trusted(asked.task.run, answer, asked.cases, asked.draw)
        asked.given[id(answer)] = _read(asked, run).outcomes
    return asked.given[id(answer)]


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


def _named(asked: Questions, run: Run, failed: Sequence[bool]) -> tuple[list[Mistake], bool]:
    """Return the known mistakes that the answer equals, and whether one of them explains every failure."""
    task, properties = asked.task, asked.properties
    equal = []  # for each mistake, for each case: did the answer do the same?
    for mistake in task.mistakes:
        outcomes = _trusted(asked, mistake.answer)
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


def _remark(asked: Questions, run: Run) -> str:
    if asked.task.remark is None:
        return ""
    outputs = {
        one.name: [outcome.output for outcome in run.outcomes[which]]
        for one, which in zip(asked.properties, _slices(asked.properties), strict=True)
    }
    try:
        return asked.task.remark(outputs)
    except (TypeError, ValueError, KeyError, RuntimeError, AttributeError):
        return ""  # outputs of the wrong kind; the report has said so


def _problems(asked: Questions, right: Any, run: Run) -> list[str | None]:
    """Return for every case what is wrong with its outcome when `right` is taken as right."""
    return [
        _problem(got, want.output, asked.task, set(case) == {"part"})
        for got, want, case in zip(run.outcomes, _trusted(asked, right), asked.cases, strict=True)
    ]


def judge(asked: Questions, run: Run) -> Result:
    """Compare a run of an answer with the reference, print the report, and return the result."""
    exercise_id, task, properties = asked.exercise_id, asked.task, asked.properties
    if all(outcome.kind == "not written" for outcome in run.outcomes):
        return not_attempted(exercise_id)
    run = _read(asked, run)
    problems = min(
        (_problems(asked, right, run) for right in (task.reference, *task.accepted.values())),
        key=lambda found: len(found) - found.count(None),
    )
    results = []
    for one, which in zip(properties, _slices(properties), strict=True):
        bad = [(text, case) for text, case in zip(problems[which], one.inputs, strict=True) if text]
        text, called = (bad[0][0], call_text(bad[0][1])) if bad else ("", "")
        results.append(PropertyResult(one.name, one.weight, not bad, text, called))
    failed = [not one.passed for one in results]
    mistakes, whole = _named(asked, run, failed) if any(failed) else ([], False)
    result = Result(exercise_id, True, tuple(results), tuple(mistake.name for mistake in mistakes))
    print_report(task, result, run, mistakes, whole, _remark(asked, run))
    return result


def not_attempted(exercise_id: str) -> Result:
    """Say that an answer is still the starter."""
    print(
        f"· {exercise_id}: not attempted yet. "
        "Write your answer in the cell above, run it, and run this cell again."
    )
    return Result(exercise_id, attempted=False)


def wrong_kind(exercise_id: str, problem: str) -> Result:
    """Say that an answer is not the kind of thing that was asked for."""
    print(f"✗ {exercise_id}: {problem}.")
    return Result(exercise_id, attempted=True)


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
    asked = questions(exercise_id, seed, draw)
    if untouched(answer):
        return not_attempted(exercise_id)
    if (problem := kind_problem(answer, asked.task.reference)) is not None:
        return wrong_kind(exercise_id, problem)
    return judge(asked, run_cases(asked.task.run, answer, asked.cases, draw))
