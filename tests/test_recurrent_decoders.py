"""Decoders on a memory made by hand: where windows lie, who asks, and what enters the next state."""

import pytest
import torch

from attncourse.recurrent_decoders import BahdanauDecoder, LuongDecoder, Memory, PlainDecoder
from attncourse.training import set_seed
from tests.support.tolerances import FLOAT64

BATCH, N_SOURCE, N_TARGET, VOCAB, D_MEMORY, D_EMBEDDING, D_HIDDEN = 2, 7, 5, 11, 6, 4, 3
LENGTHS = [7, 3]

GLOBAL = {
    "bahdanau": (BahdanauDecoder, {}),
    "dot": (LuongDecoder, {"score": "dot"}),
    "general": (LuongDecoder, {"score": "general"}),
    "concat": (LuongDecoder, {"score": "concat"}),
    "input feeding": (LuongDecoder, {"input_feeding": True}),
}


def make_decoder(decoder_class, seed=0, **options):
    set_seed(seed)
    decoder = decoder_class(VOCAB, D_MEMORY, d_embedding=D_EMBEDDING, d_hidden=D_HIDDEN, **options)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return decoder.double()


def make_memory(seed=1):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.arange(N_SOURCE) < torch.tensor(LENGTHS)[:, None]
    states = torch.randn(BATCH, N_SOURCE, D_MEMORY, generator=generator, dtype=torch.float64)
    summary = torch.randn(BATCH, D_MEMORY, generator=generator, dtype=torch.float64)
    return Memory(states * mask.unsqueeze(-1), summary, torch.tensor(LENGTHS), mask.unsqueeze(1))


def make_previous(seed=2):
    return torch.randint(0, VOCAB, (BATCH, N_TARGET), generator=torch.Generator().manual_seed(seed))


def run(decoder, memory, previous=None):
    previous = make_previous() if previous is None else previous
    logits, weights, _ = decoder(previous, memory, decoder.start(memory))
    return logits, weights


@pytest.mark.properties
@pytest.mark.parametrize("name", GLOBAL)
class TestGlobalAttention:
    def test_the_order_of_the_memory_does_not_matter(self, name):
        decoder_class, options = GLOBAL[name]
        decoder, memory = make_decoder(decoder_class, **options), make_memory()
        logits, weights = run(decoder, memory)
        order = torch.tensor([4, 0, 6, 2, 5, 1, 3])
        shuffled = memory._replace(states=memory.states[:, order], mask=memory.mask[..., order])
        got, rows = run(decoder, shuffled)
        torch.testing.assert_close(got, logits, **FLOAT64)
        torch.testing.assert_close(rows, weights[..., order], **FLOAT64)

    def test_hidden_memory_changes_nothing(self, name):
        decoder_class, options = GLOBAL[name]
        decoder, memory = make_decoder(decoder_class, **options), make_memory()
        logits, weights = run(decoder, memory)
        garbage = memory._replace(states=memory.states + 100.0 * ~memory.mask.mT)
        assert (garbage.states != memory.states).any()
        got, rows = run(decoder, garbage)
        torch.testing.assert_close(got, logits, **FLOAT64)
        torch.testing.assert_close(rows, weights, **FLOAT64)
        assert not rows[1, :, LENGTHS[1] :].any()

    def test_a_constant_memory_is_returned_whatever_the_weights(self, name):
        decoder_class, options = GLOBAL[name]
        decoder, memory = make_decoder(decoder_class, **options), make_memory()
        constant = memory._replace(states=memory.states[:, :1].expand(-1, N_SOURCE, -1))
        logits, weights = run(decoder, constant)
        one = memory._replace(states=memory.states[:, :1], mask=memory.mask[..., :1])
        torch.testing.assert_close(run(decoder, one)[0], logits, **FLOAT64)
        uniform = memory.mask.double() / memory.lengths.view(-1, 1, 1)
        torch.testing.assert_close(weights, uniform.expand_as(weights), **FLOAT64)


