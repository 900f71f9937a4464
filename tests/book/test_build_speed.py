"""What makes the build faster leaves every sidebar as it was, and keeps the stored pages small."""

import json
import subprocess
import sys

import pytest

from tests.support.book import BOOK

pytestmark = pytest.mark.book

PAGES = {
    "index": "# Start\n\n```{toctree}\n:caption: Part\none\ntwo\n```\n\n```{toctree}\n:hidden:\nthree\n```\n",
    "one": "# One\n\n## A section\n\n### Deeper\n\n```{toctree}\nbelow\n```\n\n## Another\n\nText.\n",
    "below": "# Below *one*\n\n## Its section\n\nText.\n",
    "two": "# Two\n\n```{eval-rst}\n.. autofunction:: textwrap.dedent\n```\n\n## Last\n\nText.\n",
    "three": "# Three\n\nText.\n",
}
CONF = """
import gc, json, sys
sys.path.insert(0, EXT_FOLDER)
extensions = ["myst_parser", "sphinx.ext.autodoc", *EXTENSIONS]
html_theme, html_sidebars = "basic", {"**": []}
found = {}

def note(app, pagename, templatename, context, doctree):
    for options in ({}, {"maxdepth": 1}, {"collapse": False, "includehidden": True, "maxdepth": 4}):
        for titles_only in (True, False):
            tree = context["toctree"](titles_only=titles_only, **options)
            found[f"{pagename} {options} {titles_only}"] = tree

def write(app, error):
    (app.outdir / "found.json").write_text(json.dumps([found, gc.get_threshold()[0]]))

def setup(app):
    app.connect("html-page-context", note, priority=600)
    app.connect("build-finished", write)
"""


@pytest.fixture(scope="module")
def builds(tmp_path_factory):
    """Build a small book without and with the extension; return both folders of pages."""
    outs = []
    for extensions in ([], ["build_speed"]):
        folder = tmp_path_factory.mktemp("book")
        for name, text in PAGES.items():
            (folder / f"{name}.md").write_text(text, encoding="utf-8")
        conf = CONF.replace("EXT_FOLDER", repr(str(BOOK / "_ext"))).replace("EXTENSIONS", repr(extensions))
        (folder / "conf.py").write_text(conf, encoding="utf-8")
        command = [sys.executable, "-m", "sphinx", "-q", "-W", "-b", "html", str(folder), str(folder / "out")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        outs.append(folder / "out")
    return outs


def found_in(out):
    return json.loads((out / "found.json").read_text(encoding="utf-8"))


def test_sidebars_are_the_same_with_titles_only_and_with_sections(builds):
    (plain, rarely), (fast, more_rarely) = map(found_in, builds)
    assert fast == plain
    assert any("A section" in tree for name, tree in plain.items() if name.endswith("False"))
    titles = [tree for name, tree in plain.items() if name.endswith("True") and tree]
    assert titles
    assert not any("A section" in tree for tree in titles)
    assert any("Below" in tree for tree in titles)
    assert rarely < more_rarely  # how many new objects the garbage collector waits for


def test_pages_are_the_same(builds):
    plain, fast = builds
    for name in PAGES:
        assert (plain / f"{name}.html").read_bytes() == (fast / f"{name}.html").read_bytes()


def test_a_stored_page_does_not_hold_the_environment(builds):
    plain, fast = ((out / ".doctrees" / "two.doctree").read_bytes() for out in builds)
    assert b"BuildEnvironment" in plain
    assert b"BuildEnvironment" not in fast
