"""Text classifiers: encoders see as far as they say, readouts equal loops, and maps can be put in."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from attncourse.seq2seq import BiGRUEncoder
from attncourse.tasks.reviews import ReviewTask
from attncourse.text_classifiers import (
    ENCODERS,
    READOUTS,
    ConvolutionEncoder,
    TextClassifier,
    TransformerTextEncoder,
)
from attncourse.training import set_seed, train
from tests.support.tolerances import FLOAT64, GRADIENTS

VOCAB, N_CLASSES, D_HIDDEN, N_TOKENS = 11, 3, 8, 7
LENGTHS = torch.tensor([7, 1, 4, 6, 2])
KINDS = [(e, r) for e in ENCODERS for r in READOUTS if r != "last" or e == "bigru"]


def classifier(encoder="bigru", readout="attention", **options):
    set_seed(0)
    model = TextClassifier(
        VOCAB,
        N_CLASSES,
        encoder=encoder,
        readout=readout,
        d_embedding=5,
        d_hidden=D_HIDDEN,
        n_heads=2,
        **options,
    )
    if readout == "attention":
        with torch.no_grad():
            for parameter in model.score.parameters():
                parameter.mul_(3)  # maps that are far from uniform
    return model.double().eval()


def texts(seed=0):
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(1, VOCAB, (len(LENGTHS), N_TOKENS), generator=generator)
    return tokens.masked_fill(torch.arange(N_TOKENS) >= LENGTHS[:, None], 0)


@pytest.mark.parity
@pytest.mark.parametrize(("encoder", "readout"), KINDS)
def test_the_answer_equals_the_formula_written_out_text_by_text(encoder, readout):
    model, tokens = classifier(encoder, readout), texts()
    got = model(tokens, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        memory = model.encoder(tokens[row : row + 1, :length], LENGTHS[row : row + 1])
        states = memory.states[0]  # (length, d_hidden)
        if readout == "mean":
            summary = sum(states) / length
        elif readout == "max":
            summary = torch.stack([max(column) for column in states.T])
        elif readout == "last":
            half = D_HIDDEN // 2
            summary = torch.cat([states[-1, :half], states[0, half:]])
        else:
            first, _, last = model.score
            scores = [last.weight[0] @ torch.tanh(first.weight @ state + first.bias) for state in states]
            parts = [score.exp() for score in scores]
            summary = sum(part / sum(parts) * state for part, state in zip(parts, states, strict=True))
        wanted = model.output_proj.weight @ summary + model.output_proj.bias
        torch.testing.assert_close(got[row], wanted, **FLOAT64)


@pytest.mark.parity
@pytest.mark.parametrize(("kernel_size", "n_layers"), [(1, 1), (3, 1), (5, 2)])
def test_a_convolution_equals_its_sum_over_neighbours(kernel_size, n_layers):
    set_seed(1)
    encoder = ConvolutionEncoder(
        VOCAB, d_embedding=5, d_hidden=D_HIDDEN, kernel_size=kernel_size, n_layers=n_layers
    ).double()
    tokens, reach = texts(), kernel_size // 2
    memory = encoder(tokens, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        states = [encoder.source_embedding.weight[token] for token in tokens[row, :length]]
        for layer in encoder.layers:
            following = []
            for place in range(length):
                total = layer.bias
                for shift in range(-reach, reach + 1):
                    if 0 <= place + shift < length:
                        total = total + layer.weight[:, :, shift + reach] @ states[place + shift]
                following.append(total.clamp(min=0))
            states = following
        torch.testing.assert_close(memory.states[row, :length], torch.stack(states), **FLOAT64)
        torch.testing.assert_close(memory.summary[row], sum(states) / length, **FLOAT64)
    assert not memory.states[1, 1:].any()


@pytest.mark.parity
def test_the_transformer_encoder_is_its_stack_over_the_real_words():
    set_seed(2)
    encoder = TransformerTextEncoder(VOCAB, d_hidden=D_HIDDEN, n_heads=2, n_layers=3).double().eval()
    tokens = texts()
    memory, weights = encoder(tokens, LENGTHS, return_weights=True)
    assert weights.shape == (5, 3, 2, N_TOKENS, N_TOKENS)
    torch.testing.assert_close(memory.states, encoder(tokens, LENGTHS).states, **FLOAT64)
    for row, length in enumerate(LENGTHS.tolist()):
        alone, looked = encoder.stack(
            encoder.source_embedding(tokens[row : row + 1, :length]), return_weights=True
        )
        torch.testing.assert_close(memory.states[row, :length], alone[0], **FLOAT64)
        torch.testing.assert_close(weights[row, ..., :length, :length], looked[0], **FLOAT64)
        assert not weights[row, ..., length:].any()
        assert not memory.states[row, length:].any()


def test_the_recurrent_encoder_is_that_of_chapter_5():
    model = classifier("bigru")
    assert isinstance(model.encoder, BiGRUEncoder)
    assert model.encoder.d_memory == D_HIDDEN


@pytest.mark.properties
@pytest.mark.parametrize(
    ("encoder", "options", "reach"),
    [
        ("embedding", {"kernel_size": 3, "n_layers": 2}, 0),
        ("convolution", {"kernel_size": 3}, 1),
        ("convolution", {"kernel_size": 5}, 2),
        ("convolution", {"kernel_size": 3, "n_layers": 2}, 2),
        ("bigru", {}, N_TOKENS),
        ("transformer", {}, N_TOKENS),
    ],
)
def test_a_state_sees_as_far_as_its_encoder_reaches(encoder, options, reach):
    model, lengths = classifier(encoder, **options), torch.tensor([N_TOKENS])
    tokens = torch.arange(1, N_TOKENS + 1)[None]
    before = model.encoder(tokens, lengths).states[0]
    for place in range(N_TOKENS):
        changed = tokens.clone()
        changed[0, place] = 9
        moved = (model.encoder(changed, lengths).states[0] - before).abs().amax(dim=-1) > 1e-12
        near = (torch.arange(N_TOKENS) - place).abs() <= reach
        assert not moved[~near].any()
        assert moved[place]
        if reach == N_TOKENS:
            assert moved.all()


@pytest.mark.properties
@pytest.mark.parametrize(("encoder", "readout"), KINDS)
def test_what_stands_behind_the_length_and_beside_in_the_batch_changes_nothing(encoder, readout):
    model, tokens = classifier(encoder, readout), texts()
    wanted = model(tokens, LENGTHS)
    is_padding = torch.arange(N_TOKENS) >= LENGTHS[:, None]
    torch.testing.assert_close(model(tokens.masked_fill(is_padding, 9), LENGTHS), wanted, **FLOAT64)
    torch.testing.assert_close(model(F.pad(tokens, (0, 4)), LENGTHS), wanted, **FLOAT64)
    order = torch.tensor([3, 0, 4, 2, 1])
    torch.testing.assert_close(model(tokens[order], LENGTHS[order]), wanted[order], **FLOAT64)
    if model.has_weights:
        _, weights = model(tokens.masked_fill(is_padding, 9), LENGTHS, return_weights=True)
        assert not weights[is_padding].any()
        torch.testing.assert_close(weights.sum(dim=1), torch.ones(5).double(), **FLOAT64)


@pytest.mark.parametrize(("encoder", "readout"), KINDS)
def test_its_own_weights_put_in_from_outside_change_nothing(encoder, readout):
    model, tokens = classifier(encoder, readout), texts()
    if not model.has_weights:
        return
    logits, weights = model(tokens, LENGTHS, return_weights=True)
    kept_tokens, kept_weights = tokens.clone(), weights.detach().clone()
    again, used = model(tokens, LENGTHS, weights=weights, return_weights=True)
    torch.testing.assert_close(again, logits, **FLOAT64)
    assert used is weights
    torch.testing.assert_close(model.read(model.encoder(tokens, LENGTHS), weights)[0], logits, **FLOAT64)
    assert torch.equal(tokens, kept_tokens)
    assert torch.equal(weights, kept_weights)


def test_a_map_from_outside_reads_what_it_points_at():
    model, tokens = classifier("bigru"), texts()
    states = model.encoder(tokens, LENGTHS).states
    places = LENGTHS - 1
    weights = F.one_hot(places, N_TOKENS).double()
    wanted = model.output_proj(states[torch.arange(5), places])
    torch.testing.assert_close(model(tokens, LENGTHS, weights=weights), wanted, **FLOAT64)


def test_mean_weights_are_equal():
    _, weights = classifier(readout="mean")(texts(), LENGTHS, return_weights=True)
    for row, length in zip(weights, LENGTHS.tolist(), strict=True):
        assert row.tolist() == [1 / length] * length + [0.0] * (N_TOKENS - length)


@pytest.mark.gradients
def test_gradients_flow_to_the_weights_and_to_every_parameter():
    model, tokens = classifier("transformer"), texts()
    weights = model(tokens, LENGTHS, return_weights=True)[1].detach().requires_grad_(True)
    logits = model(tokens, LENGTHS, weights=weights)
    (slope,) = torch.autograd.grad(logits[:, 0].sum(), [weights])
    states = model.encoder(tokens, LENGTHS).states
    torch.testing.assert_close(slope, states @ model.output_proj.weight[0], **GRADIENTS)
    for encoder in ENCODERS:
        model = classifier(encoder)
        F.cross_entropy(model(tokens, LENGTHS), torch.arange(5) % N_CLASSES).backward()
        for name, parameter in model.named_parameters():
            # A bias under a softmax over words, and that of a key, move no weight.
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all()


@pytest.mark.learning
def test_a_small_model_learns_short_reviews_and_words_by_themselves_do_not():
    task = ReviewTask(max_clauses=2)
    pool, fresh = (task.sample(n, np.random.default_rng(n)) for n in (4000, 500))
    accuracy = {}
    for encoder in ("embedding", "convolution"):
        set_seed(0)
        model = TextClassifier(len(task.vocabulary), 2, encoder=encoder, d_embedding=16, d_hidden=32)
        rng = np.random.default_rng(0)
        train(model, lambda rng=rng: pool.sample(64, rng), loss_fn, steps=400, learning_rate=1e-2)
        accuracy[encoder] = (answers(model.eval(), fresh) == fresh.label).mean()
    assert accuracy["convolution"] > 0.95
    assert accuracy["embedding"] < 0.6


def loss_fn(model, batch):
    logits = model(torch.from_numpy(batch.tokens), torch.from_numpy(batch.lengths))
    return F.cross_entropy(logits, torch.from_numpy(batch.label))


def answers(model, batch):
    with torch.no_grad():
        logits = model(torch.from_numpy(batch.tokens), torch.from_numpy(batch.lengths))
    return logits.argmax(dim=-1).numpy()


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        (
            {"encoder": "lstm"},
            ValueError,
            r"^encoder must be one of 'embedding', 'convolution', 'bigru', 'transformer', "
            r"got encoder='lstm'$",
        ),
        (
            {"readout": "sum"},
            ValueError,
            r"^readout must be one of 'mean', 'max', 'last', 'attention', got readout='sum'$",
        ),
        (
            {"readout": "last", "encoder": "convolution"},
            ValueError,
            r"^readout must not be 'last' without a 'bigru', got encoder='convolution'$",
        ),
        ({"d_hidden": 7}, ValueError, r"^d_hidden must be even with a 'bigru', got d_hidden=7$"),
        ({"d_hidden": 0}, ValueError, r"^d_hidden must be at least 1, got d_hidden=0$"),
        (
            {"encoder": "convolution", "kernel_size": 4},
            ValueError,
            r"^kernel_size must be odd, got kernel_size=4$",
        ),
        (
            {"encoder": "convolution", "n_layers": 0},
            ValueError,
            r"^n_layers must be at least 1, got n_layers=0$",
        ),
    ],
)
def test_impossible_classifiers_are_refused(options, error, text):
    with pytest.raises(error, match=text):
        TextClassifier(VOCAB, N_CLASSES, **options)
    with pytest.raises(TypeError, match=r"^n_classes must be an integer, got n_classes=2\.0$"):
        TextClassifier(VOCAB, 2.0)


@pytest.mark.parametrize("encoder", ["convolution", "transformer"])
def test_bad_texts_are_refused(encoder):
    model, tokens = classifier(encoder), texts()
    with pytest.raises(
        ValueError,
        match=r"^source and lengths must have the same batch size, got source\.shape=\(5, 7\), "
        r"lengths\.shape=\(4,\)$",
    ):
        model(tokens, LENGTHS[:4])
    with pytest.raises(ValueError, match=r"^lengths must be at least 1, got lengths=\[0, 7, 7, 7, 7\]$"):
        model(tokens, torch.tensor([0, 7, 7, 7, 7]))
    with pytest.raises(ValueError, match=r"^source must hold tokens from 0 to 10, got source from 0 to 11$"):
        model(tokens.clamp(min=0) + (tokens == tokens.max()) * 1, LENGTHS)


def test_bad_weights_are_refused():
    model, tokens = classifier(), texts()
    weights = model(tokens, LENGTHS, return_weights=True)[1].detach()
    with pytest.raises(
        ValueError,
        match=r"^weights must have shape \(batch, n_tokens\)=\(5, 7\), got weights\.shape=\(5, 6\)$",
    ):
        model(tokens, LENGTHS, weights=weights[:, :6])
    with pytest.raises(ValueError, match=r"^weights must not be negative, got weights down to -0\.5$"):
        model(tokens, LENGTHS, weights=weights.index_fill(1, torch.tensor([0]), -0.5))
    with pytest.raises(ValueError, match=r"^weights must be zero at the padding, got weights with others$"):
        model(tokens, LENGTHS, weights=torch.full_like(weights, 1 / N_TOKENS))
    with pytest.raises(
        ValueError, match=r"^weights must have rows that sum to 1, got rows that sum to 2 … 2$"
    ):
        model(tokens, LENGTHS, weights=2 * weights)
    with pytest.raises(TypeError, match=r"^weights must be of type Tensor, got weights of type ndarray$"):
        model(tokens, LENGTHS, weights=weights.numpy())
    for readout in ("max", "last"):
        model = classifier(readout=readout)
        with pytest.raises(
            ValueError, match=rf"^weights must not be given with readout='{readout}', got weights=a tensor$"
        ):
            model(tokens, LENGTHS, weights=weights)
        with pytest.raises(
            ValueError,
            match=rf"^return_weights must not be given with readout='{readout}', got return_weights=True$",
        ):
            model(tokens, LENGTHS, return_weights=True)
    assert isinstance(model.output_proj, nn.Linear)
