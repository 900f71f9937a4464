"""Requests: one sentence asks and decides, the words that say so are marked, and counting words fails."""

from itertools import product

import numpy as np
import pytest

from attncourse.tasks.pairs import PADDING
from attncourse.tasks.requests import (
    DEPARTMENTS,
    FILLERS,
    MENTIONS,
    REQUESTS,
    TOPICS,
    RequestTask,
)

DEPARTMENT_OF = {word: number for number, words in enumerate(TOPICS.values()) for word in words}
PLACE_OF = {word: place for words in TOPICS.values() for place, word in enumerate(words)}
PLAIN_REQUESTS = [text.replace("*", "") for text in REQUESTS]


def sample(batch_size=300, seed=0, held_out=False, **options):
    task = RequestTask(**options)
    return task, task.sample(batch_size, np.random.default_rng(seed), held_out=held_out)


def read(task, batch, row):
    """Return the sentences of a message as texts with "@" for the thing, and the things."""
    words = [task.vocabulary.tokens[number] for number in batch.tokens[row, : batch.lengths[row]]]
    sentences = [[] for _ in range(batch.sentences[row].max() + 1)]
    for word, number in zip(words, batch.sentences[row], strict=False):
        sentences[number].append(word)
    things = [[word for word in sentence if word in DEPARTMENT_OF] for sentence in sentences]
    texts = [" ".join("@" if word in DEPARTMENT_OF else word for word in words) for words in sentences]
    return texts, things


@pytest.mark.parametrize(("held_out", "n_sentences"), [(False, (3, 6)), (True, (3, 3)), (True, (11, 17))])
def test_every_message_is_what_its_definition_says(held_out, n_sentences):
    task, batch = sample(held_out=held_out, n_sentences=n_sentences)
    lengths = set()
    for row in range(len(batch)):
        texts, things = read(task, batch, row)
        lengths.add(len(texts))
        asking = [number for number, text in enumerate(texts) if text in PLAIN_REQUESTS]
        assert asking == [batch.asked[row]]
        assert sum(text in MENTIONS for text in texts) >= 2
        for text, thing in zip(texts, things, strict=True):
            assert text in (*PLAIN_REQUESTS, *MENTIONS, *FILLERS)
            assert len(thing) == (text not in FILLERS)
        mentioned = [word for thing in things for word in thing]
        assert len(set(mentioned)) == len(mentioned)
        (asked_thing,) = things[asking[0]]
        assert batch.label[row] == DEPARTMENT_OF[asked_thing]
        form = PLAIN_REQUESTS.index(texts[asking[0]])
        assert ((form + DEPARTMENT_OF[asked_thing] + PLACE_OF[asked_thing]) % 5 == 0) == held_out
    assert lengths == set(range(n_sentences[0], n_sentences[1] + 1))


def test_the_evidence_is_the_marked_words_and_the_thing():
    task, batch = sample()
    for row in range(len(batch)):
        texts, _ = read(task, batch, row)
        starred = REQUESTS[PLAIN_REQUESTS.index(texts[batch.asked[row]])].split()
        wanted = [word == "@" or word.startswith("*") for word in starred]
        of_sentence = batch.sentences[row] == batch.asked[row]
        assert batch.evidence[row, of_sentence].tolist() == wanted
        assert not batch.evidence[row, ~of_sentence].any()
        assert (batch.evidence_sentence[row] == of_sentence).all()


def test_topics_are_the_departments_of_the_things():
    task, batch = sample(50)
    for row, column in product(range(50), range(batch.tokens.shape[1])):
        word = task.vocabulary.tokens[batch.tokens[row, column]]
        assert batch.topics[row, column] == DEPARTMENT_OF.get(word, -1)


def test_padding_is_marked_everywhere():
    _, batch = sample()
    behind = np.arange(batch.tokens.shape[1]) >= batch.lengths[:, None]
    assert batch.lengths.max() == batch.tokens.shape[1]
    assert behind.any()
    assert (batch.tokens[behind] == PADDING).all()
    assert (batch.tokens[~behind] != PADDING).all()
    assert (batch.sentences[behind] == -1).all()
    assert (batch.topics[behind] == -1).all()
    assert not batch.evidence[behind].any()


def test_no_word_gives_a_request_away():
    elsewhere = {word for text in (*MENTIONS, *FILLERS) for word in text.split()}
    assert {word for text in PLAIN_REQUESTS for word in text.split()} <= elsewhere
    assert all("*" in text for text in REQUESTS)
    assert len(DEPARTMENT_OF) == sum(map(len, TOPICS.values())) == 48  # no thing belongs to two departments
    assert not set(DEPARTMENT_OF) & elsewhere


