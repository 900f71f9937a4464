"""Chapter 12: object queries that look at the image against the same slots without attention.

One thread, about four minutes a seed.
"""

import numpy as np
import torch
from _store import run_and_store

from attncourse.boxes import box_iou, to_centres
from attncourse.detection import Detector
from attncourse.detection_loss import detection_loss
from attncourse.detection_measures import average_precision, match_detections
from attncourse.tasks.scenes import SHAPES, SceneTask
from attncourse.training import set_seed, train

CPU_SECONDS = 60.0
# Each the best of 0.0015, 0.003 and 0.006 on seed 100: "attention" after 30 s, "flat" after 60 s.
LEARNING_RATES = {"attention": 3e-3, "no-self-attention": 3e-3, "flat": 3e-3}
BATCH_SIZE = 32
TRAINED, HELD_OUT = 6000, 1000
HELD_OUT_SEED = 10_000
IMAGE_SIZE = 48
CONFIDENT = 0.5  # a class this probable counts as a find
OVERLAP = 0.5
QUICK = {
    "seed": 0,
    "settings": {"kinds": [], "short": True},
    "key": "attention-300-steps.loss",
    "tolerance": 0.1,
}


def run_seed(seed, *, kinds=tuple(LEARNING_RATES), short=True, cpu_seconds=CPU_SECONDS, rates=None):
    """Train every kind on the same scenes; score it on scenes that no training saw."""
    torch.set_num_threads(1)
    task = SceneTask(n_objects=(2, 3), image_size=IMAGE_SIZE)
    scenes = task.sample(TRAINED, np.random.default_rng(seed))
    held_out = task.sample(HELD_OUT, np.random.default_rng(HELD_OUT_SEED + seed))
    rates = LEARNING_RATES | (rates or {})
    runs = {kind: (kind, {"cpu_seconds": cpu_seconds}) for kind in kinds}
    if short:
        runs["attention-300-steps"] = ("attention", {"steps": 300})
    values = {}
    for name, (kind, budget) in runs.items():
        model, history = fit(kind, scenes, seed, rates[kind], budget)
        values[name] = score(model, held_out, np.random.default_rng(seed)) | {
            "loss": float(np.mean(history.losses[-50:])),  # of the last 50 steps
            "steps": history.steps,
            "cpu_seconds": round(history.cpu_seconds, 2),
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
        }
    return values


def fit(kind, scenes, seed, learning_rate, budget):
    """Train one detector."""
    images, labels = torch.from_numpy(scenes.images), torch.from_numpy(scenes.shapes)
    boxes = torch.from_numpy(scenes.boxes) / IMAGE_SIZE
    rng = np.random.default_rng(seed + 2000)

    def next_batch():
        rows = torch.from_numpy(rng.integers(len(scenes), size=BATCH_SIZE))
        return images[rows], labels[rows], boxes[rows]

    set_seed(seed)
    model = build(kind)
    history = train(
        model,
        next_batch,
        lambda model, batch: detection_loss(model(batch[0]), *batch[1:]),
        learning_rate=learning_rate,
        **budget,
    )
    return model.eval(), history


def build(kind):
    """Return a fresh detector of shapes."""
    model = Detector(len(SHAPES), image_size=IMAGE_SIZE, attention=kind != "flat")
    if kind == "no-self-attention":
        alone = torch.eye(model.n_queries, dtype=torch.bool)

        def see_only_itself(module, args, kwargs):
            return args, kwargs | {"mask": alone}

        for layer in model.readout.layers:
            layer.self_attention.register_forward_pre_hook(see_only_itself, with_kwargs=True)
    return model


@torch.no_grad()
def score(model, scenes, rng):
    """Return how well the objects are found, counted and told apart, and where the queries look."""
    images = torch.from_numpy(scenes.images)
    found = model.detect(images)
    gold = torch.from_numpy(scenes.boxes) / IMAGE_SIZE
    overlaps = box_iou(found.boxes, gold).numpy()  # (n_images, n_queries, max_objects)
    scores, labels = found.scores.numpy(), found.labels.numpy()
    values = {}
    for percent in (50, 75):
        areas = average_precision(
            scores, labels, scenes.shapes, overlaps, n_classes=len(SHAPES), threshold=percent / 100
        )
        values[f"AP{percent}"] = float(areas.mean())
        values[f"AP{percent}_by_class"] = dict(zip(SHAPES, areas.tolist(), strict=True))
    sure = scores >= CONFIDENT
    real = scenes.shapes >= 0
    finders = (sure[:, :, None] & (overlaps >= OVERLAP)).sum(axis=1)[real]  # of each object
    values |= {
        "count_accuracy": float((sure.sum(axis=1) == scenes.n_objects).mean()),
        "count_accuracy_by_objects": {
            str(n): float((sure.sum(axis=1) == n)[scenes.n_objects == n].mean()) for n in (2, 3)
        },
        "found_never": float((finders == 0).mean()),
        "found_twice": float((finders > 1).mean()),
        "queries": specialisation(found.boxes.numpy(), sure, rng),
    }
    if model.has_attention:
        hits = match_detections(scores, labels, scenes.shapes, overlaps, threshold=OVERLAP)
        if (sure & (hits >= 0)).any():
            values["maps"] = looks(model, images, found.boxes.numpy(), gold.numpy(), hits, sure, rng)
    return values


