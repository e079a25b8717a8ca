# SPDX-License-Identifier: Apache-2.0
"""Find the cameras of a bag: image topics with their camera info and depth.

Camera info is expected beside the image topic, as in image_transport, or below it. Of several
topics that may be depth, one whose name says so is taken, then one that can be decoded, then one
with the same frame_id, then the one with the most similar name. What a name says to be something
else is not depth, regardless of its encoding.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from os.path import commonpath
from pathlib import Path
from typing import Any

from rosbags.interfaces import Connection

from mllmseg_ros.codecs.camera_info import info_topics
from mllmseg_ros.codecs.images import (
    DEPTH_ENCODINGS,
    describe_unknown_encoding,
    find_encoding,
    format_encoding,
    is_16_bit_grey_png,
    is_compressed_depth,
    is_jpeg,
)
from mllmseg_ros.frame import bare_frame_id
from mllmseg_ros.recording.bag_types import deserialize
from mllmseg_ros.recording.bounded_rosbags import Reader

__all__ = ["Camera", "find_cameras", "is_result_topic", "printable"]

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
INFO = "sensor_msgs/msg/CameraInfo"
# Namespaces of our results below an image topic: of the model, and of one compared with it.
NAMESPACES = ("mllmseg", "mllmseg_compare")
_RESULT_TOPIC = re.compile(
    rf".+/({'|'.join(NAMESPACES)})/(segmentations|mask/compressed|overlay/compressed)"
)
# OpenCV's types of one channel that are not grey images: depth, also where it cannot be decoded.
_DEPTH_TYPE = re.compile(r"(16U|16S|32S|32F|64F)C1", re.IGNORECASE)
# Grey images that are depth where their topic says so, and something else has colours.
_DOUBTFUL_ENCODINGS = ("mono8", "mono16", "8UC1")
# Beginnings of words of a topic's name: what has an encoding of depth and is none, although it may
# belong to depth (depth/confidence), and what depth may belong to (aligned_depth_to_infra1).
_NO_DEPTH = ("confidence", "disparity", "temperature", "label", "semantic", "segment", "amplitude")
_OTHER_CAMERA = ("thermal", "infra", "lwir", "flir", "boson", "lepton")

_MAX_TRIED = 16  # messages that are looked at to find out what a topic holds


@dataclass(frozen=True, kw_only=True)
class Camera:
    """Topics of a camera; "" for a missing one."""

    name: str  # image topic without the transport's suffix
    image: str
    info: str
    depth: str
    depth_info: str
    other_depths: tuple[str, ...] = ()  # topics with encodings of depth, not taken
    # Their first messages, for images recorded before; None without.
    first_info: Any = None
    first_depth_info: Any = None


def find_cameras(path: Path, reader: Reader, topics: Sequence[str]) -> list[Camera]:
    """Find the cameras of a bag.

    Args:
        path: path of the bag, for error messages.
        reader: open reader of the bag.
        topics: image topics to use; may be empty if there is one camera.

    Raises:
        ValueError: A topic does not exist, or topics are missing; names the available ones.
    """
    topics = [f"/{topic.lstrip('/')}" for topic in topics]
    first: dict[str, Any] = {}  # first message of each image topic
    empty: dict[str, str] = {}  # image topics without a readable message, and that in words
    infos: dict[str, Any] = {}  # first message of each camera info topic
    for connection in reader.connections:
        is_info = connection.msgtype == INFO
        if not is_info and (
            connection.msgtype not in (IMAGE, COMPRESSED) or is_result_topic(connection.topic)
        ):
            continue
        if is_info:
            infos[connection.topic] = None
        message = _first_message(reader, connection)
        if message is not None:
            (infos if is_info else first)[connection.topic] = message
        elif not is_info:
            kind = "readable message" if connection.msgcount else "message"
            empty[connection.topic] = f"{printable(connection.topic)} has no {kind}"
    color = sorted(topic for topic, message in first.items() if not _refusal(topic, message))
    depths = sorted(topic for topic, message in first.items() if _is_depth(message))
    doubtful = {each for each in color if _may_be_depth(each, first[each])} - set(topics)
    if doubtful != set(color):
        color, depths = sorted(set(color) - doubtful), sorted({*depths, *doubtful})
    names = {_strip_transport(topic): topic for topic in reversed(color)}  # raw before compressed
    available = printable(", ".join(sorted(names)) or "none")
    if not topics and not names:
        reasons = [text for topic in sorted(first) if (text := _refusal(topic, first[topic]))]
        reasons += [empty[topic] for topic in sorted(empty)]
        if reasons:
            raise ValueError(f"{path}: no topic with colour images; {'; '.join(reasons)}")
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
            reason = _refusal(topic, first[topic]) if topic in first else empty.get(topic, "")
            raise ValueError(
                f"{path}: no colour images on {topic}; {reason or f'available: {available}'}"
            )
        name = _strip_transport(image)
        frame_id = bare_frame_id(first[image].header.frame_id)
        depth = max(
            (each for each in depths if _says_depth(each) >= 0),
            key=partial(_rank_depth, first, name=name, frame_id=frame_id),
            default="",
        )
        info = _find_info(name, infos)
        depth_info = _find_info(depth, infos.keys() - {info}) if depth else ""
        cameras.append(
            Camera(
                name=name,
                image=image,
                info=info,
                depth=depth,
                depth_info=depth_info,
                other_depths=tuple(each for each in depths if each != depth),
                first_info=infos.get(info),
                first_depth_info=infos.get(depth_info),
            )
        )
    return cameras


def _first_message(reader: Reader, connection: Connection) -> Any:
    """Get the first message, of images the first with an encoding; None without.

    A driver may publish an empty image before the camera has started.
    """
    found = None
    with suppress(Exception):  # the rest is damaged
        for _, _, data in islice(reader.messages([connection]), _MAX_TRIED):
            try:
                message = deserialize(connection.msgtype, data)
            except ValueError:
                continue
            if getattr(message, "encoding", "-"):
                return message
            found = found or message
    return found


def is_result_topic(topic: str) -> bool:
    """Whether a topic holds our results in an annotated bag."""
    return _RESULT_TOPIC.fullmatch(topic) is not None


def _rank_depth(
    first: dict[str, Any], depth: str, *, name: str, frame_id: str
) -> tuple[int, bool, bool, int]:
    """Rank a topic as the depth of the camera with this name and frame; the largest is best."""
    return (
        _says_depth(depth),
        not _is_undecodable_depth(first[depth]),
        bare_frame_id(first[depth].header.frame_id) == frame_id,
        len(commonpath([depth, name])),
    )


def _says_depth(topic: str) -> int:
    """Whether a topic's name says that it is depth: 1, something else: -1, or nothing: 0."""
    for name in reversed(_strip_transport(topic).lower().split("/")):
        words = re.split(r"[^a-z]+", name)
        if any(word.startswith(_NO_DEPTH) or word == "mask" for word in words):
            return -1
        if "depth" in name:
            return 1
        if any(word.startswith(_OTHER_CAMERA) or word == "ir" for word in words):
            return -1
    return 0


