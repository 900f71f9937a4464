"""Chapter 17: questions about a passage, answered by pointing, with and without attention inside.

One thread, about two and a half minutes a seed.
"""

from dataclasses import replace

import numpy as np
import torch
from _store import run_and_store

from attncourse.measures import pointing_accuracy
from attncourse.span_reader import SpanReader, best_span, span_f1, span_loss
from attncourse.tasks.passages import PEOPLE, PassageTask
from attncourse.training import set_seed, train

TASK = PassageTask()
POOL, FEW, TESTED, TESTED_LONG, BATCH_SIZE = 12_000, 1000, 800, 300, 32
LONGER = (16, 24)  # sentences of the passages that are longer than any in training
MAX_TOKENS = 3
# The sizes give both models 113 thousand parameters.
MODELS = {"attention": {"attention": True, "d_hidden": 48}, "none": {"attention": False, "d_hidden": 55}}
CPU_SECONDS, CPU_SECONDS_FEW = 40.0, 20.0
# Of 0.002, 0.005, 0.01 and 0.02, tried on seed 0 for 12 seconds, the best on known pairs: the same for both.
LEARNING_RATES = dict.fromkeys(MODELS, 2e-2)
FIRST_STEPS = 60
EVALUATE_EVERY = 50
NAMES = sorted({number for person in PEOPLE for number in TASK.vocabulary.encode(person.split())})
QUICK = {"seed": 0, "settings": {"kinds": []}, "key": "first_steps.loss", "tolerance": 0.15}


def run_seed(seed, *, kinds=tuple(MODELS)):
    """Train both readers on the same passages, and score them on pairs that no training asked for."""
    torch.set_num_threads(1)
    pool = TASK.sample(POOL, np.random.default_rng([seed, 0]))
    _, history = fit("attention", pool, seed, steps=FIRST_STEPS)
    values = {"first_steps": {"loss": np.mean(history.losses[-20:])}}
    tests = held_out(seed) if kinds else {}
    values["ceilings"] = {name: test.ceilings for name, test in tests.items()}
    for kind in kinds:
        model, history = fit(kind, pool, seed, cpu_seconds=CPU_SECONDS, evaluate=validation(seed))
        few, few_history = fit(kind, pool.take(np.arange(FEW)), seed, cpu_seconds=CPU_SECONDS_FEW)
        values[kind] = {
            "few": {"steps": few_history.steps, **scores(few, tests["held_out"])},
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "steps": history.steps,
            "curve": [[e.step, e.cpu_seconds, e.value] for e in history.evaluations],
            "tests": {name: scores(model, test) for name, test in tests.items()},
            "renamed": changes(model, tests["held_out"], seed),
        }
        if model.has_weights:
            values[kind]["looks"] = {name: looks(model, test) for name, test in tests.items()}
            with torch.no_grad():
                model.context_proj.weight.zero_()
            values[kind]["without_look_back"] = {
                name: scores(model, test)["exact_match"] for name, test in tests.items()
            }
    return rounded(values)


def held_out(seed):
    """Draw the passages of the report: known pairs, held-out pairs, and held-out pairs in longer passages."""
    rng = np.random.default_rng([seed, 1])
    tests = {"fresh": TASK.sample(TESTED, rng), "held_out": TASK.sample(TESTED, rng, held_out=True)}
    for n in LONGER:
        tests[str(n)] = PassageTask((n, n)).sample(TESTED_LONG, rng, held_out=True)
    return tests


def validation(seed):
    """Return the share of exact answers on passages of their own, from known pairs."""
    batch = TASK.sample(300, np.random.default_rng([seed, 3]))
    return lambda model: exact(answer(model, batch)[0], batch).mean()


def fit(kind, pool, seed, *, learning_rate=None, evaluate=None, **budget):
    """Train one reader on passages drawn from a pool."""
    rng = np.random.default_rng([seed, 2])
    set_seed(seed)
    model = SpanReader(len(TASK.vocabulary), **MODELS[kind])
    history = train(
        model,
        lambda: pool.take(rng.integers(len(pool), size=BATCH_SIZE)),
        lambda model, batch: span_loss(
            *model(*inputs(batch)), torch.from_numpy(batch.start), torch.from_numpy(batch.end)
        ),
        learning_rate=learning_rate or LEARNING_RATES[kind],
        evaluate=evaluate,
        evaluate_every=EVALUATE_EVERY if evaluate else None,
        **budget,
    )
    return model.eval(), history


def inputs(batch):
    """Return what a reader reads."""
    arrays = batch.passage, batch.passage_lengths, batch.question, batch.question_lengths
    return tuple(torch.from_numpy(array) for array in arrays)


