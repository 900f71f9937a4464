"""requirements.txt is the one list: exact, inside the package's ranges, and complete."""

import ast
import importlib.metadata
import json
import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LINES = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
PINS = {
    canonicalize_name(r.name): r
    for r in (Requirement(line) for line in LINES if line.strip() and not line.startswith("#"))
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CODE = ("attncourse", "tests", "tools", "benchmarks", "experiments", "book/_ext")

pytestmark = pytest.mark.packaging


def version(name):
    """Return the version that a package is pinned to."""
    [pin] = PINS[name].specifier
    return pin.version


def imports_of(source):
    """Return the top-level names that a source imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.split(".")[0]


def imported_names():
    """Return every third-party name that code or a chapter imports, and where."""
    files = [path for folder in CODE for path in sorted((ROOT / folder).rglob("*.py"))]
    sources = [(path, path.read_text(encoding="utf-8")) for path in files]
    for path in sorted((ROOT / "book").glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        sources += [(path, "".join(c["source"])) for c in cells if c["cell_type"] == "code"]
    own = {path.stem for path in files} | {"attncourse", "tests"}
    found = {}
    for path, source in sources:
        for name in imports_of(source):
            if name not in sys.stdlib_module_names and name not in own:
                found.setdefault(name, path.relative_to(ROOT))
    return found


@pytest.mark.parametrize("name", PINS)
def test_every_line_is_one_exact_pin(name):
    [pin] = PINS[name].specifier
    assert pin.operator == "=="
    assert "*" not in pin.version
    assert not PINS[name].url


def test_no_name_twice():
    assert len(PINS) == sum(1 for line in LINES if line.strip() and not line.startswith("#"))


def test_no_line_installs_the_package_or_names_an_index():
    assert not [line for line in LINES if re.match(r"\s*-", line)]


@pytest.mark.parametrize("text", PROJECT["dependencies"])
def test_pin_lies_in_the_range_of_the_package(text):
    wanted = Requirement(text)
    assert wanted.specifier.contains(version(canonicalize_name(wanted.name)))


def test_every_import_is_pinned():
    distributions = importlib.metadata.packages_distributions()
    missing = {
        name: str(where)
        for name, where in imported_names().items()
        if not any(canonicalize_name(d) in PINS for d in distributions.get(name, [name]))
    }
    assert missing == {}


def test_installed_versions_are_the_pinned_ones():
    installed = {name: importlib.metadata.version(name).split("+")[0] for name in PINS}
    assert installed == {name: version(name) for name in PINS}


def test_vendored_katex_is_the_version_that_renders():
    katex = pytest.importorskip("sphinxcontrib.katex")
    css = (ROOT / "book" / "_extra" / "katex" / "katex.min.css").read_text(encoding="utf-8")
    assert f'.katex-version:after{{content:"{katex.katex_version}"}}' in css.replace(" ", "")
