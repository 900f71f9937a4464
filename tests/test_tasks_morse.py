"""Morse code: what is heard is what the batch says, at the samples at which it says so."""

import dataclasses
import re
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attncourse.tasks.morse import AMPLITUDE, MORSE_CODE, RAMP_SAMPLES, SAMPLE_RATE, MorseTask
from attncourse.tasks.pairs import END, PADDING

CLEAN = {"noise": 0.0, "jitter": 0.0, "pauses": (3.0, 3.0), "silence": (2.0, 2.0)}


def marks_heard(audio):
    """Return where a noiseless tone starts and ends, as rows (start, end): found from the sound alone."""
    # The lowest tone, 400 Hz, crosses zero every 5 samples, and marks are more than 100 samples apart.
    loud = np.flatnonzero(np.abs(audio) > AMPLITUDE / 4)
    edges = np.flatnonzero(np.diff(loud) > 50)
    starts = loud[np.concatenate([[0], edges + 1])]
    ends = loud[np.concatenate([edges, [len(loud) - 1]])] + 1
    return np.stack([starts, ends], axis=1)


def read_marks(lengths, gaps, dot):
    """Write dots, dashes and the ends of letters as text."""
    marks = ["." if length < 2 * dot else "-" for length in lengths]
    ends = ["/" if gap >= 2 * dot else "" for gap in gaps]
    return "".join(mark + end for mark, end in zip(marks, [*ends, ""], strict=True)).split("/")


def test_the_code_is_the_international_one():
    assert len(MORSE_CODE) == 26
    assert list(MORSE_CODE) == [chr(number) for number in range(ord("A"), ord("Z") + 1)]
    assert len(set(MORSE_CODE.values())) == 26
    # By length, and then in the order of the alphabet.
    by_length = [[letter for letter, code in MORSE_CODE.items() if len(code) == n] for n in (1, 2, 3, 4)]
    assert ["".join(letters) for letters in by_length] == ["ET", "AIMN", "DGKORSUW", "BCFHJLPQVXYZ"]
    assert [MORSE_CODE[letter] for letter in "SOMEQZ"] == ["...", "---", "--", ".", "--.-", "--.."]


def test_paris_lasts_as_long_as_its_definition_says():
    # 50 dots with the space of 7 behind it, so that n words per minute make 50 n dots in a minute.
    batch = MorseTask(words_per_minute=(24.0, 24.0), **CLEAN).send(["PARIS"], np.random.default_rng(0))
    dot = 60 * SAMPLE_RATE / (50 * 24)
    first, behind = batch.letter_spans[0, [0, 4], [0, 1]]
    assert behind - first == round(43 * dot)
    assert first == 2 * dot
    assert batch.lengths[0] == round(47 * dot)


def test_spans_of_a_text_by_hand():
    batch = MorseTask(words_per_minute=(20.0, 20.0), **CLEAN).send(["AT", "E"], np.random.default_rng(0))
    # A dot is 240 samples: two of silence, A = 1 + 1 + 3, a pause of 3, T = 3, two of silence.
    assert batch.letter_spans.tolist() == [
        [[480, 480 + 5 * 240], [480 + 8 * 240, 480 + 11 * 240], [-1, -1]],
        [[480, 720], [-1, -1], [-1, -1]],
    ]
    assert batch.lengths.tolist() == [480 + 13 * 240, 480 + 3 * 240]
    assert batch.target.tolist() == [[3, 22, END], [7, END, PADDING]]
    assert batch.target_lengths.tolist() == [3, 2]
    assert not batch.audio[1, 720 + RAMP_SAMPLES :].any()


