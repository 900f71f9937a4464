"""Masks that leave most pairs out, and how many layers information then needs to get everywhere.

Boolean, True = may attend; combine them with ``&`` and ``|``. Built in chapter 10.
"""

import torch
from torch import Tensor

from attncourse._checks import check_count, check_type, dtype_name


def dilated_mask(
    n_tokens: int, window: int, dilation: int, *, device: torch.device | str | None = None
) -> Tensor:
    r"""Let a token see itself and earlier ones at regular gaps: a wide view with few keys.

    .. math:: m_{ij} = \left[\, 0 \le i - j < w \, g \ \text{ and } \ (i - j) \bmod g = 0 \,\right]

    Parameters
    ----------
    n_tokens : int
        Tokens on both sides.
    window : int
        Keys w that a token sees at most, in tokens, its own position included.
    dilation : int
        Distance g from one of them to the next, in tokens; 1 is the plain window.
    device : torch.device or str, optional
        Where to put the mask.

    Returns
    -------
    Tensor of bool, shape (n_tokens, n_tokens)
        True where a token may attend.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is below 1.

    Notes
    -----
    Built in chapter 10.

    References
    ----------
    .. [1] Beltagy, Peters and Cohan (2020), Longformer, section 3.1 (there on both sides; this is the
       one-sided form).
    """
    check_count("window", window)
    check_count("dilation", dilation)
    back = _steps_back(n_tokens, device)
    return (back >= 0) & (back < window * dilation) & (back % dilation == 0)


def strided_mask(n_tokens: int, stride: int, *, device: torch.device | str | None = None) -> Tensor:
    r"""Let a token see its last ``stride`` neighbours, and before them every ``stride``-th token.

    .. math:: m_{ij} = \left[\, 0 \le i - j < s \,\right] \ \lor\
        \left[\, i \ge j \ \text{ and } \ (i - j) \bmod s = 0 \,\right]

    Parameters
    ----------
    n_tokens : int
        Tokens on both sides.
    stride : int
        Length s of the neighbourhood, and distance between the far tokens.
    device : torch.device or str, optional
        Where to put the mask.

    Returns
    -------
    Tensor of bool, shape (n_tokens, n_tokens)
        True where a token may attend; about stride + n_tokens / stride keys in the last row.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is below 1.

    Notes
    -----
    With a stride near √n every token reaches every earlier one within two layers, at O(n √n) pairs. Built in
    chapter 10.

    References
    ----------
    .. [1] Child, Gray, Radford and Sutskever (2019), "Generating long sequences with sparse Transformers",
       section 4.3, "strided" (there the neighbourhood and the far tokens belong to two heads).
    """
    check_count("stride", stride)
    back = _steps_back(n_tokens, device)
    return (back >= 0) & ((back < stride) | (back % stride == 0))


def block_mask(n_tokens: int, block: int, *, device: torch.device | str | None = None) -> Tensor:
    r"""Let a token see the tokens of its own block, before and behind it.

    .. math:: m_{ij} = \left[\, \lfloor i / b \rfloor = \lfloor j / b \rfloor \,\right]

    Parameters
    ----------
    n_tokens : int
        Tokens on both sides; the last block may be shorter.
    block : int
        Tokens b in a block.
    device : torch.device or str, optional
        Where to put the mask.

    Returns
    -------
    Tensor of bool, shape (n_tokens, n_tokens)
        True where a token may attend.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is below 1.

    Notes
    -----
    Alone it never lets information leave a block, with any number of layers. Built in chapter 10.
    """
    check_count("n_tokens", n_tokens)
    check_count("block", block)
    number = torch.arange(n_tokens, device=device) // block
    return number[:, None] == number[None, :]


