"""What a reader meets at the doors: times under a title, a page for lost readers, redirects, previews.

- Put "About N minutes to read, M seconds to run" under the title of each chapter.
- Fill the page for addresses that do not exist; its links begin at the site's public address.
- Keep only redirects to pages of this build, so that a book of a few pages builds too.
- Take a chapter's description, which previews show, from the learning path.
"""

import html
import json
import re
import textwrap
from pathlib import Path
from urllib.parse import urlparse

import yaml
from docutils import nodes
from sphinxext.rediraffe import create_graph

TIMES = "chapter-times.json"
QUESTIONS = "learning-path.yml"
DESCRIPTION_LENGTH = 200
LOST_PAGE = Path(__file__).with_name("lost_page.html")
REDIRECTS = "redirects.txt"


# --- times -----------------------------------------------------------------------------------------


def load_times(app):
    """Read the chapters' times, where the book has them."""
    path = Path(app.srcdir, TIMES)
    app.env.course_times = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def show_times(app, doctree, docname):
    """Say under the title of a chapter how long it takes, if the page is HTML."""
    times = app.env.course_times.get(docname)
    title = next(iter(doctree.findall(nodes.title)), None)
    if app.builder.format != "html" or not times or title is None:
        return
    text = f"About {times['minutes']} minutes to read, {times['about_seconds']} seconds to run."
    if "learning-path" in app.env.found_docs:
        address = app.builder.get_relative_uri(docname, "learning-path")
        text += f' <a class="reference internal" href="{address}">What you need before</a>'
    line = nodes.raw(
        "", f'<p class="chapter-times">{text}</p>', format="html"
    )  # not in the page's description
    title.parent.insert(title.parent.index(title) + 1, line)


# --- the page for addresses that do not exist ------------------------------------------------------


def fill_lost_page(app, config):
    """Give sphinx-notfound-page its text and the path below which the site stands."""
    prefix = urlparse(config.html_baseurl).path.rstrip("/") + "/"
    body = LOST_PAGE.read_text(encoding="utf-8").replace("{prefix}", prefix)
    config.notfound_urls_prefix = prefix
    config.notfound_context = {"title": "Page not found", "body": body}


def make_lost_links_absolute(app, error):
    """Make every address on the page for lost readers begin at the site's root: nobody knows where it shows.

    The theme writes some of them itself, relative to the top of the site.
    """
    page = Path(app.outdir, f"{app.config.notfound_pagename}.html")
    if error or app.builder.format != "html" or not page.exists():
        return
    prefix = app.config.notfound_urls_prefix
    text = page.read_text(encoding="utf-8")
    text = re.sub(r'\b(href|src|action)="(?!#|/|[a-z][a-z0-9+.-]*:)(?:\./)?', rf'\1="{prefix}', text)
    text = re.sub(r'data-content_root="[^"]*"', f'data-content_root="{prefix}"', text)
    page.write_text(text, encoding="utf-8")


# --- redirects -------------------------------------------------------------------------------------


def keep_possible_redirects(app, env):
    """Hand over the redirects to pages that this build has."""
    path = Path(app.srcdir, REDIRECTS)
    redirects = create_graph(path) if path.exists() else {}
    pages = env.found_docs
    app.config.rediraffe_redirects = {old: new for old, new in redirects.items() if new in pages}


# --- previews --------------------------------------------------------------------------------------


def load_questions(app):
    """Read what each chapter asks and gives, where the book has a learning path."""
    path = Path(app.srcdir, QUESTIONS)
    chapters = yaml.safe_load(path.read_text(encoding="utf-8"))["chapters"] if path.exists() else {}
    app.env.course_questions = {f"{number:02d}": one for number, one in chapters.items()}


def describe_chapter(app, pagename, templatename, context, doctree):
    """Take a chapter's description from the learning path: its own first words may be a formula."""
    one = app.env.course_questions.get(pagename[:2])
    if doctree is None or one is None:
        return
    text = f"{one['question']} Afterwards you can {' '.join(one['abilities'])}".replace("`", "")
    text = html.escape(textwrap.shorten(text, DESCRIPTION_LENGTH, placeholder=" …"))
    context["meta"] = (context["meta"] or {}) | {"og:description": text}
    context["metatags"] += f'<meta name="description" content="{text}" />\n'


def setup(app):
    """Register everything above."""
    app.connect("config-inited", fill_lost_page, priority=700)  # after the public address is known
    app.connect("builder-inited", load_times)
    app.connect("builder-inited", load_questions)
    app.connect("doctree-resolved", show_times)
    app.connect("html-page-context", describe_chapter, priority=400)  # before opengraph makes its own
    app.connect("env-updated", keep_possible_redirects)
    app.connect("build-finished", make_lost_links_absolute)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
