"""What the sandbox hides and forbids, and what the watch outside counts.

Tests that start the sandbox run as an ordinary user: from root it would not be one.
"""

import json
import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import psutil
import pytest

from attncourse.classroom import sandbox
from attncourse.classroom.problem import CourseProblem
from attncourse.classroom.sandbox import GIB, MIB, Limits, Sandbox, Watch, problem, require
from tests.support import ordinary

pytestmark = pytest.mark.exercises
ROOT = ordinary.ROOT
LIMITS = Limits(seconds=60, cpu_seconds=30)

# --- whether there is one ----------------------------------------------------------------------------------


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_other_systems_have_no_sandbox(system, monkeypatch):
    monkeypatch.setattr(sandbox.sys, "platform", system)
    assert problem() == f"there is no sandbox for {system}"


@pytest.fixture
def linux_user(monkeypatch):
    """Look like an ordinary user of Linux, whoever runs the tests."""
    monkeypatch.setattr(sandbox.sys, "platform", "linux")
    monkeypatch.setattr(sandbox.os, "geteuid", lambda: 1000)


def test_root_has_none(linux_user, monkeypatch):
    monkeypatch.setattr(sandbox.os, "geteuid", lambda: 0)
    text = "you are root, and a sandbox that root starts can read root's files: use an ordinary account"
    assert problem() == text


def program(folder, name, text):
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def programs(linux_user, monkeypatch, tmp_path):
    """A folder that alone is searched for programs."""
    monkeypatch.setenv("PATH", str(tmp_path))
    sandbox._options.cache_clear()
    yield tmp_path
    sandbox._options.cache_clear()


def test_programs_that_are_missing_are_named(programs):
    assert problem() == "the program bwrap is not installed"
    program(programs, "bwrap", "echo --size")
    assert problem() == "the program prlimit is not installed"


def test_an_old_one_is_none(programs):
    program(programs, "bwrap", "echo --tmpfs")
    program(programs, "prlimit", "")
    assert problem() == "bubblewrap is older than 0.7"


@pytest.mark.parametrize(
    ("says", "text"), [("echo no rights >&2; echo more >&2", "no rights"), ("", "no reason given")]
)
def test_one_that_does_not_start_says_why(says, text, programs):
    program(programs, "bwrap", f'[ "$1" = --help ] && echo --size && exit 0\n{says}\nexit 1')
    program(programs, "prlimit", "")
    assert problem() == f"bubblewrap does not start here: {text}"


def test_one_that_starts_is_fine(programs):
    program(programs, "bwrap", "echo --size --disable-userns")
    program(programs, "prlimit", "")
    assert problem() is None
    assert require(unsafe=False) is True
    assert require(unsafe=True) is True
    assert "--disable-userns" in Sandbox().command(["true"], LIMITS)


def test_without_one_nothing_is_graded_unless_asked_for(monkeypatch):
    monkeypatch.setattr(sandbox, "problem", lambda: "the moon is full")
    text = (
        r"^untrusted notebooks are graded in a sandbox only, and the moon is full\. The sandbox is bubblewrap"
        r".*`apt install bubblewrap`.*WSL 2.*If you trust every line .*, `--unsafe` grades without protection"
    )
    with pytest.raises(CourseProblem, match=text) as caught:
        require(unsafe=False)
    assert "\n" not in str(caught.value)
    assert require(unsafe=True) is False


@pytest.mark.parametrize("unsafe", [False, True])
def test_on_windows_nothing_is_graded(unsafe, monkeypatch):
    monkeypatch.setattr(sandbox.sys, "platform", "win32")
    with pytest.raises(CourseProblem, match=r"^nothing is graded on Windows itself.*WSL 2"):
        require(unsafe=unsafe)


# --- commands ----------------------------------------------------------------------------------------------


def test_without_a_sandbox_the_variables_alone_are_set(tmp_path):
    box = Sandbox(safe=False, environment={"MINE": "a b"})
    code = "import os; print(os.environ['MINE'], os.environ['OMP_NUM_THREADS'])"
    done = subprocess.run(
        box.command([sys.executable, "-c", code], LIMITS), capture_output=True, text=True, check=True
    )
    assert done.stdout == "a b 1\n"


