"""The catalogue of submissions writes what it says, and its expectations of honest answers hold.

Hostile answers are compiled here and never run.
"""

import ast
import json
import re
import tarfile
import zipfile
from collections import Counter

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager

from attncourse.classroom.bank import FOLDER, grader_notebook, read_exercise
from attncourse.classroom.records import STATES
from attncourse.exercises import check
from tests.classroom import hostile_files
from tests.classroom.handing_in import FAMILY, HEADS, LETTER, SLUGS, Handout, grade_id, solution
from tests.classroom.honest import RIGHT_CASES, WRONG_CASES, scaled_otherwise, turned_round
from tests.classroom.hostile_archives import BOMB_BYTES
from tests.classroom.submissions import (
    BULLETS,
    CASES,
    ESCAPED,
    STRANGERS,
    hostile_archives,
    hostile_strangers,
    named,
)

pytestmark = pytest.mark.exercises
ASKED_FOR = (
    "loop", "loop that catches interrupts", "loop in C", "os._exit", "segfault", "fork bomb", "20 GB",
    "2 GB file", "100 MB output", "network", "reads and writes the gradebook", "kills its parent",
    "leaves processes behind", "deletes test cells", "edits test cells", "duplicates test cells",
    "strips metadata", "broken JSON", "empty", "renamed file", "patches assert_allclose", "patches check",
    "rewrites the syntax tree", "forges cell output", "imports the reference", "__eq__ that is always true",
    "reads other students' work", "symbolic links out of the folder", "zip slip in a collected archive",
)  # fmt: skip
# Answers that Python must refuse to compile.
NO_PYTHON = {"syntax-error", "null-byte", "nested-code"}
# Files that nbformat reads as a notebook of today, although what stands in them has no score.
NOTEBOOKS = {
    "another-exercise", "strips-metadata", "huge-file",
}  # fmt: skip
# What only JSON readers with limits refuse; the file itself is a notebook for nbformat, or it never returns.
NOT_OPENED = {"ten-thousand-levels", "huge-number", "link-to-a-device", "named-pipe"}


def by_name(cases):
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name)


@pytest.fixture(scope="module")
def handouts(tmp_path_factory):
    """Return a maker of handouts for a seed, in a course folder that holds sources and nothing else."""
    course = tmp_path_factory.mktemp("course")
    made = {}

    def handout(seed=0):
        if seed not in made:
            exercises = {slug: read_exercise(FOLDER / f"{slug}.md", seed) for slug in SLUGS}
            notebooks, solutions = {}, {}
            for slug, exercise in exercises.items():
                notebook = grader_notebook(exercise)
                answer = exercise.tagged("answer")[0]
                for cell in notebook.cells:
                    if grade_id(cell) == f"{slug}-answer-1":
                        cell.source = answer.starter() if cell.cell_type == "code" else "YOUR ANSWER HERE"
                notebooks[slug], solutions[slug] = notebook, answer.solved()
            made[seed] = Handout("student-07", "HW1", notebooks, solutions, course, {"port": "45123"})
        return made[seed]

    return handout


def hand_in(case, handout, tmp_path):
    folder = tmp_path / "submitted" / handout.student / handout.assignment
    case.write(handout, folder)
    return folder


def read(case, folder):
    """Return the notebook of a case that wrote one, whatever its name."""
    paths = [folder / f"{case.slug}.ipynb", *sorted(folder.glob("*.ipynb"))]
    return nbformat.from_dict(json.loads(next(p for p in paths if p.exists()).read_text("utf-8-sig")))


def run(notebook):
    """Run the cells up to the check, as a kernel would that goes on after an error; return their names."""
    names = {"__name__": "__main__", "get_ipython": lambda: pytest.fail("honest answers need no get_ipython")}
    for cell in notebook.cells:
        if (grade_id(cell) or "").endswith("-check"):
            return names
        if cell.cell_type == "code":
            source = "".join(cell.source).replace("%matplotlib inline\n", "")
            try:
                exec(compile(source, "<cell>", "exec"), names)
            except (Exception, SystemExit):
                continue
    raise AssertionError("the notebook has no check")


def share_of(notebook, slug, handout):
    """Return the share of the points that the check gives to an honest answer."""
    [source] = [c.source for c in handout.notebooks[slug].cells if grade_id(c) == f"{slug}-check"]
    [call] = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Call) and len(n.args) == 2]
    exercise_id, answer = call.args[0].value, run(notebook).get(call.args[1].id)
    return check(exercise_id, answer, **{k.arg: k.value.value for k in call.keywords}).points(1)


