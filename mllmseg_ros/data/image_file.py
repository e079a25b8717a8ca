# SPDX-License-Identifier: Apache-2.0
"""The image files of a data set: their size without decoding, and their pixels.

Annotations are of the image as it is displayed, unless only the image as it is stored has their
size: then they were made by a program that does not apply the EXIF orientation.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.codecs.image_file import ImageFile, open_image
from mllmseg_ros.data.sample import Sample
from mllmseg_ros.files import is_missing

__all__ = ["check_size", "read_rgb", "size_hw"]


def size_hw(path: Path) -> tuple[int, int]:
    """Return height and width as displayed, px; reads the file's header only.

    Raises:
        ValueError: if the file is missing or is not an image.
    """
    if is_missing(path):
        raise ValueError(f"image {path} is missing")
    with open_image(path) as image:
        return image.size_hw


def check_size(sample: Sample) -> None:
    """Check that the image has the size that its annotations state.

    Raises:
        ValueError: if not, or if it cannot be read.
    """
    with open_image(sample.image) as image:
        _check_size(sample, image)


def read_rgb(sample: Sample) -> NDArray[np.uint8]:
    """Read the image of a sample, RGB (H, W, 3), as its annotations see it.

    Raises:
        ValueError: if it cannot be read, or does not have the size that its annotations state.
    """
    with open_image(sample.image) as image:
        _check_size(sample, image)
        return image.read_rgb(turned=image.size_hw == sample.size_hw)


def _check_size(sample: Sample, image: ImageFile) -> None:
    if sample.size_hw not in (image.size_hw, image.stored_hw):
        raise ValueError(
            f"image {sample.image} is {image.size_hw[1]} x {image.size_hw[0]} px, its annotations "
            f"are for {sample.size_hw[1]} x {sample.size_hw[0]}"
        )
