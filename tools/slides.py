"""Make slides of the chapters: one deck for each stored notebook, to be shown without a network.

Usage::

    python tools/slides.py                              every chapter, into _build/slides, with an index
    python tools/slides.py book/04-*.ipynb --out DIR    some chapters, elsewhere

The notebooks are not changed and hold nothing about slides: `slide_plan` derives them from the structure of
the chapter, nbconvert's exporter for reveal.js cuts them, KaTeX renders the mathematics beforehand.
"""

import argparse
import html
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbconvert import SlidesExporter
from pygments.formatters import HtmlFormatter
from slide_blocks import Slide
from slide_plan import FIRST_NOTE, Planner
from slide_text import FORMATTER, Mathematics, SlideError, Text, words_of

ROOT = Path(__file__).resolve().parents[1]
BOOK, OUT = ROOT / "book", ROOT / "_build" / "slides"
PARTS = Path(__file__).resolve().with_name("slides")


def chapters() -> list[Path]:
    """Return the notebooks of the chapters."""
    return sorted(BOOK.glob("[0-9][0-9]-*.ipynb"))


def slides_of(path: Path, mathematics: Mathematics) -> list[Slide]:
    """Return the slides of a chapter, with marks where formulas stand.

    Raises
    ------
    SlideError
        If the notebook holds what no slide can be made of.
    """
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return Planner(path, Text(path.name, mathematics)).plan(notebook)


def slide_notebook(slides: Sequence[Slide], title: str) -> nbformat.NotebookNode:
    """Return slides as the notebook that nbconvert expects: cells with their type of slide."""
    cells = []
    for slide in slides:
        kind = "slide" if slide.horizontal else "subslide"
        cells.append(_raw(slide.html, kind))
        if slide.notes:
            cells.append(_raw("\n".join(slide.notes), "notes"))
    return nbformat.v4.new_notebook(cells=cells, metadata={"title": title})


def _raw(source: str, kind: str) -> nbformat.NotebookNode:
    """Return a cell of HTML with its type of slide."""
    metadata = {"slideshow": {"slide_type": kind}, "raw_mimetype": "text/html"}
    return nbformat.v4.new_raw_cell(source, metadata=metadata)


def deck(path: Path) -> tuple[str, str, int]:
    """Return the deck of a chapter as a page, its title, and the number of slides.

    Raises
    ------
    SlideError
        If the notebook holds what no slide can be made of.
    """
    mathematics = Mathematics()
    slides = slides_of(path, mathematics)
    if not slides or slides[0].kind != "title":
        raise SlideError(f"{path.name}: the first cell must begin with the title, '# ...'")
    title = words_of(slides[0].heading)
    slides[0].notes.insert(0, f"<p>{FIRST_NOTE}</p>")
    slides[0].section = "Attention, step by step"
    exporter = SlidesExporter(template_name="course", extra_template_basedirs=[str(PARTS / "template")])
    page, _ = exporter.from_notebook_node(slide_notebook(slides, f"{title}: slides"))
    return mathematics.fill(page), title, len(slides)


def write_assets(folder: Path) -> None:
    """Put what the decks load beside them: reveal.js, KaTeX's style and fonts, the course's own style."""
    if folder.exists():
        shutil.rmtree(folder)
    shutil.copytree(PARTS / "reveal", folder / "reveal")
    shutil.copytree(BOOK / "_extra" / "katex", folder / "katex")
    for name in ("slides.css", "slides.js"):
        shutil.copyfile(PARTS / name, folder / name)
    style = HtmlFormatter(style=FORMATTER.style).get_style_defs("pre.code")
    (folder / "code.css").write_text(style + "\n", encoding="utf-8")


def index_page(decks: Sequence[tuple[str, str, int]]) -> str:
    """Return the page that lists decks, given as (file, title, number of slides)."""
    rows = "\n".join(
        f'<li value="{int(name[:2])}"><a href="{name}">{html.escape(title)}</a> '
        f'<span>{count} slides · <a href="{name}?print-pdf" aria-label="{html.escape(title)}, to print">'
        "to print</a></span></li>"
        for name, title, count in decks
    )
    return (PARTS / "index.html").read_text(encoding="utf-8").replace("<!-- decks -->", rows)


def write(paths: Sequence[Path], out: Path = OUT) -> list[tuple[str, str, int]]:
    """Write the decks of notebooks, what they load, and the index; return (file, title, number of slides).

    Raises
    ------
    SlideError
        If a notebook holds what no slide can be made of.
    """
    out.mkdir(parents=True, exist_ok=True)
    write_assets(out / "assets")
    decks = []
    for path in paths:
        page, title, count = deck(path)
        name = f"{path.stem}.html"
        (out / name).write_text(page, encoding="utf-8")
        decks.append((name, title, count))
    (out / "index.html").write_text(index_page(decks), encoding="utf-8")
    return decks


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(description="Make slides of the chapters.")
    parser.add_argument("notebooks", nargs="*", type=Path, help="chapters; all of them if none is given")
    parser.add_argument("--out", type=Path, default=OUT, help="the folder to write to")
    options = parser.parse_args(arguments)
    try:
        decks = write(options.notebooks or chapters(), options.out)
    except SlideError as error:
        print(error, file=sys.stderr)
        return 1
    for name, _, count in decks:
        print(f"{count:4d} slides  {options.out / name}")
    print(f"The slides are at {options.out / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
