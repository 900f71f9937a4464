"""The span reader equals its definition, never reads padding, and its spans are the best by brute force."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from attncourse.span_reader import SpanReader, best_span, span_f1, span_loss
from attncourse.tasks.passages import PassageTask
from attncourse.training import set_seed, train
from tests.support.tolerances import FLOAT64, GRADIENTS

VOCAB, D_EMBEDDING, D_HIDDEN = 13, 5, 7
N_PASSAGE, N_QUESTION = 11, 3


def make_reader(attention=True):
    set_seed(0)
    return SpanReader(VOCAB, attention=attention, d_embedding=D_EMBEDDING, d_hidden=D_HIDDEN).double().eval()


def make_inputs(lengths=(11, 4), question_lengths=(2, 3)):
    generator = torch.Generator().manual_seed(1)
    passage = torch.randint(1, VOCAB, (2, N_PASSAGE), generator=generator)
    question = torch.randint(1, VOCAB, (2, N_QUESTION), generator=generator)
    return passage, torch.tensor(lengths), question, torch.tensor(question_lengths)


def gru_states(gru, inputs, reverse):
    """Run one direction of a GRU by its equations, one token at a time."""
    suffix = "_reverse" if reverse else ""
    w_input, w_hidden, b_input, b_hidden = (
        getattr(gru, f"{name}_l0{suffix}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    state = torch.zeros(gru.hidden_size, dtype=inputs.dtype)
    states = {}
    places = range(len(inputs))
    for place in reversed(places) if reverse else places:
        of_input, of_state = w_input @ inputs[place] + b_input, w_hidden @ state + b_hidden
        (reset_i, update_i, new_i), (reset_h, update_h, new_h) = of_input.chunk(3), of_state.chunk(3)
        update = torch.sigmoid(update_i + update_h)
        new = torch.tanh(new_i + torch.sigmoid(reset_i + reset_h) * new_h)
        state = (1 - update) * new + update * state
        states[place] = state
    return torch.stack([states[place] for place in places]), state


def by_definition(reader, passage, question):
    """Answer one question about one passage by the docstring's equations, token by token."""

    def matrix(score):
        return score.query_to_key.weight  # (d_key, d_query)

    def read(gru, inputs):
        (forth, last), (back, first) = (gru_states(gru, inputs, reverse) for reverse in (False, True))
        return torch.cat([forth, back], dim=1), torch.cat([last, first])

    embedding = reader.question_encoder.source_embedding.weight
    states, summary = read(reader.question_encoder.gru, embedding[question])
    inputs, to_question = [], []
    for token in passage:
        found = summary
        if reader.has_weights:
            scores = torch.stack([u @ matrix(reader.question_score) @ embedding[token] for u in states])
            to_question.append(torch.softmax(scores, dim=0))
            found = sum(weight * u for weight, u in zip(to_question[-1], states, strict=True))
        found = reader.found_proj(found)
        inputs.append(torch.cat([embedding[token], found, embedding[token] * found]))
    read_states, _ = read(reader.passage_gru, torch.stack(inputs))
    asked, to_passage = summary, None
    if reader.has_weights:
        to_passage = torch.softmax(read_states @ matrix(reader.passage_score) @ summary, dim=0)
        asked = summary + reader.context_proj.weight @ (to_passage @ read_states)
    logits = [read_states @ matrix(score) @ asked for score in (reader.start_score, reader.end_score)]
    return *logits, to_question and torch.stack(to_question), to_passage


