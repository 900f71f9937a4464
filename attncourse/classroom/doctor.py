"""Look whether this machine can grade, and say how to mend what is missing."""

import importlib.metadata
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from attncourse.classroom import sandbox
from attncourse.classroom.bank import FOLDER, ROOT
from attncourse.classroom.problem import CourseProblem
from attncourse.classroom.sandbox import GIB

OLDEST = (3, 11)
NEEDED = (
    "torch",
    "numpy",
    "nbgrader",
    "jupytext",
    "nbconvert",
    "nbformat",
    "nbclient",
    "ipykernel",
    "typer",
    "psutil",
)
PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)", re.MULTILINE)
NETWORKED = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "ceph", "lustre", "9p")
TRIAL = "multihead.split-heads"
# A kernel, a run outside, and the grader itself, for each job.
BYTES_PER_JOB = 2 * GIB
MAX_PATH = 50  # a socket's path may have 107 characters


@dataclass(frozen=True)
class Finding:
    """What was looked at, whether it is as it should be, what was found, and how to mend it."""

    what: str
    fine: bool
    found: str
    mend: str = ""


def _python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    wanted = ".".join(map(str, OLDEST))
    yield Finding("Python", sys.version_info >= OLDEST, version, f"install Python {wanted} or newer")


def _packages() -> Iterator[Finding]:
    path = ROOT / "requirements.txt"
    pins = dict(PIN.findall(path.read_text(encoding="utf-8"))) if path.exists() else {}
    wrong = []
    for name in NEEDED:
        try:
            version = importlib.metadata.version(name).partition("+")[0]
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{name} is missing")
            continue
        if name in pins and version != pins[name]:
            wrong.append(f"{name} is {version}, tried with {pins[name]}")
    yield Finding("packages", not wrong, ", ".join(wrong) or "as tried", "run `make setup` in the clone")


def _bank() -> Iterator[Finding]:
    n_files = len(list(FOLDER.glob("*-*.md")))
    found = f"{n_files} exercises" if n_files else f"no exercises at {FOLDER}"
    mend = "install the package from a clone of the book's repository: `make setup`"
    yield Finding("exercises", n_files > 0, found, mend)


def _sandbox() -> Iterator[Finding]:
    reason = sandbox.problem()
    yield Finding("sandbox", reason is None, reason or "starts", sandbox.HOW_TO_GET)


def _space(course: Path) -> Iterator[Finding]:
    for what, folder in (("course folder", course), ("temporary files", Path(tempfile.gettempdir()))):
        there = next(one for one in (folder, *folder.parents) if one.exists())
        free = shutil.disk_usage(there).free / GIB
        yield Finding(
            f"disk: {what}", free >= 1, f"{free:.1f} GiB free at {there}", "make room for at least 1 GiB"
        )
    length = len(tempfile.gettempdir())
    yield Finding(
        "temporary path",
        length <= MAX_PATH,
        f"{length} characters",
        "set TMPDIR to a shorter path, such as /tmp",
    )


def _memory() -> Iterator[Finding]:
    available = psutil.virtual_memory().available
    jobs = int(available // BYTES_PER_JOB)
    yield Finding(
        "memory", jobs >= 1, f"{available / GIB:.1f} GiB, enough for --jobs {jobs}", "free at least 2 GiB"
    )


def _file_system(course: Path) -> Iterator[Finding]:
    there = next(one for one in (course, *course.parents) if one.exists())
    mounts = [one for one in psutil.disk_partitions(all=True) if there.is_relative_to(one.mountpoint)]
    kind = max(mounts, key=lambda one: len(one.mountpoint)).fstype if mounts else "unknown"
    mend = "keep the course on a local disk: the gradebook's locks fail on network file systems"
    yield Finding("file system", kind not in NETWORKED, kind, mend)


def _trial() -> Iterator[Finding]:
    """Assign an exercise in a folder of its own, hand its solution in, and grade it."""
    import nbformat

    from attncourse.classroom.assigning import assign, handed_out, solution_of
    from attncourse.classroom.grading import grade

    with tempfile.TemporaryDirectory(prefix="attn-") as folder:
        course = Path(folder).resolve()
        try:
            (exercise,) = assign(course, "trial", [TRIAL]).exercises
            place = course / "submitted" / "student" / "trial"
            place.mkdir(parents=True)
            notebook = nbformat.from_dict(handed_out(exercise.slug, 0))
            for cell in notebook.cells:
                if cell.metadata.get("nbgrader", {}).get("solution"):
                    cell.source = solution_of(exercise.slug, 0)
            nbformat.write(notebook, place / f"{exercise.slug}.ipynb")
            (record,) = grade(course, "trial", jobs=1).records
        except CourseProblem as error:
            yield Finding("a trial", False, str(error), "mend what is named above first")
            return
    right = record.score == record.points and record.inside == record.points and not record.remarks
    found = f"a right answer got {record.score} of {record.points} points"
    said = "; ".join([record.reason, *record.remarks]).strip("; ")
    mend = f"{said or 'the kernel gave ' + str(record.inside)}; please report this"
    yield Finding("a trial", right, found, mend)


def examine(course: Path, *, done: Callable[[Finding], None] = lambda finding: None) -> tuple[Finding, ...]:
    """Look at everything that grading needs.

    Parameters
    ----------
    course : Path
        The course folder, there or not.
    done : callable
        Called with every finding as soon as it is there.

    Returns
    -------
    tuple of Finding
        All of them; the trial is left out where there is no sandbox.
    """
    looks: list[Callable[[], Iterator[Finding]]] = [
        _python, _packages, _bank, _sandbox, lambda: _space(course), _memory, lambda: _file_system(course),
        _trial,
    ]  # fmt: skip
    found: list[Finding] = []
    for look in looks:
        if look is _trial and not all(one.fine for one in found if one.what in ("sandbox", "exercises")):
            continue
        for finding in look():
            found.append(finding)
            done(finding)
    return tuple(found)
