# SPDX-License-Identifier: Apache-2.0
"""Split a mask into instances ("the mugs" are several) and locate them.

A mask is split into connected components. With depth, components are split along depth jumps, and
parts of one thing behind an occluder are merged again. Holes stay holes. NumPy and OpenCV only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.error_text import one_line
from mllmseg_ros.geometry.localization import (
    Intrinsics,
    Position,
    cut_out_depth,
    explain_no_position,
    locate,
)
from mllmseg_ros.masks import Box, box_xyxy
from mllmseg_ros.segmentation import Segmentation, Status, build_segmentation

__all__ = [
    "Depth",
    "Instance",
    "InstanceSet",
    "TargetFrame",
    "depth_if_found",
    "distance_m",
    "limit_instances",
    "locate_instances",
    "locate_or_explain",
    "split_into_instances",
    "split_mask",
    "union_mask",
]

# Parts with fewer pixels, or a smaller share of the largest part, are noise.
_MIN_PX, _MIN_SHARE = 12, 0.03
# A part below this share of the largest is an instance from this mean probability on.
_SMALL_SHARE, _MIN_PROBABILITY = 0.2, 0.75
_MAX_CROP_PX = 40_000  # of a component: depth jumps of larger ones are sought on every n-th pixel
_MIN_CORE_SHARE = 0.04  # of a component: smaller pieces between depth jumps are no instances
_JUMP_M, _JUMP_SHARE = 0.025, 0.02  # depth difference of neighbours, or this share of the depth
# Of a component with a depth: where less is known, a slope between two depths looks like a jump.
_MIN_DEPTH_SHARE = 0.2
_MAX_GAP_SHARE = 0.6  # width of an occluder relative to the smaller part's size
_NEARER_M = 0.01  # by which an occluder is nearer, at least
_EQUAL_SCORES = 0.05  # mask scores that differ by less do not order instances: they are noisy


@dataclass(frozen=True, kw_only=True)
class Instance:
    """One thing that an expression refers to, or the whole segmentation if nothing was found."""

    expression_index: int  # index of its expression in the command
    instance_index: int  # index among the expression's instances, the largest first
    segmentation: Segmentation  # of this instance alone
    position: Position | None  # None without depth, and if nothing was found
    track_id: str = ""  # identity over several images, "" if not tracked
    inferred_ns: int | None = None  # ns, stamp of the key image if it is another image


@dataclass(frozen=True, kw_only=True)
class Depth:
    """Depth aligned with a colour image."""

    metres: NDArray[np.float32]  # (H, W) along z, NaN where invalid
    intrinsics: Intrinsics  # of the colour image


@dataclass(frozen=True, kw_only=True)
class TargetFrame:
    """The coordinate frame of positions, if it is not the camera's optical frame."""

    frame_id: str
    from_camera: NDArray[np.float64]  # (4, 4) from the optical frame, at the image's stamp


@dataclass(frozen=True, kw_only=True)
class InstanceSet:
    """All instances on one image."""

    instances: Sequence[Instance]
    depth: Depth | None = None  # of the whole image, if there is any, in the optical frame
    frame: TargetFrame | None = None  # of the instances' positions; None: the optical frame
    note: str = ""  # why a found instance has no position; "" if no depth is published


def union_mask(
    instances: Sequence[Instance],
    size_hw: tuple[int, int],
    statuses: Container[Status] = (Status.FOUND,),
) -> NDArray[np.bool_]:
    """Return the union (H, W) of the masks of all instances with one of these statuses."""
    union = np.zeros(size_hw, np.bool_)
    for each in instances:
        box = each.segmentation.box_xyxy
        if each.segmentation.status in statuses and box is not None:
            region = np.s_[box[1] : box[3], box[0] : box[2]]
            union[region] |= each.segmentation.mask[region]
    return union


def depth_if_found(
    segmentations: Sequence[Segmentation], read_depth: Callable[[], Depth | None]
) -> tuple[Depth | None, str]:
    """Read depth if something was found; otherwise it is not needed.

    Args:
        segmentations: of one image.
        read_depth: returns the image's depth, None if no depth is published; raises ValueError with
            the reason if there is none for this image.

    Returns:
        The depth, and the reason if it is missing ("" if not).
    """
    if not any(each.status is Status.FOUND for each in segmentations):
        return None, ""
    try:
        return read_depth(), ""
    except ValueError as error:
        return None, f"no position: {error}"


