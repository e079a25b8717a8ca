# SPDX-License-Identifier: Apache-2.0
"""A folder of images as a recording, sorted by name (2 before 10), at ten images per second.

Image files have no time that survives copying, so stamps start at one second.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from mllmseg_ros.codecs.image_file import MAX_IMAGE_BYTES, open_image, read_image
from mllmseg_ros.files import read_bytes
from mllmseg_ros.frame import Frame
from mllmseg_ros.recording.recorded_image import IMAGE_SUFFIXES, RecordedImage, no_depth
from mllmseg_ros.recording.storage_files import describe_ros1, natural_order

__all__ = ["FolderSource"]

CAMERA, FRAME_ID = "/image", "camera"
FIRST_NS = 1_000_000_000  # a stamp of 0 means "no image"
RATE_HZ = 10.0
_SUFFIXES = {"PNG": ".png", "JPEG": ".jpg"}


class FolderSource:
    """The image files of a folder that are not hidden, in natural order."""

    def __init__(self, path: Path) -> None:
        """List the images.

        Raises:
            ValueError: There is none.
        """
        self.path = path
        self.files = sorted(
            (
                file
                for file in path.iterdir()
                if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".")
            ),
            key=lambda file: natural_order(file.name),
        )
        if not self.files and (bags := sorted(path.glob("[!.]*.bag"))):
            raise ValueError(describe_ros1(bags[0]))
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
            yield RecordedImage(
                camera=CAMERA,
                stamp_ns=stamp_ns,
                frame_id=FRAME_ID,
                recorded_ns=stamp_ns,
                decode=partial(read_frame, file, stamp_ns),
                find_depth=no_depth,
                encoded=_read_upright(file),
            )

    def expect_images(self, every: int) -> int:
        """How many images there will be."""
        return -(-len(self.files) // every)

    def identity(self) -> dict[str, object]:
        """Get name, number and total size of the images."""
        return {
            "name": self.path.resolve().name,
            "pictures": len(self.files),
            "bytes": sum(file.stat().st_size for file in self.files if file.exists()),
        }


def read_frame(file: Path, stamp_ns: int, frame_id: str = FRAME_ID) -> Frame:
    """Decode an image file as it is displayed.

    Raises:
        ValueError: The file is malformed.
    """
    return Frame(rgb=read_image(file), stamp_ns=stamp_ns, frame_id=frame_id)


def _read_upright(file: Path) -> tuple[bytes, str] | None:
    """Read the contents of a PNG or JPEG file and its suffix.

    None if that is not what is displayed: readers of image messages ignore the EXIF orientation.
    """
    try:
        with open_image(file) as image:
            if image.format not in _SUFFIXES or not image.is_upright:
                return None
        return read_bytes(file, max_bytes=MAX_IMAGE_BYTES), _SUFFIXES[image.format]
    except ValueError:
        return None  # decoding it says why
