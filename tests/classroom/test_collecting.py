"""An archive of a class comes back under the right names, whatever students name and pack."""

import csv
import io
import os
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from attncourse.classroom import collecting
from attncourse.classroom.collecting import CLASS_ARCHIVE, ByRoster, ClassArchive, LeftOut, find_student
from attncourse.classroom.course import read_config, write_config
from attncourse.classroom.roster import Student, read_roster
from tests.classroom.handing_in import FAMILY, HEADS
from tests.classroom.hostile_archives import ESCAPED, hostile_archives

pytestmark = pytest.mark.exercises

ROSTER = (
    Student("ada", "Ada", "Lovelace", canvas_id="101"),
    Student("emmy", "Emmy Ænd", "Nœthēr", canvas_id="102"),
    Student("alan", "Alan", "O'Turing", canvas_id="103"),
    Student("sam1", "Sam", "Same", canvas_id="104"),
    Student("sam2", "Sam", "Same", canvas_id="105"),
    Student("juergen", "Jürgen", "Groß-Müller", canvas_id="106"),
    Student("twin1", "No", "Name", canvas_id="107"),
    Student("twin2", "Any", "Body", canvas_id="107"),
    Student("bare"),
)
IN_MOODLE = "_81_assignsubmission_file_"


# --- whose file it is ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "student", "stem"),
    [
        (f"lovelaceada_101_7000_{HEADS}.ipynb", "ada", HEADS),
        (f"lovelaceada_LATE_101_7000_{HEADS}.ipynb", "ada", HEADS),
        (f"lovelaceada_101_7000_{HEADS}-1.ipynb", "ada", HEADS),
        (f"lovelaceada_LATE_101_7000_{HEADS}-12.ipynb", "ada", HEADS),
        (f"großmüllerjürgen_106_7000_{HEADS}.ipynb", "juergen", HEADS),
        (f"samesam_105_7000_{HEADS}.ipynb", "sam2", HEADS),
        (f"_101_7000_{HEADS}.ipynb", "ada", HEADS),
        ("lovelaceada_101_7000_my work.v2.ipynb", "ada", "my work.v2"),
        ("lovelaceada_101_7000_-1.ipynb", "ada", "-1"),
        # The file's own name holds numbers, and the student's name says which are Canvas's.
        ("lovelaceada_101_7000_1_heads.ipynb", "ada", "1_heads"),
        ("lovelaceada_LATE_101_7000_hw_1_2_heads.ipynb", "ada", "hw_1_2_heads"),
        (f"Ada Lovelace{IN_MOODLE}/{HEADS}.ipynb", "ada", HEADS),
        (f"Ada Lovelace_81_assignsubmission_file/{HEADS}.ipynb", "ada", HEADS),
        (f"Lovelace Ada{IN_MOODLE}/{HEADS}.ipynb", "ada", HEADS),
        (f"Jürgen Groß-Müller{IN_MOODLE}/{HEADS}.ipynb", "juergen", HEADS),
        (f"Ju\u0308rgen Groß Mu\u0308ller{IN_MOODLE}/{HEADS}.ipynb", "juergen", HEADS),
        (f"Alan OTuring{IN_MOODLE}/{HEADS}.ipynb", "alan", HEADS),
        (f"Alan OTuring{IN_MOODLE}/{HEADS}-1.ipynb", "alan", f"{HEADS}-1"),
        # Students choose inner folders, and become nobody else by them.
        (f"Alan OTuring{IN_MOODLE}/Ada Lovelace{IN_MOODLE}/{HEADS}.ipynb", "alan", HEADS),
        (f"Alan OTuring{IN_MOODLE}/lovelaceada_101_7000_x.ipynb", "alan", "lovelaceada_101_7000_x"),
    ],
)
def test_a_file_is_its_students(path, student, stem):
    assert find_student(path, ROSTER) == (student, stem)


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("notes.txt", r"must be a notebook \(\.ipynb\); archives that students packed stay closed"),
        ("lovelaceada_101_7000_HW1.zip", "must be a notebook"),
        (f"{HEADS}.ipynb", "must be one that Canvas gives, as in lovelaceada_101_7000_FILE.ipynb"),
        ("lovelaceada_101_7000_.ipynb", "own name must not be empty and not begin with a dot"),
        ("lovelaceada_101_7000_.hidden.ipynb", "own name must not be empty and not begin with a dot"),
        (f"Ada Lovelace{IN_MOODLE}/.ipynb", "own name must not be empty and not begin with a dot"),
        (f"work/lovelaceada_101_7000_{HEADS}.ipynb", "folder must be named as Moodle does it"),
        ("Ada Lovelace_81_assignsubmission_onlinetext_/a.ipynb", "folder must be named as Moodle does it"),
        # Without folders, a name that the student chose follows Moodle's, and may look like Canvas's.
        (f"Alan OTuring{IN_MOODLE}x_101_7_heads.ipynb", "or its folder's one that Moodle gives"),
        # Nobody, or two.
        ("stranger_999_7000_a.ipynb", "must have a student with canvas_id 999, and has none"),
        ("x_107_7000_a.ipynb", "must have one student with canvas_id 107, and has twin1, twin2: copy the"),
        (f"Grace Hopper{IN_MOODLE}/a.ipynb", "have a student with the name 'Grace Hopper', and has none"),
        (f"Sam Same{IN_MOODLE}/a.ipynb", "one student with the name 'Sam Same', and has sam1, sam2: copy"),
        (f"101{IN_MOODLE}/a.ipynb", "must have a student with the name '101', and has none"),
        (f"...{IN_MOODLE}/a.ipynb", r"must have a student with the name '\.\.\.', and has none"),
        # Somebody else's number in a user name, and in a file's name.
        ("lovelaceada_102_101_7000_a.ipynb", "by one number, and holds 102, 101: copy the file by hand"),
        ("stranger_102_7_m_999_7000_a.ipynb", "by one number, and holds 102, 999: copy the file by hand"),
        ("stranger_999_7000_x_102_7_a.ipynb", "by one number, and holds 999, 102: copy the file by hand"),
        ("lovelaceada_101_7000_x_102_7_a.ipynb", "by one number, and holds 101, 102: copy the file by hand"),
        ("anon_Ab3cD_7000_x_102_7_a.ipynb", "the assignment is anonymous in Canvas"),
        ("LATE_anon_12345_7000_a.ipynb", "the assignment is anonymous in Canvas"),
    ],
)  # fmt: skip
def test_a_file_that_might_be_anothers_is_left_out(path, rule):
    with pytest.raises(LeftOut, match=rule):
        find_student(path, ROSTER)


