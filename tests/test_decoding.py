"""Cached, uncached and chunked reading write the same texts, one after another and side by side."""

import copy
import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attncourse.decoding import CachedLanguageModel, CachedTransformer, generate, pad_left
from attncourse.sampling import sample
from attncourse.tasks.pairs import END, PADDING, START
from attncourse.transformer import Transformer
from attncourse.transformer_language_model import TransformerLanguageModel
from tests.support.random_text_model import RandomTextModel
from tests.support.tolerances import FLOAT64

VOCAB, SOURCE_VOCAB = 11, 13
POSITIONS = ["rotary", "sinusoidal", "learned", "alibi", "none"]
KV_HEADS = {"multi-head": 4, "grouped": 2, "multi-query": 1}


def sharpened(model):
    """Return the model in float64, with larger weights, so that its choices differ between texts."""
    for parameter in model.double().eval().parameters():
        parameter.data *= 1.5
    return model


def language_model(seed=0, **options):
    torch.manual_seed(seed)
    return sharpened(
        TransformerLanguageModel(VOCAB, d_model=16, n_heads=4, n_layers=3, tied=False, **options)
    )


def translator(seed=0, **options):
    torch.manual_seed(seed)
    return sharpened(Transformer(SOURCE_VOCAB, VOCAB, d_model=16, n_heads=4, n_layers=2, **options))


def texts(*shape, seed=1):
    return torch.randint(3, VOCAB, shape, generator=torch.Generator().manual_seed(seed))


def sources():
    source = torch.randint(3, SOURCE_VOCAB, (3, 5), generator=torch.Generator().manual_seed(2))
    return source, torch.tensor([5, 2, 4])


# Cached = uncached = chunked


@pytest.mark.parity
@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("n_kv_heads", KV_HEADS.values(), ids=KV_HEADS)
def test_cached_language_model_equals_reading_everything(positions, n_kv_heads):
    model = language_model(positions=positions, n_kv_heads=n_kv_heads)
    cached = CachedLanguageModel(model, 2, 7)
    for sequence in range(2):  # two sequences in a row
        tokens = texts(2, 7, seed=sequence)
        whole = model(tokens)
        for ends in ((3, 7), (1, 2, 3, 4, 5, 6, 7), (7,), (1, 5, 7)):
            for end in ends:
                torch.testing.assert_close(cached(tokens[:, :end]), whole[:, end - 1], **FLOAT64)
            cached.reset()


@pytest.mark.parity
@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("n_kv_heads", KV_HEADS.values(), ids=KV_HEADS)
def test_cached_translator_equals_reading_everything(positions, n_kv_heads):
    model = translator(positions=positions, n_kv_heads=n_kv_heads)
    source, lengths = sources()
    cached = CachedTransformer(model, source, lengths, 7)
    memory = model.encode(source, lengths)
    for sequence in range(2):
        tokens = texts(3, 7, seed=sequence)
        whole = model.decode(tokens, memory)
        for ends in ((3, 7), (1, 2, 3, 4, 5, 6, 7), (7,)):
            for end in ends:
                torch.testing.assert_close(cached(tokens[:, :end]), whole[:, end - 1], **FLOAT64)
            cached.reset()


@pytest.mark.parity
@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("n_kv_heads", KV_HEADS.values(), ids=KV_HEADS)
def test_texts_written_with_a_cache_are_the_same(positions, n_kv_heads):
    model = language_model(positions=positions, n_kv_heads=n_kv_heads)
    cached = CachedLanguageModel(model, 3, 30)
    for sequence in range(2):
        prompt = texts(3, 4, seed=sequence)
        wanted = generate(lambda tokens: model(tokens)[:, -1], prompt, max_tokens=20)
        assert torch.equal(generate(cached, prompt, max_tokens=20), wanted)
        assert len(wanted.unique()) > 2, "a model that repeats one token proves nothing"
        cached.reset()


@pytest.mark.parity
@pytest.mark.parametrize("positions", POSITIONS)
def test_translations_equal_the_models_own_greedy_loop(positions):
    model = translator(positions=positions)
    source, lengths = sources()
    cached = CachedTransformer(model, source, lengths, 9)
    wanted = model.greedy_decode(source, lengths, max_tokens=9)
    for _ in range(2):
        start = torch.full((3, 1), START)
        written = generate(cached, start, max_tokens=9, stop_tokens=[END], forbidden_tokens=(PADDING, START))
        assert torch.equal(written, wanted)
        cached.reset()


