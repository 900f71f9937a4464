"""Prose says what its claims say, and nothing more exact."""

import pytest

from tests.support.book import chapters, name_of, none_of, notebooks, pages, read_page
from tests.support.claims import book_claim_problems, claim_problems, claims_of, quotes
from tests.support.sample import CLAIM_LINE, sample

pytestmark = pytest.mark.book


@pytest.mark.parametrize("path", notebooks(), ids=name_of)
def test_the_claims_of_a_notebook_are_in_order(path):
    none_of(claim_problems(read_page(path)))


def test_prose_and_claims_of_the_book_agree():
    assert chapters(), "no chapter found: this test would pass by checking nothing"
    none_of(book_claim_problems(pages()))


def test_the_sample_is_clean(tmp_path):
    page = sample(tmp_path)
    (one,) = claims_of(page)
    assert (one.id, one.source, one.verdict) == ("04-recall", "S04", "holds")
    assert (one.text, one.bound) == ("the model recalls", "at least 0.95")
    assert claim_problems(page) == []
    assert book_claim_problems([page]) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("✓ 04-recall", "✓ 05-recall", "the claim 05-recall must start with 04-"),
        ("[S04 holds]", "[S39 holds]", "the sources make no claim S39"),
        ("[S04 holds]", "[S00 false]", "the sources make no claim S00"),
        ("[S04 holds]", "[S04]", "a line that looks like a claim and is none"),
        ("[S04 holds] ·", "[S04 maybe] ·", "a line that looks like a claim and is none"),
        (": at least 0.95\\n", ": 0.97\\n", "a line that looks like a claim and is none"),
        ('claim("04-recall"', 'claim("04-other"', "the claim 04-other is called but not printed"),
        (', source="S04"', "", "a claim about a source needs source and verdict"),
        (', verdict="holds"', "", "a claim about a source needs source and verdict"),
        (
            "%% code measure",
            '%% code measure {"tags": ["nbval-ignore-output"]}',
            "nobody compares the output",
        ),
    ],
)
def test_a_fault_in_a_claim_is_reported(tmp_path, old, new, problem):
    found = claim_problems(sample(tmp_path, (old, new)))
    assert any(one.startswith("04-sample.ipynb[measure]: ") and problem in one for one in found), found


def test_a_chapter_without_a_claim_is_reported_and_back_matter_needs_none(tmp_path):
    page = sample(tmp_path, ("✓", "x"), ("claim(", "print("))
    assert "04-sample.ipynb: a chapter without a claim" in claim_problems(page)
    assert claim_problems(sample(tmp_path, ("✓", "x"), ("claim(", "print("), name="ledger.ipynb")) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("at least 0.95 {claim}", "at least 0.96 {claim}", "must say 'at least 0.95'"),
        ("at least 0.95 {claim}", "at least 0.955 {claim}", "must say 'at least 0.95'"),
        ("at least 0.95 {claim}", "0.95 {claim}", "must say 'at least 0.95'"),
        ("at least 0.95 {claim}", "at least 0.95\n{claim}", "must say 'at least 0.95'"),
        ("{claim}`04-recall`", "{claim}`04-recal`", "no cell prints the claim '04-recal'"),
        ("{claim}`04-recall`", "{claim}`04-recall` {claim}`04-b`", "no cell prints the claim '04-b'"),
        (": at least 0.95\\n", ": at least 0.9\\n", "must say 'at least 0.9'"),
    ],
)
def test_prose_that_says_something_else_is_reported(tmp_path, old, new, problem):
    found = book_claim_problems([sample(tmp_path, (old, new))])
    assert len(found) == 1
    assert found[0].startswith("04-sample.ipynb[intro]:")
    assert problem in found[0]


def test_other_pages_are_held_to_the_claims_too(tmp_path):
    page = sample(tmp_path)
    ledger = tmp_path / "ledger.md"
    ledger.write_text("# Ledger\n\nIt recalls at least 0.95 {claim}`04-recall`.\n", encoding="utf-8")
    assert book_claim_problems([page, read_page(ledger)]) == []
    ledger.write_text("# Ledger\n\n| S04 | at least 0.5 {claim}`04-recall` |\n", encoding="utf-8")
    assert book_claim_problems([page, read_page(ledger)]) == [
        "ledger.md:3: the sentence must say 'at least 0.95', as the claim 04-recall does"
    ]


def test_one_id_printed_by_two_cells_is_reported(tmp_path):
    pages_ = [sample(tmp_path), sample(tmp_path, name="04-twin.ipynb")]
    assert book_claim_problems(pages_) == [
        "04-twin.ipynb[measure]: the claim 04-recall is already printed by 04-sample.ipynb[measure]"
    ]


def test_an_example_of_the_role_is_no_reference(tmp_path):
    page = tmp_path / "how.md"
    page.write_text("Write ``{claim}`04-gone` `` here.\n\n```\n{claim}`04-gone`\n```\n", encoding="utf-8")
    assert book_claim_problems([read_page(page)]) == []


@pytest.mark.parametrize(
    ("text", "bound", "said"),
    [
        ("at least 0.95.", "at least 0.95", True),
        ("at least 0.95,", "at least 0.95", True),
        ("at least 0.955", "at least 0.95", False),
        ("at least 3.5", "at least 3", False),
        ("at least 3. Then", "at least 3", True),
        ("at most 1e-08", "at most 1", False),
        ("at most 1e-08", "at most 1e-08", True),
        ("near 1.5 (within 0.1) s", "near 1.5 (within 0.1)", True),
        ("near 1.5", "near 1.5 (within 0.1)", False),
    ],
)
def test_a_bound_is_quoted_whole(text, bound, said):
    assert quotes(text, bound) is said


def test_what_claim_prints_is_what_is_read(tmp_path, capsys):
    from attncourse.display import claim

    claim("04-recall", "the model recalls", 0.97, at_least=0.95, source="S04", verdict="holds")
    assert capsys.readouterr().out == CLAIM_LINE
    claim("04-small", "the gap: it is small", 1e-9, at_most=1e-8)
    claim("04-near", "the slope", 1.52, near=1.5, within=0.1)
    claim("04-not", "the slope", -2, at_most=-1, source="S38", verdict="holds with conditions")
    page = sample(tmp_path)
    page.code_cells[1]["outputs"][0]["text"] = capsys.readouterr().out
    assert [(one.text, one.bound) for one in claims_of(page)] == [
        ("the gap: it is small", "at most 1e-08"),
        ("the slope", "near 1.5 (within 0.1)"),
        ("the slope", "at most -1"),
    ]
