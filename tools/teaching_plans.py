"""Check the teaching plans and write their tables into the page for instructors.

Usage::

    python tools/teaching_plans.py write     write the parts between the marks of book/teaching-plans.md
    python tools/teaching_plans.py check     say whether they are up to date; exit 1 if not

What people decide stands in book/teaching-plans.yml, and what a plan must keep to in
tools/teaching_plan_rules.py. No minute, point or sum on the page is typed by hand.
"""

import argparse
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from exercise_pages import chapter_file, chapter_title, kind_text  # noqa: E402 (beside this file, in the package)
from notebooks import write_atomically  # noqa: E402
from page_parts import MarkError, filled, table  # noqa: E402
from teaching_plan_rules import (  # noqa: E402
    Plan,
    PlanError,
    Rules,
    Session,
    current_bank,
    in_fives,
    problems,
    read_plans,
)

from attncourse.classroom.bank import KINDS, ExerciseFile  # noqa: E402
from tests.support.links import slug  # noqa: E402 (the rules and the page make anchors one way)

DATA = ROOT / "book" / "teaching-plans.yml"
PAGE = ROOT / "book" / "teaching-plans.md"
TOOL = "tools/teaching_plans.py"
LEDGER = ROOT / "book" / "ledger.yml"
SENTENCE_END = re.compile(r"(?<=[.?!]) (?=[A-Z])")
WORK = {"live": "live", "derivation": "derivation", "quiz": "think, pair, share"}


def link_to(number: int, title: str = "", text: str = "") -> str:
    """Return a link to a chapter, or to one of its sections."""
    return f"[{text or title}]({chapter_file(number).name}{'#' + slug(title) if title else ''})"


def numbers(values: Sequence) -> str:
    """Return a list as people write it: 1, 2 and 5."""
    texts = [str(one) for one in values]
    return " and ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


def span(values: Sequence[int]) -> str:
    """Return one number, or from the least to the most."""
    return str(values[0]) if len(set(values)) == 1 else f"{min(values)}–{max(values)}"


def reading_rows(one: Session) -> Iterator[tuple]:
    """Yield the rows of the reading, those of the groups included."""
    parts = [("all", part) for part in one.read]
    parts += [(name, part) for name, group in one.groups.items() for part in group["read"]]
    for who, part in parts:
        number, only, without = part["chapter"], part.get("only"), part.get("without")
        text = "all"
        if only:
            text = "; ".join(link_to(number, title) for title in only)
        elif without:
            text = "all but " + "; ".join(link_to(number, title) for title in without)
        about = link_to(number, text=f"{number}. {chapter_title(number)}")
        yield (*([who] if one.groups else []), about, text, in_fives(one.minutes_of_part(part)))


def item_text(one: Session, item: Mapping) -> tuple[str, str]:
    """Return kind and text of one thing that happens in class."""
    text = " ".join(item.get("text", "").split())
    if "exercise" in item:
        exercise = one.bank[item["exercise"]]
        return "exercise", f"[{exercise.title}](exercises/{exercise.slug}.md). {text}".strip()
    if "quiz" in item:
        number = item["quiz"]["chapter"]
        asked = item["quiz"]["questions"]
        words = f"Question{'s' if len(asked) > 1 else ''} {numbers(asked)} of"
        return WORK[
            "quiz"
        ], f"{words} {link_to(number, 'Check yourself', f'chapter {number}')}. {text}".strip()
    (kind,) = [key for key in item if key not in ("minutes", "text")]
    if kind in WORK:
        place = item[kind]
        end = "" if place["section"].endswith("?") else "."
        return WORK[kind], f"{link_to(place['chapter'], place['section'])}{end} {text}"
    return item[kind], text


