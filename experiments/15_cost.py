"""Chapter 15: seconds and peak memory of five ways to attend, for 1,024 to 16,384 tokens.

Every cell is measured in a process of its own, on one thread: CPU seconds, and by how much the process grew
at its largest (Linux only). Three repetitions, as seeds; five minutes each. At 16,384 tokens the naive
forward pass needs 9 GB.
"""

import ctypes
import gc
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import torch
from _store import run_and_store
from torch.nn import functional as F

from attncourse.attention import scaled_dot_product_attention
from attncourse.blockwise import blockwise_attention
from attncourse.linear_attention import linear_attention
from attncourse.windowed import sliding_window_attention

SIZES = (1024, 2048, 4096, 8192, 16384)
N_HEADS, D_HEAD = 4, 64
WINDOW = 256
LONGEST_NAIVE = {"forward": 16384, "both": 8192}
CONTENDERS = {
    "full": {
        "naive": scaled_dot_product_attention,
        "blockwise": blockwise_attention,
        "sdpa": F.scaled_dot_product_attention,
        "linear": linear_attention,
    },
    "causal": {
        "blockwise": lambda *qkv: blockwise_attention(*qkv, is_causal=True),
        "sdpa": lambda *qkv: F.scaled_dot_product_attention(*qkv, is_causal=True),
        "linear": lambda *qkv: linear_attention(*qkv, is_causal=True),
        "window": lambda *qkv: sliding_window_attention(*qkv, WINDOW),
    },
}
ENOUGH_SECONDS, MOST_CALLS = 0.5, 20
QUICK = {
    "seed": 0,
    "settings": {"kinds": ["naive"], "sizes": [2048], "passes": ["forward"]},
    "key": "full.naive.forward.megabytes.2048",
    "tolerance": 60.0,
}


def run_seed(seed, *, kinds=None, sizes=SIZES, passes=("forward", "both")):
    """Measure every cell once; return seconds and megabytes by mask, kind, pass and number of tokens."""
    values = {}
    for mask, contenders in CONTENDERS.items():
        values[mask] = {}
        for kind in contenders:
            if kinds is not None and kind not in kinds:
                continue
            values[mask][kind] = {which: {"seconds": {}, "megabytes": {}} for which in passes}
            for which in passes:
                for n_tokens in sizes:
                    if kind == "naive" and n_tokens > LONGEST_NAIVE[which]:
                        continue
                    found = measure_alone(mask, kind, which, n_tokens, seed)
                    for unit, number in found.items():
                        values[mask][kind][which][unit][str(n_tokens)] = number
    return values


def measure_alone(*cell):
    """Measure one cell in a fresh process, whose memory nothing else has touched."""
    command = [sys.executable, str(Path(__file__).resolve()), "--cell", json.dumps(cell)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def measure(mask, kind, which, n_tokens, seed):
    """Return CPU seconds of the fastest call, and the growth of the process at its peak in the first one."""
    torch.set_num_threads(1)
    attend = CONTENDERS[mask][kind]
    generator = torch.Generator().manual_seed(seed)

    def inputs(n_tokens):
        shape = (3, 1, N_HEADS, n_tokens, D_HEAD)
        return [one.requires_grad_(which == "both") for one in torch.randn(shape, generator=generator)]

    def call(qkv):
        start = time.process_time()
        output = attend(*qkv)
        if which == "both":
            output.sum().backward()
        return time.process_time() - start

    for _ in range(2):
        call(inputs(WINDOW))  # loads what is loaded at first use
    qkv = inputs(n_tokens)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts again from here
    before = kilobytes("VmRSS")
    seconds = [call(qkv)]
    megabytes = (kilobytes("VmHWM") - before) * 1024 / 1e6
    while sum(seconds) < ENOUGH_SECONDS and len(seconds) < MOST_CALLS:
        for one in qkv:
            one.grad = None
        seconds.append(call(qkv))
    return {"seconds": min(seconds), "megabytes": megabytes}


def kilobytes(name):
    """Read one line of what the kernel knows about this process."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.search(rf"{name}:\s+(\d+) kB", status)[1])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--cell"]:
        print(json.dumps(measure(*json.loads(sys.argv[2]))))
    else:
        run_and_store(__file__, run_seed, seeds=(0, 1, 2))
