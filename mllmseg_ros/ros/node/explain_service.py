# SPDX-License-Identifier: Apache-2.0
"""Service ``explain``: why the model decides as it does, on the newest image, as an image.

The inference takes its turn in the inference thread like any other; the explanation itself is
computed and drawn in another thread, so that other results wait for one inference at most.
"""

from __future__ import annotations

import array
import threading

import cv2
from rclpy.callback_groups import ReentrantCallbackGroup
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
from mllmseg_ros.srv import Explain

__all__ = ["ExplainService"]


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
        self._working = threading.Lock()  # explanations are made one after the other
        self._stopped = False
        node.create_service(
            Explain, "explain", self._explain, callback_group=ReentrantCallbackGroup()
        )

    async def _explain(
        self, request: Explain.Request, response: Explain.Response
    ) -> Explain.Response:
        queue: AsyncQueue[Delivery] = AsyncQueue(self._router.guard)
        self._router.ask(
            [request.expression], request.camera, queue, on_present_image=True, is_single=True
        )
        delivery = await queue.take()
        if delivery.inference is None or delivery.inference.encoded is None:
            response.text = delivery.message.text
            return response
        explained: AsyncQueue[Explain.Response] = AsyncQueue(self._router.guard)
        inference = delivery.inference
        work = (explained, delivery.message, inference.image, inference.encoded)
        threading.Thread(target=self._work, args=work, name="explain", daemon=True).start()
        return await explained.take()

    def stop(self) -> None:
        """Finish the explanation at work; there is no reply after that."""
        with self._working:
            self._stopped = True

    def _work(
        self,
        explained: AsyncQueue[Explain.Response],
        message: SegmentationArray,
        image: CameraImage,
        encoded: EncodedImage,
    ) -> None:
        with self._working:
            if not self._stopped:
                explained.put(self._draw(message, image, encoded))

    def _draw(
        self, message: SegmentationArray, image: CameraImage, encoded: EncodedImage
    ) -> Explain.Response:
        """Explain and draw; a failure becomes a reply."""
        from mllmseg_ros.explain.explanation import explain
        from mllmseg_ros.explain.panel import describe_decision, draw_explanation

        try:
            expression = message.segmentations[0].expression
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
