"""Run every notebook as on mybinder.org: what Binder installs, its memory, one core, one thread, no network.

Usage::

    python tools/binder_check.py             all chapters, the bug hunt, the notebooks of all exercises
    python tools/binder_check.py 04 vision   those whose name begins so

Makes a virtual environment of exactly what `binder/environment.yml` lists, copies the repository's files,
runs `binder/postBuild` on the copy with an empty home directory, starts JupyterLab through `binder/start`,
and runs each notebook in a fresh kernel. Fails if a cell does, or if server and kernels together pass 2 GiB.

From conda Binder gets other builds of the same versions; the weekly workflow builds the image itself.
"""

import argparse
import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from address import repository_files  # noqa: E402
from lab_server import Lab, Measured  # noqa: E402
from setup_env import fingerprint, read_stamp, venv_python  # noqa: E402

from attncourse.classroom.bank import FOLDER, read_exercise  # noqa: E402

LIMIT_MIB = 2048
# conda-forge's names for packages that pip's registry calls otherwise
PIP_NAME = {"pytorch-cpu": "torch", "matplotlib-base": "matplotlib"}
CONDA_LINE = re.compile(r"([\w.-]+)(?:=([\w.]+))?")
EXERCISES = "book/exercises/_notebooks"
INSIDE = "ATTNCOURSE_BINDER_CHECK_INSIDE"


class CheckFailed(Exception):
    """What Binder would do fails before any notebook runs."""


# --- what Binder installs ----------------------------------------------------------------------------


def requirements(environment: dict) -> tuple[str, list[str]]:
    """Return the version of Python and what pip must install to have what an environment of conda's holds.

    Parameters
    ----------
    environment : dict
        The content of `binder/environment.yml`.

    Returns
    -------
    tuple
        Such as ``("3.11", ["numpy==2.4.6.*", "keras==3.15.1"])``.

    Raises
    ------
    CheckFailed
        If a line is of a form that has no counterpart.
    """
    python, wanted = "", []
    for line in environment["dependencies"]:
        if isinstance(line, dict):
            wanted += line["pip"]
            continue
        found = CONDA_LINE.fullmatch(line)
        if found is None:
            raise CheckFailed(f"binder/environment.yml must list `name` or `name=version`, got {line!r}")
        name, version = found.groups()
        if name == "python":
            python = version
        elif name != "pip":
            # conda's single = means "begins with", as pip's == with a star does
            wanted.append(PIP_NAME.get(name, name) + (f"=={version}.*" if version else ""))
    return python, wanted


def make_environment(venv: Path) -> None:
    """Make the virtual environment, anew if the list has changed.

    Raises
    ------
    CheckFailed
        If the right Python is missing, or installing fails.
    """
    text = (ROOT / "binder" / "environment.yml").read_text(encoding="utf-8")
    python, wanted = requirements(yaml.safe_load(text))
    listed = ROOT / "_build" / "binder-requirements.txt"
    listed.parent.mkdir(exist_ok=True)
    listed.write_text("\n".join(wanted) + "\n", encoding="utf-8")
    if read_stamp(str(venv)) == fingerprint(str(venv), str(listed)):
        return
    ours = "{}.{}".format(*sys.version_info)
    interpreter = sys.executable if ours == python else shutil.which(f"python{python}")
    if interpreter is None:
        raise CheckFailed(f"Binder runs Python {python}, and there is no python{python} on PATH")
    if (venv / "pyvenv.cfg").is_file():
        shutil.rmtree(venv)  # a package that the list has lost must not stay
    command = [interpreter, "tools/setup_env.py", "--without-package"]
    command += ["--venv", str(venv), "--requirements", str(listed)]
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        raise CheckFailed("the environment could not be made")


def size_mib(folder: Path) -> float:
    """Return the disk space that the files of a folder take, in MiB."""
    files = (Path(where, name) for where, _, names in os.walk(folder) for name in names)
    return sum(path.lstat().st_blocks * 512 for path in files) / 2**20


# --- what Binder does with the repository ------------------------------------------------------------


def copy_repository(target: Path) -> None:
    """Copy the files that git tracks, or would track."""
    for name in repository_files(ROOT):
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, copy)


