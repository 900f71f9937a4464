"""The course's multi-head layer in other libraries' clothes: weights and masks, there and back.

Built in chapter 14. Arrays are all it exchanges with Keras: Keras is not imported here.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from attncourse._checks import check_mask, check_type
from attncourse.multihead import MultiHeadAttention

KERAS_ORDER = ("query", "key", "value", "output")


def to_torch(layer: MultiHeadAttention) -> nn.MultiheadAttention:
    r"""Copy a layer into ``nn.MultiheadAttention``, batch first.

    .. math:: W_{\text{in}} = [W^Q; W^K; W^V] \in \mathbb{R}^{3 d_{\text{model}} \times d_{\text{model}}}

    Parameters
    ----------
    layer : MultiHeadAttention
        What is copied: weights, dropout, dtype, device, and training or evaluation mode. Not modified.

    Returns
    -------
    nn.MultiheadAttention
        The same function of (query, key, value), with weights of its own. Three matrices lie in one,
        ``in_proj_weight``, unless key or value have sizes of their own.

    Raises
    ------
    TypeError
        If ``layer`` is of another type.
    ValueError
        If heads share their keys and values: torch's layer has no such heads.

    Notes
    -----
    What differs in the call: key and value must be given, masks say who may *not* attend
    (``to_torch_mask``), causal attention needs a mask (``is_causal=True`` beside it takes its place where no
    weights are asked for), the weights come back unless ``need_weights=False`` and are averaged over the
    heads unless ``average_attn_weights=False``. A query that may attend nowhere gets NaN with weights, and
    without them too for self-attention in ``eval()`` without gradients, if the number of heads is even. Time
    and memory O(d_model²). Built in chapter 14.
    """
    check_type("layer", layer, MultiHeadAttention)
    if layer.n_kv_heads != layer.n_heads:
        raise ValueError(
            f"layer must have as many key-value heads as heads, got n_kv_heads={layer.n_kv_heads}, "
            f"n_heads={layer.n_heads}"
        )
    projections = _projections(layer)
    bias = layer.output_proj.bias is not None
    module = nn.MultiheadAttention(
        layer.d_model,
        layer.n_heads,
        dropout=layer.dropout,
        bias=bias,
        kdim=layer.d_key,
        vdim=layer.d_value,
        batch_first=True,
        device=layer.output_proj.weight.device,
        dtype=layer.output_proj.weight.dtype,
    ).train(layer.training)
    weights, biases = _torch_parameters(module)
    with torch.no_grad():
        for weight, proj in zip(weights, projections, strict=True):
            weight.copy_(proj.weight)
        for other, proj in zip(biases, projections if bias else (), strict=True):
            other.copy_(proj.bias)
    return module


def from_torch(module: nn.MultiheadAttention) -> MultiHeadAttention:
    """Copy ``nn.MultiheadAttention`` into a layer of the course, the inverse of ``to_torch``.

    Parameters
    ----------
    module : nn.MultiheadAttention
        What is copied: weights, dropout, dtype, device, and training or evaluation mode. Not modified.

    Returns
    -------
    MultiHeadAttention
        The same function of (query, key, value). Its inputs are (batch, tokens, features), also where those
        of ``module`` are (tokens, batch, features), which is torch's default.

    Raises
    ------
    TypeError
        If ``module`` is of another type.
    ValueError
        If ``module`` was made with ``add_bias_kv`` or ``add_zero_attn``: both add a key that no token has.

    Notes
    -----
    Time and memory O(d_model²). Built in chapter 14.
    """
    check_type("module", module, nn.MultiheadAttention)
    for name, used in (
        ("add_bias_kv", module.bias_k is not None),
        ("add_zero_attn", module.add_zero_attn),
    ):
        if used:
            raise ValueError(f"module must be made without {name}, got {name}=True")
    bias = module.in_proj_bias is not None
    layer = MultiHeadAttention(
        module.embed_dim,
        module.num_heads,
        d_key=module.kdim,
        d_value=module.vdim,
        bias=bias,
        dropout=module.dropout,
    )
    layer.to(module.out_proj.weight).train(module.training)
    weights, biases = _torch_parameters(module)
    projections = _projections(layer)
    with torch.no_grad():
        for proj, weight in zip(projections, weights, strict=True):
            proj.weight.copy_(weight)
        for proj, other in zip(projections if bias else (), biases, strict=True):
            proj.bias.copy_(other)
    return layer


def to_torch_mask(mask: Tensor, scores_shape: Sequence[int]) -> Tensor:
    r"""Turn a mask into the ``attn_mask`` of ``nn.MultiheadAttention``: inverted, and with sizes in full.

    .. math:: m'_{b H + h,\, i,\, j} = \lnot\, m_{b, h, i, j}

    Parameters
    ----------
    mask : Tensor of bool, shape (n_queries, n_keys) or (batch, n_heads, n_queries, n_keys)
        True where a query may attend; any axis may be 1. Not modified.
    scores_shape : sequence of four int
        (batch, n_heads, n_queries, n_keys).

    Returns
    -------
    Tensor of bool, shape (n_queries, n_keys) or (batch · n_heads, n_queries, n_keys)
        True where a query may *not* attend. The heads of the first sequence come first.

    Raises
    ------
    TypeError
        If ``mask`` is not a boolean tensor.
    ValueError
        If ``mask`` has neither two nor four axes, or does not broadcast to ``scores_shape``.

    Notes
    -----
    Padding alone needs less memory as ``key_padding_mask=~mask[:, 0, 0]`` of shape (batch, n_keys). Memory
    O(batch · n_heads · n_queries · n_keys) for four axes. Built in chapter 14.
    """
    batch, n_heads, n_queries, n_keys = _check_scores_mask(mask, scores_shape)
    if mask.ndim == 2:
        return ~mask.expand(n_queries, n_keys)
    # Torch's layer knows three axes: sequences and heads share the first.
    return ~mask.expand(batch, n_heads, n_queries, n_keys).flatten(0, 1)


def to_mask_mod(mask: Tensor, scores_shape: Sequence[int]) -> Callable[..., Tensor]:
    """Turn a mask into the ``mask_mod`` of FlexAttention: a function from four indices to True or False.

    Parameters
    ----------
    mask : Tensor of bool, shape (n_queries, n_keys) or (batch, n_heads, n_queries, n_keys)
        True where a query may attend; any axis may be 1. Read at every call of the result. Not modified.
    scores_shape : sequence of four int
        (batch, n_heads, n_queries, n_keys).

    Returns
    -------
    callable
        From (sequence, head, query, key), tensors of int, to a tensor of bool, True = may attend. It is what
        ``torch.nn.attention.flex_attention.create_block_mask`` asks for.

    Raises
    ------
    TypeError
        If ``mask`` is not a boolean tensor.
    ValueError
        If ``mask`` has neither two nor four axes, or does not broadcast to ``scores_shape``.

    Notes
    -----
    A rule such as ``lambda b, h, i, j: j <= i`` needs no mask in memory and is the reason for FlexAttention;
    this is for masks that exist already. No copy: axes of length 1 are views. Built in chapter 14.
    """
    shape = _check_scores_mask(mask, scores_shape)
    full = mask.expand(shape)

    def mask_mod(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return full[batch, head, query, key]

    return mask_mod


def keras_weights(layer: MultiHeadAttention) -> list[np.ndarray]:
    r"""Copy a layer's weights in the order and the shapes of ``keras.layers.MultiHeadAttention``.

    .. math:: W^{Q\prime}_{i,h,j} = W^Q_{h \, d_{\text{head}} + j,\; i}, \qquad
        W^{O\prime}_{h,j,i} = W^O_{i,\; h \, d_{\text{head}} + j}

    Parameters
    ----------
    layer : MultiHeadAttention
        Where the weights come from. Not modified.

    Returns
    -------
    list of ndarray
        Kernel and bias of query, key, value and output, in this order, as ``get_weights()`` returns and
        ``set_weights()`` takes them once the Keras layer is built. Kernels are (features in, heads, d_head)
        and, for the output, (n_heads, d_head, d_model); biases (heads, d_head) and (d_model,). Without bias
        the four kernels alone.

    Raises
    ------
    TypeError
        If ``layer`` is of another type.

    Notes
    -----
    The Keras layer is made by ``MultiHeadAttention(n_heads, key_dim=d_head)``: ``key_dim`` is the size of one
    head. With fewer key-value heads than heads it is ``GroupQueryAttention(d_head, n_heads, n_kv_heads)``, of
    the same order and shapes. Its call takes (query, *value*, key). Time and memory O(d_model²). Built in
    chapter 14.
    """
    check_type("layer", layer, MultiHeadAttention)
    arrays = []
    for proj in _projections(layer)[:3]:
        arrays.append(proj.weight.T.unflatten(1, (-1, layer.d_head)))  # (features in, heads, d_head)
        if proj.bias is not None:
            arrays.append(proj.bias.unflatten(0, (-1, layer.d_head)))  # (heads, d_head)
    arrays.append(layer.output_proj.weight.T.unflatten(0, (-1, layer.d_head)))  # (n_heads, d_head, d_model)
    if layer.output_proj.bias is not None:
        arrays.append(layer.output_proj.bias)
    return [array.detach().cpu().contiguous().clone().numpy() for array in arrays]


def from_keras_weights(weights: Sequence[np.ndarray], *, dropout: float = 0.0) -> MultiHeadAttention:
    """Make a layer from the weights of a Keras layer, the inverse of ``keras_weights``.

    Parameters
    ----------
    weights : sequence of 4 or 8 ndarray
        What ``get_weights()`` of a ``keras.layers.MultiHeadAttention`` or ``GroupQueryAttention`` returns:
        kernel (and bias) of query, key, value and output. Not modified.
    dropout : float, optional
        Probability of dropping each weight in training mode; arrays do not hold it.

    Returns
    -------
    MultiHeadAttention
        The same function of (query, key, value), in the dtype of the arrays.

    Raises
    ------
    TypeError
        If an array is not of float16, float32 or float64, or ``dropout`` is not a number.
    ValueError
        If there are not 4 or 8 arrays, their shapes do not fit each other, or the Keras layer has a size that
        this one cannot have: a ``key_dim`` other than d_model / n_heads, a ``value_dim`` other than
        ``key_dim``, an ``output_shape`` other than d_model.

    Notes
    -----
    A gated Keras layer (``use_gate=True``) has 5 or 10 arrays and is refused. Time and memory O(d_model²).
    Built in chapter 14.
    """
    arrays = list(weights)
    if len(arrays) not in (4, 8):
        raise ValueError(f"weights must be 4 arrays, or 8 with biases, got len(weights)={len(arrays)}")
    for number, array in enumerate(arrays):
        check_type(f"weights[{number}]", array, np.ndarray)
        if array.dtype.kind != "f":
            raise TypeError(f"weights[{number}] must be of a NumPy floating dtype, got dtype={array.dtype}")
    kernels, biases = (arrays[::2], arrays[1::2]) if len(arrays) == 8 else (arrays, [])
    d_model, n_heads = _check_kernels(kernels)
    for name, bias, kernel in zip(KERAS_ORDER, biases, kernels, strict=False):  # without biases, none
        _check_shape(f"the {name} bias", bias, kernel.shape[2 if name == "output" else 1 :])
    layer = MultiHeadAttention(
        d_model,
        n_heads,
        n_kv_heads=kernels[1].shape[1],
        d_key=kernels[1].shape[0],
        d_value=kernels[2].shape[0],
        bias=bool(biases),
        dropout=dropout,
    )
    tensors = [torch.from_numpy(np.array(kernel)) for kernel in kernels]
    layer.to(tensors[0].dtype)
    matrices = [tensor.flatten(1).T for tensor in tensors[:3]] + [tensors[3].flatten(0, 1).T]
    with torch.no_grad():
        for proj, matrix in zip(_projections(layer), matrices, strict=True):
            proj.weight.copy_(matrix)
        for proj, bias in zip(_projections(layer) if biases else (), biases, strict=True):
            proj.bias.copy_(torch.from_numpy(np.array(bias)).flatten())
    return layer


def _projections(layer: MultiHeadAttention) -> tuple[nn.Linear, ...]:
    """Return the four projections in the order in which both libraries keep them."""
    return layer.query_proj, layer.key_proj, layer.value_proj, layer.output_proj


def _torch_parameters(module: nn.MultiheadAttention) -> tuple[list[Tensor], list[Tensor]]:
    """Return views of the weights and the biases of query, key, value and output."""
    if module.in_proj_weight is not None:
        weights = list(module.in_proj_weight.chunk(3))
    else:  # key or value have a size of their own
        weights = [module.q_proj_weight, module.k_proj_weight, module.v_proj_weight]
    biases = [] if module.in_proj_bias is None else [*module.in_proj_bias.chunk(3), module.out_proj.bias]
    return [*weights, module.out_proj.weight], biases


def _check_scores_mask(mask: Tensor, scores_shape: Sequence[int]) -> tuple[int, ...]:
    """Require a mask of two or four axes that fits the scores, and return their shape.

    Raises
    ------
    ValueError
        If it has another number of axes, or the shapes do not fit.
    """
    check_type("mask", mask, Tensor)
    if mask.ndim not in (2, 4):
        raise ValueError(
            "mask must have two axes (n_queries, n_keys) or four (batch, n_heads, n_queries, n_keys), "
            f"got mask.shape={tuple(mask.shape)}"
        )
    shape = tuple(scores_shape)
    if len(shape) != 4:
        raise ValueError(
            f"scores_shape must be (batch, n_heads, n_queries, n_keys), got scores_shape={shape}"
        )
    check_mask(mask, shape)
    return shape


def _check_kernels(kernels: list[np.ndarray]) -> tuple[int, int]:
    """Require kernels that our layer can hold, and return d_model and n_heads.

    Raises
    ------
    ValueError
        If they have another number of axes, or sizes that only Keras's layer can have.
    """
    for name, kernel in zip(KERAS_ORDER, kernels, strict=True):
        if kernel.ndim != 3:
            raise ValueError(f"the {name} kernel must have three axes, got shape={kernel.shape}")
    query, key, value, output = kernels
    d_model, n_heads, d_head = query.shape
    if n_heads * d_head != d_model:
        raise ValueError(
            f"key_dim must be d_model / n_heads, got key_dim={d_head}, d_model={d_model}, n_heads={n_heads}"
        )
    if value.shape[2] != d_head:
        raise ValueError(f"value_dim must be key_dim={d_head}, got value_dim={value.shape[2]}")
    if output.shape[2] != d_model:
        raise ValueError(f"output_shape must be d_model={d_model}, got output_shape={output.shape[2]}")
    n_kv_heads = key.shape[1]
    _check_shape("the key kernel", key, (key.shape[0], n_kv_heads, d_head))
    _check_shape("the value kernel", value, (value.shape[0], n_kv_heads, d_head))
    _check_shape("the output kernel", output, (n_heads, d_head, d_model))
    return d_model, n_heads


def _check_shape(name: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise ValueError(f"{name} must have shape={shape}, got shape={array.shape}")
