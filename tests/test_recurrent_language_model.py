"""The recurrent language model: torch's LSTM and ours give the same logits; the future changes nothing."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from attncourse.recurrent import LSTMCell, run_cell
from attncourse.recurrent_language_model import LSTMLanguageModel
from attncourse.text_measures import bits_per_character, language_loss
from attncourse.training import set_seed, train
from tests.support.tolerances import FLOAT32, FLOAT64


def build(seed=0, **settings):
    set_seed(seed)
    settings = {"d_embedding": 5, "d_hidden": 7} | settings
    return LSTMLanguageModel(11, **settings)


def draw_tokens(batch=3, n_tokens=13, seed=0):
    return torch.randint(11, (batch, n_tokens), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parity
@pytest.mark.parametrize("n_layers", [1, 2])
def test_equals_torchs_lstm_in_values_and_gradients(n_layers):
    model = build(n_layers=n_layers).double()
    embedding, lstm, output = (
        nn.Embedding(11, 5).double(),
        nn.LSTM(5, 7, n_layers, batch_first=True).double(),
        nn.Linear(7, 11).double(),
    )
    theirs = nn.ModuleList([embedding, lstm, output])
    with torch.no_grad():
        for mine, other in zip(model.parameters(), theirs.parameters(), strict=True):
            other.copy_(mine)
    tokens = draw_tokens()
    logits, expected = model(tokens), output(lstm(embedding(tokens))[0])
    torch.testing.assert_close(logits, expected, **FLOAT64)
    logits.square().sum().backward()
    expected.square().sum().backward()
    for mine, other in zip(model.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, **FLOAT64)


@pytest.mark.parity
def test_equals_the_cell_of_chapter_1_step_by_step():
    model = build(n_layers=2).double()
    tokens = draw_tokens()
    hidden = model.embedding(tokens)
    for layer in range(2):
        cell = LSTMCell(hidden.shape[-1], 7).double()
        with torch.no_grad():
            for name, parameter in cell.named_parameters():
                parameter.copy_(getattr(model.lstm, f"{name}_l{layer}"))
        hidden, _ = run_cell(cell, hidden)
    torch.testing.assert_close(model(tokens), hidden @ model.output.weight.T + model.output.bias, **FLOAT64)


def test_forget_gates_start_open():
    lstm = build(n_layers=2).lstm
    for layer in range(2):
        seen = getattr(lstm, f"bias_ih_l{layer}") + getattr(lstm, f"bias_hh_l{layer}")
        torch.testing.assert_close(seen.chunk(4)[1], torch.ones(7))
        assert (seen.chunk(4)[0] != 1).all()


class TestCausality:
    @pytest.mark.properties
    @pytest.mark.parametrize("training", [True, False])
    @given(place=st.integers(0, 12), seed=st.integers(0, 2**16))
    def test_changing_the_future_never_changes_the_past(self, training, place, seed):
        model = build(n_layers=2).train(training)
        tokens = draw_tokens()
        changed = tokens.clone()
        changed[:, place:] = draw_tokens(seed=seed)[:, place:]
        torch.testing.assert_close(model(changed)[:, :place], model(tokens)[:, :place], rtol=0, atol=0)

    @pytest.mark.parametrize("training", [True, False])
    def test_no_gradient_comes_from_the_future_and_some_from_all_of_the_past(self, training):
        model = build().train(training)
        seen = []
        model.embedding.register_forward_hook(lambda module, inputs, output: seen.append(output))
        logits = model(draw_tokens())
        (gradient,) = torch.autograd.grad(logits[:, 6].sum(), seen[0])
        assert (gradient[:, :7] != 0).any(dim=-1).all()
        assert (gradient[:, 7:] == 0).all()

    def test_a_prefix_alone_gives_the_same_logits(self):
        model, tokens = build(), draw_tokens()
        torch.testing.assert_close(model(tokens[:, :5]), model(tokens)[:, :5], **FLOAT32)


@pytest.mark.properties
def test_texts_of_a_batch_do_not_see_each_other():
    model, tokens = build(n_layers=2), draw_tokens()
    alone = torch.cat([model(row[None]) for row in tokens])
    torch.testing.assert_close(model(tokens), alone, **FLOAT32)


class TestTied:
    def test_one_matrix_serves_both_ends(self):
        model = build(d_embedding=7, tied=True)
        assert model.output.weight is model.embedding.weight
        untied = build(d_embedding=7)
        sizes = [sum(p.numel() for p in m.parameters()) for m in (untied, model)]
        assert sizes[0] - sizes[1] == 11 * 7

    def test_its_first_guess_is_near_uniform(self):
        set_seed(0)
        model = LSTMLanguageModel(101, d_embedding=64, d_hidden=64, tied=True)
        tokens = torch.randint(101, (5, 23))
        entropy = torch.distributions.Categorical(logits=model(tokens)).entropy()
        assert entropy.min() > 0.98 * np.log(101)

    def test_sizes_must_agree(self):
        with pytest.raises(
            ValueError,
            match=r"^d_hidden must equal d_embedding in a tied model, got d_hidden=7, d_embedding=5$",
        ):
            build(tied=True)


class TestDropout:
    def test_it_acts_in_training_only(self):
        model, plain = build(n_layers=2, dropout=0.5), build(n_layers=2)
        tokens = draw_tokens()
        model.eval()
        torch.testing.assert_close(model(tokens), plain(tokens), rtol=0, atol=0)
        model.train()
        assert (model(tokens) != model(tokens)).any()

    @pytest.mark.parametrize(("n_layers", "between"), [(1, 0.0), (2, 0.3)])
    def test_torch_drops_between_layers_only_where_there_are_two(self, n_layers, between):
        assert build(n_layers=n_layers, dropout=0.3).lstm.dropout == between  # a warning would be an error

    def test_what_is_dropped(self):
        model = build(dropout=0.5)
        inputs = []
        model.lstm.register_forward_hook(lambda module, args, output: inputs.append(args[0]))
        model.output.register_forward_hook(lambda module, args, output: inputs.append(args[0]))
        model(draw_tokens(batch=50))
        for tensor in inputs:
            assert (tensor == 0).float().mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.learning
def test_it_learns_a_sequence_that_only_the_past_tells():
    # The next token repeats the one three places back: nothing but the past foretells it.
    rng = np.random.default_rng(0)

    def next_batch():
        return torch.from_numpy(np.tile(rng.integers(1, 11, size=(16, 3)), (1, 4)))

    def loss_fn(model, tokens):
        return language_loss(model(tokens[:, :-1]), tokens)

    model = build(d_embedding=16, d_hidden=48)
    text = np.tile([4, 9, 2], 20)
    before = bits_per_character(model, text, n_tokens=11, n_context=6)
    train(model, next_batch, loss_fn, steps=400, learning_rate=0.01)
    after = bits_per_character(model, text, n_tokens=11, n_context=6)
    assert after < 0.5 < 3 < before


def test_tokens_are_not_written():
    tokens = draw_tokens()
    copy = tokens.clone()
    build()(tokens)
    torch.testing.assert_close(tokens, copy, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("tokens", "error", "text"),
    [
        ([[1, 2]], TypeError, "tokens must be of type Tensor, got tokens of type list"),
        (torch.ones(2, 3), TypeError, "tokens must be of dtype int64, got tokens.dtype=float32"),
        (
            torch.tensor([1, 2]),
            ValueError,
            r"tokens must have two axes, none empty, got tokens.shape=\(2,\)",
        ),
        (
            torch.tensor([[0, 11]]),
            ValueError,
            "tokens must hold tokens from 0 to 10, got tokens from 0 to 11",
        ),
    ],
)
def test_bad_tokens_are_refused(tokens, error, text):
    with pytest.raises(error, match=f"^{text}$"):
        build()(tokens)


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"d_embedding": 0}, ValueError, "d_embedding must be at least 1, got d_embedding=0"),
        ({"d_hidden": 2.5}, TypeError, "d_hidden must be an integer, got d_hidden=2.5"),
        ({"n_layers": 0}, ValueError, "n_layers must be at least 1, got n_layers=0"),
        ({"dropout": 1.0}, ValueError, "dropout must be below 1, got dropout=1.0"),
    ],
)
def test_bad_settings_are_refused(settings, error, text):
    with pytest.raises(error, match=f"^{text}$"):
        build(**settings)
    with pytest.raises(ValueError, match=r"^vocab_size must be at least 1, got vocab_size=0$"):
        LSTMLanguageModel(0, d_embedding=5, d_hidden=7)
