"""Checker: work and depth of an attention layer and of recurrent layers, as formulas."""

from attncourse.exercises._exercise import Exercise, Mistake, Property


def _attention(n, d):
    return sum(4 * d * d for _ in range(n)) + 2 * sum(d for _ in range(n * n))


def _causal(n, d):
    visible = sum(place + 1 for place in range(n))
    return 4 * n * d * d + 2 * visible * d


def _waiting(n, layers):
    """Let every cell step wait for the step before it and for the layer below; return the longest chain."""
    ends = [0] * (n + 1)
    for _ in range(layers):
        for step in range(1, n + 1):
            ends[step] = max(ends[step], ends[step - 1] * (step > 1)) + 1
    return ends[n]


def _run(answer, inputs):
    name, *sizes = inputs.values()
    value = answer[name](*sizes)
    return int(value) if isinstance(value, float) and value == int(value) else value


def _properties(rng):
    def sizes(part, *names):
        first, second = (int(number) for number in rng.choice([3, 5, 7, 11, 13, 17], size=2, replace=False))
        return {"part": part} | dict(zip(names, (first, second), strict=False))

    return [
        Property("attention's work", [sizes("attention", "n", "d") for _ in range(2)], 2),
        Property("where the two halves are equal", [sizes("equal_at", "d") for _ in range(2)], 1),
        Property("work under a causal mask", [sizes("causal", "n", "d") for _ in range(3)], 2),
        Property("the recurrent layer's work", [sizes("recurrent", "n", "d") for _ in range(2)], 1),
        Property("steps that wait", [sizes("waiting", "n", "layers") for _ in range(3)], 2),
    ]


EXERCISE = Exercise(
    reference={
        "attention": _attention,
        "equal_at": lambda d: 2 * d,
        "causal": _causal,
        "recurrent": lambda n, d: 4 * n * d * d,
        "waiting": _waiting,
    },
    properties=_properties,
    mistakes=[
        Mistake(
            "output projection missing",
            "You counted three projections, for query, key and value. The mixture is projected once more.",
            {
                "attention": lambda n, d: 3 * n * d * d + 2 * n * n * d,
                "equal_at": lambda d: 3 * d / 2,
                "causal": lambda n, d: 3 * n * d * d + n * (n + 1) * d,
            },
        ),
        Mistake(
            "scores without sums",
            "You counted the scores or the weighted sums, and not both: each takes a multiplication for "
            "every pair of tokens and every feature.",
            {
                "attention": lambda n, d: 4 * n * d * d + n * n * d,
                "equal_at": lambda d: 4 * d,
                "causal": lambda n, d: 4 * n * d * d + n * (n + 1) * d / 2,
            },
        ),
        Mistake(
            "a score for one multiplication",
            "You counted one multiplication for every pair of tokens. A dot product takes one for every "
            "feature.",
            {"attention": lambda n, d: 4 * n * d * d + 2 * n * n},
        ),
        Mistake(
            "compared with one projection",
            "You compared scores and sums with a single projection; there are four.",
            {"equal_at": lambda d: d / 2},
        ),
        Mistake(
            "exactly half",
            "You took half of all pairs. A token also sees itself, so a little more than half of the pairs "
            "is visible.",
            {"causal": lambda n, d: 4 * n * d * d + n * n * d},
        ),
        Mistake(
            "the diagonal hidden",
            "You counted only the pairs with an earlier token. Under a causal mask a token sees itself, too.",
            {"causal": lambda n, d: 4 * n * d * d + n * (n - 1) * d},
        ),
        Mistake(
            "projections masked, too",
            "You shortened everything. The projections treat each token once, whatever the mask says.",
            {"causal": lambda n, d: 2 * n * d * d + n * (n + 1) * d},
        ),
        Mistake(
            "width instead of parameters",
            "You gave the recurrent layer the width d. The question asks for as many weights as the "
            "attention layer has.",
            {"recurrent": lambda n, d: 2 * n * d * d},
        ),
        Mistake(
            "pairs in a recurrent layer",
            "A recurrent layer compares no pairs of tokens: each weight is used once for each token.",
            {"recurrent": lambda n, d: 4 * n * d * d + 2 * n * n * d},
        ),
        Mistake(
            "layer after layer",
            "You let the second layer wait until the first has read everything. Its first step needs only "
            "the first state below it.",
            {"waiting": lambda n, layers: n * layers},
        ),
        Mistake(
            "layers for nothing",
            "You counted the longest layer only. The last step of the top layer still waits for the layers "
            "below it.",
            {"waiting": lambda n, layers: n},
        ),
        Mistake(
            "corner counted twice",
            "Along the edge of the grid of steps you counted the corner where both edges meet twice.",
            {"waiting": lambda n, layers: n + layers},
        ),
    ],
    see=(1, "How long does a step wait?"),
    variants={
        "formulas": {
            "attention": lambda n, d: 2 * n * d * (2 * d + n),
            "equal_at": lambda d: 2.0 * d,
            "causal": lambda n, d: n * d * (4 * d + n + 1),
            "recurrent": lambda n, d: n * (2 * d) ** 2,
            "waiting": lambda n, layers: n + layers - 1,
        }
    },
    run=_run,
)
