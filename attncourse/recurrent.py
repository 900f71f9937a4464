"""Recurrent cells from scratch: RNN, GRU and LSTM, with torch's parameter names, shapes and gate order."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from attncourse._checks import check_array, check_count, check_last_axis, check_number

# What a cell carries from step to step: the hidden vector, and for an LSTM its memory as well.
State = Tensor | tuple[Tensor, Tensor]


class _Cell(nn.Module):
    """Hold the parameters that every cell has: one stack of gates for the input, one for the state."""

    n_gates: ClassVar[int]

    def __init__(self, d_input: int, d_hidden: int) -> None:
        super().__init__()
        check_count("d_input", d_input)
        check_count("d_hidden", d_hidden)
        self.d_input = d_input
        self.d_hidden = d_hidden
        self.weight_ih = nn.Parameter(torch.empty(self.n_gates * d_hidden, d_input))
        self.weight_hh = nn.Parameter(torch.empty(self.n_gates * d_hidden, d_hidden))
        self.bias_ih = nn.Parameter(torch.empty(self.n_gates * d_hidden))
        self.bias_hh = nn.Parameter(torch.empty(self.n_gates * d_hidden))
        bound = d_hidden**-0.5  # torch's initialisation, so that one seed gives one set of weights in both
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def _from_input(self, x: Tensor) -> Tensor:
        """Check the input of one step and return what it contributes to every gate."""
        check_array("x", x, min_axes=2)
        check_last_axis("x", x, self.d_input, what="d_input")
        return x @ self.weight_ih.T + self.bias_ih  # (batch, n_gates * d_hidden)

    def _from_hidden(self, hidden: Tensor) -> Tensor:
        """Check the previous hidden vector and return what it contributes to every gate."""
        check_array("hidden", hidden, min_axes=2)
        check_last_axis("hidden", hidden, self.d_hidden, what="d_hidden")
        return hidden @ self.weight_hh.T + self.bias_hh  # (batch, n_gates * d_hidden)

    def _zeros(self, x: Tensor) -> Tensor:
        """Return the vector that a sequence starts from."""
        return x.new_zeros(*x.shape[:-1], self.d_hidden)


class RNNCell(_Cell):
    r"""Compute one step of the simple recurrent network.

    .. math:: h_t = \tanh(W_{ih} x_t + b_{ih} + W_{hh} h_{t-1} + b_{hh})

    Parameters
    ----------
    d_input : int
        Features of one input.
    d_hidden : int
        Features of the hidden state.

    Notes
    -----
    One step takes O(d_hidden (d_input + d_hidden)) operations per sequence. Parameters have the names and
    shapes of ``torch.nn.RNNCell``. Built in chapter 1.

    References
    ----------
    Elman, "Finding structure in time", Cognitive Science 14, 1990.
    """

    n_gates = 1

    def forward(self, x: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Take one step.

        Parameters
        ----------
        x : Tensor, shape (batch, d_input)
            Input of this step; not modified.
        hidden : Tensor, shape (batch, d_hidden), optional
            Hidden state after the previous step, zeros if omitted; not modified.

        Returns
        -------
        Tensor, shape (batch, d_hidden)
            Hidden state after this step.

        Raises
        ------
        TypeError
            If an argument is not a tensor.
        ValueError
            If a last axis does not have the size that the cell was built for.
        """
        from_input = self._from_input(x)
        hidden = self._zeros(x) if hidden is None else hidden
        return torch.tanh(from_input + self._from_hidden(hidden))


