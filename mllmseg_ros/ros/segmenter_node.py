# SPDX-License-Identifier: Apache-2.0
"""The lifecycle node ``mllmseg``: images and commands in, masks and positions out.

It only wires: cameras fill their slots, the inference thread empties them, and what is asked comes
by topic, service and action. Entry point: :func:`main`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import JumpThreshold
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.timer import Timer

from mllmseg_ros.ros import engine, parameters
from mllmseg_ros.ros.asking import Asking
from mllmseg_ros.ros.camera_stream import CameraStream
from mllmseg_ros.ros.cv_bridge_path import choose_rgb_conversion
from mllmseg_ros.ros.inference import InferenceThread, Steps
from mllmseg_ros.ros.inputs import CommandInput
from mllmseg_ros.ros.point_cloud import choose_cloud_builder
from mllmseg_ros.ros.request import Reception, Request
from mllmseg_ros.ros.segment_service import SegmentService
from mllmseg_ros.ros.segment_target_action import SegmentTargetAction
from mllmseg_ros.ros.shot import Shot
from mllmseg_ros.ros.spin import run
from mllmseg_ros.ros.tf import Transforms
from mllmseg_ros.segmentation import Segmentation
from mllmseg_ros.srv import SetExpressions

if TYPE_CHECKING:
    from mllmseg_ros.segmenter import ImageContext, Segmenter

_STALE_CHECK_S = 0.1
_WARN_EVERY_S = 5.0
_LOGGED_CHARS = 80


class SegmenterNode(LifecycleNode):
    """Segments what commands name, on the newest images, until told to stop."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("mllmseg", **kwargs)
        self._settings = parameters.declare(self)
        rgb_from_image, conversion = choose_rgb_conversion()
        cloud_from_points, clouds = choose_cloud_builder()
        self.get_logger().info(f"{conversion}; {clouds}")
        self._quiet_until_s: dict[str, float] = {}  # monotonic time by kind of warning
        self._reception = Reception(language=lambda: self._settings.language)
        self._transforms = Transforms(self, self._warn)
        self._streams = [
            CameraStream(
                self,
                name,
                settings=lambda: self._settings,
                rgb_from_image=rgb_from_image,
                cloud_from_points=cloud_from_points,
                transforms=self._transforms,
                report=self._warn,
            )
            for name in self._settings.cameras
        ]
        self._segmenter: Segmenter | None = None
        self._thread: InferenceThread[Shot, ImageContext] | None = None
        self._command: CommandInput | None = None
        self._stale_timer: Timer | None = None
        self._asking = Asking(self, self._streams, self._reception, self._wake)
        self._segment_service = SegmentService(self, self._asking)
        self._segment_target = SegmentTargetAction(self, self._asking)
        self.create_service(SetExpressions, "set_expressions", self._on_set_expressions)
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
            self._silence("the node could not be activated")
            super().on_deactivate(state)
            return TransitionCallbackReturn.FAILURE
        return result

    def _listen(self) -> None:
        segmenter = self._segmenter
        assert segmenter is not None
        steps = Steps(
            now_ns=self._now_ns,
            encode=lambda frame: segmenter.encode(frame.rgb),
            segment=self._segment,
            report=self._warn,
        )
        self._transforms.start(self._settings.target_frame)
        self._thread = InferenceThread(self._streams, steps)
        self._command = CommandInput(
            self, "command", lambda text: self._on_command(text, self._streams)
        )
        topics = [self._command.topic]
        for stream in self._streams:
            to_it_alone = partial(self._on_command, streams=[stream])
            score_limit = partial(engine.score_limit, segmenter)
            topics += stream.listen(segmenter.name, score_limit, self._wake, to_it_alone)
        self._thread.start()
        self._asking.is_active = True
        self._stale_timer = self.create_timer(_STALE_CHECK_S, self._check_stale)
        self.get_logger().info(f"listening on {', '.join(topics)}")

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
        if self._thread is None:
            return
        self._silence("the node was deactivated")
        self._thread.stop()
        received = sum(stream.slot.received for stream in self._streams)
        dropped = sum(stream.slot.dropped for stream in self._streams)
        self.get_logger().info(
            f"stopped after {received} images, {self._thread.answered} answers, "
            f"{dropped} images replaced by newer ones"
        )
        self._thread = None
        for stream in self._streams:
            stream.end_errands("the node was deactivated")  # of what came during the last look
            stream.forget()

    def _silence(self, reason: str) -> None:
        """Unsubscribe and end what is asked."""
        self._asking.is_active = False
        self._transforms.stop()  # before the threads, which may be waiting for one
        if self._stale_timer is not None:
            self.destroy_timer(self._stale_timer)
        if self._command is not None:
            self._command.destroy()
        self._stale_timer = self._command = None
        for stream in self._streams:
            stream.silence(reason)

    # In

    def _on_command(self, text: str, streams: Sequence[CameraStream]) -> None:
        self._submit(self._reception.receive(text, self._now_ns()), streams)

    def _submit(self, request: Request, streams: Sequence[CameraStream]) -> None:
        for stream in streams:
            stream.submit(request)
        # Escaped and cut: a log must not carry what a stranger wrote into a terminal.
        shown = ascii(request.text[:_LOGGED_CHARS])
        if request.command is None:
            self._warn(f"command refused: {request.refusal} ({shown})")
        else:
            note = f", {ascii(request.note)[1:-1]}" if request.note else ""
            self.get_logger().info(f"command {request.request_id}: {shown}{note}")
        self._wake()

    def _on_set_expressions(
        self, asked: SetExpressions.Request, response: SetExpressions.Response
    ) -> SetExpressions.Response:
        request = self._asking.receive(asked.expressions, remember=True)
        response.request_id = request.request_id
        try:
            if not self._asking.is_active:
                raise ValueError("the node is not active")
            self._submit(request, self._asking.named(asked.camera))
            response.message = request.refusal
        except ValueError as error:
            response.message = str(error)
        response.success = not response.message
        return response

    def _on_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        try:
            self._settings = parameters.changed(
                self._settings, changes, configured=self._segmenter is not None
            )
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        if self._segmenter is not None:
            engine.apply(self._segmenter, self._defaults, self._settings)
        for stream in self._streams:
            stream.look_again()
        self._wake()
        return SetParametersResult(successful=True)

    def _on_time_jump(self, jump: object) -> None:
        self.get_logger().info("ROS time jumped: images and depths before it are forgotten")
        self._transforms.clear()
        for stream in self._streams:
            stream.restart_clock(self._now_ns())
        if self._thread is not None:
            self._thread.forget()

    def _check_stale(self) -> None:
        if self._thread is None or self._thread.busy:
            return
        for stream in self._streams:
            stream.check_stale(self._now_ns(), self._thread.last_problem(stream))

    def _segment(self, context: ImageContext, request: Request) -> Sequence[Segmentation]:
        assert self._segmenter is not None
        assert request.command is not None
        return self._segmenter.segment(context, request.command.expressions, self._settings.prompt)

    def _wake(self) -> None:
        if self._thread is not None:
            self._thread.wake()

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
