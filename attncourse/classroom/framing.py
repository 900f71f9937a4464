"""Put what a student wrote into the frame that was handed out.

What comes in is a file from a stranger. It is read as text, every cell is made anew from its source alone,
and nothing else of it survives: no outputs, no metadata, no attachments.
"""

import json
import os
import re
import stat
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

MAX_BYTES = 20 * 2**20
MAX_SOURCE = 200_000  # characters of a cell
MAX_CELLS = 500
TAG = re.compile(r"<(?=[A-Za-z/!?])")
LINK = re.compile(r"\]\((?!https?://|#|mailto:)")
DEFINITION = re.compile(r"\]:(?! *https?://)")


class Unreadable(Exception):
    """What was handed in cannot be graded; the text says why, to student and instructor."""


@dataclass(frozen=True)
class Framed:
    """A clean notebook, and what was odd about the one that came in."""

    notebook: NotebookNode
    remarks: tuple[str, ...] = ()


def read_bytes(path: Path) -> bytes:
    """Return the bytes of a file that a student handed in.

    Raises
    ------
    Unreadable
        If it is a link, no ordinary file, or too large.
    """
    try:
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        if path.is_symlink():
            raise Unreadable(f"{path.name} is a link to another file") from error
        raise Unreadable(f"{path.name} cannot be opened: {error.strerror}") from error
    try:
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode):
            raise Unreadable(f"{path.name} is no ordinary file")
        if about.st_size > MAX_BYTES:
            size = about.st_size / 2**20
            raise Unreadable(f"{path.name} is larger than {MAX_BYTES // 2**20} MiB: it has {size:.0f} MiB")
        with os.fdopen(fd, "rb", closefd=False) as file:
            return file.read(MAX_BYTES + 1)
    finally:
        os.close(fd)


def read_notebook(data: bytes, name: str) -> NotebookNode:
    """Return a notebook that holds the sources and grade ids of a student's, and nothing else.

    Raises
    ------
    Unreadable
        If it is no notebook.
    """
    if not data.strip():
        raise Unreadable(f"{name} is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # cells without an id, or with the same
            stored = nbformat.reads(data.decode("utf-8-sig"), as_version=4)
        cells = [_clean(cell) for cell in stored["cells"]]
    except UnicodeDecodeError as error:
        raise Unreadable(f"{name} is no text in UTF-8") from error
    except (nbformat.reader.NotJSONError, json.JSONDecodeError) as error:
        raise Unreadable(f"{name} is no notebook: not JSON") from error
    except (RecursionError, MemoryError) as error:
        raise Unreadable(f"{name} is no notebook: nested too deeply") from error
    except Exception as error:  # nbformat reads five old formats, each with errors of its own
        said = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise Unreadable(f"{name} is no notebook: {said}") from error
    if len(cells) > MAX_CELLS:
        raise Unreadable(f"{name} has more than {MAX_CELLS} cells: {len(cells)}")
    return nbformat.v4.new_notebook(cells=cells)


def _clean(cell: NotebookNode) -> NotebookNode:
    source = cell["source"]
    source = "".join(source) if isinstance(source, list) else source
    if not isinstance(source, str):
        raise ValueError("a cell's source is no text")
    if len(source) > MAX_SOURCE:
        raise ValueError(f"a cell has more than {MAX_SOURCE:,} characters")
    source = source.encode("utf-8", "replace").decode("utf-8")  # lone surrogates
    meta = {}
    grade_id = grade_id_of(cell)
    if grade_id:
        meta = {"nbgrader": {"grade_id": grade_id}}
    make = nbformat.v4.new_code_cell if cell["cell_type"] == "code" else nbformat.v4.new_markdown_cell
    return make(source, metadata=meta)


def grade_id_of(cell: NotebookNode) -> str:
    """Return the name by which nbgrader knows a cell, or an empty text."""
    meta = cell.get("metadata", {})
    inner = meta.get("nbgrader") if isinstance(meta, dict) else None
    found = inner.get("grade_id") if isinstance(inner, dict) else None
    return found if isinstance(found, str) else ""


def grade_ids(notebook: NotebookNode) -> set[str]:
    """Return the names of all cells that nbgrader knows."""
    return {grade_id for cell in notebook.cells if (grade_id := grade_id_of(cell))}


def harmless(text: str) -> str:
    """Return a Markdown text that runs no script in a grader's browser.

    A tag begins with "<" and a letter or one of "/!?", in every reading of Markdown; a space between them
    makes it text, also in code and in formulas. Links lead to web pages, or are no links.
    """
    return DEFINITION.sub("] :", LINK.sub("] (", TAG.sub("< ", text)))


def frame(theirs: NotebookNode, ours: NotebookNode, name: str) -> Framed:
    """Put a student's cells into the notebook that was handed out.

    Locked cells are as they were handed out, and the test stands behind the answers. Answers, and cells that
    the student added, keep their source and their order; their Markdown loses its HTML (`harmless`). A second
    copy of an answer runs as an ordinary cell, as it did for the student; a second copy of a test is dropped.
    Cells that are missing come back.

    Parameters
    ----------
    theirs : NotebookNode
        From `read_notebook`.
    ours : NotebookNode
        As handed out to this student, with nbgrader's metadata.
    name : str
        Of their file.

    Returns
    -------
    Framed
        A notebook of trusted metadata; `theirs` and `ours` are not modified.

    Raises
    ------
    Unreadable
        If no cell of theirs belongs to ours.
    """
    known = {grade_id_of(cell): cell for cell in ours.cells if grade_id_of(cell)}
    if not known.keys() & grade_ids(theirs):
        raise Unreadable(
            f"{name} holds none of the cells that are graded: it is another notebook, or its cells' metadata "
            "was stripped. Ask for it again, or copy the answer into a fresh notebook"
        )
    given = {cell.source for cell in ours.cells}
    cells, remarks, seen = [], [], set()
    for cell in theirs.cells:
        grade_id = grade_id_of(cell)
        if grade_id not in known:
            cells.append(_plain(cell) if cell.source in given else _theirs(cell))
        elif not known[grade_id].metadata["nbgrader"]["solution"]:
            if cell.source.strip() != known[grade_id].source.strip():
                remarks.append(_changed_test(cell.source, known[grade_id].source))
            if grade_id in seen:
                remarks.append("the test's cell stands there twice; the second was dropped")
            else:
                cells.append(_copy(known[grade_id]))
        elif grade_id in seen:
            remarks.append("an answer's cell stands there twice; both were run, in their order")
            cells.append(_theirs(cell))
        else:
            kept = _copy(known[grade_id])
            kept.source = cell.source if kept.cell_type == "code" else harmless(cell.source)
            if kept.cell_type != cell.cell_type:
                remarks.append(
                    f"an answer's cell was a {cell.cell_type} cell and was made {kept.cell_type} again"
                )
            cells.append(kept)
        seen.add(grade_id)
    for grade_id, cell in known.items():
        if grade_id not in seen:
            is_answer = cell.metadata["nbgrader"]["solution"]
            what = "an answer's cell" if is_answer else "the test's cell"
            remarks.append(f"{what} was missing and was put back{', empty' if is_answer else ''}")
            cells.insert(_place(cells, ours) if is_answer else len(cells), _copy(cell))
    if _move_test(cells):
        remarks.append("the test's cell stood before an answer and was moved behind it")
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=dict(ours.metadata))
    for number, cell in enumerate(notebook.cells, start=1):
        cell["id"] = f"cell-{number}"
    return Framed(notebook, tuple(dict.fromkeys(remarks)))


