"""The words of a sentence, and where each of them looks."""

from collections.abc import Sequence

import numpy as np

from attncourse._checks import check_count, check_same_axis
from attncourse.explorers.shell import Explorer, Sheet, check_names, explorer_of, fixed_number, kept_numbers
from attncourse.reference import dot_product_scores, masked_softmax, weighted_sum

# On a phone of 390 pixels a line has room for so many words.
MOST_WORDS = 6


def sentence_explorer(
    words: Sequence[str],
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    *,
    chosen: int = 0,
    label: str = "Where does each word look?",
) -> Explorer:
    """Return a figure in which a reader chooses a word and sees where it looks, and what comes out.

    Lines and boxes show the weights, a bar their sum, and a point among the values the output.
    A slider divides the scores by a temperature.

    Parameters
    ----------
    words : sequence of str
        The tokens, 2 to 6.
    query, key : ndarray or Tensor of float, shape (n_tokens, d_head)
        What is compared, by plain dot products. Not modified.
    value : ndarray or Tensor of float, shape (n_tokens, 2)
        What is mixed: a point in the plane for each token. Not modified.
    chosen : int, optional
        The word that asks at first.
    label : str, optional
        What is shown, in a few words.

    Returns
    -------
    Explorer
        End a cell with it.

    Raises
    ------
    TypeError
        If an array is not floating point, or ``chosen`` not an integer.
    ValueError
        If the sizes do not fit, or a number is not finite.

    Notes
    -----
    Scores and values are rounded to three decimals first, so that the output is the same on every machine.
    """
    query, key, value = (
        kept_numbers(name, array, axes=2)
        for name, array in (("query", query), ("key", key), ("value", value))
    )
    check_same_axis("query", query, "key", key, axis=-2, what="number of tokens")
    check_same_axis("key", key, "value", value, axis=-2, what="number of tokens")
    if value.shape[-1] != 2:
        raise ValueError(f"value must hold two numbers for each token, got value.shape={value.shape}")
    names = check_names("words", words, len(query), "queries", at_most=MOST_WORDS)
    check_count("chosen", chosen, at_least=0)
    if chosen >= len(names):
        raise ValueError(f"chosen must be below {len(names)}, got chosen={chosen}")
    scores = kept_numbers("scores", dot_product_scores(query, key, scale=1.0), axes=2)
    weights = masked_softmax(scores)
    outputs = weighted_sum(weights, value)
    rows = [
        (
            name,
            [
                *(fixed_number(weight, 2) for weight in row),
                ", ".join(fixed_number(number, 2) for number in output),
            ],
        )
        for name, row, output in zip(names, weights, outputs, strict=True)
    ]
    sheet = Sheet("Weights and mixtures as a table", "looks \\ at", [*names, "mixture"], rows)
    best = int(weights[chosen].argmax())
    ends = [[low, high] if high > low else [low - 1, low + 1] for low, high in _ranges(value)]
    return explorer_of(
        "sentence",
        label,
        says=(
            f"“{names[chosen]}” looks most at “{names[best]}” ({fixed_number(weights[chosen, best], 2)}). "
            "The weights of each row of the table add to 1, but for rounding."
        ),
        sheet=sheet,
        data={
            "words": names,
            "scores": scores.tolist(),
            "values": value.tolist(),
            "ends": ends,
            "query": chosen,
        },
    )


def _ranges(value: np.ndarray) -> list[tuple[float, float]]:
    """Return the smallest and largest number of each column."""
    return list(zip(value.min(axis=0).tolist(), value.max(axis=0).tolist(), strict=True))
