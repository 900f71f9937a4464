"""The detector equals its parts and torch's layers."""

import copy
import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from attncourse.boxes import to_corners
from attncourse.detection import (
    Detections,
    Detector,
    FlatSlots,
    ObjectQueries,
)
from attncourse.training import set_seed
from attncourse.vision import grid_positions
from tests.support.comparing import assert_same_values_and_gradients, normal, randomise
from tests.support.tolerances import FLOAT64
from tests.support.torch_layers import torch_layer

BATCH, SIZE, CLASSES, QUERIES, D_MODEL, HEADS, LAYERS, D_FF = 2, 20, 3, 7, 12, 2, 3, 17


def detector(**options):
    set_seed(0)
    sizes = {"n_queries": QUERIES, "d_model": D_MODEL, "n_heads": HEADS, "n_layers": LAYERS, "d_ff": D_FF}
    return randomise(Detector(CLASSES, image_size=SIZE, **{**sizes, **options}))


def images(batch=BATCH, seed=1):
    return normal(batch, 3, SIZE, SIZE, seed=seed)


def layers_by_torch(queries, memory):
    """Return what torch's decoder layers, without a mask, make of the queries behind every layer."""
    x, states = queries.queries.repeat(len(memory), 1, 1), []
    for layer in queries.layers:
        theirs = nn.TransformerDecoderLayer(D_MODEL, HEADS, D_FF, 0.0, norm_first=True, batch_first=True)
        parameters = {name.removeprefix("x."): value for name, value in torch_layer(layer, "x").items()}
        x = torch.func.functional_call(theirs, parameters, (x, memory), strict=True)
        states.append(x)
    return states


class TestObjectQueries:
    @pytest.mark.parity
    @pytest.mark.parametrize("return_weights", [False, True])
    def test_equal_torchs_layers(self, return_weights):
        queries = randomise(ObjectQueries(QUERIES, D_MODEL, HEADS, LAYERS, D_FF))
        memory = normal(BATCH, 11, D_MODEL).requires_grad_()
        states, cells, among = queries(memory, return_weights=return_weights)
        leaves = [memory, *queries.parameters()]
        wanted = torch.stack(layers_by_torch(queries, memory))
        assert_same_values_and_gradients(torch.stack(states), wanted, [(leaf, leaf) for leaf in leaves])
        if return_weights:
            assert cells.shape == (BATCH, LAYERS, HEADS, QUERIES, 11)
            assert among.shape == (BATCH, LAYERS, HEADS, QUERIES, QUERIES)
            for weights in (cells, among):
                torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]), **FLOAT64)
        else:
            assert cells is among is None

    @pytest.mark.properties
    def test_queries_have_no_order(self):
        queries = randomise(ObjectQueries(QUERIES, D_MODEL, HEADS, LAYERS, D_FF))
        memory = normal(BATCH, 11, D_MODEL)
        order = torch.randperm(QUERIES, generator=torch.Generator().manual_seed(3))
        moved = copy.deepcopy(queries)
        with torch.no_grad():
            moved.queries.copy_(queries.queries[order])
        wanted = queries(memory)[0][-1][:, order]
        torch.testing.assert_close(moved(memory)[0][-1], wanted, **FLOAT64)

    def test_every_query_hears_of_every_other(self):
        queries = randomise(ObjectQueries(QUERIES, D_MODEL, HEADS, 1, D_FF))
        first = queries(normal(1, 11, D_MODEL))[0][0][0, 0]  # what the first query knows
        (gradient,) = torch.autograd.grad(first.sum(), queries.queries)
        assert (gradient.abs().amax(dim=1) > 1e-6).all()

    def test_bad_sizes_are_refused(self):
        for name, arguments in (("n_queries", (0, 8, 2, 1, 8)), ("n_layers", (5, 8, 2, 0, 8))):
            with pytest.raises(ValueError, match=rf"^{name} must be at least 1, got {name}=0$"):
                ObjectQueries(*arguments)
        with pytest.raises(ValueError, match=r"^n_heads must divide d_model=8, got n_heads=3$"):
            ObjectQueries(5, 8, 3, 1, 8)


