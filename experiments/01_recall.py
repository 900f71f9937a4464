"""Chapter 1: which recurrent model recalls how much, and for how long, at equal CPU seconds.

One thread, about four minutes a seed.
"""

import numpy as np
import torch
import torch.nn.functional as F
from _store import run_and_store

from attncourse.bottleneck import RecallModel
from attncourse.recurrent import raise_forget_bias
from attncourse.tasks.recall import RecallTask
from attncourse.training import set_seed, train

# Name: pairs to remember, fillers before the question, CPU seconds of training for every model.
TASKS = {
    "pairs-1": (1, 0, 3.0),
    "pairs-4": (4, 0, 7.0),
    "pairs-16": (16, 0, 9.0),
    "gap-30": (1, 30, 6.0),
    "gap-100": (1, 100, 10.0),
    "gap-200": (1, 200, 12.0),
}
# Name: recurrent layer, forget bias of an LSTM that gets another than torch's, attention readout.
MODELS = {
    "rnn": ("rnn", None, False),
    "lstm": ("lstm", None, False),
    "lstm-forget-5": ("lstm", 5.0, False),
    "gru": ("gru", None, False),
    "gru-attention": ("gru", None, True),
}
# Tried on a gap of 100: 0.001, 0.002, 0.003 and 0.005. Above 0.003 the LSTM became unstable.
LEARNING_RATES = {"rnn": 5e-3, "gru": 5e-3, "lstm": 3e-3}
HELD_OUT = 2000
HELD_OUT_SEED = 1_000_000  # far from the seeds of the training data
QUICK = {
    "seed": 0,
    "settings": {"tasks": ["pairs-16"], "models": ["gru-attention"]},
    "key": "pairs-16.gru-attention.accuracy",
    "tolerance": 0.05,
}


def run_seed(seed, *, tasks=tuple(TASKS), models=tuple(MODELS)):
    """Train every model on every task and score it on held-out sequences."""
    torch.set_num_threads(1)
    return {task: {model: train_one(seed, task, model) for model in models} for task in tasks}


def train_one(seed, task_name, model_name):
    """Train one model on one task; return its scores."""
    n_pairs, gap, cpu_seconds = TASKS[task_name]
    kind, forget_bias, attention = MODELS[model_name]
    task = RecallTask(n_pairs=n_pairs, gap=gap)
    rng = np.random.default_rng(seed)
    set_seed(seed)
    model = RecallModel(kind, task.vocab_size, attention=attention)
    if forget_bias is not None:
        raise_forget_bias(model.recurrent, forget_bias)

    history = train(
        model,
        lambda: as_tensors(task.sample(64, rng)),
        lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]),
        cpu_seconds=cpu_seconds,
        learning_rate=LEARNING_RATES[kind],
    )

    tokens, answer, gold = as_tensors(task.sample(HELD_OUT, np.random.default_rng(HELD_OUT_SEED + seed)))
    with torch.no_grad():
        logits, weights = model(tokens, return_weights=True) if attention else (model(tokens), None)
    right = (logits.argmax(dim=-1) == answer).float()
    scores = {
        "accuracy": right.mean().item(),
        "accuracy_by_pair": [right[gold == 2 * pair + 1].mean().item() for pair in range(n_pairs)],
        "steps": history.steps,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }
    if attention:
        scores["weight_on_gold"] = weights.gather(1, gold[:, None]).mean().item()
        scores["peak_on_gold"] = (weights.argmax(dim=1) == gold).float().mean().item()
    return scores


def as_tensors(batch):
    """Return tokens, answers and gold positions of a batch."""
    return tuple(torch.from_numpy(part) for part in (batch.tokens, batch.answer, batch.gold))


if __name__ == "__main__":
    run_and_store(__file__, run_seed, seeds=(0, 1, 2))
