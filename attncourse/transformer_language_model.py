"""Continue texts with attention alone: a Transformer without an encoder, which sees the past only.

Built in chapter 8.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from attncourse.multihead import Cache
from attncourse.token_embedding import TokenEmbedding, output_projection
from attncourse.transformer_stacks import TransformerEncoder


class TransformerLanguageModel(nn.Module):
    r"""Score every next token, given those before it.

    .. math::
        p(w_{t+1} \mid w_{\le t}) = \operatorname{softmax}\!\left(
            W\, \operatorname{stack}(w_{\le t})_t \right)

    Parameters
    ----------
    vocab_size : int
        Distinct tokens.
    d_model : int, optional
        Features of a token's vector.
    n_heads : int, optional
        Heads of each layer; it divides ``d_model``.
    n_layers : int, optional
        Layers.
    d_ff : int, optional
        Features inside the feed-forward networks; four times ``d_model`` unless given.
    n_kv_heads : int, optional
        As in ``MultiHeadAttention``.
    positions : str, optional
        One of ``token_embedding.POSITIONS``.
    wiring, activation : str, optional
        As in ``EncoderLayer``.
    tied : bool, optional
        Whether the embedding is the output matrix W too.
    dropout : float, optional
        As in ``EncoderLayer``, and of the embedding.
    max_tokens : int, optional
        Longest text, with ``positions="learned"``.

    Attributes
    ----------
    layers : nn.ModuleList
        The layers, the lowest first.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is below 1 or does not fit, or a name is unknown.

    Notes
    -----
    The layers are an encoder's under a causal mask ("decoder-only": a decoder without its second attention).
    Built in chapter 8.

    References
    ----------
    .. [1] Radford et al. (2018), "Improving language understanding by generative pre-training", section 3.1.
    """

    def __init__(
        self,
        vocab_size: int,
        *,
        d_model: int = 64,
        n_heads: int = 4,
        n_layers: int = 2,
        d_ff: int | None = None,
        n_kv_heads: int | None = None,
        positions: str = "rotary",
        wiring: str = "pre-norm",
        activation: str = "gelu",
        tied: bool = True,
        dropout: float = 0.0,
        max_tokens: int = 512,
    ) -> None:
        super().__init__()
        self.embedding = TokenEmbedding(
            vocab_size, d_model, positions=positions, max_tokens=max_tokens, dropout=dropout
        )
        self.stack = TransformerEncoder(
            d_model,
            n_heads,
            n_layers,
            4 * d_model if d_ff is None else d_ff,
            n_kv_heads=n_kv_heads,
            positions=positions,
            wiring=wiring,
            activation=activation,
            dropout=dropout,
        )
        self.output_proj = output_projection(self.embedding, tied=tied)

    @property
    def layers(self) -> nn.ModuleList:
        """Return the layers, the lowest first."""
        return self.stack.layers

    def forward(
        self,
        tokens: Tensor,
        *,
        padding: Tensor | None = None,
        caches: Sequence[Cache] | None = None,
        return_weights: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Score what follows every token.

        Parameters
        ----------
        tokens : Tensor of int64, shape (batch, n_tokens)
            Texts; with ``caches``, the tokens that the caches do not hold yet. Not modified.
        padding : Tensor of int64, shape (batch,), optional
            Padding at the left of each row, in tokens, counted from the very first token read: nobody looks
            at it, and positions count from the first real token. Padding at the right needs no word, because
            nobody before it sees it. Not modified.
        caches : sequence of Cache, optional
            One for each layer: what earlier tokens left, to which these are added.
        return_weights : bool, optional
            Whether to return the weights too.

        Returns
        -------
        logits : Tensor, shape (batch, n_tokens, vocab_size)
            Unnormalised log-probabilities of the token after each, in nats; those at padding mean nothing.
        weights : Tensor, shape (batch, n_layers, n_heads, n_tokens, n_keys)
            Only with ``return_weights=True``: the weights that made the logits; n_keys counts the tokens of
            the caches too.

        Raises
        ------
        TypeError
            If an argument is of the wrong kind or dtype.
        ValueError
            If the shapes do not fit, or a token or a count is out of range.

        Notes
        -----
        Time O(n_layers · n · d_model · (d_model + d_ff + n_keys)) for n tokens, and
        O(n · d_model · vocab_size) for the logits.
        """
        offset = caches[0].length if caches else 0
        embedded = self.embedding(tokens, offset=offset, padding=padding)  # (batch, n_tokens, d_model)
        mask = None
        if padding is not None and bool(padding.any()):
            steps = torch.arange(offset + tokens.shape[1], device=tokens.device)
            mask = (steps >= padding[:, None])[:, None, None]  # (batch, 1, 1, n_keys)
        states = self.stack(embedded, mask, is_causal=True, caches=caches, return_weights=return_weights)
        states, weights = states if return_weights else (states, None)
        logits = self.output_proj(states)  # (batch, n_tokens, vocab_size)
        return (logits, weights) if return_weights else logits
