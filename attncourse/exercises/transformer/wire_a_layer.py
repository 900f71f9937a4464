"""Checker: an encoder layer whose wiring the version chooses."""

from attncourse.exercises._exercise import Exercise, Family, Mistake, Property, normal
from attncourse.exercises.multihead._filled import filled
from attncourse.exercises.transformer._wirings import OTHERS, RULES
from attncourse.multihead import MultiHeadAttention
from attncourse.transformer_parts import FeedForward, LayerNorm

VERSIONS = tuple({"name": name, "wiring": text, "code": code} for name, (text, code, _, _) in RULES.items())


def _case(rng, batch, n_tokens, d_model, n_heads):
    return {
        "x": normal(rng, batch, n_tokens, d_model),
        "attend": filled(rng, MultiHeadAttention, d_model, n_heads),
        "compute": filled(rng, FeedForward, d_model, 3 * d_model - 1),
        "norm_1": filled(rng, LayerNorm, d_model),
        "norm_2": filled(rng, LayerNorm, d_model),
    }


def _only(rng, silent, batch=2, n_tokens=5, d_model=6):
    """Return a case in which one part returns zeros, so that the other is seen by itself."""
    case = _case(rng, batch, n_tokens, d_model, 2)
    for parameter in case[silent].output_proj.parameters():
        parameter.data.zero_()
    for norm in ("norm_1", "norm_2"):
        case[norm].bias.data.zero_()
    return case


def _properties(rng):
    return [
        Property("an attention that returns zeros", [_only(rng, "attend")], 1),
        Property("a feed-forward network that returns zeros", [_only(rng, "compute")], 1),
        Property("both parts", [_case(rng, 2, 5, 6, 3), _case(rng, 3, 1, 8, 2)], 2),
        Property("large vectors", [_scaled(_case(rng, 1, 4, 6, 3), 20.0)], 1),
    ]


def _scaled(case, factor):
    return case | {"x": case["x"] * factor}


def _exchanged(rule):
    return lambda x, attend, compute, norm_1, norm_2: rule(x, attend, compute, norm_2, norm_1)


def _one_norm(rule):
    return lambda x, attend, compute, norm_1, norm_2: rule(x, attend, compute, norm_1, norm_1)


def _with_path(rule, times):
    def wired(x, attend, compute, norm_1, norm_2):
        return rule(x, attend, compute, norm_1, norm_2) + times * x

    return wired


def _build(version):
    _, _, rule, written_otherwise = RULES[version["name"]]
    return Exercise(
        reference=rule,
        properties=_properties,
        mistakes=[
            *(Mistake(name, text, other) for name, other, text in OTHERS[version["name"]]),
            Mistake(
                "the norms exchanged", "`norm_1` and `norm_2` stand in each other's place.", _exchanged(rule)
            ),
            Mistake("one norm for both", "`norm_1` is used twice; each part has its own.", _one_norm(rule)),
            Mistake(
                "the incoming vectors lost",
                "The parts are as they should be, but the vectors that came in are not in the sum.",
                _with_path(rule, -1),
                see=(8, "The residual path: keep the token, add what the layer found"),
            ),
            Mistake(
                "the incoming vectors twice",
                "The parts are as they should be, but the vectors that came in are in the sum twice.",
                _with_path(rule, 1),
                see=(8, "The residual path: keep the token, add what the layer found"),
            ),
        ],
        see=(8, "Where the normalisation stands: on the path or beside it"),
        variants={"written otherwise": written_otherwise},
    )


FAMILY = Family(VERSIONS, _build)