class TestQuery:
    """Which state asks: the one before a token is read (Bahdanau), or the one after (Luong)."""

    def weights_after_other_token(self, decoder, step):
        memory, previous = make_memory(), make_previous()
        other = previous.clone()
        other[:, step] = (other[:, step] + 1) % VOCAB
        return run(decoder, memory, previous)[1], run(decoder, memory, other)[1]

    @pytest.mark.parametrize("step", range(N_TARGET - 1))
    def test_a_token_reaches_bahdanaus_query_one_step_later(self, step):
        weights, changed = self.weights_after_other_token(make_decoder(BahdanauDecoder), step)
        torch.testing.assert_close(changed[:, : step + 1], weights[:, : step + 1], rtol=0, atol=0)
        assert (changed[:, step + 1] != weights[:, step + 1]).any()

    @pytest.mark.parametrize("step", range(N_TARGET))
    def test_a_token_reaches_luongs_query_at_once(self, step):
        weights, changed = self.weights_after_other_token(make_decoder(LuongDecoder), step)
        torch.testing.assert_close(changed[:, :step], weights[:, :step], rtol=0, atol=0)
        assert (changed[:, step] != weights[:, step]).any()


class TestStatePath:
    def states(self, decoder, memory):
        previous = make_previous()
        return decoder(previous, memory, decoder.start(memory))[2]

    def test_what_was_found_reaches_the_next_state_only_by_input_feeding(self):
        memory = make_memory()
        other = memory._replace(states=memory.states.flip(1) * memory.mask.mT)
        for input_feeding in (False, True):
            decoder = make_decoder(LuongDecoder, input_feeding=input_feeding)
            first, second = self.states(decoder, memory), self.states(decoder, other)
            assert (first.attended != second.attended).any()
            assert bool((first.hidden == second.hidden).all()) is not input_feeding
        first, second = (self.states(make_decoder(BahdanauDecoder), one) for one in (memory, other))
        assert (first.hidden != second.hidden).any()

    def test_the_first_step_is_fed_zeros(self):
        decoder, memory = make_decoder(LuongDecoder, input_feeding=True), make_memory()
        plain = make_decoder(LuongDecoder)
        wide = decoder.state_dict()
        wide["gru.weight_ih_l0"] = wide["gru.weight_ih_l0"][:, :D_EMBEDDING]
        plain.load_state_dict(wide)
        fed, unfed = run(decoder, memory)[0], run(plain, memory)[0]
        torch.testing.assert_close(fed[:, 0], unfed[:, 0], **FLOAT64)
        assert (fed[:, 1] != unfed[:, 1]).any()

    def test_the_plain_decoder_reads_nothing_but_the_summary(self):
        decoder, memory = make_decoder(PlainDecoder), make_memory()
        logits, weights = run(decoder, memory)
        assert weights is None
        assert not decoder.has_weights
        other = memory._replace(states=torch.randn_like(memory.states))
        torch.testing.assert_close(run(decoder, other)[0], logits, rtol=0, atol=0)
        changed = memory._replace(summary=memory.summary + 1)
        assert (run(decoder, changed)[0] != logits).all()


