"""Checker: a study of words by erasure whose code has four faults."""

from itertools import product

import torch
from torch import nn

from attncourse.exercises._exercise import Exercise, Mistake, Property
from attncourse.interpret import erasure

N_WORDS, N_CLASSES = 11, 4


class SmallReader(nn.Module):
    """Classify texts by states that know a word and the one behind it, be that padding."""

    def __init__(self, rng, dtype=torch.float32):
        super().__init__()
        self.embedding = nn.Embedding(N_WORDS, 6).to(dtype)
        self.next_proj = nn.Linear(6, 6).to(dtype)
        self.output_proj = nn.Linear(6, N_CLASSES).to(dtype)
        with torch.no_grad():
            for weight in self.parameters():
                weight.copy_(torch.from_numpy(rng.standard_normal(tuple(weight.shape))))
        self.eval().requires_grad_(requires_grad=False)

    def forward(self, tokens, lengths):
        """Return logits, shape (batch, N_CLASSES)."""
        words = self.embedding(tokens)
        states = torch.tanh(words + self.next_proj(words.roll(-1, dims=1)))
        real = torch.arange(tokens.shape[1]) < lengths[:, None]
        return self.output_proj((states * real[..., None]).sum(dim=1) / lengths[:, None] ** 0.5)


def _reference(answer, tokens, lengths, exchange):
    return erasure(answer, tokens, lengths, replacement=exchange).drop


def _properties(rng):
    def inputs(lengths, dtype=torch.float32):
        tokens = torch.from_numpy(rng.integers(1, N_WORDS, size=(len(lengths), max(lengths))))
        for row, length in enumerate(lengths):
            tokens[row, length:] = 0
        exchange = torch.from_numpy((rng.permutation(N_WORDS - 1) + 1).astype("int64"))
        exchange = torch.cat([exchange[:1], exchange])  # exchange[0], for padding, is a word
        model = SmallReader(rng, dtype)
        return {"answer": model, "tokens": tokens, "lengths": torch.tensor(lengths), "exchange": exchange}

    return [
        Property("texts of one word", [inputs([1, 1, 1])], 1),
        Property("texts of equal length", [inputs([5] * 7), inputs([6] * 5)], 2),
        Property("texts of different lengths", [inputs([3, 7, 5, 1, 6, 2])], 2),
        Property("double precision", [inputs([4, 4, 2], torch.float64)], 1),
    ]


def _like(
    *, logits=False, logs=False, piled=False, after_class=False, padding=False, sign=1, magnitude=False
):
    def drops(answer, tokens, lengths, exchange):
        def score(words):
            found = answer(words, lengths)
            return found if logits else found.log_softmax(dim=-1) if logs else found.softmax(dim=-1)

        before = score(tokens)
        found = torch.zeros(tokens.shape, dtype=before.dtype)
        changed = tokens.clone()
        for place in range(tokens.shape[1]):
            changed = changed if piled else tokens.clone()
            changed[:, place] = exchange[changed[:, place]]
            after = score(changed)
            best = (after if after_class else before).argmax(dim=-1, keepdim=True)
            drop = sign * (before - after).gather(1, best).squeeze(1)
            found[:, place] = drop.abs() if magnitude else drop
        real = torch.arange(tokens.shape[1]) < lengths[:, None]
        return found if padding else found * real

    return drops


def _as_text_of_one(answer, tokens, lengths, exchange):
    found = torch.zeros(tokens.shape, dtype=next(answer.parameters()).dtype)
    for row, length in enumerate(lengths.tolist()):
        text, n_words = tokens[row : row + 1], lengths[row : row + 1]
        before = answer(text, n_words).softmax(dim=-1)[0]
        for place in range(length):
            changed = text.clone()
            changed[0, place] = exchange[text[0, place]]
            found[row, place] = (before - answer(changed, n_words).softmax(dim=-1)[0])[before.argmax()]
    return found


def _of_the_largest(answer, tokens, lengths, exchange):
    found, before = [], answer(tokens, lengths).softmax(dim=-1).amax(dim=-1)
    for place in range(tokens.shape[1]):
        changed = tokens.clone()
        changed[:, place] = exchange[tokens[:, place]]
        drop = before - answer(changed, lengths).softmax(dim=-1).amax(dim=-1)
        found.append(drop * (place < lengths))
    return torch.stack(found, dim=1)


def _single(answer, tokens, lengths, exchange):
    return _like()(answer, tokens, lengths, exchange).float()


FAULTS = {
    "logits": "what is subtracted are logits, not probabilities",
    "piled": "exchanged words stay exchanged, so that the later ones are tested in a ruined text",
    "after_class": "the class is the one that is answered after the exchange, not before",
    "padding": "padding gets a drop, although no word stands there",
}


def _leftovers():
    """Yield the choices of faults that may be left: one, two, or all of them."""
    choices = [dict(zip(FAULTS, flags, strict=True)) for flags in product((False, True), repeat=len(FAULTS))]
    for choice in sorted(choices, key=lambda choice: sum(choice.values())):
        left = [name for name, is_left in choice.items() if is_left]
        if len(left) == 3:
            continue
        if len(left) == 1:
            yield f"left: {left[0]}", f"One fault is left: {FAULTS[left[0]]}.", choice
        elif left:
            told = "; ".join(FAULTS[name] for name in left)
            yield f"left: {', '.join(left)}", f"{len(left)} faults are left: {told}.", choice


EXERCISE = Exercise(
    reference=_reference,
    properties=_properties,
    mistakes=[
        *(
            Mistake(name.replace("_", " "), message, _like(**choice))
            for name, message, choice in _leftovers()
        ),
        Mistake(
            "log-probabilities",
            "The drop is asked for in probabilities. Their logarithms fall without limit where a class was "
            "unlikely.",
            _like(logs=True),
        ),
        Mistake(
            "the largest probability of each",
            "The largest probability after the exchange is subtracted, whichever class it belongs to. Where "
            "the answer turns, two classes are compared.",
            _of_the_largest,
        ),
        Mistake(
            "after minus before",
            "The sign is turned round: a word that supports the answer must get a positive drop.",
            _like(sign=-1),
        ),
        Mistake(
            "magnitude of the drop",
            "The sign is lost. A word that speaks against the answer has a negative drop.",
            _like(magnitude=True),
        ),
        Mistake(
            "float32 whatever the model",
            "The drops are stored in float32 also where the model's probabilities are float64.",
            _single,
        ),
    ],
    see=(16, "Erasure: does the answer need this word?"),
    variants={"one text at a time": _as_text_of_one},
)