def _strip_transport(topic: str) -> str:
    """Remove the transport's suffix from an image topic."""
    return topic.removesuffix("/compressed").removesuffix("/compressedDepth")


def _find_info(topic: str, infos: Collection[str]) -> str:
    """Find the camera info topic of an image topic, "" if there is none."""
    return next((each for each in info_topics(_strip_transport(topic)) if each in infos), "")


def _encoding(message: Any) -> str:
    """Encoding of an image, "" if it is compressed and its format does not name one."""
    return format_encoding(message.format) if hasattr(message, "format") else str(message.encoding)


def _is_depth(message: Any) -> bool:
    if hasattr(message, "format") and is_compressed_depth(message):
        return True
    return _DEPTH_TYPE.fullmatch(_encoding(message)) is not None


def _may_be_depth(topic: str, message: Any) -> bool:
    if "depth" not in topic.lower():
        return False
    is_png = hasattr(message, "format") and is_16_bit_grey_png(message)
    return is_png or _encoding(message) in _DOUBTFUL_ENCODINGS


def _refusal(topic: str, message: Any) -> str:
    """Why an image topic has no colour images; "" if it has."""
    reason = ""
    if _is_depth(message):
        reason = "depth"
    elif not hasattr(message, "format") and find_encoding(message.encoding) is None:
        reason = describe_unknown_encoding(message.encoding)
    return f"{printable(topic)} has {reason}" if reason else ""


def _is_undecodable_depth(message: Any) -> bool:
    """Whether a depth topic cannot be decoded, so that another one is better."""
    if hasattr(message, "format"):
        return is_jpeg(message)
    return message.encoding not in DEPTH_ENCODINGS


def printable(text: str) -> str:
    """Make text from a bag safe for a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:1000]
