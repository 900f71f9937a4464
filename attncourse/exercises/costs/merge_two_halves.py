"""Checker: join what two machines found over two halves of the keys, in the form that the version chooses."""

import math

import torch

from attncourse.exercises._exercise import Exercise, Family, Mistake, Property, normal

LARGEST = (
    "- `largest`, the largest score $m$ of its keys, and `total`, the sum $\\ell = \\sum_j e^{s_j - m}$, "
    "both of shape `(..., n_queries, 1)`;\n"
)
LOGARITHM = (
    "- `log_total`, the logarithm to base <<base>> of $\\sum_j e^{s_j}$ over its keys, "
    "of shape `(..., n_queries, 1)`;\n"
)
DIVIDED = (
    "- `output`, its own attention output $\\sum_j e^{s_j} \\mathbf{v}_j / \\sum_j e^{s_j}$, already "
    "divided, of shape `(..., n_queries, d_value)`."
)
SUMS = (
    "- `mixed`, the sum $\\mathbf{o} = \\sum_j e^{s_j - m} \\mathbf{v}_j$, not divided, "
    "of shape `(..., n_queries, d_value)`."
)
NO_KEY = "`largest` is $-\\infty$, and `total` and `{last}` are 0"
FROM_LARGEST = """    largest = torch.maximum(one[0], other[0])
    safe = largest.masked_fill(largest == -torch.inf, 0.0)
    first, second = ((half[0] - safe).exp() for half in (one, other))
    total = first * one[1] + second * other[1]
"""
FROM_LOGARITHM = """    largest = torch.maximum(one[0], other[0])
    safe = largest.masked_fill(largest == -torch.inf, 0.0)
    first, second = ({exp}(half[0] - safe) for half in (one, other))
    total = first + second
    output = (first * one[1] + second * other[1]) / total.masked_fill(total == 0, 1)
    return total.{log}() + safe, output"""
VERSIONS = (
    {
        "form": "sums",
        "names": "(largest, total, mixed)",
        "parts": LARGEST + SUMS,
        "no_key": NO_KEY.format(last="mixed"),
        "code": FROM_LARGEST + "    return largest, total, first * one[2] + second * other[2]",
    },
    {
        "form": "log",
        "names": "(log_total, output)",
        "parts": LOGARITHM.replace("<<base>>", "$e$") + DIVIDED,
        "no_key": "`log_total` is $-\\infty$, and `output` is 0",
        "code": FROM_LOGARITHM.format(exp="torch.exp", log="log"),
    },
    {
        "form": "log2",
        "names": "(log_total, output)",
        "parts": LOGARITHM.replace("<<base>>", "2") + DIVIDED,
        "no_key": "`log_total` is $-\\infty$, and `output` is 0",
        "code": FROM_LOGARITHM.format(exp="torch.exp2", log="log2"),
    },
    {
        "form": "means",
        "names": "(largest, total, output)",
        "parts": LARGEST + DIVIDED,
        "no_key": NO_KEY.format(last="output"),
        "code": FROM_LARGEST
        + "    mixed = first * one[1] * one[2] + second * other[1] * other[2]\n"
        + "    return largest, total, mixed / total.masked_fill(total == 0, 1)",
    },
)


def _half(scores, value, form):
    """Return what a machine finds for its keys; hidden ones have the score -inf."""
    largest = scores.amax(dim=-1, keepdim=True)
    exponentials = (scores - largest).exp().masked_fill(scores == -math.inf, 0.0)
    total = exponentials.sum(dim=-1, keepdim=True)
    mixed = exponentials @ value
    output = mixed / total.masked_fill(total == 0, 1.0)
    log_total = largest + total.log()
    return {
        "sums": (largest, total, mixed),
        "means": (largest, total, output),
        "log": (log_total, output),
        "log2": (log_total / math.log(2), output),
    }[form]


def _call_with_tuples(answer, inputs):
    parts = list(inputs.values())
    half = len(parts) // 2
    return answer(tuple(parts[:half]), tuple(parts[half:]))


