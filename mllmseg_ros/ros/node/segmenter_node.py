# SPDX-License-Identifier: Apache-2.0
"""The lifecycle node ``mllmseg``: images and commands in, masks and positions out.

It only wires: cameras fill their slots, the inference thread empties them, and what is asked comes
by topic, service and action; `/diagnostics` tells how it goes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType, JumpThreshold
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.timer import Timer

from mllmseg_ros.frame import Frame
from mllmseg_ros.ros.messages.cv_bridge_conversion import choose_rgb_conversion
from mllmseg_ros.ros.messages.point_cloud import choose_cloud_builder
from mllmseg_ros.ros.node import model_loading as engine
from mllmseg_ros.ros.node.background_loader import Replacement
from mllmseg_ros.ros.node.camera_image import Shot
from mllmseg_ros.ros.node.camera_stream import CameraStream
from mllmseg_ros.ros.node.diagnostics import Diagnostics, ModelReading, Thresholds, model_status
from mllmseg_ros.ros.node.explain_service import ExplainService
from mllmseg_ros.ros.node.inference import InferenceThread, Steps
from mllmseg_ros.ros.node.inputs import CommandInput
from mllmseg_ros.ros.node.metrics import ModelMeter
from mllmseg_ros.ros.node.parameters import SegmenterParameters
from mllmseg_ros.ros.node.request import Reception, Request
from mllmseg_ros.ros.node.request_router import Asking
from mllmseg_ros.ros.node.segment_service import SegmentService
from mllmseg_ros.ros.node.segment_target_action import SegmentTargetAction
from mllmseg_ros.ros.support import heap, parameter_fields
from mllmseg_ros.ros.support.qos import QosWatch
from mllmseg_ros.ros.support.spin import run
from mllmseg_ros.ros.support.tf import Transforms
from mllmseg_ros.segmentation import Segmentation
from mllmseg_ros.srv import SetExpressions

__all__ = ["main"]

_STALE_CHECK_S = 0.1
_WARN_EVERY_S = 5.0
_LOGGED_CHARS = 80


class SegmenterNode(LifecycleNode):
    """Segments what commands name, on the newest images, until told to stop."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("mllmseg", **kwargs)
        self._settings = parameter_fields.declare(self, SegmenterParameters)
        rgb_from_image, conversion = choose_rgb_conversion()
        cloud_from_points, clouds = choose_cloud_builder()
        self.get_logger().info(f"{conversion}; {clouds}")
        self._quiet_until_s: dict[str, float] = {}  # monotonic time by kind of warning
        self._thresholds, self._meter = Thresholds(), ModelMeter()
        self._qos = QosWatch(self)
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
        self._model: engine.Model | None = None
        self._loading: SegmenterParameters | None = None  # at configure
        self._load_failure = ""  # of the newest load
        self._replacement = Replacement(engine.load, self._on_loaded)
        self._thread: InferenceThread[Shot, engine.Encoded] | None = None
        self._command: CommandInput | None = None
        self._stale_timer: Timer | None = None
        self._asking = Asking(self, self._streams, self._reception, self._wake)
        self._segment_service = SegmentService(self, self._asking)
        self._explain_service = ExplainService(self, self._asking, self._warn)
        self._segment_target = SegmentTargetAction(self, self._asking)
        self.create_service(SetExpressions, "set_expressions", self._on_set_expressions)
        self.add_on_set_parameters_callback(self._on_parameters)
        self._jump = self.get_clock().create_jump_callback(
            JumpThreshold(
                min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=True
            ),
            post_callback=self._on_time_jump,
        )
        self._diagnostics = Diagnostics(self, self._judge)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(heap.TRIM_PERIOD_S, heap.trim, clock=steady)
        try:
            if self._settings.autostart and (
                self.trigger_configure() == TransitionCallbackReturn.SUCCESS
            ):
                self.trigger_activate()
        except BaseException:  # a signal, while the model was being loaded
            self._diagnostics.stop()
            raise

    # Lifecycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model and run it once."""
        self._loading, self._load_failure = self._settings, ""
        try:
            self._use(engine.load(self._settings), self._settings)
        except Exception as error:  # whatever a broken installation raises, the node stays
            self._load_failure = self._fail("configure", error)
        finally:
            self._loading = None
        if self._load_failure:
            engine.free_memory()  # of what was loaded before it failed
            return TransitionCallbackReturn.FAILURE
        return super().on_configure(state)

    def _use(self, model: engine.Model, settings: SegmenterParameters) -> None:
        """Answer with this model from the next look on."""
        engine.apply(model, self._settings)
        self._model, self._model_settings = model, settings
        segmenter = model.segmenter
        self.get_logger().info(
            f"model {segmenter.name} ready in {model.load_s:.1f} s on {segmenter.device}, "
            f"{segmenter.dtype}"
        )
        if segmenter.synthetic_only:
            self.get_logger().warning(
                f"model {segmenter.name} has only seen simulated scenes: it is for trying "
                "out; set parameter model to a published checkpoint for real images"
            )

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start to listen and to answer."""
        result = super().on_activate(state)
        try:
            self._listen()
        except Exception as error:
            self._fail("activate", error)
            if self._thread is not None:
                self._thread.stop()
                self._thread = None
            self._silence("the node could not be activated")
            super().on_deactivate(state)
            return TransitionCallbackReturn.FAILURE
        return result

    def _listen(self) -> None:
        assert self._model is not None
        steps = Steps(
            now_ns=self._now_ns,
            encode=self._encode,
            model=lambda encoded: encoded.model.segmenter.name,
            segment=self._segment,
            report=self._warn,
        )
        self._transforms.start(self._settings.target_frame)
        self._thread = InferenceThread(self._streams, steps)
        self._command = CommandInput(
            self, "command", lambda text: self._on_command(text, self._streams), self._qos
        )
        topics = [self._command.topic]
        for stream in self._streams:
            to_it_alone = partial(self._on_command, streams=[stream])
            name, wake = self._model.segmenter.name, self._wake
            topics += stream.listen(name, self._score_limit, wake, to_it_alone)
        self._thread.start()
        self._asking.is_active = True
        self._stale_timer = self.create_timer(_STALE_CHECK_S, self._check_stale)
        self.get_logger().info(f"listening on {', '.join(topics)}")

    def _fail(self, what: str, error: Exception) -> str:
        """Say in one line why something failed, and return that line."""
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        line = f"cannot {what}: {' '.join(f'{kind}{error}'.split())}"
        self.get_logger().error(line)
        self._meter.failed(line)
        return line

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop to listen; the request in force ends."""
        self._halt()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the model."""
        self._release()
        return super().on_cleanup(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and free the model, so that the node can be configured again."""
        return self.on_shutdown(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and free the model, from any state."""
        self._halt()
        self._release()
        return super().on_shutdown(state)

    def stop(self) -> None:
        """Say goodbye before the end of the process, in whatever state."""
        self._halt()
        self._explain_service.stop()
        self._diagnostics.stop()
        self._replacement.stop()

    def _release(self) -> None:
        self._replacement.cancel()
        self._model, self._load_failure = None, ""
        engine.free_memory()

    def _halt(self) -> None:
        if self._thread is None:
            return
        self._silence("the node was deactivated")
        self._thread.stop()
        received = sum(stream.slot.received for stream in self._streams)
        dropped = sum(stream.slot.dropped for stream in self._streams)
        self.get_logger().info(
            f"stopped after {received} images, {self._thread.answered} looks, "
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
            self._log_warning(f"command refused: {request.refusal} ({shown})")
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
            settings = parameter_fields.changed(
                self._settings, changes, configured=self._model is not None
            )
            if self._model is not None:
                self._replace_model(settings)
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        self._settings = settings
        if self._model is not None:
            engine.apply(self._model, settings)
        for stream in self._streams:
            stream.look_again()
        self._wake()
        return SetParametersResult(successful=True)

    # Another model

    def _replace_model(self, settings: SegmenterParameters) -> None:
        """Begin to load the model that is asked for, if that is another one than now.

        Raises:
            ValueError: if it cannot be loaded, as far as that can be known at once.
        """
        wanted = engine.choice(settings)
        coming = self._replacement.wanted
        if wanted == engine.choice(coming or self._model_settings):
            return
        if wanted == engine.choice(self._model_settings):
            self._replacement.cancel()
            return
        engine.check(settings)
        self.get_logger().info(f"loading model {settings.model or '(embedded)'}")
        self._replacement.begin(settings)

    def _on_loaded(
        self, settings: SegmenterParameters, model: engine.Model | None, problem: Exception | None
    ) -> None:
        """Have the executor go on, between two callbacks; called from the loading thread."""
        executor = self.executor
        if executor is not None:
            executor.create_task(self._finish_replacement, settings, model, problem)

    def _finish_replacement(
        self, settings: SegmenterParameters, model: engine.Model | None, problem: Exception | None
    ) -> None:
        if self._model is None or engine.choice(settings) != engine.choice(self._settings):
            return  # cleaned up, or another one asked for meanwhile
        if model is not None:
            self._load_failure = ""
            self._use(model, settings)
            for stream in self._streams:
                stream.look_again()
            if self._thread is not None:
                self._thread.renew(engine.free_memory)
            return
        assert problem is not None
        self._load_failure = self._fail("replace the model, that before stays", problem)
        # The parameters say what answers.
        names = ("model", "device", "dtype")
        kept = zip(names, engine.choice(self._model_settings), strict=True)
        self.set_parameters([Parameter(name, value=value) for name, value in kept])

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

    def _encode(self, frame: Frame) -> engine.Encoded:
        model = self._model
        assert model is not None
        with engine.advise(self._model_settings), self._meter.encoding():
            return engine.Encoded(model=model, context=model.segmenter.encode(frame.rgb))

    def _segment(self, encoded: engine.Encoded, request: Request) -> Sequence[Segmentation]:
        assert request.command is not None
        with engine.advise(self._model_settings), self._meter.segmenting():
            return encoded.model.segmenter.segment(
                encoded.context, request.command.expressions, self._settings.prompt
            )

    def _score_limit(self) -> float:
        assert self._model is not None
        return engine.score_limit(self._model)

    def _judge(self) -> list[DiagnosticStatus]:
        """What `/diagnostics` says now; called from its thread."""
        thread, model = self._thread, self._model
        coming = self._loading or self._replacement.wanted
        reading = ModelReading(
            state="active" if thread else "inactive" if model else "unconfigured",
            name=model.segmenter.name if model else "",
            device=str(model.segmenter.device) if model else "",
            dtype=str(model.segmenter.dtype).removeprefix("torch.") if model else "",
            loading=(coming.model or "the embedded model") if coming else "",
            failure=self._load_failure,
            meter=self._meter,
            mismatches=self._qos.check(),
        )
        name = self.get_fully_qualified_name().lstrip("/")
        statuses = [model_status(f"{name}: model", reading, self._thresholds)]
        for stream in self._streams:
            problem = thread.last_problem(stream) if thread else ""
            statuses.append(stream.status(name, problem, self._thresholds))
        return statuses

    def _wake(self) -> None:
        if self._thread is not None:
            self._thread.wake()

    def _now_ns(self) -> int:
        return int(self.get_clock().now().nanoseconds)

    def _warn(self, text: str) -> None:
        """Log a warning, each kind (what stands before the colon) once in a while."""
        self._meter.failed(text)
        self._log_warning(text)

    def _log_warning(self, text: str) -> None:
        kind, now_s = text.partition(":")[0], time.monotonic()
        if now_s >= self._quiet_until_s.get(kind, 0.0):
            self._quiet_until_s[kind] = now_s + _WARN_EVERY_S
            self.get_logger().warning(text)


def main(args: list[str] | None = None) -> int:
    """Run the node until it is told to end; returns the exit status."""
    heap.limit_arenas()
    return run(SegmenterNode, args)
