"""Checker: how weights, output and entropy move as the temperature falls."""

import numpy as np
import torch

from attncourse.exercises._exercise import Exercise, Mistake, Property


def _slope(quantity):
    """Return a function that differentiates a quantity of the weights, by autograd."""

    def slope(scores, value, beta):
        def at(inverse):
            weights = (inverse * torch.from_numpy(scores)).softmax(dim=-1)
            return quantity(weights, torch.from_numpy(scores), torch.from_numpy(value), inverse)

        found = torch.autograd.functional.jacobian(at, torch.tensor(beta, dtype=torch.float64))
        return found.numpy() if found.ndim else found.item()

    return slope


def _softmax(scores):
    exponentials = np.exp(scores - scores.max())
    return exponentials / exponentials.sum()


def _weights(scores, value, beta):
    weights = _softmax(beta * scores)
    return weights * (scores - weights @ scores)


def _output(scores, value, beta):
    weights = _softmax(beta * scores)
    return (weights * (scores - weights @ scores)) @ (value - weights @ value)


def _spread(scores, value, beta):
    weights = _softmax(beta * scores)
    return float(weights @ (scores - weights @ scores) ** 2)


def _run(answer, inputs):
    name, *rest = inputs.values()
    found = answer[name](*rest)
    return np.asarray(found, dtype=float) if name in ("weights", "output") else found


def _properties(rng):
    def case(part, n_keys, beta, shift=0.0):
        return {
            "part": part,
            "scores": 2 * rng.normal(size=n_keys) + shift,
            "value": rng.normal(size=(n_keys, 3)),
            "beta": beta + float(rng.random()) / 10,
        }

    large, apart = case("weights", 6, 0.8, 900.0), case("weights", 4, 0.9)
    apart["scores"] *= 1000.0
    thousands = case("output", 5, 0.05)  # too curved for a difference quotient
    thousands |= {"scores": 1000 * thousands["scores"], "beta": thousands["beta"] / 100}
    return [
        Property("the weights", [case("weights", 5, 1.0), case("weights", 7, 0.3)], 2),
        Property("the weights at large scores", [large, apart, thousands | {"part": "weights"}], 1),
        Property("the output", [case("output", 5, 1.0), case("output", 7, 0.3), thousands], 2),
        Property("the mean score", [case("mean_score", 5, 1.0), case("mean_score", 7, 0.3)], 1),
        Property("the entropy", [case("entropy", 5, 1.4), case("entropy", 7, 0.3)], 2),
        Property("the entropy at large scores", [apart | {"part": "entropy"}], 0.5),
    ]


def _times_weights(scores, value, beta):
    return _softmax(beta * scores) * scores


def _both_ways(scores, value, beta):
    weights = _softmax(beta * scores)
    return weights * (1 - weights) * scores


def _plain_mean(scores, value, beta):
    return _softmax(beta * scores) * (scores - scores.mean())


def _at_one(function):
    return lambda scores, value, beta: function(scores, value, 1.0)


def _by_temperature(function):
    return lambda scores, value, beta: -(beta**2) * function(scores, value, beta)


def _overflowing(scores, value, beta):
    with np.errstate(over="ignore", invalid="ignore"):
        weights = np.exp(beta * scores) / np.exp(beta * scores).sum()
        return weights * (scores - weights @ scores)


def _log_of_zero(scores, value, beta):
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(-_weights(scores, value, beta) @ np.log(_softmax(beta * scores)))


def _unweighted(scores, value, beta):
    return (scores - scores.mean()) @ (value - value.mean(axis=0)) / len(scores)


def _uncentred(scores, value, beta):
    return (_softmax(beta * scores) * scores) @ value


def _deviation(scores, value, beta):
    return _spread(scores, value, beta) ** 0.5


def _entropy(factor=lambda beta: -beta):
    return lambda scores, value, beta: factor(beta) * _spread(scores, value, beta)


EXERCISE = Exercise(
    reference={
        "weights": _slope(lambda weights, *_: weights),
        "output": _slope(lambda weights, scores, value, beta: weights @ value),
        "mean_score": _slope(lambda weights, scores, *_: weights @ scores),
        "entropy": _slope(
            lambda weights, scores, value, beta: (beta * scores).logsumexp(dim=0) - beta * (weights @ scores)
        ),
    },
    properties=_properties,
    mistakes=[
        Mistake(
            "the denominator held fixed",
            "You differentiated the exponential and not the sum below it. The sum grows as well, so your "
            "changes of the weights do not add up to 0.",
            {
                "weights": _times_weights,
                "output": _uncentred,
                "mean_score": lambda scores, value, beta: float(_times_weights(scores, value, beta) @ scores),
            },
        ),
        Mistake(
            "own score only",
            "You let each weight depend on its own score only. All scores move at once, and each of them "
            "moves the sum.",
            {"weights": _both_ways},
        ),
        Mistake(
            "plain mean of the scores",
            "You subtracted the plain mean of the scores. The mean that appears is the one under the "
            "weights.",
            {"weights": _plain_mean},
        ),
        Mistake(
            "slope at temperature 1",
            "You took the weights at an inverse temperature of 1, whatever beta is.",
            {"weights": _at_one(_weights), "output": _at_one(_output), "mean_score": _at_one(_spread)},
        ),
        Mistake(
            "slope in the temperature",
            "That is the derivative with respect to T = 1 / beta. With respect to beta, the sign and "
            "the power of beta are others.",
            {
                "weights": _by_temperature(_weights),
                "output": _by_temperature(_output),
                "mean_score": _by_temperature(_spread),
                "entropy": _by_temperature(_entropy()),
            },
        ),
        Mistake(
            "covariance without weights",
            "You computed a plain covariance or variance, in which every key counts the same.",
            {"output": _unweighted, "mean_score": lambda scores, value, beta: float(scores.var())},
        ),
        Mistake(
            "deviation instead of variance",
            "You returned the standard deviation of the scores; the slope is its square.",
            {"mean_score": _deviation},
        ),
        Mistake(
            "sign of the entropy's slope",
            "Your entropy rises as beta grows. A larger beta is a lower temperature, and the weights gather.",
            {"entropy": _entropy(lambda beta: beta)},
        ),
        Mistake(
            "beta lost",
            "The entropy holds the logarithm of the weights, and the logarithm holds beta times the score: "
            "one factor beta is missing.",
            {"entropy": _entropy(lambda beta: -1.0)},
        ),
        Mistake(
            "exponentials that overflow",
            "You put beta times the score into the exponential as it is. At scores in the thousands that "
            "overflows, and infinity over infinity is NaN.",
            {"weights": _overflowing},
            see=(2, "The exponential breaks first"),
        ),
        Mistake(
            "logarithm of a weight that is 0",
            "A weight can be exactly 0 in double precision. Its logarithm is minus infinity, and 0 times "
            "infinity is NaN.",
            {"entropy": _log_of_zero},
        ),
        Mistake(
            "entropy in bits",
            "Your entropy is in bits. The chapter measures it in nats, with the natural logarithm.",
            {"entropy": _entropy(lambda beta: -beta / np.log(2))},
        ),
    ],
    see=(2, "Weights are a distribution"),
    variants={
        "covariances": {"weights": _weights, "output": _output, "mean_score": _spread, "entropy": _entropy()}
    },
    run=_run,
)
