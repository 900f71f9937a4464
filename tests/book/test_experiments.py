"""A stored number that nobody can make again with one command does not exist."""

import json
from types import SimpleNamespace

import pytest
from _store import run_and_store

from tests.support.book import name_of, none_of, notebooks, read_page
from tests.support.experiments import (
    RESULTS,
    experiments,
    load,
    module_problems,
    number_at,
    pair_problems,
    rerun_problems,
    result_problems,
    use_problems,
)
from tests.support.sample import sample

pytestmark = pytest.mark.book


def stored_by(path):
    return json.loads((RESULTS / f"{path.stem}.json").read_text(encoding="utf-8"))


def test_every_experiment_is_stored_and_every_result_has_its_experiment():
    none_of(pair_problems())


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_a_stored_result_says_how_it_was_made(path):
    none_of(result_problems(path))


@pytest.mark.experiments
@pytest.mark.parametrize("path", experiments(), ids=lambda path: path.stem)
def test_one_stored_number_can_be_made_again(path):
    module, stored = load(path), stored_by(path)
    none_of(module_problems(path.name, module, stored))
    none_of(rerun_problems(path.name, module, stored))


@pytest.mark.parametrize("path", notebooks(), ids=name_of)
def test_what_a_notebook_reads_is_stored(path):
    none_of(use_problems(read_page(path)))


# --- every rule above can fail


EXPERIMENT = """\
def run_seed(seed, *, models=("a", "b")):
    return {name: {"loss": seed + 0.5, "curve": [1.0, 2.0]} for name in models}

QUICK = {"seed": 1, "settings": {"models": ["a"]}, "key": "a.loss", "tolerance": 0.01}
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """One experiment with its stored result."""
    monkeypatch.setattr("sys.argv", ["x"])
    path = tmp_path / "experiments" / "05_toy.py"
    path.parent.mkdir()
    path.write_text(EXPERIMENT, encoding="utf-8")
    results = tmp_path / "results"
    stored = run_and_store(path, load(path).run_seed, results=results, unfinished=tmp_path / "unfinished")
    return SimpleNamespace(
        path=path, stored=stored, results=results, values=json.loads(stored.read_text("utf-8"))
    )


def test_the_toy_experiment_is_clean(toy):
    module = load(toy.path)
    assert pair_problems(toy.path.parent, toy.results) == []
    assert result_problems(toy.stored) == []
    assert module_problems("05_toy.py", module, toy.values) == []
    assert rerun_problems("05_toy.py", module, toy.values) == []


def test_an_experiment_without_result_and_a_result_without_experiment_are_reported(toy):
    toy.path.rename(toy.path.with_name("06_toy.py"))
    assert pair_problems(toy.path.parent, toy.results) == [
        "06_toy.py has no stored result; run `make experiments`",
        "results/05_toy.json: no experiment makes it",
    ]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"command": ""}, "command is missing or no str"),
        ({"machine": None}, "machine is missing or no dict"),
        ({"versions": {}}, "versions is missing or no dict"),
        ({"versions": {"python": "3"}}, "the version of numpy is missing"),
        ({"date": "yesterday"}, "'yesterday' is no date"),
        ({"date": "2026-13-01"}, "'2026-13-01' is no date"),
        ({"seeds": [0, 1]}, "2 seeds, at least 3"),
        ({"seeds": [0, 1, 1]}, "2 seeds, at least 3"),
        ({"seconds": {"0": 1.0}}, "seconds must hold every seed and no other"),
        ({"values": {"0": 1, "1": 1, "3": 1}}, "values must hold every seed and no other"),
        ({"command": "python /home/me/05_toy.py"}, "the command must be 'python experiments/05_toy.py'"),
        ({"settings": {"where": "/home/me"}}, "holds an absolute path"),
    ],
)
def test_a_result_that_cannot_be_repeated_is_reported(toy, change, problem):
    toy.stored.write_text(json.dumps(toy.values | change), encoding="utf-8")
    found = result_problems(toy.stored)
    assert any(one == f"05_toy.json: {problem}" for one in found), found


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("def run_seed", "def run", "run_seed(seed, **settings) is missing"),
        ("(seed, *", "(number, *", "run_seed(seed, **settings) is missing"),
        ("QUICK =", "SLOW =", "QUICK must hold seed, settings, key, tolerance"),
        (', "tolerance": 0.01', "", "QUICK must hold seed, settings, key, tolerance"),
        ("0.01", "0.0", "QUICK's tolerance must be above 0"),
        ("0.01", "None", "QUICK['tolerance'] must be of type float"),
        ('"seed": 1', '"seed": 9', "QUICK's seed 9 is not stored"),
        ("a.loss", "c.loss", "no number is stored at QUICK's key 'c.loss'"),
        ("a.loss", "a.curve", "no number is stored at QUICK's key 'a.curve'"),
    ],
)
def test_an_experiment_without_a_quick_check_is_reported(toy, old, new, problem):
    source = EXPERIMENT.replace(old, new).replace("number + 0.5", "seed + 0.5")
    toy.path.write_text(source, encoding="utf-8")
    assert module_problems("05_toy.py", load(toy.path), toy.values) == [f"05_toy.py: {problem}"]


@pytest.mark.parametrize(("new", "now"), [("seed + 0.52", "1.52"), ("float('nan')", "nan")])
def test_a_number_that_has_changed_is_reported(toy, new, now):
    toy.path.write_text(EXPERIMENT.replace("seed + 0.5", new), encoding="utf-8")
    assert rerun_problems("05_toy.py", load(toy.path), toy.values) == [
        f"05_toy.py: a.loss was 1.5, now {now}, tolerance 0.01"
    ]


def test_a_number_within_the_tolerance_passes(toy):
    toy.path.write_text(EXPERIMENT.replace("0.5", "0.505"), encoding="utf-8")
    assert rerun_problems("05_toy.py", load(toy.path), toy.values) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [("a.loss", 3), ("a.curve.1", 2), ("a.curve.9", None), ("a.x", None), ("a.loss.x", None)],
)
def test_numbers_are_found_by_their_path(key, value):
    assert number_at({"a": {"loss": 3, "curve": [1, 2]}}, key) == value


def test_a_notebook_that_reads_what_is_not_stored_is_reported(toy, tmp_path):
    page = sample(tmp_path, ("measured = [", 'x = stored_result("05_toy")\nmeasured = ['))
    assert use_problems(page, toy.results) == []
    page = sample(tmp_path, ("measured = [", 'x = stored_result("05_gone")\nmeasured = ['))
    assert use_problems(page, toy.results) == ["04-sample.ipynb[measure]: no stored result '05_gone'"]
