"""What goes into the sandbox with an answer: how it is called, what that needs, and nothing that answers."""

import contextlib
import functools
import importlib.abc
import pickle
import sys
import types

import numpy as np
import pytest
import torch

from attncourse.classroom.carrying import COMMON, PACKAGE, cut, kind_of, pack
from attncourse.classroom.inside import carried
from attncourse.exercises import exercise_ids
from attncourse.exercises._catalogue import load
from attncourse.exercises._check import questions
from attncourse.exercises._exercise import Exercise, Family, Property
from attncourse.exercises._run import run_trusted
from attncourse.exercises._wire import encode

pytestmark = pytest.mark.exercises
IDS = exercise_ids()
# What `attncourse.exercises._check` makes a line of the report of.
CAUGHT = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
ALIKE = (bool, int, float, type(None))  # numbers and letters of two lists may be equal by chance
# Here a truth value is what the reader's function is asked for, and not what we think of it.
TRUE_OR_FALSE = {
    "order.masks-and-orders": "the parts say whether an order fits a mask",
    "transformer.word-order": 'the part "source_order" says whether any logit moves',
}


@functools.cache
def asked_of(exercise_id):
    """Return the questions of every version of an exercise."""
    entry = load(exercise_id)
    n_versions = len(entry.versions) if isinstance(entry, Family) else 1
    return [questions(exercise_id, seed, draw=0) for seed in range(n_versions)]


def is_checker(module):
    return module.startswith(PACKAGE + ".") and module.removeprefix(PACKAGE + ".") not in COMMON


class NoCheckers(importlib.abc.MetaPathFinder):
    """Refuse to import what does not exist in the sandbox."""

    def find_spec(self, name, path, target=None):
        """Find nothing of a checker."""
        if is_checker(name):
            raise ImportError(f"{name} is not carried into the sandbox")


@contextlib.contextmanager
def no_checkers():
    """Hide all checkers, so that what is carried has to do without them."""
    held = {name: module for name, module in sys.modules.items() if is_checker(name)}
    finder = NoCheckers()
    for name in held:
        del sys.modules[name]
    sys.meta_path.insert(0, finder)
    try:
        yield held
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if is_checker(name)]:
            del sys.modules[name]
        sys.modules.update(held)


def parts_of(value):
    """Yield a value and what it holds."""
    yield value
    if isinstance(value, functools.partial):
        yield from parts_of(value.func)
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    for one in inner:
        yield from parts_of(one)


def answers_of(task):
    """Return everything that must stay behind: reference, other right answers, mistakes, their parts."""
    known = [task.reference, *task.accepted.values(), *task.variants.values()]
    known += [mistake.answer for mistake in task.mistakes]
    return [
        part
        for part in parts_of(known)
        if part is not known and not isinstance(part, ALIKE) and not (isinstance(part, str) and len(part) < 2)
    ]


def makers_of(answers):
    """Return module and name of the functions in which answers are defined."""
    return {
        (one.__module__, one.__qualname__.partition(".")[0])
        for one in answers
        if "<locals>" in getattr(one, "__qualname__", "")
    }


def truths_of(value):
    """Yield the truth values in an output."""
    for one in parts_of(value):
        is_array = isinstance(one, torch.Tensor | np.ndarray)
        if isinstance(one, bool) or (is_array and one.ndim == 0 and "bool" in str(one.dtype)):
            yield one


@pytest.mark.parametrize("exercise_id", IDS)
def test_what_is_carried_calls_an_answer_as_the_checker_does_and_holds_none(exercise_id):
    for asked in asked_of(exercise_id):
        task = asked.task
        sources, pickled = pack(task, asked.cases)
        with no_checkers() as held:
            run, cases = carried(sources, pickled)
            names = {(module, name) for module in sources for name in vars(sys.modules[module])}
            there = run_trusted(run, task.reference, cases, asked.draw).outcomes
        here = run_trusted(task.run, task.reference, asked.cases, asked.draw).outcomes
        assert [outcome.kind for outcome in there] == ["output"] * len(cases)
        assert [encode(one.output) for one in there] == [encode(one.output) for one in here]
        answers = answers_of(task)
        kept_back = {id(one) for one in answers}
        for module, name in names:
            value = getattr(held[module], name, None)
            if name.startswith("__"):
                continue
            for one in parts_of(value):
                assert id(one) not in kept_back, f"{name} of {module} is, or holds, an answer"
                if isinstance(one, str | tuple):
                    equal = [other for other in answers if type(other) is type(one) and other == one]
                    assert not equal, f"{name} of {module} equals an answer"
        assert not names & makers_of(answers), "a function in which answers are defined"


