"""Counterfactual maps: distances against scipy, maps by their definition, a search that keeps its word."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from torch.nn import functional as F

from attncourse.counterfactuals import (
    COUNTERFACTUALS,
    adversarial_weights,
    counterfactual_weights,
    jensen_shannon,
    total_variation,
)
from tests.support.tolerances import FLOAT64

N_TOKENS, D_HIDDEN, N_CLASSES = 7, 5, 3
LENGTHS = torch.tensor([7, 1, 4, 6, 2])


def maps(seed=0, sharpness=1.5):
    generator = torch.Generator().manual_seed(seed)
    scores = sharpness * torch.randn(len(LENGTHS), N_TOKENS, generator=generator, dtype=torch.float64)
    return scores.masked_fill(~real(), -math.inf).softmax(dim=-1)


def real(lengths=LENGTHS):
    return torch.arange(N_TOKENS) < lengths[:, None]


def reader(seed=1, size=1.0):
    """A linear readout of fixed states, as ``TextClassifier.read`` is with a fixed memory."""
    generator = torch.Generator().manual_seed(seed)
    states = size * torch.randn(len(LENGTHS), N_TOKENS, N_CLASSES, generator=generator, dtype=torch.float64)
    return lambda weights: (weights.unsqueeze(1) @ states).squeeze(1)


@st.composite
def two_distributions(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows = rng.dirichlet([draw(st.sampled_from([0.05, 1.0, 20.0]))] * draw(st.integers(1, 8)), size=(3, 2))
    return torch.from_numpy(rows).unbind(dim=1)


def events(n):
    """All sets of outcomes."""
    return itertools.chain(*(itertools.combinations(range(n), size) for size in range(n + 1)))


class TestDistances:
    @pytest.mark.parity
    @settings(max_examples=40, deadline=None)
    @given(two_distributions())
    def test_they_equal_their_definitions(self, rows):
        first, second = rows
        wanted = [jensenshannon(p, q) ** 2 for p, q in zip(first.numpy(), second.numpy(), strict=True)]
        # scipy returns the root, whose square rounds near 0.
        np.testing.assert_allclose(jensen_shannon(first, second), wanted, rtol=1e-9, atol=1e-12)
        wanted = [
            max((p[list(event)].sum() - q[list(event)].sum() for event in events(len(p))), key=abs)
            for p, q in zip(first, second, strict=True)
        ]
        torch.testing.assert_close(total_variation(first, second), torch.stack(wanted).abs(), **FLOAT64)

    @pytest.mark.properties
    @settings(max_examples=40, deadline=None)
    @given(two_distributions())
    def test_they_are_symmetric_bounded_and_zero_for_equal_rows(self, rows):
        first, second = rows
        for distance, most in ((jensen_shannon, math.log(2)), (total_variation, 1.0)):
            torch.testing.assert_close(distance(first, second), distance(second, first), **FLOAT64)
            assert distance(first, second).max() <= most + 1e-12
            assert distance(first, first).abs().max() <= 1e-12

    def test_hand_values(self):
        left, right, half = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), torch.tensor([0.5, 0.5])
        assert total_variation(left, right) == 1
        assert total_variation(left, half) == 0.5
        assert jensen_shannon(left, right).item() == pytest.approx(math.log(2))
        # H(3/4, 1/4) - H(1/2, 1/2) / 2
        assert jensen_shannon(left, half).item() == pytest.approx(0.562335 - 0.346574, abs=1e-5)

    @pytest.mark.parametrize("distance", [jensen_shannon, total_variation])
    def test_bad_arguments_are_refused(self, distance):
        row = torch.tensor([0.5, 0.5])
        with pytest.raises(
            ValueError,
            match=r"^first and second must have the same shape, "
            r"got first\.shape=\(2,\), second\.shape=\(1,\)$",
        ):
            distance(row, row[:1])
        with pytest.raises(ValueError, match=r"^second must not be negative, got second down to -0\.5$"):
            distance(row, -row)
        with pytest.raises(TypeError, match=r"^first must be of type Tensor, got first of type list$"):
            distance([1.0], row)


class TestCounterfactualWeights:
    @pytest.mark.properties
    @pytest.mark.parametrize("kind", COUNTERFACTUALS)
    def test_rows_sum_to_1_over_the_words_alone_and_nothing_is_written(self, kind):
        weights = maps()
        kept = weights.clone()
        got = counterfactual_weights(weights, LENGTHS, kind)
        assert got.dtype == weights.dtype
        torch.testing.assert_close(got.sum(dim=1), torch.ones(5).double(), **FLOAT64)
        assert not got[~real()].any()
        assert torch.equal(weights, kept)

    def test_permuted_maps_hold_the_same_weights_in_every_order(self):
        weights = maps()
        generator = torch.Generator().manual_seed(0)
        seen = torch.zeros(N_TOKENS)
        for _ in range(300):
            got = counterfactual_weights(weights, LENGTHS, "permuted", generator=generator)
            torch.testing.assert_close(got.sort(dim=1).values, weights.sort(dim=1).values, rtol=0, atol=0)
            seen[got[0].argmax()] += 1
        # Five standard deviations of a share of 300 draws.
        np.testing.assert_allclose(seen / 300, 1 / 7, rtol=0, atol=0.1)

    def test_the_generator_alone_decides(self):
        first, again, other = (
            counterfactual_weights(maps(), LENGTHS, "permuted", generator=torch.Generator().manual_seed(seed))
            for seed in (0, 0, 1)
        )
        assert torch.equal(first, again)
        assert not torch.equal(first, other)

    def test_uniform_and_other_maps_by_hand(self):
        weights = torch.tensor([[0.5, 0.1, 0.4], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.2, 0.8, 0.0]])
        lengths = torch.tensor([3, 1, 3, 2])
        third = 1 / 3
        assert torch.allclose(
            counterfactual_weights(weights, lengths, "uniform"),
            torch.tensor([[third] * 3, [1.0, 0, 0], [third] * 3, [0.5, 0.5, 0]]),
        )
        # The second text has one word; the last one takes the first map, cut to two words.
        assert torch.allclose(
            counterfactual_weights(weights, lengths, "other"),
            torch.tensor([[1.0, 0, 0], [1.0, 0, 0], [0.2, 0.8, 0], [5 / 6, 1 / 6, 0]]),
        )

    def test_an_other_map_behind_the_words_becomes_uniform(self):
        weights = torch.tensor([[0.3, 0.7, 0.0], [0.0, 0.0, 1.0]])
        got = counterfactual_weights(weights, torch.tensor([2, 3]), "other")
        assert got[0].tolist() == [0.5, 0.5, 0.0]

    def test_bad_arguments_are_refused(self):
        weights = maps()
        with pytest.raises(
            ValueError, match=r"^kind must be one of 'permuted', 'uniform', 'other', got kind='reversed'$"
        ):
            counterfactual_weights(weights, LENGTHS, "reversed")
        with pytest.raises(
            ValueError, match=r"^weights must be zero at the padding, got weights with others$"
        ):
            counterfactual_weights(weights, LENGTHS - 1 + (LENGTHS == 1), "uniform")
        with pytest.raises(ValueError, match=r"^lengths must be at least 1, got lengths=\[0, 1, 4, 6, 2\]$"):
            counterfactual_weights(weights, torch.tensor([0, 1, 4, 6, 2]), "uniform")
        with pytest.raises(
            ValueError, match=r"^weights must have shape \(batch, n_tokens\), got weights\.shape=\(1, 5, 7\)$"
        ):
            counterfactual_weights(weights[None], LENGTHS, "uniform")
        with pytest.raises(
            ValueError,
            match=r"^weights and lengths must have the same batch size, got weights\.shape=\(4, 7\)",
        ):
            counterfactual_weights(weights[:4], LENGTHS, "uniform")
        with pytest.raises(ValueError, match=r"^weights must not be negative, got weights down to -1$"):
            counterfactual_weights(-torch.ones(5, 7), LENGTHS, "uniform")


class TestAdversarialWeights:
    @pytest.mark.properties
    @settings(max_examples=15, deadline=None)
    @given(st.integers(0, 1000), st.sampled_from([0.0, 0.01, 0.05, 0.3]), st.sampled_from([0.3, 1.0, 5.0]))
    def test_what_is_found_leaves_the_answer_and_is_a_map(self, seed, tolerance, size):
        weights, answer = maps(seed), reader(seed, size)
        found = adversarial_weights(
            answer,
            weights,
            LENGTHS,
            tolerance=tolerance,
            steps=20,
            n_starts=2,
            generator=torch.Generator().manual_seed(0),
        )
        before, after = (answer(rows).softmax(dim=-1) for rows in (weights, found))
        assert (total_variation(before, after) <= tolerance + 1e-12).all()
        assert torch.equal(before.argmax(dim=-1), after.argmax(dim=-1))
        assert not found[~real()].any()
        torch.testing.assert_close(found.sum(dim=1), torch.ones(5).double(), **FLOAT64)
        assert (found >= 0).all()
        # A single word leaves no choice.
        assert torch.equal(found[1], weights[1])

    def test_where_all_words_say_the_same_the_furthest_map_is_found(self):
        weights = maps(sharpness=4.0)
        found = adversarial_weights(
            lambda rows: rows.sum(dim=1, keepdim=True) * torch.tensor([1.0, 2.0]).double(),
            weights,
            LENGTHS,
            generator=torch.Generator().manual_seed(0),
        )
        # The best there is: all on the word that has the least weight.
        best = F.one_hot(weights.masked_fill(~real(), 2).argmin(dim=1), N_TOKENS).double()
        ratio = jensen_shannon(weights, found) / jensen_shannon(weights, best)
        assert (ratio[LENGTHS > 1] > 0.95).all()

    def test_where_one_word_alone_gives_the_answer_its_weight_stays(self):
        # Class 1 is answered as soon as the first word has weight .5; its logit is steep there.
        weights = torch.tensor([[0.9, 0.05, 0.05], [0.8, 0.1, 0.1]]).double()

        def answer(rows):
            return torch.stack([torch.zeros(2).double(), 20 * (rows[:, 0] - 0.5)], dim=1)

        found = adversarial_weights(
            answer, weights, torch.tensor([3, 3]), tolerance=0.02, generator=torch.Generator().manual_seed(0)
        )
        # sigmoid(20 (a - .5)) may fall by .02: a cannot fall below .69 in either row.
        assert (found[:, 0] > 0.69).all()

    def test_more_freedom_finds_no_nearer_maps_and_inputs_stay(self):
        weights, answer = maps(2), reader(2, 2.0)
        kept = weights.clone()
        near, far = (
            adversarial_weights(
                answer, weights, LENGTHS, tolerance=tolerance, generator=torch.Generator().manual_seed(0)
            )
            for tolerance in (0.005, 0.3)
        )
        assert jensen_shannon(weights, far).mean() > jensen_shannon(weights, near).mean()
        assert torch.equal(weights, kept)
        assert not far.requires_grad

    def test_it_searches_without_gradients_around(self):
        weights, answer = maps(2), reader(2)
        with torch.no_grad():
            found = adversarial_weights(answer, weights, LENGTHS, steps=30, n_starts=1)
        assert jensen_shannon(weights, found).max() > 0

    def test_bad_arguments_are_refused(self):
        weights, answer = maps(), reader()
        with pytest.raises(ValueError, match=r"^tolerance must be at least 0, got tolerance=-0\.1$"):
            adversarial_weights(answer, weights, LENGTHS, tolerance=-0.1)
        with pytest.raises(ValueError, match=r"^steps must be at least 1, got steps=0$"):
            adversarial_weights(answer, weights, LENGTHS, steps=0)
        with pytest.raises(ValueError, match=r"^n_starts must be at least 1, got n_starts=0$"):
            adversarial_weights(answer, weights, LENGTHS, n_starts=0)
        with pytest.raises(ValueError, match=r"^learning_rate must be above 0, got learning_rate=0$"):
            adversarial_weights(answer, weights, LENGTHS, learning_rate=0)
