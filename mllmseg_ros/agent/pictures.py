# SPDX-License-Identifier: Apache-2.0
"""Encode images for an agent."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.agent.answers import Picture
from mllmseg_ros.drawing.image_file import encode_jpeg, encode_png

__all__ = ["jpeg_picture", "png_picture"]

MAX_SIDE_PX = 1280  # larger pictures are reduced by the models that look at them


def jpeg_picture(rgb: NDArray[np.uint8]) -> Picture:
    """Encode an image, RGB (H, W, 3), reduced to ``MAX_SIDE_PX``."""
    return Picture(data=encode_jpeg(rgb, MAX_SIDE_PX), mime_type="image/jpeg")


def png_picture(rgb: NDArray[np.uint8]) -> Picture:
    """Encode a drawing, RGB (H, W, 3), as it is."""
    return Picture(data=encode_png(rgb), mime_type="image/png")
