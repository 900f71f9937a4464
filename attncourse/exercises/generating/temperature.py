"""Checker: formulas for temperatures, for two tokens and for many, and for sharpened probabilities."""

import math

import torch

from attncourse.exercises._exercise import Exercise, Mistake, Property


def _run(answer, inputs):
    part, *values = inputs.values()
    result = answer[part](*values)
    return torch.as_tensor(result, dtype=torch.float32) if part == "sharpened" else result


def _properties(rng):
    def pair():
        return {"lead": float(rng.uniform(0.3, 4)), "share": float(rng.uniform(0.6, 0.99))}

    def crowd(n_tokens):
        return {"lead": float(rng.uniform(0.3, 4)), "n_tokens": n_tokens, "p": float(rng.uniform(0.55, 0.95))}

    def sharpened(*temperatures, zero=False):
        cases = []
        for temperature in temperatures:
            shares = rng.dirichlet([2.0] * 4).tolist()
            shares = [*shares[:2], 0.0, *shares[2:]] if zero else shares
            cases.append({"part": "sharpened", "probabilities": shares, "temperature": temperature})
        return cases

    return [
        Property("two tokens", [{"part": "two", **pair()} for _ in range(3)], 1),
        Property("a nucleus of many tokens", [{"part": "nucleus", **crowd(n)} for n in (2, 3, 7, 50)], 1.5),
        Property("sharpened probabilities", sharpened(0.5, 1.7), 1),
        Property("a probability of 0", sharpened(0.4, 2.5, zero=True), 0.5),
    ]


def _sharpened(probabilities, temperature):
    powers = [p ** (1 / temperature) for p in probabilities]
    return [power / sum(powers) for power in powers]


def _by_logits(probabilities, temperature):
    return (torch.tensor(probabilities, dtype=torch.float64).log() / temperature).softmax(dim=0).tolist()


def _softmax_of(probabilities, temperature):
    return (torch.tensor(probabilities) / temperature).softmax(dim=0).tolist()


def _no_zeros(probabilities, temperature):
    powers = [math.exp(math.log(p) / temperature) for p in probabilities]
    return [power / sum(powers) for power in powers]


def _scaled(probabilities, temperature):
    return [p / temperature for p in probabilities]


def _upside_down(probabilities, temperature):
    return _sharpened(probabilities, 1 / temperature)


def _unnormalised(probabilities, temperature):
    return [p ** (1 / temperature) for p in probabilities]


def _two(lead, share):
    return lead / math.log(share / (1 - share))


EXERCISE = Exercise(
    reference={
        "two": _two,
        "nucleus": lambda lead, n_tokens, p: lead / math.log(p * (n_tokens - 1) / (1 - p)),
        "sharpened": _sharpened,
    },
    properties=_properties,
    run=_run,
    mistakes=[
        Mistake(
            "logarithm of the share",
            "The lead is divided by the logarithm of the share itself. The ratio of the two probabilities, "
            "share to rest, is what the lead divided by T is the logarithm of.",
            {"two": lambda lead, share: -lead / math.log(share)},
        ),
        Mistake(
            "logarithm of the rest",
            "The lead is divided by the logarithm of the rest alone, as if the first probability were 1.",
            {"two": lambda lead, share: -lead / math.log(1 - share)},
        ),
        Mistake(
            "odds upside down",
            "The ratio is that of the rest to the share, so that the temperature comes out negative.",
            {"two": lambda lead, share: lead / math.log((1 - share) / share)},
        ),
        Mistake(
            "temperature upside down",
            "This is 1 / T: a larger lead needs a *higher* temperature to come down to the same share.",
            {"two": lambda lead, share: math.log(share / (1 - share)) / lead},
        ),
        Mistake(
            "one rival only",
            "It counts one rival, whatever the number of tokens. All rivals together hold what the leader "
            "does not.",
            {"nucleus": lambda lead, n_tokens, p: _two(lead, p)},
        ),
        Mistake(
            "the leader among its rivals",
            "It counts as many rivals as there are tokens; the leader is not its own rival.",
            {"nucleus": lambda lead, n_tokens, p: lead / math.log(p * n_tokens / (1 - p))},
        ),
        Mistake(
            "rivals divide the odds",
            "More rivals should make the nucleus grow at a *lower* temperature; here they raise it.",
            {"nucleus": lambda lead, n_tokens, p: lead / math.log(p / (1 - p) / (n_tokens - 1))},
        ),
        Mistake(
            "the power upside down",
            "Probabilities are raised to the power T, so that a temperature below 1 flattens instead of "
            "sharpening.",
            {"sharpened": _upside_down},
        ),
        Mistake(
            "softmax of probabilities",
            "Probabilities are treated like logits. The logits are their logarithms, and even a probability "
            "of 0 gets a share here.",
            {"sharpened": _softmax_of},
        ),
        Mistake(
            "probabilities divided by T",
            "The probabilities themselves are divided by T, which changes their sum and not their ratios.",
            {"sharpened": _scaled},
        ),
        Mistake(
            "logarithm of 0",
            "The logarithm of each probability is taken, and 0 has none; the exercise says that it stays 0.",
            {"sharpened": _no_zeros},
        ),
        Mistake("not normalised", "The powers no longer sum to 1.", {"sharpened": _unnormalised}),
    ],
    see=(9, "Temperature, top-k, top-p"),
    variants={
        "by logits": {
            "two": lambda lead, share: lead / (math.log(share) - math.log1p(-share)),
            "nucleus": lambda lead, n_tokens, p: lead / (_two(1, p) ** -1 + math.log(n_tokens - 1)),
            "sharpened": _by_logits,
        }
    },
)
