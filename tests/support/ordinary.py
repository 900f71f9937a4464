"""Run commands as an ordinary user where the tests themselves run as root, as they do in a container."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534


def _hidden_from_others(path: Path) -> Path | None:
    """Return the topmost folder above a path that only its owner may enter."""
    for folder in reversed(path.parents):
        if not folder.stat().st_mode & 0o001:
            return folder
    return None


def _prefix() -> list[str]:
    """Return what makes a command an ordinary user's, able to read this repository and its Python.

    Both may lie below /root, which others may not enter. There they are shown in an empty folder of the same
    name.
    """
    needed = {ROOT, Path(sys.prefix), Path(sys.base_prefix).resolve()}
    closed = {folder for path in needed if (folder := _hidden_from_others(path))}
    parts = ["bwrap", "--dev-bind", "/", "/"]
    for folder in sorted(closed):
        parts += ["--perms", "0755", "--tmpfs", str(folder)]
    for path in sorted(needed):
        for folder in [one for one in closed if path.is_relative_to(one)]:
            between = [one for one in reversed(path.parents) if one.is_relative_to(folder) and one != folder]
            for one in between:
                parts += ["--perms", "0755", "--dir", str(one)]
            parts += ["--ro-bind", str(path), str(path)]
    account = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--"]
    return [*parts, "--", *account]


def ordinary(command: list[str]) -> list[str]:
    """Return the command line that runs a command as an ordinary user."""
    return [*_prefix(), *command] if os.geteuid() == 0 else command


def environment(home: Path) -> dict[str, str]:
    """Return the environment variables of an ordinary user's commands."""
    return {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(home),
        "LOGNAME": "nobody",
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "TMPDIR": "/tmp",
    }


def own_folder() -> Path:
    """Return a new folder that the ordinary user owns."""
    folder = Path(tempfile.mkdtemp(prefix="attncourse-", dir="/tmp"))
    give(folder)
    return folder


def give(folder: Path) -> None:
    """Make a folder and all in it the ordinary user's."""
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
        for parent, folders, files in os.walk(folder):
            for name in folders + files:
                os.chown(Path(parent, name), NOBODY, NOBODY, follow_symlinks=False)


def remove(folder: Path) -> None:
    """Remove a folder, whoever owns what is in it."""
    shutil.rmtree(folder, ignore_errors=True)


def run(command: list[str], folder: Path, *, seconds: float = 600) -> subprocess.CompletedProcess:
    """Run a command in a folder as an ordinary user."""
    return subprocess.run(
        ordinary(command), cwd=folder, env=environment(folder), capture_output=True, text=True,
        timeout=seconds, check=False,
    )  # fmt: skip


def attncourse(folder: Path, *arguments: str, seconds: float = 3000) -> subprocess.CompletedProcess:
    """Run the command line of instructors in a course folder."""
    return run([sys.executable, "-m", "attncourse.classroom", *arguments], folder, seconds=seconds)
