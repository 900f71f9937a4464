"""Checker: a mask in the form that another library wants."""

import math

import torch

from attncourse.exercises._exercise import Exercise, Family, Mistake, Property
from attncourse.porting import to_torch_mask

VERSIONS = (
    {
        "form": "a boolean mask, `True` = hidden, of shape `(batch * n_heads, n_queries, n_keys)`",
        "order": "All heads of the first sequence come first, then all heads of the second, and so on.",
        "code": "(~mask).expand(-1, n_heads, -1, -1).flatten(0, 1)",
        "why": "`expand` repeats every sequence's mask for its heads, and `flatten` then lays "
        "sequences and heads in one row, sequences outside.",
        "shown": False,
        "hidden": True,
        "dtype": torch.bool,
        "layout": "sequences outside",
    },
    {
        "form": "a mask of float32 numbers that are added to the scores, of shape `(n_heads * batch, "
        "n_queries, n_keys)`: 0 where a query may attend, $-\\infty$ where it may not",
        "order": "All sequences of the first head come first, then all sequences of the second, and so on.",
        "code": "torch.zeros(mask.shape).masked_fill(~mask, -torch.inf).repeat(\n"
        "        n_heads, 1, 1, 1\n    ).flatten(0, 1)",
        "why": "Heads are outside here, so the whole batch is repeated as a block. "
        "Zero times minus infinity would be NaN, which is why the numbers are filled in and not multiplied.",
        "shown": 0.0,
        "hidden": -math.inf,
        "dtype": torch.float32,
        "layout": "heads outside",
    },
    {
        "form": "a mask of float32 numbers, 1 where a query may attend and 0 where it may not, of shape "
        "`(batch, n_queries, n_keys)`",
        "order": "One mask serves all heads of a sequence.",
        "code": "mask[:, 0].to(torch.float32)",
        "why": "The heads' axis has length 1 and goes; the library brings its own.",
        "shown": 1.0,
        "hidden": 0.0,
        "dtype": torch.float32,
        "layout": "no heads",
    },
    {
        "form": "a boolean mask, `True` = may attend, of shape `(n_keys, n_queries, batch, n_heads)`",
        "order": "This library keeps tokens first, and keys before queries.",
        "code": "mask.expand(-1, n_heads, -1, -1).permute(3, 2, 0, 1)",
        "why": "No number changes, only the order of the axes; `permute` names for every new "
        "axis the old one.",
        "shown": True,
        "hidden": False,
        "dtype": torch.bool,
        "layout": "tokens first",
    },
)
LAYOUTS = {
    "sequences outside": lambda mask, n_heads: mask.repeat_interleave(n_heads, dim=1).flatten(0, 1),
    "heads outside": lambda mask, n_heads: (
        mask.repeat_interleave(n_heads, dim=1).transpose(0, 1).flatten(0, 1)
    ),
    "no heads": lambda mask, n_heads: mask.squeeze(1),
    "tokens first": lambda mask, n_heads: mask.repeat_interleave(n_heads, dim=1).movedim((2, 3), (1, 0)),
    "one for all heads": lambda mask, n_heads: mask.squeeze(1),
    "four axes": lambda mask, n_heads: mask.repeat_interleave(n_heads, dim=1),
    "heads before sequences": lambda mask, n_heads: mask.repeat_interleave(n_heads, dim=1).permute(
        3, 2, 1, 0
    ),
}


def _form(layout, shown, hidden, dtype):
    def their_mask(mask, n_heads):
        filled = torch.where(mask, torch.tensor(shown, dtype=dtype), torch.tensor(hidden, dtype=dtype))
        return LAYOUTS[layout](filled, n_heads)

    return their_mask


def _of_package(mask, n_heads):
    batch, _, n_queries, n_keys = mask.shape
    return to_torch_mask(mask, (batch, n_heads, n_queries, n_keys))


def _transposed(layout, shown, hidden, dtype):
    def their_mask(mask, n_heads):
        return _form(layout, shown, hidden, dtype)(mask.mT, n_heads)

    return their_mask


def _of_the_first(layout, shown, hidden, dtype):
    def their_mask(mask, n_heads):
        first = mask[:1].expand_as(mask)
        return _form(layout, shown, hidden, dtype)(first, n_heads)

    return their_mask


def _opened(layout, shown, hidden, dtype):
    def their_mask(mask, n_heads):
        return _form(layout, shown, hidden, dtype)(mask | ~mask.any(dim=-1, keepdim=True), n_heads)

    return their_mask


