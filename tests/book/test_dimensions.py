"""The messages that the page "Dimension bookkeeping" quotes are those that chapter 3 produces."""

import re

import pytest

from tests.support.book import BOOK, read_page

pytestmark = pytest.mark.book
MESSAGE = re.compile(r"(?m)^(?:ValueError|TypeError): .+$")
GOES_ON = re.compile(r"\n    (?=\S)")  # show_error wraps long lines


def test_quoted_messages_are_produced_by_chapter_3():
    quoted = MESSAGE.findall((BOOK / "dimensions.md").read_text(encoding="utf-8"))
    chapter = read_page(BOOK / "03-queries-keys-values.ipynb")
    (cell,) = [cell for cell in chapter.code_cells if cell["id"] == "size-errors"]
    printed = "".join(text for output in cell["outputs"] for text in output["text"])
    produced = MESSAGE.findall(GOES_ON.sub(" ", printed))
    assert quoted, "no message found: this test would pass by checking nothing"
    assert quoted == produced
