"""Hard attention: how places are drawn, and whether both estimators keep their word."""

import itertools
import math

import pytest
import torch
from torch.nn import functional as F

from attncourse.hard_attention import HardDecoder, MovingBaseline, hard_attention_loss
from attncourse.recurrent_decoders import BahdanauDecoder, Memory
from attncourse.seq2seq import Seq2Seq, sequence_loss
from attncourse.spatial import build_captioner
from attncourse.tasks.pairs import END, PADDING, START
from attncourse.training import set_seed, train
from tests.support.tolerances import FLOAT64, GRADIENTS

VOCAB, D_MEMORY, D_EMBEDDING, D_HIDDEN = 7, 5, 3, 4


class ScriptedDecoder(HardDecoder):
    """A hard decoder whose choices are dictated: one place for each row and step."""

    def dictate(self, places):
        self.places = iter(places)

    def choose(self, probabilities):
        chosen = F.one_hot(next(self.places), probabilities.shape[-1])
        return chosen.unsqueeze(1).to(probabilities.dtype)


class FixedEncoder(torch.nn.Module):
    """Return one memory whatever the image is."""

    def __init__(self, memory):
        super().__init__()
        self.memory = memory

    def forward(self, images, lengths=None):
        return self.memory


def make_decoder(decoder_class, seed=0, **options):
    set_seed(seed)
    decoder = decoder_class(VOCAB, D_MEMORY, d_embedding=D_EMBEDDING, d_hidden=D_HIDDEN, **options)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return decoder.double()


def make_memory(batch=2, n_source=3, lengths=None, seed=1):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.tensor(lengths or [n_source] * batch)
    states = torch.randn(batch, n_source, D_MEMORY, generator=generator, dtype=torch.float64)
    summary = torch.randn(batch, D_MEMORY, generator=generator, dtype=torch.float64)
    return Memory(states, summary, lengths, (torch.arange(n_source) < lengths[:, None]).unsqueeze(1))


