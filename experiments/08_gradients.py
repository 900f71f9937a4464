"""Chapter 8: which gradient reaches each layer of a deep stack before the first step.

Residual path and norm on and off, and four of these stacks with scaled weights; five depths. One thread, a
few seconds a seed.
"""

import numpy as np
import torch
from _store import run_and_store
from _transformer import (
    NEITHER,
    SCALED,
    STRINGS,
    STRINGS_IN_BATCH,
    Stack,
    answer_loss,
    strings,
)

from attncourse.training import set_seed
from attncourse.transformer_parts import WIRINGS
from attncourse.transformer_training import layer_gradient_norms

KINDS = (*WIRINGS, NEITHER, *(wiring + SCALED for wiring in ("pre-norm", "post-norm", "no-norm", NEITHER)))
DEPTHS = (2, 4, 8, 16, 32)
QUICK = {
    "seed": 0,
    "settings": {"kinds": ["neither"], "depths": [16]},
    "key": "neither.16.log10_ratio_of_inputs",
    "tolerance": 0.1,
}


def run_seed(seed, *, kinds=KINDS, depths=DEPTHS):
    """Measure the gradients of fresh stacks on one batch."""
    torch.set_num_threads(1)
    return {wiring: {str(depth): at_start(seed, depth, wiring) for depth in depths} for wiring in kinds}


def at_start(seed, depth, wiring):
    """Return the norm of the gradient of every layer's parameters and of its input, before any step."""
    set_seed(seed)
    model = Stack(depth, wiring).double()  # a gradient may be smaller than float32 can hold
    batch = STRINGS.sample(STRINGS_IN_BATCH, np.random.default_rng(seed))
    tokens, lengths, target = strings(batch)
    states = model.states(tokens, lengths)
    for state in states:
        state.retain_grad()
    answer_loss(model.answer(states[-1]), target).backward()
    of_parameters = np.array([float(norm) for norm in layer_gradient_norms(model.encoder.layers)])
    of_inputs = np.array([state.grad.norm().item() for state in states[:-1]])
    return {
        "parameters": rounded(of_parameters),
        "inputs": rounded(of_inputs),
        "log10_ratio_of_parameters": np.log10(of_parameters[0] / of_parameters[-1]),
        "log10_ratio_of_inputs": np.log10(of_inputs[0] / of_inputs[-1]),
        "own_share_of_last_input": own_share(states[-2].grad, lengths),
        "length": rounded(real_rows(state, lengths).norm(dim=-1).mean() for state in states),
        "likeness": rounded(likeness(state, lengths) for state in states),
    }


def rounded(numbers):
    """Return numbers with the five digits that a picture needs."""
    return [float(f"{float(number):.5g}") for number in numbers]


def real_rows(state, lengths):
    """Return the vectors of the tokens that are there."""
    return state.detach()[torch.arange(state.shape[1]) < lengths[:, None]]


def own_share(gradient, lengths):
    """Return which share of a gradient is left without its mean over the tokens of each string."""
    real = (torch.arange(gradient.shape[1]) < lengths[:, None]).unsqueeze(-1)  # (batch, n_tokens, 1)
    mean = (gradient * real).sum(dim=1, keepdim=True) / lengths[:, None, None]
    return (((gradient - mean) * real).norm() / gradient.norm()).item()


def likeness(state, lengths):
    """Return the mean cosine of two different tokens' vectors of the same string."""
    unit = torch.nn.functional.normalize(state.detach(), dim=-1)
    cosine = unit @ unit.mT  # (batch, n_tokens, n_tokens)
    real = torch.arange(state.shape[1]) < lengths[:, None]
    pairs = real[:, :, None] & real[:, None] & ~torch.eye(state.shape[1], dtype=torch.bool)
    return cosine[pairs].mean().item()


if __name__ == "__main__":
    run_and_store(__file__, run_seed, seeds=range(5))