@pytest.mark.properties
@given(
    fewest=st.integers(1, 4),
    more=st.integers(0, 3),
    jitter=st.floats(0, 0.24),
    speed=st.floats(15, 35),
    tone=st.floats(400, 1000),
    seed=st.integers(0, 2**16),
)
def test_the_letters_can_be_heard_where_the_spans_say(fewest, more, jitter, speed, tone, seed):
    task = MorseTask((speed, speed), jitter, tone_hz=(tone, tone), noise=0.0)
    batch = task.sample((fewest, fewest + more), 3, np.random.default_rng(seed))
    dot = SAMPLE_RATE * 1.2 / speed
    for row in range(3):
        heard = marks_heard(batch.audio[row])
        letters = task.vocabulary.decode(batch.target[row])
        # Below a jitter of 1/4, a long gap of one dot stays below a short pause of three.
        lengths, gaps = heard[:, 1] - heard[:, 0], heard[1:, 0] - heard[:-1, 1]
        assert read_marks(lengths, gaps, dot) == [MORSE_CODE[letter] for letter in letters]
        assert fewest <= len(letters) == batch.target_lengths[row] - 1 <= fewest + more

        firsts = np.cumsum([0] + [len(MORSE_CODE[letter]) for letter in letters])
        spans = batch.letter_spans[row, : len(letters)]
        assert np.abs(heard[firsts[:-1], 0] - spans[:, 0]).max() <= RAMP_SAMPLES
        assert np.abs(heard[firsts[1:] - 1, 1] - spans[:, 1]).max() <= RAMP_SAMPLES
        assert (batch.letter_spans[row, len(letters) :] == -1).all()
        assert batch.target[row, len(letters)] == END
        assert (batch.target[row, len(letters) + 1 :] == PADDING).all()
        assert not batch.audio[row, batch.lengths[row] :].any()
    assert batch.audio.shape[1] == batch.lengths.max()
    assert batch.target.shape[1] == batch.target_lengths.max()


def test_marks_gaps_pauses_and_silences_keep_their_ranges():
    task = MorseTask((20.0, 20.0), 0.2, pauses=(3.0, 7.0), silence=(2.0, 8.0), noise=0.0)
    batch = task.sample(40, 50, np.random.default_rng(0))
    dots, dashes, inner, pauses = [], [], [], []
    for row in range(50):
        heard = marks_heard(batch.audio[row]) / 240
        codes = [MORSE_CODE[letter] for letter in task.vocabulary.decode(batch.target[row])]
        code = "".join(codes)
        lengths, gaps = heard[:, 1] - heard[:, 0], heard[1:, 0] - heard[:-1, 1]
        ends = np.cumsum([len(letter) for letter in codes])[:-1] - 1
        dots += list(lengths[[mark == "." for mark in code]])
        dashes += list(lengths[[mark == "-" for mark in code]])
        pauses += list(gaps[ends])
        inner += list(np.delete(gaps, ends))
    slack = 20 / 240  # where the tone swells and fades
    for values, low, high in ((dots, 1, 1), (dashes, 3, 3), (inner, 1, 1), (pauses, 3, 7)):
        assert low * 0.8 - slack < min(values) < low * 0.8 + 0.1 + slack
        assert high * 1.2 - 0.4 - slack < max(values) < high * 1.2 + slack
    before = batch.letter_spans[:, 0, 0] / 240
    behind = (batch.lengths - batch.letter_spans[:, 39, 1]) / 240
    for silence in (before, behind):
        assert 1.6 <= silence.min() < 3
        assert 7 < silence.max() <= 9.6
    assert np.corrcoef(before, behind)[0, 1] < 0.5


def test_speed_and_tone_differ_between_utterances_and_keep_their_ranges():
    batch = MorseTask(**CLEAN).send(["T"] * 200, np.random.default_rng(0))
    spans = batch.letter_spans[:, 0]
    speeds = 3 * 1.2 * SAMPLE_RATE / (spans[:, 1] - spans[:, 0])
    assert 19.9 < speeds.min() < 20.3
    assert 27.7 < speeds.max() < 28.2
    tones = []
    for row, (start, end) in enumerate(spans):
        spectrum = np.abs(np.fft.rfft(batch.audio[row, start:end] * np.hanning(end - start), 2**14))
        tones.append(spectrum.argmax() * SAMPLE_RATE / 2**14)
    assert 395 < min(tones) < 420
    assert 980 < max(tones) < 1005
    assert abs(np.corrcoef(speeds, tones)[0, 1]) < 0.25