def _merge(form):
    """Return the reference: the logarithms of both sums decide the shares of both outputs."""

    def merge(one, other):
        unit = math.log(2) if form == "log2" else 1.0
        logs, outputs = [], []
        for half in (one, other):
            logs.append(half[0] * unit if len(half) == 2 else half[0] + half[1].log())
            outputs.append(half[2] / half[1].masked_fill(half[1] == 0, 1.0) if form == "sums" else half[-1])
        log_total = torch.logaddexp(*logs)
        shares = [(log - log_total).exp().masked_fill(log == -math.inf, 0.0) for log in logs]
        output = shares[0] * outputs[0] + shares[1] * outputs[1]
        if len(one) == 2:
            return log_total / unit, output
        largest = torch.maximum(one[0], other[0])
        total = (log_total - largest).exp().masked_fill(log_total == -math.inf, 0.0)
        return largest, total, output * total if form == "sums" else output

    return merge


def _with_largest(form, *, sign=1, shrink=True, guard=True, weigh="both", divide=None):
    """Wrong versions for halves with a largest score and a sum."""

    def merge(one, other):
        largest = torch.maximum(one[0], other[0])
        safe = largest.masked_fill(largest == -math.inf, 0.0) if guard else largest
        factors = [
            (sign * (half[0] - safe)).exp() if shrink else torch.ones_like(safe) for half in (one, other)
        ]
        total = factors[0] * one[1] + factors[1] * other[1]
        by = {
            "both": [factor * half[1] for factor, half in zip(factors, (one, other), strict=True)],
            "factor": factors,
            "total": [one[1], other[1]],
            "equally": [torch.ones_like(safe) / 2] * 2,
        }[weigh]
        if form == "sums":
            by = {"both": factors, "equally": by, "total": [torch.ones_like(safe)] * 2}[weigh]
        mixed = by[0] * one[2] + by[1] * other[2]
        divided = (form == "means" and weigh != "equally") if divide is None else divide
        divisor = total.masked_fill(total == 0, 1.0) if guard else total
        return largest, total, mixed / divisor if divided else mixed

    return merge


def _with_logarithm(form, *, base=None, shift=True, guard=True, weigh="both", log="sum"):
    """Wrong versions for halves with a logarithm."""
    unit = {"log": 1.0, "log2": math.log(2)}[base or form]

    def merge(one, other):
        largest = torch.maximum(one[0], other[0])
        safe = largest.masked_fill(largest == -math.inf, 0.0) if guard else largest
        safe = safe if shift else torch.zeros_like(safe)
        first, second = (((half[0] - safe) * unit).exp() for half in (one, other))
        total = first + second
        log_total = {"sum": total.log() / unit + safe, "added": one[0] + other[0], "largest": largest}[log]
        if weigh == "equally":
            return log_total, (one[1] + other[1]) / 2
        if weigh == "sigmoid":
            share = ((one[0] - other[0]) * unit).sigmoid()
            return log_total, share * one[1] + (1 - share) * other[1]
        if weigh == "logarithms":
            return log_total, (one[0] * one[1] + other[0] * other[1]) / (one[0] + other[0])
        divisor = total.masked_fill(total == 0, 1.0) if guard else total
        return log_total, (first * one[1] + second * other[1]) / divisor

    return merge


EQUALLY = (
    "half and half",
    "The two results are averaged as if both halves had the same sum of exponentials; the half with the "
    "better keys must count more.",
)
UNGUARDED = (
    "no guard for an empty half",
    "Where neither half has a visible key, minus infinity is taken from minus infinity, or zero divided by "
    "zero, and NaN comes out.",
)


