"""Run a student's cells and answer the questions of a job: the program that runs inside the sandbox.

It knows how the answer is called and with which inputs. It knows neither the right outputs nor who compares
them. Everything here is in the hands of the student's code; nothing it says is believed, only compared.

Usage: ``python inside.py JOB``; the messages go to standard output (`attncourse.exercises._run`).
"""

import base64
import builtins
import json
import linecache
import os
import pickle
import signal
import sys
import types
from collections.abc import Callable
from typing import Any

from attncourse.exercises import _run
from attncourse.exercises._answer import kind_problem, untouched

STANDARD_INPUT, STANDARD_OUTPUT, STANDARD_ERROR = 0, 1, 2
REFERENCES = {"class": type, "dict": {}, "function": len}


class _Silent:
    """Stands for IPython's shell: magics do nothing."""

    def __getattr__(self, name: str) -> Callable:
        return lambda *args, **options: None


def run_cells(cells: list[str]) -> tuple[dict[str, Any], str]:
    """Run cells as a notebook does, on after errors; return the names that they define and the last error."""
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    builtins.get_ipython = _Silent  # type: ignore[attr-defined]
    builtins.display = lambda *args, **options: None  # type: ignore[attr-defined]
    said = ""
    for number, source in enumerate(cells, start=1):
        place = f"<cell {number}>"
        linecache.cache[place] = (len(source), None, source.splitlines(keepends=True), place)
        try:
            exec(compile(source, place, "exec"), main.__dict__)
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            said = f"{type(error).__name__}: {error}"
    return main.__dict__, said


def carried(sources: dict[str, str], pickled: bytes) -> tuple[Callable, list[dict[str, Any]]]:
    """Define the parts of checkers that came along, and return the call and its inputs."""
    for name, source in sources.items():
        parent = name.rpartition(".")[0]
        for module in (parent, name):
            sys.modules.setdefault(module, types.ModuleType(module))
        exec(compile(source, f"<{name}>", "exec"), sys.modules[name].__dict__)
    return pickle.loads(pickled)


def main() -> None:
    """Do the job."""
    with open(sys.argv[1], encoding="utf-8") as file:
        job = json.load(file)
    out = os.dup(STANDARD_OUTPUT)
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (STANDARD_INPUT, STANDARD_OUTPUT, STANDARD_ERROR):
        os.dup2(null, standard)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _run.send(out, {"kind": "started"})
    names, error = run_cells(job["cells"])
    try:
        answer = eval(job["answer"], names)
    except Exception as missing:
        text = error or f"{type(missing).__name__}: {missing}"
        _run.send(out, {"kind": "no answer", "error": text})
        return
    if untouched(answer):
        _run.send(out, {"kind": "untouched", "error": error})
        return
    if (problem := kind_problem(answer, REFERENCES[job["kind"]])) is not None:
        _run.send(out, {"kind": "wrong kind", "error": problem})
        return
    _run.send(out, {"kind": "calls"})
    run, cases = carried(job["sources"], base64.b64decode(job["pickled"]))
    _run.answer_calls(out, run, answer, cases, job["seed"], job["cpu_seconds"])


if __name__ == "__main__":
    main()
