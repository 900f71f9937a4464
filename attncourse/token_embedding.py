"""Turn token numbers into the vectors that a Transformer reads, with or without their positions added.

Built in chapter 8.
"""

import math
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attncourse._checks import check_choice, check_count, check_number, check_type, dtype_name
from attncourse.positions import LearnedPositions, sinusoidal_positions
from attncourse.seq2seq import check_tokens

# The first three concern the embedding, the last two what happens to the scores in every layer.
POSITIONS = ("none", "sinusoidal", "learned", "rotary", "alibi")


class TokenEmbedding(nn.Module):
    r"""Look up one vector for each token, enlarge it, and add the vector of its position.

    .. math:: x_t = \sqrt{d_{\text{model}}}\; E_{w_t} + \text{PE}_t

    Parameters
    ----------
    vocab_size : int
        Distinct tokens.
    d_model : int
        Features of a token's vector; even with sinusoidal positions.
    positions : str, optional
        One of ``POSITIONS``. Only ``"sinusoidal"`` and ``"learned"`` add something here; rotary and ALiBi
        positions act on the scores, see ``TransformerEncoder``.
    max_tokens : int, optional
        Positions there are vectors for, with ``positions="learned"``; no other scheme has a limit.
    dropout : float, optional
        Probability of dropping each entry of the sum in training mode.

    Raises
    ------
    TypeError
        If a size is not an integer or ``dropout`` not a number.
    ValueError
        If a size is below 1, ``positions`` is unknown, ``d_model`` is odd with sinusoidal positions, or
        ``dropout`` is outside [0, 1).

    Notes
    -----
    The table starts with standard deviation 1 / √d_model. The factor √d_model then makes entries of size one,
    as large as those of the positions; and where the same table makes the logits, they start of size one too.
    Built in chapter 8.

    References
    ----------
    .. [1] Vaswani et al. (2017), sections 3.4, 3.5 and 5.4.
    """

    def __init__(
        self,
        vocab_size: int,
        d_model: int,
        *,
        positions: str = "sinusoidal",
        max_tokens: int = 512,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_count("vocab_size", vocab_size)
        check_count("d_model", d_model)
        check_choice("positions", positions, POSITIONS)
        check_count("max_tokens", max_tokens)
        check_number("dropout", dropout, at_least=0, below=1)
        if positions == "sinusoidal" and d_model % 2:
            raise ValueError(f"d_model must be even with sinusoidal positions, got d_model={d_model}")
        self.vocab_size, self.d_model = vocab_size, d_model
        self.positions = positions
        self.dropout = dropout
        self.weight = nn.Parameter(torch.randn(vocab_size, d_model) / math.sqrt(d_model))
        self.learned = LearnedPositions(max_tokens, d_model) if positions == "learned" else None

    def forward(self, tokens: Tensor, *, offset: int = 0, padding: Tensor | None = None) -> Tensor:
        """Embed tokens.

        Parameters
        ----------
        tokens : Tensor of int64, shape (batch, n_tokens)
            Token numbers. Not modified.
        offset : int, optional
            Tokens of each row that were read before these, padding included.
        padding : Tensor of int64, shape (batch,), optional
            Padding at the left of each row, in tokens: the first real token then has position 0. Not
            modified.

        Returns
        -------
        Tensor, shape (batch, n_tokens, d_model)
            One vector for each token.

        Raises
        ------
        TypeError
            If an argument is of the wrong kind or dtype.
        ValueError
            If a token or a number is out of range, the shapes do not fit, or a position lies beyond
            ``max_tokens`` with learned positions.

        Notes
        -----
        Time and memory O(batch · n_tokens · d_model).
        """
        check_tokens("tokens", tokens, self.vocab_size)
        check_count("offset", offset, at_least=0)
        if padding is not None:
            check_padding(padding, len(tokens))
        embedded = F.embedding(tokens, self.weight) * math.sqrt(self.d_model)  # (batch, n_tokens, d_model)
        if self.positions in ("sinusoidal", "learned"):
            embedded = embedded + self._position_vectors(tokens.shape[1], offset, padding)
        return F.dropout(embedded, self.dropout, self.training)

    def _position_vectors(self, n_tokens: int, offset: int, padding: Tensor | None) -> Tensor:
        """Return (n_tokens, d_model), or (batch, n_tokens, d_model) where padding shifts the rows."""
        end = offset + n_tokens
        if self.learned is None:
            table = _sinusoids(end, self.d_model, self.weight.dtype, self.weight.device)
        elif padding is None:
            return self.learned(n_tokens, offset=offset)
        else:
            table = self.learned(end)
        if padding is None:
            return table[offset:end]
        steps = torch.arange(offset, end, device=padding.device)
        return table[(steps - padding[:, None]).clamp(min=0)]


def _sinusoids(n_tokens: int, d_model: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return at least ``n_tokens`` rows of the table."""
    return _sinusoid_table(1 << (n_tokens - 1).bit_length(), d_model, dtype, device)


@lru_cache(maxsize=32)
def _sinusoid_table(n_tokens: int, d_model: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Compute a table of constants once: doing so takes longer than adding it to a batch."""
    return sinusoidal_positions(n_tokens, d_model, dtype=dtype, device=device)


def output_projection(embedding: TokenEmbedding, *, tied: bool) -> nn.Linear:
    r"""Make the layer that turns vectors into logits, one for each token of a vocabulary.

    .. math:: \text{logits}_t = W x_t, \qquad \text{tied:} \quad W = E

    Parameters
    ----------
    embedding : TokenEmbedding
        Embedding of the same vocabulary. Not modified.
    tied : bool
        Whether W is the embedding's table itself: one parameter, counted once, with one gradient. Otherwise W
        begins as another draw from the same distribution.

    Returns
    -------
    nn.Linear
        From d_model features to vocab_size logits, without a bias.

    Notes
    -----
    Built in chapter 8.

    References
    ----------
    .. [1] Press and Wolf (2017), "Using the output embedding to improve language models", section 3.
    .. [2] Vaswani et al. (2017), section 3.4.
    """
    projection = nn.Linear(embedding.d_model, embedding.vocab_size, bias=False)
    if tied:
        projection.weight = embedding.weight
    else:
        nn.init.normal_(projection.weight, std=1 / math.sqrt(embedding.d_model))
    return projection


def check_padding(padding: Tensor, batch_size: int) -> None:
    """Require one count of padding tokens for each row of a batch.

    Parameters
    ----------
    padding : Tensor of int64, shape (batch,)
        Padding at the left of each row, in tokens. Not modified.
    batch_size : int
        Rows.

    Raises
    ------
    TypeError
        If it is not a tensor of int64.
    ValueError
        If its shape does not fit or a count is negative.
    """
    check_type("padding", padding, Tensor)
    if dtype_name(padding) != "int64":
        raise TypeError(f"padding must be of dtype int64, got padding.dtype={dtype_name(padding)}")
    if padding.shape != (batch_size,):
        raise ValueError(f"padding must have shape ({batch_size},), got padding.shape={tuple(padding.shape)}")
    if int(padding.min()) < 0:
        raise ValueError(f"padding must be at least 0, got padding={padding.tolist()}")
