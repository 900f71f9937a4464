"""Chapter 5: English dates to ISO and to French, character by character, at equal CPU seconds.

One thread, about two and a half minutes a seed.
"""

import numpy as np
import torch
from _store import run_and_store
from _translate import Data, fit, scores

from attncourse.tasks.dates import DateTask
from attncourse.tasks.pairs import encode_pairs

CPU_SECONDS = {"iso": 8.0, "fr": 15.0}
KINDS = ("none", "bahdanau", "luong-general", "luong-local-m", "luong-local-p")
# Without attention, 0.01 was better than 0.005 here, too (seed 0).
LEARNING_RATE, PLAIN_LEARNING_RATE = 5e-3, 1e-2
TRAINED, HELD_OUT = 1000, 500
QUICK = {
    "seed": 0,
    "settings": {"targets": ["iso"], "kinds": ["luong-general"]},
    "key": "iso.luong-general.token_accuracy",
    "tolerance": 0.05,
}


def run_seed(seed, *, targets=tuple(CPU_SECONDS), kinds=KINDS):
    """Train every model on every target language and score it on days that no training saw."""
    torch.set_num_threads(1)
    values = {}
    for target in targets:
        data = dates(target, seed)
        values[target] = {}
        for kind in kinds:
            model, history = fit(
                lambda kind=kind, data=data: data.build(kind),
                data,
                seed,
                cpu_seconds=CPU_SECONDS[target],
                learning_rate=PLAIN_LEARNING_RATE if kind == "none" else LEARNING_RATE,
                evaluate_every=50,
            )
            values[target][kind] = scores(model, data.held_out, history)
    return values


def dates(target, seed):
    """Draw the dates of one seed; training and held-out pairs share no day."""
    task = DateTask(to=target, first_year=1000, last_year=9999)
    vocabularies = task.vocabularies()
    trained, held_out = task.split_pairs(TRAINED, HELD_OUT, np.random.default_rng(seed))
    return Data(
        encode_pairs(trained, *vocabularies), encode_pairs(held_out, *vocabularies), *map(len, vocabularies)
    )


if __name__ == "__main__":
    run_and_store(__file__, run_seed, seeds=(0, 1, 2))
