"""Checker: overlap of every box with every other, for several ways to write a box and two measures."""

import torch

from attncourse.boxes import box_iou, generalized_iou, to_corners
from attncourse.exercises._exercise import Exercise, Family, Mistake, Property

FORMATS = {
    "the middle and the size, $(x, y, w, h)$": (
        "    first, last = boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2",
        to_corners,
    ),
    "the upper left corner and the size, $(x_0, y_0, w, h)$": (
        "    first, last = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]",
        lambda boxes: torch.cat([boxes[..., :2], boxes[..., :2] + boxes[..., 2:]], dim=-1),
    ),
    "numbers of pixels, $(x_0, y_0, x_1, y_1)$: the first and the last pixel in both directions, "
    "and *both* belong to the box (so $(3, 3, 3, 3)$ is a box of one pixel)": (
        "    first, last = boxes[:, :2], boxes[:, 2:] + 1",
        lambda boxes: boxes + torch.tensor([0.0, 0.0, 1.0, 1.0]),
    ),
}
IOU = r"\frac{|A \cap B|}{|A \cup B|}"
MEASURES = {
    "the intersection over union": ("", "both / either", box_iou, "from 0 to 1", IOU, ""),
    "the generalised intersection over union": (
        "\n    whole = area(torch.minimum(first_a, first_b), torch.maximum(last_a, last_b))",
        "both / either - (whole - either) / whole",
        generalized_iou,
        "above $-1$ and at most 1",
        IOU + r" - \frac{|C| - |A \cup B|}{|C|}",
        ", and $C$ the smallest box that holds both",
    ),
}
VERSIONS = tuple(
    {
        "format": tuple(FORMATS)[i],
        "measure": tuple(MEASURES)[j],
        "format_code": tuple(FORMATS.values())[i][0].strip(),
        "whole_code": tuple(MEASURES.values())[j][0],
        "ratio_code": tuple(MEASURES.values())[j][1],
        "range": tuple(MEASURES.values())[j][3],
        "formula": tuple(MEASURES.values())[j][4],
        "hull": tuple(MEASURES.values())[j][5],
    }
    for i, j in [(0, 1), (1, 0), (2, 1), (0, 0), (1, 1), (2, 0)]
)


def _agree(read, measure):
    return lambda boxes, others: measure(read(boxes), read(others))


def _measured(read, generalised, *, clamp="sides", union=None, whole=None, short=0.0):
    def agree(boxes, others):
        a, b = read(boxes).unsqueeze(1), read(others).unsqueeze(0)
        sides = torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])
        both = ((sides - short).clamp(min=0) if clamp == "sides" else sides).prod(dim=-1)
        both = both.clamp(min=0) if clamp == "late" else both
        area_a, area_b = ((one[..., 2:] - one[..., :2]).prod(dim=-1) for one in (a, b))
        either = area_a + area_b - both if union is None else union(area_a, area_b, both)
        hull = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).prod(dim=-1)
        if not generalised:
            return both / either
        return both / either - (hull - either) / (hull if whole is None else whole(hull, either))

    return agree


def _in_loops(read, generalised):
    def agree(boxes, others):
        rows = []
        for x0, y0, x1, y1 in read(boxes).tolist():
            rows.append([])
            for u0, v0, u1, v1 in read(others).tolist():
                both = max(0.0, min(x1, u1) - max(x0, u0)) * max(0.0, min(y1, v1) - max(y0, v0))
                either = (x1 - x0) * (y1 - y0) + (u1 - u0) * (v1 - v0) - both
                hull = (max(x1, u1) - min(x0, u0)) * (max(y1, v1) - min(y0, v0))
                rows[-1].append(both / either - (hull - either) / hull * generalised)
        return torch.tensor(rows)

    return agree


