"""Pictures of attention in one style: readable in light and dark mode, the same on every run."""

from collections.abc import Sequence

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib_inline.backend_inline import set_matplotlib_formats

from attncourse._checks import check_array, check_mask
from attncourse.head_viewer import check_links, visible

# Okabe and Ito's palette (2008), told apart by colour-blind readers; yellow is left out (too pale for lines).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
# A second mark for each colour, so that a figure also works printed in grey.
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def use_course_style() -> None:
    """Set matplotlib up so that figures of all chapters look alike and re-run to the same bytes."""
    mpl.rcParams.update(
        {
            "figure.figsize": (6.0, 3.4),
            "figure.dpi": 100,
            "figure.facecolor": "white",
            "figure.constrained_layout.use": True,
            "axes.facecolor": "white",
            "axes.grid": True,
            "axes.prop_cycle": mpl.cycler(color=COLOURS),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "grid.alpha": 0.3,
            "lines.markersize": 5,
            "font.size": 10,
            "legend.frameon": False,
        }
    )
    set_matplotlib_formats("png", metadata={"Software": None})


def _legible_on(shade: tuple[float, ...]) -> str:
    """Return black or white, whichever has a contrast of at least 4.5 on ``shade`` (WCAG 2.2)."""
    channels = np.asarray(shade[:3])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    # At a luminance of 0.179 black and white stand out equally, at 4.58.
    return "black" if linear @ [0.2126, 0.7152, 0.0722] > 0.179 else "white"


def heat_map(
    weights: np.ndarray,
    queries: Sequence[str],
    keys: Sequence[str],
    *,
    axes: Axes | None = None,
    title: str = "",
    largest: float | None = 1.0,
    decimals: int | None = 2,
    mask: np.ndarray | None = None,
    signed: bool = False,
) -> Axes:
    """Draw weights or scores as a grid: queries are rows, keys are columns.

    Parameters
    ----------
    weights : ndarray or Tensor, shape (n_queries, n_keys)
        Numbers to show. Not modified.
    queries, keys : sequence of str
        Row and column labels.
    axes : matplotlib Axes, optional
        Where to draw; a new figure unless given.
    title : str, optional
        Text over the grid.
    largest : float, optional
        Value of the darkest colour; None takes the largest number shown (for scores).
    decimals : int, optional
        Digits written into each cell; None writes no numbers.
    mask : ndarray or Tensor of bool, optional
        Cells that are False are hatched: nobody may attend there.
    signed : bool, optional
        Whether to tell negative from positive numbers: red below zero, white at zero, blue above, with
        ``largest`` the distance from zero of the darkest colours.

    Returns
    -------
    matplotlib Axes
        The axes drawn on.

    Raises
    ------
    TypeError
        If ``weights`` is not an array or ``mask`` not boolean.
    ValueError
        If the labels or the mask do not fit the grid.
    """
    check_array("weights", weights, min_axes=2)
    grid = np.asarray(weights.detach() if hasattr(weights, "detach") else weights)
    if grid.shape != (len(queries), len(keys)):
        raise ValueError(
            "weights must have one row per query label and one column per key label, "
            f"got weights.shape={grid.shape}, {len(queries)} queries, {len(keys)} keys"
        )
    if mask is not None:
        check_mask(mask, grid.shape)
        mask = np.broadcast_to(np.asarray(mask), grid.shape)
    if axes is None:
        width = 1.6 + 0.55 * len(keys)
        axes = plt.figure(figsize=(width, 1.0 + 0.42 * len(queries))).gca()
    if largest is None:
        largest = float(np.abs(grid).max() if signed else grid.max())
    low = -largest if signed else min(0.0, float(grid.min()))
    image = axes.imshow(grid, cmap="RdBu" if signed else "Blues", vmin=low, vmax=largest, aspect="auto")
    if decimals is not None:
        for (row, column), number in np.ndenumerate(grid):
            colour = _legible_on(image.cmap(image.norm(number)))
            axes.text(
                column, row, f"{number:.{decimals}f}", ha="center", va="center", color=colour, fontsize=9
            )
    if mask is not None:
        for row, column in np.argwhere(~mask):
            axes.add_patch(
                plt.Rectangle(
                    (column - 0.5, row - 0.5),
                    1,
                    1,
                    facecolor="0.9",
                    edgecolor="0.55",
                    hatch="///",
                    linewidth=0,
                )
            )
    axes.set_xticks(range(len(keys)), keys)
    axes.set_yticks(range(len(queries)), queries)
    axes.set_xlabel("keys")
    axes.set_ylabel("queries")
    axes.grid(visible=False)
    # White lines between the cells, drawn over the hatching: a cell stays a cell where colours are equal.
    axes.hlines(np.arange(1, len(queries)) - 0.5, -0.5, len(keys) - 0.5, color="white", linewidth=1.5)
    axes.vlines(np.arange(1, len(keys)) - 0.5, -0.5, len(queries) - 0.5, color="white", linewidth=1.5)
    axes.spines[:].set_visible(False)
    if title:
        axes.set_title(title, fontsize=10)
    return axes


