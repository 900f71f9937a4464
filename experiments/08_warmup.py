"""Chapter 8: pre-norm and post-norm, with no, a short and a long warm-up, at two learning rates.

Six layers; and four layers at one learning rate. One thread, about two minutes a seed.
"""

import numpy as np
import torch
from _store import run_and_store
from _transformer import Stack, score_stack, train_stack

from attncourse.training import set_seed

STEPS = 800
WIRINGS = ("pre-norm", "post-norm")
# 0.001 was tried on seed 100, which nothing here reports: six post-norm layers stall there as well.
LEARNING_RATES = {"3e-3": 3e-3, "1e-2": 1e-2}
# Layers: steps of warm-up, and learning rates; both wirings are trained with all of them.
GRID = {6: ((0, 50, 400), tuple(LEARNING_RATES)), 4: ((0, 400), ("3e-3",))}
QUICK = {
    "seed": 0,
    "settings": {"depths": [4], "warmups": [0], "wirings": ["pre-norm"]},
    "key": "4.pre-norm.0.3e-3.accuracy",
    "tolerance": 0.1,
}


def run_seed(seed, *, depths=tuple(GRID), warmups=(0, 50, 400), wirings=WIRINGS):
    """Train both wirings with every warm-up at every learning rate; same start, same batches."""
    torch.set_num_threads(1)
    return {
        str(depth): {
            wiring: {
                str(warmup): {rate: train_one(seed, depth, wiring, warmup, rate) for rate in GRID[depth][1]}
                for warmup in GRID[depth][0]
                if warmup in warmups
            }
            for wiring in wirings
        }
        for depth in depths
    }


def train_one(seed, depth, wiring, warmup_steps, rate):
    """Train one stack, and keep its losses and the norms of its gradients as means over 40 steps."""
    set_seed(seed)
    model = Stack(depth, wiring)
    history = train_stack(
        model, seed, steps=STEPS, learning_rate=LEARNING_RATES[rate], warmup_steps=warmup_steps
    )
    return score_stack(model, seed) | {
        "losses": by_forty(history.losses),
        "gradient_norms": by_forty(history.gradient_norms),
        "first_gradient_norm": history.gradient_norms[0],
        "diverged_at": history.diverged_at,
        "cpu_seconds": history.cpu_seconds,
    }


def by_forty(numbers):
    """Return means over 40 steps each, with the digits that a picture needs."""
    return [float(f"{np.mean(numbers[first : first + 40]):.4g}") for first in range(0, len(numbers), 40)]


if __name__ == "__main__":
    run_and_store(__file__, run_seed, seeds=(0, 1, 2))
