r"""Exact attention without the square matrix: blocks of scores, one after the other, in memory used again.

A softmax needs the largest score and the sum of all exponentials before it can divide. Both can be kept while
the keys go by in blocks: where a larger score turns up, everything summed so far shrinks by one factor.

Built in chapter 15.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from attncourse._checks import broadcast_shape, check_count, check_number
from attncourse.attention import check_attention, scaled_dot_product_attention
from attncourse.masks import causal_mask

# Queries and keys of a block. Large blocks keep two threads busy and waste more at a causal mask's diagonal.
_BLOCK, _LONG_TEXTS_BLOCK, _LONG_TEXT = (256, 512), (1024, 1024), 16_384


def blockwise_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    *,
    is_causal: bool = False,
    scale: float | None = None,
    block_queries: int | None = None,
    block_keys: int | None = None,
) -> Tensor:
    r"""Attend as ``scaled_dot_product_attention`` does, holding one block of scores at a time.

    For the keys of one block after the other, with the scores s of the block,

    .. math::
        \begin{aligned}
        m' &= \max(m, \max_j s_j) \\
        \ell &\leftarrow e^{m - m'} \ell + \sum_j e^{s_j - m'} \\
        o &\leftarrow e^{m - m'} o + \sum_j e^{s_j - m'} v_j \\
        m &\leftarrow m'
        \end{aligned}

    and o / ℓ at the end.

    Parameters
    ----------
    query : Tensor of float, shape (..., n_queries, d_head)
        What is compared. Not modified.
    key : Tensor of float, shape (..., n_keys, d_head)
        What it is compared with. Not modified.
    value : Tensor of float, shape (..., n_keys, d_value)
        What contributes to the output. Not modified.
    mask : Tensor of bool, broadcastable to (..., n_queries, n_keys), optional
        True where a query may attend. It is read block by block: one that broadcasts is never spread out,
        and blocks in which it allows nothing are left out. Not modified.
    is_causal : bool, optional
        Whether to hide the future as well; the last query stands beside the last key. Blocks that lie in the
        future as a whole are left out.
    scale : float, optional
        Factor on every score; ``1 / sqrt(d_head)`` unless given.
    block_queries, block_keys : int, optional
        Sides of a block, in tokens; 256 and 512 unless given, 1,024 both beyond 16,384 tokens, where the
        half-empty blocks at the diagonal weigh little. They change the time, and the result by rounding only.

    Returns
    -------
    Tensor, shape (..., n_queries, d_value)
        One mixture of the values for each query; zeros, with zero gradients, where it may attend nowhere.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind or the dtypes differ.
    ValueError
        If the shapes do not fit, an argument is empty or holds NaN, or a block size is below 1.

    Notes
    -----
    For the backward pass only the output and one number for each query are kept, the logarithm of its sum
    of exponentials; the weights are computed again. Half precision is computed in float32, block by block,
    and rounded once. A backward pass with ``create_graph=True``, for second derivatives, takes the explicit
    steps of chapter 4 instead, and their memory O(n_queries · n_keys).
    Time O(n_queries · n_keys · (d_head + d_value)); memory beside the arguments
    O(n_queries · d_value + block_queries · block_keys), and with gradients theirs. Leading axes are worked
    off one after the other, which suits long sequences on a CPU. Built in chapter 15.

    References
    ----------
    .. [1] Milakov and Gimelshein (2018), "Online normalizer calculation for softmax", section 3, algorithm 3.
    .. [2] Rabe and Staats (2021), "Self-attention does not need O(n²) memory", section 2.
    .. [3] Dao et al. (2022), "FlashAttention: fast and memory-efficient exact attention with IO-awareness",
       section 3.1, algorithm 1.
    """
    check_attention(query, key, value, mask)
    scale = 1.0 / math.sqrt(query.shape[-1]) if scale is None else scale
    check_number("scale", scale)
    n_queries, n_keys = query.shape[-2], key.shape[-2]
    usual = _LONG_TEXTS_BLOCK if max(n_queries, n_keys) > _LONG_TEXT else _BLOCK
    block_queries = usual[0] if block_queries is None else block_queries
    block_keys = usual[1] if block_keys is None else block_keys
    check_count("block_queries", block_queries)
    check_count("block_keys", block_keys)
    leading = broadcast_shape(*(array.shape[:-2] for array in (query, key, value)))
    blocks = _Blocks(n_queries, n_keys, is_causal, min(block_queries, n_queries), min(block_keys, n_keys))
    # Views: an axis that is broadcast has stride 0, and autograd adds up the gradients along it.
    query, key, value = (array.expand(*leading, *array.shape[-2:]) for array in (query, key, value))
    if mask is not None:
        mask = mask.expand(*leading, n_queries, n_keys)
    return _BlockwiseAttention.apply(query, key, value, mask, blocks, float(scale))


@dataclass(frozen=True)
class _Blocks:
    """Say which blocks of the score matrix hold anything, and hide in them what may not be seen."""

    n_queries: int
    n_keys: int
    is_causal: bool
    block_queries: int
    block_keys: int

    def rows(self) -> Iterator[slice]:
        """Cut the queries into blocks."""
        return _cut(0, self.n_queries, self.block_queries)

    def columns(self, rows: slice, mask: Tensor | None) -> Iterator[slice]:
        """Cut the keys into blocks, and leave out those of which no query of the rows sees any."""
        ahead = self.n_keys - self.n_queries  # the last query stands beside the last key
        end = min(self.n_keys, rows.stop + ahead) if self.is_causal else self.n_keys
        for columns in _cut(0, end, self.block_keys):
            if mask is None or bool(mask[rows, columns].any()):
                yield columns

    def buffer(self, like: Tensor) -> Tensor:
        """Set memory for one block aside; making new blocks all the time would scatter the heap."""
        return like.new_empty(self.block_queries * self.block_keys)

    def hide(self, scores: Tensor, mask: Tensor | None, rows: slice, columns: slice) -> None:
        """Write -inf over the scores that may not be seen."""
        if mask is not None:
            _keep(scores, mask[rows, columns])
        ahead = self.n_keys - self.n_queries
        if self.is_causal and columns.stop - 1 > rows.start + ahead:  # the block touches the diagonal
            positions = torch.arange(rows.start + ahead, rows.stop + ahead, device=scores.device)
            keys = torch.arange(columns.start, columns.stop, device=scores.device)
            _keep(scores, keys <= positions[:, None])


def _keep(scores: Tensor, allowed: Tensor) -> None:
    """Write -inf over scores where False stands; the smaller of two is found faster than a place to fill."""
    torch.minimum(scores, torch.where(allowed, math.inf, -math.inf).to(scores.dtype), out=scores)


def _heads(array: Tensor) -> Iterator[tuple[int, ...]]:
    """Count through the axes before the last two."""
    return itertools.product(*(range(size) for size in array.shape[:-2]))


def _cut(start: int, stop: int, size: int) -> Iterator[slice]:
    """Cut a range into slices of one size; the last may be shorter."""
    return (slice(first, min(first + size, stop)) for first in range(start, stop, size))


class _BlockwiseAttention(torch.autograd.Function):
    """Forward and backward pass, block by block; every argument has all leading axes."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        blocks: _Blocks,
        scale: float,
    ) -> Tensor:
        """Return the output, and keep it with the logarithms of the sums."""
        precise = torch.promote_types(query.dtype, torch.float32)
        output = query.new_empty(*query.shape[:-1], value.shape[-1])
        log_sums = query.new_empty(query.shape[:-1], dtype=precise)
        buffer = blocks.buffer(log_sums)
        for head in _heads(query):
            keys, values = key[head], value[head]  # (n_keys, d_head), (n_keys, d_value)
            head_mask = None if mask is None else mask[head]  # (n_queries, n_keys)
            for rows in blocks.rows():
                queries = query[head][rows].to(precise) * scale  # (rows, d_head)
                mixed = log_sums.new_zeros(len(queries), value.shape[-1])
                total = log_sums.new_zeros(len(queries), 1)
                # The lowest finite number, not -inf: exp(-inf - lowest) is 0, exp(-inf - -inf) is NaN.
                largest = torch.full_like(total, torch.finfo(precise).min)
                for columns in blocks.columns(rows, head_mask):
                    scores = _products(queries, keys[columns].to(precise), buffer)
                    blocks.hide(scores, head_mask, rows, columns)
                    before, largest = largest, torch.maximum(largest, scores.amax(dim=-1, keepdim=True))
                    shrink = (before - largest).exp_()
                    weights = scores.sub_(largest).exp_()  # in place: the scores are not needed again
                    total.mul_(shrink).add_(weights.sum(dim=-1, keepdim=True))
                    mixed.mul_(shrink).addmm_(weights, values[columns].to(precise))
                total.masked_fill_(total == 0, 1.0)  # an empty row: 0 / 1
                output[head][rows] = mixed.div_(total)
                log_sums[head][rows] = total.log_().add_(largest).squeeze(-1)
        ctx.save_for_backward(query, key, value, mask, output, log_sums)
        ctx.blocks, ctx.scale = blocks, scale
        return output

    @staticmethod
    def backward(ctx: FunctionCtx, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        """Compute every block's weights again, and the three gradients from them."""
        if torch.is_grad_enabled():  # the work in place below could not be differentiated again
            return _differentiable_gradients(ctx, grad_output)
        query, key, value, mask, output, log_sums = ctx.saved_tensors
        blocks, scale = ctx.blocks, ctx.scale
        precise = log_sums.dtype
        grad_query, grad_key, grad_value = (
            torch.zeros_like(array, dtype=precise, memory_format=torch.contiguous_format)
            for array in (query, key, value)
        )
        buffer, grad_buffer = blocks.buffer(log_sums), blocks.buffer(log_sums)
        for head in _heads(query):
            keys, values = key[head], value[head]
            head_mask = None if mask is None else mask[head]
            for rows in blocks.rows():
                queries = query[head][rows].to(precise) * scale
                grads = grad_output[head][rows].to(precise).contiguous()  # (rows, d_value)
                # Σ_j a_ij ∂L/∂a_ij, what the softmax takes off every score's gradient, without the weights.
                common = (grads * output[head][rows]).sum(dim=-1, keepdim=True)
                for columns in blocks.columns(rows, head_mask):
                    block_keys = keys[columns].to(precise)
                    scores = _products(queries, block_keys, buffer)
                    blocks.hide(scores, head_mask, rows, columns)
                    weights = scores.sub_(log_sums[head][rows].unsqueeze(-1)).exp_()
                    grad_value[head][columns].addmm_(weights.T, grads)
                    grad_weights = _products(grads, values[columns].to(precise), grad_buffer)
                    grad_scores = grad_weights.sub_(common).mul_(weights)
                    grad_query[head][rows].addmm_(grad_scores, block_keys, alpha=scale)
                    grad_key[head][columns].addmm_(grad_scores.T, queries)
        return (
            grad_query.to(query.dtype),
            grad_key.to(key.dtype),
            grad_value.to(value.dtype),
            None,
            None,
            None,
        )


def _differentiable_gradients(ctx: FunctionCtx, grad_output: Tensor) -> tuple[Tensor | None, ...]:
    """Return the gradients as functions that autograd can differentiate again, through all the weights."""
    *inputs, mask, _, _ = ctx.saved_tensors
    if ctx.blocks.is_causal:
        causal = causal_mask(ctx.blocks.n_queries, ctx.blocks.n_keys, device=grad_output.device)
        mask = causal if mask is None else mask & causal
    precise = [array.to(torch.promote_types(array.dtype, torch.float32)) for array in inputs]
    output = scaled_dot_product_attention(*precise, mask, scale=ctx.scale).to(grad_output.dtype)
    wanted = [array for array, is_needed in zip(inputs, ctx.needs_input_grad[:3], strict=True) if is_needed]
    found = iter(torch.autograd.grad(output, wanted, grad_output, create_graph=True))
    return *(next(found) if is_needed else None for is_needed in ctx.needs_input_grad[:3]), None, None, None


def _products(rows: Tensor, columns: Tensor, buffer: Tensor) -> Tensor:
    """Write the inner products of two lists of vectors into the buffer, and return that part of it."""
    out = buffer[: len(rows) * len(columns)].view(len(rows), len(columns))
    return torch.mm(rows, columns.T, out=out)
