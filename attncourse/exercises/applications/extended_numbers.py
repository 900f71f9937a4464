"""Checker: numbers for words that stand in no vocabulary."""

from attncourse.exercises._exercise import Exercise, Mistake, Property

KNOWN = ("<pad>", "<unknown>", "beat", "to", "won", "lost", "in", "storm")
NAMES = ("Gifa", "Rubur", "Fezo", "Razet", "Abo", "Zumi")


def _number(source, target, vocabulary, unknown):
    size = len(vocabulary)
    rare = tuple(dict.fromkeys(word for word in source if word not in vocabulary))
    extended = vocabulary | {word: size + place for place, word in enumerate(rare)}
    return (
        tuple(extended[word] for word in source),
        tuple(extended.get(word, unknown) for word in target),
        rare,
    )


def _run(answer, inputs):
    vocabulary, found = dict(inputs["vocabulary"]), {}
    reports = zip(inputs["source"].split(" / "), inputs["target"].split(" / "), strict=True)
    for place, (source, target) in enumerate(reports, start=1):
        numbers = answer(source.split(), target.split(), vocabulary, inputs["unknown"])
        in_source, in_target, rare = numbers
        parts = {"source": in_source, "target": in_target, "rare words": rare}
        which = f" of report {place}" if " / " in inputs["source"] else ""
        for name, part in parts.items():
            found[f"the {name}{which}"] = tuple(part) if isinstance(part, list) else part
    return found | {"the vocabulary afterwards": tuple(vocabulary.items())}


def _properties(rng):
    def vocabulary():
        numbers = rng.permutation(len(KNOWN)).tolist()
        return tuple(zip(KNOWN, numbers, strict=True))

    def ask(*reports):
        words = vocabulary()
        return {
            "source": " / ".join(source for source, _ in reports),
            "target": " / ".join(target for _, target in reports),
            "vocabulary": words,
            "unknown": dict(words)["<unknown>"],
        }

    def draw(n_words):
        words = (*KNOWN[2:], *NAMES)
        return " ".join(words[k] for k in rng.integers(0, len(words), size=n_words))

    plain = ("storm won in storm", "storm won")
    names = ("in storm Rubur beat Fezo", "Rubur won")
    again = ("Zumi beat Abo in storm to Zumi won Abo Gifa", "Abo lost to Zumi")
    beyond = ("Gifa lost in storm to Rubur", "Gifa beat Fezo in Razet")
    return [
        Property("known words only", [ask(plain)], 0.5),
        Property("each rare word once", [ask(names)], 1),
        Property("a rare word at several places", [ask(again), ask((draw(18), draw(6)))], 1.5),
        Property("rare words of the target that the source lacks", [ask(beyond)], 1),
        Property("a second report", [ask(again, beyond, names, (draw(9), draw(9)))], 1),
    ]


def _like(
    *,
    every_place=False,
    start=0,
    step=1,
    gaps=False,
    order=None,
    target="unknown",
    all_unknown=False,
    keeps=False,
):
    def number(source, target_words, vocabulary, unknown):
        size, rare, numbers, table = len(vocabulary) + start, [], [], {}
        for place, word in enumerate(source):
            if word in vocabulary:
                numbers.append(vocabulary[word])
                continue
            if every_place or word not in table:
                table[word] = size + (place if gaps else step * len(rare))
                rare.append(word)
            numbers.append(unknown if all_unknown else table[word])
        if order:
            rare = order(rare)
            table = {word: size + place for place, word in enumerate(rare)}
            numbers = [vocabulary.get(word, table.get(word)) for word in source]
        written = []
        for word in target_words:
            if target == "extended" and word not in vocabulary and word not in table:
                table[word] = size + len(rare)
                rare.append(word)
            missing = 0 if target == "zero" else unknown
            known = vocabulary.get(word, missing)
            written.append(known if target == "known" else vocabulary.get(word, table.get(word, missing)))
        if keeps:
            vocabulary.update(table)
        return tuple(numbers), tuple(written), tuple(rare)

    return number


def _skips_the_rest(source, target, vocabulary, unknown):
    """Leave out what the target cannot have."""
    numbers, written, rare = _number(source, target, vocabulary, unknown)
    kept = (n for n, word in zip(written, target, strict=True) if word in vocabulary or word in rare)
    return numbers, tuple(kept), rare


def _by_a_growing_list(*, again=1):
    def number(source, target, vocabulary, unknown):
        rare, numbers, size = [], [], len(vocabulary)
        for word in source:
            if word in vocabulary:
                numbers.append(vocabulary[word])
            elif word in rare:
                numbers.append(again * size + rare.index(word))
            else:
                rare.append(word)
                numbers.append(size + len(rare) - 1)
        extended = {word: size + place for place, word in enumerate(rare)}
        return numbers, [vocabulary.get(word, extended.get(word, unknown)) for word in target], rare

    return number


EXERCISE = Exercise(
    reference=_number,
    run=_run,
    properties=_properties,
    mistakes=[
        Mistake(
            "a new number at every place",
            "A word that stands twice gets two numbers, so its votes are not added, and the target knows "
            "one of them only.",
            _like(every_place=True),
            see=(17, "Generate or copy"),
        ),
        Mistake(
            "number in the list of rare words",
            "Where a rare word comes again, it gets its place among the rare words, without the size of the "
            "vocabulary: that is the number of a known word.",
            _by_a_growing_list(again=0),
        ),
        Mistake(
            "one number left out",
            "Counting begins one too late: the first number behind the vocabulary is its size, since known "
            "words begin at 0.",
            _like(start=1),
        ),
        Mistake(
            "the first number is taken",
            "Counting begins one too early: that number belongs to a known word.",
            _like(start=-1),
        ),
        Mistake(
            "number by place",
            "The place in the source is counted, not the rare words. The numbers get gaps, and a longer "
            "report larger numbers.",
            _like(gaps=True),
        ),
        Mistake(
            "sorted",
            "The rare words are sorted. They are numbered in the order of their first appearance.",
            _like(order=sorted),
        ),
        Mistake(
            "counted twice",
            "Every rare word takes two numbers, as it does when both a growing table and the list of rare "
            "words are counted.",
            _like(step=2),
        ),
        Mistake(
            "unknown in the source",
            "Every rare word of the source becomes the unknown one, so that nobody can say which one is "
            "copied.",
            _like(all_unknown=True),
            see=(17, "Summarisation: words that nobody knows"),
        ),
        Mistake(
            "unknown in the target",
            "The target's rare words all become the unknown one, also those that could be copied from the "
            "source.",
            _like(target="known"),
        ),
        Mistake(
            "numbers for words that cannot be copied",
            "A rare word that stands in the target only gets a number of its own, but no place of the "
            "source votes for it.",
            _like(target="extended"),
        ),
        Mistake(
            "unknown taken for 0",
            "A word of the target that nobody can write becomes number 0. The unknown word has the number "
            "that is handed in.",
            _like(target="zero"),
        ),
        Mistake(
            "the vocabulary grows",
            "The rare words are written into the vocabulary itself. In the next report they count as known, "
            "and its size is another one.",
            _like(keeps=True),
            see=(17, "Limits and common mistakes"),
        ),
        Mistake(
            "words left out",
            "Words of the target that are neither known nor in the source are left out, so it becomes "
            "shorter.",
            _skips_the_rest,
        ),
    ],
    see=(17, "Generate or copy"),
    variants={"by a growing list": _by_a_growing_list()},
)
