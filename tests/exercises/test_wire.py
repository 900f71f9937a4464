"""Outputs travel as plain data: what arrives equals what was sent, and nothing in it can run."""

import base64
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attncourse.exercises._compare import difference
from attncourse.exercises._wire import MAX_DIGITS, Opaque, TooLarge, Unreadable, decode, encode

pytestmark = pytest.mark.exercises
leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
values = st.recursive(
    leaves, lambda inner: st.tuples(inner, inner) | st.dictionaries(st.text(), inner), max_leaves=6
)


@given(values)
def test_plain_values_arrive_as_they_were(value):
    assert repr(decode(encode(value))) == repr(value)


DTYPES = ["float64", "float32", "float16", "bfloat16", "complex64", "int64", "int32", "uint8", "bool"]


@pytest.mark.parametrize("dtype", [getattr(torch, name) for name in DTYPES], ids=DTYPES)
@pytest.mark.parametrize("shape", [(), (3,), (2, 0, 3), (2, 3, 5)])
def test_tensors_arrive_with_shape_and_dtype(dtype, shape):
    tensor = (torch.arange(30.0)[: int(np.prod(shape))].reshape(shape) * 0.37).to(dtype)
    back = decode(encode(tensor))
    assert back.dtype == dtype
    assert torch.equal(back, tensor)
    assert torch.equal(
        decode(encode(tensor.mT if tensor.ndim > 1 else tensor)), tensor.mT if tensor.ndim > 1 else tensor
    )


def test_arrays_and_numpy_numbers_arrive():
    array = np.arange(6, dtype=np.int16).reshape(2, 3)[:, ::-1]
    back = decode(encode(array))
    assert isinstance(back, np.ndarray)
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)
    assert decode(encode(np.float64(0.1))) == 0.1
    assert decode(encode([1, [2, (3,)]])) == (1, (2, (3,)))


class Evil:
    """Would run something if it were unpickled or compared."""

    def __reduce__(self):
        return (print, ("unpickled",))

    def __eq__(self, other):
        return True

    __hash__ = None


def test_other_objects_arrive_as_the_name_of_their_type(capsys):
    back = decode(encode({"a": Evil(), "b": {1, 2}, "c": np.array(["x"], dtype=object)}))
    assert back == {"a": Opaque("Evil"), "b": Opaque("set"), "c": Opaque("ndarray")}
    assert difference(back["a"], 3, 1e-4, 1e-5) == "the output is an Evil, not a number"
    assert len({Opaque("a"), Opaque("a"), Opaque("b")}) == 2
    assert capsys.readouterr().out == ""


def test_a_container_in_itself_ends():
    loop = []
    loop.append(loop)
    assert "eight deep" in repr(encode(loop))


def test_what_is_too_large_is_refused():
    with pytest.raises(TooLarge, match="an array of 100 MiB, more than any right answer"):
        encode(torch.zeros(25 * 2**20))
    with pytest.raises(TooLarge, match="MiB, more than any right answer"):
        encode(["x" * 2**20] * 140)


# --- bytes that `encode` did not make --------------------------------------------------------------------


def decoded(data):
    """Return what bytes say; they may be refused, and nothing else may happen."""
    try:
        return decode(data)
    except Unreadable:
        return "refused"


@given(st.binary())
def test_noise_is_refused(noise):
    with pytest.raises(Unreadable):
        decode(noise)


@given(values, st.data())
def test_a_changed_byte_is_refused_or_is_another_value(value, data):
    message = bytearray(encode(value))
    message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    decoded(bytes(message))


KINDS = ["tensor", "array", "int", "float", "list", "dict", "opaque", "plain"]
FIELDS = ["kind", "dtype", "shape", "data", "value", "items", "type"]
NAMES = ["float32", "bfloat16", "int64", ">f8", "O", "U3", "V8", "M8[s]", "f4,f4", "e", "float128", "uint16",
         "complex128", "long", "half", "manual_seed", "__class__", "("]  # fmt: skip
jsons = st.recursive(
    leaves | st.sampled_from(KINDS + NAMES) | st.integers(-3, 7),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner),
    max_leaves=8,
)


@given(jsons)
def test_other_json_is_refused_or_is_plain(plain):
    decoded(json.dumps(plain).encode())


@given(
    st.fixed_dictionaries(
        {
            "kind": st.sampled_from(KINDS),
            "dtype": st.sampled_from(NAMES) | jsons,
            "shape": st.lists(st.integers(-1, 5), max_size=3) | jsons,
            "data": st.binary(max_size=24).map(lambda data: base64.b64encode(data).decode()) | st.text(),
            "value": jsons,
            "items": st.lists(jsons, max_size=2) | jsons,
            "type": st.text() | jsons,
        }
    )
)
@settings(max_examples=300)
def test_forged_values_are_refused_or_are_plain(forged):
    got = decoded(json.dumps(forged).encode())
    assert type(got) in (torch.Tensor, np.ndarray, int, float, str, bool, tuple, dict, Opaque, type(None))
    if isinstance(got, np.ndarray):
        assert got.dtype.kind in "biufc"
        assert got.nbytes <= 24
    difference(got, torch.zeros(2, 3), 1e-4, 1e-5)
    difference(got, 3.0, 1e-4, 1e-5)
    difference(got, {"a": 1}, 1e-4, 1e-5)
    difference(got, "a", 1e-4, 1e-5)


def array(dtype, shape, data, kind="array"):
    return {"kind": kind, "dtype": dtype, "shape": shape, "data": base64.b64encode(data).decode()}


def nested(depth):
    return b'{"kind": "list", "items": [' * depth + b"]}" * depth


