"""Checker: attention with fewer key-value heads than heads, shared by a rule that the version chooses."""

import math

import torch

from attncourse.exercises._exercise import Exercise, Family, Mistake, Property, normal

# Which key-value head serves head r, of h heads and g key-value heads.
RULES = {
    "neighbours share: the first `n_heads / n_groups` heads use key-value head 0, the next ones key-value "
    "head 1, "
    "and so on": ("head // (n_heads // n_groups)", lambda r, h, g: r // (h // g)),
    "the heads are dealt out like cards: head 0 uses key-value head 0, head 1 uses key-value head 1, and "
    "after the "
    "last key-value head it begins again with 0": ("head % n_groups", lambda r, h, g: r % g),
    "neighbours share, counted from the other end: the *last* `n_heads / n_groups` heads use key-value head "
    "0, those "
    "before them key-value head 1, and so on": (
        "(n_heads - 1 - head) // (n_heads // n_groups)",
        lambda r, h, g: (h - 1 - r) // (h // g),
    ),
}
# Who may attend to whom: the code, the rule, and the rule of somebody who read it the wrong way.
MASKS = {
    "a token attends to itself and to what stands before it": (
        "place[:, None] >= place",
        lambda q, k: q >= k,
        lambda q, k: q <= k,
    ),
    "a token attends to all others and not to itself": (
        "place[:, None] != place",
        lambda q, k: q != k,
        lambda q, k: q >= k,
    ),
    "a token attends to itself and to what stands behind it": (
        "place[:, None] <= place",
        lambda q, k: q <= k,
        lambda q, k: q >= k,
    ),
}
VERSIONS = tuple(
    {"rule": rule, "rule_code": RULES[rule][0], "who": who, "who_code": MASKS[who][0]}
    for rule, who in zip(RULES, MASKS, strict=True)
)


def _attend(
    partner, may, scale=lambda query, value: query.shape[-1] ** -0.5, dim=-1, merge=True, same_value=True
):
    def attend_in_groups(query, key, value):
        n_heads, n_groups, n_tokens = query.shape[1], key.shape[1], query.shape[2]
        chosen = torch.tensor([partner(r, n_heads, n_groups) for r in range(n_heads)])
        place = torch.arange(n_tokens)
        mask = may(place[:, None], place).expand(n_tokens, n_tokens)
        scores = query @ key[:, chosen].transpose(-2, -1) * scale(query, value)
        weights = scores.masked_fill(~mask, -math.inf).softmax(dim=dim)
        heads = weights @ value[:, chosen if same_value else torch.arange(n_heads) % n_groups]
        if merge == "view":
            return heads.reshape(len(query), n_tokens, -1)
        if merge == "cards":
            return heads.permute(0, 2, 3, 1).flatten(-2)
        return heads.transpose(1, 2).flatten(-2) if merge else heads

    return attend_in_groups


def _averaged(may):
    def attend_in_groups(query, key, value):
        key, value = key.mean(dim=1, keepdim=True), value.mean(dim=1, keepdim=True)
        return _attend(lambda r, h, g: 0, may)(query, key, value)

    return attend_in_groups


def _in_a_loop(partner, may):
    def attend_in_groups(query, key, value):
        heads = []
        for r in range(query.shape[1]):
            group = [partner(r, query.shape[1], key.shape[1])]
            heads.append(_attend(lambda *sizes: 0, may)(query[:, [r]], key[:, group], value[:, group]))
        return torch.cat(heads, dim=-1)

    return attend_in_groups


def _properties(rng):
    def case(n_heads, n_groups, n_tokens=5, batch=2):
        return {
            "query": normal(rng, batch, n_heads, n_tokens, 7),
            "key": normal(rng, batch, n_groups, n_tokens, 7),
            "value": normal(rng, batch, n_groups, n_tokens, 3),
        }

    return [
        Property("one key-value head for all", [case(3, 1)], 1),
        Property("as many key-value heads as heads", [case(4, 4)], 1),
        Property("in between, two key-value heads", [case(6, 2), case(10, 2, n_tokens=3, batch=1)], 2),
        Property("in between, more key-value heads", [case(6, 3), case(8, 4, n_tokens=9, batch=3)], 2),
    ]


def _build(version):
    partner, (_, may, misread) = RULES[version["rule"]][1], MASKS[version["who"]]
    others = [one for text, (_, one) in RULES.items() if text != version["rule"]]
    mistakes = [
        *(
            Mistake(
                f"other partners ({i})",
                "The heads share, but by another rule, so that most of them meet keys and values of another "
                "head. "
                "With one key-value head for all this cannot be seen.",
                _attend(other, may),
            )
            for i, other in enumerate(others, start=1)
        ),
        Mistake(
            "the size of a group for their number",
            "The head's number was divided by the number of key-value heads instead of the number of heads "
            "that share one.",
            _attend(lambda r, h, g: r // g, may)
            if partner(1, 6, 3) == 0
            else _attend(lambda r, h, g: r % (h // g), may),
        ),
        Mistake(
            "one key-value head for all",
            "Every head uses the first key-value head; the others are never read.",
            _attend(lambda r, h, g: 0, may),
        ),
        Mistake(
            "the mean of the key-value heads",
            "Keys and values were averaged over their heads. Sharing means that some heads use the same one.",
            _averaged(may),
        ),
        Mistake(
            "root of the features of a value",
            "The scores are divided by the root of the features of a value; what grows with the features of "
            "query "
            "and key is their product.",
            _attend(partner, may, scale=lambda query, value: value.shape[-1] ** -0.5),
            see=(4, "Why the square root"),
        ),
        Mistake(
            "root of d_model",
            "The scores are divided by the root of the features of all heads together.",
            _attend(partner, may, scale=lambda query, value: (query.shape[1] * query.shape[-1]) ** -0.5),
            see=(7, "All heads in one tensor"),
        ),
        Mistake(
            "no scale", "The scores are not scaled.", _attend(partner, may, scale=lambda query, value: 1.0)
        ),
        Mistake(
            "merged without exchanging axes",
            "The shape is right, but the heads' outputs were read in the order in which they lie in memory, "
            "so a "
            "token's row holds several tokens.",
            _attend(partner, may, merge="view"),
            see=(7, "The bug that trains"),
        ),
        Mistake(
            "features interleaved",
            "The features of one head do not lie side by side: first come the first features of all heads.",
            _attend(partner, may, merge="cards"),
        ),
        Mistake(
            "not merged", "The heads still have an axis of their own.", _attend(partner, may, merge=False)
        ),
        Mistake("no mask", "Every token sees all others and itself.", _attend(partner, lambda q, k: k == k)),
        Mistake(
            "another mask",
            "The heads share as they should, but who may attend to whom is another rule than the one above.",
            _attend(partner, misread),
        ),
        Mistake(
            "mask inverted",
            "The mask hides what should be seen and shows what should be hidden; a row without any key "
            "gives NaN.",
            _attend(partner, lambda q, k: ~may(q, k)),
        ),
    ]
    return Exercise(
        reference=_attend(partner, may),
        properties=_properties,
        mistakes=mistakes,
        see=(7, "Fewer keys and values than queries"),
        variants={"one head after the other": _in_a_loop(partner, may)},
    )


FAMILY = Family(VERSIONS, _build)
