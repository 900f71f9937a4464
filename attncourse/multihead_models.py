"""Two small models around one multi-head layer: one that answers several questions, one that translates.

Built in chapter 7.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attncourse._checks import check_array, check_count, check_type
from attncourse.multihead import MultiHeadAttention
from attncourse.positions import sinusoidal_positions
from attncourse.recurrent_decoders import Memory
from attncourse.seq2seq import BiGRUEncoder, Seq2Seq
from attncourse.tasks.relations import NO_ANSWER


class RelationModel(nn.Module):
    r"""Answer several questions about every token from what one attention layer brought to it.

    .. math:: p_{t,r} = \operatorname{softmax}(W_r z_t), \quad
        Z = X + \operatorname{multihead}(X), \quad X = \operatorname{embed}(\text{tokens}) + \text{PE}

    Parameters
    ----------
    vocab_size : int
        Distinct tokens, on both sides.
    n_relations : int
        Questions that every token answers.
    d_model : int
        Features of a token's vector; even.
    n_heads : int
        Heads of the layer; it divides ``d_model``.
    n_kv_heads : int, optional
        As in ``MultiHeadAttention``.
    d_hidden : int, optional
        Features of a hidden layer with ReLU between z and the outputs; none unless given.

    Raises
    ------
    TypeError, ValueError
        If a size is not an integer, is below 1, or the heads do not divide.

    Notes
    -----
    The attention layer is the only way between tokens, so that whatever a token knows of another came
    through a head. Built in chapter 7.
    """

    def __init__(
        self,
        vocab_size: int,
        n_relations: int,
        *,
        d_model: int = 64,
        n_heads: int = 4,
        n_kv_heads: int | None = None,
        d_hidden: int | None = None,
    ) -> None:
        super().__init__()
        check_count("vocab_size", vocab_size)
        check_count("n_relations", n_relations)
        self.n_relations = n_relations
        self.embedding = nn.Embedding(vocab_size, d_model)
        self.attention = MultiHeadAttention(d_model, n_heads, n_kv_heads=n_kv_heads)
        hidden: list[nn.Module] = []
        if d_hidden is not None:
            check_count("d_hidden", d_hidden)
            hidden = [nn.Linear(d_model, d_hidden), nn.ReLU()]
        d_readout = d_model if d_hidden is None else d_hidden
        self.readout = nn.Sequential(*hidden, nn.Linear(d_readout, n_relations * vocab_size))

    def forward(
        self, tokens: Tensor, *, head_gates: Tensor | None = None, return_weights: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Score every token of the vocabulary as the answer to every question.

        Parameters
        ----------
        tokens : Tensor of int64, shape (batch, n_tokens)
            The sequences. Not modified.
        head_gates : Tensor of float, shape (n_heads,) or (batch, n_heads), optional
            Factor on each head's output. Not modified.
        return_weights : bool, optional
            Whether to return the weights too.

        Returns
        -------
        logits : Tensor, shape (batch, n_tokens, n_relations, vocab_size)
            Unnormalised log-probabilities of the answers, in nats.
        weights : Tensor, shape (batch, n_heads, n_tokens, n_tokens)
            Only with ``return_weights=True``: the weights that made the logits.

        Raises
        ------
        TypeError, ValueError
            If an argument is of the wrong kind, or does not fit.
        """
        check_type("tokens", tokens, Tensor)
        check_array("tokens", tokens, min_axes=2)
        embedded = self.embedding(tokens)  # (batch, n_tokens, d_model)
        inputs = embedded + sinusoidal_positions(
            tokens.shape[1], embedded.shape[-1], dtype=embedded.dtype, device=embedded.device
        )
        found = self.attention(inputs, head_gates=head_gates, return_weights=return_weights)
        found, weights = found if return_weights else (found, None)
        logits = self.readout(inputs + found).unflatten(-1, (self.n_relations, -1))
        return (logits, weights) if return_weights else logits