def _properties_for(name):
    def properties(rng):
        def write(corners):
            corners = torch.tensor(corners, dtype=torch.float32).reshape(-1, 4)
            first, size = corners[:, :2], corners[:, 2:] - corners[:, :2]
            if "middle" in name:
                return torch.cat([first + size / 2, size], dim=-1)
            return torch.cat([first, size if "corner" in name else first + size - 1], dim=-1)

        def draw(n_boxes, low, high, longest=7):
            first = rng.integers(low, high, size=(n_boxes, 2))
            return write([[*xy, *(xy + rng.integers(2, longest, size=2))] for xy in first])

        def nearly(box):
            moved = 1.0 if "pixels" in name else 0.5
            return torch.cat([box, box + torch.tensor([0.0, moved, 0.0, moved])])

        return [
            Property(
                "a box and itself, or nearly itself",
                [{"boxes": one, "others": nearly(one)} for one in draw(3, 0, 12).split(1)],
                1,
            ),
            Property(
                "a box inside another", [{"boxes": write([2, 1, 12, 9]), "others": write([4, 3, 7, 8])}], 1
            ),
            Property(
                "boxes that do not meet",
                [
                    {"boxes": draw(2, 0, 4), "others": draw(3, 20, 30)},
                    {"boxes": write([0, 0, 4, 5]), "others": write([9, 1, 12, 7])},
                    {"boxes": write([1, 2, 4, 5]), "others": write([4, 2, 8, 6])},
                ],
                1,
            ),
            Property("many boxes", [{"boxes": draw(5, 0, 9), "others": draw(8, 0, 9)}], 2),
        ]

    return properties


def _build(version):
    read = FORMATS[version["format"]][1]
    measure = MEASURES[version["measure"]][2]
    generalised = measure is generalized_iou
    other_measure = box_iou if generalised else generalized_iou
    mistakes = [
        Mistake(
            "negative sides",
            "Boxes that do not meet have a side of negative length in common. Two of them multiply to a "
            "positive area, and one makes the overlap negative.",
            _measured(read, generalised, clamp=None),
            see=(12, "How well do two boxes agree?"),
        ),
        Mistake(
            "the union counted twice",
            "The union is the sum of both areas, so what lies in both boxes was counted twice; a box does "
            "not agree fully with itself.",
            _measured(read, generalised, union=lambda a, b, both: a + b),
        ),
        Mistake(
            "the other measure",
            "The other of the two measures was computed: one is zero for all boxes that do not meet, the "
            "other tells near from far.",
            _agree(read, other_measure),
        ),
        Mistake(
            "cut off too late",
            "The product of the common sides was cut off at zero. Boxes apart in both directions have two "
            "negative sides, and their product is positive.",
            _measured(read, generalised, clamp="late"),
        ),
        Mistake(
            "empty part over the union",
            "What is empty in the smallest box around both was divided by the union, so the result falls "
            "below -1.",
            _measured(read, True, whole=lambda hull, either: either),
        )
        if generalised
        else Mistake(
            "over the smallest box around both",
            "The intersection was divided by the smallest box that holds both; the union is smaller.",
            _over_hull(read),
        ),
    ]
    for i, (name, (_, other)) in enumerate(FORMATS.items()):
        if name != version["format"]:
            mistakes.append(
                Mistake(
                    f"another way to write a box ({i})",
                    f"The four numbers were read as {name.split(',')[0]}. Every format is four numbers, "
                    "and nothing complains.",
                    _measured(other, generalised),
                    see=(12, "Common mistakes"),
                )
            )
    if "middle" in version["format"]:
        mistakes.append(
            Mistake(
                "sizes on both sides of the middle",
                "Each box reaches by its whole size to either side of its middle, and is twice as wide and "
                "as high as it should be.",
                _measured(lambda boxes: read(boxes * torch.tensor([1.0, 1.0, 2.0, 2.0])), generalised),
            )
        )
    if "pixels" in version["format"]:
        mistakes.append(
            Mistake(
                "the common part too small",
                "The areas count the last pixel of either direction, but what two boxes have in common was "
                "measured without it: a box does not agree fully with itself.",
                _measured(read, generalised, short=1.0),
            )
        )
    mistakes.append(
        Mistake(
            "read as corners",
            "The last pixel was taken as the edge where a box ends, so every box is one pixel too narrow and "
            "one too low."
            if "pixels" in version["format"]
            else "The four numbers were used as corners as they stand. Every format is four numbers, and "
            "nothing complains.",
            _measured(lambda boxes: boxes, generalised),
            see=(12, "Common mistakes"),
        )
    )
    return Exercise(
        reference=_agree(read, measure),
        properties=_properties_for(version["format"]),
        mistakes=mistakes,
        see=(12, "How well do two boxes agree?"),
        variants={"in loops": _in_loops(read, generalised)},
    )


def _over_hull(read):
    def agree(boxes, others):
        iou, giou = box_iou(read(boxes), read(others)), generalized_iou(read(boxes), read(others))
        return iou * (1 + giou - iou)  # the union is 1 + GIoU - IoU of the box around both

    return agree


FAMILY = Family(VERSIONS, _build)
