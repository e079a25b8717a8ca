# SPDX-License-Identifier: Apache-2.0
"""Service ``explain``: why the model answers as it does, on the newest image, as a picture.

The look takes its turn in the inference thread like any other; what comes on top of an answer is
computed and drawn in a thread of its own, so that the stream waits for one answer at most. Entry
point: :class:`ExplainService`.
"""

from __future__ import annotations

import array
import threading
from collections.abc import Callable

import cv2
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage

from mllmseg_ros.msg import SegmentationArray
from mllmseg_ros.ros.node.async_queue import Inbox
from mllmseg_ros.ros.node.camera_image import Shot
from mllmseg_ros.ros.node.model_loading import Encoded
from mllmseg_ros.ros.node.request_router import Asking
from mllmseg_ros.srv import Explain


class ExplainService:
    """Answers requests at any time; while the node is not active, by saying so."""

    def __init__(self, node: Node, asking: Asking, report: Callable[[str], None]) -> None:
        """Offer the service.

        Args:
            node: that offers it.
            asking: the way to the cameras.
            report: takes one line about what failed.
        """
        self._asking, self._report = asking, report
        self._at_work = threading.Lock()  # explanations are made one after the other
        self._stopped = False
        node.create_service(
            Explain, "explain", self._explain, callback_group=ReentrantCallbackGroup()
        )

    async def _explain(
        self, request: Explain.Request, response: Explain.Response
    ) -> Explain.Response:
        inbox: Inbox[Explain.Response] = Inbox(self._asking.wake_executor)

        def deliver(answer: SegmentationArray, looked: tuple[Shot, Encoded] | None = None) -> bool:
            if looked is None:
                inbox.put(Explain.Response(text=answer.text))
                return False
            work = (inbox, answer, *looked)
            threading.Thread(target=self._work, args=work, name="explain", daemon=True).start()
            return False

        refused = self._asking.ask_why(request.expression, request.camera, deliver)
        if refused is None:
            return await inbox.take()
        response.text = refused.text
        return response

    def stop(self) -> None:
        """Finish what is at work; nothing is answered after that."""
        with self._at_work:
            self._stopped = True

    def _work(
        self,
        inbox: Inbox[Explain.Response],
        answer: SegmentationArray,
        shot: Shot,
        encoded: Encoded,
    ) -> None:
        with self._at_work:
            if not self._stopped:
                inbox.put(self._made(answer, shot, encoded))

    def _made(self, answer: SegmentationArray, shot: Shot, encoded: Encoded) -> Explain.Response:
        """Explain and draw; a failure becomes an answer."""
        from mllmseg_ros.explain.explanation import explain
        from mllmseg_ros.explain.panel import draw_explanation, reason

        try:
            expression = answer.segmentations[0].expression
            explanation = explain(encoded.model.segmenter, encoded.context, expression)
            panel = draw_explanation(shot.frame().rgb, explanation)
            _, png = cv2.imencode(".png", cv2.cvtColor(panel, cv2.COLOR_RGB2BGR))
        except Exception as error:  # whatever a model raises, the asker is told
            line = " ".join(f"{type(error).__name__}: {error}".split())
            self._report(f"explanation failed: {line}")
            return Explain.Response(text=line)
        picture = CompressedImage(header=shot.header, format="rgb8; png compressed bgr8")
        picture.data = array.array("B", png.tobytes())
        text = f"{answer.text}. {reason(explanation)}"
        return Explain.Response(success=True, text=text, panel=picture)
