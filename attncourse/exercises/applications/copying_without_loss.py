"""Checker: a copying model whose votes get lost."""

import math

import torch

from attncourse.exercises._exercise import Exercise, Mistake, Property, normal
from attncourse.pointer import final_distribution


def _mixture(logits, scores, gate, words, mask, n_words):
    weights = scores.masked_fill(~mask[:, None], -math.inf).softmax(dim=-1)
    return final_distribution(logits.softmax(dim=-1), weights, gate, words, n_words=n_words)


def _properties(rng):
    def inputs(words, lengths, n_words, vocab_size=5, dtype=torch.float32):
        words = torch.tensor(words)
        mask = torch.arange(words.shape[1]) < torch.tensor(lengths)[:, None]
        return {
            "logits": normal(rng, len(words), 3, vocab_size, dtype=dtype),
            "scores": normal(rng, len(words), 3, words.shape[1], dtype=dtype),
            "gate": torch.from_numpy(rng.uniform(0.05, 0.4, size=(len(words), 3, 1))).to(dtype),
            "words": words,
            "mask": mask,
            "n_words": n_words,
        }

    once = inputs([[5, 7, 6, 8], [8, 5, 7, 6]], [4, 4], 9)
    twice = inputs([[5, 6, 5, 7, 5, 6], [6, 6, 7, 7, 5, 5]], [6, 6], 8)
    both_ways = inputs([[1, 5, 3, 2], [4, 3, 5, 1]], [4, 4], 6)
    padded = inputs([[5, 6, 7, 0, 0], [5, 6, 0, 0, 0], [6, 5, 7, 8, 9]], [3, 2, 5], 10)
    n_words = 8
    longer = [int(one) for one in rng.integers(1, n_words, size=13)]
    drawn = inputs([longer, [*longer[4:], 0, 0, 0, 0]], [13, 9], n_words)
    return [
        Property("rare words, each at one place", [once], 1),
        Property("a rare word at several places", [twice], 2),
        Property("known words that can be copied too", [both_ways], 1.5),
        Property("reports of different lengths", [padded], 2),
        Property(
            "all at once, and double precision",
            [drawn, inputs([[5, 5, 1, 0]], [3], 6, dtype=torch.float64)],
            1,
        ),
    ]


def _like(*, how="add", masked="before", swapped=False, renormalise=True, room="probabilities"):
    def mixture(logits, scores, gate, words, mask, n_words):
        n_extended = n_words - logits.shape[-1]
        if room == "logits":
            wider = torch.nn.functional.pad(logits, (0, n_extended)).softmax(dim=-1)
        else:
            wider = torch.nn.functional.pad(logits.softmax(dim=-1), (0, n_extended))
        if masked == "before":
            scores = scores.masked_fill(~mask[:, None], -math.inf)
        weights = scores.softmax(dim=-1)
        if masked == "after":
            weights = weights * mask[:, None]
        places = words[:, None].expand_as(weights)
        copied = torch.zeros_like(wider)
        if how == "add":
            copied = copied.scatter_add(-1, places, weights)
        elif how in ("amax", "mean"):
            copied = copied.scatter_reduce(-1, places, weights, how, include_self=False)
        else:  # one place after the other, so that the last one stands
            for column in range(weights.shape[-1]):
                copied = copied.scatter(
                    -1, places[..., column : column + 1], weights[..., column : column + 1]
                )
        generated, copied = ((1 - gate), gate * copied) if swapped else (gate, (1 - gate) * copied)
        mixed = generated * wider + copied
        return mixed / mixed.sum(dim=-1, keepdim=True) if renormalise else mixed

    return mixture


LOST = (
    "Where a word stands several times, only one of its weights is kept. Dividing by the sum of the row "
    "afterwards hides the loss from every test of sums."
)
PADDING = "The padding gets a share of the weights, and votes for the word with its number."
SWAPPED = "The gate is the trust in the vocabulary; here it is the trust in copying."


EXERCISE = Exercise(
    reference=_mixture,
    properties=_properties,
    mistakes=[
        Mistake(
            "nothing mended", f"{LOST} {PADDING} {SWAPPED}", _like(how="scatter", masked="no", swapped=True)
        ),
        Mistake(
            "left: votes overwritten", LOST, _like(how="scatter"), see=(17, "Limits and common mistakes")
        ),
        Mistake(
            "left: votes overwritten, and no division",
            "Where a word stands several times, only one of its weights is kept, so the rows sum to less "
            "than one.",
            _like(how="scatter", renormalise=False),
            see=(17, "Limits and common mistakes"),
        ),
        Mistake("left: padding votes", PADDING, _like(masked="no")),
        Mistake("left: gate turned round", SWAPPED, _like(swapped=True)),
        Mistake("left: padding and votes", f"{LOST} {PADDING}", _like(how="scatter", masked="no")),
        Mistake("left: padding and gate", f"{PADDING} {SWAPPED}", _like(masked="no", swapped=True)),
        Mistake("left: votes and gate", f"{LOST} {SWAPPED}", _like(how="scatter", swapped=True)),
        Mistake(
            "padding hidden after the softmax",
            "The padding's weights are set to zero after the softmax, so the other weights do not sum to "
            "one any more.",
            _like(masked="after", renormalise=False),
        ),
        Mistake(
            "padding hidden after the softmax, and divided",
            "The padding's weights are set to zero after the softmax. The division by the row's sum then "
            "makes up for it with generated words too, which changes the trust between both.",
            _like(masked="after"),
        ),
        Mistake(
            "logits widened before the softmax",
            "The logits are widened with zeros before the softmax, so the vocabulary grants a share to words "
            "that it does not have.",
            _like(room="logits"),
        ),
        Mistake(
            "the strongest vote",
            "A word that stands several times gets the largest of its weights instead of their sum.",
            _like(how="amax", renormalise=False),
        ),
        Mistake(
            "the strongest vote, divided",
            "A word that stands several times gets the largest of its weights, and the division hides the "
            "loss.",
            _like(how="amax"),
        ),
        Mistake(
            "the mean vote",
            "A word that stands several times gets the mean of its weights instead of their sum.",
            _like(how="mean", renormalise=False),
        ),
    ],
    see=(17, "Generate or copy"),
    variants={"divided all the same": _like()},
)
