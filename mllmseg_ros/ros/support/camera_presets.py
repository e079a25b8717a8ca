# SPDX-License-Identifier: Apache-2.0
"""Topics of usual cameras, for ``preset:=`` of the launch files.

The names are those of the drivers' launch files with their default camera name; docs/your_camera.md
has the versions that they were read from, and how to start each driver.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["PRESETS"]

# Preset -> argument of the launch file -> topic.
PRESETS: Mapping[str, Mapping[str, str]] = {
    "realsense": {
        "image": "/camera/camera/color/image_raw",
        "camera_info": "/camera/camera/color/camera_info",
        "depth": "/camera/camera/aligned_depth_to_color/image_raw",
        "depth_camera_info": "/camera/camera/aligned_depth_to_color/camera_info",
    },
    "oakd": {
        "image": "/oak/rgb/image_raw",
        "camera_info": "/oak/rgb/camera_info",
        "depth": "/oak/stereo/image_raw",
        "depth_camera_info": "/oak/stereo/camera_info",
    },
    "zed": {
        "image": "/zed/zed_node/rgb/color/rect/image",
        "camera_info": "/zed/zed_node/rgb/color/rect/camera_info",
        "depth": "/zed/zed_node/depth/depth_registered",
        "depth_camera_info": "/zed/zed_node/depth/camera_info",
    },
    "orbbec": {
        "image": "/camera/color/image_raw",
        "camera_info": "/camera/color/camera_info",
        "depth": "/camera/depth/image_raw",
        "depth_camera_info": "/camera/depth/camera_info",
    },
    "gazebo": {
        "image": "/rgbd_camera/image",
        "camera_info": "/rgbd_camera/camera_info",
        "depth": "/rgbd_camera/depth_image",
        "depth_camera_info": "/rgbd_camera/camera_info",
    },
}
