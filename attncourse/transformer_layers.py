"""One layer of an encoder, of a decoder, and of a decoder-only model: attention and feed-forward, wired.

Built in chapter 8.
"""

from functools import partial

from torch import Tensor, nn

from attncourse._checks import check_choice, check_same_axis
from attncourse.multihead import Cache, MultiHeadAttention
from attncourse.positions import ROTARY_LAYOUTS
from attncourse.transformer_parts import FeedForward, Sublayer, check_vectors


class EncoderLayer(nn.Module):
    r"""Let every token look at the others, then work on each by itself.

    .. math:: x \leftarrow \operatorname{sublayer}(x, \text{self-attention}), \qquad
        x \leftarrow \operatorname{sublayer}(x, \text{feed-forward})

    With ``is_causal=True`` it is the layer of a decoder-only model.

    Parameters
    ----------
    d_model : int
        Features of a token's vector.
    n_heads : int
        Attention heads; it divides ``d_model``.
    d_ff : int
        Features inside the feed-forward part.
    n_kv_heads : int, optional
        Heads of key and value; it divides ``n_heads``. As many as heads unless given.
    wiring : {"pre-norm", "post-norm", "no-residual", "no-norm"}, optional
        How the parts are wired, as in ``Sublayer``.
    activation : {"relu", "gelu", "gated"}, optional
        As in ``FeedForward``.
    dropout : float, optional
        Probability of dropping, in training mode: attention weights, features inside the feed-forward part,
        and entries of both parts' outputs.
    rotary : {"half", "interleaved"} or None, optional
        Layout in which queries and keys are rotated by their position.

    Raises
    ------
    TypeError
        If a size is not an integer or ``dropout`` not a number.
    ValueError
        If a size is below 1, the heads do not divide, a choice is unknown, or ``dropout`` is outside [0, 1).

    Notes
    -----
    Built in chapter 8.

    References
    ----------
    .. [1] Vaswani et al. (2017), section 3.1, figure 1 (left).
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        d_ff: int,
        *,
        n_kv_heads: int | None = None,
        wiring: str = "pre-norm",
        activation: str = "relu",
        dropout: float = 0.0,
        rotary: str | None = None,
    ) -> None:
        super().__init__()
        if rotary is not None:
            check_choice("rotary", rotary, ROTARY_LAYOUTS)
        self.d_model = d_model
        self.rotary = rotary
        self.self_attention = MultiHeadAttention(d_model, n_heads, n_kv_heads=n_kv_heads, dropout=dropout)
        self.self_attention_sublayer = Sublayer(d_model, wiring=wiring, dropout=dropout)
        self.feed_forward = FeedForward(d_model, d_ff, activation=activation, dropout=dropout)
        self.feed_forward_sublayer = Sublayer(d_model, wiring=wiring, dropout=dropout)

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        *,
        is_causal: bool = False,
        score_bias: Tensor | None = None,
        cache: Cache | None = None,
        return_weights: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Turn each token's vector into one that knows of its context.

        Parameters
        ----------
        x : Tensor of float, shape (batch, n_tokens, d_model)
            One vector for each token. Not modified.
        mask : Tensor of bool, optional
            True where a token may attend, as in ``MultiHeadAttention.forward``: two axes
            (n_tokens, n_keys) or four (batch, n_heads, n_tokens, n_keys), any of which may be 1; n_keys is
            n_tokens, and more by what the cache holds. Not modified.
        is_causal : bool, optional
            Whether to hide the future as well.
        score_bias : Tensor of float, broadcastable to (batch, n_heads, n_tokens, n_keys), optional
            Added to the scaled scores, in nats. Not modified.
        cache : Cache, optional
            Keys and values of the tokens before ``x``; those of ``x`` are appended to it.
        return_weights : bool, optional
            Whether to return the attention weights too.

        Returns
        -------
        output : Tensor, shape (batch, n_tokens, d_model)
            New vectors.
        weights : Tensor, shape (batch, n_heads, n_tokens, n_keys)
            Only with ``return_weights=True``: the weights that made the output, dropout included.

        Raises
        ------
        TypeError
            If an argument is of the wrong kind or dtype.
        ValueError
            If the shapes do not fit or ``x`` is empty or holds NaN.

        Notes
        -----
        Time O(n · d_model · (d_model + d_ff) + n · n_keys · d_model) for n tokens; memory as in
        ``MultiHeadAttention.forward``, and O(n · d_ff).
        """
        check_vectors("x", x, self.d_model, n_axes=3)
        attend = partial(
            self.self_attention,
            mask=mask,
            is_causal=is_causal,
            score_bias=score_bias,
            rotary=self.rotary,
            return_weights=return_weights,
            cache=cache,
        )
        attended = self.self_attention_sublayer(x, attend)
        x, weights = attended if return_weights else (attended, None)
        output = self.feed_forward_sublayer(x, self.feed_forward)
        return (output, weights) if return_weights else output


