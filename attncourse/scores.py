"""Five ways to compare a query with a key, each a module from (query, key) to scores.

Built in chapter 3.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from attncourse._checks import (
    check_choice,
    check_count,
    check_floats,
    check_leading_axes,
    check_number,
    check_same_axis,
    check_same_dtype,
    check_type,
)


def _check_pair(query: torch.Tensor, key: torch.Tensor) -> None:
    for name, array in (("query", query), ("key", key)):
        check_type(name, array, torch.Tensor)
        check_floats(name, array)
    check_same_dtype("query", query, "key", key)
    check_leading_axes(query=query, key=key)


class DotScore(nn.Module):
    r"""Score by the dot product: large when query and key point the same way and have large norms.

    .. math:: s_{ij} = q_i k_j^\top

    Notes
    -----
    No parameters. Time O(n_queries · n_keys · d_head). Built in chapter 3.

    References
    ----------
    .. [1] Luong, Pham and Manning (2015), section 3.1, "dot".
    """

    def forward(self, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        """Compare every query with every key.

        Parameters
        ----------
        query : Tensor of float, shape (..., n_queries, d_head)
            What is compared. Not modified.
        key : Tensor of float, shape (..., n_keys, d_head)
            What it is compared with. Not modified.

        Returns
        -------
        Tensor, shape (..., n_queries, n_keys)
            Scores in nats.
        """
        _check_pair(query, key)
        check_same_axis("query", query, "key", key, axis=-1, what="last axis")
        return query @ key.transpose(-2, -1)  # (..., n_queries, n_keys)


class ScaledDotScore(DotScore):
    r"""Score by the dot product divided by the square root of the head size.

    .. math:: s_{ij} = \frac{q_i k_j^\top}{\sqrt{d_{\text{head}}}}

    Notes
    -----
    No parameters. Chapter 4 derives the root. Time O(n_queries · n_keys · d_head). Built in chapter 3.

    References
    ----------
    .. [1] Vaswani et al. (2017), section 3.2.1, equation 1.
    """

    def forward(self, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        """Compare every query with every key; shapes as in ``DotScore.forward``."""
        _check_pair(query, key)
        return super().forward(query / math.sqrt(query.shape[-1]), key)


class GeneralScore(nn.Module):
    r"""Score by a learned bilinear form, so that query and key may live in different spaces.

    .. math:: s_{ij} = q_i W k_j^\top, \qquad W \in \mathbb{R}^{d_{\text{query}} \times d_{\text{key}}}

    Parameters
    ----------
    d_query, d_key : int
        Entries of a query and of a key.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is below 1.

    Notes
    -----
    d_query · d_key parameters. Time O(n_queries · d_key · (d_query + n_keys)). Built in chapter 3.

    References
    ----------
    .. [1] Luong, Pham and Manning (2015), section 3.1, "general".
    """

    def __init__(self, d_query: int, d_key: int) -> None:
        super().__init__()
        check_count("d_query", d_query)
        check_count("d_key", d_key)
        self.query_to_key = nn.Linear(d_query, d_key, bias=False)
        self.dot = DotScore()

    def forward(self, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        """Compare every query with every key.

        Parameters
        ----------
        query : Tensor of float, shape (..., n_queries, d_query)
            What is compared. Not modified.
        key : Tensor of float, shape (..., n_keys, d_key)
            What it is compared with. Not modified.

        Returns
        -------
        Tensor, shape (..., n_queries, n_keys)
            Scores in nats.
        """
        _check_pair(query, key)
        _check_size("query", query, "d_query", self.query_to_key.in_features)
        _check_size("key", key, "d_key", self.query_to_key.out_features)
        return self.dot(self.query_to_key(query), key)


class AdditiveScore(nn.Module):
    r"""Score by a small network that looks at query and key together.

    .. math:: s_{ij} = \tanh(q_i A^Q + k_j A^K + b) \, w

    Parameters
    ----------
    d_query, d_key : int
        Entries of a query and of a key.
    d_hidden : int
        Width of the hidden layer.
    bias : bool, optional
        Whether to learn b. Without it the score is odd, s(-q, -k) = -s(q, k): where flipping all signs
        leaves a problem equally likely and its right key unchanged, the right key comes first at most
        half of the time (chapter 3).

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is below 1.

    Notes
    -----
    (d_query + d_key + 2) · d_hidden parameters. Time and memory O(n_queries · n_keys · d_hidden), because
    the hidden layer exists once for each pair, and time O((n_queries · d_query + n_keys · d_key) · d_hidden)
    for the two projections. Built in chapter 3.

    References
    ----------
    .. [1] Bahdanau, Cho and Bengio (2015), appendix A.1.2 (the formula; A.1.1 and
       A.2.1 say that biases are left out).
    """

    def __init__(self, d_query: int, d_key: int, d_hidden: int, *, bias: bool = True) -> None:
        super().__init__()
        for name, size in (("d_query", d_query), ("d_key", d_key), ("d_hidden", d_hidden)):
            check_count(name, size)
        self.query_proj = nn.Linear(d_query, d_hidden, bias=False)
        self.key_proj = nn.Linear(d_key, d_hidden, bias=bias)
        self.readout = nn.Linear(d_hidden, 1, bias=False)

    def forward(self, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        """Compare every query with every key; shapes as in ``GeneralScore.forward``."""
        _check_pair(query, key)
        _check_size("query", query, "d_query", self.query_proj.in_features)
        _check_size("key", key, "d_key", self.key_proj.in_features)
        return self.compare(self.query_proj(query), self.key_proj(key))

    def compare(self, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        """Compare vectors that are already projected: a decoder projects its keys once for all its steps.

        Parameters
        ----------
        query : Tensor of float, shape (..., n_queries, d_hidden)
            What ``query_proj`` makes of the queries. Not modified.
        key : Tensor of float, shape (..., n_keys, d_hidden)
            What ``key_proj`` makes of the keys. Not modified.

        Returns
        -------
        Tensor, shape (..., n_queries, n_keys)
            Scores in nats.
        """
        hidden = torch.tanh(query.unsqueeze(-2) + key.unsqueeze(-3))  # (..., n_queries, n_keys, d_hidden)
        return self.readout(hidden).squeeze(-1)


class CosineScore(nn.Module):
    r"""Score by the angle alone: the norms of query and key do not matter.

    .. math:: s_{ij} = \text{scale} \cdot \frac{q_i k_j^\top}{\lVert q_i \rVert \, \lVert k_j \rVert}

    Parameters
    ----------
    scale : float, optional
        Scores lie between -scale and scale. With the default 1 no weight can be more
        than e² ≈ 7.4 times another.

    Raises
    ------
    TypeError
        If ``scale`` is not a number.
    ValueError
        If ``scale`` is not above 0.

    Notes
    -----
    No parameters. A vector of norm zero scores 0. Time O(n_queries · n_keys · d_head). Built in chapter 3.

    References
    ----------
    .. [1] Graves, Wayne and Danihelka (2014), section 3.3.1, equations 5 and 6.
    """

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        check_number("scale", scale, above=0)
        self.scale = scale
        self.dot = DotScore()

    def forward(self, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        """Compare every query with every key; shapes as in ``DotScore.forward``."""
        _check_pair(query, key)
        return self.scale * self.dot(_unit(query), _unit(key))


def _unit(vectors: torch.Tensor) -> torch.Tensor:
    # In float16 the norm itself may overflow, or the guard against a norm of zero vanish.
    precise = torch.promote_types(vectors.dtype, torch.float32)
    return F.normalize(vectors.to(precise), dim=-1).to(vectors.dtype)


def _check_size(name: str, array: torch.Tensor, size_name: str, size: int) -> None:
    if array.shape[-1] != size:
        raise ValueError(
            f"{name} must have {size_name}={size} as its last axis, got {name}.shape={tuple(array.shape)}"
        )


SCORE_NAMES = ("dot", "scaled_dot", "general", "additive", "cosine")


def build_score(name: str, *, d_query: int, d_key: int, d_hidden: int | None = None) -> nn.Module:
    """Make a score module by name, for experiments that compare them.

    Parameters
    ----------
    name : str
        One of ``SCORE_NAMES``: dot, scaled_dot, general, additive, cosine.
    d_query, d_key : int
        Entries of a query and of a key; the dot products and the cosine need them equal.
    d_hidden : int, optional
        Width of the additive score's hidden layer; ``d_key`` unless given.

    Returns
    -------
    nn.Module
        A module from (query, key) to scores of shape (..., n_queries, n_keys).

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If the name is unknown, or a score without parameters is asked for with unequal sizes.

    Notes
    -----
    Built in chapter 3.
    """
    check_choice("name", name, SCORE_NAMES)
    check_count("d_query", d_query)
    check_count("d_key", d_key)
    if name == "general":
        return GeneralScore(d_query, d_key)
    if name == "additive":
        return AdditiveScore(d_query, d_key, d_key if d_hidden is None else d_hidden)
    if d_query != d_key:
        raise ValueError(
            f"d_query and d_key must be equal for the {name} score, got d_query={d_query}, d_key={d_key}"
        )
    return {"dot": DotScore, "scaled_dot": ScaledDotScore, "cosine": CosineScore}[name]()
