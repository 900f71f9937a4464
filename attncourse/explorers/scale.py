"""What the head size does to scores and weights, with and without the division by its root."""

import numpy as np

from attncourse._checks import check_count
from attncourse.explorers.shell import KEPT_PLACES, Explorer, Sheet, explorer_of, fixed_number
from attncourse.reference import masked_softmax

SHOWN_KEYS = 8  # of which the weights are shown
N_PAIRS = 1000  # of a query and a key, over which the deviation of scores is taken
LARGEST_SIZE = 1024


def scale_explorer(
    *, seed: int = 0, size: int = 4, label: str = "One random query and eight random keys"
) -> Explorer:
    """Return a figure with a slider for the head size and a choice: divide the scores by its root, or not.

    It shows the deviation of the scores, the weights, the largest one, and the norm of the softmax's
    Jacobian.

    Parameters
    ----------
    seed : int, optional
        Which query and keys: standard normal entries, of which a head of size d uses the first d.
    size : int, optional
        The head size at first, a power of two from 1 to 1024.
    label : str, optional
        What is shown, in a few words.

    Returns
    -------
    Explorer
        End a cell with it.

    Raises
    ------
    TypeError
        If ``seed`` or ``size`` is not an integer.
    ValueError
        If ``seed`` is negative, or ``size`` is no power of two up to 1024.

    Notes
    -----
    Entries are rounded to three decimals and multiplied as whole numbers, so that the scores are the same on
    every machine. The deviation is that of the scores of 1000 pairs of a query and a key; the weights are
    those of the first query and the first eight keys.
    """
    check_count("seed", seed, at_least=0)
    check_count("size", size)
    sizes = [2**power for power in range(LARGEST_SIZE.bit_length())]
    if size not in sizes:
        raise ValueError(f"size must be a power of two up to {LARGEST_SIZE}, got size={size}")
    scores, deviations = _draw(seed, sizes)
    columns, rows = [], []
    for name in ("plain", "divided"):
        columns += [f"{name}: deviation", "largest weight", "norm of J"]
    for number, row, deviation in zip(sizes, scores, deviations, strict=True):
        cells = []
        for scale in (1.0, 1 / np.sqrt(number)):
            weights = masked_softmax(row[None] * scale)[0]
            norm = np.linalg.norm(np.diag(weights) - np.outer(weights, weights))
            cells += [fixed_number(one, 2) for one in (deviation * scale, weights.max(), norm)]
        rows.append((str(number), cells))
    return explorer_of(
        "scale",
        label,
        says="The table shows every head size, with plain scores and with scores divided by its root.",
        sheet=Sheet("All head sizes as a table", "head size d", columns, rows),
        data={
            "sizes": sizes,
            "scores": scores.tolist(),
            "deviations": deviations.tolist(),
            "first": sizes.index(size),
        },
    )


def _draw(seed: int, sizes: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores of the keys shown, and the deviation of many scores, for each head size."""
    unit = 10**KEPT_PLACES
    rng = np.random.default_rng(seed)
    queries, keys = (
        np.rint(unit * rng.standard_normal((N_PAIRS, max(sizes)))).astype(np.int64) for _ in range(2)
    )
    ends = np.array(sizes) - 1
    # whole numbers: the order of the additions, which differs between machines, changes nothing
    shown = np.cumsum(queries[0] * keys[:SHOWN_KEYS], axis=1)[:, ends].T / unit**2  # (n_sizes, SHOWN_KEYS)
    pairs = np.cumsum(queries * keys, axis=1)[:, ends].T / unit**2  # (n_sizes, N_PAIRS)
    return np.round(shown, KEPT_PLACES), np.round(pairs.std(axis=1), KEPT_PLACES)