class TestHardDecoder:
    @pytest.mark.parametrize("estimator", ["straight-through", "reinforce"])
    @pytest.mark.parametrize("is_training", [True, False])
    def test_every_row_has_one_1_where_the_mask_allows_it(self, estimator, is_training):
        decoder = make_decoder(HardDecoder, estimator=estimator).train(is_training)
        memory = make_memory(batch=3, n_source=5, lengths=[5, 1, 0])
        previous = torch.randint(0, VOCAB, (3, 11))
        logits, weights, state = decoder(previous, memory, decoder.start(memory))
        assert logits.shape == (3, 11, VOCAB)
        assert ((weights == 0) | (weights == 1)).all()
        assert weights.sum(dim=-1).tolist() == [[1.0] * 11, [1.0] * 11, [0.0] * 11]
        assert not weights[1, :, 1:].any()
        assert torch.equal(state.weights, weights[:, -1:])

    def test_in_evaluation_the_likeliest_place_is_read(self):
        memory = make_memory(n_source=5)
        soft, hard = make_decoder(BahdanauDecoder), make_decoder(HardDecoder).eval()
        state = soft.start(memory)
        key = soft.score.key_proj(memory.states)
        _, rows = soft.look_back(state, key, memory)
        context, weights = hard.look_back(state, key, memory)
        best = rows.argmax(dim=-1)  # (batch, 1)
        assert torch.equal(weights.argmax(dim=-1), best)
        torch.testing.assert_close(context[:, 0], memory.states[[0, 1], best[:, 0]], **FLOAT64)

    def test_in_training_places_are_drawn_with_their_probability(self):
        decoder = make_decoder(HardDecoder).train()
        set_seed(3)
        probabilities = torch.tensor([0.6, 0.3, 0.1, 0.0]).double()
        drawn = decoder.choose(probabilities.expand(20_000, 1, 4)).mean(dim=(0, 1))
        # Five standard deviations of a share of 20,000 draws.
        torch.testing.assert_close(drawn, probabilities, rtol=0, atol=0.018)
        assert drawn[-1] == 0

    def test_the_seed_alone_decides_and_draws_differ(self):
        decoder, memory = make_decoder(HardDecoder).train(), make_memory(n_source=5)
        previous = torch.randint(0, VOCAB, (2, 11))
        runs = []
        for seed in (0, 0, 1):
            set_seed(seed)
            runs.append(decoder(previous, memory, decoder.start(memory))[1])
        assert torch.equal(runs[0], runs[1])
        assert not torch.equal(runs[0], runs[2])

    @pytest.mark.gradients
    def test_the_straight_through_gradient_is_that_of_the_soft_weights_at_the_hard_output(self):
        memory = make_memory()
        soft, hard = make_decoder(BahdanauDecoder), make_decoder(HardDecoder).eval()
        state = soft.start(memory)._replace(hidden=torch.randn(2, D_HIDDEN, dtype=torch.float64))
        outward = torch.randn(2, 1, D_MEMORY, dtype=torch.float64)
        gradients = []
        for decoder in (soft, hard):
            states = memory.states.clone().requires_grad_(True)
            key = decoder.score.key_proj(memory.states)
            context, weights = decoder.look_back(state, key, memory._replace(states=states))
            (context * outward).sum().backward()
            gradients.append([p.grad for p in decoder.score.parameters()])
            # The vectors themselves learn by the weights that were used.
            torch.testing.assert_close(states.grad, weights.mT @ outward, **GRADIENTS)
        for of_soft, of_hard in zip(*gradients, strict=True):
            assert of_soft.any()
            torch.testing.assert_close(of_hard, of_soft, **GRADIENTS)

    @pytest.mark.gradients
    def test_by_reinforce_the_scores_get_no_gradient_from_the_words(self):
        decoder, memory = make_decoder(HardDecoder, estimator="reinforce").train(), make_memory()
        previous = torch.randint(0, VOCAB, (2, 5))
        logits, _, _ = decoder(previous, memory, decoder.start(memory))
        logits.sum().backward()
        assert all(p.grad is None or not p.grad.any() for p in decoder.score.parameters())
        assert decoder.cell.weight_ih.grad.any()

    def test_traced_choices_are_those_of_the_plain_pass_with_their_probabilities(self):
        decoder, memory = make_decoder(HardDecoder).eval(), make_memory(n_source=5, lengths=[5, 2])
        previous = torch.randint(0, VOCAB, (2, 11))
        start = decoder.start(memory)
        logits, weights, _ = decoder(previous, memory, start)
        got, rows, probabilities = decoder.forward_traced(previous, memory, start)
        assert torch.equal(got, logits)
        assert torch.equal(rows, weights)
        assert torch.equal(probabilities.argmax(dim=-1), weights.argmax(dim=-1))
        torch.testing.assert_close(probabilities.sum(dim=-1), torch.ones(2, 11).double(), **FLOAT64)
        assert not probabilities[1, :, 2:].any()

    def test_one_token_at_a_time_gives_the_same_as_all_at_once(self):
        decoder, memory = make_decoder(HardDecoder).eval(), make_memory(n_source=5)
        previous = torch.randint(0, VOCAB, (2, 7))
        whole, rows, _ = decoder(previous, memory, decoder.start(memory))
        state = decoder.start(memory)
        for step in range(7):
            logits, row, state = decoder(previous[:, step : step + 1], memory, state)
            torch.testing.assert_close(logits, whole[:, step : step + 1], **FLOAT64)
            assert torch.equal(row, rows[:, step : step + 1])

    def test_an_unknown_estimator_is_refused(self):
        with pytest.raises(
            ValueError,
            match=r"^estimator must be one of 'straight-through', 'reinforce', got estimator='soft'$",
        ):
            HardDecoder(VOCAB, D_MEMORY, estimator="soft")


TARGET = torch.tensor([[3, 5, END], [4, END, PADDING]])


def scripted_model(n_source=3):
    decoder = make_decoder(ScriptedDecoder, estimator="reinforce").train()
    return Seq2Seq(FixedEncoder(make_memory(n_source=n_source)), decoder)


def scripts(n_source=3):
    """Yield all ways to choose a place for every row and step: one tensor (batch,) for each step."""
    for places in itertools.product(range(n_source), repeat=TARGET.numel()):
        yield list(torch.tensor(places).view(TARGET.shape).unbind(dim=1))


def gradient_of(loss, model):
    parameters = list(model.decoder.parameters())
    return torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)


def expected_gradients(n_source, settings, known):
    """Return the gradient of the expected cost, and the expected gradient of the loss, by enumeration."""
    model = scripted_model(n_source)
    memory = model.encoder.memory
    previous = torch.cat([torch.full((2, 1), START), TARGET[:, :-1]], dim=1)
    objective = torch.zeros((), dtype=torch.float64)
    estimated = [torch.zeros_like(parameter) for parameter in model.decoder.parameters()]
    total = 0.0
    for places in scripts(n_source):
        model.decoder.dictate(places)
        logits, weights, probabilities = model.decoder.forward_traced(
            previous, memory, model.decoder.start(memory)
        )
        chance = (weights * probabilities).sum(dim=-1).prod()
        objective = objective + chance * sequence_loss(logits, TARGET)
        baseline = MovingBaseline(TARGET.shape[1])
        if known is not None:
            baseline.update(known.expand(2, -1), torch.ones_like(TARGET, dtype=torch.bool))
        model.decoder.dictate(places)
        loss = hard_attention_loss(model, torch.zeros(2), TARGET, baseline, **settings)
        total += chance.item()
        for sum_so_far, gradient in zip(estimated, gradient_of(loss, model), strict=True):
            sum_so_far += chance.item() * gradient
    assert total == pytest.approx(1.0, rel=1e-12)
    return gradient_of(objective, model), estimated


