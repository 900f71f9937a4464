"""Scenes of coloured shapes with their captions: every word's object, box and pixels are known.

The caption names all objects from left to right, so that every scene has exactly one right caption. The same
scenes serve detection (boxes) and segmentation (pixels) later on.
"""

from dataclasses import dataclass, fields

import numpy as np

from attncourse._checks import check_count, check_number, check_rows
from attncourse.tasks.pairs import END, PADDING, Vocabulary

SHAPES = ("circle", "square", "triangle", "cross")
COLOURS = ("red", "green", "blue", "yellow", "purple", "orange")
SIZE_NAMES = ("small", "large")

# Red, green and blue parts of the colours, each from 0 to 1, and of the grey behind the objects.
_COLOUR_VALUES = np.array(
    [
        (0.85, 0.15, 0.15),
        (0.15, 0.62, 0.20),
        (0.15, 0.30, 0.90),
        (0.95, 0.88, 0.15),
        (0.58, 0.18, 0.72),
        (0.97, 0.55, 0.08),
    ],
    dtype=np.float32,
)
_BACKGROUND = 0.82
_COLOUR_JITTER = 0.05  # an object's colour parts differ from the list by at most this
_RADII = np.array([4.7, 7.0])  # half the width of a small and of a large object, in pixels
_RADIUS_JITTER = 0.3
_MARGIN = _RADII[-1] + _RADIUS_JITTER  # the centres stay so far inside, and every object is whole
_CENTRE_GAP = 4.0  # the centres of two objects lie so far apart from left to right, in pixels
_BOX_GAP = 1.0  # and their boxes at least so far, from left to right or from top to bottom
_ROUNDS = 5_000  # times that the objects of a scene are placed before they count as too many
_HEIGHTS = 24  # heights tried for an object that is placed beside others
_CHUNK = 256  # scenes painted at a time: the distances of all pixels of thousands would take gigabytes

_VOCABULARY = Vocabulary(("a", "left", "of", *SIZE_NAMES, *COLOURS, *SHAPES))


