"""The heads equal a loop over single attentions and torch's layer, and both paths give the same numbers."""

import copy
import itertools
import math
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from attncourse.attention import scaled_dot_product_attention
from attncourse.masks import causal_mask, padding_mask
from attncourse.multihead import MultiHeadAttention, merge_heads, split_heads
from attncourse.position_biases import alibi_bias
from attncourse.positions import rotate
from tests.support.tolerances import BFLOAT16, FLOAT16, FLOAT32, FLOAT64

BATCH, HEADS, N_QUERIES, N_KEYS, D_HEAD, D_KEY, D_VALUE = 2, 3, 5, 11, 4, 7, 13
D_MODEL = HEADS * D_HEAD


def layer(n_heads=HEADS, *, d_model=D_MODEL, dtype=torch.float64, seed=0, **options):
    """Return a layer whose weights and biases are all random, so that none can hide."""
    made = MultiHeadAttention(d_model, n_heads, **options).to(dtype)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in made.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(0.5 * noise)
    return made


def inputs(*shapes, dtype=torch.float64, seed=1, requires_grad=True):
    generator = torch.Generator().manual_seed(seed)
    shapes = shapes or ((N_QUERIES, D_MODEL), (N_KEYS, D_KEY), (N_KEYS, D_VALUE))
    made = [
        torch.randn(BATCH, *shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes
    ]
    return [array.requires_grad_(requires_grad) for array in made]


def mask_with_empty_row(n_queries=N_QUERIES, n_keys=N_KEYS, *, heads=HEADS):
    mask = torch.rand(BATCH, heads, n_queries, n_keys, generator=torch.Generator().manual_seed(2)) < 0.5
    mask[1, :, 2] = False
    return mask


def assert_same_values_and_gradients(ours, theirs, leaves, tolerance=FLOAT64):
    """Compare two outputs, and what any upstream gradient makes of the same leaves through either."""
    torch.testing.assert_close(ours, theirs, **tolerance)
    upstream = torch.randn(ours.shape, generator=torch.Generator().manual_seed(3), dtype=ours.dtype)
    mine = torch.autograd.grad(ours, leaves, upstream, retain_graph=True)
    others = torch.autograd.grad(theirs, leaves, upstream, retain_graph=True)
    for one, other in zip(mine, others, strict=True):
        assert one.isfinite().all()
        torch.testing.assert_close(one, other, **tolerance)


# Splitting and merging


def test_split_cuts_features_and_keeps_tokens():
    x = torch.tensor([[0, 1, 2, 3, 4, 5], [10, 11, 12, 13, 14, 15]])
    assert split_heads(x, 3).tolist() == [[[0, 1], [10, 11]], [[2, 3], [12, 13]], [[4, 5], [14, 15]]]


def test_split_is_a_view_and_merge_undoes_it():
    x = torch.randn(2, 5, 21)
    split = split_heads(x, 3)
    assert split.shape == (2, 3, 5, 7)
    assert split.data_ptr() == x.data_ptr()
    assert torch.equal(merge_heads(split), x)
    assert merge_heads(split).data_ptr() == x.data_ptr()


# Heads in a loop


@pytest.mark.parametrize("n_kv_heads", [6, 3, 2, 1])
def test_equals_single_attentions_made_from_slices_of_the_weights(n_kv_heads):
    many = layer(6, d_model=24, n_kv_heads=n_kv_heads, d_key=D_KEY, d_value=D_VALUE)
    query, key, value = inputs((N_QUERIES, 24), (N_KEYS, D_KEY), (N_KEYS, D_VALUE))
    mask = mask_with_empty_row(heads=6)
    total, weights = many.output_proj.bias, []
    for head in range(6):
        shared = head // (6 // n_kv_heads)
        own, common = slice(4 * head, 4 * head + 4), slice(4 * shared, 4 * shared + 4)
        output, map_ = scaled_dot_product_attention(
            query @ many.query_proj.weight[own].T + many.query_proj.bias[own],
            key @ many.key_proj.weight[common].T + many.key_proj.bias[common],
            value @ many.value_proj.weight[common].T + many.value_proj.bias[common],
            mask[:, head],
            return_weights=True,
        )
        # The output projection of side-by-side heads is a sum over heads of their own slices.
        total = total + output @ many.output_proj.weight[:, own].T
        weights.append(map_)
    leaves = [query, key, value, *many.parameters()]
    for return_weights in (False, True):
        result = many(query, key, value, mask, return_weights=return_weights)
        output = result[0] if return_weights else result
        assert_same_values_and_gradients(output, total, leaves)
    torch.testing.assert_close(result[1], torch.stack(weights, dim=1), **FLOAT64)


def test_number_of_parameters():
    def count(**options):
        return sum(p.numel() for p in MultiHeadAttention(24, 6, **options).parameters())

    assert count() == 4 * (24 * 24 + 24)
    assert count(bias=False) == 4 * 24 * 24
    assert count(n_kv_heads=2, bias=False) == 2 * 24 * 24 + 2 * 24 * 8
    assert count(n_kv_heads=1, bias=False, d_key=5, d_value=7) == 2 * 24 * 24 + (5 + 7) * 4


def test_value_size_follows_the_key():
    made = MultiHeadAttention(6, 2, d_key=5)
    assert made.value_proj.in_features == 5
    assert made(torch.randn(2, 3, 6), torch.randn(2, 7, 5)).shape == (2, 3, 6)


# torch's layer


def torch_layer(ours, **options):
    """Return nn.MultiheadAttention with copies of our weights."""
    bias = ours.query_proj.bias is not None
    theirs = nn.MultiheadAttention(
        ours.d_model, ours.n_heads, bias=bias, kdim=ours.d_key, vdim=ours.d_value, batch_first=True, **options
    ).double()
    projections = (ours.query_proj, ours.key_proj, ours.value_proj)
    with torch.no_grad():
        if theirs.in_proj_weight is not None:
            theirs.in_proj_weight.copy_(torch.cat([proj.weight for proj in projections]))
        else:
            theirs.q_proj_weight.copy_(ours.query_proj.weight)
            theirs.k_proj_weight.copy_(ours.key_proj.weight)
            theirs.v_proj_weight.copy_(ours.value_proj.weight)
        theirs.out_proj.weight.copy_(ours.output_proj.weight)
        if bias:
            theirs.in_proj_bias.copy_(torch.cat([proj.bias for proj in projections]))
            theirs.out_proj.bias.copy_(ours.output_proj.bias)
    return theirs


def weight_gradients(ours, theirs, upstream, our_output, their_output):
    """Return gradients of our and of their parameters in one order: query, key, value, output."""
    our_output.backward(upstream)
    their_output.backward(upstream)
    if theirs.in_proj_weight is not None:
        weights = theirs.in_proj_weight.grad.chunk(3)
    else:
        weights = [theirs.q_proj_weight.grad, theirs.k_proj_weight.grad, theirs.v_proj_weight.grad]
    mine = [proj.weight.grad for proj in (ours.query_proj, ours.key_proj, ours.value_proj, ours.output_proj)]
    others = [*weights, theirs.out_proj.weight.grad]
    if ours.query_proj.bias is not None:
        mine += [
            proj.bias.grad for proj in (ours.query_proj, ours.key_proj, ours.value_proj, ours.output_proj)
        ]
        others += [*theirs.in_proj_bias.grad.chunk(3), theirs.out_proj.bias.grad]
    return mine, others


MASKS = {
    "none": lambda n_queries, n_keys: (None, {}),
    "bool": lambda n_queries, n_keys: (
        ~torch.ones(n_queries, n_keys).triu(2).bool(),
        {"attn_mask": torch.ones(n_queries, n_keys).triu(2).bool()},
    ),
    "float": lambda n_queries, n_keys: (
        ~torch.ones(n_queries, n_keys).triu(2).bool(),
        {"attn_mask": torch.full((n_queries, n_keys), -math.inf, dtype=torch.float64).triu(2)},
    ),
    "padding": lambda n_queries, n_keys: (
        padding_mask(torch.tensor([2, n_keys]), n_keys).unsqueeze(1),
        {"key_padding_mask": torch.arange(n_keys) >= torch.tensor([2, n_keys])[:, None]},
    ),
    "padding and bool": lambda n_queries, n_keys: (
        padding_mask(torch.tensor([2, n_keys]), n_keys).unsqueeze(1)
        & ~torch.ones(n_queries, n_keys).triu(2).bool(),
        {
            "key_padding_mask": torch.arange(n_keys) >= torch.tensor([2, n_keys])[:, None],
            "attn_mask": torch.ones(n_queries, n_keys).triu(2).bool(),
        },
    ),
    "per head": lambda n_queries, n_keys: (
        per_head := torch.ones(BATCH, HEADS, n_queries, n_keys, dtype=torch.bool).tril(3)
        & (torch.arange(n_keys) != torch.arange(1, HEADS + 1)[:, None, None]),
        {"attn_mask": ~per_head.flatten(0, 1)},
    ),
}


@pytest.mark.parity
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("case", ["self", "cross", "sizes"])
@pytest.mark.parametrize("masks", MASKS)
def test_equals_torchs_layer(case, masks, bias):
    d_key, d_value = (D_KEY, D_VALUE) if case == "sizes" else (D_MODEL, D_MODEL)
    arguments = inputs((N_QUERIES, D_MODEL), (N_KEYS, d_key), (N_KEYS, d_value))
    if case == "self":
        arguments = arguments[:1]
    theirs_arguments = arguments * 3 if case == "self" else arguments
    n_keys = theirs_arguments[1].shape[1]
    our_mask, their_masks = MASKS[masks](N_QUERIES, n_keys)
    mask = {} if our_mask is None else {"mask": our_mask}

    for need_weights, per_head in itertools.product((False, True), (False, True)):
        ours = layer(bias=bias, d_key=d_key, d_value=d_value)
        theirs = torch_layer(ours)
        mine = ours(*arguments, **mask, return_weights=need_weights)
        mine, weights = mine if need_weights else (mine, None)
        other, their_weights = theirs(
            *theirs_arguments, need_weights=need_weights, average_attn_weights=not per_head, **their_masks
        )
        assert_same_values_and_gradients(mine, other, arguments)
        upstream = torch.randn(mine.shape, generator=torch.Generator().manual_seed(4), dtype=mine.dtype)
        for one, two in zip(*weight_gradients(ours, theirs, upstream, mine, other), strict=True):
            torch.testing.assert_close(one, two, **FLOAT64)
        if need_weights:
            torch.testing.assert_close(weights if per_head else weights.mean(dim=1), their_weights, **FLOAT64)


@pytest.mark.parity
@pytest.mark.parametrize("return_weights", [False, True])
def test_causal_equals_torchs_layer(return_weights):
    ours = layer()
    theirs = torch_layer(ours)
    (x,) = inputs((N_QUERIES, D_MODEL))
    future = nn.Transformer.generate_square_subsequent_mask(N_QUERIES, dtype=torch.float64)
    mine = ours(x, is_causal=True, return_weights=return_weights)
    other, _ = theirs(x, x, x, attn_mask=future, is_causal=True, need_weights=return_weights)
    assert_same_values_and_gradients(mine[0] if return_weights else mine, other, [x])


# The two paths


PATHS = list(
    itertools.product(
        [6, 3, 2, 1],  # key-value heads for six heads
        ["none", "mask", "padding", "all hidden"],
        [False, True],
        ["none", "bias", "alibi"],
        [None, "half", "interleaved"],
    )
)


@pytest.mark.parametrize(("n_queries", "n_keys"), [(5, 11), (11, 5), (7, 7), (2, 7), (1, 7)])
def test_fused_equals_explicit(n_queries, n_keys):
    query, key, value = inputs((n_queries, 24), (n_keys, D_KEY), (n_keys, D_VALUE))
    random = torch.rand(BATCH, 6, n_queries, n_keys, generator=torch.Generator().manual_seed(5)) < 0.4
    random[1, :, 0] = False
    masks = {
        "none": None,
        "mask": random,
        "padding": padding_mask(torch.tensor([0, 3]), n_keys).unsqueeze(1),
        "all hidden": torch.zeros(n_queries, n_keys, dtype=torch.bool),
    }
    noise = torch.randn(6, n_queries, n_keys, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    for n_kv_heads, mask, is_causal, bias, rotary in PATHS:
        both = layer(6, d_model=24, n_kv_heads=n_kv_heads, d_key=D_KEY, d_value=D_VALUE)
        score_bias = {
            "none": None,
            "bias": noise.clone().requires_grad_(),
            "alibi": alibi_bias(6, n_queries, n_keys),
        }[bias]
        options = {"is_causal": is_causal, "score_bias": score_bias, "rotary": rotary}
        fused = both(query, key, value, masks[mask], **options)
        explicit, weights = both(query, key, value, masks[mask], **options, return_weights=True)
        leaves = [query, key, value, *both.parameters()] + ([score_bias] if bias == "bias" else [])
        assert_same_values_and_gradients(fused, explicit, leaves)
        sums = weights.sum(dim=-1)
        visible = torch.ones(BATCH, 6, n_queries, n_keys, dtype=torch.bool)
        if masks[mask] is not None:
            visible = visible & masks[mask]
        if is_causal:
            visible = visible & causal_mask(n_queries, n_keys)
        torch.testing.assert_close(sums, visible.any(dim=-1).double(), **FLOAT64)
        assert (weights[~visible] == 0).all()


@pytest.mark.parametrize("return_weights", [False, True])
def test_an_empty_row_gives_the_output_bias_and_finite_gradients(return_weights):
    made = layer(d_key=D_KEY, d_value=D_VALUE)
    arrays = inputs()
    mask = mask_with_empty_row()
    result = made(*arrays, mask, return_weights=return_weights)
    output = result[0] if return_weights else result
    torch.testing.assert_close(
        output[1, 2], made.output_proj.bias, rtol=0, atol=0
    )  # what is left of a zero vector
    gradients = torch.autograd.grad(output.square().sum(), [*arrays, *made.parameters()])
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert (gradients[0][1, 2] == 0).all()
    assert (gradients[0][0] != 0).all()


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float32, FLOAT32), (torch.bfloat16, BFLOAT16), (torch.float16, FLOAT16)],
)
@pytest.mark.parametrize("return_weights", [False, True])
def test_lower_precision_stays_near_float64(dtype, tolerance, return_weights):
    low = layer(6, d_model=24, n_kv_heads=2, dtype=dtype)
    exact = copy.deepcopy(low).double()
    (x,) = inputs((N_QUERIES, 24), dtype=dtype, requires_grad=False)
    options = {
        "mask": mask_with_empty_row(N_QUERIES, N_QUERIES, heads=1),
        "rotary": "half",
        "score_bias": torch.linspace(-1, 1, N_QUERIES)[
            None
        ],  # float32: taken over into the dtype of the scores
        "head_gates": torch.tensor([1.0, 0.5, 0.0, 1.0, 2.0, 1.0]),
    }
    got, want = low(x, **options, return_weights=return_weights), exact(x.double(), **options)
    got = got[0] if return_weights else got
    assert got.dtype == dtype
    # Four roundings in a row, of numbers up to about 10.
    wide = {"rtol": 10 * tolerance["rtol"], "atol": 10 * tolerance["atol"]}
    torch.testing.assert_close(got.double(), want, **wide)
    gradients = torch.autograd.grad(got.float().square().mean(), list(low.parameters()))
    assert all(gradient.isfinite().all() for gradient in gradients)


