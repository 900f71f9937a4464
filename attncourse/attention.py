"""Scaled dot-product attention in torch, with masks, empty rows and half precision done right.

Built in chapter 4.
"""

import itertools
import math

import torch
from torch.nn import functional as F

from attncourse._checks import (
    check_finite,
    check_floats,
    check_leading_axes,
    check_mask,
    check_number,
    check_same_axis,
    check_same_dtype,
    check_type,
    dtype_name,
)


def masked_softmax(scores: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    r"""Turn each row of scores into weights over the keys that the mask allows.

    .. math:: a_{ij} = \frac{m_{ij} \exp(s_{ij})}{\sum_{j'} m_{ij'} \exp(s_{ij'})}

    Parameters
    ----------
    scores : Tensor of float, shape (..., n_queries, n_keys)
        Scores in nats. Not modified.
    mask : Tensor of bool, broadcastable to ``scores``, optional
        True where a query may attend. None allows every key. Not modified.

    Returns
    -------
    Tensor, shape (..., n_queries, n_keys), dtype of ``scores``
        Weights. Each row sums to 1, or to 0 where the mask allows no key; gradients are finite there.

    Raises
    ------
    TypeError
        If ``scores`` are not floating point or ``mask`` is not boolean.
    ValueError
        If ``mask`` does not broadcast to ``scores``, or ``scores`` are empty, infinite or hold NaN.

    Notes
    -----
    Half-precision scores are exponentiated in float32 and rounded once at the end.
    Time and memory O(n_queries · n_keys). Built in chapter 4.
    """
    _check_tensors(mask, scores=scores)
    check_finite("scores", scores)
    if mask is not None:
        check_mask(mask, scores.shape)
    return _masked_softmax(scores, mask)


def _masked_softmax(scores: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    precise = torch.float32 if scores.dtype in (torch.float16, torch.bfloat16) else scores.dtype
    if mask is None:
        return torch.softmax(scores, dim=-1, dtype=precise).to(scores.dtype)
    allowed = scores.masked_fill(~mask, -math.inf)
    # A row of only -inf would give NaN: let an empty row be uniform first, then zero it.
    empty = ~mask.any(dim=-1, keepdim=True)
    weights = torch.softmax(allowed.masked_fill(empty, 0.0), dim=-1, dtype=precise)
    return weights.masked_fill(empty, 0.0).to(scores.dtype)


def masked_softmax_(scores: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Give the weights of ``masked_softmax``, for a layer that made the scores and needs them no more.

    Parameters
    ----------
    scores : Tensor of float, shape (..., n_queries, n_keys)
        Scores in nats. With a mask they are **overwritten**; gradients flow to what they were made from.
    mask : Tensor of bool, broadcastable to ``scores``, optional
        True where a query may attend. None allows every key. Not modified.

    Returns
    -------
    Tensor, shape (..., n_queries, n_keys), dtype of ``scores``
        Weights. Each row sums to 1, or to 0 where the mask allows no key; gradients are finite there.

    Raises
    ------
    TypeError
        If ``scores`` are no floating-point tensor or ``mask`` is not boolean.
    ValueError
        If ``mask`` does not broadcast to ``scores``.

    Notes
    -----
    It does not look for NaN, and does not copy the scores: at 2,048 tokens, the two take more time than all
    the rest of a causal layer. The name follows torch, where functions that work in place end in ``_``.
    Time and memory O(n_queries · n_keys). Built in chapter 7.
    """
    check_type("scores", scores, torch.Tensor)
    if not scores.is_floating_point():
        raise TypeError(f"scores must be floating point, got scores.dtype={dtype_name(scores)}")
    if mask is None:
        return _masked_softmax(scores, None)
    check_type("mask", mask, torch.Tensor)
    check_mask(mask, scores.shape)
    # Where every query may see the first key, as with a causal mask or padding at the end, no row is empty.
    mask = torch.atleast_1d(mask)
    empty = None if bool(mask[..., :1].all()) else ~mask.any(dim=-1, keepdim=True)
    any_empty = empty is not None and bool(empty.any())
    # The smaller of a score and -inf is -inf: as masked_fill_(~mask, -inf), and nine times faster.
    highest = torch.where(mask, math.inf, -math.inf).to(scores.dtype)
    # A hidden score gets weight 0, and so gradient 0: writing over it needs no backward pass of its own.
    with torch.no_grad():
        torch.minimum(scores, highest, out=scores)
        if any_empty:
            scores.masked_fill_(empty, 0.0)  # as in masked_softmax: uniform first, then zero
    weights = _masked_softmax(scores, None)
    return weights.masked_fill(empty, 0.0) if any_empty else weights


def attend(
    scores: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    r"""Turn scores of any kind into weights, and mix the values by them.

    .. math:: o_i = \sum_j a_{ij} v_j, \qquad a = \operatorname{masked\,softmax}(s, m)

    Parameters
    ----------
    scores : Tensor of float, shape (..., n_queries, n_keys)
        Scores in nats, from any of ``attncourse.scores``. Not modified.
    value : Tensor of float, shape (..., n_keys, d_value)
        What contributes to the output. Not modified.
    mask : Tensor of bool, broadcastable to ``scores``, optional
        True where a query may attend. None allows every key. Not modified.

    Returns
    -------
    output : Tensor, shape (..., n_queries, d_value)
        One mixture of the values for each query; zeros where the mask allows no key.
    weights : Tensor, shape (..., n_queries, n_keys)
        The weights that made it.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind or the dtypes differ.
    ValueError
        If the shapes do not fit, an argument is empty or holds NaN, or a score is infinite.

    Notes
    -----
    Time O(n_queries · n_keys · d_value). Built in chapter 4.
    """
    _check_tensors(mask, scores=scores, value=value)
    check_finite("scores", scores)
    check_leading_axes(scores=scores, value=value)
    if scores.shape[-1] != value.shape[-2]:
        raise ValueError(
            "scores must have one entry per row of value on its last axis, "
            f"got scores.shape={tuple(scores.shape)}, value.shape={tuple(value.shape)}"
        )
    if mask is not None:
        check_mask(mask, scores.shape)
    weights = _masked_softmax(scores, mask)
    return weights @ value, weights  # (..., n_queries, d_value), (..., n_queries, n_keys)


def scaled_dot_product_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None = None,
    *,
    scale: float | None = None,
    dropout: float = 0.0,
    return_weights: bool = False,
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    r"""Attend with dot-product scores divided by the square root of the head size.

    .. math:: O = \operatorname{softmax}\!\left(\frac{Q K^\top}{\sqrt{d_{\text{head}}}}\right) V

    Parameters
    ----------
    query : Tensor of float, shape (..., n_queries, d_head)
        What is compared. Not modified.
    key : Tensor of float, shape (..., n_keys, d_head)
        What it is compared with. Not modified.
    value : Tensor of float, shape (..., n_keys, d_value)
        What contributes to the output. Not modified.
    mask : Tensor of bool, broadcastable to (..., n_queries, n_keys), optional
        True where a query may attend. None allows every key. Not modified.
    scale : float, optional
        Factor on every score; ``1 / sqrt(d_head)`` unless given.
    dropout : float, optional
        Probability of dropping each weight; the others grow by ``1 / (1 - dropout)``. It is applied
        whenever it is above 0: pass 0 in evaluation. Randomness comes from torch's global generator.
    return_weights : bool, optional
        Whether to return the weights too (those that made the output, dropout included).

    Returns
    -------
    output : Tensor, shape (..., n_queries, d_value)
        One mixture of the values for each query; zeros where the mask allows no key.
    weights : Tensor, shape (..., n_queries, n_keys)
        Only with ``return_weights=True``.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind or the dtypes differ.
    ValueError
        If the shapes do not fit, an argument is empty or holds NaN, or ``dropout`` is outside [0, 1).

    Notes
    -----
    The query is scaled before the product, which keeps half-precision scores inside their range.
    Time O(n_queries · n_keys · (d_head + d_value)), memory O(n_queries · n_keys). Built in chapter 4.

    References
    ----------
    .. [1] Vaswani et al. (2017), section 3.2.1, equation 1.
    """
    check_attention(query, key, value, mask)
    if scale is None:
        scale = 1.0 / math.sqrt(query.shape[-1])
    check_number("scale", scale)
    check_number("dropout", dropout, at_least=0, below=1)
    scores = (query * scale) @ key.transpose(-2, -1)  # (..., n_queries, n_keys)
    weights = F.dropout(_masked_softmax(scores, mask), dropout)
    output = weights @ value  # (..., n_queries, d_value)
    return (output, weights) if return_weights else output


def check_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None
) -> None:
    """Require query, key, value and mask that fit together, for every way of computing attention.

    Parameters
    ----------
    query, key, value : Tensor of float
        Shapes (..., n_queries, d_head), (..., n_keys, d_head), (..., n_keys, d_value). Not modified.
    mask : Tensor of bool or None
        Broadcasts to (..., n_queries, n_keys). Not modified.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind or the dtypes differ.
    ValueError
        If the shapes do not fit, or an argument is empty or holds NaN.

    Notes
    -----
    Built in chapter 4.
    """
    _check_tensors(mask, query=query, key=key, value=value)
    check_same_axis("query", query, "key", key, axis=-1, what="last axis")
    check_same_axis("key", key, "value", value, axis=-2, what="number of tokens")
    leading = check_leading_axes(query=query, key=key, value=value)
    if mask is not None:
        check_mask(mask, (*leading, query.shape[-2], key.shape[-2]))


def _check_tensors(mask: torch.Tensor | None, **arrays: torch.Tensor) -> None:
    """Require floating-point tensors of one dtype, and a mask that is a tensor too."""
    for name, array in arrays.items():
        check_type(name, array, torch.Tensor)
        check_floats(name, array)
    for name, other in itertools.pairwise(arrays):
        check_same_dtype(name, arrays[name], other, arrays[other])
    if mask is not None:
        check_type("mask", mask, torch.Tensor)
