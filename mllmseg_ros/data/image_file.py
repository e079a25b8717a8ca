# SPDX-License-Identifier: Apache-2.0
"""The image files of a data set: where they lie, their size without decoding, and their pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.data.open_image import open_image
from mllmseg_ros.data.sample import Sample
from mllmseg_ros.files import show

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
    """Return height and width in px; reads the file's header only.

    Raises:
        ValueError: if the file is missing, is not an image, or has too many pixels.
    """
    with open_image(path, "image") as image:
        return image.height, image.width


def read_rgb(sample: Sample) -> NDArray[np.uint8]:
    """Read the image of a sample, RGB (H, W, 3).

    Raises:
        ValueError: if it cannot be read, or does not have the size that its annotations state.
    """
    with open_image(sample.image, "image") as image:
        if (image.height, image.width) != sample.size_hw:
            raise ValueError(
                f"it is {image.width} x {image.height} px, its annotations are for "
                f"{sample.size_hw[1]} x {sample.size_hw[0]}"
            )
        return np.asarray(image.convert("RGB"))
