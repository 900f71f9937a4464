"""Keep the list of pages that were ever published, so that no address dies when a page moves.

Usage::

    python tools/published_pages.py write     add new pages to book/published-pages.txt
    python tools/published_pages.py check     list what is wrong; exit 1 if something is

A page that was published stays, or book/redirects.txt says where its readers go.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tools")]

from notebooks import write_atomically  # noqa: E402 (beside this file)

BOOK = ROOT / "book"
LIST = BOOK / "published-pages.txt"
REDIRECTS = BOOK / "redirects.txt"
HEAD = "# Every page that was ever published. tools/published_pages.py adds to it, nobody takes one out.\n"


def pages_of(node: object) -> Iterator[str]:
    """Yield the pages that a part of the table of contents names."""
    if isinstance(node, dict):
        yield from (node[key] for key in ("file", "root") if key in node)
        node = list(node.values())
    if isinstance(node, list):
        for part in node:
            yield from pages_of(part)


def current_pages() -> set[str]:
    """Return the pages of the book as it is now."""
    return set(pages_of(yaml.safe_load((BOOK / "_toc.yml").read_text(encoding="utf-8"))))


def lines_of(path: Path) -> list[str]:
    """Return the lines of a list, without remarks."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def problems(pages: set[str], published: list[str], redirects: list[str]) -> Iterator[str]:
    """Yield what would leave a reader in front of a closed door.

    Parameters
    ----------
    pages : set of str
        The pages of the book, without suffix.
    published : list of str
        Every page that was ever published.
    redirects : list of str
        Lines ``old new``.
    """
    sources = set()
    for line in redirects:
        if len(parts := line.split()) != 2:
            yield f"redirects.txt: a line must be an old and a new address, got {line!r}"
            continue
        old, new = parts
        if old in sources:
            yield f"redirects.txt: {old} leads to two places"
        if old in pages:
            yield f"redirects.txt: {old} is a page, and cannot lead elsewhere"
        if new not in pages:
            yield f"redirects.txt: {old} leads to {new}, which is no page"
        sources.add(old)
    for page in published:
        if page not in pages | sources:
            yield f"{page} was published and is gone: say in redirects.txt where its readers go"
    for page in sorted(pages - set(published)):
        yield f"{page} is not in {LIST.name}: run python tools/published_pages.py write"


def main(arguments: list[str] | None = None) -> int:
    """Write or check the list; return the exit status."""
    parser = argparse.ArgumentParser(description="Keep the list of pages that were ever published.")
    parser.add_argument("action", choices=("write", "check"))
    action = parser.parse_args(arguments).action
    pages, published = current_pages(), lines_of(LIST)
    if action == "write":
        published = sorted(pages | set(published))
        write_atomically(LIST, HEAD + "\n".join(published) + "\n")
    found = list(problems(pages, published, lines_of(REDIRECTS)))
    print(*found, sep="\n", end="\n" if found else "", file=sys.stderr)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
