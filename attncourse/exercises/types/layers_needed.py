"""Checker: how many layers information needs under a sparse mask, predicted, measured and counted."""

import math

import torch

from attncourse.exercises._exercise import Exercise, Mistake, Property
from attncourse.masks import causal_mask, window_mask
from attncourse.sparse_masks import block_mask, dilated_mask, random_mask, reach, strided_mask

N = 60
WINDOW, DILATED = window_mask(N, N, 6), dilated_mask(N, window=10, dilation=6)


def _run(answer, inputs):
    part, *values = inputs.values()
    if part == "prediction":
        return answer["prediction"] in ("a", "b", "c")
    return int(answer[part](*values))


def _properties(rng):
    def ask(mask, *pairs):
        return [{"part": "layers", "mask": mask, "query": query, "key": key} for query, key in pairs]

    def draw(n):
        return tuple(rng.integers(0, n, 2).tolist())

    generator = torch.Generator().manual_seed(int(rng.integers(1000)))
    sparse = random_mask(12, 1, generator) & ~torch.eye(12, dtype=torch.bool)
    far = reach(sparse, 3) & ~reach(sparse, 2)
    pairs = [tuple(pair) for pair in far.nonzero()[:3].tolist()]
    question = ask(WINDOW, (N - 1, 0))
    n, g = (rng.permutation(range(3, 9))[:2]).tolist()
    return [
        Property("a prediction", [{"part": "prediction"}], 0.5),
        Property(
            "the formula for a window",
            [
                {"part": "window", "n_tokens": n_tokens, "window": window}
                for n_tokens, window in (
                    (64, 8),
                    (10 * n + 1, n + 1),
                    (10 * n, g),
                    (10 * n + 2, n + 1),
                    (2, 5),
                )
            ],
            1,
        ),
        Property(
            "the pairs of a dilated mask",
            [
                {"part": "dilated pairs", "n_tokens": n_tokens, "dilation": dilation}
                for n_tokens, dilation in ((n * g, g), (n * g + 1, g), (n * g + g - 1, g), (11, 1))
            ],
            1.5,
        ),
        Property(
            "one layer, or none",
            [*ask(causal_mask(7, 7), (5, 2), (3, 3)), *ask(sparse, (4, 4)), *ask(block_mask(9, 3), (3, 5))],
            1,
        ),
        Property("the question's masks that have a way", [*question, *ask(WINDOW | DILATED, (N - 1, 0))], 1),
        Property(
            "several layers",
            [
                *ask(window_mask(20, 20, 4), (17, 2), (9, 0)),
                *ask(strided_mask(17, 4), (15, 1)),
                *ask(window_mask(40, 40, 2), (39, 0)),
                *ask(sparse, *pairs),
            ],
            2,
        ),
        Property(
            "no way at all",
            [
                *ask(DILATED, (N - 1, 0)),
                *ask(causal_mask(8, 8), (2, 6)),
                *ask(block_mask(12, 4), (9, 1)),
                *ask(sparse, draw(12), draw(12)),
            ],
            1,
        ),
    ]


def _walk(*, turned=False, start=0, never=-1, itself=0, greedy=False, limit=None):
    def layers(mask, query, key):
        sees = mask.T if turned else mask
        if query == key:
            return itself
        heard, n_layers = torch.zeros(len(mask), dtype=torch.bool), start
        heard[query] = True
        while not heard[key]:
            step = sees[heard].any(dim=0)
            if greedy:
                places = [place for place in step.nonzero().flatten().tolist() if place >= key]
                step = torch.zeros_like(step)
                step[places[:1]] = True
            new = step if greedy else heard | step
            n_layers += 1
            if torch.equal(new, heard) or n_layers == (limit or len(mask) + 1):
                return never
            heard = new
        return n_layers

    return layers


def _gives_up(mask, query, key):
    found = _walk()(mask, query, key)
    return len(mask) if found == -1 else found


def _by_reach(mask, query, key):
    if query == key:
        return 0
    return next((n for n in range(1, len(mask)) if reach(mask, n)[query, key]), -1)


