"""Checker: the output of a layer as a sum with one term for each head."""

import torch

from attncourse.attention import scaled_dot_product_attention
from attncourse.exercises._exercise import Exercise, Mistake, Property
from attncourse.exercises._exercise import normal as draw
from attncourse.exercises.multihead._filled import filled
from attncourse.multihead import MultiHeadAttention, split_heads


def _case(rng, n_heads, d_head, n_queries, n_keys, batch=2):
    d_model, d_key = n_heads * d_head, 7
    return {
        "layer": filled(rng, MultiHeadAttention, d_model, n_heads, d_key=d_key),
        "query": draw(rng, batch, n_queries, d_model),
        "key": draw(rng, batch, n_keys, d_key),
    }


def _properties(rng):
    return [
        Property("one head", [_case(rng, 1, 5, 3, 4)], 1),
        Property("several heads", [_case(rng, 3, 4, 5, 6)], 2),
        Property(
            "as many queries as features of a head",
            [_case(rng, 5, 3, 3, 8), _case(rng, 2, 6, 6, 4, batch=3)],
            1,
        ),
    ]


def _by_gates(layer, query, key):
    rest = layer.output_proj.bias
    gates = torch.eye(layer.n_heads)
    return torch.stack([layer(query, key, head_gates=gate) - rest for gate in gates]), rest


def _from_heads(blocks_of=None, scale=None, value_bias=True):
    def head_terms(layer, query, key):
        weight = layer.output_proj.weight
        value = layer.value_proj(key) if value_bias else key @ layer.value_proj.weight.T
        heads = scaled_dot_product_attention(
            split_heads(layer.query_proj(query), layer.n_heads),
            split_heads(layer.key_proj(key), layer.n_heads),
            split_heads(value, layer.n_heads),
            scale=None if scale is None else scale(layer),
        )
        blocks = weight.T.split(layer.d_head) if blocks_of is None else blocks_of(weight, layer)
        return torch.stack([heads[:, r] @ block for r, block in enumerate(blocks)]), layer.output_proj.bias

    return head_terms


def _bias_in_every_term(layer, query, key):
    terms, rest = _by_gates(layer, query, key)
    return terms + rest, rest


def _bias_shared_out(layer, query, key):
    terms, rest = _by_gates(layer, query, key)
    return terms + rest / layer.n_heads, torch.zeros_like(rest)


def _batch_first(layer, query, key):
    terms, rest = _by_gates(layer, query, key)
    return terms.transpose(0, 1), rest


def _rest_in_full(layer, query, key):
    terms, rest = _by_gates(layer, query, key)
    return terms, rest.expand(terms.shape[1:])


def _without_bias(layer, query, key):
    terms, rest = _by_gates(layer, query, key)
    return terms, torch.zeros_like(rest)


def _value_bias_in_the_rest(layer, query, key):
    terms, rest = _from_heads(value_bias=False)(layer, query, key)
    return terms, rest + layer.output_proj.weight @ layer.value_proj.bias


def _not_projected(layer, query, key):
    heads = scaled_dot_product_attention(
        split_heads(layer.query_proj(query), layer.n_heads),
        split_heads(layer.key_proj(key), layer.n_heads),
        split_heads(layer.value_proj(key), layer.n_heads),
    )
    return heads.transpose(0, 1), layer.output_proj.bias


EXERCISE = Exercise(
    reference=_by_gates,
    properties=_properties,
    mistakes=[
        Mistake(
            "the bias in every term",
            "Every term holds the bias of the output projection, so the sum holds it once for each head and "
            "once more.",
            _bias_in_every_term,
        ),
        Mistake(
            "the bias shared out",
            "The sum is right, but the bias belongs to no head: switching one off would take a part of the "
            "bias with it.",
            _bias_shared_out,
        ),
        Mistake(
            "blocks of the matrix as it is stored",
            "`nn.Linear` keeps its matrix as (out, in) and multiplies by the transpose. "
            "The shapes fit all the same, and each head meets rows that were meant for the output's "
            "features.",
            _from_heads(lambda weight, layer: weight.split(layer.d_head)),
        ),
        Mistake(
            "blocks dealt out like cards",
            "Head r gets every n_heads-th row of the output matrix. Heads lie side by side, so each has a "
            "run of rows.",
            _from_heads(lambda weight, layer: [weight.T[r :: layer.n_heads] for r in range(layer.n_heads)]),
        ),
        Mistake(
            "root of d_model",
            "The scores are divided by the root of d_model; each head is an attention of its own, over "
            "d_head features.",
            _from_heads(scale=lambda layer: layer.d_model**-0.5),
            see=(7, "All heads in one tensor"),
        ),
        Mistake(
            "the values without their bias",
            "The bias of the value projection is missing. It goes through the attention and the output "
            "matrix like "
            "everything else that a value holds.",
            _from_heads(value_bias=False),
        ),
        Mistake(
            "batch before heads",
            "The terms are right, but the heads' axis stands behind the batch; summing over the first axis "
            "would add sequences.",
            _batch_first,
        ),
        Mistake(
            "the rest in the shape of a term",
            "The rest is the same for every token: it was asked for as (d_model,), and broadcasting does "
            "the rest of the work.",
            _rest_in_full,
        ),
        Mistake(
            "the bias nowhere",
            "The terms are right, but the bias of the output projection is in no term and not in the rest.",
            _without_bias,
        ),
        Mistake(
            "the bias of the values in the rest",
            "The sum is right, but the bias of the value projection stands in the rest. It is a part of "
            "every head's output, and a head that is switched off takes its share along.",
            _value_bias_in_the_rest,
        ),
        Mistake(
            "the outputs of the heads",
            "These are the outputs of the heads, of d_head features; what a head adds to the layer's output "
            "has passed through its part of the output matrix.",
            _not_projected,
        ),
    ],
    see=(7, "Several attentions, one after the other"),
    variants={"blocks of the matrix": _from_heads()},
)
