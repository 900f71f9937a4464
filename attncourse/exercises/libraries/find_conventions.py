"""Checker: find a library's conventions by calling it."""

import itertools
import math
from dataclasses import dataclass

import torch

from attncourse.attention import masked_softmax
from attncourse.exercises._exercise import Exercise, Mistake, Property

CHOICES = {
    "order": ("key, value", "value, key"),
    "true_means": ("may attend", "hidden"),
    "corner": ("first", "last"),
    "scale": ("1 / sqrt(d_head)", "1 / d_head", "none"),
    "empty_row": ("zeros", "mean", "NaN"),
}


@dataclass(frozen=True)
class Library:
    """A function with the conventions that its fields name."""

    order: str
    true_means: str
    corner: str
    scale: str
    empty_row: str

    def __repr__(self) -> str:
        """Give nothing away."""
        return "a library"

    def __call__(self, query, first, second, mask=None, is_causal=False):
        """Attend, or refuse what does not fit.

        Raises
        ------
        ValueError
            If the arrays or the mask do not fit together.
        """
        key, value = (first, second) if self.order == "key, value" else (second, first)
        n_queries, n_keys, d_head = query.shape[-2], key.shape[-2], query.shape[-1]
        if key.shape[:-1] != value.shape[:-1] or key.shape[-1] != d_head:
            raise ValueError("query, key and value do not fit together")
        shown = torch.ones(n_queries, n_keys, dtype=torch.bool)
        if mask is not None:
            if mask.dtype != torch.bool or mask.shape != shown.shape:
                raise ValueError("the mask must be boolean, of shape (n_queries, n_keys)")
            shown = mask if self.true_means == "may attend" else ~mask
        if is_causal:
            shown = shown & shown.new_ones(shown.shape).tril(
                n_keys - n_queries if self.corner == "last" else 0
            )
        factor = {"1 / sqrt(d_head)": 1 / math.sqrt(d_head), "1 / d_head": 1 / d_head, "none": 1.0}[
            self.scale
        ]
        output = masked_softmax(query @ key.mT * factor, shown) @ value
        nobody = ~shown.any(dim=-1, keepdim=True)
        instead = {
            "zeros": 0.0 * output,
            "mean": 0.0 * output + value.mean(dim=-2, keepdim=True),
            "NaN": output * math.nan,
        }
        return torch.where(nobody, instead[self.empty_row], output)


def _conventions(
    *, only=(), d_head=4, square=False, assume_shown=False, nan_by_equality=False, large=1.0, flat=False
):
    """Probe with unit vectors; every option is a way to probe badly."""

    def conventions(attend):
        unit = torch.eye(4)
        nothing = torch.zeros(1, 4)
        found = {"order": "key, value", "true_means": "may attend", "corner": "first"}
        found |= {"scale": "1 / sqrt(d_head)", "empty_row": "zeros"}
        if "order" not in only:
            found["order"] = "key, value" if attend(nothing, 0 * unit, unit).any() else "value, key"

        def ask(query, key, value, **options):
            pair = (key, value) if found["order"] == "key, value" else (value, key)
            return attend(query, *pair, **options)

        one = torch.tensor([[True, False, False, False]])
        if "true_means" not in only:
            found["true_means"] = "may attend" if ask(nothing, unit, unit, mask=one)[0, 0] == 1 else "hidden"
        queries = 0 * unit if square else nothing
        if "corner" not in only:
            found["corner"] = "last" if ask(queries, 0 * unit, unit, is_causal=True)[0, 3] > 0 else "first"
        first, second = ask(unit[:1], 2 * unit, unit)[0, :2]
        factor = (first / second).log().item() / 2
        near = {"1 / sqrt(d_head)": 0.5, "1 / d_head": 0.25, "none": 1.0}
        if "scale" not in only:
            found["scale"] = min(near, key=lambda name: abs(near[name] - factor))
        nobody = torch.full((1, 4), found["true_means"] == "hidden" and not assume_shown)
        row = ask(nothing + unit[:1], unit, unit, mask=nobody)[0]
        if "empty_row" not in only:
            is_nan = bool((row == math.nan).any()) if nan_by_equality else bool(row.isnan().any())
            found["empty_row"] = "NaN" if is_nan else "mean" if row.any() else "zeros"
        return found

    return conventions


