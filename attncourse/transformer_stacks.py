"""Layers one on the other: an encoder, and a decoder that looks at what the encoder made.

Built in chapter 8.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from attncourse._checks import check_choice, check_count
from attncourse.multihead import Cache
from attncourse.position_biases import alibi_bias
from attncourse.token_embedding import POSITIONS
from attncourse.transformer_layers import DecoderLayer, EncoderLayer
from attncourse.transformer_parts import LayerNorm


class LayerStack(nn.Module):
    """Hold equal layers one on the other: what an encoder and a decoder have in common.

    Parameters
    ----------
    d_model, n_heads, n_layers, d_ff, n_kv_heads, positions, wiring, activation, dropout
        As in ``TransformerEncoder``.

    Notes
    -----
    Pre-norm layers normalise what they read, not what they hand on: the sum of all that was added leaves the
    last one as it is, and one more norm puts it in order. Built in chapter 8.
    """

    layer_class: type[nn.Module]

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        n_layers: int,
        d_ff: int,
        *,
        n_kv_heads: int | None = None,
        positions: str = "none",
        wiring: str = "pre-norm",
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_count("n_layers", n_layers)
        check_choice("positions", positions, POSITIONS)
        self.n_heads = n_heads
        self.positions = positions
        self.layers = nn.ModuleList(
            self.layer_class(
                d_model,
                n_heads,
                d_ff,
                n_kv_heads=n_kv_heads,
                wiring=wiring,
                activation=activation,
                dropout=dropout,
                rotary="half" if positions == "rotary" else None,
            )
            for _ in range(n_layers)
        )
        if positions == "rotary" and (d_model // n_heads) % 2:
            raise ValueError(
                "d_model / n_heads must be even with rotary positions, "
                f"got d_model={d_model}, n_heads={n_heads}"
            )
        # Post-norm layers hand on normalised vectors, and "no-norm" means none at all.
        self.norm = LayerNorm(d_model) if wiring in ("pre-norm", "no-residual") else nn.Identity()

    def _score_bias(self, x: Tensor, caches: Sequence[Cache | None]) -> Tensor | None:
        """Return what ALiBi adds to the scores of every layer."""
        if self.positions != "alibi":
            return None
        n_queries = x.shape[1]
        n_held = 0 if caches[0] is None else caches[0].length
        return alibi_bias(self.n_heads, n_queries, n_held + n_queries, dtype=x.dtype, device=x.device)

    def _one_each(self, name: str, caches: Sequence[Cache] | None) -> Sequence[Cache | None]:
        """Return one cache, or None, for each layer.

        Raises
        ------
        ValueError
            If their numbers differ.
        """
        if caches is None:
            return [None] * len(self.layers)
        if len(caches) != len(self.layers):
            raise ValueError(
                f"{name} must be one for each of {len(self.layers)} layers, "
                f"got {name} of length {len(caches)}"
            )
        return caches


class TransformerEncoder(LayerStack):
    r"""Let every token look at every other, layer after layer.

    .. math:: X^{(\ell)} = \operatorname{layer}_\ell\!\left(X^{(\ell-1)}\right), \qquad
        \ell = 1 \dots L

    With the pre-norm wiring, a last LayerNorm follows.

    Parameters
    ----------
    d_model : int
        Features of a token's vector.
    n_heads : int
        Heads of each layer; it divides ``d_model``.
    n_layers : int
        Layers L.
    d_ff : int
        Features inside the feed-forward networks.
    n_kv_heads : int, optional
        As in ``MultiHeadAttention``.
    positions : str, optional
        One of ``POSITIONS``. ``"rotary"`` turns queries and keys of every layer, ``"alibi"`` lowers its
        scores with the distance; the others have done their part in ``TokenEmbedding``.
    wiring, activation, dropout : optional
        As in ``EncoderLayer``.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is below 1 or does not fit, or a name is unknown.

    Notes
    -----
    Built in chapter 8.

    References
    ----------
    .. [1] Vaswani et al. (2017), section 3.1.
    .. [2] Xiong et al. (2020), "On layer normalization in the Transformer architecture", table 1.
    """

    layer_class = EncoderLayer

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        *,
        is_causal: bool = False,
        caches: Sequence[Cache] | None = None,
        return_weights: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Run all layers.

        Parameters
        ----------
        x : Tensor of float, shape (batch, n_tokens, d_model)
            One vector for each token. Not modified.
        mask, is_causal : optional
            As in ``MultiHeadAttention.forward``; the same in every layer.
        caches : sequence of Cache, optional
            One for each layer: what earlier tokens left, to which these are added.
        return_weights : bool, optional
            Whether to return the weights too.

        Returns
        -------
        output : Tensor, shape (batch, n_tokens, d_model)
            One vector for each token.
        weights : Tensor, shape (batch, n_layers, n_heads, n_tokens, n_keys)
            Only with ``return_weights=True``: the weights that made the output.

        Raises
        ------
        TypeError, ValueError
            If an argument is of the wrong kind, or does not fit.
        """
        caches = self._one_each("caches", caches)
        score_bias = self._score_bias(x, caches)
        weights = []
        for layer, cache in zip(self.layers, caches, strict=True):
            x = layer(
                x,
                mask,
                is_causal=is_causal,
                score_bias=score_bias,
                cache=cache,
                return_weights=return_weights,
            )
            if return_weights:
                x, looked = x
                weights.append(looked)
        output = self.norm(x)  # (batch, n_tokens, d_model)
        return (output, torch.stack(weights, dim=1)) if return_weights else output


