"""Checker: one mask in which some heads see near tokens and others far ones, by rules of the version."""

import torch

from attncourse.exercises._exercise import Exercise, Family, Mistake, Property
from attncourse.exercises.multihead._near_and_far import FAR, HEADS, NEAR, SEVEN, VERSIONS, WRONG_WINDOWS


def _masks(is_near, near, far, hide="keys", spare=0):
    def masks_by_head(n_heads, lengths, n_tokens, reach):
        place = torch.arange(n_tokens)
        back = place[:, None] - place
        (least, most), (far_least, far_most) = near(reach), far
        windows = (back >= least) & (back <= most)
        whole = (back >= far_least) & (back <= far_most)
        head = torch.arange(n_heads)
        by_head = torch.where(is_near(head, n_heads)[:, None, None], windows, whole)
        real = place < lengths[:, None] + spare
        keys, queries = real[:, None, None], real[:, None, :, None]
        return by_head & {"keys": keys, "queries": queries, "both": keys & queries, "none": keys | True}[hide]

    return masks_by_head


def _properties(rng):
    def case(n_heads, lengths, n_tokens, reach):
        return {"n_heads": n_heads, "lengths": torch.tensor(lengths), "n_tokens": n_tokens, "reach": reach}

    some = rng.integers(2, 7, size=3).tolist()
    return [
        Property("a single head, one sequence without padding", [case(1, [6], 6, 2)], 1),
        Property(
            "several heads, sequences without padding", [case(4, [9, 9], 9, 2), case(5, [7, 7], 7, 3)], 2
        ),
        Property("padding", [case(5, [8, *some], 8, 2), case(6, [3, 0], 7, 1)], 2),
        Property("a reach beyond the sequence", [case(3, [4, 2], 5, 9)], 1),
    ]


def _about_padding(rules):
    _, _, far = rules
    hides_queries = "The rows of padded queries were emptied, and padded keys stay visible to others."
    if far[0] >= 0:  # whoever looks back only meets no padding: then both ways are one
        hides_queries = "The rows of padded queries were emptied; they follow the same rules as all rows."
    found = [
        ("padding ignored", "Keys behind the end of a sequence are visible.", {"hide": "none"}),
        (
            "the first padded key",
            "The last token of a sequence stands at place `lengths[b] - 1`; here one key more is visible.",
            {"spare": 1},
        ),
        (
            "padding hides queries",
            f"{hides_queries} What must not be read is a key; what a padded query reads does not matter.",
            {"hide": "queries"},
        ),
    ]
    if far == (-99, 99):  # elsewhere this equals another answer
        found.append(
            (
                "padded queries hidden as well",
                "The rows of padded queries are empty, too. Only keys were to be hidden.",
                {"hide": "both"},
            )
        )
    return [
        Mistake(name, text, _masks(*rules, **how), see=(4, "Masks: who may attend to whom"))
        for name, text, how in found
    ]


def _about_heads(chosen, rules):
    is_near, *windows = rules
    found = [
        Mistake(
            f"other heads ({i})",
            "Both kinds of mask are right, but some heads got the wrong one. Read once more which heads "
            "are near-sighted.",
            _masks(other, *windows),
        )
        for i, (text, (_, other)) in enumerate(HEADS.items(), start=1)
        if text != chosen and not (other(SEVEN, 7) ^ is_near(SEVEN, 7)).all()
    ]
    if "//" in chosen:
        found.append(
            Mistake(
                "half of the heads, rounded up",
                "With an odd number of heads there is one near-sighted head too many; `//` rounds down.",
                _masks(
                    lambda head, n: is_near(head, n + n % 2) if is_near(0, 2) else head >= n // 2, *windows
                ),
            )
        )
    return found


def _build(version):
    is_near, (_, near, wrong), (_, far, misread) = (
        HEADS[version["which_heads"]][1],
        NEAR[version["near"]],
        FAR[version["far"]],
    )
    rules = is_near, near, far
    right = _masks(*rules)
    mistakes = [
        Mistake(
            "near and far exchanged",
            "The heads that should see near tokens see far ones, and the other way round.",
            _masks(lambda head, n: ~is_near(head, n), near, far),
        ),
        *_about_heads(version["which_heads"], rules),
        *(
            Mistake(*words, _masks(is_near, window, far))
            for words, window in zip(WRONG_WINDOWS, wrong, strict=False)
        ),
        Mistake(
            "another rule for far heads",
            "Near heads are right. Compare a row of a far head with the rule, word for word.",
            _masks(is_near, near, misread),
        ),
        *_about_padding(rules),
        Mistake(
            "a mask of numbers",
            "The mask holds the numbers 0 and 1; it was asked for as boolean. Added to scores it would be "
            "another thing.",
            lambda *inputs: right(*inputs).float(),
        ),
        Mistake(
            "heads before batch",
            "The axes of heads and batch are exchanged: each head would get the padding of one sequence.",
            lambda *inputs: right(*inputs).transpose(0, 1),
        ),
        Mistake(
            "mask inverted",
            "The mask is True where a head may *not* look.",
            lambda *inputs: ~right(*inputs),
        ),
    ]
    if far != (-99, 99):  # windows on both sides stay the same when they are turned round
        turned = _masks(is_near, lambda reach: _turned(near(reach)), _turned(far))
        text = "Before and behind are exchanged: rows of the mask are queries, columns keys."
        mistakes.append(Mistake("rows and columns exchanged", text, turned))
    if near(2)[1] > 0:  # windows that reach back
        mistakes.append(
            Mistake(
                "a window that begins before the first token",
                "For the first queries the window was cut with a negative start, and a negative index "
                "counts from the end.",
                _by_slices(*rules),
            )
        )
    return Exercise(
        reference=right,
        properties=_properties,
        mistakes=mistakes,
        see=(7, "Masks with a heads axis"),
        variants={"in loops": _in_loops(*rules)},
    )


def _turned(bounds):
    return -bounds[1], -bounds[0]


def _by_slices(is_near, near, far):
    right = _masks(is_near, near, far)

    def masks_by_head(n_heads, lengths, n_tokens, reach):
        mask, (least, most) = right(n_heads, lengths, n_tokens, reach), near(reach)
        for head in range(n_heads):
            if is_near(torch.tensor(head), n_heads):
                mask[:, head] = False
                for query in range(n_tokens):
                    mask[:, head, query, query - most : query - least + 1] = True
        return mask & (torch.arange(n_tokens) < lengths[:, None])[:, None, None]

    return masks_by_head


def _in_loops(is_near, near, far):
    def masks_by_head(n_heads, lengths, n_tokens, reach):
        mask = torch.zeros(len(lengths), n_heads, n_tokens, n_tokens, dtype=torch.bool)
        for sequence, length in enumerate(lengths.tolist()):
            for head in range(n_heads):
                least, most = near(reach) if bool(is_near(torch.tensor(head), n_heads)) else far
                for query in range(n_tokens):
                    for key in range(length):
                        mask[sequence, head, query, key] = least <= query - key <= most
        return mask

    return masks_by_head


FAMILY = Family(VERSIONS, _build)
