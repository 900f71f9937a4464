"""The run that counts: what the sandbox says is compared, never believed, and ends whatever it does.

Here answers run without a sandbox (`safe=False`): they are ours. `test_sandbox.py` runs one in it.
"""

import json
import os
import threading
import time

import pytest

from attncourse.classroom import rerun as module
from attncourse.classroom.assigning import solution_of
from attncourse.classroom.bare import make_bare
from attncourse.classroom.problem import CourseProblem
from attncourse.classroom.rerun import asked_for, plain_python, rerun
from attncourse.exercises._check import questions
from attncourse.exercises._run import send
from attncourse.exercises._wire import encode

pytestmark = pytest.mark.exercises
HEADS = "multihead.split-heads"
RIGHT = solution_of("multihead-split-heads", 0)
IMPORTS = "import torch\n\nfrom attncourse.exercises import check"


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return make_bare(tmp_path_factory.mktemp("bare") / "bare")


@pytest.fixture
def ask(program, tmp_path):
    """Run cells and an answer, and return the verdict."""

    def asked(*cells, answer="split_heads", exercise_id=HEADS):
        return rerun(questions(exercise_id, 0, 77), cells, answer, program, tmp_path, safe=False)

    return asked


# --- cells -------------------------------------------------------------------------------------------------


def test_magics_become_python_and_what_cannot_be_read_stays():
    assert plain_python("x = 1\ny = 2") == "x = 1\ny = 2\n"
    assert "run_line_magic" in plain_python("%matplotlib inline")
    assert "system" in plain_python("!pip install x")
    assert plain_python("def (") == "def (\n"
    assert "\0" in plain_python("\0")
    plain_python("(" * 5000)


def test_the_answer_that_is_asked_for():
    assert asked_for('import a\ncheck("x.y", split_heads).points(4)') == "split_heads"
    assert asked_for('check("x.y", {"a": f, "b": g}, seed=3).points(2)') == "{'a': f, 'b': g}"
    with pytest.raises(ValueError, match=r"^check_cell must call check, got '4\.0'$"):
        asked_for("4.0")


# --- what becomes of an answer -----------------------------------------------------------------------------


def test_a_right_answer_gets_all_points(ask):
    verdict = ask(IMPORTS, "%matplotlib inline", RIGHT, "print(split_heads(torch.zeros(1, 2, 4), 2))")
    assert verdict.result.points(4) == 4.0
    assert verdict.report.startswith(f"✓ {HEADS}: right in every check")
    assert (verdict.reason, verdict.ran) == ("", True)


def test_a_wrong_answer_gets_less_and_is_told(ask):
    verdict = ask("def split_heads(x, n):\n    return x.reshape(*x.shape[:-2], n, x.shape[-2], -1)")
    assert 0 < verdict.result.points(4) < 4
    assert "known mistake" in verdict.report
    assert verdict.reason == ""


FORGERY = """
import builtins, sys, attncourse.exercises, attncourse.exercises._run as run
class Equal:
    __eq__ = lambda self, other: True
    __ne__ = lambda self, other: False
run._outcome = run._same = run._failure = lambda *_: Equal()
attncourse.exercises.check = lambda *_, **__: 4.0
builtins.isinstance = lambda *_: True
def split_heads(x, n_heads):
    return Equal()
"""


def test_what_is_patched_inside_changes_nothing_outside(ask):
    verdict = ask(FORGERY)
    assert verdict.result.points(4) == 0.0
    assert "✗" in verdict.report


def test_forged_messages_are_answers_like_others(ask):
    """Whoever writes to the pipe themselves still has to know the right numbers."""
    forged = (
        "import os\nfrom attncourse.exercises._run import send\n"
        "from attncourse.exercises._wire import encode\n"
        "for fd in range(3, 20):\n"
        "    try:\n"
        "        send(fd, {'kind': 'calls', 'passed': True, 'score': 4})\n"
        "        for _ in range(50):\n            send(fd, {'kind': 'output', 'changed': []}, encode(4.0))\n"
        "    except OSError:\n        pass\n"
        "os._exit(0)"
    )
    verdict = ask(forged)
    assert verdict.result.points(4) == 0.0
    assert "the output is a float, not a torch.Tensor" in verdict.report


@pytest.mark.parametrize(
    ("cells", "report", "reason"),
    [
        (["def split_heads(x, n):\n    ..."], "not attempted yet", ""),
        (["split_heads = 3"], "the answer is an integer, not a function: hand in the function itself", ""),
        ([], "no answer to check (NameError: name 'split_heads' is not defined)", "there is no answer"),
        (["x = 1 / 0"], "no answer to check (ZeroDivisionError: division by zero)", "there is no answer"),
        (["def split_heads("], "there is no answer to check (SyntaxError: ", "there is no answer"),
        (["import os\nos._exit(0)"], "the cells before the check ended their process", "the cells before"),
        (["import ctypes\nctypes.string_at(0)"], "ended their process, as a crash or", "the cells before"),
        (["def split_heads(x, n):\n    raise SystemExit"], "raises SystemExit", ""),
        (["import os\ndef split_heads(x, n):\n    os._exit(0)"], "ended its process, as a crash", ""),
    ],
)  # fmt: skip
def test_what_is_no_answer_is_said_and_gets_nothing(cells, report, reason, ask):
    verdict = ask(*cells)
    assert verdict.result.points(4) == 0.0
    assert report in verdict.report
    assert verdict.reason.startswith(reason)
    assert bool(verdict.reason) == bool(reason)
    assert verdict.result.attempted == ("not attempted" not in report)
    assert verdict.ran == (not reason or "there is no" in reason)


