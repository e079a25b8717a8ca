# SPDX-License-Identifier: Apache-2.0
"""Bags of the sample frames, as a recorder would have written them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rosbags.rosbag2 import StoragePlugin, Writer

from mllmseg_ros.recording.bag_types import (
    MessageType,
    compressed_message,
    header_message,
    image_message,
    serialize,
    typestore,
)

FRAMES = Path(__file__).parents[3] / "mllmseg_ros" / "assets" / "frames"
FIRST_NS, STEP_NS = 1_700_000_000_000_000_000, 100_000_000
LAST_NS = (2**31 - 1) * 1_000_000_000  # that a stamp can name
FRAME_ID = "camera_color_optical_frame"
FOCAL_PX, DISTANCE_M = 500.0, 0.8


def sample_frames(n: int, width: int = 320) -> list[NDArray[np.uint8]]:
    """RGB images of the simulated tabletop, smaller than they are stored."""
    images = []
    for index in range(n):
        bgr = cv2.imread(str(FRAMES / f"frame_{index % 6}.png"))
        height = bgr.shape[0] * width // bgr.shape[1]
        small = cv2.resize(bgr, (width, height), interpolation=cv2.INTER_AREA)
        images.append(np.ascontiguousarray(small[..., ::-1]))
    return images


def write_bag(
    folder: Path,
    images: Sequence[NDArray[np.uint8]],
    *,
    storage: str = "mcap",
    compressed: bool = False,
    depth: bool = True,
    depth_frame_id: str = FRAME_ID,
    moves: bool = False,
    first: int = 0,
) -> Path:
    """A camera's topics and one of a type that has nothing to do with images, from image `first`.

    Depth comes 5 ms after its image and is recorded after it; the last image has none. A depth
    camera in a frame of its own is 0.1 m behind the colour camera, or moves on by 0.1 m per image;
    then somebody's clock is years ahead for two transforms after the first one.
    """
    plugin = StoragePlugin.MCAP if storage == "mcap" else StoragePlugin.SQLITE3
    with Writer(folder, version=8, storage_plugin=plugin) as writer:

        def topic(name: str, kind: str):
            return writer.add_connection(name, kind, typestore=typestore())

        base = "/camera/color/image_raw"
        kind = "sensor_msgs/msg/CompressedImage" if compressed else "sensor_msgs/msg/Image"
        image_topic = topic(base + "/compressed" * compressed, kind)
        infos = topic("/camera/color/camera_info", "sensor_msgs/msg/CameraInfo")
        depths = topic("/camera/depth/image", "sensor_msgs/msg/Image") if depth else None
        own_frame = depth_frame_id != FRAME_ID
        if own_frame:
            lens = topic("/camera/depth/camera_info", "sensor_msgs/msg/CameraInfo")
            tf = topic("/tf" if moves else "/tf_static", "tf2_msgs/msg/TFMessage")
            stray_ns = (LAST_NS - 1_000_000_000, LAST_NS) if moves else ()
            for stamp_ns in (FIRST_NS, *stray_ns):
                writer.write(tf, FIRST_NS, serialize(behind(depth_frame_id, stamp_ns)))
        words = topic("/chatter", "std_msgs/msg/String")
        for index, rgb in enumerate(images, first):
            stamp_ns = FIRST_NS + index * STEP_NS
            height, width = rgb.shape[:2]
            header = header_message(stamp_ns, FRAME_ID)
            image = compressed_message(rgb, header) if compressed else None
            writer.write(
                image_topic,
                stamp_ns + 1_000_000,
                serialize(image or image_message(rgb, "rgb8", header)),
            )
            k = np.array([FOCAL_PX, 0, width / 2, 0, FOCAL_PX, height / 2, 0, 0, 1])
            info = MessageType("sensor_msgs/msg/CameraInfo")(
                header=header, height=height, width=width, distortion_model="plumb_bob", k=k
            )
            writer.write(infos, stamp_ns + 1_000_000, serialize(info))
            if own_frame and moves:
                pose = behind(depth_frame_id, stamp_ns, 0.1 * (index + 1))
                writer.write(tf, stamp_ns + 1_000_000, serialize(pose))
            if own_frame:
                writer.write(lens, stamp_ns + 1_000_000, serialize(info))
            if depths is not None and index < first + len(images) - 1:
                metres = np.full((height, width), DISTANCE_M, np.float32)
                late = header_message(stamp_ns + 5_000_000, depth_frame_id)
                message = image_message(metres, "32FC1", late)
                writer.write(depths, stamp_ns + 40_000_000, serialize(message))
            text = MessageType("std_msgs/msg/String")(data=f"image {index}")
            writer.write(words, stamp_ns + 50_000_000, serialize(text))
    return folder


def behind(frame_id: str, stamp_ns: int, by_m: float = 0.1):
    """A transform: this frame's origin is so far behind the colour camera's."""
    place = MessageType("geometry_msgs/msg/Vector3")(x=0.0, y=0.0, z=-by_m)
    turn = MessageType("geometry_msgs/msg/Quaternion")(w=1.0)
    transform = MessageType("geometry_msgs/msg/Transform")(translation=place, rotation=turn)
    stamped = MessageType("geometry_msgs/msg/TransformStamped")(
        header=header_message(stamp_ns, FRAME_ID), child_frame_id=frame_id, transform=transform
    )
    return MessageType("tf2_msgs/msg/TFMessage")(transforms=[stamped])
