"""Time and memory of attention to long texts: all at once, block by block, in a window, and made linear.

Run by hand on an idle Linux machine: ``python benchmarks/long_texts.py``, about half an hour; or
``make bench``. Memory is the peak of a fresh process above what it held with the arguments made.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial

import torch
from measuring import extra_bytes, in_fresh_process, in_turns, store, summary, threads
from torch import Tensor
from torch.nn import functional as F

from attncourse.attention import scaled_dot_product_attention
from attncourse.blockwise import blockwise_attention
from attncourse.costs import fit_exponent
from attncourse.linear_attention import linear_attention
from attncourse.masks import causal_mask
from attncourse.windowed import sliding_window_attention

N_HEADS, D_HEAD, WINDOW = 4, 64, 256
N_TOKENS = (1024, 2048, 4096, 8192, 16384, 32768)
SQUARE_UP_TO, BACK_UP_TO = 8192, 8192  # 17 GB of scores at 32,768 tokens; and half an hour of computing
ROUNDS = {16384: 5, 32768: 3}  # otherwise 7


def square(query: Tensor, key: Tensor, value: Tensor, *, is_causal: bool) -> Tensor:
    """Attend with all scores in memory at once."""
    mask = causal_mask(query.shape[-2], key.shape[-2]) if is_causal else None
    return scaled_dot_product_attention(query, key, value, mask)


def window(query: Tensor, key: Tensor, value: Tensor, *, is_causal: bool) -> Tensor:
    """Attend to the last tokens, causal in any case."""
    return sliding_window_attention(query, key, value, WINDOW)


TORCH = "torch's kernel"
WAYS = {
    TORCH: F.scaled_dot_product_attention,
    "blockwise": blockwise_attention,
    "square": square,
    f"window of {WINDOW}": window,
    "linear": linear_attention,
}


def make(n_tokens: int, backward: bool) -> list[Tensor]:
    """Return query, key and value."""
    return [torch.randn(1, N_HEADS, n_tokens, D_HEAD, requires_grad=backward) for _ in range(3)]


def run(attend: Callable[..., Tensor], *arguments: Tensor, is_causal: bool, backward: bool) -> None:
    """Attend once, and go back if asked to."""
    output = attend(*arguments, is_causal=is_causal)
    if backward:
        torch.autograd.grad(output.sum(), arguments)


def memory_of(way: str, n_tokens: int, is_causal: bool, backward: bool) -> int:
    """Return the extra bytes of one call in this process."""
    again = partial(run, WAYS[way], is_causal=is_causal, backward=backward)
    again(*make(600, backward))  # libraries set their own memory aside
    return extra_bytes(partial(again, *make(n_tokens, backward)))


def measure(lengths: tuple[int, ...], n_threads: int) -> list[dict]:
    """Return one row for each length, mask and direction."""
    rows = []
    for n_tokens in lengths:
        for is_causal in (True, False):
            for backward in (False, True):
                ways = {
                    way: attend
                    for way, attend in WAYS.items()
                    if not (way == "square" and n_tokens > SQUARE_UP_TO)
                    and not (way.startswith("window") and not is_causal)
                }
                if backward and n_tokens > BACK_UP_TO:
                    continue
                arguments = make(n_tokens, backward)
                turns = {
                    way: partial(run, attend, *arguments, is_causal=is_causal, backward=backward)
                    for way, attend in ways.items()
                }
                with threads(n_threads) as clock:
                    seconds = in_turns(turns, ROUNDS.get(n_tokens, 7), clock)
                row = {"tokens": n_tokens, "threads": n_threads, "causal": is_causal, "backward": backward,
                       "ways": summary(seconds, TORCH)}  # fmt: skip
                for way, found in row["ways"].items() if n_threads == 1 else ():
                    options = ["--memory-of", way, "--tokens", str(n_tokens)]
                    options += ["--causal"] * is_causal + ["--backward"] * backward
                    found["bytes"] = in_fresh_process(__file__, *options)
                rows.append(row)
                print(n_tokens, n_threads, is_causal, backward, row["ways"], flush=True)
    return rows


def exponents(rows: list[dict]) -> list[dict]:
    """Return how time grows with the number of tokens; short texts measure how a call begins, and are out."""
    times: dict[tuple, list[tuple[int, float]]] = {}
    for row in rows:
        for way, found in row["ways"].items() if row["tokens"] >= 2048 else ():
            group = (row["threads"], row["causal"], row["backward"], way)
            times.setdefault(group, []).append((row["tokens"], found["seconds"]))
    return [
        dict(zip(("threads", "causal", "backward", "way"), group, strict=True))
        | {"exponent": round(fit_exponent(*zip(*points, strict=True)), 2)}
        for group, points in times.items()
        if len(points) > 1
    ]


def main() -> None:
    """Measure and store, or print the memory of one call in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, nargs="+", help="only these lengths; nothing is stored")
    parser.add_argument("--memory-of", choices=WAYS, help="print the bytes of one call and stop")
    parser.add_argument("--causal", action="store_true", help="with --memory-of: hide the future")
    parser.add_argument("--backward", action="store_true", help="with --memory-of: and the backward pass")
    given = parser.parse_args()
    if given.memory_of:
        torch.set_num_threads(1)
        print(memory_of(given.memory_of, given.tokens[0], given.causal, given.backward))
        return
    start = time.perf_counter()
    lengths = tuple(given.tokens or N_TOKENS)
    rows = [row for n_threads in (1, 2) for row in measure(lengths, n_threads)]
    if not given.tokens:
        sizes = {"heads": N_HEADS, "d_head": D_HEAD, "window": WINDOW}
        store("long_texts", {"sizes": sizes, "rows": rows, "exponents": exponents(rows)},
              time.perf_counter() - start)  # fmt: skip


if __name__ == "__main__":
    main()
