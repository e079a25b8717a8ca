# SPDX-License-Identifier: Apache-2.0
"""Find the cameras of a bag: image topics with their camera info and depth.

Camera info is expected beside the image topic, as in image_transport. Depth is the topic with the
same frame_id in its first message, or else the one with the most similar name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from os.path import commonpath
from pathlib import Path
from typing import Any

from mllmseg_ros.codecs.images import ENCODINGS
from mllmseg_ros.recording.bag_types import deserialize
from mllmseg_ros.recording.bounded_rosbags import Reader

__all__ = ["Camera", "find_cameras", "is_result_topic"]

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
INFO = "sensor_msgs/msg/CameraInfo"
# Namespaces of our results below an image topic: of the model, and of one compared with it.
NAMESPACES = ("mllmseg", "mllmseg_compare")
_RESULT_TOPIC = re.compile(
    rf".+/({'|'.join(NAMESPACES)})/(segmentations|mask/compressed|overlay/compressed)"
)
_DEPTH_ENCODINGS = ("16UC1", "32FC1")


@dataclass(frozen=True, kw_only=True)
class Camera:
    """Topics of a camera; "" for a missing one."""

    name: str  # image topic without the transport's suffix
    image: str
    info: str
    depth: str
    depth_info: str


def find_cameras(path: Path, reader: Reader, topics: Sequence[str]) -> list[Camera]:
    """Find the cameras of a bag.

    Args:
        path: path of the bag, for error messages.
        reader: open reader of the bag.
        topics: image topics to use; may be empty if there is one camera.

    Raises:
        ValueError: A topic does not exist, or topics are missing; names the available ones.
    """
    first: dict[str, Any] = {}  # first message of each image topic
    for connection in reader.connections:
        if connection.msgtype in (IMAGE, COMPRESSED) and not is_result_topic(connection.topic):
            with suppress(Exception):  # skip topics whose first message is damaged
                _, _, data = next(reader.messages([connection]))
                first[connection.topic] = deserialize(connection.msgtype, data)
    infos = {each.topic for each in reader.connections if each.msgtype == INFO}
    color = sorted(topic for topic, message in first.items() if _is_color(message))
    depths = sorted(topic for topic, message in first.items() if _is_depth(message))
    names = {_strip_transport(topic): topic for topic in reversed(color)}  # raw before compressed
    available = printable(", ".join(sorted(names)) or "none")
    if not topics and not names:
        contents = ", ".join(f"{each.topic} ({each.msgtype})" for each in reader.connections)
        raise ValueError(
            f"{path}: no topic with colour images; it contains: {printable(contents) or 'nothing'}"
        )
    if not topics and len(names) > 1:
        raise ValueError(f"{path}: several cameras; choose with --topics from: {available}")
    cameras = []
    for topic in topics or names:
        image = topic if topic in color else names.get(topic)
        if image is None:
            raise ValueError(f"{path}: no colour images on {topic}; available: {available}")
        name = _strip_transport(image)
        frame_id = first[image].header.frame_id
        aligned = [topic for topic in depths if first[topic].header.frame_id == frame_id]
        depth = max(aligned or depths, key=lambda d: len(commonpath([d, name])), default="")
        depth_info = _info_topic(depth) if depth else ""
        cameras.append(
            Camera(
                name=name,
                image=image,
                info=_info_topic(name) if _info_topic(name) in infos else "",
                depth=depth,
                depth_info=depth_info if depth_info in infos - {_info_topic(name)} else "",
            )
        )
    return cameras


def is_result_topic(topic: str) -> bool:
    """Whether a topic holds our results in an annotated bag."""
    return _RESULT_TOPIC.fullmatch(topic) is not None


def _strip_transport(topic: str) -> str:
    """Remove the transport's suffix from an image topic."""
    return topic.removesuffix("/compressed").removesuffix("/compressedDepth")


def _info_topic(topic: str) -> str:
    """Get the camera info topic of an image topic, as in image_transport."""
    return _strip_transport(topic).rpartition("/")[0] + "/camera_info"


def _is_depth(message: Any) -> bool:
    if hasattr(message, "format"):
        return "compressedDepth" in message.format
    return message.encoding in _DEPTH_ENCODINGS


def _is_color(message: Any) -> bool:
    if hasattr(message, "format"):
        return "compressedDepth" not in message.format
    return message.encoding in ENCODINGS


def printable(text: str) -> str:
    """Make text from a bag safe for a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:1000]