def specialisation(boxes, sure, rng):
    """Return where the boxes of every query lie, and how much of the scatter of all centres that explains."""
    centres = to_centres(torch.from_numpy(boxes)).numpy() * IMAGE_SIZE
    queries = np.nonzero(sure)[1]
    used = centres[sure]  # (n_finds, 4)

    def explained(queries):
        means = np.stack([used[queries == query].mean(axis=0) for query in np.unique(queries)])
        rows = np.searchsorted(np.unique(queries), queries)
        within = ((used - means[rows])[:, :2] ** 2).sum()
        return float(1 - within / ((used - used.mean(axis=0))[:, :2] ** 2).sum())

    if sure.sum() < 2:  # after a few steps nothing is sure
        return {"finds": int(sure.sum())}

    return {
        "each": [
            {
                "finds": int((queries == query).sum()),
                "centre": used[queries == query, :2].mean(axis=0).round(1).tolist(),
                "spread": used[queries == query, :2].std(axis=0).round(1).tolist(),
                "width": round(float(used[queries == query, 2].mean()), 1),
            }
            if (queries == query).any()
            else {"finds": 0}
            for query in range(boxes.shape[1])
        ],
        "explained": explained(queries),
        "explained_shuffled": explained(rng.permutation(queries)),
    }


def looks(model, images, boxes, gold, hits, sure, rng):
    """Return how often the maps of the queries that found an object peak in its box, and the controls."""
    weights = torch.cat([model(part, return_weights=True)[1].cells for part in images.split(250)]).numpy()
    rows, queries = np.nonzero(sure & (hits >= 0))
    maps = weights[rows, :, :, queries]  # (n_finds, n_layers, n_heads, n_rows, n_columns)
    predicted = inside(boxes[rows, queries], model.grid)  # (n_finds, n_rows, n_columns)
    matched = inside(gold[rows, hits[rows, queries]], model.grid)
    # Controls: the map of any other find, and that of the same query in another image.
    other = rng.permutation(len(maps))
    same_query = np.arange(len(maps))
    for query in np.unique(queries):
        places = np.flatnonzero(queries == query)
        same_query[places] = np.roll(places, 1)

    def measure(maps):
        return {
            "peak_in_predicted": peaks(maps, predicted),
            "peak_in_matched": peaks(maps, matched),
            "mass_in_matched": float((maps * matched).sum(axis=(1, 2)).mean()),
        }

    head_means = maps.mean(axis=2)
    n_layers, n_heads = maps.shape[1:3]
    return {
        "finds": len(maps),
        "cells_in_matched": float(matched.mean()),
        "layers": [
            {
                "head_mean": measure(head_means[:, layer]),
                "shuffled": measure(head_means[other, layer]),
                "same_query_other_image": measure(head_means[same_query, layer]),
                "heads": [measure(maps[:, layer, head]) for head in range(n_heads)],
            }
            for layer in range(n_layers)
        ],
    }


def inside(boxes, grid):
    """Return the cells whose middle lies in a box, bool of shape (n_boxes, n_rows, n_columns)."""
    y, x = (((np.arange(n) + 0.5) / n) for n in grid)
    x0, y0, x1, y1 = (edge[:, None] for edge in boxes.T)
    return ((y0 <= y) & (y <= y1))[:, :, None] & ((x0 <= x) & (x <= x1))[:, None, :]


def peaks(maps, cells):
    """Return the share of maps whose largest weight lies in the cells."""
    flat = maps.reshape(len(maps), -1).argmax(axis=1)
    return float(cells.reshape(len(cells), -1)[np.arange(len(cells)), flat].mean())


if __name__ == "__main__":
    run_and_store(__file__, run_seed, seeds=(0, 1, 2))
