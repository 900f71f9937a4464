"""The teaching plans hold together, and the page is what plans, bank and chapters make of them."""

import copy
import re
import shlex
from dataclasses import replace

import pytest
import yaml
from teaching_plan_rules import (
    PlanError,
    Session,
    chosen,
    current_bank,
    in_fives,
    problems,
    read_plans,
    sections,
)
from teaching_plans import DATA, LEDGER, PAGE, command, current, main, parts_of, vote_text

from attncourse.classroom.bank import KINDS
from attncourse.classroom.course import check_name
from tests.support.book import none_of

pytestmark = pytest.mark.book
BANK = current_bank()
COURSE, SHORT, WORKSHOP = "course", "short", "workshop"


@pytest.fixture
def data():
    return yaml.safe_load(DATA.read_text(encoding="utf-8"))


def week(data, number, plan=COURSE):
    return data["plans"][plan]["sessions"][number - 1]


def found_in(data):
    return problems(read_plans(data, BANK))


def test_the_plans_hold_together(data):
    none_of(found_in(data))


def test_the_stored_page_is_what_the_plans_say():
    stored = PAGE.read_text(encoding="utf-8")
    assert stored == current(stored), "run python tools/teaching_plans.py write"


def test_the_course_is_whole(data):
    """What the issue asks of the course, counted here and not by the tool."""
    course = read_plans(data, BANK)[COURSE]
    assert len(course.sessions) == 12
    assert sorted({chapter for one in course.sessions for chapter in one.chapters}) == list(range(1, 18))
    exercises = [name for one in course.sessions for name in one.exercises]
    assert len(exercises) == len(set(exercises))
    assert {BANK[name].meta["kind"] for name in exercises} == set(KINDS)
    for one in course.sessions:
        assert any(BANK[name].is_family for name in one.homework), one.name
        for group in one.every_group:
            extra = one.groups[group]["homework"] if group else []
            assert 60 <= sum(BANK[name].meta["minutes"] for name in [*one.homework, *extra]) <= 120


# --- planted faults: each is found, and named -------------------------------------------------------


def unknown_id(data):
    week(data, 3)["homework"][0] = "qkv.no-such-thing"


def too_early(data):
    week(data, 3)["homework"][0] = "scaled.window-by-rule"
    week(data, 4)["homework"][0] = "qkv.score-by-rule"


def too_early_in_class(data):
    for item in week(data, 2)["class"]:
        if "exercise" in item:
            item["exercise"] = "multihead.split-heads"


def never_read(data):
    week(data, 2, SHORT)["homework"].append("seq2seq.concat-is-additive")


def of_another_group(data):
    groups = week(data, 11)["groups"]
    groups["images"]["homework"], groups["sound"]["homework"] = (
        groups["sound"]["homework"],
        groups["images"]["homework"],
    )


def twice(data):
    week(data, 6)["homework"].append("scaled.weigh-by-rule")


def too_long(data):
    week(data, 8)["homework"] += ["transformer.norm-gradient", "transformer.word-order"]


def too_short(data):
    del week(data, 9)["homework"][1:]


def too_long_in_a_group(data):
    week(data, 11)["groups"]["sound"]["homework"] += ["speech.sum-over-paths"]


def short_without_its_essay(data):
    del week(data, 7)["homework"][:1]


def unlike_groups(data):
    week(data, 11)["groups"]["objects"]["homework"][0] = "vision.cut-patches"


def minutes_do_not_add_up(data):
    week(data, 5)["class"][0]["minutes"] += 5


def no_derivation(data):
    items = week(data, 4)["class"]
    (place,) = [i for i, item in enumerate(items) if "derivation" in item]
    items[place] = {"minutes": items[place]["minutes"], "what": "talk", "text": "t"}


def no_such_question(data):
    for item in week(data, 1)["class"]:
        if "quiz" in item:
            item["quiz"]["questions"] = [1, 7]


def no_such_section(data):
    week(data, 1)["read"][0]["only"][0] = "No such heading"


def no_such_chapter(data):
    week(data, 12)["read"][1]["chapter"] = 18


def live_without_code(data):
    for item in week(data, 12)["class"]:
        if "live" in item:
            item["live"]["section"] = "A debate, and what it settled"


