# SPDX-License-Identifier: Apache-2.0
"""Poses of messages applied to points, for who listens to the node without tf2.

Entry points: :func:`out_of`, :func:`box_corners`, :func:`middle_xy`.
"""

from __future__ import annotations

import itertools

import numpy as np
from geometry_msgs.msg import Pose
from numpy.typing import NDArray

from mllmseg_ros.msg import Segmentation


def out_of(pose: Pose, points: NDArray[np.floating]) -> NDArray[np.float64]:
    """Take points (N, 3) out of the frame that has this pose, into the frame it is given in."""
    axis, shift = ([each.x, each.y, each.z] for each in (pose.orientation, pose.position))
    turn = 2 * np.cross(axis, points)
    return np.asarray(points + pose.orientation.w * turn + np.cross(axis, turn) + shift)


def box_corners(entry: Segmentation) -> NDArray[np.float64]:
    """The corners (8, 3) of an entry's box, in the entry's frame."""
    size = np.array([entry.box_size.x, entry.box_size.y, entry.box_size.z])
    return out_of(entry.box_pose, size * list(itertools.product((-0.5, 0.5), repeat=3)))


def middle_xy(points: NDArray[np.floating]) -> NDArray[np.float64]:
    """The middle (2,) of what points (N, 3) cover, seen along z."""
    return np.asarray((points[:, :2].min(axis=0) + points[:, :2].max(axis=0)) / 2)
