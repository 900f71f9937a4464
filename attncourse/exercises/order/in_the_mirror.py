"""Checker: what a layer that cannot tell left from right can answer."""

import torch
from torch import nn

from attncourse.exercises._exercise import Exercise, Mistake, Property, normal
from attncourse.masks import causal_mask
from attncourse.self_attention import SelfAttention

LAYERS = ("ALiBi", "rotary", "relative", "ALiBi under a causal mask")
ERRORS = 'part "mirror error"'


class Causal(nn.Module):
    """A layer that hides the future from every token."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, inputs):
        """Look back from every token."""
        return self.layer(inputs, causal_mask(inputs.shape[1], inputs.shape[1]))


def _run(answer, inputs):
    # A prediction earns its points by being there, right or wrong.
    name, *arguments = inputs.values()
    if name == "prediction":
        if answer[name] not in ("a", "b", "c"):
            raise ValueError('a prediction is one of the letters "a", "b", "c"')
        return True
    result = answer[name](*arguments)
    return result.detach() if isinstance(result, torch.Tensor) else result


def _error(layer, inputs):
    return (layer(inputs.flip(1)).flip(1) - layer(inputs)).abs().max().item()


def _places(tokens, distance):
    """Return for each place the symbols that the string and its mirror image ask for there."""
    n = len(tokens)
    return [[tokens[place] for place in (i - distance, i + distance) if 0 <= place < n] for i in range(n)]


def _ceiling(tokens, distance, *, best=lambda asked: max(asked.count(one) for one in asked)):
    asked = [one for one in _places(tokens, distance) if one]
    return sum(map(best, asked)) / sum(map(len, asked))


RIGHT = {"prediction": "b", "mirror error": _error, "ceiling": _ceiling}


def _layer(rng, name):
    with torch.random.fork_rng(devices=[]):
        layer = SelfAttention(6, 4, positions=name.split()[0].lower(), max_distance=4)
    for parameter in layer.parameters():
        parameter.data = 0.5 * normal(rng, *parameter.shape)
    return Causal(layer) if "causal" in name else layer


def _properties(rng):
    def strings(*sizes, symbols):
        drawn = [(rng.integers(0, symbols, size=n).tolist(), d) for n, d in sizes]
        return [{"part": "ceiling", "tokens": tokens, "distance": d} for tokens, d in drawn]

    different = [
        {"part": "ceiling", "tokens": rng.permutation(30)[:n].tolist(), "distance": d}
        for n, d in ((20, 3), (9, 2))
    ]
    errors = [
        {"part": "mirror error", "layer": _layer(rng, name), "inputs": normal(rng, 3, 5, 6)}
        for name in LAYERS
    ]
    # Backwards, every difference changes its sign, so the largest one is below zero in one of the two.
    errors.append(errors[1] | {"inputs": errors[1]["inputs"].flip(1)})
    return [
        Property('part "prediction"', [{"part": "prediction"}], 0.5),
        Property(ERRORS, errors, 2),
        Property('part "ceiling", no symbol twice', different, 1.5),
        Property(
            'part "ceiling", symbols that repeat', strings((20, 3), (17, 2), (9, 4), (12, 1), symbols=3), 1.5
        ),
        Property('part "ceiling", far back', strings((7, 5), (8, 4), (6, 5), (2, 1), symbols=2), 1),
    ]


def _remark(outputs):
    measured = ", ".join(
        f"{name} {float(error):.2f}" for name, error in zip(LAYERS, outputs[ERRORS], strict=False)
    )
    return f"Your mirror errors: {measured}. What does the first one say about your prediction?"


def _wrong(name, message, part, function, place="Without positions, order is invisible"):
    return Mistake(name, message, RIGHT | {part: function}, see=(6, place))


def _string_alone(tokens, distance):
    places = _places(tokens, distance)
    both = [one for one in places if len(one) == 2]
    return sum(2 if one[0] == one[1] else 1 for one in both) / (2 * len(both)) if both else 1.0


def _over_all_places(tokens, distance):
    return _ceiling(tokens, distance) * (len(tokens) - distance) / len(tokens)


def _ends_lost(tokens, distance):
    places = _places(tokens, distance)
    return sum(max(one.count(x) for x in one) for one in places if len(one) == 2) / sum(map(len, places))


def _at_once(tokens, distance):
    n = len(tokens)
    return sum(tokens[i - distance] == tokens[i + distance] for i in range(distance, n - distance)) / (
        n - distance
    )


def _round_the_end(tokens, distance):
    n = len(tokens)
    asked = [[tokens[i - distance], tokens[(i + distance) % n]] for i in range(n)]
    return sum(max(one.count(x) for x in one) for one in asked) / (2 * n)


def _by_counting(tokens, distance):
    n = len(tokens)
    middle = range(distance, n - distance)
    double = sum(tokens[i - distance] != tokens[i + distance] for i in middle)
    return 1 - double / (2 * (n - distance))


EXERCISE = Exercise(
    reference=RIGHT,
    run=_run,
    remark=_remark,
    properties=_properties,
    mistakes=[
        _wrong(
            "outputs not turned back",
            "The outputs of the reversed sequence are still reversed when they are compared. Symmetry "
            "says that they come "
            "out in the other order, not that they stay where they are.",
            "mirror error",
            lambda layer, inputs: (layer(inputs.flip(1)) - layer(inputs)).abs().max().item(),
        ),
        _wrong(
            "the batch reversed",
            "The sequences of the batch change places, and each stays as it is. Every layer passes that "
            "test.",
            "mirror error",
            lambda layer, inputs: (layer(inputs.flip(0)).flip(0) - layer(inputs)).abs().max().item(),
        ),
        _wrong(
            "the mean instead of the largest",
            "The differences are averaged. A single token that is off would hardly show.",
            "mirror error",
            lambda layer, inputs: (layer(inputs.flip(1)).flip(1) - layer(inputs)).abs().mean().item(),
        ),
        _wrong(
            "differences with their sign",
            "Only differences above zero count: a number that is far too small passes as no difference.",
            "mirror error",
            lambda layer, inputs: (layer(inputs.flip(1)).flip(1) - layer(inputs)).max().item(),
        ),
        _wrong(
            "one sequence alone",
            "Only the first sequence of the batch was compared.",
            "mirror error",
            lambda layer, inputs: _error(layer, inputs[:1]),
        ),
        _wrong(
            "the same inputs twice",
            "The inputs were not reversed, only the outputs were.",
            "mirror error",
            lambda layer, inputs: (layer(inputs).flip(1) - layer(inputs)).abs().max().item(),
        ),
        _wrong(
            "one half",
            "At most half is right only where the string and its mirror image both ask, and ask for "
            "different symbols.",
            "ceiling",
            lambda tokens, distance: 0.5,
        ),
        _wrong(
            "equal symbols taken for different",
            "Where the same symbol stands on both sides, one answer is right in both strings. It is "
            "counted for one only.",
            "ceiling",
            lambda tokens, distance: _ceiling(tokens, distance, best=lambda asked: 1),
        ),
        _wrong(
            "the ends left out",
            "Places that are asked in only one of the two strings are missing from the share; there the "
            "model can be right.",
            "ceiling",
            _string_alone,
        ),
        _wrong(
            "the ends lost",
            "Places that are asked in only one of the two strings count as wrong, though nothing "
            "contradicts a right answer.",
            "ceiling",
            _ends_lost,
        ),
        _wrong(
            "places that ask nothing counted",
            "The share is taken of all places. The first ones of a string have nothing so far back, and "
            "are not asked.",
            "ceiling",
            _over_all_places,
        ),
        _wrong(
            "round the end",
            "A negative index reads from the end of the string, so every place seems to be asked in both "
            "strings.",
            "ceiling",
            _round_the_end,
        ),
        _wrong(
            "right in both or not at all",
            "An answer counts only if it is right in both strings. A model that is right in one of them "
            "gets that one.",
            "ceiling",
            _at_once,
        ),
    ],
    see=(6, "Punish distance: ALiBi"),
    variants={"by counting the conflicts": RIGHT | {"ceiling": _by_counting}},
)
