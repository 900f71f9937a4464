"""Read the exercises of the book: one MyST text file each, from which pages and notebooks are made.

A file ``book/exercises/<topic>-<name>.md`` holds the prompt, starter and solution in one cell (the solution
between ``### BEGIN SOLUTION`` and ``### END SOLUTION``), the check, three hints, the discussion. From it come

- the page of the book, with the starter in sight and hints and solution folded (`tools/exercise_pages.py`);
- `student_notebook`: the same without any solution;
- `grader_notebook`: the source for nbgrader, with the metadata of its cells.

Tags of code cells: ``answer`` (holds the solution), ``check``, ``try`` (shown to readers, needs their
answer), ``solution`` (belongs to the discussion); a cell without a tag runs as it is. Tags of Markdown cells,
where a question is answered in words: ``answer``, ``rubric``.
"""

import ast
import copy
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import yaml

from attncourse.classroom.public_address import site_address
from attncourse.exercises import _catalogue
from attncourse.exercises._exercise import Family

ROOT = Path(__file__).resolve().parents[2]

FOLDER = ROOT / "book" / "exercises"
STUB = "...  # your code here"
KINDS = ("implement", "vary", "measure", "mathematics", "bug hunt", "essay")
TAGS = {"code": {"answer", "check", "try", "solution"}, "markdown": {"answer", "rubric"}}
KEYS = {"id": str, "chapter": int, "kind": str, "level": int, "minutes": int, "points": int, "needs": list}
PLACEHOLDER = re.compile(r"<<(\w+)>>")
REGION = re.compile(r"^( *)### BEGIN SOLUTION\n.*?^ *### END SOLUTION(?:\n|\Z)", re.MULTILINE | re.DOTALL)
MARK = re.compile(r"^ *### (?:BEGIN|END) SOLUTION\n?", re.MULTILINE)
HINT = re.compile(r"^:::\{admonition\} Hint (\d)\n:class: dropdown\n(.*?)^:::$", re.MULTILINE | re.DOTALL)
SOLUTION = re.compile(r"^:::\{admonition\} Solution\n:class: dropdown\n(.*?)^:::$", re.MULTILINE | re.DOTALL)


LINK = re.compile(r"\]\((?!https?:)([\w./-]+)\.(?:ipynb|md)(#[\w-]+)?\)")
ROLE = re.compile(r"\{(term|cite(?::[pt])?)\}`([^`]+)`")


class BadExercise(ValueError):
    """A file of the exercise bank that does not keep to the format."""


@dataclass(frozen=True)
class Cell:
    """One cell of an exercise: ``kind`` is "markdown" or "code", ``tag`` one of TAGS or empty."""

    kind: str
    tag: str
    source: str

    def starter(self) -> str:
        """Return the code with every solution replaced by the stub."""
        return REGION.sub(lambda found: f"{found[1]}{STUB}\n", self.source).rstrip("\n")

    def solved(self) -> str:
        """Return the code with its solution, without the marks around it."""
        return MARK.sub("", self.source).rstrip("\n")


@dataclass(frozen=True)
class ExerciseFile:
    """An exercise as its file says it, with its placeholders filled in for one seed."""

    path: Path
    meta: Mapping[str, Any]
    cells: tuple[Cell, ...]
    seed: int = 0

    @property
    def slug(self) -> str:
        """The name of the file and of everything made from it: ``multihead-split-heads``."""
        return self.path.stem

    @property
    def id(self) -> str:
        """The name in the check: ``multihead.split-heads``."""
        return self.meta["id"]

    @property
    def has_checker(self) -> bool:
        """Whether a program can grade it."""
        return self.meta["kind"] != "essay"

    @cached_property
    def title(self) -> str:
        """The heading of the first cell.

        Raises
        ------
        BadExercise
            If the file does not begin with one.
        """
        found = re.match(r"# (.+)\n", self.cells[0].source + "\n")
        if found is None:
            raise BadExercise(f"{self.path.name}: the first cell must begin with the title, '# ...'")
        return found[1].strip()

    @property
    def is_family(self) -> bool:
        """Whether a seed chooses between versions."""
        return self.has_checker and isinstance(_catalogue.load(self.id), Family)

    @property
    def n_versions(self) -> int:
        """How many versions there are."""
        return len(_catalogue.load(self.id).versions) if self.is_family else 1

    def tagged(self, tag: str) -> list[Cell]:
        """Return the cells with a tag."""
        return [cell for cell in self.cells if cell.tag == tag]


