"""The help texts as a language-model task: nothing held out was read, and pieces are pieces of the text."""

import re
import subprocess
import sys
from pydoc_data.topics import topics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attncourse.tasks import topics as module
from attncourse.tasks.pairs import SPECIAL_TOKENS
from attncourse.tasks.topics import TopicsTask


@pytest.fixture(scope="module")
def task():
    return TopicsTask(np.random.default_rng(0))


def text_of(task, numbers):
    return "".join(task.vocabulary.tokens[number] for number in numbers)


def paragraphs_of(text):
    return [paragraph for paragraph in re.split(r"\n\s*\n", text.strip()) if paragraph.strip()]


def squeezed(text):
    return " ".join(text.split())


class TestTheSplit:
    @pytest.mark.parametrize("seed", range(5))
    def test_no_held_out_paragraph_occurs_in_training(self, seed):
        task = TopicsTask(np.random.default_rng(seed))
        train, held_out = text_of(task, task.train), text_of(task, task.held_out)
        known = squeezed(train)
        for paragraph in paragraphs_of(held_out):
            assert paragraph not in train
            assert squeezed(paragraph) not in known, paragraph

    @pytest.mark.parametrize("seed", range(5))
    def test_hardly_any_long_run_of_characters_occurs_in_training(self, seed):
        # Paragraphs that differ in one word would pass the test above: a run of 100 characters would not.
        task = TopicsTask(np.random.default_rng(seed))
        train, held_out = squeezed(text_of(task, task.train)), squeezed(text_of(task, task.held_out))
        runs = {train[start : start + 100] for start in range(len(train) - 99)}
        repeated = [held_out[start : start + 100] in runs for start in range(len(held_out) - 99)]
        assert np.mean(repeated) < 0.01

    def test_no_paragraph_stands_twice_in_either_text(self, task):
        for numbers in (task.train, task.held_out):
            paragraphs = [squeezed(paragraph) for paragraph in paragraphs_of(text_of(task, numbers))]
            assert len(paragraphs) == len(set(paragraphs)) > 50

    def test_what_was_not_removed_is_all_there(self, task):
        kept = {
            squeezed(p)
            for numbers in (task.train, task.held_out)
            for p in paragraphs_of(text_of(task, numbers))
        }
        original = {squeezed(p) for text in topics.values() for p in paragraphs_of(text)}
        assert kept <= original
        # Removed for good are only headings that differ in their marks, and held-out scraps.
        assert sum(map(len, original - kept)) < 0.03 * sum(map(len, original))

    def test_the_shares_are_what_the_docstring_says(self, task):
        total = sum(map(len, topics.values()))
        assert 400_000 < total < 800_000  # about 465 thousand on Python 3.11
        assert 0.1 < task.repeated_share < 0.3
        left = len(task.train) + len(task.held_out)
        assert left == pytest.approx((1 - task.repeated_share) * total, rel=0.01)
        assert 0.07 < len(task.held_out) / left <= 0.1
        assert set(task.held_out_topics) < set(topics)

    def test_a_larger_share_holds_out_more(self, task):
        larger = TopicsTask(np.random.default_rng(0), held_out_share=0.3)
        assert 0.25 < len(larger.held_out) / (len(larger.train) + len(larger.held_out)) <= 0.3

    def test_the_generator_alone_decides(self, task):
        again, other = (TopicsTask(np.random.default_rng(seed)) for seed in (0, 1))
        np.testing.assert_array_equal(again.train, task.train)
        np.testing.assert_array_equal(again.held_out, task.held_out)
        assert again.held_out_topics == task.held_out_topics
        assert other.held_out_topics != task.held_out_topics

    def test_another_process_splits_alike(self, task):
        # The order of a set of strings changes from process to process; the texts must not.
        code = (
            "import numpy as np; from attncourse.tasks.topics import TopicsTask; "
            "task = TopicsTask(np.random.default_rng(0)); "
            "print(task.held_out_topics, task.train[::997].tolist())"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout == f"{task.held_out_topics} {task.train[::997].tolist()}\n"


class TestASmallText:
    TOPICS = {  # noqa: RUF012
        "wide": "Long\n****\n\nThe first one.\n\n   code = 1\n\nA text that is\nlonger than others.\n",
        "middle": "Middle\n======\n\nA text  that is longer\n  than others.\n\nOnly here.\n",
        "short": "Long\n~~~~~~\n\nthan others.\n\nMine.\n",
        "twin": "Middle\n\nOnly here.\n",
    }

    def split(self, monkeypatch, chosen):
        monkeypatch.setattr(module, "topics", self.TOPICS)
        for seed in range(100):
            # A quarter of the 124 characters left: room for "middle" (27) or "short" (21), not for "wide".
            task = TopicsTask(np.random.default_rng(seed), held_out_share=0.25)
            if task.held_out_topics == chosen:
                return task
        raise AssertionError(f"no seed holds out {chosen}")

    def test_by_hand_with_a_part_of_a_training_paragraph_held_out(self, monkeypatch):
        task = self.split(monkeypatch, ("short",))
        assert text_of(task, task.train) == (
            "Middle\n======\n\nOnly here.\n\n"
            "Long\n****\n\nThe first one.\n\n   code = 1\n\nA text that is\nlonger than others."
        )
        assert text_of(task, task.held_out) == "Mine."
        removed = [
            "A text  that is longer\n  than others.",
            "Middle",
            "Only here.",
            "Long\n~~~~~~",
            "than others.",
        ]
        n_removed = sum(len(paragraph) + 2 for paragraph in removed)  # each with the empty line behind it
        n_left = len(task.train) + 2 + len(task.held_out) + 2
        assert task.repeated_share == pytest.approx(n_removed / (n_removed + n_left))

    def test_every_character_has_a_number_and_no_other(self, monkeypatch):
        task = self.split(monkeypatch, ("short",))
        characters = set(text_of(task, task.train) + text_of(task, task.held_out))
        assert task.vocabulary.tokens == (*SPECIAL_TOKENS, *sorted(characters))

    def test_a_share_that_no_topic_fits_is_refused(self, monkeypatch):
        monkeypatch.setattr(module, "topics", self.TOPICS)
        with pytest.raises(
            ValueError,
            match=r"^held_out_share must leave room for the shortest topic, "
            r"got held_out_share=0\.01 with 21 characters in that topic$",
        ):
            TopicsTask(np.random.default_rng(0), held_out_share=0.01)


class TestTheTexts:
    def test_the_vocabulary_holds_every_character_once(self, task):
        used = set(np.concatenate([task.train, task.held_out]).tolist())
        assert used == set(range(len(SPECIAL_TOKENS), len(task.vocabulary)))
        assert all(len(token) == 1 for token in task.vocabulary.tokens[len(SPECIAL_TOKENS) :])
        assert set("abc ABC\n.,()") <= set(task.vocabulary.tokens)

    def test_texts_go_into_numbers_and_back(self, task):
        text = text_of(task, task.held_out)
        assert task.vocabulary.encode(text) == task.held_out.tolist()
        assert "".join(task.vocabulary.decode(task.held_out)) == text
        assert task.train.dtype == task.held_out.dtype == np.int64


class TestSample:
    @pytest.mark.properties
    @given(batch_size=st.integers(1, 5), n_tokens=st.integers(1, 40), seed=st.integers(0, 2**16))
    def test_every_row_is_a_piece_of_the_training_text(self, task, batch_size, n_tokens, seed):
        batch = task.sample(batch_size, n_tokens, np.random.default_rng(seed))
        assert batch.shape == (batch_size, n_tokens + 1)
        assert batch.dtype == np.int64
        text = text_of(task, task.train)
        assert all(text_of(task, row) in text for row in batch)

    def test_every_start_occurs_the_last_one_too(self, monkeypatch):
        monkeypatch.setattr(module, "topics", {"a": "abcdefgh\n", "b": "x\n"})
        task = TopicsTask(np.random.default_rng(0), held_out_share=0.4)
        batch = task.sample(6000, 5, np.random.default_rng(0))
        pieces, counts = np.unique(batch, axis=0, return_counts=True)
        assert [text_of(task, piece) for piece in pieces] == ["abcdef", "bcdefg", "cdefgh"]
        np.testing.assert_allclose(counts / 6000, 1 / 3, atol=0.03)  # five standard deviations
        (whole,) = task.sample(1, 7, np.random.default_rng(0))
        assert text_of(task, whole) == "abcdefgh"

    def test_the_generator_alone_decides(self, task):
        first, again, other = (task.sample(3, 11, np.random.default_rng(seed)) for seed in (1, 1, 2))
        np.testing.assert_array_equal(first, again)
        assert (first != other).any()

    def test_rows_are_copies(self, task):
        before = task.train.copy()
        task.sample(2, 5, np.random.default_rng(0))[:] = 0
        np.testing.assert_array_equal(task.train, before)

    def test_bad_arguments_are_refused(self, task):
        rng = np.random.default_rng(0)
        with pytest.raises(ValueError, match=r"^batch_size must be at least 1, got batch_size=0$"):
            task.sample(0, 5, rng)
        with pytest.raises(TypeError, match=r"^n_tokens must be an integer, got n_tokens=5\.0$"):
            task.sample(2, 5.0, rng)
        n = len(task.train)
        with pytest.raises(ValueError, match=rf"^n_tokens must be below {n}, got n_tokens={n}$"):
            task.sample(2, n, rng)
        assert task.sample(1, n - 1, rng).shape == (1, n)


def test_bad_settings_are_refused():
    with pytest.raises(TypeError, match=r"^rng must be of type Generator, got rng of type int$"):
        TopicsTask(0)
    for share, rule in ((0, "above 0"), (1.0, "below 1")):
        with pytest.raises(ValueError, match=rf"^held_out_share must be {rule}, got held_out_share={share}$"):
            TopicsTask(np.random.default_rng(0), held_out_share=share)