def relation_loss(logits: Tensor, answer: Tensor) -> Tensor:
    """Return the mean cross-entropy of the answers; questions without an answer are not counted.

    Parameters
    ----------
    logits : Tensor of float, shape (batch, n_tokens, n_relations, vocab_size)
        Unnormalised log-probabilities, in nats. Not modified.
    answer : Tensor of int64, shape (batch, n_tokens, n_relations)
        The answers, or ``NO_ANSWER``. Not modified.

    Returns
    -------
    Tensor, shape ()
        Nats per answered question.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    _check_answers(logits, answer)
    return F.cross_entropy(logits.flatten(0, -2), answer.flatten(), ignore_index=NO_ANSWER)


def relation_accuracy(logits: Tensor, answer: Tensor) -> Tensor:
    """Return the share of right answers to each question; those without an answer are not counted.

    Parameters
    ----------
    logits : Tensor of float, shape (batch, n_tokens, n_relations, vocab_size)
        Unnormalised log-probabilities. Not modified.
    answer : Tensor of int64, shape (batch, n_tokens, n_relations)
        The answers, or ``NO_ANSWER``. Not modified.

    Returns
    -------
    Tensor of float64, shape (n_relations,)
        Shares from 0 to 1.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    _check_answers(logits, answer)
    right = (logits.argmax(dim=-1) == answer).flatten(0, 1)  # (batch * n_tokens, n_relations)
    asked = (answer != NO_ANSWER).flatten(0, 1)
    return right.sum(dim=0).double() / asked.sum(dim=0)


def _check_answers(logits: Tensor, answer: Tensor) -> None:
    if logits.ndim != 4 or logits.shape[:-1] != answer.shape:
        raise ValueError(
            "logits must have the axes of answer and one for the vocabulary, "
            f"got logits.shape={tuple(logits.shape)}, answer.shape={tuple(answer.shape)}"
        )


