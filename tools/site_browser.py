"""Find a browser, and say in which views the book is looked at."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Playwright, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
HOW_TO_GET_ONE = (
    "There is no browser to look at the book with. "
    "Debian and Ubuntu: apt install chromium. Anywhere: python -m playwright install chromium. "
    "Or set COURSE_BROWSER to the path of a Chromium or Chrome."
)
# No sandbox: the only pages are our own, and in a container it cannot start. No name is ever looked up, so
# that nothing can come from another host.
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--force-color-profile=srgb",
         "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]  # fmt: skip


# What is far below is laid out after the rest, and its pictures load only when a reader comes near.
LOAD_WHOLE = """async () => {
  const asked = document.querySelector('script[src*="course.js"]');
  const late = () => asked && !document.querySelector("html.laid-out");
  for (let n = 0; late(); n += 1) {
    if (n === 500) throw new Error("course.js has not laid out the whole page within 10 seconds");
    await new Promise((go) => { setTimeout(go, 20); });
  }
  const wait = (img) => img.complete || new Promise((go) => { img.onload = img.onerror = go; });
  const pictures = [...document.images].filter((img) => img.checkVisibility());
  pictures.forEach((img) => { img.loading = "eager"; });
  await Promise.all(pictures.map(wait));
}"""


class NoBrowserError(RuntimeError):
    """No browser was found; the text says how to get one."""


@dataclass(frozen=True)
class View:
    """One way in which readers see the book: colours and the size of the window in CSS pixels."""

    scheme: str
    width: int
    height: int

    @property
    def name(self) -> str:
        """Such as ``dark-390``."""
        return f"{self.scheme}-{self.width}"


DESKTOP, PHONE = (1280, 900), (390, 844)
VIEWS = tuple(View(scheme, *size) for size in (DESKTOP, PHONE) for scheme in ("light", "dark"))


def find_browser(playwright: Playwright) -> str:
    """Return the path of a browser: the one of COURSE_BROWSER, an installed one, or Playwright's own.

    Raises
    ------
    NoBrowserError
        If there is none.
    """
    chosen = os.environ.get("COURSE_BROWSER")
    if chosen:
        path = shutil.which(chosen)
        if path is None:
            raise NoBrowserError(f"COURSE_BROWSER={chosen} is no program. {HOW_TO_GET_ONE}")
        return path
    for name in NAMES:
        path = shutil.which(name)
        if path is not None:
            return path
    own = playwright.chromium.executable_path
    if not Path(own).is_file():
        raise NoBrowserError(HOW_TO_GET_ONE)
    return own


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Run a browser without a window while the context lasts.

    Yields
    ------
    Browser
        Playwright's.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(playwright), args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


def new_context(browser: Browser, view: View, **options: object) -> BrowserContext:
    """Return a fresh context, with an empty cache, that sees pages in one view.

    Parameters
    ----------
    browser : Browser
        A running browser.
    view : View
        Colours and size.
    **options
        For ``Browser.new_context``, such as ``has_touch=True``.
    """
    size = {"width": view.width, "height": view.height}
    return browser.new_context(viewport=size, color_scheme=view.scheme, **options)
