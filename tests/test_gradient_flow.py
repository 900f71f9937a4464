"""Gradient probes: equal to finite differences and to the product of step Jacobians."""

import math

import pytest
import torch

from attncourse.bottleneck import BorrowedAttention
from attncourse.gradient_flow import gradient_by_distance, recurrent_growth
from attncourse.recurrent import LSTMCell, RNNCell, run_cell
from attncourse.training import set_seed
from tests.support.tolerances import FLOAT64

D_INPUT, D_HIDDEN, BATCH, N_TOKENS = 3, 5, 2, 7


def run(cell):
    return lambda x: run_cell(cell, x)[0]


@pytest.fixture
def inputs():
    return torch.randn(
        BATCH, N_TOKENS, D_INPUT, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )


@pytest.mark.gradients
@pytest.mark.parametrize("cell", [RNNCell, LSTMCell])
def test_equals_finite_differences(cell, inputs):
    set_seed(0)
    layer = run(cell(D_INPUT, D_HIDDEN).double())
    direction = torch.linspace(-1, 1, D_HIDDEN, dtype=torch.float64)
    measured = gradient_by_distance(layer, inputs, direction)
    step = 1e-6
    expected = torch.zeros(BATCH, N_TOKENS, D_INPUT, dtype=torch.float64)
    for t in range(N_TOKENS):
        for feature in range(D_INPUT):
            up, down = inputs.clone(), inputs.clone()
            up[:, t, feature] += step
            down[:, t, feature] -= step
            expected[:, t, feature] = (layer(up)[:, -1] - layer(down)[:, -1]) @ direction / (2 * step)
    # A central difference with this step is exact to about 1e-10 in float64.
    torch.testing.assert_close(measured, expected.norm(dim=-1).flip(-1), rtol=1e-6, atol=1e-9)


@pytest.mark.gradients
def test_equals_the_product_of_the_step_jacobians(inputs):
    set_seed(0)
    cell = RNNCell(D_INPUT, D_HIDDEN).double()
    measured = gradient_by_distance(run(cell), inputs)
    states = run_cell(cell, inputs)[0].detach()
    for b in range(BATCH):
        gradient = torch.full((D_HIDDEN,), D_HIDDEN**-0.5, dtype=torch.float64)
        for distance in range(N_TOKENS):
            slope = 1 - states[b, N_TOKENS - 1 - distance] ** 2
            torch.testing.assert_close(measured[b, distance], (cell.weight_ih.T @ (slope * gradient)).norm())
            gradient = cell.weight_hh.T @ (slope * gradient)


def test_distance_zero_is_the_last_input_and_inputs_stay_as_they_are(inputs):
    before = inputs.clone()
    measured = gradient_by_distance(lambda x: 2 * x, inputs)
    expected = torch.zeros(BATCH, N_TOKENS, dtype=torch.float64)
    expected[:, 0] = 2.0
    torch.testing.assert_close(measured, expected, **FLOAT64)
    torch.testing.assert_close(inputs, before, rtol=0, atol=0)
    assert not inputs.requires_grad
    assert not measured.requires_grad


def test_no_gradient_arrives_at_what_cannot_be_seen(inputs):
    layer = BorrowedAttention(D_INPUT).double()
    seen = gradient_by_distance(lambda x: layer(x, x, is_causal=True), inputs)
    assert (seen > 0).all()
    hidden = gradient_by_distance(lambda x: layer(x, x[:, 2:]), inputs)
    assert (hidden[:, -2:] == 0).all()


def test_growth_of_known_matrices():
    angle = 0.3
    rotation = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    growth = recurrent_growth(1.5 * rotation.double())
    assert growth.spectral_radius == pytest.approx(1.5)
    assert growth.largest_singular_value == pytest.approx(1.5, rel=1e-6)
    shear = recurrent_growth(torch.tensor([[0.5, 3.0], [0.0, 0.5]], dtype=torch.float64))
    assert shear.spectral_radius == pytest.approx(0.5)
    assert shear.largest_singular_value > 3.0


@pytest.mark.properties
@pytest.mark.parametrize("seed", range(5))
def test_powers_obey_both_rates(seed):
    set_seed(seed)
    matrix = torch.randn(D_HIDDEN, D_HIDDEN, dtype=torch.float64)
    growth = recurrent_growth(matrix)
    assert growth.spectral_radius <= growth.largest_singular_value
    for power in (1, 2, 5):
        norm = torch.linalg.matrix_norm(torch.linalg.matrix_power(matrix, power), ord=2).item()
        assert growth.spectral_radius**power <= norm * (1 + 1e-9)
        assert norm <= growth.largest_singular_value**power * (1 + 1e-9)
    norm = torch.linalg.matrix_norm(torch.linalg.matrix_power(matrix, 200), ord=2).item()
    assert norm ** (1 / 200) == pytest.approx(growth.spectral_radius, rel=0.03)  # Gelfand's formula


def test_bad_arguments_are_refused(inputs):
    with pytest.raises(TypeError, match=r"^inputs must be an array or tensor, got inputs of type list$"):
        gradient_by_distance(lambda x: x, [[[1.0]]])
    with pytest.raises(ValueError, match=r"^inputs must have at least 3 axes, got inputs.shape=\(7, 3\)$"):
        gradient_by_distance(lambda x: x, inputs[0])
    with pytest.raises(
        ValueError,
        match=r"^layer must return one output vector per input, "
        r"got inputs.shape=\(2, 7, 3\), outputs.shape=\(2, 6, 3\)$",
    ):
        gradient_by_distance(lambda x: x[:, 1:], inputs)
    with pytest.raises(
        ValueError, match=r"^weight_hh must be a square matrix, got weight_hh.shape=\(2, 3\)$"
    ):
        recurrent_growth(torch.zeros(2, 3))
    with pytest.raises(TypeError, match=r"^weight_hh must be an array or tensor, got weight_hh of type int$"):
        recurrent_growth(3)
