"""Chapter 1: seconds of one training step of a recurrent layer and of an attention layer, against length.

All layers have the same number of parameters. A seed is one repetition, about two minutes. Run it on an
otherwise idle machine.
"""

import time

import torch
from _store import run_and_store

from attncourse.bottleneck import RECURRENT_LAYERS, BorrowedAttention
from attncourse.training import set_seed

D_MODEL = 128
LENGTHS = (64, 128, 256, 512, 1024, 2048, 4096)
BATCHES = (1, 8)
THREADS = (1, 2)
ROUNDS = 4
GATES = {"rnn": 1, "gru": 3, "lstm": 4}
LAYERS = ("attention", *GATES)
QUICK = {
    "seed": 0,
    "settings": {"lengths": [2048], "batches": [8], "threads": [1], "layers": ["attention", "lstm"]},
    "key": "batch-8.threads-1.lstm_over_attention.2048",
    "tolerance": 0.25,
}


def run_seed(seed, *, lengths=LENGTHS, batches=BATCHES, threads=THREADS, layers=LAYERS):
    """Time every layer at every setting; return wall-clock seconds, and their ratios."""
    before = torch.get_num_threads()
    values = {"parameters": {name: count_parameters(build(name)) for name in layers}}
    for batch in batches:
        values[f"batch-{batch}"] = by_threads = {}
        for n_threads in threads:
            torch.set_num_threads(n_threads)
            by_threads[f"threads-{n_threads}"] = time_all(seed, lengths, batch, layers)
    torch.set_num_threads(before)
    return values


def time_all(seed, lengths, batch, layers):
    """Time all layers at one batch size; return name → length → seconds."""
    set_seed(seed)
    built = {name: build(name) for name in layers}
    seconds = {name: {} for name in layers}
    for n_tokens in lengths:
        inputs = torch.randn(batch, n_tokens, D_MODEL)
        rounds = {name: [] for name in layers}
        # Layers take turns, so that a slow moment of the machine hits all of them. The first round warms
        # up; of the others the fastest counts, because other programs can only add time.
        for _ in range(1 + ROUNDS):
            for name, layer in built.items():
                rounds[name].append(time_step(layer, inputs))
        for name in layers:
            seconds[name][str(n_tokens)] = min(rounds[name][1:])
    ratios = {
        f"{name}_over_attention": {
            length: seconds[name][length] / seconds["attention"][length] for length in map(str, lengths)
        }
        for name in layers
        if name != "attention"
    }
    return seconds | ratios


def time_step(layer, inputs):
    """Return the seconds of one forward and backward pass."""
    inputs = inputs.clone().requires_grad_()
    start = time.perf_counter()
    output = (
        layer(inputs, inputs, is_causal=True) if isinstance(layer, BorrowedAttention) else layer(inputs)[0]
    )
    output.sum().backward()
    return time.perf_counter() - start


def build(name):
    """Build a layer with the parameters of an attention layer, or a few less."""
    attention = BorrowedAttention(D_MODEL)
    if name == "attention":
        return attention
    budget, d_hidden = count_parameters(attention), 1
    while GATES[name] * (d_hidden + 1) * (D_MODEL + d_hidden + 1 + 2) <= budget:
        d_hidden += 1
    return RECURRENT_LAYERS[name](D_MODEL, d_hidden, batch_first=True)


def count_parameters(layer):
    """Return the number of trained numbers."""
    return sum(parameter.numel() for parameter in layer.parameters())


if __name__ == "__main__":
    run_and_store(__file__, run_seed, seeds=(0, 1, 2))
