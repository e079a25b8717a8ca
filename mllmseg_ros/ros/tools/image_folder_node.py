# SPDX-License-Identifier: Apache-2.0
"""Node that publishes a folder of images, or a video, like a camera.

It publishes ``image``, and ``camera_info`` if a calibration is given, at a fixed rate, with the
current time as stamp. Bags are played by ``ros2 bag play``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rcl_interfaces.msg import FloatingPointRange, ParameterDescriptor
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from mllmseg_ros.codecs.camera_info import read_camera_info
from mllmseg_ros.error_text import one_line
from mllmseg_ros.files import read_yaml
from mllmseg_ros.recording.recorded_image import ImageSource, RecordedImage
from mllmseg_ros.recording.source import is_bag, open_source
from mllmseg_ros.ros.messages.image_msgs import image_from_array
from mllmseg_ros.ros.support.spin import run

__all__ = ["main"]

_QUEUE = 5
_MAX_CALIBRATION_BYTES = 1 << 20


class ImageFolderNode(Node):
    """Publishes one image after the other.

    Attributes:
        done: exit status after the last image, 1 if none could be read; None until then, and in a
            loop.
    """

    done: int | None = None

    def __init__(self) -> None:
        """Open the folder or video.

        Raises:
            ValueError: if it or the calibration cannot be read.
        """
        super().__init__("image_folder")
        path = self._declare_text("path", "", "Folder of PNG and JPEG images, or a video file.")
        self._frame_id = self._declare_text("frame_id", "camera", "Optical frame of the images.")
        info = self._declare_text(
            "camera_info", "", "Calibration file of camera_calibration (YAML); empty: none."
        )
        loop = ParameterDescriptor(description="Start again after the last image.")
        self._loops = bool(self.declare_parameter("loop", True, loop).value)
        rate = ParameterDescriptor(
            description="Images per second.",
            floating_point_range=[FloatingPointRange(from_value=0.1, to_value=120.0)],
        )
        rate_hz = float(self.declare_parameter("rate", 10.0, rate).value)
        self._source = _open(path)
        self._recorded: Iterator[RecordedImage] = self._source.images(1)
        self._info = _read_info(Path(info)) if info else None
        self._image_topic = self.create_publisher(Image, "image", _QUEUE)
        self._info_topic = self.create_publisher(CameraInfo, "camera_info", _QUEUE)
        self._n_published = 0  # since the start of the folder or video
        self._noted = ""  # how the calibration fits the last image, or why it does not
        self.create_timer(1 / rate_hz, self._publish_next)
        self.get_logger().info(f"publishing {path} at {rate_hz:g} Hz")

    def stop(self) -> None:
        """Close the file."""
        self._recorded = iter(())

    def _declare_text(self, name: str, default: str, description: str) -> str:
        descriptor = ParameterDescriptor(description=description, read_only=True)
        return str(self.declare_parameter(name, default, descriptor).value)

    def _publish_next(self) -> None:
        recorded = next(self._recorded, None)
        if recorded is None:
            if not self._n_published:
                self.get_logger().error("no image can be read")
                self.done = 1
                return
            if not self._loops:
                self.get_logger().info("the last image was published")
                self.done = 0
                return
            self._n_published, self._recorded = 0, self._source.images(1)
            return self._publish_next()
        try:
            rgb = recorded.decode().rgb
        except (ValueError, OSError) as error:
            self.get_logger().warning(f"image ignored: {error}")
            return
        self._n_published += 1
        header = Header(stamp=self.get_clock().now().to_msg(), frame_id=self._frame_id)
        if self._info is not None and self._fits(self._info, (rgb.shape[0], rgb.shape[1])):
            self._info.header = header
            self._info_topic.publish(self._info)
        self._image_topic.publish(image_from_array(np.ascontiguousarray(rgb), "rgb8", header))

    def _fits(self, info: CameraInfo, size_hw: tuple[int, int]) -> bool:
        """Whether the calibration is that of an image; it is not published with others."""
        fits = True
        try:
            _, note = read_camera_info(info, size_hw, rectified=False)
        except ValueError as error:
            fits, note = False, f"image without camera_info: {error}"
        if note and note != self._noted:
            self.get_logger().warning(note)
        self._noted = note
        return fits


def _open(path: str) -> ImageSource:
    if not path:
        raise ValueError("parameter path is empty; name a folder of images or a video")
    if is_bag(Path(path)):
        raise ValueError(f"parameter path: {path} is a bag; `ros2 bag play {path}` plays it")
    return open_source(Path(path))


def _read_info(path: Path) -> CameraInfo:
    """Read a calibration file of camera_calibration.

    Raises:
        ValueError: naming the file and the error.
    """
    try:
        fields = read_yaml(path, max_bytes=_MAX_CALIBRATION_BYTES)
        numbers = {
            name: [float(n) for n in fields[key]["data"]]
            for name, key in (
                ("d", "distortion_coefficients"),
                ("k", "camera_matrix"),
                ("r", "rectification_matrix"),
                ("p", "projection_matrix"),
            )
        }
        # Some calibrations of fisheye lenses name their model under camera_model alone.
        model = fields.get("distortion_model", fields.get("camera_model"))
        if model is None:
            raise ValueError("it has no distortion_model")
        info = CameraInfo(
            width=int(fields["image_width"]),
            height=int(fields["image_height"]),
            distortion_model=str(model),
            **numbers,
        )
    except (KeyError, TypeError, ValueError, OverflowError, AssertionError) as error:
        raise ValueError(
            f"parameter camera_info: {path} is not a calibration file of camera_calibration "
            f"({one_line(error, max_chars=300)})"
        ) from error
    try:  # of what model it is; the size of the images is not known yet
        intrinsics, _ = read_camera_info(info, (info.height, info.width), rectified=False)
    except ValueError as error:
        raise ValueError(f"parameter camera_info: {path}: {error}") from error
    if intrinsics.D.any():
        info.distortion_model = intrinsics.distortion_model  # by the name that other nodes know
    return info


def main(args: list[str] | None = None) -> int:
    """Run the node until a signal or its end; return the exit status."""
    return run(ImageFolderNode, args)
