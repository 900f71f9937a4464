"""Checker: formulas for operations, crossings, layers and bytes."""

import math

from attncourse.costs import LayerSizes, attention_flops, cache_bytes
from attncourse.exercises._exercise import Exercise, Mistake, Property


def _longest(budget, n_layers, n_kv_heads, d_head, number_bytes):
    one_token = cache_bytes(
        LayerSizes(n_kv_heads * d_head, n_heads=n_kv_heads), 1, n_layers=n_layers, number_bytes=number_bytes
    )
    return budget // one_token


def _layers(n_tokens, window):
    reached, layers = 0, 0
    while reached < n_tokens - 1:
        reached, layers = reached + window - 1, layers + 1
    return layers


def _whole(d_model, n_heads, n_kv_heads, d_ff):
    return d_model * (n_heads + n_kv_heads) / n_heads + d_ff


REFERENCE = {
    "core": lambda n_queries, n_keys, d_head, d_value, n_heads: attention_flops(
        n_queries, n_keys, d_head, d_value, n_heads=n_heads
    ),
    "crossing": lambda d_model, n_heads, n_kv_heads: _whole(d_model, n_heads, n_kv_heads, 0),
    "whole": _whole,
    "layers": _layers,
    "longest": _longest,
}


def _call_part(answer, inputs):
    return answer[inputs["part"]](*inputs["sizes"])


def _properties(rng):
    def draw(low, high):
        return int(rng.integers(low, high))

    def core():
        return draw(3, 40), draw(41, 90), draw(5, 9), draw(10, 20), draw(2, 7)

    def heads():
        return 2 ** draw(3, 5), 2 ** draw(1, 3)

    def longest():
        n_layers, n_heads, d_head, number_bytes = draw(3, 9), draw(2, 5), draw(5, 12), 2
        one_token = 2 * n_layers * n_heads * d_head * number_bytes
        return one_token * draw(20, 90) + draw(1, one_token), n_layers, n_heads, d_head, number_bytes

    window = draw(5, 12)
    asked = {
        "core": [core(), core(), (1, 1, 3, 4, 1)],
        "crossing": [(512, 8, 2), (64 * draw(3, 9), *heads()), (64 * draw(3, 9), 8, 8)],
        "whole": [(64 * draw(3, 9), *heads(), 100 * draw(2, 9)), (512, 8, 8, 2048)],
        "layers": [
            (window * 7, window),
            (3 * (window - 1) + 1, window),
            (3 * (window - 1) + 2, window),
            (draw(500, 900), 2),
            (1, window),
        ],
        "longest": [longest(), longest(), (4800, 2, 3, 10, 4)],
    }
    weights = {"whole": 1.5, "layers": 1.5}
    return [
        Property(f'part "{part}"', [{"part": part, "sizes": one} for one in sizes], weights.get(part, 1.0))
        for part, sizes in asked.items()
    ]


