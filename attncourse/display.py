"""What a chapter shows beside its own output: source, expected errors, claims, stored results, sound."""

import ast
import base64
import html
import inspect
import io
import json
import math
import re
import textwrap
import wave
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from IPython.display import Markdown

from attncourse._checks import check_array, check_choice, check_count, check_floats, check_number

VERDICTS = ("holds", "holds with conditions", "false")
LINE = 98  # characters; longer lines run out of a cell's box
LOWEST_RATE = 3000  # samples per second; browsers refuse to play fewer
MOST_WAVE_BYTES = 40_000  # of one clip; written as text in a page they are a third more


def show_source(obj: Any, *, docstring: bool = False) -> Markdown:
    """Return the source of a function, method or class as highlighted text.

    The stored text becomes false when the object changes, so the test that compares notebook outputs fails
    and nobody reads code that the package no longer holds.

    Parameters
    ----------
    obj : function, method or class
        What to show. It is not called.
    docstring : bool, optional
        Whether to show docstrings whole. Otherwise each is cut to its first line: on a page, the text
        around the listing says the rest.

    Returns
    -------
    IPython.display.Markdown
        The dedented source in a Python code fence.

    Raises
    ------
    TypeError
        If ``obj`` has no Python source.
    """
    try:
        source = textwrap.dedent(inspect.getsource(obj)).strip("\n")
    except (TypeError, OSError) as error:
        kind = type(obj).__name__
        raise TypeError(
            f"obj must be a function, method or class with Python source, got obj of type {kind}"
        ) from error
    if not docstring:
        source = _with_short_docstrings(source)
    longest_fence = max(map(len, re.findall("`{3,}", source)), default=2)
    fence = "`" * (longest_fence + 1)
    return Markdown(f"{fence}python\n{source}\n{fence}")


def _with_short_docstrings(source: str) -> str:
    """Cut each docstring of a listing to its first line."""
    lines = source.splitlines()
    documented = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, documented) and ast.get_docstring(node):
            text = node.body[0]
            first = lines[text.lineno - 1]
            if text.end_lineno > text.lineno:
                lines[text.lineno - 1] = first + '"""'
                lines[text.lineno : text.end_lineno] = [None] * (text.end_lineno - text.lineno)
    return "\n".join(line for line in lines if line is not None)


def show_error(exc_type: type[Exception], fn: Callable[[], object]) -> None:
    """Call ``fn`` and print the error that it is expected to raise, as "ValueError: text", in lines of 98.

    Parameters
    ----------
    exc_type : type of Exception
        The expected error.
    fn : callable
        Called once without arguments.

    Raises
    ------
    TypeError
        If ``exc_type`` is no exception class, or ``fn`` is not callable.
    AssertionError
        If ``fn`` raises nothing, or an error of another type.
    """
    if not (isinstance(exc_type, type) and issubclass(exc_type, Exception)):
        raise TypeError(f"exc_type must be an exception class, got exc_type={exc_type!r}")
    if not callable(fn):
        raise TypeError(f"fn must be callable, got fn of type {type(fn).__name__}")
    try:
        fn()
    except exc_type as error:
        for line in f"{type(error).__name__}: {error}".splitlines():
            print(
                textwrap.fill(
                    line, LINE, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
                )
            )
    except Exception as error:
        raise AssertionError(
            f"expected {exc_type.__name__}, but {type(error).__name__} was raised: {error}"
        ) from error
    else:
        raise AssertionError(f"expected {exc_type.__name__}, but nothing was raised")


