"""Count what torch does: operations, the bytes of every tensor it makes, the memory of a whole process."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parents[2]

# The peak above what was there before the call. A small call first: libraries make memory of their own. (The
# peak that resource.getrusage returns would begin at that of the process that started this one.)
_PROBE = """
import re, torch
def resident(field):
    with open("/proc/self/status") as status:
        return int(re.search(field + r":\\s+(\\d+) kB", status.read())[1]) * 1024
torch.set_num_threads(1)
{setup}
call({warm_up})
arguments = make({size})
before = resident("VmRSS")
run(arguments)
print((resident("VmHWM") - before) / 1e6)
"""


def counted_flops(call: Callable[[], object]) -> int:
    """Return torch's count; its fused kernel for CPUs is missing in torch's table and would count 0."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        call()
    return counter.get_total_flops()


class TensorMeter(TorchDispatchMode):
    """Note the bytes of the largest memory that any operation inside the block made, and of all together."""

    def __init__(self):
        super().__init__()
        self.largest = 0
        self.total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        known = {
            leaf.untyped_storage().data_ptr()
            for leaf in tree_leaves((args, kwargs))
            if isinstance(leaf, torch.Tensor)
        }
        result = func(*args, **kwargs)
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor) and leaf.untyped_storage().data_ptr() not in known:
                self.largest = max(self.largest, leaf.untyped_storage().nbytes())
                self.total += leaf.untyped_storage().nbytes()
        return result


def extra_megabytes(call: str, *, size: int, imports: str, backward: bool = False, n_heads: int = 4) -> float:
    """Run ``call``, an expression of query, key and value, in a fresh process, and return its peak in MB.

    What the process held with the arguments made is taken off: they have shape (1, n_heads, size, 64).
    """
    setup = f"""
{imports}
def make(n):
    return [torch.randn(1, {n_heads}, n, 64, requires_grad={backward}) for _ in range(3)]
def run(arguments):
    query, key, value = arguments
    output = {call}
    if {backward}:
        output.sum().backward()
def call(n):
    run(make(n))
"""
    code = _PROBE.format(setup=setup, warm_up=600, size=size)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return float(done.stdout)
