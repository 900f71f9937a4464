"""Self-attention equals the plain function, ignores order exactly where it should, and shows what it used."""

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from attncourse.attention import scaled_dot_product_attention
from attncourse.masks import causal_mask, padding_mask
from attncourse.position_biases import alibi_bias, alibi_slopes, linear_bias
from attncourse.positions import rotate, sinusoidal_positions
from attncourse.self_attention import (
    POSITION_SCHEMES,
    SCORE_SCHEMES,
    HeadsSideBySide,
    PositionModel,
    SelfAttention,
)
from attncourse.tasks.lookback import LookbackTask
from attncourse.tasks.sets import OddOneOutTask
from attncourse.training import set_seed, train
from tests.support.tolerances import FLOAT64

BATCH, N_TOKENS, D_MODEL, D_HEAD, N_HEADS, VOCAB_SIZE = 3, 7, 20, 6, 5, 11
SEEDS = st.integers(0, 2**31)
ANY_POSITIONS = [None, *SCORE_SCHEMES]


def sequences(seed=0, n_tokens=N_TOKENS, d_model=D_MODEL):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(BATCH, n_tokens, d_model, generator=generator, dtype=torch.float64)


def layer(positions=None, d_head=D_HEAD, seed=0, **arguments):
    set_seed(seed)
    return SelfAttention(D_MODEL, d_head, positions=positions, **arguments).double()


def model(scheme, seed=0, **arguments):
    set_seed(seed)
    built = PositionModel(
        nn.Embedding(VOCAB_SIZE, D_MODEL), D_MODEL, VOCAB_SIZE, scheme, n_heads=N_HEADS, **arguments
    )
    return built.double()


def tokens(seed=0, n_tokens=N_TOKENS):
    return torch.randint(1, VOCAB_SIZE, (BATCH, n_tokens), generator=torch.Generator().manual_seed(seed))


# One head ------------------------------------------------------------------------------------------------


@pytest.mark.parity
@pytest.mark.parametrize("masked", [False, True])
def test_without_positions_it_is_attention_of_three_projections(masked):
    head, inputs = layer(), sequences().requires_grad_()
    mask = padding_mask(torch.tensor([7, 2, 0]), N_TOKENS) if masked else None
    output, weights = head(inputs, mask, return_weights=True)
    projected = [inputs @ proj.weight.T for proj in (head.query_proj, head.key_proj, head.value_proj)]
    mixture, expected_weights = scaled_dot_product_attention(*projected, mask, return_weights=True)
    expected = mixture @ head.output_proj.weight.T
    torch.testing.assert_close(output, expected, **FLOAT64)
    torch.testing.assert_close(weights, expected_weights, **FLOAT64)
    variables = [inputs, *head.parameters()]
    for got, want in zip(
        torch.autograd.grad(output.square().sum(), variables),
        torch.autograd.grad(expected.square().sum(), variables),
        strict=True,
    ):
        torch.testing.assert_close(got, want, **FLOAT64)


@pytest.mark.parity
@pytest.mark.parametrize("positions", SCORE_SCHEMES)
def test_each_scheme_equals_torchs_attention_with_the_scheme_outside(positions):
    head, inputs = layer(positions, max_distance=2, slope=0.3), sequences()
    query, key, value = (proj(inputs) for proj in (head.query_proj, head.key_proj, head.value_proj))
    mask = causal_mask(N_TOKENS, N_TOKENS)
    bias = torch.zeros(BATCH, N_TOKENS, N_TOKENS, dtype=torch.float64)
    if positions == "rotary":
        query, key = rotate(query), rotate(key)
    elif positions == "alibi":
        bias = bias + linear_bias(torch.tensor(0.3).double(), N_TOKENS, N_TOKENS)
    else:
        bias = head.relative_keys(query, N_TOKENS)
    expected = F.scaled_dot_product_attention(
        query, key, value, attn_mask=bias.masked_fill(~mask, float("-inf"))
    )
    torch.testing.assert_close(head(inputs, mask), head.output_proj(expected), **FLOAT64)


@pytest.mark.parity
@pytest.mark.parametrize("positions", ANY_POSITIONS)
def test_the_weights_are_those_that_made_the_output(positions):
    head, inputs = layer(positions), sequences()
    output, weights = head(inputs, causal_mask(N_TOKENS, N_TOKENS), return_weights=True)
    torch.testing.assert_close(head.output_proj(weights @ head.value_proj(inputs)), output, **FLOAT64)
    torch.testing.assert_close(output, head(inputs, causal_mask(N_TOKENS, N_TOKENS)), rtol=0, atol=0)


