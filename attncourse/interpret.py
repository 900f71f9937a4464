"""Test what a map of attention weights says: change the input, and see what the answer does.

Every function sees a model only through ``answer``, a function from tokens and their lengths to logits.
Built in chapter 16.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import kendalltau
from torch import Tensor

from attncourse._checks import (
    check_count,
    check_floats,
    check_number,
    check_same_axis,
    check_type,
    dtype_name,
)
from attncourse.counterfactuals import total_variation
from attncourse.masks import padding_mask
from attncourse.seq2seq import check_tokens
from attncourse.tasks.pairs import PADDING


def erase(
    tokens: Tensor, lengths: Tensor, chosen: Tensor, *, replacement: int | None = None
) -> tuple[Tensor, Tensor]:
    """Delete words of a text, or put another word in their place.

    Parameters
    ----------
    tokens : Tensor of int64, shape (batch, n_tokens)
        Words, padded at the end. Not modified.
    lengths : Tensor of int64, shape (batch,)
        Words before the padding. Not modified.
    chosen : Tensor of bool, shape (batch, n_tokens)
        Words to erase; where it is True at the padding it changes nothing. Not modified.
    replacement : int, optional
        Token to put in their place. None deletes: what follows moves up, and the text becomes shorter.

    Returns
    -------
    tokens : Tensor of int64, shape (batch, n_tokens)
        The texts without these words, padded as widely as before.
    lengths : Tensor of int64, shape (batch,)
        Their words before the padding; 0 where all were deleted.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind or dtype.
    ValueError
        If the shapes differ, or a length or the replacement is out of range.

    Notes
    -----
    A replacement keeps every other word at its place; a deletion brings the neighbours together. Built in
    chapter 16.
    """
    real = _check_texts(tokens, lengths)
    _check_chosen(chosen, tokens)
    gone = chosen & real
    if replacement is not None:
        check_count("replacement", replacement, at_least=0)
        return tokens.masked_fill(gone, replacement), lengths.clone()
    kept = real & ~gone
    order = (~kept).int().argsort(dim=1, stable=True)  # the kept words first, in their order
    left = kept.sum(dim=1)
    moved = tokens.gather(1, order)
    return moved.masked_fill(~_real(left, tokens), PADDING), left


class Erasure(NamedTuple):
    """Hold what happened to the answers when one word after the other was erased.

    Parameters
    ----------
    drop : Tensor of float, shape (batch, n_tokens)
        Probability of the class first answered, before minus after; -1 to 1.
    distance : Tensor of float, shape (batch, n_tokens)
        Total variation between the two distributions over the classes, 0 to 1.
    flips : Tensor of bool, shape (batch, n_tokens)
        Whether the answer became another class. All three are 0 at the padding.
    """

    drop: Tensor
    distance: Tensor
    flips: Tensor


def erasure(
    answer: Callable[[Tensor, Tensor], Tensor],
    tokens: Tensor,
    lengths: Tensor,
    *,
    replacement: int | Tensor | None,
) -> Erasure:
    r"""Erase every word by itself, and see what the answer does: which words it needs.

    With :math:`\hat y` the class answered for the whole text x, and :math:`x_{\setminus t}` the text
    without word t:

    .. math:: \text{drop}_t = p(\hat y \mid x) - p(\hat y \mid x_{\setminus t})

    Parameters
    ----------
    answer : callable (tokens, lengths) -> Tensor
        From texts to logits, shape (batch, n_classes). In evaluation mode: dropout would count as an effect.
    tokens : Tensor of int64, shape (batch, n_tokens)
        Words, padded at the end. Not modified.
    lengths : Tensor of int64, shape (batch,)
        Words before the padding, at least 1; with deletion at least 2. Not modified.
    replacement : int, Tensor of int64 of shape (vocab_size,), or None
        What to put in the place of a word: the same token for all; one for each token of the vocabulary (its
        opposite, say); None to delete the word.

    Returns
    -------
    Erasure
        Drop, distance and flips for every word.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind or dtype.
    ValueError
        If a shape or a number is not as described.

    Notes
    -----
    One forward pass of the whole batch for each of n_tokens places, without gradients. An erased text may be
    unlike any that the model was trained on, and what it then answers says less; a replacement that keeps it
    likely says more. Built in chapter 16.

    References
    ----------
    Li, Monroe and Jurafsky, "Understanding neural networks through representation erasure", 2016.
    """
    real = _check_texts(tokens, lengths)
    least = 2 if replacement is None else 1
    if int(lengths.min()) < least:
        raise ValueError(f"lengths must be at least {least}, got lengths={lengths.tolist()}")
    if isinstance(replacement, Tensor):
        _check_table(replacement, tokens)
    columns = []
    with torch.no_grad():
        before = answer(tokens, lengths).softmax(dim=-1)  # (batch, n_classes)
        first = before.argmax(dim=-1)
        for place in range(tokens.shape[1]):
            if isinstance(replacement, Tensor):
                changed, shorter = tokens.clone(), lengths
                changed[:, place] = replacement[tokens[:, place]]
            else:
                chosen = torch.zeros_like(real)
                chosen[:, place] = True
                changed, shorter = erase(tokens, lengths, chosen, replacement=replacement)
            after = answer(changed, shorter).softmax(dim=-1)
            drop = (before - after).gather(1, first[:, None]).squeeze(1)
            columns.append((drop, total_variation(before, after), after.argmax(dim=-1) != first))
    drop, distance, flips = (torch.stack(column, dim=1) for column in zip(*columns, strict=True))
    return Erasure(drop * real, distance * real, flips & real)


class Rationale(NamedTuple):
    """Hold how much an answer owes to chosen words.

    Parameters
    ----------
    comprehensiveness : Tensor of float, shape (batch,)
        Drop of the probability of the class answered when these words are erased: high if they were needed.
    sufficiency : Tensor of float, shape (batch,)
        Its drop when all the others are erased: near 0, or below, if these words were enough.
    """

    comprehensiveness: Tensor
    sufficiency: Tensor


def rationale_scores(
    answer: Callable[[Tensor, Tensor], Tensor],
    tokens: Tensor,
    lengths: Tensor,
    chosen: Tensor,
    *,
    replacement: int,
) -> Rationale:
    r"""Test words that are said to explain an answer r: take them away, and leave nothing else.

    .. math::
        \text{comprehensiveness} = p(\hat y \mid x) - p(\hat y \mid x \setminus r), \qquad
        \text{sufficiency} = p(\hat y \mid x) - p(\hat y \mid r)

    Parameters
    ----------
    answer : callable (tokens, lengths) -> Tensor
        From texts to logits, shape (batch, n_classes), in evaluation mode.
    tokens : Tensor of int64, shape (batch, n_tokens)
        Words, padded at the end. Not modified.
    lengths : Tensor of int64, shape (batch,)
        Words before the padding. Not modified.
    chosen : Tensor of bool, shape (batch, n_tokens)
        The words r, such as the two with the largest weights. Not modified.
    replacement : int
        Token that stands where a word was.

    Returns
    -------
    Rationale
        Both scores of every text.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind or dtype.
    ValueError
        If a shape or a number is not as described.

    Notes
    -----
    Three forward passes, without gradients. The paper deletes where this replaces. Built in chapter 16.

    References
    ----------
    DeYoung et al., "ERASER: A benchmark to evaluate rationalized NLP models", ACL 2020, section 4.
    """
    _check_texts(tokens, lengths)
    _check_chosen(chosen, tokens)
    with torch.no_grad():
        whole = answer(tokens, lengths).softmax(dim=-1)  # (batch, n_classes)
        first = whole.argmax(dim=-1, keepdim=True)
        without, alone = (
            answer(*erase(tokens, lengths, words, replacement=replacement)).softmax(dim=-1)
            for words in (chosen, ~chosen)
        )
    return Rationale(*((whole - rest).gather(1, first).squeeze(1) for rest in (without, alone)))


def attention_rollout(weights: Tensor, *, residual: float = 0.5) -> Tensor:
    r"""Follow attention through the layers, down to the input words that a last state comes from.

    .. math::
        \bar A^{(\ell)} = \alpha I + (1 - \alpha) \tfrac{1}{H} \textstyle\sum_h A^{(\ell, h)}, \qquad
        R = \bar A^{(L)} \cdots \bar A^{(1)}

    Parameters
    ----------
    weights : Tensor of float, shape (batch, n_layers, n_heads, n_tokens, n_tokens)
        Weights of every layer, the first layer first, as ``TransformerEncoder`` returns them. Not modified.
    residual : float
        Share α that the residual connection is taken for, 0 to below 1.

    Returns
    -------
    Tensor, shape (batch, n_tokens, n_tokens)
        Rows that sum to 1: the shares of the input words in every last state.

    Raises
    ------
    TypeError
        If ``weights`` are no tensor of floats, or ``residual`` is no number.
    ValueError
        If the shape or ``residual`` is not as described, or a weight is negative or NaN.

    Notes
    -----
    A row of zeros (a query that may attend to nothing) stays where it is. A fixed share for the residual
    connection is an assumption, and what values hold is left out of account: rollout, too, has to be tested.
    Time O(n_layers · n_tokens³). Built in chapter 16.

    References
    ----------
    Abnar and Zuidema, "Quantifying attention flow in transformers", ACL 2020, section 3.
    """
    check_type("weights", weights, Tensor)
    check_floats("weights", weights)
    check_number("residual", residual, at_least=0, below=1)
    if weights.ndim != 5 or weights.shape[3] != weights.shape[4]:
        raise ValueError(
            "weights must have shape (batch, n_layers, n_heads, n_tokens, n_tokens), "
            f"got weights.shape={tuple(weights.shape)}"
        )
    if weights.detach().min() < 0:
        raise ValueError(f"weights must not be negative, got weights down to {weights.detach().min():g}")
    n_tokens = weights.shape[-1]
    identity = torch.eye(n_tokens, dtype=weights.dtype, device=weights.device)
    rolled = identity.expand(len(weights), -1, -1)
    for layer in weights.mean(dim=2).unbind(dim=1):  # (batch, n_tokens, n_tokens)
        is_empty = layer.sum(dim=-1, keepdim=True) == 0
        mixed = torch.where(is_empty, identity, residual * identity + (1 - residual) * layer)
        rolled = mixed @ rolled
    return rolled


def kendall_tau(weights: np.ndarray, effects: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return how well the order of the words by weight agrees with their order by effect (Kendall's tau-b).

    Parameters
    ----------
    weights : ndarray of float, shape (batch, n_tokens)
        One map for each text. Not modified.
    effects : ndarray of float, shape (batch, n_tokens)
        What each word did, such as ``Erasure.distance``. Not modified.
    lengths : ndarray of int, shape (batch,)
        Words before the padding; those behind are left out. Not modified.

    Returns
    -------
    ndarray of float64, shape (batch,)
        1 for the same order, -1 for the reverse one; NaN where all weights, or all effects, of a text are
        equal.

    Raises
    ------
    TypeError
        If an argument is not an array of the right dtype.
    ValueError
        If the shapes do not fit, or an entry is NaN.

    Notes
    -----
    Built in chapter 16.

    References
    ----------
    Kendall, "A new measure of rank correlation", Biometrika 30, 1938 (the tau-b form corrects for ties).
    """
    for name, array in (("weights", weights), ("effects", effects)):
        check_type(name, array, np.ndarray)
        check_floats(name, array)
    check_type("lengths", lengths, np.ndarray)
    if "int" not in dtype_name(lengths):
        raise TypeError(f"lengths must be integers, got lengths.dtype={dtype_name(lengths)}")
    if weights.shape != effects.shape:
        raise ValueError(
            "weights and effects must have the same shape, "
            f"got weights.shape={weights.shape}, effects.shape={effects.shape}"
        )
    check_same_axis("weights", weights, "lengths", lengths, axis=0, what="batch size")
    rows = zip(weights, effects, lengths.tolist(), strict=True)
    return np.array([kendalltau(row[:length], effect[:length]).statistic for row, effect, length in rows])