def class_table(one: Session, start: int | None = None) -> str:
    """Return the table of what happens in class, by the minute or, with a start, by the clock."""
    rows, now = [], start or 0
    for item in one.items:
        at = f"{now // 60}:{now % 60:02d}" if start is not None else now
        rows.append((at, one.minutes_of_item(item), *item_text(one, item)))
        now += one.minutes_of_item(item)
    return table(("at" if start is not None else "from minute", "minutes", "what", "how"), rows)


def exercise_rows(names: Iterable[str], bank: Mapping[str, ExerciseFile], where: str) -> Iterator[tuple]:
    """Yield a row for each exercise."""
    for name in names:
        one = bank[name]
        meta, versions = one.meta, one.n_versions if one.is_family else "–"
        about = (kind_text(meta["kind"]), meta["level"], meta["minutes"], meta["points"], versions)
        yield (where, f"[{one.title}](exercises/{one.slug}.md) `{one.id}`", *about)


EXERCISES = ("where", "exercise", "kind", "level", "min", "points", "versions")


def exercise_table(one: Session) -> str:
    """Return the table of a session's exercises, with the sum of the homework."""
    rows = [*exercise_rows(one.in_class, one.bank, "class"), *exercise_rows(one.homework, one.bank, "home")]
    for name, group in one.groups.items():
        rows += exercise_rows(group["homework"], one.bank, f"home, {name}")
    if one.homework:
        minutes = span([one.minutes_at_home(group) for group in one.every_group])
        points = span([one.points_at_home(group) for group in one.every_group])
        rows.append(("**home**", "**together**", "", "", f"**{minutes}**", f"**{points}**", ""))
    return table(EXERCISES, rows)


def command(name: str, exercises: Sequence[str], tail: str) -> str:
    """Return the command that makes an assignment, one exercise a line."""
    lines = [f"attncourse assign {name}", *(f"    {one}" for one in exercises), f"    {tail}"]
    return "```bash\n" + " \\\n".join(lines) + "\n```"


def commands(one: Session, number: int) -> str:
    """Return the commands of a week: for versions in class, and for the homework of every group."""
    made = []
    if families := [item.id for item in one.known(one.in_class) if item.is_family]:
        made.append(command(f"Class{number}", families, "--per-student roster.csv"))
    if not one.groups:
        made.append(command(f"HW{number}", one.homework, "--per-student roster.csv"))
    for name, group in one.groups.items():
        ids = [*one.homework, *group["homework"]]
        made.append(command(f"HW{number}-{name}", ids, f"--per-student {name}.csv"))
    if one.groups:
        files = numbers([f"`{name}.csv`" for name in one.groups])
        first = next(iter(one.groups))
        made.append(
            f"Each of {files} has the first line of `roster.csv` and the lines of its group.\n"
            f"Export with the group's list, as in `attncourse export HW{number}-{first} --to csv --roster "
            f"{first}.csv`.\nWith the whole class list, everybody in another group gets 0."
        )
    return "\n\n".join(made)


def sentences(text: str) -> str:
    """Return a text with one sentence a line, indented as the body of a list's item."""
    return "\n".join(f"  {line}" for line in text.strip().splitlines()).strip()


def session_text(one: Session, heading: str, *, start: int | None = None) -> list[str]:
    """Return the parts of a session that every plan shows."""
    question = SENTENCE_END.sub("\n> ", " ".join(one.question.split()))
    parts = [heading, f"> {question}"]
    if one.read:
        head = (*(["who"] if one.groups else []), "chapter", "sections", "minutes")
        minutes = span([one.minutes_of_reading(group) for group in one.every_group])
        parts += [f"*Read before: {minutes} minutes.*", table(head, reading_rows(one))]
    parts += [f"- Told in class instead of read: {' '.join(text.split())}" for text in one.told.values()]
    parts += [f"*In class: {one.minutes_in_class} minutes.*", class_table(one, start)]
    parts += ["*Students can:*", "\n".join(f"- {goal}" for goal in one.goals)]
    wrong = [f"- *{' '.join(item['says'].split())}*\n  {sentences(item['answer'])}" for item in one.mistakes]
    parts += ["*What students get wrong, and an answer:*", "\n".join(wrong)]
    return parts


