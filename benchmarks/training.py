"""Train models of the chapters on one thread: examples a second, and CPU seconds until they reach a target.

Run by hand on an idle machine: ``python benchmarks/training.py``, about fifteen minutes; or ``make bench``.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from measuring import store
from torch import Tensor, nn
from torch.nn import functional as F

from attncourse.induction import AttentionOnlyModel, predictable_accuracy
from attncourse.measures import exact_match
from attncourse.seq2seq import build_seq2seq, sequence_loss
from attncourse.tasks.grammar import GrammarTask
from attncourse.tasks.pairs import PairBatch, encode_pairs
from attncourse.tasks.repeats import RepeatTask
from attncourse.tasks.requests import DEPARTMENTS, RequestTask
from attncourse.text_classifiers import TextClassifier
from attncourse.text_measures import language_loss
from attncourse.training import set_seed, train
from attncourse.transformer import Transformer

SEEDS, CPU_SECONDS, EVERY, HELD_OUT = (0, 1, 2), 40, 25, 300


@dataclass(frozen=True)
class Training:
    """A model of a chapter, its task, and what counts as learned."""

    name: str
    chapter: int
    target: float
    learning_rate: float
    batch_size: int
    build: Callable[[], nn.Module]
    draw: Callable[[np.random.Generator], Any]
    loss: Callable[[nn.Module, Any], Tensor]
    evaluate: Callable[[nn.Module], float]


@cache
def pairs() -> tuple[PairBatch, PairBatch, list[int]]:
    """Return encoded sentences to train on, held-out ones, and the sizes of both vocabularies."""
    task = GrammarTask(max_words=15)
    vocabularies = task.vocabularies()
    split = task.split_pairs(20_000, HELD_OUT, np.random.default_rng(0))
    return *(encode_pairs(some, *vocabularies) for some in split), [len(one) for one in vocabularies]


def tensors(*arrays: np.ndarray) -> Iterator[Tensor]:
    """Return arrays as tensors."""
    return map(torch.from_numpy, arrays)


def translators() -> Iterator[Training]:
    """Yield chapter 5's translators and chapter 8's, on the same sentences."""
    trained, held_out, sizes = pairs()

    def draw(rng: np.random.Generator) -> PairBatch:
        return trained.sample(64, rng)

    def loss(model: nn.Module, batch: PairBatch) -> Tensor:
        source, lengths, target = tensors(batch.source, batch.lengths, batch.target)
        return sequence_loss(model(source, lengths, target), target)

    def evaluate(model: nn.Module) -> float:
        source, lengths, target = tensors(held_out.source, held_out.lengths, held_out.target)
        written = model.greedy_decode(source, lengths, max_tokens=target.shape[1] + 3)
        return exact_match(written.numpy(), held_out.target).mean()

    for name, chapter, rate, build in (
        ("translator without attention", 5, 1e-2, lambda: build_seq2seq("none", *sizes)),
        ("translator, Bahdanau's attention", 5, 1e-2, lambda: build_seq2seq("bahdanau", *sizes)),
        ("translator, Luong's attention", 5, 1e-2, lambda: build_seq2seq("luong-general", *sizes)),
        ("translator, Transformer of 2 + 2 layers", 8, 5e-3, lambda: Transformer(*sizes)),
    ):
        yield Training(
            name, chapter, 0.9, rate, 64, build, lambda rng: trained.sample(64, rng), loss, evaluate
        )


def sorter() -> Training:
    """Return chapter 17's classifier of requests."""
    task = RequestTask()
    letters = task.sample(12_000, np.random.default_rng(0))
    unseen = task.sample(HELD_OUT, np.random.default_rng(1), held_out=True)

    def read(model: nn.Module, batch: Any) -> Tensor:
        return model(*tensors(batch.tokens, batch.lengths))

    return Training(
        "classifier with attention", 17, 0.95, 2e-2, 32,
        lambda: TextClassifier(len(task.vocabulary), len(DEPARTMENTS), readout="attention", d_hidden=64),
        lambda rng: letters.take(rng.integers(len(letters), size=32)),
        lambda model, batch: F.cross_entropy(read(model, batch), torch.from_numpy(batch.label)),
        lambda model: (read(model, unseen).argmax(dim=1).numpy() == unseen.label).mean(),
    )  # fmt: skip


def copier() -> Training:
    """Return chapter 16's model of two attention layers that continues repeated texts."""
    task = RepeatTask(n_tokens=32, n_symbols=32, min_period=8, max_period=16)
    texts = task.sample(HELD_OUT, np.random.default_rng(1000))
    return Training(
        "two attention layers, repeated texts", 16, 0.95, 5e-3, 32,
        lambda: AttentionOnlyModel(task.vocab_size, n_layers=2, positions="learned", max_tokens=32),
        lambda rng: torch.from_numpy(task.sample(32, rng).tokens),
        lambda model, tokens: language_loss(model(tokens[:, :-1]), tokens),
        lambda model: predictable_accuracy(model(torch.from_numpy(texts.tokens[:, :-1])), texts),
    )  # fmt: skip


def measure(one: Training, cpu_seconds: float) -> dict:
    """Train with every seed, and return speed and seconds to the target (None where it was not reached)."""
    speeds, reached, best = [], [], []
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        set_seed(seed)
        history = train(
            one.build(), lambda rng=rng: one.draw(rng), one.loss, cpu_seconds=cpu_seconds,
            learning_rate=one.learning_rate, evaluate=one.evaluate, evaluate_every=EVERY,
        )  # fmt: skip
        hits = [found.cpu_seconds for found in history.evaluations if found.value >= one.target]
        reached.append(round(hits[0], 1) if hits else None)
        speeds.append(history.steps * one.batch_size / history.cpu_seconds)
        best.append(round(max(found.value for found in history.evaluations), 3))
    row = {"name": one.name, "chapter": one.chapter, "target": one.target, "batch": one.batch_size,
           "examples a second": round(statistics.median(speeds)), "seconds to target": reached,
           "best": best}  # fmt: skip
    print(row, flush=True)
    return row


def main() -> None:
    """Measure and store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, help="shorter trainings; nothing is stored")
    given = parser.parse_args()
    torch.set_num_threads(1)
    start = time.perf_counter()
    rows = [measure(one, given.seconds or CPU_SECONDS) for one in (*translators(), sorter(), copier())]
    if not given.seconds:
        store("training", {"cpu_seconds": CPU_SECONDS, "every": EVERY, "rows": rows},
              time.perf_counter() - start)  # fmt: skip


if __name__ == "__main__":
    main()
