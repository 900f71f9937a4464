"""The check survives what readers hand in, says what differs, names the mistake, and counts points."""

import contextlib
import ctypes
import os
import re
import sys
import time

import numpy as np
import pytest
import torch

from attncourse.exercises import _check as engine
from attncourse.exercises import _run as runner
from attncourse.exercises import check, exercise_ids
from attncourse.exercises._exercise import Exercise, Mistake, Property, ask_parts, normal, part

pytestmark = pytest.mark.exercises
NAME = "multihead.split-heads"


def right(x, n_heads):
    return x.unflatten(-1, (n_heads, -1)).transpose(-2, -3)


@pytest.fixture(params=["in a child", "in this process"])
def way(request, monkeypatch):
    """Run answers in both ways that the engine knows."""
    if request.param == "in this process":
        monkeypatch.setattr(runner, "can_fork", lambda: False)
    elif not runner.can_fork():
        pytest.skip("this system does not fork")
    return request.param


@pytest.fixture
def child():
    """Run answers in a child, which alone survives what these do."""
    if not runner.can_fork():
        pytest.skip("this system does not fork")


def report(answer, capsys, **options):
    result = check(NAME, answer, **options)
    return result, capsys.readouterr().out


def test_a_right_answer_gets_all_points(way, capsys):
    result, text = report(right, capsys)
    assert result.passed
    assert result.points(4) == 4.0
    assert type(result.points(4)) is float
    assert text.startswith(f"✓ {NAME}: right in every check")
    assert repr(result).endswith("checks right")


def test_a_wrong_answer_gets_a_share_and_is_named(way, capsys):
    result, text = report(lambda x, n_heads: x.reshape(*x.shape[:-2], n_heads, x.shape[-2], -1), capsys)
    assert not result.passed
    assert 0 < result.points(4) < 4
    assert type(result.points(4)) is float
    assert result.mistakes == ("view instead of two steps",)
    assert "→ This is a known mistake, “view instead of two steps”" in text
    assert "✓ one head" in text
    assert re.search(
        r"✗ several heads: the output has the right shape, but \d+ of \d+ numbers differ, the first at", text
    )
    assert re.search(r"→ Read on in chapter 7, “.+”\.", text)


def test_an_unknown_mistake_fails_too(way, capsys):
    result, text = report(lambda x, n_heads: right(x, n_heads) + 1e-3, capsys)
    assert result.points(4) == 0.0
    assert result.mistakes == ()
    assert "None of the mistakes that we know" in text


def test_the_reference_is_never_shown(capsys):
    for answer in (lambda x, n: None, lambda x, n: 0, lambda x: x, right):
        _, text = report(answer, capsys)
        assert "unflatten" not in text or answer is right
        assert "split_heads(" not in text


def stub(x, n_heads):
    """Cut x into heads."""
    ...


def old_stub(x, n_heads):
    raise NotImplementedError


@pytest.mark.parametrize("answer", [None, ..., stub, old_stub, {}, "", [], lambda x, n: None])
def test_a_starter_is_not_attempted(answer, capsys):
    result, text = report(answer, capsys)
    assert not result.attempted
    assert not result.passed
    assert result.points(4) == 0.0
    assert text.startswith(f"· {NAME}: not attempted yet")
    assert repr(result) == f"{NAME}: not attempted yet"


class NoForward(torch.nn.Module):
    """A layer whose author forgot what matters."""


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (lambda x, n: x.long().softmax(dim=-1), "not implemented for 'Long'"),
        (lambda x, n: NoForward()(x), 'missing the required "forward" function'),
    ],
    ids=["integers", "no forward"],
)
def test_what_torch_has_not_implemented_is_an_error_of_an_attempt(answer, text, way, capsys):
    with pytest.raises(NotImplementedError, match=text):
        answer(torch.zeros(2, 5, 6), 3)
    result, printed = report(answer, capsys)
    assert result.attempted
    assert "raises NotImplementedError: " in printed
    assert text in printed
    assert "not attempted yet" not in printed
    assert "is not written yet" not in printed


def test_forgetting_the_return_is_an_attempt(way, capsys):
    def forgets(x, n_heads):
        x = x + 1

    result, text = report(forgets, capsys)
    assert result.attempted
    assert "None: is the return missing?" in text


