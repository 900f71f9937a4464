"""Chapter 9: bits per character of help texts nobody trained on, with attention, an LSTM and counts.

One thread, about two and a half minutes a seed.
"""

import time

import torch
from _language import CPU_SECONDS, N_CONTEXT, N_TOKENS, NGram, held_out_bits, topics, trained
from _store import run_and_store

from attncourse.text_measures import character_bits

MODELS = ("transformer", "lstm")
ORDERS = (3, 5, 7)
CONTEXTS = (1, 2, 4, 8, 16, 32, 64)
SCORED = 4000  # characters scored once for every length of context
QUICK = {"seed": 0, "settings": {"models": [], "orders": [5]}, "key": "ngram.5.bits", "tolerance": 0.05}


def run_seed(seed, *, models=MODELS, orders=ORDERS):
    """Train the models and count n-grams on the same text; score them on the topics held out."""
    torch.set_num_threads(1)
    task = topics(seed)
    values = {
        "text": {
            "train_characters": len(task.train),
            "held_out_characters": len(task.held_out),
            "vocab_size": len(task.vocabulary),
            "repeated_share": task.repeated_share,
        },
        "ngram": {},
    }
    for kind in models:
        model, history = trained(kind, seed, cpu_seconds=CPU_SECONDS)
        values[kind] = {"equal_seconds": one_run(model, history, task)}
        values[kind]["bits_by_context"] = {str(n): bits_with(model, task, n) for n in CONTEXTS}
    if "transformer" in models and "lstm" in models:
        # What the LSTM has learnt after as many steps as the Transformer took in its seconds.
        steps = values["transformer"]["equal_seconds"]["steps"]
        model, history = trained("lstm", seed, steps=steps)
        values["lstm"]["equal_steps"] = one_run(model, history, task)
    for order in orders:
        started = time.process_time()
        ngram = NGram(task, order)
        seconds = time.process_time() - started
        values["ngram"][str(order)] = {
            "bits": ngram.bits(task.held_out, N_CONTEXT).mean(),
            "cpu_seconds": seconds,
        }
    return values


def one_run(model, history, task):
    """Return what one training led to, and its course."""
    return {
        "bits": held_out_bits(model, task),
        "curve": [[one.step, one.cpu_seconds, one.value] for one in history.evaluations],
        "steps": history.steps,
        "cpu_seconds": history.cpu_seconds,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }


def bits_with(model, task, n_context):
    """Return bits per character when exactly so many characters have been read, on the same characters."""
    tokens = task.held_out[N_TOKENS - n_context : N_TOKENS + SCORED]
    return character_bits(model, tokens, n_tokens=n_context, n_context=n_context, batch_size=256).mean()


if __name__ == "__main__":
    run_and_store(__file__, run_seed, seeds=(0, 1, 2))