def live_nowhere(data):
    for item in week(data, 12)["class"]:
        if "live" in item:
            item["live"]["section"] = "No such heading"


def live_too_early(data):
    for item in week(data, 2)["class"]:
        if "live" in item:
            item["live"] = {"chapter": 7, "section": "The bug that trains"}


def no_versions(data):
    week(data, 12)["homework"][:2] = ["interpret.moved-weight", "applications.extended-numbers"]


def chapter_needs_another(data):
    sessions = data["plans"][COURSE]["sessions"]
    sessions[6], sessions[5] = sessions[5], sessions[6]


def not_told(data):
    del week(data, 5, SHORT)["told"]


def too_much_to_read(data):
    del week(data, 7)["read"][0]["only"]


def chapter_left_out(data):
    week(data, 12)["read"].pop()


def kind_left_out(data):
    for one in data["plans"][COURSE]["sessions"]:
        one["homework"] = [name for name in one["homework"] if BANK[name].meta["kind"] != "essay"]


def too_much_to_take_home(data):
    week(data, 4, WORKSHOP)["homework"].append("interpret.study-of-maps")


def no_goals(data):
    week(data, 6)["goals"] = []


def minutes_typed_by_hand(data):
    for item in week(data, 6)["class"]:
        if "exercise" in item:
            item["minutes"] = 15


FAULTS = [
    (unknown_id, "course, week 3: the bank has no exercise 'qkv.no-such-thing'"),
    (too_early, "course, week 3: scaled.window-by-rule belongs to chapter 4, which is read in week 4"),
    (
        too_early_in_class,
        "course, week 2: multihead.split-heads belongs to chapter 7, which is read in week 7",
    ),
    (never_read, "short, week 2: seq2seq.concat-is-additive belongs to chapter 5, which nobody reads"),
    (of_another_group, "speech.error-rate belongs to chapter 13, which is read in week 11 (group images)"),
    (twice, "course, week 6: scaled.weigh-by-rule already stands in week 4"),
    (too_long, "course, week 8: homework takes 155 minutes, must be 60 to 120"),
    (too_short, "course, week 9: homework takes 25 minutes, must be 60 to 120"),
    (too_long_in_a_group, "course, week 11: homework takes 130 minutes, must be 60 to 120"),
    (short_without_its_essay, "week 7: without its essay, homework takes 50 minutes, must be at least 60"),
    (unlike_groups, "course, week 11: the groups' homework has unequal points: {"),
    (minutes_do_not_add_up, "course, week 5: the class takes 95 minutes, must be 90"),
    (no_derivation, "course, week 4: 0 items of the kind 'derivation', must be 1"),
    (no_such_question, "course, week 1: the quiz of chapter 1 has no question 7"),
    (no_such_section, "course, week 1: chapter 1 has no section 'No such heading'"),
    (no_such_chapter, "course, week 12: there is no chapter 18"),
    (live_without_code, "week 12: 'A debate, and what it settled' of chapter 16 has no code to run"),
    (live_nowhere, "course, week 12: chapter 16 has no section 'No such heading'"),
    (live_too_early, "course, week 2: live of chapter 7, which nobody has read by then"),
    (no_versions, "course, week 12: no homework with versions, though there is interpret.rollout-by-rule"),
    (chapter_needs_another, "week 6: chapter 7 needs chapter 6, which is neither read nor told by then"),
    (not_told, "short, week 5: chapter 7 needs chapter 5, which is neither read nor told by then"),
    (too_much_to_read, "course, week 7: reading takes "),
    (chapter_left_out, "course: nobody reads chapter 17"),
    (kind_left_out, "course: no exercise of the kind 'essay'"),
    (too_much_to_take_home, "workshop: homework takes 140 minutes, must be 60 to 120"),
    (no_goals, "course, week 6: a session needs a question, goals and mistakes"),
    (
        minutes_typed_by_hand,
        "course, week 6: an item must be of one kind, and has minutes unless they follow",
    ),
]


