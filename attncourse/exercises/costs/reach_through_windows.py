"""Checker: predict and measure how much of the first token arrives through layers with a window."""

import torch

from attncourse.exercises._exercise import Exercise, Mistake, Property
from attncourse.masks import window_mask

CHOICES = ("a", "b", "c")


def _shares(n_tokens, window, n_layers):
    mask = window_mask(n_tokens, n_tokens, window).double()
    layer = mask / mask.sum(dim=-1, keepdim=True)
    return torch.linalg.matrix_power(layer, n_layers)[-1]


def _run(answer, inputs):
    if inputs["part"] == "prediction":
        return answer["prediction"] in CHOICES
    return answer["shares"](*inputs["sizes"])


def _properties(rng):
    window = int(rng.integers(3, 6))
    layers = int(rng.integers(3, 5))
    exactly = layers * (window - 1) + 1

    def ask(*sizes):
        return [{"part": "shares", "sizes": one} for one in sizes]

    return [
        Property("the prediction", [{"part": "prediction"}], 0.5),
        Property("one layer", ask((exactly, window, 1), (window - 1, window, 1)), 1),
        Property("the fewest layers that reach the first token", ask((exactly, window, layers)), 1),
        Property("more layers", ask((exactly, window, 4 * layers), (11, 4, 9)), 1.5),
        Property("too few layers, and a window of 2", ask((exactly + 5, window, layers), (6, 2, 5)), 1),
    ]


def _like(
    *, wider=0, both=False, by_window=False, extra=0, column=False, product="matrix", dtype=torch.float64
):
    def shares(n_tokens, window, n_layers):
        places = torch.arange(n_tokens)
        back = places[:, None] - places
        seen = (back < window + wider) & ((back > -(window + wider)) if both else (back >= 0))
        layer = seen.double() / (window if by_window else seen.double().sum(dim=-1, keepdim=True))
        if product == "entries":
            return (layer**n_layers)[-1]
        if product == "one wide layer":
            reached = (back[-1] <= n_layers * (window - 1)).double()
            return reached / reached.sum()
        if product == "residual":
            layer = (layer + torch.eye(n_tokens)) / 2
        whole = torch.linalg.matrix_power(layer.to(dtype), n_layers + extra)
        return whole[:, 0] if column else whole[-1]

    return shares


def _by_walking_back(n_tokens, window, n_layers):
    at = torch.zeros(n_tokens, dtype=torch.float64)
    at[-1] = 1.0
    for _ in range(n_layers):
        before = torch.zeros_like(at)
        for place, share in enumerate(at.tolist()):
            first = max(0, place - window + 1)
            before[first : place + 1] += share / (place + 1 - first)
        at = before
    return at


def _mistake(name, message, **options):
    return Mistake(name, message, {"shares": _like(**options)})


def _remark(outputs):
    found = outputs["the fewest layers that reach the first token"][0]
    n_tokens = len(found)
    return (
        f"By your function, {float(found[0]):.2g} of the last state is from the first of {n_tokens} tokens, "
        f"where an even share would be {1 / n_tokens:.2g}. Which of (a), (b) and (c) fits?"
    )


EXERCISE = Exercise(
    reference={"prediction": "c", "shares": _shares},
    run=_run,
    properties=_properties,
    mistakes=[
        Mistake(
            "no prediction",
            "Write down one of the letters a, b and c before you measure.",
            {"prediction": "d"},
        ),
        _mistake(
            "window one too wide",
            "A token sees itself and as many tokens before it as the window is long: that is one token too "
            "many.",
            wider=1,
        ),
        _mistake(
            "window one too narrow",
            "A token sees one token less than the window is long.",
            wider=-1,
        ),
        _mistake(
            "the future seen too",
            "The window reaches to both sides, so tokens also take from those behind them.",
            both=True,
        ),
        _mistake(
            "divided by the window everywhere",
            "The first tokens see fewer keys than the window is long, and their weights no longer sum to "
            "one: part of the share is lost.",
            by_window=True,
        ),
        _mistake(
            "one layer too many",
            "One more layer is multiplied than there are.",
            extra=1,
        ),
        _mistake(
            "column instead of row",
            "This is what every state takes from the first token, not what the last state takes from every "
            "token.",
            column=True,
        ),
        _mistake(
            "entries instead of matrices multiplied",
            "Each weight is raised to a power by itself, so no way over a third token is counted.",
            product="entries",
        ),
        _mistake(
            "one wide layer",
            "All tokens that can be reached are weighed evenly, as if one layer with a wide window had mixed "
            "them. Many more ways lead to the tokens in the middle than to the farthest one.",
            product="one wide layer",
        ),
        _mistake(
            "a residual path",
            "Half of each state stays where it is in every layer, as with a residual path; here there is "
            "none.",
            product="residual",
        ),
        _mistake(
            "float32",
            "The shares are in torch's default dtype, float32; float64 was asked for.",
            dtype=torch.float32,
        ),
    ],
    see=(15, "Leaving pairs out: a sliding window"),
    variants={"walking back": {"prediction": "a", "shares": _by_walking_back}},
    atol=1e-9,  # the shares of far tokens are small, and that they are is the point
    remark=_remark,
)
