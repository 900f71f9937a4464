"""Checker: the next token's probabilities, with padding at the right, a temperature and top-p."""

import torch

from attncourse.exercises._exercise import Exercise, Mistake, Property, normal
from attncourse.sampling import top_p_filter


def _reference(logits, lengths, temperature, p):
    last = logits[torch.arange(len(logits)), lengths - 1]
    return top_p_filter(last / temperature, p).softmax(dim=-1)


def _reading(output, inputs):
    """Put the probabilities of equal tokens in order: which of them goes is not asked."""
    equal = inputs["logits"].max() == inputs["logits"].min()
    return output.sort(dim=-1).values if equal and isinstance(output, torch.Tensor) else output


def _properties(rng):
    def case(lengths, temperature, p, scale=1.0):
        logits = scale * normal(rng, 4, 6, 9)
        return {"logits": logits, "lengths": torch.tensor(lengths), "temperature": temperature, "p": p}

    full, unequal = [6, 6, 6, 6], [3, 6, 1, 5]
    equal = {"logits": torch.zeros(2, 3, 8), "lengths": torch.tensor([2, 3]), "temperature": 1.0}
    return [
        Property("prompts of one length, nothing changed or cut", [case(full, 1.0, 1.0)], 1),
        Property("prompts of unequal lengths", [case(unequal, 1.0, 1.0)], 1),
        Property("a temperature", [case(full, 0.5, 1.0), case(full, 1.8, 1.0)], 1),
        Property("a cut", [case(full, 1.0, 0.5), case(full, 1.0, 0.8)], 1),
        Property(
            "a token that holds more than p alone", [case(full, 1.0, 0.05), case(full, 1.0, 0.3, 9.0)], 1
        ),
        Property("equal tokens that hold exactly p", [equal | {"p": 0.25}, equal | {"p": 0.5}], 0.5),
        Property("everything at once", [case(unequal, 0.6, 0.7), case(unequal, 1.7, 0.5)], 2),
    ]


def _sampler(
    *,
    last="length",
    temperature_first=True,
    power=None,
    crossing="kept",
    undo=True,
    rescaled=True,
    shares=True,
):
    """Return the sampler with some of its faults left in."""

    def next_probabilities(logits, lengths, temperature, p):
        where = {
            "length": lengths - 1,
            "column": torch.full_like(lengths, logits.shape[1] - 1),
            "one further": lengths.clamp(max=logits.shape[1] - 1),
        }[last]
        exponent = power(temperature) if power else 1 / temperature
        rule = logits[torch.arange(len(logits)), where].softmax(dim=-1)
        if temperature_first:
            rule = rule**exponent / ((rule**exponent).sum(dim=-1, keepdim=True) if shares else 1.0)
        ordered, order = rule.sort(dim=-1, descending=True)
        sums = ordered.cumsum(dim=-1)
        before = {"kept": sums - ordered, "cut": sums, "cut unless first": sums.clone()}[crossing]
        before[:, 0] = 0.0 if crossing == "cut unless first" else before[:, 0]
        reached = (before >= p if crossing == "kept" else before > p) & (p < 1)
        ordered = ordered.masked_fill(reached, 0.0)
        if not temperature_first:
            ordered = ordered**exponent
        if rescaled:
            ordered = ordered / ordered.sum(dim=-1, keepdim=True)
        return torch.zeros_like(ordered).scatter(1, order, ordered) if undo else ordered.gather(1, order)

    return next_probabilities


def _as_given(logits, lengths, temperature, p):
    ordered, order = logits[:, -1].softmax(dim=-1).sort(dim=-1, descending=True)
    ordered[ordered.cumsum(dim=-1) > p] = 0.0
    ordered = ordered**temperature
    return (ordered / ordered.sum(dim=-1, keepdim=True)).gather(1, order)


def _by_rows(logits, lengths, temperature, p):
    rows = []
    for row, length in zip(logits, lengths.tolist(), strict=True):
        probabilities = (row[length - 1] / temperature).softmax(dim=-1)
        kept, mass = torch.zeros_like(probabilities), 0.0
        for token in sorted(range(len(probabilities)), key=lambda i: -probabilities[i]):
            if mass < p or p == 1:
                kept[token] = probabilities[token]
            mass += probabilities[token].item()
        rows.append(kept / kept.sum())
    return torch.stack(rows)


EXERCISE = Exercise(
    reference=_reference,
    properties=_properties,
    reading=_reading,
    mistakes=[
        Mistake("nothing mended", "This is the code as it was given, with all its faults.", _as_given),
        Mistake(
            "logits of the padding",
            "It reads the last column for every row. In a shorter prompt that column is padding, and "
            "`lengths` is never used.",
            _sampler(last="column"),
            see=(9, "Stop tokens, and prompts of unequal length"),
        ),
        Mistake(
            "one place too far",
            "A prompt of n tokens has its last token at place n - 1; here the place after it is read.",
            _sampler(last="one further"),
            see=(9, "Stop tokens, and prompts of unequal length"),
        ),
        Mistake(
            "the crossing token is cut",
            "The token with which the sum passes p is dropped; a likeliest token that holds more than p "
            "leaves nothing at all.",
            _sampler(crossing="cut"),
        ),
        Mistake(
            "the crossing token is cut, unless it is the likeliest",
            "The likeliest token is kept now, but in other rows the token with which the sum passes p is "
            "still dropped: what is left holds less than p.",
            _sampler(crossing="cut unless first"),
        ),
        Mistake(
            "exponent upside down",
            "Probabilities are raised to the power T. That flattens below 1 and sharpens above, the reverse "
            "of a temperature.",
            _sampler(power=lambda temperature: temperature),
        ),
        Mistake(
            "sums of powers",
            "The powers of the probabilities are compared with p before they are made to sum to 1 again.",
            _sampler(shares=False),
        ),
        Mistake(
            "temperature after the cut",
            "The cut is made on the probabilities at temperature 1, so that the tokens kept hold another "
            "share than p of what is drawn from.",
            _sampler(temperature_first=False),
        ),
        Mistake(
            "sorted order not undone",
            "The probabilities are right and belong to the wrong tokens: `order` says where each one came "
            "*from*, and `gather` uses it the other way round.",
            _sampler(undo=False),
        ),
        Mistake(
            "not normalised again", "After the cut the rows no longer sum to 1.", _sampler(rescaled=False)
        ),
        Mistake(
            "temperature ignored",
            "The temperature changes nothing.",
            _sampler(power=lambda temperature: 1.0),
        ),
    ],
    see=(9, "Temperature, top-k, top-p"),
    variants={"row by row": _by_rows, "by exponents": _sampler()},
)
