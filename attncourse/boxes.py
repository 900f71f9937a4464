"""Measure how well two boxes agree, match sets of them, and write them by corners or by centre.

Built in chapter 12.
"""

import math

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from attncourse._checks import broadcast_shape, check_array, check_type, dtype_name


def to_centres(boxes: Tensor) -> Tensor:
    r"""Write boxes by centre and size.

    .. math:: (x_0, y_0, x_1, y_1) \mapsto
        \left(\tfrac{x_0 + x_1}{2}, \tfrac{y_0 + y_1}{2}, x_1 - x_0, y_1 - y_0\right)

    Parameters
    ----------
    boxes : Tensor of float, shape (..., 4)
        Corners x0, y0, x1, y1, in pixels or any other unit. Not modified.

    Returns
    -------
    Tensor, shape (..., 4)
        Centre x and y, width, height, in the same unit.

    Raises
    ------
    TypeError
        If ``boxes`` is not a tensor of floats.
    ValueError
        If its last axis is not 4.

    Notes
    -----
    Built in chapter 12.
    """
    _check_boxes("boxes", boxes)
    first, last = boxes[..., :2], boxes[..., 2:]
    return torch.cat([(first + last) / 2, last - first], dim=-1)


def to_corners(boxes: Tensor) -> Tensor:
    r"""Write boxes by two opposite corners.

    .. math:: (x, y, w, h) \mapsto
        \left(x - \tfrac{w}{2}, y - \tfrac{h}{2}, x + \tfrac{w}{2}, y + \tfrac{h}{2}\right)

    Parameters
    ----------
    boxes : Tensor of float, shape (..., 4)
        Centre x and y, width, height, in pixels or any other unit. Not modified.

    Returns
    -------
    Tensor, shape (..., 4)
        Corners x0, y0, x1, y1, in the same unit.

    Raises
    ------
    TypeError
        If ``boxes`` is not a tensor of floats.
    ValueError
        If its last axis is not 4.

    Notes
    -----
    Built in chapter 12.
    """
    _check_boxes("boxes", boxes)
    centre, size = boxes[..., :2], boxes[..., 2:]
    return torch.cat([centre - size / 2, centre + size / 2], dim=-1)


def box_iou(boxes: Tensor, others: Tensor) -> Tensor:
    r"""Return the intersection over union of every box with every other box.

    .. math:: \operatorname{IoU}(A, B) = \frac{|A \cap B|}{|A \cup B|}

    Parameters
    ----------
    boxes : Tensor of float, shape (..., n_boxes, 4)
        Corners x0, y0, x1, y1 with x0 ≤ x1 and y0 ≤ y1. Not modified.
    others : Tensor of float, shape (..., n_others, 4)
        Corners in the same unit; the leading axes broadcast. Not modified.

    Returns
    -------
    Tensor, shape (..., n_boxes, n_others)
        0 where they do not meet, 1 where they are the same; 0 for two boxes without area.

    Raises
    ------
    TypeError
        If an argument is not a tensor of floats.
    ValueError
        If a shape does not fit, or a box ends before it begins.

    Notes
    -----
    Time and memory O(n_boxes · n_others). Built in chapter 12.
    """
    intersection, union, _ = _measure_pairs(boxes, others)
    return _ratio(intersection, union)


def generalized_iou(boxes: Tensor, others: Tensor) -> Tensor:
    r"""Return the generalised intersection over union: it tells far from near where boxes do not meet.

    .. math:: \operatorname{GIoU}(A, B) = \operatorname{IoU}(A, B) - \frac{|C| - |A \cup B|}{|C|}

    C is the smallest box that holds both.

    Parameters
    ----------
    boxes : Tensor of float, shape (..., n_boxes, 4)
        Corners x0, y0, x1, y1 with x0 ≤ x1 and y0 ≤ y1. Not modified.
    others : Tensor of float, shape (..., n_others, 4)
        Corners in the same unit; the leading axes broadcast. Not modified.

    Returns
    -------
    Tensor, shape (..., n_boxes, n_others)
        Numbers in [-1, 1]: 1 where the boxes are the same, towards -1 where they are far apart.

    Raises
    ------
    TypeError
        If an argument is not a tensor of floats.
    ValueError
        If a shape does not fit, or a box ends before it begins.

    Notes
    -----
    Boxes that do not meet have IoU 0 wherever they are, and a loss made of it has no gradient there; this one
    has. Time and memory O(n_boxes · n_others). Built in chapter 12.

    References
    ----------
    .. [1] Rezatofighi et al. (2019), "Generalized intersection over union: a metric and a loss for bounding
       box regression", algorithm 1.
    """
    intersection, union, hull = _measure_pairs(boxes, others)
    return _ratio(intersection, union) - _ratio(hull - union, hull)


