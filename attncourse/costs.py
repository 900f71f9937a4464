r"""What attention costs, counted instead of timed: operations, bytes, and how they grow.

FLOPs are floating-point operations of the matrix products: a multiply-add counts 2, as torch counts with
``torch.utils.flop_counter.FlopCounterMode``. Softmax, masks, biases, activations, norms and residual sums are
counted in neither. (Torch's count is 0 in its fused kernel for CPUs: switch that off beforehand, by
``sdpa_kernel(SDPBackend.MATH)``.)

Built in chapter 15.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from attncourse._checks import check_choice, check_count, check_number, check_type
from attncourse.transformer_parts import ACTIVATIONS


def count_pairs(n_queries: int, n_keys: int, *, is_causal: bool = False, window: int | None = None) -> int:
    r"""Count the pairs of a query and a key that a mask allows.

    .. math:: \text{all: } n_{\text{queries}} \, n_{\text{keys}}, \qquad
        \text{causal, equal lengths: } \tfrac{1}{2} n (n + 1)

    Parameters
    ----------
    n_queries, n_keys : int
        Tokens on both sides; the last query stands beside the last key.
    is_causal : bool, optional
        Whether the future is hidden.
    window : int, optional
        Keys that a query sees at most, in tokens; the future is hidden then too.

    Returns
    -------
    int
        Ones in ``masks.causal_mask`` or ``masks.window_mask``, without making it.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is below 1.

    Notes
    -----
    Time O(1). Built in chapter 15.
    """
    _check_sizes(n_queries=n_queries, n_keys=n_keys, window=n_keys if window is None else window)
    if window is None and not is_causal:
        return n_queries * n_keys
    # One query beside each key would see 1, 2, … n_keys keys, a triangle, and what lies before a window
    # is a triangle too; from both, the rows of the first n_keys - n_queries queries are missing.
    seen, too_far = n_keys, 0 if window is None else n_keys - window
    return _triangle(seen) - _triangle(seen - n_queries) - _triangle(too_far) + _triangle(too_far - n_queries)


def attention_flops(
    n_queries: int,
    n_keys: int,
    d_head: int,
    d_value: int | None = None,
    *,
    n_heads: int = 1,
    batch_size: int = 1,
    is_causal: bool = False,
    window: int | None = None,
) -> int:
    r"""Count the operations of the attention core: scores, and mixing the values.

    .. math:: 2 \, B \, H \, N_{\text{pairs}} \, (d_{\text{head}} + d_{\text{value}})

    Parameters
    ----------
    n_queries, n_keys : int
        Tokens on both sides.
    d_head : int
        Features of a query and of a key.
    d_value : int, optional
        Features of a value; ``d_head`` unless given.
    n_heads, batch_size : int, optional
        Heads H of the query, and sequences B. Key-value heads that are shared change nothing here.
    is_causal, window
        As in ``count_pairs``: what an implementation computes that leaves hidden pairs out. One that makes
        all scores and hides some computes as many as without a mask.

    Returns
    -------
    int
        FLOPs of one forward pass; a multiply-add counts 2. The softmax is not counted.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is below 1.

    Notes
    -----
    Built in chapter 15.
    """
    d_value = d_head if d_value is None else d_value
    _check_sizes(d_head=d_head, d_value=d_value, n_heads=n_heads, batch_size=batch_size)
    pairs = count_pairs(n_queries, n_keys, is_causal=is_causal, window=window)
    return 2 * batch_size * n_heads * pairs * (d_head + d_value)


@dataclass(frozen=True)
class LayerSizes:
    """Hold the sizes of a Transformer layer, named as its constructor names them.

    Parameters
    ----------
    d_model : int
        Features of a token's vector.
    n_heads : int, optional
        Heads of the query; it divides ``d_model``.
    n_kv_heads : int, optional
        Heads of key and value; it divides ``n_heads``. As many as heads unless given (multi-head attention);
        fewer are grouped, one is multi-query attention.
    d_ff : int, optional
        Features inside the feed-forward network; ``4 * d_model`` unless given.
    activation : {"relu", "gelu", "gated"}, optional
        As in ``FeedForward``.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is below 1, the heads do not divide, or ``activation`` is unknown.

    Notes
    -----
    Built in chapter 15.
    """

    d_model: int
    n_heads: int = 1
    n_kv_heads: int | None = None
    d_ff: int | None = None
    activation: str = "relu"

    def __post_init__(self) -> None:
        """Fill in what was not given, and check all.

        Raises
        ------
        ValueError
            If the heads do not divide.
        """
        _check_sizes(d_model=self.d_model, n_heads=self.n_heads)
        for name, default in (("n_kv_heads", self.n_heads), ("d_ff", 4 * self.d_model)):
            if getattr(self, name) is None:
                object.__setattr__(self, name, default)  # frozen: nobody may set it the ordinary way
        _check_sizes(n_kv_heads=self.n_kv_heads, d_ff=self.d_ff)
        check_choice("activation", self.activation, ACTIVATIONS)
        if self.d_model % self.n_heads:
            raise ValueError(f"n_heads must divide d_model={self.d_model}, got n_heads={self.n_heads}")
        if self.n_heads % self.n_kv_heads:
            raise ValueError(
                f"n_kv_heads must divide n_heads={self.n_heads}, got n_kv_heads={self.n_kv_heads}"
            )

    @property
    def d_head(self) -> int:
        """Return the features of one head."""
        return self.d_model // self.n_heads

    @property
    def d_kv(self) -> int:
        """Return ``n_kv_heads · d_head``, the features of all key heads together."""
        return self.n_kv_heads * self.d_head


def multihead_flops(
    sizes: LayerSizes, n_queries: int, n_keys: int, *, n_held: int = 0, batch_size: int = 1
) -> int:
    r"""Count the operations of ``MultiHeadAttention``: four projections and the core.

    .. math:: 4 B \left( n_{\text{queries}} \, d_{\text{model}}^2
        + (n_{\text{keys}} - n_{\text{held}}) \, d_{\text{model}} d_{\text{kv}}
        + n_{\text{queries}} \, n_{\text{keys}} \, d_{\text{model}} \right)

    Parameters
    ----------
    sizes : LayerSizes
        Of the layer; key and value come in with ``d_model`` features too.
    n_queries, n_keys : int
        Tokens on both sides, the cached ones among the keys.
    n_held : int, optional
        Keys that a cache holds, already projected; 0 … ``n_keys``.
    batch_size : int, optional
        Sequences B.

    Returns
    -------
    int
        FLOPs of one forward pass; a multiply-add counts 2. A mask saves nothing here.

    Raises
    ------
    TypeError
        If a number is not an integer.
    ValueError
        If a number is below 1 (``n_held``: 0), or ``n_held`` is above ``n_keys``.

    Notes
    -----
    The number of heads changes nothing unless they share keys. Built in chapter 15.
    """
    check_type("sizes", sizes, LayerSizes)
    core = attention_flops(n_queries, n_keys, sizes.d_head, n_heads=sizes.n_heads, batch_size=batch_size)
    check_count("n_held", n_held, at_least=0)
    if n_held > n_keys:
        raise ValueError(f"n_held must be at most n_keys={n_keys}, got n_held={n_held}")
    multiplied = n_queries * sizes.d_model**2 + (n_keys - n_held) * sizes.d_model * sizes.d_kv
    return 4 * batch_size * multiplied + core


def attention_bytes(
    sizes: LayerSizes, n_queries: int, n_keys: int, *, batch_size: int = 1, number_bytes: int = 4
) -> int:
    r"""Count the bytes of query, key, value and output of the core: what any way to compute it must move.

    .. math:: 2 b B \, (n_{\text{queries}} \, d_{\text{model}} + n_{\text{keys}} \, d_{\text{kv}})

    Parameters
    ----------
    sizes : LayerSizes
        Of the layer.
    n_queries, n_keys : int
        Tokens on both sides.
    batch_size : int, optional
        Sequences B.
    number_bytes : int, optional
        Bytes b of a number: 4 for float32, 2 for float16 and bfloat16.

    Returns
    -------
    int
        Bytes.

    Raises
    ------
    TypeError
        If a number is not an integer.
    ValueError
        If a number is below 1.

    Notes
    -----
    Built in chapter 15.
    """
    check_type("sizes", sizes, LayerSizes)
    _check_sizes(n_queries=n_queries, n_keys=n_keys, batch_size=batch_size, number_bytes=number_bytes)
    return 2 * number_bytes * batch_size * (n_queries * sizes.d_model + n_keys * sizes.d_kv)


def score_bytes(
    n_queries: int, n_keys: int, *, n_heads: int = 1, batch_size: int = 1, number_bytes: int = 4
) -> int:
    r"""Count the bytes of one matrix of scores for each head, or of one matrix of weights.

    .. math:: b \, B \, H \, n_{\text{queries}} \, n_{\text{keys}}

    Parameters
    ----------
    n_queries, n_keys : int
        Tokens on both sides.
    n_heads, batch_size : int, optional
        Heads of the query, and sequences.
    number_bytes : int, optional
        Bytes b of a number: 4 for float32, 2 for float16 and bfloat16.

    Returns
    -------
    int
        Bytes. An attention that makes scores and then weights holds both for a moment.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is below 1.

    Notes
    -----
    Built in chapter 15.
    """
    _check_sizes(
        n_queries=n_queries, n_keys=n_keys, n_heads=n_heads, batch_size=batch_size, number_bytes=number_bytes
    )
    return number_bytes * batch_size * n_heads * n_queries * n_keys


def cache_bytes(
    sizes: LayerSizes, n_tokens: int, *, n_layers: int = 1, batch_size: int = 1, number_bytes: int = 4
) -> int:
    r"""Count the bytes of the keys and values that a model keeps while it writes.

    .. math:: 2 \, b \, B \, L \, n \, H_{\text{kv}} \, d_{\text{head}}

    Parameters
    ----------
    sizes : LayerSizes
        Of each layer; ``n_kv_heads`` decides.
    n_tokens : int
        Tokens n that the caches have room for.
    n_layers : int, optional
        Layers L, each with a cache of its own.
    batch_size : int, optional
        Texts B side by side.
    number_bytes : int, optional
        Bytes b of a number: 4 for float32, 2 for float16 and bfloat16.

    Returns
    -------
    int
        Bytes, as the ``n_bytes`` of all caches together.

    Raises
    ------
    TypeError
        If a number is not an integer.
    ValueError
        If a number is below 1.

    Notes
    -----
    Built in chapter 15.

    References
    ----------
    .. [1] Shazeer (2019), "Fast transformer decoding: one write-head is all you need", section 3.
    .. [2] Ainslie et al. (2023), "GQA: training generalized multi-query transformer models", section 2.2.
    """
    check_type("sizes", sizes, LayerSizes)
    _check_sizes(n_tokens=n_tokens, n_layers=n_layers, batch_size=batch_size, number_bytes=number_bytes)
    return 2 * number_bytes * batch_size * n_layers * n_tokens * sizes.d_kv


def fit_exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    r"""Fit a power law to measured costs, and return its exponent.

    .. math:: \log y \approx \log c + a \log x, \qquad
        a = \frac{\sum_i (\log x_i - \overline{\log x}) (\log y_i - \overline{\log y})}
        {\sum_i (\log x_i - \overline{\log x})^2}

    Parameters
    ----------
    sizes : sequence of float
        Sizes x, above 0, at least two of them different. Not modified.
    values : sequence of float
        What was measured at each, above 0, in any unit. Not modified.

    Returns
    -------
    float
        The exponent a of y = c · xᵃ, by least squares on the logarithms: about 1 where twice the size costs
        twice as much, about 2 where it costs four times as much.

    Raises
    ------
    TypeError
        If an entry is not a number.
    ValueError
        If an entry is not above 0 or not finite, the lengths differ, or all sizes are equal.

    Notes
    -----
    A constant part of the cost pulls the exponent towards 0: measure at sizes where it no longer counts, or
    take it off first. Time O(number of sizes). Built in chapter 15.
    """
    if len(sizes) != len(values):
        raise ValueError(
            f"values must be as many as sizes ({len(sizes)}), got values of length {len(values)}"
        )
    for name, numbers in (("sizes", sizes), ("values", values)):
        for number in numbers:
            check_number(name, number, above=0, below=math.inf)
    if len(set(sizes)) < 2:
        raise ValueError(f"sizes must hold at least two different ones, got sizes={list(sizes)}")
    logarithms = ([math.log(number) for number in numbers] for numbers in (sizes, values))
    return statistics.linear_regression(*logarithms).slope


def _triangle(side: int) -> int:
    """Return 1 + 2 + … + side, and 0 for a side below 1."""
    return max(0, side) * (side + 1) // 2


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        check_count(name, size)
