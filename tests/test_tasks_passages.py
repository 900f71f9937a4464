"""Passages: reading finds the answer, the person and the relation are both needed, the spans are right."""

from dataclasses import fields

import numpy as np
import pytest

from attncourse.tasks.pairs import PADDING
from attncourse.tasks.passages import PEOPLE, RELATIONS, PassageTask

# The definition once more, as the beginning of a text that no other relation shares.
STATED = {
    "moved": ("moved to", "settled in"),
    "born": ("was born in", "comes from"),
    "works": ("works in", "has a job in"),
    "visited": ("visited", "spent a week in"),
    "bought": ("bought the", "paid for the"),
    "sold": ("sold the", "gave away the"),
    "lost": ("lost the", "cannot find the"),
    "mended": ("mended the", "repaired the"),
}
ASKED = {
    "moved": ("where did @ move to ?", "which place is the home of @ ?"),
    "born": ("where was @ born ?", "where does @ come from ?"),
    "works": ("where does @ work ?", "where is the office of @ ?"),
    "visited": ("which place did @ see ?", "where did @ travel to ?"),
    "bought": ("what did @ buy ?", "what is new at the home of @ ?"),
    "sold": ("what did @ sell ?", "what does @ no longer own ?"),
    "lost": ("what did @ lose ?", "what is @ looking for ?"),
    "mended": ("what did @ mend ?", "what works again thanks to @ ?"),
}
TIMES = ("in may", "in june", "last year", "last week")


def sample(batch_size=200, seed=0, held_out=False, **options):
    task = PassageTask(**options)
    return task, task.sample(batch_size, np.random.default_rng(seed), held_out=held_out)


def words_of(task, tokens):
    return [task.vocabulary.tokens[number] for number in tokens]


def read_fact(text):
    """Return person, relation and value of a sentence without its full stop, by reading it."""
    for time in TIMES:
        text = text.removeprefix(f"{time} ").removesuffix(f" {time}")
    first, family, rest = text.split(" ", 2)
    (found,) = [
        (relation, rest.removeprefix(f"{wording} "))
        for relation, wordings in STATED.items()
        for wording in wordings
        if rest.startswith(f"{wording} ")
    ]
    return f"{first} {family}", *found


def read_question(text):
    """Return the person and the relation that a question asks for."""
    (found,) = [
        (person, relation)
        for relation, wordings in ASKED.items()
        for wording in wordings
        for person in (" ".join(text.split()[i : i + 2]) for i in range(len(text.split())))
        if person in PEOPLE and wording.replace("@", person) == text
    ]
    return found


@pytest.mark.parametrize(("held_out", "n_facts"), [(False, (6, 12)), (True, (4, 5)), (True, (13, 24))])
def test_reading_finds_the_answer(held_out, n_facts):
    task, batch = sample(held_out=held_out, n_facts=n_facts)
    sizes = set()
    for row in range(len(batch)):
        words = words_of(task, batch.passage[row, : batch.passage_lengths[row]])
        texts = " ".join(words).removesuffix(" .").split(" . ")
        facts = [read_fact(text) for text in texts]
        sizes.add(len(facts))
        question = " ".join(words_of(task, batch.question[row, : batch.question_lengths[row]]))
        person, relation = read_question(question)
        matching = [number for number, fact in enumerate(facts) if fact[:2] == (person, relation)]
        assert matching == [batch.asked[row]]
        answer = words[batch.start[row] : batch.end[row] + 1]
        assert " ".join(answer) == facts[matching[0]][2]
        assert 1 <= len(answer) <= 3
        # Both must match: others share the person, others the relation, and no value stands twice.
        assert sum(fact[0] == person for fact in facts) > 1
        assert sum(fact[1] == relation for fact in facts) > 1
        assert len({fact[2] for fact in facts}) == len(facts)
        assert ((PEOPLE.index(person) + RELATIONS.index(relation)) % 5 == 0) == held_out
        known = [(PEOPLE.index(who), RELATIONS.index(what)) for who, what, _ in facts]
        assert batch.facts[row, : len(facts)].tolist() == [list(pair) for pair in known]
        assert (batch.facts[row, len(facts) :] == -1).all()
    assert sizes == set(range(n_facts[0], n_facts[1] + 1))


def test_the_evidence_is_the_sentence_that_holds_the_answer():
    task, batch = sample()
    for row in range(len(batch)):
        words = words_of(task, batch.passage[row])
        stops = [place for place, word in enumerate(words) if word == "."]
        before = [stop for stop in stops if stop < batch.start[row]]
        first = before[-1] + 1 if before else 0
        last = min(stop for stop in stops if stop > batch.end[row])
        assert np.flatnonzero(batch.evidence[row]).tolist() == list(range(first, last + 1))


