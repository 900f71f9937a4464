"""Smoothed labels against torch, the paper's rate at steps worked out by hand, gradient norms by layer."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from attncourse.seq2seq import sequence_loss
from attncourse.tasks.pairs import PADDING
from attncourse.training import set_seed, train
from attncourse.transformer_training import (
    inverse_sqrt_rate,
    inverse_sqrt_schedule,
    label_smoothed_loss,
    layer_gradient_norms,
)
from tests.support.tolerances import BFLOAT16, FLOAT32, FLOAT64


def logits_and_target(batch=3, n_target=5, vocab_size=7, *, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(batch, n_target, vocab_size, generator=generator, dtype=dtype)
    target = torch.randint(1, vocab_size, (batch, n_target), generator=generator)
    for row in range(batch):
        target[row, n_target - row :] = PADDING
    return logits, target


class TestLabelSmoothedLoss:
    def test_hand_values(self):
        # Probabilities 1/2, 1/4, 1/4; ε = 0.3: the right token (number 1) costs ln 4, the mean is (5/3) ln 2.
        logits = torch.tensor([[[0.5, 0.25, 0.25]]], dtype=torch.float64).log() + 5.0
        loss = label_smoothed_loss(logits, torch.tensor([[1]]), smoothing=0.3)
        assert loss.item() == pytest.approx(0.7 * math.log(4) + 0.3 * 5 / 3 * math.log(2))

    @pytest.mark.parity
    @pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5, 0.99])
    def test_equals_torch_in_value_and_gradient(self, smoothing):
        logits, target = logits_and_target()
        ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
        loss = label_smoothed_loss(ours, target, smoothing=smoothing)
        expected = F.cross_entropy(
            theirs.flatten(0, 1), target.flatten(), label_smoothing=smoothing, ignore_index=PADDING
        )
        torch.testing.assert_close(loss, expected, **FLOAT64)
        loss.backward()
        expected.backward()
        torch.testing.assert_close(ours.grad, theirs.grad, **FLOAT64)

    @pytest.mark.parity
    @given(
        batch=st.integers(1, 4),
        n_target=st.integers(4, 6),
        vocab_size=st.integers(2, 11),
        smoothing=st.floats(0, 0.99),
        seed=st.integers(0, 2**16),
    )
    def test_equals_torch_for_all_sizes(self, batch, n_target, vocab_size, smoothing, seed):
        logits, target = logits_and_target(batch, n_target, vocab_size, seed=seed, dtype=torch.float32)
        expected = F.cross_entropy(
            logits.flatten(0, 1), target.flatten(), label_smoothing=smoothing, ignore_index=PADDING
        )
        torch.testing.assert_close(
            label_smoothed_loss(logits, target, smoothing=smoothing), expected, **FLOAT32
        )

    def test_without_smoothing_it_is_the_plain_loss(self):
        logits, target = logits_and_target()
        torch.testing.assert_close(
            label_smoothed_loss(logits, target, smoothing=0.0), sequence_loss(logits, target), rtol=0, atol=0
        )

    def test_a_tenth_is_the_default(self):
        logits, target = logits_and_target()
        assert label_smoothed_loss(logits, target) == label_smoothed_loss(logits, target, smoothing=0.1)

    @pytest.mark.properties
    @given(garbage=st.floats(-1e3, 1e3), n_more=st.integers(0, 4))
    def test_padding_changes_nothing(self, garbage, n_more):
        logits, target = logits_and_target()
        loss = label_smoothed_loss(logits, target)
        wider = F.pad(logits, (0, 0, 0, n_more), value=garbage)
        wider[:, :5][target == PADDING] = garbage * torch.arange(7.0, dtype=torch.float64)
        more = F.pad(target, (0, n_more), value=PADDING)
        torch.testing.assert_close(label_smoothed_loss(wider, more), loss, **FLOAT64)

    def test_the_least_loss_is_the_entropy_of_the_smoothed_target(self):
        vocab_size, smoothing = 7, 0.2
        target = torch.tensor([[3, 5]])
        smoothed = F.one_hot(target, vocab_size) * (1 - smoothing) + smoothing / vocab_size
        logits = smoothed.double().log().requires_grad_()
        loss = label_smoothed_loss(logits, target, smoothing=smoothing)
        entropy = -(smoothed[0, 0].double() * smoothed[0, 0].double().log()).sum()
        # one_hot * float is float32: the entropy is right to seven digits.
        torch.testing.assert_close(loss.detach(), entropy, **FLOAT32)
        loss.backward()
        torch.testing.assert_close(logits.grad, torch.zeros_like(logits), **FLOAT32)

    @pytest.mark.gradients
    def test_gradcheck(self):
        logits, target = logits_and_target(2, 3, 5)
        torch.autograd.gradcheck(label_smoothed_loss, (logits.requires_grad_(), target))

    @pytest.mark.gradients
    def test_bfloat16_is_finite_and_near(self):
        logits, target = logits_and_target(dtype=torch.float32)
        low = logits.bfloat16().requires_grad_()
        loss = label_smoothed_loss(low, target)
        loss.backward()
        assert loss.dtype == torch.bfloat16
        assert low.grad.isfinite().all()
        torch.testing.assert_close(loss.detach().float(), label_smoothed_loss(logits, target), **BFLOAT16)

    def test_arguments_are_not_written(self):
        logits, target = logits_and_target()
        copies = logits.clone(), target.clone()
        label_smoothed_loss(logits, target)
        torch.testing.assert_close((logits, target), copies, rtol=0, atol=0)

    def test_bad_arguments_are_refused(self):
        logits, target = logits_and_target()
        with pytest.raises(ValueError, match=r"^smoothing must be below 1, got smoothing=1\.0$"):
            label_smoothed_loss(logits, target, smoothing=1.0)
        with pytest.raises(ValueError, match=r"^smoothing must be at least 0, got smoothing=-0\.1$"):
            label_smoothed_loss(logits, target, smoothing=-0.1)
        with pytest.raises(TypeError, match=r"^smoothing must be a number, got smoothing='0\.1'$"):
            label_smoothed_loss(logits, target, smoothing="0.1")
        with pytest.raises(TypeError, match=r"^target must be of dtype int64, got target.dtype=int32$"):
            label_smoothed_loss(logits, target.int())
        with pytest.raises(
            ValueError,
            match=r"^logits and target must have the same batch and target axes, "
            r"got logits.shape=\(3, 5, 7\), target.shape=\(3, 4\)$",
        ):
            label_smoothed_loss(logits, target[:, :4])
        with pytest.raises(ValueError, match=r"^target must hold a token that is not padding, got target="):
            label_smoothed_loss(logits, torch.full_like(target, PADDING))


class TestInverseSqrtRate:
    @pytest.mark.parametrize(
        ("step", "d_model", "warmup_steps", "rate"),
        [
            # Worked by hand: d_model^(-1/2) · min(step^(-1/2), step · warmup^(-3/2)).
            (1, 64, 100, 0.125 * 0.001),
            (50, 64, 100, 0.125 * 0.05),
            (100, 64, 100, 0.125 * 0.1),
            (400, 64, 100, 0.125 * 0.05),
            (10_000, 64, 100, 0.125 * 0.01),
            (1, 16, 4, 0.25 * 0.125),
            (3, 16, 4, 0.25 * 0.375),
            (16, 16, 4, 0.25 * 0.25),
            (1, 256, 1, 0.0625),
            # The paper's base model: the peak at step 4000 is (512 · 4000)^(-1/2), about 7e-4.
            (4000, 512, 4000, 6.987712429686844e-4),
        ],
    )
    def test_hand_computed_steps(self, step, d_model, warmup_steps, rate):
        assert inverse_sqrt_rate(step, d_model=d_model, warmup_steps=warmup_steps) == pytest.approx(rate)

    @pytest.mark.properties
    @given(d_model=st.integers(1, 1024), warmup_steps=st.integers(1, 5000))
    def test_it_rises_to_its_peak_at_the_last_step_of_warm_up_and_falls_after_it(self, d_model, warmup_steps):
        def rate(step):
            return inverse_sqrt_rate(step, d_model=d_model, warmup_steps=warmup_steps)

        peak = rate(warmup_steps)
        assert peak == pytest.approx((d_model * warmup_steps) ** -0.5)
        assert rate(warmup_steps + 1) < peak
        assert rate(2 * warmup_steps) > rate(2 * warmup_steps + 1)
        if warmup_steps > 1:
            assert rate(warmup_steps - 1) < peak
            assert rate(warmup_steps - 1) == pytest.approx(peak * (warmup_steps - 1) / warmup_steps)

    def test_bad_arguments_are_refused(self):
        good = {"step": 1, "d_model": 64, "warmup_steps": 100}
        for name in good:
            with pytest.raises(ValueError, match=rf"^{name} must be at least 1, got {name}=0$"):
                inverse_sqrt_rate(**good | {name: 0})
            with pytest.raises(TypeError, match=rf"^{name} must be an integer, got {name}=1\.5$"):
                inverse_sqrt_rate(**good | {name: 1.5})


class TestInverseSqrtSchedule:
    @pytest.mark.properties
    @given(step=st.integers(0, 20_000), d_model=st.integers(1, 1024), warmup_steps=st.integers(1, 5000))
    def test_times_the_peak_it_is_the_papers_rate(self, step, d_model, warmup_steps):
        peak = inverse_sqrt_rate(warmup_steps, d_model=d_model, warmup_steps=warmup_steps)
        rate = inverse_sqrt_rate(step + 1, d_model=d_model, warmup_steps=warmup_steps)
        for progress in (0.0, 0.7):
            assert peak * inverse_sqrt_schedule(warmup_steps)(step, progress) == pytest.approx(rate)

    def test_train_follows_the_papers_rate(self):
        set_seed(0)
        model = nn.Linear(3, 1)
        inputs = torch.randn(5, 3)
        history = train(
            model,
            lambda: inputs,
            lambda model, batch: model(batch).square().mean(),
            steps=9,
            learning_rate=inverse_sqrt_rate(4, d_model=16, warmup_steps=4),
            schedule=inverse_sqrt_schedule(4),
        )
        expected = [inverse_sqrt_rate(step, d_model=16, warmup_steps=4) for step in range(1, 10)]
        assert history.learning_rates == pytest.approx(expected)

    def test_bad_arguments_are_refused(self):
        with pytest.raises(ValueError, match=r"^warmup_steps must be at least 1, got warmup_steps=0$"):
            inverse_sqrt_schedule(0)
        with pytest.raises(TypeError, match=r"^warmup_steps must be an integer, got warmup_steps=4\.0$"):
            inverse_sqrt_schedule(4.0)


class TestLayerGradientNorms:
    def test_hand_values(self):
        layers = [nn.Linear(2, 1), nn.Linear(1, 1)]
        for layer, weight, bias in zip(layers, ([[3.0, 0.0]], [[5.0]]), ([4.0], [12.0]), strict=True):
            layer.weight.grad, layer.bias.grad = torch.tensor(weight), torch.tensor(bias)
        assert layer_gradient_norms(layers) == (5.0, 13.0)

    @pytest.mark.parity
    def test_equals_what_clipping_measures_layer_by_layer(self):
        set_seed(0)
        layers = nn.ModuleList(nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 5)) for _ in range(3))
        x = torch.randn(4, 5)
        for layer in layers:
            x = x + layer(x)
        x.square().sum().backward()
        before = [parameter.grad.clone() for parameter in layers.parameters()]
        norms = layer_gradient_norms(layers)
        assert layer_gradient_norms(iter(layers)) == norms
        expected = [nn.utils.clip_grad_norm_(layer.parameters(), math.inf).item() for layer in layers]
        assert norms == pytest.approx(expected, rel=1e-5)
        assert len(set(norms)) == 3
        total = nn.utils.clip_grad_norm_(layers.parameters(), math.inf).item()
        assert math.hypot(*norms) == pytest.approx(total, rel=1e-5)
        after = [parameter.grad for parameter in layers.parameters()]
        torch.testing.assert_close(after, before, rtol=0, atol=0)

    def test_frozen_parameters_do_not_count(self):
        layer = nn.Linear(2, 1)
        layer.bias.requires_grad_(False)
        layer(torch.tensor([[3.0, 4.0]])).sum().backward()
        assert layer_gradient_norms([layer]) == (5.0,)

    def test_bad_arguments_are_refused(self):
        layer = nn.Linear(2, 1)
        layer(torch.ones(1, 2)).sum().backward()
        with pytest.raises(
            ValueError,
            match=r"^layers must have gradients \(call backward\(\) first\), got layers\[1\] without any$",
        ):
            layer_gradient_norms([layer, nn.Linear(2, 1)])
        with pytest.raises(ValueError, match=r"^layers must not be empty, got no layer$"):
            layer_gradient_norms([])
