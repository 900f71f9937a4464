"""Scenes: every caption, box, mask and colour is true of the image that is drawn."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attncourse.tasks.pairs import END, PADDING
from attncourse.tasks.scenes import COLOURS, SHAPES, SIZE_NAMES, SceneTask

# What the names stand for; the jitter is at most 0.05.
PLAIN = {
    "red": (0.85, 0.15, 0.15),
    "green": (0.15, 0.62, 0.20),
    "blue": (0.15, 0.30, 0.90),
    "yellow": (0.95, 0.88, 0.15),
    "purple": (0.58, 0.18, 0.72),
    "orange": (0.97, 0.55, 0.08),
}


@pytest.fixture(scope="module")
def many():
    task = SceneTask()
    return task, task.sample(3000, np.random.default_rng(0))


@pytest.mark.properties
@settings(max_examples=25, deadline=None)
@given(
    fewest=st.integers(1, 4),
    more=st.integers(0, 1),
    image_size=st.sampled_from([48, 53, 64]),
    seed=st.integers(0, 2**16),
)
def test_every_scene_is_what_the_docstring_says(fewest, more, image_size, seed):
    task = SceneTask((fewest, fewest + more), image_size, noise=0.0)
    batch = task.sample(7, np.random.default_rng(seed))
    assert task.max_objects == fewest + more
    assert batch.images.shape == (7, 3, image_size, image_size)
    assert batch.images.dtype == batch.boxes.dtype == np.float32
    assert batch.caption.shape == batch.word_objects.shape == (7, task.n_words)
    for field in ("caption", "word_objects", "n_objects", "shapes", "colours", "sizes"):
        assert getattr(batch, field).dtype == np.int64
    assert batch.images.min() >= 0
    assert batch.images.max() <= 1
    assert len(batch) == 7
    for scene in range(7):
        check_scene(task, batch, scene, fewest)


def check_scene(task, batch, scene, fewest):
    n_objects = batch.n_objects[scene]
    assert fewest <= n_objects <= task.max_objects
    # The caption names the objects from left to right.
    names = [
        ("a", SIZE_NAMES[size], COLOURS[colour], SHAPES[shape])
        for size, colour, shape in zip(
            batch.sizes[scene, :n_objects],
            batch.colours[scene, :n_objects],
            batch.shapes[scene, :n_objects],
            strict=True,
        )
    ]
    words = [word for name in names for word in (*name, "left", "of")][:-2]
    assert task.vocabulary.decode(batch.caption[scene]) == tuple(words)
    assert batch.caption[scene, len(words)] == END
    assert (batch.caption[scene, len(words) + 1 :] == PADDING).all()
    described = [place // 6 if place % 6 in (1, 2, 3) else -1 for place in range(len(words))]
    assert batch.word_objects[scene].tolist() == described + [-1] * (task.n_words - len(words))
    # Boxes are tight, whole inside and apart; centres go from left to right.
    centres, seen = [], np.zeros((task.image_size, task.image_size), dtype=int)
    for number in range(n_objects):
        rows, columns = np.nonzero(batch.masks[scene, number])
        edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert batch.boxes[scene, number].tolist() == edges
        width = edges[2] - edges[0]
        assert 7 <= width <= 11 if batch.sizes[scene, number] == 0 else 12 <= width <= 16
        centres.append((edges[0] + edges[2]) / 2)
        others = np.delete(batch.masks[scene], number, axis=0).any(axis=0)
        # Not even beside its box is there another one: objects never touch.
        assert not others[max(edges[1] - 1, 0) : edges[3] + 1, max(edges[0] - 1, 0) : edges[2] + 1].any()
        seen += batch.masks[scene, number]
        colour = batch.images[scene][:, rows, columns]
        assert np.ptp(colour, axis=1).max() == 0  # without noise an object has one colour
        np.testing.assert_allclose(
            colour[:, 0], PLAIN[COLOURS[batch.colours[scene, number]]], rtol=0, atol=0.051
        )
    assert seen.max() == 1
    np.testing.assert_allclose(batch.images[scene][:, seen == 0], 0.82, rtol=1e-6)
    assert (np.diff(centres) >= 3).all()  # gaps of 4 pixels, and boxes of whole pixels
    for field, nothing in (("shapes", -1), ("colours", -1), ("sizes", -1), ("boxes", 0), ("masks", 0)):
        assert (getattr(batch, field)[scene, n_objects:] == nothing).all()


def test_shapes_can_be_told_by_their_pixels():
    batch = SceneTask(1).sample(400, np.random.default_rng(1))
    for shape, size, box, mask in zip(
        batch.shapes[:, 0], batch.sizes[:, 0], batch.boxes[:, 0].astype(int), batch.masks[:, 0], strict=True
    ):
        part = mask[box[1] : box[3], box[0] : box[2]]
        corners = part[[0, 0, -1, -1], [0, -1, 0, -1]]
        name = SHAPES[shape]
        if name == "square":
            assert part.all()
        elif name == "triangle":  # its point is up, and wide rows are below
            assert not corners[:2].any()
            assert (np.diff(part.sum(axis=1)) >= 0).all()
            assert part[0].sum() <= 2
        else:
            assert not corners.any()
        if name == "cross" and SIZE_NAMES[size] == "large":
            assert part.mean() < 0.65
        if name == "circle" and SIZE_NAMES[size] == "large":
            assert 0.7 < part.mean() < 0.9


def test_maps_of_shapes_and_twins_follow_from_the_objects():
    batch = SceneTask((2, 5)).sample(101, np.random.default_rng(2))
    for scene in range(len(batch)):
        shape_map = np.zeros(batch.images.shape[2:], dtype=int)
        twin_map = np.zeros(batch.images.shape[2:], dtype=bool)
        colours = batch.colours[scene].tolist()
        for number in range(batch.masks.shape[1]):
            has_twin = number < batch.n_objects[scene] and colours.count(colours[number]) > 1
            assert batch.has_twin[scene, number] == has_twin
            shape_map[batch.masks[scene, number]] = 1 + batch.shapes[scene, number]
            twin_map |= batch.masks[scene, number] & has_twin
        np.testing.assert_array_equal(batch.shape_map[scene], shape_map)
        np.testing.assert_array_equal(batch.twin_map[scene], twin_map)
    assert batch.shape_map.dtype == np.int64
    assert 0.2 < batch.has_twin.sum() / batch.n_objects.sum() < 0.6


def test_two_absent_objects_are_no_twins():
    batch = SceneTask((1, 4)).sample(50, np.random.default_rng(3))
    assert not batch.has_twin[batch.n_objects == 1].any()


def test_all_kinds_are_equally_likely(many):
    _, batch = many
    real = batch.shapes >= 0
    for kinds, values in ((SHAPES, batch.shapes), (COLOURS, batch.colours), (SIZE_NAMES, batch.sizes)):
        share = np.bincount(values[real], minlength=len(kinds)) / real.sum()
        # Five standard deviations of a share of some 7,500 objects.
        np.testing.assert_allclose(share, 1 / len(kinds), rtol=0, atol=0.03)
    np.testing.assert_allclose((batch.n_objects == 2).mean(), 0.5, rtol=0, atol=0.05)


def test_objects_lie_all_over_the_image(many):
    _, batch = many
    shown = batch.masks.any(axis=1).mean(axis=0)
    assert shown[8:-8, 8:-8].min() > 0.03
    # No object of one kind is bound to one place: the mean middle of every shape is that of the image.
    middle = (batch.boxes[..., :2] + batch.boxes[..., 2:]) / 2
    np.testing.assert_allclose(middle[batch.shapes >= 0].mean(axis=0), 24, rtol=0, atol=0.4)
    for shape in range(len(SHAPES)):
        np.testing.assert_allclose(middle[batch.shapes == shape].mean(axis=0), 24, rtol=0, atol=1.5)


def test_noise_is_added_to_every_pixel():
    clean, noisy = (
        SceneTask(2, noise=noise).sample(20, np.random.default_rng(4)).images for noise in (0.0, 0.03)
    )
    inside = (clean > 0.2) & (clean < 0.8)  # where the cut at 0 and 1 does not matter
    assert (noisy - clean)[inside].std() == pytest.approx(0.03, rel=0.05)
    assert abs((noisy - clean)[inside].mean()) < 1e-3
    assert noisy.min() >= 0
    assert noisy.max() <= 1


def test_a_batch_longer_than_one_painted_part_is_whole():
    batch = SceneTask(1, noise=0.0).sample(300, np.random.default_rng(5))
    colour = np.einsum("bohw,bchw->bc", batch.masks, batch.images) / batch.masks.sum(axis=(1, 2, 3))[:, None]
    wanted = np.array([PLAIN[COLOURS[number]] for number in batch.colours[:, 0]])
    np.testing.assert_allclose(colour, wanted, rtol=0, atol=0.051)


def test_five_objects_fit_into_48_pixels():
    batch = SceneTask(5).sample(200, np.random.default_rng(6))
    assert (batch.n_objects == 5).all()
    assert (batch.masks.sum(axis=1) <= 1).all()


def test_the_generator_alone_decides():
    task = SceneTask()
    first, again, other = (task.sample(5, np.random.default_rng(seed)) for seed in (1, 1, 2))
    for field in dataclasses.fields(first):
        np.testing.assert_array_equal(getattr(first, field.name), getattr(again, field.name))
    assert (first.images != other.images).any()


def test_take_returns_copies_of_the_scenes_asked_for():
    batch = SceneTask().sample(7, np.random.default_rng(7))
    rows = np.array([5, 2, 5])
    part = batch.take(rows)
    for field in dataclasses.fields(batch):
        np.testing.assert_array_equal(getattr(part, field.name), getattr(batch, field.name)[rows])
        assert not np.shares_memory(getattr(part, field.name), getattr(batch, field.name))
    assert len(part) == 3


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"n_objects": 0}, ValueError, r"^n_objects must be at least 1, got n_objects=0$"),
        ({"n_objects": 2.0}, TypeError, r"^n_objects must be an integer, got n_objects=2\.0$"),
        ({"n_objects": (0, 2)}, ValueError, r"^n_objects\[0\] must be at least 1, got n_objects\[0\]=0$"),
        ({"n_objects": (3, 2)}, ValueError, r"^n_objects\[1\] must be at least 3, got n_objects\[1\]=2$"),
        (
            {"n_objects": (1, 2, 3)},
            TypeError,
            r"^n_objects must be a number or a pair, got n_objects=\(1, 2, 3\)$",
        ),
        ({"image_size": 48.0}, TypeError, r"^image_size must be an integer, got image_size=48\.0$"),
        ({"noise": -0.1}, ValueError, r"^noise must be at least 0, got noise=-0\.1$"),
        (
            {"n_objects": (2, 6), "image_size": 34},
            ValueError,
            r"^image_size must be at least 35 for n_objects=\(2, 6\), got image_size=34$",
        ),
    ],
)
def test_impossible_tasks_are_refused(arguments, error, text):
    with pytest.raises(error, match=text):
        SceneTask(**arguments)


def test_objects_that_find_no_place_are_refused():
    with pytest.raises(
        ValueError,
        match=r"^image_size must leave room for the objects \(no place found in 5000 rounds\), "
        r"got image_size=24, n_objects=3$",
    ):
        SceneTask(3, image_size=24).sample(50, np.random.default_rng(0))


def test_bad_samples_and_rows_are_refused():
    task = SceneTask()
    with pytest.raises(ValueError, match=r"^batch_size must be at least 1, got batch_size=0$"):
        task.sample(0, np.random.default_rng(0))
    batch = task.sample(2, np.random.default_rng(0))
    with pytest.raises(TypeError, match=r"^rows must be an array or tensor, got rows of type list$"):
        batch.take([0])
    with pytest.raises(TypeError, match=r"^rows must be integers, got rows.dtype=bool$"):
        batch.take(np.array([True, False]))
