"""One plain training loop for every chapter: seeded, with a budget in steps or in CPU seconds."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from attncourse._checks import check_count, check_number

FINAL_FRACTION = 0.1
DEFAULT_WARMUP_STEPS = 50


@dataclass(frozen=True)
class Evaluation:
    """Hold one evaluation: after how many steps, after how many CPU seconds of training, and its value."""

    step: int
    cpu_seconds: float
    value: float


@dataclass(frozen=True)
class History:
    """Hold what happened during one call of ``train``.

    Parameters
    ----------
    losses : tuple of float
        Loss of every step, before its update.
    gradient_norms : tuple of float
        Norm of the whole gradient at every step, before clipping.
    learning_rates : tuple of float
        Learning rate used at every step.
    evaluations : tuple of Evaluation
        Results of ``evaluate``; the last one follows the last step.
    cpu_seconds : float
        CPU time of training, without the evaluations, in seconds.
    steps : int
        Updates made.
    diverged_at : int or None
        Step at which the loss or the gradient stopped being finite; that step made no update.
    """

    losses: tuple[float, ...]
    gradient_norms: tuple[float, ...]
    learning_rates: tuple[float, ...]
    evaluations: tuple[Evaluation, ...]
    cpu_seconds: float
    steps: int
    diverged_at: int | None


def set_seed(seed: int) -> None:
    """Seed torch's global generator, which initialises parameters and draws dropout.

    Parameters
    ----------
    seed : int
        The seed. Data do not depend on it: tasks take their own ``numpy.random.Generator``.

    Raises
    ------
    TypeError
        If ``seed`` is not an integer.
    ValueError
        If ``seed`` is negative.
    """
    check_count("seed", seed, at_least=0)
    torch.manual_seed(seed)


def learning_rate_factor(step: int, progress: float, warmup_steps: int) -> float:
    r"""Return the factor on the learning rate: linear warm-up times cosine decay to one tenth.

    .. math::
        \min\!\left(1, \frac{s + 1}{w}\right)
        \left(0.1 + 0.9\,\frac{1 + \cos(\pi p)}{2}\right)

    Parameters
    ----------
    step : int
        Step s, counted from 0.
    progress : float
        Share p of the budget that is spent, from 0 to 1.
    warmup_steps : int
        Steps w of warm-up; 0 switches it off.

    Returns
    -------
    float
        The factor, at most 1.
    """
    warmup = min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
    cosine = (1 + math.cos(math.pi * min(progress, 1.0))) / 2
    return warmup * (FINAL_FRACTION + (1 - FINAL_FRACTION) * cosine)


def train(
    model: nn.Module,
    next_batch: Callable[[], Any],
    loss_fn: Callable[[nn.Module, Any], Tensor],
    *,
    steps: int | None = None,
    cpu_seconds: float | None = None,
    learning_rate: float,
    warmup_steps: int | None = None,
    schedule: Callable[[int, float], float] | None = None,
    clip_norm: float | None = 1.0,
    weight_decay: float = 0.0,
    evaluate: Callable[[nn.Module], float] | None = None,
    evaluate_every: int | None = None,
    progress: bool = False,
) -> History:
    """Train a model with AdamW, in place, until its budget is spent or its loss is no longer finite.

    Parameters
    ----------
    model : nn.Module
        The model; its parameters are updated, and it is left in training mode.
    next_batch : callable () -> batch
        Returns the next training batch.
    loss_fn : callable (model, batch) -> Tensor
        Returns the loss of one batch, a scalar.
    steps : int, optional
        Budget in updates. Give either this or ``cpu_seconds``.
    cpu_seconds : float, optional
        Budget in CPU seconds of this process, over all threads, without the evaluations.
    learning_rate : float
        Peak learning rate; with ``schedule``, the rate that its factors multiply.
    warmup_steps : int, optional
        Steps of linear warm-up, 50 unless given; a cosine decay to one tenth lies over them. Not together
        with ``schedule``, which has its own beginning.
    schedule : callable (step, progress) -> float, optional
        Factor on the learning rate, not negative, in place of warm-up and cosine: ``step`` counts from 0,
        ``progress`` is the share of the budget spent, from 0 to 1 (1 excluded).
    clip_norm : float or None
        Longer gradients are scaled down to this norm; None switches clipping off.
    weight_decay : float
        AdamW's decoupled weight decay.
    evaluate : callable (model) -> float, optional
        Called in evaluation mode, without gradients, after the last step and every ``evaluate_every`` steps.
    evaluate_every : int, optional
        Steps between evaluations.
    progress : bool
        Show a progress bar on stderr.

    Returns
    -------
    History
        Losses, gradient norms, learning rates, evaluations and what was spent.

    Raises
    ------
    TypeError
        If a number has the wrong type.
    ValueError
        If not exactly one budget is given, a number is out of range, ``evaluate_every`` comes without
        ``evaluate`` or ``warmup_steps`` with ``schedule``, or a factor of ``schedule`` is negative or not
        finite.

    Notes
    -----
    A budget of CPU seconds compares models fairly but is not reproducible to the last digit; a budget of
    steps is, on one machine. Used from chapter 1 on.

    References
    ----------
    Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019 (AdamW); Pascanu, Mikolov and
    Bengio, "On the difficulty of training recurrent neural networks", ICML 2013, algorithm 1 (clipping).
    """
    if (steps is None) == (cpu_seconds is None):
        raise ValueError(
            f"steps or cpu_seconds must be given, and not both, got steps={steps}, cpu_seconds={cpu_seconds}"
        )
    if steps is not None:
        check_count("steps", steps)
    if cpu_seconds is not None:
        check_number("cpu_seconds", cpu_seconds, above=0)
    check_number("learning_rate", learning_rate, above=0)
    if schedule is not None and warmup_steps is not None:
        raise ValueError(f"warmup_steps must be left out with a schedule, got warmup_steps={warmup_steps}")
    warmup_steps = DEFAULT_WARMUP_STEPS if warmup_steps is None else warmup_steps
    check_count("warmup_steps", warmup_steps, at_least=0)
    if clip_norm is not None:
        check_number("clip_norm", clip_norm, above=0)
    check_number("weight_decay", weight_decay, at_least=0)
    if evaluate_every is not None:
        check_count("evaluate_every", evaluate_every)
        if evaluate is None:
            raise ValueError(
                f"evaluate must be given with evaluate_every, got evaluate_every={evaluate_every}"
            )

    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(
        parameters, lr=learning_rate, betas=(0.9, 0.98), weight_decay=weight_decay, fused=True
    )
    losses: list[float] = []
    gradient_norms: list[float] = []
    learning_rates: list[float] = []
    evaluations: list[Evaluation] = []
    spent = 0.0
    diverged_at = None

    def spent_share() -> float:
        return len(losses) / steps if steps is not None else spent / cpu_seconds

    def rate_factor(step: int, share: float) -> float:
        if schedule is None:
            return learning_rate_factor(step, share, warmup_steps)
        factor = schedule(step, share)
        check_number(f"schedule({step}, {share:g})", factor, at_least=0, below=math.inf)
        return float(factor)

    model.train()
    with tqdm(total=1.0, disable=not progress, bar_format="{l_bar}{bar}| {elapsed} {postfix}") as bar:
        while spent_share() < 1:
            started = time.process_time()
            step = len(losses)
            factor = rate_factor(step, spent_share())
            optimiser.param_groups[0]["lr"] = learning_rate * factor
            optimiser.zero_grad()
            loss = loss_fn(model, next_batch())
            loss.backward()
            # An infinite bound leaves the gradient as it is and still returns its norm.
            norm = nn.utils.clip_grad_norm_(parameters, math.inf if clip_norm is None else clip_norm)
            if not (math.isfinite(loss.item()) and math.isfinite(norm.item())):
                diverged_at = step
                spent += time.process_time() - started
                break
            optimiser.step()
            spent += time.process_time() - started

            losses.append(loss.item())
            gradient_norms.append(norm.item())
            learning_rates.append(learning_rate * factor)
            bar.set_postfix_str(f"loss {losses[-1]:.3f}", refresh=False)
            bar.update(min(spent_share(), 1.0) - bar.n)
            if evaluate is not None and evaluate_every is not None and len(losses) % evaluate_every == 0:
                evaluations.append(Evaluation(len(losses), spent, _evaluate(model, evaluate)))
    if evaluate is not None and (not evaluations or evaluations[-1].step != len(losses)):
        evaluations.append(Evaluation(len(losses), spent, _evaluate(model, evaluate)))
    return History(
        losses=tuple(losses),
        gradient_norms=tuple(gradient_norms),
        learning_rates=tuple(learning_rates),
        evaluations=tuple(evaluations),
        cpu_seconds=spent,
        steps=len(losses),
        diverged_at=diverged_at,
    )


def _evaluate(model: nn.Module, evaluate: Callable[[nn.Module], float]) -> float:
    """Call ``evaluate`` in evaluation mode and without gradients, then return to training mode."""
    model.eval()
    with torch.no_grad():
        value = float(evaluate(model))
    model.train()
    return value
