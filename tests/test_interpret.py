"""Interventions against explicit loops, rollout against NumPy, rank correlation against its definition."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attncourse.interpret import attention_rollout, erase, erasure, kendall_tau, rationale_scores
from attncourse.tasks.pairs import PADDING
from attncourse.text_classifiers import TextClassifier
from attncourse.training import set_seed
from tests.support.tolerances import FLOAT64

VOCAB, N_TOKENS = 11, 7
LENGTHS = torch.tensor([7, 2, 4, 6, 3])


def classifier(encoder="bigru"):
    set_seed(0)
    model = TextClassifier(VOCAB, 3, encoder=encoder, d_embedding=5, d_hidden=8, n_heads=2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)  # answers that single words can turn
    return model.double().eval()


def texts(seed=0):
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(1, VOCAB, (len(LENGTHS), N_TOKENS), generator=generator)
    return tokens.masked_fill(torch.arange(N_TOKENS) >= LENGTHS[:, None], PADDING)


class TestErase:
    def test_hand_values(self):
        tokens, lengths = torch.tensor([[5, 6, 7, 8], [4, 3, 0, 0]]), torch.tensor([4, 2])
        chosen = torch.tensor([[False, True, False, True], [True, False, True, True]])
        kept = tokens.clone(), lengths.clone(), chosen.clone()
        moved, left = erase(tokens, lengths, chosen)
        assert moved.tolist() == [[5, 7, 0, 0], [3, 0, 0, 0]]
        assert left.tolist() == [2, 1]
        replaced, same = erase(tokens, lengths, chosen, replacement=9)
        assert replaced.tolist() == [[5, 9, 7, 9], [9, 3, 0, 0]]
        assert same.tolist() == [4, 2]
        assert all(torch.equal(a, b) for a, b in zip((tokens, lengths, chosen), kept, strict=True))

    @pytest.mark.properties
    @settings(max_examples=30, deadline=None)
    @given(st.integers(0, 10_000), st.sampled_from([0.0, 0.4, 1.0]))
    def test_deletion_keeps_the_other_words_in_their_order(self, seed, share):
        tokens = texts(seed)
        chosen = torch.rand(tokens.shape, generator=torch.Generator().manual_seed(seed)) < share
        moved, left = erase(tokens, LENGTHS, chosen)
        for row in range(len(tokens)):
            words = [tokens[row, j].item() for j in range(LENGTHS[row]) if not chosen[row, j]]
            assert moved[row].tolist() == words + [PADDING] * (N_TOKENS - len(words))
            assert left[row] == len(words)

    def test_bad_arguments_are_refused(self):
        tokens = texts()
        chosen = torch.zeros_like(tokens, dtype=torch.bool)
        with pytest.raises(TypeError, match=r"^chosen must be boolean, got chosen\.dtype=int64$"):
            erase(tokens, LENGTHS, tokens)
        with pytest.raises(
            ValueError,
            match=r"^chosen and tokens must have the same shape, got chosen\.shape=\(5, 6\), "
            r"tokens\.shape=\(5, 7\)$",
        ):
            erase(tokens, LENGTHS, chosen[:, :6])
        with pytest.raises(ValueError, match=r"^replacement must be at least 0, got replacement=-1$"):
            erase(tokens, LENGTHS, chosen, replacement=-1)
        with pytest.raises(ValueError, match=r"^lengths must lie in 0 … n_keys=7, got lengths from 8 to 8$"):
            erase(tokens, torch.full((5,), 8), chosen)
        with pytest.raises(ValueError, match=r"^tokens and lengths must have the same batch size, got "):
            erase(tokens, LENGTHS[:3], chosen)


TABLE = torch.tensor([0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9])


class TestErasure:
    @pytest.mark.parity
    @pytest.mark.parametrize("encoder", ["convolution", "bigru", "transformer"])
    @pytest.mark.parametrize("replacement", [None, 1, TABLE], ids=["delete", "one token", "opposites"])
    def test_it_equals_one_forward_pass_for_each_word_by_itself(self, encoder, replacement):
        model, tokens = classifier(encoder), texts()
        kept = tokens.clone()
        got = erasure(model, tokens, LENGTHS, replacement=replacement)
        assert torch.equal(tokens, kept)
        flips = 0
        for row, length in enumerate(LENGTHS.tolist()):
            words = tokens[row, :length].tolist()
            before = model(torch.tensor([words]), torch.tensor([length]))[0].softmax(dim=0)
            for place in range(N_TOKENS):
                if place >= length:
                    assert got.drop[row, place] == got.distance[row, place] == 0
                    assert not got.flips[row, place]
                    continue
                if replacement is None:
                    changed = words[:place] + words[place + 1 :]
                else:
                    word = replacement if isinstance(replacement, int) else TABLE[words[place]].item()
                    changed = [*words[:place], word, *words[place + 1 :]]
                after = model(torch.tensor([changed]), torch.tensor([len(changed)]))[0].softmax(dim=0)
                first = before.argmax()
                torch.testing.assert_close(got.drop[row, place], before[first] - after[first], **FLOAT64)
                distance = (before - after).clamp(min=0).sum()
                torch.testing.assert_close(got.distance[row, place], distance, **FLOAT64)
                assert got.flips[row, place] == (after.argmax() != first)
                flips += int(got.flips[row, place])
        assert flips > 0
        assert not got.drop.requires_grad

    def test_a_word_that_nobody_reads_has_no_effect(self):
        tokens = texts()

        def first_word(tokens, lengths):
            return torch.nn.functional.one_hot(tokens[:, 0], VOCAB).double() * 3

        got = erasure(first_word, tokens, LENGTHS, replacement=TABLE)
        assert got.flips[:, 0].all()
        assert not got.distance[:, 1:].any()
        assert (got.drop[:, 0] > 0.5).all()

    def test_a_table_that_changes_nothing_has_no_effect(self):
        got = erasure(classifier(), texts(), LENGTHS, replacement=torch.arange(VOCAB))
        assert not got.distance.any()
        assert not got.flips.any()

    def test_bad_arguments_are_refused(self):
        model, tokens = classifier(), texts()
        with pytest.raises(ValueError, match=r"^lengths must be at least 2, got lengths=\[7, 1, 4, 6, 3\]$"):
            erasure(model, tokens, torch.tensor([7, 1, 4, 6, 3]), replacement=None)
        with pytest.raises(ValueError, match=r"^lengths must be at least 1, got lengths=\[7, 0, 4, 6, 3\]$"):
            erasure(model, tokens, torch.tensor([7, 0, 4, 6, 3]), replacement=1)
        with pytest.raises(
            ValueError,
            match=r"^replacement must have an entry for every token up to 10, "
            r"got replacement\.shape=\(10,\)$",
        ):
            erasure(model, tokens, LENGTHS, replacement=TABLE[:10])
        with pytest.raises(
            TypeError, match=r"^replacement must be of dtype int64, got replacement\.dtype=float32$"
        ):
            erasure(model, tokens, LENGTHS, replacement=TABLE.float())


class TestRationaleScores:
    @pytest.mark.parity
    def test_they_equal_their_definition_text_by_text(self):
        model, tokens = classifier(), texts()
        chosen = torch.rand(tokens.shape, generator=torch.Generator().manual_seed(4)) < 0.4
        got = rationale_scores(model, tokens, LENGTHS, chosen, replacement=1)
        for row, length in enumerate(LENGTHS.tolist()):
            words = tokens[row, :length].tolist()
            picked = chosen[row, :length].tolist()
            without = [1 if p else word for word, p in zip(words, picked, strict=True)]
            alone = [word if p else 1 for word, p in zip(words, picked, strict=True)]
            whole, without, alone = (
                model(torch.tensor([text]), torch.tensor([length]))[0].softmax(dim=0)
                for text in (words, without, alone)
            )
            first = whole.argmax()
            torch.testing.assert_close(got.comprehensiveness[row], whole[first] - without[first], **FLOAT64)
            torch.testing.assert_close(got.sufficiency[row], whole[first] - alone[first], **FLOAT64)

    def test_all_words_are_sufficient_and_none_is_not_comprehensive(self):
        model, tokens = classifier(), texts()
        every = torch.ones_like(tokens, dtype=torch.bool)
        got, other = (rationale_scores(model, tokens, LENGTHS, c, replacement=1) for c in (every, ~every))
        assert not got.sufficiency.any()
        assert not other.comprehensiveness.any()
        torch.testing.assert_close(got.comprehensiveness, other.sufficiency, **FLOAT64)

    def test_bad_arguments_are_refused(self):
        with pytest.raises(TypeError, match=r"^chosen must be boolean, got chosen\.dtype=int64$"):
            rationale_scores(classifier(), texts(), LENGTHS, texts(), replacement=1)


def layers(n_layers=3, n_heads=2, n_tokens=5, batch=2, seed=0):
    scores = torch.randn(
        batch, n_layers, n_heads, n_tokens, n_tokens, generator=torch.Generator().manual_seed(seed)
    )
    return (2 * scores.double()).softmax(dim=-1)


class TestRollout:
    @pytest.mark.parity
    @pytest.mark.parametrize("residual", [0.0, 0.5, 0.8])
    def test_it_equals_the_product_written_out(self, residual):
        weights = layers()
        got = attention_rollout(weights, residual=residual)
        for row in range(len(weights)):
            product = np.eye(5)
            for layer in weights[row].numpy():
                product = (residual * np.eye(5) + (1 - residual) * np.mean(layer, axis=0)) @ product
            np.testing.assert_allclose(got[row], product, **FLOAT64)

    @pytest.mark.parity
    def test_it_equals_the_sum_over_all_paths(self):
        weights = layers(n_layers=2, n_heads=1, n_tokens=3, batch=1)
        got = attention_rollout(weights)[0]
        first, second = (0.5 * torch.eye(3).double() + 0.5 * layer for layer in weights[0, :, 0])
        for top, bottom in itertools.product(range(3), repeat=2):
            paths = sum(second[top, middle] * first[middle, bottom] for middle in range(3))
            torch.testing.assert_close(got[top, bottom], paths, **FLOAT64)

    @pytest.mark.properties
    @settings(max_examples=30, deadline=None)
    @given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 6), st.sampled_from([0.0, 0.5, 0.9]))
    def test_rows_sum_to_1_and_nothing_is_negative(self, n_layers, n_heads, n_tokens, residual):
        weights = layers(n_layers, n_heads, n_tokens)
        kept = weights.clone()
        got = attention_rollout(weights, residual=residual)
        torch.testing.assert_close(got.sum(dim=-1), torch.ones(2, n_tokens).double(), **FLOAT64)
        assert (got >= 0).all()
        assert torch.equal(weights, kept)

    def test_equal_maps_of_a_causal_model_stay_causal_and_an_empty_row_stays_itself(self):
        weights = layers().tril()
        weights = weights / weights.sum(dim=-1, keepdim=True)
        weights[..., 2, :] = 0
        got = attention_rollout(weights)
        assert not got.triu(1).any()
        assert got[:, 2].tolist() == [[0, 0, 1, 0, 0]] * 2

    def test_padding_is_never_reached(self):
        model, tokens = classifier("transformer"), texts()
        _, weights = model.encoder(tokens, LENGTHS, return_weights=True)
        got = attention_rollout(weights)
        for row, length in enumerate(LENGTHS.tolist()):
            assert not got[row, :length, length:].any()

    def test_bad_arguments_are_refused(self):
        with pytest.raises(
            ValueError,
            match=r"^weights must have shape \(batch, n_layers, n_heads, n_tokens, n_tokens\), "
            r"got weights\.shape=\(2, 3, 2, 5, 4\)$",
        ):
            attention_rollout(layers()[..., :4])
        with pytest.raises(ValueError, match=r"^residual must be below 1, got residual=1$"):
            attention_rollout(layers(), residual=1)
        with pytest.raises(ValueError, match=r"^weights must not be negative, got weights down to -1$"):
            attention_rollout(-torch.ones(1, 1, 1, 2, 2))


class TestRankCorrelation:
    @pytest.mark.parity
    def test_it_equals_the_count_of_pairs(self):
        rng = np.random.default_rng(0)
        weights, effects = rng.integers(0, 4, (2, 5, N_TOKENS)).astype(float)
        got = kendall_tau(weights, effects, LENGTHS.numpy())
        for row, length in enumerate(LENGTHS.tolist()):
            pairs = list(itertools.combinations(range(length), 2))
            a = [np.sign(weights[row, i] - weights[row, j]) for i, j in pairs]
            b = [np.sign(effects[row, i] - effects[row, j]) for i, j in pairs]
            ties = np.abs(a).sum() * np.abs(b).sum()
            if ties == 0:
                assert np.isnan(got[row])
            else:
                assert got[row] == pytest.approx(np.dot(a, b) / np.sqrt(ties))

    def test_hand_values_and_the_padding_left_out(self):
        weights = np.array([[0.1, 0.2, 0.7, 0.0], [0.7, 0.2, 0.1, 9.0], [0.5, 0.5, 0.0, 9.0]])
        effects = np.array([[1.0, 2.0, 3.0, 0.0], [1.0, 2.0, 3.0, 9.0], [1.0, 2.0, 9.0, 9.0]])
        got = kendall_tau(weights, effects, np.array([4, 3, 2]))
        np.testing.assert_allclose(got, [1, -1, np.nan])

    def test_bad_arguments_are_refused(self):
        rows = np.ones((2, 3))
        with pytest.raises(
            ValueError,
            match=r"^weights and effects must have the same shape, got weights\.shape=\(2, 3\), "
            r"effects\.shape=\(2, 2\)$",
        ):
            kendall_tau(rows, rows[:, :2], np.array([3, 3]))
        with pytest.raises(TypeError, match=r"^lengths must be integers, got lengths\.dtype=float64$"):
            kendall_tau(rows, rows, np.array([3.0, 3.0]))
        with pytest.raises(ValueError, match=r"^weights and lengths must have the same batch size, got "):
            kendall_tau(rows, rows, np.array([3]))
        with pytest.raises(TypeError, match=r"^weights must be of type ndarray, got weights of type Tensor$"):
            kendall_tau(torch.ones(2, 3), rows, np.array([3, 3]))
