"""Embeddings equal the formula, with every scheme of positions, offsets and padding at the left."""

import math

import pytest
import torch

from attncourse.positions import sinusoidal_positions
from attncourse.token_embedding import POSITIONS, TokenEmbedding, output_projection
from attncourse.training import set_seed
from tests.support.tolerances import FLOAT32, FLOAT64

BATCH, N_TOKENS, D_MODEL, VOCAB = 3, 5, 14, 11
TOKENS = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3], [5, 8, 9, 7, 10]])


def make(positions, **options):
    set_seed(0)
    return TokenEmbedding(VOCAB, D_MODEL, positions=positions, max_tokens=17, **options).double()


def added(embedding, position):
    """What the formula adds at one position."""
    if embedding.positions == "sinusoidal":
        angles = [position / 10000 ** (2 * (i // 2) / D_MODEL) for i in range(D_MODEL)]
        return torch.tensor(
            [math.cos(angle) if i % 2 else math.sin(angle) for i, angle in enumerate(angles)]
        ).double()
    return embedding.learned.table[position] if embedding.positions == "learned" else torch.zeros(D_MODEL)


@pytest.mark.parametrize("positions", POSITIONS)
class TestFormula:
    @pytest.mark.parametrize("offset", [0, 7])
    @pytest.mark.parametrize("padding", [None, [0, 2, 9]])
    def test_values(self, positions, offset, padding):
        embedding = make(positions)
        left = None if padding is None else torch.tensor(padding)
        embedded = embedding(TOKENS, offset=offset, padding=left)
        assert embedded.shape == (BATCH, N_TOKENS, D_MODEL)
        assert embedded.dtype == torch.float64
        for row in range(BATCH):
            for t in range(N_TOKENS):
                position = max(0, offset + t - (0 if padding is None else padding[row]))
                expected = math.sqrt(D_MODEL) * embedding.weight[TOKENS[row, t]] + added(embedding, position)
                torch.testing.assert_close(embedded[row, t], expected, rtol=1e-6, atol=1e-7)

    def test_chunks_equal_the_whole(self, positions):
        embedding = make(positions)
        padding = torch.tensor([1, 0, 3])
        parts = [
            embedding(TOKENS[:, :2], padding=padding),
            embedding(TOKENS[:, 2:], offset=2, padding=padding),
        ]
        torch.testing.assert_close(torch.cat(parts, dim=1), embedding(TOKENS, padding=padding), **FLOAT64)

    def test_arguments_are_not_written(self, positions):
        tokens, padding = TOKENS.clone(), torch.tensor([1, 0, 3])
        make(positions)(tokens, padding=padding).sum().backward()
        assert tokens.equal(TOKENS)
        assert padding.tolist() == [1, 0, 3]


@torch.no_grad()
def test_start_has_entries_of_size_one():
    set_seed(0)
    table = TokenEmbedding(503, 64, positions="none")
    assert 0.97 < float(table(torch.arange(503)[None]).std()) < 1.03
    projection = output_projection(table, tied=True)
    assert 0.97 < float(projection(torch.randn(211, 64)).std()) < 1.03
    assert 0.97 < float(output_projection(table, tied=False)(torch.randn(211, 64)).std()) < 1.03


def test_tied_projection_is_the_table_itself():
    embedding = make("none")
    tied, untied = (output_projection(embedding, tied=flag) for flag in (True, False))
    assert tied.weight is embedding.weight
    assert untied.weight.shape == embedding.weight.shape
    assert not torch.equal(untied.weight.double(), embedding.weight)
    assert tied.bias is untied.bias is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_table_of_sinusoids_has_the_parameters_dtype(dtype):
    embedding = make("sinusoidal").to(dtype)
    with torch.no_grad():
        embedding.weight.zero_()
    embedded = embedding(TOKENS, offset=1000)
    assert embedded.dtype == dtype
    expected = sinusoidal_positions(N_TOKENS, D_MODEL, offset=1000, dtype=dtype)
    assert embedded.equal(expected.expand(BATCH, -1, -1))


def test_sinusoids_first_met_in_inference_mode_serve_training():
    embedding = TokenEmbedding(VOCAB, 22)
    with torch.inference_mode():
        before = embedding(TOKENS)
    after = embedding(TOKENS)
    after.square().sum().backward()
    torch.testing.assert_close(after.detach(), before.clone(), **FLOAT32)


def test_dropout_acts_in_training_only():
    embedding = make("none", dropout=0.5)
    embedded = embedding(TOKENS)
    dropped = embedded == 0
    assert 0.3 < dropped.double().mean() < 0.7
    whole = embedding.eval()(TOKENS)
    assert (whole != 0).all()
    torch.testing.assert_close(embedded[~dropped], 2 * whole[~dropped], **FLOAT64)


def test_bad_arguments_are_refused():
    embedding = make("learned")
    with pytest.raises(TypeError, match=r"^tokens must be of type Tensor, got tokens of type list$"):
        embedding(TOKENS.tolist())
    with pytest.raises(TypeError, match=r"^tokens must be of dtype int64, got tokens.dtype=float32$"):
        embedding(TOKENS.float())
    with pytest.raises(ValueError, match=r"^tokens must have two axes, none empty, got tokens.shape=\(5,\)$"):
        embedding(TOKENS[0])
    with pytest.raises(ValueError, match=r"^tokens must hold tokens from 0 to 10, got tokens from 2 to 11$"):
        embedding(TOKENS + 1)
    with pytest.raises(ValueError, match=r"^offset must be at least 0, got offset=-1$"):
        embedding(TOKENS, offset=-1)
    with pytest.raises(ValueError, match=r"must be at most max_tokens=17 .*, got offset=13, n_tokens=5$"):
        embedding(TOKENS, offset=13)
    with pytest.raises(TypeError, match=r"^padding must be of type Tensor, got padding of type list$"):
        embedding(TOKENS, padding=[0, 1, 2])
    with pytest.raises(TypeError, match=r"^padding must be of dtype int64, got padding.dtype=bool$"):
        embedding(TOKENS, padding=TOKENS > 3)
    with pytest.raises(ValueError, match=r"^padding must have shape \(3,\), got padding.shape=\(2,\)$"):
        embedding(TOKENS, padding=torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r"^padding must be at least 0, got padding=\[0, -1, 2\]$"):
        embedding(TOKENS, padding=torch.tensor([0, -1, 2]))
    with pytest.raises(ValueError, match=r"^vocab_size must be at least 1, got vocab_size=0$"):
        TokenEmbedding(0, 4)
    with pytest.raises(TypeError, match=r"^d_model must be an integer, got d_model=4.0$"):
        TokenEmbedding(5, 4.0)
    with pytest.raises(
        ValueError, match=r"^positions must be one of 'none', 'sinusoidal', .*, got positions='relative'$"
    ):
        TokenEmbedding(5, 4, positions="relative")
    with pytest.raises(ValueError, match=r"^d_model must be even with sinusoidal positions, got d_model=5$"):
        TokenEmbedding(5, 5)
    with pytest.raises(ValueError, match=r"^max_tokens must be at least 1, got max_tokens=0$"):
        TokenEmbedding(5, 4, max_tokens=0)
    with pytest.raises(ValueError, match=r"^dropout must be below 1, got dropout=1$"):
        TokenEmbedding(5, 4, dropout=1)
