"""One test for each row of chapter 14's porting table, and a test that the table and the tests agree.

What is tested is what the libraries do, not what they should: a version that does otherwise turns a row red.
"""

import json
import math
import re
from pathlib import Path

import keras
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from attncourse.masks import causal_mask, padding_mask, window_mask
from attncourse.multihead import MultiHeadAttention
from attncourse.porting import keras_weights, to_mask_mod, to_torch, to_torch_mask
from tests.libraries.keras_engine import ENGINE, built, to_numpy, values_and_gradients
from tests.libraries.layers import (
    BATCH,
    D_HEAD,
    D_KEY,
    D_MODEL,
    D_VALUE,
    HEADS,
    N_KEYS,
    N_QUERIES,
    SCORES_SHAPE,
    cross_inputs,
    our_layer,
    random_inputs,
    with_empty_row,
)
from tests.support.tolerances import BFLOAT16, FLOAT32

CHAPTER = Path(__file__).resolve().parents[2] / "book" / "14-the-same-layer-in-your-library.ipynb"
COLUMNS = 6  # the row's name, and what five libraries do

pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning"),
]

ROWS = {}


def row(name):
    """Enter a test under the name of its row."""

    def enter(test):
        ROWS[name] = test
        return test

    return enter


def close(one, other, tolerance=FLOAT32):
    """Say whether two arrays or tensors are equal up to rounding."""
    arrays = (array.detach().numpy() if isinstance(array, torch.Tensor) else array for array in (one, other))
    return np.allclose(*arrays, **tolerance)


