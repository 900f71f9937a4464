"""Tell attention where a token stands by what goes into the scores: added vectors or a rotation.

Built in chapter 6. ``position_biases`` has the schemes that add to the scores themselves.
"""

import math
from functools import lru_cache

import torch
from torch import nn

from attncourse._checks import (
    check_choice,
    check_count,
    check_floats,
    check_number,
    check_type,
)

ROTARY_LAYOUTS = ("half", "interleaved")


def position_angles(n_tokens: int, d_pairs: int, *, offset: int = 0, base: float = 10000.0) -> torch.Tensor:
    r"""Turn positions into angles, one for each pair of entries: a quick hand first, ever slower ones after.

    .. math:: \alpha_{t,i} = t \, \omega_i, \qquad \omega_i = \text{base}^{-2i/d}, \quad i = 0 \dots d/2 - 1

    Parameters
    ----------
    n_tokens : int
        Positions, ``offset`` … ``offset + n_tokens - 1``.
    d_pairs : int
        Size d of the vector whose entries form the pairs; even.
    offset : int, optional
        Position of the first token, in tokens: how many came before it, in a cache for example.
    base : float, optional
        The slowest hand turns by almost 1 / base radians a token.

    Returns
    -------
    Tensor of float64 on the CPU, shape (n_tokens, d_pairs / 2)
        Angles in radians.

    Raises
    ------
    TypeError
        If a size or ``offset`` is not an integer.
    ValueError
        If ``d_pairs`` is odd, a size is below 1, ``offset`` is negative, or ``base`` is not above 0.

    Notes
    -----
    Always in float64: an angle of 100 000 radians in float32 is off by up to 0.004, and in bfloat16
    neighbouring positions above 256 would share one angle. Time and memory O(n_tokens · d_pairs).
    Built in chapter 6.

    References
    ----------
    .. [1] Vaswani et al. (2017), section 3.5.
    .. [2] Su et al. (2021), section 3.2.2, equation 15.
    """
    check_count("n_tokens", n_tokens)
    _check_even("d_pairs", d_pairs)
    check_count("offset", offset, at_least=0)
    # Always on the CPU: some accelerators have no float64, and the rounded tables are small.
    positions = torch.arange(offset, offset + n_tokens, dtype=torch.float64, device="cpu")
    return positions[:, None] * _frequencies(d_pairs, base)


def _frequencies(size: int, base: float) -> torch.Tensor:
    check_number("base", base, above=0)
    exponents = torch.arange(0, size, 2, dtype=torch.float64, device="cpu") / size
    return float(base) ** -exponents  # (size / 2,), radians per token


def _check_even(name: str, size: int) -> None:
    check_count(name, size)
    if size % 2:
        raise ValueError(f"{name} must be even (entries turn in pairs), got {name}={size}")


