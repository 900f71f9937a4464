"""Plug-ins for ``nbgrader zip_collect``: open a learning platform's archive, and tell whose file is whose.

A class is collected in one go. So nothing that a student names or packs stops it: what is not understood is
left out, and the log says which file it is, and which rule it breaks.
"""

import os
import re
import shutil
import stat
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import IO
from zipfile import ZipFile, ZipInfo

from nbgrader.plugins import ExtractorPlugin, FileNameCollectorPlugin

from attncourse.classroom.problem import CourseProblem
from attncourse.classroom.roster import Student, read_roster

MAX_MEMBER_BYTES = 200 * 2**20
MAX_ARCHIVE_BYTES = 2 * 2**30

# Neither platform gives such a name to a student's file: no student's archive is taken for the class's.
CLASS_ARCHIVE = re.compile(r"submissions[ ()0-9-]*\.zip")

# Canvas: content_zipper.rb, `get_filename`. The name before the numbers and the file's name behind them may
# hold numbers too, so every place is looked at: the pattern takes no characters.
CANVAS = re.compile(r"(?=_(?:LATE_)?(?P<number>[0-9]+)_[0-9]+_(?P<file>.+))", re.DOTALL)
AGAIN = re.compile(r"(?<=.)-[0-9]+$")  # Canvas's mark of a file that was handed in again
ANONYMOUS = re.compile(r"(?:LATE_)?anon_")

# Moodle: mod/assign/classes/downloader.php, `get_student_prefix`. It puts a space for a name's underscores.
MOODLE = re.compile(r"(?P<name>[^_]+)_[0-9]+_assignsubmission_file_?")


class LeftOut(Exception):
    """One file is not collected; the text says by which rule."""


def _plain(*names: str) -> str:
    """Return a name by its letters and digits alone; platforms drop or replace much of the rest."""
    return re.sub(r"[\W_]", "", unicodedata.normalize("NFKC", "".join(names))).casefold()


def _has_name(student: Student, name: str) -> bool:
    first, last = student.first_name, student.last_name
    return _plain(name) in {_plain(first, last), _plain(last, first)} - {""}


def _only(found: Sequence[Student], what: str) -> Student:
    """Return the one student that was found.

    Raises
    ------
    LeftOut
        If there is none, or more than one.
    """
    if not found:
        raise LeftOut(f"roster.csv must have a student with {what}, and has none")
    if len(found) > 1:
        ids = ", ".join(one.student_id for one in found)
        raise LeftOut(f"roster.csv must have one student with {what}, and has {ids}: copy the file by hand")
    return found[0]


def _by_number(name: str, roster: Sequence[Student]) -> tuple[Student, str]:
    """Return the student and the file's own name, from a name as Canvas makes it.

    Raises
    ------
    LeftOut
        If it tells nobody, or might tell two.
    """
    if ANONYMOUS.match(name):
        raise LeftOut("its name must tell the student, and the assignment is anonymous in Canvas")
    places = [(name[: found.start()], found["number"], found["file"]) for found in CANVAS.finditer(name)]
    if not places or "_assignsubmission_" in name:
        raise LeftOut(
            "its name must be one that Canvas gives, as in lovelaceada_101_7000_FILE.ipynb, or its folder's "
            "one that Moodle gives, as in Ada Lovelace_81_assignsubmission_file_"
        )
    numbers = list(dict.fromkeys(number for _, number, _ in places))
    if len(numbers) == 1:
        _, number, file = places[0]
        student = _only([one for one in roster if one.canvas_id == number], f"canvas_id {number}")
        return student, file
    known = [one for one in roster if one.canvas_id in numbers]
    for before, number, file in places:
        if len(known) == 1 and known[0].canvas_id == number and _has_name(known[0], before):
            return known[0], file
    raise LeftOut(
        f"its name must tell the student by one number, and holds {', '.join(numbers)}: copy the file by hand"
    )


def find_student(path: str, roster: Sequence[Student]) -> tuple[str, str]:
    """Tell who handed in a file, and what it is called.

    In an archive from Canvas, the student's number decides; in one from Moodle, the student's name in the
    outermost folder. Folders and names that students choose tell nothing.

    Parameters
    ----------
    path : str
        The file's place in the archive, with ``/`` between folders.
    roster : sequence of Student
        The class.

    Returns
    -------
    student_id : str
        As in the class list.
    stem : str
        The file's name as the student gave it, without ``.ipynb`` and without Canvas's number of the attempt.

    Raises
    ------
    LeftOut
        If it is no notebook, or if nobody, or more than one, may have handed it in.
    """
    outer, *inner = path.split("/")
    if not path.endswith(".ipynb"):
        raise LeftOut("it must be a notebook (.ipynb); archives that students packed stay closed")
    if not inner:
        student, file = _by_number(outer, roster)
        stem = AGAIN.sub("", file.removesuffix(".ipynb"))
    elif match := MOODLE.fullmatch(outer):
        name = match["name"]
        student = _only([one for one in roster if _has_name(one, name)], f"the name {name!r}")
        stem = inner[-1].removesuffix(".ipynb")
    else:
        raise LeftOut("its folder must be named as Moodle does it: Ada Lovelace_81_assignsubmission_file_")
    if not stem or stem.startswith("."):
        raise LeftOut("its own name must not be empty and not begin with a dot")
    return student.student_id, stem


