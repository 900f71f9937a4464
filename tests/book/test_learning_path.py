"""The learning path holds together, and page, picture and times are what data and chapters make of them."""

import copy
import re
from dataclasses import replace

import learning_path
import pytest
import yaml
from learning_path import (
    DATA,
    Route,
    current_times,
    duration,
    main,
    outputs,
    problems,
    read_path,
    stored_times,
)
from learning_path_picture import needed_through
from teaching_plan_rules import PlanError, all_chapters, current_bank, needed_by, read_plans
from teaching_plans import DATA as PLANS

from tests.support.book import BOOK, none_of

pytestmark = pytest.mark.book
STORED = yaml.safe_load(DATA.read_text(encoding="utf-8"))


@pytest.fixture
def data():
    return copy.deepcopy(STORED)


def found_in(data, times=None):
    return list(problems(read_path(data, stored_times() if times is None else times)))


def test_the_path_holds_together(data):
    none_of(found_in(data))


def test_what_is_stored_is_what_the_chapters_say(data):
    stale = [
        f"{path.name}: run python tools/learning_path.py write"
        for path, text in outputs(read_path(data, stored_times())).items()
        if path.read_text(encoding="utf-8") != text
    ]
    none_of(stale)


def test_the_minutes_are_those_of_the_teaching_plans(data):
    """Where a session asks for a whole chapter, both pages say the same minutes."""
    path = read_path(data, stored_times())
    plans = read_plans(yaml.safe_load(PLANS.read_text(encoding="utf-8")), current_bank())
    whole = [
        (one, part) for one in plans["course"].sessions for part in one.read if part.keys() == {"chapter"}
    ]
    assert whole
    for one, part in whole:
        assert path.minutes[part["chapter"]] == one.minutes_of_reading()


def test_text_that_grew_makes_the_stored_minutes_stale(data):
    path = read_path(data, stored_times())
    path.__dict__["minutes"] = path.minutes | {4: path.minutes[4] + 5}  # as if chapter 4 had 750 words more
    assert current_times(path) != current_times(read_path(data, stored_times()))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda data: data["chapters"].pop(5), "the learning path lacks chapter 5"),
        (lambda data: data["chapters"].update({18: data["chapters"][17]}), "there is no chapter 18"),
        (lambda data: data["chapters"][3].update(abilities=["one;"]), "chapter 3 has 1 abilities"),
        (
            lambda data: data["routes"][1].update(chapters=[4]),
            "An evening: needs chapter 2, which",
        ),
        (lambda data: data["routes"][1].update(chapters=[4, 2]), "An evening: the chapters must rise"),
        (lambda data: data["routes"][1].update(chapters=[2, 4, 99]), "An evening: there is no chapter 99"),
        (
            lambda data: data["routes"][1].update(trust={1: "x"}),
            "An evening: takes chapter 1 on trust",
        ),
        (lambda data: data["routes"].pop(0), "no route goes through all chapters"),
    ],
)
def test_a_planted_fault_is_found_and_named(data, change, problem):
    change(data)
    found = found_in(data)
    assert any(one.startswith(problem) for one in found), found


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda data: data["chapters"][3].pop("question"), "chapter 3 must have"),
        (lambda data: data["chapters"][3].update(minutes=60), "chapter 3 must have"),
        (lambda data: data["routes"][0].update(minutes=60), r"the route 'All of it' has unknown words"),
    ],
)
def test_a_number_typed_by_hand_is_refused(data, change, problem):
    change(data)
    with pytest.raises(PlanError, match=problem):
        read_path(data, stored_times())


def test_a_chapter_that_was_never_run_is_named(data):
    times = stored_times()
    del times["06-self-attention-and-order"]
    assert found_in(data, times) == [
        "chapter 6 was never measured: run python tools/learning_path.py measure 6"
    ]


def test_check_says_what_to_run(monkeypatch, capsys, tmp_path):
    for name in ("PAGE", "TIMES", "PICTURE"):
        path = tmp_path / name
        path.write_bytes(getattr(learning_path, name).read_bytes())
        monkeypatch.setattr(f"learning_path.{name}", path)
    assert main(["check"]) == 0
    page = tmp_path / "PAGE"
    page.write_text(page.read_text(encoding="utf-8").replace(" minutes to read", " hours to read"), "utf-8")
    assert main(["check"]) == 1
    assert (
        "PAGE is not what the chapters say: run python tools/learning_path.py write"
        in capsys.readouterr().out
    )
    assert main(["write"]) == main(["check"]) == 0


@pytest.mark.parametrize(
    ("minutes", "text"),
    [(45, "45 minutes"), (90, "1½ hours"), (110, "1¾ hours"), (120, "2 hours"), (385, "6½ hours")],
)
def test_durations_are_said_as_people_say_them(minutes, text):
    assert duration(minutes) == text


def test_the_picture_knows_what_is_needed_through_another():
    assert needed_through({1: [], 2: [1], 3: [2], 4: []}) == {1: set(), 2: {1}, 3: {1, 2}, 4: set()}


def test_the_alternative_text_of_the_picture_is_true():
    page = (BOOK / "learning-path.md").read_text(encoding="utf-8")
    (said,) = re.findall(r"^:alt: (.+)$", page, re.MULTILINE)
    for number, needs in re.findall(r"chapter (\d+) needs ([\d, and]+)", said):
        assert {int(one) for one in re.findall(r"\d+", needs)} == needed_by(int(number))
    assert not needed_by(1) | needed_by(2)


def test_every_ability_on_the_first_page_leads_to_a_chapter():
    text = (BOOK / "index.md").read_text(encoding="utf-8")
    section = text.partition("## What you will be able to do")[2].partition("\n## ")[0]
    abilities = re.findall(r"^- .+$", section, re.MULTILINE)
    assert 8 <= len(abilities) <= 10
    none_of([one for one in abilities if not re.search(r"\(\[chapter \d+\]\(\d\d-[\w-]+\.ipynb\)\)\.$", one)])
    for number, file in re.findall(r"chapter (\d+)\]\((\d\d)-", section):
        assert int(number) == int(file)


def test_a_route_may_skip_what_it_takes_on_trust():
    route = Route("r", "You.", (3,), {2: "Known."})
    path = replace(
        read_path(STORED, stored_times()), routes=(Route("all", "", tuple(all_chapters()), {}), route)
    )
    none_of(list(problems(path)))
