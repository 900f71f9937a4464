"""Reviews: what decides can be found by reading, and words without their order decide nothing."""

from collections import Counter
from dataclasses import fields

import numpy as np
import pytest

from attncourse.tasks.pairs import END, PADDING, START
from attncourse.tasks.reviews import (
    BAD_WORDS,
    DECIDING_THINGS,
    GOOD_WORDS,
    INTENSIFIERS,
    NEGATORS,
    OPINIONS,
    OTHER_THINGS,
    POSITIVE,
    ROLES,
    SPLITS,
    ReviewTask,
)

THINGS = DECIDING_THINGS + OTHER_THINGS
MODIFIERS = INTENSIFIERS + NEGATORS


def sample(batch_size=300, seed=0, split="train", **options):
    task = ReviewTask(**options)
    return task, task.sample(batch_size, np.random.default_rng(seed), split=split)


def words_of(task, batch, row):
    return [task.vocabulary.tokens[token] for token in batch.tokens[row, : batch.lengths[row]]]


def clauses(words):
    """Read a review: the places of the modifier, the opinion word and the thing of each clause."""
    found = []
    for place, word in enumerate(words):
        if word in MODIFIERS:
            opinion = next(j for j in range(place, len(words)) if words[j] in OPINIONS)
            found.append((place, opinion, opinion + 1))
    return found


def verdict(words, clause):
    modifier, opinion, _ = clause
    return int((words[opinion] in GOOD_WORDS) != (words[modifier] in NEGATORS))


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("options", [{}, {"min_clauses": 3, "max_clauses": 5, "max_gap": 2}])
def test_label_evidence_and_roles_can_be_read_off_the_words(options, split):
    task, batch = sample(split=split, **options)
    for row in range(len(batch)):
        words = words_of(task, batch, row)
        found = clauses(words)
        assert options.get("min_clauses", 2) <= len(found) <= options.get("max_clauses", 4)
        assert all(words[thing] in THINGS for _, _, thing in found)
        (deciding,) = [clause for clause in found if words[clause[2]] in DECIDING_THINGS]
        assert batch.label[row] == verdict(words, deciding)
        is_negated = words[deciding[0]] in NEGATORS
        assert batch.is_negated[row] == is_negated
        gold = {deciding[1], deciding[0]} if is_negated else {deciding[1]}
        assert set(np.flatnonzero(batch.evidence[row]).tolist()) == gold
        roles = ["filler"] * len(words)
        for clause in found:
            before = "" if clause == deciding else "other "
            for place, name in zip(clause, ("modifier", "opinion", "thing"), strict=True):
                roles[place] = before + name
        assert [ROLES[role] for role in batch.roles[row, : len(words)]] == roles
        assert (batch.roles[row, len(words) :] == -1).all()
        assert (batch.tokens[row, len(words) :] == PADDING).all()
        assert PADDING not in batch.tokens[row, : len(words)]


def test_the_word_is_that_of_the_opinion_with_its_negator_resolved():
    opposite = dict(zip(GOOD_WORDS + BAD_WORDS, BAD_WORDS + GOOD_WORDS, strict=True))
    assert ReviewTask().n_classes == 2
    for split in SPLITS:
        task, batch = sample(question="word", split=split)
        _, verdicts = sample(split=split)
        assert task.n_classes == 20
        np.testing.assert_array_equal(batch.tokens, verdicts.tokens)
        np.testing.assert_array_equal(batch.label >= 10, verdicts.label == POSITIVE)
        for row in range(len(batch)):
            words = words_of(task, batch, row)
            (word,) = [words[place] for place in np.flatnonzero(batch.roles[row] == ROLES.index("opinion"))]
            assert OPINIONS[batch.label[row]] == (opposite[word] if batch.is_negated[row] else word)
    assert opposite["dull"] == "funny"


def test_gaps_are_as_long_as_asked_for():
    task, batch = sample(max_gap=2)
    gaps = Counter(
        opinion - modifier - 1
        for row in range(len(batch))
        for modifier, opinion, _ in clauses(words_of(task, batch, row))
    )
    assert set(gaps) == {0, 1, 2}
    assert min(gaps.values()) > 0.25 * sum(gaps.values())
    task, batch = sample(max_gap=0)
    assert all(b == a + 1 for row in range(50) for a, b, _ in clauses(words_of(task, batch, row)))


