"""Chapter 1: how the gradient that reaches a symbol 101 steps back changes while recurrent models train.

One thread, about 20 seconds a seed.
"""

import copy

import numpy as np
import torch
import torch.nn.functional as F
from _store import run_and_store

from attncourse.bottleneck import RecallModel
from attncourse.gradient_flow import gradient_by_distance
from attncourse.recurrent import raise_forget_bias
from attncourse.tasks.recall import RecallTask
from attncourse.training import set_seed, train

TASK = RecallTask(n_pairs=1, gap=100)
STEPS = 300
PROBE_EVERY = 20
# Name: recurrent layer, forget bias of an LSTM that gets another than torch's, learning rate as in 01_recall.
MODELS = {
    "rnn": ("rnn", None, 5e-3),
    "lstm": ("lstm", None, 3e-3),
    "lstm-forget-5": ("lstm", 5.0, 3e-3),
    "gru": ("gru", None, 5e-3),
}
HELD_OUT_SEED = 1_000_000  # far from the seeds of the training data
QUICK = {
    "seed": 0,
    "settings": {"models": ["gru"]},
    "key": "gru.accuracy.15",  # after the last step
    "tolerance": 0.05,
}


def run_seed(seed, *, models=tuple(MODELS)):
    """Train every model and probe it on the way."""
    torch.set_num_threads(1)
    return {name: train_one(seed, *MODELS[name]) for name in models}


def train_one(seed, kind, forget_bias, learning_rate):
    """Train one model; return steps, log10 of the mean gradient norm, and accuracies."""
    rng = np.random.default_rng(seed)
    set_seed(seed)
    model = RecallModel(kind, TASK.vocab_size)
    if forget_bias is not None:
        raise_forget_bias(model.recurrent, forget_bias)
    held_out = as_tensors(TASK.sample(200, np.random.default_rng(HELD_OUT_SEED + seed)))

    gradients, accuracies = [log_gradient(model, held_out)], [accuracy(model, held_out)]

    def probe(model):
        gradients.append(log_gradient(model, held_out))
        accuracies.append(accuracy(model, held_out))
        return accuracies[-1]

    train(
        model,
        lambda: as_tensors(TASK.sample(64, rng)),
        lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]),
        steps=STEPS,
        learning_rate=learning_rate,
        evaluate=probe,
        evaluate_every=PROBE_EVERY,
    )
    return {
        "step": list(range(0, STEPS + 1, PROBE_EVERY)),
        "log10_gradient": gradients,
        "accuracy": accuracies,
    }


def log_gradient(model, batch):
    """Return log10 of the gradient norm that reaches the value's embedding, averaged over sequences."""
    tokens, _, distance = batch
    double = copy.deepcopy(model).double()  # float32 underflows for the simple RNN
    with torch.enable_grad():
        norms = gradient_by_distance(lambda x: double.recurrent(x)[0], double.embedding(tokens))
    at_value = norms.gather(1, distance[:, None])
    return at_value.clamp_min(1e-300).log10().mean().item()


def accuracy(model, batch):
    """Return the share of right answers."""
    tokens, answer, _ = batch
    with torch.no_grad():
        return (model(tokens).argmax(dim=-1) == answer).float().mean().item()


def as_tensors(batch):
    """Return tokens, answers and distances of a batch."""
    return tuple(torch.from_numpy(part) for part in (batch.tokens, batch.answer, batch.distance))


if __name__ == "__main__":
    run_and_store(__file__, run_seed, seeds=(0, 1, 2))
