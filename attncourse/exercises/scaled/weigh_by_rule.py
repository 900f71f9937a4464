"""Checker: attention weights with a scale and a mask convention that the version chooses."""

import math

import torch

from attncourse.exercises._exercise import Exercise, Family, Mistake, Property, normal

# Name of the rule: how the page writes it, the solution's code, and the factor.
SCALES = {
    "the root of d_head": (
        "$1 / \\sqrt{d_\\text{head}}$",
        "1 / query.shape[-1] ** 0.5",
        lambda query, key: 1 / math.sqrt(query.shape[-1]),
    ),
    "d_head itself": ("$1 / d_\\text{head}$", "1 / query.shape[-1]", lambda query, key: 1 / query.shape[-1]),
    "the root of n_keys": (
        "$1 / \\sqrt{n_\\text{keys}}$",
        "1 / key.shape[-2] ** 0.5",
        lambda query, key: 1 / math.sqrt(key.shape[-2]),
    ),
}
FOLLOWS = {
    "the root of d_head": "That is the usual rule of chapter 4; this exercise asks for another one.",
    "d_head itself": "The scores become too small, and the weights more even than they should be.",
    "the root of n_keys": "The number of keys decides how sharp the weights are, where the length of a "
    "key should.",
}
VERSIONS = tuple(
    {
        "rule": rule,
        "scale": text,
        "scale_code": code,
        "true_means": "may be seen" if visible_when else "is hidden",
        "hidden_code": "~mask" if visible_when else "mask",
        "visible_when": visible_when,
    }
    for visible_when in (True, False)
    for rule, (text, code, _) in SCALES.items()
)


def _weigh(scale, visible_when, *, masked=True, dim=-1):
    def weigh(query, key, mask):
        scores = query @ key.transpose(-2, -1) * scale(query, key)
        if masked:
            scores = scores.masked_fill(~mask if visible_when else mask, -math.inf)
        return scores.softmax(dim=dim)

    return weigh


def _in_steps(scale, visible_when, finish):
    """Return a weigh that leaves the scaled scores and what is visible to ``finish``."""

    def weigh(query, key, mask):
        scores = query @ key.transpose(-2, -1) * scale(query, key)
        return finish(scores, mask if visible_when else ~mask)

    return weigh


def _renormalise(scores, visible):
    kept = scores.softmax(dim=-1) * visible
    return kept / kept.sum(dim=-1, keepdim=True)


def _scales_the_weights(scale, visible_when):
    def weigh(query, key, mask):
        return _weigh(lambda *_: 1.0, visible_when)(query, key, mask) * scale(query, key)

    return weigh


def _build(version):
    scale, visible_when = SCALES[version["rule"]][2], version["visible_when"]

    def properties(rng):
        def inputs(n_queries, n_keys, d_head, *, hide):
            shown = torch.ones(n_queries, n_keys, dtype=torch.bool)
            if hide:
                shown = torch.from_numpy(rng.random((n_queries, n_keys)) < 0.6)
                shown[:, 0], shown[0, 1] = True, False
            return {
                "query": normal(rng, 2, n_queries, d_head),
                "key": normal(rng, 2, n_keys, d_head),
                "mask": shown if visible_when else ~shown,
            }

        return [
            Property("everything visible", [inputs(3, 7, 5, hide=False)], 1),
            Property("some keys hidden", [inputs(3, 7, 5, hide=True), inputs(3, 7, 5, hide=True)], 2),
            Property("longer vectors, fewer keys", [inputs(5, 4, 11, hide=True)], 1),
        ]

    masks = (4, "Masks: who may attend to whom")
    copied = Mistake(
        "the chapter's conventions",
        "Scale and mask are those of the chapter. Here another number scales, and True has another meaning.",
        _weigh(SCALES["the root of d_head"][2], True),
    )
    places = {"see": (4, "Scale the scores, not the weights")}
    return Exercise(
        reference=_weigh(scale, visible_when),
        properties=properties,
        mistakes=[
            Mistake(
                "mask inverted",
                "It hides the keys that may be seen and shows the others. Libraries differ in what True "
                "means.",
                _weigh(scale, not visible_when),
                see=(4, "What does True mean?"),
            ),
            Mistake(
                "mask ignored",
                "The mask changes nothing: hidden keys get weight too.",
                _weigh(scale, visible_when, masked=False),
            ),
            Mistake(
                "softmax over the queries",
                "The columns sum to 1 instead of the rows: queries compete for a key, not keys for a query.",
                _weigh(scale, visible_when, dim=-2),
            ),
            Mistake(
                "mask after the softmax",
                "Hidden keys still take part in the denominator, so the rows no longer sum to 1.",
                _in_steps(scale, visible_when, lambda scores, visible: scores.softmax(dim=-1) * visible),
                see=(4, "Before or after the softmax?"),
            ),
            Mistake(
                "scores times mask",
                "A hidden key gets the score 0, which is a score like any other: its weight is not 0.",
                _in_steps(scale, visible_when, lambda scores, visible: (scores * visible).softmax(dim=-1)),
            ),
            Mistake(
                "mask added to the scores",
                "True counts as 1 in a sum, so a visible key gains one nat over a hidden one and nothing "
                "is hidden.",
                _in_steps(scale, visible_when, lambda scores, visible: (scores + visible).softmax(dim=-1)),
            ),
            Mistake(
                "weights scaled",
                "The factor acts after the softmax. The proportions stay as sharp as without it, and the "
                "rows sum to the factor.",
                _scales_the_weights(scale, visible_when),
                **places,
            ),
            Mistake(
                "no scale",
                "The scores are plain dot products; with long vectors one key would take nearly everything.",
                _weigh(lambda *_: 1.0, visible_when),
                see=(4, "Why the square root"),
            ),
            Mistake(
                "scale upside down",
                "The scores are divided by the factor instead of multiplied: they grow where they should "
                "shrink.",
                _weigh(lambda query, key: 1 / scale(query, key), visible_when),
                see=(4, "Why the square root"),
            ),
            *(
                Mistake(
                    f"divided by {rule}",
                    f"The scores are divided by {rule}. {FOLLOWS[rule]}",
                    _weigh(other, visible_when),
                    see=(4, "Why the square root"),
                )
                for rule, (_, _, other) in SCALES.items()
                if rule != version["rule"]
            ),
            *([copied] if version["rule"] != "the root of d_head" and not visible_when else []),
        ],
        see=masks,
        variants={"renormalised": _in_steps(scale, visible_when, _renormalise)},
    )


FAMILY = Family(VERSIONS, _build)
