# SPDX-License-Identifier: Apache-2.0
"""What exists while the node is active: subscriptions to cameras, and the inference thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial

import numpy as np
from numpy.typing import NDArray
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import Image

from mllmseg_ros.ros.node.active_camera import ActiveCamera
from mllmseg_ros.ros.node.camera import Camera
from mllmseg_ros.ros.node.fault_log import FaultLog
from mllmseg_ros.ros.node.inference import InferenceThread
from mllmseg_ros.ros.node.inference_backend import InferenceBackend
from mllmseg_ros.ros.node.inputs import CommandInput
from mllmseg_ros.ros.node.parameters import SegmenterParameters
from mllmseg_ros.ros.node.request_router import RequestRouter
from mllmseg_ros.ros.support.clock import RosClock
from mllmseg_ros.ros.support.parameter_fields import LiveParameters
from mllmseg_ros.ros.support.qos import QosWatch
from mllmseg_ros.ros.support.tf import Transforms

__all__ = ["ActiveSession"]

_CHECK_S = 0.1


class ActiveSession:
    """Begins with the activation and ends with :meth:`close`."""

    def __init__(
        self,
        node: LifecycleNode,
        cameras: Sequence[Camera],
        backend: InferenceBackend,
        *,
        router: RequestRouter,
        rgb_from_image: Callable[[Image], NDArray[np.uint8]],
        transforms: Transforms,
        parameters: LiveParameters[SegmenterParameters],
        clock: RosClock,
        qos: QosWatch,
        log: FaultLog,
    ) -> None:
        """Subscribe to everything and begin to serve; undone where a part of it fails.

        Args:
            node: owner of subscriptions and timers.
            cameras: of the node.
            backend: the model.
            router: brings requests.
            rgb_from_image: one of :mod:`mllmseg_ros.ros.messages.cv_bridge_conversion`.
            transforms: the node's TF.
            parameters: of the node.
            clock: of the node.
            qos: of topics of no camera.
            log: takes what could not be used.

        Raises:
            Exception: as a subscription or TF raises it.
        """
        self._node, self._router, self._transforms = node, router, transforms
        self._slots = [camera.slot for camera in cameras]
        self._n_before = self._count_images()
        wakeup = threading.Event()
        with ExitStack() as undo:
            undo.callback(transforms.stop)
            transforms.start(parameters.now.target_frame)
            self.cameras: list[ActiveCamera] = []
            undo.callback(self._close_cameras, "the node could not be activated")
            for camera in cameras:
                self.cameras.append(
                    ActiveCamera(
                        node,
                        camera,
                        rgb_from_image=rgb_from_image,
                        transforms=transforms,
                        parameters=parameters,
                        clock=clock,
                        inference_wakeup=wakeup,
                        log=log,
                    )
                )
            self._commands: list[CommandInput] = []
            undo.callback(self._close_commands)
            self._subscribe_to_commands(cameras, qos)
            self.inference = InferenceThread(
                self.cameras,
                backend,
                parameters=parameters,
                clock=clock,
                wakeup=wakeup,
                log=log,
            )
            self.inference.start()
            undo.callback(self.inference.stop)
            # Of the steady clock: ROS time may be paused.
            steady = Clock(clock_type=ClockType.STEADY_TIME)
            self._timer = node.create_timer(_CHECK_S, self._check_requests, clock=steady)
            router.open(self.cameras, wakeup)
            undo.pop_all()

    @property
    def topics(self) -> list[str]:
        """Fully qualified names of the topics subscribed to."""
        commands = [command.topic for command in self._commands]
        return commands + [topic for camera in self.cameras for topic in camera.topics]

    @property
    def n_images(self) -> tuple[int, int]:
        """Number of images received, and of those replaced by newer ones, since activation."""
        received, dropped = self._count_images()
        return received - self._n_before[0], dropped - self._n_before[1]

    def close(self, reason: str) -> None:
        """Unsubscribe, end all requests with this reason, and end the threads."""
        self._router.close()
        self._transforms.stop()  # before the threads, which may be waiting for one
        self._node.destroy_timer(self._timer)
        self._close_commands()
        self._close_cameras(reason)
        self.inference.stop()
        for camera in self.cameras:
            camera.end_private_requests(reason)  # of what came during the last inference
            camera.forget_images()

    def restart_clock(self) -> None:
        """Forget what came before ROS time jumped."""
        for camera in self.cameras:
            camera.restart_clock()
        self.inference.reset()

    def request_inference(self) -> None:
        """Run inference again for the commands in force: model or parameters have changed."""
        for camera in self.cameras:
            camera.tracking.request_inference()
        self._router.wake_inference()

    def _count_images(self) -> tuple[int, int]:
        return sum(slot.received for slot in self._slots), sum(slot.dropped for slot in self._slots)

    def _subscribe_to_commands(self, cameras: Sequence[Camera], qos: QosWatch) -> None:
        to_all = partial(self._router.command, cameras=self.cameras)
        self._commands.append(CommandInput(self._node, "command", to_all, qos))
        for camera, active in zip(cameras, self.cameras, strict=True):
            if camera.prefix:
                to_it_alone = partial(self._router.command, cameras=[active])
                topic = f"{camera.prefix}command"
                self._commands.append(CommandInput(self._node, topic, to_it_alone, camera.qos))

    def _close_commands(self) -> None:
        for command in self._commands:
            command.destroy()

    def _close_cameras(self, reason: str) -> None:
        for camera in self.cameras:
            camera.close(reason)

    def _check_requests(self) -> None:
        for camera in self.cameras:
            camera.end_expired_requests()
        if self.inference.is_busy:
            return
        for camera in self.cameras:
            camera.check_stale()
