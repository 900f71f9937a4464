"""The parts that a Transformer's layers are made of besides attention: norm, feed-forward, and their wiring.

Built in chapter 8.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attncourse._checks import (
    check_array,
    check_choice,
    check_count,
    check_last_axis,
    check_number,
    check_type,
    dtype_name,
)

ACTIVATIONS = ("relu", "gelu", "gated")
WIRINGS = ("pre-norm", "post-norm", "no-residual", "no-norm")


def check_vectors(name: str, x: Tensor, d_model: int, *, n_axes: int | None = None) -> None:
    """Require a tensor of floats with ``d_model`` features, and with ``n_axes`` axes where that is given.

    Entries are not looked at: these checks run several times in every layer.

    Raises
    ------
    TypeError
        If ``x`` is not a tensor of floats.
    ValueError
        If it has another number of axes or of features.
    """
    check_type(name, x, Tensor)
    check_array(name, x)
    if not x.is_floating_point():
        raise TypeError(f"{name} must be floating point, got {name}.dtype={dtype_name(x)}")
    if n_axes is not None and x.ndim != n_axes:
        raise ValueError(f"{name} must have {n_axes} axes, got {name}.shape={tuple(x.shape)}")
    check_last_axis(name, x, d_model, what="d_model")


class LayerNorm(nn.Module):
    r"""Give every token's vector mean 0 and variance 1 over its features, then a learned scale and shift.

    .. math::
        y = \gamma \odot \frac{x - \mu}{\sqrt{\sigma^2 + \varepsilon}} + \beta, \qquad
        \mu = \frac{1}{d} \sum_{i=1}^{d} x_i, \quad
        \sigma^2 = \frac{1}{d} \sum_{i=1}^{d} (x_i - \mu)^2

    Parameters
    ----------
    d_model : int
        Features of a vector.
    epsilon : float, optional
        Added to the variance, under the root; above 0. Vectors that vary much less than its root shrink.

    Raises
    ------
    TypeError
        If ``d_model`` is not an integer or ``epsilon`` not a number.
    ValueError
        If ``d_model`` is below 1 or ``epsilon`` not above 0.

    Notes
    -----
    The scale γ is the parameter ``weight`` and the shift β the parameter ``bias``, as in ``nn.LayerNorm``.
    Built in chapter 8.

    References
    ----------
    .. [1] Ba, Kiros and Hinton (2016), "Layer normalization", section 3, equation 3.
    """

    def __init__(self, d_model: int, *, epsilon: float = 1e-5) -> None:
        super().__init__()
        check_count("d_model", d_model)
        check_number("epsilon", epsilon, above=0)
        self.d_model = d_model
        self.epsilon = epsilon
        self.weight = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each vector by itself: no other token, and no other sequence, has a part in it.

        Parameters
        ----------
        x : Tensor of float, shape (..., d_model)
            Vectors. Not modified.

        Returns
        -------
        Tensor, shape and dtype of ``x``
            Normalised vectors; mean and variance are float32 or better in any case.

        Raises
        ------
        TypeError
            If ``x`` is not a tensor of floats.
        ValueError
            If its last axis is not ``d_model``.

        Notes
        -----
        Time and memory O(d_model) for each vector.
        """
        check_vectors("x", x, self.d_model)
        # In float16 the square of 300 is infinite, and that of 0.0001 is 0.
        precise = x.to(torch.promote_types(x.dtype, torch.float32))
        # Centre before squaring: mean(x²) - mean(x)² would lose all digits where the mean is large. Centre
        # twice: the first mean of numbers near 1000 is rounded too, and features may vary by little more
        # than that. No shift changes the result, so no gradient needs to pass through the first.
        shifted = precise - precise.detach().mean(dim=-1, keepdim=True)
        centred = shifted - shifted.mean(dim=-1, keepdim=True)
        variance = centred.square().mean(dim=-1, keepdim=True)  # (..., 1)
        normal = centred * (variance + self.epsilon).rsqrt()  # (..., d_model)
        return (normal * self.weight + self.bias).to(x.dtype)

    def extra_repr(self) -> str:
        """Return the arguments, for ``print(model)``."""
        return f"{self.d_model}, epsilon={self.epsilon}"


