"""Chapter 12: a U-Net without attention, with gates and with a non-local block, on two questions.

"shapes": which shape does each pixel belong to? What stands around the pixel says it. "twins": which pixels
belong to an object whose colour another object has too? Only a look across the image says it.

One thread, about four minutes a seed.
"""

import numpy as np
import torch
from _store import run_and_store
from torch import nn
from torch.nn.functional import cross_entropy

from attncourse.detection_measures import intersection_over_union
from attncourse.regions import region_cells
from attncourse.segmentation import Segmenter
from attncourse.tasks.scenes import SHAPES, SceneTask
from attncourse.training import set_seed, train

CPU_SECONDS = {"shapes": 12.0, "twins": 40.0}
# "deeper" is the net without attention with two more convolutions at the coarsest level, dilated so that a
# cell there sees the whole image; it has more parameters than the net with the non-local block.
KINDS = {"shapes": ("none", "gates", "non-local"), "twins": ("none", "gates", "non-local", "deeper")}
RUNS = tuple(f"{question}-{kind}" for question, kinds in KINDS.items() for kind in kinds)
# The same for all: on seed 100 the non-local net made more of 0.01 than of 0.003 (30 s, "twins"); no other
# rate was tried, and none for the other nets.
LEARNING_RATE = 1e-2
BATCH_SIZE = 16
WIDTHS = (8, 16, 32)  # narrower than the default where pixels are many: more steps in the same seconds
TRAINED, HELD_OUT = 4000, 1000
HELD_OUT_SEED = 10_000
IMAGE_SIZE, GRID = 48, (12, 12)
N_OBJECTS = (3, 5)
# With the usual 0.04 every net names the shapes right after 200 steps (mean IoU .998).
NOISE = {"shapes": 0.3, "twins": 0.04}
QUICK = {
    "seed": 0,
    "settings": {"runs": [], "short": True},
    "key": "shapes-none-200-steps.mean_IoU",
    "tolerance": 0.1,
}


def run_seed(seed, *, runs=RUNS, short=True, cpu_seconds=None):
    """Train every net on the same scenes; score it on scenes that no training saw."""
    torch.set_num_threads(1)
    scenes, held_out = {}, {}
    for question, noise in NOISE.items():
        task = SceneTask(n_objects=N_OBJECTS, image_size=IMAGE_SIZE, noise=noise)
        scenes[question] = task.sample(TRAINED, np.random.default_rng(seed))
        held_out[question] = task.sample(HELD_OUT, np.random.default_rng(HELD_OUT_SEED + seed))
    plan = {name: (name, {"cpu_seconds": cpu_seconds or CPU_SECONDS[name.split("-")[0]]}) for name in runs}
    if short:
        plan["shapes-none-200-steps"] = ("shapes-none", {"steps": 200})
    values = {}
    for name, (run, budget) in plan.items():
        question, kind = run.split("-", 1)
        model, history = fit(question, kind, scenes[question], seed, budget)
        values[name] = score(model, question, held_out[question]) | {
            "steps": history.steps,
            "cpu_seconds": round(history.cpu_seconds, 2),
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
        }
    values["held_out"] = describe(held_out["twins"])
    return values


def fit(question, kind, scenes, seed, budget):
    """Train one net."""
    images, gold = pictures(scenes), torch.from_numpy(answers(question, scenes))
    rng = np.random.default_rng(seed + 2000)

    def next_batch():
        rows = torch.from_numpy(rng.integers(len(images), size=BATCH_SIZE))
        return images[rows], gold[rows]

    set_seed(seed)
    model = build(question, kind)
    history = train(
        model,
        next_batch,
        lambda model, batch: cross_entropy(model(batch[0]), batch[1]),
        learning_rate=LEARNING_RATE,
        **budget,
    )
    return model.eval(), history


class Deeper(nn.Module):
    """Hand a level of the net on with what two dilated convolutions make of it added."""

    def __init__(self, level, width):
        super().__init__()
        self.level = level
        self.added = nn.Sequential(*dilated(width, 2), *dilated(width, 4))

    def forward(self, images):
        """Return the level's features and the others."""
        features = self.level(images)
        return features + self.added(features)


def build(question, kind):
    """Return a fresh net."""
    n_classes = 1 + len(SHAPES) if question == "shapes" else 2
    model = Segmenter(n_classes, "none" if kind == "deeper" else kind, widths=WIDTHS)
    if kind == "deeper":
        model.down[2] = Deeper(model.down[2], WIDTHS[2])
    return model.to(memory_format=torch.channels_last)  # a third less time a step on a CPU


def dilated(width, gap):
    """Return a 3 × 3 convolution over cells that lie some cells apart, normalised and rectified."""
    yield nn.Conv2d(width, width, 3, padding=gap, dilation=gap, bias=False)
    yield nn.BatchNorm2d(width)
    yield nn.ReLU()


def pictures(scenes):
    """Return the images in the layout that is fastest on a CPU."""
    return torch.from_numpy(scenes.images).contiguous(memory_format=torch.channels_last)


