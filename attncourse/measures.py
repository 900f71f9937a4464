"""Score what a model wrote, and where it looked, against the right text and the gold links.

Built in chapter 5.
"""

import numpy as np

from attncourse._checks import check_floats, check_type, dtype_name
from attncourse.tasks.pairs import END, PADDING


def exact_match(written: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Say which texts were written without a single mistake.

    Parameters
    ----------
    written : ndarray of int, shape (batch, n_written)
        Tokens written. What follows a row's first ``END`` is ignored. Not modified.
    target : ndarray of int, shape (batch, n_target)
        Right tokens, an ``END`` in every row. What follows it is ignored. Not modified.

    Returns
    -------
    ndarray of bool, shape (batch,)
        True where both texts agree up to their ``END``; a text that never ends is wrong.

    Raises
    ------
    TypeError
        If an argument is not an array of integers.
    ValueError
        If the shapes do not fit, or a target has no ``END``.

    Notes
    -----
    Built in chapter 5.
    """
    right, real = _right_tokens(written, target)
    return (right | ~real).all(axis=1)


def token_accuracy(written: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the share of right tokens in each text, place by place.

    Parameters
    ----------
    written : ndarray of int, shape (batch, n_written)
        Tokens written. What follows a row's first ``END`` counts as missing. Not modified.
    target : ndarray of int, shape (batch, n_target)
        Right tokens, an ``END`` in every row. What follows it is ignored. Not modified.

    Returns
    -------
    ndarray of float, shape (batch,)
        Right tokens at their right place, over all tokens of the target, its ``END`` included; 0 to 1.

    Raises
    ------
    TypeError
        If an argument is not an array of integers.
    ValueError
        If the shapes do not fit, or a target has no ``END``.

    Notes
    -----
    One token too many or too few shifts all that follow, and they count as wrong. Built in chapter 5.
    """
    right, real = _right_tokens(written, target)
    return (right & real).sum(axis=1) / real.sum(axis=1)


def hard_links(weights: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Link every real target token with the one source token that it looked at most.

    Parameters
    ----------
    weights : ndarray of float, shape (batch, n_target, n_source)
        Attention weights. Not modified.
    lengths : ndarray of int, shape (batch,)
        Target tokens that count, such as ``PairBatch.target_lengths``. Not modified.

    Returns
    -------
    ndarray of bool, shape (batch, n_target, n_source)
        One True in each real row, the first of equals; none behind the length, nor in a row of zeros.

    Raises
    ------
    TypeError
        If an argument is not an array of the right dtype.
    ValueError
        If the shapes do not fit, a weight is negative or NaN, or a length is out of range.

    Notes
    -----
    Built in chapter 5.
    """
    _check_weights(weights)
    _check_dtype("lengths", lengths, "int", "integers")
    n_target, n_source = weights.shape[1:]
    if lengths.shape != weights.shape[:1]:
        raise ValueError(
            "lengths must have one entry per row of the batch, "
            f"got lengths.shape={lengths.shape}, weights.shape={weights.shape}"
        )
    if lengths.min() < 0 or lengths.max() > n_target:
        raise ValueError(
            f"lengths must lie in 0 … n_target={n_target}, "
            f"got lengths from {lengths.min()} to {lengths.max()}"
        )
    peak = np.arange(n_source) == weights.argmax(axis=-1)[..., None]  # (batch, n_target, n_source)
    real = np.arange(n_target) < lengths[:, None]  # (batch, n_target)
    return peak & (weights > 0) & real[..., None]


def alignment_error_rate(links: np.ndarray, gold: np.ndarray, *, possible: np.ndarray | None = None) -> float:
    r"""Return the alignment error rate of links, over all texts together.

    .. math:: \mathrm{AER} = 1 - \frac{|A \cap S| + |A \cap P|}{|A| + |S|}

    Parameters
    ----------
    links : ndarray of bool, shape (batch, n_target, n_source)
        Links A to be scored, such as those of ``hard_links``. Not modified.
    gold : ndarray of bool, shape (batch, n_target, n_source)
        Sure links S. Not modified.
    possible : ndarray of bool, shape (batch, n_target, n_source), optional
        Possible links P, which contain the sure ones; the sure ones unless given. A possible link that is
        missed costs nothing, and one that is found is no mistake. Not modified.

    Returns
    -------
    float
        0 if every sure link is found and nothing that is not possible; 1 if no link is right.

    Raises
    ------
    TypeError
        If an argument is not a boolean array.
    ValueError
        If the shapes differ, there is no gold link, or a sure link is not possible.

    Notes
    -----
    Target tokens without any gold link (the end token, padding, a word without a counterpart) are left out
    before counting: attention has to point somewhere, and there it can be neither right nor wrong.
    Built in chapter 5.

    References
    ----------
    .. [1] Och and Ney (2003), "A systematic comparison of various statistical alignment models",
       "Evaluation methodology" (there A covers all tokens, and people judge which links are sure).
    """
    possible = gold if possible is None else possible
    for name, array in (("links", links), ("gold", gold), ("possible", possible)):
        _check_dtype(name, array, "bool", "boolean")
    _check_same_shape("links", links, "gold", gold)
    _check_same_shape("gold", gold, "possible", possible)
    _check_has_links(gold)
    if (gold & ~possible).any():
        raise ValueError(
            "possible must contain every gold link, "
            f"got possible without {int((gold & ~possible).sum())} of them"
        )
    counted = links & possible.any(axis=-1, keepdims=True)
    found = (counted & gold).sum() + (counted & possible).sum()
    return float(1 - found / (counted.sum() + gold.sum()))


def mass_on_gold(weights: np.ndarray, gold: np.ndarray) -> float:
    """Return the share of attention that lies on gold links, averaged over the target tokens that have one.

    Parameters
    ----------
    weights : ndarray of float, shape (batch, n_target, n_source)
        Attention weights. Not modified.
    gold : ndarray of bool, shape (batch, n_target, n_source)
        Gold links. Not modified.

    Returns
    -------
    float
        Mean over target tokens of the sum of their weights on gold source tokens. Every such token of the
        batch counts once; tokens without a gold link are left out.

    Raises
    ------
    TypeError
        If an argument is not an array of the right dtype.
    ValueError
        If the shapes differ, a weight is negative or NaN, or there is no gold link.

    Notes
    -----
    Unlike the alignment error rate this looks at all of a row, not at its peak alone. Built in chapter 5.
    """
    _check_weights(weights)
    _check_dtype("gold", gold, "bool", "boolean")
    _check_same_shape("weights", weights, "gold", gold)
    _check_has_links(gold)
    return float((weights * gold).sum() / gold.any(axis=-1).sum())


def pointing_accuracy(weights: np.ndarray, gold: np.ndarray) -> float:
    """Return how often the peak of a row of weights lies on a gold place (the pointing game).

    Parameters
    ----------
    weights : ndarray of float, shape (..., n_places)
        One row of weights for each query: over regions of an image, frames of a recording, tokens. Not
        modified.
    gold : ndarray of bool, shape (..., n_places)
        Gold places. A row may have several, and the peak may lie on any of them. Not modified.

    Returns
    -------
    float
        Hits over the rows that have a gold place, from 0 to 1; rows without one are left out.

    Raises
    ------
    TypeError
        If an argument is not an array of the right dtype.
    ValueError
        If the shapes differ, a weight is negative or NaN, or there is no gold place.

    Notes
    -----
    Of equal peaks the first counts, and a row of zeros is a miss. What chance would reach depends on how many
    places are gold: for a peak anywhere it is the mean of ``gold`` over the rows that have one. Built in
    chapter 11.

    References
    ----------
    Zhang et al., "Top-down neural attention by excitation backprop", ECCV 2016 (the pointing game: does the
    highest point of a map lie on the object?).
    """
    _check_weights(weights, n_axes=None)
    _check_dtype("gold", gold, "bool", "boolean")
    _check_same_shape("weights", weights, "gold", gold)
    _check_has_links(gold)
    peak = weights.argmax(axis=-1)[..., None]
    hits = np.take_along_axis(gold & (weights > 0), peak, axis=-1)
    return float(hits.sum() / gold.any(axis=-1).sum())


def _right_tokens(written: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where the right token was written, and where the target has a token, both (batch, n_target).

    Raises
    ------
    ValueError
        If the shapes do not fit, or a target has no ``END``.
    """
    for name, array in (("written", written), ("target", target)):
        _check_dtype(name, array, "int", "integers")
        if array.ndim != 2:
            raise ValueError(f"{name} must have axes (batch, tokens), got {name}.shape={array.shape}")
    if len(written) != len(target):
        raise ValueError(
            "written and target must have the same batch size, "
            f"got written.shape={written.shape}, target.shape={target.shape}"
        )
    endless = ~(target == END).any(axis=1)
    if endless.any():
        raise ValueError(
            f"target must have an END in every row, got target with {int(endless.sum())} rows without"
        )
    text = np.full_like(target, PADDING)
    width = min(written.shape[1], target.shape[1])
    text[:, :width] = np.where(_up_to_end(written), written, PADDING)[:, :width]
    return text == target, _up_to_end(target)


def _up_to_end(tokens: np.ndarray) -> np.ndarray:
    """Return True up to the first ``END`` of every row, itself included."""
    ends = tokens == END
    return ends.cumsum(axis=1) - ends == 0


def _check_dtype(name: str, array: np.ndarray, dtype: str, what: str) -> None:
    check_type(name, array, np.ndarray)
    if dtype not in dtype_name(array):
        raise TypeError(f"{name} must be {what}, got {name}.dtype={dtype_name(array)}")


def _check_weights(weights: np.ndarray, *, n_axes: int | None = 3) -> None:
    check_type("weights", weights, np.ndarray)
    check_floats("weights", weights, min_axes=n_axes or 1)
    if n_axes is not None and weights.ndim != n_axes:
        raise ValueError(f"weights must have three axes, got weights.shape={weights.shape}")
    if weights.min() < 0:
        raise ValueError(f"weights must not be negative, got weights down to {weights.min()}")


def _check_same_shape(name: str, array: np.ndarray, other_name: str, other: np.ndarray) -> None:
    if array.shape != other.shape:
        raise ValueError(
            f"{name} and {other_name} must have the same shape, "
            f"got {name}.shape={array.shape}, {other_name}.shape={other.shape}"
        )


def _check_has_links(gold: np.ndarray) -> None:
    if not gold.any():
        raise ValueError(f"gold must hold a link, got gold of shape {gold.shape} without any")
