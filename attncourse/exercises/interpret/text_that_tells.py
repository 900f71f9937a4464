"""Checker: rules that continue a text, and a text on which they differ."""

from collections import Counter
from itertools import pairwise

from attncourse.exercises._exercise import Exercise, Mistake, Property


def _followers(text):
    """Return what followed each earlier appearance of the last symbol, in order."""
    return [after for symbol, after in pairwise(text) if symbol == text[-1]]


def _first(text):
    return next(iter(_followers(text)), None)


def _latest(text):
    return next(iter(_followers(text)[::-1]), None)


def _most(text):
    counted = Counter(_followers(text)[::-1])  # equal counts keep the order in which they came: latest first
    return counted.most_common(1)[0][0] if counted else None


def _age(text):
    return min(set(text), key=text.rfind)


RULES = {"first": _first, "latest": _latest, "most": _most}


def _run(answer, inputs):
    found = answer[inputs["part"]]
    return found if inputs["part"] == "text" else found(inputs["text"])


def _reading(output, inputs):
    """Say of a text which rules differ on it."""
    if inputs["part"] != "text":
        return output
    fits = isinstance(output, str) and 1 <= len(output) <= 20
    found = output if fits else "a"
    said = {name: rule(found) for name, rule in RULES.items()} | {"age": _age(found)}
    answers = {"a text of 1 to 20 symbols": fits, "its last symbol came before": said["first"] is not None}
    counts = sorted(Counter(_followers(found)).values())[-2:]
    answers['no tie for "most"'] = len(counts) < 2 or counts[0] < counts[1]
    names = list(said)
    for i, name in enumerate(names):
        for other in names[i + 1 :]:
            answers[f"“{name}” and “{other}” differ"] = said[name] != said[other]
    return answers


def _properties(rng):
    def draw(length, n_symbols, ends_new=False):
        text = "".join("abcdefgh"[k] for k in rng.integers(0, n_symbols, size=length))
        return text + ("z" if ends_new else "")

    def ask(part, *texts):
        return [{"part": part, "text": text} for text in texts]

    many = [draw(15, 3) for _ in range(6)] + [draw(24, 4) for _ in range(6)] + ["abacadaca", "xaxbxaxbx"]
    properties = [
        Property(f'part "{part}"', ask(part, *many, "aa", "aab", "a", draw(6, 5, ends_new=True)), 1)
        for part in RULES
    ]
    return [*properties, Property('part "text"', [{"part": "text"}], 2)]


def _overlooks_the_end(text):
    """Look for the last symbol everywhere but directly before the end."""
    found = [after for symbol, after in pairwise(text[:-1]) if symbol == text[-1]]
    return found[-1] if found else None


def _symbol_before(text):
    before = [text[place - 1] for place in range(1, len(text) - 1) if text[place] == text[-1]]
    return before[-1] if before else None


def _most_frequent_symbol(text):
    return Counter(text[::-1]).most_common(1)[0][0] if text[-1] in text[:-1] else None


def _ties_to_the_earliest(text):
    counted = Counter(_followers(text))
    return counted.most_common(1)[0][0] if counted else None


def _ties_by_alphabet(text):
    found = _followers(text)
    return max(sorted(set(found)), key=found.count) if found else None


def _first_of_all(text):
    return text[text.index(text[-1]) + 1]


def _last_of_all(text):
    return text[text.rindex(text[-1]) + 1]


def _found_at_the_end(text):
    """Find the last symbol at its own place, and come round to the beginning of the text."""
    return _followers(text)[-1] if _followers(text) else text[0]


EXERCISE = Exercise(
    reference={**RULES, "text": "eabacacada"},
    run=_run,
    reading=_reading,
    properties=_properties,
    mistakes=[
        Mistake(
            "first and latest exchanged",
            "The first appearance is taken for the latest, and the latest for the first.",
            {"first": _latest, "latest": _first},
        ),
        Mistake(
            "its own place found",
            "The last symbol is found at its own place. That is no earlier appearance, and nothing follows "
            "it.",
            {"first": _first_of_all, "latest": _last_of_all},
        ),
        Mistake(
            "the neighbour overlooked",
            "An appearance directly before the last symbol counts as well; what followed it is the last "
            "symbol itself.",
            {"latest": _overlooks_the_end},
        ),
        Mistake(
            "what came before",
            "This is the symbol in front of the earlier appearance. To go on, the one behind it is needed.",
            {"latest": _symbol_before},
        ),
        Mistake(
            "a new symbol continued anyway",
            "The last symbol of the text has not come before, so this rule has no answer there, which is "
            "None.",
            {"latest": _found_at_the_end},
        ),
        Mistake(
            "the commonest symbol of the text",
            "What is counted are all symbols of the text, not those that followed the last one.",
            {"most": _most_frequent_symbol},
        ),
        Mistake(
            "ties to the earliest",
            "Of followers that are equally frequent, the one that came first is taken, not the one that "
            "came last.",
            {"most": _ties_to_the_earliest},
        ),
        Mistake(
            "ties by the alphabet",
            "Of followers that are equally frequent, one is chosen by its letter, and not by when it came.",
            {"most": _ties_by_alphabet},
        ),
        Mistake(
            "a cycle",
            "All four rules name the same symbol here, as in every text that repeats one block. That is why "
            "accuracy on such texts cannot tell them apart.",
            {"text": "abcdabcdab"},
            see=(16, "A task that two steps solve"),
        ),
        Mistake(
            "only one jump",
            "Only the oldest symbol differs: first, latest and most name the same one, as they must where "
            "the last symbol has always been followed by the same.",
            {"text": "abcdefc"},
            see=(16, "A task that two steps solve"),
        ),
        Mistake(
            "the oldest symbol follows first",
            "Three rules differ, but the symbol that followed first is also the one that was read longest "
            "ago.",
            {"text": "abacacada"},
        ),
        Mistake(
            "the majority came last",
            "The follower that is most frequent is also the latest one.",
            {"text": "eabadacaca"},
        ),
    ],
    see=(16, "A task that two steps solve"),
    variants={"another text": {**RULES, "text": "qxaxbxbxcx"}},
)
