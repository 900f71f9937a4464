"""Checker: the Gaussian window of handwriting, mended."""

import torch

from attncourse.exercises._exercise import Exercise, Mistake, Property, normal
from attncourse.location_scores import GaussianWindow


def _reference(height, narrowness, step, start, n_keys):
    window = GaussianWindow(3 * step.shape[-1], step.shape[-1]).to(step.dtype)
    with torch.no_grad():
        window.window_proj.weight.copy_(torch.eye(3 * step.shape[-1]))
        window.window_proj.bias.zero_()
        query = torch.cat([height, narrowness, step], dim=-1)
        weights, centres = window(query, step.new_zeros(*step.shape[:-2], n_keys, 1), centres=start)
    return weights, centres


def _run(answer, inputs):
    weights, centres = answer(*inputs.values())
    return weights, centres


def _properties(rng):
    def case(n_queries, n_components, *, batch=2, start=None, zero=False, dtype=torch.float32):
        shape = (batch, n_queries, n_components)
        parts = [0.6 * normal(rng, *shape, dtype=dtype) for _ in range(3)]
        if zero:
            parts[0], parts[1] = torch.zeros(shape), torch.zeros(shape)
        begin = torch.full((batch, n_components), -1.0, dtype=dtype)
        if start is not None:
            begin = start * normal(rng, batch, n_components, dtype=dtype) + 1
        names = ("height", "narrowness", "step")
        return dict(zip(names, parts, strict=True)) | {"start": begin, "n_keys": 7}

    return [
        Property("one query, one bump", [case(1, 1, zero=True), case(1, 1)], 1),
        Property("several queries, one bump", [case(4, 1), case(5, 1)], 1.5),
        Property("one query, several bumps", [case(1, 3)], 1),
        Property("starts of its own", [case(1, 1, start=2.0), case(4, 1, start=2.0)], 1),
        Property("everything at once", [case(4, 3, batch=5, start=1.5), case(3, 4, dtype=torch.float64)], 2),
    ]


def _window(
    *,
    over=-2,
    steps="sum of exponentials",
    narrow=True,
    high=True,
    normalised="not",
    begins="start",
    places_from=0,
):
    """Return the window with some of its faults left in."""

    def window(height, narrowness, step, start, n_keys):
        if steps == "sum of exponentials":
            moved = step.exp().cumsum(dim=over)
        elif steps == "exponential of the sum":
            moved = step.cumsum(dim=over).exp()
        else:
            moved = step.cumsum(dim=over) if steps == "sum" else step.exp()
        centres = moved + {"start": start.unsqueeze(-2), "minus one": -1.0, "nowhere": 0.0}[begins]
        distance = centres.unsqueeze(-1) - torch.arange(places_from, places_from + n_keys)
        narrowness = narrowness.exp() if narrow else narrowness
        bumps = (-narrowness.unsqueeze(-1) * distance**2).exp()
        bumps = bumps * (height.exp() if high else height).unsqueeze(-1)
        weights = bumps.sum(dim=-2)
        if normalised == "divided":
            weights = weights / weights.sum(dim=-1, keepdim=True)
        return (weights.softmax(dim=-1) if normalised == "softmax" else weights), centres

    return window


def _as_given(height, narrowness, step, start, n_keys):
    return _window(
        over=-1, steps="exponential of the sum", narrow=False, normalised="softmax", begins="nowhere"
    )(height, narrowness, step, start, n_keys)


def _start_each_time(height, narrowness, step, start, n_keys):
    again = step.exp() + start.unsqueeze(-2)  # as if each step began at the start
    return _window(steps="sum", begins="nowhere")(height, narrowness, again, start, n_keys)


def _by_loops(height, narrowness, step, start, n_keys):
    batch, n_queries, n_components = step.shape
    centres = torch.zeros_like(step)
    weights = step.new_zeros(batch, n_queries, n_keys)
    for b in range(batch):
        place = start[b].clone()
        for t in range(n_queries):
            place = place + step[b, t].exp()
            centres[b, t] = place
            for m in range(n_components):
                away = place[m] - torch.arange(n_keys, dtype=step.dtype)
                weights[b, t] += height[b, t, m].exp() * torch.exp(-narrowness[b, t, m].exp() * away**2)
    return weights, centres


EXERCISE = Exercise(
    reference=_reference,
    properties=_properties,
    run=_run,
    mistakes=[
        Mistake("nothing mended", "This is the code as it was given, with all its faults.", _as_given),
        Mistake(
            "summed over the bumps",
            "The steps of the bumps are added to each other, and no bump remembers where it stood at the "
            "query before.",
            _window(over=-1),
        ),
        Mistake(
            "exponential after the sum",
            "The sum of the numbers is taken first. A negative one then makes the centre move back.",
            _window(steps="exponential of the sum"),
        ),
        Mistake(
            "steps without the exponential",
            "The numbers are added as they are; a negative one moves the centre back.",
            _window(steps="sum"),
        ),
        Mistake(
            "steps not added up",
            "Each query begins at the start again; its step should go on from where the query before stood.",
            _window(steps="exponential"),
        ),
        Mistake(
            "narrowness without the exponential",
            "A negative narrowness turns the bump upside down: its weight grows with the distance, without "
            "bound.",
            _window(narrow=False),
        ),
        Mistake(
            "height without the exponential",
            "A negative height makes negative weights.",
            _window(high=False),
        ),
        Mistake(
            "softmax over the places",
            "The rows sum to 1. This window has no softmax: far from all places every weight may be small.",
            _window(normalised="softmax"),
        ),
        Mistake(
            "divided by their sum",
            "The rows are made to sum to 1. The formula does not ask for that: far from all places every "
            "weight may be small.",
            _window(normalised="divided"),
        ),
        Mistake(
            "start ignored",
            "The centres begin at 0, wherever they stood before.",
            _window(begins="nowhere"),
        ),
        Mistake(
            "start at every step",
            "The start is added up along with the steps, once for each query; it stands before the first one "
            "only.",
            _start_each_time,
        ),
        Mistake(
            "always a new text",
            "The centres begin at -1, whatever `start` says: a second piece of a text begins at its "
            "beginning again.",
            _window(begins="minus one"),
        ),
        Mistake(
            "places from 1",
            "Places are counted from 1, so that every bump stands one key too early.",
            _window(places_from=1),
        ),
    ],
    see=(10, "Location that moves: Graves' window"),
    variants={"by loops": _by_loops},
)
