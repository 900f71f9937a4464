"""Run strangers' code in a bubblewrap sandbox: no network, no files of ours but Python, hard limits.

The sandbox sees ``/usr``, the Python environment and what a caller binds, all read-only; two small folders in
memory to write to; no network, no other processes, no devices. Limits on address space, processor time, file
size and number of processes hold for every process inside; a watch outside counts what they use together.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import psutil

from attncourse.classroom.problem import CourseProblem

MIB = 2**20
GIB = 2**30
WATCH_SECONDS = 0.25
# The machine itself must keep this much memory, whoever uses it.
RESERVE_BYTES = GIB // 2
HOW_TO_GET = (
    "The sandbox is bubblewrap, on Linux: `apt install bubblewrap` (Debian, Ubuntu) or "
    "`dnf install bubblewrap` (Fedora). On macOS and Windows grade in a Linux virtual machine (on Windows: "
    "WSL 2). In a container start it with the right to make user namespaces, or grade outside. Ubuntu 24.04 "
    "also asks for an AppArmor profile: `apt install apparmor-profiles`, then "
    "`ln -s /usr/share/apparmor/extra-profiles/bwrap-userns-restrict /etc/apparmor.d/` and reload AppArmor."
)


@dataclass(frozen=True)
class Limits:
    """What one sandbox may use.

    Parameters
    ----------
    seconds : float
        From its start to its end.
    cpu_seconds : int
        Processor time of each process.
    address_bytes : int
        Address space of each process; PyTorch asks for much more than it fills.
    memory_bytes : int
        Memory that all its processes fill together.
    file_bytes : int
        Size of each file.
    folder_bytes : int
        Size of each of its folders in memory, and of what it may write to a folder that is bound.
    processes : int
        Processes and threads together.
    """

    seconds: float
    cpu_seconds: int
    address_bytes: int = 8 * GIB
    memory_bytes: int = 3 * GIB
    file_bytes: int = 64 * MIB
    folder_bytes: int = 128 * MIB
    processes: int = 128


@dataclass(frozen=True)
class Sandbox:
    """How to run a command.

    Parameters
    ----------
    safe : bool
        False runs it without any protection, as ``--unsafe`` asks for.
    read, write : sequence of Path
        What it sees of our files, at the same place; it may change only those in `write`.
    hidden : sequence of Path
        Folders inside those, which it finds empty.
    environment : mapping
        Its environment variables, beside the few that every program needs.
    """

    safe: bool = True
    read: Sequence[Path] = ()
    write: Sequence[Path] = ()
    hidden: Sequence[Path] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    def command(self, command: Sequence[str], limits: Limits) -> list[str]:
        """Return the whole command line that runs ``command`` with these limits."""
        variables = _environment() | dict(self.environment)
        if not self.safe:
            pairs = [f"{name}={value}" for name, value in variables.items()]
            return ["env", *pairs, *command]
        # The program's own variables can be read inside, in /proc/1/environ: it gets none of ours.
        parts = ["/usr/bin/env", "-i", shutil.which("bwrap") or "bwrap"]
        parts += [
            "--unshare-user",
            "--unshare-all",
            "--die-with-parent",
            "--new-session",
            "--cap-drop",
            "ALL",
        ]
        parts += ["--uid", "1000", "--gid", "1000", "--hostname", "sandbox"]
        parts += ["--disable-userns"] if "--disable-userns" in _options() else []
        parts += [*_system(), "--proc", "/proc", "--dev", "/dev"]
        for folder in ("/dev/shm", "/tmp", "/work"):
            parts += ["--size", str(limits.folder_bytes), "--tmpfs", folder]
        for path in (*_python(), *self.read):
            parts += ["--ro-bind", str(path), str(path)]
        for path in self.hidden:
            parts += ["--size", str(MIB), "--tmpfs", str(path), "--remount-ro", str(path)]
        for path in self.write:
            parts += ["--bind", str(path), str(path)]
        parts += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/work", "--clearenv"]
        for name, value in variables.items():
            parts += ["--setenv", name, value]
        # Set inside, where only the sandbox's own processes count.
        parts += ["prlimit", f"--as={limits.address_bytes}", f"--cpu={limits.cpu_seconds}", "--core=0"]
        parts += [f"--fsize={limits.file_bytes}", f"--nproc={limits.processes}", "--nofile=512", "--"]
        return [*parts, *command]


def _environment() -> dict[str, str]:
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return threads | {
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": "/work",
        "TMPDIR": "/tmp",
        "LANG": "C.UTF-8",
        "MPLBACKEND": "Agg",
        "MPLCONFIGDIR": "/tmp/matplotlib",
        "IPYTHONDIR": "/tmp/ipython",
        "PYTHONWARNINGS": "ignore",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def _system() -> list[str]:
    """Return the options that show the system's programs and libraries, and of /etc what they need."""
    parts = ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        path = Path("/", name)
        if path.is_symlink():
            parts += ["--symlink", os.readlink(path), str(path)]
        elif path.is_dir():
            parts += ["--ro-bind", str(path), str(path)]
    for name in ("ld.so.cache", "alternatives", "fonts", "localtime"):
        parts += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    return parts


