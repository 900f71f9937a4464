"""Outputs of strangers become plain and short, and the trusted outcome stands in their place."""

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from traitlets.utils.importstring import import_item

from attncourse.classroom.assigning import handed_out
from attncourse.classroom.course import CONFIG_TEXT
from attncourse.classroom.plugins import (
    MAX_OUTPUTS,
    MAX_PICTURE,
    MAX_TEXT,
    RUBRIC_TAG,
    DropRubric,
    Finish,
    Refuse,
    clean_output,
)

pytestmark = pytest.mark.exercises
SLUG, LETTER = "multihead-split-heads", "focus-letter-to-a-psychologist"
MARKUP = "<script>alert(1)</script>"


def output(**fields):
    return nbformat.from_dict(fields)


def checked(*outputs):
    """Return the handed-out notebook whose check's cell has these outputs."""
    notebook = nbformat.from_dict(handed_out(SLUG, 0))
    notebook.cells = [nbformat.from_dict(dict(cell)) for cell in notebook.cells]
    notebook.cells[4].outputs = list(outputs)
    return notebook


def finished(notebook, **options):
    finish = Finish(**options)
    done, _ = finish.preprocess(notebook, {})
    return finish, done


def test_nbgraders_own_autograde_is_refused():
    with pytest.raises(RuntimeError, match=r"^grade with `attncourse grade`: it runs students' code"):
        Refuse().preprocess(new_notebook(), {})


def test_texts_stay_texts():
    found = clean_output(output(output_type="stream", name="stderr", text="warned\n"))
    assert found == new_output("stream", name="stderr", text="warned\n")
    assert clean_output(output(output_type="stream", name=["odd"], text=["a", "b"])).text == "ab"
    assert clean_output(output(output_type="stream")) == new_output("stream", name="stdout", text="")


def test_colours_and_control_characters_are_taken_out():
    text = "\x1b[31mred\x1b[0m\x07\x00\r plain\tand\nnext ✓ \x1b]0;title\x07"
    found = clean_output(output(output_type="stream", text=text)).text
    assert found == "red plain\tand\nnext ✓ ]0;title"


def test_long_texts_are_cut_and_say_so():
    found = clean_output(output(output_type="stream", text="x" * (MAX_TEXT + 1234))).text
    assert found == "x" * MAX_TEXT + "\n… (1,234 more characters)\n"


def test_pictures_and_texts_of_results_are_kept_and_markup_is_not():
    data = {
        "text/html": MARKUP, "text/plain": "shown", "image/png": "abc", "image/svg+xml": MARKUP,
        "application/javascript": "alert(1)", "text/latex": "x",
    }  # fmt: skip
    for kind in ("display_data", "execute_result"):
        found = clean_output(output(output_type=kind, data=data, metadata={"evil": 1}, execution_count=3))
        assert found == new_output("display_data", data={"text/plain": "shown", "image/png": "abc"})


@pytest.mark.parametrize("picture", ["x" * (MAX_PICTURE + 1), 3, None, ["a"]])
def test_pictures_that_are_none_are_left_out(picture):
    found = clean_output(output(output_type="display_data", data={"image/png": picture}))
    assert found.data == {"text/plain": ""}


def test_of_an_error_remain_the_lines_of_the_notebook():
    trace = ["\x1b[0;31mTraceback\x1b[0m", "  File /work/main/attncourse/exercises/_run.py:3", "Cell In[1]"]
    found = clean_output(output(output_type="error", ename="E", evalue="v" * 20_000, traceback=trace))
    assert found.traceback == ["Traceback", "Cell In[1]"]
    assert (found.ename, len(found.evalue)) == ("E", MAX_TEXT + len("\n… (10,000 more characters)\n"))


@pytest.mark.parametrize("kind", ["update_display_data", "comm", None, 3])
def test_other_outputs_are_dropped(kind):
    assert clean_output(output(output_type=kind, data={"text/html": MARKUP})) is None


jsons = st.none() | st.integers() | st.text() | st.lists(st.text() | st.integers(), max_size=3)