@pytest.mark.properties
@given(n_tokens=st.integers(1, 9), seed=SEEDS)
def test_without_positions_reordered_tokens_give_reordered_outputs(n_tokens, seed):
    head, inputs = layer(seed=seed), sequences(seed, n_tokens)
    order = torch.randperm(n_tokens, generator=torch.Generator().manual_seed(seed))
    output, weights = head(inputs, return_weights=True)
    reordered, reordered_weights = head(inputs[:, order], return_weights=True)
    torch.testing.assert_close(reordered, output[:, order], **FLOAT64)
    torch.testing.assert_close(reordered_weights, weights[:, order][:, :, order], **FLOAT64)


@pytest.mark.parametrize("positions", SCORE_SCHEMES)
def test_every_scheme_tells_orders_apart(positions):
    head, inputs = layer(positions), sequences()
    order = torch.tensor([2, 0, 1, 5, 6, 4, 3])
    assert (head(inputs[:, order]) - head(inputs)[:, order]).abs().min() > 1e-6


@pytest.mark.properties
@pytest.mark.parametrize("positions", SCORE_SCHEMES)
@given(shift=st.integers(1, 5), seed=SEEDS)
def test_every_scheme_sees_distances_only(positions, shift, seed):
    # Hidden tokens in front move all the others by the same distance: nothing may change for these.
    head, inputs = layer(positions, seed=seed), sequences(seed)
    shifted = torch.cat([sequences(seed + 1, shift), inputs], dim=1)
    mask = torch.arange(N_TOKENS + shift) >= shift
    torch.testing.assert_close(head(shifted, mask)[:, shift:], head(inputs), **FLOAT64)


@pytest.mark.properties
@pytest.mark.parametrize("positions", ANY_POSITIONS)
@given(n_real=st.integers(1, N_TOKENS), seed=SEEDS)
def test_garbage_in_padding_changes_nothing(positions, n_real, seed):
    head, inputs = layer(positions, seed=seed), sequences(seed)
    mask = padding_mask(torch.full((BATCH,), n_real), N_TOKENS)
    spoilt = inputs.clone()
    spoilt[:, n_real:] = 1e9
    expected = head(inputs, mask)[:, :n_real]
    torch.testing.assert_close(head(spoilt, mask)[:, :n_real], expected, rtol=0, atol=0)
    torch.testing.assert_close(head(inputs[:, :n_real]), expected, **FLOAT64)


@pytest.mark.properties
@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize("positions", ANY_POSITIONS)
@given(changed=st.integers(0, N_TOKENS - 1), seed=SEEDS)
def test_changing_the_future_never_changes_the_past(positions, mode, changed, seed):
    head, inputs = layer(positions, seed=seed).train(mode), sequences(seed)
    mask = causal_mask(N_TOKENS, N_TOKENS)
    later = inputs.clone()
    later[:, changed:] += 3.0
    before, after = head(inputs, mask), head(later, mask)
    torch.testing.assert_close(after[:, :changed], before[:, :changed], rtol=0, atol=0)
    assert (after[:, changed:] != before[:, changed:]).any()