class TransformerDecoder(LayerStack):
    """Let every token look at those before it and at a memory, layer after layer.

    Parameters
    ----------
    d_model, n_heads, n_layers, d_ff, n_kv_heads, positions, wiring, activation, dropout
        As in ``TransformerEncoder``. ``positions`` concerns the tokens' look at each other: in the memory,
        the encoder has already said where a token stands.

    Notes
    -----
    Built in chapter 8.

    References
    ----------
    .. [1] Vaswani et al. (2017), section 3.1.
    """

    layer_class = DecoderLayer

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        *,
        caches: Sequence[Cache] | None = None,
        memory_caches: Sequence[Cache] | None = None,
        return_weights: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        """Run all layers.

        Parameters
        ----------
        x : Tensor of float, shape (batch, n_tokens, d_model)
            One vector for each target token. Not modified.
        memory : Tensor of float, shape (batch, n_source, d_model)
            One vector for each source token. Not modified.
        mask : Tensor of bool, optional
            Who may look at whom among the target tokens, besides the causal rule. Not modified.
        memory_mask : Tensor of bool, broadcastable to (batch, n_heads, n_tokens, n_source), optional
            True at source tokens that may be looked at. Not modified.
        caches : sequence of Cache, optional
            One for each layer: what earlier target tokens left, to which these are added.
        memory_caches : sequence of Cache, optional
            One for each layer: keys and values of the memory, projected at the first call only.
        return_weights : bool, optional
            Whether to return the weights too.

        Returns
        -------
        output : Tensor, shape (batch, n_tokens, d_model)
            One vector for each target token.
        weights : Tensor, shape (batch, n_layers, n_heads, n_tokens, n_keys)
            Only with ``return_weights=True``: how target tokens looked at each other.
        cross_weights : Tensor, shape (batch, n_layers, n_heads, n_tokens, n_source)
            Only with ``return_weights=True``: how they looked at the memory.

        Raises
        ------
        TypeError, ValueError
            If an argument is of the wrong kind, or does not fit.
        """
        caches = self._one_each("caches", caches)
        memory_caches = self._one_each("memory_caches", memory_caches)
        score_bias = self._score_bias(x, caches)
        weights, cross_weights = [], []
        for layer, cache, memory_cache in zip(self.layers, caches, memory_caches, strict=True):
            # What a cache holds is not projected again.
            new = memory[:, :0] if memory_cache is not None and memory_cache.length else memory
            x = layer(
                x,
                new,
                mask,
                memory_mask,
                score_bias=score_bias,
                cache=cache,
                memory_cache=memory_cache,
                return_weights=return_weights,
            )
            if return_weights:
                x, looked, looked_back = x
                weights.append(looked)
                cross_weights.append(looked_back)
        output = self.norm(x)  # (batch, n_tokens, d_model)
        if return_weights:
            return output, torch.stack(weights, dim=1), torch.stack(cross_weights, dim=1)
        return output
