"""The five steps of attention in plain NumPy: the specification that all other code must match.

Built in chapter 2.
"""

import numpy as np

from attncourse._checks import (
    check_array,
    check_finite,
    check_floats,
    check_leading_axes,
    check_mask,
    check_same_axis,
    check_same_dtype,
    dtype_name,
)


def embed(tokens: np.ndarray, table: np.ndarray) -> np.ndarray:
    r"""Look up one vector for each token: step 1, the input representation.

    .. math:: x_i = E_{t_i}

    Parameters
    ----------
    tokens : ndarray of int, shape (..., n_tokens)
        Indices into the rows of ``table``. Not modified.
    table : ndarray of float, shape (vocab_size, d_model)
        One row for each token of the vocabulary. Not modified.

    Returns
    -------
    ndarray, shape (..., n_tokens, d_model)
        The rows that the tokens name.

    Raises
    ------
    TypeError
        If ``tokens`` are not integers or ``table`` is not floating point.
    ValueError
        If an index lies outside the table, or ``table`` is empty or holds NaN.

    Notes
    -----
    Time and memory O(n_tokens · d_model). Built in chapter 2.
    """
    check_array("tokens", tokens)
    check_floats("table", table)
    if not np.issubdtype(tokens.dtype, np.integer):
        raise TypeError(f"tokens must be integers, got tokens.dtype={dtype_name(tokens)}")
    if tokens.size and not 0 <= tokens.min() <= tokens.max() < len(table):
        raise ValueError(
            f"tokens must lie in 0 … {len(table) - 1} (the rows of table), "
            f"got tokens from {tokens.min()} to {tokens.max()}"
        )
    return table[tokens]


