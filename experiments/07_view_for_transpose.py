"""Chapter 7: a layer whose heads are split by one reshape trains, and still cannot translate.

One thread, about a minute a seed.
"""

from contextlib import nullcontext
from unittest.mock import patch

import numpy as np
import torch
from _store import run_and_store

from attncourse.measures import exact_match
from attncourse.multihead_models import MultiHeadSeq2Seq
from attncourse.seq2seq import sequence_loss
from attncourse.tasks.grammar import GrammarTask
from attncourse.tasks.pairs import END, PADDING, START, encode_pairs
from attncourse.training import set_seed, train

TASK = GrammarTask()
N_HEADS = 8
STEPS = 600
N_TRAIN, N_HELD_OUT = 8000, 500
MODELS = ("transpose", "view", "no heads")
QUICK = {
    "seed": 0,
    "settings": {"models": ["transpose"]},
    "key": "transpose.token_accuracy",
    "tolerance": 0.05,
}


def run_seed(seed, *, models=MODELS):
    """Train the same model with a right and a wrong split of the heads, and with all heads off."""
    torch.set_num_threads(1)
    pairs, held_out = TASK.split_pairs(N_TRAIN, N_HELD_OUT, np.random.default_rng(seed))
    vocabularies = TASK.vocabularies()
    pairs, held_out = encode_pairs(pairs, *vocabularies), encode_pairs(held_out, *vocabularies)
    sizes = [len(vocabulary) for vocabulary in vocabularies]
    return {name: measure(seed, name, sizes, pairs, held_out) for name in models}


def measure(seed, name, sizes, pairs, held_out):
    """Train one model; return how it predicts the next token, and what it writes."""
    wrong = patch.multiple("attncourse.multihead", split_heads=view_heads, merge_heads=view_back)
    with wrong if name == "view" else nullcontext():
        set_seed(seed)
        model = MultiHeadSeq2Seq(*sizes, n_heads=N_HEADS)
        rng = np.random.default_rng(seed)
        gates = torch.zeros(N_HEADS) if name == "no heads" else None
        history = train(
            model,
            lambda: pairs.sample(64, rng),
            lambda model, batch: loss_fn(model, batch, gates),
            steps=STEPS,
            learning_rate=5e-3,
        )
        model.eval()
        source, lengths, target = tensors(held_out)
        with torch.no_grad():
            right = model(source, lengths, target, head_gates=gates).argmax(dim=-1) == target
            written = model.greedy_decode(source, lengths, max_tokens=target.shape[1] + 5, head_gates=gates)
            one_by_one = one_query(model, source, lengths, target, gates) == target
            wider = torch.nn.functional.pad(source, (0, 3), value=PADDING)
            padded = model(wider, lengths, target, head_gates=gates).argmax(dim=-1) == target
            rewritten = full_length(model, source, lengths, target, gates)
        real = torch.arange(target.shape[1]) < torch.from_numpy(held_out.target_lengths)[:, None]
        return {
            "first_loss": float(np.mean(history.losses[:10])),
            "last_loss": float(np.mean(history.losses[-10:])),
            "token_accuracy": right[real].double().mean().item(),
            "one_query_token_accuracy": one_by_one[real].double().mean().item(),
            "padded_token_accuracy": padded[real].double().mean().item(),
            "exact_match": float(exact_match(written.numpy(), held_out.target).mean()),
            "full_length_exact_match": float(exact_match(rewritten.numpy(), held_out.target).mean()),
        }


def one_query(model, source, lengths, target, gates):
    """Return the likeliest next words, given the true ones before, with one query at a time."""
    memory = model.encoder(source, lengths)
    state = model.decoder.start(memory)
    previous = torch.cat([torch.full_like(target[:, :1], START), target[:, :-1]], dim=1)
    likeliest = []
    for place in range(target.shape[1]):
        logits, _, state = model.decoder(
            previous[:, [place]], memory, state, head_gates=gates, return_weights=False
        )
        likeliest.append(logits.argmax(dim=-1))
    return torch.cat(likeliest, dim=1)  # (batch, n_target)


def full_length(model, source, lengths, target, gates):
    """Write greedily, but run the decoder over all places of the target at every step, as in training."""
    written = torch.full_like(target, PADDING)
    ended = torch.zeros(len(target), dtype=torch.bool)
    for place in range(target.shape[1]):
        logits = model(source, lengths, written, head_gates=gates)[:, place, END:]
        written[:, place] = (logits.argmax(dim=-1) + END).masked_fill(ended, PADDING)
        ended = ended | (written[:, place] == END)
    return written


def view_heads(x, n_heads):
    """Split heads the wrong way, by one reshape."""
    return x.reshape(len(x), n_heads, x.shape[1], -1)  # (batch, n_heads, tokens, d_head)


def view_back(x):
    """Merge heads by the same shortcut."""
    return x.reshape(len(x), x.shape[2], -1)  # (batch, tokens, d_model)


def tensors(batch):
    """Return source, lengths and target as tensors."""
    return tuple(torch.from_numpy(array) for array in (batch.source, batch.lengths, batch.target))


def loss_fn(model, batch, gates):
    """Return the mean cross-entropy of the target tokens, in nats."""
    source, lengths, target = tensors(batch)
    return sequence_loss(model(source, lengths, target, head_gates=gates), target)


if __name__ == "__main__":
    run_and_store(__file__, run_seed, seeds=(0, 1, 2))
