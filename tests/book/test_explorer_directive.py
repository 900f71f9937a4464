"""The directive {explorer}: the figure on HTML pages, words everywhere else."""

import sys

import pytest
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

from attncourse.explorers import EXAMPLES
from tests.support.book import ROOT

pytestmark = pytest.mark.book


def built(tmp_path, monkeypatch, text, builder):
    """Return what a page becomes, and the warnings."""
    monkeypatch.syspath_prepend(str(ROOT / "book" / "_ext"))
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    (source / "index.rst").write_text(f"Page\n====\n\n{text}\n", encoding="utf-8")
    # Sphinx registers its nodes in docutils, which keeps them: each build takes them away again
    with (
        patch_docutils(),
        docutils_namespace(),
        open(tmp_path / "warnings", "w+", encoding="utf-8") as warnings,
    ):
        Sphinx(
            str(source), None, str(out), str(tmp_path / "trees"), builder,
            confoverrides={"extensions": ["explorers"], "html_theme": "basic"},
            status=None, warning=warnings, freshenv=True,
        ).build()  # fmt: skip
        warnings.seek(0)
        said = warnings.read()
    sys.modules.pop("explorers", None)
    page = {"html": "index.html", "text": "index.txt"}[builder]
    return (out / page).read_text(encoding="utf-8"), said


def test_html_gets_the_figure_and_no_stand_in(tmp_path, monkeypatch):
    page, said = built(tmp_path, monkeypatch, ".. explorer:: sentence\n\n   In print.", "html")
    assert EXAMPLES["sentence"]().html in page
    assert "In print." not in page
    assert said == ""


def test_html_does_not_even_read_the_stand_in(tmp_path, monkeypatch):
    # its figure would take a number that no reader sees
    _, said = built(tmp_path, monkeypatch, ".. explorer:: sentence\n\n   :nowhere:`x`", "html")
    assert said == ""
    (tmp_path / "2").mkdir()
    _, said = built(tmp_path / "2", monkeypatch, ".. explorer:: sentence\n\n   :nowhere:`x`", "text")
    assert "nowhere" in said


@pytest.mark.parametrize(
    ("content", "expected"), [("\n\n   In print.", "In print."), ("", "small       0.08")]
)
def test_other_formats_get_the_content_or_the_table(tmp_path, monkeypatch, content, expected):
    page, said = built(tmp_path, monkeypatch, f".. explorer:: sentence{content}", "text")
    assert expected in page
    assert "<" not in page
    assert ("looks" in page) == (content == "")
    assert said == ""


def test_an_unknown_name_is_reported(tmp_path, monkeypatch):
    _, said = built(tmp_path, monkeypatch, ".. explorer:: word", "html")
    assert "explorer must be one of sentence, got word" in said
