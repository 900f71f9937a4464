"""Links, anchors and sources of a built site, from its files: does each lead somewhere?"""

import re
from functools import cached_property
from html.parser import HTMLParser
from pathlib import Path
from posixpath import dirname, join, normpath
from urllib.parse import unquote, urlsplit

from site_server import BASE, html_pages

REPOSITORY = Path(__file__).resolve().parents[2]
# The workflow publishes these beside the site.
PUBLISHED = {"attention-step-by-step.pdf", "attention-step-by-step.zip"}
LINKS = {"href", "src", "poster", "data", "action"}
REFRESH = re.compile(r"\d+\s*;\s*url=(.*)", re.IGNORECASE)


class _Reader(HTMLParser):
    """Collect what a page can be linked to by, and what it links to."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.ids: dict[str, int] = {}
        self.doubles: list[tuple[int, str]] = []
        self.links: list[tuple[int, str, str]] = []
        self.canonical = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Look at one element."""
        line = self.getpos()[0]
        given = {name: value or "" for name, value in attrs}
        if "id" in given:
            if given["id"] in self.ids:
                self.doubles.append((line, given["id"]))
            self.ids[given["id"]] = line
        if tag == "a" and "name" in given:
            self.ids.setdefault(given["name"], line)
        self.links += [(line, tag, value) for name, value in given.items() if name in LINKS]
        if tag == "meta" and given.get("http-equiv", "").lower() == "refresh":
            self.links += [(line, tag, found) for found in REFRESH.findall(given.get("content", ""))]
        if tag == "link" and given.get("rel") == "canonical":
            self.canonical = given["href"]


def read(path: Path) -> _Reader:
    """Read one page."""
    reader = _Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    reader.close()
    return reader


class Addresses:
    """All addresses of a built site."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._pages: dict[str, _Reader] = {}

    @cached_property
    def names(self) -> list[str]:
        """Every HTML file, redirects too."""
        return html_pages(self.root)

    def page(self, name: str) -> _Reader:
        """Return what a page holds; it is read once."""
        if name not in self._pages:
            self._pages[name] = read(self.root / name)
        return self._pages[name]

    @cached_property
    def public(self) -> str:
        """The site's public address, from the landing page."""
        return self.page("index.html").canonical.removesuffix("index.html")

    @cached_property
    def tree(self) -> re.Pattern[str]:
        """The addresses of files of the repository."""
        config = (REPOSITORY / "_config.yml").read_text(encoding="utf-8")
        repository = re.search(r"^  url: (\S+)$", config, re.MULTILINE)[1]
        return re.compile(rf"{re.escape(repository)}/(?:blob|tree|edit|raw)/main/([^?#]*)")

    def problems(self, name: str, url: str) -> list[str]:
        """Return what is wrong with an address that stands on a page: one text, or none."""
        if self.public and url.startswith(self.public):
            url = BASE + url.removeprefix(self.public)
            if url.removeprefix(BASE) in PUBLISHED:
                return []
        in_tree = self.tree.match(url)
        if in_tree:
            missing = not (REPOSITORY / unquote(in_tree[1])).exists()
            return [f"the repository has no {in_tree[1]}"] if missing else []
        parts = urlsplit(url)
        if parts.scheme in ("http", "https", "mailto", "data", "blob"):
            return []
        if parts.scheme or parts.netloc:
            return [f"an address of an unknown kind: {url[:80]}"]
        if parts.path.startswith("/") and not parts.path.startswith(BASE):
            return [f"leads out of the site: {url[:80]}"]
        return self._inside(name, unquote(parts.path), unquote(parts.fragment), url)

    def _inside(self, name: str, path: str, anchor: str, url: str) -> list[str]:
        """Return what is wrong with an address inside the site."""
        target = name
        if path:
            target = path.removeprefix(BASE) if path.startswith(BASE) else normpath(join(dirname(name), path))
            target = join(target, "index.html") if path.endswith("/") else target or "index.html"
            target = target.removeprefix("./")
        if not (self.root / target).is_file():
            return [f"dead link {url}"]
        if anchor and target.endswith(".html") and anchor != "top" and anchor not in self.page(target).ids:
            return [f"dead anchor {url}"]
        return []
