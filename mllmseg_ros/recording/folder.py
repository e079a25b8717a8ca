# SPDX-License-Identifier: Apache-2.0
"""A folder of images as a recording, sorted by name, at ten images per second.

Image files have no time that survives copying, so stamps start at one second.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

from mllmseg_ros.codecs.images import rgb_from_compressed
from mllmseg_ros.frame import Frame
from mllmseg_ros.recording.recorded_image import IMAGE_SUFFIXES, RecordedImage, no_depth

__all__ = ["FolderSource"]

CAMERA, FRAME_ID = "/image", "camera"
FIRST_NS = 1_000_000_000  # a stamp of 0 means "no image"
RATE_HZ = 10.0


class FolderSource:
    """The PNG and JPEG files of a folder."""

    def __init__(self, path: Path) -> None:
        """List the images.

        Raises:
            ValueError: There is none.
        """
        self.path = path
        self.files = sorted(f for f in path.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES)
        if not self.files:
            raise ValueError(
                f"{path}: no image in it; accepted: {', '.join(IMAGE_SUFFIXES)}, or the "
                "folder of a bag with its metadata.yaml"
            )

    def images(self, every: int) -> Iterator[RecordedImage]:
        """Yield every n-th image, by name."""
        for number, file in enumerate(self.files):
            if number % every:
                continue
            stamp_ns = FIRST_NS + round(number * 1e9 / RATE_HZ)
            suffix = ".png" if file.suffix.lower() == ".png" else ".jpg"
            yield RecordedImage(
                camera=CAMERA,
                stamp_ns=stamp_ns,
                frame_id=FRAME_ID,
                recorded_ns=stamp_ns,
                decode=partial(read_frame, file, stamp_ns),
                find_depth=no_depth,
                encoded=(file.read_bytes(), suffix),
            )

    def identity(self) -> dict[str, object]:
        """Get name, number and total size of the images."""
        return {
            "name": self.path.resolve().name,
            "pictures": len(self.files),
            "bytes": sum(file.stat().st_size for file in self.files),
        }


def read_frame(file: Path, stamp_ns: int, frame_id: str = FRAME_ID) -> Frame:
    """Decode a PNG or JPEG file, ignoring its EXIF orientation.

    Raises:
        ValueError: The file is malformed.
    """
    message = SimpleNamespace(format=file.suffix, data=file.read_bytes())
    try:
        rgb = rgb_from_compressed(message)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    return Frame(rgb=rgb, stamp_ns=stamp_ns, frame_id=frame_id)
