"""Checker: the best pair of places for an answer, under a rule that the version chooses."""

import torch

from attncourse.exercises._exercise import Exercise, Family, Mistake, Property, normal
from attncourse.span_reader import best_span


def _at_most(start, end, limit):
    return start <= end < start + limit


def _at_least(start, end, limit):
    return end - start + 1 >= limit


def _behind(start, end, limit):
    return start < end <= start + limit


def _leftwards(start, end, limit):
    return end <= start < end + limit


def _or_none(start, end, limit):
    return (start, end) == (0, 0) or 1 <= start <= end < start + limit


NONE = (0, 0)
MESSAGES = {
    "one token more": "An answer may miss the limit by one token: pairs next to the allowed ones count too.",
    "one token less": "The limit is drawn one token too tight: an answer of exactly this length is refused.",
    "no limit": "Answers of any length are allowed.",
    "no order": "An answer may run in both directions, so that its end lies on the wrong side of its start.",
    "no answer of one token": "An answer may start and end at the same token, and this is refused here.",
    "end taken for the last token": "The end is read as the last token of the answer; it is the "
    "one behind it.",
    "an empty answer": "An answer without any token is allowed.",
    "at most": "The limit is taken for a largest length; here it is the smallest.",
    "from left to right": "The end is looked for behind the start; in this array it stands before.",
    "place 0 taken for a word": "An answer may begin at place 0, which is no word.",
    "always an answer": "The pair (0, 0) is never chosen, so every question gets an answer.",
}
VERSIONS = (
    {
        "rule": _at_most,
        "end": "the *last* token of the answer",
        "limit": "an answer has at most `limit` tokens, and ends no sooner than it starts",
        "code": "(i <= j) & (j < i + limit)",
        "wrong": {
            "one token more": lambda s, e, n: s <= e <= s + n,
            "one token less": lambda s, e, n: s <= e < s + n - 1 or s == e,
            "no answer of one token": lambda s, e, n: s < e < s + n or n == 1 == e - s + 1,
            "no limit": lambda s, e, n: s <= e,
            "no order": lambda s, e, n: abs(s - e) < n,
        },
    },
    {
        "rule": _behind,
        "end": "the first token *behind* the answer, as in a Python slice; it is a place of "
        "the passage too, so the last place is in no answer",
        "limit": "an answer has at least one token and at most `limit` tokens",
        "code": "(i < j) & (j <= i + limit)",
        "wrong": {
            "end taken for the last token": _at_most,
            "one token more": lambda s, e, n: s < e <= s + n + 1,
            "one token less": lambda s, e, n: s < e < s + n or e == s + 1,
            "an empty answer": lambda s, e, n: s <= e <= s + n,
            "no limit": lambda s, e, n: s < e,
        },
    },
    {
        "rule": _at_least,
        "end": "the *last* token of the answer",
        "limit": "an answer has at least `limit` tokens (the passage has at least so many)",
        "code": "j - i + 1 >= limit",
        "wrong": {
            "at most": _at_most,
            "one token more": lambda s, e, n: e >= s and e - s + 2 >= n,
            "one token less": lambda s, e, n: e - s >= n or (s, e) == (0, n - 1),
            "no limit": lambda s, e, n: s <= e,
            "no order": lambda s, e, n: abs(e - s) + 1 >= n,
        },
    },
    {
        "rule": _leftwards,
        "end": "the *last* token of the answer",
        "limit": (
            "the passage is stored from its last token to its first, so that an answer ends no *later* in "
            "the array than it starts; it has at most `limit` tokens"
        ),
        "code": "(j <= i) & (i < j + limit)",
        "wrong": {
            "from left to right": _at_most,
            "one token more": lambda s, e, n: e <= s <= e + n,
            "one token less": lambda s, e, n: e <= s < e + n - 1 or s == e,
            "no limit": lambda s, e, n: e <= s,
            "no order": lambda s, e, n: abs(s - e) < n,
        },
    },
    {
        "rule": _or_none,
        "end": "the *last* token of the answer",
        "limit": (
            "place 0 is no word, and the pair (0, 0) says that the passage holds no answer; any other "
            "answer lies behind place 0, has at most `limit` tokens, and ends no sooner than it starts"
        ),
        "code": "(i <= j) & (j < i + limit) & ((i > 0) | (j == 0))",
        "wrong": {
            "place 0 taken for a word": _at_most,
            "always an answer": lambda s, e, n: 1 <= s <= e < s + n,
            "no limit": lambda s, e, n: (s, e) == NONE or 1 <= s <= e,
            "one token more": lambda s, e, n: (s, e) == NONE or 1 <= s <= e <= s + n,
            "no order": lambda s, e, n: (s, e) == NONE or (min(s, e) > 0 and abs(s - e) < n),
        },
    },
)


