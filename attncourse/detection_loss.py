"""Score a set of detections: match each object with one query, then ask that query for it.

Built in chapter 12.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from attncourse._checks import check_number, check_type, dtype_name
from attncourse.boxes import generalized_iou, match_objects, to_centres
from attncourse.detection import Prediction

NO_OBJECT = -1  # label of a place in the gold arrays that holds no object


def detection_loss(
    prediction: Prediction,
    gold_labels: Tensor,
    gold_boxes: Tensor,
    *,
    no_object_weight: float = 0.4,
    box_weight: float = 5.0,
    iou_weight: float = 2.0,
) -> Tensor:
    r"""Return the loss of a set of detections: match first, then ask each query for its object.

    .. math::
        c_{qj} = -p_q(k_j) + \lambda_\text{box} \lVert b_q - b_j \rVert_1
            + \lambda_\text{iou} \left(1 - \operatorname{GIoU}(b_q, b_j)\right), \qquad
        \hat\sigma = \operatorname{match}(c)

    .. math::
        \ell = -\frac{\sum_q w_q \ln p_q(k_{(q)})}{\sum_q w_q}
            + \frac{1}{N} \sum_j \left[ \lambda_\text{box} \lVert b_{\hat\sigma(j)} - b_j \rVert_1
            + \lambda_\text{iou} \left(1 - \operatorname{GIoU}(b_{\hat\sigma(j)}, b_j)\right) \right]

    Parameters
    ----------
    prediction : Prediction
        What a ``Detector`` said. Not modified.
    gold_labels : Tensor of int64, shape (batch, max_objects)
        Class k of each object, ``NO_OBJECT`` (-1) where there is none. Not modified.
    gold_boxes : Tensor of float, shape (batch, max_objects, 4)
        Corners of each object, as shares of the image's width and height; any numbers where there is no
        object. Not modified.
    no_object_weight : float, optional
        Weight w of a query whose right answer is "no object"; of the others it is 1.
    box_weight, iou_weight : float, optional
        The factors λ. The distance is that of centres and sizes.

    Returns
    -------
    Tensor, shape ()
        The loss, averaged over all layers that made a prediction.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind or dtype.
    ValueError
        If the shapes do not fit, a label is out of range, an image has more objects than there are queries,
        or a weight is out of range.

    Notes
    -----
    N counts the objects of the batch; without any, the second line is 0. Every layer is matched by itself.
    The paper adds the layers up, and weighs "no object" with 0.1, for 100 queries instead of a few.
    Built in chapter 12.

    References
    ----------
    .. [1] Carion et al. (2020), section 3.1, equations 1 and 2, and section 3.2, "auxiliary decoding losses".
    """
    for name, number in (("box_weight", box_weight), ("iou_weight", iou_weight)):
        check_number(name, number, at_least=0)
    check_number("no_object_weight", no_object_weight, above=0)
    _check_gold(prediction, gold_labels, gold_boxes)
    present = gold_labels != NO_OBJECT
    # Zeros in place of what stands where there is no object: it may be anything, NaN as well.
    gold_boxes = gold_boxes.masked_fill(~present.unsqueeze(-1), 0.0)
    losses = []
    for logits, boxes in (*prediction.earlier, prediction[:2]):
        distance = to_centres(boxes).unsqueeze(2) - to_centres(gold_boxes).unsqueeze(1)
        # What a pair costs is what the loss adds for it, but for the class: there the paper found
        # probabilities better than their logarithms. All of shape (batch, n_queries, max_objects).
        box_cost = box_weight * distance.abs().sum(dim=-1)
        box_cost = box_cost + iou_weight * (1 - generalized_iou(boxes, gold_boxes))
        classes = gold_labels.clamp(min=0).unsqueeze(1).expand(-1, boxes.shape[1], -1)
        class_cost = -logits.softmax(dim=-1).gather(2, classes)
        matched = match_objects(class_cost + box_cost, present)  # (batch, max_objects)
        losses.append(_matched_loss(logits, box_cost, gold_labels, matched, no_object_weight))
    return torch.stack(losses).mean()


def _matched_loss(
    logits: Tensor, box_cost: Tensor, gold_labels: Tensor, matched: Tensor, no_object_weight: float
) -> Tensor:
    """Return the loss of one layer, given the query of each object."""
    images, objects = torch.nonzero(matched >= 0, as_tuple=True)
    queries = matched[images, objects]
    n_classes = logits.shape[-1] - 1
    wanted = torch.full_like(logits[..., 0], n_classes, dtype=torch.int64)  # (batch, n_queries)
    wanted[images, queries] = gold_labels[images, objects]
    weight = torch.ones_like(logits[0, 0])
    weight[n_classes] = no_object_weight
    class_loss = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), weight)
    return class_loss + box_cost[images, queries, objects].sum() / max(1, len(objects))


def _check_gold(prediction: Prediction, gold_labels: Tensor, gold_boxes: Tensor) -> None:
    """Check the gold arrays against a prediction.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind or dtype.
    ValueError
        If the shapes do not fit or a label is out of range.
    """
    check_type("prediction", prediction, Prediction)
    check_type("gold_labels", gold_labels, Tensor)
    check_type("gold_boxes", gold_boxes, Tensor)
    if dtype_name(gold_labels) != "int64":
        raise TypeError(
            f"gold_labels must be of dtype int64, got gold_labels.dtype={dtype_name(gold_labels)}"
        )
    if gold_labels.ndim != 2 or len(gold_labels) != len(prediction.logits):
        raise ValueError(
            "gold_labels must have shape (batch, max_objects), "
            f"got gold_labels.shape={tuple(gold_labels.shape)} for a batch of {len(prediction.logits)}"
        )
    if gold_boxes.shape != (*gold_labels.shape, 4):
        raise ValueError(
            "gold_boxes must have shape (batch, max_objects, 4), "
            f"got gold_boxes.shape={tuple(gold_boxes.shape)}, gold_labels.shape={tuple(gold_labels.shape)}"
        )
    n_classes = prediction.logits.shape[-1] - 1
    if gold_labels.numel() and not NO_OBJECT <= int(gold_labels.min()) <= int(gold_labels.max()) < n_classes:
        raise ValueError(
            f"gold_labels must lie in {NO_OBJECT} … n_classes - 1={n_classes - 1}, "
            f"got gold_labels from {int(gold_labels.min())} to {int(gold_labels.max())}"
        )
