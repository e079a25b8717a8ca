# SPDX-License-Identifier: Apache-2.0
"""Images are resized to the same pixels by every version of Pillow, and on every device."""

from __future__ import annotations

import numpy as np
import PIL
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from mllmseg_ros.model.pixels import DeviceResize, resize_to_square, to_pixel_values

SIZES_HW = [
    *((480, 640), (720, 1280), (1080, 1920), (2160, 3840)),
    *((640, 480), (1280, 720), (1920, 1080), (450, 449), (449, 447)),  # portrait
    *((1, 1), (1, 7), (7, 1), (2, 5000), (5000, 2), (31, 17)),  # tiny, and very long
    *((448, 448), (448, 100), (100, 448), (224, 448), (447, 449)),  # one pass or none
]
PILLOW = int(PIL.__version__.split(".")[0])


def draw(height: int, width: int) -> NDArray[np.uint8]:
    """Black and white pixels, at whose edges the filter overshoots; and colours below."""
    rng = np.random.default_rng(height * width)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    image[: height // 2] = 255 * (image[: height // 2] >> 7)
    return image


@pytest.mark.parametrize(("height", "width"), SIZES_HW)
@pytest.mark.parametrize("side_px", [448, 224])
def test_the_device_computes_the_pixels_of_pillow(height: int, width: int, side_px: int) -> None:
    image = draw(height, width)
    square = resize_to_square(image, side_px)
    assert square.shape == (side_px, side_px, 3)
    on_device = DeviceResize(side_px)(torch.from_numpy(image))
    assert on_device.dtype == torch.uint8
    np.testing.assert_array_equal(on_device.numpy(), square)
    if PILLOW == 13 or (PILLOW < 13 and height <= width):  # in one call, as the reference does
        once = Image.fromarray(image).resize((side_px, side_px), Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(square, np.asarray(once))


def test_random_sizes() -> None:
    rng = np.random.default_rng(0)
    resize = DeviceResize(56)  # of more lengths than are kept
    for height, width in np.exp(rng.uniform(0, np.log(700), (60, 2))).astype(int).tolist():
        image = draw(height, width)
        square = resize_to_square(image, 56)
        np.testing.assert_array_equal(resize(torch.from_numpy(image)).numpy(), square)


def test_pixel_values_are_normalised_per_channel() -> None:
    squares = draw(8, 8)[None].repeat(2, axis=0)
    values = to_pixel_values(squares)
    assert values.shape == (2, 3, 8, 8)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = ((squares / 255 - mean) / std).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(values.numpy(), expected, atol=1e-6)
    assert torch.equal(to_pixel_values(torch.from_numpy(squares)), values)
