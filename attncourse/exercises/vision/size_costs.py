"""Checker: formulas for what small patches cost, and for what small objects suffer."""

from attncourse.exercises._exercise import Exercise, Mistake, Property, call_part


def _parameters(patch_size, n_channels, d_model):
    return n_channels * patch_size**2 * d_model + d_model


def _n_patches(height, width, patch_size):
    return (height // patch_size) * (width // patch_size)


def _weights(height, width, patch_size):
    return (_n_patches(height, width, patch_size) + 1) ** 2


def _shifted(width, height, shift):
    both = max(0.0, width - shift) * height
    return both / (2 * width * height - both)


def _narrowest(shift, threshold):
    return shift * (1 + threshold) / (1 - threshold)


def _diagonal(width, height, shift):
    both = max(0.0, width - shift) * max(0.0, height - shift)
    return both / (2 * width * height - both)


def _box(start, width, height):
    return {(start + x, start + y) for x in range(width) for y in range(height)}


def _properties(rng):
    def draw(part, **ranges):
        return {"part": part} | {name: rng.integers(*ends).item() for name, ends in ranges.items()}

    def image():
        patch_size = rng.choice([2, 3, 4, 7]).item()
        rows, columns = rng.permutation([2, 3, 4, 5, 6])[:2].tolist()
        return {
            "part": "weights",
            "height": rows * patch_size,
            "width": columns * patch_size,
            "patch_size": patch_size,
        }

    boxes = {"width": (8, 20), "height": (21, 40), "shift": (1, 7)}
    far = {"width": (2, 9), "height": (3, 9), "shift": (10, 20)}
    tall, wide = far | {"height": (21, 30)}, far | {"width": (21, 30)}
    return [
        Property(
            "parameters of the embedding",
            [draw("parameters", patch_size=(3, 9), n_channels=(2, 5), d_model=(10, 60)) for _ in range(3)],
            1,
        ),
        Property("weights of one head", [image() for _ in range(3)], 1),
        Property("a box shifted to the right", [draw("shifted", **boxes) for _ in range(3)], 1),
        Property("a box shifted by more than its width", [draw("shifted", **far)], 0.5),
        Property(
            "the narrowest box that passes",
            [draw("narrowest", shift=(1, 9)) | {"threshold": rng.uniform(0.3, 0.9)} for _ in range(3)],
            1.5,
        ),
        Property("a box shifted to the right and down", [draw("diagonal", **boxes) for _ in range(3)], 1),
        Property(
            "a box shifted past its own edges",
            [draw("diagonal", **sizes) for sizes in (far, tall, wide)],
            0.5,
        ),
    ]


EXERCISE = Exercise(
    reference={
        "parameters": _parameters,
        "weights": _weights,
        "shifted": _shifted,
        "narrowest": _narrowest,
        "diagonal": _diagonal,
    },
    properties=_properties,
    run=call_part,
    mistakes=[
        Mistake(
            "no bias",
            "The matrix was counted and the bias of the linear layer was not.",
            {"parameters": lambda patch_size, n_channels, d_model: n_channels * patch_size**2 * d_model},
        ),
        Mistake(
            "one channel",
            "A patch holds the numbers of all channels; those of one were counted.",
            {"parameters": lambda patch_size, n_channels, d_model: patch_size**2 * d_model + d_model},
        ),
        Mistake(
            "a row for a square",
            "A patch has patch_size rows as well as columns; the side was counted instead of the square.",
            {
                "parameters": lambda patch_size, n_channels, d_model: (
                    n_channels * patch_size * d_model + d_model
                )
            },
        ),
        Mistake(
            "without the class token",
            "The class token attends and is attended to as well.",
            {"weights": lambda *sizes: _n_patches(*sizes) ** 2},
            see=(12, "A Vision Transformer from chapter 8's encoder"),
        ),
        Mistake(
            "the class token once",
            "The class token adds a row and a column of weights, not a single weight.",
            {"weights": lambda *sizes: _n_patches(*sizes) ** 2 + 1},
            see=(12, "A Vision Transformer from chapter 8's encoder"),
        ),
        Mistake(
            "tokens instead of pairs",
            "This is the number of tokens; a head has a weight for every pair of them.",
            {"weights": lambda *sizes: _n_patches(*sizes) + 1},
        ),
        Mistake(
            "over one box",
            "What both boxes share was divided by the area of one box. The union is larger than either.",
            {
                "shifted": lambda width, height, shift: max(0.0, width - shift) / width,
                "diagonal": lambda width, height, shift: (
                    max(0.0, width - shift) * max(0.0, height - shift) / (width * height)
                ),
            },
            see=(12, "How well do two boxes agree?"),
        ),
        Mistake(
            "over both areas",
            "The union is not the sum of the areas: what lies in both boxes was counted twice.",
            {
                "shifted": lambda width, height, shift: max(0.0, width - shift) / (2 * width),
                "diagonal": lambda width, height, shift: (
                    max(0.0, width - shift) * max(0.0, height - shift) / (2 * width * height)
                ),
            },
            see=(12, "How well do two boxes agree?"),
        ),
        Mistake(
            "boxes that do not meet",
            "Shifted by more than its size, a box shares nothing with what it was. The formula goes on with "
            "sides below zero.",
            {
                "shifted": lambda width, height, shift: (width - shift) / (width + shift),
                "diagonal": lambda width, height, shift: (
                    (width - shift)
                    * (height - shift)
                    / (2 * width * height - (width - shift) * (height - shift))
                ),
            },
            see=(12, "How well do two boxes agree?"),
        ),
        Mistake(
            "two negative sides",
            "The product of the common sides was cut off at zero. Shifted past both edges, a box has two "
            "negative sides in common with what it was, and their product is positive.",
            {
                "diagonal": lambda width, height, shift: (
                    max(0, (width - shift) * (height - shift))
                    / (2 * width * height - max(0, (width - shift) * (height - shift)))
                )
            },
            see=(12, "How well do two boxes agree?"),
        ),
        Mistake(
            "the narrowest box upside down",
            "The fraction is upside down: the stricter the threshold, the larger an object must be to bear "
            "a shift.",
            {"narrowest": lambda shift, threshold: shift * (1 - threshold) / (1 + threshold)},
            see=(12, "How well do two boxes agree?"),
        ),
        Mistake(
            "the share of the width",
            "This width keeps a share of itself that equals the threshold. The threshold is for the "
            "intersection over the union, which is stricter.",
            {"narrowest": lambda shift, threshold: shift / (1 - threshold)},
            see=(12, "How well do two boxes agree?"),
        ),
        Mistake(
            "one direction times the other",
            "The agreements for the two directions were multiplied. Intersections multiply, unions do not.",
            {
                "diagonal": lambda width, height, shift: (
                    _shifted(width, height, shift) * _shifted(height, width, shift)
                )
            },
            see=(12, "How well do two boxes agree?"),
        ),
    ],
    see=(12, "A patch as a word"),
    variants={
        "by counting pixels": {
            "parameters": lambda patch_size, n_channels, d_model: (
                (n_channels * patch_size * patch_size + 1) * d_model
            ),
            "weights": _weights,
            "shifted": lambda width, height, shift: max(0, width - shift) / (width + min(width, shift)),
            "narrowest": lambda shift, threshold: -shift + 2 * shift / (1 - threshold),
            "diagonal": lambda width, height, shift: (
                len(_box(0, width, height) & _box(shift, width, height))
                / len(_box(0, width, height) | _box(shift, width, height))
            ),
        }
    },
)