def test_only_new_tokens_are_read_and_the_memory_is_projected_once():
    model = translator()
    source, lengths = sources()
    cached = CachedTransformer(model, source, lengths, 9)
    layer = model.decoder.layers[0]
    seen = {"self": [], "cross": []}
    for name, attention in (("self", layer.self_attention), ("cross", layer.cross_attention)):
        attention.key_proj.register_forward_hook(
            lambda module, inputs, output, name=name: seen[name].append(output.shape[1])
        )
    encoded = []
    model.encoder.register_forward_hook(lambda *args: encoded.append(1))
    generate(cached, torch.full((3, 1), START), max_tokens=4)
    assert seen == {"self": [1, 1, 1, 1], "cross": [5, 0, 0, 0]}
    assert not encoded
    assert [cache.length for cache in (*cached.caches, *cached.memory_caches)] == [4, 4, 5, 5]


# Unequal prompts


def test_pad_left_by_hand():
    tokens, padding = pad_left([[5, 6, 7], [8], torch.tensor([9, 3])])
    assert tokens.tolist() == [[5, 6, 7], [PADDING, PADDING, 8], [PADDING, 9, 3]]
    assert padding.tolist() == [0, 2, 1]
    assert tokens.dtype == padding.dtype == torch.int64


@pytest.mark.parity
@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("n_kv_heads", KV_HEADS.values(), ids=KV_HEADS)
def test_a_batch_of_unequal_prompts_equals_each_alone(positions, n_kv_heads):
    model = language_model(positions=positions, n_kv_heads=n_kv_heads)
    cached = None
    for sequence in range(2):
        prompts = [texts(1, n, seed=10 * sequence + n)[0].tolist() for n in (5, 1, 3)]
        tokens, padding = pad_left(prompts)
        cached = cached or CachedLanguageModel(model, 3, 16, padding)
        uncached = generate(lambda tokens: model(tokens, padding=padding)[:, -1], tokens, max_tokens=12)  # noqa: B023
        together = generate(cached, tokens, max_tokens=12)
        cached.reset()
        assert torch.equal(together, uncached)
        for row, prompt in enumerate(prompts):
            alone = CachedLanguageModel(model, 1, 16)
            assert torch.equal(generate(alone, torch.tensor([prompt]), max_tokens=12)[0], together[row])


@pytest.mark.properties
@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.integers(0, 2**20))
def test_logits_of_a_padded_batch_equal_those_of_each_prompt(lengths, seed):
    model = language_model(n_kv_heads=2)
    prompts = [texts(1, n, seed=seed + row)[0].tolist() for row, n in enumerate(lengths)]
    tokens, padding = pad_left(prompts)
    together = CachedLanguageModel(model, len(prompts), 6, padding)(tokens)
    for row, prompt in enumerate(prompts):
        alone = CachedLanguageModel(model, 1, 6)(torch.tensor([prompt]))
        torch.testing.assert_close(together[row], alone[0], **FLOAT64)


# Rows that move


@pytest.mark.parity
def test_reorder_carries_tokens_padding_and_number_of_rows_along():
    model = language_model()
    tokens, padding = pad_left([[5, 6, 7, 3], [8], [9, 3]])
    cached = CachedLanguageModel(model, 3, 6, padding)
    cached(tokens)
    rows = torch.tensor([2, 1, 2, 0])
    cached.reorder(rows)
    more = torch.cat([tokens[rows], texts(4, 2)], dim=1)
    torch.testing.assert_close(cached(more), model(more, padding=padding[rows])[:, -1], **FLOAT64)
    cached.reset()
    torch.testing.assert_close(cached(tokens), model(tokens, padding=padding)[:, -1], **FLOAT64)


@pytest.mark.parity
@pytest.mark.parametrize("rows", [[0, 0, 1, 1, 2, 2], [2, 0, 1], [0, 0, 2], [1]])
def test_reorder_carries_sources_along(rows):
    model = translator(n_kv_heads=2)
    source, lengths = sources()
    cached = CachedTransformer(model, source, lengths, 6)
    tokens = texts(3, 4)
    rows = torch.tensor(rows)
    for read_before in (True, False):
        if read_before:
            cached(tokens)
        cached.reorder(rows)
        more = torch.cat([tokens[rows], texts(len(rows), 2)], dim=1)
        wanted = model.decode(more, model.encode(source[rows], lengths[rows]))[:, -1]
        torch.testing.assert_close(cached(more), wanted, **FLOAT64)
        cached.reset()
        torch.testing.assert_close(
            cached(tokens), model.decode(tokens, model.encode(source, lengths))[:, -1], **FLOAT64
        )
        cached.reset()


