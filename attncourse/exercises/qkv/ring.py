"""Checker: projections with which every hand of a ring prefers the next one."""

import math

import torch

from attncourse.exercises._exercise import Exercise, Mistake, Property

MARGIN = 0.01


def _favourites(scores, own_counts):
    # For every row: how far ahead its favourite lies in the ring, and how many keys tie with it.
    n = len(scores)
    if not scores.isfinite().all():
        raise ValueError("some scores are no finite numbers")
    if not own_counts:
        scores.fill_diagonal_(-math.inf)
    best, ahead = scores.max(dim=-1)
    ties = (scores > best[:, None] - MARGIN).sum(dim=-1)
    return [(int(j) - i) % n for i, j in enumerate(ahead)], ties.tolist()


def _run(answer, inputs):
    part = inputs["part"]
    made = answer[part](inputs["n"])
    if part == "two":
        if not isinstance(made, tuple | list) or len(made) != 2:
            raise TypeError("answers['two'] must return two matrices")
        if not all(isinstance(one, torch.Tensor) for one in made):
            raise TypeError("answers['two'] must return two matrices, both a torch.Tensor")
    elif not isinstance(made, torch.Tensor):
        raise TypeError("answers['one'] must return one matrix, a torch.Tensor")
    return made


def _preferences(query_matrix, key_matrix, n, own_counts):
    # Where the matrices do not have n rows each, and as many columns, there are no n by n scores.
    if query_matrix.is_complex() or key_matrix.is_complex():
        raise TypeError("scores are real numbers")
    first, second = query_matrix.shape, key_matrix.shape
    if first != second or len(first) != 2 or first[0] != n:
        return None, None
    return _favourites(query_matrix.double() @ key_matrix.double().T, own_counts)


def _reading(output, inputs):
    # Say whom each hand prefers.
    n = inputs["n"]
    if inputs["part"] == "two":
        query_matrix, key_matrix = output
        ahead, ties = _preferences(query_matrix, key_matrix, n, own_counts=True)
        return {
            "shape of the query's matrix": tuple(query_matrix.shape),
            "shape of the key's matrix": tuple(key_matrix.shape),
            "how many hands ahead each favourite lies": ahead,
            "largest number of favourites of a hand": ties and max(ties),
        }
    if output.ndim != 2:
        raise ValueError(f"a matrix has two axes, and this has the shape {tuple(output.shape)}")
    ahead, ties = _preferences(output, output, n, own_counts=False)
    found = list(zip(ahead, ties, strict=True)) if ties else []
    return {
        "rows of the matrix": len(output),
        "fewest favourites of a hand": ties and min(ties),
        "hands that prefer the next one (n - 1 at most count)": min(found.count((1, 1)), n - 1),
        "hands that prefer the one before (one may)": max(found.count((n - 1, 1)), 1),
    }


def _properties(rng):
    sizes = [*(int(n) for n in rng.choice([4, 5, 6, 7, 8], size=2, replace=False)), 9]
    return [
        Property('part "two", three hands', [{"part": "two", "n": 3}], 1),
        Property('part "two", longer rings', [{"part": "two", "n": n} for n in sizes], 1.5),
        Property('part "one", three hands', [{"part": "one", "n": 3}], 1),
        Property('part "one", longer rings', [{"part": "one", "n": n} for n in sizes], 2.5),
    ]


def _on_circle(n, ahead=0.0, turn=2 * math.pi):
    angles = (torch.arange(n) + ahead) * turn / n
    return 5 * torch.stack([angles.cos(), angles.sin()], dim=-1)


def _from_strengths(strengths):
    """Return a matrix whose Gram matrix holds strengths[i] between neighbours i and i + 1."""
    n = len(strengths)
    gram = torch.zeros(n, n, dtype=torch.float64)
    for i, strength in enumerate(strengths):
        gram[i, (i + 1) % n] = gram[(i + 1) % n, i] = strength
    return torch.linalg.cholesky(gram + 2 * n * torch.eye(n, dtype=torch.float64) * max(map(abs, strengths)))


def _edges(n):
    """Give every pair of neighbours a feature of its own, longer from pair to pair."""
    made = torch.zeros(n, n)
    for i in range(n - 1):
        made[i, i] = made[i + 1, i] = float(i + 1) ** 0.5
    return made


def _two(query_ahead, turn=2 * math.pi):
    return lambda n: (_on_circle(n, query_ahead, turn), _on_circle(n, turn=turn))


def _falling(n):
    return _from_strengths([float(n - 1 - i) for i in range(n)])


def _rising(n):
    return _from_strengths([float(i + 1) for i in range(n - 1)] + [0.5])


def _wrong(**parts):
    """Return both parts, the one that is not named right."""
    return {"two": _two(1), "one": _rising} | parts


EXERCISE = Exercise(
    reference=_wrong(),
    properties=_properties,
    mistakes=[
        Mistake(
            "the wrong way round",
            "Every hand prefers the one before it: queries and keys are exchanged, or the turn has the "
            "wrong sign.",
            _wrong(two=_two(-1)),
        ),
        Mistake(
            "every hand prefers itself",
            "Query and key of a hand are the same vector, so nothing is more like a query than its own key.",
            _wrong(two=_two(0)),
        ),
        Mistake(
            "as many columns as hands",
            "With a column for every hand it is easy; the question is whether two are enough.",
            _wrong(two=lambda n: (5 * torch.eye(n).roll(1, dims=1), torch.eye(n))),
        ),
        Mistake(
            "half a circle",
            "The hands stand on half of a circle: the last one has no next hand beside it, and the ring "
            "does not close.",
            _wrong(two=_two(1, turn=math.pi)),
        ),
        Mistake(
            "on a line",
            "With keys on a line a query can prefer one of its two ends only, however long the ring is.",
            _wrong(
                two=lambda n: (
                    torch.stack([torch.arange(n) + 1.0, torch.zeros(n)], dim=-1),
                    torch.stack([torch.arange(n) + 0.0, torch.zeros(n)], dim=-1),
                )
            ),
        ),
        Mistake(
            "both neighbours alike",
            "Every hand scores the same with the hand before as with the one behind, as at equal distances "
            "on a circle, and so no hand has a favourite.",
            _wrong(one=_on_circle),
        ),
        Mistake(
            "no two hands alike",
            "All hands stand at right angles to each other, so every other hand scores zero and none is "
            "preferred.",
            _wrong(one=lambda n: 5 * torch.eye(n)),
        ),
        Mistake(
            "strengths that fall",
            "Along the ring the scores of neighbours fall, so most hands prefer the hand before them.",
            _wrong(one=_falling),
        ),
        Mistake(
            "the longest is everybody's favourite",
            "On a line the longest vector scores highest with all others, so they all prefer one hand.",
            _wrong(one=lambda n: torch.arange(1.0, n + 1).unsqueeze(-1)),
        ),
    ],
    see=(3, "Why can one vector not play three roles?"),
    variants={
        "other lengths": {
            "two": lambda n: (3 * _on_circle(n, 2), _on_circle(n, 1) / 2),
            "one": _edges,
        }
    },
    run=_run,
    reading=_reading,
)
