"""Chapter 7: which of eight heads a translation model needs, and how good each head's map is.

One thread, about a minute a seed.
"""

from unittest.mock import patch

import numpy as np
import torch
from _store import run_and_store

from attncourse.attention import masked_softmax
from attncourse.head_importance import ablation_importance, gradient_importance, pruning_curve
from attncourse.measures import alignment_error_rate, exact_match, hard_links
from attncourse.multihead_models import MultiHeadSeq2Seq
from attncourse.reference import entropy
from attncourse.seq2seq import sequence_loss
from attncourse.tasks.grammar import GrammarTask
from attncourse.tasks.pairs import encode_pairs
from attncourse.training import set_seed, train

TASK = GrammarTask()
MODELS = {"1": 1, "8": 8}  # heads
STEPS = 800
N_TRAIN, N_HELD_OUT = 8000, 1000
QUICK = {"seed": 0, "settings": {"models": ["1"]}, "key": "1.exact_match", "tolerance": 0.1}


def run_seed(seed, *, models=tuple(MODELS)):
    """Train one model of each kind on the same pairs; measure translations, maps, importance and pruning."""
    torch.set_num_threads(1)
    pairs, held_out = TASK.split_pairs(N_TRAIN, N_HELD_OUT, np.random.default_rng(seed))
    vocabularies = TASK.vocabularies()
    pairs, held_out = encode_pairs(pairs, *vocabularies), encode_pairs(held_out, *vocabularies)
    halves = np.arange(N_HELD_OUT).reshape(2, -1)
    chosen_on, reported_on = held_out.take(halves[0]), held_out.take(halves[1])
    sizes = [len(vocabulary) for vocabulary in vocabularies]
    return {name: measure(seed, MODELS[name], sizes, pairs, chosen_on, reported_on) for name in models}


def measure(seed, n_heads, sizes, pairs, chosen_on, reported_on):
    """Train one model and return what its heads do on held-out sentences."""
    set_seed(seed)
    model = MultiHeadSeq2Seq(*sizes, n_heads=n_heads)
    rng = np.random.default_rng(seed)
    train(model, lambda: pairs.sample(64, rng), loss_fn, steps=STEPS, learning_rate=5e-3)
    model.eval()

    with torch.no_grad():
        _, weights = model(*tensors(reported_on), return_weights=True)
    weights = weights.numpy()
    order = pruning_curve(error_of(model, chosen_on), n_heads).order
    sentence_losses = losses_of(model, chosen_on)  # gradient and ablation on the same loss and sentences
    gradient = gradient_importance(sentence_losses, n_heads, n_examples=len(chosen_on))
    return {
        "exact_match": exact(model, reported_on),
        "alignment_error_rate": [error_rate(weights[:, head], reported_on) for head in range(n_heads)],
        "mean_map_error_rate": error_rate(weights.mean(axis=1), reported_on),
        "divergence": divergences(weights, reported_on),
        "same_peak": same_peak(weights, reported_on),
        "largest_weight": largest_weight(weights, reported_on),
        "words_by_maps": words_by_maps(model, reported_on, n_heads),
        "gradient": gradient.tolist(),
        "ablation_loss": ablation_importance(
            lambda row: sentence_losses(row.expand(len(chosen_on), -1)).mean(), n_heads
        ).tolist(),
        "ablation": ablation_importance(error_of(model, reported_on), n_heads).tolist(),
        "ablation_exact_match": [
            exact(model, reported_on, gates(n_heads, [head])) for head in range(n_heads)
        ],
        "order": list(order),
        "pruned_token_accuracy": [
            1 - loss for loss in pruning_curve(error_of(model, reported_on), n_heads, order).losses
        ],
        "pruned_by_gradient": [
            1 - loss
            for loss in pruning_curve(
                error_of(model, reported_on), n_heads, gradient.argsort().tolist()
            ).losses
        ],
        "pruned_exact_match": [
            exact(model, reported_on, gates(n_heads, order[:n_off])) for n_off in range(n_heads + 1)
        ],
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }


def tensors(batch):
    """Return source, lengths and target as tensors."""
    return tuple(torch.from_numpy(array) for array in (batch.source, batch.lengths, batch.target))


