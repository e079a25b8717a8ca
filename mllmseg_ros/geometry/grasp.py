# SPDX-License-Identifier: Apache-2.0
"""Where a parallel gripper that comes down from above can hold what a camera sees of a thing.

Points are in the table's frame: z up, the table top at z = 0, metres. A thing is held across its
top, or, where it is hollow like a mug or a bowl, by its rim, one finger inside. Knows neither ROS
nor robots. NumPy and OpenCV only.
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
_SUMMIT_M = 0.008  # points so far below the highest are the top
_DEPTHS_M = (0.050, 0.035, 0.022)  # of the fingertips under the top; the deepest that can be
_RIM_DEPTH_M, _LEAST_DEPTH_M = 0.018, 0.011
_FLOOR_M = 0.008  # of the fingertips over the table
_CLEAR_M = 0.004  # at least, on either side of the thing and to what else stands there
_APPROACH_M = 0.015  # on either side of the thing while coming down, where there is room
_ENOUGH_M = 0.012  # more room is no better
_YAWS = np.deg2rad(np.arange(0.0, 180.0, 5.0))
_RIM_YAWS = np.deg2rad(np.arange(0.0, 360.0, 15.0))
_HOLLOW_SHARE, _HOLLOW_POINTS = 0.6, 0.08  # of its radius; a ring has so few of its points there
_THICKEST_WALL_M = 0.020
_FEWEST = 8  # points of a section
_REACH_M = 0.16  # around a thing, within which others matter
_CELL_M, _FEWEST_IN_CELL = 0.010, 5  # depth that flies between front and back is thinner than that
_OWN_M = 0.008  # around a thing, what is not in its mask is most likely its own


@dataclass(frozen=True, kw_only=True)
class Gripper:
    """A parallel gripper, its fingers straight down."""

    max_opening_m: float = 0.090
    finger_width_m: float = 0.018  # across the closing direction
    finger_thickness_m: float = 0.008  # along it
    finger_length_m: float = 0.110  # from the tips to the palm


@dataclass(frozen=True, kw_only=True)
class Grasp:
    """Where to close the gripper."""

    tip_m: NDArray[np.float64]  # (3,) between the fingertips
    yaw_rad: float  # of the closing direction about z, from -pi/2 to pi/2
    width_m: float  # of what is between the fingers
    opening_m: float  # to come down with


class NoGrasp(ValueError):
    """A thing cannot be held; the text says why."""


@dataclass(frozen=True)
class _Candidate:
    rank: tuple[float, ...]  # the greatest is the best
    grasp: Grasp


def plan_grasp(points: Points, others: Points, gripper: Gripper) -> Grasp:
    """Choose a grasp.

    Args:
        points: (N, 3) of the thing, as far as the camera sees it.
        others: (M, 3) of everything else; the table may be among it.
        gripper: what to hold it with.

    Raises:
        NoGrasp: too little of it is seen, it is too flat or too wide, or something is in the way.
    """
    if len(points) < _MIN_POINTS:
        raise NoGrasp(f"only {len(points)} points of it are seen, expected {_MIN_POINTS} or more")
    top = float(np.percentile(points[:, 2], 98))
    if top - _FLOOR_M < _LEAST_DEPTH_M:
        raise NoGrasp(f"it is too flat: {1000 * top:.0f} mm high")
    summit = points[points[:, 2] > top - _SUMMIT_M]
    (x, y), _, _ = cv2.minAreaRect((1000 * summit[:, :2]).astype(np.float32))
    middle = np.array([x, y]) / 1000
    others = _solid(others[np.hypot(*(others[:, :2] - middle).T) < _REACH_M])
    others = others[~_beside(others, points)]
    sections = list(_rim_sections(points, summit, middle, top, gripper)) or list(
        _top_sections(points, middle, top, gripper)
    )
    fitting = [each for each in sections if each.width_m + 2 * _CLEAR_M <= gripper.max_opening_m]
    if not fitting:
        narrowest = min((each.width_m for each in sections), default=math.inf)
        raise NoGrasp(
            f"it is too wide: {1000 * narrowest:.0f} mm, and the gripper opens "
            f"{1000 * gripper.max_opening_m:.0f} mm"
        )
    candidates = [_candidate(each, top, others, gripper) for each in fitting]
    best = max(candidates, key=lambda each: each.rank)
    if best.rank[0] == 0:
        raise NoGrasp("something stands in the way of the fingers")
    return best.grasp


def _top_sections(
    points: Points, middle: NDArray[np.float64], top: float, gripper: Gripper
) -> Iterator[Grasp]:
    """Hold it across its top, at any depth and any angle."""
    for yaw in _YAWS:
        along, across = _in_frame(points, middle, yaw)
        strip = np.abs(across) < gripper.finger_width_m / 2 + 0.002
        s, z = along[strip], points[strip, 2]
        summit = s[z > top - _SUMMIT_M]
        if len(summit) < _FEWEST:
            continue
        low, high = np.percentile(summit, [2, 98])
        crest = (low + high) / 2
        for depth in _DEPTHS_M:
            tip = max(top - depth, _FLOOR_M)
            met = s[z > tip - 0.004]
            low, high = np.percentile(met, [2, 98])
            # The back is out of sight: it is taken to fall off from the crest as the front does.
            low, high = min(low, 2 * crest - high), max(high, 2 * crest - low)
            yield _grasp(middle, yaw, (low, high), tip, gripper)
            if tip == _FLOOR_M:
                break


def _rim_sections(
    points: Points, summit: Points, middle: NDArray[np.float64], top: float, gripper: Gripper
) -> Iterator[Grasp]:
    """Hold its wall, one finger inside, if it is hollow."""
    tip = max(top - _RIM_DEPTH_M, _FLOOR_M)
    distance = np.hypot(*(summit[:, :2] - middle).T)
    radius = float(np.percentile(distance, 90))
    room = radius - _APPROACH_M - gripper.finger_thickness_m
    if (
        np.mean(distance < _HOLLOW_SHARE * radius) > _HOLLOW_POINTS
        or room < _CLEAR_M
        or top - tip < _RIM_DEPTH_M - 0.001
    ):
        return
    for yaw in _RIM_YAWS:
        along, across = _in_frame(points, middle, yaw)
        wall = along[
            (np.abs(across) < gripper.finger_width_m / 2)
            & (along > _HOLLOW_SHARE * radius)
            & (points[:, 2] > tip - 0.003)
        ]
        if len(wall) < _FEWEST:
            continue
        low, high = np.percentile(wall, [2, 98])
        if high - low <= _THICKEST_WALL_M:
            yield _grasp(middle, yaw, (low, high), tip, gripper)


def _grasp(
    middle: NDArray[np.float64],
    yaw: float,
    section: tuple[float, float],
    tip: float,
    gripper: Gripper,
) -> Grasp:
    """Close around a section, its ends measured from a point along the closing direction."""
    low, high = section
    x, y = middle + (low + high) / 2 * np.array([math.cos(yaw), math.sin(yaw)])
    width = float(high - low)
    return Grasp(
        tip_m=np.array([x, y, tip]),
        yaw_rad=(yaw + math.pi / 2) % math.pi - math.pi / 2,  # a half turn swaps the fingers
        width_m=width,
        opening_m=min(gripper.max_opening_m, width + 2 * _APPROACH_M),
    )


def _candidate(grasp: Grasp, top: float, others: Points, gripper: Gripper) -> _Candidate:
    """Rank a grasp: possible or not, then deep, then with room, then narrow."""
    room = min(_room(grasp, others, gripper), (grasp.opening_m - grasp.width_m) / 2)
    possible = float(room >= _CLEAR_M)
    depth = top - float(grasp.tip_m[2])
    return _Candidate((possible, depth, min(room, _ENOUGH_M), -grasp.width_m), grasp)


def _room(grasp: Grasp, others: Points, gripper: Gripper) -> float:
    """From fingers and palm to what is nearest to them, m; 0 where they would meet."""
    along, across = _in_frame(others, grasp.tip_m[:2], grasp.yaw_rad)
    over = others[:, 2] - grasp.tip_m[2]
    aside = np.abs(across) - gripper.finger_width_m / 2
    middle = (grasp.opening_m + gripper.finger_thickness_m) / 2
    beside = np.abs(np.abs(along) - middle) - gripper.finger_thickness_m / 2
    fingers = np.maximum(np.maximum(beside, aside), 0)[(over > -0.003) & (others[:, 2] > 0.012)]
    wide = gripper.max_opening_m / 2 + gripper.finger_thickness_m
    palm = np.maximum(np.maximum(np.abs(along) - wide, aside), 0)[over > gripper.finger_length_m]
    return float(min(np.min(fingers, initial=_REACH_M), np.min(palm, initial=_REACH_M)))


def _in_frame(
    points: Points, origin: NDArray[np.float64], yaw: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coordinates of points along and across a direction on the table."""
    x, y = (points[:, :2] - origin).T
    cos, sin = math.cos(yaw), math.sin(yaw)
    return cos * x + sin * y, cos * y - sin * x


def _solid(points: Points) -> Points:
    """The points that have company."""
    cells = np.floor(points / _CELL_M).astype(np.int64)
    _, index, counts = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
    return points[counts[index.ravel()] >= _FEWEST_IN_CELL]


def _beside(points: Points, thing: Points) -> NDArray[np.bool_]:
    """Which points stand where the thing does, seen from above, or right beside it."""
    corner = thing[:, :2].min(axis=0) - 2 * _OWN_M
    cell = _OWN_M / 2
    size = np.ceil((thing[:, :2].max(axis=0) + 2 * _OWN_M - corner) / cell).astype(int)
    drawn = np.zeros(size, np.uint8)
    drawn[tuple(((thing[:, :2] - corner) / cell).astype(int).T)] = 1
    drawn = cv2.dilate(drawn, np.ones((5, 5), np.uint8))
    place = np.floor((points[:, :2] - corner) / cell).astype(int)
    inside = np.all((place >= 0) & (place < size), axis=1)
    beside = np.zeros(len(points), np.bool_)
    beside[inside] = drawn[tuple(place[inside].T)] > 0
    return beside
