"""Tell attention how far a key stands from a query by what is added to the scores.

Built in chapter 6. As in ``masks.causal_mask``, the last query stands beside the last key.
"""

import math

import torch
from torch import nn

from attncourse._checks import check_count, check_floats, check_last_axis, check_type


def relative_distances(
    n_queries: int, n_keys: int, *, device: torch.device | str | None = None
) -> torch.Tensor:
    r"""Count how far each key stands from each query: negative before it, 0 beside it, positive after it.

    .. math:: \Delta_{ij} = j - \left(i + n_{\text{keys}} - n_{\text{queries}}\right)

    Parameters
    ----------
    n_queries, n_keys : int
        Tokens on both sides; the last query stands beside the last key.
    device : torch.device or str, optional
        Where to put the result.

    Returns
    -------
    Tensor of int64, shape (n_queries, n_keys)
        Distances in tokens.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is below 1.

    Notes
    -----
    Built in chapter 6.
    """
    check_count("n_queries", n_queries)
    check_count("n_keys", n_keys)
    queries = torch.arange(n_keys - n_queries, n_keys, device=device)[:, None]
    return torch.arange(n_keys, device=device) - queries


class RelativeKeys(nn.Module):
    r"""Score each query against one learned vector for each distance, clipped at ``max_distance``.

    .. math:: b_{ij} = \frac{q_i \, a_{\operatorname{clip}(\Delta_{ij})}^\top}{\sqrt{d_{\text{head}}}},
        \qquad \operatorname{clip}(\Delta) = \max(-K, \min(K, \Delta))

    Parameters
    ----------
    d_head : int
        Entries of a query.
    max_distance : int
        Largest distance K, in tokens, that is told from the next; all beyond share its vector.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is below 1.

    Notes
    -----
    (2 · max_distance + 1) · d_head parameters. Time O(n_queries · (max_distance · d_head + n_keys)): the
    products with all distance vectors come first, the table of pairs only picks from them. Only the term at
    the keys is here; the one at the values changed no result in the paper (table 3). Built in chapter 6.

    References
    ----------
    .. [1] Shaw, Uszkoreit and Vaswani (2018), sections 3.1 to 3.3, equations 4 and 5.
    """

    def __init__(self, d_head: int, max_distance: int) -> None:
        super().__init__()
        check_count("d_head", d_head)
        check_count("max_distance", max_distance)
        self.d_head = d_head
        self.max_distance = max_distance
        # Row K + Δ belongs to distance Δ.
        self.table = nn.Parameter(torch.empty(2 * max_distance + 1, d_head))
        nn.init.xavier_uniform_(self.table)

    def forward(self, query: torch.Tensor, n_keys: int) -> torch.Tensor:
        """Return what the distances add to the scores.

        Parameters
        ----------
        query : Tensor of float, shape (..., n_queries, d_head)
            The queries, not yet divided by the root of ``d_head``. Not modified.
        n_keys : int
            Tokens on the other side; the last query stands beside the last key.

        Returns
        -------
        Tensor, shape (..., n_queries, n_keys)
            A ``score_bias`` in nats, to be added to scaled scores.

        Raises
        ------
        TypeError
            If ``query`` is not a tensor of floats or ``n_keys`` not an integer.
        ValueError
            If ``query`` has another last axis than ``d_head``.
        """
        check_type("query", query, torch.Tensor)
        check_floats("query", query)
        check_last_axis("query", query, self.d_head, what="d_head")
        distances = relative_distances(query.shape[-2], n_keys, device=query.device)
        rows = distances.clamp(-self.max_distance, self.max_distance) + self.max_distance
        scaled = query / math.sqrt(self.d_head)
        by_distance = scaled @ self.table.T  # (..., n_queries, 2 * max_distance + 1)
        return by_distance.gather(-1, rows.expand(*query.shape[:-2], -1, -1))  # (..., n_queries, n_keys)


