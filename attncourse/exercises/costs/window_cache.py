"""Checker: a cache that holds what a sliding window can still see."""

import torch

from attncourse.exercises._exercise import Exercise, Mistake, Property
from attncourse.masks import window_mask


class _WindowCache:
    """Keep all tokens, and hand out the last ones: slow, and surely right."""

    def __init__(self, window):
        self.window = window
        self.reset()

    def extend(self, key, value):
        self.keys, self.values = [*self.keys, key], [*self.values, value]
        keys, values = torch.cat(self.keys, dim=-2), torch.cat(self.values, dim=-2)
        n_new = key.shape[-2]
        first = max(0, keys.shape[-2] - n_new - (self.window - 1))
        mask = window_mask(keys.shape[-2], keys.shape[-2], self.window)[-n_new:, first:]
        return keys[..., first:, :], values[..., first:, :], mask

    def reset(self):
        self.keys, self.values = [], []


def _run(answer, inputs):
    """Feed texts in chunks, and return what comes back for each."""
    caches, found = [answer(inputs["window"]) for _ in range(inputs["n_caches"])], {}
    generator = torch.Generator().manual_seed(inputs["seed"])
    for text, chunks in enumerate(inputs["texts"], start=1):
        for place, n_new in enumerate(chunks, start=1):
            for number, cache in enumerate(caches, start=1):
                key = torch.randn(2, 3, n_new, 5, generator=generator)
                value = torch.randn(2, 3, n_new, 4, generator=generator)
                keys, values, mask = cache.extend(key, value)
                which = f"chunk {place} of text {text}" + (f", cache {number}" if len(caches) > 1 else "")
                found[f"key, {which},"] = keys
                found[f"value, {which},"] = values
                found[f"mask, {which},"] = mask
        for cache in caches:
            cache.reset()
    return found


def _properties(rng):
    def texts(*chunks, window, n_caches=1):
        return {"window": window, "texts": chunks, "n_caches": n_caches, "seed": int(rng.integers(10**6))}

    return [
        Property("one chunk, shorter than the window", [texts((4,), window=6)], 1),
        Property("token by token", [texts((1,) * 7, window=3), texts((1,) * 4, window=2)], 2),
        Property(
            "chunks of all lengths", [texts((2, 6, 1, 3, 1), window=4), texts((3, 1, 1, 5), window=6)], 2
        ),
        Property("a window of one token", [texts((2, 1, 3), window=1)], 1),
        Property("a second text", [texts((3, 2), (4, 1), window=4)], 1),
        Property("two caches at once", [texts((2, 2), window=3, n_caches=2)], 1),
    ]


def _like(
    *,
    hold=-1,
    masked="window",
    cut_first=False,
    overwrite=False,
    resets=True,
    cuts=True,
    shared=False,
    minus_zero=False,
    hands_out_held=False,
):
    """Write one wrong version: everything but what the keyword says is right."""

    class Cache:
        held = None

        def __init__(self, window):
            self.window = window
            self._keep(None)

        def _keep(self, held):
            if shared:
                Cache.held = held
            else:
                self.held = held

        def extend(self, key, value):
            n_new, n_hold = key.shape[-2], self.window + hold
            arrays = (key, value)
            if self.held is not None and not overwrite:
                arrays = tuple(torch.cat(pair, dim=-2) for pair in zip(self.held, arrays, strict=True))
            if cut_first:
                arrays = tuple(array[..., -self.window :, :] for array in arrays)
            n_keys = arrays[0].shape[-2]
            n_kept = n_keys if not cuts or (minus_zero and n_hold == 0) else min(n_hold, n_keys)
            self._keep(tuple(array[..., n_keys - n_kept :, :] for array in arrays))
            back = torch.arange(n_keys - n_new, n_keys)[:, None] - torch.arange(n_keys)
            if masked == "square":
                back = torch.arange(n_keys)[:, None] - torch.arange(n_keys)
            if masked == "new keys":
                back = torch.arange(n_new)[:, None] - torch.arange(n_new)
            if masked == "top left":
                back = torch.arange(n_new)[:, None] - torch.arange(n_keys)
            mask = (back >= 0) & ((back < self.window) | (masked == "causal")) | (masked == "nothing")
            given = self.held if hands_out_held else arrays
            return *given, ~mask if masked == "inverted" else mask

        def reset(self):
            if resets:
                self._keep(None)

    return Cache


