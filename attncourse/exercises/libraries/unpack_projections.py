"""Checker: cut one array of query, key and value projections apart, in the layout of the version."""

import torch

from attncourse.exercises._exercise import Exercise, Family, Mistake, Property, normal

STACKED = (
    "sizes = [n_heads * d_head, n_kv_heads * d_head, n_kv_heads * d_head]\n"
    "        return x.split(sizes)  # query, key, value"
)
STACKED_VALUE_FIRST = (
    "sizes = [n_heads * d_head, n_kv_heads * d_head, n_kv_heads * d_head]\n"
    "        query, value, key = x.split(sizes)\n"
    "        return query, key, value"
)
GROUPS = (
    "shared = n_heads // n_kv_heads\n"
    "        group = x.unflatten(0, (n_kv_heads, shared + 2, d_head))\n"
    "        cut = group[:, :shared], group[:, shared : shared + 1], group[:, shared + 1 :]\n"
    "        return [one.flatten(0, 2) for one in cut]"
)
GROUPS_KEYS_FIRST = (
    "shared = n_heads // n_kv_heads\n"
    "        group = x.unflatten(0, (n_kv_heads, shared + 2, d_head))\n"
    "        cut = group[:, 2:], group[:, :1], group[:, 1:2]\n"
    "        return [one.flatten(0, 2) for one in cut]"
)
ROWS = "one row for each feature that comes out, shape `(d_out, d_in)`, for use as `x @ weight.T + bias`"
COLUMNS = "one column for each feature that comes out, shape `(d_in, d_out)`, for use as `x @ weight + bias`"
VERSIONS = (
    {
        "matrix": ROWS,
        "order": "First come all query heads, then all key heads, then all value heads.",
        "rows_code": "weight",
        "cut_code": STACKED,
        "transposed": False,
        "layout": "stacked",
    },
    {
        "matrix": COLUMNS,
        "order": "First come all query heads, then all value heads, then all key heads.",
        "rows_code": "weight.T",
        "cut_code": STACKED_VALUE_FIRST,
        "transposed": True,
        "layout": "stacked, value before key",
    },
    {
        "matrix": ROWS,
        "order": "The features come in groups, one for each key-value head: first the query heads "
        "that read this key head, in order, then the key head, then its value head.",
        "rows_code": "weight",
        "cut_code": GROUPS,
        "transposed": False,
        "layout": "groups",
    },
    {
        "matrix": COLUMNS,
        "order": "The features come in groups, one for each key-value head: first the key head, "
        "then its value head, then the query heads that read them, in order.",
        "rows_code": "weight.T",
        "cut_code": GROUPS_KEYS_FIRST,
        "transposed": True,
        "layout": "groups, keys first",
    },
)


def _kinds(layout, n_heads, n_kv_heads):
    """Return for every head in turn whether it belongs to the query, the key or the value."""
    shared = n_heads // n_kv_heads
    return {
        "stacked": [*("q" * n_heads), *("k" * n_kv_heads), *("v" * n_kv_heads)],
        "stacked, value before key": [*("q" * n_heads), *("v" * n_kv_heads), *("k" * n_kv_heads)],
        "groups": [*("q" * shared), "k", "v"] * n_kv_heads,
        "groups, keys first": ["k", "v", *("q" * shared)] * n_kv_heads,
        "groups, value before key": [*("q" * shared), "v", "k"] * n_kv_heads,
        "groups, values first": ["v", "k", *("q" * shared)] * n_kv_heads,
        "one after another": ["q", "k", "v"] * n_kv_heads + ["q"] * (n_heads - n_kv_heads),
    }[layout]


def _places(layout, n_heads, n_kv_heads, d_head):
    """Return the places of the features of query, key and value, as lists of indices."""
    features = [kind for kind in _kinds(layout, n_heads, n_kv_heads) for _ in range(d_head)]
    return [[i for i, kind in enumerate(features) if kind == wanted] for wanted in "qkv"]


def _head_by_head(layout, transposed):
    def unpack(weight, bias, n_heads, n_kv_heads):
        kinds = _kinds(layout, n_heads, n_kv_heads)
        cut = [(weight.T if transposed else weight).chunk(len(kinds)), bias.chunk(len(kinds))]
        return tuple(
            tuple(torch.cat([one for one, kind in zip(x, kinds, strict=True) if kind == wanted]) for x in cut)
            for wanted in "qkv"
        )

    return unpack


def _cut(layout, transposed, *, bias_layout=None, turned=False, dealt=False):
    def unpack(weight, bias, n_heads, n_kv_heads):
        rows = weight.T if transposed else weight
        d_head = len(bias) // (n_heads + 2 * n_kv_heads)
        if dealt:
            rows, bias = (x.unflatten(0, (d_head, -1)).transpose(0, 1).flatten(0, 1) for x in (rows, bias))
        places = _places(layout, n_heads, n_kv_heads, d_head)
        bias_places = _places(bias_layout or layout, n_heads, n_kv_heads, d_head)
        weights = [rows[place].T if turned else rows[place] for place in places]
        return tuple((one, bias[place]) for one, place in zip(weights, bias_places, strict=True))

    return unpack


