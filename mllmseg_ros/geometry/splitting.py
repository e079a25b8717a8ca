# SPDX-License-Identifier: Apache-2.0
"""Split a mask into the masks of its instances.

A mask is split into connected components, and these along depth jumps and at necks, unless the
pieces are parts of one thing (``touching.py``). What is behind an occluder is merged again. Holes
stay holes. NumPy and OpenCV only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.geometry.touching import Front, Surface, are_apart_in_depth, cut_at_necks
from mllmseg_ros.masks import Box, box_xyxy, fill_from_nearest

__all__ = ["EVERY_INSTANCE", "DepthAround", "Splitting", "place", "split_cut_out", "split_mask"]

# Parts with fewer pixels, or a smaller share of the largest part, are noise.
_MIN_PX, _MIN_SHARE = 12, 0.03
_MAX_CROP_PX = 40_000  # of a component: depth jumps of larger ones are sought on every n-th pixel
_MIN_CORE_SHARE = 0.04  # of a component: smaller pieces between depth jumps are not instances
_JUMP_M, _JUMP_SHARE = 0.025, 0.02  # depth difference of neighbours, or this share of the depth
# Of a component with a depth: where less is known, a slope between two depths looks like a jump.
_MIN_DEPTH_SHARE = 0.2
_MAX_GAP_SHARE = 0.6  # width of an occluder relative to the smaller part's size
_NEARER_M = 0.01  # by which an occluder is nearer, at least


@dataclass(frozen=True, kw_only=True)
class Splitting:
    """How masks are split."""

    touching: bool = True  # False: what is one piece in the image is one instance
    max_instances: int | None = None  # of an expression, the largest


EVERY_INSTANCE = Splitting()


@dataclass(frozen=True, kw_only=True)
class DepthAround:
    """Depth of a mask and around it, cut out at a box (h, w); metres along z."""

    own_m: NDArray[np.float32]  # NaN or 0 where invalid, and at the mask's rim where not its own
    around_m: NDArray[np.float32]  # NaN or 0 where invalid
    origin_uv: tuple[int, int]  # of the box in the image, px
    surface: Surface  # in the whole image
    focal_px: float | None  # None if it is unknown


def split_mask(
    mask: NDArray[np.bool_],
    depth_m: NDArray[np.float32] | None = None,
    focal_px: float | None = None,
    splitting: Splitting = EVERY_INSTANCE,
) -> list[NDArray[np.bool_]]:
    """Split a mask into the masks of its instances.

    Args:
        mask: (H, W).
        depth_m: (H, W) metres along z, NaN where invalid, aligned with the mask; None without.
        focal_px: of the camera; without it, parts of one thing are less well recognised by depth.
        splitting: what to split.

    Returns:
        Masks (H, W), the largest first; together they are the mask without noise, unless their
        number is limited. Empty for an empty mask.

    Raises:
        ValueError: if mask and depth differ in size.
    """
    if depth_m is not None and depth_m.shape != mask.shape:
        raise ValueError(f"depth image is {depth_m.shape}, the mask {mask.shape}")
    box = box_xyxy(mask)
    if box is None:
        return []
    x0, y0, x1, y1 = box
    crop, depth = mask[y0:y1, x0:x1], None
    if depth_m is not None:
        around = depth_m[y0:y1, x0:x1]
        depth = DepthAround(
            own_m=around,
            around_m=around,
            origin_uv=(x0, y0),
            surface=Surface(depth_m),
            focal_px=focal_px,
        )
    return [place(part, box, mask.shape) for part in split_cut_out(crop, depth, splitting)]


def split_cut_out(
    mask: NDArray[np.bool_], depth: DepthAround | None, splitting: Splitting = EVERY_INSTANCE
) -> list[NDArray[np.bool_]]:
    """Split a mask (h, w), not empty, that is cut out of the image; see :func:`split_mask`."""
    parts = _find_components(mask) or [mask]  # a mask of noise alone is kept
    if splitting.touching:
        if depth is not None:
            parts = [piece for part in parts for piece in _split_at_jumps(part, depth)]
        parts = [piece for part in parts for piece in _split_at_necks(part, depth)]
    if depth is not None:
        parts = _merge_occluded(parts, depth.own_m)
    parts = sorted(parts, key=np.count_nonzero, reverse=True)
    return parts[: splitting.max_instances]


def place(part: NDArray[np.bool_], box: Box, size_hw: tuple[int, ...]) -> NDArray[np.bool_]:
    """Place a part of the image, cut out at a box, in a mask (H, W)."""
    mask = np.zeros(size_hw, np.bool_)
    mask[box[1] : box[3], box[0] : box[2]] = part
    return mask


def _find_components(mask: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """Return the connected components that are large enough."""
    count, labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=8)
    if count == 2:  # most masks are one
        return [mask] if np.count_nonzero(mask) >= _MIN_PX else []
    areas = np.bincount(labels.ravel())[1:]
    min_px = max(_MIN_PX, _MIN_SHARE * areas.max(initial=0))
    return [labels == index for index in 1 + np.flatnonzero(areas >= min_px)]


def _split_at_jumps(part: NDArray[np.bool_], depth: DepthAround) -> list[NDArray[np.bool_]]:
    """Split one component along depth jumps, unless they are within one thing."""
    box, step = _sample(part)
    x0, y0, x1, y1 = box
    crop = part[y0:y1, x0:x1]
    sampled, own_m = crop[::step, ::step], depth.own_m[y0:y1:step, x0:x1:step]
    cores, filled = _find_cores(sampled, own_m)
    if len(cores) < 2:
        return [part]
    # Each remaining pixel goes to the adjacent core that is nearest in depth.
    seeds = np.zeros(sampled.shape, np.int32)
    for index, core in enumerate(cores, start=1):
        seeds[core] = index
    grown = _grow_seeds(seeds, sampled, filled)
    pieces = [grown == index for index in range(1, len(cores) + 1)]
    focal_px = None if depth.focal_px is None else depth.focal_px / step
    pieces = _merge_parts_of_one(pieces, filled, depth.surface, focal_px)
    return _place_pieces(pieces, part, box, step)


def _merge_parts_of_one(
    pieces: list[NDArray[np.bool_]],
    depth: NDArray[np.float32],
    surface: Surface,
    focal_px: float | None,
) -> list[NDArray[np.bool_]]:
    """Merge adjacent pieces that are parts of one thing, the smallest first."""
    pieces = sorted(pieces, key=np.count_nonzero)
    for index, piece in enumerate(pieces):
        reach = cv2.dilate(piece.view(np.uint8), np.ones((3, 3), np.uint8)) > 0
        for other in range(len(pieces) - 1, index, -1):
            touches = bool((reach & pieces[other]).any())
            if touches and not are_apart_in_depth(piece, pieces[other], depth, surface, focal_px):
                rest = [each for k, each in enumerate(pieces) if k not in (index, other)]
                return _merge_parts_of_one([*rest, piece | pieces[other]], depth, surface, focal_px)
    return pieces


def _split_at_necks(part: NDArray[np.bool_], depth: DepthAround | None) -> list[NDArray[np.bool_]]:
    """Split one piece where things side by side meet."""
    box, step = _sample(part)
    x0, y0, x1, y1 = box
    sampled = np.ascontiguousarray(part[y0:y1:step, x0:x1:step])
    surface, front = Surface(None), None
    if depth is not None:
        surface = depth.surface
        origin_uv = depth.origin_uv[0] + x0, depth.origin_uv[1] + y0
        front = Front(sampled, depth.around_m[y0:y1:step, x0:x1:step], surface, origin_uv, step)
    pieces = cut_at_necks(sampled, surface, front)
    return [part] if len(pieces) < 2 else _place_pieces(pieces, part, box, step)


def _sample(part: NDArray[np.bool_]) -> tuple[Box, int]:
    """Return the box of a part (h, w), and n if every n-th pixel in it is enough to look at."""
    box = box_xyxy(part)
    assert box is not None
    x0, y0, x1, y1 = box
    return box, math.ceil(math.sqrt((x1 - x0) * (y1 - y0) / _MAX_CROP_PX))


def _place_pieces(
    pieces: list[NDArray[np.bool_]], part: NDArray[np.bool_], box: Box, step: int
) -> list[NDArray[np.bool_]]:
    """Return the pieces of a part (h, w), found on every n-th pixel in its box."""
    if len(pieces) < 2:
        return [part]
    labels = np.zeros(pieces[0].shape, np.int32)
    for index, piece in enumerate(pieces, start=1):
        labels[piece] = index
    if step > 1:
        labels = _enlarge_labels(labels, step, part[box[1] : box[3], box[0] : box[2]])
    return [place(labels == index, box, part.shape) for index in range(1, len(pieces) + 1)]


def _enlarge_labels(
    labels: NDArray[np.int32], step: int, part: NDArray[np.bool_]
) -> NDArray[np.int32]:
    """Label the pixels of a part (h, w) by the nearest of those sampled at every n-th."""
    height, width = part.shape
    large = labels.repeat(step, axis=0).repeat(step, axis=1)[:height, :width]
    if ((large == 0) & part).any():
        large = fill_from_nearest(large, large > 0)
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
    filled = fill_from_nearest(np.asarray(depth, np.float32), valid)
    return np.asarray(cv2.medianBlur(filled, 5), dtype=np.float32)


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
