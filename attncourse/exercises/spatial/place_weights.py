"""Checker: weights of the pixels along one axis for a window, by several conventions."""

import torch

from attncourse.exercises._exercise import Exercise, Family, Mistake, Property
from attncourse.glimpses import _place_weights as package_weights

MIDDLES = {
    "$-1$ is the outer edge of the first pixel and 1 the outer edge of the last": (
        "(centre + 1) / 2 * n_pixels - 0.5",
        lambda centre, n_pixels: (centre + 1) / 2 * n_pixels - 0.5,
    ),
    "$-1$ is the middle of the first pixel and 1 the middle of the last": (
        "(centre + 1) / 2 * (n_pixels - 1)",
        lambda centre, n_pixels: (centre + 1) / 2 * (n_pixels - 1),
    ),
    "0 is the outer edge of the first pixel, and a pixel is 1 wide": (
        "centre - 0.5",
        lambda centre, n_pixels: centre - 0.5,
    ),
}
OUTSIDE = {
    "there are zeros: a point weighs only pixels nearer than one pixel, and far outside its row is empty": (
        "middle[:, None] + steps",
        lambda points, n_pixels: points,
    ),
    "the edge is repeated: a point beyond the middle of the first or last pixel is moved to that middle": (
        "(middle[:, None] + steps).clamp(0, n_pixels - 1)",
        lambda points, n_pixels: points.clamp(0, n_pixels - 1),
    ),
}
CASES = [(0, 1), (1, 0), (2, 1), (0, 0), (1, 1), (2, 0)]
VERSIONS = tuple(
    {
        "middle": tuple(MIDDLES)[i],
        "outside": tuple(OUTSIDE)[j],
        "middle_code": tuple(MIDDLES.values())[i][0],
        "points_code": tuple(OUTSIDE.values())[j][0],
    }
    for i, j in CASES
)


def _reference(middle_of, repeats):
    """Ask the package; where the edge is repeated, on a longer axis, adding up what lies outside."""

    def place_weights(centre, size, n_pixels):
        extra = 4 * size + n_pixels if repeats else 0
        n_all = n_pixels + 2 * extra
        middle = middle_of(centre, n_pixels) + extra
        weights = package_weights(2 * (middle + 0.5) / n_all - 1, size, n_all)
        inner = weights[..., extra : extra + n_pixels].clone()
        inner[..., 0] += weights[..., :extra].sum(dim=-1)
        inner[..., -1] += weights[..., extra + n_pixels :].sum(dim=-1)
        return inner

    return place_weights


def _points(middle_of, move, *, begin=lambda size: (size - 1) / 2):
    def points(centre, size, n_pixels):
        steps = torch.arange(size, dtype=centre.dtype) - begin(size)
        middle = middle_of(centre, n_pixels)[:, None]
        return move(middle + steps, n_pixels)

    return points


def _tents(points, *, whole=False, floor=0.0):
    def place_weights(centre, size, n_pixels):
        places = points(centre, size, n_pixels)
        places = places.round() if whole else places
        distance = (places.unsqueeze(-1) - torch.arange(n_pixels, dtype=centre.dtype)).abs()
        weights = 1 - distance
        return weights if floor is None else weights.clamp(min=floor)

    return place_weights


def _stretched(middle_of, move, width):
    def points(centre, size, n_pixels):
        half = width(size, n_pixels) / 2
        spread = torch.linspace(-half, half, size, dtype=centre.dtype)
        return move(middle_of(centre, n_pixels)[:, None] + spread, n_pixels)

    return points


