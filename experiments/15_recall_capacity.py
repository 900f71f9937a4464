"""Chapter 15: recall of ever more pairs, from memories that grow with the text and from some that do not.

Keys and values are shown in turns, then one key is asked for. All readers share one front end, which joins
each token with the one before it, so that the place of a value also knows its key; they differ in how the
last place reads the others. Linear attention is also given four times the seconds where it lags most. One
thread; a seed takes about eight minutes.
"""

import numpy as np
import torch
from _store import run_and_store
from torch import nn

from attncourse.attention import scaled_dot_product_attention
from attncourse.linear_attention import linear_attention
from attncourse.masks import window_mask
from attncourse.tasks.recall import RecallTask
from attncourse.training import set_seed, train

PAIRS = (2, 4, 8, 16, 32, 64)
MODELS = ("softmax", "linear-16", "linear-64", "window", "gru")
N_KEYS, N_VALUES = 128, 32
D_MODEL = 64
D_HEAD = {"softmax": 16, "linear-16": 16, "linear-64": 64, "window": 16}
WINDOW = 33  # the question's own place and the 16 pairs before it
D_HIDDEN = 60  # of the GRU, which thereby has the most parameters of all
CPU_SECONDS = 10.0
LONGER_MODELS, LONGER_PAIRS, LONGER_SECONDS = ("linear-16", "linear-64"), (32, 64), 40.0
BATCH_SIZE = 64
# Tried on other sequences with seed 0 and 10 s. Linear-16 on 16 pairs, 0.003, 0.01, 0.03, 0.1: 0.55, 0.77,
# 0.81, 0.26 right; linear-64 on 16 pairs, 0.001, 0.003, 0.01, 0.03: 0.12, 0.17, 0.88, 0.90; gru on 8 pairs,
# 0.003, 0.01, 0.03: 0.18, 0.18, 0.14. The softmax was right throughout with its first rate.
LEARNING_RATES = {"softmax": 1e-2, "linear-16": 3e-2, "linear-64": 3e-2, "window": 1e-2, "gru": 1e-2}
N_TEST = 2000
SHORT, SHORT_PAIRS = 300, 4  # steps and pairs of a run short enough to be made again in a test
QUICK = {
    "seed": 0,
    "settings": {"models": ["softmax"], "only_short": True},
    "key": "softmax.short.accuracy",
    "tolerance": 0.1,
}


class RecallReader(nn.Module):
    """Read a sequence of pairs and answer the question at its end."""

    def __init__(self, kind, vocab_size):
        super().__init__()
        self.kind = kind
        self.embedding = nn.Embedding(vocab_size, D_MODEL)
        self.join_proj = nn.Linear(2 * D_MODEL, D_MODEL)
        if kind == "gru":
            self.gru = nn.GRU(D_MODEL, D_HIDDEN, batch_first=True)
        else:
            self.query_proj = nn.Linear(D_MODEL, D_HEAD[kind], bias=False)
            self.key_proj = nn.Linear(D_MODEL, D_HEAD[kind], bias=False)
            self.value_proj = nn.Linear(D_MODEL, D_MODEL, bias=False)
        self.output_proj = nn.Linear(D_HIDDEN if kind == "gru" else D_MODEL, vocab_size)

    def forward(self, tokens):
        """Return logits for the answer, shape (batch, vocab_size)."""
        embedded = self.embedding(tokens)
        before = nn.functional.pad(embedded, (0, 0, 1, 0))[:, :-1]
        x = torch.tanh(self.join_proj(torch.cat([embedded, before], dim=-1)))  # (batch, n_tokens, d_model)
        return self.output_proj(self._read(x))

    def _read(self, x):
        """Return what the last place knows, shape (batch, d)."""
        if self.kind == "gru":
            return self.gru(x)[1][0]
        # One layer, one question: of all queries only the last one matters, and it may see everything.
        query, key, value = self.query_proj(x[:, -1:]), self.key_proj(x), self.value_proj(x)
        if self.kind.startswith("linear"):
            return linear_attention(query, key, value)[:, 0]
        mask = window_mask(1, x.shape[1], WINDOW) if self.kind == "window" else None
        return scaled_dot_product_attention(query, key, value, mask)[:, 0]

    def n_kept(self, n_tokens):
        """Return how many numbers must be kept of a text of ``n_tokens`` to answer at its end."""
        if self.kind == "gru":
            return D_HIDDEN
        if self.kind.startswith("linear"):
            return D_HEAD[self.kind] * (D_MODEL + 1)
        seen = min(n_tokens, WINDOW) if self.kind == "window" else n_tokens
        return seen * (D_HEAD[self.kind] + D_MODEL)


def run_seed(seed, *, models=MODELS, pairs=PAIRS, cpu_seconds=CPU_SECONDS, only_short=False):
    """Train every reader afresh for every number of pairs; return accuracies on fresh sequences."""
    torch.set_num_threads(1)
    values = {"chance": 1 / N_VALUES}
    for kind in models:
        values[kind] = {"short": fit(kind, SHORT_PAIRS, seed, steps=SHORT)}
        if not only_short:
            values[kind] |= {str(n): fit(kind, n, seed, cpu_seconds=cpu_seconds) for n in pairs}
        if not only_short and kind in LONGER_MODELS:
            values[kind]["longer"] = fit_longer(kind, seed)
    return values


def fit_longer(kind, seed):
    """Train one reader for longer than the others, on the numbers of pairs where it lags most."""
    return {str(n): fit(kind, n, seed, cpu_seconds=LONGER_SECONDS) for n in LONGER_PAIRS}


def fit(kind, n_pairs, seed, *, learning_rate=None, test_seed=1000, **budget):
    """Train one reader on one number of pairs and test it."""
    task = RecallTask(n_pairs=n_pairs, n_keys=N_KEYS, n_values=N_VALUES)
    rng = np.random.default_rng(seed)
    set_seed(seed)
    model = RecallReader(kind, task.vocab_size)

    def loss_fn(model, batch):
        return nn.functional.cross_entropy(
            model(torch.from_numpy(batch.tokens)), torch.from_numpy(batch.answer)
        )

    history = train(
        model,
        lambda: task.sample(BATCH_SIZE, rng),
        loss_fn,
        learning_rate=learning_rate or LEARNING_RATES[kind],
        **budget,
    )
    test = task.sample(N_TEST, np.random.default_rng(seed + test_seed))
    with torch.no_grad():
        given = model.eval()(torch.from_numpy(test.tokens)).argmax(dim=-1).numpy()
    right = given == test.answer
    return {
        "accuracy": right.mean(),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "numbers_kept": model.n_kept(task.n_tokens),
        "steps": history.steps,
        "cpu_seconds": history.cpu_seconds,
    }


if __name__ == "__main__":
    run_and_store(__file__, run_seed, seeds=(0, 1, 2))