def reader_environment(venv: Path, home: Path) -> dict[str, str]:
    """Return the environment of a reader's server: nothing of ours but the language."""
    path = f"{venv / 'bin'}:/usr/local/bin:/usr/bin:/bin"
    refused = "http://127.0.0.1:9"  # where no other way shuts the network off
    proxies = {name: refused for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")}
    no_proxy = {"no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}
    return {
        "PATH": path,
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "VIRTUAL_ENV": str(venv),
        **proxies,
        **no_proxy,
    }


def post_build(folder: Path, environment: dict[str, str]) -> None:
    """Run `binder/postBuild` in the copy.

    Raises
    ------
    CheckFailed
        With what it said, if it fails.
    """
    command = [str(folder / "binder" / "postBuild")]
    done = subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL, encoding="utf-8", errors="replace", check=False,
    )  # fmt: skip
    if done.returncode:
        raise CheckFailed(f"binder/postBuild failed:\n{done.stdout[-3000:]}")


# --- the notebooks -----------------------------------------------------------------------------------


def notebooks_in(folder: Path, wanted: list[str]) -> list[str]:
    """Return the notebooks to run, chapters first, as paths below the folder.

    Raises
    ------
    CheckFailed
        If there is none that begins with one of the wanted names.
    """
    found = [*sorted(folder.glob("book/*.ipynb")), *sorted(folder.glob(f"{EXERCISES}/*.ipynb"))]
    for start in wanted:
        if not any(path.name.startswith(start) for path in found):
            raise CheckFailed(f"no notebook has a name that begins with {start!r}")
    chosen = [path for path in found if not wanted or path.name.startswith(tuple(wanted))]
    return [path.relative_to(folder).as_posix() for path in chosen]


def may_fail(name: str) -> list[int]:
    """Return the code cells of a reader's notebook that need the reader's answer."""
    path = Path(name)
    if path.parent.as_posix() != EXERCISES:
        return []
    cells = read_exercise(FOLDER / f"{path.stem}.md").cells
    kept = [cell for cell in cells if cell.kind == "code" and cell.tag != "solution"]
    return [index for index, cell in enumerate(kept) if cell.tag == "try"]


async def run_all(names: list[str], folder: Path, environment: dict[str, str]) -> list[Measured]:
    """Run the notebooks, with a server of its own on each core, and print a line for each."""
    waiting, done = list(reversed(names)), []
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [None]

    async def work(core: int | None) -> None:
        command = [str(folder / "binder" / "start"), "jupyter-lab"]
        async with Lab(command, folder, environment, core=core, limit_mib=LIMIT_MIB) as lab:
            while waiting:
                name = waiting.pop()
                done.append(await lab.run(name, may_fail=may_fail(name)))
                print(row(done[-1]), flush=True)

    print(f"{'seconds':>8} {'first cell':>11} {'peak MiB':>9}  notebook", flush=True)
    async with asyncio.TaskGroup() as group:
        for core in cores[: len(names)]:
            group.create_task(work(core))
    return done


def row(one: Measured) -> str:
    """Return a line of the table."""
    problem = f"  FAILED: {one.problem}" if one.problem else ""
    return f"{one.seconds:8.1f} {one.first:11.1f} {one.mib:9.0f}  {one.name}{problem}"


def summary(done: list[Measured]) -> Iterator[str]:
    """Yield what a person wants to know of the table."""
    heaviest, slowest = max(done, key=lambda one: one.mib), max(done, key=lambda one: one.seconds)
    firsts = sorted(one.first for one in done)
    failed = [one.name for one in done if one.problem]
    yield f"most memory: {heaviest.mib:.0f} of {LIMIT_MIB} MiB, {heaviest.name}"
    yield f"longest: {slowest.seconds:.1f} s, {slowest.name}"
    yield f"first cell: median {firsts[len(firsts) // 2]:.1f} s, longest {firsts[-1]:.1f} s"
    yield f"{len(done) - len(failed)} notebooks ran" + (f", {len(failed)} FAILED: {failed}" if failed else "")


# --- the command -------------------------------------------------------------------------------------


def without_network() -> list[str]:
    """Return what starts a program that reaches no other machine; empty if this machine has no such thing."""
    command = ["bwrap", "--dev-bind", "/", "/", "--unshare-net", "--die-with-parent"]
    works = shutil.which("bwrap") and subprocess.run([*command, "true"], capture_output=True, check=False)
    return command if works and works.returncode == 0 else []


def check(venv: Path, wanted: list[str]) -> int:
    """Do on a copy what Binder does, run the notebooks, and return the exit status."""
    with tempfile.TemporaryDirectory(prefix="binder-check-", ignore_cleanup_errors=True) as temporary:
        home, folder = Path(temporary) / "home", Path(temporary) / "attention-course"
        home.mkdir()
        copy_repository(folder)
        environment = reader_environment(venv, home)
        post_build(folder, environment)
        names = notebooks_in(folder, wanted)
        done = asyncio.run(run_all(names, folder, environment))
    print(*summary(done), sep="\n")
    return int(any(one.problem for one in done))


def main() -> int:
    """Make the environment, then check without network."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="how the names of the notebooks begin; none: all")
    parser.add_argument("--venv", default=".venv-binder", help="the environment (default: .venv-binder)")
    options = parser.parse_args()
    venv = ROOT / options.venv
    try:
        if not os.environ.get(INSIDE):
            make_environment(venv)
            python = subprocess.check_output([venv_python(venv), "--version"], text=True).strip()
            print(f"the environment takes {size_mib(venv):.0f} MiB on disk, {python}")
            if cut := without_network():
                os.execvpe(cut[0], [*cut, sys.executable, *sys.argv], {**os.environ, INSIDE: "yes"})
            print("bubblewrap is missing or may not be used: the network is hidden by a proxy, not cut off")
        return check(venv, options.names)
    except CheckFailed as reason:
        print(f"test-binder: {reason}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
