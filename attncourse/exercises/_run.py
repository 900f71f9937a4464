"""Run somebody's answer so that nothing it does reaches the notebook: not a loop, a crash, a flood or a leak.

On Linux every check runs in a forked child with a limit on processor time and on memory. Elsewhere it runs in
this process, with a limit on time only.
"""

import contextlib
import copy
import ctypes
import faulthandler
import io
import json
import os
import re
import select
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from attncourse.exercises._wire import MAX_BYTES, TooLarge, Unreadable, decode, encode

# Right answers take milliseconds. A loop is stopped after this many seconds of processor time, and whatever
# sleeps after WALL_SECONDS.
CPU_SECONDS = 1.5
WALL_SECONDS = 5.0
EXTRA_BYTES = 2 * 2**30
PRINT_LIMIT = 1000
STATM = "/proc/self/statm"
NO_MEMORY = re.compile(
    r"not enough memory|can't allocate memory|DefaultCPUAllocator|std::bad_alloc|Unable to allocate"
)
HEADER = 12  # digits of a message's length
MAX_HEADER = 2**16
MAX_MESSAGE = 2 * MAX_BYTES
MAX_TEXT = 400
KINDS = ("output", "raised", "not written", "memory", "time")
UNREADABLE = "gives something that cannot be read"


@dataclass(frozen=True)
class Outcome:
    """What came of one call: an output, or the reason why there is none."""

    output: Any = None
    error: str = ""  # for people: what was raised, and where
    kind: str = "output"  # "output", "raised", "not written", "memory", "time", "ended", "not run"
    changed: tuple[str, ...] = ()  # names of the inputs that it changed


@dataclass(frozen=True)
class Run:
    """The outcomes of all calls, and what the answer printed."""

    outcomes: tuple[Outcome, ...]
    printed: str = ""
    n_printed: int = 0


class _TimeUp(BaseException):
    """Raised inside an answer that runs too long; no ordinary except clause catches it."""


class _NotWritten(Exception):
    """Raised when a part is asked for that the answer does not hold yet."""


class _Parts(dict):
    """A dictionary of answers; a part that is missing, ``...`` or None is not written yet."""

    def __getitem__(self, name: str) -> Any:
        part = self.get(name)
        if part is None or part is Ellipsis:
            raise _NotWritten(name)
        return part


class _Tail(io.TextIOBase):
    """Keep the first characters that are printed, and count the rest."""

    def __init__(self) -> None:
        self.kept, self.n_characters = "", 0

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.n_characters += len(text)
        self.kept += text[: PRINT_LIMIT - len(self.kept)]
        return len(text)


def _same(first: Any, second: Any) -> bool:
    """Say whether an input is what it was; only what holds numbers can have been written to."""
    if isinstance(first, torch.Tensor):
        return (
            isinstance(second, torch.Tensor)
            and first.shape == second.shape
            and first.dtype == second.dtype
            and torch.equal(torch.nan_to_num(first.detach()), torch.nan_to_num(second.detach()))
        )
    if isinstance(first, np.ndarray):
        return isinstance(second, np.ndarray) and np.array_equal(
            first, second, equal_nan=first.dtype.kind == "f"
        )
    if isinstance(first, torch.nn.Module):
        return _same(first.state_dict(), second.state_dict())
    if isinstance(first, Mapping):
        return first.keys() == second.keys() and all(_same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(_same, first, second))
    return True


def _where(error: BaseException) -> str:
    """Return the answer's own line that raised, as far as the source is known."""
    here = os.path.dirname(__file__)
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(here) and "site-packages" not in frame.filename
    ]
    outside = [frame for frame in frames if "attncourse" not in frame.filename] or frames
    return f", in the line `{outside[-1].line}`" if outside and outside[-1].line else ""


def _is_bare_stub(error: BaseException) -> bool:
    """Say whether an error is a starter's ``raise NotImplementedError()``, as nbgrader writes it.

    Torch raises the same type with a text, for a softmax of integers or a module without ``forward``: those
    answers were written, and their authors must read the text.
    """
    return type(error) is NotImplementedError and not str(error)


