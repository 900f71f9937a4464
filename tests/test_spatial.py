"""Attention to places: what a cell sees and says, and captioners by name."""

import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from attncourse.hard_attention import HardDecoder
from attncourse.recurrent_decoders import BahdanauDecoder, PlainDecoder
from attncourse.spatial import CAPTIONER_KINDS, ImageEncoder, build_captioner
from attncourse.tasks.pairs import END, PADDING
from attncourse.training import set_seed
from tests.support.tolerances import FLOAT64

VOCAB = 7


def make_encoder(seed=0, image_size=24):
    set_seed(seed)
    encoder = ImageEncoder(2, image_size=image_size, d_memory=11).double()
    encoder.layers(
        torch.rand(64, 2, image_size, image_size, dtype=torch.float64)
    )  # statistics of some images
    return encoder.eval()


class TestImageEncoder:
    def test_equals_a_loop_over_the_cells(self):
        encoder = make_encoder()
        images = torch.rand(3, 2, 24, 24, dtype=torch.float64)
        memory = encoder(images)
        assert (memory.states > 0).any(dim=-1).all()  # nothing below compares zeros with zeros
        first, second, third = (encoder.layers[place] for place in (0, 3, 6))
        norms = [encoder.layers[place] for place in (1, 4, 7)]
        padded = F.pad(images, (4, 4, 4, 4))
        for row, column in itertools.product(range(3), range(3)):
            # Each cell of 8 × 8 pixels, with 4 pixels on either side, is all that its vector needs ...
            seen = padded[:, :, 8 * row : 8 * row + 16, 8 * column : 8 * column + 16]
            for layer, norm in zip((first, second, third), norms, strict=True):
                seen = F.conv2d(seen, layer.weight, stride=2)
                if (
                    layer is first
                ):  # padding holds zeros at every layer, not what the layer below makes of zeros
                    across = torch.arange(8 * row - 2, 8 * row + 10, 2)
                    along = torch.arange(8 * column - 2, 8 * column + 10, 2)
                    real = ((across >= 0) & (across < 24))[:, None] & ((along >= 0) & (along < 24))
                scale = norm.weight / (norm.running_var + norm.eps).sqrt()
                seen = seen * scale[:, None, None] + (norm.bias - norm.running_mean * scale)[:, None, None]
                seen = F.relu(seen)
                if layer is first:
                    seen = seen * real
            assert seen.shape[2:] == (1, 1)
            # ... besides its place: (2c + 1) / 3 - 1 from left to right, and the same from top to bottom.
            place = torch.tensor(
                [(2 * column + 1) / 3 - 1, (2 * row + 1) / 3 - 1], dtype=torch.float64
            ).expand(3, 2)
            joined = torch.cat([seen.flatten(1), place], dim=1)
            wanted = F.relu(joined @ encoder.output_proj.weight.T + encoder.output_proj.bias)
            torch.testing.assert_close(memory.states[:, 3 * row + column], wanted, **FLOAT64)
        torch.testing.assert_close(memory.summary, memory.states.mean(dim=1), **FLOAT64)
        assert memory.lengths.tolist() == [9, 9, 9]
        assert memory.mask.shape == (3, 1, 9)
        assert memory.mask.all()

    def test_a_cell_depends_on_its_receptive_field_and_on_nothing_else(self):
        encoder = ImageEncoder(1, image_size=40, d_memory=6).double().eval()
        assert encoder.receptive_field == 16
        assert encoder.grid == (5, 5)
        reached = torch.zeros(40, 40, dtype=torch.bool)
        for seed in range(10):  # a ReLU may hide a pixel from one image, not from ten
            set_seed(seed)
            images = torch.randn(1, 1, 40, 40, dtype=torch.float64, requires_grad=True)
            encoder(images).states[0, 11].sum().backward()  # row 2, column 1
            reached |= images.grad[0, 0] != 0
        rows, columns = reached.nonzero().unbind(dim=1)
        assert (rows.min(), rows.max()) == (12, 27)  # the cell's own rows are 16 to 23
        assert (columns.min(), columns.max()) == (4, 19)
        assert reached.sum() == 16 * 16

    @pytest.mark.properties
    def test_images_of_a_batch_are_independent_in_evaluation(self):
        encoder = make_encoder()
        images = torch.rand(5, 2, 24, 24, dtype=torch.float64)
        whole = encoder(images)
        torch.testing.assert_close(encoder(images[2:3]).states, whole.states[2:3], **FLOAT64)
        images.requires_grad_(True)
        encoder(images).states[1].sum().backward()
        assert not images.grad[[0, 2, 3, 4]].any()
        assert images.grad[1].any()

    @pytest.mark.properties
    def test_an_image_moved_by_a_cell_moves_its_inner_cells_but_for_their_places(self):
        encoder = make_encoder(image_size=40)
        images = torch.rand(1, 2, 40, 40, dtype=torch.float64)
        moved = images.roll(8, dims=-1)
        before, after = (encoder(seen).states.view(5, 5, -1)[1:4] for seen in (images, moved))
        assert not torch.allclose(after[:, 2:4], before[:, 1:3])
        with torch.no_grad():
            encoder.output_proj.weight[:, -2:] = 0.0  # deaf to the places
        before, after = (encoder(seen).states.view(5, 5, -1)[1:4] for seen in (images, moved))
        torch.testing.assert_close(after[:, 2:4], before[:, 1:3], **FLOAT64)

    def test_images_are_not_written(self):
        encoder = make_encoder()
        images = torch.rand(2, 2, 24, 24, dtype=torch.float64)
        copy = images.clone()
        encoder(images)
        assert torch.equal(images, copy)

    def test_bad_arguments_are_refused(self):
        with pytest.raises(ValueError, match=r"^image_size must be a multiple of 8, got image_size=20$"):
            ImageEncoder(image_size=20)
        with pytest.raises(ValueError, match=r"^n_channels must be at least 1, got n_channels=0$"):
            ImageEncoder(0)
        with pytest.raises(TypeError, match=r"^d_memory must be an integer, got d_memory=4\.0$"):
            ImageEncoder(d_memory=4.0)
        encoder = make_encoder()
        with pytest.raises(TypeError, match=r"^images must be of type Tensor, got images of type ndarray$"):
            encoder(np.zeros((1, 2, 24, 24)))
        with pytest.raises(TypeError, match=r"^images must be floating point, got images.dtype=int64$"):
            encoder(torch.zeros(1, 2, 24, 24, dtype=torch.int64))
        for shape in ((1, 3, 24, 24), (1, 2, 24, 32), (2, 1, 2, 24, 24)):
            with pytest.raises(
                ValueError, match=r"^images must have shape \(batch, 2, 24, 24\), got images.shape="
            ):
                encoder(torch.zeros(shape, dtype=torch.float64))
        with pytest.raises(
            ValueError, match=r"^lengths must be None for images, got lengths of type Tensor$"
        ):
            encoder(torch.zeros(1, 2, 24, 24, dtype=torch.float64), torch.tensor([9]))


