import io

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ddrnet.labels import CITYSCAPES, ClassLabel, class_labels
from ddrnet.visualize import (
    class_shares,
    colorize,
    legend,
    overlay,
    palette_image,
    percent,
    side_by_side,
    with_legend,
)

RED, GREEN, BLUE = (250, 10, 20), (30, 240, 40), (50, 60, 230)
CLASSES = (ClassLabel("tomato", RED), ClassLabel("leaf", GREEN), ClassLabel("water", BLUE))
LABELS = np.array([[0, 0, 1], [2, 255, 0]])
PANEL = (22, 24, 29)


def random_labels(classes, seed=0, size=(23, 31)):
    values = np.append(np.arange(classes), 255)
    return np.random.default_rng(seed).choice(values, size)


@given(st.integers(1, 256), st.integers(0, 9), st.sampled_from(["uint8", "int64", "uint16"]))
def test_palette_png_holds_the_labels_and_the_colors(count, seed, dtype):
    classes = class_labels([f"class {index}" for index in range(count)])
    labels = random_labels(count, seed).astype(dtype)
    file = io.BytesIO()
    palette_image(labels, classes).save(file, "PNG")
    with Image.open(file) as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.array(image), labels)
        colors = np.array(image.convert("RGB"))
    table = np.array([label.color for label in classes] + [(0, 0, 0)] * (256 - count))
    np.testing.assert_array_equal(colors, table[labels])


def test_colorize_gives_class_colors_and_black_where_ignored():
    colors = colorize(LABELS, CLASSES)
    assert colors.dtype == np.uint8
    assert colors.tolist() == [[[*RED], [*RED], [*GREEN]], [[*BLUE], [0, 0, 0], [*RED]]]


@pytest.mark.parametrize("opacity", [0.0, 0.3, 0.55, 1.0])
def test_overlay_blends_and_keeps_ignored_pixels(opacity):
    labels = random_labels(19)
    image = np.random.default_rng(1).integers(0, 256, (*labels.shape, 3), dtype=np.uint8)
    blended = np.array(overlay(image, labels, CITYSCAPES.classes, opacity=opacity))
    strength = np.where(labels == 255, 0, opacity)[..., None]
    expected = (1 - strength) * image + strength * colorize(labels, CITYSCAPES.classes)
    np.testing.assert_allclose(blended, expected, atol=1.5)
    np.testing.assert_array_equal(blended[labels == 255], image[labels == 255])


def test_overlay_takes_tensors_as_decoded_and_predicted():
    labels = torch.from_numpy(random_labels(3))
    image = torch.randint(0, 256, (3, *labels.shape), dtype=torch.uint8)
    from_tensors = overlay(image, labels, CLASSES)
    from_arrays = overlay(image.permute(1, 2, 0).numpy(), labels.numpy(), CLASSES)
    assert from_tensors.mode == "RGB"
    np.testing.assert_array_equal(np.array(from_tensors), np.array(from_arrays))


@pytest.mark.parametrize(
    ("labels", "classes", "says"),
    [
        ([[0, 3, 19]], CLASSES, "from 0 to 2, or be 255 if ignored, got 3, 19"),
        ([[0, -1]], CLASSES, "got -1"),
        ([[0, 300]], CLASSES, "got 300"),
        ([[0.0, 1.0]], CLASSES, r"map of integers, got shape \(1, 2\) of float64"),
        ([0, 1], CLASSES, r"map of integers, got shape \(2,\)"),
        (np.zeros((0, 4), int), CLASSES, r"got shape \(0, 4\)"),
        ([[0]], (), "expected 1 to 256 classes, got 0"),
        ([[0]], class_labels(map(str, range(257))), "expected 1 to 256 classes, got 257"),
    ],
)
@pytest.mark.parametrize("function", [palette_image, colorize, class_shares])
def test_wrong_labels_raise(function, labels, classes, says):
    with pytest.raises(ValueError, match=says):
        function(labels, classes)


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (np.zeros((2, 4, 3), np.uint8), r"2 x 3 labels .* got uint8 of shape \(2, 4, 3\)"),
        (np.zeros((2, 3), np.uint8), r"got uint8 of shape \(2, 3\)"),
        (np.zeros((2, 3, 3)), "got float64"),
    ],
)
def test_an_image_that_does_not_fit_raises(image, says):
    with pytest.raises(ValueError, match=says):
        overlay(image, LABELS, CLASSES)


