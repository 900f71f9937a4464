"""Checker: what moving weight does, and what a map can do at most."""

import math

import torch

from attncourse.exercises._exercise import Exercise, Mistake, Property, normal

SHOWN = (0.1, 0.8, 0.1)


def _change(value, source, target, share):
    def output(weights):
        return weights @ value

    weights = torch.zeros(len(value), dtype=value.dtype)
    moved = weights.clone()
    moved[source] -= share
    moved[target] += share
    return output(moved) - output(weights)


def _parts(weights, value):
    return (weights[:, :, None] * value).norm(dim=-1)


def _furthest(weights, value):
    output = weights @ value
    every_map = torch.eye(len(value), dtype=value.dtype)  # all weight on one place: the corners of all maps
    return (every_map @ value - output).norm(dim=-1).max()


def _run(answer, inputs):
    found = answer[inputs["part"]]
    if inputs["part"] != "values":
        return found(*list(inputs.values())[1:])
    return tuple(float(one) for one in found)


def _reading(output, inputs):
    """Say what three values do to the output of the map that is shown."""
    if inputs["part"] != "values":
        return output
    three = isinstance(output, tuple) and len(output) == 3 and all(isinstance(one, float) for one in output)
    hardly, dull, film = output if three else (math.nan,) * 3
    total = sum(weight * value for weight, value in zip(SHOWN, (hardly, dull, film), strict=True))
    return {
        "three values": three,
        "the map gives 1.6": abs(total - 1.6) < 1e-6,
        "moving weight between dull and film changes nothing": abs(dull - film) < 1e-6,
        "moving weight from dull to hardly changes the output": abs(hardly - dull) > 1e-3,
    }


def _properties(rng):
    def rows(n_rows, n_places):
        return (2.0 * normal(rng, n_rows, n_places)).softmax(dim=-1)

    def moves():
        source, target = (int(one) for one in rng.permutation(6)[:2])
        return {"part": "change", "value": normal(rng, 6, 4), "i": source, "j": target, "delta": 0.3}

    equal = moves()
    equal["value"][equal["j"]] = equal["value"][equal["i"]]
    long_lengths = {"part": "lengths", "weights": rows(3, 5), "value": normal(rng, 5, 4)}
    furthest = [{"part": "furthest", "weights": rows(1, 5)[0], "value": normal(rng, 5, 3)} for _ in range(3)]
    # Here the longest value lies near the output, and another one far away.
    place = torch.tensor([[4.0, 3.0], [4.0, 2.0], [-2.0, -1.0], [4.0, 2.5]])
    furthest.append({"part": "furthest", "weights": torch.tensor([0.3, 0.3, 0.1, 0.3]), "value": place})
    return [
        Property('part "values"', [{"part": "values"}]),
        Property('part "change"', [moves(), moves(), equal]),
        Property(
            'part "lengths"',
            [long_lengths, {"part": "lengths", "weights": rows(1, 2), "value": normal(rng, 2, 7)}],
        ),
        Property('part "furthest"', furthest, 1.5),
    ]


EXERCISE = Exercise(
    reference={"values": (7.0, 1.0, 1.0), "change": _change, "lengths": _parts, "furthest": _furthest},
    run=_run,
    reading=_reading,
    properties=_properties,
    mistakes=[
        Mistake(
            "all values equal",
            "With three equal values no weight matters at all: this reader says the same whatever its map "
            "is.",
            {"values": (1.6, 1.6, 1.6)},
            see=(16, "The same map, three reasons"),
        ),
        Mistake(
            "only dull counts",
            "The output is right, but moving weight from dull to film changes it, because their values "
            "differ.",
            {"values": (0.0, 2.0, 0.0)},
            see=(16, "The same map, three reasons"),
        ),
        Mistake(
            "the wrong output",
            "Dull and film agree, but the weighted sum of these values is not 1.6.",
            {"values": (1.6, 1.0, 1.0)},
        ),
        Mistake(
            "moved the other way",
            "This is the change if the weight is moved from j to i.",
            {"change": lambda value, i, j, delta: delta * (value[i] - value[j])},
        ),
        Mistake(
            "only what arrives",
            "Place j gains, but place i loses as much weight, and its value leaves the mixture.",
            {"change": lambda value, i, j, delta: delta * value[j]},
        ),
        Mistake(
            "the share left out",
            "This is the change if all of the weight were moved.",
            {"change": lambda value, i, j, delta: value[j] - value[i]},
        ),
        Mistake(
            "weights times sums",
            "The entries of a value are added, so positive and negative ones cancel; a length does not.",
            {"lengths": lambda weights, value: weights * value.sum(dim=-1)},
        ),
        Mistake(
            "lengths without weights",
            "These are the lengths of the values alone, whatever weight they get.",
            {"lengths": lambda weights, value: value.norm(dim=-1).expand_as(weights)},
        ),
        Mistake(
            "squared lengths",
            "The squares of the entries are added, but the root of the sum is missing.",
            {"lengths": lambda weights, value: (weights[:, :, None] * value).pow(2).sum(dim=-1)},
        ),
        Mistake(
            "normalised lengths",
            "The lengths of each query are divided by their sum; they are asked for as they are.",
            {
                "lengths": lambda weights, value: torch.nn.functional.normalize(
                    weights * value.norm(dim=-1), p=1, dim=-1
                )
            },
        ),
        Mistake(
            "distance from the value at the peak",
            "This is the largest distance from the value at the peak, but the output is a mixture, and lies "
            "elsewhere.",
            {"furthest": lambda weights, value: (value - value[weights.argmax()]).norm(dim=-1).max()},
        ),
        Mistake(
            "the longest value",
            "The value with the largest length may be near the output already; what counts is its distance "
            "from there.",
            {
                "furthest": lambda weights, value: (
                    value[value.norm(dim=-1).argmax()] - weights @ value
                ).norm()
            },
        ),
        Mistake(
            "between any two values",
            "This is the distance of the two values that lie furthest apart, but one end of the way is the "
            "output.",
            {"furthest": lambda weights, value: torch.cdist(value, value).max()},
        ),
        Mistake(
            "distance from the mean",
            "The way begins at the mean of the values here. It should begin at the output, which this map "
            "makes.",
            {"furthest": lambda weights, value: (value - value.mean(dim=0)).norm(dim=-1).max()},
        ),
        Mistake(
            "the largest entry",
            "This is the largest change of a single entry; a distance takes all entries together.",
            {"furthest": lambda weights, value: (value - weights @ value).abs().max()},
        ),
    ],
    see=(16, "What a weight is, and what it is not"),
    variants={
        "other values": {
            "values": [-2.0, 2.0, 2.0],
            "change": lambda value, i, j, delta: delta * value[j] - delta * value[i],
            "lengths": lambda weights, value: weights * value.norm(dim=-1),
            "furthest": lambda weights, value: float(torch.cdist((weights @ value)[None], value).max()),
        }
    },
)