def test_rows_may_move_within_one_source_without_its_memory():
    model = translator()
    source, lengths = sources()
    cached = CachedTransformer(model, source.repeat(2, 1), lengths.repeat(2), 6)
    cached._take_sources(torch.arange(3).repeat(2))  # as after a reorder to two rows for each source
    held = cached.memory_caches[0]
    held.reorder = None  # a call would fail
    cached.reorder(torch.tensor([3, 1, 5, 0, 4, 2]))


# The loop


def test_rows_end_by_themselves():
    prompt = torch.tensor([[3], [4], [1]])
    ends_seen = set()
    for seed in range(20):
        model = RandomTextModel(7, seed=seed)
        free = generate(model, prompt, max_tokens=12).tolist()
        written = generate(model, prompt, max_tokens=12, stop_tokens=[2, 4])
        ends = [next((n for n, token in enumerate(row, 1) if token in (2, 4)), 12) for row in free]
        ends_seen.add(tuple(ends))
        assert written.shape == (3, max(ends))
        for row, long, end in zip(written.tolist(), free, ends, strict=True):
            assert row == long[:end] + [PADDING] * (max(ends) - end)
    assert sum(len(set(ends)) == 3 for ends in ends_seen) >= 3, "rows must end at different places"


def test_it_ends_when_all_rows_have_ended():
    model = RandomTextModel(5)
    prompt = torch.tensor([[1, 1]])
    written = generate(model, prompt, max_tokens=5, stop_tokens=range(5))
    assert written.shape == (1, 1)
    assert len(model.calls) == 1


def test_every_call_sees_all_tokens_so_far_and_the_last_one_is_never_read():
    model = RandomTextModel(5)
    prompt = torch.tensor([[3, 1], [1, 4]])
    before = prompt.clone()
    written = generate(model, prompt, max_tokens=4)
    whole = torch.cat([prompt, written], dim=1)
    assert model.calls == [whole[:, :n].tolist() for n in (2, 3, 4, 5)]
    assert torch.equal(prompt, before)


def test_forbidden_tokens_are_not_written():
    model = RandomTextModel(5, seed=1)
    prompt = torch.tensor([[3], [4], [2]])
    assert {0, 1} & set(generate(model, prompt, max_tokens=15).flatten().tolist())
    written = generate(model, prompt, max_tokens=15, forbidden_tokens=(0, 1))
    assert not {0, 1} & set(written.flatten().tolist())


def test_tokens_may_be_drawn():
    model = language_model()
    prompt = texts(2, 3)

    def write(seed, next_logits):
        generator = torch.Generator().manual_seed(seed)
        choose = functools.partial(sample, temperature=1.5, top_k=7, top_p=0.95, generator=generator)
        return generate(next_logits, prompt, max_tokens=15, choose=choose)

    uncached = write(0, lambda tokens: model(tokens)[:, -1])
    assert torch.equal(write(0, CachedLanguageModel(model, 2, 17)), uncached)
    assert not torch.equal(write(1, CachedLanguageModel(model, 2, 17)), uncached)


@pytest.mark.parametrize("positions", POSITIONS)
def test_a_model_trains_on_after_it_has_written(positions):
    model = language_model(positions=positions)
    cached = CachedLanguageModel(model, 2, 5)
    logits = cached(texts(2, 5))
    logits[:, 0] += 1.0  # an ordinary tensor, not one of inference mode
    written = generate(CachedLanguageModel(model, 2, 5), texts(2, 1), max_tokens=5)
    model(torch.cat([texts(2, 1), written[:, :-1]], dim=1)).square().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    weights = logits.requires_grad_().softmax(dim=-1)
    weights.square().sum().backward()
    cached.reset()
    cached(texts(2, 3))


def test_no_gradients_are_kept():
    model = language_model()
    assert not CachedLanguageModel(model, 2, 5)(texts(2, 3)).requires_grad
    source, lengths = sources()
    assert not CachedTransformer(translator(), source, lengths, 5)(texts(3, 3)).requires_grad


def test_inputs_are_not_written():
    model = language_model()
    tokens, padding = pad_left([[5, 6, 7], [8]])
    source, lengths = sources()
    arrays = {"tokens": tokens, "padding": padding, "source": source, "lengths": lengths}
    before = copy.deepcopy((arrays, model.state_dict()))
    cached = CachedLanguageModel(model, 2, 9, padding)
    generate(cached, tokens, max_tokens=3)
    cached.reorder(torch.tensor([1, 0]))
    CachedTransformer(translator(), source, lengths, 4)(texts(3, 2))
    torch.testing.assert_close((arrays, model.state_dict()), before, rtol=0, atol=0)


