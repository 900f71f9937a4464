"""Checker: a loss for a set of detections with five faults, to be mended."""

import torch
from torch.nn import functional as F

from attncourse.boxes import box_iou, generalized_iou, match_objects
from attncourse.detection import Prediction
from attncourse.detection_loss import detection_loss
from attncourse.exercises._exercise import Exercise, Mistake, Property, normal


def _reference(logits, boxes, gold_labels, gold_boxes):
    return detection_loss(Prediction(logits, boxes), gold_labels, gold_boxes, box_weight=0.0, iou_weight=1.0)


def _loss(
    logits,
    boxes,
    gold_labels,
    gold_boxes,
    *,
    overlap=generalized_iou,
    classes=1.0,
    flat=False,
    everywhere=False,
    ask_rest=True,
    weight=0.4,
    mean_of_places=False,
    matching_cost=False,
    own_count=True,
):
    if flat:
        logits, boxes, gold_labels, gold_boxes = (
            one.flatten(0, 1).unsqueeze(0) for one in (logits, boxes, gold_labels, gold_boxes)
        )
    there = gold_labels >= 0
    present = torch.ones_like(there) if everywhere else there
    box_cost = 1 - overlap(boxes, gold_boxes)
    kinds = gold_labels.clamp(min=0).unsqueeze(1).expand(-1, boxes.shape[1], -1)
    cost = box_cost - classes * logits.softmax(dim=-1).gather(2, kinds)
    matched = match_objects(cost, present)
    present = there if everywhere == "matching" else present
    image, place = present.nonzero(as_tuple=True)
    query = matched[image, place]
    wanted = torch.full(logits.shape[:2], logits.shape[-1] - 1 if ask_rest else -1)
    wanted[image, query] = gold_labels[image, place].where(there[image, place], torch.tensor(-1))
    weights = torch.ones(logits.shape[-1])
    weights[-1] = weight
    class_loss = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), weight=weights, ignore_index=-1)
    class_loss = class_loss if own_count else class_loss * weights[wanted].mean()
    costs = (cost if matching_cost else box_cost)[image, query, place]
    return class_loss + (costs.sum() / there.numel() if mean_of_places else costs.mean())


def _image_by_image(logits, boxes, gold_labels, gold_boxes):
    rows = (one.split(1) for one in (logits, boxes, gold_labels, gold_boxes))
    return torch.stack([_reference(*row) for row in zip(*rows, strict=True)]).mean()


def _summed(logits, boxes, gold_labels, gold_boxes):
    """Go image by image, and divide at the end."""
    class_sum = weight_sum = box_sum = n_objects = 0.0
    for scores, mine, kinds, theirs in zip(logits, boxes, gold_labels, gold_boxes, strict=True):
        kinds, theirs = kinds[kinds >= 0], theirs[kinds >= 0]
        distance, log_p = 1 - generalized_iou(mine, theirs), scores.log_softmax(dim=-1)
        query = match_objects(distance - log_p.exp()[:, kinds])
        wanted = torch.full((len(mine),), scores.shape[-1] - 1)
        wanted[query] = kinds
        weight = torch.full((len(mine),), 0.4)
        weight[query] = 1.0
        class_sum = class_sum - (weight * log_p[torch.arange(len(mine)), wanted]).sum()
        weight_sum = weight_sum + weight.sum()
        box_sum = box_sum + distance[query, torch.arange(len(query))].sum()
        n_objects += len(query)
    return class_sum / weight_sum + box_sum / n_objects


def _like(**choices):
    return lambda *inputs: _loss(*inputs, **choices)


def _as_given(*inputs):
    return _loss(*inputs, overlap=box_iou, classes=0.0, flat=True, everywhere=True, ask_rest=False)


def _run(answer, inputs):
    logits, boxes = (inputs[name].clone().requires_grad_() for name in ("logits", "boxes"))
    loss = answer(logits, boxes, inputs["gold_labels"], inputs["gold_boxes"])
    gradients = torch.autograd.grad(loss, (logits, boxes), materialize_grads=True)
    return {
        "the loss": loss.detach(),
        "its gradient for logits": gradients[0],
        "its gradient for boxes": gradients[1],
    }


