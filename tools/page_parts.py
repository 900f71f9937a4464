"""Fill in the parts of a page that programs write: each stands between two comments that name its program."""

from collections.abc import Iterable, Mapping, Sequence


class MarkError(ValueError):
    """A page has no place for a part, or more than one."""


def table(head: Sequence[str], rows: Iterable[Sequence]) -> str:
    """Return a table of a page."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in row)} |" for row in lines)


def filled(page: str, parts: Mapping[str, str], tool: str) -> str:
    """Return the page with the parts between their marks; what stands outside of them is kept.

    Parameters
    ----------
    page : str
        The page's source.
    parts : mapping of str to str
        What stands between ``<!-- NAME: written by TOOL -->`` and ``<!-- end of NAME -->``, by name.
    tool : str
        The program that writes them, such as ``tools/grading_tables.py``.

    Raises
    ------
    MarkError
        If a part has no place, or more than one.
    """
    for name, text in parts.items():
        marks = f"<!-- {name}: written by {tool} -->\n", f"<!-- end of {name} -->"
        if [page.count(mark) for mark in marks] != [1, 1] or page.index(marks[0]) > page.index(marks[1]):
            raise MarkError(f"the page must hold the marks of {name!r} once, in order")
        before, _, rest = page.partition(marks[0])
        page = f"{before}{marks[0]}\n{text}\n\n{marks[1]}{rest.partition(marks[1])[2]}"
    return page
