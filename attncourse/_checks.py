"""Check arguments once, at the public function, and say what is wrong with them.

Every text reads "<parameter> must <rule>, got <parameter>=<value>". The checks ask arrays only for
``shape`` and ``dtype``, so they serve NumPy and torch alike without importing torch.
"""

import math
from collections.abc import Collection
from numbers import Integral, Real
from typing import Any


def dtype_name(array: Any) -> str:
    """Return the dtype's bare name, such as ``"float32"`` or ``"bool"``."""
    return str(array.dtype).removeprefix("torch.")


def check_array(name: str, array: Any, *, min_axes: int = 1) -> None:
    """Require an array or tensor with at least ``min_axes`` axes.

    Raises
    ------
    TypeError
        If ``array`` has no shape and dtype.
    ValueError
        If it has too few axes.
    """
    if not (hasattr(array, "shape") and hasattr(array, "dtype")):
        raise TypeError(f"{name} must be an array or tensor, got {name} of type {type(array).__name__}")
    if len(array.shape) < min_axes:
        raise ValueError(f"{name} must have at least {min_axes} axes, got {name}.shape={tuple(array.shape)}")


def check_rows(name: str, rows: Any, *, may_be_empty: bool = False) -> None:
    """Require an array of integers that can choose rows.

    Raises
    ------
    TypeError
        If ``rows`` is no array, or not of integers.
    ValueError
        If it is empty and must not be.
    """
    check_array(name, rows)
    if "int" not in dtype_name(rows):
        raise TypeError(f"{name} must be integers, got {name}.dtype={dtype_name(rows)}")
    if not may_be_empty and not len(rows):
        raise ValueError(f"{name} must not be empty, got {name}.shape={tuple(rows.shape)}")


def check_floats(name: str, array: Any, *, min_axes: int = 2) -> None:
    """Require a floating-point array that holds no NaN and no empty axis among its last two.

    Raises
    ------
    TypeError
        If ``array`` is not of a floating dtype.
    ValueError
        If an axis that counts tokens or features is empty, or an entry is NaN.
    """
    check_array(name, array, min_axes=min_axes)
    if "float" not in dtype_name(array):
        raise TypeError(f"{name} must be floating point, got {name}.dtype={dtype_name(array)}")
    if 0 in tuple(array.shape)[-2:]:
        raise ValueError(f"{name} must not be empty, got {name}.shape={tuple(array.shape)}")
    # Any NaN makes a sum NaN, and a tensor's sum costs a twentieth of looking at every entry. (NumPy warns of
    # sums that overflow.)
    if hasattr(array, "detach") and math.isfinite(array.detach().sum()):
        return
    not_a_number = array != array  # only NaN differs from itself
    if bool(not_a_number.any()):
        raise ValueError(f"{name} must not contain NaN, got {name} with {int(not_a_number.sum())} NaN")


def check_finite(name: str, array: Any) -> None:
    """Require finite numbers: an infinite score has no softmax, and keys are hidden by a mask.

    Raises
    ------
    ValueError
        If an entry is infinite.
    """
    infinite = abs(array) == float("inf")
    if bool(infinite.any()):
        raise ValueError(
            f"{name} must be finite (hide keys by a mask), got {name} with {int(infinite.sum())} infinite"
        )


def check_type(name: str, value: Any, kind: type) -> None:
    """Require a value of one type: a function for tensors must not be handed a NumPy array half-way.

    Raises
    ------
    TypeError
        If ``value`` is of another type.
    """
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be of type {kind.__name__}, got {name} of type {type(value).__name__}")


def check_same_axis(name: str, array: Any, other_name: str, other: Any, *, axis: int, what: str) -> None:
    """Require two arrays to agree in the length of one axis; ``what`` names it in the text.

    Raises
    ------
    ValueError
        If the lengths differ.
    """
    if array.shape[axis] != other.shape[axis]:
        raise ValueError(
            f"{name} and {other_name} must have the same {what}, "
            f"got {name}.shape={tuple(array.shape)}, {other_name}.shape={tuple(other.shape)}"
        )


