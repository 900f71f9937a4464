"""Claims: what cells printed, and whether the prose beside them says the same."""

import ast
import re
from dataclasses import dataclass

from notebooks import IGNORED

from tests.support.book import Line, Page, calls_in, stdout_of

SOURCES = {f"S{number:02d}" for number in range(1, 39)}
NUMBER = r"[-+]?[\d.]+(?:e[-+]?\d+)?"
BOUND = rf"(?:at least|at most) {NUMBER}|near {NUMBER} \(within {NUMBER}\)"
CLAIM = re.compile(
    rf"✓ (?P<id>\d\d-[a-z0-9-]+)(?: \[(?P<source>S\d\d) (?P<verdict>holds with conditions|holds|false)\])?"
    rf" · (?P<text>.+): (?P<bound>{BOUND})"
)
ROLE = re.compile(r"\{claim\}`([^`]*)`")


@dataclass(frozen=True)
class Claim:
    """A line that ``claim`` printed."""

    id: str
    source: str | None
    verdict: str | None
    text: str
    bound: str
    where: str


def claims_of(page: Page) -> list[Claim]:
    """Return the claims that a page's cells printed."""
    return [
        Claim(where=f"{page.name}[{cell['id']}]", **found.groupdict())
        for cell in page.code_cells
        for line in stdout_of(cell).splitlines()
        if (found := CLAIM.fullmatch(line))
    ]


def claim_problems(page: Page) -> list[str]:
    """Return what is wrong with the claims of one notebook, apart from the rest of the book."""
    found = []
    claims = claims_of(page)
    if page.chapter is not None and not claims:
        found.append(f"{page.name}: a chapter without a claim")
    for one in claims:
        if page.chapter is not None and int(one.id[:2]) != page.chapter:
            found.append(f"{one.where}: the claim {one.id} must start with {page.chapter:02d}-")
        if one.source is not None and one.source not in SOURCES:
            found.append(f"{one.where}: the sources make no claim {one.source}")
    printed = {one.id for one in claims}
    for cell in page.code_cells:
        where = f"{page.name}[{cell['id']}]"
        for line in stdout_of(cell).splitlines():
            if line.startswith("✓") and not CLAIM.fullmatch(line):
                found.append(f"{where}: a line that looks like a claim and is none: {line!r}")
        for name, call in calls_in(cell):
            if name != "claim":
                continue
            if IGNORED in cell["metadata"].get("tags", []):
                found.append(f"{where}: nobody compares the output of this cell; move the claim out of it")
            keys = {word.arg for word in call.keywords}
            if ("source" in keys) != ("verdict" in keys):
                found.append(f"{where}: a claim about a source needs source and verdict")
            first = call.args[0] if call.args else None
            if isinstance(first, ast.Constant) and first.value not in printed:
                found.append(f"{where}: the claim {first.value} is called but not printed")
    return found


def book_claim_problems(pages: list[Page]) -> list[str]:
    """Return the claims that are printed twice, and the prose that does not say what its claim says."""
    found, known = [], {}
    for page in pages:
        for one in claims_of(page):
            if one.id in known:
                found.append(f"{one.where}: the claim {one.id} is already printed by {known[one.id].where}")
            known.setdefault(one.id, one)
    for page in pages:
        for line in page.prose():
            found += quote_problems(line, known)
    return found


def quote_problems(line: Line, known: dict[str, Claim]) -> list[str]:
    """Return what is wrong with the claims that one line of prose refers to."""
    found = []
    text = line.without_code
    for name in ROLE.findall(text):
        if name not in known:
            found.append(f"{line.where}: no cell prints the claim {name!r}")
        elif not quotes(text, known[name].bound):
            found.append(
                f"{line.where}: the sentence must say {known[name].bound!r}, as the claim {name} does"
            )
    return found


def quotes(text: str, bound: str) -> bool:
    """Say whether a text holds a bound, and not merely one that starts with the same digits."""
    return re.search(rf"(?<![\w]){re.escape(bound)}(?![\de]|\.\d)", text) is not None