def course_text(plan: Plan) -> str:
    """Return the weeks of the course."""
    parts = []
    for number, one in enumerate(plan.sessions, start=1):
        parts += session_text(one, f"### Week {number}: {one.title}")
        parts += ["*Exercises:*", exercise_table(one), commands(one, number)]
    return "\n\n".join(parts)


def overview(plan: Plan) -> str:
    """Return the table of a plan's sessions with their sums."""
    rows, sums = [], [0, 0, 0]
    for number, one in enumerate(plan.sessions, start=1):
        reading = [one.minutes_of_reading(group) for group in one.every_group]
        home = [one.minutes_at_home(group) for group in one.every_group]
        points = [one.points_at_home(group) for group in one.every_group]
        sums = [sums[0] + max(reading), sums[1] + max(home), sums[2] + max(points)]
        read = ", ".join(link_to(chapter, text=str(chapter)) for chapter in one.chapters)
        about = (span(reading), span(home), span(points), *([one.leaves] if one.leaves else []))
        rows.append((number, one.title, read, *about))
    head = ("week", "topic", "chapters", "reading", "homework", "points")
    last = ("", "**at most together**", "", *(f"**{one}**" for one in sums))
    if plan.sessions[0].leaves:
        head, last = (*head, "left out"), (*last, "")
    return table(head, [*rows, last])


def kinds_text(plan: Plan) -> str:
    """Return how often each kind of exercise occurs."""
    rows = []
    for kind in KINDS:
        weeks = {
            number: sum(item.meta["kind"] == kind for item in one.known(one.exercises))
            for number, one in enumerate(plan.sessions, start=1)
        }
        rows.append(
            (kind_text(kind), sum(weeks.values()), ", ".join(str(n) for n, many in weeks.items() if many))
        )
    return table(("kind", "exercises", "in weeks"), rows)


def short_text(plan: Plan) -> str:
    """Return the shortened course: what is read and set, week by week."""
    rows = []
    for number, one in enumerate(plan.sessions, start=1):
        for part in reading_rows(one):
            rows.append((number, *part))
    listed = [
        (number, *row[1:])
        for number, one in enumerate(plan.sessions, start=1)
        for row in exercise_rows(one.homework, one.bank, "home")
    ]
    told = [
        f"- Week {number}: {' '.join(text.split())}"
        for number, one in enumerate(plan.sessions, start=1)
        for text in one.told.values()
    ]
    reading = table(("week", "chapter", "sections", "minutes"), rows)
    exercises = table(("week", *EXERCISES[1:]), listed)
    parts = [overview(plan), "*To be told in class, because its chapter is left out:*", "\n".join(told)]
    return "\n\n".join([*parts, "*Reading:*", reading, "*Homework:*", exercises])


