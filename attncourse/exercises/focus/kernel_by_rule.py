"""Checker: a soft dictionary whose similarity, and whose answer without neighbours, the version chooses."""

import numpy as np

from attncourse.exercises._exercise import Exercise, Family, Mistake, Property

# Similarity as a function of distance over width.
KERNELS = {
    "laplace": lambda u: np.exp(-u),
    "box": lambda u: (u <= 1).astype(float),
    "parabola": lambda u: np.maximum(0.0, 1 - u**2),
    "cauchy": lambda u: 1 / (1 + u**2),
}
DIVIDES = "    weights = similarity / total\n    return weights @ value"
VERSIONS = (
    {
        "kernel": "laplace",
        "formula": r"\exp\bigl(-|q - k| / w\bigr)",
        "edge": "However far a query is from all keys, the answer must be a finite number: "
        "the weights are those of the formula, even where every exponential would be 0 in double precision",
        "nothing": "nearest",
        "similarity_code": "np.exp((distance.min(axis=1, keepdims=True) - distance) / width)",
        "rest_code": DIVIDES,
        "why": "The score is minus distance over width; adding one number to all scores of a row changes "
        "no weight.\nHere it makes the score of the nearest key 0 and its similarity 1, so that the sum is "
        "never 0.\nFar outside its keys this dictionary does not become hard: "
        "all distances grow alike, so the weights stay what they were.",
    },
    {
        "kernel": "box",
        "formula": r"\begin{cases} 1 & \text{if } |q - k| \le w \\ 0 & \text{otherwise} \end{cases}",
        "edge": "If no key lies within the width, the answer is zeros",
        "nothing": "zeros",
        "similarity_code": "(distance <= width).astype(float)",
        "rest_code": "    weights = similarity / np.where(total == 0, 1, total)\n    return weights @ value",
        "why": "This is a mean over a window: every key inside counts the same.\n"
        "A sum of 0 is replaced by 1 before the division, so that 0 / 1 gives the zeros that are asked for.",
    },
    {
        "kernel": "parabola",
        "formula": r"\max\bigl(0,\; 1 - (q - k)^2 / w^2\bigr)",
        "edge": "If all similarities are 0, the answer is the value of the nearest key "
        "(no two keys are equally near in this case)",
        "nothing": "nearest",
        "similarity_code": "np.maximum(0.0, 1 - (distance / width) ** 2)",
        "rest_code": "    nearest = distance == distance.min(axis=1, keepdims=True)\n"
        "    similarity = np.where(total == 0, nearest, similarity)\n"
        "    weights = similarity / similarity.sum(axis=1, keepdims=True)\n    return weights @ value",
        "why": "The kernel is known by the name of Epanechnikov.\n"
        "It is 0 outside the width, so a query in a gap needs a rule, and here the rule is the hard limit.",
    },
    {
        "kernel": "cauchy",
        "formula": r"\frac{1}{1 + (q - k)^2 / w^2}",
        "edge": "However far a query is from all keys, the answer must be a finite number, "
        "the one that the formula gives",
        "nothing": "formula",
        "similarity_code": "1 / (1 + (distance / width) ** 2)",
        "rest_code": DIVIDES,
        "why": "This similarity falls so slowly that it stays above 0 where exponentials underflow, so no "
        "shift is needed.\n"
        "Far outside its keys it approaches the mean of all values: every key is about equally far, "
        "measured by the ratio of the distances.",
    },
)


def _lookup(kernel, nothing, *, over=-1, own_width=lambda w: w, distance=np.abs, again=False, divided=True):
    def lookup(query, key, value, width):
        away = distance(query[:, None] - key[None, :])
        u = away / own_width(width)
        shift = (
            u.min(axis=-1, keepdims=True) if kernel is KERNELS["laplace"] and nothing == "nearest" else 0.0
        )
        similarity = np.exp(kernel(u)) if again else kernel(u - shift)
        if nothing == "nearest":
            nearest = np.abs(away) == np.abs(away).min(axis=-1, keepdims=True)
            similarity = np.where(similarity.sum(axis=-1, keepdims=True) == 0, nearest, similarity)
        if nothing == "mean":
            similarity = np.where(similarity.sum(axis=-1, keepdims=True) == 0, 1.0, similarity)
        total = similarity.sum(axis=over, keepdims=True)
        if nothing == "zeros":
            total = np.where(total == 0, 1.0, total)
        return (similarity / total if divided else similarity) @ value

    return lookup


def _by_loops(right):
    def lookup(query, key, value, width):
        return np.stack([right(np.array([one]), key, value, width)[0] for one in query])

    return lookup