class TestSpanReader:
    @pytest.mark.parametrize("attention", [True, False])
    def test_it_equals_its_definition_and_never_reads_padding(self, attention):
        reader = make_reader(attention)
        inputs = make_inputs()
        start, end, *weights = reader(*inputs, return_weights=attention)
        for row in range(2):
            n_passage, n_question = int(inputs[1][row]), int(inputs[3][row])
            wanted = by_definition(reader, inputs[0][row, :n_passage], inputs[2][row, :n_question])
            for got, right in ((start, wanted[0]), (end, wanted[1])):
                torch.testing.assert_close(got[row, :n_passage], right, **FLOAT64)
                assert (got[row, n_passage:] == -math.inf).all()
            if attention:
                question, passage = weights[0].question[row], weights[0].passage[row]
                torch.testing.assert_close(question[:n_passage, :n_question], wanted[2], **FLOAT64)
                torch.testing.assert_close(passage[:n_passage], wanted[3], **FLOAT64)
                assert not question[:, n_question:].any()
                assert not passage[n_passage:].any()

    @pytest.mark.parametrize("attention", [True, False])
    def test_what_stands_behind_the_lengths_changes_nothing(self, attention):
        reader = make_reader(attention)
        passage, lengths, question, question_lengths = make_inputs()
        before = reader(passage, lengths, question, question_lengths)
        passage[1, 4:], question[0, 2:] = 0, 7
        for one, other in zip(before, reader(passage, lengths, question, question_lengths), strict=True):
            torch.testing.assert_close(one, other, **FLOAT64)

    @pytest.mark.parametrize("attention", [True, False])
    def test_inputs_are_not_written_and_every_parameter_learns(self, attention):
        reader = make_reader(attention).train()
        inputs = make_inputs()
        before = [array.clone() for array in inputs]
        loss = span_loss(*reader(*inputs), torch.tensor([3, 0]), torch.tensor([4, 3]))
        loss.backward()
        assert all(torch.equal(one, other) for one, other in zip(inputs, before, strict=True))
        for name, parameter in reader.named_parameters():
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.any(), name

    @pytest.mark.gradients
    @pytest.mark.parametrize("attention", [True, False])
    def test_gradients_are_those_of_finite_differences(self, attention):
        reader = make_reader(attention)
        inputs = make_inputs()
        names, parameters = zip(*reader.named_parameters(), strict=True)
        ends = torch.tensor([3, 0]), torch.tensor([4, 3])

        def loss(*values):
            given = dict(zip(names, values, strict=True))
            return span_loss(*torch.func.functional_call(reader, given, inputs), *ends)

        parameters = tuple(parameter.detach().clone().requires_grad_(True) for parameter in parameters)
        assert torch.autograd.gradcheck(loss, parameters, fast_mode=True)

    def test_without_attention_there_are_fewer_parameters_and_no_weights(self):
        with_weights, without = make_reader(True), make_reader(False)
        assert with_weights.has_weights
        assert not without.has_weights
        extra = set(dict(with_weights.named_parameters())) - set(dict(without.named_parameters()))
        assert {name.split(".")[0] for name in extra} == {"question_score", "passage_score", "context_proj"}
        with pytest.raises(
            ValueError, match=r"^return_weights must be False without attention, got return_weights=True$"
        ):
            without(*make_inputs(), return_weights=True)

    @pytest.mark.parametrize(
        ("change", "error", "text"),
        [
            ({0: torch.zeros(2, 3)}, TypeError, "passage must be of dtype int64, got passage.dtype=float32"),
            (
                {0: torch.full((2, 3), 13)},
                ValueError,
                "passage must hold tokens from 0 to 12, got passage from 13 to 13",
            ),
            (
                {1: torch.tensor([11, 12])},
                ValueError,
                "lengths must lie in 0 … n_keys=11, got lengths from 11 to 12",
            ),
            (
                {1: torch.tensor([11, 0])},
                ValueError,
                r"passage_lengths must be at least 1, got passage_lengths=\[11, 0\]",
            ),
            (
                {1: torch.tensor([11])},
                ValueError,
                "passage_lengths and passage must have the same batch size, got",
            ),
            (
                {2: torch.ones(3, 3, dtype=torch.int64)},
                ValueError,
                r"question and passage must have the same batch size, got question.shape=\(3, 3\), passage",
            ),
            (
                {2: torch.full((2, 3), 13)},
                ValueError,
                "source must hold tokens from 0 to 12, got source from 13 to 13",
            ),
            ({2: [[1]]}, TypeError, "question must be of type Tensor, got question of type list"),
            ({1: torch.ones(2)}, TypeError, "lengths must be integers, got lengths.dtype=float32"),
            ({3: torch.tensor([2, 0])}, ValueError, r"lengths must be at least 1, got lengths=\[2, 0\]"),
        ],
    )
    def test_bad_inputs_are_refused(self, change, error, text):
        inputs = [change.get(place, array) for place, array in enumerate(make_inputs())]
        with pytest.raises(error, match=f"^{text}"):
            make_reader()(*inputs)

    def test_bad_sizes_are_refused(self):
        with pytest.raises(TypeError, match=r"^attention must be of type bool, got attention of type int$"):
            SpanReader(VOCAB, attention=1)
        with pytest.raises(ValueError, match=r"^vocab_size must be at least 1, got vocab_size=0$"):
            SpanReader(0)
        with pytest.raises(ValueError, match=r"^d_hidden must be at least 1, got d_hidden=0$"):
            SpanReader(VOCAB, d_hidden=0)


