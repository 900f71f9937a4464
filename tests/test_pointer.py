"""The pointer-generator equals a plain loop, its distribution sums to 1, and it learns to copy new names."""

import copy
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from attncourse.measures import exact_match, pointing_accuracy
from attncourse.pointer import (
    SUMMARISER_KINDS,
    CopyEncoder,
    PointerDecoder,
    build_summariser,
    final_distribution,
    hide_unknown,
)
from attncourse.recurrent_decoders import BahdanauDecoder
from attncourse.seq2seq import BiGRUEncoder, Seq2Seq, sequence_loss
from attncourse.tasks.pairs import END, PADDING, START
from attncourse.tasks.reports import RARE_NAME, ReportTask
from attncourse.training import set_seed, train
from tests.support.tolerances import FLOAT32, FLOAT64, GRADIENTS

pytestmark = pytest.mark.usefixtures("one_thread")

BATCH, N_SOURCE, N_TARGET, VOCAB, UNKNOWN, D_EMBEDDING, D_HIDDEN = 3, 7, 5, 11, 6, 4, 2
LENGTHS = [7, 2, 4]


def make_model(seed=0):
    set_seed(seed)
    model = build_summariser("pointer", VOCAB, UNKNOWN, d_embedding=D_EMBEDDING, d_hidden=D_HIDDEN)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return model.double()


def make_batch():
    """Return sources with rare words (11 and up), one of them twice, and a target that copies them."""
    source = torch.tensor([[4, 11, 7, 12, 11, 4, 5], [11, 8, 0, 0, 0, 0, 0], [9, 11, 12, 13, 0, 0, 0]])
    target = torch.tensor([[11, 7, 12, 2, 0], [8, 11, 2, 0, 0], [13, 10, 11, 12, 2]])
    return source, torch.tensor(LENGTHS), target


def distributions(seed=0, *, batch=2, n_target=3, n_source=5, vocab_size=7, n_words=11):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    return {
        "vocabulary": draw(batch, n_target, vocab_size).softmax(dim=-1),
        "weights": draw(batch, n_target, n_source).softmax(dim=-1),
        "generates": draw(batch, n_target, 1).sigmoid(),
        "words": torch.randint(0, n_words, (batch, n_source), generator=generator),
    }, n_words


def loop_distribution(vocabulary, weights, generates, words, n_words):
    """Return the mixture, one number at a time."""
    result = torch.zeros(*vocabulary.shape[:2], n_words, dtype=vocabulary.dtype)
    for b in range(len(vocabulary)):
        for t in range(vocabulary.shape[1]):
            p = generates[b, t, 0]
            for word in range(n_words):
                generated = vocabulary[b, t, word] if word < vocabulary.shape[-1] else 0.0
                copied = sum(weights[b, t, j] for j in range(words.shape[1]) if words[b, j] == word)
                result[b, t, word] = p * generated + (1 - p) * copied
    return result