class MultiHeadDecoder(nn.Module):
    r"""Look back after every step with several heads; otherwise Luong's decoder of chapter 5.

    .. math::
        h_t = \mathrm{GRU}(y_{t-1}, h_{t-1}), \quad c_t = \operatorname{multihead}(h_t, \bar h, \bar h), \quad
        p(y_t) = \mathrm{softmax}(O \tanh(W_c\,[c_t; h_t]))

    Parameters
    ----------
    vocab_size : int
        Distinct target tokens.
    d_memory : int
        Features of the memory's vectors.
    d_embedding : int
        Features of one token's embedding.
    d_hidden : int
        Features of the decoder state; ``n_heads`` divides it.
    n_heads : int
        Heads that look back.

    Raises
    ------
    TypeError, ValueError
        If a size is not an integer, is below 1, or the heads do not divide.

    References
    ----------
    .. [1] Luong, Pham and Manning (2015), section 3, equations 5 and 6.
    .. [2] Vaswani et al. (2017), section 3.2.2.
    """

    has_weights = True

    def __init__(
        self,
        vocab_size: int,
        d_memory: int,
        *,
        d_embedding: int = 32,
        d_hidden: int = 64,
        n_heads: int = 8,
    ) -> None:
        super().__init__()
        check_count("vocab_size", vocab_size)
        check_count("d_embedding", d_embedding)
        self.target_embedding = nn.Embedding(vocab_size, d_embedding)
        self.attention = MultiHeadAttention(d_hidden, n_heads, d_key=d_memory)
        self.start_proj = nn.Linear(d_memory, d_hidden)
        self.gru = nn.GRU(d_embedding, d_hidden, batch_first=True)
        self.attended_proj = nn.Linear(2 * d_hidden, d_hidden, bias=False)
        self.output_proj = nn.Linear(d_hidden, vocab_size)

    def start(self, memory: Memory) -> Tensor:
        """Return the state before the first token, of shape (1, batch, d_hidden)."""
        return torch.tanh(self.start_proj(memory.summary)).unsqueeze(0)

    def forward(
        self,
        previous: Tensor,
        memory: Memory,
        state: Tensor,
        *,
        head_gates: Tensor | None = None,
        return_weights: bool = True,
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """Score the tokens that follow ``previous``.

        Parameters
        ----------
        previous : Tensor of int64, shape (batch, n_target)
            Target tokens before the ones to predict. Not modified.
        memory : Memory
            The encoded source. Not modified.
        state : Tensor, shape (1, batch, d_hidden)
            State to go on from. Not modified.
        head_gates : Tensor of float, shape (n_heads,) or (batch, n_heads), optional
            Factor on each head's output. Not modified.
        return_weights : bool, optional
            Whether to return the weights; without them the fused kernel runs.

        Returns
        -------
        logits : Tensor, shape (batch, n_target, vocab_size)
            Unnormalised log-probabilities of the tokens that follow, in nats.
        weights : Tensor, shape (batch, n_heads, n_target, n_source), or None
            The weights of every head and step.
        state : Tensor, shape (1, batch, d_hidden)
            State after the last token.
        """
        states, state = self.gru(self.target_embedding(previous), state)  # (batch, n_target, d_hidden)
        context = self.attention(
            states,
            memory.states,
            mask=memory.mask.unsqueeze(1),  # (batch, 1, 1, n_source)
            head_gates=head_gates,
            return_weights=return_weights,
        )
        context, weights = context if return_weights else (context, None)
        attended = torch.tanh(self.attended_proj(torch.cat([context, states], dim=-1)))
        return self.output_proj(attended), weights, state


class _OneCall(nn.Module):
    """Give a decoder the options of one call, so that ``Seq2Seq`` can run it without knowing of heads."""

    def __init__(
        self, decoder: MultiHeadDecoder, head_gates: Tensor | None = None, return_weights: bool = False
    ) -> None:
        super().__init__()
        self.decoder = decoder
        self.target_embedding = decoder.target_embedding
        self.start = decoder.start
        self.has_weights = decoder.has_weights
        self.options = {"head_gates": head_gates, "return_weights": return_weights}

    def forward(self, previous: Tensor, memory: Memory, state: Tensor) -> tuple:
        """Score the tokens that follow; heads and sources share the last axis of the weights."""
        logits, weights, state = self.decoder(previous, memory, state, **self.options)
        if weights is not None:  # ``Seq2Seq`` wants (batch, n_target, ...), whatever the last axis counts
            weights = weights.transpose(1, 2).flatten(2)  # (batch, n_target, n_heads * n_source)
        return logits, weights, state


class MultiHeadSeq2Seq(nn.Module):
    """Translate with chapter 5's bidirectional encoder and a decoder that looks back with several heads.

    Parameters
    ----------
    source_vocab_size, target_vocab_size : int
        Distinct tokens on either side, the special ones included.
    d_embedding : int
        Features of one token's embedding, on both sides.
    d_hidden : int
        Features of the decoder state and of either direction of the encoder.
    n_heads : int
        Heads that look back; it divides ``d_hidden``.

    Raises
    ------
    TypeError, ValueError
        If a size is not an integer, is below 1, or the heads do not divide.

    Notes
    -----
    Teacher forcing and greedy decoding are those of ``Seq2Seq``. Built in chapter 7.
    """

    def __init__(
        self,
        source_vocab_size: int,
        target_vocab_size: int,
        *,
        d_embedding: int = 32,
        d_hidden: int = 64,
        n_heads: int = 8,
    ) -> None:
        super().__init__()
        check_count("source_vocab_size", source_vocab_size)
        check_count("target_vocab_size", target_vocab_size)
        self.n_heads = n_heads
        self.encoder = BiGRUEncoder(source_vocab_size, d_embedding=d_embedding, d_hidden=d_hidden)
        self.decoder = MultiHeadDecoder(
            target_vocab_size,
            self.encoder.d_memory,
            d_embedding=d_embedding,
            d_hidden=d_hidden,
            n_heads=n_heads,
        )

    def forward(
        self,
        source: Tensor,
        lengths: Tensor,
        target: Tensor,
        *,
        head_gates: Tensor | None = None,
        return_weights: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Score every target token, given the true tokens before it (teacher forcing).

        Parameters
        ----------
        source, lengths, target : Tensor of int64
            As in ``Seq2Seq.forward``. Not modified.
        head_gates : Tensor of float, shape (n_heads,) or (batch, n_heads), optional
            Factor on each head's output. Not modified.
        return_weights : bool, optional
            Whether to return the weights too.

        Returns
        -------
        logits : Tensor, shape (batch, n_target, target_vocab_size)
            Unnormalised log-probabilities of ``target`` at the same places, in nats.
        weights : Tensor, shape (batch, n_heads, n_target, n_source)
            Only with ``return_weights=True``: the weights that made the logits.
        """
        model = Seq2Seq(self.encoder, _OneCall(self.decoder, head_gates, return_weights))
        result = model(source, lengths, target, return_weights=return_weights)
        return (result[0], self._by_head(result[1])) if return_weights else result

    def greedy_decode(
        self,
        source: Tensor,
        lengths: Tensor,
        *,
        max_tokens: int,
        head_gates: Tensor | None = None,
        return_weights: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Write targets token by token, always taking the likeliest, until all have ended.

        Parameters
        ----------
        source, lengths, max_tokens
            As in ``Seq2Seq.greedy_decode``. Not modified.
        head_gates, return_weights
            As in ``forward``.

        Returns
        -------
        written : Tensor of int64, shape (batch, n_written)
            As in ``Seq2Seq.greedy_decode``.
        weights : Tensor, shape (batch, n_heads, n_written, n_source)
            Only with ``return_weights=True``: the weights of every token written, zeros behind ``END``.
        """
        model = Seq2Seq(self.encoder, _OneCall(self.decoder, head_gates, return_weights))
        result = model.greedy_decode(source, lengths, max_tokens=max_tokens, return_weights=return_weights)
        return (result[0], self._by_head(result[1])) if return_weights else result

    def _by_head(self, weights: Tensor) -> Tensor:
        return weights.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
