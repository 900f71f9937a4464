"""Recurrent cells: equal to torch's in values and gradients, and the same step after step."""

import pytest
import torch
from torch import nn

from attncourse.recurrent import GRUCell, LSTMCell, RNNCell, raise_forget_bias, run_cell
from attncourse.training import set_seed
from tests.support.tolerances import FLOAT32, FLOAT64

D_INPUT, D_HIDDEN, BATCH, N_TOKENS = 3, 5, 2, 7
ALL = pytest.mark.parametrize("ours", [RNNCell, GRUCell, LSTMCell])
PAIRS = [(RNNCell, nn.RNNCell, nn.RNN), (GRUCell, nn.GRUCell, nn.GRU), (LSTMCell, nn.LSTMCell, nn.LSTM)]
TOLERANCES = {torch.float64: FLOAT64, torch.float32: FLOAT32}


def sequence(dtype=torch.float64):
    torch.manual_seed(1)
    return torch.randn(BATCH, N_TOKENS, D_INPUT, dtype=dtype)


def start_state(cell, dtype=torch.float64):
    torch.manual_seed(2)
    hidden, memory = torch.randn(2, BATCH, D_HIDDEN, dtype=dtype)
    return (hidden, memory) if isinstance(cell, LSTMCell) else hidden


def flat_parts(state):
    return state if isinstance(state, tuple) else (state,)


def flat(state):
    return torch.cat(flat_parts(state), dim=-1)


@pytest.mark.parity
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("given_state", [True, False])
@pytest.mark.parametrize(("ours", "theirs", "_"), PAIRS)
def test_one_step_equals_torch_in_values_and_gradients(ours, theirs, _, given_state, dtype):
    reference = theirs(D_INPUT, D_HIDDEN, dtype=dtype)
    cell = ours(D_INPUT, D_HIDDEN).to(dtype)
    cell.load_state_dict(reference.state_dict())
    inputs = sequence(dtype)[:, 0]
    results = []
    for model in (cell, reference):
        x = inputs.clone().requires_grad_()
        state = start_state(cell, dtype) if given_state else None
        output = flat(model(x, state))
        # A weighted sum of squares gives every entry of the output its own gradient.
        (output.square() * torch.arange(1, output.numel() + 1, dtype=dtype).view_as(output)).sum().backward()
        results.append([output, x.grad, *(parameter.grad for parameter in model.parameters())])
    for mine, expected in zip(*results, strict=True):
        torch.testing.assert_close(mine, expected, **TOLERANCES[dtype])


@pytest.mark.parity
@pytest.mark.parametrize(("ours", "_", "layer"), PAIRS)
def test_a_run_equals_the_fused_layer_in_values_and_gradients(ours, _, layer):
    reference = layer(D_INPUT, D_HIDDEN, batch_first=True, dtype=torch.float64)
    cell = ours(D_INPUT, D_HIDDEN).double()
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in reference.state_dict().items()})
    state = start_state(cell)
    layer_state = (
        tuple(part.unsqueeze(0) for part in state) if isinstance(state, tuple) else state.unsqueeze(0)
    )
    results = []
    for run in (lambda x: run_cell(cell, x, state), lambda x: reference(x, layer_state)):
        x = sequence().requires_grad_()
        outputs, last = run(x)
        (outputs.square().sum() + flat(last).sum()).backward()
        results.append([outputs, flat(last).reshape(BATCH, -1), x.grad])
    results[0] += [parameter.grad for parameter in cell.parameters()]
    results[1] += [parameter.grad for parameter in reference.parameters()]
    for mine, expected in zip(*results, strict=True):
        torch.testing.assert_close(mine, expected, **FLOAT64)


@pytest.mark.parity
@pytest.mark.parametrize(("ours", "theirs", "_"), PAIRS)
def test_one_seed_gives_the_weights_of_torch(ours, theirs, _):
    set_seed(11)
    cell = ours(D_INPUT, D_HIDDEN)
    set_seed(11)
    reference = theirs(D_INPUT, D_HIDDEN)
    for name, value in reference.state_dict().items():
        torch.testing.assert_close(cell.state_dict()[name], value, rtol=0, atol=0)


def test_a_cell_with_zero_weights_by_hand():
    x, hidden, memory = torch.ones(1, 1), torch.full((1, 1), 0.5), torch.full((1, 1), 2.0)
    cells = {cell: cell(1, 1) for cell in (RNNCell, GRUCell, LSTMCell)}
    for cell in cells.values():
        for parameter in cell.parameters():
            nn.init.zeros_(parameter)
    assert cells[RNNCell](x, hidden).item() == 0.0
    # Both gates are one half and the candidate is zero: half of the old state stays.
    assert cells[GRUCell](x, hidden).item() == pytest.approx(0.25)
    new_hidden, new_memory = cells[LSTMCell](x, (hidden, memory))
    assert new_memory.item() == pytest.approx(1.0)
    assert new_hidden.item() == pytest.approx(0.5 * 0.761594)  # half of tanh(1)


@pytest.mark.gradients
@ALL
def test_gradcheck(ours):
    cell = ours(2, 3).double()
    inputs = sequence()[:, :3, :2].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: run_cell(cell, x)[0], (inputs,))


