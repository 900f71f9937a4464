"""Gates equal their formula place by place, the non-local block chapter 7's layer, and the net its parts."""

import copy
import math

import pytest
import torch
from torch.nn import functional as F

from attncourse.segmentation import SEGMENTER_KINDS, AttentionGate, NonLocalBlock, Segmenter
from attncourse.training import set_seed
from tests.support.comparing import assert_same_values_and_gradients, normal, randomise
from tests.support.tolerances import FLOAT64

BATCH, SKIP, COARSE, HIDDEN, CLASSES = 2, 5, 7, 3, 6


class TestAttentionGate:
    def gate(self):
        return randomise(AttentionGate(SKIP, COARSE, d_hidden=HIDDEN))

    @pytest.mark.parity
    def test_equals_the_formula_place_by_place(self):
        # On one grid, so that nothing is enlarged.
        gate, skip, coarse = self.gate(), normal(BATCH, SKIP, 4, 3), normal(BATCH, COARSE, 4, 3, seed=2)
        output, weights = gate(skip, coarse)
        assert weights.shape == (BATCH, 4, 3)
        to_skip, to_coarse, to_one = (
            proj.weight[..., 0, 0] for proj in (gate.skip_proj, gate.coarse_proj, gate.weight_proj)
        )
        for b in range(BATCH):
            for i in range(4):
                for j in range(3):
                    x = skip[b, :, i, j]
                    both = to_skip @ x + to_coarse @ coarse[b, :, i, j] + gate.coarse_proj.bias
                    score = to_one @ both.clamp(min=0) + gate.weight_proj.bias
                    alpha = 1 / (1 + torch.exp(-score))
                    torch.testing.assert_close(weights[b, i, j], alpha[0], **FLOAT64)
                    torch.testing.assert_close(output[b, :, i, j], alpha * x, **FLOAT64)

    @pytest.mark.parity
    def test_the_coarser_level_is_enlarged_bilinearly(self):
        gate, skip = self.gate(), normal(BATCH, SKIP, 8, 6)
        coarse = normal(BATCH, COARSE, 4, 3, seed=2)
        _, weights = gate(skip, coarse)
        # A linear map of each place and a mean of places with weights that sum to 1 commute.
        large = F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
        torch.testing.assert_close(weights, gate(skip, large)[1], **FLOAT64)

    @pytest.mark.properties
    def test_weights_lie_between_0_and_1_and_shut_or_open_the_skip(self):
        gate, skip, coarse = self.gate(), normal(BATCH, SKIP, 8, 6), normal(BATCH, COARSE, 4, 3, seed=2)
        _, weights = gate(skip, coarse)
        assert ((weights > 0) & (weights < 1)).all()
        for bias, factor in ((1e4, 1.0), (-1e4, 0.0)):
            with torch.no_grad():
                gate.weight_proj.bias.fill_(bias)
            torch.testing.assert_close(gate(skip, coarse)[0], factor * skip, **FLOAT64)

    @pytest.mark.gradients
    def test_gradcheck(self):
        skip, coarse = (
            normal(1, SKIP, 4, 2).requires_grad_(),
            normal(1, COARSE, 2, 1, seed=2).requires_grad_(),
        )
        assert torch.autograd.gradcheck(self.gate(), (skip, coarse))

    def test_hidden_size_is_half_of_the_skip_unless_given(self):
        assert AttentionGate(6, 7).skip_proj.out_channels == 3
        assert AttentionGate(1, 7).skip_proj.out_channels == 1

    def test_bad_arguments_are_refused(self):
        gate = AttentionGate(SKIP, COARSE)
        with pytest.raises(ValueError, match=r"^skip must have n_channels=5, got skip.shape=\(2, 7, 4, 3\)$"):
            gate(torch.zeros(2, 7, 4, 3), torch.zeros(2, 7, 4, 3))
        with pytest.raises(ValueError, match=r"^coarse must have n_channels=7, got coarse.shape="):
            gate(torch.zeros(2, 5, 4, 3), torch.zeros(2, 5, 4, 3))
        for arguments, name in (((0, 1), "n_skip"), ((1, 0), "n_coarse")):
            with pytest.raises(ValueError, match=rf"^{name} must be at least 1, got {name}=0$"):
                AttentionGate(*arguments)
        with pytest.raises(TypeError, match=r"^d_hidden must be an integer, got d_hidden=1.5$"):
            AttentionGate(2, 3, d_hidden=1.5)


