"""Labels and links: every target that the prose names exists. The build checks this too, minutes later."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import yaml

from tests.support.book import BOOK, Line, Page, Scanned, scan
from tests.support.claims import claims_of

TARGET = re.compile(r"\s*\(([\w:.-]+)\)=\s*")
EQUATION = re.compile(r"\$\$\s*\(([\w:.-]+)\)\s*$")
OPTION = re.compile(r"\s*:(?:name|label):\s*(\S+)\s*")
ROLE = re.compile(r"\{(ref|numref|eq|doc|term|cite(?::\w+)?|prf:ref|download)\}`([^`]+)`")
LINK = re.compile(r"(?<!\\)\[(?:[^\[\]]|\[[^\]]*\])*\]\(<?([^)\s>]+)>?[^)]*\)")
OUTSIDE = re.compile(r"^(?:[a-z][a-z0-9+.-]*:|//)", re.I)
GENERATED = {"genindex", "modindex", "search", "py-modindex"}


@dataclass
class Targets:
    """Everything that a link may point at."""

    labels: dict[str, str] = field(default_factory=dict)
    equations: set[str] = field(default_factory=set)
    anchors: dict[str, set[str]] = field(default_factory=dict)
    terms: set[str] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)


def slug(heading: str) -> str:
    """Return the anchor of a heading, as myst-parser makes it (GitHub's way)."""
    heading = re.sub(r"\{[\w:-]+\}`([^`]*)`", r"\1", heading)
    heading = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").replace("*", "")
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def collect(pages: list[Page], bibliography: str, book: Path = BOOK) -> Targets:
    """Collect labels, equations, headings, glossary terms and bibliography keys."""
    targets = Targets(keys=set(re.findall(r"@\w+\s*\{\s*([^,\s]+)\s*,", bibliography)))
    for page in pages:
        anchors = targets.anchors.setdefault(page.path.relative_to(book).as_posix(), set())
        for where, source in page.markdown:
            for line in scan(source):
                _collect_line(line, f"{where}:{line.number}", targets, anchors)
        for cell in page.code_cells:
            name = cell["metadata"].get("mystnb", {}).get("figure", {}).get("name")
            if name:
                _add(targets, name, f"{page.name}[{cell['id']}]")
        for one in claims_of(page):
            targets.labels.setdefault(f"claim-{one.id}", one.where)  # made by courseext
    return targets


def _collect_line(line: Scanned, where: str, targets: Targets, anchors: set[str]) -> None:
    """Collect what one line of Markdown defines."""
    if line.kind == "maths" and (found := EQUATION.search(line.text)):
        targets.equations.add(found[1])
        _add(targets, found[1], where)
    elif line.kind == "option" and (found := OPTION.fullmatch(line.text)):
        if line.directive == "math":
            targets.equations.add(found[1])
        _add(targets, found[1], where)
    elif line.kind == "prose":
        if found := TARGET.fullmatch(line.text):
            _add(targets, found[1], where)
        if found := re.fullmatch(r"#{1,6}\s+(.+?)\s*", line.text):
            anchors.add(slug(found[1]))
        if line.directive == "glossary" and re.match(r"\S", line.text):
            targets.terms.add(line.text.strip().lower())


def link_problems(page: Page, targets: Targets, book: Path = BOOK) -> list[str]:
    """Return the references and links of a page that lead nowhere."""
    found = []
    for where, source in page.markdown:
        for scanned in scan(source):
            found += _directive_problems(scanned, f"{where}:{scanned.number}", page, targets, book)
    for line in page.prose():
        text = line.without_code
        for role, content in ROLE.findall(text):
            explicit = re.fullmatch(r".*<([^>]+)>\s*", content, re.S)
            found += _role_problems(
                line, role, (explicit[1] if explicit else content).strip(), page, targets, book
            )
        for target in LINK.findall(text):
            if not OUTSIDE.match(target):
                found += _target_problems(line, unquote(target), page, targets, book)
    return found


def toc_problems(toc: str, pages: list[Page], book: Path = BOOK) -> list[str]:
    """Return the files that the table of contents names but that are missing, and the pages it forgets."""
    named = set()

    def walk(node: object) -> None:
        if isinstance(node, dict):
            named.update(node[key] for key in ("file", "root") if key in node)
            node = list(node.values())
        if isinstance(node, list):
            for part in node:
                walk(part)

    walk(yaml.safe_load(toc))
    there = {page.path.relative_to(book).with_suffix("").as_posix() for page in pages}
    listed = {name.removesuffix(".md").removesuffix(".ipynb") for name in named}
    return [f"_toc.yml names {name}, which is missing" for name in sorted(listed - there)] + [
        f"{name} is not in _toc.yml" for name in sorted(there - listed)
    ]


def _add(targets: Targets, name: str, where: str) -> None:
    """Add a label, which must be new."""
    if name in targets.labels:
        targets.problems.append(f"{where}: the label {name} already stands in {targets.labels[name]}")
    targets.labels.setdefault(name, where)


def _directive_problems(line: Scanned, where: str, page: Page, targets: Targets, book: Path) -> list[str]:
    """Return the problem of a directive whose argument is the label or the file that it belongs to."""
    found = re.fullmatch(r"\s*[`:]{3,}\{([\w-]+)\}\s*(\S*)\s*", line.text) if line.kind == "fence" else None
    if not found:
        return []
    directive, target = found.groups()
    if directive in {"solution", "solution-start"} and target not in targets.labels:
        return [f"{where}: a solution of no exercise: {target!r}"]
    if directive in {"figure", "image", "literalinclude", "include"}:
        base = book if target.startswith("/") else page.path.parent
        if not (base / target.lstrip("/")).is_file():
            return [f"{where}: no file {target!r}"]
    return []


def _role_problems(line: Line, role: str, name: str, page: Page, targets: Targets, book: Path) -> list[str]:
    """Return the problem of one role, if its target is missing."""
    if role.startswith("cite"):
        return [
            f"{line.where}: references.bib has no {key.strip()!r}"
            for key in name.split(",")
            if key.strip() not in targets.keys
        ]
    missing = False
    if role == "term":
        missing = name.lower() not in targets.terms
    elif role == "eq":
        missing = name not in targets.equations
    elif role in {"ref", "numref", "prf:ref"}:
        missing = name not in targets.labels and name not in GENERATED
    elif role == "doc":
        base = book if name.startswith("/") else page.path.parent
        file = base / name.lstrip("/")
        missing = not any(file.with_name(file.name + end).is_file() for end in ("", ".md", ".ipynb"))
    elif role == "download":
        missing = not (page.path.parent / name).is_file()
    return [f"{line.where}: {{{role}}} leads nowhere: {name!r}"] if missing else []


def _target_problems(line: Line, target: str, page: Page, targets: Targets, book: Path) -> list[str]:
    """Return the problem of one Markdown link inside the book, if its target is missing."""
    file, _, anchor = target.partition("#")
    path = page.path
    if file:
        path = (book / file.lstrip("/") if file.startswith("/") else page.path.parent / file).resolve()
        if not path.exists() and not path.with_name(path.name + ".md").exists():
            # `[text](label)` without a suffix is myst's short form of a reference
            return [] if file in targets.labels else [f"{line.where}: no file {file!r}"]
    if anchor and anchor not in targets.labels:
        try:
            known = targets.anchors.get(path.relative_to(book.resolve()).as_posix(), set())
        except ValueError:
            return []
        if anchor not in known:
            return [f"{line.where}: no heading or label {anchor!r} in {path.name}"]
    return []
