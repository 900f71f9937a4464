"""How much a model needs each of its heads: by gradient, by switching it off, and head after head.

Every function here sees a model only through ``loss_fn``, a function of the gates: 1 leaves a head as it is,
0 switches it off (``head_gates`` of ``MultiHeadAttention``). Built in chapter 7.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attncourse._checks import check_count

LossFn = Callable[[Tensor], Tensor | float]


def gradient_importance(
    loss_fn: Callable[[Tensor], Tensor], n_heads: int, *, n_examples: int | None = None
) -> Tensor:
    r"""Estimate how much each head matters by the slope of the loss at its gate, all heads at once.

    .. math:: I_h = \frac{1}{N} \sum_{x} \left| \frac{\partial \ell(x)}{\partial \xi_h} \right|_{\xi = 1}

    Parameters
    ----------
    loss_fn : callable (gates) -> Tensor
        Loss on held-out data. Without ``n_examples``: from gates of shape (n_heads,) to a scalar, and the
        whole batch counts as one x. With it: from gates of shape (n_examples, n_heads), one row for each
        example, to the losses of the examples, shape (n_examples,).
    n_heads : int
        Number of gates.
    n_examples : int, optional
        Examples N in the batch. The paper takes the absolute value for each example; over a whole batch,
        slopes of opposite sign cancel first.

    Returns
    -------
    Tensor of float32, shape (n_heads,)
        Mean absolute slope, in the unit of the loss. Over several batches, average the results.

    Raises
    ------
    TypeError
        If a number is not an integer.
    ValueError
        If a number is below 1, ``loss_fn`` returns another shape, or its loss does not depend on the gates.

    Notes
    -----
    One forward and one backward pass. It is a first-order estimate of the loss with the head off; it can
    miss what a head does when others are off as well. Built in chapter 7.

    References
    ----------
    .. [1] Michel, Levy and Neubig (2019), "Are sixteen heads really better than one?", section 4.1,
       equation 2.
    """
    check_count("n_heads", n_heads)
    if n_examples is not None:
        check_count("n_examples", n_examples)
    rows = () if n_examples is None else (n_examples,)
    gates = torch.ones(*rows, n_heads, requires_grad=True)
    with torch.enable_grad():
        losses = loss_fn(gates)
        if tuple(losses.shape) != rows:
            raise ValueError(f"loss_fn must return a loss of shape {rows}, got shape {tuple(losses.shape)}")
        slopes = None
        if losses.requires_grad:
            (slopes,) = torch.autograd.grad(losses.sum(), [gates], allow_unused=True)
    if slopes is None:
        raise ValueError("loss_fn must depend on its gates, got a loss without a gradient")
    return slopes.abs().reshape(-1, n_heads).mean(dim=0)  # (n_heads,)


@torch.no_grad()
def loss_without(loss_fn: LossFn, n_heads: int, heads: Iterable[int]) -> float:
    """Return the loss with some heads off and the others on.

    Parameters
    ----------
    loss_fn : callable (gates) -> scalar
        Loss, or any other number, from gates of shape (n_heads,).
    n_heads : int
        Number of gates.
    heads : iterable of int
        Heads to switch off; none gives the loss of the whole model.

    Returns
    -------
    float
        The loss.

    Raises
    ------
    TypeError
        If a number is not an integer.
    ValueError
        If a head does not exist, or the loss is NaN.

    Notes
    -----
    One forward pass. Built in chapter 7.
    """
    check_count("n_heads", n_heads)
    gates = torch.ones(n_heads)
    for head in heads:
        _check_head(head, n_heads)
        gates[head] = 0.0
    loss = float(loss_fn(gates))
    if math.isnan(loss):
        raise ValueError(f"loss_fn must return a number, got nan at gates={gates.tolist()}")
    return loss


def ablation_importance(loss_fn: LossFn, n_heads: int) -> Tensor:
    r"""Measure how much the loss rises when one head alone is switched off, for each head.

    .. math:: \Delta_h = \ell(\xi_h = 0) - \ell(\xi = 1)

    Parameters
    ----------
    loss_fn : callable (gates) -> scalar
        Loss on held-out data from gates of shape (n_heads,); of a score where more is better, the negative.
    n_heads : int
        Number of gates.

    Returns
    -------
    Tensor of float64, shape (n_heads,)
        Rise of the loss; negative where the model does better without the head.

    Raises
    ------
    TypeError
        If ``n_heads`` is not an integer.
    ValueError
        If ``n_heads`` is below 1 or a loss is NaN.

    Notes
    -----
    n_heads + 1 forward passes. Heads that do the same job all look idle here, because each can stand in for
    the other: see ``pruning_curve``. Built in chapter 7.

    References
    ----------
    .. [1] Michel, Levy and Neubig (2019), section 3.2.
    """
    whole = loss_without(loss_fn, n_heads, [])
    rises = [loss_without(loss_fn, n_heads, [head]) - whole for head in range(n_heads)]
    return torch.tensor(rises, dtype=torch.float64)


@dataclass(frozen=True)
class PruningCurve:
    """Hold in which order heads were switched off, and the loss after each.

    Parameters
    ----------
    order : tuple of int
        Heads in the order in which they were switched off.
    losses : tuple of float
        ``losses[k]`` is the loss with the first k heads of ``order`` off, ``losses[0]`` that of the whole.
    """

    order: tuple[int, ...]
    losses: tuple[float, ...]


def pruning_curve(loss_fn: LossFn, n_heads: int, order: Sequence[int] | None = None) -> PruningCurve:
    """Switch heads off one after the other, and measure the loss after each.

    Parameters
    ----------
    loss_fn : callable (gates) -> scalar
        Loss from gates of shape (n_heads,); of a score where more is better, the negative.
    n_heads : int
        Number of gates.
    order : sequence of int, optional
        Heads in the order in which to switch them off, such as ``importance.argsort().tolist()``: a fixed
        order. Without it the order is greedy: at every step each head that is left is tried, and the one
        whose loss rises least goes (of equals, the first).

    Returns
    -------
    PruningCurve
        The order and n_heads + 1 losses (fewer where ``order`` leaves heads on).

    Raises
    ------
    TypeError
        If a number is not an integer.
    ValueError
        If ``n_heads`` is below 1, ``order`` names a head that does not exist or one twice, or a loss is NaN.

    Notes
    -----
    Greedy: 1 + n_heads · (n_heads + 1) / 2 forward passes; fixed: n_heads + 1. To report on other data than
    the order was chosen on, give the order of a first curve to a second. Michel et al. prune in a fixed
    order, that of ``gradient_importance``; the greedy order measures again after every step, and so sees
    when two heads stand in for each other. Built in chapter 7.

    References
    ----------
    .. [1] Michel, Levy and Neubig (2019), section 4.
    """
    off: list[int] = []
    losses = [loss_without(loss_fn, n_heads, off)]
    if order is not None:
        for head in order:
            _check_head(head, n_heads)
            if head in off:
                raise ValueError(f"order must name each head once, got order={list(order)}")
            off.append(int(head))
            losses.append(loss_without(loss_fn, n_heads, off))
    else:
        while len(off) < n_heads:
            left = [head for head in range(n_heads) if head not in off]
            tried = [loss_without(loss_fn, n_heads, [*off, head]) for head in left]
            losses.append(min(tried))
            off.append(left[tried.index(losses[-1])])
    return PruningCurve(order=tuple(off), losses=tuple(losses))


def _check_head(head: int, n_heads: int) -> None:
    check_count("head", head, at_least=0)
    if head >= n_heads:
        raise ValueError(f"head must be below n_heads={n_heads}, got head={head}")
