"""Write the tables of the page on grading from what the tests hand in and from the sandbox's limits.

Usage::

    python tools/grading_tables.py write     write the tables in book/grading.md
    python tools/grading_tables.py check     say whether they are up to date; exit 1 if not

Each table stands between two comments in the page; what stands outside of them is kept.
"""

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from page_parts import MarkError, filled, table  # noqa: E402 (beside this file, in the repository)

from attncourse.classroom import framing, one_notebook, plugins, rerun  # noqa: E402
from attncourse.classroom.sandbox import GIB, MIB  # noqa: E402
from tests.classroom.submissions import BULLETS, CASES, Case, named  # noqa: E402

PAGE = ROOT / "book" / "grading.md"
TOOL = "tools/grading_tables.py"
# Hostile cases beside those that the promises of grading name.
MORE: dict[str, tuple[str, ...]] = {
    "answers without measure": ("giant-result", "deep-recursion"),
    "writes to the package": ("edits-the-package",),
    "uses the package's ready-made function": ("calls-the-package",),
    "turns the check on the reference": ("patches-outcomes",),
    "attacks what carries its answers out": (
        "patches-the-encoder", "patches-what-it-finds", "garbage-on-the-pipe", "message-without-end",
        "deep-message", "forged-messages", "odd-messages"),
    "attacks the grader's terminal": ("writes-to-the-terminal",),
    "attacks the reader's browser": ("shows-a-script", "raises-a-script", "script-in-a-letter"),
    "moves and adds cells": (
        "solves-in-a-copy", "moves-the-test", "odd-points-in-metadata", "test-with-another-name",
        "adds-a-graded-cell"),
    "is no notebook": (
        "binary", "not-an-object", "not-a-number", "cells-as-text", "metadata-as-list", "odd-cells",
        "future-format", "huge-file"),
    "is an odd notebook": ("format-3", "half-a-character", "null-byte", "nested-code"),
    "comes with copies": ("several-copies",),
    "is no ordinary file": (
        "link-to-a-device", "link-to-nothing", "link-to-itself", "named-pipe", "folder-as-a-notebook",
        "folder-link-to-root"),
}  # fmt: skip
ARCHIVE = (
    "Names with `..`, absolute names, links, devices, an archive that is none",
    "`zip_collect` leaves it out; nothing is written outside its folder. "
    "[Archives of students stay closed](hand-out-and-collect.md#archives-from-strangers).",
)
WHERE = re.compile(r", (?:when the cell runs|in the function|in the working folder)$")
CODE = re.compile(r"(?<!\S)([\w./]*[_/][\w./]*|\w+\.\w+)(?=[,;\s]|$)")


def _cell(text: str) -> str:
    return CODE.sub(r"`\1`", text).replace("|", r"\|")


def _rows(kind: str, cases: Sequence[Case]) -> Iterator[tuple[str, str, str]]:
    """Yield one row for each outcome that the cases of a kind have."""
    for outcome in dict.fromkeys(case.outcome for case in cases):
        titles = dict.fromkeys(WHERE.sub("", case.title) for case in cases if case.outcome == outcome)
        yield _cell(kind), _cell(". ".join(titles)), _cell(outcome)


def kinds() -> dict[str, tuple[str, ...]]:
    """Return the names of all hostile cases by what they do; each stands once."""
    found = BULLETS | MORE
    there = {name for names in found.values() for name in names}
    rest = tuple(case.name for case in CASES if case.kind == "hostile" and case.name not in there)
    return found | ({"does something else": rest} if rest else {})


def hostile_table() -> str:
    """Return the table that says what becomes of which notebook."""
    rows = []
    for kind, names in kinds().items():
        rows += _rows(kind, named(*names)) if names else [(_cell(kind), *ARCHIVE)]
    return table(("what it does", "tried as", "what happens"), rows)


def limits_table() -> str:
    """Return the table of the sandbox's limits."""
    kernel, outside = one_notebook.KERNEL_LIMITS, rerun.LIMITS
    rows = [
        ("time of one cell, or of all calls", f"{one_notebook.CELL_SECONDS} s", f"{rerun.CALLS_SECONDS:g} s"),
        ("processor time of all calls", "–", f"{rerun.CALLS_CPU_SECONDS:g} s"),
        ("time in all", f"{kernel.seconds:g} s", f"{outside.seconds:g} s and the calls"),
        ("processor time of a process", f"{kernel.cpu_seconds} s", f"{outside.cpu_seconds} s"),
    ]
    for what, name, unit, word in (
        ("memory of all its processes", "memory_bytes", GIB, " GiB"),
        ("address space of a process", "address_bytes", GIB, " GiB"),
        ("size of a file", "file_bytes", MIB, " MiB"),
        ("size of each folder it can write to", "folder_bytes", MIB, " MiB"),
        ("processes and threads", "processes", 1, ""),
    ):
        rows.append((what, *(f"{getattr(one, name) / unit:g}{word}" for one in (kernel, outside))))
    size = f"{framing.MAX_BYTES // MIB} MiB, {framing.MAX_CELLS} cells"
    rows.append(("size of the file that was handed in", size, "the same file"))
    kept = f"{plugins.MAX_TEXT:,} characters of each output, {plugins.MAX_OUTPUTS} outputs of each cell"
    rows.append(("what is kept of what it prints", kept, "nothing but the check's message"))
    return table(("limit on", "the notebook in its kernel", "the answer again, outside"), rows)


def current(page: str) -> str:
    """Return a page with its tables as they are now."""
    return filled(page, {"hostile": hostile_table(), "limits": limits_table()}, TOOL)


def main(arguments: list[str] | None = None) -> int:
    """Write or check the tables; return the exit status."""
    parser = argparse.ArgumentParser(description="Write the tables of the page on grading.")
    parser.add_argument("command", choices=("write", "check"))
    command = parser.parse_args(arguments).command
    stored = PAGE.read_text(encoding="utf-8")
    try:
        text = current(stored)
    except MarkError as error:
        print(error, file=sys.stderr)
        return 1
    if command == "write":
        PAGE.write_text(text, encoding="utf-8")
    elif stored != text:
        print(f"{PAGE.name} is not what the tests hand in: run python tools/grading_tables.py write")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
