"""Experiments are stored whole, repeatable, and go on where they were stopped."""

import json
import math
from datetime import date

import numpy as np
import pytest
import torch
from _store import machine, run_and_store, versions


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["x"])
    file = tmp_path / "experiments" / "05_toy.py"
    file.parent.mkdir()
    file.write_text("# an experiment\n", encoding="utf-8")
    return {"file": file, "results": tmp_path / "results", "unfinished": tmp_path / "unfinished"}


def squares(seed, *, scale=1):
    return {"square": {"value": scale * seed * seed}}


def test_everything_needed_to_repeat_it_is_stored(place):
    path = run_and_store(run_seed=squares, seeds=(3, 5, 7), settings={"scale": 2}, **place)
    assert path == place["results"] / "05_toy.json"
    stored = json.loads(path.read_text(encoding="utf-8"))
    assert stored["values"] == {"3": {"square": {"value": 18}}, "5": {"square": {"value": 50}}} | {
        "7": {"square": {"value": 98}}
    }
    assert stored["seeds"] == [3, 5, 7]
    assert stored["settings"] == {"scale": 2}
    assert set(stored["seconds"]) == {"3", "5", "7"}
    assert stored["command"] == "python experiments/05_toy.py"
    assert abs((date.today() - date.fromisoformat(stored["date"])).days) <= 1
    assert stored["machine"] == machine()
    assert stored["versions"] == versions()
    assert set(versions()) >= {"python", "numpy", "torch"}
    assert list(place["unfinished"].iterdir()) == [], "nothing unfinished is left"


def test_a_killed_run_goes_on_with_the_seeds_that_are_missing(place):
    called = []

    def killed_at_second(seed):
        called.append(seed)
        if called == [0, 1]:
            raise KeyboardInterrupt
        return {"value": seed}

    with pytest.raises(KeyboardInterrupt):
        run_and_store(run_seed=killed_at_second, **place)
    assert not place["results"].exists(), "half a result is no result"
    path = run_and_store(run_seed=killed_at_second, **place)
    assert called == [0, 1, 1, 2]
    assert json.loads(path.read_text())["values"] == {"0": {"value": 0}, "1": {"value": 1}, "2": {"value": 2}}


@pytest.mark.parametrize("change", ["experiment", "settings"])
def test_a_changed_experiment_starts_anew(place, change):
    called = []

    def killed_once(seed, **settings):
        called.append(seed)
        if called == [0, 1]:
            raise KeyboardInterrupt
        return {"value": seed}

    with pytest.raises(KeyboardInterrupt):
        run_and_store(run_seed=killed_once, **place)
    settings = None
    if change == "experiment":
        place["file"].write_text("# another\n", encoding="utf-8")
    else:
        settings = {"scale": 3}
    run_and_store(run_seed=killed_once, settings=settings, **place)
    assert called == [0, 1, 0, 1, 2]


def test_running_again_replaces_the_result(place):
    run_and_store(run_seed=squares, **place)
    path = run_and_store(run_seed=squares, settings={"scale": 3}, **place)
    assert json.loads(path.read_text())["values"]["2"] == {"square": {"value": 12}}


@pytest.mark.parametrize("seeds", [(0, 1), (0, 0, 1), ()])
def test_fewer_than_three_seeds_are_refused(place, seeds):
    with pytest.raises(ValueError, match="seeds must be at least three different ones"):
        run_and_store(run_seed=squares, seeds=seeds, **place)


def test_what_is_no_number_is_refused(place):
    with pytest.raises(ValueError, match="not JSON compliant"):
        run_and_store(run_seed=lambda seed: {"value": math.nan}, **place)


def test_numbers_of_numpy_and_torch_are_stored_as_numbers(place):
    path = run_and_store(
        run_seed=lambda seed: {"a": np.float32(0.5), "b": torch.tensor([1, 2]), "c": np.arange(2)}, **place
    )
    assert json.loads(path.read_text())["values"]["0"] == {"a": 0.5, "b": [1, 2], "c": [0, 1]}


def test_what_json_cannot_hold_is_refused(place):
    with pytest.raises(TypeError, match="values must be numbers, texts, lists or dicts, got object"):
        run_and_store(run_seed=lambda seed: {"value": object()}, **place)