def claim(
    id: str,
    text: str,
    value: Any,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    near: float | None = None,
    within: float | None = None,
    source: str | None = None,
    verdict: str | None = None,
) -> None:
    """Check that a measured value keeps its bound, and print one line that holds the bound.

    The measured value itself is never printed: it differs in the last digits between machines, and the
    stored line must not.

    Parameters
    ----------
    id : str
        The chapter's two digits and a kebab-case name, such as ``"01-recall-attention"``. Prose refers to it.
    text : str
        What is claimed, on one line, without the bound.
    value : float or scalar array
        The measured number; a NumPy or torch scalar is not modified.
    at_least, at_most, near : float, optional
        The bound; exactly one is given, with at most six significant digits.
    within : float, optional
        The distance from ``near`` that is allowed; given with ``near`` only.
    source : str, optional
        The claim of the source material that this settles, such as ``"S04"``.
    verdict : {"holds", "holds with conditions", "false"}, optional
        What becomes of that claim; given with ``source`` only.

    Raises
    ------
    TypeError
        If the value or a bound is not a number.
    ValueError
        If the id, the text, the bounds, the source or the verdict are not of the form above.
    AssertionError
        If the value does not keep the bound; NaN never does.
    """
    if not (isinstance(id, str) and re.fullmatch(r"\d\d-[a-z0-9]+(-[a-z0-9]+)*", id)):
        raise ValueError(f"id must be two digits and a kebab-case name such as '01-recall', got id={id!r}")
    _check_line("text", text)
    bounds = {"at_least": at_least, "at_most": at_most, "near": near}
    given = [name for name, bound in bounds.items() if bound is not None]
    if len(given) != 1:
        raise ValueError(f"exactly one of at_least, at_most and near must be given, got {given}")
    if (near is None) != (within is None):
        raise ValueError(f"near and within must be given together, got near={near}, within={within}")
    if (source is None) != (verdict is None):
        raise ValueError(
            f"source and verdict must be given together, got source={source!r}, verdict={verdict!r}"
        )
    label = id
    if source is not None:
        if not (isinstance(source, str) and re.fullmatch(r"S\d\d", source)):
            raise ValueError(f"source must be S and two digits such as 'S04', got source={source!r}")
        check_choice("verdict", verdict, VERDICTS)
        label = f"{id} [{source} {verdict}]"
    printed = {name: _printed(name, bound) for name, bound in (bounds | {"within": within}).items()}
    number = _plain_number(value)
    if at_least is not None:
        holds, bound = number >= at_least, f"at least {printed['at_least']}"
    elif at_most is not None:
        holds, bound = number <= at_most, f"at most {printed['at_most']}"
    else:
        check_number("within", within, above=0)
        # A value a hair over the edge of the interval is inside: 1.1 - 1.0 > 0.1 in binary.
        distance = abs(number - near)
        holds = distance <= within or math.isclose(distance, within, rel_tol=1e-9)
        bound = f"near {printed['near']} (within {printed['within']})"
    if not holds:
        raise AssertionError(f"{id} · {text}: must be {bound}, got {number:g}")
    print(f"✓ {label} · {text}: {bound}")


def stored_result(name: str) -> dict[str, Any]:
    """Read what an experiment that is too long for a chapter has stored.

    Parameters
    ----------
    name : str
        The experiment's name without folder and suffix, such as ``"05_dates"``.

    Returns
    -------
    dict
        The content of ``book/results/<name>.json``: ``values`` and ``seconds`` by seed (as text), ``seeds``,
        ``settings``, ``machine``, ``versions``, ``date`` and ``command``.

    Raises
    ------
    ValueError
        If ``name`` is not a bare name.
    FileNotFoundError
        If no such result is stored.
    """
    if not (isinstance(name, str) and re.fullmatch(r"\d\d_[a-z0-9_]+", name)):
        raise ValueError(f"name must be an experiment's name such as '05_dates', got name={name!r}")
    # A notebook runs in book/; a script or a test usually runs in the folder above it.
    places = [folder / "results" / f"{name}.json" for folder in (Path.cwd(), Path.cwd() / "book")]
    for place in places:
        if place.is_file():
            return json.loads(place.read_text(encoding="utf-8"))
    looked = " and ".join(str(place) for place in places)
    raise FileNotFoundError(f"no stored result {name!r}: looked for {looked}; `make experiments` makes it")


