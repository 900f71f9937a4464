"""Ways to measure which logits move, right and wrong ones, for the exercise on the order of words."""

from functools import cache

import numpy as np
import torch
from torch import nn

from attncourse.exercises.multihead._filled import filled
from attncourse.transformer import Transformer

LEAST = 1e-4
BY_HAND = "a model by hand"


def logits(model, *inputs):
    with torch.no_grad():
        return model.eval()(*inputs)


def exchanged(target, i, j):
    order = list(range(target.shape[1]))
    order[i], order[j] = order[j], order[i]
    return target[:, order]


def turned(source, lengths):
    other = source.clone()
    for row, length in zip(other, lengths.tolist(), strict=True):
        row[:length] = row[:length].flip(0)
    return other


def anywhere(usual, other):
    return ((usual - other).abs() > LEAST).any(dim=2).any(dim=0)


def exactly(usual, other):
    return (usual != other).any(dim=2).any(dim=0)


def relatively(usual, other):
    return (~torch.isclose(usual, other, atol=LEAST)).any(dim=2).any(dim=0)


def source_order(model, source, lengths, target, turn=turned, ask=logits, judge=anywhere):
    usual, other = (ask(model, one, lengths, target) for one in (source, turn(source, lengths)))
    return bool(judge(usual, other).any())


def moved(model, source, lengths, target, i, j, swap=exchanged, ask=logits, judge=anywhere):
    usual, other = (ask(model, source, lengths, one) for one in (target, swap(target, i, j)))
    return judge(usual, other)


def in_its_mode(model, *inputs):
    with torch.no_grad():
        return model(*inputs)


def shifted(*inputs):
    return moved(*inputs).roll(1)


def along(model, source, lengths, target, i, j):
    def judge(usual, other):
        return anywhere(usual, exchanged(other, i, j))

    return moved(model, source, lengths, target, i, j, judge=judge)


def in_place(target, i, j):
    target[:, [i, j]] = target[:, [j, i]]
    return target


def one_twice(target, i, j):
    other = target.clone()
    other[:, i] = other[:, j]
    other[:, j] = other[:, i]
    return other


class Slight(nn.Module):
    """A model whose logits move by a multiple of ``size`` or less, with three words."""

    def __init__(self, size):
        super().__init__()
        self.steps = size * torch.tensor([1.0, 0.9, 0.2])

    def forward(self, source, lengths, target):
        place = torch.arange(source.shape[1])
        read = (source * place * (place < lengths[:, None])).sum(dim=1, keepdim=True)
        words = target * torch.arange(target.shape[1])
        before = words.cumsum(dim=1) - words  # the logits at place t come from the words before it
        return 8.0 + (read + before)[..., None] * self.steps


@cache
def drawn_model(n_layers, positions, dropout, weights):
    if positions == BY_HAND:
        return Slight(weights)
    options = {"d_model": 8, "n_heads": 2, "n_layers": n_layers, "positions": positions, "dropout": dropout}
    return filled(np.random.default_rng(weights), Transformer, 25, 17, **options)
