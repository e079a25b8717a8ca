# SPDX-License-Identifier: Apache-2.0
"""Part a mask into the things that it covers: "the mugs" are several.

First by connected components; then, where depth is there, a component is cut along jumps in depth,
and parts of one thing behind another are joined again. Holes stay holes. NumPy and OpenCV only.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.geometry.localization import Intrinsics, Position, locate
from mllmseg_ros.masks import box_xyxy
from mllmseg_ros.segmentation import Segmentation, Status, segmentation_of

__all__ = [
    "Depth",
    "Instance",
    "InstanceSet",
    "TargetFrame",
    "depth_if_found",
    "distance_m",
    "instances_of",
    "parts_of",
    "split_instances",
    "union_mask",
]

# A part is a speck if it has fewer pixels, or is a smaller share of the largest part.
_MIN_PX, _MIN_SHARE = 12, 0.03
_SMALL_SHARE, _SURE = 0.2, 0.75  # of the largest part; mean probability
_MIN_CORE = 0.04  # of a part: what jumps in depth cut off must be so large to be a thing
_JUMP_M, _JUMP_SHARE = 0.025, 0.02  # neighbours farther apart in depth (or that share of it)
_MAX_GAP_SHARE = 0.6  # of the smaller part's size: how wide an occluder may be
_NEARER_M = 0.01  # an occluder is nearer by this


@dataclass(frozen=True, kw_only=True)
class Instance:
    """One thing that an expression names, or the whole answer where nothing was found."""

    expression_index: int  # place of the expression among those asked
    instance_index: int  # place among the expression's instances, the largest first
    segmentation: Segmentation  # of this instance alone
    position: Position | None  # None without depth, and where nothing was found
    track_id: str = ""  # identity over several images, "" where it is not tracked
    inferred_ns: int | None = None  # stamp of the image inferred on, where that is another one


@dataclass(frozen=True, kw_only=True)
class Depth:
    """Depth in the pixels of a colour image."""

    metres: NDArray[np.float32]  # (H, W) along z, NaN where invalid
    intrinsics: Intrinsics  # of the colour image


@dataclass(frozen=True, kw_only=True)
class TargetFrame:
    """A frame that positions are told in instead of the camera's optical frame."""

    frame_id: str
    from_camera: NDArray[np.float64]  # (4, 4) from the optical frame, at the image's stamp


@dataclass(frozen=True, kw_only=True)
class InstanceSet:
    """What was answered, in instances."""

    instances: Sequence[Instance]
    depth: Depth | None = None  # of the whole image, where there is any, as the camera sees it
    frame: TargetFrame | None = None  # of the instances' positions; None: the optical frame
    note: str = ""  # why what was found has no position; "" also where nobody publishes depth


def union_mask(
    instances: Sequence[Instance],
    size_hw: tuple[int, int],
    statuses: Container[Status] = (Status.FOUND,),
) -> NDArray[np.bool_]:
    """Mask (H, W) of all instances that have one of these statuses."""
    union = np.zeros(size_hw, np.bool_)
    for each in instances:
        if each.segmentation.status in statuses:
            union |= each.segmentation.mask
    return union


def depth_if_found(
    segmentations: Sequence[Segmentation], read_depth: Callable[[], Depth | None]
) -> tuple[Depth | None, str]:
    """Read depth where something was found, which alone needs it.

    Args:
        segmentations: of one image.
        read_depth: returns the image's depth, None where there is none at all; raises ValueError
            saying why there is none for this image.

    Returns:
        The depth, and why there is none ("" where nothing is missing).
    """
    if not any(each.status is Status.FOUND for each in segmentations):
        return None, ""
    try:
        return read_depth(), ""
    except ValueError as error:
        return None, f"no position: {error}"


def distance_m(instance: Instance, frame: TargetFrame | None) -> float | None:
    """How far from the camera an instance is, m; None where that is not known.

    Args:
        instance: with its position in ``frame``.
        frame: None: the camera's optical frame.
    """
    if instance.position is None:
        return None
    camera = np.zeros(3) if frame is None else frame.from_camera[:3, 3]
    return float(np.linalg.norm(instance.position.mean - camera))