def _build(version):
    name, nothing = version["kernel"], version["nothing"]
    kernel = KERNELS[name]
    right = _lookup(kernel, nothing)

    def properties(rng):
        def inputs(query, width, n_keys=7):
            key = rng.permutation(np.arange(n_keys) + rng.uniform(-0.3, 0.3, n_keys))
            return {"query": query, "key": key, "value": rng.normal(size=(n_keys, 3)), "width": width}

        inside = rng.uniform(0, 6, 5)
        edge = inputs(np.array([3.0, 1.5]), 2.0)
        edge["key"] = np.array([1.0, 5.0, 2.5, 9.0, 3.5])
        edge["value"] = edge["value"][:5]
        gap = inputs(np.array([2.0, 11.0, -4.0]) + rng.uniform(-0.2, 0.2, 3), 1.3)
        far = inputs(np.array([4000.0, 2.0, -3000.0]), 2.2)
        narrow = inputs(rng.uniform(0, 6, 2), 0.004)
        return [
            Property("one query", [inputs(inside[:1], 2.5)], 1),
            Property("several queries", [inputs(inside, 1.7), inputs(rng.uniform(0, 3, 4), 3.1, 4)], 2),
            Property("a key at the edge of the width", [edge], 1),
            Property("queries far from all keys", [gap, far, narrow], 2),
        ]

    others = [one for one in KERNELS if one != name]
    mistakes = [
        Mistake(
            "softmax of the similarities",
            "You took the exponential of the similarities, so a key with similarity 0 still has a say. The "
            "similarities are divided by their sum, and nothing else is done to them.",
            _lookup(kernel, nothing, again=True),
        ),
        Mistake(
            "not divided by the sum",
            "You added the values, weighted by their similarities, and did not divide. The weights of a row "
            "must sum to 1.",
            _lookup(kernel, "formula", divided=False),
        ),
        Mistake(
            "divided along the queries",
            "You divided by the sum over the queries. Then an answer depends on what else is asked.",
            _lookup(kernel, nothing, over=0),
        ),
        Mistake(
            "width squared",
            "You divided the distance by the square of the width.",
            _lookup(kernel, nothing, own_width=lambda w: w**2),
        ),
        Mistake(
            "multiplied by the width",
            "You multiplied the distance by the width, so a wide kernel becomes a narrow one.",
            _lookup(kernel, nothing, own_width=lambda w: 1 / w),
        ),
        Mistake(
            "the chapter's kernel",
            "You used the Gaussian of the chapter; the similarity of this page is another.",
            _lookup(lambda u: np.exp(-(u**2) / 2), "formula"),
        ),
        *(
            Mistake(
                f"another kernel: {one}",
                "You used a similarity of another shape.",
                _lookup(KERNELS[one], nothing),
            )
            for one in others[:1]
        ),
    ]
    if name != "cauchy":
        mistakes.append(
            Mistake(
                "no rule for an empty row",
                "A query far from all keys gets a similarity of 0 with each of them, and 0 / 0 is NaN.",
                _lookup(kernel, "formula"),
            )
        )
        mistakes.append(
            Mistake(
                "mean where nothing is near",
                "Where all similarities are 0 you answer with the mean of all values. The page gives "
                "another rule.",
                _lookup(kernel, "mean"),
            )
        )
    if name in ("laplace", "parabola"):
        mistakes.append(
            Mistake(
                "zeros where nothing is near",
                "Where all similarities are 0 you answer with zeros. The page gives another rule.",
                _lookup(kernel, "zeros"),
            )
        )
    if name in ("laplace", "box"):
        mistakes.append(
            Mistake(
                "distance with its sign",
                "You compare the signed difference, so keys on one side of the query count as near however "
                "far they are.",
                _lookup(kernel, nothing, distance=lambda difference: difference),
            )
        )
    if name == "laplace":
        mistakes.append(
            Mistake(
                "hard where it is far",
                "Where the exponentials underflow you answer with the nearest key alone. The formula's "
                "weights are a mixture there as well.",
                _hard_where_far,
            )
        )
    return Exercise(
        reference=right,
        properties=properties,
        mistakes=mistakes,
        see=(2, "Kernel regression: the soft dictionary meets data"),
        variants={"one query after another": _by_loops(right)},
    )


def _hard_where_far(query, key, value, width):
    distance = np.abs(query[:, None] - key[None, :])
    similarity = np.exp(-distance / width)
    nearest = distance == distance.min(axis=-1, keepdims=True)
    similarity = np.where(similarity.sum(axis=-1, keepdims=True) == 0, nearest, similarity)
    return similarity / similarity.sum(axis=-1, keepdims=True) @ value


FAMILY = Family(VERSIONS, _build)
