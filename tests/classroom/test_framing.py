"""A student's cells in the frame that was handed out: what is ours is ours, what is theirs is kept."""

import json
import os
import re

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attncourse.classroom import framing
from attncourse.classroom.assigning import handed_out
from attncourse.classroom.framing import (
    MAX_BYTES,
    MAX_CELLS,
    MAX_SOURCE,
    Unreadable,
    code_before_test,
    frame,
    grade_id_of,
    grade_ids,
    harmless,
    read_bytes,
    read_notebook,
    their_code,
)

pytestmark = pytest.mark.exercises
SLUG, FAMILY, LETTER = "multihead-split-heads", "scaled-weigh-by-rule", "focus-letter-to-a-psychologist"
ANSWER, CHECK = f"{SLUG}-answer-1", f"{SLUG}-check"
NAME = f"{SLUG}.ipynb"


def ours(slug=SLUG, seed=0):
    return handed_out(slug, seed)


def copied(notebook):
    return nbformat.from_dict(json.loads(json.dumps(notebook)))


def read(notebook, name=NAME):
    return read_notebook(json.dumps(notebook).encode(), name)


def framed(notebook, slug=SLUG, seed=0):
    return frame(read(notebook), ours(slug, seed), NAME)


def place(notebook, grade_id):
    return [grade_id_of(cell) for cell in notebook.cells].index(grade_id)


def answered(text="my answer", slug=SLUG, seed=0):
    notebook = copied(ours(slug, seed))
    notebook.cells[place(notebook, f"{slug}-answer-1")].source = text
    return notebook


def cell_of(notebook, grade_id):
    [cell] = [cell for cell in notebook.cells if grade_id_of(cell) == grade_id]
    return cell


# --- files ----------------------------------------------------------------------------------------------


def test_bytes_are_read(tmp_path):
    path = tmp_path / NAME
    path.write_bytes(b"abc")
    assert read_bytes(path) == b"abc"


def test_what_is_no_file_is_refused(tmp_path):
    (tmp_path / "real").write_text("secret")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name, text in [
        ("link", "link is a link to another file"),
        ("dangling", "dangling is a link to another file"),
        ("pipe", "pipe is no ordinary file"),
        ("folder", "folder is no ordinary file"),
        ("nothing", "nothing cannot be opened: No such file or directory"),
    ]:
        with pytest.raises(Unreadable, match=f"^{text}$"):
            read_bytes(tmp_path / name)


def test_a_large_file_is_refused_without_being_read(tmp_path):
    with (tmp_path / NAME).open("wb") as file:
        file.truncate(MAX_BYTES + 40 * 2**20)
    with pytest.raises(Unreadable, match=r"is larger than 20 MiB: it has 60 MiB$"):
        read_bytes(tmp_path / NAME)


# --- notebooks ------------------------------------------------------------------------------------------


def test_sources_and_names_survive_and_nothing_else():
    notebook = answered()
    notebook.metadata["kernelspec"] = {"name": "evil", "display_name": "evil"}
    for cell in notebook.cells:
        cell.metadata["tags"] = ["hide"]
        cell["attachments"] = {"a": {"text/html": "<script>"}}
        if cell.cell_type == "code":
            cell.outputs = [nbformat.v4.new_output("stream", text="forged")]
            cell.execution_count = 7
    found = read(notebook)
    assert dict(found.metadata) == {}
    for cell, given_cell in zip(found.cells, notebook.cells, strict=True):
        name = grade_id_of(given_cell)
        assert cell.metadata == ({"nbgrader": {"grade_id": name}} if name else {})
        assert cell.source == given_cell.source
        assert "attachments" not in cell
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


def changed_json(**fields):
    return json.dumps(json.loads(nbformat.writes(answered())) | fields).encode()


