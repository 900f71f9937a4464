"""Compare weights over a grid of cells with an image: what an object touches, and which object a peak hits.

Built in chapter 11.
"""

import numpy as np

from attncourse._checks import (
    check_array,
    check_count,
    check_last_axis,
    check_number,
    check_same_axis,
    check_type,
    dtype_name,
)


def region_cells(masks: np.ndarray, grid: tuple[int, int], *, min_share: float = 0.0) -> np.ndarray:
    """Return which cells of a grid a region touches.

    Parameters
    ----------
    masks : ndarray of bool, shape (..., height, width)
        The pixels of every region. Not modified.
    grid : (int, int)
        Rows and columns of the grid; they divide the image's height and width.
    min_share : float
        Share of a cell's pixels that the region must cover at least, from 0 to 1. At 0 a single pixel is
        enough.

    Returns
    -------
    ndarray of bool, shape (..., rows, columns)
        True at the cells that hold at least one pixel of the region, and so large a share of it.

    Raises
    ------
    TypeError
        If ``masks`` are not a boolean array, or a number has the wrong type.
    ValueError
        If the grid does not divide the image, or ``min_share`` is out of range.

    Notes
    -----
    Built in chapter 11.
    """
    check_type("masks", masks, np.ndarray)
    check_array("masks", masks, min_axes=2)
    if dtype_name(masks) != "bool":
        raise TypeError(f"masks must be boolean, got masks.dtype={dtype_name(masks)}")
    check_number("min_share", min_share, at_least=0)
    if min_share > 1:
        raise ValueError(f"min_share must be at most 1, got min_share={min_share}")
    rows, columns = _check_grid(grid, masks.shape[-2:])
    height, width = masks.shape[-2:]
    parts = masks.reshape(*masks.shape[:-2], rows, height // rows, columns, width // columns)
    share = parts.mean(axis=(-3, -1))  # (..., rows, columns)
    return (share > 0) & (share >= min_share)


def word_regions(cells: np.ndarray, word_objects: np.ndarray) -> np.ndarray:
    """Return the gold cells of every word of a caption.

    Parameters
    ----------
    cells : ndarray of bool, shape (batch, max_objects, rows, columns)
        The cells that every object touches, from ``region_cells``. Not modified.
    word_objects : ndarray of int, shape (batch, n_words)
        The object that a word describes; -1 at words that describe none. Not modified.

    Returns
    -------
    ndarray of bool, shape (batch, n_words, rows · columns)
        The cells of the word's object, row by row; an empty row at words that describe none.

    Raises
    ------
    TypeError
        If an argument is not an array of the right dtype.
    ValueError
        If the shapes do not fit, or an object is out of range.

    Notes
    -----
    Built in chapter 11.
    """
    _check_dtype("cells", cells, "bool", "boolean", n_axes=4)
    _check_dtype("word_objects", word_objects, "int", "integers", n_axes=2)
    check_same_axis("cells", cells, "word_objects", word_objects, axis=0, what="batch size")
    if word_objects.size and not -1 <= word_objects.min() <= word_objects.max() < cells.shape[1]:
        raise ValueError(
            f"word_objects must lie in -1 … {cells.shape[1] - 1}, "
            f"got word_objects from {word_objects.min()} to {word_objects.max()}"
        )
    rows = np.arange(len(cells))[:, None]
    found = cells.reshape(*cells.shape[:2], -1)[rows, word_objects]  # (batch, n_words, n_cells)
    return found & (word_objects >= 0)[..., None]


def boxes_to_masks(boxes: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """Return the pixels inside of boxes.

    Parameters
    ----------
    boxes : ndarray, shape (..., 4)
        Left, top, right and bottom edge, in pixels. Not modified.
    image_size : (int, int)
        Height and width of the image, in pixels.

    Returns
    -------
    ndarray of bool, shape (..., height, width)
        True at pixels whose middle lies inside of the box.

    Raises
    ------
    TypeError
        If ``boxes`` are no array, or a size is not an integer.
    ValueError
        If ``boxes`` have not four numbers, or a size is below 1.

    Notes
    -----
    Built in chapter 11.
    """
    _check_boxes(boxes)
    height, width = image_size
    check_count("image_size[0]", height)
    check_count("image_size[1]", width)
    left, top, right, bottom = np.moveaxis(boxes, -1, 0)[..., None]  # each (..., 1)
    x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
    columns, rows = (left <= x) & (x < right), (top <= y) & (y < bottom)
    return rows[..., :, None] & columns[..., None, :]


def nearest_object(
    cells: np.ndarray,
    boxes: np.ndarray,
    real: np.ndarray,
    *,
    grid: tuple[int, int],
    image_size: tuple[int, int],
) -> np.ndarray:
    """Return the object whose box lies nearest to the middle of a cell, such as a row of weights' peak.

    Parameters
    ----------
    cells : ndarray of int, shape (batch, n_words)
        Numbers of cells, row by row: ``weights.argmax(axis=-1)``. Not modified.
    boxes : ndarray, shape (batch, max_objects, 4)
        Left, top, right and bottom edge of every object, in pixels. Not modified.
    real : ndarray of bool, shape (batch, max_objects)
        True where there is an object; at least one in each row. Not modified.
    grid : (int, int)
        Rows and columns of the grid; they divide the image's height and width.
    image_size : (int, int)
        Height and width of the image, in pixels.

    Returns
    -------
    ndarray of int64, shape (batch, n_words)
        Numbers of objects. The distance to a box is 0 inside of it; among equals, the nearer middle wins,
        then the first.

    Raises
    ------
    TypeError
        If an argument is not an array of the right dtype.
    ValueError
        If the shapes do not fit, a cell is out of range, or an image has no object.

    Notes
    -----
    Built in chapter 11.
    """
    _check_dtype("cells", cells, "int", "integers", n_axes=2)
    _check_boxes(boxes)
    _check_dtype("real", real, "bool", "boolean", n_axes=2)
    if boxes.shape[:-1] != real.shape:
        raise ValueError(
            "boxes and real must have the same batch size and objects, "
            f"got boxes.shape={boxes.shape}, real.shape={real.shape}"
        )
    check_same_axis("cells", cells, "boxes", boxes, axis=0, what="batch size")
    rows, columns = _check_grid(grid, image_size)
    if cells.size and not 0 <= cells.min() <= cells.max() < rows * columns:
        raise ValueError(
            f"cells must lie in 0 … {rows * columns - 1}, got cells from {cells.min()} to {cells.max()}"
        )
    if not real.any(axis=1).all():
        raise ValueError(f"real must hold an object in every row, got real.shape={real.shape} without")
    cell_size = np.array([image_size[1] / columns, image_size[0] / rows])  # width, height
    middle = (np.stack([cells % columns, cells // columns], axis=-1) + 0.5) * cell_size
    middle = middle[:, :, None]  # (batch, n_words, 1, 2)
    low, high = boxes[:, None, :, :2], boxes[:, None, :, 2:]  # (batch, 1, max_objects, 2)
    outside = np.maximum(np.maximum(low - middle, middle - high), 0.0)
    to_box = np.hypot(outside[..., 0], outside[..., 1])  # (batch, n_words, max_objects)
    to_middle = np.hypot(*np.moveaxis((low + high) / 2 - middle, -1, 0))
    to_box = np.where(real[:, None], to_box, np.inf)
    nearest = to_box == to_box.min(axis=-1, keepdims=True)
    return np.where(nearest, to_middle, np.inf).argmin(axis=-1)


def _check_dtype(name: str, array: np.ndarray, dtype: str, what: str, *, n_axes: int) -> None:
    check_type(name, array, np.ndarray)
    if dtype not in dtype_name(array):
        raise TypeError(f"{name} must be {what}, got {name}.dtype={dtype_name(array)}")
    if array.ndim != n_axes:
        raise ValueError(f"{name} must have {n_axes} axes, got {name}.shape={array.shape}")


def _check_boxes(boxes: np.ndarray) -> None:
    check_type("boxes", boxes, np.ndarray)
    check_array("boxes", boxes)
    check_last_axis("boxes", boxes, 4, what="edges")


def _check_grid(grid: tuple[int, int], image_shape: tuple[int, int]) -> tuple[int, int]:
    """Return the rows and columns of a grid.

    Raises
    ------
    ValueError
        If they do not divide the image.
    """
    rows, columns = grid
    check_count("grid[0]", rows)
    check_count("grid[1]", columns)
    if image_shape[0] % rows or image_shape[1] % columns:
        raise ValueError(f"grid must divide the image of {tuple(image_shape)} pixels, got grid={grid}")
    return rows, columns
