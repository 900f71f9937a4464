"""The site can be used with the keyboard alone, and one sees where one is."""

import pytest
from site_browser import DESKTOP, View, new_context

from tests.site.visiting import visit
from tests.support.book import none_of

pytestmark = pytest.mark.site
WIDE = View("light", *DESKTOP)
CHAPTER = "02-selective-focus.html"
MOST_STEPS = 200


def test_the_skip_link_comes_first(site, context_of):
    with visit(context_of(WIDE), site.address, CHAPTER, WIDE) as seen:
        seen.page.keyboard.press("Tab")
        assert seen.page.evaluate("document.activeElement.getAttribute('href')") == "#main-content"
        assert seen.ask("look.shown(document.activeElement)")
        seen.page.keyboard.press("Enter")
        assert seen.page.evaluate("location.hash") == "#main-content"


@pytest.mark.parametrize("name", ["index.html", CHAPTER])
def test_the_focus_shows_on_everything_that_tab_reaches(site, context_of, name, count):
    with visit(context_of(WIDE), site.address, name, WIDE) as seen:
        reached = 0
        for _ in range(MOST_STEPS):
            seen.page.keyboard.press("Tab")
            if seen.page.evaluate("document.activeElement === document.body"):
                break
            reached += 1
            if not seen.ask("look.focusShows(document.activeElement)"):
                seen.say([f"no focus ring on {seen.ask('look.describe(document.activeElement)')}"])
        count("focus stops", reached)
        assert reached > 20
    none_of(seen.problems)


def test_folds_and_quiz_options_open_with_enter(site, context_of, count):
    found = []
    for name in site.chapters:
        with visit(context_of(WIDE), site.address, name, WIDE) as seen:
            folds = seen.page.locator(".bd-article details:not([data-table]) > summary")
            options = seen.page.locator(".admonition.quiz details > summary")
            for summary in [folds.first, options.first]:
                if not summary.count():
                    seen.say(["no fold, or no quiz"])
                    continue
                before = summary.evaluate("(e) => e.parentElement.open")
                summary.focus()
                seen.page.keyboard.press("Enter")
                if summary.evaluate("(e) => e.parentElement.open") == before:
                    seen.say([f"Enter does not open {summary.text_content().strip()[:60]!r}"])
                count("folds opened")
        found += seen.problems
    none_of(found)


def test_a_solution_opens_with_the_keyboard(site, context_of):
    with visit(context_of(WIDE), site.address, CHAPTER, WIDE) as seen:
        button = seen.page.locator(".admonition.toggle button.toggle-button").first
        box = seen.page.locator(".admonition.toggle").first
        folded = "toggle-hidden" in box.get_attribute("class")
        button.focus()
        seen.page.keyboard.press("Enter")
        assert ("toggle-hidden" in box.get_attribute("class")) != folded


def test_the_colour_button_changes_the_colours(site, browser):
    context = new_context(browser, WIDE)  # its own: the choice is remembered
    with visit(context, site.address, "index.html", WIDE) as seen:
        button = seen.page.locator("button.theme-switch-button:visible").first
        state = "[document.documentElement.dataset.mode, document.documentElement.dataset.theme].join(' ')"
        states = [seen.page.evaluate(state)]
        for _ in range(3):
            button.focus()
            seen.page.keyboard.press("Enter")
            states.append(seen.page.evaluate(state))
        assert {one.split()[1] for one in states} == {"light", "dark"}, states
        assert states[0] == states[3], states
    context.close()
    none_of(seen.problems)


def test_chapters_lead_to_the_next_and_the_one_before(site, context_of):
    chapters, found = site.chapters, []
    for number, name in enumerate(chapters):
        text = site.text(name)
        area = text[text.index("prev-next-area") :]
        wanted = ([chapters[number - 1]] if number else []) + chapters[number + 1 : number + 2]
        found += [f"{name}: its foot does not lead to {one}" for one in wanted if f'href="{one}"' not in area]
    none_of(found)
