"""Chapter 6: six ways to know where tokens stand, trained on strings of up to 20 tokens, tested up to 80.

One thread, equal steps for all schemes of a task, and reversal once more with three times the steps for two
schemes that had not finished learning it. About nine CPU minutes a seed.
"""

import numpy as np
import torch
import torch.nn.functional as F
from _store import run_and_store
from torch import nn

from attncourse.self_attention import POSITION_SCHEMES, PositionModel
from attncourse.tasks.lookback import LatestTask, LookbackTask
from attncourse.tasks.pairs import PADDING
from attncourse.tasks.reversal import ReversalTask
from attncourse.training import set_seed, train

LONGEST = 20  # in training
# Name: task, shortest training string, causal mask, clipping distance, steps, learning rate.
# Clipping below LONGEST trains every row of a table of distances; reversal asks for distances up to 19.
TASKS = {
    "reversal": (ReversalTask, 4, False, 19, 1500, 2e-3),
    "reversal, longer": (ReversalTask, 4, False, 19, 4500, 2e-3),
    "lookback": (LookbackTask, 5, True, 8, 1600, 3e-3),
    "latest": (LatestTask, 4, True, 8, 500, 3e-3),
}
ONLY = {"reversal, longer": ("rotary", "relative")}  # tasks that not every scheme is trained on
# Of a test string, in tokens. No training string is longer than LONGEST.
LENGTHS = (5, 10, 15, 20, 25, 30, 40, 60, 80)
HELD_OUT = 200
HELD_OUT_SEED = 1_000_000  # far from the seeds of the training data
QUICK = {
    "seed": 0,
    "settings": {"tasks": ["latest"], "schemes": ["relative"]},
    "key": "latest.relative.accuracy.80",
    "tolerance": 0.03,
}


def run_seed(seed, *, tasks=tuple(TASKS), schemes=POSITION_SCHEMES):
    """Train every scheme on every task and score it on strings of every length."""
    torch.set_num_threads(1)
    return {
        task: {
            scheme: train_one(seed, task, scheme)
            for scheme in schemes
            if scheme in ONLY.get(task, POSITION_SCHEMES)
        }
        for task in tasks
    }


def train_one(seed, task_name, scheme):
    """Train one scheme on one task; return its scores."""
    make_task, shortest, is_causal, max_distance, steps, learning_rate = TASKS[task_name]
    task = make_task(shortest, LONGEST)
    rng = np.random.default_rng(seed)
    set_seed(seed)
    model = PositionModel(
        nn.Embedding(task.vocab_size, 64),
        64,
        task.vocab_size,
        scheme,
        max_tokens=max(LENGTHS),
        max_distance=max_distance,
        is_causal=is_causal,
    )
    history = train(
        model, lambda: as_tensors(task.sample(64, rng)), answer_loss, steps=steps, learning_rate=learning_rate
    )
    model.eval()

    accuracy, weight_on_gold = {}, {}
    for n_tokens in LENGTHS:
        held_out = make_task(n_tokens, n_tokens).sample(HELD_OUT, np.random.default_rng(HELD_OUT_SEED + seed))
        tokens, lengths, target, gold = as_tensors(held_out)
        with torch.no_grad():
            logits, weights = model(tokens, lengths, return_weights=True)
        asked = gold >= 0
        right = (logits.argmax(dim=-1) == target)[asked].float()
        accuracy[str(n_tokens)] = right.mean().item()
        if n_tokens in (LONGEST, 2 * LONGEST):
            on_gold = weights.gather(
                -1, gold.clamp(min=0)[:, None, None, :, None].expand(*weights.shape[:-1], 1)
            )
            # (layers, heads): mean over all positions that ask
            weight_on_gold[n_tokens] = on_gold.squeeze(-1).permute(0, 3, 1, 2)[asked].mean(dim=0)
        if n_tokens == LONGEST:
            away = (gold - torch.arange(n_tokens)).abs()[asked]
            by_distance = {str(int(d)): right[away == d].mean().item() for d in away.unique()}
    # The head is chosen at a trained length, and scored at twice that length.
    n_heads = weight_on_gold[LONGEST].shape[1]
    layer, head = divmod(weight_on_gold[LONGEST].argmax().item(), n_heads)
    return {
        "accuracy": accuracy,
        "accuracy_by_distance": by_distance,
        "weight_on_gold": {str(n): table[layer, head].item() for n, table in weight_on_gold.items()},
        "layer_and_head": [layer, head],
        "cpu_seconds": history.cpu_seconds,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "steps": history.steps,
    }


def as_tensors(batch):
    """Return tokens, lengths, targets and gold positions of a batch."""
    return tuple(torch.from_numpy(part) for part in (batch.tokens, batch.lengths, batch.target, batch.gold))


def answer_loss(model, batch):
    """Return the cross-entropy over the positions that ask something."""
    tokens, lengths, target, _ = batch
    return F.cross_entropy(model(tokens, lengths).flatten(0, 1), target.flatten(), ignore_index=PADDING)


if __name__ == "__main__":
    run_and_store(__file__, run_seed, seeds=(0, 1, 2))