def _pairs(n_tokens, dilation):
    whole, rest = divmod(n_tokens, dilation)
    return rest * (whole + 1) * (whole + 2) // 2 + (dilation - rest) * whole * (whole + 1) // 2


def _remark(outputs):
    measured = [*outputs["the question's masks that have a way"], outputs["no way at all"][0]]
    if measured != [12, 2, -1]:
        return ""
    return (
        "Your function measured the question: 12 layers for the window, no way for the dilated mask, 2 for "
        "both joined, which is option b."
    )


EXERCISE = Exercise(
    reference={
        "prediction": "b",
        "layers": _walk(),
        "window": lambda n_tokens, window: math.ceil((n_tokens - 1) / (window - 1)),
        "dilated pairs": _pairs,
    },
    properties=_properties,
    run=_run,
    remark=_remark,
    mistakes=[
        Mistake(
            "rows and columns exchanged",
            "The mask is read the wrong way round: its rows are queries, which see, and its columns keys, "
            "which are seen.",
            {"layers": _walk(turned=True)},
        ),
        Mistake(
            "tokens counted instead of layers",
            "It counts the tokens on the way, both ends included; the layers are the steps between them.",
            {"layers": _walk(start=1, itself=1)},
        ),
        Mistake(
            "stops between counted",
            "It counts the tokens that stand in between; a key that is seen directly needs one layer, not "
            "none.",
            {"layers": _walk(start=-1)},
        ),
        Mistake(
            "a layer for its own input",
            "A token has its own input from the start: the residual path carries it, and no layer is needed.",
            {"layers": _walk(itself=1)},
        ),
        Mistake(
            "the farthest step first",
            "Every step goes as far back as it can without passing the key. A shorter first step may lead to "
            "a better second one, or to the only one.",
            {"layers": _walk(greedy=True)},
        ),
        Mistake(
            "a fixed number of layers",
            "The search gives up after a number of layers that was chosen beforehand; a narrow window needs "
            "more.",
            {"layers": _walk(limit=20)},
        ),
        Mistake(
            "0 for never",
            "Pairs that are never joined give 0, which already means that no layer is needed.",
            {"layers": _walk(never=0)},
        ),
        Mistake(
            "counted to the end",
            "Pairs that are never joined give as many layers as there are tokens: the search gives up, and "
            "does not say so.",
            {"layers": _gives_up},
        ),
        Mistake(
            "window of w steps",
            "A step is taken to go back by the window's width. The window holds the query's own place, so a "
            "step is one shorter.",
            {"window": lambda n_tokens, window: math.ceil((n_tokens - 1) / window)},
        ),
        Mistake(
            "tokens instead of distances",
            "From the first to the last of n tokens there are n - 1 steps, not n.",
            {"window": lambda n_tokens, window: math.ceil(n_tokens / (window - 1))},
        ),
        Mistake(
            "rounded down",
            "It is rounded down: the last, shorter step needs a layer as well.",
            {"window": lambda n_tokens, window: (n_tokens - 1) // (window - 1)},
        ),
        Mistake(
            "equal classes",
            "All residue classes are taken to be equally long. Unless the number of tokens is a multiple of "
            "the gap, some have one token more.",
            {"dilated pairs": lambda n, g: g * (n // g) * (n // g + 1) // 2},
        ),
        Mistake(
            "one layer only",
            "These are the pairs of one layer; with more of them a token hears of places further back.",
            {"dilated pairs": lambda n, g: n + max(0, n - g)},
        ),
        Mistake(
            "pairs without the tokens themselves",
            "A token's own place is left out; every token sees itself.",
            {"dilated pairs": lambda n, g: _pairs(n, g) - n},
        ),
        Mistake(
            "pairs in both directions",
            "Pairs are counted in both directions; the mask shows no future.",
            {"dilated pairs": lambda n, g: 2 * _pairs(n, g) - n},
        ),
    ],
    see=(10, "What does a sparse mask cost?"),
    variants={
        "by reach": {
            "prediction": "c",
            "layers": _by_reach,
            "window": lambda n_tokens, window: -(-(n_tokens - 1) // (window - 1)),
            "dilated pairs": lambda n, g: sum(i // g + 1 for i in range(n)),
        }
    },
)
