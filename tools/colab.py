"""Write copies of the chapters and exercises that read well and run in Colab, into _build/colab.

Usage::

    python tools/colab.py                     the copies fetch the branch `main` of the repository
    python tools/colab.py --commit HASH       they fetch this commit, so that text and package fit

The publishing workflow pushes the folder to the branch `colab`, to which the Colab buttons lead. Where
COURSE_SOLUTIONS=no the chapters' solutions are left out, as they are in the book.
"""

import argparse
import ast
import json
import os
import re
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from book_text import BOOK, labels, repository_url, site  # noqa: E402
from packaging.requirements import Requirement  # noqa: E402
from plain_text import PlainText  # noqa: E402

from attncourse.classroom.bank import SOLUTION, exercise_paths, read_exercise, student_notebook  # noqa: E402
from attncourse.classroom.public_address import owner_and_name  # noqa: E402

TARGET = ROOT / "_build" / "colab"
# The directives that enclose the cells of a solution. Both stand in Markdown cells of their own or begin one.
SOLUTION_START = re.compile(r"^:{3,}\{solution-start\} (?P<label>\S+)\n(?::.*\n)*:{3,}$", re.MULTILINE)
SOLUTION_END = re.compile(r"^:{3,}\{solution-end\}\n:{3,}$", re.MULTILINE)
ONE_SOLUTION = re.compile(r"^(:{3,})\{solution\} .*?^\1$", re.MULTILINE | re.DOTALL)
FIRST_CELL = """\
# @title Run this cell first
# It fetches the book's package where it is missing, as in Colab. PyTorch and NumPy stay as they are.
import os
import subprocess
import sys
from importlib.metadata import distributions
from importlib.util import find_spec

if find_spec("attncourse") is None:
    if not os.path.isdir("{name}/attncourse"):
        print("Fetching the book's package and its stored results ...")
        for step in ("init", "fetch --depth=1 {url} {ref}", "checkout FETCH_HEAD"):
            os.makedirs("{name}", exist_ok=True)
            subprocess.run(["git", "-C", "{name}", *step.split(), "--quiet"], check=True)
    there = {{str(one.name).lower() for one in distributions()}}
    missing = [one for one in "{needs}".split() if one not in there]
    if missing:
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *missing], check=True)
    os.chdir("{name}/book")  # chapters read book/results
    sys.path.insert(0, os.path.dirname(os.getcwd()))
"""


