"""The last step of the build keeps what pages need, and nothing that they do not."""

import importlib.util
import struct
from types import SimpleNamespace

import pytest

from tests.support.book import BOOK

pytestmark = pytest.mark.book

spec = importlib.util.spec_from_file_location("slim_pages", BOOK / "_ext" / "slim_pages.py")
slim_pages = importlib.util.module_from_spec(spec)
spec.loader.exec_module(slim_pages)

HEAD = """<html><head>
<link rel="stylesheet" type="text/css" href="_static/a.css?v=1" />
<link rel="stylesheet" type="text/css" href="_static/sub/b.css" />
<link rel="stylesheet" media="print" href="_static/print.css" />
<script src="_static/doctools.js"></script>
<script>DOCUMENTATION_OPTIONS.pagename = "x";</script>
<script>var early = 1;</script>
<script src="_static/searchtools.js"></script>
<script src="searchindex.js"></script>
</head><body class="here"><article><img src="a.png" alt="One">
<img class="wide" src="a.png" alt="Two" /></article>
</body></html>"""


@pytest.fixture
def site(tmp_path):
    (tmp_path / "_static" / "sub").mkdir(parents=True)
    (tmp_path / "_static" / "a.css").write_text(
        '@import "c.css";\n.here { color: red; } .gone, .gone:hover { x: y; }'
    )
    (tmp_path / "_static" / "c.css").write_text("p { margin: 0 }")
    (tmp_path / "_static" / "sub" / "b.css").write_text(".here { background: url(../pic.png); }")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(8) + struct.pack(">II", 30, 20))
    (tmp_path / "index.html").write_text(HEAD)
    (tmp_path / "search.html").write_text(HEAD)
    return tmp_path


def slim(root, error=None):
    slim_pages.slim_site(SimpleNamespace(builder=SimpleNamespace(name="html"), outdir=root), error)
    return (root / "index.html").read_text()


def test_one_style_sheet_holds_what_the_page_needs(site):
    page = slim(site)
    assert page.count("_static/book.css?v=") == 1
    assert "a.css" not in page
    assert 'media="print" href="_static/print.css"' in page
    css = (site / "_static" / "book.css").read_text()
    assert "gone" not in css
    assert [part in css for part in ("p{margin: 0}", ".here{color: red;}", 'url("pic.png")')] == [True] * 3
    assert css.index("margin") < css.index("color") < css.index("pic.png")


def test_scripts_wait_and_the_search_comes_later(site):
    page = slim(site)
    assert '<script defer src="_static/doctools.js">' in page
    assert '<script type="module">DOCUMENTATION_OPTIONS' in page
    assert "<script>var early" in page
    assert "searchindex" not in page
    assert "searchindex.js" in (site / "search.html").read_text()


def test_pictures_below_the_first_wait_and_keep_their_place(site):
    page = slim(site)
    assert '<img src="a.png" alt="One" width="30" height="20">' in page
    assert '<img loading="lazy" class="wide" src="a.png" alt="Two" width="30" height="20" />' in page


def test_a_second_time_changes_nothing_and_a_new_page_is_slimmed_too(site):
    once = slim(site)
    assert slim(site) == once
    (site / "new.html").write_text(HEAD)
    slim(site)
    assert (site / "new.html").read_text() == once


def test_a_failed_build_stays_as_it_is(site):
    assert slim(site, error=ValueError()) == HEAD


@pytest.mark.parametrize(
    ("css", "kept"),
    [
        (".a, .b .c { x: y }", ".a{x: y}"),
        ("@media print { .a { x: y } .b { x: y } }", "@media print{.a{x: y}}"),
        ("@media print { .b { x: y } }", ""),
        ("@font-face { src: url(x) }", "@font-face{src: url(x)}"),
        ("p:not(.b) { x: y }", "p:not(.b){x: y}"),
        (":is(.a, .b) { x: y }", ":is(.a, .b){x: y}"),
        (".tooltip-inner { x: y }", ".tooltip-inner{x: y}"),
        ("/* .a { } */ .a::after { content: '}'; z: \"{\" }", ".a::after{content: '}';z: \"{\"}"),
        ("@keyframes turn { from { x: y } to { x: z } }", "@keyframes turn{from{x: y}to{x: z}}"),
        (".a { b: url(data:x;y) }", ".a{b: url(data:x;y)}"),
    ],
)
def test_rules_that_nothing_can_use_go(css, kept):
    assert slim_pages.used_rules(css, {"a"}) == kept


def test_braces_without_a_partner_are_reported():
    with pytest.raises(ValueError, match="without a partner"):
        slim_pages.used_rules(".a { x: y", {"a"})


def test_the_themes_slow_loop_goes_and_the_rest_stays(site):
    (site / "_static" / "scripts").mkdir()
    theme = site / slim_pages.THEME
    loop = "e.tabIndex=e.scrollWidth>e.clientWidth||e.scrollHeight>e.clientHeight?0:-1"
    theme.write_text(f"all.forEach(e=>{{{loop}}}),go()")
    for _ in range(2):  # the second build finds what the first one made
        slim(site)
        assert theme.read_text() == f"all.forEach(e=>{{{slim_pages.LEFT_OUT}}}),go()"


def test_another_theme_is_reported():
    with pytest.raises(ValueError, match="expected one loop over what scrolls, found 0"):
        slim_pages.without_slow_loop("go()")
