"""The search field finds what readers look for."""

import pytest
from site_browser import DESKTOP, PHONE, View

from tests.site.visiting import visit

pytestmark = pytest.mark.site
FIRST = 3
# what is typed → one of these pages is among the first results
QUERIES = {
    "attention": "",
    "rotary": "06-self-attention-and-order.html",
    "beam search": "glossary.html",
    "scaled_dot_product_attention": "api-mechanism.html",
    "How cold must it be": "exercises/focus-temperature-for.html",
    "glossary": "glossary.html",
}


def results(page, selector):
    page.wait_for_selector(f"{selector} ul.search li a", timeout=10_000)
    page.wait_for_timeout(700)  # more results come in small portions
    links = page.locator(f"{selector} ul.search li > a").all()[:FIRST]
    return [link.evaluate("(a) => a.href") for link in links]


@pytest.mark.parametrize(("query", "wanted"), QUERIES.items(), ids=list(QUERIES))
@pytest.mark.parametrize("start", ["index.html", "exercises/focus-temperature-for.html"])
def test_the_search_dialog_finds_it(site, context_of, query, wanted, start, count):
    view = View("light", *DESKTOP)
    with visit(context_of(view), site.address, start, view) as seen:
        page = seen.page
        page.keyboard.press("Control+k")
        page.locator("#pst-search-dialog input[name=q]").press_sequentially(query, delay=5)
        found = results(page, "#pst-search-dialog")
        assert any(url.startswith(site.address + wanted) for url in found), f"{query!r} gives {found}"
        with page.expect_navigation():
            page.locator("#pst-search-dialog ul.search li > a").first.click()
        assert page.locator("article.bd-article h1").count()
    assert seen.problems == []
    count("searches")


@pytest.mark.parametrize("query", ["rotary", "How cold must it be"])
def test_the_search_page_finds_it(site, context_of, query, count):
    view = View("dark", *PHONE)
    with visit(context_of(view), site.address, f"search.html?q={query}", view) as seen:
        found = results(seen.page, "#search-results")
        assert any(url.startswith(site.address + QUERIES[query]) for url in found), f"{query!r} gives {found}"
    assert seen.problems == []
    count("searches")


def test_the_search_button_opens_the_dialog_on_a_phone(site, context_of):
    view = View("light", *PHONE)
    with visit(context_of(view), site.address, "index.html", view) as seen:
        seen.page.locator(".search-button__button:visible").first.click()
        assert seen.page.locator("#pst-search-dialog input[name=q]").is_visible()
