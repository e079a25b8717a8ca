# SPDX-License-Identifier: Apache-2.0
"""Regions of targets as annotation files describe them, and their masks.

Needs pycocotools for polygons and run lengths. Fingerprints of data sets contain the repr of these
classes, so their names and fields must not change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.codecs.image_file import open_image
from mllmseg_ros.codecs.images import MAX_COMPRESSED_PX
from mllmseg_ros.data.parquet_file import ParquetCell, StoredImage, open_stored
from mllmseg_ros.error_text import one_line
from mllmseg_ros.files import is_missing, show
from mllmseg_ros.masks import encode_run_lengths

__all__ = ["decode", "decode_checked", "decode_instances", "polygons_from"]

_IGNORED = 255
_OUTSIDE_SHARE = 0.1  # of the image's side; what reaches farther over its border is named
_SHARES_PX = 4  # in a larger image, polygons within 0 and 1 are shares of it, not pixels
# pycocotools needs 40 bytes per pixel of an outline, and does not check whether it gets them.
MAX_OUTLINE_PX = 4_000_000


@dataclass(frozen=True, kw_only=True)
class Coco:
    """COCO polygons and run lengths; the region is the union of all."""

    polygons: tuple[tuple[float, ...], ...] = ()  # each x0, y0, x1, y1, … px
    runs: tuple[dict[str, Any], ...] = ()  # each {"size": [H, W], "counts": text or numbers}


@dataclass(frozen=True, kw_only=True)
class MaskFile:
    """A PNG of the image's size: :func:`~mllmseg_ros.codecs.mask_image.mask_from_image`."""

    path: Path


@dataclass(frozen=True, kw_only=True)
class MaskCell:
    """The same in a cell of a parquet file."""

    cell: ParquetCell


@dataclass(frozen=True, kw_only=True)
class LabelFile:
    """A PNG whose pixels are numbers of objects; the region is one number's pixels."""

    path: Path
    number: int


@dataclass(frozen=True, kw_only=True)
class Instances:
    """COCO run lengths, one per instance; the region is the union of all."""

    runs: tuple[dict[str, Any], ...]  # as of Coco, one or more


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """ReasonSeg's polygons, painted from the largest to the smallest over each other."""

    points: tuple[tuple[tuple[float, float], ...], ...]
    ignored: tuple[bool, ...]  # whether its pixels are left out of the evaluation


Region = Coco | MaskFile | MaskCell | LabelFile | Instances | Shapes


def polygons_from(value: Sequence[Any]) -> tuple[tuple[Any, ...], ...]:
    """Return polygons as this module has them, from any form in which tools write them.

    Args:
        value: polygons of numbers x0, y0, x1, y1, … or of points [x, y]; or one of them alone.

    Returns:
        each x0, y0, x1, y1, …; anything else is returned unchanged, and :func:`decode` rejects it.
    """
    if value and (all(map(_is_number, value)) or all(map(_is_point, value))):
        value = [value]
    return tuple(map(_flat, value))


def _flat(polygon: Any) -> tuple[Any, ...]:
    if not isinstance(polygon, (list, tuple)):
        return (polygon,)
    if polygon and all(map(_is_point, polygon)):
        return tuple(number for point in polygon for number in point)
    return tuple(polygon)