class TestHardAttentionLoss:
    @pytest.mark.gradients
    @pytest.mark.parametrize("known", [None, torch.tensor([0.7, -2.0, 5.0]).double()])
    def test_the_expected_gradient_is_that_of_the_expected_cost(self, known):
        exact, estimated = expected_gradients(2, {}, known)
        for wanted, got in zip(exact, estimated, strict=True):
            torch.testing.assert_close(got, wanted, **GRADIENTS)
        assert any(wanted.abs().max() > 1e-3 for wanted in exact)

    @pytest.mark.gradients
    def test_the_scores_alone_learn_through_the_choices(self):
        model = scripted_model()
        model.decoder.dictate(next(scripts()))
        loss = hard_attention_loss(model, torch.zeros(2), TARGET, MovingBaseline(3))
        loss.backward()
        assert model.decoder.score.query_proj.weight.grad.any()

    def test_charging_a_choice_with_less_is_biased(self):
        exact, estimated = expected_gradients(2, {"discount": 0.0}, None)
        assert any(not torch.allclose(got, wanted) for got, wanted in zip(estimated, exact, strict=True))

    def test_hand_value(self):
        model = scripted_model()
        places = [torch.tensor([0, 2]), torch.tensor([1, 1]), torch.tensor([2, 0])]
        previous = torch.cat([torch.full((2, 1), START), TARGET[:, :-1]], dim=1)
        memory = model.encoder.memory
        model.decoder.dictate(places)
        logits, _, p = model.decoder.forward_traced(previous, memory, model.decoder.start(memory))
        usual = torch.tensor([2.0, 1.0, 0.5]).double()
        baseline = MovingBaseline(3)
        baseline.update(usual.expand(2, -1), torch.ones(2, 3, dtype=torch.bool))
        model.decoder.dictate(places)
        got = hard_attention_loss(
            model, torch.zeros(2), TARGET, baseline, discount=0.5, entropy_weight=0.3
        ).item()
        wanted = 0.0
        logits, p = logits.detach(), p.detach()
        for row, n_words in enumerate((3, 2)):
            cost = [-logits[row, t].log_softmax(dim=0)[TARGET[row, t]].item() for t in range(n_words)]
            for t in range(n_words):
                rest = sum(0.5 ** (later - t) * cost[later] for later in range(t, n_words))
                chosen = math.log(p[row, t, places[t][row]])
                entropy = -sum(q * math.log(q) for q in p[row, t].tolist())
                wanted += cost[t] + (rest - usual[t].item()) * chosen - 0.3 * entropy
        assert got == pytest.approx(wanted / 5, rel=1e-10)

    def test_the_baseline_moves_only_after_it_was_read(self):
        model = scripted_model()
        losses, baseline = [], MovingBaseline(3)
        for _ in range(2):
            model.decoder.dictate(next(scripts()))
            losses.append(hard_attention_loss(model, torch.zeros(2), TARGET, baseline).item())
        assert losses[0] != losses[1]
        assert (baseline.values > 0).all()

    @pytest.mark.gradients
    def test_a_certain_choice_leaves_finite_gradients(self):
        model = Seq2Seq(
            FixedEncoder(make_memory(n_source=3, lengths=[3, 1])),
            make_decoder(HardDecoder, estimator="reinforce").train(),
        )
        loss = hard_attention_loss(model, torch.zeros(2), TARGET, MovingBaseline(3), entropy_weight=0.1)
        loss.backward()
        assert all(parameter.grad.isfinite().all() for parameter in model.decoder.parameters())

    def test_bad_arguments_are_refused(self):
        images, baseline = torch.zeros(2), MovingBaseline(3)
        model = scripted_model()
        with pytest.raises(
            TypeError, match=r"^model.decoder must be of type HardDecoder, got model.decoder of type Plain"
        ):
            hard_attention_loss(build_captioner("none", VOCAB), images, TARGET, baseline)
        with pytest.raises(
            ValueError,
            match=r"^model.decoder.estimator must be 'reinforce', got estimator='straight-through'$",
        ):
            hard_attention_loss(build_captioner("hard", VOCAB), images, TARGET, baseline)
        with pytest.raises(ValueError, match=r"^discount must be at least 0, got discount=-1$"):
            hard_attention_loss(model, images, TARGET, baseline, discount=-1)
        with pytest.raises(ValueError, match=r"^entropy_weight must be at least 0, got entropy_weight=-0\.1"):
            hard_attention_loss(model, images, TARGET, baseline, entropy_weight=-0.1)
        with pytest.raises(ValueError, match=r"^target must hold tokens from 0 to 6, got target from 9 to 9"):
            hard_attention_loss(model, images, torch.full((2, 3), 9), baseline)
        with pytest.raises(
            ValueError, match=r"^target must have n_places=2 as its last axis, got target.shape=\(2, 3\)$"
        ):
            hard_attention_loss(model, images, TARGET, MovingBaseline(2))


