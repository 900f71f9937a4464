"""Checker: masks that let a query see what is near, by a rule and an alignment that the version chooses."""

from functools import partial

import torch

from attncourse.exercises._exercise import Exercise, Family, Mistake, Property
from attncourse.masks import window_mask

# What a rule says about a key that stands `back` positions before the query (negative: after it).
RULES = {
    "both sides": lambda back, reach: abs(back) <= reach,
    "looking back": lambda back, reach: 0 <= back <= reach,
    "only before": lambda back, reach: 1 <= back <= reach,
    "in steps": lambda back, reach: back >= 0 and back % reach == 0,
}
WORDS = {
    "both sides": (
        "at most `reach` positions away from the query's own, before or after it; its own counts too",
        "back.abs() <= reach",
    ),
    "looking back": (
        "at the query's own position or one of the `reach` positions before it",
        "(back >= 0) & (back <= reach)",
    ),
    "only before": (
        "at one of the `reach` positions before the query's own; its own is hidden",
        "(back >= 1) & (back <= reach)",
    ),
    "in steps": (
        "at the query's own position, or `reach` positions before it, or twice `reach`, and so on",
        "(back >= 0) & (back % reach == 0)",
    ),
}
ALIGNMENTS = {
    "last": ("the last query stands beside the last key", " + n_keys - n_queries"),
    "first": ("the first query stands beside the first key", ""),
}
VERSIONS = tuple(
    {
        "rule": rule,
        "alignment": alignment,
        "rule_words": WORDS[rule][0],
        "rule_code": WORDS[rule][1],
        "alignment_words": ALIGNMENTS[alignment][0],
        "alignment_code": ALIGNMENTS[alignment][1],
    }
    for rule, alignment in (
        ("both sides", "last"),
        ("only before", "first"),
        ("in steps", "last"),
        ("looking back", "first"),
        ("both sides", "first"),
        ("only before", "last"),
        ("in steps", "first"),
        ("looking back", "last"),
    )
)


def _mask(rule, first, n_queries, n_keys, reach):
    """Decide for every pair; ``first`` names the position of the first query among the keys."""
    start = n_keys - n_queries if first == "last" else 0
    return torch.tensor([[bool(rule(start + i - j, reach)) for j in range(n_keys)] for i in range(n_queries)])


def _properties(rng):
    def inputs(n_queries, n_keys, reach):
        return {"n_queries": n_queries, "n_keys": n_keys, "reach": reach}

    more = int(rng.integers(0, 3))
    return [
        Property("as many queries as keys", [inputs(7 + more, 7 + more, 2), inputs(6, 6, 3)], 2),
        Property("fewer queries than keys", [inputs(3, 8 + more, 2), inputs(1, 5 + more, 2)], 2),
        Property("more queries than keys", [inputs(8, 5 + more, 2)], 1),
        Property("a reach of one, or beyond the keys", [inputs(5, 5 + more, 1), inputs(3, 4, 9)], 2),
    ]


