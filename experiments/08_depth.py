"""Chapter 8: what a stack learns with residual path and norm on and off, and what layer-wise training brings.

One thread, about four minutes a seed.
"""

import numpy as np
import torch
from _store import run_and_store
from _transformer import NEITHER, SCALED, Stack, score_stack, train_stack

from attncourse.training import set_seed
from attncourse.transformer_parts import WIRINGS

KINDS = (*WIRINGS, NEITHER, *(wiring + SCALED for wiring in ("pre-norm", "post-norm", "no-norm")))
DEPTHS = (2, 6)
LEARNING_RATES = {"1e-3": 1e-3, "3e-3": 3e-3}  # every wiring at every depth is trained with each of them
STEPS = 400
# Greedy: layer by layer, each for as many steps as the whole stack has had; what is below stands still.
GREEDY_DEPTH, GREEDY_KINDS, GREEDY_RATE = 6, ("pre-norm", "post-norm", "no-residual", NEITHER), 3e-3
QUICK = {
    "seed": 0,
    "settings": {"kinds": ["pre-norm"], "depths": [2], "greedy_kinds": []},
    "key": "at_once.pre-norm.2.3e-3.accuracy",
    "tolerance": 0.1,
}


def run_seed(seed, *, kinds=KINDS, depths=DEPTHS, greedy_kinds=GREEDY_KINDS):
    """Train all layers at once, and then one after the other."""
    torch.set_num_threads(1)
    return {
        "at_once": {
            wiring: {
                str(depth): {
                    name: trained(seed, depth, wiring, rate) for name, rate in LEARNING_RATES.items()
                }
                for depth in depths
            }
            for wiring in kinds
        },
        "greedy": {wiring: greedy(seed, wiring) for wiring in greedy_kinds},
    }


def trained(seed, depth, wiring, learning_rate):
    """Train all layers at once."""
    set_seed(seed)
    model = Stack(depth, wiring)
    history = train_stack(model, seed, steps=STEPS, learning_rate=learning_rate)
    return score_stack(model, seed) | {
        "last_losses": float(np.mean(history.losses[-20:])),
        "diverged_at": history.diverged_at,
        "cpu_seconds": history.cpu_seconds,
    }


def greedy(seed, wiring):
    """Train the first layer alone, then put the second on top and train that alone, and so on.

    The embedding learns with the first layer, what turns states into answers at every stage.
    """
    set_seed(seed)
    model = Stack(GREEDY_DEPTH, wiring)
    layers, by_depth = list(model.encoder.layers), []
    for above, layer in enumerate(layers, start=1):
        model.encoder.layers = torch.nn.ModuleList(layers[:above])
        train_stack(model, seed + above, steps=STEPS, learning_rate=GREEDY_RATE)
        model.embedding.requires_grad_(False)
        layer.requires_grad_(False)
        by_depth.append(score_stack(model, seed)["accuracy"])
    return {"accuracy": by_depth[-1], "accuracy_by_depth": by_depth}


if __name__ == "__main__":
    run_and_store(__file__, run_seed, seeds=(0, 1, 2))