@pytest.mark.properties
@pytest.mark.parametrize("split", SPLITS)
def test_every_review_has_a_twin_of_the_same_words_and_the_other_label(split):
    task, batch = sample(200, split=split)
    pairs = allowed_pairs(split)
    for row in range(len(batch)):
        words = words_of(task, batch, row)
        found = clauses(words)
        (mine,) = [clause for clause in found if words[clause[2]] in DECIDING_THINGS]
        twins = []
        for other in found:
            if (words[other[1]] in GOOD_WORDS) == (words[mine[1]] in GOOD_WORDS):
                continue
            same_scope = (words[other[0]] in NEGATORS) == (words[mine[0]] in NEGATORS)
            part = 2 if same_scope else 0
            swapped = list(words)
            swapped[mine[part]], swapped[other[part]] = words[other[part]], words[mine[part]]
            again = clauses(swapped)
            if {(swapped[a], swapped[b]) for a, b, _ in again} <= pairs:
                (deciding,) = [clause for clause in again if swapped[clause[2]] in DECIDING_THINGS]
                twins.append((sorted(swapped), verdict(swapped, deciding)))
        assert (sorted(words), 1 - batch.label[row]) in twins


def allowed_pairs(split):
    """All (modifier, opinion word) that occur in a large sample of a split."""
    task, batch = sample(4000, seed=5, split=split)
    pairs = set()
    for row in range(len(batch)):
        words = words_of(task, batch, row)
        pairs |= {(words[a], words[b]) for a, b, _ in clauses(words)}
    return pairs


def test_a_fifth_of_the_pairs_is_held_out_and_never_trained():
    train, held_out = map(allowed_pairs, SPLITS)
    assert not train & held_out
    assert len(held_out) == 0.2 * len(MODIFIERS) * len(OPINIONS)
    assert len(train) == 0.8 * len(MODIFIERS) * len(OPINIONS)
    assert Counter(modifier for modifier, _ in held_out) == dict.fromkeys(MODIFIERS, 4)
    assert Counter(opinion for _, opinion in held_out) == dict.fromkeys(OPINIONS, 2)


@pytest.mark.properties
@pytest.mark.parametrize("split", SPLITS)
def test_no_count_of_words_says_anything_about_the_label(split):
    task, batch = sample(20_000, seed=2, split=split)
    counts = np.stack([np.bincount(row, minlength=len(task.vocabulary)) for row in batch.tokens])
    columns = counts[:, 1:].astype(float)
    columns = columns[:, columns.std(axis=0) > 0]
    # Every product of two counts, too: a bag of words may be read by more than a linear map.
    kinds = np.stack(
        [counts[:, task.vocabulary.encode(words)].sum(axis=1) for words in (BAD_WORDS, GOOD_WORDS, NEGATORS)],
        1,
    ).astype(float)
    products = (kinds[:, :, None] * kinds[:, None]).reshape(len(batch), -1)
    products = np.concatenate([products, products[:, :1] * products[:, -1:]], axis=1)
    for column in np.concatenate([columns, products], axis=1).T:
        # Five standard deviations of a correlation over 20,000 independent reviews.
        assert abs(np.corrcoef(column, batch.label)[0, 1]) < 5 / np.sqrt(20_000)


def test_labels_negations_and_clauses_are_balanced():
    _, batch = sample(20_000, seed=3)
    cells = Counter(zip(batch.label.tolist(), batch.is_negated.tolist(), strict=True))
    np.testing.assert_allclose([cells[key] / 20_000 for key in cells], 0.25, rtol=0, atol=0.016)
    n_clauses = (batch.roles == ROLES.index("other thing")).sum(axis=1) + 1
    np.testing.assert_allclose(np.bincount(n_clauses)[2:] / 20_000, 1 / 3, rtol=0, atol=0.017)
    # The deciding clause stands first as often as last.
    place = (batch.roles == ROLES.index("opinion")).argmax(axis=1)
    others = batch.roles == ROLES.index("other opinion")
    is_first = place < np.where(others.any(axis=1), others.argmax(axis=1), 99)
    np.testing.assert_allclose(is_first.mean(), np.mean([1 / 2, 1 / 3, 1 / 4]), rtol=0, atol=0.017)


