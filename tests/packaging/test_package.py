"""What a user of the package gets: the wheel's content, and imports that load no more than they need."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import attncourse

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "matplotlib", "IPython")

pytestmark = pytest.mark.packaging


def loaded_by(module):
    """Import a module in a fresh interpreter and return which heavy packages came with it."""
    code = f"import sys, json, {module}; print(json.dumps([n for n in {HEAVY!r} if n in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "module",
    [
        "attncourse",
        "attncourse._checks",
        "attncourse.tasks",
        "attncourse.tasks.dates",
        "attncourse.reference",
        "attncourse.measures",
        "attncourse.head_viewer",
        "attncourse.explorers",
    ],
)
def test_numpy_part_loads_nothing_heavy(module):
    assert loaded_by(module) == []


@pytest.mark.parametrize("module", ["scores", "masks", "attention", "seq2seq", "self_attention", "multihead"])
def test_torch_part_loads_no_plots(module):
    assert loaded_by(f"attncourse.{module}") == ["torch"]


def package_files():
    """Return every file of the package: modules, and the styles and scripts of the interactive figures."""
    return [path for path in (ROOT / "attncourse").rglob("*.*") if path.suffix in {".py", ".css", ".js"}]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build the wheel with the installed setuptools, from a copy, so that nothing is left in the tree."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (source / name).write_bytes((ROOT / name).read_bytes())
    for path in package_files():
        target = source / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    # what must not end up in the wheel
    (source / "tests").mkdir()
    (source / "tests" / "__init__.py").touch()
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    subprocess.run([*command, "--wheel-dir", str(out), str(source)], check=True, capture_output=True)
    [path] = out.glob("*.whl")
    return path


def test_wheel_holds_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == {str(path.relative_to(ROOT)) for path in package_files()}


def test_wheel_carries_version_and_licence(wheel):
    assert wheel.name == f"attncourse-{attncourse.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        assert any(name.endswith("licenses/LICENSE") for name in archive.namelist())


def test_citation_names_the_same_version():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {attncourse.__version__}\n" in citation
