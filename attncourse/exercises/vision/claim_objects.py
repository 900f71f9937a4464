"""Checker: which detections found an object, the most confident choosing first."""

import numpy as np
from scipy.optimize import linear_sum_assignment

from attncourse.detection_measures import match_detections
from attncourse.exercises._exercise import Exercise, Mistake, Property


def _reference(scores, labels, gold_labels, overlaps, threshold):
    return match_detections(scores, labels, gold_labels, overlaps, threshold=threshold)


def _like(
    *,
    order=None,
    classes=True,
    late=False,
    once=True,
    above=False,
    best_only=False,
    reset=True,
    first=False,
    floor=True,
):
    def claim(scores, labels, gold_labels, overlaps, threshold):
        found = np.full(scores.shape, -1, dtype=np.int64)
        taken = set()
        for i in range(len(scores)):
            taken = set() if reset else taken
            confidence = scores[i] if order is None else order(scores[i], overlaps[i])
            for d in np.argsort(-confidence, kind="stable"):
                fits = [j for j in range(gold_labels.shape[1]) if gold_labels[i, j] >= 0]
                if late:
                    fits = sorted(set(fits) - taken, key=lambda j: overlaps[i, d, j])[-1:]
                fits = [j for j in fits if not classes or gold_labels[i, j] == labels[i, d]]
                if best_only and fits:
                    fits = [max(fits, key=lambda j: overlaps[i, d, j])]
                if floor:
                    enough = overlaps[i, d] > threshold if above else overlaps[i, d] >= threshold
                    fits = [j for j in fits if enough[j]]
                if once:
                    fits = [j for j in fits if j not in taken]
                if fits:
                    found[i, d] = fits[0] if first else max(fits, key=lambda j: overlaps[i, d, j])
                    taken.add(found[i, d])
        return found

    return claim


def _as_in_training(scores, labels, gold_labels, overlaps, threshold):
    found = np.full(scores.shape, -1, dtype=np.int64)
    for i in range(len(scores)):
        fits = (labels[i][:, None] == gold_labels[i][None]) & (overlaps[i] >= threshold)
        for d, j in zip(*linear_sum_assignment(np.where(fits, overlaps[i], 0.0), maximize=True), strict=True):
            found[i, d] = j if fits[d, j] else -1
    return found


def _properties(rng):
    def inputs(n_images, n_detections, n_objects, *, n_classes=1, absent=False, exact=False):
        overlaps = rng.uniform(0.2, 1.0, size=(n_images, n_detections, n_objects))
        if exact:
            overlaps *= 0.7
            one = rng.integers(n_objects, size=(n_images, n_detections, 1))
            np.put_along_axis(overlaps, one, 0.5, axis=-1)
        gold = rng.integers(n_classes, size=(n_images, n_objects))
        if absent:
            gold[rng.random(gold.shape) < 0.4] = -1
        return {
            "scores": rng.random((n_images, n_detections)),
            "labels": rng.integers(n_classes, size=(n_images, n_detections)),
            "gold_labels": gold,
            "overlaps": overlaps,
            "threshold": 0.5,
        }

    def strict(case):
        return case | {"threshold": 0.75}

    return [
        Property("one object", [inputs(4, 3, 1) for _ in range(3)], 1),
        Property("several objects of one class", [inputs(5, 6, 3), strict(inputs(5, 6, 3))], 2),
        Property("several classes", [inputs(4, 7, 5, n_classes=3)], 1.5),
        Property("places without an object", [inputs(4, 7, 5, n_classes=2, absent=True)], 1),
        Property("an overlap equal to the threshold", [inputs(3, 4, 3, exact=True) for _ in range(4)], 0.5),
    ]


EXERCISE = Exercise(
    reference=_reference,
    properties=_properties,
    mistakes=[
        Mistake(
            "in the order of the list",
            "The detections choose in the order in which they are listed. The most confident must choose "
            "first.",
            _like(order=lambda scores, overlaps: -np.arange(len(scores), dtype=float)),
        ),
        Mistake(
            "the least confident first",
            "The detections choose in order of rising confidence, so the doubtful ones take the objects.",
            _like(order=lambda scores, overlaps: -scores),
        ),
        Mistake(
            "the best overlap first",
            "The detection that overlaps an object most chooses first. The order is that of the confidence, "
            "which the model itself states.",
            _like(order=lambda scores, overlaps: overlaps.max(axis=-1)),
        ),
        Mistake(
            "found twice",
            "An object that was found is not taken out, so two detections may find the same one, and a "
            "model that says everything twice is rewarded.",
            _like(once=False),
        ),
        Mistake(
            "classes ignored",
            "A detection of one class found an object of another.",
            _like(classes=False),
        ),
        Mistake(
            "classes compared too late",
            "A detection looked for the best object of any class, and compared the classes afterwards. "
            "Where they differ it gets nothing, though an object of its own class may be left.",
            _like(late=True),
        ),
        Mistake(
            "no threshold",
            "Detections that overlap too little found an object as well.",
            _like(floor=False),
        ),
        Mistake(
            "more than the threshold",
            "An overlap equal to the threshold was turned away; it is enough.",
            _like(above=True),
        ),
        Mistake(
            "the best object or none",
            "A detection whose best object is taken or of too little overlap gets nothing. It may take "
            "another that is left, as the page says.",
            _like(best_only=True),
        ),
        Mistake(
            "the first that is left",
            "The objects go in the order of their list: a detection gets the first that it overlaps enough. "
            "Of several it takes the one that it overlaps most.",
            _like(first=True),
        ),
        Mistake(
            "objects taken in another image",
            "An object counts as taken in all images once it was found in one: the list of those taken is "
            "never emptied.",
            _like(reset=False),
        ),
        Mistake(
            "matched as in training",
            "The pairs were chosen so that the overlaps sum to the most. That is the matching of the loss; "
            "in scoring the most confident chooses alone.",
            _as_in_training,
            see=(12, "Which answer belongs to which object?"),
        ),
    ],
    see=(12, "Scoring found objects: average precision"),
    variants={"in loops": _like()},
)
