"""Counted operations of whole layers, and of writing a text, equal torch's own count."""

import pytest
import torch

from attncourse.costs import LayerSizes, fit_exponent
from attncourse.decoding import CachedLanguageModel, generate
from attncourse.kv_cache import KVCache
from attncourse.layer_costs import (
    decoder_layer_flops,
    encoder_layer_flops,
    feed_forward_flops,
    writing_flops,
)
from attncourse.transformer_language_model import TransformerLanguageModel
from attncourse.transformer_layers import DecoderLayer, EncoderLayer
from attncourse.transformer_parts import ACTIVATIONS, FeedForward
from tests.support.counting import counted_flops

BATCH, N_TARGET, N_SOURCE = 3, 5, 11
D_MODEL, N_HEADS, D_FF = 40, 8, 56
SIZES = LayerSizes(8, 2, d_ff=12)


@pytest.mark.parity
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_feed_forward_equals_torchs_count(activation):
    network = FeedForward(D_MODEL, D_FF, activation=activation)
    sizes = LayerSizes(D_MODEL, d_ff=D_FF, activation=activation)
    found = counted_flops(lambda: network(torch.randn(BATCH, N_TARGET, D_MODEL)))
    assert feed_forward_flops(sizes, N_TARGET, batch_size=BATCH) == found


@pytest.mark.parity
@pytest.mark.parametrize("n_kv_heads", [8, 2, 1])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("n_held", [0, 4])
def test_an_encoder_layer_equals_torchs_count(n_kv_heads, activation, n_held):
    layer = EncoderLayer(D_MODEL, N_HEADS, D_FF, n_kv_heads=n_kv_heads, activation=activation)
    sizes = LayerSizes(D_MODEL, N_HEADS, n_kv_heads, D_FF, activation)
    cache = None
    if n_held:
        cache = KVCache(BATCH, n_kv_heads, 16, D_MODEL // N_HEADS)
        with torch.no_grad():
            layer(torch.randn(BATCH, n_held, D_MODEL), is_causal=True, cache=cache)
    found = counted_flops(lambda: layer(torch.randn(BATCH, N_TARGET, D_MODEL), is_causal=True, cache=cache))
    assert encoder_layer_flops(sizes, N_TARGET, n_held=n_held, batch_size=BATCH) == found


@pytest.mark.parity
@pytest.mark.parametrize("n_kv_heads", [8, 2])
def test_a_decoder_layer_equals_torchs_count_at_the_start_and_with_both_caches(n_kv_heads):
    layer = DecoderLayer(D_MODEL, N_HEADS, D_FF, n_kv_heads=n_kv_heads)
    sizes = LayerSizes(D_MODEL, N_HEADS, n_kv_heads, D_FF)
    memory = torch.randn(BATCH, N_SOURCE, D_MODEL)
    caches = [KVCache(BATCH, n_kv_heads, 16, D_MODEL // N_HEADS) for _ in range(2)]

    def read(n_tokens, memory):
        x = torch.randn(BATCH, n_tokens, D_MODEL)
        return counted_flops(lambda: layer(x, memory, cache=caches[0], memory_cache=caches[1]))

    assert decoder_layer_flops(sizes, N_TARGET, N_SOURCE, batch_size=BATCH) == read(N_TARGET, memory)
    held = {"n_held": N_TARGET, "is_memory_held": True}
    found = read(1, memory[:, :0])
    assert decoder_layer_flops(sizes, 1, N_SOURCE, **held, batch_size=BATCH) == found


@pytest.mark.parity
@pytest.mark.parametrize("n_kv_heads", [4, 1])
@pytest.mark.parametrize(("n_prompt", "n_written"), [(6, 5), (1, 1), (1, 4)])
def test_writing_equals_torchs_count_with_a_cache_and_without(n_kv_heads, n_prompt, n_written):
    model = TransformerLanguageModel(
        37, d_model=D_MODEL, n_heads=4, n_layers=2, n_kv_heads=n_kv_heads, d_ff=D_FF, activation="gelu"
    ).eval()
    sizes = LayerSizes(D_MODEL, 4, n_kv_heads, D_FF, "gelu")
    prompt = torch.randint(3, 37, (2, n_prompt))
    numbers = {"n_layers": 2, "vocab_size": 37, "batch_size": 2}
    ways = {True: CachedLanguageModel(model, 2, 20), False: lambda tokens: model(tokens)[:, -1]}
    for is_cached, next_logits in ways.items():
        found = counted_flops(
            lambda next_logits=next_logits: generate(next_logits, prompt, max_tokens=n_written)
        )
        assert writing_flops(sizes, n_prompt, n_written, is_cached=is_cached, **numbers) == found


def test_hand_values():
    assert feed_forward_flops(SIZES, 3) == 2 * 3 * (8 * 12 + 12 * 8)
    gated = LayerSizes(8, 2, d_ff=12, activation="gated")
    assert feed_forward_flops(gated, 3) == 2 * 3 * 3 * 8 * 12
    # four projections, the core over 3 · 3 pairs, and the feed-forward network
    assert encoder_layer_flops(SIZES, 3) == 2 * (4 * 3 * 64 + 2 * 9 * 8) + 2 * 3 * 2 * 96
    # one token, read once: a layer and its logits
    numbers = {"n_layers": 1, "vocab_size": 7}
    assert writing_flops(SIZES, 1, 1, **numbers) == encoder_layer_flops(SIZES, 1) + 2 * 8 * 7
    assert writing_flops(SIZES, 1, 1, **numbers) == writing_flops(SIZES, 1, 1, is_cached=False, **numbers)


def test_long_texts_cost_their_square_with_a_cache_and_their_cube_without():
    lengths = [10_000, 20_000]
    for is_cached, exponent in ((True, 2), (False, 3)):
        flops = [writing_flops(SIZES, 1, n, n_layers=1, vocab_size=7, is_cached=is_cached) for n in lengths]
        assert fit_exponent(lengths, flops) == pytest.approx(exponent, abs=0.02)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: feed_forward_flops(8, 3),
            TypeError,
            "sizes must be of type LayerSizes, got sizes of type int",
        ),
        (lambda: feed_forward_flops(SIZES, 0), ValueError, "n_tokens must be at least 1, got n_tokens=0"),
        (lambda: feed_forward_flops(SIZES, 3, batch_size=0), ValueError, "batch_size must be at least 1"),
        (lambda: encoder_layer_flops(SIZES, 0), ValueError, "n_tokens must be at least 1"),
        (
            lambda: encoder_layer_flops(SIZES, 3, n_held=-1),
            ValueError,
            "n_held must be at least 0, got n_held=-1",
        ),
        (lambda: decoder_layer_flops(SIZES, 3, 0), ValueError, "n_source must be at least 1, got n_source=0"),
        (
            lambda: decoder_layer_flops(SIZES, 1.5, 3),
            TypeError,
            r"n_target must be an integer, got n_target=1\.5",
        ),
        (
            lambda: writing_flops(SIZES, 0, 3, n_layers=1, vocab_size=7),
            ValueError,
            "n_prompt must be at least 1, got n_prompt=0",
        ),
        (
            lambda: writing_flops(SIZES, 1, 0, n_layers=1, vocab_size=7),
            ValueError,
            "n_written must be at least 1, got n_written=0",
        ),
        (
            lambda: writing_flops(SIZES, 1, 1, n_layers=0, vocab_size=7),
            ValueError,
            "n_layers must be at least 1, got n_layers=0",
        ),
    ],
)
def test_errors_say_what_is_wrong(call, error, text):
    with pytest.raises(error, match=text):
        call()
