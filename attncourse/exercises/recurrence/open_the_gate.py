"""Checker: a GRU whose update gate starts open, and what becomes of its gradient."""

import math
from functools import cache

import torch
from torch import nn

from attncourse.exercises._exercise import Exercise, Mistake, Property
from attncourse.gradient_flow import gradient_by_distance

D_INPUT, D_HIDDEN, N_TOKENS = 3, 8, 18
THIRDS = {"reset": 0, "update": 1, "new": 2}
OPTIONS = ("a", "b", "c")


def _raise_third(third, *, ih=1.0, hh=0.0, sign=1.0):
    def raised(gru, bias):
        with torch.no_grad():
            gru.bias_ih_l0.chunk(3)[third].fill_(sign * ih * bias)
            if hh is not None:
                gru.bias_hh_l0.chunk(3)[third].fill_(sign * hh * bias)
        return gru

    return raised


def _lost(gru, inputs, distance):
    norms = gradient_by_distance(lambda x: gru(x)[0], inputs).log10()
    return (norms[:, 1] - norms[:, distance]).mean().item()


def _lost_from(near, sign=1.0):
    def lost(gru, inputs, distance):
        norms = gradient_by_distance(lambda x: gru(x)[0], inputs).log10()
        return sign * (norms[:, near] - norms[:, distance]).mean().item()

    return lost


def _lost_from_mean(gru, inputs, distance):
    norms = gradient_by_distance(lambda x: gru(x)[0], inputs).mean(dim=0).log10()
    return (norms[1] - norms[distance]).item()


def _lost_in_nats(gru, inputs, distance):
    return _lost(gru, inputs, distance) * math.log(10)


def _lost_from_the_front(gru, inputs, distance):
    norms = gradient_by_distance(lambda x: gru(x)[0], inputs).flip(1).log10()
    return (norms[:, 1] - norms[:, distance]).mean().item()


def _sigmoid(x):
    return 1 / (1 + math.exp(-x))


def _layer(seed, d_hidden=D_HIDDEN):
    torch.manual_seed(seed)
    return nn.GRU(D_INPUT, d_hidden, batch_first=True).double()


@cache
def _start():
    """Return what the layer holds that is handed to ``raise_bias``."""
    with torch.random.fork_rng(devices=[]):
        return _layer(5).state_dict()


def _run(answer, inputs):
    part = inputs["part"]
    if part == "prediction":
        if answer[part] not in OPTIONS:
            raise ValueError(f"the prediction must be one of {OPTIONS}")
        return True
    if part == "raise_bias":
        changed = answer[part](_layer(5), inputs["bias"])
        return {"GRU": dict(changed.named_parameters())} if isinstance(changed, nn.GRU) else changed
    if part == "kept":
        return answer[part](inputs["bias"], inputs["distance"])
    generator = torch.Generator().manual_seed(inputs["inputs"])
    probes = torch.randn(3, N_TOKENS, D_INPUT, generator=generator, dtype=torch.float64)
    return answer[part](_layer(inputs["seed"]), probes, inputs["distance"])


def _reading(output, inputs):
    # Say what the units of each third see at the start, and what was done to the rest.
    if inputs["part"] != "raise_bias" or not isinstance(output, dict) or output.keys() != {"GRU"}:
        return output
    before, after = _start(), output["GRU"]
    if after.keys() != before.keys() or after["bias_ih_l0"].shape != after["bias_hh_l0"].shape:
        raise ValueError("the layer must have the same parameters as the one that was given")
    total = (after["bias_ih_l0"] + after["bias_hh_l0"]).chunk(3)
    fresh = (before["bias_ih_l0"] + before["bias_hh_l0"]).chunk(3)
    same = {
        f"the bias of {name} left alone": torch.equal(total[i], fresh[i])
        for name, i in THIRDS.items()
        if i != 1
    }
    weights = all(torch.equal(after[name], before[name]) for name in before if "weight" in name)
    return {"the update gate's bias": total[1], "the weights left alone": weights} | same