def test_limits_and_folders_stand_in_the_command(programs):
    program(programs, "bwrap", "echo --size")
    limits = Limits(5, 7, 11, 13, 17, 19, 23)
    box = Sandbox(read=(Path("/r"),), write=(Path("/w"),), hidden=(Path("/r/h"),))
    command = box.command(["x", "--y"], limits)
    text = " ".join(command)
    assert command[-2:] == ["x", "--y"]
    assert "prlimit --as=11 --cpu=7 --core=0 --fsize=17 --nproc=23 --nofile=512 -- x --y" in text
    assert text.count("--size 19 --tmpfs") == 3
    assert "--ro-bind /r /r --size 1048576 --tmpfs /r/h --remount-ro /r/h --bind /w /w" in text
    assert "--disable-userns" not in text  # this one does not know it


# --- the watch ---------------------------------------------------------------------------------------------


def start(code):
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)])


def ended(process, seconds=60):
    try:
        return process.wait(seconds)
    finally:
        process.kill()
        process.wait()


def test_the_watch_ends_what_takes_too_long(tmp_path):
    with Watch(Limits(0.5, 1), tmp_path) as watch:
        assert ended(start("import time; time.sleep(600)")) == -9
    assert watch.reason == "did not end within 0.5 s"


def test_the_watch_counts_the_memory_of_all_together(tmp_path):
    mine = psutil.Process().memory_info().rss
    limit = mine + 300 * MIB
    code = f"""
        import os, time
        n = 2 if os.fork() else 1
        held = b"x" * ({limit} * 6 // 10)
        time.sleep(600)
    """
    with Watch(Limits(600, 600, memory_bytes=limit), tmp_path) as watch:
        assert ended(start(code)) == -9
    assert watch.reason == f"used more than {limit / GIB:g} GiB of memory"
    assert not watch.machine_full


def test_the_watch_counts_what_is_written(tmp_path):
    code = f"""
        import time
        for number in range(9):
            open({str(tmp_path)!r} + f"/{{number}}", "wb").write(bytes(2**18))
        time.sleep(600)
    """
    with Watch(Limits(600, 600, folder_bytes=2**20), tmp_path) as watch:
        assert ended(start(code)) == -9
    assert watch.reason == "wrote too much to the folder of its connection"


def test_the_watch_counts_files(tmp_path):
    for number in range(1001):
        (tmp_path / str(number)).touch()
    with Watch(Limits(600, 600), tmp_path) as watch:
        assert ended(start("import time; time.sleep(600)")) == -9
    assert watch.reason == "wrote too much to the folder of its connection"


def test_a_machine_without_memory_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(sandbox, "RESERVE_BYTES", 2**60)
    with Watch(Limits(600, 600), tmp_path) as watch:
        assert ended(start("import time; time.sleep(600)")) == -9
    assert watch.machine_full
    assert watch.reason == "was stopped because this machine had no memory left"


def test_a_flood_into_the_grader_is_said(tmp_path):
    with Watch(Limits(600, 600, memory_bytes=psutil.Process().memory_info().rss - MIB), tmp_path) as watch:
        assert ended(start("import time; time.sleep(600)")) == -9
    assert watch.reason == "sent more than the grader can hold"


def test_files_and_processes_that_come_and_go_do_not_end_the_watch(tmp_path):
    """Whoever makes and removes files quickly must not be rid of it."""
    code = f"""
        import os, threading, time
        def files():
            while True:
                path = {str(tmp_path)!r} + "/x"
                open(path, "w").close()
                os.remove(path)
        for _ in range(2):
            threading.Thread(target=files, daemon=True).start()
        while True:
            if os.fork() == 0:
                os._exit(0)
            os.wait()
    """
    with Watch(Limits(3, 600), tmp_path) as watch:
        assert ended(start(code)) == -9
    assert watch.reason == "did not end within 3 s"


def test_what_is_gone_has_no_size_and_no_memory(tmp_path, monkeypatch):
    (tmp_path / "real").write_bytes(bytes(5))
    (tmp_path / "link").symlink_to("/dev/zero")
    assert sorted(sandbox._sizes(tmp_path)) == [5, len("/dev/zero")]
    assert sandbox._sizes(tmp_path / "nothing") == []
    process = start("")
    one = psutil.Process(process.pid)
    process.wait()
    assert sandbox._memory(one) == 0


def test_the_watch_leaves_others_and_what_is_within_its_limits(tmp_path):
    before = start("import time; time.sleep(600)")
    try:
        with Watch(Limits(600, 600), tmp_path) as watch:
            inside = start("")
            assert ended(inside) == 0
        assert watch.reason == ""
        assert before.poll() is None
    finally:
        before.kill()
        before.wait()


def test_what_is_left_at_the_end_is_ended(tmp_path):
    with Watch(Limits(600, 600), tmp_path) as watch:
        left = start("import time; time.sleep(600)")
    assert ended(left) == -9
    assert watch.reason == ""


