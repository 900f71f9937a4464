"""Checker: a loss for hard attention with five faults, to be mended."""

import torch

from attncourse.exercises._exercise import Exercise, Mistake, Property, normal


def _loss(
    cost,
    picked,
    probabilities,
    real,
    usual,
    *,
    charge="after",
    stop=True,
    baseline="usual",
    everywhere=False,
    blind=False,
    mute=False,
):
    log_p = (picked * probabilities).sum(dim=-1).log()
    log_p = log_p.detach() if mute else log_p
    counted = cost if blind else cost * real
    if charge == "after":
        rest = counted.flip(1).cumsum(dim=1).flip(1)
    elif charge == "before":
        rest = counted.cumsum(dim=1)
    else:
        rest = counted.sum(dim=1, keepdim=True).expand_as(cost)
        rest = rest - counted.cumsum(dim=1) if charge == "later" else rest
    rest = rest.detach() if stop else rest
    if baseline == "own":
        usual = (picked * rest.unsqueeze(-1)).mean()
    elif baseline == "mean":
        usual = rest.mean(dim=0)
    loss = cost + (rest - usual) * log_p
    return loss.mean() if everywhere else (loss * real).sum() / real.sum()


def _like(**choices):
    return lambda *inputs: _loss(*inputs, **choices)


def _as_given(cost, picked, probabilities, real, usual):
    return _loss(
        cost,
        picked,
        probabilities,
        real,
        usual,
        charge="before",
        stop=False,
        baseline="own",
        everywhere=True,
        blind=True,
    )


def _captions_alike(*inputs):
    """Average over the words of each caption, then over the captions."""
    rows = zip(*inputs[:4], strict=True)
    return torch.stack([_loss(*(one[None] for one in row), inputs[4]) for row in rows]).mean()


def _by_loops(cost, picked, probabilities, real, usual):
    total = 0.0
    for i in range(cost.shape[0]):
        for t in range(int(real[i].sum())):
            rest = sum(cost[i, later].item() for later in range(t, cost.shape[1]) if real[i, later])
            chosen = probabilities[i, t][picked[i, t].argmax()]
            total = total + cost[i, t] + (rest - usual[t]) * chosen.log()
    return total / real.sum()


def _run(answer, inputs):
    leaves = {name: inputs[name].clone().requires_grad_() for name in ("cost", "probabilities")}
    loss = answer(*(leaves.get(name, value) for name, value in inputs.items()))
    gradients = torch.autograd.grad(loss, tuple(leaves.values()), materialize_grads=True)
    return {
        "the loss": loss.detach(),
        "its gradient for cost": gradients[0],
        "its gradient for probabilities": gradients[1],
    }


def _properties(rng):
    def inputs(batch, lengths, n_cells, *, usual=True):
        n_words = max(lengths)
        p = normal(rng, batch, n_words, n_cells).softmax(dim=-1)
        drawn = torch.from_numpy(rng.integers(n_cells, size=(batch, n_words)))
        return {
            "cost": normal(rng, batch, n_words).abs() + 0.2,
            "picked": torch.nn.functional.one_hot(drawn, n_cells).to(p.dtype),
            "probabilities": p,
            "real": torch.arange(n_words) < torch.tensor(lengths)[:, None],
            "usual": normal(rng, n_words).abs() + 0.5 if usual else torch.zeros(n_words),
        }

    return [
        Property("captions of one word, usual cost zero", [inputs(3, (1, 1, 1), 4, usual=False)], 1),
        Property("captions of one word", [inputs(3, (1, 1, 1), 4)], 1),
        Property("several words", [inputs(3, (4, 4, 4), 5)], 1.5),
        Property("captions of different lengths", [inputs(4, (2, 5, 3, 4), 6)], 1.5),
    ]


EXERCISE = Exercise(
    reference=_loss,
    properties=_properties,
    run=_run,
    mistakes=[
        Mistake(
            "the code as given", "This does what the given code does; all faults are still in it.", _as_given
        ),
        Mistake(
            "charged with the words before",
            "A choice is charged with the words before it and its own. It cannot change the former, and "
            "those after it, which it can change, are missing.",
            _like(charge="before"),
        ),
        Mistake(
            "its own word left out",
            "A choice is charged with the words after its own alone. What was read is used for this very "
            "word, so its cost belongs to the sum.",
            _like(charge="later"),
        ),
        Mistake(
            "charged with the whole caption",
            "A choice is charged with the words before it too. On average that changes nothing, but the "
            "gradient varies more, and the text asks for the words from t on.",
            _like(charge="all"),
        ),
        Mistake(
            "the reward differentiated",
            "The cost in front of ln p still carries a gradient: the words' costs get a second one, times "
            "ln p.",
            _like(stop=False),
        ),
        Mistake(
            "a baseline of the same choices",
            "The baseline is still made from this batch's own choices and costs. It depends on what was "
            "drawn, and the gradient is biased.",
            _like(baseline="own"),
        ),
        Mistake(
            "the batch's mean as the baseline",
            "The baseline is the mean cost of this batch, which holds the cost of the very choice that is "
            "judged. The page hands in one from earlier batches.",
            _like(baseline="mean"),
        ),
        Mistake(
            "nothing reaches the choices",
            "The loss has the right value, but the logarithm of the probability has lost its gradient "
            "together with the cost in front of it. So no choice is ever trained.",
            _like(mute=True),
        ),
        Mistake(
            "padding in the mean",
            "The padded places are still counted in the mean over the words.",
            _like(everywhere=True),
        ),
        Mistake(
            "padding charged to the choices",
            "The mean leaves out the padding, but the cost to go of a real word still includes that of "
            "padded places.",
            _like(blind=True),
        ),
        Mistake(
            "padding not taken out",
            "Padded places still count twice: in the mean over the words, and in the cost to go of the real "
            "words before them.",
            _like(everywhere=True, blind=True),
        ),
        Mistake(
            "padding summed, divided by the words",
            "The sum runs over padded places too, and only its divisor counts the real words.",
            lambda *inputs: _loss(*inputs, everywhere=True) * inputs[3].numel() / inputs[3].sum(),
        ),
        Mistake(
            "a mean for each caption",
            "Each caption's mean was taken first, then the mean of these. A word of a short caption then "
            "counts more than one of a long caption.",
            _captions_alike,
        ),
    ],
    see=(11, "Hard attention: pick one"),
    variants={"in loops": _by_loops},
)
