"""Checker: a sparse mask of near and far keys, by the version's conventions."""

import torch

from attncourse.exercises._exercise import Exercise, Family, Mistake, Property

NEAR = {
    "back": (
        "the last `window` places, its own included",
        "back < window",
        lambda back, window: (back >= 0) & (back < window),
    ),
    "sides": (
        "every place at most `window` away on either side, and its own",
        "back.abs() <= window",
        lambda back, window: (back <= window) & (-window <= back),
    ),
}
FAR = {
    "first": (
        "the first `far` keys of the sequence",
        "keys < far",
        lambda back, keys, far: keys < far,
    ),
    "last": (
        "the last `far` keys of the sequence",
        "keys >= n_keys - far",
        lambda back, keys, far: keys > keys.max() - far,
    ),
    "every": (
        "every `far`-th key of the sequence, beginning with key 0",
        "keys % far == 0",
        lambda back, keys, far: keys.remainder(far) == 0,
    ),
    "strided": (
        "every key whose distance from its own place is a multiple of `far`",
        "back % far == 0",
        lambda back, keys, far: back.remainder(far) == 0,
    ),
}
FUTURE = {
    True: "Far or near, a query never sees a key after its own place.",
    False: "Far keys are seen wherever they stand, before or after the query.",
}
CORNER = {
    "last": ("the last query stands beside the last key", " + n_keys - n_queries"),
    "first": ("the first query stands beside the first key", ""),
}
POLARITY = {True: "may be seen", False: "is hidden"}
RESULT = {  # by whether the future is hidden, and what True means
    (True, True): "seen & (back >= 0)",
    (True, False): "~(seen & (back >= 0))",
    (False, True): "seen",
    (False, False): "~seen",
}


def _version(near, far, causal, corner, visible):
    return {
        "near": NEAR[near][0],
        "near_code": NEAR[near][1],
        "far_keys": FAR[far][0],
        "far_code": FAR[far][1],
        "future": FUTURE[causal],
        "corner": CORNER[corner][0],
        "shift": CORNER[corner][1],
        "true_means": POLARITY[visible],
        "mask_code": RESULT[causal, visible],
        "rules": {"near": near, "far": far, "causal": causal, "corner": corner, "visible": visible},
    }


VERSIONS = (
    _version("back", "first", True, "last", True),
    _version("sides", "every", False, "last", False),
    _version("back", "strided", True, "first", True),
    _version("sides", "last", False, "first", False),
    _version("back", "every", True, "last", False),
)


def _mask(near, far, causal, corner, visible, *, wider=0, further=0, use="both", turned=False):
    def sparse_mask(n_queries, n_keys, window, far_keys):
        places = torch.arange(n_queries) + (n_keys - n_queries if corner == "last" else 0)
        keys = torch.arange(n_keys)
        back = places[:, None] - keys[None, :]
        back = -back if turned else back
        close = NEAR[near][2](back, window + wider)
        away = FAR[far][2](back, keys.expand_as(back), far_keys + further)
        seen = {"both": close | away, "and": close & away, "near": close, "far": away}[use]
        seen = seen & (back >= 0) if causal else seen
        return seen if visible else ~seen

    return sparse_mask


def _cell_by_cell(rules):
    def sparse_mask(n_queries, n_keys, window, far):
        rows = []
        for i in range(n_queries):
            place = i + (n_keys - n_queries if rules["corner"] == "last" else 0)
            row = []
            for j in range(n_keys):
                close = 0 <= place - j < window if rules["near"] == "back" else abs(place - j) <= window
                distant = {
                    "first": j < far,
                    "last": n_keys - j <= far,
                    "every": j % far == 0,
                    "strided": (place - j) % far == 0,
                }[rules["far"]]
                seen = (close or distant) and (j <= place or not rules["causal"])
                row.append(seen == rules["visible"])
            rows.append(row)
        return torch.tensor(rows)

    return sparse_mask


def _build(version):
    rules = version["rules"]

    def properties(rng):
        def sizes(n_queries, n_keys, window, far):
            more = int(rng.integers(0, 3))
            return {"n_queries": n_queries + more, "n_keys": n_keys + more, "window": window, "far": far}

        return [
            Property(
                "as many queries as keys", [sizes(10, 10, 2, 3), sizes(11, 11, 3, 4), sizes(6, 6, 2, 1)], 1
            ),
            Property(
                "more keys than queries", [sizes(5, 12, 2, 3), sizes(1, 13, 4, 5), sizes(6, 11, 1, 4)], 1.5
            ),
            Property("more queries than keys", [sizes(12, 7, 2, 3), sizes(11, 6, 1, 2)], 1.5),
        ]

    def wrong(**options):
        return _mask(**(rules | options))

    off_by_one = (
        "The window has one place too many: the query's own place counts."
        if rules["near"] == "back"
        else "The window is one place too narrow: the query's own place comes on top of those beside it."
    )
    future = (
        "Some keys after the query's place are seen; neither near nor far ones should be."
        if rules["causal"]
        else "Keys after the query's place are hidden; this rule looks to both sides."
    )
    other_far = {"first": "last", "last": "first", "every": "strided", "strided": "every"}[rules["far"]]
    confused = {
        "first": "The far keys are taken from the end of the sequence.",
        "last": "The far keys are taken from the beginning of the sequence.",
        "every": "Far keys are counted from the query's place; they should be the same for all queries.",
        "strided": "Far keys are counted from key 0; they should be counted from the query's own place.",
    }[rules["far"]]
    return Exercise(
        reference=_mask(**rules),
        properties=properties,
        mistakes=[
            Mistake(
                "mask inverted",
                "The mask says the opposite of what the exercise says that `True` means.",
                wrong(visible=not rules["visible"]),
            ),
            Mistake(
                "aligned at the other corner",
                "With as many queries as keys it is right. Otherwise the queries stand at other places than "
                "asked.",
                wrong(corner="first" if rules["corner"] == "last" else "last"),
            ),
            Mistake("window by one", off_by_one, wrong(wider=1 if rules["near"] == "back" else -1)),
            Mistake("wrong about the future", future, wrong(causal=not rules["causal"])),
            Mistake("other far keys", confused, wrong(far=other_far)),
            Mistake(
                "far by one", "There is one far key too many, or the gaps are too wide.", wrong(further=1)
            ),
            Mistake(
                "no far keys", "Only the neighbours are seen; the far keys are missing.", wrong(use="near")
            ),
            Mistake(
                "no neighbours", "Only the far keys are seen; the neighbours are missing.", wrong(use="far")
            ),
            Mistake(
                "and for or",
                "A key must be near *and* far to be seen. Either is enough: what a mask allows is added.",
                wrong(use="and"),
            ),
        ],
        see=(10, "Which places may be seen?"),
        variants={"cell by cell": _cell_by_cell(rules)},
    )


FAMILY = Family(VERSIONS, _build)
