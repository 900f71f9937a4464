"""LayerNorm against torch's and against float64, feed-forward and wirings against their formulas."""

import copy
import itertools
import math
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from attncourse.transformer_parts import ACTIVATIONS, WIRINGS, FeedForward, LayerNorm, Sublayer
from tests.support.comparing import assert_same_values_and_gradients, normal, randomise
from tests.support.tolerances import BFLOAT16, FLOAT16, FLOAT32, FLOAT64

BATCH, N_TOKENS, D_MODEL, D_FF = 2, 5, 7, 11
# (mean, spread) of a vector's entries; variances far above, near and far below epsilon.
RANGES = [
    (0, 1),
    (1000, 0.01),
    (-1000, 0.01),
    (1000, 1),
    (3, 1e-3),
    (0, 1e-3),
    (0, 1e-6),
    (0, 1e4),
    (1e6, 10),
]


def torch_norm(ours):
    theirs = nn.LayerNorm(ours.d_model, eps=ours.epsilon).to(ours.weight.dtype)
    theirs.load_state_dict(ours.state_dict())
    return theirs


# LayerNorm


def test_norm_by_hand():
    norm = LayerNorm(4, epsilon=0.5).double()
    x = torch.tensor([[1.0, 2.0, 3.0, 6.0], [5.0, 5.0, 5.0, 5.0]]).double()
    # Mean 3; variance (4 + 1 + 0 + 9) / 4 = 3.5; root of 3.5 + 0.5: 2. A constant vector gives zeros.
    wanted = torch.tensor([[-1.0, -0.5, 0.0, 1.5], [0, 0, 0, 0]]).double()
    torch.testing.assert_close(norm(x), wanted, **FLOAT64)
    norm.weight.data = torch.tensor([2.0, 4.0, 6.0, 8.0]).double()
    norm.bias.data = torch.tensor([10.0, 20.0, 30.0, 40.0]).double()
    wanted = torch.tensor([[8.0, 18.0, 30.0, 52.0], [10, 20, 30, 40]]).double()
    torch.testing.assert_close(norm(x), wanted, **FLOAT64)


def test_norm_starts_without_scale_and_shift_and_has_torchs_parameters():
    norm = LayerNorm(D_MODEL)
    assert (norm.weight == 1).all()
    assert (norm.bias == 0).all()
    assert set(norm.state_dict()) == set(nn.LayerNorm(D_MODEL).state_dict()) == {"weight", "bias"}
    assert norm.epsilon == nn.LayerNorm(D_MODEL).eps
    norm.load_state_dict(randomise(nn.LayerNorm(D_MODEL)).state_dict())


@pytest.mark.parity
@pytest.mark.parametrize("shape", [(7,), (5, 7), (2, 5, 7), (2, 3, 5, 7), (2, 0, 7), (3, 1)])
def test_norm_equals_torchs(shape):
    ours = randomise(LayerNorm(shape[-1]))
    theirs = torch_norm(ours)
    x = normal(*shape).requires_grad_()
    pairs = [(x, x), (ours.weight, theirs.weight), (ours.bias, theirs.bias)]
    assert_same_values_and_gradients(ours(x), theirs(x), pairs)


@pytest.mark.parity
@pytest.mark.parametrize("epsilon", [1e-5, 1e-12, 0.1])
@pytest.mark.parametrize(("mean", "spread"), RANGES)
def test_norm_is_near_the_truth_and_no_further_from_it_than_torchs(mean, spread, epsilon):
    ours = randomise(LayerNorm(67, epsilon=epsilon), dtype=torch.float32)
    x = (mean + spread * normal(BATCH, N_TOKENS, 67)).float().requires_grad_()
    exact = copy.deepcopy(ours).double()
    exact_x = x.detach().double().requires_grad_()
    theirs, truth = torch_norm(ours), torch_norm(exact)(exact_x)
    upstream = normal(*x.shape, seed=3)
    torch.testing.assert_close(exact(exact_x), truth, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(ours(x).double(), truth, **FLOAT32)
    our_error, their_error = ((norm(x) - truth).abs().max() for norm in (ours, theirs))
    assert our_error <= their_error + 1e-5
    (got,) = torch.autograd.grad(ours(x), x, upstream.float())
    (want,) = torch.autograd.grad(truth, exact_x, upstream)
    # Gradients grow as 1 / spread: compare them in units of the largest.
    torch.testing.assert_close(got.double() / want.abs().max(), want / want.abs().max(), **FLOAT32)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, FLOAT16), (torch.bfloat16, BFLOAT16)])
