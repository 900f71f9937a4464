"""Checker: weights of local attention, with a window and a bell that the version chooses."""

import torch

from attncourse.attention import masked_softmax
from attncourse.exercises._exercise import Exercise, Family, Mistake, Property, normal
from attncourse.exercises.seq2seq._windows import VERSIONS


def _local(version, *, shift=0, start=True, real=True, sigma=0.5, bell=None, window=None, centre=None,
           over=-1, first_window=True, wide=False, shrink=0, empty=0.0, finite="", longer=0):  # fmt: skip
    """Return the function; the keyword arguments are what can be wrong with it."""
    bell, window, rule = bell or version["bell"], window or version["window"], centre or version["centre"]

    def weights_of(scores, lengths, position, half_width):
        _, n_target, n_source = scores.shape
        steps = torch.arange(n_target)[:, None] + (position if start else 0) + shift
        ends = (torch.full_like(lengths, n_source) if wide else lengths)[:, None, None]
        middle = {"diagonal": steps, "backwards": ends - 1 - steps, "double": 2 * steps}[rule]
        distance = torch.arange(n_source) - middle
        reach = half_width - shrink
        seen = {
            "both": distance.abs() <= reach,
            "before": (distance <= 0) & (distance >= -reach),
            "half open": (distance >= -reach) & (distance < reach),
        }[window].expand_as(scores)
        behind = torch.arange(n_source) < lengths[:, None, None] + longer
        allowed = seen & behind if real else seen
        if finite:
            weights = scores.masked_fill(~allowed, -1e9).softmax(dim=-1) * (
                allowed if finite == "then zeros" else 1
            )
        elif first_window:
            weights = masked_softmax(scores, allowed) if over == -1 else (
                masked_softmax(scores.transpose(1, 2), allowed.transpose(1, 2)).transpose(1, 2))  # fmt: skip
        else:
            weights = masked_softmax(scores, behind.expand_as(scores)) * allowed
        if bell != "none":
            weights = weights * torch.exp(-(distance**2) / (2 * (sigma * half_width) ** 2))
        if bell == "normalised":
            weights = weights / weights.sum(dim=-1, keepdim=True).clamp(min=1e-30)
        return weights if empty == 0.0 else torch.where(allowed.any(dim=-1, keepdim=True), weights, empty)

    return weights_of


# What is written instead of each window: half open is what a slice without its + 1 makes.
OTHER_WINDOWS = {
    "both": lambda wrong: (
        "The window lacks its last place, behind the centre; both ends belong to it.",
        wrong(window="half open"),
    ),
    "before": lambda wrong: (
        "The window reaches D places behind its centre, too; it must end with the centre.",
        wrong(window="both"),
    ),
    "half open": lambda wrong: (
        "The place D behind the centre counts as inside; this window ends one place before it.",
        wrong(window="both"),
    ),
}


def _properties(rng):
    def inputs(lengths, n_target, half_width, position=0, n_source=None):
        n_source = n_source or max(lengths)
        return {
            "scores": 2 * normal(rng, len(lengths), n_target, n_source),
            "lengths": torch.tensor(lengths),
            "position": position,
            "half_width": half_width,
        }

    return [
        Property("windows inside the source", [inputs([13], 4, 2, 3)], 1),
        Property(
            "sentences of unequal length", [inputs([12, 7, 9], 6, 3), inputs([6, 11], 5, 1, n_source=13)], 2
        ),
        Property(
            "one step of a decoder", [inputs([11, 9], 1, 2, position=position) for position in (0, 3)], 1
        ),
        Property(
            "windows that have left the source", [inputs([8, 3], 10, 2), inputs([4, 5], 3, 1, position=7)], 2
        ),
    ]


def _build(version):
    def wrong(**flaw):
        return _local(version, **flaw)

    backwards, bell = version["centre"] == "backwards", version["bell"]
    mistakes = [
        Mistake("counted from one", "The centre is one place off: positions count from 0.", wrong(shift=1)),
        Mistake(
            "position ignored",
            "Every call begins at target position 0. Step by step, the window then never moves.",
            wrong(start=False),
        ),
        Mistake(
            "padding looked at",
            "The window reaches behind the end of short sentences: their lengths are not used to hide the "
            "padding.",
            wrong(real=False),
        ),
        Mistake(
            "window too small",
            "The window lacks its outermost places: a distance of D is still inside.",
            wrong(shrink=1),
        ),
        Mistake(
            "softmax over the target",
            "The softmax runs over the target positions: they share each source word.",
            wrong(over=-2),
            (5, "Common mistakes"),
        ),
        Mistake(
            "an empty window looks everywhere",
            "Where no place is allowed, all scores are equally low and the softmax makes equal weights of "
            "them, padding included.",
            wrong(finite="and nothing more"),
        ),
        Mistake(
            "one place behind the end",
            "The place with the number of the length counts as a word; places count from 0, so it is the "
            "first of the padding.",
            wrong(longer=1),
        ),
        Mistake(
            "an empty window is NaN",
            "A softmax over no place at all is NaN, and one NaN spreads through everything behind it.",
            wrong(empty=float("nan")),
        ),
        Mistake("another window", *OTHER_WINDOWS[version["window"]](wrong)),
    ]
    if bell != "normalised":  # there it makes no difference
        mistakes.append(
            Mistake(
                "window after the softmax",
                "The softmax runs over the whole sentence and the window is cut out afterwards, so that "
                "weight outside is lost.",
                wrong(first_window=False),
            )
        )
    if bell == "none":
        mistakes.append(
            Mistake(
                "a bell too many",
                "The weights fall off towards the ends of the window; no bell is asked for.",
                wrong(bell="plain"),
            )
        )
    else:
        other = "normalised" if bell == "plain" else "plain"
        mistakes += [
            Mistake("bell forgotten", "The weights lack the bell curve.", wrong(bell="none")),
            Mistake(
                "normalised or not",
                "Mind whether the rows are normalised again behind the bell.",
                wrong(bell=other),
            ),
            Mistake(
                "bell too wide",
                "The bell is as wide as the half-width D; its deviation is half of that.",
                wrong(sigma=1.0),
            ),
        ]
    if version["centre"] == "double":
        mistakes.append(
            Mistake(
                "centre at the target position",
                "The window moves by one place for each target token, and so falls back more and more.",
                wrong(centre="diagonal"),
            )
        )
    if backwards:
        mistakes += [
            Mistake(
                "from the end of the batch",
                "The window starts at the last column of the batch instead of the last word of each "
                "sentence.",
                wrong(wide=True),
            ),
            Mistake(
                "from left to right",
                "The window walks from the first word to the last.",
                wrong(centre="diagonal"),
            ),
        ]
    return Exercise(
        reference=wrong(),
        properties=_properties,
        mistakes=mistakes,
        see=(5, "After the step: Luong"),
        variants={"large negative scores": wrong(finite="then zeros")}
        | ({"window cut out and normalised": wrong(first_window=False)} if bell == "normalised" else {}),
    )


FAMILY = Family(VERSIONS, _build)
