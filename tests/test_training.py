"""The training loop: its schedule, its budgets, clipping, divergence, and what it records."""

import math
import time

import pytest
import torch
from torch import nn

from attncourse.training import learning_rate_factor, set_seed, train
from tests.support.tolerances import FLOAT32

FEATURES = torch.tensor([[1.0, 2.0, -1.0], [0.5, -1.0, 3.0], [2.0, 0.0, 1.0], [-1.0, 1.0, 1.0]])
TARGETS = FEATURES @ torch.tensor([[1.0], [-2.0], [0.5]])


def next_batch():
    return FEATURES, TARGETS


def squared_error(model, batch):
    features, targets = batch
    return ((model(features) - targets) ** 2).mean()


def fit(model=None, **settings):
    if model is None:
        set_seed(0)
        model = nn.Linear(3, 1)
    settings = {"steps": 5, "learning_rate": 0.1} | settings
    return model, train(model, next_batch, squared_error, **settings)


def test_the_schedule_by_hand():
    assert learning_rate_factor(0, 0.0, 4) == pytest.approx(1 / 4)
    assert learning_rate_factor(3, 0.0, 4) == pytest.approx(1.0)
    assert learning_rate_factor(99, 0.5, 4) == pytest.approx(0.55)
    assert learning_rate_factor(99, 1.0, 4) == pytest.approx(0.1)
    assert learning_rate_factor(99, 1.7, 4) == pytest.approx(0.1)
    assert learning_rate_factor(0, 0.0, 0) == pytest.approx(1.0)


def test_history_holds_every_step():
    _, history = fit(steps=8, warmup_steps=2)
    assert history.steps == len(history.losses) == len(history.gradient_norms) == 8
    expected = [0.1 * learning_rate_factor(step, step / 8, 2) for step in range(8)]
    assert history.learning_rates == pytest.approx(expected)
    assert history.diverged_at is None
    assert history.evaluations == ()
    assert history.cpu_seconds > 0


