"""Gather what students handed in on the hub into a course folder: ``submitted/<student>/<assignment>/``.

Run it in an instructor's server, where the volume of the exchange is mounted as a whole::

    python /opt/course/gather.py HW1

Whose work it is, the volume says: a student's server sees ``handed-in/<that student>`` and nothing else.
What lies inside is the student's own making, so names are not believed, links are not followed, and only
notebooks and nbgrader's time stamp are taken. Standard library only; it stands in for ``nbgrader collect``,
which looks for everybody's work in one folder.
"""

import argparse
import os
import re
import shutil
import stat
import sys
import tempfile
from pathlib import Path

LARGEST = 20_000_000  # bytes of one file
STAMP = "timestamp.txt"
# what `attncourse` takes for a student_id
ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class LeftOut(Exception):
    """Something handed in that is not taken; the text says what and why."""


def read_plain_file(folder: int, name: str) -> bytes:
    """Return the bytes of a file in an open folder.

    Raises
    ------
    LeftOut
        If it is a link, no plain file, or too large.
    """
    try:
        # a pipe, opened for reading, would wait for a writer for ever
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except OSError as error:
        raise LeftOut(f"{name} is a link or cannot be read ({error.strerror})") from error
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise LeftOut(f"{name} is no plain file")
        with os.fdopen(file, "rb", closefd=False) as stream:
            content = stream.read(LARGEST + 1)
    finally:
        os.close(file)
    if len(content) > LARGEST:
        raise LeftOut(f"{name} is larger than {LARGEST // 1_000_000} MB")
    return content


def read_submission(path: Path) -> tuple[dict[str, bytes], list[str]]:
    """Return the notebooks and the time stamp in a folder, and why anything was left out.

    Raises
    ------
    LeftOut
        If the folder is a link or cannot be read.
    """
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise LeftOut(f"{path.name} is a link or no folder ({error.strerror})") from error
    files, problems = {}, []
    try:
        for name in sorted(os.listdir(folder)):
            if name.endswith(".ipynb") or name == STAMP:
                try:
                    files[name] = read_plain_file(folder, name)
                except LeftOut as problem:
                    problems.append(str(problem))
    finally:
        os.close(folder)
    return files, problems


def newest(folder: Path, assignment: str) -> Path | None:
    """Return a student's last submission of an assignment: ``<anything>+<assignment>+<time>+<anything>``."""
    named = ((path.name.split("+"), path) for path in folder.iterdir())
    found = [(parts[2], path) for parts, path in named if len(parts) > 2 and parts[1] == assignment]
    return max(found, default=(None, None))[1]


def store(files: dict[str, bytes], target: Path) -> None:
    """Write the files into a folder, which is there with all of them or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as place:
        fresh = Path(place, "new")
        fresh.mkdir()
        for name, content in files.items():
            (fresh / name).write_bytes(content)
        if target.exists():
            shutil.move(target, Path(place, "old"))
        fresh.rename(target)


def gather(handed_in: Path, course: Path, assignment: str, *, update: bool) -> tuple[int, int, list[str]]:
    """Copy every student's last submission; return how many are new, how many were there, and problems."""
    new, there, problems = 0, 0, []
    for folder in sorted(handed_in.iterdir()):
        student = folder.name
        if not ID.fullmatch(student) or student[0] in ".-":
            problems.append(f"{student!r}: a student_id has 1 to 64 of the characters A-Z a-z 0-9 . _ -")
            continue
        if folder.is_symlink() or not folder.is_dir():
            problems.append(f"{student}: no folder")
            continue
        submission = newest(folder, assignment)
        if submission is None:
            continue
        target = course / "submitted" / student / assignment
        if target.exists() and not update:
            there += 1
            continue
        try:
            files, left_out = read_submission(submission)
        except LeftOut as problem:
            problems.append(f"{student}: {problem}")
            continue
        problems += [f"{student}: {problem}" for problem in left_out]
        if files.keys() - {STAMP}:
            store(files, target)
            new += 1
        else:
            problems.append(f"{student}: {submission.name} holds no notebook that can be taken")
    return new, there, problems


def main(arguments: list[str] | None = None) -> int:
    """Gather one assignment and say what happened; return 1 if something was left out."""
    parser = argparse.ArgumentParser(description="Gather what students handed in into a course folder.")
    parser.add_argument("assignment", help="the name of the assignment, such as HW1")
    parser.add_argument("--handed-in", type=Path, default=Path("/srv/nbgrader/volume/handed-in"))
    parser.add_argument("--course", type=Path, default=Path.home() / "course")
    parser.add_argument("--update", action="store_true", help="replace what was gathered before")
    options = parser.parse_args(arguments)
    if not options.handed_in.is_dir():
        parser.error(f"--handed-in must be a folder, got {options.handed_in}")
    if not options.assignment or set(options.assignment) & set("+/\\") or options.assignment.startswith("."):
        parser.error(f"assignment must be a plain name without + and /, got {options.assignment!r}")
    new, there, problems = gather(
        options.handed_in, options.course, options.assignment, update=options.update
    )
    print(f"{options.assignment}: {new} gathered, {there} were there already (--update replaces them)")
    for problem in problems:
        print(f"left out: {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
