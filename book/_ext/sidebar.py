"""Keep the sidebar short, and give its headings a level.

Of the exercises, only those of the chapter of the one that is being read are shown.
All of them stand on the list of exercises, which has filters. In the sidebar of every page they would be a
quarter of the HTML of an exercise, and a list in which nobody finds anything.
"""

import re
from functools import cache, wraps
from pathlib import Path

from attncourse.classroom.bank import read_exercise

FOLDER = "exercises/"
ENTRY = re.compile(
    r'<li class="toctree-l2[^"]*"><a [^>]*?href="(?P<address>[^"]*)">.*?</a></li>\s*', re.DOTALL
)
EMPTY = re.compile(r"<ul[^>]*>\s*</ul>\s*")
HEADING = 'role="heading"'
FIRST = re.compile(r'(?=<li class="toctree-l2)')


@cache
def chapter_in(path):
    """Return the chapter that an exercise's file names."""
    return read_exercise(path).meta["chapter"]


def neighbours(tree, pagename, chapter_of):
    """Return the sidebar's HTML without the exercises of other chapters.

    Parameters
    ----------
    tree : str
        The list of pages as Sphinx makes it.
    pagename : str
        The page beside which it stands.
    chapter_of : callable
        Gives the chapter of an exercise's page.
    """
    here = pagename.startswith(FOLDER)

    def kept(found):
        address = found["address"]
        if not here:
            return "" if re.search(rf"(?:^|/){FOLDER}", address) else found[0]
        page = pagename if address == "#" else FOLDER + address.removesuffix(".html")
        return found[0] if chapter_of(page) == chapter_of(pagename) else ""

    tree = EMPTY.sub("", ENTRY.sub(kept, tree))
    if not here:
        return tree
    return FIRST.sub(f'<li class="toctree-l2 sidebar-chapter">Chapter {chapter_of(pagename)}</li>\n', tree, 1)


def shorten(app, pagename, templatename, context, doctree):
    """Let the theme make its sidebar from a shorter list."""
    whole = context.get("toctree")
    if whole is None:
        return

    @wraps(whole)
    def toctree(**options):
        tree = whole(**options).replace(HEADING, f'{HEADING} aria-level="2"')
        return neighbours(tree, pagename, lambda page: chapter_in(Path(app.env.doc2path(page))))

    context["toctree"] = toctree


def setup(app):
    """Register the step before a page is written."""
    app.connect("html-page-context", shorten)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
