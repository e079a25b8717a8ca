# SPDX-License-Identifier: Apache-2.0
"""Apply poses of messages to points, for subscribers without tf2."""

from __future__ import annotations

import itertools

import numpy as np
from geometry_msgs.msg import Pose
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from mllmseg_ros.geometry.grasp import Grasp
from mllmseg_ros.msg import Segmentation
from mllmseg_ros.ros.messages.segmentation_msgs import point_message, quaternion_message

__all__ = ["box_corners", "extent_center_xy", "tool_pose", "transform_points"]


def transform_points(pose: Pose, points: NDArray[np.floating]) -> NDArray[np.float64]:
    """Transform points (N, 3) from the frame that has this pose to the frame of the pose."""
    quaternion, origin = pose.orientation, pose.position
    rotation = Rotation.from_quat([quaternion.x, quaternion.y, quaternion.z, quaternion.w])
    return np.asarray(rotation.apply(points) + np.array([origin.x, origin.y, origin.z]))


def box_corners(entry: Segmentation) -> NDArray[np.float64]:
    """Return the corners (8, 3) of an entry's box, m, in the entry's frame."""
    size = np.array([entry.box_size.x, entry.box_size.y, entry.box_size.z])
    return transform_points(entry.box_pose, size * list(itertools.product((-0.5, 0.5), repeat=3)))


def extent_center_xy(points: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the centre (2,) of the extent of points (N, 3) in x and y."""
    return np.asarray((points[:, :2].min(axis=0) + points[:, :2].max(axis=0)) / 2)


def tool_pose(grasp: Grasp) -> Pose:
    """Return the pose of the hand for a grasp, in the frame of the grasp, whose z points up.

    The hand's origin lies between the fingertips. Its z axis points at the object (down), its y
    axis along the closing direction, as for the hands of Franka.
    """
    cos, sin = np.cos(grasp.yaw_rad), np.sin(grasp.yaw_rad)
    axes = np.array([[-sin, cos, 0.0], [cos, sin, 0.0], [0.0, 0.0, -1.0]])
    return Pose(position=point_message(grasp.tip_m), orientation=quaternion_message(axes))


# Former names, for programs copied from the examples.
out_of, middle_xy = transform_points, extent_center_xy
