"""Checker: closed forms for a walk that stops at every state with the same probability."""

import math

import torch
from torch.nn import functional as F

from attncourse.exercises._exercise import Exercise, Family, Mistake, Property
from attncourse.speech import expected_alignment

VERSIONS = (
    {
        "begins": "right after the state where the step before stopped; before the first step, the "
        "walker stands on state 0",
        "example": "After a stop at state 4 the next decision is made at state 5.",
        "passed_code": "j - t",
        "first_code": "t",
        "first": 1,
        "ahead": 1,
    },
    {
        "begins": "at the state where the step before stopped, and may stop there again; the first "
        "step begins at state 0",
        "example": "After a stop at state 4 the next decision is made at state 4.",
        "passed_code": "j",
        "first_code": "0",
        "first": 0,
        "ahead": 0,
    },
    {
        "begins": "two states after the state where the step before stopped, because no letter is shorter; "
        "before the first step, the walker stands on state 0",
        "example": "After a stop at state 4 the next decision is made at state 6.",
        "passed_code": "j - 2 * t",
        "first_code": "2 * t",
        "first": 2,
        "ahead": 2,
    },
    {
        "begins": "right after the state where the step before stopped; the first step begins at state 0",
        "example": "After a stop at state 4 the next decision is made at state 5.",
        "passed_code": "j - t + 1",
        "first_code": "t - 1",
        "first": 0,
        "ahead": 1,
    },
)


def _rows(p, t, n_states, first, ahead):
    """Return the probabilities of the t-th stop at every state, by the package's recursion."""
    energies = torch.full((n_states,), math.log(p / (1 - p)), dtype=torch.float64)
    begin = torch.zeros(n_states, dtype=torch.float64)
    if first < n_states:
        begin[first] = 1.0
    everywhere = torch.ones(n_states, dtype=torch.bool)
    row = expected_alignment(energies, begin, everywhere)
    for _ in range(t - 1):
        begin = F.pad(row, (ahead, 0))[:n_states]
        row = expected_alignment(energies, begin, everywhere)
    return row


def _reference(first, ahead):
    return {
        "stops": lambda p, t, j: _rows(p, t, j + 1, first, ahead)[j].item(),
        "off": lambda p, t, n_states: 1 - _rows(p, t, n_states, first, ahead).sum().item(),
        "mean": lambda p, t: (_rows(p, t, 90, first, ahead) * torch.arange(90)).sum().item(),
    }


def _closed(passed, ways=lambda passed, t: math.comb(passed + t - 1, t - 1), swap=False):
    """Return the three parts of an answer with these passed states and this number of ways."""

    def stops(p, t, j):
        p = 1 - p if swap else p
        left = passed(t, j)
        return ways(left, t) * p**t * (1 - p) ** left if left >= 0 else 0.0

    return {
        "stops": stops,
        "off": lambda p, t, n_states: 1 - sum(stops(p, t, j) for j in range(n_states)),
    }


def _run(answers, inputs):
    name, *numbers = inputs.values()
    return answers[name](*numbers)


