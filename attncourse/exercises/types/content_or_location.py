"""Checker: find out by experiment whether a score reads content, location, both or neither."""

import torch

from attncourse.exercises._exercise import Exercise, Mistake, Property, normal
from attncourse.scores import build_score


def _scores(query, key):
    """Return score functions by name; those with a place in them do not care what the keys hold."""
    generator = torch.Generator().manual_seed(5)
    n_places = key.shape[-2] + 3
    columns = torch.randn(query.shape[-1], n_places, generator=generator, dtype=query.dtype)

    def content(name):
        torch.manual_seed(3)
        module = build_score(name, d_query=query.shape[-1], d_key=key.shape[-1]).to(query.dtype)
        return lambda query, key: module(query, key).detach()

    def location(query, key):
        return query @ columns[:, : key.shape[-2]]

    def bias(of_places):
        def added(query, key):
            places = torch.arange(key.shape[-2], dtype=query.dtype)
            return of_places(places, key.shape[-2]).expand(query.shape[-2], -1)

        return added

    additive, general = content("additive"), content("general")
    distance = bias(lambda places, n: -0.3 * (n - 1 - places))
    middle = bias(lambda places, n: -(places - (n - 1) / 2).abs())
    last = bias(lambda places, n: (places == n - 1).to(places))
    first = bias(lambda places, n: (places == 0).to(places))
    return {
        "additive": additive,
        "general": general,
        "columns": location,
        "distance alone": distance,
        "the same everywhere": lambda query, key: query.sum(dim=-1, keepdim=True).expand(-1, key.shape[-2]),
        "distance from the middle alone": middle,
        "general plus distance": lambda query, key: general(query, key) + distance(query, key),
        "additive times a place": lambda query, key: additive(query, key) * (2 + first(query, key)),
        "general plus distance from the middle": lambda query, key: general(query, key) + middle(query, key),
        "general, and a bonus for the last place": lambda query, key: general(query, key) + last(query, key),
        "general, less the row's mean": lambda query, key: (
            general(query, key) - general(query, key).mean(dim=-1, keepdim=True)
        ),
        "general, all raised by 2": lambda query, key: general(query, key) + 2,
    }


def _run(answer, inputs):
    return answer(_scores(inputs["query"], inputs["key"])[inputs["score"]], inputs["query"], inputs["key"])


def _properties(rng):
    def ask(*names, n_keys=6):
        return [
            {
                "score": name,
                "query": normal(rng, 4, 5, dtype=torch.float64),
                "key": normal(rng, n_keys, 3, dtype=torch.float64),
            }
            for name in names
        ]

    return [
        Property("content scores", ask("additive", "general"), 1),
        Property("location scores", ask("columns", "distance alone", n_keys=7), 1),
        Property("sums of both", ask("general plus distance", n_keys=7), 1),
        Property("the same score everywhere", ask("the same everywhere"), 1),
        Property(
            "locations that are easy to miss",
            [
                *ask("distance from the middle alone", "general plus distance from the middle"),
                *ask("general plus distance from the middle", n_keys=5),
                *ask("general, and a bonus for the last place", "additive times a place", n_keys=7),
            ],
            2,
        ),
        Property(
            "a constant on top",
            ask("general, all raised by 2", "general, less the row's mean", n_keys=5),
            1,
        ),
    ]


NAMES = {(True, False): "content", (False, True): "location", (False, False): "both", (True, True): "neither"}


def _by_order(make_order, *, inverse=False, names=NAMES):
    """Return an answer that shuffles the keys by one order and compares."""

    def reads(score, query, key):
        order = make_order(len(key))
        before, after = score(query, key), score(query, key[order])
        along = before[:, order.argsort()] if inverse else before[:, order]
        return names[torch.allclose(after, along), torch.allclose(after, before)]

    return reads


def _roll(n):
    return torch.arange(n).roll(1)


def _swap(n):
    return torch.tensor([1, 0, *range(2, n)])


def _new_keys(score, query, key):
    """Draw other keys: tells that content is read, and nothing of places."""
    other = torch.randn(key.shape, generator=torch.Generator().manual_seed(0), dtype=key.dtype)
    return "location" if torch.allclose(score(query, other), score(query, key)) else "content"


def _moves_or_not(score, query, key):
    order = _roll(len(key))
    before, after = score(query, key), score(query, key[order])
    if torch.allclose(after, before):
        return "location"
    return "content" if torch.allclose(after, before[:, order]) else "both"


def _content_first(score, query, key):
    answer = _by_order(_roll)(score, query, key)
    return "content" if answer == "neither" else answer


def _by_many_orders(score, query, key):
    moved = kept = True
    generator = torch.Generator().manual_seed(1)
    before = score(query, key)
    for _ in range(12):
        order = torch.randperm(len(key), generator=generator)
        after = score(query, key[order])
        moved &= torch.allclose(after, before[:, order])
        kept &= torch.allclose(after, before)
    return NAMES[moved, kept]


EXERCISE = Exercise(
    reference=_by_order(_roll),
    properties=_properties,
    run=_run,
    mistakes=[
        Mistake(
            "keys turned round",
            "The keys are put in reverse order. A score that depends on the distance from the middle looks "
            "the same from both ends, as if it read no place at all.",
            _by_order(lambda n: torch.arange(n - 1, -1, -1)),
        ),
        Mistake(
            "two keys exchanged",
            "Only two keys change places. What the score does at all other places is never tested.",
            _by_order(_swap),
        ),
        Mistake(
            "other keys instead of another order",
            "New keys are drawn. That tells whether contents matter, and never whether places do.",
            _new_keys,
        ),
        Mistake(
            "content and location exchanged",
            "The two words are mixed up: scores that move along with the keys read their content.",
            _by_order(_roll, names=NAMES | {(True, False): "location", (False, True): "content"}),
        ),
        Mistake(
            "neither called location",
            "Scores that are equal at all places do not change when the keys are shuffled, but they also "
            "move along with them: both tests hold.",
            _moves_or_not,
        ),
        Mistake(
            "neither called content",
            "Scores that are equal at all places move along with the keys, but they also do not change: both "
            "tests hold.",
            _content_first,
        ),
        Mistake(
            "compared with the wrong order",
            "The keys are shuffled by one order and the scores by its inverse, so that content scores do not "
            "seem to move along.",
            _by_order(_roll, inverse=True),
        ),
        Mistake(
            "both and neither exchanged",
            "A score that passes both tests reads neither; one that fails both reads both.",
            _by_order(_roll, names=NAMES | {(True, True): "both", (False, False): "neither"}),
        ),
    ],
    see=(10, "What does a score depend on?"),
    variants={"many orders": _by_many_orders},
)
