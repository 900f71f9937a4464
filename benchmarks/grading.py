"""How long a class takes to grade: one notebook for each student, some of them hostile.

Usage, as an ordinary user on a quiet machine::

    python benchmarks/grading.py [STUDENTS] [JOBS]

Of every hundred notebooks one loops, one ends its kernel, and one holds a test twice. Prints the seconds of
``attncourse grade``, and the most memory that the grader and everything it started used together.
"""

import copy
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import nbformat
import psutil

from attncourse.classroom.assigning import assign, handed_out, solution_of
from attncourse.classroom.records import read_records
from attncourse.classroom.roster import Student

ID, SLUG = "multihead.split-heads", "multihead-split-heads"
HOSTILE = {7: "while True:\n    pass", 17: "import os\n\nos._exit(1)"}
TWICE = 27


def hand_in(course: Path, n_students: int) -> None:
    """Write everybody's notebook."""
    for number in range(n_students):
        notebook = copy.deepcopy(handed_out(SLUG, 0))
        cells = {
            cell.metadata["nbgrader"]["grade_id"]: cell
            for cell in notebook.cells
            if "nbgrader" in cell.metadata
        }
        cells[f"{SLUG}-answer-1"].source = HOSTILE.get(number % 100, solution_of(SLUG, 0))
        if number % 100 == TWICE:
            notebook.cells.append(copy.deepcopy(cells[f"{SLUG}-check"]))
        folder = course / "submitted" / f"s{number:03d}" / "HW1"
        folder.mkdir(parents=True)
        nbformat.write(notebook, folder / f"{SLUG}.ipynb")


def most_memory(process: subprocess.Popen, over: threading.Event) -> list[int]:
    """Return a list that holds the most bytes that a process and its children filled, so far."""
    most = [0]

    def watch() -> None:
        root = psutil.Process(process.pid)
        while not over.wait(0.5):
            used = 0
            for one in (root, *root.children(recursive=True)):
                try:
                    used += one.memory_full_info().pss
                except psutil.Error:
                    continue
            most[0] = max(most[0], used)

    threading.Thread(target=watch, daemon=True).start()
    return most


def main() -> None:
    """Make a class, grade it, print the numbers."""
    n_students, jobs = (int(text) for text in [*sys.argv[1:], "200", "2"][:2])
    with tempfile.TemporaryDirectory(prefix="attncourse-") as name:
        course = Path(name)
        assign(course, "HW1", [ID], students=[Student(f"s{i:03d}") for i in range(n_students)])
        hand_in(course, n_students)
        command = [sys.executable, "-m", "attncourse.classroom", "grade", "HW1", "--jobs", str(jobs)]
        begin, over = time.perf_counter(), threading.Event()
        process = subprocess.Popen(command, cwd=course)
        most = most_memory(process, over)
        process.wait()
        seconds = time.perf_counter() - begin
        over.set()
        records = read_records(course, "HW1")
        print(
            f"{len(records)} notebooks, {jobs} at once: {seconds:.0f} s, {seconds / len(records):.2f} s each"
        )
        print(f"most memory: {most[0] / 2**20:.0f} MiB")
        states = [one.state for one in records]
        print({state: states.count(state) for state in sorted(set(states))})


if __name__ == "__main__":
    main()