@pytest.mark.parametrize(
    "plain",
    [
        None, 3, "plain", [], {}, {"kind": "list"}, {"kind": "thing"}, {"kind": ["list"]},
        {"kind": "int", "value": 3}, {"kind": "int", "value": "0x"}, {"kind": "int", "value": ["1"]},
        {"kind": "int", "value": "f" * (MAX_DIGITS + 1)}, {"kind": "int", "value": None},
        {"kind": "float", "value": "one"}, {"kind": "float", "value": 1.5},
        {"kind": "float", "value": "0x1p9999999"}, {"kind": "plain", "value": 3},
        {"kind": "plain", "value": [1]}, {"kind": "plain", "value": {}}, {"kind": "opaque", "type": 3},
        {"kind": "dict", "items": [[1, {"kind": "plain", "value": None}]]},
        {"kind": "dict", "items": [["a"]]}, {"kind": "dict", "items": {"a": 1}}, {"kind": "list", "items": 3},
        {"kind": "list", "items": "abc"},
        array("O", [1], bytes(8)), array("object", [1], bytes(8)), array("U1", [1], bytes(4)),
        array("S4", [1], bytes(4)), array("V4", [1], bytes(4)), array("M8[s]", [1], bytes(8)),
        array("f4,f4", [1], bytes(8)), array([["a", "f4"]], [1], bytes(4)), array(None, [1], bytes(8)),
        array("float31", [1], bytes(4)), array("float32", [2], bytes(4)), array("float32", [1], bytes(3)),
        array("float32", [2**70], bytes(4)),
        array("float32", "1", bytes(4)), array("float32", [1.0], bytes(4)),
        array("float32", [1] * 99, bytes(4)),
        array("float128", [1], bytes(16), "tensor"), array(">f8", [1], bytes(8), "tensor"),
        array("manual_seed", [1], bytes(4), "tensor"),
        array("complex", [1], bytes(16), "tensor"),
        {"kind": "array", "dtype": "float32", "shape": [1], "data": 3},
        {"kind": "array", "dtype": "float32", "shape": [1], "data": "é"},
        {"kind": "array", "dtype": "float32", "shape": [1], "data": "AAA"},
    ],
    ids=lambda plain: repr(plain)[:60],
)  # fmt: skip
def test_what_encode_never_makes_is_refused(plain):
    with pytest.raises(Unreadable):
        decode(json.dumps(plain).encode())


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"\xff", b"\x80\x04K\x03.", b'{"kind": "int", "value": ' + b"9" * 5000 + b"}",
     b"[" * 10**5, b'{"kind": "list", "items": [' * 10**4, nested(10**4), b"\xef\xbb\xbf{}", b"NaN"],
    ids=["nothing", "half", "no text", "a pickle", "giant", "deep list", "deep half", "deep", "mark", "NaN"],
)  # fmt: skip
def test_what_is_not_json_is_refused(data):
    with pytest.raises(Unreadable):
        decode(data)


@pytest.mark.parametrize("depth", range(100, 1000, 20))
def test_deep_nesting_is_refused_or_read_and_compared(depth):
    got = decoded(nested(depth))
    assert difference(got, torch.zeros(2), 1e-4, 1e-5) is not None
    assert difference(got, "a", 1e-4, 1e-5) is not None
    assert difference(got, ((1, 2), 3), 1e-4, 1e-5) is not None


def test_a_foreign_byte_order_is_of_another_type():
    back = decode(json.dumps(array(">f8", [1], b"\x3f\xf0" + bytes(6))).encode())
    assert back == 1.0
    assert difference(back, np.array([1.0]), 1e-4, 1e-5) == "the output is of >f8, not of float64"


def test_what_arrives_may_be_written_to_and_owns_its_memory():
    for value in (np.arange(3.0), torch.arange(3.0)):
        back = decode(encode(value))
        back += 1
        assert back.tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("sign", [1, -1])
def test_giant_integers_arrive_or_are_named(sign):
    held = sign * 16 ** (MAX_DIGITS - 4)
    assert decode(encode(held)) == held
    back = decode(encode(sign * 16**MAX_DIGITS))
    assert back == Opaque("integer of more than ten thousand digits")


@pytest.mark.parametrize(
    "number", [10**400, -(10**400), 16 ** (MAX_DIGITS - 4)], ids=["plus", "minus", "largest"]
)
@pytest.mark.parametrize("wanted", [1, 1.0, math.inf, torch.tensor(1.0), np.array(2)])
def test_giant_integers_are_compared(number, wanted):
    got = decode(encode(number))
    assert difference(got, wanted, 1e-4, 1e-5) == "the output is too large for a floating-point number"


@pytest.mark.parametrize("wanted", ["a", True, None, torch.zeros(2), (1, 2), {"a": 1}])
def test_a_giant_integer_is_not_another_kind_of_thing(wanted):
    text = difference(10**5000, wanted, 1e-4, 1e-5)
    assert text.startswith("the output is an integer, not ")
    assert "000" not in text


def test_a_giant_integer_deep_inside_is_named_by_its_place():
    text = difference((1, 10**400), (1, 2), 1e-4, 1e-5)
    assert text == "entry 1 of the output is too large for a floating-point number"


def test_layouts_that_are_no_rows_are_named_alone():
    sparse = decode(encode(torch.eye(3).to_sparse()))
    assert sparse == Opaque("Tensor with layout torch.sparse_coo")
    assert decode(encode(torch.tensor([1 + 2j]).conj())).tolist() == [1 - 2j]


def test_keys_become_text():
    assert decode(encode({1: "a", (2, 3): "b"})) == {"1": "a", "(2, 3)": "b"}
