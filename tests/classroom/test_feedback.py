"""Feedback pages say what the records say; what they show is tested with a graded class in `test_class`."""

from nbgrader.api import Gradebook

from attncourse.classroom.course import database, nbgrader_ready
from attncourse.classroom.feedback import _remove, _waiting


def test_a_notebook_that_is_gone_keeps_no_page(tmp_path):
    folder = tmp_path / "feedback" / "ada" / "HW1"
    folder.mkdir(parents=True)
    for name in ("here.html", "gone.html"):
        (folder / name).write_text("a page", encoding="utf-8")
    _remove(tmp_path, "HW1", {("ada", "gone"), ("bob", "here"), ("bob", "gone")})
    assert [path.name for path in folder.iterdir()] == ["here.html"]


def test_a_notebook_that_is_gone_waits_for_nobody(tmp_path):
    with nbgrader_ready(), Gradebook(database(tmp_path)) as book:
        book.add_assignment("HW1")
        for slug in ("here", "gone"):
            book.add_notebook(slug, "HW1")
            book.add_grade_cell("essay", slug, "HW1", max_score=3, cell_type="markdown")
        book.add_student("ada")
        book.add_submission("HW1", "ada")
        for slug in ("here", "gone"):
            for grade in book.find_submission_notebook(slug, "HW1", "ada").grades:
                grade.needs_manual_grade = True
        book.db.commit()
    assert _waiting(tmp_path, "HW1", set()) == 2
    assert _waiting(tmp_path, "HW1", {("ada", "gone")}) == 1
