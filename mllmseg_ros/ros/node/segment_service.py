# SPDX-License-Identifier: Apache-2.0
"""Service ``segment``: one inference, whose result goes to the caller alone."""

from __future__ import annotations

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node

from mllmseg_ros.ros.node.private_requests import Delivery
from mllmseg_ros.ros.node.request_router import RequestRouter
from mllmseg_ros.ros.support.async_queue import AsyncQueue
from mllmseg_ros.srv import Segment

__all__ = ["SegmentService"]


class SegmentService:
    """Replies at any time; while the node is not active, with an error."""

    def __init__(self, node: Node, router: RequestRouter) -> None:
        """Offer the service."""
        self._router = router
        # A waiting call must not hold up others, nor any other callback.
        node.create_service(
            Segment, "segment", self._segment, callback_group=ReentrantCallbackGroup()
        )

    async def _segment(
        self, request: Segment.Request, response: Segment.Response
    ) -> Segment.Response:
        queue: AsyncQueue[Delivery] = AsyncQueue(self._router.guard)
        has_image = request.image.width or request.image.height
        self._router.ask(
            request.expressions, request.camera, queue, image=request.image if has_image else None
        )
        response.answer = (await queue.take()).message
        return response
