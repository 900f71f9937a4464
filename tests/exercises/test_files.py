"""One file is the page, the reader's notebook and nbgrader's source; only the page may hold the solution."""

import re
import subprocess
import sys

import nbformat
import pytest
from exercise_pages import (
    BOOK,
    binder_link,
    chapter_list,
    list_text,
    page_text,
    repository,
    toc_text,
    with_list,
    write_notebooks,
)
from exercise_proof import all_problems

from attncourse.classroom.bank import (
    MARK,
    STUB,
    BadExercise,
    exercise_paths,
    for_notebook,
    grader_notebook,
    read_exercise,
    site,
    student_notebook,
)
from attncourse.exercises._check import _drawn

pytestmark = pytest.mark.exercises
FILES = exercise_paths()
SPLIT = BOOK / "exercises" / "multihead-split-heads.md"


def solution_lines(exercise):
    """Return lines that only the solution holds."""
    found = set()
    for cell in exercise.tagged("answer"):
        shown = cell.starter() if cell.kind == "code" else ""
        found |= {line.strip() for line in cell.solved().splitlines()} - {
            line.strip() for line in shown.splitlines()
        }
    others = "\n".join(cell.source for cell in exercise.cells if cell.tag not in ("answer", "solution"))
    return {line for line in found if len(line) > 12 and line not in others}


def text_of(notebook):
    return "\n".join(cell.source for cell in notebook.cells)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_reader_gets_everything_but_the_solution(path):
    exercise = read_exercise(path)
    notebook = student_notebook(exercise)
    nbformat.validate(notebook)
    text, page, bare = (
        text_of(notebook),
        page_text(exercise, repository()),
        page_text(exercise, repository(), solutions=False),
    )
    secret = solution_lines(exercise)
    assert secret
    assert not [line for line in secret if line in text or line in bare]
    assert [line for line in secret if line not in page] == []
    assert all(f"Hint {number}" in part for number in (1, 2, 3) for part in (text, page, bare))
    assert text.count("<details>") == text.count("</details>") == 3
    assert not re.search(r":::|\{[a-z:]+\}`|\]\(\.\.?/|\.(?:ipynb|md)[)#]", text)
    assert not MARK.search(text + page + bare)
    assert "<<" not in text + page
    if exercise.has_checker:
        assert STUB in text
        assert f'check("{exercise.id}"' in text
        assert "{admonition} Solution" in page
        assert "{admonition} Solution" not in text + bare
    else:
        assert "Rubric" in page
        assert "Rubric" not in text + bare


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_source_for_nbgrader_is_valid(path):
    from nbgrader.nbgraderformat import MetadataValidator

    exercise = read_exercise(path)
    notebook = grader_notebook(exercise)
    nbformat.validate(notebook)
    MetadataValidator().validate_nb(notebook)
    cells = [cell.metadata["nbgrader"] for cell in notebook.cells if "nbgrader" in cell.metadata]
    assert sum(one.get("points", 0) for one in cells) == exercise.meta["points"]
    assert [one["solution"] for one in cells] == ([True, False] if exercise.has_checker else [True])
    assert "Rubric" not in text_of(notebook)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("[7](../07-multi-head.ipynb#fewer-keys)", f"[7]({site()}07-multi-head.html#fewer-keys)"),
        ("[this](other-one.md)", f"[this]({site()}exercises/other-one.html)"),
        ("[it](https://example.org/a.md), `d[i](x)`", "[it](https://example.org/a.md), `d[i](x)`"),
        ("{term}`Weights <weight>`, {term}`mask`", "Weights, mask"),
        ("{cite:t}`vaswani2017`", f"[vaswani2017]({site()}bibliography.html)"),
    ],
)
def test_links_and_roles_work_outside_the_book(text, shown):
    assert for_notebook(text) == shown


# --- nbgrader itself, and a kernel --------------------------------------------------------------------

WRONG = """\
def split_heads(x, n_heads):
    *front, n_tokens, d_model = x.shape
    return x.reshape(*front, n_heads, n_tokens, d_model // n_heads)
"""
ESSAY = next(path for path in FILES if read_exercise(path).meta["kind"] == "essay")


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A course with one assignment, released by nbgrader, and three students' work."""
    folder = tmp_path_factory.mktemp("course")
    source = folder / "source" / "hw1"
    source.mkdir(parents=True)
    for path in (SPLIT, ESSAY):
        exercise = read_exercise(path)
        nbformat.write(grader_notebook(exercise), source / f"{exercise.slug}.ipynb")
    (folder / "nbgrader_config.py").write_text(
        f'c = get_config()\nc.ClearSolutions.code_stub = {{"python": {STUB!r}}}\n'
        "c.ExecutePreprocessor.timeout = 60\n",
        encoding="utf-8",
    )
    run_nbgrader(folder, "generate_assignment", "hw1")
    return folder