class ByRoster(FileNameCollectorPlugin):
    """Tell students by ``roster.csv``: by `canvas_id` for Canvas, by name for Moodle."""

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self._roster: tuple[Student, ...] | None = None
        self._taken: set[tuple[str, str]] = set()

    def collect(self, submitted_file: str) -> dict[str, str] | None:
        """Say where one file belongs.

        Parameters
        ----------
        submitted_file : str
            The file, somewhere in nbgrader's folder of extracted files.

        Returns
        -------
        dict or None
            `student_id` and `file_id` for nbgrader; None if the file is left out. Then the log says why.
        """
        app = self.parent
        root = Path(app.coursedir.root)
        extracted = os.path.join(root, app.collect_directory_structure).format(
            downloaded=app.downloaded_directory,
            assignment_id=app.coursedir.assignment_id,
            collect_step=app.extracted_directory,
        )
        path = Path(submitted_file).relative_to(extracted).as_posix()
        try:
            _need_file(Path(submitted_file).lstat().st_mode)
            student, stem = find_student(path, self._class(root / "roster.csv"))
            self._take(student, stem)
        except (LeftOut, OSError) as problem:
            self.log.warning("Left out %r: %s", path, problem)
            return None
        return {"student_id": student, "file_id": f"{stem}.ipynb"}

    def _take(self, student: str, stem: str) -> None:
        """Note that a place is taken: a second file for it would stop nbgrader.

        Raises
        ------
        LeftOut
            If it was.
        """
        # Some disks take upper and lower case for the same.
        place = (student, unicodedata.normalize("NFC", stem).casefold())
        if place in self._taken:
            raise LeftOut(f"{student} must hand in one file {stem}.ipynb, and the first one was taken")
        self._taken.add(place)

    def _class(self, path: Path) -> tuple[Student, ...]:
        """Return the class list, read once.

        Raises
        ------
        LeftOut
            If there is none, or nobody on it.
        """
        if self._roster is None:
            try:
                self._roster = read_roster(path)
            except CourseProblem as problem:
                self.log.error("Nobody can be told by name or number: %s", problem)
                self._roster = ()
        if not self._roster:
            raise LeftOut("roster.csv must name the class, and could not be read")
        return self._roster


def _said(problem: Exception) -> str:
    return str(problem) or type(problem).__name__


def _need_file(mode: int) -> None:
    """Look at a file's mode, in which archives may leave the kind of file out.

    Raises
    ------
    LeftOut
        If it is a link, a device or the like.
    """
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise LeftOut("it must be a file, and is a link or a device")


def _member_place(member: ZipInfo) -> str:
    """Return where a member may be written, below the folder of extracted files.

    Raises
    ------
    LeftOut
        If it is no ordinary file, too large, or leads out of the folder.
    """
    name = member.filename
    if "\\" in name or ":" in name.split("/")[0] or {"", ".", ".."} & set(name.split("/")):
        raise LeftOut("its name must lead to a place inside the archive")
    _need_file(member.external_attr >> 16)
    if member.file_size > MAX_MEMBER_BYTES:
        size = member.file_size / 2**20
        raise LeftOut(f"it must have at most {MAX_MEMBER_BYTES // 2**20} MiB, and has {size:.0f} MiB")
    return name


def _write(source: IO[bytes], target: Path) -> None:
    """Write a file where none is; nothing of it remains if its end cannot be read.

    Raises
    ------
    Exception
        Whatever reading or writing raises.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as file:
        try:
            shutil.copyfileobj(source, file)
        except Exception:
            target.unlink()
            raise


class ClassArchive(ExtractorPlugin):
    """Open the archive that the platform made of a class, ``submissions.zip``, and no archive within.

    Everything else in the archive folder is copied as it is. The setting `zip_ext` has no effect.
    """

    def extract(self, archive_path: str, extracted_path: str) -> None:
        """Unpack and copy; what cannot be is left out, and the log says why.

        Parameters
        ----------
        archive_path, extracted_path : str
            From where and to where.
        """
        folder, extracted = Path(archive_path), Path(extracted_path)
        files = sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
        if not files:
            self.log.warning("There is no file in %s", folder)
        for path in files:
            name = path.relative_to(folder).as_posix()
            # Nothing that is wrong with one file may keep the others from being collected.
            try:
                _need_file(path.lstat().st_mode)
                if CLASS_ARCHIVE.fullmatch(name):
                    self._unpack(path, extracted)
                else:
                    with path.open("rb") as source:
                        _write(source, extracted / name)
            except Exception as problem:
                self.log.warning("Left out %r: %s", name, _said(problem))

    def _unpack(self, path: Path, extracted: Path) -> None:
        """Unpack the members that are files.

        Raises
        ------
        LeftOut
            If they would fill the disk.
        """
        with ZipFile(path) as archive:
            members = [one for one in archive.infolist() if not one.is_dir()]
            size = sum(one.file_size for one in members if one.file_size <= MAX_MEMBER_BYTES)
            if size > MAX_ARCHIVE_BYTES:
                raise LeftOut(
                    f"its files must have at most {MAX_ARCHIVE_BYTES / 2**30:.0f} GiB in all, and have "
                    f"{size / 2**30:.1f} GiB: unpack it into this folder by hand"
                )
            self.log.info("Unpacking %s", path)
            for member in members:
                # Packers disagree, and a student's file may be damaged in any way.
                try:
                    place = extracted / _member_place(member)
                    with archive.open(member) as source:
                        _write(source, place)
                except Exception as problem:
                    self.log.warning("Left out %r: %s", member.filename, _said(problem))