def _build(version):
    layout, shown, hidden, dtype = (version[key] for key in ("layout", "shown", "hidden", "dtype"))

    def properties(rng):
        def case(batch, n_queries, n_keys, n_heads):
            mask = torch.from_numpy(rng.random((batch, 1, n_queries, n_keys)) < 0.5)
            mask[0, 0, 0, :2] = torch.tensor([True, False])
            mask[-1, 0, 0, :2] = torch.tensor([False, True])
            return {"mask": mask, "n_heads": n_heads}

        empty = case(3, 4, 5, 2)
        empty["mask"][1, :, 2] = False
        return [
            Property("one sequence, one head", [case(1, 3, 5, 1)], 1),
            Property("several heads", [case(1, 4, 3, 5)], 1),
            Property("several sequences", [case(3, 4, 6, 2), case(2, 3, 3, 4)], 2),
            Property("a query that may attend nowhere", [empty], 1),
        ]

    mistakes = [
        Mistake(
            "polarity",
            "What should be shown is hidden, and what should be hidden is shown. It trains, and it "
            "reads the wrong tokens.",
            _form(layout, hidden, shown, dtype),
        ),
        Mistake(
            "the first sequence's mask for all",
            "Every sequence gets the mask of the first one, so the others may read their padding.",
            _of_the_first(layout, shown, hidden, dtype),
        ),
        Mistake(
            "rows without keys opened",
            "A query that may attend nowhere is allowed to read everything. That may be a good idea before "
            "a call, but it is another mask.",
            _opened(layout, shown, hidden, dtype),
            see=(14, "A query that may attend nowhere"),
        ),
        Mistake(
            "queries and keys exchanged",
            "Tokens come first, but queries stand before keys."
            if layout == "tokens first"
            else "Rows and columns have changed places: a key's row now says which queries may read it.",
            _transposed(layout, shown, hidden, dtype),
        ),
    ]

    def also(name, message, layout=layout, shown=shown, hidden=hidden, dtype=dtype):
        mistakes.append(Mistake(name, message, _form(layout, shown, hidden, dtype)))

    if dtype == torch.bool:
        also(
            "numbers instead of truths",
            "The mask holds numbers. A library that also takes numbers adds them to the scores, and "
            "1 hides nothing.",
            shown=float(shown),
            hidden=float(hidden),
            dtype=torch.float32,
        )
    if hidden == -math.inf:
        also(
            "ones and zeros, to be added",
            "0 and 1 are added to the scores here: nothing is hidden, and what may be seen counts e "
            "times as much.",
            shown=1.0,
            hidden=0.0,
        )
        also(
            "a large number",
            "Hidden scores get a large finite number. What was asked for is exact.",
            hidden=-1e9,
        )
    if layout == "no heads":
        also(
            "truths instead of numbers",
            "The mask is boolean. This library was promised numbers, and reads truths by a rule of its own.",
            shown=True,
            hidden=False,
            dtype=torch.bool,
        )
        also(
            "numbers to be added",
            "0 and minus infinity belong to a library that adds them. This one asks of a number whether it "
            "is zero, and minus infinity is not.",
            shown=0.0,
            hidden=-math.inf,
        )
    if layout in ("sequences outside", "heads outside"):
        rival = "heads outside" if layout == "sequences outside" else "sequences outside"
        also(
            "sequences and heads the wrong way round",
            "The shape is right, but the order of the first axis is not: most heads get another "
            "sequence's mask.",
            layout=rival,
        )
        also(
            "four axes",
            "Sequences and heads have an axis each; this library wants them in one.",
            layout="four axes",
        )
        also(
            "no heads",
            "There is one mask for each sequence, and this library wants one for each head of each sequence.",
            layout="one for all heads",
        )
    if layout == "no heads":
        also(
            "four axes",
            "The heads are still there. This library brings its own axis for them.",
            layout="four axes",
        )
        also(
            "one for each head",
            "The mask is repeated for every head. This library counts sequences on its first axis.",
            layout="sequences outside",
        )
    if layout == "tokens first":
        also(
            "axes left", "The axes still stand in our order: batch, heads, queries, keys.", layout="four axes"
        )
        also(
            "axes turned round",
            "All four axes are turned round, so that heads stand before sequences.",
            layout="heads before sequences",
        )
    return Exercise(
        reference=_of_package if layout == "sequences outside" else _form(layout, shown, hidden, dtype),
        properties=properties,
        mistakes=mistakes,
        see=(14, "Where the same words mean something else"),
        variants={"filled, then laid out": _form(layout, shown, hidden, dtype)},
    )


FAMILY = Family(VERSIONS, _build)
