"""Checker: a layer with several heads that had three faults."""

import math

import torch

from attncourse.exercises._exercise import Exercise, Mistake, Property, normal
from attncourse.exercises.multihead._filled import filled
from attncourse.masks import padding_mask
from attncourse.multihead import MultiHeadAttention, merge_heads, split_heads


def _reference(layer, x, mask):
    return layer(x, mask=mask.unsqueeze(1))


def _root_of_heads(layer):
    return layer.d_head**-0.5


def _root_of_model(layer):
    return layer.d_model**-0.5


def _merged_by_view(heads):
    return heads.reshape(len(heads), heads.shape[2], -1)


def _layer(scale=_root_of_heads, merge=merge_heads, place=lambda mask: mask.unsqueeze(1), split=split_heads):
    def attention(layer, x, mask):
        projs = (layer.query_proj, layer.key_proj, layer.value_proj)
        query, key, value = (split(proj(x), layer.n_heads) for proj in projs)
        scores = query @ key.transpose(-2, -1) * scale(layer)
        weights = scores.masked_fill(~place(mask), -math.inf).softmax(dim=-1)
        return layer.output_proj(merge(weights @ value))

    return attention


def _split_by_view(x, n_heads):
    return x.reshape(len(x), n_heads, x.shape[1], -1)


def _as_it_came(mask):
    return mask


def _properties(rng):
    def case(n_heads, d_head, lengths, n_tokens):
        layer = filled(rng, MultiHeadAttention, n_heads * d_head, n_heads)
        x = normal(rng, len(lengths), n_tokens, n_heads * d_head)
        return {"layer": layer, "x": x, "mask": padding_mask(torch.tensor(lengths), n_tokens)}

    return [
        Property("one head, one sequence", [case(1, 6, [5], 5), case(1, 5, [3], 7)], 1),
        Property("several heads, one sequence", [case(3, 4, [7], 7), case(4, 5, [2], 6)], 2),
        Property("as many sequences as heads", [case(3, 4, [7, 2, 5], 7)], 2),
        Property("more sequences than heads", [case(2, 9, [6, 1, 4], 6)], 1),
    ]


EXERCISE = Exercise(
    reference=_reference,
    properties=_properties,
    mistakes=[
        Mistake(
            "as it was",
            "All three faults are still there. One head in one sequence hides them all, so test with more "
            "of both.",
            _layer(_root_of_model, _merged_by_view, _as_it_came),
        ),
        Mistake(
            "the scale is left",
            "The scores are still divided by the root of d_model; only with one head is that the root of "
            "d_head.",
            _layer(scale=_root_of_model),
            see=(7, "All heads in one tensor"),
        ),
        Mistake(
            "the merge is left",
            "The heads' outputs are still read in the order in which they lie in memory, so a token's row "
            "holds "
            "several tokens of one head.",
            _layer(merge=_merged_by_view),
            see=(7, "The bug that trains"),
        ),
        Mistake(
            "the mask is left",
            "The batch axis of the mask still lands on the heads: with as many sequences as heads, each "
            "head gets "
            "the padding of one sequence, and nothing complains.",
            _layer(place=_as_it_came),
        ),
        Mistake(
            "scale and merge are left",
            "The mask is right; two faults remain, and the permutation test finds one of them.",
            _layer(_root_of_model, _merged_by_view),
        ),
        Mistake(
            "scale and mask are left",
            "The heads are merged well. Look at the size of the scores, and at the axis on which the mask "
            "lands.",
            _layer(_root_of_model, place=_as_it_came),
        ),
        Mistake(
            "merge and mask are left",
            "The scale is right. Reorder the tokens, and put garbage behind the padding.",
            _layer(merge=_merged_by_view, place=_as_it_came),
        ),
        Mistake(
            "the scale taken away",
            "The scores are no longer scaled at all.",
            _layer(scale=lambda layer: 1.0),
            see=(7, "All heads in one tensor"),
        ),
        Mistake(
            "heads and features exchanged",
            "Before merging, the axes of tokens and features changed places instead of heads and tokens.",
            _layer(merge=lambda heads: heads.transpose(-2, -1).reshape(len(heads), heads.shape[2], -1)),
        ),
        Mistake(
            "features dealt out like cards",
            "The outputs of the heads are interleaved: the features of one head no longer lie side by side.",
            _layer(merge=lambda heads: heads.permute(0, 2, 3, 1).flatten(-2)),
        ),
        Mistake(
            "two reshapes that undo each other",
            "The way in was made as short as the way back. Every number returns to its place now, but the "
            "heads got tokens instead of features, so a token meets only the tokens of its own block.",
            _layer(split=_split_by_view, merge=_merged_by_view),
            see=(7, "The bug that trains"),
        ),
        Mistake(
            "root of the number of heads",
            "The scores are divided by the root of the number of heads; their size grows with the features "
            "of one head.",
            _layer(scale=lambda layer: layer.n_heads**-0.5),
            see=(7, "All heads in one tensor"),
        ),
        Mistake(
            "d_head without the root",
            "The scores are divided by d_head itself, so the weights are too even; it should be its root.",
            _layer(scale=lambda layer: 1 / layer.d_head),
            see=(4, "Why the square root"),
        ),
        Mistake(
            "the padding hides queries",
            "The mask now hides whole rows, those of padded queries, so that NaN comes out there; the padded "
            "keys stay visible.",
            _layer(place=lambda mask: mask.unsqueeze(1).transpose(-2, -1)),
        ),
        Mistake(
            "hidden and visible exchanged",
            "The real keys are hidden and the padding is read; a sequence without padding has nothing left.",
            _layer(place=lambda mask: ~mask.unsqueeze(1)),
            see=(4, "Masks: who may attend to whom"),
        ),
    ],
    see=(7, "Masks with a heads axis"),
    variants={"step by step": _layer()},
)
