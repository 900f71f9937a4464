"""Gates: against loops, by what they promise, and with clear errors."""

import math

import pytest
import torch

from attncourse.gates import GATE_KINDS, ChannelGate, ConvBlockAttention, NoGate, SpatialGate, build_gate
from tests.support.tolerances import FLOAT64

BATCH, N_CHANNELS, HEIGHT, WIDTH = 3, 11, 5, 7


def feature_map(seed=0, n_channels=N_CHANNELS):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(BATCH, n_channels, HEIGHT, WIDTH, generator=generator, dtype=torch.float64)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def two_layers(module, summary):
    """The gate's two linear maps with a rectifier between them, in loops."""
    first, second = module.squeeze_proj, module.excite_proj
    hidden = [
        max(0.0, sum(w * x for w, x in zip(row, summary, strict=True)) + b)
        for row, b in zip(first.weight.tolist(), first.bias.tolist(), strict=True)
    ]
    return [
        sum(w * h for w, h in zip(row, hidden, strict=True)) + b
        for row, b in zip(second.weight.tolist(), second.bias.tolist(), strict=True)
    ]


def channel_gate_by_loops(module, features):
    gate = torch.zeros(BATCH, N_CHANNELS, 1, 1, dtype=torch.float64)
    for b in range(BATCH):
        pixels = [features[b, c].flatten().tolist() for c in range(N_CHANNELS)]
        scores = two_layers(module, [sum(values) / len(values) for values in pixels])
        if module.use_maximum:
            more = two_layers(module, [max(values) for values in pixels])
            scores = [one + other for one, other in zip(scores, more, strict=True)]
        for c in range(N_CHANNELS):
            gate[b, c, 0, 0] = sigmoid(scores[c])
    return gate


def spatial_gate_by_loops(module, features):
    taps, bias = module.conv.weight[0].tolist(), module.conv.bias.item()
    reach = len(taps[0]) // 2
    gate = torch.zeros(BATCH, 1, HEIGHT, WIDTH, dtype=torch.float64)
    for b in range(BATCH):
        for i in range(HEIGHT):
            for j in range(WIDTH):
                score = bias
                for di in range(-reach, reach + 1):
                    for dj in range(-reach, reach + 1):
                        if 0 <= i + di < HEIGHT and 0 <= j + dj < WIDTH:
                            column = features[b, :, i + di, j + dj].tolist()
                            score += taps[0][di + reach][dj + reach] * sum(column) / len(column)
                            score += taps[1][di + reach][dj + reach] * max(column)
                gate[b, 0, i, j] = sigmoid(score)
    return gate


def scaled_by_loops(features, gate):
    output = torch.zeros_like(features)
    wide = gate.shape[1] == 1
    for b in range(BATCH):
        for c in range(N_CHANNELS):
            for i in range(HEIGHT):
                for j in range(WIDTH):
                    factor = gate[b, 0, i, j] if wide else gate[b, c, 0, 0]
                    output[b, c, i, j] = factor * features[b, c, i, j]
    return output


@pytest.mark.parity
@pytest.mark.parametrize("use_maximum", [False, True])
def test_the_channel_gate_equals_loops(use_maximum):
    torch.manual_seed(0)
    module = ChannelGate(N_CHANNELS, reduction=3, use_maximum=use_maximum).double()
    features = feature_map()
    output, gate = module(features, return_weights=True)
    expected = channel_gate_by_loops(module, features)
    torch.testing.assert_close(gate, expected, **FLOAT64)
    torch.testing.assert_close(output, scaled_by_loops(features, expected), **FLOAT64)
    assert torch.equal(module(features), output)


@pytest.mark.parity
@pytest.mark.parametrize("kernel_size", [1, 3, 7])
def test_the_spatial_gate_equals_loops(kernel_size):
    torch.manual_seed(0)
    module = SpatialGate(kernel_size).double()
    features = feature_map()
    output, gate = module(features, return_weights=True)
    expected = spatial_gate_by_loops(module, features)
    torch.testing.assert_close(gate, expected, **FLOAT64)
    torch.testing.assert_close(output, scaled_by_loops(features, expected), **FLOAT64)
    assert torch.equal(module(features), output)


