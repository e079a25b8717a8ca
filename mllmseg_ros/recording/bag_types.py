# SPDX-License-Identifier: Apache-2.0
"""Message classes of bags, by rosbags: the standard ones and our own, from our own .msg files."""

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

__all__ = [
    "TYPES",
    "compressed_message",
    "header_message",
    "image_message",
    "serialized",
    "typestore",
]

_OWN = ("Segmentation", "SegmentationArray")
# Defaults that definitions give, which rosbags does not keep.
_DEFAULTS = {"geometry_msgs/msg/Quaternion": {"w": 1.0}}


@cache
def typestore() -> Typestore:
    """The types of ROS 2 and ours.

    Raises:
        ValueError: if our message definitions are not installed beside the package.
    """
    store = get_typestore(Stores.LATEST)
    types: dict[str, Any] = {}
    for name in _OWN:
        text = _definition(name).read_text(encoding="utf-8")
        types |= get_types_from_msg(text, f"mllmseg_ros/msg/{name}")
    store.register(types)
    return store


def _definition(name: str) -> Path:
    """A .msg file of ours: in the sources' msg/, else in share/ of where we are installed."""
    for folder in Path(__file__).parents:
        for place in (folder / "msg", folder / "share" / "mllmseg_ros" / "msg"):
            if (place / f"{name}.msg").is_file():
                return place / f"{name}.msg"
    raise ValueError(f"{name}.msg is not installed; expected in share/mllmseg_ros/msg")


class MessageType:
    """A message class as rclpy's are: fields that are not given have their default."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, **fields: Any) -> Any:
        """Make a message."""
        store = typestore()
        fields = {**_DEFAULTS.get(self.name, {}), **fields}
        definition = store.fielddefs[self.name][1]
        empty = {name: _default(kind) for name, kind in definition if name not in fields}
        return store.types[self.name](**empty, **fields)

    def __getattr__(self, constant: str) -> Any:
        return getattr(typestore().types[self.name], constant)


def _default(kind: Any) -> Any:
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
    """Nanoseconds, not negative, as builtin_interfaces/Time."""
    return _TIME(sec=stamp_ns // 1_000_000_000, nanosec=stamp_ns % 1_000_000_000)


def header_message(stamp_ns: int, frame_id: str) -> Any:
    """std_msgs/Header."""
    return _HEADER(stamp=time_message(stamp_ns), frame_id=frame_id)


def image_message(pixels: NDArray[np.uint8], encoding: str, header: Any) -> Any:
    """sensor_msgs/Image of (H, W) or (H, W, channels), written as it is."""
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
    """sensor_msgs/CompressedImage: (H, W, 3) RGB as JPEG, (H, W) mono8 without loss as PNG."""
    if pixels.ndim == 3:
        _, data = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
        return encoded_message(data.tobytes(), "rgb8; jpeg compressed bgr8", header)
    _, data = cv2.imencode(".png", pixels)
    return encoded_message(data.tobytes(), "mono8; png compressed mono8", header)


def encoded_message(data: bytes, form: str, header: Any) -> Any:
    """sensor_msgs/CompressedImage of a JPEG or PNG file."""
    return _COMPRESSED(header=header, format=form, data=np.frombuffer(data, np.uint8))


def serialized(message: Any) -> memoryview:
    """The bytes of a message, as a bag holds them."""
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
