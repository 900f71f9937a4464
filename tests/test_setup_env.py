"""The environment's bootstrap: what it installs, when it does nothing, how it says what is missing."""

import ast
import collections
import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import setup_env

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "tools" / "setup_env.py"
Usage = collections.namedtuple("Usage", "total used free")

pytestmark = pytest.mark.packaging


class FakeRun:
    """Stand in for venv and pip: note the commands, and make what they would make."""

    def __init__(self, venv):
        self.venv, self.commands, self.fail = venv, [], {}

    def __call__(self, command, log):
        line = " ".join(command)
        self.commands.append(line)
        for word, output in self.fail.items():
            if word in line:
                return 1, output
        if "-m venv" in line:
            shutil.rmtree(self.venv, ignore_errors=True)
            (self.venv / "bin").mkdir(parents=True)
            (self.venv / "bin" / "python").symlink_to(sys.executable)
            (self.venv / "pyvenv.cfg").write_text("home = /usr/bin\nversion = 3.11.7\n", encoding="utf-8")
        return 0, ""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Provide a repository of two files, with room on its disk."""
    root = tmp_path / "the course"  # a space in the path
    root.mkdir()
    (root / "requirements.txt").write_text("numpy==2.4.6\n", encoding="utf-8")
    (root / "pyproject.toml").write_text("[project]\n", encoding="utf-8")
    monkeypatch.setattr(setup_env, "ROOT", str(root))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(100 * 2**30, 0, 50 * 2**30))
    monkeypatch.delenv("VENV", raising=False)
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path))
    return root


@pytest.fixture
def run(place, monkeypatch):
    fake = FakeRun(place / ".venv")
    monkeypatch.setattr(setup_env, "run_logged", fake)
    return fake


def complaint(capsys):
    """Return the one line that went to stderr."""
    text = capsys.readouterr().err
    assert text.startswith("setup: ")
    assert text.count("\n") == 1
    assert text.endswith("\n")
    return text


def test_parses_on_python_3_6():
    ast.parse(SCRIPT.read_text(encoding="utf-8"), feature_version=(3, 6))


def test_installs_pins_then_the_package_without_the_registry(run, place, capsys):
    assert setup_env.main([]) == 0
    made, pins, package, fonts = run.commands
    assert "-m venv --clear" in made
    assert pins.endswith(f"--requirement {place}/requirements.txt")
    for option in ("--no-index", "--no-deps", "--no-build-isolation", f"--editable {place}"):
        assert option in package
    assert "matplotlib.font_manager" in fonts
    assert "ready" in capsys.readouterr().out
    assert not (place / ".venv-setup.log").exists()


def test_second_run_does_nothing(run, capsys):
    setup_env.main([])
    capsys.readouterr()
    run.commands.clear()
    assert setup_env.main([]) == 0
    assert run.commands == []
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("changed", ["requirements.txt", "pyproject.toml"])
def test_changed_pins_update_the_environment(run, place, changed):
    setup_env.main([])
    run.commands.clear()
    with (place / changed).open("a", encoding="utf-8") as file:
        file.write("# more\n")
    assert setup_env.main([]) == 0
    assert not any("-m venv" in line for line in run.commands)
    assert any("--requirement" in line for line in run.commands)


def test_interrupted_environment_is_made_anew(run, place):
    run.fail = {"--requirement": "a wheel is broken"}
    assert setup_env.main([]) == 1
    run.fail, run.commands = {}, []
    assert setup_env.main([]) == 0
    assert "-m venv --clear" in run.commands[0]


def test_update_that_fails_leaves_no_stamp(run, place):
    setup_env.main([])
    (place / "requirements.txt").write_text("numpy==3.0.0\n", encoding="utf-8")
    run.fail = {"--requirement": "ERROR: No matching distribution found for numpy==3.0.0"}
    assert setup_env.main([]) == 1
    (place / "requirements.txt").write_text("numpy==2.4.6\n", encoding="utf-8")
    run.fail, run.commands = {}, []
    assert setup_env.main([]) == 0
    assert run.commands


def test_environment_whose_python_is_gone_is_made_anew(run, place):
    setup_env.main([])
    (place / ".venv" / "bin" / "python").unlink()
    run.commands.clear()
    assert setup_env.main([]) == 0
    assert "-m venv --clear" in run.commands[0]


def test_moved_environment_is_made_anew(run, place, monkeypatch):
    setup_env.main([])
    moved = place.with_name("moved")
    place.rename(moved)
    monkeypatch.setattr(setup_env, "ROOT", str(moved))
    run.venv = moved / ".venv"
    run.commands.clear()
    assert setup_env.main([]) == 0
    assert "-m venv --clear" in run.commands[0]


def test_venv_variable_names_the_place(run, place, monkeypatch):
    monkeypatch.setenv("VENV", str(place / "elsewhere"))
    run.venv = place / "elsewhere"
    assert setup_env.main([]) == 0
    assert json.loads((place / "elsewhere" / "attncourse-setup.json").read_text(encoding="ascii"))


def test_never_clears_a_folder_that_is_no_environment(run, place, capsys):
    (place / "thesis").mkdir()
    (place / "thesis" / "chapter.tex").write_text("precious", encoding="utf-8")
    assert setup_env.main(["--venv", "thesis"]) == 1
    assert "exists and is no virtual environment" in complaint(capsys)
    assert run.commands == []


def test_old_python_without_a_newer_one(run, monkeypatch, capsys):
    monkeypatch.setattr(sys, "version_info", (3, 9, 2))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert setup_env.main([]) == 1
    text = complaint(capsys)
    assert "Python 3.11 or newer is needed" in text
    assert "is 3.9" in text
    assert run.commands == []


def test_old_python_goes_on_under_a_newer_one(run, monkeypatch):
    called = []
    monkeypatch.setattr(sys, "version_info", (3, 9, 2))
    # 3.14 is on PATH and does not run, as a shim of pyenv may; 3.12 does
    known = {"python3.14": "/shims/python3.14", "python3.12": "/usr/bin/python3.12"}
    monkeypatch.setattr(shutil, "which", known.get)
    monkeypatch.setattr(subprocess, "call", lambda command, **_: int("3.14" in command[0]))

    def execv(path, arguments):
        called.append((path, arguments))
        raise SystemExit

    monkeypatch.setattr(os, "execv", execv)
    with pytest.raises(SystemExit):
        setup_env.main([])
    [(path, arguments)] = called
    assert path == "/usr/bin/python3.12"
    assert arguments[1] == str(SCRIPT)


def test_missing_venv_module(run, monkeypatch, capsys):
    monkeypatch.setattr(setup_env.importlib.util, "find_spec", lambda name: None)
    assert setup_env.main([]) == 1
    assert "venv module is missing" in complaint(capsys)


def test_too_little_space_is_seen_before_pip_runs(run, monkeypatch, capsys):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(100 * 2**30, 0, 3 * 2**30))
    assert setup_env.main([]) == 1
    assert "needs 4.0 GiB" in complaint(capsys)
    assert run.commands == []


NO_NETWORK = """\
WARNING: Retrying (Retry(total=4)) after connection broken by 'NewConnectionError(: Failed to establish a \
new connection: [Errno -3] Temporary failure in name resolution')
ERROR: Could not find a version that satisfies the requirement numpy==2.4.6 (from versions: none)
ERROR: No matching distribution found for numpy==2.4.6
"""


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("ERROR: [Errno 28] No space left on device", "disk is full"),
        (NO_NETWORK, "registry cannot be reached;"),
        ("\n".join(NO_NETWORK.splitlines()[1:]), "registry cannot be reached, or has no numpy==2.4.6"),
        ("ERROR: No matching distribution found for torch==2.13.0", "registry has no torch==2.13.0"),
        ("ERROR: something else", "installing failed"),
    ],
)
def test_failure_of_pip_is_explained_in_one_line(run, place, capsys, output, words):
    run.fail = {"--requirement": output}
    assert setup_env.main([]) == 1
    text = complaint(capsys)
    assert words in text
    assert f"{place}/.venv-setup.log" in text
    assert (place / ".venv-setup.log").exists()


def test_full_disk_outside_pip(run, monkeypatch, capsys):
    def full(venv, requirements, with_package):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(setup_env, "build", full)
    assert setup_env.main([]) == 1
    assert "the disk is full" in complaint(capsys)


def test_log_holds_the_command_and_its_output(place):
    log = place / "log"
    log.write_text("earlier\n", encoding="utf-8")
    status, output = setup_env.run_logged(
        [sys.executable, "-c", "print('out'); raise SystemExit(3)"], str(log)
    )
    assert (status, output) == (3, "out\n")
    assert log.read_text(encoding="utf-8").startswith(f"earlier\n$ {sys.executable}")


def test_unreachable_registry_for_real(tmp_path):
    """Run the script against a closed port: real venv, real pip, no network."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "VENV"))}
    environment |= {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_RETRIES": "1",
    }
    command = [sys.executable, str(SCRIPT), "--venv", str(tmp_path / "env")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("setup: the package registry cannot be reached;")
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stdout
    assert "127.0.0.1" in (tmp_path / "env-setup.log").read_text(encoding="utf-8")
