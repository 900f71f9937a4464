"""Self-attention: one head, several side by side, and a small model that answers at every position.

Built in chapter 6.
"""

import torch
from torch import nn

from attncourse._checks import (
    check_choice,
    check_count,
    check_floats,
    check_last_axis,
    check_number,
    check_type,
)
from attncourse.attention import attend
from attncourse.masks import causal_mask, padding_mask
from attncourse.position_biases import RelativeKeys, alibi_slopes, linear_bias
from attncourse.positions import LearnedPositions, rotate, sinusoidal_positions
from attncourse.scores import ScaledDotScore

SCORE_SCHEMES = ("relative", "rotary", "alibi")
POSITION_SCHEMES = ("none", "sinusoidal", "learned", *SCORE_SCHEMES)


class SelfAttention(nn.Module):
    r"""Let every token of a sequence ask all tokens of the same sequence: one head.

    .. math:: O = \operatorname{softmax}\!\left(
        \frac{X W^Q (X W^K)^\top}{\sqrt{d_{\text{head}}}} + B\right) X W^V W^O

    Parameters
    ----------
    d_model : int
        Features of inputs and outputs.
    d_head : int, optional
        Entries of queries, keys and values; ``d_model`` unless given.
    positions : str, optional
        How scores learn about positions: ``"relative"`` and ``"alibi"`` add a bias B, ``"rotary"`` turns
        queries and keys. Without it B is zero, and the layer cannot tell one order of its tokens from
        another.
    max_distance : int, optional
        Clipping distance in tokens, for ``positions="relative"``.
    slope : float, optional
        Slope in nats per token, for ``positions="alibi"``; 0.5 is the steepest of eight heads.

    Raises
    ------
    TypeError
        If a size is not an integer or ``slope`` not a number.
    ValueError
        If ``positions`` is unknown, a size is below 1, ``slope`` is negative, or ``d_head`` is odd with
        ``positions="rotary"``.

    Notes
    -----
    4 · d_model · d_head parameters, no biases. Time O(n² · d_head + n · d_model · d_head) and memory O(n²)
    for n tokens. Built in chapter 6; chapter 7 makes several heads one layer.

    References
    ----------
    .. [1] Vaswani et al. (2017), section 3.2; "sometimes called intra-attention": section 2.
    """

    def __init__(
        self,
        d_model: int,
        d_head: int | None = None,
        *,
        positions: str | None = None,
        max_distance: int = 16,
        slope: float = 0.5,
    ) -> None:
        super().__init__()
        check_count("d_model", d_model)
        d_head = d_model if d_head is None else d_head
        check_count("d_head", d_head)
        if positions is not None:
            check_choice("positions", positions, SCORE_SCHEMES)
        if positions == "rotary" and d_head % 2:
            raise ValueError(f"d_head must be even for rotary positions, got d_head={d_head}")
        check_number("slope", slope, at_least=0)
        self.d_model = d_model
        self.positions = positions
        self.query_proj = nn.Linear(d_model, d_head, bias=False)
        self.key_proj = nn.Linear(d_model, d_head, bias=False)
        self.value_proj = nn.Linear(d_model, d_head, bias=False)
        self.output_proj = nn.Linear(d_head, d_model, bias=False)
        self.score = ScaledDotScore()
        self.relative_keys = RelativeKeys(d_head, max_distance) if positions == "relative" else None
        # A buffer, so that it follows the module's dtype and device; it is no parameter.
        self.register_buffer("slope", torch.tensor(float(slope)) if positions == "alibi" else None)
        for proj in (self.query_proj, self.key_proj, self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(proj.weight)

    def forward(
        self, inputs: torch.Tensor, mask: torch.Tensor | None = None, *, return_weights: bool = False
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Look from every token at every token.

        Parameters
        ----------
        inputs : Tensor of float, shape (batch, n_tokens, d_model)
            What asks and what is asked. Not modified.
        mask : Tensor of bool, broadcastable to (batch, n_tokens, n_tokens), optional
            True where a token (row) may attend to a token (column). Not modified.
        return_weights : bool, optional
            Whether to return the weights too.

        Returns
        -------
        output : Tensor, shape (batch, n_tokens, d_model)
            One mixture for each token; zeros where the mask allows nothing.
        weights : Tensor, shape (batch, n_tokens, n_tokens)
            Only with ``return_weights=True``: the weights that made the output.

        Raises
        ------
        TypeError
            If ``inputs`` are not a tensor of floats or ``mask`` is not boolean.
        ValueError
            If the shapes do not fit.
        """
        _check_inputs("inputs", inputs, self.d_model)
        query, key, value = self.query_proj(inputs), self.key_proj(inputs), self.value_proj(inputs)
        if self.positions == "rotary":
            query, key = rotate(query), rotate(key)
        scores = self.score(query, key)  # (batch, n_tokens, n_tokens)
        n_tokens = inputs.shape[-2]
        if self.positions == "relative":
            scores = scores + self.relative_keys(query, n_tokens)
        elif self.positions == "alibi":
            scores = scores + linear_bias(self.slope, n_tokens, n_tokens)
        mixture, weights = attend(scores, value, mask)
        output = self.output_proj(mixture)  # (batch, n_tokens, d_model)
        return (output, weights) if return_weights else output


def _check_inputs(name: str, inputs: torch.Tensor, d_model: int) -> None:
    check_type(name, inputs, torch.Tensor)
    check_floats(name, inputs, min_axes=3)
    check_last_axis(name, inputs, d_model, what="d_model")


class HeadsSideBySide(nn.Module):
    r"""Run several heads on the same inputs, one after the other, and add up what they say.

    .. math:: O = \sum_{h=1}^{n_{\text{heads}}} \operatorname{head}_h(X)

    Parameters
    ----------
    d_model : int
        Features of inputs and outputs.
    n_heads : int
        Heads; each has ``d_model / n_heads`` entries, so that all together cost about as much as one.
    positions : str, optional
        As in ``SelfAttention``; with ``"alibi"`` every head has its own slope of ``alibi_slopes``.
    max_distance : int, optional
        Clipping distance in tokens, for ``positions="relative"``.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If ``d_model`` is no multiple of ``n_heads``, or a head refuses its arguments.

    Notes
    -----
    The sum equals one output projection of all heads' mixtures side by side; chapter 7 computes it so,
    without the loop. Built in chapter 6.

    References
    ----------
    .. [1] Vaswani et al. (2017), section 3.2.2.
    """

    def __init__(
        self, d_model: int, n_heads: int, *, positions: str | None = None, max_distance: int = 16
    ) -> None:
        super().__init__()
        check_count("d_model", d_model)
        check_count("n_heads", n_heads)
        if d_model % n_heads:
            raise ValueError(
                f"d_model must be a multiple of n_heads, got d_model={d_model}, n_heads={n_heads}"
            )
        self.heads = nn.ModuleList(
            SelfAttention(
                d_model, d_model // n_heads, positions=positions, max_distance=max_distance, slope=slope
            )
            for slope in alibi_slopes(n_heads).tolist()
        )

    def forward(
        self, inputs: torch.Tensor, mask: torch.Tensor | None = None, *, return_weights: bool = False
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Let every head look; arguments as in ``SelfAttention.forward``.

        Returns
        -------
        output : Tensor, shape (batch, n_tokens, d_model)
            The sum over heads.
        weights : Tensor, shape (batch, n_heads, n_tokens, n_tokens)
            Only with ``return_weights=True``: the weights that made the output.
        """
        outputs, weights = zip(*(head(inputs, mask, return_weights=True) for head in self.heads), strict=True)
        output = sum(outputs)  # (batch, n_tokens, d_model)
        return (output, torch.stack(weights, dim=1)) if return_weights else output


class PositionModel(nn.Module):
    """Answer at every position of a sequence, with one of six ways to know where tokens stand.

    Each layer adds to its input what the heads say, then what a network of one hidden layer makes of every
    token by itself.

    Parameters
    ----------
    embed : nn.Module
        Makes inputs of ``d_model`` features from what the task gives: ``nn.Embedding(vocab_size, d_model)``
        for tokens, ``nn.Linear(n_features, d_model)`` for vectors.
    d_model : int
        Features inside.
    n_outputs : int
        Numbers answered at every position, such as one logit for each token of a vocabulary.
    scheme : str
        One of ``POSITION_SCHEMES``.
    n_layers, n_heads : int, optional
        Layers, and heads side by side in each.
    max_tokens : int, optional
        Longest sequence, for ``scheme="learned"``.
    max_distance : int, optional
        Clipping distance in tokens, for ``scheme="relative"``.
    is_causal : bool, optional
        Whether a token sees only itself and what came before it.

    Raises
    ------
    TypeError
        If ``embed`` is no module or a size is not an integer.
    ValueError
        If ``scheme`` is unknown or the sizes do not fit.

    Notes
    -----
    Normalisation and the small network are those of chapter 8, borrowed from torch. Built in chapter 6.
    """

    def __init__(
        self,
        embed: nn.Module,
        d_model: int,
        n_outputs: int,
        scheme: str,
        *,
        n_layers: int = 2,
        n_heads: int = 4,
        max_tokens: int = 128,
        max_distance: int = 16,
        is_causal: bool = False,
    ) -> None:
        super().__init__()
        check_type("embed", embed, nn.Module)
        check_count("n_outputs", n_outputs)
        check_choice("scheme", scheme, POSITION_SCHEMES)
        check_count("n_layers", n_layers)
        self.embed = embed
        self.d_model = d_model
        self.scheme = scheme
        self.is_causal = is_causal
        self.learned = LearnedPositions(max_tokens, d_model) if scheme == "learned" else None
        positions = scheme if scheme in SCORE_SCHEMES else None
        self.heads = nn.ModuleList(
            HeadsSideBySide(d_model, n_heads, positions=positions, max_distance=max_distance)
            for _ in range(n_layers)
        )
        self.networks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(d_model),
                nn.Linear(d_model, 2 * d_model),
                nn.ReLU(),
                nn.Linear(2 * d_model, d_model),
            )
            for _ in range(n_layers)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(d_model) for _ in range(n_layers))
        self.output_proj = nn.Linear(d_model, n_outputs)

    def forward(
        self, inputs: torch.Tensor, lengths: torch.Tensor | None = None, *, return_weights: bool = False
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Answer at every position.

        Parameters
        ----------
        inputs : Tensor, shape (batch, n_tokens) or (batch, n_tokens, n_features)
            Whatever ``embed`` reads. Not modified.
        lengths : Tensor of int, shape (batch,), optional
            Real tokens in each sequence; padding behind them is hidden. Not modified.
        return_weights : bool, optional
            Whether to return the weights of every layer and head too.

        Returns
        -------
        output : Tensor, shape (batch, n_tokens, n_outputs)
            Answers; those at padding mean nothing.
        weights : Tensor, shape (batch, n_layers, n_heads, n_tokens, n_tokens)
            Only with ``return_weights=True``: the weights that made the output.

        Raises
        ------
        ValueError
            If ``embed`` does not make ``d_model`` features, or the sequence is longer than ``max_tokens``
            with ``scheme="learned"``.
        """
        hidden = self.embed(inputs)  # (batch, n_tokens, d_model)
        _check_inputs("embed(inputs)", hidden, self.d_model)
        n_tokens = hidden.shape[-2]
        if self.scheme == "sinusoidal":
            hidden = hidden + sinusoidal_positions(
                n_tokens, self.d_model, dtype=hidden.dtype, device=hidden.device
            )
        elif self.scheme == "learned":
            hidden = hidden + self.learned(n_tokens)
        mask = self._mask(n_tokens, lengths, hidden.device)
        weights = []
        for norm, heads, network in zip(self.norms, self.heads, self.networks, strict=True):
            said, looked = heads(norm(hidden), mask, return_weights=True)
            hidden = hidden + said
            hidden = hidden + network(hidden)
            weights.append(looked)
        output = self.output_proj(hidden)  # (batch, n_tokens, n_outputs)
        return (output, torch.stack(weights, dim=1)) if return_weights else output

    def _mask(self, n_tokens: int, lengths: torch.Tensor | None, device: torch.device) -> torch.Tensor | None:
        """Combine what padding and, if asked for, the future hide."""
        mask = causal_mask(n_tokens, n_tokens, device=device) if self.is_causal else None
        if lengths is None:
            return mask
        real = padding_mask(lengths, n_tokens)  # (batch, 1, n_tokens)
        return real if mask is None else real & mask
