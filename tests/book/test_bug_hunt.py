"""The bug hunt can be played: every case has its parts, the test tells wrong from mended, starters run."""

import contextlib
import io
import re

import pytest

from tests.support.book import BOOK, Page, none_of, read_page, stdout_of

pytestmark = pytest.mark.book
CODE_PARTS = ("code", "seen", "yours", "test", "fix")
PARTS = (
    *("", "-code", "-saw", "-seen", "-find", "-yours"),
    *("-answer", "-test", "-mended", "-fix", "-story"),
)
FOLDED = ("test", "fix")


@pytest.fixture(scope="module")
def hunt() -> Page:
    return read_page(BOOK / "bug-hunt.ipynb")


def numbers(page: Page) -> list[str]:
    """Return the numbers of the cases: 01, 02, …"""
    return [found[1] for cell in page.cells if (found := re.fullmatch(r"bug-(\d\d)", cell["id"]))]


CASES = numbers(read_page(BOOK / "bug-hunt.ipynb"))


def cell_of(page: Page, name: str) -> dict:
    (cell,) = [cell for cell in page.cells if cell["id"] == name]
    return cell


def part_problems(page: Page) -> list[str]:
    """Return what is missing in the cases: parts in order, hints, folds, the kind of test."""
    found = []
    ids = [cell["id"] for cell in page.cells]
    for number in numbers(page):
        start = ids.index(f"bug-{number}")
        if ids[start : start + len(PARTS)] != [f"bug-{number}{part}" for part in PARTS]:
            found.append(f"bug {number}: its parts are not {PARTS} in this order")
            continue
        source = {part: cell_of(page, f"bug-{number}{part}")["source"] for part in PARTS}
        if f"(bug-{number})=\n## Bug {int(number)}: " not in source[""]:
            found.append(f"bug {number}: no label and heading")
        hints = re.findall(r"(?m)^:::\{admonition\} Hint (\d)\n:class: dropdown$", source["-find"])
        if hints != ["1", "2", "3"] or "**Find it.**" not in source["-find"]:
            found.append(f"bug {number}: no three folded hints")
        if ":class: dropdown" not in source["-story"] or "**Kind of test:**" not in source["-story"]:
            found.append(f"bug {number}: no folded story that ends with the kind of test")
        for part in CODE_PARTS:
            tags = cell_of(page, f"bug-{number}-{part}")["metadata"].get("tags", [])
            if ("hide-cell" in tags) != (part in FOLDED):
                found.append(f"bug {number}: {part} must {'' if part in FOLDED else 'not '}be folded")
        if not 6 <= len(source["-code"].splitlines()) <= 35:
            found.append(f"bug {number}: the code is not short")
        if not re.search(r"(?m)^\s*assert ", source["-seen"]):
            found.append(f"bug {number}: what its author saw checks nothing")
    return found


def run_parts(page: Page, number: str, *parts: str, names: dict | None = None) -> tuple[dict, str]:
    """Run the opening cells and then parts of one case; return the names they define and what they print."""
    names = {} if names is None else names
    ids = ["imports", "tools", *(f"bug-{number}-{part}" for part in parts)]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        for name in ids:
            exec(compile(cell_of(page, name)["source"], name, "exec"), names)
    return names, printed.getvalue()


def judged(page: Page, number: str, part: str) -> str:
    """Return the name of the version that a part's ``judge`` line tries with the book's test."""
    (name,) = re.findall(rf"judge\(test_{number}, (\w+)\)", cell_of(page, f"bug-{number}-{part}")["source"])
    return name


def test_there_are_bugs_to_hunt(hunt):
    assert len(CASES) >= 10
    assert [int(number) for number in CASES] == list(range(1, len(CASES) + 1))


def test_every_case_has_its_parts(hunt):
    none_of(part_problems(hunt))


