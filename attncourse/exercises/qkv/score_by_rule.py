"""Checker: a score that compares lengths or distances, by a rule that the version chooses."""

import torch
from torch.overrides import TorchFunctionMode

from attncourse.exercises._exercise import Exercise, Family, Mistake, Property, normal
from attncourse.exercises.qkv._score_rules import OWN_MISTAKES, RULE_MISTAKES, RULES, in_pairs, inner

VERSIONS = (
    {
        "rule": "-\\tfrac12 \\lVert \\mathbf{q}_i - \\mathbf{k}_j \\rVert^2",
        "in_words": "minus half the squared distance of query and key",
        "code": "query_square = query.pow(2).sum(dim=-1, keepdim=True)  # (..., n_queries, 1)\n"
        "    return inner - (query_square + key_square) / 2",
        "survives": "The term $-\\tfrac12 \\lVert \\mathbf{q}_i \\rVert^2$ is the same for all keys "
        "of a row, and a softmax does not notice it; what is left is a dot product with a penalty for long "
        "keys.",
    },
    {
        "rule": "-\\lVert \\mathbf{q}_i - \\mathbf{k}_j \\rVert",
        "in_words": "minus the distance of query and key, not squared",
        "code": "query_square = query.pow(2).sum(dim=-1, keepdim=True)  # (..., n_queries, 1)\n"
        "    square = query_square + key_square - 2 * inner\n"
        "    return -square.clamp(min=0).sqrt()",
        "survives": "The root keeps the order of the keys and changes the weights: no term of a row "
        "drops out of the softmax any more. Rounding can make a square slightly negative, and its root NaN; "
        "the clamp prevents it.",
    },
    {
        "rule": "\\mathbf{q}_i \\mathbf{k}_j^\\top / \\lVert \\mathbf{k}_j \\rVert",
        "in_words": "the dot product divided by the length of the key, but not by that of the query",
        "code": "return inner / key_square.sqrt()",
        "survives": "The length of the query stays, as one temperature for the whole row; the "
        "length of a key no longer helps that key. It is a cosine whose strength $\\beta$ the query brings "
        "along.",
    },
    {
        "rule": "\\mathbf{q}_i \\mathbf{k}_j^\\top - \\tfrac12 \\lVert \\mathbf{k}_j \\rVert^2",
        "in_words": "the dot product minus half the squared length of the key",
        "code": "return inner - key_square / 2",
        "survives": "Subtract $\\tfrac12 \\lVert \\mathbf{q}_i \\rVert^2$ as well, which a softmax "
        "does not notice, and you have minus half the squared distance: the nearest key wins.",
    },
)


class _Largest(TorchFunctionMode):
    """Remember how many numbers the largest array holds that is made inside."""

    size = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for one in made if isinstance(made, tuple | list) else (made,):
            if isinstance(one, torch.Tensor):
                self.size = max(self.size, one.numel())
        return made


def _run(answer, inputs):
    query, key = inputs["query"], inputs["key"]
    if inputs.get("measured") != "largest array":
        return answer(query, key)
    # What is made on the way is known to whoever makes it alone.
    with _Largest() as largest:
        scores = answer(query, key)
    return {"largest": largest.size, "scores": scores}


def _reading(output, inputs):
    """Say whether a number is missing or an array too large, beside the scores."""
    query, key, measured = inputs["query"], inputs["key"], inputs.get("measured")
    if measured is None:
        return output
    if measured == "NaN":
        others, missing = output, False
        if isinstance(output, torch.Tensor) and output.shape == (*query.shape[:-1], key.shape[-2]):
            missing = bool(output.isnan().any())
            # Near zero roots are inexact.
            others = output.where(~torch.eye(output.shape[-1], dtype=torch.bool), 0).nan_to_num()
        return {"a NaN among the scores": missing, "the array of other scores": others}
    large = output["largest"] >= query.shape[-1] * query.shape[-2] * key.shape[-2]
    return {"an array over pairs and features": large, "the array of scores": output["scores"]}


def _properties(rng):
    def pair(*front, n_queries=3, n_keys=7, d=5, dtype=torch.float32):
        return {
            "query": normal(rng, *front, n_queries, d, dtype=dtype),
            "key": 2 * normal(rng, *front, n_keys, d, dtype=dtype),
        }

    whole = {
        "query": torch.tensor([[1.0, 2.0, 2.0]]),
        "key": torch.tensor([[1.0, 2.0, 2.0], [0.0, 3.0, 4.0]]),
    }
    vectors = normal(rng, 3, 64, 8)
    same = {"query": vectors, "key": vectors.clone(), "measured": "NaN"}
    return [
        Property("one query, two keys, whole numbers", [whole], 1),
        Property("more keys than queries", [pair(), pair(n_queries=1)], 2),
        Property("axes in front", [pair(2), pair(2, 4)], 2),
        Property("double precision", [pair(2, dtype=torch.float64)], 1),
        Property("queries that equal keys", [same], 1),
        Property(
            "no large array",
            [pair(n_queries=6, n_keys=9, d=31) | {"measured": "largest array"}],
            2,
        ),
    ]


def _build(version):
    index = VERSIONS.index(version)
    rule = RULES[index]
    return Exercise(
        reference=rule,
        properties=_properties,
        mistakes=[
            Mistake("dot product alone", "This is the dot product: no length and no distance enters.", inner),
            *(
                Mistake(name, message, other)
                for (name, message), other in zip(RULE_MISTAKES, RULES, strict=True)
                if other is not rule
            ),
            *OWN_MISTAKES[index],
            Mistake(
                "an array over all pairs",
                "The numbers are right, but on the way there is an array with an entry for every query, key "
                "and feature: at a thousand queries and keys of size 64 it holds 64 million numbers.",
                lambda query, key: in_pairs(query, key, index),
            ),
        ],
        see=(3, "What bilinear scores miss"),
        variants={
            "query by query": lambda query, key: torch.cat(
                [rule(one, key) for one in query.split(1, dim=-2)], dim=-2
            )
        },
        run=_run,
        reading=_reading,
    )


FAMILY = Family(VERSIONS, _build)
