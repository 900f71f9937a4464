"""Checker: cut images into patches, with several orders of patches and of the numbers inside."""

import itertools

import torch
from torch.nn import functional as F

from attncourse.exercises._exercise import Exercise, Family, Mistake, Property, normal
from attncourse.vision import patch_tokens

ORDERS = {
    "row by row, from the upper left corner": "0, 2, 3",
    "column by column: the leftmost column from top to bottom, then the next": "0, 3, 2",
}
INSIDES = {
    "channel by channel, each channel row by row": "1, 4, 5",
    "pixel by pixel, row by row; all channels of a pixel stand together": "4, 5, 1",
}
STEPS = {
    "do not overlap: the next begins where the last ends": "patch_size",
    "overlap: the next begins half a patch after the last (`patch_size` is even)": "patch_size // 2",
}
# The chapter's own convention, the first of each, is left out.
PICKED = [(1, 1, 0), (0, 1, 1), (1, 0, 0), (0, 0, 1), (0, 1, 0), (1, 1, 1)]
VERSIONS = tuple(
    {
        "order": tuple(ORDERS)[i],
        "inside": tuple(INSIDES)[j],
        "step": tuple(STEPS)[k],
        "order_code": f"{tuple(ORDERS.values())[i]}, {tuple(INSIDES.values())[j]}",
        "step_code": tuple(STEPS.values())[k],
        "kind": (i, j, k),
    }
    for i, j, k in PICKED
)


def _cut(by_columns, pixels_together, overlaps):
    def cut(images, patch_size):
        step = patch_size // 2 if overlaps else patch_size
        if overlaps:
            tokens = F.unfold(images, patch_size, stride=step).transpose(1, 2)
        else:
            tokens = patch_tokens(images, patch_size)
        n_rows = (images.shape[2] - patch_size) // step + 1
        if by_columns:
            tokens = tokens.unflatten(1, (n_rows, -1)).transpose(1, 2).flatten(1, 2)
        if pixels_together:
            tokens = tokens.unflatten(2, (images.shape[1], -1)).transpose(2, 3).flatten(2)
        return tokens

    return cut


def _turned_inside(by_columns, pixels_together, overlaps):
    right = _cut(by_columns, pixels_together, overlaps)
    # Cutting the turned images by the other order turns the numbers inside every patch and nothing else.
    other = _cut(not by_columns, pixels_together, overlaps)
    return lambda images, patch_size: other(images.transpose(2, 3), patch_size).reshape(
        right(images, patch_size).shape
    )


def _reshaped(images, patch_size):
    return images.reshape(len(images), -1, images.shape[1] * patch_size**2)


def _dealt(by_columns, pixels_together):
    def cut(images, patch_size):
        n_rows, n_columns = images.shape[2] // patch_size, images.shape[3] // patch_size
        parts = images.reshape(*images.shape[:2], patch_size, n_rows, patch_size, n_columns)
        order = (0, 5, 3) if by_columns else (0, 3, 5)
        order += (2, 4, 1) if pixels_together else (1, 2, 4)
        return parts.permute(order).flatten(3).flatten(1, 2)

    return cut


def _one_image(cut):
    return lambda images, patch_size: cut(images[:1], patch_size).expand(len(images), -1, -1).clone()


def _by_slices(
    by_columns, pixels_together, overlaps, *, until=lambda side, patch_size: side - patch_size + 1
):
    def cut(images, patch_size):
        step = patch_size // 2 if overlaps else patch_size
        tops, lefts = (range(0, until(side, patch_size), step) for side in images.shape[2:])
        images = F.pad(images, (0, patch_size, 0, patch_size))  # read by patches outside alone
        places = (
            ((top, left) for left in lefts for top in tops) if by_columns else itertools.product(tops, lefts)
        )
        patches = [images[:, :, top : top + patch_size, left : left + patch_size] for top, left in places]
        ordered = [patch.permute(0, 2, 3, 1) if pixels_together else patch for patch in patches]
        return torch.stack([patch.flatten(1) for patch in ordered], dim=1)

    return cut


def _properties(rng):
    return [
        Property("one column of grey patches", [{"images": normal(rng, 1, 1, 12, 4), "patch_size": 4}], 1),
        Property("a grey image", [{"images": normal(rng, 1, 1, 6, 8), "patch_size": 2}], 1),
        Property("a row of coloured patches", [{"images": normal(rng, 2, 3, 4, 12), "patch_size": 4}], 1),
        Property("several coloured images", [{"images": normal(rng, 3, 3, 12, 8), "patch_size": 4}], 2),
    ]


def _build(version):
    kind = tuple(map(bool, version["kind"]))
    by_columns, pixels_together, overlaps = kind
    outside = Mistake(
        "patches that leave the image",
        "The last patches begin inside the image and end outside, where something was made up. A patch lies "
        "inside.",
        _by_slices(*kind, until=lambda side, patch_size: side),
    )
    mistakes = [
        Mistake(
            "another order of the patches",
            "Each patch is right, but rows and columns of patches are exchanged in the list. Which place a "
            "token has decides which position it gets.",
            _cut(not by_columns, pixels_together, overlaps),
        ),
        Mistake(
            "another order inside a patch",
            "The patches are in the right order, but the numbers inside each are not: channels and pixels "
            "change places.",
            _cut(by_columns, not pixels_together, overlaps),
        ),
        Mistake(
            "another step",
            "The patches overlap although they should not, or the reverse; so their number is wrong.",
            _cut(by_columns, pixels_together, not overlaps),
        ),
        Mistake(
            "patches lie on their side",
            "Inside each patch the pixels are written column by column. This page wants rows.",
            _turned_inside(*kind),
        ),
        Mistake(
            "a view of the image",
            "The image's numbers were read in the order of memory and cut into runs; a run is a stripe of "
            "the image, not a square.",
            _reshaped,
        ),
        Mistake(
            "pixels dealt out like cards",
            "Each patch gets pixels from all over the image: the axis of a side was cut into (patch size, "
            "patches) instead of (patches, patch size).",
            _dealt(by_columns, pixels_together),
        ),
        Mistake(
            "the last patches missing",
            "The count of patches ends one too early in both directions: a patch that ends where the image "
            "ends lies inside it.",
            _by_slices(*kind, until=lambda side, patch_size: side - patch_size),
        ),
        *([outside] if overlaps else []),
        Mistake(
            "the first image for all",
            "Every image of the batch got the patches of the first.",
            _one_image(_cut(*kind)),
        ),
    ]
    return Exercise(
        reference=_cut(*kind),
        properties=_properties,
        mistakes=mistakes,
        see=(12, "A patch as a word"),
        variants={"by slices": _by_slices(*kind)},
    )


FAMILY = Family(VERSIONS, _build)