def instances_of(
    segmentations: Sequence[Segmentation], depth: Depth | None = None
) -> list[Instance]:
    """Part every found answer into its instances, and measure them.

    Args:
        segmentations: answers on one image, in the order asked.
        depth: of the image; without it no instance has a position.

    Returns:
        At least one instance per answer, in the order asked.

    Raises:
        ValueError: if masks and depth differ in size, or the distortion model is unknown.
    """
    found = parts_of(segmentations, depth)
    if depth is None:
        return found
    return [
        one
        if one.segmentation.status is not Status.FOUND or one.segmentation.inside_uv is None
        else replace(
            one,
            position=locate(
                one.segmentation.mask,
                depth.metres,
                depth.intrinsics,
                one.segmentation.inside_uv,
            ),
        )
        for one in found
    ]


def parts_of(segmentations: Sequence[Segmentation], depth: Depth | None = None) -> list[Instance]:
    """Part every found answer into its instances, without measuring them.

    Args:
        segmentations: answers on one image, in the order asked.
        depth: of the image.

    Returns:
        At least one instance per answer, in the order asked.

    Raises:
        ValueError: if masks and depth differ in size.
    """
    found: list[Instance] = []
    for index, answer in enumerate(segmentations):
        metres = None if depth is None else depth.metres
        parts = split_instances(answer.mask, metres) if answer.status is Status.FOUND else []
        parts = [part for part in parts if _believed(part, parts[0], answer)]
        for number, part in enumerate(parts or [answer.mask]):
            one = part_of(answer, part) if parts else answer
            found.append(
                Instance(
                    expression_index=index,
                    instance_index=number,
                    segmentation=one,
                    position=None,
                )
            )
    return found


def _believed(part: NDArray[np.bool_], largest: NDArray[np.bool_], answer: Segmentation) -> bool:
    """Whether a part is a thing: a small one has to be sure, else it has only spilt over."""
    if part.sum() >= _SMALL_SHARE * largest.sum():
        return True
    return float(answer.probability[part].mean()) >= _SURE


def part_of(answer: Segmentation, part: NDArray[np.bool_]) -> Segmentation:
    """The answer for a part (H, W), not empty, of its mask alone."""
    return segmentation_of(
        answer.expression,
        answer.status,
        answer.score,
        float(answer.probability[part].mean()),
        answer.probability,
        part,
    )


def split_instances(
    mask: NDArray[np.bool_], depth_m: NDArray[np.float32] | None = None
) -> list[NDArray[np.bool_]]:
    """Part a mask.

    Args:
        mask: (H, W).
        depth_m: (H, W) metres along z, NaN where invalid, aligned with the mask; None without.

    Returns:
        Masks (H, W), the largest first; together they are the mask but for its specks. An empty
        mask gives none.

    Raises:
        ValueError: if mask and depth differ in size.
    """
    if depth_m is not None and depth_m.shape != mask.shape:
        raise ValueError(f"depth image is {depth_m.shape}, the mask {mask.shape}")
    box = box_xyxy(mask)
    if box is None:
        return []
    x0, y0, x1, y1 = box
    crop = mask[y0:y1, x0:x1]
    depth = None if depth_m is None else depth_m[y0:y1, x0:x1]
    parts = _components(crop) or [crop]  # a mask of specks alone is still an answer
    if depth is not None:
        parts = [piece for part in parts for piece in _cut_at_jumps(part, depth)]
        parts = _joined_behind(parts, depth)
    parts.sort(key=lambda part: int(part.sum()), reverse=True)
    whole = []
    for part in parts:
        instance = np.zeros_like(mask)
        instance[y0:y1, x0:x1] = part
        whole.append(instance)
    return whole


