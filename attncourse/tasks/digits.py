"""Real handwritten digits: as they are, and hidden among pieces of other digits on a larger canvas.

The 1,797 images come with scikit-learn, so nothing is downloaded.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from attncourse._checks import check_array, check_count

DIGIT_SIZE = 8
N_CLASSES = 10
INK_LEVELS = 16  # scikit-learn stores whole numbers from 0 (paper) to 16 (ink)


@dataclass(frozen=True)
class DigitImages:
    """Hold digits and what they show; ``sample`` draws a batch of them.

    Parameters
    ----------
    images : ndarray of float32, shape (n_images, 1, 8, 8)
        Ink from 0 (paper) to 1. Not modified.
    labels : ndarray of int64, shape (n_images,)
        The digit that each image shows, 0 to 9. Not modified.

    Raises
    ------
    TypeError
        If a field is not an array.
    ValueError
        If the shapes are not those above.

    Notes
    -----
    Used from chapter 11 on.
    """

    images: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        """Check the shapes once.

        Raises
        ------
        ValueError
            If they are not those that the class promises.
        """
        check_array("images", self.images)
        check_array("labels", self.labels)
        if self.images.shape[1:] != (1, DIGIT_SIZE, DIGIT_SIZE):
            raise ValueError(
                f"images must have shape (n_images, 1, 8, 8), got images.shape={self.images.shape}"
            )
        if self.labels.shape != self.images.shape[:1]:
            raise ValueError(
                "labels must have one entry per image, "
                f"got labels.shape={self.labels.shape}, images.shape={self.images.shape}"
            )

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def sample(self, batch_size: int, rng: np.random.Generator) -> "DigitImages":
        """Draw images with replacement, each as likely as any other.

        Parameters
        ----------
        batch_size : int
            Number of images.
        rng : numpy.random.Generator
            Source of randomness.

        Returns
        -------
        DigitImages
            Copies of the images drawn, and their labels.

        Raises
        ------
        TypeError
            If ``batch_size`` is not an integer.
        ValueError
            If ``batch_size`` is below 1.
        """
        check_count("batch_size", batch_size)
        rows = rng.integers(len(self), size=batch_size)
        return DigitImages(self.images[rows], self.labels[rows])


class DigitsSplit(NamedTuple):
    """Hold the digits to learn from and the ones kept back."""

    train: DigitImages
    held_out: DigitImages


def digits_split(n_held_out: int = 500, *, seed: int = 0) -> DigitsSplit:
    """Split scikit-learn's 1,797 digits into two parts with the same share of every class.

    Parameters
    ----------
    n_held_out : int
        Images kept back; every class gives its share of them, to within one image.
    seed : int
        Decides which ones. The same number gives the same split on every machine.

    Returns
    -------
    DigitsSplit
        ``train`` with 1,797 − ``n_held_out`` images and ``held_out``, without a common image.

    Raises
    ------
    TypeError
        If a number is not an integer.
    ValueError
        If ``seed`` is negative, or a part would have less than one image of each class.

    Notes
    -----
    The file does not say who wrote which digit. A writer's digits therefore lie on both sides, and accuracy
    on the held-out part is that for new digits of known hands. Used from chapter 11 on.

    References
    ----------
    Alpaydin and Kaynak, "Optical recognition of handwritten digits", UCI Machine Learning Repository, 1998:
    the test part of that collection, which ``sklearn.datasets.load_digits`` carries.
    """
    # Imported here because it takes longer than everything else in the package's tasks together.
    from sklearn.datasets import load_digits

    check_count("n_held_out", n_held_out, at_least=N_CLASSES)
    check_count("seed", seed, at_least=0)
    pixels, labels = load_digits(return_X_y=True)
    n_images = len(labels)
    if n_held_out > n_images - N_CLASSES:
        raise ValueError(
            f"n_held_out must be at most {n_images - N_CLASSES}, which leaves one image of each class, "
            f"got n_held_out={n_held_out}"
        )
    images = (pixels / INK_LEVELS).astype(np.float32).reshape(n_images, 1, DIGIT_SIZE, DIGIT_SIZE)
    labels = labels.astype(np.int64)

    # In an order by class, and random within a class, places at even distances take from each its share.
    order = np.random.default_rng(seed).permutation(n_images)
    order = order[labels[order].argsort(kind="stable")]
    kept_back = np.zeros(n_images, dtype=bool)
    kept_back[order[(2 * np.arange(n_held_out) + 1) * n_images // (2 * n_held_out)]] = True
    return DigitsSplit(
        train=DigitImages(images[~kept_back], labels[~kept_back]),
        held_out=DigitImages(images[kept_back], labels[kept_back]),
    )


@dataclass(frozen=True)
class ClutteredBatch:
    """Hold canvases, the digit that each one shows, and where it is.

    Parameters
    ----------
    images : ndarray of float32, shape (batch, 1, canvas_size, canvas_size)
        Ink from 0 to 1.
    labels : ndarray of int64, shape (batch,)
        The whole digit on each canvas, 0 to 9.
    boxes : ndarray of float32, shape (batch, 4)
        Where it is: x0, y0, x1, y1 in pixels, the ends excluded (the gold region).
    """

    images: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray


@dataclass(frozen=True)
class ClutteredDigits:
    """Describe canvases with one whole digit at a random place among pieces of other digits.

    Parameters
    ----------
    digits : DigitImages
        Where the digits and the pieces come from. Give one part of ``digits_split``: then nothing of a
        held-out digit, not even a piece, is seen in training. Not modified.
    canvas_size : int
        Height and width of a canvas, in pixels.
    n_clutter : int
        Pieces on a canvas. With 0 the task is a digit at a random place.
    piece_size : int
        Height and width of a piece, in pixels.
    margin : int
        Pixels along every edge of the canvas that stay empty. A wide margin keeps the digit near the middle:
        a first lesson for a network that must learn where to look.

    Raises
    ------
    TypeError
        If ``digits`` are no ``DigitImages`` or a size is not an integer.
    ValueError
        If a size is out of range, there are fewer than two digits, or the canvas is too small to place a
        piece beside every digit.

    Notes
    -----
    A piece never covers the digit's 8×8 box, so the digit is always whole; pieces may cover each other, and
    there the darker ink wins. One digit is cut for each piece, never the one that is shown; it may be of the
    same class. Used from chapter 11 on.

    References
    ----------
    After the cluttered translated digits of Mnih, Heess, Graves and Kavukcuoglu, "Recurrent models of visual
    attention", NIPS 2014, section 4.1, whose clutter may also cover the digit.
    """

    digits: DigitImages
    canvas_size: int = 32
    n_clutter: int = 4
    piece_size: int = 4
    margin: int = 0

    def __post_init__(self) -> None:
        """Check the sizes once.

        Raises
        ------
        TypeError
            If ``digits`` are no ``DigitImages``.
        ValueError
            If there are fewer than two digits, a piece is larger than a digit, or the canvas is too small.
        """
        if not isinstance(self.digits, DigitImages):
            raise TypeError(
                f"digits must be of type DigitImages, got digits of type {type(self.digits).__name__}"
            )
        if len(self.digits) < 2:
            raise ValueError(
                f"digits must hold at least 2 images, to show one and cut another, got {len(self.digits)}"
            )
        check_count("margin", self.margin, at_least=0)
        check_count("canvas_size", self.canvas_size, at_least=DIGIT_SIZE + 2 * self.margin)
        check_count("n_clutter", self.n_clutter, at_least=0)
        check_count("piece_size", self.piece_size)
        if self.piece_size > DIGIT_SIZE:
            raise ValueError(f"piece_size must be at most {DIGIT_SIZE}, got piece_size={self.piece_size}")
        # A digit in the very middle leaves the least room: the wider of its two margins must hold a piece.
        needed = DIGIT_SIZE + 2 * self.piece_size - 1 + 2 * self.margin
        if self.n_clutter and self.canvas_size < needed:
            raise ValueError(
                f"canvas_size must be at least {needed}, to place a piece of {self.piece_size} pixels beside "
                f"every digit, got canvas_size={self.canvas_size}"
            )

    def sample(self, batch_size: int, rng: np.random.Generator) -> ClutteredBatch:
        """Draw canvases; the digit's place is uniform over all places inside the margin.

        Parameters
        ----------
        batch_size : int
            Number of canvases.
        rng : numpy.random.Generator
            Source of randomness.

        Returns
        -------
        ClutteredBatch
            Canvases, labels and boxes.

        Raises
        ------
        TypeError
            If ``batch_size`` is not an integer.
        ValueError
            If ``batch_size`` is below 1.
        """
        check_count("batch_size", batch_size)
        n_digits = len(self.digits)
        shown = rng.integers(n_digits, size=batch_size)
        corner = self._places(DIGIT_SIZE, batch_size, rng)  # x, y
        images = np.zeros((batch_size, 1, self.canvas_size, self.canvas_size), dtype=np.float32)
        canvas = images[:, 0]  # the same memory
        canvas[_window(corner, DIGIT_SIZE)] = self.digits.images[shown, 0]
        for _ in range(self.n_clutter):
            cut = (shown + rng.integers(1, n_digits, size=batch_size)) % n_digits  # any digit but the shown
            place = rng.integers(DIGIT_SIZE - self.piece_size + 1, size=(batch_size, 2))
            pieces = self.digits.images[cut, 0][_window(place, self.piece_size)]
            target = _window(self._beside(corner, rng), self.piece_size)
            canvas[target] = np.maximum(canvas[target], pieces)
        boxes = np.concatenate([corner, corner + DIGIT_SIZE], axis=1).astype(np.float32)
        return ClutteredBatch(images=images, labels=self.digits.labels[shown], boxes=boxes)

    def _beside(self, corner: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return places (x, y) for one piece on each canvas, uniform over those that leave the digit free."""
        places = np.empty_like(corner)
        wrong = np.ones(len(corner), dtype=bool)
        while wrong.any():
            places[wrong] = self._places(self.piece_size, wrong.sum(), rng)
            # The piece covers a part of the box when it does so along both axes.
            wrong = ((places < corner + DIGIT_SIZE) & (places + self.piece_size > corner)).all(axis=1)
        return places

    def _places(self, size: int, n_places: int, rng: np.random.Generator) -> np.ndarray:
        """Return places (x, y) for the upper left corner of a square of ``size`` pixels inside the margin."""
        return rng.integers(self.margin, self.canvas_size - self.margin - size + 1, size=(n_places, 2))


def _window(corner: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return indices that take a window of (size, size) pixels at (x, y) from every image of a batch."""
    steps = np.arange(size)
    rows = corner[:, 1, None, None] + steps[:, None]  # (batch, size, 1)
    columns = corner[:, 0, None, None] + steps  # (batch, 1, size)
    return np.arange(len(corner))[:, None, None], rows, columns
