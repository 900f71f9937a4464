"""Run copies of `tools/colab.py` as Colab does: our package is missing, and the first cell fetches it.

Usage::

    python tools/colab_check.py            chapters 02 and 04 and one exercise
    python tools/colab_check.py 09 14      the copies whose name begins so

Takes the libraries of the environment that `tools/binder_check.py` made, leaves out what Colab lacks, and
puts a git repository of the files here in the place of the public one. What the first cell installs comes
from the registry that pip is set to.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from binder_check import copy_repository  # noqa: E402
from book_text import repository_url  # noqa: E402
from colab import write  # noqa: E402

DEFAULT = ("02", "04", "multihead-split-heads")
# Colab comes with everything that the chapters import, but for these.
LACKING = ("sacrebleu", "attncourse", "__editable__")
SECONDS = 600
CLEAN = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "JUPYTER_PATH", "IPYTHONDIR", "MPLCONFIGDIR"}


def git(folder: Path, *words: str) -> str:
    """Run git in a folder, with no settings but ours, and return what it prints."""
    settings = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    who = ["-c", "user.name=check", "-c", "user.email=check@example.org"]
    return subprocess.run(
        ["git", "-C", str(folder), *who, *words], env={**os.environ, **settings}, check=True,
        capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip


def make_repository(folder: Path) -> str:
    """Make a git repository of the files here, committed or not; return its one commit."""
    copy_repository(folder)
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message=what is here")
    return git(folder, "rev-parse", "HEAD")


def make_environment(folder: Path, libraries: Path) -> Path:
    """Make an environment with another one's libraries, but for those that Colab lacks; return its Python.

    The other one stays as it is: what is installed later lands in this one.
    """
    venv.create(folder / "venv", with_pip=True)
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    (theirs,) = (libraries / "lib").glob("python*/site-packages")
    shown = folder / "libraries"
    shown.mkdir()
    for path in theirs.iterdir():
        if not path.name.startswith(LACKING):
            (shown / path.name).symlink_to(path)
    (site / "colab.pth").write_text(f"{shown}\n", encoding="utf-8")
    return folder / "venv" / "bin" / "python"


def run_copy(python: Path, copy: Path, environment: dict[str, str]) -> str:
    """Run a copy to its end; return what went wrong, or ""."""
    command = [str(python), "-m", "nbconvert", "--to", "notebook", "--execute"]
    command += ["--output", f"done-{copy.name}"]
    allow = ["--allow-errors"] if copy.parent.name == "exercises" else []  # examples that need the answer
    command += [*allow, f"--ExecutePreprocessor.timeout={SECONDS}", str(copy)]
    done = subprocess.run(
        command, cwd=copy.parent, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        return done.stderr[-2000:]
    executed = nbformat.read(copy.with_name(f"done-{copy.name}"), as_version=4)
    first = next(cell for cell in executed.cells if cell.cell_type == "code")
    if "Fetching" not in "".join(one.get("text", "") for one in first.outputs):
        return "the first cell did not fetch the package"
    every = [one for cell in executed.cells for one in cell.get("outputs", []) if one.output_type == "error"]
    missing = [one["evalue"] for one in every if one["ename"] in ("ImportError", "ModuleNotFoundError")]
    return "; ".join(missing)


def check(libraries: Path, wanted: list[str]) -> int:
    """Run the copies and return the exit status."""
    bad = 0
    with tempfile.TemporaryDirectory(prefix="colab-check-", ignore_cleanup_errors=True) as temporary:
        place = Path(temporary)
        commit = make_repository(place / "origin")
        home, copies = place / "home", place / "copies"
        home.mkdir()
        instead = f'[url "file://{place / "origin"}"]\n\tinsteadOf = {repository_url()}\n'
        (home / ".gitconfig").write_text(instead, encoding="utf-8")
        write(copies, commit, solutions=True)
        python = make_environment(place, libraries)
        environment = {name: value for name, value in os.environ.items() if name not in CLEAN}
        environment |= {"HOME": str(home), "OMP_NUM_THREADS": "1", "GIT_CONFIG_NOSYSTEM": "1"}
        for path in sorted(copies.rglob("*.ipynb")):
            if not path.name.startswith(tuple(wanted)):
                continue
            content = place / "content" / path.stem  # Colab starts every notebook in an empty session
            content = content / "exercises" if path.parent.name == "exercises" else content
            content.mkdir(parents=True)
            problem = run_copy(python, path.rename(content / path.name), environment)
            bad += bool(problem)
            print(f"{'FAILED' if problem else 'ran   '} {path.name} {problem}".rstrip(), flush=True)
    return int(bad > 0)


def main() -> int:
    """Run the check."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="how the names of the copies begin")
    parser.add_argument("--venv", default=".venv-binder", help="whose libraries (default: .venv-binder)")
    options = parser.parse_args()
    return check(ROOT / options.venv, options.names or list(DEFAULT))


if __name__ == "__main__":
    sys.exit(main())