def _python() -> list[Path]:
    """Return the folders of this Python that lie outside /usr."""
    found = {Path(sys.prefix).absolute(), Path(sys.base_prefix).resolve(), Path(sys.executable).resolve()}
    return sorted(path for path in found if not path.is_relative_to("/usr"))


@cache
def _options() -> str:
    done = subprocess.run(["bwrap", "--help"], capture_output=True, text=True, timeout=30, check=False)
    return done.stdout + done.stderr


def problem() -> str | None:
    """Return why untrusted code cannot be run safely here, or None if it can."""
    if sys.platform != "linux":
        return f"there is no sandbox for {sys.platform}"
    if os.geteuid() == 0:
        return "you are root, and a sandbox that root starts can read root's files: use an ordinary account"
    for program in ("bwrap", "prlimit"):
        if shutil.which(program) is None:
            return f"the program {program} is not installed"
    if "--size" not in _options():
        return "bubblewrap is older than 0.7"
    command = Sandbox().command(["true"], Limits(seconds=30, cpu_seconds=30))
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        return f"bubblewrap does not start here: {(done.stderr.strip() or 'no reason given').splitlines()[0]}"
    return None


def require(*, unsafe: bool) -> bool:
    """Return whether to use the sandbox.

    Raises
    ------
    CourseProblem
        If there is none and ``unsafe`` was not asked for, or on Windows.
    """
    if sys.platform == "win32":
        raise CourseProblem(f"nothing is graded on Windows itself, with a sandbox or without. {HOW_TO_GET}")
    reason = problem()
    if reason is None:
        return True
    if unsafe:
        return False
    raise CourseProblem(
        f"untrusted notebooks are graded in a sandbox only, and {reason}. {HOW_TO_GET} "
        "If you trust every line of what was handed in, `--unsafe` grades without protection."
    )


class Watch(threading.Thread):
    """Watch the processes that this process starts, and end them when they use too much together.

    Parameters
    ----------
    limits : Limits
        What they may use; the time counts from the start of the oldest of them.
    folder : Path
        The folder that they may write to.
    """

    def __init__(self, limits: Limits, folder: Path) -> None:
        super().__init__(daemon=True)
        self.limits, self.folder = limits, folder
        self.reason = ""
        self.machine_full = False
        self._me = psutil.Process()
        self._at_start = {process.pid for process in self._me.children()}
        self._over = threading.Event()

    def __enter__(self) -> "Watch":
        """Begin."""
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop watching, and end what is still there."""
        self._over.set()
        self.join()
        self._end()

    def _roots(self) -> list[psutil.Process]:
        return [one for one in self._me.children() if one.pid not in self._at_start]

    def run(self) -> None:
        """Look four times a second."""
        while not self._over.wait(WATCH_SECONDS):
            roots = self._roots()
            if roots and (reason := self._complaint(roots)):
                self.reason = self.reason or reason
                self._end()

    def _complaint(self, roots: list[psutil.Process]) -> str:
        used, oldest = 0, time.time()
        for root in roots:
            try:
                oldest = min(oldest, root.create_time())
                used += sum(map(_memory, (root, *root.children(recursive=True))))
            except psutil.Error:
                continue  # it ended meanwhile
        if used > self.limits.memory_bytes:
            return f"used more than {self.limits.memory_bytes / GIB:g} GiB of memory"
        if self._me.memory_info().rss > self.limits.memory_bytes:
            return "sent more than the grader can hold"
        if psutil.virtual_memory().available < RESERVE_BYTES:
            self.machine_full = True
            return "was stopped because this machine had no memory left"
        if time.time() - oldest > self.limits.seconds:
            return f"did not end within {self.limits.seconds:g} s"
        sizes = _sizes(self.folder)
        if sum(sizes) > self.limits.folder_bytes or len(sizes) > 1000:
            return "wrote too much to the folder of its connection"
        return ""

    def _end(self) -> None:
        for root in self._roots():
            try:
                inside = root.children(recursive=True)
            except psutil.Error:
                inside = []
            for one in (root, *inside):
                try:
                    one.kill()
                except psutil.Error:
                    continue


def _memory(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.Error:
        return 0  # it ended meanwhile


def _sizes(folder: Path) -> list[int]:
    """Return the sizes of a folder's files; one that is gone before it is looked at has none."""
    sizes = []
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                sizes.append(entry.stat(follow_symlinks=False).st_size)
    return sizes
