"""Pictures of attention in one style: readable in light and dark mode, the same on every run."""

from collections.abc import Sequence

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patheffects import withStroke
from matplotlib_inline.backend_inline import set_matplotlib_formats

from attncourse._checks import check_array, check_floats, check_mask, dtype_name
from attncourse.head_viewer import check_links, visible

# Okabe and Ito's palette (2008), told apart by colour-blind readers; yellow is left out (too pale for lines).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
# A second mark for each colour, so that a figure also works printed in grey.
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
# How much of an image without weight is covered.
VEIL = 0.75


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
    # twice the pixels at the same size on the page: sharp on phones and when zoomed
    set_matplotlib_formats("retina", metadata={"Software": None})


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
            _outline(axes, row - 0.5, column - 0.5)
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


def _outline(axes: Axes, top: float, left: float, height: float = 1.0, width: float = 1.0) -> None:
    """Outline a cell in orange between two white lines, which stand out on every shade of blue."""
    corner = left + 0.03 * width, top + 0.03 * height
    box = plt.Rectangle(corner, 0.94 * width, 0.94 * height, fill=False, linewidth=1.8, zorder=4)
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


def image_map(
    image: np.ndarray,
    weights: np.ndarray,
    *,
    axes: Axes | None = None,
    title: str = "",
    gold: np.ndarray | None = None,
    largest: float | None = None,
    peak: bool = True,
) -> Axes:
    r"""Draw an image under a veil that opens where a map over its regions has weight.

    A region of weight :math:`w` is covered by

    .. math:: \alpha = 0.75\,(1 - w / w_{\text{largest}})

    of black or white, whichever stands out more against the image's median pixel: attended and unattended
    regions then differ in lightness on any background, and the colours below stay readable.

    Parameters
    ----------
    image : ndarray or Tensor of float, shape (channels, height, width)
        1 channel (grey) or 3 (red, green, blue) from 0 to 1. Not modified.
    weights : ndarray or Tensor of float, shape (n_rows, n_columns)
        Weight of every region of a grid that covers the image; not negative. Not modified.
    axes : matplotlib Axes, optional
        Where to draw; a new figure unless given.
    title : str, optional
        Text over the image.
    gold : ndarray or Tensor of bool, shape (height, width), optional
        The pixels that the map should point at: they get a dashed outline. Not modified.
    largest : float, optional
        Weight at which the veil is open; None takes the map's largest, if that is above 0.
    peak : bool, optional
        Whether to outline the region of the largest weight, the first of equals.

    Returns
    -------
    matplotlib Axes
        The axes drawn on; ``axes.images`` holds the image and the veil.

    Raises
    ------
    TypeError
        If ``image`` or ``weights`` is not an array of floats, or ``gold`` is not boolean.
    ValueError
        If a shape does not fit, a pixel is not between 0 and 1, or a weight is negative.

    Notes
    -----
    The 0.75 leaves a quarter of the image to see, and keeps a contrast of at least 3 (WCAG 2.2) between open
    and closed parts of a background of any grey. Used from chapter 11 on.
    """
    check_floats("image", image, min_axes=3)
    check_floats("weights", weights)
    pixels, grid = (np.asarray(a.detach() if hasattr(a, "detach") else a) for a in (image, weights))
    if pixels.ndim != 3 or pixels.shape[0] not in {1, 3}:
        raise ValueError(
            f"image must have shape (1 or 3 channels, height, width), got image.shape={pixels.shape}"
        )
    if grid.ndim != 2:
        raise ValueError(f"weights must have two axes (n_rows, n_columns), got weights.shape={grid.shape}")
    for name, array, highest in (("image", pixels, 1), ("weights", grid, np.inf)):
        if not (array.min() >= 0 and array.max() <= highest):
            limits = "between 0 and 1" if highest == 1 else "at least 0"
            raise ValueError(f"{name} must be {limits}, got {name} from {array.min():g} to {array.max():g}")
    height, width = pixels.shape[1:]
    if gold is not None:
        check_array("gold", gold)
        if dtype_name(gold) != "bool":
            raise TypeError(f"gold must be boolean (True = wanted), got gold.dtype={dtype_name(gold)}")
        if tuple(gold.shape) != (height, width):
            raise ValueError(
                f"gold must have shape (height, width)={(height, width)}, got gold.shape={tuple(gold.shape)}"
            )
    if axes is None:
        axes = plt.figure(figsize=(2.4 * width / height, 2.4 + 0.3 * bool(title))).gca()
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    colours = np.broadcast_to(pixels.transpose(1, 2, 0), (height, width, 3))
    axes.imshow(colours, interpolation="nearest")
    veil = np.empty((*grid.shape, 4))
    veil[..., :3] = to_rgb(_legible_on(tuple(np.median(colours, axis=(0, 1)))))
    top = float(grid.max()) if largest is None else largest
    veil[..., 3] = VEIL * (1 - np.clip(grid / top if top > 0 else grid, 0, 1))
    axes.imshow(veil, interpolation="nearest", extent=extent)
    if gold is not None:
        # The contour runs half-way between pixels; the frame of zeros closes it at the image's edge.
        framed = np.pad(np.asarray(gold, dtype=float), 1)
        for line, colour, size in (("solid", "white", 3.5), ("dashed", "black", 1.6)):
            across, down = np.arange(-1, width + 1), np.arange(-1, height + 1)
            axes.contour(across, down, framed, levels=[0.5], colors=colour, linestyles=line, linewidths=size)
        axes.set(xlim=extent[:2], ylim=extent[2:])
    if peak:
        row, column = np.unravel_index(grid.argmax(), grid.shape)
        cell = height / grid.shape[0], width / grid.shape[1]
        _outline(axes, row * cell[0] - 0.5, column * cell[1] - 0.5, *cell)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    if title:
        axes.set_title(title, fontsize=10)
    return axes
