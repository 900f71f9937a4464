"""Write the learning path: what each chapter asks for, gives and takes, and routes through the book.

Usage::

    python tools/learning_path.py write               the page, its picture, and the minutes of reading
    python tools/learning_path.py check               say whether they are up to date; exit 1 if not
    python tools/learning_path.py measure [NUMBER …]  run chapters on one thread, store how long, then write

What people decide stands in book/learning-path.yml. Needed chapters come from each chapter's "What you need",
minutes of reading from its length by the rule of the teaching plans. Minutes and seconds are stored in
book/chapter-times.json, from which the build also puts a line under the title of each chapter.
"""

import argparse
import json
import os
import resource
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools"), str(ROOT / "experiments")]

from exercise_pages import chapter_file, chapter_title  # noqa: E402 (beside this file)
from learning_path_picture import picture  # noqa: E402
from notebooks import execute, write_atomically  # noqa: E402
from page_parts import MarkError, filled  # noqa: E402
from teaching_plan_rules import PlanError, all_chapters, chosen, in_fives, needed_by  # noqa: E402
from teaching_plans import DATA as PLANS  # noqa: E402
from teaching_plans import link_to, numbers  # noqa: E402

DATA = ROOT / "book" / "learning-path.yml"
PAGE = ROOT / "book" / "learning-path.md"
TIMES = ROOT / "book" / "chapter-times.json"
PICTURE = ROOT / "book" / "_assets" / "learning-path.svg"
TOC = ROOT / "book" / "_toc.yml"
TOOL = "tools/learning_path.py"
CHAPTER_KEYS = {"short", "question", "maths", "abilities"}
ROUTE_KEYS = {"name", "who", "chapters", "trust"}


@dataclass(frozen=True)
class Route:
    """A way through the book, and what it takes on trust: chapter → words."""

    name: str
    who: str
    chapters: tuple[int, ...]
    trust: Mapping[int, str]


@dataclass(frozen=True)
class LearningPath:
    """The data of the page: chapters and routes as people decided, times as reckoned and measured."""

    chapters: Mapping[int, Mapping]
    routes: tuple[Route, ...]
    parts: Sequence[tuple[str, tuple[int, ...]]]
    rules: Mapping[str, int]
    times: Mapping[str, Mapping]

    @cached_property
    def minutes(self) -> dict[int, int]:
        """Minutes of reading by chapter, in steps of five, reckoned from the text."""
        found = {}
        for number in all_chapters():
            read = chosen({"chapter": number})
            words, lines = sum(one.words for one in read), sum(one.code_lines for one in read)
            minutes = words / self.rules["words_a_minute"] + lines / self.rules["code_lines_a_minute"]
            found[number] = in_fives(minutes)
        return found

    def seconds(self, number: int) -> int:
        """Return the stored seconds of running a chapter, in steps of five."""
        return in_fives(self.times[chapter_file(number).stem]["seconds"])


def read_path(data: Mapping, times: Mapping[str, Mapping]) -> LearningPath:
    """Return the learning path.

    Raises
    ------
    PlanError
        If a chapter or a route holds a word that the format does not know, or lacks one.
    """
    for number, one in data["chapters"].items():
        if one.keys() != CHAPTER_KEYS:
            raise PlanError(f"chapter {number} must have {sorted(CHAPTER_KEYS)}, got {sorted(one)}")
    for one in data["routes"]:
        if unknown := one.keys() - ROUTE_KEYS:
            raise PlanError(f"the route {one.get('name')!r} has unknown words {sorted(unknown)}")
    routes = tuple(
        Route(one["name"], one["who"], tuple(one["chapters"]), one.get("trust", {})) for one in data["routes"]
    )
    parts = []
    for part in yaml.safe_load(TOC.read_text(encoding="utf-8"))["parts"]:
        found = tuple(int(one["file"][:2]) for one in part["chapters"] if one["file"][:2].isdigit())
        if found:
            parts.append((part["caption"], found))
    rules = yaml.safe_load(PLANS.read_text(encoding="utf-8"))["rules"]
    return LearningPath(data["chapters"], routes, parts, rules, times)


