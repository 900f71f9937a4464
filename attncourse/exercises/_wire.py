"""Carry outputs between processes as plain data: JSON with arrays as bytes, never pickle.

What arrives from a process that ran somebody else's code is then a number, a text, an array, or a container
of these, whatever that code did.
"""

import base64
import json
from typing import Any

import numpy as np
import torch

MAX_BYTES = 64 * 2**20
MAX_DIGITS = 10_000  # of an integer, in base 16
FLOATS_WITHOUT_NUMPY = (torch.bfloat16,)


class TooLarge(ValueError):
    """An output that is larger than any right one."""


class Unreadable(ValueError):
    """Bytes that `encode` did not make."""


class Opaque:
    """Stands for an output that is none of the plain kinds; knows only the name of its type."""

    def __init__(self, type_name: str) -> None:
        self.type_name = type_name

    def __eq__(self, other: object) -> bool:
        """Two of the same type are equal."""
        return isinstance(other, Opaque) and other.type_name == self.type_name

    def __hash__(self) -> int:
        """Hash by type."""
        return hash(self.type_name)


def _array(kind: str, array: np.ndarray, dtype: str) -> dict:
    if array.nbytes > MAX_BYTES:
        raise TooLarge(f"an array of {array.nbytes / 2**20:.0f} MiB, more than any right answer")
    data = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")
    return {"kind": kind, "dtype": dtype, "shape": list(array.shape), "data": data}


def _plain(value: Any, depth: int = 0) -> Any:
    if depth > 8:
        return {"kind": "opaque", "type": "a container in a container, eight deep"}
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        if value.layout != torch.strided or value.is_quantized:
            return {"kind": "opaque", "type": f"Tensor with layout {value.layout}"}
        dtype = str(value.dtype).removeprefix("torch.")
        held = value.float() if value.dtype in FLOATS_WITHOUT_NUMPY else value
        return _array("tensor", held.resolve_conj().resolve_neg().numpy(), dtype)
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        return _array("array", value, value.dtype.name)
    if isinstance(value, np.generic) and value.dtype.kind in "biuf":
        value = value.item()
    if value is None or isinstance(value, bool | str):
        return {"kind": "plain", "value": value}
    if isinstance(value, int):
        digits = hex(value)
        return {"kind": "int", "value": digits} if len(digits) <= MAX_DIGITS else _too_many_digits()
    if isinstance(value, float):
        return {"kind": "float", "value": value.hex()}
    if isinstance(value, tuple | list):
        return {"kind": "list", "items": [_plain(item, depth + 1) for item in value]}
    if isinstance(value, dict):
        pairs = [[str(key), _plain(item, depth + 1)] for key, item in value.items()]
        return {"kind": "dict", "items": pairs}
    return {"kind": "opaque", "type": type(value).__name__}


def _too_many_digits() -> dict:
    return {"kind": "opaque", "type": "integer of more than ten thousand digits"}


def encode(value: Any) -> bytes:
    """Return a value as bytes; what is not plain becomes the name of its type.

    Raises
    ------
    TooLarge
        If an array is larger than 64 MiB, or the whole than 128.
    """
    data = json.dumps(_plain(value)).encode("utf-8")
    if len(data) > 2 * MAX_BYTES:
        raise TooLarge(f"{len(data) / 2**20:.0f} MiB, more than any right answer")
    return data


def _array_from(plain: dict) -> Any:
    kind, name = plain["kind"], plain["dtype"]
    stored = "float32" if name == "bfloat16" else name
    if not (isinstance(name, str) and np.dtype(stored).kind in "biufc"):
        raise Unreadable(name)
    if kind == "tensor" and not isinstance(getattr(torch, name, None), torch.dtype):
        raise Unreadable(name)
    raw = np.frombuffer(base64.b64decode(plain["data"]), dtype=np.dtype(stored))
    array = raw.reshape(plain["shape"]).copy()
    return torch.from_numpy(array).to(getattr(torch, name)) if kind == "tensor" else array


def _value(plain: dict) -> Any:
    kind = plain["kind"]
    if kind in ("tensor", "array"):
        return _array_from(plain)
    if kind == "int" and len(plain["value"]) <= MAX_DIGITS:
        return int(plain["value"], 16)
    if kind == "float":
        return float.fromhex(plain["value"])
    if kind == "list":
        return tuple(_value(item) for item in plain["items"])
    if kind == "dict":
        return {_text(key): _value(item) for key, item in plain["items"]}
    if kind == "opaque":
        return Opaque(_text(plain["type"]) or "thing")
    if kind == "plain" and (plain["value"] is None or isinstance(plain["value"], bool | str)):
        return plain["value"]
    raise Unreadable(kind)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise Unreadable(value)
    return value


def decode(data: bytes) -> Any:
    """Return the value that `encode` was given: lists as tuples, the rest as it was.

    Raises
    ------
    Unreadable
        If `encode` cannot have made these bytes.
    """
    try:
        return _value(json.loads(data))
    except Unreadable:
        raise
    except (AttributeError, LookupError, MemoryError, OverflowError, RecursionError, RuntimeError) as error:
        raise Unreadable(str(error)) from error
    except (TypeError, ValueError) as error:
        raise Unreadable(str(error)) from error
