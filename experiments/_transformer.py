"""Stacks of encoder layers, and one training and one scoring of translators, for chapter 8."""

from collections.abc import Callable, Sequence
from importlib import import_module
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from _translate import BATCH_SIZE, Data, alignment_scores, scores, tensors
from torch import Tensor, nn

from attncourse.masks import padding_mask
from attncourse.seq2seq import sequence_loss
from attncourse.tasks.pairs import PADDING, PairBatch
from attncourse.tasks.reversal import AnswerBatch, ReversalTask
from attncourse.token_embedding import TokenEmbedding
from attncourse.training import History, set_seed, train
from attncourse.transformer import Transformer
from attncourse.transformer_stacks import TransformerEncoder

# Chapter 5's own sentences and dates, drawn as there; no import statement can spell the names.
sentences: Callable = import_module("05_equal_steps").sentences
dates: Callable = import_module("05_dates").dates

# --- a stack of layers that says a string backwards (gradients, warm-up)

STRINGS = ReversalTask(min_length=4, max_length=10)
HELD_OUT, HELD_OUT_SEED = 500, 1_000_000  # the seed is far from those of the training strings
STRINGS_IN_BATCH = 32
NEITHER = "neither"  # f(x) alone: no residual path and no norm, which the package does not offer
SCALED = ", scaled"  # behind a wiring: the same with output weights multiplied before the first step


class Stack(nn.Module):
    """Name one symbol at every position with a stack of encoder layers, wired in one of five ways."""

    def __init__(self, n_layers: int, wiring: str, *, d_model: int = 32, n_heads: int = 4) -> None:
        super().__init__()
        wiring, scaled, _ = wiring.partition(SCALED)
        self.embedding = TokenEmbedding(STRINGS.vocab_size, d_model)
        self.encoder = TransformerEncoder(
            d_model, n_heads, n_layers, 4 * d_model, wiring="no-residual" if wiring == NEITHER else wiring
        )
        if wiring == NEITHER:
            self.encoder.norm = nn.Identity()
            for layer in self.encoder.layers:
                layer.self_attention_sublayer.norm = layer.feed_forward_sublayer.norm = nn.Identity()
        self.output_proj = nn.Linear(d_model, STRINGS.vocab_size)
        if scaled:
            scale_outputs(self.encoder.layers, has_residual=wiring not in (NEITHER, "no-residual"))

    def states(self, tokens: Tensor, lengths: Tensor) -> list[Tensor]:
        """Return what goes into the first layer, and what comes out of every layer."""
        mask = padding_mask(lengths, tokens.shape[1]).unsqueeze(1)
        found = [self.embedding(tokens)]
        for layer in self.encoder.layers:
            found.append(layer(found[-1], mask))
        return found

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Return logits (batch, n_tokens, vocab_size)."""
        return self.answer(self.states(tokens, lengths)[-1])

    def answer(self, states: Tensor) -> Tensor:
        """Return the logits of the last layer's states."""
        return self.output_proj(self.encoder.norm(states))


@torch.no_grad()
def scale_outputs(layers: nn.ModuleList, *, has_residual: bool) -> None:
    """Multiply what sublayers put out: make it small beside a residual path, or keep its size without one."""
    for layer in layers:
        if has_residual:  # the sum of all 2 · layers outputs is then about as large as one of them was
            layer.feed_forward.output_proj.weight.div_((2 * len(layers)) ** 0.5)
            layer.self_attention.output_proj.weight.div_((2 * len(layers)) ** 0.5)
        else:  # found by trial: vectors keep their size on the way through attention and ReLU
            layer.feed_forward.output_proj.weight.mul_(1.77)


def strings(batch: AnswerBatch) -> tuple[Tensor, Tensor, Tensor]:
    """Return tokens, lengths and targets of a batch of strings."""
    return tuple(torch.from_numpy(part) for part in (batch.tokens, batch.lengths, batch.target))