@pytest.mark.parametrize(
    ("name", "old", "new", "problem"),
    [
        ("bug-02-find", "Hint 3", "Hint 4", "bug 02: no three folded hints"),
        ("bug-02-find", ":class: dropdown", "", "bug 02: no three folded hints"),
        ("bug-02-story", "**Kind of test:**", "", "bug 02: no folded story"),
        ("bug-02-seen", "assert ", "print", "bug 02: what its author saw checks nothing"),
        ("bug-02", "(bug-02)=", "", "bug 02: no label and heading"),
    ],
)
def test_a_missing_part_is_reported(name, old, new, problem):
    page = read_page(BOOK / "bug-hunt.ipynb")
    cell = cell_of(page, name)
    assert old in cell["source"]
    cell["source"] = cell["source"].replace(old, new)
    (found,) = part_problems(page)
    assert found.startswith(problem)


def test_a_lost_fold_or_cell_is_reported():
    page = read_page(BOOK / "bug-hunt.ipynb")
    cell_of(page, "bug-03-fix")["metadata"] = {}
    page.cells.remove(cell_of(page, "bug-05-test"))
    assert [one[:20] for one in part_problems(page)] == ["bug 03: fix must be ", "bug 05: its parts ar"]


@pytest.mark.parametrize("number", CASES)
def test_a_case_runs_by_itself_and_its_test_tells_wrong_from_mended(hunt, number):
    names, printed = run_parts(hunt, number, *CODE_PARTS)
    test, verdict = names[f"test_{number}"], names["verdict"]
    suspect, mended = judged(hunt, number, "test"), judged(hunt, number, "fix")
    assert suspect != mended
    # An error is no proof: the test must say in words what is wrong.
    assert verdict(test, names[suspect]).startswith("FAILS: ")
    assert len(verdict(test, names[suspect])) > len("FAILS: ")
    assert verdict(test, names[mended]) == "passes"
    stored = "".join(stdout_of(cell_of(hunt, f"bug-{number}-{part}")) for part in CODE_PARTS)
    assert printed == stored


@pytest.mark.parametrize("number", CASES)
def test_the_starter_runs_and_says_that_it_is_not_written(hunt, number):
    names, printed = run_parts(hunt, number, "code", "yours")
    suspect = judged(hunt, number, "test")
    assert printed == f"my_test_{number} on {suspect}: not written yet\n"
    assert names["verdict"](names[f"my_test_{number}"], names[suspect]) == "not written yet"


def test_a_readers_test_is_judged(hunt):
    names, _ = run_parts(hunt, "01", "code")

    def fails(version):
        raise AssertionError("so it is")

    def stops(version):
        return version.nothing

    def passes(version):
        version(*(names["torch"].ones(1, 2, 1, 1) for _ in range(3)))

    suspect = names["grid_attention"]
    assert names["verdict"](fails, suspect) == "FAILS: so it is"
    assert names["verdict"](stops, suspect) == "STOPS: AttributeError"
    assert names["verdict"](passes, suspect) == "passes"
    # A test that returns its comparison, instead of asserting it, catches nothing; it must not stop the page.
    for returned in (True, False, names["torch"].ones(2)):
        assert names["verdict"](lambda version, said=returned: said, suspect).startswith(
            "STOPS: a test asserts"
        )


def test_the_table_has_a_row_for_every_bug(hunt):
    lines = stdout_of(cell_of(hunt, "score-table")).splitlines()
    rows = [line.split()[0] for line in lines if re.match(r"\s*\d", line)]
    assert [int(number) for number in rows] == [int(number) for number in CASES]
    assert all(set(re.findall(r"\b(?:yes|no)\b|–", line)) for line in lines if re.match(r"\s*\d", line))


def test_readers_are_told_their_own_score(hunt):
    assert stdout_of(cell_of(hunt, "score-yours")) == f"your tests catch 0 of {len(CASES)} bugs\n"


def test_every_bug_stands_in_the_catalogue_of_mistakes():
    catalogue = (BOOK / "common-mistakes.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"\{ref\}`bug (\d+) <bug-(\d\d)>`", catalogue))
    assert linked == {(str(int(number)), number) for number in CASES}