def _changed_test(theirs: str, ours: str) -> str:
    if "seed=" in ours and _seed(theirs) != _seed(ours):
        return (
            f"the test's cell asks for another version ({_seed(theirs) or 'none'}) than this student was "
            f"given ({_seed(ours)}); graded as this student's"
        )
    return "the test's cell was changed; graded with the one that was handed out"


def _seed(source: str) -> str:
    found = source.partition("seed=")[2]
    digits = found[: len(found) - len(found.lstrip("0123456789"))]
    return f"seed={digits}" if digits else ""


def _place(cells: Sequence[NotebookNode], ours: NotebookNode) -> int:
    """Return where a missing answer goes: before the first cell that is the student's own, or the test."""
    given = {cell.source for cell in ours.cells}
    places = (i for i, cell in enumerate(cells) if grade_id_of(cell) or cell.source not in given)
    return next(places, len(cells))


def _move_test(cells: list[NotebookNode]) -> bool:
    """Put the test behind the last answer, and say whether it was not."""
    graded = [i for i, cell in enumerate(cells) if grade_id_of(cell)]
    tests = [i for i in graded if not cells[i].metadata["nbgrader"]["solution"]]
    if not tests or tests[0] == graded[-1]:
        return False
    cells.insert(graded[-1], cells.pop(tests[0]))
    return True


def _theirs(cell: NotebookNode) -> NotebookNode:
    plain = _plain(cell)
    if plain.cell_type != "code":
        plain.source = harmless(plain.source)
    return plain


def _plain(cell: NotebookNode) -> NotebookNode:
    make = nbformat.v4.new_code_cell if cell.cell_type == "code" else nbformat.v4.new_markdown_cell
    return make(cell.source)


def _copy(cell: NotebookNode) -> NotebookNode:
    copied = _plain(cell)
    copied.metadata = nbformat.from_dict(dict(cell.metadata))
    return copied


def code_before_test(notebook: NotebookNode) -> list[str]:
    """Return the code cells up to the test, in their order."""
    cells = []
    for cell in notebook.cells:
        if grade_id_of(cell) and not cell.metadata["nbgrader"]["solution"]:
            return cells
        if cell.cell_type == "code":
            cells.append(cell.source)
    return cells


def their_code(notebook: NotebookNode, ours: NotebookNode) -> list[str]:
    """Return the code cells that differ from what was handed out."""
    given = {cell.source for cell in ours.cells}
    return [cell.source for cell in notebook.cells if cell.cell_type == "code" and cell.source not in given]