# Masks and causality


@pytest.mark.properties
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("return_weights", [True, False])
@pytest.mark.parametrize("n_kv_heads", [3, 1])
def test_changing_the_future_never_changes_the_past(training, return_weights, n_kv_heads):
    made = layer(n_kv_heads=n_kv_heads).train(training)
    (x,) = inputs((N_KEYS, D_MODEL), requires_grad=False)

    def run(x):
        result = made(x, is_causal=True, return_weights=return_weights)
        return result[0] if return_weights else result

    before = run(x)
    for changed in range(N_KEYS):
        other = x.clone()
        other[:, changed:] += 3.0
        after = run(other)
        torch.testing.assert_close(after[:, :changed], before[:, :changed], **FLOAT64)
        assert (after[:, changed] != before[:, changed]).any(), "a token must see itself"


@pytest.mark.parametrize("return_weights", [True, False])
def test_causal_first_token_sees_itself_alone_and_the_last_query_sees_all(return_weights):
    made = layer()
    (x,) = inputs((N_KEYS, D_MODEL), requires_grad=False)
    result = made(x, is_causal=True, return_weights=return_weights)
    whole = result[0] if return_weights else result
    torch.testing.assert_close(whole[:, 0], made.output_proj(made.value_proj(x[:, 0])), **FLOAT64)
    # The last tokens alone as queries, as in decoding with a cache: bottom-right alignment.
    for n_queries in (1, 3):
        result = made(x[:, -n_queries:], x, is_causal=True, return_weights=return_weights)
        part = result[0] if return_weights else result
        torch.testing.assert_close(part, whole[:, -n_queries:], **FLOAT64)


