"""Read the teaching plans, look their numbers up, and say what is wrong with them.

Minutes, points, kinds and titles of exercises come from the bank, minutes of reading from the length of the
sections. `tools/teaching_plans.py` writes what comes out into the page.
"""

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from exercise_pages import all_exercises, chapter_file  # noqa: E402

from attncourse.classroom.bank import KINDS, ExerciseFile  # noqa: E402 (the package lies beside this folder)
from tests.support.book import chapters, read_page, scan  # noqa: E402 (the rules and the page read one way)

# Nobody reads these to prepare: they are what homework and class are made of.
NOT_READ = ("Check yourself", "Exercises", "Further reading")
NOT_CODE = {"imports", "style"}
QUESTION = re.compile(r"^::::\{admonition\} (\d+)\. ", re.MULTILINE)
NEEDS = re.compile(r"\*\*What you need:\*\*(.*?)^:::", re.MULTILINE | re.DOTALL)
NOT_NEEDED = re.compile(r"nothing from \[chapter \d+\]\([^)]*\) is required")
NEEDED = re.compile(r"\]\((\d\d)-[\w-]+\.ipynb|\bchapter (\d+)\b")
KEYS = {"title", "question", "read", "told", "class", "homework", "groups", "goals", "mistakes", "leaves"}


class PlanError(ValueError):
    """The plans and the book do not fit together."""


# --- the chapters, as a plan sees them --------------------------------------------------------------


@dataclass(frozen=True)
class Section:
    """A part of a chapter from one heading to the next, with the titles of the headings above it."""

    title: str
    level: int
    above: tuple[str, ...]
    words: int
    code_lines: int


@cache
def sections(number: int) -> tuple[Section, ...]:
    """Return the sections of a chapter in order; folded code counts as unread."""
    found: list[dict] = []
    page = read_page(chapter_file(number))
    for cell in page.cells:
        if cell["cell_type"] == "code":
            folded = {"hide-input", "remove-input", "remove-cell"} & set(cell["metadata"].get("tags", []))
            if not folded and cell["id"] not in NOT_CODE:
                found[-1]["code_lines"] += sum(1 for line in cell["source"].splitlines() if line.strip())
            continue
        for line in scan(cell["source"]):
            heading = re.fullmatch(r"(#{1,3}) (.+?)\s*", line.text) if line.kind == "prose" else None
            if heading:
                level = len(heading[1])
                above = [one for one in found if one["level"] < level]
                titles = [above[-1]["title"], *above[-1]["above"]] if above else []
                found.append(
                    {"title": heading[2], "level": level, "above": titles, "words": 0, "code_lines": 0}
                )
            elif found:
                found[-1]["words"] += len(line.text.split())
    return tuple(Section(**(one | {"above": tuple(one["above"])})) for one in found)


@cache
def n_questions(number: int) -> int:
    """Return how many questions the quiz of a chapter has."""
    for cell in read_page(chapter_file(number)).cells:
        if cell["id"] == "check-yourself":
            return len(QUESTION.findall(cell["source"]))
    return 0


@cache
def needed_by(number: int) -> frozenset[int]:
    """Return the earlier chapters that a chapter names under "What you need"."""
    text = "\n".join(source for _, source in read_page(chapter_file(number)).markdown)
    found = NEEDS.search(text)
    named = NEEDED.findall(NOT_NEEDED.sub("", found[1])) if found else []
    return frozenset(int(link or words) for link, words in named if int(link or words) < number)


def chosen(part: Mapping) -> list[Section]:
    """Return the sections that a plan asks to be read: all, those in ``only``, or all but ``without``.

    Raises
    ------
    PlanError
        If the chapter, or a section of that name, does not exist.
    """
    number, only, without = part["chapter"], part.get("only"), part.get("without", [])
    if unknown := part.keys() - {"chapter", "only", "without"}:
        raise PlanError(f"reading of chapter {number} with unknown words {sorted(unknown)}")
    if number not in all_chapters():
        raise PlanError(f"there is no chapter {number}")
    found = sections(number)
    names = {one.title for one in found}
    for title in [*(only or []), *without]:
        if title not in names:
            raise PlanError(f"chapter {number} has no section {title!r}")

    def under(one: Section, titles: Iterable[str]) -> bool:
        return bool({one.title, *one.above} & set(titles))

    found = tuple(one for one in found if not under(one, (*NOT_READ, *without)))
    return [
        one
        for one in found
        if only is None or one.level == 1 or bool({one.title, *one.above[:-1]} & set(only))
    ]