def _is_point(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2 and all(map(_is_number, value))


def decode(region: Region, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Decode a region to a mask; polygons of it that cannot be used are left out.

    Args:
        region: as annotated.
        size_hw: of its image, px.

    Returns:
        (H, W), True on the target.

    Raises:
        ValueError: if it does not fit an image of that size, has values of other types than
            annotated regions have, no polygon of it can be used, or a mask file cannot be read.
    """
    return decode_checked(region, size_hw)[0]


def decode_checked(region: Region, size_hw: tuple[int, int]) -> tuple[NDArray[np.bool_], list[str]]:
    """Decode a region to a mask; also say what was left out of it or is doubtful.

    Raises:
        ValueError: from :func:`decode`.
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


def _decode(region: Region, size_hw: tuple[int, int]) -> tuple[NDArray[np.bool_], list[str]]:
    if isinstance(region, (MaskFile, MaskCell)):
        return _read_mask(region.path if isinstance(region, MaskFile) else region.cell, size_hw)
    if isinstance(region, LabelFile):
        return _read_label(region, size_hw), []
    if isinstance(region, Shapes):
        painted, faults = _paint_shapes(region, size_hw)
        return painted == 1, faults
    from pycocotools import mask as coco

    if isinstance(region, Instances):
        region = Coco(runs=region.runs)
    if not region.polygons and not region.runs:
        raise ValueError("it has neither polygons nor run lengths")
    runs = [_compressed(run, size_hw) for run in region.runs]
    polygons, faults = _check_polygons(region.polygons, size_hw)
    if not polygons and not runs:
        raise ValueError(faults[0])
    if polygons:
        runs += coco.frPyObjects(
            [points.ravel().tolist() for points in polygons.values()], *size_hw
        )
    return np.asarray(coco.decode(coco.merge(runs)), dtype=np.bool_), faults


def decode_instances(region: Region, size_hw: tuple[int, int]) -> list[dict[str, Any]] | None:
    """Check the run lengths of each instance and return them as pycocotools has them.

    Returns:
        of N instances; None if the region does not say which pixels are which instance's.

    Raises:
        ValueError: from :func:`decode`.
    """
    if not isinstance(region, Instances):
        return None
    return [_compressed(run, size_hw) for run in region.runs]


def decode_ignored(region: Region, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Decode the pixels that are left out of the evaluation, (H, W)."""
    if isinstance(region, Shapes):
        return _paint_shapes(region, size_hw)[0] == _IGNORED
    return np.zeros(size_hw, dtype=np.bool_)


def encode(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Encode a mask (H, W) as COCO's compressed run lengths, for JSON."""
    return encode_run_lengths(mask)


def _check_polygons(
    polygons: Sequence[Sequence[Any]], size_hw: tuple[int, int]
) -> tuple[dict[int, NDArray[np.float64]], list[str]]:
    """Check polygons.

    Returns:
        those that can be used, points (N, 2) px by number, and what is wrong with any.

    Raises:
        ValueError: if all together cannot be used.
    """
    sound: dict[int, NDArray[np.float64]] = {}
    faults: list[str] = []
    outline_px = 0.0
    for number, polygon in enumerate(polygons):
        try:
            points = _points(polygon)
            fault = _outside(points, size_hw)
        except ValueError as error:
            faults.append(str(error))
            continue
        if fault:
            faults.append(fault)
        outline_px += float(np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum())
        if outline_px > MAX_OUTLINE_PX:
            raise ValueError(f"the polygons' outline is longer than {MAX_OUTLINE_PX} px")
        sound[number] = points
    if sound and max(size_hw) > _SHARES_PX:
        every = np.vstack(list(sound.values()))
        if (every >= 0).all() and (every <= 1).all():
            raise ValueError("all coordinates of its polygons are within 0 and 1; expected are px")
    return sound, faults


def _points(polygon: Sequence[Any]) -> NDArray[np.float64]:
    """The points of a polygon, (N, 2) px."""
    if not all(_is_number(n) for n in polygon):
        raise ValueError(
            "a polygon contains something other than numbers; expected is a list x0, y0, x1, y1, …"
        )
    if len(polygon) < 6 or len(polygon) % 2:
        raise ValueError(f"a polygon of {len(polygon)} numbers, expected an even number, 6 or more")
    try:
        return np.array([float(n) for n in polygon]).reshape(-1, 2)
    except OverflowError as error:  # of a whole number
        raise ValueError(f"a polygon outside the image: {error}") from error


def _outside(points: NDArray[np.float64], size_hw: tuple[int, int]) -> str | None:
    """Name a polygon that reaches far over the border, where it is cut.

    Raises:
        ValueError: if it lies outside, or reaches out by more than the image's size.
    """
    size = np.array(size_hw[::-1])
    low, high = points.min(axis=0), points.max(axis=0)
    text = (
        f"a polygon reaches from ({low[0]:g}, {low[1]:g}) to ({high[0]:g}, {high[1]:g}), "
        f"outside the image of {size[0]} x {size[1]} px"
    )
    over = np.maximum(-low, high - size)
    # Not "> size": NaN compares as False.
    if not ((over <= size).all() and (high >= 0).all() and (low <= size).all()):
        raise ValueError(text)
    if (over > np.maximum(_OUTSIDE_SHARE * size, 1)).any():
        return f"{text}; it is clipped at the border"
    return None


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
    if isinstance(counts, str) and counts[:2] in ("b'", 'b"'):
        # Python's str() of bytes, which cannot hold a quote; it doubles the backslash.
        counts = counts[2:-1].replace("\\\\", "\\")
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


def _read_mask(
    stored: StoredImage, size_hw: tuple[int, int]
) -> tuple[NDArray[np.bool_], list[str]]:
    path = stored if isinstance(stored, Path) else stored.file
    if is_missing(path):
        raise ValueError(f"mask {show(path)} is missing")
    with open_stored(stored, formats=("PNG",)) as image:
        _check_size(path, image.stored_hw, size_hw)
        mask, doubt = image.read_mask()
    return mask, [] if doubt is None else [f"mask {show(path)} is doubtful: {doubt}"]


def _read_label(region: LabelFile, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    if is_missing(region.path):
        raise ValueError(f"label image {show(region.path)} is missing")
    changed_ns = region.path.stat().st_mtime_ns
    mask = np.asarray(_numbers(region.path, size_hw, changed_ns) == region.number)
    if not mask.any():
        raise ValueError(f"label image {show(region.path)} has no pixel of object {region.number}")
    return mask


@lru_cache(maxsize=1)  # an image's targets follow each other
def _numbers(path: Path, size_hw: tuple[int, int], changed_ns: int) -> NDArray[np.uint16]:
    with open_image(path, formats=("PNG",)) as image:
        _check_size(path, image.stored_hw, size_hw)
        return image.read_numbers()


def _check_size(path: Path, mask_hw: tuple[int, int], size_hw: tuple[int, int]) -> None:
    """Check the size of a mask, before any pixel of it is decoded."""
    if mask_hw != size_hw:
        raise ValueError(
            f"mask {show(path)} is {mask_hw[1]} x {mask_hw[0]} px, its image "
            f"{size_hw[1]} x {size_hw[0]}"
        )


def _paint_shapes(shapes: Shapes, size_hw: tuple[int, int]) -> tuple[NDArray[np.uint8], list[str]]:
    """Paint 1 on the target, 255 where ignored; source: LISA's reading of ReasonSeg."""
    polygons, faults = _check_polygons(
        [[n for point in each for n in point] for each in shapes.points], size_hw
    )
    if faults and all(shapes.ignored[number] for number in polygons):
        raise ValueError(faults[0])
    painted = []
    for number, points in polygons.items():
        corners = points.astype(np.int32)
        alone = np.zeros(size_hw, dtype=np.uint8)
        _paint(alone, corners, 1)
        painted.append((int(alone.sum()), corners, _IGNORED if shapes.ignored[number] else 1))
    painted.sort(key=lambda each: each[0], reverse=True)
    whole = np.zeros(size_hw, dtype=np.uint8)
    for _, corners, value in painted:
        _paint(whole, corners, value)
    return whole, faults


def _paint(canvas: NDArray[np.uint8], corners: NDArray[np.int32], value: int) -> None:
    """Fill a polygon, its outline included."""
    cv2.polylines(canvas, [corners], True, value, 1)
    cv2.fillPoly(canvas, [corners], value)
