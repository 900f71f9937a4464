"""What chapters show: exact texts, because nbval compares them letter by letter."""

import base64
import functools
import io
import json
import math
import re
import wave
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from attncourse.display import audio_player, claim, show_error, show_source, stored_result


def doubled(number):
    """Double it."""
    return 2 * number


class Holder:
    """Hold a method."""

    def tripled(self, number):
        return 3 * number


def with_fence():
    return "```"


def test_source_of_a_function_is_its_text_in_a_fence():
    shown = show_source(doubled)
    assert shown.data == '```python\ndef doubled(number):\n    """Double it."""\n    return 2 * number\n```'


class Documented:
    r"""Say it in one line.

    And then in three more,
    which a page need not repeat.
    """

    def method(self):
        """Do it.

        Returns
        -------
        int
            One.
        """
        return 1


def test_long_docstrings_are_cut_to_their_first_line():
    assert show_source(Documented).data == (
        '```python\nclass Documented:\n    r"""Say it in one line."""\n\n    def method(self):\n'
        '        """Do it."""\n        return 1\n```'
    )
    whole = show_source(Documented, docstring=True).data
    assert "which a page need not repeat." in whole
    assert "Returns" in whole


def test_source_of_a_method_is_dedented():
    assert show_source(Holder.tripled).data.splitlines()[1] == "def tripled(self, number):"
    assert show_source(Holder().tripled).data == show_source(Holder.tripled).data


def test_source_of_a_class_holds_its_methods():
    shown = show_source(Holder).data
    assert shown.startswith("```python\nclass Holder:")
    assert "    def tripled(self, number):" in shown


def test_source_of_a_wrapped_function_is_the_wrapped_one():
    @functools.wraps(doubled)
    def wrapper(number):
        return doubled(number)

    assert show_source(wrapper).data == show_source(doubled).data


def test_source_with_backticks_gets_a_longer_fence():
    lines = show_source(with_fence).data.splitlines()
    assert (lines[0], lines[-1]) == ("````python", "````")


@pytest.mark.parametrize("obj", [len, 3, Holder(), functools.partial(doubled, 3)])
def test_without_source_the_error_names_the_type(obj):
    rule = f"obj must be a function, method or class with Python source, got obj of type {type(obj).__name__}"
    with pytest.raises(TypeError, match=rule):
        show_source(obj)


def test_expected_error_is_printed(capsys):
    show_error(ValueError, lambda: int("many"))
    assert capsys.readouterr().out == "ValueError: invalid literal for int() with base 10: 'many'\n"


def test_a_subclass_is_printed_under_its_own_name(capsys):
    show_error(LookupError, lambda: {}["gone"])
    assert capsys.readouterr().out == "KeyError: 'gone'\n"


def test_silence_is_not_an_expected_error():
    with pytest.raises(AssertionError, match="expected ValueError, but nothing was raised"):
        show_error(ValueError, lambda: None)


def test_another_error_is_not_the_expected_one():
    with pytest.raises(AssertionError, match="expected ValueError, but TypeError was raised: odd"):
        show_error(ValueError, lambda: (_ for _ in ()).throw(TypeError("odd")))


def test_a_long_error_is_wrapped_and_loses_no_word(capsys):
    words = [f"word{n}" for n in range(60)]

    def fail():
        raise ValueError(" ".join(words))

    show_error(ValueError, fail)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 98
    assert all(line.startswith("    ") for line in lines[1:])
    assert " ".join(lines).split() == ["ValueError:", *words]


def test_show_error_checks_its_arguments():
    with pytest.raises(TypeError, match="exc_type must be an exception class, got exc_type=3"):
        show_error(3, lambda: None)
    with pytest.raises(TypeError, match="exc_type must be an exception class"):
        show_error(KeyboardInterrupt, lambda: None)
    with pytest.raises(TypeError, match="fn must be callable, got fn of type int"):
        show_error(ValueError, 3)


@pytest.mark.parametrize(
    ("value", "bound", "line"),
    [
        (0.987, {"at_least": 0.95}, "✓ 01-a-b · it recalls: at least 0.95\n"),
        (0.2, {"at_most": 0.2}, "✓ 01-a-b · it recalls: at most 0.2\n"),
        (1.44, {"near": 1.5, "within": 0.1}, "✓ 01-a-b · it recalls: near 1.5 (within 0.1)\n"),
        (1.1, {"near": 1.0, "within": 0.1}, "✓ 01-a-b · it recalls: near 1 (within 0.1)\n"),
        (5, {"at_least": 5}, "✓ 01-a-b · it recalls: at least 5\n"),
        (1e-9, {"at_most": 1e-8}, "✓ 01-a-b · it recalls: at most 1e-08\n"),
        (np.float32(0.96), {"at_least": 0.95}, "✓ 01-a-b · it recalls: at least 0.95\n"),
        (np.array(0.96), {"at_least": 0.95}, "✓ 01-a-b · it recalls: at least 0.95\n"),
        (np.int64(7), {"at_least": 3}, "✓ 01-a-b · it recalls: at least 3\n"),
        (
            torch.tensor(0.96, requires_grad=True),
            {"at_least": 0.95},
            "✓ 01-a-b · it recalls: at least 0.95\n",
        ),
        (torch.tensor(2, dtype=torch.int32), {"at_most": 3}, "✓ 01-a-b · it recalls: at most 3\n"),
        (math.inf, {"at_least": 3}, "✓ 01-a-b · it recalls: at least 3\n"),
    ],
)
def test_a_kept_bound_prints_one_line_without_the_value(capsys, value, bound, line):
    assert claim("01-a-b", "it recalls", value, **bound) is None
    assert capsys.readouterr().out == line


