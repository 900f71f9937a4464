"""Build the book faster, with the same pages.

Four things cost most of the time: the garbage collector walking a million nodes that all live on, whole
environments stored inside pages with docstrings, every page's table of contents copied once for each sidebar,
and a plug-in for citations looked up among all installed packages at each citation.
"""

import gc
from functools import cache, wraps

import pybtex.plugin
from sphinx import addnodes


def own_every_node(app, doctree):
    """Let every node belong to its page.

    Nodes of docstrings still point to the small document in which they were parsed; it holds the environment,
    which would be stored with each such page, 7 MB every time.
    """
    for node in doctree.findall():
        node.document = doctree


def titles(toc):
    """Return a page's table of contents without its sections, with the pages below it."""
    toc = toc.deepcopy()
    for entry in toc.children:
        if len(entry) > 1:
            pages = [node for node in entry.findall(addnodes.toctree)]
            below = entry[1]
            below.clear() if pages else entry.remove(below)
            below += pages
    return toc


def shorten_sidebar(app, pagename, templatename, context, doctree):
    """Give the sidebar, which shows titles only, tables of contents that hold no more."""
    whole, env = context.get("toctree"), app.env
    if whole is None:
        return
    if not hasattr(app, "course_titles"):
        app.course_titles = {page: titles(toc) for page, toc in env.tocs.items()}

    @wraps(whole)
    def toctree(**options):
        if not options.get("titles_only"):
            return whole(**options)
        complete, env.tocs = env.tocs, app.course_titles
        try:
            return whole(**options)
        finally:
            env.tocs = complete

    context["toctree"] = toctree


def setup(app):
    """Register everything above."""
    gc.set_threshold(200_000, 20, 100)
    pybtex.plugin._load_entry_point = cache(pybtex.plugin._load_entry_point)
    app.connect("doctree-read", own_every_node, priority=999)
    app.connect("html-page-context", shorten_sidebar, priority=400)  # before sidebar.py wraps it
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
