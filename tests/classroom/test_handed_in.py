"""What was handed in is found under whatever name, and what cannot be read is said."""

import json
import os

import nbformat
import pytest

from attncourse.classroom.assigning import find_exercises, handed_out
from attncourse.classroom.course import Assigned
from attncourse.classroom.handed_in import MAX_NOTE, Found, find, folder_of, notes_of_nbgrader

pytestmark = pytest.mark.exercises
HEADS, FAMILY, LETTER = "multihead-split-heads", "scaled-weigh-by-rule", "focus-letter-to-a-psychologist"
SLUGS = (HEADS, FAMILY, LETTER)
EXERCISES = [
    Assigned(one.id, one.slug, one.meta["points"], one.meta["kind"])
    for one in find_exercises([slug.replace("-", ".", 1) for slug in SLUGS])
]


def text_of(slug):
    return nbformat.writes(handed_out(slug, 0))


def hand_in(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name.replace('_', '-')}.ipynb").write_text(text, encoding="utf-8")
    return folder


def both(*slugs):
    notebooks = [nbformat.from_dict(json.loads(text_of(slug))) for slug in slugs]
    for cell in [cell for one in notebooks[1:] for cell in one.cells]:
        cell.id = f"more-{cell.id}"
        notebooks[0].cells.append(cell)
    return nbformat.writes(notebooks[0])


def test_files_are_found_by_their_names(tmp_path):
    found = find(hand_in(tmp_path, **{slug: text_of(slug) for slug in SLUGS}), EXERCISES)
    for slug in SLUGS:
        assert found[slug] == Found(f"{slug}.ipynb", text_of(slug).encode())


@pytest.mark.parametrize("folder", ["nothing", "."])
def test_nothing_is_nothing(folder, tmp_path):
    assert find(tmp_path / folder, EXERCISES) == dict.fromkeys(SLUGS, Found())


def test_another_name_is_remarked(tmp_path):
    found = find(hand_in(tmp_path, **{HEADS: text_of(HEADS), "my work (2)": text_of(FAMILY)}), EXERCISES)
    assert found[FAMILY].data == text_of(FAMILY).encode()
    assert found[FAMILY].remarks == (f"the file was renamed: my work (2).ipynb holds the cells of {FAMILY}",)
    assert found[HEADS].remarks == ()
    assert found[LETTER] == Found()


def test_the_right_name_goes_before_another(tmp_path):
    found = find(hand_in(tmp_path, **{HEADS: text_of(HEADS), "copy": text_of(HEADS)}), EXERCISES)
    assert found[HEADS] == Found(f"{HEADS}.ipynb", text_of(HEADS).encode())


def test_several_files_for_one_exercise_are_for_a_person(tmp_path):
    found = find(hand_in(tmp_path, first=text_of(HEADS), second=text_of(HEADS)), EXERCISES)
    text = f"there is no {HEADS}.ipynb, and several files hold its cells: first.ipynb, second.ipynb"
    assert found[HEADS] == Found("first.ipynb, second.ipynb", reason=text)


def test_one_file_may_hold_two_exercises(tmp_path):
    found = find(hand_in(tmp_path, all=both(HEADS, FAMILY)), EXERCISES)
    assert [found[slug].name for slug in SLUGS] == ["all.ipynb", "all.ipynb", ""]


def test_files_that_belong_nowhere_are_named_where_something_is_missing(tmp_path):
    found = find(
        hand_in(tmp_path, one="{", two="", three=nbformat.writes(nbformat.v4.new_notebook())), EXERCISES
    )
    for slug in SLUGS:
        assert found[slug].remarks == (
            f"there is no {slug}.ipynb; files that belong to no exercise: one.ipynb, three.ipynb, two.ipynb",
        )
    many = {f"{number}-{'x' * 100}": "" for number in range(9)}
    assert len(find(hand_in(tmp_path / "many", **many), EXERCISES)[HEADS].remarks[0]) == 300


def test_what_cannot_be_opened_has_a_reason(tmp_path):
    (tmp_path / "secret").write_text("secret")
    folder = hand_in(tmp_path / "in", **{LETTER: text_of(LETTER)})
    (folder / f"{HEADS}.ipynb").symlink_to(tmp_path / "secret")
    os.mkfifo(folder / f"{FAMILY}.ipynb")
    found = find(folder, EXERCISES)
    assert found[HEADS] == Found(f"{HEADS}.ipynb", reason=f"{HEADS}.ipynb is a link to another file")
    assert found[FAMILY] == Found(f"{FAMILY}.ipynb", reason=f"{FAMILY}.ipynb is no ordinary file")
    assert found[LETTER].reason == ""


