"""Right and wrong answers of students who mean no harm."""

import json
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from tests.classroom.handing_in import (
    ANYTHING,
    FAMILY,
    HEADS,
    LETTER,
    PARTS,
    READER,
    RIGHT,
    RIGHT_BODY,
    Case,
    Handout,
    Share,
    Source,
    Write,
    answer_cell,
    answering,
    at_top,
    check_cell,
    code,
    editing,
    inside,
    own_cells,
    place,
    put,
    released,
    solution,
    split_heads,
    text_of,
)

FULL = "Full points."
ZERO = "0 points; the feedback names the reason."
LETTER_TEXT = """Dear friend,

think of four readings of a thermometer and of somebody who asks for an hour in between.
Each reading gets a share, the shares sum to one, and the answer is the mixture.
Selection holds: what one entry gains, another loses. Effort does not: every entry is compared, which the
course counted; nor does the order, since all questions meet all entries at once.
The network learns how to compare. Which word gets the larger share is computed anew for each question.
"""


def right(
    name: str, title: str, write: Write, slug: str = HEADS, look: str = "", outcome: str = FULL
) -> Case:
    """Return a case with full points."""
    return Case(name, title, "right", slug, write, 1.0, "graded", look, outcome)


def wrong(
    name: str,
    title: str,
    answer: Source,
    slug: str = HEADS,
    share: Share = 0.0,
    outcome: str = ZERO,
    look: str = "",
) -> Case:
    """Return a case with a wrong answer in the answer's cell."""
    return Case(name, title, "wrong", slug, answering(slug, answer), share, "graded", look, outcome)


def _run_and_saved(notebook: NotebookNode, handout: Handout) -> None:
    """Leave outputs and numbers in every cell, as a notebook that was run holds them."""
    answer_cell(notebook, HEADS)["source"] = RIGHT
    codes = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for number, cell in enumerate(codes, start=1):
        cell["execution_count"] = number
        cell["metadata"]["execution"] = {"iopub.execute_input": "2026-11-21T10:00:00.000000Z"}
        cell["outputs"] = [nbformat.v4.new_output("stream", name="stdout", text="a line\n")]
    result = {"data": {"text/plain": "4.0"}, "execution_count": len(codes), "metadata": {}}
    check_cell(notebook, HEADS)["outputs"].append(nbformat.v4.new_output("execute_result", **result))
    notebook.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": {}}}


def _older_format(notebook: NotebookNode, handout: Handout) -> None:
    """Save as programs did before cells had ids."""
    answer_cell(notebook, HEADS)["source"] = RIGHT
    notebook["nbformat_minor"] = 2
    for cell in notebook.cells:
        del cell["id"]


def _colab(notebook: NotebookNode, handout: Handout) -> None:
    """Save as Google Colab does: its own metadata, another kernel's name, no ids."""
    answer_cell(notebook, HEADS)["source"] = RIGHT
    notebook["nbformat_minor"] = 0
    notebook.metadata["colab"] = {"provenance": [], "name": "Split.ipynb"}
    notebook.metadata["kernelspec"] = {"name": "python3-of-my-own", "display_name": "My environment"}
    for number, cell in enumerate(notebook.cells):
        del cell["id"]
        cell.metadata["id"] = f"aB3dE{number}"
        cell.metadata["colab"] = {"base_uri": "https://localhost:8080/"}


def _by_chunks(notebook: NotebookNode, handout: Handout) -> None:
    """Spread an answer over three cells, with lines of a Windows editor and a note in Markdown."""
    answer_cell(notebook, HEADS)["source"] = (
        "def split_heads(x, n_heads):\r\n    return _stacked(_runs(x, n_heads))"
    )
    at = place(notebook, f"{HEADS}-answer-1")
    behind = "def _stacked(runs):\r\n    return torch.stack(runs, dim=-3)"
    before = "def _runs(x, n_heads):\r\n    return x.chunk(n_heads, dim=-1)"
    notebook.cells[at + 1 : at + 1] = own_cells([behind])
    notebook.cells[at:at] = [nbformat.v4.new_markdown_cell("My *plan*: chunks.", id="plan")]
    notebook.cells[at:at] = own_cells([before])


def _with_mark(handout: Handout, folder: Path) -> None:
    """Save with a byte order mark, as some editors on Windows do."""
    notebook = released(handout, HEADS)
    answer_cell(notebook, HEADS)["source"] = RIGHT
    put(folder, f"{HEADS}.ipynb", "\ufeff" + text_of(notebook))


def _letter(text: str) -> Write:
    return editing(LETTER, lambda notebook, _: answer_cell(notebook, LETTER).update(source=text))


