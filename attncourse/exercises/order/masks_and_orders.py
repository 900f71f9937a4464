"""Checker: which orders of the tokens a mask cannot tell apart."""

import itertools
import math

import numpy as np
import torch

from attncourse.exercises._exercise import Exercise, Mistake, Property


def _run(answer, inputs):
    """Call the named part of the answers with the other inputs."""
    name, *arguments = inputs.values()
    result = answer[name](*arguments)
    return result.item() if isinstance(result, np.generic) else result


def _one(mask, order):
    return torch.equal(mask[order][:, order], mask)


def _every(mask):
    """Ask for two orders that generate all: exchange the first two tokens, and move all on by one."""
    places = list(range(len(mask)))
    swap, turn = [*places[1::-1], *places[2:]], [*places[1:], places[0]]
    return _one(mask, torch.tensor(swap)) and _one(mask, torch.tensor(turn))


def _count(mask, keeps=_one):
    return sum(keeps(mask, torch.tensor(order)) for order in itertools.permutations(range(len(mask))))


RIGHT = {"one order": _one, "every order": _every, "count": _count}


def _uniform(n, own, others):
    return torch.full((n, n), others).masked_fill(torch.eye(n, dtype=torch.bool), own)


def _flipped(mask, i, j):
    mask = mask.clone()
    mask[i, j] = ~mask[i, j]
    return mask


def _window(n, past, future):
    back = torch.arange(n)[:, None] - torch.arange(n)
    return (back <= past) & (back >= -future)


def _ring(n):
    """Return a mask for seats round a table: oneself and the next one."""
    back = torch.arange(n)[:, None] - torch.arange(n)
    return back.remainder(n) <= 1


def _groups(*sizes):
    return torch.block_diag(*(torch.ones(n, n) for n in sizes)).bool()


def _properties(rng):
    def random(n):
        return torch.from_numpy(rng.random((n, n)) < 0.5)

    def closed(n, order):
        """Return a random mask made so that the order keeps it."""
        mask = torch.from_numpy(rng.random((n, n)) < 0.2)
        for _ in range(12):
            mask = mask | mask[order][:, order]
        return mask

    ones = []
    for n in (5, 6, 7, 6):
        order = torch.from_numpy(rng.permutation(n))
        ones += [(closed(n, order), order), (random(n), order)]
    flip = torch.arange(5).flip(0)
    cycle = torch.tensor([1, 2, 3, 4, 5, 0])
    ones += [(_window(5, 1, 1), flip), (_window(5, 2, 0), flip), (_ring(6), cycle), (_ring(6), cycle[cycle])]
    padding = torch.tensor([True, True, False, False, False]).expand(5, 5).contiguous()
    ones += [
        (mask, order) for mask in (padding, padding.T) for order in (flip, torch.tensor([1, 0, 4, 2, 3]))
    ]
    ones += [
        (_window(5, 4, 0), torch.arange(5)),
        (_groups(2, 3), flip),
        (_groups(2, 2), torch.tensor([1, 0, 3, 2])),
    ]

    n = int(rng.integers(6, 10))
    symmetric = random(n) | random(n)
    kept = [
        _uniform(size, own, others) for size in (n, 4) for own in (True, False) for others in (True, False)
    ]
    changed = [
        _window(n, n, 0),
        _window(n, 1, 1),
        _ring(n),
        symmetric | symmetric.T,
        _groups(3, 3),
        random(n),
    ]
    changed += [
        _groups(2, 1),
        torch.tensor([[True, True], [False, True]]),
        torch.tensor([[True, True], [True, False]]),
    ]
    edge = [torch.ones(1, 1, dtype=torch.bool), torch.zeros(1, 1, dtype=torch.bool)]

    long = []  # torch works on one thread up to 181 squared
    for own, others in ((True, True), (False, True), (True, False)):
        mask, (i, j) = _uniform(180, own, others), rng.choice(180, size=2, replace=False).tolist()
        long += [mask, _flipped(mask, i, j), _flipped(mask, i, i)]

    counted = [_window(4, 4, 0), _window(4, 1, 1), _ring(4), _groups(2, 3), _groups(2, 2), padding[:4, :4]]
    counted += [_uniform(4, True, False), _flipped(_uniform(4, False, False), 1, 1), edge[0], random(4)]
    return [
        Property('part "one order"', [{"part": "one order", "mask": m, "order": o} for m, o in ones], 1),
        Property(
            'part "every order"', [{"part": "every order", "mask": m} for m in [*kept, *changed, *edge]], 2
        ),
        Property('part "count"', [{"part": "count", "mask": m} for m in counted], 1),
        Property('part "every order" of 180 tokens', [{"part": "every order", "mask": m} for m in long], 1),
    ]


