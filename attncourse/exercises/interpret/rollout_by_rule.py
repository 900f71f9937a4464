"""Checker: attention rollout with heads, residual share and order of layers as the version says."""

import torch

from attncourse.exercises._exercise import Exercise, Family, Mistake, Property, normal
from attncourse.interpret import attention_rollout

LARGEST = """    joined = weights.amax(dim={axis})
    total = joined.sum(dim=-1, keepdim=True)
    joined = joined / total.masked_fill(total == 0, 1.0)"""
HEADS = {
    "mean": ("the mean over the heads", "    joined = weights.mean(dim={axis})"),
    "largest": ("the largest weight over the heads, each row divided by its sum afterwards", LARGEST),
}
LAYERS = {True: "the layer that reads the words first", False: "the last layer first"}
AXES = {
    True: ("(batch, n_layers, n_heads, n_tokens, n_tokens)", 2),
    False: ("(batch, n_heads, n_layers, n_tokens, n_tokens)", 1),
}


def _version(heads, residual, first_layer_first, layers_before_heads, reads):
    rule, code = HEADS[heads]
    shape, axis = AXES[layers_before_heads]
    return {
        "heads": heads,
        "heads_rule": rule,
        "residual": residual,
        "first_layer_first": first_layer_first,
        "order": LAYERS[first_layer_first],
        "shape": shape,
        "axis": axis,
        "joined": code.format(axis=axis),
        "layers": "joined.unbind(dim=1)" if first_layer_first else "joined.flip(1).unbind(dim=1)",
        "reads": reads,
        "what": {
            "rows": "Row $t$ of the result holds the shares of the words in the last state of token $t$",
            "last": "One row for each text: the shares of the words in the last state of its *last* token",
        }[reads],
        "result": {"rows": "(batch, n_tokens, n_tokens)", "last": "(batch, n_tokens)"}[reads],
        "returned": {"rows": "rolled", "last": "rolled[:, -1]"}[reads],
    }


VERSIONS = (
    _version("mean", 0.4, True, True, "rows"),
    _version("largest", 0.25, True, True, "last"),
    _version("mean", 0.7, False, False, "last"),
    _version("largest", 0.3, False, True, "rows"),
)


def _layers(weights, version, heads=None, axis=None):
    """Return one map for each layer, (batch, n_layers, n_tokens, n_tokens), in the given order."""
    join = {"mean": weights.mean, "largest": weights.amax}[heads or version["heads"]]
    joined = join(dim=axis or version["axis"])
    total = joined.sum(dim=-1, keepdim=True)
    return (
        joined / total.masked_fill(total == 0, 1.0)
        if version["heads"] == "largest" and heads is None
        else joined
    )


def _reference(version):
    def rollout(weights):
        layers = _layers(weights, version)
        layers = layers if version["first_layer_first"] else layers.flip(1)
        rolled = attention_rollout(layers.unsqueeze(2), residual=version["residual"])
        return rolled if version["reads"] == "rows" else rolled[:, -1]

    return rollout


def _like(
    version, *, heads=None, axis=None, share=None, turned=False, product=True, empty=True, transposed=False
):
    """Write one wrong version: everything but what the keyword says is right."""
    alpha = version["residual"] if share is None else share

    def rollout(weights):
        layers = _layers(weights, version, heads, axis)
        layers = layers if version["first_layer_first"] != turned else layers.flip(1)
        eye = torch.eye(layers.shape[-1], dtype=layers.dtype)
        mixed = alpha * eye + (1 - alpha) * layers
        if empty:
            mixed = torch.where(layers.sum(dim=-1, keepdim=True) == 0, eye, mixed)
        rolled = eye.expand(len(layers), -1, -1)
        for layer in mixed.unbind(dim=1) if product is True else mixed[:, -1:].unbind(dim=1):
            rolled = layer @ rolled
        if product == "entries":
            rolled = mixed.prod(dim=1)
        if product == "mean":
            rolled = mixed.mean(dim=1)
        rolled = rolled.transpose(1, 2) if transposed else rolled
        return rolled if version["reads"] == "rows" else rolled[:, -1]

    return rollout


def _summed_without_shares(version):
    def rollout(weights):
        layers = _layers(weights, version)
        layers = layers if version["first_layer_first"] else layers.flip(1)
        eye = torch.eye(layers.shape[-1], dtype=layers.dtype)
        rolled = eye.expand(len(layers), -1, -1)
        for layer in layers.unbind(dim=1):
            rolled = (layer + eye) @ rolled
        return rolled if version["reads"] == "rows" else rolled[:, -1]

    return rollout