def _mistakes_with_largest(form):
    divided = form == "means"
    yield Mistake(*EQUALLY, _with_largest(form, weigh="equally"))
    yield Mistake(*UNGUARDED, _with_largest(form, guard=False), see=(15, "From keys to blocks"))
    yield Mistake(
        "not shrunk",
        "The sums of both halves are added as they are, although they are relative to different largest "
        "scores.",
        _with_largest(form, shrink=False),
        see=(15, "Limits and common mistakes"),
    )
    yield Mistake(
        "factor upside down",
        "The sums grow where they should shrink: the factors have the wrong sign in their exponents.",
        _with_largest(form, sign=-1),
    )
    yield Mistake(
        "only total shrunk",
        "The sums of exponentials shrink, but the values are still weighed by the sums from before.",
        _with_largest(form, weigh="total"),
    )
    yield Mistake(
        "divided or not",
        "The last part is handed on divided where undivided sums are asked for."
        if not divided
        else "The last part is handed on undivided; it should be an attention output, as it came in.",
        _with_largest(form, divide=not divided),
    )
    if divided:
        yield Mistake(
            "outputs taken for sums",
            "The halves' outputs are divided already; to add them they have to be weighed by their sums "
            "again.",
            _with_largest(form, weigh="factor"),
        )


def _mistakes_with_logarithm(form):
    other = {"log": "log2", "log2": "log"}[form]
    yield Mistake(*EQUALLY, _with_logarithm(form, weigh="equally"))
    yield Mistake(*UNGUARDED, _with_logarithm(form, guard=False), see=(15, "From keys to blocks"))
    yield Mistake(
        "the other base",
        "The logarithms are read to the wrong base, so that the halves' shares come out too even or too "
        "uneven.",
        _with_logarithm(form, base=other),
    )
    yield Mistake(
        "logarithms added",
        "The logarithms are added, which multiplies the sums; what has to be added are the sums themselves.",
        _with_logarithm(form, log="added"),
    )
    yield Mistake(
        "no guard for the shares",
        "The logarithm of the sum comes out right, but the halves' shares are made of a difference of two "
        "infinities where neither half has a visible key, and the output is NaN there.",
        _with_logarithm(form, weigh="sigmoid"),
        see=(15, "From keys to blocks"),
    )
    yield Mistake(
        "the larger logarithm handed on",
        "The output is right, but the larger of the two logarithms is handed on instead of the logarithm of "
        "both sums together; the next merge would weigh this half too little.",
        _with_logarithm(form, log="largest"),
    )
    yield Mistake(
        "weighed by logarithms",
        "The outputs are weighed by the logarithms of the sums instead of by the sums; a logarithm may be "
        "negative.",
        _with_logarithm(form, weigh="logarithms"),
    )
    yield Mistake(
        "nothing subtracted",
        "The sums are restored in full before they are added; for large scores they overflow, for very "
        "negative ones they vanish.",
        _with_logarithm(form, shift=False),
    )


def _build(version):
    form = version["form"]

    def properties(rng):
        def halves(shape=(2, 3, 5), *, shift=0.0, factor=1.0, hide=(), dtype=torch.float32):
            both = []
            for number, n_keys in enumerate((7, 4)):
                scores = factor * normal(rng, *shape, n_keys, dtype=dtype) + (shift if number else 0.0)
                value = normal(rng, *shape[:-1], n_keys, 6, dtype=dtype)
                scores[..., 1] = -math.inf
                for row in hide[number : number + 1]:
                    scores[..., row, :] = -math.inf
                both.append(_half(scores, value, form))
            names = [f"{name}[{place}]" for name in ("one", "other") for place in range(len(both[0]))]
            return dict(zip(names, both[0] + both[1], strict=True))

        return [
            Property("two halves", [halves(), halves((1, 5))], 2),
            Property("one half with much better keys", [halves(shift=5.0), halves(shift=-5.0)], 2),
            Property(
                "scores in the hundreds",
                [halves(shift=20.0, factor=120.0), halves(factor=0.5, dtype=torch.float64)],
                1,
            ),
            Property("a query that sees nothing in one half", [halves(hide=(slice(0, 2), slice(3, 4)))], 1),
            Property("a query that sees nothing at all", [halves(hide=(slice(0, 2), slice(1, 3)))], 2),
        ]

    make = _mistakes_with_largest if form in ("sums", "means") else _mistakes_with_logarithm
    return Exercise(
        reference=_merge(form),
        run=_call_with_tuples,
        properties=properties,
        mistakes=list(make(form)),
        see=(15, "A softmax that never sees all scores"),
        variants={
            "the halves exchanged": lambda one, other: _merge(form)(other, one),
        },
    )


FAMILY = Family(VERSIONS, _build)
