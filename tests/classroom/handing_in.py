"""How made-up students hand in: what they were given, and the changes they make to it before they save.

Files are written as JSON without nbformat's help, which would mend some of what is to be handed in broken.
"""

import copy
import json
import textwrap
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from nbformat import NotebookNode

HEADS = "multihead-split-heads"  # a function
FAMILY = "scaled-weigh-by-rule"  # a function, in another version for each seed
PARTS = "qkv-cosine-strength"  # a dictionary of functions
READER = "recurrence-mend-the-reader"  # a class, with faults to find
LETTER = "focus-letter-to-a-psychologist"  # a question in words
SLUGS = (HEADS, FAMILY, PARTS, READER, LETTER)


@dataclass(frozen=True)
class Handout:
    """What one student was given.

    Parameters
    ----------
    student, assignment : str
        Names of the folders.
    notebooks : mapping
        Slug to this student's released notebook, with nbgrader's metadata.
    solutions : mapping
        Slug to the source of the answer's cell with the right solution of this student's version.
    course : Path
        The course folder, which hostile answers look for.
    extra : mapping
        ``port``: where somebody listens on 127.0.0.1, whom nobody must reach.
    """

    student: str
    assignment: str
    notebooks: Mapping[str, NotebookNode]
    solutions: Mapping[str, str]
    course: Path
    extra: Mapping[str, str] = field(default_factory=dict)


Write = Callable[[Handout, Path], None]
Source = str | Callable[[Handout], str]
Share = float | tuple[float, float] | None

# What may be found in a record's reason and remarks; "" stands for no remark.
ANYTHING = r"(?s).*"
SUSPECT = r"(?i:suspicious|look at|import|assign|patch|exec|differ|inside|outside|get_ipython|calls|changes)"
LATE = r"(?i:not end|time|second|too long|stopped|loop|late|interrupt)"
DIED = r"(?i:died|dead|ended|exit|crash|kernel|kill|process|signal)"
GREEDY = r"(?i:memory|GiB|died|dead|ended|exit|kill|crash|process)"


@dataclass(frozen=True)
class Case:
    """One notebook that is handed in, and what must become of it.

    Parameters
    ----------
    name : str
        Unique, kebab-case.
    title : str
        Of its row in the book's table.
    kind : str
        "right", "wrong" or "hostile".
    slug : str
        The exercise.
    write : callable
        Takes the handout and ``submitted/<student>/<assignment>/``, and writes files there.
    share : float, pair of floats, or None
        Expected share of the points; a pair: strictly between these; None: no score.
    state : str
        Expected state of the record.
    look : str
        Found by ``re.search`` in the reason and the remarks of the record; empty: there is no remark.
    outcome : str
        What becomes of score and batch, for instructors.
    fools_inside : bool
        Whether the check in the student's own kernel is fooled and gives full points: then a test of the
        score that counts proves something.
    alone : bool
        Whether it takes the whole folder of the student, so that nothing else may be handed in beside it.
    """

    name: str
    title: str
    kind: str
    slug: str
    write: Write
    share: Share
    state: str
    look: str
    outcome: str
    fools_inside: bool = False
    alone: bool = False


def code(text: str) -> str:
    """Return an indented source without its margin."""
    return textwrap.dedent(text).strip("\n")


def released(handout: Handout, slug: str) -> NotebookNode:
    """Return a copy of a notebook that the student was given."""
    return copy.deepcopy(handout.notebooks[slug])


def grade_id(cell: NotebookNode) -> str | None:
    """Return nbgrader's name of a cell, if it has one."""
    meta = cell.metadata.get("nbgrader", {})
    return meta.get("grade_id") if isinstance(meta, Mapping) else None


def place(notebook: NotebookNode, name: str) -> int:
    """Return the number of the cell with a grade id."""
    return [grade_id(cell) for cell in notebook.cells].index(name)


def answer_cell(notebook: NotebookNode, slug: str) -> NotebookNode:
    """Return the cell of the answer."""
    return notebook.cells[place(notebook, f"{slug}-answer-1")]


def check_cell(notebook: NotebookNode, slug: str) -> NotebookNode:
    """Return the cell of the check."""
    return notebook.cells[place(notebook, f"{slug}-check")]


def own_cells(sources: Sequence[str]) -> list[NotebookNode]:
    """Return cells as a student adds them."""
    return [
        nbformat.v4.new_code_cell(text, id=f"own-{zlib.crc32(text.encode())}-{i}")
        for i, text in enumerate(sources)
    ]


def text_of(notebook: Mapping) -> str:
    """Return the file of a notebook; sources as lists of lines, as Jupyter saves them."""
    kept = json.loads(json.dumps(notebook))
    for cell in kept["cells"]:
        if isinstance(cell.get("source"), str):
            cell["source"] = cell["source"].splitlines(keepends=True)
    return json.dumps(kept, indent=1) + "\n"


def put(folder: Path, name: str, content: str | bytes) -> Path:
    """Write one file of a submission."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content, encoding="utf-8", newline="")
    return path


def answering(
    slug: str,
    source: Source,
    *,
    first: Sequence[str] = (),
    before: Sequence[str] = (),
    behind: Sequence[str] = (),
    after: Sequence[str] = (),
    name: str = "",
) -> Write:
    """Hand in an answer, perhaps with cells of one's own.

    Parameters
    ----------
    slug : str
        The exercise.
    source : str or callable
        The answer, or what makes it of the handout.
    first, before, behind, after : sequence of str
        Code cells at the top, right before the answer, right behind it, and at the end.
    name : str
        Of the file, if it is not the slug's.
    """

    def change(notebook: NotebookNode, handout: Handout) -> None:
        answer_cell(notebook, slug)["source"] = source if isinstance(source, str) else source(handout)
        at = place(notebook, f"{slug}-answer-1")
        notebook.cells[at + 1 : at + 1] = own_cells(behind)
        notebook.cells[at:at] = own_cells(before)
        notebook.cells[:0] = own_cells(first)
        notebook.cells += own_cells(after)

    return editing(slug, change, name=name)


def editing(slug: str, change: Callable[[NotebookNode, Handout], None], *, name: str = "") -> Write:
    """Hand in the released notebook with a change."""

    def write(handout: Handout, folder: Path) -> None:
        notebook = released(handout, slug)
        change(notebook, handout)
        put(folder, name or f"{slug}.ipynb", text_of(notebook))

    return write


def solution(slug: str) -> Callable[[Handout], str]:
    """Return what reads the right answer off a handout."""
    return lambda handout: handout.solutions[slug]


# Answers to HEADS. The wrong one has the right shape and the right type: only its numbers are wrong.
RIGHT_BODY = code(
    """
    *front, n_tokens, d_model = x.shape
    return x.reshape(*front, n_tokens, n_heads, d_model // n_heads).transpose(-3, -2)
    """
)
WRONG_BODY = code(
    """
    *front, n_tokens, d_model = x.shape
    return x.new_zeros(*front, n_heads, n_tokens, d_model // n_heads)
    """
)


def split_heads(body: str) -> str:
    """Return the function of the exercise HEADS with a body."""
    return "def split_heads(x, n_heads):\n" + textwrap.indent(body, "    ")


RIGHT, WRONG = split_heads(RIGHT_BODY), split_heads(WRONG_BODY)


def at_top(text: str, answer: str = RIGHT) -> str:
    """Return an answer's cell that does something before it defines the function."""
    return f"{code(text)}\n\n\n{answer}"


def inside(text: str, body: str = RIGHT_BODY) -> str:
    """Return an answer that does something at every call."""
    return split_heads(f"{code(text)}\n{body}")
