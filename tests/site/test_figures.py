"""Every interactive figure answers mouse, touch and keyboard, and has a table without scripts."""

import re
from collections.abc import Callable
from itertools import pairwise

import pytest
from playwright.sync_api import Locator
from site_browser import DESKTOP, PHONE, View, new_context

from tests.site.visiting import Site, Visit, visit
from tests.support.book import none_of

pytestmark = pytest.mark.site

KINDS = {"sentence", "temperature", "scale", "mask", "online-softmax", "head-viewer"}
FIGURE = re.compile(r'data-figure="([\w-]+)"')
CONTROLS = {
    "slider": "[data-live] input[type=range]",
    "list": "[data-live] select",
    "radio buttons": "[data-live] [role=radiogroup]",
    "button": "[data-live] button:not([role=radio]):not([role=gridcell])",
}
WIDE, NARROW = View("light", *DESKTOP), View("light", *PHONE)
SLOWEST_MS = 2000  # a sentence may wait until a slider rests


def pages_with_figures(site: Site) -> list[str]:
    """Return the pages on which an interactive figure stands."""
    return [name for name in site.pages if FIGURE.search(site.text(name))]


def changes(figure: Locator, act: Callable[[], None]) -> bool:
    """Say whether the figure's sentence is another one after something was done."""
    says = figure.locator("[data-says]")
    before = says.text_content()
    act()
    try:
        figure.page.wait_for_function(
            "([says, before]) => says.textContent !== before",
            arg=[says.element_handle(), before],
            timeout=SLOWEST_MS,
        )
    except Exception as error:
        if "Timeout" in type(error).__name__:
            return False
        raise
    return bool(says.text_content().strip())


def point(control: Locator, share: float) -> dict[str, float]:
    """Return a place on a control, from 0 at its left to 1 at its right."""
    box = control.bounding_box()
    return {"x": box["width"] * share, "y": box["height"] / 2}


def another(radios: Locator) -> Locator:
    """Return a radio button of a group that is not chosen."""
    return radios.locator('[role=radio][aria-checked="false"]').first


def use(kind: str, control: Locator, how: str) -> None:
    """Use a control once, by "mouse", "touch" or "keyboard"."""
    if how == "keyboard":
        if kind == "radio buttons":
            control.locator('[role=radio][tabindex="0"], [role=radio][aria-checked="true"]').first.focus()
            control.page.keyboard.press("ArrowRight")
        else:
            control.focus()
            at_end = kind == "slider" and control.evaluate("(e) => e.value === e.max")
            at_end = at_end or (
                kind == "list" and control.evaluate("(e) => e.selectedIndex === e.length - 1")
            )
            key = {"slider": "ArrowRight", "list": "ArrowDown", "button": "Enter"}[kind]
            control.page.keyboard.press(key.replace("Right", "Left").replace("Down", "Up") if at_end else key)
        return
    if kind == "list":  # the list that opens is the system's own
        last = control.evaluate("(e) => e.length - 1")
        control.select_option(index=0 if control.evaluate("(e) => e.selectedIndex") else last)
        return
    target = another(control) if kind == "radio buttons" else control
    options = {}
    if kind == "slider":
        low, high, now = control.evaluate("(e) => [+e.min, +e.max, +e.value]")
        options["position"] = point(control, 0.2 if now > (low + high) / 2 else 0.8)
    (target.tap if how == "touch" else target.click)(**options)


def try_controls(seen: Visit, figure: Locator, how: str) -> int:
    """Use every control of a figure; report those that change nothing."""
    kind_of_figure = figure.get_attribute("data-figure")
    tried = 0
    for kind, selector in CONTROLS.items():
        controls = [one for one in figure.locator(selector).all() if one.is_visible() and one.is_enabled()]
        worked = []
        for control in controls:
            if not control.is_enabled():  # another button has switched it off
                continue
            tried += 1
            worked.append(changes(figure, lambda k=kind, c=control: use(k, c, how)))
        # a button may have nothing to do where the figure stands, such as "back" at the first step
        idle = bool(worked) and not (any(worked) if kind == "button" else all(worked))
        if idle:
            seen.say([f"figure {kind_of_figure}: a {kind} changes nothing by {how}"])
    if not tried:
        seen.say([f"figure {kind_of_figure}: no control works by {how}"])
    return tried


def reach_by_tab(seen: Visit, figure: Locator) -> None:
    """Walk with Tab from the figure's title into its controls, and see that the focus shows."""
    kind = figure.get_attribute("data-figure")
    figure.evaluate("(root) => { root.tabIndex = -1; root.focus(); }")
    for _ in range(4):
        figure.page.keyboard.press("Tab")
        inside = figure.evaluate(
            "(root) => !!root.querySelector('[data-live]')?.contains(document.activeElement)"
        )
        if inside:
            break
    else:
        seen.say([f"figure {kind}: Tab does not reach a control"])
        return
    if not seen.ask("look.focusShows(document.activeElement)"):
        seen.say([f"figure {kind}: no focus ring on {seen.ask('look.describe(document.activeElement)')}"])


def test_every_kind_of_figure_is_there(site):
    kinds = {kind for name in site.pages for kind in FIGURE.findall(site.text(name))}
    assert kinds == KINDS


def test_figures_answer_mouse_and_keyboard(site, context_of, count):
    found = []
    for name in pages_with_figures(site):
        with visit(context_of(WIDE), site.address, name, WIDE) as seen:
            for figure in seen.page.locator("[data-figure]").all():
                figure.scroll_into_view_if_needed()
                reach_by_tab(seen, figure)
                for how in ("mouse", "keyboard"):
                    count("controls used", try_controls(seen, figure, how))
                count("interactive figures")
        found += seen.problems
    none_of(found)


def test_figures_answer_touch_and_fit_a_phone(site, browser, count):
    context = new_context(browser, NARROW, has_touch=True, is_mobile=True)
    found = []
    for name in pages_with_figures(site):
        with visit(context, site.address, name, NARROW) as seen:
            for figure in seen.page.locator("[data-figure]").all():
                figure.scroll_into_view_if_needed()
                count("controls used", try_controls(seen, figure, "touch"))
            seen.say(seen.ask("look.layout()"))  # with the sentences and pictures of the new state
        found += seen.problems
    context.close()
    none_of(found)


def test_figures_are_tables_without_scripts(site, browser):
    context = new_context(browser, NARROW, java_script_enabled=False)
    page, found = context.new_page(), []
    for name in pages_with_figures(site):
        page.goto(site.address + name)
        for figure in page.locator("[data-figure]").all():
            where = f"{name} without scripts: figure {figure.get_attribute('data-figure')}"
            if figure.locator("[data-live]:visible").count():
                found.append(f"{where} shows a part that cannot work")
            if not figure.locator("[data-table] table:visible").count():
                found.append(f"{where} shows no table")
            if not figure.locator("[data-says]").first.text_content().strip():
                found.append(f"{where} says nothing")
    context.close()
    none_of(found)


def test_two_figures_share_no_ids(site):
    for name in pages_with_figures(site):
        ids = sorted(re.findall(r'\bid="([^"]+)"', "".join(site.text(name).split("data-figure=")[1:])))
        assert all(one != other for one, other in pairwise(ids)), name
