"""Chapter 8: one change at a time in the Transformer, English to French, at equal steps.

One thread, about four minutes a seed.
"""

from functools import partial

import torch
from _store import run_and_store
from _transformer import build, fit, score, score_confidence, score_maps, sentences

from attncourse.transformer_training import label_smoothed_loss

STEPS, LEARNING_RATE = 300, 8e-3  # the rate that was best for "base", see 08_translation; not tuned again
BASE = {"n_heads": 2, "d_ff": 128, "positions": "sinusoidal", "smoothing": 0.0}
# Name: what differs from "base".
RUNS = (
    {"base": {}}
    | {f"heads-{n_heads}": {"n_heads": n_heads} for n_heads in (1, 4, 8)}
    | {f"positions-{name}": {"positions": name} for name in ("none", "learned", "rotary", "alibi")}
    | {f"smoothing-{share:g}": {"smoothing": share} for share in (0.1, 0.3)}
)
QUICK = {
    "seed": 0,
    "settings": {"runs": ["base"]},
    "key": "base.forced_token_accuracy",
    "tolerance": 0.05,
}


def run_seed(seed, *, runs=tuple(RUNS)):
    """Train every variant on the same batches; score it on new sentences and on longer ones than trained."""
    torch.set_num_threads(1)
    data, longer = sentences(seed)
    return {name: run_one(BASE | RUNS[name], data, longer, seed) for name in runs}


def run_one(options, data, longer, seed):
    """Train and score one variant."""
    smoothing = options["smoothing"]
    options = {name: value for name, value in options.items() if name != "smoothing"}
    model, history = fit(
        lambda: build("transformer", data, **options),
        data,
        seed,
        learning_rate=LEARNING_RATE,
        steps=STEPS,
        loss=partial(label_smoothed_loss, smoothing=smoothing),
    )
    return score(model, data.held_out, history) | {
        "cpu_seconds": history.cpu_seconds,
        "diverged_at": history.diverged_at,
        "longer": score(model, longer, history),
        "confidence": score_confidence(model, data.held_out),
        "maps": score_maps(model, data.held_out),
    }


if __name__ == "__main__":
    run_and_store(__file__, run_seed, seeds=(0, 1, 2))