class TestNonLocalBlock:
    @pytest.mark.parity
    @pytest.mark.parametrize("return_weights", [False, True])
    def test_equals_attention_over_cells_with_one_head(self, return_weights):
        block = randomise(NonLocalBlock(SKIP))
        features = normal(BATCH, SKIP, 4, 3).requires_grad_()
        output = block(features, return_weights=return_weights)
        output, weights = output if return_weights else (output, None)
        cells = features.reshape(BATCH, SKIP, 12).transpose(1, 2)
        proj = {
            name: getattr(block.attention, f"{name}_proj") for name in ("query", "key", "value", "output")
        }
        query, key, value = (F.linear(cells, proj[n].weight, proj[n].bias) for n in ("query", "key", "value"))
        wanted_weights = (query @ key.transpose(1, 2) / math.sqrt(SKIP)).softmax(dim=-1)
        found = F.linear(wanted_weights @ value, proj["output"].weight, proj["output"].bias)
        wanted = features + found.transpose(1, 2).reshape(features.shape)
        leaves = [features, *block.parameters()]
        assert_same_values_and_gradients(output, wanted, [(leaf, leaf) for leaf in leaves])
        if return_weights:
            torch.testing.assert_close(weights, wanted_weights, **FLOAT64)

    def test_starts_as_the_identity_and_can_leave_it(self):
        set_seed(0)
        block, features = NonLocalBlock(SKIP), normal(BATCH, SKIP, 4, 3, dtype=torch.float32)
        assert block(features).equal(features)
        block(features).square().sum().backward()
        assert block.attention.output_proj.weight.grad.abs().max() > 0.01

    @pytest.mark.properties
    def test_moving_cells_moves_the_output_with_them(self):
        block, features = randomise(NonLocalBlock(SKIP)), normal(BATCH, SKIP, 4, 3)
        order = torch.randperm(12, generator=torch.Generator().manual_seed(3))
        moved = features.flatten(2)[..., order].reshape(features.shape)
        wanted = block(features).flatten(2)[..., order].reshape(features.shape)
        torch.testing.assert_close(block(moved), wanted, **FLOAT64)

    def test_bad_arguments_are_refused(self):
        with pytest.raises(ValueError, match=r"^features must have n_channels=5, got features.shape="):
            NonLocalBlock(5)(torch.zeros(1, 4, 3, 3))
        with pytest.raises(TypeError, match=r"^features must be floating point, got features.dtype=int64$"):
            NonLocalBlock(5)(torch.zeros(1, 5, 3, 3, dtype=torch.int64))
        with pytest.raises(ValueError, match=r"^n_channels must be at least 1, got n_channels=0$"):
            NonLocalBlock(0)


HEIGHT, WIDTH, WIDTHS = 12, 20, (6, 5, 7)


def segmenter(kind, **options):
    set_seed(0)
    return randomise(Segmenter(CLASSES, kind, n_channels=2, widths=WIDTHS, **options))


def images(seed=1):
    return normal(BATCH, 2, HEIGHT, WIDTH, seed=seed)


def by_hand(model, x):
    """Return logits and weights of the net, wired again from its parts."""
    fine = model.down[0](x)
    middle = model.down[1](F.max_pool2d(fine, 2))
    coarse = model.down[2](F.max_pool2d(middle, 2))
    weights = []
    if model.attention == "non-local":
        coarse, map_ = model.non_local(coarse, return_weights=True)
        weights.append(map_)
    below = coarse
    for level, skip in ((0, middle), (1, fine)):
        if model.attention == "gates":
            skip, map_ = model.gates[level](skip, below)
            weights.append(map_)
        large = below.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        below = model.up[level](torch.cat([large, skip], dim=1))
    return model.output_proj(below), weights


@pytest.mark.parametrize("kind", SEGMENTER_KINDS)
class TestSegmenter:
    @pytest.mark.parametrize("training", [False, True])
    def test_equals_its_parts_wired_by_hand(self, kind, training):
        model = segmenter(kind).train(training)
        x = images().requires_grad_()
        wanted, wanted_weights = by_hand(copy.deepcopy(model), x)
        if kind == "none":
            logits = model(x)
        else:
            logits, weights = model(x, return_weights=True)
            weights = weights if isinstance(weights, tuple) else (weights,)
            for got, want in zip(weights, wanted_weights, strict=True):
                torch.testing.assert_close(got, want, **FLOAT64)
            torch.testing.assert_close(copy.deepcopy(model)(x), logits, **FLOAT64)
        assert logits.shape == (BATCH, CLASSES, HEIGHT, WIDTH)
        assert_same_values_and_gradients(logits, wanted, [(x, x)])

    def test_every_parameter_has_a_part_in_the_logits(self, kind):
        model = segmenter(kind)
        model(images()).square().mean().backward()
        for name, parameter in model.named_parameters():
            # A key's bias shifts all scores of a query alike: the softmax forgets it.
            if not name.endswith("key_proj.bias"):
                assert parameter.grad.abs().max() > 0, name

    @pytest.mark.properties
    def test_images_are_independent_in_evaluation(self, kind):
        model, x = segmenter(kind).eval(), images()
        torch.testing.assert_close(model(x)[1:], model(x[1:]), **FLOAT64)

    def test_arguments_are_not_written_and_nothing_is_kept(self, kind):
        model, x = segmenter(kind), images()
        before, kept = x.clone(), set(vars(model))
        model(x, return_weights=kind != "none")
        assert x.equal(before)
        assert set(vars(model)) == kept
        segmenter(kind).load_state_dict(model.state_dict())

    def test_what_a_pixel_may_depend_on(self, kind):
        # From corner to corner of 96 pixels: only the block that looks everywhere gets there.
        torch.manual_seed(0)
        model = randomise(Segmenter(CLASSES, kind, n_channels=2, widths=WIDTHS)).eval()
        x = normal(1, 2, 96, 96).requires_grad_()
        (gradient,) = torch.autograd.grad(model(x)[0, :, 0, 0].sum(), x)
        reached = gradient[0].abs().amax(dim=0).nonzero().amax(dim=0)
        if kind == "non-local":
            assert reached.tolist() == [95, 95]
        else:
            assert reached.max() < 40