class TestFlatSlots:
    def test_equals_the_formula(self):
        slots = randomise(FlatSlots(QUERIES, 11, D_MODEL, d_hidden=13, n_kept=5))
        memory = normal(BATCH, 11, D_MODEL)
        first, second, third = (layer for layer in slots.layers if isinstance(layer, nn.Linear))
        flat = (memory @ first.weight.T + first.bias).reshape(BATCH, 55)
        hidden = torch.relu(flat @ second.weight.T + second.bias)
        wanted = (hidden @ third.weight.T + third.bias).reshape(BATCH, QUERIES, D_MODEL)
        torch.testing.assert_close(slots(memory), wanted, **FLOAT64)

    def test_about_as_many_parameters_as_attention(self):
        def count(**options):
            return sum(p.numel() for p in Detector(4, **options).parameters())

        assert 0.95 < count(attention=False) / count() < 1.05

    def test_sizes_reach_it(self):
        def count(**sizes):
            model = Detector(4, attention=False, n_queries=5, **sizes)
            return sum(p.numel() for p in model.readout.parameters())

        assert count(d_hidden=7, n_kept=3) == (64 * 3 + 3) + (144 * 3 * 7 + 7) + (7 * 320 + 320)
        assert count() == count(d_hidden=64, n_kept=8)

    def test_bad_sizes_are_refused(self):
        for position, name in enumerate(["n_queries", "n_cells", "d_model"]):
            sizes = [2, 3, 4]
            sizes[position] = 0
            with pytest.raises(ValueError, match=rf"^{name} must be at least 1, got {name}=0$"):
                FlatSlots(*sizes)
        with pytest.raises(ValueError, match=r"^n_kept must be at least 1, got n_kept=0$"):
            FlatSlots(2, 3, 4, n_kept=0)
        with pytest.raises(TypeError, match=r"^d_hidden must be an integer, got d_hidden=2.5$"):
            FlatSlots(2, 3, 4, d_hidden=2.5)


def heads_by_hand(model, states):
    normed = F.layer_norm(states, (D_MODEL,), model.norm.weight, model.norm.bias)
    first, _, last = model.box_layers
    hidden = torch.relu(normed @ first.weight.T + first.bias)
    boxes = 1 / (1 + torch.exp(-(hidden @ last.weight.T + last.bias + model.references)))
    return normed @ model.class_proj.weight.T + model.class_proj.bias, to_corners(boxes)


