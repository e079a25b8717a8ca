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
    """Height and width in px; reads the file's header only.

    Raises:
        ValueError: if the file is missing or no image.
    """
    if not path.is_file():
        raise ValueError(f"image {path} is missing")
    with _opened(path) as image:
        return image.height, image.width


def check_size(sample: Sample) -> None:
    """Check that the image is of the size that its annotations say.

    Raises:
        ValueError: if not, or if it cannot be read.
    """
    with _opened(sample.image) as image:
        _compare(sample, image)


def read_rgb(sample: Sample) -> NDArray[np.uint8]:
    """The image of a sample, RGB (H, W, 3).

    Raises:
        ValueError: if it cannot be read, or is not of the size that its annotations say.
    """
    with _opened(sample.image) as image:
        _compare(sample, image)
        return np.asarray(image.convert("RGB"))


@contextmanager
def _opened(path: Path) -> Iterator[PIL.Image.Image]:
    try:
        with PIL.Image.open(path) as image:
            yield image
    except (OSError, SyntaxError) as error:
        raise ValueError(f"image {path} cannot be read: {error}") from error


def _compare(sample: Sample, image: PIL.Image.Image) -> None:
    if (image.height, image.width) != sample.size_hw:
        raise ValueError(
            f"image {sample.image} is {image.width} x {image.height} px, its annotations are for "
            f"{sample.size_hw[1]} x {sample.size_hw[0]}"
        )
