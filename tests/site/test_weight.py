"""Pages are light enough for a slow line: what a phone loads with an empty cache."""

import statistics

import pytest
from site_browser import PHONE, View, new_context

from tests.site.conftest import WEIGHED
from tests.support.book import none_of

pytestmark = pytest.mark.site
NARROW = View("light", *PHONE)
HEAVIEST_MEDIAN, HEAVIEST = 500_000, 1_200_000  # bytes over the line


def weigh(browser, site, name: str) -> int:
    """Return the bytes that come over the line until a page that was opened rests."""
    context = new_context(browser, NARROW)
    page = context.new_page()
    devtools = context.new_cdp_session(page)
    devtools.send("Network.enable")
    sizes = []
    devtools.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    page.goto(site.address + name, wait_until="networkidle")
    context.close()
    return sum(sizes)


def test_pages_are_light(site, browser, record_property):
    chapters = {name: weigh(browser, site, name) for name in site.chapters}
    for name, size in chapters.items():
        record_property(WEIGHED, [name, size])
    others = [name for name in site.pages if name not in chapters and "/" not in name]
    sizes = chapters | {name: weigh(browser, site, name) for name in others}
    none_of([f"{name}: {size / 1000:.0f} kB" for name, size in sizes.items() if size > HEAVIEST])
    assert statistics.median(chapters.values()) <= HEAVIEST_MEDIAN
