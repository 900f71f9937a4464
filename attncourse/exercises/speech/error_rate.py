"""Checker: how wrong is what a recogniser wrote."""

from difflib import SequenceMatcher
from functools import cache

from attncourse.exercises._exercise import Exercise, Mistake, Property
from attncourse.speech_measures import edit_distance


def _rate(written, sent):
    return sum(map(edit_distance, written, sent)) / sum(map(len, sent))


def _text(rng, n_letters, letters="ESTN"):
    return "".join(rng.choice(list(letters), n_letters))


def _damaged(rng, text):
    """Lose the first letter, exchange two neighbours that differ, and add two letters at the end."""
    kept = list(text[1:])
    place = next(i for i in range(1, len(kept) - 1) if kept[i] != kept[i + 1])
    kept[place : place + 2] = kept[place + 1], kept[place]
    return "".join(kept) + _text(rng, 2, "QX")


def _properties(rng):
    first = _text(rng, 7) + "ET"
    replaced = "Q" + first[1:4] + "X" + first[5:]
    texts = ["SENT" + _text(rng, n) for n in (6, 2, 9)]
    long = ["TEN" + _text(rng, 22) for _ in range(2)]
    everything_else = [_damaged(rng, texts[0]), "", "NEST" + texts[2][4:] + "E"]
    return [
        Property("letters replaced", [{"written": [replaced], "sent": [first]}], 1),
        Property(
            "letters missing and letters too many",
            [
                {"written": [first[1:]], "sent": [first]},
                {"written": ["E" + first], "sent": [first]},
                {"written": [first[2:] + "XQ"], "sent": [first]},
                {"written": [_damaged(rng, first)], "sent": [first]},
                {"written": ["SEND", "SEXTEND", "EXTEND"], "sent": ["SEXTEND", "SEND", "TENDER"]},
                {"written": ["TENSE"], "sent": ["STEEN"]},
                {"written": ["SENSSNT"], "sent": ["NNETTN"]},
            ],
            2,
        ),
        Property(
            "several messages, one of them unwritten",
            [{"written": everything_else, "sent": texts}, {"written": ["E", "TTTT"], "sent": ["EE", "TTTT"]}],
            2,
        ),
        Property("more changes than letters", [{"written": ["TTT", "SOS"], "sent": ["E", "S"]}], 1),
        Property(
            "messages of 25 letters", [{"written": [_damaged(rng, one) for one in long], "sent": long}], 1
        ),
    ]


def _distance(written, target, *, replace=1, first_row=1, first_column=1, swap=False):
    """Fill the whole table, with other prices."""
    table = [[column * first_row for column in range(len(target) + 1)]]
    for i, token in enumerate(written, start=1):
        row = [i * first_column]
        for j, other in enumerate(target, start=1):
            best = min(table[i - 1][j] + 1, row[j - 1] + 1, table[i - 1][j - 1] + replace * (token != other))
            if swap and i > 1 and j > 1 and (token, written[i - 2]) == (target[j - 2], other):
                best = min(best, table[i - 2][j - 2] + 1)
            row.append(best)
        table.append(row)
    return table[-1][-1]


def _with(**prices):
    def rate(written, sent):
        distances = [_distance(one, other, **prices) for one, other in zip(written, sent, strict=True)]
        return sum(distances) / sum(map(len, sent))

    return rate


def _place_by_place(written, sent):
    pairs = list(zip(written, sent, strict=True))
    wrong = sum(sum(a != b for a, b in zip(one, other, strict=False)) for one, other in pairs)
    return (wrong + sum(abs(len(one) - len(other)) for one, other in pairs)) / sum(map(len, sent))


def _mean_of_rates(written, sent):
    return sum(edit_distance(a, b) / len(b) for a, b in zip(written, sent, strict=True)) / len(sent)


def _over_written(written, sent):
    return sum(map(edit_distance, written, sent)) / sum(map(len, written))


def _over_longer(written, sent):
    longer = sum(max(len(a), len(b)) for a, b in zip(written, sent, strict=True))
    return sum(map(edit_distance, written, sent)) / longer


