"""One row of scores, and the weights that every temperature makes of them."""

from collections.abc import Sequence

import numpy as np

from attncourse.explorers.shell import (
    Explorer,
    Sheet,
    check_names,
    explorer_of,
    fixed_number,
    kept_numbers,
    short_number,
)
from attncourse.reference import entropy, masked_softmax

MOST_KEYS = 12
SHOWN = np.array([0.05, 0.1, 0.25, 0.5, 1, 2, 4, 10, 20])


def temperature_explorer(
    scores: np.ndarray,
    labels: Sequence[str],
    *,
    label: str = "The same scores at every temperature",
) -> Explorer:
    """Return a figure with a slider for the temperature that divides one row of scores.

    It shows the weights as bars, the largest weight, the entropy and the effective number of keys.

    Parameters
    ----------
    scores : ndarray or Tensor of float, shape (n_keys,)
        Scores of one query, in nats. Not modified.
    labels : sequence of str
        One name for each key, 2 to 12.
    label : str, optional
        What is shown, in a few words.

    Returns
    -------
    Explorer
        End a cell with it.

    Raises
    ------
    TypeError
        If ``scores`` is no floating-point array.
    ValueError
        If the names do not fit the scores, or a score is not finite.

    Notes
    -----
    Scores are rounded to three decimals first, so that the output is the same on every machine.
    The slider goes from 0.05 to 20, in steps of one twentieth of a factor of ten.
    """
    scores = kept_numbers("scores", scores, axes=1)
    names = check_names("labels", labels, len(scores), "keys", at_most=MOST_KEYS)
    weights = masked_softmax(scores / SHOWN[:, None])
    spread = entropy(weights)
    rows = [
        (
            short_number(warmth),
            [
                *(fixed_number(weight, 2) for weight in row),
                fixed_number(nats, 2),
                fixed_number(np.exp(nats), 2),
            ],
        )
        for warmth, row, nats in zip(SHOWN, weights, spread, strict=True)
    ]
    sheet = Sheet(
        "Weights at some temperatures as a table",
        "temperature",
        [*names, "entropy", "effective keys"],
        rows,
    )
    return explorer_of(
        "temperature",
        label,
        says="The table shows the weights, their entropy in nats and the effective number of keys.",
        sheet=sheet,
        data={"labels": names, "scores": scores.tolist()},
    )