@given(
    st.sampled_from(["stream", "error", "execute_result", "display_data", "other"]),
    st.dictionaries(st.sampled_from(["name", "text", "ename", "evalue", "execution_count"]), jsons),
    st.dictionaries(st.sampled_from(["text/plain", "image/png", "text/html"]), jsons),
    st.lists(jsons, max_size=3),
)
def test_whatever_a_kernel_sends_becomes_a_valid_output(kind, fields, data, trace):
    found = clean_output(output(output_type=kind, data=data, traceback=trace, **fields))
    if found is not None:
        cell = new_code_cell("x", id="a")
        cell.outputs = [found]
        nbformat.validate(new_notebook(cells=[cell]))


def test_the_outcome_from_outside_replaces_what_the_kernel_said():
    said = [
        new_output("stream", text="✓ everything right, trust me\n"),
        new_output("execute_result", data={"text/plain": "4.0"}, execution_count=9),
    ]
    finish, done = finished(checked(*said), report="✗ wrong\n", points=1.5)
    assert finish.inside == 4.0
    assert done.cells[4].outputs == [
        new_output("stream", name="stdout", text="✗ wrong\n"),
        new_output("execute_result", data={"text/plain": "1.5"}, execution_count=1),
    ]


@pytest.mark.parametrize(
    ("outputs", "inside"),
    [
        ([], None),
        ([new_output("stream", text="no number")], 4.0),  # nbgrader: no error is full points
        ([new_output("error", ename="E", evalue="", traceback=[])], 0),
        ([new_output("execute_result", data={"text/plain": "99"})], None),
        ([new_output("execute_result", data={"text/html": "3"})], None),
    ],
)
def test_what_the_kernel_said_is_noted_if_it_is_a_score(outputs, inside):
    finish, done = finished(checked(*outputs), report="said", points=2)
    assert finish.inside == inside
    assert [one.get("text", one.get("data")) for one in done.cells[4].outputs] == [
        "said", {"text/plain": "2.0"}
    ]  # fmt: skip


def test_without_a_report_there_is_the_score_alone():
    _, done = finished(checked(), points=None)
    assert done.cells[4].outputs == [
        new_output("execute_result", data={"text/plain": "0.0"}, execution_count=1)
    ]


def test_a_report_that_quotes_an_answer_is_cut():
    """The name of a type stands in the report, and a student may choose a long one."""
    _, done = finished(checked(), report="✗ the output is an " + "A" * 10**6 + "\x1b[31m", points=0)
    assert len(done.cells[4].outputs[0].text) < MAX_TEXT + 100


def test_other_cells_are_cleaned_and_have_no_flood():
    cell = new_code_cell("x", outputs=[new_output("display_data", data={"text/html": MARKUP})] * 99)
    _, done = finished(new_notebook(cells=[cell, new_markdown_cell(MARKUP)]))
    assert len(done.cells[0].outputs) == MAX_OUTPUTS
    assert MARKUP not in str(done.cells[0].outputs)


def test_a_rubric_stands_behind_the_answer_and_is_left_out_of_the_feedback():
    notebook = nbformat.from_dict(handed_out(LETTER, 0))
    notebook.cells = list(notebook.cells)
    before = [cell.source for cell in notebook.cells]
    _, done = finished(notebook, rubric="- two points for ...")
    [at] = [i for i, cell in enumerate(done.cells) if RUBRIC_TAG in cell.metadata.get("tags", ())]
    assert done.cells[at].source == "**For the grader**\n\n- two points for ..."
    assert done.cells[at - 1].metadata["nbgrader"]["grade"]
    kept, _ = DropRubric().preprocess(done, {})
    assert [cell.source for cell in kept.cells] == before


def test_without_a_rubric_there_is_no_cell():
    _, done = finished(checked(), report="x", points=1)
    assert len(done.cells) == len(handed_out(SLUG, 0).cells)


def test_the_configuration_names_a_step_that_nbgrader_finds():
    """A configuration holds it as text; a wrong name would be a grader without protection."""
    assert import_item("attncourse.classroom.plugins.Refuse") is Refuse
    assert '"attncourse.classroom.plugins.Refuse"' in CONFIG_TEXT
