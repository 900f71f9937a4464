"""Records survive their file, and a half-written or foreign file is no record."""

import json
import os

import pytest

from attncourse.classroom.problem import CourseProblem
from attncourse.classroom.records import (
    STATES,
    Record,
    path_of,
    read_record,
    read_records,
    write_record,
    write_text,
)

pytestmark = pytest.mark.exercises
FULL = Record("ann", "a-b", "graded", 4, 2.5, 4.0, "why", ("odd", "é\n✓"), "key")


@pytest.mark.parametrize("record", [FULL, Record("ann", "a-b", "missing", 4), *(
    Record("ann", "a-b", state, 4, None) for state in STATES
)])  # fmt: skip
def test_a_record_is_read_as_it_was_written(record, tmp_path):
    write_record(tmp_path, "HW1", record)
    assert read_record(path_of(tmp_path, "HW1", "ann", "a-b")) == record


def test_a_record_can_be_read_by_people(tmp_path):
    write_record(tmp_path, "HW1", FULL)
    text = path_of(tmp_path, "HW1", "ann", "a-b").read_text(encoding="utf-8")
    assert "✓" in text
    assert text.endswith("}\n")


def test_half_characters_of_a_students_are_no_error(tmp_path):
    write_record(tmp_path, "HW1", Record("ann", "a-b", "graded", 4, reason="x\ud800y"))
    assert read_record(path_of(tmp_path, "HW1", "ann", "a-b")).reason == "x?y"


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", "{}", '{"student": "ann"}', json.dumps({**vars(FULL), "more": 1}),
     json.dumps({**vars(FULL), "remarks": 3}), "\x00"],
)  # fmt: skip
def test_what_is_no_record_is_none(text, tmp_path):
    (tmp_path / "one.json").write_text(text, encoding="utf-8")
    assert read_record(tmp_path / "one.json") is None


def test_no_file_and_no_text_are_no_record(tmp_path):
    assert read_record(tmp_path / "nothing.json") is None
    assert read_record(tmp_path) is None
    (tmp_path / "one.json").write_bytes(b"\xff\xfe")
    assert read_record(tmp_path / "one.json") is None


def test_records_are_sorted_and_what_is_none_is_left_out(tmp_path):
    for student, slug in [("bob", "b"), ("ann", "c"), ("ann", "a")]:
        write_record(tmp_path, "HW1", Record(student, slug, "graded", 4))
    write_record(tmp_path, "HW2", Record("zoe", "a", "graded", 4))
    path_of(tmp_path, "HW1", "ann", "d").write_text("{")
    (tmp_path / "grading" / "HW1" / "look.csv").write_text("x")
    found = [(one.student, one.slug) for one in read_records(tmp_path, "HW1")]
    assert found == [("ann", "a"), ("ann", "c"), ("bob", "b")]


def test_nothing_graded_is_said(tmp_path):
    text = rf"^HW1 has not been graded in {tmp_path}: run `attncourse grade HW1` first$"
    with pytest.raises(CourseProblem, match=text):
        read_records(tmp_path, "HW1")


def test_a_text_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "a" / "b.txt"
    write_text(path, "old")
    write_text(path, "new ✓")
    assert path.read_text(encoding="utf-8") == "new ✓"
    assert os.listdir(path.parent) == ["b.txt"]

    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(OSError, match="no space left"):
        write_text(path, "newer")
    assert path.read_text(encoding="utf-8") == "new ✓"