class TestSpanLoss:
    def test_hand_value(self):
        start = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]], dtype=torch.float64))
        end = torch.log(torch.tensor([[0.2, 0.4, 0.4], [0.25, 0.25, 0.5]], dtype=torch.float64))
        loss = span_loss(start + 3, end - 2, torch.tensor([0, 1]), torch.tensor([1, 2]))
        wanted = -(math.log(0.5) + math.log(0.8) + math.log(0.4) + math.log(0.5)) / 4
        assert loss.item() == pytest.approx(wanted, rel=1e-12)

    @pytest.mark.gradients
    def test_places_behind_the_passage_cost_nothing_and_get_no_gradient(self):
        logits = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64)
        short = span_loss(logits, logits, torch.tensor([0]), torch.tensor([1]))
        padded = torch.cat([logits, torch.full((1, 2), -math.inf)], dim=1).requires_grad_(True)
        long = span_loss(padded, padded, torch.tensor([0]), torch.tensor([1]))
        torch.testing.assert_close(long, short, **FLOAT64)
        long.backward()
        assert padded.grad.isfinite().all()
        wanted = torch.softmax(logits, dim=1) - torch.tensor([[0.5, 0.5, 0.0]])
        torch.testing.assert_close(padded.grad, torch.cat([wanted, torch.zeros(1, 2)], dim=1), **GRADIENTS)

    @pytest.mark.parametrize(
        ("start", "end", "error", "text"),
        [
            (torch.tensor([0.0, 1.0]), torch.tensor([1, 1]), TypeError, "start must be integers, got start"),
            (
                torch.tensor([0]),
                torch.tensor([1, 1]),
                ValueError,
                r"start must have shape \(batch,\)=\(2,\), ",
            ),
            (
                torch.tensor([0, 2]),
                torch.tensor([1, 1]),
                ValueError,
                r"start and end must satisfy 0 <= start <= end < 3, got start=\[0, 2\], end=\[1, 1\]",
            ),
            (
                torch.tensor([0, -1]),
                torch.tensor([1, 1]),
                ValueError,
                "start and end must satisfy 0 <= start",
            ),
            (torch.tensor([0, 1]), torch.tensor([1, 3]), ValueError, "start and end must satisfy 0 <= start"),
            (torch.tensor([0, 1]), [1, 2], TypeError, "end must be of type Tensor, got end of type list"),
        ],
    )
    def test_bad_places_are_refused(self, start, end, error, text):
        with pytest.raises(error, match=f"^{text}"):
            span_loss(torch.zeros(2, 3), torch.zeros(2, 3), start, end)


def best_by_trying(start, end, max_tokens):
    """Return the best span of one passage by trying all, the first of equals."""
    n = len(start)
    spans = [(s, t) for s in range(n) for t in range(s, min(s + max_tokens, n))]
    return max(spans, key=lambda span: start[span[0]] + end[span[1]])


class TestBestSpan:
    @pytest.mark.properties
    @given(
        # Few different values, so that equals are common.
        logits=hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=7)).map(
            lambda array: np.nan_to_num(array, nan=0.0, posinf=2.0, neginf=-2.0).clip(-2, 2).round()
        ),
        max_tokens=st.integers(1, 9),
        seed=st.integers(0, 2**16),
    )
    def test_it_equals_brute_force(self, logits, max_tokens, seed):
        start = torch.from_numpy(logits)
        end = torch.from_numpy(np.random.default_rng(seed).permuted(logits, axis=1))
        found = torch.stack(best_span(start, end, max_tokens=max_tokens), dim=1).tolist()
        wanted = [
            list(best_by_trying(s, e, max_tokens)) for s, e in zip(start.tolist(), end.tolist(), strict=True)
        ]
        assert found == wanted

    def test_peaks_taken_apart_may_cross(self):
        start, end = torch.tensor([[0.0, 1.0, 5.0]]), torch.tensor([[4.0, 2.0, 3.0]])
        assert (start.argmax() > end.argmax()).all()
        assert [place.item() for place in best_span(start, end, max_tokens=2)] == [2, 2]

    def test_padding_is_never_chosen_and_nothing_is_written(self):
        start = torch.tensor([[-9.0, -8.0, -math.inf], [1.0, -math.inf, -math.inf]])
        end = torch.tensor([[-7.0, -8.0, -math.inf], [-50.0, -math.inf, -math.inf]])
        before = start.clone(), end.clone()
        found = best_span(start, end, max_tokens=5)
        assert [places.tolist() for places in found] == [[0, 0], [0, 0]]
        assert torch.equal(start, before[0])
        assert torch.equal(end, before[1])

    def test_bad_arguments_are_refused(self):
        with pytest.raises(ValueError, match=r"^max_tokens must be at least 1, got max_tokens=0$"):
            best_span(torch.zeros(2, 3), torch.zeros(2, 3), max_tokens=0)
        with pytest.raises(
            ValueError,
            match=r"^start_logits and end_logits must have the same shape \(batch, n_passage\), "
            r"got start_logits.shape=\(2, 3\), end_logits.shape=\(2, 4\)$",
        ):
            best_span(torch.zeros(2, 3), torch.zeros(2, 4), max_tokens=1)
        with pytest.raises(
            TypeError, match=r"^end_logits must be of type Tensor, got end_logits of type list$"
        ):
            best_span(torch.zeros(2, 3), [0.0], max_tokens=1)