class TestMonotonicWindow:
    @pytest.mark.parametrize("input_feeding", [False, True])
    def test_positions_by_hand(self, input_feeding):
        decoder = make_decoder(LuongDecoder, local="monotonic", half_width=1, input_feeding=input_feeding)
        memory = make_memory()
        _, weights = run(decoder, memory)
        # 7 source tokens: steps 0 … 4 see the neighbours of their own position, cut off at the start.
        assert [row.nonzero().flatten().tolist() for row in weights[0]] == [
            [0, 1],
            [0, 1, 2],
            [1, 2, 3],
            [2, 3, 4],
            [3, 4, 5],
        ]
        # 3 source tokens: step 3 sees the last one alone, step 4 nothing.
        assert [row.nonzero().flatten().tolist() for row in weights[1]] == [
            [0, 1],
            [0, 1, 2],
            [1, 2],
            [2],
            [],
        ]
        assert weights[1, 3, 2].item() == 1

    def test_an_empty_window_gives_zeros_and_finite_gradients(self):
        decoder, memory = make_decoder(LuongDecoder, local="monotonic", half_width=1), make_memory()
        states = memory.states.clone().requires_grad_()
        logits, weights = run(decoder, memory._replace(states=states))
        assert not weights[1, 4].any()
        assert logits.isfinite().all()
        for gradient in torch.autograd.grad(logits.square().sum(), [states, *decoder.parameters()]):
            assert gradient.isfinite().all()

    def test_inside_the_window_it_is_the_global_softmax(self):
        decoder, whole = (
            make_decoder(LuongDecoder, local="monotonic", half_width=1),
            make_decoder(LuongDecoder),
        )
        memory = make_memory()
        _, weights = run(decoder, memory)
        _, everywhere = run(whole, memory)
        inside = everywhere * (weights > 0)
        rows = inside.sum(dim=-1, keepdim=True)
        torch.testing.assert_close(weights, torch.where(rows > 0, inside / rows, 0.0), **FLOAT64)

    def test_a_window_wider_than_the_source_is_global(self):
        memory = make_memory()
        wide = make_decoder(LuongDecoder, local="monotonic", half_width=N_SOURCE)
        for got, want in zip(run(wide, memory), run(make_decoder(LuongDecoder), memory), strict=True):
            torch.testing.assert_close(got, want, **FLOAT64)


class TestPredictiveWindow:
    def predictive_and_global(self, half_width):
        decoder = make_decoder(LuongDecoder, local="predictive", half_width=half_width)
        whole = make_decoder(LuongDecoder)
        whole.load_state_dict(
            {name: value for name, value in decoder.state_dict().items() if "centre" not in name}
        )
        return decoder, whole

    def test_a_centre_by_hand(self):
        # A zero readout puts the centre at half of the length: 3.5 of 7 tokens, 1.5 of 3.
        decoder, whole = self.predictive_and_global(2)
        with torch.no_grad():
            decoder.centre_readout.weight.zero_()
        memory = make_memory()
        _, weights = run(decoder, memory)
        _, everywhere = run(whole, memory)
        for row, centre, window in ((0, 3.5, [2, 3, 4, 5]), (1, 1.5, [0, 1, 2])):
            expected = torch.zeros(N_TARGET, N_SOURCE, dtype=torch.float64)
            inside = everywhere[row][:, window]
            # σ = 2 / 2 = 1, so that a token at distance d keeps exp(-d² / 2) of its softmax weight.
            near = torch.tensor([-((s - centre) ** 2) / 2 for s in window], dtype=torch.float64).exp()
            expected[:, window] = inside / inside.sum(dim=-1, keepdim=True) * near
            torch.testing.assert_close(weights[row], expected, **FLOAT64)

    def test_a_huge_window_is_global(self):
        decoder, whole = self.predictive_and_global(10**8)
        memory = make_memory()
        for got, want in zip(run(decoder, memory), run(whole, memory), strict=True):
            torch.testing.assert_close(got, want, **FLOAT64)

    def test_a_window_as_wide_as_the_source_is_global_times_the_gaussian(self):
        decoder, whole = self.predictive_and_global(N_SOURCE)
        with torch.no_grad():
            decoder.centre_readout.weight.zero_()
        memory = make_memory()
        centre = memory.lengths.view(-1, 1, 1) / 2
        gaussian = torch.exp(-((torch.arange(N_SOURCE) - centre) ** 2) / (2 * 3.5**2)).double()
        _, everywhere = run(whole, memory)
        torch.testing.assert_close(run(decoder, memory)[1], everywhere * gaussian, rtol=1e-6, atol=1e-7)

    def test_no_row_is_empty_and_none_sums_to_more_than_one(self):
        for seed in range(20):
            decoder = make_decoder(LuongDecoder, seed=seed, local="predictive", half_width=1)
            with torch.no_grad():
                decoder.centre_readout.weight.mul_(50.0)  # centres at either end of the source
            rows = run(decoder, make_memory())[1].sum(dim=-1)
            assert (rows > 0).all()
            assert (rows <= 1).all()

    def test_the_centre_learns_through_the_gaussian(self):
        decoder, memory = make_decoder(LuongDecoder, local="predictive", half_width=2), make_memory()
        for name in ("centre_hidden", "centre_readout"):
            weight = getattr(decoder, name).weight
            (gradient,) = torch.autograd.grad(run(decoder, memory)[0].square().sum(), weight)
            assert gradient.any()