@pytest.mark.gradients
@pytest.mark.parametrize("positions", ANY_POSITIONS)
def test_gradcheck_with_an_empty_row(positions):
    head, inputs = layer(positions, d_head=2), sequences(n_tokens=4)[:2].requires_grad_()
    mask = padding_mask(torch.tensor([3, 0]), 4)
    assert torch.autograd.gradcheck(lambda inputs: head(inputs, mask), [inputs])
    assert (head(inputs, mask)[1] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("positions", ANY_POSITIONS)
def test_half_precision_keeps_its_dtype(positions, dtype):
    head = layer(positions).to(dtype)
    output, weights = head(sequences().to(dtype), return_weights=True)
    assert output.dtype == weights.dtype == dtype
    torch.testing.assert_close(
        output.double(), copy.deepcopy(head).double()(sequences().to(dtype).double()), rtol=0.05, atol=0.05
    )


@pytest.mark.parametrize("positions", ANY_POSITIONS)
def test_state_copies_and_inputs_survive(positions):
    head, inputs = layer(positions, slope=0.25), sequences()
    before = inputs.clone()
    expected = head(inputs)
    assert torch.equal(inputs, before)
    fresh = layer(positions, seed=1, slope=2.0)
    assert (fresh(inputs) != expected).any()
    fresh.load_state_dict(head.state_dict())
    for other in (fresh, copy.deepcopy(head), pickle.loads(pickle.dumps(head))):
        assert torch.equal(other(inputs), expected)


def test_parameter_counts():
    n_projections = 4 * D_MODEL * D_HEAD
    for positions, extra in ((None, 0), ("rotary", 0), ("alibi", 0), ("relative", 7 * D_HEAD)):
        head = layer(positions, max_distance=3)
        assert sum(parameter.numel() for parameter in head.parameters()) == n_projections + extra
    assert SelfAttention(5).query_proj.weight.shape == (5, 5)


# Heads side by side --------------------------------------------------------------------------------------


@pytest.mark.parity
@pytest.mark.parametrize("positions", ANY_POSITIONS)
def test_side_by_side_is_a_sum_of_heads(positions):
    set_seed(0)
    heads, inputs = HeadsSideBySide(D_MODEL, N_HEADS, positions=positions).double(), sequences()
    mask = causal_mask(N_TOKENS, N_TOKENS)
    output, weights = heads(inputs, mask, return_weights=True)
    assert weights.shape == (BATCH, N_HEADS, N_TOKENS, N_TOKENS)
    expected = torch.zeros_like(inputs)
    for index, head in enumerate(heads.heads):
        said, looked = head(inputs, mask, return_weights=True)
        expected = expected + said
        assert torch.equal(weights[:, index], looked)
    torch.testing.assert_close(output, expected, **FLOAT64)
    torch.testing.assert_close(heads(inputs, mask), output, rtol=0, atol=0)


def test_every_alibi_head_has_its_own_slope():
    heads = HeadsSideBySide(D_MODEL, N_HEADS, positions="alibi")
    slopes = torch.stack([head.slope for head in heads.heads])
    assert torch.equal(slopes, alibi_slopes(N_HEADS))
    for head in heads.heads:
        nn.init.zeros_(head.query_proj.weight)  # only the bias is left
    _, weights = heads(sequences().float(), return_weights=True)
    expected = alibi_bias(N_HEADS, N_TOKENS, N_TOKENS).softmax(dim=-1)
    torch.testing.assert_close(weights[0], expected)


# The model -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("scheme", POSITION_SCHEMES)
def test_padding_never_reaches_real_tokens(scheme, is_causal):
    built, source, lengths = model(scheme, is_causal=is_causal), tokens(), torch.tensor([7, 4, 1])
    output, weights = built(source, lengths, return_weights=True)
    assert weights.shape == (BATCH, 2, N_HEADS, N_TOKENS, N_TOKENS)
    assert output.shape == (BATCH, N_TOKENS, VOCAB_SIZE)
    spoilt = torch.where(torch.arange(N_TOKENS) < lengths[:, None], source, 0)
    for row, length in enumerate(lengths.tolist()):
        alone = built(source[row : row + 1, :length])
        torch.testing.assert_close(output[row : row + 1, :length], alone, **FLOAT64)
        torch.testing.assert_close(built(spoilt, lengths)[row, :length], output[row, :length], rtol=0, atol=0)
        assert (weights[row, ..., length:] == 0).all()
    assert (weights.triu(1) == 0).all() == is_causal
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]), **FLOAT64)
    torch.testing.assert_close(built(source, lengths), output, rtol=0, atol=0)


@pytest.mark.parametrize("scheme", POSITION_SCHEMES)
def test_only_a_causal_model_is_blind_to_the_future(scheme):
    source = tokens()
    changed = source.clone()
    changed[:, 4] = source[:, 4] % (VOCAB_SIZE - 1) + 1
    for is_causal in (False, True):
        built = model(scheme, is_causal=is_causal)
        same = (built(source)[:, :4] == built(changed)[:, :4]).all(-1)
        assert same.all() == is_causal


@pytest.mark.properties
@pytest.mark.parametrize("scheme", POSITION_SCHEMES)
@given(seed=SEEDS)
def test_only_the_model_without_positions_ignores_order(scheme, seed):
    built = model(scheme, seed)
    source = torch.stack([torch.randperm(VOCAB_SIZE, generator=torch.Generator().manual_seed(seed))])
    backwards = source.flip(1)
    difference = (built(backwards) - built(source).flip(1)).abs().max()
    if scheme in ("none", "alibi"):
        # Mirrored, all distances keep their size: symmetric ALiBi sees no mirror image.
        assert difference < 1e-9
    else:
        assert difference > 1e-6
    turned = source.roll(4, dims=1)
    difference = (built(turned) - built(source).roll(4, dims=1)).abs().max()
    assert (difference < 1e-9) == (scheme == "none")


def test_position_vectors_are_added_to_the_embeddings():
    for scheme in ("sinusoidal", "learned"):
        built = model(scheme)
        plain = model("none")
        plain.load_state_dict(
            {name: value for name, value in built.state_dict().items() if "learned" not in name}
        )
        added = (
            built.learned.table[:N_TOKENS]
            if scheme == "learned"
            else sinusoidal_positions(N_TOKENS, D_MODEL, dtype=torch.float64)
        )
        source = tokens()
        plain.embed, embedding = nn.Identity(), plain.embed
        torch.testing.assert_close(plain(embedding(source) + added), built(source), **FLOAT64)


def test_learned_positions_stop_the_model_at_its_longest_sequence():
    built = model("learned", max_tokens=6)
    assert built(tokens(n_tokens=6)).isfinite().all()
    with pytest.raises(ValueError, match=r"offset \+ n_tokens must be at most max_tokens=6 .*n_tokens=7$"):
        built(tokens())


