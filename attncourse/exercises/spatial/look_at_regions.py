"""Checker: one soft look at the regions of a grid, with cells that may be hidden."""

import math

import torch

from attncourse.attention import attend
from attncourse.exercises._exercise import Exercise, Mistake, Property, normal

SIZES = {"d_query": 5, "d_memory": 7, "d_hidden": 9}


def _scores(query, regions, A_query, A_key, bias, readout):
    hidden = (query @ A_query)[:, None, None] + regions @ A_key + bias
    return torch.tanh(hidden) @ readout


def _read(weights, regions):
    return torch.einsum("brc,brcd->bd", weights, regions), weights


def _reference(query, regions, A_query, A_key, bias, readout, visible):
    scores = _scores(query, regions, A_query, A_key, bias, readout).flatten(1).unsqueeze(1)
    context, weights = attend(scores, regions.flatten(1, 2), visible.flatten(1).unsqueeze(1))
    return context.squeeze(1), weights.squeeze(1).unflatten(1, regions.shape[1:3])


def _normalised(scores, dims, visible):
    powers = (scores - scores.amax(dim=dims, keepdim=True)).exp() * visible
    return powers / powers.sum(dim=dims, keepdim=True).clamp(min=1e-30)


def _over(*dims):
    def look(query, regions, *rest):
        return _read(_normalised(_scores(query, regions, *rest[:4]), dims, rest[4]), regions)

    return look


def _no_tanh(query, regions, A_query, A_key, bias, readout, visible):
    scores = ((query @ A_query)[:, None, None] + regions @ A_key + bias) @ readout
    return _read(_normalised(scores, (1, 2), visible), regions)


def _masked(make):
    def look(query, regions, *rest):
        return _read(make(_scores(query, regions, *rest[:4]), rest[4]), regions)

    return look


def _flat_softmax(scores):
    return scores.flatten(1).softmax(dim=-1).view_as(scores)


def _zero_regions(query, regions, *rest):
    *numbers, visible = rest
    return _read(_flat_softmax(_scores(query, regions * visible.unsqueeze(-1), *numbers)), regions)


def _transposed(query, regions, *rest):
    context, weights = _reference(query, regions, *rest)
    turned = weights.transpose(1, 2).flatten(1).view_as(weights)
    return context, turned


def _reads_hidden(query, regions, A_query, A_key, bias, readout, visible):
    _, weights = _reference(query, regions, A_query, A_key, bias, readout, visible)
    return torch.einsum("brc,brch->bh", weights, regions @ A_key), weights


def _row_by_row(query, regions, *rest):
    looks = [
        _reference(*(one[i : i + 1] for one in (query, regions)), *rest[:4], rest[4][i : i + 1])
        for i in range(len(query))
    ]
    return tuple(torch.cat(parts) for parts in zip(*looks, strict=True))


def _zeroed(query, regions, *rest):
    *numbers, visible = rest
    hidden = torch.zeros(visible.shape, dtype=regions.dtype).masked_fill(~visible, -math.inf)
    weights = _flat_softmax(_scores(query, regions, *numbers) + hidden)
    return _read(weights.masked_fill(~visible.any(dim=2).any(dim=1)[:, None, None], 0.0), regions)


def _run(answer, inputs):
    leaf = inputs["regions"].clone().requires_grad_()
    context, weights = answer(*(leaf if name == "regions" else value for name, value in inputs.items()))
    (gradient,) = torch.autograd.grad((context**2).sum(), leaf)
    return {"context": context.detach(), "weights": weights.detach(), "the gradient for regions": gradient}