def test_the_tone_has_its_amplitude_and_no_hard_edge():
    batch = MorseTask((20.0, 20.0), tone_hz=(500.0, 500.0), **CLEAN).send(["T"], np.random.default_rng(3))
    start, end = batch.letter_spans[0, 0]
    middle = batch.audio[0, start + RAMP_SAMPLES : end - RAMP_SAMPLES].astype(float)
    # 500 Hz has 8 samples a period: whole periods have the power A² / 2.
    middle = middle[: len(middle) // 8 * 8]
    np.testing.assert_allclose((middle**2).mean(), AMPLITUDE**2 / 2, rtol=1e-5)
    edge = np.abs(batch.audio[0, start - RAMP_SAMPLES : start + RAMP_SAMPLES])
    assert not edge[: RAMP_SAMPLES // 2].any()
    assert edge[RAMP_SAMPLES // 2 : RAMP_SAMPLES].max() < AMPLITUDE / 2 + 1e-6


def test_the_noise_has_its_strength_and_is_white():
    task = MorseTask(noise=0.3)
    clean, noisy = (
        dataclasses.replace(task, noise=noise).sample(7, 1, np.random.default_rng(5)) for noise in (0, 0.3)
    )
    noise = (noisy.audio - clean.audio)[0].astype(float)
    assert len(noise) > 10_000
    np.testing.assert_allclose(noise.std(), 0.3, rtol=0.04)  # five standard deviations
    neighbours = np.corrcoef(noise[:-1], noise[1:])[0, 1]
    assert abs(neighbours) < 5 / np.sqrt(len(noise))


def test_letters_and_lengths_are_equally_likely():
    batch = MorseTask().sample((2, 4), 2000, np.random.default_rng(0))
    letters = batch.target[batch.target > END]
    shares = np.bincount(letters, minlength=29)[3:] / len(letters)
    np.testing.assert_allclose(shares, 1 / 26, atol=5 * np.sqrt(1 / 26 / len(letters)))
    n_letters = np.bincount(batch.target_lengths - 1, minlength=5)
    assert not n_letters[:2].any()
    np.testing.assert_allclose(n_letters[2:] / 2000, 1 / 3, atol=0.053)  # five standard deviations


def test_the_generator_alone_decides():
    task = MorseTask()
    first, again, other = (task.sample((2, 3), 5, np.random.default_rng(seed)) for seed in (1, 1, 2))
    for field in dataclasses.fields(first):
        np.testing.assert_array_equal(getattr(first, field.name), getattr(again, field.name))
    assert first.lengths.tolist() != other.lengths.tolist()


def test_taking_rows_crops_what_they_do_not_need():
    batch = MorseTask().send(["ATTENTION", "E", "IT"], np.random.default_rng(0))
    assert len(batch) == 3
    taken = batch.take(np.array([2, 1, 2]))
    assert taken.target.tolist() == [[11, 22, END], [7, END, PADDING], [11, 22, END]]
    assert taken.target_lengths.tolist() == [3, 2, 3]
    assert taken.audio.shape == (3, batch.lengths[[1, 2]].max())
    np.testing.assert_array_equal(taken.audio[1], batch.audio[1, : taken.audio.shape[1]])
    np.testing.assert_array_equal(taken.letter_spans[0], batch.letter_spans[2, :3])
    taken.audio[:] = 0
    assert batch.audio[1].any()


def test_dtypes():
    batch = MorseTask().sample(2, 3, np.random.default_rng(0))
    assert [getattr(batch, field.name).dtype.name for field in dataclasses.fields(batch)] == [
        "float32",
        *["int64"] * 4,
    ]


def test_a_text_of_five_letters_takes_at_most_a_millisecond():
    task, rng = MorseTask(), np.random.default_rng(0)
    task.sample(5, 8, rng)
    spent = []
    for _ in range(5):
        started = time.process_time()
        task.sample(5, 32, rng)
        spent.append((time.process_time() - started) / 32)
    assert min(spent) < 1e-3


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        (
            {"words_per_minute": (0.0, 20.0)},
            ValueError,
            "words_per_minute must be above 0, got words_per_minute=0.0",
        ),
        ({"words_per_minute": (20.0, 100.0)}, ValueError, "words_per_minute must be below 100"),
        ({"words_per_minute": 20.0}, TypeError, "words_per_minute must be of type tuple"),
        (
            {"words_per_minute": (20.0,)},
            ValueError,
            r"words_per_minute must be two numbers, got words_per_minute=\(20.0,\)",
        ),
        (
            {"words_per_minute": (28.0, 20.0)},
            ValueError,
            r"words_per_minute must not end before it begins, got words_per_minute=\(28.0, 20.0\)",
        ),
        ({"jitter": -0.1}, ValueError, "jitter must be at least 0, got jitter=-0.1"),
        ({"jitter": 0.5}, ValueError, "jitter must be below 0.5, got jitter=0.5"),
        ({"tone_hz": (0.0, 500.0)}, ValueError, "tone_hz must be above 0"),
        ({"tone_hz": (500.0, 2000.0)}, ValueError, "tone_hz must be below 2000.0, got tone_hz=2000.0"),
        ({"tone_hz": ("low", "high")}, TypeError, "tone_hz must be a number, got tone_hz='low'"),
        ({"pauses": (1.9, 3.0)}, ValueError, "pauses must be at least 2, got pauses=1.9"),
        ({"pauses": (3.0, float("inf"))}, ValueError, "pauses must be below inf"),
        ({"silence": (0.9, 2.0)}, ValueError, "silence must be at least 1, got silence=0.9"),
        ({"noise": -1.0}, ValueError, "noise must be at least 0, got noise=-1.0"),
        ({"noise": float("nan")}, ValueError, "noise must be at least 0, got noise=nan"),
    ],
)
def test_bad_settings_are_refused(arguments, error, text):
    with pytest.raises(error, match=f"^{text}"):
        MorseTask(**arguments)


@pytest.mark.parametrize(
    ("n_letters", "batch_size", "error", "text"),
    [
        (0, 3, ValueError, "n_letters must be at least 1, got n_letters=0"),
        ((0, 3), 3, ValueError, "n_letters must be at least 1, got n_letters=0"),
        ((2, 3.0), 3, TypeError, "n_letters must be an integer, got n_letters=3.0"),
        ((2, 3, 4), 3, TypeError, "n_letters must be an integer, got n_letters=(2, 3, 4)"),
        ((3, 2), 3, ValueError, "n_letters must not end before it begins, got n_letters=(3, 2)"),
        (3, 0, ValueError, "batch_size must be at least 1, got batch_size=0"),
        (3, True, TypeError, "batch_size must be an integer, got batch_size=True"),
    ],
)
def test_bad_sizes_are_refused(n_letters, batch_size, error, text):
    with pytest.raises(error, match=f"^{re.escape(text)}$"):
        MorseTask().sample(n_letters, batch_size, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("texts", "error", "text"),
    [
        ("SOS", TypeError, "texts must be a sequence of texts, got texts='SOS'"),
        ([], ValueError, "texts must not be empty, got texts=[]"),
        (["SOS", ""], ValueError, "texts must consist of letters A–Z, got texts with ''"),
        (["SOS", "S O"], ValueError, "texts must consist of letters A–Z, got texts with 'S O'"),
        (["sos"], ValueError, "texts must consist of letters A–Z, got texts with 'sos'"),
    ],
)
def test_what_has_no_code_is_refused(texts, error, text):
    with pytest.raises(error, match=f"^{re.escape(text)}$"):
        MorseTask().send(texts, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("rows", "error", "text"),
    [
        ([0], TypeError, "rows must be an array or tensor"),
        (np.array([True, False]), TypeError, "rows must be integers, got rows.dtype=bool"),
        (np.array([], dtype=int), ValueError, r"rows must not be empty, got rows.shape=\(0,\)"),
    ],
)
def test_bad_rows_are_refused(rows, error, text):
    batch = MorseTask().sample(2, 2, np.random.default_rng(0))
    with pytest.raises(error, match=f"^{text}"):
        batch.take(rows)
