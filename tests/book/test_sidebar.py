"""The sidebar shows the exercises beside the one that is read, and its headings have a level."""

import importlib.util
from types import SimpleNamespace

import pytest

from tests.support.book import BOOK

pytestmark = pytest.mark.book

spec = importlib.util.spec_from_file_location("sidebar", BOOK / "_ext" / "sidebar.py")
sidebar = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sidebar)

CHAPTERS = {"exercises/one": 1, "exercises/two": 1, "exercises/three": 2}


def tree(*addresses):
    """Return the list of pages as Sphinx makes it, with three exercises below one page."""
    entries = "\n".join(
        f'<li class="toctree-l2"><a class="reference internal" href="{address}">An exercise</a></li>'
        for address in addresses
    )
    return (
        f'<ul><li class="toctree-l1"><a href="exercises.html">Exercises</a><ul>\n{entries}\n</ul></li></ul>'
    )


def test_an_exercise_has_those_of_its_chapter_beside_it():
    found = sidebar.neighbours(tree("#", "two.html", "three.html"), "exercises/one", CHAPTERS.get)
    assert 'href="#"' in found
    assert 'href="two.html"' in found
    assert "three" not in found
    assert found.index("Chapter 1") < found.index('href="#"')


def test_other_pages_show_the_list_alone():
    addresses = ("exercises/one.html", "exercises/two.html", "exercises/three.html")
    found = sidebar.neighbours(tree(*addresses), "faq", CHAPTERS.get)
    assert found == '<ul><li class="toctree-l1"><a href="exercises.html">Exercises</a></li></ul>'


def test_pages_below_other_pages_stay():
    other = tree("api-types.html")
    assert sidebar.neighbours(other, "faq", CHAPTERS.get) == other


def test_headings_get_a_level():
    context = {"toctree": lambda **_: '<p class="caption" role="heading">Part I</p>'}
    sidebar.shorten(SimpleNamespace(), "faq", "page.html", context, None)
    assert context["toctree"]() == '<p class="caption" role="heading" aria-level="2">Part I</p>'
    sidebar.shorten(SimpleNamespace(), "lost", "page.html", {}, None)