class Untouched:
    """A starter that is a class."""

    def __init__(self):
        super().__init__()

    def forward(self, x):
        """Return x."""
        ...


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (3, "the answer is an integer, not a function"),
        (
            torch.zeros(2),
            "the answer is a torch.Tensor, not a function: hand in the function itself, without",
        ),
        (torch.nn.Linear, "the answer is the class Linear, not a function"),
    ],
)
def test_the_wrong_kind_of_answer_is_told(answer, text, capsys):
    result, printed = report(answer, capsys)
    assert result.attempted
    assert result.points(4) == 0.0
    assert text in printed


def endless(x, n_heads):
    while True:
        pass


def stubborn(x, n_heads):
    while True:
        with contextlib.suppress(BaseException):
            while True:
                pass


@pytest.mark.parametrize("answer", [endless], ids=["loop"])
def test_a_loop_is_stopped(answer, way, capsys):
    start = time.perf_counter()
    result, text = report(answer, capsys)
    assert time.perf_counter() - start < runner.WALL_SECONDS + 2
    assert result.points(4) == 0.0
    assert "takes too long: stopped after 1.5 s" in text
    assert "was not run, because an earlier call did not come back" in text
    assert "None of the mistakes" not in text


@pytest.mark.parametrize("answer", [stubborn, lambda x, n: sum(range(10**12))], ids=["catches all", "in C"])
def test_a_loop_that_cannot_be_interrupted_is_stopped(answer, child, capsys):
    _, text = report(answer, capsys)
    assert "takes too long" in text


def test_a_loop_in_one_case_leaves_the_others_their_points(child, capsys):
    result, _ = report(lambda x, n: endless(x, n) if x.ndim > 3 else right(x, n), capsys)
    assert 0 < result.points(4) < 4


def test_sleep_is_stopped(child, capsys, monkeypatch):
    monkeypatch.setattr(runner, "WALL_SECONDS", 0.3)
    _, text = report(lambda x, n: time.sleep(100), capsys)
    assert "takes too long" in text


@pytest.mark.parametrize(
    "answer", [lambda x, n: os._exit(0), lambda x, n: ctypes.string_at(0)], ids=["exit", "crash"]
)
def test_the_end_of_the_process_is_survived(answer, child, capsys):
    result, text = report(answer, capsys)
    assert result.points(4) == 0.0
    assert "ended its process" in text


def test_exit_is_an_error_like_others(way, capsys):
    _, text = report(lambda x, n: sys.exit(3), capsys)
    assert "raises SystemExit: 3" in text


@pytest.mark.parametrize(
    "answer", [lambda x, n: torch.zeros(5 * 10**9), lambda x, n: [0] * (25 * 10**8)], ids=["tensor", "list"]
)
def test_20_gigabytes_are_refused(answer, child, capsys):
    _, text = report(answer, capsys)
    assert "asks for more memory than 2 GiB" in text


def test_an_output_of_100_megabytes_is_refused(way, capsys):
    _, text = report(lambda x, n: torch.zeros(25 * 2**20), capsys)
    assert "returns an array of 100 MiB, more than any right answer" in text


def test_a_flood_of_text_is_cut(way, capsys):
    def floods(x, n_heads):
        print("word " * 2_000_000)
        return right(x, n_heads)

    result, text = report(floods, capsys)
    assert result.passed
    assert len(text) < 2000
    assert re.search(r"Your code printed \(the first 1000 of [\d,]{10,} characters\):", text)


def test_what_the_answer_prints_is_shown(way, capsys):
    def prints(x, n_heads):
        print("shape", tuple(x.shape))
        print("to stderr", file=sys.stderr)
        return right(x, n_heads)

    _, text = report(prints, capsys)
    assert "  | shape (2, 5, 6)" in text
    assert "  | to stderr" in text


def test_an_error_is_told_with_its_line_and_the_inputs(way, capsys):
    def fails(x, n_heads):
        return x @ x

    _, text = report(fails, capsys)
    assert "raises RuntimeError: " in text
    assert "in the line `return x @ x`" in text
    assert "called with x of shape (2, 5, 6); n_heads 1" in text


