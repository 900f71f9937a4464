"""Files that are not what a notebook should be: changed tests and metadata, broken JSON, links, odd names."""

import copy
import json
import os
from collections.abc import Callable
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from tests.classroom.handing_in import (
    ANYTHING,
    HEADS,
    RIGHT,
    WRONG,
    Case,
    Handout,
    Write,
    answer_cell,
    answering,
    check_cell,
    editing,
    own_cells,
    place,
    put,
    released,
    text_of,
)

PUT_BACK = "Tests and metadata are as handed out when it is graded; the answer gets what it deserves."
LISTED = "No score; listed with the reason. The other notebooks are graded."
CHANGED = r"(?i:check|test|cell|metadata|changed|differ|edited|missing|duplicate|copy|points)"
Change = Callable[[NotebookNode], None]


def changed(
    name: str,
    title: str,
    change: Change,
    *,
    answer: str = RIGHT,
    share: float = 1.0,
    look: str = CHANGED,
    outcome: str = PUT_BACK,
) -> Case:
    """Return a case with an answer and a change to the rest of the notebook."""

    def write(notebook: NotebookNode, handout: Handout) -> None:
        answer_cell(notebook, HEADS)["source"] = answer
        change(notebook)

    return Case(name, title, "hostile", HEADS, editing(HEADS, write), share, "graded", look, outcome)


def unreadable(name: str, title: str, write: Write, look: str = ".", alone: bool = False) -> Case:
    """Return a case without a score; the reason must not be empty."""
    return Case(name, title, "hostile", HEADS, write, None, "unreadable", look, LISTED, alone=alone)


# --- tests and metadata ---


def _delete_check(notebook: NotebookNode) -> None:
    del notebook.cells[place(notebook, f"{HEADS}-check")]


def _delete_everything_else(notebook: NotebookNode) -> None:
    notebook["cells"] = [answer_cell(notebook, HEADS)]


def _more_points(notebook: NotebookNode) -> None:
    check_cell(notebook, HEADS)["source"] = 'check("multihead.split-heads", split_heads).points(1000)'


def _hard_coded(notebook: NotebookNode) -> None:
    check_cell(notebook, HEADS)["source"] = "4.0"


def _copy_of_check(source: str | None = None) -> Change:
    """Return what copies the check's cell with its metadata, as JupyterLab does."""

    def change(notebook: NotebookNode) -> None:
        twin = copy.deepcopy(check_cell(notebook, HEADS))
        twin["source"] = twin["source"] if source is None else source
        notebook.cells.insert(place(notebook, f"{HEADS}-check"), twin)

    return change


def _copy_of_answer(first: str, second: str) -> Change:
    def change(notebook: NotebookNode) -> None:
        cell = answer_cell(notebook, HEADS)
        twin = copy.deepcopy(cell) | {"id": "a-copy"}
        cell["source"], twin["source"] = first, second
        notebook.cells.insert(place(notebook, f"{HEADS}-answer-1") + 1, NotebookNode(twin))

    return change


def _check_first(notebook: NotebookNode) -> None:
    """Move the check before the answer."""
    check = notebook.cells.pop(place(notebook, f"{HEADS}-check"))
    notebook.cells.insert(place(notebook, f"{HEADS}-answer-1"), check)


def _meta(cell_name: str, **values: object) -> Change:
    def change(notebook: NotebookNode) -> None:
        notebook.cells[place(notebook, f"{HEADS}-{cell_name}")].metadata["nbgrader"].update(values)

    return change


def _odd_meta(notebook: NotebookNode) -> None:
    check_cell(notebook, HEADS).metadata["nbgrader"] = ["points", 1000]


def _bonus(notebook: NotebookNode) -> None:
    """Add a cell that says it is worth a thousand points."""
    meta = check_cell(notebook, HEADS).metadata["nbgrader"]
    bonus = own_cells(["1000.0"])[0]
    bonus.metadata["nbgrader"] = {**meta, "grade_id": f"{HEADS}-bonus", "points": 1000}
    notebook.cells.append(bonus)


