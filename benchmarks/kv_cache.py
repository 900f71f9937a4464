"""Time writing with a cache against reading everything again, token by token and as a whole.

Run by hand on an otherwise idle machine, about four minutes: ``python benchmarks/kv_cache.py``. Models take
turns, and of several rounds the fastest counts, because other programs can only add time.
"""

import argparse
import platform
import time
from collections.abc import Callable
from functools import partial

import torch

from attncourse.decoding import CachedLanguageModel, NextLogits, generate
from attncourse.training import set_seed
from attncourse.transformer_language_model import TransformerLanguageModel

SIZES = {"vocab_size": 100, "d_model": 256, "n_heads": 8, "n_layers": 6, "positions": "rotary"}
KV_HEADS = {"multi-head": 8, "grouped": 2, "multi-query": 1}
CONTEXTS = (64, 128, 256, 512, 1024)
THREADS = (1, 2)
N_WRITTEN = 512


def main() -> None:
    """Print both tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--threads", type=int, nargs="+", default=THREADS, help="torch threads, one table each"
    )
    parser.add_argument("--rounds", type=int, default=3, help="repetitions, of which the fastest counts")
    arguments = parser.parse_args()
    set_seed(0)
    models = {
        name: TransformerLanguageModel(**SIZES, n_kv_heads=n_kv_heads).eval()
        for name, n_kv_heads in KV_HEADS.items()
    }
    print(f"torch {torch.__version__}, Python {platform.python_version()}, {platform.machine()}")
    print(f"batch 1, {SIZES}")
    for n_threads in arguments.threads:
        torch.set_num_threads(n_threads)
        print(f"\n## {n_threads} torch thread{'s' if n_threads > 1 else ''}\n")
        print_steps(models, arguments.rounds)
        print()
        print_generation(models, arguments.rounds)


def print_steps(models: dict[str, TransformerLanguageModel], rounds: int) -> None:
    """Print the time for one token at each context: all read again, and with a cache."""
    print("| context | attention | cache, kB | everything again, ms | cached, ms | ratio |")
    print("|---:|---|---:|---:|---:|---:|")
    for context in CONTEXTS:
        tokens = torch.randint(3, SIZES["vocab_size"], (1, context + 16))
        seconds = {(name, kind): [] for name in models for kind in ("again", "cached")}
        for _ in range(rounds):
            for name, model in models.items():
                seconds[name, "again"].append(time_uncached_step(model, tokens[:, :context]))
                seconds[name, "cached"].append(time_cached_step(model, tokens, context))
        for name, model in models.items():
            again, cached = (1e3 * min(seconds[name, kind]) for kind in ("again", "cached"))
            n_bytes = sum(cache.n_bytes for cache in CachedLanguageModel(model, 1, context).caches)
            times = f"{again:.2f} | {cached:.2f} | {again / cached:.1f}"
            print(f"| {context} | {name} | {n_bytes / 1e3:.0f} | {times} |")


@torch.no_grad()
def time_uncached_step(model: TransformerLanguageModel, tokens: torch.Tensor) -> float:
    """Return the seconds for one more token when all are read, the fastest of three."""
    return min(seconds_of(lambda: model(tokens)[:, -1]) for _ in range(3))


def time_cached_step(model: TransformerLanguageModel, tokens: torch.Tensor, context: int) -> float:
    """Return the seconds for one more token behind a context that is held, the median of sixteen."""
    cached = CachedLanguageModel(model, 1, tokens.shape[1])
    cached(tokens[:, : context - 1])
    steps = [seconds_of(partial(cached, tokens[:, :n])) for n in range(context, tokens.shape[1])]
    return sorted(steps)[len(steps) // 2]


def print_generation(models: dict[str, TransformerLanguageModel], rounds: int) -> None:
    """Print the time to write a whole text from one token on."""
    print(f"| writing {N_WRITTEN} tokens | everything again, s | cached, s | cached, ms a token | ratio |")
    print("|---|---:|---:|---:|---:|")
    for name, model in models.items():
        cached = CachedLanguageModel(model, 1, N_WRITTEN)
        seconds = {"again": [], "cached": []}
        for _ in range(rounds):
            cached.reset()
            seconds["cached"].append(seconds_of(partial(write, cached)))
            seconds["again"].append(
                seconds_of(partial(write, lambda tokens, model=model: model(tokens)[:, -1]))
            )
        again, short = (min(seconds[kind]) for kind in ("again", "cached"))
        print(f"| {name} | {again:.2f} | {short:.2f} | {1e3 * short / N_WRITTEN:.2f} | {again / short:.1f} |")


def write(next_logits: NextLogits) -> torch.Tensor:
    """Write a text from one token on, greedily."""
    return generate(next_logits, torch.full((1, 1), 3), max_tokens=N_WRITTEN)


def seconds_of(call: Callable[[], object]) -> float:
    """Return the wall-clock seconds that a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
