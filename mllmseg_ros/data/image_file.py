# SPDX-License-Identifier: Apache-2.0
"""The image files of a data set: where they lie, their size without decoding, and their pixels.

Annotations are of the image as it is displayed, unless only the image as it is stored has their
size: then they were made by a program that does not apply the EXIF orientation.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.codecs.image_file import open_image
from mllmseg_ros.data.sample import Sample
from mllmseg_ros.files import is_missing, show

__all__ = ["path_in_folder", "read_rgb", "size_hw"]


def path_in_folder(folder: Path, name: str) -> Path:
    """Resolve the name of a file of a data set.

    Raises:
        ValueError: if it cannot be the name of a file, or lies outside the folder.
    """
    try:
        path = (folder / name).resolve()
        is_inside = path.is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a null character
        raise ValueError(f"{show(Path(name))} is no name of a file: {error}") from error
    if not is_inside:
        raise ValueError(f"{show(Path(name))} lies outside the folder")
    return path


def size_hw(path: Path) -> tuple[int, int]:
    """Return height and width as displayed, px; reads the file's header only.

    Raises:
        ValueError: if the file is missing, is not an image, or has too many pixels.
    """
    if is_missing(path):
        raise ValueError(f"image {show(path)} is missing")
    with open_image(path) as image:
        return image.size_hw


def read_rgb(sample: Sample) -> NDArray[np.uint8]:
    """Read the image of a sample, RGB (H, W, 3), as its annotations see it.

    Raises:
        ValueError: if it cannot be read, or does not have the size that its annotations state.
    """
    with open_image(sample.image) as image:
        if sample.size_hw not in (image.size_hw, image.stored_hw):
            raise ValueError(
                f"image {show(sample.image)} is {image.size_hw[1]} x {image.size_hw[0]} px, its "
                f"annotations are for {sample.size_hw[1]} x {sample.size_hw[0]}"
            )
        return image.read_rgb(turned=image.size_hw == sample.size_hw)