MAGICS = "%matplotlib inline\n" + RIGHT
PLOTS = at_top(
    """
    import matplotlib.pyplot as plt

    plt.imshow(torch.arange(12.0).reshape(3, 4))
    plt.title("features by token")
    plt.show()
    """
)
WARNS = at_top(
    """
    import warnings

    warnings.warn("I am not sure about the axes")
    """,
    inside('warnings.warn("called", stacklevel=2)\nprint("shape", tuple(x.shape))'),
)
ANOTHER_WAY = code(
    '''
    from __future__ import annotations

    import numpy as np


    class Splitter:
        """Callable, and nothing like the solution."""

        def __call__(self, x: torch.Tensor, n_heads: int) -> torch.Tensor:
            d_head = x.shape[-1] // n_heads
            rows = [x[..., h * d_head : (h + 1) * d_head].numpy() for h in range(n_heads)]
            return torch.from_numpy(np.stack(rows, axis=-3))


    split_heads = Splitter()
    '''
)

RIGHT_CASES = (
    right("solution", "The solution", answering(HEADS, solution(HEADS))),
    right("solution-of-a-version", "The solution of the student's own version",
          answering(FAMILY, solution(FAMILY)), FAMILY),
    right("solution-in-parts", "A dictionary with all its parts", answering(PARTS, solution(PARTS)), PARTS),
    right("solution-as-a-class", "A class", answering(READER, solution(READER)), READER),
    right("another-way", "A right answer written another way", answering(HEADS, ANOTHER_WAY)),
    right("helpers-in-own-cells", "Helper functions in cells that the student added",
          editing(HEADS, _by_chunks)),
    right("magics", "IPython magics in the answer and beside it",
          answering(HEADS, MAGICS, after=["%timeit -n 1 -r 1 split_heads(torch.ones(2, 6), 2)"])),
    right("failing-cell-after", "A cell of the student's own that fails, behind the check",
          answering(HEADS, RIGHT, after=["1 / 0"]), look=ANYTHING),
    right("slow-cell-after", "A slow cell of the student's own, behind the check",
          answering(HEADS, RIGHT, after=["import time\n\ntime.sleep(6)"]), look=ANYTHING),
    right("quits-at-the-end", "quit() in the last cell", answering(HEADS, RIGHT, after=["quit()"]),
          look=ANYTHING),
    right("warnings", "Harmless warnings and prints", answering(HEADS, WARNS)),
    right("plots", "Plots in the answer's cell", answering(HEADS, PLOTS)),
    right("run-and-saved", "Run from top to bottom and saved with its outputs",
          editing(HEADS, _run_and_saved)),
    right("older-format", "Saved by an older Jupyter", editing(HEADS, _older_format)),
    right("saved-by-colab", "Saved by Google Colab, for another kernel", editing(HEADS, _colab)),
    right("byte-order-mark", "Saved with a byte order mark", _with_mark, look=ANYTHING),
    Case("letter", "A letter, as asked", "right", LETTER, _letter(LETTER_TEXT), None, "manual", "",
         "Waits for a person in formgrader; the score stays open until then."),
)  # fmt: skip


def turned_round(handout: Handout) -> str:
    """Return the solution of the version that differs in what True means."""
    old, new = ("~mask", "mask") if "hidden = ~mask" in handout.solutions[FAMILY] else ("mask", "~mask")
    return handout.solutions[FAMILY].replace(f"hidden = {old}", f"hidden = {new}")


def scaled_otherwise(handout: Handout) -> str:
    """Return the solution of a version with another scale and the same masks."""
    by_length, by_root = "(1 / query.shape[-1])", "(1 / query.shape[-1] ** 0.5)"
    for line in handout.solutions[FAMILY].splitlines():
        if (found := line.partition(" * "))[1]:
            other = by_length if found[2] != by_length else by_root
            return handout.solutions[FAMILY].replace(found[2], other)
    raise ValueError("the solution of a version must multiply by its scale in one line")


def _later_name(handout: Handout) -> str:
    return handout.solutions[READER].replace("class Reader(", "class MyReader(")


def _last_column(handout: Handout) -> str:
    return handout.solutions[READER].replace("outputs[rows, lengths - 1]", "outputs[:, -1]")


def _first_part(handout: Handout) -> str:
    """Return the solution without its last two parts."""
    head, mark, _ = handout.solutions[PARTS].partition('answers["beta"]')
    return head + mark + ' = ...  # your code here\nanswers["n_keys"] = ...  # your code here'


def _rounded_up(handout: Handout) -> str:
    return handout.solutions[PARTS].replace("1 + math.floor(", "2 + math.floor(")


def _untouched(slug: str) -> Write:
    return editing(slug, lambda notebook, handout: None)


def _as_markdown(notebook: NotebookNode, handout: Handout) -> None:
    """Press "m" by mistake in the answer's cell."""
    cell = answer_cell(notebook, HEADS)
    cell.update(source=RIGHT, cell_type="markdown")
    del cell["outputs"], cell["execution_count"]


