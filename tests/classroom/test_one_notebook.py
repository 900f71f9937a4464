"""A notebook is tried again when the grader itself fails, and given up after some tries."""

import sqlite3
import threading
import time
from dataclasses import replace

import pytest
from nbgrader.api import Gradebook

from attncourse.classroom import one_notebook as module
from attncourse.classroom.course import Assigned, Assignment, database, nbgrader_ready
from attncourse.classroom.handed_in import Found
from attncourse.classroom.one_notebook import MAX_TRIES, Workplace
from attncourse.classroom.records import Record, path_of, read_record

EXERCISE = Assigned("multihead.split-heads", "multihead-split-heads", 4, "code")
DONE = Record("ann", EXERCISE.slug, "graded", 4, score=4.0, key="the key")
LOCKED = sqlite3.OperationalError("database is locked")


@pytest.fixture
def place(tmp_path):
    (tmp_path / "work").mkdir()
    assignment = Assignment("HW1", (EXERCISE,), 0, False, (), 0)
    return Workplace(tmp_path, assignment, tmp_path, True, tmp_path / "work")


def grade(place, monkeypatch, outcomes):
    """Grade a notebook whose tries come out as told; return the record."""
    left = iter(outcomes)

    def outcome(place, student, exercise, found, key, job):
        assert job.is_dir()
        match next(left):
            case Record() as record:
                return record
            case error:
                raise error

    monkeypatch.setattr(module, "_grade_one", outcome)
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.01)
    record = module._grade_safely(place, "ann", EXERCISE, Found(), "the key")
    assert next(left, None) is None, "not every try was needed"
    assert read_record(path_of(place.course, "HW1", "ann", EXERCISE.slug)) == record
    assert not module._tries(place, "ann", EXERCISE.slug).exists()
    assert list(place.folder.iterdir()) == []
    return record


@pytest.mark.parametrize("n_failures", range(MAX_TRIES))
def test_a_failure_of_the_grader_is_tried_again(place, monkeypatch, n_failures):
    assert grade(place, monkeypatch, [LOCKED] * n_failures + [DONE]) == DONE


def test_a_grader_that_always_fails_gives_up_and_says_why(place, monkeypatch):
    record = grade(place, monkeypatch, [LOCKED, LOCKED, SystemExit(1)][:MAX_TRIES])
    assert record == replace(
        DONE, state="unreadable", score=None, key="", reason="the grader itself failed: SystemExit: 1"
    )


def test_tries_that_ended_the_grader_count(place, monkeypatch):
    begun = module._tries(place, "ann", EXERCISE.slug)
    begun.parent.mkdir(parents=True)
    begun.write_bytes(b"." * (MAX_TRIES - 1))
    assert grade(place, monkeypatch, [DONE]) == DONE
    begun.write_bytes(b"." * MAX_TRIES)
    record = grade(place, monkeypatch, [])
    assert (record.state, record.score, record.key) == ("unreadable", None, "")
    assert record.reason == f"the grader did not come to an end with it, in {MAX_TRIES} tries"


def test_a_writer_waits_for_another_who_takes_longer_than_sqlites_five_seconds(tmp_path):
    with nbgrader_ready(), Gradebook(database(tmp_path)) as book:
        book.add_assignment("HW1")
    other = sqlite3.connect(tmp_path / "gradebook.db", isolation_level=None, check_same_thread=False)
    other.execute("begin immediate")
    timer = threading.Timer(6, lambda: other.execute("commit"))
    timer.start()
    start = time.monotonic()
    with nbgrader_ready(), Gradebook(database(tmp_path)) as book:
        book.add_student("ann")
        assert [one.id for one in book.students] == ["ann"]
    assert time.monotonic() - start > 5
    timer.join()
    other.close()