def test_other_digits_are_no_number():
    with pytest.raises(LeftOut, match="must be one that Canvas gives"):
        find_student("lovelaceada_١٠١_7000_a.ipynb", ROSTER)


# --- what the plug-ins do with it ---------------------------------------------------------------------------


class Log:
    def __init__(self):
        self.lines = []

    def warning(self, text, *values):
        self.lines.append(text % values)

    info = error = warning


def write_roster(course):
    with (course / "roster.csv").open("w", encoding="utf-8", newline="") as file:
        rows = [(one.student_id, one.first_name, one.last_name, one.canvas_id) for one in ROSTER]
        csv.writer(file).writerows([("student_id", "first_name", "last_name", "canvas_id"), *rows])


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """A collector in a course with a class, as `zip_collect` makes it; its log is a list of lines."""
    write_roster(tmp_path)
    app = SimpleNamespace(
        coursedir=SimpleNamespace(root=str(tmp_path), assignment_id="HW1"),
        collect_directory_structure="{downloaded}/{assignment_id}/{collect_step}",
        downloaded_directory="downloaded", extracted_directory="extracted",
    )  # fmt: skip
    made = ByRoster()
    monkeypatch.setattr(ByRoster, "parent", app)
    monkeypatch.setattr(ByRoster, "log", Log())
    return made


