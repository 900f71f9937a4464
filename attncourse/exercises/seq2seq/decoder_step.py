"""Checker: one step of a decoder that asks before or after it reads, as the version says."""

import torch
from torch import nn

from attncourse.attention import masked_softmax
from attncourse.exercises._exercise import Exercise, Family, Mistake, Property, normal
from attncourse.exercises.seq2seq._decoder_versions import EARLY, LATE, VERSIONS, WITH_WORD
from attncourse.scores import AdditiveScore


def _step(
    query_rule,
    into_cell,
    *,
    tanh=None,
    weigh=None,
    returned="new",
    words="word",
    order=1,
    seen=None,
    early_tanh=False,
    keep_axis=False,
    word_first=False,
):
    """Return a decoder step; the keyword arguments are what can be wrong with it."""
    weigh = weigh or (lambda scores, mask: masked_softmax(scores, mask))
    tanh = (not into_cell) if tanh is None else tanh

    def step(word, state, memory, mask, score, cell, proj):
        old = state
        if not into_cell:
            state = cell(word, old)
        query = {EARLY: old, LATE: state, WITH_WORD: torch.cat([old, word], dim=-1)}[query_rule]
        query = torch.cat([word, old], dim=-1) if word_first else query
        weights = weigh(score(query.unsqueeze(1), memory).squeeze(1), mask)
        context = seen(memory, weights) if seen else (weights.unsqueeze(1) @ memory).squeeze(1)
        if into_cell:
            read = [word, context] if words == "word" else [context, word]
            state = cell(torch.cat(read, dim=-1), old)
        shown = old if returned == "old in features" else state
        parts = [shown, context, word] if into_cell else [context, shown]
        joined = torch.cat(parts[::order], dim=-1)
        features = proj(torch.tanh(joined)) if early_tanh else proj(joined)
        if tanh and not early_tanh:
            features = torch.tanh(features)
        if returned == "second":
            return features, state, weights
        return features, weights.unsqueeze(1) if keep_axis else weights, old if returned == "old" else state

    return step


def _run(answer, inputs):
    """Take the steps one after another, each from the state that the last one left."""
    words, state, memory, mask = (inputs[name] for name in ("words", "state", "memory", "mask"))
    d_word, d_state, d_memory = words.shape[-1], state.shape[-1], memory.shape[-1]
    generator = torch.Generator().manual_seed(inputs["weights_seed"])

    def drawn(module):
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / 2)
        return module

    into_cell = inputs["cell_reads"] != d_word
    score = drawn(AdditiveScore(inputs["d_query"], d_memory, 5))
    cell = drawn(nn.GRUCell(inputs["cell_reads"], d_state))
    proj = drawn(nn.Linear(d_state + d_memory + (d_word if into_cell else 0), 6))
    with torch.no_grad():
        for word in words:
            features, weights, state = answer(word, state, memory, mask, score, cell, proj)
    return {"features": features, "weights": weights, "new_state": state}


def _build(version):
    query_rule, into_cell = version["query"], version["into_cell"]
    d_word, d_state, d_memory = 3, 4, 7

    def properties(rng):
        def inputs(lengths, n_steps=1):
            batch, n_source = len(lengths), max(lengths) + 1
            return {
                "words": normal(rng, n_steps, batch, d_word),
                "state": normal(rng, batch, d_state),
                "memory": 2 * normal(rng, batch, n_source, d_memory),
                "mask": torch.arange(n_source) < torch.tensor(lengths)[:, None],
                "cell_reads": d_word + d_memory * into_cell,
                "d_query": d_state + d_word * (query_rule == WITH_WORD),
                "weights_seed": int(rng.integers(1000)),
            }

        full = inputs([5]) | {"mask": torch.ones(1, 6, dtype=torch.bool)}
        return [
            Property("one sentence without padding", [full], 1),
            Property("sentences of unequal length", [inputs([5, 2, 4]), inputs([1, 6])], 2),
            Property("several steps in a row", [inputs([4, 2], n_steps=3)], 1),
        ]

    def wrong(**flaw):
        return _step(query_rule, into_cell, **flaw)

    moment = {LATE: EARLY, EARLY: LATE}.get(query_rule)
    special = (
        [
            Mistake(
                "context before word",
                "The cell reads the context first and the word behind it. Both orders have the same size, "
                "and the numbers then meet the wrong weights.",
                wrong(words="context"),
            ),
            Mistake(
                "a tanh too many",
                "The features go through a tanh, which belongs to the other decoder.",
                wrong(tanh=True),
            ),
        ]
        if into_cell
        else [
            Mistake(
                "asked at the wrong moment",
                "The query is the state on the other side of the cell: mind whether it must have read the "
                "word.",
                _step(moment, into_cell),
                (5, "Does the moment of asking matter?"),
            ),
            Mistake(
                "tanh forgotten", "The features lack their tanh, so they have no bounds.", wrong(tanh=False)
            ),
            Mistake(
                "a tanh inside the projection",
                "The tanh is around what goes into the projection, not around what comes out.",
                wrong(early_tanh=True),
            ),
        ]
    )
    if query_rule == WITH_WORD:
        special.append(
            Mistake(
                "word before state",
                "The query holds the word first and the state behind it. Both orders have the same size, "
                "and the numbers then meet the wrong weights of the score.",
                wrong(word_first=True),
            )
        )
    return Exercise(
        reference=wrong(),
        properties=properties,
        mistakes=[
            *special,
            Mistake(
                "padding looked at",
                "The mask is not used, so filler behind the end of a sentence gets weight.",
                wrong(weigh=lambda scores, mask: scores.softmax(dim=-1)),
                (5, "Common mistakes"),
            ),
            Mistake(
                "mask inverted",
                "The step looks at the padding and hides the words; True means that a place may be looked "
                "at.",
                wrong(weigh=lambda scores, mask: scores.masked_fill(mask, -torch.inf).softmax(dim=-1)),
            ),
            Mistake(
                "hidden scores set to zero",
                "A score of 0 is a score like any other: the padding still gets weight.",
                wrong(weigh=lambda scores, mask: (scores * mask).softmax(dim=-1)),
            ),
            Mistake(
                "masked after the softmax",
                "The padding loses its weight and nobody gets it: the rows no longer sum to one.",
                wrong(weigh=lambda scores, mask: scores.softmax(dim=-1) * mask),
            ),
            Mistake(
                "softmax over the batch",
                "The softmax runs over the sentences of the batch, so that they share each place.",
                wrong(weigh=lambda scores, mask: scores.masked_fill(~mask, -1e9).softmax(dim=0)),
                (5, "Common mistakes"),
            ),
            Mistake(
                "old state in the features",
                "The features are made from the state before the step.",
                wrong(returned="old in features"),
            ),
            Mistake(
                "old state returned",
                "The state that comes back is the one before the step: the decoder stays where it is.",
                wrong(returned="old"),
            ),
            Mistake(
                "parts in another order",
                "The parts of the features stand in reverse order, and so meet the wrong columns of the "
                "projection.",
                wrong(order=-1),
            ),
            Mistake(
                "state before weights",
                "The new state is returned second and the weights third; the weights stand in between.",
                wrong(returned="second"),
            ),
            Mistake(
                "weights with an axis too many",
                "The axis of the one query is still in the weights; take it away before they are returned.",
                wrong(keep_axis=True),
            ),
        ],
        see=(5, "Two moments to look back"),
        variants={
            "sum of products": wrong(seen=lambda memory, weights: (weights.unsqueeze(-1) * memory).sum(dim=1))
        },
        run=_run,
    )


FAMILY = Family(VERSIONS, _build)
