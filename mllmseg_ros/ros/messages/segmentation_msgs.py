# SPDX-License-Identifier: Apache-2.0
"""Segmentation messages and positions, to and from arrays."""

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
    """Build the message that says where a target is.

    Args:
        header: with the frame of the position.
        position: the target's.
    """
    return PointStamped(header=header, point=point_message(position.mean))


def pose_message(header: Header, position: Position) -> PoseStamped:
    """Build the message that says where a target's box is and how it lies.

    Args:
        header: with the frame of the position.
        position: the target's.
    """
    return PoseStamped(header=header, pose=segmentations.box_pose_message(MESSAGE_TYPES, position))


def point_message(xyz: NDArray[np.float64]) -> Point:
    """A place (3,), m."""
    return segmentations.point_message(MESSAGE_TYPES, xyz)


def quaternion_message(rotation: NDArray[np.float64]) -> Quaternion:
    """The rotation (3, 3) as a unit quaternion with w >= 0."""
    return segmentations.quaternion_message(MESSAGE_TYPES, rotation)