def global_token_mask(n_tokens: int, places: Tensor) -> Tensor:
    r"""Let a few tokens see everything and be seen by everything; a token also sees itself.

    .. math:: m_{ij} = \left[\, i \in G \ \lor\ j \in G \ \lor\ i = j \,\right]

    Parameters
    ----------
    n_tokens : int
        Tokens on both sides.
    places : Tensor of int64, shape (n_global,)
        Positions G of the global tokens. Not modified.

    Returns
    -------
    Tensor of bool, shape (n_tokens, n_tokens)
        True where a token may attend, on the device of ``places``.

    Raises
    ------
    TypeError
        If ``n_tokens`` is not an integer or ``places`` not a tensor of int64.
    ValueError
        If a place lies outside the sequence, or ``places`` has not exactly one axis.

    Notes
    -----
    One global token is enough to carry information from anywhere to anywhere in two layers. Built in
    chapter 10.

    References
    ----------
    .. [1] Beltagy, Peters and Cohan (2020), Longformer, section 3.1, "global attention".
    """
    check_count("n_tokens", n_tokens)
    check_type("places", places, Tensor)
    if dtype_name(places) != "int64":
        raise TypeError(f"places must be of dtype int64, got places.dtype={dtype_name(places)}")
    if places.ndim != 1:
        raise ValueError(f"places must have one axis (n_global,), got places.shape={tuple(places.shape)}")
    if places.numel() and not 0 <= int(places.min()) <= int(places.max()) < n_tokens:
        raise ValueError(f"places must lie in 0 … {n_tokens - 1}, got places={places.tolist()}")
    chosen = torch.zeros(n_tokens, dtype=torch.bool, device=places.device)
    chosen[places] = True
    itself = torch.eye(n_tokens, dtype=torch.bool, device=places.device)
    return chosen[:, None] | chosen[None, :] | itself


def random_mask(n_tokens: int, n_random: int, generator: torch.Generator) -> Tensor:
    """Let every token see itself and a few others drawn at random.

    Parameters
    ----------
    n_tokens : int
        Tokens on both sides.
    n_random : int
        Other tokens that each one sees, fewer than ``n_tokens``.
    generator : torch.Generator
        Source of randomness, which moves on.

    Returns
    -------
    Tensor of bool, shape (n_tokens, n_tokens)
        True where a token may attend: ``n_random + 1`` keys in every row, on the generator's device.

    Raises
    ------
    TypeError
        If a size is not an integer or ``generator`` not a torch generator.
    ValueError
        If ``n_random`` is negative, or not below ``n_tokens``.

    Notes
    -----
    Built in chapter 10.

    References
    ----------
    .. [1] Zaheer et al. (2020), "Big Bird: Transformers for longer sequences", section 2.
    """
    check_count("n_tokens", n_tokens)
    check_count("n_random", n_random, at_least=0)
    check_type("generator", generator, torch.Generator)
    if n_random >= n_tokens:
        raise ValueError(f"n_random must be below n_tokens, got n_random={n_random}, n_tokens={n_tokens}")
    lots = torch.rand(n_tokens, n_tokens, generator=generator, device=generator.device)
    lots.fill_diagonal_(2.0)  # a token always draws itself
    mask = torch.zeros(n_tokens, n_tokens, dtype=torch.bool, device=generator.device)
    return mask.scatter(1, lots.topk(n_random + 1, dim=1).indices, True)


def reach(mask: Tensor, n_layers: int) -> Tensor:
    r"""Return whose input can change whose output after some layers of attention under a mask.

    .. math:: R = (M \lor I)^{n_{\text{layers}}} \quad \text{in Boolean arithmetic}

    Parameters
    ----------
    mask : Tensor of bool, shape (n_tokens, n_tokens)
        True where a token may attend, in every layer. Not modified.
    n_layers : int
        Layers with a residual path, which lets a token keep what it has.

    Returns
    -------
    Tensor of bool, shape (n_tokens, n_tokens)
        True where the output at a row may depend on the input at a column.

    Raises
    ------
    TypeError
        If ``mask`` is not a boolean tensor or ``n_layers`` not an integer.
    ValueError
        If ``mask`` is not square or ``n_layers`` is below 1.

    Notes
    -----
    Time O(n_layers · n³). Built in chapter 10.
    """
    check_type("mask", mask, Tensor)
    check_count("n_layers", n_layers)
    if mask.dtype != torch.bool:
        raise TypeError(f"mask must be of dtype bool, got mask.dtype={dtype_name(mask)}")
    if mask.ndim != 2 or mask.shape[0] != mask.shape[1]:
        raise ValueError(f"mask must be square, got mask.shape={tuple(mask.shape)}")
    once = (mask | torch.eye(len(mask), dtype=torch.bool, device=mask.device)).float()
    reached = once
    for _ in range(n_layers - 1):
        # Counts of paths grow without bound; only whether there is one matters.
        reached = ((reached @ once) > 0).float()
    return reached.bool()


def _steps_back(n_tokens: int, device: torch.device | str | None) -> Tensor:
    """Return how far every column lies before every row, in tokens."""
    check_count("n_tokens", n_tokens)
    places = torch.arange(n_tokens, device=device)
    return places[:, None] - places[None, :]
