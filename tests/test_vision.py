"""Patches equal a strided convolution and F.unfold; the classifier equals torch's layers wired by hand."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from attncourse.positions import sinusoidal_positions
from attncourse.training import set_seed
from attncourse.vision import MLPClassifier, VisionTransformer, check_images, grid_positions, patch_tokens
from tests.support.comparing import assert_same_values_and_gradients, normal, randomise
from tests.support.tolerances import FLOAT32, FLOAT64
from tests.support.torch_layers import torch_layer

BATCH, CHANNELS, PATCH, ROWS, COLUMNS = 2, 3, 5, 3, 7
HEIGHT, WIDTH = ROWS * PATCH, COLUMNS * PATCH


def images(*, batch=BATCH, channels=CHANNELS, height=HEIGHT, width=WIDTH, seed=1):
    return normal(batch, channels, height, width, seed=seed)


class TestPatches:
    def test_equal_a_loop(self):
        x = images()
        tokens = patch_tokens(x, PATCH)
        assert tokens.shape == (BATCH, ROWS * COLUMNS, CHANNELS * PATCH**2)
        for row in range(ROWS):
            for column in range(COLUMNS):
                top, left = row * PATCH, column * PATCH
                patch = x[:, :, top : top + PATCH, left : left + PATCH]
                assert tokens[:, row * COLUMNS + column].equal(patch.flatten(1))

    @pytest.mark.parity
    def test_equal_unfold(self):
        x = images().requires_grad_()
        theirs = F.unfold(x, PATCH, stride=PATCH).transpose(1, 2)
        assert_same_values_and_gradients(patch_tokens(x, PATCH), theirs, [(x, x)])

    @pytest.mark.parity
    def test_a_linear_map_of_them_is_a_strided_convolution(self):
        x = images().requires_grad_()
        proj = randomise(nn.Linear(CHANNELS * PATCH**2, 11))
        kernel = proj.weight.reshape(11, CHANNELS, PATCH, PATCH)
        theirs = F.conv2d(x, kernel, proj.bias, stride=PATCH).flatten(2).transpose(1, 2)
        leaves = [x, *proj.parameters()]
        ours = proj(patch_tokens(x, PATCH))
        assert_same_values_and_gradients(ours, theirs, [(leaf, leaf) for leaf in leaves])

    @pytest.mark.properties
    @given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.integers(1, 3))
    def test_fold_puts_them_back(self, rows, columns, patch, channels):
        x = images(channels=channels, height=rows * patch, width=columns * patch)
        before = x.clone()
        tokens = patch_tokens(x, patch)
        assert F.fold(tokens.transpose(1, 2), x.shape[2:], patch, stride=patch).equal(before)
        assert x.equal(before)

    def test_hand_values(self):
        x = torch.arange(16.0).reshape(1, 1, 4, 4)
        assert patch_tokens(x, 2)[0].tolist() == [
            [0, 1, 4, 5],
            [2, 3, 6, 7],
            [8, 9, 12, 13],
            [10, 11, 14, 15],
        ]

    def test_bad_arguments_are_refused(self):
        with pytest.raises(TypeError, match=r"^images must be of type Tensor, got images of type list$"):
            patch_tokens([1.0], 2)
        with pytest.raises(TypeError, match=r"^images must be floating point, got images.dtype=int64$"):
            patch_tokens(torch.zeros(1, 1, 4, 4, dtype=torch.int64), 2)
        with pytest.raises(
            ValueError,
            match=r"^images must have four axes \(batch, n_channels, height, width\), none empty, "
            r"got images.shape=\(3, 4, 4\)$",
        ):
            patch_tokens(torch.zeros(3, 4, 4), 2)
        with pytest.raises(ValueError, match=r"none empty, got images.shape=\(0, 1, 4, 4\)$"):
            patch_tokens(torch.zeros(0, 1, 4, 4), 2)
        with pytest.raises(ValueError, match=r"^patch_size must be at least 1, got patch_size=0$"):
            patch_tokens(torch.zeros(1, 1, 4, 4), 0)
        with pytest.raises(TypeError, match=r"^patch_size must be an integer, got patch_size=2.0$"):
            patch_tokens(torch.zeros(1, 1, 4, 4), 2.0)
        for shape in ((1, 1, 4, 5), (1, 1, 5, 4)):
            with pytest.raises(
                ValueError, match=r"^patch_size must divide height and width, got patch_size=2, images.shape="
            ):
                patch_tokens(torch.zeros(shape), 2)


class TestGridPositions:
    def test_row_first_then_column(self):
        table = grid_positions(ROWS, COLUMNS, 12)
        rows = sinusoidal_positions(ROWS, 6, base=100.0)
        columns = sinusoidal_positions(COLUMNS, 6, base=100.0)
        assert table.shape == (ROWS * COLUMNS, 12)
        for row in range(ROWS):
            for column in range(COLUMNS):
                assert table[row * COLUMNS + column].equal(torch.cat([rows[row], columns[column]]))

    def test_no_two_cells_are_the_same(self):
        table = grid_positions(13, 11, 8)
        distances = torch.cdist(table, table) + 10 * torch.eye(len(table))
        assert distances.min() > 0.1

    def test_bad_arguments_are_refused(self):
        with pytest.raises(ValueError, match=r"^d_model must be a multiple of 4, got d_model=6$"):
            grid_positions(3, 5, 6)
        with pytest.raises(TypeError, match=r"^d_model must be an integer, got d_model=8.0$"):
            grid_positions(3, 5, 8.0)
        with pytest.raises(ValueError, match=r"^n_tokens must be at least 1, got n_tokens=0$"):
            grid_positions(0, 5, 8)


SIZE, CLASSES, D_MODEL, HEADS, LAYERS, D_FF = 15, 7, 6, 3, 2, 11


def transformer(**options):
    set_seed(0)
    made = VisionTransformer(
        SIZE,
        PATCH,
        CLASSES,
        n_channels=CHANNELS,
        d_model=D_MODEL,
        n_heads=HEADS,
        n_layers=LAYERS,
        d_ff=D_FF,
        **options,
    )
    return randomise(made)


def by_torch(model, x):
    """Run torch's layers with our parameters, on patches made by a convolution."""
    kernel = model.patch_proj.weight.reshape(D_MODEL, CHANNELS, PATCH, PATCH)
    patches = F.conv2d(x, kernel, model.patch_proj.bias, stride=PATCH).flatten(2).transpose(1, 2)
    tokens = torch.cat([model.class_token.repeat(len(x), 1, 1), patches], dim=1)
    if model.learned is not None:
        tokens = tokens + model.learned.table
    for layer in model.encoder.layers:
        theirs = nn.TransformerEncoderLayer(
            D_MODEL, HEADS, D_FF, 0.0, activation="gelu", norm_first=True, batch_first=True
        )
        parameters = {name.removeprefix("x."): value for name, value in torch_layer(layer, "x").items()}
        tokens = torch.func.functional_call(theirs, parameters, (tokens,), strict=True)
    norm = model.encoder.norm
    tokens = F.layer_norm(tokens, (D_MODEL,), norm.weight, norm.bias)
    return F.linear(tokens[:, 0], model.output_proj.weight, model.output_proj.bias)


