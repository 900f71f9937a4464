"""Filters keep the tokens they promise, and draws have the probabilities they promise."""

import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attncourse.sampling import forbid, greedy, sample, top_k_filter, top_p_filter

NOTHING = -math.inf
# Few distinct values, so that ties are common.
some_logits = st.lists(
    st.sampled_from([-3.0, -1.0, 0.0, 0.5, 2.0, 4.0, NOTHING]), min_size=1, max_size=9
).filter(lambda values: max(values) > NOTHING)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def kept(filtered):
    return (filtered > NOTHING).nonzero().flatten().tolist()


# The likeliest


def test_greedy_by_hand():
    logits = torch.tensor([[0.0, 2.0, 1.0], [5.0, 5.0, -1.0], [NOTHING, NOTHING, -9.0]])
    assert greedy(logits).tolist() == [1, 0, 2]
    assert greedy(logits[0]).item() == 1
    assert greedy(logits.view(3, 1, 3)).shape == (3, 1)


# Filters


def test_filters_by_hand():
    logits = torch.tensor([0.5, 0.25, 0.125, 0.0625, 0.0625]).log()
    assert kept(top_k_filter(logits, 2)) == [0, 1]
    assert kept(top_k_filter(logits, 4)) == [0, 1, 2, 3]  # the lower of two equal ones
    assert kept(top_p_filter(logits, 0.5)) == [0]  # half the probability is enough
    assert kept(top_p_filter(logits, 0.51)) == [0, 1]
    assert kept(top_p_filter(logits, 0.9)) == [0, 1, 2, 3]
    assert kept(top_p_filter(logits, 1e-9)) == [0]  # at least one
    assert kept(top_p_filter(logits, 1)) == [0, 1, 2, 3, 4]
    assert kept(forbid(logits, [1, 3])) == [0, 2, 4]
    assert torch.equal(forbid(logits, []), logits)


def test_of_many_equal_logits_the_first_are_kept():
    logits = torch.zeros(1001)
    logits[500:] = -1.0
    assert kept(top_k_filter(logits, 300)) == list(range(300))
    assert kept(top_p_filter(torch.zeros(1000), 0.2995)) == list(range(300))


@pytest.mark.properties
@given(some_logits, st.integers(1, 12))
def test_top_k_keeps_the_k_likeliest_as_they_are(values, k):
    logits = torch.tensor(values)
    filtered = top_k_filter(logits, k)
    ranking = sorted(range(len(values)), key=lambda token: (-values[token], token))
    for token in ranking[:k]:
        assert filtered[token] == logits[token]
    for token in ranking[k:]:
        assert filtered[token] == NOTHING


@pytest.mark.properties
@given(some_logits, st.floats(0, 1, exclude_min=True))
def test_top_p_keeps_the_fewest_that_hold_p(values, p):
    logits = torch.tensor(values)
    filtered = top_p_filter(logits, p)
    ranking = sorted(range(len(values)), key=lambda token: (-values[token], token))
    probabilities = torch.tensor(values, dtype=torch.float64).softmax(dim=0).tolist()
    n_kept = len(kept(filtered))
    assert kept(filtered) == sorted(ranking[:n_kept]), (
        "the likeliest are kept, of equal ones the lower number"
    )
    assert torch.equal(filtered[ranking[:n_kept]], logits[ranking[:n_kept]])
    # Sums of float32 probabilities are off by about 1e-7.
    assert sum(probabilities[token] for token in ranking[:n_kept]) >= p - 1e-6
    assert n_kept == 1 or sum(probabilities[token] for token in ranking[: n_kept - 1]) < p + 1e-6


@pytest.mark.properties
@given(some_logits, some_logits, st.floats(0.01, 1), st.integers(1, 9))
def test_rows_are_filtered_by_themselves(one, two, p, k):
    size = min(len(one), len(two))
    rows = torch.tensor([[one[:size]], [two[:size]]])
    if (rows.amax(dim=-1) == NOTHING).any():
        return
    for row in range(2):
        assert torch.equal(top_p_filter(rows, p)[row, 0], top_p_filter(rows[row, 0], p))
        assert torch.equal(top_k_filter(rows, k)[row, 0], top_k_filter(rows[row, 0], k))
        assert torch.equal(greedy(rows)[row, 0], greedy(rows[row, 0]))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_dtypes_are_kept_and_p_is_counted_in_float32(dtype):
    # In bfloat16 a sum of 400 equal probabilities would stop growing at 0.5.
    logits = torch.zeros(400, dtype=dtype)
    assert (
        top_p_filter(logits, 0.875).dtype
        == top_k_filter(logits, 3).dtype
        == forbid(logits, [1]).dtype
        == dtype
    )
    assert abs(len(kept(top_p_filter(logits, 0.875))) - 350) <= 1
    assert sample(logits, generator=generator()).dtype == torch.int64


# Draws


def shares(logits, n_draws=20_000, **options):
    """Return how often each token is drawn."""
    draws = sample(logits.expand(n_draws, -1), generator=generator(1), **options)
    return torch.bincount(draws, minlength=logits.shape[-1]) / n_draws


# 20 000 draws: a share's standard error is at most 0.0035, and five of them 0.018.
WITHIN = {"rtol": 0, "atol": 0.018}


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_softmax(temperature):
    logits = torch.tensor([1.0, 0.0, -1.0, 2.0, NOTHING])
    wanted = (logits / temperature).softmax(dim=-1)
    torch.testing.assert_close(shares(logits, temperature=temperature), wanted, **WITHIN)