def _properties(rng):
    seeds = [int(seed) for seed in rng.integers(1000, size=2)]
    biases = [float(bias) for bias in rng.uniform(1, 6, size=2)]
    raised = [{"part": "raise_bias", "bias": bias} for bias in biases]
    kept = [{"part": "kept", "bias": bias, "distance": d} for bias, d in zip(biases, (7, 30), strict=True)]
    lost = [
        {"part": "lost", "seed": s, "inputs": s, "distance": d} for s, d in zip(seeds, (6, 15), strict=True)
    ]
    return [
        Property("a prediction", [{"part": "prediction"}], 0.5),
        Property("the bias", raised, 2),
        Property("the share that should remain", kept, 1),
        Property("what is lost", lost, 2),
    ]


@cache
def _measured(bias):
    inputs = torch.randn(2, 66, D_INPUT, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.random.fork_rng(devices=[]):
        gru = _layer(0, d_hidden=64)
    return _lost(gru if bias is None else _raise_third(1)(gru, bias), inputs, 64)


def _remark(outputs):
    default, opened = _measured(None), _measured(5.0)
    return (
        f"Measured here: from distance 1 to 64 a GRU loses {default:.1f} powers of ten as PyTorch starts it, "
        f"and {opened:.1f} with the raised bias. Compare with your prediction."
    )


EXERCISE = Exercise(
    reference={
        "prediction": "b",
        "raise_bias": _raise_third(1),
        "kept": lambda bias, distance: _sigmoid(bias) ** distance,
        "lost": _lost,
    },
    properties=_properties,
    mistakes=[
        Mistake(
            "the reset gate raised",
            "You raised the first third, the reset gate. It decides how much of the old state the new one "
            "sees; it does not keep the old state.",
            {"raise_bias": _raise_third(0)},
        ),
        Mistake(
            "the new state raised",
            "You raised the last third, the new state: its tanh is nearly saturated, and no gate has moved.",
            {"raise_bias": _raise_third(2)},
        ),
        Mistake(
            "the gate closed",
            "You moved the update gate towards 0. In PyTorch's formula the gate multiplies the old state, "
            "so it must be near 1 to keep it.",
            {"raise_bias": _raise_third(1, sign=-1.0)},
        ),
        Mistake(
            "bias given twice",
            "Both bias vectors have the value, and PyTorch adds them: the gate sees twice the value.",
            {"raise_bias": _raise_third(1, hh=1.0)},
        ),
        Mistake(
            "half a bias",
            "One of the two bias vectors keeps its random start, so the gate sees the value plus something "
            "random.",
            {"raise_bias": _raise_third(1, hh=None)},
        ),
        Mistake(
            "one step only",
            "That is what a single step keeps. Every further step keeps the same share of what is left.",
            {"kept": lambda bias, distance: _sigmoid(bias)},
        ),
        Mistake(
            "what is lost instead of kept",
            "You raised the share that one step lets go to the power of the distance; asked is the share it "
            "keeps.",
            {"kept": lambda bias, distance: _sigmoid(-bias) ** distance},
        ),
        Mistake(
            "sign of the loss",
            "A loss should be positive where the far gradient is the smaller one; yours is negative there.",
            {"lost": _lost_from(1, sign=-1.0)},
        ),
        Mistake(
            "measured from distance 0",
            "You compare with the last input itself. The question compares with distance 1.",
            {"lost": _lost_from(0)},
        ),
        Mistake(
            "mean before the logarithm",
            "You took the mean of the norms first, so the sequence with the largest gradient speaks for all "
            "of them.",
            {"lost": _lost_from_mean},
        ),
        Mistake(
            "natural logarithm",
            "Your losses are too large by one common factor: powers of ten need the logarithm to base 10.",
            {"lost": _lost_in_nats},
        ),
        Mistake(
            "counted from the front",
            "You read the norms as if the first entry belonged to the first token. Entry D belongs to "
            "distance D.",
            {"lost": _lost_from_the_front},
        ),
    ],
    see=(1, "The theory predicts the slope"),
    variants={
        "half each": {
            "prediction": "c",
            "raise_bias": _raise_third(1, ih=0.5, hh=0.5),
            "kept": lambda bias, distance: math.exp(-distance * math.log1p(math.exp(-bias))),
            "lost": _lost,
        }
    },
    run=_run,
    reading=_reading,
    remark=_remark,
)
