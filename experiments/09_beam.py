"""Chapter 9: what a wider beam and length normalisation do to translations, well trained and not.

One thread, about two minutes a seed.
"""

import time

import numpy as np
import torch
from _store import run_and_store
from _translate import tensors, write
from _translation import french, translator

from attncourse.beam_search import beam_search
from attncourse.decoding import CachedTransformer
from attncourse.measures import exact_match
from attncourse.tasks.grammar import GrammarTask
from attncourse.tasks.pairs import END, PADDING, START
from attncourse.text_measures import bleu, chrf

KINDS = ("transformer", "early")
BEAMS = (2, 4, 8, 16)
LENGTH_POWERS = (0.0, 0.5, 1.0)
LOOKED_AT = 8  # beams of the search whose hypotheses are looked at one by one
N_TEXTS = 500
SPECIAL = (PADDING, START)
ROUNDING = 1e-3  # nats by which two sums of the same log-probabilities may differ
N_EXAMPLES = 8
QUICK = {
    "seed": 0,
    "settings": {"kinds": ["early"], "beams": [4], "length_powers": [0.0]},
    "key": "early.4.0.chrf",
    "tolerance": 6.0,
}


def run_seed(seed, *, kinds=KINDS, beams=BEAMS, length_powers=LENGTH_POWERS):
    """Train the translators and let every search translate the same held-out sentences."""
    torch.set_num_threads(1)
    return {kind: searched(kind, seed, beams, length_powers) for kind in kinds}


def searched(kind, seed, beams, length_powers):
    """Return what every search finds with one model."""
    data, model = translator(kind, seed)
    batch = data.held_out.take(np.arange(N_TEXTS))
    reference = log_probabilities(model, batch, batch.target)
    greedy = write(model, batch)
    greedy_total = log_probabilities(model, batch, greedy)
    values = {
        "greedy": quality(greedy, batch) | {"log_probability": greedy_total.mean()},
        "reference_log_probability": reference.mean(),
        "wrong": errors(greedy, greedy_total, reference, batch),
        "score_tells_right_from_wrong": separation(greedy, greedy_total, batch),
        "rated_high": rated_high(greedy, batch),
    }
    for n_beams in beams:
        plain = plain_beam_totals(model, batch, n_beams)
        values[str(n_beams)] = {"plain_below_greedy": (plain < greedy_total - ROUNDING).mean()}
        for power in length_powers:
            started = time.process_time()
            found = search(model, batch, n_beams, power)
            seconds = time.process_time() - started
            written = padded([row[0].tokens for row in found])
            totals = np.array([row[0].log_probability for row in found])
            one = quality(written, batch) | {
                "log_probability": totals.mean(),
                "above_greedy": (totals > greedy_total + ROUNDING).mean(),
                "cpu_seconds": seconds,
            }
            if power == 0:
                # With no length in the score, ours is the better of the plain search and the greedy path.
                apart = np.abs(totals - np.maximum(plain, greedy_total)).max()
                if apart > ROUNDING:
                    raise RuntimeError(f"{n_beams} beams: searches differ by {apart} nats")
                one["wrong"] = errors(written, totals, reference, batch)
                one["changed"] = changes(greedy, written, batch)
                if n_beams == LOOKED_AT:
                    values["hypotheses"] = ranks(found, batch)
            values[str(n_beams)][f"{power:g}"] = one
    return values


def search(model, batch, n_beams, length_power):
    """Return the hypotheses for every sentence of a batch."""
    source, lengths, target = tensors(batch)
    max_tokens = target.shape[1] + 3
    return beam_search(
        CachedTransformer(model, source, lengths, max_tokens),
        torch.full((len(source), 1), START),
        n_beams=n_beams,
        max_tokens=max_tokens,
        length_power=length_power,
        forbidden_tokens=SPECIAL,
    )


