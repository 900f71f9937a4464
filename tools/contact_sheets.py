r"""Write contact sheets of the whole book for people to look at: every page in four views.

Run ``make contact``, or for another built site and fewer pages::

    python tools/contact_sheets.py --site /tmp/trial/_build/html --out /tmp/contact \
        --pages '0[1-4]-*' --views dark-390

A page is cut into strips from top to bottom; the strips of all pages stand side by side on the sheets, each
under its page's name and its place on the page. ``index.txt`` says which pages are on which sheet.
"""

import argparse
import fnmatch
import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from playwright.sync_api import BrowserContext
from site_browser import LOAD_WHOLE, VIEWS, View, new_context, open_browser
from site_server import html_pages, serve

ROOT = Path(__file__).resolve().parents[1]
SHEET = (1960, 1960)  # pixels; larger pictures are scaled down by most viewers
LABEL = 22
GAP = 12
# How much a page is scaled, so that its smallest text stays legible.
SCALE = {1280: 0.66, 390: 0.8}
MARK = (0, 90, 200)
TRIES = 4  # at a strip that comes out blank
FOOT = 300  # CSS pixels; what is left of a page below its text may be blank
OVERLAP = 90  # CSS pixels of a strip that come again: the bar at the top of the window hides them
# Positions are read after two frames: the first lays out what came into the window.
SCROLL = """async (top) => {
  scrollTo({top, behavior: "instant"});
  const frame = () => new Promise((go) => { requestAnimationFrame(go); });
  await frame();
  await frame();
}"""
ARTICLE_EDGES = """() => {
  const box = document.querySelector(".bd-article-container")?.getBoundingClientRect();
  return box && [Math.max(0, box.left - 24), Math.min(innerWidth, box.right + 24)];
}"""


@dataclass(frozen=True)
class Strip:
    """A part of a page as a picture, and what stands above it."""

    label: str
    picture: Image.Image


def strip_height(view: View, zoom: float) -> int:
    """Return how many CSS pixels of a page fill a sheet from top to bottom."""
    return int((SHEET[1] - LABEL) / (SCALE[view.width] * zoom))


def strips_of(
    context: BrowserContext, address: str, page_name: str, view: View, zoom: float, cap: int
) -> Iterator[Strip]:
    """Yield a page from top to bottom in parts that fit a sheet.

    Parameters
    ----------
    context : BrowserContext
        Sees pages in one view.
    address : str
        The address of the site.
    page_name : str
        The page's path below it.
    view : View
        The view of the context.
    zoom : float
        1 = as in ``SCALE``.
    cap : int
        How many CSS pixels of a page are shown at most; 0 = all.

    Raises
    ------
    RuntimeError
        If a strip stays blank.
    """
    height_of_strip = strip_height(view, zoom)
    page = context.new_page()
    page.goto(address + page_name, wait_until="networkidle")
    page.evaluate(LOAD_WHOLE)
    height = page.evaluate("document.documentElement.scrollHeight")
    shown = min(height, cap) if cap else height
    # Below the first strip the columns beside the article are empty.
    edges = page.evaluate(ARTICLE_EDGES)
    top = 0
    while top < shown:
        page.evaluate(SCROLL, top)
        # the end of a page stands at the bottom of the window
        start = page.evaluate("scrollY")
        left, right = edges if top and edges else (0, view.width)
        for _ in range(TRIES):
            seen = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
            scale = seen.width / view.width
            bottom = min(start + height_of_strip, height)
            box = (left, top - start, right, bottom - start)
            picture = seen.crop(tuple(round(edge * scale) for edge in box))
            if picture.getcolors(1) is None or bottom - top < FOOT:
                break
            page.wait_for_timeout(300)
        else:
            raise RuntimeError(f"{page_name} {view.name}: nothing was drawn from {top} to {bottom} px")
        cut = " CUT" if bottom >= shown < height else ""
        yield Strip(f"{page_name} {view.name} {top} to {bottom} of {height} px{cut}", picture)
        top = bottom - (OVERLAP if bottom < height else 0)
    page.close()


