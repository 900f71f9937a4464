"""Five scores: against loops, by what they promise, and with clear errors."""

import math

import pytest
import torch

from attncourse.scores import (
    SCORE_NAMES,
    AdditiveScore,
    CosineScore,
    DotScore,
    GeneralScore,
    ScaledDotScore,
    build_score,
)
from tests.support.tolerances import FLOAT64

BATCH, N_QUERIES, N_KEYS, D_QUERY, D_KEY, D_HIDDEN = 2, 3, 5, 7, 11, 13


def pair(d_query=D_KEY, d_key=D_KEY, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(BATCH, N_QUERIES, d_query, generator=generator, dtype=torch.float64),
        torch.randn(BATCH, N_KEYS, d_key, generator=generator, dtype=torch.float64),
    )


def by_loops(score_of_pair, query, key):
    scores = torch.zeros(BATCH, N_QUERIES, N_KEYS, dtype=torch.float64)
    for b in range(BATCH):
        for i in range(N_QUERIES):
            for j in range(N_KEYS):
                scores[b, i, j] = score_of_pair(query[b, i].tolist(), key[b, j].tolist())
    return scores


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def times(matrix, vector):
    return [dot(row, vector) for row in matrix.tolist()]


@pytest.mark.parity
@pytest.mark.parametrize(
    ("module", "score_of_pair"),
    [
        (DotScore(), dot),
        (ScaledDotScore(), lambda q, k: dot(q, k) / math.sqrt(D_KEY)),
        (CosineScore(), lambda q, k: dot(q, k) / math.sqrt(dot(q, q) * dot(k, k))),
        (CosineScore(scale=8.0), lambda q, k: 8 * dot(q, k) / math.sqrt(dot(q, q) * dot(k, k))),
    ],
    ids=["dot", "scaled_dot", "cosine", "cosine-8"],
)
def test_scores_without_parameters_equal_loops(module, score_of_pair):
    query, key = pair()
    torch.testing.assert_close(module(query, key), by_loops(score_of_pair, query, key), **FLOAT64)


@pytest.mark.parity
def test_general_equals_loops_and_torchs_bilinear():
    module = GeneralScore(D_QUERY, D_KEY).double()
    query, key = pair(D_QUERY)
    matrix = module.query_to_key.weight.T  # (d_query, d_key): s = q^T W k
    got = module(query, key)
    torch.testing.assert_close(got, by_loops(lambda q, k: dot(times(matrix.T, q), k), query, key), **FLOAT64)
    bilinear = torch.nn.Bilinear(D_QUERY, D_KEY, 1, bias=False).double()
    bilinear.weight.data = matrix[None]
    pairs = query[:, :, None].expand(-1, -1, N_KEYS, -1), key[:, None].expand(-1, N_QUERIES, -1, -1)
    expected = bilinear(*(vectors.contiguous() for vectors in pairs))[..., 0]
    torch.testing.assert_close(got, expected, **FLOAT64)


@pytest.mark.parity
def test_additive_equals_loops():
    module = AdditiveScore(D_QUERY, D_KEY, D_HIDDEN).double()
    query, key = pair(D_QUERY)

    def score_of_pair(q, k):
        from_query, from_key = times(module.query_proj.weight, q), times(module.key_proj.weight, k)
        inside = zip(from_query, from_key, module.key_proj.bias.tolist(), strict=True)
        return dot(module.readout.weight[0].tolist(), [math.tanh(sum(terms)) for terms in inside])

    torch.testing.assert_close(module(query, key), by_loops(score_of_pair, query, key), **FLOAT64)


@pytest.mark.properties
def test_additive_is_odd_only_without_its_bias():
    torch.manual_seed(0)
    query, key = pair(D_QUERY)
    plain = AdditiveScore(D_QUERY, D_KEY, D_HIDDEN, bias=False).double()
    torch.testing.assert_close(plain(-query, -key), -plain(query, key), **FLOAT64)
    biased = AdditiveScore(D_QUERY, D_KEY, D_HIDDEN).double()
    assert not torch.allclose(biased(-query, -key), -biased(query, key), atol=0.01)


@pytest.mark.properties
@pytest.mark.parametrize("name", SCORE_NAMES)
def test_each_score_depends_on_query_and_key(name):
    torch.manual_seed(0)
    module = build_score(name, d_query=D_KEY, d_key=D_KEY, d_hidden=D_HIDDEN).double()
    query, key = pair()
    weights = torch.softmax(module(query, key), -1)
    other_query, other_key = pair(seed=1)
    assert not torch.allclose(torch.softmax(module(other_query, key), -1), weights, atol=1e-4)
    assert not torch.allclose(torch.softmax(module(query, other_key), -1), weights, atol=1e-4)


@pytest.mark.properties
@pytest.mark.parametrize("name", SCORE_NAMES)
def test_permuting_keys_permutes_scores(name):
    torch.manual_seed(0)
    module = build_score(name, d_query=D_KEY, d_key=D_KEY, d_hidden=D_HIDDEN).double()
    query, key = pair()
    order = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(module(query, key[:, order]), module(query, key)[..., order], **FLOAT64)


