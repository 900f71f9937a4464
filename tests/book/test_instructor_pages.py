"""What the pages on handing out, collecting and grading say is what the programs do."""

import re
import shlex
from pathlib import Path

import grading_tables
import pytest
from grading_tables import current, hostile_table, kinds, limits_table, main
from nbgrader.apps.nbgraderapp import NbGraderApp
from typer.main import get_command

from attncourse.classroom import collecting, framing, one_notebook, rerun, roster, suspicion
from attncourse.classroom.cli import app
from attncourse.classroom.doctor import BYTES_PER_JOB
from attncourse.classroom.exporters import FORMATS
from attncourse.classroom.records import STATES
from attncourse.classroom.sandbox import RESERVE_BYTES
from tests.classroom.submissions import BULLETS, CASES
from tests.support.book import BOOK

pytestmark = pytest.mark.book
HAND_OUT = (BOOK / "hand-out-and-collect.md").read_text(encoding="utf-8")
GRADING = (BOOK / "grading.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RULE = "scaled-weigh-by-rule"


def blocks(page, language):
    return [text for found, text in BLOCK.findall(page) if found == language]


def config_with(name):
    (text,) = [one for one in blocks(HAND_OUT, "python") if name in one]
    return text


# --- tables -------------------------------------------------------------------------------------------------


def test_the_stored_tables_are_what_the_tests_hand_in():
    assert current(GRADING) == GRADING, "run python tools/grading_tables.py write"


def test_every_hostile_case_stands_in_one_row():
    names = [name for found in kinds().values() for name in found]
    assert sorted(names) == sorted(case.name for case in CASES if case.kind == "hostile")
    assert kinds().keys() >= BULLETS.keys()


def test_the_table_holds_every_title_and_every_outcome():
    table = hostile_table().replace("`", "")
    for case in CASES:
        if case.kind == "hostile":
            assert case.outcome in table
            assert grading_tables.WHERE.sub("", case.title) in table


def test_a_case_that_no_kind_names_stands_in_a_row_of_its_own(monkeypatch):
    monkeypatch.setattr(grading_tables, "MORE", {})
    assert "giant-result" in kinds()["does something else"]
    assert "| does something else | Returns a tensor of 1 GB" in hostile_table()


def test_the_limits_are_those_of_the_sandbox():
    table = limits_table()
    assert f"| time of one cell, or of all calls | {one_notebook.CELL_SECONDS} s |" in table
    assert f"| processor time of a process | {one_notebook.KERNEL_LIMITS.cpu_seconds} s |" in table
    assert f"{rerun.LIMITS.memory_bytes // 2**30} GiB" in table
    assert table.count("|") == 4 * len(table.splitlines())


def test_people_keep_what_stands_outside_the_tables(tmp_path, monkeypatch, capsys):
    page = tmp_path / "grading.md"
    monkeypatch.setattr(grading_tables, "PAGE", page)
    page.write_text("Before.\n" + GRADING.replace("15 s", "16 s") + "After.\n", encoding="utf-8")
    assert main(["check"]) == 1
    assert "grading.md is not what the tests hand in" in capsys.readouterr().out
    assert main(["write"]) == 0
    assert page.read_text(encoding="utf-8") == "Before.\n" + GRADING + "After.\n"
    assert main(["check"]) == 0


def test_a_page_without_the_comments_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(grading_tables, "PAGE", tmp_path / "grading.md")
    grading_tables.PAGE.write_text("no comments", encoding="utf-8")
    assert main(["write"]) == 1
    assert "must hold" in capsys.readouterr().err


# --- what the pages print -----------------------------------------------------------------------------------


def commands(program):
    for page in (HAND_OUT, GRADING):
        lines = [line for text in blocks(page, "bash") for line in text.splitlines()]
        for line in [*lines, *re.findall(r"`([^`\n]+)`", page)]:
            if line.strip().startswith(f"{program} "):
                yield shlex.split(line)[1:]


def test_every_command_of_ours_is_one():
    ours, seen = get_command(app).commands, set()
    for name, *arguments in commands("attncourse"):
        if name != "HW1" and arguments:
            ours[name].make_context(name, list(arguments))
        assert name in ours
        seen.add(name)
    assert seen >= {"assign", "grade", "feedback", "export", "doctor"}
    shown = {text for found in commands("attncourse") for text in found}
    assert shown >= FORMATS.keys()


def test_every_command_of_nbgrader_is_one():
    known = NbGraderApp().subcommands
    named = {name for name, *_ in commands("nbgrader")}
    assert named >= {"zip_collect", "release_assignment", "fetch_assignment", "submit", "collect"}
    assert named <= known.keys()


@pytest.mark.parametrize(
    "text",
    [
        "there is no answer to check", "the cells before the check did not end within",
        "the file was renamed", "files that belong to no exercise",
        "is no notebook", "holds none of the cells that are graded", "the test's cell was changed",
        "an answer's cell stands there twice", "the test's cell asks for another version",
        "the check in the student's own kernel said", "its kernel", "was left out",
    ],
)  # fmt: skip
def test_a_quoted_remark_is_one_that_grading_makes(text):
    folder = Path(framing.__file__).parent
    sources = "\n".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py"))
    assert text in GRADING
    assert text in re.sub(r'"\n\s*f?"', "", sources)


def test_the_quoted_remarks_on_code_are_those_of_the_reader():
    found = suspicion.remarks_on("import os\nprint(open('notes.txt').read())")
    assert {one.partition(" (")[0] for one in found} >= {"imports os", "uses open"}
    assert suspicion.remarks_on("!pip install torch")[0].startswith("runs a command in a shell (line 1: !pip")
    assert "`runs a command in a shell (cell 1, line 1: !pip install" in GRADING
    ready = "attncourse.multihead.split_heads"
    (said,) = suspicion.remarks_on(f"import attncourse.multihead\n{ready}(x, 2)", ready_made={ready})
    assert said.startswith("uses attncourse.multihead.split_heads, which does what the exercise asks for")
    for text in ("imports os", "uses open", f"uses {ready}, which does what the exercise asks for"):
        assert f"`{text}" in GRADING


def test_states_columns_and_sizes_are_those_of_the_programs():
    assert all(f"\n| {state} |" in GRADING for state in STATES)
    assert f"`{','.join(roster.COLUMNS)}`" in HAND_OUT
    assert f"A notebook above {framing.MAX_BYTES // 2**20} MiB is listed" in HAND_OUT
    assert RESERVE_BYTES == 2**30 // 2
    assert "with less than half a GiB of memory" in GRADING
    assert f"needs {BYTES_PER_JOB // 2**30} GiB of memory for each" in GRADING


def test_the_penalty_of_the_example_counts_days_begun():
    names = {"c": type("Config", (), {"AssignLatePenalties": type("Part", (), {})})}
    exec(config_with("PerDay"), names)
    late = names["PerDay"]().late_submission_penalty
    day = 86400
    found = [late("ada", 4.0, seconds) for seconds in (1, day, day + 1, 5 * day, 9 * day)]
    assert found == [0.4, 0.4, 0.8, 2.0, 2.0]
    assert names["c"].AssignLatePenalties.plugin_class is names["PerDay"]


# --- collecting ---------------------------------------------------------------------------------------------


def test_the_names_of_the_example_tell_the_student():
    students = (roster.Student("ada", "Ada", "Lovelace", canvas_id="101"),)
    names = re.findall(r"`([^`\n]+_[0-9]+_[^`\n]+\.ipynb)`", HAND_OUT)
    assert [collecting.find_student(name, students) for name in names] == [("ada", RULE)] * 2


def test_what_the_page_says_of_archives_is_what_is_opened():
    named = re.findall(r"`(?:downloaded/HW1/archive/)?([^`/\n]+\.zip)`", HAND_OUT)
    opened = {name for name in named if collecting.CLASS_ARCHIVE.fullmatch(name)}
    assert opened == {"submissions.zip", "submissions (2).zip"}
    assert f"so is a file above {collecting.MAX_MEMBER_BYTES // 2**20} MiB" in HAND_OUT
    assert f"more than {collecting.MAX_ARCHIVE_BYTES // 2**30} GiB in all is not unpacked" in HAND_OUT
    assert "\nmkdir -p downloaded/HW1/archive\n" in HAND_OUT
    assert "\nnbgrader zip_collect HW1 --force\n" in HAND_OUT
    assert "`Left out`" in HAND_OUT
    assert '"Left out %r: %s"' in Path(collecting.__file__).read_text(encoding="utf-8")
