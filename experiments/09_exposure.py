"""Chapter 9: models that have read true texts alone, and now read their own: what a mistake leads to.

One thread, about two minutes a seed.
"""

from itertools import pairwise

import numpy as np
import torch
from _language import CPU_SECONDS, N_TOKENS, topics, trained, windowed
from _store import run_and_store
from _translate import after_mistake, tensors, write
from _translation import TRANSLATORS, translator

from attncourse.decoding import generate
from attncourse.measures import exact_match, token_accuracy
from attncourse.sampling import sample
from attncourse.text_measures import character_bits

N_TEXTS, N_WRITTEN = 48, 256
EDGES = (0, 8, 16, 32, 64, 128, 256)  # characters behind the prompt
SPECIAL = (0, 1, 2)  # padding, start and end are no characters
QUICK = {
    "seed": 0,
    "settings": {"kinds": ["early"], "language": False},
    "key": "translators.early.forced_token_accuracy",
    "tolerance": 0.1,
}


def run_seed(seed, *, kinds=tuple(TRANSLATORS), language=True):
    """Compare what models write behind true tokens with what they write behind their own."""
    torch.set_num_threads(1)
    values = {"translators": {kind: exposed(kind, seed) for kind in kinds}}
    if language:
        values["language"] = drift(seed)
    return values


def exposed(kind, seed):
    """Return how often one translator is right, by place, forced and free, and behind a first mistake."""
    data, model = translator(kind, seed)
    batch = data.held_out
    source, lengths, target = tensors(batch)
    with torch.no_grad():
        forced = model(source, lengths, target).argmax(dim=-1).numpy()
    free = write(model, batch)
    return {
        "token_accuracy": token_accuracy(free, batch.target).mean(),
        "forced_token_accuracy": token_accuracy(forced, batch.target).mean(),
        # Both are right up to the same first mistake, so these two can only be equal.
        "exact_match": exact_match(free, batch.target).mean(),
        "forced_exact_match": exact_match(np.where(batch.target != 0, forced, 0), batch.target).mean(),
        "by_place": by_place(free, batch),
        "forced_by_place": by_place(forced, batch),
        "after_mistake": after_mistake(free, batch),
        "forced_after_mistake": after_mistake(forced, batch),
        "texts_with_mistake": int((exact_match(free, batch.target) == 0).sum()),
    }


def by_place(written, batch):
    """Return the share of right tokens at every place of the target, and how many targets have it."""
    target = batch.target
    text = np.zeros_like(target)
    width = min(written.shape[1], target.shape[1])
    text[:, :width] = written[:, :width]
    real = np.arange(target.shape[1]) < batch.target_lengths[:, None]
    return [
        [int(here.sum()), (text == target)[here, place].mean()]
        for place, here in enumerate(real.T)
        if here.any()
    ]


def drift(seed):
    """Return what a judge says about characters drawn behind true texts and behind the model's own.

    The judge is the LSTM. "text" are the true characters; "forced" is one character drawn at every place
    behind the true ones before it; "free" is what the model writes on its own from the prompt.
    """
    task = topics(seed)
    model, _ = trained("transformer", seed, cpu_seconds=CPU_SECONDS)
    judge, _ = trained("lstm", seed, cpu_seconds=CPU_SECONDS)
    width = N_TOKENS + N_WRITTEN
    starts = np.linspace(0, len(task.held_out) - width, N_TEXTS).astype(int)
    whole = task.held_out[starts[:, None] + np.arange(width)]
    generator = torch.Generator().manual_seed(seed)

    def choose(logits):
        return sample(logits, generator=generator)

    free = generate(
        windowed(model),
        torch.from_numpy(whole[:, :N_TOKENS]),
        max_tokens=N_WRITTEN,
        choose=choose,
        forbidden_tokens=SPECIAL,
    ).numpy()
    free = np.concatenate([whole[:, :N_TOKENS], free], axis=1)
    bits = {name: {"text": [], "forced": [], "free": []} for name in ("judge", "own")}
    for true, own in zip(whole, free, strict=True):
        windows = torch.from_numpy(
            np.lib.stride_tricks.sliding_window_view(true[:-1], N_TOKENS).copy()
        )  # (N_WRITTEN, N_TOKENS): what stands before every character behind the prompt
        with torch.no_grad():
            drawn = choose(windows_logits(model, windows).index_fill(-1, torch.tensor(SPECIAL), -torch.inf))
            for name, reader in (("judge", judge), ("own", model)):
                log_p = windows_logits(reader, windows).log_softmax(dim=-1).numpy() / -np.log(2)
                places = np.arange(N_WRITTEN)
                bits[name]["text"].append(log_p[places, true[N_TOKENS:]])
                bits[name]["forced"].append(log_p[places, drawn.numpy()])
                bits[name]["free"].append(
                    character_bits(reader, own, n_tokens=N_TOKENS, n_context=N_TOKENS, batch_size=N_WRITTEN)
                )
    return {
        "edges": list(EDGES),
        **{
            name: {
                kind: [np.stack(rows)[:, low:high].mean() for low, high in pairwise(EDGES)]
                for kind, rows in kinds.items()
            }
            for name, kinds in bits.items()
        },
    }


def windows_logits(model, windows):
    """Return the logits of the character behind every window."""
    return model(windows)[:, -1]


if __name__ == "__main__":
    run_and_store(__file__, run_seed, seeds=(0, 1, 2))
