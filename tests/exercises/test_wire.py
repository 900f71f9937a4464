"""Outputs travel as plain data: what arrives equals what was sent, and nothing in it can run."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attncourse.exercises._compare import difference
from attncourse.exercises._wire import Opaque, TooLarge, decode, encode

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
