"""Three recurrent decoders: one that reads a single vector, and two that look back at every source token.

All three have the same two methods: ``start`` makes the state before the first token, ``forward`` reads
target tokens from a state on. Reading a whole target at once (training) and one token at a time (decoding)
are the same function. Built in chapter 5.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from attncourse._checks import check_choice, check_count
from attncourse.attention import attend, masked_softmax
from attncourse.scores import build_score


class Memory(NamedTuple):
    """Hold what a decoder may read about the source.

    Parameters
    ----------
    states : Tensor, shape (batch, n_source, d_memory)
        One vector for each source token; zeros behind the length.
    summary : Tensor, shape (batch, d_memory)
        One vector for the whole source.
    lengths : Tensor of int64, shape (batch,)
        Source tokens before the padding.
    mask : Tensor of bool, shape (batch, 1, n_source)
        True at real source tokens.
    """

    states: Tensor
    summary: Tensor
    lengths: Tensor
    mask: Tensor


class PlainDecoder(nn.Module):
    r"""Write a target from one vector c for the whole source, the same at every step: no attention.

    .. math::
        s_0 = \tanh(W c), \quad s_t = \mathrm{GRU}([y_{t-1}; c],\, s_{t-1}), \quad
        p(y_t) = \mathrm{softmax}(O\,[s_t; c; y_{t-1}])

    Parameters
    ----------
    vocab_size : int
        Distinct target tokens.
    d_memory : int
        Features of the memory's vectors.
    d_embedding : int
        Features of one token's embedding.
    d_hidden : int
        Features of the decoder state.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is below 1.

    Notes
    -----
    Teacher forcing runs all steps in one fused GRU call. Built in chapter 5.

    References
    ----------
    Cho et al., "Learning phrase representations using RNN encoder–decoder for statistical machine
    translation", EMNLP 2014, section 2.2.
    """

    has_weights = False

    def __init__(self, vocab_size: int, d_memory: int, *, d_embedding: int = 32, d_hidden: int = 64) -> None:
        super().__init__()
        _check_sizes(vocab_size, d_memory, d_embedding, d_hidden)
        self.target_embedding = nn.Embedding(vocab_size, d_embedding)
        self.start_proj = nn.Linear(d_memory, d_hidden)
        self.gru = nn.GRU(d_embedding + d_memory, d_hidden, batch_first=True)
        self.output_proj = nn.Linear(d_hidden + d_memory + d_embedding, vocab_size)

    def start(self, memory: Memory) -> Tensor:
        """Return the state before the first token, of shape (1, batch, d_hidden)."""
        return torch.tanh(self.start_proj(memory.summary)).unsqueeze(0)

    def forward(self, previous: Tensor, memory: Memory, state: Tensor) -> tuple[Tensor, None, Tensor]:
        """Score the tokens that follow ``previous``.

        Parameters
        ----------
        previous : Tensor of int64, shape (batch, n_target)
            Target tokens before the ones to predict. Not modified.
        memory : Memory
            The encoded source. Not modified.
        state : Tensor, shape (1, batch, d_hidden)
            State to go on from. Not modified.

        Returns
        -------
        logits : Tensor, shape (batch, n_target, vocab_size)
            Unnormalised log-probabilities of the tokens that follow, in nats.
        weights : None
            There are none.
        state : Tensor, shape (1, batch, d_hidden)
            State after the last token.
        """
        embedded = self.target_embedding(previous)  # (batch, n_target, d_embedding)
        context = memory.summary.unsqueeze(1).expand(-1, previous.shape[1], -1)
        states, state = self.gru(torch.cat([embedded, context], dim=-1), state)
        return self.output_proj(torch.cat([states, context, embedded], dim=-1)), None, state


class BahdanauState(NamedTuple):
    """Hold where a Bahdanau decoder stands between two tokens.

    Parameters
    ----------
    hidden : Tensor, shape (batch, d_hidden)
        State of the GRU cell.
    weights : Tensor, shape (batch, 1, n_source)
        Weights of the last step, zeros before the first one. This decoder never reads them; those of
        chapter 13 do.
    """

    hidden: Tensor
    weights: Tensor


class BahdanauDecoder(nn.Module):
    r"""Look back before every step: the previous state asks, and what it finds enters the GRU and the output.

    .. math::
        a_t = \operatorname{softmax}_j\!\left(\tanh(s_{t-1} A^Q + h_j A^K + b)\, w\right), \quad
        c_t = \sum_j a_{tj} h_j

    .. math::
        s_t = \mathrm{GRU}([y_{t-1}; c_t],\, s_{t-1}), \quad p(y_t) = \mathrm{softmax}(O\,[s_t; c_t; y_{t-1}])

    Parameters
    ----------
    vocab_size : int
        Distinct target tokens.
    d_memory : int
        Features of the memory's vectors.
    d_embedding : int
        Features of one token's embedding.
    d_hidden : int
        Features of the decoder state, and of the hidden layer of the additive score.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is below 1.

    Notes
    -----
    The query of a step is the state that the step before left, so the steps cannot run at once: the loop is
    in Python. The keys are projected once for all steps. Differences from the paper: the output layer is one
    linear map instead of a maxout, and reads :math:`s_t` as in equation 4 (appendix A.2.2 has
    :math:`s_{t-1}`); the start state is made from both ends of the encoder instead of the backward one; the
    additive score has a bias (chapter 3 says why); and PyTorch's reset gate acts after the matrix, not
    before. Built in chapter 5.

    References
    ----------
    Bahdanau, Cho and Bengio, "Neural machine translation by jointly learning to align and translate",
    ICLR 2015, section 3.1, equations 4–6, and appendix A.2.2.
    """

    has_weights = True

    def __init__(self, vocab_size: int, d_memory: int, *, d_embedding: int = 32, d_hidden: int = 64) -> None:
        super().__init__()
        _check_sizes(vocab_size, d_memory, d_embedding, d_hidden)
        self.target_embedding = nn.Embedding(vocab_size, d_embedding)
        self.start_proj = nn.Linear(d_memory, d_hidden)
        self.score = build_score("additive", d_query=d_hidden, d_key=d_memory, d_hidden=d_hidden)
        self.cell = nn.GRUCell(d_embedding + d_memory, d_hidden)
        self.output_proj = nn.Linear(d_hidden + d_memory + d_embedding, vocab_size)

    def start(self, memory: Memory) -> BahdanauState:
        """Return the state before the first token."""
        hidden = torch.tanh(self.start_proj(memory.summary))  # (batch, d_hidden)
        return BahdanauState(hidden, torch.zeros_like(memory.states[..., 0]).unsqueeze(1))

    def forward(
        self, previous: Tensor, memory: Memory, state: BahdanauState
    ) -> tuple[Tensor, Tensor, BahdanauState]:
        """Score the tokens that follow ``previous``, as in ``PlainDecoder.forward``, and return the weights.

        The weights of every step, each row summing to 1, have shape (batch, n_target, n_source).
        """
        embedded = self.target_embedding(previous)  # (batch, n_target, d_embedding)
        key = self.score.key_proj(memory.states)  # (batch, n_source, d_hidden)
        states, contexts, weights = [], [], []
        for token in embedded.unbind(dim=1):
            context, row = self.look_back(state, key, memory)
            hidden = self.cell(torch.cat([token, context.squeeze(1)], dim=-1), state.hidden)
            state = BahdanauState(hidden, row)
            states.append(hidden)
            contexts.append(context)
            weights.append(row)
        seen = torch.cat([torch.stack(states, dim=1), torch.cat(contexts, dim=1), embedded], dim=-1)
        return self.output_proj(seen), torch.cat(weights, dim=1), state

    def look_back(self, state: BahdanauState, key: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """Return what one step finds in the memory, and with which weights.

        Parameters
        ----------
        state : BahdanauState
            Where the decoder stands before the step. Not modified.
        key : Tensor, shape (batch, n_source, d_hidden)
            The memory's vectors behind ``score.key_proj``, which serve all steps. Not modified.
        memory : Memory
            The encoded source. Not modified.

        Returns
        -------
        context : Tensor, shape (batch, 1, d_memory)
            The weighted sum of the memory's vectors.
        weights : Tensor, shape (batch, 1, n_source)
            One row that sums to 1.
        """
        query = self.score.query_proj(state.hidden.unsqueeze(1))  # (batch, 1, d_hidden)
        scores = self.score.compare(query, key)  # (batch, 1, n_source)
        return attend(scores, memory.states, memory.mask)


class LuongState(NamedTuple):
    """Hold where a Luong decoder stands between two tokens.

    Parameters
    ----------
    hidden : Tensor, shape (1, batch, d_hidden)
        State of the GRU.
    attended : Tensor, shape (batch, 1, d_hidden)
        Attended state of the last step, which input feeding reads; zeros before the first one.
    position : int
        Target position of the next token.
    """

    hidden: Tensor
    attended: Tensor
    position: int


class LuongDecoder(nn.Module):
    r"""Look back after every step: the new state asks, and what it finds joins it on the way to the output.

    .. math::
        h_t = \mathrm{GRU}(y_{t-1}, h_{t-1}), \quad c_t = \sum_s a_{ts} \bar h_s, \quad
        \tilde h_t = \tanh(W_c\,[c_t; h_t]), \quad p(y_t) = \mathrm{softmax}(O\,\tilde h_t)

    With ``local`` attention only source positions within ``half_width`` D of a centre :math:`p_t` are seen;
    "predictive" attention also favours those near it:

    .. math::
        p_t = t \;\text{(monotonic)}, \qquad
        p_t = S\,\sigma(v_p^\top \tanh(W_p h_t)) \;\text{(predictive)}, \qquad
        a_{ts} = \operatorname{softmax}_s(e_{ts}) \, e^{-(s - p_t)^2 / 2\sigma^2}, \; \sigma = D/2

    Parameters
    ----------
    vocab_size : int
        Distinct target tokens.
    d_memory : int
        Features of the memory's vectors. The dot score needs a multiple of ``d_hidden``.
    d_embedding : int
        Features of one token's embedding.
    d_hidden : int
        Features of the decoder state and of the attended state.
    score : {"dot", "general", "concat"}
        How a state is compared with the memory; "concat" is the additive score.
    local : {"monotonic", "predictive"} or None
        Where the window lies; None sees the whole source ("global" in the paper).
    half_width : int
        Source tokens D on either side of a window's centre; read only with ``local``.
    input_feeding : bool
        Let the attended state of a step enter the GRU at the next one, beside the token.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is below 1, a choice is unknown, or the sizes do not fit the dot score.

    Notes
    -----
    Without input feeding teacher forcing runs all steps in one fused GRU call, and attends for all steps at
    once; with it, the loop is in Python.

    Positions count from 0, and a window is cut off at the ends of the source. As in the paper, the Gaussian
    multiplies the softmax weights and they are not normalised again: such a row sums to less than 1. Behind
    the end of a short source a monotonic window may be empty; its weights and its context are then zero.

    The paper's encoder is a stack of LSTM layers that read in one direction. A bidirectional encoder leaves
    vectors twice as wide as the state; the dot score then adds the dot products of the state with both
    halves. The additive score of "concat" has a bias, the paper's has none. Built in chapter 5.

    References
    ----------
    Luong, Pham and Manning, "Effective approaches to attention-based neural machine translation", EMNLP 2015,
    section 3 (equations 5 and 6), 3.1 (global; equation 7), 3.2 (local; equations 9 and 10) and 3.3 (input
    feeding).
    """

    has_weights = True

    def __init__(
        self,
        vocab_size: int,
        d_memory: int,
        *,
        d_embedding: int = 32,
        d_hidden: int = 64,
        score: str = "general",
        local: str | None = None,
        half_width: int = 3,
        input_feeding: bool = False,
    ) -> None:
        super().__init__()
        _check_sizes(vocab_size, d_memory, d_embedding, d_hidden)
        check_choice("score", score, ("dot", "general", "concat"))
        if local is not None:
            check_choice("local", local, ("monotonic", "predictive"))
        check_count("half_width", half_width)
        if score == "dot" and d_memory % d_hidden:
            raise ValueError(
                "d_memory must be a multiple of d_hidden for the dot score, "
                f"got d_memory={d_memory}, d_hidden={d_hidden}"
            )
        self.target_embedding = nn.Embedding(vocab_size, d_embedding)
        self.start_proj = nn.Linear(d_memory, d_hidden)
        self.gru = nn.GRU(d_embedding + d_hidden * input_feeding, d_hidden, batch_first=True)
        self.score = build_score(
            "additive" if score == "concat" else score,
            d_query=d_hidden,
            d_key=d_hidden if score == "dot" else d_memory,
            d_hidden=d_hidden,
        )
        self.halves_added = score == "dot"
        if local == "predictive":
            self.centre_hidden = nn.Linear(d_hidden, d_hidden, bias=False)
            self.centre_readout = nn.Linear(d_hidden, 1, bias=False)
        self.attended_proj = nn.Linear(d_memory + d_hidden, d_hidden, bias=False)
        self.output_proj = nn.Linear(d_hidden, vocab_size)
        self.local = local
        self.half_width = half_width
        self.input_feeding = input_feeding

    def start(self, memory: Memory) -> LuongState:
        """Return the state before the first token."""
        hidden = torch.tanh(self.start_proj(memory.summary))  # (batch, d_hidden)
        return LuongState(hidden.unsqueeze(0), torch.zeros_like(hidden).unsqueeze(1), position=0)

    def forward(
        self, previous: Tensor, memory: Memory, state: LuongState
    ) -> tuple[Tensor, Tensor, LuongState]:
        """Score the tokens that follow ``previous``, as in ``PlainDecoder.forward``, and return the weights.

        The weights of every step, behind the Gaussian where there is one, have shape
        (batch, n_target, n_source).
        """
        hidden, attended, position = state
        embedded = self.target_embedding(previous)  # (batch, n_target, d_embedding)
        if self.input_feeding:
            steps = []
            for step, token in enumerate(embedded.split(1, dim=1)):  # (batch, 1, d_embedding)
                states, hidden = self.gru(torch.cat([token, attended], dim=-1), hidden)
                attended, row = self._look_back(states, memory, position + step)
                steps.append((attended, row))
            attended, weights = (torch.cat(parts, dim=1) for parts in zip(*steps, strict=True))
        else:
            states, hidden = self.gru(embedded, hidden)  # (batch, n_target, d_hidden)
            attended, weights = self._look_back(states, memory, position)
        state = LuongState(hidden, attended[:, -1:], position + previous.shape[1])
        return self.output_proj(attended), weights, state

    def _look_back(self, states: Tensor, memory: Memory, position: int) -> tuple[Tensor, Tensor]:
        """Return the attended states and their weights, for states at positions from ``position`` on."""
        key = memory.states  # (batch, n_source, d_memory)
        if self.halves_added:
            key = key.unflatten(-1, (-1, states.shape[-1])).sum(dim=-2)  # (batch, n_source, d_hidden)
        scores = self.score(states, key)  # (batch, n_target, n_source)
        if self.local is None:
            context, weights = attend(scores, memory.states, memory.mask)
        else:
            distance = self._distances(states, memory, position)  # (batch or 1, n_target, n_source)
            weights = masked_softmax(scores, memory.mask & (distance.abs() <= self.half_width))
            if self.local == "predictive":
                weights = weights * torch.exp(-(distance**2) / (2 * (self.half_width / 2) ** 2))
            context = weights @ memory.states  # (batch, n_target, d_memory)
        return torch.tanh(self.attended_proj(torch.cat([context, states], dim=-1))), weights

    def _distances(self, states: Tensor, memory: Memory, position: int) -> Tensor:
        """Return how far every source position lies behind the centre of every window."""
        n_target, n_source = states.shape[1], memory.states.shape[1]
        if self.local == "monotonic":
            centre = torch.arange(position, position + n_target, device=states.device).view(1, -1, 1)
        else:
            share = torch.sigmoid(self.centre_readout(torch.tanh(self.centre_hidden(states))))
            centre = memory.lengths.view(-1, 1, 1) * share  # (batch, n_target, 1)
        return torch.arange(n_source, device=states.device) - centre


def _check_sizes(vocab_size: int, d_memory: int, d_embedding: int, d_hidden: int) -> None:
    sizes = {"vocab_size": vocab_size, "d_memory": d_memory, "d_embedding": d_embedding, "d_hidden": d_hidden}
    for name, size in sizes.items():
        check_count(name, size)
