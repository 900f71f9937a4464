"""Look at an answer before it is run: is it still the starter, and is it of the kind that was asked for."""

import dis
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from attncourse.exercises._compare import of_type

# What the body of a function that does nothing compiles to.
IDLE = {"RESUME", "NOP", "LOAD_CONST", "RETURN_VALUE", "RETURN_CONST", "COPY_FREE_VARS", "MAKE_CELL"}


def _is_idle(function: Callable) -> bool:
    """Say whether a function's body does nothing but return None: a docstring, ``...`` or ``pass``."""
    code = getattr(function, "__code__", None)
    if code is None:
        return False
    steps = list(dis.get_instructions(code))
    returned = [step.argval for step in steps if step.opname in ("LOAD_CONST", "RETURN_CONST")]
    return all(step.opname in IDLE for step in steps) and returned == [None]


def untouched(answer: Any) -> bool:
    """Say whether an answer is still the starter: nothing, ``...``, or functions without a body."""
    if answer is None or answer is Ellipsis:
        return True
    if isinstance(answer, str | dict | list | tuple):
        inner = answer.values() if isinstance(answer, dict) else answer
        return not answer if isinstance(answer, str) else all(untouched(one) for one in inner)
    if inspect.isclass(answer):
        methods = [f for name, f in vars(answer).items() if inspect.isfunction(f) and name != "__init__"]
        return bool(methods) and all(map(_is_idle, methods))
    return _is_idle(answer)


def kind_problem(answer: Any, reference: Any) -> str | None:
    """Return what is wrong with the kind of thing that was handed in, or None."""
    if inspect.isclass(reference):
        if not inspect.isclass(answer):
            return f"the answer is {of_type(answer)}, not a class: hand in the class, not an object of it"
    elif isinstance(reference, Mapping):
        if not isinstance(answer, dict):
            return f"the answer is {of_type(answer)}, not a dictionary of answers"
    elif inspect.isclass(answer) or not callable(answer):
        what = f"the class {answer.__name__}" if inspect.isclass(answer) else of_type(answer)
        return f"the answer is {what}, not a function: hand in the function itself, without calling it"
    return None
