"""Checker: cut the unlikely tokens by a rule that the version chooses, before or after the temperature."""

import math

import torch

from attncourse.exercises._exercise import Exercise, Family, Mistake, Property, normal

RULES = {
    "relative": (
        "keeps every token whose probability is at least $p$ times that of the likeliest token",
        "kept = rule >= p * rule.amax(dim=-1, keepdim=True)",
    ),
    "absolute": (
        "keeps every token whose probability is at least $p$, and the likeliest token in any case",
        "kept = (rule >= p) | (rule == rule.amax(dim=-1, keepdim=True))",
    ),
    "tail": (
        "drops the least likely tokens, as many as it can while all those dropped hold at most $p$ together; "
        "of equally likely tokens it drops the one with the higher number first",
        "\n    ".join(
            [
                "place = rule.argsort(dim=-1, descending=True, stable=True)",
                "place = place.argsort(dim=-1)  # how far down the list each token stands",
                "not_above = place.unsqueeze(-2) >= place.unsqueeze(-1)  # (token, other)",
                "kept = (not_above * rule.unsqueeze(-2)).sum(dim=-1) > p",
            ]
        ),
    ),
}
ORDERS = {
    True: ("The temperature comes first: the rule looks at the probabilities that it leaves.", "hot"),
    False: (
        "The cut comes first: the rule looks at the probabilities at temperature 1, and the temperature is "
        "applied to the tokens that are left.",
        "logits.softmax(dim=-1)",
    ),
}
VERSIONS = tuple(
    {
        "rule": RULES[rule][0],
        "bound": "below 1" if rule == "tail" else "at most 1",
        "kept_code": RULES[rule][1],
        "order": ORDERS[hot_first][0],
        "rule_code": ORDERS[hot_first][1],
        "kind": rule,
        "hot_first": hot_first,
    }
    for rule, hot_first in (
        ("relative", True),
        ("tail", False),
        ("absolute", True),
        ("relative", False),
        ("tail", True),
        ("absolute", False),
    )
)


def _relative(rule, p):
    return rule >= p * rule.amax(dim=-1, keepdim=True)


def _relative_strictly(rule, p):
    return rule > p * rule.amax(dim=-1, keepdim=True)


def _at_least(rule, p):
    return rule >= p


def _absolute(rule, p):
    return (rule >= p).scatter(-1, rule.argmax(dim=-1, keepdim=True), True)


def _absolute_strictly(rule, p):
    return (rule > p).scatter(-1, rule.argmax(dim=-1, keepdim=True), True)


def _by_sums(enough):
    """Return a rule: it sees the likeliest first, and the mass up to each token and before it."""

    def keep(rule, p):
        ordered, order = rule.sort(dim=-1, descending=True, stable=True)
        behind = ordered.flip(-1).cumsum(dim=-1).flip(-1)  # a token and all that stand behind it
        return torch.zeros_like(rule, dtype=torch.bool).scatter(-1, order, enough(ordered, behind, p))

    return keep


_tail = _by_sums(lambda ordered, behind, p: behind > p)
_tail_strictly = _by_sums(lambda ordered, behind, p: behind >= p)
_tail_one_more = _by_sums(lambda ordered, behind, p: behind - ordered > p)
_nucleus = _by_sums(lambda ordered, behind, p: 1 - behind < p)
CUTS = {"relative": _relative, "absolute": _absolute, "tail": _tail}


def _cut(keep, hot_first, *, power=1, left=0.0, normalised=True):
    def cut(logits, p, temperature):
        hot = logits / temperature**power
        kept = keep((hot if hot_first else logits).softmax(dim=-1), p)
        if not normalised:
            return torch.where(kept, hot.softmax(dim=-1), 0.0)
        return hot.masked_fill(~kept, left or -math.inf).softmax(dim=-1)

    return cut


def _zero_logits(keep, hot_first):
    def cut(logits, p, temperature):
        hot = logits / temperature
        kept = keep((hot if hot_first else logits).softmax(dim=-1), p)
        return (hot * kept).nan_to_num().softmax(dim=-1)

    return cut


def _sorted(cut):
    return lambda logits, p, temperature: cut(logits, p, temperature).sort(dim=-1).values


def _softmax_twice(keep, hot_first):
    cut = _cut(keep, hot_first, normalised=False)
    return lambda logits, p, temperature: cut(logits, p, temperature).softmax(dim=-1)


def _of_logits(logits, p, temperature):
    hot = logits / temperature
    return hot.masked_fill(hot < p * hot.amax(dim=-1, keepdim=True), -math.inf).softmax(dim=-1)


