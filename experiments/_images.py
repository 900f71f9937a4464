"""One training and its bill, for the pictures of chapter 11; canvases with a digit among clutter."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from attncourse.tasks.digits import ClutteredBatch, ClutteredDigits, DigitsSplit
from attncourse.training import History, set_seed, train

SETTLE_CHUNK = 128  # images over which one mean and variance is taken


def fit(
    build: Callable[[], nn.Module],
    next_batch: Callable[[], Any],
    loss_fn: Callable[[nn.Module, Any], Tensor],
    seed: int,
    *,
    learning_rate: float,
    cpu_seconds: float | None = None,
    steps: int | None = None,
    evaluate: Callable[[nn.Module], float] | None = None,
    evaluate_every: int | None = None,
) -> tuple[nn.Module, History]:
    """Train one model from scratch, seeded, for so many CPU seconds or so many steps."""
    set_seed(seed)
    model = build()
    history = train(
        model,
        next_batch,
        loss_fn,
        cpu_seconds=cpu_seconds,
        steps=steps,
        learning_rate=learning_rate,
        evaluate=evaluate,
        evaluate_every=evaluate_every,
    )
    return model.eval(), history


def bill(model: nn.Module, history: History, learning_rate: float) -> dict[str, Any]:
    """Return what a training has cost, and its learning curve as [step, CPU seconds, value]."""
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "steps": history.steps,
        "cpu_seconds": round(history.cpu_seconds, 2),
        "learning_rate": learning_rate,
        "curve": [[one.step, round(one.cpu_seconds, 2), round(one.value, 4)] for one in history.evaluations],
    }


@torch.no_grad()
def settle(network: nn.Module, images: Tensor) -> None:
    """Take the means and variances of all batch normalisations anew, over these images.

    The running ones are averages over the last steps of the training, in which the weights have moved on.
    """
    was_training = network.training
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all chunks
    network.train()
    for chunk in images.split(SETTLE_CHUNK):
        network(chunk)
    network.train(was_training)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


# --- a digit among clutter

CANVAS, N_CLASSES = 32, 10
CPU_SECONDS, BATCH_SIZE = 25.0, 64
CHECKED, CHUNK = 2000, 500  # canvases of a test, and those that a model reads at once
WATCH_EVERY = 100  # steps
SETTLED = 1280  # training canvases over which normalisations are taken anew before a test
TEST_SEED, WATCHED_SEED, CONTROL_SEED = 1_000_000, 2_000_000, 3_000_000  # far from the training canvases
SETTLED_SEED = 4_000_000
# Canvases of digits that no training saw: as in training, with other clutter, and larger at equal density.
TESTS = {
    "as-trained": {},
    "clutter-0": {"n_clutter": 0},
    "clutter-8": {"n_clutter": 8},
    "clutter-12": {"n_clutter": 12},
    "canvas-48": {"canvas_size": 48, "n_clutter": 9},
}


def draw_tests(
    split: DigitsSplit, seed: int, names: Iterable[str] = tuple(TESTS)
) -> dict[str, ClutteredBatch]:
    """Draw the canvases of every test, from digits that no training saw."""
    return {
        name: ClutteredDigits(split.held_out, **TESTS[name]).sample(
            CHECKED, np.random.default_rng(TEST_SEED + seed)
        )
        for name in names
    }


def learn_digits(
    build: Callable[[int], nn.Module],
    loss: Callable[[nn.Module, Tensor, Tensor], Tensor],
    split: DigitsSplit,
    seed: int,
    learning_rate: float,
    *,
    easier: Callable[[ClutteredDigits], ClutteredDigits] = lambda task: task,
    **budget: Any,
) -> tuple[nn.Module, History]:
    """Train one model on fresh canvases, every batch another one; watch it on canvases of held-out digits.

    ``easier`` is asked before every batch, and may return an easier task than the one that is tested.
    """
    rng = np.random.default_rng(seed)
    task = ClutteredDigits(split.train)
    watched = ClutteredDigits(split.held_out).sample(CHUNK, np.random.default_rng(WATCHED_SEED + seed))
    images = torch.from_numpy(watched.images)
    fresh = torch.from_numpy(task.sample(SETTLED, np.random.default_rng(SETTLED_SEED + seed)).images)

    def evaluate(model: nn.Module) -> float:
        if hasattr(model, "trunk"):
            settle(model.trunk, fresh)
        return (model(images).argmax(dim=-1).numpy() == watched.labels).mean()

    def next_batch() -> tuple[Tensor, Tensor]:
        batch = easier(task).sample(BATCH_SIZE, rng)
        return torch.from_numpy(batch.images), torch.from_numpy(batch.labels)

    return fit(
        lambda: build(CANVAS),
        next_batch,
        lambda model, batch: loss(model, *batch),
        seed,
        learning_rate=learning_rate,
        evaluate=evaluate,
        evaluate_every=WATCH_EVERY,
        **budget,
    )


@torch.no_grad()
def answer(
    build: Callable[[int], nn.Module], model: nn.Module, images: np.ndarray
) -> tuple[np.ndarray, list]:
    """Return the classes that a model names, and its maps or traces for every chunk of the images."""
    if images.shape[-1] != CANVAS:
        weights = model.state_dict()
        model = build(images.shape[-1]).eval()
        model.load_state_dict(weights)
    read = [model(chunk, return_weights=True) for chunk in torch.from_numpy(images).split(CHUNK)]
    return torch.cat([logits for logits, _ in read]).argmax(dim=-1).numpy(), [maps for _, maps in read]


def pointing(places: np.ndarray, batch: ClutteredBatch) -> dict[str, float]:
    """Return how often a place (x, y) in pixels lies in the digit's box, and three controls.

    Controls: the place that belongs to another canvas, a place drawn uniformly, and the canvas's middle.
    """
    size = batch.images.shape[-1]
    even = np.random.default_rng(CONTROL_SEED).uniform(0, size, size=places.shape)
    return {
        "accuracy": inside(places, batch.boxes).mean(),
        "shuffled": inside(np.roll(places, 1, axis=0), batch.boxes).mean(),  # the order is random
        "uniform": inside(even, batch.boxes).mean(),
        "middle": inside(np.full_like(places, size / 2), batch.boxes).mean(),
    }


def inside(places: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Say which places (batch, 2) lie in their box (batch, 4)."""
    return ((places >= boxes[:, :2]) & (places < boxes[:, 2:])).all(axis=1)


def by_look(right: np.ndarray, looked: np.ndarray) -> dict[str, Any]:
    """Return the accuracy where the model looked at the digit, and where it did not (None without any)."""
    return {
        "accuracy_where_looked": right[looked].mean() if looked.any() else None,
        "accuracy_where_not": right[~looked].mean() if not looked.all() else None,
    }