def project(
    inputs: np.ndarray, query_proj: np.ndarray, key_proj: np.ndarray, value_proj: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""Give each input its three roles: step 2, queries, keys and values.

    .. math:: Q = X W^Q, \quad K = X W^K, \quad V = X W^V

    Parameters
    ----------
    inputs : ndarray of float, shape (..., n_tokens, d_model)
        The input representation. Not modified.
    query_proj, key_proj : ndarray of float, shape (d_model, d_head)
        Matrices that make queries and keys. Not modified.
    value_proj : ndarray of float, shape (d_model, d_value)
        Matrix that makes values. Not modified.

    Returns
    -------
    query, key : ndarray, shape (..., n_tokens, d_head)
        What is compared, and what it is compared with.
    value : ndarray, shape (..., n_tokens, d_value)
        What contributes to the output.

    Raises
    ------
    TypeError
        If an argument is not floating point.
    ValueError
        If the sizes do not fit, or an argument is empty or holds NaN.

    Notes
    -----
    Time O(n_tokens · d_model · (2 d_head + d_value)). Built in chapter 2.

    References
    ----------
    .. [1] Vaswani et al. (2017), section 3.2.2.
    """
    check_floats("inputs", inputs)
    for name, matrix in (("query_proj", query_proj), ("key_proj", key_proj), ("value_proj", value_proj)):
        check_floats(name, matrix)
        if matrix.shape[-2] != inputs.shape[-1]:
            raise ValueError(
                f"{name} must have as many rows as inputs has features, "
                f"got {name}.shape={matrix.shape}, inputs.shape={inputs.shape}"
            )
    check_same_axis("query_proj", query_proj, "key_proj", key_proj, axis=-1, what="last axis")
    return inputs @ query_proj, inputs @ key_proj, inputs @ value_proj


def dot_product_scores(query: np.ndarray, key: np.ndarray, scale: float | None = None) -> np.ndarray:
    r"""Compare every query with every key: step 3, the scores.

    .. math:: s_{ij} = \text{scale} \cdot \sum_d q_{id} k_{jd},
        \qquad \text{scale} = 1 / \sqrt{d_{\text{head}}} \text{ unless given}

    Parameters
    ----------
    query : ndarray of float, shape (..., n_queries, d_head)
        What is compared. Not modified.
    key : ndarray of float, shape (..., n_keys, d_head)
        What it is compared with. Not modified.
    scale : float, optional
        Factor on every score; 1 gives the plain dot product.

    Returns
    -------
    ndarray, shape (..., n_queries, n_keys)
        Scores in nats: a difference of 1 between two scores makes one weight e times the other.

    Raises
    ------
    TypeError
        If an argument is not floating point, or the dtypes differ.
    ValueError
        If the last axes differ, or an argument is empty or holds NaN.

    Notes
    -----
    Time O(n_queries · n_keys · d_head). Built in chapter 2.

    References
    ----------
    .. [1] Vaswani et al. (2017), section 3.2.1, equation 1.
    """
    check_floats("query", query)
    check_floats("key", key)
    check_same_dtype("query", query, "key", key)
    check_same_axis("query", query, "key", key, axis=-1, what="last axis")
    check_leading_axes(query=query, key=key)
    if scale is None:
        scale = 1.0 / np.sqrt(query.shape[-1]).item()
    return (query * scale) @ np.swapaxes(key, -1, -2)  # (..., n_queries, n_keys)


def masked_softmax(scores: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    r"""Turn each row of scores into weights: step 4, the distribution.

    .. math:: a_{ij} = \frac{m_{ij} \exp(s_{ij})}{\sum_{j'} m_{ij'} \exp(s_{ij'})}

    Parameters
    ----------
    scores : ndarray of float, shape (..., n_queries, n_keys)
        Scores in nats. Not modified.
    mask : ndarray of bool, broadcastable to ``scores``, optional
        True where a query may attend. None allows every key. Not modified.

    Returns
    -------
    ndarray, shape (..., n_queries, n_keys)
        Weights. Each row sums to 1, or to 0 where the mask allows no key.

    Raises
    ------
    TypeError
        If ``scores`` are not floating point or ``mask`` is not boolean.
    ValueError
        If ``mask`` does not broadcast to ``scores``, or ``scores`` are empty, infinite or hold NaN.

    Notes
    -----
    The largest allowed score of a row is subtracted first, so that no exponential overflows.
    Time and memory O(n_queries · n_keys). Built in chapter 2.
    """
    check_floats("scores", scores)
    check_finite("scores", scores)
    if mask is None:
        mask = np.ones_like(scores, dtype=bool)
    check_mask(mask, scores.shape)
    allowed = np.where(mask, scores, -np.inf)
    largest = allowed.max(axis=-1, keepdims=True)
    # A row with nothing to attend to has -inf as its largest score; -inf - (-inf) would be NaN.
    unnormalised = np.exp(allowed - np.where(np.isneginf(largest), 0, largest))
    total = unnormalised.sum(axis=-1, keepdims=True)
    return unnormalised / np.where(total == 0, 1, total)


def weighted_sum(weights: np.ndarray, value: np.ndarray) -> np.ndarray:
    r"""Mix the values by their weights: step 5, the output.

    .. math:: o_i = \sum_j a_{ij} v_j

    Parameters
    ----------
    weights : ndarray of float, shape (..., n_queries, n_keys)
        One distribution over the keys for each query. Not modified.
    value : ndarray of float, shape (..., n_keys, d_value)
        What contributes to the output. Not modified.

    Returns
    -------
    ndarray, shape (..., n_queries, d_value)
        One mixture of the values for each query.

    Raises
    ------
    TypeError
        If an argument is not floating point, or the dtypes differ.
    ValueError
        If there are not as many weights in a row as values, or an argument is empty or holds NaN.

    Notes
    -----
    Time O(n_queries · n_keys · d_value). Built in chapter 2.
    """
    check_floats("weights", weights)
    check_floats("value", value)
    check_same_dtype("weights", weights, "value", value)
    check_leading_axes(weights=weights, value=value)
    if weights.shape[-1] != value.shape[-2]:
        raise ValueError(
            "weights must have one entry per row of value on its last axis, "
            f"got weights.shape={weights.shape}, value.shape={value.shape}"
        )
    return weights @ value  # (..., n_queries, d_value)


def attention(
    query: np.ndarray, key: np.ndarray, value: np.ndarray, mask: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    r"""Chain steps 3, 4 and 5: scaled dot-product attention.

    .. math:: \operatorname{softmax}\!\left(\frac{Q K^\top}{\sqrt{d_{\text{head}}}}\right) V

    Parameters
    ----------
    query : ndarray of float, shape (..., n_queries, d_head)
        What is compared. Not modified.
    key : ndarray of float, shape (..., n_keys, d_head)
        What it is compared with. Not modified.
    value : ndarray of float, shape (..., n_keys, d_value)
        What contributes to the output. Not modified.
    mask : ndarray of bool, broadcastable to (..., n_queries, n_keys), optional
        True where a query may attend. None allows every key. Not modified.

    Returns
    -------
    output : ndarray, shape (..., n_queries, d_value)
        One mixture of the values for each query; zeros where the mask allows no key.
    weights : ndarray, shape (..., n_queries, n_keys)
        The weights that made it.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind.
    ValueError
        If the shapes do not fit, or an argument is empty or holds NaN.

    Notes
    -----
    Time O(n_queries · n_keys · (d_head + d_value)). Built in chapter 2.

    References
    ----------
    .. [1] Vaswani et al. (2017), section 3.2.1, equation 1.
    """
    check_floats("key", key)
    check_floats("value", value)
    check_same_axis("key", key, "value", value, axis=-2, what="number of tokens")
    weights = masked_softmax(dot_product_scores(query, key), mask)
    return weighted_sum(weights, value), weights


def entropy(weights: np.ndarray) -> np.ndarray:
    r"""Measure how widely each row of weights is spread.

    .. math:: H_i = -\sum_j a_{ij} \ln a_{ij}, \qquad 0 \ln 0 = 0

    Parameters
    ----------
    weights : ndarray of float, shape (..., n_keys)
        Non-negative weights, each row summing to 1 (or to 0: then the entropy is 0). Not modified.

    Returns
    -------
    ndarray, shape (...)
        Entropy in nats: 0 for one certain key, ln(n_keys) for uniform weights.
        ``exp`` of it is the effective number of keys attended to.

    Raises
    ------
    TypeError
        If ``weights`` are not floating point.
    ValueError
        If a weight is negative, or ``weights`` are empty or hold NaN.

    Notes
    -----
    Built in chapter 2.
    """
    check_floats("weights", weights, min_axes=1)
    if (weights < 0).any():
        raise ValueError(f"weights must not be negative, got weights with minimum {weights.min()}")
    return -(weights * np.log(np.where(weights > 0, weights, 1))).sum(axis=-1)
