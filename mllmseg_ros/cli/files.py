# SPDX-License-Identifier: Apache-2.0
"""Read and write the files of verbs: images and JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from mllmseg_ros.files import write_file


def read_image(path: Path) -> Any:
    """Read an image file as it is displayed, RGB uint8 (H, W, 3), contiguous.

    Raises:
        ValueError: from :func:`mllmseg_ros.codecs.image_file.read_image`.
    """
    from mllmseg_ros.codecs import image_file

    return image_file.read_image(path)


def write_json(fields: Any, path: Path | None) -> None:
    """Write JSON to a file, to stdout if the path is ``-``, or not at all if it is None."""
    if path is None:
        return
    text = json.dumps(fields, indent=2) + "\n"
    if str(path) in ("-", "/dev/stdout"):
        sys.stdout.write(text)
    else:
        write_file(path, text)
