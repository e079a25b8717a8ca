# SPDX-License-Identifier: Apache-2.0
"""Open an image file of a data set; whatever is wrong with it is a ValueError that names it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import PIL.Image

from mllmseg_ros.error_text import one_line
from mllmseg_ros.files import open_file, show

__all__ = ["open_image"]

MAX_BYTES = 256 << 20
MAX_PX = 64_000_000  # the same limit as for recorded images
# Not all that Pillow knows: for some it starts other programs.
_FORMATS = ("JPEG", "JPEG2000", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")


@contextmanager
def open_image(
    path: Path, kind: str, formats: tuple[str, ...] = _FORMATS
) -> Iterator[PIL.Image.Image]:
    """Open an image file; its pixels are decoded when they are used.

    Args:
        path: of the file.
        kind: "image" or "mask", for errors.
        formats: names of the accepted formats, as Pillow calls them.

    Raises:
        ValueError: if it cannot be read, or has more than MAX_PX pixels; also for an exception of
            the block, since a broken file raises all kinds of them when it is decoded.
    """
    try:
        file = open_file(path, max_bytes=MAX_BYTES)
    except ValueError as error:
        raise ValueError(f"{kind} {error}") from error
    with file:
        try:
            with PIL.Image.open(file, formats=formats) as image:
                if image.width * image.height > MAX_PX:
                    raise ValueError(
                        f"it has {image.width} x {image.height} px, accepted are up to {MAX_PX} px"
                    )
                yield image
        except Exception as error:
            reason = one_line(error, with_type=not isinstance(error, ValueError))
            raise ValueError(f"{kind} {show(path)} cannot be read: {reason}") from error
