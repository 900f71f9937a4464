"""How much of what was written is wrong, and whether the looks that led to it moved forward.

Built in chapter 13.
"""

from collections.abc import Sequence

import numpy as np

from attncourse._checks import check_floats, check_type, dtype_name
from attncourse.tasks.pairs import END


def edit_distance(written: Sequence[object], target: Sequence[object]) -> int:
    r"""Return how many insertions, deletions and replacements turn one text into another.

    .. math::
        D_{ij} = \min(D_{i-1,j} + 1,\; D_{i,j-1} + 1,\; D_{i-1,j-1} + [u_i \ne v_j])

    Parameters
    ----------
    written, target : sequence
        Texts u and v, as strings or sequences of tokens; either may be empty. Not modified.

    Returns
    -------
    int
        The fewest changes, :math:`D_{|u|,|v|}`; 0 for equal texts.

    Notes
    -----
    Time O(len(written) · len(target)), memory O(len(target)). Built in chapter 13.

    References
    ----------
    .. [1] Wagner and Fischer (1974), "The string-to-string correction problem", Journal of the ACM 21.
    """
    row = list(range(len(target) + 1))  # distances of the empty text from every beginning of the target
    for n_read, token in enumerate(written, start=1):
        diagonal, row[0] = row[0], n_read
        for column, other in enumerate(target, start=1):
            above = row[column]
            row[column] = min(above + 1, row[column - 1] + 1, diagonal + (token != other))
            diagonal = above
    return row[-1]


def character_error_rate(written: np.ndarray, target: np.ndarray) -> float:
    r"""Return the edit distances of all texts over the number of letters in all targets.

    .. math:: \mathrm{CER} = \frac{\sum_b D(\text{written}_b, \text{target}_b)}{\sum_b |\text{target}_b|}

    Parameters
    ----------
    written : ndarray of int, shape (batch, n_written)
        Tokens as a model writes them; a row without ``END`` counts whole. Not modified.
    target : ndarray of int, shape (batch, n_target)
        Tokens that should have been written, ``END`` behind the last. Not modified.

    Returns
    -------
    float
        0 if all is right. Insertions count, so that it may be above 1.

    Raises
    ------
    TypeError
        If an argument is not an array of integers.
    ValueError
        If the shapes do not fit, a target has no ``END``, or there is no letter.

    Notes
    -----
    ``END`` itself is not a letter. Built in chapter 13.
    """
    for name, array in (("written", written), ("target", target)):
        check_type(name, array, np.ndarray)
        if "int" not in dtype_name(array):
            raise TypeError(f"{name} must be integers, got {name}.dtype={dtype_name(array)}")
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
    texts = [_up_to_end(row) for row in target.tolist()]
    n_letters = sum(map(len, texts))
    if not n_letters:
        raise ValueError(f"target must hold a letter, got target of shape {target.shape} without any")
    distances = map(edit_distance, map(_up_to_end, written.tolist()), texts)
    return sum(distances) / n_letters


def monotonicity(weights: np.ndarray) -> float:
    """Return the share of steps whose peak does not lie before the peak of the step before.

    Parameters
    ----------
    weights : ndarray of float, shape (batch, n_target, n_source)
        Attention weights. Rows of zeros (behind the end, or a walk that ran off) have no peak and are left
        out. Not modified.

    Returns
    -------
    float
        1 if no step moves back; about a half for peaks at random places.

    Raises
    ------
    TypeError
        If ``weights`` is not a float array.
    ValueError
        If it has not three axes, a weight is negative or NaN, or no text has two peaks.

    Notes
    -----
    All steps of the batch count alike; a text of n peaks has n - 1 of them. Built in chapter 13.
    """
    check_type("weights", weights, np.ndarray)
    check_floats("weights", weights, min_axes=3)
    if weights.ndim != 3:
        raise ValueError(f"weights must have three axes, got weights.shape={weights.shape}")
    if weights.min() < 0:
        raise ValueError(f"weights must not be negative, got weights down to {weights.min()}")
    steps = [
        np.diff(row.argmax(axis=-1)[row.any(axis=-1)])  # from peak to peak
        for row in weights
    ]
    moves = np.concatenate(steps)
    if not len(moves):
        raise ValueError(f"weights must hold two peaks in a text, got weights.shape={weights.shape}")
    return float((moves >= 0).mean())


def _up_to_end(tokens: list[int]) -> list[int]:
    return tokens[: tokens.index(END)] if END in tokens else tokens
