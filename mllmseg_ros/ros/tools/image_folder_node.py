# SPDX-License-Identifier: Apache-2.0
"""A folder of pictures, or a video, as a camera.

Publishes ``image``, and ``camera_info`` where a calibration is given, at a rate of its own and
stamped now. A bag is played by ``ros2 bag play``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rcl_interfaces.msg import FloatingPointRange, ParameterDescriptor
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from mllmseg_ros.error_text import one_line
from mllmseg_ros.recording.recorded_image import ImageSource, RecordedImage
from mllmseg_ros.recording.source import is_bag, open_source
from mllmseg_ros.ros.messages.image_msgs import image_from_array
from mllmseg_ros.ros.support.spin import run

__all__ = ["main"]

_QUEUE = 5


class ImageFolderNode(Node):
    """Publishes picture after picture.

    Attributes:
        done: exit status once the last picture was shown; None until then, and in a loop.
    """

    done: int | None = None

    def __init__(self) -> None:
        """Open what is named.

        Raises:
            ValueError: if it cannot be shown, or the calibration cannot be read.
        """
        super().__init__("image_folder")
        path = self._text("path", "", "folder of PNG and JPEG pictures, or a video file")
        self._frame_id = self._text("frame_id", "camera", "optical frame of the images")
        info = self._text("camera_info", "", "calibration (camera_calibration's YAML); empty: none")
        loop = ParameterDescriptor(description="begin again after the last picture")
        self._loops = bool(self.declare_parameter("loop", True, loop).value)
        rate = ParameterDescriptor(
            description="Hz, pictures per second",
            floating_point_range=[FloatingPointRange(from_value=0.1, to_value=120.0)],
        )
        rate_hz = float(self.declare_parameter("rate", 10.0, rate).value)
        self._source = _opened(path)
        self._pictures: Iterator[RecordedImage] = self._source.images(1)
        self._info = _read_info(Path(info)) if info else None
        self._image_topic = self.create_publisher(Image, "image", _QUEUE)
        self._info_topic = self.create_publisher(CameraInfo, "camera_info", _QUEUE)
        self._n_shown = 0  # since the beginning
        self.create_timer(1 / rate_hz, self._show_next)
        self.get_logger().info(f"shows {path} at {rate_hz:g} Hz")

    def stop(self) -> None:
        """Close the file."""
        self._pictures = iter(())

    def _text(self, name: str, default: str, description: str) -> str:
        descriptor = ParameterDescriptor(description=description, read_only=True)
        return str(self.declare_parameter(name, default, descriptor).value)

    def _show_next(self) -> None:
        picture = next(self._pictures, None)
        if picture is None:
            if not self._loops or not self._n_shown:
                self.get_logger().info("the last picture was shown")
                self.done = 0
                return
            self._n_shown, self._pictures = 0, self._source.images(1)
            return self._show_next()
        self._n_shown += 1
        try:
            rgb = picture.decode().rgb
        except (ValueError, OSError) as error:
            self.get_logger().warning(f"picture ignored: {error}")
            return
        header = Header(stamp=self.get_clock().now().to_msg(), frame_id=self._frame_id)
        if self._info is not None:
            self._info.header = header
            self._info_topic.publish(self._info)
        self._image_topic.publish(image_from_array(np.ascontiguousarray(rgb), "rgb8", header))


def _opened(path: str) -> ImageSource:
    if not path:
        raise ValueError("parameter path is empty; name a folder of pictures or a video")
    if is_bag(Path(path)):
        raise ValueError(f"parameter path: {path} is a bag; `ros2 bag play {path}` plays it")
    return open_source(Path(path))


def _read_info(path: Path) -> CameraInfo:
    """Read a calibration as camera_calibration writes it.

    Raises:
        ValueError: naming the file and what is wrong with it.
    """
    import yaml

    try:
        fields = yaml.safe_load(path.read_text(encoding="utf-8"))
        numbers = {
            ours: [float(n) for n in fields[theirs]["data"]]
            for ours, theirs in (
                ("d", "distortion_coefficients"),
                ("k", "camera_matrix"),
                ("r", "rectification_matrix"),
                ("p", "projection_matrix"),
            )
        }
        return CameraInfo(
            width=int(fields["image_width"]),
            height=int(fields["image_height"]),
            distortion_model=str(fields["distortion_model"]),
            **numbers,
        )
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, AssertionError) as error:
        raise ValueError(
            f"parameter camera_info: {path} is no calibration as camera_calibration writes it "
            f"({one_line(error, max_chars=200)})"
        ) from error


def main(args: list[str] | None = None) -> int:
    """Run the node until it is told to end, or all was shown; returns the exit status."""
    return run(ImageFolderNode, args)
