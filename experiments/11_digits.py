"""Chapter 11: a digit among clutter: four ways to read a grid of features, and gates, at equal CPU seconds.

One thread, about three and a half minutes a seed.
"""

from functools import partial

import numpy as np
import torch
from _images import (
    CANVAS,
    CPU_SECONDS,
    N_CLASSES,
    TESTS,
    answer,
    bill,
    by_look,
    draw_tests,
    inside,
    learn_digits,
    pointing,
)
from _store import run_and_store
from torch.nn import functional as F

from attncourse.image_classifiers import ImageClassifier
from attncourse.tasks.digits import digits_split

KINDS = {
    "flatten": {"readout": "flatten"},
    "average": {"readout": "average"},
    "maximum": {"readout": "maximum"},
    "attention": {"readout": "attention"},
    # the gates stand behind the convolutions of the model that averages
    "average-channel": {"readout": "average", "gate": "channel"},
    "average-spatial": {"readout": "average", "gate": "spatial"},
    "average-both": {"readout": "average", "gate": "both"},
}
# Tried on seed 100, for six CPU seconds and on digits split off from the training digits: 0.002, 0.004 and
# 0.008 for the four readouts and for both gates; each of the five was best with the last one.
LEARNING_RATE = 8e-3
SHORT, SHORT_STEPS = "attention-short", 300  # so few that they can be made again within a minute
QUICK = {
    "seed": 0,
    "settings": {"kinds": [SHORT], "tests": ["as-trained"]},
    "key": f"{SHORT}.as-trained.accuracy",
    "tolerance": 0.05,
}


def run_seed(seed, *, kinds=(*KINDS, SHORT), tests=tuple(TESTS)):
    """Train every model on the same digits and test it on canvases of digits that no training saw."""
    torch.set_num_threads(1)
    split = digits_split()
    batches = draw_tests(split, seed, tests)
    values = {}
    for name in kinds:
        kind = name.removesuffix("-short")
        budget = {"steps": SHORT_STEPS} if name == SHORT else {"cpu_seconds": CPU_SECONDS}
        model, history = learn(kind, split, seed, LEARNING_RATE, **budget)
        values[name] = bill(model, history, LEARNING_RATE)
        for test, batch in batches.items():
            # A flattened grid cannot grow: its linear map has a row for every cell.
            if kind != "flatten" or batch.images.shape[-1] == CANVAS:
                values[name][test] = test_model(kind, model, batch)
    return values


def build(kind, canvas_size):
    """Return a fresh model."""
    return ImageClassifier(canvas_size, N_CLASSES, **KINDS[kind])


def learn(kind, split, seed, learning_rate, **budget):
    """Train one model."""
    return learn_digits(
        partial(build, kind),
        lambda model, images, labels: F.cross_entropy(model(images), labels),
        split,
        seed,
        learning_rate,
        **budget,
    )


def test_model(kind, model, batch):
    """Return accuracy, and pointing where there is a map."""
    answers, maps = answer(partial(build, kind), model, batch.images)
    right = answers == batch.labels
    found = {"accuracy": right.mean()}
    weights = map_over_cells(kind, maps)
    if weights is None:
        return found
    cells = centres_of_cells(*weights.shape[1:], batch.images.shape[-1])  # (n_cells, 2)
    weights = weights.reshape(len(weights), -1)
    places = cells[weights.argmax(axis=1)]
    gold = np.stack([inside(np.broadcast_to(cell, places.shape), batch.boxes) for cell in cells], axis=1)
    share = weights / weights.sum(axis=1, keepdims=True)  # a gate does not sum to 1 by itself
    return (
        found
        | by_look(right, inside(places, batch.boxes))
        | {
            "pointing": pointing(places, batch),
            "mass_on_gold": (share * gold).sum(axis=1).mean(),
            "mass_on_gold_even": gold.mean(),
        }
    )


def map_over_cells(kind, maps):
    """Return the attention map or the last spatial gate, (batch, rows, columns); None without one."""
    if KINDS[kind]["readout"] == "attention":
        return torch.cat([one.weights for one in maps]).numpy()
    last = {"spatial": lambda gates: gates[-1], "both": lambda gates: gates[-1][1]}.get(
        KINDS[kind].get("gate")
    )
    return torch.cat([last(one.gates) for one in maps]).squeeze(1).numpy() if last else None


def centres_of_cells(n_rows, n_columns, canvas_size):
    """Return the pixel (x, y) on which the receptive field of every cell is centred, row by row."""
    # The trunk's odd kernels with steps of 2 put a cell's field on a pixel, not on the middle of four.
    y, x = np.meshgrid(np.arange(n_rows), np.arange(n_columns), indexing="ij")
    return np.stack([x.ravel() / n_columns, y.ravel() / n_rows], axis=1) * canvas_size + 0.5


if __name__ == "__main__":
    run_and_store(__file__, run_seed, seeds=(0, 1, 2))
