# SPDX-License-Identifier: Apache-2.0
"""One run of ``mllmseg label``: its inputs, and the folder that its images go to."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import cv2

from mllmseg_ros.frame import Frame
from mllmseg_ros.recording.inference_pass import InferenceQuery
from mllmseg_ros.recording.recorded_image import Picture, Source
from mllmseg_ros.recording.source import is_bag, open_source

IMAGES = "images"
_JPEG_QUALITY = 95


@dataclass(frozen=True, kw_only=True)
class LabelRun:
    """What is looked at, and what is asked; goes from one process to another."""

    inputs: tuple[Path, ...]
    query: InferenceQuery
    out: Path
    every: int = 1
    topics: tuple[str, ...] = ()


def open_inputs(run: LabelRun) -> list[Source]:
    """Open every input; ``topics`` are for the bags among them.

    Raises:
        ValueError: if an input cannot be used.
    """
    return [open_source(path, run.topics if is_bag(path) else ()) for path in run.inputs]


class ImageFolder:
    """Keeps the images of a pass: as they were stored, else as JPEG."""

    def __init__(self, folder: Path) -> None:
        """Keep them in a folder that exists."""
        self._folder = folder

    def __call__(self, of_input: int, number: int, picture: Picture, frame: Frame) -> None:
        """Write an image whole."""
        data, suffix = picture.encoded or (_jpeg(frame), ".jpg")
        path = self._folder / image_name(of_input, number, suffix)
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        partial.write_bytes(data)
        partial.replace(path)


def image_name(of_input: int, number: int, suffix: str) -> str:
    """File name of an image."""
    return f"{of_input:03d}_{number:06d}{suffix}"


def _jpeg(frame: Frame) -> bytes:
    bgr = cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2BGR)
    return bytes(cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY))[1])
