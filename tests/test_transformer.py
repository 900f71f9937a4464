"""The whole Transformer equals torch's, ignores padding, never sees the future, and learns."""

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
from attncourse.seq2seq import sequence_loss
from attncourse.tasks.pairs import END, PADDING, START
from attncourse.token_embedding import POSITIONS
from attncourse.training import set_seed, train
from attncourse.transformer import Transformer
from attncourse.transformer_parts import WIRINGS
from tests.support.tolerances import FLOAT64, GRADIENTS
from tests.support.torch_layers import torch_stack

pytestmark = pytest.mark.usefixtures("one_thread")

BATCH, N_SOURCE, N_TARGET = 3, 7, 5
SOURCE_VOCAB, TARGET_VOCAB = 11, 13
SIZES = {"d_model": 24, "n_heads": 4, "n_layers": 2, "d_ff": 29, "max_tokens": 23}
LENGTHS = [7, 2, 4]


def make_model(seed=0, **options):
    set_seed(seed)
    model = Transformer(SOURCE_VOCAB, TARGET_VOCAB, **SIZES | options)
    # Biases and norms start at 0 and 1, and could be forgotten there.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.double()


def make_batch(seed=1):
    rng = np.random.default_rng(seed)
    source = torch.from_numpy(rng.integers(3, SOURCE_VOCAB, (BATCH, N_SOURCE)))
    lengths = torch.tensor(LENGTHS)
    target = torch.from_numpy(rng.integers(3, TARGET_VOCAB, (BATCH, N_TARGET)))
    target[0, 3], target[0, 4], target[1, 4] = END, PADDING, END
    return source.masked_fill(torch.arange(N_SOURCE) >= lengths[:, None], PADDING), lengths, target


def shifted(target):
    return torch.cat([torch.full((len(target), 1), START), target[:, :-1]], dim=1)


def run_torch(model, source, lengths, target, wiring, activation):
    """The same numbers from torch's own Transformer, with gradients into our parameters."""
    options = {
        "dropout": 0.0,
        "activation": activation,
        "batch_first": True,
        "norm_first": wiring == "pre-norm",
        "dtype": torch.float64,
    }
    sizes = (SIZES["d_model"], SIZES["n_heads"], SIZES["d_ff"])

    def norm():
        return nn.LayerNorm(SIZES["d_model"], dtype=torch.float64) if wiring == "pre-norm" else None

    theirs = nn.Transformer(
        SIZES["d_model"],
        SIZES["n_heads"],
        custom_encoder=nn.TransformerEncoder(
            nn.TransformerEncoderLayer(*sizes, **options), 2, norm(), enable_nested_tensor=False
        ),
        custom_decoder=nn.TransformerDecoder(nn.TransformerDecoderLayer(*sizes, **options), 2, norm()),
        batch_first=True,
    )
    parameters = torch_stack(model.encoder, "encoder.") | torch_stack(model.decoder, "decoder.")
    assert set(parameters) == {name for name, _ in theirs.named_parameters()}
    hidden = torch.arange(N_SOURCE) >= lengths[:, None]  # torch's polarity: True is hidden
    states = functional_call(
        theirs,
        parameters,
        (model.source_embedding(source), model.target_embedding(shifted(target))),
        {
            "tgt_mask": ~causal_mask(N_TARGET, N_TARGET),
            "src_key_padding_mask": hidden,
            "memory_key_padding_mask": hidden,
        },
    )
    return states @ model.target_embedding.weight.T


