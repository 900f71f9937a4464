"""Read the book's pages as the tests need them: cells, prose lines, claims.

Every rule of the book is a function that takes pages or paths and returns a list of problems, so that it can
be shown to fail on a planted fault.
"""

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "book"

# Directives whose body is no prose.
NO_PROSE = {
    "math",
    "code",
    "code-block",
    "code-cell",
    "mermaid",
    "bibliography",
    "tableofcontents",
    "raw",
    "csv-table",
}
FENCE = re.compile(r"^\s*(`{3,}|:{3,}|~{3,})\s*(?:\{([\w:.-]+)\})?(.*)$")

FRONT_MATTER = re.compile(r"\A---\n.*?^---\n", re.MULTILINE | re.DOTALL)
# A code span, or a role with its text in backticks.
SPAN = re.compile(r"(?P<role>\{[\w:+.-]+\})?(?<!`)(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`)")


@dataclass(frozen=True)
class Line:
    """One line of prose, and where it stands."""

    where: str
    text: str

    @property
    def without_code(self) -> str:
        """The line with its roles, but with CODE for every other code span."""
        return SPAN.sub(lambda found: found[0] if found["role"] else "CODE", self.text)

    @property
    def plain(self) -> str:
        """The words alone: code, mathematics, roles and link targets go."""
        text = SPAN.sub(lambda found: "ROLE" if found["role"] else "CODE", self.text)
        text = re.sub(r"\$[^$]+\$", "MATHS", text)
        return re.sub(r"\]\([^)]*\)", "]", text)


@dataclass(frozen=True)
class Page:
    """A notebook, or a Markdown file as a notebook of one cell."""

    path: Path
    cells: list[dict] = field(compare=False)

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def is_notebook(self) -> bool:
        return self.path.suffix == ".ipynb"

    @property
    def chapter(self) -> int | None:
        """The number of a chapter; None for back matter."""
        found = re.match(r"(\d\d)-", self.path.name)
        return int(found[1]) if found else None

    @property
    def code_cells(self) -> list[dict]:
        return [cell for cell in self.cells if cell["cell_type"] == "code"]

    @cached_property
    def markdown(self) -> list[tuple[str, str]]:
        """Where, and text, of every Markdown cell."""
        return [
            (f"{self.name}[{cell['id']}]" if self.is_notebook else self.name, cell["source"])
            for cell in self.cells
            if cell["cell_type"] == "markdown"
        ]

    def prose(self) -> Iterator[Line]:
        """Yield the lines of prose: no code, no display mathematics, no options of directives."""
        for where, source in self.markdown:
            for number, text in prose_lines(source):
                yield Line(f"{where}:{number}", text)


@dataclass(frozen=True)
class Scanned:
    """One line of MyST Markdown and what it is."""

    number: int
    text: str
    kind: str  # "prose", "maths", "code", "option" of a directive, or "fence"
    directive: str | None  # the innermost directive around it


def scan(source: str) -> Iterator[Scanned]:
    """Say of every line of a MyST Markdown text what it is."""
    fences: list[tuple[str, str | None]] = []  # (the fence's characters, its directive)
    maths = options = False
    for number, line in enumerate(source.split("\n"), start=1):
        marks, directive = fences[-1] if fences else ("", None)
        verbatim = bool(fences) and (directive is None or directive in NO_PROSE)
        stripped, fence = line.strip(), FENCE.match(line)
        if fence and not maths:
            new, name, rest = fence.groups()
            if marks and not name and not rest.strip() and new[0] == marks[0] and len(new) >= len(marks):
                fences.pop()
                yield Scanned(number, line, "fence", directive)
                continue
            if not verbatim:
                fences.append((new, name))
                options = name is not None
                yield Scanned(number, line, "fence", name)
                continue
        if options and re.match(r":[\w-]+:", stripped):
            yield Scanned(number, line, "option", directive)
            continue
        options = False
        if verbatim:
            yield Scanned(number, line, "maths" if directive == "math" else "code", directive)
        elif maths or stripped.startswith("$$"):
            maths ^= stripped.count("$$") % 2 == 1
            yield Scanned(number, line, "maths", directive)
        else:
            yield Scanned(number, line, "prose", directive)


def prose_lines(source: str) -> Iterator[tuple[int, str]]:
    """Yield number and text of the lines of prose; an empty text stands for whatever parts paragraphs."""
    for line in scan(source):
        stripped = line.text.strip()
        is_mark = stripped.startswith(("%", "+++", "<!--")) or re.fullmatch(r"\([\w:.-]+\)=", stripped)
        yield line.number, "" if is_mark or line.kind != "prose" else line.text


def read_page(path: Path) -> Page:
    """Read a notebook or a Markdown file; sources and outputs become plain text."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        text = FRONT_MATTER.sub(lambda found: "\n" * found[0].count("\n"), text)  # line numbers stay
        return Page(path, [{"cell_type": "markdown", "id": "page", "metadata": {}, "source": text}])
    cells = json.loads(text)["cells"]
    for cell in cells:
        cell["source"] = joined(cell["source"])
        for output in cell.get("outputs", []):
            if "text" in output:
                output["text"] = joined(output["text"])
            if "data" in output:
                output["data"] = {mime: joined(data) for mime, data in output["data"].items()}
    return Page(path, cells)


def joined(text: object) -> object:
    """Return a notebook's text, stored line by line or not, as one string."""
    return "".join(text) if isinstance(text, list) else text


def chapters(book: Path = BOOK) -> list[Path]:
    """Return the chapters in order."""
    return sorted(book.glob("[0-9][0-9]-*.ipynb"))


def notebooks(book: Path = BOOK) -> list[Path]:
    """Return every notebook that is a page."""
    return sorted(path for path in book.rglob("*.ipynb") if not hidden(path, book))


def pages(book: Path = BOOK) -> list[Page]:
    """Return every page: notebooks and Markdown files."""
    markdown = sorted(path for path in book.rglob("*.md") if not hidden(path, book))
    return [read_page(path) for path in (*notebooks(book), *markdown)]


def hidden(path: Path, book: Path) -> bool:
    """Say whether a path lies in a folder that holds no pages (``_build``, ``.ipynb_checkpoints``, …)."""
    return any(part.startswith(("_", ".")) for part in path.relative_to(book).parts)


def tree_of(cell: dict) -> ast.Module | None:
    """Return a code cell's syntax tree, or None if it is not plain Python (the hygiene rules report that)."""
    try:
        return ast.parse(cell["source"])
    except SyntaxError:
        return None


def calls_in(cell: dict) -> list[tuple[str, ast.Call]]:
    """Return every call in a cell with the called name's last part."""
    tree = tree_of(cell)
    found = []
    for node in ast.walk(tree) if tree else ():
        if isinstance(node, ast.Call):
            function = node.func
            name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
            found.append((name, node))
    return found


def texts_of(cell: dict) -> list[str]:
    """Return the text outputs of a cell, of every kind that is not an image."""
    found = []
    for output in cell.get("outputs", []):
        if "text" in output:
            found.append(output["text"])
        found += [data for mime, data in output.get("data", {}).items() if mime.startswith("text/")]
    return found


def stdout_of(cell: dict) -> str:
    """Return what a cell printed."""
    return "".join(o["text"] for o in cell.get("outputs", []) if o.get("name") == "stdout")


def none_of(problems: list[str]) -> None:
    """Fail with one line for each problem, if there are any."""
    assert not problems, "\n" + "\n".join(problems)


def name_of(page: Page | Path) -> str:
    """Return what a parametrised test is called: ``pytest -k 02-name`` picks one page."""
    return page.name
