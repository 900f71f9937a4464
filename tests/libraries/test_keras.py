"""Keras's attention layers equal ours with the same weights, on torch and on TensorFlow.

`make test` runs this file on torch, `make test-tensorflow` on TensorFlow.
"""

import itertools
import os

import keras
import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from attncourse.attention import attend, scaled_dot_product_attention
from attncourse.masks import padding_mask
from attncourse.multihead import merge_heads, split_heads
from attncourse.porting import from_keras_weights, keras_weights, to_mask_mod, to_torch, to_torch_mask
from attncourse.scores import AdditiveScore, DotScore, ScaledDotScore
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
    cross_inputs,
    gradients_as_keras,
    masks,
    our_layer,
    random_inputs,
)
from tests.support.tolerances import FLOAT32, FLOAT64

pytestmark = [
    pytest.mark.parity,
    # FlexAttention says that it is slow without torch.compile; here it is a second opinion, not fast.
    pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning"),
]

WITHIN = 1e-5


def assert_close(ours, theirs, tolerance=FLOAT32):
    """Compare an array or tensor of ours with an array."""
    ours = ours.detach().numpy() if isinstance(ours, torch.Tensor) else ours
    np.testing.assert_allclose(ours, theirs, **tolerance)


def upstream_for(output):
    """Return an upstream gradient as of a mean over tokens, so that gradients of weights are of order 1."""
    generator = torch.Generator().manual_seed(3)
    upstream = torch.randn(output.shape, generator=generator, dtype=torch.float64)
    return (upstream / (BATCH * N_QUERIES)).to(output.dtype)


def compare_layers(ours, theirs, inputs, mask, *, with_weights, tolerance=FLOAT32):
    """Compare outputs, weights, and gradients of inputs and parameters, of our layer and a Keras layer."""
    leaves = [array.clone().requires_grad_() for array in inputs]
    mine = ours(*leaves, mask=mask, return_weights=with_weights)
    output = mine[0] if with_weights else mine
    upstream = upstream_for(output)
    options = {} if mask is None else {"attention_mask": mask.numpy()}

    def call(query, key, value):  # value before key
        return theirs(query, value, key, return_attention_scores=with_weights, **options)

    arrays = [array.numpy() for array in inputs]
    outputs, input_gradients, weight_gradients = values_and_gradients(
        call, arrays, theirs.trainable_weights, upstream.numpy()
    )
    assert_close(output, outputs[0], tolerance)
    if with_weights:
        assert_close(mine[1], outputs[1], tolerance)
    expected = torch.autograd.grad(output, leaves, upstream, retain_graph=True)
    for one, other in zip(expected, input_gradients, strict=True):
        assert_close(one, other, tolerance)
    for one, other in zip(gradients_as_keras(ours, output, upstream), weight_gradients, strict=True):
        assert_close(one, other, tolerance)


def test_the_engine_is_the_one_asked_for():
    assert os.environ["KERAS_BACKEND"] == ENGINE


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("with_weights", [False, True])
@pytest.mark.parametrize("mask", masks())
@pytest.mark.parametrize("case", ["self", "cross", "sizes"])
def test_multi_head_attention(case, mask, with_weights, bias):
    sizes = {"d_key": D_KEY, "d_value": D_VALUE} if case == "sizes" else {}
    ours = our_layer(bias=bias, **sizes)
    query, key, value = cross_inputs(**sizes)
    if case == "self":
        key, value = random_inputs((N_QUERIES, D_MODEL), (N_QUERIES, D_MODEL), seed=4)
    theirs = keras.layers.MultiHeadAttention(HEADS, key_dim=D_HEAD, use_bias=bias)
    built(theirs, query, key, value, keras_weights(ours))
    mask = masks(N_QUERIES, key.shape[1])[mask]
    compare_layers(ours, theirs, [query, key, value], mask, with_weights=with_weights)


