"""Average precision and IoU: hand values, loops, and properties that always hold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attncourse.detection_measures import (
    average_precision,
    intersection_over_union,
    match_detections,
    precision_area,
)


def area_by_loop(is_right, n_gold):
    """Sum over objects found the best precision at that many objects found or more."""
    total, right = 0.0, 0
    precisions, found = [], []
    for k, hit in enumerate(is_right, start=1):
        right += hit
        precisions.append(right / k)
        found.append(right)
    for number in range(1, n_gold + 1):
        beyond = [p for p, f in zip(precisions, found, strict=True) if f >= number]
        total += max(beyond, default=0.0)
    return total / n_gold


class TestPrecisionArea:
    @pytest.mark.parametrize(
        ("is_right", "n_gold", "expected"),
        [
            ([True, True], 2, 1.0),
            ([True, True, False, False], 2, 1.0),  # mistakes behind the last find cost nothing
            ([False, True, True], 2, 2 / 3),  # precision 1/2 at the first is lifted to the 2/3 beyond it
            ([True, False, True], 2, 1 / 2 + 1 / 2 * 2 / 3),
            ([True], 4, 1 / 4),
            ([False, False], 3, 0.0),
            ([], 3, 0.0),
        ],
    )
    def test_hand_values(self, is_right, n_gold, expected):
        assert precision_area(np.array(is_right, dtype=bool), n_gold) == pytest.approx(expected, rel=1e-14)

    @pytest.mark.properties
    @given(st.lists(st.booleans(), max_size=12), st.integers(0, 5))
    def test_equals_a_loop_and_a_better_order_is_not_worse(self, is_right, missed):
        array = np.array(is_right, dtype=bool)
        n_gold = max(1, sum(is_right) + missed)
        area = precision_area(array, n_gold)
        assert area == pytest.approx(area_by_loop(is_right, n_gold), rel=1e-12)
        assert 0 <= area <= 1 + 1e-12
        assert precision_area(np.sort(array)[::-1], n_gold) == pytest.approx(sum(is_right) / n_gold)
        assert precision_area(np.append(array, [False, False]), n_gold) == pytest.approx(area)
        for k in range(len(array) - 1):
            if array[k + 1] and not array[k]:
                better = array.copy()
                better[[k, k + 1]] = True, False
                assert precision_area(better, n_gold) >= area - 1e-12

    def test_bad_arguments_are_refused(self):
        good = np.array([True, False])
        with pytest.raises(TypeError, match=r"^is_right must be of type ndarray, got is_right of type list$"):
            precision_area([True], 2)
        with pytest.raises(TypeError, match=r"^is_right must be boolean, got is_right.dtype=int64$"):
            precision_area(good.astype(int), 2)
        with pytest.raises(ValueError, match=r"^is_right must have 1 axes, got is_right.shape=\(1, 2\)$"):
            precision_area(good[None], 2)
        with pytest.raises(ValueError, match=r"^n_gold must be at least 1, got n_gold=0$"):
            precision_area(good, 0)
        with pytest.raises(
            ValueError, match=r"^is_right must hold at most n_gold=1 True, got is_right with 2 True$"
        ):
            precision_area(np.array([True, True]), 1)


def case(seed, *, n_images=3, n_detections=5, max_objects=4, n_classes=3):
    """Draw detections, objects and overlaps; a third of the objects is missing."""
    rng = np.random.default_rng(seed)
    gold = rng.integers(n_classes, size=(n_images, max_objects))
    gold[rng.random(gold.shape) < 0.3] = -1
    gold[0, 0] = 0
    return {
        # All scores differ: the order of equal ones is a matter of its own.
        "scores": rng.permutation(n_images * n_detections).reshape(n_images, n_detections) / 100.0,
        "labels": rng.integers(n_classes, size=(n_images, n_detections)),
        "gold_labels": gold,
        "overlaps": rng.random((n_images, n_detections, max_objects)),
    }


def found_by_loop(scores, labels, gold_labels, overlaps, threshold):
    found = np.full(scores.shape, -1)
    for image in range(len(scores)):
        left = [j for j, label in enumerate(gold_labels[image]) if label >= 0]
        for d in sorted(range(scores.shape[1]), key=lambda d, i=image: -scores[i, d]):
            able = [
                j
                for j in left
                if gold_labels[image, j] == labels[image, d] and overlaps[image, d, j] >= threshold
            ]
            if able:
                best = max(able, key=lambda j, i=image, d=d: overlaps[i, d, j])
                found[image, d] = best
                left.remove(best)
    return found


def precision_by_loop(scores, labels, gold_labels, overlaps, n_classes, threshold):
    found = found_by_loop(scores, labels, gold_labels, overlaps, threshold)
    areas = []
    for label in range(n_classes):
        answers = [
            (-scores[place], found[place] >= 0)
            for place in np.ndindex(scores.shape)
            if labels[place] == label
        ]
        n_gold = int((gold_labels == label).sum())
        areas.append(area_by_loop([hit for _, hit in sorted(answers)], n_gold) if n_gold else np.nan)
    return np.array(areas)


class TestMatchDetections:
    def test_hand_values(self):
        # Objects: 0 of class 0, 1 of class 0, 2 of class 1.
        gold = np.array([[0, 0, 1]])
        scores = np.array([[0.5, 0.9, 0.8, 0.7, 0.6]])
        labels = np.array([[0, 0, 0, 0, 1]])
        overlaps = np.array(
            [
                [
                    [0.9, 0.9, 0.9],  # fifth in turn: both of its class are taken
                    [0.6, 0.7, 0.0],  # first: the better one, object 1
                    [0.1, 0.8, 0.0],  # second: object 1 is taken, object 0 too far
                    [0.5, 0.0, 0.0],  # third: exactly the threshold is enough
                    [1.0, 1.0, 0.4],  # its class is too far
                ]
            ]
        )
        found = match_detections(scores, labels, gold, overlaps)
        assert found.dtype == np.int64
        assert found.tolist() == [[-1, 1, -1, 0, -1]]
        lower = match_detections(scores, labels, gold, overlaps, threshold=0.4)
        assert lower.tolist() == [[-1, 1, -1, 0, 2]]

    def test_of_equal_scores_the_earlier_chooses(self):
        overlaps = np.array([[[0.6], [0.9]]])
        found = match_detections(np.full((1, 2), 0.5), np.zeros((1, 2), int), np.zeros((1, 1), int), overlaps)
        assert found.tolist() == [[0, -1]]

    @pytest.mark.properties
    @given(st.integers(0, 2**32 - 1), st.sampled_from([0.1, 0.5, 0.9, 1.0]))
    def test_equals_a_loop(self, seed, threshold):
        arguments = case(seed)
        found = match_detections(**arguments, threshold=threshold)
        np.testing.assert_array_equal(found, found_by_loop(**arguments, threshold=threshold))
        for row in found:
            assert len(set(row[row >= 0])) == (row >= 0).sum()


class TestAveragePrecision:
    def test_hand_values(self):
        # Class 0: a find, a mistake, a find; class 1: nothing found; class 2: no object at all.
        scores = np.array([[0.9, 0.4], [0.6, 0.3]])
        labels = np.array([[0, 1], [0, 0]])
        gold = np.array([[0, 1], [-1, 0]])
        overlaps = np.zeros((2, 2, 2))
        overlaps[0, 0, 0] = 0.8
        overlaps[1, 1, 1] = 0.7
        overlaps[1, :, 0] = 1.0  # where no object is, an overlap means nothing
        areas = average_precision(scores, labels, gold, overlaps, n_classes=3)
        np.testing.assert_allclose(areas, [1 / 2 + 1 / 2 * 2 / 3, 0.0, np.nan], rtol=1e-14)
        strict = average_precision(scores, labels, gold, overlaps, n_classes=3, threshold=0.75)
        np.testing.assert_allclose(strict, [1 / 2, 0.0, np.nan], rtol=1e-14)

    @pytest.mark.properties
    @given(st.integers(0, 2**32 - 1), st.sampled_from([0.2, 0.5, 0.8]))
    def test_equals_a_loop(self, seed, threshold):
        arguments = case(seed)
        areas = average_precision(**arguments, n_classes=4, threshold=threshold)
        np.testing.assert_allclose(
            areas, precision_by_loop(**arguments, n_classes=4, threshold=threshold), rtol=1e-12
        )

    @pytest.mark.properties
    @given(st.integers(0, 2**32 - 1))
    def test_only_the_order_of_scores_counts_and_not_that_of_images(self, seed):
        arguments = case(seed)
        areas = average_precision(**arguments, n_classes=3)
        squeezed = {**arguments, "scores": arguments["scores"] ** 3 - 5}
        np.testing.assert_array_equal(average_precision(**squeezed, n_classes=3), areas)
        order = np.random.default_rng(seed).permutation(3)
        moved = {name: array[order] for name, array in arguments.items()}
        np.testing.assert_allclose(average_precision(**moved, n_classes=3), areas, rtol=1e-12)

    @pytest.mark.properties
    @given(st.integers(0, 2**32 - 1))
    def test_the_right_answers_alone_score_one(self, seed):
        gold = case(seed)["gold_labels"]
        overlaps = np.broadcast_to(np.eye(4), (3, 4, 4))
        scores = np.where(gold >= 0, 0.9, 0.1)  # where there is nothing, a guess of little confidence
        areas = average_precision(scores, np.maximum(gold, 0), gold, overlaps, n_classes=3)
        np.testing.assert_allclose(areas[~np.isnan(areas)], 1.0)
        assert np.isnan(areas).tolist() == [label not in gold for label in range(3)]

    def test_arguments_are_not_written(self):
        arguments = case(0)
        copies = {name: array.copy() for name, array in arguments.items()}
        for array in arguments.values():
            array.flags.writeable = False
        average_precision(**arguments, n_classes=3)
        for name, array in arguments.items():
            np.testing.assert_array_equal(array, copies[name])

    @pytest.mark.parametrize(
        ("change", "error", "text"),
        [
            ({"scores": [[0.1]]}, TypeError, r"^scores must be of type ndarray, got scores of type list$"),
            (
                {"scores": np.ones((3, 5), int)},
                TypeError,
                r"^scores must be floating point, got scores.dtype=int64$",
            ),
            (
                {"scores": np.full((3, 5), np.nan)},
                ValueError,
                r"^scores must not contain NaN, got scores with 15 NaN$",
            ),
            (
                {"scores": np.ones((1, 3, 5))},
                ValueError,
                r"^scores must have 2 axes, got scores.shape=\(1, 3, 5\)$",
            ),
            (
                {"overlaps": np.full((3, 5, 4), np.nan)},
                ValueError,
                r"^overlaps must not contain NaN, got overlaps with 60 NaN$",
            ),
            ({"labels": np.ones((3, 5))}, TypeError, r"^labels must be integers, got labels.dtype=float64$"),
            (
                {"labels": np.ones((3, 4), int)},
                ValueError,
                r"^labels must have the shape of scores, got labels.shape=\(3, 4\), scores.shape=\(3, 5\)$",
            ),
            (
                {"gold_labels": np.ones((3, 4), bool)},
                TypeError,
                r"^gold_labels must be integers, got gold_labels.dtype=bool$",
            ),
            (
                {"gold_labels": np.ones((3, 2), int)},
                ValueError,
                r"^overlaps must have shape \(n_images, n_detections, max_objects\), "
                r"got overlaps.shape=\(3, 5, 4\), scores.shape=\(3, 5\), gold_labels.shape=\(3, 2\)$",
            ),
            ({"gold_labels": np.ones((2, 4), int)}, ValueError, r"gold_labels.shape=\(2, 4\)$"),
            (
                {"labels": np.full((3, 5), -1)},
                ValueError,
                r"^labels must lie in 0 … n_classes - 1=2, got labels from -1 to -1$",
            ),
            (
                {"gold_labels": np.full((3, 4), 3)},
                ValueError,
                r"^gold_labels must lie in -1 … n_classes - 1=2, got gold_labels from 3 to 3$",
            ),
            (
                {"gold_labels": np.full((3, 4), -1)},
                ValueError,
                r"^gold_labels must hold an object, got gold_labels with -1 everywhere$",
            ),
            ({"threshold": 0}, ValueError, r"^threshold must be above 0, got threshold=0$"),
            ({"threshold": 1.5}, ValueError, r"^threshold must be at most 1, got threshold=1.5$"),
            ({"n_classes": 0}, ValueError, r"^n_classes must be at least 1, got n_classes=0$"),
        ],
    )
    def test_bad_arguments_are_refused(self, change, error, text):
        with pytest.raises(error, match=text):
            average_precision(**{**case(0), "n_classes": 3, **change})


class TestIntersectionOverUnion:
    def test_hand_values(self):
        gold = np.array([[0, 0, 1], [0, 2, 1]])
        predicted = np.array([[0, 1, 1], [0, 0, 1]])
        iou = intersection_over_union(predicted, gold, n_classes=5)
        np.testing.assert_allclose(iou, [2 / 4, 2 / 3, 0.0, np.nan, np.nan], rtol=1e-14)

    @pytest.mark.properties
    @given(st.integers(0, 2**32 - 1))
    def test_equals_sets_of_pixels(self, seed):
        rng = np.random.default_rng(seed)
        predicted, gold = rng.integers(4, size=(2, 3, 5, 7))
        predicted.flags.writeable = gold.flags.writeable = False
        iou = intersection_over_union(predicted, gold, n_classes=6)
        for label in range(6):
            mine, right = (
                {tuple(p) for p in np.argwhere(array == label).tolist()} for array in (predicted, gold)
            )
            if mine | right:
                assert iou[label] == pytest.approx(len(mine & right) / len(mine | right), rel=1e-14)
            else:
                assert np.isnan(iou[label])
        np.testing.assert_array_equal(intersection_over_union(gold, predicted, n_classes=6), iou)
        same = intersection_over_union(gold, gold, n_classes=6)
        assert (same[~np.isnan(same)] == 1).all()

    def test_bad_arguments_are_refused(self):
        good = np.array([[0, 1]])
        with pytest.raises(TypeError, match=r"^gold must be of type ndarray, got gold of type list$"):
            intersection_over_union(good, [[0, 1]], n_classes=2)
        with pytest.raises(TypeError, match=r"^predicted must be integers, got predicted.dtype=bool$"):
            intersection_over_union(good > 0, good, n_classes=2)
        with pytest.raises(ValueError, match=r"^predicted must not be empty, got predicted.shape=\(0, 2\)$"):
            intersection_over_union(good[:0], good, n_classes=2)
        with pytest.raises(ValueError, match=r"^gold must lie in 0 … n_classes - 1=1, got gold from 0 to 2$"):
            intersection_over_union(good, 2 * good, n_classes=2)
        with pytest.raises(
            ValueError,
            match=r"^predicted and gold must have the same shape, "
            r"got predicted.shape=\(1, 2\), gold.shape=\(2,\)$",
        ):
            intersection_over_union(good, good[0], n_classes=2)
        with pytest.raises(TypeError, match=r"^n_classes must be an integer, got n_classes=2.0$"):
            intersection_over_union(good, good, n_classes=2.0)
