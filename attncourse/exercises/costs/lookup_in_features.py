"""Checker: how well linear attention can look things up, and keys that reach the bound."""

import torch

from attncourse.exercises._compare import of_type
from attncourse.exercises._exercise import Exercise, Mistake, Property
from attncourse.linear_attention import linear_attention_weights


def _keys(n_keys, d_head):
    keys = torch.full((n_keys, d_head), -25.0, dtype=torch.float64)
    for number in range(n_keys):
        keys[number, number % d_head] = 25.0
    return keys


def _bound(n_keys, d_head):
    return min(1.0, d_head / n_keys)


REFERENCE = {
    "bound": _bound,
    "keys": _keys,
    "squares": lambda d_head: d_head * (d_head + 1) // 2,
}


def _run(answer, inputs):
    return answer[inputs["part"]](*inputs["sizes"])


def _reading(output, inputs):
    """Measure how well linear attention finds each of the keys that were given."""
    sizes = inputs["sizes"]
    if inputs["part"] != "keys":
        return output
    kind, share = "what was given", "the share of the bound that the keys reach"
    if not isinstance(output, torch.Tensor):
        return {kind: of_type(output), share: 0.0}
    dtype = str(output.dtype).removeprefix("torch.")
    given = f"a {dtype} tensor of shape {tuple(output.shape)}"
    if tuple(output.shape) != tuple(sizes) or output.is_complex():
        return {kind: given, share: 0.0}
    keys = output.to(torch.float64)
    weights = linear_attention_weights(keys, keys)
    reached, bound = float(weights.diagonal().mean()), _bound(*sizes)
    return {kind: given, share: 1.0 if abs(reached - bound) < 0.01 else round(reached / bound, 3)}


def _properties(rng):
    d_head = int(rng.integers(6, 12))
    few, more, many = (d_head - 2, d_head), (d_head + 3, d_head), (4 * d_head, d_head)
    ask = {
        "bound": [few, (d_head, d_head), more, many, (17, 1)],
        "squares": [(1,), (2,), (d_head,), (d_head + 5,)],
    }
    return [
        *(
            Property(f'part "{part}"', [{"part": part, "sizes": one} for one in sizes])
            for part, sizes in ask.items()
        ),
        Property('"keys": as many as entries', [{"part": "keys", "sizes": (d_head, d_head)}]),
        Property('"keys": more than entries', [{"part": "keys", "sizes": sizes} for sizes in (more, many)]),
    ]


def _upside_down(n_keys, d_head):
    return -_keys(n_keys, d_head)


def _zeros_elsewhere(n_keys, d_head):
    return _keys(n_keys, d_head).clamp(min=0.0)


def _orthogonal(n_keys, d_head):
    return (_keys(n_keys, d_head) > 0).double()


def _default_dtype(n_keys, d_head):
    return _keys(n_keys, d_head).float()


def _circle(n_keys, d_head):
    angles = torch.arange(n_keys, dtype=torch.float64) * 2 * torch.pi / n_keys
    keys = torch.zeros(n_keys, d_head, dtype=torch.float64)
    keys[:, 0], keys[:, 1] = 2000 * angles.cos(), 2000 * angles.sin()
    return keys


def _only_as_many_as_entries(n_keys, d_head):
    return torch.full((d_head, d_head), -25.0, dtype=torch.float64).fill_diagonal_(25.0)


def _by_blocks(n_keys, d_head):
    groups = torch.arange(n_keys) * d_head // n_keys if n_keys > d_head else torch.arange(n_keys)
    return torch.where(groups[:, None] == torch.arange(d_head), 12.0, -30.0).double()


EXERCISE = Exercise(
    reference=REFERENCE,
    run=_run,
    reading=_reading,
    properties=_properties,
    mistakes=[
        Mistake(
            "bound above one",
            "With fewer keys than entries this is more than 1, but no weight is.",
            {"bound": lambda n_keys, d_head: d_head / n_keys},
        ),
        Mistake(
            "all or nothing",
            "Beyond as many keys as entries an exact lookup is impossible, but the right keys need not lose "
            "all of their weight at once.",
            {"bound": lambda n_keys, d_head: 1.0 if n_keys <= d_head else 0.0},
        ),
        Mistake(
            "bound of a uniform map",
            "This is what a uniform map reaches. The trace may be as large as the rank, not only 1.",
            {"bound": lambda n_keys, d_head: 1 / n_keys},
        ),
        Mistake(
            "ordered pairs",
            "Each product of two different entries is counted twice. Two equal columns of features add "
            "nothing to the rank.",
            {"squares": lambda d_head: d_head**2},
        ),
        Mistake(
            "squares forgotten",
            "Only products of two different entries are counted; each entry times itself is a feature too.",
            {"squares": lambda d_head: d_head * (d_head - 1) // 2},
        ),
        Mistake(
            "squares alone",
            "Only each entry times itself is counted; the products of two different entries are features "
            "too.",
            {"squares": lambda d_head: d_head},
        ),
        Mistake(
            "sign turned round",
            "A large negative entry has a feature near zero, so here each key is marked by the one feature "
            "that it lacks, and all keys overlap in the others.",
            {"keys": _upside_down},
        ),
        Mistake(
            "zero taken for no feature",
            "An entry of 0 has the feature 1, since $\\phi(0) = 1$: such keys overlap in all entries.",
            {"keys": _zeros_elsewhere},
        ),
        Mistake(
            "orthogonal keys",
            "The keys themselves are orthogonal, but their features are what is multiplied, and those are "
            "all positive.",
            {"keys": _orthogonal},
        ),
        Mistake(
            "float32",
            "The keys have torch's default dtype, float32; float64 was asked for.",
            {"keys": _default_dtype},
        ),
        Mistake(
            "the softmax's circle",
            "Keys on a circle suit the softmax. These features have rank 2 and nothing more.",
            {"keys": _circle},
        ),
        Mistake(
            "as many keys as entries, always",
            "There are as many keys as entries even where more are asked for; two keys must then share an "
            "entry.",
            {"keys": _only_as_many_as_entries},
        ),
    ],
    see=(15, "What a fixed state cannot hold"),
    variants={"neighbours share": REFERENCE | {"keys": _by_blocks}},
    rtol=1e-9,  # whole numbers and their quotients
)
