"""Checker: measure which logits of a Transformer move when words change places."""

import torch

from attncourse.exercises._exercise import Exercise, Mistake, Property
from attncourse.exercises.transformer import _measuring as measuring
from attncourse.exercises.transformer._measuring import drawn_model

CHOICES = ("a", "b", "c")


def _run(answer, inputs):
    part, *others = inputs.values()
    if part.startswith("prediction"):
        return answer[part] in CHOICES
    # Copying a model for every call would take longer than the calls.
    model = drawn_model(*others[:4]).train()
    return answer[part](model, *others[4:])


def _properties(rng):
    def case(part, n_layers, positions, lengths=(6, 6, 6), dropout=0.0, n_target=5, swap=(), silent=0):
        # One sequence is the same after the change, the others are not.
        source = torch.arange(3, 3 + len(lengths) * 6).reshape(len(lengths), 6)
        source[silent, : lengths[silent]] = 3
        for row, length in zip(source, lengths, strict=True):
            row[length:] = 0
        target = torch.stack([3 + torch.from_numpy(rng.permutation(14))[:n_target] for _ in lengths])
        if swap:
            target[silent, swap[0]] = target[silent, swap[1]]
        model = {
            "n_layers": n_layers,
            "positions": positions,
            "dropout": dropout,
            "weights": int(rng.integers(2**31)),
        }
        inputs = {"source": source, "lengths": torch.tensor(lengths), "target": target}
        return {"part": part} | model | inputs | dict(zip(("i", "j"), swap, strict=False))

    def slight(part, size, source, *swap):
        model = {"n_layers": 1, "positions": measuring.BY_HAND, "dropout": 0.0, "weights": size}
        inputs = {"source": torch.tensor([source]), "lengths": torch.tensor([2])}
        inputs |= {"target": torch.tensor([[3, 5, 4, 6, 7]])}
        return {"part": part} | model | inputs | dict(zip(("i", "j"), swap, strict=False))

    return [
        Property("both predictions", [{"part": "prediction_source"}, {"part": "prediction_target"}], 0.5),
        Property(
            'part "source_order", equal lengths',
            [case("source_order", 1, "sinusoidal"), case("source_order", 1, "none")],
            1,
        ),
        Property('part "source_order", padding', [case("source_order", 2, "none", (6, 4, 2))], 0.5),
        Property('part "source_order", dropout', [case("source_order", 1, "none", dropout=0.3)], 0.5),
        Property(
            'part "moved", a model without positions',
            [case("moved", n, "none", swap=(0, 1), silent=n - 1) for n in (1, 2)],
            1.5,
        ),
        Property(
            'part "moved", positions, padding and dropout',
            [
                case("moved", 1, "sinusoidal", (6, 3), 0.3, 6, swap=(1, 3)),
                case("moved", 1, "none", (6, 3, 5), 0.3, 7, swap=(4, 2), silent=1),
            ],
            1.5,
        ),
        Property(
            'part "source_order", changes near 1e-4',
            [
                slight("source_order", size, source)
                for size, source in ((1.3e-4, [3, 4]), (1.3e-4, [4, 3]), (0.8e-4, [4, 3]))
            ],
            0.5,
        ),
        Property(
            'part "moved", changes near 1e-4',
            [slight("moved", size, [4, 3], 1, 2) for size in (1.3e-4, 0.8e-4)],
            0.5,
        ),
    ]


def _remark(outputs):
    one, two, _ = (
        torch.as_tensor(out).tolist() for out in outputs['part "moved", a model without positions']
    )
    told = (", ".join(str(place) for place, moved in enumerate(row) if moved) for row in (one, two))
    places = " and with two at the places ".join(told)
    return (
        f"Without positions, swapping the words 0 and 1 moves logits with one layer at the places {places}."
    )


