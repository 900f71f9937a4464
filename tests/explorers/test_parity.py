"""What the figures compute and show equals what the package computes, on every way through them."""

import math

import numpy as np
import pytest
import torch

from attncourse import attention, reference
from attncourse.blockwise import blockwise_attention
from attncourse.explorers import (
    EXAMPLES,
    mask_explorer,
    online_softmax_stepper,
    scale_explorer,
    temperature_explorer,
)
from attncourse.explorers.shell import fixed_number
from tests.explorers.conftest import CAUSAL, PADDING, SCORES, WORDS
from tests.support.tolerances import FLOAT64

pytestmark = pytest.mark.parity
RNG = np.random.default_rng(11)
ROWS = [RNG.normal(size=n) * spread for n in (1, 2, 5, 9) for spread in (0.01, 1, 30, 1000)]


def weights_of(row, mask=None):
    return reference.masked_softmax(row[None], mask)[0]


def shown(numbers, places=2):
    return [fixed_number(number, places) for number in np.ravel(numbers)]


def test_softmax_with_masks_and_empty_rows(calculated):
    masks = [RNG.random(len(row)) < 0.5 for row in ROWS]
    assert any(not mask.any() for mask in masks), "no empty row among the cases"
    cases = [[row.tolist(), mask.tolist()] for row, mask in zip(ROWS, masks, strict=True)]
    found = calculated("softmax(x, y)", cases)
    for row, mask, weights in zip(ROWS, masks, found, strict=True):
        np.testing.assert_allclose(weights, weights_of(row, mask), **FLOAT64)
        torchs = attention.masked_softmax(torch.from_numpy(row)[None], torch.from_numpy(mask)[None])
        np.testing.assert_allclose(weights, torchs[0], **FLOAT64)


def test_entropy_and_norm_of_the_jacobian(calculated):
    weights = [weights_of(row) for row in ROWS]
    cases = [[row.tolist()] for row in weights]
    np.testing.assert_allclose(calculated("entropy(x)", cases), [*map(reference.entropy, weights)], **FLOAT64)
    norms = [np.linalg.norm(np.diag(row) - np.outer(row, row)) for row in weights]
    # a root turns a rounding of 1e-16 into 1e-8
    np.testing.assert_allclose(calculated("jacobianNorm(x)", cases), norms, rtol=1e-6, atol=2e-8)


@pytest.mark.parametrize("block", [1, 2, 3, 9])
def test_every_step_of_the_online_softmax(calculated, block):
    values = RNG.normal(size=9) * 10
    for row in (row for row in ROWS if len(row) == 9):
        [steps] = calculated("onlineSteps(x, y, z)", [[row.tolist(), values.tolist(), block]])
        assert len(steps) == 1 + math.ceil(9 / block)
        for step in steps[1:]:
            seen = slice(step["seen"])
            # one query (1) whose product with each key is the score
            exact = blockwise_attention(
                torch.ones(1, 1, dtype=torch.float64),
                torch.from_numpy(row[seen])[:, None],
                torch.from_numpy(values[seen])[:, None],
                scale=1.0,
                block_keys=block,
            )
            np.testing.assert_allclose(step["mixed"] / step["total"], exact.item(), **FLOAT64)
            np.testing.assert_allclose(step["total"], np.exp(row[seen] - row[seen].max()).sum(), **FLOAT64)
            assert step["largest"] == row[seen].max()


def test_numbers_are_written_alike(calculated):
    numbers = [0.0, -0.0, 0.125, 0.375, 0.615, 0.61499999, -0.125, -0.004, 1.005, 2.675, 1e3, 0.999]
    numbers += RNG.normal(size=200).tolist()
    for places in (0, 2, 4):
        cases = [[number, places] for number in numbers]
        assert calculated("fixed(x, y)", cases) == [fixed_number(*case) for case in cases]
    assert [fixed_number(number, 2) for number in (0.125, -0.125, -0.004)] == ["0.13", "−0.13", "0.00"]


def test_sentence_for_every_word_and_temperature(played):
    query = np.array([[0.0, 1], [2, 0], [1, -1], [2, -1]])
    key = np.array([[1.0, 1], [0, 0], [0, -1], [1, -1]])
    value = np.array([[4.0, 2], [0, 4], [0, -2], [4, -2]])
    steps = [-20, -7, 0, 6, 20]
    actions = [
        ("press", word) if step is None else ("slide", step) for word in range(4) for step in (None, *steps)
    ]
    states = iter(played(EXAMPLES["sentence"](), *actions)[1:])
    warmth = 1.0
    for word in range(4):
        for step in (None, *steps):
            warmth = warmth if step is None else 10 ** (step / 20)
            state = next(states)
            scores = reference.dot_product_scores(query[[word]], key, scale=1 / warmth)
            weights = reference.masked_softmax(scores)
            output = reference.weighted_sum(weights, value)
            pair = f"({', '.join(shown(output))})"
            assert state["bold"] == [*shown(weights), fixed_number(warmth, 2), pair]
            assert state["says"].startswith(f"“{WORDS[word]}” looks most at “{WORDS[weights.argmax()]}”")
            assert state["says"].endswith(f"give {pair}.")
            assert state["slider"] == [fixed_number(warmth, 2)]