def first_cell(sources: list[str], ref: str) -> str:
    """Return the cell that makes the package importable where it is not.

    Parameters
    ----------
    sources : list of str
        The code of the notebook; what it imports from elsewhere is installed too, if it is missing.
    ref : str
        The branch or commit to fetch.

    Returns
    -------
    str
        Python code, which changes nothing where `attncourse` can be imported.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needs = [Requirement(line).name for line in project["dependencies"]]
    needs += sorted(imported(sources) - set(needs) - {"attncourse", "sklearn", "IPython"})
    url, name = repository_url(), owner_and_name(repository_url())[1]
    return FIRST_CELL.format(url=url, name=name, ref=ref, needs=" ".join(needs)).rstrip("\n")


def imported(sources: list[str]) -> set[str]:
    """Return the top-level names that code imports, without the standard library's."""
    nodes = [node for source in sources for node in ast.walk(ast.parse(source))]
    names = {one.name for node in nodes if isinstance(node, ast.Import) for one in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    return {name.partition(".")[0] for name in names} - sys.stdlib_module_names


# --- a chapter ---------------------------------------------------------------------------------------


def chapter_copy(path: Path, ref: str, *, solutions: bool = True) -> nbformat.NotebookNode:
    """Return the reading copy of a chapter.

    Parameters
    ----------
    path : Path
        The stored notebook.
    ref : str
        The branch or commit that the first cell fetches.
    solutions : bool
        Whether the solutions stay, folded.

    Returns
    -------
    NotebookNode
        With its outputs, but for those of solutions.

    Raises
    ------
    PlainTextError
        If the chapter holds what has no counterpart.
    """
    text, cells = PlainText(path.stem), []
    for cell, solved in _with_solutions(json.loads(path.read_text(encoding="utf-8"))["cells"]):
        text.cell, source = cell["id"], "".join(cell["source"])
        if solved and not solutions:
            continue
        if cell["cell_type"] == "code":
            cells += _code_cells(cell, source, text, solved=solved)
            continue
        if not solutions:
            source = ONE_SOLUTION.sub("", source)
        shown = text.folded(solved, source) if solved else text.markdown(source)
        if shown:
            cells.append(_cell("markdown", cell["id"], shown))
    return _notebook(cells, text, ref)


def _with_solutions(cells: list[dict]) -> Iterator[tuple[dict, str]]:
    """Yield the cells, each with the title of the solution that it belongs to, or "".

    The directives around a solution go. A cell that holds its beginning or end is cut there.
    """
    title = ""
    for cell in cells:
        if cell["cell_type"] == "code":
            yield cell, title
            continue
        parts, source = [], "".join(cell["source"])
        while found := (SOLUTION_END if title else SOLUTION_START).search(source):
            parts.append((source[: found.start()], title))
            title = "" if title else f"Solution: {labels()[found['label']].text}"
            source = source[found.end() :]
        parts.append((source, title))
        for number, (part, belongs) in enumerate((one for one in parts if one[0].strip()), 1):
            name = cell["id"] if number == 1 else f"{cell['id']}-{number}"
            yield {**cell, "id": name, "source": part}, belongs


def _code_cells(cell: dict, source: str, text: PlainText, *, solved: str) -> list[dict]:
    """Return a code cell as Colab shows it, with the caption of its figure behind it."""
    tags, about = cell["metadata"].get("tags", []), cell["metadata"].get("mystnb", {})
    figure = about.get("figure", {})
    new = _cell("code", cell["id"], source)
    new["outputs"] = [] if solved or "hide-output" in tags else _shown_outputs(cell["outputs"])
    new["execution_count"] = cell["execution_count"] if new["outputs"] else None
    if solved or {"hide-input", "hide-cell"} & set(tags):
        # Colab shows the title alone until a reader opens the cell
        label = labels().get(figure.get("name"))
        title = solved or (f"{label.text}: the code that draws it" if label else "Show the code")
        new["source"] = f"# @title {title}\n{source}"
        new["metadata"]["cellView"] = "form"
    if not figure or solved:
        return [new]
    caption = text.caption(figure.get("name", ""), figure.get("caption", ""))
    if alt := about.get("image", {}).get("alt"):
        caption += "\n\n" + text.folded("The figure in words", alt)
    return [new, _cell("markdown", f"{cell['id']}-caption", caption)]


def _shown_outputs(outputs: list[dict]) -> list[dict]:
    """Return stored outputs without the text that stands for a figure where figures cannot be shown."""
    kept = [nbformat.from_dict(one) for one in outputs]
    for one in kept:
        if "image/png" in one.get("data", {}):
            one["data"].pop("text/plain", None)
    return kept


# --- an exercise -------------------------------------------------------------------------------------


def exercise_copy(path: Path, ref: str) -> nbformat.NotebookNode:
    """Return the reader's notebook of an exercise for Colab; it holds no solution.

    Parameters
    ----------
    path : Path
        The exercise's file.
    ref : str
        The branch or commit that the first cell fetches.

    Returns
    -------
    NotebookNode
        Without outputs.

    Raises
    ------
    PlainTextError
        If the exercise holds what has no counterpart.
    """
    text = PlainText(f"exercises/{path.stem}")
    notebook = student_notebook(read_exercise(path), lambda source: text.markdown(SOLUTION.sub("", source)))
    return _notebook(notebook.cells, text, ref)


# --- all of them -------------------------------------------------------------------------------------


def _cell(kind: str, name: str, source: str) -> dict:
    make = nbformat.v4.new_code_cell if kind == "code" else nbformat.v4.new_markdown_cell
    return make(source, id=name)


def _notebook(cells: list[dict], text: PlainText, ref: str) -> nbformat.NotebookNode:
    """Return a notebook with the line that leads back to the book, and the first cell."""
    code = [cell["source"] for cell in cells if cell["cell_type"] == "code"]
    kind = "exercise" if text.page.startswith("exercises/") else "chapter"
    head = (
        f"*A copy for Colab of [this {kind}]({text.address}) of the book "
        f"[Attention, step by step]({site()}). What you change stays in your own session.*"
    )
    start = _cell("code", "fetch-the-package", first_cell(code, ref))
    start["metadata"]["cellView"] = "form"
    notebook = nbformat.v4.new_notebook(cells=[_cell("markdown", "about-this-copy", head), start, *cells])
    notebook.metadata = {
        "colab": {"provenance": [], "toc_visible": True},
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    nbformat.validate(notebook)
    return notebook


def copies(ref: str, *, solutions: bool) -> Iterator[tuple[str, nbformat.NotebookNode]]:
    """Yield the path below the folder and the notebook of every copy."""
    for path in sorted(BOOK.glob("*.ipynb")):
        yield path.name, chapter_copy(path, ref, solutions=solutions)
    for path in exercise_paths():
        yield f"exercises/{path.stem}.ipynb", exercise_copy(path, ref)


def write(target: Path, ref: str, *, solutions: bool) -> int:
    """Write all copies into an emptied folder and return their number."""
    shutil.rmtree(target, ignore_errors=True)
    (target / "exercises").mkdir(parents=True)
    made = dict(copies(ref, solutions=solutions))
    for name, notebook in made.items():
        (target / name).write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
    note = f"Copies for Colab, made by tools/colab.py of {repository_url()}: do not edit them here.\n"
    (target / "README.md").write_text(note, encoding="utf-8")
    return len(made)


def main() -> int:
    """Write the copies."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--commit", default="main", help="what the first cell fetches (default: main)")
    parser.add_argument("--target", type=Path, default=TARGET, help="the folder (default: _build/colab)")
    options = parser.parse_args()
    solutions = os.environ.get("COURSE_SOLUTIONS", "yes") != "no"
    print(f"{write(options.target, options.commit, solutions=solutions)} notebooks in {options.target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
