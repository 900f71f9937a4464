"""Edit distances against another implementation, error rates by hand, and steps forward and back."""

import itertools

import nltk
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attncourse.speech_measures import character_error_rate, edit_distance, monotonicity

texts = st.text("ABC", max_size=7)


@pytest.mark.parity
@given(texts, texts)
def test_edit_distance_is_that_of_nltk(written, target):
    assert edit_distance(written, target) == nltk.edit_distance(written, target)


@pytest.mark.properties
@given(texts, texts, texts)
def test_edit_distance_is_a_distance(first, second, third):
    assert (edit_distance(first, second) == 0) is (first == second)
    assert edit_distance(first, second) == edit_distance(second, first)
    assert edit_distance(first, third) <= edit_distance(first, second) + edit_distance(second, third)
    sizes = len(first), len(second)
    assert max(sizes) - min(sizes) <= edit_distance(first, second) <= max(sizes)


@pytest.mark.parametrize(
    ("written", "target", "distance"),
    [
        ("KITTEN", "SITTING", 3),
        ("", "SOS", 3),
        ("SOS", "", 3),
        ("", "", 0),
        ([3, 4, 5], [3, 5], 1),
        (("a",), ["a"], 0),
    ],
)
def test_edit_distances_by_hand(written, target, distance):
    before = list(written), list(target)
    assert edit_distance(written, target) == distance
    assert (list(written), list(target)) == before


def test_error_rate_by_hand():
    target = np.array([[3, 4, 5, 2], [6, 2, 0, 0], [7, 8, 2, 0]])
    assert character_error_rate(target, target) == 0
    written = np.array(
        [
            [3, 5, 2, 9, 9],  # one missing; what stands behind END does not count
            [6, 6, 6, 6, 6],  # no END: four too many
            [8, 7, 2, 0, 0],  # two replaced
        ]
    )
    copies = written.copy(), target.copy()
    assert character_error_rate(written, target) == 7 / 6
    np.testing.assert_array_equal(written, copies[0])
    np.testing.assert_array_equal(target, copies[1])
    # All texts together: 1 / 3 of the first and 4 / 1 of the second are not averaged.
    assert character_error_rate(written[:2], target[:2]) == 5 / 4
    assert character_error_rate(np.array([[2]]), target[:1]) == 1


@pytest.mark.properties
@given(st.lists(st.tuples(texts, texts.filter(bool)), min_size=1, max_size=5))
def test_error_rate_is_that_of_the_texts(pairs):
    def encode(text, width):
        return [*(ord(letter) for letter in text), 2, *[0] * (width - len(text))]

    written, target = (np.array([encode(text, 7) for text in side]) for side in zip(*pairs, strict=True))
    changes = sum(nltk.edit_distance(*pair) for pair in pairs)
    assert character_error_rate(written, target) == changes / sum(len(text) for _, text in pairs)


def peaks(*places, n_source=5):
    weights = np.full((len(places), n_source), 0.1)
    for row, place in enumerate(places):
        weights[row] = 0 if place is None else weights[row]
        if place is not None:
            weights[row, place] = 0.6
    return weights


def test_monotonicity_by_hand():
    assert monotonicity(np.stack([peaks(0, 1, 1, 4)])) == 1
    assert monotonicity(np.stack([peaks(4, 3, 2, 0)])) == 0
    assert monotonicity(np.stack([peaks(0, 2, 1, 3)])) == 2 / 3
    # Steps of all texts count alike: one of three, then three of three.
    assert monotonicity(np.stack([peaks(3, 2, 1, 1), peaks(0, 0, 1, 2)])) == 4 / 6
    # Rows of zeros are left out, at the end and between.
    assert monotonicity(np.stack([peaks(3, 1, None, None), peaks(1, None, 2, 4)])) == 2 / 3


@pytest.mark.properties
@given(st.lists(st.lists(st.integers(0, 4), min_size=4, max_size=4), min_size=1, max_size=3))
def test_monotonicity_is_a_count(places):
    weights = np.stack([peaks(*row) for row in places])
    before = weights.copy()
    moves = [later >= earlier for row in places for earlier, later in itertools.pairwise(row)]
    assert monotonicity(weights) == pytest.approx(sum(moves) / len(moves))
    np.testing.assert_array_equal(weights, before)


@pytest.mark.parametrize(
    ("written", "target", "error", "text"),
    [
        ([[3, 2]], np.array([[3, 2]]), TypeError, "written must be of type ndarray"),
        (
            np.array([[3.0]]),
            np.array([[3, 2]]),
            TypeError,
            "written must be integers, got written.dtype=float64",
        ),
        (
            np.array([3]),
            np.array([[3, 2]]),
            ValueError,
            r"written must have axes \(batch, tokens\), got written.shape=\(1,\)",
        ),
        (
            np.array([[3], [4]]),
            np.array([[3, 2]]),
            ValueError,
            r"written and target must have the same batch size, got written.shape=\(2, 1\), "
            r"target.shape=\(1, 2\)",
        ),
        (
            np.array([[3]]),
            np.array([[3, 0]]),
            ValueError,
            "target must have an END in every row, got target with 1 rows without",
        ),
        (
            np.array([[3]]),
            np.array([[2, 0]]),
            ValueError,
            r"target must hold a letter, got target of shape \(1, 2\) without any",
        ),
    ],
)
def test_bad_texts_are_refused(written, target, error, text):
    with pytest.raises(error, match=f"^{text}"):
        character_error_rate(written, target)


@pytest.mark.parametrize(
    ("weights", "error", "text"),
    [
        ([[[1.0]]], TypeError, "weights must be of type ndarray"),
        (np.ones((1, 2, 3), dtype=int), TypeError, "weights must be floating point"),
        (np.ones((2, 3)), ValueError, "weights must have at least 3 axes"),
        (
            np.ones((1, 1, 2, 3)),
            ValueError,
            r"weights must have three axes, got weights.shape=\(1, 1, 2, 3\)",
        ),
        (-np.ones((1, 2, 3)), ValueError, "weights must not be negative, got weights down to -1.0"),
        (np.full((1, 2, 3), np.nan), ValueError, "weights must not contain NaN"),
        (
            np.ones((4, 1, 3)),
            ValueError,
            r"weights must hold two peaks in a text, got weights.shape=\(4, 1, 3\)",
        ),
    ],
)
def test_bad_weights_are_refused(weights, error, text):
    with pytest.raises(error, match=f"^{text}"):
        monotonicity(weights)