@pytest.mark.parity
def test_both_gates_the_second_sees_what_the_first_left():
    torch.manual_seed(0)
    module = ConvBlockAttention(N_CHANNELS, reduction=2, kernel_size=3).double()
    features = feature_map()
    output, (channel, spatial) = module(features, return_weights=True)
    expected_channel = channel_gate_by_loops(module.channel_gate, features)
    between = scaled_by_loops(features, expected_channel)
    expected_spatial = spatial_gate_by_loops(module.spatial_gate, between)
    torch.testing.assert_close(channel, expected_channel, **FLOAT64)
    torch.testing.assert_close(spatial, expected_spatial, **FLOAT64)
    torch.testing.assert_close(output, scaled_by_loops(between, expected_spatial), **FLOAT64)
    assert torch.equal(module(features), output)
    assert module.channel_gate.use_maximum


def test_a_channel_gate_by_hand():
    # One channel, one hidden unit: average 2, hidden max(0, 3·2 − 5) = 1, score 2·1 − 2 = 0, gate 1/2.
    module = ChannelGate(1, reduction=1)
    with torch.no_grad():
        module.squeeze_proj.weight.fill_(3.0)
        module.squeeze_proj.bias.fill_(-5.0)
        module.excite_proj.weight.fill_(2.0)
        module.excite_proj.bias.fill_(-2.0)
    features = torch.tensor([[[[1.0, 3.0]]]])
    output, gate = module(features, return_weights=True)
    assert gate.tolist() == [[[[0.5]]]]
    assert output.tolist() == [[[[0.5, 1.5]]]]
    # The maximum 3 has the hidden value 4, which adds the score 6 to 0 (both bring the second bias).
    module.use_maximum = True
    assert module(features, return_weights=True)[1].item() == pytest.approx(sigmoid(6.0))


def gates():
    return [build_gate(kind, N_CHANNELS).double() for kind in GATE_KINDS]


@pytest.mark.parametrize("module", gates(), ids=GATE_KINDS)
def test_a_gate_keeps_the_shape_and_leaves_its_input_alone(module):
    features = feature_map()
    before = features.clone()
    output = module(features)
    assert output.shape == features.shape
    assert torch.equal(features, before)


@pytest.mark.properties
@pytest.mark.parametrize("module", [ChannelGate(N_CHANNELS), ChannelGate(N_CHANNELS, use_maximum=True)])
def test_a_channel_gate_does_not_care_where_things_are(module):
    module = module.double()
    features = feature_map()
    order = torch.randperm(HEIGHT * WIDTH, generator=torch.Generator().manual_seed(1))
    shuffled = features.flatten(2)[..., order].unflatten(2, (HEIGHT, WIDTH))
    gate = module(features, return_weights=True)[1]
    torch.testing.assert_close(module(shuffled, return_weights=True)[1], gate, **FLOAT64)
    assert ((gate > 0) & (gate < 1)).all()


@pytest.mark.properties
def test_a_spatial_gate_does_not_care_which_channel_is_which():
    module = SpatialGate(3).double()
    features = feature_map()
    order = torch.randperm(N_CHANNELS, generator=torch.Generator().manual_seed(1))
    gate = module(features, return_weights=True)[1]
    torch.testing.assert_close(module(features[:, order], return_weights=True)[1], gate, **FLOAT64)
    assert ((gate > 0) & (gate < 1)).all()
    # Far from the edge it moves with the image.
    moved = features.roll(2, dims=3)
    inner = module(moved, return_weights=True)[1][..., 3:-1]
    torch.testing.assert_close(inner, gate[..., 1:-3], **FLOAT64)


@pytest.mark.properties
@pytest.mark.parametrize("kind", GATE_KINDS)
def test_the_images_of_a_batch_do_not_meet(kind):
    module = build_gate(kind, N_CHANNELS).double()
    features = feature_map()
    together = module(features)
    for b in range(BATCH):
        torch.testing.assert_close(module(features[b : b + 1]), together[b : b + 1], **FLOAT64)


@pytest.mark.gradients
@pytest.mark.parametrize("kind", GATE_KINDS)
def test_gradients_are_those_of_the_numbers(kind):
    torch.manual_seed(0)
    module = build_gate(kind, 3).double()
    features = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(module, (features,))


