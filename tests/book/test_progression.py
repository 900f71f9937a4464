"""Chapter N uses only what chapters up to N have built."""

import pytest

from tests.support.book import chapters, name_of, none_of, notebooks, read_page
from tests.support.progression import FREE, chapter_table, layers, progression_problems, table_problems
from tests.support.sample import sample

pytestmark = pytest.mark.book
TABLE = {
    "_checks": None,
    "tasks": None,
    "reference": 2,
    "scores": 3,
    "masks": 4,
    "attention": 4,
    "seq2seq": 5,
}
ORDER = list(TABLE)


def test_docstrings_and_the_import_contract_tell_one_order():
    table = chapter_table()
    assert {name for name, chapter in table.items() if chapter is not None}, "no module says who builds it"
    none_of(table_problems(table, layers()))


@pytest.mark.parametrize("path", notebooks(), ids=name_of)
def test_a_chapter_uses_only_what_is_built(path):
    none_of(progression_problems(read_page(path), chapter_table()))


def test_the_book_has_chapters():
    assert chapters(), "no chapter found: the test above would pass by checking nothing"


def test_the_sample_is_clean(tmp_path):
    page = sample(
        tmp_path, ("import matplotlib", "from attncourse.attention import attend\nimport matplotlib")
    )
    assert progression_problems(page, TABLE) == []


@pytest.mark.parametrize(
    "line",
    [
        "import attncourse.seq2seq",
        "import attncourse.seq2seq as s",
        "from attncourse import seq2seq",
        "from attncourse.seq2seq import Decoder",
        "from attncourse.seq2seq.part import Decoder",
        "def later():\n    from attncourse.seq2seq import Decoder",
    ],
)
def test_a_later_module_is_reported(tmp_path, line):
    page = sample(tmp_path, ("measured = [", f"{line}\nmeasured = ["))
    assert progression_problems(page, TABLE) == [
        "04-sample.ipynb[measure]: imports seq2seq, which chapter 5 builds"
    ]


def test_the_same_import_is_fine_one_chapter_later_and_in_back_matter(tmp_path):
    change = ("measured = [", "from attncourse.seq2seq import Decoder\nmeasured = [")
    for name in ("05-sample.ipynb", "ledger.ipynb"):
        assert progression_problems(sample(tmp_path, change, name=name), TABLE) == []


def test_a_private_module_is_reported(tmp_path):
    page = sample(tmp_path, ("measured = [", "from attncourse._checks import check_count\nmeasured = ["))
    assert progression_problems(page, TABLE) == [
        "04-sample.ipynb[measure]: imports the private module _checks"
    ]


def test_a_consistent_table_has_no_problem():
    assert table_problems(TABLE, ORDER) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"scores": 5}, "masks (chapter 4) stands above scores (chapter 5)"),
        ({"masks": None}, "masks must say which chapter builds it"),
        ({"tasks": 3}, "tasks is free for every chapter, yet says that chapter 3 builds it"),
        ({"positions": 6}, "positions is not in the import contract"),
    ],
)
def test_a_table_that_contradicts_the_contract_is_reported(change, problem):
    found = table_problems(TABLE | change, ORDER)
    assert found
    assert found[0].startswith(problem)


def test_a_contract_that_names_a_missing_module_is_reported():
    assert table_problems(TABLE, [*ORDER, "gone"]) == [
        "gone is in the import contract but not in the package"
    ]


def test_the_table_comes_from_docstrings(tmp_path):
    (tmp_path / "first.py").write_text(
        '"""One.\n\nBuilt in chapter 3.\n"""\ndef f():\n    """Built in chapter 9."""\n'
    )
    (tmp_path / "second.py").write_text('class A:\n    """Built in\n    chapter 12."""\n')
    (tmp_path / "free.py").write_text("x = 1\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "__init__.py").write_text("")
    (tmp_path / "sub" / "part.py").write_text('"""Built in chapter 6."""\n')
    assert chapter_table(tmp_path) == {"first": 3, "second": 12, "free": None, "sub": 6}


def test_layers_are_read_first_taught_first(tmp_path):
    pyproject = tmp_path / "pyproject.toml"
    pyproject.write_text(
        '[tool.importlinter]\n[[tool.importlinter.contracts]]\nid = "teaching-order"\n'
        'layers = ["viz | display", "scores", "_checks"]\n'
    )
    assert layers(pyproject) == ["_checks", "scores", "viz", "display"]
    assert set(layers()) >= {"_checks", "tasks", "reference", "display"}
    assert set(layers()) - FREE
