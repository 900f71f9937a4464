"""Pictures: what is drawn is what was given, labelled queries by keys, legible, and the same every time."""

import io

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb

from attncourse import viz

mpl.use("Agg")


@pytest.fixture(autouse=True)
def _style_for_one_test():
    with mpl.rc_context():
        viz.use_course_style()
        yield
    plt.close("all")


def luminance(colour):
    """Return the relative luminance of WCAG 2.2."""
    channels = np.asarray(to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one, other):
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def test_heat_map_shows_the_numbers_given():
    grid = np.array([[0.1, 0.7, 0.2], [0.5, 0.25, 0.25]])
    axes = viz.heat_map(grid, ["it", "was"], ["the", "cat", "sat"], title="weights")
    np.testing.assert_array_equal(axes.images[0].get_array(), grid)
    assert [text.get_text() for text in axes.texts] == ["0.10", "0.70", "0.20", "0.50", "0.25", "0.25"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["it", "was"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["the", "cat", "sat"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("keys", "queries")
    assert axes.images[0].get_clim() == (0.0, 1.0)


def test_heat_map_takes_tensors_with_gradients():
    weights = torch.rand(2, 2, requires_grad=True)
    axes = viz.heat_map(weights, "ab", "cd", largest=None)
    np.testing.assert_array_equal(axes.images[0].get_array(), weights.detach().numpy())
    assert axes.images[0].get_clim()[1] == pytest.approx(weights.max().item())


def test_digits_have_contrast_on_every_shade():
    numbers = np.linspace(0, 1, 41)[None]
    axes = viz.heat_map(numbers, ["q"], [""] * 41)
    image = axes.images[0]
    for number, text in zip(numbers[0], axes.texts, strict=True):
        shade = image.cmap(image.norm(number))[:3]
        assert contrast(shade, text.get_color()) >= 4.5, number


def test_palette_is_told_apart_from_a_white_page():
    assert len(viz.COLOURS) == len(viz.MARKERS) == len(set(viz.COLOURS))
    assert all(contrast(colour, "white") >= 2.0 for colour in viz.COLOURS)


def test_mask_picture_hatches_hidden_cells():
    mask = torch.ones(3, 4).tril().bool()
    axes = viz.mask_picture(mask, title="causal")
    hatched = {(round(p.get_y() + 0.5), round(p.get_x() + 0.5)) for p in axes.patches if p.get_hatch()}
    assert hatched == {(row, column) for row in range(3) for column in range(4) if column > row}
    assert not axes.texts


def test_the_same_figure_gives_the_same_bytes():
    def png():
        file = io.BytesIO()
        viz.heat_map(np.eye(3), "abc", "abc").figure.savefig(file, metadata={"Software": None})
        return file.getvalue()

    assert png() == png()


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: viz.heat_map(np.eye(3), "ab", "abc"),
            ValueError,
            r"got weights\.shape=\(3, 3\), 2 queries, 3 keys",
        ),
        (lambda: viz.heat_map([[1.0]], "a", "b"), TypeError, "weights must be an array or tensor"),
        (lambda: viz.heat_map(np.eye(2), "ab", "ab", mask=np.eye(2)), TypeError, "mask must be boolean"),
        (lambda: viz.mask_picture(np.eye(2)), TypeError, "mask must be boolean"),
        (
            lambda: viz.mask_picture(np.ones((2, 2, 2), bool)),
            ValueError,
            r"mask must have two axes .* got mask\.sh",
        ),
    ],
)
def test_bad_input(call, error, text):
    with pytest.raises(error, match=text):
        call()