def _failure(error: BaseException) -> dict:
    if isinstance(error, _TimeUp):
        return {"kind": "time"}
    if isinstance(error, _NotWritten) or _is_bare_stub(error):
        return {"kind": "not written"}
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, MemoryError) or NO_MEMORY.search(text):
        return {"kind": "memory", "error": "asks for more memory than 2 GiB" + _where(error)}
    first = text.strip().splitlines()[0] if text.strip() else type(error).__name__
    return {"kind": "raised", "error": f"raises {first[:300]}{_where(error)}"}


def _messages(run: Callable, answer: Any, cases: Sequence[dict], seed: int) -> Iterator[tuple[dict, bytes]]:
    """Call the answer once for every case, each time with fresh copies, and yield what came of it."""
    answer = _Parts(answer) if isinstance(answer, dict) else answer
    for case in cases:
        inputs = copy.deepcopy(case)
        torch.default_generator.manual_seed(seed)  # torch.manual_seed also asks every accelerator, for 2 ms
        np.random.seed(seed)  # noqa: NPY002 (an answer may use it)
        try:
            data = encode(run(answer, inputs))
        except TooLarge as error:
            yield {"kind": "memory", "error": f"returns {error}"}, b""
            continue
        except (Exception, SystemExit, KeyboardInterrupt, _TimeUp) as error:
            yield _failure(error), b""
            if isinstance(error, _TimeUp):
                return
            continue
        changed = [name for name, before in case.items() if not _same(before, inputs.get(name))]
        yield {"kind": "output", "changed": changed}, data


def _outcome(header: Mapping, data: bytes) -> Outcome:
    """Return what a message says; whoever sent it may have made it up."""
    kind, error = header.get("kind"), str(header.get("error", ""))[:MAX_TEXT]
    if kind not in KINDS:
        return Outcome(error=UNREADABLE, kind="raised")
    try:
        output = decode(data) if kind == "output" else None
    except Unreadable:
        return Outcome(error=UNREADABLE, kind="raised")
    changed = header.get("changed", ())
    names = tuple(str(name)[:60] for name in changed) if isinstance(changed, list) else ()
    return Outcome(output, error, kind, names)


def send(fd: int, header: Mapping, data: bytes = b"") -> None:
    """Send one message: a header of plain data, and bytes."""
    head = json.dumps(header).encode()
    message = b"%012d%012d" % (len(head), len(data)) + head + data
    while message:
        message = message[os.write(fd, message[: 2**20]) :]