def _properties(rng):
    def inputs(batch, n_rows, n_columns, *, share=1.0, dtype=torch.float32, blind=None):
        d_query, d_memory, d_hidden = SIZES.values()
        visible = torch.from_numpy(rng.random((batch, n_rows, n_columns)) < share)
        visible[:, 1, 0] = True
        if share < 1:
            visible[:, 0, 0] = False
        if blind is not None:
            visible[blind] = False
        return {
            "query": normal(rng, batch, d_query, dtype=dtype),
            "regions": normal(rng, batch, n_rows, n_columns, d_memory, dtype=dtype),
            "A_query": 0.5 * normal(rng, d_query, d_hidden, dtype=dtype),
            "A_key": 0.5 * normal(rng, d_memory, d_hidden, dtype=dtype),
            "bias": normal(rng, d_hidden, dtype=dtype),
            "readout": 2 * normal(rng, d_hidden, dtype=dtype),
            "visible": visible,
        }

    return [
        Property("one image, every cell visible", [inputs(1, 4, 4)], 1),
        Property("several images, a wide grid", [inputs(3, 2, 5)], 2),
        Property("hidden cells", [inputs(2, 4, 3, share=0.6)], 2),
        Property("an image without a visible cell", [inputs(3, 3, 4, share=0.6, blind=1)], 1),
        Property("double precision", [inputs(2, 3, 4, share=0.6, dtype=torch.float64)], 1),
    ]


EXERCISE = Exercise(
    reference=_reference,
    properties=_properties,
    run=_run,
    mistakes=[
        Mistake(
            "softmax over one axis of the grid",
            "The softmax ran over the columns alone, so every row of the grid sums to 1 and the map to the "
            "number of rows. All cells of an image are rivals.",
            _over(2),
        ),
        Mistake(
            "softmax over the whole batch",
            "The cells of all images compete: the maps of the batch sum to 1 together, and an image's map "
            "depends on its neighbours in the batch.",
            _over(0, 1, 2),
        ),
        Mistake(
            "no tanh",
            "Without the tanh the query adds the same number to every score of an image, the softmax takes "
            "it out again, and the map no longer depends on the query.",
            _no_tanh,
        ),
        Mistake(
            "mask inverted",
            "The visible cells were hidden and the hidden ones read: True means that a cell may be looked "
            "at.",
            _masked(lambda scores, visible: _normalised(scores, (1, 2), ~visible)),
        ),
        Mistake(
            "mask ignored",
            "Hidden cells keep their weight.",
            _masked(lambda scores, visible: _flat_softmax(scores)),
        ),
        Mistake(
            "hidden regions set to zero",
            "The vectors of hidden cells were set to zero, not their weights. A vector of zeros gets a "
            "score like any other, and takes weight away from the visible cells.",
            _zero_regions,
        ),
        Mistake(
            "map and context exchanged",
            "Both results are there, in the wrong order: the context comes first.",
            lambda *inputs: _reference(*inputs)[::-1],
        ),
        Mistake(
            "mask multiplied into the scores",
            "The scores of hidden cells became zero. That is a score like any other, and its exponential is "
            "1.",
            _masked(lambda scores, visible: _flat_softmax(scores * visible)),
        ),
        Mistake(
            "mask after the softmax",
            "The weights of hidden cells were set to zero after the softmax, so those of the others no "
            "longer sum to 1.",
            _masked(lambda scores, visible: _flat_softmax(scores) * visible),
        ),
        Mistake(
            "nothing to look at",
            "An image without a visible cell gets NaN: no cell is left to share the weight, and zero is "
            "divided by zero.",
            _masked(lambda scores, visible: _flat_softmax(scores.masked_fill(~visible, -math.inf))),
        ),
        Mistake(
            "NaN in the gradient",
            "The weights are right, but an image without a visible cell went through a softmax of minus "
            "infinities. What was set to zero afterwards is zero; its gradient is NaN all the same, and "
            "training ends there.",
            _zeroed,
        ),
        Mistake(
            "a large negative score",
            "Hidden scores got a large negative number. An image without a visible cell then has equal "
            "scores everywhere, and its weights are uniform instead of zero.",
            _masked(lambda scores, visible: _flat_softmax(scores.masked_fill(~visible, -1e9))),
        ),
        Mistake(
            "map transposed",
            "The context is right, but in the returned map rows and columns are exchanged.",
            _transposed,
        ),
        Mistake(
            "the projected regions are mixed",
            "The weights mix the regions after their projection by A_key. What is read are the regions "
            "themselves.",
            _reads_hidden,
        ),
    ],
    see=(11, "Soft attention over regions"),
    variants={"image by image": _row_by_row},
)
