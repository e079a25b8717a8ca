# SPDX-License-Identifier: Apache-2.0
"""Message classes for rosbags: those of ROS 2, and ours from the package's .msg files."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from mllmseg_ros.codecs.segmentations import MessageTypes
from mllmseg_ros.error_text import one_line
from mllmseg_ros.files import read_text

__all__ = [
    "TYPES",
    "compressed_message",
    "deserialize",
    "header_message",
    "image_message",
    "serialize",
    "typestore",
]

_OUR_MESSAGES = ("Segmentation", "SegmentationArray")
# Defaults in message definitions, which rosbags drops.
_DEFAULTS = {"geometry_msgs/msg/Quaternion": {"w": 1.0}}


@cache
def typestore() -> Typestore:
    """Get the types of ROS 2 and ours.

    Raises:
        ValueError: Our message definitions are not installed.
    """
    store = get_typestore(Stores.LATEST)
    types: dict[str, Any] = {}
    for name in _OUR_MESSAGES:
        text = read_text(_find_definition(name))
        types |= get_types_from_msg(text, f"mllmseg_ros/msg/{name}")
    store.register(types)
    return store


def deserialize(msgtype: str, data: bytes) -> Any:
    """Deserialize a message of a bag.

    Raises:
        ValueError: The type is not known, or the bytes are malformed.
    """
    try:
        return typestore().deserialize_cdr(data, msgtype)
    except MemoryError:
        raise
    except Exception as error:  # rosbags raises all kinds for malformed bytes
        raise ValueError(f"malformed {msgtype[:64]} ({one_line(error, max_chars=200)})") from error


def _find_definition(name: str) -> Path:
    """Find one of our .msg files: in the source tree, or in the installed share/."""
    for folder in Path(__file__).parents:
        for place in (folder / "msg", folder / "share" / "mllmseg_ros" / "msg"):
            if (place / f"{name}.msg").is_file():
                return place / f"{name}.msg"
    raise ValueError(f"{name}.msg is not installed; expected in share/mllmseg_ros/msg")


class MessageType:
    """A message class like those of rclpy: omitted fields have their default."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, **fields: Any) -> Any:
        """Create a message."""
        store = typestore()
        fields = {**_DEFAULTS.get(self.name, {}), **fields}
        definition = store.fielddefs[self.name][1]
        defaults = {name: _default(kind) for name, kind in definition if name not in fields}
        return store.types[self.name](**defaults, **fields)

    def __getattr__(self, constant: str) -> Any:
        return getattr(typestore().types[self.name], constant)


def _default(kind: Any) -> Any:
    """Get the default of a field from its type."""
    node, details = kind
    if node == Nodetype.BASE:
        return "" if details[0] == "string" else False if details[0] == "bool" else 0
    if node == Nodetype.NAME:
        return MessageType(details)()
    (item, item_details), length = details
    if item == Nodetype.BASE and item_details[0] != "string":
        return np.zeros(length if node == Nodetype.ARRAY else 0, np.dtype(item_details[0]))
    return [_default((item, item_details)) for _ in range(length if node == Nodetype.ARRAY else 0)]


_TIME = MessageType("builtin_interfaces/msg/Time")
_HEADER = MessageType("std_msgs/msg/Header")
_IMAGE = MessageType("sensor_msgs/msg/Image")
_COMPRESSED = MessageType("sensor_msgs/msg/CompressedImage")


def time_message(stamp_ns: int) -> Any:
    """Create builtin_interfaces/Time from nanoseconds (not negative)."""
    return _TIME(sec=stamp_ns // 1_000_000_000, nanosec=stamp_ns % 1_000_000_000)


def header_message(stamp_ns: int, frame_id: str) -> Any:
    """Create std_msgs/Header."""
    return _HEADER(stamp=time_message(stamp_ns), frame_id=frame_id)


def image_message(pixels: NDArray[np.uint8], encoding: str, header: Any) -> Any:
    """Create sensor_msgs/Image from pixels (H, W) or (H, W, channels)."""
    height, width = pixels.shape[:2]
    return _IMAGE(
        header=header,
        height=height,
        width=width,
        encoding=encoding,
        step=pixels.nbytes // height if height else 0,
        data=np.ascontiguousarray(pixels).reshape(-1).view(np.uint8),
    )


def compressed_message(pixels: NDArray[np.uint8], header: Any) -> Any:
    """Create sensor_msgs/CompressedImage: RGB (H, W, 3) as JPEG, mono8 (H, W) as PNG."""
    if pixels.ndim == 3:
        _, data = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
        return encoded_message(data.tobytes(), "rgb8; jpeg compressed bgr8", header)
    _, data = cv2.imencode(".png", pixels)
    return encoded_message(data.tobytes(), "mono8; png compressed mono8", header)


def encoded_message(data: bytes, format_text: str, header: Any) -> Any:
    """Create sensor_msgs/CompressedImage from the contents of a JPEG or PNG file."""
    return _COMPRESSED(header=header, format=format_text, data=np.frombuffer(data, np.uint8))


def serialize(message: Any) -> memoryview:
    """Serialize a message as CDR, as stored in bags."""
    return typestore().serialize_cdr(message, message.__msgtype__)


TYPES = MessageTypes(
    SegmentationArray=MessageType("mllmseg_ros/msg/SegmentationArray"),
    Segmentation=MessageType("mllmseg_ros/msg/Segmentation"),
    RegionOfInterest=MessageType("sensor_msgs/msg/RegionOfInterest"),
    Duration=MessageType("builtin_interfaces/msg/Duration"),
    Point=MessageType("geometry_msgs/msg/Point"),
    Pose=MessageType("geometry_msgs/msg/Pose"),
    Quaternion=MessageType("geometry_msgs/msg/Quaternion"),
    Vector3=MessageType("geometry_msgs/msg/Vector3"),
    image=image_message,
)
