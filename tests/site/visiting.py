"""Open a page of the built book in a browser, and collect what it complains about and asks for."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import axe_playwright_python
from playwright.sync_api import BrowserContext, Page
from site_browser import LOAD_WHOLE, View
from site_server import html_pages

AXE = Path(axe_playwright_python.__file__).with_name("axe.min.js").read_text(encoding="utf-8")
LOOK = Path(__file__).with_name("look.js").read_text(encoding="utf-8")
# Fonts are there, and two frames have been drawn.
SETTLED = """async () => {
  await document.fonts.ready;
  await new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(go)));
}"""
# course.js has let everything that is far below be laid out.
LAID_OUT = "document.documentElement.classList.contains('laid-out')"
STILL = "*, ::before, ::after { transition: none !important; animation: none !important; }"
REDIRECT = re.compile(r"""<meta[^>]+http-equiv=["']?refresh""", re.IGNORECASE)


@dataclass(frozen=True)
class Site:
    """A built book, and where it is served."""

    root: Path
    address: str

    @property
    def pages(self) -> list[str]:
        """The pages that people read."""
        return [name for name in html_pages(self.root) if not is_redirect(self.root / name)]

    @property
    def chapters(self) -> list[str]:
        """The pages of the chapters, in order."""
        return chapters_of(self.pages)

    def text(self, name: str) -> str:
        """Return the HTML of a page."""
        return (self.root / name).read_text(encoding="utf-8")


def chapters_of(names: list[str]) -> list[str]:
    """Return the pages that are chapters."""
    return [name for name in names if re.match(r"\d\d-[\w-]+\.html$", name)]


def is_redirect(path: Path) -> bool:
    """Say whether a page only leads to another one."""
    with path.open(encoding="utf-8") as file:
        return REDIRECT.search(file.read(2000)) is not None


@dataclass
class Visit:
    """An open page; ``problems`` grows while it is used."""

    page: Page
    name: str
    view: View
    problems: list[str] = field(default_factory=list)

    def where(self) -> str:
        """Return what every problem begins with."""
        return f"{self.name} {self.view.name}"

    def say(self, problems: list[str]) -> None:
        """Add problems that were found in the present view."""
        lines = (f"{self.where()}: {problem}" for problem in problems)
        self.problems += [line for line in lines if line not in self.problems]

    def ask(self, question: str, argument: object = None) -> object:
        """Evaluate JavaScript in which ``look`` stands for the functions of look.js."""
        self.page.evaluate(LOOK)
        return self.page.evaluate(
            f"(argument) => {{ const look = window.courseLook; return {question}; }}", argument
        )

    def recolour(self, scheme: str) -> None:
        """Go over to the other colours, as the reader's system does at dusk."""
        self.view = View(scheme, self.view.width, self.view.height)
        self.page.emulate_media(color_scheme=scheme)
        self.page.wait_for_function(
            "(scheme) => document.documentElement.dataset.theme === scheme", arg=scheme
        )

    def accessibility(self, rules: str) -> None:
        """Add what axe finds: ``rules`` is "structure" or "contrast"."""
        self.page.evaluate(AXE)
        self.say(self.ask(f"look.{rules}()"))


@contextmanager
def visit(
    context: BrowserContext, address: str, name: str, view: View, *, far: bool = True
) -> Iterator[Visit]:
    """Open a page while the context lasts, and listen to it; ``far`` = with the pictures far below."""
    page = context.new_page()
    seen = Visit(page, name, view)
    origin = "{0.scheme}://{0.netloc}".format(urlsplit(address))

    def requested(request):
        if not request.url.startswith((origin, "data:", "blob:")):
            seen.say([f"asks another host: {request.url[:150]}"])

    page.on(
        "console",
        lambda m: m.type in ("error", "warning") and seen.say([f"console {m.type}: {m.text[:200]}"]),
    )
    page.on("pageerror", lambda error: seen.say([f"JavaScript error: {error.message[:200]}"]))
    page.on("request", requested)
    page.on("response", lambda r: r.status >= 400 and seen.say([f"status {r.status}: {r.url[:150]}"]))
    try:
        page.goto(address + name, wait_until="load")
        page.evaluate(LOAD_WHOLE)
        page.evaluate(SETTLED)
        page.add_style_tag(content=STILL)
        yield seen
    finally:
        page.close()