def problems(path: LearningPath) -> Iterator[str]:
    """Yield what is wrong with the learning path, each with its place."""
    there = set(all_chapters())
    for number in sorted(there - path.chapters.keys()):
        yield f"the learning path lacks chapter {number}"
    for number in sorted(path.chapters.keys() - there):
        yield f"there is no chapter {number}"
    for number in sorted(there):
        if chapter_file(number).stem not in path.times:
            yield f"chapter {number} was never measured: run python {TOOL} measure {number}"
    for number, one in path.chapters.items():
        if not 2 <= len(one["abilities"]) <= 3:
            yield f"chapter {number} has {len(one['abilities'])} abilities, must be 2 or 3"
    for route in path.routes:
        yield from (f"{route.name}: {one}" for one in _route_problems(route, there))
    if not any(set(route.chapters) == there for route in path.routes):
        yield "no route goes through all chapters"


def _route_problems(route: Route, there: set[int]) -> Iterator[str]:
    """Yield what a route leaves out or names for nothing."""
    if unknown := set(route.chapters) - there:
        yield f"there is no chapter {numbers(sorted(unknown))}"
    if list(route.chapters) != sorted(set(route.chapters)):
        yield "the chapters must rise"
    needed = {need for number in set(route.chapters) & there for need in needed_by(number)}
    missing = needed - set(route.chapters)
    if lacking := missing - route.trust.keys():
        yield f"needs chapter {numbers(sorted(lacking))}, which is neither read nor taken on trust"
    if idle := route.trust.keys() - missing:
        yield f"takes chapter {numbers(sorted(idle))} on trust, which nothing on it needs"


# --- the page ---------------------------------------------------------------------------------------


def duration(minutes: int) -> str:
    """Return minutes as people say them: 50 minutes, 1¾ hours, 16½ hours."""
    if minutes < 90:
        return f"{minutes} minutes"
    quarters = round(minutes / 15) if minutes < 240 else 2 * round(minutes / 30)
    return f"{quarters // 4}{('', '¼', '½', '¾')[quarters % 4]} hours"


def chapter_names(chapters: Iterable[int]) -> str:
    """Return the chapters with links: chapters 2, 3 and 4."""
    listed = list(chapters)
    if listed == all_chapters():
        return "all chapters in order"
    links = numbers([link_to(number, text=str(number)) for number in listed])
    return f"chapter{'s' if len(listed) > 1 else ''} {links}"


def reckoning_text(path: LearningPath) -> str:
    """Return how minutes and seconds came about."""
    dates = sorted({one["measured"] for one in path.times.values()})
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    machines = sorted({one["machine"] for one in path.times.values()})
    return (
        f"- *Reading*: {path.rules['words_a_minute']} words (a formula counts as its words) and "
        f"{path.rules['code_lines_a_minute']} lines of code a minute, rounded to five minutes.\n"
        "  That is slower than one reads a story, because figures and formulas want to be looked at.\n"
        "  Folded code, quizzes, exercises and further reading are not in it, as in the teaching plans.\n"
        "- *Running*: all cells from top to bottom on one processor core, rounded to five seconds, "
        f"measured {when} ({'; '.join(machines)}).\n"
        "  A machine of a free service may take twice as long."
    )


def routes_text(path: LearningPath) -> str:
    """Return the routes, each with its time and what it takes on trust."""
    items = []
    for route in path.routes:
        minutes = sum(path.minutes[number] for number in route.chapters)
        names = chapter_names(route.chapters)
        lines = [
            f"- **{route.name}**: {names}, about {duration(minutes)}.",
            f"  {route.who}",
        ]
        lines += [f"  - *Without chapter {number}*: {text}" for number, text in route.trust.items()]
        items.append("\n".join(lines))
    return "\n".join(items)


def chapter_text(path: LearningPath, number: int) -> str:
    """Return the entry of a chapter."""
    one = path.chapters[number]
    needs = sorted(needed_by(number))
    before = f"{chapter_names(needs)}; {one['maths']}" if needs else one["maths"]
    return "\n".join(
        [
            f"### Chapter {number}: {link_to(number, text=chapter_title(number))}",
            "",
            f"*{one['question']}*",
            "",
            f"{path.minutes[number]} minutes to read, {path.seconds(number)} seconds to run.",
            f"You need: {before}.",
            "Afterwards you can",
            "",
            *(f"- {text}" for text in one["abilities"]),
        ]
    )