def test_departments_are_balanced_and_counting_does_not_find_them():
    _, batch = sample(4000)
    # Chance is 1/6; five standard errors over 4000 messages are 0.03.
    np.testing.assert_allclose(np.bincount(batch.label) / 4000, 1 / len(DEPARTMENTS), atol=0.03)
    counts = (batch.topics[:, :, None] == np.arange(6)).sum(axis=1)
    share = counts.max(axis=1) / counts.sum(axis=1)
    assert batch.counting_ceiling == pytest.approx(share.mean())
    # Guess the department with the most things, of equals the first.
    guessed = (counts.argmax(axis=1) == batch.label).mean()
    assert abs(guessed - batch.counting_ceiling) < 0.04
    assert batch.counting_ceiling < 0.5
    # The request stands anywhere.
    four = batch.sentences.max(axis=1) == 3
    np.testing.assert_allclose(np.bincount(batch.asked[four]) / four.sum(), 0.25, atol=0.07)


def test_held_out_pairs_leave_every_form_and_every_thing_in_training():
    task, batch = sample(4000)
    asked = set()
    for row in range(len(batch)):
        texts, things = read(task, batch, row)
        asked.add((texts[batch.asked[row]], things[batch.asked[row]][0]))
    assert {form for form, _ in asked} == set(PLAIN_REQUESTS)
    assert {thing for _, thing in asked} == set(DEPARTMENT_OF)
    kept = [
        (form, thing)
        for form, thing in product(range(len(REQUESTS)), DEPARTMENT_OF)
        if (form + DEPARTMENT_OF[thing] + PLACE_OF[thing]) % 5 == 0
    ]
    assert 0.15 < len(kept) / (len(REQUESTS) * 48) < 0.25


def test_taking_copies_rows_and_cuts_the_padding():
    _, batch = sample()
    rows = np.array([7, 3, 7])
    taken = batch.take(rows)
    width = batch.lengths[rows].max()
    assert len(taken) == 3
    for name in ("tokens", "evidence", "sentences", "topics"):
        np.testing.assert_array_equal(getattr(taken, name), getattr(batch, name)[rows, :width])
    for name in ("lengths", "label", "asked"):
        np.testing.assert_array_equal(getattr(taken, name), getattr(batch, name)[rows])
    before = batch.tokens[7].copy()
    taken.tokens[:] = 0
    np.testing.assert_array_equal(batch.tokens[7], before)


def test_the_generator_alone_decides():
    (_, first), (_, again), (_, other) = sample(20, 1), sample(20, 1), sample(20, 2)
    np.testing.assert_array_equal(first.tokens, again.tokens)
    np.testing.assert_array_equal(first.evidence, again.evidence)
    assert first.tokens.shape != other.tokens.shape or (first.tokens != other.tokens).any()
    assert first.tokens.dtype == first.label.dtype == first.lengths.dtype == first.topics.dtype == np.int64
    assert first.evidence.dtype == bool


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda rng: RequestTask(5), TypeError, "n_sentences must be a pair, got n_sentences=5"),
        (lambda rng: RequestTask((3, 4, 5)), TypeError, r"n_sentences must be a pair, got n_sentences=\(3"),
        (lambda rng: RequestTask((2, 5)), ValueError, r"n_sentences\[0\] must be at least 3, got .*=2"),
        (lambda rng: RequestTask((5, 4)), ValueError, r"n_sentences\[1\] must be at least 5, got .*=4"),
        (lambda rng: RequestTask((5, 41)), ValueError, r"n_sentences\[1\] must be at most 40, got .*41\)"),
        (lambda rng: RequestTask((3.0, 4)), TypeError, r"n_sentences\[0\] must be an integer, got .*=3\.0"),
        (lambda rng: RequestTask().sample(0, rng), ValueError, "batch_size must be at least 1, got .*=0"),
        (lambda rng: RequestTask().sample(1.5, rng), TypeError, "batch_size must be an integer"),
        (
            lambda rng: RequestTask().sample(2, 0),
            TypeError,
            "rng must be of type Generator, got rng of type int",
        ),
        (lambda rng: RequestTask().sample(2, rng, held_out=1), TypeError, "held_out must be of type bool"),
        (lambda rng: RequestTask().sample(2, rng).take([0]), TypeError, "rows must be an array or tensor"),
        (
            lambda rng: RequestTask().sample(2, rng).take(np.array([], dtype=int)),
            ValueError,
            "rows must not be empty",
        ),
    ],
)
def test_bad_arguments_are_refused(call, error, text):
    with pytest.raises(error, match=f"^{text}"):
        call(np.random.default_rng(0))


def test_the_longest_messages_can_be_drawn():
    _, batch = sample(20, n_sentences=(40, 40))
    assert (batch.sentences.max(axis=1) == 39).all()
