"""Choose the next token from a model's logits: the likeliest, or a draw from a cut and sharpened softmax.

Built in chapter 9.
"""

import math
from collections.abc import Collection

import torch
from torch import Tensor

from attncourse._checks import check_count, check_floats, check_number, check_type


def greedy(logits: Tensor) -> Tensor:
    r"""Take the likeliest token.

    .. math:: y = \arg\max_v z_v

    Parameters
    ----------
    logits : Tensor of float, shape (..., vocab_size)
        Unnormalised log-probabilities, in nats. Not modified.

    Returns
    -------
    Tensor of int64, shape (...)
        Token numbers; the lowest of several equal ones.

    Raises
    ------
    TypeError
        If ``logits`` is not a tensor of floats.
    ValueError
        If it is empty, holds NaN or infinity, or allows no token in some row.

    Notes
    -----
    Built in chapter 9.
    """
    _check_logits(logits)
    return logits.argmax(dim=-1)


def sample(
    logits: Tensor,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None,
) -> Tensor:
    r"""Draw a token at random, with probabilities that may be sharpened and cut.

    .. math:: p(v) \propto \exp(z_v / T)

    Parameters
    ----------
    logits : Tensor of float, shape (..., vocab_size)
        Unnormalised log-probabilities, in nats; -inf for a token that must not be drawn. Not modified.
    temperature : float, optional
        T, above 0. Below 1 likely tokens gain, above 1 unlikely ones. Towards 0 the draw becomes ``greedy``,
        except that equal largest logits share the draws.
    top_k : int, optional
        Draw from that many likeliest tokens alone, see ``top_k_filter``.
    top_p : float, optional
        Draw from the fewest likeliest tokens that hold this share of the probability, see ``top_p_filter``.
        Counted after temperature and ``top_k``.
    generator : torch.Generator or None
        Source of randomness, which moves on; None is torch's global one.

    Returns
    -------
    Tensor of int64, shape (...)
        Token numbers.

    Raises
    ------
    TypeError
        If an argument is of the wrong type.
    ValueError
        If a number is out of range, or ``logits`` is empty, holds NaN or infinity, or allows no token in
        some row.

    Notes
    -----
    Time O(vocab_size · log(vocab_size)) a row. Built in chapter 9.

    References
    ----------
    .. [1] Holtzman et al. (2020), "The curious case of neural text degeneration", sections 3 and 5.
    """
    _check_logits(logits)
    check_number("temperature", temperature, above=0)
    if generator is not None:
        check_type("generator", generator, torch.Generator)
    precise = logits.to(torch.promote_types(logits.dtype, torch.float32))
    # Counted from the largest logit nothing overflows; and a temperature must not be rounded to 0.
    temperature = max(temperature, torch.finfo(precise.dtype).tiny)
    precise = (precise - precise.amax(dim=-1, keepdim=True)) / temperature
    if top_k is not None:
        precise = top_k_filter(precise, top_k)
    if top_p is not None:
        precise = top_p_filter(precise, top_p)
    probabilities = precise.softmax(dim=-1).view(-1, logits.shape[-1])  # (rows, vocab_size)
    return torch.multinomial(probabilities, 1, generator=generator).view(logits.shape[:-1])


def top_k_filter(logits: Tensor, k: int) -> Tensor:
    r"""Forbid all tokens but the k likeliest.

    Parameters
    ----------
    logits : Tensor of float, shape (..., vocab_size)
        Unnormalised log-probabilities, in nats. Not modified.
    k : int
        Tokens to keep; all if there are fewer. Of equal logits the lower token number is kept first.

    Returns
    -------
    Tensor, shape (..., vocab_size)
        The logits kept, and -inf at all others.

    Raises
    ------
    TypeError
        If ``logits`` is not a tensor of floats or ``k`` not an integer.
    ValueError
        If ``k`` is below 1, or ``logits`` is empty, holds NaN or infinity, or allows no token in some row.

    Notes
    -----
    Time O(vocab_size · log(vocab_size)) a row. Built in chapter 9.

    References
    ----------
    .. [1] Fan, Lewis and Dauphin (2018), "Hierarchical neural story generation", section 5.4.
    """
    _check_logits(logits)
    check_count("k", k)
    order = logits.argsort(dim=-1, descending=True, stable=True)  # (..., vocab_size), likeliest first
    return logits.scatter(-1, order[..., k:], -math.inf)