def _without_answer(notebook: NotebookNode, handout: Handout) -> None:
    del notebook.cells[place(notebook, f"{HEADS}-answer-1")]


def _another_exercise(handout: Handout, folder: Path) -> None:
    """Save the notebook of one exercise under the name of the other."""
    notebook = released(handout, FAMILY)
    answer_cell(notebook, FAMILY)["source"] = handout.solutions[FAMILY]
    put(folder, f"{HEADS}.ipynb", text_of(notebook))


def _saved_as_text(handout: Handout, folder: Path) -> None:
    """Hand in what a browser shows of a notebook: its JSON as a text."""
    put(folder, f"{HEADS}.ipynb", json.dumps(text_of(released(handout, HEADS))))


VIEW = split_heads("return x.reshape(*x.shape[:-2], n_heads, x.shape[-2], x.shape[-1] // n_heads)")
THREE_AXES = split_heads("return x.view(*x.shape[:2], n_heads, -1).transpose(1, 2)")

WRONG_CASES = (
    Case("untouched", "Handed in as it was handed out", "wrong", HEADS, _untouched(HEADS), 0.0, "graded", "",
         ZERO),
    Case("untouched-class", "A class handed in as it was handed out", "wrong", READER, _untouched(READER),
         0.0, "graded", "", ZERO),
    Case("untouched-letter", "A letter that was not written", "wrong", LETTER, _untouched(LETTER), 0.0,
         "graded", ANYTHING, "0 points; nobody has to read it."),
    wrong("syntax-error", "A syntax error", "def split_heads(x, n_heads)\n    return x", look=ANYTHING),
    wrong("raises", "A function that raises", split_heads('raise RuntimeError("no idea")')),
    wrong("raises-in-the-cell", "A cell that fails before the function", at_top("torch.no_such_name"),
          look=ANYTHING),
    wrong("three-axes-only", "A known mistake that is right for some inputs", THREE_AXES, share=(0.6, 1.0),
          outcome="Points for the properties that hold; the feedback names the mistake."),
    wrong("view-in-one-step", "A known mistake that is right for one head", VIEW, share=(0.0, 0.5),
          outcome="Points for one head; the feedback names the mistake."),
    wrong("one-part-of-three", "One part written, two left", _first_part, PARTS, (0.2, 0.5),
          "Points for the part that is there."),
    wrong("one-part-wrong", "Two parts right, one wrong", _rounded_up, PARTS, (0.5, 0.9),
          "Points for the parts that are right."),
    wrong("one-fault-left", "A bug hunt with one fault left", _last_column, READER, (0.3, 1.0),
          "Points for what was mended."),
    wrong("another-name", "The class under another name", _later_name, READER, look=ANYTHING),
    wrong("masks-of-another-version", "Copied from a neighbour whose mask means the opposite", turned_round,
          FAMILY),
    wrong("scale-of-another-version", "Copied from a neighbour whose scale is another", scaled_otherwise,
          FAMILY),
    wrong("exits-politely", "sys.exit in the function", inside("import sys\n\nsys.exit(0)"), look=ANYTHING),
    wrong("wrong-type", "A list instead of a tensor", split_heads(RIGHT_BODY + ".tolist()")),
    wrong("called-already", "The result of a call instead of the function",
          RIGHT + "\n\n\nsplit_heads = split_heads(torch.ones(2, 4), 2)"),
    wrong("emptied-answer", "Everything in the answer's cell deleted", "", look=ANYTHING),
    wrong("asks-for-input", "input() in the cell", at_top('n = int(input("How many heads? "))'),
          look=ANYTHING),
    wrong("ends-the-kernel", "quit() in the answer's cell", at_top("quit()", ""), look=ANYTHING),
    Case("answer-as-markdown", "The answer's cell turned into Markdown by mistake", "wrong", HEADS,
         editing(HEADS, _as_markdown), 1.0, "graded", ANYTHING,
         "The cell is code again; full points for a right answer."),
    Case("deleted-answer-cell", "The answer's cell deleted", "wrong", HEADS,
         editing(HEADS, _without_answer), 0.0, "graded", r"(?i:missing|put back|answer)",
         "0 points; the cell is put back empty, and a remark says so."),
    Case("another-exercise", "The notebook of another exercise under this name", "wrong", HEADS,
         _another_exercise, None, "unreadable", r"(?i:another|other|cell|answer|exercise)",
         "No score; listed with the reason."),
    Case("notebook-as-text", "The text of a notebook inside a text", "wrong", HEADS, _saved_as_text, None,
         "unreadable", r"(?i:notebook|read|JSON)", "No score; listed with the reason."),
)  # fmt: skip
