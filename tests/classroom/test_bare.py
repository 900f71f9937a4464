"""The copy of the package beside which answers run again: it works, and nothing in it answers an exercise."""

import ast
import os
import subprocess
import sys

import pytest

from attncourse.classroom.bank import FOLDER, exercise_paths, read_exercise
from attncourse.classroom.bare import PACKAGE, make_bare
from attncourse.classroom.carrying import COMMON
from attncourse.exercises import exercise_ids

pytestmark = pytest.mark.exercises


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bare") / "new"
    assert make_bare(folder) == folder / "inside.py"
    return folder


def sources(folder):
    return {str(path.relative_to(folder)): path.read_text(encoding="utf-8") for path in folder.rglob("*.py")}


def test_of_exercises_and_classroom_there_is_what_runs_and_nothing_more(bare):
    held = sources(bare)
    assert sorted(path.name for path in bare.iterdir() if path.name != "__pycache__") == [
        "attncourse", "inside.py"
    ]  # fmt: skip
    exercises = {name for name in held if name.startswith("attncourse/exercises/")}
    assert exercises == {f"attncourse/exercises/{name}.py" for name in ("__init__", *COMMON)}
    assert not [name for name in held if "classroom" in name]


def test_no_reference_no_mistake_and_no_test_is_there(bare):
    """By name of what checkers define, and by the text of every solution."""
    text = "\n".join(sources(bare / "attncourse" / "exercises").values()) + (bare / "inside.py").read_text()
    for part in ("EXERCISE =", "FAMILY =", "Mistake(\n", "import judge", "def judge", "exercise_ids"):
        assert part not in text
    for path in exercise_paths():
        for cell in read_exercise(path).tagged("answer"):
            if "BEGIN SOLUTION" in cell.source:
                solution = cell.source.partition("BEGIN SOLUTION\n")[2].partition("### END")[0].strip()
                assert solution
                assert solution not in text, path


def test_the_chapters_modules_are_all_there(bare):
    def held(package):
        return {
            str(path.relative_to(package)): path.read_bytes()
            for path in package.rglob("*")
            if path.is_file() and path.suffix != ".pyc"
            if path.relative_to(package).parts[0] not in ("exercises", "classroom")
        }

    assert held(bare / "attncourse") == held(PACKAGE)


def test_everything_is_compiled(bare):
    """The sandbox cannot write, and would compile at every start."""
    for path in bare.rglob("*.py"):
        cached = path.parent / "__pycache__" / f"{path.stem}.{sys.implementation.cache_tag}.pyc"
        assert cached.exists(), path


def test_nothing_in_it_imports_what_is_not_there(bare):
    for name, source in sources(bare).items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("attncourse."):
                place = bare / node.module.replace(".", "/")
                assert place.with_suffix(".py").exists() or (place / "__init__.py").exists(), (
                    name,
                    node.module,
                )


CODE = """
import sys
sys.path.insert(0, sys.argv[1])
import attncourse.exercises as exercises
from attncourse.exercises import check
assert exercises.__file__.startswith(sys.argv[1]), exercises.__file__
print(check("multihead.split-heads", 3, seed=1).points(4), check().points(2))
for name in ("_check", "_catalogue", "_result", "multihead.split_heads"):
    try:
        __import__("attncourse.exercises." + name)
    except ModuleNotFoundError:
        print("no", name)
import attncourse.multihead
print("torch" in sys.modules, len([one for one in sys.modules if "split_heads" in one]))
"""


def test_the_copy_can_be_used_and_its_check_does_nothing(bare, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(bare)], capture_output=True, text=True, cwd=tmp_path, check=False,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        "0.0 0.0", "no _check", "no _catalogue", "no _result", "no multihead.split_heads", "True 0",
    ]  # fmt: skip
    assert done.stderr == ""


def test_the_bank_that_was_searched_is_not_empty():
    assert len(exercise_paths(FOLDER)) >= len(exercise_ids()) > 50
