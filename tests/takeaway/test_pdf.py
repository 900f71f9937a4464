"""The book on paper: the checks find planted faults, and pages are arranged as a book."""

import importlib.util
import sys
from pathlib import Path

import pytest
import yaml
from docutils import nodes
from sphinx.addnodes import only, pending_xref, start_of_file
from sphinx_exercise.nodes import exercise_node

ROOT = Path(__file__).resolve().parents[2]


def load(path):
    """Return a module from its file."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


sys.path.insert(0, str(ROOT / "book" / "_ext"))
pdf = load(ROOT / "tools" / "pdf.py")
paper, paper_latex, paper_svg = (load(ROOT / "book" / "_ext" / f"{name}.py") for name in ("paper", "paper_latex", "paper_svg"))  # fmt: skip  # noqa: E501

# --- what must be installed --------------------------------------------------------------------------


def test_missing_programs_are_named_by_their_packages():
    found = pdf.missing_packages(which=lambda name: None, finds=lambda *command: False)
    assert {"texlive-xetex", "latexmk", "librsvg2-bin", "poppler-utils", "fonts-texgyre-math"} <= set(found)


def test_nothing_is_missing_where_all_is_there():
    assert pdf.missing_packages(which=lambda name: name, finds=lambda *command: True) == []


def test_a_missing_font_is_named():
    found = pdf.missing_packages(which=lambda name: name, finds=lambda *command: "fc-list" not in command)
    assert found == ["fonts-dejavu-core"]


def test_the_workflow_and_the_guide_install_every_package():
    needed = {*pdf.PROGRAMS.values(), *pdf.TEX_FILES.values(), *pdf.FONTS.values()}
    # these come with the others
    needed -= {"texlive-latex-extra", "texlive-latex-recommended", "fontconfig"}
    for path in (".github/workflows/book.yml", "CONTRIBUTING.md"):
        text = (ROOT / path).read_text(encoding="utf-8")
        assert {package for package in needed if package not in text} == set(), path


# --- the log -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("Missing character: There is no ✗ (U+2717) in font [texgyrepagella]/OT!", "missing glyph: ✗ U+2717"),
        ("LaTeX Warning: Reference `a:b' on page 3 undefined on input line 7.", "undefined reference: a:b"),
        ("LaTeX Warning: Citation `x' on page 3 undefined on input line 7.", "undefined reference: x"),
        ("LaTeX Warning: Hyper reference `c' on page 1 undefined on input line 9.", "dangling link: c"),
        ("LaTeX Warning: Label `d' multiply defined.", "label twice: d"),
        ("! LaTeX Error: File `e.png' not found.", "missing file: e.png"),
        ("Overfull \\hbox (6.1pt too wide) in paragraph at lines 1--2\n[]\\TU/a", "box 6.1 points too wide"),
        ("Overfull \\vbox (7.0pt too high) has occurred", "page 7.0 points too high"),
    ],
)
def test_a_planted_line_is_found(line, fault):
    found = pdf.log_faults(f"This is XeTeX\n{line}\nOutput written\n")
    assert any(one.startswith(fault) for one in found), found


def test_a_line_that_tex_broke_is_found():
    name = "a-long-name-of-a-page-that-goes-on-and-on-until-the-line-is-full:and-on"
    line = f"LaTeX Warning: Reference `{name}' on page 3 undefined on input line 7."
    log = f"x\n{line[:79]}\n{line[79:]}\n"
    assert pdf.log_faults(log) == [f"undefined reference: {name}"]


def test_a_clean_log_has_no_fault():
    log = "Overfull \\hbox (5.9pt too wide) in paragraph at lines 1--2\n[]x\nUnderfull \\vbox (badness 1)\n"
    assert pdf.log_faults(log) == []


# --- the PDF -----------------------------------------------------------------------------------------

GOOD = ["1 The first steps to find a title: Alpha’s ‘beta’", "2 Gamma"]


def test_titles_are_found_with_other_quotes():
    assert pdf.text_faults(GOOD, ["Alpha's 'beta'", "Gamma"]) == []


@pytest.mark.parametrize(
    ("pages", "fault"),
    [
        ([*GOOD, "see Figure ?? there"], "page 3 has"),
        ([*GOOD, "  \n"], "page 3 is empty"),
        ([*GOOD, "an eﬃcient way"], "ligatures"),
        (["nothing"], "the text lacks the title 'Gamma'"),
    ],
)
def test_a_planted_page_is_found(pages, fault):
    assert any(one.startswith(fault) for one in pdf.text_faults(pages, ["Gamma"]))


def test_the_outline_must_hold_every_title():
    assert pdf.outline_faults(["1 Alpha", "A Beta"], ["Alpha", "Beta", "Gamma"]) == [
        "the outline lacks 'Gamma'"
    ]


def test_the_sources_are_counted():
    titles = pdf.chapter_titles(ROOT / "book")
    parts = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text(encoding="utf-8"))["parts"]
    assert len(titles) == sum(len(part["chapters"]) for part in parts)
    assert "Multi-head attention" in titles
    assert pdf.n_pictures(ROOT / "book") > 90
    assert pdf.n_drawings(ROOT / "book") >= 2


# --- drawings ----------------------------------------------------------------------------------------


def test_drawings_get_the_light_palette():
    css = "fill: light-dark(#1a1a1a, #e8ebef); stroke: light-dark(rgb(0 1 2), rgb(3 4 5))"
    assert paper_svg.light(css) == "fill: #1a1a1a; stroke: rgb(0 1 2)"


@pytest.mark.parametrize("css", ["fill: var(--ink)", "fill: color-mix(in srgb, red, blue)"])
def test_css_that_would_be_lost_is_refused(css):
    with pytest.raises(ValueError, match="a drawing must have plain colours"):
        paper_svg.light(css)


def test_every_drawing_of_the_book_can_be_drawn():
    for path in (ROOT / "book" / "_assets").glob("*.svg"):
        assert "light-dark(" not in paper_svg.light(path.read_text(encoding="utf-8").split("*/")[-1]), path


# --- arrangement -------------------------------------------------------------------------------------


def option(title, text):
    """Return an option of a quiz as sphinx-design makes it."""
    rest = nodes.paragraph(
        "", "", nodes.strong("", text.partition(" ")[0]), nodes.Text(text.partition(" ")[2])
    )
    return nodes.container("", nodes.rubric("", title), rest, design_component="dropdown", has_title=True)


def test_answers_of_a_quiz_stand_after_all_questions():
    section = nodes.section("", nodes.paragraph("", "Choose an answer to open it."))
    for n in (1, 2):
        section += nodes.admonition(
            "",
            nodes.title("", f"{n}. Q{n}?"),
            option("left", "No. wrong"),
            option("right", "Yes. true"),
            classes=["quiz"],
        )
    paper.unfold_quizzes(section)
    text = section.astext()
    assert "Choose an answer" not in text
    assert text.index("Q1?") < text.index("Q2?") < text.index("Answers") < text.index("wrong")
    answers = [one for one in section.findall(nodes.enumerated_list) if one["enumtype"] == "arabic"]
    assert [item[0].astext() for item in answers[0]] == ["b", "b"]


def page(name, *children):
    """Return a page as Sphinx puts it into the whole."""
    found = start_of_file(docname=name)
    found += nodes.section("", nodes.title("", name), *children)
    return found


def test_parts_chapters_and_solutions_come_in_order():
    document = nodes.document(None, None)
    solution = nodes.admonition(
        "", nodes.title("", "Solution"), nodes.paragraph("", "42"), classes=["exercise-solution"]
    )
    bank = page("exercises", nodes.compound("", page("exercises/a", solution), classes=["toctree-wrapper"]))
    wrappers = [
        nodes.compound("", one, classes=["toctree-wrapper"]) for one in (page("01"), bank, page("glossary"))
    ]
    document += nodes.section("", nodes.title("", "Book"), nodes.paragraph("", "front"), *wrappers)
    paper.arrange(document, ["Part I: Why", "Exercises", "Back matter"], [])
    root = document[0]
    order = [one.astext() if isinstance(one, nodes.raw) else one.get("docname") for one in root.children[1:]]
    assert order == [
        r"\coursefront", "paper", r"\coursemain", r"\part{Why}", "01", r"\courseappendix",
        r"\courseunnumberedpart{Exercises}", "exercises", "paper",
        r"\courseunnumberedpart{Back matter}", "glossary",
    ]  # fmt: skip
    assert "42" not in root.children[8].astext()
    assert "42" in root.children[9].astext()


def test_an_interactive_figure_gives_way_to_its_table():
    table = "<table><tr><th>a</th></tr><tr><td>1</td></tr></table>"
    html = f"<div data-figure='x'><details data-table open>{table}</details></div>"
    shown = paper.still(html, "A figure\nmore", "https://example.org/01.html")
    assert [type(one) for one in shown] == [nodes.paragraph, nodes.table, nodes.paragraph]
    assert [entry.astext() for entry in shown[1].findall(nodes.entry)] == ["a", "1"]


def test_a_card_becomes_a_paragraph_that_ends_with_its_link():
    title = nodes.container("", nodes.Text("Read"), design_component="card-title")
    body = nodes.container(
        "", title, nodes.paragraph("", "Seventeen chapters."), design_component="card-body"
    )
    link = pending_xref("", nodes.inline("", "Chapter 1"), reftarget="01", refdomain="std", reftype="doc")
    card = nodes.container("", body, nodes.inline("", "", link), design_component="card")
    document = nodes.section("", card)
    paper.open_cards(document)
    assert document.astext() == "Read: Seventeen chapters. Chapter 1"
    assert list(document.findall(pending_xref)) == [link]


def test_references_of_a_docstring_stay_below_it():
    entry = nodes.citation("", nodes.label("", "1"), nodes.paragraph("", "Somebody, 2017"), ids=["r1"])
    document = nodes.document(None, None)
    number = only("", nodes.paragraph("", "look up"), expr="latex")
    document += [page("api", number, entry), page("bibliography", entry.deepcopy())]
    paper.keep_references(document)
    assert document[0].astext().split("\n\n")[-1] == "[1] Somebody, 2017"
    assert "look up" not in document.astext()
    assert [one["ids"] for one in document[0].findall(nodes.target)] == [["r1"]]
    assert len(list(document[1].findall(nodes.citation))) == 1


def test_an_exercise_has_the_label_that_references_use():
    document = nodes.document(None, None)
    document += page("07-heads", exercise_node(label="ex-07-six"))
    paper.label_exercises(document)
    assert r"\label{\detokenize{07-heads:ex-07-six}}" in document.astext()


def test_folded_code_is_left_out_and_its_output_stays():
    def cell(hide):
        code = nodes.container("", nodes.Text(f"code-{hide}"), nb_element="cell_code_source")
        out = nodes.container("", nodes.Text(f"out-{hide}"), nb_element="cell_code_output")
        return nodes.container("", code, out, nb_element="cell_code", hide_mode=hide)

    section = nodes.section("", cell("input"), cell("all"), cell("output"), cell(None))
    paper.drop_folded_code(section)
    text = section.astext()
    # a cell that is folded whole is an answer: paper unfolds it
    assert [mode for mode in ("input", "all", "output", "None") if f"code-{mode}" in text] == [
        "all",
        "output",
        "None",
    ]
    assert all(f"out-{mode}" in text for mode in ("input", "all", "output", "None"))
