"""Find what a student handed in for each exercise, whatever the files are called."""

import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from attncourse.classroom.course import Assigned
from attncourse.classroom.framing import Unreadable, grade_ids, read_bytes, read_notebook

MAX_NOTE = 200  # bytes
NBGRADERS = ("timestamp.txt", "submission_secret.txt")


@dataclass(frozen=True)
class Found:
    """What there is for one exercise: bytes of a file, or a reason why there are none.

    Parameters
    ----------
    name : str
        Of the file; empty if nothing was handed in.
    data : bytes
        Its content.
    reason : str
        Why it cannot be read.
    remarks : tuple of str
        What was odd.
    """

    name: str = ""
    data: bytes = b""
    reason: str = ""
    remarks: tuple[str, ...] = ()

    def key(self, *more: object) -> str:
        """Return a hash of this and of whatever else the grade depends on."""
        parts = repr((self.name, self.reason, self.remarks, more)).encode()
        return sha256(parts + b"\0" + self.data).hexdigest()


def folder_of(course: Path, student: str, assignment: str) -> Path:
    """Return the folder of a student's files."""
    return course / "submitted" / student / assignment


def find(folder: Path, exercises: Sequence[Assigned]) -> Mapping[str, Found]:
    """Return what there is in a student's folder for each exercise.

    A file under another name counts if its cells belong to an exercise that has no file of its own.

    Parameters
    ----------
    folder : Path
        ``submitted/<student>/<assignment>``. Nothing in it is modified.
    exercises : sequence of Assigned
        What was assigned.

    Returns
    -------
    mapping
        Slug to `Found`.
    """
    if folder.is_symlink() or folder.parent.is_symlink():
        return {
            one.slug: Found(folder.name, reason="the folder is a link to another place") for one in exercises
        }
    if folder.is_file():
        reason = f"{folder.name} is a file and should be a folder"
        return {one.slug: Found(folder.name, reason=reason) for one in exercises}
    files = {path.name: path for path in sorted(folder.glob("*.ipynb"))} if folder.is_dir() else {}
    found = {one.slug: _read(files.pop(f"{one.slug}.ipynb", None)) for one in exercises}
    open_slugs = [slug for slug, one in found.items() if not one.name]
    if not open_slugs:
        return found
    others = {path.name: (_read(path), _slugs_in(path)) for path in files.values()}
    strays = sorted(
        {name for name, (_, slugs) in others.items() if not slugs & found.keys()} | _no_notebooks(folder)
    )
    for slug in open_slugs:
        fitting = [one for one, slugs in others.values() if slug in slugs]
        names = ", ".join(one.name for one in fitting)
        if len(fitting) == 1:
            remark = f"the file was renamed: {names} holds the cells of {slug}"
            found[slug] = Found(names, fitting[0].data, remarks=(remark,))
        elif fitting:
            reason = f"there is no {slug}.ipynb, and several files hold its cells: {names}"
            found[slug] = Found(names, reason=reason)
        elif strays:
            remark = f"there is no {slug}.ipynb; files that belong to no exercise: {', '.join(strays)}"
            found[slug] = Found(remarks=(remark[:300],))
    return found


def _no_notebooks(folder: Path) -> set[str]:
    """Return the names of files that are no notebooks, and that nbgrader did not write."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    return {
        name for name in names if not name.endswith(".ipynb") and name not in NBGRADERS and name[0] != "."
    }


def _read(path: Path | None) -> Found:
    if path is None:
        return Found()
    try:
        return Found(path.name, read_bytes(path))
    except Unreadable as error:
        return Found(path.name, reason=str(error))
    except OSError as error:
        return Found(path.name, reason=f"{path.name} cannot be read: {error.strerror}")


def _slugs_in(path: Path) -> set[str]:
    """Return the exercises whose cells a file holds."""
    try:
        ids = grade_ids(read_notebook(read_bytes(path), path.name))
    except Unreadable:
        return set()
    return {one.rpartition("-answer-")[0] or one.removesuffix("-check") for one in ids}


def notes_of_nbgrader(folder: Path) -> dict[str, str]:
    """Return the small files of nbgrader's exchange: when it was handed in, and a secret for the feedback."""
    found = {}
    for name in NBGRADERS:
        path = folder / name
        try:
            about = path.lstat()
            if stat.S_ISREG(about.st_mode) and about.st_size <= MAX_NOTE:
                found[name] = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
    return found
