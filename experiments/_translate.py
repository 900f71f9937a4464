"""Train a translator on pairs and score what it writes and where it looks, for chapter 5."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from attncourse.measures import alignment_error_rate, exact_match, hard_links, mass_on_gold, token_accuracy
from attncourse.seq2seq import build_seq2seq, sequence_loss
from attncourse.tasks.pairs import PairBatch
from attncourse.training import History, set_seed, train

BATCH_SIZE = 64
WATCHED = 200  # held-out pairs on which a run is watched
AFTER = 6  # tokens behind a first mistake that are counted


@dataclass(frozen=True)
class Data:
    """Hold encoded pairs to train on and others that no training ever sees."""

    trained: PairBatch
    held_out: PairBatch
    source_vocab_size: int
    target_vocab_size: int

    def build(self, kind: str, **options: int) -> nn.Module:
        """Return a fresh model that fits these data."""
        return build_seq2seq(kind, self.source_vocab_size, self.target_vocab_size, **options)


def tensors(batch: PairBatch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return source, lengths and target of a batch."""
    return tuple(torch.from_numpy(part) for part in (batch.source, batch.lengths, batch.target))


def fit(
    build: Callable[[], nn.Module],
    data: Data,
    seed: int,
    *,
    cpu_seconds: float,
    learning_rate: float,
    evaluate_every: int = 100,
) -> tuple[nn.Module, History]:
    """Train one model from scratch, and watch its exact match on held-out pairs."""
    rng = np.random.default_rng(seed)
    set_seed(seed)
    model = build()
    watched = data.held_out.take(np.arange(WATCHED))

    def loss_fn(model: nn.Module, batch: PairBatch) -> torch.Tensor:
        source, lengths, target = tensors(batch)
        return sequence_loss(model(source, lengths, target), target)

    history = train(
        model,
        lambda: data.trained.sample(BATCH_SIZE, rng),
        loss_fn,
        cpu_seconds=cpu_seconds,
        learning_rate=learning_rate,
        evaluate=lambda model: exact_match(write(model, watched), watched.target).mean(),
        evaluate_every=evaluate_every,
    )
    return model.eval(), history


def write(model: nn.Module, batch: PairBatch) -> np.ndarray:
    """Return what the model writes on its own, with room for a few tokens too many."""
    source, lengths, target = tensors(batch)
    return model.greedy_decode(source, lengths, max_tokens=target.shape[1] + 3).numpy()


def scores(
    model: nn.Module, batch: PairBatch, history: History, *, words: dict[str, list[int]] | None = None
) -> dict:
    """Return everything that chapter 5 says about one trained model; ``words`` names groups of tokens."""
    source, lengths, target = tensors(batch)
    written = write(model, batch)
    exact = exact_match(written, batch.target)
    with torch.no_grad():
        forced = model(source, lengths, target).argmax(dim=-1).numpy()
    found = {
        "exact_match": exact.mean(),
        "exact_match_by_length": {
            str(length): [int((batch.lengths == length).sum()), exact[batch.lengths == length].mean()]
            for length in np.unique(batch.lengths)
        },
        "token_accuracy": token_accuracy(written, batch.target).mean(),
        "forced_token_accuracy": token_accuracy(forced, batch.target).mean(),
        "right_after_mistake": after_mistake(written, batch),
        "forced_right_after_mistake": after_mistake(forced, batch),
        "curve": [[one.step, one.cpu_seconds, one.value] for one in history.evaluations],
        "steps": history.steps,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }
    if model.decoder.has_weights:
        with torch.no_grad():
            _, weights = model(source, lengths, target, return_weights=True)
        found["alignment"] = alignment_scores(weights.numpy(), batch, words or {})
    return found


def after_mistake(written: np.ndarray, batch: PairBatch) -> list[float]:
    """Return the share of right tokens 1, 2, … places behind the first wrong one of each text.

    A place behind the end of the target counts as no place; one that was not written counts as wrong.
    """
    target, places = batch.target, np.arange(batch.target.shape[1])
    text = np.zeros_like(target)
    width = min(written.shape[1], target.shape[1])
    text[:, :width] = written[:, :width]
    real = places < batch.target_lengths[:, None]
    wrong = (text != target) & real
    first = np.where(wrong.any(axis=1), wrong.argmax(axis=1), target.shape[1])
    shares = []
    for distance in range(1, AFTER + 1):
        here = (places == first[:, None] + distance) & real
        shares.append(1 - wrong[here].mean() if here.any() else 1.0)
    return shares


def alignment_scores(weights: np.ndarray, batch: PairBatch, words: dict[str, list[int]]) -> dict:
    """Return how well a map agrees with the gold links, as it is and moved by one token, and where not."""
    links = hard_links(weights, batch.target_lengths)
    linked = batch.gold.any(axis=-1)  # (batch, n_target)
    missed = linked & ~(links & batch.gold).any(axis=-1)
    ahead = missed & (links & moved(batch.gold, -1, 0)).any(axis=-1)
    groups = {name: linked & np.isin(batch.target, tokens) for name, tokens in words.items()}
    return {
        "error_rate": alignment_error_rate(links, batch.sure, possible=batch.gold),
        "mass_on_gold": mass_on_gold(weights, batch.gold),
        "error_rate_moved": {
            name: alignment_error_rate(moved(links, rows, columns), batch.sure, possible=batch.gold)
            for name, (rows, columns) in MOVES.items()
        },
        "missed": missed.sum() / linked.sum(),
        "missed_looking_ahead": ahead.sum() / max(missed.sum(), 1),
        "missed_by_group": {name: missed[group].mean() for name, group in groups.items()},
        "group_among_missed": {
            name: (missed & group).sum() / max(missed.sum(), 1) for name, group in groups.items()
        },
    }


# How a map is moved before it is compared again: target rows down, source columns to the right.
MOVES = {"target-1": (-1, 0), "target+1": (1, 0), "source-1": (0, -1), "source+1": (0, 1)}


def moved(grid: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Return a copy of grids (batch, n_target, n_source) moved down and to the right, filled with zeros."""
    result = np.zeros_like(grid)
    n_target, n_source = grid.shape[1:]
    result[:, max(rows, 0) : n_target + min(rows, 0), max(columns, 0) : n_source + min(columns, 0)] = grid[
        :, max(-rows, 0) : n_target + min(-rows, 0), max(-columns, 0) : n_source + min(-columns, 0)
    ]
    return result