@pytest.mark.parametrize("exercise_id", IDS)
def test_no_run_judges(exercise_id):
    """Whether something is so is for `reading` to say; only answers themselves, and predictions, are true."""
    for asked in asked_of(exercise_id):
        for case, outcome in zip(
            asked.cases,
            run_trusted(asked.task.run, asked.task.reference, asked.cases, asked.draw).outcomes,
            strict=True,
        ):
            if not str(case.get("part")).startswith("prediction") and exercise_id not in TRUE_OR_FALSE:
                assert list(truths_of(outcome.output)) == [], f"{case.get('part')} gives a judgement"


@pytest.mark.parametrize("exercise_id", [i for i in IDS if asked_of(i)[0].task.reading is not None])
def test_readings_never_raise_other_errors_and_leave_random_numbers_alone(exercise_id):
    asked = asked_of(exercise_id)[0]
    task = asked.task
    outcomes = run_trusted(task.run, task.reference, asked.cases, asked.draw).outcomes
    odd = [None, True, -1, 10**400, float("nan"), "", "abc", (), ("a", 1.0), {}, {"a": 1}, np.zeros(2)]
    odd += [torch.zeros(()), torch.zeros(0), torch.full((3, 3), torch.nan), torch.zeros(2, 2**20), object()]
    before = torch.random.get_rng_state()
    for case, outcome in zip(asked.cases, outcomes, strict=True):
        got = outcome.output
        changed = [got | {key: one} for key in got for one in odd] if isinstance(got, dict) else []
        task.reading(got, case)
        for one in [*odd, *changed]:
            with contextlib.suppress(*CAUGHT):
                task.reading(one, case)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_every_reason_for_a_truth_value_is_needed():
    assert set(TRUE_OR_FALSE) <= set(IDS)
    for exercise_id in TRUE_OR_FALSE:
        (asked,) = asked_of(exercise_id)
        outcomes = run_trusted(asked.task.run, asked.task.reference, asked.cases, asked.draw).outcomes
        assert any(
            list(truths_of(outcome.output))
            for case, outcome in zip(asked.cases, outcomes, strict=True)
            if not str(case.get("part")).startswith("prediction")
        )


SOURCE = '''
"""A module."""

import math
import os.path as place
from collections import Counter, deque
from functools import cache
from torch import nn as layers

SIZE, NAME = 3, "a"
RATE: float = SIZE / 2
TABLE = {"a": 1}
TABLE["b"] = RATE
TOTAL = 1
TOTAL += SIZE
UNUSED = Counter()


def _inner(x):
    """Add one."""  # and say nothing
    return x + SIZE


@cache
def outer(x):
    return _inner(math.sqrt(x))


class Layer(layers.Module):
    names = deque()

    def forward(self, x):
        return outer(x) * TABLE["b"]


def early():
    return late()


def late():
    return early


def reference(x):
    return outer(x)
'''