@pytest.mark.parametrize("spread", [1.0, 300.0, 15_000.0, 1e-4, 1e-6])
@pytest.mark.parametrize("parameters", ["low", "float32"])
def test_norm_in_half_precision(dtype, tolerance, spread, parameters):
    ours = randomise(LayerNorm(67), dtype=dtype if parameters == "low" else torch.float32)
    x = (spread * normal(BATCH, N_TOKENS, 67)).clamp(-6e4, 6e4).to(dtype).requires_grad_()
    got = ours(x)
    assert got.dtype == dtype
    torch.testing.assert_close(
        got.double(), torch_norm(copy.deepcopy(ours).double())(x.double()), **tolerance
    )
    gradients = torch.autograd.grad(got.float().square().mean(), [x, ours.weight, ours.bias])
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert gradients[0].dtype == dtype


def test_norm_of_a_constant_vector_is_the_shift_and_its_gradient_finite():
    norm = randomise(LayerNorm(D_MODEL), dtype=torch.float32)
    x = torch.full((BATCH, D_MODEL), 0.1, requires_grad=True)
    torch.testing.assert_close(norm(x), norm.bias.expand(BATCH, -1), **FLOAT32)
    (gradient,) = torch.autograd.grad(norm(x).square().sum(), x)
    assert gradient.isfinite().all()


@pytest.mark.properties
def test_another_token_does_not_matter_to_the_norm():
    norm = randomise(LayerNorm(D_MODEL))
    x = normal(BATCH, N_TOKENS, D_MODEL)
    before = norm(x)
    for item, token in itertools.product(range(BATCH), range(N_TOKENS)):
        other = x.clone()
        other[item, token] = 100 * normal(D_MODEL, seed=9)
        changed = (norm(other) != before).any(dim=-1)
        assert changed[item, token]
        assert changed.sum() == 1
        torch.testing.assert_close(norm(x[item, token]), before[item, token], **FLOAT64)


@pytest.mark.properties
@given(st.floats(0.1, 100), st.floats(-100, 100), st.integers(0, 2**31))
def test_norm_forgets_scale_and_shift_of_its_input(scale, shift, seed):
    norm = randomise(LayerNorm(D_MODEL, epsilon=1e-30))
    x = normal(N_TOKENS, D_MODEL, seed=seed)
    torch.testing.assert_close(norm(scale * x + shift), norm(x), rtol=1e-8, atol=1e-8)


@pytest.mark.gradients
def test_norm_gradcheck():
    norm = randomise(LayerNorm(5, epsilon=0.01))
    x = normal(2, 3, 5).requires_grad_()

    def run(x, weight, bias):
        return torch.func.functional_call(norm, {"weight": weight, "bias": bias}, (x,))

    assert torch.autograd.gradcheck(run, [x, *norm.parameters()])
    assert torch.autograd.gradgradcheck(run, [x, *norm.parameters()])


# FeedForward


def test_feed_forward_by_hand():
    feed = FeedForward(2, 3).double()
    feed.inner_proj.weight.data = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, -1.0]]).double()
    feed.inner_proj.bias.data = torch.tensor([0.0, 1.0, -1.0]).double()
    feed.output_proj.weight.data = torch.tensor([[1.0, 10.0, 100.0], [0.0, 2.0, -1.0]]).double()
    feed.output_proj.bias.data = torch.tensor([0.5, 0.0]).double()
    # (3, -2) widens to (3, -1, 4), of which ReLU keeps (3, 0, 4).
    torch.testing.assert_close(
        feed(torch.tensor([3.0, -2.0]).double()), torch.tensor([403.5, -4.0]).double(), **FLOAT64
    )


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_feed_forward_equals_its_formula(activation):
    feed = randomise(FeedForward(D_MODEL, D_FF, activation=activation))
    parts = dict(feed.named_parameters())
    x = normal(BATCH, N_TOKENS, D_MODEL).requires_grad_()
    inner = x @ parts["inner_proj.weight"].T + parts.get("inner_proj.bias", 0)
    if activation == "relu":
        bent = inner * (inner > 0)
    elif activation == "gelu":  # z times the probability that a normal number lies below z
        bent = inner * (1 + torch.erf(inner / math.sqrt(2))) / 2
    else:
        gate = x @ parts["gate_proj.weight"].T
        bent = gate / (1 + torch.exp(-gate)) * inner
    wanted = bent @ parts["output_proj.weight"].T + parts.get("output_proj.bias", 0)
    assert_same_values_and_gradients(feed(x), wanted, [(leaf, leaf) for leaf in [x, *parts.values()]])


