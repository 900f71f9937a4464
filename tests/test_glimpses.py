"""Glimpses: the window equals loops and torch's sampler, the moves' gradient is that of the reward."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from attncourse.glimpses import GlimpseNetwork, GlimpseTrace, extract_glimpses, glimpse_loss
from attncourse.tasks.digits import ClutteredDigits, DigitImages, digits_split
from attncourse.training import set_seed, train
from tests.support.tolerances import FLOAT64

BATCH, N_CHANNELS, HEIGHT, WIDTH, SIZE = 3, 2, 12, 20, 5


def images(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(BATCH, N_CHANNELS, HEIGHT, WIDTH, generator=generator, dtype=torch.float64)


CENTRES = torch.tensor([[0.13, -0.41], [-0.93, 0.97], [0.0, 0.55]], dtype=torch.float64)


def glimpses_by_loops(pictures, centres, size, n_scales):
    output = torch.zeros(len(pictures), n_scales, pictures.shape[1], size, size, dtype=torch.float64)
    for b in range(len(pictures)):
        for k in range(n_scales):
            side = 2**k
            height, width = pictures.shape[2] // side, pictures.shape[3] // side
            for c in range(pictures.shape[1]):
                small = [
                    [
                        pictures[b, c, r * side : (r + 1) * side, s * side : (s + 1) * side].mean().item()
                        for s in range(width)
                    ]
                    for r in range(height)
                ]
                for i in range(size):
                    for j in range(size):
                        y = (centres[b, 1].item() + 1) / 2 * height - 0.5 + i - (size - 1) / 2
                        x = (centres[b, 0].item() + 1) / 2 * width - 0.5 + j - (size - 1) / 2
                        top, left = math.floor(y), math.floor(x)
                        for r, share_r in [(top, 1 - (y - top)), (top + 1, y - top)]:
                            for s, share_s in [(left, 1 - (x - left)), (left + 1, x - left)]:
                                if 0 <= r < height and 0 <= s < width:
                                    output[b, k, c, i, j] += share_r * share_s * small[r][s]
    return output


@pytest.mark.parity
@pytest.mark.parametrize(("size", "n_scales"), [(1, 1), (5, 1), (4, 3), (7, 2)])
def test_windows_equal_loops(size, n_scales):
    got = extract_glimpses(images(), CENTRES, size, n_scales)
    torch.testing.assert_close(got, glimpses_by_loops(images(), CENTRES, size, n_scales), **FLOAT64)


def glimpses_by_grid_sample(pictures, centres, size, n_scales):
    windows = []
    for scale in range(n_scales):
        small = F.avg_pool2d(pictures, 2**scale)
        height, width = small.shape[2:]
        steps = (torch.arange(size, dtype=centres.dtype) - (size - 1) / 2) * 2
        x = centres[:, None, None, 0] + (steps / width)[None, None, :]
        y = centres[:, None, None, 1] + (steps / height)[None, :, None]
        grid = torch.stack(torch.broadcast_tensors(x, y), dim=-1)
        windows.append(F.grid_sample(small, grid, mode="bilinear", align_corners=False))
    return torch.stack(windows, dim=1)


@pytest.mark.parity
@given(size=st.integers(1, 9), n_scales=st.integers(1, 3), seed=st.integers(0, 2**16))
def test_windows_and_their_gradients_equal_torchs_sampler(size, n_scales, seed):
    torch.manual_seed(seed)
    pictures = torch.rand(2, 3, 12, 20, dtype=torch.float64, requires_grad=True)
    centres = (2.4 * torch.rand(2, 2, dtype=torch.float64) - 1.2).requires_grad_()
    readout = torch.randn(2, n_scales, 3, size, size, dtype=torch.float64)
    got = extract_glimpses(pictures, centres, size, n_scales)
    expected = glimpses_by_grid_sample(pictures, centres, size, n_scales)
    torch.testing.assert_close(got, expected, **FLOAT64)
    ours = torch.autograd.grad((got * readout).sum(), (pictures, centres))
    theirs = torch.autograd.grad((expected * readout).sum(), (pictures, centres))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, **FLOAT64)


def test_windows_by_hand():
    # On a row of four pixels the centre 0 lies between the second and the third, 0.25 half a pixel further.
    row = torch.tensor([[[[1.0, 3.0, 7.0, 15.0]]]]).expand(-1, -1, 2, -1)
    assert extract_glimpses(row, torch.tensor([[0.0, 0.0]]), 1).item() == 5.0
    assert extract_glimpses(row, torch.tensor([[0.25, 0.0]]), 1).item() == 7.0
    window = extract_glimpses(row, torch.tensor([[0.25, -0.5]]), 3)
    # The middle row lies on the first row of pixels, the one above it outside.
    assert window[0, 0, 0].tolist() == [[0.0, 0.0, 0.0], [3.0, 7.0, 15.0], [3.0, 7.0, 15.0]]
    coarse = extract_glimpses(row, torch.tensor([[0.5, 0.0]]), 1, 2)[0, 1]
    assert coarse.item() == 11.0  # the mean of 7 and 15


def test_a_window_of_the_whole_image_is_the_image():
    square = images()[..., :12]
    torch.testing.assert_close(
        extract_glimpses(square, torch.zeros(BATCH, 2, dtype=torch.float64), 12)[:, 0], square, **FLOAT64
    )


def test_far_outside_there_is_nothing_and_no_gradient():
    centres = torch.full((BATCH, 2), 3.0, dtype=torch.float64, requires_grad=True)
    window = extract_glimpses(images(), centres, SIZE, 2)
    assert (window == 0).all()
    window.sum().backward()
    assert (centres.grad == 0).all()


@pytest.mark.gradients
def test_the_gradient_with_respect_to_the_centres_is_that_of_the_numbers():
    # Off the pixels' middles, where bilinear interpolation has no kink.
    centres = CENTRES.clone().requires_grad_()
    pictures = images().requires_grad_()
    assert torch.autograd.gradcheck(lambda p, c: extract_glimpses(p, c, SIZE, 2), (pictures, centres))


def test_nothing_is_written_to():
    pictures, centres = images(), CENTRES.clone()
    extract_glimpses(pictures, centres, SIZE, 3)
    assert torch.equal(pictures, images())
    assert torch.equal(centres, CENTRES)


def network(move="soft", **sizes):
    torch.manual_seed(0)
    return GlimpseNetwork(
        12, 7, **{"move": move, "n_channels": 2, "glimpse_size": 5, "n_scales": 2, "d_hidden": 11} | sizes
    ).double()


def square_images():
    return images()[..., :12]


@pytest.mark.parity
def test_the_network_equals_its_steps_written_out():
    model = network()
    hidden = torch.zeros(BATCH, 11, dtype=torch.float64)
    centre = torch.zeros(BATCH, 2, dtype=torch.float64)
    logits, centres = [], []
    for _ in range(4):
        windows = glimpses_by_grid_sample(square_images(), centre, 5, 2)
        what = F.relu(model.what_proj(windows.reshape(BATCH, -1)))
        seen = F.relu(model.glimpse_proj(torch.cat([what, F.relu(model.where_proj(centre))], dim=1)))
        hidden = model.cell(seen, hidden)
        logits.append(model.output_proj(hidden))
        centres.append(centre)
        centre = torch.tanh(model.move_proj(hidden))
    answer, trace = model(square_images(), return_weights=True)
    torch.testing.assert_close(trace.logits, torch.stack(logits, dim=1), **FLOAT64)
    torch.testing.assert_close(trace.centres, torch.stack(centres, dim=1), **FLOAT64)
    assert torch.equal(answer, trace.logits[:, -1])
    assert torch.equal(model(square_images()), answer)
    assert (trace.log_probabilities, trace.baselines) == (None, None)


def test_in_evaluation_the_hard_network_is_the_soft_one():
    soft, hard = network("soft").eval(), network("hard").eval()
    soft.load_state_dict({name: value for name, value in hard.state_dict().items() if "baseline" not in name})
    answer, trace = hard(square_images(), return_weights=True)
    torch.testing.assert_close(answer, soft(square_images()), **FLOAT64)
    assert (trace.log_probabilities, trace.baselines) == (None, None)


def test_in_training_the_hard_network_draws_its_moves():
    model = network("hard", spread=0.3)
    pictures = square_images()[:1].expand(20_000, -1, -1, -1)
    with torch.no_grad():
        _, trace = model(pictures, return_weights=True)
        mean = model.eval()(pictures[:1], return_weights=True)[1].centres[0, 1]
    drawn = trace.centres[:, 1]
    assert (trace.centres[:, 0] == 0).all()
    # Near the middle hardly a draw reaches the edge; mean and deviation to five standard errors.
    assert mean.abs().max() < 0.3
    torch.testing.assert_close(drawn.mean(dim=0), mean, rtol=0, atol=5 * 0.3 / math.sqrt(20_000))
    torch.testing.assert_close(
        drawn.std(dim=0), torch.full((2,), 0.3).double(), rtol=0, atol=5 * 0.3 / math.sqrt(40_000) + 0.003
    )
    inside = (drawn.abs() < 1).all(dim=1)
    density = torch.exp(-((drawn - mean) ** 2).sum(dim=1) / (2 * 0.3**2)) / (2 * math.pi * 0.3**2)
    torch.testing.assert_close(trace.log_probabilities[inside, 0], density[inside].log(), **FLOAT64)
    assert trace.centres.abs().max() <= 1


def test_torchs_seed_alone_decides_the_draws():
    model = network("hard")
    traces = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        traces.append(model(square_images(), return_weights=True)[1])
    assert torch.equal(traces[0].centres, traces[1].centres)
    assert not torch.equal(traces[0].centres, traces[2].centres)


def test_a_single_glimpse_draws_nothing():
    _, trace = network("hard", n_glimpses=1)(square_images(), return_weights=True)
    assert trace.logits.shape == (BATCH, 1, 7)
    assert trace.log_probabilities is None


def test_the_images_of_a_batch_do_not_meet_and_stay_as_they_are():
    model = network()
    pictures = square_images()
    together = model(pictures)
    for b in range(BATCH):
        torch.testing.assert_close(model(pictures[b : b + 1]), together[b : b + 1], **FLOAT64)
    assert torch.equal(pictures, square_images())


@pytest.mark.gradients
def test_the_soft_networks_gradient_is_that_of_the_numbers():
    model = network()
    weight = model.move_proj.weight

    def loss_of(weight):
        logits = torch.func.functional_call(model, {"move_proj.weight": weight}, (square_images(),))
        return F.cross_entropy(logits, torch.tensor([1, 0, 6]))

    assert torch.autograd.gradcheck(loss_of, (weight.detach().clone().requires_grad_(),))


def test_only_reward_moves_the_hard_networks_window():
    model = network("hard")
    _, trace = model(square_images(), return_weights=True)
    (gradient,) = torch.autograd.grad(
        F.cross_entropy(trace.logits[:, -1], torch.tensor([1, 0, 6])),
        model.move_proj.weight,
        allow_unused=True,
    )
    assert gradient is None


def test_the_loss_by_hand():
    # Two images, two classes: the first answer is right (reward 1), the second wrong (reward 0).
    logits = torch.tensor([[[0.0, 0.0], [math.log(3), 0.0]], [[0.0, 0.0], [math.log(3), 0.0]]])
    trace = GlimpseTrace(
        logits,
        torch.zeros(2, 2, 2),
        log_probabilities=torch.tensor([[-2.0], [-3.0]]),
        baselines=torch.tensor([[0.25], [0.5]]),
    )
    labels = torch.tensor([0, 1])
    answer = (-math.log(3 / 4) - math.log(1 / 4)) / 2
    score = (0.75 * -2.0 + -0.5 * -3.0) / 2
    baseline = (0.75**2 + 0.5**2) / 2
    loss = glimpse_loss(trace, labels, reward_weight=0.5)
    assert loss.item() == pytest.approx(answer - 0.5 * score + baseline)
    soft = trace._replace(log_probabilities=None, baselines=None)
    assert glimpse_loss(soft, labels).item() == pytest.approx(answer)


def test_the_baseline_learns_from_its_own_term_alone_and_bends_nothing_else():
    model = network("hard")
    labels = torch.tensor([1, 0, 6])
    gradients = []
    for weight in (0.0, 5.0):
        torch.manual_seed(3)
        loss = glimpse_loss(model(square_images(), return_weights=True)[1], labels, reward_weight=weight)
        gradients.append(torch.autograd.grad(loss, (model.baseline_proj.weight, model.move_proj.weight)))
    assert torch.equal(gradients[0][0], gradients[1][0])
    assert gradients[0][0].abs().max() > 0
    assert (gradients[0][1] == 0).all()
    assert gradients[1][1].abs().max() > 0


@pytest.mark.parametrize("baseline", [0.0, 0.6])
def test_the_moves_gradient_is_that_of_the_expected_reward(baseline):
    """Sum the reward over a fine grid of moves, weighted by their density, and differentiate that."""
    set_seed(2)
    model = GlimpseNetwork(
        4, 2, move="hard", n_glimpses=2, glimpse_size=2, n_scales=1, d_hidden=5, spread=0.4
    ).double()
    with torch.no_grad():
        model.baseline_proj.weight.zero_()
        model.baseline_proj.bias.fill_(baseline)
    picture = torch.rand(1, 1, 4, 4, dtype=torch.float64)
    label = 0

    # What the network would answer after a move to any place, and how likely it is to move there.
    steps = torch.linspace(-3, 3, 241, dtype=torch.float64)
    places = torch.cartesian_prod(steps, steps)
    hidden = model.cell(model._see([picture], torch.zeros(1, 2).double()), torch.zeros(1, 5).double())
    mean = torch.tanh(model.move_proj(hidden))
    density = torch.exp(-(places - mean).square().sum(dim=1) / (2 * 0.4**2)) / (2 * math.pi * 0.4**2)
    with torch.no_grad():
        seen = model._see([picture.expand(len(places), -1, -1, -1)], places.clamp(-1, 1))
        after = model.cell(seen, hidden.expand(len(places), -1))
        # Let the network be undecided around where it means to go, so that the answer hangs on the move.
        near = (places - mean).norm(dim=1) < 0.4
        margin = model.output_proj(after[near]) @ torch.tensor([1.0, -1.0], dtype=torch.float64)
        model.output_proj.bias[1] += margin.median()
        answers = model.output_proj(after).argmax(dim=1)
    reward = (answers == label).double()
    assert 0.05 < (reward * density).sum() * (6 / 240) ** 2 < 0.95  # both answers occur
    expected_reward = (reward * density).sum() * (6 / 240) ** 2
    exact = torch.autograd.grad(expected_reward, model.move_proj.weight)[0]

    draws = 200_000
    _, trace = model(picture.expand(draws, -1, -1, -1), return_weights=True)
    labels = torch.full((draws,), label)
    loss = glimpse_loss(trace, labels, reward_weight=1.0) - F.cross_entropy(trace.logits[:, -1], labels)
    estimate = -torch.autograd.grad(loss, model.move_proj.weight)[0]
    # One draw's term has about the size 1 / spread; five standard errors of the mean.
    error = 5 * (1 / 0.4) * hidden.abs().max().item() / math.sqrt(draws)
    assert exact.abs().max() > 3 * error
    torch.testing.assert_close(estimate, exact, rtol=0, atol=error)


def learn(model, next_batch, steps, learning_rate):
    def loss_fn(model, batch):
        return glimpse_loss(model(batch[0], return_weights=True)[1], batch[1])

    train(model, next_batch, loss_fn, steps=steps, learning_rate=learning_rate, warmup_steps=10)
    return model.eval()


def two_walls(n_images, rng):
    """Left and right lie walls, bright or dark by chance; a pixel in the middle tells which one counts."""
    pictures = np.zeros((n_images, 1, 8, 8), dtype=np.float32)
    bright = rng.integers(2, size=(n_images, 2))
    side = rng.integers(2, size=n_images)
    pictures[:, 0, :, :2] = bright[:, 0, None, None] * 2 - 1
    pictures[:, 0, :, 6:] = bright[:, 1, None, None] * 2 - 1
    rows = np.arange(n_images)
    pictures[rows, 0, 3, 3 + side] = 1
    return torch.from_numpy(pictures), torch.from_numpy(bright[rows, side]), torch.from_numpy(side)


@pytest.mark.learning
def test_the_hard_window_learns_to_go_where_the_first_look_points():
    rng = np.random.default_rng(0)
    set_seed(0)
    # The first look sees columns 2 to 5, and so the pointer but no wall.
    model = GlimpseNetwork(
        8, 2, move="hard", n_glimpses=2, glimpse_size=4, n_scales=1, d_hidden=24, spread=0.3
    )
    learn(model, lambda: two_walls(64, rng)[:2], steps=300, learning_rate=1e-2)
    pictures, labels, side = two_walls(1000, np.random.default_rng(1))
    _, trace = model(pictures, return_weights=True)
    right = (trace.logits.argmax(dim=-1) == labels[:, None]).double().mean(dim=0)
    assert right[1] > 0.95
    assert abs(right[0] - 0.5) < 0.08  # without the second look: chance, to five standard deviations
    assert (trace.centres[:, 1, 0].sign() == 2 * side - 1).double().mean() > 0.95


@pytest.mark.learning
def test_the_soft_window_learns_to_follow_the_digit():
    split = digits_split()
    train_digits, held_out = (
        DigitImages(part.images[part.labels < 3], part.labels[part.labels < 3]) for part in split
    )
    rng = np.random.default_rng(0)
    set_seed(0)
    model = GlimpseNetwork(16, 3, n_glimpses=3, glimpse_size=6, n_scales=2, d_hidden=32)

    def next_batch():
        batch = ClutteredDigits(train_digits, 16, n_clutter=0).sample(64, rng)
        return torch.from_numpy(batch.images), torch.from_numpy(batch.labels)

    learn(model, next_batch, steps=300, learning_rate=5e-3)
    batch = ClutteredDigits(held_out, 16, n_clutter=0).sample(500, np.random.default_rng(1))
    _, trace = model(torch.from_numpy(batch.images), return_weights=True)
    right = (trace.logits.argmax(dim=-1).numpy() == batch.labels[:, None]).mean(axis=0)
    middle = (batch.boxes[:, :2] + batch.boxes[:, 2:]) / 2
    # The window goes along with the digit; where on the digit it comes to rest is its own affair.
    together = [
        np.corrcoef(trace.centres[:, 2, axis].detach().numpy(), middle[:, axis])[0, 1] for axis in (0, 1)
    ]
    assert min(together) > 0.8
    assert right[2] > 0.9
    assert right[0] < 0.7  # the first look, at the middle, is not enough


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        (
            {"images": torch.zeros(2, 4, 4)},
            ValueError,
            r"images must have shape \(batch, n_channels, height, width\), got images.shape=\(2, 4, 4\)",
        ),
        (
            {"images": np.zeros((2, 1, 4, 4))},
            TypeError,
            "images must be of type Tensor, got images of type ndarray",
        ),
        (
            {"images": torch.zeros(2, 1, 4, 4).long()},
            TypeError,
            "images must be floating point, got images.dtype=int64",
        ),
        (
            {"images": torch.zeros(2, 1, 6, 4), "n_scales": 3},
            ValueError,
            r"images must have sides that are multiples of 4 for n_scales=3, got images.shape=\(2, 1, 6, 4\)",
        ),
        (
            {"centres": torch.zeros(3, 2)},
            ValueError,
            r"centres must have shape \(batch, 2\), got centres.shape=\(3, 2\), images.shape=\(2, 1, 4, 4\)",
        ),
        ({"centres": [[0.0, 0.0]]}, TypeError, "centres must be of type Tensor, got centres of type list"),
        (
            {"centres": torch.zeros(2, 2).double()},
            TypeError,
            "images and centres must have the same dtype, got images.dtype=float32, centres.dtype=float64",
        ),
        (
            {"centres": torch.full((2, 2), math.nan)},
            ValueError,
            "centres must not contain NaN, got centres with 4 NaN",
        ),
        ({"size": 0}, ValueError, "size must be at least 1, got size=0"),
        ({"n_scales": 0}, ValueError, "n_scales must be at least 1, got n_scales=0"),
        ({"size": 2.0}, TypeError, "size must be an integer, got size=2.0"),
    ],
)
def test_bad_windows_are_refused(arguments, error, text):
    usual = {"images": torch.zeros(2, 1, 4, 4), "centres": torch.zeros(2, 2), "size": 3}
    with pytest.raises(error, match=f"^{text}$"):
        extract_glimpses(**usual | arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"move": "quick"}, ValueError, "move must be one of 'soft', 'hard', got move='quick'"),
        ({"spread": 0.0}, ValueError, "spread must be above 0, got spread=0.0"),
        ({"spread": "wide"}, TypeError, "spread must be a number, got spread='wide'"),
        ({"n_glimpses": 0}, ValueError, "n_glimpses must be at least 1, got n_glimpses=0"),
        ({"d_hidden": 4.0}, TypeError, "d_hidden must be an integer, got d_hidden=4.0"),
        (
            {"n_scales": 4},
            ValueError,
            "image_size must be a multiple of 8 for n_scales=4, got image_size=12",
        ),
    ],
)
def test_bad_sizes_are_refused(arguments, error, text):
    with pytest.raises(error, match=f"^{text}$"):
        GlimpseNetwork(**{"image_size": 12, "n_classes": 3} | arguments)


def test_images_of_another_shape_are_refused():
    text = r"^images must have shape \(batch, 2, 12, 12\), got images.shape=\(3, 2, 12, 20\)$"
    with pytest.raises(ValueError, match=text):
        network()(images())


@pytest.mark.parametrize(
    ("labels", "weight", "error", "text"),
    [
        ([0, 1, 2], 1.0, TypeError, "labels must be of type Tensor, got labels of type list"),
        (
            torch.zeros(2).long(),
            1.0,
            ValueError,
            r"labels must have one entry per image, got labels.shape=\(2,\), logits.shape=\(3, 4, 7\)",
        ),
        (
            torch.zeros(3).long(),
            -1.0,
            ValueError,
            "reward_weight must be at least 0, got reward_weight=-1.0",
        ),
    ],
)
def test_a_bad_loss_is_refused(labels, weight, error, text):
    _, trace = network()(square_images(), return_weights=True)
    with pytest.raises(error, match=f"^{text}$"):
        glimpse_loss(trace, labels, reward_weight=weight)
