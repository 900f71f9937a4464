"""The pages about the package show every public module, once, under the chapter that builds it."""

import re

import pytest

from tests.support.book import BOOK, none_of
from tests.support.progression import chapter_table, layers, module_files

pytestmark = pytest.mark.book
AUTO = re.compile(r"^\.\. automodule:: attncourse\.([\w.]+)\n   :members:$", re.MULTILINE)
HEADING = re.compile(r"^## (?:Chapter (\d+): (.+)|.+)$", re.MULTILINE)


def shown(texts):
    """Return (module, chapter or None) in the order of the pages."""
    found = []
    for text in texts:
        for part in re.split(r"(?m)^(?=## )", text):
            heading = HEADING.match(part)
            chapter = int(heading[1]) if heading and heading[1] else None
            found += [(name, chapter) for name in AUTO.findall(part)]
    return found


def api_problems(texts):
    """Return the modules that are missing, stand twice, or stand under another chapter or out of order."""
    table, files = chapter_table(), module_files()
    tasks = [f"tasks.{path.stem}" for path in files["tasks"] if not path.stem.startswith("_")]
    wanted = {name: table[name] for name in files if not name.startswith("_") and name != "tasks"}
    wanted |= dict.fromkeys(tasks)
    found, pairs = [], shown(texts)
    names = [name for name, _ in pairs]
    found += [f"{name} is on no page" for name in wanted if name not in names]
    found += [f"{name} is no public module" for name in names if name not in wanted]
    found += [f"{name} stands twice" for name in set(names) if names.count(name) > 1]
    found += [
        f"{name} stands under chapter {chapter}, and chapter {wanted[name]} builds it"
        for name, chapter in pairs
        if name in wanted and chapter != wanted[name]
    ]
    built = [name for name in names if wanted.get(name)]
    if not found and built != [name for name in layers() if name in built]:
        found.append("the modules do not stand in teaching order")
    return found


@pytest.fixture
def texts():
    return [path.read_text(encoding="utf-8") for path in sorted(BOOK.glob("api-*.md"), key=first_chapter)]


def first_chapter(path):
    found = HEADING.search(path.read_text(encoding="utf-8"))
    return int(found[1]) if found[1] else 0


def test_every_module_is_shown(texts):
    none_of(api_problems(texts))


def test_headings_are_the_chapters_titles(texts):
    for text in texts:
        for number, title in HEADING.findall(text):
            if number:
                (path,) = BOOK.glob(f"{int(number):02d}-*.ipynb")
                assert f"# {title}" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (".. automodule:: attncourse.masks\n", "", "masks is on no page"),
        ("attncourse.masks\n", "attncourse.attention\n", "attention stands twice"),
        ("attncourse.masks\n", "attncourse._checks\n", "_checks is no public module"),
        ("## Chapter 4:", "## Chapter 5:", "masks stands under chapter 5, and chapter 4 builds it"),
    ],
)
def test_a_planted_fault_is_found(texts, old, new, problem):
    assert problem in api_problems([text.replace(old, new) for text in texts])


def test_a_wrong_order_is_found(texts):
    swapped = [
        text.replace("attncourse.masks\n", "X").replace("attncourse.attention\n", "attncourse.masks\n")
        .replace("X", "attncourse.attention\n")
        for text in texts
    ]  # fmt: skip
    assert api_problems(swapped) == ["the modules do not stand in teaching order"]