def test_what_was_read_is_remembered_by_value():
    """``generate`` hands out views of memory that it goes on writing into."""
    cached = CachedLanguageModel(language_model(), 1, 6)
    tokens = texts(1, 4)
    cached(tokens)
    tokens[0, 1] = 3 if tokens[0, 1] != 3 else 4
    with pytest.raises(ValueError, match="tokens must continue the 4 tokens read so far"):
        cached(torch.cat([tokens, tokens[:, :1]], dim=1))


# Errors


def test_another_text_needs_a_reset():
    cached = CachedLanguageModel(language_model(), 2, 9)
    tokens = texts(2, 4)
    cached(tokens)
    text = (
        r"tokens must continue the 4 tokens read so far \(call reset\(\) before another text and "
        r"reorder\(rows\) when rows move\), got tokens\.shape=\(2, {}\)"
    )
    with pytest.raises(ValueError, match=text.format(4)):
        cached(tokens)
    with pytest.raises(ValueError, match=text.format(2)):
        cached(tokens[:, :2])
    with pytest.raises(ValueError, match=text.format(5)):
        cached(texts(2, 5, seed=9))
    longer = torch.cat([tokens, tokens[:, :1]], dim=1)
    with pytest.raises(ValueError, match=text.format(5)):
        cached(longer.flip(0))
    cached(longer)


def test_a_full_cache_says_so():
    cached = CachedLanguageModel(language_model(), 1, 6)
    assert generate(cached, texts(1, 4), max_tokens=3).shape == (1, 3)
    cached.reset()
    with pytest.raises(
        ValueError, match="key must fit into max_tokens=6 with the 6 tokens held, got key with 1"
    ):
        generate(cached, texts(1, 4), max_tokens=4)


def test_the_number_of_rows_is_fixed():
    cached = CachedLanguageModel(language_model(), 2, 6)
    with pytest.raises(
        ValueError, match=r"key must have shape \(batch_size, n_kv_heads, n_new, d_head\)=\(2, 4, n_"
    ):
        cached(texts(3, 4))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: pad_left([]), ValueError, r"prompts must not be empty, got prompts of lengths \[\]"),
        (
            lambda: pad_left([[1], []]),
            ValueError,
            r"prompts must not be empty, got prompts of lengths \[1, 0\]",
        ),
        (lambda: generate(None, [[1]], max_tokens=1), TypeError, "prompt must be of type Tensor"),
        (
            lambda: generate(None, torch.ones(1, 2), max_tokens=1),
            TypeError,
            r"prompt must be of dtype int64, got prompt\.dtype=float32",
        ),
        (
            lambda: generate(None, torch.ones(3).long(), max_tokens=1),
            ValueError,
            r"prompt must have two axes, none empty, got prompt\.shape=\(3,\)",
        ),
        (
            lambda: generate(None, torch.ones(3, 0).long(), max_tokens=1),
            ValueError,
            "prompt must have two axes, none empty",
        ),
        (
            lambda: generate(None, torch.ones(1, 2).long(), max_tokens=0),
            ValueError,
            "max_tokens must be at least 1, got max_tokens=0",
        ),
        (
            lambda: generate(RandomTextModel(4), torch.ones(1, 2).long(), max_tokens=1, forbidden_tokens=[4]),
            ValueError,
            r"tokens must lie in 0 … 3, got tokens with \[4\]",
        ),
        (lambda: CachedLanguageModel(language_model(), 2, 0), ValueError, "max_tokens must be at least 1"),
        (lambda: CachedLanguageModel(language_model(), 0, 2), ValueError, "batch_size must be at least 1"),
        (
            lambda: CachedLanguageModel(language_model(), 2, 4)([[1]]),
            TypeError,
            "tokens must be of type Tensor",
        ),
        (
            lambda: CachedLanguageModel(language_model(), 2, 4)(torch.ones(2).long()),
            ValueError,
            "tokens must have two axes, none empty",
        ),
        (
            lambda: CachedLanguageModel(language_model(), 2, 4).reorder(torch.tensor([2])),
            ValueError,
            "rows must lie in 0 … 1",
        ),
        (
            lambda: CachedTransformer(translator(), *sources(), 0),
            ValueError,
            "max_tokens must be at least 1",
        ),
    ],
)
def test_bad_input(call, error, text):
    with pytest.raises(error, match=text):
        call()