def put_file(folder, name, data=b"{}"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_a_place_is_taken_once_in_either_case(plugin, tmp_path):
    folder = tmp_path / "downloaded" / "HW1" / "extracted"
    names = ["ada_101_1_b.v1.ipynb", "ada_101_2_b.v2.ipynb", "ada_101_3_B.V1.ipynb", "ada_101_4_b.v1-1.ipynb"]
    found = [plugin.collect(str(put_file(folder, name))) for name in names]
    # nbgrader takes an ending off `file_id`, and stops if two files get one name.
    ids = [one and one["file_id"] for one in found]
    assert ids == ["b.v1.ipynb", "b.v2.ipynb", None, None]
    assert plugin.log.lines == [
        f"Left out {names[2]!r}: ada must hand in one file B.V1.ipynb, and the first one was taken",
        f"Left out {names[3]!r}: ada must hand in one file b.v1.ipynb, and the first one was taken",
    ]


def test_a_link_is_left_out(plugin, tmp_path):
    folder = tmp_path / "downloaded" / "HW1" / "extracted"
    link = put_file(folder, "ada_101_1_a.ipynb")
    link.unlink()
    link.symlink_to("/etc/passwd")
    assert plugin.collect(str(link)) is None
    assert plugin.collect(str(folder / "ada_101_2_gone.ipynb")) is None
    assert plugin.log.lines[0].endswith("it must be a file, and is a link or a device")
    assert "No such file" in plugin.log.lines[1]


def test_without_a_class_list_every_file_is_left_out_and_the_reason_is_said_once(plugin, tmp_path):
    (tmp_path / "roster.csv").write_text("name\nAda\n", encoding="utf-8")
    folder = tmp_path / "downloaded" / "HW1" / "extracted"
    for name in ("ada_101_1_a.ipynb", "ada_101_1_b.ipynb"):
        assert plugin.collect(str(put_file(folder, name))) is None
    assert "the header must have the column student_id, got name" in plugin.log.lines[0]
    assert [line.rpartition(": ")[2] for line in plugin.log.lines[1:]] == [
        "roster.csv must name the class, and could not be read"
    ] * 2


@pytest.fixture
def extract(tmp_path, monkeypatch):
    """Extract what lies in the archive folder; return what lies there then, and what was said."""

    def run():
        log = Log()
        monkeypatch.setattr(ClassArchive, "log", log)
        out = tmp_path / "out"
        out.mkdir()
        ClassArchive().extract(str(tmp_path / "archive"), str(out))
        files = [path for path in out.rglob("*") if not path.is_dir()]
        return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}, log.lines

    (tmp_path / "archive").mkdir()
    return run


def packed(*entries):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the same name twice
        for name, data in entries:
            archive.writestr(name, data)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "opened"),
    [
        ("submissions.zip", True), ("submissions (2).zip", True), ("submissions-2.zip", True),
        ("lovelaceada_101_7000_submissions.zip", False), ("submissions_101_7000_a.zip", False),
        ("Ada/submissions.zip", False), ("submissions.tar.gz", False),
    ],
)  # fmt: skip
def test_only_the_archive_of_the_class_is_opened(name, opened):
    assert bool(CLASS_ARCHIVE.fullmatch(name)) == opened


def test_files_are_unpacked_and_copied_and_nothing_is_opened_twice(extract, tmp_path):
    inner = packed(("x.ipynb", "inner"))
    data = packed(("a/", ""), ("a/x.ipynb", "one"), ("a/submissions.zip", inner), ("a/x.ipynb", "two"))
    put_file(tmp_path / "archive", "submissions.zip", data)
    put_file(tmp_path / "archive", "b/submissions.zip", inner)
    put_file(tmp_path / "archive", "c.ipynb", b"c")
    (tmp_path / "archive" / "passwd").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "archive" / "pipe")
    found, said = extract()
    assert found == {
        "a/x.ipynb": b"one", "a/submissions.zip": inner, "b/submissions.zip": inner, "c.ipynb": b"c",
    }  # fmt: skip
    kinds = "it must be a file, and is a link or a device"
    assert [line for line in said if line.startswith("Left out")][:2] == [
        f"Left out 'passwd': {kinds}", f"Left out 'pipe': {kinds}",
    ]  # fmt: skip
    assert "File exists" in said[-1]


def test_an_empty_folder_is_said(extract, tmp_path):
    assert extract() == ({}, [f"There is no file in {tmp_path / 'archive'}"])