def alibi_slopes(
    n_heads: int, *, dtype: torch.dtype = torch.float32, device: torch.device | str | None = None
) -> torch.Tensor:
    r"""Give every head its own slope: how fast its scores fall with the distance.

    .. math:: m_h = 2^{-8h / n_{\text{heads}}}, \qquad h = 1 \dots n_{\text{heads}}

    Parameters
    ----------
    n_heads : int
        Heads. Where it is no power of two, the slopes for the next lower power p come first, then every other
        one of those for 2p, as in the authors' code.
    dtype : torch.dtype, optional
        Of the result.
    device : torch.device or str, optional
        Where to put the result.

    Returns
    -------
    Tensor, shape (n_heads,)
        Slopes in nats per token, all above 0.

    Raises
    ------
    TypeError
        If ``n_heads`` is not an integer.
    ValueError
        If ``n_heads`` is below 1.

    Notes
    -----
    Built in chapter 6.

    References
    ----------
    .. [1] Press, Smith and Lewis (2022), section 3; the rule for other numbers is in the code they published.
    """
    check_count("n_heads", n_heads)
    power = 2 ** int(math.log2(n_heads))
    slopes = [2.0 ** (-8 * h / power) for h in range(1, power + 1)]
    slopes += [2.0 ** (-4 * h / power) for h in range(1, 2 * (n_heads - power), 2)]
    return torch.tensor(slopes, dtype=dtype, device=device)


def linear_bias(slopes: torch.Tensor, n_queries: int, n_keys: int) -> torch.Tensor:
    r"""Lower each score in proportion to the distance, whatever query and key say.

    .. math:: b_{ij} = -m \, \lvert \Delta_{ij} \rvert

    Parameters
    ----------
    slopes : Tensor of float, any shape
        Slopes m in nats per token. Not modified.
    n_queries, n_keys : int
        Tokens on both sides; the last query stands beside the last key.

    Returns
    -------
    Tensor, shape (\*slopes.shape, n_queries, n_keys), dtype of ``slopes``
        A ``score_bias`` in nats.

    Raises
    ------
    TypeError
        If ``slopes`` are not a tensor of floats or a size is not an integer.
    ValueError
        If a size is below 1.

    Notes
    -----
    The paper has earlier keys only. Here later ones count by their distance too, so that without a causal
    mask the bias alone cannot tell left from right. Built in chapter 6.

    References
    ----------
    .. [1] Press, Smith and Lewis (2022), section 3.
    """
    check_type("slopes", slopes, torch.Tensor)
    check_floats("slopes", slopes, min_axes=0)
    distances = relative_distances(n_queries, n_keys, device=slopes.device).abs()
    precise = torch.promote_types(slopes.dtype, torch.float32)
    bias = -slopes.to(precise)[..., None, None] * distances  # (*slopes.shape, n_queries, n_keys)
    return bias.to(slopes.dtype)


def alibi_bias(
    n_heads: int,
    n_queries: int,
    n_keys: int,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> torch.Tensor:
    """Lower the scores of all heads in proportion to the distance, each with its slope of ``alibi_slopes``.

    Parameters
    ----------
    n_heads : int
        Heads.
    n_queries, n_keys : int
        Tokens on both sides; the last query stands beside the last key.
    dtype : torch.dtype, optional
        Of the result; the products are float32 or better.
    device : torch.device or str, optional
        Where to put the result.

    Returns
    -------
    Tensor, shape (n_heads, n_queries, n_keys)
        A ``score_bias`` in nats, to be added to scores of shape (batch, n_heads, n_queries, n_keys).

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is below 1.

    Notes
    -----
    Time and memory O(n_heads · n_queries · n_keys). Built in chapter 6.

    References
    ----------
    .. [1] Press, Smith and Lewis (2022), section 3, figure 3.
    """
    slopes = alibi_slopes(n_heads, dtype=torch.promote_types(dtype, torch.float32), device=device)
    return linear_bias(slopes, n_queries, n_keys).to(dtype)
