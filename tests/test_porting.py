"""Weights go to PyTorch's and Keras's layouts and back without loss, and compute the same there.

What Keras itself makes of them is tested in tests/libraries.
"""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from attncourse.masks import causal_mask, padding_mask
from attncourse.multihead import MultiHeadAttention
from attncourse.porting import (
    from_keras_weights,
    from_torch,
    keras_weights,
    to_mask_mod,
    to_torch,
    to_torch_mask,
)
from tests.support.tolerances import FLOAT64

BATCH, HEADS, N_QUERIES, N_KEYS, D_HEAD, D_KEY, D_VALUE = 2, 3, 5, 11, 7, 13, 17
D_MODEL = HEADS * D_HEAD
SHAPE = (BATCH, HEADS, N_QUERIES, N_KEYS)
SIZES = [{}, {"d_key": D_KEY}, {"d_value": D_VALUE}, {"d_key": D_KEY, "d_value": D_VALUE}]


def layer(n_heads=HEADS, *, dtype=torch.float64, **options):
    """Return a layer whose weights and biases are all random, so that none can hide."""
    made = MultiHeadAttention(n_heads * D_HEAD, n_heads, **options).to(dtype)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return made


def inputs(made):
    """Return query, key and value that want gradients."""
    generator = torch.Generator().manual_seed(1)
    sizes = ((N_QUERIES, made.d_model), (N_KEYS, made.d_key), (N_KEYS, made.d_value))
    arrays = [torch.randn(BATCH, *size, generator=generator, dtype=torch.float64) for size in sizes]
    return [array.requires_grad_() for array in arrays]


def per_head_mask():
    mask = torch.rand(SHAPE, generator=torch.Generator().manual_seed(2)) < 0.5
    mask[..., 0] = True
    return mask


def same_parameters(one, other):
    """Say whether two modules of one kind hold equal parameters under equal names."""
    ones, others = dict(one.named_parameters()), dict(other.named_parameters())
    assert ones.keys() == others.keys()
    return all(torch.equal(ones[name], others[name]) for name in ones)


# PyTorch


@pytest.mark.parity
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("need_weights", [True, False])
def test_torchs_layer_computes_the_same(sizes, bias, need_weights):
    ours = layer(bias=bias, **sizes)
    theirs = to_torch(ours)
    leaves, mask = inputs(ours), per_head_mask()
    mine = ours(*leaves, mask)
    other, weights = theirs(
        *leaves,
        attn_mask=to_torch_mask(mask, SHAPE),
        need_weights=need_weights,
        average_attn_weights=False,
    )
    torch.testing.assert_close(mine, other, **FLOAT64)
    upstream = torch.randn(mine.shape, generator=torch.Generator().manual_seed(3), dtype=mine.dtype)
    for one, two in zip(
        torch.autograd.grad(mine, leaves, upstream),
        torch.autograd.grad(other, leaves, upstream),
        strict=True,
    ):
        torch.testing.assert_close(one, two, **FLOAT64)
    if need_weights:
        torch.testing.assert_close(weights, ours(*leaves, mask, return_weights=True)[1], **FLOAT64)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("bias", [True, False])
