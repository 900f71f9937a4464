"""Every page in every view: nothing complains, nothing is cut, nothing is without words, no link is dead."""

import pytest
from site_browser import DESKTOP, PHONE, View

from tests.site.addresses import Addresses
from tests.site.soundness import look_at
from tests.site.visiting import visit
from tests.support.book import none_of

pytestmark = pytest.mark.site


@pytest.fixture(scope="session")
def addresses(site):
    return Addresses(site.root)


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["1280", "390"])
def test_a_page_is_sound(site, context_of, addresses, page_name, size, count):
    view = View("light", *size)
    with visit(context_of(view), site.address, page_name, view) as seen:
        images = look_at(seen, addresses)
    count("views", 2)
    if size == DESKTOP:
        count("pages")
        count("images", images)
    none_of(seen.problems)
