"""Scores from position alone: what the keys hold changes nothing, and centres never move back."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attncourse.location_scores import GaussianWindow, LocationScore
from tests.support.tolerances import FLOAT64

D_QUERY, D_KEY, N_QUERIES, N_KEYS, BATCH = 5, 3, 4, 7, 2


def make(module, *args, **options):
    torch.manual_seed(0)
    return module(*args, **options).double()


def arrays(n_keys=N_KEYS, seed=1):
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(BATCH, N_QUERIES, D_QUERY, generator=generator, dtype=torch.float64)
    return query, torch.randn(BATCH, n_keys, D_KEY, generator=generator, dtype=torch.float64)


class TestLocationScore:
    @pytest.mark.parity
    def test_equals_loops(self):
        score = make(LocationScore, D_QUERY, 11)
        query, key = arrays()
        ours = score(query, key)
        assert ours.shape == (BATCH, N_QUERIES, N_KEYS)
        for b in range(BATCH):
            for i in range(N_QUERIES):
                for j in range(N_KEYS):
                    by_hand = sum(query[b, i, d] * score.place_proj.weight[j, d] for d in range(D_QUERY))
                    torch.testing.assert_close(ours[b, i, j], by_hand, **FLOAT64)

    @pytest.mark.properties
    @given(st.integers(1, 9), st.integers(0, 2**31))
    def test_what_the_keys_hold_changes_nothing(self, n_keys, seed):
        score = make(LocationScore, D_QUERY, 9)
        query, key = arrays(n_keys)
        other = torch.randn(key.shape, generator=torch.Generator().manual_seed(seed), dtype=key.dtype)
        assert torch.equal(score(query, key), score(query, other))

    @pytest.mark.gradients
    def test_gradients_and_arguments(self):
        score = make(LocationScore, D_QUERY, N_KEYS)
        query, key = arrays()
        before = query.clone(), key.clone()
        assert torch.autograd.gradcheck(lambda q: score(q, key), query.clone().requires_grad_())
        assert torch.equal(query, before[0])
        assert torch.equal(key, before[1])

    def test_more_keys_leave_the_scores_of_the_first_ones(self):
        score = make(LocationScore, D_QUERY, N_KEYS)
        query, key = arrays()
        assert torch.equal(score(query, key)[..., :3], score(query, key[:, :3]))

    def test_errors(self):
        score = make(LocationScore, D_QUERY, 6)
        query, key = arrays()
        with pytest.raises(
            ValueError, match=r"key must have at most max_keys=6 tokens, got key\.shape=\(2, 7, 3\)"
        ):
            score(query, key)
        with pytest.raises(ValueError, match=r"query must have d_query=5 as its last axis, got query\.shape"):
            score(query[..., :4], key)
        with pytest.raises(TypeError, match="query must be"):
            score([1.0], key)
        with pytest.raises(TypeError, match=r"key must be floating point, got key\.dtype=int64"):
            score(query, key.long())
        for sizes, name in (((0, 3), "d_query"), ((3, 0), "max_keys")):
            with pytest.raises(ValueError, match=f"{name} must be at least 1, got {name}=0"):
                LocationScore(*sizes)


class TestGaussianWindow:
    @pytest.mark.parity
    def test_equals_the_papers_loops(self):
        # Graves counts places from 1 and starts at 0.
        window = make(GaussianWindow, D_QUERY, 2)
        query, key = arrays()
        weights, centres = window(query, key)
        for b in range(BATCH):
            kappa = [0.0, 0.0]
            for t in range(N_QUERIES):
                raw = (window.window_proj.weight @ query[b, t] + window.window_proj.bias).tolist()
                alpha, beta, step = raw[0:2], raw[2:4], raw[4:6]
                kappa = [k + math.exp(s) for k, s in zip(kappa, step, strict=True)]
                assert centres[b, t].tolist() == pytest.approx([k - 1 for k in kappa])
                for place in range(1, N_KEYS + 1):
                    phi = sum(
                        math.exp(a) * math.exp(-math.exp(b_) * (k - place) ** 2)
                        for a, b_, k in zip(alpha, beta, kappa, strict=True)
                    )
                    assert weights[b, t, place - 1].item() == pytest.approx(phi)

    def test_a_step_of_one_lands_on_one_key_after_the_other(self):
        window = make(GaussianWindow, D_QUERY, 1)
        with torch.no_grad():
            window.window_proj.weight.zero_()
            window.window_proj.bias.copy_(torch.tensor([0.0, 3.0, 0.0]))
        weights, _ = window(*arrays())
        assert weights.argmax(dim=-1).tolist() == [[0, 1, 2, 3]] * BATCH
        torch.testing.assert_close(weights.amax(dim=-1), torch.ones(BATCH, N_QUERIES).double(), **FLOAT64)

    @pytest.mark.properties
    @given(st.integers(0, 2**31), st.integers(1, 4))
    def test_centres_only_move_forward_and_weights_are_not_negative(self, seed, n_components):
        window = make(GaussianWindow, D_QUERY, n_components)
        query, key = arrays(seed=seed)
        weights, centres = window(query, key)
        assert (centres.diff(dim=1) > 0).all()
        assert (centres > -1).all()
        assert (weights >= 0).all()
        assert torch.equal(weights, window(query, key.flip(1) + 1.0).weights)

    def test_the_peak_of_several_bumps_may_move_back(self):
        window = make(GaussianWindow, 6, 2)
        with torch.no_grad():
            window.window_proj.weight.copy_(torch.eye(6))
            window.window_proj.bias.zero_()
        # Both heights, both widths, both steps: the fast bump is high at the second query only.
        rows = [
            [0.0, -5.0, 2.0, 2.0, 0.0, 1.0],
            [-5.0, 0.0, 2.0, 2.0, 0.0, 1.0],
            [0.0, -5.0, 2.0, 2.0, 0.0, 1.0],
        ]
        weights, centres = window(torch.tensor(rows).double(), torch.zeros(12, 1).double())
        assert weights.argmax(dim=-1).tolist() == [0, 4, 2]
        assert (centres.diff(dim=0) > 0).all()

    def test_half_precision_keeps_places_apart(self):
        window = GaussianWindow(1, 1)
        with torch.no_grad():
            window.window_proj.weight.zero_()
            window.window_proj.bias.copy_(torch.tensor([0.0, 3.0, 0.0]))
        window = window.to(torch.bfloat16)
        weights, _ = window(
            torch.zeros(600, 1, dtype=torch.bfloat16), torch.zeros(600, 1, dtype=torch.bfloat16)
        )
        assert weights.dtype == torch.bfloat16
        assert weights.argmax(dim=-1).tolist() == list(range(600))

    def test_step_by_step_equals_all_at_once(self):
        window = make(GaussianWindow, D_QUERY)
        query, key = arrays()
        whole, rows, centres = window(query, key), [], None
        for step in query.split(1, dim=1):
            row, moved = window(step, key, centres=centres)
            rows.append(row)
            centres = moved[:, -1]
        torch.testing.assert_close(torch.cat(rows, dim=1), whole.weights, **FLOAT64)

    @pytest.mark.gradients
    def test_gradients(self):
        window = make(GaussianWindow, D_QUERY, 2)
        query, key = arrays()
        assert torch.autograd.gradcheck(lambda q: window(q, key).weights, query.requires_grad_())

    def test_arguments_are_not_written(self):
        window = make(GaussianWindow, D_QUERY, 2)
        query, key = arrays()
        centres = torch.zeros(BATCH, 2, dtype=torch.float64)
        before = query.clone(), key.clone()
        window(query, key, centres=centres)
        assert torch.equal(query, before[0])
        assert torch.equal(key, before[1])
        assert not centres.any()

    def test_errors(self):
        window = make(GaussianWindow, D_QUERY, 2)
        query, key = arrays()
        with pytest.raises(ValueError, match=r"centres must have n_components=2 as its last axis, got"):
            window(query, key, centres=torch.zeros(BATCH, 3, dtype=torch.float64))
        with pytest.raises(TypeError, match="centres must be"):
            window(query, key, centres=[0.0, 0.0])
        with pytest.raises(TypeError, match=r"centres must be floating point, got centres\.dtype=int64"):
            window(query, key, centres=torch.zeros(BATCH, 2, dtype=torch.int64))
        with pytest.raises(ValueError, match=r"query must have d_query=5 as its last axis"):
            window(query[..., 1:], key)
        with pytest.raises(TypeError, match="query must be"):
            window(None, key)
        with pytest.raises(TypeError, match="key must be"):
            window(query, None)
        for sizes, name in (((0, 3), "d_query"), ((3, 0), "n_components")):
            with pytest.raises(ValueError, match=f"{name} must be at least 1, got {name}=0"):
                GaussianWindow(*sizes)