def test_names_are_unique_and_fit_a_path_and_a_table():
    assert [name for name, n in Counter(case.name for case in CASES).items() if n > 1] == []
    assert [title for title, n in Counter(case.title for case in CASES).items() if n > 1] == []
    for case in CASES:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", case.name)
        assert "|" not in case.title + case.outcome
        assert len(case.title) <= 80
        assert case.outcome.endswith(".")
        assert case.outcome.count(".") <= 2


@by_name(CASES)
def test_expectations_fit_together(case):
    assert case.kind in ("right", "wrong", "hostile")
    assert case.slug in SLUGS
    assert case.state in STATES
    assert (case.share is None) == (case.state in ("manual", "unreadable"))
    assert case.state == "manual" or case.slug != LETTER or case.name == "untouched-letter"
    if isinstance(case.share, tuple):
        assert case.share[0] < case.share[1]
    elif case.share is not None:
        assert 0 <= case.share <= 1
    re.compile(case.look)
    if case.state == "unreadable":
        assert not re.search(case.look, "")  # the reason may not be empty
    if case.fools_inside:
        assert case.share == 0


def test_every_hostile_case_that_was_asked_for_is_there():
    assert set(BULLETS) == set(ASKED_FOR)
    for bullet, names in BULLETS.items():
        assert names or bullet == "zip slip in a collected archive"
        assert all(case.kind == "hostile" for case in named(*names))


@by_name(CASES)
def test_every_case_writes_into_its_folder_alone(case, handouts, tmp_path):
    """And leaves the handout as it was: the next student gets the same."""
    handout = handouts()
    before = json.dumps(handout.notebooks)
    folder = hand_in(case, handout, tmp_path)
    assert json.dumps(handout.notebooks) == before
    assert [path.name for path in (tmp_path / "submitted").iterdir()] == [handout.student]
    assert list(folder.parent.iterdir()) == [folder]
    assert folder.is_symlink() == case.alone
    if not case.alone:
        assert any(path.suffix == ".ipynb" for path in folder.iterdir())


@by_name([case for case in CASES if case.share is not None or case.state == "manual"])
def test_what_has_a_score_is_a_notebook_that_compiles(case, handouts, tmp_path):
    notebook = read(case, hand_in(case, handouts(), tmp_path))
    if notebook.nbformat == 3:
        notebook = nbformat.convert(notebook, 4)
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    if case.name in NO_PYTHON:
        text = next("".join(s) for s in sources if "def split_heads" in "".join(s))
        with pytest.raises((SyntaxError, ValueError, MemoryError, RecursionError)):
            compile(text, "<cell>", "exec")
        return
    for source in sources:
        text = "".join(source).encode("utf-8", "replace").decode("utf-8")  # half a character
        compile(TransformerManager().transform_cell(text), "<cell>", "exec")


@by_name([case for case in CASES if case.state == "unreadable" and case.name not in NOT_OPENED])
def test_what_has_no_score_is_no_notebook(case, handouts, tmp_path):
    folder = hand_in(case, handouts(), tmp_path)
    path = folder / f"{HEADS}.ipynb"
    if case.alone or path.is_symlink() or not path.is_file():
        return
    try:
        notebook = nbformat.from_dict(json.loads(path.read_text("utf-8")))
        assert notebook.nbformat == 4
        nbformat.validate(notebook)
    except (ValueError, AttributeError, AssertionError, TypeError, Warning, nbformat.ValidationError):
        assert case.name not in NOTEBOOKS
    else:
        assert case.name in NOTEBOOKS


def test_what_readers_refuse_is_refused(handouts, tmp_path):
    deep, number = named("ten-thousand-levels", "huge-number")
    with pytest.raises(RecursionError):
        read(deep, hand_in(deep, handouts(), tmp_path / "deep"))
    with pytest.raises(ValueError, match="4300"):
        read(number, hand_in(number, handouts(), tmp_path / "number"))
    [huge] = named("huge-file")
    assert (hand_in(huge, handouts(), tmp_path / "huge") / f"{HEADS}.ipynb").stat().st_size > 60e6


@by_name([case for case in CASES if "link" in case.name and case.state == "unreadable"])
def test_links_are_links(case, handouts, tmp_path):
    folder = hand_in(case, handouts(), tmp_path)
    assert (folder if case.alone else folder / f"{HEADS}.ipynb").is_symlink()


def test_the_named_pipe_is_one_and_the_folder_is_one(handouts, tmp_path):
    pipe, inner = named("named-pipe", "folder-as-a-notebook")
    assert (hand_in(pipe, handouts(), tmp_path / "pipe") / f"{HEADS}.ipynb").is_fifo()
    assert (hand_in(inner, handouts(), tmp_path / "inner") / f"{HEADS}.ipynb").is_dir()


