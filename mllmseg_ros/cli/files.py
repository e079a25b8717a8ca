# SPDX-License-Identifier: Apache-2.0
"""Read and write the files of verbs: images and JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from mllmseg_ros.files import write_file


def read_image(path: Path) -> Any:
    """Read an image file.

    Returns:
        RGB uint8 (H, W, 3), contiguous.

    Raises:
        ValueError: OpenCV cannot read it.
        OSError: The file cannot be opened.
    """
    import cv2
    import numpy as np

    encoded = np.frombuffer(path.read_bytes(), np.uint8)
    try:
        bgr = cv2.imdecode(encoded, cv2.IMREAD_COLOR) if encoded.size else None
    except cv2.error as error:
        raise ValueError(f"{path}: OpenCV cannot read it ({error.err})") from error
    if bgr is None:
        raise ValueError(f"{path}: not an image that OpenCV can read (PNG, JPEG, …)")
    return np.ascontiguousarray(bgr[..., ::-1]).astype(np.uint8, copy=False)


def write_json(fields: Any, path: Path | None) -> None:
    """Write JSON to a file, to stdout if the path is ``-``, or not at all if it is None."""
    if path is None:
        return
    text = json.dumps(fields, indent=2) + "\n"
    if str(path) in ("-", "/dev/stdout"):
        sys.stdout.write(text)
    else:
        write_file(path, text)
