"""Classify a text: encoders that mix the words more or less, read in one and the same way.

Built in chapter 16.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attncourse._checks import check_choice, check_count, check_floats, check_type
from attncourse.attention import attend
from attncourse.recurrent_decoders import Memory
from attncourse.seq2seq import BiGRUEncoder, check_tokens, real_places
from attncourse.token_embedding import TokenEmbedding
from attncourse.transformer_stacks import TransformerEncoder

ENCODERS = ("embedding", "convolution", "bigru", "transformer")
READOUTS = ("mean", "max", "last", "attention")
_ROW_SUM_TOLERANCE = 1e-3  # what float32 rows of thousands of weights, and float16 ones, may miss 1 by


class ConvolutionEncoder(nn.Module):
    r"""Encode every word together with its neighbours, by convolutions over the embedded text.

    .. math:: h_t^{(\ell)} = \operatorname{relu}\Bigl(b + \sum_{|s| < k/2} W_s\, h_{t+s}^{(\ell-1)}\Bigr)

    Parameters
    ----------
    vocab_size : int
        Distinct tokens.
    d_embedding : int
        Features of a word's vector.
    d_hidden : int
        Features of a state.
    kernel_size : int
        Words k that one layer sees at a time; odd. 1 leaves every word by itself.
    n_layers : int
        Layers. A state sees ``n_layers * (kernel_size - 1) / 2`` words to either side of its own.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is below 1, or ``kernel_size`` is even.

    Notes
    -----
    Time O(n_source · k · d_embedding · d_hidden) for one layer. Built in chapter 16.
    """

    def __init__(
        self,
        vocab_size: int,
        *,
        d_embedding: int = 32,
        d_hidden: int = 64,
        kernel_size: int = 3,
        n_layers: int = 1,
    ) -> None:
        super().__init__()
        sizes = {"vocab_size": vocab_size, "d_embedding": d_embedding, "d_hidden": d_hidden}
        for name, size in (sizes | {"kernel_size": kernel_size, "n_layers": n_layers}).items():
            check_count(name, size)
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got kernel_size={kernel_size}")
        self.source_embedding = nn.Embedding(vocab_size, d_embedding)
        self.layers = nn.ModuleList(
            nn.Conv1d(d_hidden if layer else d_embedding, d_hidden, kernel_size, padding=kernel_size // 2)
            for layer in range(n_layers)
        )
        self.d_memory = d_hidden

    def forward(self, source: Tensor, lengths: Tensor) -> Memory:
        """Encode padded texts, as ``BiGRUEncoder.forward`` does; the summary is the mean of the states."""
        check_tokens("source", source, self.source_embedding.num_embeddings)
        mask = real_places(source, lengths)
        visible = mask.mT  # (batch, n_source, 1)
        states = self.source_embedding(source) * visible  # (batch, n_source, d_embedding)
        for layer in self.layers:
            # Zeros behind the length before every layer: a long text beside it must not change a short one.
            states = F.relu(layer(states.mT)).mT * visible  # (batch, n_source, d_hidden)
        return Memory(states, _mean(states, lengths), lengths, mask)


class TransformerTextEncoder(nn.Module):
    """Encode a text by a Transformer: every word may look at all the others, layer after layer.

    Parameters
    ----------
    vocab_size : int
        Distinct tokens.
    d_hidden : int
        Features of a word's vector and of a state; even, and a multiple of ``n_heads``.
    n_heads : int
        Heads of each layer.
    n_layers : int
        Layers, of pre-norm wiring, with a feed-forward network of 2 · ``d_hidden`` features.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is below 1 or does not fit.

    Notes
    -----
    Positions are sinusoidal. Built in chapter 16.
    """

    def __init__(self, vocab_size: int, *, d_hidden: int = 64, n_heads: int = 4, n_layers: int = 1) -> None:
        super().__init__()
        self.source_embedding = TokenEmbedding(vocab_size, d_hidden)
        self.stack = TransformerEncoder(d_hidden, n_heads, n_layers, 2 * d_hidden)
        self.d_memory = d_hidden

    def forward(
        self, source: Tensor, lengths: Tensor, *, return_weights: bool = False
    ) -> Memory | tuple[Memory, Tensor]:
        """Encode padded texts, as ``BiGRUEncoder.forward`` does; the summary is the mean of the states.

        With ``return_weights=True`` the weights of all layers follow, of shape
        (batch, n_layers, n_heads, n_source, n_source).
        """
        check_tokens("source", source, self.source_embedding.vocab_size)
        mask = real_places(source, lengths)
        states = self.stack(self.source_embedding(source), mask.unsqueeze(1), return_weights=return_weights)
        if return_weights:
            states, weights = states
        states = states * mask.mT  # (batch, n_source, d_hidden)
        memory = Memory(states, _mean(states, lengths), lengths, mask)
        return (memory, weights) if return_weights else memory


class TextClassifier(nn.Module):
    r"""Name the class of a text: encode its words, read the states in one of four ways, map to the classes.

    With :math:`h_t` the state of word t of n:

    .. math::
        \begin{aligned}
        \text{mean:}\quad & c = \tfrac{1}{n} \textstyle\sum_t h_t \\
        \text{max:}\quad & c = \max_t h_t \quad \text{(of every feature by itself)} \\
        \text{last:}\quad & c = [\overrightarrow{h}_n; \overleftarrow{h}_1] \quad \text{(of "bigru" alone)} \\
        \text{attention:}\quad & c = \textstyle\sum_t a_t h_t, \quad
            a = \operatorname{softmax}_t\!\left(u \cdot \tanh(W h_t + b)\right)
        \end{aligned}

    .. math:: \text{logits} = O\,c

    The encoders differ in how far the state of a word may see: "embedding" its own word (a convolution of
    width 1), "convolution" some words to either side, "bigru" and "transformer" the whole text.

    Parameters
    ----------
    vocab_size : int
        Distinct tokens.
    n_classes : int
        Classes to tell apart.
    encoder : {"embedding", "convolution", "bigru", "transformer"}
        What makes the states.
    readout : {"mean", "max", "last", "attention"}
        What makes one vector of them.
    d_embedding : int
        Features of a word's vector; "transformer" has ``d_hidden`` of them instead.
    d_hidden : int
        Features of a state, and of the hidden layer of the attention. With "bigru" it is even, half for
        each direction; with "transformer" it is even and a multiple of ``n_heads``.
    n_layers : int
        Layers of "convolution" and "transformer".
    kernel_size : int
        Words that a layer of "convolution" sees at a time; odd.
    n_heads : int
        Heads of a layer of "transformer".

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is below 1 or does not fit, or a choice is unknown or does not fit the other one.

    Notes
    -----
    The readout is the same for all encoders; only what a state knows differs. Built in chapter 16.

    References
    ----------
    Yang et al., "Hierarchical attention networks for document classification", NAACL 2016, section 2.2
    (the attention readout, over the states of a bidirectional GRU).
    """

    def __init__(
        self,
        vocab_size: int,
        n_classes: int,
        *,
        encoder: str = "bigru",
        readout: str = "attention",
        d_embedding: int = 32,
        d_hidden: int = 64,
        n_layers: int = 1,
        kernel_size: int = 3,
        n_heads: int = 4,
    ) -> None:
        super().__init__()
        check_count("n_classes", n_classes)
        check_choice("encoder", encoder, ENCODERS)
        check_choice("readout", readout, READOUTS)
        check_count("d_hidden", d_hidden)
        if readout == "last" and encoder != "bigru":
            raise ValueError(f"readout must not be 'last' without a 'bigru', got encoder={encoder!r}")
        if encoder == "bigru" and d_hidden % 2:
            raise ValueError(f"d_hidden must be even with a 'bigru', got d_hidden={d_hidden}")
        self.readout = readout
        if encoder == "bigru":
            self.encoder = BiGRUEncoder(vocab_size, d_embedding=d_embedding, d_hidden=d_hidden // 2)
        elif encoder == "transformer":
            self.encoder = TransformerTextEncoder(
                vocab_size, d_hidden=d_hidden, n_heads=n_heads, n_layers=n_layers
            )
        else:
            if encoder == "embedding":
                kernel_size, n_layers = 1, 1
            self.encoder = ConvolutionEncoder(
                vocab_size,
                d_embedding=d_embedding,
                d_hidden=d_hidden,
                kernel_size=kernel_size,
                n_layers=n_layers,
            )
        if readout == "attention":
            self.score = nn.Sequential(
                nn.Linear(d_hidden, d_hidden), nn.Tanh(), nn.Linear(d_hidden, 1, bias=False)
            )
        self.output_proj = nn.Linear(d_hidden, n_classes)

    @property
    def has_weights(self) -> bool:
        """Return whether the readout is a weighted sum of the states."""
        return self.readout in ("mean", "attention")

    def forward(
        self,
        tokens: Tensor,
        lengths: Tensor,
        *,
        weights: Tensor | None = None,
        return_weights: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Score every class for every text.

        Parameters
        ----------
        tokens : Tensor of int64, shape (batch, n_tokens)
            Words, padded at the end. Not modified.
        lengths : Tensor of int64, shape (batch,)
            Words before the padding, at least 1; what stands behind them changes nothing. Not modified.
        weights : Tensor of float, shape (batch, n_tokens), optional
            Weights to read with in place of the model's own: rows that sum to 1, zeros at the padding. All
            else stays as it is. Not modified.
        return_weights : bool, optional
            Whether to return the weights that made the answer.

        Returns
        -------
        logits : Tensor, shape (batch, n_classes)
            Unnormalised log-probabilities, in nats.
        weights : Tensor, shape (batch, n_tokens)
            Only with ``return_weights=True``: one weight for each word, each row summing to 1.

        Raises
        ------
        TypeError
            If an argument is of the wrong kind or dtype.
        ValueError
            If a shape, a token, a length or a row of weights is not as described, or the readout has no
            weights.
        """
        if return_weights:
            self._check_has_weights("return_weights", True)
        logits, weights = self.read(self.encoder(tokens, lengths), weights)
        return (logits, weights) if return_weights else logits

    def read(self, memory: Memory, weights: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Answer from encoded texts: the second half of ``forward``, for a search that tries many weights.

        Parameters
        ----------
        memory : Memory
            What ``encoder`` made of the texts. Not modified.
        weights : Tensor of float, shape (batch, n_tokens), optional
            As in ``forward``. Not modified.

        Returns
        -------
        logits : Tensor, shape (batch, n_classes)
            Unnormalised log-probabilities, in nats.
        weights : Tensor, shape (batch, n_tokens), or None
            The weights that made them; None where the readout has none.

        Raises
        ------
        TypeError
            If ``weights`` are no tensor of floats.
        ValueError
            If they are not as described, or the readout has none.
        """
        states = memory.states  # (batch, n_tokens, d_hidden)
        if weights is not None:
            self._check_has_weights("weights", "a tensor")
            _check_weights(weights, memory)
            summary = (weights.unsqueeze(1) @ states).squeeze(1)  # (batch, d_hidden)
        elif self.readout == "attention":
            summary, weights = attend(self.score(states).mT, states, memory.mask)
            summary, weights = summary.squeeze(1), weights.squeeze(1)
        elif self.readout == "mean":
            weights = memory.mask.squeeze(1) / memory.lengths[:, None].to(states)
            summary = _mean(states, memory.lengths)
        elif self.readout == "max":
            summary = states.masked_fill(~memory.mask.mT, -torch.inf).amax(dim=1)
        else:
            summary = memory.summary
        return self.output_proj(summary), weights

    def _check_has_weights(self, name: str, value: object) -> None:
        """Require a readout that is a weighted sum.

        Raises
        ------
        ValueError
            If it is another one.
        """
        if not self.has_weights:
            raise ValueError(f"{name} must not be given with readout={self.readout!r}, got {name}={value}")


def _mean(states: Tensor, lengths: Tensor) -> Tensor:
    """Return the mean of the states before the padding, where they are zero, (batch, d_memory)."""
    return states.sum(dim=1) / lengths[:, None].to(states)


def _check_weights(weights: Tensor, memory: Memory) -> None:
    """Require rows of weights over the words of these texts.

    Raises
    ------
    ValueError
        If the shape differs, a weight is negative or at the padding, or a row does not sum to 1.
    """
    check_type("weights", weights, Tensor)
    check_floats("weights", weights)
    if weights.shape != memory.states.shape[:2]:
        raise ValueError(
            f"weights must have shape (batch, n_tokens)={tuple(memory.states.shape[:2])}, "
            f"got weights.shape={tuple(weights.shape)}"
        )
    seen = weights.detach()
    if seen.min() < 0:
        raise ValueError(f"weights must not be negative, got weights down to {seen.min():g}")
    if seen[~memory.mask.squeeze(1)].any():
        raise ValueError("weights must be zero at the padding, got weights with others")
    sums = seen.sum(dim=1)
    if (sums - 1).abs().max() > _ROW_SUM_TOLERANCE:
        raise ValueError(
            f"weights must have rows that sum to 1, got rows that sum to {sums.min():g} … {sums.max():g}"
        )