def _clipped(written, sent):
    return min(1.0, _rate(written, sent))


def _whole_texts(written, sent):
    return sum(a != b for a, b in zip(written, sent, strict=True)) / len(sent)


def _by_common_letters(written, sent):
    def common(one, other):
        table = [0] * (len(other) + 1)
        for a in one:
            left = table.copy()
            for j, b in enumerate(other):
                table[j + 1] = left[j] + 1 if a == b else max(left[j + 1], table[j])
        return table[-1]

    changes = sum(max(len(a), len(b)) - common(a, b) for a, b in zip(written, sent, strict=True))
    return changes / sum(map(len, sent))


def _by_blocks(written, sent):
    matches = [SequenceMatcher(None, a, b, autojunk=False) for a, b in zip(written, sent, strict=True)]
    blocks = [block for one in matches for block in one.get_opcodes() if block[0] != "equal"]
    return sum(max(end - i, stop - j) for _, i, end, j, stop in blocks) / sum(map(len, sent))


def _joined(written, sent):
    return edit_distance("".join(written), "".join(sent)) / len("".join(sent))


def _remembered(written, sent):
    @cache
    def changes(one, other):
        if not one or not other:
            return len(one) + len(other)
        same = changes(one[:-1], other[:-1])
        if one[-1] == other[-1]:
            return same
        return 1 + min(same, changes(one[:-1], other), changes(one, other[:-1]))

    return sum(changes(a, b) for a, b in zip(written, sent, strict=True)) / len("".join(sent))


EXERCISE = Exercise(
    reference=_rate,
    properties=_properties,
    mistakes=[
        Mistake(
            "place by place",
            "The texts are compared letter 1 with letter 1, letter 2 with letter 2, and so on: "
            "one lost letter makes everything behind it wrong.",
            _place_by_place,
        ),
        Mistake(
            "mean of rates",
            "Every message counts alike, however short, because each is divided by its own length first; "
            "the rate counts every letter sent alike.",
            _mean_of_rates,
        ),
        Mistake(
            "divided by what was written",
            "The changes are divided by the letters written, so a recogniser that babbles lowers its rate.",
            _over_written,
        ),
        Mistake(
            "divided by the longer text",
            "The changes are divided by the length of the longer text of each pair; the rate is "
            "per letter sent.",
            _over_longer,
        ),
        Mistake(
            "cut off at 1",
            "The rate is kept below 1. Whoever writes more wrong letters than were sent has earned more.",
            _clipped,
        ),
        Mistake(
            "a replacement costs two",
            "A wrong letter counts as one removed and one added. Replacing is one change.",
            _with(replace=2),
        ),
        Mistake(
            "letters missing at the front are free",
            "Where nothing is written yet, the letters sent so far cost nothing: the first row of "
            "the table is 0.",
            _with(first_row=0),
        ),
        Mistake(
            "letters too many at the front are free",
            "Letters written before the message begins cost nothing: the first column of the table is 0.",
            _with(first_column=0),
        ),
        Mistake(
            "exchanged neighbours are one change",
            "Two neighbours in the wrong order count once. The changes here are adding, removing "
            "and replacing.",
            _with(swap=True),
        ),
        Mistake(
            "letters in common",
            "Letters that stand in both texts in the same order are taken for free, the longest row of them, "
            "and the rest counts once. A letter added and one lost at different places are two changes.",
            _by_common_letters,
        ),
        Mistake(
            "longest stretch first",
            "The longest stretch that both texts share is fixed first, as `difflib` does. Another match may "
            "need fewer changes.",
            _by_blocks,
        ),
        Mistake("messages counted", "This is the share of messages that are not perfect.", _whole_texts),
        Mistake(
            "messages joined",
            "All messages are joined into one text before they are compared, so that letters may wander "
            "from one message into the next.",
            _joined,
        ),
    ],
    see=(13, "The score: letters to change"),
    variants={"the whole table": _with(), "with a memory": _remembered},
)