@pytest.mark.parametrize("return_weights", [True, False])
@pytest.mark.parametrize("layout", ["half", "interleaved"])
def test_rotary_positions_count_from_the_last_key(layout, return_weights):
    made = layer(6, d_model=24, n_kv_heads=2)
    (x,) = inputs((N_KEYS, 24), requires_grad=False)

    def run(query, key):
        result = made(query, key, is_causal=True, rotary=layout, return_weights=return_weights)
        return result[0] if return_weights else result

    torch.testing.assert_close(run(x[:, -3:], x), run(x, x)[:, -3:], **FLOAT64)
    torch.testing.assert_close(run(x[:, -1:], x), run(x, x)[:, -1:], **FLOAT64)
    # More queries than keys: the last ones still stand side by side.
    torch.testing.assert_close(run(x[:, -1:], x[:, -3:]), run(x, x[:, -3:])[:, -1:], **FLOAT64)


@pytest.mark.parametrize("layout", ["half", "interleaved"])
def test_rotary_turns_queries_and_keys_but_not_values(layout):
    made = layer()
    (x,) = inputs((N_KEYS, D_MODEL))
    query, key, value = (split_heads(p(x), HEADS) for p in (made.query_proj, made.key_proj, made.value_proj))
    heads = scaled_dot_product_attention(rotate(query, layout=layout), rotate(key, layout=layout), value)
    assert_same_values_and_gradients(made(x, rotary=layout), made.output_proj(merge_heads(heads)), [x])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("return_weights", [True, False])