class TestBuildCaptioner:
    def test_kinds_share_their_encoder_and_their_first_parameters(self):
        decoders = {"none": PlainDecoder, "soft": BahdanauDecoder, "hard": HardDecoder}
        assert set(decoders) == set(CAPTIONER_KINDS)
        models = []
        for kind, decoder_class in decoders.items():
            set_seed(0)
            models.append(build_captioner(kind, VOCAB, image_size=16, d_memory=8, d_hidden=5, d_embedding=3))
            assert type(models[-1].decoder) is decoder_class
        for model in models[1:]:
            for ours, theirs in zip(model.encoder.parameters(), models[0].encoder.parameters(), strict=True):
                assert torch.equal(ours, theirs)
        soft, hard = (dict(model.decoder.named_parameters()) for model in models[1:])
        assert {name: p.shape for name, p in soft.items()} == {name: p.shape for name, p in hard.items()}
        assert build_captioner("hard", VOCAB, estimator="reinforce").decoder.estimator == "reinforce"

    def test_images_are_captioned_with_weights_over_the_grid(self):
        model = build_captioner("soft", VOCAB, image_size=16, d_memory=8).eval()
        images = torch.rand(3, 3, 16, 16)
        target = torch.tensor([[3, END], [END, PADDING], [4, END]])
        logits, weights = model(images, None, target, return_weights=True)
        assert logits.shape == (3, 2, VOCAB)
        torch.testing.assert_close(weights.sum(dim=-1), torch.ones(3, 2))
        written, rows = model.greedy_decode(images, None, max_tokens=5, return_weights=True)
        assert rows.shape == (3, written.shape[1], 4)

    def test_bad_arguments_are_refused(self):
        with pytest.raises(ValueError, match=r"^kind must be one of 'none', 'soft', 'hard', got kind='x'$"):
            build_captioner("x", VOCAB)
        with pytest.raises(ValueError, match=r"^estimator must be one of .*, got estimator='x'$"):
            build_captioner("soft", VOCAB, estimator="x")
        with pytest.raises(ValueError, match=r"^vocab_size must be at least 1, got vocab_size=0$"):
            build_captioner("soft", 0)
