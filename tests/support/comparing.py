"""What tests of modules share: weights that cannot hide, and comparisons of values and gradients."""

import torch
from torch import Tensor, nn

from tests.support.tolerances import FLOAT64


def normal(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return normal numbers from a seed of their own."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def randomise(module: nn.Module, *, seed: int = 0, dtype: torch.dtype = torch.float64) -> nn.Module:
    """Give a module random parameters, all different, so that no bias, scale or shift can hide.

    Matrices keep the size of vectors, about: a deep stack of parts still has numbers near 1.
    """
    module.to(dtype)
    with torch.no_grad():
        for index, parameter in enumerate(module.parameters()):
            scale = parameter.shape[-1] ** -0.5 if parameter.ndim > 1 else 0.5
            parameter.copy_(scale * normal(*parameter.shape, seed=1000 * (seed + 1) + index))
    return module


def assert_same_values_and_gradients(ours, theirs, pairs, tolerance=FLOAT64):
    """Compare two outputs, and what any upstream gradient makes of pairs (our leaf, their leaf)."""
    torch.testing.assert_close(ours, theirs, **tolerance)
    upstream = normal(*ours.shape, seed=3, dtype=ours.dtype)
    mine, others = zip(*pairs, strict=True)
    mine = torch.autograd.grad(ours, mine, upstream, retain_graph=True)
    others = torch.autograd.grad(theirs, others, upstream, retain_graph=True)
    for one, other in zip(mine, others, strict=True):
        assert one.isfinite().all()
        torch.testing.assert_close(one, other, **tolerance)
