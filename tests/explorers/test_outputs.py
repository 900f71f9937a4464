"""The outputs stand alone, are small, the same every time, closed to hostile labels, and heed the keys."""

import itertools
import json
import re

import numpy as np
import pytest

from attncourse.explorers import (
    EXAMPLES,
    Explorer,
    mask_explorer,
    online_softmax_stepper,
    scale_explorer,
    sentence_explorer,
    temperature_explorer,
)
from attncourse.explorers.shell import asset_text, visible
from attncourse.head_viewer import head_viewer
from attncourse.viz import COLOURS
from tests.explorers.conftest import SCORES, WORDS, every_figure
from tests.support.book import BOOK, ROOT
from tests.support.hygiene import html_problems
from tests.test_head_viewer import Tables

FIGURES = [*every_figure()]
HOSTILE = ["</script><script>alert(1)</script>", "<b>&amp;", "\"' onload=x", "-->\n<!--"]
ASSETS = sorted((ROOT / "attncourse").glob("**/*.[cj]s*"))


@pytest.fixture(params=FIGURES)
def figure(request):
    return every_figure()[request.param]


def test_it_keeps_the_rules_for_stored_html(figure):
    assert html_problems({"text/html": figure._repr_html_(), "text/plain": repr(figure)}) == []
    assert len(figure.html.encode()) <= 25_000
    assert not re.search(r"http|//[a-z]|\bid=|fetch|import|Worker|localStorage", figure.html)


def test_it_has_the_parts_that_the_site_relies_on(figure):
    root = figure.html[: figure.html.index(">")]
    assert re.search(r'data-figure="(sentence|temperature|scale|mask|online-softmax)"', root)
    assert figure.html.count('<div data-live hidden="hidden"></div>') == 1
    assert figure.html.count('<p data-says aria-live="polite">') == 1
    assert figure.html.count('<details data-table open="open">') == 1


def test_the_head_viewer_has_them_too():
    page = head_viewer(np.full((2, 3, 3), 1 / 3), "abc").html
    assert page.startswith('<div class="av" data-figure="head-viewer"')
    assert page.count("data-live hidden=") == page.count("<p data-says") == 1
    assert page.count("<details data-table open=") == 2


def test_the_same_call_gives_the_same_bytes():
    assert every_figure() == every_figure()


def test_last_bits_change_nothing():
    noisy = temperature_explorer(SCORES[0] + 1e-9, WORDS)
    assert noisy == temperature_explorer(SCORES[0], WORDS)
    noisy = online_softmax_stepper(SCORES[0] - 1e-9, SCORES[1], 2)
    assert noisy == online_softmax_stepper(SCORES[0], SCORES[1], 2)


def test_arguments_are_not_written():
    scores, values = SCORES[0].copy(), SCORES[1].copy()
    online_softmax_stepper(scores, values)
    np.testing.assert_array_equal([scores, values], SCORES[:2])


@pytest.mark.parametrize("name", FIGURES)
def test_labels_cannot_break_out(name):
    calm, hostile = every_figure()[name], every_figure(HOSTILE, label="<i>")[name]
    assert Tables(hostile.html).tags == Tables(calm.html).tags
    data = re.search(r'<script type="application/json">(.*?)</script>', hostile.html, re.DOTALL)
    texts = json.dumps(json.loads(data[1]), ensure_ascii=False)
    if name in {"temperature", "mask"}:
        assert all(json.dumps(visible(word), ensure_ascii=False) in texts for word in HOSTILE)


def test_the_plain_text_is_the_table(figure):
    [rows] = Tables(figure.html).tables
    lines = repr(figure).splitlines()
    assert len(lines) == 1 + len(rows)
    for line, row in zip(lines[1:], rows, strict=True):
        assert line.split() == " ".join(row).split()


@pytest.mark.parametrize("name", FIGURES)
def test_it_starts_and_answers(name, played):
    actions = {
        "sentence": [("press", 0), ("slide", 10), ("press", 3)],
        "temperature": [("slide", -10), ("slide", 10)],
        "scale": [("slide", 8), ("press", 1)],
        "mask": [("press", 0), ("press", 3)],
        "online-softmax": [("press", 1), ("press", 1), ("press", 0)],
    }[name]
    explorer = every_figure()[name]
    states = played(explorer, *actions)
    assert not any(state["hidden"] or state["open"] for state in states)
    for before, after in itertools.pairwise(states):
        assert before["says"] != after["says"]
    # one button a group is in the order of Tab
    groups = {"sentence": 1, "temperature": 0, "scale": 1, "mask": 2, "online-softmax": None}[name]
    if groups is not None:
        assert sum(button[1] == 0 for button in states[-1]["buttons"]) == groups


def test_arrows_choose_a_word_and_go_round(played):
    states = played(
        EXAMPLES["sentence"](), ("press", 3), *[("key", key) for key in ("x", "ArrowRight", "End", "Home")]
    )
    chosen = [[button[4] for button in state["buttons"]].index("true") for state in states]
    # the first key is none that moves; the keys go to the button that has the focus, at first the first one
    assert chosen == [2, 3, 3, 1, 3, 0]
    assert states[-1]["focus"] == "cats"


def test_arrows_walk_over_the_cells_and_stay_inside(played):
    explorer = every_figure()["mask"]
    states = played(explorer, *[("key", key) for key in ("ArrowRight", "ArrowRight")])
    assert states[-1]["buttons"][2][4] == "true", "the arrows choose among the three masks"
    # four tokens: cell n is the button 3 + n
    walk = played(explorer, ("press", 3 + 15), ("key", "ArrowDown"))
    assert [button[1] for button in walk[1]["buttons"]][3:] == [-1] * 15 + [0]


