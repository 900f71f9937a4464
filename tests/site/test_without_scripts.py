"""A page without JavaScript can be read; an address without a page says where to go."""

import pytest
from site_browser import PHONE, View, new_context

from tests.support.book import none_of

pytestmark = pytest.mark.site
NARROW = View("light", *PHONE)
READABLE = """() => {
  const box = (e) => e.getBoundingClientRect();
  const article = document.querySelector("article.bd-article");
  if (!article) return ["no article"];
  const found = [];
  if (article.innerText.trim().length < 200) found.push("hardly any text");
  for (const e of article.querySelectorAll(".katex-html")) {
    if (e.checkVisibility() && !box(e).width) { found.push("a formula is not drawn"); break; }
  }
  for (const e of article.querySelectorAll("img")) {
    if (e.checkVisibility() && box(e).width < 10) found.push(`a figure is not drawn: ${e.alt.slice(0, 60)}`);
  }
  if (document.documentElement.scrollWidth > innerWidth) found.push("sideways scroll");
  return found;
}"""


@pytest.fixture(scope="module")
def page(browser):
    context = new_context(browser, NARROW, java_script_enabled=False)
    yield context.new_page()
    context.close()


def test_pages_can_be_read_without_scripts(site, page, count):
    names = [
        "index.html",
        *site.chapters,
        "glossary.html",
        "exercises.html",
        "exercises/focus-temperature-for.html",
    ]
    found = []
    for name in names:
        page.goto(site.address + name)
        found += [f"{name} without scripts: {problem}" for problem in page.evaluate(READABLE)]
        count("pages without scripts")
    none_of(found)


@pytest.mark.parametrize("address", ["no-such-page.html", "exercises/no/such/page.html"])
def test_a_wrong_address_gets_a_page_of_the_book(site, page, address):
    answer = page.goto(site.address + address)
    assert answer.status == 404
    assert page.locator("article.bd-article h1").is_visible()
    home = page.locator("article.bd-article a[href]").first
    assert home.is_visible()
    # the page has its style although the address is deep
    assert (
        page.evaluate("getComputedStyle(document.querySelector('article.bd-article h1')).fontSize") != "32px"
    )
    home.click()
    assert page.locator("article.bd-article h1").is_visible()
