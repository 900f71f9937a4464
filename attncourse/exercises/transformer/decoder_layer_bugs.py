"""Checker: a decoder layer that had three faults."""

from functools import cache

import numpy as np
import torch

from attncourse.exercises._exercise import Exercise, Mistake, Property, normal
from attncourse.exercises.multihead._filled import filled
from attncourse.masks import causal_mask, padding_mask
from attncourse.transformer_layers import DecoderLayer


def _by_package(layer, x, memory, memory_mask):
    return layer(x, memory, memory_mask=memory_mask)


def _added(x, normed, output):
    return x + output


def _path_normalised(x, normed, output):
    return normed + output


def _layer(
    causal=lambda layer: True,
    source=lambda normed, memory: (normed, memory, memory),
    first=_added,
    last=_added,
    mask_of=lambda mask, x: mask,
    norm_memory=False,
    last_reads_x=False,
):
    def decoder_layer(layer, x, memory, memory_mask):
        normed = layer.self_attention_sublayer.norm(x)
        x = first(x, normed, layer.self_attention(normed, is_causal=causal(layer)))
        norm = layer.cross_attention_sublayer.norm
        normed, offered = norm(x), norm(memory) if norm_memory else memory
        query, key, value = source(normed, offered)
        x = first(x, normed, layer.cross_attention(query, key, value, mask=mask_of(memory_mask, x)))
        normed = layer.feed_forward_sublayer.norm(x)
        return last(x, normed, layer.feed_forward(x if last_reads_x else normed))

    return decoder_layer


def _in_training(layer):
    return layer.training


def _target_as_value(normed, memory):
    return normed, memory, normed


@cache
def _weights(d_model, n_heads, seed):
    return filled(np.random.default_rng(seed), DecoderLayer, d_model, n_heads, 11)


def _run(answer, inputs):
    n_heads, seed, train, x, memory, memory_mask = inputs.values()
    # Copying a layer for every call would take longer than the calls.
    return answer(_weights(x.shape[-1], n_heads, seed).train(train), x, memory, memory_mask)


def _properties(rng):
    def case(train, n_target, lengths, n_source, n_heads=3, d_model=6):
        return {
            "n_heads": n_heads,
            "weights": int(rng.integers(2**31)),
            "training": train,
            "x": normal(rng, len(lengths), n_target, d_model),
            "memory": normal(rng, len(lengths), n_source, d_model),
            "memory_mask": padding_mask(torch.tensor(lengths), n_source).unsqueeze(1),
        }

    return [
        Property("one target token, training mode", [case(True, 1, [1, 1], 1)], 1),
        Property("as many target as source tokens, training mode", [case(True, 5, [5, 3], 5)], 2),
        Property("as many target as source tokens, evaluation mode", [case(False, 5, [5, 2], 5)], 2),
        Property(
            "another number of target tokens, both modes",
            [case(m, 4, [7, 3, 5], 7, 2) for m in (True, False)],
            2,
        ),
    ]


EXERCISE = Exercise(
    reference=_by_package,
    properties=_properties,
    run=_run,
    mistakes=[
        Mistake(
            "as it was",
            "All three faults are still there.",
            _layer(_in_training, _target_as_value, _path_normalised),
        ),
        Mistake(
            "a mask in training only",
            "The future is hidden in training mode only: in evaluation mode every place reads the tokens "
            "that it has to write.",
            _layer(causal=_in_training),
        ),
        Mistake(
            "the target as the value",
            "The weights of the cross-attention are those of source tokens, but they mix vectors of the "
            "target, later ones "
            "included. With different numbers of tokens this cannot even run.",
            _layer(source=_target_as_value),
            see=(8, "The decoder layer"),
        ),
        Mistake(
            "the path normalised",
            "What the last part adds to is normalised, so the residual path ends there.",
            _layer(last=_path_normalised),
            see=(8, "Where the normalisation stands: on the path or beside it"),
        ),
        Mistake(
            "value and path are left",
            "The future is hidden in both modes now. Ask what cross-attention mixes, and follow the "
            "residual path to the end.",
            _layer(source=_target_as_value, last=_path_normalised),
        ),
        Mistake(
            "mask and path are left",
            "Cross-attention reads the memory now. Compare training with evaluation mode, and follow the "
            "residual path.",
            _layer(causal=_in_training, last=_path_normalised),
        ),
        Mistake(
            "mask and value are left",
            "The residual path is free now. Change a later target token, in both modes.",
            _layer(causal=_in_training, source=_target_as_value),
        ),
        Mistake(
            "a mask in evaluation only",
            "The mode still decides: now it is in training that every place reads the token it has to name.",
            _layer(causal=lambda layer: not layer.training),
        ),
        Mistake(
            "the path normalised three times",
            "All three lines look alike now, and each of them adds to normalised vectors: nothing is left on "
            "the residual path.",
            _layer(last=_path_normalised, first=_path_normalised),
            see=(8, "Where the normalisation stands: on the path or beside it"),
        ),
        Mistake(
            "a network without its norm",
            "The path is free, but the feed-forward network reads vectors that were not normalised.",
            _layer(last_reads_x=True),
            see=(8, "Where the normalisation stands: on the path or beside it"),
        ),
        Mistake("never causal", "The future is not hidden in any mode.", _layer(causal=lambda layer: False)),
        Mistake(
            "the roles exchanged",
            "The memory asks and the target answers. The queries come from the target, keys and values from "
            "the memory.",
            _layer(source=lambda normed, memory: (memory, normed, normed)),
            see=(8, "The decoder layer"),
        ),
        Mistake(
            "the padding of the source seen",
            "The mask of the source is not used any more: garbage behind the end of a source changes the "
            "output.",
            _layer(mask_of=lambda mask, x: None),
            see=(8, "The decoder layer"),
        ),
        Mistake(
            "a causal mask on the memory",
            "Every target token may read the whole source; here early ones see only its beginning.",
            _layer(mask_of=lambda mask, x: mask & causal_mask(mask.shape[-1], mask.shape[-1])[: x.shape[1]]),
        ),
        Mistake(
            "the memory normalised",
            "The memory passed through the normalisation of this sublayer, which belongs to the target. The "
            "encoder has "
            "normalised its output at its own end.",
            _layer(norm_memory=True),
            see=(8, "Where the normalisation stands: on the path or beside it"),
        ),
        Mistake(
            "the last path from nowhere",
            "The output of the feed-forward network is returned by itself; what came before is not in the "
            "sum.",
            _layer(last=lambda x, normed, output: output),
            see=(8, "The residual path: keep the token, add what the layer found"),
        ),
    ],
    see=(8, "Limits and common mistakes"),
    variants={"line by line": _layer()},
)
