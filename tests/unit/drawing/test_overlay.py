# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import cv2
import numpy as np
import pytest

from mllmseg_ros.drawing.overlay import COLORS_RGB, choose_colors, draw_overlay, place_labels
from mllmseg_ros.drawing.text import render_text
from mllmseg_ros.segmentation import Segmentation, Status, build_segmentation


def segmentation(mask: np.ndarray, status: Status, expression: str = "the mug") -> Segmentation:
    return build_segmentation(expression, status, 0.9, 0.8, mask.astype(np.float32), mask)


@pytest.fixture
def gray() -> np.ndarray:
    return np.full((240, 320, 3), 100, dtype=np.uint8)


@pytest.fixture
def square() -> np.ndarray:
    mask = np.zeros((240, 320), dtype=bool)
    mask[100:180, 120:220] = True
    return mask


def test_found_is_tinted_and_the_input_untouched(gray: np.ndarray, square: np.ndarray) -> None:
    overlay = draw_overlay(gray, [segmentation(square, Status.FOUND)])
    expected = 0.85 * 100 + 0.15 * np.array(COLORS_RGB[0])
    np.testing.assert_allclose(overlay[140, 170], expected, atol=1)
    assert (draw_overlay(gray, [segmentation(square, Status.FOUND)], tint=0)[140, 170] == 100).all()
    assert (gray == 100).all()
    assert (overlay[200:] == 100).all()


@pytest.mark.parametrize("color_of_image", [(200, 0, 0), (0, 120, 0), (230, 159, 0), (20, 20, 20)])
def test_colours_of_the_image_stay_recognisable(
    square: np.ndarray, color_of_image: tuple[int, int, int]
) -> None:
    """The tint of the overlay once made a red mug orange."""
    image = np.full((240, 320, 3), color_of_image, dtype=np.uint8)
    overlay = draw_overlay(image, [segmentation(square, Status.FOUND)])
    shown, real = (
        cv2.cvtColor(each[140:141, 170:171], cv2.COLOR_RGB2Lab)[0, 0].astype(float)
        for each in (overlay, image)
    )
    assert np.linalg.norm(shown[1:] - real[1:]) < 25  # of 255, colour without lightness
    # ... and the outline shows, whatever the colour of the object.
    edge = overlay[140, 110:130].astype(int)
    assert np.ptp(edge, axis=0).max() > 100


def test_low_confidence_has_a_dashed_outline_only(gray: np.ndarray, square: np.ndarray) -> None:
    low, found = (
        draw_overlay(gray, [segmentation(square, status)], tint=0)
        for status in (Status.LOW_CONFIDENCE, Status.FOUND)
    )
    assert (low[140, 170] == 100).all()
    # Along the lower edge of the square.
    drawn = [(image[179, 125:215] != 100).any(axis=1).mean() for image in (low, found)]
    assert 0.3 < drawn[0] < 0.9
    assert drawn[1] == 1


def test_of_several_instances_one_is_named_and_all_are_numbered(gray: np.ndarray) -> None:
    masks = np.zeros((7, 240, 320), dtype=bool)
    for index, mask in enumerate(masks):
        mask[100:140, 10 + 44 * index : 40 + 44 * index] = True
    several = [segmentation(mask, Status.FOUND, "the rather long-named books") for mask in masks]
    overlay = draw_overlay(gray, several)
    text_px = 11
    name = render_text("1 the rather long-named books  0.90", text_px).shape[1]
    number = render_text("7", text_px).shape[1]
    # Above the masks are labels alone.
    labels = (overlay[:97] != 100).any(axis=(0, 2)).sum()
    assert labels == pytest.approx(name + 6 * number, abs=6 * 8)


def test_absent_is_named_but_not_drawn(gray: np.ndarray, square: np.ndarray) -> None:
    overlay = draw_overlay(gray, [segmentation(square, Status.NO_TARGET)])
    assert (overlay[:200] == 100).all()
    assert (overlay[220:] != 100).any()


@pytest.mark.parametrize("expression", ["", "кружка 咖啡杯", "x" * 300, "%s \\ \x1b[31m"])
def test_any_text_can_be_written(gray: np.ndarray, square: np.ndarray, expression: str) -> None:
    overlay = draw_overlay(gray, [segmentation(square, Status.FOUND, expression)])
    assert overlay.shape == gray.shape