def heads(n_tokens=N_QUERIES, *, n_heads=HEADS, seed=5, dtype=torch.float32):
    """Return query heads of (batch, heads, tokens, d_head)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(BATCH, n_heads, n_tokens, D_HEAD, generator=generator).to(dtype)


def flex(query, key, value, mask=None, **options):
    """Run FlexAttention on a mask of ours."""
    if mask is not None:
        shape = (*query.shape[:3], key.shape[2])
        options["block_mask"] = create_block_mask(to_mask_mod(mask, shape), *shape, device="cpu")
    return flex_attention(query, key, value, **options)


def keras_layer(ours, query, key, value, **options):
    """Return a Keras layer with copies of our weights."""
    layer = keras.layers.MultiHeadAttention(HEADS, D_HEAD, **options)
    return built(layer, query, key, value, keras_weights(ours))


def keras_call(layer, query, key, value, mask=None, **options):
    """Call a Keras layer on tensors, in our order of arguments, and return arrays."""
    if mask is not None:
        options["attention_mask"] = mask.numpy() if isinstance(mask, torch.Tensor) else mask
    result = layer(query.numpy(), value.numpy(), key.numpy(), **options)
    return [to_numpy(part) for part in result] if isinstance(result, (tuple, list)) else to_numpy(result)


@pytest.fixture
def setting():
    """Provide our layer, the same in torch and in Keras, and query, key and value."""
    ours, inputs = our_layer(), cross_inputs()
    return ours, to_torch(ours), keras_layer(ours, *inputs), inputs


@row("mask-polarity")
def mask_polarity(ours, torchs, kerass, inputs):
    mask = torch.rand(N_QUERIES, N_KEYS, generator=torch.Generator().manual_seed(6)) < 0.5
    mask[:, 0], mask[:, 1] = True, False  # neither this mask nor its opposite has an empty row
    expected = ours(*inputs, mask)
    assert close(torchs(*inputs, attn_mask=~mask)[0], expected)
    assert not close(torchs(*inputs, attn_mask=mask)[0], expected)
    assert close(keras_call(kerass, *inputs, mask), expected)
    query, key = heads(N_QUERIES), heads(N_KEYS)
    by_kernel = F.scaled_dot_product_attention(query, key, key, attn_mask=mask)
    weights = (query @ key.mT / math.sqrt(D_HEAD)).masked_fill(~mask, -math.inf).softmax(-1)
    assert close(by_kernel, weights @ key)
    assert close(flex(query, key, key, mask), weights @ key)
    hidden = torch.tensor([[False] * 8 + [True] * 3, [False] * N_KEYS])
    seen = ours(*inputs, ~hidden[:, None, None])
    assert close(torchs(*inputs, key_padding_mask=hidden)[0], seen)


@row("mask-shape")
def mask_shape(ours, torchs, kerass, inputs):
    allowed = padding_mask(torch.tensor([4, N_KEYS]), N_KEYS)  # (batch, 1, n_keys)
    full = allowed.unsqueeze(1).expand(SCORES_SHAPE)
    expected = ours(*inputs, full)
    # ours: two axes or four
    with pytest.raises(ValueError, match="mask must have two axes"):
        ours(*inputs, allowed)
    # torch's layer: sequences and heads in one axis, all sizes in full
    assert close(torchs(*inputs, attn_mask=to_torch_mask(full, SCORES_SHAPE))[0], expected)
    with pytest.raises(RuntimeError, match=r"shape of the 3D attn_mask"):
        torchs(*inputs, attn_mask=~allowed)
    assert close(torchs(*inputs, key_padding_mask=~allowed[:, 0])[0], expected)
    # Keras: one mask per sequence without the heads axis, or with it; lengths 1 broadcast
    assert close(keras_call(kerass, *inputs, allowed), expected)
    assert close(keras_call(kerass, *inputs, full), expected)
    with pytest.raises(ValueError, match="axis -3 is out of bounds"):
        keras_call(kerass, *inputs, allowed[0, 0])
    # The kernel broadcasts from the right: three axes are (heads, n_queries, n_keys), without a word.
    query, key = heads(N_QUERIES, n_heads=BATCH), heads(N_KEYS, n_heads=BATCH)
    per_sequence = F.scaled_dot_product_attention(query, key, key, attn_mask=allowed.unsqueeze(1))
    assert not close(F.scaled_dot_product_attention(query, key, key, attn_mask=allowed), per_sequence)
    assert close(
        F.scaled_dot_product_attention(query, key, key, attn_mask=allowed)[:, 0],
        F.scaled_dot_product_attention(query[:, 0], key[:, 0], key[:, 0], attn_mask=allowed[:1]),
    )
    # FlexAttention: no mask in memory, a rule
    lengths = torch.tensor([4, N_KEYS])
    shape = (BATCH, BATCH, N_QUERIES, N_KEYS)
    block_mask = create_block_mask(lambda b, h, i, j: j < lengths[b], *shape, device="cpu")
    assert close(flex_attention(query, key, key, block_mask=block_mask), per_sequence)


@row("causal-alignment")
def causal_alignment(ours, torchs, kerass, inputs):
    bottom_right = causal_mask(N_QUERIES, N_KEYS)
    top_left = torch.ones(N_QUERIES, N_KEYS).tril().bool()
    assert not torch.equal(bottom_right, top_left)
    assert close(ours(*inputs, is_causal=True), ours(*inputs, bottom_right))
    assert close(keras_call(kerass, *inputs, use_causal_mask=True), ours(*inputs, top_left))
    with_weights = keras_call(kerass, *inputs, use_causal_mask=True, return_attention_scores=True)
    assert close(with_weights[0], ours(*inputs, top_left))
    query, key = heads(N_QUERIES), heads(N_KEYS)
    assert close(
        F.scaled_dot_product_attention(query, key, key, is_causal=True),
        F.scaled_dot_product_attention(query, key, key, attn_mask=top_left),
    )
    # torch's layer takes is_causal beside a mask only; what it does with the mask then is the next row
    with pytest.raises(RuntimeError, match="Need attn_mask if specifying the is_causal hint"):
        torchs(*inputs, is_causal=True)
    shape = (BATCH, HEADS, N_QUERIES, N_KEYS)
    ahead = N_KEYS - N_QUERIES
    rule = create_block_mask(lambda b, h, i, j: j <= i + ahead, *shape, device="cpu")
    by_kernel = F.scaled_dot_product_attention(query, key, key, attn_mask=bottom_right)
    assert close(flex_attention(query, key, key, block_mask=rule), by_kernel)


@row("mask-and-flag")
def mask_and_flag(ours, torchs, kerass, inputs):
    padding = padding_mask(torch.tensor([4, N_KEYS]), N_KEYS).unsqueeze(1)
    bottom_right = causal_mask(N_QUERIES, N_KEYS)
    top_left = torch.ones(N_QUERIES, N_KEYS).tril().bool()
    assert close(ours(*inputs, padding, is_causal=True), ours(*inputs, padding & bottom_right))
    assert close(
        keras_call(kerass, *inputs, padding, use_causal_mask=True), ours(*inputs, padding & top_left)
    )
    query, key = heads(N_QUERIES), heads(N_KEYS)
    assert close(
        F.scaled_dot_product_attention(query, key, key, attn_mask=padding, is_causal=True),
        F.scaled_dot_product_attention(query, key, key, attn_mask=padding & top_left),
    )
    # torch's layer: without weights the flag takes the mask's place, whatever the mask says
    flag = {"is_causal": True, "need_weights": False}
    for mask in (bottom_right, ~bottom_right, padding & bottom_right):
        theirs = to_torch_mask(mask, SCORES_SHAPE)
        assert close(torchs(*inputs, attn_mask=theirs, **flag)[0], ours(*inputs, top_left))
    both = padding & bottom_right
    theirs = to_torch_mask(both, SCORES_SHAPE)
    assert close(torchs(*inputs, attn_mask=theirs, is_causal=True)[0], ours(*inputs, both))
    hidden = ~padding[:, 0, 0]
    apart = torchs(*inputs, attn_mask=~bottom_right, key_padding_mask=hidden, **flag)[0]
    assert close(apart, ours(*inputs, both))
    # FlexAttention has one rule and no flag
    shape = (BATCH, HEADS, N_QUERIES, N_KEYS)
    rule = create_block_mask(to_mask_mod(both, shape), *shape, device="cpu")
    by_kernel = F.scaled_dot_product_attention(query, key, key, attn_mask=both)
    assert close(flex_attention(query, key, key, block_mask=rule), by_kernel)


@row("scale")
def scale(ours, torchs, kerass, inputs):
    query, key = heads(N_QUERIES), heads(N_KEYS)
    scores = query @ key.mT
    for factor in (None, 1.0):
        weights = (scores * (D_HEAD**-0.5 if factor is None else factor)).softmax(-1)
        assert close(F.scaled_dot_product_attention(query, key, key, scale=factor), weights @ key)
        assert close(flex(query, key, key, scale=factor), weights @ key)
    # The three layers have no argument for it; equal outputs show the same 1 / sqrt(d_head).
    assert close(torchs(*inputs)[0], ours(*inputs))
    assert close(keras_call(kerass, *inputs), ours(*inputs))
    # Keras's layer without projections does not divide at all.
    x, y = heads(N_QUERIES)[:, 0], heads(N_KEYS)[:, 0]
    unscaled = (x @ y.mT).softmax(-1) @ y
    assert close(to_numpy(keras.layers.Attention()([x.numpy(), y.numpy()])), unscaled)


@row("dropout-in-evaluation")
def dropout_in_evaluation(ours, torchs, kerass, inputs):
    ours, expected = our_layer(dropout=0.5), ours(*inputs)
    torchs = to_torch(ours)
    kerass = keras_layer(ours, *inputs, dropout=0.5)
    for layer in (ours, torchs):
        layer.train()
    torch.manual_seed(0)
    assert not close(ours(*inputs), expected)
    assert not close(torchs(*inputs)[0], expected)
    for layer in (ours, torchs):
        layer.eval()
    assert close(ours(*inputs), expected)
    assert close(torchs(*inputs)[0], expected)
    assert close(keras_call(kerass, *inputs), expected)
    assert not close(keras_call(kerass, *inputs, training=True), expected)
    # The kernel is a function: it knows no evaluation mode.
    query = heads()
    torch.manual_seed(0)
    dropped = F.scaled_dot_product_attention(query, query, query, dropout_p=0.5)
    assert not close(dropped, F.scaled_dot_product_attention(query, query, query))
    with pytest.raises(TypeError, match="unexpected keyword argument 'dropout_p'"):
        flex_attention(query, query, query, dropout_p=0.5)


@row("returned-weights")
def returned_weights(ours, torchs, kerass, inputs):
    assert isinstance(ours(*inputs), torch.Tensor)
    weights = ours(*inputs, return_weights=True)[1]
    assert weights.shape == SCORES_SHAPE
    averaged = torchs(*inputs)[1]  # without being asked
    assert close(averaged, weights.mean(dim=1))
    assert close(torchs(*inputs, average_attn_weights=False)[1], weights)
    assert torchs(*inputs, need_weights=False)[1] is None
    assert isinstance(keras_call(kerass, *inputs), np.ndarray)
    assert close(keras_call(kerass, *inputs, return_attention_scores=True)[1], weights)
    query = heads()
    assert isinstance(F.scaled_dot_product_attention(query, query, query), torch.Tensor)
    assert isinstance(flex(query, query, query), torch.Tensor)


@row("weights-under-dropout")
def weights_under_dropout(ours, torchs, kerass, inputs):
    ours = our_layer(dropout=0.5).train()
    torchs, kerass = to_torch(ours), keras_layer(ours, *inputs, dropout=0.5)
    torch.manual_seed(0)
    for layer, options in ((ours, {"return_weights": True}), (torchs, {"average_attn_weights": False})):
        weights = layer(*inputs, **options)[1]
        assert (weights == 0).float().mean() > 0.3  # those that made the output
    weights = keras_call(kerass, *inputs, training=True, return_attention_scores=True)[1]
    assert close(weights, our_layer()(*inputs, return_weights=True)[1])  # those before dropout


@row("batch-axis")
def batch_axis(ours, torchs, kerass, inputs):
    expected = ours(*inputs)
    assert close(keras_call(kerass, *inputs), expected)
    fresh = nn.MultiheadAttention(D_MODEL, HEADS)
    assert fresh.batch_first is False
    fresh.load_state_dict(torchs.state_dict())
    assert close(fresh(*(array.transpose(0, 1) for array in inputs))[0].transpose(0, 1), expected)
    # Read the wrong way round, (batch, tokens, features) is legal, and each token attends over the batch.
    x = inputs[0]
    assert fresh(x, x, x)[0].shape == x.shape
    assert not close(fresh(x, x, x)[0], ours(x))
    query = heads()
    many = query.expand(2, *query.shape)
    assert close(
        F.scaled_dot_product_attention(many, many, many)[1], F.scaled_dot_product_attention(*[query] * 3)
    )
    with pytest.raises(NotImplementedError, match="must be 4D tensors"):
        flex_attention(query[0], query[0], query[0])


@row("empty-row")
def empty_row(ours, torchs, kerass, inputs):
    mask = with_empty_row()
    bias = ours.output_proj.bias
    for options in ({}, {"return_weights": True}):
        result = ours(*inputs, mask, **options)
        assert torch.equal((result[0] if options else result)[1, 2], bias)
    theirs = to_torch_mask(mask, SCORES_SHAPE)
    everywhere = ours(*inputs)
    for mode in (True, False):
        torchs.train(mode)
        output, weights = torchs(*inputs, attn_mask=theirs)
        assert output[1, 2].isnan().all()
        assert weights[1, 2].isnan().all()
        assert close(output[0], everywhere[0])
        assert torch.equal(torchs(*inputs, attn_mask=theirs, need_weights=False)[0][1, 2], bias)
    query, key = heads(N_QUERIES), heads(N_KEYS)
    assert (F.scaled_dot_product_attention(query, key, key, attn_mask=mask)[1, :, 2] == 0).all()
    assert (flex(query, key, key, mask)[1, :, 2] == 0).all()
    for fill in (-math.inf, -1e9):  # a mask of numbers: nothing to share out, or everything alike
        numbers = torch.zeros(mask.shape).masked_fill(~mask, fill)
        answer = F.scaled_dot_product_attention(query, key, key, attn_mask=numbers)[1, :, 2]
        assert close(answer, torch.zeros(HEADS, D_HEAD) if fill == -math.inf else key[1].mean(dim=1))
    # Keras: all keys alike, also the hidden ones; but nothing where the weights are asked for
    mean = ours.output_proj(ours.value_proj(inputs[2]).mean(dim=1))
    assert close(keras_call(kerass, *inputs, mask)[1, 2], mean[1])
    output, weights = keras_call(kerass, *inputs, mask, return_attention_scores=True)
    assert close(output[1, 2], bias)
    assert (weights[1, :, 2] == 0).all()


@row("empty-row-evaluation")
def empty_row_evaluation(ours, torchs, kerass, inputs):
    """Run torch's third path: eval(), no gradients, self-attention, an even number of heads."""
    (x,) = random_inputs((N_QUERIES, 4 * D_HEAD))
    mask = with_empty_row(n_keys=N_QUERIES)
    others = mask[:, 0].any(dim=-1)
    for n_heads in (2, 4):
        even = our_layer(n_heads, d_head=4 * D_HEAD // n_heads)
        torch_even = to_torch(even)
        theirs = to_torch_mask(mask, (BATCH, n_heads, N_QUERIES, N_QUERIES))
        for training, grad in ((True, True), (True, False), (False, True), (False, False)):
            torch_even.train(training)
            with torch.set_grad_enabled(grad):
                output = torch_even(x, x, x, attn_mask=theirs, need_weights=False)[0]
            assert close(output[others], even(x, mask=mask)[others])
            if training or grad:
                assert close(output[1, 2], even.output_proj.bias)
            else:
                assert output[1, 2].isnan().all()
        hidden = torch.tensor([[False] * N_QUERIES, [True] * N_QUERIES])  # the second sequence is all padding
        with torch.no_grad():
            output = torch_even.eval()(x, x, x, key_padding_mask=hidden, need_weights=False)[0]
            assert output[1].isnan().all()
            assert close(output[0], even(x)[0])
            # With an odd number of heads, or another tensor as key, that path is not taken.
            y = inputs[0]
            odd = torchs.eval()(
                y,
                y,
                y,
                attn_mask=to_torch_mask(mask, (BATCH, HEADS, N_QUERIES, N_QUERIES)),
                need_weights=False,
            )[0]
            assert close(odd[1, 2], ours.output_proj.bias)
            crossed = torch_even(x, x.clone(), x, attn_mask=theirs, need_weights=False)[0]
            assert close(crossed[1, 2], even.output_proj.bias)
            assert torch.equal(even.eval()(x, mask=mask)[1, 2], even.output_proj.bias)
    # The others have no such path: the answers of the row above, in evaluation mode and without gradients.
    with torch.no_grad():
        query, cross = heads(N_QUERIES), with_empty_row()
        assert (F.scaled_dot_product_attention(query, query, query, attn_mask=mask)[1, :, 2] == 0).all()
        assert (flex(query, query, query, mask)[1, :, 2] == 0).all()
        mean = ours.output_proj(ours.value_proj(inputs[2]).mean(dim=1))
        assert close(keras_call(kerass, *inputs, cross, training=False)[1, 2], mean[1])


@row("empty-row-gradient")
def empty_row_gradient(ours, torchs, kerass, inputs):
    mask = with_empty_row()
    query = inputs[0].clone().requires_grad_()

    def gradients(output, layer):  # of a loss that reads the other sequence alone
        return torch.autograd.grad(output[0].sum(), [query, *layer.parameters()])

    assert all(one.isfinite().all() for one in gradients(ours(query, *inputs[1:], mask), ours))
    theirs = to_torch_mask(mask, SCORES_SHAPE)
    fused = torchs(query, *inputs[1:], attn_mask=theirs, need_weights=False)[0]
    assert all(one.isfinite().all() for one in gradients(fused, torchs))
    spoiled = gradients(torchs(query, *inputs[1:], attn_mask=theirs)[0], torchs)
    assert any(one.isnan().any() for one in spoiled)
    assert spoiled[1].isnan().any()  # in_proj_weight: the next step of the optimiser ruins the layer
    heads_ = heads().requires_grad_()
    self_mask = with_empty_row(n_keys=N_QUERIES)
    F.scaled_dot_product_attention(heads_, heads_, heads_, attn_mask=self_mask).sum().backward()
    assert heads_.grad.isfinite().all()
    with pytest.raises(NotImplementedError, match="does not support backward on CPU"):
        flex(heads_, heads_, heads_, self_mask)
    arrays = [array.numpy() for array in inputs]
    upstream = np.ones((BATCH, N_QUERIES, D_MODEL), np.float32)
    for asked in (False, True):
        _, *parts = values_and_gradients(
            lambda query, key, value, asked=asked: kerass(
                query, value, key, attention_mask=mask.numpy(), return_attention_scores=asked
            ),
            arrays,
            kerass.trainable_weights,
            upstream,
        )
        assert all(np.isfinite(array).all() for part in parts for array in part)


@row("head-size")
def head_size(ours, torchs, kerass, inputs):
    assert ours.d_head == torchs.head_dim == kerass.key_dim == D_MODEL // HEADS
    for make in (MultiHeadAttention, nn.MultiheadAttention):
        with pytest.raises((ValueError, AssertionError), match="divi"):
            make(D_MODEL, HEADS + 1)
    free = keras.layers.MultiHeadAttention(HEADS + 1, key_dim=D_HEAD)  # the model's width is not asked for
    x = inputs[0].numpy()
    assert free(x, x).shape == x.shape
    assert free.get_weights()[0].shape == (D_MODEL, HEADS + 1, D_HEAD)
    # key_dim = d_model, read as the width of all heads together, is HEADS times as wide
    wide = keras.layers.MultiHeadAttention(HEADS, key_dim=D_MODEL)
    wide(x, x)
    assert wide.count_params() > 2.5 * kerass.count_params()
    query, value = heads(), heads()[..., :5]
    assert F.scaled_dot_product_attention(query, query, value).shape == value.shape
    assert flex(query, query, value).shape == value.shape


@row("bias")
def bias(ours, torchs, kerass, inputs):
    fresh = {
        "ours": [
            param for name, param in MultiHeadAttention(D_MODEL, HEADS).named_parameters() if "bias" in name
        ],
        "torch": [
            param
            for name, param in nn.MultiheadAttention(D_MODEL, HEADS).named_parameters()
            if "bias" in name
        ],
    }
    assert [len(parameters) for parameters in fresh.values()] == [4, 2]  # torch stacks three of the four
    assert all((parameter == 0).all() for parameters in fresh.values() for parameter in parameters)
    made = keras.layers.MultiHeadAttention(HEADS, D_HEAD)
    made.build(inputs[0].shape, inputs[0].shape)
    arrays = made.get_weights()
    assert all((array == 0).all() for array in arrays[1::2])
    assert len(arrays) == 8
    without = keras.layers.MultiHeadAttention(HEADS, D_HEAD, use_bias=False)
    without.build(inputs[0].shape, inputs[0].shape)
    assert len(without.get_weights()) == len(list(MultiHeadAttention(6, 2, bias=False).parameters())) == 4
    assert len(list(nn.MultiheadAttention(6, 2, bias=False).parameters())) == 2


@row("initial-weights")
def initial_weights(ours, torchs, kerass, inputs):
    d_model, n_heads, d_head = 96, 4, 24
    torch.manual_seed(0)
    keras.utils.set_random_seed(0)
    deviations = {
        "ours": MultiHeadAttention(d_model, n_heads).query_proj.weight.std().item(),
        "torch": nn.MultiheadAttention(d_model, n_heads).in_proj_weight.std().item(),
    }
    made = keras.layers.MultiHeadAttention(n_heads, d_head)
    made.build((1, 1, d_model), (1, 1, d_model))
    deviations["keras"] = made.get_weights()[0].std().item()
    # All three draw from Glorot's rule; torch counts the outputs of the three matrices that it stacks.
    alone, stacked = math.sqrt(2 / (d_model + d_model)), math.sqrt(2 / (d_model + 3 * d_model))
    expected = {"ours": alone, "torch": stacked, "keras": alone}
    for name, deviation in deviations.items():
        assert deviation == pytest.approx(expected[name], rel=0.03)
    # With sizes of their own torch's matrices are drawn one by one.
    apart = nn.MultiheadAttention(d_model, n_heads, kdim=d_head, vdim=d_head).q_proj_weight
    assert apart.std().item() == pytest.approx(alone, rel=0.03)
    # The output projection: torch keeps nn.Linear's start, uniform up to 1 / sqrt(d_model).
    outputs = {
        "ours": MultiHeadAttention(d_model, n_heads).output_proj.weight.std().item(),
        "torch": nn.MultiheadAttention(d_model, n_heads).out_proj.weight.std().item(),
        "keras": made.get_weights()[6].std().item(),
    }
    expected["torch"] = alone / math.sqrt(3)
    for name, deviation in outputs.items():
        assert deviation == pytest.approx(expected[name], rel=0.03)


@row("argument-order")
def argument_order(ours, torchs, kerass, inputs):
    query, key, value = inputs
    expected = ours(query, key, value)
    assert close(torchs(query, key, value)[0], expected)
    arrays = [array.numpy() for array in inputs]
    assert close(to_numpy(kerass(arrays[0], arrays[2], arrays[1])), expected)  # query, value, key
    assert not close(to_numpy(kerass(*arrays)), expected)  # no error: both have one shape
    # What is left out: ours takes the query for both, Keras the value for the key, torch nothing
    assert close(ours(query), ours(query, query, query))
    assert close(to_numpy(kerass(arrays[0], arrays[2])), ours(query, value, value))
    with pytest.raises(TypeError, match="missing 2 required positional arguments: 'key' and 'value'"):
        torchs(query)
    small = keras.layers.Attention()([array.numpy() for array in (query, value, key)])
    assert close(to_numpy(small), (query @ key.mT).softmax(-1) @ value)
    one, many, other = heads(N_QUERIES), heads(N_KEYS), heads(N_KEYS, seed=7)
    expected = (one @ many.mT / math.sqrt(D_HEAD)).softmax(-1) @ other
    assert close(F.scaled_dot_product_attention(one, many, other), expected)
    assert close(flex(one, many, other), expected)


@row("weight-layout")
def weight_layout(ours, torchs, kerass, inputs):
    assert torchs.in_proj_weight.shape == (3 * D_MODEL, D_MODEL)
    assert torch.equal(torchs.in_proj_weight[D_MODEL : 2 * D_MODEL], ours.key_proj.weight)
    sized = to_torch(our_layer(d_key=D_KEY, d_value=D_VALUE))
    assert sized.in_proj_weight is None
    assert sized.v_proj_weight.shape == (D_MODEL, D_VALUE)
    shapes = [array.shape for array in kerass.get_weights()]
    kernel, bias = (D_MODEL, HEADS, D_HEAD), (HEADS, D_HEAD)
    assert shapes == [kernel, bias] * 3 + [(HEADS, D_HEAD, D_MODEL), (D_MODEL,)]
    head, feature = 2, 3
    assert close(kerass.get_weights()[2][:, head, feature], ours.key_proj.weight[head * D_HEAD + feature])


@row("dtype")
def dtype(ours, torchs, kerass, inputs):
    for kind, tolerance in ((torch.float16, BFLOAT16), (torch.bfloat16, {"rtol": 0.05, "atol": 0.05})):
        half = our_layer(dtype=kind)
        arrays = [array.to(kind) for array in inputs]
        expected = ours(*inputs)
        query = heads(dtype=kind)
        theirs = keras_layer(ours, *inputs, dtype=str(kind).removeprefix("torch."))
        outputs = [
            half(*arrays),
            to_torch(half)(*arrays)[0],
            torch.tensor(
                to_numpy(keras.ops.cast(theirs(*(inputs[i].numpy() for i in (0, 2, 1))), "float32"))
            ),
        ]
        assert outputs[0].dtype == outputs[1].dtype == kind
        assert all(close(output.float(), expected, tolerance) for output in outputs)
        assert F.scaled_dot_product_attention(query, query, query).dtype == kind
        assert flex(query, query, query).dtype == kind
    # Inputs of another dtype: torch and ours refuse, Keras casts to the layer's without a word.
    doubles = [array.double() for array in inputs]
    for layer in (ours, torchs):
        with pytest.raises(RuntimeError, match="same dtype"):
            layer(*doubles)
    assert keras_call(kerass, *doubles).dtype == np.float32
    # A Keras layer in float64 is not float64 all the way: on torch the fused path computes in float32, on
    # TensorFlow 1 / sqrt(key_dim) is rounded to float32 (7 is no square).
    exact = our_layer(dtype=torch.float64)
    expected = exact(*doubles).detach()
    double = keras_layer(exact, *doubles, dtype="float64")
    output = keras_call(double, *doubles)
    assert output.dtype == np.float64
    assert 1e-9 < np.abs(output - expected.numpy()).max() < 1e-5
    explicit = keras_call(double, *doubles, return_attention_scores=True)[0]
    assert (np.abs(explicit - expected.numpy()).max() < 1e-12) == (ENGINE == "torch")
    assert (to_torch(exact)(*doubles)[0] - expected).abs().max() < 1e-12


@row("grouped-heads")
def grouped_heads(ours, torchs, kerass, inputs):
    grouped = our_layer(6, n_kv_heads=2)
    (x,) = random_inputs((N_QUERIES, 6 * D_HEAD))
    theirs = built(keras.layers.GroupQueryAttention(D_HEAD, 6, 2), x, x, x, keras_weights(grouped))
    assert close(to_numpy(theirs(x.numpy(), x.numpy())), grouped(x))
    assert theirs.count_params() == sum(parameter.numel() for parameter in grouped.parameters())
    with pytest.raises(ValueError, match="as many key-value heads as heads"):
        to_torch(grouped)
    query, key = heads(n_heads=6), heads(n_heads=2)
    shared = key.repeat_interleave(3, dim=1)
    expected = F.scaled_dot_product_attention(query, shared, shared)
    assert close(F.scaled_dot_product_attention(query, key, key, enable_gqa=True), expected)
    assert close(flex(query, key, key, enable_gqa=True), expected)


@row("sliding-window")
def sliding_window(ours, torchs, kerass, inputs):
    x, window = random_inputs((N_KEYS, D_MODEL))[0], 3
    theirs = keras_layer(ours, x, x, x, sliding_window=window)
    i, j = torch.arange(N_KEYS)[:, None], torch.arange(N_KEYS)
    both_sides = (i - j).abs() < window  # two window - 1 keys
    assert close(keras_call(theirs, x, x, x), ours(x, mask=both_sides))
    one_side = window_mask(N_KEYS, N_KEYS, window)
    assert close(keras_call(theirs, x, x, x, use_causal_mask=True), ours(x, mask=one_side))
    query = heads(N_KEYS)
    shape = (BATCH, HEADS, N_KEYS, N_KEYS)
    rule = create_block_mask(lambda b, h, i, j: (j <= i) & (i - j < window), *shape, device="cpu")
    by_mask = F.scaled_dot_product_attention(query, query, query, attn_mask=one_side)
    assert close(flex_attention(query, query, query, block_mask=rule), by_mask)
    assert close(torchs(x, x, x, attn_mask=~one_side)[0], ours(x, mask=one_side))


@row("float-mask")
def float_mask(ours, torchs, kerass, inputs):
    allowed = padding_mask(torch.tensor([4, 7]), N_KEYS).unsqueeze(1)
    additive = torch.zeros(allowed.shape).masked_fill(~allowed, -math.inf)  # 0 where a query may attend
    expected = ours(*inputs, allowed)
    with pytest.raises(TypeError, match="mask must be boolean"):
        ours(*inputs, additive)
    full = additive.expand(SCORES_SHAPE).flatten(0, 1)
    assert close(torchs(*inputs, attn_mask=full)[0], expected)
    query, key = heads(N_QUERIES), heads(N_KEYS)
    assert close(
        F.scaled_dot_product_attention(query, key, key, attn_mask=additive),
        F.scaled_dot_product_attention(query, key, key, attn_mask=allowed),
    )
    by_score = flex(query, key, key, score_mod=lambda score, b, h, i, j: score + additive[b, 0, 0, j])
    assert close(by_score, F.scaled_dot_product_attention(query, key, key, attn_mask=allowed))
    # Keras asks of every number whether it is zero: 0 hides and -inf shows, the opposite of what was meant.
    assert close(keras_call(kerass, *inputs, additive), ours(*inputs, ~allowed))


@row("implicit-mask")
def implicit_mask(ours, torchs, kerass, inputs):
    symbols = np.array([[1, 2, 0, 0], [3, 1, 2, 0]])  # 0 is padding
    real = torch.tensor(symbols != 0)
    plain, masking = (
        keras.layers.Embedding(4, D_MODEL, embeddings_initializer="normal", mask_zero=known)
        for known in (False, True)
    )
    for layer in (plain, masking):
        layer.build(symbols.shape)
    plain.set_weights(masking.get_weights())
    x = torch.tensor(to_numpy(plain(symbols)))
    by_hand = real[:, None, None, :] & real[:, None, :, None]  # padded queries have no keys at all
    for embedding, mask in ((plain, None), (masking, by_hand)):
        vectors = embedding(symbols)
        output, weights = kerass(vectors, vectors, return_attention_scores=True)
        expected = ours(x, mask=mask, return_weights=True)
        assert close(to_numpy(output), expected[0])
        assert close(to_numpy(weights), expected[1])
    # The call takes the mask off its inputs: a second call on the same tensors knows nothing of padding.
    assert close(to_numpy(kerass(vectors, vectors)), ours(x))
    vectors = masking(symbols)
    fused = to_numpy(kerass(vectors, vectors))
    mean = ours.output_proj(ours.value_proj(x).mean(dim=1))
    assert close(fused[~real.numpy()], mean.repeat_interleave((~real).sum(dim=1), dim=0))
    # torch's embedding keeps its padding to itself.
    torch_embedding = nn.Embedding(4, D_MODEL, padding_idx=0)
    embedded = torch_embedding(torch.tensor(symbols))
    assert close(torchs(embedded, embedded, embedded)[0], ours(embedded))


@pytest.mark.parametrize("name", ROWS)
def test_row(name, setting):
    ours, torchs, kerass, inputs = setting
    ROWS[name](ours, torchs, kerass, inputs)


def table_rows():
    """Return the cells of every row of the chapter's table, by the name in its first cell."""
    cells = json.loads(CHAPTER.read_text(encoding="utf-8"))["cells"]
    [text] = ["".join(cell["source"]) for cell in cells if cell.get("id") == "porting-table"]
    rows = {}
    for line in text.splitlines():
        name = re.match(r"\| `([a-z-]+)` ", line)
        if name:
            assert name[1] not in rows
            # a bar inside code is written \|
            rows[name[1]] = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    return rows


def test_every_row_of_the_chapters_table_has_a_test_and_the_reverse():
    assert list(table_rows()) == list(ROWS)


def test_every_row_says_what_every_library_does():
    for name, cells in table_rows().items():
        assert len(cells) == COLUMNS, name
        assert all(cells), name