def _components(mask: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """Connected parts, those of noise left out before any is drawn."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    least = max(_MIN_PX, _MIN_SHARE * areas.max(initial=0))
    return [labels == index for index in 1 + np.flatnonzero(areas >= least)]


def _cut_at_jumps(part: NDArray[np.bool_], depth: NDArray[np.float32]) -> list[NDArray[np.bool_]]:
    """Pieces of one component on either side of jumps in depth."""
    valid = part & np.isfinite(depth) & (depth > 0)
    if valid.sum() < 2 * _MIN_PX:
        return [part]
    # Noise must not cut: a median over a few pixels, holes filled from around.
    filled = _filled(depth, valid)
    size = np.ones((3, 3), np.uint8)
    inside = np.where(part, filled, np.float32(np.nan))
    far = cv2.dilate(np.where(part, inside, np.float32(-1)), size)
    near = cv2.erode(np.where(part, inside, np.float32(1e9)), size)
    jump = part & (far - near > np.maximum(_JUMP_M, _JUMP_SHARE * filled))
    if not jump.any():
        return [part]
    least = max(_MIN_PX, _MIN_CORE * int(part.sum()))
    cores = [core for core in _components(part & ~jump) if core.sum() >= least]
    if len(cores) < 2:
        return [part]
    # Every pixel left over goes to the core next to it that is nearest in depth.
    seeds = np.zeros(part.shape, np.int32)
    for index, core in enumerate(cores, start=1):
        seeds[core] = index
    grown = _grown(seeds, part, filled)
    return [grown == index for index in range(1, len(cores) + 1)]


def _filled(depth: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Depth with every invalid pixel as its nearest valid one, smoothed by a median."""
    _, labels = cv2.distanceTransformWithLabels(
        (~valid).astype(np.uint8), cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
    )
    values = np.zeros(int(labels.max()) + 1, np.float32)
    values[labels[valid]] = depth[valid]
    return np.asarray(cv2.medianBlur(values[labels], 5), dtype=np.float32)


def _grown(
    seeds: NDArray[np.int32], part: NDArray[np.bool_], depth: NDArray[np.float32]
) -> NDArray[np.int32]:
    """Grow seeds over a part, a pixel a turn; where two meet, the nearer in depth wins."""
    grown = seeds.copy()
    means = np.array(
        [0.0] + [float(np.median(depth[seeds == k])) for k in range(1, int(seeds.max()) + 1)]
    )
    while True:
        open_ = part & (grown == 0)
        if not open_.any():
            return grown
        best = np.full(part.shape, np.inf)
        winner = np.zeros_like(grown)
        for k in range(1, len(means)):
            reach = cv2.dilate((grown == k).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
            off = np.where(reach & open_, np.abs(depth - means[k]), np.inf)
            better = off < best
            best[better], winner[better] = off[better], k
        if not winner.any():
            return grown
        grown[open_] = winner[open_]


def _joined_behind(
    parts: list[NDArray[np.bool_]], depth: NDArray[np.float32]
) -> list[NDArray[np.bool_]]:
    """Join parts that lie on either side of something nearer, at one depth."""
    merged = True
    while merged:
        merged = False
        for i in range(len(parts)):
            for j in range(i + 1, len(parts)):
                if _one_thing(parts[i], parts[j], depth):
                    parts = [
                        *(part for k, part in enumerate(parts) if k not in (i, j)),
                        parts[i] | parts[j],
                    ]
                    merged = True
                    break
            if merged:
                break
    return parts


def _one_thing(a: NDArray[np.bool_], b: NDArray[np.bool_], depth: NDArray[np.float32]) -> bool:
    start, end = _closest(a, b)
    gap = float(np.hypot(*(end - start)))
    size = min(float(np.sqrt(a.sum())), float(np.sqrt(b.sum())))
    if gap < 2 or gap > _MAX_GAP_SHARE * size:
        return False
    z_a, z_b = (float(np.nanmedian(np.where(part, depth, np.nan))) for part in (a, b))
    if not np.isfinite(z_a + z_b) or abs(z_a - z_b) > max(_JUMP_M, _JUMP_SHARE * z_a):
        return False
    steps = np.linspace(start, end, max(3, round(gap)))[1:-1].round().astype(int)
    between = depth[steps[:, 1], steps[:, 0]]
    between = between[np.isfinite(between) & (between > 0)]
    return len(between) > 0 and bool(np.median(between) < min(z_a, z_b) - _NEARER_M)


def _closest(
    a: NDArray[np.bool_], b: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Nearest pixels (u, v) of two masks."""
    distance, labels = cv2.distanceTransformWithLabels(
        (~a).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    v, u = np.unravel_index(int(np.argmin(np.where(b, distance, np.inf))), a.shape)
    at_a = np.argwhere(a & (labels == labels[v, u]))[0]
    return np.array([at_a[1], at_a[0]]), np.array([u, v])
