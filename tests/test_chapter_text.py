"""The text form of chapters: nothing is lost on the way there and back."""

import json

import pytest
from chapter_text import TextError, main, pack, parse, unpack
from notebooks import normal_form

TEXT = """\
%% md intro
# Title

First sentence.
Second sentence.

%% code imports
import math

%% code plot {"mystnb": {"image": {"alt": "a line – rising"}}, "tags": ["hide-input"]}
print(1)

%% code empty

%% md tricky
\\%% md not a cell
\\\\%% code nor this
\\%%
%%time is a cell magic
"""


def executed(text=TEXT):
    notebook = json.loads(pack(text))
    for count, cell in enumerate(
        (c for c in notebook["cells"] if c["cell_type"] == "code" and c["source"]), 1
    ):
        cell["execution_count"] = count
        cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": [f"{cell['id']}\n", "end\n"]}]
    return notebook


def test_cells_are_read_with_kind_id_metadata_and_source():
    cells = parse(TEXT)
    assert [(c["cell_type"], c["id"]) for c in cells] == [
        ("markdown", "intro"),
        ("code", "imports"),
        ("code", "plot"),
        ("code", "empty"),
        ("markdown", "tricky"),
    ]
    assert cells[0]["source"] == "# Title\n\nFirst sentence.\nSecond sentence."
    assert cells[2]["metadata"]["mystnb"]["image"]["alt"] == "a line – rising"
    assert cells[3]["source"] == ""
    assert cells[4]["source"] == "%% md not a cell\n\\%% code nor this\n%%\n%%time is a cell magic"


def test_text_to_notebook_to_text_changes_nothing():
    assert unpack(json.loads(pack(TEXT))) == TEXT


def test_a_stored_notebook_survives_the_round_trip_byte_for_byte():
    stored = normal_form(executed())
    assert "stdout" in stored
    assert pack(unpack(json.loads(stored)), json.loads(stored)) == stored


def test_only_cells_with_changed_id_or_source_lose_their_output():
    stored = json.loads(normal_form(executed()))
    changed = TEXT.replace("import math", "import cmath").replace("First", "New first")
    packed = {cell["id"]: cell for cell in json.loads(pack(changed, stored))["cells"]}
    assert packed["imports"]["outputs"] == []
    assert packed["imports"]["execution_count"] is None
    assert packed["plot"]["outputs"][0]["text"] == ["plot\n", "end\n"]
    renamed = {
        c["id"]: c for c in json.loads(pack(TEXT.replace("code plot", "code figure"), stored))["cells"]
    }
    assert renamed["figure"]["outputs"] == []


def test_new_metadata_keeps_the_output():
    stored = json.loads(normal_form(executed()))
    packed = {c["id"]: c for c in json.loads(pack(TEXT.replace("hide-input", "hide-cell"), stored))["cells"]}
    assert packed["plot"]["metadata"]["tags"] == ["hide-cell"]
    assert packed["plot"]["outputs"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("%% md a\nx\n%% code a\n", "line 3: id 'a' is taken by line 1"),
        ("%% md\nx\n", "line 1: a cell needs a kebab-case id after 'md'"),
        ("x\n%% md a\n", "line 1: text before the first cell"),
        ("%% md a\n\n%% raw b\n", "line 3: a cell is '%% md id' or '%% code id', got '%% raw b'"),
        ("%% md a\n%%\n", "line 2: a cell is '%% md id'"),
        ('%% code a {"tags": [}\n', "line 1: bad JSON: .* at column 11"),
        ('%% code a {"colour": 1}\n', "line 1: metadata must be an object with tags and mystnb only"),
        ("%% code a [1]\n", "line 1: metadata must be an object"),
        ("%% md A_b\n", "line 1: a cell needs a kebab-case id"),
        ("%% md " + "a" * 65 + "\n", "line 1: a cell needs a kebab-case id"),
        ("\n\n", "line 1: no cell"),
    ],
)
def test_errors_name_the_line(text, message):
    with pytest.raises(TextError, match=message):
        pack(text)


def test_a_raw_cell_has_no_text_form():
    with pytest.raises(TextError, match="cell 'x' must be code or markdown"):
        unpack({"cells": [{"cell_type": "raw", "id": "x", "metadata": {}, "source": ""}]})


def test_command_line_round_trip(tmp_path, capsys):
    draft, notebook = tmp_path / "draft.txt", tmp_path / "01-x.ipynb"
    draft.write_text(TEXT, encoding="utf-8")
    assert main(["pack", str(draft), str(notebook)]) == 0
    assert main(["unpack", str(notebook)]) == 0
    assert capsys.readouterr().out == TEXT
    assert main(["unpack", str(notebook), str(tmp_path / "again.txt")]) == 0
    assert (tmp_path / "again.txt").read_text(encoding="utf-8") == TEXT


def test_command_line_leaves_the_notebook_when_the_text_is_wrong(tmp_path, capsys):
    draft, notebook = tmp_path / "draft.txt", tmp_path / "01-x.ipynb"
    draft.write_text(TEXT, encoding="utf-8")
    main(["pack", str(draft), str(notebook)])
    before = notebook.read_bytes()
    draft.write_text("%% md a\n%% md a\n", encoding="utf-8")
    assert main(["pack", str(draft), str(notebook)]) == 1
    assert "draft.txt: line 2: id 'a' is taken by line 1" in capsys.readouterr().err
    assert notebook.read_bytes() == before
