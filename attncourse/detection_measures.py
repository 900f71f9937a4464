"""Score found objects by average precision, and found regions by intersection over union.

Built in chapter 12.
"""

import numpy as np

from attncourse._checks import check_count, check_floats, check_number, check_type, dtype_name


def precision_area(is_right: np.ndarray, n_gold: int) -> float:
    r"""Return the area under the precision-recall curve of answers in order of falling confidence.

    .. math:: \mathrm{AP} = \sum_k (r_k - r_{k-1}) \max_{k' \ge k} p_{k'}, \qquad
        p_k = \frac{R_k}{k}, \quad r_k = \frac{R_k}{n_\text{gold}}

    Of the first k answers, :math:`R_k` are right.

    Parameters
    ----------
    is_right : ndarray of bool, shape (n_answers,)
        Whether each answer is right, the most confident first. There may be none. Not modified.
    n_gold : int
        Objects there are to find.

    Returns
    -------
    float
        1 if every object is found before any mistake, 0 if none is found.

    Raises
    ------
    TypeError
        If ``is_right`` is not a boolean array or ``n_gold`` not an integer.
    ValueError
        If ``is_right`` has not one axis, ``n_gold`` is below 1, or more answers are right than there are
        objects.

    Notes
    -----
    The precision at a recall is the best one at that recall or beyond (all-point interpolation): the curve
    never rises, and mistakes behind the last right answer cost nothing. Time O(n_answers).
    Built in chapter 12.

    References
    ----------
    .. [1] Everingham et al. (2015), "The PASCAL visual object classes challenge: a retrospective".
    """
    _check_array("is_right", is_right, "bool", n_axes=1)
    check_count("n_gold", n_gold)
    if is_right.sum() > n_gold:
        raise ValueError(
            f"is_right must hold at most n_gold={n_gold} True, got is_right with {int(is_right.sum())} True"
        )
    precision = is_right.cumsum() / np.arange(1, len(is_right) + 1)
    best_beyond = np.maximum.accumulate(precision[::-1])[::-1]
    return float(best_beyond[is_right].sum() / n_gold)  # recall rises by 1 / n_gold at each right answer


def match_detections(
    scores: np.ndarray,
    labels: np.ndarray,
    gold_labels: np.ndarray,
    overlaps: np.ndarray,
    *,
    threshold: float = 0.5,
) -> np.ndarray:
    """Say which detections found an object: the most confident chooses first, and no object is found twice.

    Parameters
    ----------
    scores : ndarray of float, shape (n_images, n_detections)
        Confidence of each detection. Not modified.
    labels : ndarray of int, shape (n_images, n_detections)
        Its class. Not modified.
    gold_labels : ndarray of int, shape (n_images, max_objects)
        Class of each object, -1 where there is none. Not modified.
    overlaps : ndarray of float, shape (n_images, n_detections, max_objects)
        Intersection over union of each detection with each object, such as ``box_iou`` returns. Not modified.
    threshold : float, optional
        Overlap that is enough, in (0, 1].

    Returns
    -------
    ndarray of int64, shape (n_images, n_detections)
        The object that each detection found, -1 where it found none.

    Raises
    ------
    TypeError
        If an argument is not an array of the right dtype.
    ValueError
        If the shapes do not fit, a number is NaN, or ``threshold`` is out of range.

    Notes
    -----
    Each takes the object of its class in its image that it overlaps most, of those that are left and that it
    overlaps enough, as in the evaluation program of the COCO data set. (The program of the PASCAL challenge
    lets it look at its best object alone, taken or not.) Time O(n_images · n_detections · max_objects).
    Built in chapter 12.

    References
    ----------
    .. [1] Everingham et al. (2015), "The PASCAL visual object classes challenge: a retrospective".
    """
    _check_detections(scores, labels, gold_labels, overlaps, threshold)
    possible = labels[:, :, None] == gold_labels[:, None, :]  # (n_images, n_detections, max_objects)
    possible &= (gold_labels >= 0)[:, None, :] & (overlaps >= threshold)
    worth = np.where(possible, overlaps, -1.0)
    images = np.arange(len(scores))
    found = np.full(scores.shape, -1, dtype=np.int64)
    for detection in np.argsort(-scores, axis=1, kind="stable").T:  # each image's next in confidence
        row = worth[images, detection]  # (n_images, max_objects)
        best = row.argmax(axis=1)
        hit = row[images, best] > 0
        found[images[hit], detection[hit]] = best[hit]
        worth[images[hit], :, best[hit]] = -1.0  # taken
    return found


