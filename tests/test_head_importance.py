"""Head importance finds the one head that works, and pruning sees through two heads with one job."""

import math

import pytest
import torch

from attncourse.head_importance import (
    ablation_importance,
    gradient_importance,
    loss_without,
    pruning_curve,
)
from attncourse.multihead import MultiHeadAttention
from tests.support.tolerances import FLOAT64

HEADS, D_HEAD, N_TOKENS, BATCH = 3, 2, 5, 7
D_MODEL = HEADS * D_HEAD


def layer_and_batch(output_scales, *, twins=False):
    """Return a layer whose heads reach the output by given factors, its inputs, and its whole output."""
    generator = torch.Generator().manual_seed(0)
    layer = MultiHeadAttention(D_MODEL, HEADS).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
        for head, scale in enumerate(output_scales):
            layer.output_proj.weight[:, head * D_HEAD : (head + 1) * D_HEAD] *= scale
        if twins:  # head 1 becomes a copy of head 0
            for proj in (layer.query_proj, layer.key_proj, layer.value_proj):
                proj.weight[D_HEAD : 2 * D_HEAD] = proj.weight[:D_HEAD]
                proj.bias[D_HEAD : 2 * D_HEAD] = proj.bias[:D_HEAD]
            layer.output_proj.weight[:, D_HEAD : 2 * D_HEAD] = layer.output_proj.weight[:, :D_HEAD]
    x = torch.randn(BATCH, N_TOKENS, D_MODEL, generator=generator, dtype=torch.float64)
    return layer, x, layer(x).detach()


def squared_error(layer, x, wanted):
    return lambda gates: (layer(x, head_gates=gates) - wanted).square().mean()


def test_one_head_does_all_the_work():
    layer, x, whole = layer_and_batch([0.0, 1.0, 0.0])
    loss_fn = squared_error(layer, x, whole + 1.0)
    slopes, rises = gradient_importance(loss_fn, HEADS), ablation_importance(loss_fn, HEADS)
    assert slopes.argmax() == rises.abs().argmax() == 1
    assert slopes[0] == slopes[2] == rises[0] == rises[2] == 0
    assert slopes[1] > 0.1
    ablated = squared_error(layer, x, whole)
    assert ablation_importance(ablated, HEADS)[1] > 0.1
    curve = pruning_curve(ablated, HEADS)
    assert curve.order == (0, 2, 1)
    assert curve.losses[:3] == (0.0, 0.0, 0.0)
    assert curve.losses[3] > 0.1


def test_two_equal_heads_stand_in_for_each_other():
    # Only the direction of the output counts, as behind a LayerNorm: one of two equal heads is enough.
    layer, x, whole = layer_and_batch([1.0, 1.0, 0.05], twins=True)
    wanted = (whole - layer.output_proj.bias).detach()

    def loss_fn(gates):
        found = layer(x, head_gates=gates) - layer.output_proj.bias
        return 1 - torch.cosine_similarity(found, wanted, dim=-1).mean()

    rises = ablation_importance(loss_fn, HEADS)
    assert rises[:2].abs().max() < 0.02
    both = loss_without(loss_fn, HEADS, [0, 1]) - loss_without(loss_fn, HEADS, [])
    assert both > 0.3
    assert both > 20 * rises[:2].sum()
    # The greedy order measures again: after one twin is gone, the small third head goes before the other.
    curve = pruning_curve(loss_fn, HEADS)
    assert set(curve.order[:2]) & {0, 1} != {0, 1}
    assert curve.losses[2] < 0.05
    # A fixed order that trusts single ablations would lose both twins first.
    fixed = pruning_curve(loss_fn, HEADS, [0, 1, 2])
    assert fixed.losses[2] > 0.3


def test_gradient_importance_is_the_slope_of_the_loss():
    layer, x, whole = layer_and_batch([1.0, 0.5, 0.2])
    loss_fn = squared_error(layer, x, whole * 0.5)
    step = 1e-4
    for head, slope in enumerate(gradient_importance(loss_fn, HEADS).tolist()):
        bump = step * torch.eye(HEADS, dtype=torch.float64)[head]
        ones = torch.ones(HEADS, dtype=torch.float64)
        wanted = ((loss_fn(ones + bump) - loss_fn(ones - bump)) / (2 * step)).abs().item()
        assert slope == pytest.approx(wanted, rel=1e-4)


def test_slopes_of_examples_are_taken_absolutely_before_the_mean():
    layer, x, _ = layer_and_batch([1.0, 1.0, 1.0])
    signs = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0], dtype=torch.float64)

    def losses(gates):
        return signs * layer(x, head_gates=gates).mean(dim=(1, 2))

    got = gradient_importance(losses, HEADS, n_examples=BATCH)
    alone = [
        gradient_importance(lambda gates, i=i: losses(gates)[i], HEADS) for i in range(BATCH)
    ]  # one example at a time, as the paper defines it
    torch.testing.assert_close(got, torch.stack(alone).mean(dim=0))
    cancelled = gradient_importance(lambda gates: losses(gates).mean(), HEADS)
    assert (cancelled < got).all()