def test_garbage_in_hidden_keys_changes_nothing(training, return_weights):
    made = layer(d_key=D_KEY, d_value=D_VALUE).train(training)
    query, key, value = inputs(requires_grad=False)
    mask = padding_mask(torch.tensor([4, 9]), N_KEYS).unsqueeze(1)

    def run():
        result = made(query, key, value, mask, return_weights=return_weights)
        return result[0] if return_weights else result

    before = run()
    for item, length in enumerate((4, 9)):
        key[item, length:], value[item, length:] = 1e6, -1e6
    torch.testing.assert_close(run(), before, **FLOAT64)
    key[0, 3] += 1.0
    assert (run()[0] != before[0]).all()


@pytest.mark.properties
@given(st.integers(0, 2**31), st.sampled_from([1, 3]))
def test_permuting_tokens_permutes_outputs(seed, n_kv_heads):
    made = layer(n_kv_heads=n_kv_heads)
    (x,) = inputs((7, D_MODEL), requires_grad=False, seed=seed)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(seed))
    output, weights = made(x, return_weights=True)
    moved, moved_weights = made(x[:, order], return_weights=True)
    torch.testing.assert_close(moved, output[:, order], **FLOAT64)
    torch.testing.assert_close(moved_weights, weights[:, :, order][..., order], **FLOAT64)
    torch.testing.assert_close(made(x[:, order]), output[:, order], **FLOAT64)


@pytest.mark.properties
def test_sequences_are_independent():
    made = layer(d_key=D_KEY, d_value=D_VALUE)
    arrays = inputs(requires_grad=False)
    mask = mask_with_empty_row()
    whole = made(*arrays, mask)
    for item in range(BATCH):
        alone = made(*(array[item : item + 1] for array in arrays), mask[item : item + 1])
        torch.testing.assert_close(alone, whole[item : item + 1], **FLOAT64)


# Gates