class TestFinalDistribution:
    def test_hand_values(self):
        # Half is generated. Word 3 is in no vocabulary and stands twice, word 1 is generated and copied.
        mixed = final_distribution(
            torch.tensor([[[0.2, 0.8, 0.0]]]),
            torch.tensor([[[0.1, 0.5, 0.4]]]),
            torch.tensor([[[0.5]]]),
            torch.tensor([[3, 1, 3]]),
            n_words=5,
        )
        torch.testing.assert_close(mixed, torch.tensor([[[0.1, 0.65, 0.0, 0.25, 0.0]]]), **FLOAT32)

    @pytest.mark.parity
    @pytest.mark.parametrize("seed", range(4))
    def test_equals_a_loop(self, seed):
        parts, n_words = distributions(seed)
        torch.testing.assert_close(
            final_distribution(**parts, n_words=n_words),
            loop_distribution(**parts, n_words=n_words),
            **FLOAT64,
        )

    @given(
        seed=st.integers(0, 1000),
        sizes=st.tuples(
            st.integers(1, 3), st.integers(1, 4), st.integers(1, 6), st.integers(1, 5), st.integers(0, 3)
        ),
    )
    def test_rows_sum_to_one(self, seed, sizes):
        batch, n_target, n_source, vocab_size, extra = sizes
        parts, n_words = distributions(
            seed,
            batch=batch,
            n_target=n_target,
            n_source=n_source,
            vocab_size=vocab_size,
            n_words=vocab_size + extra,
        )
        mixed = final_distribution(**parts, n_words=n_words)
        assert mixed.shape == (batch, n_target, n_words)
        assert (mixed >= 0).all()
        torch.testing.assert_close(mixed.sum(dim=-1), torch.ones(batch, n_target).double(), **FLOAT64)

    def test_gradients_against_differences(self):
        parts, n_words = distributions(batch=1, n_target=2)
        words = parts.pop("words")
        arrays = [part.requires_grad_() for part in parts.values()]
        assert torch.autograd.gradcheck(
            lambda *arrays: final_distribution(*arrays, words, n_words=n_words), arrays
        )

    def test_arguments_are_not_written(self):
        parts, n_words = distributions()
        before = {name: part.clone() for name, part in parts.items()}
        final_distribution(**parts, n_words=n_words)
        for name, part in parts.items():
            torch.testing.assert_close(part, before[name], rtol=0, atol=0)

    @pytest.mark.parametrize(
        ("change", "error", "text"),
        [
            (
                {"vocabulary": np.zeros((2, 3, 7))},
                TypeError,
                "vocabulary must be of type Tensor, got vocabulary of type ndarray",
            ),
            (
                {"weights": torch.zeros(2, 3, 5, dtype=torch.int64)},
                TypeError,
                "weights must be floating point, got weights.dtype=int64",
            ),
            (
                {"weights": torch.zeros(3, 3, 5)},
                ValueError,
                "vocabulary and weights must have the same batch size, "
                "got vocabulary.shape=(2, 3, 7), weights.shape=(3, 3, 5)",
            ),
            (
                {"generates": torch.zeros(2, 4, 1)},
                ValueError,
                "vocabulary and generates must have the same n_target, "
                "got vocabulary.shape=(2, 3, 7), generates.shape=(2, 4, 1)",
            ),
            (
                {"generates": torch.zeros(2, 3, 2)},
                ValueError,
                "generates must have 1 as its last axis, got generates.shape=(2, 3, 2)",
            ),
            (
                {"words": torch.zeros(2, 4, dtype=torch.int64)},
                ValueError,
                "words must name every source position, got words.shape=(2, 4), weights.shape=(2, 3, 5)",
            ),
            (
                {"words": torch.full((2, 5), 11)},
                ValueError,
                "words must hold tokens from 0 to 10, got words from 11 to 11",
            ),
            ({"n_words": 6}, ValueError, "n_words must be at least 7, got n_words=6"),
        ],
    )
    def test_bad_arguments_are_refused(self, change, error, text):
        parts, n_words = distributions()
        with pytest.raises(error, match=f"^{re.escape(text)}$"):
            final_distribution(**({**parts, "n_words": n_words} | change))


