"""Checker: formulas for the comparisons, tokens and bytes that a cache saves and costs."""

from attncourse.exercises._exercise import Exercise, Mistake, Property


def _run(answer, inputs):
    part, *sizes = inputs.values()
    return float(answer[part](*sizes))


def _properties(rng):
    def sizes(part, *names):
        numbers = [rng.choice(range(3, 60), len(names), replace=False).tolist() for _ in range(3)]
        return [{"part": part} | dict(zip(names, some, strict=True)) for some in numbers]

    return [
        Property("comparisons without a cache", [{"part": "without", "n": 1}, *sizes("without", "n")], 1.5),
        Property("factor of comparisons", sizes("pairs saved", "n"), 1),
        Property("factor of tokens", sizes("tokens saved", "n"), 1),
        Property("a prompt", sizes("prompt", "m", "n"), 1.5),
        Property(
            "bytes",
            sizes("bytes", "n_texts", "n_layers", "n_heads", "n_kv_heads", "d_head", "n_tokens", "number"),
            1,
        ),
    ]


def _bytes(n_texts, n_layers, n_heads, n_kv_heads, d_head, n_tokens, number):
    return 2 * n_texts * n_layers * n_kv_heads * d_head * n_tokens * number


def _without(n):
    return sum(t * (t + 1) // 2 for t in range(1, n + 1))


EXERCISE = Exercise(
    reference={
        "without": lambda n: n * (n + 1) * (n + 2) / 6,
        "pairs saved": lambda n: (n + 2) / 3,
        "tokens saved": lambda n: (n + 1) / 2,
        "prompt": lambda m, n: (m + n - 1) * (m + n) / 2,
        "bytes": _bytes,
    },
    properties=_properties,
    run=_run,
    mistakes=[
        Mistake(
            "no causal mask",
            "Each step counts all pairs of its tokens; the mask hides the future, and those pairs are not "
            "compared.",
            {"without": lambda n: n * (n + 1) * (2 * n + 1) / 6, "pairs saved": lambda n: (2 * n + 1) / 3},
        ),
        Mistake(
            "only the last step",
            "This is what the last step compares; the steps before it have compared, too.",
            {"without": lambda n: n * (n + 1) / 2},
        ),
        Mistake(
            "own position not counted",
            "A token is compared with those before it only. The causal mask lets it see its own place as "
            "well.",
            {
                "without": lambda n: (n - 1) * n * (n + 1) / 6,
                "prompt": lambda m, n: m * (m + 1) / 2 + sum(range(m, m + n - 1)),
            },
        ),
        Mistake(
            "factor of tokens for comparisons",
            "This is the factor of the tokens that go through the projections. Comparisons are saved by "
            "another one.",
            {"pairs saved": lambda n: (n + 1) / 2},
        ),
        Mistake(
            "order of growth only",
            "That is the term that grows fastest; for small n the others count, too. Take the exact sums.",
            {"without": lambda n: n**3 / 6, "pairs saved": lambda n: n / 3, "tokens saved": lambda n: n / 2},
        ),
        Mistake(
            "a cache without comparisons",
            "The cache is taken to save comparisons as it saves tokens: n remain. The new query still meets "
            "every key that is held.",
            {"pairs saved": lambda n: (n + 1) * (n + 2) / 6},
        ),
        Mistake(
            "the part that is left",
            "This is the share that remains with a cache. A factor that says how much is saved is above 1.",
            {"pairs saved": lambda n: 3 / (n + 2), "tokens saved": lambda n: 2 / (n + 1)},
        ),
        Mistake(
            "a difference",
            "This is how many fewer there are. The factor says how many times fewer.",
            {
                "pairs saved": lambda n: n * (n + 1) * (n - 1) / 6,
                "tokens saved": lambda n: n * (n - 1) / 2,
            },
        ),
        Mistake(
            "the factor of the last step",
            "The last step alone saves that much. The steps before it had fewer tokens to save.",
            {"tokens saved": lambda n: n},
        ),
        Mistake(
            "the last token is read",
            "The last token that is written goes through the model, too; nobody needs the logits after it.",
            {"prompt": lambda m, n: (m + n) * (m + n + 1) / 2},
        ),
        Mistake(
            "prompt without a mask",
            "All m² pairs of the prompt are counted; within the chunk the future is hidden.",
            {"prompt": lambda m, n: m * m + sum(range(m + 1, m + n))},
        ),
        Mistake(
            "new tokens see the prompt only",
            "Each new query is compared with the prompt's keys alone. It also meets those written since, "
            "and its own.",
            {"prompt": lambda m, n: m * (m + 1) / 2 + (n - 1) * m},
        ),
        Mistake(
            "prompt for free",
            "The comparisons within the prompt are left out; it is read in one pass, but it is read.",
            {"prompt": lambda m, n: sum(range(m + 1, m + n))},
        ),
        Mistake(
            "keys or values",
            "Keys and values are both kept: this is half of it.",
            {"bytes": lambda *sizes: _bytes(*sizes) / 2},
        ),
        Mistake(
            "query heads counted",
            "The heads of the queries are counted. Heads of a group share one pair of keys and values.",
            {"bytes": lambda t, layers, h, g, *rest: _bytes(t, layers, h, h, *rest)},
            see=(9, "What it costs, and what it leaves"),
        ),
        Mistake(
            "one cache for all layers",
            "The layers are forgotten: each has keys and values of its own.",
            {"bytes": lambda t, layers, *rest: _bytes(t, 1, *rest)},
            see=(9, "What it costs, and what it leaves"),
        ),
        Mistake(
            "queries kept as well",
            "Three arrays are counted. Nobody asks with an old query again, so it is not kept.",
            {"bytes": lambda *sizes: _bytes(*sizes) * 3 / 2},
            see=(9, "The cache: compute each key and value once"),
        ),
    ],
    see=(9, "What it costs, and what it leaves"),
    variants={
        "by loops": {
            "without": _without,
            "pairs saved": lambda n: _without(n) / sum(range(n + 1)),
            "tokens saved": lambda n: sum(range(n + 1)) / n,
            "prompt": lambda m, n: sum(range(m + 1)) + sum(m + i for i in range(1, n)),
            "bytes": _bytes,
        }
    },
)
