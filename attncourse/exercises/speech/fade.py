"""Checker: what fading a frame in and out does to the power of a tone."""

import math

import numpy as np

from attncourse.exercises._exercise import Exercise, Mistake, Property

CHOICES = ("a", "b", "c")


def _fade(n_samples):
    return np.hanning(n_samples + 1)[:-1]


def _outside(
    samples,
    fade,
    low_hz,
    high_hz,
    sample_rate,
    *,
    power=2,
    faded=True,
    both=False,
    rule="[)",
    inside=False,
    pitches=None,
    n_bins=None,
):
    n = len(samples)
    transform = np.fft.fft(samples * fade if faded else samples)
    if not both:
        transform = transform[: n_bins(n) if n_bins else n // 2 + 1]
    pitch = pitches(n, sample_rate) if pitches else np.arange(len(transform)) * sample_rate / n
    above = pitch >= low_hz if rule[0] == "[" else pitch > low_hz
    below = pitch <= high_hz if rule[1] == "]" else pitch < high_hz
    sizes = np.abs(transform) ** power
    return float(sizes[(above & below) == inside].sum() / sizes.sum())


def _gain(fade=_fade, turned=False, ends=(520.0, 720.0)):
    tone = np.sin(2 * np.pi * 620 * np.arange(100) / 4000)
    plain, faded = (_outside(tone, one, *ends, 4000) for one in (np.ones(100), fade(100)))
    return faded / plain if turned else plain / faded


def _with(**options):
    return {"outside": lambda *inputs: _outside(*inputs, **options)}


def _fades(make):
    return {"fade": make, "gain": _gain(make)}


def _run(answers, inputs):
    name, *rest = inputs.values()
    if name == "prediction":
        return answers[name] in CHOICES
    return answers[name] if name == "gain" else answers[name](*rest)


def _properties(rng):
    def case(n, low, high, rate):
        fade = rng.uniform(0.2, 1.0, n)
        samples = rng.standard_normal(n) + np.cos(np.pi * np.arange(n))
        return {
            "part": "outside",
            "samples": samples,
            "fade": fade,
            "low_hz": low,
            "high_hz": high,
            "sample_rate": rate,
        }

    return [
        Property("a prediction is given", [{"part": "prediction"}], 0.5),
        Property("the fade", [{"part": "fade", "n_samples": n} for n in (8, 13, 100)], 1),
        Property("a band between the bins", [case(50, 310.0, 1010.0, 4000.0)], 1),
        Property(
            "a band that begins and ends on a bin",
            [case(40, 300.0, 900.0, 4000.0), case(40, 100.0, 250.0, 2000.0)],
            2,
        ),
        Property(
            "a band up to the highest bin", [case(20, 500.0, 1000.0, 2000.0), case(21, 0.0, 900.0, 2000.0)], 1
        ),
        Property("how many times less", [{"part": "gain"}], 1),
    ]


def _remark(outputs):
    gain = outputs["how many times less"][0]
    return (
        f"By your measurement the share of the tone's power far from its pitch is {gain:.3g} times as large "
        "without fading as with it. Compare this with your prediction."
    )


EXERCISE = Exercise(
    reference={"prediction": "c", "fade": _fade, "outside": _outside, "gain": _gain()},
    properties=_properties,
    run=_run,
    remark=_remark,
    mistakes=[
        Mistake(
            "sizes instead of powers",
            "The sizes of the parts are added, not their squares. Small parts then count far too much.",
            _with(power=1),
        ),
        Mistake(
            "powers squared once more",
            "The powers are squared a second time, so that the largest part drowns the others.",
            _with(power=4),
        ),
        Mistake(
            "not faded",
            "The window is not multiplied in, so fading seems to change nothing.",
            _with(faded=False),
        ),
        Mistake(
            "mirror images counted",
            "All bins are counted, up to the sample rate. Those above the half of it mirror the ones below "
            "and always lie outside the band.",
            _with(both=True),
        ),
        Mistake(
            "upper edge inside", "A bin exactly at the upper edge belongs to the next band.", _with(rule="[]")
        ),
        Mistake(
            "lower edge outside", "A bin exactly at the lower edge belongs to this band.", _with(rule="()")
        ),
        Mistake(
            "highest bin left out",
            "Bin N / 2 is missing. The bins run up to half the sample rate, and the last one counts too.",
            _with(n_bins=lambda n: n // 2),
        ),
        Mistake(
            "pitches not in hertz",
            "The band is compared with numbers that are no hertz, so every bin lies outside it, or every bin "
            "inside. `rfftfreq` asks for the time between two samples.",
            _with(pitches=np.fft.rfftfreq),
        ),
        Mistake(
            "bins up to half the sample rate",
            "The pitches are spread evenly from 0 to half the sample rate. With an odd number of samples the "
            "highest bin lies below it.",
            _with(pitches=lambda n, rate: np.linspace(0, rate / 2, n // 2 + 1)),
        ),
        Mistake("share inside", "This is the share of the power inside the band.", _with(inside=True)),
        Mistake(
            "symmetric fade",
            "The fade ends in a zero like the one it begins with. A frame is one period of the cosine, "
            "and the next period's zero belongs to the next frame.",
            _fades(np.hanning),
        ),
        Mistake(
            "half a cosine",
            "The fade rises over the whole frame and never falls: only half a period of the "
            "cosine fits into it.",
            _fades(lambda n: 0.5 - 0.5 * np.cos(math.pi * np.arange(n) / n)),
        ),
        Mistake(
            "upside down",
            "The fade is largest at both ends and zero in the middle: the sign of the cosine is wrong.",
            _fades(lambda n: 0.5 + 0.5 * np.cos(2 * math.pi * np.arange(n) / n)),
        ),
        Mistake(
            "fraction turned round",
            "“gain” is the share with fading over the share without; the other way round was asked for.",
            {"gain": _gain(turned=True)},
        ),
    ],
    see=(13, "From sound to frames"),
    variants={
        "another prediction": {"prediction": "a", "fade": _fade, "outside": _outside, "gain": _gain()},
    },
)
