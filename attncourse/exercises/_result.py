"""What a check found, in points and in words."""

import math
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from attncourse.exercises._compare import type_name
from attncourse.exercises._exercise import Exercise, Mistake, Place
from attncourse.exercises._run import Run


@dataclass(frozen=True)
class PropertyResult:
    """How an answer did on one property."""

    name: str
    weight: float
    passed: bool
    difference: str = ""
    called_with: str = ""


@dataclass(frozen=True)
class Result:
    """What ``check`` found.

    Attributes
    ----------
    exercise_id : str
        The exercise.
    attempted : bool
        False while the answer is still the starter.
    properties : tuple of PropertyResult
        One for each property that the exercise asks for; empty if nothing could be run.
    mistakes : tuple of str
        Names of the known mistakes that the answer equals.
    """

    exercise_id: str
    attempted: bool
    properties: tuple[PropertyResult, ...] = ()
    mistakes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether everything is right."""
        return bool(self.properties) and all(one.passed for one in self.properties)

    def points(self, maximum: float) -> float:
        """Return the points of this answer, each property by its weight.

        Parameters
        ----------
        maximum : float
            Points of a right answer; positive.

        Returns
        -------
        float
            Between 0.0 and ``maximum``, to two decimals: a plain float, which graders read.

        Raises
        ------
        TypeError
            If ``maximum`` is no number.
        ValueError
            If it is not positive and finite.
        """
        if isinstance(maximum, bool) or not isinstance(maximum, int | float):
            raise TypeError(f"maximum must be a number, got maximum of type {type(maximum).__name__}")
        if not (maximum > 0 and math.isfinite(maximum)):
            raise ValueError(f"maximum must be positive and finite, got maximum={maximum}")
        if self.passed:
            return float(maximum)
        total = sum(one.weight for one in self.properties)
        got = sum(one.weight for one in self.properties if one.passed)
        return round(maximum * got / total, 2) if total else 0.0

    def __repr__(self) -> str:
        """Say it in one line."""
        if not self.attempted:
            return f"{self.exercise_id}: not attempted yet"
        right = sum(one.passed for one in self.properties)
        return f"{self.exercise_id}: {right} of {len(self.properties)} checks right"


def _short(number: Any) -> Any:
    """Return numbers with four digits, which also tells tiny ones apart."""
    if isinstance(number, list):
        return [_short(one) for one in number]
    return float(f"{number:.4g}") if isinstance(number, float) else number


def _shown(value: Any) -> str:
    """Return an input as a report shows it: shape and type of an array, a short text of the rest."""
    if isinstance(value, torch.Tensor | np.ndarray):
        if value.ndim == 0 or (value.ndim == 1 and value.shape[0] <= 8):
            return str(_short(value.tolist()))
        dtype = str(value.dtype).removeprefix("torch.")
        return f"of shape {tuple(value.shape)}" + ("" if dtype == "float32" else f", {dtype}")
    if isinstance(value, torch.nn.Module):
        return type(value).__name__
    text = repr(value)
    if len(text) <= 60:
        return text
    return f"a {type_name(value)} of {len(value)}" if isinstance(value, Sized) else text[:57] + "..."


def call_text(inputs: Mapping[str, Any]) -> str:
    """Return what an answer was called with, in a line; a part of a dictionary is called with nothing."""
    if set(inputs) == {"part"}:
        return ""
    return "called with " + "; ".join(f"{name} {_shown(value)}" for name, value in inputs.items())


def place_text(place: Place) -> str:
    """Return where to read on, in words."""
    chapter, heading = place
    return f"chapter {chapter}, “{heading}”"


def print_report(
    task: Exercise, result: Result, run: Run, mistakes: Sequence[Mistake], whole: bool, remark: str
) -> None:
    """Print what is right, what differs, which mistake it is, where to read on, and what was printed."""
    right = sum(one.passed for one in result.properties)
    if result.passed:
        print(f"✓ {result.exercise_id}: right in every check ({right} of {right})")
    else:
        print(f"✗ {result.exercise_id}: {right} of {len(result.properties)} checks right")
        _print_properties(result)
        this = "This" if whole else "Part of this"
        for mistake in mistakes:
            print(f"→ {this} is a known mistake, “{mistake.name}”: {mistake.message}")
        if not mistakes and any(outcome.kind in ("output", "raised") for outcome in run.outcomes):
            print("→ None of the mistakes that we know. Try the smallest input by hand, and the hints.")
        places = list(dict.fromkeys(mistake.see or task.see for mistake in mistakes)) or [task.see]
        print(f"→ Read on in {' and in '.join(map(place_text, places))}.")
    if remark:
        print(remark)
    if run.n_printed:
        kept = len(run.printed)
        more = f" (the first {kept} of {run.n_printed:,} characters)" if run.n_printed > kept else ""
        print(f"Your code printed{more}:")
        print("\n".join(f"  | {line[:100]}" for line in run.printed.splitlines()[:12]))


def _print_properties(result: Result) -> None:
    told = ""  # a difference is told once
    for one in result.properties:
        if one.passed:
            print(f"  ✓ {one.name}")
            continue
        print(f"  ✗ {one.name}: {'the same' if one.difference == told else one.difference}")
        if one.called_with and one.difference != told:
            print(f"      {one.called_with}")
        told = one.difference