def test_ceilings_are_those_of_guesses_that_know_one_half():
    _, batch = sample()
    right = {"person": [], "relation": [], "neither": []}
    for facts, asked in zip(batch.facts.tolist(), batch.asked, strict=True):
        real = [fact for fact in facts if fact[0] >= 0]
        right["person"].append(1 / sum(fact[0] == facts[asked][0] for fact in real))
        right["relation"].append(1 / sum(fact[1] == facts[asked][1] for fact in real))
        right["neither"].append(1 / len(real))
    assert batch.ceilings == pytest.approx({name: np.mean(shares) for name, shares in right.items()})
    assert max(batch.ceilings.values()) < 0.5


def test_answers_differ_in_length_and_the_held_out_pairs_are_stated_in_training():
    _, batch = sample(2000)
    lengths = np.bincount(batch.end - batch.start + 1, minlength=4) / 2000
    assert lengths[0] == 0
    np.testing.assert_allclose(lengths[1:], 1 / 3, atol=0.06)
    person, relation = batch.facts[..., 0], batch.facts[..., 1]
    kept = ((person + relation) % 5 == 0) & (person >= 0)
    assert 0.1 < kept.sum() / (person >= 0).sum() < 0.3
    asked = batch.facts[np.arange(2000), batch.asked]
    assert set(asked[:, 1]) == set(range(len(RELATIONS)))
    assert len(set(asked[:, 0])) == len(PEOPLE)


def test_a_name_is_two_words_that_mean_nothing_else():
    task, batch = sample(500)
    names = {word for person in PEOPLE for word in person.split()}
    assert all(len(person.split()) == 2 for person in PEOPLE)
    for row in range(500):
        words = words_of(task, batch.passage[row])
        for number in range(batch.sentences[row].max() + 1):
            here = [word for word, at in zip(words, batch.sentences[row], strict=True) if at == number]
            assert " ".join(word for word in here if word in names) == PEOPLE[batch.facts[row, number, 0]]


def test_padding_is_marked_everywhere():
    _, batch = sample()
    behind = np.arange(batch.passage.shape[1]) >= batch.passage_lengths[:, None]
    assert behind.any()
    assert (batch.passage[behind] == PADDING).all()
    assert (batch.passage[~behind] != PADDING).all()
    assert (batch.sentences[behind] == -1).all()
    behind = np.arange(batch.question.shape[1]) >= batch.question_lengths[:, None]
    assert (batch.question[behind] == PADDING).all()
    assert (batch.question[~behind] != PADDING).all()


def test_taking_copies_rows_and_cuts_the_padding():
    _, batch = sample()
    rows = np.array([7, 3, 7])
    taken = batch.take(rows)
    widths = {"passage": batch.passage_lengths[rows].max(), "question": batch.question_lengths[rows].max()}
    widths["sentences"] = widths["passage"]
    assert len(taken) == 3
    for name in (field.name for field in fields(batch)):
        wanted = getattr(batch, name)[rows]
        if name in widths:
            wanted = wanted[:, : widths[name]]
        np.testing.assert_array_equal(getattr(taken, name), wanted)
    before = batch.passage[7].copy()
    taken.passage[:] = 0
    np.testing.assert_array_equal(batch.passage[7], before)


def test_the_generator_alone_decides():
    (_, first), (_, again), (_, other) = sample(20, 1), sample(20, 1), sample(20, 2)
    np.testing.assert_array_equal(first.passage, again.passage)
    np.testing.assert_array_equal(first.start, again.start)
    assert first.passage.shape != other.passage.shape or (first.passage != other.passage).any()
    assert first.passage.dtype == first.question.dtype == first.start.dtype == first.facts.dtype == np.int64


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda rng: PassageTask(6), TypeError, "n_facts must be a pair, got n_facts=6"),
        (lambda rng: PassageTask((3, 6)), ValueError, r"n_facts\[0\] must be at least 4, got n_facts\[0\]=3"),
        (lambda rng: PassageTask((6, 5)), ValueError, r"n_facts\[1\] must be at least 6, got n_facts\[1\]=5"),
        (
            lambda rng: PassageTask((6, 25)),
            ValueError,
            r"n_facts\[1\] must be at most 24, got n_facts=\(6, 25\)",
        ),
        (
            lambda rng: PassageTask((6, "9")),
            TypeError,
            r"n_facts\[1\] must be an integer, got n_facts\[1\]='9'",
        ),
        (lambda rng: PassageTask().sample(0, rng), ValueError, "batch_size must be at least 1, got .*=0"),
        (
            lambda rng: PassageTask().sample(2, None),
            TypeError,
            "rng must be of type Generator, got rng of type",
        ),
        (lambda rng: PassageTask().sample(2, rng, held_out=0), TypeError, "held_out must be of type bool"),
        (lambda rng: PassageTask().sample(2, rng).take(np.ones(2)), TypeError, "rows must be integers"),
        (
            lambda rng: PassageTask().sample(2, rng).take(np.array([], dtype=int)),
            ValueError,
            "rows must not be empty",
        ),
    ],
)
def test_bad_arguments_are_refused(call, error, text):
    with pytest.raises(error, match=f"^{text}"):
        call(np.random.default_rng(0))
