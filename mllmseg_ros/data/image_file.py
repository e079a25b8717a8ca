# SPDX-License-Identifier: Apache-2.0
"""The image files of a data set: where they lie, their size without decoding, and their pixels.

Annotations are of the image as it is displayed, unless only the image as it is stored has their
size: then they were made by a program that does not apply the EXIF orientation.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.codecs.image_file import open_image
from mllmseg_ros.data.parquet_file import open_stored
from mllmseg_ros.data.sample import Sample
from mllmseg_ros.files import is_missing, show

__all__ = ["path_in_folder", "read_depth", "read_rgb", "size_hw"]

_NO_DEPTH_MM = (0, 65535)  # REP 118, and what cameras write beyond their range


def path_in_folder(folder: Path, name: str) -> Path:
    """Resolve the name of a file of a data set.

    Where there is no such file, backslashes separate folders as "/" does, and characters may be
    composed otherwise (Unicode's NFC and NFD), as file systems of other systems write them.

    Raises:
        ValueError: if it cannot be the name of a file, or lies outside the folder.
    """
    path = _resolve(folder, name)
    if is_missing(path) and (found := _find(folder, name, _compose)) is not None:
        return _resolve(folder, found)
    return path


def _resolve(folder: Path, name: str) -> Path:
    try:
        path = (folder / name).resolve()
        is_inside = path.is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a null character
        raise ValueError(f"{show(Path(name))} is not a valid file name: {error}") from error
    if not is_inside:
        raise ValueError(f"{show(Path(name))} lies outside the folder")
    return path


def _compose(part: str) -> str:
    return unicodedata.normalize("NFC", part)


def _simplify(part: str) -> str:
    return unquote(part).casefold()


def _find(folder: Path, name: str, key: Callable[[str], str]) -> str | None:
    """Find a file below a folder whose name is equal under a key, relative to the folder."""
    found = Path()
    for part in name.replace("\\", "/").split("/"):
        try:
            if not (folder / found / part).exists():
                changed_ns = (folder / found).stat().st_mtime_ns
                part = _names(folder / found, changed_ns, key)[key(part)]
        except (OSError, ValueError, LookupError):
            return None
        found /= part
    return str(found)


@lru_cache(maxsize=8)
def _names(folder: Path, changed_ns: int, key: Callable[[str], str]) -> dict[str, str]:
    """The names in a folder by their keys; listed once as long as it does not change."""
    return {key(each.name): each.name for each in folder.iterdir()}


def size_hw(path: Path) -> tuple[int, int]:
    """Return height and width as displayed, px; reads the file's header only.

    Raises:
        ValueError: if the file is missing, is not an image, or has too many pixels.
    """
    if is_missing(path):
        similar = _find(path.parent, path.name, _simplify)
        hint = f"; the folder has {show(Path(similar))}" if similar else ""
        raise ValueError(f"image {show(path)} is missing{hint}")
    with open_image(path) as image:
        return image.size_hw


def read_rgb(sample: Sample) -> NDArray[np.uint8]:
    """Read the image of a sample, RGB (H, W, 3), as its annotations see it.

    Raises:
        ValueError: if it cannot be read, or does not have the size that its annotations state.
    """
    with open_stored(sample.image) as image:
        if sample.size_hw not in (image.size_hw, image.stored_hw):
            raise ValueError(
                f"image {show(sample.file)} is {image.size_hw[1]} x {image.size_hw[0]} px, its "
                f"annotations are for {sample.size_hw[1]} x {sample.size_hw[0]}"
            )
        return image.read_rgb(turned=image.size_hw == sample.size_hw)


def read_depth(sample: Sample) -> NDArray[np.float32] | None:
    """Read the depth of a sample, metres (H, W), NaN where there is none; None if it has no depth.

    Raises:
        ValueError: if it cannot be read, or is not of the image's size.
    """
    if sample.depth is None:
        return None
    if is_missing(sample.depth):
        raise ValueError(f"depth image {show(sample.depth)} is missing")
    with open_image(sample.depth, formats=("PNG",)) as image:
        if image.stored_hw != sample.size_hw:
            raise ValueError(
                f"depth image {show(sample.depth)} is {image.stored_hw[1]} x {image.stored_hw[0]} "
                f"px, its image {sample.size_hw[1]} x {sample.size_hw[0]}"
            )
        millimetres = image.read_numbers()
    metres = millimetres.astype(np.float32)
    metres /= 1000
    metres[np.isin(millimetres, _NO_DEPTH_MM)] = np.nan
    return metres