OTHER_RULES = {
    "own position counted": (
        "The query's own position is treated as if it used up one of the `reach` places.",
        {
            "both sides": lambda back, reach: abs(back) < reach,
            "looking back": lambda back, reach: 0 <= back < reach,
            "only before": lambda back, reach: 1 <= back < reach,
        },
    ),
    "one position too many": (
        "The window reaches one position farther back than `reach` says.",
        {
            "both sides": lambda back, reach: -reach <= back <= reach + 1,
            "looking back": lambda back, reach: 0 <= back <= reach + 1,
            "only before": lambda back, reach: 1 <= back <= reach + 1,
        },
    ),
    "own position left out": (
        "The query cannot see its own position, which the rule includes.",
        {
            "both sides": lambda back, reach: 1 <= abs(back) <= reach,
            "looking back": RULES["only before"],
            "in steps": lambda back, reach: back >= 1 and back % reach == 0,
        },
    ),
    "own position visible": (
        "The query sees its own position, which the rule hides.",
        {"only before": RULES["looking back"]},
    ),
    "the past is not bounded": (
        "The future is hidden, but the query sees everything before it: this is the causal mask.",
        {
            "both sides": lambda back, reach: back >= 0,
            "looking back": lambda back, reach: back >= 0,
            "only before": lambda back, reach: back >= 1,
            "in steps": lambda back, reach: back >= 0,
        },
    ),
    "to both sides": (
        "Distances lost their sign, so the query sees what comes after it as well.",
        {
            "looking back": RULES["both sides"],
            "only before": lambda back, reach: 1 <= abs(back) <= reach,
            "in steps": lambda back, reach: back % reach == 0,
        },
    ),
    "into the future": (
        "The direction is turned round: the query sees what comes after it, where the rule speaks of "
        "what comes before.",
        {
            name: partial(lambda rule, back, reach: rule(-back, reach), RULES[name])
            for name in ("looking back", "only before", "in steps")
        },
    ),
    "open towards the past": (
        "Only keys after the query are kept within reach. Before it there is no limit: a sign was "
        "compared, not a size.",
        {"both sides": lambda back, reach: back >= -reach},
    ),
    "open towards the future": (
        "What comes after the query is not limited: only the distance back was compared with the reach.",
        {name: lambda back, reach: back <= reach for name in ("both sides", "looking back")},
    ),
    "to one side only": (
        "Only what stands before the query is visible; the rule speaks of both sides.",
        {"both sides": RULES["looking back"]},
    ),
    "a window instead of steps": (
        "Every position within reach is visible, where the rule leaves steps between them.",
        {"in steps": RULES["looking back"]},
    ),
    "steps counted from the first key": (
        "Whether a key is visible depends on its own position alone, so all queries share the same columns.",
        {},
    ),
}


def _shifted_back(rule, n_queries, n_keys, reach):
    return _mask(
        lambda back, _: rule(back - 2 * (n_keys - n_queries), reach), "last", n_queries, n_keys, reach
    )


CHAPTER = (
    "This is the window of the chapter: it looks back, counts the query's own position as one of the places, "
    "and puts the last query beside the last key. This exercise asks for another rule."
)


def _fixed_columns(first, n_queries, n_keys, reach):
    causal = _mask(lambda back, reach: back >= 0, first, n_queries, n_keys, reach)
    return causal & (torch.arange(n_keys) % reach == 0)


def _shifts(rule, first):
    """Return mistakes about the alignment that only some versions can have."""
    found = []
    if first == "last":
        found.append(
            Mistake(
                "shifted the wrong way",
                "Queries and keys are shifted against each other in the wrong direction: where there are "
                "fewer queries than keys, the queries stand before the first key.",
                partial(_shifted_back, rule),
                see=(4, "Which corner?"),
            )
        )
    if rule is not RULES["looking back"] or first == "first":
        found.append(Mistake("the chapter's window", CHAPTER, window_mask))
    return found


def _build(version):
    name, first = version["rule"], version["alignment"]
    rule, other = RULES[name], "first" if first == "last" else "last"
    wrong = []
    for title, (message, rules) in OTHER_RULES.items():
        if name in rules:
            wrong.append(Mistake(title, message, partial(_mask, rules[name], first)))
        elif title == "steps counted from the first key" and name == "in steps":
            wrong.append(Mistake(title, message, partial(_fixed_columns, first)))
    corner = (
        "the first query beside the first key" if other == "first" else "the last query beside the last key"
    )
    return Exercise(
        reference=partial(_mask, rule, first),
        properties=_properties,
        mistakes=[
            *wrong,
            Mistake(
                "aligned at the other corner",
                f"The mask puts {corner}. With as many queries as keys nobody notices.",
                partial(_mask, rule, other),
                see=(4, "Which corner?"),
            ),
            *_shifts(rule, first),
            Mistake(
                "hidden and visible exchanged",
                "True stands where a key is hidden; in this book True means that it may be seen.",
                lambda n_queries, n_keys, reach: ~_mask(rule, first, n_queries, n_keys, reach),
                see=(4, "What does True mean?"),
            ),
            Mistake(
                "queries as columns",
                "Rows and columns are exchanged: a mask has one row for each query and one column for "
                "each key.",
                lambda n_queries, n_keys, reach: _mask(rule, first, n_queries, n_keys, reach).T,
            ),
        ],
        see=(4, "Masks: who may attend to whom"),
        variants={"contiguous copy": lambda *sizes: _mask(rule, first, *sizes).T.contiguous().T},
    )


FAMILY = Family(VERSIONS, _build)