def locate_or_explain(
    locate: Callable[[Depth | None], Sequence[Instance]], depth: Depth | None, note: str = ""
) -> InstanceSet:
    """Locate instances; where that fails they have no positions, and the note says why.

    Depth and camera info come from elsewhere and may have numbers that no camera has: that costs
    the positions, never the masks.

    Args:
        locate: returns the instances; without depth, without positions.
        depth: of the image; None without.
        note: why there is no depth.
    """
    if depth is None:
        return InstanceSet(instances=locate(None), note=note)
    try:
        instances = locate(depth)
        note = _explain_missing(instances, depth)
        return InstanceSet(instances=instances, depth=depth, note=note)
    except Exception as error:  # a library's function may raise anything
        reason = str(error) if isinstance(error, ValueError) else one_line(error)
        return InstanceSet(instances=locate(None), note=f"no position: {reason}")


def _explain_missing(instances: Sequence[Instance], depth: Depth) -> str:
    """Say why a found instance has no position; "" if all have one."""
    found = [each for each in instances if each.segmentation.status is Status.FOUND]
    missing = next((each.segmentation for each in found if each.position is None), None)
    if missing is None:
        return ""
    whose = f" of {missing.expression!r}" if len(found) > 1 else ""
    return f"no position{whose}: {explain_no_position(missing.mask, depth.metres)}"


def distance_m(instance: Instance, frame: TargetFrame | None) -> float | None:
    """Return the distance of an instance from the camera, m; None if unknown.

    Args:
        instance: with or without a position.
        frame: of the position; None is the camera's optical frame.
    """
    if instance.position is None:
        return None
    camera = np.zeros(3) if frame is None else frame.from_camera[:3, 3]
    return float(np.linalg.norm(instance.position.mean - camera))


def locate_instances(
    segmentations: Sequence[Segmentation], depth: Depth | None = None
) -> list[Instance]:
    """Split every found segmentation into its instances and locate each of them.

    Args:
        segmentations: of one image, in the order of the expressions.
        depth: of the image; without it no instance has a position.

    Returns:
        At least one instance per segmentation, in their order.

    Raises:
        ValueError: if masks and depth differ in size, or the distortion model is unknown.
    """
    instances = split_into_instances(segmentations, depth)
    if depth is None:
        return instances
    return [
        each
        if each.segmentation.status is not Status.FOUND or each.segmentation.inside_uv is None
        else replace(
            each,
            position=locate(
                each.segmentation.mask,
                depth.metres,
                depth.intrinsics,
                each.segmentation.inside_uv,
                each.segmentation.box_xyxy,
            ),
        )
        for each in instances
    ]


def limit_instances(instance_set: InstanceSet, counts: Sequence[int | None]) -> InstanceSet:
    """Keep as many found instances of each expression as it asks for: those with the best masks.

    Args:
        instance_set: of one image.
        counts: of each expression; None to keep all.
    """
    kept: list[Instance] = []
    for index, count in enumerate(counts):
        own = [each for each in instance_set.instances if each.expression_index == index]
        if count is None or len(own) <= count or own[0].segmentation.status is not Status.FOUND:
            kept += own
            continue
        # Of equal ones the first, which is larger.
        best = sorted(own, key=lambda each: -round(each.segmentation.mask_score / _EQUAL_SCORES))
        chosen = {each.instance_index for each in best[:count]}
        own = [each for each in own if each.instance_index in chosen]
        kept += [replace(each, instance_index=number) for number, each in enumerate(own)]
    return replace(instance_set, instances=kept)


def split_into_instances(
    segmentations: Sequence[Segmentation], depth: Depth | None = None
) -> list[Instance]:
    """Split every found segmentation into its instances, without positions.

    Args:
        segmentations: of one image, in the order of the expressions.
        depth: of the image.

    Returns:
        At least one instance per segmentation, in their order.

    Raises:
        ValueError: if masks and depth differ in size.
    """
    depth_m = None if depth is None else depth.metres
    return [
        Instance(expression_index=index, instance_index=number, segmentation=part, position=None)
        for index, whole in enumerate(segmentations)
        for number, part in enumerate(_split_segmentation(whole, depth_m))
    ]


