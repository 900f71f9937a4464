"""Make the pages of the exercise bank: one for each exercise, and the lists of the book and its chapters.

Usage::

    python tools/exercise_pages.py write          the lists in the chapters and in book/_toc.yml
    python tools/exercise_pages.py notebooks      the readers' notebooks, into book/exercises/_notebooks/

The Sphinx glue (`book/_ext/courseext.py`) calls `page_text` and `list_text` when the book is built.
"""

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import nbformat
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from notebooks import normal_form, write_atomically  # noqa: E402

from attncourse.classroom.bank import (  # noqa: E402
    HINT,
    SOLUTION,
    ExerciseFile,
    exercise_paths,
    read_exercise,
    student_notebook,
)
from attncourse.classroom.public_address import colab_address, owner_and_name  # noqa: E402

BOOK = ROOT / "book"
FOLDER = BOOK / "exercises"
NOTEBOOKS = FOLDER / "_notebooks"
LIST_CELL, HEADING_CELL = "exercise-list", "exercises"
LIST_MARK = "<!-- list of exercises -->"
TOC_LIST = re.compile(r"(      - file: exercises\n        sections:\n)(?:          - file: exercises/\S+\n)*")
OLD_EXERCISE = re.compile(r"^:::\{exercise\} (.+?) \(level (\d)\)\n:label: (\S+)$", re.MULTILINE)


def all_exercises() -> list[ExerciseFile]:
    """Return the bank in the order of the chapters, easy exercises first."""
    found = [read_exercise(path) for path in exercise_paths(FOLDER)]
    return sorted(
        found, key=lambda one: (one.meta["chapter"], one.meta["level"], one.meta["minutes"], one.slug)
    )


def chapter_file(number: int, book: Path = BOOK) -> Path:
    """Return the notebook of a chapter."""
    (path,) = book.glob(f"{number:02d}-*.ipynb")
    return path


def chapter_title(number: int) -> str:
    """Return the title of a chapter."""
    found = re.search(r'"# ([^"\\]+)', chapter_file(number).read_text(encoding="utf-8"))
    return found[1].strip()


def python_block(code: str) -> str:
    """Return code as a block of a page."""
    return f"```python\n{code}\n```"


def folded(title: str, text: str, extra: str = "") -> str:
    """Return a folded part of a page; longer fences inside stay inside."""
    return f"::::{{admonition}} {title}\n:class: dropdown{extra}\n{text.strip()}\n::::"


def binder_link(slug: str, repository: Mapping) -> str:
    """Return the address that starts Binder with the reader's notebook open."""
    owner, name = owner_and_name(repository["url"])
    path = f"lab/tree/{repository['path_to_book']}/exercises/_notebooks/{slug}.ipynb"
    return f"https://mybinder.org/v2/gh/{owner}/{name}/{repository['branch']}?urlpath={path}"


def places_to_work(slug: str, repository: Mapping, *, solutions: bool) -> str:
    """Return the links to the reader's notebook; where solutions are withheld, none that leads to them."""
    download = f'<a href="{slug}.ipynb" download>Download the notebook</a>'
    if not solutions:  # on Binder and in Colab the repository lies beside the notebook
        return f"<p>{download}</p>"
    binder, colab = binder_link(slug, repository), colab_address(repository["url"], f"exercises/{slug}")
    return f'<p><a href="{binder}">Open in Binder</a> · <a href="{colab}">Open in Colab</a> · {download}</p>'


def facts(exercise: ExerciseFile, places: str) -> str:
    """Return the lines under the title: where it belongs, what it takes, where to work on it."""
    meta = exercise.meta
    chapter = chapter_file(meta["chapter"]).name
    points = "1 point" if meta["points"] == 1 else f"{meta['points']} points"
    line = " · ".join(
        [
            f"[Chapter {meta['chapter']}](../{chapter})",
            kind_text(meta["kind"]),
            f"level {meta['level']} of 3",
            f"{meta['minutes']} minutes",
            points,
        ]
    )
    parts = [
        ":::{container} exercise-facts",
        line,
        "",
        f"You need: {'; '.join(meta['needs'])}.",
        "",
        "```{raw} html",
        places,
        "```",
        ":::",
    ]
    if exercise.is_family:
        parts += [
            "",
            f"*This exercise has {exercise.n_versions} versions, chosen by the seed in the check's cell.*",
            "*The page shows the first; an instructor may hand out another.*",
        ]
    return "\n".join(parts)


def _code(exercise: ExerciseFile, cell) -> str:
    return python_block(cell.starter() if cell.tag == "answer" else cell.source)


def page_text(exercise: ExerciseFile, repository: Mapping, *, solutions: bool = True) -> str:
    """Return the MyST source of an exercise's page.

    Parameters
    ----------
    exercise : ExerciseFile
        In the version that the page shows.
    repository : Mapping
        ``url``, ``branch`` and ``path_to_book`` of `_config.yml`.
    solutions : bool
        Whether the page holds the solution, the model answer and the rubric, folded.

    Returns
    -------
    str
        The whole page.
    """
    answers = [cell.solved() for cell in exercise.tagged("answer") if cell.kind == "code"]
    after = [cell.source for cell in exercise.tagged("solution")]

    def solution(found: re.Match) -> str:
        if not solutions:
            return ""
        blocks = [*map(python_block, answers), found[1].strip(), *map(python_block, after)]
        return folded("Solution", "\n\n".join(blocks), " exercise-solution")

    parts, answered = [], []  # what gives the answer away comes after the hints
    for index, cell in enumerate(exercise.cells):
        if cell.kind == "code":
            if cell.tag != "solution":
                parts.append(_code(exercise, cell))
        elif cell.tag == "answer":
            if solutions:
                answered.append(folded("A model answer", cell.source, " exercise-solution"))
        elif cell.tag == "rubric":
            if solutions:
                answered.append(folded("Rubric for graders", cell.source, " exercise-solution"))
        else:
            text = HINT.sub(lambda found: folded(f"Hint {found[1]}", found[2]), cell.source)
            text = SOLUTION.sub(solution, text)
            if index == 0:
                title, _, rest = text.partition("\n")
                about = facts(exercise, places_to_work(exercise.slug, repository, solutions=solutions))
                text = f"({label_of(exercise.slug)})=\n{title}\n\n{about}\n{rest}"
            parts.append(text)
    return "\n\n".join(parts + answered) + "\n"