# --- inside ------------------------------------------------------------------------------------------------

RUN = """
import json, subprocess, sys, time
from pathlib import Path
from attncourse.classroom.sandbox import Limits, Sandbox, Watch
code, folders, limits = json.loads(Path(sys.argv[1]).read_text())
box = Sandbox(**{name: [Path(one) for one in paths] for name, paths in folders.items()})
watched = Path(folders.get("write", ["/nonexistent"])[0])
begin = time.monotonic()
limits = Limits(**({"seconds": 60, "cpu_seconds": 30} | limits))
with Watch(limits, watched) as watch:
    process = subprocess.Popen(box.command([sys.executable, "-c", code], limits),
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    out, error = process.communicate(timeout=100)
print(json.dumps([out, error[-500:], process.returncode, watch.reason, time.monotonic() - begin]))
"""


@pytest.fixture
def home():
    folder = ordinary.own_folder()
    yield folder
    ordinary.remove(folder)


@pytest.fixture
def boxed(home):
    """Run code in the sandbox as an ordinary user; return what it printed and how it ended."""

    def run(code, *, limits=None, **folders):
        job = home / "job.json"
        paths = {name: list(map(str, some)) for name, some in folders.items()}
        job.write_text(json.dumps([textwrap.dedent(code), paths, limits or {}]))
        ordinary.give(home)
        done = ordinary.run([sys.executable, "-c", RUN, str(job)], home, seconds=120)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.mark.instructor
def test_python_and_torch_run_inside(boxed):
    out, error, status, reason, _ = boxed("import torch; print(torch.ones(3).sum().item())")
    assert (out, status, reason) == ("3.0\n", 0, ""), error


@pytest.mark.instructor
def test_our_files_are_not_there(boxed, home):
    (home / "gradebook.db").write_text("secret")
    (home / ".ssh").mkdir()
    looks = [
        home, home / "gradebook.db", ROOT / "attncourse", ROOT / "book", "/home", "/etc/passwd",
        "/etc/shadow", "/etc/hostname", "/etc/resolv.conf", "/var", "/run", "/sys", "/mnt",
        "/srv", "/boot", "/dev/mem",
        "/proc/1/root/home", "/proc/1/cwd/../job.json", "/dev/kmsg", "/dev/sda",
    ]  # fmt: skip
    code = f"""
        import os
        for path in {[str(one) for one in looks]!r}:
            try:
                there = os.listdir(path) if os.path.isdir(path) else open(path, "rb").read(20)
            except OSError:
                continue
            if there:
                print(path, there)
    """
    out, error, *_ = boxed(code)
    assert out == "", error


@pytest.mark.instructor
def test_what_is_bound_is_there_and_what_is_hidden_is_empty(boxed, home):
    (home / "shown" / "inner").mkdir(parents=True)
    (home / "shown" / "a").write_text("hello")
    (home / "shown" / "inner" / "secret").write_text("secret")
    code = f"""
        import os
        shown = {str(home / "shown")!r}
        print(open(shown + "/a").read(), sorted(os.listdir(shown)), os.listdir(shown + "/inner"))
        for path in (shown + "/a", shown + "/b", shown + "/inner/b"):
            try:
                open(path, "w").write("x")
                print("written", path)
            except OSError:
                pass
    """
    out, *_ = boxed(code, read=[home / "shown"], hidden=[home / "shown" / "inner"])
    assert out == "hello ['a', 'inner'] []\n"
    assert (home / "shown" / "a").read_text() == "hello"


@pytest.mark.instructor
def test_writing_is_possible_in_its_own_folders_alone(boxed, home):
    mine = home / "mine"
    mine.mkdir()
    code = f"""
        import os, sys
        places = ["/", "/usr", "/usr/bin", "/etc", "/bin", "/dev", "/proc/sys/kernel", sys.prefix,
                  os.path.dirname(os.__file__), "/tmp", "/work", "/dev/shm", {str(mine)!r}, {str(home)!r}]
        for place in places:
            try:
                with open(place + "/attncourse-written", "w") as file:
                    file.write("x")
                print(place)
            except OSError:
                pass
    """
    out, *_ = boxed(code, write=[mine])
    # The last is a folder of the same name in its own /tmp, which holds what is bound.
    assert out.split() == ["/tmp", "/work", "/dev/shm", str(mine), str(home)]
    assert list(home.rglob("attncourse-written")) == [mine / "attncourse-written"]
    assert not list(Path("/tmp").glob("attncourse-written"))


