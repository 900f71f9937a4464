"""A model of attention layers alone, and scores that find heads which look one back or continue a repeat.

Built in chapter 16.
"""

import numpy as np
import torch
from torch import Tensor, nn

from attncourse._checks import check_array, check_choice, check_count, check_floats, check_type
from attncourse.measures import mass_on_gold
from attncourse.multihead import MultiHeadAttention
from attncourse.positions import LearnedPositions
from attncourse.tasks.repeats import RepeatBatch

READS = ("query", "key", "value")
POSITIONS = ("learned", "rotary")


class AttentionOnlyModel(nn.Module):
    r"""Foretell the next token with causal attention layers that add to one stream, and nothing else.

    .. math::
        X^{(0)} = \operatorname{embed}(\text{tokens}) + \text{PE}, \qquad
        X^{(l+1)} = X^{(l)} + \operatorname{multihead}_l(X^{(l)}), \qquad
        \text{logits} = X^{(L)} U

    Parameters
    ----------
    vocab_size : int
        Distinct tokens.
    n_layers : int, optional
        Attention layers.
    d_model : int, optional
        Features of the stream.
    n_heads : int, optional
        Heads of each layer; it divides ``d_model``.
    positions : {"rotary", "learned"}, optional
        Whether queries and keys are turned by their position in every layer, or a learned vector is added
        to the embedding.
    max_tokens : int, optional
        Longest text, with learned positions.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is below 1, the heads do not divide, or ``positions`` is unknown.

    Notes
    -----
    No feed-forward layers and no normalisation: whatever a token knows of another came through a head, and
    what a later layer reads is the embedding plus the outputs of heads, so that each can be taken away by
    itself (``head_gates``, ``read_gates``). Built in chapter 16.

    References
    ----------
    .. [1] Elhage et al. (2021), "A mathematical framework for transformer circuits".
    .. [2] Olsson et al. (2022), "In-context learning and induction heads".
    """

    def __init__(
        self,
        vocab_size: int,
        *,
        n_layers: int = 2,
        d_model: int = 64,
        n_heads: int = 2,
        positions: str = "rotary",
        max_tokens: int = 64,
    ) -> None:
        super().__init__()
        check_count("vocab_size", vocab_size)
        check_count("n_layers", n_layers)
        check_choice("positions", positions, POSITIONS)
        self.n_heads = n_heads
        self.embedding = nn.Embedding(vocab_size, d_model)
        self.positions = LearnedPositions(max_tokens, d_model) if positions == "learned" else None
        self.layers = nn.ModuleList(MultiHeadAttention(d_model, n_heads) for _ in range(n_layers))
        self.output_proj = nn.Linear(d_model, vocab_size, bias=False)

    def forward(
        self,
        tokens: Tensor,
        *,
        head_gates: Tensor | None = None,
        read_gates: Tensor | None = None,
        return_weights: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Score what follows every token.

        Parameters
        ----------
        tokens : Tensor of int64, shape (batch, n_tokens)
            The texts. Not modified.
        head_gates : Tensor of float, shape (n_layers, n_heads), optional
            Factor on each head's output, for all who read it: 0 switches a head off. Not modified.
        read_gates : Tensor of float, shape (3, n_heads), optional
            Factor on the outputs of the first layer's heads as the second layer's queries, keys and values
            (``READS``) read them; the stream itself, and so the logits, keep them whole. Only with two
            layers, and not together with ``head_gates``. Not modified.
        return_weights : bool, optional
            Whether to return the weights too.

        Returns
        -------
        logits : Tensor, shape (batch, n_tokens, vocab_size)
            Unnormalised log-probabilities of the token after each, in nats.
        weights : Tensor, shape (batch, n_layers, n_heads, n_tokens, n_tokens)
            Only with ``return_weights=True``: the weights that made the logits.

        Raises
        ------
        TypeError
            If an argument is of the wrong kind or dtype.
        ValueError
            If the shapes do not fit, a text is too long for learned positions, or ``read_gates`` comes
            with ``head_gates`` or without a second layer.

        Notes
        -----
        Time O(n_layers · n_tokens · d_model · (d_model + n_tokens)) for each text.
        """
        check_type("tokens", tokens, Tensor)
        check_array("tokens", tokens, min_axes=2)
        self._check_gates(head_gates, read_gates)
        stream = self.embedding(tokens)  # (batch, n_tokens, d_model)
        if self.positions is not None:
            stream = stream + self.positions(tokens.shape[1])
        options = {"is_causal": True, "rotary": "half" if self.positions is None else None}

        weights = []
        reads = None  # what the next layer reads as query, key and value, where that is not the stream
        for number, layer in enumerate(self.layers):
            gates = None if head_gates is None else head_gates[number]
            inputs = (stream, stream, stream) if reads is None else reads
            found = layer(*inputs, head_gates=gates, return_weights=return_weights, **options)
            if return_weights:
                found, layer_weights = found
                weights.append(layer_weights)
            reads = None
            if number == 0 and read_gates is not None:
                reads = tuple(stream + layer(stream, head_gates=part, **options) for part in read_gates)
            stream = stream + found
        logits = self.output_proj(stream)  # (batch, n_tokens, vocab_size)
        return (logits, torch.stack(weights, dim=1)) if return_weights else logits

    def _check_gates(self, head_gates: Tensor | None, read_gates: Tensor | None) -> None:
        n_layers = len(self.layers)
        if read_gates is not None and (n_layers != 2 or head_gates is not None):
            raise ValueError(
                "read_gates must come with two layers and without head_gates, got read_gates with "
                f"n_layers={n_layers} and {'no ' if head_gates is None else ''}head_gates"
            )
        for name, gates, rows in (
            ("head_gates", head_gates, n_layers),
            ("read_gates", read_gates, len(READS)),
        ):
            if gates is None:
                continue
            check_type(name, gates, Tensor)
            check_floats(name, gates)
            if gates.shape != (rows, self.n_heads):
                raise ValueError(
                    f"{name} must have shape {(rows, self.n_heads)}, got {name}.shape={tuple(gates.shape)}"
                )


def previous_token_score(weights: np.ndarray) -> np.ndarray:
    r"""Return how much of its weight each head puts on the token before, on average.

    .. math:: s_h = \frac{1}{n - 1} \sum_{t=1}^{n-1} A^{(h)}_{t,\,t-1}

    Parameters
    ----------
    weights : ndarray of float, shape (batch, ..., n_tokens, n_tokens)
        Maps; the axes between are layers and heads. Not modified.

    Returns
    -------
    ndarray of float64, shape (...)
        Shares from 0 to 1. The first token, which has none before it, is not counted.

    Raises
    ------
    TypeError
        If ``weights`` is not an array of floats.
    ValueError
        If the maps are not square, have fewer than two tokens, or a weight is negative or NaN.

    Notes
    -----
    ``mass_on_gold`` of chapter 5, head by head. Time O(size of ``weights``). Built in chapter 16.

    References
    ----------
    .. [1] Olsson et al. (2022), "In-context learning and induction heads", the score of previous-token heads.
    """
    n_tokens = _check_maps(weights)
    if n_tokens < 2:
        raise ValueError(f"weights must have at least two tokens, got weights.shape={weights.shape}")
    before = np.eye(n_tokens, k=-1, dtype=bool)
    return _mass_by_head(weights, np.broadcast_to(before, (len(weights), n_tokens, n_tokens)))


def induction_score(weights: np.ndarray, links: np.ndarray) -> np.ndarray:
    r"""Return how much of its weight each head puts where the next token can be read, on average.

    .. math:: s_h = \frac{1}{|T|} \sum_{t \in T} \sum_{g \in G_t} A^{(h)}_{t,g}

    :math:`T` are the tokens whose next one the text has shown, :math:`G_t` the places that show it: those
    right behind earlier appearances of token t.

    Parameters
    ----------
    weights : ndarray of float, shape (batch, ..., n_tokens, n_tokens)
        Maps; the axes between are layers and heads. Not modified.
    links : ndarray of bool, shape (batch, n_tokens, n_tokens)
        ``RepeatBatch.links()``. Not modified.

    Returns
    -------
    ndarray of float64, shape (...)
        Shares from 0 to 1.

    Raises
    ------
    TypeError
        If an argument is not an array of the right dtype.
    ValueError
        If the shapes do not fit, a weight is negative or NaN, or there is no link.

    Notes
    -----
    ``mass_on_gold`` of chapter 5, head by head. The score says where a head looks, not what it does with it.
    Time O(size of ``weights``). Built in chapter 16.

    References
    ----------
    .. [1] Olsson et al. (2022), "In-context learning and induction heads", the "prefix matching" score.
    """
    _check_maps(weights)
    return _mass_by_head(weights, links)


def predictable_accuracy(logits: Tensor, batch: RepeatBatch) -> float:
    """Return the share of right next tokens, among those that the text before has shown.

    Parameters
    ----------
    logits : Tensor of float, shape (batch, n_tokens, vocab_size)
        What a model said after ``batch.tokens[:, :-1]``. Not modified.
    batch : RepeatBatch
        The texts. Not modified.

    Returns
    -------
    float
        From 0 to 1.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Notes
    -----
    Built in chapter 16.
    """
    follows = torch.from_numpy(batch.tokens[:, 1:])
    if logits.shape[:-1] != follows.shape:
        raise ValueError(
            "logits must have one row for each token that is read, "
            f"got logits.shape={tuple(logits.shape)}, tokens.shape={batch.tokens.shape}"
        )
    right = logits.argmax(dim=-1) == follows  # (batch, n_tokens)
    return float(right[torch.from_numpy(batch.predictable)].double().mean())


def _check_maps(weights: np.ndarray) -> int:
    """Require maps from tokens to the same tokens, and return how many tokens there are.

    Raises
    ------
    ValueError
        If the maps are not square.
    """
    check_type("weights", weights, np.ndarray)
    check_array("weights", weights, min_axes=3)
    if weights.shape[-1] != weights.shape[-2]:
        raise ValueError(f"weights must have square maps, got weights.shape={weights.shape}")
    return weights.shape[-1]


def _mass_by_head(weights: np.ndarray, links: np.ndarray) -> np.ndarray:
    """Return the mean mass on the links for each index of the axes between batch and tokens."""
    heads = weights.shape[1:-2]
    masses = np.empty(heads)
    for head in np.ndindex(heads):
        masses[head] = mass_on_gold(weights[:, *head], links)
    return masses
