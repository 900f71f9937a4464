"""The rules of `score_by_rule`, and what people write instead of them."""

import torch
from torch.nn import functional as F

from attncourse.exercises._exercise import Mistake


def inner(query, key):
    """Return all dot products."""
    return query @ key.transpose(-2, -1)


def _length(vectors):
    return torch.linalg.vector_norm(vectors, dim=-1)


def _distance(query, key):
    return torch.cdist(query, key, compute_mode="donot_use_mm_for_euclid_dist")


def _penalised(query, key, weight=0.5):
    return inner(query, key) - weight * _length(key).pow(2).unsqueeze(-2)


RULES = (
    lambda query, key: -_distance(query, key).pow(2) / 2,
    lambda query, key: -_distance(query, key),
    lambda query, key: inner(query, F.normalize(key, dim=-1)),
    _penalised,
)


def _root(query, key, inside=lambda square: square):
    lengths = (query.pow(2).sum(dim=-1, keepdim=True), key.pow(2).sum(dim=-1).unsqueeze(-2))
    return -inside(lengths[0] + lengths[1] - 2 * inner(query, key)).sqrt()


def in_pairs(query, key, index):
    """Return the rule written over an array of all pairs, features included."""
    q, k = torch.broadcast_tensors(query.unsqueeze(-2), key.unsqueeze(-3))
    q, k = q.contiguous(), k.contiguous()
    if index < 2:
        square = (q - k).pow(2).sum(dim=-1)
        return -square / 2 if index == 0 else -square.sqrt()
    product, key_square = (q * k).sum(dim=-1), k.pow(2).sum(dim=-1)
    return product / key_square.sqrt() if index == 2 else product - key_square / 2


# What a reader of another version hands in.
RULE_MISTAKES = (
    ("half the squared distance", "This is minus half the squared distance; read the rule once more."),
    ("the distance itself", "This is minus the distance, with its root; the rule is another."),
    (
        "divided by the key's length",
        "The dot product is divided by the length of the key; the rule is another.",
    ),
    (
        "the query's length left out",
        "Only the key's length is subtracted. In a softmax that would make no difference to the squared "
        "distance, but these are scores, and the rule is another.",
    ),
)
QUERY_FOR_KEY = (
    "the query's length for the key's",
    "The length of the query stands where that of the key belongs. It is the same for a whole row.",
)
# What goes wrong with one rule only.
OWN_MISTAKES = (
    (
        Mistake(
            "lengths not squared",
            "Half of both lengths is subtracted, not half of their squares.",
            lambda query, key: (
                inner(query, key) - (_length(query).unsqueeze(-1) + _length(key).unsqueeze(-2)) / 2
            ),
        ),
        Mistake(
            "sign of the distance",
            "The sign is turned round: the farthest key gets the largest score.",
            lambda query, key: _distance(query, key).pow(2) / 2,
        ),
        Mistake(
            "the half forgotten",
            "The squared distance lacks its factor of one half.",
            lambda query, key: -_distance(query, key).pow(2),
        ),
        Mistake(
            "the mixed term once",
            "In the square of a difference the mixed term stands twice; here it stands once.",
            lambda query, key: -_distance(query, key).pow(2) / 2 - inner(query, key) / 2,
        ),
    ),
    (
        Mistake(
            "root of a negative number",
            "Where a query equals a key, rounding can leave a squared distance slightly below zero, and its "
            "root is NaN.",
            _root,
        ),
        Mistake(
            "a constant under the root",
            "A constant under the root keeps the NaN away and makes all scores a little wrong, most of all "
            "that of a key that equals the query.",
            lambda query, key: _root(query, key, lambda square: square.clamp(min=0) + 1e-6),
        ),
        Mistake(
            "sign of the distance",
            "The sign is turned round: the farthest key gets the largest score.",
            _distance,
        ),
    ),
    (
        Mistake(
            "cosine",
            "Both lengths are divided out, so that of the query has no influence any more.",
            lambda query, key: inner(F.normalize(query, dim=-1), F.normalize(key, dim=-1)),
        ),
        Mistake(
            "the square of the key's length",
            "The dot product is divided by the square of the key's length.",
            lambda query, key: inner(query, key) / _length(key).pow(2).unsqueeze(-2),
        ),
        Mistake(*QUERY_FOR_KEY, lambda query, key: inner(query, key) / _length(query).unsqueeze(-1)),
    ),
    (
        Mistake(
            "the half forgotten",
            "The penalty for long keys lacks its factor of one half.",
            lambda query, key: _penalised(query, key, 1.0),
        ),
        Mistake(
            "length for squared length",
            "The penalty is half the length of the key, not half its square.",
            lambda query, key: inner(query, key) - _length(key).unsqueeze(-2) / 2,
        ),
        Mistake(
            "long keys favoured",
            "The squared length is added, so that long keys get more and not less.",
            lambda query, key: _penalised(query, key, -0.5),
        ),
        Mistake(
            *QUERY_FOR_KEY,
            lambda query, key: inner(query, key) - _length(query).pow(2).unsqueeze(-1) / 2,
        ),
    ),
)