@pytest.mark.parametrize("opacity", [-0.1, 1.1, float("nan")])
def test_opacity_is_a_fraction(opacity):
    with pytest.raises(ValueError, match="between 0 and 1"):
        overlay(np.zeros((2, 3, 3), np.uint8), LABELS, CLASSES, opacity=opacity)


def test_shares_are_fractions_of_all_pixels():
    np.testing.assert_allclose(class_shares(LABELS, CLASSES), [3 / 6, 1 / 6, 1 / 6])


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0.0%"), (1e-9, "<0.1%"), (0.0005, "0.1%"), (0.1234, "12.3%"), (1, "100.0%")],
)
def test_percent_never_hides_what_is_there(share, text):
    assert percent(share) == text


def legend_of(labels, classes=CLASSES, *, width, height):
    """The picture part and the panel below it."""
    picture = Image.effect_noise((width, height), 50).convert("RGB")
    result = with_legend(picture, labels, classes)
    left = (result.width - width) // 2
    np.testing.assert_array_equal(
        np.array(result.crop((left, 0, left + width, height))), np.array(picture)
    )
    return result.crop((0, height, result.width, result.height))


def rows_of(panel, color):
    return np.flatnonzero((np.array(panel) == color).all(axis=2).any(axis=1))


@pytest.mark.parametrize(
    ("width", "height"), [(32, 32), (32, 600), (97, 65), (480, 360), (2048, 1024), (8000, 64)]
)
def test_the_legend_fits_every_picture(width, height):
    panel = legend_of(LABELS, width=width, height=height)
    assert panel.width >= width
    assert panel.width == width or width < 300
    background = (np.array(panel) == PANEL).all(axis=2)
    assert background[:8].all()
    assert background[-8:].all()
    assert background[:, :8].all()
    assert background[:, -8:].all()


def test_the_text_grows_with_the_picture():
    small, large = (legend_of([[0]], width=width, height=width // 2) for width in (400, 4000))
    assert len(rows_of(large, RED)) > 3 * len(rows_of(small, RED))


def test_the_legend_lists_present_classes_largest_first():
    panel = legend_of([[1, 1, 1, 1, 0, 255]], width=32, height=32)
    assert not rows_of(panel, BLUE).size
    assert rows_of(panel, GREEN).max() < rows_of(panel, RED).min()


def test_without_a_class_there_is_no_panel():
    assert legend_of([[255, 255]], width=50, height=40).height == 0


def test_many_classes_and_long_names_stay_within_bounds():
    classes = class_labels([f"{index} {'long ' * 100}" for index in range(256)])
    panel = legend_of(np.arange(256).reshape(16, 16), classes, width=64, height=64)
    assert panel.width < 4 * panel.height
    assert panel.height < 4 * panel.width


def test_a_note_stands_below_the_legend():
    picture = Image.new("RGB", (600, 100))
    plain = with_legend(picture, LABELS, CLASSES)
    noted = with_legend(picture, LABELS, CLASSES, note="only rendered")
    assert noted.height > plain.height
    assert noted.crop((0, 0, *plain.size)) == plain
    assert (np.array(noted.crop((0, plain.height, *noted.size))) != PANEL).any()
    narrow = with_legend(Image.new("RGB", (32, 32)), [[255]], CLASSES, note="a long note " * 20)
    assert narrow.width > 600


def test_pictures_stand_side_by_side():
    red, blue = Image.new("RGB", (256, 10), RED), Image.new("RGB", (30, 20), BLUE)
    row = np.array(side_by_side([red, blue]))
    assert row.shape == (20, 256 + 2 + 30, 3)
    np.testing.assert_array_equal(row[:10, :256], np.array(red))
    np.testing.assert_array_equal(row[:, -30:], np.array(blue))
    with pytest.raises(ValueError, match="at least one"):
        side_by_side([])


def test_a_legend_names_only_the_wanted_classes():
    picture = Image.new("RGB", (64, 64))
    colors = {
        tuple(color)
        for color in np.asarray(with_legend(picture, [[0, 1, 2]], CLASSES, only=[1]))
        .reshape(-1, 3)
        .tolist()
    }
    assert CLASSES[1].color in colors
    assert CLASSES[0].color not in colors


def test_a_legend_alone_has_the_color_of_every_class():
    colors = {tuple(color) for color in np.asarray(legend(CLASSES)).reshape(-1, 3).tolist()}
    assert {label.color for label in CLASSES} <= colors
    assert legend(CLASSES, note="only rendered").height > legend(CLASSES).height