def test_the_coarsest_level_sees_32_pixels():
    model = segmenter("none").eval()
    x = normal(1, 2, 96, 96).requires_grad_()
    seen = torch.zeros(96, 96, dtype=torch.bool)
    for seed in range(5):  # the maximum of 2 × 2 passes one gradient of four: other images, other ways
        noise = x + 3 * normal(1, 2, 96, 96, seed=seed)
        coarse = model.down[2](F.max_pool2d(model.down[1](F.max_pool2d(model.down[0](noise), 2)), 2))
        (gradient,) = torch.autograd.grad(coarse[0, :, 12, 12].sum(), x)
        seen |= gradient[0].abs().amax(dim=0) > 0
    rows, columns = seen.any(dim=1).nonzero(), seen.any(dim=0).nonzero()
    for places in (rows, columns):
        assert places.max() - places.min() + 1 <= 32
        assert places.max() - places.min() + 1 >= 30


def test_only_the_attention_adds_parameters():
    sizes = {
        kind: {name: p.shape for name, p in segmenter(kind).named_parameters()} for kind in SEGMENTER_KINDS
    }
    for kind, prefix in (("gates", "gates."), ("non-local", "non_local.")):
        more = {name for name in sizes[kind] if name.startswith(prefix)}
        assert more
        assert {name: size for name, size in sizes[kind].items() if name not in more} == sizes["none"]


def test_bad_arguments_are_refused():
    model = segmenter("none").float()
    with pytest.raises(
        ValueError,
        match=r"^images must have a height and width that 4 divides, got images.shape=\(1, 2, 8, 10\)$",
    ):
        model(torch.zeros(1, 2, 8, 10))
    with pytest.raises(ValueError, match=r"^images must have n_channels=2, got images.shape="):
        model(torch.zeros(1, 3, 8, 8))
    with pytest.raises(TypeError, match=r"^images must be of type Tensor, got images of type list$"):
        model([1.0])
    with pytest.raises(
        ValueError,
        match=r"^return_weights must be False for a net without attention, got return_weights=True$",
    ):
        model(torch.zeros(1, 2, 8, 8), return_weights=True)
    with pytest.raises(
        ValueError, match=r"^attention must be one of 'none', 'gates', 'non-local', got attention='soft'$"
    ):
        Segmenter(CLASSES, "soft")
    with pytest.raises(ValueError, match=r"^widths must hold 3 sizes, got widths=\(3, 5\)$"):
        Segmenter(CLASSES, widths=(3, 5))
    with pytest.raises(ValueError, match=r"^widths\[1\] must be at least 1, got widths\[1\]=0$"):
        Segmenter(CLASSES, widths=(3, 0, 5))
    with pytest.raises(ValueError, match=r"^n_classes must be at least 1, got n_classes=0$"):
        Segmenter(0)
    with pytest.raises(TypeError, match=r"^n_channels must be an integer, got n_channels=None$"):
        Segmenter(2, n_channels=None)


@pytest.mark.learning
@pytest.mark.usefixtures("one_thread")
def test_what_lies_far_away_can_be_learned_with_the_non_local_block_alone():
    # A bright dot at the right end says whether the dot at the left end counts: 56 pixels apart.
    generator = torch.Generator().manual_seed(0)

    def batch(size):
        told = torch.rand(size, generator=generator) < 0.5
        x = 0.1 * torch.rand(size, 1, 8, 64, generator=generator)
        x[:, 0, 2:6, 2:6] = 1.0
        x[:, 0, 2:6, 58:62] = -told.float()[:, None, None]
        gold = torch.full((size, 8, 64), -100)  # the loss leaves out what is not the first dot
        gold[:, 2:6, 2:6] = told.long()[:, None, None]
        return x, gold

    right = {}
    for kind in ("none", "non-local"):
        set_seed(0)
        model = Segmenter(2, kind, n_channels=1, widths=(6, 8, 12))
        optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(80):
            x, gold = batch(16)
            loss = F.cross_entropy(model(x), gold)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        model.eval()
        x, gold = batch(101)
        dot = gold >= 0
        right[kind] = (model(x).argmax(dim=1) == gold)[dot].float().mean().item()
    assert right["non-local"] > 0.95
    assert right["none"] < 0.7
