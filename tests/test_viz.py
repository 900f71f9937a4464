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


def test_signed_numbers_have_white_at_zero_and_two_hues():
    numbers = np.linspace(-3, 2, 41)[None]
    axes = viz.heat_map(numbers, ["q"], [""] * 41, largest=None, signed=True)
    image = axes.images[0]
    assert image.get_clim() == (-3, 3)
    red, zero, blue = (image.cmap(image.norm(number))[:3] for number in (-3, 0, 3))
    assert luminance(zero) > 0.9
    assert red[0] > red[2]
    assert blue[2] > blue[0]
    for number, text in zip(numbers[0], axes.texts, strict=True):
        assert contrast(image.cmap(image.norm(number))[:3], text.get_color()) >= 4.5, number


def test_alignment_map_has_target_rows_and_gold_outlines():
    weights, gold = np.arange(10.0).reshape(2, 5) / 10, np.zeros((2, 5), bool)
    gold[0, 3] = gold[1, 1] = True
    before = weights.copy(), gold.copy()
    axes = viz.alignment_map(weights, "a b c", ["x", " "], gold=gold, title="map")
    np.testing.assert_array_equal(axes.images[0].get_array(), weights)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["x", "␣"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "␣", "b", "␣", "c"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("source (keys)", "target (queries)")
    assert axes.get_title() == "map"
    assert not axes.texts, "no numbers unless asked for"
    centres = {
        (round(p.get_y() + p.get_height() / 2), round(p.get_x() + p.get_width() / 2)) for p in axes.patches
    }
    assert centres == {(0, 3), (1, 1)}
    for outline in axes.patches:
        assert outline.get_path_effects(), (
            "without white beside it the line drowns in a blue of its lightness"
        )
        assert contrast(outline.get_edgecolor()[:3], "white") >= 3
    np.testing.assert_array_equal((weights, gold), before)


def test_alignment_map_draws_numbers_and_masks_and_scale_where_asked():
    mask = np.array([[True, False, True]])
    alone = viz.alignment_map(
        torch.tensor([[0.25, 0, 0.75]]), "abc", "x", decimals=1, mask=torch.tensor(mask)
    )
    assert [text.get_text() for text in alone.texts] == ["0.2", "0.0", "0.8"]
    assert [round(patch.get_x() + 0.5) for patch in alone.patches if patch.get_hatch()] == [1]
    assert len(alone.figure.axes) == 2, "a scale stands beside a figure of its own"
    given = plt.figure().gca()
    assert viz.alignment_map(np.eye(2), "ab", "xy", axes=given) is given
    assert given.figure.axes == [given]


@pytest.mark.parametrize(("source", "slanted"), [(list("abcdefgh"), False), (["translation"] * 8, True)])
def test_alignment_map_slants_labels_that_are_wider_than_a_column(source, slanted):
    axes = viz.alignment_map(np.eye(8), source, "abcdefgh")
    assert {label.get_rotation() for label in axes.get_xticklabels()} == {60.0 if slanted else 0.0}


def test_mask_picture_hatches_hidden_cells():
    mask = torch.ones(3, 4).tril().bool()
    axes = viz.mask_picture(mask, title="causal")
    hatched = {(round(p.get_y() + 0.5), round(p.get_x() + 0.5)) for p in axes.patches if p.get_hatch()}
    assert hatched == {(row, column) for row in range(3) for column in range(4) if column > row}
    assert not axes.texts


GREYS = [0.0, 0.1, 0.2, 0.3, 0.4, 0.44, 0.46, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]


@pytest.mark.parametrize("grey", GREYS)
def test_image_map_opens_its_veil_at_the_weight_on_any_background(grey):
    weights = np.array([[0.0, 0.2, 0.1], [0.4, 0.3, 0.0]])
    axes = viz.image_map(np.full((3, 14, 33), grey), weights)
    image, veil = (drawn.get_array() for drawn in axes.images)
    np.testing.assert_array_equal(image, np.full((14, 33, 3), grey))
    np.testing.assert_allclose(veil[..., 3], 0.75 * (1 - weights / 0.4))
    closed = (1 - veil[0, 0, 3]) * image[0, 0] + veil[0, 0, 3] * veil[0, 0, :3]
    assert contrast(closed, image[0, 0]) >= 3
    for drawn in axes.images:
        np.testing.assert_array_equal(drawn.get_extent(), (-0.5, 32.5, 13.5, -0.5))


def test_image_map_outlines_the_peak_and_the_wanted_pixels():
    image, weights = np.random.default_rng(0).random((3, 14, 33)), np.zeros((2, 3))
    weights[1, 2] = 0.6
    gold = np.zeros((14, 33), bool)
    gold[2:5, 30:] = True  # up to the image's edge
    before = image.copy(), weights.copy(), gold.copy()
    axes = viz.image_map(image, weights, gold=gold, title="blue")
    np.testing.assert_array_equal(axes.images[0].get_array(), image.transpose(1, 2, 0))
    (peak,) = axes.patches
    assert (round(peak.get_x() + peak.get_width() / 2), round(peak.get_y() + peak.get_height() / 2)) == (
        27,
        10,
    )
    assert peak.get_path_effects(), "an orange line alone drowns in an orange object"
    wide, dashed = (lines.get_paths()[0].get_extents() for lines in axes.collections)
    np.testing.assert_array_equal(wide.get_points(), dashed.get_points())
    np.testing.assert_array_equal(dashed.get_points(), [[29.5, 1.5], [32.5, 4.5]])
    assert contrast(*(lines.get_edgecolor()[0][:3] for lines in axes.collections)) == pytest.approx(21)
    assert (axes.get_title(), axes.get_xlim(), axes.get_ylim()) == ("blue", (-0.5, 32.5), (13.5, -0.5))
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(weights, before[1])
    np.testing.assert_array_equal(gold, before[2])


def test_image_map_takes_grey_tensors_a_scale_and_given_axes():
    image, weights = torch.rand(1, 8, 8), torch.tensor([[0.1, 0.5]], requires_grad=True)
    given = plt.figure().gca()
    axes = viz.image_map(image, weights, axes=given, largest=0.2, peak=False)
    assert axes is given
    assert not axes.patches
    drawn = axes.images[0].get_array()
    np.testing.assert_array_equal(drawn, np.repeat(image.numpy().transpose(1, 2, 0), 3, axis=2))
    np.testing.assert_allclose(axes.images[1].get_array()[..., 3], [[0.375, 0]], atol=1e-7)


def test_image_map_without_any_weight_is_closed():
    axes = viz.image_map(np.ones((1, 4, 4)), np.zeros((2, 2)))
    np.testing.assert_array_equal(axes.images[1].get_array()[..., 3], np.full((2, 2), 0.75))


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
        (
            lambda: viz.alignment_map(np.eye(3), "ab", "abc"),
            ValueError,
            r"got weights\.shape=\(3, 3\), 3 queries, 2 keys",
        ),
        (
            lambda: viz.alignment_map(np.eye(2), "ab", "ab", gold=np.eye(2)),
            TypeError,
            r"gold must be boolean \(True = a link\), got gold\.dtype=float64",
        ),
        (
            lambda: viz.alignment_map(np.eye(2), "ab", "ab", gold=np.ones(2, bool)),
            ValueError,
            r"gold must have shape \(n_queries, n_keys\)=\(2, 2\), got gold\.shape=\(2,\)",
        ),
        (lambda: viz.heat_map([[1.0]], "a", "b"), TypeError, "weights must be an array or tensor"),
        (lambda: viz.heat_map(np.eye(2), "ab", "ab", mask=np.eye(2)), TypeError, "mask must be boolean"),
        (lambda: viz.mask_picture(np.eye(2)), TypeError, "mask must be boolean"),
        (
            lambda: viz.image_map(np.ones((2, 5, 5)), np.eye(2)),
            ValueError,
            r"image must have shape \(1 or 3 channels, height, width\), got image\.shape=\(2, 5, 5\)",
        ),
        (
            lambda: viz.image_map(np.ones((3, 5, 5)), np.ones((1, 2, 2))),
            ValueError,
            r"weights must have two axes \(n_rows, n_columns\), got weights\.shape=\(1, 2, 2\)",
        ),
        (
            lambda: viz.image_map(2 * np.ones((3, 5, 5)), np.eye(2)),
            ValueError,
            "image must be between 0 and 1, got image from 2 to 2",
        ),
        (
            lambda: viz.image_map(np.ones((3, 5, 5)), -np.eye(2)),
            ValueError,
            "weights must be at least 0, got weights from -1 to",
        ),
        (
            lambda: viz.image_map(np.full((3, 5, 5), np.nan), np.eye(2)),
            ValueError,
            "image must not contain NaN",
        ),
        (
            lambda: viz.image_map(np.ones((3, 5, 5), int), np.eye(2)),
            TypeError,
            "image must",
        ),
        (
            lambda: viz.image_map(np.ones((3, 5, 5)), np.eye(2), gold=np.ones((5, 5))),
            TypeError,
            r"gold must be boolean \(True = wanted\), got gold\.dtype=float64",
        ),
        (
            lambda: viz.image_map(np.ones((3, 5, 7)), np.eye(2), gold=np.ones((7, 5), bool)),
            ValueError,
            r"gold must have shape \(height, width\)=\(5, 7\), got gold\.shape=\(7, 5\)",
        ),
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