def _repeated(layout, transposed):
    def unpack(weight, bias, n_heads, n_kv_heads):
        query, *others = _cut(layout, transposed)(weight, bias, n_heads, n_kv_heads)
        d_head, times = len(query[1]) // n_heads, n_heads // n_kv_heads
        heads = [[x.split(d_head) for x in pair] for pair in others]
        full = [tuple(torch.cat([head for head in x for _ in range(times)]) for x in pair) for pair in heads]
        return query, *full

    return unpack


def _thirds(transposed):
    def unpack(weight, bias, n_heads, n_kv_heads):
        rows = weight.T if transposed else weight
        return tuple(zip(rows.chunk(3), bias.chunk(3), strict=True))

    return unpack


def _without_transpose(layout):
    def unpack(weight, bias, n_heads, n_kv_heads):
        rows = weight.reshape(len(bias), -1)
        return _cut(layout, False)(rows, bias, n_heads, n_kv_heads)

    return unpack


def _build(version):
    layout, transposed = version["layout"], version["transposed"]

    def properties(rng):
        def case(n_heads, n_kv_heads, d_head, d_in, dtype=torch.float32):
            n_out = (n_heads + 2 * n_kv_heads) * d_head
            shape = (d_in, n_out) if transposed else (n_out, d_in)
            return {
                "weight": normal(rng, *shape, dtype=dtype),
                "bias": normal(rng, n_out, dtype=dtype),
                "n_heads": n_heads,
                "n_kv_heads": n_kv_heads,
            }

        return [
            Property("one head", [case(1, 1, 4, 7)], 1),
            Property("as many key-value heads as heads", [case(3, 3, 5, 11), case(2, 2, 6, 12)], 2),
            Property("fewer key-value heads", [case(6, 2, 3, 13), case(4, 2, 5, 6)], 2),
            Property("a square weight", [case(6, 3, 2, 24)], 1),
            Property("one key-value head, double precision", [case(5, 1, 3, 4, torch.float64)], 1),
        ]

    exchanged = {
        "stacked": "stacked, value before key",
        "stacked, value before key": "stacked",
        "groups": "groups, value before key",
        "groups, keys first": "groups, values first",
    }[layout]
    mistakes = [
        Mistake(
            "key and value exchanged",
            "The key's features are returned as the value's and the value's as the key's. The "
            "shapes agree, so nothing else tells.",
            _cut(exchanged, transposed),
        ),
        Mistake(
            "turned round",
            "The three weights come out with the features that come in as rows; what is wanted has one row "
            "for each feature that comes out.",
            _cut(layout, transposed, turned=True),
        ),
        Mistake(
            "key and value heads repeated",
            "Every key head and value head is there once for each query head that reads it. The layer does "
            "that when it is called; here it keeps each head once.",
            _repeated(layout, transposed),
        ),
        Mistake(
            "features dealt out like cards",
            "Every d_head-th feature is taken for a head. A head's features lie side by side.",
            _cut(layout, transposed, dealt=True),
        ),
        Mistake(
            "axes read instead of exchanged" if transposed else "axes exchanged by reading",
            "The numbers are read in another shape, which fits and is not the transpose."
            if transposed
            else "The weight is turned and read back by a reshape; it should stay as it is.",
            _without_transpose(layout) if transposed else _twice_reshaped(layout),
        ),
    ]
    if layout.startswith("groups"):
        mistakes += [
            Mistake(
                "all queries first",
                "The array is cut into a run of queries, a run of keys and a run of values. Here "
                "each group has its own three.",
                _cut("stacked", transposed),
            ),
            Mistake(
                "bias cut otherwise",
                "The weights are right. The biases lie in the same order as the features, and were "
                "cut as if they did not.",
                _cut(layout, transposed, bias_layout="stacked"),
            ),
            Mistake(
                "the other end of the group",
                "Each group is cut at the wrong end: keys and values stand on the other side of its queries.",
                _cut("groups, keys first" if layout == "groups" else "groups", transposed),
            ),
            Mistake(
                "one query for each key",
                "Query, key and value take turns, head by head, as if no heads shared a key.",
                _cut("one after another", transposed),
            ),
        ]
    else:
        mistakes += [
            Mistake(
                "three equal parts",
                "The array is cut into thirds. With fewer key-value heads the query's part is "
                "larger than the others.",
                _thirds(transposed)
                if layout == "stacked"
                else lambda *inputs: tuple(_thirds(transposed)(*inputs)[i] for i in (0, 2, 1)),
            ),
            Mistake(
                "cut by groups",
                "The array is cut into groups of queries, key and value. Here all queries come first.",
                _cut("groups", transposed),
            ),
            Mistake(
                "bias cut otherwise",
                "The weights are right. The biases lie in the same order as the features, and were "
                "cut as if they did not.",
                _cut(layout, transposed, bias_layout="groups"),
            ),
        ]
    return Exercise(
        reference=_cut(layout, transposed),
        properties=properties,
        mistakes=mistakes,
        see=(14, "Where a weight lives"),
        variants={"head by head": _head_by_head(layout, transposed)},
    )


def _twice_reshaped(layout):
    def unpack(weight, bias, n_heads, n_kv_heads):
        return _cut(layout, False)(weight.T.reshape(weight.shape), bias, n_heads, n_kv_heads)

    return unpack


FAMILY = Family(VERSIONS, _build)
