"""Checker: how wide a window that walks the diagonal must be, counted from gold links."""

from functools import cache
from math import ceil

import numpy as np

from attncourse.exercises._exercise import Exercise, Mistake, Property
from attncourse.tasks.dates import DateTask
from attncourse.tasks.grammar import GrammarTask
from attncourse.tasks.pairs import encode_pairs


@cache
def _gold(name):
    """Return the gold links of 200 pairs of one task, drawn as on the page."""
    task = (
        GrammarTask(max_words=15)
        if name == "sentences"
        else DateTask(to=name, first_year=1000, last_year=9999)
    )
    return encode_pairs(task.sample_pairs(200, np.random.default_rng(0)), *task.vocabularies()).gold


def _distances(gold):
    _, rows, columns = np.nonzero(gold)
    return np.sort(np.abs(columns - rows))


def _needed(gold, share):
    distances = _distances(gold)
    return int(distances[ceil(share * len(distances)) - 1])


def _strict(gold, share):
    return _needed(gold, share) + 1


def _rounded_quantile(gold, share):
    return int(np.quantile(_distances(gold), share))


def _quantile_upwards(gold, share):
    return ceil(np.quantile(_distances(gold), share))


def _signed(gold, share):
    _, rows, columns = np.nonzero(gold)
    distances = np.sort(columns - rows)
    return int(distances[ceil(share * len(distances)) - 1])


def _of_all(gold, share):
    return int(_distances(gold).max())


def _whole_window(gold, share):
    return 2 * _needed(gold, share) + 1


def _mean_of_sentences(gold, share):
    return round(float(np.mean([_needed(one[None], share) for one in gold])))


def _nearest_of_each_word(gold, share):
    places = np.arange(gold.shape[2]) - np.arange(gold.shape[1])[:, None]
    nearest = np.where(gold, np.abs(places), 10**6).min(axis=2)
    distances = np.sort(nearest[gold.any(axis=2)])
    return int(distances[ceil(share * len(distances)) - 1])


def _stretched(gold, share):
    """Measure from the diagonal between the corners instead of from the place with the same number."""
    _, rows, columns = np.nonzero(gold)
    distances = np.sort(np.abs(columns - np.rint(rows * (gold.shape[2] - 1) / (gold.shape[1] - 1))))
    return int(distances[ceil(share * len(distances)) - 1])


def _handed_in(needed):
    """Return what somebody with this function hands in; what is measured, when it is asked for."""
    names = ("sentences", "iso", "fr")
    return {
        "prediction": "b",
        "needed": needed,
        "measured": lambda: {name: needed(_gold(name), 0.95) for name in names},
    }


def _run(answer, inputs):
    part = inputs["part"]
    if part == "needed":
        return answer["needed"](inputs["gold"], inputs["share"])
    return answer[part]() if callable(answer[part]) else answer[part]


def _reading(output, inputs):
    if inputs["part"] != "prediction":
        return output
    return {"one of a, b and c": isinstance(output, str) and output in ("a", "b", "c")}


def _properties(rng):
    def links(batch, n_target, n_source, per_row, drift):
        """Draw links near a place that drifts from the diagonal; a word has 0 to per_row of them."""
        gold = np.zeros((batch, n_target, n_source), dtype=bool)
        for sentence, row in np.ndindex(batch, n_target):
            spread = rng.integers(0, 2 + 2 * sentence, size=rng.integers(0, per_row + 1))
            places = row + drift + spread * rng.choice([-1, 1], size=len(spread))
            gold[sentence, row, places[(places >= 0) & (places < n_source)]] = True
        gold[0, 0, 0] = gold[-1, -1, 0] = True
        return gold

    def ask(gold, share):
        return {"part": "needed", "gold": gold, "share": share}

    three = np.zeros((1, 3, 9), dtype=bool)
    three[0, [0, 1, 2, 2], [0, 2, 2, 8]] = True  # distances 0, 1, 0, 6
    counted = [links(4, 9, 14, 1, 0), links(3, 8, 13, 3, 2), links(5, 11, 9, 2, -2)]
    shares = [float(share) for share in rng.uniform(0.55, 0.9, size=len(counted))]
    return [
        Property("a prediction", [{"part": "prediction"}], 0.5),
        Property("four links", [ask(three, share) for share in (0.5, 0.6, 0.9)], 1),
        Property("drawn links", [ask(*pair) for pair in zip(counted, shares, strict=True)], 2),
        Property('part "measured"', [{"part": "measured"}], 1.5),
        Property("all links", [ask(gold, 1.0) for gold in counted], 1),  # where a loop may never end
    ]


EXERCISE = Exercise(
    reference=_handed_in(_needed),
    properties=_properties,
    mistakes=[
        Mistake(
            "links at the edge left out",
            "A link at a distance of exactly D counts as outside, so the window comes out one too wide.",
            _handed_in(_strict),
        ),
        Mistake(
            "a rounded quantile",
            "A quantile that lies between two links is cut off to a whole number, and then too few links "
            "may be inside.",
            _handed_in(_rounded_quantile),
        ),
        Mistake(
            "a quantile rounded up",
            "A quantile mixes the distances of two links, and rounded up it need not be the smallest "
            "half-width, nor wide enough; the number of links inside decides.",
            _handed_in(_quantile_upwards),
        ),
        Mistake(
            "distances with a sign",
            "Links to the left of the centre count as near, however far they lie: their distance is "
            "negative.",
            _handed_in(_signed),
        ),
        Mistake(
            "the farthest link",
            "This is the half-width for all links; the share is not used.",
            _handed_in(_of_all),
        ),
        Mistake(
            "width instead of half-width",
            "This is the number of places in the window; D counts those on one side.",
            _handed_in(_whole_window),
        ),
        Mistake(
            "mean over sentences",
            "Each sentence is measured for itself and the results are averaged; the share is meant of all "
            "links together.",
            _handed_in(_mean_of_sentences),
        ),
        Mistake(
            "words instead of links",
            "Target words are counted, each by its nearest link; a word with two links has both of them "
            "counted.",
            _handed_in(_nearest_of_each_word),
        ),
        Mistake(
            "from corner to corner",
            "Distances are measured from the stretched diagonal. At target position t, local-m stands at "
            "source place t.",
            _handed_in(_stretched),
        ),
    ],
    see=(5, "When is a window enough?"),
    variants={
        "by trying": _handed_in(
            lambda gold, share: next(d for d in range(99) if (_distances(gold) <= d).mean() >= share)
        )
    },
    run=_run,
    reading=_reading,
)