def all_chapters() -> list[int]:
    """Return the numbers of all chapters."""
    return [int(path.name[:2]) for path in chapters()]


# --- a plan, with its numbers -----------------------------------------------------------------------


@dataclass(frozen=True)
class Rules:
    """What a plan must keep to, and how minutes are reckoned."""

    words_a_minute: int
    code_lines_a_minute: int
    minutes_a_question: int
    homework: tuple[int, int]
    reading: int


@dataclass
class Session:
    """One session of a plan. What comes from the bank is looked up, never stored."""

    name: str
    title: str
    bank: Mapping[str, ExerciseFile]
    rules: Rules
    question: str = ""
    read: list[dict] = field(default_factory=list)
    told: dict[int, str] = field(default_factory=dict)
    items: list[dict] = field(default_factory=list)
    homework: list[str] = field(default_factory=list)
    groups: dict[str, dict] = field(default_factory=dict)
    goals: list[str] = field(default_factory=list)
    mistakes: list[dict] = field(default_factory=list)
    leaves: str = ""

    @property
    def in_class(self) -> list[str]:
        """The exercises that are worked on in the session."""
        return [item["exercise"] for item in self.items if "exercise" in item]

    @property
    def exercises(self) -> list[str]:
        """All exercises of the session, those of its groups included."""
        of_groups = [one for group in self.groups.values() for one in group["homework"]]
        return [*self.in_class, *self.homework, *of_groups]

    @property
    def chapters(self) -> list[int]:
        """The chapters that somebody reads for this session."""
        parts = [*self.read, *(part for group in self.groups.values() for part in group["read"])]
        return list(dict.fromkeys(part["chapter"] for part in parts))

    def known(self, names: Iterable[str]) -> list[ExerciseFile]:
        """Return the exercises that the bank has, in order."""
        return [self.bank[name] for name in names if name in self.bank]

    def minutes_at_home(self, group: str | None = None) -> int:
        """Return the minutes of the homework."""
        names = self.homework + (self.groups[group]["homework"] if group else [])
        return sum(one.meta["minutes"] for one in self.known(names))

    def points_at_home(self, group: str | None = None) -> int:
        """Return the points of the homework."""
        names = self.homework + (self.groups[group]["homework"] if group else [])
        return sum(one.meta["points"] for one in self.known(names))

    def minutes_of_part(self, part: Mapping) -> float:
        """Return the minutes that the reading of a part of a chapter takes."""
        found = chosen(part)
        words, lines = sum(one.words for one in found), sum(one.code_lines for one in found)
        return words / self.rules.words_a_minute + lines / self.rules.code_lines_a_minute

    def minutes_of_reading(self, group: str | None = None) -> int:
        """Return the minutes of reading before the session, in steps of five."""
        parts = self.read + (self.groups[group]["read"] if group else [])
        return in_fives(sum(self.minutes_of_part(part) for part in parts))

    def minutes_of_item(self, item: Mapping) -> int:
        """Return the minutes of one thing that happens in class."""
        if "exercise" in item:
            return sum(one.meta["minutes"] for one in self.known([item["exercise"]]))
        if "quiz" in item:
            return len(item["quiz"]["questions"]) * self.rules.minutes_a_question
        return item["minutes"]

    @property
    def minutes_in_class(self) -> int:
        """The minutes of everything that happens in class."""
        return sum(map(self.minutes_of_item, self.items))

    @property
    def every_group(self) -> list[str | None]:
        """The groups, or None once where all do the same."""
        return list(self.groups) or [None]


def in_fives(minutes: float) -> int:
    """Return minutes rounded to five, at least five."""
    return max(5, 5 * round(minutes / 5))


@dataclass
class Plan:
    """A course or a workshop."""

    name: str
    sessions: list[Session]
    minutes: list[int]  # of each session
    settings: Mapping


