"""Chapter 8: which of its attentions a translator needs, cut off after training or missing from the start.

One thread, about a minute a seed.
"""

from contextlib import contextmanager

import torch
from _store import run_and_store
from _transformer import build, fit, sentences
from _translate import write

from attncourse.measures import exact_match
from attncourse.transformer_training import label_smoothed_loss

STEPS, LEARNING_RATE = 500, 5e-3  # those of the chapter's own translator
PARTS = {  # side of the model, and which of its attentions
    "encoder": ("encoder", "self_attention"),
    "decoder": ("decoder", "self_attention"),
    "cross": ("decoder", "cross_attention"),
}
LEFT_OUT = ("encoder", "decoder")  # without cross-attention a model cannot know what to translate
QUICK = {"seed": 0, "settings": {"left_out": []}, "key": "whole", "tolerance": 0.1}


def run_seed(seed, *, left_out=LEFT_OUT):
    """Train a whole translator and some without a part; return shares of sentences written right."""
    torch.set_num_threads(1)
    data, _ = sentences(seed)
    whole = trained(data, seed)
    return {
        "whole": right(whole, data),
        "cut_after_training": {part: right_without(whole, part, data) for part in PARTS},
        "left_out_in_training": {part: right_trained_without(part, data, seed) for part in left_out},
    }


def trained(data, seed, part=None):
    """Train a translator, without one of its attentions if ``part`` names one."""

    def make():
        model = build("transformer", data)
        if part is not None:
            silence(model, part)
        return model

    return fit(make, data, seed, learning_rate=LEARNING_RATE, steps=STEPS, loss=label_smoothed_loss)[0]


def right_trained_without(part, data, seed):
    """Score a model that never had one of its attentions."""
    return right(trained(data, seed, part), data)


def right_without(model, part, data):
    """Score a trained model whose attention is cut off."""
    with cut(model, part):
        return right(model, data)


@contextmanager
def cut(model, part):
    """Cut an attention off for a while."""
    handles = silence(model, part)
    yield
    for handle in handles:
        handle.remove()


def silence(model, part):
    """Make one of a model's attentions add zeros in every layer; return what undoes it."""
    side, kind = PARTS[part]
    found = [module for name, module in getattr(model, side).named_modules() if name.endswith(kind)]
    return [module.register_forward_hook(lambda _, __, output: torch.zeros_like(output)) for module in found]


def right(model, data):
    """Return the share of held-out sentences that a model writes without a mistake."""
    return float(exact_match(write(model, data.held_out), data.held_out.target).mean())


if __name__ == "__main__":
    run_and_store(__file__, run_seed, seeds=(0, 1, 2))
