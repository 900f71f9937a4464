"""Chapter 8: seconds of one training step of whole translators against length, with one thread and with two.

The recurrent models are as wide as the Transformer's number of parameters allows. A seed is one repetition,
half a minute. Run it on an otherwise idle machine.
"""

import time

import numpy as np
import torch
from _store import run_and_store
from _transformer import build
from _translate import Data

from attncourse.seq2seq import sequence_loss
from attncourse.tasks.pairs import END
from attncourse.training import set_seed

VOCAB_SIZE = 100
LENGTHS = (8, 32, 128, 512)
BATCH_SIZE = 16
THREADS = (1, 2)
ROUNDS = 3
MODELS = ("transformer", "luong-general", "bahdanau")
QUICK = {
    "seed": 0,
    "settings": {"lengths": [128], "threads": [1]},
    "key": "threads-1.log2_ratio.bahdanau.128",
    "tolerance": 1.5,
}


def run_seed(seed, *, lengths=LENGTHS, threads=THREADS, models=MODELS):
    """Time every model at every length; return wall-clock seconds, CPU seconds, and ratios."""
    before = torch.get_num_threads()
    set_seed(seed)
    built = build_all(models)
    values = {
        "parameters": {name: count_parameters(model) for name, model in built.items()},
        # Steps that must wait for the one before: layers, or tokens on either side.
        "sequential_steps": {
            name: {str(n): sequential_steps(model, n) for n in lengths} for name, model in built.items()
        },
    }
    for n_threads in threads:
        torch.set_num_threads(n_threads)
        values[f"threads-{n_threads}"] = time_all(seed, built, lengths)
    torch.set_num_threads(before)
    return values


def build_all(names):
    """Build the models, the recurrent ones with the Transformer's number of parameters or a little less."""
    data = Data(None, None, VOCAB_SIZE, VOCAB_SIZE)
    transformer = build("transformer", data)
    budget = count_parameters(transformer)
    built = {}
    for name in names:
        if name == "transformer":
            built[name] = transformer
            continue
        d_hidden = 32
        while count_parameters(recurrent(name, data, d_hidden + 2)) <= budget:
            d_hidden += 2
        built[name] = recurrent(name, data, d_hidden)
    return built


def recurrent(name, data, d_hidden):
    """Build a model of chapter 5 with embeddings half as wide as its states, as there."""
    return data.build(name, d_embedding=d_hidden // 2, d_hidden=d_hidden)


def count_parameters(model):
    """Return the number of trained numbers."""
    return sum(parameter.numel() for parameter in model.parameters())


def sequential_steps(model, n_tokens):
    """Return how many layers (Transformer) or tokens (GRU) of encoder and decoder wait for each other."""
    if hasattr(model.decoder, "layers"):
        return len(model.encoder.layers) + len(model.decoder.layers)
    return 2 * n_tokens


def time_all(seed, built, lengths):
    """Time all models with one number of threads."""
    wall = {name: {} for name in built}
    cpu = {name: {} for name in built}
    for n_tokens in lengths:
        rng = np.random.default_rng(seed)
        source, target = torch.from_numpy(rng.integers(END + 1, VOCAB_SIZE, (2, BATCH_SIZE, n_tokens)))
        lengths_of_all = torch.full((BATCH_SIZE,), n_tokens)
        rounds = {name: [] for name in built}
        # Models take turns, so that a slow moment of the machine hits all of them. The first round warms up;
        # of the others the fastest counts, because other programs can only add time.
        for _ in range(1 + ROUNDS):
            for name, model in built.items():
                rounds[name].append(time_step(model, source, lengths_of_all, target))
        for name in built:
            wall[name][str(n_tokens)] = min(one[0] for one in rounds[name][1:])
            cpu[name][str(n_tokens)] = min(one[1] for one in rounds[name][1:])
    ratios = {
        name: {n: float(np.log2(wall[name][n] / wall["transformer"][n])) for n in wall[name]}
        for name in built
        if name != "transformer" and "transformer" in built
    }
    return {"wall": wall, "cpu": cpu, "log2_ratio": ratios}


def time_step(model, source, lengths, target):
    """Return wall-clock and CPU seconds of one forward and backward pass."""
    model.zero_grad()
    start, cpu_start = time.perf_counter(), time.process_time()
    sequence_loss(model(source, lengths, target), target).backward()
    return time.perf_counter() - start, time.process_time() - cpu_start


if __name__ == "__main__":
    run_and_store(__file__, run_seed, seeds=(0, 1, 2))