@pytest.mark.parametrize(("plant", "named"), FAULTS, ids=[plant.__name__ for plant, _ in FAULTS])
def test_a_planted_fault_is_found_and_named(data, plant, named):
    plant(data)
    assert any(named in one for one in found_in(data)), found_in(data)
    with pytest.raises(PlanError, match=re.escape(named)):
        parts_of(read_plans(data, BANK))


def test_an_unknown_word_is_refused(data):
    week(data, 2)["homwork"] = []
    with pytest.raises(PlanError, match=r"course, week 2: unknown words \['homwork'\]"):
        read_plans(data, BANK)


def test_a_claim_that_the_ledger_does_not_know_is_refused(data):
    claims = yaml.safe_load(LEDGER.read_text(encoding="utf-8"))["claims"]
    with pytest.raises(PlanError, match=r"\['S99'\], which the ledger does not know"):
        vote_text(data["vote"] | {"S99": 3}, claims)


# --- where the numbers come from --------------------------------------------------------------------


def changed(bank, name, **meta):
    return bank | {name: replace(bank[name], meta=bank[name].meta | meta)}


def test_minutes_and_points_come_from_the_bank(data):
    """An exercise that gets longer moves the homework's sum, and in class breaks the 90 minutes."""
    before = read_plans(data, BANK)[COURSE].sessions[2]
    after = read_plans(data, changed(BANK, "qkv.two-faults", minutes=17, points=40))[COURSE].sessions[2]
    assert after.minutes_at_home() == before.minutes_at_home() + 2
    assert after.points_at_home() == before.points_at_home() + 36
    longer = read_plans(data, changed(BANK, "qkv.additive-scores", minutes=21))
    assert "course, week 3: the class takes 96 minutes, must be 90" in problems(longer)


def test_reading_counts_open_code_and_prose(data):
    """By hand: words and lines of the chosen sections, at the stated speed."""
    rules = read_plans(data, BANK)[COURSE].sessions[0].rules
    part = {"chapter": 2, "only": ["An order that nobody reads"]}
    intro, section = chosen(part)
    assert (intro.level, section.title) == (1, "An order that nobody reads")
    session = Session(name="x", title="x", bank=BANK, rules=rules, read=[part])
    expected = (intro.words + section.words) / 150 + (intro.code_lines + section.code_lines) / 15
    assert session.minutes_of_part(part) == pytest.approx(expected)
    slower = replace(rules, words_a_minute=75)
    other = Session(name="x", title="x", bank=BANK, rules=slower, read=[part])
    assert other.minutes_of_part(part) > session.minutes_of_part(part)


def test_sections_of_sections_are_read_with_them():
    titles = [one.title for one in chosen({"chapter": 2, "only": ["Five steps on four words"]})]
    assert titles[1:] == ["Five steps on four words", *titles[2:]]
    assert {"By hand", "The version we keep"} <= set(titles)
    without = [one.title for one in chosen({"chapter": 2, "without": ["Five steps on four words"]})]
    assert not {"Five steps on four words", "By hand"} & set(without)


@pytest.mark.parametrize("title", ["Check yourself", "Exercises", "Further reading"])
def test_what_nobody_reads_to_prepare_does_not_count(title):
    assert title in [one.title for one in sections(2)]
    assert title not in [one.title for one in chosen({"chapter": 2})]


@pytest.mark.parametrize(("minutes", "shown"), [(0.3, 5), (7, 5), (8, 10), (42.5, 40), (43, 45)])
def test_minutes_of_reading_are_rounded_to_five(minutes, shown):
    assert in_fives(minutes) == shown


# --- what stands on the page ------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(1, 13))
def test_the_command_of_a_week_names_its_homework(data, number):
    """What people copy is one shell command that names the exercises of the week and no others."""
    page = PAGE.read_text(encoding="utf-8")
    one = read_plans(data, BANK)[COURSE].sessions[number - 1]
    for group in one.every_group:
        name = f"HW{number}" + (f"-{group}" if group else "")
        (typed,) = re.findall(
            rf"^attncourse assign {name} \\\n((?:    \S+ \\\n)+)    --per-student (\S+)$", page, re.M
        )
        expected = [*one.homework, *(one.groups[group]["homework"] if group else [])]
        assert [line.strip(" \\") for line in typed[0].splitlines()] == expected
        assert typed[1] == (f"{group}.csv" if group else "roster.csv")