@pytest.mark.instructor
@pytest.mark.parametrize("folder", ["/tmp", "/work", "/dev/shm"])
def test_its_folders_are_small(folder, boxed):
    code = f"""
        written = 0
        try:
            for number in range(100):
                with open({folder!r} + f"/{{number}}", "wb") as file:
                    written += file.write(bytes(2**20))
        except OSError:
            pass
        print(written // 2**20)
    """
    out, *_ = boxed(code, limits={"folder_bytes": 8 * MIB})
    assert 0 < int(out) <= 8


@pytest.mark.instructor
def test_a_file_has_a_largest_size(boxed):
    code = """
        import signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with open("/tmp/x", "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(2**20))
            except OSError as error:
                print(file.tell() // 2**20, error.strerror)
    """
    out, *_ = boxed(code, limits={"file_bytes": 4 * MIB})
    assert out == "4 File too large\n"


@pytest.mark.instructor
def test_there_is_no_network(boxed):
    heard = []
    server = socket.create_server(("127.0.0.1", 0))

    def accept():
        while True:
            try:
                heard.append(server.accept())
            except OSError:
                return

    threading.Thread(target=accept, daemon=True).start()
    abstract = socket.socket(socket.AF_UNIX)
    abstract.bind("\0attncourse-test")
    abstract.listen()
    code = f"""
        import socket
        for family, address in [(socket.AF_INET, ("127.0.0.1", {server.getsockname()[1]})),
                                (socket.AF_INET, ("198.51.100.1", 80)),
                                (socket.AF_UNIX, "\\0attncourse-test")]:
            try:
                with socket.socket(family) as one:
                    one.settimeout(3)
                    one.connect(address)
                print("reached", address)
            except OSError:
                pass
        try:
            print(socket.getaddrinfo("example.org", 80))
        except OSError:
            print([name for _, name in socket.if_nameindex()])
    """
    try:
        out, error, *_ = boxed(code)
    finally:
        server.close()
        abstract.close()
    assert out == "['lo']\n", error
    assert heard == []


@pytest.mark.instructor
def test_there_are_no_other_processes(boxed):
    code = """
        import os, signal
        print(len([one for one in os.listdir("/proc") if one.isdigit()]) < 6, os.getuid(), os.getgid())
        print(os.uname().nodename)
        alive = []
        for pid in range(2, 60_000):
            if pid != os.getpid():
                try:
                    os.kill(pid, 0)
                    alive.append(pid)
                except OSError:
                    pass
        print(len(alive) < 4)
    """
    out, error, *_ = boxed(code)
    assert out == "True 1000 1000\nsandbox\nTrue\n", error


@pytest.mark.instructor
def test_nothing_of_our_variables_is_inside(boxed, monkeypatch):
    """Neither its own nor those of the program that makes the sandbox, which runs inside as process 1."""
    monkeypatch.setattr(ordinary, "environment", with_secret(ordinary.environment))
    code = """
        import os
        print(sorted(os.environ))
        for pid in os.listdir("/proc"):
            if pid.isdigit():
                try:
                    text = open(f"/proc/{pid}/environ").read() + open(f"/proc/{pid}/cmdline").read()
                except OSError:
                    continue
                print(pid, "s3cr3t" + "-value" in text)
    """
    out, error, *_ = boxed(code)
    assert "SECRET" not in out, error
    assert "LOGNAME" not in out
    assert "HOME" in out
    assert "1 False" in out
    assert "True" not in out


def with_secret(environment):
    return lambda home: environment(home) | {"SECRET_TOKEN": "s3cr3t-value"}


@pytest.mark.instructor
def test_rights_cannot_be_gained(boxed):
    code = """
        import os, subprocess
        status = open("/proc/self/status").read()
        for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb", "NoNewPrivs"):
            print(name, int(status.partition(name + ":")[2].split()[0], 16))
        print(subprocess.run(["unshare", "--user", "true"], capture_output=True).returncode != 0)
        print(subprocess.run(["mount", "-t", "tmpfs", "x", "/tmp"], capture_output=True).returncode != 0)
    """
    out, error, *_ = boxed(code)
    assert out.split("\n")[:-1] == [
        "CapEff 0", "CapPrm 0", "CapBnd 0", "CapAmb 0", "NoNewPrivs 1", "True", "True"
    ], error  # fmt: skip


@pytest.mark.instructor
def test_20_gb_cannot_be_had(boxed):
    code = """
        try:
            held = bytearray(20 * 2**30)
            print("had")
        except MemoryError:
            print("refused")
    """
    assert boxed(code)[0] == "refused\n"


