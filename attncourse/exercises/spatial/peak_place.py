"""Checker: where in the image the largest weight of a flat map lies, for several ways to number cells."""

import torch

from attncourse.exercises._exercise import Exercise, Family, Mistake, Property, normal

PIXELS = 8
ORDERS = {
    "row by row from the upper left corner, each row from left to right": (
        "number // n_columns",
        "number % n_columns",
        lambda number, run, n_rows: (number // run, number % run),
        1,
    ),
    "column by column from the upper left corner, each column from top to bottom": (
        "number % n_rows",
        "number // n_rows",
        lambda number, run, n_rows: (number % run, number // run),
        0,
    ),
    "row by row from the lower left corner, the lowest row first, each row from left to right": (
        "n_rows - 1 - number // n_columns",
        "number % n_columns",
        lambda number, run, n_rows: (n_rows - 1 - number // run, number % run),
        1,
    ),
}
UNITS = {
    f"$(x, y)$ in pixels, {PIXELS} by {PIXELS} of them in a cell, where 0 is the image's left (upper) edge": (
        "torch.stack([column + 0.5, row + 0.5], dim=-1) * 8",
        lambda cell, n_cells: (cell + 0.5) * PIXELS,
        (1, 0),
    ),
    "$(x, y)$ in shares of the image, where $-1$ is its left (upper) edge and 1 its right (lower) edge": (
        "torch.stack([(column + 0.5) / n_columns, (row + 0.5) / n_rows], dim=-1) * 2 - 1",
        lambda cell, n_cells: (cell + 0.5) / n_cells * 2 - 1,
        (1, 0),
    ),
    "$(y, x)$ in cells, where 0 is the image's upper (left) edge and the sides of a cell are 1": (
        "torch.stack([row, column], dim=-1) + 0.5",
        lambda cell, n_cells: cell + 0.5,
        (0, 1),
    ),
}
# What goes wrong with one unit alone: name, message, and the place that is told.
SLIPS = (
    (
        "numbers of pixels",
        "The place is half a pixel short: it counts from the middle of the first pixel, as numbers of "
        "pixels do. Here 0 is the image's edge.",
        lambda cell, n_cells: (cell + 0.5) * PIXELS - 0.5,
    ),
    (
        "outer cells at the edges",
        "The middles of the outer cells were put at -1 and 1. There lie the edges of the image, half a "
        "cell farther out.",
        lambda cell, n_cells: 2 * cell / (n_cells - 1) - 1,
    ),
)
# Neighbours differ in both words.
PAIRS = [(order, shift) for shift in range(3) for order in range(3)]
VERSIONS = tuple(
    {
        "order": order,
        "unit": unit,
        "row_code": ORDERS[order][0],
        "column_code": ORDERS[order][1],
        "result_code": UNITS[unit][0],
    }
    for order, unit in ((tuple(ORDERS)[i], tuple(UNITS)[(i + shift) % 3]) for i, shift in PAIRS)
)


def _peak(order, unit, *, exchanged=False, corner=0.0, whole=False, slip=None, other=False):
    _, _, find, along = ORDERS[order]
    _, measure, axes = UNITS[unit]
    measure = slip or measure
    if exchanged:
        axes = axes[::-1]

    def peak_place(weights, n_rows, n_columns):
        number = weights.argmax() if whole else weights.argmax(dim=-1)
        if whole:
            number = (number % weights.shape[-1]).expand(weights.shape[:-1])
        sizes = (n_rows, n_columns)
        found = find(number, sizes[1 - along if other else along], n_rows)
        return torch.stack([measure(found[axis] - corner, sizes[axis]) for axis in axes], dim=-1)

    return peak_place


def _in_a_loop(order, unit):
    _, _, find, along = ORDERS[order]
    _, measure, axes = UNITS[unit]

    def peak_place(weights, n_rows, n_columns):
        rows = []
        for row in weights.reshape(-1, n_rows * n_columns).tolist():
            sizes = (n_rows, n_columns)
            found = find(row.index(max(row)), sizes[along], n_rows)
            rows.append([measure(found[axis], sizes[axis]) for axis in axes])
        return torch.tensor(rows).reshape(*weights.shape[:-1], 2)

    return peak_place


def _properties(rng):
    def maps(*front, grid):
        weights = normal(rng, *front, grid[0] * grid[1]).softmax(dim=-1)
        return {"weights": weights, "n_rows": grid[0], "n_columns": grid[1]}

    return [
        Property("one map", [maps(grid=(3, 3)), maps(grid=(5, 5))], 1),
        Property("several maps of a square grid", [maps(7, grid=(4, 4))], 1),
        Property("a wide grid", [maps(11, grid=(3, 5))], 1),
        Property("a tall grid, and more axes in front", [maps(2, 9, grid=(7, 4))], 1),
    ]


def _build(version):
    order, unit = version["order"], version["unit"]
    others = [one for one in ORDERS if one != order]
    measures = [one for one in UNITS if one != unit and UNITS[one][2] == UNITS[unit][2]]
    return Exercise(
        reference=_peak(order, unit),
        properties=_properties,
        mistakes=[
            *(
                Mistake(
                    f"cells numbered otherwise ({i})",
                    f"The cells were taken to be numbered {one}. Here they are not; on a square grid "
                    f"such a map looks plausible.",
                    _peak(one, unit),
                )
                for i, one in enumerate(others, start=1)
            ),
            *(
                Mistake(
                    "another unit",
                    f"The cell is the right one, but its place is told as {one.replace('$', '')}.",
                    _peak(order, one),
                )
                for one in measures
            ),
            Mistake(
                "divided by the other size",
                "On a square grid all is right. Elsewhere the cell's number was divided by the number of "
                "runs, and not by the length of one.",
                _peak(order, unit, other=True),
            ),
            *(
                Mistake(name, message, _peak(order, unit, slip=slip))
                for slip_unit, (name, message, slip) in zip(UNITS, SLIPS, strict=False)
                if slip_unit == unit
            ),
            Mistake(
                "x and y exchanged",
                "The two numbers come in the other order. A row says how far down a cell lies, and that is "
                "y.",
                _peak(order, unit, exchanged=True),
            ),
            Mistake(
                "a corner instead of the middle",
                "The place is the upper left corner of the cell; its middle lies half a cell further.",
                _peak(order, unit, corner=0.5),
            ),
            Mistake(
                "one peak for all maps",
                "The largest weight was sought in all maps together, so every map got the same place.",
                _peak(order, unit, whole=True),
            ),
        ],
        see=(11, "Two scores: the caption, and the pointing"),
        variants={"in a loop": _in_a_loop(order, unit)},
    )


FAMILY = Family(VERSIONS, _build)
