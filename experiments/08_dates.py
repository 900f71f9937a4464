"""Chapter 8: the Transformer against chapter 5's attention on dates, character by character.

One thread, about three minutes a seed.
"""

import torch
from _store import run_and_store
from _transformer import build, dates, fit, score, score_maps

MODELS = ("transformer", "luong-general", "bahdanau")
CPU_SECONDS = {"iso": (5.0, 15.0), "fr": (15.0,)}
OPTIONS = {"transformer": {"n_heads": 2, "d_ff": 128}}
# Tried on ISO dates of seed 100, which nothing here reports: for the Transformer 0.002, 0.004, 0.008 at 6 CPU
# seconds (at the package's default size), for the other two 0.005, 0.01 and 0.02 at 4.
LEARNING_RATES = {"transformer": 8e-3, "luong-general": 1e-2, "bahdanau": 2e-2}
QUICK = {
    "seed": 0,
    "settings": {"targets": ["iso"], "models": ["luong-general"], "budgets": ["seconds-15"]},
    "key": "iso.luong-general.seconds-15.token_accuracy",
    "tolerance": 0.05,
}


def run_seed(seed, *, targets=tuple(CPU_SECONDS), models=MODELS, budgets=None):
    """Train every model within every budget on the same dates and score it on days that no training saw."""
    torch.set_num_threads(1)
    values = {}
    for target in targets:
        data = dates(target, seed)
        values[target] = {model: {} for model in models}
        for model in models:
            for name, budget in budgets_of(target).items():
                if budgets is None or name in budgets:
                    values[target][model][name] = run_one(model, budget, data, seed)
    return values


def budgets_of(target):
    """Return name → budget."""
    return {f"seconds-{seconds:g}": {"cpu_seconds": seconds} for seconds in CPU_SECONDS[target]}


def run_one(kind, budget, data, seed):
    """Train and score one model."""
    model, history = fit(
        lambda: build(kind, data, **OPTIONS.get(kind, {})),
        data,
        seed,
        learning_rate=LEARNING_RATES[kind],
        **budget,
    )
    values = score(model, data.held_out, history) | {"cpu_seconds": history.cpu_seconds}
    if kind == "transformer":
        values["maps"] = score_maps(model, data.held_out)
    return values


if __name__ == "__main__":
    run_and_store(__file__, run_seed, seeds=(0, 1, 2))