@pytest.mark.parametrize("return_weights", [True, False])
def test_gates_scale_each_heads_share_of_the_output(return_weights):
    made = layer()
    (x,) = inputs((N_QUERIES, D_MODEL))

    def run(gates):
        result = made(x, head_gates=gates, return_weights=return_weights)
        return result[0] if return_weights else result

    bias = made.output_proj.bias
    shares = [run(torch.eye(HEADS)[head]) - bias for head in range(HEADS)]
    assert all((share != 0).any() for share in shares)
    gates = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64, requires_grad=True)
    wanted = bias + sum(gate * share for gate, share in zip(gates, shares, strict=True))
    assert_same_values_and_gradients(run(gates), wanted, [x, gates])
    torch.testing.assert_close(run(torch.zeros(HEADS)), bias.expand_as(x), rtol=0, atol=0)
    # One row of gates for each sequence.
    rows = torch.tensor([[1.0, 0.0, 2.0], [0.0, 3.0, 1.0]], dtype=torch.float64)
    for item in range(BATCH):
        torch.testing.assert_close(run(rows)[item], run(rows[item])[item], **FLOAT64)


def test_gates_change_no_weight():
    made = layer()
    (x,) = inputs((N_QUERIES, D_MODEL), requires_grad=False)
    _, plain = made(x, return_weights=True)
    _, gated = made(x, head_gates=torch.zeros(HEADS), return_weights=True)
    assert torch.equal(plain, gated)


# Dropout


def test_dropout_is_active_in_training_alone():
    made = layer(dropout=0.5)
    plain = layer()
    (x,) = inputs((N_QUERIES, D_MODEL), requires_grad=False)
    for return_weights in (False, True):
        made.eval()
        state = torch.get_rng_state()
        torch.testing.assert_close(
            made(x, return_weights=return_weights), plain(x, return_weights=return_weights), rtol=0, atol=0
        )
        assert torch.equal(torch.get_rng_state(), state)
        made.train()
        torch.manual_seed(7)
        first, again = made(x, return_weights=return_weights), made(x, return_weights=return_weights)
        torch.manual_seed(7)
        same = made(x, return_weights=return_weights)
        if return_weights:
            first, again, same = first[0], again[0], same[0]
        assert torch.equal(first, same)
        assert not torch.equal(first, again)


def test_dropout_zero_draws_no_random_numbers_in_training():
    made = layer().train()
    (x,) = inputs((N_QUERIES, D_MODEL), requires_grad=False)
    state = torch.get_rng_state()
    made(x, return_weights=True)
    made(x)
    assert torch.equal(torch.get_rng_state(), state)


def test_dropout_acts_on_weights_and_scales_what_it_keeps():
    made = layer(dropout=0.25).train()
    (x,) = inputs((61, D_MODEL), requires_grad=False)
    _, plain = layer()(x, return_weights=True)
    torch.manual_seed(8)
    output, weights = made(x, return_weights=True)
    kept = weights != 0
    torch.testing.assert_close(weights[kept], plain[kept] / 0.75, **FLOAT64)
    # 2 · 3 · 61² = 22 326 weights are kept with probability 0.75: five standard deviations are 0.015.
    assert abs(kept.double().mean() - 0.75) < 0.015
    heads = weights @ split_heads(made.value_proj(x), HEADS)
    torch.testing.assert_close(output, made.output_proj(merge_heads(heads)), **FLOAT64)


@pytest.mark.parametrize("return_weights", [False, True])
def test_dropout_has_the_same_mean_and_spread_on_both_paths(return_weights):
    (x,) = inputs((N_QUERIES, D_MODEL), requires_grad=False)
    plain, weights = layer()(x, return_weights=True)
    made = layer(dropout=0.4).train()
    torch.manual_seed(9)
    many = x.repeat(2000, 1, 1)  # 2000 draws of both sequences
    result = made(many, return_weights=return_weights)
    draws = (result[0] if return_weights else result).unflatten(0, (2000, BATCH))
    # Var(output) = p/(1-p) Σ_heads Σ_keys (weight · value after the output projection)².
    value = split_heads(made.value_proj(x), HEADS)
    blocks = made.output_proj.weight.unflatten(1, (HEADS, D_HEAD))  # (d_model, heads, d_head)
    moved = torch.einsum("bhkd,mhd->bhkm", value, blocks)
    variance = 0.4 / 0.6 * torch.einsum("bhqk,bhkm->bqm", weights**2, moved**2)
    # 120 means within five standard errors; a sample variance of 2000 draws is off by 3 %, rarely 20 %.
    assert ((draws.mean(dim=0) - plain).abs() < 5 * (variance / 2000).sqrt()).all()
    torch.testing.assert_close(draws.var(dim=0), variance, rtol=0.25, atol=0)


# A module like any other


def test_copies_state_dicts_and_pickles_give_the_same_numbers():
    made = layer(6, d_model=24, n_kv_heads=2, dropout=0.1).eval()
    (x,) = inputs((N_QUERIES, 24), requires_grad=False)
    output, weights = made(x, return_weights=True)
    loaded = MultiHeadAttention(24, 6, n_kv_heads=2, dropout=0.1).double().eval()
    loaded.load_state_dict(made.state_dict())
    for other in (copy.deepcopy(made), pickle.loads(pickle.dumps(made)), loaded):
        assert torch.equal(other(x), made(x))
        again, again_weights = other(x, return_weights=True)
        assert torch.equal(again, output)
        assert torch.equal(again_weights, weights)
    names = {
        f"{part}_proj.{kind}" for part in ("query", "key", "value", "output") for kind in ("weight", "bias")
    }
    assert set(made.state_dict()) == names


