"""Parts of pages that programs write stand between comments, and what people wrote around them is kept."""

import pytest
from page_parts import MarkError, filled, table

pytestmark = pytest.mark.book
PAGE = """# Title

<!-- numbers: written by tools/some.py -->

old

<!-- end of numbers -->

After.
"""


def test_a_table_has_a_head_and_its_rows():
    assert table(("a", "b"), [(1, "x"), (2.5, "y")]) == "| a | b |\n| --- | --- |\n| 1 | x |\n| 2.5 | y |"


def test_only_what_stands_between_the_marks_changes():
    page = filled(PAGE, {"numbers": "new"}, "tools/some.py")
    assert page == PAGE.replace("old", "new")
    assert filled(page, {"numbers": "new"}, "tools/some.py") == page
    assert filled(PAGE, {}, "tools/some.py") == PAGE


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<!-- end of numbers -->", ""),
        ("<!-- numbers: written by tools/some.py -->\n", ""),
        ("tools/some.py", "tools/other.py"),
        ("<!-- end of numbers -->", "<!-- end of numbers --><!-- end of numbers -->"),
        ("# Title", "<!-- end of numbers -->\n# Title"),
    ],
)
def test_a_page_without_its_marks_is_refused(old, new):
    assert old in PAGE
    with pytest.raises(MarkError, match="must hold the marks of 'numbers' once, in order"):
        filled(PAGE.replace(old, new), {"numbers": "text"}, "tools/some.py")


def test_marks_in_the_wrong_order_are_refused():
    begin, end = "<!-- numbers: written by tools/some.py -->\n", "<!-- end of numbers -->\n"
    with pytest.raises(MarkError, match="once, in order"):
        filled(end + begin, {"numbers": "text"}, "tools/some.py")
