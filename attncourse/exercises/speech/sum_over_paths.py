"""Checker: the probability of a text, summed over all paths that a rule allows."""

import torch

from attncourse.exercises._exercise import Exercise, Family, Mistake, Property, normal

JUMP = "\n            if {}:\n                came.append(before[s - 2])"
VERSIONS = (
    {
        "rule": "every letter of the text is named by exactly one state, and all other states are blank",
        "examples": "`E – – T`, `E T – –` and `– E T –` make ET, and `E – – E` and `E E – –` make EE",
        "counterexample": "`E – T T` makes ETT",
        "symbols_code": "[0] + [symbol for letter in text for symbol in (letter, 0)]",
        "starts_code": "2",
        "stay_code": "[before[s]] if symbol == 0 else []",
        "jump_code": JUMP.format("s >= 2 and symbol != 0"),
        "why": "A path may stay on a blank and not on a letter, and it may jump over every blank, "
        "because nothing is merged.",
        "name": "one state each",
    },
    {
        "rule": "letters are kept apart: between any two letters of the text, equal or not, at "
        "least one state must be blank; a letter may be named by several neighbouring states in a row",
        "examples": "`E – T T`, `E E – T` and `– E – T` make ET, and `E – E E` makes EE",
        "counterexample": "`E E T –` makes nothing and does not count",
        "symbols_code": "[0] + [symbol for letter in text for symbol in (letter, 0)]",
        "starts_code": "2",
        "stay_code": "[before[s]]",
        "jump_code": "",
        "why": "Nothing may be jumped over, and otherwise all is as in the chapter.",
        "name": "kept apart",
    },
    {
        "rule": "there is no blank: the sound is cut into as many stretches of at least one state "
        "as the text has letters, and all states of a stretch name its letter; every way to cut counts, also "
        "if two ways give the same row of symbols",
        "examples": "`E T T T`, `E E T T` and `E E E T` make ET, and `E E E E` can be cut in three "
        "ways to make EE",
        "counterexample": "`E – T T` makes nothing and does not count",
        "symbols_code": "list(text)",
        "starts_code": "1",
        "stay_code": "[before[s]]",
        "jump_code": "",
        "why": "The row of places holds the letters alone, a path stays or moves on by one, and it "
        "ends at the last letter.",
        "name": "stretches",
    },
    {
        "rule": "the chapter's rule, merge equal neighbours and then drop the blanks",
        "examples": "`E – T T`, `E E T –` and `– E T –` make ET, and `E – E E` makes EE",
        "counterexample": "`E E E E` makes E",
        "symbols_code": "[0] + [symbol for letter in text for symbol in (letter, 0)]",
        "starts_code": "2",
        "stay_code": "[before[s]]",
        "jump_code": JUMP.format("s >= 2 and symbol not in (0, z[s - 2])"),
        "why": "A jump over the blank is allowed between different letters only; between equal ones "
        "it would merge them.",
        "name": "ctc",
    },
)


def _places(name, text):
    return list(text) if name == "stretches" else [0, *(symbol for letter in text for symbol in (letter, 0))]


def _allowed(name, z):
    """Return which place may follow which."""
    allowed = torch.zeros(len(z), len(z), dtype=torch.bool)
    for s, symbol in enumerate(z):
        allowed[s, s] = symbol == 0 or not name.startswith("one state")
        if s >= 1:
            allowed[s - 1, s] = True
        if s >= 2 and symbol != 0:
            different = symbol != z[s - 2]
            allowed[s - 2, s] = name in ("one state each", "jumps") or (
                name in ("ctc", "jumps to blanks") and different
            )
        if s >= 2 and symbol == 0 and name == "jumps to blanks":
            allowed[s - 2, s] = True
    return allowed


def _sum(name, *, best=False, starts=None, ends=None, sign=1.0, per_letter=False, logs=True, never=None):
    """Sum over all walks through the places, by one matrix of allowed moves."""

    def log_probability(log_probs, text):
        z = _places(name, text)
        combine = torch.amax if best else torch.logsumexp
        moves = torch.zeros(len(z), len(z), dtype=log_probs.dtype).masked_fill(~_allowed(name, z), -torch.inf)
        said = log_probs[:, z]
        first = starts or (slice(0, 1) if name == "stretches" else slice(0, 2))
        last = ends or (slice(-1, None) if name == "stretches" else slice(-2, None))
        begins = torch.full_like(said[0], -torch.inf)
        begins[first] = said[0, first]
        if logs:
            r = begins
            for state in said[1:]:
                r = combine(r[:, None] + moves, 0) + state
            total = combine(r[last], 0)
        else:
            r = begins.exp()
            for state in said[1:]:
                r = (r @ moves.exp()) * state.exp()
            total = r[last].sum().log()
        if never is not None and total == -torch.inf:
            total = torch.full_like(total, never)
        return sign * total / (len(text) if per_letter else 1)

    return log_probability


