"""Join an encoder and a decoder to a Transformer that translates.

Built in chapter 8.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from attncourse._checks import check_count, check_same_axis
from attncourse.masks import padding_mask
from attncourse.multihead import Cache
from attncourse.seq2seq import Seq2Seq, check_tokens
from attncourse.tasks.pairs import START
from attncourse.token_embedding import TokenEmbedding, output_projection
from attncourse.transformer_stacks import TransformerDecoder, TransformerEncoder


class TransformerMemory(NamedTuple):
    """Hold what a decoder may read about the source.

    Parameters
    ----------
    states : Tensor, shape (batch, n_source, d_model)
        One vector for each source token; those of padding mean nothing.
    mask : Tensor of bool, shape (batch, 1, 1, n_source), or None
        True at real source tokens; None where no source of the batch is padded, which is quicker.
    """

    states: Tensor
    mask: Tensor | None


class TransformerWeights(NamedTuple):
    """Hold the three kinds of attention weights of one forward call.

    Parameters
    ----------
    encoder : Tensor, shape (batch, n_layers, n_heads, n_source, n_source)
        How source tokens looked at each other; rows of padding mean nothing.
    decoder : Tensor, shape (batch, n_layers, n_heads, n_target, n_target)
        How target tokens looked at each other and at those before them.
    cross : Tensor, shape (batch, n_layers, n_heads, n_target, n_source)
        How target tokens looked at the source.
    """

    encoder: Tensor
    decoder: Tensor
    cross: Tensor


class Transformer(nn.Module):
    r"""Translate with attention alone: an encoder, and a decoder that looks at it.

    .. math::
        p(y_t \mid y_{<t}, x) = \operatorname{softmax}\!\left(
            W\, \operatorname{decoder}(y_{<t},\, \operatorname{encoder}(x))_t \right)

    Parameters
    ----------
    source_vocab_size, target_vocab_size : int
        Distinct tokens on either side, the special ones included.
    d_model : int, optional
        Features of a token's vector.
    n_heads : int, optional
        Heads of each attention; it divides ``d_model``.
    n_layers : int, optional
        Layers of the encoder, and of the decoder.
    d_ff : int, optional
        Features inside the feed-forward networks; four times ``d_model`` unless given.
    n_kv_heads : int, optional
        As in ``MultiHeadAttention``.
    positions : str, optional
        One of ``POSITIONS``.
    wiring, activation : str, optional
        As in ``EncoderLayer``.
    dropout : float, optional
        As in ``EncoderLayer``, and of the embeddings.
    tied : bool, optional
        Whether the target embedding is the output matrix W too.
    max_tokens : int, optional
        Longest source and target, with ``positions="learned"``.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is below 1 or does not fit, or a name is unknown.

    Notes
    -----
    Nothing in it waits for the previous token while training; writing remains one token after another.
    Built in chapter 8.

    References
    ----------
    .. [1] Vaswani et al. (2017), "Attention is all you need", section 3.
    .. [2] Press and Wolf (2017), "Using the output embedding to improve language models" (tying).
    """

    def __init__(
        self,
        source_vocab_size: int,
        target_vocab_size: int,
        *,
        d_model: int = 64,
        n_heads: int = 4,
        n_layers: int = 2,
        d_ff: int | None = None,
        n_kv_heads: int | None = None,
        positions: str = "sinusoidal",
        wiring: str = "pre-norm",
        activation: str = "relu",
        dropout: float = 0.0,
        tied: bool = True,
        max_tokens: int = 512,
    ) -> None:
        super().__init__()
        check_count("source_vocab_size", source_vocab_size)
        check_count("target_vocab_size", target_vocab_size)
        embedding = {"positions": positions, "max_tokens": max_tokens, "dropout": dropout}
        self.source_embedding = TokenEmbedding(source_vocab_size, d_model, **embedding)
        self.target_embedding = TokenEmbedding(target_vocab_size, d_model, **embedding)
        sizes = (d_model, n_heads, n_layers, 4 * d_model if d_ff is None else d_ff)
        options = {
            "n_kv_heads": n_kv_heads,
            "positions": positions,
            "wiring": wiring,
            "activation": activation,
            "dropout": dropout,
        }
        self.encoder = TransformerEncoder(*sizes, **options)
        self.decoder = TransformerDecoder(*sizes, **options)
        self.output_proj = output_projection(self.target_embedding, tied=tied)

    def encode(
        self, source: Tensor, lengths: Tensor, *, return_weights: bool = False
    ) -> TransformerMemory | tuple[TransformerMemory, Tensor]:
        """Read padded sources.

        Parameters
        ----------
        source : Tensor of int64, shape (batch, n_source)
            Source tokens, padded at the end. Not modified.
        lengths : Tensor of int64, shape (batch,)
            Tokens before the padding, at least 1; what stands behind them changes nothing. Not modified.
        return_weights : bool, optional
            Whether to return the weights too.

        Returns
        -------
        memory : TransformerMemory
            One vector for each source token, and where the real ones stand.
        weights : Tensor, shape (batch, n_layers, n_heads, n_source, n_source)
            Only with ``return_weights=True``: the weights that made the memory.

        Raises
        ------
        TypeError
            If an argument is not a tensor of integers.
        ValueError
            If the shapes do not fit, or a token or a length is out of range.
        """
        check_tokens("source", source, self.source_embedding.vocab_size)
        mask = padding_mask(lengths, source.shape[1]).unsqueeze(1)  # (batch, 1, 1, n_source)
        check_same_axis("source", source, "lengths", lengths, axis=0, what="batch size")
        if int(lengths.min()) < 1:
            raise ValueError(f"lengths must be at least 1, got lengths={lengths.tolist()}")
        if int(lengths.min()) == source.shape[1]:
            mask = None
        embedded = self.source_embedding(source)  # (batch, n_source, d_model)
        states = self.encoder(embedded, mask, return_weights=return_weights)
        states, weights = states if return_weights else (states, None)
        memory = TransformerMemory(states, mask)
        return (memory, weights) if return_weights else memory

    def decode(
        self,
        previous: Tensor,
        memory: TransformerMemory,
        *,
        caches: Sequence[Cache] | None = None,
        memory_caches: Sequence[Cache] | None = None,
        return_weights: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        """Score the tokens that follow ``previous``.

        Parameters
        ----------
        previous : Tensor of int64, shape (batch, n_target)
            Target tokens before the ones to predict, ``START`` first; with ``caches``, those that the caches
            do not hold yet. Not modified.
        memory : TransformerMemory
            The encoded sources. Not modified.
        caches, memory_caches : sequence of Cache, optional
            As in ``TransformerDecoder.forward``.
        return_weights : bool, optional
            Whether to return the weights too.

        Returns
        -------
        logits : Tensor, shape (batch, n_target, target_vocab_size)
            Unnormalised log-probabilities of the tokens that follow, in nats.
        weights : Tensor, shape (batch, n_layers, n_heads, n_target, n_keys)
            Only with ``return_weights=True``: how target tokens looked at each other.
        cross_weights : Tensor, shape (batch, n_layers, n_heads, n_target, n_source)
            Only with ``return_weights=True``: how they looked at the source.

        Raises
        ------
        TypeError
            If an argument is of the wrong kind or dtype.
        ValueError
            If the shapes do not fit, or a token is out of range.
        """
        check_tokens("previous", previous, self.target_embedding.vocab_size)
        check_same_axis("previous", previous, "memory.states", memory.states, axis=0, what="batch size")
        embedded = self.target_embedding(previous, offset=caches[0].length if caches else 0)
        states = self.decoder(
            embedded,
            memory.states,
            memory_mask=memory.mask,
            caches=caches,
            memory_caches=memory_caches,
            return_weights=return_weights,
        )
        states, *weights = states if return_weights else (states,)
        return (self.output_proj(states), *weights) if return_weights else self.output_proj(states)

    def forward(
        self, source: Tensor, lengths: Tensor, target: Tensor, *, return_weights: bool = False
    ) -> Tensor | tuple[Tensor, TransformerWeights]:
        """Score every target token, given the true tokens before it (teacher forcing).

        Parameters
        ----------
        source, lengths
            As in ``encode``.
        target : Tensor of int64, shape (batch, n_target)
            Target tokens, without a start token. Not modified.
        return_weights : bool, optional
            Whether to return the weights too.

        Returns
        -------
        logits : Tensor, shape (batch, n_target, target_vocab_size)
            Unnormalised log-probabilities of ``target`` at the same places, in nats.
        weights : TransformerWeights
            Only with ``return_weights=True``: the weights that made the logits, of every layer and head.

        Raises
        ------
        TypeError
            If an argument is not a tensor of integers.
        ValueError
            If the shapes do not fit, or a token or a length is out of range.
        """
        check_tokens("target", target, self.target_embedding.vocab_size)
        check_same_axis("source", source, "target", target, axis=0, what="batch size")
        memory = self.encode(source, lengths, return_weights=return_weights)
        memory, looked = memory if return_weights else (memory, None)
        start = torch.full_like(target[:, :1], START)
        previous = torch.cat([start, target[:, :-1]], dim=1)  # (batch, n_target)
        result = self.decode(previous, memory, return_weights=return_weights)
        return (result[0], TransformerWeights(looked, *result[1:])) if return_weights else result

    def greedy_decode(self, source: Tensor, lengths: Tensor, *, max_tokens: int) -> Tensor:
        """Write targets token by token, always taking the likeliest, until all have ended.

        Parameters
        ----------
        source, lengths, max_tokens
            As in ``Seq2Seq.greedy_decode``. Not modified.

        Returns
        -------
        Tensor of int64, shape (batch, n_written)
            As ``Seq2Seq.greedy_decode``, whose loop this is.

        Notes
        -----
        Every step reads all that was written again: time grows with the cube of the length. Chapter 9 keeps
        keys and values instead.
        """
        return Seq2Seq(self.encode, _Rereading(self)).greedy_decode(source, lengths, max_tokens=max_tokens)


class _Rereading:
    """Serve ``Seq2Seq.greedy_decode`` as a decoder whose state is the tokens written so far."""

    has_weights = False

    def __init__(self, model: Transformer) -> None:
        self.model = model

    def start(self, memory: TransformerMemory) -> Tensor:
        """Return no tokens, of shape (batch, 0)."""
        states = memory.states
        return torch.empty(len(states), 0, dtype=torch.int64, device=states.device)

    def __call__(
        self, token: Tensor, memory: TransformerMemory, state: Tensor
    ) -> tuple[Tensor, None, Tensor]:
        """Score what follows the last token."""
        previous = torch.cat([state, token], dim=1)  # (batch, tokens so far)
        return self.model.decode(previous, memory)[:, -1:], None, previous