@pytest.mark.parity
@pytest.mark.parametrize("wiring", ["pre-norm", "post-norm"])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("positions", ["sinusoidal", "learned"])
def test_values_and_gradients_equal_torch(wiring, activation, positions):
    model = make_model(wiring=wiring, activation=activation, positions=positions)
    source, lengths, target = make_batch()
    ours = model(source, lengths, target)
    theirs = run_torch(model, source, lengths, target, wiring, activation)
    assert ours.shape == (BATCH, N_TARGET, TARGET_VOCAB)
    torch.testing.assert_close(ours, theirs, **FLOAT64)
    torch.testing.assert_close(model(source, lengths, target, return_weights=True)[0], theirs, **FLOAT64)
    upstream = torch.randn(ours.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    names, parameters = zip(*model.named_parameters(), strict=True)
    for name, mine, other in zip(
        names,
        torch.autograd.grad((ours * upstream).sum(), parameters),
        torch.autograd.grad((theirs * upstream).sum(), parameters),
        strict=True,
    ):
        torch.testing.assert_close(mine, other, **GRADIENTS, msg=lambda text, name=name: f"{name}: {text}")
        # A bias of the keys adds the same to every score of a query: no softmax sees it.
        assert mine.abs().max() > 1e-9 or name.endswith("key_proj.bias"), name


@pytest.mark.properties
@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("training", [True, False])
class TestPromises:
    def test_garbage_behind_the_length_changes_nothing(self, positions, training):
        model, (source, lengths, target) = make_model(positions=positions).train(training), make_batch()
        garbage = torch.from_numpy(np.random.default_rng(3).integers(0, SOURCE_VOCAB, source.shape))
        dirty = torch.where(torch.arange(N_SOURCE) < lengths[:, None], source, garbage)
        assert (dirty != source).any()
        logits = model(source, lengths, target)
        torch.testing.assert_close(model(dirty, lengths, target), logits, **FLOAT64)
        want, got = (
            torch.autograd.grad(model(tokens, lengths, target).square().sum(), model.parameters())
            for tokens in (source, dirty)
        )
        torch.testing.assert_close(got, want, **GRADIENTS)
        assert all(gradient.isfinite().all() for gradient in got)
        wider = F.pad(source, (0, 4), value=PADDING)
        torch.testing.assert_close(model(wider, lengths, target), logits, **FLOAT64)
        torch.testing.assert_close(
            model.greedy_decode(wider, lengths, max_tokens=6),
            model.greedy_decode(source, lengths, max_tokens=6),
        )

    def test_sentences_of_a_batch_do_not_meet(self, positions, training):
        model, (source, lengths, target) = make_model(positions=positions).train(training), make_batch()
        logits = model(source, lengths, target)
        for row, length in enumerate(LENGTHS):
            one = slice(row, row + 1)
            torch.testing.assert_close(model(source[one], lengths[one], target[one]), logits[one], **FLOAT64)
            # Without padding there is no mask at all.
            bare = source[one, :length]
            torch.testing.assert_close(model(bare, lengths[one], target[one]), logits[one], **FLOAT64)
        order = torch.tensor([2, 0, 1])
        torch.testing.assert_close(
            model(source[order], lengths[order], target[order]), logits[order], **FLOAT64
        )

    @pytest.mark.parametrize("dropout", [0.0, 0.3])
    @pytest.mark.parametrize("return_weights", [False, True])
    def test_the_future_never_changes_the_past(self, positions, training, dropout, return_weights):
        model = make_model(positions=positions, dropout=dropout).train(training)
        source, lengths, target = make_batch()

        def run(target):
            set_seed(5)  # the same entries are dropped every time
            result = model(source, lengths, target, return_weights=return_weights)
            return result[0] if return_weights else result

        logits = run(target)
        for step in range(N_TARGET):
            other = target.clone()
            other[:, step] = (other[:, step] + 1) % TARGET_VOCAB
            changed = run(other)
            torch.testing.assert_close(changed[:, : step + 1], logits[:, : step + 1], **FLOAT64)
            if step + 1 < N_TARGET:
                assert (changed[:, step + 1 :] != logits[:, step + 1 :]).any(dim=-1).all()

    def test_the_first_target_token_sees_the_whole_source(self, positions, training):
        model, (source, lengths, target) = make_model(positions=positions).train(training), make_batch()
        logits = model(source, lengths, target)
        for row, length in enumerate(LENGTHS):
            for place in range(length):
                other = source.clone()
                other[row, place] = (other[row, place] + 1) % SOURCE_VOCAB
                assert (model(other, lengths, target)[row, 0] != logits[row, 0]).any()

    def test_rereading_step_by_step_equals_teacher_forcing(self, positions, training):
        model, (source, lengths, target) = make_model(positions=positions).train(training), make_batch()
        logits = model(source, lengths, target)
        memory, previous = model.encode(source, lengths), shifted(target)
        for step in range(N_TARGET):
            last = model.decode(previous[:, : step + 1], memory)[:, -1]
            torch.testing.assert_close(last, logits[:, step], **FLOAT64)

    @torch.no_grad()
    def test_caches_equal_teacher_forcing(self, positions, training):
        model = make_model(positions=positions, n_kv_heads=2).train(training)
        source, lengths, target = make_batch()
        logits, weights = model(source, lengths, target, return_weights=True)
        memory, previous = model.encode(source, lengths), shifted(target)
        for sizes in ([1] * N_TARGET, [3, 2]):
            caches = build_caches(model.decoder, BATCH, N_TARGET)
            memory_caches = build_caches(model.decoder, BATCH, N_SOURCE)
            start = 0
            for tokens in previous.split(sizes, dim=1):
                part, looked, cross = model.decode(
                    tokens, memory, caches=caches, memory_caches=memory_caches, return_weights=True
                )
                end = start + tokens.shape[1]
                torch.testing.assert_close(part, logits[:, start:end], **FLOAT64)
                torch.testing.assert_close(looked, weights.decoder[:, :, :, start:end, :end], **FLOAT64)
                torch.testing.assert_close(cross, weights.cross[:, :, :, start:end], **FLOAT64)
                start = end
            assert [cache.length for cache in caches] == [N_TARGET] * 2
            assert [cache.length for cache in memory_caches] == [N_SOURCE] * 2

    def test_arguments_are_not_written(self, positions, training):
        model, batch = make_model(positions=positions).train(training), make_batch()
        copies = [array.clone() for array in batch]
        sequence_loss(model(*batch), batch[2]).backward()
        model(*batch, return_weights=True)
        model.greedy_decode(*batch[:2], max_tokens=3)
        for array, before in zip(batch, copies, strict=True):
            torch.testing.assert_close(array, before, rtol=0, atol=0)


@pytest.mark.parametrize("wiring", WIRINGS)
@pytest.mark.parametrize("n_kv_heads", [1, 2, 4])
def test_weights_are_those_that_made_the_logits(wiring, n_kv_heads):
    model = make_model(wiring=wiring, n_kv_heads=n_kv_heads, activation="gated")
    source, lengths, target = make_batch()
    logits, weights = model(source, lengths, target, return_weights=True)
    torch.testing.assert_close(model(source, lengths, target), logits, **FLOAT64)
    assert weights.encoder.shape == (BATCH, 2, 4, N_SOURCE, N_SOURCE)
    assert weights.decoder.shape == (BATCH, 2, 4, N_TARGET, N_TARGET)
    assert weights.cross.shape == (BATCH, 2, 4, N_TARGET, N_SOURCE)
    real = (torch.arange(N_SOURCE) < lengths[:, None])[:, None, None, None]
    for maps, allowed in (
        (weights.encoder, real),
        (weights.decoder, causal_mask(N_TARGET, N_TARGET)),
        (weights.cross, real),
    ):
        torch.testing.assert_close(maps.sum(dim=-1), torch.ones(maps.shape[:-1]).double(), **FLOAT64)
        assert not maps.masked_select(~allowed).any()
        assert wiring == "no-norm" or (maps.masked_select(allowed) > 0).all()  # large scores round to 0
    # The first layer's cross-attention, step by step from the formula: the weights make the output.
    layer = model.decoder.layers[0]
    x = model.target_embedding(shifted(target))
    x = layer.self_attention_sublayer(x, lambda y: layer.self_attention(y, is_causal=True))
    memory = model.encode(source, lengths).states
    asking = layer.cross_attention_sublayer.norm(x) if wiring in ("pre-norm", "no-residual") else x
    attention = layer.cross_attention
    heads = []
    for head in range(4):
        served = head // (4 // n_kv_heads)
        query = attention.query_proj(asking)[..., 6 * head : 6 * head + 6]
        key = attention.key_proj(memory)[..., 6 * served : 6 * served + 6]
        scores = (query @ key.transpose(1, 2) / 6**0.5).masked_fill(~real[:, 0, 0], -torch.inf)
        torch.testing.assert_close(scores.softmax(dim=-1), weights.cross[:, 0, head], **FLOAT64)
        value = attention.value_proj(memory)[..., 6 * served : 6 * served + 6]
        heads.append(weights.cross[:, 0, head] @ value)
    made = attention.output_proj(torch.cat(heads, dim=-1))
    used = attention(asking, memory, mask=real[:, 0])
    torch.testing.assert_close(made, used, **FLOAT64)


class TestMemory:
    def test_mask(self):
        model, (source, lengths, _) = make_model(), make_batch()
        memory, weights = model.encode(source, lengths, return_weights=True)
        assert memory.states.shape == (BATCH, N_SOURCE, SIZES["d_model"])
        assert memory.mask.shape == (BATCH, 1, 1, N_SOURCE)
        assert memory.mask.sum(dim=-1).flatten().tolist() == LENGTHS
        assert weights.shape == (BATCH, 2, 4, N_SOURCE, N_SOURCE)
        torch.testing.assert_close(model.encode(source, lengths).states, memory.states, **FLOAT64)
        assert model.encode(source, torch.full((BATCH,), N_SOURCE)).mask is None


class TestGreedyDecode:
    @pytest.mark.parametrize("positions", POSITIONS)
    def test_every_token_is_the_likeliest_after_those_before_it(self, positions):
        ends = set()
        for seed in range(6):
            model, (source, lengths, _) = make_model(seed, positions=positions), make_batch(seed)
            written = model.greedy_decode(source, lengths, max_tokens=9)
            assert not written.requires_grad
            logits = model(source, lengths, written)
            best = logits[..., END:].argmax(dim=-1) + END
            before_end = (written == END).cumsum(dim=1) - (written == END).int() == 0
            torch.testing.assert_close(written, torch.where(before_end, best, PADDING), rtol=0, atol=0)
            ends |= set((written != PADDING).sum(dim=1).tolist())
        assert len(ends) > 1  # rows ended at different places

    def test_stops_when_all_have_ended(self):
        model, (source, lengths, _) = make_model(tied=False), make_batch()
        with torch.no_grad():
            model.output_proj.weight.zero_()  # END is the first of equals
        assert model.greedy_decode(source, lengths, max_tokens=9).tolist() == [[END]] * BATCH

    def test_bad_arguments_are_refused(self):
        model, (source, lengths, _) = make_model(), make_batch()
        with pytest.raises(ValueError, match=r"^max_tokens must be at least 1, got max_tokens=0$"):
            model.greedy_decode(source, lengths, max_tokens=0)
        with pytest.raises(ValueError, match=r"^lengths must be at least 1, got lengths=\[6, 1, 0\]$"):
            model.greedy_decode(source, torch.tensor([6, 1, 0]), max_tokens=2)


class TestParameters:
    def test_tied_table_is_one_parameter_with_one_gradient(self):
        tied, untied = make_model(), make_model(tied=False)
        assert tied.output_proj.weight is tied.target_embedding.weight
        assert untied.output_proj.weight is not untied.target_embedding.weight
        more = sum(p.numel() for p in untied.parameters()) - sum(p.numel() for p in tied.parameters())
        assert more == TARGET_VOCAB * SIZES["d_model"]
        # The gradient of the one is the sum over both places, as if there were two equal tables.
        untied.load_state_dict(tied.state_dict())
        source, lengths, target = make_batch()
        for model in (tied, untied):
            sequence_loss(model(source, lengths, target), target).backward()
        both = untied.output_proj.weight.grad + untied.target_embedding.weight.grad
        torch.testing.assert_close(tied.target_embedding.weight.grad, both, **GRADIENTS)
        assert untied.target_embedding.weight.grad.any()

    def test_count(self):
        d, f = 24, 29
        attention, feed_forward, norm = 4 * (d * d + d), d * f + f + f * d + d, 2 * d
        expected = (SOURCE_VOCAB + TARGET_VOCAB) * d
        expected += 2 * (attention + feed_forward + 2 * norm) + 2 * (2 * attention + feed_forward + 3 * norm)
        assert sum(p.numel() for p in make_model().parameters()) == expected + 2 * norm
        assert sum(p.numel() for p in make_model(wiring="post-norm").parameters()) == expected
        default = Transformer(5, 5, d_model=24)
        assert default.encoder.layers[0].feed_forward.d_ff == 96

    def test_options_arrive(self):
        model = make_model(n_kv_heads=2, activation="gated", dropout=0.3, wiring="no-norm")
        assert model.source_embedding.dropout == model.target_embedding.dropout == 0.3
        assert len(model.encoder.layers) == len(model.decoder.layers) == 2
        for layer in (*model.encoder.layers, *model.decoder.layers):
            assert (layer.self_attention.n_kv_heads, layer.self_attention.dropout) == (2, 0.3)
            assert (layer.feed_forward.activation, layer.feed_forward.dropout) == ("gated", 0.3)
            assert layer.feed_forward_sublayer.wiring == "no-norm"
        assert [layer.cross_attention.n_kv_heads for layer in model.decoder.layers] == [2, 2]

    @pytest.mark.parametrize("positions", POSITIONS)
    def test_copies_answer_alike_and_stay_tied(self, positions):
        model, batch = make_model(positions=positions), make_batch()
        loaded = make_model(seed=1, positions=positions)
        loaded.load_state_dict(model.state_dict())
        for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), loaded):
            torch.testing.assert_close(other(*batch), model(*batch), rtol=0, atol=0)
            assert other.output_proj.weight is other.target_embedding.weight
            with torch.no_grad():
                other.target_embedding.weight.add_(1.0)
            assert not torch.equal(other.target_embedding.weight, model.target_embedding.weight)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
    def test_dtype_is_kept(self, dtype):
        batch = make_batch()
        for positions in POSITIONS:
            model = make_model(positions=positions)
            expected = model(*batch)
            logits = model.to(dtype)(*batch)
            assert logits.dtype == dtype
            assert logits.isfinite().all()
            if dtype == torch.float32:
                torch.testing.assert_close(logits.double(), expected, rtol=1e-4, atol=1e-4)


