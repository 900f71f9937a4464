"""Train character models on the help texts, write with them and judge the writing, for chapter 9."""

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from nltk.lm import WittenBellInterpolated
from nltk.lm.smoothing import WittenBell
from nltk.util import everygrams
from torch import Tensor, nn

from attncourse.recurrent_language_model import LSTMLanguageModel
from attncourse.tasks.topics import TopicsTask
from attncourse.text_measures import bits_per_character, language_loss
from attncourse.training import History, set_seed, train
from attncourse.transformer_language_model import TransformerLanguageModel

N_TOKENS = 64  # characters that a model reads at once, in training and afterwards
N_CONTEXT = 32  # characters that it has read at least when it is scored
BATCH_SIZE = 16
CPU_SECONDS = 40.0
# Both tried on seed 0 with 0.005 and 0.01: 1.87 and 1.85 bits with attention (1600 steps), 1.75 and 1.73
# without (5000 and more).
LEARNING_RATES = {"transformer": 1e-2, "lstm": 1e-2}


def build(kind: str, vocab_size: int) -> nn.Module:
    """Return a fresh language model: about 107 000 parameters with attention, 168 000 without."""
    if kind == "lstm":
        return LSTMLanguageModel(vocab_size, d_embedding=64, d_hidden=160)
    return TransformerLanguageModel(vocab_size, d_model=64, n_heads=4, n_layers=2)


@cache
def topics(seed: int) -> TopicsTask:
    """Return the texts of one seed, which decides what is held out."""
    return TopicsTask(np.random.default_rng(seed))


@cache
def trained(
    kind: str,
    seed: int,
    *,
    cpu_seconds: float | None = None,
    steps: int | None = None,
    learning_rate: float | None = None,
) -> tuple[nn.Module, History]:
    """Train one model from scratch, once in a process, and watch its bits on the held-out text."""
    task = topics(seed)
    rng = np.random.default_rng(seed)
    set_seed(seed)
    model = build(kind, len(task.vocabulary))

    def loss_fn(model: nn.Module, tokens: Tensor) -> Tensor:
        return language_loss(model(tokens[:, :-1]), tokens)

    history = train(
        model,
        lambda: torch.from_numpy(task.sample(BATCH_SIZE, N_TOKENS, rng)),
        loss_fn,
        cpu_seconds=cpu_seconds,
        steps=steps,
        learning_rate=LEARNING_RATES[kind] if learning_rate is None else learning_rate,
        evaluate=lambda model: held_out_bits(model, task),
        evaluate_every=400,
    )
    return model.eval(), history


def held_out_bits(model: nn.Module, task: TopicsTask) -> float:
    """Return bits per character of the whole held-out text."""
    return bits_per_character(model, task.held_out, n_tokens=N_TOKENS, n_context=N_CONTEXT)


def windowed(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return a model's next logits from the last tokens alone, as many as it was trained to read."""
    return lambda tokens: model(tokens[:, -N_TOKENS:])[:, -1]


class WittenBellOverAll(WittenBell):
    """Go one step further down than nltk does: below single characters, every character is equally likely.

    nltk ends at the share of each character in the training text, which is zero for one that is new.
    """

    def unigram_score(self, word: str) -> float:
        """Return the probability of a character when nothing before it counts."""
        counts = self.counts.unigrams
        return (counts[word] + len(counts) / len(self.vocab)) / (counts.N() + len(counts))


class NGram:
    """Count runs of characters and interpolate them as Witten and Bell do, through nltk.

    It is told every character that can occur, as the neural models are.
    """

    def __init__(self, task: TopicsTask, order: int) -> None:
        self.characters, self.order = task.vocabulary.tokens, order
        text = [self.characters[token] for token in task.train]
        self.model = WittenBellInterpolated(order)
        self.model.estimator = WittenBellOverAll(self.model.vocab, self.model.counts)
        self.model.fit([everygrams(text, max_len=order)], vocabulary_text=self.characters)

    def bits(self, tokens: np.ndarray, start: int) -> np.ndarray:
        """Return the bits of ``tokens[start:]``, given at most order - 1 characters before each."""
        text = [self.characters[token] for token in tokens]
        return -np.log2(
            [
                self.model.score(text[place], tuple(text[max(0, place - self.order + 1) : place]))
                for place in range(start, len(text))
            ]
        )