@pytest.mark.gradients
@pytest.mark.parametrize(
    "options", [{}, {"local": "predictive"}, {"input_feeding": True}, {"score": "dot"}, {"score": "concat"}]
)
def test_gradients_of_the_memory(options):
    decoder, memory = make_decoder(LuongDecoder, **options), make_memory()

    def logits(states, summary):
        return run(decoder, memory._replace(states=states, summary=summary))[0]

    inputs = memory.states.clone().requires_grad_(), memory.summary.clone().requires_grad_()
    assert torch.autograd.gradcheck(logits, inputs)


@pytest.mark.parametrize("decoder_class", [PlainDecoder, BahdanauDecoder, LuongDecoder])
def test_bad_sizes_are_refused(decoder_class):
    with pytest.raises(ValueError, match=r"^vocab_size must be at least 1, got vocab_size=0$"):
        decoder_class(0, D_MEMORY)
    with pytest.raises(TypeError, match=r"^d_memory must be an integer, got d_memory=None$"):
        decoder_class(VOCAB, None)
    with pytest.raises(ValueError, match=r"^d_embedding must be at least 1, got d_embedding=-1$"):
        decoder_class(VOCAB, D_MEMORY, d_embedding=-1)
    with pytest.raises(ValueError, match=r"^d_hidden must be at least 1, got d_hidden=0$"):
        decoder_class(VOCAB, D_MEMORY, d_hidden=0)


def test_bad_options_are_refused():
    with pytest.raises(
        ValueError, match=r"^score must be one of 'dot', 'general', 'concat', got score='additive'$"
    ):
        LuongDecoder(VOCAB, D_MEMORY, score="additive")
    with pytest.raises(
        ValueError, match=r"^local must be one of 'monotonic', 'predictive', got local='global'$"
    ):
        LuongDecoder(VOCAB, D_MEMORY, local="global")
    with pytest.raises(ValueError, match=r"^half_width must be at least 1, got half_width=0$"):
        LuongDecoder(VOCAB, D_MEMORY, half_width=0)
    with pytest.raises(
        ValueError,
        match=r"^d_memory must be a multiple of d_hidden for the dot score, got d_memory=6, d_hidden=4$",
    ):
        LuongDecoder(VOCAB, 6, d_hidden=4, score="dot")
    assert LuongDecoder(VOCAB, 6, d_hidden=4).half_width == 3


def test_arguments_are_not_written():
    for decoder_class, options in (
        *GLOBAL.values(),
        (PlainDecoder, {}),
        (LuongDecoder, {"local": "predictive"}),
        (LuongDecoder, {"local": "monotonic"}),
    ):
        decoder, memory, previous = make_decoder(decoder_class, **options), make_memory(), make_previous()
        state = decoder.start(memory)
        tensors = [part for part in (previous, *memory, *state) if isinstance(part, torch.Tensor)]
        copies = [tensor.detach().clone() for tensor in tensors]
        decoder(previous, memory, state)
        for tensor, before in zip(tensors, copies, strict=True):
            torch.testing.assert_close(tensor.detach(), before, rtol=0, atol=0)


def test_a_bahdanau_state_holds_the_weights_of_the_last_step():
    decoder, memory, previous = make_decoder(BahdanauDecoder), make_memory(), make_previous()
    start = decoder.start(memory)
    assert start.weights.shape == (BATCH, 1, N_SOURCE)
    assert not start.weights.any()
    _, weights, state = decoder(previous, memory, start)
    torch.testing.assert_close(state.weights, weights[:, -1:], rtol=0, atol=0)
