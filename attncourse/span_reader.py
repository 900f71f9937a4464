"""Answer a question with words of a passage: a reader that points at the first and the last of them.

Built in chapter 17.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from attncourse._checks import check_array, check_count, check_same_axis, check_type, dtype_name
from attncourse.attention import attend
from attncourse.masks import padding_mask
from attncourse.scores import build_score
from attncourse.seq2seq import BiGRUEncoder, check_tokens


class ReaderWeights(NamedTuple):
    """Hold where a reader with attention looked.

    Parameters
    ----------
    question : Tensor, shape (batch, n_passage, n_question)
        How much each passage token looked at each question token.
    passage : Tensor, shape (batch, n_passage)
        How much the question looked at each passage token.
    """

    question: Tensor
    passage: Tensor


class SpanReader(nn.Module):
    r"""Read a question and a passage, and score every passage token as the first and the last of the answer.

    Every passage token (embedding :math:`e_i`) looks at the states :math:`m_j` of the question, with what it
    finds a bidirectional GRU reads the passage, and the question (last states m) looks back at what was read:

    .. math::
        c_i = C \sum_j a_{ij} m_j, \quad a_{ij} = \operatorname{softmax}_j(e_i^\top A m_j), \quad
        h = \operatorname{BiGRU}([e_i; c_i; e_i \odot c_i])

    .. math::
        g_i = \operatorname{softmax}_i(m^\top G h_i), \quad q = m + V \sum_i g_i h_i, \quad
        z^{\text{start}}_i = q^\top S h_i, \quad z^{\text{end}}_i = q^\top T h_i

    Without attention, every passage token gets the question's last states in place of what it would find,
    :math:`c_i = C m`, and nobody looks back, :math:`q = m`. All else is the same.

    Parameters
    ----------
    vocab_size : int
        Distinct tokens of questions and passages.
    attention : bool, optional
        Whether passage and question look at each other.
    d_embedding : int, optional
        Features of one token's embedding.
    d_hidden : int, optional
        Features of either direction's states.

    Raises
    ------
    TypeError
        If an argument is of the wrong type.
    ValueError
        If a size is below 1.

    Notes
    -----
    The pointers are softmaxes over places too: in the terms of this course they are attention weights of
    which only the peak is used. What "without attention" leaves out are the weights inside. Time and memory
    O(n_passage · n_question) for the first look, O(n_passage) for everything else. Built in chapter 17.

    References
    ----------
    Chen et al., "Reading Wikipedia to answer open-domain questions", ACL 2017, section 3.2 (passage
    embeddings that look at the question, bilinear pointers); Seo et al., "Bidirectional attention flow for
    machine comprehension", ICLR 2017 (attention in both directions, the elementwise product); Wang and Jiang,
    "Machine comprehension using match-LSTM and answer pointer", ICLR 2017 (pointers at both ends).
    """

    def __init__(
        self, vocab_size: int, *, attention: bool = True, d_embedding: int = 32, d_hidden: int = 48
    ) -> None:
        super().__init__()
        check_type("attention", attention, bool)
        self.question_encoder = BiGRUEncoder(vocab_size, d_embedding=d_embedding, d_hidden=d_hidden)
        d_memory = self.question_encoder.d_memory
        self.found_proj = nn.Linear(d_memory, d_embedding)
        self.passage_gru = nn.GRU(3 * d_embedding, d_hidden, batch_first=True, bidirectional=True)
        self.start_score = build_score("general", d_query=d_memory, d_key=d_memory)
        self.end_score = build_score("general", d_query=d_memory, d_key=d_memory)
        self.has_weights = attention
        if attention:
            self.question_score = build_score("general", d_query=d_embedding, d_key=d_memory)
            self.passage_score = build_score("general", d_query=d_memory, d_key=d_memory)
            self.context_proj = nn.Linear(d_memory, d_memory, bias=False)

    def forward(
        self,
        passage: Tensor,
        passage_lengths: Tensor,
        question: Tensor,
        question_lengths: Tensor,
        *,
        return_weights: bool = False,
    ) -> tuple[Tensor, Tensor] | tuple[Tensor, Tensor, ReaderWeights]:
        """Score every passage token as the first and as the last of the answer.

        Parameters
        ----------
        passage : Tensor of int64, shape (batch, n_passage)
            Passage tokens, padded at the end. Not modified.
        passage_lengths : Tensor of int64, shape (batch,)
            Passage tokens before the padding, at least 1. Not modified.
        question : Tensor of int64, shape (batch, n_question)
            Question tokens, padded at the end. Not modified.
        question_lengths : Tensor of int64, shape (batch,)
            Question tokens before the padding, at least 1. Not modified.
        return_weights : bool, optional
            Whether to return the weights too.

        Returns
        -------
        start_logits, end_logits : Tensor, shape (batch, n_passage)
            Unnormalised log-probabilities of the places, in nats; -inf behind the length.
        weights : ReaderWeights
            Only with ``return_weights=True``.

        Raises
        ------
        TypeError
            If an argument is not a tensor of integers.
        ValueError
            If the shapes do not fit, a token or a length is out of range, or weights are asked of a reader
            that has none.
        """
        self._check_inputs(passage, passage_lengths, question, return_weights)
        real = padding_mask(passage_lengths, passage.shape[1])  # (batch, 1, n_passage)
        memory = self.question_encoder(question, question_lengths)
        asked = memory.summary.unsqueeze(1)  # (batch, 1, d_memory)
        embedded = self.question_encoder.source_embedding(passage)  # (batch, n_passage, d_embedding)
        if self.has_weights:
            scores = self.question_score(embedded, memory.states)
            found, to_question = attend(scores, memory.states, memory.mask)  # (batch, n_passage, ...)
        else:
            found = asked.expand(-1, passage.shape[1], -1)
        states = self._read(embedded, self.found_proj(found), passage_lengths)
        if self.has_weights:
            context, to_passage = attend(self.passage_score(asked, states), states, real)
            asked = asked + self.context_proj(context)
        start_logits, end_logits = (
            score(asked, states).masked_fill(~real, -torch.inf).squeeze(1)
            for score in (self.start_score, self.end_score)
        )
        if not return_weights:
            return start_logits, end_logits
        return start_logits, end_logits, ReaderWeights(to_question, to_passage.squeeze(1))

    def _check_inputs(
        self, passage: Tensor, passage_lengths: Tensor, question: Tensor, return_weights: bool
    ) -> None:
        """Require what the question's encoder does not: a fitting passage, and weights only where some are.

        Raises
        ------
        TypeError
            If an argument is no tensor.
        ValueError
            If the shapes do not fit, a length is below 1, or weights are asked of a reader that has none.
        """
        if return_weights and not self.has_weights:
            raise ValueError("return_weights must be False without attention, got return_weights=True")
        check_tokens("passage", passage, self.question_encoder.source_embedding.num_embeddings)
        for name, array in (("question", question), ("passage_lengths", passage_lengths)):
            check_type(name, array, Tensor)
            check_same_axis(name, array, "passage", passage, axis=0, what="batch size")
        if int(passage_lengths.min()) < 1:
            raise ValueError(
                f"passage_lengths must be at least 1, got passage_lengths={passage_lengths.tolist()}"
            )

    def _read(self, embedded: Tensor, found: Tensor, lengths: Tensor) -> Tensor:
        """Return the states (batch, n_passage, d_memory) of the passage; padding is never read."""
        inputs = torch.cat([embedded, found, embedded * found], dim=-1)
        packed = pack_padded_sequence(inputs, lengths.cpu(), batch_first=True, enforce_sorted=False)
        states, _ = self.passage_gru(packed)
        return pad_packed_sequence(states, batch_first=True, total_length=embedded.shape[1])[0]


def span_loss(start_logits: Tensor, end_logits: Tensor, start: Tensor, end: Tensor) -> Tensor:
    r"""Return the mean cost of both ends of the right answers.

    .. math:: -\frac{1}{2 n} \sum \bigl( \ln p^{\text{start}}_{s} + \ln p^{\text{end}}_{t} \bigr)

    Parameters
    ----------
    start_logits, end_logits : Tensor, shape (batch, n_passage)
        Unnormalised log-probabilities of the places. Not modified.
    start, end : Tensor of int64, shape (batch,)
        First and last token of the right answers. Not modified.

    Returns
    -------
    Tensor, shape ()
        Nats per end; infinite where a right end lies behind the passage.

    Raises
    ------
    TypeError
        If a place is not an integer.
    ValueError
        If the shapes do not fit, a place is out of range, or an answer ends before it starts.

    Notes
    -----
    Built in chapter 17.
    """
    _check_logits(start_logits, end_logits)
    for name, places in (("start", start), ("end", end)):
        check_type(name, places, Tensor)
        _check_integers(name, places)
        if places.shape != start_logits.shape[:1]:
            raise ValueError(
                f"{name} must have shape (batch,)={tuple(start_logits.shape[:1])}, "
                f"got {name}.shape={tuple(places.shape)}"
            )
    n_passage = start_logits.shape[1]
    if int(start.min()) < 0 or int(end.max()) >= n_passage or bool((end < start).any()):
        raise ValueError(
            f"start and end must satisfy 0 <= start <= end < {n_passage}, "
            f"got start={start.tolist()}, end={end.tolist()}"
        )
    return (F.cross_entropy(start_logits, start) + F.cross_entropy(end_logits, end)) / 2


def best_span(start_logits: Tensor, end_logits: Tensor, *, max_tokens: int) -> tuple[Tensor, Tensor]:
    r"""Return the likeliest answer that ends no sooner than it starts and is not too long.

    .. math:: \arg\max_{s \le t < s + \ell} \; p^{\text{start}}_s \, p^{\text{end}}_t

    Parameters
    ----------
    start_logits, end_logits : Tensor, shape (batch, n_passage)
        Unnormalised log-probabilities of the places; -inf where no answer may be. Not modified.
    max_tokens : int
        Tokens :math:`\ell` of an answer at most.

    Returns
    -------
    start, end : Tensor of int64, shape (batch,)
        First and last token; of equals the one that starts, then the one that ends, first.

    Raises
    ------
    TypeError
        If ``max_tokens`` is not an integer.
    ValueError
        If the shapes do not fit, or ``max_tokens`` is below 1.

    Notes
    -----
    The peaks of both pointers taken apart may make an answer that ends before it starts. Time
    O(n_passage · max_tokens). Built in chapter 17.
    """
    _check_logits(start_logits, end_logits)
    check_count("max_tokens", max_tokens)
    n_passage = start_logits.shape[1]
    longest = min(max_tokens, n_passage)
    # Column k of a row holds the end that lies k tokens behind the row's start.
    ends = F.pad(end_logits, (0, longest - 1), value=-torch.inf).unfold(1, longest, 1)
    scores = (start_logits.unsqueeze(-1) + ends).flatten(1)  # (batch, n_passage * longest)
    best = scores.argmax(dim=1)
    start = best // longest
    return start, start + best % longest


def span_f1(found: np.ndarray, gold: np.ndarray) -> np.ndarray:
    r"""Return how far answers overlap with the right ones, token by token.

    .. math:: F_1 = \frac{2 \,|\text{found} \cap \text{gold}|}{|\text{found}| + |\text{gold}|}

    Parameters
    ----------
    found, gold : ndarray of int, shape (batch, 2)
        First and last token of every answer. Not modified.

    Returns
    -------
    ndarray of float, shape (batch,)
        1 for the same tokens, 0 for none in common.

    Raises
    ------
    TypeError
        If an argument is not an array of integers.
    ValueError
        If the shapes do not fit, or an answer ends before it starts.

    Notes
    -----
    The harmonic mean of precision and recall over places of the passage: the same word at another place does
    not count. The usual score of question answering compares the words wherever they stand. Built in
    chapter 17.

    References
    ----------
    Rajpurkar et al., "SQuAD: 100,000+ questions for machine comprehension of text", EMNLP 2016, section 6.1.
    """
    for name, spans in (("found", found), ("gold", gold)):
        check_type(name, spans, np.ndarray)
        _check_integers(name, spans)
        if spans.ndim != 2 or spans.shape[1] != 2:
            raise ValueError(f"{name} must have shape (batch, 2), got {name}.shape={spans.shape}")
        if (spans[:, 1] < spans[:, 0]).any():
            raise ValueError(f"{name} must not end before it starts, got {name}={spans.tolist()}")
    check_same_axis("found", found, "gold", gold, axis=0, what="batch size")
    first, last = np.maximum(found[:, 0], gold[:, 0]), np.minimum(found[:, 1], gold[:, 1])
    common = np.maximum(last - first + 1, 0)
    sizes = (found[:, 1] - found[:, 0] + 1) + (gold[:, 1] - gold[:, 0] + 1)
    return 2 * common / sizes


def _check_integers(name: str, array: Tensor | np.ndarray) -> None:
    check_array(name, array)
    if "int" not in dtype_name(array):
        raise TypeError(f"{name} must be integers, got {name}.dtype={dtype_name(array)}")


def _check_logits(start_logits: Tensor, end_logits: Tensor) -> None:
    check_type("start_logits", start_logits, Tensor)
    check_type("end_logits", end_logits, Tensor)
    if start_logits.ndim != 2 or start_logits.shape != end_logits.shape:
        raise ValueError(
            "start_logits and end_logits must have the same shape (batch, n_passage), "
            f"got start_logits.shape={tuple(start_logits.shape)}, end_logits.shape={tuple(end_logits.shape)}"
        )