def answer(model, batch):
    """Return the best answers (batch, 2) and the probabilities of their first tokens (batch, n_passage)."""
    with torch.no_grad():
        start_logits, end_logits = model(*inputs(batch))
    spans = torch.stack(best_span(start_logits, end_logits, max_tokens=MAX_TOKENS), dim=1)
    return spans.numpy(), start_logits.softmax(dim=1).numpy()


def exact(spans, batch):
    """Return which answers are right to the token."""
    return (spans == np.stack([batch.start, batch.end], axis=1)).all(axis=1)


def scores(model, batch):
    """Return how right the answers are, and from which sentence the wrong ones come."""
    spans, start = answer(model, batch)
    right = exact(spans, batch)
    rows = np.arange(len(batch))
    sentence = batch.sentences[rows, spans[:, 0]]
    same = batch.facts[rows, sentence] == batch.facts[rows, batch.asked]  # (batch, 2)
    n_facts = (batch.facts[..., 0] >= 0).sum(axis=1)
    found = {
        "exact_match": right.mean(),
        "f1": span_f1(spans, np.stack([batch.start, batch.end], axis=1)).mean(),
        "right_sentence": (sentence == batch.asked).mean(),
        "start_pointing": pointing_accuracy(start, batch.evidence),
        "start_mass": (start * batch.evidence).sum(axis=1).mean(),
        "errors": {
            "right_sentence": (same.all(axis=1) & ~right).mean(),
            "same_person": (same[:, 0] & ~same[:, 1]).mean(),
            "same_relation": (same[:, 1] & ~same[:, 0]).mean(),
            "neither": (~same.any(axis=1)).mean(),
        },
    }
    if len(np.unique(n_facts)) > 1:
        found["by_facts"] = {str(n): right[n_facts == n].mean() for n in np.unique(n_facts)}
    return found


def changes(model, batch, seed):
    """Return how often the answer leaves a sentence with a new name, and stays if another sentence gets it.

    In one sentence of every passage the name becomes that of a person whom the passage does not mention.
    """
    rng = np.random.default_rng([seed, 4])
    n_facts = (batch.facts[..., 0] >= 0).sum(axis=1)
    other = (batch.asked + rng.integers(1, n_facts)) % n_facts
    absent = [rng.choice(np.setdiff1d(np.arange(len(PEOPLE)), facts[:, 0])) for facts in batch.facts]
    names = np.array([TASK.vocabulary.encode(PEOPLE[person].split()) for person in absent])
    before, _ = answer(model, batch)
    spans = {}
    for name, sentence in (("evidence", batch.asked), ("other", other)):
        places = (batch.sentences == sentence[:, None]) & np.isin(batch.passage, NAMES)
        passage = batch.passage.copy()
        passage[places] = names.ravel()  # two words in every passage
        spans[name], _ = answer(model, replace(batch, passage=passage))
    rows = np.arange(len(batch))
    return {
        "leaves": (batch.sentences[rows, spans["evidence"][:, 0]] != batch.asked).mean(),
        "stays": (spans["other"] == before).all(axis=1).mean(),
    }


def looks(model, batch):
    """Return where the question looks in the passage and the names of the passage look in the question."""
    with torch.no_grad():
        weights = model(*inputs(batch), return_weights=True)[2]
    to_passage, to_question = weights.passage.numpy(), weights.question.numpy()
    order = batch.passage_lengths.argsort(kind="stable")  # the other passage is about as long
    other = np.empty_like(to_passage)
    other[order] = np.roll(to_passage[order], 1, axis=0)
    real = batch.sentences >= 0
    # A name of the passage that stands in the question should find itself there.
    twins = (batch.passage[:, :, None] == batch.question[:, None]) & np.isin(batch.passage, NAMES)[:, :, None]
    real_words = (batch.question > 0).sum(axis=1)[:, None]
    has_twin = twins.any(axis=2)
    return {
        "passage": {
            name: {
                "pointing": pointing_accuracy(rows, batch.evidence),
                "mass": (rows * batch.evidence).sum(axis=1).mean(),
            }
            for name, rows in (("own", to_passage), ("other", other))
        }
        | {"uniform": {"mass": (batch.evidence.sum(axis=1) / real.sum(axis=1)).mean()}},
        "question": {
            "pointing": pointing_accuracy(to_question, twins),
            "other": pointing_accuracy(np.roll(to_question, 1, axis=0), twins),
            "chance": np.broadcast_to(1 / real_words, has_twin.shape)[has_twin].mean(),
        },
    }


def rounded(values):
    """Return nested dicts and lists with four decimals, more than 800 passages can tell."""
    if isinstance(values, dict):
        return {key: rounded(value) for key, value in values.items()}
    if isinstance(values, list):
        return [rounded(value) for value in values]
    return round(float(values), 4) if isinstance(values, float | np.floating) else values


if __name__ == "__main__":
    run_and_store(__file__, run_seed, seeds=(0, 1, 2))
