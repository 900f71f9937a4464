"""How benchmarks measure: in turns, with ratios within a round; and what they store. Nothing is timed."""

import json
import re
import sys
import time

import pytest
import torch

from tests.support.book import ROOT

FOLDER = ROOT / "benchmarks"


@pytest.fixture
def measuring(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import measuring

    yield measuring
    sys.modules.pop("measuring")


class Clock:
    """A clock that only moves when somebody works."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def work(self, log, name, seconds):
        def call():
            log.append(name)
            self.now += seconds

        return call


def test_contenders_take_turns_in_changing_order_and_the_first_round_does_not_count(measuring):
    clock, log = Clock(), []
    contenders = {name: clock.work(log, name, seconds) for name, seconds in (("a", 1), ("b", 2), ("c", 3))}
    seconds = measuring.in_turns(contenders, 6, clock)
    assert {name: len(values) for name, values in seconds.items()} == {"a": 6, "b": 6, "c": 6}
    assert seconds["b"] == [2.0] * 6
    rounds = ["".join(log[start : start + 3]) for start in range(0, len(log), 3)]
    assert len(rounds) == 7
    assert all(sorted(one) == ["a", "b", "c"] for one in rounds)
    assert len(set(rounds)) > 2


def test_quick_calls_are_repeated_within_a_turn(measuring):
    clock, log = Clock(), []
    seconds = measuring.in_turns(
        {"quick": clock.work(log, "quick", 0.01), "slow": clock.work(log, "slow", 5)}, 2, clock, at_least=0.1
    )
    assert log.count("quick") == 1 + 2 * 10
    assert log.count("slow") == 1 + 2
    assert seconds["quick"] == pytest.approx([0.01, 0.01])


def test_one_disturbed_round_changes_no_ratio(measuring):
    seconds = {"a": [2.0, 2.0, 9.0, 2.2, 1.8], "b": [1.0, 1.0, 1.0, 1.1, 0.9]}
    assert measuring.ratio(seconds, "a", "b") == 2.0
    found = measuring.summary(seconds, "b")
    assert found["a"] == {"seconds": 2.0, "ratio": 2.0}
    assert found["b"] == {"seconds": 1.0, "ratio": 1.0}


def test_threads_are_set_and_set_back_and_choose_the_clock(measuring):
    before = torch.get_num_threads()
    with measuring.threads(1) as clock:
        assert torch.get_num_threads() == 1
        assert clock is time.process_time

    def fail():
        with measuring.threads(2) as clock:
            assert torch.get_num_threads() == 2
            assert clock is time.perf_counter
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert torch.get_num_threads() == before


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_extra_memory_is_counted_in_a_fresh_process(measuring, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys\nsys.path.insert(0, {str(FOLDER)!r})\nfrom measuring import extra_bytes\n"
        "print(extra_bytes(lambda: bytearray(50_000_000)))\n",
        encoding="utf-8",
    )
    assert 49e6 < measuring.in_fresh_process(str(script)) < 60e6


def test_a_result_is_stored_with_what_is_needed_to_repeat_it(measuring, tmp_path, monkeypatch):
    monkeypatch.setattr(measuring, "RESULTS", tmp_path)
    stored = json.loads(measuring.store("layers", {"rows": [1]}, 12.4).read_text(encoding="utf-8"))
    assert stored["command"] == "python benchmarks/layers.py"
    assert stored["values"] == {"rows": [1]}
    assert stored["seconds"] == 12
    assert {"cpu", "cores", "system"} <= set(stored["machine"])
    assert {"python", "torch"} <= set(stored["versions"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", stored["date"])


def test_every_stored_result_has_its_script():
    for path in (FOLDER / "results").glob("*.json"):
        stored = json.loads(path.read_text(encoding="utf-8"))
        assert stored["command"] == f"python benchmarks/{path.stem}.py"
        assert (FOLDER / f"{path.stem}.py").is_file()
        assert stored["values"]


def test_make_bench_runs_every_script_that_stores():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    run = re.search(r"for name in ([\w ]+); do \$\(PY\) benchmarks/", makefile)[1].split()
    texts = {path.stem: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.py")}
    storing = {name for name, text in texts.items() if re.search(r"from measuring import .*\bstore\b", text)}
    assert set(run) == storing
