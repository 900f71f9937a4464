"""Regions of an image against a grid of cells: hand values, loops over pixels, and the scenes of the task."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attncourse.regions import boxes_to_masks, nearest_object, region_cells, word_regions
from attncourse.tasks.scenes import SceneTask


class TestRegionCells:
    def test_hand_values(self):
        mask = np.zeros((4, 6), dtype=bool)
        mask[1, 1] = mask[1:4, 2] = mask[2:4, 3] = True
        assert region_cells(mask, (2, 3)).tolist() == [[True, True, False], [False, True, False]]
        shares = {0.25: [[True, True, False], [False, True, False]], 1.0: [[False] * 3, [False, True, False]]}
        for min_share, wanted in shares.items():
            assert region_cells(mask, (2, 3), min_share=min_share).tolist() == wanted
        assert region_cells(mask, (2, 3), min_share=0.26).sum() == 1

    @pytest.mark.properties
    @given(
        rows=st.integers(1, 3),
        columns=st.integers(1, 4),
        height=st.integers(1, 3),
        width=st.integers(1, 5),
        density=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
        min_share=st.sampled_from([0.0, 0.2, 0.5, 1.0]),
        seed=st.integers(0, 2**32 - 1),
    )
    def test_equals_a_loop_over_pixels(self, rows, columns, height, width, density, min_share, seed):
        masks = np.random.default_rng(seed).random((2, 3, rows * height, columns * width)) < density
        got = region_cells(masks, (rows, columns), min_share=min_share)
        assert got.shape == (2, 3, rows, columns)
        covered = np.zeros(got.shape)
        for *first, row, column in np.argwhere(masks):
            covered[(*first, row // height, column // width)] += 1
        wanted = (covered > 0) & (covered / (height * width) >= min_share)
        np.testing.assert_array_equal(got, wanted)

    def test_bad_arguments_are_refused(self):
        masks = np.ones((4, 6), dtype=bool)
        with pytest.raises(TypeError, match=r"^masks must be of type ndarray, got masks of type list$"):
            region_cells(masks.tolist(), (2, 3))
        with pytest.raises(TypeError, match=r"^masks must be boolean, got masks.dtype=float64$"):
            region_cells(masks.astype(float), (2, 3))
        with pytest.raises(ValueError, match=r"^masks must have at least 2 axes, got masks.shape=\(6,\)$"):
            region_cells(masks[0], (2, 3))
        with pytest.raises(
            ValueError, match=r"^grid must divide the image of \(4, 6\) pixels, got grid=\(2, 4\)$"
        ):
            region_cells(masks, (2, 4))
        with pytest.raises(ValueError, match=r"^grid\[0\] must be at least 1, got grid\[0\]=0$"):
            region_cells(masks, (0, 3))
        with pytest.raises(TypeError, match=r"^grid\[1\] must be an integer, got grid\[1\]=3\.0$"):
            region_cells(masks, (2, 3.0))
        with pytest.raises(ValueError, match=r"^min_share must be at least 0, got min_share=-0\.5$"):
            region_cells(masks, (2, 3), min_share=-0.5)
        with pytest.raises(ValueError, match=r"^min_share must be at most 1, got min_share=1\.5$"):
            region_cells(masks, (2, 3), min_share=1.5)


class TestWordRegions:
    def test_every_word_gets_the_cells_of_its_object(self):
        batch = SceneTask().sample(11, np.random.default_rng(0))
        cells = region_cells(batch.masks, (6, 4))
        got = word_regions(cells, batch.word_objects)
        assert got.shape == (11, 17, 24)
        for scene in range(11):
            for word, number in enumerate(batch.word_objects[scene]):
                wanted = cells[scene, number].ravel() if number >= 0 else np.zeros(24, dtype=bool)
                np.testing.assert_array_equal(got[scene, word], wanted)
        assert (got.any(axis=-1) == (batch.word_objects >= 0)).all()

    def test_bad_arguments_are_refused(self):
        cells, words = np.ones((2, 3, 4, 5), dtype=bool), np.zeros((2, 7), dtype=np.int64)
        with pytest.raises(TypeError, match=r"^cells must be boolean, got cells.dtype=int64$"):
            word_regions(cells.astype(np.int64), words)
        with pytest.raises(ValueError, match=r"^cells must have 4 axes, got cells.shape=\(3, 4, 5\)$"):
            word_regions(cells[0], words)
        with pytest.raises(
            TypeError, match=r"^word_objects must be integers, got word_objects.dtype=float64"
        ):
            word_regions(cells, words.astype(float))
        with pytest.raises(
            ValueError,
            match=r"^cells and word_objects must have the same batch size, "
            r"got cells.shape=\(2, 3, 4, 5\), word_objects.shape=\(1, 7\)$",
        ):
            word_regions(cells, words[:1])
        for wrong in (-2, 3):
            with pytest.raises(ValueError, match=r"^word_objects must lie in -1 … 2, got word_objects from "):
                word_regions(cells, words + wrong)


class TestBoxesToMasks:
    def test_hand_values(self):
        got = boxes_to_masks(np.array([1.0, 0.0, 3.0, 2.0]), (3, 4))
        assert got.tolist() == [[False, True, True, False], [False, True, True, False], [False] * 4]
        # A pixel belongs to a box that holds its middle.
        assert boxes_to_masks(np.array([0.6, 0.0, 1.5, 1.0]), (1, 3)).sum() == 0
        assert boxes_to_masks(np.array([0.5, 0.0, 1.6, 1.0]), (1, 3)).tolist() == [[True, True, False]]

    @pytest.mark.properties
    @given(st.integers(0, 2**32 - 1))
    def test_equals_a_loop_over_pixels(self, seed):
        rng = np.random.default_rng(seed)
        low, high = rng.uniform(-2, 8, (2, 3, 2)), rng.uniform(-2, 8, (2, 3, 2))
        boxes = np.concatenate([low, high], axis=-1)  # some are empty: their right edge lies left of the left
        got = boxes_to_masks(boxes, (7, 5))
        for place in np.ndindex(2, 3):
            x0, y0, x1, y1 = boxes[place]
            for row, column in np.ndindex(7, 5):
                inside = x0 <= column + 0.5 < x1 and y0 <= row + 0.5 < y1
                assert got[(*place, row, column)] == inside

    def test_boxes_of_scenes_are_tight_around_their_pixels(self):
        batch = SceneTask().sample(13, np.random.default_rng(1))
        filled = boxes_to_masks(batch.boxes, (48, 48))
        assert (filled | ~batch.masks).all()
        assert (filled.any(axis=2) == batch.masks.any(axis=2)).all()
        assert (filled.any(axis=3) == batch.masks.any(axis=3)).all()

    def test_bad_arguments_are_refused(self):
        with pytest.raises(TypeError, match=r"^boxes must be of type ndarray, got boxes of type list$"):
            boxes_to_masks([0, 0, 1, 1], (3, 4))
        with pytest.raises(
            ValueError, match=r"^boxes must have edges=4 as its last axis, got boxes.shape=\(3,\)$"
        ):
            boxes_to_masks(np.zeros(3), (3, 4))
        with pytest.raises(ValueError, match=r"^image_size\[0\] must be at least 1, got image_size\[0\]=0$"):
            boxes_to_masks(np.zeros(4), (0, 4))
        with pytest.raises(TypeError, match=r"^image_size\[1\] must be an integer, got image_size\[1\]='4'$"):
            boxes_to_masks(np.zeros(4), (3, "4"))


class TestNearestObject:
    def test_hand_values(self):
        # Two rows and four columns of cells, each 10 wide and 5 high; their middles are at 5, 15, 25, 35.
        boxes = np.array([[[0, 0, 4, 4], [20, 0, 40, 10], [0, 0, 0, 0]]], dtype=np.float32)
        real = np.array([[True, True, False]])
        got = nearest_object(np.arange(8)[None], boxes, real, grid=(2, 4), image_size=(10, 40))
        # Cell 1 is 5 from the second box and 11 from the first; what is no object never wins.
        assert got.tolist() == [[0, 1, 1, 1, 0, 1, 1, 1]]
        assert got.dtype == np.int64

    def test_among_boxes_that_hold_the_point_the_nearer_middle_wins(self):
        boxes = np.array([[[0, 0, 20, 10], [0, 0, 12, 10]]], dtype=float)
        real = np.ones((1, 2), dtype=bool)
        assert nearest_object(np.array([[0]]), boxes, real, grid=(1, 2), image_size=(10, 20)).item() == 1
        same = boxes[:, [0, 0]]
        assert nearest_object(np.array([[0]]), same, real, grid=(1, 2), image_size=(10, 20)).item() == 0

    @pytest.mark.properties
    @given(st.integers(0, 2**32 - 1))
    def test_equals_a_loop(self, seed):
        rng = np.random.default_rng(seed)
        batch = SceneTask((1, 4)).sample(3, rng)
        real = batch.shapes >= 0
        cells = rng.integers(24, size=(3, 5))
        got = nearest_object(cells, batch.boxes, real, grid=(4, 6), image_size=(48, 48))
        for row, column in np.ndindex(3, 5):
            x, y = cells[row, column] % 6 * 8 + 4, cells[row, column] // 6 * 12 + 6
            best = []
            for number in range(batch.n_objects[row]):
                x0, y0, x1, y1 = batch.boxes[row, number].tolist()
                near_x, near_y = min(max(x, x0), x1), min(max(y, y0), y1)
                to_middle = np.hypot((x0 + x1) / 2 - x, (y0 + y1) / 2 - y)
                best.append((np.hypot(near_x - x, near_y - y), to_middle, number))
            assert got[row, column] == min(best)[2]

    def test_bad_arguments_are_refused(self):
        cells, boxes = np.zeros((2, 3), dtype=np.int64), np.zeros((2, 5, 4))
        real = np.ones((2, 5), dtype=bool)
        sizes = {"grid": (2, 4), "image_size": (10, 40)}
        with pytest.raises(TypeError, match=r"^cells must be integers, got cells.dtype=float64$"):
            nearest_object(cells.astype(float), boxes, real, **sizes)
        with pytest.raises(ValueError, match=r"^cells must have 2 axes, got cells.shape=\(3,\)$"):
            nearest_object(cells[0], boxes, real, **sizes)
        with pytest.raises(TypeError, match=r"^real must be boolean, got real.dtype=int64$"):
            nearest_object(cells, boxes, real.astype(np.int64), **sizes)
        with pytest.raises(
            ValueError,
            match=r"^boxes and real must have the same batch size and objects, "
            r"got boxes.shape=\(2, 5, 4\), real.shape=\(2, 4\)$",
        ):
            nearest_object(cells, boxes, real[:, :4], **sizes)
        with pytest.raises(
            ValueError,
            match=r"^cells and boxes must have the same batch size, "
            r"got cells.shape=\(1, 3\), boxes.shape=\(2, 5, 4\)$",
        ):
            nearest_object(cells[:1], boxes, real, **sizes)
        with pytest.raises(ValueError, match=r"^cells must lie in 0 … 7, got cells from 8 to 8$"):
            nearest_object(cells + 8, boxes, real, **sizes)
        with pytest.raises(
            ValueError, match=r"^real must hold an object in every row, got real.shape=\(2, 5\) without$"
        ):
            nearest_object(cells, boxes, ~real, **sizes)
        with pytest.raises(
            ValueError, match=r"^grid must divide the image of \(10, 40\) pixels, got grid=\(3, 4\)$"
        ):
            nearest_object(cells, boxes, real, grid=(3, 4), image_size=(10, 40))


def test_arguments_are_not_written():
    batch = SceneTask().sample(3, np.random.default_rng(2))
    cells = region_cells(batch.masks, (6, 6))
    arguments = [batch.masks, batch.word_objects, batch.boxes, cells]
    copies = [array.copy() for array in arguments]
    for array in arguments:
        array.flags.writeable = False
    region_cells(batch.masks, (6, 6), min_share=0.5)
    word_regions(cells, batch.word_objects)
    boxes_to_masks(batch.boxes, (48, 48))
    peaks = np.zeros((3, 2), dtype=np.int64)
    nearest_object(peaks, batch.boxes, batch.shapes >= 0, grid=(6, 6), image_size=(48, 48))
    for array, copy in zip(arguments, copies, strict=True):
        np.testing.assert_array_equal(array, copy)