def test_every_command_makes_an_assignment():
    """Its name may be one, no name stands for two assignments, and the bank has its exercises."""
    names = []
    for text in re.findall(
        r"^```bash\n(attncourse assign .*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S
    ):
        _, _, name, *rest = shlex.split(text.replace("\\\n", " "))
        names.append(name)
        check_name(name)
        ids, option = rest[:-2], rest[-2]
        assert option in ("--per-student", "--seed")
        assert ids, name
        assert set(ids) <= BANK.keys(), name
    assert len(names) == len(set(names)) >= 14


def test_a_command_is_one_line_for_the_shell():
    text = command("HW1", ["a.b", "c.d"], "--seed 1")
    assert text == "```bash\nattncourse assign HW1 \\\n    a.b \\\n    c.d \\\n    --seed 1\n```"


def test_the_landing_page_copies_the_command_of_week_four(data):
    text = (PAGE.parent / "for-instructors.md").read_text(encoding="utf-8")
    assert command("HW4", week(data, 4)["homework"], "--per-student roster.csv") in text
    one = read_plans(data, BANK)[COURSE].sessions[3]
    assert "an hour and a half and has four kinds of exercise" in text
    assert one.minutes_at_home() == 90
    assert sorted(BANK[name].meta["kind"] for name in one.homework) == [
        "bug hunt",
        "implement",
        "measure",
        "vary",
    ]


def test_versions_in_class_get_a_command_of_their_own(data):
    page = PAGE.read_text(encoding="utf-8")
    for number, one in enumerate(read_plans(data, BANK)[COURSE].sessions, start=1):
        families = [name for name in one.in_class if BANK[name].is_family]
        made = command(f"Class{number}", families, "--per-student roster.csv")
        assert (made in page) == bool(families)
        assert (f"attncourse assign Class{number} " in page) == bool(families)


def test_the_short_course_sets_nothing_that_its_sessions_do_in_class(data):
    plans = read_plans(data, BANK)
    in_class = {name for one in plans[COURSE].sessions for name in one.in_class}
    assert not in_class & {name for one in plans[SHORT].sessions for name in one.homework}


def test_the_clock_of_the_day_is_the_sum_of_its_blocks(data):
    plan = data["plans"][WORKSHOP]
    start = "9:30"
    minutes = 9 * 60 + 30 + sum(plan["minutes"]) + sum(plan["breaks"])
    page = PAGE.read_text(encoding="utf-8")
    assert plan["start"] == start
    assert f"–{minutes // 60}:{minutes % 60:02d} | Block 4" in page


def test_people_keep_what_stands_outside_the_marks(data):
    page = PAGE.read_text(encoding="utf-8")
    changed_page = current(page.replace("# Teaching plans\n", "# Plans for teaching\n"))
    assert changed_page.startswith("# Plans for teaching\n")


def test_check_and_write(tmp_path, monkeypatch, capsys):
    page = tmp_path / "teaching-plans.md"
    page.write_text(PAGE.read_text(encoding="utf-8").replace("| 90 |", "| 91 |"), encoding="utf-8")
    monkeypatch.setattr("teaching_plans.PAGE", page)
    assert main(["check"]) == 1
    assert "teaching-plans.md is not what the plans say" in capsys.readouterr().out
    assert main(["write"]) == 0
    assert main(["check"]) == 0
    assert page.read_text(encoding="utf-8") == PAGE.read_text(encoding="utf-8")


def test_a_fault_is_said_and_nothing_is_written(data, tmp_path, monkeypatch, capsys):
    broken, page = tmp_path / "plans.yml", tmp_path / "teaching-plans.md"
    wrong = copy.deepcopy(data)
    twice(wrong)
    broken.write_text(yaml.safe_dump(wrong), encoding="utf-8")
    page.write_text("as it was", encoding="utf-8")
    monkeypatch.setattr("teaching_plans.DATA", broken)
    monkeypatch.setattr("teaching_plans.PAGE", page)
    assert main(["write"]) == 1
    assert "scaled.weigh-by-rule already stands in week 4" in capsys.readouterr().err
    assert page.read_text(encoding="utf-8") == "as it was"
