"""Checker: mask and positions of a chunk of tokens under a cache, with padded texts."""

import torch

from attncourse.exercises._exercise import Exercise, Family, Mistake, Property

SIDES = {
    "left": ("in front of", "columns >= padding[:, None]"),
    "right": ("after", "columns < n_held + n_new - padding[:, None]"),
}
POLARITY = {"True": "may be seen", "False": "is hidden"}
ITSELF = {True: "sees its own column and no other", False: "sees nothing"}
RESULT = {  # by what padding sees, and what True means
    (True, "True"): "seen | (columns == queries[:, None])",
    (True, "False"): "~(seen | (columns == queries[:, None]))",
    (False, "True"): "seen",
    (False, "False"): "~seen",
}


def _version(side, visible, itself, first):
    return {
        "side": SIDES[side][0],
        "real_code": SIDES[side][1],
        "true_means": POLARITY[visible],
        "padding_sees": ITSELF[itself],
        "mask_code": RESULT[itself, visible],
        "first": str(first),
        "count_code": "real.cumsum(dim=1)" + ("" if first else " - 1"),
        "convention": {"side": side, "visible": visible == "True", "itself": itself, "first": first},
    }


VERSIONS = (
    _version("left", "True", False, 0),
    _version("right", "False", True, 1),
    _version("left", "False", True, 0),
    _version("right", "True", False, 1),
    _version("left", "True", True, 1),
)


def _answer(
    side,
    visible,
    itself,
    first,
    *,
    future=0,
    corner="last",
    hides="both",
    count="real",
    whole=False,
    zero=True,
):
    """Return mask_and_positions by conventions, with one thing wrong at a time."""

    def mask_and_positions(padding, n_held, n_new):
        n_all = n_held + n_new
        columns = torch.arange(n_all)
        real = columns >= padding[:, None] if side == "left" else columns < n_all - padding[:, None]
        asking = columns[n_held:] if corner == "last" else columns[:n_new]
        seen = (columns <= asking[:, None] + future).expand(len(padding), n_new, n_all)
        seen = torch.ones_like(seen) if whole else seen
        if hides:
            seen = seen & real[:, None, :]
            seen = seen & (real[:, n_held:, None] if hides == "both" else True)
        if itself:
            seen = seen | (columns == asking[:, None])
        positions = {
            "real": real.cumsum(dim=1)[:, n_held:],
            "columns": columns[n_held:].expand(len(padding), -1) + 1,
            "chunk": real[:, n_held:].cumsum(dim=1),
            "distance": columns[n_held:] - padding[:, None] + 1,
        }[count]
        positions = positions - 1 + first
        if zero:
            positions = positions * real[:, n_held:]
        return (seen if visible else ~seen), positions

    return mask_and_positions


def _one_by_one(convention):
    def mask_and_positions(padding, n_held, n_new):
        n_all, rows, places = n_held + n_new, [], []
        for n_padding in padding.tolist():
            left = convention["side"] == "left"
            begin, end = (n_padding, n_all) if left else (0, n_all - n_padding)
            row, place = torch.zeros(n_new, n_all, dtype=torch.bool), []
            for i in range(n_new):
                at = n_held + i
                if begin <= at < end:
                    row[i, begin : at + 1] = True
                elif convention["itself"]:
                    row[i, at] = True
                place.append(at - begin + convention["first"] if begin <= at < end else 0)
            rows.append(row if convention["visible"] else ~row)
            places.append(place)
        return torch.stack(rows), torch.tensor(places)

    return mask_and_positions


def _build(version):
    convention = version["convention"]
    turned = {key: not convention[key] for key in ("visible", "itself")}
    other_side = "right" if convention["side"] == "left" else "left"

    def properties(rng):
        def case(n_held, n_new, *padding):
            padding = rng.permutation(padding)
            return {"padding": torch.from_numpy(padding), "n_held": n_held, "n_new": n_new}

        held, new = int(rng.integers(4, 7)), int(rng.integers(3, 6))
        return [
            Property("no padding, an empty cache", [case(0, new + 2, 0, 0)], 1),
            Property("no padding, tokens held", [case(held, new, 0, 0), case(held, 1, 0, 0, 0)], 1),
            Property("padding, an empty cache", [case(0, 7, 0, 2, 5)], 2),
            Property(
                "padding, tokens held", [case(held, new, 0, 2, 1), case(held, new, 0, held + 1, 2, 1)], 2
            ),
        ]

    def wrong(**options):
        return _answer(**(convention | options))

    return Exercise(
        reference=_answer(**convention),
        properties=properties,
        mistakes=[
            Mistake(
                "mask inverted",
                "The mask says the opposite of what the exercise says that `True` means.",
                wrong(visible=turned["visible"]),
            ),
            Mistake(
                "aligned at the other corner",
                "The first new query stands beside the first key. The tokens held come before it, and it "
                "sees them all.",
                wrong(corner="first"),
            ),
            Mistake(
                "the future is seen",
                "A token of the chunk sees tokens that come after it.",
                wrong(whole=True),
            ),
            Mistake(
                "own column hidden",
                "A token sees only what stands before it, and not itself.",
                wrong(future=-1),
            )
            if not convention["itself"]
            else Mistake(
                "one token of the future", "Every token sees the one that follows it.", wrong(future=1)
            ),
            Mistake(
                "padding is seen",
                "Padding is not hidden; the mask is causal and knows nothing of it.",
                wrong(hides=""),
            ),
            Mistake(
                "padding at the other end",
                "The columns of padding are looked for at the wrong end of the texts.",
                wrong(side=other_side),
            ),
            Mistake(
                "rows of padding",
                "The mask is right for real tokens; a query that is padding sees something else than the "
                "exercise asks.",
                wrong(itself=turned["itself"]),
            ),
            Mistake(
                "positions start again",
                "Positions are counted from the beginning of the chunk: the tokens held are forgotten.",
                wrong(count="chunk"),
                see=(9, "The cache: compute each key and value once"),
            ),
            Mistake(
                "first position",
                "The first real token has the wrong number; look up with which number the positions begin.",
                wrong(first=1 - convention["first"]),
            ),
            Mistake(
                "positions of padding",
                "Real tokens are numbered well, but padding has positions other than 0.",
                wrong(zero=False, count="distance" if convention["side"] == "left" else "columns"),
            ),
            Mistake(
                "columns for positions",
                "Positions are column numbers, so that padding counts as if it were text.",
                wrong(count="columns", zero=False),
            )
            if convention["side"] == "left"
            else Mistake(
                "padding asks",
                "A query that is padding sees real tokens: only the keys were asked whether they are real.",
                wrong(hides="keys"),
            ),
        ],
        see=(9, "Stop tokens, and prompts of unequal length"),
        variants={"one by one": _one_by_one(convention)},
    )


FAMILY = Family(VERSIONS, _build)
