# SPDX-License-Identifier: Apache-2.0
"""The lifecycle node ``mllmseg``: images and commands in, masks and positions out.

Configure loads the model, activate begins an
:class:`~mllmseg_ros.ros.node.active_session.ActiveSession`, deactivate ends it, cleanup frees the
model.
"""

from __future__ import annotations

from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType, JumpThreshold
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter

from mllmseg_ros.error_text import one_line
from mllmseg_ros.ros.messages.cv_bridge_conversion import choose_rgb_conversion
from mllmseg_ros.ros.messages.point_cloud import choose_cloud_builder
from mllmseg_ros.ros.node.active_session import ActiveSession
from mllmseg_ros.ros.node.camera import Camera
from mllmseg_ros.ros.node.diagnostics import Diagnostics, ModelReading, Thresholds, model_status
from mllmseg_ros.ros.node.explain_service import ExplainService
from mllmseg_ros.ros.node.fault_log import FaultLog
from mllmseg_ros.ros.node.inference_backend import InferenceBackend, LoadedModel
from mllmseg_ros.ros.node.metrics import ModelMetrics
from mllmseg_ros.ros.node.model_loading import check_model, load_model, model_choice
from mllmseg_ros.ros.node.model_memory import free_memory
from mllmseg_ros.ros.node.parameters import SegmenterParameters
from mllmseg_ros.ros.node.request_router import RequestRouter
from mllmseg_ros.ros.node.segment_service import SegmentService
from mllmseg_ros.ros.node.segment_target_action import SegmentTargetAction
from mllmseg_ros.ros.support import heap, parameter_fields, systemd
from mllmseg_ros.ros.support.background_loader import BackgroundLoader
from mllmseg_ros.ros.support.clock import RosClock
from mllmseg_ros.ros.support.lost_ports import LostPorts
from mllmseg_ros.ros.support.parameter_fields import LiveParameters
from mllmseg_ros.ros.support.qos import QosWatch
from mllmseg_ros.ros.support.services import offer_service
from mllmseg_ros.ros.support.spin import run, signalled
from mllmseg_ros.ros.support.tf import Transforms
from mllmseg_ros.srv import SetExpressions

__all__ = ["SegmenterNode", "main"]

_SET_EXPRESSIONS_DEPTH = 100  # as of its results


