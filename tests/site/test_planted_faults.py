"""Each check of the site can fail: a fault is planted in a sample page, and found by name."""

import pytest
import site_browser
from site_browser import PHONE, NoBrowserError, View, new_context
from site_server import serve

from tests.site.addresses import Addresses
from tests.site.sample_site import write_sample
from tests.site.soundness import look_at
from tests.site.test_buttons import binder_problems, colab_problems, without_prompts
from tests.site.test_figures import reach_by_tab, try_controls
from tests.site.test_weight import weigh
from tests.site.test_without_scripts import READABLE
from tests.site.visiting import Site, visit

pytestmark = pytest.mark.site
NARROW = View("light", *PHONE)
# more stops than a reader should need on the way to a control
LINKS = '<a href="#sample">on</a> ' * 5
WORDS = "and words to read."
FIGURE = 'role="group" aria-label="A figure"'


def problems(folder, context_of, *changes):
    root = write_sample(folder, *changes)
    with serve(root) as address, visit(context_of(NARROW), address, "index.html", NARROW) as seen:
        look_at(seen, Addresses(root))
        for figure in seen.page.locator("[data-figure]").all():
            for how in ("mouse", "keyboard"):
                try_controls(seen, figure, how)
            reach_by_tab(seen, figure)
    return seen.problems


def test_the_sample_is_sound(tmp_path, context_of):
    assert problems(tmp_path, context_of) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (WORDS, "<script>console.error('lost')</script>", "index.html light-390: console error: lost"),
        (WORDS, "<script>console.warn('old')</script>", "console warning: old"),
        (WORDS, "<script>gone()</script>", "JavaScript error: gone is not defined"),
        (WORDS, '<img alt="A far away picture" src="https://example.org/x.png">', "asks another host: https://ex"),
        (WORDS, '<img alt="A picture that is gone" src="gone.png">', "status 404: http"),
        (WORDS, '<img alt="A picture that is gone" src="gone.png">', "broken image: <img gone.png>"),
        (WORDS, '<img alt="A picture that is gone" src="gone.png">', "dead link gone.png"),
        (WORDS, "<button></button>", "axe button-name [critical]: .box > button ::"),
        (WORDS, '<span style="color: #aaa">pale</span>', "light-390: axe color-contrast"),
        ("[data-theme=dark] a { color: #8bf; }", "", "index.html dark-390: axe color-contrast"),
        (".box { width: 12rem; }", ".box { width: 500px; }", "sideways scroll: the page is 1"),
        (".box { width: 12rem; }", ".box { width: 500px; }", "sticks out of the window: <p.box>"),
        (".box {", ".box { white-space: nowrap; overflow: hidden;", "cut off at the side by"),
        (".box {", ".box { height: 1rem; overflow: hidden;", "cut off below by"),
        ('alt="A square of one grey pixel"', "", "no alt text: <img"),
        ('alt="A square of one grey pixel"', 'alt=""', "no alt text: <img"),
        ("A square of one grey pixel", "5ecf8.png", "alt text is a file name"),
        ("A square of one grey pixel", "Plot", "alt text of too few words (“Plot”)"),
        ('svg role="img"', "svg", 'svg without role="img" or aria-hidden: <svg>'),
        ("The word value in a picture", "", "no alt text: <svg>"),
        ('<text x="5"', '<text x="80"', "text of a picture is cut off: <text> “value”"),
        ('<text x="5"', '<text font-size="6" x="5"', "text of a picture is 6.0 px high"),
        ("<text", "</svg><canvas></canvas><svg aria-hidden='true'><text", "no alt text: <canvas>"),
        ('href="#sample"', 'href="#simple"', "dead anchor #simple"),
        ('href="#sample"', 'href="simple.html"', "dead link simple.html"),
        ('href="#sample"', 'href="/index.html"', "leads out of the site: /index.html"),
        ('href="#sample"', 'href="https://example-org.github.io/attention-course/x.html"', "dead link /att"),
        (
            'href="#sample"',
            'href="https://github.com/example-org/attention-course/blob/main/gone.md"',
            "the repository has no gone.md",
        ),
        ('addEventListener("input", say)', 'addEventListener("x", say)', "a slider changes nothing"),
        ('addEventListener("change", say)', 'addEventListener("x", say)', "a list changes nothing"),
        ('e.key === "ArrowRight"', 'e.key === "x"', "scale: a radio buttons changes nothing by keyboard"),
        ('"button").addEventListener("click"', '"button").addEventListener("mousedown"', "a button changes"),
        ("<div data-live hidden>", LINKS + "<div data-live hidden>", "scale: Tab does not reach a control"),
        ("/* more style */", "input:focus { outline: none; }", "scale: no focus ring on <input>"),
    ],
)  # fmt: skip
def test_a_fault_is_found(tmp_path, context_of, old, new, problem):
    found = problems(tmp_path, context_of, (old, new))
    assert any(problem in one for one in found), found