# nbgrader calls alembic by name: the environment's programs must be on the path.
SCRIPT = """
import os, sys
os.environ["PATH"] = os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]
from nbgrader.apps.nbgraderapp import NbGraderApp
sys.exit(NbGraderApp.launch_instance(argv=sys.argv[1:]))
"""


def run_nbgrader(folder, *command):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *command],
        cwd=folder, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def released(course, slug):
    return nbformat.read(course / "release" / "hw1" / f"{slug}.ipynb", as_version=4)


def test_what_nbgrader_releases_is_the_readers_notebook(course):
    for path in (SPLIT, ESSAY):
        exercise = read_exercise(path)
        theirs, ours = released(course, exercise.slug), student_notebook(exercise)
        assert [cell.cell_type for cell in theirs.cells] == [cell.cell_type for cell in ours.cells]
        for mine, other in zip(ours.cells, theirs.cells, strict=True):
            if mine.source != "*Your answer here.*":
                assert mine.source == other.source


def test_nbgrader_gives_the_points_of_the_check(course):
    from nbgrader.api import Gradebook

    answers = {"ann": None, "bob": read_exercise(SPLIT).tagged("answer")[0].solved(), "eve": WRONG}
    for student, answer in answers.items():
        folder = course / "submitted" / student / "hw1"
        folder.mkdir(parents=True)
        for path in (SPLIT, ESSAY):
            notebook = released(course, path.stem)
            for cell in notebook.cells:
                if answer and cell.source.startswith("def split_heads"):
                    cell.source = answer
                if answer and cell.metadata.get("nbgrader", {}).get("grade_id", "").startswith(ESSAY.stem):
                    cell.source = "Nobody knows."
            nbformat.write(notebook, folder / f"{path.stem}.ipynb")
    run_nbgrader(course, "autograde", "hw1", "--create")
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        points = {
            student: book.find_submission_notebook("multihead-split-heads", "hw1", student).score
            for student in answers
        }
        assert book.find_submission_notebook(ESSAY.stem, "hw1", "bob").needs_manual_grade
    assert points["ann"] == 0
    assert points["bob"] == read_exercise(SPLIT).meta["points"]
    assert 0 < points["eve"] < points["bob"]
    feedback = (course / "autograded" / "eve" / "hw1" / "multihead-split-heads.ipynb").read_text(
        encoding="utf-8"
    )
    assert "view instead of two steps" in feedback


def test_a_student_finishes_an_exercise_in_a_kernel(tmp_path):
    """The reader's notebook, three wrong answers and a right one, each in the cell where it belongs."""
    from nbclient import NotebookClient

    exercise = read_exercise(SPLIT)
    notebook = student_notebook(exercise)
    (place,) = [i for i, cell in enumerate(notebook.cells) if STUB in cell.source]
    check = next(cell for cell in notebook.cells if cell.source.startswith("check("))
    new = nbformat.v4.new_code_cell
    answers = [
        notebook.cells[place].source,
        "def split_heads(x, n_heads):\n    return x.views(n_heads)",
        "def split_heads(x, n_heads):\n    while True:\n        pass",
        WRONG,
        exercise.tagged("answer")[0].solved(),
    ]
    cells = [cell for cell in notebook.cells[:place] if cell.cell_type == "code"]
    for answer in answers:
        cells += [new(answer), new(check.source)]
    tried = nbformat.v4.new_notebook(cells=cells)
    tried.metadata["kernelspec"] = notebook.metadata["kernelspec"]
    NotebookClient(tried, timeout=60, resources={"metadata": {"path": str(tmp_path)}}).execute()
    reports = [cell for cell in tried.cells if cell.source == check.source]
    printed = ["".join(out.get("text", "") for out in cell.outputs) for cell in reports]
    points = [float(out["data"]["text/plain"]) for cell in reports for out in cell.outputs if "data" in out]
    assert all(out.get("name") != "stderr" for cell in tried.cells for out in cell.get("outputs", []))
    assert points == [0.0, 0.0, 0.0, points[3], float(exercise.meta["points"])]
    assert 0 < points[3] < points[4]
    wanted = ["not attempted yet", "in the line `return x.views(n_heads)`", "takes too long"]
    wanted += ["view instead of two steps", "right in every check"]
    assert [one for one, text in zip(wanted, printed, strict=True) if one not in text] == []


