"""Chapter 1: how long a string fits through one context vector, for three widths of that vector.

One thread, about 40 seconds a seed.
"""

import numpy as np
import torch
import torch.nn.functional as F
from _store import run_and_store

from attncourse.bottleneck import EncoderDecoder
from attncourse.tasks.copying import CopyTask
from attncourse.tasks.pairs import PADDING
from attncourse.training import set_seed, train

TRAINED = CopyTask(4, 20)
WIDTHS = (32, 64, 128)
CPU_SECONDS = 12.0
STRINGS_PER_LENGTH = 200
HELD_OUT_SEED = 1_000_000  # far from the seeds of the training data
QUICK = {
    "seed": 0,
    "settings": {"widths": [64]},
    "key": "64.mean_token_accuracy",
    "tolerance": 0.1,
}


def run_seed(seed, *, widths=WIDTHS):
    """Train one encoder–decoder per width and score it on every trained length."""
    torch.set_num_threads(1)
    return {str(width): train_one(seed, width) for width in widths}


def train_one(seed, width):
    """Train one model; return the scores by length."""
    rng = np.random.default_rng(seed)
    set_seed(seed)
    model = EncoderDecoder(TRAINED.vocab_size, TRAINED.vocab_size, d_hidden=width)
    history = train(
        model, lambda: TRAINED.sample(64, rng), loss_fn, cpu_seconds=CPU_SECONDS, learning_rate=5e-3
    )

    held_out = np.random.default_rng(HELD_OUT_SEED + seed)
    lengths = range(TRAINED.min_length, TRAINED.max_length + 1)
    scores = [
        score(model, CopyTask(length, length).sample(STRINGS_PER_LENGTH, held_out)) for length in lengths
    ]
    return {
        "lengths": list(lengths),
        "token_accuracy": [tokens for tokens, _ in scores],
        "exact_match": [exact for _, exact in scores],
        "mean_token_accuracy": float(np.mean([tokens for tokens, _ in scores])),
        "mean_exact_match": float(np.mean([exact for _, exact in scores])),
        "steps": history.steps,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }


def loss_fn(model, batch):
    """Return the mean negative log-likelihood of the target tokens, in nats."""
    target = torch.from_numpy(batch.target)
    logits = model(torch.from_numpy(batch.source), torch.from_numpy(batch.lengths), target)
    return F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=PADDING)


def score(model, batch):
    """Return the share of symbols and the share of whole strings that greedy decoding gets right."""
    written = model.greedy_decode(
        torch.from_numpy(batch.source), torch.from_numpy(batch.lengths), max_tokens=batch.target.shape[1]
    )
    right = written == torch.from_numpy(batch.target)  # all strings are full, so there is no padding
    return right[:, :-1].float().mean().item(), right.all(dim=1).float().mean().item()


if __name__ == "__main__":
    run_and_store(__file__, run_seed, seeds=(0, 1, 2))