def _search(allowed, *, combine=torch.add, hidden=-torch.inf, turned=False):
    """Return a function that tries all pairs, which is slow and sure."""

    def find(start_logits, end_logits, limit):
        n_passage = start_logits.shape[1]
        table = torch.tensor([[allowed(s, e, limit) for e in range(n_passage)] for s in range(n_passage)])
        scores = combine(start_logits[:, :, None], end_logits[:, None, :]).masked_fill(~table, hidden)
        best = scores.flatten(1).argmax(dim=1)
        pair = best // n_passage, best % n_passage
        return pair[::-1] if turned else pair

    return find


def _package_span(start_logits, end_logits, limit):
    return best_span(start_logits, end_logits, max_tokens=limit)


def _greedy(allowed, *, from_the_end=False):
    """Take the peak of one pointer, and then the best partner that the rule leaves."""

    def find(start_logits, end_logits, limit):
        n_passage = start_logits.shape[1]
        table = torch.tensor([[allowed(s, e, limit) for e in range(n_passage)] for s in range(n_passage)])
        if from_the_end:
            end = end_logits.masked_fill(~table.any(dim=0), -torch.inf).argmax(dim=1)
            return start_logits.masked_fill(~table[:, end].T, -torch.inf).argmax(dim=1), end
        start = start_logits.masked_fill(~table.any(dim=1), -torch.inf).argmax(dim=1)
        return start, end_logits.masked_fill(~table[start], -torch.inf).argmax(dim=1)

    return find


def _apart(start_logits, end_logits, limit):
    return start_logits.argmax(dim=1), end_logits.argmax(dim=1)


def _add_probabilities(start_logits, end_logits):
    return start_logits.softmax(dim=1) + end_logits.softmax(dim=2)


def _multiply_probabilities(start_logits, end_logits):
    return start_logits.double().softmax(dim=1) * end_logits.double().softmax(dim=2)


def _build(version):
    allowed = version["rule"]

    def properties(rng):
        def draw(limit, n_rows=40, n_passage=9, hidden=0):
            pair = [1.5 * normal(rng, n_rows, n_passage) for _ in range(2)]
            for logits in pair:
                if hidden:
                    logits[: n_rows // 2, -hidden:] = -torch.inf
            return {"start_logits": pair[0], "end_logits": pair[1], "limit": limit}

        return [
            Property("a limit of one token", [draw(1), draw(1, n_passage=5)], 1),
            Property("a limit of some tokens", [draw(3), draw(4, n_passage=13)], 2),
            Property("hidden places at the end", [draw(2, hidden=4)], 1),
            Property("a limit as long as the passage", [draw(6, n_passage=6)], 1),
        ]

    return Exercise(
        reference=_package_span if allowed is _at_most else _search(allowed),
        properties=properties,
        mistakes=[
            Mistake(
                "peaks apart",
                "Both peaks are taken by themselves. Together they may make no answer that the rule allows.",
                _apart,
            ),
            Mistake(
                "start first",
                "The peak of the starts is taken, and then the best end for it. A pair with another start "
                "may be better.",
                _greedy(allowed),
            ),
            Mistake(
                "end first",
                "The peak of the ends is taken, and then the best start for it. A pair with another end may "
                "be better.",
                _greedy(allowed, from_the_end=True),
            ),
            Mistake(
                "probabilities added",
                "The two probabilities are added; a pair with one certain and one impossible end then looks "
                "good.",
                _search(allowed, combine=_add_probabilities),
            ),
            Mistake(
                "logits multiplied",
                "The logits are multiplied. Products belong to probabilities; two negative logits make a "
                "large product.",
                _search(allowed, combine=lambda start, end: torch.nan_to_num(start * end, nan=-torch.inf)),
            ),
            Mistake(
                "forbidden pairs at zero",
                "Pairs that the rule forbids get the score 0. Where all allowed sums of logits are negative, "
                "one of them wins.",
                _search(allowed, hidden=0.0),
            ),
            Mistake(
                "start and end exchanged",
                "The two places of the best answer are returned in the wrong order, ends first.",
                _search(allowed, turned=True),
            ),
            *(Mistake(name, MESSAGES[name], _search(rule)) for name, rule in version["wrong"].items()),
        ],
        see=(17, "Pointing at both ends"),
        variants={"by probabilities": _search(allowed, combine=_multiply_probabilities)},
    )


FAMILY = Family(VERSIONS, _build)