def one_cell(**fields):
    cell = {"cell_type": "code", "source": "x", "metadata": {}, "outputs": [], "execution_count": None}
    return changed_json(cells=[cell | fields])


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"\xff\xfe{}", "is no text in UTF-8"),
        (b"{", "is no notebook: not JSON"),
        (b"<html>", "is no notebook: not JSON"),
        (b"[1]", "is no notebook: "),
        (b"3", "is no notebook: "),
        (b"null", "is no notebook: "),
        (b"{}", "is no notebook: "),
        (b'{"cells": ' + b"[" * 100_000, "is no notebook: "),
        (b'{"nbformat": ' + b"9" * 5000 + b"}", "is no notebook: "),
        (changed_json(nbformat="four"), "is no notebook: "),
        (changed_json(nbformat=99), "is no notebook: "),
        (changed_json(nbformat=None), "is no notebook: "),
        (changed_json(cells=None), "is no notebook: "),
        (changed_json(cells=[3]), "is no notebook: "),
        (changed_json(cells={"a": 1}), "is no notebook: "),
        (one_cell(source=3), "a cell's source is no text"),
        (one_cell(source=["a", 3]), "is no notebook: "),
        (one_cell(source="x" * (MAX_SOURCE + 1)), "a cell has more than 200,000 characters"),
        (one_cell(metadata=3), "is no notebook: "),
        (changed_json(cells=[{"cell_type": "code"}]), "is no notebook: "),
        (changed_json(cells=[{"source": "x"}]), "is no notebook: "),
        (
            changed_json(cells=[{"cell_type": "markdown", "source": "", "metadata": {}}] * (MAX_CELLS + 1)),
            "has more than 500 cells: 501",
        ),
    ],
    ids=range(24),
)
def test_what_is_no_notebook_is_refused_with_a_reason(data, text):
    with pytest.raises(Unreadable, match=text) as caught:
        read_notebook(data, "mine.ipynb")
    assert str(caught.value).startswith("mine.ipynb ")
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


@given(st.binary(max_size=300))
def test_noise_is_refused(noise):
    with pytest.raises(Unreadable):
        read_notebook(noise, NAME)


jsons = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.dictionaries(st.sampled_from(["cell_type", "source", "metadata", "outputs", "id", "level"]), jsons),
    st.sampled_from([jsons, st.just([])]),
    st.integers(0, 5) | jsons,
    st.data(),
)
def test_odd_notebooks_are_read_or_refused(cell, metadata, version, data):
    parts = {"cells": [cell, *data.draw(st.lists(jsons, max_size=2))], "nbformat": version}
    parts |= {"nbformat_minor": data.draw(st.integers(0, 9) | jsons), "metadata": data.draw(metadata)}
    try:
        found = read_notebook(json.dumps(parts).encode(), NAME)
    except Unreadable:
        return
    assert all(type(one.source) is str for one in found.cells)


@pytest.mark.parametrize("minor", [0, 4, 5])
def test_cells_without_ids_or_with_the_same_are_read_quietly(minor):
    notebook = json.loads(nbformat.writes(answered()))
    notebook["nbformat_minor"] = minor
    for number, cell in enumerate(notebook["cells"]):
        cell.pop("id")
        if minor == 5 and number < 2:
            cell["id"] = "same"
    assert [cell.source for cell in read(notebook).cells] == [cell.source for cell in answered().cells]


def test_an_old_notebook_is_read():
    old = nbformat.convert(answered(), 3)
    assert "my answer" in [cell.source for cell in read(old).cells]


def test_lines_and_half_characters_become_text():
    notebook = json.loads(json.dumps(answered()))
    notebook["cells"][1]["source"] = ["a\n", "b"]
    data = json.dumps(notebook).replace('"my answer"', '"x = \\"\\ud800\\""').encode()
    found = read_notebook(data, NAME)
    assert found.cells[1].source == "a\nb"
    assert cell_of(found, ANSWER).source == 'x = "?"'


