"""Attention to the last few tokens only, in time that grows with the length and not with its square.

Built in chapter 15.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from attncourse._checks import check_count
from attncourse.attention import check_attention
from attncourse.blockwise import blockwise_attention
from attncourse.masks import window_mask

# Queries that are worked on together: as many as the window, which makes half of the block band. Where the
# window is wide, fewer waste less; where it is narrow, more keep the loop cheaper than the products.
SMALLEST_CHUNK, LARGEST_CHUNK = 64, 512


def sliding_window_attention(
    query: Tensor, key: Tensor, value: Tensor, window: int, *, scale: float | None = None
) -> Tensor:
    r"""Attend to the last ``window`` tokens, as under ``masks.window_mask``, and touch no others.

    .. math:: o_i = \sum_{j = p_i - w + 1}^{p_i} a_{ij} v_j, \qquad
        p_i = i + (n_{\text{keys}} - n_{\text{queries}})

    Parameters
    ----------
    query : Tensor of float, shape (..., n_queries, d_head)
        What is compared. Not modified.
    key : Tensor of float, shape (..., n_keys, d_head)
        What it is compared with. Not modified.
    value : Tensor of float, shape (..., n_keys, d_value)
        What contributes to the output. Not modified.
    window : int
        Keys w that a query sees at most, in tokens, its own position included.
    scale : float, optional
        Factor on every score; ``1 / sqrt(d_head)`` unless given.

    Returns
    -------
    Tensor, shape (..., n_queries, d_value)
        One mixture of the values for each query; zeros, with zero gradients, before the first key.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind or the dtypes differ.
    ValueError
        If the shapes do not fit, an argument is empty or holds NaN, or ``window`` is below 1.

    Notes
    -----
    The queries are cut into chunks, and each chunk meets the run of keys that its queries see: a view with an
    axis of chunks, so that all chunks are one call of ``blockwise_attention``. Writing the chunks' outputs
    into slices of one tensor instead would make the backward pass quadratic: autograd then handles the whole
    tensor once for each slice.
    Time O(n_queries · (window + 64) · (d_head + d_value)), memory O(n_queries · (window + 64)) bytes for the
    mask and O(n · (d_head + d_value)) numbers, forward and backward. Built in chapter 15.

    References
    ----------
    .. [1] Beltagy, Peters and Cohan (2020), Longformer, section 3.1 (there half of the window lies on either
       side; this is the one-sided form).
    """
    check_attention(query, key, value, None)
    check_count("window", window)
    n_queries, n_keys = query.shape[-2], key.shape[-2]
    window = min(window, n_keys)
    chunk = min(n_queries, max(SMALLEST_CHUNK, min(window, LARGEST_CHUNK)))
    n_chunks = -(-n_queries // chunk)
    run = chunk + window - 1  # keys that the queries of a chunk see
    missing = n_chunks * chunk - n_queries

    # Let the keys begin window - 1 before the first query, and end with the last query of the last chunk.
    before = n_queries - n_keys + window - 1
    pads = (0, 0, before, missing)
    chunks = F.pad(query, (0, 0, 0, missing)).unflatten(
        -2, (n_chunks, chunk)
    )  # (..., n_chunks, chunk, d_head)
    keys, values = (
        F.pad(array, pads).unfold(-2, run, chunk).transpose(-2, -1)  # (..., n_chunks, run, features)
        for array in (key, value)
    )
    is_key = F.pad(torch.ones(n_keys, dtype=torch.bool, device=key.device), (before, missing))
    mask = window_mask(chunk, run, window, device=key.device) & is_key.unfold(0, run, chunk)[:, None]
    output = blockwise_attention(chunks, keys, values, mask, scale=scale)  # (..., n_chunks, chunk, d_value)
    return output.flatten(-3, -2)[..., :n_queries, :]