def _properties(rng):
    def boxes_of(*shape):
        first = torch.from_numpy(rng.uniform(0.0, 0.7, size=(*shape, 2))).float()
        return torch.cat(
            [first, first + torch.from_numpy(rng.uniform(0.1, 0.3, size=(*shape, 2))).float()], dim=-1
        )

    def inputs(n_queries, *counts, n_classes=3):
        most = max(counts)
        gold_labels = torch.from_numpy(rng.integers(n_classes, size=(len(counts), most)))
        # Where nothing stands may come first.
        order = torch.from_numpy(rng.permuted([list(range(most))] * len(counts), axis=1))
        absent = order >= torch.tensor(counts)[:, None]
        return {
            "logits": 2 * normal(rng, len(counts), n_queries, n_classes + 1),
            "boxes": boxes_of(len(counts), n_queries),
            "gold_labels": gold_labels.masked_fill(absent, -1),
            "gold_boxes": boxes_of(len(counts), most).masked_fill(absent.unsqueeze(-1), 0.0),
        }

    return [
        Property("one image, an object for each query", [inputs(3, 3), inputs(4, 4), inputs(4, 4)], 1),
        Property("one image, queries left over", [inputs(5, 2), inputs(6, 3)], 1),
        Property("several images", [inputs(5, 3, 3, 3), inputs(4, 2, 2)], 1),
        Property(
            "places without an object", [inputs(5, 3, 1, 2), *(inputs(4, 4, 1, 2, 3) for _ in range(4))], 1
        ),
    ]


EXERCISE = Exercise(
    reference=_reference,
    properties=_properties,
    run=_run,
    mistakes=[
        Mistake(
            "the code as given", "This does what the given code does; all faults are still in it.", _as_given
        ),
        Mistake(
            "plain overlap",
            "The boxes are still compared by the plain intersection over union. Where boxes do not meet it "
            "has no gradient, and does not tell near from far.",
            _like(overlap=box_iou),
            see=(12, "How well do two boxes agree?"),
        ),
        Mistake(
            "matched without the classes",
            "The matching looks at the boxes alone: an object may be given a query that is sure of another "
            "class.",
            _like(classes=0.0),
        ),
        Mistake(
            "the matching's cost in the loss",
            "The costs that the matching compares went into the loss, class part included. The second term "
            "of the formula holds the distances of the boxes alone.",
            _like(matching_cost=True),
        ),
        Mistake(
            "matched across images",
            "The batch is flattened before the matching: an object may be given a query of another image.",
            _like(flat=True),
            see=(12, "Common mistakes"),
        ),
        Mistake(
            "empty places matched",
            "Places without an object are matched like objects: each takes a query away and adds a cost of "
            "its own.",
            _like(everywhere=True),
        ),
        Mistake(
            "empty places take queries",
            "Places without an object add no cost, but they are matched all the same: an object may lose its "
            "query to one of them.",
            _like(everywhere="matching"),
        ),
        Mistake(
            "the rest asked for nothing",
            "Queries without an object are asked for nothing, so no query ever learns to say “no object”.",
            _like(ask_rest=False),
        ),
        Mistake(
            "no object at full weight",
            "“No object” weighs as much as any class. Most queries are empty, and saying nothing everywhere "
            "pays early.",
            _like(weight=1.0),
        ),
        Mistake(
            "divided by the number of queries",
            "The weighted sum over the queries was divided by their number. The formula divides by the sum "
            "of the weights.",
            _like(own_count=False),
        ),
        Mistake(
            "boxes averaged over all places",
            "The box costs were divided by the number of places in the lists, empty ones included. They are "
            "averaged over the objects.",
            _like(mean_of_places=True),
        ),
        Mistake(
            "averaged image by image",
            "Each image has its own mean, and these were averaged. The sums run over the batch, so an image "
            "with many objects counts for more than one with few.",
            _image_by_image,
        ),
    ],
    see=(12, "The loss of a set"),
    variants={"all images at once": _like(), "image by image": _summed},
)