@dataclass(frozen=True, repr=False)
class AudioPlayer:
    """What ``audio_player`` returns: HTML for a page, plain text for everything else.

    Parameters
    ----------
    html : str
        One element that holds its sound.
    text : str
        What can be heard, and for how long.
    """

    html: str
    text: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        """Return the plain text."""
        return self.text


def audio_player(samples: np.ndarray, rate: int, *, label: str) -> AudioPlayer:
    """Return a player that holds its own sound, so that it needs neither a kernel nor a file.

    Parameters
    ----------
    samples : ndarray of float, shape (n_samples,)
        The waveform, finite; its loudest sample is played at full scale. At most 39,956 samples: one byte
        each and the header make 40 kB. Not modified.
    rate : int
        Samples per second, at least 3000.
    label : str
        What can be heard, on one line; shown beside the player and read out by screen readers.

    Returns
    -------
    AudioPlayer
        Shown as a player in notebooks and on pages, and as text elsewhere.

    Raises
    ------
    TypeError
        If ``samples`` are not floats, or ``rate`` is not an integer.
    ValueError
        If ``samples`` have not one axis, are too many or not finite, ``rate`` is too low or ``label`` is not
        one line.

    Notes
    -----
    The sound is an 8-bit WAV file in a data URI: enough for a tone in noise. Used from chapter 13 on.
    """
    check_array("samples", samples)
    if len(samples.shape) != 1:
        raise ValueError(f"samples must have one axis, got samples.shape={tuple(samples.shape)}")
    check_floats("samples", samples, min_axes=1)
    if not np.isfinite(samples).all():
        raise ValueError(f"samples must be finite, got samples with {int(np.isinf(samples).sum())} infinite")
    check_count("rate", rate, at_least=LOWEST_RATE)
    _check_line("label", label)
    sound = _wave_bytes(samples, rate)
    if len(sound) > MOST_WAVE_BYTES:
        most = len(samples) - (len(sound) - MOST_WAVE_BYTES)
        raise ValueError(f"samples must be at most {most} in number, got samples.shape={samples.shape}")
    name = html.escape(label)
    uri = f"data:audio/wav;base64,{base64.b64encode(sound).decode('ascii')}"
    return AudioPlayer(
        html=(
            # the theme's own colour for captions cannot be read on the ground of an output in dark mode
            f'<figure class="audio-player"><figcaption style="color: inherit">{name}</figcaption>'
            f'<audio controls aria-label="{name}" src="{uri}" style="max-width: 100%"></audio></figure>'
        ),
        text=f"Audio: {label} ({len(samples) / rate:.1f} s)",
    )


def _wave_bytes(samples: np.ndarray, rate: int) -> bytes:
    """Return a WAV file of one channel and eight bits, in which silence is 128."""
    loudest = np.abs(samples).max()
    levels = np.rint(128 + 127 * (samples / loudest if loudest else samples))
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(1)
        writer.setframerate(rate)
        writer.writeframes(levels.astype(np.uint8).tobytes())
    return file.getvalue()


def _check_line(name: str, text: str) -> None:
    """Require one line of text without outer spaces.

    Raises
    ------
    ValueError
        If it is empty, no text, or more than a line.
    """
    if not (isinstance(text, str) and text.strip() == text and text and "\n" not in text):
        raise ValueError(f"{name} must be one line without outer spaces, got {name}={text!r}")


def _plain_number(value: Any) -> float:
    """Return a Python number for a number or a scalar array; NaN passes, and then keeps no bound."""
    if getattr(value, "shape", None) == ():
        value = value.item()
    if isinstance(value, float) and math.isnan(value):
        return value
    check_number("value", value)
    return value


def _printed(name: str, bound: float | None) -> str:
    """Return the bound as it is printed, and refuse one that the print would round.

    Raises
    ------
    ValueError
        If the bound is not finite or has more than six significant digits.
    """
    if bound is None:
        return ""
    check_number(name, bound)
    text = format(bound, "g")
    if not math.isfinite(bound) or float(text) != bound:
        raise ValueError(f"{name} must be finite with at most six significant digits, got {name}={bound}")
    return text
