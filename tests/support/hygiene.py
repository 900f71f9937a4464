"""What a stored notebook must look like, and what its prose must not contain."""

import ast
import base64
import re
from pathlib import Path

from chapter_text import ID
from notebooks import IGNORED, problems_of_form

from tests.support.book import Page, calls_in, texts_of, tree_of

PNG_LIMIT = 60_000
HTML_LIMIT = 60_000
NOTEBOOK_LIMIT = 600_000
MIME_TYPES = {"text/plain", "text/markdown", "text/html", "image/png"}
TAGS = {
    "hide-input", "hide-output", "hide-cell", "remove-input", "remove-output", "remove-cell",
    "full-width", "margin", "scroll-output", "colab", IGNORED,
}  # fmt: skip
ABSOLUTE_PATH = re.compile(
    r"(?<![\w.:/~>-])/(?:home|Users|root|tmp|work|mnt|var|usr|opt|etc|content|data)/\w|\b[A-Z]:\\{1,2}\w"
)
# What makes a browser fetch something: an address of another host or any element that brings a file.
LOADS = re.compile(
    r"""<[a-z][^>]*\s(?:src|srcset|poster|data|background)\s*=\s*["']?\s*(?!["'\s]|data:|\#)"""
    r"""|<(?:link|iframe|object|embed|base)\b|<(?:image|use)\b[^>]*href\s*=\s*["']?(?!["'\s]|\#|data:)"""
    r"""|\burl\(\s*["']?(?!["'\s]|data:|\#)|@import\b|\bimport\s*\(|\bfetch\(|\bXMLHttpRequest\b|\brequire\(""",
    re.IGNORECASE,
)
WORDS_FOR_A_PICTURE = re.compile(
    r"""<table\b|\balt=["'][^"']*\w|(?:role=["']img["']|<audio\b)[^>]*\saria-label=["'][^"']*\w""",
    re.IGNORECASE,
)
FORBIDDEN = re.compile(
    r"\b(simply|obviously|just|crucial(?:ly)?|leverag\w+|seamless(?:ly)?|delv\w+|unlock\w*|powerful(?:ly)?)\b",
    re.IGNORECASE,
)
ABBREVIATIONS = re.compile(r"\b(?:e\.g|i\.e|cf|et al|vs|eqs?|figs?|sec|dr|prof)\.$", re.IGNORECASE)


def form_problems(path: Path) -> list[str]:
    """Return whether the file is not in the normal form of ``tools/notebooks.py``, or too large."""
    found = problems_of_form(path)
    size = path.stat().st_size
    if size > NOTEBOOK_LIMIT:
        found.append(f"{path.name}: {size / 1000:.0f} kB, at most {NOTEBOOK_LIMIT // 1000}")
    return found


def cell_problems(page: Page) -> list[str]:
    """Return what is wrong with ids, counts, tags and sources of the cells."""
    found, seen, count, first = [], set(), 0, True
    for cell in page.cells:
        where, name = f"{page.name}[{cell['id']}]", cell["id"]
        tags = set(cell["metadata"].get("tags", []))
        if not ID.fullmatch(name) or re.fullmatch(r"[0-9a-f]{6,}(-[0-9a-f]+)*", name):
            found.append(f"{where}: the id must be chosen by hand, in kebab-case")
        if name in seen:
            found.append(f"{where}: the id stands twice")
        seen.add(name)
        if tags - TAGS:
            found.append(f"{where}: unknown tags {sorted(tags - TAGS)}")
        if cell["cell_type"] != "code":
            continue
        count += 1
        if not cell["source"].strip():
            found.append(f"{where}: an empty code cell")
        if cell["execution_count"] != count:
            found.append(
                f"{where}: execution count {cell['execution_count']}, not {count}: run from a fresh kernel"
            )
        if re.search(r"(?im)^\s*#+\s*(nbval_|pytest_validate)", cell["source"]):
            found.append(f"{where}: tell nbval by a tag, not by a comment")
        tree = tree_of(cell)
        if tree is None:
            found.append(f"{where}: not plain Python (no magics, no shell)")
        elif "colab" not in tags:
            if first and not all(isinstance(node, ast.Import | ast.ImportFrom) for node in tree.body):
                found.append(f"{where}: the first code cell holds imports only")
            first = False
    return found


def output_problems(page: Page) -> list[str]:
    """Return what is wrong with the stored outputs."""
    found = []
    for cell in page.code_cells:
        where = f"{page.name}[{cell['id']}]"
        for output in cell["outputs"]:
            if output["output_type"] == "error":
                found.append(f"{where}: a stored error; show an expected one with show_error")
            if output.get("name") == "stderr":
                found.append(f"{where}: writes to stderr")
            for mime, data in output.get("data", {}).items():
                if mime not in MIME_TYPES:
                    found.append(f"{where}: output of type {mime}")
                elif mime == "image/png" and len(base64.b64decode(data)) > PNG_LIMIT:
                    found.append(f"{where}: PNG of {len(base64.b64decode(data)) / 1000:.0f} kB, at most 60")
            found += [f"{where}: {problem}" for problem in html_problems(output.get("data", {}))]
        for text in (cell["source"], *texts_of(cell)):
            path = ABSOLUTE_PATH.search(text)
            if path:
                found.append(f"{where}: an absolute path, {text[path.start() : path.start() + 30]!r}")
    return found


