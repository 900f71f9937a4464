"""What a checker knows of its exercise: reference, inputs, known mistakes and valid variants."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

Place = tuple[int, str]


def normal(rng: np.random.Generator, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return a tensor of standard normal numbers, shape ``shape``."""
    return torch.from_numpy(rng.standard_normal(shape)).to(dtype)


def call(answer: Callable, inputs: Mapping[str, Any]) -> Any:
    """Call a function with its inputs by position, so that readers may name their parameters as they like."""
    return answer(*inputs.values())


def part(answer: Mapping[str, Any], inputs: Mapping[str, Any]) -> Any:
    """Return the part of a dictionary of answers that ``inputs["part"]`` names."""
    return answer[inputs["part"]]


def call_part(answer: Mapping[str, Any], inputs: Mapping[str, Any]) -> Any:
    """Call the part of a dictionary of answers that the first input names with the other inputs.

    A prediction is no function: it is right by being one of the letters, whichever.

    Raises
    ------
    ValueError
        If the prediction is no letter.
    """
    name, *others = inputs.values()
    if name != "prediction":
        return answer[name](*others)
    if answer[name] not in ("a", "b", "c"):
        raise ValueError('a prediction is one of the letters "a", "b", "c"')
    return True


def ask_parts(*names: str, weights: Mapping[str, float] | None = None) -> "list[Property]":
    """Return one property for each named part of a dictionary of answers, for ``run=part``."""
    return [Property(f'part "{name}"', ({"part": name},), (weights or {}).get(name, 1.0)) for name in names]


@dataclass(frozen=True)
class Property:
    """One thing that an answer must get right, and what it is worth.

    Parameters
    ----------
    name : str
        What the inputs have in common, as a reader would say it: ``"several heads"``.
    inputs : sequence of dict
        The arguments of each call, by name and in the order of the signature. All calls must come out right.
    weight : float
        Its share of the points, relative to the other properties.
    """

    name: str
    inputs: Sequence[dict[str, Any]]
    weight: float = 1.0


@dataclass(frozen=True)
class Mistake:
    """A wrong version that people write, and what to tell its author.

    Parameters
    ----------
    name : str
        Short and unique within the exercise: ``"root of d_model"``.
    message : str
        What the author did and what follows from it, in one or two sentences; not the code that mends it.
    answer : object
        The wrong version, of the same kind as the reference.
    see : (int, str), optional
        The chapter and the heading to read; otherwise the exercise's.
    """

    name: str
    message: str
    answer: Any
    see: Place | None = None


@dataclass(frozen=True)
class Exercise:
    """What the checker of one exercise knows.

    Parameters
    ----------
    reference : object
        A right answer: a function, a class, or a dictionary of parts. Never shown.
    properties : callable
        Takes a ``numpy.random.Generator`` and returns the properties, with inputs drawn from it.
    mistakes : sequence of Mistake
        Known wrong versions.
    see : (int, str)
        The chapter and the heading to read when an answer is wrong in a way that nobody listed.
    variants : dict
        Name to another right answer with the same outputs; tests hold that they pass.
    accepted : dict
        Name to a right answer with *other* outputs (the second layout of rotary pairs, say). An answer
        passes if it equals the reference, or one of these, in every property.
    run : callable
        Takes an answer and the inputs of one call, and returns what came of it as plain data. It may build a
        class, copy weights into it, or take gradients. It runs beside the answer, in the answer's process, so
        it must not judge: whoever owns that process can make it say anything.
    reading : callable, optional
        Takes what `run` returned and the inputs of the call, and returns what is compared, in a process of
        ours: the place for every judgement ("is the bias zero?"). Without it outputs are compared as they
        are.
    rtol, atol : float
        Tolerances for float32 and for Python numbers; for float64 tensors they are a thousandth of these.
    remark : callable, optional
        Takes ``{property name: outputs}`` of an attempted answer and returns a line to print, such as how a
        prediction compares with the measurement.
    """

    reference: Any
    properties: Callable[[np.random.Generator], Sequence[Property]]
    mistakes: Sequence[Mistake]
    see: Place
    variants: Mapping[str, Any] = field(default_factory=dict)
    accepted: Mapping[str, Any] = field(default_factory=dict)
    run: Callable[[Any, dict[str, Any]], Any] = call
    reading: Callable[[Any, dict[str, Any]], Any] | None = None
    rtol: float = 1e-4
    atol: float = 1e-5
    remark: Callable[[dict[str, list[Any]]], str] | None = None


@dataclass(frozen=True)
class Family:
    """An exercise in several versions; a seed chooses which.

    Parameters
    ----------
    versions : sequence of dict
        For each version the words that the page fills in for ``<<name>>``, and whatever ``build`` needs.
    build : callable
        Takes one version and returns its `Exercise`.
    """

    versions: Sequence[Mapping[str, Any]]
    build: Callable[[Mapping[str, Any]], Exercise]

    def version(self, seed: int) -> Mapping[str, Any]:
        """Return the version of a seed: seeds 0, 1, 2, … go through the versions in turn."""
        return self.versions[seed % len(self.versions)]
