"""The copies for Colab hold no markup that Colab would show raw, and no solution in the open."""

import ast
import re
from functools import cache

import pytest
from book_text import claim_pages, site
from colab import chapter_copy, exercise_copy, first_cell, imported
from plain_text import PlainText, PlainTextError

from attncourse.classroom.bank import exercise_paths
from attncourse.classroom.public_address import colab_address
from tests.support.book import BOOK

pytestmark = pytest.mark.book
CHAPTERS, EXERCISES = sorted(BOOK.glob("*.ipynb")), exercise_paths()
CODE = re.compile(
    r"^(`{3,})[^\n`]*\n.*?^\1$|(?<!`)(`+)(?!`).+?(?<!`)\2(?!`)|\$\$.*?\$\$|\$[^$]+\$", re.M | re.S
)
RAW = re.compile(r":::|^`{3,}\{|\{[a-z:]+\}`|^:[a-z]+:( |$)|^\([\w-]+\)=$|^%|^\+\+\+", re.MULTILINE)
INSIDE = re.compile(r"\]\((?!https?://)([\w./-]+\.(?:md|ipynb|html|svg)|#[\w-]+)[^)]*\)")


@cache
def copy(path):
    """Return the copy of a chapter or an exercise."""
    return exercise_copy(path, "main") if path.suffix == ".md" else chapter_copy(path, "main")


def markdown(notebook):
    """Return the texts of a notebook."""
    return [cell["source"] for cell in notebook.cells if cell["cell_type"] == "markdown"]


def faults(text):
    """Return what a notebook program would show raw."""
    roles = RAW.findall(re.sub(r"^(`{3,})(?!\{)[^\n]*\n.*?^\1$", "", text, flags=re.M | re.S))
    return roles + INSIDE.findall(CODE.sub("", text))


@pytest.mark.parametrize("path", [*CHAPTERS, *EXERCISES], ids=lambda path: path.stem)
def test_nothing_raw_is_left(path):
    notebook = copy(path)
    assert [fault for text in markdown(notebook) for fault in faults(text)] == []
    assert (
        markdown(notebook)[0].count(f"{site()}{'exercises/' * (path.suffix == '.md')}{path.stem}.html") == 1
    )
    # a quote or folded part that was opened is closed
    for text in markdown(notebook):
        assert text.count("<details>") == text.count("</details>") == text.count("<summary>")


@pytest.mark.parametrize("text", [
    ":::{note}", "```{figure} a.svg", "a {term}`mask`", ":class: quiz", "(bug-01)=", "[7](07-a.ipynb)",
    "[x](#there)",
])  # fmt: skip
def test_what_is_raw_is_found(text):
    assert faults(f"Words.\n\n{text}\n")


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_solutions_are_closed_or_left_out(path):
    with_them, without = copy(path), chapter_copy(path, "main", solutions=False)
    for cell in with_them.cells:
        if cell["source"].startswith("# @title Solution"):
            assert cell["metadata"]["cellView"] == "form"
            assert cell["outputs"] == []
    text = "\n".join(cell["source"] for cell in without.cells)
    assert "<summary>Solution" not in text
    assert "# @title Solution" not in text


def test_every_chapter_has_its_solutions():
    """The last test could not fail if none were found."""
    found = [cell["source"] for path in CHAPTERS for cell in copy(path).cells]
    assert sum(text.startswith("# @title Solution") for text in found) >= 10


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_figures_have_number_caption_and_words(path):
    cells = copy(path).cells
    pictures = [
        index
        for index, cell in enumerate(cells)
        if any("image/png" in one.get("data", {}) for one in cell.get("outputs", []))
    ]
    for index in pictures:
        assert re.match(r"\*\*Figure \d+\.\d+\.\*\* \S|\S", cells[index + 1]["source"])
        assert "<summary>The figure in words</summary>" in cells[index + 1]["source"]


# --- one thing at a time -----------------------------------------------------------------------------