@torch.no_grad()
def plain_beam_totals(model, batch, n_beams):
    """Return the log-probability of what beam search finds without a greedy path beside it."""
    source, lengths, target = tensors(batch)
    max_tokens = target.shape[1] + 3
    next_logits = CachedTransformer(model, source, lengths, max_tokens)
    n_texts = len(source)
    tokens = torch.full((n_texts, 1), START)
    totals = torch.full((n_texts, n_beams), -torch.inf)
    totals[:, 0] = 0.0
    rows = torch.arange(n_texts)[:, None].expand(-1, n_beams)  # where each beam's tokens stand
    best = torch.full((n_texts,), -torch.inf)
    for _ in range(max_tokens):
        logits = next_logits(tokens).index_fill(-1, torch.tensor(SPECIAL), -torch.inf)
        candidates = (totals[..., None] + logits.log_softmax(dim=-1)[rows]).flatten(1)
        ranked, place = candidates.topk(2 * n_beams)  # at most one of a beam's continuations ends
        origin, token = rows.gather(1, place // logits.shape[-1]), place % logits.shape[-1]
        ends = token == END
        best = best.maximum(ranked[:, :n_beams].masked_fill(~ends[:, :n_beams], -torch.inf).amax(dim=1))
        totals, kept = ranked.masked_fill(ends, -torch.inf).topk(n_beams)
        rows = origin.gather(1, kept).flatten()
        tokens = torch.cat([tokens[rows], token.gather(1, kept).view(-1, 1)], dim=1)
        if (totals.amax(dim=1) <= best).all() or tokens.shape[1] > max_tokens:
            break
        next_logits.reorder(rows)
        rows = torch.arange(n_texts * n_beams).view(n_texts, n_beams)
    return best.maximum(totals.amax(dim=1)).numpy()  # cut-off texts compete, as in the package


@torch.no_grad()
def log_probabilities(model, batch, written):
    """Return the log-probability of texts, in nats, with padding and start out of the question."""
    source, lengths, _ = tensors(batch)
    tokens = torch.from_numpy(written)
    logits = model(source, lengths, tokens).index_fill(-1, torch.tensor(SPECIAL), -torch.inf)
    steps = logits.log_softmax(dim=-1).gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
    return steps.masked_fill(tokens == PADDING, 0.0).sum(dim=1).double().numpy()


def quality(written, batch):
    """Return how good translations are."""
    texts, references = in_words(written), in_words(batch.target)
    exact = exact_match(written, batch.target)
    wrong = [place for place, right in enumerate(exact) if not right]
    words = sum(len(text.split()) for text in references)
    values = {
        "exact_match": exact.mean(),
        "bleu": bleu(texts, references).score,
        "chrf": chrf(texts, references).score,
        "length_ratio": sum(len(text.split()) for text in texts) / words,
        "signature": bleu(texts, references).signature,
    }
    if wrong:
        pair = [[side[place] for place in wrong] for side in (texts, references)]
        values |= {"bleu_of_wrong": bleu(*pair).score, "chrf_of_wrong": chrf(*pair).score}
    return values


def errors(written, totals, reference, batch):
    """Split the wrong translations: the model prefers the reference (search error), or what was written."""
    wrong = exact_match(written, batch.target) == 0
    prefers_reference = reference > totals + ROUNDING
    return {
        "share": wrong.mean(),
        "search_errors": (wrong & prefers_reference).mean(),
        "model_errors": (wrong & ~prefers_reference).mean(),
    }


def separation(written, totals, batch):
    """Return how often, of a right and a wrong translation, the right one has the higher mean per token."""
    right = exact_match(written, batch.target) == 1
    means = totals / (written != PADDING).sum(axis=1)
    if right.all() or not right.any():
        return None
    return (means[right][:, None] > means[~right]).mean()


def changes(before, after, batch):
    """Return what became of the translations that another search changed."""
    width = max(before.shape[1], after.shape[1])
    before, after = (np.pad(side, ((0, 0), (0, width - side.shape[1]))) for side in (before, after))
    changed = (before != after).any(axis=1)
    was, now = (exact_match(side, batch.target)[changed].astype(bool) for side in (before, after))
    references = in_words(batch.target)
    better = worse = 0
    for place in np.flatnonzero(changed):
        old, new = (
            chrf(in_words(side[place : place + 1]), references[place : place + 1]).score
            for side in (before, after)
        )
        better, worse = better + (new > old), worse + (new < old)
    return {
        "texts": int(changed.sum()),
        "became_right": int((~was & now).sum()),
        "became_wrong": int((was & ~now).sum()),
        "chrf_higher": int(better),
        "chrf_lower": int(worse),
    }


def ranks(found, batch):
    """Return how often the right translation is the first of the hypotheses, and how often one of them."""
    places = []
    for row, target, length in zip(found, batch.target, batch.target_lengths, strict=True):
        texts = [hypothesis.tokens.tolist() for hypothesis in row]
        right = target[:length].tolist()
        places.append(texts.index(right) if right in texts else -1)
    places = np.array(places)
    return {"first": (places == 0).mean(), "among_them": (places >= 0).mean()}


def rated_high(written, batch):
    """Return the wrong translations that BLEU rates highest, each scored as a text of its own."""
    english = GrammarTask().vocabularies()[0]
    texts, references = in_words(written), in_words(batch.target)
    exact = exact_match(written, batch.target)
    rated = [
        {
            "source": " ".join(english.decode(batch.source[place, : batch.lengths[place]])),
            "written": texts[place],
            "reference": references[place],
            "bleu": bleu([texts[place]], [references[place]]).score,
            "chrf": chrf([texts[place]], [references[place]]).score,
        }
        for place in range(len(texts))
        if not exact[place]
    ]
    return sorted(rated, key=lambda one: -one["bleu"])[:N_EXAMPLES]


def in_words(tokens):
    """Return every row as a text, words with spaces between them."""
    vocabulary = french()
    return [" ".join(vocabulary.decode(row)) for row in tokens]


def padded(texts):
    """Return texts of unequal lengths as one array."""
    rows = np.full((len(texts), max(map(len, texts))), PADDING)
    for row, text in zip(rows, texts, strict=True):
        row[: len(text)] = text.numpy()
    return rows


if __name__ == "__main__":
    run_and_store(__file__, run_seed, seeds=(0, 1, 2))