def test_dropout_acts_in_training_only():
    model, batch = make_model(dropout=0.3), make_batch()
    assert not torch.equal(model(*batch), model(*batch))
    model.eval()
    torch.testing.assert_close(model(*batch), make_model()(*batch), **FLOAT64)


def test_no_positions_cannot_tell_orders_of_the_source_apart():
    source, lengths, target = make_batch()
    order = torch.tensor([1, 0, 2, 3, 4, 5, 6])  # every source has at least two tokens
    for positions in POSITIONS:
        model = make_model(positions=positions)
        same = torch.allclose(
            model(source[:, order], lengths, target), model(source, lengths, target), **FLOAT64
        )
        assert same == (positions == "none")


def test_bad_arguments_are_refused():
    model, (source, lengths, target) = make_model(positions="learned"), make_batch()
    memory = model.encode(source, lengths)
    with pytest.raises(TypeError, match=r"^target must be of dtype int64, got target.dtype=float64$"):
        model(source, lengths, target.double())
    with pytest.raises(ValueError, match=r"^target must hold tokens from 0 to 12, got target from 0 to 13$"):
        model(source, lengths, target.masked_fill(target == END, 13))
    with pytest.raises(
        ValueError,
        match=r"^source and target must have the same batch size, "
        r"got source.shape=\(3, 7\), target.shape=\(2, 5\)$",
    ):
        model(source, lengths, target[:2])
    with pytest.raises(
        ValueError,
        match=r"^source and lengths must have the same batch size, "
        r"got source.shape=\(3, 7\), lengths.shape=\(2,\)$",
    ):
        model.encode(source, lengths[:2])
    with pytest.raises(TypeError, match=r"^source must be of type Tensor, got source of type ndarray$"):
        model.encode(source.numpy(), lengths)
    with pytest.raises(ValueError, match=r"^source must hold tokens from 0 to 10, got source from 1 to 11$"):
        model.encode(source + 1, lengths)
    with pytest.raises(ValueError, match=r"^lengths must lie in 0 … n_keys=7, got lengths from 2 to 8$"):
        model.encode(source, torch.tensor([8, 2, 4]))
    with pytest.raises(ValueError, match=r"^lengths must be at least 1, got lengths=\[6, 1, 0\]$"):
        model.encode(source, torch.tensor([6, 1, 0]))
    with pytest.raises(
        ValueError, match=r"^previous must hold tokens from 0 to 12, got previous from 0 to 13$"
    ):
        model.decode(target.masked_fill(target == END, 13), memory)
    with pytest.raises(
        ValueError,
        match=r"^previous and memory.states must have the same batch size, "
        r"got previous.shape=\(2, 5\), memory.states.shape=\(3, 7, 24\)$",
    ):
        model.decode(target[:2], memory)
    with pytest.raises(ValueError, match=r"must be at most max_tokens=23 .*, got offset=0, n_tokens=24$"):
        model.decode(torch.full((BATCH, 24), 3), memory)
    with pytest.raises(ValueError, match=r"^source_vocab_size must be at least 1, got source_vocab_size=0$"):
        Transformer(0, 5)
    with pytest.raises(TypeError, match=r"^target_vocab_size must be an integer, got target_vocab_size=5.0$"):
        Transformer(5, 5.0)
    with pytest.raises(ValueError, match=r"^wiring must be one of .*, got wiring='prenorm'$"):
        Transformer(5, 5, wiring="prenorm")


@pytest.mark.learning
@pytest.mark.parametrize("positions", ["sinusoidal", "learned", "none"])
def test_learns_to_write_a_source_backwards(positions):
    rng = np.random.default_rng(0)

    def batch():
        digits = torch.from_numpy(rng.integers(3, SOURCE_VOCAB, (32, 4)))
        end = torch.full((32, 1), END)
        return digits, torch.full((32,), 4), torch.cat([digits.flip(1), end], dim=1)

    set_seed(0)
    model = Transformer(SOURCE_VOCAB, SOURCE_VOCAB, d_model=32, n_heads=4, n_layers=1, positions=positions)
    train(
        model,
        batch,
        lambda model, batch: sequence_loss(model(*batch), batch[2]),
        steps=200,
        learning_rate=5e-3,
    )
    source, lengths, target = batch()
    written = model.eval().greedy_decode(source, lengths, max_tokens=6)
    width = min(written.shape[1], 5)
    right = (written[:, :width] == target[:, :width]).float().mean()
    # Without positions the source is a bag of digits.
    assert right < 0.7 if positions == "none" else right > 0.95