def test_links_under_other_names_are_not_followed(tmp_path):
    other = hand_in(tmp_path / "other", **{HEADS: text_of(HEADS)})
    folder = hand_in(tmp_path / "in")
    (folder / "mine.ipynb").symlink_to(other / f"{HEADS}.ipynb")
    found = find(folder, EXERCISES)[HEADS]
    assert (found.name, found.data, found.reason) == ("", b"", "")
    assert found.remarks == (f"there is no {HEADS}.ipynb; files that belong to no exercise: mine.ipynb",)


def test_files_that_are_no_notebooks_are_named(tmp_path):
    folder = hand_in(tmp_path / "in", **{LETTER: text_of(LETTER)})
    for name in ("all.zip", "notes.ipynb.txt", "timestamp.txt", ".DS_Store"):
        (folder / name).write_text("x", encoding="utf-8")
    found = find(folder, EXERCISES)
    assert found[HEADS].remarks == (
        f"there is no {HEADS}.ipynb; files that belong to no exercise: all.zip, notes.ipynb.txt",
    )
    assert found[LETTER].remarks == ()


@pytest.mark.parametrize("linked", ["student", "assignment"])
def test_a_folder_that_is_a_link_is_refused(linked, tmp_path):
    other = folder_of(tmp_path, "other", "HW1")
    hand_in(other, **{HEADS: text_of(HEADS)})
    mine = folder_of(tmp_path, "mine", "HW1")
    if linked == "student":
        mine.parent.symlink_to(other.parent)
    else:
        mine.parent.mkdir()
        mine.symlink_to(other)
    for found in find(mine, EXERCISES).values():
        assert found == Found("HW1", reason="the folder is a link to another place")


def test_a_file_in_the_place_of_the_folder_is_for_a_person(tmp_path):
    (tmp_path / "HW1").write_text(text_of(HEADS))
    for found in find(tmp_path / "HW1", EXERCISES).values():
        assert found == Found("HW1", reason="HW1 is a file and should be a folder")


def test_nothing_is_modified(tmp_path):
    hand_in(tmp_path, **{HEADS: text_of(HEADS), "other": text_of(FAMILY)})
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()}
    find(tmp_path, EXERCISES)
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()} == before


def test_the_key_says_whether_anything_changed():
    same = Found("a", b"x", remarks=("r",)).key(1, "seed")
    assert same == Found("a", b"x", remarks=("r",)).key(1, "seed")
    others = [
        Found("b", b"x", remarks=("r",)).key(1, "seed"), Found("a", b"y", remarks=("r",)).key(1, "seed"),
        Found("a", b"x").key(1, "seed"), Found("a", b"x", "why", ("r",)).key(1, "seed"),
        Found("a", b"x", remarks=("r",)).key(2, "seed"), Found("a", b"x", remarks=("r",)).key(1),
        Found("a", b"x", remarks=("r",)).key(EXERCISES[0]),
    ]  # fmt: skip
    assert len({same, *others}) == len(others) + 1


def test_the_time_stamp_and_the_secret_are_read(tmp_path):
    assert notes_of_nbgrader(tmp_path) == {}
    notes = {"timestamp.txt": "2026-11-21 12:00:00 UTC\n", "submission_secret.txt": "0f3a\n"}
    for name, text in (notes | {"other.txt": "no"}).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert notes_of_nbgrader(tmp_path) == notes


@pytest.mark.parametrize("kind", ["link", "long", "binary", "pipe", "folder"])
def test_an_odd_time_stamp_is_none(kind, tmp_path):
    path = tmp_path / "timestamp.txt"
    if kind == "link":
        (tmp_path / "secret").write_text("2026")
        path.symlink_to(tmp_path / "secret")
    elif kind == "long":
        path.write_text("x" * (MAX_NOTE + 1))
    elif kind == "binary":
        path.write_bytes(b"\xff\xfe")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    assert notes_of_nbgrader(tmp_path) == {}
