"""The page of verdicts is what the chapters' cells printed, and no claim of the sources is missing."""

import copy

import pytest
import yaml
from ledger import MARK, PAGE, TASKS, TEXTS, LedgerError, current, main, page, problems, verdict

from tests.support.book import chapters, none_of, read_page
from tests.support.claims import SOURCES, Claim, claims_of

pytestmark = pytest.mark.book
CLAIMS = [one for path in chapters() for one in claims_of(read_page(path))]


@pytest.fixture
def texts():
    return yaml.safe_load(TEXTS.read_text(encoding="utf-8"))


def printed(name, source, said):
    return Claim(id=name, source=source, verdict=said, text="t", bound="at least 1", where="somewhere")


def test_every_claim_of_the_sources_has_a_verdict_and_a_cell(texts):
    assert len(SOURCES) == 38
    none_of(problems(texts, CLAIMS))


def test_the_stored_page_is_what_the_chapters_say():
    assert PAGE.read_text(encoding="utf-8") == current(), "run python tools/ledger.py write"


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_a_claim_without_its_cells_is_missed(texts, name):
    without = [one for one in CLAIMS if one.source != name]
    assert f"{name}: no cell tests it" in problems(texts, without)
    with pytest.raises(LedgerError, match=f"{name}: no cell tests it"):
        page(texts, without, [])


@pytest.mark.parametrize("name", ["S01", "S38"])
def test_a_claim_without_an_entry_is_missed(texts, name):
    del texts["claims"][name]
    assert f"{name}: no entry" in problems(texts, CLAIMS)


def test_a_claim_that_the_sources_do_not_make_is_found(texts):
    texts["claims"]["S39"] = copy.deepcopy(texts["claims"]["S01"])
    assert "S39: the sources make no such claim" in problems(texts, CLAIMS)
    assert "S39: stands under 0 topics" in problems(texts, CLAIMS)


@pytest.mark.parametrize("task", TASKS)
def test_a_task_without_a_row_is_missed(texts, task):
    texts["tasks"] = [row for row in texts["tasks"] if row["task"] != task]
    assert problems(texts, CLAIMS) == [f"{task}: no row among the tasks"]


def test_a_row_without_a_measurement_of_its_chapter_is_found(texts):
    texts["tasks"][0]["measured"] = "[[01-chain-rnn]]"
    assert problems(texts, CLAIMS) == ["machine translation: its row quotes no claim of chapter 05"]


def test_a_chapter_that_the_text_passes_over_is_found(texts):
    new = printed("04-new", "S01", "holds")
    assert problems(texts, [*CLAIMS, new]) == ["S01: its text quotes no claim of chapter 04 (04-new)"]


def test_a_text_that_quotes_an_unknown_claim_is_found(texts):
    texts["claims"]["S01"]["answer"] += " [[01-nowhere]]"
    assert problems(texts, CLAIMS) == ["S01: no cell prints the claim 01-nowhere"]


@pytest.mark.parametrize(
    ("said", "whole"),
    [
        (["holds"], "holds"),
        (["holds", "holds"], "holds"),
        (["false", "false"], "false"),
        (["holds", "holds with conditions"], "holds with conditions"),
        (["holds", "false"], "holds with conditions"),
    ],
)
def test_the_verdict_is_that_of_the_cells(said, whole):
    claims = [printed(f"01-{number}", "S01", one) for number, one in enumerate(said)]
    assert verdict("S01", [*claims, printed("01-other", "S02", "false")]) == whole


def test_bounds_come_from_the_claims(texts):
    """A bound that a cell changes is another bound on the page."""
    read = [read_page(path) for path in chapters()]
    bound = next(one for one in CLAIMS if one.id == "01-chain-rnn").bound
    changed = [
        Claim(**{**vars(one), "bound": "at most 0.123"}) if one.id == "01-chain-rnn" else one
        for one in CLAIMS
    ]
    assert f"{bound} {{claim}}`01-chain-rnn`" in page(texts, CLAIMS, read)
    assert "at most 0.123 {claim}`01-chain-rnn`" in page(texts, changed, read)
    assert not MARK.search(page(texts, CLAIMS, read))


def test_check_and_write(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("ledger.PAGE", tmp_path / "ledger.md")
    monkeypatch.setattr("ledger.ROOT", tmp_path)
    assert main(["check"]) == 1
    assert "ledger.md is not what the chapters say" in capsys.readouterr().out
    assert main(["write"]) == 0
    assert main(["check"]) == 0


def test_a_missing_claim_is_said_and_nothing_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("ledger.PAGE", tmp_path / "ledger.md")
    monkeypatch.setattr("ledger.chapters", lambda: chapters()[:1])
    assert main(["write"]) == 1
    assert "S38: no cell tests it" in capsys.readouterr().err
    assert not (tmp_path / "ledger.md").exists()
