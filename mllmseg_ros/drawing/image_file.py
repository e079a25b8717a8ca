# SPDX-License-Identifier: Apache-2.0
"""Write an image to a file."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.files import show, write_file

__all__ = ["write_image"]


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
