# SPDX-License-Identifier: Apache-2.0
"""Resize images to the network's square input, and its masks back to the image's size.

As in the reference, the aspect ratio is not kept (docs/reference.md, sections 3 and 8).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

__all__ = ["resize_to_square", "to_image_size", "to_pixel_values"]

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


def resize_to_square(rgb: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    """Resize an RGB image (H, W, 3) to (side, side, 3) with PIL's bicubic filter.

    Raises:
        ValueError: if the array is not an RGB uint8 image with at least one pixel.
    """
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
        raise ValueError(
            f"image is {rgb.dtype} of shape {rgb.shape}, expected uint8 RGB of shape (H, W, 3)"
        )
    image = Image.fromarray(np.ascontiguousarray(rgb))
    return np.asarray(image.resize((side_px, side_px), Image.Resampling.BICUBIC))


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