def test_a_link_to_another_student_finds_one(handouts, tmp_path):
    [case] = named("link-to-another-student")
    other = tmp_path / "submitted" / "ada" / "HW1" / f"{HEADS}.ipynb"
    other.parent.mkdir(parents=True)
    other.write_text("{}")
    assert (hand_in(case, handouts(), tmp_path) / f"{HEADS}.ipynb").resolve() == other.resolve()


@by_name([case for case in (*RIGHT_CASES, *WRONG_CASES) if isinstance(case.share, float | tuple)])
@pytest.mark.filterwarnings("ignore")  # one of them warns
def test_honest_answers_get_the_share_that_is_expected(case, handouts, tmp_path, monkeypatch):
    monkeypatch.setattr("matplotlib.pyplot.show", lambda: None)
    monkeypatch.setattr("builtins.input", lambda *_: (_ for _ in ()).throw(RuntimeError("nobody is here")))
    if case.name in ("ends-the-kernel", "answer-as-markdown") or case.slug == LETTER:
        return  # a matter of the kernel and of the trusted frame
    handout = handouts(1)
    share = share_of(read(case, hand_in(case, handout, tmp_path)), case.slug, handout)
    if isinstance(case.share, tuple):
        assert case.share[0] < share < case.share[1]
    else:
        assert share == case.share


@pytest.mark.parametrize("seed", range(6))
def test_answers_of_other_versions_are_right_there_and_get_nothing_here(seed, handouts, tmp_path):
    handout = handouts(seed)
    own = solution(FAMILY)(handout)
    others = {solution(FAMILY)(handouts(other)) for other in range(6)} - {own}
    assert len(others) == 5
    assert {turned_round(handout), scaled_otherwise(handout)} <= others
    for case in named("masks-of-another-version", "scale-of-another-version"):
        assert share_of(read(case, hand_in(case, handout, tmp_path)), FAMILY, handout) == 0
    [case] = named("solution-of-a-version")
    assert share_of(read(case, hand_in(case, handout, tmp_path)), FAMILY, handout) == 1


@by_name(hostile_files.CELL_CASES)
def test_changed_cells_are_changed(case, handouts, tmp_path):
    """Nothing but the answer is what was handed out."""
    handed_out = {cell.id: cell for cell in handouts().notebooks[HEADS].cells}
    notebook = read(case, hand_in(case, handouts(), tmp_path))
    for cell in notebook.cells:
        cell.source = "".join(cell.source)
    answer = f"{HEADS}-answer-1"
    others = [cell for cell in notebook.cells if grade_id(cell) != answer]
    same = others == [cell for cell in handed_out.values() if grade_id(cell) != answer]
    copies = Counter(map(grade_id, notebook.cells))[answer] > 1
    assert not same or copies or case.name == "moves-the-test"


def test_archives_try_to_leave_their_folder(tmp_path):
    archives = hostile_archives(tmp_path / "downloaded", tmp_path / "victim")
    assert not list((tmp_path / "victim").iterdir())
    names = {}
    for name, path in archives.items():
        if name.startswith("zip"):
            with zipfile.ZipFile(path) as archive:
                names[name] = [(entry.filename, entry.external_attr >> 28) for entry in archive.infolist()]
                if "bomb" in name:
                    assert sum(entry.file_size for entry in archive.infolist()) == BOMB_BYTES
                    assert path.stat().st_size < 3e6
        elif name.startswith("tar"):
            with tarfile.open(path) as archive:
                names[name] = [(entry.name, entry.type) for entry in archive.getmembers()]
    assert any(entry.startswith("../") for entry, _ in names["zip-slip.zip"])
    assert names["zip-absolute.zip"][0][0] == str(tmp_path / "victim" / ESCAPED)
    assert names["zip-link.zip"][0] == ("door", 0o12)
    assert any(entry.startswith("../") for entry, _ in names["tar-slip.tar.gz"])
    assert [kind for _, kind in names["tar-link.tar.gz"]] == [b"2", b"0", b"2", b"1"]
    assert [kind for _, kind in names["tar-device.tar.gz"]] == [b"3", b"6"]
    with pytest.raises(zipfile.BadZipFile):
        zipfile.ZipFile(archives["no-archive.zip"])


def test_strangers_hand_in_right_answers(handouts, tmp_path):
    assert hostile_strangers(tmp_path, handouts()) == STRANGERS
    assert len(list(tmp_path.glob(f"*/HW1/{HEADS}.ipynb"))) == len(STRANGERS)
    assert any(name.startswith("=") for name in STRANGERS)
