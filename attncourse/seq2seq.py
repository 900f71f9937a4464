"""Translate one sequence into another: a bidirectional encoder, and a decoder that may look back at it.

Built in chapter 5.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from attncourse._checks import check_choice, check_count, check_type, dtype_name
from attncourse.masks import padding_mask
from attncourse.recurrent_decoders import BahdanauDecoder, LuongDecoder, Memory, PlainDecoder
from attncourse.tasks.pairs import END, PADDING, START

_DECODERS = {
    "none": (PlainDecoder, {}),
    "bahdanau": (BahdanauDecoder, {}),
    "luong-dot": (LuongDecoder, {"score": "dot"}),
    "luong-general": (LuongDecoder, {"score": "general"}),
    "luong-concat": (LuongDecoder, {"score": "concat"}),
    "luong-local-m": (LuongDecoder, {"score": "general", "local": "monotonic"}),
    "luong-local-p": (LuongDecoder, {"score": "general", "local": "predictive"}),
    "luong-input-feeding": (LuongDecoder, {"score": "general", "input_feeding": True}),
}
SEQ2SEQ_KINDS = tuple(_DECODERS)


class BiGRUEncoder(nn.Module):
    r"""Read a source from both ends, so that every token's vector knows what stands before and behind it.

    .. math:: h_j = [\overrightarrow{h}_j; \overleftarrow{h}_j]

    Parameters
    ----------
    vocab_size : int
        Distinct source tokens.
    d_embedding : int
        Features of one token's embedding.
    d_hidden : int
        Features of either direction's state; the memory has twice as many.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is below 1.

    Notes
    -----
    The sequences are packed: the backward direction starts at the last real token, and padding is never read.
    Built in chapter 5.

    References
    ----------
    Bahdanau, Cho and Bengio, "Neural machine translation by jointly learning to align and translate",
    ICLR 2015, section 3.2.
    """

    def __init__(self, vocab_size: int, *, d_embedding: int = 32, d_hidden: int = 64) -> None:
        super().__init__()
        check_count("vocab_size", vocab_size)
        check_count("d_embedding", d_embedding)
        check_count("d_hidden", d_hidden)
        self.source_embedding = nn.Embedding(vocab_size, d_embedding)
        self.gru = nn.GRU(d_embedding, d_hidden, batch_first=True, bidirectional=True)
        self.d_memory = 2 * d_hidden

    def forward(self, source: Tensor, lengths: Tensor) -> Memory:
        """Encode padded sources.

        Parameters
        ----------
        source : Tensor of int64, shape (batch, n_source)
            Source tokens, padded at the end. Not modified.
        lengths : Tensor of int64, shape (batch,)
            Tokens before the padding, at least 1; what stands behind them changes nothing. Not modified.

        Returns
        -------
        Memory
            One vector for each token, zeros behind the length; their mask; and the last states of both
            directions as one vector for the whole source.

        Raises
        ------
        TypeError
            If an argument is not a tensor of integers.
        ValueError
            If the shapes do not fit, or a token or a length is out of range.
        """
        check_tokens("source", source, self.source_embedding.num_embeddings)
        mask = real_places(source, lengths)  # (batch, 1, n_source)
        tokens = pack_padded_sequence(source, lengths.cpu(), batch_first=True, enforce_sorted=False)
        states, last = self.gru(PackedSequence(self.source_embedding(tokens.data), *tokens[1:]))
        states, _ = pad_packed_sequence(states, batch_first=True, total_length=source.shape[1])
        return Memory(states, last.transpose(0, 1).flatten(1), lengths, mask)


class Seq2Seq(nn.Module):
    """Join an encoder and a decoder to a model that scores targets and writes them.

    Parameters
    ----------
    encoder : nn.Module
        A module from (source, lengths) to ``Memory``, such as ``BiGRUEncoder``. What a source is, is its
        affair: token numbers here, images in chapter 11, sound in chapter 13.
    decoder : nn.Module
        A module with ``start`` and ``forward``, such as those in ``attncourse.recurrent_decoders``.

    Notes
    -----
    Built in chapter 5.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def forward(
        self, source: Tensor, lengths: Tensor, target: Tensor, *, return_weights: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Score every target token, given the true tokens before it (teacher forcing).

        Parameters
        ----------
        source : Tensor of int64, shape (batch, n_source)
            Source tokens, padded at the end. Not modified.
        lengths : Tensor of int64, shape (batch,)
            Source tokens before the padding. Not modified.
        target : Tensor of int64, shape (batch, n_target)
            Target tokens, without a start token. Not modified.
        return_weights : bool, optional
            Whether to return the weights too.

        Returns
        -------
        logits : Tensor, shape (batch, n_target, target_vocab_size)
            Unnormalised log-probabilities of ``target`` at the same places, in nats.
        weights : Tensor, shape (batch, n_target, n_source)
            Only with ``return_weights=True``: the weights that made the logits.

        Raises
        ------
        TypeError
            If an argument is not a tensor of integers.
        ValueError
            If the shapes do not fit, a token or a length is out of range, or weights are asked of a decoder
            that has none.
        """
        self._check_weights(return_weights)
        check_tokens("target", target, self.decoder.target_embedding.num_embeddings)
        if len(source) != len(target):
            raise ValueError(
                "source and target must have the same batch size, "
                f"got source.shape={tuple(source.shape)}, target.shape={tuple(target.shape)}"
            )
        memory = self.encoder(source, lengths)
        start = torch.full_like(target[:, :1], START)
        previous = torch.cat([start, target[:, :-1]], dim=1)  # (batch, n_target)
        logits, weights, _ = self.decoder(previous, memory, self.decoder.start(memory))
        return (logits, weights) if return_weights else logits

    @torch.no_grad()
    def greedy_decode(
        self, source: Tensor, lengths: Tensor, *, max_tokens: int, return_weights: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Write targets token by token, always taking the likeliest, until all have ended.

        Parameters
        ----------
        source : Tensor of int64, shape (batch, n_source)
            Source tokens, padded at the end. Not modified.
        lengths : Tensor of int64, shape (batch,)
            Source tokens before the padding. Not modified.
        max_tokens : int
            Tokens to write for a source at most, the end token included.
        return_weights : bool, optional
            Whether to return the weights too.

        Returns
        -------
        written : Tensor of int64, shape (batch, n_written)
            The tokens written, ``PADDING`` behind each ``END``; n_written is at most ``max_tokens``. A row
            without ``END`` was cut off. Padding and start tokens are never chosen.
        weights : Tensor, shape (batch, n_written, n_source)
            Only with ``return_weights=True``: the weights of every token written, zeros behind ``END``.

        Raises
        ------
        TypeError
            If an argument is of the wrong type.
        ValueError
            If the shapes do not fit, a number is out of range, or weights are asked of a decoder that has
            none.
        """
        check_count("max_tokens", max_tokens)
        self._check_weights(return_weights)
        memory = self.encoder(source, lengths)
        state = self.decoder.start(memory)
        token = torch.full((len(source), 1), START, device=source.device)
        ended = torch.zeros_like(token, dtype=torch.bool)  # (batch, 1)
        written, weights = [], []
        while len(written) < max_tokens and not ended.all():
            logits, row, state = self.decoder(token, memory, state)
            # Padding and start come first in the vocabulary, then END: they are not among the choices.
            token = (logits[..., END:].argmax(dim=-1) + END).masked_fill(ended, PADDING)
            written.append(token)
            if return_weights:
                weights.append(row.masked_fill(ended.unsqueeze(-1), 0.0))
            ended = ended | (token == END)
        tokens = torch.cat(written, dim=1)
        return (tokens, torch.cat(weights, dim=1)) if return_weights else tokens

    def _check_weights(self, return_weights: bool) -> None:
        if return_weights and not self.decoder.has_weights:
            raise ValueError(
                "return_weights must be False for a decoder without attention, "
                f"got return_weights={return_weights}"
            )


def build_seq2seq(
    kind: str,
    source_vocab_size: int,
    target_vocab_size: int,
    *,
    d_embedding: int = 32,
    d_hidden: int = 64,
    half_width: int = 3,
) -> Seq2Seq:
    """Make a model by name, for experiments that compare them: same encoder, same sizes, another decoder.

    Parameters
    ----------
    kind : str
        One of ``SEQ2SEQ_KINDS``: none, bahdanau, luong-dot, luong-general, luong-concat, luong-local-m,
        luong-local-p, luong-input-feeding. The last three use the general score.
    source_vocab_size, target_vocab_size : int
        Distinct tokens on either side, the special ones included.
    d_embedding : int
        Features of one token's embedding, on both sides.
    d_hidden : int
        Features of the decoder state and of either direction of the encoder.
    half_width : int
        Source tokens on either side of a local window's centre; read only by the two local kinds.

    Returns
    -------
    Seq2Seq
        The model, with parameters drawn from torch's global generator.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If ``kind`` is unknown or a size is below 1.

    Notes
    -----
    Built in chapter 5.
    """
    check_choice("kind", kind, SEQ2SEQ_KINDS)
    check_count("source_vocab_size", source_vocab_size)
    check_count("target_vocab_size", target_vocab_size)
    encoder = BiGRUEncoder(source_vocab_size, d_embedding=d_embedding, d_hidden=d_hidden)
    decoder_class, options = _DECODERS[kind]
    if "local" in options:
        options = {**options, "half_width": half_width}
    decoder = decoder_class(
        target_vocab_size, encoder.d_memory, d_embedding=d_embedding, d_hidden=d_hidden, **options
    )
    return Seq2Seq(encoder, decoder)


def sequence_loss(logits: Tensor, target: Tensor) -> Tensor:
    r"""Return the mean cross-entropy of the real target tokens; padding is not counted.

    .. math:: \ell = -\frac{1}{N} \sum_{y_t \ne \text{padding}} \ln p(y_t)

    Parameters
    ----------
    logits : Tensor of float, shape (batch, n_target, vocab_size)
        Unnormalised log-probabilities, in nats. Not modified.
    target : Tensor of int64, shape (batch, n_target)
        Target tokens, their ``END`` included, padded with ``PADDING``. Not modified.

    Returns
    -------
    Tensor, shape ()
        Nats per token, over the N real tokens of the batch together.

    Raises
    ------
    TypeError
        If ``target`` is not a tensor of integers.
    ValueError
        If the shapes do not fit, or there is no real token.

    Notes
    -----
    Built in chapter 5.
    """
    check_tokens("target", target, logits.shape[-1])
    if logits.shape[:-1] != target.shape:
        raise ValueError(
            "logits and target must have the same batch and target axes, "
            f"got logits.shape={tuple(logits.shape)}, target.shape={tuple(target.shape)}"
        )
    if not (target != PADDING).any():
        raise ValueError(f"target must hold a token that is not padding, got target={target.tolist()}")
    return F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=PADDING)


