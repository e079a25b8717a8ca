# SPDX-License-Identifier: Apache-2.0
"""Build messages of positions, and the types that segmentation messages are built from."""

from __future__ import annotations

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, PointStamped, Pose, PoseStamped, Quaternion, Vector3
from numpy.typing import NDArray
from sensor_msgs.msg import RegionOfInterest
from std_msgs.msg import Header

from mllmseg_ros.codecs import segmentations
from mllmseg_ros.codecs.segmentations import MessageTypes, segmentation_from_message
from mllmseg_ros.geometry.localization import Position
from mllmseg_ros.msg import Segmentation, SegmentationArray
from mllmseg_ros.ros.messages.image_msgs import image_from_array

__all__ = [
    "MESSAGE_TYPES",
    "centroid_message",
    "point_message",
    "pose_message",
    "quaternion_message",
    "segmentation_from_message",
]

MESSAGE_TYPES = MessageTypes(
    SegmentationArray=SegmentationArray,
    Segmentation=Segmentation,
    RegionOfInterest=RegionOfInterest,
    Duration=Duration,
    Point=Point,
    Pose=Pose,
    Quaternion=Quaternion,
    Vector3=Vector3,
    image=image_from_array,
)


def centroid_message(header: Header, position: Position) -> PointStamped:
    """Build the message of a target's position.

    Args:
        header: with the frame of the position.
        position: position of the target.
    """
    return PointStamped(header=header, point=point_message(position.mean))


def pose_message(header: Header, position: Position) -> PoseStamped:
    """Build the message of the pose of a target's box.

    Args:
        header: with the frame of the position.
        position: position of the target.
    """
    return PoseStamped(header=header, pose=segmentations.box_pose_message(MESSAGE_TYPES, position))


def point_message(xyz: NDArray[np.float64]) -> Point:
    """Convert a point (3,), m, to a message."""
    return segmentations.point_message(MESSAGE_TYPES, xyz)


def quaternion_message(rotation: NDArray[np.float64]) -> Quaternion:
    """Convert a rotation (3, 3) to a unit quaternion with w >= 0."""
    return segmentations.quaternion_message(MESSAGE_TYPES, rotation)