def read_exercise(path: Path, seed: int = 0) -> ExerciseFile:
    """Read a file and fill in the words of the version that ``seed`` chooses.

    Raises
    ------
    BadExercise
        If the file does not keep to the format.
    """
    try:
        notebook = _parsed(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise BadExercise(f"{path.name}: the front matter is no YAML: {error}") from error
    meta = copy.deepcopy(dict(notebook.metadata.get("exercise") or {}))
    if missing := KEYS.keys() ^ meta.keys():
        raise BadExercise(
            f"{path.name}: the front matter must hold {sorted(KEYS)}; missing or unknown: {sorted(missing)}"
        )
    for key, kind in KEYS.items():
        if type(meta[key]) is not kind:
            raise BadExercise(f"{path.name}: {key} must be of type {kind.__name__}, got {meta[key]!r}")
    if meta["id"].replace(".", "-", 1) != path.stem:
        raise BadExercise(f"{path.name}: the id {meta['id']!r} must be the file's name with a dot")
    if meta["kind"] not in KINDS:
        raise BadExercise(f"{path.name}: kind must be one of {KINDS}, got {meta['kind']!r}")
    bare = ExerciseFile(path, meta, (), seed)
    words = _catalogue.load(bare.id).version(seed) if bare.is_family else {}

    def fill(found: re.Match) -> str:
        if found[1] == "seed":
            return str(seed)
        if found[1] not in words:
            raise BadExercise(f"{path.name}: no version has the word {found[0]}")
        return str(words[found[1]])

    cells = []
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        if len(tags) > 1 or not set(tags) <= TAGS.get(cell.cell_type, set()):
            raise BadExercise(f"{path.name}: a {cell.cell_type} cell with the tags {tags}")
        cells.append(Cell(cell.cell_type, tags[0] if tags else "", PLACEHOLDER.sub(fill, cell.source)))
    return ExerciseFile(path, meta, tuple(cells), seed)


@cache
def _parsed(text: str) -> nbformat.NotebookNode:
    """Return the cells of a file's text; nobody may change them."""
    return jupytext.reads(text, fmt="md:myst")


def exercise_paths(folder: Path = FOLDER) -> list[Path]:
    """Return the files of the bank."""
    return sorted(path for path in folder.glob("*-*.md"))


def execute(code: str, names: dict[str, Any], place: str) -> Any:
    """Run a cell as a notebook would, and return the value of its last line if that is an expression."""
    tree = ast.parse(code, filename=place)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, place, "exec"), names)
    return eval(compile(ast.Expression(last.value), place, "eval"), names) if last else None


def run_cells(exercise: ExerciseFile, *, solved: bool, answer: str | None = None) -> Any:
    """Run an exercise with its starter, its solution, or another answer; return what the check returns.

    The cells that only try or discuss an answer run with the solution alone.
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    value = None
    for index, cell in enumerate(cell for cell in exercise.cells if cell.kind == "code"):
        place = f"{exercise.path.name}, code cell {index + 1}"
        if cell.tag == "answer":
            execute(
                answer if answer is not None else cell.solved() if solved else cell.starter(), names, place
            )
        elif cell.tag == "check":
            value = execute(cell.source, names, place)
        elif cell.tag == "" or (solved and answer is None):
            execute(cell.source, names, place)
    return value


# --- what is made from a file -----------------------------------------------------------------------


def _notebook(cells: list[dict]) -> nbformat.NotebookNode:
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata["language_info"] = {"name": "python"}
    for index, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{index + 1}"
    return notebook


def for_notebook(markdown: str) -> str:
    """Return a Markdown text for any notebook program: no solution, no MyST, links that lead to the site.

    Hints fold by HTML, which every program shows folded; a directive would lie open in most.
    """
    text = SOLUTION.sub("", markdown)
    text = HINT.sub(r"<details>\n<summary>Hint \1</summary>\n\n\2\n</details>", text)
    text = LINK.sub(lambda found: f"]({site()}{_page(found[1])}.html{found[2] or ''})", text)
    return ROLE.sub(_plain_role, text).strip("\n")


@cache
def site() -> str:
    """Return the address of the book."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    return site_address(config["repository"]["url"])


def _page(target: str) -> str:
    """Return a page's path from the site's root; targets are relative to the folder of the exercises."""
    return target.removeprefix("../") if target.startswith("../") else f"exercises/{target}"


def _plain_role(found: re.Match) -> str:
    """Return what a role shows: the words of a term, a link to the bibliography for a citation."""
    role, text = found.groups()
    if role.startswith("cite"):
        return f"[{text}]({site()}bibliography.html)"
    return re.sub(r"\s*<[^>]*>$", "", text)


def _grade(
    slug: str, name: str, *, grade: bool = False, solution: bool = False, points: int | None = None
) -> dict:
    meta = {"schema_version": 3, "grade_id": f"{slug}-{name}", "grade": grade, "solution": solution,
            "locked": grade and not solution, "task": False}  # fmt: skip
    return {"nbgrader": meta | ({"points": points} if points is not None else {})}


def student_notebook(
    exercise: ExerciseFile, text: Callable[[str], str] = for_notebook
) -> nbformat.NotebookNode:
    """Return the notebook for a reader: prompt, starter, check and hints, no solution and no rubric.

    ``text`` makes of a Markdown cell what the reader's program can show, and leaves solutions out.
    """
    cells = []
    for cell in exercise.cells:
        if cell.tag in ("solution", "rubric"):
            continue
        if cell.kind == "code":
            source = cell.starter() if cell.tag == "answer" else cell.source
            cells.append(nbformat.v4.new_code_cell(source))
        elif source := ("*Your answer here.*" if cell.tag == "answer" else text(cell.source)):
            cells.append(nbformat.v4.new_markdown_cell(source))
    return _notebook(cells)


def grader_notebook(exercise: ExerciseFile) -> nbformat.NotebookNode:
    """Return the source notebook for nbgrader; its ``generate_assignment`` takes the solutions out."""
    cells, n_answers, points = [], 0, exercise.meta["points"]
    for cell in exercise.cells:
        if cell.tag in ("solution", "rubric"):
            continue
        meta = {}
        if cell.tag == "answer":
            n_answers += 1
            essay = cell.kind == "markdown"
            meta = _grade(
                exercise.slug,
                f"answer-{n_answers}",
                grade=essay,
                solution=True,
                points=points if essay else None,
            )
        elif cell.tag == "check":
            meta = _grade(exercise.slug, "check", grade=True, points=points)
        if cell.kind == "code":
            cells.append(nbformat.v4.new_code_cell(cell.source, metadata=meta))
        elif source := (cell.source if cell.tag else for_notebook(cell.source)):
            cells.append(nbformat.v4.new_markdown_cell(source, metadata=meta))
    return _notebook(cells)