class TestVisionTransformer:
    @pytest.mark.parity
    @pytest.mark.parametrize("positions", ["learned", "none"])
    @pytest.mark.parametrize("return_weights", [False, True])
    def test_equals_torchs_layers(self, positions, return_weights):
        model = transformer(positions=positions)
        x = images(height=SIZE, width=SIZE).requires_grad_()
        ours = model(x, return_weights=return_weights)
        ours = ours[0] if return_weights else ours
        leaves = [x, *model.parameters()]
        assert_same_values_and_gradients(ours, by_torch(model, x), [(leaf, leaf) for leaf in leaves])

    def test_weights_are_the_encoders(self):
        model = transformer()
        logits, weights = model(images(height=SIZE, width=SIZE), return_weights=True)
        assert model.grid == (3, 3)
        assert weights.shape == (BATCH, LAYERS, HEADS, 10, 10)
        torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]), **FLOAT64)
        # The class token's row of the last layer, with the rest of that layer, makes the logits.
        tokens = model.patch_proj(patch_tokens(images(height=SIZE, width=SIZE), PATCH))
        tokens = torch.cat([model.class_token.expand(BATCH, 1, -1), tokens], dim=1) + model.learned.table
        tokens, first = model.encoder.layers[0](tokens, return_weights=True)
        tokens, second = model.encoder.layers[1](tokens, return_weights=True)
        torch.testing.assert_close(weights, torch.stack([first, second], dim=1), **FLOAT64)
        torch.testing.assert_close(logits, model.output_proj(model.encoder.norm(tokens)[:, 0]), **FLOAT64)

    @pytest.mark.properties
    def test_without_positions_the_order_of_patches_means_nothing(self):
        x = images(height=SIZE, width=SIZE)
        order = torch.randperm(9, generator=torch.Generator().manual_seed(3))
        shuffled = F.fold(patch_tokens(x, PATCH)[:, order].transpose(1, 2), (SIZE, SIZE), PATCH, stride=PATCH)
        assert not shuffled.equal(x)
        bag, ordered = transformer(positions="none"), transformer()
        torch.testing.assert_close(bag(shuffled), bag(x), **FLOAT64)
        assert (ordered(shuffled) - ordered(x)).abs().max() > 0.01

    @pytest.mark.properties
    def test_images_of_a_batch_are_independent(self):
        model, x = transformer(), images(height=SIZE, width=SIZE)
        torch.testing.assert_close(model(x)[1:], model(x[1:]), **FLOAT64)

    def test_dropout_acts_in_training_only(self):
        model, x = transformer(dropout=0.5), images(height=SIZE, width=SIZE)
        assert not model(x).equal(model(x))
        model.eval()
        assert model(x).equal(model(x))

    def test_arguments_are_not_written_and_nothing_is_kept(self):
        model, x = transformer(), images(height=SIZE, width=SIZE)
        before, kept = x.clone(), set(vars(model))
        model(x, return_weights=True)[0].sum().backward()
        assert x.equal(before)
        assert set(vars(model)) == kept
        copy.deepcopy(model).load_state_dict(model.state_dict())

    def test_number_of_parameters(self):
        def count(**options):
            return sum(p.numel() for p in VisionTransformer(8, 2, 10, d_model=12, **options).parameters())

        layer = 4 * (12 * 12 + 12) + (12 * 24 + 24) + (24 * 12 + 12) + 2 * 24
        rest = (4 * 12 + 12) + 12 + 24 + (12 * 10 + 10)
        assert count() == 3 * layer + 17 * 12 + rest
        assert count(positions="none", n_layers=1) == layer + rest

    def test_bad_arguments_are_refused(self):
        model = transformer()
        with pytest.raises(
            ValueError,
            match=r"^images must be of \(height, width\)=\(15, 15\), got images.shape=\(2, 3, 15, 35\)$",
        ):
            model(images())
        with pytest.raises(
            ValueError, match=r"^images must have n_channels=3, got images.shape=\(2, 1, 15, 15\)$"
        ):
            model(images(channels=1, height=SIZE, width=SIZE))
        with pytest.raises(ValueError, match=r"^patch_size must divide image_size=8, got patch_size=3$"):
            VisionTransformer(8, 3, 10)
        with pytest.raises(
            ValueError, match=r"^positions must be one of 'learned', 'none', got positions='rotary'$"
        ):
            VisionTransformer(8, 2, 10, positions="rotary")
        for name, arguments in (
            ("image_size", (0, 2, 10)),
            ("patch_size", (8, 0, 10)),
            ("n_classes", (8, 2, 0)),
        ):
            with pytest.raises(ValueError, match=rf"^{name} must be at least 1, got {name}=0$"):
                VisionTransformer(*arguments)
        with pytest.raises(TypeError, match=r"^n_channels must be an integer, got n_channels=1.5$"):
            VisionTransformer(8, 2, 10, n_channels=1.5)
        with pytest.raises(ValueError, match=r"^dropout must be below 1, got dropout=1$"):
            VisionTransformer(8, 2, 10, dropout=1)


