# SPDX-License-Identifier: Apache-2.0
"""Service ``segment``: one inference, whose result goes to the caller alone."""

from __future__ import annotations

from rclpy.node import Node

from mllmseg_ros.msg import SegmentationArray
from mllmseg_ros.ros.node.fault_log import FaultLog
from mllmseg_ros.ros.node.private_requests import MAX_PRIVATE_REQUESTS, Delivery
from mllmseg_ros.ros.node.request_router import RequestRouter
from mllmseg_ros.ros.support.async_queue import AsyncQueue
from mllmseg_ros.ros.support.services import offer_service
from mllmseg_ros.srv import Segment

__all__ = ["SegmentService"]

# Calls that wait for the executor: those that are answered at a time, and as many to be refused.
# Not more: each may bring an image.
_DEPTH = 2 * MAX_PRIVATE_REQUESTS


class SegmentService:
    """Replies at any time; while the node is not active, with an error."""

    def __init__(self, node: Node, router: RequestRouter, log: FaultLog) -> None:
        """Offer the service.

        Args:
            node: that offers it.
            router: the way to the cameras.
            log: takes what failed.
        """
        self._router = router
        offer_service(
            node,
            Segment,
            "segment",
            self._segment,
            refuse=_refuse,
            report=log.report_crash,
            depth=_DEPTH,
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


def _refuse(response: Segment.Response, reason: str) -> None:
    response.answer = SegmentationArray(status=SegmentationArray.STATUS_ERROR, text=reason)