def answers(question, scenes):
    """Return the right class of every pixel, int64."""
    return scenes.shape_map if question == "shapes" else scenes.twin_map.astype(np.int64)


@torch.no_grad()
def score(model, question, scenes):
    """Return how well pixels and objects are named and, with the non-local block, where its cells look."""
    images, gold = pictures(scenes), answers(question, scenes)
    named = torch.cat([model(part).argmax(dim=1) for part in images.split(250)]).numpy()
    n_classes = 1 + len(SHAPES) if question == "shapes" else 2
    overlap = intersection_over_union(named, gold, n_classes=n_classes)
    values = {"pixel_accuracy": float((named == gold).mean())}
    if question == "shapes":
        return values | {
            "IoU": dict(zip(("background", *SHAPES), overlap.tolist(), strict=True)),
            "mean_IoU": float(overlap.mean()),
        }
    real = scenes.shapes >= 0
    shares = np.einsum("bohw,bhw->bo", scenes.masks, named.astype(float))[real]
    shares /= scenes.masks.sum(axis=(2, 3))[real]
    right = (shares > 0.5) == scenes.has_twin[real]
    distances = twin_distances(scenes)[real]
    values |= {
        "IoU": float(overlap[1]),
        "object_accuracy": float(right.mean()),
        "twins_found": float(right[scenes.has_twin[real]].mean()),
        "lone_left_out": float(right[~scenes.has_twin[real]].mean()),
        "twins_found_by_distance": {
            f"{low}-{high}": [int(near.sum()), float(right[near].mean())]
            for low, high in ((0, 16), (16, 24), (24, 48))
            for near in [(distances >= low) & (distances < high)]
        },
    }
    if model.attention == "non-local":
        weights = torch.cat([model(part, return_weights=True)[1] for part in images.split(250)])
        values["maps"] = looks(weights.numpy(), scenes)
    return values


def centres(scenes):
    """Return the middle of every object, in pixels."""
    return (scenes.boxes[..., :2] + scenes.boxes[..., 2:]) / 2


def pairs(scenes):
    """Return which objects of a scene share a colour, bool of shape (batch, max_objects, max_objects)."""
    colours = scenes.colours
    same = (colours[:, :, None] == colours[:, None]) & (colours >= 0)[:, None]
    return same & ~np.eye(colours.shape[1], dtype=bool)


def twin_distances(scenes):
    """Return the distance in pixels from each object to its nearest twin, infinite where there is none."""
    places = centres(scenes)
    apart = np.linalg.norm(places[:, :, None] - places[:, None], axis=-1)
    return np.where(pairs(scenes), apart, np.inf).min(axis=2)


def looks(weights, scenes):
    """Return how much the cells of an object that has one twin look at it, and at an object as large."""
    cells = region_cells(scenes.masks, GRID, min_share=0.5)
    cells = cells.reshape(*cells.shape[:2], -1)  # (batch, max_objects, n_cells)
    n_cells = cells.sum(axis=2)
    # Mass that the mean cell of each object lays on each object of its scene, and on each of its cells.
    mass = np.einsum("boc,bcd,bpd->bop", cells / np.maximum(n_cells, 1)[..., None], weights, cells)
    density = mass / np.maximum(n_cells, 1)[:, None]
    twin = pairs(scenes)
    rows = []
    for scene, one in np.argwhere((twin.sum(axis=2) == 1) & (n_cells > 0)):
        (other,) = np.flatnonzero(twin[scene, one])
        control = [
            place
            for place in range(scenes.shapes.shape[1])
            if place not in (one, other)
            and scenes.sizes[scene, place] == scenes.sizes[scene, other]
            and n_cells[scene, place]
        ]
        if control and n_cells[scene, other]:
            chosen = [one, other]
            on = [density[scene, one, place] for place in chosen]
            on.append(np.mean([density[scene, one, place] for place in control]))
            masses = [mass[scene, one, place] for place in chosen]
            rows.append((*on, *masses, np.mean([mass[scene, one, place] for place in control])))
    table = np.array(rows)
    names = ("own_cell", "twin_cell", "other_cell", "own", "twin", "other")
    return dict(zip(names, table.mean(axis=0).tolist(), strict=True)) | {
        "objects": len(table),
        "uniform_cell": 1 / weights.shape[-1],
        "twin_above_other": float((table[:, 1] > table[:, 2]).mean()),
    }


def describe(scenes):
    """Return what answers without looking would score."""
    real = scenes.shapes >= 0
    return {
        "objects": int(real.sum()),
        "objects_with_twin": float(scenes.has_twin[real].mean()),
        "twin_pixels": float(scenes.twin_map.mean()),
        "object_pixels": float((scenes.shape_map > 0).mean()),
        # Every object marked: the IoU of the twins' pixels.
        "IoU_if_all_marked": float(scenes.twin_map.sum() / (scenes.shape_map > 0).sum()),
    }


if __name__ == "__main__":
    run_and_store(__file__, run_seed, seeds=(0, 1, 2))
