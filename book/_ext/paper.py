"""The book on paper: what `make pdf` needs beyond Sphinx's own LaTeX.

On paper nothing folds and nothing moves, so pages are arranged anew, for the LaTeX builder alone:

- parts and chapters in order, then appendices; the solutions of the exercise bank in one of their own;
- of a quiz first the questions with their options, then the answers together;
- code that a page folds away is left out, its outputs stay;
- an interactive figure gives way to its table, or to its text;
- claims become small lines to which the marks ✓ lead.

`paper_latex.py` writes LaTeX, and `book/_latex/paper.sty` holds the typography.
"""

import re

from bs4 import BeautifulSoup
from docutils import nodes
from paper_latex import ClaimLine, FitTables, PaperTranslator, elements, set_up_latex
from paper_svg import SvgToPdf
from sphinx.addnodes import only, pending_xref, start_of_file
from sphinx.builders.latex.nodes import thebibliography
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx_exercise.nodes import is_exercise_node

ABOUT, SOLUTIONS = "About this book", "Solutions of the exercises"
PART_NUMBER = re.compile(r"Part [IVX]+: ")
REFERENCE, BIBLIOGRAPHY, BANK = "The package", "bibliography", "exercises/"


def latex(text: str) -> nodes.raw:
    """Return LaTeX as a node."""
    return nodes.raw("", text, format="latex")


def has_class(node: nodes.Element, name: str) -> bool:
    """Say whether a node has a class."""
    return name in node.get("classes", ())


# --- cells -----------------------------------------------------------------------------------------


def drop_folded_code(document: nodes.document) -> None:
    """Leave out the code that the site folds away; outputs stay, and so do claims, and cells folded whole."""
    for cell in elements(document, nodes.container, nb_element="cell_code"):
        if cell.get("hide_mode") in ("input", "input+output"):
            for code in elements(cell, nodes.container, nb_element="cell_code_source"):
                code.parent.remove(code)


def table_of(rows: list[list[str]]) -> nodes.table:
    """Return a table with a head row."""
    n_columns = max(map(len, rows))
    group = nodes.tgroup("", *(nodes.colspec(colwidth=1) for _ in range(n_columns)), cols=n_columns)
    lines = [
        nodes.row(
            "", *(nodes.entry("", nodes.paragraph("", text)) for text in row + [""] * (n_columns - len(row)))
        )
        for row in rows
    ]
    group += nodes.thead("", lines[0])
    group += nodes.tbody("", *lines[1:])
    return nodes.table("", group)


def still(html: str, plain: str, address: str) -> list[nodes.Node]:
    """Return what stands on paper for an interactive output: its title, its table if it has one, a link."""
    soup = BeautifulSoup(html, "html.parser")
    title = plain.partition("\n")[0].strip()
    shown: list[nodes.Node] = [nodes.paragraph("", "", nodes.strong("", title))]
    for table in soup.select("[data-table] table")[:1]:
        rows = [[cell.get_text(" ", strip=True) for cell in row(("th", "td"))] for row in table("tr")]
        rows = [row for row in rows if row]
        if rows and max(map(len, rows)) <= 14 and len(rows) <= 60:
            shown.append(table_of(rows))
    if len(shown) == 1 and "\n" in plain:
        text = plain.partition("\n")[2]
        shown.append(nodes.literal_block(text, text, language="none"))
    link = nodes.reference("", "on the site", refuri=address, internal=False)
    shown.append(
        nodes.paragraph("", "", nodes.emphasis("", "This part can be moved or heard "), link, nodes.Text("."))
    )
    return shown


def still_outputs(document: nodes.document, site: str) -> None:
    """Replace every output that needs a browser."""
    for bundle in elements(document, nodes.container, nb_element="mime_bundle"):
        kinds = {child["mime_type"]: child for child in bundle.children}
        if "text/html" in kinds and "image/png" not in kinds and "text/markdown" not in kinds:
            page = docname_of(bundle)
            plain = kinds["text/plain"].astext() if "text/plain" in kinds else ""
            bundle.replace_self(still(kinds["text/html"].astext(), plain, f"{site}{page}.html"))


def open_cards(document: nodes.document) -> None:
    """Write each card as a paragraph: its title, its text, and where it leads."""
    for card in elements(document, nodes.container, design_component="card"):
        line = nodes.paragraph()
        for title in elements(card, nodes.Element, design_component="card-title"):
            line += [nodes.strong("", title.astext().strip()), nodes.Text(": ")]
            title.parent.remove(title)
        for body in elements(card, nodes.container, design_component="card-body"):
            line += [child for text in elements(body, nodes.paragraph) for child in text.children]
        for link in elements(card, pending_xref):
            line += [nodes.Text(" "), link]
        card.replace_self(line)