def test_an_opposite_in_the_deciding_clause_turns_the_label_and_no_other_word_does():
    task, batch = sample(100, max_gap=1)
    for row in range(len(batch)):
        for place in range(batch.lengths[row]):
            tokens = batch.tokens[row].copy()
            tokens[place] = task.opposites[tokens[place]]
            words = [task.vocabulary.tokens[token] for token in tokens[: batch.lengths[row]]]
            (deciding,) = [clause for clause in clauses(words) if words[clause[2]] in DECIDING_THINGS]
            turned = ROLES[batch.roles[row, place]] in ("modifier", "opinion")
            assert (verdict(words, deciding) != batch.label[row]) == turned


def test_opposites_go_both_ways_within_a_kind():
    opposites = ReviewTask().opposites
    tokens = ReviewTask().vocabulary.tokens
    for token, other in enumerate(opposites):
        if tokens[token] in OPINIONS + MODIFIERS:
            assert opposites[other] == token != other
        elif tokens[token] in THINGS:
            assert other != token
            assert (tokens[other] in DECIDING_THINGS) == (tokens[token] in DECIDING_THINGS)
        elif token in (PADDING, START, END):
            assert other == token
        else:
            assert other != token
            assert tokens[other] not in OPINIONS + MODIFIERS + THINGS
    assert sorted(opposites) == list(range(len(tokens)))


def test_the_generator_alone_decides():
    (_, first), (_, again), (_, other) = (sample(50, seed=seed) for seed in (1, 1, 2))
    for field in fields(first):
        np.testing.assert_array_equal(getattr(first, field.name), getattr(again, field.name))
    assert first.tokens.shape != other.tokens.shape or (first.tokens != other.tokens).any()


def test_take_returns_copies_as_padded_as_needed():
    _, batch = sample(40)
    shortest = batch.lengths.argsort()[[2, 0, 2]]
    part = batch.take(shortest)
    assert len(part) == 3
    width = batch.lengths[shortest].max()
    assert part.tokens.shape[1] == width < batch.tokens.shape[1]
    for field in fields(batch):
        whole, taken = getattr(batch, field.name), getattr(part, field.name)
        np.testing.assert_array_equal(
            taken, whole[shortest][:, :width] if whole.ndim == 2 else whole[shortest]
        )
        assert not np.shares_memory(whole, taken)


def test_sample_of_a_batch_draws_without_repeats():
    _, batch = sample(30)
    drawn = batch.sample(30, np.random.default_rng(4))
    assert Counter(map(tuple, drawn.tokens.tolist())) == Counter(map(tuple, batch.tokens.tolist()))
    assert (drawn.tokens != batch.tokens).any()


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"min_clauses": 1}, ValueError, r"^min_clauses must be at least 2, got min_clauses=1$"),
        ({"min_clauses": 2.0}, TypeError, r"^min_clauses must be an integer, got min_clauses=2\.0$"),
        (
            {"min_clauses": 4, "max_clauses": 3},
            ValueError,
            r"^max_clauses must be at least 4, got max_clauses=3$",
        ),
        ({"max_gap": -1}, ValueError, r"^max_gap must be at least 0, got max_gap=-1$"),
        ({"question": "why"}, ValueError, r"^question must be one of 'verdict', 'word', got question='why'$"),
    ],
)
def test_impossible_tasks_are_refused(options, error, text):
    with pytest.raises(error, match=text):
        ReviewTask(**options)


def test_bad_samples_are_refused():
    task, batch = sample(5)
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"^batch_size must be at least 1, got batch_size=0$"):
        task.sample(0, rng)
    with pytest.raises(ValueError, match=r"^split must be one of 'train', 'held-out', got split='test'$"):
        task.sample(5, rng, split="test")
    with pytest.raises(TypeError, match=r"^rng must be of type Generator, got rng of type int$"):
        task.sample(5, 0)
    with pytest.raises(ValueError, match=r"^batch_size must be at most 5, got batch_size=6$"):
        batch.sample(6, rng)
    with pytest.raises(ValueError, match=r"^rows must not be empty, got rows\.shape=\(0,\)$"):
        batch.take(np.array([], dtype=int))
    with pytest.raises(TypeError, match=r"^rows must be integers, got rows\.dtype=float64$"):
        batch.take(np.array([0.0]))
