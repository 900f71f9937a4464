"""Binder installs the versions that the tests ran with."""

import os
import re
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.packaging.test_requirements import PINS, PROJECT, imported_names, version

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = yaml.safe_load((ROOT / "binder" / "environment.yml").read_text(encoding="utf-8"))
# conda-forge's names for packages that the registry calls otherwise
PIP_NAME = {"pytorch-cpu": "torch", "matplotlib-base": "matplotlib"}
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


def test_post_build_can_run():
    assert os.access(ROOT / "binder" / "postBuild", os.X_OK)