def _real(lengths: Tensor, tokens: Tensor) -> Tensor:
    """Return where the words are, (batch, n_tokens)."""
    return padding_mask(lengths, tokens.shape[1]).squeeze(1)


def _check_texts(tokens: Tensor, lengths: Tensor) -> Tensor:
    """Require padded texts, and return where their words are, (batch, n_tokens)."""
    check_tokens("tokens", tokens)
    real = _real(lengths, tokens)
    check_same_axis("tokens", tokens, "lengths", lengths, axis=0, what="batch size")
    return real


def _check_chosen(chosen: Tensor, tokens: Tensor) -> None:
    """Require a choice of words.

    Raises
    ------
    TypeError
        If it is not boolean.
    ValueError
        If its shape is not that of the tokens.
    """
    check_type("chosen", chosen, Tensor)
    if dtype_name(chosen) != "bool":
        raise TypeError(f"chosen must be boolean, got chosen.dtype={dtype_name(chosen)}")
    if chosen.shape != tokens.shape:
        raise ValueError(
            "chosen and tokens must have the same shape, "
            f"got chosen.shape={tuple(chosen.shape)}, tokens.shape={tuple(tokens.shape)}"
        )


def _check_table(replacement: Tensor, tokens: Tensor) -> None:
    """Require one replacement for every token that occurs.

    Raises
    ------
    TypeError
        If it does not hold tokens.
    ValueError
        If a token has no entry.
    """
    if dtype_name(replacement) != "int64":
        raise TypeError(
            f"replacement must be of dtype int64, got replacement.dtype={dtype_name(replacement)}"
        )
    if replacement.ndim != 1 or len(replacement) <= int(tokens.max()):
        raise ValueError(
            f"replacement must have an entry for every token up to {int(tokens.max())}, "
            f"got replacement.shape={tuple(replacement.shape)}"
        )
