"""The built book, a browser, and the table of what was looked at."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext
from site_browser import NoBrowserError, View, new_context, open_browser
from site_server import html_pages, serve

from tests.site.visiting import Site, chapters_of, is_redirect

ROOT = Path(__file__).resolve().parents[2]
# COURSE_SITE names another build, such as a trial.
BUILT = Path(os.environ.get("COURSE_SITE", ROOT / "_build" / "html"))
COUNTED, WEIGHED = "site count", "page weight"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test once for every page (``page_name``) or every chapter (``chapter``) of the built book."""
    names = [name for name in html_pages(BUILT) if not is_redirect(BUILT / name)] if BUILT.is_dir() else []
    if "page_name" in metafunc.fixturenames:
        # large pages first, so that the workers finish together
        metafunc.parametrize("page_name", sorted(names, key=lambda name: -(BUILT / name).stat().st_size))
    if "chapter" in metafunc.fixturenames:
        metafunc.parametrize("chapter", chapters_of(names))


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    if not (BUILT / "index.html").is_file():
        pytest.fail(f"there is no site in {BUILT}: run make book first", pytrace=False)
    with serve(BUILT) as address:
        yield Site(BUILT.resolve(), address)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    try:
        with open_browser() as browser:
            yield browser
    except NoBrowserError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def context_of(browser: Browser) -> Iterator[Callable[[View], BrowserContext]]:
    """Return a context for a view, the same one every time: its cache saves most of the loading."""
    contexts: dict[View, BrowserContext] = {}

    def context(view: View) -> BrowserContext:
        if view not in contexts:
            contexts[view] = new_context(browser, view)
        return contexts[view]

    yield context
    for one in contexts.values():
        one.close()


@pytest.fixture
def count(record_property: Callable[[str, object], None]) -> Callable[[str, int], None]:
    """Return a function that counts what was looked at; the sums are printed after the tests."""
    return lambda what, number=1: record_property(COUNTED, [what, number])


def pytest_terminal_summary(terminalreporter) -> None:
    """Print how much was looked at, and what the chapters weigh."""
    counts, weights = Counter(), {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            # the report on a test's end carries the same properties once more
            if getattr(report, "when", None) != "call":
                continue
            for key, value in report.user_properties:
                if key == COUNTED:
                    counts[value[0]] += value[1]
                if key == WEIGHED:
                    weights[value[0]] = value[1]
    if weights:
        terminalreporter.section("compressed size of the chapters on a phone, empty cache")
        for name, size in sorted(weights.items()):
            terminalreporter.write_line(f"{size / 1000:7.0f} kB  {name}")
    if counts:
        terminalreporter.section("looked at")
        terminalreporter.write_line(", ".join(f"{number} {what}" for what, number in sorted(counts.items())))
