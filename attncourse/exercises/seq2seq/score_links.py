"""Checker: precision, recall and error rate of the links that a map of weights makes."""

import numpy as np

from attncourse.exercises._exercise import Exercise, Mistake, Property
from attncourse.measures import alignment_error_rate, hard_links


def _peaks(weights, *, axis=-1):
    """Link every row (or, wrongly, every column) with its peak; a row of zeros links nothing."""
    if axis == -1:
        return hard_links(weights, np.full(len(weights), weights.shape[1]))
    turned = weights.swapaxes(1, 2)
    return hard_links(turned, np.full(len(turned), turned.shape[1])).swapaxes(1, 2)


def _sure(gold):
    return gold & (gold.sum(axis=-1, keepdims=True) == 1)


def _all_three(links, sure, possible):
    found_sure, found = (links & sure).sum(), (links & possible).sum()
    n_links, n_sure = links.sum(), sure.sum()
    return (
        float(found / n_links) if n_links else 0.0,
        float(found_sure / n_sure) if n_sure else 0.0,
        float(1 - (found_sure + found) / (n_links + n_sure)),
    )


def _reference(weights, gold):
    links, sure = _peaks(weights), _sure(gold)
    precision, recall, _ = _all_three(links & gold.any(axis=-1, keepdims=True), sure, gold)
    return precision, recall, alignment_error_rate(links, sure, possible=gold)


def _like_this(*, make_links=_peaks, sure_of=_sure, keep_rows=False, change=lambda *three: three):
    def score(weights, gold):
        links = make_links(weights)
        if not keep_rows:
            links = links & gold.any(axis=-1, keepdims=True)
        return change(*_all_three(links, sure_of(gold), gold))

    return score


def _by_sentence(weights, gold):
    rows = [_reference(one[None], links[None]) for one, links in zip(weights, gold, strict=True)]
    return tuple(float(np.mean(column)) for column in zip(*rows, strict=True))


def _one_for_all(weights, gold):
    links, sure = _peaks(weights) & gold.any(axis=-1, keepdims=True), _sure(gold)
    found = (links & sure).sum()
    return (
        float(found / links.sum()),
        float(found / sure.sum()),
        float(1 - 2 * found / (links.sum() + sure.sum())),
    )


def _recall_of_possible(weights, gold):
    links = _peaks(weights) & gold.any(axis=-1, keepdims=True)
    precision, _, error = _reference(weights, gold)
    return precision, float((links & gold).sum() / gold.sum()), error


def _harmonic(precision, recall, error):
    return precision, recall, 1 - 2 * precision * recall / (precision + recall)


def _zeros_left_out(weights, gold):
    return _reference(weights, gold & (weights > 0).any(axis=-1, keepdims=True))


def _first_of_nothing(weights):
    return np.arange(weights.shape[2]) == weights.argmax(axis=-1)[..., None]


def _properties(rng):
    def inputs(batch, n_target, n_source, *, doubles=0, without=0, zeros=0, wrong_every=2):
        """Link every word with one at random, some with two, some with none; the map is often right."""
        weights, gold = (
            rng.random((batch, n_target, n_source)) ** 3,
            np.zeros((batch, n_target, n_source), dtype=bool),
        )
        for sentence in range(batch):
            rows = rng.permutation(n_target)
            for count, row in enumerate(rows):
                n_links = 0 if count < without else 2 if count < without + doubles else 1
                columns = rng.permutation(n_source)
                gold[sentence, row, columns[:n_links]] = True
                if n_links and count % wrong_every != 1:
                    weights[sentence, row, columns[n_links - 1]] += 1  # looks at the right place
            weights[sentence, rows[without + doubles :][:zeros]] = 0
        return {"weights": weights / np.maximum(weights.sum(axis=-1, keepdims=True), 1e-9), "gold": gold}

    long, short = inputs(1, 8, 9, doubles=2, without=1, wrong_every=5), inputs(1, 8, 9)
    short["gold"][:, 3:], short["weights"][:, 3:] = (
        False,
        np.eye(9)[0],
    )  # behind its last word it looks anywhere
    short["weights"][0, :3] = np.roll(short["gold"][0, :3], 1, axis=1)
    short["weights"][0, 0] = short["gold"][0, 0]  # one word of three is right
    several = {name: np.concatenate([long[name], short[name]]) for name in ("weights", "gold")}
    return [
        Property("one gold link for each word", [inputs(1, 6, 7, wrong_every=3)], 1),
        Property("words with two gold links", [inputs(1, 7, 9, doubles=3)], 2),
        Property("words without a gold link", [inputs(1, 8, 6, doubles=2, without=3)], 2),
        Property("rows of zeros", [inputs(1, 9, 7, doubles=2, zeros=2)], 1),
        Property("sentences of unequal length together", [several], 1),
    ]


