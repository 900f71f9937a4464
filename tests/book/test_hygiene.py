"""Stored notebooks are small, quiet, complete and in one form; prose says one thing a line."""

import base64
import json

import numpy as np
import pytest
from chapter_text import pack

from attncourse.head_viewer import head_viewer
from tests.support.book import chapters, name_of, none_of, notebooks, pages, prose_lines, read_page, scan
from tests.support.hygiene import (
    cell_problems,
    figure_problems,
    form_problems,
    html_problems,
    output_problems,
    prose_problems,
    two_sentences,
)
from tests.support.sample import PNG, sample

pytestmark = pytest.mark.book


def test_the_book_has_chapters():
    assert chapters(), "no chapter found: the tests below would pass by checking nothing"


@pytest.mark.parametrize("path", notebooks(), ids=name_of)
@pytest.mark.parametrize("rule", [cell_problems, output_problems, figure_problems])
def test_a_notebook_of_the_book_keeps_the_rule(rule, path):
    none_of(rule(read_page(path)))


@pytest.mark.parametrize("path", notebooks(), ids=name_of)
def test_a_notebook_of_the_book_is_in_normal_form(path):
    none_of(form_problems(path))


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_the_prose_of_a_page_is_one_sentence_a_line_without_fillers(page):
    none_of(prose_problems(page))


def test_the_sample_is_clean(tmp_path):
    page = sample(tmp_path)
    rules = (cell_problems, output_problems, figure_problems, prose_problems)
    assert [problem for rule in rules for problem in rule(page)] == []
    assert form_problems(page.path) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('"id": "measure"', '"id": "Measure"', "[Measure]: the id must be chosen by hand"),
        ('"id": "measure"', '"id": "1f0a9b3c"', "[1f0a9b3c]: the id must be chosen by hand"),
        ('"id": "limits"', '"id": "intro"', "[intro]: the id stands twice"),
        ('"execution_count": 2', '"execution_count": 5', "[measure]: execution count 5, not 2"),
        ('"execution_count": 3', '"execution_count": null', "[line]: execution count None, not 3"),
        ("measured = [", "# NBVAL_IGNORE_OUTPUT\nmeasured = [", "[measure]: tell nbval by a tag"),
        ("measured = [", "%matplotlib inline\nmeasured = [", "[measure]: not plain Python"),
        ("measured = [", "!ls\nmeasured = [", "[measure]: not plain Python"),
        (
            "import matplotlib",
            "x = 1\nimport matplotlib",
            "[imports]: the first code cell holds imports only",
        ),
        (
            "%% code measure",
            '%% code measure {"tags": ["nbval-skip"]}',
            "[measure]: unknown tags ['nbval-skip']",
        ),
        ("%% code measure", '%% code measure {"tags": ["raises-exception"]}', "[measure]: unknown tags"),
        ("%% md limits", '%% md limits {"tags": ["hide"]}', "[limits]: unknown tags ['hide']"),
        ("%% md limits", "%% code nothing\n\n%% md limits", "[nothing]: an empty code cell"),
    ],
)
def test_a_fault_in_a_cell_is_reported(tmp_path, old, new, problem):
    found = cell_problems(sample(tmp_path, (old, new)))
    assert any(one.startswith(f"04-sample.ipynb{problem}") for one in found), found


def test_a_colab_cell_may_install_before_the_imports(tmp_path):
    colab = (
        '%% code colab {"tags": ["colab"]}\ntry:\n    import attncourse\nexcept ImportError:\n    pass\n\n'
    )
    assert cell_problems(sample(tmp_path, ("%% code imports", f"{colab}%% code imports"))) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('"name": "stdout"', '"name": "stderr"', "[measure]: writes to stderr"),
        ('"image/png"', '"image/svg+xml"', "[line]: output of type image/svg+xml"),
        (PNG, base64.b64encode(bytes(60_001)).decode(), "[line]: PNG of 60 kB, at most 60"),
        ("recalls: at", "recalls /home/me: at", "[measure]: an absolute path, '/home/me"),
        ("measured = [", 'x = "C:\\\\Users"\nmeasured = [', "[measure]: an absolute path"),
        ("measured = [", 'open("/tmp/x")\nmeasured = [', "[measure]: an absolute path, '/tmp/x"),
    ],
)
def test_a_fault_in_an_output_is_reported(tmp_path, old, new, problem):
    found = output_problems(sample(tmp_path, (old, new)))
    assert any(one.startswith(f"04-sample.ipynb{problem}") for one in found), found


TABLE = "<table><tr><td>.5</td></tr></table>"


