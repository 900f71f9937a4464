"""The online softmax, block by block: the running maximum, the running sums, and their correction."""

import numpy as np

from attncourse._checks import check_count, check_same_axis
from attncourse.explorers.shell import Explorer, Sheet, explorer_of, fixed_number, kept_numbers, short_number

MOST_KEYS = 8


def online_softmax_stepper(
    scores: np.ndarray,
    values: np.ndarray,
    block: int = 1,
    *,
    label: str = "A softmax that never sees all scores",
) -> Explorer:
    r"""Return a figure in which a reader steps through blocks of keys, forwards and back.

    With the scores s of the block that is read,

    .. math::
        \begin{aligned}
        m' &= \max(m, \max_j s_j) \\
        \ell &\leftarrow e^{m - m'} \ell + \sum_j e^{s_j - m'} \\
        o &\leftarrow e^{m - m'} o + \sum_j e^{s_j - m'} v_j \\
        m &\leftarrow m'
        \end{aligned}

    Parameters
    ----------
    scores : ndarray or Tensor of float, shape (n_keys,)
        Scores of one query, in nats; at most 8. Not modified.
    values : ndarray or Tensor of float, shape (n_keys,)
        One number for each key. Not modified.
    block : int, optional
        Keys that are read at a time; the last block may be shorter.
    label : str, optional
        What is shown, in a few words.

    Returns
    -------
    Explorer
        End a cell with it.

    Raises
    ------
    TypeError
        If an array is not floating point, or ``block`` not an integer.
    ValueError
        If the lengths differ, there are too many keys, or a number is not finite.

    Notes
    -----
    Scores and values are rounded to three decimals first, so that the output is the same on every machine.
    """
    scores, values = kept_numbers("scores", scores, axes=1), kept_numbers("values", values, axes=1)
    check_same_axis("scores", scores, "values", values, axis=0, what="number of keys")
    if len(scores) > MOST_KEYS:
        raise ValueError(f"scores must be at most {MOST_KEYS}, got scores.shape={scores.shape}")
    check_count("block", block)
    rows, before = [], None
    for start in range(0, len(scores), block):
        seen = slice(start + block)
        # What the steps must come to, from all keys read so far: no second copy of the recursion.
        largest = scores[seen].max()
        exponentials = np.exp(scores[seen] - largest)
        total, mixed = exponentials.sum(), exponentials @ values[seen]
        shrink = "–" if before is None else fixed_number(np.exp(before - largest), 4)
        numbers = [
            short_number(largest),
            shrink,
            fixed_number(total, 4),
            fixed_number(mixed, 3),
            fixed_number(mixed / total, 3),
        ]
        keys = f"{start + 1}" if block == 1 else f"{start + 1} … {min(start + block, len(scores))}"
        given = (" ".join(map(short_number, array[start : start + block])) for array in (scores, values))
        rows.append((keys, [*given, *numbers]))
        before = largest
    columns = ["scores", "values", "m", "shrink by", "ℓ", "o", "o / ℓ"]
    return explorer_of(
        "online-softmax",
        label,
        says="The table shows what is kept after each block; the last o / ℓ is the softmax over all keys.",
        sheet=Sheet("All steps as a table", "keys", columns, rows),
        data={"scores": scores.tolist(), "values": values.tolist(), "block": block},
    )
