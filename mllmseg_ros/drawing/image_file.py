# SPDX-License-Identifier: Apache-2.0
"""Write images and masks to files, or encode them for a page or a message."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.files import show, write_file

__all__ = ["check_suffix", "encode_jpeg", "write_image", "write_mask"]

_JPEG_QUALITY = 85


def write_image(path: Path, rgb: NDArray[np.uint8]) -> None:
    """Replace a file by an image, RGB (H, W, 3), in the format of the file's suffix.

    Raises:
        ValueError: if OpenCV does not know the suffix, or cannot encode the image.
        OSError: if the file cannot be written.
    """
    try:
        encoded, data = cv2.imencode(path.suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    except cv2.error as error:  # a suffix that OpenCV does not know
        raise ValueError(f"{show(path)}: could not be written ({error.err})") from error
    if not encoded:
        raise ValueError(f"{show(path)}: could not be written")
    write_file(path, data.tobytes())


def check_suffix(path: Path) -> None:
    """Check that an image can be written to a file of this name.

    Raises:
        ValueError: if OpenCV does not know the suffix.
    """
    if not cv2.haveImageWriter(str(path)):
        raise ValueError(f"{show(path)}: not the name of an image; accepted: .png, .jpg, .webp")


def write_mask(path: Path, mask: NDArray[np.bool_]) -> None:
    """Replace a file by a mask (H, W): a PNG of 0 and 255.

    Raises:
        OSError: if the file cannot be written.
    """
    write_file(path, cv2.imencode(".png", mask.view(np.uint8) * np.uint8(255))[1].tobytes())


def encode_jpeg(rgb: NDArray[np.uint8], max_side_px: int, quality: int = _JPEG_QUALITY) -> bytes:
    """Encode an image, RGB (H, W, 3), as JPEG; a larger one is reduced to ``max_side_px``."""
    scale = max_side_px / max(rgb.shape[:2])
    if scale < 1:
        rgb = np.asarray(cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, quality))[1].tobytes()
