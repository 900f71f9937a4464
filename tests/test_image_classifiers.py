"""Image classifiers: the trunk sees what it says, the four readouts equal loops, and tiny ones learn."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from attncourse.gates import GATE_KINDS
from attncourse.image_classifiers import READOUTS, ClassifierMaps, ConvTrunk, ImageClassifier
from attncourse.tasks.digits import ClutteredDigits, DigitImages, digits_split
from attncourse.training import set_seed, train
from tests.support.tolerances import FLOAT64

BATCH, SIZE, N_CLASSES, WIDTHS = 3, 20, 7, (5, 6, 11)


def images(seed=0, size=SIZE, n_channels=2):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(BATCH, n_channels, size, size, generator=generator, dtype=torch.float64)


def classifier(readout="attention", gate="none", size=SIZE):
    """A classifier in float64 whose query and running averages are no longer those of the start."""
    torch.manual_seed(0)
    model = ImageClassifier(size, N_CLASSES, readout=readout, n_channels=2, widths=WIDTHS, gate=gate).double()
    model(images(seed=1, size=size))
    if readout == "attention":
        torch.nn.init.normal_(model.query)
    return model.eval()


@pytest.mark.parity
def test_the_trunk_equals_its_layers_written_out():
    trunk = classifier().trunk
    features = images()
    for (conv, norm, _), stride, reach in zip(trunk.blocks, (2, 2, 1), (2, 1, 1), strict=True):
        features = F.conv2d(features, conv.weight, stride=stride, padding=reach)
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        shift = norm.bias - norm.running_mean * scale
        features = (features * scale[:, None, None] + shift[:, None, None]).clamp(min=0)
    torch.testing.assert_close(trunk(images()), features, **FLOAT64)
    output, gates = trunk(images(), return_weights=True)
    assert torch.equal(output, trunk(images()))
    assert gates == (None, None, None)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (32, 32), (19, 33), (1, 5)])
def test_the_grid_is_the_one_that_the_trunk_makes(height, width):
    trunk = ConvTrunk(1, (2, 3, 5)).eval()
    assert trunk(torch.rand(2, 1, height, width)).shape == (2, 5, *trunk.grid(height, width))


@pytest.mark.properties
def test_a_cell_sees_17_pixels_around_every_fourth():
    # Every weight positive and nothing negative: each pixel in the field has an effect on the cell.
    trunk = ConvTrunk(1, (2, 2, 2)).double().eval()
    with torch.no_grad():
        for conv, *_ in trunk.blocks:
            conv.weight.fill_(0.1)
    image = torch.rand(1, 1, 40, 40, dtype=torch.float64, requires_grad=True)
    features = trunk(image)
    for i, j in [(4, 5), (5, 4), (3, 6)]:
        (gradient,) = torch.autograd.grad(features[0, 0, i, j], image, retain_graph=True)
        rows, columns = np.nonzero(gradient[0, 0].numpy())
        assert (rows.min(), rows.max()) == (4 * i - 8, 4 * i + 8)
        assert (columns.min(), columns.max()) == (4 * j - 8, 4 * j + 8)


def weights_by_loops(model, cells):
    """One softmax for each image, over the dot products with the query divided by √d."""
    query = model.query[0].tolist()
    rows = []
    for image in cells.tolist():
        products = [sum(q * x for q, x in zip(query, cell, strict=True)) for cell in image]
        scores = [product / math.sqrt(len(query)) for product in products]
        exponentials = [math.exp(score - max(scores)) for score in scores]
        rows.append([value / sum(exponentials) for value in exponentials])
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parity
@pytest.mark.parametrize("readout", READOUTS)
def test_every_readout_equals_loops(readout):
    model = classifier(readout)
    features = model.trunk(images())
    cells = torch.stack([features[..., i, j] for i in range(5) for j in range(5)], dim=1)  # row by row
    weights = None
    if readout == "flatten":
        read = torch.cat([cells[:, i] for i in range(25)], dim=-1)
    elif readout == "maximum":
        largest = [[max(column) for column in zip(*image, strict=True)] for image in cells.tolist()]
        read = torch.tensor(largest, dtype=torch.float64)
    else:
        uniform = torch.full((BATCH, 25), 1 / 25, dtype=torch.float64)
        weights = weights_by_loops(model, cells) if readout == "attention" else uniform
        read = sum(weights[:, i, None] * cells[:, i] for i in range(25))
    expected = read @ model.output_proj.weight.T + model.output_proj.bias
    logits, maps = model(images(), return_weights=True)
    torch.testing.assert_close(logits, expected, **FLOAT64)
    assert torch.equal(model(images()), logits)
    assert isinstance(maps, ClassifierMaps)
    if weights is None:
        assert maps.weights is None
    else:
        torch.testing.assert_close(maps.weights, weights.unflatten(1, (5, 5)), **FLOAT64)


def test_attention_starts_as_the_average():
    torch.manual_seed(0)
    attention = ImageClassifier(SIZE, N_CLASSES, readout="attention", n_channels=2, widths=WIDTHS).double()
    average = ImageClassifier(SIZE, N_CLASSES, readout="average", n_channels=2, widths=WIDTHS).double()
    average.load_state_dict(
        {name: value for name, value in attention.state_dict().items() if name != "query"}
    )
    torch.testing.assert_close(attention.eval()(images()), average.eval()(images()), **FLOAT64)


def test_the_sizes_are_those_that_the_notes_promise():
    def n_parameters(readout):
        return sum(parameter.numel() for parameter in ImageClassifier(32, 10, readout=readout).parameters())

    assert n_parameters("attention") == n_parameters("average") + 64
    assert n_parameters("maximum") == n_parameters("average")
    assert n_parameters("flatten") == n_parameters("average") + 63 * 64 * 10


@pytest.mark.properties
def test_only_flattening_knows_the_cells_apart():
    # A digit moved by one cell, far from the edges, is the same set of cells in another order.
    image = torch.zeros(1, 2, 48, 48, dtype=torch.float64)
    image[..., 16:24, 16:24] = torch.rand(2, 8, 8, dtype=torch.float64)
    moved = image.roll((4, 8), dims=(2, 3))
    for readout in READOUTS:
        model = classifier(readout, size=48)
        difference = (model(image) - model(moved)).abs().max().item()
        assert (difference > 1e-3) if readout == "flatten" else (difference < 1e-12)


@pytest.mark.properties
@pytest.mark.parametrize("gate", GATE_KINDS)
@pytest.mark.parametrize("readout", READOUTS)
def test_in_evaluation_the_images_of_a_batch_do_not_meet_and_stay_as_they_are(readout, gate):
    model = classifier(readout, gate)
    batch = images()
    before = batch.clone()
    together, maps = model(batch, return_weights=True)
    assert torch.equal(batch, before)
    for b in range(BATCH):
        torch.testing.assert_close(model(batch[b : b + 1]), together[b : b + 1], **FLOAT64)
    if maps.weights is not None:
        torch.testing.assert_close(
            maps.weights.sum(dim=(1, 2)), torch.ones(BATCH, dtype=torch.float64), **FLOAT64
        )
    shapes = {
        "none": lambda width, side: None,
        "channel": lambda width, side: (BATCH, width, 1, 1),
        "spatial": lambda width, side: (BATCH, 1, side, side),
        "both": lambda width, side: ((BATCH, width, 1, 1), (BATCH, 1, side, side)),
    }[gate]
    for got, width, side in zip(maps.gates, WIDTHS, (10, 5, 5), strict=True):
        if gate == "both":
            assert tuple(part.shape for part in got) == shapes(width, side)
        else:
            assert (None if got is None else got.shape) == shapes(width, side)


@pytest.mark.parity
def test_the_gates_stand_behind_the_blocks():
    model = classifier("average", "both")
    features = images()
    for block, gate in zip(model.trunk.blocks, model.trunk.gates, strict=True):
        features = gate(block(features))
    expected = model.output_proj(features.mean(dim=(2, 3)))
    torch.testing.assert_close(model(images()), expected, **FLOAT64)


@pytest.mark.gradients
@pytest.mark.parametrize("readout", READOUTS)
def test_gradients_are_those_of_the_numbers(readout):
    model = classifier(readout, "both", size=8)
    assert torch.autograd.gradcheck(model, (images(size=8).requires_grad_(),))


@pytest.mark.learning
@pytest.mark.parametrize("readout", ["flatten", "attention"])
def test_two_digits_are_told_apart_within_forty_steps(readout):
    digits, held_out = digits_split()
    pair = DigitImages(digits.images[digits.labels < 2], digits.labels[digits.labels < 2])
    rng = np.random.default_rng(0)
    set_seed(0)
    model = ImageClassifier(8, 2, readout=readout, widths=(4, 6, 8))

    def next_batch():
        batch = pair.sample(32, rng)
        return torch.from_numpy(batch.images), torch.from_numpy(batch.labels)

    def loss_fn(model, batch):
        return F.cross_entropy(model(batch[0]), batch[1])

    train(model, next_batch, loss_fn, steps=40, learning_rate=1e-2, warmup_steps=5)
    model.eval()
    rows = held_out.labels < 2
    answers = model(torch.from_numpy(held_out.images[rows])).argmax(dim=1).numpy()
    assert (answers == held_out.labels[rows]).mean() > 0.95


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"image_size": 0}, ValueError, "image_size must be at least 1, got image_size=0"),
        ({"n_classes": 2.5}, TypeError, "n_classes must be an integer, got n_classes=2.5"),
        ({"n_channels": 0}, ValueError, "n_channels must be at least 1, got n_channels=0"),
        (
            {"readout": "mean"},
            ValueError,
            "readout must be one of 'flatten', 'average', 'maximum', 'attention', got readout='mean'",
        ),
        (
            {"gate": "half"},
            ValueError,
            "gate must be one of 'none', 'channel', 'spatial', 'both', got gate='half'",
        ),
        ({"widths": (4, 8)}, ValueError, r"widths must hold 3 sizes, got widths=\(4, 8\)"),
        ({"widths": (4, 0, 8)}, ValueError, r"widths\[1\] must be at least 1, got widths\[1\]=0"),
    ],
)
def test_bad_sizes_are_refused(arguments, error, text):
    with pytest.raises(error, match=f"^{text}$"):
        ImageClassifier(**{"image_size": 8, "n_classes": 2} | arguments)


@pytest.mark.parametrize(
    ("batch", "error", "text"),
    [
        (
            torch.zeros(2, 1, 8, 12),
            ValueError,
            r"images must be 8 pixels high and wide, got images.shape=\(2, 1, 8, 12\)",
        ),
        (
            torch.zeros(2, 3, 8, 8),
            ValueError,
            r"images must have shape \(batch, 1, height, width\), got images.shape=\(2, 3, 8, 8\)",
        ),
        (
            torch.zeros(2, 8, 8),
            ValueError,
            r"images must have shape \(batch, 1, height, width\), got images.shape=\(2, 8, 8\)",
        ),
        (torch.zeros(2, 1, 8, 8).int(), TypeError, "images must be floating point, got images.dtype=int32"),
        (np.zeros((2, 1, 8, 8)), TypeError, "images must be of type Tensor, got images of type ndarray"),
        (
            torch.full((1, 1, 8, 8), math.nan),
            ValueError,
            "images must not contain NaN, got images with 64 NaN",
        ),
    ],
)
def test_bad_images_are_refused(batch, error, text):
    with pytest.raises(error, match=f"^{text}$"):
        ImageClassifier(8, 2)(batch)


@pytest.mark.learning
def test_attention_learns_where_the_digit_is_from_labels_alone():
    train_digits, held_out = digits_split()
    task = ClutteredDigits(train_digits, 24, n_clutter=2)
    rng = np.random.default_rng(0)
    set_seed(0)
    model = ImageClassifier(24, 10, widths=(8, 16, 32))

    def next_batch():
        batch = task.sample(64, rng)
        return torch.from_numpy(batch.images), torch.from_numpy(batch.labels)

    def loss_fn(model, batch):
        return F.cross_entropy(model(batch[0]), batch[1])

    train(model, next_batch, loss_fn, steps=250, learning_rate=1e-2, warmup_steps=10)
    model.eval()
    batch = ClutteredDigits(held_out, 24, n_clutter=2).sample(500, np.random.default_rng(1))
    logits, maps = model(torch.from_numpy(batch.images), return_weights=True)
    peak = maps.weights.flatten(1).argmax(dim=1).numpy()
    place = np.stack([peak % 6, peak // 6], axis=1) * 4 + 0.5  # a cell looks at every fourth pixel
    found = ((place > batch.boxes[:, :2]) & (place < batch.boxes[:, 2:])).all(axis=1)
    assert (logits.argmax(dim=1).numpy() == batch.labels).mean() > 0.7
    assert found.mean() > 0.9  # the box holds a ninth of the canvas
