"""Checker: a learned number for each distance, with a direction and a far end that the version chooses."""

import math
from functools import partial

import torch

from attncourse.exercises._exercise import Exercise, Family, Mistake, Property, normal
from attncourse.position_biases import relative_distances

DIRECTIONS = {
    "key minus query": ("before", "after", "keys - queries"),
    "query minus key": ("after", "before", "queries - keys"),
}
FAR = {
    "clipped": (
        "farther keys get the number of distance $K$ on their side",
        "bias",
    ),
    "nothing added": (
        "farther keys get 0, so that their scores stay as they are",
        "torch.where(distances.abs() <= reach, bias, 0)",
    ),
    "hidden": (
        "farther keys get minus infinity, which hides them",
        "torch.where(distances.abs() <= reach, bias, -torch.inf)",
    ),
}
VERSIONS = tuple(
    {
        "direction": direction,
        "far": far,
        "left": DIRECTIONS[direction][0],
        "right": DIRECTIONS[direction][1],
        "distance_code": DIRECTIONS[direction][2],
        "far_words": FAR[far][0],
        "far_code": FAR[far][1],
    }
    for direction, far in (
        ("key minus query", "nothing added"),
        ("query minus key", "clipped"),
        ("key minus query", "hidden"),
        ("query minus key", "nothing added"),
        ("key minus query", "clipped"),
        ("query minus key", "hidden"),
    )
)


def _bias(table, n_queries, n_keys, *, sign, far, top_left=False, shorter=0, pick=None):
    """Return the numbers of the table at the distances, with one step exchanged."""
    width = table.shape[-1] // 2
    reach = width - shorter
    distances = sign * relative_distances(n_queries, n_keys)
    if top_left:
        distances = sign * (torch.arange(n_keys) - torch.arange(n_queries)[:, None])
    columns = distances.clamp(-reach, reach) + width
    bias = table[:, columns] if pick is None else pick(table, columns, width)
    if far == "clipped":
        return bias
    return torch.where(distances.abs() <= reach, bias, -math.inf if far == "hidden" else 0.0)


def _in_loops(table, n_queries, n_keys, *, sign, far):
    width = (table.shape[1] - 1) // 2
    bias = torch.zeros(table.shape[0], n_queries, n_keys)
    for i in range(n_queries):
        for j in range(n_keys):
            distance = sign * (j - i - n_keys + n_queries)
            if abs(distance) <= width or far == "clipped":
                bias[:, i, j] = table[:, width + max(-width, min(width, distance))]
            elif far == "hidden":
                bias[:, i, j] = -math.inf
    return bias


def _wraps(table, columns, width):
    return table[:, columns - width]


def _without_sign(table, columns, width):
    return table[:, (columns - width).abs() + width]


def _first_head(table, columns, width):
    return table[:1, columns].expand(table.shape[0], *columns.shape)


def _properties(rng):
    def inputs(n_heads, width, n_queries, n_keys):
        return {"table": normal(rng, n_heads, 2 * width + 1), "n_queries": n_queries, "n_keys": n_keys}

    return [
        Property("one token", [inputs(2, 3, 1, 1)], 0.5),
        Property("all keys within reach", [inputs(2, 5, 4, 4), inputs(3, 4, 5, 5)], 2),
        Property("keys beyond reach", [inputs(2, 3, 9, 9), inputs(4, 1, 6, 6)], 2),
        Property("queries after a cache", [inputs(2, 8, 3, 7), inputs(3, 2, 1, 6)], 2),
    ]


def _build(version):
    sign, far = (1 if version["direction"] == "key minus query" else -1), version["far"]
    rule = {"sign": sign, "far": far}
    by_rule = partial(_bias, **rule)
    messages = {
        "clipped": "Keys beyond the reach get the number of the farthest distance in the table.",
        "nothing added": "Keys beyond the reach get 0, as if nothing were known of them.",
        "hidden": "Keys beyond the reach are hidden.",
    }
    here = "Change the scores: relative positions"
    return Exercise(
        reference=by_rule,
        properties=_properties,
        mistakes=[
            Mistake(
                "the direction turned round",
                "Keys before the query get the numbers of keys after it. In a symmetric table nobody "
                "would notice.",
                partial(_bias, **rule | {"sign": -sign}),
            ),
            *(
                Mistake(
                    f"far keys: {other}",
                    f"{messages[other]} The question has another rule for them.",
                    partial(_bias, **rule | {"far": other}),
                )
                for other in FAR
                if other != far
            ),
            Mistake(
                "the first query beside the first key",
                "Distances are counted as if query and key began together; behind a cache every query "
                "stands too far left.",
                partial(by_rule, top_left=True),
                see=(6, "The position that never moves"),
            ),
            Mistake(
                "distance used as an index",
                "The distance itself chooses the column, so distance 0 takes the first one and negative "
                "distances "
                "count from the end of the table. Python raises no error there.",
                partial(by_rule, pick=_wraps),
            ),
            Mistake(
                "reach one too short",
                "The last column on either side is never used: distance K is already treated as too far.",
                partial(by_rule, shorter=1),
            ),
            Mistake(
                "the sign of the distance lost",
                "Keys before and after the query get the same number.",
                partial(by_rule, pick=_without_sign),
            ),
            Mistake(
                "every head alike",
                "All heads get the numbers of the first one.",
                partial(by_rule, pick=_first_head),
            ),
            Mistake(
                "heads last",
                "The numbers are right, but the axis of the heads stands behind queries and keys.",
                lambda *inputs: by_rule(*inputs).movedim(0, -1),
            ),
            Mistake(
                "queries as columns",
                "Rows and columns are exchanged: a bias has one row for each query.",
                lambda *inputs: by_rule(*inputs).transpose(-2, -1),
            ),
        ],
        see=(6, here),
        variants={"in loops": partial(_in_loops, **rule)},
    )


FAMILY = Family(VERSIONS, _build)