@pytest.mark.parametrize(
    "page",
    [
        TABLE,
        '<img alt="A map." src="data:image/png;base64,AA">',
        '<svg role="img" aria-label="A map."><use href="#a"/></svg>',
        '<audio controls aria-label="SOS in Morse code." src="data:,"></audio>',
        f'<a href="https://x.org/a">x</a>{TABLE}',
        f"<style>i{{fill:url(#a)}} b{{fill:url( 'data:,')}}</style>{TABLE}",
        head_viewer(np.eye(3), ["https://x.org", "src=//x", "a"]).html,
    ],
)
def test_html_that_stands_alone_passes(page):
    assert html_problems({"text/html": page, "text/plain": "weights"}) == []


@pytest.mark.parametrize(
    ("page", "plain", "problem"),
    [
        (TABLE + "é" * 29_985, "weights", "HTML of 60.0 kB, at most 60"),
        (
            f'<script src="//x.org/a.js"></script>{TABLE}',
            "weights",
            "HTML that loads something, '<script src=",
        ),
        (f"<img src=a.png alt='A'>{TABLE}", "weights", "HTML that loads something"),
        (
            f'<link rel="stylesheet" href="https://x.org/a.css">{TABLE}',
            "weights",
            "HTML that loads something",
        ),
        (f"<style>@import 'a.css'</style>{TABLE}", "weights", 'HTML that loads something, "@import'),
        (f"<style>i{{background:url(//x.org/a)}}</style>{TABLE}", "weights", "HTML that loads something"),
        (f"<iframe srcdoc='a'></iframe>{TABLE}", "weights", 'HTML that loads something, "<iframe'),
        (f"<script>fetch('/a')</script>{TABLE}", "weights", 'HTML that loads something, "fetch('),
        (TABLE, "<IPython.core.display.HTML object>", "HTML without a plain text of its own"),
        (TABLE, "<attncourse.x.View object at 0xADDRESS>", "HTML without a plain text of its own"),
        (TABLE, " ", "HTML without a plain text of its own"),
        ("<canvas></canvas>", "weights", "HTML without a table, an alt text or a label"),
        ('<audio controls src="data:,"></audio>', "weights", "HTML without a table, an alt text or a label"),
        ('<img alt="" src="data:,">', "weights", "HTML without a table, an alt text or a label"),
    ],
)
def test_a_fault_in_html_is_reported(tmp_path, page, plain, problem):
    chapter = sample(tmp_path)
    chapter.code_cells[1]["outputs"] = [
        {"output_type": "execute_result", "metadata": {}, "data": {"text/html": page, "text/plain": plain}}
    ]
    [found] = output_problems(chapter)
    assert found.startswith(f"04-sample.ipynb[measure]: {problem}")


def test_html_that_nbval_ignores_stands_behind_a_check(tmp_path):
    tagged = ("%% code measure", '%% code measure {"tags": ["nbval-ignore-output"]}')
    unchecked = sample(tmp_path, tagged, ('claim("04-recall", ', "print("))
    unchecked.code_cells[1]["outputs"] = [{"output_type": "display_data", "data": {"text/html": TABLE}}]
    assert figure_problems(unchecked)[0] == (
        "04-sample.ipynb[measure]: nbval ignores this HTML, so an assert or a claim must stand before it"
    )
    checked = sample(tmp_path, tagged)
    checked.code_cells[1]["outputs"] = unchecked.code_cells[1]["outputs"]
    assert figure_problems(checked) == []


def test_a_stored_error_is_reported(tmp_path):
    page = sample(tmp_path)
    page.code_cells[1]["outputs"].append(
        {"output_type": "error", "ename": "E", "evalue": "", "traceback": []}
    )
    assert output_problems(page) == [
        "04-sample.ipynb[measure]: a stored error; show an expected one with show_error"
    ]


@pytest.mark.parametrize("text", ["see https://x.org/home/me", "a/tmp/b", "1/data/2", "n/work/m", "</home>"])
def test_a_slash_is_not_yet_a_path(tmp_path, text):
    assert output_problems(sample(tmp_path, ("measured = [", f'x = "{text}"\nmeasured = ['))) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('"alt": "A line."', '"alt": " "', "[line]: a figure needs mystnb.image.alt"),
        ('"caption": "It rises.", ', "", "[line]: a figure needs mystnb.figure.caption"),
        (', "name": "fig-04-line"', "", "[line]: a figure needs mystnb.figure.name"),
        ('claim("04-recall", ', "print(", "[line]: nbval ignores images"),
        ("%% code line", "%% md next\n## Next\n\n%% code line", "[line]: nbval ignores images"),
        ("One point", "![ ](x.png)\nOne point", "[limits]: an image without alt text"),
    ],
)
def test_a_fault_in_a_figure_is_reported(tmp_path, old, new, problem):
    found = figure_problems(sample(tmp_path, (old, new)))
    assert any(one.startswith(f"04-sample.ipynb{problem}") for one in found), found


def test_two_images_in_a_cell_are_reported(tmp_path):
    page = sample(tmp_path)
    page.code_cells[2]["outputs"] *= 2
    assert figure_problems(page) == [
        "04-sample.ipynb[line]: 2 images in one cell, but one alt text and caption"
    ]


