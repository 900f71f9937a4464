"""Two ways to look by position alone: a score that never reads the keys, and a window that moves along them.

Built in chapter 10.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from attncourse._checks import check_count, check_floats, check_last_axis, check_type


class LocationScore(nn.Module):
    r"""Score every place from the query alone: what the keys hold is never read.

    .. math:: s_{ij} = q_i \, w_j, \qquad W = [w_1 \dots w_{\text{max\_keys}}]
        \in \mathbb{R}^{d_{\text{query}} \times \text{max\_keys}}

    Parameters
    ----------
    d_query : int
        Entries of a query.
    max_keys : int
        Places that can be scored; a longer sequence of keys is an error.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is below 1.

    Notes
    -----
    d_query · max_keys parameters: one column for each place, so that a place never seen in training has a
    column that was never trained. The paper ignores places beyond the last column; here they are an error.
    Time O(n_queries · d_query · n_keys). Built in chapter 10.

    References
    ----------
    .. [1] Luong, Pham and Manning (2015), section 3.1, equation 8, "location".
    """

    def __init__(self, d_query: int, max_keys: int) -> None:
        super().__init__()
        check_count("d_query", d_query)
        check_count("max_keys", max_keys)
        self.place_proj = nn.Linear(d_query, max_keys, bias=False)

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        """Score as many places as there are keys.

        Parameters
        ----------
        query : Tensor of float, shape (..., n_queries, d_query)
            What asks. Not modified.
        key : Tensor of float, shape (..., n_keys, d_key)
            Only counted, never read. Not modified.

        Returns
        -------
        Tensor, shape (..., n_queries, n_keys)
            Scores in nats, the same for all contents of ``key``.

        Raises
        ------
        TypeError
            If an argument is not a tensor of floats.
        ValueError
            If the query's last axis is not ``d_query``, or there are more keys than ``max_keys``.
        """
        check_type("query", query, Tensor)
        check_floats("query", query)
        check_type("key", key, Tensor)
        check_floats("key", key)
        check_last_axis("query", query, self.place_proj.in_features, what="d_query")
        n_keys = key.shape[-2]
        if n_keys > self.place_proj.out_features:
            raise ValueError(
                f"key must have at most max_keys={self.place_proj.out_features} tokens, "
                f"got key.shape={tuple(key.shape)}"
            )
        return self.place_proj(query)[..., :n_keys]  # (..., n_queries, n_keys)


class Windows(NamedTuple):
    """Hold what a ``GaussianWindow`` makes of its queries.

    Parameters
    ----------
    weights : Tensor, shape (..., n_queries, n_keys)
        One weight for each place, not negative; a row need not sum to 1.
    centres : Tensor, shape (..., n_queries, n_components)
        Where the bumps stand, in places from 0, at least float32; the last row is the start of the next call.
    """

    weights: Tensor
    centres: Tensor


class GaussianWindow(nn.Module):
    r"""Look at the keys through bumps whose centres only move forward, by as much as the query says.

    .. math::
        (\hat\alpha_t, \hat\beta_t, \hat\kappa_t) = q_t W + b, \qquad
        \kappa_t = \kappa_{t-1} + e^{\hat\kappa_t}, \qquad
        a_{tj} = \sum_m e^{\hat\alpha_{tm}} \exp\!\left(-e^{\hat\beta_{tm}} (\kappa_{tm} - j)^2\right)

    Parameters
    ----------
    d_query : int
        Entries of a query.
    n_components : int, optional
        Bumps that are added up.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is below 1.

    Notes
    -----
    (d_query + 1) · 3 · n_components parameters, whatever the number of keys. The weights are not normalised,
    as in the paper. Places count from 0, and before the first query the centres stand at -1, so that a step
    of 1 lands on the first key; the paper counts places from 1 and starts at 0, which is the same. Time and
    memory O(n_queries · n_keys · n_components). Built in chapter 10.

    References
    ----------
    .. [1] Graves (2013), "Generating sequences with recurrent neural networks", section 5.1, equations 46
       to 51.
    """

    def __init__(self, d_query: int, n_components: int = 3) -> None:
        super().__init__()
        check_count("d_query", d_query)
        check_count("n_components", n_components)
        self.n_components = n_components
        self.window_proj = nn.Linear(d_query, 3 * n_components)

    def forward(self, query: Tensor, key: Tensor, *, centres: Tensor | None = None) -> Windows:
        """Place the windows of a sequence of queries, each one ahead of the last.

        Parameters
        ----------
        query : Tensor of float, shape (..., n_queries, d_query)
            What asks, in the order of time. Not modified.
        key : Tensor of float, shape (..., n_keys, d_key)
            Only counted, never read. Not modified.
        centres : Tensor, shape (..., n_components), optional
            Where the bumps stood after the query before; -1 unless given. Not modified.

        Returns
        -------
        Windows
            Weights for every place, and the centres behind them.

        Raises
        ------
        TypeError
            If an argument is not a tensor of floats.
        ValueError
            If the query's last axis is not ``d_query``, or ``centres`` has not one entry for each bump.
        """
        check_type("query", query, Tensor)
        check_floats("query", query)
        check_type("key", key, Tensor)
        check_floats("key", key)
        check_last_axis("query", query, self.window_proj.in_features, what="d_query")
        precise = torch.promote_types(query.dtype, torch.float32)  # bfloat16 cannot tell place 299 from 300
        height, narrowness, step = self.window_proj(query).to(precise).exp().chunk(3, dim=-1)
        moved = step.cumsum(dim=-2)  # (..., n_queries, n_components)
        if centres is None:
            moved = moved - 1
        else:
            check_type("centres", centres, Tensor)
            check_floats("centres", centres, min_axes=1)
            check_last_axis("centres", centres, self.n_components, what="n_components")
            moved = moved + centres.unsqueeze(-2)
        places = torch.arange(key.shape[-2], dtype=precise, device=query.device)
        distance = moved.unsqueeze(-1) - places  # (..., n_queries, n_components, n_keys)
        bumps = height.unsqueeze(-1) * torch.exp(-narrowness.unsqueeze(-1) * distance**2)
        return Windows(bumps.sum(dim=-2).to(query.dtype), moved)
