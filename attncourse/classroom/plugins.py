"""Steps that nbgrader takes for us: refuse what is not protected, clean outputs, put the trusted score in."""

import re
from typing import Any

from nbconvert.preprocessors import Preprocessor
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_output
from nbgrader.utils import determine_grade, is_grade, is_solution
from traitlets import Bool

RUBRIC_TAG = "attncourse-rubric"
MAX_TEXT = 10_000  # characters of each output
MAX_OUTPUTS = 50  # of each cell
MAX_PICTURE = 2**20  # characters of base64
COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
CONTROL = re.compile(r"[^\n\t\x20-\U0010ffff]")


class Step(Preprocessor):
    """A step that is always taken; nbconvert's own wait to be switched on."""

    enabled = Bool(True).tag(config=True)


class Refuse(Step):
    """Stop nbgrader's own autograde: it would run students' code without protection."""

    def preprocess(self, notebook: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        """Refuse.

        Raises
        ------
        RuntimeError
            Always.
        """
        raise RuntimeError("grade with `attncourse grade`: it runs students' code in a sandbox")


def _short(text: Any) -> str:
    text = "".join(map(str, text)) if isinstance(text, list) else str(text)
    text = CONTROL.sub("", COLOUR.sub("", text))
    if len(text) <= MAX_TEXT:
        return text
    return f"{text[:MAX_TEXT]}\n… ({len(text) - MAX_TEXT:,} more characters)\n"


def clean_output(output: NotebookNode) -> NotebookNode | None:
    """Return an output as plain text or a picture, cut to a bearable size; None for anything else.

    A kernel in a student's hands may send scripts for the instructor's browser, and as much as it likes.
    Of a traceback remain the lines in the notebook and the error, not those in our files.
    """
    kind = output.get("output_type")
    if kind == "stream":
        name = "stderr" if output.get("name") == "stderr" else "stdout"
        return new_output("stream", name=name, text=_short(output.get("text", "")))
    if kind == "error":
        trace = [COLOUR.sub("", str(line)) for line in output.get("traceback", ())]
        kept = [_short(line) for line in trace if not line.lstrip().startswith("File ")]
        name, value = _short(output.get("ename", "")), _short(output.get("evalue", ""))
        return new_output("error", ename=name, evalue=value, traceback=kept)
    if kind not in ("execute_result", "display_data"):
        return None
    data = output.get("data", {})
    picture = data.get("image/png")
    shown = {"text/plain": _short(data.get("text/plain", ""))}
    if isinstance(picture, str) and len(picture) <= MAX_PICTURE:
        shown["image/png"] = picture
    return new_output("display_data", data=shown)


class Finish(Step):
    """Clean all outputs, note what the student's kernel said, and put the trusted outcome in its place.

    Parameters
    ----------
    report : str
        What the check says, from outside.
    points : float or None
        The score that counts; None for a question in words.
    rubric : str
        For the person who grades; a cell of its own, which the feedback leaves out.
    """

    def __init__(self, report: str = "", points: float | None = None, rubric: str = "") -> None:
        super().__init__()
        self.report, self.points_outside, self.rubric = report, points, rubric
        self.inside: float | None = None

    def preprocess(self, notebook: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        """Do so."""
        cells = []
        for cell in notebook.cells:
            cells.append(cell)
            if cell.cell_type == "code":
                self._finish(cell)
            if self.rubric and is_grade(cell) and is_solution(cell):
                metadata = {"tags": [RUBRIC_TAG]}
                cells.append(new_markdown_cell(f"**For the grader**\n\n{self.rubric}", metadata=metadata))
        notebook.cells = cells
        return notebook, resources

    def _finish(self, cell: NotebookNode) -> None:
        if is_grade(cell) and not is_solution(cell):
            if cell.outputs:
                try:
                    self.inside = determine_grade(cell)[0]
                except (ValueError, KeyError, TypeError):
                    self.inside = None  # more than full points, say
            report = _short(self.report)  # it may quote what the answer gave
            cell.outputs = [new_output("stream", name="stdout", text=report)] if report else []
            result = {"text/plain": repr(float(self.points_outside or 0.0))}
            cell.outputs.append(new_output("execute_result", data=result, execution_count=1))
            return
        cleaned = [clean_output(output) for output in cell.outputs[:MAX_OUTPUTS]]
        cell.outputs = [output for output in cleaned if output is not None]


class DropRubric(Step):
    """Leave the grader's rubric out of what the student gets."""

    def preprocess(self, notebook: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        """Do so."""
        notebook.cells = [cell for cell in notebook.cells if RUBRIC_TAG not in cell.metadata.get("tags", ())]
        return notebook, resources
