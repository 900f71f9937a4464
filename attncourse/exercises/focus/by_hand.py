"""Checker: one row of attention, computed by hand."""

import math

import numpy as np

from attncourse.exercises._exercise import Exercise, Family, Mistake, ask_parts
from attncourse.reference import dot_product_scores, masked_softmax, project, weighted_sum

FEATURES = {
    "cats": (1.0, 0.0, 1.0),
    "chase": (0.0, 1.0, 0.0),
    "small": (0.0, 0.0, -1.0),
    "mice": (1.0, 0.0, -1.0),
    "dogs": (1.0, 0.0, 2.0),
}
QUERY_PROJ = np.array([[1.0, 0], [2, 0], [-1, 1]])
KEY_PROJ = np.array([[1.0, 0], [0, 0], [0, 1]])
VALUE_PROJ = np.array([[4.0, 0], [0, 4], [0, 2]])
SENTENCE = ("cats", "chase", "small", "mice")
VERSIONS = (
    {
        "word": "mice",
        "old": "cats",
        "temperature": "1",
        "query_numbers": "(2, -1)",
        "score_numbers": "(1, 0, 1, 3)",
        "new_score": "0",
        "place": "0",
        "why": "*Mice* looks for things that are not big, and is one: it gives itself the most weight.\n"
        "*Dogs* is bigger than *cats* and gets less, so the others gain.",
    },
    {
        "word": "chase",
        "old": "small",
        "temperature": "2",
        "query_numbers": "(2, 0)",
        "score_numbers": "(1, 0, 0, 1)",
        "new_score": "1",
        "place": "2",
        "why": "*Chase* looks for things, whatever their size, and divides most of its weight between *cats* "
        "and *mice*.\n"
        "The temperature halves the scores before the exponential, which makes the row softer.\n"
        "With *dogs* there are three things to share among, so the others lose.",
    },
    {
        "word": "cats",
        "old": "mice",
        "temperature": "1",
        "query_numbers": "(0, 1)",
        "score_numbers": "(1, 0, -1, -1)",
        "new_score": "2",
        "place": "3",
        "why": "The query of *cats* looks for size alone, since its size takes off what the thing put on; "
        "so *cats* gives itself the most weight.\n"
        "*Dogs* is bigger still, and takes more than half of the row.",
    },
)


def _five_steps(words, temperature):
    inputs = np.array([FEATURES[word] for word in words])
    query, key, value = project(inputs, QUERY_PROJ, KEY_PROJ, VALUE_PROJ)
    return query, key, value, dot_product_scores(query, key, scale=1 / temperature)


def _row(numbers):
    return tuple(float(number) for number in numbers)


def _run(answer, inputs):
    found = answer[inputs["part"]]
    return found if inputs["part"] == "factor" else _row(found)


def _build(version):
    place, temperature = SENTENCE.index(version["word"]), float(version["temperature"])
    old = SENTENCE.index(version["old"])
    query, key, value, scores = _five_steps(SENTENCE, temperature)
    weights = masked_softmax(scores)
    words = [*SENTENCE[:old], "dogs", *SENTENCE[old + 1 :]]
    new_scores = _five_steps(words, temperature)[3]
    new_weights = masked_softmax(new_scores)
    factor = (new_weights[place, place] / weights[place, place]).item()
    row = scores[place]
    exponentials = np.exp(row)
    at_another = row / math.sqrt(2) if temperature == 1 else row * temperature
    away = np.delete(weights[place], old)
    with_dogs = exponentials.sum() + np.exp(new_scores[place, old])
    message_factor = (
        "The row is divided by its sum, and one term of the sum has changed; so all other weights change."
    )

    def wrong(name, message, **parts):
        return Mistake(name, message, parts)

    size = FEATURES[version["word"]][2]
    signs = wrong(
        "signs of the size row",
        "The size counts with the wrong sign: its row of the query matrix is (-1, 1), and small things have "
        "the size -1.",
        query=query[place] + 2 * size * np.array([1.0, -1.0]),
    )
    right = {
        "query": _row(query[place]),
        "scores": _row(row),
        "weights": _row(weights[place]),
        "output": _row(weighted_sum(weights, value)[place]),
        "factor": factor,
    }
    rounded = {name: np.round(numbers, 4) for name, numbers in right.items()} | {"factor": round(factor, 4)}
    return Exercise(
        reference=right,
        properties=lambda rng: ask_parts(
            "query",
            "scores",
            "weights",
            "output",
            "factor",
            weights={"query": 0.5, "weights": 2, "output": 2},
        ),
        mistakes=[
            wrong(
                "the key for the query",
                "That is the word's key: you multiplied by the matrix of the keys.",
                query=key[place],
                scores=key @ key[place] / temperature,
            ),
            *([signs] if size else []),
            wrong(
                "asked by the others",
                "That is a column of the scores: how the other words score *this* one. A row holds the "
                "scores that this word gives.",
                scores=scores[:, place],
                weights=masked_softmax(scores.T)[place],
            ),
            wrong(
                "another temperature",
                "You divided by the root of d_head, as later chapters do. On this page T is 1."
                if temperature == 1
                else "Your scores are not divided by T.",
                scores=at_another,
                weights=masked_softmax(at_another[None])[0],
            ),
            wrong(
                "exponentials without their sum",
                "These are the exponentials. Dividing by their sum makes them weights.",
                weights=exponentials,
                output=exponentials @ value,
            ),
            wrong(
                "no exponential",
                "You divided the scores themselves by their sum. The softmax takes their exponentials first, "
                "so a score of 0 still has a weight and none is negative.",
                weights=row / row.sum(),
                output=row / row.sum() @ value,
            ),
            wrong(
                "keys mixed instead of values",
                "You mixed the keys by their weights. The output is made of the values.",
                output=weights[place] @ key,
            ),
            wrong("nothing else changes", message_factor, factor=1.0),
            wrong(
                "factor upside down",
                "You divided the new sum by the old one. A weight is divided by the sum, so its factor is "
                "the other way round.",
                factor=1 / factor,
            ),
            wrong(
                "the changed word's own exponential",
                "That is the factor of the one exponential that changed. The other weights change by the "
                "factor of the sum.",
                factor=math.exp(new_scores[place, old] - row[old]),
            ),
            wrong(
                "weight left over",
                "You spread the old weight of the replaced word over the other three, as if the new word "
                "had none.",
                factor=1 / away.sum(),
            ),
            wrong(
                "both words counted",
                "Your new sum holds the word that was replaced as well as the new one.",
                factor=exponentials.sum() / with_dogs,
            ),
        ],
        see=(2, "Five steps on four words"),
        variants={"four decimals": rounded},
        run=_run,
        # Four decimals by hand, and products of them.
        rtol=1e-3,
        atol=1e-3,
    )


FAMILY = Family(VERSIONS, _build)
