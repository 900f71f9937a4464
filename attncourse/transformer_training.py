"""What a Transformer is trained with: smoothed labels, a rate that warms up; and each layer's gradient.

Built in chapter 8.
"""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from attncourse._checks import check_count, check_number
from attncourse.seq2seq import sequence_loss
from attncourse.tasks.pairs import PADDING


def label_smoothed_loss(logits: Tensor, target: Tensor, *, smoothing: float = 0.1) -> Tensor:
    r"""Return the cross-entropy to targets of which a small share is spread over the whole vocabulary.

    .. math:: \ell = \frac{1}{N} \sum_{y_t \ne \text{padding}} \left[ -(1 - \varepsilon) \ln p(y_t)
        - \frac{\varepsilon}{V} \sum_{v=1}^{V} \ln p(v) \right]

    Parameters
    ----------
    logits : Tensor of float, shape (batch, n_target, vocab_size)
        Unnormalised log-probabilities, in nats. Not modified.
    target : Tensor of int64, shape (batch, n_target)
        Target tokens, their ``END`` included, padded with ``PADDING``. Not modified.
    smoothing : float
        The share ε, from 0 (``sequence_loss``) to 1 (excluded).

    Returns
    -------
    Tensor, shape ()
        Nats per token, over the N real tokens of the batch together.

    Raises
    ------
    TypeError
        If ``target`` is not a tensor of integers, or ``smoothing`` not a number.
    ValueError
        If the shapes do not fit, there is no real token, or ``smoothing`` is out of range.

    Notes
    -----
    The share is spread over all V tokens, the right one and padding included, as in
    ``F.cross_entropy(label_smoothing=)``. The least possible loss is the entropy of the smoothed target, not
    zero: a model is compared by ``sequence_loss``. Built in chapter 8.

    References
    ----------
    Szegedy et al., "Rethinking the Inception architecture for computer vision", CVPR 2016, section 7;
    Vaswani et al., "Attention is all you need", NeurIPS 2017, section 5.4.
    """
    check_number("smoothing", smoothing, at_least=0, below=1)
    to_the_target = sequence_loss(logits, target)
    log_p = logits.log_softmax(dim=-1)[target != PADDING]  # (n_real, vocab_size)
    return (1 - smoothing) * to_the_target - smoothing * log_p.mean()


def inverse_sqrt_rate(step: int, *, d_model: int, warmup_steps: int) -> float:
    r"""Return the learning rate of the paper: a linear rise, then a fall with the root of the step.

    .. math:: \eta(s) = d_{model}^{-1/2} \, \min\!\left(s^{-1/2}, s \, w^{-3/2}\right)

    Parameters
    ----------
    step : int
        The step s, counted from 1.
    d_model : int
        Features of a token's vector.
    warmup_steps : int
        Steps w of warm-up; the peak :math:`(d_{\text{model}}\, w)^{-1/2}` is at step w.

    Returns
    -------
    float
        The learning rate.

    Raises
    ------
    TypeError
        If an argument is not an integer.
    ValueError
        If an argument is below 1.

    Notes
    -----
    Built in chapter 8.

    References
    ----------
    Vaswani et al., "Attention is all you need", NeurIPS 2017, section 5.3, equation 3.
    """
    check_count("step", step)
    check_count("d_model", d_model)
    check_count("warmup_steps", warmup_steps)
    return d_model**-0.5 * min(step**-0.5, step * warmup_steps**-1.5)


def inverse_sqrt_schedule(warmup_steps: int) -> Callable[[int, float], float]:
    r"""Return the shape of ``inverse_sqrt_rate``, 1 at its peak, for ``train(schedule=…)``.

    .. math:: f(s) = \min\!\left(\sqrt{w / s}, s / w\right)

    Parameters
    ----------
    warmup_steps : int
        Steps w of warm-up; with 1 the rate starts at its peak.

    Returns
    -------
    callable (step, progress) -> float
        The factor on the peak learning rate, at a step counted from 0 as ``train`` does (s is one more).
        The progress is not used: the paper's rate does not know when training will end.

    Raises
    ------
    TypeError
        If ``warmup_steps`` is not an integer.
    ValueError
        If ``warmup_steps`` is below 1.

    Notes
    -----
    With ``learning_rate=inverse_sqrt_rate(w, d_model=…, warmup_steps=w)``, the peak, training follows the
    paper's rate step by step. Built in chapter 8.

    References
    ----------
    Vaswani et al., "Attention is all you need", NeurIPS 2017, section 5.3, equation 3.
    """
    check_count("warmup_steps", warmup_steps)

    def factor(step: int, progress: float) -> float:
        return min(math.sqrt(warmup_steps / (step + 1)), (step + 1) / warmup_steps)

    return factor


def layer_gradient_norms(layers: Iterable[nn.Module]) -> tuple[float, ...]:
    r"""Return how long the gradient of each layer is, over all its parameters, after ``backward()``.

    .. math:: g_i = \sqrt{\sum_{\theta \in \text{layer } i}
        \left\lVert \frac{\partial \ell}{\partial \theta} \right\rVert^2}

    Parameters
    ----------
    layers : iterable of nn.Module
        The layers, such as ``model.encoder.layers``. Not modified.

    Returns
    -------
    tuple of float
        One norm for each layer, in the order given.

    Raises
    ------
    ValueError
        If there are no layers, or a layer has no gradient.

    Notes
    -----
    Frozen parameters have no gradient and do not count. Built in chapter 8.
    """
    norms = []
    for place, layer in enumerate(layers):
        gradients = [parameter.grad for parameter in layer.parameters() if parameter.grad is not None]
        if not gradients:
            raise ValueError(
                f"layers must have gradients (call backward() first), got layers[{place}] without any"
            )
        norms.append(torch.stack([gradient.norm() for gradient in gradients]).norm().item())
    if not norms:
        raise ValueError("layers must not be empty, got no layer")
    return tuple(norms)