@pytest.mark.parity
class TestModel:
    def test_equals_bahdanaus_decoder_a_gate_and_a_loop(self):
        model, (source, lengths, target) = make_model(), make_batch()
        known = hide_unknown(target, VOCAB, UNKNOWN)
        # The reference: a decoder without copying that has the same parameters, and the gate by hand.
        plain = BahdanauDecoder(VOCAB, 2 * D_HIDDEN, d_embedding=D_EMBEDDING, d_hidden=D_HIDDEN).double()
        state = {name: value.clone() for name, value in model.decoder.state_dict().items()}
        gate_row, gate_bias = state["output_proj.weight"][-1], state["output_proj.bias"][-1]
        state["output_proj.weight"], state["output_proj.bias"] = (
            state["output_proj.weight"][:-1],
            state["output_proj.bias"][:-1],
        )
        plain.load_state_dict(state)
        encoder = BiGRUEncoder(VOCAB, d_embedding=D_EMBEDDING, d_hidden=D_HIDDEN).double()
        encoder.load_state_dict(model.encoder.state_dict())
        for row, length in enumerate(LENGTHS):
            one = slice(row, row + 1)
            words = source[one, :length]
            memory = encoder(hide_unknown(words, VOCAB, UNKNOWN), lengths[one])
            at, expected = plain.start(memory), []
            for token in [START, *known[row, :-1].tolist()]:
                logits, weights, at = plain(torch.tensor([[token]]), memory, at)
                context = weights @ memory.states  # (1, 1, d_memory)
                seen = torch.cat([at.hidden[0], context[0, 0], plain.target_embedding.weight[token]])
                p = 1 / (1 + torch.exp(-(gate_row @ seen + gate_bias)))
                expected.append(
                    loop_distribution(logits.softmax(dim=-1), weights, p.view(1, 1, 1), words, n_words=14)[
                        0, 0
                    ]
                )
            got = model(source, lengths, target=known)[row].exp()
            torch.testing.assert_close(got, torch.stack(expected), **FLOAT64)

    def test_gradients_equal_those_of_the_loop(self):
        model, (source, lengths, target) = make_model(), make_batch()
        known = hide_unknown(target, VOCAB, UNKNOWN)
        loss = sequence_loss(model(source, lengths, known), target)
        ours = torch.autograd.grad(loss, model.parameters())
        memory = model.encoder(source, lengths)
        previous = F.pad(known[:, :-1], (1, 0), value=START)
        step = model.decoder.parts(previous, memory, model.decoder.start(memory))
        mixed = loop_distribution(step.vocabulary, step.weights, step.generates, memory.words, 14)
        real = target != PADDING
        picked = mixed.gather(-1, target.unsqueeze(-1)).squeeze(-1)[real]
        torch.testing.assert_close(loss, -picked.log().mean(), **FLOAT64)
        theirs = torch.autograd.grad(-picked.log().mean(), model.parameters())
        for mine, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(mine, other, **GRADIENTS)
            assert mine.any()


