"""Several attentions side by side in one tensor: heads that share two large products instead of a loop.

Built in chapter 7.
"""

import math
from typing import Protocol

from torch import Tensor, nn
from torch.nn import functional as F

from attncourse._checks import (
    broadcast_shape,
    check_array,
    check_choice,
    check_count,
    check_finite,
    check_floats,
    check_last_axis,
    check_mask,
    check_number,
    check_same_axis,
    check_type,
)
from attncourse.attention import masked_softmax_
from attncourse.masks import causal_mask
from attncourse.positions import ROTARY_LAYOUTS, rotate


def split_heads(x: Tensor, n_heads: int) -> Tensor:
    r"""Cut the features of every token into heads, and give the heads an axis of their own.

    .. math:: x^{(h)}_{t,i} = x_{t,\; h \, d_{\text{head}} + i}

    Parameters
    ----------
    x : Tensor, shape (..., tokens, d_model)
        Vectors whose features are cut into ``n_heads`` runs of equal length. Not modified.
    n_heads : int
        Number of heads; it divides ``d_model``.

    Returns
    -------
    Tensor, shape (..., n_heads, tokens, d_head)
        A view of ``x``, with d_head = d_model / n_heads.

    Raises
    ------
    TypeError
        If ``x`` is not a tensor or ``n_heads`` not an integer.
    ValueError
        If ``x`` has fewer than two axes or ``n_heads`` does not divide its last one.

    Notes
    -----
    Viewing ``x`` as (..., n_heads, tokens, d_head) at once has the same shape and mixes tokens: the features
    must be cut first, and then the axes exchanged. Copies nothing. Built in chapter 7.

    References
    ----------
    .. [1] Vaswani et al. (2017), section 3.2.2.
    """
    check_type("x", x, Tensor)
    check_array("x", x, min_axes=2)
    check_count("n_heads", n_heads)
    if x.shape[-1] % n_heads:
        raise ValueError(
            f"x must have a last axis that n_heads divides, got x.shape={tuple(x.shape)}, n_heads={n_heads}"
        )
    return x.unflatten(-1, (n_heads, -1)).transpose(-3, -2)  # (..., n_heads, tokens, d_head)


def merge_heads(x: Tensor) -> Tensor:
    r"""Put the heads' vectors of every token side by side again, the inverse of ``split_heads``.

    .. math:: y_t = [x^{(1)}_t; \dots; x^{(H)}_t]

    Parameters
    ----------
    x : Tensor, shape (..., n_heads, tokens, d_head)
        One vector for each head and token. Not modified.

    Returns
    -------
    Tensor, shape (..., tokens, n_heads · d_head)
        One vector for each token; a copy only where the memory order asks for one.

    Raises
    ------
    TypeError
        If ``x`` is not a tensor.
    ValueError
        If ``x`` has fewer than three axes.

    Notes
    -----
    Built in chapter 7.

    References
    ----------
    .. [1] Vaswani et al. (2017), section 3.2.2, "Concat".
    """
    check_type("x", x, Tensor)
    check_array("x", x, min_axes=3)
    return x.transpose(-3, -2).flatten(-2)  # (..., tokens, n_heads * d_head)


