# SPDX-License-Identifier: Apache-2.0
"""Which topics of a bag belong together: by their first messages and their names.

A camera's info lies beside its image topic, as image_transport expects it. Depth is that of the
same frame_id, else the one whose name has most in common with the image topic's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from os.path import commonpath
from pathlib import Path
from typing import Any

from rosbags.rosbag2 import Reader

from mllmseg_ros.codecs.images import ENCODINGS
from mllmseg_ros.recording.bag_types import typestore

__all__ = ["Camera", "cameras_of", "is_own"]

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
INFO = "sensor_msgs/msg/CameraInfo"
# Under an image topic, of one model and of the other: what we have written beside it.
SIDES = ("mllmseg", "mllmseg_compare")
_OWN = re.compile(rf".+/({'|'.join(SIDES)})/(segmentations|mask/compressed|overlay/compressed)")
_DEPTH_ENCODINGS = ("16UC1", "32FC1")


@dataclass(frozen=True, kw_only=True)
class Camera:
    """Topics that belong together; "" where there is none."""

    name: str  # image topic without the transport's suffix
    image: str
    info: str
    depth: str
    depth_info: str


def cameras_of(path: Path, reader: Reader, topics: Sequence[str]) -> list[Camera]:
    """Find the cameras of a bag.

    Args:
        path: of the bag, for messages.
        reader: of the bag, open.
        topics: image topics that are meant; none for the only one.

    Raises:
        ValueError: if it is not clear which images are meant; names what there is.
    """
    first: dict[str, Any] = {}  # of each image topic with a message
    for connection in reader.connections:
        if connection.msgtype in (IMAGE, COMPRESSED) and not is_own(connection.topic):
            with suppress(Exception):  # what is broken has no first message
                _, _, data = next(reader.messages([connection]))
                first[connection.topic] = typestore().deserialize_cdr(data, connection.msgtype)
    infos = {each.topic for each in reader.connections if each.msgtype == INFO}
    color = sorted(topic for topic, message in first.items() if _is_color(message))
    depths = sorted(topic for topic, message in first.items() if _is_depth(message))
    names = {_base(topic): topic for topic in reversed(color)}  # raw before compressed
    there = shown(", ".join(sorted(names)) or "none")
    if not topics and not names:
        held = ", ".join(f"{each.topic} ({each.msgtype})" for each in reader.connections)
        raise ValueError(
            f"{path}: no topic with colour images; it holds: {shown(held) or 'nothing'}"
        )
    if not topics and len(names) > 1:
        raise ValueError(f"{path}: several cameras; name with --topics which to look at: {there}")
    cameras = []
    for topic in topics or names:
        image = topic if topic in color else names.get(topic)
        if image is None:
            raise ValueError(f"{path}: no colour images on {topic}; there are: {there}")
        name = _base(image)
        own = [d for d in depths if first[d].header.frame_id == first[image].header.frame_id]
        depth = max(own or depths, key=lambda d: len(commonpath([d, name])), default="")
        depth_info = _beside(depth) if depth else ""
        cameras.append(
            Camera(
                name=name,
                image=image,
                info=_beside(name) if _beside(name) in infos else "",
                depth=depth,
                depth_info=depth_info if depth_info in infos - {_beside(name)} else "",
            )
        )
    return cameras


def is_own(topic: str) -> bool:
    """Whether a topic holds answers that we have written into a bag."""
    return _OWN.fullmatch(topic) is not None


def _base(topic: str) -> str:
    """An image topic without its transport."""
    return topic.removesuffix("/compressed").removesuffix("/compressedDepth")


def _beside(topic: str) -> str:
    """Where image_transport expects the camera info of an image topic."""
    return _base(topic).rpartition("/")[0] + "/camera_info"


def _is_depth(message: Any) -> bool:
    if hasattr(message, "format"):
        return "compressedDepth" in message.format
    return message.encoding in _DEPTH_ENCODINGS


def _is_color(message: Any) -> bool:
    if hasattr(message, "format"):
        return "compressedDepth" not in message.format
    return message.encoding in ENCODINGS


def shown(text: str) -> str:
    """What a bag says, fit for a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:1000]
