"""Models whose whole past must pass through one vector, and the attention readout that looks back instead."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attncourse._checks import check_array, check_choice, check_count, check_last_axis
from attncourse.tasks.pairs import START

RECURRENT_LAYERS = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


class BorrowedAttention(nn.Module):
    """Let every query position take a weighted mean over all positions, with torch's own attention.

    Chapter 4 opens the box; until then the layer is borrowed: three linear maps in front of
    ``F.scaled_dot_product_attention`` and one behind it.

    Parameters
    ----------
    d_model : int
        Features of inputs and outputs.

    Notes
    -----
    O(n_queries · n_keys · d_model) operations, all independent of each other. Built in chapter 1.

    References
    ----------
    Vaswani et al., "Attention is all you need", NeurIPS 2017, section 3.2.1, equation 1.
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        check_count("d_model", d_model)
        self.d_model = d_model
        self.query_proj = nn.Linear(d_model, d_model)
        self.key_proj = nn.Linear(d_model, d_model)
        self.value_proj = nn.Linear(d_model, d_model)
        self.output_proj = nn.Linear(d_model, d_model)
        # nn.Linear starts with weights that shrink a vector; two of them in a row would make all scores
        # nearly equal at first. This start keeps lengths, as in nn.MultiheadAttention.
        for proj in (self.query_proj, self.key_proj, self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(proj.weight)
            nn.init.zeros_(proj.bias)

    def forward(
        self, queries: Tensor, memory: Tensor, *, is_causal: bool = False, return_weights: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Look from every query position at every position of the memory.

        Parameters
        ----------
        queries : Tensor, shape (batch, n_queries, d_model)
            What looks; not modified.
        memory : Tensor, shape (batch, n_keys, d_model)
            What is looked at; not modified.
        is_causal : bool
            Hide later positions of the memory; needs as many queries as keys.
        return_weights : bool
            Return the weights as well.

        Returns
        -------
        output : Tensor, shape (batch, n_queries, d_model)
            One weighted mean per query, after the output map.
        weights : Tensor, shape (batch, n_queries, n_keys)
            Only with ``return_weights``: the weights of that mean; every row sums to one.

        Raises
        ------
        TypeError
            If an argument is not a tensor.
        ValueError
            If an argument does not have ``d_model`` features, or a causal call has unequal lengths.
        """
        for name, tensor in (("queries", queries), ("memory", memory)):
            check_array(name, tensor, min_axes=3)
            check_last_axis(name, tensor, self.d_model, what="d_model")
        if is_causal and queries.shape[1] != memory.shape[1]:
            raise ValueError(
                "queries and memory must have the same length in a causal call, "
                f"got queries.shape={tuple(queries.shape)}, memory.shape={tuple(memory.shape)}"
            )
        value = self.value_proj(memory)  # (batch, n_keys, d_model)
        if return_weights:
            # The weighted mean of one-hot vectors is the vector of weights: each value carries its position
            # along, so that the map comes out of the very call that makes the output.
            n_keys = memory.shape[1]
            position = torch.eye(n_keys, dtype=value.dtype, device=value.device).expand(len(value), -1, -1)
            value = torch.cat([value, position], dim=-1)  # (batch, n_keys, d_model + n_keys)
        # One head: without a heads axis PyTorch takes a slower path on the CPU, 2.5 times at 4096 tokens.
        query, key, value = (
            tensor.unsqueeze(1) for tensor in (self.query_proj(queries), self.key_proj(memory), value)
        )
        mean = F.scaled_dot_product_attention(query, key, value, is_causal=is_causal).squeeze(1)
        if not return_weights:
            return self.output_proj(mean)
        mean, weights = mean.split([self.d_model, memory.shape[1]], dim=-1)
        return self.output_proj(mean), weights


class RecallModel(nn.Module):
    """Read a sequence of tokens with a recurrent layer and answer from its end.

    Without attention, the answer is computed from the last hidden state alone. With attention, the last
    hidden state also asks a question of all hidden states, and the answer is computed from both.

    Parameters
    ----------
    kind : {"rnn", "gru", "lstm"}
        Recurrent layer; torch's fused version of the cells in ``attncourse.recurrent``.
    vocab_size : int
        Distinct tokens.
    d_embedding : int
        Features of one token's embedding.
    d_hidden : int
        Features of the hidden state.
    attention : bool
        Add the readout over all hidden states.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If ``kind`` is unknown or a size is below 1.

    Notes
    -----
    Built in chapter 1.
    """

    def __init__(
        self,
        kind: str,
        vocab_size: int,
        *,
        d_embedding: int = 32,
        d_hidden: int = 64,
        attention: bool = False,
    ) -> None:
        super().__init__()
        check_choice("kind", kind, RECURRENT_LAYERS)
        check_count("vocab_size", vocab_size, at_least=2)
        self.embedding = nn.Embedding(vocab_size, d_embedding)
        self.recurrent = RECURRENT_LAYERS[kind](d_embedding, d_hidden, batch_first=True)
        self.readout = BorrowedAttention(d_hidden) if attention else None
        self.output_proj = nn.Linear(2 * d_hidden if attention else d_hidden, vocab_size)

    def forward(self, tokens: Tensor, *, return_weights: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """Return the scores of every token of the vocabulary as the answer.

        Parameters
        ----------
        tokens : Tensor of int64, shape (batch, n_tokens)
            The sequence, question last; not modified.
        return_weights : bool
            Return the attention weights as well.

        Returns
        -------
        logits : Tensor, shape (batch, vocab_size)
            Unnormalised log-probabilities of the answer.
        weights : Tensor, shape (batch, n_tokens)
            Only with ``return_weights``: how much the question looked at every position.

        Raises
        ------
        ValueError
            If weights are asked of a model without attention.
        """
        if return_weights and self.readout is None:
            raise ValueError(
                "return_weights must be False for a model without attention, got return_weights=True"
            )
        states, _ = self.recurrent(self.embedding(tokens))  # (batch, n_tokens, d_hidden)
        last = states[:, -1:]  # (batch, 1, d_hidden)
        if self.readout is None:
            return self.output_proj(last[:, 0])
        if not return_weights:
            looked_up = self.readout(last, states)
            return self.output_proj(torch.cat([last, looked_up], dim=-1)[:, 0])
        looked_up, weights = self.readout(last, states, return_weights=True)
        return self.output_proj(torch.cat([last, looked_up], dim=-1)[:, 0]), weights[:, 0]


class EncoderDecoder(nn.Module):
    r"""Translate a sequence through one context vector, with a GRU on either side and no attention.

    .. math::
        c = \tanh(V h_n), \quad
        s_t = \mathrm{GRU}([y_{t-1}; c],\, s_{t-1}), \quad s_0 = \tanh(V' c), \quad
        p(y_t) = \mathrm{softmax}(O\,[s_t; c; y_{t-1}])

    Parameters
    ----------
    source_vocab_size, target_vocab_size : int
        Distinct tokens on either side.
    d_embedding : int
        Features of one token's embedding, on both sides.
    d_hidden : int
        Features of both hidden states, and of the context vector c.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is below 1.

    Notes
    -----
    The context is fed to every step of the decoder and to its output layer, as in the paper; the output
    layer is one linear map instead of the paper's maxout. Built in chapter 1.

    References
    ----------
    Cho et al., "Learning phrase representations using RNN encoder–decoder for statistical machine
    translation", EMNLP 2014, section 2.2 and appendix A.
    """

    def __init__(
        self, source_vocab_size: int, target_vocab_size: int, *, d_embedding: int = 32, d_hidden: int = 64
    ) -> None:
        super().__init__()
        check_count("source_vocab_size", source_vocab_size)
        check_count("target_vocab_size", target_vocab_size)
        self.source_embedding = nn.Embedding(source_vocab_size, d_embedding)
        self.target_embedding = nn.Embedding(target_vocab_size, d_embedding)
        self.encoder = nn.GRU(d_embedding, d_hidden, batch_first=True)
        self.context_proj = nn.Linear(d_hidden, d_hidden)
        self.start_proj = nn.Linear(d_hidden, d_hidden)
        self.decoder = nn.GRU(d_embedding + d_hidden, d_hidden, batch_first=True)
        self.output_proj = nn.Linear(2 * d_hidden + d_embedding, target_vocab_size)

    def encode(self, source: Tensor, lengths: Tensor) -> Tensor:
        """Squeeze every source sequence into one vector.

        Parameters
        ----------
        source : Tensor of int64, shape (batch, n_source)
            Source tokens, padded at the end; not modified.
        lengths : Tensor of int64, shape (batch,)
            Tokens before the padding, at least 1; what stands behind them changes nothing.

        Returns
        -------
        Tensor, shape (batch, d_hidden)
            The context vector.
        """
        states, _ = self.encoder(self.source_embedding(source))  # (batch, n_source, d_hidden)
        last = states[torch.arange(len(states)), lengths - 1]  # (batch, d_hidden)
        return torch.tanh(self.context_proj(last))

    def decode(self, previous: Tensor, context: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the scores of the tokens that follow ``previous``.

        Parameters
        ----------
        previous : Tensor of int64, shape (batch, n_target)
            Target tokens before the ones to predict; not modified.
        context : Tensor, shape (batch, d_hidden)
            The context vector of every sequence; not modified.
        state : Tensor, shape (1, batch, d_hidden), optional
            Decoder state to go on from; made from the context if omitted.

        Returns
        -------
        logits : Tensor, shape (batch, n_target, target_vocab_size)
            Unnormalised log-probabilities of the tokens that follow.
        state : Tensor, shape (1, batch, d_hidden)
            Decoder state after the last step.
        """
        if state is None:
            state = torch.tanh(self.start_proj(context)).unsqueeze(0)  # (1, batch, d_hidden)
        embedded = self.target_embedding(previous)  # (batch, n_target, d_embedding)
        repeated = context.unsqueeze(1).expand(-1, previous.shape[1], -1)  # (batch, n_target, d_hidden)
        states, state = self.decoder(torch.cat([embedded, repeated], dim=-1), state)
        return self.output_proj(torch.cat([states, repeated, embedded], dim=-1)), state

    def forward(self, source: Tensor, lengths: Tensor, target: Tensor) -> Tensor:
        """Score every target token, given the true tokens before it (teacher forcing).

        Parameters
        ----------
        source : Tensor of int64, shape (batch, n_source)
            Source tokens, padded at the end; not modified.
        lengths : Tensor of int64, shape (batch,)
            Source tokens before the padding.
        target : Tensor of int64, shape (batch, n_target)
            Target tokens, without a start token; not modified.

        Returns
        -------
        Tensor, shape (batch, n_target, target_vocab_size)
            Unnormalised log-probabilities of ``target`` at the same places.
        """
        start = torch.full_like(target[:, :1], START)
        logits, _ = self.decode(torch.cat([start, target[:, :-1]], dim=1), self.encode(source, lengths))
        return logits

    @torch.no_grad()
    def greedy_decode(self, source: Tensor, lengths: Tensor, *, max_tokens: int) -> Tensor:
        """Write the target token by token, always taking the likeliest.

        Parameters
        ----------
        source : Tensor of int64, shape (batch, n_source)
            Source tokens, padded at the end; not modified.
        lengths : Tensor of int64, shape (batch,)
            Source tokens before the padding.
        max_tokens : int
            Tokens to write for every sequence; whoever reads them stops at the end token.

        Returns
        -------
        Tensor of int64, shape (batch, max_tokens)
            The tokens written.

        Raises
        ------
        TypeError
            If ``max_tokens`` is not an integer.
        ValueError
            If ``max_tokens`` is below 1.
        """
        check_count("max_tokens", max_tokens)
        context = self.encode(source, lengths)
        token = torch.full_like(source[:, :1], START)
        state = None
        written = []
        for _ in range(max_tokens):
            logits, state = self.decode(token, context, state)
            token = logits.argmax(dim=-1)  # (batch, 1)
            written.append(token)
        return torch.cat(written, dim=1)
