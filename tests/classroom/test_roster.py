"""The class list: what it may look like, and what every mistake in it says."""

import os
import re
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attncourse.classroom.problem import CourseProblem
from attncourse.classroom.roster import COLUMNS, Student, read_roster, student_id_problem

DIFFER = "must differ from every other id, and not only in upper and lower case"
SIGNS = "must be 1 to 64 of the characters A-Z a-z 0-9 . _ -"
BEGIN = "must not begin with a dot or a hyphen"
QUOTES = "put a text that holds a separator in double quotes"
NUMBER = "must be the number in the column ID of a gradebook that Canvas exported"


def written(folder, data):
    path = folder / "roster.csv"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


ANN = Student("ann", "Änne", "Müller, geb. Weiß", "ann@example.org", "Group 2", "10037")
BOB = Student("b.o-b_7", 'Bo "Bobby"', "O'Neil")


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("separator", [",", ";"])
def test_one_list_in_all_dialects(tmp_path, mark, end, separator):
    lines = [
        ["last_name", "Student_ID", "phone", "canvas_id", "email", "section", " first_name "],
        ['"Müller, geb. Weiß"', "ann", "123", "10037", "ann@example.org", "Group 2", "Änne"],
        [""] * 7,
        ["O'Neil ", " b.o-b_7", "", "", "", "", '"Bo ""Bobby"""'],
    ]
    text = end.join(separator.join(line) for line in lines)
    assert read_roster(written(tmp_path, mark + text.encode())) == (ANN, BOB)


def test_one_column_and_short_lines_are_enough(tmp_path):
    assert read_roster(written(tmp_path, "student_id\nann\n\nbob")) == (Student("ann"), Student("bob"))
    text = "student_id,first_name,last_name\nann\nbob,Bo\n"
    assert read_roster(written(tmp_path, text)) == (Student("ann"), Student("bob", "Bo"))


def test_a_student_is_what_the_columns_are():
    assert COLUMNS == ("student_id", "first_name", "last_name", "email", "section", "canvas_id")
    with pytest.raises(FrozenInstanceError):
        ANN.student_id = "bob"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (
            "first_name,email\nAnn,a@b\n",
            "line 1: the header must have the column student_id, got first_name, email",
        ),
        ("\n\nname\nann\n", "roster.csv, line 3: the header must have the column student_id, got name"),
        ("", "roster.csv, line 1: the header must have the column student_id, got no header"),
        ("student_id,email,EMAIL\nann\n", "line 1: the header must have the column email once, got it twice"),
        ("student_id,email\r\n,\r\n", "csv: must have at least one student below the header, got none"),
        ("student_id,email\nann,a@b\n,c@d\n", "line 3, column student_id: must not be empty, got ''"),
        ("email,student_id\nc@d\n", "line 2, column student_id: must not be empty, got ''"),
        (
            "student_id\nann\nbob\nann\n",
            f"line 4, column student_id: {DIFFER}, got 'ann' after 'ann' in line 2",
        ),
        ("student_id\nAnn\nann\n", f"line 3, column student_id: {DIFFER}, got 'ann' after 'Ann' in line 2"),
        ('student_id,last_name\nann,"two\nlines"\n..,x\n', f"line 4, column student_id: {BEGIN}, got '..'"),
        ("student_id\n../ann\n", f"line 2, column student_id: {SIGNS}, got '../ann'"),
        (
            "student_id,last_name\nann,Müller, Dr.\n",
            f"line 2: must have at most 2 cells, one for each column of the header, got 3: {QUOTES}",
        ),
        ('student_id,last_name\nann,"Müller\n', "line 2: must be CSV, got: unexpected end of data"),
        ("student_id,canvas_id\nann,10037a\n", f"line 2, column canvas_id: {NUMBER}, got '10037a'"),
        (
            "student_id\nann\nbüb\n".encode("latin-1"),
            "line 3: must be UTF-8, got the byte 0xfc; save it as CSV",
        ),
        (b"\xef\xbb\xbfstudent_id\n\xff\n", "line 2: must be UTF-8, got the byte 0xff"),
        ("student_id\nann\n".encode("utf-16"), "line 1: must be UTF-8, got the byte 0xff"),
    ],
)
def test_a_mistake_is_named(tmp_path, data, says):
    with pytest.raises(CourseProblem, match=re.escape(says)):
        read_roster(written(tmp_path, data))


def test_a_list_that_is_not_there_or_no_file_is_named(tmp_path):
    says = "roster.csv: there is no such file; write one with the header student_id,first_name,last_name"
    with pytest.raises(CourseProblem, match=says):
        read_roster(tmp_path / "roster.csv")
    with pytest.raises(CourseProblem, match="cannot be read: Is a directory"):
        read_roster(tmp_path)


@pytest.mark.parametrize("text", ["ann", "A.b-c_9", "_x", "7", "a" * 64, "a..b", "con"])
def test_these_are_ids(text):
    assert student_id_problem(text) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        *[
            (text, f"{SIGNS}, got {text!r}")
            for text in ("", "a/b", "a\\b", "../b", "C:", "änne", "a b", "ann\n", "a\0", "=1", "a*", "a" * 65)
        ],
        *[(text, f"{BEGIN}, got {text!r}") for text in (".", "..", ".ssh", "-rf")],
        ("a" * 1000, "got 'a"),
    ],
)
def test_these_are_no_ids(text, says):
    problem = student_id_problem(text)
    assert says in problem
    assert len(problem) < 200


@pytest.mark.properties
@given(st.text() | st.text(alphabet="ab./-_\\ ~\n", max_size=6))
def test_what_is_an_id_stays_in_its_folder(text):
    if student_id_problem(text) is None:
        path = os.path.normpath(os.path.join("/course/submitted", text))
        assert os.path.dirname(path) == "/course/submitted"
        assert os.path.basename(path) == text
