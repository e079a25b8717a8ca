# SPDX-License-Identifier: Apache-2.0
"""Settings of a run of ``mllmseg label``, and its folder of images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2

from mllmseg_ros.files import write_file
from mllmseg_ros.frame import Frame
from mllmseg_ros.recording.inference_pass import InferenceQuery
from mllmseg_ros.recording.recorded_image import ImageSource, RecordedImage
from mllmseg_ros.recording.source import is_bag, is_lerobot, open_source

IMAGES = "images"
_JPEG_QUALITY = 95


@dataclass(frozen=True, kw_only=True)
class LabelRun:
    """Inputs and query of a labelling run; can be pickled."""

    inputs: tuple[Path, ...]
    query: InferenceQuery
    out: Path
    every: int = 1
    topics: tuple[str, ...] = ()  # of bags
    cameras: tuple[str, ...] = ()  # of LeRobot data sets
    to: str = ""  # "lerobot": write the labels into a copy of the data set, too


def open_inputs(run: LabelRun) -> list[ImageSource]:
    """Open every input; ``topics`` apply to bags, ``cameras`` to LeRobot data sets.

    Raises:
        ValueError: An input cannot be used.
    """
    return [
        open_source(
            path,
            run.topics if is_bag(path) else (),
            run.cameras if is_lerobot(path) else (),
        )
        for path in run.inputs
    ]


class ImageFolder:
    """Saves images as they were stored, or as JPEG."""

    def __init__(self, folder: Path) -> None:
        """Save to an existing folder."""
        self._folder = folder

    def save(self, input_index: int, number: int, image: RecordedImage, frame: Frame) -> None:
        """Write an image."""
        data, suffix = image.encoded or (_encode_jpeg(frame), ".jpg")
        write_file(self._folder / image_name(input_index, number, suffix), data)

    def find(self, input_index: int, number: int) -> str:
        """Find the name of a saved image; "" if it is lost."""
        for suffix in (".png", ".jpg"):
            name = image_name(input_index, number, suffix)
            path = self._folder / name
            if path.is_file() and not path.is_symlink() and path.stat().st_size:
                return name
        return ""


def image_name(input_index: int, number: int, suffix: str) -> str:
    """Get the file name of an image."""
    return f"{input_index:03d}_{number:06d}{suffix}"


def _encode_jpeg(frame: Frame) -> bytes:
    bgr = cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2BGR)
    return bytes(cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY))[1])
