# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from mllmseg_ros.overlay import COLORS_RGB, draw_overlay
from mllmseg_ros.segmentation import Segmentation, Status, segmentation_of


def segmentation(mask: np.ndarray, status: Status, expression: str = "the mug") -> Segmentation:
    return segmentation_of(expression, status, 0.9, 0.8, mask.astype(np.float32), mask)


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
    expected = 0.55 * 100 + 0.45 * np.array(COLORS_RGB[0])
    np.testing.assert_allclose(overlay[140, 170], expected, atol=1)
    assert (gray == 100).all()
    assert (overlay[200:] == 100).all()


def test_low_confidence_is_outlined_only(gray: np.ndarray, square: np.ndarray) -> None:
    overlay = draw_overlay(gray, [segmentation(square, Status.LOW_CONFIDENCE)])
    assert (overlay[140, 170] == 100).all()
    assert (overlay[179, 170] != 100).any()


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
