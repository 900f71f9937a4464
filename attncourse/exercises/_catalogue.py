"""Find the exercises by their ids."""

import difflib
import pkgutil
from functools import cache
from importlib import import_module

from attncourse._checks import check_count
from attncourse.exercises._exercise import Exercise, Family

PACKAGE = "attncourse.exercises"


@cache
def exercise_ids() -> tuple[str, ...]:
    """Return the ids of all exercises that have a checker, such as ``"multihead.split-heads"``, in order."""
    package = import_module(PACKAGE)
    found = []
    for topic in pkgutil.iter_modules(package.__path__):
        if topic.ispkg:
            inner = import_module(f"{PACKAGE}.{topic.name}").__path__
            found += [
                f"{topic.name}.{entry.name.replace('_', '-')}"
                for entry in pkgutil.iter_modules(inner)
                if not entry.name.startswith("_")
            ]
    return tuple(sorted(found))


def load(exercise_id: str) -> Exercise | Family:
    """Return what the checker knows of an exercise.

    Raises
    ------
    TypeError
        If ``exercise_id`` is not a text.
    ValueError
        If there is no such exercise; the text names the nearest id.
    """
    if not isinstance(exercise_id, str):
        raise TypeError(f"exercise_id must be a text, got exercise_id of type {type(exercise_id).__name__}")
    if exercise_id not in exercise_ids():
        near = difflib.get_close_matches(exercise_id, exercise_ids(), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"exercise_id must name an exercise of the book, got {exercise_id!r}{hint}")
    module = import_module(f"{PACKAGE}.{exercise_id.replace('-', '_')}")
    return module.FAMILY if hasattr(module, "FAMILY") else module.EXERCISE


def exercise(exercise_id: str, seed: int = 0) -> Exercise:
    """Return one version of an exercise; an exercise without versions is the same for every seed."""
    check_count("seed", seed, at_least=0)
    found = load(exercise_id)
    return found.build(found.version(seed)) if isinstance(found, Family) else found
