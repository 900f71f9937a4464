"""Checker: a look back at the source whose tanh, axis and padding are wrong."""

import torch
from torch import nn

from attncourse.attention import attend
from attncourse.exercises._exercise import Exercise, Mistake, Property, normal


def _reference(state, memory, mask, query_proj, key_proj, readout):
    hidden = torch.tanh(query_proj(state).unsqueeze(1) + key_proj(memory))
    context, weights = attend(readout(hidden).transpose(1, 2), memory, mask.unsqueeze(1))
    return context.squeeze(1), weights.squeeze(1)


def _like_this(
    *,
    inside="both",
    over=1,
    hidden=lambda scores, mask: scores.masked_fill(~mask, -torch.inf),
    after=lambda weights, mask: weights,
):
    """Return a version by what stands inside the tanh, the softmax's axis, and how padding is hidden."""

    def look_back(state, memory, mask, query_proj, key_proj, readout):
        query, key = query_proj(state)[:, None], key_proj(memory)
        made = {
            "both": lambda: readout(torch.tanh(query + key)),
            "key": lambda: readout(query + torch.tanh(key)),
            "scores": lambda: torch.tanh(readout(query + key)),
            "none": lambda: readout(query + key),
        }[inside]()
        weights = after(hidden(made, mask[:, :, None]).softmax(dim=over), mask[:, :, None])
        return (weights * memory).sum(dim=1), weights[:, :, 0]

    return look_back


def _everything(scores, mask):
    return scores


def _run(answer, inputs):
    d_state, d_memory, d_hidden = inputs["state"].shape[1], inputs["memory"].shape[2], 5
    generator = torch.Generator().manual_seed(inputs["weights_seed"])
    layers = [
        nn.Linear(d_state, d_hidden, bias=False),
        nn.Linear(d_memory, d_hidden),
        nn.Linear(d_hidden, 1, bias=False),
    ]
    with torch.no_grad():
        for parameter in (parameter for layer in layers for parameter in layer.parameters()):
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
        return answer(inputs["state"], inputs["memory"], inputs["mask"], *layers)


def _properties(rng):
    def inputs(lengths, n_source):
        return {
            "state": normal(rng, len(lengths), 4),
            "memory": normal(rng, len(lengths), n_source, 6),
            "mask": torch.arange(n_source) < torch.tensor(lengths)[:, None],
            "weights_seed": int(rng.integers(1000)),
        }

    return [
        Property("one sentence without padding", [inputs([5], 5)], 1),
        Property("several sentences without padding", [inputs([7, 7, 7], 7), inputs([4] * 4, 4)], 1),
        Property("one sentence with padding", [inputs([3], 8)], 1),
        Property("sentences of unequal length", [inputs([7, 2, 5], 8), inputs([1, 6], 6)], 2),
    ]


EXERCISE = Exercise(
    reference=_reference,
    properties=_properties,
    mistakes=[
        Mistake(
            "nothing mended",
            "All three faults are still there.",
            _like_this(inside="key", over=0, hidden=_everything),
        ),
        Mistake(
            "tanh and axis left",
            "The padding is hidden, and two faults are left: another query does not change the weights, and "
            "another sentence of the batch does.",
            _like_this(inside="key", over=0),
        ),
        Mistake(
            "axis and padding left",
            "The tanh is right, and two faults are left: one sentence changes the weights of another, and "
            "so does filler.",
            _like_this(over=0, hidden=_everything),
        ),
        Mistake(
            "tanh and padding left",
            "The axis is right, and two faults are left: another query does not change the weights, and "
            "more filler does.",
            _like_this(inside="key", hidden=_everything),
        ),
        Mistake(
            "tanh left",
            "One fault is left: change the query, and the weights stay what they are. Query and key must "
            "meet inside one tanh.",
            _like_this(inside="key"),
            (3, "Common mistakes"),
        ),
        Mistake(
            "axis left",
            "One fault is left: change one sentence of the batch, and the weights of another change.",
            _like_this(over=0),
        ),
        Mistake(
            "padding left",
            "One fault is left: put more filler behind a sentence, and its weights change.",
            _like_this(hidden=_everything),
        ),
        Mistake(
            "tanh taken out",
            "Without any tanh the query drops out of the softmax as well.",
            _like_this(inside="none"),
        ),
        Mistake(
            "tanh around the scores",
            "The tanh is around the finished scores, so all of them lie between -1 and 1 and every query "
            "ranks the places alike.",
            _like_this(inside="scores"),
        ),
        Mistake(
            "hidden scores set to zero",
            "The padding has a score of 0, which is a score like any other: it still gets weight.",
            _like_this(hidden=lambda scores, mask: scores * mask),
        ),
        Mistake(
            "masked after the softmax",
            "The padding loses its weight and nobody gets it: the rows no longer sum to one.",
            _like_this(hidden=_everything, after=lambda weights, mask: weights * mask),
        ),
        Mistake(
            "mask inverted",
            "The words are hidden and the padding is looked at; True means that a place may be looked at.",
            _like_this(hidden=lambda scores, mask: scores.masked_fill(mask, -torch.inf)),
        ),
    ],
    see=(5, "Common mistakes"),
    variants={
        "large negative score": _like_this(hidden=lambda scores, mask: scores.masked_fill(~mask, -1e9))
    },
    run=_run,
)
