"""Checker: the concat score as an additive score, and what the cut saves."""

import torch

from attncourse.exercises._exercise import Exercise, Mistake, Property, call_part, normal


def _cut(matrix, d_state):
    return matrix.tensor_split((d_state,))


def _slow(n_target, n_source, d_state, d_memory, d_hidden):
    return n_target * n_source * (d_state + d_memory + 1) * d_hidden


def _fast(n_target, n_source, d_state, d_memory, d_hidden):
    return (n_target * d_state + n_source * d_memory + n_target * n_source) * d_hidden


def _properties(rng):
    def cut(d_state, d_memory, d_hidden):
        return {"part": "cut", "matrix": normal(rng, d_state + d_memory, d_hidden), "d_state": d_state}

    def count(part):
        names = ("n_target", "n_source", "d_state", "d_memory", "d_hidden")
        sizes = rng.permutation(range(2, 40))[:5].tolist()
        return {"part": part, **dict(zip(names, sizes, strict=True))}

    return [
        Property('part "cut", states and memory of one size', [cut(4, 4, 4)], 1),
        Property('part "cut", other sizes', [cut(3, 8, 5), cut(6, 2, 7)], 1),
        Property('part "slow"', [count("slow") for _ in range(3)], 1),
        Property('part "fast"', [count("fast") for _ in range(3)], 2),
    ]


def _wrong(**parts):
    return {"cut": _cut, "slow": _slow, "fast": _fast} | parts


EXERCISE = Exercise(
    reference=_wrong(),
    properties=_properties,
    mistakes=[
        Mistake(
            "cut in the middle",
            "The matrix is cut into halves. State and memory need not have the same size.",
            _wrong(cut=lambda matrix, d_state: matrix.chunk(2)),
        ),
        Mistake(
            "memory first",
            "The two matrices have changed places: in the concatenation the state stands first.",
            _wrong(cut=lambda matrix, d_state: (matrix[d_state:], matrix[:d_state])),
        ),
        Mistake(
            "cut across",
            "The columns are cut. Tokens are rows and stand on the left, so state and memory meet different "
            "rows of the matrix.",
            _wrong(cut=lambda matrix, d_state: (matrix[:, :d_state], matrix[:, d_state:])),
        ),
        Mistake(
            "turned",
            "Both parts are turned round; a state of this size does not fit on their left.",
            _wrong(cut=lambda matrix, d_state: (matrix[:d_state].T, matrix[d_state:].T)),
        ),
        Mistake(
            "readout forgotten",
            "The product with w is not counted: it needs one multiply-add for every pair and hidden unit.",
            _wrong(
                slow=lambda t, s, q, m, h: t * s * (q + m) * h,
                fast=lambda t, s, q, m, h: (t * q + s * m) * h,
            ),
        ),
        Mistake(
            "keys projected at every step",
            "The memory is projected for each target token anew. Its part of the sum does not depend on the "
            "step.",
            _wrong(fast=lambda t, s, q, m, h: (t * q + t * s * m + t * s) * h),
        ),
        Mistake(
            "states projected for every pair",
            "The state is projected for each source word anew. Its part of the sum does not depend on the "
            "source word.",
            _wrong(fast=lambda t, s, q, m, h: (t * s * q + s * m + t * s) * h),
        ),
        Mistake(
            "nothing saved",
            "The cut score is counted as dearly as the whole one: both parts are projected for every pair.",
            _wrong(fast=_slow),
        ),
        Mistake(
            "the hidden layer counted once",
            "The product with w is counted once for every pair; it runs over all hidden units.",
            _wrong(
                slow=lambda t, s, q, m, h: t * s * ((q + m) * h + 1),
                fast=lambda t, s, q, m, h: (t * q + s * m) * h + t * s,
            ),
        ),
    ],
    see=(5, "After the step: Luong"),
    variants={
        "lists": _wrong(
            cut=lambda matrix, d_state: [
                matrix[:d_state],
                torch.narrow(matrix, 0, d_state, len(matrix) - d_state),
            ]
        )
    },
    run=call_part,
)
