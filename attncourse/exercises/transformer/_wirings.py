"""Wirings of an encoder layer, for the exercise on another wiring: asked for, and mistaken for it."""


def _pre(x, attend, compute, norm_1, norm_2):
    x = x + attend(norm_1(x))
    return x + compute(norm_2(x))


def _post(x, attend, compute, norm_1, norm_2):
    x = norm_1(x + attend(x))
    return norm_2(x + compute(x))


def _parallel(x, attend, compute, norm_1, norm_2):
    return x + attend(norm_1(x)) + compute(norm_2(x))


def _parallel_after(x, attend, compute, norm_1, norm_2):
    return x + norm_1(attend(x)) + norm_2(compute(x))


def _norm_of_the_sum(x, attend, compute, norm_1, norm_2):
    return norm_2(norm_1(x + attend(x) + compute(x)))


def _added_parts(x, attend, compute, norm_1, norm_2):
    x = x + norm_1(attend(x))
    return x + norm_2(compute(x))


def _normed_twice(x, attend, compute, norm_1, norm_2):
    return _added_parts(x, lambda v: attend(norm_1(v)), lambda v: compute(norm_2(v)), norm_1, norm_2)


def _first_part_lost(x, attend, compute, norm_1, norm_2):
    return x + norm_2(compute(x + norm_1(attend(x))))


def _heavy_path(x, attend, compute, norm_1, norm_2):
    x = norm_1(2 * x + attend(x))
    return norm_2(2 * x + compute(x))


def _heavy_pre(x, attend, compute, norm_1, norm_2):
    x = 2 * x + attend(norm_1(x))
    return 2 * x + compute(norm_2(x))


def _heavy_parts(x, attend, compute, norm_1, norm_2):
    x = norm_1(x + 2 * attend(x))
    return norm_2(x + 2 * compute(x))


def _heavy_once(x, attend, compute, norm_1, norm_2):
    x = norm_1(2 * x + attend(x))
    return norm_2(x + compute(x))


def _turned(rule):
    """Return the rule with the parts in the other order; the first norm stays with the first part."""
    return lambda x, attend, compute, norm_1, norm_2: rule(x, compute, attend, norm_1, norm_2)


_compute_first = _turned(_pre)


RULES = {
    "parallel": (
        "Both parts read the *incoming* vectors, each through a normalisation of its own (`norm_1` before "
        "`attend`, "
        "`norm_2` before `compute`), and both outputs are added to the incoming vectors.",
        "out = x + attend(norm_1(x)) + compute(norm_2(x))",
        _parallel,
        lambda x, attend, compute, norm_1, norm_2: compute(norm_2(x)) + attend(norm_1(x)) + x,
    ),
    "heavy path": (
        "`attend` comes first, then `compute`. Each part reads the vectors as they are; the residual path "
        "is multiplied "
        "by 2 before the part's output is added, and the sum is normalised (`norm_1` for the first part, "
        "`norm_2` for "
        "the second).",
        "x = norm_1(2 * x + attend(x))\n    out = norm_2(2 * x + compute(x))",
        _heavy_path,
        lambda x, attend, compute, norm_1, norm_2: _post(
            x, lambda v: v + attend(v), lambda v: v + compute(v), norm_1, norm_2
        ),
    ),
    "added parts": (
        "`attend` comes first, then `compute`. Each part reads the vectors as they are, and its *output* is "
        "normalised "
        "(`norm_1` for the first part, `norm_2` for the second) before it is added to the residual path.",
        "x = x + norm_1(attend(x))\n    out = x + norm_2(compute(x))",
        _added_parts,
        lambda x, attend, compute, norm_1, norm_2: (h := x + norm_1(attend(x))) + norm_2(compute(h)),
    ),
    "compute first": (
        "The layer is wired as pre-norm, but `compute` comes *first* and `attend` second; `norm_1` belongs "
        "to the "
        "first part of the two, `norm_2` to the second.",
        "x = x + compute(norm_1(x))\n    out = x + attend(norm_2(x))",
        _compute_first,
        lambda x, attend, compute, norm_1, norm_2: _pre(x, compute, attend, norm_1, norm_2),
    ),
}
PRE = "This is pre-norm: attention first, each part reads normalised vectors, the path stays free."
POST = "This is post-norm: every sum is normalised, and the path passes through the norms."
PARALLEL = "Both parts read the same vectors; here the second one reads what the first left."
ADDED = "The parts' outputs are normalised before they are added, which is another wiring."
ORDER = "The two parts stand in the other order."
OTHERS = {
    "parallel": (
        ("pre-norm", _pre, f"{PRE} Here the second part reads what came in."),
        ("post-norm", _post, POST),
        ("outputs normalised", _parallel_after, "The parts' outputs are normalised, not what they read."),
        ("one sum", _norm_of_the_sum, "There is one sum of everything, and both norms stand on it."),
    ),
    "heavy path": (
        ("pre-norm", _pre, PRE),
        (
            "post-norm",
            _post,
            f"{POST} The path was not doubled, or the whole sum was, and the norm takes that away again.",
        ),
        (
            "a heavy path without norms",
            _heavy_pre,
            "The parts read normalised vectors, and no sum is normalised.",
        ),
        (
            "the parts weigh more",
            _heavy_parts,
            "The parts' outputs were doubled instead of the residual path.",
        ),
        ("doubled once", _heavy_once, "The residual path is doubled in the first part only."),
        ("the parts in the other order", _turned(_heavy_path), ORDER),
    ),
    "added parts": (
        ("pre-norm", _pre, PRE),
        ("post-norm", _post, POST),
        ("the parts in parallel", _parallel_after, PARALLEL),
        (
            "normalised twice",
            _normed_twice,
            "The parts read normalised vectors, too; here they read them as they are.",
        ),
        (
            "the first part lost",
            _first_part_lost,
            "What the first part added is read by the second one and then lost.",
        ),
        ("the parts in the other order", _turned(_added_parts), ORDER),
    ),
    "compute first": (
        ("pre-norm", _pre, PRE),
        ("post-norm", _turned(_post), "The order is right, but every sum is normalised, as in post-norm."),
        ("the parts in parallel", _turned(_parallel), PARALLEL),
        ("outputs normalised", _turned(_added_parts), ADDED),
    ),
}
