"""Boxes equal counts of pixels and loops, and the matching equals all permutations tried."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attncourse.boxes import box_iou, generalized_iou, match_objects, to_centres, to_corners
from tests.support.comparing import normal
from tests.support.tolerances import FLOAT32, FLOAT64

MEASURES = [box_iou, generalized_iou]


def random_boxes(*shape, seed=1):
    """Return corners in [0, 1] of any size, some of them far apart."""
    corners = torch.rand(*shape, 2, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.cat([corners.amin(dim=-2), corners.amax(dim=-2)], dim=-1)


def iou_by_loop(box, other):
    """Return IoU and GIoU of two boxes, with nothing but comparisons of numbers."""
    width = max(0.0, min(box[2], other[2]) - max(box[0], other[0]))
    height = max(0.0, min(box[3], other[3]) - max(box[1], other[1]))
    shared = width * height
    union = (box[2] - box[0]) * (box[3] - box[1]) + (other[2] - other[0]) * (other[3] - other[1]) - shared
    hull = (max(box[2], other[2]) - min(box[0], other[0])) * (max(box[3], other[3]) - min(box[1], other[1]))
    iou = shared / union if union else 0.0
    return iou, iou - ((hull - union) / hull if hull else 0.0)


class TestFormats:
    def test_hand_values(self):
        corners = torch.tensor([[2.0, 4.0, 5.0, 10.0], [1.0, 1.0, 1.0, 1.0]])
        centres = torch.tensor([[3.5, 7.0, 3.0, 6.0], [1.0, 1.0, 0.0, 0.0]])
        assert to_centres(corners).equal(centres)
        assert to_corners(centres).equal(corners)

    @pytest.mark.properties
    @given(st.integers(0, 2**32 - 1))
    def test_there_and_back(self, seed):
        boxes = random_boxes(3, 5, seed=seed)
        before = boxes.clone()
        centres = to_centres(boxes)
        assert (centres[..., 2:] >= 0).all()
        torch.testing.assert_close(to_corners(centres), boxes, **FLOAT64)
        assert boxes.equal(before)

    @pytest.mark.parametrize("convert", [to_centres, to_corners])
    def test_bad_arguments_are_refused(self, convert):
        with pytest.raises(TypeError, match=r"^boxes must be of type Tensor, got boxes of type list$"):
            convert([0, 0, 1, 1])
        with pytest.raises(TypeError, match=r"^boxes must be floating point, got boxes.dtype=int64$"):
            convert(torch.zeros(4, dtype=torch.int64))
        with pytest.raises(
            ValueError, match=r"^boxes must have 4 numbers on the last axis, got boxes.shape=\(2, 5\)$"
        ):
            convert(torch.zeros(2, 5))


class TestOverlap:
    def test_hand_values(self):
        box = torch.tensor([[0.0, 0.0, 4.0, 2.0]])
        others = torch.tensor(
            [
                [0.0, 0.0, 4.0, 2.0],  # the same
                [2.0, 1.0, 6.0, 3.0],  # shares 2 of 14; hull 18
                [1.0, 0.0, 3.0, 2.0],  # inside: 4 of 8
                [4.0, 0.0, 8.0, 2.0],  # touches: hull all covered
                [6.0, 0.0, 8.0, 2.0],  # apart: 12 of a hull of 16
            ]
        )
        iou = torch.tensor([[1.0, 2 / 14, 0.5, 0.0, 0.0]])
        torch.testing.assert_close(box_iou(box, others), iou, **FLOAT32)
        lost = torch.tensor([[0.0, 4 / 18, 0.0, 0.0, 4 / 16]])
        torch.testing.assert_close(generalized_iou(box, others), iou - lost, **FLOAT32)

    @pytest.mark.parity
    def test_equals_counted_pixels(self):
        rng = np.random.default_rng(0)
        corners = np.sort(rng.integers(0, 12, (2, 23, 2, 2)), axis=2)
        corners[:, :, 1] += 1  # (2, 23, corner, xy): no box is empty
        boxes, others = torch.from_numpy(corners.reshape(2, 23, 4)).double()
        pixels = np.zeros((2, 23, 13, 13), dtype=bool)
        for which, number in itertools.product(range(2), range(23)):
            (x0, y0), (x1, y1) = corners[which, number]
            pixels[which, number, y0:y1, x0:x1] = True
        mine, theirs = pixels[0][:, None], pixels[1][None]
        wanted = (mine & theirs).sum((2, 3)) / (mine | theirs).sum((2, 3))
        torch.testing.assert_close(box_iou(boxes, others), torch.from_numpy(wanted), **FLOAT64)

    @pytest.mark.parity
    def test_equals_a_loop(self):
        boxes, others = random_boxes(2, 1, 5, seed=1), random_boxes(3, 7, seed=2)
        got = box_iou(boxes, others), generalized_iou(boxes, others)
        for measure in got:
            assert measure.shape == (2, 3, 5, 7)
            assert measure.dtype == torch.float64
        for a, b, i, j in itertools.product(range(2), range(3), range(5), range(7)):
            wanted = iou_by_loop(boxes[a, 0, i].tolist(), others[b, j].tolist())
            for measure, value in zip(got, wanted, strict=True):
                assert measure[a, b, i, j].item() == pytest.approx(value, rel=1e-12, abs=1e-14)

    @pytest.mark.properties
    @given(st.integers(0, 2**32 - 1))
    def test_what_always_holds(self, seed):
        boxes, others = random_boxes(5, seed=seed), random_boxes(7, seed=seed + 1)
        iou, general = box_iou(boxes, others), generalized_iou(boxes, others)
        assert ((iou >= 0) & (iou <= 1)).all()
        assert ((general >= -1) & (general <= iou + 1e-12)).all()
        for measure, values in zip(MEASURES, (iou, general), strict=True):
            torch.testing.assert_close(measure(others, boxes), values.T, **FLOAT64)
            torch.testing.assert_close(measure(7 * boxes - 2, 7 * others - 2), values, rtol=1e-8, atol=1e-10)
            same = measure(boxes, boxes).diagonal()
            torch.testing.assert_close(same, torch.ones_like(same), **FLOAT64)

    @pytest.mark.parametrize("measure", MEASURES)
    def test_arguments_are_not_written(self, measure):
        boxes, others = random_boxes(5), random_boxes(7, seed=2)
        copies = boxes.clone(), others.clone()
        measure(boxes.requires_grad_(), others).sum().backward()
        assert boxes.detach().equal(copies[0])
        assert others.equal(copies[1])

    def test_boxes_without_area(self):
        points = torch.tensor([[1.0, 1.0, 1.0, 1.0], [2.0, 1.0, 2.0, 3.0]]).requires_grad_()
        others = torch.tensor([[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 4.0, 4.0]])
        for measure in MEASURES:
            values = measure(points, others)
            assert values.isfinite().all()
            (gradient,) = torch.autograd.grad(values.sum(), points)
            assert gradient.isfinite().all()
        assert box_iou(points, others).count_nonzero() == 0

    @pytest.mark.gradients
    @pytest.mark.parametrize("measure", MEASURES)
    def test_gradcheck(self, measure):
        boxes, others = random_boxes(3, seed=4).requires_grad_(), random_boxes(5, seed=5).requires_grad_()
        assert torch.autograd.gradcheck(measure, (boxes, others))

    def test_only_the_generalised_one_pulls_boxes_together_that_do_not_meet(self):
        box = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).requires_grad_()
        far = torch.tensor([[5.0, 0.0, 6.0, 1.0]])
        (none,) = torch.autograd.grad(box_iou(box, far).sum(), box)
        (pull,) = torch.autograd.grad(generalized_iou(box, far).sum(), box)
        assert none.count_nonzero() == 0
        assert pull[0, 2] > 0
        nearer = far - torch.tensor([2.0, 0.0, 2.0, 0.0])
        assert generalized_iou(box, nearer) > generalized_iou(box, far)

    @pytest.mark.parametrize("measure", MEASURES)
    def test_bad_arguments_are_refused(self, measure):
        good = random_boxes(3)
        with pytest.raises(TypeError, match=r"^others must be of type Tensor, got others of type list$"):
            measure(good, [[0.0, 0.0, 1.0, 1.0]])
        with pytest.raises(TypeError, match=r"^boxes must be floating point, got boxes.dtype=int64$"):
            measure(good.long(), good)
        with pytest.raises(ValueError, match=r"^boxes must have at least 2 axes, got boxes.shape=\(4,\)$"):
            measure(good[0], good)
        with pytest.raises(
            ValueError, match=r"^others must have 4 numbers on the last axis, got others.shape=\(3, 3\)$"
        ):
            measure(good, good[:, :3])
        turned = good.clone()
        turned[1] = turned[1].flip(0)
        with pytest.raises(
            ValueError, match=r"^others must have x0 ≤ x1 and y0 ≤ y1, got others with 1 that have not$"
        ):
            measure(good, turned)
        with pytest.raises(
            ValueError,
            match=r"^boxes and others must have leading axes that broadcast, "
            r"got boxes.shape=\(2, 5, 4\), others.shape=\(3, 7, 4\)$",
        ):
            measure(random_boxes(2, 5), random_boxes(3, 7))


def best_by_trying(cost):
    """Return the least sum over all ways to give every column a row of its own."""
    n_queries, n_objects = cost.shape
    ways = itertools.permutations(range(n_queries), n_objects)
    return min(sum(float(cost[q, j]) for j, q in enumerate(way)) for way in ways)


class TestMatching:
    def test_hand_values(self):
        # Alone, both objects would take query 0: together it pays to give object 0 the second best.
        cost = torch.tensor([[1.0, 2.0], [3.0, 9.0], [8.0, 8.0]])
        assert match_objects(cost).tolist() == [1, 0]
        assert match_objects(cost, torch.tensor([True, False])).tolist() == [0, -1]
        assert match_objects(cost, torch.tensor([False, True])).tolist() == [-1, 0]

    @pytest.mark.parity
    @pytest.mark.properties
    @given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(0, 4))
    def test_equals_all_permutations(self, seed, n_queries, n_objects):
        n_objects = min(n_objects, n_queries)
        cost = normal(n_queries, n_objects, seed=seed)
        matched = match_objects(cost)
        assert matched.shape == (n_objects,)
        assert matched.dtype == torch.int64
        assert len(set(matched.tolist())) == n_objects
        total = cost[matched, torch.arange(n_objects)].sum().item()
        assert total == pytest.approx(best_by_trying(cost), rel=1e-12, abs=1e-12)

    @pytest.mark.properties
    @given(st.integers(0, 2**32 - 1))
    def test_each_image_by_itself_and_absent_objects_change_nothing(self, seed):
        generator = torch.Generator().manual_seed(seed)
        cost = normal(3, 2, 5, 4, seed=seed)
        present = torch.rand(3, 2, 4, generator=generator) < 0.6
        before = cost.clone()
        dirty = cost.masked_fill(~present.unsqueeze(-2), float("nan"))
        matched = match_objects(dirty, present)
        assert cost.equal(before)
        assert (matched >= 0).equal(present)
        for a, b in itertools.product(range(3), range(2)):
            there = present[a, b]
            assert matched[a, b, there].equal(match_objects(cost[a, b][:, there]))

    def test_a_gradient_does_not_pass(self):
        matched = match_objects(normal(3, 2).requires_grad_())
        assert not matched.requires_grad

    def test_bad_arguments_are_refused(self):
        cost = normal(3, 5, 2)
        with pytest.raises(TypeError, match=r"^cost must be of type Tensor, got cost of type ndarray$"):
            match_objects(cost.numpy())
        with pytest.raises(
            TypeError,
            match=r"^cost must be floating point with axes \(..., n_queries, n_objects\), "
            r"got cost.shape=\(3, 5, 2\), cost.dtype=int64$",
        ):
            match_objects(cost.long())
        with pytest.raises(TypeError, match=r"got cost.shape=\(2,\), cost.dtype=float64$"):
            match_objects(cost[0, 0])
        with pytest.raises(TypeError, match=r"^present must be boolean, got present.dtype=int64$"):
            match_objects(cost, torch.ones(3, 2, dtype=torch.int64))
        with pytest.raises(
            ValueError,
            match=r"^present must have the axes \(..., n_objects\) of cost, "
            r"got present.shape=\(3, 5\), cost.shape=\(3, 5, 2\)$",
        ):
            match_objects(cost, torch.ones(3, 5, dtype=torch.bool))
        with pytest.raises(
            ValueError, match=r"^cost must have a query for each object, got n_queries=2 for up to 5 objects$"
        ):
            match_objects(cost.mT)
        for bad in (float("nan"), float("inf")):
            broken = cost.clone()
            broken[1, 2, 0] = bad
            with pytest.raises(
                ValueError, match=r"^cost must be finite for every object, got cost with NaN or infinite entr"
            ):
                match_objects(broken)
