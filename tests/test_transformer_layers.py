"""Layers equal torch's with copied weights, and formulas in every wiring; causality in train() and eval()."""

import copy
import math
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from attncourse.masks import causal_mask, padding_mask
from attncourse.multihead import merge_heads, split_heads
from attncourse.position_biases import alibi_bias
from attncourse.positions import rotate
from attncourse.transformer_layers import DecoderLayer, EncoderLayer
from attncourse.transformer_parts import ACTIVATIONS, WIRINGS
from tests.support.comparing import assert_same_values_and_gradients, normal, randomise
from tests.support.tolerances import BFLOAT16, FLOAT32, FLOAT64
from tests.support.torch_layers import torch_layer

BATCH, HEADS, N_TARGET, N_SOURCE, D_HEAD, D_FF = 2, 3, 5, 7, 4, 17
D_MODEL = HEADS * D_HEAD
LAYERS = {"encoder": EncoderLayer, "decoder": DecoderLayer}


def layer(kind, n_heads=HEADS, *, d_model=D_MODEL, dtype=torch.float64, **options):
    made = LAYERS[kind](d_model, n_heads, D_FF, **options)
    # The references below read these from the layer.
    assert made.feed_forward.activation == options.get("activation", "relu")
    assert made.feed_forward_sublayer.wiring == options.get("wiring", "pre-norm")
    return randomise(made, dtype=dtype)


def tokens(n_tokens=N_TARGET, *, d_model=D_MODEL, seed=1, requires_grad=True):
    return normal(BATCH, n_tokens, d_model, seed=seed).requires_grad_(requires_grad)


def run(made, x, memory=None, *args, **options):
    """Call a layer of either kind: causal in any case, and with a memory where it is a decoder's."""
    if isinstance(made, DecoderLayer):
        return made(x, memory, *args, **options)
    return made(x, *args, is_causal=True, **options)


def output_of(result):
    return result[0] if isinstance(result, tuple) else result


# torch's layers


def by_torch(ours, *arguments, dropout=0.0, training=True, seed=0, **masks):
    """Call torch's layer with our parameters, so that its gradients are gradients of ours."""
    kind = nn.TransformerDecoderLayer if isinstance(ours, DecoderLayer) else nn.TransformerEncoderLayer
    theirs = kind(
        ours.d_model,
        ours.self_attention.n_heads,
        ours.feed_forward.d_ff,
        dropout,
        activation=ours.feed_forward.activation,
        norm_first=ours.feed_forward_sublayer.wiring == "pre-norm",
        batch_first=True,
    ).train(training)
    parameters = {name.removeprefix("layer."): value for name, value in torch_layer(ours, "layer").items()}
    torch.manual_seed(seed)
    return torch.func.functional_call(theirs, parameters, arguments, masks, strict=True)


def assert_same_layer(ours, our_output, their_output, inputs):
    """Compare outputs, and the gradients of inputs and of every parameter."""
    leaves = [*inputs, *ours.parameters()]
    assert_same_values_and_gradients(our_output, their_output, [(leaf, leaf) for leaf in leaves])


def hidden(n_queries, n_keys):
    """Return a mask in torch's polarity (True = hidden) that leaves every row its first key."""
    made = torch.rand(n_queries, n_keys, generator=torch.Generator().manual_seed(5)) < 0.4
    made[:, 0] = False
    return made


def behind(lengths, n_keys):
    return torch.arange(n_keys) >= torch.tensor(lengths)[:, None]


@pytest.mark.parity
@pytest.mark.parametrize("return_weights", [False, True])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("masks", ["none", "padding", "bool", "causal", "padding and causal"])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("wiring", ["pre-norm", "post-norm"])
def test_encoder_layer_equals_torchs(wiring, activation, masks, training, return_weights):
    ours = layer("encoder", wiring=wiring, activation=activation).train(training)
    x = tokens(N_SOURCE)
    mask, their_masks = None, {}
    if "padding" in masks:
        mask = padding_mask(torch.tensor([3, N_SOURCE]), N_SOURCE).unsqueeze(1)
        their_masks["src_key_padding_mask"] = behind([3, N_SOURCE], N_SOURCE)
    if masks == "bool":
        their_masks["src_mask"] = hidden(N_SOURCE, N_SOURCE)
        mask = ~their_masks["src_mask"]
    if "causal" in masks:
        their_masks["src_mask"] = ~causal_mask(N_SOURCE, N_SOURCE)
    mine = output_of(ours(x, mask, is_causal="causal" in masks, return_weights=return_weights))
    assert_same_layer(ours, mine, by_torch(ours, x, training=training, **their_masks), [x])


