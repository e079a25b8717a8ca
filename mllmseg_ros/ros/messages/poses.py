# SPDX-License-Identifier: Apache-2.0
"""Poses of messages applied to points, for who listens to the node without tf2."""

from __future__ import annotations

import itertools

import numpy as np
from geometry_msgs.msg import Pose
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from mllmseg_ros.geometry.grasp import Grasp
from mllmseg_ros.msg import Segmentation
from mllmseg_ros.ros.messages.segmentation_msgs import point_message, quaternion_message

__all__ = ["box_corners", "middle_xy", "out_of", "tool_pose"]


def out_of(pose: Pose, points: NDArray[np.floating]) -> NDArray[np.float64]:
    """Take points (N, 3) out of the frame that has this pose, into the frame it is given in."""
    turn, shift = pose.orientation, pose.position
    rotation = Rotation.from_quat([turn.x, turn.y, turn.z, turn.w])
    return np.asarray(rotation.apply(points) + np.array([shift.x, shift.y, shift.z]))


def box_corners(entry: Segmentation) -> NDArray[np.float64]:
    """The corners (8, 3) of an entry's box, in the entry's frame."""
    size = np.array([entry.box_size.x, entry.box_size.y, entry.box_size.z])
    return out_of(entry.box_pose, size * list(itertools.product((-0.5, 0.5), repeat=3)))


def middle_xy(points: NDArray[np.floating]) -> NDArray[np.float64]:
    """The middle (2,) of what points (N, 3) cover, seen along z."""
    return np.asarray((points[:, :2].min(axis=0) + points[:, :2].max(axis=0)) / 2)


def tool_pose(grasp: Grasp) -> Pose:
    """The pose of a hand that holds a thing so, in the frame of the grasp, whose z is up.

    The hand's origin lies between the fingertips, its z points at the thing (down), its y along the
    closing direction, as in the hands of Franka.
    """
    cos, sin = np.cos(grasp.yaw_rad), np.sin(grasp.yaw_rad)
    axes = np.array([[-sin, cos, 0.0], [cos, sin, 0.0], [0.0, 0.0, -1.0]])
    return Pose(position=point_message(grasp.tip_m), orientation=quaternion_message(axes))
