# SPDX-License-Identifier: Apache-2.0
"""Regions of targets as annotation files describe them, and their masks.

Needs pycocotools for polygons and run lengths. Fingerprints of data sets contain the repr of these
classes, so their names and fields must not change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.codecs.image_file import open_image
from mllmseg_ros.codecs.images import MAX_COMPRESSED_PX
from mllmseg_ros.error_text import one_line
from mllmseg_ros.files import is_missing

__all__ = ["decode"]

_IGNORED = 255
_OUTSIDE_PX = 1.0  # annotators' polygons may touch the border, rounding included
# pycocotools needs 40 bytes per pixel of an outline, and does not check whether it gets them.
MAX_OUTLINE_PX = 4_000_000


@dataclass(frozen=True, kw_only=True)
class Coco:
    """COCO polygons and run lengths; the region is the union of all."""

    polygons: tuple[tuple[float, ...], ...] = ()  # each x0, y0, x1, y1, … px
    runs: tuple[dict[str, Any], ...] = ()  # each {"size": [H, W], "counts": text or numbers}


@dataclass(frozen=True, kw_only=True)
class MaskFile:
    """A PNG of the image's size; the region is all pixels that are not 0."""

    path: Path


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """ReasonSeg's polygons, painted from the largest to the smallest over each other."""

    points: tuple[tuple[tuple[float, float], ...], ...]
    ignored: tuple[bool, ...]  # whether its pixels are left out of the evaluation


Region = Coco | MaskFile | Shapes


def decode(region: Region, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Decode a region to a mask.

    Args:
        region: as annotated.
        size_hw: of its image, px.

    Returns:
        (H, W), True on the target.

    Raises:
        ValueError: if it does not fit an image of that size, has values of other types than
            annotated regions have, or a mask file cannot be read.
    """
    if not 0 < size_hw[0] * size_hw[1] <= MAX_COMPRESSED_PX:
        raise ValueError(
            f"its image has {size_hw[1]} x {size_hw[0]} px, accepted are up to "
            f"{MAX_COMPRESSED_PX} px"
        )
    try:
        return _decode(region, size_hw)
    except (TypeError, LookupError, AttributeError, ArithmeticError) as error:
        raise ValueError(f"the mask does not have the expected form ({one_line(error)})") from error


def _decode(region: Region, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    if isinstance(region, MaskFile):
        return _read_mask(region.path, size_hw)
    if isinstance(region, Shapes):
        return _paint_shapes(region, size_hw) == 1
    from pycocotools import mask as coco

    if not region.polygons and not region.runs:
        raise ValueError("it has neither polygons nor run lengths")
    runs = [_compressed(run, size_hw) for run in region.runs]
    if region.polygons:
        runs += coco.frPyObjects(_check_polygons(region.polygons, size_hw), *size_hw)
    return np.asarray(coco.decode(coco.merge(runs)), dtype=np.bool_)


def decode_ignored(region: Region, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Decode the pixels that are left out of the evaluation, (H, W)."""
    if isinstance(region, Shapes):
        return _paint_shapes(region, size_hw) == _IGNORED
    return np.zeros(size_hw, dtype=np.bool_)


def encode(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Encode a mask (H, W) as COCO's compressed run lengths, for JSON."""
    from pycocotools import mask as coco

    run = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(side) for side in run["size"]], "counts": run["counts"].decode("ascii")}