EXERCISE = Exercise(
    reference=REFERENCE,
    run=_call_part,
    properties=_properties,
    mistakes=[
        Mistake(
            "a multiply-add counted once",
            "A multiplication with its addition counts as one here; the chapter, and torch's counter, count "
            "two.",
            {"core": lambda q, k, d_head, d_value, n_heads: q * k * (d_head + d_value) * n_heads},
            see=(15, "Counting by hand"),
        ),
        Mistake(
            "the values left out",
            "Only the scores are counted. Each pair also adds its share of a value to the output.",
            {"core": lambda q, k, d_head, d_value, n_heads: 2 * q * k * d_head * n_heads},
            see=(15, "Counting by hand"),
        ),
        Mistake(
            "values as wide as keys",
            "The values are counted with the width of the keys, but they may have another.",
            {"core": lambda q, k, d_head, d_value, n_heads: 4 * q * k * d_head * n_heads},
            see=(15, "Counting by hand"),
        ),
        Mistake(
            "one head only",
            "Only one head is counted; every head compares all pairs anew.",
            {"core": lambda q, k, d_head, d_value, n_heads: 2 * q * k * (d_head + d_value)},
            see=(15, "Counting by hand"),
        ),
        Mistake(
            "half of the core",
            "The core is counted at half its cost here. It has two products, scores and weighted sums, and "
            "a multiplication with its addition is two operations in both.",
            {
                "crossing": lambda d_model, n_heads, n_kv_heads: 2 * d_model * (1 + n_kv_heads / n_heads),
                "whole": lambda d_model, h, g, d_ff: 2 * d_model * (1 + g / h) + 2 * d_ff,
            },
        ),
        Mistake(
            "half of the projections",
            "What is linear in the length is counted at half its cost here, beside a core in full: there are "
            "four projections, and a multiplication with its addition is two operations in them too.",
            {
                "crossing": lambda d_model, n_heads, n_kv_heads: d_model * (1 + n_kv_heads / n_heads) / 2,
                "whole": lambda d_model, h, g, d_ff: (d_model * (1 + g / h) + d_ff) / 2,
            },
        ),
        Mistake(
            "sharing forgotten",
            "This holds if each head has keys and values of its own. With shared ones, two of the four "
            "projections are narrower, and the core is not.",
            {"crossing": lambda d_model, n_heads, n_kv_heads: 2 * d_model},
        ),
        Mistake(
            "heads the wrong way round",
            "The share of the key and value projections grows here where fewer heads have keys of their own.",
            {
                "crossing": lambda d_model, n_heads, n_kv_heads: d_model * (1 + n_heads / n_kv_heads),
                "whole": lambda d_model, h, g, d_ff: d_model * (1 + h / g) + d_ff,
            },
        ),
        Mistake(
            "all projections shared",
            "All four projections are taken to be narrower. The queries and the output keep their full "
            "width.",
            {
                "crossing": lambda d_model, n_heads, n_kv_heads: 2 * d_model * n_kv_heads / n_heads,
                "whole": lambda d_model, h, g, d_ff: 2 * d_model * g / h + d_ff,
            },
        ),
        Mistake(
            "one matrix of the feed-forward part",
            "The feed-forward part has two matrices, one into the hidden entries and one back.",
            {"whole": lambda d_model, h, g, d_ff: d_model * (1 + g / h) + d_ff / 2},
        ),
        Mistake(
            "six widths whatever the layer",
            "Six times the width holds for four times as many hidden entries and for heads that share "
            "nothing.",
            {"whole": lambda d_model, n_heads, n_kv_heads, d_ff: 6 * d_model},
        ),
        Mistake(
            "a window reaches its whole length",
            "A token is one of the tokens in its own window, so a layer reaches one token less far back.",
            {"layers": lambda n_tokens, window: math.ceil((n_tokens - 1) / window)},
            see=(15, "Leaving pairs out: a sliding window"),
        ),
        Mistake(
            "windows laid side by side",
            "The text is cut into windows that lie side by side. But a way goes on from a token that it has "
            "reached, so two windows in a row share that token.",
            {"layers": lambda n_tokens, window: math.ceil(n_tokens / window)},
            see=(15, "Leaving pairs out: a sliding window"),
        ),
        Mistake(
            "way counted in tokens, not in steps",
            "Where full steps lead exactly to the first token, this asks for a layer too many: from "
            "the last of n tokens to the first there are n - 1 steps, not n.",
            {"layers": lambda n_tokens, window: math.ceil(n_tokens / (window - 1))},
            see=(15, "Leaving pairs out: a sliding window"),
        ),
        Mistake(
            "rounded down",
            "With so many layers the last piece of the way is missing wherever it is shorter than a window.",
            {"layers": lambda n_tokens, window: (n_tokens - 1) // (window - 1)},
            see=(15, "Leaving pairs out: a sliding window"),
        ),
        Mistake(
            "keys without values",
            "A cache keeps keys and values, which is twice as much.",
            {"longest": lambda budget, layers, g, d, b: budget // (layers * g * d * b)},
            see=(15, "A long chat: what the cache costs"),
        ),
        Mistake(
            "one layer's cache",
            "Every layer has a cache of its own.",
            {"longest": lambda budget, layers, g, d, b: budget // (2 * g * d * b)},
            see=(15, "A long chat: what the cache costs"),
        ),
        Mistake(
            "a part of a token",
            "The last token does not fit as a whole: the answer is a whole number of tokens, rounded down.",
            {"longest": lambda budget, layers, g, d, b: budget / (2 * layers * g * d * b)},
            see=(15, "A long chat: what the cache costs"),
        ),
    ],
    see=(15, "Where the square takes over"),
    variants={
        "in closed form": REFERENCE
        | {
            "layers": lambda n_tokens, window: -(-(n_tokens - 1) // (window - 1)),
            "longest": lambda budget, layers, g, d, b: int(budget / (2 * layers * g * d * b)),
        }
    },
    rtol=1e-9,  # whole numbers: one token more or less is wrong
    atol=1e-9,
)