def read_plans(data: Mapping, bank: Mapping[str, ExerciseFile]) -> dict[str, Plan]:
    """Return the plans.

    Raises
    ------
    PlanError
        If a session holds a word that the format does not know.
    """
    rules = data["rules"]
    rules = Rules(**(rules | {"homework": tuple(rules["homework"])}))
    plans = {}
    for name, plan in data["plans"].items():
        made = []
        for number, one in enumerate(plan["sessions"], start=1):
            where = f"{plan['unit']} {number}"
            if unknown := one.keys() - KEYS:
                raise PlanError(f"{name}, {where}: unknown words {sorted(unknown)}")
            words = {("items" if key == "class" else key): value for key, value in one.items()}
            made.append(Session(name=where, bank=bank, rules=rules, **words))
        lengths = plan.get("minutes", [])
        plans[name] = Plan(name, made, lengths if isinstance(lengths, list) else [lengths] * len(made), plan)
    return plans


def current_bank() -> dict[str, ExerciseFile]:
    """Return the exercises by id."""
    return {one.id: one for one in all_exercises()}


# --- what is wrong with a plan ----------------------------------------------------------------------


def problems(plans: Mapping[str, Plan]) -> list[str]:
    """Return everything that is wrong with the plans, each with its place."""
    found = []
    for plan in plans.values():
        checks = (_names, _order, _needs, _homework, _class, _families)
        here = [one for check in checks for one in check(plan)]
        found += [f"{plan.name}, {one}" for one in here]
        found += [f"{plan.name}: {one}" for one in _whole(plan)]
    return found


def _names(plan: Plan) -> Iterator[str]:
    """Yield unknown ids, exercises that stand twice, unknown chapters and sections."""
    places: dict[str, str] = {}
    for one in plan.sessions:
        for name in one.exercises:
            if name not in one.bank:
                yield f"{one.name}: the bank has no exercise {name!r}"
            elif name in places:
                yield f"{one.name}: {name} already stands in {places[name]}"
            places.setdefault(name, one.name)
        for part in [*one.read, *(part for group in one.groups.values() for part in group["read"])]:
            try:
                chosen(part)
            except PlanError as error:
                yield f"{one.name}: {error}"


def _order(plan: Plan) -> Iterator[str]:
    """Yield exercises, and parts of the class, of chapters that have not been read by then."""
    read: set[int] = set()
    later = {number: one.name for one in reversed(plan.sessions) for number in one.chapters}
    for one in plan.sessions:
        read |= {part["chapter"] for part in one.read}
        for item in one.items:
            for kind in ("quiz", "live", "derivation"):
                if kind in item and item[kind]["chapter"] not in read | set(one.chapters):
                    chapter = item[kind]["chapter"]
                    yield f"{one.name}: {kind} of chapter {chapter}, which nobody has read by then"
        for group in one.every_group:
            extra = one.groups[group] if group else {"read": [], "homework": []}
            known = read | {part["chapter"] for part in extra["read"]}
            for exercise in one.known([*one.in_class, *one.homework, *extra["homework"]]):
                chapter = exercise.meta["chapter"]
                if chapter not in known:
                    when = f"is read in {later[chapter]}" if chapter in later else "nobody reads"
                    what = f"{exercise.id} belongs to chapter {chapter}, which {when}"
                    yield f"{one.name}: {what}" + (f" (group {group})" if group else "")


def _needs(plan: Plan) -> Iterator[str]:
    """Yield chapters that are read before what they need was read or told."""
    known: set[int] = set()
    for one in plan.sessions:
        known |= {part["chapter"] for part in one.read} | set(one.told)
        for group in one.every_group:
            extra = {part["chapter"] for part in one.groups[group]["read"]} if group else set()
            now = {part["chapter"] for part in one.read} | extra
            for chapter in sorted(now & set(all_chapters())):
                for missing in sorted(needed_by(chapter) - known - extra):
                    needs = f"chapter {chapter} needs chapter {missing}"
                    yield f"{one.name}: {needs}, which is neither read nor told by then"