def _split_segmentation(
    whole: Segmentation, depth_m: NDArray[np.float32] | None
) -> list[Segmentation]:
    """Split a found segmentation into its instances, the largest first; others stay whole."""
    box = whole.box_xyxy
    if depth_m is not None and depth_m.shape != whole.mask.shape:
        raise ValueError(f"depth image is {depth_m.shape}, the mask {whole.mask.shape}")
    if whole.status is not Status.FOUND or box is None:
        return [whole]
    if depth_m is None:
        parts = _split(whole.mask[box[1] : box[3], box[0] : box[2]], None)
    else:
        cut_out = cut_out_depth(whole.mask, depth_m, box)
        assert cut_out is not None
        box = cut_out.box
        parts = _split(cut_out.mask, cut_out.own_depth_m)
    areas = [int(np.count_nonzero(part)) for part in parts]
    if areas == [whole.area_px]:
        return [whole]
    instances = []
    for part, n_px in zip(parts, areas, strict=True):
        segmentation = restrict_to_part(whole, _place(part, box, whole.mask.shape), box)
        # Spill-over is small and unsure.
        if n_px >= _SMALL_SHARE * areas[0] or segmentation.mask_score >= _MIN_PROBABILITY:
            instances.append(segmentation)
    return instances


def _place(part: NDArray[np.bool_], box: Box, size_hw: tuple[int, ...]) -> NDArray[np.bool_]:
    """Place a part of the image, cut out at a box, in a mask (H, W)."""
    mask = np.zeros(size_hw, np.bool_)
    mask[box[1] : box[3], box[0] : box[2]] = part
    return mask


def restrict_to_part(
    segmentation: Segmentation, part: NDArray[np.bool_], within: Box | None = None
) -> Segmentation:
    """Return the segmentation with a part of its mask alone.

    Args:
        segmentation: with any mask.
        part: (H, W), not empty.
        within: a box that contains all pixels of the part, if one is known.
    """
    box = box_xyxy(part, within)
    assert box is not None
    x0, y0, x1, y1 = box
    inside = part[y0:y1, x0:x1].view(np.uint8)
    return build_segmentation(
        segmentation.expression,
        segmentation.status,
        segmentation.score,
        cv2.mean(segmentation.probability_map.read(box), inside)[0],
        segmentation.probability_map,
        part,
        within=box,
    )


def split_mask(
    mask: NDArray[np.bool_], depth_m: NDArray[np.float32] | None = None
) -> list[NDArray[np.bool_]]:
    """Split a mask into the masks of its instances.

    Args:
        mask: (H, W).
        depth_m: (H, W) metres along z, NaN where invalid, aligned with the mask; None without.

    Returns:
        Masks (H, W), the largest first; together they are the mask without noise. Empty for an
        empty mask.

    Raises:
        ValueError: if mask and depth differ in size.
    """
    if depth_m is not None and depth_m.shape != mask.shape:
        raise ValueError(f"depth image is {depth_m.shape}, the mask {mask.shape}")
    box = box_xyxy(mask)
    if box is None:
        return []
    x0, y0, x1, y1 = box
    depth = None if depth_m is None else depth_m[y0:y1, x0:x1]
    return [_place(part, box, mask.shape) for part in _split(mask[y0:y1, x0:x1], depth)]


def _split(mask: NDArray[np.bool_], depth: NDArray[np.float32] | None) -> list[NDArray[np.bool_]]:
    """Split a mask (h, w), not empty, that is cut out of the image."""
    parts = _find_components(mask) or [mask]  # a mask of noise alone is kept
    if depth is not None:
        parts = [piece for part in parts for piece in _split_at_jumps(part, depth)]
        parts = _merge_occluded(parts, depth)
    return sorted(parts, key=np.count_nonzero, reverse=True)


def _find_components(mask: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """Return the connected components that are large enough."""
    count, labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=8)
    if count == 2:  # most masks are one
        return [mask] if np.count_nonzero(mask) >= _MIN_PX else []
    areas = np.bincount(labels.ravel())[1:]
    min_px = max(_MIN_PX, _MIN_SHARE * areas.max(initial=0))
    return [labels == index for index in 1 + np.flatnonzero(areas >= min_px)]


def _split_at_jumps(part: NDArray[np.bool_], depth: NDArray[np.float32]) -> list[NDArray[np.bool_]]:
    """Split one component along depth jumps."""
    box = box_xyxy(part)
    assert box is not None
    x0, y0, x1, y1 = box
    crop = part[y0:y1, x0:x1]
    step = math.ceil(math.sqrt(crop.size / _MAX_CROP_PX))
    sampled, depth = crop[::step, ::step], depth[y0:y1:step, x0:x1:step]
    cores, filled = _find_cores(sampled, depth)
    if len(cores) < 2:
        return [part]
    # Each remaining pixel goes to the adjacent core that is nearest in depth.
    seeds = np.zeros(sampled.shape, np.int32)
    for index, core in enumerate(cores, start=1):
        seeds[core] = index
    grown = _grow_seeds(seeds, sampled, filled)
    labels = grown if step == 1 else _enlarge_labels(grown, step, crop)
    return [_place(labels == index, box, part.shape) for index in range(1, len(cores) + 1)]