def label_of(slug: str) -> str:
    """Return the label by which pages refer to an exercise."""
    return f"ex-{slug}"


def kind_text(kind: str) -> str:
    """Return a kind as the lists show it."""
    return "question in words" if kind == "essay" else kind


def inside_chapters() -> list[tuple[int, str, int, str]]:
    """Return chapter, title, level and label of the exercises that stand in the chapters themselves."""
    found = []
    for path in sorted(BOOK.glob("[0-9][0-9]-*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            for title, level, label in OLD_EXERCISE.findall("".join(cell["source"])):
                found.append((int(path.name[:2]), title, int(level), label))
    return found


def list_text() -> str:
    """Return the table of all exercises; the page's script adds the filters."""
    rows = []
    for one in all_exercises():
        meta = one.meta
        name, versions = f"[{one.title}](exercises/{one.slug}.md)", one.n_versions if one.is_family else "–"
        about = (meta["chapter"], kind_text(meta["kind"]), meta["level"], meta["minutes"], meta["points"])
        rows.append((name, *about, versions))
    rows += [
        (f"{{ref}}`{title} <{label}>`", chapter, "in the chapter", level, "–", "–", "–")
        for chapter, title, level, label in inside_chapters()
    ]
    rows.sort(key=lambda row: (row[1], row[3]))
    head = ("Exercise", "Chapter", "Kind", "Level", "Minutes", "Points", "Versions")
    lines = [head, ["---"] * len(head), *rows]
    table = "\n".join(f"| {' | '.join(map(str, row))} |" for row in lines)
    return f":::{{container}} exercise-table\n{table}\n:::"


def chapter_list(number: int, exercises: Sequence[ExerciseFile]) -> str:
    """Return the list that stands at the end of a chapter."""
    lines = []
    for one in exercises:
        if one.meta["chapter"] == number:
            meta = one.meta
            versions = f", {one.n_versions} versions" if one.is_family else ""
            about = f"{kind_text(meta['kind'])}, level {meta['level']}, {meta['minutes']} minutes"
            link = f"[{one.title}](exercises/{one.slug}.md)"
            lines.append(f"- {link}: {about}, {meta['points']} points{versions}")
    return "\n".join(lines)


def toc_text(toc: str, exercises: Sequence[ExerciseFile]) -> str:
    """Return the table of contents with every exercise below the list of exercises.

    Raises
    ------
    ValueError
        If the table of contents has no place for them.
    """
    lines = "".join(f"          - file: exercises/{one.slug}\n" for one in exercises)
    changed, n_changed = TOC_LIST.subn(rf"\g<1>{lines}", toc)
    if n_changed != 1:
        raise ValueError("book/_toc.yml must hold `- file: exercises` with `sections:` once")
    return changed


def with_list(notebook: dict, text: str) -> dict:
    """Return a chapter with its list of exercises in the cell after the heading.

    Raises
    ------
    ValueError
        If the chapter has no cell with the heading.
    """
    cells = [cell for cell in notebook["cells"] if cell.get("id") != LIST_CELL]
    places = [i for i, cell in enumerate(cells) if cell.get("id") == HEADING_CELL]
    if len(places) != 1 or not "".join(cells[places[0]]["source"]).startswith("## Exercises"):
        raise ValueError(f"a chapter must have one cell {HEADING_CELL!r} that begins with '## Exercises'")
    new = {"cell_type": "markdown", "id": LIST_CELL, "metadata": {}, "source": text}
    return notebook | {"cells": [*cells[: places[0] + 1], new, *cells[places[0] + 1 :]]}


def generated() -> dict[Path, str]:
    """Return the files that hold lists of exercises, with their text as it should be."""
    exercises = all_exercises()
    files = {BOOK / "_toc.yml": toc_text((BOOK / "_toc.yml").read_text(encoding="utf-8"), exercises)}
    for path in sorted(BOOK.glob("[0-9][0-9]-*.ipynb")):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        files[path] = normal_form(with_list(notebook, chapter_list(int(path.name[:2]), exercises)))
    return files


def write_notebooks(folder: Path = NOTEBOOKS) -> list[Path]:
    """Write the reader's notebook of every exercise and return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for one in all_exercises():
        path = folder / f"{one.slug}.ipynb"
        path.write_text(nbformat.writes(student_notebook(one)) + "\n", encoding="utf-8")
        written.append(path)
    return written


def repository() -> Mapping:
    """Return the repository's address from `_config.yml`."""
    return yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["repository"]


def main() -> int:
    """Write the lists, or the notebooks."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("command", choices=["write", "notebooks"])
    if parser.parse_args().command == "notebooks":
        print(f"{len(write_notebooks())} notebooks in {NOTEBOOKS.relative_to(ROOT)}")
        return 0
    for path, text in generated().items():
        if path.read_text(encoding="utf-8") != text:
            write_atomically(path, text)
            print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