@pytest.mark.instructor
def test_memory_of_many_is_counted(boxed):
    code = """
        import os, time
        for _ in range(8):
            if os.fork() == 0:
                held = b"x" * (60 * 2**20)
                time.sleep(600)
        time.sleep(600)
    """
    _, _, status, reason, seconds = boxed(code, limits={"memory_bytes": 256 * MIB})
    assert reason == "used more than 0.25 GiB of memory"
    assert status != 0
    assert seconds < 60


@pytest.mark.instructor
def test_a_fork_bomb_has_an_end(boxed):
    code = """
        import os, time
        made = 0
        try:
            while True:
                if os.fork() == 0:
                    time.sleep(600)
                made += 1
        except BlockingIOError:
            print(made, flush=True)
    """
    out, _, _, reason, seconds = boxed(code, limits={"processes": 16})
    assert 0 < int(out) <= 16
    assert reason == ""
    assert seconds < 60


@pytest.mark.instructor
def test_processor_time_has_an_end(boxed):
    _, _, status, _, seconds = boxed("while True: pass", limits={"cpu_seconds": 1})
    assert status != 0
    assert seconds < 60


@pytest.mark.instructor
def test_time_has_an_end(boxed):
    code = "import signal, time\nfor one in (2, 15): signal.signal(one, signal.SIG_IGN)\ntime.sleep(600)"
    _, _, status, reason, seconds = boxed(code, limits={"seconds": 4})
    assert reason == "did not end within 4 s"
    assert status != 0
    assert seconds < 60


MARK = "attncourse-left-behind-7f3a"


@pytest.mark.instructor
def test_what_is_left_behind_is_gone(boxed):
    code = f"""
        import os, subprocess, sys
        for _ in range(3):
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    for fd in (0, 1, 2):
                        os.close(fd)
                    os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(600)", {MARK!r}])
                os._exit(0)
        print("started")
    """
    out, error, status, *_ = boxed(code)
    assert (out, status) == ("started\n", 0), error
    end = time.monotonic() + 10
    while time.monotonic() < end:
        left = [one for one in psutil.process_iter(["cmdline"]) if MARK in (one.info["cmdline"] or ())]
        if not left:
            return
        time.sleep(0.2)
    pytest.fail(f"{len(left)} processes outlive their sandbox")


@pytest.mark.instructor
def test_it_ends_with_whoever_started_it(home):
    code = (
        "import os, subprocess, sys\nfrom attncourse.classroom.sandbox import Limits, Sandbox\n"
        f"inner = 'import time; time.sleep(600)  # {MARK}-2'\n"
        "subprocess.Popen(Sandbox().command([sys.executable, '-c', inner], Limits(60, 30)))\n"
        "import time; time.sleep(2); os._exit(0)"
    )
    ordinary.give(home)
    assert ordinary.run([sys.executable, "-c", code], home, seconds=100).returncode == 0
    time.sleep(2)
    lines = [" ".join(one.info["cmdline"] or ()) for one in psutil.process_iter(["cmdline"])]
    assert not [line for line in lines if f"{MARK}-2" in line]


@pytest.mark.instructor
def test_an_ordinary_user_has_a_sandbox(home):
    code = "from attncourse.classroom.sandbox import problem, require; print(problem(), require(unsafe=True))"
    done = ordinary.run([sys.executable, "-c", code], home)
    assert done.stdout == "None True\n", done.stderr


@pytest.mark.instructor
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be refused as root")
def test_root_is_refused():
    assert problem().startswith("you are root")


RERUN = """
import sys
from pathlib import Path
from attncourse.classroom.assigning import solution_of
from attncourse.classroom.bare import make_bare
from attncourse.classroom.rerun import rerun
from attncourse.exercises._check import questions
root = Path(sys.argv[1])
program = make_bare(root / "bare")
right = solution_of("multihead-split-heads", 0)
for number, cell in enumerate([right, "def split_heads(x, n):\\n    return x"]):
    (root / str(number)).mkdir()
    asked = questions("multihead.split-heads", 0, 77)
    verdict = rerun(asked, [cell], "split_heads", program, root / str(number), safe=True)
    print(verdict.result.points(4), verdict.reason)
"""


@pytest.mark.instructor
def test_an_answer_runs_again_in_the_sandbox(home):
    done = ordinary.run([sys.executable, "-c", RERUN, str(home)], home)
    lines = done.stdout.splitlines()
    assert lines == ["4.0 ", "0.0 "], done.stderr
