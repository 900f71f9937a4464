"""Checker: how many paths make a text."""

import itertools
import math

from attncourse.exercises._exercise import Exercise, Mistake, Property


def _run(answers, inputs):
    name, *rest = inputs.values()
    return answers[name](*rest)


def _count(text, n_states):
    """Count walks through the text and its blanks, state by state."""
    z = [None, *(symbol for letter in text for symbol in (letter, None))]
    ways = [1, 1] + [0] * (len(z) - 2)
    for _ in range(n_states - 1):
        ways = [
            ways[s]
            + (ways[s - 1] if s >= 1 else 0)
            + (ways[s - 2] if s >= 2 and symbol is not None and symbol != z[s - 2] else 0)
            for s, symbol in enumerate(z)
        ]
    return ways[-1] + ways[-2]


def _equal_neighbours(text):
    return sum(a == b for a, b in itertools.pairwise(text))


def _least(text):
    return len(text) + _equal_neighbours(text)


def _repeats(text):
    return len(text) - len(set(text))


def _all(count=None, least=_least, loss=None):
    count = count or _count

    def nats(text, n_states, n_symbols):
        ways = count(text, n_states)
        return (n_states * math.log(n_symbols) - math.log(ways)) / len(text) if ways else math.inf

    return {"least": least, "count": count, "loss": loss or nats}


def _per_text(text, n_states, n_symbols):
    return len(text) * _all()["loss"](text, n_states, n_symbols)


def _per_state(text, n_states, n_symbols):
    return _per_text(text, n_states, n_symbols) / n_states


def _left_out(text, n_states, n_symbols):
    loss = _all()["loss"](text, n_states, n_symbols)
    return loss if math.isfinite(loss) else 0.0


def _properties(rng):
    letters = list(rng.permutation(list("ABCDEFGH")))
    a, b, c, d, e, f = letters[:6]
    different, neighbours = a + b + c, a + b + b + c + c + c + d
    apart = a + b + a + c + a
    return [
        Property(
            "least states",
            [
                {"part": "least", "text": text}
                for text in (a, different, neighbours, apart, a + a, e + f + f + e)
            ],
            1,
        ),
        Property(
            "paths, all letters different",
            [{"part": "count", "text": different, "n_states": n} for n in (3, 6, 40)],
            2,
        ),
        Property(
            "paths, equal neighbours",
            [
                {"part": "count", "text": t, "n_states": n}
                for t, n in ((a + a, 4), (neighbours, 10), (neighbours, 23))
            ],
            2,
        ),
        Property(
            "paths, equal letters that are no neighbours",
            [{"part": "count", "text": apart, "n_states": n} for n in (5, 6, 17)],
            1,
        ),
        Property(
            "paths of too few states",
            [
                {"part": "count", "text": t, "n_states": n}
                for t, n in ((different, 2), (neighbours, 9), (a + a, 2))
            ],
            1,
        ),
        Property(
            "nats of a model that knows nothing",
            [
                {"part": "loss", "text": t, "n_states": n, "n_symbols": k}
                for t, n, k in (
                    (different, 9, 7),
                    (neighbours, 30, 27),
                    (neighbours, 10, 6),
                    (a + a, 2, 5),
                    (apart, 400, 27),
                )
            ],
            2,
        ),
    ]


def _closed(text, n_states):
    spare = n_states - _least(text)
    return math.comb(spare + 2 * len(text), spare) if spare >= 0 else 0


EXERCISE = Exercise(
    reference=_all(),
    properties=_properties,
    run=_run,
    mistakes=[
        Mistake(
            "repeats ignored",
            "Equal neighbours are treated like different ones. Without a blank between them they "
            "merge into one letter.",
            _all(lambda text, n: math.comb(n + len(text), 2 * len(text)), len),
        ),
        Mistake(
            "all repeats counted",
            "Every letter that comes again is counted. Only equal letters side by side need a "
            "blank between them.",
            _all(
                lambda text, n: math.comb(max(0, n + len(text) - _repeats(text)), 2 * len(text)),
                lambda text: len(text) + _repeats(text),
            ),
        ),
        Mistake(
            "a blank between all letters",
            "A blank is demanded between any two letters. Different letters may stand side by side.",
            _all(
                lambda text, n: math.comb(n + 1, 2 * len(text)) if n >= 2 * len(text) - 1 else 0,
                lambda text: 2 * len(text) - 1,
            ),
        ),
        Mistake(
            "blanks at both ends demanded",
            "Blanks before the first and after the last letter are demanded; a path may do without them.",
            _all(
                lambda text, n: _closed(text, n - 2),
                lambda text: _least(text) + 2,
            ),
        ),
        Mistake(
            "a blank at one end demanded",
            "Paths are missing that have a letter at their end, or at their beginning: there, too, the blank "
            "is allowed, not demanded.",
            _all(lambda text, n: _closed(text, n - 1)),
        ),
        Mistake(
            "blanks left out",
            "Only paths without blanks are counted: the ways to cut the sound into as many "
            "stretches as letters.",
            {"count": lambda text, n: math.comb(n - 1, len(text) - 1)},
        ),
        Mistake(
            "one state for each letter",
            "Paths are counted in which every letter is named by one state. A letter may be named "
            "by several in a row.",
            {"count": lambda text, n: math.comb(n, len(text))},
        ),
        Mistake(
            "loss of the whole text",
            "This is the loss of the text. It is to be divided by its letters.",
            _all(loss=_per_text),
        ),
        Mistake(
            "loss for each state",
            "The loss is divided by the states of the sound. It is to be divided by the letters of the text.",
            _all(loss=_per_state),
        ),
        Mistake(
            "one path only",
            "The number of paths is missing: this is the loss of a single path, and all paths "
            "count together.",
            _all(loss=lambda text, n, k: n * math.log(k) / len(text)),
        ),
        Mistake(
            "no loss where no path fits",
            "A text that does not fit costs nothing here. Its probability is 0, and the logarithm "
            "of that has no bottom.",
            _all(loss=_left_out),
        ),
        Mistake(
            "the blank counted twice",
            "n_symbols counts the blank already; here it is added once more.",
            _all(loss=lambda text, n, k: _all()["loss"](text, n, k + 1)),
        ),
    ],
    see=(13, "No attention: let every state speak"),
    variants={"closed form": _all(_closed)},
)
