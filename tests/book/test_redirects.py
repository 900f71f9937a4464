"""No address that was published dies: a page stays, or its old address leads on."""

import pytest
from published_pages import LIST, REDIRECTS, current_pages, lines_of, main, problems

from tests.support.book import none_of

pytestmark = pytest.mark.book


def test_every_published_address_leads_somewhere():
    assert len(current_pages()) > 100
    none_of(list(problems(current_pages(), lines_of(LIST), lines_of(REDIRECTS))))


@pytest.mark.parametrize(
    ("pages", "published", "redirects", "problem"),
    [
        ("a", "a b", [], "b was published and is gone: say in redirects.txt where its readers go"),
        ("a b", "a", [], "b is not in published-pages.txt: run python tools/published_pages.py write"),
        ("a", "a", ["b c"], "redirects.txt: b leads to c, which is no page"),
        ("a b", "a b", ["b a"], "redirects.txt: b is a page, and cannot lead elsewhere"),
        ("a b", "a b", ["c a", "c b"], "redirects.txt: c leads to two places"),
        ("a", "a", ["b"], "redirects.txt: a line must be an old and a new address, got 'b'"),
    ],
)
def test_a_planted_fault_is_found(pages, published, redirects, problem):
    assert list(problems(set(pages.split()), published.split(), redirects)) == [problem]


def test_a_page_that_moved_with_a_redirect_passes():
    assert list(problems({"new"}, ["old", "new"], ["old new"])) == []


def test_write_adds_pages_and_takes_none_out(monkeypatch, tmp_path, capsys):
    stored = tmp_path / "published-pages.txt"
    stored.write_text("# head\nold-page\n", encoding="utf-8")
    monkeypatch.setattr("published_pages.LIST", stored)
    assert main(["write"]) == 1
    assert "old-page was published and is gone" in capsys.readouterr().err
    assert set(lines_of(stored)) == current_pages() | {"old-page"}
    assert main(["check"]) == 1
