"""Layers for the checkers of chapters 7 and 8, filled with drawn numbers: no bias 0, no gain 1."""

import numpy as np
import torch
from torch import nn

from attncourse.exercises._exercise import normal


def filled(rng: np.random.Generator, kind: type[nn.Module], *sizes: int, **options: object) -> nn.Module:
    """Return ``kind(*sizes, **options)`` with normal weights, so that vectors keep about their size."""
    with torch.random.fork_rng(devices=[]):  # the layer draws a start of its own, which is not used
        layer = kind(*sizes, **options)
    with torch.no_grad():
        for parameter in layer.parameters():
            spread = parameter.shape[-1] ** -0.5 if parameter.ndim > 1 else 0.7
            parameter.copy_(normal(rng, *parameter.shape) * spread)
    return layer
