"""What the pages on handing out, collecting and grading say is what the programs do."""

import csv
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import grading_tables
import pytest
from grading_tables import TableError, filled, hostile_table, kinds, limits_table, main
from nbgrader.apps.nbgraderapp import NbGraderApp
from nbgrader.plugins.zipcollect import ExtractorPlugin
from typer.main import get_command

from attncourse.classroom import framing, one_notebook, rerun, roster, suspicion
from attncourse.classroom.cli import app
from attncourse.classroom.course import CONFIG_TEXT
from attncourse.classroom.doctor import BYTES_PER_JOB
from attncourse.classroom.exporters import FORMATS
from attncourse.classroom.records import STATES
from attncourse.classroom.sandbox import RESERVE_BYTES
from tests.classroom.submissions import BULLETS, CASES, ESCAPED, hostile_archives
from tests.support.book import BOOK

pytestmark = pytest.mark.book
HAND_OUT = (BOOK / "hand-out-and-collect.md").read_text(encoding="utf-8")
GRADING = (BOOK / "grading.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HEADS, RULE = "multihead-split-heads", "scaled-weigh-by-rule"


def blocks(page, language):
    return [text for found, text in BLOCK.findall(page) if found == language]


def config_with(name):
    (text,) = [one for one in blocks(HAND_OUT, "python") if name in one]
    return text


# --- tables -------------------------------------------------------------------------------------------------


def test_the_stored_tables_are_what_the_tests_hand_in():
    assert filled(GRADING) == GRADING, "run python tools/grading_tables.py write"


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
    with pytest.raises(TableError, match="once each"):
        filled("no comments")
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
        "the file was renamed",
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

PEOPLE = (
    ("ada", "Ada", "Lovelace", "101"),
    ("emmy", "Emmy Ænd", "Nœthēr", "102"),
    ("alan", "Alan", "O'Turing", "103"),
    ("sam1", "Sam", "Same", "104"),
    ("sam2", "Sam", "Same", "105"),
)


@pytest.fixture
def course(tmp_path):
    """A course with the setting of the page."""
    folder = tmp_path / "course"
    (folder / "release" / "HW1").mkdir(parents=True)
    for slug in (HEADS, RULE):
        (folder / "release" / "HW1" / f"{slug}.ipynb").write_text("{}", encoding="utf-8")
    text = CONFIG_TEXT + "\n" + config_with("ByRoster")
    (folder / "nbgrader_config.py").write_text(text, encoding="utf-8")
    with (folder / "roster.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("student_id", "first_name", "last_name", "canvas_id"), *PEOPLE])
    return folder


def collected(course, entries):
    """Collect an archive as the page says; return the texts of what came in, and what was said."""
    assert "\nnbgrader zip_collect HW1 --force\n" in HAND_OUT
    archive = course / "submissions.zip"
    with zipfile.ZipFile(archive, "w") as made:
        for name, text in entries.items():
            made.writestr(name, text)
    there = course / "downloaded" / "HW1" / "archive"
    there.mkdir(parents=True)
    run = [sys.executable, "-m"]
    subprocess.run([*run, "zipfile", "-e", str(archive), str(there)], cwd=course, check=True, timeout=60)
    done = subprocess.run(
        [*run, "nbgrader", "zip_collect", "HW1", "--force"], cwd=course, capture_output=True, text=True,
        timeout=120, check=True,
    )  # fmt: skip
    root = course / "submitted"
    found = {path.relative_to(root).as_posix(): path.read_text() for path in root.glob("*/HW1/*.ipynb")}
    return found, done.stderr


def test_canvas_tells_the_student_by_number(course):
    for student in ("ada", "sam1"):
        folder = course / "submitted" / student / "HW1"
        folder.mkdir(parents=True)
        (folder / "old.ipynb").write_text("from the first time", encoding="utf-8")
    found, said = collected(course, {
        f"lovelaceada_101_7000_{HEADS}.ipynb": "ada heads",
        f"lovelaceada_101_7001_{RULE}-2.ipynb": "ada rule",
        f"nœthēremmyænd_LATE_102_7100_{HEADS}-1.ipynb": "emmy heads",
        f"oturingalan_103_7200_{HEADS} (1).ipynb": "alan, another name",
        f"oturingalan_103_7201_{HEADS}.ipynb": "alan heads",
        f"oturingalan_103_7202_{HEADS}-1.ipynb": "alan, once more",
        "oturingalan_103_7203_HW1.zip": "no archive",
        f"stranger_999_7300_{HEADS}.ipynb": "not on the roster",
    })  # fmt: skip
    assert found == {
        f"ada/HW1/{HEADS}.ipynb": "ada heads",
        f"ada/HW1/{RULE}.ipynb": "ada rule",
        f"emmy/HW1/{HEADS}.ipynb": "emmy heads",
        f"alan/HW1/{HEADS} (1).ipynb": "alan, another name",
        f"alan/HW1/{HEADS}.ipynb": "alan heads",
        "sam1/HW1/old.ipynb": "from the first time",  # the archive has nothing of Sam's
    }
    for name in ("HW1.zip", "stranger_999", f"7202_{HEADS}-1.ipynb"):
        assert re.search(rf"Skipped submission.*{re.escape(name)}", said)
    assert "Invalid submission notebook name" in said


def test_moodle_tells_the_student_by_name(course):
    alan = "Alan O'Turing_83_assignsubmission_file_/"
    found, said = collected(course, {
        f"Ada Lovelace_81_assignsubmission_file_/{HEADS}.ipynb": "ada heads",
        f"Nœthēr Emmy Ænd_82_assignsubmission_file/{HEADS}.ipynb": "emmy heads",
        # A student chooses folders, and cannot become somebody else by them.
        f"{alan}x_101_1_a/{HEADS}.ipynb": "alan heads",
        f"{alan}downloaded/HW1/x/lovelaceada_101_1_{RULE}.ipynb": "alan rule",
        f"{alan}Ada Lovelace_9_assignsubmission_file_/{RULE}.ipynb": "alan?",
        f"Sam Same_84_assignsubmission_file_/{HEADS}.ipynb": "which Sam?",
        "Ada Lovelace_81_assignsubmission_onlinetext_/onlinetext.html": "hello",
    })  # fmt: skip
    assert {name: text for name, text in found.items() if "alan" not in name} == {
        f"ada/HW1/{HEADS}.ipynb": "ada heads",
        f"emmy/HW1/{HEADS}.ipynb": "emmy heads",
    }
    assert {text for name, text in found.items() if name.startswith("alan/")} == {
        "alan heads", "alan rule", "alan?",
    }  # fmt: skip
    assert re.search(r"Skipped submission.*Sam Same", said)


def test_archives_of_students_stay_closed(course, tmp_path):
    made = hostile_archives(tmp_path / "hostile", tmp_path / "victim")
    entries = {f"lovelaceada_101_{i}_{name}": made[name].read_bytes() for i, name in enumerate(made)}
    found, said = collected(course, entries | {f"nœthēremmyænd_102_9_{HEADS}.ipynb": "emmy heads"})
    assert found == {f"emmy/HW1/{HEADS}.ipynb": "emmy heads"}
    assert said.count("Skipped submission") == len(made)
    extracted = list((course / "downloaded" / "HW1" / "extracted").rglob("*"))
    assert len(extracted) == len(made) + 1
    assert not list((tmp_path / "victim").iterdir())


@pytest.mark.parametrize(
    ("name", "stops"),
    [
        ("zip-slip.zip", True), ("zip-absolute.zip", True), ("zip-backslash.zip", True),
        ("zip-link.zip", True), ("tar-slip.tar.gz", True), ("tar-link.tar.gz", False),
        ("tar-device.tar.gz", False), ("no-archive.zip", True), ("zip-bomb.zip", False),
    ],
)  # fmt: skip
def test_nbgraders_own_extractor_writes_nothing_outside(tmp_path, name, stops):
    victim = tmp_path / "victim"
    archive = hostile_archives(tmp_path / "hostile", victim)[name]
    there, out = tmp_path / "there", tmp_path / "a" / "b" / "c" / "extracted"
    there.mkdir()
    out.mkdir(parents=True)
    archive.rename(there / name)
    stopped = False
    try:
        ExtractorPlugin().extract(str(there), str(out))
    except Exception:
        stopped = True
    assert stopped == stops
    assert not list(victim.iterdir())
    outside = [path for path in tmp_path.rglob(f"*{ESCAPED}*") if not path.is_relative_to(out)]
    assert not outside
    assert not [path for path in out.rglob("*") if path.is_symlink() or not (path.is_file() or path.is_dir())]
    if name == "zip-bomb.zip":
        assert max(path.stat().st_size for path in out.rglob("*.ipynb")) == 2**28


def test_the_setting_that_assign_writes_does_not_know_the_roster():
    """The warning on the page: drop both when the setting does better."""
    pattern = re.search(r'named_regexp = \(\s*r"(.*)"', CONFIG_TEXT)[1]
    assert re.match(pattern, f"x/lovelaceada_101_7000_{HEADS}-2.ipynb")["student_id"] == "lovelaceada"
    assert re.match(pattern, f"x/nœthēremmy_102_7000_{HEADS}.ipynb")["student_id"] == "remmy"
    assert "it is only the end of the name" in HAND_OUT
