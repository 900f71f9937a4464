"""Chapter 5: equal steps under one schedule, and a decoder that chooses where to look without the keys.

One thread, about one minute a seed.
"""

import numpy as np
import torch
from _store import run_and_store
from _translate import BATCH_SIZE, Data, scores, tensors
from torch import nn

from attncourse.seq2seq import sequence_loss
from attncourse.tasks.grammar import GrammarTask
from attncourse.tasks.pairs import encode_pairs
from attncourse.training import set_seed, train

# Name: (kind, steps, peak learning rate). 300 steps at 0.01 is what the chapter runs live; 900 steps at 0.005
# is about what 15 CPU seconds give Luong's decoder in 05_grammar. The decoder that ignores its keys was not
# tuned.
RUNS = {
    "none": ("none", 300, 1e-2),
    "bahdanau": ("bahdanau", 300, 1e-2),
    "luong-general": ("luong-general", 300, 1e-2),
    "keys-ignored": ("keys-ignored", 300, 1e-2),
    "luong-general-900": ("luong-general", 900, 5e-3),
    "keys-ignored-900": ("keys-ignored", 900, 5e-3),
}
MAX_WORDS, LONGER = 15, 20
TRAINED, HELD_OUT = 20_000, 1000
QUICK = {
    "seed": 0,
    "settings": {"runs": ["luong-general"]},
    "key": "luong-general.forced_token_accuracy",
    "tolerance": 0.05,
}


class PlaceScore(nn.Module):
    """Score places from the query alone; the keys only say how many places there are."""

    def __init__(self, d_query, n_places):
        super().__init__()
        self.to_places = nn.Linear(d_query, n_places)

    def forward(self, query, key):
        """Return scores of shape (batch, n_queries, n_keys)."""
        return self.to_places(query)[..., : key.shape[1]]


def run_seed(seed, *, runs=tuple(RUNS)):
    """Train every model on the same batches; score it on new sentences, and on longer ones than trained."""
    torch.set_num_threads(1)
    data, longer = sentences(seed)
    values = {}
    for name in runs:
        kind, steps, learning_rate = RUNS[name]
        rng = np.random.default_rng(seed)
        set_seed(seed)
        model = build(kind, data)
        history = train(
            model,
            lambda rng=rng: data.trained.sample(BATCH_SIZE, rng),
            loss_of,
            steps=steps,
            learning_rate=learning_rate,
        )
        model.eval()
        values[name] = scores(model, data.held_out, history)
        values[name]["longer"] = scores(model, longer, history)
    return values


def loss_of(model, batch):
    """Return the loss of one batch."""
    source, lengths, target = tensors(batch)
    return sequence_loss(model(source, lengths, target), target)


def build(kind, data):
    """Return a fresh model; the score that ignores its keys stands in Luong's decoder."""
    if kind != "keys-ignored":
        return data.build(kind)
    model = data.build("luong-general")
    d_hidden = model.decoder.gru.hidden_size
    model.decoder.score = PlaceScore(d_hidden, n_places=2 * LONGER)
    return model


def sentences(seed):
    """Draw the sentences of one seed, and 500 of 16 to 20 words."""
    task = GrammarTask(max_words=MAX_WORDS)
    vocabularies = task.vocabularies()
    rng = np.random.default_rng(seed)
    trained, held_out = task.split_pairs(TRAINED, HELD_OUT, rng)
    drawn = GrammarTask(max_words=LONGER).sample_pairs(3000, np.random.default_rng(seed + 100))
    longer = [pair for pair in drawn if len(pair.source) > MAX_WORDS][:500]
    data = Data(
        encode_pairs(trained, *vocabularies), encode_pairs(held_out, *vocabularies), *map(len, vocabularies)
    )
    return data, encode_pairs(longer, *vocabularies)


if __name__ == "__main__":
    run_and_store(__file__, run_seed, seeds=(0, 1, 2))