def test_nothing_is_stored_between_calls():
    made = layer()
    before = dict(vars(made))
    (x,) = inputs((N_QUERIES, D_MODEL))
    made(x, return_weights=True)
    made(x, is_causal=True)
    assert vars(made) == before


def test_two_sequences_in_a_row_do_not_meet():
    made = layer()
    one, two = inputs((N_QUERIES, D_MODEL), (N_KEYS, D_MODEL), requires_grad=False)
    first = made(one, is_causal=True)
    made(two, is_causal=True)
    assert torch.equal(made(one, is_causal=True), first)


def test_the_start_keeps_lengths():
    torch.manual_seed(10)
    made = MultiHeadAttention(256, 8)
    for proj in (made.query_proj, made.key_proj, made.value_proj, made.output_proj):
        # Xavier: the variance of a weight is 2 / (fan in + fan out).
        assert abs(proj.weight.var().item() * 256 - 1) < 0.05
        assert (proj.bias == 0).all()


@pytest.mark.parametrize("return_weights", [False, True])
def test_inputs_are_not_written(return_weights):
    made = layer(d_key=D_KEY, d_value=D_VALUE, dropout=0.5).train()
    arrays = [*inputs(requires_grad=False), mask_with_empty_row()]
    options = {
        "score_bias": torch.randn(HEADS, N_QUERIES, N_KEYS),
        "head_gates": torch.tensor([0.0, 1.0, 2.0]),
    }
    copies = copy.deepcopy((arrays, options))
    made(*arrays, **options, is_causal=True, rotary="half", return_weights=return_weights)
    torch.testing.assert_close((arrays, options), copies, rtol=0, atol=0)


@pytest.mark.gradients
@pytest.mark.parametrize("return_weights", [False, True])
def test_gradcheck(return_weights):
    made = layer(4, d_model=8, n_kv_heads=2, d_key=3)
    arrays = inputs((3, 8), (5, 3))
    mask = mask_with_empty_row(3, 5, heads=1)
    bias = torch.randn(4, 3, 5, dtype=torch.float64, requires_grad=True)
    gates = torch.tensor([1.0, 0.5, 0.0, 2.0], dtype=torch.float64, requires_grad=True)

    def run(query, key, bias, gates):
        options = {"score_bias": bias, "head_gates": gates, "rotary": "half", "is_causal": True}
        return made(query, key, mask=mask, return_weights=return_weights, **options)

    assert torch.autograd.gradcheck(run, [*arrays, bias, gates])


# Caches


class GrowingCache:
    """The smallest thing that serves as a cache: it holds what it was given."""

    def __init__(self):
        self.key = self.value = None

    @property
    def length(self):
        return 0 if self.key is None else self.key.shape[2]

    def append(self, key, value):
        self.key = key if self.key is None else torch.cat([self.key, key], dim=2)
        self.value = value if self.value is None else torch.cat([self.value, value], dim=2)
        return self.key, self.value


CHUNKS = {"3 + 4": (3, 4), "one by one": (1,) * 7, "at once": (7,), "2 + 1 + 4": (2, 1, 4)}


@pytest.mark.parity
@pytest.mark.parametrize("n_kv_heads", [6, 3, 2, 1])
@pytest.mark.parametrize("rotary", [None, "half", "interleaved"])
@pytest.mark.parametrize("chunks", CHUNKS)
@pytest.mark.parametrize("extras", ["none", "mask", "bias", "mask and bias"])
def test_chunks_with_a_cache_equal_the_whole(n_kv_heads, rotary, chunks, extras):
    made = layer(6, d_model=24, n_kv_heads=n_kv_heads)
    (x,) = inputs((7, 24))
    mask = padding_mask(torch.tensor([7, 4]), 7).flip(-1).unsqueeze(1) if "mask" in extras else None
    bias = alibi_bias(6, 7, 7) if "bias" in extras else None
    whole, weights = made(x, mask=mask, score_bias=bias, is_causal=True, rotary=rotary, return_weights=True)
    for return_weights in (False, True):
        cache, parts = GrowingCache(), []
        for part in x.split(CHUNKS[chunks], dim=1):
            first, last = cache.length, cache.length + part.shape[1]
            result = made(
                part,
                mask=None if mask is None else mask[..., :last],
                score_bias=None if bias is None else bias[:, first:last, :last],
                is_causal=True,
                rotary=rotary,
                cache=cache,
                return_weights=return_weights,
            )
            if return_weights:
                result, chunk_weights = result
                torch.testing.assert_close(chunk_weights, weights[:, :, first:last, :last], **FLOAT64)
            parts.append(result)
        assert cache.length == 7
        # Through a cache that copies, gradients are those of the whole too.
        assert_same_values_and_gradients(torch.cat(parts, dim=1), whole, [x, *made.parameters()])


@pytest.mark.parametrize("n_kv_heads", [3, 1])
def test_a_memory_is_projected_once(n_kv_heads):
    made = layer(n_kv_heads=n_kv_heads, d_key=D_KEY)
    query, memory = inputs((7, D_MODEL), (N_KEYS, D_KEY))
    mask = padding_mask(torch.tensor([4, N_KEYS]), N_KEYS).unsqueeze(1)
    whole = made(query, memory, mask=mask)
    cache = GrowingCache()
    projected = []
    hook = made.key_proj.register_forward_hook(lambda module, args, out: projected.append(out.shape[1]))
    parts = [made(query[:, :3], memory, mask=mask, cache=cache)]
    for part in query[:, 3:].split(2, dim=1):
        parts.append(made(part, memory[:, :0], mask=mask, cache=cache))
    hook.remove()
    assert projected == [N_KEYS, 0, 0]
    assert cache.length == N_KEYS
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, **FLOAT64)
    _, weights = made(query[:, :1], memory[:, :0], mask=mask, cache=cache, return_weights=True)
    torch.testing.assert_close(weights, made(query, memory, mask=mask, return_weights=True)[1][:, :, :1])