class _WithPositions:
    """Keep a position with each key, and compare positions."""

    def __init__(self, window):
        self.window = window
        self.reset()

    def reset(self):
        self.n_seen, self.key, self.value = 0, None, None

    def extend(self, key, value):
        n_new, n_held = key.shape[-2], min(self.n_seen, self.window - 1)
        if n_held:
            key, value = torch.cat([self.key, key], -2), torch.cat([self.value, value], -2)
        at = torch.arange(self.n_seen - n_held, self.n_seen + n_new)
        mask = (at[n_held:, None] >= at) & (at[n_held:, None] - self.window < at)
        self.n_seen += n_new
        kept = min(self.n_seen, self.window - 1)
        self.key, self.value = key[..., len(at) - kept :, :], value[..., len(at) - kept :, :]
        return key, value, mask


EXERCISE = Exercise(
    reference=_WindowCache,
    run=_run,
    properties=_properties,
    mistakes=[
        Mistake(
            "one key too many",
            "As many keys are held as the window is long. The next token sees itself too, so the oldest of "
            "them can never be seen again.",
            _like(hold=0),
        ),
        Mistake(
            "one key too few",
            "Too few keys are held: the next token can still see one that is gone.",
            _like(hold=-2),
        ),
        Mistake(
            "cut before use",
            "Held and new keys are cut to the length of the window before they are handed out. The first "
            "tokens of a chunk then miss keys that they may see.",
            _like(cut_first=True),
        ),
        Mistake(
            "what is kept is handed out",
            "What is handed out is what the cache keeps for later calls. The new tokens also need what is "
            "about to be thrown away.",
            _like(hands_out_held=True),
        ),
        Mistake(
            "held keys replaced",
            "Each chunk takes the place of what was held, instead of being put behind it.",
            _like(overwrite=True),
            see=(15, "A long chat: what the cache costs"),
        ),
        Mistake(
            "nothing thrown away",
            "Nothing is ever thrown away, so the cache grows with the text, as one without a window does.",
            _like(cuts=False),
            see=(15, "A long chat: what the cache costs"),
        ),
        Mistake(
            "minus zero",
            "With a window of one token nothing must be held, but everything is: a slice from minus zero on "
            "is the whole.",
            _like(minus_zero=True),
        ),
        Mistake(
            "mask without a window",
            "The mask hides the future only. In a chunk, later tokens then see keys that only the earlier "
            "ones may see.",
            _like(masked="causal"),
        ),
        Mistake(
            "nothing hidden",
            "The mask hides nothing: inside a chunk, tokens see those behind them, and keys that have left "
            "their window.",
            _like(masked="nothing"),
        ),
        Mistake(
            "mask for the new keys only",
            "The mask has columns for the new keys only; those that were held are handed out as well.",
            _like(masked="new keys"),
        ),
        Mistake(
            "mask from the top left",
            "The mask puts the first new token beside the first held key; it is the last new token that "
            "stands beside the last key.",
            _like(masked="top left"),
        ),
        Mistake(
            "rows for held tokens too",
            "The mask has a row for each held token as well, but only the new ones ask.",
            _like(masked="square"),
        ),
        Mistake(
            "mask inverted",
            "True stands where a token may not attend.",
            _like(masked="inverted"),
            see=(4, "Masks: who may attend to whom"),
        ),
        Mistake(
            "never reset",
            "After a reset the keys of the text before are still there.",
            _like(resets=False),
        ),
        Mistake(
            "one memory for all caches",
            "Two caches share what they hold, as they do when it is kept on the class.",
            _like(shared=True),
        ),
    ],
    see=(15, "Leaving pairs out: a sliding window"),
    variants={"with positions": _WithPositions},
)