EXERCISE = Exercise(
    reference={
        "prediction_source": "a",
        "prediction_target": "b",
        "source_order": measuring.source_order,
        "moved": measuring.moved,
    },
    properties=_properties,
    run=_run,
    remark=_remark,
    mistakes=[
        Mistake(
            "the padding turned round as well",
            "Whole rows were reversed, so padding came to the front and words fell behind the length: that "
            "changes which words are read, not only their order.",
            {
                "source_order": lambda *inputs: measuring.source_order(
                    *inputs, turn=lambda source, lengths: source.flip(1)
                )
            },
        ),
        Mistake(
            "the mode as it was",
            "The model was not put into evaluation mode: with dropout two calls differ, whatever the inputs "
            "do.",
            {
                "source_order": lambda *inputs: measuring.source_order(*inputs, ask=measuring.in_its_mode),
                "moved": lambda *inputs: measuring.moved(*inputs, ask=measuring.in_its_mode),
            },
        ),
        Mistake(
            "rounding counted",
            "Every difference counts here, but sums in another order round differently. A change was to be "
            "larger "
            "than 1e-4.",
            {
                "source_order": lambda *inputs: measuring.source_order(*inputs, judge=measuring.exactly),
                "moved": lambda *inputs: measuring.moved(*inputs, judge=measuring.exactly),
            },
        ),
        Mistake(
            "a relative tolerance as well",
            "`allclose` and `isclose` add a share of the size of the logits to the tolerance unless they "
            "are told "
            "otherwise, so the limit was not 1e-4.",
            {
                "source_order": lambda *inputs: measuring.source_order(*inputs, judge=measuring.relatively),
                "moved": lambda *inputs: measuring.moved(*inputs, judge=measuring.relatively),
            },
        ),
        Mistake(
            "a change with its sign",
            "Only logits that rose (or only those that fell) were counted; a change has no sign here.",
            {
                "source_order": lambda *inputs: measuring.source_order(
                    *inputs, judge=lambda usual, other: other - usual > measuring.LEAST
                ),
                "moved": lambda *inputs: measuring.moved(
                    *inputs,
                    judge=lambda usual, other: (other - usual > measuring.LEAST).any(dim=2).any(dim=0),
                ),
            },
        ),
        Mistake(
            "only the first sequence",
            "Only the first sequence was looked at. A change that leaves one sequence alone may move "
            "another.",
            {
                "moved": lambda *inputs: measuring.moved(
                    *inputs, judge=lambda usual, other: measuring.anywhere(usual[:1], other[:1])
                )
            },
        ),
        Mistake(
            "in all sequences",
            "A place was counted only if it moved in every sequence; asked was whether it moved in any.",
            {
                "moved": lambda *inputs: measuring.moved(
                    *inputs,
                    judge=lambda usual, other: (
                        ((usual - other).abs() > measuring.LEAST).any(dim=2).all(dim=0)
                    ),
                )
            },
        ),
        Mistake(
            "the best word",
            "Only a change of the best word was counted. Logits can move without another word becoming the "
            "best.",
            {
                "moved": lambda *inputs: measuring.moved(
                    *inputs,
                    judge=lambda usual, other: (usual.argmax(dim=2) != other.argmax(dim=2)).any(dim=0),
                )
            },
        ),
        Mistake(
            "outputs exchanged as well",
            "The logits at the two places were exchanged before the comparison; each place is to be "
            "compared with "
            "itself.",
            {"moved": measuring.along},
        ),
        Mistake(
            "counted by the word that is read",
            "The places are shifted by one. The logits at place t say what the model thinks of word t, and "
            "it reads "
            "the words before it.",
            {"moved": measuring.shifted},
        ),
        Mistake(
            "changed in place",
            "The target that was handed in was changed; the caller still needs it.",
            {"moved": lambda *inputs: measuring.moved(*inputs, swap=measuring.in_place)},
        ),
        Mistake(
            "one word twice",
            "The first assignment overwrites the word that the second one wants to read, so one of the "
            "words is "
            "lost.",
            {"moved": lambda *inputs: measuring.moved(*inputs, swap=measuring.one_twice)},
        ),
    ],
    see=(8, "The whole model"),
    variants={
        "sequence by sequence": {
            "prediction_source": "b",
            "prediction_target": "c",
            "source_order": lambda model, source, lengths, target: any(
                measuring.source_order(model, *(one[[b]] for one in (source, lengths, target)))
                for b in range(len(source))
            ),
            "moved": lambda model, source, lengths, target, i, j: torch.stack(
                [
                    measuring.moved(model, *(one[[b]] for one in (source, lengths, target)), i, j)
                    for b in range(len(source))
                ]
            ).any(dim=0),
        }
    },
)
