"""Checker: beam search for one text, with scores divided by a power of the length."""

import heapq
import math

import torch

from attncourse.exercises._exercise import Exercise, Mistake, Property, normal


def _run(answer, inputs):
    table, *rest = inputs.values()  # (vocab_size, vocab_size, vocab_size): logits after each pair of tokens

    def next_log_probabilities(tokens):
        before = tokens[-2] if len(tokens) > 1 else tokens[-1]
        return table[before, tokens[-1]].log_softmax(dim=-1)

    score, tokens = answer(next_log_probabilities, *rest)
    return {"score": score, "tokens": torch.as_tensor(tokens)}


def _properties(rng):
    def case(n_beams, power, vocab_size=5, max_tokens=6, end_bias=0.0):
        start, end = rng.permutation(vocab_size)[:2].tolist()
        table = 1.7 * normal(rng, vocab_size, vocab_size, vocab_size, dtype=torch.float64)
        table[..., start] -= 8.0
        table[..., end] += end_bias
        sizes = {"start": start, "end": end, "n_beams": n_beams, "max_tokens": max_tokens}
        return {"table": table, **sizes, "length_power": power}

    def telling(wrong, *sizes):
        """Draw until a wrong search finds something else: most tables forgive most mistakes."""
        while True:
            made = case(*sizes)
            if abs(_run(wrong, made)["score"] - _run(_search(), made)["score"]) > 1e-3:
                return made

    fewer, frozen, enough = _search(room="ends take a place"), _ends_stay, _search(stop="enough")
    twice, first_end = _search(ends=2), _search(stop="first")
    powers = [telling(_search(counted=1), 2, 0.6), telling(_too_late, 3, 1.0), telling(first_end, 1, 1.0)]
    several = [telling(twice, 2, 0.0), telling(first_end, 3, 0.0), telling(twice, 3, 0.0, 6, 4)]
    room = [telling(wrong, 2, 1.0, 5, 6, 1.0) for wrong in (fewer, frozen, enough)]
    return [
        Property("one beam", [case(1, 0.0) for _ in range(4)], 1),
        Property("several beams", [*several, case(3, 0.0), case(4, 0.0)], 2),
        Property("texts that are cut off", [case(2, 0.0, 5, 3, -1.5) for _ in range(4)], 1),
        Property("a power of the length", [*powers, case(3, 1.5), case(2, 0.6)], 2),
        Property("an end that frees a place", room, 1),
        Property("more beams than tokens", [case(7, 0.3, 4, 4) for _ in range(3)], 1),
    ]


def _search(
    *,
    final="both",
    ends=1,
    stop="never",
    room="live",
    counted=0,
    power=None,
    logs=True,
    whole=True,
    one_each=False,
):
    """Return a beam search; each option changes one thing."""

    def beam_search(next_log_probabilities, start, end, n_beams, max_tokens, length_power):
        def score(total, tokens):
            return total / (len(tokens) - 1 + counted) ** (length_power if power is None else power)

        beams, finished = [(0.0, [start])], []
        for _ in range(max_tokens):
            longer = []
            for total, tokens in beams:
                gains = next_log_probabilities(tokens if whole else tokens[-1:])
                gains = (gains if logs else gains.exp()).tolist()
                following = sorted(range(len(gains)), key=lambda i: -gains[i])[: 1 if one_each else None]
                longer += [(total + gains[token], [*tokens, token]) for token in following]
            longer.sort(key=lambda one: -one[0])
            finished += [one for one in longer[: ends * n_beams] if one[1][-1] == end]
            if room == "ends take a place":
                longer = longer[:n_beams]
            beams = [one for one in longer if one[1][-1] != end][:n_beams]
            if not beams or len(finished) >= {"never": math.inf, "first": 1, "enough": n_beams}[stop]:
                break
        if final == "both":
            finished = finished + beams
        best = max(finished or beams, key=lambda one: score(*one))
        return score(*best), best[1][1:]

    return beam_search