@pytest.fixture
def text():
    return PlainText("04-scaled-dot-product-attention")


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("A {term}`mask` and {term}`masks <mask>`.", "A mask and masks."),
        (":::{note}\nOne.\n\nTwo.\n:::", "> **Note**\n>\n> One.\n>\n> Two."),
        ("$x \\in \\R$, `\\R`", "$x \\in \\mathbb{R}$, `\\R`"),
        ("$$\na\n$$ (eq-04-attention)", "$$\na\n\\tag{4.1}\n$$"),
        ("{eq}`eq-04-attention`",
         "[(4.1)](SITE04-scaled-dot-product-attention.html#equation-eq-04-attention)"),
        ("{cite}`vaswani2017`", "[(Vaswani et al., 2017)](SITEbibliography.html)"),
        ("{cite:t}`vaswani2017`", "[Vaswani et al. (2017)](SITEbibliography.html)"),
        ("[7](07-multi-head-attention.ipynb#a)", "[7](SITE07-multi-head-attention.html#a)"),
        ("[here](#there)", "[here](SITE04-scaled-dot-product-attention.html#there)"),
        ("`[code](a.md)` and `{claim}`", "`[code](a.md)` and `{claim}`"),
        ("```python\nx = ':::'\n```", "```python\nx = ':::'\n```"),
        ("(a-label)=\n## Title", "## Title"),
        (
            "::::{admonition} 1. Why?\n:class: quiz\n\n:::{dropdown} As `a < b`\n**Yes.** So.\n:::\n::::",
            "**1. Why?**\n\n"
            "<details>\n<summary>As <code>a &lt; b</code></summary>\n\n**Yes.** So.\n\n</details>",
        ),
    ],
)  # fmt: skip
def test_markup_becomes_plain(text, source, shown):
    assert text.markdown(source) == shown.replace("SITE", site())


def test_a_claim_becomes_a_link_to_its_output(text):
    claim, page = next(iter(claim_pages().items()))
    assert text.markdown(f"So {{claim}}`{claim}`.") == f"So [✓]({site()}{page}.html#claim-{claim})."


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        (":::{mystery}\n:::", r"cell '\(none\)': the directive \{mystery\} is not known"),
        ("{abbr}`a`", r"the role \{abbr\} is not known"),
        ("{term}`unheard of`", "the glossary has no term 'unheard of'"),
        ("{cite}`nobody1900`", "the bibliography has no 'nobody1900'"),
        ("{claim}`99-nothing`", "no cell prints the claim '99-nothing'"),
        ("{numref}`fig-nowhere`", "nothing is labelled 'fig-nowhere'"),
        (":::{figure} _assets/none.svg\n:::", "there is no picture _assets/none.svg"),
        ("- a\n\n  :::{note}\n  b\n  :::", r"the directive \{note\} stands inside a list or quote"),
    ],
)
def test_what_is_not_known_is_an_error(text, source, problem):
    with pytest.raises(PlainTextError, match=problem):
        text.markdown(source)


# --- the first cell ----------------------------------------------------------------------------------


def test_the_first_cell_fetches_what_the_copy_was_made_from():
    code = first_cell(["import keras\nimport json"], "0123abc")
    compile(code, "cell", "exec")
    assert "fetch --depth=1 https://github.com/" in code
    assert " 0123abc" in code
    assert " keras" in code
    assert " json" not in code
    assert "keras" not in first_cell([], "main")


def test_the_first_cell_changes_nothing_where_the_package_is(monkeypatch, tmp_path):
    """Everything but imports stands under the question whether the package is missing."""
    monkeypatch.chdir(tmp_path)
    exec(first_cell([], "main"), {})
    assert list(tmp_path.iterdir()) == []
    body = ast.parse(first_cell([], "main")).body
    assert [type(node) for node in body if not isinstance(node, ast.Import | ast.ImportFrom)] == [ast.If]


def test_imports_are_read_from_code():
    assert imported(["import a.b, os\nfrom c.d import e", "if x:\n    import f"]) == {"a", "c", "f"}


def test_the_button_leads_to_the_copy():
    address = colab_address("https://github.com/me/it", "exercises/a-b")
    assert address == "https://colab.research.google.com/github/me/it/blob/colab/exercises/a-b.ipynb"
