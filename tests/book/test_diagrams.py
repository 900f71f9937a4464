"""The diagrams: one style, legible in light and dark, nothing unsafe, true to what the chapters compute."""

import importlib.util
import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from attncourse.masks import causal_mask, padding_mask, window_mask
from attncourse.reference import masked_softmax, weighted_sum
from attncourse.self_attention import POSITION_SCHEMES, PositionModel
from tests.support.book import BOOK

pytestmark = pytest.mark.book

ASSETS = BOOK / "_assets"
DRAWINGS = sorted(path for path in ASSETS.glob("*.svg") if path.stem != "logo")
MADE = {"learning-path", "long-texts"}  # written by programs, in the page's own colour only
STYLE = (ASSETS / "diagram.css").read_text("utf-8")
SVG = "{http://www.w3.org/2000/svg}"
PHONE = 360  # pixels: the width of a drawing on a narrow phone, and of every viewBox
FIGURE = re.compile(r"(?ms)^(:{3,}|`{3,})\{figure\} _assets/(\S+\.svg)\n(.*?)^\1")

_SPEC = importlib.util.spec_from_file_location("inline_svg", BOOK / "_ext" / "inline_svg.py")
inline_svg = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(inline_svg)


def root(path):
    return ElementTree.parse(path).getroot()


def numbers(drawing, kind):
    """Return the numbers in the group of a class, one row for each text."""
    texts = drawing.findall(f".//{SVG}g[@class='{kind}']/{SVG}text")
    return [[float(n) for n in re.findall(r"-?\d[\d.]*", t.text.replace("−", "-"))] for t in texts]


def pages():
    """Yield the name and the Markdown of every page and chapter."""
    for path in sorted(BOOK.glob("*.md")):
        yield path.name, path.read_text("utf-8")
    for path in sorted(BOOK.glob("*.ipynb")):
        cells = json.loads(path.read_text("utf-8"))["cells"]
        for cell in cells:
            if cell["cell_type"] == "markdown":
                yield path.name, "".join(cell["source"])


def rules():
    """Return class → {property: (light, dark)} of the style's colours."""
    found = {}
    for name, body in re.findall(r"\.diagram (?:\.)?([\w]+) \{([^}]*)\}", STYLE):
        pairs = re.findall(r"(fill|stroke): light-dark\((#\w{6}), (#\w{6})\)", body)
        plain = dict(re.findall(r"(fill|stroke): (#\w{6});", body))
        found[name] = {kind: (light, dark) for kind, light, dark in pairs}
        # the first declaration is for programs that do not know light-dark()
        assert plain == {kind: light for kind, light, _ in pairs}, name
    return found


def luminance(colour):
    channels = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("path", DRAWINGS, ids=lambda path: path.stem)
def test_a_drawing_is_safe_small_and_scales(path):
    assert inline_svg.faults(root(path)) == []
    assert root(path).findtext(f"{SVG}title")
    assert path.stat().st_size < 12_000


@pytest.mark.parametrize("path", [p for p in DRAWINGS if p.stem not in MADE], ids=lambda path: path.stem)
def test_a_drawing_has_the_book_s_style(path):
    drawing = root(path)
    assert drawing.get("class") == "diagram"
    assert drawing.get("viewBox").split()[:3] == ["0", "0", str(PHONE)]
    (style,) = drawing.iter(f"{SVG}style")
    assert style.text.strip() == STYLE.strip(), "copy book/_assets/diagram.css into the file's <style>"
    known = {"diagram", *rules(), *re.findall(r"\.diagram \.(\w+)", STYLE)}
    known |= {
        "weight",
        "value",
        "output",
        "answer",
        "result",
        "carry",
        "shrink",
        "allowed",
        "scheme",
    }  # marks for the tests
    used = {name for element in drawing.iter() for name in (element.get("class") or "").split()}
    assert used <= known
    inside = {"fill", "font-size", "style"}
    assert not [e.tag for e in drawing.iter() if inside & set(e.attrib)], "colours and sizes are the style's"


def test_text_is_at_least_eleven_pixels_on_a_narrow_phone():
    sizes = [int(size) for size in re.findall(r"font-size: (\d+)px", STYLE)]
    assert min(sizes) * 358 / PHONE >= 11  # a page of 390 pixels leaves 358 for a figure


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_stands_out_from_every_background(scheme):
    colours = rules()
    texts = [colours[name]["fill"][scheme] for name in ("text", "note")]
    backgrounds = {
        n: c["fill"][scheme] for n, c in colours.items() if n not in {"text", "note"} and "fill" in c
    }
    assert {"plate", "panel", "box", "q", "k", "v", "s", "w", "o"} == set(backgrounds)
    for text in texts:
        for name, background in backgrounds.items():
            assert contrast(text, background) >= 4.5, (text, name)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_outlines_and_lines_stand_out_from_plate_and_panel(scheme):
    colours = rules()
    for name in ("q", "k", "v", "s", "w", "o", "box", "line", "flow", "strong", "off"):
        for behind in ("plate", "panel"):
            line = colours[name]["stroke"][scheme]
            assert contrast(line, colours[behind]["fill"][scheme]) >= 2.8, (name, behind)


