"""Time one layer of multi-head attention against the least that it can cost, and against libraries' layers.

Run by hand on an idle Linux machine: ``python benchmarks/layers.py``, about twenty minutes; or ``make
bench``.
"""

import argparse
import math
import os
import time
from collections.abc import Callable
from functools import partial

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import torch
from measuring import Call, in_turns, keep_memory, ratio, store, summary, threads
from torch import Tensor, nn
from torch.nn import functional as F

from attncourse.multihead import MultiHeadAttention, merge_heads, split_heads
from attncourse.training import set_seed

# batch, tokens, d_model, heads; and how many rounds
SIZES = {(8, 128, 256, 8): 31, (4, 512, 512, 8): 15, (1, 2048, 512, 8): 15, (1, 8192, 256, 4): 7}
LEAST = {
    "without weights": "one product, torch's kernel",
    "with weights": "one product, baddbmm, softmax, bmm",
}
OURS, TORCHS, KERAS = "MultiHeadAttention", "nn.MultiheadAttention", "Keras MultiHeadAttention"
Layer = Callable[[Tensor, bool], Tensor]


class Least(nn.Module):
    """The least that a layer can do: one product for query, key and value, attention, one product."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.projections = nn.Linear(d_model, 3 * d_model)
        self.output_proj = nn.Linear(d_model, d_model)

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return query, key and value, (batch, heads, tokens, d_head)."""
        return tuple(split_heads(part, self.n_heads) for part in self.projections(x).chunk(3, dim=-1))

    def forward(self, x: Tensor, is_causal: bool) -> Tensor:
        """Attend, by torch's kernel."""
        attended = F.scaled_dot_product_attention(*self.heads(x), is_causal=is_causal)
        return self.output_proj(merge_heads(attended))


class LeastExplicit(Least):
    """The same where the weights are wanted: the mask is added by the product itself."""

    def forward(self, x: Tensor, is_causal: bool) -> Tensor:
        """Attend, and hold the weights."""
        query, key, value = (part.flatten(0, 1) for part in self.heads(x))  # (batch * heads, tokens, d_head)
        scale, n_tokens = 1 / math.sqrt(query.shape[-1]), x.shape[1]
        if is_causal:
            future = torch.full((n_tokens, n_tokens), -math.inf).triu_(1)
            scores = torch.baddbmm(future, query, key.transpose(1, 2), alpha=scale)
        else:
            scores = torch.bmm(query * scale, key.transpose(1, 2))
        weights = scores.softmax(dim=-1)
        attended = torch.bmm(weights, value).unflatten(0, (len(x), self.n_heads))
        return self.output_proj(merge_heads(attended))


def layers(n_tokens: int, d_model: int, n_heads: int) -> dict[tuple[str, str], Layer]:
    """Return the contenders of both kinds, from vectors and whether the future is hidden to vectors."""
    ours, torchs = (
        MultiHeadAttention(d_model, n_heads),
        nn.MultiheadAttention(d_model, n_heads, batch_first=True),
    )
    keras_layer = keras.layers.MultiHeadAttention(n_heads, d_model // n_heads)
    future = torch.ones(n_tokens, n_tokens, dtype=torch.bool).triu_(1)  # True = hidden

    def of_torch(x: Tensor, is_causal: bool, *, with_weights: bool) -> Tensor:
        mask = future if is_causal else None
        return torchs(x, x, x, need_weights=with_weights, average_attn_weights=False,
                      attn_mask=mask, is_causal=is_causal and not with_weights)[0]  # fmt: skip

    without, with_weights = LEAST
    return {
        (without, LEAST[without]): Least(d_model, n_heads),
        (without, OURS): lambda x, is_causal: ours(x, is_causal=is_causal),
        (without, TORCHS): partial(of_torch, with_weights=False),
        (without, KERAS): lambda x, is_causal: keras_layer(x, x, use_causal_mask=is_causal),
        (with_weights, LEAST[with_weights]): LeastExplicit(d_model, n_heads),
        (with_weights, OURS): lambda x, is_causal: ours(x, is_causal=is_causal, return_weights=True)[0],
        (with_weights, TORCHS): partial(of_torch, with_weights=True),
    }


def turn(layer: Layer, x: Tensor, is_causal: bool, backward: bool) -> Call:
    """Return one call of a layer, and back if asked to."""

    def forward() -> None:
        with torch.no_grad():
            layer(x, is_causal)

    def forward_and_backward() -> None:
        layer(x.requires_grad_(), is_causal).sum().backward()

    return forward_and_backward if backward else forward


def measure(sizes: dict[tuple[int, ...], int]) -> list[dict]:
    """Return one row for each size, mask, direction and number of threads."""
    rows = []
    for (batch, n_tokens, d_model, n_heads), rounds in sizes.items():
        set_seed(0)
        contenders = layers(n_tokens, d_model, n_heads)
        for n_threads in (1, 2):
            for is_causal in (True, False):
                for backward in (False, True):
                    x = torch.randn(batch, n_tokens, d_model)
                    turns = {name: turn(one, x, is_causal, backward) for name, one in contenders.items()}
                    with threads(n_threads) as clock:
                        seconds = in_turns(turns, rounds, clock, at_least=0.03)
                    row = {"batch": batch, "tokens": n_tokens, "d_model": d_model, "heads": n_heads,
                           "threads": n_threads, "causal": is_causal, "backward": backward}  # fmt: skip
                    for kind, least in LEAST.items():
                        of_kind = {name: some for (one, name), some in seconds.items() if one == kind}
                        row[kind] = summary(of_kind, least)
                        row[kind][OURS]["to torch's"] = round(ratio(of_kind, OURS, TORCHS), 3)
                    row["price of weights"] = round(ratio(seconds, *reversed(LEAST.items())), 2)
                    rows.append(row)
                    print(row, flush=True)
    return rows


def main() -> None:
    """Measure and store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", type=int, nargs="+", help="only these numbers of tokens; nothing is stored")
    only = parser.parse_args().only
    keep_memory()
    start = time.perf_counter()
    rows = measure({size: rounds for size, rounds in SIZES.items() if not only or size[1] in only})
    if not only:
        store("layers", {"rows": rows}, time.perf_counter() - start)


if __name__ == "__main__":
    main()
