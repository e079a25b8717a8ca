# SPDX-License-Identifier: Apache-2.0
"""The lifecycle node ``mllmseg``: images and commands in, masks and positions out.

It only wires: subscriptions fill slots, the inference thread empties them, outputs publish. Entry
point: :func:`main`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import JumpThreshold
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.timer import Timer
from sensor_msgs.msg import CompressedImage, Image

from mllmseg_ros.frame import Frame
from mllmseg_ros.instances import Located
from mllmseg_ros.ros import engine, parameters
from mllmseg_ros.ros.cv_bridge_path import choose_rgb_conversion
from mllmseg_ros.ros.depth_pairing import DepthPairing
from mllmseg_ros.ros.frame_slot import FrameSlot
from mllmseg_ros.ros.image_msgs import nanoseconds, rgb_from_compressed
from mllmseg_ros.ros.inference import InferenceThread, Limits, Result, Steps, age_text
from mllmseg_ros.ros.inputs import Inputs
from mllmseg_ros.ros.outputs import Outputs
from mllmseg_ros.ros.point_cloud import choose_cloud_builder
from mllmseg_ros.ros.request import Notice, Request, RequestDesk
from mllmseg_ros.ros.segmentation_msgs import Answer
from mllmseg_ros.ros.spin import run
from mllmseg_ros.ros.tf import Transforms
from mllmseg_ros.segmentation import Segmentation

if TYPE_CHECKING:
    from mllmseg_ros.segmenter import ImageContext, Segmenter

_STALE_CHECK_S = 0.1
_WARN_EVERY_S = 5.0
_LOGGED_CHARS = 80


class SegmenterNode(LifecycleNode):
    """Segments what commands name, on the newest image, until told to stop."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("mllmseg", **kwargs)
        self._settings = parameters.declare(self)
        self._rgb_from_image, conversion = choose_rgb_conversion()
        cloud_from_points, clouds = choose_cloud_builder()
        self.get_logger().info(f"{conversion}; {clouds}")
        self._outputs = Outputs(self, cloud_from_points)
        self._quiet_until_s: dict[str, float] = {}  # monotonic time by kind of warning
        self._publishing = threading.Lock()  # a mask never comes after the stop that ended it
        self._desk = RequestDesk()
        self._slot: FrameSlot[Image | CompressedImage] = FrameSlot()
        self._transforms = Transforms(self, self._warn)
        self._depth = DepthPairing(self._warn, self._transforms)
        self._segmenter: Segmenter | None = None
        self._thread: InferenceThread | None = None
        self._inputs: Inputs | None = None
        self._stale_timer: Timer | None = None
        self.add_on_set_parameters_callback(self._on_parameters)
        self._jump = self.get_clock().create_jump_callback(
            JumpThreshold(
                min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=True
            ),
            post_callback=self._on_time_jump,
        )
        if self._settings.autostart and (
            self.trigger_configure() == TransitionCallbackReturn.SUCCESS
        ):
            self.trigger_activate()

    # Lifecycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model and run it once."""
        began = time.monotonic()
        try:
            self._segmenter, self._defaults = engine.load(self._settings)
        except Exception as error:  # whatever a broken installation raises, the node stays
            self._fail("configure", error)
            return TransitionCallbackReturn.FAILURE
        engine.apply(self._segmenter, self._defaults, self._settings)
        self.get_logger().info(
            f"model {self._segmenter.name} ready in {time.monotonic() - began:.1f} s on "
            f"{self._segmenter.device}, {self._segmenter.dtype}"
        )
        if self._segmenter.synthetic_only:
            self.get_logger().warning(
                f"model {self._segmenter.name} has only seen simulated scenes: it is for trying "
                "out; set parameter model to a published checkpoint for real images"
            )
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start to listen and to answer."""
        result = super().on_activate(state)
        try:
            self._listen()
        except Exception as error:
            self._fail("activate", error)
            if self._thread is not None:
                self._thread.stop()
            if self._inputs is not None:
                self._inputs.destroy()
            self._thread = self._inputs = None
            super().on_deactivate(state)
            return TransitionCallbackReturn.FAILURE
        return result

    def _listen(self) -> None:
        segmenter = self._segmenter
        assert segmenter is not None
        steps = Steps(
            now_ns=self._now_ns,
            stamp_ns=lambda message: nanoseconds(message.header.stamp),
            to_frame=self._to_frame,
            encode=lambda frame: segmenter.encode(frame.rgb),
            segment=self._segment,
            locate=self._locate,
            publish=self._publish,
            report=self._warn,
        )
        self._transforms.start(self._settings.target_frame)
        self._thread = InferenceThread(self._desk, self._slot, steps, self._limits)
        self._inputs = Inputs(
            self,
            image_transport=self._settings.image_transport,
            on_image=self._on_image,
            on_command=self._on_command,
            depth=self._depth,
        )
        self._thread.start()
        self._stale_timer = self.create_timer(_STALE_CHECK_S, self._check_stale)
        self.get_logger().info(f"listening on {', '.join(self._inputs.topics)}")

    def _fail(self, transition: str, error: Exception) -> None:
        """Say in one line why a transition failed."""
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        reason = " ".join(f"{kind}{error}".split())
        self.get_logger().error(f"cannot {transition}: {reason}")

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop to listen; the request in force ends."""
        self._halt()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the model."""
        self._segmenter = None
        engine.free_memory()
        return super().on_cleanup(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and free the model, so that the node can be configured again."""
        return self.on_shutdown(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and free the model, from any state."""
        self._halt()
        self._segmenter = None
        engine.free_memory()
        return super().on_shutdown(state)

    def stop(self) -> None:
        """Say goodbye before the end of the process, in whatever state."""
        self._halt()

    def _halt(self) -> None:
        if self._thread is None or self._inputs is None or self._stale_timer is None:
            return
        self.destroy_timer(self._stale_timer)
        self._inputs.destroy()
        in_force = self._desk.current is not None
        with self._publishing:
            self._send(self._desk.stop("the node was deactivated"))
            if in_force:
                self._send_empty_mask()
        self._transforms.stop()  # before the thread, which may be waiting for one
        self._thread.stop()
        self.get_logger().info(
            f"stopped after {self._slot.received} images, {self._thread.answered} answers, "
            f"{self._slot.dropped} images replaced by newer ones"
        )
        self._thread = None
        self._inputs = None
        self._slot.clear()
        self._depth.clear()

    # In

    def _on_image(self, message: Image | CompressedImage) -> None:
        self._slot.put(message)
        if self._thread is not None:
            self._thread.wake()

    def _on_command(self, text: str) -> None:
        with self._publishing:
            submission = self._desk.submit(text, self._now_ns())
            self._send(submission.notices)
            command = submission.request.command
            if command is not None and command.is_stop:
                self._send_empty_mask()
        # Escaped and cut: a log must not carry what a stranger wrote into a terminal.
        shown = ascii(text[:_LOGGED_CHARS])
        if command is None:
            self._warn(f"command refused: {submission.notices[0].text} ({shown})")
        else:
            self.get_logger().info(f"command {submission.request.request_id}: {shown}")
        if self._thread is not None:
            self._thread.wake()

    def _on_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        try:
            self._settings = parameters.changed(
                self._settings, changes, configured=self._segmenter is not None
            )
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        if self._segmenter is not None:
            engine.apply(self._segmenter, self._defaults, self._settings)
        if self._thread is not None:
            self._thread.wake()
        return SetParametersResult(successful=True)

    def _on_time_jump(self, jump: object) -> None:
        self.get_logger().info("ROS time jumped: images and depths before it are forgotten")
        self._slot.clear()
        self._depth.clear()
        self._transforms.clear()
        self._desk.restart_clock(self._now_ns())
        if self._thread is not None:
            self._thread.forget()

    # Steps of the inference thread

    def _to_frame(self, message: Image | CompressedImage) -> Frame:
        stamp_ns = nanoseconds(message.header.stamp)
        self._depth.expect(stamp_ns, int(self._settings.depth_tolerance * 1e9))
        rgb = self._to_rgb(message)
        return Frame(rgb=rgb, stamp_ns=stamp_ns, frame_id=message.header.frame_id)

    def _to_rgb(self, message: Image | CompressedImage) -> NDArray[np.uint8]:
        compressed = isinstance(message, CompressedImage)
        return rgb_from_compressed(message) if compressed else self._rgb_from_image(message)

    def _segment(self, context: ImageContext, request: Request) -> Sequence[Segmentation]:
        assert self._segmenter is not None
        assert request.command is not None
        return self._segmenter.segment(context, request.command.expressions, self._settings.prompt)

    def _locate(self, frame: Frame, segmentations: Sequence[Segmentation]) -> Located:
        return self._depth.locate(
            frame,
            segmentations,
            rectified=self._settings.rectified,
            target_frame=self._settings.target_frame,
            timeout_s=self._settings.transform_timeout,
        )

    def _limits(self) -> Limits:
        rate = self._settings.max_rate
        return Limits(
            max_age_ns=int(self._settings.max_age * 1e9), period_s=1 / rate if rate else 0.0
        )

    # Out

    def _publish(self, result: Result[Image | CompressedImage]) -> bool:
        assert self._segmenter is not None
        assert self._inputs is not None
        answer = Answer(
            request=result.request,
            header=result.message.header,  # stamp and frame_id as they came
            rgb=result.frame.rgb,
            located=result.located,
            latency_ns=result.latency_ns,
            score_limit=engine.score_limit(self._segmenter),
            error=result.error,
        )
        camera = self._inputs.topic_of(result.message)
        messages = self._outputs.prepare(answer, camera, self._segmenter.name)
        with self._publishing:
            if not self._desk.claim(result.request, self._now_ns()):
                return False
            for publisher, message in messages:
                publisher.publish(message)
        return True

    def _check_stale(self) -> None:
        limits = self._limits()
        if not limits.max_age_ns or self._thread is None or self._thread.busy:
            return
        period_ns = int(limits.period_s * 1e9)
        now_ns, newest = self._now_ns(), self._slot.peek()
        if newest is not None:
            age = age_text(now_ns - nanoseconds(newest.item.header.stamp))
            reason = f"the newest image is {age}, max_age is {self._settings.max_age}"
        else:
            reason = self._thread.last_problem or "no image has come"
        with self._publishing:
            self._send(self._desk.check_stale(now_ns, limits.max_age_ns, period_ns, reason))

    def _send(self, notices: Sequence[Notice]) -> None:
        for notice in notices:
            self._outputs.publish_notice(notice)

    def _send_empty_mask(self) -> None:
        newest, behind = self._slot.peek(), None
        if newest is not None:
            try:
                rgb = self._to_rgb(newest.item)
                behind = newest.item.header, (rgb.shape[0], rgb.shape[1])
            except Exception:  # noqa: S110 - the inference thread reports malformed images
                pass
        self._outputs.publish_nothing_selected(behind)

    def _now_ns(self) -> int:
        return int(self.get_clock().now().nanoseconds)

    def _warn(self, text: str) -> None:
        """Log a warning, each kind (what stands before the colon) once in a while."""
        kind, now_s = text.partition(":")[0], time.monotonic()
        if now_s >= self._quiet_until_s.get(kind, 0.0):
            self._quiet_until_s[kind] = now_s + _WARN_EVERY_S
            self.get_logger().warning(text)


def main(args: list[str] | None = None) -> int:
    """Run the node until it is told to end; returns the exit status."""
    return run(SegmenterNode, args)