@pytest.mark.parametrize("n_kv_heads", [6, 3, 2, 1])
@pytest.mark.parametrize("mask", masks())
def test_grouped_heads(n_kv_heads, mask):
    ours = our_layer(6, n_kv_heads=n_kv_heads, d_key=D_KEY, d_value=D_VALUE)
    inputs = cross_inputs(d_model=6 * D_HEAD, d_key=D_KEY, d_value=D_VALUE)
    theirs = keras.layers.GroupQueryAttention(D_HEAD, 6, n_kv_heads)
    built(theirs, *inputs, keras_weights(ours))
    compare_layers(ours, theirs, inputs, masks(heads=6)[mask], with_weights=False)


def test_causal_argument():
    # With equal lengths both corners are one; the other case is a row of the porting table.
    ours = our_layer()
    (x,) = random_inputs((N_QUERIES, D_MODEL))
    theirs = built(keras.layers.MultiHeadAttention(HEADS, D_HEAD), x, x, x, keras_weights(ours))
    for with_weights in (False, True):
        result = theirs(x.numpy(), x.numpy(), use_causal_mask=True, return_attention_scores=with_weights)
        result = result[0] if with_weights else result
        assert_close(ours(x, is_causal=True), to_numpy(result))


@pytest.mark.parametrize("mask", masks())
def test_double_precision(mask):
    # Only the path that returns the weights, because on torch the other one computes in float32; and heads of
    # size 4, because TensorFlow rounds 1 / sqrt(key_dim) to float32 (porting table, dtype).
    ours = our_layer(d_head=4, dtype=torch.float64, d_key=D_KEY, d_value=D_VALUE)
    inputs = cross_inputs(d_model=4 * HEADS, d_key=D_KEY, d_value=D_VALUE, dtype=torch.float64)
    theirs = keras.layers.MultiHeadAttention(HEADS, 4, dtype="float64")
    built(theirs, *inputs, keras_weights(ours))
    compare_layers(ours, theirs, inputs, masks()[mask], with_weights=True, tolerance=FLOAT64)


def all_answers(ours, query, key, value, mask):
    """Return what every library makes of the same weights, inputs and mask, by name."""
    theirs = built(keras.layers.MultiHeadAttention(HEADS, D_HEAD), query, key, value, keras_weights(ours))
    shape = (BATCH, HEADS, query.shape[1], key.shape[1])
    heads = [
        split_heads(proj(array), HEADS)
        for proj, array in ((ours.query_proj, query), (ours.key_proj, key), (ours.value_proj, value))
    ]
    options = {} if mask is None else {"attention_mask": mask.numpy()}
    block_mask = mask if mask is None else create_block_mask(to_mask_mod(mask, shape), *shape, device="cpu")
    torch_mask = mask if mask is None else to_torch_mask(mask, shape)
    with torch.no_grad():  # FlexAttention has no backward pass on the CPU
        kernel = F.scaled_dot_product_attention(*heads, attn_mask=mask)
        flex = flex_attention(*(array.detach() for array in heads), block_mask=block_mask)
        return {
            "ours, fused": ours(query, key, value, mask),
            "ours, explicit": ours(query, key, value, mask, return_weights=True)[0],
            "scaled_dot_product_attention": ours.output_proj(merge_heads(kernel)),
            "FlexAttention": ours.output_proj(merge_heads(flex)),
            "nn.MultiheadAttention": to_torch(ours)(query, key, value, attn_mask=torch_mask)[0],
            "Keras, fused": torch.tensor(
                to_numpy(theirs(query.numpy(), value.numpy(), key.numpy(), **options))
            ),
            "Keras, explicit": torch.tensor(
                to_numpy(
                    theirs(
                        query.numpy(), value.numpy(), key.numpy(), return_attention_scores=True, **options
                    )[0]
                )
            ),
        }


@pytest.mark.parametrize("mask", masks())
def test_all_libraries_agree(mask):
    answers = all_answers(our_layer(), *cross_inputs(), masks()[mask])
    differences = {
        (one, other): float((answers[one] - answers[other]).abs().max())
        for one, other in itertools.combinations(answers, 2)
    }
    assert max(differences.values()) <= WITHIN, differences


def test_flex_attention_has_no_backward_pass_on_the_cpu():
    heads = torch.randn(2, 3, 5, 7, requires_grad=True)
    with pytest.raises(NotImplementedError, match="does not support backward on CPU"):
        flex_attention(heads, heads, heads)