def _homework(plan: Plan) -> Iterator[str]:
    """Yield homework and reading that is too long or too short, and groups that are treated unlike."""
    for one in plan.sessions:
        least, most = one.rules.homework
        if not plan.settings.get("homework_at_the_end"):
            for group in one.every_group:
                minutes = one.minutes_at_home(group)
                if not least <= minutes <= most:
                    yield f"{one.name}: homework takes {minutes} minutes, must be {least} to {most}"
        names = [name for name in one.homework if name in one.bank]
        if any(one.bank[name].meta["kind"] == "essay" for name in names):
            minutes = sum(item.meta["minutes"] for item in one.known(names) if item.meta["kind"] != "essay")
            if minutes < least:
                takes = f"without its essay, homework takes {minutes} minutes"
                yield f"{one.name}: {takes}, must be at least {least}"
        points = {group: one.points_at_home(group) for group in one.groups}
        if len(set(points.values())) > 1:
            yield f"{one.name}: the groups' homework has unequal points: {points}"
        try:
            minutes = max(one.minutes_of_reading(group) for group in one.every_group)
        except PlanError:
            continue  # `_names` says so
        if minutes > one.rules.reading:
            yield f"{one.name}: reading takes {minutes} minutes, must be at most {one.rules.reading}"


def _class(plan: Plan) -> Iterator[str]:
    """Yield what is wrong with the minutes and the parts of the sessions."""
    for one, minutes in zip(plan.sessions, plan.minutes, strict=bool(plan.minutes)):
        if one.minutes_in_class != minutes:
            yield f"{one.name}: the class takes {one.minutes_in_class} minutes, must be {minutes}"
        for kind in plan.settings["in_each"]:
            n_items = sum(kind in item for item in one.items)
            if not n_items or (kind == "derivation" and n_items > 1):
                rule = "1" if kind == "derivation" else "at least 1"
                yield f"{one.name}: {n_items} items of the kind {kind!r}, must be {rule}"
        for item in one.items:
            what = [key for key in item if key not in ("minutes", "text")]
            if len(what) != 1 or ("minutes" in item) != (what[0] not in ("exercise", "quiz")):
                yield f"{one.name}: an item must be of one kind, and has minutes unless they follow: {item}"
                continue
            place = item[what[0]]
            if what[0] == "quiz":
                for number in place["questions"]:
                    if not 1 <= number <= n_questions(place["chapter"]):
                        yield f"{one.name}: the quiz of chapter {place['chapter']} has no question {number}"
            elif what[0] in ("live", "derivation"):
                yield from _place_problems(one, what[0], place)
        if not one.goals or not one.mistakes or not one.question:
            yield f"{one.name}: a session needs a question, goals and mistakes"


def _place_problems(one: Session, kind: str, place: Mapping) -> Iterator[str]:
    """Yield whether what is shown live, or derived, does not stand in the chapter."""
    titles = [part for part in sections(place["chapter"]) if part.title == place["section"]]
    if not titles:
        yield f"{one.name}: chapter {place['chapter']} has no section {place['section']!r}"
    elif kind == "live" and not _has_code(place["chapter"], place["section"]):
        yield f"{one.name}: {place['section']!r} of chapter {place['chapter']} has no code to run"


def _has_code(number: int, title: str) -> bool:
    """Say whether a section holds a code cell, folded or not."""
    inside, level = False, 0
    for cell in read_page(chapter_file(number)).cells:
        if cell["cell_type"] == "code":
            if inside:
                return True
            continue
        for marks, heading in re.findall(r"^(#{1,3}) (.+?)\s*$", cell["source"], re.MULTILINE):
            if heading == title:
                inside, level = True, len(marks)
            elif inside and len(marks) <= level:
                inside = False
    return False


def _families(plan: Plan) -> Iterator[str]:
    """Yield sessions without an exercise that has versions, where their chapters have one."""
    for one in plan.sessions:
        there = [
            item for item in one.bank.values() if item.is_family and item.meta["chapter"] in one.chapters
        ]
        if one.homework and there and not any(item.is_family for item in one.known(one.homework)):
            names = ", ".join(item.id for item in there)
            yield f"{one.name}: no homework with versions, though there is {names}"


def _whole(plan: Plan) -> Iterator[str]:
    """Yield what the plan as a whole lacks."""
    read = {number for one in plan.sessions for number in one.chapters}
    kinds = {item.meta["kind"] for one in plan.sessions for item in one.known(one.exercises)}
    if plan.settings.get("complete"):
        yield from (f"nobody reads chapter {number}" for number in all_chapters() if number not in read)
        yield from (f"no exercise of the kind {kind!r}" for kind in KINDS if kind not in kinds)
    if plan.settings.get("homework_at_the_end"):
        least, most = plan.sessions[0].rules.homework
        minutes = sum(one.minutes_at_home() for one in plan.sessions)
        if not least <= minutes <= most:
            yield f"homework takes {minutes} minutes, must be {least} to {most}"
