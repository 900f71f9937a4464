"""Write a word of the vocabulary or copy one of the source: a decoder whose attention is an output.

Built in chapter 17.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from attncourse._checks import check_choice, check_count, check_floats, check_same_axis, check_type
from attncourse.recurrent_decoders import BahdanauDecoder, BahdanauState
from attncourse.seq2seq import BiGRUEncoder, Seq2Seq, build_seq2seq, check_tokens
from attncourse.tasks.pairs import PADDING

SUMMARISER_KINDS = ("none", "attention", "pointer")


class CopyMemory(NamedTuple):
    """Hold what a decoder may read about the source, and the words themselves.

    Parameters
    ----------
    states, summary, lengths, mask : Tensor
        As in ``Memory``.
    words : Tensor of int64, shape (batch, n_source)
        Extended numbers of the source words, ``PADDING`` behind the length: numbers from the vocabulary's
        size on stand for words that the vocabulary lacks.
    """

    states: Tensor
    summary: Tensor
    lengths: Tensor
    mask: Tensor
    words: Tensor


class CopyEncoder(BiGRUEncoder):
    """Read a source whose unknown words have numbers of their own, and keep those numbers for copying.

    Parameters
    ----------
    vocab_size : int
        Words of the vocabulary; numbers from here on are read as the unknown word.
    unknown : int
        Number of the unknown word.
    d_embedding, d_hidden : int
        As in ``BiGRUEncoder``.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is out of range.

    Notes
    -----
    Built in chapter 17.
    """

    def __init__(self, vocab_size: int, unknown: int, *, d_embedding: int = 32, d_hidden: int = 64) -> None:
        super().__init__(vocab_size, d_embedding=d_embedding, d_hidden=d_hidden)
        _check_unknown(unknown, vocab_size)
        self.unknown = unknown

    def forward(self, source: Tensor, lengths: Tensor) -> CopyMemory:
        """Encode padded sources, unknown words all alike.

        Parameters
        ----------
        source : Tensor of int64, shape (batch, n_source)
            Extended numbers of the source words, padded at the end. Not modified.
        lengths : Tensor of int64, shape (batch,)
            Source words before the padding, at least 1. Not modified.

        Returns
        -------
        CopyMemory
            What ``BiGRUEncoder`` returns, and the extended numbers.

        Raises
        ------
        TypeError
            If an argument is not a tensor of integers.
        ValueError
            If the shapes do not fit, or a number or a length is out of range.
        """
        check_tokens("source", source)
        known = hide_unknown(source, self.source_embedding.num_embeddings, self.unknown)
        memory = super().forward(known, lengths)
        return CopyMemory(*memory, source.masked_fill(~memory.mask.squeeze(1), PADDING))


class PointerStep(NamedTuple):
    """Hold the parts from which a pointer-generator makes its final distribution.

    Parameters
    ----------
    vocabulary : Tensor, shape (batch, n_target, vocab_size)
        Probability of every word of the vocabulary, if one is generated.
    weights : Tensor, shape (batch, n_target, n_source)
        Probability of every source position, if one is copied: the attention weights.
    generates : Tensor, shape (batch, n_target, 1)
        Probability of generating.
    state : BahdanauState
        State after the last token.
    """

    vocabulary: Tensor
    weights: Tensor
    generates: Tensor
    state: BahdanauState


class PointerDecoder(BahdanauDecoder):
    r"""Generate a word of the vocabulary with probability p, or copy a word of the source by its weight.

    .. math::
        p_t = \sigma(w_c^\top c_t + w_s^\top s_t + w_y^\top y_{t-1} + b), \qquad
        P_t(w) = p_t\, P_t^{\text{vocab}}(w) + (1 - p_t) \sum_{j : x_j = w} a_{tj}

    Parameters
    ----------
    vocab_size, d_memory, d_embedding, d_hidden : int
        As in ``BahdanauDecoder``; the vocabulary is that of the source.
    unknown : int
        Number of the unknown word, which the decoder reads after it has copied a word of no vocabulary.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is out of range.

    Notes
    -----
    The gate reads the same three vectors as the output layer, so it is one more row of that layer, and the
    steps are those of ``BahdanauDecoder``. The paper's decoder is an LSTM with a hidden layer before the
    vocabulary, and it adds a coverage loss against repetition; neither is here. Built in chapter 17.

    References
    ----------
    See, Liu and Manning, "Get to the point: summarization with pointer-generator networks", ACL 2017,
    section 2.2, equations 8 and 9.
    """

    def __init__(
        self, vocab_size: int, d_memory: int, unknown: int, *, d_embedding: int = 32, d_hidden: int = 64
    ) -> None:
        super().__init__(vocab_size, d_memory, d_embedding=d_embedding, d_hidden=d_hidden)
        _check_unknown(unknown, vocab_size)
        self.unknown = unknown
        self.vocab_size = vocab_size
        self.output_proj = torch.nn.Linear(self.output_proj.in_features, vocab_size + 1)

    def forward(
        self, previous: Tensor, memory: CopyMemory, state: BahdanauState
    ) -> tuple[Tensor, Tensor, BahdanauState]:
        """Score the words that follow ``previous``.

        Parameters
        ----------
        previous : Tensor of int64, shape (batch, n_target)
            Extended numbers of the words before the ones to predict. Not modified.
        memory : CopyMemory
            The encoded source and its words. Not modified.
        state : BahdanauState
            State to go on from. Not modified.

        Returns
        -------
        log_probabilities : Tensor, shape (batch, n_target, n_words)
            Of every word of the vocabulary and every other one of the batch's sources, in nats. A word that
            can neither be generated nor copied has the log of the smallest normal number.
        weights : Tensor, shape (batch, n_target, n_source)
            Attention weights, each row summing to 1.
        state : BahdanauState
            State after the last token.
        """
        step = self.parts(previous, memory, state)
        n_words = max(self.vocab_size, int(memory.words.max()) + 1)
        mixed = final_distribution(
            step.vocabulary, step.weights, step.generates, memory.words, n_words=n_words
        )
        # A word that nothing gives probability has none: its log must be finite, and so must its gradient.
        return mixed.clamp_min(torch.finfo(mixed.dtype).tiny).log(), step.weights, step.state

    def parts(self, previous: Tensor, memory: CopyMemory, state: BahdanauState) -> PointerStep:
        """Return what ``forward`` mixes; its arguments are those of ``forward``."""
        known = hide_unknown(previous, self.vocab_size, self.unknown)
        scores, weights, state = super().forward(known, memory, state)
        vocabulary, gate = scores.split([self.vocab_size, 1], dim=-1)
        return PointerStep(vocabulary.softmax(dim=-1), weights, torch.sigmoid(gate), state)


def final_distribution(
    vocabulary: Tensor, weights: Tensor, generates: Tensor, words: Tensor, *, n_words: int
) -> Tensor:
    r"""Return the mixture of generating and copying, over all words that one of them can give.

    .. math:: P(w) = p\, P^{\text{vocab}}(w) + (1 - p) \sum_{j : x_j = w} a_j

    Parameters
    ----------
    vocabulary : Tensor of float, shape (batch, n_target, vocab_size)
        Probability of every word of the vocabulary. Not modified.
    weights : Tensor of float, shape (batch, n_target, n_source)
        Attention weights. Not modified.
    generates : Tensor of float, shape (batch, n_target, 1)
        Probability p of generating, from 0 to 1. Not modified.
    words : Tensor of int64, shape (batch, n_source)
        Extended number of the word at every source position. Not modified.
    n_words : int
        Numbers in all, those of the vocabulary included.

    Returns
    -------
    Tensor of float, shape (batch, n_target, n_words)
        Probability of every extended number; where each of the inputs sums to 1, so does each row.

    Raises
    ------
    TypeError
        If an argument is of the wrong type.
    ValueError
        If the shapes do not fit, or a number is out of range.

    Notes
    -----
    A word that stands at several places gets the sum of their weights. Time and memory grow with
    n_target · (n_words + n_source). Built in chapter 17.

    References
    ----------
    See, Liu and Manning, "Get to the point: summarization with pointer-generator networks", ACL 2017,
    section 2.2, equation 9.
    """
    for name, array in (("vocabulary", vocabulary), ("weights", weights), ("generates", generates)):
        check_type(name, array, Tensor)
        check_floats(name, array, min_axes=3)
        check_same_axis("vocabulary", vocabulary, name, array, axis=0, what="batch size")
        check_same_axis("vocabulary", vocabulary, name, array, axis=1, what="n_target")
    if generates.shape[-1] != 1:
        raise ValueError(
            f"generates must have 1 as its last axis, got generates.shape={tuple(generates.shape)}"
        )
    vocab_size = vocabulary.shape[-1]
    check_count("n_words", n_words, at_least=vocab_size)
    check_tokens("words", words, n_words)
    if words.shape != weights.shape[::2]:
        raise ValueError(
            "words must name every source position, "
            f"got words.shape={tuple(words.shape)}, weights.shape={tuple(weights.shape)}"
        )
    generated = torch.nn.functional.pad(generates * vocabulary, (0, n_words - vocab_size))
    places = words.unsqueeze(1).expand_as(weights)  # (batch, n_target, n_source)
    return generated.scatter_add(-1, places, (1 - generates) * weights)


def build_summariser(
    kind: str, vocab_size: int, unknown: int, *, d_embedding: int = 32, d_hidden: int = 64
) -> Seq2Seq:
    """Make a model by name, for experiments that compare them: same encoder, same sizes, another decoder.

    Parameters
    ----------
    kind : {"none", "attention", "pointer"}
        The plain decoder, Bahdanau's, or the pointer-generator. The first two know no extended numbers:
        hide rare words from them (``hide_unknown``).
    vocab_size : int
        Words of the vocabulary, which both sides share.
    unknown : int
        Number of the unknown word; read only by the pointer-generator.
    d_embedding : int
        Features of one word's embedding, on both sides.
    d_hidden : int
        Features of the decoder state and of either direction of the encoder.

    Returns
    -------
    Seq2Seq
        The model, with parameters drawn from torch's global generator. That of a pointer-generator returns
        log-probabilities, which serve as logits.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If ``kind`` is unknown or a size is out of range.

    Notes
    -----
    Train a pointer-generator by ``sequence_loss(model(source, lengths, hidden_target), target)``: it reads
    targets of the vocabulary, and its log-probabilities reach the extended ones. Built in chapter 17.
    """
    check_choice("kind", kind, SUMMARISER_KINDS)
    sizes = {"d_embedding": d_embedding, "d_hidden": d_hidden}
    if kind != "pointer":
        _check_unknown(unknown, vocab_size)
        return build_seq2seq("bahdanau" if kind == "attention" else kind, vocab_size, vocab_size, **sizes)
    encoder = CopyEncoder(vocab_size, unknown, **sizes)
    return Seq2Seq(encoder, PointerDecoder(vocab_size, encoder.d_memory, unknown, **sizes))


def hide_unknown(tokens: Tensor, vocab_size: int, unknown: int) -> Tensor:
    """Return the numbers as a layer of fixed size reads them: all words of no vocabulary are one word.

    Parameters
    ----------
    tokens : Tensor of int64
        Extended numbers. Not modified.
    vocab_size : int
        Numbers from here on are replaced.
    unknown : int
        Number of the unknown word.

    Returns
    -------
    Tensor of int64, shape of ``tokens``
        Numbers below ``vocab_size``.

    Raises
    ------
    TypeError
        If an argument is not a tensor or not an integer.
    ValueError
        If ``unknown`` is not a number of the vocabulary.

    Notes
    -----
    Built in chapter 17.
    """
    check_type("tokens", tokens, Tensor)
    _check_unknown(unknown, vocab_size)
    return tokens.masked_fill(tokens >= vocab_size, unknown)


def _check_unknown(unknown: int, vocab_size: int) -> None:
    check_count("unknown", unknown, at_least=0)
    if unknown >= vocab_size:
        raise ValueError(f"unknown must be below vocab_size={vocab_size}, got unknown={unknown}")