class TestDetector:
    @pytest.mark.parametrize("training", [False, True])
    def test_equals_its_parts(self, training):
        model, x = detector().train(training), images()
        prediction, maps = model(x, return_weights=True)
        cells = copy.deepcopy(model.trunk)(x)
        assert model.grid == tuple(cells.shape[2:]) == (5, 5)
        memory = cells.flatten(2).transpose(1, 2) + grid_positions(5, 5, D_MODEL)
        states, looked, among = model.readout(memory, return_weights=True)
        wanted = [heads_by_hand(model, state) for state in states]
        for got, want in zip((*prediction.earlier, prediction[:2]), wanted, strict=True):
            for one, other in zip(got, want, strict=True):
                torch.testing.assert_close(one, other, **FLOAT64)
        assert maps.cells.flatten(-2).equal(looked)
        assert maps.cells.shape == (BATCH, LAYERS, HEADS, QUERIES, 5, 5)
        assert maps.queries.equal(among)
        plain = copy.deepcopy(model)(x)
        for one, other in zip(plain[:2], prediction[:2], strict=True):
            torch.testing.assert_close(one, other, **FLOAT64)
        assert len(plain.earlier) == LAYERS - 1

    def test_baseline_has_the_same_trunk_and_heads(self):
        model, x = detector(attention=False).eval(), images()
        prediction = model(x)
        memory = model.trunk(x).flatten(2).transpose(1, 2) + grid_positions(5, 5, D_MODEL)
        for got, want in zip(prediction[:2], heads_by_hand(model, model.readout(memory)), strict=True):
            torch.testing.assert_close(got, want, **FLOAT64)
        assert prediction.earlier == ()
        shared = {name for name, _ in detector().named_parameters() if not name.startswith("readout.")}
        assert shared == {name for name, _ in model.named_parameters() if not name.startswith("readout.")}

    @pytest.mark.parametrize("attention", [True, False])
    def test_every_parameter_has_a_part_in_the_prediction(self, attention):
        model = detector(attention=attention)
        prediction = model(images())
        (prediction.logits.square().mean() + prediction.boxes.square().mean()).backward()
        for name, parameter in model.named_parameters():
            # A key's bias shifts all scores of a query alike: the softmax forgets it.
            if not name.endswith("key_proj.bias"):
                assert parameter.grad.abs().max() > 0, name

    @pytest.mark.properties
    @pytest.mark.parametrize("attention", [True, False])
    def test_images_are_independent_and_boxes_are_boxes(self, attention):
        model, x = detector(attention=attention).eval(), images()
        both, last = model(x), model(x[1:])
        torch.testing.assert_close(both.logits[1:], last.logits, **FLOAT64)
        torch.testing.assert_close(both.boxes[1:], last.boxes, **FLOAT64)
        assert (both.boxes[..., 2:] > both.boxes[..., :2]).all()

    @pytest.mark.parametrize("n_queries", [1, 2, 5, 6, 9])
    def test_references_start_apart_and_inside(self, n_queries):
        made = Detector(CLASSES, n_queries=n_queries).references
        boxes = made.sigmoid()
        assert boxes.shape == (n_queries, 4)
        assert ((boxes > 0) & (boxes < 1)).all()
        apart = torch.cdist(boxes[:, :2], boxes[:, :2]) + 10 * torch.eye(n_queries)
        assert apart.min() > 0.2
        torch.testing.assert_close(boxes[:, 2:], torch.full((n_queries, 2), 0.25))

    def test_detect_gives_the_likeliest_class_that_is_one(self):
        model, x = detector().eval(), images()
        with torch.no_grad():
            model.class_proj.bias[CLASSES] += 5  # "no object" is the likeliest answer of most queries
        prediction, found = model(x), model.detect(x)
        assert (prediction.logits.argmax(dim=-1) == CLASSES).float().mean() > 0.5
        assert isinstance(found, Detections)
        assert not found.scores.requires_grad
        for b, q in itertools.product(range(BATCH), range(QUERIES)):
            probabilities = prediction.logits[b, q].softmax(dim=0)[:CLASSES]
            assert found.labels[b, q] == probabilities.argmax()
            torch.testing.assert_close(found.scores[b, q], probabilities.max(), **FLOAT64)
        assert found.boxes.equal(prediction.boxes)

    def test_arguments_are_not_written_and_nothing_is_kept(self):
        model, x = detector(), images()
        before, kept = x.clone(), set(vars(model))
        model(x, return_weights=True)
        assert x.equal(before)
        assert set(vars(model)) == kept
        detector().load_state_dict(model.state_dict())

    def test_bad_arguments_are_refused(self):
        model = detector().float()
        with pytest.raises(
            ValueError, match=r"^images must be of \(height, width\)=\(20, 20\), got images.shape="
        ):
            model(torch.zeros(1, 3, 20, 24))
        with pytest.raises(ValueError, match=r"^images must have n_channels=3, got images.shape="):
            model(torch.zeros(1, 1, 20, 20))
        with pytest.raises(TypeError, match=r"^images must be of type Tensor, got images of type ndarray$"):
            model.detect(np.zeros((1, 3, 20, 20)))
        with pytest.raises(
            ValueError,
            match=r"^return_weights must be False for a detector without attention, got return_weights=True$",
        ):
            detector(attention=False)(images(), return_weights=True)
        with pytest.raises(ValueError, match=r"^d_model must be a multiple of 4, got d_model=10$"):
            Detector(CLASSES, d_model=10)
        with pytest.raises(TypeError, match=r"^n_classes must be an integer, got n_classes=3.0$"):
            Detector(3.0)
        for name in ("image_size", "n_queries", "n_channels", "d_model", "n_layers"):
            with pytest.raises(ValueError, match=rf"^{name} must be at least 1, got {name}=0$"):
                Detector(CLASSES, **{name: 0})