def test_number_of_feed_forward_parameters():
    def count(activation, d_ff=12):
        return sum(p.numel() for p in FeedForward(8, d_ff, activation=activation).parameters())

    assert count("relu") == count("gelu") == 2 * 8 * 12 + 12 + 8
    assert count("gated") == 3 * 8 * 12
    assert count("gated", 8) == 2 * 8 * 12


@pytest.mark.properties
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_feed_forward_works_on_every_token_by_itself(activation):
    feed = randomise(FeedForward(D_MODEL, D_FF, activation=activation))
    x = normal(BATCH, N_TOKENS, D_MODEL)
    alone = torch.stack([torch.stack([feed(token) for token in sequence]) for sequence in x])
    torch.testing.assert_close(feed(x), alone, **FLOAT64)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_feed_forward_dropout_acts_on_the_wide_features(activation):
    feed = randomise(FeedForward(61, 61, activation=activation, dropout=0.25))
    plain = randomise(FeedForward(61, 61, activation=activation))
    for module in (feed, plain):
        module.output_proj.weight.data = torch.eye(61).double()
        if module.output_proj.bias is not None:
            module.output_proj.bias.data.zero_()
    x = normal(67, 61)
    state = torch.get_rng_state()
    assert torch.equal(feed.eval()(x), plain(x))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(8)
    dropped = feed.train()(x)
    torch.manual_seed(8)
    assert torch.equal(feed(x), dropped)
    assert not torch.equal(feed(x), dropped)
    active = plain(x) != 0
    kept = dropped[active] != 0
    torch.testing.assert_close(dropped[active][kept], plain(x)[active][kept] / 0.75, **FLOAT64)
    # At least 1500 features are kept with probability 0.75: five standard deviations are 0.056.
    assert active.sum() > 1500
    assert abs(kept.double().mean() - 0.75) < 0.056
    # Where each output is the sum of all wide features, all outputs lose the same ones, and none is dropped.
    feed.output_proj.weight.data.fill_(1.0)
    sums = feed(x)
    torch.testing.assert_close(sums, sums[:, :1].expand_as(sums), **FLOAT64)
    assert (sums != 0).all()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_feed_forward_starts_as_xavier_does(activation):
    torch.manual_seed(10)
    feed = FeedForward(128, 384, activation=activation)
    for name, parameter in feed.named_parameters():
        if name.endswith("weight"):
            assert abs(parameter.var().item() * (128 + 384) / 2 - 1) < 0.05
        else:
            assert (parameter == 0).all()


@pytest.mark.gradients
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_feed_forward_gradcheck(activation):
    feed = randomise(FeedForward(3, 5, activation=activation))
    assert torch.autograd.gradcheck(feed, [normal(2, 3).requires_grad_()])


# Sublayer


def formula(sublayer, x, function):
    """Return what the wiring's formula says, with torch's norm."""
    if sublayer.wiring == "no-norm":
        return x + function(x)
    weight, bias = sublayer.norm.weight, sublayer.norm.bias

    def norm(x):
        return nn.functional.layer_norm(x, x.shape[-1:], weight, bias, 1e-5)

    return {
        "pre-norm": lambda: x + function(norm(x)),
        "post-norm": lambda: norm(x + function(x)),
        "no-residual": lambda: function(norm(x)),
    }[sublayer.wiring]()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("wiring", WIRINGS)