def top_p_filter(logits: Tensor, p: float) -> Tensor:
    r"""Forbid all tokens but the fewest likeliest that together hold probability p (the nucleus).

    .. math:: V_p = \text{the first } m \text{ tokens by probability}, \qquad
        m = \min \Big\{ m : \sum_{i \le m} p_{(i)} \ge p \Big\}

    Parameters
    ----------
    logits : Tensor of float, shape (..., vocab_size)
        Unnormalised log-probabilities, in nats. Not modified.
    p : float
        Probability to keep at least, above 0 and at most 1, which keeps every token. The likeliest token
        always stays. Of equal logits the lower token number is kept first.

    Returns
    -------
    Tensor, shape (..., vocab_size)
        The logits kept, and -inf at all others.

    Raises
    ------
    TypeError
        If ``logits`` is not a tensor of floats or ``p`` not a number.
    ValueError
        If ``p`` is out of range, or ``logits`` is empty, holds NaN or infinity, or allows no token in some
        row.

    Notes
    -----
    Time O(vocab_size · log(vocab_size)) a row. Built in chapter 9.

    References
    ----------
    .. [1] Holtzman et al. (2020), "The curious case of neural text degeneration", section 3.1, equation 2.
    """
    _check_logits(logits)
    check_number("p", p, above=0)
    if p > 1:
        raise ValueError(f"p must be at most 1, got p={p}")
    if p == 1:  # sums of rounded probabilities may reach 1 before the last token
        return logits.clone()
    precise = torch.promote_types(logits.dtype, torch.float32)
    ordered, order = logits.sort(dim=-1, descending=True, stable=True)
    enough = ordered.softmax(dim=-1, dtype=precise).cumsum(dim=-1) >= p
    ordered[..., 1:].masked_fill_(enough[..., :-1], -math.inf)  # what follows a token that makes it enough
    return torch.empty_like(logits).scatter(-1, order, ordered)


def forbid(logits: Tensor, tokens: Collection[int]) -> Tensor:
    r"""Forbid the tokens listed.

    Parameters
    ----------
    logits : Tensor of float, shape (..., vocab_size)
        Unnormalised log-probabilities, in nats. Not modified.
    tokens : collection of int
        Tokens that must not be chosen; it may be empty.

    Returns
    -------
    Tensor, shape (..., vocab_size)
        -inf at those tokens, and the logits at all others.

    Raises
    ------
    TypeError
        If ``logits`` is not a tensor of floats.
    ValueError
        If a token is out of range, or ``logits`` is empty, holds NaN or infinity, or allows no token in some
        row.

    Notes
    -----
    Built in chapter 9.
    """
    _check_logits(logits)
    unknown = [token for token in tokens if not 0 <= token < logits.shape[-1]]
    if unknown:
        raise ValueError(f"tokens must lie in 0 … {logits.shape[-1] - 1}, got tokens with {unknown}")
    forbidden = torch.tensor(list(tokens), dtype=torch.int64, device=logits.device)
    return logits.index_fill(-1, forbidden, -math.inf)


def _check_logits(logits: Tensor) -> None:
    """Require logits that leave a choice in every row.

    Raises
    ------
    ValueError
        If a row allows no token or holds infinity.
    """
    check_type("logits", logits, Tensor)
    check_floats("logits", logits, min_axes=1)
    if not logits.amax(dim=-1).isfinite().all():
        raise ValueError(
            "logits must have a finite largest entry in every row (-inf forbids a token), "
            f"got rows with the largest entry {sorted(set(logits.amax(dim=-1).flatten().tolist()))[:3]}"
        )
