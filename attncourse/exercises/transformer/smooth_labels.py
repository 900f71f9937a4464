"""Checker: a smoothed loss; the version chooses who shares the smoothing and over what is averaged."""

from functools import partial

import torch

from attncourse.exercises._exercise import Exercise, Family, Mistake, Property, normal
from attncourse.tasks.pairs import PADDING

# Who gets a part of the share: as a function of the tokens' numbers and the right token.
SHARERS = {
    "all tokens except the right one": (
        "token != right",
        lambda token, right: token != right,
    ),
    "all tokens except padding, the right one included": (
        "token != 0",
        lambda token, right: (token != PADDING) & (right == right),
    ),
    "all tokens except padding and the right one": (
        "(token != right) & (token != 0)",
        lambda token, right: (token != right) & (token != PADDING),
    ),
    "all tokens": ("", lambda token, right: (token == token) & (right == right)),
}
MEANS = {
    "the mean over all real tokens of the batch": (
        "(loss * real).sum() / real.sum()",
        lambda loss, real: (loss * real).sum() / real.sum(),
    ),
    "the mean over the real tokens of each sequence, then the mean over the sequences": (
        "((loss * real).sum(dim=1) / real.sum(dim=1)).mean()",
        lambda loss, real: ((loss * real).sum(dim=1) / real.sum(dim=1)).mean(),
    ),
    "the sum over the real tokens of each sequence, then the mean over the sequences": (
        "(loss * real).sum(dim=1).mean()",
        lambda loss, real: (loss * real).sum(dim=1).mean(),
    ),
}
VERSIONS = tuple(
    {"sharers": sharers, "sharers_code": SHARERS[sharers][0], "mean": mean, "mean_code": MEANS[mean][0]}
    for sharers, mean in zip(list(SHARERS)[:3], MEANS, strict=True)
)


def _loss(logits, target, smoothing, sharers, mean, lacks=""):
    n_tokens = logits.shape[-1]
    right = target[..., None]
    shares = sharers(torch.arange(n_tokens), right).to(logits.dtype)
    parts = n_tokens if lacks == "count" else shares.sum(dim=-1, keepdim=True) + (lacks == "one")
    given = (torch.arange(n_tokens) == right).to(logits.dtype) * (1.0 if lacks == "less" else 1 - smoothing)
    goal = given + smoothing * shares / parts
    if lacks == "goal":
        goal = smoothing * (torch.arange(n_tokens) == right) + (1 - smoothing) * shares / parts
    log_p = logits.log_softmax(dim=1 if lacks == "axis" else -1)
    if lacks in ("log", "range"):
        log_p = logits.softmax(dim=-1) if lacks == "log" else logits.softmax(dim=-1).log()
    loss = -(goal * log_p).sum(dim=-1)
    if lacks == "entropy":
        loss = loss + torch.special.xlogy(goal, goal).sum(dim=-1)
    real = torch.ones_like(target) if lacks == "padding" else target != PADDING
    return mean(loss, real)


def _by_places(logits, target, smoothing, sharers, mean):
    loss = torch.zeros(target.shape, dtype=logits.dtype)
    log_p = logits - logits.logsumexp(dim=-1, keepdim=True)
    for b in range(target.shape[0]):
        for t in range(target.shape[1]):
            who = sharers(torch.arange(logits.shape[-1]), target[b, t].reshape(1))
            loss[b, t] = -(1 - smoothing) * log_p[b, t, target[b, t]] - smoothing * log_p[b, t, who].mean()
    return mean(loss, target != PADDING)


