"""Pairs, vocabularies and batches: what is encoded can be decoded, and gold links stay with their tokens."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attncourse.tasks.pairs import END, PADDING, SPECIAL_TOKENS, START, Pair, Vocabulary, encode_pairs

WORDS = "abcde"
HEADS = Pair(("the", "red", "car"), ("la", "voiture", "rouge"), frozenset({(0, 0), (1, 2), (2, 1)}))
SHORT = Pair(("cars",), ("des", "voitures"), frozenset({(1, 0)}))


@st.composite
def pair_lists(draw):
    """Return pairs of short texts with some of all possible links."""
    texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=7).map(tuple)
    pairs = []
    for source, target in draw(st.lists(st.tuples(texts, texts), min_size=1, max_size=5)):
        every = [(row, column) for row in range(len(target)) for column in range(len(source))]
        pairs.append(Pair(source, target, frozenset(draw(st.sets(st.sampled_from(every))))))
    return pairs


def batch_of(pairs):
    source = Vocabulary(word for pair in pairs for word in pair.source)
    target = Vocabulary(word for pair in pairs for word in pair.target)
    return encode_pairs(pairs, source, target), source, target


def test_a_batch_by_hand():
    batch, source, target = batch_of([HEADS, SHORT])
    assert source.tokens == (*SPECIAL_TOKENS, "car", "cars", "red", "the")
    assert target.tokens == (*SPECIAL_TOKENS, "des", "la", "rouge", "voiture", "voitures")
    np.testing.assert_array_equal(batch.source, [[6, 5, 3], [4, 0, 0]])
    np.testing.assert_array_equal(batch.lengths, [3, 1])
    np.testing.assert_array_equal(batch.target, [[4, 6, 5, END], [3, 7, END, 0]])
    np.testing.assert_array_equal(batch.target_lengths, [4, 3])
    first = [[1, 0, 0], [0, 0, 1], [0, 1, 0], [0, 0, 0]]
    second = [[0, 0, 0], [1, 0, 0], [0, 0, 0], [0, 0, 0]]
    np.testing.assert_array_equal(batch.gold, np.array([first, second], dtype=bool))
    assert [array.dtype.name for array in (batch.source, batch.lengths, batch.target, batch.gold)] == [
        *["int64"] * 3,
        "bool",
    ]
    assert batch.target_lengths.dtype == np.int64


@pytest.mark.properties
@given(pairs=pair_lists())
def test_batches_hold_the_pairs_and_nothing_else(pairs):
    before = [(pair.source, pair.target, set(pair.links)) for pair in pairs]
    batch, source, target = batch_of(pairs)
    assert [(pair.source, pair.target, set(pair.links)) for pair in pairs] == before
    assert len(batch) == len(pairs)
    assert START not in batch.source
    assert START not in batch.target
    for row, pair in enumerate(pairs):
        n_source, n_target = len(pair.source), len(pair.target)
        assert source.decode(batch.source[row]) == pair.source
        assert target.decode(batch.target[row]) == pair.target
        assert batch.lengths[row] == n_source
        assert batch.target_lengths[row] == n_target + 1
        assert batch.target[row, n_target] == END
        assert set(batch.source[row, n_source:]) <= {PADDING}
        assert set(batch.target[row, n_target + 1 :]) <= {PADDING}
        assert {tuple(link) for link in np.argwhere(batch.gold[row]).tolist()} == pair.links


@pytest.mark.properties
@given(pairs=pair_lists(), data=st.data())
def test_taking_rows_is_encoding_those_pairs(pairs, data):
    batch, source, target = batch_of(pairs)
    saved = {name: array.copy() for name, array in vars(batch).items()}
    rows = np.array(data.draw(st.lists(st.integers(0, len(pairs) - 1), min_size=1, max_size=7)))
    kept = rows.copy()
    taken = batch.take(rows)
    alone = encode_pairs([pairs[row] for row in rows], source, target)
    for name, array in vars(alone).items():
        np.testing.assert_array_equal(getattr(taken, name), array)
        assert not np.shares_memory(getattr(taken, name), getattr(batch, name))
    np.testing.assert_array_equal(rows, kept)
    for name, array in saved.items():
        np.testing.assert_array_equal(getattr(batch, name), array)


def test_samples_are_different_pairs_chosen_by_the_generator_alone():
    pairs = [Pair((first, second), (second,)) for first in WORDS for second in WORDS]
    batch, source, _ = batch_of(pairs)
    first, again, other = (batch.sample(11, np.random.default_rng(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.source, again.source)
    assert (first.source != other.source).any()
    assert len({source.decode(row) for row in first.source}) == 11
    everything = batch.sample(25, np.random.default_rng(0))
    assert {source.decode(row) for row in everything.source} == {pair.source for pair in pairs}


def test_sure_links_are_those_of_tokens_with_one_link():
    pair = Pair(("looks", "for", "cars"), ("cherche", "des", "voitures"), frozenset({(0, 0), (0, 1), (2, 2)}))
    batch, _, _ = batch_of([pair])
    before = batch.gold.copy()
    assert np.argwhere(batch.sure).tolist() == [[0, 2, 2]]
    np.testing.assert_array_equal(batch.gold, before)


def test_pairs_without_links_have_empty_gold():
    assert not batch_of([Pair(("a",), ("b",))])[0].gold.any()


def test_a_vocabulary_numbers_each_token_once_in_sorted_order():
    vocab = Vocabulary(iter(["pear", "fig", "pear"]))
    assert vocab.tokens == (*SPECIAL_TOKENS, "fig", "pear")
    assert len(vocab) == 5
    assert vocab.encode(["pear", "fig"]) == [4, 3]
    assert vocab.encode([]) == []


@pytest.mark.properties
@given(text=st.lists(st.sampled_from(WORDS)), behind=st.lists(st.integers(-3, 99)))
def test_decoding_stops_at_the_end_and_skips_padding_and_start(text, behind):
    vocab = Vocabulary(WORDS)
    numbers = [START, *vocab.encode(text), PADDING, END, *behind]
    assert vocab.decode(np.array(numbers)) == tuple(text)


@pytest.mark.parametrize(
    ("source", "target", "links", "text"),
    [
        ((), ("b",), (), r"source and target must not be empty, got source=\(\), target=\('b',\)"),
        (("a",), (), (), r"source and target must not be empty, got source=\('a',\), target=\(\)"),
        (
            ("a", "a"),
            ("b",),
            {(1, 0), (0, 0), (0, 2), (0, -1)},
            r"links must point into 1 target and 2 source tokens, "
            r"got links with \[\(0, -1\), \(0, 2\), \(1, 0\)\]",
        ),
    ],
)
def test_bad_pairs_are_refused(source, target, links, text):
    with pytest.raises(ValueError, match=f"^{text}$"):
        Pair(source, target, frozenset(links))


def test_special_tokens_are_reserved():
    with pytest.raises(
        ValueError, match=r"^tokens must not contain the special ones, got tokens with \['<end>'\]$"
    ):
        Vocabulary(["a", "<end>"])


def test_unknown_tokens_are_refused():
    text = r"^text must consist of known tokens, got text with \['x', 'z'\]$"
    with pytest.raises(ValueError, match=text):
        Vocabulary("ab").encode(["z", "a", "x", "z"])
    with pytest.raises(ValueError, match=text):
        encode_pairs([Pair(("z", "x"), ("a",))], Vocabulary("a"), Vocabulary("a"))


@pytest.mark.parametrize("number", [-1, 5])
def test_numbers_without_a_token_are_refused(number):
    with pytest.raises(ValueError, match=rf"^numbers must lie in 0 … 4, got numbers with {number}$"):
        Vocabulary("ab").decode([3, number])


def test_bad_batches_are_refused():
    batch, source, target = batch_of([HEADS, SHORT])
    with pytest.raises(ValueError, match=r"^pairs must not be empty, got pairs=\[\]$"):
        encode_pairs([], source, target)
    with pytest.raises(TypeError, match=r"^rows must be an array or tensor, got rows of type list$"):
        batch.take([0])
    with pytest.raises(TypeError, match=r"^rows must be integers, got rows.dtype=float64$"):
        batch.take(np.array([0.0]))
    with pytest.raises(ValueError, match=r"^rows must not be empty, got rows.shape=\(0,\)$"):
        batch.take(np.array([], dtype=int))
    with pytest.raises(ValueError, match=r"^batch_size must be at most 2, got batch_size=3$"):
        batch.sample(3, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"^batch_size must be at least 1, got batch_size=0$"):
        batch.sample(0, np.random.default_rng(0))
    with pytest.raises(TypeError, match=r"^batch_size must be an integer, got batch_size=1.5$"):
        batch.sample(1.5, np.random.default_rng(0))
