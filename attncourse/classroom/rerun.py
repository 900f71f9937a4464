"""Give an answer the points that count: run it again where nothing can be forged, and compare outside.

The student's cells run in a fresh sandbox that holds no reference, no test and no other file of ours. The
inputs go in, plain arrays come out, and this process, which never runs a line of theirs, compares.
"""

import ast
import base64
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from IPython.core.inputtransformer2 import TransformerManager

from attncourse.classroom.carrying import kind_of, pack
from attncourse.classroom.problem import CourseProblem
from attncourse.classroom.sandbox import Limits, Sandbox, Watch
from attncourse.exercises._check import Questions, judge, not_attempted, wrong_kind
from attncourse.exercises._result import Result
from attncourse.exercises._run import Run, complete, gather, read_messages

# A right answer takes milliseconds. Readers have 1.5 s; a grader's machine may be busy.
CALLS_CPU_SECONDS = 4.0
CELLS_SECONDS = CALLS_SECONDS = 60.0
LIMITS = Limits(seconds=CELLS_SECONDS + CALLS_SECONDS, cpu_seconds=20)
# The limits on processor time end a process by these signals.
OUT_OF_TIME = [getattr(signal, name, None) for name in ("SIGPROF", "SIGXCPU", "SIGKILL")]


@dataclass(frozen=True)
class Verdict:
    """What the run outside found.

    Parameters
    ----------
    result : Result
        With the points.
    report : str
        What the check says to the student.
    reason : str
        Why nothing could be judged; empty if it could.
    ran : bool
        Whether the cells before the check came to their end.
    """

    result: Result
    report: str
    reason: str = ""
    ran: bool = True


def plain_python(cell: str) -> str:
    """Return a notebook's cell without magics, as far as it can be read."""
    try:
        return TransformerManager().transform_cell(cell)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return cell  # it will fail where it runs


def asked_for(check_cell: str) -> str:
    """Return the expression that a check's cell hands in: ``check("id", EXPRESSION, seed=3).points(4)``.

    Raises
    ------
    ValueError
        If the cell is not of that form.
    """
    last = ast.parse(check_cell).body[-1]
    for node in ast.walk(last):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "check":
            return ast.unparse(node.args[1])
    raise ValueError(f"check_cell must call check, got {check_cell!r}")


def _job(asked: Questions, cells: Sequence[str], answer: str) -> dict:
    sources, pickled = pack(asked.task, asked.cases)
    return {
        "cells": [plain_python(cell) for cell in cells],
        "answer": answer,
        "kind": kind_of(asked.task.reference),
        "sources": sources,
        "pickled": base64.b64encode(pickled).decode("ascii"),
        "seed": asked.draw,
        "cpu_seconds": CALLS_CPU_SECONDS,
    }


def _listen(fd: int, n_cases: int, stop: Callable[[], None]) -> tuple[dict, Run | None]:
    """Return how far the sandbox came, and the run of the answer if it came to that.

    It is stopped when the cells, or the calls, take too long, whatever they wait for.
    """
    said: dict = {}
    # One reader for both: it may hold what comes next.
    messages = read_messages(fd, time.monotonic() + CELLS_SECONDS + CALLS_SECONDS)
    with _stopped_after(CELLS_SECONDS, stop):
        for header, _ in messages:
            said = header
            if header.get("kind") != "started":
                break
    if said.get("kind") != "calls":
        return said, None
    with _stopped_after(CALLS_SECONDS, stop):
        outcomes, printed, n_printed = gather(messages, n_cases)
    return said, Run(tuple(outcomes), printed, n_printed)


@contextlib.contextmanager
def _stopped_after(seconds: float, stop: Callable[[], None]) -> Iterator[None]:
    timer = threading.Timer(seconds, stop)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _end(process: subprocess.Popen) -> str:
    """End a sandbox that has said all it will, and return how it ended: "time", "ended" or "closed"."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(1.0)
    running = process.poll() is None
    process.kill()
    status = process.wait()
    number = -status if status < 0 else status - 128
    return "time" if running or number in OUT_OF_TIME else "ended"


def rerun(
    asked: Questions, cells: Sequence[str], answer: str, program: Path, folder: Path, *, safe: bool
) -> Verdict:
    """Run an answer again and judge it.

    Parameters
    ----------
    asked : Questions
        The student's version of the exercise, with inputs that the student has not seen.
    cells : sequence of str
        The code cells up to the check, the student's among them.
    answer : str
        The expression that the check's cell hands in.
    program : Path
        ``inside.py`` beside a bare copy of the package (`make_bare`).
    folder : Path
        An empty folder of ours for the job.
    safe : bool
        Whether to use the sandbox.

    Returns
    -------
    Verdict
        With 0 points and a reason where nothing could be judged.

    Raises
    ------
    CourseProblem
        If the sandbox does not start, or the machine has no memory left.
    """
    job, nothing = folder / "job.json", folder / "nothing"
    job.write_text(json.dumps(_job(asked, cells, answer)), encoding="utf-8")
    nothing.mkdir()
    box = Sandbox(safe, read=(program.parent, job))
    command = box.command([sys.executable, "-s", str(program), str(job)], LIMITS)
    receive, send_to = os.pipe()
    with Watch(LIMITS, nothing) as watch:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=send_to, stderr=subprocess.DEVNULL, cwd=nothing
        )
        os.close(send_to)
        try:
            said, run = _listen(receive, len(asked.cases), process.kill)
        finally:
            os.close(receive)
            how = _end(process)
    if watch.machine_full:
        raise CourseProblem("this machine had no memory left: grade again with fewer --jobs")
    if not said:
        raise CourseProblem(f"the sandbox did not start for {asked.exercise_id}: run `attncourse doctor`")
    return _verdict(asked, said, run, how, watch.reason)


def _verdict(asked: Questions, said: dict, run: Run | None, how: str, complaint: str) -> Verdict:
    kind, error = said.get("kind"), str(said.get("error", ""))[:400]
    printed, reason = io.StringIO(), ""
    with contextlib.redirect_stdout(printed):
        if run is not None:
            done = complete(list(run.outcomes), len(asked.cases), how, run.printed, run.n_printed)
            stopped = any(one.kind in ("time", "ended", "memory") for one in done.outcomes)
            result, reason = judge(asked, done), complaint if stopped else ""
        elif kind == "untouched":
            result = not_attempted(asked.exercise_id)
        elif kind == "wrong kind":
            result = wrong_kind(asked.exercise_id, error)
        else:
            reason = _why_no_answer(kind, error, how, complaint)
            print(f"✗ {asked.exercise_id}: {reason}.")
            result = Result(asked.exercise_id, attempted=True)
    return Verdict(result, printed.getvalue(), reason, ran=kind != "started")


def _why_no_answer(kind: object, error: str, how: str, complaint: str) -> str:
    if kind == "no answer":
        return f"there is no answer to check ({error})"
    if complaint:
        return f"the cells before the check {complaint}"
    if how == "time":
        return f"the cells before the check did not end within {LIMITS.cpu_seconds} s"
    return "the cells before the check ended their process, as a crash or an exit does"