@pytest.mark.properties
class TestPromises:
    def test_log_probabilities_sum_to_one(self):
        model, (source, lengths, target) = make_model(), make_batch()
        scored, weights = model(source, lengths, hide_unknown(target, VOCAB, UNKNOWN), return_weights=True)
        assert scored.shape == (BATCH, N_TARGET, 14)
        ones = torch.ones(BATCH, N_TARGET).double()
        torch.testing.assert_close(scored.exp().sum(dim=-1), ones, **FLOAT64)
        torch.testing.assert_close(weights.sum(dim=-1), ones, **FLOAT64)

    def test_a_word_that_stands_twice_gets_both_weights(self):
        model, (source, lengths, target) = make_model(), make_batch()
        memory = model.encoder(source, lengths)
        previous = F.pad(hide_unknown(target, VOCAB, UNKNOWN)[:, :-1], (1, 0), value=START)
        step = model.decoder.parts(previous, memory, model.decoder.start(memory))
        scored = model(source, lengths, hide_unknown(target, VOCAB, UNKNOWN)).exp()
        both = step.weights[0, :, 1] + step.weights[0, :, 4]
        torch.testing.assert_close(scored[0, :, 11], (1 - step.generates[0, :, 0]) * both, **FLOAT64)

    def test_rare_words_have_probability_by_copying_only(self):
        model, (source, lengths, target) = make_model(), make_batch()
        known = hide_unknown(target, VOCAB, UNKNOWN)
        scored = model(source, lengths, known)
        absent = torch.full((N_TARGET, 2), torch.finfo(torch.float64).tiny, dtype=torch.float64).log()
        # Words 12 and 13 do not stand in the second source: nothing can give them probability there.
        torch.testing.assert_close(scored[1, :, 12:], absent, **FLOAT64)
        assert (scored[0, :, 11:13] > absent.max()).all()
        with torch.no_grad():
            model.decoder.output_proj.bias[-1] = 800.0  # the gate always generates
        scored = model(source, lengths, known).exp()
        assert (scored[..., VOCAB:] < 1e-200).all()
        with torch.no_grad():
            model.decoder.output_proj.bias[-1] = -800.0  # the gate always copies
        scored = model(source, lengths, known).exp()
        assert (scored[0, :, [3, 6, 8, 9, 10]] < 1e-200).all()

    def test_gradients_are_finite_where_a_word_is_impossible(self):
        model, (source, lengths, target) = make_model(), make_batch()
        known = hide_unknown(target, VOCAB, UNKNOWN)
        with torch.no_grad():
            model.decoder.output_proj.bias[-1] = 800.0
        impossible = target.clone()
        impossible[1, 0] = 13
        for dtype in (torch.float64, torch.float32):
            loss = sequence_loss(model.to(dtype)(source, lengths, known), impossible)
            assert torch.isfinite(loss)
            for gradient in torch.autograd.grad(loss, model.parameters()):
                assert torch.isfinite(gradient).all()

    def test_padding_changes_nothing(self):
        model, (source, lengths, target) = make_model(), make_batch()
        known = hide_unknown(target, VOCAB, UNKNOWN)
        want = torch.autograd.grad(sequence_loss(model(source, lengths, known), target), model.parameters())
        dirty = torch.where(torch.arange(N_SOURCE) < lengths[:, None], source, 17)
        for other in (dirty, F.pad(source, (0, 3))):
            torch.testing.assert_close(model(other, lengths, known), model(source, lengths, known), **FLOAT64)
            got = torch.autograd.grad(sequence_loss(model(other, lengths, known), target), model.parameters())
            torch.testing.assert_close(got, want, **GRADIENTS)
            torch.testing.assert_close(
                model.greedy_decode(other, lengths, max_tokens=6),
                model.greedy_decode(source, lengths, max_tokens=6),
            )

    def test_reports_of_a_batch_do_not_meet(self):
        model, (source, lengths, target) = make_model(), make_batch()
        known = hide_unknown(target, VOCAB, UNKNOWN)
        scored = model(source, lengths, known)
        for row in range(BATCH):
            one = slice(row, row + 1)
            alone = model(source[one], lengths[one], known[one])
            torch.testing.assert_close(alone[0], scored[row, :, : alone.shape[-1]], **FLOAT64)

    def test_other_rare_words_are_copied_alike(self):
        # The model never sees which rare word stands there: other numbers only rename what it writes.
        model, (source, lengths, _) = make_model(), make_batch()
        swap = torch.arange(14)
        swap[[11, 12, 13]] = torch.tensor([13, 11, 12])
        written = model.greedy_decode(source, lengths, max_tokens=6)
        torch.testing.assert_close(model.greedy_decode(swap[source], lengths, max_tokens=6), swap[written])

    def test_every_word_written_is_the_likeliest_after_those_before_it(self):
        extended = False
        for seed in range(6):
            model, (source, lengths, _) = make_model(seed), make_batch()
            written, weights = model.greedy_decode(source, lengths, max_tokens=9, return_weights=True)
            scored = model(source, lengths, hide_unknown(written, VOCAB, UNKNOWN))
            best = scored[..., END:].argmax(dim=-1) + END
            before_end = (written == END).cumsum(dim=1) - (written == END).int() == 0
            torch.testing.assert_close(written, torch.where(before_end, best, PADDING), rtol=0, atol=0)
            assert weights.shape == (*written.shape, N_SOURCE)
            extended |= bool((written >= VOCAB).any())
        assert extended

    def test_arguments_are_not_written(self):
        model, batch = make_model(), make_batch()
        copies = copy.deepcopy(batch)
        sequence_loss(model(*batch[:2], hide_unknown(batch[2], VOCAB, UNKNOWN)), batch[2]).backward()
        model.greedy_decode(*batch[:2], max_tokens=3)
        for array, before in zip(batch, copies, strict=True):
            torch.testing.assert_close(array, before, rtol=0, atol=0)

    def test_without_rare_words_the_numbers_are_those_of_the_vocabulary(self):
        model, (source, lengths, target) = make_model(), make_batch()
        source, target = hide_unknown(source, VOCAB, UNKNOWN), hide_unknown(target, VOCAB, UNKNOWN)
        assert model(source, lengths, target).shape == (BATCH, N_TARGET, VOCAB)


