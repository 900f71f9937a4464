"""Read the book's MyST texts, and what they refer to: terms, citations, numbered things, claims.

Shared by what makes something else of the texts: slides (`slide_text.py`), Colab's copies (`plain_text.py`).
"""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import yaml
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from mdit_py_plugins.colon_fence import colon_fence_plugin
from mdit_py_plugins.dollarmath import dollarmath_plugin
from mdit_py_plugins.myst_blocks import myst_block_plugin
from mdit_py_plugins.myst_role import myst_role_plugin
from pybtex.database import Entry, parse_file

from attncourse.classroom.public_address import site_address

ROOT = Path(__file__).resolve().parents[1]
BOOK = ROOT / "book"
WITH_TARGET = re.compile(r"(.*?)\s*<([^>]*)>", re.DOTALL)
PRINTED_CLAIM = re.compile(r"^✓ ([a-z0-9][a-z0-9-]*)(?: \[S\d+[^\]]*\])? · ", re.MULTILINE)


class Label(NamedTuple):
    """What a text refers to by name: how the book shows it, and where it stands."""

    text: str
    page: str  # without suffix
    anchor: str


# --- the parser --------------------------------------------------------------------------------------


def myst_parser(renderer: type = RendererHTML) -> MarkdownIt:
    """Return a parser of the book's MyST."""
    return (
        MarkdownIt("commonmark", {"html": False}, renderer_cls=renderer)
        .enable("table")
        .use(dollarmath_plugin, allow_labels=True, double_inline=False)
        .use(colon_fence_plugin)
        .use(myst_role_plugin)
        .use(myst_block_plugin)
    )


def blocks_of(parser: MarkdownIt, source: str) -> Iterator[tuple[list[Token], str]]:
    """Yield the top-level blocks of a text: their tokens and their source."""
    lines, part = source.split("\n"), []
    for token in parser.parse(source):
        part.append(token)
        if token.level == 0 and token.nesting <= 0:
            begin, end = part[0].map
            yield part, "\n".join(lines[begin:end]).strip("\n")
            part = []


def is_directive(token: Token) -> bool:
    """Say whether a token is a directive."""
    return token.type in ("colon_fence", "fence") and token.info.startswith("{")


def directive_of(token: Token) -> tuple[str, str, dict[str, str], str]:
    """Return the name, argument, options and body of a directive."""
    name, _, argument = token.info.strip().partition("}")
    lines, options = token.content.split("\n"), {}
    while lines and (found := re.fullmatch(r":([\w-]+):\s*(.*)", lines[0])):
        options[found[1]] = found[2]
        lines.pop(0)
    return name.removeprefix("{"), argument.strip(), options, "\n".join(lines).strip("\n")


# --- what texts refer to -----------------------------------------------------------------------------


@cache
def glossary() -> Mapping[str, str]:
    """Return the definitions of the book's glossary by term, in small letters."""
    text = (BOOK / "glossary.md").read_text(encoding="utf-8")
    body = re.search(r"^```\{glossary\}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)[1]
    entries = re.findall(r"^(\S.*)\n((?:  .*\n)+)", body, re.MULTILINE)
    return {term.lower(): " ".join(words.split()) for term, words in entries}


@cache
def first_uses(book: Path = BOOK) -> Mapping[str, str]:
    """Return the notebook in which each term of the glossary is first linked, after the introduction."""
    found: dict[str, str] = {}
    for path in sorted(book.glob("[0-9][0-9]-*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"][1:]:
            source = "".join(cell["source"]) if cell["cell_type"] == "markdown" else ""
            for content in re.findall(r"\{term\}`([^`]+)`", source):
                explicit = WITH_TARGET.fullmatch(content)
                found.setdefault((explicit[2] if explicit else content).lower(), path.name)
    return found


@cache
def repository_url() -> str:
    """Return the repository's public address."""
    return yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["repository"]["url"]


def site() -> str:
    """Return the address of the book."""
    return site_address(repository_url())


def _surname(person) -> str:
    """Return the last name without TeX."""
    parts = (*person.rich_prelast_names, *person.rich_last_names)
    return " ".join(str(part.render_as("text")) for part in parts)


def _authors(entry: Entry) -> str:
    """Return the authors as a citation names them."""
    people = entry.persons.get("author") or entry.persons.get("editor") or []
    names = [_surname(person) for person in people]
    if not names:
        return entry.fields.get("title", entry.key).strip("{}")
    return names[0] if len(names) == 1 else " and ".join(names) if len(names) == 2 else f"{names[0]} et al."


@cache
def citations() -> Mapping[str, tuple[str, str]]:
    """Return authors and year of everything in the bibliography, by key."""
    entries = parse_file(str(BOOK / "references.bib")).entries
    return {key: (_authors(entry), entry.fields.get("year", "n.d.")) for key, entry in entries.items()}


def citation(role: str, content: str) -> str:
    """Return authors and years: in the text for ``cite:t``, else in brackets.

    Raises
    ------
    KeyError
        If the bibliography lacks one.
    """
    found = [citations()[key.strip()] for key in content.split(",")]
    if role == "cite:t":
        return ", ".join(f"{who} ({year})" for who, year in found)
    return f"({'; '.join(f'{who}, {year}' for who, year in found)})"


@cache
def labels(book: Path = BOOK) -> Mapping[str, Label]:
    """Return each labelled equation, figure and exercise, with the number or title that the book shows."""
    found: dict[str, Label] = {}
    for path in sorted(book.glob("[0-9][0-9]-*.ipynb")):
        chapter, n_equations, n_figures = int(path.name[:2]), 0, 0
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            source = "".join(cell["source"])
            names = [cell["metadata"].get("mystnb", {}).get("figure", {}).get("name")]
            if cell["cell_type"] == "markdown":
                names += re.findall(
                    r"^[:`]{3,}\{figure\}.*\n(?::\w+:.*\n)*?:name: (\S+)", source, re.MULTILINE
                )
                for label in re.findall(r"^\$\$ \(([\w-]+)\)$", source, re.MULTILINE):
                    n_equations += 1
                    found[label] = Label(f"({chapter}.{n_equations})", path.stem, f"equation-{label}")
                for title, label in re.findall(
                    r"^:{3,}\{exercise\} (.+)\n:label: (\S+)", source, re.MULTILINE
                ):
                    found[label] = Label(title, path.stem, label)
            for name in filter(None, names):
                n_figures += 1
                found[name] = Label(f"Figure {chapter}.{n_figures}", path.stem, name)
    return found


@cache
def claim_pages(book: Path = BOOK) -> Mapping[str, str]:
    """Return the page, without suffix, on which each claim is printed."""
    found: dict[str, str] = {}
    for path in sorted(book.glob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            for output in cell.get("outputs", []):
                for name in PRINTED_CLAIM.findall("".join(output.get("text", ""))):
                    found[name] = path.stem
    return found
