"""The layers and the inputs on which the libraries are compared: every axis of another prime size."""

import copy

import torch
from torch import Tensor

from attncourse.masks import causal_mask, padding_mask
from attncourse.multihead import MultiHeadAttention
from attncourse.porting import keras_weights

BATCH, HEADS, N_QUERIES, N_KEYS, D_HEAD, D_KEY, D_VALUE = 2, 3, 5, 11, 7, 13, 17
D_MODEL = HEADS * D_HEAD
SCORES_SHAPE = (BATCH, HEADS, N_QUERIES, N_KEYS)


def our_layer(n_heads=HEADS, *, d_head=D_HEAD, dtype=torch.float32, seed=0, **options):
    """Return a layer whose weights and biases are all random, so that none can hide."""
    layer = MultiHeadAttention(n_heads * d_head, n_heads, **options).to(dtype)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in layer.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(noise / parameter.shape[-1] ** 0.5)
    return layer


def random_inputs(*shapes, dtype=torch.float32, seed=1):
    """Return tensors of the given shapes behind the batch, standard normal."""
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(BATCH, *shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes
    ]


def cross_inputs(*, d_model=D_MODEL, d_key=D_MODEL, d_value=D_MODEL, dtype=torch.float32):
    """Return query, key and value for cross-attention."""
    return random_inputs((N_QUERIES, d_model), (N_KEYS, d_key), (N_KEYS, d_value), dtype=dtype)


def masks(n_queries=N_QUERIES, n_keys=N_KEYS, *, heads=HEADS):
    """Return every kind of mask by name, none with an empty row; two axes or four, True = may attend."""
    padding = padding_mask(torch.tensor([n_keys - 3, n_keys]), n_keys).unsqueeze(1)
    causal = causal_mask(n_queries, n_keys)
    generator = torch.Generator().manual_seed(2)
    per_head = torch.rand(BATCH, heads, n_queries, n_keys, generator=generator) < 0.5
    per_head[..., 0] = True
    return {
        "none": None,
        "padding": padding,
        "causal": causal,
        "both": padding & causal,
        "per head": per_head,
    }


def with_empty_row(*, n_queries=N_QUERIES, n_keys=N_KEYS):
    """Return a mask that lets query 2 of sequence 1 attend nowhere."""
    mask = torch.ones(BATCH, 1, n_queries, n_keys, dtype=torch.bool)
    mask[1, :, 2] = False
    return mask


def gradients_as_keras(layer: MultiHeadAttention, output: Tensor, upstream: Tensor):
    """Return the gradients of our parameters, arranged as Keras arranges the parameters themselves."""
    gradients = torch.autograd.grad(output, list(layer.parameters()), upstream, retain_graph=True)
    twin = copy.deepcopy(layer)
    with torch.no_grad():
        for parameter, gradient in zip(twin.parameters(), gradients, strict=True):
            parameter.copy_(gradient)
    return keras_weights(twin)
