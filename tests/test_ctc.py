"""CTC against all paths, one by one; and what a path says."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from attncourse.ctc import BLANK, CTCRecogniser, ctc_collapse, ctc_loss
from attncourse.masks import padding_mask
from attncourse.recurrent_decoders import Memory
from attncourse.tasks.pairs import END, PADDING
from attncourse.training import set_seed
from tests.support.tolerances import FLOAT64

VOCAB = 5  # padding (the blank), start, end, and the letters 3 and 4


class Echo(nn.Module):
    """Return the source as the states of a memory."""

    def __init__(self, d_memory):
        super().__init__()
        self.d_memory = d_memory

    def forward(self, source, lengths):
        mask = padding_mask(lengths, source.shape[1])
        states = source * mask.mT
        return Memory(states, states.sum(dim=1), lengths, mask)


def recogniser(logits):
    """Return a recogniser whose logits are its source."""
    model = CTCRecogniser(Echo(logits.shape[-1]), logits.shape[-1]).to(logits.dtype)
    with torch.no_grad():
        model.output_proj.weight.copy_(torch.eye(logits.shape[-1]))
        model.output_proj.bias.zero_()
    return model


def paths_that_say(text, n_frames):
    """Return all paths of a length that collapse to a text, found by a loop that merges and drops."""
    found = []
    for path in itertools.product(range(VOCAB), repeat=n_frames):
        said, last = [], BLANK
        for token in path:
            if token not in (last, BLANK):
                said.append(token)
            last = token
        if said == text:
            found.append(path)
    return found


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ([3, 3, 4], [3, 4]),
        ([3, 0, 3], [3, 3]),
        ([0, 0, 3, 3, 0, 0, 3, 4, 4, 0], [3, 3, 4]),
        ([0, 0], []),
        ([4], [4]),
        ([3, 4, 3], [3, 4, 3]),
    ],
)
def test_collapsing_by_hand(path, text):
    path = torch.tensor(path)
    before = path.clone()
    assert ctc_collapse(path) == text
    assert torch.equal(path, before)


@pytest.mark.properties
@given(
    st.lists(st.sampled_from([3, 4, 5]), max_size=5),
    st.lists(st.integers(1, 3), min_size=5, max_size=5),
    st.lists(st.integers(0, 2), min_size=6, max_size=6),
)
def test_every_way_to_say_a_text_says_it(text, repeats, blanks):
    path = [BLANK] * blanks[0]
    for position, letter in enumerate(text):
        apart = position + 1 < len(text) and text[position + 1] == letter
        path += [letter] * repeats[position] + [BLANK] * max(blanks[position + 1], apart)
    assert ctc_collapse(torch.tensor(path, dtype=torch.int64)) == text


@pytest.mark.parity
@pytest.mark.parametrize("text", [[3], [3, 4], [3, 3], [4, 3, 4], [3, 3, 4]])
def test_the_loss_is_the_sum_over_all_paths(text):
    n_frames = 5
    logits = torch.randn(1, n_frames, VOCAB, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    probabilities = logits[0].softmax(dim=-1)
    total = sum(
        math.prod(probabilities[frame, token].item() for frame, token in enumerate(path))
        for path in paths_that_say(text, n_frames)
    )
    loss = ctc_loss(logits, torch.tensor([n_frames]), torch.tensor([[*text, END, PADDING]]))
    torch.testing.assert_close(loss.item(), -math.log(total) / len(text), **FLOAT64)


def batch():
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(3, 7, VOCAB, generator=generator, dtype=torch.float64)
    target = torch.tensor([[3, 4, 4, END], [4, END, PADDING, PADDING], [3, 4, END, PADDING]])
    return logits, torch.tensor([7, 2, 5]), target


def test_a_batch_counts_every_letter_alike_and_no_padding():
    logits, lengths, target = batch()
    copies = [array.clone() for array in (logits, lengths, target)]
    whole = ctc_loss(logits, lengths, target)
    for array, before in zip((logits, lengths, target), copies, strict=True):
        assert torch.equal(array, before)
    n_letters = [3, 1, 2]
    alone = [
        ctc_loss(logits[row : row + 1, : lengths[row]], lengths[row : row + 1], target[row : row + 1])
        for row in range(3)
    ]
    mean = sum(loss * n for loss, n in zip(alone, n_letters, strict=True)) / 6
    torch.testing.assert_close(whole, mean, **FLOAT64)
    garbage = torch.where(torch.arange(7)[:, None] < lengths[:, None, None], logits, 50.0)
    torch.testing.assert_close(ctc_loss(garbage, lengths, target), whole, **FLOAT64)


def test_a_text_that_does_not_fit_costs_nothing():
    logits, lengths, target = batch()
    logits.requires_grad_()
    target = torch.tensor([[3, 4, 4, END], [4, 4, END, PADDING], [3, 4, END, PADDING]])
    loss = ctc_loss(logits, lengths, target)  # two equal letters need three frames, and row 1 has two
    rest = ctc_loss(logits[[0, 2]], lengths[[0, 2]], target[[0, 2]])
    torch.testing.assert_close(loss, rest * 5 / 7, **FLOAT64)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert not gradient[1].any()
    assert gradient[0].any()
    assert gradient.isfinite().all()


@pytest.mark.gradients
def test_gradients_of_the_logits():
    logits, lengths, target = batch()

    def loss(values):
        return ctc_loss(values, lengths, target)

    assert torch.autograd.gradcheck(loss, logits.requires_grad_())


def test_a_path_is_written_with_its_states():
    path = torch.tensor([[0, 3, 3, 0, 3, 4, 4], [4, 0, 0, 3, 3, 3, 3], [0, 0, 3, 3, 3, 3, 3]])
    lengths = torch.tensor([7, 5, 2])
    logits = 3.0 * F.one_hot(path, VOCAB).double()
    before = logits.clone()
    written, weights = recogniser(logits).greedy_decode(logits, lengths, return_weights=True)
    assert torch.equal(logits, before)
    assert written.tolist() == [[3, 3, 4, END], [4, 3, END, PADDING], [END, PADDING, PADDING, PADDING]]
    expected = torch.zeros(3, 4, 7, dtype=torch.float64)
    expected[0, 0, [1, 2]] = 1 / 2
    expected[0, 1, 4] = 1
    expected[0, 2, [5, 6]] = 1 / 2
    expected[1, 0, 0] = 1
    expected[1, 1, [3, 4]] = 1 / 2  # the states behind the length do not count
    torch.testing.assert_close(weights, expected, **FLOAT64)
    assert torch.equal(recogniser(logits).greedy_decode(logits, lengths), written)


@pytest.mark.properties
@given(seed=st.integers(0, 2**16))
def test_what_is_written_is_the_collapsed_path(seed):
    logits = torch.randn(3, 7, VOCAB, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    lengths = torch.tensor([7, 1, 4])
    written, weights = recogniser(logits).greedy_decode(logits, lengths, return_weights=True)
    logits[..., 1:3] = -torch.inf  # start and end are never named
    for row, length in enumerate(lengths):
        text = ctc_collapse(logits[row, :length].argmax(dim=-1))
        assert written[row].tolist() == [*text, END, *[PADDING] * (written.shape[1] - len(text) - 1)]
        sums = torch.tensor([1.0] * len(text) + [0.0] * (written.shape[1] - len(text)), dtype=torch.float64)
        torch.testing.assert_close(weights[row].sum(dim=-1), sums, **FLOAT64)
        peaks = weights[row, : len(text)].argmax(dim=-1)
        assert logits[row, peaks].argmax(dim=-1).tolist() == text
        assert (peaks.diff() > 0).all()


def test_forward_returns_one_row_of_logits_for_each_state():
    set_seed(0)
    model = CTCRecogniser(Echo(7), VOCAB)
    source, lengths = torch.randn(2, 11, 7), torch.tensor([11, 3])
    logits, state_lengths = model(source, lengths)
    weight, bias = model.output_proj.weight, model.output_proj.bias
    torch.testing.assert_close(logits[1, :3], source[1, :3] @ weight.T + bias)
    assert state_lengths is lengths
    assert logits.shape == (2, 11, VOCAB)


@pytest.mark.learning
def test_it_learns_where_to_name_letters():
    set_seed(0)
    path = torch.tensor([[0, 0, 1, 0, 2, 2, 0, 0], [2, 0, 0, 0, 1, 1, 0, 2]])  # kinds of sound
    source, lengths = F.one_hot(path, 3).float(), torch.tensor([8, 8])
    target = torch.tensor([[3, 4, END, PADDING], [4, 3, 4, END]])
    model = CTCRecogniser(Echo(3), VOCAB)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.1)
    for _ in range(200):
        optimiser.zero_grad()
        loss = ctc_loss(*model(source, lengths), target)
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.1
    written, weights = model.greedy_decode(source, lengths, return_weights=True)
    assert torch.equal(written, target)
    assert weights[0, 0].argmax() == 2


@pytest.mark.parametrize(
    ("path", "error", "text"),
    [
        ([3, 4], TypeError, "path must be of type Tensor, got path of type list"),
        (torch.zeros(2, 3), ValueError, r"path must have one axis, got path.shape=\(2, 3\)"),
    ],
)
def test_bad_paths_are_refused(path, error, text):
    with pytest.raises(error, match=f"^{text}$"):
        ctc_collapse(path)


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"logits": [[[0.0]]]}, TypeError, "logits must be of type Tensor"),
        ({"logits": torch.zeros(1, 3, 5, dtype=torch.int64)}, TypeError, "logits must be floating point"),
        ({"logits": torch.full((1, 3, 5), torch.nan)}, ValueError, "logits must not contain NaN"),
        ({"logits": torch.zeros(3, 5)}, ValueError, "logits must have at least 3 axes"),
        ({"lengths": [3]}, TypeError, "lengths must be of type Tensor"),
        (
            {"lengths": torch.tensor([3, 3])},
            ValueError,
            r"logits, lengths and target must have the same batch size, got logits.shape=\(1, 3, 5\), "
            r"lengths.shape=\(2,\), target.shape=\(1, 2\)",
        ),
        ({"target": [[3, 2]]}, TypeError, "target must be of type Tensor"),
        (
            {"target": torch.tensor([3])},
            ValueError,
            "logits, lengths and target must have the same batch size",
        ),
        (
            {"target": torch.tensor([[2, 0]])},
            ValueError,
            r"target must hold a letter, got target=\[\[2, 0\]\]",
        ),
    ],
)
def test_bad_arguments_of_the_loss_are_refused(changes, error, text):
    good = {"logits": torch.zeros(1, 3, 5), "lengths": torch.tensor([3]), "target": torch.tensor([[3, 2]])}
    with pytest.raises(error, match=f"^{text}"):
        ctc_loss(**{**good, **changes})


def test_bad_vocabularies_are_refused():
    with pytest.raises(ValueError, match=r"^vocab_size must be at least 4, got vocab_size=3$"):
        CTCRecogniser(Echo(3), 3)
    with pytest.raises(TypeError, match=r"^vocab_size must be an integer, got vocab_size=5.0$"):
        CTCRecogniser(Echo(3), 5.0)