def test_damaged_members_and_odd_names_are_left_out(extract, tmp_path):
    names = ["../up", "a/../../up", "/abs", "C:/drive", "back\\slash", "a//b", "./dot", "long" * 100]
    data = packed(("good.ipynb", "good"), ("bad.ipynb", b"0123456789" * 9), *((name, "") for name in names))
    at = data.index(b"bad.ipynb") + len("bad.ipynb")
    data = data[:at] + b"\xff\xff\xff" + data[at + 3 :]
    put_file(tmp_path / "archive", "submissions.zip", data)
    found, said = extract()
    assert found == {"good.ipynb": b"good"}
    assert {name for name in names if any(line.startswith(f"Left out {name!r}: ") for line in said)} == {
        *names
    }
    assert sum("its name must lead to a place inside the archive" in line for line in said) == 7
    assert any(line.startswith("Left out 'bad.ipynb': ") and line[-1] != " " for line in said)
    assert not (tmp_path / "up").exists()


def test_what_would_fill_the_disk_is_left_out(extract, tmp_path, monkeypatch):
    monkeypatch.setattr(collecting, "MAX_MEMBER_BYTES", 2**20)
    monkeypatch.setattr(collecting, "MAX_ARCHIVE_BYTES", 3 * 2**20 // 2)
    large, small = b"0" * (2**20 + 1), b"0" * (2**20)
    archive = tmp_path / "archive"
    put_file(archive, "submissions.zip", packed(("a", large), ("b", small)))
    put_file(archive, "submissions (2).zip", packed(("c", small), ("d", small)))
    put_file(archive, "submissions (3).zip", b"PK\x03\x04 and then nothing")
    found, said = extract()
    assert found == {"b": small}
    assert "Left out 'a': it must have at most 1 MiB, and has 1 MiB" in said
    assert any(
        line.startswith("Left out 'submissions (2).zip': its files must have at most") for line in said
    )
    assert "Left out 'submissions (3).zip': File is not a zip file" in said


# --- nbgrader itself ----------------------------------------------------------------------------------------

# nbgrader calls alembic by name: the environment's programs must be on the path.
SCRIPT = """
import os, sys
os.environ["PATH"] = os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]
from nbgrader.apps.nbgraderapp import NbGraderApp
sys.exit(NbGraderApp.launch_instance(argv=sys.argv[1:]))
"""


@pytest.fixture
def course(tmp_path):
    """A course with a class and the configuration that `assign` writes."""
    folder = tmp_path / "course"
    for slug in (HEADS, FAMILY):
        put_file(folder / "release" / "HW1", f"{slug}.ipynb")
    write_config(folder)
    write_roster(folder)
    return folder


def collected(course, *entries):
    """Collect an archive; return the texts of what came in, and what was said."""
    put_file(course / "downloaded" / "HW1" / "archive", "submissions.zip", packed(*entries))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, "zip_collect", "HW1", "--force"],
        cwd=course, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    root = course / "submitted"
    found = {path.relative_to(root).as_posix(): path.read_text() for path in root.glob("*/HW1/*")}
    return found, done.stderr


def test_the_configuration_names_the_plug_ins(course):
    config = read_config(course).ZipCollectApp
    for name, plugin in (("extractor_plugin", ClassArchive), ("collector_plugin", ByRoster)):
        assert config[name] == f"{plugin.__module__}.{plugin.__name__}"
    assert read_roster(course / "roster.csv") == ROSTER


