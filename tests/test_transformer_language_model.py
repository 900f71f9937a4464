"""The language model equals torch's layers, never sees the future or padding, and learns."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from attncourse.kv_cache import build_caches
from attncourse.masks import causal_mask
from attncourse.token_embedding import POSITIONS
from attncourse.training import set_seed, train
from attncourse.transformer_language_model import TransformerLanguageModel
from attncourse.transformer_parts import WIRINGS
from tests.support.tolerances import FLOAT64, GRADIENTS
from tests.support.torch_layers import torch_stack

pytestmark = pytest.mark.usefixtures("one_thread")

BATCH, N_TOKENS, VOCAB = 3, 7, 13
SIZES = {"d_model": 24, "n_heads": 4, "n_layers": 2, "d_ff": 29, "max_tokens": 23}
PADDING = [0, 5, 2]


def make_model(seed=0, **options):
    set_seed(seed)
    model = TransformerLanguageModel(VOCAB, **SIZES | options)
    # Biases and norms start at 0 and 1, and could be forgotten there.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.double()


def make_tokens(seed=1):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, VOCAB, (BATCH, N_TOKENS)))


@pytest.mark.parity
@pytest.mark.parametrize("wiring", ["pre-norm", "post-norm"])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("tied", [True, False])
def test_values_and_gradients_equal_torch(wiring, activation, tied):
    model = make_model(wiring=wiring, activation=activation, positions="sinusoidal", tied=tied)
    layer = nn.TransformerEncoderLayer(
        SIZES["d_model"],
        SIZES["n_heads"],
        SIZES["d_ff"],
        dropout=0.0,
        activation=activation,
        batch_first=True,
        norm_first=wiring == "pre-norm",
        dtype=torch.float64,
    )
    norm = nn.LayerNorm(SIZES["d_model"], dtype=torch.float64) if wiring == "pre-norm" else None
    stack = nn.TransformerEncoder(layer, 2, norm, enable_nested_tensor=False)
    parameters = torch_stack(model.stack, "")
    assert set(parameters) == {name for name, _ in stack.named_parameters()}

    tokens = make_tokens()
    hidden = {"mask": ~causal_mask(N_TOKENS, N_TOKENS)}  # torch's polarity: True is hidden
    states = functional_call(stack, parameters, (model.embedding(tokens),), hidden)
    theirs = states @ model.output_proj.weight.T
    ours = model(tokens)
    assert ours.shape == (BATCH, N_TOKENS, VOCAB)
    torch.testing.assert_close(ours, theirs, **FLOAT64)
    upstream = torch.randn(ours.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    names, ours_all = zip(*model.named_parameters(), strict=True)
    for name, mine, other in zip(
        names,
        torch.autograd.grad((ours * upstream).sum(), ours_all),
        torch.autograd.grad((theirs * upstream).sum(), ours_all),
        strict=True,
    ):
        torch.testing.assert_close(mine, other, **GRADIENTS, msg=lambda text, name=name: f"{name}: {text}")
        # A bias of the keys adds the same to every score of a query: no softmax sees it.
        assert mine.abs().max() > 1e-9 or name.endswith("key_proj.bias"), name


@pytest.mark.properties
@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("training", [True, False])
class TestPromises:
    @pytest.mark.parametrize("dropout", [0.0, 0.3])
    @pytest.mark.parametrize("return_weights", [False, True])
    def test_the_future_never_changes_the_past(self, positions, training, dropout, return_weights):
        model = make_model(positions=positions, dropout=dropout).train(training)
        tokens, padding = make_tokens(), torch.tensor(PADDING)

        def run(tokens, padding):
            set_seed(5)  # the same entries are dropped every time
            result = model(tokens, padding=padding, return_weights=return_weights)
            return result[0] if return_weights else result

        for left in (None, padding):
            logits = run(tokens, left)
            for step in range(N_TOKENS):
                other = tokens.clone()
                other[:, step] = (other[:, step] + 1) % VOCAB
                changed = run(other, left)
                torch.testing.assert_close(changed[:, :step], logits[:, :step], **FLOAT64)
                seen = torch.ones(BATCH, dtype=torch.bool) if left is None else step >= left
                assert (changed[seen, step:] != logits[seen, step:]).any(dim=-1).all()

    def test_padding_at_the_left_changes_nothing(self, positions, training):
        model, tokens, padding = make_model(positions=positions).train(training), make_tokens(), PADDING
        left = torch.tensor(padding)
        logits = model(tokens, padding=left)
        assert logits.isfinite().all()
        for row, width in enumerate(padding):
            alone = model(tokens[row : row + 1, width:])
            torch.testing.assert_close(logits[row, width:], alone[0], **FLOAT64)
        real = torch.arange(N_TOKENS) >= left[:, None]
        other = torch.where(real, tokens, (tokens + 1) % VOCAB)
        torch.testing.assert_close(model(other, padding=left)[real], logits[real], **FLOAT64)
        want, got = (
            torch.autograd.grad(
                F.cross_entropy(model(given, padding=left)[real], tokens[real]), model.parameters()
            )
            for given in (tokens, other)
        )
        torch.testing.assert_close(got, want, **GRADIENTS)
        assert all(gradient.isfinite().all() for gradient in got)
        torch.testing.assert_close(
            model(tokens, padding=torch.zeros(BATCH, dtype=torch.int64)), model(tokens), **FLOAT64
        )

    def test_padding_at_the_right_changes_nothing(self, positions, training):
        model, tokens = make_model(positions=positions).train(training), make_tokens()
        wider = F.pad(tokens, (0, 4))
        torch.testing.assert_close(model(wider)[:, :N_TOKENS], model(tokens), **FLOAT64)

    @pytest.mark.parametrize("n_kv_heads", [1, 2, 4])
    @torch.no_grad()
    def test_caches_equal_the_whole(self, positions, training, n_kv_heads):
        model = make_model(positions=positions, n_kv_heads=n_kv_heads).train(training)
        caches = build_caches(model, BATCH, N_TOKENS)
        for seed, sizes in enumerate(([1] * N_TOKENS, [3, 4], [4, 1, 2], [N_TOKENS])):
            for left in (None, torch.tensor(PADDING)):
                tokens = make_tokens(seed)
                logits, weights = model(tokens, padding=left, return_weights=True)
                real = slice(None) if left is None else torch.arange(N_TOKENS) >= left[:, None]
                parts, start = [], 0
                for chunk in tokens.split(sizes, dim=1):
                    part, looked = model(chunk, padding=left, caches=caches, return_weights=True)
                    end = start + chunk.shape[1]
                    assert looked.shape == (BATCH, 2, 4, chunk.shape[1], end)
                    torch.testing.assert_close(looked, weights[:, :, :, start:end, :end], **FLOAT64)
                    parts.append(part)
                    start = end
                torch.testing.assert_close(torch.cat(parts, dim=1)[real], logits[real], **FLOAT64)
                for cache in caches:
                    cache.reset()

    def test_arguments_are_not_written(self, positions, training):
        model, tokens, padding = (
            make_model(positions=positions).train(training),
            make_tokens(),
            torch.tensor(PADDING),
        )
        model(tokens, padding=padding).square().sum().backward()
        model(tokens, padding=padding, return_weights=True)
        assert tokens.equal(make_tokens())
        assert padding.tolist() == PADDING


@pytest.mark.parametrize("wiring", WIRINGS)
@pytest.mark.parametrize("positions", POSITIONS)
def test_weights_are_those_that_made_the_logits(wiring, positions):
    model, tokens, left = make_model(wiring=wiring, positions=positions), make_tokens(), torch.tensor(PADDING)
    logits, weights = model(tokens, padding=left, return_weights=True)
    torch.testing.assert_close(model(tokens, padding=left), logits, **FLOAT64)
    assert weights.shape == (BATCH, 2, 4, N_TOKENS, N_TOKENS)
    steps = torch.arange(N_TOKENS)
    allowed = (steps <= steps[:, None]) & (steps >= left[:, None])[:, None]
    assert not weights.masked_select(~allowed[:, None, None]).any()
    expected = allowed.any(dim=-1)[:, None, None].expand(-1, 2, 4, -1).double()  # nothing to see: 0
    torch.testing.assert_close(weights.sum(dim=-1), expected, **FLOAT64)


class TestParameters:
    def test_tied_table_is_one_parameter(self):
        tied, untied = make_model(), make_model(tied=False)
        assert tied.output_proj.weight is tied.embedding.weight
        assert untied.output_proj.weight is not untied.embedding.weight
        d, f = 24, 29
        layer = 4 * (d * d + d) + d * f + f + f * d + d + 2 * 2 * d
        expected = VOCAB * d + 2 * layer + 2 * d
        assert sum(p.numel() for p in tied.parameters()) == expected
        assert sum(p.numel() for p in untied.parameters()) == expected + VOCAB * d
        default = TransformerLanguageModel(5, d_model=24)
        assert default.layers[0].feed_forward.d_ff == 96
        assert default.layers is default.stack.layers

    def test_options_arrive(self):
        model = make_model(n_kv_heads=2, activation="gated", dropout=0.3, wiring="no-norm")
        assert model.embedding.dropout == 0.3
        assert len(model.layers) == 2
        for layer in model.layers:
            assert (layer.self_attention.n_kv_heads, layer.self_attention.dropout) == (2, 0.3)
            assert (layer.feed_forward.activation, layer.feed_forward.dropout) == ("gated", 0.3)
            assert layer.feed_forward_sublayer.wiring == "no-norm"

    @pytest.mark.parametrize("positions", POSITIONS)
    def test_copies_answer_alike_and_stay_tied(self, positions):
        model, tokens = make_model(positions=positions), make_tokens()
        loaded = make_model(seed=1, positions=positions)
        loaded.load_state_dict(model.state_dict())
        for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), loaded):
            torch.testing.assert_close(other(tokens), model(tokens), rtol=0, atol=0)
            assert other.output_proj.weight is other.embedding.weight


def test_no_positions_see_the_past_as_a_bag():
    tokens = make_tokens()
    order = torch.tensor([1, 2, 0, 3, 4, 5, 6])
    for positions in POSITIONS:
        model = make_model(positions=positions, n_layers=1)
        same = torch.allclose(model(tokens[:, order])[:, 3:], model(tokens)[:, 3:], **FLOAT64)
        assert same == (positions == "none")


def test_bad_arguments_are_refused():
    model, tokens = make_model(positions="learned"), make_tokens()
    with pytest.raises(TypeError, match=r"^tokens must be of dtype int64, got tokens.dtype=float64$"):
        model(tokens.double())
    with pytest.raises(ValueError, match=r"^tokens must hold tokens from 0 to 12, got tokens from 1 to 13$"):
        model(tokens + 1)
    with pytest.raises(ValueError, match=r"^padding must have shape \(3,\), got padding.shape=\(2,\)$"):
        model(tokens, padding=torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r"^padding must be at least 0, got padding=\[0, -1, 2\]$"):
        model(tokens, padding=torch.tensor([0, -1, 2]))
    with pytest.raises(ValueError, match=r"must be at most max_tokens=23 .*, got offset=0, n_tokens=28$"):
        model(tokens.repeat(1, 4))
    with pytest.raises(
        ValueError, match=r"^caches must be one for each of 2 layers, got caches of length 1$"
    ):
        model(tokens, caches=build_caches(model, BATCH, N_TOKENS)[:1])
    with pytest.raises(ValueError, match=r"^vocab_size must be at least 1, got vocab_size=0$"):
        TransformerLanguageModel(0)
    with pytest.raises(
        ValueError, match=r"^d_model / n_heads must be even with rotary positions, got d_model=12, n_heads=4$"
    ):
        TransformerLanguageModel(5, d_model=12)


@pytest.mark.learning
@pytest.mark.parametrize("positions", ["rotary", "none"])
def test_learns_that_words_come_back(positions):
    """Four random tokens, again and again: the next token is the one that stood three places before."""
    rng = np.random.default_rng(0)

    def batch():
        return torch.from_numpy(rng.integers(0, VOCAB, (32, 4))).repeat(1, 4)

    def loss_fn(model, tokens):
        return F.cross_entropy(model(tokens[:, :-1])[:, 3:].flatten(0, 1), tokens[:, 4:].flatten())

    set_seed(0)
    model = TransformerLanguageModel(VOCAB, d_model=32, n_heads=4, n_layers=1, positions=positions)
    train(model, batch, loss_fn, steps=150, learning_rate=1e-2)
    tokens = batch()
    with torch.no_grad():
        right = (model.eval()(tokens[:, :-1])[:, 3:].argmax(dim=-1) == tokens[:, 4:]).double().mean()
    # Without positions, one layer sees which four tokens there are, and not their order.
    assert right < 0.6 if positions == "none" else right > 0.95
