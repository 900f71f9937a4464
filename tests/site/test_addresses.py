"""Links, anchors, sources and the site map, as they stand in the files."""

import re

import pytest

from tests.site.addresses import Addresses
from tests.support.book import none_of

pytestmark = pytest.mark.site


def test_every_address_in_the_files_leads_somewhere(site, count):
    addresses = Addresses(site.root)
    found, links, anchors = [], 0, 0
    for name in addresses.names:
        page = addresses.page(name)
        links += len(page.links)
        anchors += len(page.ids)
        for line, tag, url in page.links:
            found += [f"{name}:{line}: {problem} <{tag}>" for problem in addresses.problems(name, url)]
        found += [f"{name}:{line}: the id {one!r} stands there twice" for line, one in page.doubles]
    count("links", links)
    count("anchors", anchors)
    assert links > 100
    none_of(found)


def test_the_site_map_names_every_page(site):
    addresses = Addresses(site.root)
    text = (site.root / "sitemap.xml").read_text(encoding="utf-8")
    urls = re.findall(r"<loc>(.*?)</loc>", text)
    none_of([f"sitemap.xml: {problem}" for url in urls for problem in addresses.problems("index.html", url)])
    named = {url.removeprefix(addresses.public) for url in urls}
    without = {"404.html", "search.html", "genindex.html", "prf-prf.html", "py-modindex.html"}
    assert set(site.pages) - without <= named, sorted(set(site.pages) - without - named)