def html_problems(data: dict) -> list[str]:
    """Return what is wrong with an HTML output: it must stand alone, and be readable without scripts."""
    if "text/html" not in data:
        return []
    page, plain, found = data["text/html"], data.get("text/plain", ""), []
    size = len(page.encode())
    if size > HTML_LIMIT:
        found.append(f"HTML of {size / 1000:.1f} kB, at most {HTML_LIMIT // 1000}")
    loads = LOADS.search(page)
    if loads:
        found.append(f"HTML that loads something, {page[loads.start() : loads.end() + 30]!r}")
    if not plain.strip() or re.match(r"<[\w.]+ object\b", plain):
        found.append("HTML without a plain text of its own: give its class a __repr__")
    if not WORDS_FOR_A_PICTURE.search(page):
        found.append("HTML without a table, an alt text or a label")
    return found


def images_in(cell: dict) -> int:
    """Return the number of images that a cell shows."""
    return sum("image/png" in output.get("data", {}) for output in cell.get("outputs", []))


def figure_problems(page: Page) -> list[str]:
    """Return the figures without alt text, caption or name, and the plots before which nothing is checked."""
    found, checked = [], False
    for cell in page.cells:
        where = f"{page.name}[{cell['id']}]"
        if cell["cell_type"] == "markdown":
            if re.search(r"(?m)^#{1,2} ", cell["source"]):
                checked = False
            if re.search(r"!\[\s*\]\(", cell["source"]):
                found.append(f"{where}: an image without alt text")
            continue
        asserts = any(isinstance(node, ast.Assert) for node in ast.walk(tree_of(cell) or ast.Module([], [])))
        checked = (
            checked
            or asserts
            or any(name == "claim" or name.startswith("assert_") for name, _ in calls_in(cell))
        )
        if (
            not checked
            and IGNORED in cell["metadata"].get("tags", [])
            and any("text/html" in output.get("data", {}) for output in cell["outputs"])
        ):
            found.append(f"{where}: nbval ignores this HTML, so an assert or a claim must stand before it")
        images = images_in(cell)
        if not images:
            continue
        if not checked:
            found.append(
                f"{where}: nbval ignores images, so an assert or a claim must stand before a section's plot"
            )
        if images > 1:
            found.append(f"{where}: {images} images in one cell, but one alt text and caption")
        shown = cell["metadata"].get("mystnb", {})
        for key, value in (
            ("image.alt", shown.get("image", {}).get("alt", "")),
            ("figure.caption", shown.get("figure", {}).get("caption", "")),
            ("figure.name", shown.get("figure", {}).get("name", "")),
        ):
            if not str(value).strip():
                found.append(f"{where}: a figure needs mystnb.{key}")
    return found


def prose_problems(page: Page) -> list[str]:
    """Return lines with two sentences, sentences over two lines, and words that say nothing."""
    found, before = [], ""
    for line in page.prose():
        text = line.plain.strip()
        found += word_problems(line.where, text)
        if text.startswith("|"):
            text = ""
        if two_sentences(text):
            found.append(f"{line.where}: one sentence per line: {text!r}")
        if re.search(r"[\w,]$", before) and re.match(r"[a-z]", text):
            found.append(f"{line.where}: a sentence must not go on in a second line: {text!r}")
        # A heading, an option or a one-word line is no sentence that could go on.
        before = "" if text.startswith(("#", ":")) else text
    for cell in page.cells:
        shown = cell["metadata"].get("mystnb", {})
        for text in (shown.get("image", {}).get("alt", ""), shown.get("figure", {}).get("caption", "")):
            found += word_problems(f"{page.name}[{cell['id']}] caption or alt text", text)
    return found


def word_problems(where: str, text: str) -> list[str]:
    """Return the filler words in a text."""
    return [f"{where}: the word {word!r} says nothing" for word in FORBIDDEN.findall(text)]


def two_sentences(text: str) -> bool:
    """Say whether a line holds an end of a sentence and the start of another."""
    text = re.sub(r"^(?:[-*+>]|\d+[.)]|#+)\s+", "", text)
    text = re.sub(r"^(\*{1,2})[^*]+\1\s+", "", text)  # a heading that runs into its paragraph
    for end in re.finditer(r"[.!?][)\]\"”’*_]*(?=\s+[(\[\"“‘*_]*[A-Z])", text):
        head = text[: end.start() + 1]
        if ABBREVIATIONS.search(head) or re.search(r"\b[A-Z]\.$", head) or head.endswith("…"):
            continue
        return True
    return False
