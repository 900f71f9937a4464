"""Checker: rotary positions in the layout, with the base and for the entries that the version chooses."""

from functools import partial

import torch

from attncourse.exercises._exercise import Exercise, Family, Mistake, Property, normal
from attncourse.positions import rotate

LAYOUTS = {
    "interleaved": (
        "entries $2i$ and $2i + 1$ form pair $i$",
        "x[..., :n_turned:2], x[..., 1:n_turned:2]",
        "-1",
    ),
    "half": (
        "entries $i$ and $i + m/2$ form pair $i$",
        "x[..., : n_turned // 2], x[..., n_turned // 2 : n_turned]",
        "-2",
    ),
}
EXTENTS = {
    False: ("all entries are turned, so $m = d_\\text{head}$", "x.shape[-1]"),
    True: (
        "only the first half of the entries is turned, so $m = d_\\text{head} / 2$; the others stay as "
        "they are",
        "x.shape[-1] // 2",
    ),
}
VERSIONS = tuple(
    {
        "layout": layout,
        "base": base,
        "partial": partial_turn,
        "pairs": LAYOUTS[layout][0],
        "pairs_code": LAYOUTS[layout][1],
        "axis": LAYOUTS[layout][2],
        "extent": EXTENTS[partial_turn][0],
        "extent_code": EXTENTS[partial_turn][1],
    }
    for layout, base, partial_turn in (
        ("interleaved", 10000, False),
        ("half", 500, True),
        ("half", 10000, False),
        ("interleaved", 500, False),
        ("half", 500, False),
        ("interleaved", 10000, True),
    )
)


def _turn(x, first, *, layout, base, part):
    """Turn some entries by the package's function, and keep the others."""
    size = x.shape[-1] // 2 if part else x.shape[-1]
    turned = rotate(x[..., :size], offset=first, base=base, layout=layout)
    return torch.cat([turned, x[..., size:]], dim=-1)