@pytest.mark.parity
@pytest.mark.parametrize("return_weights", [False, True])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("masks", ["causal", "padding", "bool", "all"])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("wiring", ["pre-norm", "post-norm"])
def test_decoder_layer_equals_torchs(wiring, activation, masks, training, return_weights):
    ours = layer("decoder", wiring=wiring, activation=activation).train(training)
    x, memory = tokens(), tokens(N_SOURCE, seed=2)
    future = ~causal_mask(N_TARGET, N_TARGET)
    their_masks = {"tgt_mask": future}
    mask = memory_mask = None
    if masks in ("padding", "all"):
        mask = padding_mask(torch.tensor([2, N_TARGET]), N_TARGET).unsqueeze(1)
        memory_mask = padding_mask(torch.tensor([N_SOURCE, 4]), N_SOURCE).unsqueeze(1)
        their_masks["tgt_key_padding_mask"] = behind([2, N_TARGET], N_TARGET)
        their_masks["memory_key_padding_mask"] = behind([N_SOURCE, 4], N_SOURCE)
    if masks in ("bool", "all"):
        own, other = hidden(N_TARGET, N_TARGET), hidden(N_TARGET, N_SOURCE)
        mask = ~own if mask is None else mask & ~own
        memory_mask = ~other if memory_mask is None else memory_mask & ~other
        their_masks |= {"tgt_mask": future | own, "memory_mask": other}
    mine = output_of(ours(x, memory, mask, memory_mask, return_weights=return_weights))
    others = by_torch(ours, x, memory, training=training, **their_masks)
    assert_same_layer(ours, mine, others, [x, memory])


@pytest.mark.parity
@pytest.mark.parametrize("return_weights", [False, True])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("masks", ["none", "padding"])
@pytest.mark.parametrize("wiring", ["pre-norm", "post-norm"])
def test_decoder_layer_that_is_not_causal_equals_torchs_without_a_target_mask(
    wiring, masks, training, return_weights
):
    ours = layer("decoder", wiring=wiring, is_causal=False).train(training)
    x, memory = tokens(), tokens(N_SOURCE, seed=2)
    mask, memory_mask, their_masks = None, None, {}
    if masks == "padding":
        mask = padding_mask(torch.tensor([2, N_TARGET]), N_TARGET).unsqueeze(1)
        memory_mask = padding_mask(torch.tensor([N_SOURCE, 4]), N_SOURCE).unsqueeze(1)
        their_masks["tgt_key_padding_mask"] = behind([2, N_TARGET], N_TARGET)
        their_masks["memory_key_padding_mask"] = behind([N_SOURCE, 4], N_SOURCE)
    mine = output_of(ours(x, memory, mask, memory_mask, return_weights=return_weights))
    assert_same_layer(ours, mine, by_torch(ours, x, memory, training=training, **their_masks), [x, memory])


@pytest.mark.parity
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("wiring", ["pre-norm", "post-norm"])
@pytest.mark.parametrize("kind", LAYERS)
def test_dropout_stands_where_torch_has_it(kind, wiring, activation):
    # Both draw from one stream in the order of the layer's steps: a place more or less, and all would differ.
    # One sequence: torch's attention keeps (tokens, batch) in memory, and dropout draws in memory order.
    ours = layer(kind, wiring=wiring, activation=activation, dropout=0.3).train()
    x = normal(1, N_TARGET, D_MODEL).requires_grad_()
    memory = normal(1, N_SOURCE, D_MODEL, seed=2).requires_grad_()
    torch.manual_seed(6)
    mine = run(ours, x, memory)
    inputs = [x, memory] if kind == "decoder" else [x]
    future = {"tgt_mask" if kind == "decoder" else "src_mask": ~causal_mask(N_TARGET, N_TARGET)}
    others = by_torch(ours, *inputs, dropout=0.3, seed=6, **future)
    assert_same_layer(ours, mine, others, inputs)
    assert not torch.allclose(run(ours, x, memory), mine)


# Every wiring and option, by hand