@pytest.mark.parametrize("verdict", ["holds", "holds with conditions", "false"])
def test_a_claim_may_settle_a_source_claim(capsys, verdict):
    claim("01-a", "slower", 2.0, at_least=1.5, source="S04", verdict=verdict)
    assert capsys.readouterr().out == f"✓ 01-a [S04 {verdict}] · slower: at least 1.5\n"


@pytest.mark.parametrize(
    ("value", "bound", "text"),
    [
        (0.9499, {"at_least": 0.95}, "01-a · it: must be at least 0.95, got 0.9499"),
        (0.21, {"at_most": 0.2}, "01-a · it: must be at most 0.2, got 0.21"),
        (1.39, {"near": 1.5, "within": 0.1}, r"must be near 1.5 \(within 0.1\), got 1.39"),
        (1.61, {"near": 1.5, "within": 0.1}, r"must be near 1.5 \(within 0.1\), got 1.61"),
        (math.nan, {"at_least": 0.95}, "must be at least 0.95, got nan"),
        (math.nan, {"at_most": 0.95}, "must be at most 0.95, got nan"),
        (math.nan, {"near": 0.95, "within": 1}, "got nan"),
        (torch.tensor(math.nan), {"at_least": -1}, "got nan"),
        (np.float64("nan"), {"at_most": 1}, "got nan"),
        (math.inf, {"near": 1, "within": 1}, "got inf"),
    ],
)
def test_a_broken_bound_raises_and_prints_nothing(capsys, value, bound, text):
    with pytest.raises(AssertionError, match=text):
        claim("01-a", "it", value, **bound)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("bad", ["1-a", "01", "01-A", "01_a", "01-a-", "01--a", "x01-a", 1])
def test_claim_ids_are_kebab_case_behind_two_digits(bad):
    with pytest.raises(ValueError, match="id must be two digits and a kebab-case name"):
        claim(bad, "it", 1.0, at_least=0)


@pytest.mark.parametrize("bad", ["", " it", "two\nlines", 3])
def test_claim_text_is_one_line(bad):
    with pytest.raises(ValueError, match="text must be one line without outer spaces"):
        claim("01-a", bad, 1.0, at_least=0)


def test_claim_wants_exactly_one_bound():
    with pytest.raises(
        ValueError, match=r"exactly one of at_least, at_most and near must be given, got \[\]"
    ):
        claim("01-a", "it", 1.0)
    with pytest.raises(ValueError, match=r"got \['at_least', 'at_most'\]"):
        claim("01-a", "it", 1.0, at_least=0, at_most=2)


def test_near_and_within_come_together():
    with pytest.raises(ValueError, match="near and within must be given together, got near=1, within=None"):
        claim("01-a", "it", 1.0, near=1)
    with pytest.raises(ValueError, match="near and within must be given together, got near=None, within=1"):
        claim("01-a", "it", 1.0, at_least=1, within=1)
    with pytest.raises(ValueError, match="within must be above 0"):
        claim("01-a", "it", 1.0, near=1, within=0)


def test_source_and_verdict_come_together():
    with pytest.raises(ValueError, match="source and verdict must be given together"):
        claim("01-a", "it", 1.0, at_least=0, source="S04")
    with pytest.raises(ValueError, match="source and verdict must be given together"):
        claim("01-a", "it", 1.0, at_least=0, verdict="holds")
    with pytest.raises(ValueError, match="source must be S and two digits such as 'S04', got source='S4'"):
        claim("01-a", "it", 1.0, at_least=0, source="S4", verdict="holds")
    with pytest.raises(ValueError, match="verdict must be one of 'holds'"):
        claim("01-a", "it", 1.0, at_least=0, source="S04", verdict="true")


@pytest.mark.parametrize("bad", ["0.9", None, True, np.array([0.9]), torch.ones(2)])
def test_claim_value_is_one_number(bad):
    with pytest.raises(TypeError, match="value must be a number"):
        claim("01-a", "it", bad, at_least=0)


def test_a_bound_is_printed_as_it_is_checked():
    with pytest.raises(ValueError, match="at_least must be finite with at most six significant digits"):
        claim("01-a", "it", 9.0, at_least=1 / 3)
    with pytest.raises(ValueError, match="at_most must be a number"):
        claim("01-a", "it", 9.0, at_most=math.nan)
    with pytest.raises(ValueError, match="at_most must be finite"):
        claim("01-a", "it", 9.0, at_most=math.inf)
    with pytest.raises(TypeError, match="at_least must be a number"):
        claim("01-a", "it", 9.0, at_least="1")