def _by_hand(
    x, first, *, layout, base, part, speeds=None, positions=None, mix=None, read=None, precise=torch.float64
):
    """Turn some entries by hand, with one step exchanged."""
    size = x.shape[-1] // 2 if part else x.shape[-1]
    hands = torch.arange(size // 2, dtype=precise)
    speed = (base ** (-2 * hands / size) if speeds is None else speeds(hands, size, x.shape[-1])).to(precise)
    places = torch.arange(x.shape[-2], dtype=precise) + first if positions is None else positions(x, first)
    angles = places[..., None].to(precise) * speed
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    order = torch.arange(size).view((-1, 2) if (read or layout) == "interleaved" else (2, -1))
    order = order if (read or layout) == "interleaved" else order.T
    a, b = x[..., order[:, 0]], x[..., order[:, 1]]
    a, b = (a * cos - b * sin, a * sin + b * cos) if mix is None else mix(a, b, cos, sin)
    turned = torch.stack([a, b], dim=-1 if layout == "interleaved" else -2).flatten(-2)
    return torch.cat([turned, x[..., size:]], dim=-1)


def _by_complex(x, first, *, layout, base, part):
    def mix(a, b, cos, sin):
        turned = torch.complex(a, b) * torch.complex(cos, sin)
        return turned.real, turned.imag

    return _by_hand(x, first, layout=layout, base=base, part=part, mix=mix)


def _properties(d_head, rng):
    def inputs(*shape, first, dtype=torch.float32):
        return {"x": normal(rng, *shape, d_head, dtype=dtype), "first": first}

    return [
        Property("one token at position 1", [inputs(1, 1, first=1)], 1),
        Property("a sequence from position 0", [inputs(2, 5, first=0)], 1),
        Property("several heads", [inputs(2, 3, 7, first=0)], 2),
        Property("tokens after a cache", [inputs(2, 3, 4, first=int(rng.integers(9, 40)))], 2),
        Property("far away", [inputs(2, 6, first=100_003)], 1),
        Property("double precision", [inputs(2, 4, first=3, dtype=torch.float64)], 1),
    ]


def _usual(layout, base, part):
    """Return the chapter's conventions as a mistake, where more than one of them is another."""
    if (layout != "half") + (base != 10000) + part < 2:
        return []
    return [
        Mistake(
            "the chapter's conventions",
            "This is how the chapter turns: its pairs, its base, all entries. Here is another model.",
            _chapter,
        )
    ]


def _chapter(x, first):
    return rotate(x, offset=first)


def _build(version):
    layout, base, part = version["layout"], version["base"], version["partial"]
    rule = {"layout": layout, "base": base, "part": part}
    by_hand = partial(_by_hand, **rule)
    other = "half" if layout == "interleaved" else "interleaved"
    extent = "only half of the entries" if not part else "all entries"
    return Exercise(
        reference=partial(_turn, **rule),
        properties=partial(_properties, 12),
        mistakes=[
            Mistake(
                "the other layout",
                "Other entries form the pairs. Models are trained with one layout and fail silently with "
                "the other.",
                partial(_turn, **rule | {"layout": other}),
                see=(6, "The right weights in the wrong layout"),
            ),
            *_usual(layout, base, part),
            Mistake(
                "read in one layout, written in the other",
                "The right pairs are turned, but their entries come back in the order of the other layout.",
                partial(by_hand, read=layout, layout=other),
                see=(6, "The right weights in the wrong layout"),
            ),
            Mistake(
                "turned backwards",
                "Each pair is turned the other way round. Scores among these vectors are right; beside "
                "keys of a cache "
                "that were turned as asked they would be wrong.",
                partial(by_hand, mix=lambda a, b, cos, sin: (a * cos + b * sin, b * cos - a * sin)),
            ),
            Mistake(
                "a sign lost",
                "Both entries of a pair get their partner with a plus: the pair is not turned, and its "
                "length changes.",
                partial(by_hand, mix=lambda a, b, cos, sin: (a * cos + b * sin, a * sin + b * cos)),
            ),
            Mistake(
                "the first entry already changed",
                "The second entry of a pair was computed from the new first entry instead of the old one.",
                partial(
                    by_hand,
                    mix=lambda a, b, cos, sin: (a * cos - b * sin, (a * cos - b * sin) * sin + b * cos),
                ),
            ),
            Mistake(
                "every call begins at 0",
                "The position of the first token is ignored, so every new token of a text stands at "
                "position 0.",
                lambda x, first: _turn(x, 0, **rule),
                see=(6, "The position that never moves"),
            ),
            Mistake(
                "one position ahead",
                "All positions are one too large. Scores would not notice as long as every key is moved "
                "as well.",
                lambda x, first: _turn(x, first + 1, **rule),
                see=(6, "The position that never moves"),
            ),
            Mistake(
                "positions along another axis",
                "The angle grows along the axis before the tokens, so all tokens of one head are turned "
                "alike.",
                partial(by_hand, positions=lambda x, first: torch.arange(x.shape[-3])[:, None] + first),
            ),
            Mistake(
                "another base",
                "The hands slow down at another rate: the base is not the one of the question.",
                partial(_turn, **rule | {"base": 500 if base == 10000 else 10000}),
            ),
            Mistake(
                "speeds for the whole head" if part else "exponent i over m",
                "The exponents are divided by the size of the head, not by the number of entries that "
                "are turned."
                if part
                else "From pair to pair the hands slow down half as fast as they should: the exponent "
                "holds i for 2i.",
                partial(by_hand, speeds=lambda i, size, d_head: base ** (-i / size)),
                see=(6, "Add something to the inputs: sines and cosines"),
            ),
            Mistake(
                "quickest hand last",
                "The exponent lacks its minus sign, so later pairs turn ever more quickly.",
                partial(by_hand, speeds=lambda i, size, d_head: base ** (2 * i / size)),
            ),
            Mistake(
                "angles in single precision",
                "Far from the beginning an angle is large, and float32 leaves too few digits behind the "
                "point.",
                partial(by_hand, precise=torch.float32),
                see=(6, "A line-up"),
            ),
            Mistake(
                "returned in double precision",
                "The angles should be float64, but the result has to come back in the dtype of x.",
                lambda x, first: _turn(x.double(), first, **rule),
            ),
            Mistake(
                f"turned {extent}",
                f"Here {extent} are turned. The question says which entries are.",
                partial(_turn, **rule | {"part": not part}),
            ),
        ],
        see=(6, "Turn the queries and keys: rotary positions"),
        variants={"with complex numbers": partial(_by_complex, **rule)},
    )


FAMILY = Family(VERSIONS, _build)
