# SPDX-License-Identifier: Apache-2.0
"""The image files of a data set: their size without decoding, and their pixels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from mllmseg_ros.data.sample import Sample

__all__ = ["check_size", "read_rgb", "size_hw"]


def size_hw(path: Path) -> tuple[int, int]:
    """Return height and width in px; reads the file's header only.

    Raises:
        ValueError: if the file is missing or is not an image.
    """
    if not path.is_file():
        raise ValueError(f"image {path} is missing")
    with _open(path) as image:
        return image.height, image.width


def check_size(sample: Sample) -> None:
    """Check that the image has the size that its annotations state.

    Raises:
        ValueError: if not, or if it cannot be read.
    """
    with _open(sample.image) as image:
        _check_size(sample, image)


def read_rgb(sample: Sample) -> NDArray[np.uint8]:
    """Read the image of a sample, RGB (H, W, 3).

    Raises:
        ValueError: if it cannot be read, or does not have the size that its annotations state.
    """
    with _open(sample.image) as image:
        _check_size(sample, image)
        return np.asarray(image.convert("RGB"))


@contextmanager
def _open(path: Path) -> Iterator[PIL.Image.Image]:
    try:
        with PIL.Image.open(path) as image:
            yield image
    except (OSError, SyntaxError) as error:
        raise ValueError(f"image {path} cannot be read: {error}") from error


def _check_size(sample: Sample, image: PIL.Image.Image) -> None:
    if (image.height, image.width) != sample.size_hw:
        raise ValueError(
            f"image {sample.image} is {image.width} x {image.height} px, its annotations are for "
            f"{sample.size_hw[1]} x {sample.size_hw[0]}"
        )
