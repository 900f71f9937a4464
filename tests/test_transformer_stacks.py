"""Stacks run their layers in order, hand every layer what is its own, and refuse what does not fit."""

import pytest
import torch
from torch import nn

from attncourse.kv_cache import build_caches
from attncourse.masks import causal_mask
from attncourse.position_biases import alibi_bias
from attncourse.token_embedding import POSITIONS
from attncourse.training import set_seed
from attncourse.transformer_parts import WIRINGS, LayerNorm
from attncourse.transformer_stacks import TransformerDecoder, TransformerEncoder
from tests.support.tolerances import FLOAT64

BATCH, N_TARGET, N_SOURCE, N_HEADS, D_MODEL, D_FF, N_LAYERS = 3, 5, 7, 4, 24, 29, 2


def make(stack, **options):
    set_seed(0)
    return randomised(stack(D_MODEL, N_HEADS, N_LAYERS, D_FF, n_kv_heads=2, **options))


def randomised(model):
    """Biases and norms start at 0 and 1, and could be forgotten there."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.double()


def inputs():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(BATCH, N_TARGET, D_MODEL, dtype=torch.float64, generator=generator)
    memory = torch.randn(BATCH, N_SOURCE, D_MODEL, dtype=torch.float64, generator=generator)
    mask = (torch.arange(N_SOURCE) < torch.tensor([[7], [2], [4]]))[:, None, None]
    return x, memory, mask


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("is_causal", [False, True])
def test_encoder_is_its_layers_one_after_the_other(positions, is_causal):
    stack = make(TransformerEncoder, positions=positions)
    _, x, mask = inputs()
    bias = alibi_bias(N_HEADS, N_SOURCE, N_SOURCE).double() if positions == "alibi" else None
    expected, maps = x, []
    for layer in stack.layers:
        assert layer.rotary == ("half" if positions == "rotary" else None)
        expected, weights = layer(expected, mask, is_causal=is_causal, score_bias=bias, return_weights=True)
        maps.append(weights)
    output, weights = stack(x, mask, is_causal=is_causal, return_weights=True)
    torch.testing.assert_close(output, stack.norm(expected), **FLOAT64)
    assert weights.shape == (BATCH, N_LAYERS, N_HEADS, N_SOURCE, N_SOURCE)
    torch.testing.assert_close(weights, torch.stack(maps, dim=1), **FLOAT64)
    torch.testing.assert_close(stack(x, mask, is_causal=is_causal), output, **FLOAT64)


@pytest.mark.parametrize("positions", POSITIONS)
def test_decoder_is_its_layers_one_after_the_other(positions):
    stack = make(TransformerDecoder, positions=positions)
    x, memory, memory_mask = inputs()
    mask = torch.rand(BATCH, 1, N_TARGET, N_TARGET, generator=torch.Generator().manual_seed(2)) < 0.7
    bias = alibi_bias(N_HEADS, N_TARGET, N_TARGET).double() if positions == "alibi" else None
    expected, maps, cross_maps = x, [], []
    for layer in stack.layers:
        expected, looked, looked_back = layer(
            expected, memory, mask, memory_mask, score_bias=bias, return_weights=True
        )
        maps.append(looked)
        cross_maps.append(looked_back)
    output, weights, cross = stack(x, memory, mask, memory_mask, return_weights=True)
    torch.testing.assert_close(output, stack.norm(expected), **FLOAT64)
    torch.testing.assert_close(weights, torch.stack(maps, dim=1), **FLOAT64)
    torch.testing.assert_close(cross, torch.stack(cross_maps, dim=1), **FLOAT64)
    assert cross.shape == (BATCH, N_LAYERS, N_HEADS, N_TARGET, N_SOURCE)
    hidden = ~(mask & causal_mask(N_TARGET, N_TARGET)).unsqueeze(1)
    assert not weights.masked_select(hidden).any()
    assert not cross.masked_select(~memory_mask.unsqueeze(1)).any()
    torch.testing.assert_close(stack(x, memory, mask, memory_mask), output, **FLOAT64)


@pytest.mark.parametrize("wiring", WIRINGS)
@pytest.mark.parametrize("stack", [TransformerEncoder, TransformerDecoder])
def test_a_last_norm_follows_where_layers_normalise_their_input_only(stack, wiring):
    norm = make(stack, wiring=wiring).norm
    assert isinstance(norm, LayerNorm if wiring in ("pre-norm", "no-residual") else nn.Identity)


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("sizes", [[1] * N_SOURCE, [3, 4], [4, 1, 2]])
@torch.no_grad()
def test_encoder_with_caches_equals_the_whole(positions, sizes):
    stack = make(TransformerEncoder, positions=positions)
    caches = build_caches(stack, BATCH, 11)
    for seed in range(2):  # the same caches serve a second batch
        x = torch.randn(BATCH, N_SOURCE, D_MODEL, generator=torch.Generator().manual_seed(seed)).double()
        parts = [stack(part, is_causal=True, caches=caches) for part in x.split(sizes, dim=1)]
        torch.testing.assert_close(torch.cat(parts, dim=1), stack(x, is_causal=True), **FLOAT64)
        assert [cache.length for cache in caches] == [N_SOURCE] * N_LAYERS
        for cache in caches:
            cache.reset()


class CountingCache:
    """Stand in for a cache, and count what comes in."""

    def __init__(self):
        self.held, self.calls = None, []

    @property
    def length(self):
        return 0 if self.held is None else self.held[0].shape[2]

    def append(self, key, value):
        self.calls.append(key.shape[2])
        if self.held is not None:
            key, value = (torch.cat(pair, dim=2) for pair in zip(self.held, (key, value), strict=True))
        self.held = (key, value)
        return self.held


@pytest.mark.parametrize("positions", POSITIONS)
def test_decoder_with_caches_equals_the_whole_and_projects_the_memory_once(positions):
    stack = make(TransformerDecoder, positions=positions)
    x, memory, memory_mask = inputs()
    whole, weights, cross = stack(x, memory, memory_mask=memory_mask, return_weights=True)
    for sizes in ([1] * N_TARGET, [3, 2]):
        caches, memory_caches = ([CountingCache() for _ in range(N_LAYERS)] for _ in range(2))
        start = 0
        for part in x.split(sizes, dim=1):
            result = stack(
                part,
                memory,
                memory_mask=memory_mask,
                caches=caches,
                memory_caches=memory_caches,
                return_weights=True,
            )
            end = start + part.shape[1]
            for got, expected in zip(
                result,
                (whole[:, start:end], weights[:, :, :, start:end, :end], cross[:, :, :, start:end]),
                strict=True,
            ):
                torch.testing.assert_close(got, expected, **FLOAT64)
            start = end
        assert all(cache.calls == sizes for cache in caches)
        assert all(cache.calls == [N_SOURCE] + [0] * (len(sizes) - 1) for cache in memory_caches)


def test_bad_arguments_are_refused():
    encoder, decoder = make(TransformerEncoder), make(TransformerDecoder)
    x, memory, _ = inputs()
    with pytest.raises(
        ValueError, match=r"^caches must be one for each of 2 layers, got caches of length 3$"
    ):
        encoder(x, caches=[CountingCache() for _ in range(3)])
    with pytest.raises(
        ValueError, match=r"^memory_caches must be one for each of 2 layers, got memory_caches of length 1$"
    ):
        decoder(x, memory, memory_caches=[CountingCache()])
    with pytest.raises(ValueError, match=r"^n_layers must be at least 1, got n_layers=0$"):
        TransformerEncoder(D_MODEL, N_HEADS, 0, D_FF)
    with pytest.raises(ValueError, match=r"^positions must be one of .*, got positions='relative'$"):
        TransformerEncoder(D_MODEL, N_HEADS, 1, D_FF, positions="relative")
    with pytest.raises(
        ValueError, match=r"^d_model / n_heads must be even with rotary positions, got d_model=12, n_heads=4$"
    ):
        TransformerDecoder(12, 4, 1, D_FF, positions="rotary")
    with pytest.raises(ValueError, match=r"^n_heads must divide d_model=24, got n_heads=5$"):
        TransformerEncoder(24, 5, 1, D_FF)