def test_a_raw_cell_is_no_code():
    notebook = answered()
    notebook.cells.append(nbformat.v4.new_raw_cell("raw"))
    assert read(notebook).cells[-1].cell_type == "markdown"


@pytest.mark.parametrize("meta", [3, "x", None, [], {"nbgrader": 3}, {"nbgrader": {"grade_id": 3}}, {}])
def test_a_name_that_is_none_is_none(meta):
    assert grade_id_of({"metadata": meta}) == ""


def test_names_of_cells():
    assert grade_ids(ours()) == {ANSWER, CHECK}


# --- the frame ------------------------------------------------------------------------------------------


def test_an_honest_notebook_fits_without_a_remark():
    found = framed(answered())
    assert found.remarks == ()
    expected = [cell.source for cell in answered().cells]
    assert [cell.source for cell in found.notebook.cells] == expected


def test_nothing_is_modified():
    given_notebook, trusted = read(answered("x")), copied(ours())
    before = json.dumps(given_notebook), json.dumps(trusted)
    found = frame(given_notebook, trusted, NAME)
    found.notebook.cells[2].metadata["nbgrader"]["points"] = 99
    found.notebook.metadata["kernelspec"]["name"] = "other"
    assert (json.dumps(given_notebook), json.dumps(trusted)) == before