def test_a_cell_that_fails_does_not_take_the_answer(ask):
    """A notebook goes on after an error, when its reader runs the next cell."""
    verdict = ask("raise SystemExit(1)", RIGHT, "1 / 0", "input('name?')")
    assert verdict.result.points(4) == 4.0


def test_the_answer_does_not_see_how_it_is_judged(ask):
    looks = (
        "import sys, os, json\n"
        "from attncourse.exercises import check\n"
        "def split_heads(x, n):\n"
        "    names = [one for one in sys.modules if one.startswith('attncourse.exercises.')]\n"
        "    raise ValueError(repr(sorted(one.rpartition('.')[2] for one in names)) + repr(check('a', 1)))"
    )
    verdict = ask(looks)
    assert "raises ValueError: ['_answer', '_compare', '_exercise', '_run', '_wire']<attn" in verdict.report


@pytest.mark.instructor
def test_cells_that_never_end_are_stopped(ask, monkeypatch):
    monkeypatch.setattr(module, "CELLS_SECONDS", 25.0)  # a slow machine takes some to start
    begin = time.monotonic()
    verdict = ask("import time\ntime.sleep(600)")
    assert time.monotonic() - begin < 100
    assert verdict.result.points(4) == 0.0
    assert not verdict.ran
    assert "the cells before the check did not end within" in verdict.reason


def test_calls_that_wait_are_stopped(ask, monkeypatch):
    monkeypatch.setattr(module, "CALLS_SECONDS", 1.0)
    verdict = ask("import time\ndef split_heads(x, n):\n    time.sleep(600)")
    assert "takes too long" in verdict.report
    assert verdict.result.points(4) == 0.0
    assert verdict.ran


def test_calls_that_loop_are_stopped(ask, monkeypatch):
    monkeypatch.setattr(module, "CALLS_CPU_SECONDS", 0.5)
    verdict = ask("def split_heads(x, n):\n    while True:\n        pass")
    assert "takes too long" in verdict.report


def test_a_sandbox_that_does_not_start_is_said(program, tmp_path, monkeypatch):
    monkeypatch.setattr(module.sys, "executable", "/bin/false")
    with pytest.raises(CourseProblem, match=rf"^the sandbox did not start for {HEADS}: run"):
        rerun(questions(HEADS, 0, 77), [], "split_heads", program, tmp_path, safe=False)


def test_the_job_holds_inputs_and_no_outputs(tmp_path):
    asked = questions(HEADS, 0, 77)
    job = module._job(asked, ["%time x = 1"], "split_heads")
    assert set(job) == {"cells", "answer", "kind", "sources", "pickled", "seed", "cpu_seconds"}
    text = json.dumps(job)
    assert "unflatten" not in text
    assert "Mistake" not in text
    assert job["seed"] == 77


# --- messages ----------------------------------------------------------------------------------------------


def listen(*messages, n_cases=1, stop=lambda: None, close=True):
    receive, send_to = os.pipe()
    try:
        for header, data in messages:
            send(send_to, header, data)
        if close:
            os.close(send_to)
        return module._listen(receive, n_cases, stop)
    finally:
        os.close(receive)
        if not close:
            os.close(send_to)


STARTED, CALLS = ({"kind": "started"}, b""), ({"kind": "calls"}, b"")


def test_messages_that_come_at_once_are_all_heard():
    """A slow grader finds them all in the pipe; none may be lost between the cells and the calls."""
    output = ({"kind": "output", "changed": []}, encode(3))
    printed = ({"kind": "printed", "kept": "hello", "n_characters": 5}, b"")
    said, run = listen(STARTED, CALLS, output, printed)
    assert said == {"kind": "calls"}
    assert [one.output for one in run.outcomes] == [3]
    assert (run.printed, run.n_printed) == ("hello", 5)


@pytest.mark.parametrize("kind", ["no answer", "untouched", "wrong kind", "anything", None, ["calls"], 3])
def test_what_ends_before_the_calls_is_heard(kind):
    assert listen(STARTED, ({"kind": kind, "error": "x"}, b""), CALLS) == ({"kind": kind, "error": "x"}, None)


def test_silence_is_heard():
    assert listen() == ({}, None)
    assert listen(STARTED) == ({"kind": "started"}, None)


@pytest.mark.parametrize("messages", [[], [STARTED], [STARTED, CALLS]])
def test_waiting_has_an_end(messages, monkeypatch):
    stopped = threading.Event()
    monkeypatch.setattr(module, "CELLS_SECONDS", 0.2)
    monkeypatch.setattr(module, "CALLS_SECONDS", 0.2)
    listen(*messages, stop=stopped.set, close=False)
    assert stopped.is_set()
    assert threading.active_count() < 10


@pytest.mark.parametrize("kind", ["no answer", "untouched", "wrong kind", "score", None, {"a": 1}, ["calls"]])
def test_a_made_up_end_gives_no_points(kind):
    said = {"kind": kind, "error": "x" * 60_000, "score": 4}
    verdict = module._verdict(questions(HEADS, 0, 77), said, None, "ended", "")
    assert verdict.result.points(4) == 0.0
    assert len(verdict.report) < 700
    assert len(verdict.reason) < 600


def test_what_the_watch_complained_of_is_the_reason():
    asked = questions(HEADS, 0, 77)
    verdict = module._verdict(asked, {"kind": "started"}, None, "time", "used more than 3 GiB of memory")
    assert verdict.reason == "the cells before the check used more than 3 GiB of memory"
    run = module.Run((), "", 0)
    verdict = module._verdict(asked, {"kind": "calls"}, run, "time", "used more than 3 GiB of memory")
    assert verdict.reason == "used more than 3 GiB of memory"
    assert verdict.result.points(4) == 0.0