def test_weights_go_there_and_back():
    ours = our_layer(6, n_kv_heads=2, d_key=D_KEY, d_value=D_VALUE)
    inputs = cross_inputs(d_model=6 * D_HEAD, d_key=D_KEY, d_value=D_VALUE)
    theirs = built(keras.layers.GroupQueryAttention(D_HEAD, 6, 2), *inputs, keras_weights(ours))
    back = from_keras_weights(theirs.get_weights())
    for name, parameter in ours.named_parameters():
        assert torch.equal(dict(back.named_parameters())[name], parameter)


def test_a_fresh_keras_layer_comes_over():
    keras.utils.set_random_seed(0)
    theirs = keras.layers.MultiHeadAttention(HEADS, D_HEAD, bias_initializer="random_normal")
    (x,) = random_inputs((N_QUERIES, D_MODEL))
    assert_close(from_keras_weights_after_call(theirs, x)(x), to_numpy(theirs(x.numpy(), x.numpy())))


def from_keras_weights_after_call(theirs, x):
    theirs(x.numpy(), x.numpy())  # the first call builds the weights
    return from_keras_weights(theirs.get_weights())


# What Keras's layer can be and ours cannot


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"key_dim": 5}, r"key_dim must be d_model / n_heads, got key_dim=5, d_model=21, n_heads=3"),
        ({"key_dim": D_HEAD, "value_dim": 5}, "value_dim must be key_dim=7, got value_dim=5"),
        ({"key_dim": D_HEAD, "output_shape": 5}, "output_shape must be d_model=21, got output_shape=5"),
        ({"key_dim": D_HEAD, "use_gate": True}, "weights must be 4 arrays, or 8 with biases"),
    ],
)
def test_keras_layers_that_ours_cannot_be(options, text):
    (x,) = random_inputs((N_QUERIES, D_MODEL))
    theirs = keras.layers.MultiHeadAttention(HEADS, **options)
    theirs.build(x.shape, x.shape)
    with pytest.raises(ValueError, match=text):
        from_keras_weights(theirs.get_weights())


@pytest.mark.parametrize("value_dim", [None, 19])
@pytest.mark.parametrize("output_shape", [None, 23])
def test_free_sizes_are_the_same_attention(value_dim, output_shape):
    """The core is ours also where key_dim is not d_model / n_heads; only the projections differ."""
    query, key, value = cross_inputs(d_key=D_KEY, d_value=D_VALUE)
    theirs = keras.layers.MultiHeadAttention(
        HEADS, key_dim=5, value_dim=value_dim, output_shape=output_shape, bias_initializer="random_normal"
    )
    theirs.build(query.shape, value.shape, key.shape)
    arrays = [torch.tensor(array) for array in theirs.get_weights()]
    leaves = [array.clone().requires_grad_() for array in (query, key, value)]
    weights = [array.requires_grad_() for array in arrays]
    projected = [
        torch.einsum("btd,dhk->bhtk", array, kernel) + bias[:, None]
        for array, kernel, bias in zip(leaves, weights[0:6:2], weights[1:6:2], strict=True)
    ]
    mask = masks()["per head"]
    heads = scaled_dot_product_attention(*projected, mask)  # (batch, heads, n_queries, value_dim)
    output = torch.einsum("bhtk,hkd->btd", heads, weights[6]) + weights[7]
    assert output.shape == (BATCH, N_QUERIES, output_shape or D_MODEL)
    upstream = upstream_for(output)
    outputs, *gradients = values_and_gradients(
        lambda query, key, value: theirs(query, value, key, attention_mask=mask.numpy()),
        [array.numpy() for array in (query, key, value)],
        theirs.trainable_weights,
        upstream.numpy(),
    )
    assert_close(output, outputs[0])
    expected = torch.autograd.grad(output, [*leaves, *weights], upstream)
    for one, other in zip(expected, itertools.chain(*gradients), strict=True):
        assert_close(one, other)


# The two layers with one head and no projections


