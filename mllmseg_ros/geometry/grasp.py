# SPDX-License-Identifier: Apache-2.0
"""Plan a top-down grasp of an object with a parallel gripper, from the points that a camera sees.

Points are in the table's frame: z up, the table top at z = 0, metres. An object is grasped across
its top, or, if it is hollow like a mug or a bowl, at its rim with one finger inside. Knows neither
ROS nor robots. NumPy and OpenCV only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Grasp", "Gripper", "NoGrasp", "plan_grasp"]

Points = NDArray[np.floating]

_MIN_POINTS = 40
_TOP_M = 0.008  # points this far below the highest one belong to the top
_DEPTHS_M = (0.050, 0.035, 0.022)  # of the fingertips below the top; the deepest is preferred
_RIM_DEPTH_M, _MIN_DEPTH_M = 0.018, 0.011
_MIN_HEIGHT_M = 0.008  # of the fingertips above the table
_MIN_CLEARANCE_M = 0.004  # on either side of the object and to other objects
_APPROACH_M = 0.015  # clearance on either side during the approach, if there is room
_MAX_CLEARANCE_M = 0.012  # more is not ranked higher
_YAWS = np.deg2rad(np.arange(0.0, 180.0, 5.0))
_RIM_YAWS = np.deg2rad(np.arange(0.0, 360.0, 15.0))
_HOLLOW_SHARE, _HOLLOW_POINTS = 0.6, 0.08  # of a ring's radius; share of its points within that
_MAX_WALL_M = 0.020
_MIN_SECTION_POINTS = 8
_NEIGHBOURHOOD_M = 0.16  # around the object, in which others are considered
_CELL_M, _MIN_CELL_POINTS = 0.010, 5  # flying pixels at depth edges are sparser
_MARGIN_M = 0.008  # around the object: points there that its mask misses count as its own


@dataclass(frozen=True, kw_only=True)
class Gripper:
    """A parallel gripper with its fingers pointing straight down."""

    max_opening_m: float = 0.090
    finger_width_m: float = 0.018  # perpendicular to the closing direction
    finger_thickness_m: float = 0.008  # along it
    finger_length_m: float = 0.110  # from the tips to the palm


@dataclass(frozen=True, kw_only=True)
class Grasp:
    """A gripper pose to close the fingers at."""

    tip_m: NDArray[np.float64]  # (3,) midpoint between the fingertips
    yaw_rad: float  # of the closing direction about z, from -pi/2 to pi/2
    width_m: float  # of the object between the fingers
    opening_m: float  # during the approach


class NoGrasp(ValueError):
    """The object cannot be grasped; the text says why."""


@dataclass(frozen=True)
class _Candidate:
    rank: tuple[float, ...]  # the largest is the best
    grasp: Grasp


def plan_grasp(points: Points, others: Points, gripper: Gripper) -> Grasp:
    """Plan the best grasp of an object.

    Args:
        points: (N, 3) visible points of the object.
        others: (M, 3) of everything else, with or without the table.
        gripper: its dimensions.

    Raises:
        NoGrasp: if too little of it is visible, it is too flat or too wide, or the fingers would
            collide.
    """
    if len(points) < _MIN_POINTS:
        raise NoGrasp(
            f"only {len(points)} points of it are visible, expected {_MIN_POINTS} or more"
        )
    top = float(np.percentile(points[:, 2], 98))
    if top - _MIN_HEIGHT_M < _MIN_DEPTH_M:
        raise NoGrasp(f"it is too flat: {1000 * top:.0f} mm high")
    top_points = points[points[:, 2] > top - _TOP_M]
    (x, y), _, _ = cv2.minAreaRect((1000 * top_points[:, :2]).astype(np.float32))
    centre = np.array([x, y]) / 1000
    others = _remove_sparse(others[np.hypot(*(others[:, :2] - centre).T) < _NEIGHBOURHOOD_M])
    others = others[~_is_near(others, points)]
    grasps = list(_generate_rim_grasps(points, top_points, centre, top, gripper)) or list(
        _generate_top_grasps(points, centre, top, gripper)
    )
    fitting = [
        each for each in grasps if each.width_m + 2 * _MIN_CLEARANCE_M <= gripper.max_opening_m
    ]
    if not fitting:
        narrowest = min((each.width_m for each in grasps), default=math.inf)
        raise NoGrasp(
            f"it is too wide: {1000 * narrowest:.0f} mm, with {1000 * _MIN_CLEARANCE_M:.0f} mm "
            f"free on either side, and the gripper opens {1000 * gripper.max_opening_m:.0f} mm"
        )
    candidates = [_rank(each, top, others, gripper) for each in fitting]
    best = max(candidates, key=lambda each: each.rank)
    if best.rank[0] == 0:
        raise NoGrasp("another object is in the way of the fingers")
    return best.grasp


def _generate_top_grasps(
    points: Points, centre: NDArray[np.float64], top: float, gripper: Gripper
) -> Iterator[Grasp]:
    """Generate grasps across the top, at all depths and angles."""
    for yaw in _YAWS:
        along, across = _rotate_into_grasp(points, centre, yaw)
        strip = np.abs(across) < gripper.finger_width_m / 2 + 0.002
        s, z = along[strip], points[strip, 2]
        top_points = s[z > top - _TOP_M]
        if len(top_points) < _MIN_SECTION_POINTS:
            continue
        low, high = np.percentile(top_points, [2, 98])
        crest = (low + high) / 2
        for depth in _DEPTHS_M:
            tip = max(top - depth, _MIN_HEIGHT_M)
            section = s[z > tip - 0.004]
            low, high = np.percentile(section, [2, 98])
            # The back is not visible: assume that it mirrors the front at the crest.
            low, high = min(low, 2 * crest - high), max(high, 2 * crest - low)
            yield _build_grasp(centre, yaw, (low, high), tip, gripper)
            if tip == _MIN_HEIGHT_M:
                break


def _generate_rim_grasps(
    points: Points, top_points: Points, centre: NDArray[np.float64], top: float, gripper: Gripper
) -> Iterator[Grasp]:
    """Generate grasps of the wall with one finger inside, if the object is hollow."""
    tip = max(top - _RIM_DEPTH_M, _MIN_HEIGHT_M)
    distance = np.hypot(*(top_points[:, :2] - centre).T)
    radius = float(np.percentile(distance, 90))
    clearance = radius - _APPROACH_M - gripper.finger_thickness_m
    if (
        np.mean(distance < _HOLLOW_SHARE * radius) > _HOLLOW_POINTS
        or clearance < _MIN_CLEARANCE_M
        or top - tip < _RIM_DEPTH_M - 0.001
    ):
        return
    for yaw in _RIM_YAWS:
        along, across = _rotate_into_grasp(points, centre, yaw)
        wall = along[
            (np.abs(across) < gripper.finger_width_m / 2)
            & (along > _HOLLOW_SHARE * radius)
            & (points[:, 2] > tip - 0.003)
        ]
        if len(wall) < _MIN_SECTION_POINTS:
            continue
        low, high = np.percentile(wall, [2, 98])
        if high - low <= _MAX_WALL_M:
            yield _build_grasp(centre, yaw, (low, high), tip, gripper)


def _build_grasp(
    origin: NDArray[np.float64],
    yaw: float,
    section: tuple[float, float],
    tip: float,
    gripper: Gripper,
) -> Grasp:
    """Build the grasp around a section (low, high), m from the origin along the closing axis."""
    low, high = section
    x, y = origin + (low + high) / 2 * np.array([math.cos(yaw), math.sin(yaw)])
    width = float(high - low)
    return Grasp(
        tip_m=np.array([x, y, tip]),
        yaw_rad=(yaw + math.pi / 2) % math.pi - math.pi / 2,  # half a turn only swaps the fingers
        width_m=width,
        opening_m=min(gripper.max_opening_m, width + 2 * _APPROACH_M),
    )


def _rank(grasp: Grasp, top: float, others: Points, gripper: Gripper) -> _Candidate:
    """Rank a grasp: without collision first, then by depth, clearance and width."""
    clearance = min(
        _compute_clearance(grasp, others, gripper), (grasp.opening_m - grasp.width_m) / 2
    )
    possible = float(clearance >= _MIN_CLEARANCE_M)
    depth = top - float(grasp.tip_m[2])
    return _Candidate((possible, depth, min(clearance, _MAX_CLEARANCE_M), -grasp.width_m), grasp)


def _compute_clearance(grasp: Grasp, others: Points, gripper: Gripper) -> float:
    """Return the distance from fingers and palm to the nearest point, m; 0 in collision."""
    along, across = _rotate_into_grasp(others, grasp.tip_m[:2], grasp.yaw_rad)
    height = others[:, 2] - grasp.tip_m[2]
    lateral = np.abs(across) - gripper.finger_width_m / 2
    finger_centre = (grasp.opening_m + gripper.finger_thickness_m) / 2
    axial = np.abs(np.abs(along) - finger_centre) - gripper.finger_thickness_m / 2
    fingers = np.maximum(np.maximum(axial, lateral), 0)[(height > -0.003) & (others[:, 2] > 0.012)]
    palm_half_width = gripper.max_opening_m / 2 + gripper.finger_thickness_m
    palm = np.maximum(np.maximum(np.abs(along) - palm_half_width, lateral), 0)[
        height > gripper.finger_length_m
    ]
    return float(
        min(np.min(fingers, initial=_NEIGHBOURHOOD_M), np.min(palm, initial=_NEIGHBOURHOOD_M))
    )


def _rotate_into_grasp(
    points: Points, origin: NDArray[np.float64], yaw: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return coordinates of points along and across a direction on the table."""
    x, y = (points[:, :2] - origin).T
    cos, sin = math.cos(yaw), math.sin(yaw)
    return cos * x + sin * y, cos * y - sin * x


def _remove_sparse(points: Points) -> Points:
    """Remove points in sparse cells."""
    cells = np.floor(points / _CELL_M).astype(np.int64)
    _, index, counts = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
    return points[counts[index.ravel()] >= _MIN_CELL_POINTS]


def _is_near(points: Points, target: Points) -> NDArray[np.bool_]:
    """Mark the points above, below or within a margin around the object, seen from above."""
    corner = target[:, :2].min(axis=0) - 2 * _MARGIN_M
    cell = _MARGIN_M / 2
    size = np.ceil((target[:, :2].max(axis=0) + 2 * _MARGIN_M - corner) / cell).astype(int)
    footprint = np.zeros(size, np.uint8)
    footprint[tuple(((target[:, :2] - corner) / cell).astype(int).T)] = 1
    footprint = cv2.dilate(footprint, np.ones((5, 5), np.uint8))
    index = np.floor((points[:, :2] - corner) / cell).astype(int)
    inside = np.all((index >= 0) & (index < size), axis=1)
    near = np.zeros(len(points), np.bool_)
    near[inside] = footprint[tuple(index[inside].T)] > 0
    return near
