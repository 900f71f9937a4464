"""Listen and write: an encoder of sound, and decoders that remember where they looked last.

Built in chapter 13.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attncourse._checks import (
    check_choice,
    check_count,
    check_floats,
    check_last_axis,
    check_number,
    check_type,
)
from attncourse.ctc import CTCRecogniser, ctc_loss
from attncourse.masks import padding_mask
from attncourse.recurrent_decoders import BahdanauDecoder, BahdanauState, Memory
from attncourse.seq2seq import Seq2Seq, real_places, sequence_loss

LAYERS = ((5, 2), (5, 2), (5, 1), (5, 1))  # width and stride of the encoder's convolutions


class AudioEncoder(nn.Module):
    r"""Read sound by convolutions over time: one state for four frames, each blind beyond about one letter.

    .. math:: h^{(l)} = \operatorname{ReLU}(\operatorname{BatchNorm}(W^{(l)} * h^{(l-1)}))

    Parameters
    ----------
    n_bands : int
        Features of a frame.
    d_memory : int
        Features of a state.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is below 1.

    Notes
    -----
    Nothing in a state tells how far from the start it stands: equal sounds make equal states, except within
    half a receptive field of the ends. A recurrent encoder would count, and a decoder would learn to rely on
    counts that it has seen. ``stride`` frames make one state; ``receptive_field`` frames, with frame 4 j in
    their middle, reach state j. Normalisation counts real frames only. Built in chapter 13.
    """

    stride = math.prod(stride for _, stride in LAYERS)
    receptive_field = 1 + sum(
        (width - 1) * math.prod(stride for _, stride in LAYERS[:layer])
        for layer, (width, _) in enumerate(LAYERS)
    )

    def __init__(self, n_bands: int = 6, d_memory: int = 48) -> None:
        super().__init__()
        check_count("n_bands", n_bands)
        check_count("d_memory", d_memory)
        self.d_memory = d_memory
        self.input_norm = nn.BatchNorm1d(n_bands)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(d_memory if layer else n_bands, d_memory, width, stride, padding=width // 2, bias=False)
            for layer, (width, stride) in enumerate(LAYERS)
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(d_memory) for _ in LAYERS)

    def forward(self, source: Tensor, lengths: Tensor) -> Memory:
        """Encode padded features.

        Parameters
        ----------
        source : Tensor of float, shape (batch, n_frames, n_bands)
            Features such as those of ``log_band_energies``, padded at the end. Not modified.
        lengths : Tensor of int64, shape (batch,)
            Frames before the padding, at least 1; what stands behind them changes nothing. Not modified.

        Returns
        -------
        Memory
            One state for every fourth frame, zeros behind the length; their mask; and their mean.

        Raises
        ------
        TypeError
            If an argument is not a tensor of the right dtype.
        ValueError
            If the shapes do not fit or a length is out of range.
        """
        check_type("source", source, Tensor)
        check_floats("source", source, min_axes=3)
        check_last_axis("source", source, self.input_norm.num_features, what="n_bands")
        real = real_places(source, lengths).squeeze(1)  # (batch, n_frames)
        states = _where_real(self.input_norm, source, real)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            states = convolution(states.mT).mT  # (batch, n, d_memory)
            step = convolution.stride[0]
            lengths = (lengths + step - 1) // step
            real = padding_mask(lengths, states.shape[1]).squeeze(1)
            states = torch.relu(_where_real(norm, states, real))
        return Memory(states, states.sum(dim=1) / lengths.unsqueeze(1), lengths, real.unsqueeze(1))


def _where_real(norm: nn.BatchNorm1d, states: Tensor, real: Tensor) -> Tensor:
    """Normalise the real frames (batch, n, d) among themselves; the others become zero."""
    normalised = torch.zeros_like(states)
    normalised[real] = norm(states[real])
    return normalised


def _look_at_the_first_state(state: BahdanauState) -> BahdanauState:
    """Let a decoder begin as if it had looked at the first state of the memory."""
    weights = torch.zeros_like(state.weights)
    weights[..., 0] = 1.0
    return state._replace(weights=weights)


class LocationAwareDecoder(BahdanauDecoder):
    r"""Look back knowing where the last look went: filters over the last weights join the additive score.

    .. math::
        f_t = F * a_{t-1}, \qquad
        a_t = \operatorname{softmax}_j\!\left(\tanh(s_{t-1} A^Q + h_j A^K + f_{tj} U + b)\, w\right)

    Parameters
    ----------
    vocab_size, d_memory, d_embedding, d_hidden : int
        As in ``BahdanauDecoder``.
    n_filters : int
        Filters in F.
    width : int
        States that a filter sees, an odd number: (width - 1) / 2 on either side.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is below 1, or ``width`` is even.

    Notes
    -----
    Before the first step the weights lie on the first state, so that the first move is like all others.
    Without location features the model is ``BahdanauDecoder``, the content-only model of chapter 13.
    Built in chapter 13.

    References
    ----------
    Chorowski, Bahdanau, Serdyuk, Cho and Bengio, "Attention-based models for speech recognition",
    NeurIPS 2015, section 2.2.
    """

    def __init__(
        self,
        vocab_size: int,
        d_memory: int,
        *,
        d_embedding: int = 32,
        d_hidden: int = 64,
        n_filters: int = 8,
        width: int = 31,
    ) -> None:
        super().__init__(vocab_size, d_memory, d_embedding=d_embedding, d_hidden=d_hidden)
        check_count("n_filters", n_filters)
        check_count("width", width)
        if width % 2 == 0:
            raise ValueError(f"width must be odd, got width={width}")
        self.location_filters = nn.Conv1d(1, n_filters, width, padding=width // 2, bias=False)
        self.location_proj = nn.Linear(n_filters, d_hidden, bias=False)

    def start(self, memory: Memory) -> BahdanauState:
        """Return the state before the first token: the last look lies on the first state."""
        return _look_at_the_first_state(super().start(memory))

    def look_back(self, state: BahdanauState, key: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """Return what one step finds, and with which weights; shapes as in ``BahdanauDecoder.look_back``."""
        location = self.location_filters(state.weights).mT  # (batch, n_source, n_filters)
        return super().look_back(state, key + self.location_proj(location), memory)


class MonotonicDecoder(BahdanauDecoder):
    r"""Walk along the memory and never turn back: at each state, decide to stop there or to go on.

    .. math::
        p_{tj} = \sigma\!\Big(g \tanh(s_{t-1} A^Q + h_j A^K + b)\, \frac{w}{\lVert w \rVert} + r
        + \text{noise}\Big)

    In training the weights are the probabilities of stopping (``expected_alignment``), noise included; it
    teaches the model to decide clearly. In evaluation there is no noise and no softness: the walk stops at
    the first state with :math:`p > 1/2` (``hard_alignment``).

    Parameters
    ----------
    vocab_size, d_memory, d_embedding, d_hidden : int
        As in ``BahdanauDecoder``.
    offset : float
        Start value of r: negative, so that an untrained model walks on and learns from states further ahead.
    noise : float
        Standard deviation of the Gaussian noise in training.
    may_stay : bool
        Whether a walk begins at the state where the last one stopped, as in the paper, and may stop there
        again; otherwise it begins at the state behind, and no state is read twice.

    Raises
    ------
    TypeError
        If a number has the wrong type.
    ValueError
        If a size is below 1, or ``noise`` is negative.

    Notes
    -----
    g starts at :math:`1 / \sqrt{d_{\text{hidden}}}`. The first state, in the silence before the first letter,
    counts as the stop before the first step. Where a walk runs off the end, weights and context are zero, and
    stay so. A sound that makes a model stop still sounds where it stopped: a model that may stay has to
    learn, besides, to leave. Training takes O(n_source²) a step here, because no vanishing product is
    divided by.
    Built in chapter 13.

    References
    ----------
    Raffel, Luong, Liu, Weiss and Eck, "Online and linear-time attention by enforcing monotonic alignments",
    ICML 2017, sections 2.2 to 2.5.
    """

    def __init__(
        self,
        vocab_size: int,
        d_memory: int,
        *,
        d_embedding: int = 32,
        d_hidden: int = 64,
        offset: float = -2.0,
        noise: float = 1.0,
        may_stay: bool = False,
    ) -> None:
        super().__init__(vocab_size, d_memory, d_embedding=d_embedding, d_hidden=d_hidden)
        check_number("offset", offset)
        check_number("noise", noise, at_least=0)
        self.scale = nn.Parameter(torch.tensor(1 / math.sqrt(d_hidden)))
        self.offset = nn.Parameter(torch.tensor(float(offset)))
        self.noise = noise
        self.may_stay = may_stay

    def start(self, memory: Memory) -> BahdanauState:
        """Return the state before the first token: the last stop is the first state."""
        return _look_at_the_first_state(super().start(memory))

    def look_back(self, state: BahdanauState, key: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """Return what one step finds, and with which weights.

        Shapes are as in ``BahdanauDecoder.look_back``; a row of weights may sum to less than 1.
        """
        query = self.score.query_proj(state.hidden.unsqueeze(1))  # (batch, 1, d_hidden)
        direction = self.score.compare(query, key) / self.score.readout.weight.norm()
        energies = self.scale * direction + self.offset  # (batch, 1, n_source)
        begin = state.weights if self.may_stay else F.pad(state.weights[..., :-1], (1, 0))
        if self.training:
            energies = energies + self.noise * torch.randn_like(energies)
            weights = expected_alignment(energies, begin, memory.mask)
        else:
            weights = hard_alignment(energies, begin, memory.mask)
        return weights @ memory.states, weights


def expected_alignment(energies: Tensor, previous: Tensor, mask: Tensor) -> Tensor:
    r"""Return the probability that a walk stops at each state, over all places where it may have begun.

    .. math::
        p_{tj} = \sigma(e_{tj}), \qquad
        a_{tj} = p_{tj} \sum_{k \le j} a_{t-1,k} \prod_{l=k}^{j-1} (1 - p_{tl})

    Parameters
    ----------
    energies : Tensor of float, shape (..., n_source)
        Log-odds e of stopping at a state that is reached, in nats. Not modified.
    previous : Tensor of float, shape (..., n_source)
        Where the last walk stopped: probabilities that sum to at most 1. Not modified.
    mask : Tensor of bool, broadcastable to ``energies``
        True at real states, which come first. Not modified.

    Returns
    -------
    Tensor, shape (..., n_source)
        Probabilities; what is missing from a sum of 1 has run off the end.

    Notes
    -----
    Products are sums of logarithms, and every exponent is at most 0: nothing is divided and nothing
    overflows. Time and memory O(n_source²). Built in chapter 13.

    References
    ----------
    Raffel, Luong, Liu, Weiss and Eck, "Online and linear-time attention by enforcing monotonic alignments",
    ICML 2017, section 2.3, equation 9.
    """
    n_source = energies.shape[-1]
    passed = F.logsigmoid(-energies).cumsum(dim=-1)  # ln of passing states 0 … j
    passed = F.pad(passed[..., :-1], (1, 0))  # ln of passing states 0 … j - 1
    from_to = passed.unsqueeze(-2) - passed.unsqueeze(-1)  # [k, j]: ln of passing states k … j - 1
    ahead = torch.ones(n_source, n_source, dtype=torch.bool, device=energies.device).triu()  # k <= j
    reach = from_to.masked_fill(~ahead, -torch.inf).exp()  # (..., n_source, n_source)
    reached = (previous.unsqueeze(-2) @ reach).squeeze(-2)
    return (torch.sigmoid(energies) * reached).masked_fill(~mask, 0.0)


def hard_alignment(energies: Tensor, previous: Tensor, mask: Tensor) -> Tensor:
    """Return where a walk stops that begins at the last stop and takes the first state with positive energy.

    Parameters
    ----------
    energies : Tensor of float, shape (..., n_source)
        Log-odds of stopping, in nats. Not modified.
    previous : Tensor of float, shape (..., n_source)
        A one at the state where the last walk stopped; all zeros if it ran off the end. Not modified.
    mask : Tensor of bool, broadcastable to ``energies``
        True at real states. Not modified.

    Returns
    -------
    Tensor, shape (..., n_source)
        A one at the stop; all zeros if no state from the last stop on has positive energy.

    Notes
    -----
    All walks of an output together pass every state once. Built in chapter 13.

    References
    ----------
    Raffel, Luong, Liu, Weiss and Eck, "Online and linear-time attention by enforcing monotonic alignments",
    ICML 2017, section 2.2.
    """
    ahead = previous.cumsum(dim=-1) > 0  # from the last stop on
    stops = ahead & (energies > 0) & mask
    first = stops & (stops.cumsum(dim=-1) == 1)
    return first.to(energies.dtype)


_DECODERS = {
    "content": BahdanauDecoder,
    "location-aware": LocationAwareDecoder,
    "monotonic": MonotonicDecoder,
}
RECOGNISER_KINDS = (*_DECODERS, "ctc")


def build_recogniser(
    kind: str, vocab_size: int, *, n_bands: int = 6, d_embedding: int = 32, d_hidden: int = 48
) -> Seq2Seq | CTCRecogniser:
    """Make a model by name, for experiments that compare them: same encoder, another way to write.

    Parameters
    ----------
    kind : {"content", "location-aware", "monotonic", "ctc"}
        How letters are found in the sound.
    vocab_size : int
        Distinct tokens, the special ones included.
    n_bands : int
        Features of a frame.
    d_embedding : int
        Features of one token's embedding; "ctc" has none.
    d_hidden : int
        Features of the encoder's states and of the decoder's state.

    Returns
    -------
    Seq2Seq or CTCRecogniser
        The model, with parameters drawn from torch's global generator.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If ``kind`` is unknown or a size is below 1.

    Notes
    -----
    Built in chapter 13.
    """
    check_choice("kind", kind, RECOGNISER_KINDS)
    encoder = AudioEncoder(n_bands, d_hidden)
    if kind == "ctc":
        return CTCRecogniser(encoder, vocab_size)
    return Seq2Seq(encoder, _DECODERS[kind](vocab_size, d_hidden, d_embedding=d_embedding, d_hidden=d_hidden))


def recognition_loss(
    model: Seq2Seq | CTCRecogniser, source: Tensor, lengths: Tensor, target: Tensor
) -> Tensor:
    """Return the loss that a recogniser of any kind is trained with.

    Parameters
    ----------
    model : Seq2Seq or CTCRecogniser
        What ``build_recogniser`` makes.
    source, lengths, target : Tensor
        Features, their frames, and tokens, as in ``Seq2Seq.forward``. Not modified.

    Returns
    -------
    Tensor, shape ()
        ``ctc_loss`` in nats per letter for "ctc", ``sequence_loss`` in nats per token otherwise.

    Notes
    -----
    Built in chapter 13.
    """
    if isinstance(model, CTCRecogniser):
        return ctc_loss(*model(source, lengths), target)
    return sequence_loss(model(source, lengths, target), target)