@pytest.mark.properties
@ALL
class TestProperties:
    def test_two_halves_equal_the_whole(self, ours):
        cell, inputs = ours(D_INPUT, D_HIDDEN).double(), sequence()
        whole, last = run_cell(cell, inputs)
        first, state = run_cell(cell, inputs[:, :4])
        second, state = run_cell(cell, inputs[:, 4:], state)
        torch.testing.assert_close(torch.cat([first, second], dim=1), whole, **FLOAT64)
        torch.testing.assert_close(flat(state), flat(last), **FLOAT64)

    def test_the_future_changes_nothing_in_the_past(self, ours):
        cell, inputs = ours(D_INPUT, D_HIDDEN).double(), sequence()
        changed = inputs.clone()
        changed[:, 4:] += 3.0
        before, after = run_cell(cell, inputs)[0], run_cell(cell, changed)[0]
        torch.testing.assert_close(before[:, :4], after[:, :4], rtol=0, atol=0)
        assert (before[:, 4:] != after[:, 4:]).all()

    def test_sequences_of_a_batch_do_not_meet(self, ours):
        cell, inputs = ours(D_INPUT, D_HIDDEN).double(), sequence()
        alone = torch.cat([run_cell(cell, row)[0] for row in inputs.split(1)])
        torch.testing.assert_close(run_cell(cell, inputs)[0], alone, **FLOAT64)

    def test_arguments_are_not_written(self, ours):
        cell, inputs = ours(D_INPUT, D_HIDDEN).double(), sequence()
        state = start_state(cell)
        copies = inputs.clone(), flat(state).clone()
        run_cell(cell, inputs, state)
        torch.testing.assert_close(inputs, copies[0], rtol=0, atol=0)
        torch.testing.assert_close(flat(state), copies[1], rtol=0, atol=0)

    def test_hidden_states_stay_inside_one(self, ours):
        cell = ours(D_INPUT, D_HIDDEN).double()
        outputs, _ = run_cell(cell, 100 * sequence())
        assert outputs.abs().max() <= 1.0

    def test_bad_arguments_are_refused(self, ours):
        cell = ours(D_INPUT, D_HIDDEN)
        with pytest.raises(
            ValueError, match=r"^x must have d_input=3 as its last axis, got x.shape=\(2, 5\)$"
        ):
            cell(torch.zeros(2, 5))
        with pytest.raises(TypeError, match=r"^x must be an array or tensor, got x of type list$"):
            cell([[0.0, 1.0, 2.0]])
        with pytest.raises(ValueError, match=r"^x must have at least 2 axes, got x.shape=\(3,\)$"):
            cell(torch.zeros(3))
        wrong = torch.zeros(2, 3)
        with pytest.raises(
            ValueError, match=r"^hidden must have d_hidden=5 as its last axis, got hidden.shape=\(2, 3\)$"
        ):
            cell(torch.zeros(2, 3), (wrong, wrong) if ours is LSTMCell else wrong)
        with pytest.raises(ValueError, match=r"^d_input must be at least 1, got d_input=0$"):
            ours(0, 5)
        with pytest.raises(TypeError, match=r"^d_hidden must be an integer, got d_hidden=5.0$"):
            ours(3, 5.0)


def test_run_cell_refuses_a_single_step_and_an_empty_sequence():
    cell = RNNCell(D_INPUT, D_HIDDEN)
    with pytest.raises(ValueError, match=r"^inputs must have at least 3 axes, got inputs.shape=\(2, 3\)$"):
        run_cell(cell, torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"^n_tokens must be at least 1, got n_tokens=0$"):
        run_cell(cell, torch.zeros(2, 0, 3))


@pytest.mark.parametrize(
    "lstm",
    [
        LSTMCell(D_INPUT, D_HIDDEN),
        nn.LSTMCell(D_INPUT, D_HIDDEN),
        nn.LSTM(D_INPUT, D_HIDDEN, num_layers=2, bidirectional=True),
    ],
    ids=["ours", "torch cell", "torch layer"],
)
def test_raise_forget_bias_changes_the_forget_gate_only(lstm):
    before = {name: parameter.clone() for name, parameter in lstm.named_parameters()}
    raise_forget_bias(lstm, 2.5)
    for name, parameter in lstm.named_parameters():
        if name.startswith("weight"):
            torch.testing.assert_close(parameter, before[name], rtol=0, atol=0)
            continue
        parts, old = parameter.view(4, D_HIDDEN), before[name].view(4, D_HIDDEN)
        assert (parts[1] == (2.5 if "bias_ih" in name else 0.0)).all()
        torch.testing.assert_close(parts[[0, 2, 3]], old[[0, 2, 3]], rtol=0, atol=0)


def test_an_open_forget_gate_keeps_the_memory():
    cell = LSTMCell(D_INPUT, D_HIDDEN)
    for parameter in cell.parameters():
        nn.init.zeros_(parameter)
    raise_forget_bias(cell, 3.0)
    memory = torch.ones(1, D_HIDDEN)
    _, kept = cell(torch.zeros(1, D_INPUT), (torch.zeros(1, D_HIDDEN), memory))
    torch.testing.assert_close(kept, torch.full_like(kept, 0.952574), **FLOAT32)  # sigmoid(3)


def test_raise_forget_bias_refuses_what_has_no_forget_gate():
    with pytest.raises(TypeError, match=r"^lstm must be an LSTM layer or cell, got lstm of type GRUCell$"):
        raise_forget_bias(GRUCell(3, 5), 1.0)
    with pytest.raises(TypeError, match=r"^value must be a number, got value='1'$"):
        raise_forget_bias(LSTMCell(3, 5), "1")