def _by_loops(weights, gold):
    n_links = n_sure = in_sure = in_possible = 0
    for row, links in zip(
        weights.reshape(-1, weights.shape[2]), gold.reshape(-1, gold.shape[2]), strict=True
    ):
        if links.any():
            n_sure += int(links.sum() == 1)
            if row.max() > 0:
                n_links += 1
                in_possible += int(links[row.argmax()])
                in_sure += int(links[row.argmax()] and links.sum() == 1)
    return in_possible / n_links, in_sure / n_sure, 1 - (in_sure + in_possible) / (n_links + n_sure)


EXERCISE = Exercise(
    reference=_reference,
    properties=_properties,
    mistakes=[
        Mistake(
            "every gold link sure",
            "All gold links are taken for sure ones. A word with two of them then counts as half missed, "
            "wherever its peak lies.",
            _like_this(sure_of=lambda gold: gold),
        ),
        Mistake(
            "precision among the sure links",
            "Links are counted as right only if they are sure; a possible link that is found is no mistake.",
            _one_for_all,
        ),
        Mistake(
            "recall of the possible links",
            "Recall asks for every gold link. A possible link that is missed costs nothing.",
            _recall_of_possible,
        ),
        Mistake(
            "words without a gold link counted",
            "Rows without a gold link are counted as wrong. Attention has to point somewhere; there it can "
            "be neither right nor wrong.",
            _like_this(keep_rows=True),
        ),
        Mistake(
            "mean over sentences",
            "Each sentence is scored for itself and the scores are averaged, so that a word of a short "
            "sentence counts for more.",
            _by_sentence,
        ),
        Mistake(
            "a row of zeros linked",
            "A row of zeros looks at nothing, and still it is linked with the first word: that is where its "
            "largest weight seems to be.",
            _like_this(make_links=_first_of_nothing),
        ),
        Mistake(
            "peaks of the columns",
            "Every source word is linked with the target word that looks at it most; the peak must be taken "
            "in each row.",
            _like_this(make_links=lambda weights: _peaks(weights, axis=-2)),
        ),
        Mistake(
            "a threshold for links",
            "Links are all weights above one half; a row whose weight is spread gets none.",
            _like_this(make_links=lambda weights: weights > 0.5),
        ),
        Mistake(
            "precision and recall exchanged",
            "Precision and recall have changed places.",
            _like_this(change=lambda precision, recall, error: (recall, precision, error)),
        ),
        Mistake(
            "one minus F1",
            "The error rate is one minus the harmonic mean of precision and recall. That is the same only "
            "while every link is sure.",
            _like_this(change=_harmonic),
        ),
        Mistake(
            "words with two links left out",
            "Words with two gold links are left out altogether. None of their links is sure, but all are "
            "possible, and what the map links there counts.",
            lambda weights, gold: _reference(weights, _sure(gold)),
        ),
        Mistake(
            "rows of zeros left out",
            "Rows of zeros are left out altogether. They link nothing, but the sure links of their words "
            "are missed and count.",
            _zeros_left_out,
        ),
        Mistake(
            "accuracy instead of error",
            "The third number is the share that is right, not the error rate.",
            _like_this(change=lambda precision, recall, error: (precision, recall, 1 - error)),
        ),
    ],
    see=(5, "Two scores: what was written, and where it looked"),
    variants={"in loops": _by_loops},
)
