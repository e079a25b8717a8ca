# SPDX-License-Identifier: Apache-2.0
"""Requests of services and actions: their results go to the caller alone."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from mllmseg_ros.msg import SegmentationArray
from mllmseg_ros.ros.node.camera_image import CameraImage
from mllmseg_ros.ros.node.outage import Outage
from mllmseg_ros.ros.node.parameters import MAX_REQUEST_S
from mllmseg_ros.ros.node.request import Request
from mllmseg_ros.ros.node.result import InferenceResult
from mllmseg_ros.ros.support.async_queue import AsyncQueue

__all__ = ["MAX_PRIVATE_REQUESTS", "Delivery", "PrivateRequest", "PrivateRequests"]

# Of one camera at a time; as many of actions, so that goals leave room for calls.
MAX_PRIVATE_REQUESTS = 16


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """What a caller gets."""

    message: SegmentationArray
    inference: InferenceResult | None = None  # behind it; None where there was none


class PrivateRequest:
    """A request of one caller.

    Attributes:
        request: neither a stop nor refused.
        queue: takes a :class:`Delivery` per image.
        image: to segment; None for the newest one.
        repeats: every further image is wanted too, until the caller withdraws the request.
        after_ns: ROS time from which on images count.
        last_number: number of the image that it last had a result on.
        ends_s: monotonic time at which it ends without a further result.
        outage: reports that no image comes.
    """

    def __init__(
        self,
        request: Request,
        queue: AsyncQueue[Delivery] | AsyncQueue[Delivery | None],
        *,
        image: CameraImage | None = None,
        repeats: bool = False,
        on_present_image: bool = False,
        life_s: float = MAX_REQUEST_S,
    ) -> None:
        """Set up.

        Args:
            request: neither a stop nor refused.
            queue: of the caller.
            image: message that came with the request.
            repeats: see the attribute.
            on_present_image: the newest image counts even if it was taken before the request.
            life_s: how long it may take, s of real time.
        """
        self.request, self.queue, self.image = request, queue, image
        self.repeats = repeats
        self.after_ns = 0 if on_present_image else request.stamp_ns
        self.last_number = 0
        self.outage = Outage(request.stamp_ns)
        self.ends_s = time.monotonic() + life_s


class PrivateRequests:
    """The private requests of one camera. All methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: list[PrivateRequest] = []

    @property
    def pending(self) -> tuple[PrivateRequest, ...]:
        """Those not yet done, in the order received."""
        with self._lock:
            return tuple(self._requests)

    def add(self, request: PrivateRequest) -> None:
        """Take a request in.

        Raises:
            ValueError: if there are too many of its kind already.
        """
        with self._lock:
            alike = [each for each in self._requests if each.repeats == request.repeats]
            if len(alike) >= MAX_PRIVATE_REQUESTS:
                kind = "goals" if request.repeats else "requests"
                raise ValueError(
                    f"{MAX_PRIVATE_REQUESTS} {kind} are in progress, accepted are "
                    f"{MAX_PRIVATE_REQUESTS} at a time"
                )
            self._requests.append(request)

    def remove(self, request: PrivateRequest) -> bool:
        """Take a request out; False if another thread has."""
        with self._lock:
            there = request in self._requests
            if there:
                self._requests.remove(request)
            return there

    def find_stale(self, now_ns: int, limit_ns: int) -> list[PrivateRequest]:
        """Those that have waited for an image for ``limit_ns``, each once per outage."""
        with self._lock:
            return [
                each
                for each in self._requests
                if each.image is None and each.outage.report_once(now_ns, limit_ns)
            ]

    def find_expired(self, now_s: float) -> list[PrivateRequest]:
        """Those whose time is over at this monotonic time, whatever ROS time says."""
        with self._lock:
            return [each for each in self._requests if now_s >= each.ends_s]

    def restart_clock(self, now_ns: int) -> None:
        """Count waiting times from now on, because ROS time has jumped."""
        with self._lock:
            for each in self._requests:
                each.after_ns = now_ns
                each.outage.end(now_ns)
