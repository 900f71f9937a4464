"""Turn sound into frames that a model can read: how loud each frame is in each of a few bands of pitch.

Built in chapter 13.
"""

import numpy as np

from attncourse._checks import check_count, check_floats, check_number, check_type, dtype_name

SAMPLES_PER_FRAME = 100  # 25 ms at 4 kHz: half a dot at 24 words per minute
FLOOR = 1e-4  # added to every power, so that silence has a finite logarithm


def log_band_energies(
    audio: np.ndarray,
    lengths: np.ndarray,
    *,
    sample_rate: int = 4000,
    samples_per_frame: int = SAMPLES_PER_FRAME,
    n_bands: int = 6,
    band_hz: tuple[float, float] = (300.0, 1100.0),
) -> tuple[np.ndarray, np.ndarray]:
    r"""Return the logarithm of the power of every frame in bands of equal width.

    A frame's samples x are faded in and out by a Hann window w; their discrete Fourier transform then splits
    the frame's power over frequencies f, and each band adds up its own:

    .. math::
        X_f = \sum_n w_n x_n e^{-2 \pi i f n / N}, \qquad
        \ell_b = \ln\!\Big(\varepsilon + \frac{2}{(\sum_n w_n)^2} \sum_{f \in b} |X_f|^2\Big)

    Parameters
    ----------
    audio : ndarray of float, shape (batch, n_samples)
        Waveforms. Not modified.
    lengths : ndarray of int, shape (batch,)
        Samples before the padding, at least one frame; what stands behind them changes nothing. Not modified.
    sample_rate : int
        Samples per second.
    samples_per_frame : int
        Samples N of a frame; frames do not overlap, and an unfinished one at the end is dropped.
    n_bands : int
        Number of bands.
    band_hz : tuple of float
        Where the lowest band begins and the highest ends, in hertz.

    Returns
    -------
    features : ndarray of float32, shape (batch, n_frames, n_bands)
        Log power :math:`\ell_b` in nats; zeros behind the length.
    frame_lengths : ndarray of int64, shape (batch,)
        Frames before the padding.

    Raises
    ------
    TypeError
        If an argument is of the wrong type.
    ValueError
        If the shapes do not fit, a length or a number is out of range, or a band holds no frequency of the
        transform, which are ``sample_rate / samples_per_frame`` hertz apart.

    Notes
    -----
    A tone of amplitude A inside a band adds at least :math:`A^2 / 2` to its power. :math:`\varepsilon` is
    ``FLOOR``. Time O(n_samples) for each frequency in the bands. Built in chapter 13.
    """
    check_type("audio", audio, np.ndarray)
    check_floats("audio", audio)
    check_count("sample_rate", sample_rate)
    check_count("samples_per_frame", samples_per_frame)
    check_count("n_bands", n_bands)
    _check_lengths(lengths, audio, samples_per_frame)
    frequencies = np.arange(samples_per_frame // 2 + 1) * (sample_rate / samples_per_frame)
    in_band = _bands(frequencies, n_bands, band_hz, sample_rate)  # (n_frequencies, n_bands)

    frame_lengths = lengths.astype(np.int64) // samples_per_frame
    n_frames = int(frame_lengths.max())
    frames = audio[:, : n_frames * samples_per_frame].reshape(len(audio), n_frames, samples_per_frame)
    real = np.arange(n_frames) < frame_lengths[:, None]  # (batch, n_frames)
    window = np.hanning(samples_per_frame + 1)[:-1]
    # So few frequencies are wanted that two small matrices are quicker than a fast Fourier transform of all.
    used = in_band.any(axis=1)
    angles = 2 * np.pi / samples_per_frame * np.outer(np.arange(samples_per_frame), used.nonzero()[0])
    waves = window[:, None] * np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
    parts = frames[real] @ waves.astype(audio.dtype)  # (n_real, 2 · n_used): real and imaginary
    power = 2 / window.sum() ** 2 * parts**2 @ np.tile(in_band[used], (2, 1))
    features = np.zeros((*real.shape, n_bands), dtype=np.float32)
    features[real] = np.log(FLOOR + power)
    return features, frame_lengths


def gold_frames(
    spans: np.ndarray, n_frames: int, *, samples_per_frame: int = SAMPLES_PER_FRAME
) -> np.ndarray:
    """Return in which frames every letter sounds.

    Parameters
    ----------
    spans : ndarray of int, shape (batch, n_target, 2)
        First sample of each letter and the sample behind its last one; -1 where there is none, as in
        ``MorseBatch.letter_spans``. Not modified.
    n_frames : int
        Frames to tell of.
    samples_per_frame : int
        Samples of a frame. An encoder that makes one state of four frames has four times as many.

    Returns
    -------
    ndarray of bool, shape (batch, n_target, n_frames)
        True where frame f, the samples from f · samples_per_frame on, holds a sample of the letter.

    Raises
    ------
    TypeError
        If an argument is of the wrong type.
    ValueError
        If a number is out of range or ``spans`` has another shape.

    Notes
    -----
    Built in chapter 13.
    """
    check_type("spans", spans, np.ndarray)
    if "int" not in dtype_name(spans):
        raise TypeError(f"spans must be integers, got spans.dtype={dtype_name(spans)}")
    if spans.ndim != 3 or spans.shape[-1] != 2:
        raise ValueError(f"spans must have shape (batch, n_target, 2), got spans.shape={spans.shape}")
    check_count("n_frames", n_frames)
    check_count("samples_per_frame", samples_per_frame)
    first = np.arange(n_frames) * samples_per_frame  # first sample of every frame
    starts, ends = spans[..., :1], spans[..., 1:]  # both (batch, n_target, 1)
    return (starts >= 0) & (first < ends) & (first + samples_per_frame > starts)


def _bands(
    frequencies: np.ndarray, n_bands: int, band_hz: tuple[float, float], sample_rate: int
) -> np.ndarray:
    """Return which frequency lies in which band, as floats of shape (n_frequencies, n_bands).

    Raises
    ------
    ValueError
        If the bands are not between 0 and half the sample rate, or one is empty.
    """
    check_type("band_hz", band_hz, tuple)
    if len(band_hz) != 2:
        raise ValueError(f"band_hz must be two numbers, got band_hz={band_hz}")
    for edge in band_hz:
        check_number("band_hz", edge, at_least=0)
    if not band_hz[0] < band_hz[1] <= sample_rate / 2:
        raise ValueError(
            f"band_hz must rise and end at {sample_rate / 2:g} (half the sample rate) or below, "
            f"got band_hz={band_hz}"
        )
    edges = np.linspace(*band_hz, n_bands + 1)
    in_band = (frequencies[:, None] >= edges[:-1]) & (frequencies[:, None] < edges[1:])
    if not in_band.any(axis=0).all():
        raise ValueError(
            f"n_bands must leave a frequency to every band (they are {frequencies[1]:g} hertz apart), "
            f"got n_bands={n_bands}, band_hz={band_hz}"
        )
    return in_band.astype(np.float64)


def _check_lengths(lengths: np.ndarray, audio: np.ndarray, samples_per_frame: int) -> None:
    """Require one length for every waveform, from one frame to all of its samples.

    Raises
    ------
    TypeError
        If ``lengths`` is not an array of integers.
    ValueError
        If the shapes do not fit or a length is out of range.
    """
    check_type("lengths", lengths, np.ndarray)
    if "int" not in dtype_name(lengths):
        raise TypeError(f"lengths must be integers, got lengths.dtype={dtype_name(lengths)}")
    if audio.ndim != 2 or lengths.shape != audio.shape[:1]:
        raise ValueError(
            "audio must have axes (batch, n_samples) and lengths one entry per row, "
            f"got audio.shape={audio.shape}, lengths.shape={lengths.shape}"
        )
    if lengths.min() < samples_per_frame or lengths.max() > audio.shape[1]:
        raise ValueError(
            f"lengths must lie in samples_per_frame={samples_per_frame} … n_samples={audio.shape[1]}, "
            f"got lengths from {lengths.min()} to {lengths.max()}"
        )
