"""Make the virtual environment that every command of the Makefile runs in.

`python3 tools/setup_env.py` creates `.venv` (or $VENV), installs requirements.txt and the package, and leaves
a stamp, so that the next call does nothing and needs no network. An environment without the right stamp is
brought up to date or made anew. What can go wrong outside this repository (Python too old, no venv module,
disk full, registry unreachable) is said in one line.

This file must *parse* on Python 3.6, or an old Python could not say that it is too old.
"""

import argparse
import errno
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OLDEST = (3, 11)
NEWEST_TRIED = (3, 14)
GIB = 2**30
# The whole environment takes 2.1 GB with the CPU build of torch; pip needs as much again while it unpacks.
NEEDED_FRESH = 4 * GIB
NEEDED_UPDATE = GIB // 2

DISK_FULL = re.compile(r"No space left on device|Errno 28\b|ENOSPC|Disk quota exceeded")
UNREACHABLE = re.compile(
    r"NewConnectionError|ConnectTimeoutError|ReadTimeoutError|ConnectionResetError|ProxyError|SSLError"
    r"|Max retries exceeded|Temporary failure in name resolution|Name or service not known"
    r"|Failed to establish a new connection|Connection refused|Network is unreachable"
    r"|There was a problem confirming the ssl certificate"
)
NO_BUILD = re.compile(r"No matching distribution found for (\S+)")


class SetupError(Exception):
    """Something outside this repository is missing; the text is the one line that the user sees."""


def version_text(version):
    """Return `(3, 11)` as "3.11"."""
    return ".".join(str(part) for part in version[:2])


def find_newer_python():
    """Return the path of a Python on PATH that is new enough and runs, or None."""
    probe = f"import sys; sys.exit(sys.version_info < {OLDEST!r})"
    for minor in range(NEWEST_TRIED[1], OLDEST[1] - 1, -1):
        path = shutil.which(f"python3.{minor}")
        if (
            path
            and subprocess.call([path, "-c", probe], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            == 0
        ):
            return path
    return None


def require_new_python():
    """Go on under a Python that is new enough.

    Raises
    ------
    SetupError
        If there is none.
    """
    if sys.version_info >= OLDEST:
        return
    newer = find_newer_python()
    if newer is None:
        raise SetupError(
            f"Python {version_text(OLDEST)} or newer is needed; {sys.executable} is "
            f"{version_text(sys.version_info)}, and no newer one is on PATH"
        )
    sys.stdout.flush()
    os.execv(newer, [newer, os.path.abspath(__file__), *sys.argv[1:]])


def require_venv_module():
    """Look for the venv module, which Debian ships apart from Python.

    Raises
    ------
    SetupError
        If it is missing.
    """
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        raise SetupError(
            f"Python's venv module is missing from {sys.executable}; "
            f"on Debian or Ubuntu: apt install python{version_text(sys.version_info)}-venv"
        )


def require_space(venv, needed):
    """Look for free disk space before pip fills it.

    Raises
    ------
    SetupError
        If there is less than ``needed`` bytes.
    """
    folder = venv
    while not os.path.exists(folder):
        folder = os.path.dirname(folder)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise SetupError(
            f"not enough disk space: the environment needs {needed / GIB:.1f} GiB, "
            f"and {folder} has {free / GIB:.1f} GiB left"
        )


def venv_python(venv):
    """Return the path of an environment's Python."""
    return os.path.join(venv, "bin", "python")


def venv_settings(venv):
    """Return what `pyvenv.cfg` says, as a dict; empty where there is no environment."""
    try:
        with open(os.path.join(venv, "pyvenv.cfg"), encoding="utf-8") as file:
            pairs = [line.split("=", 1) for line in file if "=" in line]
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, value in pairs}