def test_an_archive_from_canvas(course, tmp_path):
    for student in ("ada", "sam1"):
        put_file(course / "submitted" / student / "HW1", "old.ipynb", b"from the first time")
    made = hostile_archives(tmp_path / "hostile", tmp_path / "victim")
    left_out = {
        f"oturingalan_103_7202_{HEADS}-1.ipynb": "once more",
        "oturingalan_103_7203_x_102_7_y.ipynb": "as Emmy",
        f"stranger_999_7300_{HEADS}.ipynb": "not on the roster",
        f"../../../submitted/ada/HW1/{FAMILY}.ipynb": "as Ada",
    } | {f"oturingalan_103_{number}_{name}": made[name].read_bytes() for number, name in enumerate(made)}
    found, said = collected(
        course,
        (f"lovelaceada_101_7000_{HEADS}.ipynb", "ada heads"),
        (f"lovelaceada_101_7001_{FAMILY}-2.ipynb", "ada family"),
        (f"nœthēremmyænd_LATE_102_7100_{HEADS}-1.ipynb", "emmy heads"),
        (f"oturingalan_103_7200_{HEADS}.v1.ipynb", "alan, another name"),
        (f"oturingalan_103_7201_{HEADS}.ipynb", "alan heads"),
        (f"samesam_105_7400_{HEADS}.ipynb", "the second Sam"),
        *left_out.items(),
    )
    assert found == {
        f"ada/HW1/{HEADS}.ipynb": "ada heads",
        f"ada/HW1/{FAMILY}.ipynb": "ada family",
        f"emmy/HW1/{HEADS}.ipynb": "emmy heads",
        f"alan/HW1/{HEADS}.v1.ipynb": "alan, another name",
        f"alan/HW1/{HEADS}.ipynb": "alan heads",
        "sam1/HW1/old.ipynb": "from the first time",  # the archive has nothing of this Sam's
        f"sam2/HW1/{HEADS}.ipynb": "the second Sam",
    }
    assert [name for name in left_out if f"Left out {name!r}: " not in said] == []
    assert said.count("Left out ") == len(left_out)
    assert "Invalid submission notebook name" in said
    assert not list((tmp_path / "victim").iterdir())


def test_an_archive_from_moodle(course):
    alan = "Alan OTuring_83_assignsubmission_file_/"
    link = zipfile.ZipInfo(f"{alan}passwd.ipynb")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    left_out = (
        (f"Sam Same_84_assignsubmission_file_/{HEADS}.ipynb", "which Sam?"),
        (f"Grace Hopper_85_assignsubmission_file_/{HEADS}.ipynb", "not on the roster"),
        ("Ada Lovelace_81_assignsubmission_onlinetext_/onlinetext.html", "hello"),
        (f"{alan}HW1.zip", packed((f"../../Ada Lovelace{IN_MOODLE}/{HEADS}.ipynb", "as Ada"))),
    )
    found, said = collected(
        course,
        (f"Ada Lovelace_81_assignsubmission_file_/{HEADS}.ipynb", "ada heads"),
        (f"Nœthēr Emmy Ænd_82_assignsubmission_file/{HEADS}.ipynb", "emmy heads"),
        (f"Jürgen Groß-Müller_86_assignsubmission_file_/{HEADS}.ipynb", "jürgen heads"),
        # A student chooses folders, and cannot become somebody else by them.
        (f"{alan}x_101_1_a/{HEADS}.ipynb", "alan"),
        (f"{alan}downloaded/HW1/x/lovelaceada_101_1_{FAMILY}.ipynb", "alan"),
        (f"{alan}Ada Lovelace_9_assignsubmission_file_/{FAMILY}.ipynb", "alan"),
        (link, "/etc/passwd"),
        *left_out,
    )
    others = {name: text for name, text in found.items() if not name.startswith("alan/")}
    assert others == {
        f"ada/HW1/{HEADS}.ipynb": "ada heads",
        f"emmy/HW1/{HEADS}.ipynb": "emmy heads",
        f"juergen/HW1/{HEADS}.ipynb": "jürgen heads",
    }
    assert [text for name, text in found.items() if name not in others] == ["alan"] * 3
    for name, _ in (*left_out, (link.filename, "")):
        assert f"Left out {name!r}: " in said or f'Left out "{name}": ' in said


def test_the_hostile_archives_as_the_archive_of_a_class(tmp_path, extract):
    """As if the platform itself were hostile: nothing is written outside, and the good one is unpacked."""
    victim = tmp_path / "victim"
    made = hostile_archives(tmp_path / "hostile", victim)
    for number, name in enumerate(sorted(made)):
        made[name].rename(tmp_path / "archive" / f"submissions ({number}).zip")
    put_file(tmp_path / "archive", "submissions.zip", packed(("good.ipynb", "good")))
    found, said = extract()
    assert found.pop("good.ipynb") == b"good"
    assert found == {f"door/{ESCAPED}": b"escaped"}  # a folder of the course: the link named door is left out
    assert not list(victim.iterdir())
    outside = [path for path in Path(tmp_path).rglob(f"*{ESCAPED}*") if tmp_path / "out" not in path.parents]
    assert not outside
    assert any(line.endswith("it must have at most 200 MiB, and has 256 MiB") for line in said)