def attention_by_hand(module, query, key, mask=None, *, score_bias=None, rotary=None):
    """Attend head by head with chapter 4's function; no mask, bias or rotation unless asked for."""
    heads, weights, group = [], [], module.n_heads // module.n_kv_heads
    queries = split_heads(F.linear(query, module.query_proj.weight, module.query_proj.bias), module.n_heads)
    keys = split_heads(F.linear(key, module.key_proj.weight, module.key_proj.bias), module.n_kv_heads)
    values = split_heads(F.linear(key, module.value_proj.weight, module.value_proj.bias), module.n_kv_heads)
    if rotary is not None:
        queries, keys = rotate(queries, layout=rotary), rotate(keys, layout=rotary)
    for head in range(module.n_heads):
        scores = queries[:, head] @ keys[:, head // group].mT / math.sqrt(module.d_head)
        if score_bias is not None:
            scores = scores + score_bias[head]
        if mask is not None:
            scores = scores.masked_fill(~mask, -math.inf)
        map_ = scores.softmax(dim=-1)
        heads.append(map_ @ values[:, head // group])
        weights.append(map_)
    return module.output_proj(merge_heads(torch.stack(heads, dim=1))), torch.stack(weights, dim=1)


def feed_forward_by_hand(module, x):
    inner = module.inner_proj(x)
    if module.activation == "gated":
        gate = module.gate_proj(x)
        return module.output_proj(gate * torch.sigmoid(gate) * inner)
    return module.output_proj({"relu": torch.relu, "gelu": F.gelu}[module.activation](inner))


def wired_by_hand(sublayer, wiring, x, function):
    """Return (output, weights) of a function that returns both."""
    if wiring == "no-norm":
        output, weights = function(x)
        return x + output, weights

    def norm(x):
        return F.layer_norm(x, x.shape[-1:], sublayer.norm.weight, sublayer.norm.bias)

    output, weights = function(x if wiring == "post-norm" else norm(x))
    output = output if wiring == "no-residual" else x + output
    return norm(output) if wiring == "post-norm" else output, weights


@pytest.mark.parametrize("return_weights", [False, True])
@pytest.mark.parametrize(
    ("n_kv_heads", "rotary", "bias"), [(None, None, False), (2, "half", False), (1, "interleaved", True)]
)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("wiring", WIRINGS)
@pytest.mark.parametrize("kind", LAYERS)
def test_equals_its_parts_wired_by_hand(kind, wiring, activation, n_kv_heads, rotary, bias, return_weights):
    options = {"n_kv_heads": n_kv_heads, "wiring": wiring, "activation": activation, "rotary": rotary}
    made = layer(kind, 6, d_model=24, **options)
    x, memory = tokens(d_model=24), tokens(N_SOURCE, d_model=24, seed=2)
    score_bias = alibi_bias(6, N_TARGET, N_TARGET).double() if bias else None
    causal = causal_mask(N_TARGET, N_TARGET)
    memory_mask = ~hidden(N_TARGET, N_SOURCE)

    wanted, *wanted_weights = wired_by_hand(
        made.self_attention_sublayer,
        wiring,
        x,
        lambda x: attention_by_hand(made.self_attention, x, x, causal, score_bias=score_bias, rotary=rotary),
    )
    if kind == "decoder":
        wanted, weights = wired_by_hand(
            made.cross_attention_sublayer,
            wiring,
            wanted,
            lambda x: attention_by_hand(made.cross_attention, x, memory, memory_mask),
        )
        wanted_weights.append(weights)
    wanted, _ = wired_by_hand(
        made.feed_forward_sublayer,
        wiring,
        wanted,
        lambda x: (feed_forward_by_hand(made.feed_forward, x), None),
    )

    memory_options = {"memory_mask": memory_mask} if kind == "decoder" else {}
    result = run(made, x, memory, score_bias=score_bias, return_weights=return_weights, **memory_options)
    leaves = [x, *made.parameters()] + ([memory] if kind == "decoder" else [])
    assert_same_values_and_gradients(output_of(result), wanted, [(leaf, leaf) for leaf in leaves])
    if return_weights:
        assert len(result) == 1 + len(wanted_weights)
        for got, want in zip(result[1:], wanted_weights, strict=True):
            torch.testing.assert_close(got, want, **FLOAT64)


@pytest.mark.parametrize("wiring", WIRINGS)
def test_encoder_layer_is_not_causal_unless_asked(wiring):
    made = layer("encoder", wiring=wiring)
    x = tokens(requires_grad=False)
    other = x.clone()
    other[:, -1] += normal(D_MODEL, seed=9)  # not a shift, which a norm would forget
    assert (made(other)[:, 0] != made(x)[:, 0]).all(dim=-1).all()
    explicit = made(x, causal_mask(N_TARGET, N_TARGET))
    torch.testing.assert_close(made(x, is_causal=True), explicit, **FLOAT64)
    assert not torch.allclose(made(x), explicit)


# The weights


@pytest.mark.parametrize("kind", LAYERS)
def test_weights_returned_are_those_that_made_the_output(kind):
    made = layer(kind, 6, d_model=24, n_kv_heads=2).train()
    for name in ("self_attention", "cross_attention"):
        if hasattr(made, name):
            getattr(made, name).dropout = 0.4
    x, memory = tokens(d_model=24), tokens(N_SOURCE, d_model=24, seed=2)
    output, *maps = run(made, x, memory, return_weights=True)
    assert [map_.shape for map_ in maps] == [(BATCH, 6, N_TARGET, N_TARGET), (BATCH, 6, N_TARGET, N_SOURCE)][
        : len(maps)
    ]
    assert (maps[0] == 0).sum() > BATCH * 6 * N_TARGET * (N_TARGET - 1) / 2  # more than the future: dropout

    def mix(module, inner, source, map_):
        value = split_heads(module.value_proj(source(inner)), 2).repeat_interleave(3, dim=1)
        return module.output_proj(merge_heads(map_ @ value)), None

    state, _ = wired_by_hand(
        made.self_attention_sublayer,
        "pre-norm",
        x,
        lambda inner: mix(made.self_attention, inner, lambda inner: inner, maps[0]),
    )
    if kind == "decoder":
        state, _ = wired_by_hand(
            made.cross_attention_sublayer,
            "pre-norm",
            state,
            lambda inner: mix(made.cross_attention, inner, lambda inner: memory, maps[1]),
        )
    state, _ = wired_by_hand(
        made.feed_forward_sublayer, "pre-norm", state, lambda inner: (made.feed_forward(inner), None)
    )
    torch.testing.assert_close(output, state, **FLOAT64)


@pytest.mark.parametrize("kind", LAYERS)
def test_without_weights_a_tensor_comes_back_and_with_them_the_same_values(kind):
    made = layer(kind)
    x, memory = tokens(), tokens(N_SOURCE, seed=2)
    alone, together = run(made, x, memory), run(made, x, memory, return_weights=True)
    assert isinstance(alone, torch.Tensor)
    assert len(together) == {"encoder": 2, "decoder": 3}[kind]
    torch.testing.assert_close(together[0], alone, **FLOAT64)


# Causality and independence


@pytest.mark.properties
@pytest.mark.parametrize("return_weights", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("wiring", WIRINGS)
@pytest.mark.parametrize("kind", LAYERS)
def test_changing_the_future_never_changes_the_past(kind, wiring, training, dropout, return_weights):
    made = layer(kind, wiring=wiring, dropout=dropout, rotary="half").train(training)
    x, memory = tokens(requires_grad=False), tokens(N_SOURCE, seed=2, requires_grad=False)

    def output(x):
        torch.manual_seed(7)  # the same places are dropped
        return output_of(run(made, x, memory, return_weights=return_weights))

    before = output(x)
    for changed in range(N_TARGET):
        other = x.clone()
        other[:, changed:] = 3.0 * normal(BATCH, N_TARGET - changed, D_MODEL, seed=8)
        after = output(other)
        torch.testing.assert_close(after[:, :changed], before[:, :changed], **FLOAT64)
        seen = (after[:, changed:] != before[:, changed:]).any(dim=-1)
        # Without a residual path, a token whose own weight is dropped does not see itself.
        assert seen.any() if dropout else seen.all()


@pytest.mark.properties
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("wiring", WIRINGS)
def test_every_target_token_sees_every_source_token_and_nothing_hidden(wiring, training):
    made = layer("decoder", wiring=wiring, rotary="half").train(training)
    x, memory = tokens(requires_grad=False), tokens(N_SOURCE, seed=2, requires_grad=False)
    memory_mask = padding_mask(torch.tensor([N_SOURCE, 4]), N_SOURCE).unsqueeze(1)
    before = made(x, memory, memory_mask=memory_mask)
    for token in range(N_SOURCE):
        other = memory.clone()
        other[:, token] += 100 * normal(D_MODEL, seed=9)
        changed = (made(x, other, memory_mask=memory_mask) != before).any(dim=-1)  # (batch, n_target)
        assert changed[0].all()
        assert changed[1].all() == changed[1].any() == (token < 4)


@pytest.mark.properties
def test_the_order_of_the_memory_does_not_matter_and_positions_are_those_of_the_target():
    made = layer("decoder", rotary="half")
    # As many target tokens as source tokens: a bias that reached the wrong attention would fit there.
    x, memory = tokens(N_SOURCE, requires_grad=False), tokens(N_SOURCE, seed=2, requires_grad=False)
    order = torch.randperm(N_SOURCE, generator=torch.Generator().manual_seed(10))
    memory_mask = ~hidden(N_SOURCE, N_SOURCE)
    options = {"score_bias": alibi_bias(HEADS, N_SOURCE, N_SOURCE).double(), "return_weights": True}
    output, own, cross = made(x, memory, memory_mask=memory_mask, **options)
    moved, same, moved_cross = made(x, memory[:, order], memory_mask=memory_mask[:, order], **options)
    torch.testing.assert_close(moved, output, **FLOAT64)
    torch.testing.assert_close(same, own, **FLOAT64)
    torch.testing.assert_close(moved_cross, cross[..., order], **FLOAT64)


@pytest.mark.properties
@pytest.mark.parametrize("wiring", WIRINGS)
@pytest.mark.parametrize("kind", LAYERS)
def test_sequences_are_independent_and_padding_changes_nothing(kind, wiring):
    made = layer(kind, wiring=wiring)
    x, memory = tokens(requires_grad=False), tokens(N_SOURCE, seed=2, requires_grad=False)
    lengths, source_lengths = [3, N_TARGET], [N_SOURCE, 4]
    masks = [padding_mask(torch.tensor(lengths), N_TARGET).unsqueeze(1)]
    if kind == "decoder":
        masks.append(padding_mask(torch.tensor(source_lengths), N_SOURCE).unsqueeze(1))

    def output(x, *args):
        return made(x, memory, *args) if kind == "decoder" else made(x, *args)

    whole = output(x, *masks)
    for item, (n_target, n_source) in enumerate(zip(lengths, source_lengths, strict=True)):
        one, its_memory = x[item : item + 1, :n_target], memory[item : item + 1, :n_source]
        alone = made(one, its_memory) if kind == "decoder" else made(one)
        torch.testing.assert_close(whole[item : item + 1, :n_target], alone, **FLOAT64)
    x[0, 3:], memory[1, 4:] = 1e4, -1e4
    garbage = output(x, *masks)
    torch.testing.assert_close(garbage[0, :3], whole[0, :3], **FLOAT64)
    torch.testing.assert_close(garbage[1], whole[1], **FLOAT64)


@pytest.mark.parametrize("return_weights", [False, True])
def test_a_token_that_may_look_nowhere_gets_the_bias_of_the_output_projection(return_weights):
    made = layer("decoder", wiring="no-norm", activation="relu")
    for part in made.feed_forward.parameters():
        part.data.zero_()
    x, memory = tokens(), tokens(N_SOURCE, seed=2)
    mask = torch.ones(BATCH, 1, N_TARGET, N_TARGET, dtype=torch.bool)
    memory_mask = torch.ones(BATCH, 1, N_TARGET, N_SOURCE, dtype=torch.bool)
    mask[1, :, 2] = memory_mask[1, :, 2] = False
    output = output_of(made(x, memory, mask, memory_mask, return_weights=return_weights))
    biases = made.self_attention.output_proj.bias + made.cross_attention.output_proj.bias
    torch.testing.assert_close(output[1, 2], x[1, 2] + biases, **FLOAT64)
    gradients = torch.autograd.grad(output.square().sum(), [x, memory])
    assert all(gradient.isfinite().all() for gradient in gradients)


# Caches


class GrowingCache:
    """The least that a layer asks of a cache."""

    def __init__(self):
        self.key = self.value = None

    @property
    def length(self):
        return 0 if self.key is None else self.key.shape[2]

    def append(self, key, value):
        if self.key is not None:
            key, value = torch.cat([self.key, key], dim=2), torch.cat([self.value, value], dim=2)
        self.key, self.value = key, value
        return key, value


@pytest.mark.parametrize("return_weights", [False, True])
@pytest.mark.parametrize("chunks", [(1,) * N_SOURCE, (3, 4), (4, 1, 2)])
@pytest.mark.parametrize(("n_kv_heads", "rotary"), [(None, None), (2, "half"), (1, "interleaved")])
@pytest.mark.parametrize("kind", LAYERS)
def test_chunks_with_caches_equal_the_whole(kind, n_kv_heads, rotary, chunks, return_weights):
    made = layer(kind, 6, d_model=24, n_kv_heads=n_kv_heads, rotary=rotary)
    memory_mask = padding_mask(torch.tensor([4, 11]), 11).unsqueeze(1)
    for seed in (1, 2):  # two sequences in a row
        x = tokens(N_SOURCE, d_model=24, seed=seed)
        memory = tokens(11, d_model=24, seed=10 + seed)
        masks = {"memory_mask": memory_mask} if kind == "decoder" else {}
        whole = run(made, x, memory, return_weights=True, **masks)
        cache, memory_cache, start = GrowingCache(), GrowingCache(), 0
        for n_tokens in chunks:
            end = start + n_tokens
            options = {"cache": cache, "return_weights": return_weights, **masks}
            if kind == "decoder":
                options["memory_cache"] = memory_cache
            result = run(made, x[:, start:end], memory if start == 0 else memory[:, :0], **options)
            torch.testing.assert_close(output_of(result), whole[0][:, start:end], **FLOAT64)
            if return_weights:
                torch.testing.assert_close(result[1], whole[1][:, :, start:end, :end], **FLOAT64)
            if return_weights and kind == "decoder":
                torch.testing.assert_close(result[2], whole[2][:, :, start:end], **FLOAT64)
            start = end
            assert cache.length == end
            assert cache.key.shape[1] == (n_kv_heads or 6)
        assert memory_cache.length == (11 if kind == "decoder" else 0)


def test_caches_hold_the_keys_of_their_own_attention():
    made = layer("decoder")
    x, memory = tokens(), tokens(N_SOURCE, seed=2)
    cache, memory_cache = GrowingCache(), GrowingCache()
    made(x, memory, cache=cache, memory_cache=memory_cache)
    normed = made.self_attention_sublayer.norm(x)
    torch.testing.assert_close(merge_heads(cache.key), made.self_attention.key_proj(normed), **FLOAT64)
    torch.testing.assert_close(merge_heads(cache.value), made.self_attention.value_proj(normed), **FLOAT64)
    torch.testing.assert_close(
        merge_heads(memory_cache.key), made.cross_attention.key_proj(memory), **FLOAT64
    )
    torch.testing.assert_close(
        merge_heads(memory_cache.value), made.cross_attention.value_proj(memory), **FLOAT64
    )


# Dropout, dtypes


@pytest.mark.parametrize("wiring", WIRINGS)
@pytest.mark.parametrize("kind", LAYERS)
def test_dropout_is_active_in_training_alone(kind, wiring):
    made, plain = layer(kind, wiring=wiring, dropout=0.5), layer(kind, wiring=wiring).train()
    x, memory = tokens(), tokens(N_SOURCE, seed=2)
    state = torch.get_rng_state()
    for return_weights in (False, True):
        torch.testing.assert_close(
            output_of(run(made.eval(), x, memory, return_weights=return_weights)),
            output_of(run(plain, x, memory, return_weights=return_weights)),
            rtol=0,
            atol=0,
        )
    assert torch.equal(torch.get_rng_state(), state)
    made.train()
    torch.manual_seed(7)
    first, again = run(made, x, memory), run(made, x, memory)
    torch.manual_seed(7)
    assert torch.equal(run(made, x, memory), first)
    assert not torch.equal(again, first)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, FLOAT32), (torch.bfloat16, BFLOAT16)])
@pytest.mark.parametrize("wiring", WIRINGS)
@pytest.mark.parametrize("kind", LAYERS)
def test_lower_precision_stays_near_float64(kind, wiring, dtype, tolerance):
    low = layer(kind, wiring=wiring, dtype=dtype, rotary="half")
    x, memory = (normal(BATCH, size, D_MODEL, seed=size, dtype=dtype) for size in (N_TARGET, N_SOURCE))
    got, want = run(low, x, memory), run(copy.deepcopy(low).double(), x.double(), memory.double())
    assert got.dtype == dtype
    # A dozen roundings in a row, of numbers up to about 30.
    error = (got.double() - want).abs().max() / want.abs().max()
    assert error < 2 * tolerance["rtol"]
    gradients = torch.autograd.grad(got.float().square().mean(), list(low.parameters()))
    assert all(gradient.isfinite().all() for gradient in gradients)


# Modules like any other


@pytest.mark.parametrize("wiring", WIRINGS)
@pytest.mark.parametrize("kind", LAYERS)
def test_copies_state_dicts_and_pickles_give_the_same_numbers(kind, wiring):
    options = {"wiring": wiring, "activation": "gated", "n_kv_heads": 2, "rotary": "half", "dropout": 0.1}
    made = layer(kind, 6, d_model=24, **options).eval()
    x, memory = tokens(d_model=24), tokens(N_SOURCE, d_model=24, seed=2)
    loaded = LAYERS[kind](24, 6, D_FF, **options).double().eval()
    loaded.load_state_dict(made.state_dict())
    before, wanted = dict(vars(made)), run(made, x, memory, return_weights=True)
    for other in (copy.deepcopy(made), pickle.loads(pickle.dumps(made)), loaded):
        again = run(other, x, memory, return_weights=True)
        assert all(torch.equal(one, two) for one, two in zip(again, wanted, strict=True))
    assert vars(made) == before


@pytest.mark.parametrize("kind", LAYERS)
def test_number_of_parameters(kind):
    def count(**options):
        return sum(p.numel() for p in LAYERS[kind](24, 6, 32, **options).parameters())

    attentions = {"encoder": 1, "decoder": 2}[kind]
    attention, feed, norm = 4 * (24 * 24 + 24), 2 * 24 * 32 + 32 + 24, 2 * 24
    assert count() == attentions * (attention + norm) + feed + norm
    assert count(wiring="no-norm") == attentions * attention + feed
    grouped = 2 * (24 * 24 + 24) + 2 * (24 * 8 + 8)
    gated = 3 * 24 * 32
    assert count(n_kv_heads=2, activation="gated") == attentions * (grouped + norm) + gated + norm


@pytest.mark.parametrize("return_weights", [False, True])
@pytest.mark.parametrize("wiring", WIRINGS)
@pytest.mark.parametrize("kind", LAYERS)
def test_inputs_are_not_written(kind, wiring, return_weights):
    made = layer(kind, wiring=wiring, dropout=0.5, rotary="half").train()
    arguments = [tokens(requires_grad=False), tokens(N_SOURCE, seed=2, requires_grad=False)]
    options = {
        "mask": ~hidden(N_TARGET, N_TARGET),
        "score_bias": alibi_bias(HEADS, N_TARGET, N_TARGET).double(),
    }
    if kind == "decoder":
        options["memory_mask"] = ~hidden(N_TARGET, N_SOURCE)
    copies = copy.deepcopy((arguments, options))
    run(made, *arguments, **options, return_weights=return_weights)
    torch.testing.assert_close((arguments, options), copies, rtol=0, atol=0)


@pytest.mark.gradients
@pytest.mark.parametrize("wiring", WIRINGS)
@pytest.mark.parametrize("kind", LAYERS)
def test_gradcheck(kind, wiring):
    made = layer(kind, 2, d_model=4, wiring=wiring, activation="gelu", rotary="half")
    x, memory = normal(2, 3, 4).requires_grad_(), normal(2, 5, 4, seed=2).requires_grad_()
    inputs = [x, memory] if kind == "decoder" else [x]
    for return_weights in (False, True):
        assert torch.autograd.gradcheck(
            lambda *inputs, weights=return_weights: run(made, *inputs, return_weights=weights), inputs
        )


# Errors


@pytest.mark.parametrize(
    ("arguments", "options", "error", "text"),
    [
        ((0, 1, 17), {}, ValueError, "d_model must be at least 1, got d_model=0"),
        ((12.0, 3, 17), {}, TypeError, r"d_model must be an integer, got d_model=12\.0"),
        ((12, 5, 17), {}, ValueError, "n_heads must divide d_model=12, got n_heads=5"),
        ((12, 3, 0), {}, ValueError, "d_ff must be at least 1, got d_ff=0"),
        ((12, 3, 17), {"n_kv_heads": 2}, ValueError, "n_kv_heads must divide n_heads=3, got n_kv_heads=2"),
        ((12, 3, 17), {"wiring": "norm"}, ValueError, "wiring must be one of .*, got wiring='norm'"),
        ((12, 3, 17), {"activation": "tanh"}, ValueError, "activation must be one of .*'tanh'"),
        ((12, 3, 17), {"dropout": 1.0}, ValueError, r"dropout must be below 1, got dropout=1\.0"),
        ((12, 3, 17), {"dropout": "no"}, TypeError, "dropout must be a number, got dropout='no'"),
        (
            (12, 3, 17),
            {"rotary": "whole"},
            ValueError,
            "rotary must be one of 'half', 'interleaved', got rotary='whole'",
        ),
    ],
)
@pytest.mark.parametrize("kind", LAYERS)
def test_bad_arguments(kind, arguments, options, error, text):
    with pytest.raises(error, match=text):
        LAYERS[kind](*arguments, **options)


@pytest.mark.parametrize("wiring", WIRINGS)
@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize(
    ("x", "error", "text"),
    [
        ([[[1.0]]], TypeError, "x must be of type Tensor, got x of type list"),
        (torch.ones(2, 5, 12).long(), TypeError, r"x must be floating point, got x\.dtype=int64"),
        (torch.ones(5, 12), ValueError, r"x must have 3 axes, got x\.shape=\(5, 12\)"),
        (
            torch.ones(2, 5, 13),
            ValueError,
            r"x must have d_model=12 as its last axis, got x\.shape=\(2, 5, 13\)",
        ),
        (torch.ones(2, 0, 12), ValueError, r"query must not be empty, got query\.shape=\(2, 0, 12\)"),
        (torch.full((2, 5, 12), math.nan), ValueError, "query must not contain NaN"),
    ],
)
def test_bad_x(kind, wiring, x, error, text):
    made = LAYERS[kind](12, 3, 17, wiring=wiring)
    with pytest.raises(error, match=text):
        run(made, x, torch.ones(2, 7, 12))


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"memory": [[[1.0]]]}, TypeError, "memory must be of type Tensor"),
        ({"memory": torch.ones(2, 7, 12).long()}, TypeError, "memory must be floating point"),
        ({"memory": torch.ones(7, 12)}, ValueError, r"memory must have 3 axes, got memory\.shape=\(7, 12\)"),
        ({"memory": torch.ones(2, 7, 11)}, ValueError, "memory must have d_model=12 as its last axis"),
        (
            {"memory": torch.ones(3, 7, 12)},
            ValueError,
            r"x and memory must have the same batch size, got x\.shape=\(2, 5, 12\), memory\.shape=\(3,",
        ),
        ({"memory": torch.ones(2, 0, 12)}, ValueError, "key must not be empty"),
        ({"mask": torch.ones(5, 7).bool()}, ValueError, r"mask must broadcast .*=\(2, 3, 5, 5\), got"),
        ({"mask": torch.ones(2, 5, 5).bool()}, ValueError, "mask must have two axes"),
        ({"memory_mask": torch.ones(5, 5).bool()}, ValueError, r"mask must broadcast .*=\(2, 3, 5, 7\), got"),
        ({"memory_mask": torch.ones(5, 7)}, TypeError, "mask must be boolean"),
        ({"score_bias": torch.ones(5, 7)}, ValueError, "score_bias must broadcast"),
    ],
)
@pytest.mark.parametrize("return_weights", [False, True])
def test_bad_decoder_input(change, error, text, return_weights):
    arguments = {"x": torch.ones(2, 5, 12), "memory": torch.ones(2, 7, 12)}
    with pytest.raises(error, match=text):
        DecoderLayer(12, 3, 17)(**(arguments | change), return_weights=return_weights)


@pytest.mark.parametrize("kind", LAYERS)
def test_rotary_needs_an_even_head(kind):
    with pytest.raises(ValueError, match="d_head must be even"):
        run(LAYERS[kind](15, 3, 17, rotary="half"), torch.ones(1, 2, 15), torch.ones(1, 3, 15))
