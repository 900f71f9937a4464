"""Chapter 6: find the odd one of a set, with and without positions, when order means nothing.

Twice: with the odd one anywhere in the training sets, and with it always in their first half. The embedded
vectors are normalised, so that they are no smaller than the position vectors added to them; "learned, small"
starts its table fifty times smaller. One thread, equal steps, about three quarters of a minute a seed.
"""

import numpy as np
import torch
import torch.nn.functional as F
from _store import run_and_store
from torch import nn

from attncourse.self_attention import POSITION_SCHEMES, PositionModel
from attncourse.tasks.sets import OddOneOutTask
from attncourse.training import set_seed, train

SMALLEST, LARGEST = 4, 10  # vectors in a training set
ORDERS = ("any place", "first half")  # where the odd one stands in training
SIZES = (4, 6, 8, 10, 12, 16, 24)  # vectors in a test set; there the odd one stands anywhere
MAX_DISTANCE = 5  # below the trained distances, so that every row of a table of distances is trained
SCHEMES = (*POSITION_SCHEMES, "learned, small")
SMALL = 0.02  # standard deviation of the small table at the start
NOISE = 0.3
STEPS = 500
LEARNING_RATE = 2e-3
HELD_OUT = 1000
HELD_OUT_SEED = 1_000_000  # far from the seeds of the training data
QUICK = {
    "seed": 0,
    "settings": {"orders": ["first half"], "schemes": ["none"]},
    "key": "first half.none.accuracy.10",
    "tolerance": 0.05,
}


def run_seed(seed, *, orders=ORDERS, schemes=SCHEMES):
    """Train every scheme under every order and score it on sets of every size."""
    torch.set_num_threads(1)
    return {order: {scheme: train_one(seed, order, scheme) for scheme in schemes} for order in orders}


def train_one(seed, order, scheme):
    """Train one scheme; return its scores."""
    rng = np.random.default_rng(seed)
    set_seed(seed)
    model = PositionModel(
        nn.Sequential(nn.Linear(OddOneOutTask(LARGEST).d_vector, 32), nn.LayerNorm(32)),
        32,
        1,
        scheme.removesuffix(", small"),
        max_tokens=max(SIZES),
        max_distance=MAX_DISTANCE,
    )
    if scheme == "learned, small":
        with torch.no_grad():
            model.learned.table.mul_(SMALL)

    def next_batch():
        n_vectors = int(rng.integers(SMALLEST, LARGEST + 1))
        among_first = n_vectors // 2 if order == "first half" else None
        return as_tensors(OddOneOutTask(n_vectors, noise=NOISE).sample(64, rng, among_first=among_first))

    history = train(
        model,
        next_batch,
        lambda model, batch: F.cross_entropy(model(batch[0]).squeeze(-1), batch[1]),
        steps=STEPS,
        learning_rate=LEARNING_RATE,
    )
    model.eval()

    accuracy, moved = {}, {}
    for n_vectors in SIZES:
        held_out = np.random.default_rng(HELD_OUT_SEED + seed)
        vectors, gold = as_tensors(OddOneOutTask(n_vectors, noise=NOISE).sample(HELD_OUT, held_out))
        with torch.no_grad():
            found = model(vectors).squeeze(-1).argmax(dim=-1)
            backwards = n_vectors - 1 - model(vectors.flip(1)).squeeze(-1).argmax(dim=-1)
        accuracy[str(n_vectors)] = (found == gold).float().mean().item()
        moved[str(n_vectors)] = (found != backwards).float().mean().item()
    return {
        "accuracy": accuracy,
        "answers_moved_by_reordering": moved,
        "cpu_seconds": history.cpu_seconds,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }


def as_tensors(batch):
    """Return vectors and gold indices of a batch."""
    return torch.from_numpy(batch.vectors), torch.from_numpy(batch.gold)


if __name__ == "__main__":
    run_and_store(__file__, run_seed, seeds=(0, 1, 2))
