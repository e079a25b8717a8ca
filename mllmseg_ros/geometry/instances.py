# SPDX-License-Identifier: Apache-2.0
"""Split results into instances ("the mugs" are several) and locate them. NumPy and OpenCV only."""

from __future__ import annotations

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
from mllmseg_ros.geometry.splitting import (
    EVERY_INSTANCE,
    DepthAround,
    Splitting,
    place,
    split_cut_out,
    split_mask,
)
from mllmseg_ros.geometry.touching import Surface
from mllmseg_ros.masks import Box, box_xyxy
from mllmseg_ros.segmentation import Segmentation, Status, replace_mask

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

# A part below this share of the largest is an instance from this mean probability on.
_SMALL_SHARE, _MIN_PROBABILITY = 0.2, 0.75
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
    upright_boxes: bool = False  # whether the z axis of boxes is that of this frame


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
    segmentations: Sequence[Segmentation],
    depth: Depth | None = None,
    splitting: Splitting = EVERY_INSTANCE,
) -> list[Instance]:
    """Split every found segmentation into its instances and locate each of them.

    Args:
        segmentations: of one image, in the order of the expressions.
        depth: of the image; without it no instance has a position.
        splitting: what counts as an instance.

    Returns:
        At least one instance per segmentation, in their order.

    Raises:
        ValueError: if masks and depth differ in size, or the distortion model is unknown.
    """
    instances = split_into_instances(segmentations, depth, splitting)
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
    segmentations: Sequence[Segmentation],
    depth: Depth | None = None,
    splitting: Splitting = EVERY_INSTANCE,
) -> list[Instance]:
    """Split every found segmentation into its instances, without positions.

    Args:
        segmentations: of one image, in the order of the expressions.
        depth: of the image.
        splitting: what counts as an instance.

    Returns:
        At least one instance per segmentation, in their order.

    Raises:
        ValueError: if masks and depth differ in size.
    """
    surface = Surface(None if depth is None else depth.metres)
    return [
        Instance(expression_index=index, instance_index=number, segmentation=part, position=None)
        for index, whole in enumerate(segmentations)
        for number, part in enumerate(_split_segmentation(whole, depth, surface, splitting))
    ]


def _split_segmentation(
    whole: Segmentation, depth: Depth | None, surface: Surface, splitting: Splitting
) -> list[Segmentation]:
    """Split a found segmentation into its instances, the largest first; others stay whole."""
    box = whole.box_xyxy
    if depth is not None and depth.metres.shape != whole.mask.shape:
        raise ValueError(f"depth image is {depth.metres.shape}, the mask {whole.mask.shape}")
    if whole.status is not Status.FOUND or box is None:
        return [whole]
    if depth is None:
        parts = split_cut_out(whole.mask[box[1] : box[3], box[0] : box[2]], None, splitting)
    else:
        cut_out = cut_out_depth(whole.mask, depth.metres, box)
        assert cut_out is not None
        box = cut_out.box
        around = DepthAround(
            own_m=cut_out.own_depth_m,
            around_m=cut_out.depth_m,
            origin_uv=box[:2],
            surface=surface,
            focal_px=float(depth.intrinsics.K[0, 0]),
        )
        parts = split_cut_out(cut_out.mask, around, splitting)
    areas = [int(np.count_nonzero(part)) for part in parts]
    if areas == [whole.area_px]:
        return [whole]
    instances = []
    for part, n_px in zip(parts, areas, strict=True):
        segmentation = restrict_to_part(whole, place(part, box, whole.mask.shape), box)
        # Spill-over is small and unsure.
        if n_px >= _SMALL_SHARE * areas[0] or segmentation.mask_score >= _MIN_PROBABILITY:
            instances.append(segmentation)
    return instances


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
    mask_score = cv2.mean(segmentation.probability_map.read(box), inside)[0]
    return replace_mask(segmentation, part, segmentation.probability_map, mask_score, within=box)