class FeedForward(nn.Module):
    r"""Work on every token's vector by itself: widen it, bend it, and narrow it again.

    .. math::
        \text{relu, gelu:} \quad f(x) = \phi(x W^1 + b^1)\, W^2 + b^2, \qquad
        \text{gated:} \quad f(x) = \left(\operatorname{SiLU}(x W^g) \odot x W^1\right) W^2

    Parameters
    ----------
    d_model : int
        Features of a vector, before and after.
    d_ff : int
        Features between the projections.
    activation : {"relu", "gelu", "gated"}, optional
        ReLU, GELU, or SwiGLU: a second projection decides, through SiLU(z) = z · sigmoid(z), how much of each
        of the first one's features passes. With three matrices instead of two, the last has as many
        parameters as the others with two thirds of their ``d_ff``.
    dropout : float, optional
        Probability of dropping each wide feature in training mode; the others grow by ``1 / (1 - dropout)``.

    Raises
    ------
    TypeError
        If a size is not an integer or ``dropout`` not a number.
    ValueError
        If a size is below 1, ``activation`` is unknown, or ``dropout`` is outside [0, 1).

    Notes
    -----
    As in the papers, the gated form has no biases. Built in chapter 8.

    References
    ----------
    .. [1] Vaswani et al. (2017), section 3.3, equation 2.
    .. [2] Hendrycks and Gimpel (2016), "Gaussian error linear units (GELUs)", section 2.
    .. [3] Shazeer (2020), "GLU variants improve Transformer", section 2, equation 6.
    """

    def __init__(self, d_model: int, d_ff: int, *, activation: str = "relu", dropout: float = 0.0) -> None:
        super().__init__()
        check_count("d_model", d_model)
        check_count("d_ff", d_ff)
        check_choice("activation", activation, ACTIVATIONS)
        check_number("dropout", dropout, at_least=0, below=1)
        self.d_model, self.d_ff = d_model, d_ff
        self.activation = activation
        self.dropout = dropout
        bias = activation != "gated"
        self.inner_proj = nn.Linear(d_model, d_ff, bias=bias)
        self.gate_proj = nn.Linear(d_model, d_ff, bias=bias) if activation == "gated" else None
        self.output_proj = nn.Linear(d_ff, d_model, bias=bias)
        # As in MultiHeadAttention: nn.Linear's own start shrinks vectors.
        for name, parameter in self.named_parameters():
            if name.endswith("weight"):
                nn.init.xavier_uniform_(parameter)
            else:
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """Map each vector to a new one, the same way at every token.

        Parameters
        ----------
        x : Tensor of float, shape (..., d_model)
            Vectors. Not modified.

        Returns
        -------
        Tensor, shape (..., d_model)
            New vectors.

        Raises
        ------
        TypeError
            If ``x`` is not a tensor of floats.
        ValueError
            If its last axis is not ``d_model``.

        Notes
        -----
        Time O(d_model · d_ff) and memory O(d_ff) for each vector.
        """
        check_vectors("x", x, self.d_model)
        inner = self.inner_proj(x)  # (..., d_ff)
        if self.gate_proj is not None:
            inner = F.silu(self.gate_proj(x)) * inner
        else:
            inner = F.relu(inner) if self.activation == "relu" else F.gelu(inner)
        return self.output_proj(F.dropout(inner, self.dropout, self.training))  # (..., d_model)

    def extra_repr(self) -> str:
        """Return the arguments, for ``print(model)``."""
        return f"{self.d_model}, {self.d_ff}, activation={self.activation!r}, dropout={self.dropout}"


class Sublayer(nn.Module):
    r"""Wire a function of vectors into a layer: with a residual path around it, a norm, and dropout.

    .. math::
        \begin{aligned}
        \text{pre-norm:}    & \quad y = x + f(\operatorname{norm}(x)) \\
        \text{post-norm:}   & \quad y = \operatorname{norm}(x + f(x)) \\
        \text{no-residual:} & \quad y = f(\operatorname{norm}(x)) \\
        \text{no-norm:}     & \quad y = x + f(x)
        \end{aligned}

    Parameters
    ----------
    d_model : int
        Features of a vector.
    wiring : {"pre-norm", "post-norm", "no-residual", "no-norm"}, optional
        Which of the formulas; the last two leave a part out, to measure what it was for.
    dropout : float, optional
        Probability of dropping each entry of f(…) in training mode, before it is added; the others grow by
        ``1 / (1 - dropout)``.

    Raises
    ------
    TypeError
        If ``d_model`` is not an integer or ``dropout`` not a number.
    ValueError
        If ``d_model`` is below 1, ``wiring`` is unknown, or ``dropout`` is outside [0, 1).

    Notes
    -----
    ``norm`` is a ``LayerNorm``, or None without a norm. Built in chapter 8.

    References
    ----------
    .. [1] Vaswani et al. (2017), section 3.1 (post-norm) and section 5.4 (dropout).
    .. [2] Xiong et al. (2020), "On layer normalization in the Transformer architecture", figure 1 (pre-norm).
    """

    def __init__(self, d_model: int, *, wiring: str = "pre-norm", dropout: float = 0.0) -> None:
        super().__init__()
        check_count("d_model", d_model)
        check_choice("wiring", wiring, WIRINGS)
        check_number("dropout", dropout, at_least=0, below=1)
        self.d_model = d_model
        self.wiring = wiring
        self.dropout = dropout
        self.norm = None if wiring == "no-norm" else LayerNorm(d_model)

    def forward(self, x: Tensor, function: Callable[[Tensor], Tensor | tuple]) -> Tensor | tuple:
        """Apply ``function`` where the wiring wants it.

        Parameters
        ----------
        x : Tensor of float, shape (..., d_model)
            Vectors. Not modified.
        function : callable
            From vectors to vectors of the same shape; called once. It may return a tuple whose first entry
            are the vectors, such as ``(output, weights)``: what follows them is handed on as it is.

        Returns
        -------
        Tensor, shape of ``x``, or tuple
            New vectors; a tuple of them and what else ``function`` returned, where it returned a tuple.

        Raises
        ------
        TypeError
            If ``x`` is not a tensor of floats.
        ValueError
            If its last axis is not ``d_model``, or ``function`` returns vectors of another shape.

        Notes
        -----
        Time and memory of ``function``, and O(d_model) for each vector.
        """
        check_vectors("x", x, self.d_model)
        result = function(self.norm(x) if self.wiring in ("pre-norm", "no-residual") else x)
        output, *others = result if isinstance(result, tuple) else (result,)
        if output.shape != x.shape:  # adding would broadcast in silence
            raise ValueError(
                f"function must return vectors of x.shape={tuple(x.shape)}, got shape {tuple(output.shape)}"
            )
        output = F.dropout(output, self.dropout, self.training)
        if self.wiring != "no-residual":
            output = x + output
        if self.wiring == "post-norm":
            output = self.norm(output)
        return (output, *others) if isinstance(result, tuple) else output

    def extra_repr(self) -> str:
        """Return the arguments, for ``print(model)``."""
        return f"{self.d_model}, wiring={self.wiring!r}, dropout={self.dropout}"