def docname_of(node: nodes.Node) -> str:
    """Return the page from which a node comes."""
    while not isinstance(node, start_of_file):
        node = node.parent
    return node["docname"]


def keep_references(document: nodes.document) -> None:
    """Leave the references of a docstring below it; Sphinx would move them into the bibliography."""
    for page in elements(document, start_of_file):
        if page["docname"] == BIBLIOGRAPHY or not elements(page, nodes.citation):
            continue
        for number in elements(page, only, expr="latex"):
            number.parent.remove(number)  # numpydoc's numbers, to be looked up elsewhere
        for reference in elements(page, nodes.citation):
            label, *rest = reference.children
            head = nodes.paragraph("", f"[{label.astext()}] ", *(rest[0].children if rest else ()))
            target = nodes.target("", "", ids=reference["ids"])
            reference.replace_self([target, head, *rest[1:]])


# --- quizzes ---------------------------------------------------------------------------------------


def unfold_quizzes(document: nodes.document) -> None:
    """Write the options of each question as a list, and the answers after the last question."""
    answers: dict[nodes.Element, nodes.enumerated_list] = {}
    for question in [one for one in elements(document, nodes.admonition) if has_class(one, "quiz")]:
        options = nodes.enumerated_list(enumtype="loweralpha", prefix="", suffix=")")
        replies = nodes.enumerated_list(enumtype="loweralpha", prefix="", suffix=")")
        kept, right = [], []
        for child in question.children[1:]:
            if child.get("design_component") != "dropdown":
                kept.append(child)
                continue
            options += nodes.list_item("", nodes.paragraph("", "", *child[0].children))
            replies += nodes.list_item("", *child.children[1:])
            if replies[-1].astext().startswith("Yes"):
                right.append(chr(ord("a") + len(replies) - 1))
        answer = nodes.paragraph("", "", nodes.strong("", " and ".join(right)))
        section, head = question.parent, nodes.paragraph("", "", nodes.strong("", "", *question[0].children))
        question.replace_self([head, *kept, options])
        answers.setdefault(section, nodes.enumerated_list(enumtype="arabic", prefix="", suffix="."))
        answers[section] += nodes.list_item("", answer, replies)
    for section, replies in answers.items():
        for text in elements(section, nodes.paragraph):
            if text.astext() == "Choose an answer to open it.":
                text.replace_self(nodes.paragraph("", "The answers follow the questions."))
        after = [latex(r"\begin{courseanswers}"), nodes.rubric("", "Answers"), replies]
        section.extend([*after, latex(r"\end{courseanswers}")])


def unfold(document: nodes.document) -> None:
    """Write every other folded part open, with its title."""
    for part in elements(document, nodes.container, design_component="dropdown"):
        head = [nodes.paragraph("", "", nodes.strong("", "", *part[0].children))] if part["has_title"] else []
        part.replace_self([*head, *part.children[len(head) :]])


# --- claims ----------------------------------------------------------------------------------------


def claim_lines(document: nodes.document) -> None:
    """Give claims a node of their own."""
    for block in elements(document, nodes.literal_block):
        if has_class(block, "claim"):
            block.replace_self(ClaimLine(block.astext(), "", *block.children, ids=block["ids"]))


def label_exercises(document: nodes.document) -> None:
    """Give the exercises of the chapters the labels by which Sphinx refers to them."""
    for page in elements(document, start_of_file):
        for exercise in [one for one in elements(page, nodes.Element) if is_exercise_node(one)]:
            label = rf"\phantomsection\label{{\detokenize{{{page['docname']}:{exercise['label']}}}}}"
            exercise.parent.insert(exercise.parent.index(exercise), latex(label))


# --- order of the book -----------------------------------------------------------------------------


def gather_solutions(document: nodes.document) -> nodes.section | None:
    """Take the solutions out of the exercise bank; return their chapter."""
    chapter = nodes.section("", nodes.title("", SOLUTIONS), ids=["paper-solutions"], docname="paper")
    for page in elements(document, start_of_file):
        parts = [one for one in elements(page, nodes.admonition) if has_class(one, "exercise-solution")]
        if not page["docname"].startswith(BANK) or not parts:
            continue
        title = next(page.findall(nodes.title)).astext()
        link = nodes.reference("", title, refuri="%" + page["docname"], internal=True)
        section = nodes.section("", nodes.title("", title), ids=["paper-solution"], docname=page["docname"])
        section += nodes.paragraph("", "", nodes.emphasis("", "The exercise: "), link, nodes.Text("."))
        for part in parts:
            part.parent.remove(part)
            head = [] if part[0].astext() == "Solution" else [nodes.rubric("", "", *part[0].children)]
            section.extend([*head, *part.children[1:]])
        moved = start_of_file(docname="paper/" + page["docname"])  # a label each for page and solution
        moved += section
        chapter += moved
    return chapter if len(chapter) > 1 else None