def _from_the_top(version):
    """Follow a right variant: multiply from the last layer down."""

    def rollout(weights):
        layers = _layers(weights, version)
        layers = layers.flip(1) if version["first_layer_first"] else layers
        n_tokens = layers.shape[-1]
        eye = torch.eye(n_tokens, dtype=layers.dtype)
        rolled = eye.expand(len(layers), -1, -1)
        for layer in layers.unbind(dim=1):
            stays = (layer.sum(dim=-1, keepdim=True) == 0) * (1 - version["residual"])
            rolled = rolled @ ((version["residual"] + stays) * eye + (1 - version["residual"]) * layer)
        return rolled if version["reads"] == "rows" else rolled[:, -1]

    return rollout


def _build(version):
    other_heads = "largest" if version["heads"] == "mean" else "mean"

    def properties(rng):
        def draw(n_layers, n_heads, n_tokens=5, causal=False, dtype=torch.float32):
            front = (n_layers, n_heads) if version["axis"] == 2 else (n_heads, n_layers)
            scores = 2.0 * normal(rng, 2, *front, n_tokens, n_tokens, dtype=dtype)
            if causal:
                scores = scores.masked_fill(torch.ones(n_tokens, n_tokens).triu(1) == 1, -torch.inf)
            return scores.softmax(dim=-1)

        empty = draw(2, 3)
        empty[..., 2, :] = 0.0
        empty[0, :, :, 4, :] = 0.0
        empty[1].select(2 - version["axis"], 0)[:, 1] = 0.0  # in one of the layers only
        others = draw(3, 2)
        others.diagonal(dim1=-2, dim2=-1).zero_()  # no token may attend to itself
        others = others / others.sum(dim=-1, keepdim=True)
        return [
            Property("one layer, one head", [{"weights": draw(1, 1)}], 1),
            Property("one layer, several heads", [{"weights": draw(1, 3)}], 1),
            Property("several layers, one head", [{"weights": draw(4, 1)}], 2),
            Property(
                "layers and heads",
                [{"weights": draw(3, 2, 7)}, {"weights": draw(3, 4, causal=True)}, {"weights": others}],
                2,
            ),
            Property(
                "rows of zeros, and double precision",
                [{"weights": empty}, {"weights": draw(2, 3, dtype=torch.float64)}],
                1,
            ),
        ]

    mistakes = [
        Mistake(
            "layers in the wrong order",
            "The product runs the wrong way: the last layer stands on the right, next to the words, "
            "although it mixes states that the others made.",
            _like(version, turned=True),
        ),
        Mistake(
            "residual path forgotten",
            "Only the heads are followed. The residual path carries each state on beside them.",
            _like(version, share=0.0),
        ),
        Mistake(
            "shares exchanged",
            "The residual path gets the heads' share, and the heads get that of the residual path.",
            _like(version, share=1 - version["residual"]),
        ),
        Mistake(
            "identity added without shares",
            "The identity is added in full, so the rows of a layer sum to two and grow with every layer.",
            _summed_without_shares(version),
        ),
        Mistake(
            "the book's one half",
            "The residual path has the share of the chapter here, not the one that is asked for.",
            _like(version, share=0.5),
        ),
        Mistake(
            "the other rule for the heads",
            "The heads are joined by another rule than the one that is asked for.",
            _like(version, heads=other_heads),
        ),
        Mistake(
            "heads and layers mixed up",
            "The axis of the layers is joined and the axis of the heads multiplied. Look up in the prompt "
            "which of them comes first here.",
            _like(version, axis=3 - version["axis"]),
        ),
        Mistake(
            "only the last layer",
            "Only one layer is taken; what the states below it are mixtures of is lost.",
            _like(version, product=False),
        ),
        Mistake(
            "layers averaged",
            "The layers are averaged, as if all of them read the words; a second layer reads states.",
            _like(version, product="mean"),
        ),
        Mistake(
            "entries multiplied",
            "The maps are multiplied entry by entry, so no way over a third token is followed.",
            _like(version, product="entries"),
        ),
        Mistake(
            "rows and columns exchanged",
            "The result is turned round: it says where each word goes, not where each state comes from.",
            _like(version, transposed=True),
        ),
        Mistake(
            "a row of zeros loses its share",
            "Where a query may attend to nothing, its state stays what it was: the row of that layer is the "
            "identity's.",
            _like(version, empty=False),
        ),
    ]
    if version["heads"] == "largest":
        undivided = Mistake(
            "rows not divided",
            "The largest weights of a row sum to more than one. Undivided, the heads get more than their "
            "share, and the rows grow with every layer.",
            _like(version, heads="largest"),
        )
        mistakes.append(undivided)
    return Exercise(
        reference=_reference(version),
        properties=properties,
        mistakes=mistakes,
        see=(16, "Several layers: raw maps and rollout"),
        variants={"from the top": _from_the_top(version)},
    )


FAMILY = Family(VERSIONS, _build)
