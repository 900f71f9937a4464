"""Chapter 17: sentiment with negation: what words alone, recurrence, convolution and attention make of it.

One thread, about two minutes a seed. Every model is trained with each of two learning rates, for the same CPU
seconds, and the better one on reviews that are neither trained on nor reported is measured.
"""

import numpy as np
import torch
from _store import run_and_store
from torch.nn import functional as F

from attncourse.counterfactuals import counterfactual_weights
from attncourse.measures import pointing_accuracy
from attncourse.tasks.reviews import ReviewTask
from attncourse.text_classifiers import TextClassifier
from attncourse.training import set_seed, train

TASK = ReviewTask()
# Name: encoder, readout, sizes that give all about 13,000 parameters.
MODELS = {
    "words, mean": ("embedding", "mean", {"d_embedding": 96, "d_hidden": 56}),
    "words, max": ("embedding", "max", {"d_embedding": 96, "d_hidden": 56}),
    "words, attention": ("embedding", "attention", {"d_embedding": 64, "d_hidden": 64}),
    "convolution, mean": ("convolution", "mean", {"d_hidden": 104}),
    "convolution, max": ("convolution", "max", {"d_hidden": 104}),
    "convolution, attention": ("convolution", "attention", {"d_hidden": 64}),
    "bigru, last": ("bigru", "last", {"d_hidden": 56}),
    "bigru, mean": ("bigru", "mean", {"d_hidden": 56}),
    "bigru, max": ("bigru", "max", {"d_hidden": 56}),
    "bigru, attention": ("bigru", "attention", {"d_hidden": 48}),
}
LEARNING_RATES = (3e-3, 1e-2)
CPU_SECONDS = 5  # for each learning rate
N_TRAIN, N_TEST = 20_000, 1200
HELD_OUT_SEED = 1_000_000  # far from the seeds of the training data
VALIDATION_SEED = 2_000_000
QUICK = {
    "seed": 0,
    "settings": {"models": ["convolution, max"]},
    "key": "convolution, max.accuracy",
    "tolerance": 0.03,
}


def run_seed(seed, *, models=tuple(MODELS)):
    """Train one model of each kind; measure answers and maps on reviews whose word combinations are new."""
    torch.set_num_threads(1)
    return {name: measure(seed, name) for name in models}


def measure(seed, name):
    """Train one model and return how often it is right, and where it looks."""
    tried = [(rate, *trained(seed, name, rate)) for rate in LEARNING_RATES]
    rate, model, history = max(tried, key=lambda run: run[2].evaluations[-1].value)
    draw = np.random.default_rng(HELD_OUT_SEED + seed)
    familiar, fresh = (TASK.sample(N_TEST, draw, split=split) for split in ("train", "held-out"))
    right = is_right(model, fresh)
    found = {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "steps": history.steps,
        "learning_rate": rate,
        "validation": {str(run[0]): run[2].evaluations[-1].value for run in tried},
        "accuracy": right.mean(),
        "accuracy_familiar": is_right(model, familiar).mean(),
        "accuracy_plain": right[~fresh.is_negated].mean(),
        "accuracy_negated": right[fresh.is_negated].mean(),
        "curve": [[step.cpu_seconds, step.value] for step in history.evaluations],
    }
    if model.readout == "attention":
        tokens, lengths = texts(fresh)
        with torch.no_grad():
            weights = model(tokens, lengths, return_weights=True)[1]
        maps = {"own": weights} | {
            kind: counterfactual_weights(weights, lengths, kind) for kind in ("uniform", "other")
        }
        found |= {
            "pointing": {
                kind: pointing_accuracy(rows.numpy(), fresh.evidence) for kind, rows in maps.items()
            },
            "mass": {kind: (rows.numpy() * fresh.evidence).sum(axis=1).mean() for kind, rows in maps.items()},
            # What a peak anywhere would hit; the peak of equal weights is always the first word.
            "chance": (fresh.evidence.sum(axis=1) / fresh.lengths).mean(),
        }
    return {key: float(value) if isinstance(value, np.floating) else value for key, value in found.items()}


def trained(seed, name, learning_rate):
    """Return a model in evaluation mode, and its history."""
    encoder, readout, sizes = MODELS[name]
    pool = TASK.sample(N_TRAIN, np.random.default_rng(seed))
    check = TASK.sample(300, np.random.default_rng(VALIDATION_SEED + seed), split="held-out")
    rng = np.random.default_rng(seed + 500)
    set_seed(seed)
    model = TextClassifier(len(TASK.vocabulary), TASK.n_classes, encoder=encoder, readout=readout, **sizes)
    history = train(
        model,
        lambda: pool.sample(64, rng),
        loss_fn,
        cpu_seconds=CPU_SECONDS,
        learning_rate=learning_rate,
        evaluate=lambda model: is_right(model, check).mean(),
        evaluate_every=100,
    )
    return model.eval(), history


def loss_fn(model, batch):
    """Return the cross-entropy, in nats."""
    return F.cross_entropy(model(*texts(batch)), torch.from_numpy(batch.label))


def texts(batch):
    """Return tokens and lengths as tensors."""
    return torch.from_numpy(batch.tokens), torch.from_numpy(batch.lengths)


def is_right(model, batch):
    """Return for every review whether it is answered rightly."""
    with torch.no_grad():
        return model(*texts(batch)).argmax(dim=-1).numpy() == batch.label


if __name__ == "__main__":
    run_and_store(__file__, run_seed, seeds=(0, 1, 2))
