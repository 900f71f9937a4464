"""What is far below is laid out later; whoever asks for it is led to it all the same."""

import pytest
from site_browser import DESKTOP, PHONE, View

from tests.site.visiting import LAID_OUT, visit
from tests.support.book import none_of

pytestmark = pytest.mark.site
# from the edge of the window: below the header, and not in its lower half
PLACE = "(id) => document.getElementById(id).getBoundingClientRect().top / innerHeight"
IDS = """[...document.querySelectorAll(".bd-article section[id], .bd-article pre.claim[id]")]
  .filter((e) => !e.closest("details:not([open])")).map((e) => e.id)"""


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_an_address_with_a_place_leads_there(site, context_of, size, count):
    view, problems = View("light", *size), []
    for name in site.chapters:
        with visit(context_of(view), site.address, name, view) as seen:
            ids = seen.page.evaluate(IDS)
        for place in (ids[len(ids) // 3], ids[2 * len(ids) // 3]):
            with visit(context_of(view), site.address, f"{name}#{place}", view) as seen:
                if not -0.01 <= seen.page.evaluate(PLACE, place) < 0.5:
                    seen.say([f"shows {seen.page.evaluate(PLACE, place):.1f} windows away from it"])
            problems += seen.problems
            count("places on pages")
    none_of(problems)


def test_a_link_on_a_page_that_is_not_laid_out_yet_leads_there(site, context_of):
    view = View("light", *PHONE)
    context = context_of(view)
    page = context.new_page()
    page.add_init_script("window.requestIdleCallback = () => {}")  # the browser is never idle
    page.goto(site.address + site.chapters[5])
    assert not page.evaluate(LAID_OUT)
    skipped = "(e) => !e.firstElementChild.checkVisibility({ contentVisibilityAuto: true })"
    last = page.locator(".bd-article > section > section[id]").last
    assert last.evaluate(skipped)
    name = last.get_attribute("id")
    page.evaluate("(id) => { location.hash = id; }", name)
    page.wait_for_function(LAID_OUT)
    assert not last.evaluate(skipped)
    assert -0.01 <= page.evaluate(PLACE, name) < 0.5
    page.close()


def test_a_page_that_is_loaded_again_shows_the_same_place(site, context_of):
    view = View("light", *DESKTOP)
    with visit(context_of(view), site.address, site.chapters[2], view) as seen:
        seen.page.evaluate("scrollTo(0, document.documentElement.scrollHeight / 2)")
        before = seen.page.evaluate("scrollY")
        seen.page.reload(wait_until="load")
        seen.page.wait_for_function(LAID_OUT)
        seen.page.wait_for_function("(y) => Math.abs(scrollY - y) < 50", arg=before, timeout=5000)