def test_a_reading_query_stands_beside_the_last_key():
    made = layer()
    (x,) = inputs((7, D_MODEL), requires_grad=False)
    cache = GrowingCache()
    whole = made(x, is_causal=True, rotary="half", cache=cache)
    again = made(x[:, -2:], x[:, :0], is_causal=True, rotary="half", cache=cache)
    torch.testing.assert_close(again, whole[:, -2:], **FLOAT64)


def test_more_queries_than_keys_have_no_place_in_a_cache():
    cache = GrowingCache()
    (x,) = inputs((5, D_MODEL))
    with pytest.raises(ValueError, match="offset must be at least 0, got offset=-2"):
        layer()(x, x[:, :3], rotary="half", cache=cache)
    assert cache.length == 0


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"cache": []}, TypeError, "cache must be the cache of one layer, got cache of type list"),
        ({"query": torch.ones(2, 0, 12)}, ValueError, "query must not be empty"),
        ({"key": torch.ones(2, 0, 13)}, ValueError, "key must have d_key=12 as its last axis"),
        ({"key": torch.ones(3, 0, 12)}, ValueError, "query and key must have the same batch size"),
        ({"key": torch.ones(2, 0, 12).int()}, TypeError, "key must be floating point"),
        ({"key": torch.ones(2, 0, 1, 12)}, ValueError, "key must have three axes"),
        (
            {"key": torch.ones(2, 1, 12), "value": torch.ones(2, 0, 12)},
            ValueError,
            "same number of tokens",
        ),
        ({"mask": torch.ones(5, 5).bool()}, ValueError, r"mask must broadcast .*=\(2, 3, 5, 8\)"),
        ({"score_bias": torch.ones(5, 5)}, ValueError, r"score_bias must broadcast .*=\(2, 3, 5, 8\)"),
        ({"query": torch.full((2, 5, 12), math.nan)}, ValueError, "query must not contain NaN"),
    ],
)
def test_bad_input_leaves_a_cache_as_it_was(change, error, text):
    made = layer(dtype=torch.float32)
    cache = GrowingCache()
    made(torch.ones(2, 3, 12), cache=cache)
    with pytest.raises(error, match=text):
        made(**({"query": torch.ones(2, 5, 12), "cache": cache} | change))
    assert cache.length == 3


def test_an_empty_cache_needs_keys():
    with pytest.raises(ValueError, match="key must not be empty"):
        layer(dtype=torch.float32)(torch.ones(2, 5, 12), torch.ones(2, 0, 12), cache=GrowingCache())


# Errors


