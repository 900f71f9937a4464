"""Both models are what their formulas say, show the weights they used, and learn with enough heads."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from attncourse.head_importance import loss_without
from attncourse.measures import mass_on_gold
from attncourse.multihead_models import (
    MultiHeadDecoder,
    MultiHeadSeq2Seq,
    RelationModel,
    relation_accuracy,
    relation_loss,
)
from attncourse.positions import sinusoidal_positions
from attncourse.recurrent_decoders import LuongDecoder
from attncourse.seq2seq import sequence_loss
from attncourse.tasks.copying import CopyTask
from attncourse.tasks.pairs import END, PADDING, START
from attncourse.tasks.relations import NO_ANSWER, RelationTask
from attncourse.training import set_seed, train
from tests.support.tolerances import FLOAT32, FLOAT64

VOCAB, RELATIONS, TOKENS, BATCH = 11, 3, 7, 2
SOURCE_VOCAB, TARGET_VOCAB, N_SOURCE, N_TARGET, HEADS = 13, 17, 7, 5, 4


def relation_model(**options):
    torch.manual_seed(0)
    return RelationModel(VOCAB, RELATIONS, **({"d_model": 12, "n_heads": 3} | options))


def tokens():
    return torch.randint(VOCAB, (BATCH, TOKENS), generator=torch.Generator().manual_seed(1))


def translator(**options):
    torch.manual_seed(0)
    sizes = {"d_embedding": 6, "d_hidden": 8, "n_heads": HEADS} | options
    return MultiHeadSeq2Seq(SOURCE_VOCAB, TARGET_VOCAB, **sizes)


def pair_batch(batch_size=3):
    generator = torch.Generator().manual_seed(2)
    lengths = torch.tensor([4, 7, 1])[:batch_size]
    source = torch.randint(3, SOURCE_VOCAB, (batch_size, N_SOURCE), generator=generator)
    source[torch.arange(N_SOURCE) >= lengths[:, None]] = PADDING
    target = torch.randint(3, TARGET_VOCAB, (batch_size, N_TARGET), generator=generator)
    return source, lengths, target


# Relations


@pytest.mark.parametrize("d_hidden", [None, 5])
def test_relation_model_is_its_formula(d_hidden):
    model = relation_model(d_hidden=d_hidden)
    x = model.embedding(tokens()) + sinusoidal_positions(TOKENS, 12)
    z = x + model.attention(x)
    got = model(tokens())
    assert got.shape == (BATCH, TOKENS, RELATIONS, VOCAB)
    *first, last = model.readout
    assert len(first) == (0 if d_hidden is None else 2)
    if first:
        z = F.relu(z @ first[0].weight.T + first[0].bias)
    for relation in range(RELATIONS):
        rows = slice(relation * VOCAB, (relation + 1) * VOCAB)
        wanted = z @ last.weight[rows].T + last.bias[rows]
        torch.testing.assert_close(got[:, :, relation], wanted, **FLOAT32)


def test_relation_model_shows_the_weights_it_used_and_takes_gates():
    model = relation_model().double()
    plain = model(tokens())
    logits, weights = model(tokens(), return_weights=True)
    torch.testing.assert_close(logits, plain, **FLOAT64)
    x = model.embedding(tokens()) + sinusoidal_positions(TOKENS, 12, dtype=torch.float64)
    torch.testing.assert_close(weights, model.attention(x, return_weights=True)[1], **FLOAT64)
    for head in range(3):
        gates = 1 - torch.eye(3)[head]
        assert (model(tokens(), head_gates=gates) != plain).any()
        both = model(tokens(), head_gates=gates, return_weights=True)[0]
        torch.testing.assert_close(both, model(tokens(), head_gates=gates), **FLOAT64)
    assert model(tokens(), head_gates=torch.ones(BATCH, 3)).equal(plain)


def test_relation_model_passes_its_options_on():
    model = relation_model(n_kv_heads=1)
    assert (model.attention.n_heads, model.attention.n_kv_heads) == (3, 1)


def test_relation_loss_and_accuracy_leave_out_what_has_no_answer():
    answer = torch.tensor([[[0, 2], [1, NO_ANSWER]], [[2, 1], [NO_ANSWER, NO_ANSWER]]])
    logits = torch.zeros(2, 2, 2, 3)
    logits[0, 0, 0, 0] = logits[0, 1, 0, 2] = logits[1, 0, 0, 2] = logits[0, 0, 1, 2] = 5.0
    assert relation_accuracy(logits, answer).tolist() == [pytest.approx(2 / 3), 0.5]
    surprise = F.cross_entropy(torch.tensor([[5.0, 0, 0]] * 2), torch.tensor([0, 1]), reduction="none")
    wanted = (3 * surprise[0] + surprise[1] + np.log(3)) / 5
    torch.testing.assert_close(relation_loss(logits, answer), wanted, **FLOAT32)
    changed = logits.clone()
    changed[1, 1] = 100 * torch.arange(6.0).view(2, 3)
    assert relation_loss(changed, answer) == relation_loss(logits, answer)
    assert torch.equal(relation_accuracy(changed, answer), relation_accuracy(logits, answer))


def as_torch(batch):
    return torch.from_numpy(batch.tokens), torch.from_numpy(batch.answer)


def trained_relations(n_heads, steps):
    task = RelationTask(n_tokens=8, n_symbols=4, n_colours=4)
    rng, set_ = np.random.default_rng(0), task.sample(256, np.random.default_rng(10**6))
    set_seed(0)
    model = RelationModel(task.vocab_size, task.n_relations, n_heads=n_heads)
    train(
        model,
        lambda: as_torch(task.sample(64, rng)),
        lambda model, batch: relation_loss(model(batch[0]), batch[1]),
        steps=steps,
        learning_rate=1e-2,
    )
    return model.eval(), set_


@pytest.mark.learning
def test_four_heads_answer_four_questions_and_one_head_does_not():
    model, held_out = trained_relations(4, steps=400)
    questions, answers = as_torch(held_out)
    with torch.no_grad():
        logits, weights = model(questions, return_weights=True)
        assert relation_accuracy(logits, answers).min() > 0.95
        mass = [
            [mass_on_gold(weights[:, head].numpy(), held_out.links(relation)) for relation in range(4)]
            for head in range(4)
        ]
        # Every question has a head that looks at its gold places, and it is another one each.
        assert sorted(np.argmax(mass, axis=0)) == [0, 1, 2, 3]
        for relation in range(4):
            off = torch.ones(4)
            off[int(np.argmax(mass, axis=0)[relation])] = 0.0
            assert relation_accuracy(model(questions, head_gates=off), answers)[relation] < 0.6
    whole = loss_without(lambda gates: relation_loss(model(questions, head_gates=gates), answers), 4, [])
    assert whole < 0.3
    alone, _ = trained_relations(1, steps=400)
    with torch.no_grad():
        assert relation_accuracy(alone(questions), answers)[:2].max() < 0.75


# Translation


def test_translator_weights_are_those_of_its_layer_and_paths_agree():
    model = translator().double()
    source, lengths, target = pair_batch()
    logits, weights = model(source, lengths, target, return_weights=True)
    assert logits.shape == (3, N_TARGET, TARGET_VOCAB)
    assert weights.shape == (3, HEADS, N_TARGET, N_SOURCE)
    torch.testing.assert_close(model(source, lengths, target), logits, **FLOAT64)

    memory = model.encoder(source, lengths)
    decoder = model.decoder
    previous = torch.cat([torch.full((3, 1), START), target[:, :-1]], dim=1)
    states, _ = decoder.gru(decoder.target_embedding(previous), decoder.start(memory))
    mask = (torch.arange(N_SOURCE) < lengths[:, None])[:, None, None]
    context, wanted = decoder.attention(states, memory.states, mask=mask, return_weights=True)
    torch.testing.assert_close(weights, wanted, **FLOAT64)
    attended = torch.tanh(decoder.attended_proj(torch.cat([context, states], dim=-1)))
    torch.testing.assert_close(logits, decoder.output_proj(attended), **FLOAT64)
    assert (weights[~mask.expand_as(weights)] == 0).all()


@pytest.mark.parity
def test_one_head_that_projects_nothing_away_is_luongs_decoder():
    # General score q W kᵀ with W = W_Q W_Kᵀ/√d; the output projection folds into that of the attended state.
    d_hidden, d_memory = 8, 5
    many = MultiHeadDecoder(TARGET_VOCAB, d_memory, d_embedding=6, d_hidden=d_hidden, n_heads=1).double()
    luong = LuongDecoder(TARGET_VOCAB, d_memory, d_embedding=6, d_hidden=d_hidden, score="general").double()
    own = many.state_dict()
    shared = {name: own[name] for name in luong.state_dict() if name in own}
    weight = many.attention.query_proj.weight.T @ many.attention.key_proj.weight / d_hidden**0.5
    moved = many.attention.output_proj.weight @ many.attention.value_proj.weight  # (d_hidden, d_memory)
    luong.load_state_dict(
        shared
        | {
            "score.query_to_key.weight": weight.T,
            "attended_proj.weight": torch.cat(
                [many.attended_proj.weight[:, :d_hidden] @ moved, many.attended_proj.weight[:, d_hidden:]],
                dim=1,
            ),
        }
    )
    model = translator(d_hidden=4)
    model.encoder.d_memory = d_memory
    source, lengths, target = pair_batch()
    memory = model.encoder.double()(source, lengths)
    memory = memory._replace(states=memory.states[..., :d_memory], summary=memory.summary[..., :d_memory])
    for got, want in zip(
        many(target, memory, many.start(memory))[:2],
        luong(target, memory, luong.start(memory))[:2],
        strict=True,
    ):
        torch.testing.assert_close(got.squeeze(1) if got.ndim == 4 else got, want, **FLOAT64)


def test_padding_and_company_change_nothing():
    model = translator().double()
    source, lengths, target = pair_batch()
    whole = model(source, lengths, target)
    garbage = source.clone()
    garbage[torch.arange(N_SOURCE) >= lengths[:, None]] = 5
    torch.testing.assert_close(model(garbage, lengths, target), whole, **FLOAT64)
    for item, length in enumerate(lengths.tolist()):
        alone = model(source[item : item + 1, :length], lengths[item : item + 1], target[item : item + 1])
        torch.testing.assert_close(alone[0], whole[item], **FLOAT64)


def test_the_future_of_the_target_is_not_read():
    model = translator().double()
    source, lengths, target = pair_batch()
    whole = model(source, lengths, target)
    changed = target.clone()
    changed[:, 2:] = 3 + (changed[:, 2:] - 2) % (TARGET_VOCAB - 3)
    after = model(source, lengths, changed)
    torch.testing.assert_close(after[:, :3], whole[:, :3], rtol=0, atol=0)
    assert (after[:, 3] != whole[:, 3]).any()


@pytest.mark.parametrize("gated", [False, True])
def test_greedy_decoding_writes_what_teacher_forcing_finds_likeliest(gated):
    model = translator().double()
    with torch.no_grad():
        model.decoder.output_proj.bias[END] = 0.15  # so that some end early
    source, lengths, _ = pair_batch()
    gates = {"head_gates": torch.tensor([1.0, 0.0, 2.0, 1.0])} if gated else {}
    written, weights = model.greedy_decode(source, lengths, max_tokens=9, return_weights=True, **gates)
    assert torch.equal(written, model.greedy_decode(source, lengths, max_tokens=9, **gates))
    logits, forced = model(source, lengths, written, return_weights=True, **gates)
    real = (written == END).cumsum(dim=1) - (written == END).long() == 0  # END included
    likeliest = logits[..., END:].argmax(dim=-1) + END
    assert torch.equal(likeliest[real], written[real])
    assert (written[~real] == PADDING).all()
    by_step, forced_by_step = weights.transpose(1, 2), forced.transpose(1, 2)
    torch.testing.assert_close(by_step[real], forced_by_step[real], **FLOAT64)
    assert (by_step[~real] == 0).all()
    assert weights.shape == (3, HEADS, written.shape[1], N_SOURCE)


def test_translator_gates_reach_the_heads():
    model = translator().double()
    source, lengths, target = pair_batch()
    plain, weights = model(source, lengths, target, return_weights=True)
    ones = model(source, lengths, target, head_gates=torch.ones(HEADS))
    torch.testing.assert_close(ones, plain, **FLOAT64)
    rows = torch.ones(3, HEADS)
    rows[1, 2] = 0.0
    gated, same = model(source, lengths, target, head_gates=rows, return_weights=True)
    assert torch.equal(weights, same)
    torch.testing.assert_close(gated[[0, 2]], plain[[0, 2]], **FLOAT64)
    assert (gated[1] != plain[1]).any()


def test_translator_trains_and_survives_copies():
    model = translator()
    source, lengths, target = pair_batch()
    sequence_loss(model(source, lengths, target), target).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert not any("decoder.decoder" in name for name in model.state_dict())
    model.eval()
    expected = model(source, lengths, target)
    loaded = translator().eval()
    loaded.load_state_dict(model.state_dict())
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), loaded):
        assert torch.equal(other(source, lengths, target), expected)
    relation = relation_model()
    for other in (copy.deepcopy(relation), pickle.loads(pickle.dumps(relation))):
        assert torch.equal(other(tokens()), relation(tokens()))


def test_inputs_are_not_written():
    source, lengths, target = pair_batch()
    kept = copy.deepcopy((source, lengths, target))
    gates = torch.ones(HEADS)
    model = translator()
    model(source, lengths, target, head_gates=gates, return_weights=True)
    model.greedy_decode(source, lengths, max_tokens=4, head_gates=gates, return_weights=True)
    torch.testing.assert_close((source, lengths, target), kept, rtol=0, atol=0)
    assert (gates == 1).all()


@pytest.mark.learning
def test_translator_learns_to_copy():
    task, rng = CopyTask(2, 5, n_symbols=5), np.random.default_rng(0)
    set_seed(0)
    model = MultiHeadSeq2Seq(task.vocab_size, task.vocab_size, d_embedding=16, d_hidden=32, n_heads=4)

    def batch(size, rng):
        drawn = task.sample(size, rng)
        return tuple(torch.from_numpy(array) for array in (drawn.source, drawn.lengths, drawn.target))

    train(
        model,
        lambda: batch(64, rng),
        lambda model, batch: sequence_loss(model(*batch), batch[2]),
        steps=350,
        learning_rate=1e-2,
    )
    model.eval()
    source, lengths, target = batch(200, np.random.default_rng(10**6))
    written = model.greedy_decode(source, lengths, max_tokens=6)
    padded = F.pad(written, (0, 6 - written.shape[1]), value=PADDING)
    assert (padded == target).all(dim=1).float().mean() > 0.9


# Errors


def test_bad_input():
    with pytest.raises(ValueError, match="vocab_size must be at least 1, got vocab_size=0"):
        RelationModel(0, 2)
    with pytest.raises(ValueError, match="n_relations must be at least 1"):
        RelationModel(5, 0)
    with pytest.raises(ValueError, match="n_heads must divide d_model=12, got n_heads=5"):
        relation_model(n_heads=5)
    with pytest.raises(ValueError, match="d_hidden must be at least 1"):
        relation_model(d_hidden=0)
    with pytest.raises(ValueError, match="d_model must be even"):
        relation_model(d_model=15)(tokens())
    with pytest.raises(TypeError, match="tokens must be of type Tensor"):
        relation_model()([[1]])
    with pytest.raises(ValueError, match="tokens must have at least 2 axes"):
        relation_model()(torch.tensor([1]))
    with pytest.raises(ValueError, match="head_gates must have shape"):
        relation_model()(tokens(), head_gates=torch.ones(2))
    for function in (relation_loss, relation_accuracy):
        with pytest.raises(
            ValueError, match="logits must have the axes of answer and one for the vocabulary"
        ):
            function(torch.zeros(2, 3, 4, 5), torch.zeros(2, 3, 5).long())
        with pytest.raises(ValueError, match="logits must have the axes of answer"):
            function(torch.zeros(2, 3, 5), torch.zeros(2, 3).long())
    with pytest.raises(ValueError, match="n_heads must divide d_model=8, got n_heads=3"):
        translator(n_heads=3)
    with pytest.raises(ValueError, match="source_vocab_size must be at least 1"):
        MultiHeadSeq2Seq(0, 5)
    with pytest.raises(TypeError, match="target_vocab_size must be an integer"):
        MultiHeadSeq2Seq(5, 5.0)
    with pytest.raises(ValueError, match="d_embedding must be at least 1"):
        MultiHeadDecoder(5, 5, d_embedding=0)
    source, lengths, target = pair_batch()
    with pytest.raises(ValueError, match="target must hold tokens from 0 to 16"):
        translator()(source, lengths, target + 20)
    with pytest.raises(ValueError, match="max_tokens must be at least 1"):
        translator().greedy_decode(source, lengths, max_tokens=0)
