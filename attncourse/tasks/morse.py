"""Letters sent in Morse code as sound, with the samples in which every letter sounds.

Speed, rhythm, tone, pauses and noise differ from one utterance to the next, so that no clock tells where
a letter stands: one has to listen.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attncourse._checks import check_count, check_number, check_rows, check_type
from attncourse.tasks.pairs import END, PADDING, SPECIAL_TOKENS, Vocabulary

SAMPLE_RATE = 4000  # samples per second
MORSE_CODE = {
    "A": ".-",
    "B": "-...",
    "C": "-.-.",
    "D": "-..",
    "E": ".",
    "F": "..-.",
    "G": "--.",
    "H": "....",
    "I": "..",
    "J": ".---",
    "K": "-.-",
    "L": ".-..",
    "M": "--",
    "N": "-.",
    "O": "---",
    "P": ".--.",
    "Q": "--.-",
    "R": ".-.",
    "S": "...",
    "T": "-",
    "U": "..-",
    "V": "...-",
    "W": ".--",
    "X": "-..-",
    "Y": "-.--",
    "Z": "--..",
}
DOT_SECONDS = 1.2  # a dot at one word per minute: the word PARIS, with the space behind it, is 50 dots long
AMPLITUDE = 0.5  # of the tone; leaves room for noise below full scale
RAMP_SAMPLES = 20  # a tone swells and fades in 5 ms, as a hard edge would click at every frequency
SLOTS = 8  # what a letter may need: four marks, three gaps between them, and the pause behind it


def _slot_units() -> np.ndarray:
    """Return how many dots each mark and gap of each letter lasts, shape (26, SLOTS); the pause stays 0."""
    units = np.zeros((len(MORSE_CODE), SLOTS))
    for row, marks in enumerate(MORSE_CODE.values()):
        units[row, 0 : 2 * len(marks) : 2] = [1 if mark == "." else 3 for mark in marks]
        units[row, 1 : 2 * len(marks) - 1 : 2] = 1
    return units


SLOT_UNITS = _slot_units()


@dataclass(frozen=True)
class MorseBatch:
    """Hold utterances, what they say, and when.

    Parameters
    ----------
    audio : ndarray of float32, shape (batch, n_samples)
        Waveforms at ``SAMPLE_RATE``, zeros behind the length.
    lengths : ndarray of int64, shape (batch,)
        Samples before the padding.
    target : ndarray of int64, shape (batch, n_target)
        Letters, then ``END``, then ``PADDING``; numbered as in ``MorseTask.vocabulary``.
    target_lengths : ndarray of int64, shape (batch,)
        Tokens before the padding, the end token included.
    letter_spans : ndarray of int64, shape (batch, n_target, 2)
        First sample of each letter's first mark and the sample behind its last mark (the gold alignment);
        -1 at end tokens and padding.
    """

    audio: np.ndarray
    lengths: np.ndarray
    target: np.ndarray
    target_lengths: np.ndarray
    letter_spans: np.ndarray

    def __len__(self) -> int:
        """Return the number of utterances."""
        return len(self.audio)

    def take(self, rows: np.ndarray) -> "MorseBatch":
        """Return some of the utterances, as padded as the longest of them needs.

        Parameters
        ----------
        rows : ndarray of int, shape (n_rows,)
            Which utterances, in which order; one may come twice. Not modified.

        Returns
        -------
        MorseBatch
            Copies of these utterances.

        Raises
        ------
        TypeError
            If ``rows`` is not an array of integers.
        ValueError
            If ``rows`` is empty.
        """
        check_rows("rows", rows)
        n_samples, n_target = self.lengths[rows].max(), self.target_lengths[rows].max()
        return MorseBatch(
            audio=self.audio[rows, :n_samples],
            lengths=self.lengths[rows],
            target=self.target[rows, :n_target],
            target_lengths=self.target_lengths[rows],
            letter_spans=self.letter_spans[rows, :n_target],
        )


@dataclass(frozen=True)
class MorseTask:
    """Describe how letters A–Z are sent: international Morse code with a human hand and a noisy line.

    A dash lasts three dots, the gap inside a letter one. Speed and tone are drawn for each utterance; every
    mark, gap and pause is then stretched or shortened on its own.

    Parameters
    ----------
    words_per_minute : tuple of float
        Slowest and fastest speed, below 100; a dot lasts 1.2 seconds divided by it.
    jitter : float
        Largest relative change of one mark, gap or pause, below 0.5, so that a long dot stays shorter than a
        short dash.
    tone_hz : tuple of float
        Lowest and highest tone, below half the sample rate.
    pauses : tuple of float
        Shortest and longest pause between two letters, in dots; 3 is the standard.
    silence : tuple of float
        Shortest and longest silence before the first letter and behind the last one, in dots.
    noise : float
        Standard deviation of the white noise; the tone has amplitude 0.5.

    Raises
    ------
    TypeError
        If a number has the wrong type.
    ValueError
        If a number is out of range, or a range ends before it begins.

    Notes
    -----
    Time: well below a millisecond for an utterance of five letters. Used from chapter 13 on.
    """

    words_per_minute: tuple[float, float] = (20.0, 28.0)
    jitter: float = 0.2
    tone_hz: tuple[float, float] = (400.0, 1000.0)
    pauses: tuple[float, float] = (3.0, 7.0)
    silence: tuple[float, float] = (2.0, 8.0)
    noise: float = 0.1

    def __post_init__(self) -> None:
        """Check the numbers once."""
        # Above 100, dots would be hardly longer than the swelling and fading of the tone.
        _check_range("words_per_minute", self.words_per_minute, above=0, below=100)
        check_number("jitter", self.jitter, at_least=0, below=0.5)
        _check_range("tone_hz", self.tone_hz, above=0, below=SAMPLE_RATE / 2)
        # Shorter than two dots, and a pause would be mistaken for the gap inside a letter.
        _check_range("pauses", self.pauses, at_least=2)
        _check_range("silence", self.silence, at_least=1)
        check_number("noise", self.noise, at_least=0, below=math.inf)

    @property
    def vocabulary(self) -> Vocabulary:
        """Return the letters as tokens; token n stands for letter n - 3 of the alphabet."""
        return Vocabulary(MORSE_CODE)

    def sample(
        self, n_letters: int | tuple[int, int], batch_size: int, rng: np.random.Generator
    ) -> MorseBatch:
        """Draw utterances of random letters.

        Parameters
        ----------
        n_letters : int or tuple of int
            Letters of every utterance, or the fewest and the most; numbers between are equally likely.
        batch_size : int
            Number of utterances.
        rng : numpy.random.Generator
            Source of randomness.

        Returns
        -------
        MorseBatch
            Utterances, independent of each other.

        Raises
        ------
        TypeError
            If a number is not an integer.
        ValueError
            If a number is below 1, or the most letters are fewer than the fewest.
        """
        low, high = n_letters if isinstance(n_letters, tuple) and len(n_letters) == 2 else (n_letters,) * 2
        check_count("n_letters", low)
        check_count("n_letters", high)
        if high < low:
            raise ValueError(f"n_letters must not end before it begins, got n_letters={n_letters}")
        check_count("batch_size", batch_size)
        counts = rng.integers(low, high + 1, size=batch_size)
        return self._send(rng.integers(len(MORSE_CODE), size=(batch_size, counts.max())), counts, rng)

    def send(self, texts: Sequence[str], rng: np.random.Generator) -> MorseBatch:
        """Send given texts.

        Parameters
        ----------
        texts : sequence of str
            At least one text of capital letters A–Z, none empty. Not modified.
        rng : numpy.random.Generator
            Source of randomness: speed, rhythm, tone, pauses and noise.

        Returns
        -------
        MorseBatch
            One utterance for each text, in order.

        Raises
        ------
        TypeError
            If ``texts`` is a single text.
        ValueError
            If there are no texts, or one is empty or holds anything but capital letters.
        """
        if isinstance(texts, str):
            raise TypeError(f"texts must be a sequence of texts, got texts={texts!r}")
        if not len(texts):
            raise ValueError(f"texts must not be empty, got texts={texts!r}")
        for text in texts:
            if not text or set(text) - set(MORSE_CODE):
                raise ValueError(f"texts must consist of letters A–Z, got texts with {text!r}")
        counts = np.array([len(text) for text in texts])
        letters = np.zeros((len(texts), counts.max()), dtype=np.int64)
        for row, text in enumerate(texts):
            letters[row, : len(text)] = [ord(letter) - ord("A") for letter in text]
        return self._send(letters, counts, rng)

    def _send(self, letters: np.ndarray, counts: np.ndarray, rng: np.random.Generator) -> MorseBatch:
        """Turn letters 0 … 25, of which ``counts`` are real in each row, into sound."""
        batch_size, width = letters.shape
        rows, last = np.arange(batch_size), counts - 1
        real = np.arange(width) < counts[:, None]  # (batch, width)

        units = SLOT_UNITS[letters]  # (batch, width, SLOTS)
        units[:, :, -1] = rng.uniform(*self.pauses, size=letters.shape)
        units[rows, last, -1] = rng.uniform(*self.silence, size=batch_size)
        units *= real[:, :, None]
        before = rng.uniform(*self.silence, size=(batch_size, 1))
        units = np.concatenate([before, units.reshape(batch_size, -1)], axis=1)
        units *= rng.uniform(1 - self.jitter, 1 + self.jitter, size=units.shape)

        dots = DOT_SECONDS / rng.uniform(*self.words_per_minute, size=(batch_size, 1))  # in seconds
        ends = np.rint(np.cumsum(units * dots, axis=1) * SAMPLE_RATE).astype(np.int64)
        lengths = ends[:, -1]
        starts = ends[:, :-1].reshape(batch_size, width, SLOTS)  # every slot begins where the last one ended
        ends = ends[:, 1:].reshape(batch_size, width, SLOTS)
        marks = ends[:, :, 0::2] > starts[:, :, 0::2]  # letters have one to four marks

        spans = np.full((batch_size, width + 1, 2), -1)
        spans[:, :-1][real] = np.stack([starts[:, :, 0], ends[:, :, -2]], axis=-1)[real]
        target = np.full((batch_size, width + 1), PADDING)
        target[:, :-1][real] = letters[real] + len(SPECIAL_TOKENS)
        target[rows, counts] = END

        audio = np.zeros((batch_size, lengths.max()), dtype=np.float32)
        for row in rows:  # one at a time: a whole batch of long utterances does not fit into the cache
            sounding = marks[row]
            audio[row, : lengths[row]] = self._sound(
                starts[row, :, 0::2][sounding], ends[row, :, 0::2][sounding], lengths[row], rng
            )
        return MorseBatch(
            audio=audio,
            lengths=lengths,
            target=target,
            target_lengths=counts + 1,
            letter_spans=spans,
        )

    def _sound(
        self, starts: np.ndarray, ends: np.ndarray, length: int, rng: np.random.Generator
    ) -> np.ndarray:
        """Return a tone of random pitch that sounds between starts and ends, with noise all along."""
        switch = np.zeros(length, dtype=np.int64)
        switch[starts], switch[ends] = 1, -1
        # The mean of the switch over a short window around each sample swells and fades linearly.
        on = np.cumsum(np.cumsum(switch))  # samples for which the tone has been on
        on = np.pad(on, RAMP_SAMPLES // 2, mode="edge")
        envelope = (on[RAMP_SAMPLES:] - on[:-RAMP_SAMPLES]).astype(np.float32) / RAMP_SAMPLES
        cycles = rng.uniform() + rng.uniform(*self.tone_hz) / SAMPLE_RATE * np.arange(length)
        # Whole cycles go before rounding to float32, which would blur the phase of a long utterance.
        tone = np.sin(np.float32(2 * np.pi) * (cycles - np.floor(cycles)).astype(np.float32))
        noise = rng.standard_normal(length, dtype=np.float32)
        return np.float32(AMPLITUDE) * envelope * tone + np.float32(self.noise) * noise


def _check_range(name: str, limits: tuple[float, float], **rules: float) -> None:
    """Require two finite numbers within the rules, the second not below the first.

    Raises
    ------
    ValueError
        If there are not two, or they are in the wrong order.
    """
    check_type(name, limits, tuple)
    if len(limits) != 2:
        raise ValueError(f"{name} must be two numbers, got {name}={limits}")
    for limit in limits:
        check_number(name, limit, **{"below": math.inf, **rules})
    if limits[1] < limits[0]:
        raise ValueError(f"{name} must not end before it begins, got {name}={limits}")