def hash_of(*parts):
    """Return a short text that changes when any part does."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def fingerprint(venv, requirements):
    """Return what the stamp must say: which Python at which place, and which pins and metadata."""
    contents = []
    for path in (requirements, os.path.join(ROOT, "pyproject.toml")):
        with open(path, "rb") as file:
            contents.append(file.read())
    return {
        "made": hash_of(venv_settings(venv).get("version"), os.path.realpath(venv), ROOT),
        "from": hash_of(*contents),
    }


def stamp_path(venv):
    """Return the path of the stamp, which is written last."""
    return os.path.join(venv, "attncourse-setup.json")


def read_stamp(venv):
    """Return the stamp of a finished environment; empty where there is none, or where its Python is gone."""
    try:
        with open(stamp_path(venv), encoding="ascii") as file:
            stamp = json.load(file)
    except (OSError, ValueError):
        return {}
    return stamp if os.access(venv_python(venv), os.X_OK) else {}


def run_logged(command, log):
    """Run a command with its output appended to a log file; return its exit status and that output."""
    with open(log, "ab") as file:
        file.write(("$ " + " ".join(command) + "\n").encode())
        file.flush()
        begin = file.tell()
        status = subprocess.call(command, stdout=file, stderr=subprocess.STDOUT, cwd=ROOT)
    with open(log, "rb") as file:
        file.seek(begin)
        return status, file.read().decode("utf-8", "replace")


def explain(output, log):
    """Return why pip or venv failed, in one line."""
    missing = NO_BUILD.search(output)
    if DISK_FULL.search(output):
        reason = f"the disk is full; the environment needs {NEEDED_FRESH / GIB:.0f} GiB"
    elif UNREACHABLE.search(output):
        reason = "the package registry cannot be reached; check the network, the proxy or PIP_INDEX_URL"
    elif missing and "(from versions: none)" in output:
        reason = f"the package registry cannot be reached, or has no {missing.group(1)} for this Python"
    elif missing:
        reason = (
            f"the registry has no {missing.group(1)} for this machine and this Python "
            f"({version_text(OLDEST)} to {version_text(NEWEST_TRIED)} are known to work)"
        )
    else:
        reason = "installing failed"
    return f"{reason}; pip's output: {log}"


def must_run(command, log):
    """Run a command.

    Raises
    ------
    SetupError
        If it fails, with the reason in one line.
    """
    status, output = run_logged(command, log)
    if status != 0:
        raise SetupError(explain(output, log))


def build(venv, requirements, with_package=True):
    """Create the environment, or bring a finished one up to date, and stamp it.

    An environment without a stamp was interrupted: what pip left there cannot be trusted, so it is made anew.

    Raises
    ------
    SetupError
        If something is missing.
    """
    in_use = os.path.isdir(venv) and os.listdir(venv)
    if in_use and not os.path.exists(os.path.join(venv, "pyvenv.cfg")):
        raise SetupError(f"{venv} exists and is no virtual environment; set VENV to another folder.")
    fresh = read_stamp(venv).get("made") != fingerprint(venv, requirements)["made"]
    require_space(venv, NEEDED_FRESH if fresh else NEEDED_UPDATE)
    log = venv + "-setup.log"
    with open(log, "wb"):
        pass
    print(f"{'Making' if fresh else 'Updating'} the environment {venv}; pip's output: {log}", flush=True)
    if fresh:
        must_run([sys.executable, "-m", "venv", "--clear", venv], log)
    else:
        os.remove(stamp_path(venv))
    pip = [venv_python(venv), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    must_run([*pip, "--requirement", requirements], log)
    if with_package:
        # --no-index: setuptools is there by now, so this step asks no registry
        must_run([*pip, "--no-index", "--no-deps", "--no-build-isolation", "--editable", ROOT], log)
        # matplotlib's font cache, beside the packages: a notebook must not spend its first seconds on it
        os.environ.setdefault("MPLCONFIGDIR", os.path.join(venv, "cache", "matplotlib"))
        must_run([venv_python(venv), "-c", "import matplotlib.font_manager"], log)
    with open(stamp_path(venv), "w", encoding="ascii") as file:
        json.dump(fingerprint(venv, requirements), file)
    os.remove(log)
    print("The environment is ready.", flush=True)


def main(arguments=None):
    """Make the environment unless it is there; return the exit status."""
    parser = argparse.ArgumentParser(description="Make the virtual environment of the course.")
    parser.add_argument(
        "--venv", default=os.environ.get("VENV") or ".venv", help="where (default: $VENV or .venv)"
    )
    parser.add_argument("--requirements", default="requirements.txt", help="what (default: requirements.txt)")
    parser.add_argument("--without-package", action="store_true", help="leave attncourse itself out")
    options = parser.parse_args(arguments)
    venv = os.path.join(ROOT, os.path.expanduser(options.venv))
    requirements = os.path.join(ROOT, options.requirements)
    try:
        if read_stamp(venv) != fingerprint(venv, requirements):
            require_new_python()
            require_venv_module()
            build(venv, requirements, with_package=not options.without_package)
    except SetupError as reason:
        print(f"setup: {reason}", file=sys.stderr)
        return 1
    except OSError as error:
        print(
            f"setup: {'the disk is full' if error.errno == errno.ENOSPC else 'failed'}: {error}",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print("setup: interrupted; the next call makes the environment", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
