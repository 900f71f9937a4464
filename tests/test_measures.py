"""Measures of texts and links: hand values, what they must ignore, and properties that always hold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attncourse.measures import (
    alignment_error_rate,
    exact_match,
    hard_links,
    mass_on_gold,
    pointing_accuracy,
    token_accuracy,
)
from attncourse.tasks.pairs import END, PADDING

A, B, C = 3, 4, 5


@st.composite
def texts(draw):
    """Draw rows of ordinary tokens of different lengths, each with its END, and the padded array."""
    rows = draw(st.lists(st.lists(st.integers(A, C), min_size=0, max_size=6), min_size=1, max_size=5))
    width = max(map(len, rows)) + 1 + draw(st.integers(0, 2))
    padded = np.full((len(rows), width), PADDING)
    for row, text in enumerate(rows):
        padded[row, : len(text) + 1] = [*text, END]
    return rows, padded


@st.composite
def link_cases(draw):
    """Draw links, sure links (at least one) and possible links that contain the sure ones."""
    shape = tuple(draw(st.integers(1, 5)) for _ in range(3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    links, gold, more = (rng.random(shape) < draw(st.sampled_from([0.1, 0.5, 0.9])) for _ in range(3))
    gold[tuple(rng.integers(0, shape))] = True
    return links, gold, gold | more


class TestTexts:
    def test_hand_values(self):
        target = np.array(
            [
                [A, B, END, PADDING],
                [A, B, C, END],
                [A, B, END, PADDING],
                [A, B, END, PADDING],
                [A, B, END, PADDING],
                [END, PADDING, PADDING, PADDING],
            ]
        )
        written = np.array(
            [
                [A, B, END, C, A],  # right; what follows END is ignored
                [A, C, C, END, A],  # one wrong
                [A, END, END, PADDING, A],  # ended early: the second END stands behind the first
                [A, B, C, C, C],  # never ended
                [B, A, B, END, A],  # shifted by one
                [END, A, A, A, A],  # the empty text
            ]
        )
        assert exact_match(written, target).tolist() == [True, False, False, False, False, True]
        np.testing.assert_allclose(
            token_accuracy(written, target), [1, 3 / 4, 1 / 3, 2 / 3, 0, 1], rtol=1e-15
        )

    def test_a_text_cut_off_before_its_end_is_wrong(self):
        target = np.array([[A, B, END]])
        written = np.array([[A, B]])
        assert exact_match(written, target).tolist() == [False]
        np.testing.assert_allclose(token_accuracy(written, target), [2 / 3], rtol=1e-15)

    def test_padding_that_was_written_is_not_right_padding(self):
        assert exact_match(np.array([[A, PADDING, END]]), np.array([[A, END, PADDING]])).tolist() == [False]

    @pytest.mark.properties
    @given(texts(), texts())
    def test_equals_a_comparison_of_lists(self, ours, theirs):
        (texts_a, written), (texts_b, target) = ours, theirs
        n = min(len(texts_a), len(texts_b))
        match, accuracy = exact_match(written[:n], target[:n]), token_accuracy(written[:n], target[:n])
        for row, (mine, other) in enumerate(zip(texts_a[:n], texts_b[:n], strict=True)):
            mine, other = [*mine, END], [*other, END]
            assert match[row] == (mine == other)
            right = sum(left == right for left, right in zip(mine, other, strict=False))
            assert accuracy[row] == pytest.approx(right / len(other), rel=1e-15)
            assert match[row] <= (accuracy[row] == 1.0)

    @pytest.mark.properties
    @given(texts(), st.integers(0, 2**32 - 1))
    def test_garbage_behind_the_end_changes_nothing(self, case, seed):
        rows, target = case
        rng = np.random.default_rng(seed)
        written = rng.integers(A, C + 1, target.shape)
        written[rng.random(len(rows)) < 0.5, -1] = END
        dirty_written, dirty_target = written.copy(), target.copy()
        for array in (dirty_written, dirty_target):
            for row in array:
                ends = np.flatnonzero(row == END)
                if len(ends):
                    row[ends[0] + 1 :] = rng.integers(0, C + 1, len(row) - ends[0] - 1)
        for measure in (exact_match, token_accuracy):
            np.testing.assert_array_equal(measure(dirty_written, dirty_target), measure(written, target))
            wide = np.pad(target, [(0, 0), (0, 3)], constant_values=PADDING)
            np.testing.assert_array_equal(measure(written, wide), measure(written, target))
        assert exact_match(dirty_target, target).all()
        assert exact_match(target, dirty_target).all()
        assert (token_accuracy(target, dirty_target) == 1).all()

    @pytest.mark.parametrize("measure", [exact_match, token_accuracy])
    def test_bad_arguments_are_refused(self, measure):
        good = np.array([[A, END]])
        with pytest.raises(TypeError, match=r"^written must be of type ndarray, got written of type list$"):
            measure([[A, END]], good)
        with pytest.raises(TypeError, match=r"^target must be integers, got target.dtype=float64$"):
            measure(good, good * 1.0)
        with pytest.raises(
            ValueError, match=r"^written must have axes \(batch, tokens\), got written.shape=\(2,\)$"
        ):
            measure(good[0], good)
        with pytest.raises(
            ValueError,
            match=r"^written and target must have the same batch size, "
            r"got written.shape=\(2, 2\), target.shape=\(1, 2\)$",
        ):
            measure(np.repeat(good, 2, axis=0), good)
        with pytest.raises(
            ValueError, match=r"^target must have an END in every row, got target with 1 rows without$"
        ):
            measure(np.array([[A, END], [A, B]]), np.array([[A, END], [A, B]]))

    @pytest.mark.parametrize("measure", [exact_match, token_accuracy])
    def test_arguments_are_not_written(self, measure):
        written, target = np.array([[A, END, B], [A, B, C]]), np.array([[A, END], [B, END]])
        before = written.copy(), target.copy()
        for array in (written, target):
            array.flags.writeable = False
        measure(written, target)
        np.testing.assert_array_equal(written, before[0])
        np.testing.assert_array_equal(target, before[1])


class TestHardLinks:
    def test_hand_values(self):
        weights = np.array(
            [
                [[0.2, 0.5, 0.3], [0.4, 0.2, 0.4], [0.0, 0.0, 0.0], [0.1, 0.2, 0.7]],
                [[0.0, 0.1, 0.0], [0.9, 0.0, 0.1], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]],
            ]
        )
        # The first of two equals; none in a row of zeros; the second text has two tokens.
        expected = np.zeros((2, 4, 3), dtype=bool)
        for link in [(0, 0, 1), (0, 1, 0), (0, 3, 2), (1, 0, 1), (1, 1, 0)]:
            expected[link] = True
        links = hard_links(weights, np.array([4, 2]))
        assert links.dtype == bool
        np.testing.assert_array_equal(links, expected)

    @pytest.mark.properties
    @given(st.integers(0, 2**32 - 1))
    def test_one_link_in_every_real_row_and_scale_does_not_matter(self, seed):
        rng = np.random.default_rng(seed)
        weights = rng.random((3, 5, 7))
        lengths = rng.integers(0, 6, 3)
        links = hard_links(weights, lengths)
        np.testing.assert_array_equal(links.sum(axis=-1), np.arange(5) < lengths[:, None])
        np.testing.assert_array_equal(links, hard_links(0.25 * weights, lengths))
        order = rng.permutation(7)
        np.testing.assert_array_equal(hard_links(weights[..., order], lengths), links[..., order])

    def test_bad_arguments_are_refused(self):
        weights, lengths = np.full((2, 3, 5), 0.2), np.array([3, 2])
        with pytest.raises(TypeError, match=r"^weights must be of type ndarray, got weights of type list$"):
            hard_links(weights.tolist(), lengths)
        with pytest.raises(TypeError, match=r"^weights must be floating point, got weights.dtype=int64$"):
            hard_links(weights.astype(int), lengths)
        with pytest.raises(
            ValueError, match=r"^weights must have at least 3 axes, got weights.shape=\(3, 5\)$"
        ):
            hard_links(weights[0], lengths)
        with pytest.raises(
            ValueError, match=r"^weights must have three axes, got weights.shape=\(1, 2, 3, 5\)$"
        ):
            hard_links(weights[None], lengths)
        with pytest.raises(ValueError, match=r"^weights must not be negative, got weights down to -0\.2$"):
            hard_links(-weights, lengths)
        with pytest.raises(ValueError, match=r"^weights must not contain NaN, got weights with 30 NaN$"):
            hard_links(weights * np.nan, lengths)
        with pytest.raises(TypeError, match=r"^lengths must be of type ndarray, got lengths of type list$"):
            hard_links(weights, [3, 2])
        with pytest.raises(TypeError, match=r"^lengths must be integers, got lengths.dtype=float64$"):
            hard_links(weights, lengths / 1)
        with pytest.raises(
            ValueError,
            match=r"^lengths must have one entry per row of the batch, "
            r"got lengths.shape=\(1,\), weights.shape=\(2, 3, 5\)$",
        ):
            hard_links(weights, lengths[:1])
        for bad in (np.array([4, 2]), np.array([-1, 2])):
            with pytest.raises(
                ValueError,
                match=rf"^lengths must lie in 0 … n_target=3, got lengths from {bad.min()} to {bad.max()}$",
            ):
                hard_links(weights, bad)


class TestAlignmentErrorRate:
    def test_hand_values(self):
        gold = np.zeros((1, 4, 3), dtype=bool)
        gold[0, 0, 0] = gold[0, 1, 1] = gold[0, 1, 2] = True  # the last two target tokens have no link
        possible = gold.copy()
        possible[0, 0, 1] = possible[0, 2, 2] = True
        links = np.zeros_like(gold)
        links[0, [0, 1, 2, 3], [1, 1, 2, 0]] = True
        # Without possible links rows 2 and 3 are left out: |A| = 2, |S| = 3, |A∩S| = |A∩P| = 1.
        assert alignment_error_rate(links, gold) == pytest.approx(1 - 2 / 5)
        # With them row 2 counts: |A| = 3, |A∩S| = 1, |A∩P| = 3.
        assert alignment_error_rate(links, gold, possible=possible) == pytest.approx(1 - 4 / 6)

    def test_one_count_over_all_texts_not_a_mean_of_texts(self):
        gold = np.zeros((2, 3, 3), dtype=bool)
        gold[0, 0, 0] = True
        gold[1] = np.eye(3, dtype=bool)
        links = gold.copy()
        links[0, 0] = [False, True, False]
        assert alignment_error_rate(links, gold) == pytest.approx(1 - 6 / 8)

    @pytest.mark.properties
    @given(link_cases())
    def test_equals_the_formula_on_sets(self, case):
        links, gold, possible = case
        for wide in (gold, possible):
            rows = {tuple(cell[:2]) for cell in np.argwhere(wide)}
            a = {tuple(cell) for cell in np.argwhere(links) if tuple(cell[:2]) in rows}
            s, p = ({tuple(cell) for cell in np.argwhere(array)} for array in (gold, wide))
            rate = alignment_error_rate(links, gold, possible=wide)
            assert rate == pytest.approx(1 - (len(a & s) + len(a & p)) / (len(a) + len(s)), abs=1e-15)
            assert 0 <= rate <= 1
        assert alignment_error_rate(gold, gold) == 0
        assert alignment_error_rate(gold, gold, possible=possible) == 0
        assert alignment_error_rate(~gold, gold) == 1
        assert alignment_error_rate(np.zeros_like(gold), gold) == 1
        # More possible links never make the same links on the same rows worse.
        wider = gold | (possible & gold.any(axis=-1, keepdims=True))
        assert alignment_error_rate(links, gold, possible=wider) <= alignment_error_rate(links, gold)

    @pytest.mark.properties
    @given(link_cases(), st.integers(0, 2**32 - 1))
    def test_the_order_of_tokens_does_not_matter_and_padding_changes_nothing(self, case, seed):
        links, gold, possible = case
        rng = np.random.default_rng(seed)
        rate = alignment_error_rate(links, gold, possible=possible)
        target, source = rng.permutation(gold.shape[1]), rng.permutation(gold.shape[2])
        shuffled = [array[:, target][:, :, source] for array in case]
        assert alignment_error_rate(shuffled[0], shuffled[1], possible=shuffled[2]) == rate
        padded = [np.pad(array, [(0, 0), (0, 2), (0, 0)]) for array in case]
        padded[0][:, -2:] = rng.random((len(gold), 2, gold.shape[2])) < 0.5  # links of padded tokens
        assert alignment_error_rate(padded[0], padded[1], possible=padded[2]) == rate

    def test_bad_arguments_are_refused(self):
        gold = np.eye(3, dtype=bool)[None]
        with pytest.raises(TypeError, match=r"^links must be of type ndarray, got links of type list$"):
            alignment_error_rate(gold.tolist(), gold)
        with pytest.raises(TypeError, match=r"^gold must be boolean, got gold.dtype=int64$"):
            alignment_error_rate(gold, gold.astype(int))
        with pytest.raises(TypeError, match=r"^possible must be boolean, got possible.dtype=float64$"):
            alignment_error_rate(gold, gold, possible=gold.astype(float))
        with pytest.raises(
            ValueError,
            match=r"^links and gold must have the same shape, "
            r"got links.shape=\(1, 2, 3\), gold.shape=\(1, 3, 3\)$",
        ):
            alignment_error_rate(gold[:, :2], gold)
        with pytest.raises(
            ValueError,
            match=r"^gold and possible must have the same shape, "
            r"got gold.shape=\(1, 3, 3\), possible.shape=\(3, 3\)$",
        ):
            alignment_error_rate(gold, gold, possible=gold[0])
        with pytest.raises(
            ValueError, match=r"^gold must hold a link, got gold of shape \(1, 3, 3\) without any$"
        ):
            alignment_error_rate(gold, np.zeros_like(gold))
        with pytest.raises(
            ValueError, match=r"^possible must contain every gold link, got possible without 3 of them$"
        ):
            alignment_error_rate(gold, gold, possible=~gold)


class TestMassOnGold:
    def test_hand_values(self):
        weights = np.array([[[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.5, 0.5, 0.0]]])
        gold = np.array([[[True, False, False], [False, True, True], [False, False, False]]])
        assert mass_on_gold(weights, gold) == pytest.approx((0.7 + 0.9) / 2)

    @pytest.mark.properties
    @given(link_cases())
    def test_uniform_weights_put_the_density_of_gold_on_gold(self, case):
        _, gold, _ = case
        linked = gold.any(axis=-1)
        uniform = np.full(gold.shape, 1 / gold.shape[-1])
        assert mass_on_gold(uniform, gold) == pytest.approx(gold[linked].mean(), rel=1e-12)
        hard = hard_links(gold.astype(float), np.full(len(gold), gold.shape[1]))
        assert mass_on_gold(hard.astype(float), gold) == 1
        assert mass_on_gold((~gold).astype(float), gold) == 0

    @pytest.mark.properties
    @given(link_cases(), st.integers(0, 2**32 - 1))
    def test_rows_without_gold_are_left_out(self, case, seed):
        _, gold, _ = case
        weights = np.random.default_rng(seed).random(gold.shape)
        garbage = np.where(gold.any(axis=-1, keepdims=True), weights, 7.0)
        assert mass_on_gold(garbage, gold) == mass_on_gold(weights, gold)

    def test_bad_arguments_are_refused(self):
        weights, gold = np.full((1, 2, 2), 0.5), np.eye(2, dtype=bool)[None]
        with pytest.raises(TypeError, match=r"^weights must be of type ndarray, got weights of type list$"):
            mass_on_gold(weights.tolist(), gold)
        with pytest.raises(ValueError, match=r"^weights must not be negative, got weights down to -0\.5$"):
            mass_on_gold(-weights, gold)
        with pytest.raises(TypeError, match=r"^gold must be boolean, got gold.dtype=float64$"):
            mass_on_gold(weights, weights)
        with pytest.raises(
            ValueError,
            match=r"^weights and gold must have the same shape, "
            r"got weights.shape=\(1, 2, 2\), gold.shape=\(1, 1, 2\)$",
        ):
            mass_on_gold(weights, gold[:, :1])
        with pytest.raises(
            ValueError, match=r"^gold must hold a link, got gold of shape \(1, 2, 2\) without any$"
        ):
            mass_on_gold(weights, ~np.ones_like(gold))


class TestPointingAccuracy:
    def test_hand_values(self):
        weights = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.2, 0.5, 0.3], [1.0, 0.0, 0.0]])
        gold = np.array([[True, False, False], [False, True, True], [True, False, True], [False] * 3])
        assert pointing_accuracy(weights, gold) == pytest.approx(2 / 3)
        assert pointing_accuracy(weights[2], gold[2]) == 0
        assert pointing_accuracy(weights[None, :2, None], gold[None, :2, None]) == 1

    def test_of_equal_peaks_the_first_counts_and_a_row_of_zeros_is_a_miss(self):
        gold = np.array([[True, False]])
        assert pointing_accuracy(np.array([[0.5, 0.5]]), gold) == 1
        assert pointing_accuracy(np.array([[0.5, 0.5]]), ~gold) == 0
        assert pointing_accuracy(np.zeros((1, 2)), gold) == 0

    @pytest.mark.properties
    @given(link_cases(), st.integers(0, 2**32 - 1))
    def test_equals_a_loop_over_the_rows_with_gold(self, case, seed):
        _, gold, _ = case
        weights = np.random.default_rng(seed).random(gold.shape)
        rows = [
            bool(places[row.argmax()])
            for row, places in zip(
                weights.reshape(-1, gold.shape[-1]), gold.reshape(-1, gold.shape[-1]), strict=True
            )
            if places.any()
        ]
        assert pointing_accuracy(weights, gold) == pytest.approx(sum(rows) / len(rows), rel=1e-12)
        assert pointing_accuracy(gold.astype(float), gold) == 1
        if not gold.all(axis=-1).any():
            assert pointing_accuracy((~gold).astype(float), gold) == 0

    @pytest.mark.properties
    @given(link_cases(), st.integers(0, 2**32 - 1))
    def test_only_the_peak_counts(self, case, seed):
        _, gold, _ = case
        weights = np.random.default_rng(seed).random(gold.shape)
        assert pointing_accuracy(weights**3, gold) == pointing_accuracy(weights, gold)

    def test_bad_arguments_are_refused(self):
        weights, gold = np.full((2, 2), 0.5), np.eye(2, dtype=bool)
        with pytest.raises(TypeError, match=r"^weights must be of type ndarray, got weights of type list$"):
            pointing_accuracy(weights.tolist(), gold)
        with pytest.raises(ValueError, match=r"^weights must not be negative, got weights down to -0\.5$"):
            pointing_accuracy(-weights, gold)
        with pytest.raises(TypeError, match=r"^gold must be boolean, got gold.dtype=float64$"):
            pointing_accuracy(weights, weights)
        with pytest.raises(
            ValueError,
            match=r"^weights and gold must have the same shape, "
            r"got weights.shape=\(2, 2\), gold.shape=\(1, 2\)$",
        ):
            pointing_accuracy(weights, gold[:1])
        with pytest.raises(
            ValueError, match=r"^gold must hold a link, got gold of shape \(2, 2\) without any$"
        ):
            pointing_accuracy(weights, np.zeros_like(gold))


def test_measures_of_links_do_not_write_their_arguments():
    rng = np.random.default_rng(0)
    weights, lengths = rng.random((2, 3, 5)), np.array([3, 2])
    gold = rng.random((2, 3, 5)) < 0.5
    possible = gold | (rng.random((2, 3, 5)) < 0.5)
    arguments = [weights, lengths, gold, possible]
    copies = [array.copy() for array in arguments]
    for array in arguments:
        array.flags.writeable = False
    links = hard_links(weights, lengths)
    links.flags.writeable = False
    alignment_error_rate(links, gold, possible=possible)
    mass_on_gold(weights, gold)
    pointing_accuracy(weights, gold)
    for array, copy in zip(arguments, copies, strict=True):
        np.testing.assert_array_equal(array, copy)
