"""Digits: the split is fair and leaks nothing, and every canvas is what its label and its box say."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from attncourse.tasks.digits import ClutteredDigits, DigitImages, digits_split


@pytest.fixture(scope="module")
def split():
    return digits_split()


def as_set(digits):
    return {image.tobytes() for image in digits.images}


def plain_digits(n_images):
    """Image i has ink (i + 1) / n_images at every pixel and the label i % 10: a pixel names its source."""
    ink = (np.arange(n_images, dtype=np.float32) + 1) / n_images
    images = np.broadcast_to(ink[:, None, None, None], (n_images, 1, 8, 8)).copy()
    return DigitImages(images, np.arange(n_images, dtype=np.int64) % 10)


@pytest.mark.parity
@pytest.mark.parametrize("n_held_out", [10, 37, 500, 1787])
def test_the_two_parts_together_are_scikit_learns_digits(n_held_out):
    train, held_out = digits_split(n_held_out, seed=3)
    assert (len(train), len(held_out)) == (1797 - n_held_out, n_held_out)
    pixels, labels = load_digits(return_X_y=True)
    expected = sorted(
        (row.tobytes(), label)
        for row, label in zip((pixels / 16).astype(np.float32), labels.tolist(), strict=True)
    )
    got = [
        (image.tobytes(), label)
        for part in (train, held_out)
        for image, label in zip(part.images, part.labels.tolist(), strict=True)
    ]
    assert sorted(got) == expected
    for part in (train, held_out):
        assert (part.images.dtype, part.labels.dtype) == (np.float32, np.int64)
        assert part.images.shape == (len(part), 1, 8, 8)
    assert train.images.min() == 0.0
    assert train.images.max() == 1.0


def test_no_image_lies_on_both_sides(split):
    assert not as_set(split.train) & as_set(split.held_out)


@pytest.mark.parametrize("n_held_out", [10, 100, 500, 1000, 1787])
def test_every_class_gives_its_share(n_held_out):
    train, held_out = digits_split(n_held_out)
    per_class = np.bincount(load_digits().target)
    counts = np.bincount(held_out.labels, minlength=10)
    assert (abs(counts - per_class * n_held_out / 1797) < 1).all()
    assert counts.min() >= 1
    assert np.bincount(train.labels, minlength=10).min() >= 1


def test_the_seed_alone_decides_the_split(split):
    assert as_set(digits_split(seed=0).held_out) == as_set(split.held_out)
    assert as_set(digits_split(seed=1).held_out) != as_set(split.held_out)


def test_a_sample_holds_images_with_their_labels(split):
    labels_of = {
        image.tobytes(): label
        for image, label in zip(split.train.images, split.train.labels.tolist(), strict=True)
    }
    batch = split.train.sample(101, np.random.default_rng(0))
    assert len(batch) == 101
    assert [labels_of[image.tobytes()] for image in batch.images] == batch.labels.tolist()
    batch.images[:] = 0.5  # a copy: the digits stay as they are
    assert as_set(split.train) == set(labels_of)


def test_every_image_is_drawn_equally_often():
    digits = plain_digits(5)
    labels = digits.sample(10_000, np.random.default_rng(0)).labels
    np.testing.assert_allclose(np.bincount(labels) / 10_000, 0.2, atol=0.02)  # five standard deviations


def test_the_digit_in_the_box_is_one_of_the_digits_with_its_label(split):
    batch = ClutteredDigits(split.held_out).sample(211, np.random.default_rng(1))
    assert batch.images.shape == (211, 1, 32, 32)
    assert (batch.images.dtype, batch.labels.dtype, batch.boxes.dtype) == (np.float32, np.int64, np.float32)
    labels_of = {
        image.tobytes(): label
        for image, label in zip(split.held_out.images, split.held_out.labels.tolist(), strict=True)
    }
    for image, label, box in zip(batch.images[:, 0], batch.labels, batch.boxes.astype(int), strict=True):
        x0, y0, x1, y1 = box
        assert (x1 - x0, y1 - y0) == (8, 8)
        assert labels_of[image[y0:y1, x0:x1].tobytes()] == label


@pytest.mark.properties
@given(
    n_images=st.integers(2, 7),
    spare=st.integers(0, 6),
    n_clutter=st.integers(0, 5),
    piece_size=st.integers(1, 8),
    margin=st.integers(0, 3),
    seed=st.integers(0, 2**16),
)
def test_pieces_of_other_digits_lie_beside_the_digit(n_images, spare, n_clutter, piece_size, margin, seed):
    canvas_size = 7 + 2 * piece_size + 2 * margin + spare
    task = ClutteredDigits(plain_digits(n_images), canvas_size, n_clutter, piece_size, margin)
    batch = task.sample(13, np.random.default_rng(seed))
    for image, label, box in zip(batch.images[:, 0], batch.labels, batch.boxes.astype(int), strict=True):
        x0, y0, x1, y1 = box
        assert min(x0, y0) >= margin
        assert max(x1, y1) <= canvas_size - margin
        edge = np.pad(np.zeros((canvas_size - 2 * margin,) * 2, dtype=bool), margin, constant_values=True)
        assert (image[edge] == 0).all()
        assert (image[y0:y1, x0:x1] == np.float32((label + 1) / n_images)).all()
        outside = image.copy()
        outside[y0:y1, x0:x1] = 0
        sources = set(np.unique(outside)) - {np.float32(0)}
        assert len(sources) <= n_clutter
        # No piece comes from the digit that is shown, and every one from these digits.
        known = {np.float32((row + 1) / n_images) for row in range(n_images) if row != label}
        assert sources <= known
        assert bool(sources) == (n_clutter > 0)
        assert (outside > 0).sum() <= n_clutter * piece_size**2
        # A lone piece shows as a full square.
        if n_clutter == 1:
            assert (outside > 0).sum() == piece_size**2
            rows, columns = np.nonzero(outside)
            assert np.ptp(rows) == np.ptp(columns) == piece_size - 1


def test_where_pieces_cross_the_darker_ink_wins():
    digits = plain_digits(3)
    batch = ClutteredDigits(digits, 23, n_clutter=40, piece_size=8).sample(29, np.random.default_rng(0))
    shares = []
    for image, label, box in zip(batch.images[:, 0], batch.labels, batch.boxes.astype(int), strict=True):
        x0, y0, x1, y1 = box
        image[y0:y1, x0:x1] = 0
        darker = max({1, 2, 3} - {label + 1}) / 3
        shares.append((image == np.float32(darker)).sum() / (image > 0).sum())
    # Forty pieces reach almost everywhere, about twenty with the darker ink. Were the last piece to win, each
    # would show on half of what is covered.
    assert np.mean(shares) > 0.8


def test_a_piece_is_cut_out_as_it_is(split):
    batch = ClutteredDigits(split.train, 40, n_clutter=1, piece_size=5).sample(17, np.random.default_rng(5))
    windows = np.lib.stride_tricks.sliding_window_view(split.train.images[:, 0], (5, 5), axis=(1, 2))
    known = {window.tobytes() for window in windows.reshape(-1, 5, 5)}
    for image, box in zip(batch.images[:, 0], batch.boxes.astype(int), strict=True):
        x0, y0, x1, y1 = box
        image[y0:y1, x0:x1] = 0
        padded = np.pad(image, 5)
        here = np.lib.stride_tricks.sliding_window_view(padded, (5, 5)).reshape(-1, 5, 5)
        full = here[here.astype(bool).sum((1, 2)) == image.astype(bool).sum()]
        assert any(window.tobytes() in known for window in full)


def test_the_digits_place_is_uniform(split):
    boxes = ClutteredDigits(split.train, 13, n_clutter=0).sample(9000, np.random.default_rng(0)).boxes
    cells = (boxes[:, 1] * 6 + boxes[:, 0]).astype(int)  # 6 × 6 places
    np.testing.assert_allclose(np.bincount(cells, minlength=36) / 9000, 1 / 36, atol=0.009)  # five deviations


def test_a_pieces_place_is_uniform_over_those_that_leave_the_digit_free():
    # On 11 pixels a digit has 4 × 4 places; a piece of one pixel lies anywhere outside it.
    task = ClutteredDigits(plain_digits(2), 11, n_clutter=1, piece_size=1)
    batch = task.sample(16_000, np.random.default_rng(0))
    corner = (batch.boxes[:, :2] == 0).all(axis=1)  # about a thousand with the digit in the upper left corner
    images = batch.images[corner, 0]
    images[:, :8, :8] = 0
    share = (images > 0).mean(axis=0)
    free = np.ones((11, 11), dtype=bool)
    free[:8, :8] = False
    assert (share[~free] == 0).all()
    np.testing.assert_allclose(share[free], 1 / free.sum(), atol=0.021)  # five standard deviations


def test_the_generator_alone_decides_and_the_digits_stay_as_they_are(split):
    before = split.train.images.copy(), split.train.labels.copy()
    task = ClutteredDigits(split.train)
    first, again, other = (task.sample(5, np.random.default_rng(seed)) for seed in (1, 1, 2))
    for field in dataclasses.fields(first):
        np.testing.assert_array_equal(getattr(first, field.name), getattr(again, field.name))
    assert (first.images != other.images).any()
    np.testing.assert_array_equal(split.train.images, before[0])
    np.testing.assert_array_equal(split.train.labels, before[1])


@pytest.mark.packaging
def test_importing_the_task_does_not_import_scikit_learn():
    code = "import sys, attncourse.tasks.digits; print('sklearn' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"n_held_out": 9}, ValueError, "n_held_out must be at least 10, got n_held_out=9"),
        (
            {"n_held_out": 1788},
            ValueError,
            "n_held_out must be at most 1787, which leaves one image of each class, got n_held_out=1788",
        ),
        ({"n_held_out": 0.2}, TypeError, "n_held_out must be an integer, got n_held_out=0.2"),
        ({"seed": -1}, ValueError, "seed must be at least 0, got seed=-1"),
    ],
)
def test_bad_splits_are_refused(arguments, error, text):
    with pytest.raises(error, match=f"^{text}$"):
        digits_split(**arguments)


@pytest.mark.parametrize(
    ("images", "labels", "error", "text"),
    [
        ([0.0], np.zeros(1), TypeError, "images must be an array or tensor, got images of type list"),
        (
            np.zeros((1, 1, 8, 8)),
            [3],
            TypeError,
            "labels must be an array or tensor, got labels of type list",
        ),
        (
            np.zeros((3, 8, 8)),
            np.zeros(3),
            ValueError,
            r"images must have shape \(n_images, 1, 8, 8\), got images.shape=\(3, 8, 8\)",
        ),
        (
            np.zeros((3, 1, 8, 8)),
            np.zeros(2),
            ValueError,
            r"labels must have one entry per image, got labels.shape=\(2,\), images.shape=\(3, 1, 8, 8\)",
        ),
    ],
)
def test_digits_of_another_shape_are_refused(images, labels, error, text):
    with pytest.raises(error, match=f"^{text}$"):
        DigitImages(images, labels)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"canvas_size": 7}, ValueError, "canvas_size must be at least 8, got canvas_size=7"),
        (
            {"canvas_size": 14},
            ValueError,
            "canvas_size must be at least 15, to place a piece of 4 pixels beside every digit, "
            "got canvas_size=14",
        ),
        (
            {"canvas_size": 20, "margin": 3},
            ValueError,
            "canvas_size must be at least 21, to place a piece of 4 pixels beside every digit, "
            "got canvas_size=20",
        ),
        ({"margin": 13}, ValueError, "canvas_size must be at least 34, got canvas_size=32"),
        ({"margin": -1}, ValueError, "margin must be at least 0, got margin=-1"),
        ({"n_clutter": -1}, ValueError, "n_clutter must be at least 0, got n_clutter=-1"),
        ({"piece_size": 0}, ValueError, "piece_size must be at least 1, got piece_size=0"),
        ({"piece_size": 9}, ValueError, "piece_size must be at most 8, got piece_size=9"),
        ({"canvas_size": 32.0}, TypeError, "canvas_size must be an integer, got canvas_size=32.0"),
    ],
)
def test_bad_canvases_are_refused(arguments, error, text):
    with pytest.raises(error, match=f"^{text}$"):
        ClutteredDigits(plain_digits(2), **arguments)


def test_without_clutter_the_canvas_may_be_as_small_as_the_digit():
    digits = plain_digits(2)
    batch = ClutteredDigits(digits, 8, n_clutter=0).sample(3, np.random.default_rng(0))
    np.testing.assert_array_equal(batch.images, digits.images[batch.labels])


def test_digits_of_another_kind_are_refused():
    with pytest.raises(TypeError, match=r"^digits must be of type DigitImages, got digits of type ndarray$"):
        ClutteredDigits(np.zeros((2, 1, 8, 8)))
    with pytest.raises(ValueError, match=r"^digits must hold at least 2 images, .*, got 1$"):
        ClutteredDigits(plain_digits(1))


@pytest.mark.parametrize("source", [plain_digits(2), ClutteredDigits(plain_digits(2))])
def test_an_empty_batch_is_refused(source):
    with pytest.raises(ValueError, match=r"^batch_size must be at least 1, got batch_size=0$"):
        source.sample(0, np.random.default_rng(0))