def match_objects(cost: Tensor, present: Tensor | None = None) -> Tensor:
    r"""Give every object a query of its own, so that the costs sum to the least.

    .. math:: \hat\sigma = \operatorname{argmin}_\sigma \sum_j c_{\sigma(j),\, j}, \qquad
        \sigma(j) \ne \sigma(j') \text{ for } j \ne j'

    Parameters
    ----------
    cost : Tensor of float, shape (..., n_queries, n_objects)
        What it costs that a query stands for an object. Not modified.
    present : Tensor of bool, shape (..., n_objects), optional
        True where there is an object; everywhere unless given. Not modified.

    Returns
    -------
    Tensor of int64, shape (..., n_objects)
        The query of each object, -1 where there is none. Carries no gradient.

    Raises
    ------
    TypeError
        If an argument is not a tensor of the right dtype.
    ValueError
        If the shapes do not fit, an image has more objects than there are queries, or a cost is not finite.

    Notes
    -----
    Solves the assignment problem by ``scipy.optimize.linear_sum_assignment``: cubic time for each image at
    worst, where trying all ways out would take n_queries! / (n_queries - n_objects)! sums.
    Built in chapter 12.

    References
    ----------
    .. [1] Kuhn (1955), "The Hungarian method for the assignment problem".
    .. [2] Carion et al. (2020), section 3.1, equation 1.
    """
    check_type("cost", cost, Tensor)
    if not cost.is_floating_point() or cost.ndim < 2:
        raise TypeError(
            "cost must be floating point with axes (..., n_queries, n_objects), "
            f"got cost.shape={tuple(cost.shape)}, cost.dtype={dtype_name(cost)}"
        )
    n_queries, n_objects = cost.shape[-2:]
    if present is None:
        present = torch.ones(*cost.shape[:-2], n_objects, dtype=torch.bool)
    check_type("present", present, Tensor)
    if dtype_name(present) != "bool":
        raise TypeError(f"present must be boolean, got present.dtype={dtype_name(present)}")
    if present.shape != (*cost.shape[:-2], n_objects):
        raise ValueError(
            "present must have the axes (..., n_objects) of cost, "
            f"got present.shape={tuple(present.shape)}, cost.shape={tuple(cost.shape)}"
        )
    if n_objects and int(present.sum(dim=-1).max()) > n_queries:
        raise ValueError(
            f"cost must have a query for each object, got n_queries={n_queries} "
            f"for up to {int(present.sum(dim=-1).max())} objects"
        )
    n_images = math.prod(cost.shape[:-2])
    numbers = cost.detach().cpu().double().numpy().reshape(n_images, n_queries, n_objects)
    there = present.cpu().numpy().reshape(n_images, n_objects)
    if not np.isfinite(numbers.swapaxes(1, 2)[there]).all():
        raise ValueError("cost must be finite for every object, got cost with NaN or infinite entries")
    chosen = np.full(there.shape, -1, dtype=np.int64)
    for row, costs, columns in zip(chosen, numbers, there, strict=True):
        queries, objects = linear_sum_assignment(costs[:, columns])
        row[np.flatnonzero(columns)[objects]] = queries
    return torch.from_numpy(chosen.reshape(present.shape)).to(cost.device)


def _measure_pairs(boxes: Tensor, others: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the areas of intersection, union and hull, each of shape (..., n_boxes, n_others).

    Raises
    ------
    ValueError
        If a shape does not fit, or a box ends before it begins.
    """
    for name, array in (("boxes", boxes), ("others", others)):
        _check_boxes(name, array, min_axes=2)
        turned = (array[..., 2:] < array[..., :2]).any(dim=-1)
        if turned.any():
            raise ValueError(
                f"{name} must have x0 ≤ x1 and y0 ≤ y1, got {name} with {int(turned.sum())} that have not"
            )
    if broadcast_shape(tuple(boxes.shape[:-2]), tuple(others.shape[:-2])) is None:
        raise ValueError(
            "boxes and others must have leading axes that broadcast, "
            f"got boxes.shape={tuple(boxes.shape)}, others.shape={tuple(others.shape)}"
        )
    mine, theirs = boxes.unsqueeze(-2), others.unsqueeze(-3)  # (..., n_boxes, 1, 4), (..., 1, n_others, 4)
    # Where boxes do not meet, the larger x0 lies beyond the smaller x1.
    inner = torch.minimum(mine[..., 2:], theirs[..., 2:]) - torch.maximum(mine[..., :2], theirs[..., :2])
    outer = torch.maximum(mine[..., 2:], theirs[..., 2:]) - torch.minimum(mine[..., :2], theirs[..., :2])
    intersection = inner.clamp(min=0).prod(dim=-1)  # (..., n_boxes, n_others)
    areas = [(corners[..., 2:] - corners[..., :2]).prod(dim=-1) for corners in (mine, theirs)]
    return intersection, areas[0] + areas[1] - intersection, outer.prod(dim=-1)


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """Divide areas; a part of nothing is nothing, and has no gradient."""
    empty = whole == 0
    return part.masked_fill(empty, 0.0) / whole.masked_fill(empty, 1.0)


def _check_boxes(name: str, boxes: Tensor, *, min_axes: int = 1) -> None:
    check_type(name, boxes, Tensor)
    check_array(name, boxes, min_axes=min_axes)
    if not boxes.is_floating_point():
        raise TypeError(f"{name} must be floating point, got {name}.dtype={dtype_name(boxes)}")
    if boxes.shape[-1] != 4:
        raise ValueError(
            f"{name} must have 4 numbers on the last axis, got {name}.shape={tuple(boxes.shape)}"
        )
