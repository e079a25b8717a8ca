# SPDX-License-Identifier: Apache-2.0
"""Encode images for an agent."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.agent.answers import EncodedImage
from mllmseg_ros.drawing.image_file import encode_jpeg

__all__ = ["encode_image"]

MAX_SIDE_PX = 1280  # larger images are reduced by the models that look at them
MAX_PANEL_SIDE_PX = 1608  # of an explanation: its text stays legible
MAX_BYTES = 700_000  # the SDK's client takes 1 MiB in one message over HTTP, as base64
_QUALITIES = (85, 60, 30)


def encode_image(rgb: NDArray[np.uint8], max_side_px: int = MAX_SIDE_PX) -> EncodedImage:
    """Encode an image, RGB (H, W, 3), as JPEG, reduced to ``max_side_px``.

    One with too many details for :data:`MAX_BYTES` gets a lower quality.
    """
    data = b""
    for quality in _QUALITIES:
        data = encode_jpeg(rgb, max_side_px, quality)
        if len(data) <= MAX_BYTES:
            break
    return EncodedImage(data=data, mime_type="image/jpeg")
