"""Band energies against a sum written out, tones in their bands, and the frames in which letters sound."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attncourse.speech_features import FLOOR, SAMPLES_PER_FRAME, gold_frames, log_band_energies
from attncourse.tasks.morse import SAMPLE_RATE, MorseTask
from tests.support.tolerances import FLOAT32


def by_definition(samples, edges, rate):
    """Return one frame's log band energies from the sums in the docstring."""
    size = len(samples)
    window = [0.5 - 0.5 * np.cos(2 * np.pi * n / size) for n in range(size)]
    energies = []
    for low, high in itertools.pairwise(edges):
        power = 0.0
        for f in range(size // 2 + 1):
            if low <= f * rate / size < high:
                terms = [
                    w * x * np.exp(-2j * np.pi * f * n / size)
                    for n, (w, x) in enumerate(zip(window, samples, strict=True))
                ]
                power += 2 / sum(window) ** 2 * abs(sum(terms)) ** 2
        energies.append(np.log(FLOOR + power))
    return energies


@pytest.mark.parity
def test_every_frame_is_what_the_formula_says():
    audio = np.random.default_rng(0).normal(size=(2, 53))
    features, lengths = log_band_energies(
        audio, np.array([53, 22]), sample_rate=1100, samples_per_frame=11, n_bands=3, band_hz=(100.0, 550.0)
    )
    assert lengths.tolist() == [4, 2]
    assert features.shape == (2, 4, 3)
    for row, frame in ((0, 0), (0, 3), (1, 0), (1, 1)):
        want = by_definition(audio[row, 11 * frame : 11 * (frame + 1)], [100, 250, 400, 550], 1100)
        np.testing.assert_allclose(features[row, frame], want, **FLOAT32)
    assert not features[1, 2:].any()


@pytest.mark.parity
def test_the_sum_over_all_bands_is_the_power_of_the_windowed_frame():
    # Parseval: with bands from 0 to half the rate, only the two ends of the spectrum count double.
    samples = np.random.default_rng(1).normal(size=(1, 100))
    features, _ = log_band_energies(samples, np.array([100]), n_bands=1, band_hz=(1.0, SAMPLE_RATE / 2))
    window = np.hanning(101)[:-1]
    spectrum = np.fft.fft(samples[0] * window)
    inner = (np.abs(spectrum) ** 2).sum() - np.abs(spectrum[0]) ** 2 - np.abs(spectrum[50]) ** 2
    np.testing.assert_allclose(np.exp(features.item()) - FLOOR, inner / window.sum() ** 2, rtol=1e-5)


@pytest.mark.parametrize(("tone", "band"), [(320, 0), (520, 1), (720, 3), (1040, 5)])
def test_a_tone_is_loudest_in_its_band(tone, band):
    # Multiples of the 40 Hz between the transform's frequencies: nothing leaks further than one of them.
    samples = 0.5 * np.sin(2 * np.pi * tone / SAMPLE_RATE * np.arange(300))[None]
    features, lengths = log_band_energies(samples, np.array([300]))
    assert lengths.tolist() == [3]
    assert (features.argmax(axis=-1) == band).all()
    assert (features[..., band] >= np.log(0.5**2 / 2 + FLOOR) - 1e-5).all()


def test_silence_has_the_floor():
    features, _ = log_band_energies(np.zeros((1, 200)), np.array([200]))
    np.testing.assert_allclose(features, np.log(FLOOR), rtol=1e-6)


def test_what_stands_behind_the_length_changes_nothing():
    audio = np.random.default_rng(2).normal(size=(3, 730)).astype(np.float32)
    lengths = np.array([730, 355, 100])
    before = audio.copy()
    features, frame_lengths = log_band_energies(audio, lengths)
    np.testing.assert_array_equal(audio, before)
    assert (features.dtype, frame_lengths.dtype) == (np.float32, np.int64)
    assert frame_lengths.tolist() == [7, 3, 1]
    garbage = np.where(np.arange(730) < lengths[:, None], audio, 1e3)
    np.testing.assert_array_equal(log_band_energies(garbage, lengths)[0], features)
    for row, length in enumerate(lengths):
        alone, _ = log_band_energies(audio[row : row + 1, :length], lengths[row : row + 1])
        np.testing.assert_allclose(alone[0], features[row, : frame_lengths[row]], rtol=1e-6)


def test_morse_is_louder_inside_its_letters():
    task = MorseTask()
    batch = task.sample(7, 5, np.random.default_rng(0))
    features, lengths = log_band_energies(batch.audio, batch.lengths)
    gold = gold_frames(batch.letter_spans, features.shape[1]).any(axis=1)
    real = np.arange(features.shape[1]) < lengths[:, None]
    loudest = features.max(axis=-1)
    assert loudest[gold & real].mean() > loudest[~gold & real].mean() + 2


def test_gold_frames_by_hand():
    spans = np.array(
        [[[0, 100], [100, 101], [250, 401], [-1, -1]], [[99, 100], [399, 900], [-1, -1], [-1, -1]]]
    )
    assert SAMPLES_PER_FRAME == 100
    frames = gold_frames(spans, 5)
    assert [[row.nonzero()[0].tolist() for row in text] for text in frames] == [
        [[0], [1], [2, 3, 4], []],
        [[0], [3, 4], [], []],
    ]
    assert frames.dtype == bool
    wide = gold_frames(spans, 2, samples_per_frame=400)
    assert [[row.nonzero()[0].tolist() for row in text] for text in wide] == [
        [[0], [0], [0, 1], []],
        [[0], [0, 1], [], []],
    ]


@pytest.mark.properties
@given(start=st.integers(0, 900), size=st.integers(1, 200), samples_per_frame=st.integers(1, 97))
def test_a_frame_is_gold_if_it_shares_a_sample(start, size, samples_per_frame):
    n_frames = 1100 // samples_per_frame
    spans = np.array([[[start, start + size]]])
    before = spans.copy()
    frames = gold_frames(spans, n_frames, samples_per_frame=samples_per_frame)[0, 0]
    np.testing.assert_array_equal(spans, before)
    letter = set(range(start, start + size))
    for frame in range(n_frames):
        samples = range(frame * samples_per_frame, (frame + 1) * samples_per_frame)
        assert frames[frame] == bool(letter.intersection(samples))


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"audio": [[0.0] * 200]}, TypeError, "audio must be of type ndarray"),
        ({"audio": np.zeros((1, 200), dtype=int)}, TypeError, "audio must be floating point"),
        ({"audio": np.full((1, 200), np.nan)}, ValueError, "audio must not contain NaN"),
        ({"audio": np.zeros(200)}, ValueError, "audio must have at least 2 axes"),
        (
            {"audio": np.zeros((1, 2, 200))},
            ValueError,
            r"audio must have axes \(batch, n_samples\) and lengths one entry per row, "
            r"got audio.shape=\(1, 2, 200\), lengths.shape=\(1,\)",
        ),
        ({"lengths": np.array([200, 200])}, ValueError, r"audio must have axes \(batch, n_samples\)"),
        ({"lengths": [200]}, TypeError, "lengths must be of type ndarray"),
        ({"lengths": np.array([200.0])}, TypeError, "lengths must be integers, got lengths.dtype=float64"),
        (
            {"lengths": np.array([99])},
            ValueError,
            "lengths must lie in samples_per_frame=100 … n_samples=200, got lengths from 99 to 99",
        ),
        ({"lengths": np.array([201])}, ValueError, "lengths must lie in .*, got lengths from 201 to 201"),
        ({"sample_rate": 4000.0}, TypeError, "sample_rate must be an integer"),
        ({"samples_per_frame": 0}, ValueError, "samples_per_frame must be at least 1"),
        ({"n_bands": 0}, ValueError, "n_bands must be at least 1, got n_bands=0"),
        (
            {"n_bands": 21},
            ValueError,
            r"n_bands must leave a frequency to every band \(they are 40 hertz apart\), got n_bands=21",
        ),
        ({"band_hz": 300.0}, TypeError, "band_hz must be of type tuple"),
        ({"band_hz": (300.0,)}, ValueError, r"band_hz must be two numbers, got band_hz=\(300.0,\)"),
        ({"band_hz": (-1.0, 300.0)}, ValueError, "band_hz must be at least 0, got band_hz=-1.0"),
        (
            {"band_hz": (300.0, 300.0)},
            ValueError,
            r"band_hz must rise and end at 2000 \(half the sample rate\) or below, "
            r"got band_hz=\(300.0, 300.0\)",
        ),
        ({"band_hz": (300.0, 2001.0)}, ValueError, "band_hz must rise and end at 2000"),
    ],
)
def test_bad_audio_and_bands_are_refused(arguments, error, text):
    good = {"audio": np.zeros((1, 200)), "lengths": np.array([200])}
    with pytest.raises(error, match=f"^{text}"):
        log_band_energies(**{**good, **arguments})


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"spans": [[[0, 1]]]}, TypeError, "spans must be of type ndarray"),
        ({"spans": np.zeros((1, 1, 2))}, TypeError, "spans must be integers, got spans.dtype=float64"),
        (
            {"spans": np.zeros((1, 2), dtype=int)},
            ValueError,
            r"spans must have shape \(batch, n_target, 2\), got spans.shape=\(1, 2\)",
        ),
        ({"spans": np.zeros((1, 2, 3), dtype=int)}, ValueError, "spans must have shape"),
        ({"n_frames": 0}, ValueError, "n_frames must be at least 1, got n_frames=0"),
        ({"samples_per_frame": 1.5}, TypeError, "samples_per_frame must be an integer"),
    ],
)
def test_bad_spans_are_refused(arguments, error, text):
    good = {"spans": np.array([[[0, 1]]]), "n_frames": 3}
    with pytest.raises(error, match=f"^{text}"):
        gold_frames(**{**good, **arguments})