def test_examples_are_those_of_chapter_2():
    notebook = json.loads(next(BOOK.glob("02-*.ipynb")).read_text(encoding="utf-8"))
    [source] = [cell["source"] for cell in notebook["cells"] if cell["id"] == "five-inputs"]
    names = {"np": np}
    exec("".join(source), names)
    inputs = names["table"][names["tokens"]]
    roles = [inputs @ names[f"{role}_proj"] for role in ("query", "key", "value")]
    chosen = names["words"].index("small")
    assert EXAMPLES["sentence"]() == sentence_explorer(names["words"], *roles, chosen=chosen)


def test_colours_are_the_course_s():
    allowed = {colour.lower() for colour in COLOURS} | {"#fff"}
    for path in ASSETS:
        found = {colour.lower() for colour in re.findall(r"#[0-9a-fA-F]{3,6}\b", path.read_text("utf-8"))}
        if "head_viewer" not in path.name:
            assert found - {"#121212"} <= allowed, path.name


def test_no_style_or_script_leaves_a_comment_or_an_indent():
    for path in ASSETS:
        text = asset_text(str(path.relative_to(ROOT / "attncourse")))
        assert not re.search(r"/\*|^//|^\s", text, re.MULTILINE), path.name


WORD = np.eye(2)
GOOD = {
    sentence_explorer: {"words": "ab", "query": WORD, "key": WORD, "value": WORD},
    temperature_explorer: {"scores": np.ones(2), "labels": "ab"},
    scale_explorer: {},
    mask_explorer: {
        "scores": WORD,
        "queries": "ab",
        "keys": "ab",
        "masks": {"causal": np.tri(2, dtype=bool)},
    },
    online_softmax_stepper: {"scores": np.ones(3), "values": np.ones(3), "block": 2},
}


@pytest.mark.parametrize(
    ("make", "arguments", "error", "text"),
    [
        (
            sentence_explorer,
            {"words": "abc"},
            ValueError,
            "words must name each of the 2 queries, got 3 names",
        ),
        (sentence_explorer, {"query": [[1.0]]}, TypeError, "query must be an array or tensor"),
        (
            sentence_explorer,
            {"query": np.ones((3, 2))},
            ValueError,
            "query and key must have the same number",
        ),
        (
            sentence_explorer,
            {"value": np.ones((3, 2))},
            ValueError,
            "key and value must have the same number",
        ),
        (
            sentence_explorer,
            {"key": np.ones((2, 3))},
            ValueError,
            "query and key must have the same last axis",
        ),
        (
            sentence_explorer,
            {"value": np.ones((2, 3))},
            ValueError,
            r"value must hold two .* value.shape=\(2, 3\)",
        ),
        (sentence_explorer, {"value": np.full((2, 2), np.inf)}, ValueError, "value must be finite"),
        (sentence_explorer, {"chosen": 2}, ValueError, "chosen must be below 2, got chosen=2"),
        (sentence_explorer, {"chosen": 1.0}, TypeError, "chosen must be an integer"),
        (
            temperature_explorer,
            {"scores": np.ones((1, 2))},
            ValueError,
            r"scores must have 1 axes, got .*\(1, 2\)",
        ),
        (temperature_explorer, {"scores": np.ones(2, int)}, TypeError, "scores must be floating point"),
        (temperature_explorer, {"scores": np.array([np.nan, 1])}, ValueError, "scores must not contain NaN"),
        (
            temperature_explorer,
            {"labels": "a"},
            ValueError,
            "labels must name each of the 2 keys, got 1 names",
        ),
        (
            temperature_explorer,
            {"scores": np.ones(13), "labels": "a" * 13},
            ValueError,
            "labels must be 2 … 12, got 13 names",
        ),
        (scale_explorer, {"seed": -1}, ValueError, "seed must be at least 0, got seed=-1"),
        (scale_explorer, {"seed": 0.5}, TypeError, "seed must be an integer"),
        (scale_explorer, {"size": 3}, ValueError, "size must be a power of two up to 1024, got size=3"),
        (mask_explorer, {"queries": "a"}, ValueError, "queries must name each of the 2 queries"),
        (mask_explorer, {"keys": "abc"}, ValueError, "keys must name each of the 2 keys"),
        (mask_explorer, {"masks": {"x": np.eye(2)}}, TypeError, "mask must be boolean"),
        (mask_explorer, {"masks": {"x": np.ones((3, 2), bool)}}, ValueError, "mask must broadcast"),
        (
            mask_explorer,
            {"mask": "window"},
            ValueError,
            "mask must be one of 'none', 'causal', got mask='window'",
        ),
        (online_softmax_stepper, {"values": np.ones(2)}, ValueError, "must have the same number of keys"),
        (online_softmax_stepper, {"block": 0}, ValueError, "block must be at least 1, got block=0"),
        (
            online_softmax_stepper,
            {"scores": np.ones(9), "values": np.ones(9)},
            ValueError,
            r"scores must be at most 8, got scores.shape=\(9,\)",
        ),
    ],
)
def test_bad_input(make, arguments, error, text):
    assert isinstance(make(**GOOD[make]), Explorer)
    with pytest.raises(error, match=text):
        make(**(GOOD[make] | arguments))
