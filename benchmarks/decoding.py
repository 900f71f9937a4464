"""Time one more token of a text: everything read again, or with keys and values kept, in several ways.

Run by hand on an idle machine: ``python benchmarks/decoding.py``, about ten minutes; or ``make bench``.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from measuring import store, threads
from torch import Tensor

from attncourse.kv_cache import KVCache, build_caches
from attncourse.multihead import Cache
from attncourse.training import set_seed
from attncourse.transformer_language_model import TransformerLanguageModel

SIZES = {"vocab_size": 100, "d_model": 256, "n_heads": 8, "n_layers": 6, "positions": "rotary"}
KV_HEADS = {"multi-head": 8, "grouped": 2, "multi-query": 1}
CONTEXTS = (64, 128, 256, 512, 1024, 2048)
ROUNDS, STEPS = 7, 12
AGAIN, OURS = "everything again", "KVCache"


class GrowingCache:
    """Keep keys and values by joining tensors, as first drafts do: each token copies all that is held."""

    def __init__(self) -> None:
        self.held: tuple[Tensor, Tensor] | None = None
        self.length = 0

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Join the new tokens to those held."""
        if self.held is not None:
            key, value = (torch.cat(pair, dim=2) for pair in zip(self.held, (key, value), strict=True))
        self.held, self.length = (key, value), key.shape[2]
        return key, value


class BareCache:
    """Keep keys and values in memory set aside, and check nothing: the least that a cache can do."""

    def __init__(self, n_kv_heads: int, max_tokens: int, d_head: int) -> None:
        self.keys, self.values = (torch.empty(1, n_kv_heads, max_tokens, d_head) for _ in range(2))
        self.length = 0

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Write the new tokens behind those held."""
        start, self.length = self.length, self.length + key.shape[2]
        self.keys[:, :, start : self.length] = key
        self.values[:, :, start : self.length] = value
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]


def caches(way: str, model: TransformerLanguageModel, max_tokens: int) -> Sequence[Cache]:
    """Return one empty cache of a kind for each layer."""
    if way == OURS:
        return build_caches(model, 1, max_tokens)
    if way == "torch.cat":
        return [GrowingCache() for _ in model.layers]
    heads = [layer.self_attention for layer in model.layers]
    return [BareCache(one.n_kv_heads, max_tokens, one.d_head) for one in heads]


def seconds_of(clock: Callable[[], float], call: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    start = clock()
    call()
    return clock() - start


@torch.inference_mode()
def measure(models: dict[str, TransformerLanguageModel], context: int, n_threads: int) -> list[dict]:
    """Return one row for each model: milliseconds for a token, in every way."""
    tokens = torch.randint(3, SIZES["vocab_size"], (1, context + STEPS))
    ways = (AGAIN, OURS, "torch.cat", "no checks")
    seconds = {(name, way): [] for name in models for way in ways}
    shuffle = random.Random(0).shuffle
    with threads(n_threads) as clock:
        for number in range(ROUNDS + 1):
            for name, model in models.items():
                held = {way: caches(way, model, context + STEPS) for way in ways[1:]}
                for kept in held.values():
                    model(tokens[:, : context - 1], caches=kept)
                shuffle(order := list(held))
                steps = {way: [] for way in held}
                for way in order:  # one text is written to its end, as everywhere: its keys stay at hand
                    for place in range(context - 1, context - 1 + STEPS):
                        new, kept = tokens[:, place : place + 1], held[way]
                        steps[way].append(seconds_of(clock, lambda: model(new, caches=kept)))  # noqa: B023
                again = seconds_of(clock, lambda: model(tokens[:, :context]))  # noqa: B023
                if number:  # the first round warms up
                    seconds[name, AGAIN].append(again)
                    for way, some in steps.items():
                        seconds[name, way].append(statistics.median(some))
    rows = []
    for name, model in models.items():
        of = {way: seconds[name, way] for way in ways}
        ratios = {
            way: statistics.median(a / b for a, b in zip(of[AGAIN], of[way], strict=True)) for way in ways[1:]
        }
        to_least = statistics.median(a / b for a, b in zip(of[OURS], of["no checks"], strict=True))
        cache = KVCache(1, model.layers[0].self_attention.n_kv_heads, context, 32)
        rows.append(
            {"context": context, "threads": n_threads, "model": name,
             "milliseconds": {way: float(f"{1e3 * statistics.median(of[way]):.4g}") for way in ways},
             "times faster": {way: round(value, 1) for way, value in ratios.items()},
             "to no checks": round(to_least, 3), "bytes of a layer": cache.n_bytes}
        )  # fmt: skip
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Measure and store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--contexts", type=int, nargs="+", help="only these; nothing is stored")
    given = parser.parse_args()
    start = time.perf_counter()
    set_seed(0)
    models = {
        name: TransformerLanguageModel(**SIZES, n_kv_heads=n_kv_heads).eval()
        for name, n_kv_heads in KV_HEADS.items()
    }
    contexts = given.contexts or CONTEXTS
    rows = [row for n in (1, 2) for context in contexts for row in measure(models, context, n)]
    if not given.contexts:
        store("decoding", {"sizes": SIZES, "rows": rows}, time.perf_counter() - start)


if __name__ == "__main__":
    main()
