"""Relations: every answer is the token at its gold place, and can be found by reading the definition."""

import numpy as np
import pytest

from attncourse.tasks.copying import NO_SOURCE
from attncourse.tasks.relations import NO_ANSWER, RELATIONS, RelationTask


def sample(batch_size=50, seed=0, **options):
    task = RelationTask(**options)
    return task, task.sample(batch_size, np.random.default_rng(seed))


def place(name, symbols, position):
    """Find the gold place by its definition, one token at a time."""
    n_tokens = len(symbols)
    if name == "twin":
        (other,) = [j for j in range(n_tokens) if symbols[j] == symbols[position] and j != position]
        return other
    found = {
        "previous": position - 1,
        "next": position + 1,
        "first": 0,
        "last": n_tokens - 1,
        "mirror": n_tokens - 1 - position,
    }[name]
    return found if 0 <= found < n_tokens else NO_SOURCE


def test_a_hand_example():
    class Fixed:
        """A generator that gives the symbols 1 0 0 1 and the colours 2 1 0 2."""

        def random(self, shape):
            return np.array([[0.0, 1.0]])

        def permuted(self, array, axis):
            return np.array([[1, 0, 0, 1]])

        def integers(self, high, size):
            return np.array([[2, 1, 0, 2]])

    batch = RelationTask(relations=RELATIONS, n_tokens=4, n_symbols=2, n_colours=3).sample(1, Fixed())
    assert batch.tokens.tolist() == [[5, 1, 0, 5]]
    gold = dict(zip(RELATIONS, batch.gold[0].T.tolist(), strict=True))
    assert gold == {
        "previous": [-1, 0, 1, 2],
        "next": [1, 2, 3, -1],
        "first": [0, 0, 0, 0],
        "twin": [3, 2, 1, 0],
        "mirror": [3, 2, 1, 0],
        "last": [3, 3, 3, 3],
    }
    assert batch.answer[0, :, 0].tolist() == [NO_ANSWER, 5, 1, 0]
    assert batch.answer[0, :, 3].tolist() == [5, 0, 1, 5]


@pytest.mark.parametrize(
    "options", [{}, {"relations": RELATIONS, "n_tokens": 6, "n_symbols": 11, "n_colours": 5}]
)
def test_gold_places_follow_the_definitions(options):
    task, batch = sample(**options)
    symbols = batch.tokens // task.n_colours
    assert batch.tokens.shape == (50, task.n_tokens)
    assert batch.gold.shape == batch.answer.shape == (50, task.n_tokens, task.n_relations)
    for row in range(50):
        for position in range(task.n_tokens):
            for relation, name in enumerate(task.relations):
                gold = place(name, symbols[row], position)
                assert batch.gold[row, position, relation] == gold
                answer = NO_ANSWER if gold == NO_SOURCE else batch.tokens[row, gold]
                assert batch.answer[row, position, relation] == answer


def test_every_symbol_comes_twice_and_tokens_are_in_range():
    task, batch = sample(500, n_tokens=6, n_symbols=11, n_colours=5)
    assert task.vocab_size == 55
    assert batch.tokens.min() == 0
    assert batch.tokens.max() == 54
    for symbols in batch.tokens // 5:
        assert sorted(np.unique(symbols, return_counts=True)[1]) == [2, 2, 2]


def test_nothing_can_be_guessed():
    # Colours are independent of everything seen elsewhere, and twins stand at any distance alike.
    task, batch = sample(20_000, n_tokens=8, n_symbols=7, n_colours=5, relations=("twin", "previous"))
    own = batch.tokens % 5
    twin = batch.answer[..., 0] % 5
    table = np.zeros((5, 5))
    np.add.at(table, (own.ravel(), twin.ravel()), 1 / own.size)
    assert np.abs(table - 1 / 25).max() < 0.002
    distance = np.abs(batch.gold[:, :, 0] - np.arange(8))
    share = np.bincount(distance.ravel(), minlength=8) / distance.size
    wanted = np.array([0, *(2 * (8 - gap) / (8 * 7) for gap in range(1, 8))])
    assert np.abs(share - wanted).max() < 0.01
    assert task.n_relations == 2


def test_links_are_the_gold_places_as_a_map():
    task, batch = sample(relations=RELATIONS)
    for relation in range(task.n_relations):
        links = batch.links(relation)
        assert links.dtype == bool
        assert links.shape == (50, 16, 16)
        gold = batch.gold[..., relation]
        assert (links.sum(axis=-1) == (gold != NO_SOURCE)).all()
        assert (links.argmax(axis=-1)[gold != NO_SOURCE] == gold[gold != NO_SOURCE]).all()


def test_sampling_is_seeded():
    (_, one), (_, same), (_, other) = sample(seed=3), sample(seed=3), sample(seed=4)
    assert (one.tokens == same.tokens).all()
    assert (one.gold == same.gold).all()
    assert (one.tokens != other.tokens).any()
    assert one.tokens.dtype == one.gold.dtype == one.answer.dtype == np.int64


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        (
            {"relations": ("uncle",)},
            ValueError,
            "relations must be one of 'previous', .* got relations='uncle'",
        ),
        ({"relations": ()}, ValueError, r"relations must be different ones, got relations=\(\)"),
        ({"relations": ("next", "next")}, ValueError, "relations must be different ones"),
        ({"n_tokens": 7}, ValueError, r"n_tokens must be even .*, got n_tokens=7"),
        ({"n_tokens": 0}, ValueError, "n_tokens must be at least 2, got n_tokens=0"),
        ({"n_tokens": 4.0}, TypeError, "n_tokens must be an integer"),
        ({"n_symbols": 7}, ValueError, "n_symbols must be at least n_tokens / 2 = 8, got n_symbols=7"),
        ({"n_symbols": 0}, ValueError, "n_symbols must be at least 1"),
        ({"n_colours": 1}, ValueError, "n_colours must be at least 2"),
    ],
)
def test_bad_tasks(options, error, text):
    with pytest.raises(error, match=text):
        RelationTask(**options)


def test_bad_calls():
    task, batch = sample()
    with pytest.raises(ValueError, match="batch_size must be at least 1, got batch_size=0"):
        task.sample(0, np.random.default_rng(0))
    with pytest.raises(ValueError, match="relation must be below 4, got relation=4"):
        batch.links(4)
    with pytest.raises(TypeError, match="relation must be an integer"):
        batch.links("twin")
