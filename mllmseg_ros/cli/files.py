# SPDX-License-Identifier: Apache-2.0
"""Read and write the files of verbs: images and JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def read_image(path: Path) -> Any:
    """Read an image file as it is displayed, RGB uint8 (H, W, 3), contiguous.

    Raises:
        ValueError: from :func:`mllmseg_ros.codecs.image_file.read_image`.
    """
    from mllmseg_ros.codecs import image_file

    return image_file.read_image(path)


def write_image(rgb: Any, path: Path) -> None:
    """Write an image, RGB uint8 (H, W, 3), in the format of the file's suffix.

    Raises:
        ValueError: OpenCV does not know the suffix, or the file cannot be written.
    """
    import cv2

    try:
        written = cv2.imwrite(str(path), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    except cv2.error as error:  # a suffix that OpenCV does not know
        raise ValueError(f"{path}: could not be written ({error.err})") from error
    if not written:
        raise ValueError(f"{path}: could not be written")


def write_json(fields: Any, path: Path | None) -> None:
    """Write JSON to a file, to stdout if the path is ``-``, or not at all if it is None."""
    if path is None:
        return
    text = json.dumps(fields, indent=2) + "\n"
    if str(path) == "-":
        sys.stdout.write(text)
    else:
        path.write_text(text, encoding="utf-8")
