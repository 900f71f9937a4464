"""Masks on one small matrix of scores: what each leaves, and what happens to the weights."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from attncourse._checks import check_choice, check_mask
from attncourse.explorers.shell import Explorer, Sheet, check_names, explorer_of, fixed_number, kept_numbers
from attncourse.reference import masked_softmax

MOST_TOKENS = 8
NO_MASK = "none"


def mask_explorer(
    scores: np.ndarray,
    queries: Sequence[str],
    keys: Sequence[str],
    masks: Mapping[str, Any],
    *,
    mask: str = NO_MASK,
    label: str = "Who may attend to whom, and what the softmax makes of it",
) -> Explorer:
    """Return a figure in which a reader chooses a mask, opens and closes cells, and sees the weights.

    Parameters
    ----------
    scores : ndarray or Tensor of float, shape (n_queries, n_keys)
        Scores in nats. Not modified.
    queries, keys : sequence of str
        The tokens, 2 to 8 on each side.
    masks : mapping from str to ndarray or Tensor of bool, broadcastable to ``scores``
        Masks to choose from, with their names; True = may attend. A first one, "none", hides nothing.
        Not modified.
    mask : str, optional
        The name of the mask at first.
    label : str, optional
        What is shown, in a few words.

    Returns
    -------
    Explorer
        End a cell with it.

    Raises
    ------
    TypeError
        If ``scores`` are not floating point or a mask is not boolean.
    ValueError
        If tokens or masks do not fit the scores, a score is not finite, or ``mask`` names none of the masks.

    Notes
    -----
    Scores are rounded to three decimals first, so that the output is the same on every machine.
    A query that may attend to nothing has weights of zero.
    """
    scores = kept_numbers("scores", scores, axes=2)
    rows = check_names("queries", queries, len(scores), "queries", at_most=MOST_TOKENS)
    columns = check_names("keys", keys, scores.shape[1], "keys", at_most=MOST_TOKENS)
    grids = {NO_MASK: np.ones(scores.shape, dtype=bool)}
    for name, one in masks.items():
        check_mask(one, scores.shape)
        grids[name] = np.broadcast_to(np.asarray(one), scores.shape)
    check_choice("mask", mask, list(grids))
    lines = []
    for name, grid in grids.items():
        for row, weights, allowed in zip(rows, masked_softmax(scores, grid), grid, strict=True):
            shown = zip(weights, allowed, strict=True)
            lines.append(
                (f"{name}: {row}", [fixed_number(weight, 2) if seen else "–" for weight, seen in shown])
            )
    return explorer_of(
        "mask",
        label,
        says="The table shows the weights under every mask; – is hidden, and a row of – has weights of 0.",
        sheet=Sheet("Weights under every mask as a table", "mask: query", columns, lines),
        data={
            "queries": rows,
            "keys": columns,
            "scores": scores.tolist(),
            "names": list(grids),
            "masks": [["".join("01"[int(seen)] for seen in row) for row in grid] for grid in grids.values()],
            "mask": list(grids).index(mask),
        },
    )