def _off_diagonal(mask):
    return mask[~torch.eye(len(mask), dtype=torch.bool)]


def _constant(entries):
    return bool(entries.all() or not entries.any())


def _flip_only(mask):
    return torch.equal(mask.flip(0, 1), mask)


def _by_definition(mask):
    return _constant(mask.diagonal()) and _constant(_off_diagonal(mask))


def _wrong(name, message, part, function):
    return Mistake(name, message, RIGHT | {part: function}, see=(6, "Without positions, order is invisible"))


EXERCISE = Exercise(
    reference=RIGHT,
    run=_run,
    properties=_properties,
    mistakes=[
        _wrong(
            "only the rows reordered",
            "The queries change places and the keys do not. When tokens change places, both do.",
            "one order",
            lambda mask, order: torch.equal(mask[order], mask),
        ),
        _wrong(
            "only the columns reordered",
            "The keys change places and the queries do not. When tokens change places, both do.",
            "one order",
            lambda mask, order: torch.equal(mask[:, order], mask),
        ),
        _wrong(
            "entries along the diagonal",
            "Two lists of indices side by side pick single entries, here those of the diagonal, and no "
            "submatrix.",
            "one order",
            lambda mask, order: torch.equal(mask[order, order], mask.diagonal()),
        ),
        _wrong(
            "symmetric masks",
            "A mask that equals its transpose lets a pair see each other, or neither. It may still treat "
            "pairs differently.",
            "every order",
            lambda mask: torch.equal(mask, mask.T),
        ),
        _wrong(
            "all or nothing",
            "Two masks were overlooked: an order never moves an entry off the diagonal, so the diagonal "
            "may differ "
            "from the rest.",
            "every order",
            _constant,
        ),
        _wrong(
            "the diagonal forgotten",
            "The entries off the diagonal are all alike, but those on it were not looked at.",
            "every order",
            lambda mask: _constant(_off_diagonal(mask)),
        ),
        _wrong(
            "the rest forgotten",
            "The diagonal is constant, but the other entries were not looked at.",
            "every order",
            lambda mask: _constant(mask.diagonal()),
        ),
        _wrong(
            "reversal alone",
            "Only writing the tokens backwards was tried. A window to both sides passes that, and no "
            "other order.",
            "every order",
            _flip_only,
        ),
        _wrong(
            "moving round alone",
            "Only moving all tokens round by one place was tried; a ring of neighbours passes that.",
            "every order",
            lambda mask: torch.equal(mask.roll((1, 1), (0, 1)), mask),
        ),
        _wrong(
            "the given order not counted",
            "Leaving all tokens where they are is an order too, and every mask is kept by it.",
            "count",
            lambda mask: _count(mask) - 1,
        ),
        _wrong(
            "one or all",
            "There is something between: a mask can be kept by some orders beside the given one without "
            "being kept by all.",
            "count",
            lambda mask: math.factorial(len(mask)) if _every(mask) else 1,
        ),
        _wrong(
            "only exchanges of two",
            "Only the given order and exchanges of two tokens were counted; three tokens can also change "
            "places in a ring.",
            "count",
            lambda mask: _count(
                mask, lambda m, order: _one(m, order) and (order != torch.arange(len(order))).sum() <= 2
            ),
        ),
        _wrong(
            "only the rows counted",
            "Orders were counted that keep the rows, with the keys left where they were.",
            "count",
            lambda mask: _count(mask, lambda m, order: torch.equal(m[order], m)),
        ),
    ],
    see=(6, "Without positions, order is invisible"),
    variants={"diagonal and rest": RIGHT | {"every order": _by_definition}},
)