def _as_heap(next_log_probabilities, start, end, n_beams, max_tokens, length_power):
    live, done = [(0.0, (start,))], []
    for step in range(1, max_tokens + 1):
        steps = torch.stack([next_log_probabilities(list(tokens)) for _, tokens in live])
        totals = steps + torch.tensor([total for total, _ in live], dtype=steps.dtype)[:, None]
        n_tokens = totals.shape[1]
        order = heapq.nlargest(2 * n_beams, range(totals.numel()), key=lambda i: totals.flatten()[i].item())
        found = [(totals.flatten()[i].item(), (*live[i // n_tokens][1], i % n_tokens)) for i in order]
        done += [(total / step**length_power, text) for total, text in found[:n_beams] if text[-1] == end]
        live = [one for one in found if one[1][-1] != end][:n_beams]
    done += [(total / max_tokens**length_power, text) for total, text in live]
    score, text = max(done)
    return score, list(text[1:])


def _ignores_the_end(next_log_probabilities, start, end, n_beams, max_tokens, length_power):
    return _search()(next_log_probabilities, start, -1, n_beams, max_tokens, length_power)


def _too_late(next_log_probabilities, start, end, n_beams, max_tokens, length_power):
    total, tokens = _search()(next_log_probabilities, start, end, n_beams, max_tokens, 0.0)
    return total / len(tokens) ** length_power, tokens


def _ends_stay(next_log_probabilities, start, end, n_beams, max_tokens, length_power):
    beams = [(0.0, [start])]
    for _ in range(max_tokens):
        longer = []
        for total, tokens in beams:
            gains = next_log_probabilities(tokens).tolist() if tokens[-1] != end else []
            longer += [(total + gain, [*tokens, token]) for token, gain in enumerate(gains)]
            longer += [(total, tokens)] if tokens[-1] == end else []
        beams = sorted(longer, reverse=True)[:n_beams]
    return max((total / (len(tokens) - 1) ** length_power, tokens[1:]) for total, tokens in beams)


def _with_start(next_log_probabilities, start, *sizes):
    score, tokens = _search()(next_log_probabilities, start, *sizes)
    return score, [start, *tokens]


EXERCISE = Exercise(
    reference=_search(),
    properties=_properties,
    run=_run,
    rtol=1e-6,
    atol=1e-8,
    mistakes=[
        Mistake(
            "the end is a token like any other",
            "A beginning that has written the end token is extended further, and every text has max_tokens "
            "tokens.",
            _ignores_the_end,
        ),
        Mistake(
            "ended texts keep their place",
            "A finished text stays among the beams, unchanged, and takes the room of a beginning that is "
            "still open; a better one that comes later can push it out.",
            _ends_stay,
        ),
        Mistake(
            "fewer beams after an end",
            "When a beam ends, nobody takes its place: the search goes on with fewer than n_beams "
            "beginnings.",
            _search(room="ends take a place"),
        ),
        Mistake(
            "stopped at the first end",
            "The search stops as soon as one text has ended; a beginning that is still open may lead to a "
            "better one.",
            _search(stop="first"),
        ),
        Mistake(
            "stopped at n_beams ends",
            "The search stops when n_beams texts have ended; a beginning that is still open may lead to a "
            "better one, most of all when scores are divided by a length.",
            _search(stop="enough"),
        ),
        Mistake(
            "cut-off texts dropped",
            "Beginnings that reach max_tokens without an end are dropped; here they compete with the others.",
            _search(final="ended"),
        ),
        Mistake(
            "every end counts",
            "A continuation that ends is kept although it does not rank among the best n_beams. The "
            "chapter's draft does so, too, among twice as many; rule 3 does not.",
            _search(ends=2),
        ),
        Mistake(
            "one continuation for each beam",
            "Each beam is extended by its likeliest token only, so that the beams never compete with each "
            "other.",
            _search(one_each=True),
        ),
        Mistake(
            "probabilities added up",
            "Probabilities are summed instead of their logarithms: the sum then is no probability of the "
            "text.",
            _search(logs=False),
        ),
        Mistake(
            "length forgotten",
            "The score is the sum itself, whatever the power of the length.",
            _search(power=0.0),
            see=(9, "Longer texts pay for every word"),
        ),
        Mistake(
            "start token counted",
            "The length counts the start token, which nobody had to write.",
            _search(counted=1),
            see=(9, "Longer texts pay for every word"),
        ),
        Mistake(
            "divided too late",
            "The text with the largest sum is chosen, and only its own score is divided by the length: the "
            "others never get the chance to overtake it.",
            _too_late,
            see=(9, "Longer texts pay for every word"),
        ),
        Mistake(
            "only the last token",
            "The model is asked with the last token alone. It is a function of the whole text so far.",
            _search(whole=False),
            see=(9, "The loop: score, choose, append"),
        ),
        Mistake(
            "start token returned",
            "The text returned begins with the start token, which is given.",
            _with_start,
        ),
    ],
    see=(9, "Search: beam search"),
    variants={"with a heap": _as_heap},
)
