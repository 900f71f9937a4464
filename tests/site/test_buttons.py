"""Copy buttons copy the code; launch buttons lead to files that exist."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from site_browser import DESKTOP, View, new_context

from tests.site.visiting import visit
from tests.support.book import none_of

pytestmark = pytest.mark.site
ROOT = Path(__file__).resolve().parents[2]
WIDE = View("light", *DESKTOP)
PROMPT = re.compile(r"^(>>> |\$ )")
BINDER = re.compile(r'href="https://mybinder\.org/v2/gh/([^"]+)/main\?urlpath=lab/tree/([^"]+)"')
COLAB = re.compile(r'href="https://colab\.research\.google\.com/github/([^"]+?)/blob/([^"/]+)/([^"]+)"')
PAGES_TO_COPY_FROM = ["index.html", "04-scaled-dot-product-attention.html", "api-shared.html", "grading.html"]


def without_prompts(text: str) -> str:
    """Return what a reader wants to run: the lines with a prompt, without it, if there are any."""
    lines = text.removesuffix("\n").split("\n")
    if any(PROMPT.match(line) for line in lines):
        lines = [PROMPT.sub("", line) for line in lines if PROMPT.match(line) or not line.strip()]
    return "\n".join(lines)


@pytest.mark.parametrize("name", PAGES_TO_COPY_FROM)
def test_what_is_copied_is_the_code(site, browser, name, count):
    context = new_context(browser, WIDE, permissions=["clipboard-read", "clipboard-write"])
    with visit(context, site.address, name, WIDE) as seen:
        blocks = seen.page.locator("div.highlight:has(button.copybtn)").all()
        blocks = [block for block in blocks if block.is_visible()]  # the others are folded
        prompted = [
            block for block in blocks if re.search(r"(?m)^(>>> |\$ )", block.locator("pre").inner_text())
        ]
        chosen = [*prompted, *blocks[:3], *blocks[-1:]]
        for block in chosen:
            code = block.locator("pre").inner_text()
            block.scroll_into_view_if_needed()
            block.hover()
            block.locator("button.copybtn").click()
            copied = seen.page.evaluate("navigator.clipboard.readText()")
            if copied != without_prompts(code):
                seen.say([f"copied {copied[:60]!r} of the code {code[:60]!r}"])
            count("code copied")
    context.close()
    none_of(seen.problems)


def binder_problems(name: str, text: str) -> list[str]:
    """Return what is wrong with the Binder links of a page."""
    found = []
    for _, path in BINDER.findall(text):
        file = ROOT / unquote(path)
        if "_notebooks" in path:  # made from the exercise's text
            file = file.parents[1] / f"{file.stem}.md"
        if not file.is_file():
            found.append(f"{name}: Binder would open {path}, which is missing")
    return found


def colab_problems(name: str, text: str) -> list[str]:
    """Return what is wrong with the Colab links of a page."""
    found = []
    for _, branch, path in COLAB.findall(text):
        source = ROOT / "book" / unquote(path)
        if branch != "colab":
            found.append(f"{name}: Colab would open the branch {branch}, not the reading copies")
        elif not (source.is_file() or source.with_suffix(".md").is_file()):
            found.append(f"{name}: Colab would open {path}, which is made of no chapter or exercise")
    return found


def test_launch_buttons_lead_to_notebooks(site, count):
    found = []
    for name in site.pages:
        text = site.text(name)
        found += binder_problems(name, text) + colab_problems(name, text)
        count("launch links", len(BINDER.findall(text)) + len(COLAB.findall(text)))
    for name in site.chapters:
        stem, text = name.removesuffix(".html"), site.text(name)
        if f"book/{stem}.ipynb" not in {path for _, path in BINDER.findall(text)}:
            found.append(f"{name}: no button to this chapter in Binder")
        if f"{stem}.ipynb" not in {path for _, _, path in COLAB.findall(text)}:
            found.append(f"{name}: no button to this chapter in Colab")
    none_of(found)