@pytest.mark.properties
@pytest.mark.parametrize("name", SCORE_NAMES)
def test_leading_axes_broadcast_and_inputs_stay(name):
    torch.manual_seed(0)
    module = build_score(name, d_query=D_KEY, d_key=D_KEY).double()
    query, key = pair()
    copies = query.clone(), key.clone()
    shared = module(query, key[0])
    assert torch.equal(query, copies[0])
    assert torch.equal(key, copies[1])
    torch.testing.assert_close(shared[1], module(query[1], key[0]), **FLOAT64)


def test_cosine_ignores_length_and_survives_zero():
    query, key = pair()
    score = CosineScore()
    torch.testing.assert_close(score(1000 * query, 0.001 * key), score(query, key), **FLOAT64)
    assert (score(torch.zeros_like(query), key) == 0).all()
    assert score(query, key).abs().max() <= 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_cosine_holds_in_every_format(dtype):
    query = torch.tensor([[0.0, 0.0], [60000.0, 60000.0], [1e-4, 0.0]], dtype=dtype)
    got = CosineScore()(query, torch.tensor([[1.0, 1.0], [1.0, 0.0]], dtype=dtype))
    half = math.sqrt(0.5)
    assert got.dtype == dtype
    torch.testing.assert_close(got.float(), torch.tensor([[0, 0], [1, half], [half, 1]]), atol=0.01, rtol=0)


@pytest.mark.gradients
@pytest.mark.parametrize("name", SCORE_NAMES)
def test_gradcheck(name):
    torch.manual_seed(0)
    module = build_score(name, d_query=D_KEY, d_key=D_KEY, d_hidden=3).double()
    inputs = [array.requires_grad_() for array in pair()]
    assert torch.autograd.gradcheck(module, inputs)


def test_parameter_counts_are_those_of_the_docstring():
    count = {
        name: sum(p.numel() for p in build_score(name, d_query=7, d_key=7, d_hidden=5).parameters())
        for name in SCORE_NAMES
    }
    assert count == {"dot": 0, "scaled_dot": 0, "general": 7 * 7, "additive": (7 + 7 + 2) * 5, "cosine": 0}


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: build_score("doted", d_query=2, d_key=2),
            ValueError,
            "name must be one of 'dot', 'scaled_dot', 'general', 'additive', 'cosine', got name='doted'",
        ),
        (
            lambda: build_score("dot", d_query=2, d_key=3),
            ValueError,
            "d_query and d_key must be equal for the dot score, got d_query=2, d_key=3",
        ),
        (lambda: build_score("general", d_query=0, d_key=3), ValueError, "d_query must be at least 1"),
        (
            lambda: build_score("additive", d_query=2, d_key=3, d_hidden=1.5),
            TypeError,
            "d_hidden must be an integer",
        ),
        (lambda: CosineScore(0), ValueError, "scale must be above 0, got scale=0"),
        (
            lambda: DotScore()(torch.ones(2, 3), torch.ones(2, 4)),
            ValueError,
            "query and key must have the same last axis",
        ),
        (
            lambda: ScaledDotScore()([1.0], torch.ones(2, 4)),
            TypeError,
            "query must be of type Tensor, got query of type list",
        ),
        (
            lambda: CosineScore()(torch.ones(2, 3), torch.ones(2, 4)),
            ValueError,
            "query and key must have the same last axis",
        ),
        (
            lambda: GeneralScore(3, 4)(torch.ones(2, 4), torch.ones(2, 4)),
            ValueError,
            r"query must have d_query=3 as its last axis, got query\.shape=\(2, 4\)",
        ),
        (
            lambda: AdditiveScore(3, 4, 2)(torch.ones(2, 3), torch.ones(2, 3)),
            ValueError,
            "key must have d_key=4 as its last axis",
        ),
        (
            lambda: ScaledDotScore()(torch.ones(2, 3).long(), torch.ones(2, 3)),
            TypeError,
            "query must be floating point",
        ),
        (
            lambda: DotScore()(torch.ones(2, 3).long(), torch.ones(2, 3)),
            TypeError,
            "query must be floating point",
        ),
        (
            lambda: DotScore()(torch.full((2, 3), math.nan), torch.ones(2, 3)),
            ValueError,
            "query must not contain NaN",
        ),
        (lambda: DotScore()(torch.ones(2, 3), torch.ones(0, 3)), ValueError, "key must not be empty"),
        (
            lambda: DotScore()(torch.ones(2, 3), torch.ones(2, 3).double()),
            TypeError,
            "query and key must have the same dtype",
        ),
        (
            lambda: DotScore()(torch.ones(2, 1, 3), torch.ones(3, 1, 3)),
            ValueError,
            "leading axes that broadcast",
        ),
    ],
)
def test_bad_input(call, error, text):
    with pytest.raises(error, match=text):
        call()