@pytest.mark.parametrize("target", ["attention-step-by-step.pdf", "index.html", ""])
def test_the_sites_own_address_is_inside(tmp_path, target):
    addresses = Addresses(write_sample(tmp_path))
    assert addresses.problems("index.html", f"https://example-org.github.io/attention-course/{target}") == []


def test_an_id_that_stands_twice_is_found(tmp_path):
    addresses = Addresses(write_sample(tmp_path, ('<p class="box"', '<p id="sample" class="box"')))
    assert [name for _, name in addresses.page("index.html").doubles] == ["sample"]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("<article", "<div", "no article"),
        ("and words to read.", "", "hardly any text"),
        ("and words to read.", '<span style="display: block; width: 900px">x</span>', "sideways scroll"),
        ('width="40"', 'width="2"', "a figure is not drawn: A square"),
    ],
)
def test_a_page_that_needs_scripts_is_found(tmp_path, browser, old, new, problem):
    root = write_sample(tmp_path, (old, new))
    context = new_context(browser, NARROW, java_script_enabled=False)
    with serve(root) as address:
        page = context.new_page()
        page.goto(address)
        assert any(problem in one for one in page.evaluate(READABLE))
    context.close()


def test_launch_links_to_nothing_are_found():
    binder = 'href="https://mybinder.org/v2/gh/o/r/main?urlpath=lab/tree/book/99-gone.ipynb"'
    assert binder_problems("p", binder) == ["p: Binder would open book/99-gone.ipynb, which is missing"]
    colab = 'href="https://colab.research.google.com/github/o/r/blob/{}"'
    assert "not the reading copies" in colab_problems("p", colab.format("main/book/x.ipynb"))[0]
    assert "made of no chapter" in colab_problems("p", colab.format("colab/99-gone.ipynb"))[0]
    assert colab_problems("p", colab.format("colab/04-scaled-dot-product-attention.ipynb")) == []


def test_prompts_are_no_code():
    assert without_prompts(">>> a = 1\n>>> a\n1\n") == "a = 1\na"
    assert without_prompts("$ make book\n") == "make book"
    assert without_prompts("a > b\nc\n") == "a > b\nc"


def test_weight_is_what_comes_over_the_line(tmp_path, browser):
    root = write_sample(tmp_path)
    with serve(root) as address:
        light = weigh(browser, Site(root, address), "index.html")
        (root / "x.woff2").write_bytes(bytes(100_000))
        write_sample(root, (WORDS, '<script>fetch("x.woff2")</script>'))
        heavy = weigh(browser, Site(root, address), "index.html")
    assert 500 < light < len((root / "index.html").read_bytes())  # compressed
    assert 100_000 < heavy - light < 101_000


def test_without_a_browser_the_text_says_how_to_get_one(monkeypatch, tmp_path):
    class Playwright:
        class chromium:
            executable_path = str(tmp_path / "chrome")

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("COURSE_BROWSER", raising=False)
    with pytest.raises(NoBrowserError, match="apt install chromium"):
        site_browser.find_browser(Playwright)
    monkeypatch.setenv("COURSE_BROWSER", "gone")
    with pytest.raises(NoBrowserError, match="COURSE_BROWSER=gone is no program"):
        site_browser.find_browser(Playwright)