def loss_fn(model, batch):
    """Return the mean cross-entropy of the target tokens, in nats."""
    source, lengths, target = tensors(batch)
    return sequence_loss(model(source, lengths, target), target)


def gates(n_heads, off):
    """Return gates with some heads off."""
    on = torch.ones(n_heads)
    on[list(off)] = 0.0
    return on


def error_of(model, batch):
    """Return a function from gates to the share of wrong tokens, the true ones before each being given."""
    source, lengths, target = tensors(batch)
    real = torch.arange(target.shape[1]) < torch.from_numpy(batch.target_lengths)[:, None]

    def error(head_gates):
        wrong = model(source, lengths, target, head_gates=head_gates).argmax(dim=-1) != target
        return wrong[real].double().mean()

    return error


def losses_of(model, batch):
    """Return a function from one row of gates for each sentence to the losses of the sentences."""
    source, lengths, target = tensors(batch)

    def losses(head_gates):
        logits = model(source, lengths, target, head_gates=head_gates)
        return torch.stack(
            [sequence_loss(row[None], tokens[None]) for row, tokens in zip(logits, target, strict=True)]
        )

    return losses


@torch.no_grad()
def exact(model, batch, head_gates=None):
    """Return the share of sentences that are written without a mistake."""
    source, lengths, target = tensors(batch)
    written = model.greedy_decode(source, lengths, max_tokens=target.shape[1] + 5, head_gates=head_gates)
    return float(exact_match(written.numpy(), batch.target).mean())


def error_rate(weights, batch):
    """Return the alignment error rate of one map against the gold links."""
    return float(alignment_error_rate(hard_links(weights, batch.target_lengths), batch.gold))


def divergences(weights, batch):
    """Return the Jensen–Shannon divergence of any two heads, mean over target tokens, as a share of ln 2."""
    real = np.arange(batch.target.shape[1]) < batch.target_lengths[:, None]
    rows = [weights[:, head][real] for head in range(weights.shape[1])]
    spread = [entropy(one) for one in rows]
    return [
        [
            float(np.mean(entropy((rows[i] + rows[j]) / 2) - (spread[i] + spread[j]) / 2) / np.log(2))
            for j in range(len(rows))
        ]
        for i in range(len(rows))
    ]


def real_rows(weights, batch):
    """Return the weights of every head for the words that are there, (n_words, n_heads, n_source)."""
    real = np.arange(batch.target.shape[1]) < batch.target_lengths[:, None]
    return weights.transpose(0, 2, 1, 3)[real]


def same_peak(weights, batch):
    """Return the share of words for which two heads have their largest weight on the same source word."""
    peaks = real_rows(weights, batch).argmax(axis=-1)  # (n_words, n_heads)
    return (peaks[:, :, None] == peaks[:, None]).mean(axis=0).tolist()


def largest_weight(weights, batch):
    """Return the largest weight of each head's row, mean over the words."""
    return real_rows(weights, batch).max(axis=-1).mean(axis=0).tolist()


def words_by_maps(model, batch, n_heads):
    """Return the share of right next words when the heads' maps are changed, and nothing else."""
    source, lengths, target = tensors(batch)
    real = torch.arange(target.shape[1]) < torch.from_numpy(batch.target_lengths)[:, None]

    def right(change):
        def changed(scores, mask):
            return change(scores, mask).expand(scores.shape)

        with patch("attncourse.multihead.masked_softmax_", changed), torch.no_grad():
            logits, _ = model(source, lengths, target, return_weights=True)
        return (logits.argmax(dim=-1) == target)[real].double().mean().item()

    def one_map(head):
        return right(lambda scores, mask: masked_softmax(scores, mask)[:, [head]])

    def swapped(places):
        return right(lambda scores, mask: masked_softmax(scores, mask).roll(places, dims=1))

    return {
        "own": right(masked_softmax),
        "mean": right(lambda scores, mask: masked_softmax(scores, mask).mean(dim=1, keepdim=True)),
        "single": [one_map(head) for head in range(n_heads)],
        "swapped": [swapped(places) for places in range(1, n_heads)],
        "uniform": right(lambda scores, mask: masked_softmax(torch.zeros_like(scores), mask)),
    }


if __name__ == "__main__":
    run_and_store(__file__, run_seed, seeds=(0, 1, 2))