def workshop_text(plan: Plan) -> str:
    """Return the blocks of the day with their clock, and what people take home."""
    hours, minutes = map(int, plan.settings["start"].split(":"))
    now = 60 * hours + minutes
    rows, parts = [], []
    for number, one in enumerate(plan.sessions, start=1):
        end = now + one.minutes_in_class
        clock = f"{now // 60}:{now % 60:02d}–{end // 60}:{end % 60:02d}"
        read = ", ".join(link_to(chapter, text=str(chapter)) for chapter in one.chapters)
        rows.append((clock, f"Block {number}: {one.title}", one.minutes_in_class, read))
        parts += session_text(one, f"### Block {number}: {one.title}", start=now)
        parts += ["*Exercises:*", exercise_table(one)]
        now = end
        if number <= len(plan.settings["breaks"]):
            pause = plan.settings["breaks"][number - 1]
            rows.append(
                (
                    f"{now // 60}:{now % 60:02d}–{(now + pause) // 60}:{(now + pause) % 60:02d}",
                    "break",
                    pause,
                    "",
                )
            )
            now += pause
    day = now - 60 * hours - minutes
    rows.append(("", "**together**", f"**{day}**", ""))
    ids = [name for one in plan.sessions for name in one.in_class]
    home = [name for one in plan.sessions for name in one.homework]
    at_home = sum(one.minutes_at_home() for one in plan.sessions)
    reading = sum(one.minutes_of_reading() for one in plan.sessions)
    sums = f"Reading before the day: {reading} minutes.\nExercises to take home: {at_home} minutes."
    return "\n\n".join(
        [
            table(("time", "what", "minutes", "chapters"), rows),
            sums,
            *parts,
            "### The day's notebooks",
            "The first command makes the notebooks for the day, the second those to take home.\n"
            "Where an exercise has versions, it is one that the book does not show.",
            command("Day", ids, f"--seed {plan.settings['seed']}"),
            command("Home", home, f"--seed {plan.settings['seed']}"),
        ]
    )


def reckoning(rules: Rules) -> str:
    """Return how minutes are reckoned."""
    least, most = rules.homework
    return "\n".join(
        [
            f"- *Reading*: {rules.words_a_minute} words and {rules.code_lines_a_minute} lines of code a "
            "minute, rounded to five minutes.",
            "  Folded code, quizzes, exercises and further reading do not count.",
            f"  No week asks for more than {rules.reading} minutes.",
            f"- *Homework*: the minutes that each exercise states on its page, {least} to {most} a week.",
            f"- *Quiz questions in class*: {rules.minutes_a_question} minutes each.",
            "- *Everything else in class*: our estimate.",
        ]
    )


def vote_text(vote: Mapping[str, int], claims: Mapping[str, Mapping]) -> str:
    """Return the claims of the first session's vote as the ledger words them, and the week that tests them.

    Raises
    ------
    PlanError
        If the ledger does not know a claim.
    """
    if unknown := vote.keys() - claims.keys():
        raise PlanError(f"the vote names {sorted(unknown)}, which the ledger does not know")
    rows = [(claims[name]["says"], f"{{ref}}`{name} <{name.lower()}>`", week) for name, week in vote.items()]
    return table(("claim", "in the ledger", "week"), rows)


def parts_of(plans: Mapping[str, Plan]) -> dict[str, str]:
    """Return what the plans put between the marks of the page.

    Raises
    ------
    PlanError
        If something is wrong with the plans.
    """
    if wrong := problems(plans):
        raise PlanError("\n".join(wrong))
    course = plans["course"]
    return {
        "reckoning": reckoning(course.sessions[0].rules),
        "overview": overview(course),
        "kinds": kinds_text(course),
        "course": course_text(course),
        "short": short_text(plans["short"]),
        "workshop": workshop_text(plans["workshop"]),
    }


def current(page: str) -> str:
    """Return the page as the plans, the bank and the chapters make it."""
    data = yaml.safe_load(DATA.read_text(encoding="utf-8"))
    claims = yaml.safe_load(LEDGER.read_text(encoding="utf-8"))["claims"]
    vote = {"vote": vote_text(data["vote"], claims)}
    return filled(page, vote | parts_of(read_plans(data, current_bank())), TOOL)


def main(arguments: list[str] | None = None) -> int:
    """Write or check the page; return the exit status."""
    parser = argparse.ArgumentParser(description="Check the teaching plans and write their tables.")
    parser.add_argument("action", choices=("write", "check"))
    action = parser.parse_args(arguments).action
    try:
        stored = PAGE.read_text(encoding="utf-8")
        text = current(stored)
    except (PlanError, MarkError) as error:
        print(error, file=sys.stderr)
        return 1
    if action == "write":
        write_atomically(PAGE, text)
    elif stored != text:
        print(f"{PAGE.name} is not what the plans say: run python tools/teaching_plans.py write")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