def _two_neighbours(points):
    def place_weights(centre, size, n_pixels):
        places = points(centre, size, n_pixels)
        weights = torch.zeros(*places.shape, n_pixels, dtype=centre.dtype)
        for i, j in torch.cartesian_prod(torch.arange(len(centre)), torch.arange(size)).tolist():
            place = places[i, j].item()
            left = int(place // 1)
            for pixel, weight in ((left, left + 1 - place), (left + 1, place - left)):
                if 0 <= pixel < n_pixels:
                    weights[i, j, pixel] = weight
        return weights

    return place_weights


def _build(version):
    (_, middle_of), (_, move) = MIDDLES[version["middle"]], OUTSIDE[version["outside"]]
    repeats = "repeated" in version["outside"]
    other_move = next(one for name, (_, one) in OUTSIDE.items() if name != version["outside"])
    points = _points(middle_of, move)

    def properties(rng):
        def window(size, n_pixels, *places, dtype=torch.float64):
            # Where the centres lie, in numbers of pixels; the version's own unit follows from it.
            there = torch.tensor(places, dtype=torch.float64) + torch.from_numpy(
                rng.uniform(0.1, 0.4, len(places))
            )
            zero, one = (middle_of(torch.tensor([at], dtype=torch.float64), n_pixels) for at in (0.0, 1.0))
            return {"centre": ((there - zero) / (one - zero)).to(dtype), "size": size, "n_pixels": n_pixels}

        single = torch.float32
        return [
            Property("a single point", [window(1, 8, 3, 5, dtype=single)], 1),
            Property("windows inside", [window(3, 9, 2, 4, 5), window(5, 11, 6)], 1),
            Property("windows with an even number of points", [window(4, 10, 3, 6)], 1),
            Property("windows over the edge", [window(5, 7, 0, 6, dtype=single), window(4, 6, 1, 4)], 2),
            Property("windows outside", [window(4, 5, -6, 2, 9)], 1),
        ]

    return Exercise(
        reference=_reference(middle_of, repeats),
        properties=properties,
        mistakes=[
            *(
                Mistake(
                    f"another place for the centre ({i})",
                    "The window lies elsewhere: its centre was read by another rule, "
                    f"“{name.replace('$', '')}”.",
                    _tents(_points(one, move)),
                )
                for i, (name, (_, one)) in enumerate(MIDDLES.items())
                if name != version["middle"]
            ),
            Mistake(
                "the other rule outside",
                "Inside the image all is right; a window that reaches over the edge sees the wrong thing "
                "there.",
                _tents(_points(middle_of, other_move)),
            ),
            *(
                Mistake(
                    "the centre moved",
                    "A centre outside was moved to the edge, and the whole window with it. Each point is "
                    "judged by its own place.",
                    _tents(_points(lambda *inputs: move(middle_of(*inputs), inputs[1]), lambda x, _: x)),
                )
                for _ in range(repeats)
            ),
            Mistake(
                "the window begins at the centre",
                "The first point lies on the centre and all others beyond it. The middle of the window "
                "belongs there.",
                _tents(_points(middle_of, move, begin=lambda size: 0)),
            ),
            Mistake(
                "half a pixel off",
                "The middle of the window was taken to lie size / 2 points from the first; it lies between "
                "the first and the last.",
                _tents(_points(middle_of, move, begin=lambda size: size / 2)),
            ),
            Mistake(
                "a whole number of pixels",
                "Every point was moved to the nearest pixel. Such a window jumps, and no gradient can move "
                "it.",
                _tents(points, whole=True),
            ),
            Mistake(
                "weights below zero",
                "Pixels farther than one pixel away got negative weights; they must get none.",
                _tents(points, floor=None),
            ),
            Mistake(
                "a window as wide as the image",
                "The points were spread over the width of the whole image. They lie one pixel apart, "
                "whatever its width.",
                _tents(_stretched(middle_of, move, lambda size, n_pixels: n_pixels)),
            ),
            Mistake(
                "points too far apart",
                "The points were spread over `size` pixels from the first to the last. One pixel apart, "
                "they have one space fewer than points.",
                _tents(_stretched(middle_of, move, lambda size, n_pixels: size)),
            ),
            Mistake(
                "edges numbered",
                "Every window lies half a pixel too far to the right. The number of a pixel is the place of "
                "its middle, not of its left edge.",
                _tents(_points(lambda *inputs: middle_of(*inputs) + 0.5, move)),
            ),
            Mistake(
                "points and pixels exchanged",
                "The numbers may be right, but the axes stand in the other order: points come before pixels.",
                lambda *inputs: _tents(points)(*inputs).transpose(1, 2).contiguous(),
            ),
        ],
        see=(11, "Glimpses: a small window that moves"),
        variants={"two neighbours": _two_neighbours(points)},
    )


FAMILY = Family(VERSIONS, _build)