class GRUCell(_Cell):
    r"""Compute one step of the gated recurrent unit.

    .. math::
        \begin{aligned}
        r_t &= \sigma(W_{ir} x_t + b_{ir} + W_{hr} h_{t-1} + b_{hr}) \\
        z_t &= \sigma(W_{iz} x_t + b_{iz} + W_{hz} h_{t-1} + b_{hz}) \\
        n_t &= \tanh(W_{in} x_t + b_{in} + r_t \odot (W_{hn} h_{t-1} + b_{hn})) \\
        h_t &= (1 - z_t) \odot n_t + z_t \odot h_{t-1}
        \end{aligned}

    Parameters
    ----------
    d_input : int
        Features of one input.
    d_hidden : int
        Features of the hidden state.

    Notes
    -----
    Gates are stacked in torch's order: reset, update, new. The reset gate acts after the matrix product,
    as in torch and cuDNN; in the paper it acts before. Built in chapter 1.

    References
    ----------
    Cho et al., "Learning phrase representations using RNN encoder–decoder for statistical machine
    translation", EMNLP 2014, section 2.3, equations 5–8.
    """

    n_gates = 3

    def forward(self, x: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Take one step.

        Parameters
        ----------
        x : Tensor, shape (batch, d_input)
            Input of this step; not modified.
        hidden : Tensor, shape (batch, d_hidden), optional
            Hidden state after the previous step, zeros if omitted; not modified.

        Returns
        -------
        Tensor, shape (batch, d_hidden)
            Hidden state after this step.

        Raises
        ------
        TypeError
            If an argument is not a tensor.
        ValueError
            If a last axis does not have the size that the cell was built for.
        """
        input_reset, input_update, input_new = self._from_input(x).chunk(3, dim=-1)
        hidden = self._zeros(x) if hidden is None else hidden
        hidden_reset, hidden_update, hidden_new = self._from_hidden(hidden).chunk(3, dim=-1)
        reset = torch.sigmoid(input_reset + hidden_reset)
        update = torch.sigmoid(input_update + hidden_update)
        new = torch.tanh(input_new + reset * hidden_new)
        return (1 - update) * new + update * hidden


class LSTMCell(_Cell):
    r"""Compute one step of the long short-term memory with a forget gate.

    .. math::
        \begin{aligned}
        i_t &= \sigma(W_{ii} x_t + b_{ii} + W_{hi} h_{t-1} + b_{hi}) \\
        f_t &= \sigma(W_{if} x_t + b_{if} + W_{hf} h_{t-1} + b_{hf}) \\
        g_t &= \tanh(W_{ig} x_t + b_{ig} + W_{hg} h_{t-1} + b_{hg}) \\
        o_t &= \sigma(W_{io} x_t + b_{io} + W_{ho} h_{t-1} + b_{ho}) \\
        c_t &= f_t \odot c_{t-1} + i_t \odot g_t \\
        h_t &= o_t \odot \tanh(c_t)
        \end{aligned}

    Parameters
    ----------
    d_input : int
        Features of one input.
    d_hidden : int
        Features of the hidden state and of the memory.

    Notes
    -----
    Gates are stacked in torch's order: input, forget, candidate, output. Built in chapter 1.

    References
    ----------
    Hochreiter and Schmidhuber, "Long short-term memory", Neural Computation 9(8), 1997; Gers, Schmidhuber
    and Cummins, "Learning to forget", Neural Computation 12(10), 2000 (the forget gate).
    """

    n_gates = 4

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """Take one step.

        Parameters
        ----------
        x : Tensor, shape (batch, d_input)
            Input of this step; not modified.
        state : tuple of two Tensors, each of shape (batch, d_hidden), optional
            Hidden state and memory after the previous step, zeros if omitted; not modified.

        Returns
        -------
        hidden : Tensor, shape (batch, d_hidden)
            Hidden state after this step.
        memory : Tensor, shape (batch, d_hidden)
            Memory after this step.

        Raises
        ------
        TypeError
            If an argument is not a tensor.
        ValueError
            If a last axis does not have the size that the cell was built for.
        """
        from_input = self._from_input(x)
        hidden, memory = (self._zeros(x), self._zeros(x)) if state is None else state
        gates = from_input + self._from_hidden(hidden)  # (batch, 4 * d_hidden)
        write, keep, candidate, show = gates.chunk(4, dim=-1)
        memory = torch.sigmoid(keep) * memory + torch.sigmoid(write) * torch.tanh(candidate)
        return torch.sigmoid(show) * torch.tanh(memory), memory


def run_cell(cell: nn.Module, inputs: Tensor, state: State | None = None) -> tuple[Tensor, State]:
    """Apply a cell to every step of a sequence, one after the other.

    Parameters
    ----------
    cell : nn.Module
        Any cell of this module, or one of torch's.
    inputs : Tensor, shape (batch, n_tokens, d_input)
        The sequence; not modified.
    state : Tensor or tuple of two Tensors, optional
        State before the first step, zeros if omitted; not modified.

    Returns
    -------
    outputs : Tensor, shape (batch, n_tokens, d_hidden)
        Hidden state after every step.
    state : Tensor or tuple of two Tensors
        State after the last step.

    Raises
    ------
    TypeError
        If ``inputs`` is not a tensor.
    ValueError
        If ``inputs`` has fewer than three axes or no steps.

    Notes
    -----
    The n_tokens steps form one chain: none can start before the one in front of it has ended. Built in
    chapter 1.
    """
    check_array("inputs", inputs, min_axes=3)
    check_count("n_tokens", inputs.shape[1])
    outputs = []
    for x in inputs.unbind(dim=1):
        state = cell(x, state)
        outputs.append(state[0] if isinstance(state, tuple) else state)
    return torch.stack(outputs, dim=1), state


def raise_forget_bias(lstm: nn.Module, value: float) -> None:
    r"""Set the forget bias of every LSTM layer to ``value``, in place, so that the gate starts open.

    With everything else near zero, the gate keeps :math:`\sigma(value)` of the memory per step.

    Parameters
    ----------
    lstm : nn.Module
        An ``LSTMCell`` of ours, or torch's ``nn.LSTMCell`` or ``nn.LSTM``; modified.
    value : float
        The bias that the gate sees. Torch adds two bias vectors: the first gets ``value``, the second zero.

    Raises
    ------
    TypeError
        If ``lstm`` is none of these, or ``value`` is not a number.

    Notes
    -----
    Built in chapter 1.

    References
    ----------
    Gers, Schmidhuber and Cummins, "Learning to forget", Neural Computation 12(10), 2000, section 3.1;
    Jozefowicz, Zaremba and Sutskever, "An empirical exploration of recurrent network architectures",
    ICML 2015.
    """
    check_number("value", value)
    if not isinstance(lstm, LSTMCell | nn.LSTMCell | nn.LSTM):
        raise TypeError(f"lstm must be an LSTM layer or cell, got lstm of type {type(lstm).__name__}")
    with torch.no_grad():
        for name, bias in lstm.named_parameters():
            if name.startswith("bias_"):
                forget = bias.chunk(4)[1]  # torch's order: input, forget, candidate, output
                forget.fill_(value if name.startswith("bias_ih") else 0.0)
