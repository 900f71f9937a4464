"""Time chapter 1's recurrent cells, walked along a text step by step, against torch's layers and cells.

Run by hand on an idle machine: ``python benchmarks/recurrent.py``, about three minutes; or ``make bench``.
"""

import argparse
import time
from functools import partial

import torch
from measuring import Call, in_turns, store, summary, threads
from torch import Tensor, nn

from attncourse.recurrent import GRUCell, LSTMCell, RNNCell, run_cell
from attncourse.training import set_seed

SIZES = ((8, 64, 64), (8, 256, 128), (1, 512, 256))  # batch, tokens, features
KINDS = {
    "RNN": (RNNCell, nn.RNN, nn.RNNCell),
    "GRU": (GRUCell, nn.GRU, nn.GRUCell),
    "LSTM": (LSTMCell, nn.LSTM, nn.LSTMCell),
}
LAYER = "torch's layer"


def walk(cell: nn.Module, inputs: Tensor) -> Tensor:
    """Walk a cell of torch along a text."""
    state, states = None, []
    for step in inputs.unbind(dim=1):
        state = cell(step, state)
        states.append(state[0] if isinstance(state, tuple) else state)
    return torch.stack(states, dim=1)


def turns(kind: str, batch: int, n_tokens: int, size: int, backward: bool) -> dict[str, Call]:
    """Return one call of each contender."""
    our_cell, layer, cell = KINDS[kind]
    ours, theirs, their_cell = our_cell(size, size), layer(size, size, batch_first=True), cell(size, size)
    inputs = torch.randn(batch, n_tokens, size)

    def run(states: Call) -> None:
        if backward:
            states().sum().backward()
        else:
            with torch.no_grad():
                states()

    contenders = {
        LAYER: lambda: theirs(inputs)[0],
        "torch's cell": lambda: walk(their_cell, inputs),
        "our cell": lambda: run_cell(ours, inputs)[0],
    }
    return {name: partial(run, states) for name, states in contenders.items()}


def main() -> None:
    """Measure and store."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    start, rows = time.perf_counter(), []
    for batch, n_tokens, size in SIZES:
        for kind in KINDS:
            for n_threads in (1, 2):
                for backward in (False, True):
                    set_seed(0)
                    some = turns(kind, batch, n_tokens, size, backward)
                    with threads(n_threads) as clock:
                        seconds = in_turns(some, 9, clock)
                    rows.append({"batch": batch, "tokens": n_tokens, "features": size, "kind": kind,
                                 "threads": n_threads, "backward": backward,
                                 "ways": summary(seconds, LAYER)})  # fmt: skip
                    print(rows[-1], flush=True)
    store("recurrent", {"rows": rows}, time.perf_counter() - start)


if __name__ == "__main__":
    main()
