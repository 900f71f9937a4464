"""An interactive picture of attention heads: one HTML output that loads nothing and needs no kernel."""

import html
from collections.abc import Sequence
from typing import Any

import numpy as np

from attncourse._checks import check_array, check_count, check_mask, dtype_name
from attncourse.explorers.shell import Explorer, figure_html, table_html, visible

# Two digits of base 36 hold every weight in thousandths: one length for all, and half that of JSON numbers.
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
MOST_PLACES = 3


def head_viewer(
    weights: np.ndarray,
    queries: Sequence[str],
    keys: Sequence[str] | None = None,
    *,
    head_names: Sequence[str] | None = None,
    label: str = "Attention weights",
    mask: np.ndarray | None = None,
    gold: np.ndarray | None = None,
    head: int = 0,
    query: int = 0,
    places: int = 2,
) -> Explorer:
    """Return an output in which a reader chooses a head and a query and sees where it attends.

    All heads are shown at once as small maps, with their mean as one more map that is marked as a mean.
    Pointer, touch and arrow keys choose; without scripts there are tables.

    Parameters
    ----------
    weights : ndarray or Tensor, shape (n_heads, n_queries, n_keys) or (n_queries, n_keys)
        Weights of one example, between 0 and 1. Not modified.
    queries : sequence of str
        The tokens that attend.
    keys : sequence of str, optional
        The tokens attended to; the queries unless given.
    head_names : sequence of str, optional
        One name a head; "head 0", "head 1", … unless given.
    label : str, optional
        What is shown, in a few words.
    mask : ndarray or Tensor of bool, shape (n_queries, n_keys), optional
        True = may attend; other cells are marked as hidden. Not modified.
    gold : ndarray or Tensor of bool, shape (n_queries, n_keys), optional
        True links, which are outlined. Not modified.
    head, query : int, optional
        What is chosen at first.
    places : int, optional
        Decimals that are kept, 1 to 3.

    Returns
    -------
    Explorer
        End a cell with it.

    Raises
    ------
    TypeError
        If ``weights`` is no array, ``mask`` or ``gold`` is not boolean, or a number is not an integer.
    ValueError
        If names, tokens, mask or gold links do not fit the weights, or a weight is outside 0 … 1.

    Notes
    -----
    nbval compares the HTML as well. Rounded weights that were computed in float32 may still differ by one
    unit between machines, and trained ones by more: tag such a cell ``nbval-ignore-output`` and put a claim
    or an assert about the weights before it. The plain text holds no weights.
    """
    maps = _maps(weights)
    n_heads, n_queries, n_keys = maps.shape
    keys = queries if keys is None else keys
    for name, tokens, count in (("queries", queries, n_queries), ("keys", keys, n_keys)):
        if len(tokens) != count:
            raise ValueError(
                f"{name} must name each of the {count} {name} of the weights, got {len(tokens)} tokens, "
                f"weights.shape={tuple(weights.shape)}"
            )
    names = [f"head {number}" for number in range(n_heads)] if head_names is None else list(head_names)
    if len(names) != n_heads:
        raise ValueError(f"head_names must hold one name a head ({n_heads}), got {len(names)} names")
    for name, value, count in (("head", head, n_heads), ("query", query, n_queries)):
        check_count(name, value, at_least=0)
        if value >= count:
            raise ValueError(f"{name} must be below {count}, got {name}={value}")
    check_count("places", places)
    if places > MOST_PLACES:
        raise ValueError(f"places must be at most {MOST_PLACES}, got places={places}")
    if mask is not None:
        check_mask(mask, (n_queries, n_keys))
        mask = np.broadcast_to(np.asarray(mask), (n_queries, n_keys))
    if gold is not None:
        check_links("gold", gold, (n_queries, n_keys))
        gold = np.asarray(gold)
    if n_heads > 1:
        maps = np.concatenate([maps, maps.mean(axis=0, keepdims=True)])
        names.append(f"mean of {n_heads} heads")
    content = {
        "label": label,
        "queries": [visible(token) for token in queries],
        "keys": [visible(token) for token in keys],
        "names": names,
        "heads": n_heads,
        "places": places,
        "head": head,
        "query": query,
    }
    steps = np.rint(maps * 10**places).astype(int)
    return Explorer(_html(content, steps, mask, gold), _text(content))