def check_same_dtype(name: str, array: Any, other_name: str, other: Any) -> None:
    """Require two arrays of one dtype.

    Raises
    ------
    TypeError
        If the dtypes differ.
    """
    if array.dtype != other.dtype:
        raise TypeError(
            f"{name} and {other_name} must have the same dtype, "
            f"got {name}.dtype={dtype_name(array)}, {other_name}.dtype={dtype_name(other)}"
        )


def broadcast_shape(*shapes: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return the shape that ``shapes`` broadcast to, or None if they do not."""
    result: list[int] = []
    longest = max(len(shape) for shape in shapes)
    for axis in range(-longest, 0):
        sizes = {shape[axis] for shape in shapes if len(shape) >= -axis} - {1}
        if len(sizes) > 1:
            return None
        result.append(sizes.pop() if sizes else 1)
    return tuple(result)


def check_leading_axes(**arrays: Any) -> tuple[int, ...]:
    """Require the axes before the last two to broadcast, and return what they broadcast to.

    Raises
    ------
    ValueError
        If they do not broadcast.
    """
    leading = broadcast_shape(*(tuple(array.shape[:-2]) for array in arrays.values()))
    if leading is None:
        shapes = ", ".join(f"{name}.shape={tuple(array.shape)}" for name, array in arrays.items())
        *first, last = arrays
        raise ValueError(f"{', '.join(first)} and {last} must have leading axes that broadcast, got {shapes}")
    return leading


def check_mask(mask: Any, scores_shape: tuple[int, ...]) -> None:
    """Require a boolean mask that broadcasts to the scores without enlarging them.

    Raises
    ------
    TypeError
        If the mask is not boolean.
    ValueError
        If its shape does not broadcast to ``scores_shape``.
    """
    if not hasattr(mask, "dtype"):
        raise TypeError(f"mask must be an array or tensor of bool, got mask of type {type(mask).__name__}")
    if dtype_name(mask) != "bool":
        raise TypeError(f"mask must be boolean (True = may attend), got mask.dtype={dtype_name(mask)}")
    if broadcast_shape(tuple(mask.shape), tuple(scores_shape)) != tuple(scores_shape):
        raise ValueError(
            f"mask must broadcast to the scores (..., n_queries, n_keys)={tuple(scores_shape)}, "
            f"got mask.shape={tuple(mask.shape)}"
        )


def check_count(name: str, value: Any, *, at_least: int = 1) -> None:
    """Require a whole number of at least ``at_least``.

    Raises
    ------
    TypeError
        If ``value`` is not an integer (``True`` and ``3.0`` are not).
    ValueError
        If it is too small.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be an integer, got {name}={value!r}")
    if value < at_least:
        raise ValueError(f"{name} must be at least {at_least}, got {name}={value}")


def check_number(
    name: str,
    value: Any,
    *,
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
) -> None:
    """Require a real number inside the given limits.

    Raises
    ------
    TypeError
        If ``value`` is not a real number.
    ValueError
        If it is NaN or outside the limits.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {name}={value!r}")
    rules = [
        (above is None or value > above, f"above {above}"),
        (at_least is None or value >= at_least, f"at least {at_least}"),
        (below is None or value < below, f"below {below}"),
        (value == value, "a number"),
    ]
    for holds, rule in rules:
        if not holds:
            raise ValueError(f"{name} must be {rule}, got {name}={value}")


def check_choice(name: str, value: Any, choices: Collection[str]) -> None:
    """Require one of the listed choices.

    Raises
    ------
    ValueError
        If ``value`` is none of them.
    """
    if value not in choices:
        listed = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name} must be one of {listed}, got {name}={value!r}")


def check_last_axis(name: str, array: Any, size: int, *, what: str) -> None:
    """Require the last axis of an array to have the length that a layer was built for.

    Raises
    ------
    ValueError
        If it has another length.
    """
    if array.shape[-1] != size:
        raise ValueError(
            f"{name} must have {what}={size} as its last axis, got {name}.shape={tuple(array.shape)}"
        )
