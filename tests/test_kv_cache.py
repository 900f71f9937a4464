"""A cache gives back what was put in, in place, and says clearly when it cannot."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attncourse.kv_cache import KVCache, build_caches
from attncourse.multihead import MultiHeadAttention
from attncourse.transformer import Transformer
from attncourse.transformer_language_model import TransformerLanguageModel
from tests.support.tolerances import BFLOAT16, FLOAT16, FLOAT64

BATCH, HEADS, MAX_TOKENS, D_HEAD = 3, 2, 11, 5


def cache(dtype=torch.float32, **sizes):
    sizes = {
        "batch_size": BATCH,
        "n_kv_heads": HEADS,
        "max_tokens": MAX_TOKENS,
        "d_head": D_HEAD,
    } | sizes
    return KVCache(**sizes, dtype=dtype)


def pair(n_tokens, *, seed=0, dtype=torch.float32, batch_size=BATCH):
    generator = torch.Generator().manual_seed(seed)
    shape = (batch_size, HEADS, n_tokens, D_HEAD)
    return (torch.randn(shape, generator=generator).to(dtype) for _ in range(2))


# What goes in comes out


@given(st.lists(st.integers(0, 4), max_size=5))
def test_chunks_stand_one_behind_the_other(chunks):
    held = cache(max_tokens=20)
    key, value = pair(20)
    for n_new in chunks:
        start, end = held.length, held.length + n_new
        keys, values = held.append(key[:, :, start:end], value[:, :, start:end])
        assert held.length == end
        assert torch.equal(keys, key[:, :, :end])
        assert torch.equal(values, value[:, :, :end])


def test_memory_is_set_aside_once_and_filled_in_place():
    held = cache()
    key, value = pair(7)
    first_keys, first_values = held.append(key[:, :, :3], value[:, :, :3])
    keys, values = held.append(key[:, :, 3:], value[:, :, 3:])
    assert keys.data_ptr() == first_keys.data_ptr()
    assert values.data_ptr() == first_values.data_ptr()
    assert (
        keys.stride() == first_keys.stride() == (HEADS * MAX_TOKENS * D_HEAD, MAX_TOKENS * D_HEAD, D_HEAD, 1)
    )
    held.reset()
    again, _ = held.append(key[:, :, :1], value[:, :, :1])
    assert again.data_ptr() == keys.data_ptr()


def test_what_goes_in_is_copied_and_not_written():
    held = cache()
    key, value = pair(3)
    copies = copy.deepcopy((key, value))
    keys, values = held.append(key, value)
    keys += 1.0
    values += 1.0
    torch.testing.assert_close((key, value), copies, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("dtype", "n_bytes"), [(torch.float64, 8), (torch.float32, 4), (torch.float16, 2), (torch.bfloat16, 2)]
)
def test_bytes_are_counted_exactly(dtype, n_bytes):
    held = cache(dtype)
    assert held.n_bytes == 2 * BATCH * HEADS * MAX_TOKENS * D_HEAD * n_bytes
    before = held.n_bytes
    held.append(*pair(4, dtype=dtype))
    assert held.n_bytes == before, "filling takes no memory"
    assert cache(dtype, n_kv_heads=1).n_bytes * HEADS == before


def test_a_second_sequence_after_reset_sees_nothing_of_the_first():
    held = cache()
    held.append(*pair(9, seed=1))
    held.reset()
    assert held.length == 0
    key, value = pair(2, seed=2)
    keys, values = held.append(key, value)
    assert torch.equal(keys, key)
    assert torch.equal(values, value)


# Reordering


@given(st.lists(st.integers(0, BATCH - 1), min_size=1, max_size=7), st.integers(0, 4))
def test_reorder_takes_rows_along_and_lets_their_number_change(rows, n_tokens):
    held = cache()
    key, value = pair(4)
    held.append(key[:, :, :n_tokens], value[:, :, :n_tokens])
    held.reorder(torch.tensor(rows))
    new_key, new_value = pair(2, seed=3, batch_size=len(rows))
    keys, values = held.append(new_key, new_value)
    assert torch.equal(keys, torch.cat([key[rows, :, :n_tokens], new_key], dim=2))
    assert torch.equal(values, torch.cat([value[rows, :, :n_tokens], new_value], dim=2))
    assert held.max_tokens == MAX_TOKENS
    assert held.n_bytes == cache(batch_size=len(rows)).n_bytes


def test_reorder_of_as_many_rows_is_in_place():
    held = cache()
    before, _ = held.append(*pair(4))
    held.reorder(torch.tensor([2, 2, 0]))
    after, _ = held.append(*pair(0))
    assert after.data_ptr() == before.data_ptr()


def test_reset_returns_to_the_number_of_sequences_at_the_start():
    held = cache()
    held.append(*pair(4))
    held.reorder(torch.tensor([0, 1, 2, 2]))
    held.reset()
    key, value = pair(2)
    assert torch.equal(held.append(key, value)[0], key)


def test_reorder_does_not_write_its_rows():
    held, rows = cache(), torch.tensor([2, 0, 1])
    held.append(*pair(4))
    held.reorder(rows)
    assert rows.tolist() == [2, 0, 1]


# With attention


@pytest.mark.parity
@pytest.mark.parametrize("n_kv_heads", [6, 2, 1])
@pytest.mark.parametrize("rotary", [None, "half"])
def test_attention_through_it_equals_the_whole(n_kv_heads, rotary):
    torch.manual_seed(0)
    attention = MultiHeadAttention(24, 6, n_kv_heads=n_kv_heads).double()
    held = KVCache(BATCH, n_kv_heads, 7, 4, dtype=torch.float64)
    for _ in range(2):  # two sequences in a row
        x = torch.randn(BATCH, 7, 24, dtype=torch.float64)
        with torch.no_grad():
            whole = attention(x, is_causal=True, rotary=rotary)
            parts = [
                attention(part, is_causal=True, rotary=rotary, cache=held) for part in x.split((3, 4), dim=1)
            ]
        torch.testing.assert_close(torch.cat(parts, dim=1), whole, **FLOAT64)
        held.reset()


@pytest.mark.parity
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, FLOAT16), (torch.bfloat16, BFLOAT16)])
def test_half_precision_caches(dtype, tolerance):
    torch.manual_seed(1)
    model = TransformerLanguageModel(13, d_model=24, n_heads=6, n_kv_heads=2).eval().to(dtype)
    tokens = torch.randint(13, (2, 7))
    caches = build_caches(model, 2, 7)
    with torch.no_grad():
        whole = model(tokens)
        parts = [model(part, caches=caches) for part in tokens.split((3, 4), dim=1)]
    # Logits reach about 4, and other chunk sizes sum in another order in each of the two layers.
    wide = {"rtol": 4 * tolerance["rtol"], "atol": 4 * tolerance["atol"]}
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, **wide)
    assert all(held.append(*[torch.zeros(2, 2, 0, 4, dtype=dtype)] * 2)[0].dtype == dtype for held in caches)


# One for each layer


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_every_layer_gets_its_own(dtype):
    model = TransformerLanguageModel(13, d_model=24, n_heads=6, n_layers=3, n_kv_heads=2).to(dtype)
    caches = build_caches(model, 5, 17)
    assert len({id(held) for held in caches}) == len(caches) == 3
    for held in caches:
        keys, _ = held.append(*[torch.ones(5, 2, 1, 4, dtype=dtype)] * 2)
        assert held.length == 1
        assert keys.dtype == dtype
    assert caches[0].n_bytes == 2 * 5 * 2 * 17 * 4 * dtype.itemsize
    assert (
        len({held.append(*[torch.ones(5, 2, 1, 4, dtype=dtype)] * 2)[0].data_ptr() for held in caches}) == 3
    )


def test_a_decoders_caches_fit_both_of_its_attentions():
    torch.manual_seed(2)
    model = Transformer(11, 13, d_model=24, n_heads=6, n_kv_heads=3, n_layers=2).eval().double()
    source, lengths = torch.randint(3, 11, (2, 5)), torch.tensor([5, 3])
    target = torch.randint(3, 13, (2, 7))
    with torch.no_grad():
        memory = model.encode(source, lengths)
        caches, memory_caches = build_caches(model.decoder, 2, 7), build_caches(model.decoder, 2, 5)
        parts = [
            model.decode(part, memory, caches=caches, memory_caches=memory_caches)
            for part in target.split((3, 4), dim=1)
        ]
        torch.testing.assert_close(torch.cat(parts, dim=1), model.decode(target, memory), **FLOAT64)
    assert [held.length for held in memory_caches] == [5, 5]


def test_one_cache_for_all_layers_is_another_model():
    """The mistake that ``build_caches`` prevents is one that changes the numbers."""
    torch.manual_seed(3)
    model = TransformerLanguageModel(13, d_model=24, n_heads=6, n_layers=2).eval().double()
    tokens = torch.randint(13, (2, 4))
    shared = build_caches(model, 2, 8)[:1] * 2
    with torch.no_grad():
        wrong = model(tokens, caches=shared)
        assert not torch.allclose(wrong, model(tokens), atol=1e-3)


# Errors


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got batch_size=0"),
        ({"n_kv_heads": 2.0}, TypeError, r"n_kv_heads must be an integer, got n_kv_heads=2\.0"),
        ({"max_tokens": 0}, ValueError, "max_tokens must be at least 1"),
        ({"d_head": -1}, ValueError, "d_head must be at least 1"),
        ({"dtype": torch.int64}, TypeError, r"dtype must be floating point, got dtype=torch\.int64"),
        ({"dtype": "float32"}, TypeError, "dtype must be of type dtype, got dtype of type str"),
    ],
)
def test_bad_sizes(change, error, text):
    with pytest.raises(error, match=text):
        cache(**change)


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"key": [1.0]}, TypeError, "key must be of type Tensor, got key of type list"),
        ({"value": [1.0]}, TypeError, "value must be of type Tensor"),
        (
            {"key": torch.ones(3, 2, 1, 5).double()},
            TypeError,
            r"the cache's dtype float32, got key\.dtype=float64",
        ),
        ({"value": torch.ones(3, 2, 1, 5).half()}, TypeError, r"the cache's dtype float32, got value\.dtype"),
        (
            {"key": torch.ones(2, 2, 1, 5)},
            ValueError,
            r"d_head\)=\(3, 2, n_new, 5\), got key\.shape=\(2, 2, 1, 5\)",
        ),
        ({"value": torch.ones(3, 3, 1, 5)}, ValueError, "value must have shape"),
        ({"value": torch.ones(3, 2, 1, 4)}, ValueError, "value must have shape"),
        ({"key": torch.ones(2, 1, 5)}, ValueError, "key must have shape"),
        ({"key": torch.ones(3, 2, 2, 5)}, ValueError, "key and value must have the same number of tokens"),
        (
            {"key": torch.ones(3, 2, 3, 5)},
            ValueError,
            "key must fit into max_tokens=11 with the 9 tokens held, got key with 3 tokens",
        ),
        ({"value": torch.ones(3, 2, 3, 5)}, ValueError, "value must fit into max_tokens=11"),
        (
            {"key": torch.ones(3, 2, 1, 5).requires_grad_()},
            ValueError,
            r"key must not require a gradient \(.*use torch\.no_grad\(\)\), got key\.requires_grad=True",
        ),
        ({"value": torch.ones(3, 2, 1, 5).requires_grad_()}, ValueError, "value must not require a gradient"),
    ],
)
def test_bad_input_changes_nothing(change, error, text):
    held = cache()
    key, value = pair(9)
    held.append(key, value)
    good = {"key": torch.ones(3, 2, 1, 5), "value": torch.ones(3, 2, 1, 5)}
    with pytest.raises(error, match=text):
        held.append(**(good | change))
    assert held.length == 9
    keys, values = held.append(*pair(0))
    assert torch.equal(keys, key)
    assert torch.equal(values, value)


def test_a_full_cache_says_so():
    held = cache()
    held.append(*pair(MAX_TOKENS))
    with pytest.raises(ValueError, match="key must fit into max_tokens=11 with the 11 tokens held"):
        held.append(*pair(1))
    held.append(*pair(0))


@pytest.mark.parametrize(
    ("rows", "error", "text"),
    [
        ([0, 1], TypeError, "rows must be of type Tensor, got rows of type list"),
        (torch.tensor([0.0]), TypeError, r"rows must be of dtype int64, got rows\.dtype=float32"),
        (torch.tensor(0), ValueError, r"rows must have one axis, not empty, got rows\.shape=\(\)"),
        (torch.tensor([], dtype=torch.int64), ValueError, "rows must have one axis, not empty"),
        (torch.tensor([0, 3]), ValueError, r"rows must lie in 0 … 2, got rows=\[0, 3\]"),
        (torch.tensor([-1]), ValueError, "rows must lie in 0 … 2"),
    ],
)
def test_bad_rows(rows, error, text):
    with pytest.raises(error, match=text):
        cache().reorder(rows)


def test_build_caches_refuses_bad_sizes():
    model = TransformerLanguageModel(13, d_model=24, n_heads=6)
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        build_caches(model, 0, 5)
    with pytest.raises(ValueError, match="max_tokens must be at least 1"):
        build_caches(model, 5, 0)