def test_sublayer_equals_its_formula(wiring, training):
    sublayer = randomise(Sublayer(D_MODEL, wiring=wiring)).train(training)
    function = randomise(nn.Linear(D_MODEL, D_MODEL), seed=1)
    x = normal(BATCH, N_TOKENS, D_MODEL).requires_grad_()
    leaves = [x, *sublayer.parameters(), *function.parameters()]
    wanted = formula(sublayer, x, function)
    assert_same_values_and_gradients(sublayer(x, function), wanted, [(leaf, leaf) for leaf in leaves])


def test_the_wirings_are_four_different_functions():
    function = randomise(nn.Linear(D_MODEL, D_MODEL), seed=1)
    x = normal(BATCH, N_TOKENS, D_MODEL)
    outputs = [randomise(Sublayer(D_MODEL, wiring=wiring))(x, function) for wiring in WIRINGS]
    for one, other in itertools.combinations(outputs, 2):
        assert (one - other).abs().min() > 1e-6


def test_pre_norm_is_the_default_and_only_no_norm_has_no_parameters():
    assert Sublayer(D_MODEL).wiring == "pre-norm" == WIRINGS[0]
    for wiring in WIRINGS:
        names = set(Sublayer(D_MODEL, wiring=wiring).state_dict())
        assert names == (set() if wiring == "no-norm" else {"norm.weight", "norm.bias"})


@pytest.mark.parametrize("wiring", WIRINGS)
def test_what_follows_the_output_travels_out(wiring):
    sublayer = randomise(Sublayer(D_MODEL, wiring=wiring))
    function = randomise(nn.Linear(D_MODEL, D_MODEL), seed=1)
    x, weights, calls = normal(BATCH, N_TOKENS, D_MODEL), normal(3, 4), []

    def with_weights(x):
        calls.append(x)
        return function(x), weights, "more"

    output, same_weights, more = sublayer(x, with_weights)
    assert torch.equal(output, sublayer(x, function))
    assert same_weights is weights
    assert more == "more"
    assert len(calls) == 1
    (alone,) = sublayer(x, lambda x: (function(x),))
    assert torch.equal(alone, output)


@pytest.mark.parametrize("wiring", WIRINGS)
def test_sublayer_dropout_acts_on_what_the_function_returns_and_nothing_else(wiring):
    x = normal(61, 67)
    made = randomise(Sublayer(67, wiring=wiring, dropout=0.25))
    plain = randomise(Sublayer(67, wiring=wiring))
    function = torch.tanh
    state = torch.get_rng_state()
    assert torch.equal(made.eval()(x, function), plain(x, function))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(8)
    dropped = made.train()(x, function)
    torch.manual_seed(8)
    mask = nn.functional.dropout(torch.ones_like(x), 0.25)  # 0 or 4/3
    torch.testing.assert_close(dropped, formula(made, x, lambda x: mask * function(x)), **FLOAT64)
    assert not torch.equal(made(x, function), dropped)


@pytest.mark.parametrize("wiring", WIRINGS)
def test_no_dropout_draws_no_random_numbers(wiring):
    x = normal(N_TOKENS, D_MODEL)
    sublayer, feed = Sublayer(D_MODEL, wiring=wiring).double(), FeedForward(D_MODEL, D_FF).double()
    state = torch.get_rng_state()
    sublayer.train()(x, feed.train())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.gradients
@pytest.mark.parametrize("wiring", WIRINGS)
def test_sublayer_gradcheck(wiring):
    sublayer = randomise(Sublayer(5, wiring=wiring))
    assert torch.autograd.gradcheck(lambda x: sublayer(x, torch.tanh), [normal(2, 5).requires_grad_()])


# Modules like any other


MODULES = {
    "norm": (lambda: LayerNorm(D_MODEL, epsilon=0.1), ()),
    **{
        f"feed-forward {name}": (
            lambda name=name: FeedForward(D_MODEL, D_FF, activation=name, dropout=0.3),
            (),
        )
        for name in ACTIVATIONS
    },
    **{
        f"sublayer {name}": (lambda name=name: Sublayer(D_MODEL, wiring=name, dropout=0.3), (torch.tanh,))
        for name in WIRINGS
    },
}


@pytest.mark.parametrize("name", MODULES)
def test_copies_state_dicts_and_pickles_give_the_same_numbers(name):
    build, options = MODULES[name]
    made, x = randomise(build()).eval(), normal(BATCH, N_TOKENS, D_MODEL)
    loaded = build().double().eval()
    loaded.load_state_dict(made.state_dict())
    before = dict(vars(made))
    for other in (copy.deepcopy(made), pickle.loads(pickle.dumps(made)), loaded):
        assert torch.equal(other(x, *options), made(x, *options))
    assert vars(made) == before


