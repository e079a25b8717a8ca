# SPDX-License-Identifier: Apache-2.0
"""Service ``segment``: one look, one answer, to who asked alone."""

from __future__ import annotations

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node

from mllmseg_ros.msg import SegmentationArray
from mllmseg_ros.ros.node.async_queue import Inbox
from mllmseg_ros.ros.node.request_router import Asking
from mllmseg_ros.srv import Segment

__all__ = ["SegmentService"]


class SegmentService:
    """Answers requests at any time; while the node is not active, by an error."""

    def __init__(self, node: Node, asking: Asking) -> None:
        """Offer the service."""
        self._asking = asking
        # A waiting call must not hold up others, nor any other callback.
        node.create_service(
            Segment, "segment", self._segment, callback_group=ReentrantCallbackGroup()
        )

    async def _segment(
        self, request: Segment.Request, response: Segment.Response
    ) -> Segment.Response:
        inbox: Inbox[SegmentationArray] = Inbox(self._asking.wake_executor)

        def deliver(answer: SegmentationArray) -> bool:
            inbox.put(answer)
            return False

        has_image = request.image.width or request.image.height
        refused = self._asking.ask(
            request.expressions, request.camera, deliver, request.image if has_image else None
        )
        response.answer = refused or await inbox.take()
        return response
