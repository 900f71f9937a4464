"""What a learning management system may give out: archives that leave their folder, odd names of students."""

import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from tests.classroom.handing_in import HEADS, RIGHT, Handout, answer_cell, put, released, text_of

ESCAPED = "attncourse-escaped"  # must be in no name outside the folder that an archive was extracted to
BOMB_BYTES = 2**28

# No roster holds these; a shell, a page, a database or a spreadsheet might take them for something else.
STRANGERS = (
    "..hidden",
    "-rf",
    "--help",
    "$(touch attncourse-escaped)",
    "two words",
    "o'brien'; drop table student; --",
    "<script>attackTheBrowser()<⧸script>",
    "=1+1",
    "name\nof two lines",
    "ünï çødé",
    "x" * 200,
)


def hostile_strangers(submitted: Path, handout: Handout) -> tuple[str, ...]:
    """Hand in a right answer for each name of `STRANGERS`; return the names.

    None of them may keep the others from being graded, change a file outside the course, or come out of an
    export as a formula.
    """
    notebook = released(handout, HEADS)
    answer_cell(notebook, HEADS)["source"] = RIGHT
    for name in STRANGERS:
        put(submitted / name / handout.assignment, f"{HEADS}.ipynb", text_of(notebook))
    return STRANGERS


def _zip(*entries: tuple[str | zipfile.ZipInfo, str]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, text in entries:
            archive.writestr(name, text)
    return file.getvalue()


def _zip_link(name: str, target: str) -> tuple[zipfile.ZipInfo, str]:
    entry = zipfile.ZipInfo(name)
    entry.create_system = 3  # Unix: the mode stands in the upper half
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry, target


def _tar(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for entry, data in entries:
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return file.getvalue()


def _member(name: str, data: bytes = b"escaped", **values: object) -> tuple[tarfile.TarInfo, bytes]:
    entry = tarfile.TarInfo(name)
    for key, value in values.items():
        setattr(entry, key, value)
    return entry, data


def hostile_archives(folder: Path, victim: Path | None = None) -> dict[str, Path]:
    """Write archives that try to leave the folder that they are extracted to; return them by what they try.

    Parameters
    ----------
    folder : Path
        Where the archives are written.
    victim : Path, optional
        The folder that absolute names lead to; ``folder / "victim"`` if it is not given. It is made.

    Returns
    -------
    dict
        After extraction no file outside may have a name with `ESCAPED`, and nothing may lie in `victim`.
    """
    victim = victim or folder / "victim"
    victim.mkdir(parents=True, exist_ok=True)
    absolute, up = str(victim / ESCAPED), f"../../../../{ESCAPED}"
    makers: dict[str, Callable[[], bytes]] = {
        "zip-slip.zip": lambda: _zip((up, "escaped"), (f"ok/../../{ESCAPED}", "escaped")),
        "zip-absolute.zip": lambda: _zip((absolute, "escaped")),
        "zip-backslash.zip": lambda: _zip((up.replace("/", "\\"), "escaped"), (f"C:\\{ESCAPED}", "escaped")),
        "zip-link.zip": lambda: _zip(
            _zip_link("door", str(victim)), (f"door/{ESCAPED}", "escaped"), _zip_link("passwd", "/etc/passwd")
        ),
        "zip-bomb.zip": lambda: _zip((f"{HEADS}.ipynb", "0" * BOMB_BYTES)),
        "tar-slip.tar.gz": lambda: _tar(_member(up), _member(absolute)),
        "tar-link.tar.gz": lambda: _tar(
            _member("door", b"", type=tarfile.SYMTYPE, linkname=str(victim)),
            _member(f"door/{ESCAPED}"),
            _member("passwd", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
            _member("hard", b"", type=tarfile.LNKTYPE, linkname="../../../../../../etc/passwd"),
        ),
        "tar-device.tar.gz": lambda: _tar(
            _member("zero", b"", type=tarfile.CHRTYPE, devmajor=1, devminor=5),
            _member("pipe", b"", type=tarfile.FIFOTYPE),
        ),
        "no-archive.zip": lambda: b"PK\x03\x04 and then nothing that an archive holds",
    }
    return {name: put(folder, name, make()) for name, make in makers.items()}