def _strip(notebook: NotebookNode, handout: Handout) -> None:
    answer_cell(notebook, HEADS)["source"] = RIGHT
    for cell in notebook.cells:
        cell["metadata"] = {}


def _rename_answer(notebook: NotebookNode, handout: Handout) -> None:
    cell = answer_cell(notebook, HEADS)
    cell["source"] = RIGHT
    cell.metadata["nbgrader"]["grade_id"] = "my-own-cell"


CELL_CASES = (
    changed("deletes-the-test", "Deletes the cell of the check", _delete_check),
    changed("deletes-all-but-the-answer", "Deletes everything but the answer", _delete_everything_else),
    changed("edits-the-points-of-the-test", "Asks the check for 1000 points", _more_points),
    changed("edits-the-test", "Writes full marks in the place of the check", _hard_coded, answer=WRONG,
            share=0.0),
    changed("duplicates-the-test", "Copies the cell of the check", _copy_of_check()),
    changed("duplicates-the-test-with-marks", "Copies the check's cell and writes full marks into it",
            _copy_of_check("4.0"), answer=WRONG, share=0.0),
    changed("duplicates-the-answer", "Copies the cell of the answer", _copy_of_answer(RIGHT, RIGHT)),
    changed("solves-in-a-copy", "Leaves the answer's cell alone and solves in a copy of it",
            _copy_of_answer("def split_heads(x, n_heads):\n    ...  # your code here", RIGHT)),
    changed("moves-the-test", "Moves the check before the answer", _check_first, look=ANYTHING),
    changed("more-points-in-metadata", "Writes 1000 points into the metadata", _meta("check", points=1000),
            look=ANYTHING),
    changed("odd-points-in-metadata", "Writes a text in the place of the points",
            _meta("check", points="NaN", schema_version="x"), look=ANYTHING),
    changed("test-without-grade", "Says in the metadata that the check does not count",
            _meta("check", grade=False, locked=False, solution=True, task=True), look=ANYTHING),
    changed("test-with-another-name", "Gives the check another name in the metadata",
            _meta("check", grade_id=f"{HEADS}-answer-1"), look=ANYTHING),
    changed("odd-metadata", "Puts a list in the place of the metadata", _odd_meta),
    changed("adds-a-graded-cell", "Adds a cell that says it is worth 1000 points", _bonus,
            look=ANYTHING),
    unreadable("strips-metadata", "Strips all metadata", editing(HEADS, _strip)),
    Case("renames-the-answer", "Gives the answer's cell another name in the metadata", "hostile", HEADS,
         editing(HEADS, _rename_answer), 1.0, "graded", r"(?i:missing|put back|answer)",
         "The cell is put back, empty, before the renamed one, which still counts; a remark says so."),
)  # fmt: skip


# --- no notebook at all ---


def content(make: str | bytes | Callable[[Handout], str | bytes]) -> Write:
    """Return what writes a content that is no saved notebook."""

    def write(handout: Handout, folder: Path) -> None:
        put(folder, f"{HEADS}.ipynb", make(handout) if callable(make) else make)

    return write


def answered(handout: Handout, answer: str = RIGHT) -> NotebookNode:
    """Return the notebook with an answer."""
    notebook = released(handout, HEADS)
    answer_cell(notebook, HEADS)["source"] = answer
    return notebook


