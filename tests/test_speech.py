"""Encoder of sound, decoders that know where they looked, and walks that never turn back."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from attncourse.ctc import CTCRecogniser, ctc_loss
from attncourse.recurrent_decoders import BahdanauDecoder, BahdanauState, Memory
from attncourse.seq2seq import Seq2Seq, sequence_loss
from attncourse.speech import (
    RECOGNISER_KINDS,
    AudioEncoder,
    LocationAwareDecoder,
    MonotonicDecoder,
    build_recogniser,
    expected_alignment,
    hard_alignment,
    recognition_loss,
)
from attncourse.speech_measures import character_error_rate, monotonicity
from attncourse.training import set_seed
from tests.support.tolerances import FLOAT32, FLOAT64, GRADIENTS

BATCH, N_SOURCE, N_TARGET, VOCAB, D_MEMORY, D_EMBEDDING, D_HIDDEN = 2, 11, 5, 7, 6, 4, 3
LENGTHS = [11, 4]


def make_encoder(n_bands=3, d_memory=13):
    set_seed(0)
    encoder = AudioEncoder(n_bands, d_memory)
    with torch.no_grad():
        for norm in (encoder.input_norm, *encoder.norms):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2.0)
            norm.weight.normal_()
            norm.bias.normal_()
    return encoder.double()


def make_sound(batch=3, n_frames=67, n_bands=3, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, n_frames, n_bands, generator=generator, dtype=torch.float64)


def make_decoder(decoder_class, seed=0, **options):
    set_seed(seed)
    decoder = decoder_class(VOCAB, D_MEMORY, d_embedding=D_EMBEDDING, d_hidden=D_HIDDEN, **options)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return decoder.double().eval()


def make_memory(seed=1):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.arange(N_SOURCE) < torch.tensor(LENGTHS)[:, None]
    states = torch.randn(BATCH, N_SOURCE, D_MEMORY, generator=generator, dtype=torch.float64)
    summary = torch.randn(BATCH, D_MEMORY, generator=generator, dtype=torch.float64)
    return Memory(states * mask.unsqueeze(-1), summary, torch.tensor(LENGTHS), mask.unsqueeze(1))


def make_previous(seed=2):
    return torch.randint(0, VOCAB, (BATCH, N_TARGET), generator=torch.Generator().manual_seed(seed))


def run(decoder, memory):
    logits, weights, _ = decoder(make_previous(), memory, decoder.start(memory))
    return logits, weights


class TestEncoder:
    @pytest.mark.parity
    @pytest.mark.parametrize("training", [False, True])
    def test_one_sequence_is_a_stack_of_torch_layers(self, training):
        encoder, sound = make_encoder(), make_sound(batch=1)
        layers = [encoder.input_norm]
        for convolution, norm in zip(encoder.convolutions, encoder.norms, strict=True):
            layers += [convolution, norm, nn.ReLU()]
        stack = nn.Sequential(*layers).train(training)
        expected = stack(sound.mT).mT
        memory = encoder.train(training)(sound, torch.tensor([67]))
        torch.testing.assert_close(memory.states, expected, **FLOAT64)
        torch.testing.assert_close(memory.summary, expected.mean(dim=1), **FLOAT64)

    def test_four_frames_make_one_state(self):
        lengths = torch.tensor([67, 33, 1])
        memory = make_encoder().eval()(make_sound(), lengths)
        assert memory.lengths.tolist() == [17, 9, 1]
        assert memory.states.shape == (3, 17, 13)
        assert memory.mask.shape == (3, 1, 17)
        assert memory.mask.sum(dim=-1).flatten().tolist() == [17, 9, 1]
        assert not (memory.states * ~memory.mask.mT).any()
        assert AudioEncoder.stride == 4

    @pytest.mark.parametrize("training", [False, True])
    def test_what_stands_behind_the_length_changes_nothing(self, training):
        lengths, sound = torch.tensor([67, 33, 1]), make_sound()
        garbage = torch.where(torch.arange(67)[:, None] < lengths[:, None, None], sound, 1e3)
        encoder, other = make_encoder().train(training), make_encoder().train(training)
        for got, want in zip(encoder(garbage, lengths), other(sound, lengths), strict=True):
            torch.testing.assert_close(got, want, rtol=0, atol=0)
        for got, want in zip(encoder.buffers(), other.buffers(), strict=True):
            torch.testing.assert_close(got, want, rtol=0, atol=0)

    def test_in_evaluation_every_sequence_is_on_its_own(self):
        lengths, sound = torch.tensor([67, 33, 1]), make_sound()
        encoder = make_encoder().eval()
        memory = encoder(sound, lengths)
        for row, length in enumerate(lengths):
            alone = encoder(sound[row : row + 1, :length], lengths[row : row + 1])
            n = int(alone.lengths)
            torch.testing.assert_close(memory.states[row, :n], alone.states[0], **FLOAT64)
            torch.testing.assert_close(memory.summary[row], alone.summary[0], **FLOAT64)

    def test_in_training_real_frames_alone_are_normalised(self):
        encoder, sound = make_encoder().train(), make_sound(batch=2)
        with torch.no_grad():
            encoder.input_norm.momentum = 1.0
        encoder(sound, torch.tensor([67, 33]))
        real = torch.cat([sound[0], sound[1, :33]])
        torch.testing.assert_close(encoder.input_norm.running_mean, real.mean(dim=0), **FLOAT64)
        torch.testing.assert_close(encoder.input_norm.running_var, real.var(dim=0), **FLOAT64)

    def test_the_receptive_field_is_as_wide_as_it_says(self):
        encoder, sound = make_encoder().eval(), make_sound(batch=1).requires_grad_()
        memory = encoder(sound, torch.tensor([67]))
        (gradient,) = torch.autograd.grad(memory.states[0, 8].sum(), sound)
        reached = gradient[0].any(dim=-1).nonzero().flatten()
        half = (AudioEncoder.receptive_field - 1) // 2
        assert (int(reached.min()), int(reached.max())) == (32 - half, 32 + half)

    @pytest.mark.properties
    def test_equal_sounds_make_equal_states_wherever_they_are(self):
        encoder = make_encoder().eval()
        sound = make_sound(batch=1, n_frames=200)
        later = torch.cat([make_sound(batch=1, n_frames=40, seed=9), sound], dim=1)
        states = encoder(sound, torch.tensor([200])).states
        moved = encoder(later, torch.tensor([240])).states[:, 10:]
        border = -(-AudioEncoder.receptive_field // 2 // AudioEncoder.stride)
        torch.testing.assert_close(moved[:, border:], states[:, border:], **FLOAT64)
        assert (moved[:, 0] != states[:, 0]).any()

    def test_arguments_are_not_written(self):
        sound, lengths = make_sound(), torch.tensor([67, 33, 1])
        copies = sound.clone(), lengths.clone()
        make_encoder()(sound, lengths)
        assert torch.equal(sound, copies[0])
        assert torch.equal(lengths, copies[1])

    @pytest.mark.parametrize(
        ("source", "lengths", "error", "text"),
        [
            ([[[0.0]]], torch.tensor([1]), TypeError, "source must be of type Tensor"),
            (
                torch.zeros(1, 9, 3, dtype=torch.int64),
                torch.tensor([1]),
                TypeError,
                "source must be floating",
            ),
            (torch.zeros(9, 3), torch.tensor([1]), ValueError, "source must have at least 3 axes"),
            (
                torch.zeros(1, 9, 4),
                torch.tensor([1]),
                ValueError,
                r"source must have n_bands=3 as its last axis, got source.shape=\(1, 9, 4\)",
            ),
            (
                torch.zeros(2, 9, 3),
                torch.tensor([9]),
                ValueError,
                r"source and lengths must have the same batch size, got source.shape=\(2, 9, 3\)",
            ),
            (
                torch.zeros(1, 9, 3),
                torch.tensor([0]),
                ValueError,
                r"lengths must be at least 1, got lengths=\[0\]",
            ),
            (torch.zeros(1, 9, 3), torch.tensor([10]), ValueError, "lengths must"),
        ],
    )
    def test_bad_sources_are_refused(self, source, lengths, error, text):
        with pytest.raises(error, match=f"^{text}"):
            AudioEncoder(3, 5)(source, lengths)

    def test_bad_sizes_are_refused(self):
        with pytest.raises(ValueError, match=r"^n_bands must be at least 1, got n_bands=0$"):
            AudioEncoder(0)
        with pytest.raises(TypeError, match=r"^d_memory must be an integer, got d_memory=2.0$"):
            AudioEncoder(3, 2.0)


@pytest.mark.properties
@pytest.mark.parametrize("decoder_class", [LocationAwareDecoder, MonotonicDecoder])
class TestBothDecoders:
    def test_hidden_memory_changes_nothing(self, decoder_class):
        decoder, memory = make_decoder(decoder_class), make_memory()
        for training in (False, True):
            decoder.train(training)
            set_seed(3)
            logits, weights = run(decoder, memory)
            garbage = memory._replace(states=memory.states + 100.0 * ~memory.mask.mT)
            set_seed(3)
            got, rows = run(decoder, garbage)
            torch.testing.assert_close(got, logits, **FLOAT64)
            torch.testing.assert_close(rows, weights, **FLOAT64)
            assert not rows[1, :, LENGTHS[1] :].any()

    def test_one_token_at_a_time_is_the_same(self, decoder_class):
        decoder, memory = make_decoder(decoder_class), make_memory()
        logits, weights = run(decoder, memory)
        state, steps = decoder.start(memory), []
        for token in make_previous().split(1, dim=1):
            *step, state = decoder(token, memory, state)
            steps.append(step)
        for whole, parts in zip((logits, weights), zip(*steps, strict=True), strict=True):
            torch.testing.assert_close(torch.cat(parts, dim=1), whole, **FLOAT64)

    def test_the_last_look_before_the_first_is_at_the_first_state(self, decoder_class):
        decoder, memory = make_decoder(decoder_class), make_memory()
        state = decoder.start(memory)
        assert state.weights[:, 0].argmax(dim=-1).tolist() == [0, 0]
        assert state.weights.sum(dim=-1).flatten().tolist() == [1.0, 1.0]
        hidden = torch.tanh(decoder.start_proj(memory.summary))
        torch.testing.assert_close(state.hidden, hidden, **FLOAT64)

    def test_arguments_are_not_written(self, decoder_class):
        decoder, memory, previous = make_decoder(decoder_class), make_memory(), make_previous()
        state = decoder.start(memory)
        for training in (False, True):
            decoder.train(training)
            tensors = [previous, *memory, *state]
            copies = [tensor.detach().clone() for tensor in tensors]
            decoder(previous, memory, state)
            for tensor, before in zip(tensors, copies, strict=True):
                torch.testing.assert_close(tensor.detach(), before, rtol=0, atol=0)

    @pytest.mark.gradients
    def test_gradients_of_the_memory(self, decoder_class):
        decoder, memory = make_decoder(decoder_class).train(), make_memory()

        def logits(states, summary):
            set_seed(4)
            return run(decoder, memory._replace(states=states, summary=summary))[0]

        inputs = memory.states.clone().requires_grad_(), memory.summary.clone().requires_grad_()
        assert torch.autograd.gradcheck(logits, inputs)

    def test_every_parameter_learns(self, decoder_class):
        decoder, memory = make_decoder(decoder_class).train(), make_memory()
        gradients = torch.autograd.grad(run(decoder, memory)[0].square().sum(), list(decoder.parameters()))
        assert all(gradient.any() for gradient in gradients)

    def test_bad_sizes_are_refused(self, decoder_class):
        with pytest.raises(ValueError, match=r"^d_hidden must be at least 1, got d_hidden=0$"):
            decoder_class(VOCAB, D_MEMORY, d_hidden=0)


class TestLocationAware:
    @pytest.mark.parity
    def test_the_formula_written_out(self):
        decoder, memory = make_decoder(LocationAwareDecoder, n_filters=2, width=5), make_memory()
        row = torch.rand(BATCH, 1, N_SOURCE, dtype=torch.float64)
        state = BahdanauState(torch.randn(BATCH, D_HIDDEN, dtype=torch.float64), row)
        context, weights = decoder.look_back(state, decoder.score.key_proj(memory.states), memory)
        filters = decoder.location_filters.weight[:, 0]  # (n_filters, width)
        score = decoder.score
        for text, length in enumerate(LENGTHS):
            scores = []
            for j in range(length):
                near = [row[text, 0, j + d] if 0 <= j + d < N_SOURCE else 0.0 for d in range(-2, 3)]
                features = torch.stack([sum(w * a for w, a in zip(f, near, strict=True)) for f in filters])
                hidden = (
                    score.query_proj.weight @ state.hidden[text]
                    + score.key_proj.weight @ memory.states[text, j]
                    + score.key_proj.bias
                    + decoder.location_proj.weight @ features
                )
                scores.append(score.readout.weight[0] @ torch.tanh(hidden))
            expected = torch.stack(scores).softmax(dim=0)
            torch.testing.assert_close(weights[text, 0, :length], expected, **FLOAT64)
            torch.testing.assert_close(context[text, 0], expected @ memory.states[text, :length], **FLOAT64)

    def test_without_location_it_is_content_only(self):
        decoder, memory = make_decoder(LocationAwareDecoder), make_memory()
        content = make_decoder(BahdanauDecoder)
        shared = {n: value for n, value in decoder.state_dict().items() if "location" not in n}
        content.load_state_dict(shared)
        assert (run(decoder, memory)[1] != run(content, memory)[1]).any()
        with torch.no_grad():
            decoder.location_proj.weight.zero_()
        for got, want in zip(run(decoder, memory), run(content, memory), strict=True):
            torch.testing.assert_close(got, want, **FLOAT64)

    @pytest.mark.properties
    def test_where_all_states_are_equal_the_look_moves_with_the_last_one(self):
        decoder, memory = make_decoder(LocationAwareDecoder, n_filters=2, width=3), make_memory()
        same = memory._replace(
            states=memory.states[:, :1].expand(-1, N_SOURCE, -1), mask=torch.ones_like(memory.mask)
        )
        key = decoder.score.key_proj(same.states)
        hidden = decoder.start(same).hidden
        looks = []
        for place in (3, 5):
            row = F.one_hot(torch.tensor([[place]] * BATCH), N_SOURCE).double()
            looks.append(decoder.look_back(BahdanauState(hidden, row), key, same)[1])
        torch.testing.assert_close(looks[0].roll(2, dims=-1), looks[1], **FLOAT64)
        assert (looks[0] != looks[1]).any()

    def test_bad_filters_are_refused(self):
        with pytest.raises(ValueError, match=r"^width must be odd, got width=30$"):
            LocationAwareDecoder(VOCAB, D_MEMORY, width=30)
        with pytest.raises(ValueError, match=r"^n_filters must be at least 1, got n_filters=0$"):
            LocationAwareDecoder(VOCAB, D_MEMORY, n_filters=0)
        with pytest.raises(TypeError, match=r"^width must be an integer, got width=3.0$"):
            LocationAwareDecoder(VOCAB, D_MEMORY, width=3.0)


def walk(stops, begin):
    """Return where a walk from ``begin`` on stops, one decision at a time; None if it runs off the end."""
    for place in range(begin, len(stops)):
        if stops[place]:
            return place
    return None


def draw_walk(seed, n_source=6):
    generator = torch.Generator().manual_seed(seed)
    energies = 2 * torch.randn(n_source, generator=generator, dtype=torch.float64)
    previous = torch.rand(n_source, generator=generator, dtype=torch.float64)
    return energies, 0.9 * previous / previous.sum()


class TestExpectedAlignment:
    @pytest.mark.parity
    @pytest.mark.parametrize("seed", range(3))
    def test_it_is_the_sum_over_all_begins_and_decisions(self, seed):
        energies, previous = draw_walk(seed)
        p = energies.sigmoid()
        expected = torch.zeros(6, dtype=torch.float64)
        for decisions in itertools.product([0, 1], repeat=6):
            chance = torch.where(torch.tensor(decisions) == 1, p, 1 - p).prod()
            for begin in range(6):
                stop = walk(decisions, begin)
                if stop is not None:
                    expected[stop] += previous[begin] * chance
        mask = torch.ones(6, dtype=torch.bool)
        torch.testing.assert_close(expected_alignment(energies, previous, mask), expected, **FLOAT64)

    @pytest.mark.parity
    def test_it_follows_the_recurrence_of_the_paper(self):
        energies = torch.randn(3, 4, 13, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        previous = torch.rand(3, 4, 13, dtype=torch.float64) / 13
        p, reached, columns = energies.sigmoid(), torch.zeros(3, 4, dtype=torch.float64), []
        for j in range(13):
            passed = (1 - p[..., j - 1]) * reached if j else 0.0
            reached = passed + previous[..., j]
            columns.append(p[..., j] * reached)
        mask = torch.ones(13, dtype=torch.bool)
        got = expected_alignment(energies, previous, mask)
        torch.testing.assert_close(got, torch.stack(columns, dim=-1), **FLOAT64)

    @pytest.mark.properties
    @given(seed=st.integers(0, 2**16), length=st.integers(1, 6))
    def test_mass_never_moves_back_nor_grows(self, seed, length):
        energies, previous = draw_walk(seed)
        mask = torch.arange(6) < length
        previous = previous * mask
        row = expected_alignment(energies, previous, mask)
        assert (row >= 0).all()
        assert (row.cumsum(dim=0) <= previous.cumsum(dim=0) + 1e-12).all()
        assert not row[length:].any()

    @pytest.mark.properties
    def test_sure_decisions_make_the_hard_walk(self):
        mask = torch.ones(5, dtype=torch.bool)
        for decisions in itertools.product([-800.0, 800.0], repeat=5):
            energies = torch.tensor(decisions, dtype=torch.float64)
            for begin in range(5):
                previous = F.one_hot(torch.tensor(begin), 5).double()
                soft = expected_alignment(energies, previous, mask)
                torch.testing.assert_close(soft, hard_alignment(energies, previous, mask), **FLOAT64)

    @pytest.mark.gradients
    def test_gradients(self):
        energies, previous = draw_walk(0)
        mask = torch.arange(6) < 5

        def row(energies, previous):
            return expected_alignment(energies, previous, mask)

        assert torch.autograd.gradcheck(row, (energies.requires_grad_(), previous.requires_grad_()))

    def test_huge_energies_leave_values_and_gradients_finite(self):
        for size in (1e3, 1e30):
            energies = (size * torch.tensor([-1.0, 1.0] * 50)).requires_grad_()
            previous = torch.full((100,), 0.01)
            row = expected_alignment(energies, previous, torch.ones(100, dtype=torch.bool))
            (gradient,) = torch.autograd.grad(row.square().sum(), energies)
            assert row.isfinite().all()
            assert gradient.isfinite().all()

    def test_a_long_walk_keeps_its_chances(self):
        # After 2,000 states with p = 1/100, what is left is .99^2000 = 2e-9: no underflow, no division by it.
        energies = torch.full((2000,), 0.01).logit()
        previous = torch.zeros(2000)
        previous[0] = 1.0
        row = expected_alignment(energies, previous, torch.ones(2000, dtype=torch.bool))
        expected = 0.01 * 0.99 ** torch.arange(2000, dtype=torch.float64)
        torch.testing.assert_close(row.double(), expected, rtol=2e-3, atol=1e-12)


class TestHardAlignment:
    @pytest.mark.parity
    def test_it_is_the_walk_one_decision_at_a_time(self):
        for decisions in itertools.product([-1.0, 0.0, 2.0], repeat=4):
            for begin, length in itertools.product(range(4), range(1, 5)):
                energies, mask = torch.tensor(decisions), torch.arange(4) < length
                row = hard_alignment(energies, F.one_hot(torch.tensor(begin), 4).float(), mask)
                stop = walk([energy > 0 for energy in decisions[:length]], begin)
                assert row.nonzero().flatten().tolist() == ([] if stop is None else [stop])
                assert row.sum() in (0, 1)

    def test_who_has_run_off_the_end_stays_there(self):
        mask = torch.ones(3, dtype=torch.bool)
        assert not hard_alignment(torch.ones(3), torch.zeros(3), mask).any()

    def test_arguments_are_not_written(self):
        for align in (expected_alignment, hard_alignment):
            energies, previous = draw_walk(0)
            mask = torch.arange(6) < 5
            copies = energies.clone(), previous.clone(), mask.clone()
            align(energies, previous, mask)
            for array, before in zip((energies, previous, mask), copies, strict=True):
                assert torch.equal(array, before)


class TestMonotonicDecoder:
    def energies(self, decoder, state, memory):
        """Return the energies of one step, written out."""
        direction = decoder.score.readout.weight[0] / decoder.score.readout.weight[0].norm()
        query = state.hidden @ decoder.score.query_proj.weight.T
        key = memory.states @ decoder.score.key_proj.weight.T + decoder.score.key_proj.bias
        return decoder.scale * (torch.tanh(query.unsqueeze(1) + key) @ direction) + decoder.offset

    @pytest.mark.parity
    @pytest.mark.parametrize("may_stay", [False, True])
    def test_in_evaluation_it_walks_and_reads_each_state_once(self, may_stay):
        memory, stopped = make_memory(), 0
        for seed in range(10):
            decoder = make_decoder(MonotonicDecoder, seed=seed, may_stay=may_stay)
            _, weights = run(decoder, memory)
            state = decoder.start(memory)
            places, reads = [0, 0], [[], []]
            for step, token in enumerate(make_previous().split(1, dim=1)):
                energies = self.energies(decoder, state, memory)
                for text, length in enumerate(LENGTHS):
                    stop = None
                    if places[text] is not None:
                        begin = places[text] if may_stay else places[text] + 1
                        stop = walk([energy > 0 for energy in energies[text, :length]], begin)
                        reads[text] += range(begin, length if stop is None else stop + 1)
                    places[text] = stop
                    found = weights[text, step].nonzero().flatten().tolist()
                    assert found == ([] if stop is None else [stop])
                    stopped += stop is not None
                *_, state = decoder(token, memory, state)
            for text in range(BATCH):
                assert reads[text] == sorted(reads[text])
                if not may_stay:
                    assert len(set(reads[text])) == len(reads[text])
        assert stopped > 20

    @pytest.mark.parity
    @pytest.mark.parametrize("may_stay", [False, True])
    def test_in_training_it_weighs_by_chances(self, may_stay):
        decoder, memory = make_decoder(MonotonicDecoder, noise=0.0, may_stay=may_stay).train(), make_memory()
        state = decoder.start(memory)
        for token in make_previous().split(1, dim=1):
            begin = state.weights[:, 0]
            if not may_stay:
                begin = torch.cat([torch.zeros(BATCH, 1, dtype=torch.float64), begin[:, :-1]], dim=1)
            energies = self.energies(decoder, state, memory)
            expected = expected_alignment(energies, begin, memory.mask[:, 0])
            _, weights, state = decoder(token, memory, state)
            torch.testing.assert_close(weights[:, 0], expected, **FLOAT64)

    def test_the_length_of_the_readout_does_not_matter(self):
        decoder, memory = make_decoder(MonotonicDecoder, noise=0.0).train(), make_memory()
        logits, weights = run(decoder, memory)
        with torch.no_grad():
            decoder.score.readout.weight.mul_(7.0)
        for got, want in zip(run(decoder, memory), (logits, weights), strict=True):
            torch.testing.assert_close(got, want, **GRADIENTS)

    def test_the_noise_is_drawn_in_training_alone(self):
        decoder, memory = make_decoder(MonotonicDecoder), make_memory()
        torch.testing.assert_close(run(decoder, memory)[1], run(decoder, memory)[1], rtol=0, atol=0)
        decoder.train()
        set_seed(1)
        first = run(decoder, memory)[1]
        assert (run(decoder, memory)[1] != first).any()
        set_seed(1)
        torch.testing.assert_close(run(decoder, memory)[1], first, rtol=0, atol=0)

    def test_the_noise_has_its_strength(self):
        # With scale 0 the energies are offset + noise, the same at all states but for the noise.
        decoder, memory = make_decoder(MonotonicDecoder, noise=3.0).train(), make_memory()
        with torch.no_grad():
            decoder.scale.zero_()
            decoder.offset.fill_(0.5)
        key, state = decoder.score.key_proj(memory.states), decoder.start(memory)
        set_seed(0)
        draws = torch.stack([decoder.look_back(state, key, memory)[1][0, 0, 1] for _ in range(4000)])
        # The walk begins at state 1: its weight is the chance of stopping there.
        energies = draws.logit()
        assert abs(energies.mean().item() - 0.5) < 0.25  # five standard deviations
        assert abs(energies.std().item() / 3.0 - 1) < 0.06

    def test_behind_the_end_there_is_nothing_and_all_stays_finite(self):
        decoder, memory = make_decoder(MonotonicDecoder), make_memory()
        with torch.no_grad():
            decoder.offset.fill_(-100.0)
        states = memory.states.clone().requires_grad_()
        for training in (False, True):
            decoder.train(training)
            logits, weights = run(decoder, memory._replace(states=states))
            assert weights.max() < 1e-30
            (gradient,) = torch.autograd.grad(logits.square().sum(), states, allow_unused=True)
            assert logits.isfinite().all()
            assert gradient is None or gradient.isfinite().all()

    def test_it_starts_as_the_paper_says(self):
        set_seed(0)
        decoder = MonotonicDecoder(VOCAB, D_MEMORY, d_hidden=16, offset=-3)
        assert decoder.scale.item() == 0.25
        assert decoder.offset.item() == -3
        assert decoder.noise == 1.0
        # tanh of 16 entries along a unit vector is at most 4, times 1 / 4: all chances lie around σ(-3).
        memory = make_memory()
        states = memory.states.float()
        chances = torch.sigmoid(
            self.energies(
                decoder, BahdanauState(torch.zeros(BATCH, 16), None), memory._replace(states=states)
            )
        )
        assert torch.sigmoid(torch.tensor(-4.0)) < chances.min()
        assert chances.max() < torch.sigmoid(torch.tensor(-2.0))

    def test_bad_numbers_are_refused(self):
        with pytest.raises(ValueError, match=r"^noise must be at least 0, got noise=-1.0$"):
            MonotonicDecoder(VOCAB, D_MEMORY, noise=-1.0)
        with pytest.raises(TypeError, match=r"^offset must be a number, got offset='low'$"):
            MonotonicDecoder(VOCAB, D_MEMORY, offset="low")


def beeps(texts):
    """Return sounds in which letter n is a beep of eight frames in band n - 3 behind eight of silence."""
    lengths = torch.tensor([16 * len(text) + 8 for text in texts])
    width = max(map(len, texts)) + 1
    source = torch.zeros(len(texts), int(lengths.max()), 3)
    target = torch.zeros(len(texts), width, dtype=torch.int64)
    for row, text in enumerate(texts):
        for position, letter in enumerate(text):
            source[row, 16 * position + 8 : 16 * position + 16, letter - 3] = 1.0
        target[row, : len(text) + 1] = torch.tensor([*text, 2])
    return source, lengths, target


class TestRecognisers:
    def test_kinds_differ_in_the_decoder_alone(self):
        encoders = []
        for kind in RECOGNISER_KINDS:
            set_seed(0)
            encoders.append(build_recogniser(kind, VOCAB, n_bands=3, d_hidden=5).encoder.state_dict())
        for encoder in encoders[1:]:
            for name, value in encoder.items():
                assert torch.equal(value, encoders[0][name])
        kinds = [type(build_recogniser(kind, VOCAB)) for kind in RECOGNISER_KINDS]
        assert kinds == [Seq2Seq, Seq2Seq, Seq2Seq, CTCRecogniser]
        decoders = [type(build_recogniser(kind, VOCAB).decoder) for kind in RECOGNISER_KINDS[:3]]
        assert decoders == [BahdanauDecoder, LocationAwareDecoder, MonotonicDecoder]

    @pytest.mark.parametrize("kind", RECOGNISER_KINDS)
    def test_the_loss_of_each_kind(self, kind):
        set_seed(0)
        model = build_recogniser(kind, VOCAB, n_bands=3, d_hidden=5).eval()
        source, lengths, target = beeps([[3, 4], [5]])
        if kind == "ctc":
            expected = ctc_loss(*model(source, lengths), target)
        else:
            expected = sequence_loss(model(source, lengths, target), target)
        torch.testing.assert_close(recognition_loss(model, source, lengths, target), expected, **FLOAT32)

    @pytest.mark.parametrize("kind", RECOGNISER_KINDS)
    def test_every_utterance_is_read_on_its_own(self, kind):
        set_seed(1)
        model = build_recogniser(kind, VOCAB, n_bands=3, d_hidden=5).eval()
        source, lengths = torch.randn(3, 71, 3), torch.tensor([71, 24, 40])
        options = {} if kind == "ctc" else {"max_tokens": 5}
        written, weights = model.greedy_decode(source, lengths, return_weights=True, **options)
        for row, length in enumerate(lengths):
            alone, rows = model.greedy_decode(
                source[row : row + 1, :length], lengths[row : row + 1], return_weights=True, **options
            )
            width, n_source = rows.shape[1:]
            assert torch.equal(written[row, :width], alone[0])
            torch.testing.assert_close(weights[row, :width, :n_source], rows[0], **FLOAT32)

    @pytest.mark.learning
    @pytest.mark.parametrize("kind", RECOGNISER_KINDS)
    def test_each_kind_learns_beeps(self, kind):
        rng = np.random.default_rng(0)
        set_seed(0)
        model = build_recogniser(kind, 6, n_bands=3, d_embedding=8, d_hidden=16)
        if kind == "monotonic":
            model.decoder.noise = 3.0  # so short a training needs more pressure to decide clearly
        optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
        for _ in range(150):
            texts = [rng.integers(3, 6, size=n).tolist() for n in rng.integers(1, 4, size=16)]
            optimiser.zero_grad()
            recognition_loss(model, *beeps(texts)).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
        model.eval()
        texts = [rng.integers(3, 6, size=n).tolist() for n in (1, 2, 3) * 20]
        source, lengths, target = beeps(texts)
        options = {} if kind == "ctc" else {"max_tokens": 5}
        written, weights = model.greedy_decode(source, lengths, return_weights=True, **options)
        assert character_error_rate(written.numpy(), target.numpy()) < 0.2
        if kind in ("monotonic", "ctc"):
            assert monotonicity(weights.numpy()) == 1

    def test_bad_kinds_are_refused(self):
        with pytest.raises(
            ValueError,
            match=r"^kind must be one of 'content', 'location-aware', 'monotonic', 'ctc', got kind='hybrid'$",
        ):
            build_recogniser("hybrid", VOCAB)
        with pytest.raises(ValueError, match=r"^d_memory must be at least 1, got d_memory=0$"):
            build_recogniser("ctc", VOCAB, d_hidden=0)
