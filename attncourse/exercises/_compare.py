"""Say how an output differs from the right one, without saying what the right one is."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from attncourse.exercises._wire import Opaque

# A float64 tensor must be right to more digits.
FINER = 1e-3
HALF = {"float16": 3e-3, "bfloat16": 3e-2}


def type_name(value: Any) -> str:
    """Return what a reader calls the type of a value."""
    if isinstance(value, Opaque):
        return value.type_name
    if isinstance(value, torch.Tensor):
        return "torch.Tensor"
    if isinstance(value, np.ndarray):
        return "numpy.ndarray"
    names = {
        "int": "integer",
        "str": "text",
        "dict": "dictionary",
        "bool": "truth value",
        "tuple": "list or tuple",
    }
    return names.get(type(value).__name__, type(value).__name__)


def of_type(value: Any) -> str:
    """Return the type of a value with its article: ``"an integer"``; ``None`` is only None."""
    name = type_name(value)
    return "None" if value is None else f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def _is_number(value: Any) -> bool:
    if isinstance(value, torch.Tensor | np.ndarray):
        return value.ndim == 0 and str(value.dtype).removeprefix("torch.") != "bool"
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_truth(value: Any) -> bool:
    return isinstance(value, bool) or (
        isinstance(value, torch.Tensor | np.ndarray)
        and value.ndim == 0
        and str(value.dtype).removeprefix("torch.") == "bool"
    )


def _numbers(value: Any) -> np.ndarray:
    if isinstance(value, torch.Tensor):
        value = (value.double() if value.is_floating_point() else value).numpy()
    return np.asarray(value)


def _arrays(got: Any, wanted: Any, rtol: float, atol: float, name: str) -> str | None:
    if tuple(got.shape) != tuple(wanted.shape):
        return f"{name} has the shape {tuple(got.shape)}, not {tuple(wanted.shape)}"
    dtype, wanted_dtype = (str(array.dtype).removeprefix("torch.") for array in (got, wanted))
    if dtype != wanted_dtype:
        return f"{name} is of {dtype}, not of {wanted_dtype}"
    first, second = _numbers(got), _numbers(wanted)
    if first.dtype.kind not in "fc":
        wrong = first != second
    else:
        if np.isnan(first).any() and not np.isnan(second).any():
            return f"{name} contains NaN: {int(np.isnan(first).sum())} of {first.size} numbers"
        factor = FINER if wanted_dtype == "float64" else 1.0
        coarse = max(1.0, HALF.get(wanted_dtype, 0.0) / rtol)
        wrong = ~np.isclose(
            first, second, rtol=rtol * factor * coarse, atol=atol * factor * coarse, equal_nan=True
        )
    if not wrong.any():
        return None
    worst = tuple(int(i) for i in np.argwhere(wrong)[0])
    things = "numbers" if first.dtype.kind in "fc" else "entries"
    share = f"{int(wrong.sum())} of {wrong.size} {things} differ"
    return f"{name} has the right shape, but {share}, the first at {list(worst)}"


def difference(got: Any, wanted: Any, rtol: float, atol: float, name: str = "the output") -> str | None:
    """Return how ``got`` differs from ``wanted``, in words, or None if it does not."""
    if _is_truth(wanted) or _is_number(wanted):
        kind, fits = ("True or False", _is_truth) if _is_truth(wanted) else ("a number", _is_number)
        if not fits(got):
            return (
                f"{name} is {of_type(got)}, not {kind}"
                if got is not None
                else f"{name} is None: is the return missing?"
            )
        if _is_truth(wanted):
            return None if bool(got) == bool(wanted) else f"{name} is {bool(got)}"
        try:
            return _close(float(got), float(wanted), rtol, atol, name)
        except OverflowError:
            return f"{name} is too large for a floating-point number"
    if got is None and wanted is not None:
        return f"{name} is None: is the return missing?"
    if isinstance(wanted, torch.Tensor | np.ndarray):
        kind = torch.Tensor if isinstance(wanted, torch.Tensor) else np.ndarray
        if not isinstance(got, kind):
            return f"{name} is {of_type(got)}, not {of_type(wanted)}"
        return _arrays(got, wanted, rtol, atol, name)
    if isinstance(wanted, tuple):
        return _sequence(got, wanted, rtol, atol, name)
    if isinstance(wanted, Mapping):
        return _mapping(got, wanted, rtol, atol, name)
    if type(got) is not type(wanted):
        return f"{name} is {of_type(got)}, not {of_type(wanted)}"
    return None if got == wanted else f"{name} is {got!r}" if len(repr(got)) < 60 else f"{name} is another"


def _close(got: float, wanted: float, rtol: float, atol: float, name: str) -> str | None:
    if math.isclose(got, wanted, rel_tol=rtol, abs_tol=atol) or (math.isnan(got) and math.isnan(wanted)):
        return None
    return f"{name} is {got:.6g}"


def _sequence(got: Any, wanted: tuple, rtol: float, atol: float, name: str) -> str | None:
    if not isinstance(got, tuple):
        return f"{name} is {of_type(got)}, not {len(wanted)} results"
    if len(got) != len(wanted):
        return f"{name} has {len(got)} entries, not {len(wanted)}"
    for index, (first, second) in enumerate(zip(got, wanted, strict=True)):
        inner = f"entry {index} of {name}"
        if (text := difference(first, second, rtol, atol, inner)) is not None:
            return text
    return None


def _mapping(got: Any, wanted: Mapping, rtol: float, atol: float, name: str) -> str | None:
    if not isinstance(got, Mapping):
        return f"{name} is {of_type(got)}, not a dictionary"
    if got.keys() != wanted.keys():
        return f"{name} has the keys {sorted(got)}, not {sorted(wanted)}"
    for key in wanted:
        if (text := difference(got[key], wanted[key], rtol, atol, key)) is not None:
            return text
    return None