def defined(part):
    """Run a part of a module and return the names that it defines."""
    module = types.ModuleType("a_part")
    exec(compile(part, "a part", "exec"), module.__dict__)
    return {name: value for name, value in vars(module).items() if not name.startswith("__")}


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["NAME"], {"SIZE", "NAME"}),  # bound together
        (["SIZE"], {"SIZE", "NAME"}),
        (["RATE"], {"RATE", "SIZE", "NAME"}),  # with a note of its type
        (["TABLE"], {"TABLE", "RATE", "SIZE", "NAME"}),  # changed by a later statement, which needs more
        (["TOTAL"], {"TOTAL", "SIZE", "NAME"}),
        (["_inner"], {"_inner", "SIZE", "NAME"}),
        (["outer"], {"outer", "_inner", "SIZE", "NAME", "math", "cache"}),  # and its decorator
        (
            ["Layer"],
            {"Layer", "layers", "deque", "outer", "_inner", "TABLE", "RATE"}
            | {"SIZE", "NAME", "math", "cache"},
        ),
        (["early"], {"early", "late"}),  # each uses the other
        (["place"], {"place"}),
        (["NAME", "UNUSED"], {"SIZE", "NAME", "UNUSED", "Counter"}),
    ],
)
def test_a_cut_holds_what_is_used_and_nothing_else(names, wanted):
    part, _ = cut(SOURCE, names)
    assert set(defined(part)) == wanted
    assert "and say nothing" not in part


def test_a_cut_works_as_the_whole():
    assert defined(cut(SOURCE, ["TABLE"])[0])["TABLE"] == {"a": 1, "b": 1.5}
    assert defined(cut(SOURCE, ["TOTAL"])[0])["TOTAL"] == 4
    assert defined(cut(SOURCE, ["outer"])[0])["outer"](4) == 5
    assert defined(cut(SOURCE, ["Layer"])[0])["Layer"]()(16.0) == 10.5


def test_a_cut_trims_imports_and_says_what_it_takes():
    part, taken = cut(SOURCE, ["Layer"])
    assert "from collections import deque\n" in part
    assert "Counter" not in part
    assert taken == [("collections", "deque"), ("functools", "cache"), ("torch", "nn")]
    assert cut("import a.b, c.d as e\nX = a.b.x", ["X"]) == ("import a.b\n\nX = a.b.x\n", [])
    assert cut("from a import b as c, d\n", ["c"]) == ("from a import b as c\n", [("a", "b")])


def test_a_cut_follows_lists_stars_and_places_in_containers():
    source = "A, *B = C = [1, 2]\n[D, E] = A, 4\nF = [D]\nF[E - 4] = C\nG = object()\nG.x = D\n"
    assert set(defined(cut(source, ["B"])[0])) == {"A", "B", "C"}
    assert defined(cut(source, ["F"])[0])["F"] == [[1, 2]]
    assert "F" not in defined(cut(source, ["E"])[0])
    assert "G.x = D" in cut(source, ["G"])[0]


def test_a_cut_wants_names_of_the_top_level():
    with pytest.raises(
        ValueError, match=r"names must be defined at the top level of the module, got \['a', 'x'\]"
    ):
        cut("def f(x):\n    a = x\n", ["x", "f", "a"])


def _run_of_ours(answer, inputs):
    return answer(**inputs)


def exercise_with(run):
    return Exercise(lambda x: x, lambda rng: [Property("p", [{"x": 1}])], [], (1, "A"), run=run)


def test_only_checkers_are_cut_up():
    sources, pickled = pack(exercise_with(_run_of_ours), [{"x": 1}])
    assert sources == {}
    assert pickle.loads(pickled) == (_run_of_ours, [{"x": 1}])


def test_a_module_of_another_checker_is_refused(monkeypatch, tmp_path):
    path = tmp_path / "one.py"
    path.write_text("from attncourse.exercises.costs import other\n\ndef run(a, b):\n    return other.f(a)\n")
    one = types.ModuleType(PACKAGE + ".costs.one")
    one.__file__ = str(path)
    monkeypatch.setitem(sys.modules, PACKAGE + ".costs.one", one)
    monkeypatch.setitem(sys.modules, PACKAGE + ".costs.other", types.ModuleType(PACKAGE + ".costs.other"))

    def run(answer, inputs):
        return answer

    run.__module__, run.__qualname__, one.run = one.__name__, "run", run
    with pytest.raises(
        ValueError,
        match=r"a checker's run must import names, not modules of other checkers, "
        r"got other of attncourse\.exercises\.costs$",
    ):
        pack(exercise_with(run), [])


def test_the_kinds_of_answers():
    assert [kind_of(one) for one in (Exercise, {"a": 1}, len)] == ["class", "dict", "function"]
