# SPDX-License-Identifier: Apache-2.0
"""The pixels of a target, in the forms that annotation files have, and the way to a mask.

Needs pycocotools for polygons and run lengths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

__all__ = ["decode"]

_IGNORED = 255
_OUTSIDE_PX = 1.0  # annotators' polygons may touch the border, rounding included


@dataclass(frozen=True, kw_only=True)
class Coco:
    """COCO polygons and run lengths; the region is the union of all."""

    polygons: tuple[tuple[float, ...], ...] = ()  # each x0, y0, x1, y1, … px
    runs: tuple[dict[str, Any], ...] = ()  # each {"size": [H, W], "counts": text or numbers}


@dataclass(frozen=True, kw_only=True)
class MaskFile:
    """A PNG of the image's size; the region is what is not 0."""

    path: Path


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """ReasonSeg's polygons: painted from the largest to the smallest, each over those before it."""

    points: tuple[tuple[tuple[float, float], ...], ...]
    ignored: tuple[bool, ...]  # this one's pixels count neither for nor against an answer


Region = Coco | MaskFile | Shapes


def decode(region: Region, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Paint a region.

    Args:
        region: what was annotated.
        size_hw: of its image, px.

    Returns:
        (H, W), True on the target.

    Raises:
        ValueError: if it does not fit an image of that size, or a mask file cannot be read.
    """
    if isinstance(region, MaskFile):
        return _read_mask(region.path, size_hw)
    if isinstance(region, Shapes):
        return _painted(region, size_hw) == 1
    from pycocotools import mask as coco

    if not region.polygons and not region.runs:
        raise ValueError("it has neither polygons nor run lengths")
    runs = [_compressed(run, size_hw) for run in region.runs]
    if region.polygons:
        _check_polygons(region.polygons, size_hw)
        runs += coco.frPyObjects([list(polygon) for polygon in region.polygons], *size_hw)
    return np.asarray(coco.decode(coco.merge(runs)), dtype=np.bool_)


def decode_ignored(region: Region, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Paint what counts neither for nor against an answer: (H, W), mostly nothing."""
    if isinstance(region, Shapes):
        return _painted(region, size_hw) == _IGNORED
    return np.zeros(size_hw, dtype=np.bool_)


def encode(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """COCO's compressed run lengths of a mask (H, W), ready for JSON."""
    from pycocotools import mask as coco

    run = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(side) for side in run["size"]], "counts": run["counts"].decode("ascii")}


def _check_polygons(polygons: Sequence[Sequence[float]], size_hw: tuple[int, int]) -> None:
    height, width = size_hw
    for polygon in polygons:
        if len(polygon) < 6 or len(polygon) % 2:
            raise ValueError(
                f"a polygon of {len(polygon)} numbers, expected an even number, 6 or more"
            )
        points = np.asarray(polygon, dtype=np.float64).reshape(-1, 2)
        low, high = points.min(axis=0), points.max(axis=0)
        inside = np.isfinite(points).all() and (low >= -_OUTSIDE_PX).all()
        if not inside or high[0] > width + _OUTSIDE_PX or high[1] > height + _OUTSIDE_PX:
            raise ValueError(
                f"a polygon reaches from ({low[0]:g}, {low[1]:g}) to ({high[0]:g}, {high[1]:g}), "
                f"outside the image of {width} x {height} px"
            )


def _compressed(run: dict[str, Any], size_hw: tuple[int, int]) -> dict[str, Any]:
    """Check a run-length code and bring it into pycocotools' own form."""
    from pycocotools import mask as coco

    if not isinstance(run, dict) or "size" not in run or "counts" not in run:
        raise ValueError("run lengths need 'size' and 'counts'")
    if tuple(run["size"]) != size_hw:
        raise ValueError(
            f"the mask is {run['size'][1]} x {run['size'][0]} px, "
            f"its image {size_hw[1]} x {size_hw[0]}"
        )
    counts = run["counts"]
    if isinstance(counts, list):
        if sum(counts) != size_hw[0] * size_hw[1] or min(counts, default=0) < 0:
            raise ValueError(
                f"run lengths of {sum(counts)} px in all, its image has {size_hw[0] * size_hw[1]}"
            )
        return dict(coco.frPyObjects(run, *size_hw))
    return {"size": list(size_hw), "counts": _checked_code(counts, size_hw)}


def _checked_code(counts: str | bytes, size_hw: tuple[int, int]) -> bytes:
    """Check that a compressed code fills the image exactly: the decoder itself does not.

    The code is a run after run in base 32, five bits a letter from "0" on, the sixth says that
    more follow; from the third run on it is the difference to the last but one.
    """
    code = counts.encode("ascii", "replace") if isinstance(counts, str) else bytes(counts)
    runs: list[int] = []
    value, shift = 0, 0
    for letter in code:
        bits = letter - 48
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
    if not path.is_file():
        raise ValueError(f"mask {path} is missing")
    try:
        with PIL.Image.open(path, formats=("PNG",)) as image:
            width, height = image.size
            if (height, width) != size_hw:  # before any pixel is decoded
                raise ValueError(
                    f"mask {path} is {width} x {height} px, its image {size_hw[1]} x {size_hw[0]}"
                )
            pixels = np.asarray(image if image.mode != "RGBA" else image.convert("RGB"))
    except (OSError, SyntaxError) as error:
        raise ValueError(f"mask {path} cannot be read as a PNG: {error}") from error
    return np.asarray(pixels.any(axis=-1) if pixels.ndim == 3 else pixels > 0, dtype=np.bool_)


def _painted(shapes: Shapes, size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """1 on the target, 255 where ignored; source: LISA's reading of ReasonSeg."""
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
