# SPDX-License-Identifier: Apache-2.0
"""An image as users of Python have it, as RGB: an array, a PIL image, or the path of a file.

The order of the channels cannot be seen in an array: OpenCV reads BGR, which has to be converted
before. Entry point: :func:`to_rgb`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeAlias

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from mllmseg_ros.codecs.image_file import read_image, rgb_from_pil
from mllmseg_ros.error_text import one_line

__all__ = ["ImageLike", "to_rgb"]

ImageLike: TypeAlias = NDArray[np.uint8] | PIL.Image.Image | str | os.PathLike[str]

_EXPECTED = (
    "expected uint8 RGB of shape (H, W, 3) (one of OpenCV is BGR, convert it by "
    "cv2.cvtColor(image, cv2.COLOR_BGR2RGB)), a PIL image or the path of an image file"
)


def to_rgb(image: ImageLike) -> NDArray[np.uint8]:
    """Return an image as RGB uint8 (H, W, 3); an array is returned as it is.

    Args:
        image: RGB, not the BGR of OpenCV, which is not noticed: uint8 (H, W, 3); a PIL image of any
            mode; or the path of an image file, read as it is displayed.

    Raises:
        ValueError: naming what was given and what is expected.
    """
    if isinstance(image, np.ndarray):
        _check_array(image)
        return image
    if isinstance(image, PIL.Image.Image):
        if 0 in image.size:
            raise ValueError(f"image is a PIL image without pixels, of size {image.size}")
        try:
            return rgb_from_pil(image)
        except (OSError, SyntaxError) as error:  # of a file that is decoded only now
            raise ValueError(f"the PIL image cannot be read: {one_line(error)}") from error
    if isinstance(image, (str, os.PathLike)):
        return read_image(Path(image))
    raise ValueError(f"image is {_describe(image)}, {_EXPECTED}")


def _check_array(image: NDArray[np.uint8]) -> None:
    is_rgb = image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    if is_rgb and 0 not in image.shape:
        return
    raise ValueError(f"image is {_describe(image)}, {_EXPECTED}{_advise(image)}")


def _advise(image: NDArray[np.uint8]) -> str:
    """Say how to make an RGB image of an array of another kind; "" if that is not known."""
    shape, is_uint8 = image.shape, image.dtype == np.uint8
    if image.ndim == 2 and is_uint8 and image.size:
        return "; a grey one becomes RGB by np.stack([image] * 3, axis=-1)"
    if image.ndim == 3 and image.size:
        if shape[0] == 3 and shape[2] != 3:
            return "; channels come last: image.transpose(1, 2, 0)"
        if shape[2] == 4 and is_uint8:
            return "; without alpha: image[..., :3]"
        if shape[2] == 3 and np.issubdtype(image.dtype, np.floating):
            return "; values of 0 to 1 become uint8 by (255 * image).astype(np.uint8)"
        if shape[2] == 3 and image.dtype == np.uint16:
            return "; values of 16 bits become uint8 by (image >> 8).astype(np.uint8)"
    if image.ndim == 4:
        return "; several images are given as a list"
    return ""


def _describe(given: object) -> str:
    """Name a value that is no image: its type, and for arrays dtype and shape."""
    if given is None:
        return "None, as cv2.imread returns for a file that it cannot read"
    if isinstance(given, np.ndarray):
        return f"{given.dtype} of shape {given.shape}"
    kind = type(given)
    name = kind.__qualname__
    if kind.__module__ != "builtins":
        name = f"{kind.__module__}.{name}"
    shape = getattr(given, "shape", None)
    if shape is not None:  # a tensor
        return f"of type {name}, {getattr(given, 'dtype', '')} of shape {tuple(shape)}"
    if isinstance(given, (list, tuple)):
        return f"a {name} of {len(given)}; segmenter(images, expressions) takes a list"
    return f"of type {name}"