def test_there_and_back(sizes, bias):
    ours = layer(bias=bias, **sizes)
    before = copy.deepcopy(ours)
    back = from_torch(to_torch(ours))
    assert same_parameters(back, ours)
    assert (back.n_heads, back.d_key, back.d_value) == (ours.n_heads, ours.d_key, ours.d_value)
    assert same_parameters(ours, before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("training", [True, False])
def test_torch_keeps_dtype_dropout_and_mode(dtype, training):
    ours = layer(dtype=dtype, dropout=0.25).train(training)
    theirs = to_torch(ours)
    assert theirs.dropout == 0.25
    assert theirs.training is training
    assert theirs.batch_first
    back = from_torch(theirs)
    assert back.dropout == 0.25
    assert back.training is training
    for module in (theirs, back):
        assert {parameter.dtype for parameter in module.parameters()} == {dtype}


def test_copies_share_no_memory():
    ours = layer()
    theirs = to_torch(ours)
    back = from_torch(theirs)
    expected = copy.deepcopy(ours)
    with torch.no_grad():
        for parameter in (*theirs.parameters(), *back.parameters()):
            parameter.zero_()
    for array in keras_weights(ours):
        array[...] = 0
    assert same_parameters(ours, expected)


def test_a_module_with_tokens_first_comes_over():
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(D_MODEL, HEADS).double()
    nn.init.normal_(theirs.in_proj_bias)
    query, key, value = inputs(layer())
    turned = [array.transpose(0, 1) for array in (query, key, value)]
    expected = theirs(*turned)[0].transpose(0, 1)
    torch.testing.assert_close(from_torch(theirs)(query, key, value), expected, **FLOAT64)


@pytest.mark.parametrize("option", ["add_bias_kv", "add_zero_attn"])
def test_torch_modules_that_ours_cannot_be(option):
    module = nn.MultiheadAttention(D_MODEL, HEADS, **{option: True})
    with pytest.raises(ValueError, match=f"module must be made without {option}, got {option}=True"):
        from_torch(module)


def test_torch_shares_no_heads():
    text = r"layer must have as many key-value heads as heads, got n_kv_heads=2, n_heads=6"
    with pytest.raises(ValueError, match=text):
        to_torch(layer(6, n_kv_heads=2))


@pytest.mark.parametrize(
    ("call", "name"),
    [(to_torch, "layer"), (keras_weights, "layer"), (from_torch, "module")],
)
def test_other_types_are_refused(call, name):
    with pytest.raises(TypeError, match=f"{name} must be"):
        call(nn.Linear(2, 2))


# Masks


def test_torch_mask_by_hand():
    mask = torch.tensor([[True, False], [True, True]])
    assert to_torch_mask(mask, (1, 1, 2, 2)).tolist() == [[False, True], [False, False]]
    by_head = torch.tensor([[[[True, False]], [[False, True]]], [[[True, True]], [[False, False]]]])
    expected = [[[False, True]], [[True, False]], [[False, False]], [[True, True]]]
    assert to_torch_mask(by_head, (2, 2, 1, 2)).tolist() == expected  # heads of the first sequence first


@pytest.mark.parametrize(
    "mask",
    [
        padding_mask(torch.tensor([4, N_KEYS]), N_KEYS).unsqueeze(1),
        causal_mask(N_QUERIES, N_KEYS),
        torch.arange(N_KEYS)[None] < 4,
        torch.arange(HEADS)[None, :, None, None] != torch.arange(N_KEYS),
        per_head_mask(),
    ],
    ids=["padding", "causal", "one row", "by head", "full"],
)
def test_masks_of_all_shapes(mask):
    full = mask.expand(SHAPE)
    before = mask.clone()
    theirs = to_torch_mask(mask, SHAPE)
    assert theirs.shape == ((N_QUERIES, N_KEYS) if mask.ndim == 2 else (BATCH * HEADS, N_QUERIES, N_KEYS))
    assert torch.equal(~(theirs.expand(BATCH * HEADS, -1, -1)), full.reshape(-1, N_QUERIES, N_KEYS))
    mask_mod = to_mask_mod(mask, SHAPE)
    grid = torch.meshgrid(*(torch.arange(size) for size in SHAPE), indexing="ij")
    assert torch.equal(mask_mod(*grid), full)
    assert torch.equal(mask, before)


@pytest.mark.parametrize("convert", [to_torch_mask, to_mask_mod])
def test_masks_that_do_not_fit(convert):
    two_or_four = r"mask must have two axes \(n_queries, n_keys\) or four .* got mask.shape=\(2, 5, 11\)"
    with pytest.raises(ValueError, match=two_or_four):
        convert(torch.ones(BATCH, N_QUERIES, N_KEYS, dtype=torch.bool), SHAPE)
    with pytest.raises(ValueError, match=r"mask .*\(5, 3\)"):
        convert(torch.ones(5, 3, dtype=torch.bool), SHAPE)
    with pytest.raises(TypeError, match="mask must be boolean"):
        convert(torch.ones(N_QUERIES, N_KEYS), SHAPE)
    with pytest.raises(TypeError, match="mask must be"):
        convert(np.ones((N_QUERIES, N_KEYS), bool), SHAPE)
    with pytest.raises(ValueError, match=r"scores_shape must be \(batch, n_heads, n_queries, n_keys\), got"):
        convert(torch.ones(N_QUERIES, N_KEYS, dtype=torch.bool), (N_QUERIES, N_KEYS))


# Keras's order and shapes


def test_kernels_by_loops():
    ours = layer(d_key=D_KEY)
    query, query_bias, key, *_, output, output_bias = keras_weights(ours)
    assert query.shape == (D_MODEL, HEADS, D_HEAD)
    assert key.shape == (D_KEY, HEADS, D_HEAD)
    assert output.shape == (HEADS, D_HEAD, D_MODEL)
    for head in range(HEADS):
        for feature in range(D_HEAD):
            place = head * D_HEAD + feature
            assert (query[:, head, feature] == ours.query_proj.weight[place].detach().numpy()).all()
            assert query_bias[head, feature] == ours.query_proj.bias[place]
            assert (key[:, head, feature] == ours.key_proj.weight[place].detach().numpy()).all()
            assert (output[head, feature] == ours.output_proj.weight[:, place].detach().numpy()).all()
    assert (output_bias == ours.output_proj.bias.detach().numpy()).all()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("n_kv_heads", [6, 3, 2, 1])
@pytest.mark.parametrize("sizes", SIZES)
def test_kernels_there_and_back(bias, n_kv_heads, sizes):
    ours = layer(6, n_kv_heads=n_kv_heads, bias=bias, **sizes)
    arrays = keras_weights(ours)
    kept = [array.copy() for array in arrays]
    assert len(arrays) == (8 if bias else 4)
    assert all(array.flags["C_CONTIGUOUS"] for array in arrays)
    back = from_keras_weights(arrays, dropout=0.25)
    assert back.dropout == 0.25
    assert back.n_kv_heads == n_kv_heads
    assert same_parameters(back, ours)
    with torch.no_grad():  # the arrays stay as they were, whatever becomes of the layer
        back.query_proj.weight.zero_()
    assert all((array == copy_).all() for array, copy_ in zip(arrays, kept, strict=True))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_kernels_keep_their_dtype(dtype):
    arrays = [array.astype(dtype) for array in keras_weights(layer())]
    back = from_keras_weights(arrays)
    assert {array.dtype for array in keras_weights(back)} == {np.dtype(dtype)}


def test_a_read_only_array_is_copied_without_a_warning():
    arrays = keras_weights(layer())
    for array in arrays:
        array.setflags(write=False)
    assert same_parameters(from_keras_weights(arrays), layer())


def kernels(query=(6, 3, 2), key=(6, 3, 2), value=(6, 3, 2), output=(3, 2, 6)):
    return [np.zeros(shape) for shape in (query, key, value, output)]


@pytest.mark.parametrize(
    ("weights", "text"),
    [
        (kernels()[:3], r"weights must be 4 arrays, or 8 with biases, got len\(weights\)=3"),
        (kernels(query=(6, 6)), r"the query kernel must have three axes, got shape=\(6, 6\)"),
        (kernels(output=(6, 6)), r"the output kernel must have three axes, got shape=\(6, 6\)"),
        (kernels(query=(7, 3, 2)), "key_dim must be d_model / n_heads, got key_dim=2, d_model=7, n_heads=3"),
        (kernels(value=(6, 3, 5)), "value_dim must be key_dim=2, got value_dim=5"),
        (kernels(output=(3, 2, 5)), "output_shape must be d_model=6, got output_shape=5"),
        (kernels(key=(6, 3, 5)), r"the key kernel must have shape=\(6, 3, 2\), got shape=\(6, 3, 5\)"),
        (kernels(value=(5, 1, 2)), r"the value kernel must have shape=\(5, 3, 2\), got shape=\(5, 1, 2\)"),
        (kernels(output=(2, 3, 6)), r"the output kernel must have shape=\(3, 2, 6\), got shape=\(2, 3, 6\)"),
        (kernels(key=(6, 2, 2), value=(6, 2, 2)), "n_kv_heads must divide n_heads=3, got n_kv_heads=2"),
    ],
)
def test_kernels_that_ours_cannot_hold(weights, text):
    with pytest.raises(ValueError, match=text):
        from_keras_weights(weights)


@pytest.mark.parametrize("place", [1, 3, 5, 7])
def test_biases_that_do_not_fit(place):
    arrays = keras_weights(layer())
    arrays[place] = arrays[place][..., :1]
    name = ("query", "key", "value", "output")[place // 2]
    with pytest.raises(ValueError, match=f"the {name} bias must have shape="):
        from_keras_weights(arrays)


def test_kernels_of_other_kinds():
    integers = [array.astype(np.int64) for array in kernels()]
    with pytest.raises(TypeError, match=r"weights\[0\] must be of a NumPy floating dtype, got dtype=int64"):
        from_keras_weights(integers)
    with pytest.raises(TypeError, match=r"weights\[1\] must be"):
        from_keras_weights([kernels()[0], torch.zeros(6, 3, 2), *kernels()[2:]])
    with pytest.raises(ValueError, match="dropout must"):
        from_keras_weights(kernels(), dropout=1.0)
