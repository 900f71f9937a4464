"""Measure contenders side by side, and store what came out with the machine and the versions.

Contenders take turns, in another order each round. A ratio is formed within a round, where both ran under the
same conditions, and the median over the rounds counts: a program that interrupts one round changes nothing.
"""

import ctypes
import random
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
sys.path.insert(0, str(ROOT / "experiments"))
from _store import machine, versions, write  # noqa: E402 (the experiments' own way of storing)

Call = Callable[[], object]
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of mallopt(3)


def keep_memory() -> None:
    """Let this process keep what it frees, so that only its first calls ask the operating system for memory.

    A layer with all weights of 8,192 tokens holds gigabytes. Asked for anew, they arrive page by page and
    filled with zeros, which takes as long as the layer itself and differs from minute to minute.

    Raises
    ------
    OSError
        If the C library has no such switch; it is glibc's.
    """
    libc = ctypes.CDLL(None)
    if not (libc.mallopt(M_MMAP_MAX, 0) and libc.mallopt(M_TRIM_THRESHOLD, -1)):
        raise OSError("mallopt refused to keep memory")


@contextmanager
def threads(number: int) -> Iterator[Callable[[], float]]:
    """Let torch work on so many threads.

    Parameters
    ----------
    number : int
        How many.

    Yields
    ------
    callable
        The clock to use. With one thread it counts the seconds that the processor worked for this program, so
        that others can take the processor without being counted; with several, what the clock on the wall
        does, because those of several threads add up.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield time.process_time if number == 1 else time.perf_counter
    finally:
        torch.set_num_threads(before)


def in_turns(
    contenders: Mapping[Hashable, Call], rounds: int, clock: Callable[[], float], *, at_least: float = 0.02
) -> dict[Hashable, list[float]]:
    """Let contenders take turns, and return the seconds of each in every round.

    Parameters
    ----------
    contenders : mapping to callable
        What is measured, by name.
    rounds : int
        How often each has its turn; one more round before them is not counted.
    clock : callable
        From ``threads``.
    at_least : float
        Seconds of a turn: quick calls are repeated within it, and their mean counts.
    """
    repeats, seconds = {}, {name: [] for name in contenders}
    for name, call in contenders.items():
        start = clock()
        call()
        repeats[name] = max(1, round(at_least / max(clock() - start, 1e-6)))
    order, shuffle = list(contenders), random.Random(0).shuffle
    for _ in range(rounds):
        shuffle(order)
        for name in order:
            start = clock()
            for _ in range(repeats[name]):
                contenders[name]()
            seconds[name].append((clock() - start) / repeats[name])
    return seconds


def ratio(seconds: Mapping[Hashable, list[float]], name: Hashable, to: Hashable) -> float:
    """Return the median over the rounds of one contender's seconds divided by another's."""
    return statistics.median(a / b for a, b in zip(seconds[name], seconds[to], strict=True))


def summary(seconds: Mapping[Hashable, list[float]], to: Hashable) -> dict[Hashable, dict[str, float]]:
    """Return median seconds and the ratio to one contender, for each."""
    return {
        name: {
            "seconds": _short(statistics.median(values)),
            "ratio": round(ratio(seconds, name, to), 3),
        }
        for name, values in seconds.items()
    }


def extra_bytes(call: Call) -> int:
    """Return how far the peak of this process rises above what it holds now; only for a fresh process.

    ``resource.getrusage`` would not do: its peak begins at that of the process that started this one.
    """
    before = _status("VmRSS")
    call()
    return _status("VmHWM") - before


def in_fresh_process(file: str, *options: str) -> float:
    """Run a script of this folder with options, and return the number that it prints."""
    done = subprocess.run(
        [sys.executable, file, *options], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return float(done.stdout)


def conditions() -> tuple[dict[str, Any], dict[str, str]]:
    """Return the machine, and the versions of what was measured."""
    return machine(), versions() | {"keras": metadata.version("keras")}


def store(name: str, values: Mapping[str, Any], seconds: float) -> Path:
    """Write ``benchmarks/results/NAME.json``: what was measured, and what is needed to measure it again."""
    path = RESULTS / f"{name}.json"
    here, with_versions = conditions()
    content = {
        "command": f"python benchmarks/{name}.py",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": here,
        "seconds": round(seconds),
        "values": values,
        "versions": with_versions,
    }
    write(path, content)
    return path


def _short(seconds: float) -> float:
    """Keep four digits."""
    return float(f"{seconds:.4g}")


def _status(field: str) -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.search(rf"{field}:\s+(\d+) kB", status)[1]) * 1024
