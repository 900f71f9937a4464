"""Checker: make PyTorch's layer compute what a layer with shared key-value heads computes."""

import copy

import torch
from torch import nn

from attncourse.exercises._exercise import Exercise, Mistake, Property, normal
from attncourse.multihead import MultiHeadAttention
from attncourse.porting import to_torch

SHARED = ("key_proj", "value_proj")


def _interleave(x, times, n_kv_heads):
    return x.unflatten(0, (n_kv_heads, -1)).repeat_interleave(times, dim=0).flatten(0, 1)


def _tile(x, times, n_kv_heads):
    return x.repeat(times, *(1 for _ in x.shape[1:]))


def _features(x, times, n_kv_heads):
    return x.repeat_interleave(times, dim=0)


def _first(x, times, n_kv_heads):
    return _tile(x[: len(x) // n_kv_heads], times * n_kv_heads, n_kv_heads)


def _spread(
    repeat=_interleave, bias_repeat=None, *, biases=True, exchanged=False, output_bias=True, aliased=False
):
    """Make a full layer of ours, and let the package carry it over."""

    def full_layer(layer):
        full = MultiHeadAttention(layer.d_model, layer.n_heads, bias=layer.output_proj.bias is not None)
        full.to(layer.output_proj.weight.dtype).train(layer.training)
        times = layer.n_heads // layer.n_kv_heads
        with torch.no_grad():
            for name, parameter in full.named_parameters():
                other = name
                if exchanged:
                    swap = {"key_proj": "value_proj", "value_proj": "key_proj"}
                    head, dot, rest = name.partition(".")
                    other = swap.get(head, head) + dot + rest
                source = layer.get_parameter(other)
                is_bias = name.endswith("bias")
                if name.startswith(SHARED):
                    source = ((bias_repeat or repeat) if is_bias else repeat)(source, times, layer.n_kv_heads)
                if is_bias and (not biases or (name.startswith("output") and not output_bias)):
                    source = torch.zeros_like(source)
                parameter.copy_(source)
        module = to_torch(full)
        if aliased:
            module.out_proj.weight = layer.output_proj.weight
        return module

    return full_layer


def _tokens_first(layer):
    module = _spread()(layer)
    module.batch_first = False
    return module


def _fresh(layer):
    """Copy what fits, and leave the start values of the rest."""
    module = nn.MultiheadAttention(
        layer.d_model, layer.n_heads, bias=layer.output_proj.bias is not None, batch_first=True
    )
    module.to(layer.output_proj.weight.dtype)
    nn.init.constant_(module.in_proj_weight, 0.05)
    with torch.no_grad():
        module.in_proj_weight[: layer.d_model] = layer.query_proj.weight
        module.out_proj.weight.copy_(layer.output_proj.weight)
        if layer.output_proj.bias is not None:
            module.in_proj_bias[: layer.d_model] = layer.query_proj.bias
            module.out_proj.bias.copy_(layer.output_proj.bias)
    return module


def _by_index(layer):
    """Choose rows of the shared projections by their numbers."""
    d_head, shared = layer.d_head, layer.n_heads // layer.n_kv_heads
    rows = [head // shared * d_head + i for head in range(layer.n_heads) for i in range(d_head)]
    bias = layer.output_proj.bias is not None
    module = nn.MultiheadAttention(layer.d_model, layer.n_heads, bias=bias, batch_first=True)
    state = {
        "in_proj_weight": torch.cat(
            [layer.query_proj.weight, layer.key_proj.weight[rows], layer.value_proj.weight[rows]]
        ),
        "out_proj.weight": layer.output_proj.weight,
    }
    if bias:
        three = [layer.query_proj.bias, layer.key_proj.bias[rows], layer.value_proj.bias[rows]]
        state |= {"in_proj_bias": torch.cat(three), "out_proj.bias": layer.output_proj.bias}
    module.to(layer.output_proj.weight.dtype).load_state_dict(state)
    return module


def _run(answer, inputs):
    """Call the module that was made, then train the old layer a little and call it again."""
    layer, tokens = copy.deepcopy(inputs["layer"]), inputs["tokens"]
    module = answer(layer)
    with torch.no_grad():
        first, weights = module(tokens, tokens, tokens, average_attn_weights=False)
        for parameter in layer.parameters():
            parameter.add_(1.0)
        second, _ = module(tokens, tokens, tokens)
    return {
        "the output": first,
        "the weights": weights,
        "the output after the old layer was trained": second,
        "the number of parameters": sum(parameter.numel() for parameter in module.parameters()),
    }


def _properties(rng):
    def case(batch, n_tokens, d_model, n_heads, n_kv_heads, dtype=torch.float32, bias=True):
        layer = MultiHeadAttention(d_model, n_heads, n_kv_heads=n_kv_heads, bias=bias)
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.copy_(normal(rng, *parameter.shape) * 0.4)
        return {"layer": layer.to(dtype), "tokens": normal(rng, batch, n_tokens, d_model, dtype=dtype)}

    return [
        Property("a key-value head for each head", [case(2, 5, 12, 3, 3)], 1),
        Property("one key-value head for all", [case(3, 4, 10, 5, 1)], 1),
        Property("groups of heads", [case(2, 5, 24, 6, 2), case(3, 4, 24, 6, 3), case(2, 3, 20, 4, 2)], 3),
        Property("no biases", [case(2, 5, 12, 4, 2, bias=False)], 1),
        Property("double precision", [case(2, 7, 16, 4, 2, torch.float64)], 1),
    ]


EXERCISE = Exercise(
    reference=_spread(),
    properties=_properties,
    run=_run,
    mistakes=[
        Mistake(
            "heads in turn",
            "The shared heads are repeated as a block: 0, 1, 0, 1. Here neighbouring heads share "
            "one: 0, 0, 1, 1.",
            _spread(_tile),
        ),
        Mistake(
            "features repeated instead of heads",
            "Every feature is repeated by itself, so a head holds copies of a few features instead "
            "of all of one head.",
            _spread(_features),
        ),
        Mistake(
            "the first head for all",
            "All heads get the first key-value head. That is right only if there is one.",
            _spread(_first),
        ),
        Mistake(
            "biases in turn",
            "The weights are right. The biases are repeated as a block, and belong to other heads.",
            _spread(bias_repeat=_tile),
        ),
        Mistake(
            "biases forgotten",
            "No bias was copied. Layers that have never been trained hide this, because their "
            "biases are zero.",
            _spread(biases=False),
        ),
        Mistake(
            "output bias forgotten",
            "The bias of the output projection was not copied.",
            _spread(output_bias=False),
        ),
        Mistake(
            "key and value exchanged",
            "The key's projection went to the place of the value's, and the value's to the key's.",
            _spread(exchanged=True),
        ),
        Mistake(
            "tokens first",
            "The module takes the first axis of its input for tokens, and reads across the sequences.",
            _tokens_first,
        ),
        Mistake(
            "key and value not copied",
            "Only the query and the output projection were copied.",
            _fresh,
        ),
        Mistake(
            "a parameter shared with the old layer",
            "The two layers have an array in common: whoever trains one changes the other.",
            _spread(aliased=True),
        ),
    ],
    see=(14, "Where a weight lives"),
    variants={"by index": _by_index},
)
