"""Where lines may break, for what the tiny book of ``test_site_faults.py`` does not hold."""

import pytest

from tests.support.book import ROOT

pytestmark = pytest.mark.book


@pytest.fixture
def line_breaks(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "book" / "_ext"))
    import line_breaks

    return line_breaks


@pytest.mark.parametrize(
    ("formula", "letters"),
    [("b", 1), (r"\mathbf{q}_t", 3), (r"\ell = \sum_j e^{s_j - m}", 9), (r"(0, 1, 0.84)", 10)],
)
def test_letters_that_a_formula_shows(line_breaks, formula, letters):
    assert line_breaks.letters(formula) == letters


def test_names_in_the_index_break_at_their_dots_and_underscores(line_breaks):
    links, key = [("main", "#a")], "A"
    entries = [("A", [("a.b_c <d>", (links, [("_x. y", links)], key))])]
    context = {"genindexentries": entries}
    line_breaks.let_index_names_break(None, "genindex", "genindex.html", context, None)
    below = [("_<wbr>x. y", links)]
    assert line_breaks.breaking([("a", links)])[0][0].__html__() == "a"
    assert context["genindexentries"] == [("A", [("a.<wbr>b_<wbr>c &lt;d&gt;", (links, below, key))])]
    line_breaks.let_index_names_break(None, "page", "page.html", untouched := {}, None)
    assert untouched == {}