def _wrong_way(key, conventions=None):
    """Read one probe the wrong way round."""
    conventions = conventions or _conventions()
    first, second = CHOICES[key][:2]

    def turned(attend):
        found = conventions(attend)
        return found | {key: second if found[key] == first else first}

    return turned


def _by_regression(attend):
    """Recover everything from random inputs, by trying which library explains them."""
    generator = torch.Generator().manual_seed(0)
    query, first, second = (torch.randn(n, 3, generator=generator) for n in (2, 5, 5))
    mask = torch.tensor([[True, False, True, False, False], [False] * 5])
    probes = [{}, {"mask": mask}, {"mask": ~mask}, {"is_causal": True}]
    answers = [attend(query, first, second, **probe) for probe in probes]
    for choice in itertools.product(*CHOICES.values()):
        library = Library(*choice)
        if all(
            torch.allclose(library(query, first, second, **probe), answer, equal_nan=True, atol=1e-6)
            for probe, answer in zip(probes, answers, strict=True)
        ):
            return dict(zip(CHOICES, choice, strict=True))
    return None


def _properties(rng):
    def libraries(order, polarities):
        """Return one library for each corner and kind of empty row, with the scales in turn."""
        cases = itertools.product(CHOICES["corner"], CHOICES["empty_row"])
        start = int(rng.integers(3))
        return [
            {
                "attend": Library(
                    order,
                    polarities[i % len(polarities)],
                    corner,
                    CHOICES["scale"][(start + i + i // 3) % 3],
                    row,
                )
            }
            for i, (corner, row) in enumerate(cases)
        ]

    usual = Library("key, value", "may attend", "first", "1 / sqrt(d_head)", "zeros")
    return [
        Property("a library like torch's function", [{"attend": usual}], 1),
        Property(
            "libraries with key before value, where True shows", libraries("key, value", ["may attend"]), 2
        ),
        Property("libraries whose True hides", libraries("key, value", ["hidden"]), 2),
        Property(
            "libraries that take value before key", libraries("value, key", CHOICES["true_means"][::-1]), 2
        ),
    ]


EXERCISE = Exercise(
    reference=lambda attend: {key: getattr(attend, key) for key in CHOICES},
    properties=_properties,
    mistakes=[
        Mistake(
            "polarity read the wrong way round",
            "The library that shows where the mask is True is called one that hides. With "
            "one True among several entries, look at whose value comes out.",
            _wrong_way("true_means"),
        ),
        Mistake(
            "order read the wrong way round",
            "Key and value are found in each other's place. Values are what the output is made of; "
            "keys only choose.",
            _wrong_way("order"),
        ),
        Mistake(
            "as many queries as keys",
            "With equally many queries and keys both corners are the same triangle, so this probe "
            "cannot tell them apart.",
            _conventions(square=True),
        ),
        Mistake(
            "corner read the wrong way round",
            "A single new query that sees all keys stands beside the last of them; here it is said "
            "to stand beside the first.",
            _wrong_way("corner"),
        ),
        Mistake(
            "empty row with True for visible",
            "The row of False is empty only if True shows. In a library whose True hides it hides nothing.",
            _conventions(assume_shown=True),
        ),
        Mistake(
            "NaN compared by ==",
            "NaN equals nothing, not even itself, so this comparison never finds it.",
            _conventions(nan_by_equality=True),
            see=(14, "A query that may attend nowhere"),
        ),
        Mistake(
            "order taken for granted",
            "The second argument is taken for the key everywhere. For some libraries it is the value, and "
            "then other probes go wrong as well.",
            _conventions(only=("order",)),
            see=(14, "The order of arguments"),
        ),
        Mistake(
            "polarity taken for granted",
            "True is taken to show, without a probe.",
            _conventions(only=("true_means",)),
        ),
        Mistake(
            "one scale for all",
            "All libraries are said to have the usual scale. A probe with one feature, or with scores so "
            "large that one key takes all the weight, cannot tell the scales apart.",
            _conventions(only=("scale",)),
        ),
    ],
    see=(14, "Where the same words mean something else"),
    variants={"unit vectors": _conventions(), "by elimination": _by_regression},
)
