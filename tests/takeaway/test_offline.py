"""The zip for offline reading: what goes in, what stays out, and equal bytes from equal sites."""

import importlib.util
import os
import zipfile
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("offline", ROOT / "tools" / "offline.py")
offline = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(offline)

FILES = {
    "index.html": '<script crossorigin="anonymous" src="_static/a.js"></script><p>Hello</p>',
    "search.html": "<p>search</p>",
    "searchindex.js": "Search.setIndex({})",
    "exercises/one.html": "<p>one</p>",
    "exercises/one.ipynb": "{}",
    "_static/a.js": "1;",
    "_static/a.js.map": "{}",
    "_static/documentation_options.js": "{ SHOW_SEARCH_SUMMARY: true, OTHER: true }",
    "_images/a.png": "png",
    "_sources/01-a.ipynb": "{}",
    ".buildinfo": "x",
    ".nojekyll": "",
    "objects.inv": "x",
    "sitemap.xml": "<x/>",
    "404.html": "<p>lost</p>",
    "attention-step-by-step.pdf": "pdf",
}
OUT = {
    "_static/a.js.map",
    ".buildinfo",
    ".nojekyll",
    "objects.inv",
    "sitemap.xml",
    "404.html",
    "attention-step-by-step.pdf",
}


def write_site(folder, names=FILES):
    """Write a small site."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(FILES[name], encoding="utf-8")
    return folder


@pytest.fixture
def packed(tmp_path):
    """Return the zip of a small site."""
    target = tmp_path / "out" / "book.zip"
    offline.pack(write_site(tmp_path / "html"), target)
    return target


def test_what_goes_in(packed):
    with zipfile.ZipFile(packed) as archive:
        names = set(archive.namelist())
    start = {"attention-step-by-step/START-HERE.html"}
    assert names == start | {f"attention-step-by-step/site/{name}" for name in FILES.keys() - OUT}


@pytest.mark.parametrize("name", sorted(FILES))
def test_each_name_is_judged(name):
    assert offline.goes_in(PurePosixPath(name)) == (name not in OUT)


def test_everything_is_in_one_folder_with_one_obvious_start(packed):
    with zipfile.ZipFile(packed) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
        files = [name for name in archive.namelist() if name.count("/") == 1]
        start = archive.read(files[0]).decode()
    assert tops == {"attention-step-by-step"}
    assert files == ["attention-step-by-step/START-HERE.html"]
    assert start.count('"site/index.html"') == 1
    assert "url=site/index.html" in start


def test_equal_sites_give_equal_bytes(tmp_path, packed):
    other = write_site(tmp_path / "again", list(reversed(FILES)))
    for n, path in enumerate(sorted(other.rglob("*"))):
        os.utime(path, (n, n))
    target = tmp_path / "again.zip"
    offline.pack(other, target)
    assert target.read_bytes() == packed.read_bytes()


def test_another_site_gives_other_bytes(tmp_path, packed):
    other = write_site(tmp_path / "other")
    (other / "search.html").write_text("<p>found</p>", encoding="utf-8")
    offline.pack(other, tmp_path / "other.zip")
    assert (tmp_path / "other.zip").read_bytes() != packed.read_bytes()


def test_scripts_load_from_a_folder(packed):
    with zipfile.ZipFile(packed) as archive:
        page = archive.read("attention-step-by-step/site/index.html").decode()
    assert page == '<script src="_static/a.js"></script><p>Hello</p>'


def test_the_search_fetches_nothing(packed):
    with zipfile.ZipFile(packed) as archive:
        options = archive.read("attention-step-by-step/site/_static/documentation_options.js").decode()
    assert options == "{ SHOW_SEARCH_SUMMARY: false, OTHER: true }"


def test_a_site_must_have_been_built(tmp_path):
    with pytest.raises(ValueError, match="site must hold a built book"):
        offline.pack(tmp_path, tmp_path / "book.zip")


def test_a_large_zip_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(offline, "MOST_BYTES", 100)
    site = write_site(tmp_path / "html")
    assert offline.main(["--site", str(site), "--target", str(tmp_path / "book.zip")]) == 1
    assert "is larger than" in capsys.readouterr().out