def test_a_hand_made_loss():
    # loss = 3 g0 + g1² - g2: slopes 3, 2, -1; losses 3 whole, without one 0, 2, 4.
    def loss_fn(gates):
        return 3 * gates[0] + gates[1] ** 2 - gates[2]

    assert gradient_importance(loss_fn, 3).tolist() == [3.0, 2.0, 1.0]
    assert ablation_importance(loss_fn, 3).tolist() == [-3.0, -1.0, 1.0]
    assert ablation_importance(loss_fn, 3).dtype == torch.float64
    curve = pruning_curve(loss_fn, 3)
    assert (curve.order, curve.losses) == ((0, 1, 2), (3.0, 0.0, -1.0, 0.0))
    fixed = pruning_curve(loss_fn, 3, torch.tensor([2, 0]).tolist())
    assert (fixed.order, fixed.losses) == ((2, 0), (3.0, 4.0, 1.0))
    assert loss_without(loss_fn, 3, []) == 3.0
    assert loss_without(loss_fn, 3, range(3)) == 0.0


def test_equal_heads_go_in_order_and_floats_will_do():
    assert pruning_curve(lambda gates: 0.0, 4).order == (0, 1, 2, 3)


def test_greedy_is_counted_as_the_notes_say():
    calls = []

    def loss_fn(gates):
        calls.append(gates.tolist())
        return gates.sum().item()

    pruning_curve(loss_fn, 4)
    assert len(calls) == 1 + 4 * 5 // 2
    calls.clear()
    pruning_curve(loss_fn, 4, [3, 2, 1, 0])
    assert len(calls) == 5
    calls.clear()
    ablation_importance(loss_fn, 4)
    assert len(calls) == 5


def test_ablation_builds_no_graph_and_importance_leaves_no_gradients():
    layer, x, whole = layer_and_batch([1.0, 1.0, 1.0])
    grad_modes = []

    def loss_fn(gates):
        grad_modes.append(torch.is_grad_enabled())
        return squared_error(layer, x, whole + 1)(gates)

    ablation_importance(loss_fn, HEADS)
    assert not any(grad_modes)
    with torch.no_grad():  # the slope needs gradients, whatever the caller switched off
        gradient_importance(loss_fn, HEADS)
    assert all(parameter.grad is None for parameter in layer.parameters())


def test_one_gate_off_is_one_head_off():
    layer, x, whole = layer_and_batch([1.0, 1.0, 1.0])
    with torch.no_grad():
        layer.output_proj.weight[:, D_HEAD : 2 * D_HEAD] = 0.0
        wanted = (layer(x) - whole).square().mean()
    layer, x, whole = layer_and_batch([1.0, 1.0, 1.0])
    got = torch.tensor(loss_without(squared_error(layer, x, whole), HEADS, [1]), dtype=torch.float64)
    torch.testing.assert_close(got, wanted, **FLOAT64)


def test_bad_input():
    def total(gates):
        return gates.sum()

    with pytest.raises(ValueError, match="n_heads must be at least 1, got n_heads=0"):
        gradient_importance(total, 0)
    with pytest.raises(TypeError, match="n_examples must be an integer"):
        gradient_importance(total, 2, n_examples=2.0)
    with pytest.raises(ValueError, match=r"loss_fn must return a loss of shape \(\), got shape \(3,\)"):
        gradient_importance(lambda gates: gates, 3)
    with pytest.raises(ValueError, match=r"loss_fn must return a loss of shape \(4,\), got shape \(\)"):
        gradient_importance(total, 3, n_examples=4)
    with pytest.raises(ValueError, match="loss_fn must depend on its gates"):
        gradient_importance(lambda gates: torch.tensor(1.0), 3)
    with pytest.raises(ValueError, match="loss_fn must depend on its gates"):
        gradient_importance(lambda gates: torch.tensor(1.0, requires_grad=True) * 2, 3)
    with pytest.raises(ValueError, match="head must be below n_heads=3, got head=3"):
        loss_without(total, 3, [3])
    with pytest.raises(ValueError, match="head must be at least 0, got head=-1"):
        loss_without(total, 3, [-1])
    with pytest.raises(ValueError, match=r"loss_fn must return a number, got nan at gates=\[0\.0, 1\.0\]"):
        loss_without(lambda gates: math.nan if gates[0] == 0 else 1.0, 2, [0])
    with pytest.raises(ValueError, match="n_heads must be at least 1"):
        ablation_importance(total, 0)
    with pytest.raises(ValueError, match=r"order must name each head once, got order=\[1, 1\]"):
        pruning_curve(total, 2, [1, 1])
    with pytest.raises(ValueError, match="head must be below n_heads=2, got head=2"):
        pruning_curve(total, 2, [2])
    with pytest.raises(TypeError, match="head must be an integer"):
        pruning_curve(total, 2, [0.0])
