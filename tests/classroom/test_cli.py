"""The command line says in a line what went wrong, and its help shows an example."""

import re
import subprocess
import sys

import nbformat
import nbgrader.api
import pytest
from typer.testing import CliRunner

from attncourse.classroom import cli
from attncourse.classroom.assigning import assign, handed_out, solution_of
from attncourse.classroom.bank import ROOT
from attncourse.classroom.cli import app, main
from attncourse.classroom.course import nbgrader_ready, read_assignment
from attncourse.classroom.problem import CourseProblem
from attncourse.classroom.records import read_records

pytestmark = pytest.mark.exercises
HEADS, SLUG = "multihead.split-heads", "multihead-split-heads"
COMMANDS = ("assign", "grade", "feedback", "export", "doctor")


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Run the command line in an empty folder; return its exit status, output and errors."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["attncourse", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        out, error = capsys.readouterr()
        return end.value.code or 0, out, error

    return command


@pytest.fixture(scope="module")
def quick_gradebook():
    """Ask for the version of nbgrader's tables once: it is a process of two seconds."""
    with pytest.MonkeyPatch.context() as patch, nbgrader_ready():
        version = nbgrader.api.get_alembic_version()
        patch.setattr(nbgrader.api, "get_alembic_version", lambda: version)
        yield


# --- help ---------------------------------------------------------------------------------------------------


def test_help_names_every_command():
    for option in ("--help", "-h"):
        said = CliRunner().invoke(app, [option])
        assert said.exit_code == 0
        for name in COMMANDS:
            assert re.search(rf"^  {name} +\S", said.output, re.MULTILINE)
        assert "outside the book's repository" in said.output
    assert "Usage" in CliRunner().invoke(app, []).output


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_holds_its_example(name):
    said = CliRunner().invoke(app, [name, "--help"])
    assert said.exit_code == 0
    assert f"Example: attncourse {name}" in said.output
    assert "--course DIR" in said.output
    assert "noqa" not in said.output


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_can_be_typed(name, monkeypatch, tmp_path):
    """Every option of an example exists: the command gets as far as the course."""

    def stop(folder):
        raise CourseProblem(f"got to {folder}")

    monkeypatch.setattr(cli, "_opened", stop)
    epilog = next(one for one in app.registered_commands if one.callback.__name__ == name).epilog
    words = [word.strip("'") for word in re.findall(r"'[^']*'|\S+", epilog.partition("attncourse ")[2])]
    said = CliRunner().invoke(app, words)
    assert isinstance(said.exception, CourseProblem), said.output


