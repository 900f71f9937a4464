"""LaTeX for the book on paper: claims, fitted tables and formulas, alt text, the title page's facts."""

import datetime
import os
import re
import tomllib
from pathlib import Path

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.math import wrap_displaymath
from sphinx.writers.latex import LaTeXTranslator

ROOT = Path(__file__).resolve().parents[2]
STYLE = ROOT / "book" / "_latex" / "paper.sty"
LATEX = {
    "papersize": "a4paper",
    "pointsize": "10pt",
    "fontpkg": "",  # paper.sty
    "fncychap": "",
    "fvset": "",
    "extraclassoptions": "openany",
    "figure_align": "htbp",
    "passoptionstopackages": r"\PassOptionsToPackage{svgnames}{xcolor}",
    "preamble": r"\usepackage{paper}",
    "sphinxsetup": "hmargin={2.4cm,2.4cm}, vmargin={2.3cm,2.5cm}, verbatimwithframe=false,"
    " VerbatimColor={HTML}{F4F6F8}, TitleColor={HTML}{004F7C}, InnerLinkColor={HTML}{004F7C},"
    " OuterLinkColor={HTML}{7A3E00}",
}
# Long names may break after these.
JOINT = re.compile(r"(\\_|[.=(/])(?=[\w\\])")
# Characters that fit on a line of a table, and the most that a table may have to stay unbroken.
LINE_CHARACTERS, UNBROKEN_ROWS = 96, 14
IMAGE_SCALE = 85  # per cent: letters in figures are then as large as those around them


def elements(node: nodes.Node, kind: type, **attributes) -> list:
    """Return the nodes of a kind whose attributes have these values, safe to change while looping."""
    found = node.findall(kind)
    return [one for one in found if all(one.get(name) == value for name, value in attributes.items())]


class ClaimLine(nodes.literal_block):
    """One printed claim."""


# --- tables ----------------------------------------------------------------------------------------


def width_of(entry: nodes.entry) -> tuple[int, int]:
    """Return the characters of a cell's longest line and of its longest word."""
    words, line = [1], 0
    for child in entry.findall(lambda node: isinstance(node, nodes.Text | nodes.math)):
        if isinstance(child, nodes.math):
            words.append(len(child.astext()) // 2)  # about half of TeX is commands
            line += words[-1]
        elif not isinstance(child.parent, nodes.math):
            literal = isinstance(child.parent, nodes.literal)
            pieces = re.split(r"[\s./_(]+" if literal else r"[\s/-]+", child.astext())
            words += [len(piece) * (5 if literal else 4) // 4 for piece in pieces]
            line += len(child.astext())
    return line, max(words)


class FitTables(SphinxPostTransform):
    """Give wide tables widths that follow from their text, and let long ones break between pages."""

    default_priority = 900
    formats = ("latex",)

    def run(self, **kwargs) -> None:
        """Set the classes and widths that Sphinx's writer reads."""
        for table in elements(self.document, nodes.table):
            rows = [
                [width_of(entry) for entry in row.children if isinstance(entry, nodes.entry)]
                for row in table.findall(nodes.row)
            ]
            specs = list(table.findall(nodes.colspec))
            if len(rows) > UNBROKEN_ROWS:
                table["classes"].append("longtable")
            if any(len(row) != len(specs) for row in rows):
                continue
            natural = [max(row[i][0] for row in rows) for i in range(len(specs))]
            words = [max(row[i][1] for row in rows) + 2 for i in range(len(specs))]
            if sum(natural) + 3 * len(specs) <= LINE_CHARACTERS and "longtable" not in table["classes"]:
                continue
            # each column gets its longest word; what is left goes to the columns with much text
            wish = [min(length, LINE_CHARACTERS) ** 0.75 for length in natural]
            spare = max(LINE_CHARACTERS - sum(words), 0)
            extra = [max(want - least, 0) for want, least in zip(wish, words, strict=True)]
            share = spare / sum(extra) if sum(extra) else 0
            for spec, least, more in zip(specs, words, extra, strict=True):
                spec["colwidth"] = max(1, round(10 * (least + share * more)))
            table["classes"].append("colwidths-given")


# --- LaTeX -----------------------------------------------------------------------------------------


class PaperTranslator(LaTeXTranslator):
    """Sphinx's writer with claims, fitted formulas and alt text."""

    def visit_ClaimLine(self, node: ClaimLine) -> None:
        """Write a claim as one paragraph that can be linked to.

        Raises
        ------
        SkipNode
            Always: the node is written.
        """
        _, _, text = node.astext().partition("✓ ")
        name, _, rest = text.partition(" ")
        labels = self.hypertarget_to(node, anchor=True)
        self.body.append(f"\n\\courseclaim{{{labels}}}{{{self.encode(name)}}}{{{self.encode(rest)}}}\n")
        raise nodes.SkipNode

    def visit_Text(self, node: nodes.Text) -> None:
        """Write text; long names in the middle of a line may break after their joints."""
        start = len(self.body)
        super().visit_Text(node)
        if isinstance(node.parent, nodes.literal):
            self.body[start:] = [JOINT.sub(r"\1\\allowbreak{}", text) for text in self.body[start:]]

    def visit_math_block(self, node: nodes.math_block) -> None:
        """Write a formula so that it shrinks to the line where it is wider.

        Raises
        ------
        SkipNode
            Always: the node is written.
        """
        if node.get("nowrap"):
            super().visit_math_block(node)
        label = f"equation:{node['docname']}:{node['label']}" if node.get("label") else None
        text = wrap_displaymath(node.astext(), label, self.config.math_number_all)
        text = text.replace(r"\begin{split}", r"\begin{coursefit}").replace(
            r"\end{split}", r"\end{coursefit}"
        )
        self.body.append(text)
        raise nodes.SkipNode

    def visit_image(self, node: nodes.image) -> None:
        """Write an image with its alternative text."""
        alt = node.get("alt", "").replace("\n", " ")
        if {"width", "height"} <= set(node.attributes):  # pixels of the screen: the file knows its size
            del node["width"], node["height"]
        if not {"width", "scale"} & set(node.attributes):
            node["scale"] = IMAGE_SCALE
        if alt and not self.in_title:
            start = len(self.body)
            super().visit_image(node)
            for i in range(start, len(self.body)):
                if r"\sphinxincludegraphics" in self.body[i]:
                    self.body[i] = rf"\coursealt{{{self.encode(alt)}}}{{{self.body[i]}}}"
        else:
            super().visit_image(node)


def set_up_latex(app, config) -> None:
    """Fill in version, date and address, for the title page."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    stamp = os.environ.get("SOURCE_DATE_EPOCH")
    day = (
        datetime.datetime.fromtimestamp(int(stamp), datetime.UTC)
        if stamp
        else datetime.datetime.now(datetime.UTC)
    )
    repository = config.html_theme_options["repository_url"]
    facts = (version, f"{day.day} {day:%B %Y}", config.html_baseurl, repository)
    lines = "".join(f"{{{one}}}" for one in facts)
    config.latex_elements = {**LATEX, **config.latex_elements, "maketitle": rf"\coursetitle{lines}"}
    config.latex_table_style = ["booktabs", "nocolorrows"]
    config.latex_use_xindy = False
    config.latex_toplevel_sectioning = "chapter"
    config.latex_documents = [("index", "book.tex", config.project, config.author, "manual")]
    config.latex_additional_files = [str(STYLE)]
