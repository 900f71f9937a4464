"""Masks that say who may attend to whom: boolean, True = may attend. Combine them with ``&`` and ``|``.

Built in chapter 4.
"""

import torch

from attncourse._checks import check_count, check_type, dtype_name


def padding_mask(lengths: torch.Tensor, n_keys: int) -> torch.Tensor:
    """Hide the padding behind each sequence of a batch.

    Parameters
    ----------
    lengths : Tensor of int, shape (batch,)
        Real tokens in each sequence, 0 … ``n_keys``. Not modified.
    n_keys : int
        Tokens in the padded batch.

    Returns
    -------
    Tensor of bool, shape (batch, 1, n_keys)
        True at real tokens. The middle axis broadcasts over the queries; for scores with a heads axis
        insert one more: ``mask.unsqueeze(1)``.

    Raises
    ------
    TypeError
        If ``lengths`` is not an integer tensor or ``n_keys`` not an integer.
    ValueError
        If a length lies outside 0 … ``n_keys``, or ``lengths`` has not exactly one axis.

    Notes
    -----
    Built in chapter 4.
    """
    check_type("lengths", lengths, torch.Tensor)
    check_count("n_keys", n_keys)
    if "int" not in dtype_name(lengths):
        raise TypeError(f"lengths must be integers, got lengths.dtype={dtype_name(lengths)}")
    if lengths.ndim != 1:
        raise ValueError(f"lengths must have one axis (batch,), got lengths.shape={tuple(lengths.shape)}")
    if lengths.numel() and not 0 <= int(lengths.min()) <= int(lengths.max()) <= n_keys:
        raise ValueError(
            f"lengths must lie in 0 … n_keys={n_keys}, "
            f"got lengths from {int(lengths.min())} to {int(lengths.max())}"
        )
    positions = torch.arange(n_keys, device=lengths.device)
    return (positions < lengths[:, None])[:, None, :]  # (batch, 1, n_keys)


def _positions(
    n_queries: int, n_keys: int, device: torch.device | str | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return query and key positions as a column and a row, the last query beside the last key."""
    check_count("n_queries", n_queries)
    check_count("n_keys", n_keys)
    queries = torch.arange(n_keys - n_queries, n_keys, device=device)[:, None]
    return queries, torch.arange(n_keys, device=device)[None, :]


def causal_mask(n_queries: int, n_keys: int, *, device: torch.device | str | None = None) -> torch.Tensor:
    r"""Hide the future: a query sees its own position and everything before it.

    .. math:: m_{ij} = \left[\, j \le i + (n_{\text{keys}} - n_{\text{queries}}) \,\right]

    Parameters
    ----------
    n_queries, n_keys : int
        Tokens on both sides. The last query stands beside the last key, so that a query for a newly
        generated token sees every cached key.
    device : torch.device or str, optional
        Where to put the mask.

    Returns
    -------
    Tensor of bool, shape (n_queries, n_keys)
        True where a query may attend. With more queries than keys the first rows are empty.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is below 1.

    Notes
    -----
    Built in chapter 4. ``F.scaled_dot_product_attention(is_causal=True)`` aligns the other corner
    (first query beside first key); the two agree where ``n_queries == n_keys``.

    References
    ----------
    .. [1] Vaswani et al. (2017), section 3.2.3.
    """
    queries, keys = _positions(n_queries, n_keys, device)
    return keys <= queries


def window_mask(
    n_queries: int, n_keys: int, window: int, *, device: torch.device | str | None = None
) -> torch.Tensor:
    r"""Let a query see only the last ``window`` positions, its own included.

    .. math:: m_{ij} = \left[\, p_i - w < j \le p_i \,\right],
        \qquad p_i = i + (n_{\text{keys}} - n_{\text{queries}})

    Parameters
    ----------
    n_queries, n_keys : int
        Tokens on both sides; the last query stands beside the last key.
    window : int
        Keys a query sees at most, in tokens, its own position included. 1 leaves only itself;
        ``n_keys`` or more gives the causal mask.
    device : torch.device or str, optional
        Where to put the mask.

    Returns
    -------
    Tensor of bool, shape (n_queries, n_keys)
        True where a query may attend. With more queries than keys the first rows are empty.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is below 1.

    Notes
    -----
    Built in chapter 4.

    References
    ----------
    .. [1] Beltagy, Peters and Cohan (2020), Longformer, section 3.1 (there half of the window lies on either
       side; this is the one-sided form).
    """
    check_count("window", window)
    queries, keys = _positions(n_queries, n_keys, device)
    return (keys <= queries) & (keys > queries - window)
