"""Time what a contributor waits for: every chapter, the book built cold and warm, and all tests.

Run by hand on an idle machine: ``python benchmarks/project.py``, about forty minutes; or ``make bench``.
"""

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

from measuring import RESULTS, ROOT, conditions, store

sys.path.insert(0, str(ROOT / "tools"))
from notebooks import execute

SUMMARY = re.compile(r"=+ (?P<what>[^=]*\d+ passed.*?) in (?P<seconds>[\d.]+)s")


def chapter(path: Path) -> dict:
    """Return wall-clock seconds, processor seconds and peak memory of one run of a notebook."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    _, seconds, mib = execute(path)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    worked = sum(after[:2]) - sum(before[:2])
    return {"name": path.stem, "seconds": round(seconds, 1), "processor seconds": round(worked, 1),
            "MiB": round(mib)}  # fmt: skip


def chapters(paths: list[Path]) -> list[dict]:
    """Return the faster of two runs of each notebook: what else a machine does can only slow one down."""
    rows = []
    for path in paths:
        rows.append(min((chapter(path) for _ in range(2)), key=lambda row: row["seconds"]))
        print(rows[-1], flush=True)
    return rows


def book(folder: Path) -> dict:
    """Return the seconds of a build from nothing, and of one after a page was touched."""
    program = str(Path(sys.executable).with_name("jupyter-book"))
    command = [program, "build", "book", "-W", "--keep-going", "-n", "-q", "--path-output", str(folder)]
    shutil.rmtree(folder, ignore_errors=True)
    found = {}
    for name in ("cold", "warm"):
        start = time.perf_counter()
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        found[name] = round(time.perf_counter() - start, 1)
        (ROOT / "book" / "notation.md").touch()
    print(found, flush=True)
    return found


def tests() -> dict:
    """Return what the last line of ``make test`` says."""
    done = subprocess.run(["make", "test"], cwd=ROOT, capture_output=True, text=True, check=False)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)
    last = list(SUMMARY.finditer(plain))[-1]
    found = {"passed": last["what"], "seconds": float(last["seconds"])}
    print(found, flush=True)
    return found


def together(found: dict, took: dict[str, float]) -> dict:
    """Return what was measured now, and parts that were stored before with the same machine and versions."""
    path = RESULTS / "project.json"
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        if (before["machine"], before["versions"]) == conditions():
            found, took = before["values"] | found, before["values"]["seconds of parts"] | took
    return found | {"seconds of parts": took}


def main() -> None:
    """Measure and store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=PARTS, help="only this; the other parts stay as they are stored")
    part = parser.parse_args().part
    os.environ.pop("OMP_NUM_THREADS", None)
    found, took = {}, {}
    for name in [part] if part else PARTS:
        start = time.perf_counter()
        found[name] = PARTS[name]()
        took[name] = round(time.perf_counter() - start)
        values = together(found, took)
        store("project", values, sum(values["seconds of parts"].values()))


PARTS = {
    "chapters": lambda: chapters(sorted((ROOT / "book").glob("[0-9]*.ipynb"))),
    "book": lambda: book(ROOT / "_build" / "bench"),
    "tests": tests,
}

if __name__ == "__main__":
    main()
