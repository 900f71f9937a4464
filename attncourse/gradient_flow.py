"""How much of a gradient arrives: measured by autograd, and predicted from the recurrent matrix."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from attncourse._checks import check_array


def gradient_by_distance(
    layer: Callable[[Tensor], Tensor], inputs: Tensor, direction: Tensor | None = None
) -> Tensor:
    r"""Measure how strongly the last output reacts to the input that lies D steps back.

    .. math::
        g_D = \left\lVert \frac{\partial L}{\partial x_{n-D}} \right\rVert,
        \qquad L = u^\top h_n, \quad D = 0, \dots, n - 1

    Parameters
    ----------
    layer : callable Tensor -> Tensor
        Maps inputs of shape (batch, n_tokens, d_input) to outputs of shape (batch, n_tokens, d_output).
        Each sequence of the batch must be treated on its own.
    inputs : Tensor, shape (batch, n_tokens, d_input)
        Where to measure; not modified. Take float64: float32 underflows near 1e-45.
    direction : Tensor, shape (d_output,), optional
        The vector u; by default all entries are equal and the length is one.

    Returns
    -------
    Tensor, shape (batch, n_tokens)
        Gradient norms; entry ``[b, D]`` belongs to distance D, so that 0 is the last input itself.

    Raises
    ------
    TypeError
        If ``inputs`` is not a tensor.
    ValueError
        If ``inputs`` has fewer than three axes, or the layer's outputs do not have one vector per input.

    Notes
    -----
    One forward and one backward pass. Built in chapter 1.
    """
    check_array("inputs", inputs, min_axes=3)
    probe = inputs.detach().clone().requires_grad_()
    outputs = layer(probe)
    if outputs.shape[:-1] != inputs.shape[:-1]:
        raise ValueError(
            "layer must return one output vector per input, "
            f"got inputs.shape={tuple(inputs.shape)}, outputs.shape={tuple(outputs.shape)}"
        )
    last = outputs[:, -1]  # (batch, d_output)
    if direction is None:
        direction = torch.full_like(last[0], last.shape[-1] ** -0.5)
    (gradient,) = torch.autograd.grad((last @ direction).sum(), probe)
    return gradient.norm(dim=-1).flip(-1)  # (batch, n_tokens)


@dataclass(frozen=True)
class RecurrentGrowth:
    """Hold two growth rates of a recurrent matrix, as factors per step.

    Parameters
    ----------
    spectral_radius : float
        Largest absolute eigenvalue: the rate that powers of the matrix approach in the long run.
    largest_singular_value : float
        Largest factor by which one step can lengthen any vector: never exceeded.
    """

    spectral_radius: float
    largest_singular_value: float


def recurrent_growth(weight_hh: Tensor) -> RecurrentGrowth:
    r"""Predict from the recurrent matrix how a gradient grows or shrinks per step back in time.

    For :math:`h_t = \tanh(W h_{t-1} + \dots)` a gradient that travels D steps is multiplied by D factors
    :math:`W^\top \operatorname{diag}(1 - h_t^2)`. Hence its norm is at most :math:`\sigma_{max}(W)^D`, and
    near :math:`h = 0` it follows :math:`\lVert W^D \rVert \approx \rho(W)^D`.

    Parameters
    ----------
    weight_hh : Tensor, shape (d_hidden, d_hidden)
        Recurrent matrix W; not modified.

    Returns
    -------
    RecurrentGrowth
        Spectral radius and largest singular value.

    Raises
    ------
    TypeError
        If ``weight_hh`` is not a tensor.
    ValueError
        If it is not one square matrix.

    Notes
    -----
    O(d_hidden³) operations. Built in chapter 1.

    References
    ----------
    Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks", ICML 2013,
    section 2.1.
    """
    check_array("weight_hh", weight_hh, min_axes=2)
    if weight_hh.ndim != 2 or weight_hh.shape[0] != weight_hh.shape[1]:
        raise ValueError(f"weight_hh must be a square matrix, got weight_hh.shape={tuple(weight_hh.shape)}")
    matrix = weight_hh.detach()
    return RecurrentGrowth(
        spectral_radius=torch.linalg.eigvals(matrix).abs().max().item(),
        largest_singular_value=torch.linalg.matrix_norm(matrix, ord=2).item(),
    )