class TestMLP:
    def test_equals_the_formula(self):
        model = randomise(MLPClassifier(SIZE, CLASSES, n_channels=CHANNELS, d_hidden=13))
        x = images(height=SIZE, width=SIZE).requires_grad_()
        weights = dict(model.layers.named_parameters())
        wanted = x.reshape(BATCH, -1)
        for layer in (1, 3):
            wanted = torch.relu(wanted @ weights[f"{layer}.weight"].T + weights[f"{layer}.bias"])
        wanted = wanted @ weights["5.weight"].T + weights["5.bias"]
        leaves = [x, *model.parameters()]
        assert_same_values_and_gradients(model(x), wanted, [(leaf, leaf) for leaf in leaves])

    def test_bad_arguments_are_refused(self):
        model = MLPClassifier(SIZE, CLASSES)
        with pytest.raises(ValueError, match=r"^images must have n_channels=1, got images.shape="):
            model(torch.zeros(BATCH, CHANNELS, SIZE, SIZE))
        with pytest.raises(ValueError, match=r"^images must be of \(height, width\)=\(15, 15\), got "):
            model(torch.zeros(BATCH, 1, SIZE, SIZE + 1))
        with pytest.raises(ValueError, match=r"^d_hidden must be at least 1, got d_hidden=0$"):
            MLPClassifier(SIZE, CLASSES, d_hidden=0)


def test_check_images_lets_good_ones_pass():
    check_images("images", torch.zeros(2, 3, 5, 7))
    check_images("images", torch.zeros(2, 3, 5, 7, dtype=torch.float16), n_channels=3, size=(5, 7))
    with pytest.raises(ValueError, match=r"^pictures must be of \(height, width\)=\(7, 5\), got pictures"):
        check_images("pictures", torch.zeros(2, 3, 5, 7), size=(7, 5))


@pytest.mark.learning
@pytest.mark.usefixtures("one_thread")
def test_position_can_be_learned_with_positions_alone():
    # One bright patch: in which of four places does it lie? A bag of patches cannot know.
    x = torch.zeros(4, 1, 4, 4)
    for place in range(4):
        x[place, 0, 2 * (place // 2) :, 2 * (place % 2) :][:2, :2] = 1.0
    losses = {}
    for positions in ("learned", "none"):
        set_seed(0)
        model = VisionTransformer(4, 2, 4, d_model=16, n_heads=2, n_layers=1, positions=positions)
        optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(60):
            loss = F.cross_entropy(model(x), torch.arange(4))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        losses[positions] = loss.item()
    assert losses["learned"] < 0.1
    torch.testing.assert_close(model(x), model(x)[:1].expand(4, -1), **FLOAT32)
    assert losses["none"] > 1.3  # ln 4 = 1.386
