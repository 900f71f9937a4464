"""Checker: mend a wrapper that makes PyTorch's layer answer like ours."""

import torch
from torch import nn

from attncourse.exercises._exercise import Exercise, Mistake, Property, normal
from attncourse.porting import from_torch


def _ours(module, query, key, value, mask):
    with torch.no_grad():
        return from_torch(module)(query, key, value, mask, return_weights=True)


def _port(*, polarity=True, layout="heads inside", first=True, averaged=False, empty="zeros"):
    """Call PyTorch's layer; every option is one of the faults."""

    def ported(module, query, key, value, mask):
        nobody = ~mask.any(dim=-1, keepdim=True)
        allowed = mask if empty == "nan" else mask | nobody
        hidden = ~allowed if polarity else allowed
        if layout == "heads inside":
            hidden = hidden.repeat_interleave(module.num_heads, dim=0).squeeze(1)
        elif layout == "heads outside":
            hidden = hidden.repeat(module.num_heads, 1, 1, 1).squeeze(1)
        else:
            hidden = hidden.squeeze(1)
        turn = first and not module.batch_first
        inputs = [x.transpose(0, 1) for x in (query, key, value)] if turn else [query, key, value]
        output, weights = module(*inputs, attn_mask=hidden, average_attn_weights=bool(averaged))
        output = output.transpose(0, 1) if turn else output
        if empty in ("zeros", "all zeros"):
            weights = weights.masked_fill(nobody if averaged != "once" else nobody[:, 0], 0.0)
            bias = module.out_proj.bias
            nothing = torch.zeros(module.embed_dim) if bias is None or empty == "all zeros" else bias
            output = torch.where(nobody[:, 0], nothing.to(output.dtype), output)
        return output, weights

    return ported


def _nothing_mended(module, query, key, value, mask):
    return module(query, key, value, attn_mask=mask[:, 0])


def _nan_to_zero(module, query, key, value, mask):
    output, weights = _port(empty="nan")(module, query, key, value, mask)
    return torch.nan_to_num(output), torch.nan_to_num(weights)


def _as_padding(module, query, key, value, mask):
    """Hide for all queries what is hidden from the first."""
    return _port()(module, query, key, value, mask[:, :, :1].expand_as(mask))


def _values_by_hand(module, query, key, value, mask):
    """Take the weights from the layer, and the rest from the checkpoint."""
    _, weights = _port()(module, query, key, value, mask)
    weight = module.v_proj_weight if module.in_proj_weight is None else module.in_proj_weight.chunk(3)[2]
    bias = None if module.in_proj_bias is None else module.in_proj_bias.chunk(3)[2]
    heads = nn.functional.linear(value, weight, bias).unflatten(-1, (module.num_heads, -1)).transpose(1, 2)
    return module.out_proj((weights @ heads).transpose(1, 2).flatten(2)), weights


def _properties(rng):
    def case(batch, n_queries, n_keys, n_heads, *, empty=False, shown=0.6, **options):
        d_model = 4 * n_heads
        module = nn.MultiheadAttention(d_model, n_heads, **options).double()
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.copy_(normal(rng, *parameter.shape) * 0.5)
        mask = torch.from_numpy(rng.random((batch, 1, n_queries, n_keys)) < shown)
        mask[..., 0] = True
        mask[-1, ..., 0] = False
        mask[-1, ..., -1] = True
        if empty:
            mask[-1, :, 1] = False
        return {
            "module": module,
            "query": normal(rng, batch, n_queries, d_model, dtype=torch.float64),
            "key": normal(rng, batch, n_keys, options.get("kdim", d_model), dtype=torch.float64),
            "value": normal(rng, batch, n_keys, options.get("vdim", d_model), dtype=torch.float64),
            "mask": mask,
        }

    batch_first = {"batch_first": True}
    return [
        Property("one head, half of the keys hidden", [case(1, 3, 6, 1, shown=0.5, **batch_first)], 1),
        Property(
            "several heads and sequences",
            [case(3, 4, 5, 2, **batch_first), case(2, 3, 7, 3, **batch_first)],
            2,
        ),
        Property("a layer with tokens first", [case(3, 3, 3, 2, shown=0.7), case(2, 4, 5, 3)], 2),
        Property("a query that may attend nowhere", [case(2, 3, 4, 2, empty=True, **batch_first)], 2),
        Property(
            "no biases; keys and values of other sizes",
            [
                case(2, 3, 4, 2, empty=True, bias=False, **batch_first),
                case(2, 3, 4, 2, kdim=5, vdim=6, **batch_first),
            ],
            1,
        ),
    ]


EXERCISE = Exercise(
    reference=_ours,
    properties=_properties,
    mistakes=[
        Mistake(
            "nothing mended",
            "This is the call as it was. Begin with the shape that the layer's documentation asks of a mask.",
            _nothing_mended,
        ),
        Mistake(
            "polarity",
            "The mask goes in as it is. In this layer True hides, so every query reads what it should not.",
            _port(polarity=False),
        ),
        Mistake(
            "sequences and heads the wrong way round",
            "The mask has the right shape, with heads outside and sequences inside: most heads get "
            "another sequence's mask.",
            _port(layout="heads outside"),
            see=(14, "Where the same words mean something else"),
        ),
        Mistake(
            "one mask for each sequence",
            "The mask has three axes now, but this layer counts heads and sequences together on the first.",
            _port(layout="one"),
        ),
        Mistake(
            "one row for all queries",
            "What is hidden from the first query is hidden from all, as a padding mask does it. "
            "This mask has a row for each query.",
            _as_padding,
        ),
        Mistake(
            "tokens taken for sequences",
            "A layer made without batch_first takes the first axis for tokens. Where both sizes "
            "agree it answers, and wrongly.",
            _port(first=False),
        ),
        Mistake(
            "weights averaged",
            "One map comes back for all heads, their mean. Ours gives one for each head.",
            _port(averaged="once"),
        ),
        Mistake(
            "weights averaged and stretched",
            "One map comes back for all heads, their mean; what you do with it afterwards has an axis for "
            "heads, and stretches it over the sequences.",
            _port(averaged="stretched"),
        ),
        Mistake(
            "NaN left",
            "A query without keys gets NaN from this layer where weights are asked for.",
            _port(empty="nan"),
            see=(14, "A query that may attend nowhere"),
        ),
        Mistake(
            "NaN made zero",
            "Zero weights are right, but the output of such a query is what the output projection makes of "
            "nothing, and that is not zero if it has a bias.",
            _nan_to_zero,
            see=(14, "A query that may attend nowhere"),
        ),
        Mistake(
            "everything shown instead of nothing",
            "A query without keys is allowed to read all keys, and its answer is kept: what the "
            "mask hides leaks out.",
            _port(empty="everything"),
            see=(14, "A query that may attend nowhere"),
        ),
    ],
    see=(14, "The same numbers, from eight ways to compute them"),
    variants={"without the helper": _port(), "values by hand": _values_by_hand},
)