class Cache(Protocol):
    """Hold the projected keys and values of the tokens read so far, such as ``kv_cache.KVCache``."""

    length: int  # tokens held

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Add (batch, n_kv_heads, tokens, d_head) behind the tokens held, and return all of them."""


class MultiHeadAttention(nn.Module):
    r"""Attend with several heads, each with its own projections, and mix what they found.

    .. math::
        O = [\,O^{(1)}; \dots; O^{(H)}\,]\, W^O, \qquad
        O^{(h)} = \operatorname{attention}(Q W^Q_h,\; K W^K_{g(h)},\; V W^V_{g(h)})

    With as many key-value heads as heads, g(h) = h. With fewer, consecutive heads share one
    (grouped-query attention); with one, all heads do (multi-query attention).

    Parameters
    ----------
    d_model : int
        Features of the query and of the output.
    n_heads : int
        Number of heads; it divides ``d_model``, and each head works with d_head = d_model / n_heads features.
    n_kv_heads : int, optional
        Heads of key and value; it divides ``n_heads``. As many as heads unless given.
    d_key : int, optional
        Features of the key that comes in; ``d_model`` unless given.
    d_value : int, optional
        Features of the value that comes in; ``d_key`` unless given, because the value is the key by default.
    bias : bool, optional
        Whether the four projections have a bias.
    dropout : float, optional
        Probability of dropping each weight in training mode; the others grow by ``1 / (1 - dropout)``.

    Raises
    ------
    TypeError
        If a size is not an integer or ``dropout`` not a number.
    ValueError
        If a size is below 1, the heads do not divide, or ``dropout`` is outside [0, 1).

    Notes
    -----
    Two paths give the same numbers: a fused kernel that never holds the weights, and the explicit steps of
    chapter 4 where the weights are asked for. Nothing is stored between calls. Built in chapter 7.

    References
    ----------
    .. [1] Vaswani et al. (2017), section 3.2.2.
    .. [2] Shazeer (2019), "Fast transformer decoding: one write-head is all you need", section 3.
    .. [3] Ainslie et al. (2023), "GQA: training generalized multi-query transformer models", section 2.2.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        *,
        n_kv_heads: int | None = None,
        d_key: int | None = None,
        d_value: int | None = None,
        bias: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        n_kv_heads = n_heads if n_kv_heads is None else n_kv_heads
        d_key = d_model if d_key is None else d_key
        d_value = d_key if d_value is None else d_value
        for name, size in (
            ("d_model", d_model),
            ("n_heads", n_heads),
            ("n_kv_heads", n_kv_heads),
            ("d_key", d_key),
            ("d_value", d_value),
        ):
            check_count(name, size)
        check_number("dropout", dropout, at_least=0, below=1)
        if d_model % n_heads:
            raise ValueError(f"n_heads must divide d_model={d_model}, got n_heads={n_heads}")
        if n_heads % n_kv_heads:
            raise ValueError(f"n_kv_heads must divide n_heads={n_heads}, got n_kv_heads={n_kv_heads}")
        self.d_model, self.d_key, self.d_value = d_model, d_key, d_value
        self.n_heads, self.n_kv_heads = n_heads, n_kv_heads
        self.d_head = d_model // n_heads
        self.dropout = dropout
        self.query_proj = nn.Linear(d_model, d_model, bias=bias)
        self.key_proj = nn.Linear(d_key, n_kv_heads * self.d_head, bias=bias)
        self.value_proj = nn.Linear(d_value, n_kv_heads * self.d_head, bias=bias)
        self.output_proj = nn.Linear(d_model, d_model, bias=bias)
        # As in BorrowedAttention: nn.Linear's own start shrinks vectors, and all scores would begin equal.
        for proj in (self.query_proj, self.key_proj, self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(proj.weight)
            if bias:
                nn.init.zeros_(proj.bias)

    def forward(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        mask: Tensor | None = None,
        *,
        is_causal: bool = False,
        score_bias: Tensor | None = None,
        rotary: str | None = None,
        head_gates: Tensor | None = None,
        cache: Cache | None = None,
        return_weights: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Attend from every token of ``query`` to every token of ``key``, with all heads.

        Parameters
        ----------
        query : Tensor of float, shape (batch, n_queries, d_model)
            What looks. Not modified.
        key : Tensor of float, shape (batch, n_keys, d_key), optional
            What it is compared with; ``query`` unless given (self-attention). Not modified.
        value : Tensor of float, shape (batch, n_keys, d_value), optional
            What contributes to the output; ``key`` unless given. Not modified.
        mask : Tensor of bool, optional
            True where a query may attend: shape (n_queries, n_keys), or (batch, n_heads, n_queries, n_keys);
            any of these axes may be 1. Three axes are refused, because the first could mean sequences or
            heads: write ``mask.unsqueeze(1)`` for one mask per sequence. Not modified.
        is_causal : bool, optional
            Whether to hide the future as well; the last query stands beside the last key.
        score_bias : Tensor of float, broadcastable to (batch, n_heads, n_queries, n_keys), optional
            Added to the scaled scores, in nats; three axes are (n_heads, n_queries, n_keys), as
            ``positions.alibi_bias`` makes them. Finite: keys are hidden by a mask. Not modified.
        rotary : {"half", "interleaved"} or None, optional
            Layout in which queries and keys are rotated by their position; the last query stands beside the
            last key.
        head_gates : Tensor of float, shape (n_heads,) or (batch, n_heads), optional
            Factor on each head's output before ``output_proj``: 0 switches a head off. It changes no weight.
            Not modified.
        cache : Cache, optional
            Keys and values of earlier calls. Those of this call are appended, and n_keys counts all that are
            then held: write the mask and ``score_bias`` for them. A cache that holds tokens may be read
            without adding any: pass a ``key`` of zero tokens.
        return_weights : bool, optional
            Whether to return the weights too (those that made the output, dropout included).

        Returns
        -------
        output : Tensor, shape (batch, n_queries, d_model)
            Mixtures of the values; the bias of ``output_proj`` alone where a query may attend nowhere.
        weights : Tensor, shape (batch, n_heads, n_queries, n_keys)
            Only with ``return_weights=True``: each row sums to 1, or to 0 where the mask allows no key.

        Raises
        ------
        TypeError
            If an argument is of the wrong kind or dtype.
        ValueError
            If the shapes do not fit, a float argument is empty or holds NaN, ``score_bias`` is infinite,
            ``rotary`` is unknown, ``rotary`` meets an odd d_head, ``value`` comes without ``key``, or the
            cache is full; the cache is then as it was.

        Notes
        -----
        Time O(n · d_model² + n_queries · n_keys · d_model) for n tokens that come in on both sides. Memory
        O(n · d_model) without the weights, and O(n_heads · n_queries · n_keys) more with them, with a
        ``score_bias``, or with dropout on the CPU.
        """
        if key is None:
            if value is not None:
                raise ValueError("value must come with key, got key=None and a value")
            key = query
        value = key if value is None else value
        if cache is not None and not hasattr(cache, "length"):
            raise TypeError(f"cache must be the cache of one layer, got cache of type {type(cache).__name__}")
        n_held = 0 if cache is None else cache.length
        self._check_inputs(query, key, value, n_held)
        n_queries, n_new = query.shape[1], key.shape[1]
        n_keys = n_held + n_new
        scores_shape = (len(query), self.n_heads, n_queries, n_keys)
        _check_extras(scores_shape, mask, score_bias, rotary, head_gates)

        query = split_heads(self.query_proj(query), self.n_heads)  # (batch, n_heads, n_queries, d_head)
        key = split_heads(self.key_proj(key), self.n_kv_heads)  # (batch, n_kv_heads, n_new, d_head)
        value = split_heads(self.value_proj(value), self.n_kv_heads)  # (batch, n_kv_heads, n_new, d_head)
        if rotary is not None:
            # The first key stands at 0; or the first query, where more queries come than keys.
            ahead = max(0, n_queries - n_keys) if cache is None else 0
            query = rotate(query, offset=n_keys - n_queries + ahead, layout=rotary)
            key = rotate(key, offset=n_held + ahead, layout=rotary) if n_new else key
        if cache is not None:
            key, value = cache.append(key, value)  # (batch, n_kv_heads, n_keys, d_head)
        # A single query stands beside the last key: no key lies in its future.
        is_causal = is_causal and n_queries > 1
        if return_weights:
            heads, weights = self._attend_explicitly(query, key, value, mask, is_causal, score_bias)
        else:
            heads = self._attend_fused(query, key, value, mask, is_causal, score_bias)
        if head_gates is not None:
            heads = heads * head_gates.to(heads.dtype)[..., None, None]
        output = self.output_proj(merge_heads(heads))  # (batch, n_queries, d_model)
        return (output, weights) if return_weights else output

    def _attend_explicitly(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        is_causal: bool,
        score_bias: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Return the heads' outputs and their weights, step by step as in chapter 4."""
        group = self.n_heads // self.n_kv_heads
        if group > 1:  # neighbours share: key-value head g serves heads g * group … (g + 1) * group - 1
            key, value = key.repeat_interleave(group, dim=1), value.repeat_interleave(group, dim=1)
        key = key.contiguous()  # each head's keys side by side: a transposed copy would take longer
        scores = query / math.sqrt(self.d_head) @ key.transpose(-2, -1)  # (batch, n_heads, n_queries, n_keys)
        if score_bias is not None:
            scores = scores + score_bias.to(scores.dtype)
        if is_causal:
            mask = _and_causal(mask, query, key)
        weights = F.dropout(masked_softmax_(scores, mask), self.dropout, self.training)
        return weights @ value, weights

    def _attend_fused(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        is_causal: bool,
        score_bias: Tensor | None,
    ) -> Tensor:
        """Return the heads' outputs from torch's kernel, which takes one mask, or its own causal one."""
        # torch aligns a causal mask top-left, we bottom-right: the same only with equal lengths.
        builtin_causal = is_causal and mask is None and score_bias is None and query.shape[2] == key.shape[2]
        if is_causal and not builtin_causal:
            mask = _and_causal(mask, query, key)
        if score_bias is not None:
            score_bias = score_bias.to(query.dtype)
            mask = score_bias if mask is None else score_bias.masked_fill(~mask, -math.inf)
        return F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=mask,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=builtin_causal,
            enable_gqa=self.n_kv_heads < self.n_heads,
        )

    def _check_inputs(self, query: Tensor, key: Tensor, value: Tensor, n_held: int) -> None:
        arrays = {"query": (query, "d_model"), "key": (key, "d_key"), "value": (value, "d_value")}
        for name, (array, what) in arrays.items():
            check_type(name, array, Tensor)
            # No keys are enough where a cache holds some; and the query is looked at once.
            nothing_new = n_held > 0 and array.is_floating_point() and array.shape[1:2] == (0,)
            if name == "query" or not (nothing_new or array is query):
                check_floats(name, array)
            if array.ndim != 3:
                raise ValueError(
                    f"{name} must have three axes (batch, tokens, {what}), "
                    f"got {name}.shape={tuple(array.shape)}"
                )
            check_last_axis(name, array, getattr(self, what), what=what)
            check_same_axis("query", query, name, array, axis=0, what="batch size")
        check_same_axis("key", key, "value", value, axis=1, what="number of tokens")


def _and_causal(mask: Tensor | None, query: Tensor, key: Tensor) -> Tensor:
    """Return the causal mask, or where both it and ``mask`` allow."""
    causal = causal_mask(query.shape[-2], key.shape[-2], device=query.device)
    return causal if mask is None else mask & causal


def _check_extras(
    scores_shape: tuple[int, ...],
    mask: Tensor | None,
    score_bias: Tensor | None,
    rotary: str | None,
    head_gates: Tensor | None,
) -> None:
    """Check what may come with query, key and value.

    Raises
    ------
    ValueError
        If a shape does not fit.
    """
    if mask is not None:
        check_type("mask", mask, Tensor)
        if mask.ndim not in (2, 4):
            raise ValueError(
                "mask must have two axes (n_queries, n_keys) or four (batch, n_heads, n_queries, n_keys) "
                f"(one for each sequence: mask.unsqueeze(1)), got mask.shape={tuple(mask.shape)}"
            )
        check_mask(mask, scores_shape)
    if score_bias is not None:
        check_type("score_bias", score_bias, Tensor)
        check_floats("score_bias", score_bias)
        check_finite("score_bias", score_bias)
        if broadcast_shape(tuple(score_bias.shape), scores_shape) != scores_shape:
            raise ValueError(
                f"score_bias must broadcast to (batch, n_heads, n_queries, n_keys)={scores_shape}, "
                f"got score_bias.shape={tuple(score_bias.shape)}"
            )
    if rotary is not None:
        check_choice("rotary", rotary, ROTARY_LAYOUTS)
    if head_gates is not None:
        check_type("head_gates", head_gates, Tensor)
        check_floats("head_gates", head_gates, min_axes=1)
        if head_gates.shape not in (scores_shape[1:2], scores_shape[:2]):
            raise ValueError(
                f"head_gates must have shape (n_heads,)={scores_shape[1:2]} or "
                f"(batch, n_heads)={scores_shape[:2]}, got head_gates.shape={tuple(head_gates.shape)}"
            )