def compare_scores(score, theirs, tolerance=FLOAT32):
    """Compare a score module of ours, chained with ``attend``, with a Keras layer; return nothing."""
    query, key, value = random_inputs((N_QUERIES, D_HEAD), (N_KEYS, D_HEAD), (N_KEYS, D_VALUE))
    lengths = torch.tensor([N_KEYS - 3, N_KEYS])
    hidden = padding_mask(lengths, N_KEYS)
    everyone = np.ones((BATCH, N_QUERIES), bool)
    for mask, keras_mask in ((None, None), (hidden, [everyone, hidden[:, 0].numpy()])):
        leaves = [array.clone().requires_grad_() for array in (query, key, value)]
        output, weights = attend(score(*leaves[:2]), leaves[2], mask)
        upstream = upstream_for(output)

        def call(query, key, value, keras_mask=keras_mask):
            return theirs([query, value, key], mask=keras_mask, return_attention_scores=True)

        outputs, input_gradients, _ = values_and_gradients(
            call, [array.numpy() for array in (query, key, value)], [], upstream.numpy()
        )
        assert_close(output, outputs[0], tolerance)
        assert_close(weights, outputs[1], tolerance)
        for one, other in zip(torch.autograd.grad(output, leaves, upstream), input_gradients, strict=True):
            assert_close(one, other, tolerance)


def test_attention_is_the_dot_score_without_scale():
    compare_scores(DotScore(), keras.layers.Attention())


def test_attention_with_scale_is_the_scaled_dot_score_only_if_set():
    theirs = keras.layers.Attention(use_scale=True)
    theirs.build([(BATCH, N_QUERIES, D_HEAD)] * 2)
    assert float(to_numpy(theirs.scale)) == 1.0  # learned, and not 1 / sqrt(d_head) at the start
    compare_scores(DotScore(), theirs)
    theirs.set_weights([np.float32(D_HEAD**-0.5)])
    compare_scores(ScaledDotScore(), theirs)


@pytest.mark.parametrize("use_scale", [True, False])
def test_additive_attention_is_the_additive_score_without_projections(use_scale):
    score = AdditiveScore(D_HEAD, D_HEAD, D_HEAD, bias=False)
    with torch.no_grad():
        score.query_proj.weight.copy_(torch.eye(D_HEAD))
        score.key_proj.weight.copy_(torch.eye(D_HEAD))
        score.readout.weight.copy_(torch.linspace(-1, 2, D_HEAD) if use_scale else torch.ones(D_HEAD))
    theirs = keras.layers.AdditiveAttention(use_scale=use_scale)
    theirs.build([(BATCH, N_QUERIES, D_HEAD)] * 2)
    if use_scale:
        theirs.set_weights([score.readout.weight[0].detach().numpy()])
    compare_scores(score, theirs)


def test_additive_attention_needs_dense_layers_for_its_projections():
    """Bahdanau's score = two Dense layers in front of AdditiveAttention."""
    score = AdditiveScore(D_MODEL, D_KEY, D_HEAD, bias=True)
    query, key, value = cross_inputs(d_key=D_KEY, d_value=D_VALUE)
    to_query, to_key = keras.layers.Dense(D_HEAD, use_bias=False), keras.layers.Dense(D_HEAD)
    theirs = keras.layers.AdditiveAttention()
    to_query.build(query.shape)
    to_key.build(key.shape)
    theirs.build([(BATCH, N_QUERIES, D_HEAD)] * 2)
    to_query.set_weights([score.query_proj.weight.T.detach().numpy()])
    to_key.set_weights([score.key_proj.weight.T.detach().numpy(), score.key_proj.bias.detach().numpy()])
    theirs.set_weights([score.readout.weight[0].detach().numpy()])
    output, _ = attend(score(query, key), value)
    assert_close(output, to_numpy(theirs([to_query(query.numpy()), value.numpy(), to_key(key.numpy())])))


@pytest.mark.parametrize("make", [keras.layers.Attention, keras.layers.AdditiveAttention])
def test_causal_argument_of_the_small_layers(make):
    query, value = random_inputs((N_QUERIES, D_HEAD), (N_QUERIES, D_HEAD))
    _, weights = make()([query.numpy(), value.numpy()], return_attention_scores=True, use_causal_mask=True)
    assert (np.triu(to_numpy(weights), 1) == 0).all()
    assert (np.tril(to_numpy(weights)).sum(-1) > 0.999).all()
