"""The loss of a set equals a loop over all ways to match, and teaches a detector."""

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attncourse.boxes import box_iou, generalized_iou, to_centres, to_corners
from attncourse.detection import Detector, Prediction
from attncourse.detection_loss import NO_OBJECT, detection_loss
from attncourse.detection_measures import average_precision
from attncourse.training import set_seed, train
from tests.support.comparing import assert_same_values_and_gradients, normal
from tests.support.tolerances import FLOAT64

BATCH, CLASSES = 2, 3


def gold(seed=0, *, max_objects=4, batch=BATCH):
    """Draw objects, some of them missing, never all."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (batch, max_objects), generator=generator)
    labels[torch.rand(batch, max_objects, generator=generator) < 0.4] = NO_OBJECT
    labels[0, 1] = 2
    sides = 0.1 + 0.2 * torch.rand(batch, max_objects, 2, generator=generator).double()
    centres = 0.2 + 0.6 * torch.rand(batch, max_objects, 2, generator=generator).double()
    return labels, to_corners(torch.cat([centres, sides], dim=-1))


def prediction(seed=0, *, n_queries=5, batch=BATCH, n_earlier=0):
    def one(seed):
        logits = normal(batch, n_queries, CLASSES + 1, seed=seed).requires_grad_()
        return logits, to_corners(normal(batch, n_queries, 4, seed=seed + 1).sigmoid()).requires_grad_()

    earlier = tuple(one(seed + 10 * (number + 1)) for number in range(n_earlier))
    return Prediction(*one(seed), earlier=earlier)


def loss_by_trying(logits, boxes, labels, gold_boxes, no_object, box_weight, iou_weight):
    """Match each image by trying all ways; then add up what every query and every object costs."""
    classes, class_weights, box_terms, n_objects = [], [], [], 0
    n_queries = logits.shape[1]
    for image in range(len(logits)):
        objects = [j for j, label in enumerate(labels[image].tolist()) if label != NO_OBJECT]
        n_objects += len(objects)

        def box_term(q, j, image=image):
            mine, right = boxes[image, q][None], gold_boxes[image, j][None]
            distance = (to_centres(mine) - to_centres(right)).abs().sum()
            return box_weight * distance + iou_weight * (1 - generalized_iou(mine, right)[0, 0])

        def cost(way, image=image, objects=objects, box_term=box_term):
            return sum(
                float((box_term(q, j) - logits[image, q].softmax(0)[labels[image, j]]).detach())
                for q, j in zip(way, objects, strict=True)
            )

        best = min(itertools.permutations(range(n_queries), len(objects)), key=cost)
        box_terms += [box_term(q, j) for q, j in zip(best, objects, strict=True)]
        right = dict(zip(best, objects, strict=True))
        for q in range(n_queries):
            label = int(labels[image, right[q]]) if q in right else CLASSES
            classes.append(-logits[image, q].log_softmax(0)[label])
            class_weights.append(1.0 if q in right else no_object)
    weights = torch.tensor(class_weights, dtype=torch.float64)
    class_loss = (weights * torch.stack(classes)).sum() / weights.sum()
    return class_loss + sum(box_terms) / n_objects


class TestLoss:
    @pytest.mark.parity
    @pytest.mark.parametrize("n_earlier", [0, 2])
    def test_equals_trying_all_ways(self, n_earlier):
        labels, boxes = gold()
        made = prediction(n_earlier=n_earlier)
        weights = {"no_object_weight": 0.3, "box_weight": 3.0, "iou_weight": 1.7}
        ours = detection_loss(made, labels, boxes, **weights)[None]
        layers = [*made.earlier, made[:2]]
        losses = [loss_by_trying(*layer, labels, boxes, 0.3, 3.0, 1.7) for layer in layers]
        leaves = [leaf for layer in layers for leaf in layer]
        wanted = torch.stack(losses).mean(dim=0, keepdim=True)
        assert_same_values_and_gradients(ours, wanted, [(leaf, leaf) for leaf in leaves])

    def test_default_weights(self):
        labels, boxes = gold()
        made = prediction()
        ours = detection_loss(made, labels, boxes)
        torch.testing.assert_close(ours, loss_by_trying(*made[:2], labels, boxes, 0.4, 5.0, 2.0), **FLOAT64)

    def test_hand_value(self):
        # One object, two queries; the second is right about the box, and both know nothing of the class.
        logits = torch.zeros(1, 2, CLASSES + 1)
        boxes = torch.tensor([[[0.0, 0.0, 0.2, 0.2], [0.5, 0.5, 0.7, 0.9]]])
        loss = detection_loss(Prediction(logits, boxes), torch.tensor([[1]]), boxes[:, 1:])
        assert loss.item() == pytest.approx(math.log(4), rel=1e-6)
        # Half as wide: centre off by 0.05, width by 0.1; IoU = GIoU = 1/2.
        narrow = torch.tensor([[[0.5, 0.5, 0.6, 0.9]]])
        loss = detection_loss(Prediction(logits[:, :1], narrow), torch.tensor([[1]]), boxes[:, 1:])
        assert loss.item() == pytest.approx(math.log(4) + 5 * 0.15 + 2 * 0.5, rel=1e-5)

    @pytest.mark.properties
    @settings(max_examples=20)
    @given(st.integers(0, 2**32 - 1))
    def test_the_order_of_queries_and_of_objects_changes_nothing(self, seed):
        labels, boxes = gold(seed)
        made = prediction(seed % 1000)
        loss = detection_loss(made, labels, boxes)
        rng = np.random.default_rng(seed)
        queries, objects = torch.from_numpy(rng.permutation(5)), torch.from_numpy(rng.permutation(4))
        moved = Prediction(made.logits[:, queries], made.boxes[:, queries])
        torch.testing.assert_close(
            detection_loss(moved, labels[:, objects], boxes[:, objects]), loss, **FLOAT64
        )

    def test_garbage_where_no_object_is_changes_nothing(self):
        labels, boxes = gold()
        made = prediction()
        dirty = boxes.clone()
        dirty[labels == NO_OBJECT] = float("nan")
        gradients = []
        for gold_boxes in (boxes, dirty):
            loss = detection_loss(made, labels, gold_boxes)
            gradients.append((loss, *torch.autograd.grad(loss, [made.logits, made.boxes])))
        for one, other in zip(*gradients, strict=True):
            assert one.equal(other)

    def test_images_without_objects(self):
        labels = torch.full((BATCH, 4), NO_OBJECT)
        made = prediction()
        loss = detection_loss(made, labels, gold()[1])
        wanted = -made.logits.log_softmax(dim=-1)[..., CLASSES].mean()
        torch.testing.assert_close(loss, wanted, **FLOAT64)
        none = detection_loss(made, labels[:, :0], gold()[1][:, :0])
        torch.testing.assert_close(none, wanted, **FLOAT64)

    def test_arguments_are_not_written(self):
        labels, boxes = gold()
        made = prediction()
        copies = copy.deepcopy([labels, boxes, *(leaf.detach() for leaf in made[:2])])
        detection_loss(made, labels, boxes).backward()
        for array, before in zip([labels, boxes, *(leaf.detach() for leaf in made[:2])], copies, strict=True):
            assert array.equal(before)

    @pytest.mark.parametrize(
        ("change", "error", "text"),
        [
            (
                {"prediction": (1, 2)},
                TypeError,
                r"^prediction must be of type Prediction, got prediction of type tuple$",
            ),
            (
                {"gold_labels": [[0]]},
                TypeError,
                r"^gold_labels must be of type Tensor, got gold_labels of type list$",
            ),
            (
                {"gold_boxes": [[0]]},
                TypeError,
                r"^gold_boxes must be of type Tensor, got gold_boxes of type list$",
            ),
            (
                {"gold_labels": torch.zeros(2, 4)},
                TypeError,
                r"^gold_labels must be of dtype int64, got gold_labels.dtype=float32$",
            ),
            (
                {"gold_labels": torch.zeros(3, 4, dtype=torch.int64)},
                ValueError,
                r"^gold_labels must have shape \(batch, max_objects\), "
                r"got gold_labels.shape=\(3, 4\) for a batch of 2$",
            ),
            (
                {"gold_boxes": torch.zeros(2, 4, 5)},
                ValueError,
                r"^gold_boxes must have shape \(batch, max_objects, 4\), "
                r"got gold_boxes.shape=\(2, 4, 5\), gold_labels.shape=\(2, 4\)$",
            ),
            (
                {"gold_labels": torch.full((2, 4), CLASSES)},
                ValueError,
                r"^gold_labels must lie in -1 … n_classes - 1=2, got gold_labels from 3 to 3$",
            ),
            (
                {"gold_labels": torch.full((2, 4), -2)},
                ValueError,
                r"^gold_labels must lie in -1 … n_classes - 1=2, got gold_labels from -2 to -2$",
            ),
            (
                {"prediction": prediction(n_queries=2), "gold_labels": torch.zeros(2, 4, dtype=torch.int64)},
                ValueError,
                r"^cost must have a query for each object, got n_queries=2 for up to 4 objects$",
            ),
            ({"no_object_weight": 0}, ValueError, r"^no_object_weight must be above 0, got "),
            ({"box_weight": -1}, ValueError, r"^box_weight must be at least 0, got box_weight=-1$"),
            ({"iou_weight": "2"}, TypeError, r"^iou_weight must be a number, got iou_weight='2'$"),
        ],
    )
    def test_bad_arguments_are_refused(self, change, error, text):
        labels, boxes = gold()
        arguments = {"prediction": prediction(), "gold_labels": labels, "gold_boxes": boxes}
        with pytest.raises(error, match=text):
            detection_loss(**{**arguments, **change})


@pytest.mark.learning
@pytest.mark.usefixtures("one_thread")
def test_learns_to_find_two_squares_of_two_brightnesses():
    def batch(size, rng):
        x = np.zeros((size, 1, 16, 16), dtype=np.float32)
        labels = rng.integers(2, size=(size, 2))
        boxes = np.zeros((size, 2, 4), dtype=np.float32)
        for image, (side, label) in itertools.product(range(size), enumerate([0, 1])):
            label = labels[image, side]
            top, left = rng.integers(1, 11), 8 * side + rng.integers(0, 4)
            x[image, 0, top : top + 4, left : left + 4] = (-1.0, 1.0)[label]
            boxes[image, side] = np.array([left, top, left + 4, top + 4]) / 16
        return torch.from_numpy(x), torch.from_numpy(labels), torch.from_numpy(boxes)

    set_seed(0)
    rng = np.random.default_rng(0)
    model = Detector(2, image_size=16, n_queries=3, n_channels=1, d_model=24, n_heads=2, n_layers=1)

    def precision():
        x, labels, boxes = batch(101, np.random.default_rng(1))
        found = model.eval().detect(x)
        overlaps = box_iou(found.boxes, boxes).numpy()
        areas = average_precision(
            found.scores.numpy(), found.labels.numpy(), labels.numpy(), overlaps, n_classes=2
        )
        return float(np.nanmean(areas))

    before = precision()
    train(
        model,
        lambda: batch(24, rng),
        lambda model, batch: detection_loss(model(batch[0]), *batch[1:]),
        steps=250,
        learning_rate=4e-3,
        warmup_steps=10,
    )
    assert before < 0.2
    assert precision() > 0.8