@pytest.mark.parametrize(
    ("arguments", "options", "error", "text"),
    [
        ((0, 1), {}, ValueError, "d_model must be at least 1, got d_model=0"),
        ((8.0, 2), {}, TypeError, r"d_model must be an integer, got d_model=8\.0"),
        ((8, 0), {}, ValueError, "n_heads must be at least 1, got n_heads=0"),
        ((8, 3), {}, ValueError, "n_heads must divide d_model=8, got n_heads=3"),
        ((8, 4), {"n_kv_heads": 3}, ValueError, "n_kv_heads must divide n_heads=4, got n_kv_heads=3"),
        ((8, 4), {"n_kv_heads": 8}, ValueError, "n_kv_heads must divide n_heads=4, got n_kv_heads=8"),
        ((8, 4), {"n_kv_heads": 0}, ValueError, "n_kv_heads must be at least 1"),
        ((8, 4), {"d_key": 0}, ValueError, "d_key must be at least 1"),
        ((8, 4), {"d_value": -1}, ValueError, "d_value must be at least 1"),
        ((8, 4), {"dropout": 1.0}, ValueError, r"dropout must be below 1, got dropout=1\.0"),
        ((8, 4), {"dropout": "no"}, TypeError, "dropout must be a number"),
    ],
)
def test_bad_sizes(arguments, options, error, text):
    with pytest.raises(error, match=text):
        MultiHeadAttention(*arguments, **options)


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"query": [[1.0]]}, TypeError, "query must be of type Tensor, got query of type list"),
        ({"query": torch.ones(2, 5, 12).long()}, TypeError, "query must be floating point"),
        (
            {"query": torch.ones(5, 12)},
            ValueError,
            r"query must have three axes \(batch, tokens, d_model\), got",
        ),
        ({"query": torch.ones(2, 5, 13)}, ValueError, "query must have d_model=12 as its last axis"),
        ({"key": torch.ones(2, 11, 8)}, ValueError, "key must have d_key=7 as its last axis"),
        ({"key": torch.ones(3, 11, 7)}, ValueError, "query and key must have the same batch size"),
        ({"key": torch.full((2, 11, 7), math.nan)}, ValueError, "key must not contain NaN"),
        ({"query": torch.full((2, 5, 12), math.nan)}, ValueError, "query must not contain NaN"),
        ({"value": torch.full((2, 11, 13), math.nan)}, ValueError, "value must not contain NaN"),
        ({"value": torch.ones(2, 10, 13)}, ValueError, "key and value must have the same number of tokens"),
        ({"value": torch.ones(2, 11, 7)}, ValueError, "value must have d_value=13 as its last axis"),
        ({"value": None}, ValueError, "value must have d_value=13 as its last axis"),
        ({"key": torch.ones(2, 0, 7), "value": torch.ones(2, 0, 13)}, ValueError, "key must not be empty"),
        ({"key": None}, ValueError, "value must come with key, got key=None"),
        ({"mask": torch.ones(5, 11)}, TypeError, r"mask must be boolean \(True = may attend\)"),
        ({"mask": [[True]]}, TypeError, "mask must be of type Tensor"),
        (
            {"mask": torch.ones(2, 5, 11).bool()},
            ValueError,
            r"mask must have two axes \(n_queries, n_keys\) or four .*unsqueeze\(1\)\), got mask\.shape=",
        ),
        ({"mask": torch.ones(3, 5, 11).bool()}, ValueError, "mask must have two axes"),
        ({"mask": torch.ones(11).bool()}, ValueError, "mask must have two axes"),
        ({"mask": torch.ones(2, 11).bool()}, ValueError, r"mask must broadcast .*=\(2, 3, 5, 11\)"),
        ({"mask": torch.ones(3, 2, 5, 11).bool()}, ValueError, "mask must broadcast to the scores"),
        (
            {"score_bias": torch.ones(2, 5, 11)},
            ValueError,
            r"score_bias must broadcast .*=\(2, 3, 5, 11\), got",
        ),
        ({"score_bias": torch.ones(4, 3, 5, 11)}, ValueError, "score_bias must broadcast"),
        ({"score_bias": torch.ones(5, 11).bool()}, TypeError, "score_bias must be floating point"),
        ({"score_bias": 1.0}, TypeError, "score_bias must be of type Tensor"),
        ({"score_bias": torch.full((5, 11), -math.inf)}, ValueError, "score_bias must be finite"),
        ({"score_bias": torch.full((5, 11), math.nan)}, ValueError, "score_bias must not contain NaN"),
        ({"rotary": "whole"}, ValueError, "rotary must be one of 'half', 'interleaved', got rotary='whole'"),
        ({"head_gates": torch.ones(2)}, ValueError, r"head_gates must have shape \(n_heads,\)=\(3,\) or"),
        ({"head_gates": torch.ones(3, 2)}, ValueError, "head_gates must have shape"),
        ({"head_gates": torch.ones(3).long()}, TypeError, "head_gates must be floating point"),
        ({"head_gates": [1.0, 1.0, 1.0]}, TypeError, "head_gates must be of type Tensor"),
    ],
)
@pytest.mark.parametrize("return_weights", [False, True])
def test_bad_input(change, error, text, return_weights):
    arguments = {
        "query": torch.ones(2, 5, 12),
        "key": torch.ones(2, 11, 7),
        "value": torch.ones(2, 11, 13),
    }
    made = layer(d_key=D_KEY, d_value=D_VALUE, dtype=torch.float32)
    with pytest.raises(error, match=text):
        made(**(arguments | change), return_weights=return_weights)


@pytest.mark.parametrize("return_weights", [False, True])
def test_a_sum_that_overflows_is_no_nan(return_weights):
    x = torch.full((1, 50, 12), 60_000.0, dtype=torch.float16)
    x[:, 1::2] *= -1
    made = layer(dtype=torch.float16)
    for parameter in made.parameters():
        parameter.data *= 1e-3
    result = made(x, return_weights=return_weights)
    assert (result[0] if return_weights else result).isfinite().all()
    x[0, 7, 3] = math.nan
    with pytest.raises(ValueError, match="query must not contain NaN, got query with 1 NaN"):
        made(x)
    infinite = torch.ones(1, 3, 12)
    infinite[0, 0, 0], infinite[0, 1, 1], infinite[0, 2, 2] = math.inf, -math.inf, math.nan
    with pytest.raises(ValueError, match="query must not contain NaN, got query with 1 NaN"):
        layer(dtype=torch.float32)(infinite)


def test_rotary_needs_an_even_head():
    with pytest.raises(ValueError, match="d_head must be even"):
        MultiHeadAttention(15, 3)(torch.ones(1, 2, 15), rotary="half")


def test_split_and_merge_refuse_bad_input():
    with pytest.raises(ValueError, match=r"last axis that n_heads divides, got x\.shape=\(2, 7\), n_heads=3"):
        split_heads(torch.ones(2, 7), 3)
    with pytest.raises(TypeError, match="n_heads must be an integer"):
        split_heads(torch.ones(2, 6), 3.0)
    with pytest.raises(ValueError, match="x must have at least 2 axes"):
        split_heads(torch.ones(6), 3)
    with pytest.raises(TypeError, match="x must be of type Tensor"):
        split_heads([[1.0]], 1)
    with pytest.raises(ValueError, match="x must have at least 3 axes"):
        merge_heads(torch.ones(2, 6))
    with pytest.raises(TypeError, match="x must be of type Tensor"):
        merge_heads([[[1.0]]])