@pytest.mark.parametrize("change", [lambda x: x.zero_(), lambda x: x.add_(1), lambda x: x.resize_(1)])
def test_an_input_that_is_changed_is_told(change, way, capsys):
    def changes(x, n_heads):
        result = right(x, n_heads).clone()
        change(x)
        return result

    result, text = report(changes, capsys)
    assert result.points(4) == 0.0
    assert "changes its input x; work on a copy" in text


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (lambda x, n: "text", "the output is a text, not a torch.Tensor"),
        (lambda x, n: (right(x, n), 1), "the output is a list or tuple, not a torch.Tensor"),
        (lambda x, n: object(), "the output is an object, not a torch.Tensor"),
        (lambda x, n: right(x, n).numpy(), "the output is a numpy.ndarray, not a torch.Tensor"),
        (lambda x, n: right(x, n).double(), "the output is of float64, not of float32"),
        (lambda x, n: x, "the output has the shape"),
        (lambda x, n: right(x, n) / 0 * 0, "the output contains NaN"),
        (
            lambda x, n: torch.sparse_coo_tensor(size=(2, 2)),
            "the output is a Tensor with layout torch.sparse_coo",
        ),
    ],
)
def test_a_wrong_type_or_shape_is_told(answer, text, way, capsys):
    result, printed = report(answer, capsys)
    assert result.points(4) == 0.0
    assert text in printed


def test_input_and_forks_do_no_harm(child, capsys):
    _, text = report(lambda x, n: input(), capsys)
    assert "raises EOFError" in text

    def forks(x, n_heads):
        os.fork()
        return right(x, n_heads)

    assert report(forks, capsys)[0].passed


def test_what_an_answer_does_stays_in_the_child(child, capsys):
    box = []
    report(lambda x, n: box.append(1), capsys)
    assert box == []


def test_the_callers_random_numbers_are_left_alone(way, capsys):
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    report(right, capsys)
    assert torch.equal(torch.rand(3), wanted)


def test_another_draw_gives_other_inputs(capsys):
    task = engine.exercise(NAME)
    first, second = (task.properties(np.random.default_rng(draw)) for draw in (0, 1))
    assert not torch.equal(first[0].inputs[0]["x"], second[0].inputs[0]["x"])
    assert report(right, capsys, draw=1)[0].passed


# --- exercises made for these tests -----------------------------------------------------------------


def made(monkeypatch, task):
    monkeypatch.setattr(engine, "exercise", lambda exercise_id, seed=0: task)


def test_parts_are_named_one_by_one(monkeypatch, capsys):
    made(
        monkeypatch,
        Exercise(
            reference={"a": 3, "b": "yes", "c": 0.5},
            properties=lambda rng: ask_parts("a", "b", "c"),
            mistakes=[
                Mistake("one more", "You counted one too many.", {"a": 4}),
                Mistake("no", "It is the other way round.", {"b": "no"}),
            ],
            see=(1, "x"),
            run=part,
        ),
    )
    result = check("x", {"a": 4, "b": "no", "c": 0.5})
    assert result.mistakes == ("one more", "no")
    assert result.points(3) == 1.0
    assert check("x", {"a": 3, "b": "yes", "c": 0.5}).passed
    unwritten = check("x", {"a": 3, "c": ...})
    assert unwritten.points(3) == 1.0
    assert unwritten.mistakes == ()
    assert not check("x", {"a": ..., "b": None}).attempted
    assert check("x", [3]).points(3) == 0.0
    printed = capsys.readouterr().out
    assert "→ Part of this is a known mistake, “one more”: You counted one too many." in printed
    assert 'part "a": it is 4' in printed
    assert 'part "b": is not written yet' in printed
    assert "3" not in re.findall(r'part "a": (.*)', printed)[0]


def test_what_is_ours_runs_once_however_often_a_reader_tries(monkeypatch, capsys):
    runs = []
    reference, mistaken = (lambda x: x + 1), (lambda x: x + 2)
    task = Exercise(
        reference=reference,
        properties=lambda rng: [Property("a row", [{"x": normal(rng, 5)}])],
        mistakes=[Mistake("two", "You added two of them.", mistaken)],
        see=(1, "x"),
        run=lambda answer, inputs: answer(inputs["x"]),
    )
    made(monkeypatch, task)
    ours = engine.run_trusted

    def counted(run, answer, cases, seed):
        runs.append((answer, seed))
        return ours(run, answer, cases, seed)

    monkeypatch.setattr(engine, "run_trusted", counted)
    for _ in range(3):
        assert check("x", lambda x: x + 2).mistakes == ("two",)
        assert check("x", lambda x: x - 2).mistakes == ()
        assert check("x", lambda x: x + 1).passed
    assert runs == [(reference, 0), (mistaken, 0)]
    check("x", lambda x: x + 2, draw=1)
    assert runs[2:] == [(reference, 1), (mistaken, 1)]


