r"""Attention whose score is a product of features: a sum over the keys that can be kept instead of the keys.

The price is the softmax: weights are positive and sum to 1 as before, but are far less able to single out one
key. Everything here has a quadratic form, ``linear_attention_weights``, that it equals exactly.

Built in chapter 15.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from attncourse._checks import check_count, check_floats, check_type
from attncourse.attention import check_attention
from attncourse.masks import causal_mask


class LinearState(NamedTuple):
    r"""Hold what linear attention needs to know of all tokens read so far.

    .. math:: S = \sum_j \phi(k_j) v_j^\top, \qquad z = \sum_j \phi(k_j)

    Parameters
    ----------
    sums : Tensor, shape (..., d_head, d_value)
        S, in float32 or better.
    total : Tensor, shape (..., d_head)
        z, in float32 or better.

    Notes
    -----
    Its size does not depend on how many tokens it stands for. Built in chapter 15.

    References
    ----------
    .. [1] Katharopoulos et al. (2020), "Transformers are RNNs: fast autoregressive Transformers with linear
       attention", section 3.4, equations 16–20.
    """

    sums: Tensor
    total: Tensor

    @property
    def n_bytes(self) -> int:
        """Return the bytes of both tensors."""
        return self.sums.nbytes + self.total.nbytes


def elu_features(x: Tensor) -> Tensor:
    r"""Map every number to a positive one: linear above zero, exponential below.

    .. math:: \phi(x) = \operatorname{elu}(x) + 1 =
        \begin{cases} x + 1 & x > 0 \\ e^x & x \le 0 \end{cases}

    Parameters
    ----------
    x : Tensor of float
        Queries or keys. Not modified.

    Returns
    -------
    Tensor, shape and dtype of ``x``
        Positive numbers, of the same order as ``x``.

    Raises
    ------
    TypeError
        If ``x`` is not a tensor of floats.
    ValueError
        If ``x`` is empty or holds NaN.

    Notes
    -----
    Adding 1 to ``F.elu`` would round to 0 below -17 in float32, and the weights could be 0 / 0. Built in
    chapter 15.

    References
    ----------
    .. [1] Katharopoulos et al. (2020), section 3.2.1, equation 7.
    """
    check_type("x", x, Tensor)
    check_floats("x", x, min_axes=1)
    return _features(x)


def _features(x: Tensor) -> Tensor:
    # The branch that is not taken must not overflow, or its gradient would be 0 · inf.
    return torch.where(x > 0, x + 1, x.clamp(max=0).exp())


def linear_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    *,
    is_causal: bool = False,
    block_size: int = 64,
) -> Tensor:
    r"""Attend with weights proportional to products of features, without making them.

    .. math:: o_i = \frac{\phi(q_i)^\top \sum_j \phi(k_j) v_j^\top}{\phi(q_i)^\top \sum_j \phi(k_j)},
        \qquad \phi(x) = \operatorname{elu}(x) + 1

    Parameters
    ----------
    query : Tensor of float, shape (..., n_queries, d_head)
        What is compared. Not modified.
    key : Tensor of float, shape (..., n_keys, d_head)
        What it is compared with. Not modified.
    value : Tensor of float, shape (..., n_keys, d_value)
        What contributes to the output. Not modified.
    mask : Tensor of bool, broadcastable to (..., 1, n_keys), optional
        True where a key may be seen, as from ``masks.padding_mask``. It is the same for every query: the
        sums over the keys are shared. Not modified.
    is_causal : bool, optional
        Whether to hide the future as well; the last query stands beside the last key.
    block_size : int, optional
        Tokens that the causal form works on together. It changes the time, and the result by rounding only.

    Returns
    -------
    Tensor, shape (..., n_queries, d_value)
        One mixture of the values for each query; zeros, with zero gradients, where it may attend nowhere.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind or the dtypes differ.
    ValueError
        If the shapes do not fit, an argument is empty or holds NaN, ``mask`` differs between queries, or
        ``block_size`` is below 1.

    Notes
    -----
    There is no factor on the scores. Half precision is summed in float32 and rounded once.
    Time O((n_queries + n_keys) · d_head · d_value), and O(n · block_size · (d_head + d_value)) more where it
    is causal; memory O(n · (d_head + d_value)), and with gradients O(n / block_size · d_head · d_value +
    n · block_size) more where it is causal. Built in chapter 15.

    References
    ----------
    .. [1] Katharopoulos et al. (2020), "Transformers are RNNs: fast autoregressive Transformers with linear
       attention", section 3.2, equations 4–7 and, for the causal form, section 3.3, equations 8–12.
    """
    _check_linear(query, key, value, mask)
    check_count("block_size", block_size)
    queries, keys, values = _prepare(query, key, value, mask)
    if not is_causal:
        return _divide(*_read(queries, _summarise(keys, values))).to(query.dtype)
    ahead = key.shape[-2] - query.shape[-2]
    # Keys before the first query are in the state it starts from; queries before the first key see nothing.
    state = _summarise(keys[..., : max(0, ahead), :], values[..., : max(0, ahead), :])
    queries, unseeing = queries[..., max(0, -ahead) :, :], queries[..., : max(0, -ahead), :]
    outputs = [_divide(*_read(unseeing, state))]
    pieces = (
        queries.split(block_size, dim=-2),
        keys[..., max(0, ahead) :, :].split(block_size, dim=-2),
        values[..., max(0, ahead) :, :].split(block_size, dim=-2),
    )
    for piece in zip(*pieces, strict=True):
        output, state = _step(*piece, state)
        outputs.append(output)
    return torch.cat(outputs, dim=-2).to(query.dtype)


def linear_attention_step(
    query: Tensor, key: Tensor, value: Tensor, state: LinearState | None = None
) -> tuple[Tensor, LinearState]:
    r"""Read the next tokens: causal linear attention as a recurrent network, whose state is two sums.

    .. math:: S_t = S_{t-1} + \phi(k_t) v_t^\top, \quad z_t = z_{t-1} + \phi(k_t), \quad
        o_t = \frac{\phi(q_t)^\top S_t}{\phi(q_t)^\top z_t}

    Parameters
    ----------
    query, key : Tensor of float, shape (..., n_new, d_head)
        Of the next tokens: one when writing, the prompt at the start. Not modified.
    value : Tensor of float, shape (..., n_new, d_value)
        Of the same tokens. Not modified.
    state : LinearState, optional
        What the call before returned; None before the first token. Not modified.

    Returns
    -------
    output : Tensor, shape (..., n_new, d_value)
        What the tokens read: all before them, and themselves.
    state : LinearState
        For the next call.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind or the dtypes differ.
    ValueError
        If the shapes do not fit, the numbers of queries and keys differ, or an argument is empty or holds
        NaN.

    Notes
    -----
    Time O(n_new · d_head · d_value + n_new² · (d_head + d_value)) and memory O(d_head · d_value + n_new²),
    however many tokens went before. Built in chapter 15.

    References
    ----------
    .. [1] Katharopoulos et al. (2020), section 3.4, equations 16–20.
    """
    _check_linear(query, key, value, None)
    if query.shape[-2] != key.shape[-2]:
        raise ValueError(
            "query and key must be of the same tokens, "
            f"got query.shape={tuple(query.shape)}, key.shape={tuple(key.shape)}"
        )
    queries, keys, values = _prepare(query, key, value, None)
    if state is None:
        state = _summarise(keys[..., :0, :], values[..., :0, :])
    else:
        check_type("state", state, LinearState)
        fitting = _summarise(keys[..., :0, :], values[..., :0, :])
        if state.sums.shape != fitting.sums.shape:
            raise ValueError(
                f"state must have sums of shape (..., d_head, d_value)={tuple(fitting.sums.shape)}, "
                f"got state.sums.shape={tuple(state.sums.shape)}"
            )
    output, state = _step(queries, keys, values, state)
    return output.to(query.dtype), state


def linear_attention_weights(
    query: Tensor, key: Tensor, mask: Tensor | None = None, *, is_causal: bool = False
) -> Tensor:
    r"""Return the weights that linear attention never makes: its quadratic form, to look at and to test.

    .. math:: a_{ij} = \frac{m_{ij} \, \phi(q_i)^\top \phi(k_j)}
        {\sum_{j'} m_{ij'} \, \phi(q_i)^\top \phi(k_{j'})}

    Parameters
    ----------
    query : Tensor of float, shape (..., n_queries, d_head)
        What is compared. Not modified.
    key : Tensor of float, shape (..., n_keys, d_head)
        What it is compared with. Not modified.
    mask : Tensor of bool, broadcastable to (..., n_queries, n_keys), optional
        True where a query may attend; here any mask will do. Not modified.
    is_causal : bool, optional
        Whether to hide the future as well; the last query stands beside the last key.

    Returns
    -------
    Tensor, shape (..., n_queries, n_keys)
        Weights. Each row sums to 1, or to 0 where a query may attend nowhere. ``weights @ value`` is what
        ``linear_attention`` returns.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind or the dtypes differ.
    ValueError
        If the shapes do not fit, or an argument is empty or holds NaN.

    Notes
    -----
    Time O(n_queries · n_keys · d_head), memory O(n_queries · n_keys). Built in chapter 15.

    References
    ----------
    .. [1] Katharopoulos et al. (2020), section 3.2, equation 4.
    """
    check_attention(query, key, key, mask)
    queries, keys, _ = _prepare(query, key, key, None)
    products = queries @ keys.transpose(-2, -1)  # (..., n_queries, n_keys)
    if is_causal:
        products = products * causal_mask(query.shape[-2], key.shape[-2], device=query.device)
    if mask is not None:
        products = products * mask
    return _divide(products, products.sum(dim=-1, keepdim=True)).to(query.dtype)


def _prepare(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return features of query and key, and the value, in float32 or better; hidden keys have no features."""
    precise = torch.promote_types(query.dtype, torch.float32)
    queries, keys, values = _features(query.to(precise)), _features(key.to(precise)), value.to(precise)
    if mask is not None:
        keys = keys.masked_fill(~torch.atleast_2d(mask).transpose(-2, -1), 0.0)
    return queries, keys, values


def _summarise(keys: Tensor, values: Tensor) -> LinearState:
    """Add up what the keys leave behind."""
    return LinearState(keys.transpose(-2, -1) @ values, keys.sum(dim=-2))


def _read(queries: Tensor, state: LinearState) -> tuple[Tensor, Tensor]:
    """Return numerator and denominator of what queries read from a state."""
    return queries @ state.sums, queries @ state.total.unsqueeze(-1)


def _step(queries: Tensor, keys: Tensor, values: Tensor, state: LinearState) -> tuple[Tensor, LinearState]:
    """Read a block of tokens: from the state what went before, and the block itself in the quadratic form."""
    numerator, denominator = _read(queries, state)
    products = (queries @ keys.transpose(-2, -1)).tril()  # (..., block, block)
    output = _divide(numerator + products @ values, denominator + products.sum(dim=-1, keepdim=True))
    new = _summarise(keys, values)
    return output, LinearState(state.sums + new.sums, state.total + new.total)


def _divide(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Divide, and return 0 for 0 / 0: a query that may attend nowhere."""
    return numerator / denominator.masked_fill(denominator == 0, 1.0)


def _check_linear(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> None:
    check_attention(query, key, value, mask)
    if mask is not None and mask.ndim > 1 and mask.shape[-2] != 1:
        raise ValueError(
            "mask must be the same for every query, of shape (..., 1, n_keys), "
            f"got mask.shape={tuple(mask.shape)}"
        )