def real_places(source: Tensor, lengths: Tensor) -> Tensor:
    """Return where the places of padded sources are; every source has at least one.

    Parameters
    ----------
    source : Tensor, shape (batch, n_source, ...)
        Tokens, or vectors, padded at the end. Not modified.
    lengths : Tensor of int64, shape (batch,)
        Places of each source. Not modified.

    Returns
    -------
    Tensor of bool, shape (batch, 1, n_source)
        True before the padding.

    Raises
    ------
    TypeError
        If the lengths are not a tensor of integers.
    ValueError
        If the batch sizes differ or a length is out of range.

    Notes
    -----
    Built in chapter 5.
    """
    mask = padding_mask(lengths, source.shape[1])
    if len(lengths) != len(source):
        raise ValueError(
            "source and lengths must have the same batch size, "
            f"got source.shape={tuple(source.shape)}, lengths.shape={tuple(lengths.shape)}"
        )
    if int(lengths.min()) < 1:
        raise ValueError(f"lengths must be at least 1, got lengths={lengths.tolist()}")
    return mask


def check_tokens(name: str, tokens: Tensor, vocab_size: int | None = None) -> None:
    """Require token numbers in two axes, none empty, below ``vocab_size`` where that is given.

    Raises
    ------
    TypeError
        If ``tokens`` is not a tensor of int64.
    ValueError
        If it has not two axes, is empty, or holds a number that is out of range.
    """
    check_type(name, tokens, Tensor)
    if dtype_name(tokens) != "int64":
        raise TypeError(f"{name} must be of dtype int64, got {name}.dtype={dtype_name(tokens)}")
    if tokens.ndim != 2 or not tokens.numel():
        raise ValueError(f"{name} must have two axes, none empty, got {name}.shape={tuple(tokens.shape)}")
    if vocab_size is not None and not 0 <= int(tokens.min()) <= int(tokens.max()) < vocab_size:
        raise ValueError(
            f"{name} must hold tokens from 0 to {vocab_size - 1}, "
            f"got {name} from {int(tokens.min())} to {int(tokens.max())}"
        )
