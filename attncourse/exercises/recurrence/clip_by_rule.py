"""Checker: shorten gradients by a rule that the version chooses."""

import torch

from attncourse.exercises._exercise import Exercise, Family, Mistake, Property, normal


def _together(gradients):
    length = torch.cat([gradient.flatten() for gradient in gradients]).norm()
    return [length] * len(gradients)


def _each(gradients):
    return [gradient.norm() for gradient in gradients]


def _largest(gradients):
    size = torch.stack([gradient.abs().max() for gradient in gradients]).max()
    return [size] * len(gradients)


def _entries(gradients):
    return [gradient.abs() for gradient in gradients]


def _largest_of_each(gradients):
    return [gradient.abs().max() for gradient in gradients]


def _signed_largest(gradients):
    return [torch.stack([gradient.max() for gradient in gradients]).max()] * len(gradients)


def _signed_entries(gradients):
    return gradients


RULES = {"together": _together, "each": _each, "largest": _largest, "entries": _entries}
ALL_RULES = RULES | {"each largest": _largest_of_each}
SIGNED = {"largest": _signed_largest, "entries": _signed_entries}
VERSIONS = (
    {
        "rule": "largest",
        "size": "the *largest absolute entry* of all tensors together, one number for all of them",
        "size_code": "max(one.abs().max() for one in gradients)",
        "idea": "One common factor keeps the direction of the whole step; "
        "only its size is measured in another way, by the infinity norm.",
    },
    {
        "rule": "each",
        "size": "the length of *each tensor by itself*: the root of the sum of its squared entries",
        "size_code": "gradient.norm()",
        "idea": "Each tensor keeps its own direction, but a long one is shortened and a short one is not, "
        "so the direction of the whole step changes.",
    },
    {
        "rule": "entries",
        "size": "the absolute value of *each entry by itself*, so that an entry that is too large "
        "becomes the bound with the entry's sign",
        "size_code": "gradient.abs()",
        "idea": "Every entry is cut off by itself, so the direction of the step changes, "
        "most of all if a few entries are far larger than the rest.",
    },
    {
        "rule": "together",
        "size": "the length of all gradients *together*, as if they were one long vector: "
        "the root of the sum of all squared entries of all tensors",
        "size_code": "torch.cat([one.flatten() for one in gradients]).norm()",
        "idea": "One common factor keeps the direction of the whole step; only its length changes.",
    },
)
OTHERS = {
    "together": "You measured the length of all tensors together. This page asks for another size.",
    "each": "You measured and shortened every tensor by itself. This page asks for another size.",
    "largest": "You took the largest entry of all tensors. This page asks for another size.",
    "entries": "You cut off every entry by itself. This page asks for another size.",
    "each largest": "You took the largest entry of each tensor by itself. This page asks for another size.",
}


def _clip(sizes, *, always=False, unit=False):
    def clip(gradients, bound):
        clipped = []
        for gradient, size in zip(gradients, sizes(gradients), strict=True):
            factor = (1.0 if unit else bound) / size
            clipped.append(gradient * (factor if always else torch.where(size > bound, factor, 1.0)))
        return clipped

    return clip


def _in_place(sizes):
    def clip(gradients, bound):
        for gradient, size in zip(gradients, sizes(gradients), strict=True):
            gradient *= (bound / size.clamp_min(1e-30)).clamp_max(1.0)
        return gradients

    return clip


def _subtracts(sizes):
    def clip(gradients, bound):
        return [
            gradient - (size - bound).clamp_min(0.0) * gradient.sign()
            for gradient, size in zip(gradients, sizes(gradients), strict=True)
        ]

    return clip


def _takes_the_rest_off(sizes):
    def clip(gradients, bound):
        clipped = []
        for gradient, size in zip(gradients, sizes(gradients), strict=True):
            share = (1 - bound / torch.where(size > 0, size, bound)).clamp_min(0.0)
            clipped.append(gradient - share * gradient)
        return clipped

    return clip


def _with_clamp(gradients, bound):
    return tuple(gradient.clamp(-bound, bound) for gradient in gradients)


def _run(answer, inputs):
    clipped = answer(*inputs.values())
    return tuple(clipped) if isinstance(clipped, list) else clipped


def _build(version):
    rule = version["rule"]
    sizes = RULES[rule]

    def properties(rng):
        def inputs(*scales, bound, sign=1.0):
            gradients = []
            for scale, shape in zip(scales, ((3, 5), (7,), (2, 3)), strict=True):
                gradient = scale * normal(rng, *shape)
                largest = gradient.flatten()[gradient.abs().argmax()]
                gradients.append(sign * largest.sign() * gradient)
            return {"gradients": gradients, "bound": bound}

        zeros = {"gradients": [torch.zeros(3), torch.zeros(2, 2)], "bound": 0.5}
        return [
            Property("short gradients stay", [inputs(0.01, 0.01, 0.01, bound=1.0)], 1),
            Property("zeros stay zeros", [zeros], 0.5),
            Property(
                "long gradients",
                [inputs(3.0, 5.0, 2.0, bound=0.7), inputs(1.0, 9.0, 4.0, bound=2.5, sign=-1.0)],
                2,
            ),
            Property(
                "one long, two short",
                [inputs(0.02, 8.0, 0.01, bound=1.5, sign=-1.0), inputs(6.0, 0.1, 0.3, bound=0.9)],
                2,
            ),
        ]

    mistakes = [
        *(
            Mistake(f"another size: {name}", OTHERS[name], _clip(other))
            for name, other in ALL_RULES.items()
            if name != rule
        ),
        Mistake(
            "short gradients lengthened",
            "Gradients under the bound are stretched to it. Clipping sets an upper bound; what is short "
            "already stays.",
            _clip(sizes, always=True),
        ),
        Mistake(
            "written into the input",
            "The tensors that you were given are changed. The right numbers come out, but the caller's "
            "gradients before clipping are lost.",
            _in_place(sizes),
        ),
        Mistake(
            "one instead of the bound",
            "What is too long is divided by its size alone, so it ends with the size 1, whatever the bound.",
            _clip(sizes, unit=True),
        ),
    ]
    if rule in SIGNED:
        mistakes.append(
            Mistake(
                "negative entries forgotten",
                "You compare the entries with their signs, so a large negative one counts as small.",
                _clip(SIGNED[rule]),
            )
        )
    else:
        mistakes.append(
            Mistake(
                "sum of squares without the root",
                "You took the sum of the squares for the length; its root is missing.",
                _clip(lambda gradients: [size**2 for size in sizes(gradients)]),
            )
        )
    if rule != "entries":  # there it is right
        mistakes.append(
            Mistake(
                "excess subtracted",
                "You took the excess off every entry. That turns the direction; a factor would keep it.",
                _subtracts(sizes),
            )
        )
    return Exercise(
        reference=_clip(sizes),
        properties=properties,
        mistakes=mistakes,
        see=(1, "When gradients explode"),
        variants={"excess off": _takes_the_rest_off(sizes)}
        | ({"clamped": _with_clamp} if rule == "entries" else {}),
        run=_run,
    )


FAMILY = Family(VERSIONS, _build)