def sheets_of(strips: Iterator[Strip]) -> Iterator[tuple[Image.Image, list[str]]]:
    """Lay strips side by side, and short ones below each other, and yield full sheets with their labels."""
    font = ImageFont.load_default(15)
    sheet, pen, labels = None, None, []
    x = y = column = 0
    for strip in strips:
        width, height = strip.picture.size
        if y and (y + LABEL + height > SHEET[1] or width > column):
            x, y, column = x + column + GAP, 0, 0
        if sheet is not None and x + width > SHEET[0]:
            yield sheet, labels
            sheet = None
        if sheet is None:
            sheet, labels, x, y, column = Image.new("RGB", SHEET, "white"), [], 0, 0, 0
            pen = ImageDraw.Draw(sheet)
        text = strip.label
        while pen.textlength(text, font=font) > width and len(text) > 8:
            text = text[1:]
        pen.text((x + 2, y + 1), text, fill=MARK, font=font)
        sheet.paste(strip.picture, (x, y + LABEL))
        pen.rectangle((x, y + LABEL, x + width - 1, y + LABEL + height - 1), outline=MARK)
        labels.append(strip.label)
        column = max(column, width)
        y += LABEL + height + GAP
    if sheet is not None:
        yield sheet, labels


def write(site: Path, out: Path, patterns: list[str], views: list[View], zoom: float, cap: int) -> int:
    """Write the sheets of a site and their index, and return how many there are.

    Parameters
    ----------
    site : Path
        The built site.
    out : Path
        Where the sheets go.
    patterns : list of str
        Which pages, as shell patterns of their paths without ``.html``.
    views : list of View
        How the pages are seen.
    zoom : float
        1 = as in ``SCALE``.
    cap : int
        How many CSS pixels of a page are shown at most; 0 = all.
    """
    pages = [
        page
        for page in html_pages(site)
        if any(fnmatch.fnmatch(page.removesuffix(".html"), pattern) for pattern in patterns)
    ]
    out.mkdir(parents=True, exist_ok=True)
    index = []
    with serve(site) as address, open_browser() as browser:
        for view in views:
            # A window as tall as a strip. The browser scales: crisper than scaling its picture.
            tall = replace(view, height=strip_height(view, zoom))
            context = new_context(
                browser, tall, device_scale_factor=SCALE[view.width] * zoom, reduced_motion="reduce"
            )
            strips = (strip for page in pages for strip in strips_of(context, address, page, view, zoom, cap))
            for number, (sheet, labels) in enumerate(sheets_of(strips), start=1):
                name = f"{view.name}-{number:03}.png"
                sheet.save(out / name)
                index += [f"{name}  {label}" for label in labels]
            context.close()
    (out / "index.txt").write_text("\n".join(index) + "\n", encoding="utf-8")
    return len({line.split()[0] for line in index})


def main() -> None:
    """Read the command line and write the sheets."""
    names = {view.name: view for view in VIEWS}
    parser = argparse.ArgumentParser(description="Write contact sheets of the built book.")
    parser.add_argument("--site", type=Path, default=ROOT / "_build" / "html", help="the built site")
    parser.add_argument("--out", type=Path, default=ROOT / "_build" / "contact", help="where the sheets go")
    parser.add_argument("--pages", nargs="+", default=["*"], help="shell patterns of pages, without .html")
    parser.add_argument("--views", nargs="+", choices=names, default=list(names))
    parser.add_argument("--zoom", type=float, default=1, help="larger or smaller than usual")
    parser.add_argument("--cap", type=int, default=0, help="CSS pixels of a page that are shown; 0 = all")
    given = parser.parse_args()
    if not (given.site / "index.html").is_file():
        parser.error(f"there is no site in {given.site}: run make book first")
    views = [names[name] for name in given.views]
    count = write(given.site, given.out, given.pages, views, given.zoom, given.cap)
    print(f"{count} sheets in {given.out}")


if __name__ == "__main__":
    main()