def _build(version):
    first, ahead = version["first"], version["ahead"]

    def passed(t, j):
        return j - first - ahead * (t - 1)

    def mean(p, t):
        return first + ahead * (t - 1) + t * (1 - p) / p

    def properties(rng):
        p, q, r = (round(float(x), 2) for x in rng.uniform((0.25, 0.6, 0.35), (0.4, 0.8, 0.45)))
        return [
            Property(
                "where the first step stops",
                [{"part": "stops", "p": x, "t": 1, "j": j} for x in (p, q) for j in (first, first + 3)],
                1,
            ),
            Property(
                "where later steps stop",
                [
                    {"part": "stops", "p": x, "t": t, "j": j}
                    for x, t, j in ((p, 2, 7), (q, 3, 9), (p, 4, 12), (p, 4, 8), (r, 2, 5))
                ],
                2,
            ),
            Property(
                "the edge of what a walk can reach",
                [
                    {"part": "stops", "p": p, "t": 4, "j": j}
                    for j in {0, max(0, first + 3 * ahead - 1), first + 3 * ahead}
                ],
                1,
            ),
            Property(
                "walks that run off the end",
                [
                    {"part": "off", "p": x, "t": t, "n_states": n}
                    for x, t, n in ((p, 1, 6), (q, 3, 10), (p, 5, 4))
                ],
                2,
            ),
            Property(
                "the mean stop", [{"part": "mean", "p": x, "t": t} for x, t in ((r, 1), (q, 4), (r, 3))], 2
            ),
        ]

    right = _closed(passed) | {"mean": mean}
    others = [
        Mistake(
            "another beginning of a step"
            if rival["ahead"] != ahead
            else "another beginning of the first step",
            "The form is right, but for a walker whose steps begin elsewhere. Read again where a step "
            "begins, and where the first one does.",
            _closed(lambda t, j, r=rival: j - r["first"] - r["ahead"] * (t - 1))
            | {"mean": lambda p, t, r=rival: r["first"] + r["ahead"] * (t - 1) + t * (1 - p) / p},
        )
        for rival in _rivals(first, ahead)
    ]
    return Exercise(
        reference=_reference(first, ahead),
        properties=properties,
        run=_run,
        mistakes=[
            *others,
            Mistake(
                "ways not counted",
                "One way to place the earlier stops is counted. Every choice of states for them has the same "
                "probability, and all of them lead to this stop.",
                _closed(passed, lambda passed, t: 1) | {"mean": mean},
            ),
            Mistake(
                "the last stop chosen freely",
                "The stops are chosen among all decisions, the last one included. But the last decision is "
                "known: it is the stop at j.",
                _closed(passed, lambda passed, t: math.comb(passed + t, t)) | {"mean": mean},
            ),
            Mistake(
                "stopping and passing exchanged",
                "The probability of going on stands where that of stopping belongs.",
                _closed(passed, swap=True) | {"mean": lambda p, t: first + ahead * (t - 1) + t * p / (1 - p)},
            ),
            Mistake(
                "complement forgotten",
                "“off” is the probability that the step stops somewhere; what was asked for is the rest.",
                right | {"off": lambda p, t, n: 1 - right["off"](p, t, n)},
            ),
            Mistake(
                "only the last step runs off",
                "A walk that ran off in an earlier step is not counted, although it has no "
                "later stop either.",
                right
                | {
                    "off": lambda p, t, n: right["off"](p, t, n) - (right["off"](p, t - 1, n) if t > 1 else 0)
                },
            ),
            Mistake(
                "as if there were one step",
                "This is the probability that a single walk passes every state. A later step has fewer "
                "states before it, and depends on where the earlier ones stopped.",
                right | {"off": lambda p, t, n: (1 - p) ** max(0, n - first)},
            ),
            Mistake(
                "the mean of one step",
                "“mean” is where the first step stops on average; later steps begin where the "
                "earlier ones stopped.",
                right | {"mean": lambda p, t: first + (1 - p) / p},
            ),
            Mistake(
                "1/p states a step",
                "1/p counts the decisions of a step, the stop included. The states that are left behind are "
                "one fewer, and whatever the rule adds between two steps comes on top.",
                right | {"mean": lambda p, t: first + ahead * (t - 1) + t / p},
            ),
        ],
        see=(13, "A walk that never turns back"),
        variants={"closed forms": right},
    )


def _rivals(first, ahead):
    """Return two nearby rules: the step begins elsewhere, the first step begins elsewhere."""
    return (
        {"first": first if first != ahead else ahead + 1, "ahead": ahead + 1 if ahead < 2 else 1},
        {"first": first + 1 if first == 0 else first - 1, "ahead": ahead},
    )


FAMILY = Family(VERSIONS, _build)