@pytest.mark.parity
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_equals_a_plain_loop_around_adamw(weight_decay):
    ours, _ = fit(steps=6, warmup_steps=3, clip_norm=0.5, weight_decay=weight_decay)
    set_seed(0)
    model = nn.Linear(3, 1)
    optimiser = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.98), weight_decay=weight_decay)
    for step in range(6):
        optimiser.param_groups[0]["lr"] = 0.1 * learning_rate_factor(step, step / 6, 3)
        optimiser.zero_grad()
        squared_error(model, next_batch()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimiser.step()
    torch.testing.assert_close(ours.weight, model.weight, **FLOAT32)
    torch.testing.assert_close(ours.bias, model.bias, **FLOAT32)


def test_gradient_norms_are_those_before_clipping():
    set_seed(0)
    model = nn.Linear(3, 1)
    squared_error(model, next_batch()).backward()
    norm = math.hypot(*torch.cat([model.weight.grad[0], model.bias.grad]).tolist())
    for clip_norm in (1e-3, None):
        _, history = fit(steps=1, clip_norm=clip_norm)
        assert history.gradient_norms[0] == pytest.approx(norm, rel=1e-5)


def test_clipping_shortens_what_the_optimiser_sees():
    clipped, _ = fit(steps=1, clip_norm=1e-3)
    free, _ = fit(steps=1, clip_norm=None)
    for model, longest in ((clipped, 1.001e-3), (free, math.inf)):
        norm = torch.cat([model.weight.grad[0], model.bias.grad]).norm().item()
        assert norm <= longest
    assert free.weight.grad.norm() > 1


def test_same_seed_same_run():
    first, one = fit(steps=20)
    second, two = fit(steps=20)
    assert one.losses == two.losses
    torch.testing.assert_close(first.weight, second.weight, rtol=0, atol=0)


@pytest.mark.learning
def test_it_finds_the_line():
    _, history = fit(steps=500)
    assert history.losses[-1] < 1e-3 < history.losses[0]


@pytest.mark.learning
def test_a_frozen_model_learns_nothing_and_stays_as_it_is():
    set_seed(0)
    model = nn.Sequential(nn.Linear(3, 1), nn.Linear(1, 1))
    model[0].requires_grad_(False)
    before = model[0].weight.clone()
    _, history = fit(model, steps=300)
    torch.testing.assert_close(model[0].weight, before, rtol=0, atol=0)
    assert history.losses[-1] > 0.1


def test_evaluations_come_at_their_steps_and_after_the_last():
    seen = []

    def evaluate(model):
        seen.append((model.training, torch.is_grad_enabled()))
        return len(seen)

    model, history = fit(steps=7, evaluate=evaluate, evaluate_every=3)
    assert [(result.step, result.value) for result in history.evaluations] == [(3, 1.0), (6, 2.0), (7, 3.0)]
    assert seen == [(False, False)] * 3
    assert model.training
    assert history.evaluations[-1].cpu_seconds == history.cpu_seconds
    _, history = fit(steps=6, evaluate=evaluate, evaluate_every=3)
    assert [result.step for result in history.evaluations] == [3, 6]
    _, history = fit(steps=6, evaluate=evaluate)
    assert [result.step for result in history.evaluations] == [6]


def test_a_budget_of_cpu_seconds_excludes_the_evaluations():
    def slow(model):
        started = time.process_time()
        while time.process_time() - started < 0.05:
            pass
        return 0.0

    started = time.process_time()
    _, history = fit(steps=None, cpu_seconds=0.05, evaluate=slow, evaluate_every=20)
    total = time.process_time() - started
    assert len(history.evaluations) >= 1
    assert history.cpu_seconds >= 0.05
    assert total >= history.cpu_seconds + 0.05 * len(history.evaluations)


@pytest.mark.parametrize("broken", ["loss", "gradient"])
def test_divergence_is_recorded_and_changes_no_weight(broken):
    set_seed(0)
    model = nn.Linear(3, 1)
    calls = []

    def loss_fn(model, batch):
        calls.append(model.weight.detach().clone())
        loss = squared_error(model, batch)
        if len(calls) < 4:
            return loss
        # The root of zero has an infinite slope: a finite loss with a gradient that is not.
        return loss * math.inf if broken == "loss" else loss + (0 * model.weight).abs().sum().sqrt()

    history = train(model, next_batch, loss_fn, steps=10, learning_rate=0.1, evaluate=lambda model: 5.0)
    assert history.diverged_at == 3
    assert history.steps == len(history.losses) == len(history.gradient_norms) == 3
    assert [result.step for result in history.evaluations] == [3]
    torch.testing.assert_close(model.weight.detach(), calls[-1], rtol=0, atol=0)


def test_the_progress_bar_goes_to_stderr_only_when_asked_for(capsys):
    fit(steps=3)
    assert capsys.readouterr() == ("", "")
    fit(steps=3, progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "100%" in shown.err


def test_set_seed_fixes_the_weights():
    set_seed(7)
    first = nn.Linear(3, 5).weight
    set_seed(7)
    torch.testing.assert_close(nn.Linear(3, 5).weight, first, rtol=0, atol=0)
    with pytest.raises(ValueError, match=r"^seed must be at least 0, got seed=-1$"):
        set_seed(-1)
    with pytest.raises(TypeError, match=r"^seed must be an integer, got seed=1.5$"):
        set_seed(1.5)


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (
            {"steps": None},
            ValueError,
            "steps or cpu_seconds must be given, and not both, got steps=None, cpu_seconds=None",
        ),
        (
            {"cpu_seconds": 1.0},
            ValueError,
            "steps or cpu_seconds must be given, and not both, got steps=5, cpu_seconds=1.0",
        ),
        ({"steps": 0}, ValueError, "steps must be at least 1, got steps=0"),
        ({"steps": None, "cpu_seconds": 0.0}, ValueError, "cpu_seconds must be above 0, got cpu_seconds=0.0"),
        ({"learning_rate": 0.0}, ValueError, "learning_rate must be above 0, got learning_rate=0.0"),
        ({"warmup_steps": -1}, ValueError, "warmup_steps must be at least 0, got warmup_steps=-1"),
        ({"clip_norm": 0.0}, ValueError, "clip_norm must be above 0, got clip_norm=0.0"),
        ({"weight_decay": "0"}, TypeError, "weight_decay must be a number, got weight_decay='0'"),
        (
            {"evaluate_every": 2},
            ValueError,
            "evaluate must be given with evaluate_every, got evaluate_every=2",
        ),
    ],
)
def test_bad_settings_are_refused(change, error, text):
    with pytest.raises(error, match=f"^{text}$"):
        fit(**change)