def test_every_drawing_is_used_with_a_full_alt_text():
    uses = {}
    for page, text in pages():
        for _, name, body in FIGURE.findall(text):
            alt = re.search(r"(?m)^:alt: (.+)$", body)
            assert alt, f"{page}: {name} has no alt text"
            assert len(alt.group(1)) >= 80, f"{page}: the alt text of {name} does not say what it shows"
            assert re.search(r"(?m)^:name: fig-", body), f"{page}: {name} has no name"
            uses.setdefault(name, []).append(page)
    assert set(uses) >= {path.name for path in DRAWINGS}, "drawn, but not shown"


def test_the_soft_lookup_shows_chapter_2s_answer():
    drawing = root(ASSETS / "soft-lookup.svg")
    keys = np.array([8.0, 12.0, 16.0, 20.0])
    weights = masked_softmax(-((13 - keys[None]) ** 2) / 8)
    np.testing.assert_allclose(np.ravel(numbers(drawing, "weight")), weights[0].round(3))
    answer = weighted_sum(weights, np.array(numbers(drawing, "value")))
    np.testing.assert_allclose(numbers(drawing, "answer"), answer.round(1))


def test_the_online_softmax_shows_chapter_15s_sums():
    drawing = root(ASSETS / "online-softmax.svg")
    scores, values = np.array([1.0, 3, 2, 5]), np.array([10.0, 20, 30, 40])
    shown = [one for (one,) in (row for row in numbers(drawing, "carry") if row)]
    for seen, (largest, total, mixed) in zip((2, 4), np.reshape(shown, (2, 3)), strict=True):
        exponentials = np.exp(scores[:seen] - scores[:seen].max())
        assert largest == scores[:seen].max()
        np.testing.assert_allclose(
            [total, mixed], [exponentials.sum(), exponentials @ values[:seen]], atol=5e-4
        )
    assert numbers(drawing, "shrink") == [[3, 5, round(np.exp(-2), 4)]]
    answer = drawing.find(f".//{SVG}text[@class='mid result']").text
    mixed, total, result = (float(n) for n in re.findall(r"[\d.]+", answer))
    assert [mixed, total] == [shown[5], shown[4]]
    assert round(mixed / total, 2) == result


def test_the_masks_are_those_of_the_package():
    drawing = root(ASSETS / "masks.svg")
    shown = drawing.findall(f".//{SVG}path[@class='w allowed']")
    real = padding_mask(torch.tensor([5]), 7)[0]
    expected = [real.expand(7, 7), causal_mask(7, 7), window_mask(7, 7, window=3), real.expand(4, 7)]
    for path, mask in zip(shown, expected, strict=True):
        corners = np.array([[int(n) for n in m] for m in re.findall(r"M(\d+) (\d+)", path.get("d"))])
        cells = (corners - corners.min(axis=0)) // 17  # (n_cells, 2): column and row
        assert {(row, column) for column, row in cells.tolist()} == set(map(tuple, mask.nonzero().tolist()))


def test_the_position_schemes_are_those_of_the_package():
    shown = {}
    for text in root(ASSETS / "position-schemes.svg").iter(f"{SVG}text"):
        name = text.find(f"{SVG}tspan[@class='scheme']")
        if name is not None:
            shown[name.text.lower()] = "".join(text.itertext())
    models = {scheme: PositionModel(torch.nn.Embedding(3, 8), 8, 3, scheme) for scheme in POSITION_SCHEMES}
    sizes = {scheme: sum(p.numel() for p in model.parameters()) for scheme, model in models.items()}
    assert set(shown) == set(sizes)
    for scheme, words in shown.items():
        learns = "learned" in words
        assert learns == (sizes[scheme] > sizes["none"]), words


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('<image xmlns:x="http://www.w3.org/1999/xlink" x:href="#a"/>', "it holds <image>"),
        ('<rect fill="url(https://example.org/a.svg#b)"/>', "it refers to something outside"),
        ('<a href="javascript:1"/>', "it refers to something outside"),
        ("<foreignObject/>", "it holds <foreignObject>"),
    ],
)
def test_faults_are_found(text, fault):
    drawing = ElementTree.fromstring(f'<svg xmlns="{inline_svg.SVG}" viewBox="0 0 9 9">{text}</svg>')
    assert any(found.startswith(fault) for found in inline_svg.faults(drawing))
