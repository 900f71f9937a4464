"""Time and memory of attention by blocks, by torch's kernel, all at once, in a window, and made linear.

Run by hand on an otherwise idle Linux machine, about four minutes: ``python benchmarks/blockwise.py``. Times
are CPU seconds on one thread; the ways take turns, and of several rounds the fastest counts, because other
programs can only add time. Memory is the peak of a fresh process above what it held with the arguments made.
"""

import argparse
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from attncourse.attention import scaled_dot_product_attention
from attncourse.blockwise import blockwise_attention
from attncourse.costs import fit_exponent, score_bytes
from attncourse.linear_attention import linear_attention
from attncourse.masks import causal_mask
from attncourse.windowed import sliding_window_attention

N_HEADS, D_HEAD, WINDOW = 4, 64, 256
N_TOKENS = (4096, 8192, 16384)


def square(query: Tensor, key: Tensor, value: Tensor, *, is_causal: bool) -> Tensor:
    """Attend with all scores in memory at once."""
    mask = causal_mask(query.shape[-2], key.shape[-2]) if is_causal else None
    return scaled_dot_product_attention(query, key, value, mask)


def window(query: Tensor, key: Tensor, value: Tensor, *, is_causal: bool) -> Tensor:
    """Attend to the last tokens, causal in any case."""
    return sliding_window_attention(query, key, value, WINDOW)


WAYS = {
    "torch": F.scaled_dot_product_attention,
    "blockwise": blockwise_attention,
    "square": square,
    f"window {WINDOW}": window,
    "linear": linear_attention,
}


def main() -> None:
    """Print the table as Markdown, or the memory of one call in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, nargs="+", default=N_TOKENS, help="lengths, the largest last")
    parser.add_argument("--rounds", type=int, default=3, help="repetitions, of which the fastest counts")
    parser.add_argument(
        "--square-up-to", type=int, default=4096, help="longest text with all scores in memory"
    )
    parser.add_argument("--memory-of", choices=WAYS, help="print the bytes of one call and stop")
    parser.add_argument("--causal", action="store_true", help="with --memory-of: hide the future")
    parser.add_argument("--backward", action="store_true", help="with --memory-of: and the backward pass")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.memory_of:
        print(extra_bytes(arguments.memory_of, arguments.tokens[0], arguments.causal, arguments.backward))
        return
    print(f"torch {torch.__version__}, Python {platform.python_version()}, {platform.machine()}, one thread")
    print(f"batch 1, {N_HEADS} heads of {D_HEAD}, float32")
    for is_causal in (True, False):
        for backward in (False, True):
            heading = f"{'causal' if is_causal else 'full'}, forward{' and backward' if backward else ''}"
            print(f"\n## {heading}\n")
            print_table(is_causal, backward, arguments)


def print_table(is_causal: bool, backward: bool, arguments: argparse.Namespace) -> None:
    """Print times and memory of every way at every length, and how they grow."""
    print("| tokens | way | CPU s | × torch | extra MB |")
    print("|---:|---|---:|---:|---:|")
    measured: dict[str, list[tuple[int, float, float]]] = {way: [] for way in WAYS}
    for n_tokens in arguments.tokens:
        ways = {
            way: partial(run, attend, *make(n_tokens, backward), is_causal=is_causal, backward=backward)
            for way, attend in WAYS.items()
            if not (way == "square" and n_tokens > arguments.square_up_to)
            and not (way.startswith("window") and not is_causal)
        }
        rounds = [{way: cpu_seconds(call) for way, call in ways.items()} for _ in range(arguments.rounds)]
        for way in ways:
            seconds, by_torch = (min(times[name] for times in rounds) for name in (way, "torch"))
            megabytes = in_fresh_process(way, n_tokens, is_causal, backward) / 1e6
            measured[way].append((n_tokens, seconds, megabytes))
            print(f"| {n_tokens} | {way} | {seconds:.3f} | {seconds / by_torch:.2f} | {megabytes:.1f} |")
    longest = arguments.tokens[-1]
    print(f"\nAll scores of {longest} tokens: {score_bytes(longest, longest, n_heads=N_HEADS) / 1e6:.0f} MB.")
    for way, rows in measured.items():
        if len(rows) > 1:
            tokens, seconds, megabytes = zip(*rows, strict=True)
            exponents = f"{fit_exponent(tokens, seconds):.2f}, memory {fit_exponent(tokens, megabytes):.2f}"
            print(f"Exponents of {way}: time {exponents}.")


def make(n_tokens: int, backward: bool) -> list[Tensor]:
    """Return query, key and value."""
    return [torch.randn(1, N_HEADS, n_tokens, D_HEAD, requires_grad=backward) for _ in range(3)]


def run(attend: Callable[..., Tensor], *arguments: Tensor, is_causal: bool, backward: bool) -> None:
    """Attend once, and go back if asked to."""
    output = attend(*arguments, is_causal=is_causal)
    if backward:
        torch.autograd.grad(output.sum(), arguments)


def cpu_seconds(call: Callable[[], None]) -> float:
    """Return the CPU seconds that a call takes."""
    start = time.process_time()
    call()
    return time.process_time() - start


def in_fresh_process(way: str, n_tokens: int, is_causal: bool, backward: bool) -> int:
    """Return the extra bytes of one call; the peak of this process is that of its largest call so far."""
    options = ["--causal"] * is_causal + ["--backward"] * backward
    command = [sys.executable, __file__, "--memory-of", way, "--tokens", str(n_tokens), *options]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def extra_bytes(way: str, n_tokens: int, is_causal: bool, backward: bool) -> int:
    """Return how far the peak of this process rises above what it holds with the arguments made."""
    run(
        WAYS[way], *make(600, backward), is_causal=is_causal, backward=backward
    )  # libraries make their memory
    arguments = make(n_tokens, backward)
    before = resident_bytes("VmRSS")
    run(WAYS[way], *arguments, is_causal=is_causal, backward=backward)
    return resident_bytes("VmHWM") - before


def resident_bytes(field: str) -> int:
    """Return the memory of this process now (VmRSS) or at its peak (VmHWM).

    ``resource.getrusage`` would not do: its peak begins at that of the process that started this one.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.search(rf"{field}:\s+(\d+) kB", status)[1]) * 1024


if __name__ == "__main__":
    main()