def test_temperature_at_every_step(played):
    steps = list(range(-26, 27, 4))
    states = played(temperature_explorer(SCORES[0], WORDS), *[("slide", step) for step in steps])
    for step, state in zip([0, *steps], states, strict=True):
        weights = weights_of(SCORES[0] / 10 ** (step / 20))
        nats = reference.entropy(weights)
        numbers = [weights.max(), nats, np.exp(nats), 10 ** (step / 20)]
        assert state["bold"] == [*shown(weights), *shown(numbers)]


def test_scale_at_every_size(played):
    from attncourse.explorers.scale import _draw

    sizes = [2**n for n in range(11)]
    scores, deviations = _draw(9, sizes)
    actions = [one for at in range(11) for one in (("slide", at), ("press", 1), ("press", 0))]
    states = iter(played(scale_explorer(seed=9), *actions)[1:])
    for at, size in enumerate(sizes):
        for scale in (1, 1 / math.sqrt(size), 1):
            weights = weights_of(scores[at] * scale)
            norm = np.linalg.norm(np.diag(weights) - np.outer(weights, weights))
            numbers = shown([deviations[at] * scale, weights.max(), norm])
            assert next(states)["bold"] == [*shown(weights), *numbers, str(size)]


def test_scores_of_the_scale_explorer_are_those_of_its_draw():
    from attncourse.explorers.scale import _draw

    scores, deviations = _draw(3, [1, 64, 1024])
    rng = np.random.default_rng(3)
    queries, keys = (rng.standard_normal((1000, 1024)).round(3) for _ in range(2))
    for at, size in enumerate((1, 64, 1024)):
        expected = reference.dot_product_scores(queries[:1, :size], keys[:8, :size], scale=1.0)[0]
        np.testing.assert_allclose(scores[at], expected, rtol=0, atol=0.000501)
        np.testing.assert_allclose(deviations[at] / math.sqrt(size), 1, atol=0.1)


def test_masks_and_cells(played):
    masks = {"padding": PADDING, "causal": CAUSAL, "both": torch.from_numpy(PADDING & CAUSAL)}
    explorer = mask_explorer(SCORES, WORDS, WORDS, masks)
    # choose each mask; then, under "causal", close the only cell of row 0, open one, and go back to the mask
    actions = [("press", n) for n in (1, 2, 3)] + [("press", 2), ("press", 4), ("press", 7), ("press", 2)]
    own = CAUSAL.copy()
    own[0, 0] = False
    opened = own.copy()
    opened[0, 3] = True
    grids = [np.ones((4, 4), bool), np.broadcast_to(PADDING, (4, 4)), CAUSAL, PADDING & CAUSAL]
    grids += [CAUSAL, own, opened, CAUSAL]
    states = played(explorer, *actions)
    for grid, state in zip(grids, states, strict=True):
        weights = reference.masked_softmax(SCORES, grid)
        cells = [button for button in state["buttons"] if button[2] is None]
        assert [cell[0] for cell in cells] == [
            fixed_number(weight, 2) if seen else "–"
            for weight, seen in zip(weights.flat, grid.flat, strict=True)
        ]
        assert [cell[5] == "true" for cell in cells] == grid.ravel().tolist()
        empty = ~grid.any(axis=1)
        assert [text for text, _ in state["sums"]] == ["0.00" if row else "1.00" for row in empty]
        assert ["av-empty" in kind for _, kind in state["sums"]] == empty.tolist()
    assert "“cats” may look at nothing: all its weights are 0" in states[5]["says"]
    assert "Empty rows, with weights of 0: “cats”" in states[3]["says"]
    assert states[6]["says"] == "“cats” shares its weight among 1 of 4 keys: “mice” 1.00."


@pytest.mark.parametrize("block", [1, 3])
def test_online_softmax_shows_its_steps(played, block):
    scores, values = np.array([1.0, 3, 2, 5, -1]), np.array([10.0, 20, 30, 40, 50])
    count = math.ceil(5 / block)
    actions = [("press", 1)] * (count + 1) + [
        ("press", 0),
        ("press", 2),
    ]  # one press too many changes nothing
    states = played(online_softmax_stepper(scores, values, block), *actions)
    reached = [*range(count + 1), count, count - 1, 0]
    for at, state in zip(reached, states, strict=True):
        seen = min(5, at * block)
        *exponentials, progress, largest, _, total, mixed, answer = state["bold"]
        assert progress == f"{at} of {count} blocks read"
        assert [one == "·" for one in exponentials] == [False] * seen + [True] * (5 - seen)
        if at:
            top = scores[:seen].max()
            parts = np.exp(scores[:seen] - top)
            assert exponentials[:seen] == shown(parts)
            assert largest.endswith(f"{top:.0f}")
            assert total.endswith(fixed_number(parts.sum(), 4))
            assert mixed.endswith(fixed_number(parts @ values[:seen], 3))
            assert answer == fixed_number(parts @ values[:seen] / parts.sum(), 3)
    whole = weights_of(scores) @ values
    assert f"at once gives {fixed_number(whole, 3)}." in states[count]["says"]
    disabled = [[button[6] for button in state["buttons"]] for state in states]
    assert disabled[0] == ["true", "false", "true"]
    assert disabled[count] == ["false", "true", "false"]