def test_an_accepted_answer_with_other_outputs_passes(monkeypatch, capsys):
    made(
        monkeypatch,
        Exercise(
            reference=lambda x: x.sort().values,
            properties=lambda rng: [
                Property("a row", [{"x": normal(rng, 5)}]),
                Property("two", [{"x": normal(rng, 2, 3)}]),
            ],
            mistakes=[Mistake("nothing", "It does nothing at all.", lambda x: x)],
            see=(1, "x"),
            accepted={"falling": lambda x: x.sort(descending=True).values},
        ),
    )
    assert check("x", lambda x: x.sort(descending=True).values).passed
    mixed = check("x", lambda x: x.sort(descending=x.ndim == 1).values)
    assert not mixed.passed
    assert mixed.points(2) == 1.0


def test_a_class_that_is_still_the_starter(monkeypatch, capsys):
    made(
        monkeypatch,
        Exercise(
            reference=torch.nn.Identity,
            properties=lambda rng: [Property("a layer", [{"x": normal(rng, 5)}])],
            mistakes=[],
            see=(1, "x"),
            run=lambda answer, inputs: answer()(inputs["x"]),
        ),
    )
    assert not check("x", Untouched).attempted
    assert check("x", torch.nn.Identity).passed
    result = check("x", torch.nn.Identity())
    assert result.attempted
    assert result.points(1) == 0.0
    assert "not a class: hand in the class, not an object of it" in capsys.readouterr().out


def test_a_remark_is_printed_and_may_fail(monkeypatch, capsys):
    task = Exercise(
        reference=lambda n: n + 1,
        properties=lambda rng: [Property("numbers", [{"n": 3}])],
        mistakes=[],
        see=(1, "x"),
        remark=lambda outputs: f"You measured {outputs['numbers'][0] + 0}.",
    )
    made(monkeypatch, task)
    check("x", lambda n: n + 1)
    assert "You measured 4." in capsys.readouterr().out
    check("x", lambda n: "four")
    assert "You measured" not in capsys.readouterr().out


def test_a_gradient_can_be_asked_for(monkeypatch, way):
    def slope(answer, inputs):
        x = inputs["x"].requires_grad_()
        answer(x).sum().backward()
        return x.grad

    made(
        monkeypatch,
        Exercise(
            reference=lambda x: x**2,
            properties=lambda rng: [Property("the slope", [{"x": normal(rng, 4)}])],
            mistakes=[Mistake("detached", "No gradient reaches x.", lambda x: x.detach() ** 2)],
            see=(1, "x"),
            run=slope,
        ),
    )
    assert check("x", lambda x: x * x).passed
    assert check("x", lambda x: x.detach() * x.detach()).mistakes == ("detached",)


# --- arguments --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "options", "kind", "text"),
    [
        (("multihead.split-head", right), {}, ValueError, "did you mean 'multihead.split-heads'"),
        (("zzz", right), {}, ValueError, "exercise_id must name an exercise of the book, got 'zzz'$"),
        ((right, NAME), {}, TypeError, "exercise_id must be a text"),
        ((NAME, right), {"seed": -1}, ValueError, "seed must be at least 0"),
        ((NAME, right), {"seed": 1.0}, TypeError, "seed must be an integer"),
        ((NAME, right), {"draw": -1}, ValueError, "draw must be at least 0"),
    ],
)
def test_wrong_arguments_are_refused(arguments, options, kind, text):
    with pytest.raises(kind, match=text):
        check(*arguments, **options)


@pytest.mark.parametrize(
    ("maximum", "kind", "text"),
    [
        (0, ValueError, "maximum must be positive and finite, got maximum=0"),
        (float("nan"), ValueError, "maximum must be positive and finite"),
        ("4", TypeError, "maximum must be a number, got maximum of type str"),
        (True, TypeError, "maximum must be a number, got maximum of type bool"),
    ],
)
def test_points_out_of_a_wrong_maximum_are_refused(maximum, kind, text, capsys):
    with pytest.raises(kind, match=text):
        check(NAME, right).points(maximum)


def test_ids_are_sorted_and_known():
    assert NAME in exercise_ids()
    assert list(exercise_ids()) == sorted(exercise_ids())
