"""The catalogue of right, wrong and hostile submissions that the end-to-end test of grading hands in.

The cases lie in `honest`, `hostile_processes`, `hostile_forgeries`, `hostile_messages` and `hostile_files`;
archives and names of students in `hostile_archives`. Here they are put together, and `BULLETS` says which
cases try which of the things that grading promises to survive.
"""

from tests.classroom.handing_in import SLUGS, Case, Handout
from tests.classroom.honest import RIGHT_CASES, WRONG_CASES
from tests.classroom.hostile_archives import (
    ESCAPED,
    STRANGERS,
    hostile_archives,
    hostile_strangers,
)
from tests.classroom.hostile_files import NOTEBOOK_CASES
from tests.classroom.hostile_forgeries import FORGERY_CASES
from tests.classroom.hostile_messages import BROWSER_MARK, MESSAGE_CASES
from tests.classroom.hostile_processes import LEFT_BEHIND, MARK, PROCESS_CASES

__all__ = [
    "BROWSER_MARK",
    "BULLETS",
    "CASES",
    "ESCAPED",
    "LEFT_BEHIND",
    "MARK",
    "SLUGS",
    "STRANGERS",
    "Case",
    "Handout",
    "hostile_archives",
    "hostile_strangers",
    "named",
]

CASES: tuple[Case, ...] = (
    *RIGHT_CASES,
    *WRONG_CASES,
    *PROCESS_CASES,
    *FORGERY_CASES,
    *MESSAGE_CASES,
    *NOTEBOOK_CASES,
)


def named(*names: str) -> tuple[Case, ...]:
    """Return the cases with some names, in this order."""
    cases = {case.name: case for case in CASES}
    return tuple(cases[name] for name in names)


# What grading promises to survive, and the cases that try it; the last one stands in archives.
BULLETS: dict[str, tuple[str, ...]] = {
    "loop": ("loop-in-the-cell", "loop-in-the-function", "sleep-in-the-cell", "sleep-in-the-function"),
    "loop that catches interrupts": (
        "stubborn-loop-in-the-cell", "stubborn-loop-in-the-function", "deaf-loop-in-the-function"),
    "loop in C": ("loop-in-c-in-the-cell", "loop-in-c-in-the-function"),
    "os._exit": ("os-exit-in-the-cell", "os-exit-in-the-function", "abort-in-the-function"),
    "segfault": ("segfault-in-the-cell", "segfault-in-the-function"),
    "fork bomb": ("fork-bomb-in-the-cell", "fork-bomb-in-the-function"),
    "20 GB": (
        "twenty-gb-in-the-cell", "twenty-gb-in-the-function", "twenty-gb-of-arrays", "memory-of-children"),
    "2 GB file": ("two-gb-file-in-the-cell", "two-gb-file-in-the-function", "many-files"),
    "100 MB output": ("hundred-mb-in-a-line", "hundred-mb-in-lines", "hundred-mb-at-every-call"),
    "network": ("network",),
    "reads and writes the gradebook": ("reads-gradebook", "writes-gradebook", "deletes-grades"),
    "kills its parent": (
        "kills-parent-in-the-cell", "kills-parent-in-the-function", "kills-everything"),
    "leaves processes behind": (
        "leaves-a-process", "leaves-a-daemon", "holds-the-pipes", "late-exit"),
    "deletes test cells": ("deletes-the-test", "deletes-all-but-the-answer"),
    "edits test cells": (
        "edits-the-test", "edits-the-points-of-the-test", "more-points-in-metadata", "test-without-grade"),
    "duplicates test cells": (
        "duplicates-the-test", "duplicates-the-test-with-marks", "duplicates-the-answer"),
    "strips metadata": ("strips-metadata", "renames-the-answer", "odd-metadata"),
    "broken JSON": ("broken-json", "merge-conflict", "ten-thousand-levels", "huge-number"),
    "empty": ("empty", "empty-object"),
    "renamed file": ("renamed", "renamed-as-a-formula", "several-files"),
    "patches assert_allclose": ("patches-assertions", "patches-comparison"),
    "patches check": (
        "patches-check-by-name", "patches-check-in-place", "patches-difference", "patches-points",
        "fake-module"),
    "rewrites the syntax tree": ("rewrites-the-syntax-tree", "rewrites-the-source"),
    "forges cell output": ("forges-the-display", "sends-a-result", "forged-output-in-the-file"),
    "imports the reference": (
        "imports-the-reference", "calls-the-reference", "calls-the-reference-of-a-version",
        "reads-the-frames", "reads-the-checker"),
    "__eq__ that is always true": ("always-equal", "always-equal-tensor", "always-equal-number"),
    "reads other students' work": ("reads-other-students", "link-to-another-student"),
    "symbolic links out of the folder": (
        "link-to-the-solution", "relative-link-to-the-solution", "link-to-passwd", "folder-link"),
    "zip slip in a collected archive": (),
}  # fmt: skip