class SegmenterNode(LifecycleNode):
    """Segments the targets of commands on the newest images until a stop."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("mllmseg", **kwargs)
        self._live = LiveParameters(parameter_fields.declare(self, SegmenterParameters))
        self._rgb_from_image, conversion = choose_rgb_conversion()
        cloud_from_points, clouds = choose_cloud_builder()
        self.get_logger().info(f"{conversion}; {clouds}")
        self._metrics, self._ros_clock = ModelMetrics(), RosClock(self)
        self._log = FaultLog(self.get_logger(), self._metrics)
        self._qos = QosWatch(self)
        self._lost_ports = LostPorts()
        self._transforms = Transforms(self, self._log.report)
        self._cameras = [Camera(self, name, cloud_from_points) for name in self._live.now.cameras]
        self._backend: InferenceBackend | None = None  # from configure to cleanup
        self._session: ActiveSession | None = None  # from activate to deactivate
        self._loading: SegmenterParameters | None = None  # at configure
        self._load_failure = ""  # of the newest load
        self._loader = BackgroundLoader(load_model, self._on_loaded, self.report_crash)
        self._router = RequestRouter(
            self, parameters=self._live, clock=self._ros_clock, log=self._log
        )
        self._segment_service = SegmentService(self, self._router, self._log)
        self._explain_service = ExplainService(self, self._router, self._log)
        self._segment_target = SegmentTargetAction(self, self._router, self._live, self._log)
        offer_service(
            self,
            SetExpressions,
            "set_expressions",
            self._set_expressions,
            refuse=lambda response, reason: setattr(response, "message", reason),
            report=self.report_crash,
            depth=_SET_EXPRESSIONS_DEPTH,
        )
        self.add_on_set_parameters_callback(self._on_parameters)
        self._jump = self.get_clock().create_jump_callback(
            JumpThreshold(
                min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=True
            ),
            post_callback=self._on_time_jump,
        )
        self._diagnostics = Diagnostics(self, self._statuses, self._log)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(heap.TRIM_PERIOD_S, heap.trim, clock=steady)
        try:
            if not self._live.now.autostart:
                systemd.notify("READY=1")  # as far as it gets by itself
            elif self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
                self.trigger_activate()
        except BaseException:  # a signal, while the model was being loaded
            self._stop_threads()
            raise

    def report_crash(self, what: str, error: BaseException) -> None:
        """Log what interrupted a thread or a callback; the diagnostics say ERROR."""
        self._log.report_crash(what, error)

    # Lifecycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model and run it once."""
        self._loading, self._load_failure = self._live.now, ""
        try:
            model = load_model(self._live.now, signalled)
            self._backend = InferenceBackend(model, self._live, self._metrics)
        except Exception as error:  # whatever a broken installation raises, the node stays
            self._load_failure = self._report_failure("configure", error)
        finally:
            self._loading = None
        if self._load_failure:
            free_memory()  # of what was loaded before it failed
            return TransitionCallbackReturn.FAILURE
        self._log_model(model)
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and begin to publish."""
        if self._backend is None:
            self._report_failure("activate", ValueError("there is no model; configure first"))
            return TransitionCallbackReturn.FAILURE
        result = super().on_activate(state)
        try:
            session = ActiveSession(
                self,
                self._cameras,
                self._backend,
                router=self._router,
                rgb_from_image=self._rgb_from_image,
                transforms=self._transforms,
                parameters=self._live,
                clock=self._ros_clock,
                qos=self._qos,
                log=self._log,
            )
        except Exception as error:
            self._report_failure("activate", error)
            super().on_deactivate(state)
            return TransitionCallbackReturn.FAILURE
        self._session = session
        self.get_logger().info(f"listening on {', '.join(session.topics)}")
        systemd.notify("READY=1")
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe; the request in force ends."""
        self._close_session()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the model."""
        self._free_model()
        return super().on_cleanup(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and free the model, so that the node can be configured again."""
        return self.on_shutdown(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and free the model, from any state."""
        self._close_session()
        self._free_model()
        return super().on_shutdown(state)

    def stop(self) -> None:
        """End all requests and threads before the process ends, in whatever state."""
        self._close_session()
        self._stop_threads()

    def _stop_threads(self) -> None:
        self._explain_service.stop()
        self._diagnostics.stop()
        self._loader.stop()

    def _close_session(self) -> None:
        session, self._session = self._session, None
        if session is None:
            return
        session.close("the node was deactivated")
        received, dropped = session.n_images
        self.get_logger().info(
            f"stopped after {received} images, {session.inference.n_results} inferences, "
            f"{dropped} images replaced by newer ones"
        )

    def _free_model(self) -> None:
        self._loader.cancel()
        self._backend, self._load_failure = None, ""
        free_memory()

    def _log_model(self, model: LoadedModel) -> None:
        segmenter = model.segmenter
        self.get_logger().info(
            f"model {segmenter.name} ready in {model.load_s:.1f} s on {segmenter.device}, "
            + ", ".join(
                filter(None, [str(segmenter.dtype), segmenter.quantization, segmenter.path])
            )
        )
        for problem in filter(None, (segmenter.load_warning, segmenter.compile_problem)):
            self.get_logger().warning(problem)
        if segmenter.synthetic_only:
            self.get_logger().warning(
                f"model {segmenter.name} was trained on simulated scenes only: use it only to try "
                "the package; set parameter model to a published checkpoint for real images"
            )

    def _report_failure(self, what: str, error: Exception) -> str:
        """Log in one line why something failed, and return that line."""
        reason = one_line(error, with_type=not isinstance(error, ValueError))
        line = f"cannot {what}: {reason}"
        self.get_logger().error(line)
        self._metrics.failed(line)
        return line

    # Requests and parameters

    async def _set_expressions(
        self, call: SetExpressions.Request, response: SetExpressions.Response
    ) -> SetExpressions.Response:
        request, refusal = self._router.set_expressions(call.expressions, call.camera)
        response.request_id, response.success = request.request_id, not refusal
        response.message = refusal or request.description
        return response

    def _on_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        backend = self._backend
        try:
            parameters = parameter_fields.changed(
                self._live.now, changes, configured=backend is not None
            )
            if backend is not None:
                self._load_if_changed(backend.model, parameters)
        except Exception as error:  # a value may lead to whatever file and name there is
            reason = one_line(error, with_type=not isinstance(error, ValueError))
            return SetParametersResult(successful=False, reason=reason)
        self._live.now = parameters
        if backend is not None:
            backend.apply_parameters()
        if self._session is not None:
            self._session.request_inference()
        return SetParametersResult(successful=True)

    def _load_if_changed(self, model: LoadedModel, parameters: SegmenterParameters) -> None:
        """Begin to load the model that the parameters name, if it is not the current one.

        Raises:
            ValueError: if it cannot be loaded, as far as that can be known at once.
        """
        wanted = model_choice(parameters)
        if wanted == model_choice(self._loader.wanted or model.parameters):
            return
        if wanted == model_choice(model.parameters):
            self._loader.cancel()
            return
        check_model(parameters)
        self.get_logger().info(f"loading model {parameters.model or '(embedded)'}")
        self._loader.begin(parameters)

    def _on_loaded(self, parameters: SegmenterParameters, loaded: LoadedModel | Exception) -> None:
        """Wake the executor; called from the loading thread."""
        executor = self.executor
        if executor is not None:
            executor.create_task(self._replace_model, parameters, loaded)

    def _replace_model(
        self, parameters: SegmenterParameters, loaded: LoadedModel | Exception
    ) -> None:
        backend = self._backend
        if backend is None or model_choice(parameters) != model_choice(self._live.now):
            return  # cleaned up, or yet another model was requested
        if isinstance(loaded, Exception):
            what = "replace the model, the current one stays in use"
            self._load_failure = self._report_failure(what, loaded)
            # The parameters name the model that is in use.
            kept = model_choice(backend.model.parameters)
            self.set_parameters([Parameter(name, value=value) for name, value in kept.items()])
            return
        self._load_failure = ""
        backend.replace(loaded)
        self._log_model(loaded)
        if self._session is not None:
            self._session.request_inference()
            self._session.inference.invalidate_encoding()

    def _on_time_jump(self, jump: object) -> None:
        self.get_logger().info("ROS time jumped: earlier images and depth images are discarded")
        self._transforms.clear()
        if self._session is not None:
            self._session.restart_clock()

    # Diagnostics

    def _statuses(self) -> list[DiagnosticStatus]:
        """Statuses for ``/diagnostics``; called from its thread."""
        session, backend = self._session, self._backend
        if session is None:
            systemd.notify("WATCHDOG=1")  # in a session the inference thread does that
        segmenter = backend.model.segmenter if backend else None
        coming = self._loading or self._loader.wanted
        reading = ModelReading(
            state="active" if session else "inactive" if backend else "unconfigured",
            name=segmenter.name if segmenter else "",
            device=str(segmenter.device) if segmenter else "",
            dtype=str(segmenter.dtype).removeprefix("torch.") if segmenter else "",
            path=segmenter.path if segmenter else "",
            quantization=segmenter.quantization if segmenter else "",
            load_warning=segmenter.load_warning if segmenter else "",
            loading=(coming.model or "the embedded model") if coming else "",
            failure=self._load_failure,
            metrics=self._metrics,
            mismatches=self._qos.check(),
            lost_ports=self._lost_ports.find(),
        )
        name, limits = self.get_fully_qualified_name().lstrip("/"), Thresholds()
        statuses = [model_status(f"{name}: model", reading, limits)]
        if session is not None:
            return statuses + [camera.status(name, limits) for camera in session.cameras]
        period_s = self._live.now.period_s
        return statuses + [
            camera.status(
                name,
                is_active=False,
                has_request=False,
                period_s=period_s,
                problem="",
                limits=limits,
            )
            for camera in self._cameras
        ]


def main(args: list[str] | None = None) -> int:
    """Run the node until it is asked to stop; returns the exit status."""
    heap.limit_arenas()
    return run(SegmenterNode, args)
