"""Models of chapter 1: the readout equals attention by definition, padding is inert, and they learn."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from attncourse.bottleneck import BorrowedAttention, EncoderDecoder, RecallModel
from attncourse.tasks.copying import CopyTask
from attncourse.tasks.pairs import PADDING, START
from attncourse.tasks.recall import RecallTask
from attncourse.training import set_seed, train
from tests.support.tolerances import FLOAT32, FLOAT64

pytestmark = pytest.mark.usefixtures("one_thread")

D_MODEL, BATCH, N_QUERIES, N_KEYS = 5, 2, 3, 7


@pytest.fixture
def layer():
    set_seed(0)
    return BorrowedAttention(D_MODEL).double()


@pytest.fixture
def queries():
    return torch.randn(
        BATCH, N_QUERIES, D_MODEL, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )


@pytest.fixture
def memory():
    return torch.randn(
        BATCH, N_KEYS, D_MODEL, dtype=torch.float64, generator=torch.Generator().manual_seed(2)
    )


class TestBorrowedAttention:
    @pytest.mark.parity
    @pytest.mark.parametrize("is_causal", [False, True])
    def test_equals_the_formula(self, layer, queries, memory, is_causal):
        if is_causal:
            queries = memory
        output, weights = layer(queries, memory, is_causal=is_causal, return_weights=True)
        scores = layer.query_proj(queries) @ layer.key_proj(memory).mT / D_MODEL**0.5
        if is_causal:
            scores = scores.masked_fill(torch.ones(N_KEYS, N_KEYS).triu(1).bool(), -torch.inf)
        expected = scores.softmax(dim=-1)
        torch.testing.assert_close(weights, expected, **FLOAT64)
        torch.testing.assert_close(output, layer.output_proj(expected @ layer.value_proj(memory)), **FLOAT64)

    def test_asking_for_the_weights_changes_no_output(self, layer, queries, memory):
        output, weights = layer(queries, memory, return_weights=True)
        torch.testing.assert_close(layer(queries, memory), output, **FLOAT64)
        assert weights.shape == (BATCH, N_QUERIES, N_KEYS)

    @pytest.mark.properties
    def test_the_order_of_the_memory_does_not_matter(self, layer, queries, memory):
        order = torch.randperm(N_KEYS, generator=torch.Generator().manual_seed(3))
        torch.testing.assert_close(layer(queries, memory[:, order]), layer(queries, memory), **FLOAT64)

    def test_arguments_are_not_written(self, layer, queries, memory):
        copies = queries.clone(), memory.clone()
        layer(queries, memory, return_weights=True)
        torch.testing.assert_close(queries, copies[0], rtol=0, atol=0)
        torch.testing.assert_close(memory, copies[1], rtol=0, atol=0)

    def test_bad_arguments_are_refused(self, layer, queries, memory):
        with pytest.raises(
            ValueError, match=r"^queries must have d_model=5 as its last axis, got queries.shape=\(2, 3, 4\)$"
        ):
            layer(queries[..., :4], memory)
        with pytest.raises(
            ValueError, match=r"^memory must have at least 3 axes, got memory.shape=\(7, 5\)$"
        ):
            layer(queries, memory[0])
        with pytest.raises(
            TypeError, match=r"^memory must be an array or tensor, got memory of type NoneType$"
        ):
            layer(queries, None)
        with pytest.raises(
            ValueError,
            match=r"^queries and memory must have the same length in a causal call, "
            r"got queries.shape=\(2, 3, 5\), memory.shape=\(2, 7, 5\)$",
        ):
            layer(queries, memory, is_causal=True)
        with pytest.raises(ValueError, match=r"^d_model must be at least 1, got d_model=0$"):
            BorrowedAttention(0)


def recall_loss(model, batch):
    tokens, answer = batch
    return F.cross_entropy(model(tokens), answer)


def recall_accuracy(model, batch):
    tokens, answer = batch
    return (model(tokens).argmax(dim=-1) == answer).float().mean().item()


def train_recall(model, task, steps):
    rng = np.random.default_rng(0)

    def next_batch(size=32, rng=rng):
        batch = task.sample(size, rng)
        return torch.from_numpy(batch.tokens), torch.from_numpy(batch.answer)

    held_out = next_batch(200, np.random.default_rng(1))
    history = train(
        model,
        next_batch,
        recall_loss,
        steps=steps,
        learning_rate=5e-3,
        evaluate=lambda model: recall_accuracy(model, held_out),
    )
    return history.evaluations[-1].value


class TestRecallModel:
    @pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
    @pytest.mark.parametrize("attention", [False, True])
    def test_contract(self, kind, attention):
        model = RecallModel(kind, 11, d_embedding=3, d_hidden=5, attention=attention)
        tokens = torch.arange(14).view(2, 7) % 11
        before = tokens.clone()
        assert model(tokens).shape == (2, 11)
        torch.testing.assert_close(tokens, before, rtol=0, atol=0)
        assert type(model.recurrent).__name__.lower() == kind

    def test_the_map_is_that_of_the_answer(self):
        set_seed(0)
        model = RecallModel("gru", 11, d_embedding=3, d_hidden=5, attention=True)
        tokens = torch.arange(14).view(2, 7) % 11
        logits, weights = model(tokens, return_weights=True)
        torch.testing.assert_close(model(tokens), logits, **FLOAT32)
        assert weights.shape == (2, 7)
        torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2), **FLOAT32)
        states, _ = model.recurrent(model.embedding(tokens))
        scores = (model.readout.query_proj(states[:, -1:]) @ model.readout.key_proj(states).mT)[:, 0]
        torch.testing.assert_close(weights, (scores / 5**0.5).softmax(dim=-1), **FLOAT32)

    @pytest.mark.learning
    def test_attention_learns_what_one_vector_does_not(self):
        task = RecallTask(n_pairs=6, n_keys=6, n_values=6)
        set_seed(0)
        model = RecallModel("gru", task.vocab_size, attention=True)
        assert train_recall(model, task, steps=400) > 0.95
        set_seed(0)
        assert train_recall(RecallModel("gru", task.vocab_size), task, steps=400) < 0.6

    @pytest.mark.learning
    def test_a_model_that_cannot_read_stays_at_chance(self):
        task = RecallTask(n_pairs=1, gap=3, n_keys=4, n_values=4)
        set_seed(0)
        assert train_recall(RecallModel("gru", task.vocab_size), task, steps=150) > 0.95
        set_seed(0)
        blind = RecallModel("gru", task.vocab_size)
        torch.nn.init.zeros_(blind.embedding.weight)
        blind.embedding.requires_grad_(False)
        assert train_recall(blind, task, steps=150) < 0.45

    def test_bad_arguments_are_refused(self):
        with pytest.raises(
            ValueError, match=r"^kind must be one of 'rnn', 'gru', 'lstm', got kind='transformer'$"
        ):
            RecallModel("transformer", 11)
        with pytest.raises(ValueError, match=r"^vocab_size must be at least 2, got vocab_size=1$"):
            RecallModel("gru", 1)
        with pytest.raises(
            ValueError,
            match=r"^return_weights must be False for a model without attention, got return_weights=True$",
        ):
            RecallModel("gru", 11)(torch.zeros(2, 7, dtype=torch.long), return_weights=True)


@pytest.fixture
def translator():
    set_seed(0)
    return EncoderDecoder(11, 13, d_embedding=3, d_hidden=5)


class TestEncoderDecoder:
    SOURCE = torch.tensor([[3, 4, 5, 6, 7], [8, 9, 0, 0, 0]])
    LENGTHS = torch.tensor([5, 2])

    @pytest.mark.properties
    def test_padding_changes_nothing(self, translator):
        target = torch.tensor([[3, 4, 2], [5, 6, 2]])
        garbage = self.SOURCE.clone()
        garbage[1, 2:] = 10
        expected = translator(self.SOURCE, self.LENGTHS, target)
        torch.testing.assert_close(translator(garbage, self.LENGTHS, target), expected, rtol=0, atol=0)
        shorter = translator(self.SOURCE[1:, :2], self.LENGTHS[1:], target[1:])
        torch.testing.assert_close(shorter, expected[1:], **FLOAT32)

    @pytest.mark.properties
    def test_everything_known_of_the_source_is_the_context(self, translator):
        target = torch.tensor([[3, 4, 2], [5, 6, 2]])
        context = translator.encode(self.SOURCE, self.LENGTHS)
        assert context.shape == (2, 5)
        previous = torch.cat([torch.full((2, 1), START), target[:, :-1]], dim=1)
        logits, _ = translator.decode(previous, context)
        torch.testing.assert_close(translator(self.SOURCE, self.LENGTHS, target), logits, **FLOAT32)

    @pytest.mark.properties
    def test_later_target_tokens_change_no_earlier_score(self, translator):
        target = torch.tensor([[3, 4, 5, 2], [5, 6, 7, 2]])
        changed = target.clone()
        changed[:, 2:] = 9
        before = translator(self.SOURCE, self.LENGTHS, target)
        after = translator(self.SOURCE, self.LENGTHS, changed)
        torch.testing.assert_close(before[:, :3], after[:, :3], rtol=0, atol=0)
        assert (before[:, 3] != after[:, 3]).any()

    @pytest.mark.parity
    def test_greedy_decoding_is_what_teacher_forcing_on_its_own_words_predicts(self, translator):
        written = translator.greedy_decode(self.SOURCE, self.LENGTHS, max_tokens=7)
        assert written.shape == (2, 7)
        logits = translator(self.SOURCE, self.LENGTHS, written)
        assert (logits.argmax(dim=-1) == written).all()
        assert not written.requires_grad

    def test_arguments_are_not_written(self, translator):
        source, lengths = self.SOURCE.clone(), self.LENGTHS.clone()
        translator.greedy_decode(source, lengths, max_tokens=2)
        assert (source == self.SOURCE).all()
        assert (lengths == self.LENGTHS).all()

    @pytest.mark.learning
    def test_it_copies_short_strings_and_not_without_its_context(self):
        task = CopyTask(2, 3, n_symbols=5)
        held_out = task.sample(200, np.random.default_rng(1))

        def loss_fn(model, batch):
            source, lengths, target = (
                torch.from_numpy(part) for part in (batch.source, batch.lengths, batch.target)
            )
            return F.cross_entropy(
                model(source, lengths, target).flatten(0, 1), target.flatten(), ignore_index=0
            )

        def exact(model):
            written = model.greedy_decode(
                torch.from_numpy(held_out.source), torch.from_numpy(held_out.lengths), max_tokens=4
            )
            expected = torch.from_numpy(held_out.target)
            return ((written == expected) | (expected == PADDING)).all(dim=1).float().mean().item()

        scores = {}
        for crippled in (False, True):
            set_seed(0)
            model = EncoderDecoder(task.vocab_size, task.vocab_size)
            if crippled:
                for parameter in (*model.encoder.parameters(), *model.context_proj.parameters()):
                    torch.nn.init.zeros_(parameter)
                    parameter.requires_grad_(False)
            rng = np.random.default_rng(0)
            history = train(
                model,
                lambda rng=rng: task.sample(32, rng),
                loss_fn,
                steps=400,
                learning_rate=5e-3,
                evaluate=exact,
            )
            scores[crippled] = history.evaluations[-1].value
        assert scores[False] > 0.9
        assert scores[True] < 0.1

    def test_bad_arguments_are_refused(self, translator):
        with pytest.raises(ValueError, match=r"^max_tokens must be at least 1, got max_tokens=0$"):
            translator.greedy_decode(self.SOURCE, self.LENGTHS, max_tokens=0)
        with pytest.raises(
            ValueError, match=r"^source_vocab_size must be at least 1, got source_vocab_size=0$"
        ):
            EncoderDecoder(0, 3)
        with pytest.raises(
            TypeError, match=r"^target_vocab_size must be an integer, got target_vocab_size=None$"
        ):
            EncoderDecoder(3, None)