def test_draws_from_the_few_likeliest():
    logits = torch.tensor([0.5, 0.25, 0.125, 0.0625, 0.0625]).log()
    torch.testing.assert_close(shares(logits, top_k=2), torch.tensor([2 / 3, 1 / 3, 0, 0, 0]), **WITHIN)
    torch.testing.assert_close(shares(logits, top_p=0.8), torch.tensor([4 / 7, 2 / 7, 1 / 7, 0, 0]), **WITHIN)
    # The share is counted after temperature and top_k: squared, the likeliest alone holds 0.74 of all.
    assert (shares(logits, temperature=0.5, top_p=0.7) > 0).tolist() == [True, False, False, False, False]
    assert (shares(logits, top_k=2, top_p=0.6) > 0).tolist() == [True, False, False, False, False]


@pytest.mark.parametrize("temperature", [1e-3, 1e-30, 1e-320])
def test_low_temperatures_are_greedy(temperature):
    logits = torch.randn(50, 7, generator=generator(2)) * 30
    drawn = sample(logits, temperature=temperature, generator=generator())
    assert torch.equal(drawn, greedy(logits))


def test_low_temperatures_share_draws_among_equal_logits():
    got = shares(torch.tensor([3.0, 3.0, 1.0]), temperature=1e-6)
    torch.testing.assert_close(got, torch.tensor([0.5, 0.5, 0.0]), **WITHIN)


def test_high_temperatures_are_even():
    got = shares(torch.tensor([3.0, -50.0, 1.0, NOTHING]), temperature=1e9)
    torch.testing.assert_close(got, torch.tensor([1 / 3, 1 / 3, 1 / 3, 0]), **WITHIN)


def test_a_generator_makes_draws_repeatable_and_moves_on():
    logits = torch.zeros(20, 11)
    source = generator(3)
    first, second = sample(logits, generator=source), sample(logits, generator=source)
    again = sample(logits, generator=generator(3))
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    before = torch.get_rng_state()
    sample(logits, generator=source)
    assert torch.equal(torch.get_rng_state(), before), "the global generator is left alone"


def test_without_a_generator_the_global_one_is_drawn_from():
    logits = torch.zeros(20, 11)
    torch.manual_seed(4)
    first = sample(logits, generator=None)
    torch.manual_seed(4)
    assert torch.equal(sample(logits, generator=None), first)


@pytest.mark.parametrize("shape", [(7,), (2, 7), (2, 3, 7), (2, 3, 5, 7)])
def test_leading_axes(shape):
    logits = torch.full(shape, NOTHING)
    best = torch.randint(7, shape[:-1], generator=generator(5))
    logits.scatter_(-1, best[..., None], 0.0)
    assert torch.equal(sample(logits, top_k=3, top_p=0.5, generator=generator()), best)


def test_inputs_are_not_written():
    logits = torch.randn(3, 7, generator=generator(6))
    before = copy.deepcopy(logits)
    sample(logits, temperature=0.5, top_k=3, top_p=0.5, generator=generator())
    for filtered in (top_k_filter(logits, 9), top_p_filter(logits, 1), forbid(logits, [])):
        filtered += 1.0
    torch.testing.assert_close(logits, before, rtol=0, atol=0)


# Errors

LOGITS = torch.zeros(2, 5)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: top_k_filter(LOGITS, 0), ValueError, "k must be at least 1, got k=0"),
        (lambda: top_k_filter(LOGITS, 2.0), TypeError, r"k must be an integer, got k=2\.0"),
        (lambda: top_p_filter(LOGITS, 0), ValueError, "p must be above 0, got p=0"),
        (lambda: top_p_filter(LOGITS, 1.5), ValueError, r"p must be at most 1, got p=1\.5"),
        (lambda: top_p_filter(LOGITS, math.nan), ValueError, "p must be above 0, got p=nan"),
        (lambda: top_p_filter(LOGITS, "0.5"), TypeError, "p must be a number"),
        (
            lambda: forbid(LOGITS, [4, 5, -1]),
            ValueError,
            r"tokens must lie in 0 … 4, got tokens with \[5, -1\]",
        ),
        (
            lambda: sample(LOGITS, temperature=0, generator=None),
            ValueError,
            "temperature must be above 0, got temperature=0",
        ),
        (lambda: sample(LOGITS, temperature=None, generator=None), TypeError, "temperature must be a number"),
        (lambda: sample(LOGITS, top_k=0, generator=None), ValueError, "k must be at least 1"),
        (lambda: sample(LOGITS, top_p=2, generator=None), ValueError, "p must be at most 1"),
        (
            lambda: sample(LOGITS, generator=3),
            TypeError,
            "generator must be of type Generator, got generator of",
        ),
    ],
)
def test_bad_numbers(call, error, text):
    with pytest.raises(error, match=text):
        call()


@pytest.mark.parametrize(
    "function",
    [
        greedy,
        lambda logits: top_k_filter(logits, 2),
        lambda logits: top_p_filter(logits, 0.5),
        lambda logits: forbid(logits, [1]),
        lambda logits: sample(logits, generator=None),
    ],
)
@pytest.mark.parametrize(
    ("logits", "error", "text"),
    [
        ([[0.0]], TypeError, "logits must be of type Tensor"),
        (torch.zeros(2, 3).long(), TypeError, "logits must be floating point"),
        (torch.tensor([0.0, math.nan]), ValueError, "logits must not contain NaN"),
        (torch.zeros(2, 0), ValueError, "logits must not be empty"),
        (
            torch.tensor([[0.0, 0.0], [NOTHING, NOTHING]]),
            ValueError,
            r"logits must have a finite largest entry in every row \(-inf forbids a token\), got",
        ),
        (torch.tensor([0.0, math.inf]), ValueError, "logits must have a finite largest entry"),
    ],
)
def test_bad_logits(function, logits, error, text):
    with pytest.raises(error, match=text):
        function(logits)
