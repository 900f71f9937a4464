"""Train the translators of chapter 9: English to French, some well trained and one stopped early."""

from functools import cache

import numpy as np
import torch
from _translate import BATCH_SIZE, Data, tensors
from torch import nn

from attncourse.seq2seq import sequence_loss
from attncourse.tasks.grammar import GrammarTask
from attncourse.tasks.pairs import PairBatch, Vocabulary, encode_pairs
from attncourse.training import set_seed, train
from attncourse.transformer import Transformer

MAX_WORDS = 15
TRAINED, HELD_OUT = 20_000, 1000
# Steps and learning rate of every translator. Tried on seed 0 with 500 steps of the Transformer: 0.003 (.885
# of the sentences right) and 0.005 (.910); the recurrent one has the rate of experiments/05_grammar.py.
TRANSLATORS = {
    "transformer": (700, 5e-3),
    "early": (150, 5e-3),
    "luong-general": (300, 5e-3),
}


@cache
def french() -> Vocabulary:
    """Return the vocabulary of the target side."""
    return GrammarTask(max_words=MAX_WORDS).vocabularies()[1]


@cache
def sentences(seed: int) -> Data:
    """Draw the sentences of one seed; training and held-out pairs share none."""
    task = GrammarTask(max_words=MAX_WORDS)
    vocabularies = task.vocabularies()
    trained, held_out = task.split_pairs(TRAINED, HELD_OUT, np.random.default_rng(seed))
    return Data(
        encode_pairs(trained, *vocabularies), encode_pairs(held_out, *vocabularies), *map(len, vocabularies)
    )


@cache
def translator(kind: str, seed: int) -> tuple[Data, nn.Module]:
    """Train one translator from scratch, once in a process."""
    data = sentences(seed)
    steps, learning_rate = TRANSLATORS[kind]
    rng = np.random.default_rng(seed)
    set_seed(seed)
    recurrent = kind.startswith("luong")
    model = data.build(kind) if recurrent else Transformer(data.source_vocab_size, data.target_vocab_size)

    def loss_fn(model: nn.Module, batch: PairBatch) -> torch.Tensor:
        source, lengths, target = tensors(batch)
        return sequence_loss(model(source, lengths, target), target)

    train(
        model, lambda: data.trained.sample(BATCH_SIZE, rng), loss_fn, steps=steps, learning_rate=learning_rate
    )
    return data, model.eval()
