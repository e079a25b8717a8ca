# SPDX-License-Identifier: Apache-2.0
"""Resize images to the network's square input, and its masks back to the image's size.

As in the reference, the aspect ratio is not kept (docs/reference.md, sections 3 and 8). Images are
resized by Pillow's bicubic filter, exactly: on a CPU by Pillow, on other devices by
:class:`DeviceResize`, which spares the CPU that work.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from mllmseg_ros.model.transfer import to_device

__all__ = ["DeviceResize", "check_rgb", "resize_to_square", "to_image_size", "to_pixel_values"]

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
# Pillow's fixed-point weights have 22 bits after the point. Split into three parts of 8 bits, they
# and their sums of up to 514 products with pixels are exact in float32, even where a GPU multiplies
# in TF32, which keeps 11 bits of each factor.
_PRECISION_BITS = 22
_BLOCK_PX = 16  # outputs that are computed from one window of the input
_MAX_LENGTHS = 8  # sides of images whose weights are kept


def resize_to_square(rgb: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    """Resize an RGB image (H, W, 3) to (side, side, 3) with Pillow's bicubic filter.

    Raises:
        ValueError: if the array is not an RGB uint8 image with at least one pixel.
    """
    check_rgb(rgb)
    height, width = rgb.shape[:2]
    first_wh = (width, side_px) if _rows_first(height, width, side_px) else (side_px, height)
    # One pass per call: in which order Pillow itself takes them depends on its version.
    image = Image.fromarray(np.ascontiguousarray(rgb)).resize(first_wh, Image.Resampling.BICUBIC)
    return np.asarray(image.resize((side_px, side_px), Image.Resampling.BICUBIC))


def check_rgb(rgb: NDArray[np.uint8]) -> None:
    """Check that an array is an RGB image.

    Raises:
        ValueError: if the array is not an RGB uint8 image with at least one pixel.
    """
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
        raise ValueError(
            f"image is {rgb.dtype} of shape {rgb.shape}, expected uint8 RGB of shape (H, W, 3)"
        )


def _rows_first(height: int, width: int, side_px: int) -> bool:
    """Whether the vertical pass comes before the horizontal one, as in Pillow 13.

    It matters because each pass rounds and clips: bicubic weights overshoot at edges. Earlier
    versions always begin with the horizontal pass, which changes portrait images by up to 31 of 256
    levels; the recorded results of the reference were made with Pillow 13.
    """
    return height > side_px and height - side_px > 2 * (width - side_px)


class DeviceResize:
    """Resizes on the device of the image, to the same pixels as :func:`resize_to_square`.

    Each of Pillow's two passes is a product with a banded matrix of integers. The matrices are
    copied to the device at the first image of a size, and stay there.
    """

    def __init__(self, side_px: int) -> None:
        """Resize to squares with this side."""
        self._side_px = side_px
        self._bands: dict[int, list[Tensor]] = {}  # by length of the input

    def __call__(self, rgb: Tensor) -> Tensor:
        """Resize uint8 (H, W, 3) to (side, side, 3)."""
        height, width = rgb.shape[:2]
        planes = rgb.movedim(-1, 0)
        if _rows_first(height, width, self._side_px):
            planes = self._resample(self._resample(planes.mT).mT)
        else:
            planes = self._resample(self._resample(planes).mT).mT
        return planes.movedim(0, -1)

    def _resample(self, planes: Tensor) -> Tensor:
        """Resize uint8 (3, rows, L) to (3, rows, side)."""
        channels, rows, length = planes.shape
        if length == self._side_px:
            return planes
        bands = self._bands.get(length)
        if bands is None:
            if len(self._bands) >= _MAX_LENGTHS:
                self._bands.clear()
            bands = to_device(_compute_bands(length, self._side_px), planes.device)
            self._bands[length] = bands
        index, parts = bands
        windows = planes.flatten(0, 1).index_select(-1, index.flatten())
        windows = windows.view(channels * rows, *index.shape).transpose(0, 1)
        high, middle, low = torch.bmm(windows.float(), parts).int().chunk(3, dim=-1)
        total = (high << 16) + (middle << 8) + low + (1 << (_PRECISION_BITS - 1))
        pixels = (total >> _PRECISION_BITS).clamp(0, 255).to(torch.uint8)
        return pixels.transpose(0, 1).reshape(channels, rows, self._side_px)


def _compute_bands(length: int, side_px: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Compute Pillow's bicubic weights for a row of pixels.

    Outputs are taken in blocks, which are computed from a window of the row each.

    Returns:
        Indices of the windows (blocks, window), and in float32 the high, middle and low parts of
        the weights (blocks, window, 3 * outputs per block).
    """
    stretch = max(1.0, length / side_px)  # of the filter, against aliasing
    centres = (np.arange(side_px) + 0.5) * (length / side_px)
    starts = np.maximum(0, np.trunc(centres - 2 * stretch + 0.5)).astype(np.int64)
    ends = np.minimum(length, np.trunc(centres + 2 * stretch + 0.5)).astype(np.int64)
    block = math.gcd(side_px, _BLOCK_PX)
    window = int((ends[block - 1 :: block] - starts[::block]).max())
    index = starts[::block, None] + np.arange(window)  # (blocks, window)
    pixels = np.repeat(index, block, axis=0)  # (side, window)
    inside = (pixels >= starts[:, None]) & (pixels < ends[:, None])
    weights = np.where(inside, _bicubic((pixels - centres[:, None] + 0.5) / stretch), 0.0)
    weights /= np.cumsum(weights, axis=1)[:, -1:]
    scaled = weights * (1 << _PRECISION_BITS)
    whole = np.trunc(scaled + np.copysign(0.5, scaled)).astype(np.int64)
    low = (whole + 128) % 256 - 128
    middle = ((whole - low) // 256 + 128) % 256 - 128
    high = (whole - low - 256 * middle) // 65536
    by_block = np.stack([high, middle, low]).reshape(3, -1, block, window)
    parts = by_block.transpose(1, 3, 0, 2).reshape(-1, window, 3 * block).astype(np.float32)
    return np.minimum(index, length - 1), parts


def _bicubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Evaluate Keys' cubic kernel with a = -0.5 (R. Keys, IEEE Trans. ASSP 29(6), 1981)."""
    a, x = -0.5, np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def to_pixel_values(square_rgb: NDArray[np.uint8] | Tensor) -> Tensor:
    """Scale and normalise uint8 RGB squares (..., S, S, 3) to float32 (..., 3, S, S)."""
    pixels = (
        torch.as_tensor(np.array(square_rgb)) if isinstance(square_rgb, np.ndarray) else square_rgb
    )
    # Per channel by numbers, because a tensor of them would have to be copied to the device.
    channels = (pixels.float() / 255).unbind(-1)
    constants = zip(channels, _IMAGENET_MEAN, _IMAGENET_STD, strict=True)
    return torch.stack([(channel - mean) / std for channel, mean, std in constants], dim=-3)


def to_image_size(probability: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Resize probability maps (N, S, S) to float32 (N, H, W), bilinear."""
    return functional.interpolate(
        probability[:, None].float(), size=size_hw, mode="bilinear", align_corners=False
    )[:, 0]
