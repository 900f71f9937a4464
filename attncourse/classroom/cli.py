"""The command line of instructors: ``attncourse assign``, ``grade``, ``feedback``, ``export``, ``doctor``."""

import contextlib
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from attncourse.classroom.problem import CourseProblem

app = typer.Typer(
    help="Assign the book's exercises, grade what students hand in, and give it back.\n\n"
    "Work in a folder of its own for the course, outside the book's repository.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Course = Annotated[Path, typer.Option("--course", metavar="DIR", help="The course folder.")]
Name = Annotated[str, typer.Argument(metavar="ASSIGNMENT", help="Such as HW1.")]
HERE = Path()
CTRL_C = 130  # what typer ends with


class Format(StrEnum):
    """What `export` writes."""

    csv = "csv"
    canvas = "canvas"
    moodle = "moodle"


@contextlib.contextmanager
def _bar(what: str) -> Iterator[tqdm]:
    """Show a progress bar, and nothing where nobody watches."""
    with tqdm(total=0, desc=what, unit="", leave=False, disable=None, file=sys.stderr) as bar:
        yield bar


def _opened(folder: Path) -> Path:
    from attncourse.classroom.course import open_course

    return open_course(folder)


@app.command(
    epilog="Example: attncourse assign HW1 multihead.split-heads scaled.weigh-by-rule "
    "--per-student roster.csv"
)
def assign(
    name: Name,
    ids: Annotated[list[str], typer.Argument(metavar="ID…", help="Such as multihead.split-heads.")],
    seed: Annotated[int, typer.Option(help="Which version of exercises that have several.")] = 0,
    per_student: Annotated[
        Path | None,
        typer.Option("--per-student", metavar="ROSTER", help="A CSV file; every student gets a version."),
    ] = None,
    roster: Annotated[
        Path | None,
        typer.Option("--roster", metavar="ROSTER", help="A CSV file; all students get the same version."),
    ] = None,
    course: Course = HERE,
) -> None:
    """Write what students get, and what nbgrader needs to grade it.

    The release is in release/ASSIGNMENT, each student's own version in handout/ASSIGNMENT/STUDENT and in a
    .zip beside it. A roster is a CSV file with a column student_id; last_name, first_name, email, section and
    canvas_id are used when they are there. The same command again changes nothing, and adds students who are
    new on the roster.
    """  # noqa: DOC501 (this text is the command's help)
    from attncourse.classroom.assigning import assign as assign_all
    from attncourse.classroom.roster import read_roster

    folder = _opened(course)
    if per_student and roster:
        raise CourseProblem("give --per-student ROSTER or --roster ROSTER, not both")
    source = per_student or roster
    students = read_roster(source) if source else ()
    with _bar("assign") as bar:
        bar.total = 2 + (len(students) if per_student else 0)
        made = assign_all(
            folder, name, ids, seed=seed, students=students, per_student=per_student is not None,
            done=bar.update,
        )  # fmt: skip
    points = sum(one.points for one in made.exercises)
    typer.echo(f"{name}: {len(made.exercises)} exercises, {points} points.")
    if per_student:
        typer.echo(f"Hand out: {folder / 'handout' / name} (a .zip for each of {len(students)} students)")
    else:
        typer.echo(f"Hand out: {folder / 'release' / name}")
    typer.echo(f"Put what comes back into {folder / 'submitted'}/STUDENT/{name}")


@app.command(epilog="Example: attncourse grade HW1 --jobs 4")
def grade(
    name: Name,
    jobs: Annotated[int, typer.Option(help="How many students at once.")] = 2,
    student: Annotated[
        list[str] | None, typer.Option("--student", help="Only this student; may be repeated.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Grade again what is graded.")] = False,
    unsafe: Annotated[
        bool, typer.Option("--unsafe", help="Grade without a sandbox. Only for work that you trust.")
    ] = False,
    course: Course = HERE,
) -> None:
    """Grade every notebook that was handed in and is not graded yet.

    Students' code runs in a sandbox, and the score that counts is computed outside of it. A run that was
    stopped goes on where it was; a second run changes nothing.
    """
    from attncourse.classroom.grading import grade as grade_all
    from attncourse.classroom.grading import look_at

    folder = _opened(course)
    if unsafe:
        typer.echo("Without a sandbox: students' code can read and change everything that you can.", err=True)
    with _bar("grade") as bar:
        summary = grade_all(
            folder,
            name,
            jobs=jobs,
            unsafe=unsafe,
            again=again,
            students=student or (),
            begin=bar.reset,
            done=bar.update,
        )
    states = [one.state for one in summary.records]
    typer.echo(
        f"{name}: {summary.n_new} notebooks graded now; in all {states.count('graded')} graded, "
        f"{states.count('manual')} questions in words wait for you or are done, "
        f"{states.count('missing')} not handed in, {states.count('unreadable')} not readable."
    )
    look = [record for record in summary.records if look_at(record)]
    for record in [one for one in look if one.state == "unreadable"][:10]:
        typer.echo(f"  {record.student}, {record.slug}: {record.reason}")
    for stray in summary.strays:
        typer.echo(f"  {stray}")
    if look or summary.strays:
        path = folder / "grading" / name / "look.csv"
        typer.echo(f"{len(look) + len(summary.strays)} to look at: {path}")
    if "manual" in states:
        typer.echo(f"Questions in words: start `jupyter lab` in {folder} and open Nbgrader, Formgrader.")


@app.command(epilog="Example: attncourse feedback HW1")
def feedback(
    name: Name,
    rubric: Annotated[
        bool, typer.Option("--rubric", help="Show students the rubric of questions in words.")
    ] = False,
    course: Course = HERE,
) -> None:
    """Write a page for every notebook: the student's cells, the check's message, points and your comments.

    The pages are in feedback/STUDENT/ASSIGNMENT. Written again they show what has changed.
    """
    from attncourse.classroom.feedback import write_feedback

    folder = _opened(course)
    with _bar("feedback") as bar:
        written = write_feedback(folder, name, rubric=rubric, begin=bar.reset, done=bar.update)
    typer.echo(f"{name}: pages for {len(written.folders)} students in {folder / 'feedback'}")
    if written.waiting:
        typer.echo(f"{written.waiting} notebooks wait for a person; their pages show no points for them yet.")


@app.command(epilog="Example: attncourse export HW1 --to canvas --roster roster.csv --column 'HW1 (12345)'")
def export(
    name: Name,
    to: Annotated[Format, typer.Option("--to", help="The format.")] = Format.csv,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Where to.")] = None,
    roster: Annotated[
        Path | None, typer.Option("--roster", metavar="ROSTER", help="Everybody in the class.")
    ] = None,
    column: Annotated[str, typer.Option(help="The name of the grade's column.")] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it is there.")] = False,
    course: Course = HERE,
) -> None:
    """Write the grades to a file that a spreadsheet, Canvas or Moodle reads.

    Whoever has no complete grade yet is named, and gets no 0 for it.
    """
    from attncourse.classroom.course import nbgrader_ready
    from attncourse.classroom.exporters import export as export_all
    from attncourse.classroom.roster import read_roster

    folder = _opened(course)
    students = read_roster(roster) if roster else ()
    with nbgrader_ready():
        done = export_all(
            folder, name, to.value, out=out, roster=students, column=column, overwrite=overwrite
        )
    for message in done.messages():
        typer.echo(message)


@app.command(epilog="Example: attncourse doctor")
def doctor(course: Course = HERE) -> None:
    """Look whether this machine can grade, and say how to mend what is missing."""  # noqa: DOC501
    from attncourse.classroom.doctor import Finding, examine

    def show(finding: Finding) -> None:
        typer.echo(f"{'✓' if finding.fine else '✗'} {finding.what}: {finding.found}")
        if not finding.fine:
            typer.echo(f"    {finding.mend}")

    found = examine(_opened(course), done=show)
    if not all(one.fine for one in found):
        raise typer.Exit(1)


def main() -> None:
    """Run the command line; what a person can mend is said in a line, and the exit status is 1.

    Raises
    ------
    SystemExit
        Always.
    """
    try:
        app()
    except CourseProblem as problem:
        typer.echo(f"attncourse: {problem}", err=True)
        sys.exit(1)
    except SystemExit as end:
        if end.code == CTRL_C:
            typer.echo("attncourse: stopped; the same command goes on where it was", err=True)
        raise
