# SPDX-License-Identifier: Apache-2.0
"""Check the machine, the ROS 2 installation and the camera's topics.

    ros2 run mllmseg_ros doctor --model MLLMSeg_InternVL2_5_1B_RES \
        --ros-args -r image:=/camera/color/image_raw -r camera_info:=/camera/color/camera_info

Topics are remapped like those of the node.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from numpy.typing import NDArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.logging import LoggingSeverity
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.utilities import get_rmw_implementation_identifier, remove_ros_args
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from mllmseg_ros.codecs.camera_info import info_topics, is_rectified_topic, read_camera_info
from mllmseg_ros.codecs.depth_pairing import DepthPairing
from mllmseg_ros.doctor.machine import (
    Finding,
    check_machine,
    fail,
    measure_shared_memory,
    ok,
    print_findings,
    warn,
)
from mllmseg_ros.frame import Frame
from mllmseg_ros.geometry.transforms import TransformError
from mllmseg_ros.ros.messages.cv_bridge_conversion import choose_rgb_conversion
from mllmseg_ros.ros.messages.image_msgs import (
    depth_from_compressed,
    depth_from_image,
    nanoseconds,
    rgb_from_compressed,
    rgb_from_image,
)
from mllmseg_ros.ros.support import large_images
from mllmseg_ros.ros.support.tf import Transforms, matrix_at
from mllmseg_ros.ros.support.topic_types import describe_wrong_types
from mllmseg_ros.ros.support.transports import transport_topic

_SECONDS = 5.0
_LATE_S = 0.5  # how long after an image its depth and camera info may come
_MAX_AGE_S = 1.0  # default of the node's max_age
_TOLERANCE_NS = 20_000_000  # default of the node's depth_tolerance
_KEPT = 64  # depth images and camera infos
_SHARED_MEMORY = 100e6  # bytes: the profile's segment, for a few processes
_UDP_BUFFER = 2_000_000  # bytes


def main(args: list[str] | None = None) -> int:
    """Print a line per finding; return 1 if a check fails."""
    parser = argparse.ArgumentParser(
        prog="doctor",
        description="Check whether the node can run on this machine and receives its input.",
    )
    parser.add_argument("--model", help="checkpoint folder or name; default: the embedded model")
    parser.add_argument("--device", help="auto, cpu, cuda, cuda:N")
    parser.add_argument("--dtype", help="auto, float32, bfloat16, float16")
    parser.add_argument("--quantize", help="auto, none, int8, int4, fp8")
    parser.add_argument(
        "--seconds",
        type=float,
        default=_SECONDS,
        help="time to listen to the topics, s; 0: do not listen",
    )
    command_line = sys.argv if args is None else ["doctor", *args]
    arguments = parser.parse_args(remove_ros_args(command_line)[1:])
    status = print_findings(
        check_machine(arguments.model, arguments.device, arguments.dtype, arguments.quantize)
    )
    rclpy.init(args=command_line)
    try:
        status |= print_findings([_check_cv_bridge(), *_check_transport()])
        if arguments.seconds > 0:
            status |= print_findings(_check_topics(arguments.seconds))
    finally:
        rclpy.try_shutdown()
    return status


def _check_cv_bridge() -> Finding:
    _, text = choose_rgb_conversion()
    if "failed" not in text:
        return ok("cv_bridge", text)
    return warn(
        "cv_bridge", f"{text}; it was built for another NumPy: install that version, or ignore this"
    )


def _check_transport() -> Iterator[Finding]:
    """Check the settings without which large images get lost."""
    middleware = get_rmw_implementation_identifier()
    yield ok("middleware", f"{middleware}, ROS_DISTRO {os.environ.get('ROS_DISTRO', 'not set')}")
    variable, profile = large_images.find_profile()
    given = os.environ.get(variable)
    transports = os.environ.get("FASTDDS_BUILTIN_TRANSPORTS", "")
    if "fastrtps" not in middleware or (transports.startswith("UDP") and not given):
        buffer = _read_udp_buffer_size()
        if buffer is not None and buffer < _UDP_BUFFER:
            yield warn(
                "large images",
                f"the kernel's receive buffer has {buffer} bytes; "
                f"sudo sysctl -w net.core.rmem_max={_UDP_BUFFER * 10}",
            )
        else:
            yield ok("large images", "the kernel's receive buffer is large enough")
        return
    if given and not Path(given).is_file():
        yield fail("large images", f"{variable} names {given}, which does not exist")
    elif given or transports.startswith("LARGE_DATA"):
        yield ok("large images", f"{variable}={given}" if given else "LARGE_DATA")
    else:
        yield warn(
            "large images",
            "Fast DDS loses them with its defaults; here and where the camera is started: "
            f"export {variable}={profile}",
        )
    free = measure_shared_memory()
    if free is not None and free < _SHARED_MEMORY:
        yield warn(
            "shared memory",
            f"{free / 1e6:.0f} MB free in /dev/shm; in a container start it with --ipc=host",
        )


def _read_udp_buffer_size() -> int | None:
    try:
        return int(Path("/proc/sys/net/core/rmem_max").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


class _Topic:
    """Subscription that counts messages and keeps the newest ones."""

    def __init__(self, node: Node, kind: type, topic: str, n_kept: int = 1) -> None:
        self.name = str(node.resolve_topic_name(topic))
        self.count, self.age_s = 0, 0.0
        self.messages: deque[Any] = deque(maxlen=n_kept)
        self._node, self._kind = node, kind
        self._first_s = self._last_s = 0.0
        node.create_subscription(
            kind,
            topic,
            self._on_message,
            QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT),
        )

    def _on_message(self, message: Any) -> None:
        self._last_s = time.monotonic()
        self._first_s = self._first_s or self._last_s
        self.count += 1
        self.messages.append(message)
        now_ns = self._node.get_clock().now().nanoseconds
        self.age_s = (now_ns - nanoseconds(message.header.stamp)) / 1e9

    @property
    def newest(self) -> Any:
        return self.messages[-1] if self.messages else None

    @property
    def publishers(self) -> int:
        return int(self._node.count_publishers(self.name))

    @property
    def wrong_types(self) -> str:
        """Publishers of another message type, which is why no message comes; "" if none."""
        return "; ".join(describe_wrong_types(self._node, self.name, self._kind))

    def __str__(self) -> str:
        span_s = self._last_s - self._first_s
        rate = f"{(self.count - 1) / span_s:.1f} Hz" if span_s > 0 else "one message"
        return f"{self.name}: {rate}, {self.age_s * 1e3:.0f} ms old"


def _check_topics(seconds: float) -> Iterator[Finding]:
    node = rclpy.create_node("mllmseg_doctor")
    node.get_logger().set_level(LoggingSeverity.WARN)  # findings are lines of their own
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        # Raw and compressed: discovering the publishers takes a while.
        raw, raw_depth = _Topic(node, Image, "image"), _Topic(node, Image, "depth/image", _KEPT)
        images = [raw, _Topic(node, CompressedImage, transport_topic(node, "image", "compressed"))]
        depths = [
            raw_depth,
            *(
                _Topic(node, CompressedImage, transport_topic(node, "depth/image", each), _KEPT)
                for each in ("compressedDepth", "compressed")
            ),
        ]
        infos = [
            _Topic(node, CameraInfo, topic, _KEPT)
            for topic in ("camera_info", *info_topics(raw.name))
        ]
        depth_infos = [
            _Topic(node, CameraInfo, topic)
            for topic in ("depth/camera_info", f"{raw_depth.name}/camera_info")
        ]
        transforms = Transforms(node, lambda _: None)
        transforms.start("")
        with suppress(TransformError):
            transforms.listen()
        _spin(executor, seconds)
        image = _choose_transport(*images)
        message = image.newest
        _spin(executor, _LATE_S)
        finding, frame = _check_image(node, image, message)
        yield finding
        info, depth = _choose_transport(*infos), _choose_transport(*depths)
        yield _check_info(info, frame, rectified=is_rectified_topic(raw.name))
        yield _check_depth(depth)
        if frame is not None and depth.messages:
            yield _check_position(
                frame,
                depth,
                info,
                _choose_transport(*depth_infos).newest,
                transforms,
                rectified=is_rectified_topic(raw.name),
                depth_rectified=is_rectified_topic(raw_depth.name),
            )
        yield _check_tf(node)
        transforms.stop()
    finally:
        executor.shutdown()
        node.destroy_node()


def _spin(executor: SingleThreadedExecutor, seconds: float) -> None:
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        executor.spin_once(timeout_sec=0.1)


def _choose_transport(*topics: _Topic) -> _Topic:
    """Return the topic that the node would use: the first that has a publisher."""
    return next((each for each in topics if each.publishers), topics[0])


def _check_image(node: Node, topic: _Topic, message: Any) -> tuple[Finding, Frame | None]:
    """Judge the image topic by one of its messages; also returns its image, if it has one."""
    if message is None:
        return fail("image", _explain_silence(node, topic)), None
    try:
        if isinstance(message, CompressedImage):
            rgb, encoding = rgb_from_compressed(message), message.format
        else:
            rgb, encoding = rgb_from_image(message), message.encoding
    except ValueError as error:
        return fail("image", f"{topic.name}: {error}"), None
    frame_id = message.header.frame_id
    frame = Frame(rgb=rgb, stamp_ns=nanoseconds(message.header.stamp), frame_id=frame_id)
    text = f"{topic}, {rgb.shape[1]} x {rgb.shape[0]} {encoding}, frame {frame_id!r}"
    if abs(topic.age_s) > _MAX_AGE_S:
        return fail(
            "image",
            f"{text}; the node ignores images off by more than max_age: synchronise the clocks "
            "(chrony), set use_sim_time for a recording, or raise max_age",
        ), frame
    if not frame_id:
        return warn("image", f"{text}; without a frame_id nothing can be placed by TF"), frame
    return ok("image", text), frame


def _explain_silence(node: Node, topic: _Topic) -> str:
    if wrong := topic.wrong_types:
        return wrong
    if topic.publishers:
        return (
            f"{topic.name} has {topic.publishers} publisher(s), but nothing arrives: see 'large "
            "images' above, and whether both sides use the same middleware and ROS_DOMAIN_ID"
        )
    kinds = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
    others = [
        name
        for name, types in node.get_topic_names_and_types()
        if set(types) & set(kinds) and node.count_publishers(name) and "depth" not in name
    ]
    alternatives = (
        f"there are {', '.join(others)}: -r image:=…" if others else "nor any other image"
    )
    return (
        f"nobody publishes {topic.name} (ROS_DOMAIN_ID {os.environ.get('ROS_DOMAIN_ID', '0')}); "
        f"{alternatives}"
    )


def _check_info(topic: _Topic, frame: Frame | None, *, rectified: bool) -> Finding:
    """Judge the camera info by the function that the node computes intrinsics with."""
    info = topic.newest
    if info is None:
        silence = topic.wrong_types or f"{topic.name}: no messages"
        return warn("camera_info", f"{silence}; without it there are no positions")
    size_hw = (info.height, info.width) if frame is None else frame.rgb.shape[:2]
    try:
        intrinsics, note = read_camera_info(info, (size_hw[0], size_hw[1]), rectified=rectified)
    except ValueError as error:
        return fail("camera_info", f"{topic.name}: {error}")
    notes = [note] if note else []
    centre, (height, width) = intrinsics.K[:2, 2], size_hw
    if not (0 <= centre[0] < width and 0 <= centre[1] < height):
        notes.append(f"the principal point ({centre[0]:.0f}, {centre[1]:.0f}) is outside the image")
    if frame is not None and not any(
        abs(nanoseconds(each.header.stamp) - frame.stamp_ns) <= _TOLERANCE_NS
        for each in topic.messages
    ):
        notes.append("none has the stamp of the image: the newest is used")
    if notes:
        return warn("camera_info", f"{topic}; {'; '.join(notes)}")
    matrix = "P without D, because the images are rectified" if rectified else "K and D"
    return ok("camera_info", f"{topic}, {matrix}")


def _check_depth(topic: _Topic) -> Finding:
    if topic.newest is None:
        silence = topic.wrong_types or f"{topic.name}: no messages"
        return warn("depth", f"{silence}; results have no position")
    message = topic.newest
    try:
        if isinstance(message, CompressedImage):
            metres, encoding = depth_from_compressed(message), message.format
        else:
            metres, encoding = depth_from_image(message), message.encoding
    except ValueError as error:
        return fail("depth", f"{topic.name}: {error}")
    return ok("depth", f"{topic}, {metres.shape[1]} x {metres.shape[0]} {encoding}")


def _check_position(
    frame: Frame,
    depths: _Topic,
    infos: _Topic,
    depth_info: Any,
    transforms: Transforms,
    *,
    rectified: bool,
    depth_rectified: bool,
) -> Finding:
    """Align depth with an image as the node does."""
    pairing = DepthPairing(_KEPT)
    for message in depths.messages:
        pairing.put_depth(message)
    for message in infos.messages:
        pairing.put_info(message)
    if depth_info is not None:
        pairing.put_depth_info(depth_info)
    paired = pairing.pair(frame.stamp_ns, _TOLERANCE_NS)

    def lookup_transform(depth_frame: str) -> NDArray[np.float64]:
        return matrix_at(transforms, frame.frame_id, depth_frame, frame.stamp_ns, 0.0)

    try:
        depth = pairing.get_depth(
            frame,
            paired,
            rectified=rectified,
            depth_rectified=depth_rectified,
            lookup_transform=lookup_transform,
        )
    except ValueError as error:
        return fail("positions", f"no position: {error}")
    share = 0.0 if depth is None else float(np.isfinite(depth.metres).mean())
    if not share:
        return fail("positions", "no pixel of the image has a depth")
    return ok("positions", f"{100 * share:.0f} % of the image's pixels have a depth")


def _check_tf(node: Node) -> Finding:
    moving, fixed = (node.count_publishers(name) for name in ("/tf", "/tf_static"))
    if not moving + fixed:
        return warn(
            "TF", "nobody publishes /tf or /tf_static: positions cannot leave the camera's frame"
        )
    return ok("TF", f"{moving} publisher(s) of /tf, {fixed} of /tf_static")