class DecoderLayer(nn.Module):
    r"""Let every token look at those before it, then at the memory, then work on each by itself.

    .. math:: x \leftarrow \operatorname{sublayer}(x, \text{causal self-attention}), \quad
        x \leftarrow \operatorname{sublayer}(x, \text{cross-attention to the memory}), \quad
        x \leftarrow \operatorname{sublayer}(x, \text{feed-forward})

    Parameters
    ----------
    d_model, n_heads, d_ff, n_kv_heads, wiring, activation, dropout
        As in ``EncoderLayer``; the memory's vectors have ``d_model`` features too.
    rotary : {"half", "interleaved"} or None, optional
        Layout in which queries and keys of the self-attention are rotated by their position. The
        cross-attention rotates nothing: positions of target and source are not on one scale.
    is_causal : bool, optional
        Whether a target token sees only those before it and itself. Chapter 12 switches it off, where the
        "target tokens" are object queries without an order.

    Raises
    ------
    TypeError
        If a size is not an integer or ``dropout`` not a number.
    ValueError
        If a size is below 1, the heads do not divide, a choice is unknown, or ``dropout`` is outside [0, 1).

    Notes
    -----
    In the cross-attention the queries come from the target, keys and values from the memory. Built in
    chapter 8.

    References
    ----------
    .. [1] Vaswani et al. (2017), section 3.1, figure 1 (right), and section 3.2.3.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        d_ff: int,
        *,
        n_kv_heads: int | None = None,
        wiring: str = "pre-norm",
        activation: str = "relu",
        dropout: float = 0.0,
        rotary: str | None = None,
        is_causal: bool = True,
    ) -> None:
        super().__init__()
        if rotary is not None:
            check_choice("rotary", rotary, ROTARY_LAYOUTS)
        self.d_model = d_model
        self.rotary = rotary
        self.is_causal = is_causal
        self.self_attention = MultiHeadAttention(d_model, n_heads, n_kv_heads=n_kv_heads, dropout=dropout)
        self.self_attention_sublayer = Sublayer(d_model, wiring=wiring, dropout=dropout)
        self.cross_attention = MultiHeadAttention(d_model, n_heads, n_kv_heads=n_kv_heads, dropout=dropout)
        self.cross_attention_sublayer = Sublayer(d_model, wiring=wiring, dropout=dropout)
        self.feed_forward = FeedForward(d_model, d_ff, activation=activation, dropout=dropout)
        self.feed_forward_sublayer = Sublayer(d_model, wiring=wiring, dropout=dropout)

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        *,
        score_bias: Tensor | None = None,
        cache: Cache | None = None,
        memory_cache: Cache | None = None,
        return_weights: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        """Turn each target token's vector into one that knows of the tokens before it and of the source.

        Parameters
        ----------
        x : Tensor of float, shape (batch, n_target, d_model)
            One vector for each target token. Not modified.
        memory : Tensor of float, shape (batch, n_source, d_model)
            The encoder's output. No tokens (``memory[:, :0]``) where ``memory_cache`` holds them already.
            Not modified.
        mask : Tensor of bool, optional
            True where a target token may attend to another, besides the causal mask; two
            or four axes, as in ``EncoderLayer.forward``. Not modified.
        memory_mask : Tensor of bool, optional
            True where a target token may attend to a source token: two axes (n_target, n_source) or four
            (batch, n_heads, n_target, n_source), any of which may be 1. Not modified.
        score_bias : Tensor of float, broadcastable to (batch, n_heads, n_target, n_keys), optional
            Added to the scaled scores of the self-attention, in nats. Not modified.
        cache : Cache, optional
            Keys and values of the target tokens before ``x``; those of ``x`` are appended to it.
        memory_cache : Cache, optional
            Keys and values of the memory; those of ``memory`` are appended to it.
        return_weights : bool, optional
            Whether to return the attention weights too.

        Returns
        -------
        output : Tensor, shape (batch, n_target, d_model)
            New vectors.
        weights : Tensor, shape (batch, n_heads, n_target, n_keys)
            Only with ``return_weights=True``: the weights of the self-attention, dropout included.
        memory_weights : Tensor, shape (batch, n_heads, n_target, n_source)
            Only with ``return_weights=True``: the weights of the cross-attention, dropout included.

        Raises
        ------
        TypeError
            If an argument is of the wrong kind or dtype.
        ValueError
            If the shapes do not fit, ``x`` is empty, or ``x`` or ``memory`` holds NaN.

        Notes
        -----
        Time O((n + n_source) · d_model² + n · d_model · d_ff + n · (n_keys + n_source) · d_model) for n
        target tokens; memory as in ``MultiHeadAttention.forward``, and O(n · d_ff).
        """
        check_vectors("x", x, self.d_model, n_axes=3)
        check_vectors("memory", memory, self.d_model, n_axes=3)
        check_same_axis("x", x, "memory", memory, axis=0, what="batch size")
        attend = partial(
            self.self_attention,
            mask=mask,
            is_causal=self.is_causal,
            score_bias=score_bias,
            rotary=self.rotary,
            return_weights=return_weights,
            cache=cache,
        )
        look_back = partial(
            self.cross_attention,
            key=memory,
            mask=memory_mask,
            return_weights=return_weights,
            cache=memory_cache,
        )
        attended = self.self_attention_sublayer(x, attend)
        x, weights = attended if return_weights else (attended, None)
        looked_back = self.cross_attention_sublayer(x, look_back)
        x, memory_weights = looked_back if return_weights else (looked_back, None)
        output = self.feed_forward_sublayer(x, self.feed_forward)
        return (output, weights, memory_weights) if return_weights else output
