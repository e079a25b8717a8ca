# SPDX-License-Identifier: Apache-2.0
"""Service ``explain``: why the model decides as it does, on the newest image, as an image.

The inference takes its turn in the inference thread like any other; the explanation itself is
computed and drawn in another thread, so that other results wait for one inference at most.
"""

from __future__ import annotations

import array
import threading
from collections import deque
from dataclasses import dataclass

import cv2
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage

from mllmseg_ros.error_text import one_line
from mllmseg_ros.msg import SegmentationArray
from mllmseg_ros.ros.node.camera_image import CameraImage
from mllmseg_ros.ros.node.fault_log import FaultLog
from mllmseg_ros.ros.node.inference_backend import EncodedImage
from mllmseg_ros.ros.node.private_requests import Delivery
from mllmseg_ros.ros.node.request_router import RequestRouter
from mllmseg_ros.ros.support.async_queue import AsyncQueue
from mllmseg_ros.ros.support.panics import panics_are_errors
from mllmseg_ros.ros.support.services import offer_service
from mllmseg_ros.ros.support.worker_thread import WorkerThread
from mllmseg_ros.srv import Explain

__all__ = ["ExplainService"]

_MAX_CALLS = 8  # at work or waiting; further ones are refused at once
_DEPTH = 1000  # calls that wait for the executor, to be refused at least; each has a few bytes


@dataclass(frozen=True, kw_only=True)
class _Work:
    """What is to be explained."""

    message: SegmentationArray  # the result
    image: CameraImage
    encoded: EncodedImage
    explained: AsyncQueue[Explain.Response]  # takes the reply


class ExplainService:
    """Replies at any time; while the node is not active, by saying so."""

    def __init__(self, node: Node, router: RequestRouter, log: FaultLog) -> None:
        """Offer the service.

        Args:
            node: that offers it.
            router: the way to the cameras.
            log: takes what failed.
        """
        self._router, self._log = router, log
        self._n_calls = 0  # changed by the executor alone
        self._stopped = False
        self._work: deque[_Work] = deque()  # the first is at work, until it has its reply
        self._wakeup = threading.Event()
        self._thread = WorkerThread("explain", self._run, log.report_crash)
        self._thread.start()
        offer_service(
            node,
            Explain,
            "explain",
            self._reply,
            refuse=lambda response, reason: setattr(response, "text", reason),
            report=log.report_crash,
            depth=_DEPTH,
        )

    async def _reply(
        self, request: Explain.Request, response: Explain.Response
    ) -> Explain.Response:
        if self._n_calls >= _MAX_CALLS:
            response.text = (
                f"{_MAX_CALLS} explanations are in progress, accepted are {_MAX_CALLS} at "
                "a time; ask again later"
            )
            return response
        self._n_calls += 1
        try:
            return await self._explain(request, response)
        finally:
            self._n_calls -= 1

    async def _explain(
        self, request: Explain.Request, response: Explain.Response
    ) -> Explain.Response:
        delivered: AsyncQueue[Delivery] = AsyncQueue(self._router.guard)
        self._router.ask(
            [request.expression], request.camera, delivered, on_present_image=True, is_single=True
        )
        delivery = await delivered.take()
        inference = delivery.inference
        if inference is None or inference.encoded is None:
            response.text = delivery.message.text
            return response
        explained: AsyncQueue[Explain.Response] = AsyncQueue(self._router.guard)
        self._work.append(
            _Work(
                message=delivery.message,
                image=inference.image,
                encoded=inference.encoded,
                explained=explained,
            )
        )
        self._wakeup.set()
        return await explained.take()

    def stop(self) -> None:
        """Finish the explanation at work; there is no reply after that."""
        self._stopped = True
        self._wakeup.set()
        self._thread.join()

    def _run(self) -> None:
        """Make one explanation after the other."""
        while not self._stopped:
            while self._work and not self._stopped:
                self._finish(self._work[0])
                self._work.popleft()
            self._wakeup.wait()
            self._wakeup.clear()

    def _finish(self, work: _Work) -> None:
        reply = Explain.Response(text="the explanation was interrupted; ask again")
        try:
            reply = self._draw(work.message, work.image, work.encoded)
        finally:
            work.explained.put(reply)

    def _draw(
        self, message: SegmentationArray, image: CameraImage, encoded: EncodedImage
    ) -> Explain.Response:
        """Explain and draw; a failure becomes a reply."""
        from mllmseg_ros.explain.explanation import explain
        from mllmseg_ros.explain.panel import describe_decision, draw_explanation

        try:
            expression = message.segmentations[0].expression
            with panics_are_errors():
                explanation = explain(encoded.model.segmenter, encoded.context, expression)
            panel = draw_explanation(image.frame().rgb, explanation)
            _, png = cv2.imencode(".png", cv2.cvtColor(panel, cv2.COLOR_RGB2BGR))
        except Exception as error:  # a model may raise anything, and the caller gets a reply
            line = one_line(error)
            self._log.report(f"explanation failed: {line}")
            return Explain.Response(text=line)
        image_message = CompressedImage(header=image.header, format="rgb8; png compressed bgr8")
        image_message.data = array.array("B", png.tobytes())
        text = f"{message.text}. {describe_decision(explanation)}"
        return Explain.Response(success=True, text=text, panel=image_message)