@pytest.mark.parametrize("name", MODULES)
def test_inputs_are_not_written_and_dtype_and_shape_are_kept(name):
    build, options = MODULES[name]
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        x = normal(BATCH, N_TOKENS, D_MODEL, dtype=dtype)
        copied = x.clone()
        output = randomise(build(), dtype=dtype).train()(x, *options)
        assert torch.equal(x, copied)
        assert output.dtype == dtype
        assert output.shape == x.shape
        assert output.data_ptr() != x.data_ptr()


def test_printed_modules_name_their_arguments():
    assert repr(LayerNorm(7)) == "LayerNorm(7, epsilon=1e-05)"
    assert "7, 11, activation='gelu', dropout=0.0" in repr(FeedForward(7, 11, activation="gelu"))
    assert "7, wiring='post-norm', dropout=0.1" in repr(Sublayer(7, wiring="post-norm", dropout=0.1))


# Errors


@pytest.mark.parametrize(
    ("build", "error", "text"),
    [
        (lambda: LayerNorm(0), ValueError, "d_model must be at least 1, got d_model=0"),
        (lambda: LayerNorm(7.0), TypeError, r"d_model must be an integer, got d_model=7\.0"),
        (lambda: LayerNorm(7, epsilon=0), ValueError, "epsilon must be above 0, got epsilon=0"),
        (lambda: LayerNorm(7, epsilon="small"), TypeError, "epsilon must be a number, got epsilon='small'"),
        (lambda: FeedForward(0, 11), ValueError, "d_model must be at least 1"),
        (lambda: FeedForward(7, 0), ValueError, "d_ff must be at least 1, got d_ff=0"),
        (lambda: FeedForward(7, True), TypeError, "d_ff must be an integer"),
        (
            lambda: FeedForward(7, 11, activation="tanh"),
            ValueError,
            "activation must be one of 'relu', 'gelu', 'gated', got activation='tanh'",
        ),
        (lambda: FeedForward(7, 11, dropout=1), ValueError, "dropout must be below 1, got dropout=1"),
        (lambda: FeedForward(7, 11, dropout="no"), TypeError, "dropout must be a number"),
        (lambda: Sublayer(-1), ValueError, "d_model must be at least 1, got d_model=-1"),
        (
            lambda: Sublayer(7, wiring="sandwich"),
            ValueError,
            "wiring must be one of 'pre-norm', 'post-norm', 'no-residual', 'no-norm', got wiring='sandwich'",
        ),
        (lambda: Sublayer(7, dropout=-0.1), ValueError, r"dropout must be at least 0, got dropout=-0\.1"),
    ],
)
def test_bad_arguments(build, error, text):
    with pytest.raises(error, match=text):
        build()


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize(
    ("x", "error", "text"),
    [
        ([[1.0]], TypeError, "x must be of type Tensor, got x of type list"),
        (torch.ones(5, 7).long(), TypeError, "x must be floating point, got x.dtype=int64"),
        (torch.tensor(1.0), ValueError, r"x must have at least 1 axes, got x\.shape=\(\)"),
        (torch.ones(7, 5), ValueError, r"x must have d_model=7 as its last axis, got x\.shape=\(7, 5\)"),
        (torch.ones(5, 1), ValueError, r"x must have d_model=7 as its last axis, got x\.shape=\(5, 1\)"),
    ],
)
def test_bad_input(name, x, error, text):
    build, options = MODULES[name]
    with pytest.raises(error, match=text):
        build()(x, *options)


@pytest.mark.parametrize("wiring", WIRINGS)
@pytest.mark.parametrize("shape", [(1, 5, 7), (2, 5, 1), (5, 7), (7,)])
def test_the_function_must_keep_the_shape(wiring, shape):
    with pytest.raises(
        ValueError, match=r"function must return vectors of x\.shape=\(2, 5, 7\), got shape \("
    ):
        Sublayer(7, wiring=wiring)(torch.ones(2, 5, 7), lambda x: torch.ones(shape))