def chapters_text(path: LearningPath) -> str:
    """Return the entries of all chapters, by parts."""
    parts = []
    for caption, chapters in path.parts:
        minutes = sum(path.minutes[number] for number in chapters)
        parts.append(f"## {caption}\n\nAbout {duration(minutes)} of reading.")
        parts += [chapter_text(path, number) for number in chapters]
    return "\n\n".join(parts)


def current_page(page: str, path: LearningPath) -> str:
    """Return the page as data, chapters and measurements make it."""
    parts = {
        "reckoning": reckoning_text(path),
        "routes": routes_text(path),
        "chapters": chapters_text(path),
    }
    return filled(page, parts, TOOL)


def current_picture(path: LearningPath) -> str:
    """Return the picture of what needs what."""
    names = {number: path.chapters[number]["short"] for number in all_chapters()}
    return picture(names, {number: needed_by(number) for number in names}, path.parts)


def current_times(path: LearningPath) -> str:
    """Return the file of times, with the minutes as the text makes them now."""
    stored = {}
    for number in all_chapters():
        name = chapter_file(number).stem
        stored[name] = path.times[name] | {
            "minutes": path.minutes[number],
            "about_seconds": path.seconds(number),
        }
    return json.dumps(stored, indent=1) + "\n"


def stored_times() -> dict[str, dict]:
    """Return the stored times, none at the first run."""
    return json.loads(TIMES.read_text(encoding="utf-8")) if TIMES.exists() else {}


def outputs(path: LearningPath) -> dict[Path, str]:
    """Return every file that is made, and its text."""
    return {
        TIMES: current_times(path),
        PICTURE: current_picture(path),
        PAGE: current_page(PAGE.read_text(encoding="utf-8"), path),
    }


def processor_seconds() -> float:
    """Return the seconds that the processor has worked for children of this process that ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(chapters: Sequence[int]) -> None:
    """Run chapters one after the other on one thread, and store seconds and memory after each.

    Seconds are those that the processor worked for the kernel, so that a busy machine does not change them.
    """
    from _store import machine  # the words in which the experiments name a machine

    os.environ["OMP_NUM_THREADS"] = "1"
    about = machine()
    for number in chapters:
        source = chapter_file(number)
        before = processor_seconds()
        _, _, mib = execute(source)
        seconds = processor_seconds() - before
        times = stored_times()
        times[source.stem] = times.get(source.stem, {}) | {
            "seconds": round(seconds, 1),
            "mib": round(mib),
            "measured": f"{datetime.now(UTC):%Y-%m-%d}",
            "machine": f"{about['cpu']}, {about['system']}",
        }
        write_atomically(TIMES, json.dumps(dict(sorted(times.items())), indent=1) + "\n")
        print(f"{seconds:6.1f} s {mib:6.0f} MiB  {source.name}", flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Write, check or measure; return the exit status."""
    parser = argparse.ArgumentParser(description="Write the learning path and the chapters' times.")
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("write", help="write the page, its picture and the minutes of reading")
    actions.add_parser("check", help="say whether they are up to date")
    run = actions.add_parser("measure", help="run chapters, store seconds and memory, then write")
    run.add_argument("chapters", nargs="*", type=int, help="numbers of chapters; all by default")
    options = parser.parse_args(arguments)
    if options.action == "measure":
        measure(options.chapters or all_chapters())
    try:
        path = read_path(yaml.safe_load(DATA.read_text(encoding="utf-8")), stored_times())
        found = list(problems(path))
        made = {} if found else outputs(path)
    except (PlanError, MarkError) as error:
        found = [str(error)]
    if found:
        print(*found, sep="\n", file=sys.stderr)
        return 1
    stale = [file for file, text in made.items() if not file.exists() or file.read_text("utf-8") != text]
    if options.action == "check":
        for file in stale:
            print(f"{file.name} is not what the chapters say: run python {TOOL} write")
        return int(bool(stale))
    for file in stale:
        write_atomically(file, made[file])
    return 0


if __name__ == "__main__":
    sys.exit(main())