def test_another_notebook_is_refused():
    for other in (nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x")]), ours(FAMILY), {}):
        given_notebook = read(other) if other else nbformat.v4.new_notebook()
        with pytest.raises(Unreadable, match="holds none of the cells that are graded"):
            frame(given_notebook, ours(), NAME)


def test_a_changed_test_is_as_it_was():
    notebook = answered()
    cell_of(notebook, CHECK).source = "4.0"
    found = framed(notebook)
    assert cell_of(found.notebook, CHECK) == cell_of(ours(), CHECK) | {
        "id": cell_of(found.notebook, CHECK).id
    }
    assert found.remarks == ("the test's cell was changed; graded with the one that was handed out",)


def test_white_space_around_a_test_is_no_change():
    notebook = answered()
    cell_of(notebook, CHECK).source += "\n\n"
    assert framed(notebook).remarks == ()


@pytest.mark.parametrize(("other", "said"), [("seed=5", "seed=5"), ("seed=", "none"), ("", "none")])
def test_another_version_of_the_test_is_named(other, said):
    notebook = answered(slug=FAMILY, seed=3)
    test = cell_of(notebook, f"{FAMILY}-check")
    assert "seed=3" in test.source
    test.source = test.source.replace("seed=3", other)
    found = framed(notebook, FAMILY, 3)
    assert found.remarks == (
        f"the test's cell asks for another version ({said}) than this student was given (seed=3); "
        "graded as this student's",
    )
    assert "seed=3" in cell_of(found.notebook, f"{FAMILY}-check").source


def test_a_missing_test_comes_back_behind_the_answer():
    notebook = answered()
    notebook.cells = notebook.cells[: place(notebook, ANSWER) + 1]
    found = framed(notebook)
    assert grade_id_of(found.notebook.cells[-1]) == CHECK
    assert found.remarks == ("the test's cell was missing and was put back",)


def test_a_missing_answer_comes_back_empty_before_the_test():
    notebook = answered()
    del notebook.cells[place(notebook, ANSWER)]
    found = framed(notebook)
    assert place(found.notebook, ANSWER) == place(found.notebook, CHECK) - 1
    assert cell_of(found.notebook, ANSWER).source == cell_of(ours(), ANSWER).source
    assert found.remarks == ("an answer's cell was missing and was put back, empty",)


def test_a_missing_answer_of_a_question_in_words_comes_back():
    notebook = copied(ours(LETTER))
    answer = f"{LETTER}-answer-1"
    own = nbformat.v4.new_markdown_cell("Dear friend, ...")
    notebook.cells = [own, *notebook.cells]
    notebook.cells[place(notebook, answer)].source = "read above"
    found = frame(read(notebook), ours(LETTER), NAME)
    assert found.notebook.cells[0].source == "Dear friend, ..."
    assert cell_of(found.notebook, answer).source == "read above"


def test_both_copies_of_an_answer_run_in_their_order():
    notebook = answered("first")
    twin = copied(cell_of(notebook, ANSWER))
    twin.source = "second"
    notebook.cells.insert(place(notebook, CHECK), twin)
    found = framed(notebook)
    assert cell_of(found.notebook, ANSWER).source == "first"
    code = code_before_test(found.notebook)
    assert code.index("first") < code.index("second")
    assert found.remarks == ("an answer's cell stands there twice; both were run, in their order",)


def test_a_second_test_is_dropped():
    notebook = answered()
    notebook.cells.append(copied(cell_of(notebook, CHECK)))
    found = framed(notebook)
    assert [grade_id_of(cell) for cell in found.notebook.cells].count(CHECK) == 1
    assert found.remarks == ("the test's cell stands there twice; the second was dropped",)


def test_an_answer_of_another_kind_becomes_what_it_was():
    notebook = answered()
    at = place(notebook, ANSWER)
    meta = notebook.cells[at].metadata
    notebook.cells[at] = nbformat.v4.new_markdown_cell("def f(): pass", metadata=meta)
    found = framed(notebook)
    assert cell_of(found.notebook, ANSWER).source == "def f(): pass"
    assert cell_of(found.notebook, ANSWER).cell_type == "code"
    assert found.remarks == ("an answer's cell was a markdown cell and was made code again",)


def test_a_test_before_the_answer_is_moved_behind_it():
    notebook = answered()
    notebook.cells.insert(0, notebook.cells.pop(place(notebook, CHECK)))
    found = framed(notebook)
    assert place(found.notebook, CHECK) == place(found.notebook, ANSWER) + 1
    assert found.remarks == ("the test's cell stood before an answer and was moved behind it",)


def test_a_test_without_its_code_is_ours():
    notebook = answered()
    at = place(notebook, CHECK)
    meta = notebook.cells[at].metadata
    notebook.cells[at] = nbformat.v4.new_markdown_cell(notebook.cells[at].source, metadata=meta)
    assert cell_of(framed(notebook).notebook, CHECK).cell_type == "code"


def test_code_before_the_test_and_code_of_theirs():
    notebook = answered()
    notebook.cells.insert(0, nbformat.v4.new_code_cell("own = 1"))
    notebook.cells.insert(1, nbformat.v4.new_markdown_cell("own text"))
    notebook.cells.append(nbformat.v4.new_code_cell("late = 1"))
    found = framed(notebook).notebook
    given_code = [cell.source for cell in ours().cells if cell.cell_type == "code"]
    assert code_before_test(found) == ["own = 1", given_code[0], "my answer", given_code[2]]
    assert their_code(found, ours()) == ["own = 1", "my answer", "late = 1"]
    assert their_code(framed(ours()).notebook, ours()) == []
    assert code_before_test(ours(LETTER)) == []


# --- whatever they do to the cells ----------------------------------------------------------------------


def their_cell(draw_from):
    """Return a cell with a source of its own and a name that may be one of ours."""
    names = st.sampled_from([ANSWER, CHECK, "", "other", f"{SLUG}-answer-2"])
    return st.tuples(st.sampled_from(["code", "markdown", "raw"]), names, draw_from)


sources = st.text(max_size=20) | st.sampled_from([cell.source for cell in ours().cells])


@st.composite
def submissions(draw):
    """A notebook of cells that are ours, changed, moved, doubled, left out, or their own."""
    kept = draw(st.lists(st.integers(0, len(ours().cells) - 1), max_size=9))
    cells = [json.loads(json.dumps(ours().cells[i])) for i in kept]
    for number, (kind, name, source) in enumerate(draw(st.lists(their_cell(sources), max_size=4))):
        cell = {"cell_type": kind, "source": source, "id": f"own-{number}"}
        if kind == "code":
            cell |= {"outputs": [], "execution_count": None}
        more = draw(st.sampled_from([{}, {"points": 99}, {"grade": True, "solution": False}, {"task": True}]))
        cell["metadata"] = {"nbgrader": {"grade_id": name} | more} if name or more else {}
        cells.append(cell)
    for number, cell in enumerate(draw(st.permutations(cells))):
        cell["id"] = f"n-{number}"
    return {"cells": cells, "metadata": {"evil": 1}, "nbformat": 4, "nbformat_minor": 5}


@pytest.mark.properties
@given(submissions())
def test_the_frame_is_ours_and_the_answers_are_theirs(notebook):
    theirs = read(notebook)
    try:
        found = frame(theirs, ours(), NAME).notebook
    except Unreadable:
        assert not {grade_id_of(cell) for cell in theirs.cells} & {ANSWER, CHECK}
        return
    nbformat.validate(found)
    assert found.metadata == ours().metadata

    # Ours: each once, with our metadata; the test with our source.
    named = [grade_id_of(cell) for cell in found.cells if grade_id_of(cell)]
    assert sorted(named) == [ANSWER, CHECK]
    for name in (ANSWER, CHECK):
        cell, given_cell = cell_of(found, name), cell_of(ours(), name)
        assert (cell.metadata, cell.cell_type) == (given_cell.metadata, given_cell.cell_type)
    assert cell_of(found, CHECK).source == cell_of(ours(), CHECK).source

    assert place(found, CHECK) > place(found, ANSWER)

    # Theirs: without metadata, in their order, and none lost but copies of the test.
    others = [cell for cell in found.cells if not grade_id_of(cell)]
    assert all(not cell.metadata and not cell.get("outputs") for cell in others)
    expected = [cell for cell in theirs.cells if grade_id_of(cell) != CHECK]
    got = [cell for cell in found.cells if grade_id_of(cell) != CHECK]
    answers = [cell for cell in expected if grade_id_of(cell) == ANSWER]
    if answers:
        assert cell_of(found, ANSWER).source == answers[0].source
        answers[0].cell_type = "code"
    else:
        blank = cell_of(found, ANSWER)
        assert blank.source == cell_of(ours(), ANSWER).source
        got = [cell for cell in got if cell is not blank]
    assert [(c.cell_type, c.source) for c in got] == [(c.cell_type, c.source) for c in expected]


@pytest.mark.properties
@given(submissions())
def test_framing_twice_is_framing_once(notebook):
    theirs = read(notebook)
    if not grade_ids(theirs) & {ANSWER, CHECK}:
        return
    once = frame(theirs, ours(), NAME).notebook
    again = frame(read(once), ours(), NAME)
    assert again.notebook == once
    assert again.remarks == ()


def test_limits_are_those_of_the_book():
    assert (framing.MAX_BYTES, framing.MAX_SOURCE, framing.MAX_CELLS) == (20 * 2**20, 200_000, 500)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<script>x()</script>", "< script>x()< /script>"),
        ("a < b, $a<b$ and `<b>`", "a < b, $a< b$ and `< b>`"),
        ("<!-- --><?x?> 1<2 <= <", "< !-- -->< ?x?> 1<2 <= <"),
        ("[a](javascript:x()) [b]( JAVASCRIPT:x)", "[a] (javascript:x()) [b] ( JAVASCRIPT:x)"),
        ("[a](https://example.org) [b](#there)", "[a](https://example.org) [b](#there)"),
        ("[a]\n\n[a]: data:text/html,x", "[a]\n\n[a] : data:text/html,x"),
        ("[a]: https://example.org", "[a]: https://example.org"),
    ],
)
def test_markdown_loses_its_html(text, shown):
    assert harmless(text) == shown
    assert not re.search(r"<[A-Za-z/!?]", harmless(text))