class TestBuilding:
    def test_kinds(self):
        set_seed(0)
        counts = {}
        for kind in SUMMARISER_KINDS:
            model = build_summariser(kind, VOCAB, UNKNOWN, d_embedding=D_EMBEDDING, d_hidden=D_HIDDEN)
            assert isinstance(model, Seq2Seq)
            counts[kind] = sum(parameter.numel() for parameter in model.parameters())
        # The gate is one row more: as many weights as the state, the context and the embedding, and a bias.
        assert counts["pointer"] == counts["attention"] + D_HIDDEN + 2 * D_HIDDEN + D_EMBEDDING + 1
        assert counts["none"] < counts["attention"]

    def test_hide_unknown(self):
        tokens = torch.tensor([[3, 10, 11, 99]])
        assert hide_unknown(tokens, VOCAB, UNKNOWN).tolist() == [[3, 10, 6, 6]]
        assert tokens.tolist() == [[3, 10, 11, 99]]

    def test_bad_arguments_are_refused(self):
        with pytest.raises(
            ValueError, match=r"^kind must be one of 'none', 'attention', 'pointer', got kind='x'$"
        ):
            build_summariser("x", VOCAB, UNKNOWN)
        for make in (
            lambda: [build_summariser(kind, VOCAB, VOCAB) for kind in ("none",)],
            lambda: build_summariser("pointer", VOCAB, VOCAB),
            lambda: CopyEncoder(VOCAB, VOCAB),
            lambda: PointerDecoder(VOCAB, 4, VOCAB),
            lambda: hide_unknown(torch.zeros(1, 1, dtype=torch.int64), VOCAB, VOCAB),
        ):
            with pytest.raises(ValueError, match=r"^unknown must be below vocab_size=11, got unknown=11$"):
                make()
        with pytest.raises(TypeError, match=r"^unknown must be an integer, got unknown=1.5$"):
            CopyEncoder(VOCAB, 1.5)
        with pytest.raises(TypeError, match=r"^tokens must be of type Tensor, got tokens of type list$"):
            hide_unknown([1], VOCAB, UNKNOWN)
        model, (source, lengths, target) = make_model(), make_batch()
        with pytest.raises(TypeError, match=r"^source must be of dtype int64, got source.dtype=int32$"):
            model.encoder(source.int(), lengths)
        with pytest.raises(
            ValueError, match=r"^target must hold tokens from 0 to 10, got target from 0 to 13$"
        ):
            model(source, lengths, target)


@pytest.mark.learning
def test_copies_names_that_no_training_saw():
    task, rng = ReportTask(rare_share=1.0, max_sentences=4), np.random.default_rng(0)
    trained = task.encode(task.draw(1500, rng))
    held_out = task.encode(task.draw(100, rng, held_out=True))
    n_known = len(task.vocabulary)
    set_seed(0)
    model = build_summariser("pointer", n_known, task.unknown, d_hidden=32)

    def tensors(batch):
        return tuple(torch.from_numpy(part) for part in (batch.source, batch.lengths, batch.target))

    def loss_fn(model, batch):
        source, lengths, target = tensors(batch)
        return sequence_loss(model(source, lengths, hide_unknown(target, n_known, task.unknown)), target)

    train(model, lambda: trained.sample(32, rng), loss_fn, steps=120, learning_rate=1e-2)
    model.eval()
    source, lengths, target = tensors(held_out)
    written = model.greedy_decode(source, lengths, max_tokens=14).numpy()
    assert exact_match(written, held_out.target).mean() > 0.5
    with torch.no_grad():
        _, weights = model(source, lengths, hide_unknown(target, n_known, task.unknown), return_weights=True)
    rare = held_out.classes == RARE_NAME
    right = pointing_accuracy(weights.double().numpy(), held_out.gold & rare[..., None])
    control = pointing_accuracy(weights.double().numpy().copy()[::-1].copy(), held_out.gold & rare[..., None])
    assert right > 0.8
    assert control < 0.5