def test_the_sizes_are_those_that_the_notes_promise():
    def n_parameters(module):
        return sum(parameter.numel() for parameter in module.parameters())

    assert n_parameters(ChannelGate(64, reduction=8)) == 2 * 64 * 8 + 8 + 64
    assert ChannelGate(3, reduction=4).squeeze_proj.out_features == 1
    assert n_parameters(SpatialGate(7)) == 2 * 49 + 1
    assert n_parameters(ConvBlockAttention(64, reduction=8)) == 2 * 64 * 8 + 8 + 64 + 2 * 49 + 1
    assert n_parameters(NoGate()) == 0


def test_gates_by_name():
    kinds = [type(build_gate(kind, 5)) for kind in GATE_KINDS]
    assert kinds == [NoGate, ChannelGate, SpatialGate, ConvBlockAttention]
    assert not build_gate("channel", 5).use_maximum


def test_without_a_gate_the_features_come_back():
    features = feature_map()
    assert NoGate()(features) is features
    assert NoGate()(features, return_weights=True) == (features, None)


@pytest.mark.learning
def test_a_channel_gate_learns_to_shut_out_a_channel_of_noise():
    torch.manual_seed(0)
    module = ChannelGate(2, reduction=1)
    optimiser = torch.optim.Adam(module.parameters(), lr=0.05)
    for _ in range(150):
        signal, noise = torch.rand(32, 1, 3, 3), torch.randn(32, 1, 3, 3)
        output = module(torch.cat([signal, noise], dim=1))
        loss = (output.sum(dim=1, keepdim=True) - signal).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    features = torch.cat([torch.rand(64, 1, 3, 3), torch.randn(64, 1, 3, 3)], dim=1)
    gate = module(features, return_weights=True)[1].mean(dim=0).flatten()
    assert gate[0] > 0.8
    assert gate[1] < 0.2


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: ChannelGate(0), ValueError, "n_channels must be at least 1, got n_channels=0"),
        (lambda: ChannelGate(4, reduction=0), ValueError, "reduction must be at least 1, got reduction=0"),
        (lambda: ChannelGate(4.0), TypeError, "n_channels must be an integer, got n_channels=4.0"),
        (lambda: SpatialGate(0), ValueError, "kernel_size must be at least 1, got kernel_size=0"),
        (lambda: SpatialGate(4), ValueError, "kernel_size must be odd, got kernel_size=4"),
        (
            lambda: ConvBlockAttention(5, kernel_size=2),
            ValueError,
            "kernel_size must be odd, got kernel_size=2",
        ),
        (
            lambda: build_gate("some", 4),
            ValueError,
            "kind must be one of 'none', 'channel', 'spatial', 'both', got kind='some'",
        ),
        (lambda: build_gate("none", 0), ValueError, "n_channels must be at least 1, got n_channels=0"),
    ],
)
def test_bad_sizes_are_refused(make, error, text):
    with pytest.raises(error, match=f"^{text}$"):
        make()


@pytest.mark.parametrize(
    ("features", "error", "text"),
    [
        (
            torch.zeros(2, 4, 3, 3),
            ValueError,
            r"features must have shape \(batch, 5, height, width\), got features.shape=\(2, 4, 3, 3\)",
        ),
        (
            torch.zeros(5, 3, 3),
            ValueError,
            r"features must have shape \(batch, 5, height, width\), got features.shape=\(5, 3, 3\)",
        ),
        (
            torch.zeros(2, 5, 0, 3),
            ValueError,
            r"features must not be empty, got features.shape=\(2, 5, 0, 3\)",
        ),
        (
            torch.full((1, 5, 2, 2), math.nan),
            ValueError,
            "features must not contain NaN, got features with 20 NaN",
        ),
        (
            torch.zeros(2, 5, 3, 3).long(),
            TypeError,
            "features must be floating point, got features.dtype=int64",
        ),
        ([1.0], TypeError, "features must be of type Tensor, got features of type list"),
    ],
)
def test_bad_features_are_refused(features, error, text):
    for module in (ChannelGate(5), ConvBlockAttention(5)):
        with pytest.raises(error, match=f"^{text}$"):
            module(features)
    text = text.replace("batch, 5", "batch, n_channels")
    if not (isinstance(features, torch.Tensor) and features.ndim == 4 and features.shape[1] == 4):
        with pytest.raises(error, match=f"^{text}$"):
            SpatialGate()(features)