def answer_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return the mean cross-entropy over the symbols asked for, in nats."""
    return F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=PADDING)


def train_stack(
    model: Stack, seed: int, *, steps: int, learning_rate: float, warmup_steps: int = 50
) -> History:
    """Train a stack on strings drawn from ``seed``; the same batches for every model."""
    rng = np.random.default_rng(seed)

    def loss_fn(model: Stack, batch: AnswerBatch) -> Tensor:
        tokens, lengths, target = strings(batch)
        return answer_loss(model(tokens, lengths), target)

    return train(
        model,
        lambda: STRINGS.sample(STRINGS_IN_BATCH, rng),
        loss_fn,
        steps=steps,
        learning_rate=learning_rate,
        warmup_steps=warmup_steps,
    )


@torch.no_grad()
def score_stack(model: Stack, seed: int) -> dict[str, float]:
    """Return the share of right symbols and the loss on strings that no training saw."""
    tokens, lengths, target = strings(STRINGS.sample(HELD_OUT, np.random.default_rng(HELD_OUT_SEED + seed)))
    logits = model.eval()(tokens, lengths)
    right = (logits.argmax(dim=-1) == target)[target != PADDING]
    # A stack that has blown up may have a loss that JSON cannot hold.
    loss = torch.nan_to_num(answer_loss(logits, target), nan=1e9, posinf=1e9)
    return {"accuracy": right.double().mean().item(), "loss": loss.item()}


# --- translators


def build(kind: str, data: Data, **options: object) -> nn.Module:
    """Return a fresh Transformer, or a model of chapter 5."""
    if kind != "transformer":
        return data.build(kind)
    return Transformer(data.source_vocab_size, data.target_vocab_size, **options)


def fit(
    make: Callable[[], nn.Module],
    data: Data,
    seed: int,
    *,
    learning_rate: float,
    warmup_steps: int = 50,
    loss: Callable[[Tensor, Tensor], Tensor] = sequence_loss,
    **budget: float,
) -> tuple[nn.Module, History]:
    """Train one model from scratch for a number of steps or of CPU seconds."""
    rng = np.random.default_rng(seed)
    set_seed(seed)
    model = make()

    def loss_fn(model: nn.Module, batch: PairBatch) -> Tensor:
        source, lengths, target = tensors(batch)
        return loss(model(source, lengths, target), target)

    history = train(
        model,
        lambda: data.trained.sample(BATCH_SIZE, rng),
        loss_fn,
        learning_rate=learning_rate,
        warmup_steps=warmup_steps,
        **budget,
    )
    return model.eval(), history


def score(model: nn.Module, batch: PairBatch, history: History) -> dict:
    """Score any translator as chapter 5 does; a Transformer's many maps are scored by ``score_maps``."""
    if not isinstance(model, Transformer):
        return scores(model, batch, history)
    return scores(_WithoutMaps(model), batch, history)


class _WithoutMaps:
    """Show a Transformer as a translator of chapter 5 that has no maps."""

    decoder = SimpleNamespace(has_weights=False)

    def __init__(self, model: Transformer) -> None:
        self.greedy_decode = model.greedy_decode
        self.parameters = model.parameters
        self._model = model

    def __call__(self, source: Tensor, lengths: Tensor, target: Tensor) -> Tensor:
        return self._model(source, lengths, target)


@torch.no_grad()
def score_maps(model: Transformer, batch: PairBatch) -> dict:
    """Score every map of the decoder's cross-attention, and the mean over the heads of each layer."""
    source, lengths, target = tensors(batch)
    _, weights = model(source, lengths, target, return_weights=True)
    cross = weights.cross.numpy()  # (batch, n_layers, n_heads, n_target, n_source)
    layers = range(cross.shape[1])
    return {
        "heads": [[_map(cross[:, layer, head], batch) for head in range(cross.shape[2])] for layer in layers],
        "head_mean": [_map(cross[:, layer].mean(axis=1), batch) for layer in layers],
        "mean_of_all": _map(cross.mean(axis=(1, 2)), batch),
    }


def _map(weights: np.ndarray, batch: PairBatch) -> dict[str, float]:
    found = alignment_scores(weights, batch, {})
    return {name: found[name] for name in ("error_rate", "mass_on_gold")}


def best_map(maps: dict) -> list[int]:
    """Return layer and head of the map with the lowest error rate."""
    rates = np.array([[head["error_rate"] for head in layer] for layer in maps["heads"]])
    return [int(number) for number in np.unravel_index(rates.argmin(), rates.shape)]


@torch.no_grad()
def score_confidence(model: nn.Module, batch: PairBatch, *, n_bins: int = 10) -> dict:
    """Say how sure a model is of the next token, the true ones before it being given, and how often right."""
    source, lengths, target = tensors(batch)
    logits = model(source, lengths, target)
    real = target != PADDING
    confidence, choice = logits.softmax(dim=-1)[real].double().max(dim=-1)
    right = (choice == target[real]).double()
    bins = (confidence * n_bins).long().clamp(max=n_bins - 1)
    table = [
        [int((bins == one).sum()), confidence[bins == one].mean().item(), right[bins == one].mean().item()]
        for one in range(n_bins)
        if (bins == one).any()
    ]
    return {
        "loss": sequence_loss(logits, target).item(),
        "confidence": confidence.mean().item(),
        "forced_accuracy": right.mean().item(),
        "gap": (confidence.mean() - right.mean()).item(),
        "calibration_error": _weighted_gap(table),
        "bins": table,
    }


def _weighted_gap(table: Sequence[Sequence[float]]) -> float:
    """Return the mean distance of confidence and accuracy over the bins, weighted by their tokens."""
    return sum(count * abs(sure - right) for count, sure, right in table) / sum(row[0] for row in table)