@pytest.mark.parametrize(
    "check", ["assert measured", "np.testing.assert_allclose(1, 1)", "claim('04-x', 'x', 1)"]
)
def test_an_assert_of_any_kind_may_stand_before_a_plot(tmp_path, check):
    changes = (('claim("04-recall", ', "print("), ("plt.plot(measured)", f"{check}\nplt.plot(measured)"))
    assert figure_problems(sample(tmp_path, *changes)) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("One point", "It ends. One point", "[limits]:3: one sentence per line: 'It ends. One point"),
        ("One point", "Does it? One point", "[limits]:3: one sentence per line"),
        ("One point", '"It ends." (One point)', "[limits]:3: one sentence per line"),
        ("One point is no", "One point\nis no", "[limits]:4: a sentence must not go on in a second line"),
        ("One point", "Simply one point", "[limits]:3: the word 'Simply' says nothing"),
        ("One point", "One just point", "[limits]:3: the word 'just' says nothing"),
        ("One point", "One leveraging point", "[limits]:3: the word 'leveraging'"),
        ("One point", "One seamless point", "[limits]:3: the word 'seamless'"),
        ("One point", "One powerful point", "[limits]:3: the word 'powerful'"),
        ("One point", ":::{note}\nObviously one point.\n:::\nOne point", "[limits]:4: the word 'Obviously'"),
        ("It rises.", "It unlocks.", "[line] caption or alt text: the word 'unlocks'"),
        ("A line.", "A crucial line.", "[line] caption or alt text: the word 'crucial'"),
        ("One point", "We delve.\nOne point", "[limits]:3: the word 'delve'"),
    ],
)
def test_a_fault_in_prose_is_reported(tmp_path, old, new, problem):
    found = prose_problems(sample(tmp_path, (old, new)))
    assert any(one.startswith(f"04-sample.ipynb{problem}") for one in found), found


@pytest.mark.parametrize(
    "text",
    [
        "We adjust the justification.",
        "`just` is code.",
        "$x. Y$ is maths.",
        "See [A. Then B](https://just.example/a. B).",
        "1. First.",
        "- Item.",
        "As Bahdanau et al. (2015) say, e.g. Figure 2 of D. Bahdanau shows 3.5 Hz.",
        "```python\nx = 1. If just\n```",
        "$$\na. B\n$$",
        "| A. B | Just? C |".replace("Just", "Must"),
    ],
)
def test_prose_without_fault_passes(tmp_path, text):
    assert prose_problems(sample(tmp_path, ("One point", f"{text}\n\nOne point"))) == []


@pytest.mark.parametrize(
    ("text", "two"),
    [
        ("One. Two.", True),
        ("One! *Two*.", True),
        ("(One.) Two.", True),
        ("**One.** Two.", False),
        ("*One.* Two.", False),
        ("**One.** Two. Three.", True),
        ("*One.* Two. Three.", True),
        ("It says no. Then", True),
        ("One.", False),
        ("One … Two", False),
        ("One.two", False),
        ("1. Two", False),
        ("Version 3. Then", True),
        ("i.e. Then", False),
    ],
)
def test_ends_of_sentences(text, two):
    assert two_sentences(text) is two


def test_lines_are_told_apart():
    source = (
        "# Title\n(target)=\n```{note}\n:name: a\nprose\n```\n```python\n# code\n```\n"
        "$$\nx\n$$ (eq)\n$$ y $$\nend\n"
        "````{admonition} Title\n```{math}\n:label: b\nz\n```\ninside\n````\n:::{tip}\nlast\n:::"
    )
    kinds = [line.kind for line in scan(source)]
    assert kinds == [
        "prose", "prose", "fence", "option", "prose", "fence", "fence", "code", "fence",
        "maths", "maths", "maths", "maths", "prose",
        "fence", "fence", "option", "maths", "fence", "prose", "fence", "fence", "prose", "fence",
    ]  # fmt: skip
    assert [text for _, text in prose_lines(source) if text] == ["# Title", "prose", "end", "inside", "last"]


def test_a_file_that_is_too_large_or_not_in_normal_form_is_reported(tmp_path):
    page = sample(tmp_path, ("One point", "One point\n" + "x" * 600_001))
    assert [one for one in form_problems(page.path) if "kB, at most 600" in one]
    page.path.write_text(json.dumps(json.loads(page.path.read_text("utf-8"))), encoding="utf-8")
    assert [one for one in form_problems(page.path) if "not in normal form" in one]


def test_pages_leave_out_what_is_built(tmp_path):
    for folder in ("_build", ".ipynb_checkpoints", "exercises"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "01-x.ipynb").write_text(pack("%% md a\nx\n"), encoding="utf-8")
    assert [path.parent.name for path in notebooks(tmp_path)] == ["exercises"]