def _limit_memory() -> None:
    """Let this process ask for EXTRA_BYTES more; only Linux says how much it has."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if not os.path.exists(STATM):
        return
    with open(STATM) as statm:
        used = int(statm.read().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = used + EXTRA_BYTES if hard == resource.RLIM_INFINITY else min(used + EXTRA_BYTES, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def answer_calls(
    fd: int, run: Callable, answer: Any, cases: Sequence[dict], seed: int, cpu_seconds: float = CPU_SECONDS
) -> None:
    """Do the work in a process that serves for nothing else: limits first, then the calls.

    Each outcome is sent to ``fd`` as soon as it is there.
    """
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    tail = _Tail()
    sys.stdin, sys.stdout, sys.stderr = open(os.devnull), tail, tail  # noqa: SIM115 (the process ends soon)
    faulthandler.disable()  # a crash is reported by the parent, in a line
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)  # a forked child has no pool of threads
    _limit_memory()
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # the default ends the process, also inside a C function
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
    me = os.getpid()
    for header, data in _messages(run, answer, cases, seed):
        if os.getpid() != me:
            return  # the answer forked, and this is its copy
        send(fd, header, data)
    send(fd, {"kind": "printed", "kept": tail.kept, "n_characters": tail.n_characters})


def read_messages(fd: int, end: float) -> Iterator[tuple[dict, bytes]]:
    """Yield the messages of another process until it ends, the time is up, or it sends what is none.

    Parameters
    ----------
    fd : int
        Where they come from; nothing that comes is believed to be well-formed.
    end : float
        When to stop, by `time.monotonic`.

    Yields
    ------
    header : dict
        What `send` was given, or something made up.
    data : bytes
        Not decoded.
    """
    buffer = bytearray()
    while True:
        if len(buffer) >= 2 * HEADER:
            digits = bytes(buffer[: 2 * HEADER])
            if not digits.isdigit():
                return
            n_head, n_data = int(digits[:HEADER]), int(digits[HEADER:])
            if n_head > MAX_HEADER or n_data > MAX_MESSAGE:
                return
            stop = 2 * HEADER + n_head + n_data
            if len(buffer) >= stop:
                try:
                    header = json.loads(buffer[2 * HEADER : 2 * HEADER + n_head])
                except (ValueError, RecursionError):
                    return
                if not isinstance(header, dict):
                    return
                yield header, bytes(buffer[stop - n_data : stop])
                del buffer[:stop]
                continue
        if not select.select([fd], [], [], max(0.0, end - time.monotonic()))[0]:
            return
        data = os.read(fd, 2**20)
        if not data:
            return
        buffer += data


def gather(messages: Iterator[tuple[dict, bytes]], n_cases: int) -> tuple[list[Outcome], str, int]:
    """Return the outcomes of the calls as far as they came, what was printed, and how much that was."""
    outcomes: list[Outcome] = []
    for header, data in messages:
        if header.get("kind") == "printed":
            n_characters = header.get("n_characters")
            kept = str(header.get("kept", ""))[:PRINT_LIMIT]
            return outcomes, kept, n_characters if isinstance(n_characters, int) else len(kept)
        if len(outcomes) == n_cases:
            break  # more answers than questions
        outcomes.append(_outcome(header, data))
    return outcomes, "", 0


def _run_in_child(run: Callable, answer: Any, cases: Sequence[dict], seed: int) -> Run:
    receive, send_to = os.pipe()
    sys.stdout.flush()
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # Python 3.12 warns of forks beside threads; see set_num_threads above
        pid = os.fork()
    if pid == 0:
        try:
            os.close(receive)
            os.setsid()
            answer_calls(send_to, run, answer, cases, seed)
        finally:
            os._exit(0)
    os.close(send_to)
    try:
        messages = read_messages(receive, time.monotonic() + WALL_SECONDS)
        outcomes, printed, n_printed = gather(messages, len(cases))
    finally:
        os.close(receive)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)  # if it had no session of its own yet
        _, status = os.waitpid(pid, 0)
    slow = os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGPROF, signal.SIGKILL)
    return complete(outcomes, len(cases), "time" if slow else "ended", printed, n_printed)


def complete(outcomes: list, n_cases: int, why: str, printed: str, n_printed: int) -> Run:
    """Fill in the calls that were never answered."""
    if len(outcomes) < n_cases:
        outcomes.append(Outcome(kind=why))
    outcomes += [Outcome(kind="not run")] * (n_cases - len(outcomes))
    return Run(tuple(outcomes), printed, n_printed)


def _run_here(run: Callable, answer: Any, cases: Sequence[dict], seed: int) -> Run:
    """Run in this process: a timer raises an exception in the answer when its time is up."""
    thread, over = threading.get_ident(), threading.Event()

    def stop() -> None:
        if not over.is_set():
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(_TimeUp))

    tail, outcomes = _Tail(), []
    timer = threading.Timer(CPU_SECONDS, stop)
    with (
        torch.random.fork_rng(devices=[]),
        contextlib.redirect_stdout(tail),
        contextlib.redirect_stderr(tail),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        timer.start()
        try:
            for header, data in _messages(run, answer, cases, seed):
                outcomes.append(_outcome(header, data))
            over.set()
        except _TimeUp:
            over.set()
        finally:
            timer.cancel()
    return complete(outcomes, len(cases), "time", tail.kept, tail.n_characters)


def can_fork() -> bool:
    """Say whether a child can be forked safely: on Linux, before CUDA has started threads of its own."""
    return sys.platform == "linux" and not torch.cuda.is_initialized()


def run_cases(run: Callable, answer: Any, cases: Sequence[dict], seed: int) -> Run:
    """Call ``run(answer, inputs)`` for every case and return what came of it."""
    return (_run_in_child if can_fork() else _run_here)(run, answer, cases, seed)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Work on one thread: on a busy machine, threads that wait for each other take thirty times as long."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)


def run_trusted(run: Callable, answer: Any, cases: Sequence[dict], seed: int) -> Run:
    """Do the same for an answer of ours: in this process, without limits."""
    with one_thread(), torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        messages = list(_messages(run, answer, cases, seed))
    return Run(tuple(_outcome(header, data) for header, data in messages))