def average_precision(
    scores: np.ndarray,
    labels: np.ndarray,
    gold_labels: np.ndarray,
    overlaps: np.ndarray,
    *,
    n_classes: int,
    threshold: float = 0.5,
) -> np.ndarray:
    """Return the average precision of every class over all images together.

    Parameters
    ----------
    scores, labels, gold_labels, overlaps, threshold
        As in ``match_detections``. Not modified.
    n_classes : int
        Classes, 0 … ``n_classes - 1``.

    Returns
    -------
    ndarray of float, shape (n_classes,)
        ``precision_area`` of each class, NaN where no image holds an object of it: ``np.nanmean`` of the
        array is the mean average precision.

    Raises
    ------
    TypeError
        If an argument is not an array of the right dtype.
    ValueError
        If the shapes do not fit, a number is NaN or out of range, or there is no object at all.

    Notes
    -----
    Detections of all images are ordered together by their confidence, which must therefore mean the same in
    every image. Of equal ones the earlier comes first. Time O(n log n) for n detections.
    Built in chapter 12.

    References
    ----------
    .. [1] Everingham et al. (2015), "The PASCAL visual object classes challenge: a retrospective".
    """
    check_count("n_classes", n_classes)
    found = match_detections(scores, labels, gold_labels, overlaps, threshold=threshold)
    for name, array, lowest in (("labels", labels, 0), ("gold_labels", gold_labels, -1)):
        if array.min() < lowest or array.max() >= n_classes:
            raise ValueError(
                f"{name} must lie in {lowest} … n_classes - 1={n_classes - 1}, "
                f"got {name} from {array.min()} to {array.max()}"
            )
    if not (gold_labels >= 0).any():
        raise ValueError("gold_labels must hold an object, got gold_labels with -1 everywhere")
    areas = np.full(n_classes, np.nan)
    for label in np.unique(gold_labels[gold_labels >= 0]):
        chosen = labels == label
        order = np.argsort(-scores[chosen], kind="stable")
        n_gold = int((gold_labels == label).sum())
        areas[label] = precision_area((found[chosen] >= 0)[order], n_gold)
    return areas


def intersection_over_union(predicted: np.ndarray, gold: np.ndarray, *, n_classes: int) -> np.ndarray:
    r"""Return how well the region of every class agrees with the right one, over all images together.

    .. math:: \operatorname{IoU}_c = \frac{|\{\text{predicted} = c\} \cap \{\text{gold} = c\}|}
        {|\{\text{predicted} = c\} \cup \{\text{gold} = c\}|}

    Parameters
    ----------
    predicted : ndarray of int, any shape
        Class of every pixel. Not modified.
    gold : ndarray of int, shape of ``predicted``
        Its right class. Not modified.
    n_classes : int
        Classes, 0 … ``n_classes - 1``.

    Returns
    -------
    ndarray of float, shape (n_classes,)
        0 to 1; NaN where a class is in neither.

    Raises
    ------
    TypeError
        If an argument is not an array of integers.
    ValueError
        If the shapes differ, an array is empty, or a class is out of range.

    Notes
    -----
    Pixels are counted over the whole set, not image by image: large objects weigh more. Time O(pixels).
    Built in chapter 12.

    References
    ----------
    .. [1] Everingham et al. (2015), "The PASCAL visual object classes challenge: a retrospective".
    """
    check_count("n_classes", n_classes)
    for name, array in (("predicted", predicted), ("gold", gold)):
        _check_array(name, array, "int")
        if not array.size:
            raise ValueError(f"{name} must not be empty, got {name}.shape={array.shape}")
        if array.min() < 0 or array.max() >= n_classes:
            raise ValueError(
                f"{name} must lie in 0 … n_classes - 1={n_classes - 1}, "
                f"got {name} from {array.min()} to {array.max()}"
            )
    if predicted.shape != gold.shape:
        raise ValueError(
            "predicted and gold must have the same shape, "
            f"got predicted.shape={predicted.shape}, gold.shape={gold.shape}"
        )
    right = np.bincount(gold[predicted == gold], minlength=n_classes)
    either = (
        np.bincount(predicted.ravel(), minlength=n_classes)
        + np.bincount(gold.ravel(), minlength=n_classes)
        - right
    )
    return np.divide(right, either, out=np.full(n_classes, np.nan), where=either > 0)


def _check_array(name: str, array: np.ndarray, kind: str, *, n_axes: int | None = None) -> None:
    """Require an array whose dtype is of a kind, and with so many axes where that is given.

    Raises
    ------
    TypeError
        If it is not an array, or of another dtype.
    ValueError
        If it has another number of axes.
    """
    check_type(name, array, np.ndarray)
    if kind not in dtype_name(array):
        what = {"bool": "boolean", "int": "integers"}[kind]
        raise TypeError(f"{name} must be {what}, got {name}.dtype={dtype_name(array)}")
    if n_axes is not None and array.ndim != n_axes:
        raise ValueError(f"{name} must have {n_axes} axes, got {name}.shape={array.shape}")


def _check_detections(
    scores: np.ndarray,
    labels: np.ndarray,
    gold_labels: np.ndarray,
    overlaps: np.ndarray,
    threshold: float,
) -> None:
    """Check what ``match_detections`` reads.

    Raises
    ------
    TypeError
        If an argument is not an array of the right dtype.
    ValueError
        If the shapes do not fit, a number is NaN, or ``threshold`` is out of range.
    """
    for name, array, n_axes in (("scores", scores, 2), ("overlaps", overlaps, 3)):
        check_type(name, array, np.ndarray)
        check_floats(name, array)
        if array.ndim != n_axes:
            raise ValueError(f"{name} must have {n_axes} axes, got {name}.shape={array.shape}")
    _check_array("labels", labels, "int", n_axes=2)
    _check_array("gold_labels", gold_labels, "int", n_axes=2)
    if labels.shape != scores.shape:
        raise ValueError(
            "labels must have the shape of scores, "
            f"got labels.shape={labels.shape}, scores.shape={scores.shape}"
        )
    if overlaps.shape != (*scores.shape, gold_labels.shape[-1]) or len(gold_labels) != len(scores):
        raise ValueError(
            "overlaps must have shape (n_images, n_detections, max_objects), got "
            f"overlaps.shape={overlaps.shape}, scores.shape={scores.shape}, "
            f"gold_labels.shape={gold_labels.shape}"
        )
    check_number("threshold", threshold, above=0)
    if threshold > 1:
        raise ValueError(f"threshold must be at most 1, got threshold={threshold}")