@dataclass(frozen=True)
class SceneBatch:
    """Hold scenes with their captions, and where every word of a caption belongs.

    The objects of a scene stand in the order of the caption, from left to right.

    Parameters
    ----------
    images : ndarray of float32, shape (batch, 3, image_size, image_size)
        Red, green and blue parts, from 0 to 1; rows from top to bottom.
    caption : ndarray of int64, shape (batch, n_words)
        Tokens of the caption, then ``END``, then ``PADDING``.
    word_objects : ndarray of int64, shape (batch, n_words)
        The object that a size, a colour or a shape word describes; -1 at the other words and behind the end.
    n_objects : ndarray of int64, shape (batch,)
        Objects of every scene.
    shapes, colours, sizes : ndarray of int64, shape (batch, max_objects)
        Places in ``SHAPES``, ``COLOURS`` and ``SIZE_NAMES``; -1 where there is no object.
    boxes : ndarray of float32, shape (batch, max_objects, 4)
        Left, top, right and bottom edge of every object, in pixels: it fills the columns from ``x0`` to
        ``x1 - 1``. Zeros where there is no object.
    masks : ndarray of bool, shape (batch, max_objects, image_size, image_size)
        The pixels of every object.
    """

    images: np.ndarray
    caption: np.ndarray
    word_objects: np.ndarray
    n_objects: np.ndarray
    shapes: np.ndarray
    colours: np.ndarray
    sizes: np.ndarray
    boxes: np.ndarray
    masks: np.ndarray

    def __len__(self) -> int:
        """Return the number of scenes."""
        return len(self.images)

    @property
    def shape_map(self) -> np.ndarray:
        """Return what every pixel shows, int64 of shape (batch, image_size, image_size).

        0 is the background, 1 + s the shape s of ``SHAPES``.
        """
        # No pixel has two objects, so the sum over the objects holds one term at most.
        return np.einsum("bohw,bo->bhw", self.masks, self.shapes + 1)

    @property
    def has_twin(self) -> np.ndarray:
        """Return which objects share their colour with another one, bool of shape (batch, max_objects)."""
        same = (self.colours[:, :, None] == self.colours[:, None]) & (self.colours >= 0)[:, None]
        return same.sum(axis=2) > 1

    @property
    def twin_map(self) -> np.ndarray:
        """Return the pixels of objects that have a twin, bool of shape (batch, image_size, image_size)."""
        return (self.masks & self.has_twin[:, :, None, None]).any(axis=1)

    def take(self, rows: np.ndarray) -> "SceneBatch":
        """Return some of the scenes.

        Parameters
        ----------
        rows : ndarray of int, shape (n_rows,)
            Which scenes, in which order; a scene may come twice.

        Returns
        -------
        SceneBatch
            Copies of these scenes.

        Raises
        ------
        TypeError
            If ``rows`` is not an array of integers.
        """
        check_rows("rows", rows, may_be_empty=True)
        return SceneBatch(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


@dataclass(frozen=True)
class SceneTask:
    """Describe a family of scenes; ``sample`` draws from it.

    An object has one of 4 shapes, 6 colours and 2 sizes (about 9 and 14 pixels wide), all equally likely. It
    lies whole inside the image and touches no other, and its centre lies at least 4 pixels to the left or to
    the right of every other's: "left of" is never in doubt.

    Parameters
    ----------
    n_objects : int or (int, int)
        Objects of a scene; with two numbers, any number from the first to the second, equally likely.
    image_size : int
        Rows and columns of the square images, in pixels.
    noise : float
        Standard deviation of the normal noise that is added to every part of every pixel, before the values
        are cut off at 0 and 1.

    Raises
    ------
    TypeError
        If a number has the wrong type.
    ValueError
        If a number is out of range, or so many objects do not fit beside each other.

    Notes
    -----
    Used from chapter 11 on.
    """

    n_objects: int | tuple[int, int] = (2, 3)
    image_size: int = 48
    noise: float = 0.04

    def __post_init__(self) -> None:
        """Check the numbers once.

        Raises
        ------
        TypeError
            If ``n_objects`` is neither a number nor a pair.
        ValueError
            If the objects do not fit.
        """
        if isinstance(self.n_objects, tuple) and len(self.n_objects) == 2:
            check_count("n_objects[0]", self.n_objects[0])
            check_count("n_objects[1]", self.n_objects[1], at_least=self.n_objects[0])
        elif isinstance(self.n_objects, tuple):
            raise TypeError(f"n_objects must be a number or a pair, got n_objects={self.n_objects}")
        else:
            check_count("n_objects", self.n_objects)
        check_count("image_size", self.image_size)
        check_number("noise", self.noise, at_least=0)
        if self._spare < 0:
            raise ValueError(
                f"image_size must be at least {2 * _MARGIN + _CENTRE_GAP * (self.max_objects - 1):.0f} "
                f"for n_objects={self.n_objects}, got image_size={self.image_size}"
            )

    @property
    def vocabulary(self) -> Vocabulary:
        """Return the words of the captions, numbered."""
        return _VOCABULARY

    @property
    def max_objects(self) -> int:
        """Return the most objects of a scene."""
        return self.n_objects[1] if isinstance(self.n_objects, tuple) else self.n_objects

    @property
    def n_words(self) -> int:
        """Return the tokens of the longest caption, its ``END`` included."""
        return 6 * self.max_objects - 1

    @property
    def _spare(self) -> float:
        """Return the pixels from left to right that the margins and the gaps of the centres leave."""
        return self.image_size - 2 * _MARGIN - _CENTRE_GAP * (self.max_objects - 1)

    def sample(self, batch_size: int, rng: np.random.Generator) -> SceneBatch:
        """Draw scenes.

        Parameters
        ----------
        batch_size : int
            Number of scenes.
        rng : numpy.random.Generator
            Source of randomness. Held-out sets come from a generator with another seed.

        Returns
        -------
        SceneBatch
            Images, captions, boxes, pixels and what every word describes.

        Raises
        ------
        TypeError
            If ``batch_size`` is not an integer.
        ValueError
            If ``batch_size`` is below 1, or no place was found for the objects of a scene.

        Notes
        -----
        The objects of a scene are drawn first. Then they are placed at random, again and again until
        no two boxes touch.
        """
        check_count("batch_size", batch_size)
        fewest = self.n_objects[0] if isinstance(self.n_objects, tuple) else self.n_objects
        n_objects = rng.integers(fewest, self.max_objects + 1, size=batch_size)
        real = np.arange(self.max_objects) < n_objects[:, None]  # (batch, max_objects)
        shapes, colours, sizes = (
            np.where(real, rng.integers(len(kinds), size=real.shape), -1)
            for kinds in (SHAPES, COLOURS, SIZE_NAMES)
        )
        radii = _RADII[sizes] + rng.uniform(-_RADIUS_JITTER, _RADIUS_JITTER, size=real.shape)
        centres = self._place(np.where(real, radii, 0.0), n_objects, rng)
        jitter = rng.uniform(-_COLOUR_JITTER, _COLOUR_JITTER, size=(*real.shape, 3))
        paint = (_COLOUR_VALUES[colours] + jitter).astype(np.float32)
        images, masks = self._paint(shapes, radii, centres, paint, rng)
        caption, word_objects = _captions(shapes, colours, sizes, n_objects)
        return SceneBatch(
            images=images,
            caption=caption,
            word_objects=word_objects,
            n_objects=n_objects,
            shapes=shapes,
            colours=colours,
            sizes=sizes,
            boxes=_boxes(masks),
            masks=masks,
        )

    def _place(self, radii: np.ndarray, n_objects: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return centres (x, y) in pixels, from left to right, of shape (batch, max_objects, 2).

        Raises
        ------
        ValueError
            If the objects of a scene find no place.
        """
        real = np.arange(self.max_objects) < n_objects[:, None]  # (batch, max_objects)
        centres = np.zeros((*radii.shape, 2))
        pending = np.arange(len(radii))
        for _ in range(_ROUNDS):
            kept, radius = real[pending], radii[pending]
            # Sorted uniform numbers, pushed apart by the gap, are uniform over all places that keep the gap.
            share = np.sort(np.where(kept, rng.random(kept.shape), np.inf), axis=1)
            room = self._spare + _CENTRE_GAP * (self.max_objects - n_objects[pending, None])
            x = _MARGIN + np.where(kept, share, 0.0) * room + _CENTRE_GAP * np.arange(self.max_objects)
            y = rng.uniform(_MARGIN, self.image_size - _MARGIN, size=(*x.shape, _HEIGHTS))
            fits = np.ones(len(pending), dtype=bool)
            rows = np.arange(len(pending))
            for new in range(1, self.max_objects):
                # Of some heights for an object, the first at which no earlier one is in the way.
                enough = radius[:, :new] + radius[:, new : new + 1] + _BOX_GAP  # (pending, new)
                beside = abs(x[:, :new] - x[:, new : new + 1]) >= enough
                above = abs(y[:, :new, :1] - y[:, new : new + 1]) >= enough[..., None]
                free = (beside[..., None] | above).all(axis=1) | ~kept[:, new : new + 1]  # (pending, heights)
                y[:, new, 0] = y[rows, new, free.argmax(axis=1)]
                fits &= free.any(axis=1)
            centres[pending[fits]] = np.stack([x, y[..., 0]], axis=-1)[fits]
            pending = pending[~fits]
            if not len(pending):
                return centres
        raise ValueError(
            f"image_size must leave room for the objects (no place found in {_ROUNDS} rounds), "
            f"got image_size={self.image_size}, n_objects={self.n_objects}"
        )

    def _paint(
        self,
        shapes: np.ndarray,
        radii: np.ndarray,
        centres: np.ndarray,
        paint: np.ndarray,
        rng: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the images and the pixels of every object."""
        batch, size = len(shapes), self.image_size
        images = np.empty((batch, 3, size, size), dtype=np.float32)
        masks = np.empty((batch, self.max_objects, size, size), dtype=bool)
        middle = np.arange(size) + 0.5  # the middle of every pixel
        for start in range(0, batch, _CHUNK):
            rows = slice(start, start + _CHUNK)
            # How far every pixel lies from every centre, in radii.
            x = (middle - centres[rows, :, :1]) / radii[rows, :, None]  # (chunk, max_objects, image_size)
            y = (middle - centres[rows, :, 1:]) / radii[rows, :, None]
            masks[rows] = _inside(shapes[rows], x[:, :, None], y[..., None])
            shown = masks[rows].any(axis=1)[:, None]  # (chunk, 1, image_size, image_size)
            objects = np.einsum("bohw,boc->bchw", masks[rows], paint[rows])  # no two share a pixel
            noise = self.noise * rng.standard_normal(objects.shape, dtype=np.float32)
            images[rows] = np.clip(np.where(shown, objects, np.float32(_BACKGROUND)) + noise, 0.0, 1.0)
        return images, masks


def _inside(shapes: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return which pixels belong to every object, given their distance from its centre in radii.

    Every shape fits in the square from -1 to 1; a missing one (shape -1) has no pixel.
    """
    ax, ay = abs(x), abs(y)
    square = (ax <= 1) & (ay <= 1)
    drawn = {
        "circle": x**2 + y**2 <= 1,
        "square": square,
        "triangle": square & (ax <= (y + 1) / 2),
        "cross": ((ax <= 0.3) & (ay <= 1)) | ((ay <= 0.3) & (ax <= 1)),
    }
    masks = np.zeros(square.shape, dtype=bool)
    for number, name in enumerate(SHAPES):
        masks |= drawn[name] & (shapes == number)[..., None, None]
    return masks


def _boxes(masks: np.ndarray) -> np.ndarray:
    """Return the edges of every object in pixels, float32 of shape (batch, max_objects, 4)."""
    boxes = np.zeros((*masks.shape[:2], 4), dtype=np.float32)
    for axis, filled in enumerate((masks.any(axis=2), masks.any(axis=3))):  # columns, then rows
        real = filled.any(axis=-1)
        boxes[..., axis] = np.where(real, filled.argmax(axis=-1), 0)
        boxes[..., axis + 2] = np.where(real, filled.shape[-1] - filled[..., ::-1].argmax(axis=-1), 0)
    return boxes


def _captions(
    shapes: np.ndarray, colours: np.ndarray, sizes: np.ndarray, n_objects: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the tokens of the captions, and the object that each describes."""
    batch, max_objects = shapes.shape
    words = {
        name: np.array(_VOCABULARY.encode(kinds))
        for name, kinds in (("shape", SHAPES), ("colour", COLOURS), ("size", SIZE_NAMES))
    }
    a, left, of = _VOCABULARY.encode(("a", "left", "of"))
    # "a small red circle left of" for every object; behind the last one END takes the place of "left".
    tokens = np.empty((batch, max_objects, 6), dtype=np.int64)
    tokens[..., 0], tokens[..., 4], tokens[..., 5] = a, left, of
    tokens[..., 1], tokens[..., 2], tokens[..., 3] = (
        words["size"][sizes],
        words["colour"][colours],
        words["shape"][shapes],
    )
    described = np.full(tokens.shape, -1, dtype=np.int64)
    described[..., 1:4] = np.arange(max_objects)[:, None]
    place = np.arange(6 * max_objects - 1)
    end = 6 * n_objects[:, None] - 2
    caption = tokens.reshape(batch, -1)[:, :-1]
    caption = np.where(place < end, caption, np.where(place == end, END, PADDING))
    return caption, np.where(place < end, described.reshape(batch, -1)[:, :-1], -1)