def sinusoidal_positions(
    n_tokens: int,
    d_model: int,
    *,
    offset: int = 0,
    base: float = 10000.0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> torch.Tensor:
    r"""Describe each position by sines and cosines of growing wavelength, to be added to the embeddings.

    .. math::
        \text{PE}_{t,2i} = \sin\!\left(t / \text{base}^{2i/d}\right), \qquad
        \text{PE}_{t,2i+1} = \cos\!\left(t / \text{base}^{2i/d}\right)

    Parameters
    ----------
    n_tokens : int
        Positions, ``offset`` … ``offset + n_tokens - 1``.
    d_model : int
        Entries of each vector; even.
    offset : int, optional
        Position of the first token, in tokens.
    base : float, optional
        Ratio of the longest to the shortest wavelength, almost.
    dtype : torch.dtype, optional
        Of the result; the angles are float64 in any case.
    device : torch.device or str, optional
        Where to put the result.

    Returns
    -------
    Tensor, shape (n_tokens, d_model)
        One vector for each position; add it to inputs of shape (batch, n_tokens, d_model).

    Raises
    ------
    TypeError
        If a size or ``offset`` is not an integer.
    ValueError
        If ``d_model`` is odd, a size is below 1, ``offset`` is negative, or ``base`` is not above 0.

    Notes
    -----
    Time and memory O(n_tokens · d_model). Built in chapter 6.

    References
    ----------
    .. [1] Vaswani et al. (2017), section 3.5.
    """
    check_count("n_tokens", n_tokens)
    _check_even("d_model", d_model)
    angles = position_angles(n_tokens, d_model, offset=offset, base=base)
    pairs = torch.stack([angles.sin(), angles.cos()], dim=-1)  # (n_tokens, d_model / 2, 2)
    return pairs.flatten(-2).to(device=device, dtype=dtype)  # (n_tokens, d_model)


def shift_matrix(
    d_model: int,
    shift: int,
    *,
    base: float = 10000.0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> torch.Tensor:
    r"""Make the one rotation that moves every sinusoidal position by the same number of tokens.

    .. math::
        \text{PE}_{t+k} = \text{PE}_t R_k, \qquad
        R_k = \operatorname{diag}_i \begin{pmatrix}
            \cos k\omega_i & -\sin k\omega_i \\ \sin k\omega_i & \cos k\omega_i \end{pmatrix}

    Parameters
    ----------
    d_model : int
        Entries of a position vector; even.
    shift : int
        Tokens k to move by; negative moves back.
    base : float, optional
        As in ``sinusoidal_positions``.
    dtype : torch.dtype, optional
        Of the result.
    device : torch.device or str, optional
        Where to put the result.

    Returns
    -------
    Tensor, shape (d_model, d_model)
        An orthogonal matrix that does not depend on the position t; multiply rows by it from the right.

    Raises
    ------
    TypeError
        If ``d_model`` or ``shift`` is not an integer.
    ValueError
        If ``d_model`` is odd or below 1, or ``base`` is not above 0.

    Notes
    -----
    Time and memory O(d_model²). Built in chapter 6.

    References
    ----------
    .. [1] Vaswani et al. (2017), section 3.5, which says that this linear map exists.
    """
    _check_even("d_model", d_model)
    check_count("shift", shift, at_least=-math.inf)  # any integer
    angles = shift * _frequencies(d_model, base)
    cos, sin = angles.cos(), angles.sin()
    blocks = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)  # (pairs, 2, 2)
    return torch.block_diag(*blocks).to(device=device, dtype=dtype)  # (d_model, d_model)


class LearnedPositions(nn.Module):
    """Keep one learned vector for each position, to be added to the embeddings.

    Parameters
    ----------
    max_tokens : int
        Positions there are vectors for, 0 … ``max_tokens - 1``.
    d_model : int
        Entries of each vector.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is below 1.

    Notes
    -----
    max_tokens · d_model parameters; a position that no training sequence reached keeps its random start.
    Built in chapter 6.

    References
    ----------
    .. [1] Gehring et al. (2017), section 3.1; Vaswani et al. (2017), table 3, row E, compare them
       with sinusoids.
    """

    def __init__(self, max_tokens: int, d_model: int) -> None:
        super().__init__()
        check_count("max_tokens", max_tokens)
        check_count("d_model", d_model)
        self.max_tokens = max_tokens
        self.table = nn.Parameter(torch.randn(max_tokens, d_model))

    def forward(self, n_tokens: int, *, offset: int = 0) -> torch.Tensor:
        """Return the vectors of consecutive positions.

        Parameters
        ----------
        n_tokens : int
            Positions, ``offset`` … ``offset + n_tokens - 1``.
        offset : int, optional
            Position of the first token, in tokens.

        Returns
        -------
        Tensor, shape (n_tokens, d_model)
            One vector for each position, in the dtype and on the device of the parameters.

        Raises
        ------
        TypeError
            If an argument is not an integer.
        ValueError
            If a position lies beyond the last one that has a vector.
        """
        check_count("n_tokens", n_tokens)
        check_count("offset", offset, at_least=0)
        if offset + n_tokens > self.max_tokens:
            raise ValueError(
                f"offset + n_tokens must be at most max_tokens={self.max_tokens} (no vector is learned for "
                f"later positions), got offset={offset}, n_tokens={n_tokens}"
            )
        return self.table[offset : offset + n_tokens]


def rotate(x: torch.Tensor, *, offset: int = 0, base: float = 10000.0, layout: str = "half") -> torch.Tensor:
    r"""Turn each pair of entries by an angle that grows with the position (rotary positions).

    .. math::
        \begin{pmatrix} x'_a \\ x'_b \end{pmatrix} =
        \begin{pmatrix} \cos t\omega_i & -\sin t\omega_i \\ \sin t\omega_i & \cos t\omega_i \end{pmatrix}
        \begin{pmatrix} x_a \\ x_b \end{pmatrix}, \qquad \omega_i = \text{base}^{-2i/d_{\text{head}}}

    Rotate queries and keys alike, and leave the values alone: a score then depends on the distance between
    query and key only.

    Parameters
    ----------
    x : Tensor of float, shape (..., n_tokens, d_head)
        Queries or keys; ``d_head`` is even. Not modified.
    offset : int, optional
        Position of the first token, in tokens.
    base : float, optional
        As in ``position_angles``.
    layout : str, optional
        Which entries (a, b) form pair i: ``"half"`` takes i and i + d_head / 2, ``"interleaved"`` 2i and
        2i + 1, as the paper writes it. The same up to an order of entries (``change_layout``).

    Returns
    -------
    Tensor, shape (..., n_tokens, d_head), dtype of ``x``
        Vectors of the same norm.

    Raises
    ------
    TypeError
        If ``x`` is not a tensor of floats or ``offset`` not an integer.
    ValueError
        If ``d_head`` is odd, ``layout`` is unknown, ``offset`` is negative, or ``base`` is not above 0.

    Notes
    -----
    Angles are float64; half-precision vectors turn in float32 and are rounded once.
    Time and memory O(n_tokens · d_head) for each sequence. Built in chapter 6.

    References
    ----------
    .. [1] Su et al. (2021), RoFormer, sections 3.2.2 and 3.4.2, equations 15 and 34.
    """
    check_type("x", x, torch.Tensor)
    check_floats("x", x)
    check_choice("layout", layout, ROTARY_LAYOUTS)
    n_tokens, d_head = x.shape[-2:]
    _check_even("d_head", d_head)
    check_count("offset", offset, at_least=0)
    check_number("base", base, above=0)
    precise = torch.promote_types(x.dtype, torch.float32)
    cos, sin = _cosines_and_sines(n_tokens, d_head, offset, base, layout, precise, x.device)
    entries = x.to(precise)
    if layout == "half":
        partners = entries.roll(d_head // 2, dims=-1)
    else:
        partners = entries.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
    return (entries * cos + partners * sin).to(x.dtype)  # (..., n_tokens, d_head)


# All layers of a model, queries and keys, turn by the same few tables; a table is not worth keeping for long.
@lru_cache(maxsize=16)
def _cosines_and_sines(
    n_tokens: int,
    d_head: int,
    offset: int,
    base: float,
    layout: str,
    dtype: torch.dtype,
    device: torch.device,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (n_tokens, d_head) factors of each entry and of its partner, which nobody may write to."""
    # Tables made in inference mode could not be kept for a gradient later.
    with torch.inference_mode(False):
        angles = position_angles(n_tokens, d_head, offset=offset, base=base)  # (n_tokens, d_head / 2)
        # For entry a its partner counts with minus the sine, for entry b with plus.
        cos = torch.stack([angles.cos(), angles.cos()], dim=-1)  # (n_tokens, d_head / 2, 2)
        sin = torch.stack([-angles.sin(), angles.sin()], dim=-1)
        if layout == "half":
            cos, sin = cos.transpose(-2, -1), sin.transpose(-2, -1)  # (n_tokens, 2, d_head / 2)
        return cos.flatten(-2).to(device, dtype), sin.flatten(-2).to(device, dtype)


def change_layout(x: torch.Tensor, *, to: str, axis: int = -1) -> torch.Tensor:
    """Reorder entries made for the other rotary layout, so that ``rotate`` with layout ``to`` fits them.

    Parameters
    ----------
    x : Tensor, any shape
        Vectors (axis -1), or the weight of a projection, whose rows make the entries of a head: view it as
        (n_heads, d_head, d_model) and take axis 1. Not modified.
    to : str
        The layout wanted, ``"half"`` or ``"interleaved"``; ``x`` is in the other one.
    axis : int, optional
        The axis of length ``d_head``, even.

    Returns
    -------
    Tensor, shape of ``x``
        The same entries in another order. Reordered queries and keys have the same dot products.

    Raises
    ------
    TypeError
        If ``x`` is not a tensor.
    ValueError
        If ``to`` is unknown or the axis has odd length.

    Notes
    -----
    Built in chapter 6.
    """
    check_type("x", x, torch.Tensor)
    check_choice("to", to, ROTARY_LAYOUTS)
    _check_even("d_head", x.shape[axis])
    # Reading a table of pairs by columns instead of rows sorts one layout into the other.
    sizes = (-1, 2) if to == "half" else (2, -1)
    order = torch.arange(x.shape[axis], device=x.device).view(sizes).T.flatten()
    return x.index_select(axis, order)