def _properties(rng):
    def case(lengths, n_tokens, smoothing, dtype=torch.float32, size=1.0):
        target = torch.from_numpy(rng.integers(1, n_tokens, size=(len(lengths), max(lengths))))
        for row, length in zip(target, lengths, strict=True):
            row[length:] = PADDING
        logits = size * normal(rng, *target.shape, n_tokens, dtype=dtype)
        return {"logits": logits, "target": target, "smoothing": smoothing}

    return [
        Property("no smoothing, one sequence of one token", [case([1], 5, 0.0), case([1], 7, 0.0)], 1),
        Property("smoothing, sequences of one token", [case([1, 1, 1], 4, 0.1), case([1, 1], 9, 0.6)], 2),
        Property("no smoothing, padding", [case([5, 2, 3], 7, 0.0)], 1),
        Property("smoothing and padding", [case([5, 2], 7, 0.1), case([4, 1, 6], 5, 0.3, torch.float64)], 2),
        Property("large logits", [case([3, 2], 6, 0.2, size=60.0)], 1),
    ]


def _build(version):
    sharers, mean = SHARERS[version["sharers"]][1], MEANS[version["mean"]][1]
    right = partial(_loss, sharers=sharers, mean=mean)

    def but(**others):
        return partial(_loss, **({"sharers": sharers, "mean": mean} | others))

    return Exercise(
        reference=right,
        properties=_properties,
        mistakes=[
            *(
                Mistake(
                    f"other sharers ({i})",
                    "The share is spread over all tokens, padding and the right one included, as in the "
                    "chapter."
                    if text == "all tokens"
                    else "The share is spread over other tokens than the ones that were named. "
                    "Count, for a vocabulary of four tokens, how many get a part.",
                    but(sharers=other),
                )
                for i, (text, (_, other)) in enumerate(SHARERS.items(), start=1)
                if text != version["sharers"]
            ),
            *(
                Mistake(
                    f"another average ({i})",
                    "Every token's loss is right, but the losses are averaged over something else.",
                    but(mean=other),
                )
                for i, (text, (_, other)) in enumerate(MEANS.items(), start=1)
                if text != version["mean"]
            ),
            Mistake(
                "a part for everybody, given to some",
                "The share was divided by the size of the vocabulary and given to fewer tokens, so that the "
                "smoothed target "
                "sums to less than 1.",
                but(lacks="count"),
            ),
            *(
                Mistake(
                    "counted one too many",
                    "The share was divided by one more than the number of tokens that get a part, so that "
                    "the "
                    "smoothed target sums to less than 1.",
                    but(lacks="one"),
                )
                for _ in [version]
                if version["sharers"] == list(SHARERS)[2]
            ),
            Mistake(
                "padding in the divisor",
                "Places of padding add nothing to the sum, but they count in the number by which it is "
                "divided.",
                but(mean=lambda loss, real: (loss * real).mean()),
            ),
            Mistake(
                "the sum of everything",
                "The losses of all tokens were added up; nothing was averaged.",
                but(mean=lambda loss, real: (loss * real).sum()),
            ),
            Mistake(
                "a logarithm of rounded probabilities",
                "The softmax came first and its logarithm after it: for large logits small probabilities "
                "round "
                "to 0, and the loss is infinite.",
                but(lacks="range"),
            ),
            Mistake(
                "the right token keeps everything",
                "The share was added to the others and not taken from the right token: the smoothed target "
                "sums to more than 1.",
                but(lacks="less"),
            ),
            Mistake(
                "share and rest exchanged",
                "The right token gets the share, and the others get the rest.",
                but(lacks="goal"),
            ),
            Mistake(
                "padding counted",
                "Places of padding count as if something were to be predicted there.",
                but(lacks="padding"),
            ),
            Mistake(
                "probabilities without a logarithm",
                "The loss holds p where it should hold ln p.",
                but(lacks="log"),
            ),
            Mistake(
                "softmax over the places",
                "The softmax runs over the places of the sequence; it runs over the vocabulary.",
                but(lacks="axis"),
            ),
            Mistake(
                "the entropy subtracted",
                "This is the distance from the smoothed target (the Kullback–Leibler divergence). It has "
                "the same gradient, "
                "but it is the loss less the entropy of that target.",
                but(lacks="entropy"),
            ),
        ],
        see=(8, "Two habits of training"),
        variants={"place by place": partial(_by_places, sharers=sharers, mean=mean)},
    )


FAMILY = Family(VERSIONS, _build)