@pytest.mark.learning
def test_looking_back_needs_positions():
    task = LookbackTask(3, 8, 4, 2)

    def accuracy(scheme):
        set_seed(0)
        built = PositionModel(
            nn.Embedding(task.vocab_size, 32), 32, task.vocab_size, scheme, n_layers=1, n_heads=2
        )
        rng = np.random.default_rng(0)

        def loss(built, batch):
            logits = built(torch.from_numpy(batch.tokens), torch.from_numpy(batch.lengths))
            return F.cross_entropy(
                logits.flatten(0, 1), torch.from_numpy(batch.target).flatten(), ignore_index=0
            )

        train(built, lambda: task.sample(32, rng), loss, steps=200, learning_rate=5e-3)
        held_out = task.sample(200, np.random.default_rng(1))
        logits = built(torch.from_numpy(held_out.tokens), torch.from_numpy(held_out.lengths))
        right = logits.argmax(-1).numpy() == held_out.target
        return right[held_out.gold >= 0].mean()

    assert accuracy("relative") > 0.95
    assert accuracy("none") < 0.6


@pytest.mark.learning
def test_the_odd_one_out_is_found_at_places_where_it_never_was():
    task = OddOneOutTask(6, noise=0.1)
    set_seed(0)
    built = PositionModel(nn.Linear(8, 32), 32, 1, "none", n_heads=2)
    rng = np.random.default_rng(0)

    def loss(built, batch):
        return F.cross_entropy(
            built(torch.from_numpy(batch.vectors)).squeeze(-1), torch.from_numpy(batch.gold)
        )

    train(built, lambda: task.sample(64, rng, among_first=3), loss, steps=150, learning_rate=3e-3)
    held_out = task.sample(500, np.random.default_rng(1))
    answer = built(torch.from_numpy(held_out.vectors)).squeeze(-1).argmax(-1).numpy()
    assert (answer == held_out.gold)[held_out.gold >= 3].mean() > 0.9


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: SelfAttention(0), ValueError, "d_model must be at least 1, got d_model=0"),
        (lambda: SelfAttention(4, 2.0), TypeError, r"d_head must be an integer, got d_head=2\.0"),
        (
            lambda: SelfAttention(4, positions="learned"),
            ValueError,
            "positions must be one of 'relative', 'rotary', 'alibi', got positions='learned'",
        ),
        (
            lambda: SelfAttention(4, 3, positions="rotary"),
            ValueError,
            "d_head must be even for rotary positions, got d_head=3",
        ),
        (lambda: SelfAttention(4, slope=-1.0), ValueError, r"slope must be at least 0, got slope=-1\.0"),
        (
            lambda: SelfAttention(4, positions="relative", max_distance=0),
            ValueError,
            "max_distance must be at least 1, got max_distance=0",
        ),
        (
            lambda: SelfAttention(4)(torch.ones(2, 3, 5)),
            ValueError,
            r"inputs must have d_model=4 as its last axis, got inputs\.shape=\(2, 3, 5\)",
        ),
        (
            lambda: SelfAttention(4)(torch.ones(3, 4)),
            ValueError,
            r"inputs must have at least 3 axes, got inputs\.shape=\(3, 4\)",
        ),
        (
            lambda: SelfAttention(4)(np.ones((2, 3, 4))),
            TypeError,
            "inputs must be of type Tensor, got inputs of type ndarray",
        ),
        (
            lambda: SelfAttention(4)(torch.ones(2, 3, 4), torch.ones(3, 3)),
            TypeError,
            r"mask must be boolean \(True = may attend\), got mask\.dtype=float32",
        ),
        (
            lambda: HeadsSideBySide(7, 2),
            ValueError,
            "d_model must be a multiple of n_heads, got d_model=7, n_heads=2",
        ),
        (
            lambda: PositionModel(nn.Linear(3, 4), 4, 2, "polar"),
            ValueError,
            "scheme must be one of 'none', 'sinusoidal', .*, got scheme='polar'",
        ),
        (
            lambda: PositionModel(nn.Linear(3, 4), 4, 2, "none", n_layers=0),
            ValueError,
            "n_layers must be at least 1, got n_layers=0",
        ),
        (
            lambda: PositionModel(lambda x: x, 4, 2, "none"),
            TypeError,
            "embed must be of type Module, got embed of type function",
        ),
        (
            lambda: PositionModel(nn.Linear(3, 5), 4, 2, "none")(torch.ones(2, 6, 3)),
            ValueError,
            r"embed\(inputs\) must have d_model=4 as its last axis, got embed\(inputs\)\.shape=\(2, 6, 5\)",
        ),
    ],
)
def test_bad_input(call, error, text):
    with pytest.raises(error, match=f"^{text}$"):
        call()
