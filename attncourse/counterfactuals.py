"""Put another map in the place of a model's own: shuffled, uniform, another text's, or the worst one found.

Built in chapter 16.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from attncourse._checks import (
    check_choice,
    check_count,
    check_floats,
    check_number,
    check_same_axis,
    check_type,
)
from attncourse.masks import padding_mask

COUNTERFACTUALS = ("permuted", "uniform", "other")
_PENALTY = 20.0  # nats of map distance that one unit of change beyond the tolerance costs


def total_variation(first: Tensor, second: Tensor) -> Tensor:
    r"""Return how far two distributions are apart: the most that the probability of any event differs.

    .. math:: \mathrm{TV}(p, q) = \tfrac{1}{2} \textstyle\sum_i |p_i - q_i|

    Parameters
    ----------
    first, second : Tensor of float, shape (..., n)
        Rows that sum to 1. Not modified.

    Returns
    -------
    Tensor, shape (...)
        0 for equal rows, 1 for rows that share nothing.

    Raises
    ------
    TypeError
        If an argument is no tensor of floats.
    ValueError
        If the shapes differ, or an argument is negative, empty or NaN.

    Notes
    -----
    Built in chapter 16.
    """
    _check_distributions(first, second)
    return (first - second).abs().sum(dim=-1) / 2


def jensen_shannon(first: Tensor, second: Tensor) -> Tensor:
    r"""Return how far two distributions are apart, by their divergence from their mean.

    .. math:: \mathrm{JS}(p, q) = H\!\left(\tfrac{p + q}{2}\right) - \tfrac{1}{2} H(p) - \tfrac{1}{2} H(q)

    Parameters
    ----------
    first, second : Tensor of float, shape (..., n)
        Rows that sum to 1. Not modified.

    Returns
    -------
    Tensor, shape (...)
        In nats: 0 for equal rows, ln 2 ≈ 0.693 for rows that share nothing.

    Raises
    ------
    TypeError
        If an argument is no tensor of floats.
    ValueError
        If the shapes differ, or an argument is negative, empty or NaN.

    Notes
    -----
    Built in chapter 16.

    References
    ----------
    Lin, "Divergence measures based on the Shannon entropy", IEEE Transactions on Information Theory 37, 1991.
    """
    _check_distributions(first, second)
    mean = _entropy((first + second) / 2)
    return mean - (_entropy(first) + _entropy(second)) / 2


def counterfactual_weights(
    weights: Tensor, lengths: Tensor, kind: str, *, generator: torch.Generator | None = None
) -> Tensor:
    """Return another map over the same words, to be read in place of the model's own.

    Parameters
    ----------
    weights : Tensor of float, shape (batch, n_tokens)
        The model's own map: rows that sum to 1, zeros at the padding. Not modified.
    lengths : Tensor of int64, shape (batch,)
        Words before the padding, at least 1. Not modified.
    kind : {"permuted", "uniform", "other"}
        The same weights on the words in a random order; equal weights on all words; the map of the next text
        of the batch (the first one's for the last), cut to the words there are and scaled up to sum 1.
    generator : torch.Generator, optional
        Source of randomness of "permuted"; torch's global one unless given.

    Returns
    -------
    Tensor, shape (batch, n_tokens), dtype of ``weights``
        Rows that sum to 1, zeros at the padding.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind or dtype.
    ValueError
        If ``kind`` is unknown, or a shape, a weight or a length is not as described.

    Notes
    -----
    Where the next text's map lies wholly behind the words there are, "other" is uniform. Built in chapter 16.

    References
    ----------
    Jain and Wallace, "Attention is not explanation", NAACL 2019, section 4.2.1 (permuted weights).
    """
    check_choice("kind", kind, COUNTERFACTUALS)
    real = _check_map(weights, lengths)
    if kind == "uniform":
        return real / lengths[:, None].to(weights)
    if kind == "permuted":
        keys = torch.rand(weights.shape, generator=generator).to(weights.device)
        # Sorting by random keys shuffles the real places among themselves: the padding sorts behind them.
        order = keys.masked_fill(~real, 2.0).argsort(dim=1)
        return weights.gather(1, order)
    moved = weights.roll(-1, dims=0) * real
    sums = moved.sum(dim=1, keepdim=True)
    return torch.where(
        sums > 0, moved / sums.clamp(min=torch.finfo(weights.dtype).tiny), real / real.sum(1, True)
    )


def adversarial_weights(
    answer: Callable[[Tensor], Tensor],
    weights: Tensor,
    lengths: Tensor,
    *,
    tolerance: float = 0.05,
    steps: int = 200,
    n_starts: int = 3,
    learning_rate: float = 0.1,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Search for the map that differs most from the model's own and leaves its answer as it is.

    .. math::
        \max_{a'} \mathrm{JS}(a, a') \quad\text{with}\quad
        \mathrm{TV}\bigl(p(y \mid a), p(y \mid a')\bigr) \le \varepsilon
        \;\text{ and }\; \operatorname{argmax} p(y \mid a') = \operatorname{argmax} p(y \mid a)

    Parameters
    ----------
    answer : callable (weights) -> Tensor
        From maps to logits, shape (batch, n_classes), each row from its own row: ``TextClassifier.read``
        with a fixed memory. Gradients flow through it.
    weights : Tensor of float, shape (batch, n_tokens)
        The model's own map: rows that sum to 1, zeros at the padding. Not modified.
    lengths : Tensor of int64, shape (batch,)
        Words before the padding, at least 1. Not modified.
    tolerance : float
        Most that the answer may change, ε.
    steps : int
        Steps of Adam from each start.
    n_starts : int
        Random starts; the best map of all is kept for every row.
    learning_rate : float
        Of Adam, on the scores behind the map, in nats.
    generator : torch.Generator, optional
        Source of randomness of the starts; torch's global one unless given.

    Returns
    -------
    Tensor, shape (batch, n_tokens), dtype of ``weights``
        For every row the most different map found that leaves the answer; the model's own where none was.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind or dtype.
    ValueError
        If a shape, a weight or a number is not as described.

    Notes
    -----
    ``n_starts`` · ``steps`` calls of ``answer``, forward and backward. The bound is a penalty during the
    search, and a condition on what is kept. What was not found may exist all the same. That such maps exist
    does not mean that the model could have learned them: see the second reference. Built in chapter 16.

    References
    ----------
    Jain and Wallace, "Attention is not explanation", NAACL 2019, section 4.2.2; Wiegreffe and Pinter,
    "Attention is not not explanation", EMNLP 2019.
    """
    real = _check_map(weights, lengths)
    check_number("tolerance", tolerance, at_least=0)
    check_count("steps", steps)
    check_count("n_starts", n_starts)
    check_number("learning_rate", learning_rate, above=0)
    own = weights.detach()
    with torch.no_grad():
        before = answer(own).softmax(dim=-1)  # (batch, n_classes)
    best, furthest = own.clone(), own.new_zeros(len(own))
    for _ in range(n_starts):
        start = torch.randn(own.shape, generator=generator).to(own)
        scores = start.requires_grad_(True)
        optimiser = torch.optim.Adam([scores], lr=learning_rate)
        for _ in range(steps):
            optimiser.zero_grad()
            with torch.enable_grad():
                found = scores.masked_fill(~real, -math.inf).softmax(dim=-1)
                after = answer(found).softmax(dim=-1)
                distance, change = jensen_shannon(own, found), total_variation(before, after)
                loss = (_PENALTY * (change - tolerance).clamp(min=0) - distance).sum()
                (scores.grad,) = torch.autograd.grad(loss, [scores])
            better = (
                (change <= tolerance)
                & (after.argmax(dim=-1) == before.argmax(dim=-1))
                & (distance > furthest)
            ).detach()
            best[better] = found.detach()[better]
            furthest[better] = distance.detach()[better]
            optimiser.step()
    return best


def _entropy(rows: Tensor) -> Tensor:
    # log 0 has no slope: the smallest number in its place changes no value, and gradients stay finite.
    return -(rows * rows.clamp(min=torch.finfo(rows.dtype).tiny).log()).sum(dim=-1)


def _check_map(weights: Tensor, lengths: Tensor) -> Tensor:
    """Require one map for each text, and return where the words are, (batch, n_tokens).

    Raises
    ------
    ValueError
        If a weight is negative or at the padding, or a text is empty.
    """
    check_type("weights", weights, Tensor)
    check_floats("weights", weights)
    if weights.ndim != 2:
        raise ValueError(
            f"weights must have shape (batch, n_tokens), got weights.shape={tuple(weights.shape)}"
        )
    _check_not_negative("weights", weights)
    real = padding_mask(lengths, weights.shape[1]).squeeze(1)
    check_same_axis("weights", weights, "lengths", lengths, axis=0, what="batch size")
    if int(lengths.min()) < 1:
        raise ValueError(f"lengths must be at least 1, got lengths={lengths.tolist()}")
    if weights.detach()[~real].any():
        raise ValueError("weights must be zero at the padding, got weights with others")
    return real


def _check_distributions(first: Tensor, second: Tensor) -> None:
    """Require rows of one shape, none negative.

    Raises
    ------
    ValueError
        If the shapes differ or a number is negative.
    """
    for name, array in (("first", first), ("second", second)):
        check_type(name, array, Tensor)
        check_floats(name, array, min_axes=1)
        _check_not_negative(name, array)
    if first.shape != second.shape:
        raise ValueError(
            "first and second must have the same shape, "
            f"got first.shape={tuple(first.shape)}, second.shape={tuple(second.shape)}"
        )


def _check_not_negative(name: str, array: Tensor) -> None:
    smallest = array.detach().min()
    if smallest < 0:
        raise ValueError(f"{name} must not be negative, got {name} down to {smallest:g}")