def check_links(name: str, links: Any, shape: tuple[int, int]) -> None:
    """Require a boolean array of links with one row per query and one column per key.

    Raises
    ------
    TypeError
        If ``links`` is no boolean array.
    ValueError
        If it has another shape.
    """
    check_array(name, links)
    if dtype_name(links) != "bool":
        raise TypeError(f"{name} must be boolean (True = a link), got {name}.dtype={dtype_name(links)}")
    if tuple(links.shape) != shape:
        raise ValueError(
            f"{name} must have shape (n_queries, n_keys)={shape}, got {name}.shape={tuple(links.shape)}"
        )


def _maps(weights: Any) -> np.ndarray:
    """Return the weights as a float64 array with an axis for heads.

    Raises
    ------
    ValueError
        If they are not those of one example, or not between 0 and 1.
    """
    check_array("weights", weights, min_axes=2)
    array = np.asarray(weights.detach().cpu() if hasattr(weights, "detach") else weights, dtype=np.float64)
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or 0 in array.shape:
        raise ValueError(
            "weights must be those of one example, (n_heads, n_queries, n_keys) or (n_queries, n_keys) and "
            f"not empty, got weights.shape={tuple(weights.shape)}"
        )
    low, high = array.min(), array.max()
    if not (low >= 0 and high <= 1 + 1e-6):
        raise ValueError(f"weights must lie between 0 and 1, got weights from {low:g} to {high:g}")
    return array


def _text(content: dict[str, Any]) -> str:
    """Return what is shown in words."""
    return "\n".join(
        [
            content["label"],
            f"heads: {', '.join(content['names'])}",
            f"queries: {' '.join(content['queries'])}",
            f"keys: {' '.join(content['keys'])}",
        ]
    )


def _html(
    content: dict[str, Any], steps: np.ndarray, mask: np.ndarray | None, gold: np.ndarray | None
) -> str:
    """Return the element: title, data, tables, style and script."""
    data = content | {"weights": ["".join(_two_digits(step) for step in one.flat) for one in steps]}
    if mask is not None:
        data["mask"] = ["".join("01"[int(seen)] for seen in row) for row in mask]
    if gold is not None:
        data["gold"] = np.argwhere(gold).tolist()
    tables = [_weights_table(content, steps, mask, gold)]
    if content["heads"] > 1:
        tables.append(_strongest_table(content, steps))
    chosen = content["names"][content["head"]]
    return figure_html(
        "head-viewer",
        content["label"],
        says=f"The weights of {chosen} stand in a table.",
        tables=tables,
        data=data,
        assets=["explorers/shell.css", "head_viewer.css", "explorers/shell.js", "head_viewer.js"],
    )


def _two_digits(step: int) -> str:
    """Return a number below 1296 in base 36."""
    return DIGITS[step // 36] + DIGITS[step % 36]


def _short(step: int, places: int) -> str:
    """Return a weight as short as a table allows: ".07", "1.00", and "0" for nothing."""
    return f"{step / 10**places:.{places}f}".removeprefix("0") if step else "0"


def _weights_table(
    content: dict[str, Any], steps: np.ndarray, mask: np.ndarray | None, gold: np.ndarray | None
) -> str:
    """Return the weights of the head that is chosen at first."""
    rows = []
    for row, query in enumerate(content["queries"]):
        cells = []
        for column, step in enumerate(steps[content["head"], row]):
            hidden = mask is not None and not mask[row, column]
            linked = gold is not None and gold[row, column]
            text = "–" if hidden else _short(step, content["places"])
            cells.append(f"<td class='gold'>{text}</td>" if linked else f"<td>{text}</td>")
        rows.append((query, "".join(cells)))
    name = f"Weights of {content['names'][content['head']]} as a table"
    return table_html(name, "query \\ key", content["keys"], rows)


def _strongest_table(content: dict[str, Any], steps: np.ndarray) -> str:
    """Return the key that each query attends to most, in every head."""
    rows = []
    for row, query in enumerate(content["queries"]):
        cells = []
        for one in steps:
            best = int(one[row].argmax())
            shown = f"{html.escape(content['keys'][best])} {_short(one[row, best], content['places'])}"
            cells.append(f"<td>{shown if one[row, best] else '–'}</td>")
        rows.append((query, "".join(cells)))
    return table_html("Strongest key of each query, by head", "query \\ head", content["names"], rows)