N_PLACES = 4


class ListEncoder(torch.nn.Module):
    """Take vectors as they are for the memory."""

    def forward(self, vectors, lengths=None):
        every = torch.ones(len(vectors), 1, N_PLACES, dtype=torch.bool)
        return Memory(vectors, torch.zeros_like(vectors[:, 0]), torch.full((len(vectors),), N_PLACES), every)


def draw_marked_words(generator, batch=32):
    """Draw places that hold a word each, one of them marked: it is to be written."""
    words = torch.randint(END + 1, VOCAB, (batch, N_PLACES), generator=generator)
    marked = torch.randint(N_PLACES, (batch,), generator=generator)
    mark = F.one_hot(marked, N_PLACES).unsqueeze(-1)
    vectors = torch.cat([F.one_hot(words, VOCAB), mark], dim=-1).float()
    answer = words[torch.arange(batch), marked]
    return vectors, torch.stack([answer, torch.full_like(answer, END)], dim=1), marked


@pytest.mark.learning
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    ("estimator", "is_told_of_choices", "learns"),
    [("straight-through", False, True), ("reinforce", True, True), ("reinforce", False, False)],
)
def test_a_hard_decoder_learns_to_read_the_marked_place(estimator, is_told_of_choices, learns):
    set_seed(0)
    decoder = HardDecoder(VOCAB, VOCAB + 1, d_embedding=3, d_hidden=16, estimator=estimator)
    model, baseline, generator = Seq2Seq(ListEncoder(), decoder), MovingBaseline(2), torch.Generator()

    def loss(model, batch):
        vectors, target, _ = batch
        if is_told_of_choices:
            return hard_attention_loss(model, vectors, target, baseline)
        return sequence_loss(model(vectors, None, target), target)

    train(model, lambda: draw_marked_words(generator), loss, steps=150, learning_rate=1e-2)
    vectors, target, marked = draw_marked_words(torch.Generator().manual_seed(1), batch=500)
    _, weights = model.eval()(vectors, None, target, return_weights=True)
    accuracy = (weights[:, 0].argmax(dim=-1) == marked).float().mean()
    # The scores of the last model get no gradient at all: it stays near one in four.
    assert accuracy > 0.95 if learns else accuracy < 0.6


class TestMovingBaseline:
    def test_hand_values(self):
        baseline = MovingBaseline(3, decay=0.5)
        assert baseline.values.tolist() == [0, 0, 0]
        every = torch.tensor([[True, True, False], [True, False, False]])
        baseline.update(torch.tensor([[4.0, 2.0, 9.0], [6.0, 7.0, 9.0]]), every)
        assert baseline.values.tolist() == [5, 2, 0]  # the first batch sets the values; unreached places stay
        baseline.update(torch.tensor([[2.0, 1.0, 3.0]]), torch.tensor([[True, False, True]]))
        # 10 from two rows and half the weight, 2 from one row; nothing new at the second place.
        assert baseline.values.tolist() == [(0.5 * 10 + 2) / (0.5 * 2 + 1), 2, 3]

    def test_costs_are_detached_and_not_written(self):
        cost = torch.ones(2, 3, requires_grad=True)
        baseline = MovingBaseline(3)
        baseline.update(cost, torch.ones(2, 3, dtype=torch.bool))
        assert not baseline.values.requires_grad
        assert (cost == 1).all()

    def test_bad_arguments_are_refused(self):
        with pytest.raises(ValueError, match=r"^n_places must be at least 1, got n_places=0$"):
            MovingBaseline(0)
        with pytest.raises(ValueError, match=r"^decay must be below 1, got decay=1$"):
            MovingBaseline(3, decay=1)
        with pytest.raises(ValueError, match=r"^decay must be at least 0, got decay=-0\.1$"):
            MovingBaseline(3, decay=-0.1)
        with pytest.raises(
            ValueError, match=r"^cost must have n_places=3 as its last axis, got cost.shape=\(2, 4\)$"
        ):
            MovingBaseline(3).update(torch.ones(2, 4), torch.ones(2, 4, dtype=torch.bool))