def _check_polygons(
    polygons: Sequence[Sequence[float]], size_hw: tuple[int, int]
) -> list[list[float]]:
    """Check polygons; returns them as lists of floats."""
    height, width = size_hw
    checked, outline_px = [], 0.0
    for polygon in polygons:
        if len(polygon) < 6 or len(polygon) % 2:
            raise ValueError(
                f"a polygon of {len(polygon)} numbers, expected an even number, 6 or more"
            )
        if not all(_is_number(n) for n in polygon):
            raise ValueError("a polygon holds something else than numbers")
        points = np.asarray(polygon, dtype=np.float64).reshape(-1, 2)
        low, high = points.min(axis=0), points.max(axis=0)
        inside = np.isfinite(points).all() and (low >= -_OUTSIDE_PX).all()
        if not inside or high[0] > width + _OUTSIDE_PX or high[1] > height + _OUTSIDE_PX:
            raise ValueError(
                f"a polygon reaches from ({low[0]:g}, {low[1]:g}) to ({high[0]:g}, {high[1]:g}), "
                f"outside the image of {width} x {height} px"
            )
        outline_px += float(np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum())
        if outline_px > MAX_OUTLINE_PX:
            raise ValueError(f"the polygons' outline is longer than {MAX_OUTLINE_PX} px")
        checked.append([float(n) for n in polygon])
    return checked


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _compressed(run: dict[str, Any], size_hw: tuple[int, int]) -> dict[str, Any]:
    """Check run lengths and convert them to pycocotools' compressed form."""
    from pycocotools import mask as coco

    if not isinstance(run, dict) or "size" not in run or "counts" not in run:
        raise ValueError("run lengths need 'size' and 'counts'")
    height, width = run["size"]
    if (height, width) != size_hw:
        raise ValueError(
            f"the mask is {width} x {height} px, its image {size_hw[1]} x {size_hw[0]}"
        )
    counts = run["counts"]
    if isinstance(counts, list):
        # Of anything else than whole numbers, pycocotools makes a mask without a pixel.
        if not all(type(n) is int for n in counts):
            raise ValueError("run lengths that are not whole numbers")
        if sum(counts) != size_hw[0] * size_hw[1] or min(counts, default=0) < 0:
            raise ValueError(
                f"run lengths of {sum(counts)} px in all, its image has {size_hw[0] * size_hw[1]}"
            )
        return dict(coco.frPyObjects({"size": list(size_hw), "counts": counts}, *size_hw))
    if not isinstance(counts, (str, bytes)):
        raise ValueError(f"'counts' is {type(counts).__name__}, expected text or whole numbers")
    return {"size": list(size_hw), "counts": _check_code(counts, size_hw)}


def _check_code(counts: str | bytes, size_hw: tuple[int, int]) -> bytes:
    """Check that compressed run lengths fill the image exactly; pycocotools does not.

    Each run is coded in base 32: five bits per character, counted from "0", and a sixth bit if more
    characters follow. From the third run on, the difference to the last but one run is coded.
    """
    code = counts.encode("ascii", "replace") if isinstance(counts, str) else bytes(counts)
    runs: list[int] = []
    value, shift = 0, 0
    for character in code:
        bits = character - 48
        if not 0 <= bits < 64 or shift > 30:
            raise ValueError("the run-length code is broken")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value, shift = 0, 0
    if shift or min(runs, default=0) < 0 or sum(runs) != size_hw[0] * size_hw[1]:
        raise ValueError(
            f"the run-length code covers {sum(runs)} px, its image has {size_hw[0] * size_hw[1]}"
        )
    return code


def _read_mask(path: Path, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    if is_missing(path):
        raise ValueError(f"mask {path} is missing")
    with open_image(path, formats=("PNG",)) as image:
        height, width = image.stored_hw
        if (height, width) != size_hw:  # before any pixel is decoded
            raise ValueError(
                f"mask {path} is {width} x {height} px, its image {size_hw[1]} x {size_hw[0]}"
            )
        return image.read_mask()


def _paint_shapes(shapes: Shapes, size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Paint 1 on the target, 255 where ignored; source: LISA's reading of ReasonSeg."""
    _check_polygons([[n for point in each for n in point] for each in shapes.points], size_hw)
    painted = []
    for points, ignored in zip(shapes.points, shapes.ignored, strict=True):
        corners = np.array(points, dtype=np.int32)
        alone = np.zeros(size_hw, dtype=np.uint8)
        _paint(alone, corners, 1)
        painted.append((int(alone.sum()), corners, _IGNORED if ignored else 1))
    painted.sort(key=lambda each: each[0], reverse=True)
    whole = np.zeros(size_hw, dtype=np.uint8)
    for _, corners, value in painted:
        _paint(whole, corners, value)
    return whole


def _paint(canvas: NDArray[np.uint8], corners: NDArray[np.int32], value: int) -> None:
    """Fill a polygon, its outline included."""
    cv2.polylines(canvas, [corners], True, value, 1)
    cv2.fillPoly(canvas, [corners], value)
