"""Weights that may be exactly zero without a mask.

Built in chapter 10.
"""

import torch
from torch import Tensor

from attncourse._checks import check_finite, check_floats, check_mask, check_type


def sparsemax(scores: Tensor, mask: Tensor | None = None) -> Tensor:
    r"""Turn each row of scores into the nearest weights: those of keys far below the best are exactly 0.

    .. math:: a = \operatorname*{arg\,min}_{p \ge 0,\ \sum_j p_j = 1} \lVert p - s \rVert^2
        = \max(s - \tau, 0), \qquad \tau \text{ such that the row sums to } 1

    Parameters
    ----------
    scores : Tensor of float, shape (..., n_queries, n_keys)
        Scores. Unlike softmax's, their unit is that of a weight: two keys more than 1 apart never share.
        Not modified.
    mask : Tensor of bool, broadcastable to ``scores``, optional
        True where a query may attend. None allows every key. Not modified.

    Returns
    -------
    Tensor, shape (..., n_queries, n_keys), dtype of ``scores``
        Weights. Each row sums to 1, or to 0 where the mask allows no key.

    Raises
    ------
    TypeError
        If ``scores`` are not floating point or ``mask`` is not boolean.
    ValueError
        If ``mask`` does not broadcast to ``scores``, or ``scores`` are empty, infinite or hold NaN.

    Notes
    -----
    Time O(n_keys log n_keys) a row, for the sort. A key with weight 0 gets no
    gradient; where one key holds all the weight, no score gets any. Built in chapter 10.

    References
    ----------
    .. [1] Martins and Astudillo (2016), "From softmax to sparsemax", ICML, equation 1 and algorithm 1.
    """
    check_type("scores", scores, Tensor)
    check_floats("scores", scores)
    check_finite("scores", scores)
    allowed = torch.ones_like(scores, dtype=torch.bool)
    if mask is not None:
        check_type("mask", mask, Tensor)
        check_mask(mask, scores.shape)
        allowed = allowed & mask
    # Half precision loses the small differences that decide who is in.
    precise = scores.to(torch.promote_types(scores.dtype, torch.float32))
    # From the best allowed key down; behind them stand the hidden ones, which never enter a sum.
    lowest = torch.finfo(precise.dtype).min
    # The weights do not depend on a common shift, so no gradient is due for it.
    best = precise.detach().masked_fill(~allowed, lowest).amax(dim=-1, keepdim=True)
    shifted = torch.where(allowed, precise - best, torch.zeros_like(precise))
    ordered, order = shifted.masked_fill(~allowed, lowest).sort(dim=-1, descending=True)
    held = allowed.gather(-1, order)
    ordered = ordered.masked_fill(~held, 0.0)
    count = torch.arange(1, scores.shape[-1] + 1, dtype=precise.dtype, device=scores.device)
    sums = ordered.cumsum(dim=-1)
    inside = held & (1 + count * ordered > sums)
    # An empty row has nobody inside; one in the denominator keeps its gradient finite.
    support = inside.sum(dim=-1, keepdim=True).clamp(min=1)
    tau = (ordered.masked_fill(~inside, 0.0).sum(dim=-1, keepdim=True) - 1) / support
    return torch.where(allowed, (shifted - tau).clamp(min=0.0), 0.0).to(scores.dtype)