def test_a_schedule_replaces_warm_up_and_cosine():
    seen = []

    def schedule(step, progress):
        seen.append((step, progress))
        return [0.0, 0.5, 2.0, 1.0][step]

    model, history = fit(steps=4, schedule=schedule)
    assert history.learning_rates == pytest.approx([0.0, 0.05, 0.2, 0.1])
    assert seen == [(0, 0.0), (1, 0.25), (2, 0.5), (3, 0.75)]

    set_seed(0)
    expected = nn.Linear(3, 1)
    optimiser = torch.optim.AdamW(expected.parameters(), betas=(0.9, 0.98), weight_decay=0.0)
    for rate in history.learning_rates:
        optimiser.param_groups[0]["lr"] = rate
        optimiser.zero_grad()
        squared_error(expected, next_batch()).backward()
        nn.utils.clip_grad_norm_(expected.parameters(), 1.0)
        optimiser.step()
    torch.testing.assert_close(model.weight, expected.weight, **FLOAT32)


def test_a_schedule_sees_the_share_of_the_cpu_seconds():
    shares = []

    def schedule(step, progress):
        shares.append(progress)
        return 1.0

    _, history = fit(steps=None, cpu_seconds=0.02, schedule=schedule)
    assert len(shares) == history.steps
    assert shares[0] == 0
    assert shares == sorted(shares)
    assert shares[-1] < 1


def test_without_a_schedule_nothing_has_changed():
    plain, one = fit(steps=60)
    spelt_out, two = fit(steps=60, warmup_steps=50)
    by_hand, three = fit(
        steps=60, schedule=lambda step, progress: learning_rate_factor(step, progress, warmup_steps=50)
    )
    for other, history in ((spelt_out, two), (by_hand, three)):
        assert history.learning_rates == one.learning_rates
        assert history.losses == one.losses
        torch.testing.assert_close(other.weight, plain.weight, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("factor", "error", "text"),
    [
        (-0.5, ValueError, r"schedule\(2, 0.4\) must be at least 0, got schedule\(2, 0.4\)=-0.5"),
        (math.nan, ValueError, r"schedule\(2, 0.4\) must be at least 0, got schedule\(2, 0.4\)=nan"),
        (math.inf, ValueError, r"schedule\(2, 0.4\) must be below inf, got schedule\(2, 0.4\)=inf"),
        (None, TypeError, r"schedule\(2, 0.4\) must be a number, got schedule\(2, 0.4\)=None"),
    ],
)
def test_a_bad_factor_stops_training_before_it_can_spoil_the_weights(factor, error, text):
    set_seed(0)
    model = nn.Linear(3, 1)
    with pytest.raises(error, match=f"^{text}$"):
        fit(model, schedule=lambda step, progress: 0.5 if step < 2 else factor)
    assert all(parameter.isfinite().all() for parameter in model.parameters())


def test_warm_up_is_not_silently_ignored():
    with pytest.raises(
        ValueError, match=r"^warmup_steps must be left out with a schedule, got warmup_steps=50$"
    ):
        fit(schedule=lambda step, progress: 1.0, warmup_steps=50)