def _enlarge_labels(
    labels: NDArray[np.int32], step: int, part: NDArray[np.bool_]
) -> NDArray[np.int32]:
    """Label the pixels of a part (h, w) by the nearest of those sampled at every n-th."""
    height, width = part.shape
    large = labels.repeat(step, axis=0).repeat(step, axis=1)[:height, :width]
    unlabelled = (large == 0) & part
    if unlabelled.any():
        _, nearest = cv2.distanceTransformWithLabels(
            (large == 0).view(np.uint8), cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
        )
        values = np.zeros(int(nearest.max()) + 1, np.int32)
        values[nearest[large > 0]] = large[large > 0]
        large = values[nearest]
    return np.where(part, large, 0)


def _find_cores(
    part: NDArray[np.bool_], depth: NDArray[np.float32]
) -> tuple[list[NDArray[np.bool_]], NDArray[np.float32]]:
    """Find the pieces of a component between depth jumps, and its depth without holes and noise."""
    valid = part & (depth > 0) & (depth < np.inf)
    n_px = int(np.count_nonzero(part))
    if np.count_nonzero(valid) < max(2 * _MIN_PX, _MIN_DEPTH_SHARE * n_px):
        return [], depth
    # Noise must not split: median over a few pixels, holes filled from their surroundings.
    filled = _fill_depth(depth, valid)
    size = np.ones((3, 3), np.uint8)
    chosen = np.ascontiguousarray(part).view(np.uint8)
    far = cv2.dilate(cv2.copyTo(filled, chosen, np.full_like(filled, -1)), size)
    near = cv2.erode(cv2.copyTo(filled, chosen, np.full_like(filled, 1e9)), size)
    jump = part & (far - near > np.maximum(_JUMP_M, _JUMP_SHARE * filled))
    min_px = max(_MIN_PX, _MIN_CORE_SHARE * n_px)
    cores = _find_components(part & ~jump) if jump.any() else []
    return [core for core in cores if np.count_nonzero(core) >= min_px], filled


def _fill_depth(depth: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Fill invalid depth from the nearest valid pixel and smooth by a median."""
    _, labels = cv2.distanceTransformWithLabels(
        (~valid).view(np.uint8), cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
    )
    values = np.zeros(int(labels.max()) + 1, np.float32)
    values[labels[valid]] = depth[valid]
    return np.asarray(cv2.medianBlur(values[labels], 5), dtype=np.float32)


def _grow_seeds(
    seeds: NDArray[np.int32], part: NDArray[np.bool_], depth: NDArray[np.float32]
) -> NDArray[np.int32]:
    """Grow seeds over a part, one pixel per iteration; where two meet, the nearer in depth wins."""
    grown = seeds.copy()
    means = np.array(
        [0.0] + [float(np.median(depth[seeds == k])) for k in range(1, int(seeds.max()) + 1)]
    )
    while True:
        unlabelled = part & (grown == 0)
        if not unlabelled.any():
            return grown
        best = np.full(part.shape, np.inf)
        winner = np.zeros_like(grown)
        for k in range(1, len(means)):
            reach = cv2.dilate((grown == k).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
            distance = np.where(reach & unlabelled, np.abs(depth - means[k]), np.inf)
            better = distance < best
            best[better], winner[better] = distance[better], k
        if not winner.any():
            return grown
        grown[unlabelled] = winner[unlabelled]


def _merge_occluded(
    parts: list[NDArray[np.bool_]], depth: NDArray[np.float32]
) -> list[NDArray[np.bool_]]:
    """Merge parts at the same depth on either side of an occluder."""
    merged = True
    while merged:
        merged = False
        for i in range(len(parts)):
            for j in range(i + 1, len(parts)):
                if _are_one_instance(parts[i], parts[j], depth):
                    parts = [
                        *(part for k, part in enumerate(parts) if k not in (i, j)),
                        parts[i] | parts[j],
                    ]
                    merged = True
                    break
            if merged:
                break
    return parts


def _are_one_instance(
    a: NDArray[np.bool_], b: NDArray[np.bool_], depth: NDArray[np.float32]
) -> bool:
    start, end = _find_closest_pixels(a, b)
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


def _find_closest_pixels(
    a: NDArray[np.bool_], b: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pixels (u, v) of two masks that are closest to each other."""
    distance, labels = cv2.distanceTransformWithLabels(
        (~a).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    v, u = np.unravel_index(int(np.argmin(np.where(b, distance, np.inf))), a.shape)
    at_a = np.argwhere(a & (labels == labels[v, u]))[0]
    return np.array([at_a[1], at_a[0]]), np.array([u, v])
