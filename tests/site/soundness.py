"""What every page must keep to, in both colours: for the book's pages and the planted faults."""

from tests.site.addresses import Addresses
from tests.site.visiting import Visit


def look_at(seen: Visit, addresses: Addresses) -> int:
    """Look at an open page in light and dark; problems go into ``seen``. Return the number of its images."""
    seen.say(seen.ask("look.layout()"))
    pictures = seen.ask("look.pictures()")
    seen.say(pictures["found"])
    made = seen.ask("look.addresses()")  # with those that scripts have made
    seen.say([f"{problem}: {what}" for url, what in made for problem in addresses.problems(seen.name, url)])
    seen.accessibility("structure")
    # a page's elements are the same in both colours: in the dark only what depends on colour is new
    seen.accessibility("contrast")
    seen.recolour("dark")
    seen.accessibility("contrast")
    return pictures["count"]
