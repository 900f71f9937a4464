"""Binder installs the versions that the tests ran with."""

import asyncio
import os
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import nbformat
import pytest
import yaml
from binder_check import EXERCISES, PIP_NAME, CheckFailed, may_fail, notebooks_in, requirements
from lab_server import Lab
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from attncourse.classroom.bank import FOLDER, read_exercise, student_notebook
from tests.packaging.test_requirements import PINS, PROJECT, imported_names, version

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = yaml.safe_load((ROOT / "binder" / "environment.yml").read_text(encoding="utf-8"))
CONDA = dict(
    re.fullmatch(r"([\w.-]+)(?:=(.+))?", line).groups()
    for line in ENVIRONMENT["dependencies"]
    if isinstance(line, str)
)
# what the environment installs through pip
PIP = {
    canonicalize_name(requirement.name): requirement
    for part in ENVIRONMENT["dependencies"]
    if isinstance(part, dict)
    for requirement in map(Requirement, part["pip"])
}

pytestmark = pytest.mark.packaging


@pytest.mark.parametrize("name", [name for name in CONDA if PIP_NAME.get(name, name) in PINS])
def test_pin_agrees(name):
    assert CONDA[name] == version(PIP_NAME.get(name, name))


@pytest.mark.parametrize("name", [name for name in PIP if name in PINS])
def test_pin_through_pip_agrees(name):
    assert str(PIP[name].specifier) == f"=={version(name)}"


def test_what_chapters_import_is_there():
    """Every import of a notebook, whether the package needs it or not."""
    there = {PIP_NAME.get(name, name) for name in (*CONDA, *PIP)}
    distributions = packages_distributions()
    imported = {name for name, where in imported_names().items() if where.suffix == ".ipynb"}
    missing = {
        name
        for name in imported
        if not {canonicalize_name(one) for one in distributions.get(name, [name])} & there
    }
    assert missing == set()


def test_everything_that_the_package_needs_is_there():
    there = {PIP_NAME.get(name, name) for name in CONDA}
    needed = {canonicalize_name(Requirement(text).name) for text in PROJECT["dependencies"]}
    assert needed <= there


def test_python_is_one_that_the_package_allows():
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(CONDA["python"])


def test_package_is_not_among_the_dependencies():
    """Or every commit would reinstall torch: only postBuild may depend on the code."""
    assert "-e ." not in str(ENVIRONMENT)


@pytest.mark.parametrize("name", ["postBuild", "start"])
def test_scripts_can_run(name):
    assert os.access(ROOT / "binder" / name, os.X_OK)


# --- the check that runs every notebook (make test-binder) -------------------------------------------


def test_the_check_installs_what_the_list_says():
    listed = {
        "dependencies": ["python=3.11", "pip", "pytorch-cpu=2.13.0", "tqdm", {"pip": ["keras==3.15.1"]}]
    }
    assert requirements(listed) == ("3.11", ["torch==2.13.0.*", "tqdm", "keras==3.15.1"])
    with pytest.raises(CheckFailed, match="must list `name` or `name=version`, got 'numpy>=2'"):
        requirements({"dependencies": ["numpy>=2"]})
    assert {canonicalize_name(Requirement(line).name) for line in requirements(ENVIRONMENT)[1]} >= {"torch"}


def test_the_check_runs_chapters_first_and_knows_every_name(tmp_path):
    for name in ("book/02-b.ipynb", "book/01-a.ipynb", f"{EXERCISES}/focus-c.ipynb"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    every = ["book/01-a.ipynb", "book/02-b.ipynb", f"{EXERCISES}/focus-c.ipynb"]
    assert notebooks_in(tmp_path, []) == every
    assert notebooks_in(tmp_path, ["02", "focus"]) == every[1:]
    with pytest.raises(CheckFailed, match="begins with '03'"):
        notebooks_in(tmp_path, ["03"])


def test_only_examples_that_need_the_answer_may_fail():
    path = f"{EXERCISES}/multihead-split-heads.ipynb"
    assert may_fail("book/04-scaled-dot-product-attention.ipynb") == []
    exercise = read_exercise(FOLDER / "multihead-split-heads.md")
    code = student_notebook(exercise)
    kept = [cell.source for cell in code.cells if cell.cell_type == "code"]
    tried = [cell.source for cell in exercise.tagged("try")]
    assert [kept[index] for index in may_fail(path)] == tried


@pytest.fixture
def run_cells(tmp_path):
    """Provide a function that runs cells through a JupyterLab server, and says what went wrong."""

    def run(*sources, limit_mib=2048, may_fail=()):
        cells = [nbformat.v4.new_code_cell(source) for source in sources]
        (tmp_path / "work").mkdir()
        (tmp_path / "home").mkdir()
        nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "work" / "a.ipynb")
        environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(tmp_path / "home")}
        command = [str(ROOT / "binder" / "start"), "jupyter-lab"]

        async def through_the_server():
            async with Lab(command, tmp_path / "work", environment, limit_mib=limit_mib) as lab:
                return await lab.run("a.ipynb", may_fail=may_fail)

        return asyncio.run(through_the_server())

    return run


def test_a_notebook_runs_with_one_thread(run_cells):
    done = run_cells(
        "import os", "assert os.environ['OMP_NUM_THREADS'] == '1'\nassert os.path.isfile('a.ipynb')"
    )
    assert done.problem == ""
    assert 0 < done.first < done.seconds
    assert 50 < done.mib < 1000


def test_a_cell_that_fails_is_named(run_cells):
    done = run_cells("1 / 0", "import no_such_package", may_fail=[0])
    assert "ModuleNotFoundError: No module named 'no_such_package'" in done.problem


def test_too_much_memory_stops_the_notebook(run_cells):
    done = run_cells("x = bytearray(600 * 2**20)\nimport time\ntime.sleep(60)", limit_mib=600)
    assert "more than the 600 MiB that Binder grants" in done.problem
    assert done.seconds < 50