def test_help_loads_nothing_heavy():
    """It is what a person tries first; torch and nbgrader take seconds."""
    code = (
        "import sys; sys.argv = ['attncourse', '--help']\n"
        "from attncourse.classroom.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "print(sorted({'torch', 'nbgrader', 'numpy', 'nbformat', 'jupytext'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_module_is_the_command_line(monkeypatch):
    import runpy

    monkeypatch.setattr(sys, "argv", ["attncourse", "--help"])
    with pytest.raises(SystemExit) as end:
        runpy.run_module("attncourse.classroom", run_name="__main__")
    assert not end.value.code


# --- errors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["grade", "HW1"], "there is no assignment 'HW1' in "),
        (["grade", "../x"], "an assignment's name must be letters"),
        (["feedback", "HW1"], "there is no assignment 'HW1' in "),
        (["export", "HW1"], "HW1"),
        (["assign", "HW1", "multihead.split-head"], "did you mean multihead.split-heads?"),
        (["assign", "HW1", HEADS, "--seed", "-1"], "--seed must be at least 0, got -1"),
        (["assign", "HW1", HEADS, "--per-student", "a.csv", "--roster", "b.csv"], "not both"),
        (["assign", "HW1", HEADS, "--per-student", "a.csv"], "a.csv"),
        (["assign", "HW1", HEADS, "--course", str(ROOT)], "must lie outside the book's repository"),
        (["doctor", "--course", str(ROOT / "book")], "must lie outside the book's repository"),
    ],
)
def test_a_problem_is_a_line(words, text, run):
    status, out, error = run(*words)
    assert status == 1
    assert out == ""
    assert error.startswith("attncourse: ")
    assert error.count("\n") == 1
    assert text in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    "words",
    [
        ["grade"], ["assign", "HW1"], ["export", "HW1", "--to", "word"], ["grade", "HW1", "--jobs", "two"],
        ["grad"], ["grade", "HW1", "--course"], ["--no"],
    ],
)  # fmt: skip
def test_what_is_typed_wrongly_is_no_traceback(words, run):
    status, _, error = run(*words)
    assert status == 2
    assert error.splitlines()[-1].startswith("Error: ")
    assert "Traceback" not in error


def test_ctrl_c_ends_with_a_line(run, monkeypatch):
    def stop(folder):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_opened", stop)
    status, out, error = run("grade", "HW1")
    assert status == 130
    assert out == ""
    assert error.strip() == "attncourse: stopped; the same command goes on where it was"


def test_the_doctors_complaints_are_an_exit_status(run, monkeypatch):
    from attncourse.classroom.doctor import Finding

    found = [Finding("Python", True, "3.11"), Finding("sandbox", False, "none", "get one")]

    def examine(course, *, done):
        for one in found:
            done(one)
        return found

    monkeypatch.setattr("attncourse.classroom.doctor.examine", examine)
    assert run("doctor") == (1, "✓ Python: 3.11\n✗ sandbox: none\n    get one\n", "")
    found.pop()
    assert run("doctor") == (0, "✓ Python: 3.11\n", "")


# --- a course -----------------------------------------------------------------------------------------------


def test_assigning_says_where_things_are(run, tmp_path, quick_gradebook):
    (tmp_path / "roster.csv").write_text("student_id,last_name\nann,A\nbob,B\n")
    status, out, error = run("assign", "HW1", HEADS, "--per-student", "roster.csv")
    assert (status, error) == (0, "")
    assert out.splitlines() == [
        "HW1: 1 exercises, 4 points.",
        f"Hand out: {tmp_path}/handout/HW1 (a .zip for each of 2 students)",
        f"Put what comes back into {tmp_path}/submitted/STUDENT/HW1",
    ]
    assert read_assignment(tmp_path, "HW1").students == ("ann", "bob")
    status, out, _ = run("assign", "HW2", HEADS, "--roster", "roster.csv", "--seed", "3")
    assert f"Hand out: {tmp_path}/release/HW2" in out
    assert read_assignment(tmp_path, "HW2").students == ("ann", "bob")
    assert read_assignment(tmp_path, "HW2").seed == 3
    assert run("grade", "HW1", "--student", "zoe", "--unsafe")[2].endswith(
        "attncourse: HW1 was neither given to nor handed in by zoe\n"
    )
    assert "--jobs must be at least 1, got 0" in run("grade", "HW1", "--jobs", "0", "--unsafe")[2]


def test_nobody_has_handed_in(run, tmp_path, quick_gradebook):
    run("assign", "HW1", HEADS)
    status, _, error = run("grade", "HW1", "--unsafe")
    assert status == 1
    assert f"attncourse: nobody has handed in HW1: there is no {tmp_path}/submitted/STUDENT/HW1" in error


def test_without_a_sandbox_it_is_said_how_to_get_one(run, monkeypatch, quick_gradebook):
    monkeypatch.setattr("attncourse.classroom.sandbox.problem", lambda: "the moon is full")
    run("assign", "HW1", HEADS)
    status, _, error = run("grade", "HW1")
    assert status == 1
    assert "in a sandbox only, and the moon is full. The sandbox is bubblewrap" in error


def test_grading_without_a_sandbox_gives_what_answers_deserve(tmp_path, quick_gradebook):
    """The whole way, in a process of its own."""
    course = tmp_path / "course"
    assign(course, "HW1", [HEADS])
    answers = {"right": solution_of(SLUG, 0), "wrong": "def split_heads(x, n_heads):\n    return x"}
    for student, answer in answers.items():
        notebook = nbformat.from_dict(handed_out(SLUG, 0))
        notebook.cells[2].source = answer
        folder = course / "submitted" / student / "HW1"
        folder.mkdir(parents=True)
        nbformat.write(notebook, folder / f"{SLUG}.ipynb")
    line = [sys.executable, "-m", "attncourse.classroom", "grade", "HW1", "--unsafe", "--course", str(course)]
    done = subprocess.run(line, capture_output=True, text=True, cwd=ROOT, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    records = {one.student: one for one in read_records(course, "HW1")}
    assert (records["right"].score, records["right"].inside, records["right"].remarks) == (4.0, 4.0, ())
    assert (records["wrong"].score, records["wrong"].inside, records["wrong"].state) == (0.0, 0.0, "graded")
    assert "Without a sandbox: students' code can read and change everything that you can." in done.stderr
    assert "HW1: 2 notebooks graded now; in all 2 graded" in done.stdout
    assert "Traceback" not in done.stderr
