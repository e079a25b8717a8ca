# SPDX-License-Identifier: Apache-2.0
"""Results as markers for RViz: a box around the visible part of each instance, its name above.

Every array begins with DELETEALL, so that no stale marker remains.
"""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import Vector3
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from mllmseg_ros.drawing.overlay import choose_colors
from mllmseg_ros.drawing.text import transliterate
from mllmseg_ros.geometry.instances import distance_m
from mllmseg_ros.ros.messages.segmentation_msgs import point_message, pose_message
from mllmseg_ros.ros.node.result import Result

__all__ = ["marker_array", "no_markers"]

_THINNEST_M = 0.004  # a box without volume does not show
_TEXT_HEIGHT_M, _TEXT_LIFT_M = 0.025, 0.03
_TEXT_SPACE = 0.4  # between two words, of the height
_BOX_ALPHA = 0.35


def marker_array(result: Result) -> MarkerArray:
    """Build the markers of a result, in the frame of its positions."""
    header, frame = result.position_header, result.instance_set.frame
    # Above it in the image, where y points down; in any other frame z points up (REP 103).
    up_axis, up = (1, -1.0) if frame is None else (2, 1.0)
    markers = list(no_markers(header).markers)
    colors = choose_colors([each.track_id for each in result.instances])
    for index, (instance, color) in enumerate(zip(result.instances, colors, strict=True)):
        position = instance.position
        if position is None:
            continue
        box = _marker(header, "boxes", index, Marker.CUBE, color, _BOX_ALPHA)
        box.pose = pose_message(header, position).pose
        x, y, z = np.maximum(position.box_size, _THINNEST_M).tolist()
        box.scale = Vector3(x=x, y=y, z=z)
        name = _marker(header, "names", index, Marker.TEXT_VIEW_FACING, color, 1.0)
        above = position.box_center.copy()
        height_m = np.abs(position.box_axes[up_axis]) @ position.box_size
        above[up_axis] += up * (height_m / 2 + _TEXT_LIFT_M)
        name.pose.position = point_message(above)
        # RViz spaces words by x, and has ASCII letters alone.
        name.scale = Vector3(x=_TEXT_SPACE * _TEXT_HEIGHT_M, z=_TEXT_HEIGHT_M)
        expression = transliterate(instance.segmentation.expression)
        name.text = f"{expression} {distance_m(instance, frame):.2f} m"
        markers += [box, name]
    return MarkerArray(markers=markers)


def no_markers(header: Header) -> MarkerArray:
    """Build the array that deletes all."""
    return MarkerArray(markers=[Marker(header=header, action=Marker.DELETEALL)])


def _marker(
    header: Header, namespace: str, index: int, kind: int, rgb: tuple[int, int, int], alpha: float
) -> Marker:
    red, green, blue = (channel / 255 for channel in rgb)
    marker = Marker(header=header, ns=namespace, id=index, type=kind, action=Marker.ADD)
    marker.pose.orientation.w = 1.0
    marker.color = ColorRGBA(r=red, g=green, b=blue, a=alpha)
    return marker