class TestSpanF1:
    def test_hand_values(self):
        gold = np.array([[2, 4], [2, 4], [2, 4], [5, 5]])
        found = np.array([[2, 4], [3, 7], [5, 6], [4, 5]])
        np.testing.assert_allclose(span_f1(found, gold), [1, 2 * 2 / (5 + 3), 0, 2 * 1 / (2 + 1)])

    @pytest.mark.properties
    @given(
        st.lists(st.tuples(*[st.integers(0, 6), st.integers(0, 4)] * 2), min_size=1, max_size=9),
    )
    def test_it_is_the_harmonic_mean_of_precision_and_recall(self, drawn):
        found = np.array([[s, s + n] for s, n, _, _ in drawn])
        gold = np.array([[s, s + n] for _, _, s, n in drawn])
        got = span_f1(found, gold)
        np.testing.assert_allclose(got, span_f1(gold, found))
        for score, one, other in zip(got, found.tolist(), gold.tolist(), strict=True):
            tokens, right = (set(range(first, last + 1)) for first, last in (one, other))
            precision, recall = (len(tokens & right) / len(side) for side in (tokens, right))
            wanted = 2 * precision * recall / (precision + recall) if tokens & right else 0.0
            assert score == pytest.approx(wanted)

    @pytest.mark.parametrize(
        ("found", "gold", "error", "text"),
        [
            (
                np.zeros((2, 2)),
                np.zeros((2, 2), dtype=int),
                TypeError,
                "found must be integers, got found.dtype",
            ),
            (
                [[1, 2]],
                np.zeros((1, 2), dtype=int),
                TypeError,
                "found must be of type ndarray, got found of type",
            ),
            (
                np.zeros((2, 2), dtype=int),
                np.zeros((2, 3), dtype=int),
                ValueError,
                r"gold must have shape \(batch",
            ),
            (
                np.zeros((2, 2), dtype=int),
                np.array([[1, 0], [0, 0]]),
                ValueError,
                r"gold must not end before it starts, got gold=\[\[1, 0\], \[0, 0\]\]",
            ),
            (
                np.zeros((2, 2), dtype=int),
                np.zeros((3, 2), dtype=int),
                ValueError,
                r"found and gold must have the same batch size, got found.shape=\(2, 2\), gold",
            ),
        ],
    )
    def test_bad_spans_are_refused(self, found, gold, error, text):
        with pytest.raises(error, match=f"^{text}"):
            span_f1(found, gold)


@pytest.mark.learning
@pytest.mark.usefixtures("one_thread")
def test_a_reader_learns_to_answer_with_both_halves_of_the_question():
    task, rng = PassageTask((4, 6)), np.random.default_rng(0)
    pool = task.sample(2500, rng)

    def read(model, batch, **options):
        arrays = batch.passage, batch.passage_lengths, batch.question, batch.question_lengths
        return model(*map(torch.from_numpy, arrays), **options)

    def loss(model, batch):
        return span_loss(*read(model, batch), torch.from_numpy(batch.start), torch.from_numpy(batch.end))

    set_seed(0)
    model = SpanReader(len(task.vocabulary), d_embedding=32, d_hidden=32)
    train(model, lambda: pool.take(rng.integers(len(pool), size=32)), loss, steps=200, learning_rate=1e-2)
    test = task.sample(300, np.random.default_rng(1), held_out=True)
    with torch.no_grad():
        start_logits, end_logits, _ = read(model.eval(), test, return_weights=True)
    found = torch.stack(best_span(start_logits, end_logits, max_tokens=3), dim=1).numpy()
    gold = np.stack([test.start, test.end], axis=1)
    exact = (found == gold).all(axis=1).mean()
    # Who knows one half of what is asked finds the sentence in less than half of the cases.
    assert max(test.ceilings.values()) < 0.55
    assert exact > 0.7
    assert exact <= span_f1(found, gold).mean()