def _build(version):
    name = version["name"]

    def properties(rng):
        def case(n_states, text, dtype=torch.float64, times=1.5):
            logits = normal(rng, n_states, 6, dtype=torch.float64) * times
            return {"log_probs": logits.log_softmax(dim=-1).to(dtype), "text": text}

        return [
            Property("one letter", [case(1, [3]), case(4, [5])], 1),
            Property("different letters", [case(5, [2, 4]), case(7, [1, 3, 5]), case(6, [4, 1, 4])], 2),
            Property("equal letters side by side", [case(5, [3, 3]), case(9, [2, 5, 5, 1, 5])], 2),
            Property("as many states as letters", [case(3, [1, 4, 2]), case(3, [2, 2, 5])], 1),
            Property("no path fits", [case(3, [1, 2, 3, 4]), case(1, [2, 5])], 1),
            Property(
                "a sound of 120 states",
                [case(120, [1, 5, 5, 2, 3, 4], torch.float32)],
                2,
            ),
        ]

    rivals = {
        "ctc": "the chapter's rule: equal neighbours merge, and a blank is needed between equal letters only",
        "kept apart": "a rule that demands a blank between any two letters",
        "one state each": "a rule by which every letter is named by one state only",
        "stretches": "a rule without blanks",
    }
    mistakes = [
        Mistake(
            f"another rule: {rival}",
            f"This is the sum for {what}. The page asks for another set of paths.",
            _sum(rival),
        )
        for rival, what in rivals.items()
        if rival != name
    ]
    if name in ("ctc", "one state each"):
        mistakes.append(
            Mistake(
                "jumps between blanks",
                "A path may jump from one blank to the next here, which leaves the letter between them out.",
                _sum("jumps to blanks"),
            )
        )
    if name == "ctc":
        mistakes.append(
            Mistake(
                "jumps between equal letters",
                "The blank between two equal letters may be jumped over here; after merging, such a "
                "path has lost one of them.",
                _sum("jumps"),
            )
        )
    if name == "one state each":
        mistakes += [
            Mistake(
                "letters held",
                "A path may stay on a letter here. By this rule every state that names a letter writes one.",
                _sum("jumps"),
            ),
            Mistake(
                "blanks between letters demanded",
                "Letters are named by one state each, but a blank is demanded between them. Two letters may "
                "stand side by side.",
                _sum("one state and a blank"),
            ),
        ]
    if name == "stretches":
        mistakes += [
            Mistake(
                "ends anywhere",
                "Paths that have not come to the last letter are counted too: they make only a "
                "beginning of the text.",
                _sum(name, ends=slice(0, None)),
            ),
            Mistake(
                "begins anywhere",
                "Paths may begin in the middle of the text here, and leave its first letters out.",
                _sum(name, starts=slice(0, None)),
            ),
        ]
    else:
        mistakes += [
            Mistake(
                "ends in a blank only",
                "A path is complete at its last letter too, when the sound ends there. Those "
                "paths are missing.",
                _sum(name, ends=slice(-1, None)),
            ),
            Mistake(
                "ends in a letter only",
                "A path is complete after its last letter as well, in blanks. Those paths are missing.",
                _sum(name, ends=slice(-2, -1)),
            ),
            Mistake(
                "no blanks at the ends",
                "Paths begin with the first letter and end with the last here. Silence before and after the "
                "text is missing.",
                _sum(name, starts=slice(1, 2), ends=slice(-2, -1)),
            ),
            Mistake(
                "begins with a blank only",
                "A path may begin with the first letter at once. Those paths are missing.",
                _sum(name, starts=slice(0, 1)),
            ),
            Mistake(
                "begins with a letter only",
                "A path may begin with blanks. Those paths are missing.",
                _sum(name, starts=slice(1, 2)),
            ),
        ]
    mistakes += [
        Mistake(
            "the best path alone",
            "The largest way in is kept where all ways must be added: this is the probability of "
            "the likeliest path.",
            _sum(name, best=True),
        ),
        Mistake(
            "products instead of sums of logarithms",
            "Short sounds come out right. In a long one the product of the probabilities is too small for "
            "the number format and becomes 0.",
            _sum(name, logs=False),
        ),
        Mistake(
            "the loss",
            "The sign is turned round: this is a loss, not a log-probability.",
            _sum(name, sign=-1.0),
        ),
        Mistake(
            "zero where no path fits",
            "Where no path makes the text the result is 0. As a logarithm this calls the text certain.",
            _sum(name, never=0.0),
        ),
        Mistake(
            "for each letter",
            "The result is divided by the letters of the text. What is asked for is the text as a whole.",
            _sum(name, per_letter=True),
        ),
    ]
    return Exercise(
        reference=_sum(name),
        properties=properties,
        mistakes=mistakes,
        see=(13, "No attention: let every state speak"),
        variants={"backwards": _backwards(name)},
    )


def _backwards(name):
    """Read sound and text from the end."""
    return lambda log_probs, text: _sum(name)(log_probs.flip(0), text[::-1])


FAMILY = Family(VERSIONS, _build)
