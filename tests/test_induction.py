"""Scores know the two heads in maps made by hand; the model is its formula; two layers learn to continue."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from attncourse.induction import (
    READS,
    AttentionOnlyModel,
    induction_score,
    predictable_accuracy,
    previous_token_score,
)
from attncourse.multihead import split_heads
from attncourse.positions import rotate
from attncourse.tasks.repeats import RepeatBatch, RepeatTask
from attncourse.text_measures import language_loss
from attncourse.training import set_seed, train
from tests.support.tolerances import FLOAT64

VOCAB, HEADS, D_MODEL, TOKENS, BATCH = 11, 3, 12, 7, 5
POSITIONS = pytest.mark.parametrize("positions", ["rotary", "learned"])


def model(n_layers=2, **options):
    torch.manual_seed(0)
    sizes = {"d_model": D_MODEL, "n_heads": HEADS, "max_tokens": TOKENS} | options
    return AttentionOnlyModel(VOCAB, n_layers=n_layers, **sizes).double()


def tokens():
    return torch.randint(VOCAB, (BATCH, TOKENS), generator=torch.Generator().manual_seed(1))


# Scores, on maps made by hand


def repeating():
    """Return a text a b c d | a b c d | a b c d …, read up to its eleventh token."""
    return RepeatBatch(tokens=np.array([[7, 4, 9, 5] * 3]), period=np.array([4]))


def uniform_map(n_tokens):
    return np.tri(n_tokens) / np.arange(1, n_tokens + 1)[:, None]


def pointing_map(n_tokens, back):
    """Return the map of a head that looks ``back`` tokens back, and at the first one where there is none."""
    places = np.maximum(np.arange(n_tokens) - back, 0)
    return np.eye(n_tokens)[places]


def test_scores_of_four_hand_made_heads():
    batch, n = repeating(), 11
    half = (pointing_map(n, 3) + pointing_map(n, 1)) / 2
    heads = [pointing_map(n, 1), pointing_map(n, 3), uniform_map(n), half]
    weights = np.stack(heads)[None]  # (1, n_heads, n_tokens, n_tokens)
    # Nothing looks one back when it looks three back, save token 1, whose only earlier token is token 0.
    wanted = [1, 0.1, np.mean([1 / (t + 1) for t in range(1, n)]), 0.55]
    np.testing.assert_allclose(previous_token_score(weights), wanted, rtol=1e-12)
    # From token 4 on, the next one stood 3 places back, and from token 7 on also 7 places back.
    chance = np.mean([(1 if t < 7 else 2) / (t + 1) for t in range(4, n)])
    np.testing.assert_allclose(induction_score(weights, batch.links()), [0, 1, chance, 0.5], rtol=1e-12)


def test_a_head_may_look_at_any_earlier_appearance():
    earliest = np.eye(11)[(np.arange(11) + 1) % 4][None, None]  # always into the first block
    assert induction_score(earliest, repeating().links()).tolist() == [1.0]
    same_token = pointing_map(11, 4)[None, None]  # the token itself, one period before: not what follows it
    assert induction_score(same_token, repeating().links()).tolist() == [0.0]


def test_scores_keep_layers_and_heads_apart_and_average_over_texts():
    rng = np.random.default_rng(0)
    weights = rng.random((BATCH, 2, HEADS, 13, 13)) * np.tri(13)
    weights /= weights.sum(axis=-1, keepdims=True)
    batch = RepeatTask(13, 8, 3, 7).sample(BATCH, rng)
    links = batch.links()
    before = weights.copy(), links.copy()
    prev, induction = previous_token_score(weights), induction_score(weights, links)
    assert prev.shape == induction.shape == (2, HEADS)
    assert prev.dtype == induction.dtype == np.float64
    for layer in range(2):
        for head in range(HEADS):
            maps = weights[:, layer, head]
            one_back = [maps[b, t, t - 1] for b in range(BATCH) for t in range(1, 13)]
            rows = [maps[b, t] @ links[b, t] for b in range(BATCH) for t in range(13) if links[b, t].any()]
            np.testing.assert_allclose(prev[layer, head], np.mean(one_back), rtol=1e-12)
            np.testing.assert_allclose(induction[layer, head], np.mean(rows), rtol=1e-12)
    np.testing.assert_array_equal(weights, before[0])
    np.testing.assert_array_equal(links, before[1])


def test_accuracy_counts_predictable_tokens_only():
    batch = RepeatBatch(tokens=np.array([[3, 4, 3, 4, 3], [5, 6, 7, 5, 6]]), period=np.array([2, 3]))
    logits = torch.zeros(2, 4, 8)
    logits[0, 2, 4] = logits[0, 3, 5] = logits[1, 3, 6] = 1.0  # right, wrong, right
    assert predictable_accuracy(logits, batch) == pytest.approx(2 / 3)
    logits[:, 0, 3] = 9.0  # the first block does not count
    assert predictable_accuracy(logits, batch) == pytest.approx(2 / 3)


# The model


def by_hand(net, inputs, layer, gates):
    """Return what one layer adds, head by head, and its weights."""
    query, key, value = (
        split_heads(proj(x), HEADS)
        for proj, x in zip((layer.query_proj, layer.key_proj, layer.value_proj), inputs, strict=True)
    )
    if net.positions is None:
        query, key = rotate(query), rotate(key)
    scores = query @ key.mT / (D_MODEL // HEADS) ** 0.5
    future = torch.ones(TOKENS, TOKENS).triu(1).bool()
    weights = scores.masked_fill(future, float("-inf")).softmax(dim=-1)
    heads = weights @ value * gates[:, None, None]
    return F.linear(
        heads.transpose(1, 2).flatten(2), layer.output_proj.weight, layer.output_proj.bias
    ), weights


def start(net):
    x = net.embedding(tokens())
    return x if net.positions is None else x + net.positions(TOKENS)


@POSITIONS
@pytest.mark.parametrize("n_layers", [1, 2, 3])
def test_model_is_its_formula_and_shows_all_maps(positions, n_layers):
    net = model(n_layers, positions=positions)
    gates = torch.rand(n_layers, HEADS, generator=torch.Generator().manual_seed(2)).double()
    stream, maps = start(net), []
    for layer, row in zip(net.layers, gates, strict=True):
        found, weights = by_hand(net, (stream, stream, stream), layer, row)
        stream, maps = stream + found, [*maps, weights]
    logits, weights = net(tokens(), head_gates=gates, return_weights=True)
    torch.testing.assert_close(logits, stream @ net.output_proj.weight.T, **FLOAT64)
    assert weights.shape == (BATCH, n_layers, HEADS, TOKENS, TOKENS)
    torch.testing.assert_close(weights, torch.stack(maps, dim=1), **FLOAT64)
    torch.testing.assert_close(net(tokens(), head_gates=gates), logits, **FLOAT64)
    ones = torch.ones(n_layers, HEADS).double()
    torch.testing.assert_close(net(tokens(), head_gates=ones), net(tokens()), **FLOAT64)


@POSITIONS
def test_read_gates_change_one_reader_and_leave_the_stream_whole(positions):
    net = model(positions=positions)
    x, ones = start(net), torch.ones(HEADS).double()
    whole, _ = by_hand(net, (x, x, x), net.layers[0], ones)
    for place, name in enumerate(READS):
        gates = torch.ones(3, HEADS).double()
        gates[place, 1] = 0.25
        less, _ = by_hand(net, (x, x, x), net.layers[0], gates[place])
        inputs = [x + whole] * 3
        inputs[place] = x + less
        found, maps = by_hand(net, inputs, net.layers[1], ones)
        logits, weights = net(tokens(), read_gates=gates, return_weights=True)
        torch.testing.assert_close(logits, (x + whole + found) @ net.output_proj.weight.T, **FLOAT64)
        torch.testing.assert_close(weights[:, 1], maps, **FLOAT64)
        torch.testing.assert_close(net(tokens(), read_gates=gates), logits, **FLOAT64)
        # Another value moves no weight; another query or key does.
        plain = net(tokens(), return_weights=True)[1][:, 1]
        assert torch.allclose(weights[:, 1], plain) == (name == "value")
    all_ones = torch.ones(3, HEADS).double()
    torch.testing.assert_close(net(tokens(), read_gates=all_ones), net(tokens()), **FLOAT64)


@POSITIONS
def test_nobody_sees_the_future_and_nothing_is_written_to(positions):
    net, given = model(positions=positions), tokens()
    before, gates = given.clone(), torch.ones(2, HEADS).double()
    logits = net(given, head_gates=gates)
    assert given.equal(before)
    assert gates.equal(torch.ones(2, HEADS).double())
    given[:, 4] = (given[:, 4] + 1) % VOCAB
    changed = net(given)
    torch.testing.assert_close(changed[:, :4], logits[:, :4], **FLOAT64)
    assert (changed[:, 4:] != logits[:, 4:]).any(dim=-1).all()


@POSITIONS
@pytest.mark.gradients
def test_gradients_reach_every_parameter(positions):
    net = model(positions=positions)
    net(tokens(), head_gates=torch.ones(2, HEADS).double()).square().sum().backward()
    for name, parameter in net.named_parameters():
        # A bias of the keys moves all scores of a row alike, without rotation.
        if not (name.endswith("key_proj.bias") and positions == "learned"):
            assert parameter.grad.abs().max() > 1e-6, name


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: AttentionOnlyModel(0), ValueError, "vocab_size must be at least 1, got vocab_size=0"),
        (lambda: model(0), ValueError, "n_layers must be at least 1, got n_layers=0"),
        (lambda: model(positions="alibi"), ValueError, "positions must be one of .*, got positions='alibi'"),
        (lambda: model(n_heads=5), ValueError, "n_heads must divide d_model=12, got n_heads=5"),
        (lambda: model()(np.zeros((2, 3))), TypeError, "tokens must be of type Tensor, got .*"),
        (lambda: model()(tokens()[0]), ValueError, r"tokens must have at least 2 axes, got .*"),
        (
            lambda: model()(tokens(), head_gates=torch.ones(HEADS, 2)),
            ValueError,
            r"head_gates must have shape \(2, 3\), got head_gates.shape=\(3, 2\)",
        ),
        (
            lambda: model()(tokens(), read_gates=torch.ones(2, HEADS)),
            ValueError,
            r"read_gates must have shape \(3, 3\), got read_gates.shape=\(2, 3\)",
        ),
        (
            lambda: model()(tokens(), read_gates=np.ones((3, HEADS))),
            TypeError,
            "read_gates must be of type Tensor, got read_gates of type ndarray",
        ),
        (
            lambda: model(3)(tokens(), read_gates=torch.ones(3, HEADS)),
            ValueError,
            "read_gates must come with two layers and without head_gates, "
            "got read_gates with n_layers=3 and no head_gates",
        ),
        (
            lambda: model()(tokens(), head_gates=torch.ones(2, HEADS), read_gates=torch.ones(3, HEADS)),
            ValueError,
            "read_gates must come with two layers and without head_gates, "
            "got read_gates with n_layers=2 and head_gates",
        ),
        (
            lambda: model(positions="learned", max_tokens=6)(tokens()),
            ValueError,
            r"offset \+ n_tokens must be at most max_tokens=6 .*",
        ),
        (
            lambda: previous_token_score(np.ones((1, 3, 4))),
            ValueError,
            "weights must have square maps, got .*",
        ),
        (
            lambda: previous_token_score(np.ones((2, 1, 1))),
            ValueError,
            r"weights must have at least two tokens, got weights.shape=\(2, 1, 1\)",
        ),
        (lambda: previous_token_score(np.ones((3, 3))), ValueError, "weights must have at least 3 axes, .*"),
        (
            lambda: previous_token_score(torch.ones(2, 3, 3)),
            TypeError,
            "weights must be of type ndarray, got weights of type Tensor",
        ),
        (
            lambda: induction_score(np.ones((2, 3, 3)), np.ones((2, 3, 4), dtype=bool)),
            ValueError,
            "weights and gold must have the same shape, got .*",
        ),
        (
            lambda: induction_score(np.ones((2, 3, 3)), np.zeros((2, 3, 3), dtype=bool)),
            ValueError,
            "gold must hold a link, got .*",
        ),
        (
            lambda: predictable_accuracy(torch.ones(1, 10, VOCAB), repeating()),
            ValueError,
            r"logits must have one row for each token that is read, "
            r"got logits.shape=\(1, 10, 11\), tokens.shape=\(1, 12\)",
        ),
    ],
)
def test_bad_arguments_are_refused(call, error, text):
    with pytest.raises(error, match=f"^{text}$"):
        call()


# Learning


def trained(n_layers):
    """Return a trained model's accuracy and maps on fresh texts, and the links of these."""
    task, rng = RepeatTask(24, 16, 6, 12), np.random.default_rng(0)
    set_seed(0)
    net = AttentionOnlyModel(task.vocab_size, n_layers=n_layers, positions="learned")

    def loss_fn(net, texts):
        return language_loss(net(texts[:, :-1]), texts)

    train(
        net,
        lambda: torch.from_numpy(task.sample(32, rng).tokens),
        loss_fn,
        steps=400,
        learning_rate=5e-3,
    )
    held_out = task.sample(256, np.random.default_rng(10**6))
    with torch.no_grad():
        logits, weights = net.eval()(torch.from_numpy(held_out.tokens[:, :-1]), return_weights=True)
    return predictable_accuracy(logits, held_out), weights.numpy(), held_out.links()


@pytest.mark.learning
def test_two_layers_learn_an_induction_head_and_one_layer_does_not():
    accuracy, weights, links = trained(2)
    assert accuracy > 0.95
    # The first layer looks one back, and only as far as there are tokens that will come again.
    assert previous_token_score(weights[..., :12, :12])[0].max() > 0.6
    assert induction_score(weights, links)[0].max() < 0.3
    assert induction_score(weights, links)[1].max() > 0.8
    accuracy, weights, links = trained(1)
    assert accuracy < 0.5
    assert induction_score(weights, links).max() < 0.4