def _build(version):
    kind, hot_first = version["kind"], version["hot_first"]
    keep = CUTS[kind]
    easy, hard = {"relative": (0.1, 0.5), "absolute": (0.08, 0.3), "tail": (0.2, 0.6)}[kind]

    def properties(rng):
        def case(temperature, p, n_rows=6):
            logits = 1.5 * normal(rng, n_rows, 11)
            if n_rows > 1:
                logits[0, 3] = logits[2, 8] = -math.inf
            return {"logits": logits, "p": p, "temperature": temperature}

        equal = torch.full((2, 2), 0.5) if kind == "tail" else torch.full((2, 4), 0.5)
        p = {"relative": 1.0, "absolute": 0.25, "tail": 0.5}[kind]
        flat = {"logits": normal(rng, 5, 9) / 4, "p": 0.7, "temperature": 1.2}
        return [
            Property("one row, temperature 1", [case(1.0, easy, 1), case(1.0, hard, 1)], 1),
            Property("several rows, temperature 1", [case(1.0, easy), case(1.0, hard)], 1),
            Property("a low temperature", [case(0.6, easy), case(0.5, hard)], 1.5),
            Property("a high temperature", [case(1.6, easy), case(2.0, hard)], 1.5),
            Property("equally likely tokens", [{"logits": equal, "p": p, "temperature": 0.5}], 0.5),
            Property("a large p and a flat row", [flat], 0.5),
        ]

    nucleus = (
        "The fewest likeliest tokens that hold p together are kept, as in a top-p cut: that is another rule."
    )
    others = {
        "relative": [
            Mistake(
                "a threshold for all rows",
                "Each probability is compared with p itself. The threshold should fall with the likeliest "
                "token's.",
                _cut(_absolute, hot_first),
            ),
            Mistake("a top-p cut", nucleus, _cut(_nucleus, hot_first)),
            Mistake(
                "more than p times",
                "A token whose probability is exactly p times the largest is dropped; at p = 1 nothing is "
                "left.",
                _cut(_relative_strictly, hot_first),
            ),
            Mistake(
                "one threshold for the batch",
                "The largest probability of the whole batch sets the threshold; every row has its own.",
                _cut(lambda rule, p: rule >= p * rule.max(), hot_first),
            ),
            Mistake(
                "a rule about logits",
                "Logits are compared, where the rule speaks of probabilities; a logit can be negative.",
                _of_logits,
            ),
        ],
        "absolute": [
            Mistake(
                "nobody is left",
                "In a row where no token reaches p everything is cut, the likeliest token too.",
                _cut(_at_least, hot_first),
            ),
            Mistake("a top-p cut", nucleus, _cut(_nucleus, hot_first)),
            Mistake(
                "relative to the likeliest",
                "The threshold is p times the largest probability; the rule compares with p itself.",
                _cut(_relative, hot_first),
            ),
            Mistake(
                "more than p",
                "A token with exactly the probability p is dropped.",
                _cut(_absolute_strictly, hot_first),
            ),
        ],
        "tail": [
            Mistake("a top-p cut", nucleus, _cut(_nucleus, hot_first)),
            Mistake(
                "one token too many dropped",
                "The token that takes what is dropped above p is dropped as well: its own share must count.",
                _cut(_tail_one_more, hot_first),
            ),
            Mistake(
                "less than p",
                "A tail that holds exactly p may be dropped, and is kept here.",
                _cut(_tail_strictly, hot_first),
            ),
            Mistake(
                "sorted order kept",
                "The probabilities stand in the order of their size: entry v no longer belongs to token v.",
                _sorted(_cut(keep, hot_first)),
            ),
            Mistake(
                "each token for itself",
                "Each probability is compared with p, and the tail is never added up.",
                _cut(_absolute, hot_first),
            ),
        ],
    }[kind]
    order = "before it" if hot_first else "after it"
    return Exercise(
        reference=_cut(keep, hot_first),
        properties=properties,
        mistakes=[
            *others,
            Mistake(
                "cut and temperature in the other order",
                f"The temperature should be applied {order.replace('it', 'the cut')}: other tokens are kept "
                f"then.",
                _cut(keep, not hot_first),
            ),
            Mistake(
                "multiplied by the temperature",
                "The logits are multiplied by T, so that a high temperature sharpens.",
                _cut(keep, hot_first, power=-1),
            ),
            Mistake(
                "temperature ignored",
                "The temperature changes nothing; to divide probabilities by T does nothing, once they are "
                "made to sum to 1 again.",
                lambda logits, p, temperature: _cut(keep, hot_first)(logits, p, 1.0),
            ),
            Mistake(
                "not normalised again",
                "The rows no longer sum to 1: what is kept has to share what was cut.",
                _cut(keep, hot_first, normalised=False),
            ),
            Mistake(
                "softmax twice",
                "What is returned is a softmax of probabilities: they are taken for logits, and even dropped "
                "tokens get a share.",
                _softmax_twice(keep, hot_first),
            ),
            Mistake(
                "dropped by a logit of 0",
                "A dropped token gets the logit 0, which is a logit like any other; its probability must be "
                "exactly 0.",
                _zero_logits(keep, hot_first),
            ),
        ],
        see=(9, "Temperature, top-k, top-p"),
        variants={"by a large negative logit": _cut(keep, hot_first, left=-1e9)},
    )


FAMILY = Family(VERSIONS, _build)