def test_read_only_and_strided_images_are_accepted(gray: np.ndarray, square: np.ndarray) -> None:
    view = gray[:, :, ::-1]
    view.flags.writeable = False
    assert draw_overlay(view, [segmentation(square, Status.FOUND)]).shape == gray.shape


def test_empty_mask_and_wrong_size(gray: np.ndarray) -> None:
    nothing = np.zeros((240, 320), dtype=bool)
    assert (draw_overlay(gray, [segmentation(nothing, Status.LOW_CONFIDENCE)]) == 100).all()
    with pytest.raises(ValueError, match=r"mask is \(10, 10\), the image \(240, 320\)"):
        draw_overlay(gray, [segmentation(np.zeros((10, 10), dtype=bool), Status.FOUND)])


def test_a_track_keeps_its_colour_whoever_else_is_there() -> None:
    alone = {f"t{n}": choose_colors([f"t{n}"])[0] for n in range(1, 40)}
    ids = [f"t{n}" for n in (30, 12, 17, 25)]
    assert choose_colors(ids) == [alone[each] for each in ids]
    assert len(set(choose_colors([f"t{n}" for n in range(5, 5 + len(COLORS_RGB))]))) == len(
        COLORS_RGB
    )
    n_colors = len(COLORS_RGB)
    newer, older = choose_colors([f"t{1 + n_colors}", "t1"])  # of one colour each by themselves
    assert older == alone["t1"] != newer
    assert len(choose_colors(["t1"] * 50)) == 50


def test_untracked_things_have_colours_of_their_own() -> None:
    assert choose_colors(["", "", ""]) == list(COLORS_RGB[:3])
    assert len(set(choose_colors(["", "t1", "", "t2", "strange"]))) == 5
    assert choose_colors([]) == []


def test_the_first_colours_differ_for_people_who_confuse_red_and_green() -> None:
    # Machado, Oliveira and Fernandes 2009, deuteranopia, severity 1, in linear RGB.
    seen_by = np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    )
    linear = (np.array(COLORS_RGB[:7]) / 255) ** 2.2
    seen = np.clip(linear @ seen_by.T, 0, 1) ** (1 / 2.2)
    apart = np.linalg.norm(seen[:, None] - seen, axis=-1)
    assert apart[~np.eye(7, dtype=bool)].min() > 0.15


@pytest.mark.parametrize(("width", "height"), [(224, 224), (640, 480), (1920, 1080), (60, 40)])
def test_labels_stay_inside_and_off_each_other(width: int, height: int) -> None:
    unit = min(width, height) // 8
    boxes = [
        (x * unit, y * unit, (x + 2) * unit, (y + 2) * unit) for x in (0, 1, 5) for y in (0, 6)
    ]
    labels = [(min(width, 4 * unit), max(4, unit // 2))] * len(boxes)
    legend = (0, height - unit, width // 2, height)
    places = place_labels(boxes, labels, (width, height), [legend])
    area = np.zeros((height, width), dtype=int)
    for x0, y0, x1, y1 in (*places, legend):
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height
        area[y0:y1, x0:x1] += 1
    assert area.max() == 1


def test_the_label_tells_name_number_distance_and_track(
    gray: np.ndarray, square: np.ndarray
) -> None:
    one = [segmentation(square, Status.FOUND)]
    bare = draw_overlay(gray, one)
    full = draw_overlay(gray, one, ["t1"], [0.74])
    widths = [_label_width(image) for image in (bare, full)]
    letters_px = 11
    wanted = [render_text(text, letters_px).shape[1] for text in ("  0.74 m  t1", "the mug  0.90")]
    assert widths[1] - widths[0] == pytest.approx(wanted[0], abs=3)
    assert widths[0] == pytest.approx(wanted[1], abs=6)
    with pytest.raises(ValueError, match=r"shorter|longer"):
        draw_overlay(gray, one, ["t1", "t2"])


def _label_width(image: np.ndarray) -> int:
    """Of what is drawn over the square, whose upper edge is row 100."""
    columns = np.flatnonzero((image[:97] != 100).any(axis=(0, 2)))
    return int(columns[-1] - columns[0] + 1)


def test_letters_are_spelt_with_what_the_font_has() -> None:
    for text, same in (("Schüssel", "Schuessel"), ("café", "cafe"), ("杯\n", "??")):
        np.testing.assert_array_equal(render_text(text, 20), render_text(same, 20))
    assert render_text("the mug", 20).max() == 255