def _cut_off(handout: Handout) -> str:
    text = text_of(answered(handout))
    return text[: len(text) // 2]


def _merge_conflict(handout: Handout) -> str:
    text = text_of(answered(handout))
    return text.replace('"cells": [', '<<<<<<< HEAD\n "cells": [', 1) + ">>>>>>> mine\n"


def _deep(handout: Handout) -> str:
    """Return a notebook whose metadata is nested 10,000 deep."""
    deep = '{"a":' * 10_000 + "1" + "}" * 10_000
    return text_of(answered(handout)).replace('"metadata": {', f'"metadata": {{"deep": {deep}, ', 1)


def _huge(handout: Handout) -> str:
    return text_of(answered(handout)).replace(
        '"metadata": {', '"metadata": {"x": "' + "x" * 60 * 2**20 + '", ', 1
    )


def _huge_number(handout: Handout) -> str:
    """Return a notebook with a number that Python refuses to read."""
    return text_of(answered(handout)).replace(
        '"execution_count": null', '"execution_count": ' + "9" * 5000, 1
    )


def _format_3(handout: Handout) -> str:
    return json.dumps(nbformat.convert(answered(handout), 3))


def _replaced(**values: object) -> Callable[[Handout], str]:
    return lambda handout: json.dumps({**answered(handout), **values})


def _odd_cells(handout: Handout) -> str:
    notebook = answered(handout)
    notebook["cells"] += [None, 7, {"cell_type": "code"}, {"cell_type": ["x"], "source": {"a": 1}}]
    return json.dumps(notebook)


def _surrogate(handout: Handout) -> str:
    return text_of(answered(handout, RIGHT + "\n# \ud800"))


FILE_CASES = (
    unreadable("empty", "An empty file", content("")),
    unreadable("broken-json", "Broken JSON", content(_cut_off)),
    unreadable("merge-conflict", "The marks of a merge conflict", content(_merge_conflict)),
    unreadable("binary", "Noise instead of text", content(bytes(range(256)) * 64)),
    unreadable("empty-object", "JSON that is no notebook", content("{}")),
    unreadable("not-an-object", "JSON that is a list", content('["cells"]')),
    unreadable("not-a-number", "JSON that is a number which does not exist", content("NaN")),
    unreadable("cells-as-text", "A notebook whose cells are a text", content(_replaced(cells="cells"))),
    unreadable("metadata-as-list", "A notebook whose metadata is a list", content(_replaced(metadata=[1]))),
    unreadable("odd-cells", "Cells that are no cells", content(_odd_cells)),
    unreadable("future-format", "A format that does not exist yet", content(_replaced(nbformat=99))),
    Case("format-3", "A notebook in the format of 2014", "hostile", HEADS, content(_format_3), 1.0, "graded",
         ANYTHING, "Read as a notebook of today; the answer gets what it deserves."),
    unreadable("ten-thousand-levels", "JSON with 10,000 levels", content(_deep)),
    unreadable("huge-number", "A number with 5,000 digits", content(_huge_number)),
    Case("half-a-character", "Half a character in the answer", "hostile", HEADS, content(_surrogate), 1.0,
         "graded", ANYTHING, "The character is replaced; the answer gets what it deserves."),
    unreadable("huge-file", "A file of 60 MB", content(_huge), look=r"(?i:MB|MiB|large|size)"),
    Case("null-byte", "A null byte in the answer", "hostile", HEADS, answering(HEADS, RIGHT + "\n\0"),
         0.0, "graded", ANYTHING, "0 points, as for a syntax error."),
    Case("nested-code", "An expression that is nested 50,000 deep", "hostile", HEADS,
         answering(HEADS, RIGHT + "\n\nx = " + "-" * 50_000 + "1"), 0.0, "graded", ANYTHING,
         "0 points: the cell cannot be run."),
)  # fmt: skip


# --- names, links, and things that are no files ---


def _several(handout: Handout, folder: Path) -> None:
    """Hand in three files, none with the right name."""
    for name in (f"{HEADS} (1).ipynb", f"{HEADS}-Copy1.ipynb", f"final-{HEADS}.ipynb"):
        put(folder, name, text_of(answered(handout)))


def _with_copies(handout: Handout, folder: Path) -> None:
    """Hand in the right file, and copies of it without a solution."""
    put(folder, f"{HEADS}.ipynb", text_of(answered(handout)))
    blank = text_of(released(handout, HEADS))
    put(folder, f"{HEADS}-Copy1.ipynb", blank)
    put(folder, f"{HEADS} (2).ipynb", blank)
    put(folder / ".ipynb_checkpoints", f"{HEADS}-checkpoint.ipynb", blank)


def link_to(target: Callable[[Handout, Path], Path | str]) -> Write:
    """Return what hands in a symbolic link."""

    def write(handout: Handout, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{HEADS}.ipynb").symlink_to(target(handout, folder))

    return write


def folder_link_to(target: Callable[[Handout, Path], Path | str]) -> Write:
    """Return what makes the student's whole folder a symbolic link."""

    def write(handout: Handout, folder: Path) -> None:
        if folder.is_dir():
            folder.rmdir()  # fails if something else was handed in
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.symlink_to(target(handout, folder))

    return write


def _source(handout: Handout, folder: Path) -> Path:
    return handout.course / "source" / handout.assignment


def _relative_source(handout: Handout, folder: Path) -> str:
    return os.path.relpath(_source(handout, folder) / f"{HEADS}.ipynb", folder)


def _other_student(handout: Handout, folder: Path) -> Path:
    """Return another student's file, or the first place where it would be."""
    others = sorted(folder.parent.parent.glob(f"*/{handout.assignment}/{HEADS}.ipynb"))
    mine = [path for path in others if path.parent != folder]
    return mine[0] if mine else folder.parent.parent / "somebody" / handout.assignment / f"{HEADS}.ipynb"


def _pipe(handout: Handout, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    os.mkfifo(folder / f"{HEADS}.ipynb")


def _is_folder(handout: Handout, folder: Path) -> None:
    put(folder / f"{HEADS}.ipynb", "answer.py", RIGHT)


RENAMED = "Found by its cells and graded; a remark says so."
LINK = r"(?i:link|ordinary|regular|not a file|no file|notebook)"
PLACE_CASES = (
    Case("renamed", "Handed in under another name", "hostile", HEADS,
         answering(HEADS, RIGHT, name="hw1-final(2).ipynb"), 1.0, "graded", r"(?i:renamed|name)", RENAMED),
    Case("renamed-as-a-formula", "Under a name that a spreadsheet would run", "hostile", HEADS,
         answering(HEADS, RIGHT, name="=1+1;@cmd <b>.ipynb"), 1.0, "graded", r"(?i:renamed|name)",
         RENAMED + " A spreadsheet shows the name as text."),
    Case("several-copies", "The right file, and copies of it", "hostile", HEADS, _with_copies, 1.0, "graded",
         ANYTHING, "The file with the right name counts."),
    unreadable("several-files", "Three files, none with the right name", _several,
               look=r"(?i:several|which|more than one|3|copies|candidates|files)"),
    unreadable("link-to-the-solution", "A link to the instructor's source",
               link_to(lambda handout, folder: _source(handout, folder) / f"{HEADS}.ipynb"), look=LINK),
    unreadable("relative-link-to-the-solution", "A relative link to the instructor's source",
               link_to(_relative_source), look=LINK),
    unreadable("link-to-passwd", "A link to /etc/passwd", link_to(lambda *_: "/etc/passwd"), look=LINK),
    unreadable("link-to-a-device", "A link to a file without end", link_to(lambda *_: "/dev/zero"),
               look=LINK),
    unreadable("link-to-nothing", "A link that leads nowhere", link_to(lambda *_: "nowhere.ipynb"),
               look=LINK),
    unreadable("link-to-itself", "A link to itself", link_to(lambda *_: f"{HEADS}.ipynb"), look=LINK),
    unreadable("link-to-another-student", "A link to another student's work", link_to(_other_student),
               look=LINK),
    unreadable("named-pipe", "A named pipe that nobody writes to", _pipe, look=LINK),
    unreadable("folder-as-a-notebook", "A folder with the name of the notebook", _is_folder, look=LINK),
    unreadable("folder-link", "The student's folder as a link to the instructor's sources",
               folder_link_to(_source), look=LINK, alone=True),
    unreadable("folder-link-to-root", "The student's folder as a link to /", folder_link_to(lambda *_: "/"),
               look=LINK, alone=True),
)  # fmt: skip

NOTEBOOK_CASES = CELL_CASES + FILE_CASES + PLACE_CASES