@pytest.mark.parametrize("folder", ["results", "book/results"])
def test_a_stored_result_is_found_from_the_book_and_from_above(tmp_path, monkeypatch, folder):
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / "05_dates.json").write_text(json.dumps({"seeds": [0, 1, 2]}), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert stored_result("05_dates") == {"seeds": [0, 1, 2]}


def test_a_missing_result_says_where_it_was_sought(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"results/05_dates.json and .*book/results.*`make experiments`"
    ):
        stored_result("05_dates")


@pytest.mark.parametrize("bad", ["dates", "../05_dates", "05_dates.json", "05-dates", 5])
def test_a_result_is_named_without_folder_and_suffix(bad):
    with pytest.raises(ValueError, match="name must be an experiment's name such as '05_dates'"):
        stored_result(bad)


class Elements(HTMLParser):
    """Collect the tags of a piece of HTML, opened and closed, and its text."""

    def __init__(self, text):
        super().__init__()
        self.opened, self.closed, self.text = [], [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.opened.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        self.closed.append(tag)

    def handle_data(self, data):
        self.text += data


def wave_in(player):
    (uri,) = re.findall(r'src="data:audio/wav;base64,([^"]*)"', player.html)
    return wave.open(io.BytesIO(base64.b64decode(uri, validate=True)), "rb")


def test_the_player_holds_the_samples_as_an_8_bit_file():
    samples = np.array([0.0, 0.5, -0.5, 0.25, -0.25])
    with wave_in(audio_player(samples, 4000, label="five samples")) as sound:
        assert sound.getparams()[:4] == (1, 1, 4000, 5)
        # The loudest sample is at full scale: 128 ± 127; half as loud is 128 ± 63.5, rounded to even.
        assert list(sound.readframes(5)) == [128, 255, 1, 192, 64]


def test_silence_stays_silent():
    with wave_in(audio_player(np.zeros(3), 3000, label="nothing")) as sound:
        assert list(sound.readframes(3)) == [128] * 3


def test_a_sound_survives_the_way_up_to_rounding():
    samples = np.random.default_rng(0).normal(size=977).astype(np.float32)
    before = samples.copy()
    with wave_in(audio_player(samples, 8000, label="noise")) as sound:
        levels = np.frombuffer(sound.readframes(977), dtype=np.uint8)
    np.testing.assert_array_equal(samples, before)
    np.testing.assert_allclose((levels - 128.0) / 127, samples / np.abs(samples).max(), atol=0.5001 / 127)


def test_the_player_is_one_closed_element_with_a_name():
    shown = audio_player(np.ones(7), 4000, label='"SOS" <fast> & loud')
    elements = Elements(shown._repr_html_())
    (figure, caption, audio) = elements.opened
    assert (figure[0], caption[0], audio[0]) == ("figure", "figcaption", "audio")
    assert elements.closed == ["figcaption", "audio", "figure"]
    assert elements.text == '"SOS" <fast> & loud'
    assert audio[1]["aria-label"] == '"SOS" <fast> & loud'
    assert "controls" in audio[1]
    assert "autoplay" not in audio[1]
    assert "\n" not in shown.html  # a blank line would end the HTML block in Markdown


def test_elsewhere_the_player_is_a_line_of_text():
    assert repr(audio_player(np.zeros(6200), 4000, label="SOS in Morse code")) == (
        "Audio: SOS in Morse code (1.6 s)"
    )


def test_the_longest_clip_fits_a_page():
    assert len(audio_player(np.zeros(39_956), 4000, label="long").html) < 60_000
    with pytest.raises(
        ValueError, match=r"^samples must be at most 39956 in number, got samples.shape=\(39957,\)$"
    ):
        audio_player(np.zeros(39_957), 4000, label="too long")


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"samples": [0.0]}, TypeError, "samples must be an array or tensor, got samples of type list"),
        ({"samples": np.zeros(3, dtype=int)}, TypeError, "samples must be floating point"),
        (
            {"samples": np.zeros((2, 3))},
            ValueError,
            r"samples must have one axis, got samples.shape=\(2, 3\)",
        ),
        ({"samples": np.zeros(0)}, ValueError, r"samples must not be empty, got samples.shape=\(0,\)"),
        ({"samples": np.array([0, np.nan])}, ValueError, "samples must not contain NaN"),
        (
            {"samples": np.array([0, np.inf])},
            ValueError,
            "samples must be finite, got samples with 1 infinite$",
        ),
        ({"rate": 2999}, ValueError, "rate must be at least 3000, got rate=2999"),
        ({"rate": 4000.0}, TypeError, "rate must be an integer, got rate=4000.0"),
        ({"label": ""}, ValueError, "label must be one line without outer spaces, got label=''"),
        ({"label": "two\nlines"}, ValueError, "label must be one line without outer spaces"),
        ({"label": None}, ValueError, "label must be one line without outer spaces, got label=None"),
    ],
)
def test_what_cannot_be_played_is_refused(arguments, error, text):
    with pytest.raises(error, match=f"^{text}"):
        audio_player(**{"samples": np.zeros(3), "rate": 4000, "label": "it", **arguments})
