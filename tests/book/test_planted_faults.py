"""The whole machinery on a small book: it catches what is planted, and nothing in the clean twin."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from chapter_text import pack
from notebooks import run

from tests.support.book import ROOT, Page, read_page
from tests.support.claims import book_claim_problems, claim_problems
from tests.support.hygiene import (
    cell_problems,
    figure_problems,
    form_problems,
    output_problems,
    prose_problems,
)
from tests.support.progression import owned_names, progression_problems, second_copy_problems

pytestmark = pytest.mark.book

PACKAGE = """\
def shares(scores):
    total = sum(scores)
    return [score / total for score in scores]
"""
CHAPTER = """\
%% md intro
# A small chapter

The largest share is at least 0.6 {claim}`04-share`.

%% code imports
import matplotlib.pyplot as plt
import toybook
from attncourse.display import claim, show_error, show_source

%% code source
show_source(toybook.shares)

%% code measure
measured = toybook.shares([1, 3, 8])
claim("04-share", "the largest share", max(measured), at_least=0.6)

%% code expected-error
show_error(ZeroDivisionError, lambda: toybook.shares([0]))

%% code bars {"mystnb": {"figure": {"caption": "Bars.", "name": "fig-04-bars"}, "image": {"alt": "Bars."}}}
plt.figure(figsize=(2, 2))
plt.bar(range(3), measured)
plt.show()
"""
IDS = ["imports", "source", "measure", "expected-error", "bars"]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A book of one chapter, run and stored, beside the package that it shows."""
    root = tmp_path_factory.mktemp("toy")
    (root / "toybook.py").write_text(PACKAGE, encoding="utf-8")
    (root / "book").mkdir()
    path = root / "book" / "04-toy.ipynb"
    path.write_text(pack(CHAPTER), encoding="utf-8")
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(root), before])
    try:
        run(path)
    finally:
        os.environ["PYTHONPATH"] = before
    return root


@pytest.fixture
def toy(built, tmp_path):
    """A copy of that book, to plant a fault in."""
    return Path(shutil.copytree(built, tmp_path / "toy", ignore=shutil.ignore_patterns("__pycache__")))


def failing_cells(root: Path) -> tuple[set[str], str]:
    """Run nbval as ``make test`` does, and return the ids of the cells that fail, and the output."""
    report = root / "report.xml"
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-c", ROOT / "pyproject.toml", "--rootdir", root,
            "-p", "tests.conftest", "-p", "no:cacheprovider", "--junitxml", report,
            "--nbval", "--nbval-current-env", "--nbval-cell-timeout=60",
            f"--nbval-sanitize-with={ROOT / 'tests' / 'nbval.cfg'}", root / "book",
        ],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(root), str(ROOT), str(ROOT / "tools")])},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    cases = ElementTree.parse(report).findall(".//testcase")
    assert len(cases) == len(IDS), done.stdout + done.stderr
    bad = {IDS[int(case.get("name").split()[1])] for case in cases if len(case.findall("failure"))}
    assert (done.returncode == 0) == (not bad), done.stdout
    return bad, done.stdout


def rules(page: Page) -> list[str]:
    """Return what the fast rules find in a chapter."""
    table = {"scores": 3, "seq2seq": 5}
    found = form_problems(page.path)
    for rule in (cell_problems, output_problems, figure_problems, prose_problems, claim_problems):
        found += rule(page)
    found += book_claim_problems([page])
    return found + progression_problems(page, table) + second_copy_problems(page, owned_names())


def planted(root: Path, old: str, new: str) -> Page:
    """Change the stored chapter."""
    path = root / "book" / "04-toy.ipynb"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    return read_page(path)


def test_the_clean_book_passes_everything(toy):
    bad, shown = failing_cells(toy)
    assert bad == set(), shown
    assert "notebooks (budget 60 s, 1024 MiB)" in shown
    assert "MiB  book/04-toy.ipynb" in shown, "the table of the budget"
    assert rules(read_page(toy / "book" / "04-toy.ipynb")) == []


def test_a_changed_function_fails_the_cell_that_shows_it_and_no_other(toy):
    # another source, the same shares and the same error
    (toy / "toybook.py").write_text(PACKAGE.replace("total", "whole"), encoding="utf-8")
    bad, shown = failing_cells(toy)
    assert bad == {"source"}, shown


def test_a_function_that_breaks_a_claim_fails_the_claim_too(toy):
    (toy / "toybook.py").write_text(PACKAGE.replace("score / total", "1 / len(scores)"), encoding="utf-8")
    bad, shown = failing_cells(toy)
    assert bad == {"source", "measure", "expected-error"}, shown


def test_an_edited_output_fails_its_cell(toy):
    planted(toy, "the largest share: at least 0.6", "the largest share: at least 0.7")
    assert failing_cells(toy)[0] == {"measure"}


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (
            "is at least 0.6 {claim}",
            "is at least 0.7 {claim}",
            "[intro]:3: the sentence must say 'at least 0.6'",
        ),
        (
            "import toybook\\n",
            "from attncourse import seq2seq\\n",
            "[imports]: imports seq2seq, which chapter 5 builds",
        ),
        ("measured = toybook", "claim = toybook", "[measure]: binds claim, which attncourse.display owns"),
    ],
)
def test_a_fault_in_a_chapter_is_caught_without_running_it(toy, old, new, problem):
    found = rules(planted(toy, old, new))
    assert len(found) == 1, found
    assert found[0].startswith(f"04-toy.ipynb{problem}")
