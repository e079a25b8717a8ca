# SPDX-License-Identifier: Apache-2.0
"""One image of a camera with the depth and target frame that belong to it.

Nothing is converted before a thread asks for it, and then once: most images are never segmented.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from mllmseg_ros.codecs.camera_info import is_rectified_topic
from mllmseg_ros.codecs.depth_pairing import DepthPairing, MissingDepthError, PairedMessages
from mllmseg_ros.error_text import one_line
from mllmseg_ros.frame import Frame, bare_frame_id
from mllmseg_ros.geometry.instances import Depth, TargetFrame
from mllmseg_ros.ros.messages.image_msgs import nanoseconds, rgb_from_compressed
from mllmseg_ros.ros.node.metrics import CameraMetrics
from mllmseg_ros.ros.node.parameters import SegmenterParameters
from mllmseg_ros.ros.support.parameter_fields import LiveParameters
from mllmseg_ros.ros.support.tf import TransformLookup, matrix_at

__all__ = ["CameraImage", "CameraImageReader"]

_DEPTH_WAIT_S = 0.1  # a depth image may come a little later than the colour image
_NEXT_IMAGE_S = 0.25  # how long an image without its depth image gives way to a next one
_MAX_GIVING_WAY = 3  # images in a row; more are not single depth images that got lost


class CameraImageReader:
    """Converts the messages of one camera, by the parameters that hold at that moment."""

    def __init__(
        self,
        *,
        rgb_from_image: Callable[[Image], NDArray[np.uint8]],
        depth_pairing: DepthPairing,
        transforms: TransformLookup,
        parameters: LiveParameters[SegmenterParameters],
        metrics: CameraMetrics,
        image_topic: str,
        depth_topic: str,
    ) -> None:
        """Set up.

        Args:
            rgb_from_image: one of :mod:`mllmseg_ros.ros.messages.cv_bridge_conversion`.
            depth_pairing: has the camera's depth images and camera infos.
            transforms: the node's TF.
            parameters: of the node.
            metrics: of the camera.
            image_topic: fully qualified name; its name may say that the images are rectified.
            depth_topic: likewise.
        """
        self._is_rectified = is_rectified_topic(image_topic)
        self._is_depth_rectified = is_rectified_topic(depth_topic)
        self._rgb_from_image = rgb_from_image
        self._depth_pairing, self._transforms = depth_pairing, transforms
        self._parameters, self._metrics = parameters, metrics
        self._n_missing = 0  # images in a row whose depth image has not come

    def wrap(self, message: Image | CompressedImage) -> CameraImage:
        """Keep what belongs to an image, and convert nothing yet."""
        tolerance_ns = int(self._parameters.now.depth_tolerance * 1e9)
        paired = self._depth_pairing.pair(nanoseconds(message.header.stamp), tolerance_ns)
        return CameraImage(message, paired, self)

    def read_frame(self, message: Image | CompressedImage) -> Frame:
        """Convert an image.

        Raises:
            ValueError: if the message is malformed.
        """
        compressed = isinstance(message, CompressedImage)
        with self._metrics.convert.timing():
            rgb = rgb_from_compressed(message) if compressed else self._rgb_from_image(message)
        header = message.header
        return Frame(rgb=rgb, stamp_ns=nanoseconds(header.stamp), frame_id=header.frame_id)

    def read_depth(self, frame: Frame, paired: PairedMessages) -> Depth | None:
        """Depth in the pixels of an image; None where nobody publishes any.

        Raises:
            MissingDepthError: if it has not come and an image after this one will have its own.
            ValueError: saying why there is none for this image.
        """
        parameters = self._parameters.now

        def lookup_transform(depth_frame: str) -> NDArray[np.float64]:
            timeout_s = parameters.transform_timeout
            return matrix_at(
                self._transforms, frame.frame_id, depth_frame, frame.stamp_ns, timeout_s
            )

        try:
            depth = self._depth_pairing.get_depth(
                frame,
                paired,
                rectified=parameters.rectified or self._is_rectified,
                depth_rectified=parameters.rectified or self._is_depth_rectified,
                lookup_transform=lookup_transform,
                wait_s=_DEPTH_WAIT_S,
            )
        except MissingDepthError as error:
            self._n_missing += 1
            if self._n_missing > _MAX_GIVING_WAY:
                raise ValueError(str(error)) from None
            raise
        self._n_missing = 0
        return depth

    def find_target_frame(self, frame: Frame) -> TargetFrame | None:
        """Frame of the positions at the image's stamp; None for the camera's own.

        Raises:
            ValueError: if there is no transform to it, saying why.
        """
        parameters = self._parameters.now
        target, upright = bare_frame_id(parameters.target_frame), parameters.upright_boxes
        is_own = target == bare_frame_id(frame.frame_id)
        if not target or (is_own and not upright):
            return None
        timeout_s = parameters.transform_timeout
        matrix = (
            np.eye(4)
            if is_own
            else matrix_at(self._transforms, target, frame.frame_id, frame.stamp_ns, timeout_s)
        )
        return TargetFrame(frame_id=target, from_camera=matrix, upright_boxes=upright)


class CameraImage:
    """An image message, converted once by the thread that needs it first. Thread-safe."""

    def __init__(
        self, message: Image | CompressedImage, paired: PairedMessages, reader: CameraImageReader
    ) -> None:
        """Wrap a message; see :meth:`CameraImageReader.wrap`."""
        self._message, self._paired, self._reader = message, paired, reader
        self._frame_lock, self._depth_lock = threading.Lock(), threading.Lock()
        self._frame: Frame | None = None
        self._depth: Depth | None = None
        self._no_depth: str | None = None  # why there is none; None: not read yet
        self._gives_way_until_s = 0.0  # monotonic time, where its depth image has not come

    @property
    def header(self) -> Header:
        """Stamp and frame_id as they came."""
        return self._message.header

    @property
    def stamp_ns(self) -> int:
        """When it was taken, ns."""
        return nanoseconds(self._message.header.stamp)

    @property
    def is_compressed(self) -> bool:
        """Whether it came compressed."""
        return isinstance(self._message, CompressedImage)

    def frame(self) -> Frame:
        """Its pixels.

        Raises:
            ValueError: if the message is malformed.
        """
        with self._frame_lock:
            if self._frame is None:
                self._frame = self._reader.read_frame(self._message)
            return self._frame

    def depth(self) -> Depth | None:
        """Its depth; None where nobody publishes any.

        Raises:
            ValueError: saying why there is none for this image.
        """
        frame = self.frame()
        with self._depth_lock:  # held while waiting; the frame has its own
            if self._no_depth is None:
                self._no_depth = ""
                try:
                    self._depth = self._reader.read_depth(frame, self._paired)
                except Exception as error:  # a library's function may raise anything
                    if isinstance(error, MissingDepthError):
                        self._gives_way_until_s = time.monotonic() + _NEXT_IMAGE_S
                    self._no_depth = (
                        str(error) if isinstance(error, ValueError) else one_line(error)
                    )
            if self._no_depth:
                raise ValueError(self._no_depth)
            return self._depth

    def gives_way(self) -> bool:
        """Whether to infer on the next image instead: the depth image of this one got lost.

        Camera drivers and DDS lose single images. False after a moment without a next image.
        """
        with suppress(ValueError):
            self.depth()
        return time.monotonic() < self._gives_way_until_s

    def target_frame(self) -> TargetFrame | None:
        """Frame of its positions; None for the camera's own.

        Raises:
            ValueError: if there is no transform to it, saying why.
        """
        return self._reader.find_target_frame(self.frame())