def alignment_map(
    weights: np.ndarray,
    source: Sequence[str],
    target: Sequence[str],
    *,
    gold: np.ndarray | None = None,
    axes: Axes | None = None,
    title: str = "",
    largest: float | None = 1.0,
    decimals: int | None = None,
    mask: np.ndarray | None = None,
) -> Axes:
    """Draw which source tokens each target token attended to, with the gold links outlined.

    Parameters
    ----------
    weights : ndarray or Tensor, shape (n_target, n_source)
        One row of weights for each token written. Not modified.
    source, target : sequence of str
        The tokens read (columns, the keys) and the tokens written (rows, the queries); a string is a
        sequence of characters. Spaces at their ends are drawn as "␣".
    gold : ndarray or Tensor of bool, shape (n_target, n_source), optional
        The true links: these cells get an orange outline. Not modified.
    axes : matplotlib Axes, optional
        Where to draw; unless given, a new figure whose size fits the tokens, with a scale beside it.
    title : str, optional
        Text over the grid.
    largest : float, optional
        Value of the darkest colour; None takes the largest number shown.
    decimals : int, optional
        Digits written into each cell; None writes no numbers.
    mask : ndarray or Tensor of bool, optional
        Cells that are False are hatched: nobody may attend there.

    Returns
    -------
    matplotlib Axes
        The axes drawn on.

    Raises
    ------
    TypeError
        If ``weights`` is not an array, or ``gold`` or ``mask`` is not boolean.
    ValueError
        If the tokens, the gold links or the mask do not fit the grid.
    """
    if gold is not None:
        check_links("gold", gold, (len(target), len(source)))
    alone = axes is None
    if alone:
        inches = 0.5 if decimals is not None else 0.25
        size = (max(2.0, inches * len(source)) + 1.6, max(1.2, 0.25 * len(target)) + 0.9)
        axes = plt.figure(figsize=size).gca()
    heat_map(
        weights,
        [visible(token) for token in target],
        [visible(token) for token in source],
        axes=axes,
        title=title,
        largest=largest,
        decimals=decimals,
        mask=mask,
    )
    axes.set_xlabel("source (keys)")
    axes.set_ylabel("target (queries)")
    _slant_long_labels(axes)
    if gold is not None:
        for row, column in np.argwhere(np.asarray(gold)):
            _outline(axes, row, column)
    if alone:
        axes.figure.colorbar(axes.images[0], ax=axes, shrink=0.8, pad=0.02).outline.set_visible(False)
    return axes


def _slant_long_labels(axes: Axes) -> None:
    """Slant the labels of the columns if the longest is wider than a column."""
    labels = axes.get_xticklabels()
    column = axes.get_window_extent().width / len(labels)
    letter = 0.62 * labels[0].get_fontsize() * axes.figure.dpi / 72
    if max(len(label.get_text()) for label in labels) * letter > column:
        axes.set_xticks(axes.get_xticks(), labels, rotation=60, ha="right", rotation_mode="anchor")


def _outline(axes: Axes, row: int, column: int) -> None:
    """Outline a cell in orange between two white lines, which stand out on every shade of blue."""
    box = plt.Rectangle((column - 0.47, row - 0.47), 0.94, 0.94, fill=False, linewidth=1.8, zorder=4)
    box.set_clip_on(False)  # at the grid's edge, half of the line lies outside
    box.set_edgecolor(COLOURS[1])
    box.set_path_effects([withStroke(linewidth=4, foreground="white")])
    axes.add_patch(box)


def mask_picture(mask: np.ndarray, *, axes: Axes | None = None, title: str = "") -> Axes:
    """Draw a mask: filled where a query (row) may attend to a key (column), hatched where it may not.

    Parameters
    ----------
    mask : ndarray or Tensor of bool, shape (n_queries, n_keys)
        True = may attend. Not modified.
    axes : matplotlib Axes, optional
        Where to draw; a new figure unless given.
    title : str, optional
        Text over the grid.

    Returns
    -------
    matplotlib Axes
        The axes drawn on.

    Raises
    ------
    TypeError
        If ``mask`` is not boolean.
    ValueError
        If it has not two axes.
    """
    check_array("mask", mask, min_axes=2)
    check_mask(mask, tuple(mask.shape))
    if len(mask.shape) != 2:
        raise ValueError(f"mask must have two axes (n_queries, n_keys), got mask.shape={tuple(mask.shape)}")
    n_queries, n_keys = mask.shape
    labels = [str(position) for position in range(max(n_queries, n_keys))]
    return heat_map(
        np.asarray(mask, dtype=float) * 0.75,
        labels[:n_queries],
        labels[:n_keys],
        axes=axes,
        title=title,
        decimals=None,
        mask=mask,
    )