# --- faults are found ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("level: 1", "level: 4", "level is 4, not 1, 2 or 3"),
        ("  level: 1\n", "", "missing or unknown: ['level']"),
        ("level: 1", "level: [", "the front matter is no YAML"),
        ("level: 1", "level: one", "level must be of type int, got 'one'"),
        ("kind: implement", "kind: riddle", "kind must be one of"),
        ("id: multihead.split-heads", "id: multihead.split", "must be the file's name with a dot"),
        ("Hint 3", "Hint 4", "hints numbered [1, 2, 4], not 1, 2, 3"),
        ("{admonition} Solution", "{admonition} Answer", "there must be one admonition Solution"),
        ("### BEGIN SOLUTION", "### BEGIN ANSWER", "no solution between"),
        (":tags: [answer]", ":tags: [reply]", "a code cell with the tags ['reply']"),
        (").points(", ").points(1 + ", "the check's cell must end in .points("),
        ("split_heads).points", "split_heads, seed=0).points", "says seed=<<seed>>"),
        ('check("multihead.split-heads"', 'check("multihead.split_heads"', "must call check("),
        ("*front, n_tokens", "*front, <<n>>", "no version has the word <<n>>"),
        ("# Split into heads", "Split into heads", "must begin with the title"),
        ("    ### BEGIN SOLUTION", "    x = x + 1\n    ### BEGIN SOLUTION", "the starter gets"),
        ("return cut.transpose(-3, -2)", "return cut", "the solution gets"),
        ("return cut.transpose(-3, -2)", f"return cut.transpose(-3, -2)  # {'x' * 80}", "longer than 88"),
        ("needs: [", "needs: [3, ", "needs must list what a reader must know"),
        ("minutes: 15", "minutes: 500", "minutes is 500"),
    ],
)
def test_a_fault_in_a_file_is_found(tmp_path, old, new, problem):
    text = SPLIT.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / SPLIT.name
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    found = all_problems(path)
    assert any(problem in one for one in found), found


@pytest.fixture
def nothing_kept():
    """Forget the exercises that checks keep, before and after one is changed."""
    _drawn.cache_clear()
    yield
    _drawn.cache_clear()


@pytest.mark.usefixtures("nothing_kept")
@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"mistakes": []}, "0 known mistakes, at least 3"),
        ({"reference": lambda x, n_heads: x}, "the solution gets 0.0 points"),
        ({"variants": {"wrong": lambda x, n_heads: x}}, "variant wrong does not pass"),
    ],
)
def test_a_fault_in_a_checker_is_found(monkeypatch, change, problem):
    from dataclasses import replace

    from attncourse.exercises.multihead import split_heads as module

    monkeypatch.setattr(module, "EXERCISE", replace(module.EXERCISE, **change))
    assert any(problem in one for one in all_problems(SPLIT))


@pytest.mark.usefixtures("nothing_kept")
def test_a_mistake_that_passes_or_has_anothers_name_is_found(monkeypatch):
    from dataclasses import replace

    from attncourse.exercises._exercise import Mistake
    from attncourse.exercises.multihead import split_heads as module

    task = module.EXERCISE
    first = task.mistakes[0]
    new = [
        Mistake("no mistake", "This is what was asked for.", task.reference),
        *task.mistakes,
        Mistake("a twin", "The same as the first of all mistakes.", first.answer),
        Mistake(first.name, "short", lambda x, n_heads: 0 * x),
    ]
    monkeypatch.setattr(module, "EXERCISE", replace(task, mistakes=new))
    found = all_problems(SPLIT)
    for problem in (
        "the mistake 'no mistake' passes",
        f"the mistake 'a twin' is named ('{first.name}',)",
        f"two mistakes are called '{first.name}'",
        f"the message of '{first.name}' is no sentence",
    ):
        assert any(problem in one for one in found), found


# --- lists ----------------------------------------------------------------------------------------------


def test_every_exercise_is_in_the_list_and_in_its_chapter():
    bank = [read_exercise(path) for path in FILES]
    table = list_text()
    for one in bank:
        assert table.count(f"](exercises/{one.slug}.md)") == 1
        assert f"](exercises/{one.slug}.md)" in chapter_list(one.meta["chapter"], bank)
        assert f"](exercises/{one.slug}.md)" not in chapter_list(one.meta["chapter"] % 17 + 1, bank)


def test_the_readers_notebooks_are_written(tmp_path):
    written = write_notebooks(tmp_path / "new")
    assert {path.stem for path in written} == {path.stem for path in FILES}
    before = {path: path.read_bytes() for path in written}
    write_notebooks(tmp_path / "new")
    assert {path: path.read_bytes() for path in written} == before


def test_the_binder_link_leads_to_the_readers_notebook():
    link = binder_link("a-b", {"url": "https://github.com/me/it", "path_to_book": "book", "branch": "main"})
    assert (
        link == "https://mybinder.org/v2/gh/me/it/main?urlpath=lab/tree/book/exercises/_notebooks/a-b.ipynb"
    )


def test_a_list_needs_its_place():
    with pytest.raises(ValueError, match="must hold `- file: exercises` with `sections:` once"):
        toc_text("root: index\n", [])
    with pytest.raises(ValueError, match="a chapter must have one cell 'exercises'"):
        with_list({"cells": []}, "")


def test_a_file_without_title_has_none(tmp_path):
    path = tmp_path / SPLIT.name
    path.write_text(
        SPLIT.read_text(encoding="utf-8").replace("# Split into heads", "## Split"), encoding="utf-8"
    )
    with pytest.raises(BadExercise, match="the first cell must begin with the title"):
        _ = read_exercise(path).title