def arrange(document: nodes.document, captions: list[str | None], about: list[nodes.Node]) -> None:
    """Put the pages into the order of a book: front, parts, appendices.

    Parameters
    ----------
    document : nodes.document
        With all pages in it; changed.
    captions : list of str or None
        Of the table of contents, one for each part.
    about : list of Node
        What the front says of this edition.
    """
    root = next(document.findall(nodes.section))
    wrappers = [one for one in root.findall(nodes.compound) if has_class(one, "toctree-wrapper")]
    wrappers = [one for one in wrappers if not isinstance(one.parent.parent, start_of_file)]
    solutions = gather_solutions(document)
    for wrapper in wrappers:
        wrapper.parent.remove(wrapper)
    front = nodes.section(
        "", nodes.title("", ABOUT), *root.children[1:], *about, ids=["paper-about"], docname="paper"
    )
    root.children = [root[0]]
    root += [latex(r"\coursefront"), front]
    state = "front"
    for wrapper, caption in zip(wrappers, captions, strict=True):
        if caption and PART_NUMBER.match(caption):
            if state == "front":
                root += latex(r"\coursemain")
            state = "main"
            root += latex(rf"\part{{{PART_NUMBER.sub('', caption)}}}")
        elif caption:
            if state != "appendix":
                root += latex(r"\courseappendix")
            state = "appendix"
            root += latex(rf"\courseunnumberedpart{{{caption}}}")
            if caption == REFERENCE:
                root += latex(r"\coursereference")
        root.extend(wrapper.children)
        if solutions is not None and any(
            page["docname"] == "exercises" for page in wrapper.findall(start_of_file)
        ):
            root += solutions


def edition(app) -> list[nodes.Node]:
    """Return the section that says how the book on paper differs from the site."""
    site = app.config.html_baseurl
    link = nodes.reference("", site, refuri=site, internal=False)
    sentences = (
        "Code that only prepares or draws is left out here; the notebooks of the chapters hold it.",
        "Interactive figures stand here as a table or as text.",
        "Where the text says open, fold, press, choose or move, or names the rocket, it speaks of the site.",
        "Solutions of exercises within a chapter stand below them, those of the bank in an appendix.",
        "A small ✓ behind a sentence leads to the line that its cell printed when it was checked.",
    )
    section = nodes.section("", nodes.title("", "This edition"), ids=["paper-edition"], docname="paper")
    section += nodes.paragraph("", "", nodes.Text("This document is made from the same files as "), link)
    section[-1] += nodes.Text(", where the book can be searched, run and tried.")
    section += nodes.bullet_list("", *(nodes.list_item("", nodes.paragraph("", text)) for text in sentences))
    return [section]


class Arrange(SphinxPostTransform):
    """Rearrange the whole book before references are resolved and outputs chosen."""

    default_priority = 3
    formats = ("latex",)

    def run(self, **kwargs) -> None:
        """Apply every step above."""
        site_map = self.app.config.external_site_map
        for page in elements(self.document, start_of_file):
            for child in page.children:
                child.parent = page  # Sphinx leaves them with the document that each page was
        still_outputs(self.document, self.app.config.html_baseurl)
        drop_folded_code(self.document)
        open_cards(self.document)
        keep_references(self.document)
        unfold_quizzes(self.document)
        unfold(self.document)
        claim_lines(self.document)
        label_exercises(self.document)
        captions = [tree.caption for tree in site_map.root.subtrees]
        arrange(self.document, captions, edition(self.app))


class PlaceBibliography(SphinxPostTransform):
    """Put the bibliography on its page; Sphinx moves it to the end of the document."""

    default_priority = 760  # after Sphinx's own
    formats = ("latex",)

    def run(self, **kwargs) -> None:
        """Move it back."""
        for page in elements(self.document, start_of_file, docname=BIBLIOGRAPHY):
            for entries in elements(self.document, thebibliography):
                entries.parent.remove(entries)
                next(page.findall(nodes.section)).append(entries)


def setup(app):
    """Register everything above."""
    app.add_node(ClaimLine, latex=(PaperTranslator.visit_ClaimLine, None))
    app.set_translator("latex", PaperTranslator)
    app.add_post_transform(Arrange)
    app.add_post_transform(PlaceBibliography)
    app.add_post_transform(FitTables)
    app.add_post_transform(SvgToPdf)
    app.connect("config-inited", set_up_latex, priority=900)  # after the addresses were derived
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
