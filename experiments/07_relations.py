"""Chapter 7: how many heads four relations need, what each head attends to, and which heads can go.

One thread, about a minute a seed.
"""

import numpy as np
import torch
from _store import run_and_store

from attncourse.head_importance import ablation_importance, gradient_importance, pruning_curve
from attncourse.multihead_models import RelationModel, relation_accuracy, relation_loss
from attncourse.reference import entropy
from attncourse.tasks.relations import RelationTask
from attncourse.training import set_seed, train

TASK = RelationTask(("previous", "next", "first", "twin"))
# Name: heads, key-value heads, features of a hidden layer in the readout.
MODELS = {
    "1": (1, 1, None),
    "2": (2, 2, None),
    "4": (4, 4, None),
    "8": (8, 8, None),
    "1 + hidden layer": (1, 1, 128),
    "2 + hidden layer": (2, 2, 128),
    "8 grouped in 4": (8, 4, None),
    "8 grouped in 2": (8, 2, None),
    "8 grouped in 1": (8, 1, None),
}
STEPS = 1500
HELD_OUT_SEED = 1_000_000  # far from the seeds of the training data
QUICK = {"seed": 0, "settings": {"models": ["4"]}, "key": "4.mean_accuracy", "tolerance": 0.05}


def run_seed(seed, *, models=tuple(MODELS)):
    """Train one model of each kind; measure answers, maps, importance and pruning."""
    torch.set_num_threads(1)
    return {name: measure(seed, *MODELS[name]) for name in models}


def measure(seed, n_heads, n_kv_heads, d_hidden):
    """Train one model and return what its heads do on held-out sequences."""
    set_seed(seed)
    model = RelationModel(
        TASK.vocab_size, TASK.n_relations, n_heads=n_heads, n_kv_heads=n_kv_heads, d_hidden=d_hidden
    )
    rng = np.random.default_rng(seed)
    train(model, lambda: TASK.sample(64, rng), loss_fn, steps=STEPS, learning_rate=1e-2)
    model.eval()

    draw = np.random.default_rng(HELD_OUT_SEED + seed)
    chosen_on, reported_on = TASK.sample(500, draw), TASK.sample(500, draw)
    tokens, answer = torch.from_numpy(reported_on.tokens), torch.from_numpy(reported_on.answer)
    with torch.no_grad():
        logits, weights = model(tokens, return_weights=True)
    accuracy = relation_accuracy(logits, answer)
    order = pruning_curve(error_of(model, chosen_on), n_heads).order
    return {
        "accuracy": accuracy.tolist(),
        "mean_accuracy": accuracy.mean().item(),
        "mass": mass_by_relation(weights.numpy(), reported_on),
        "divergence": divergences(weights.numpy()),
        "gradient": gradient_importance(loss_of(model, chosen_on), n_heads, n_examples=500).tolist(),
        "ablation": ablation_importance(error_of(model, reported_on), n_heads).tolist(),
        "pruned_accuracy": [
            1 - loss for loss in pruning_curve(error_of(model, reported_on), n_heads, order).losses
        ],
        "order": list(order),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }


def loss_fn(model, batch):
    """Return the mean cross-entropy of the answers, in nats."""
    return relation_loss(model(torch.from_numpy(batch.tokens)), torch.from_numpy(batch.answer))


def error_of(model, batch):
    """Return a function from gates to the share of wrong answers, mean over the relations."""

    def error(gates):
        logits = model(torch.from_numpy(batch.tokens), head_gates=gates)
        return 1 - relation_accuracy(logits, torch.from_numpy(batch.answer)).mean()

    return error


def loss_of(model, batch):
    """Return a function from one row of gates for each sequence to the losses of the sequences."""

    def losses(gates):
        logits = model(torch.from_numpy(batch.tokens), head_gates=gates)
        answers = torch.from_numpy(batch.answer)
        return torch.stack(
            [relation_loss(row[None], answer[None]) for row, answer in zip(logits, answers, strict=True)]
        )

    return losses


def mass_by_relation(weights, batch):
    """Return for each head the mean weight on the gold place of each relation."""
    links = [batch.links(relation) for relation in range(TASK.n_relations)]
    return [[float(weights[:, head][gold].mean()) for gold in links] for head in range(weights.shape[1])]


def divergences(weights):
    """Return the Jensen–Shannon divergence of any two heads, mean over the queries, as a share of ln 2."""
    heads = range(weights.shape[1])
    spread = [entropy(weights[:, head]) for head in heads]
    return [
        [
            float(
                np.mean(
                    entropy((weights[:, one] + weights[:, other]) / 2) - (spread[one] + spread[other]) / 2
                )
                / np.log(2)
            )
            for other in heads
        ]
        for one in heads
    ]


if __name__ == "__main__":
    run_and_store(__file__, run_seed, seeds=(0, 1, 2))
