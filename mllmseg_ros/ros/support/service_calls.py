# SPDX-License-Identifier: Apache-2.0
"""Requests to the segmenter's services, with a limit on pending replies."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from rclpy.client import Client
from rclpy.node import Node

from mllmseg_ros.error_text import one_line

__all__ = ["ServiceCalls", "complete"]

MAX_WITHOUT_REPLY = 16
_WARN_EVERY_S = 5.0

_Value = TypeVar("_Value")


class ServiceCalls:
    """Sends requests. Used in the executor's thread only."""

    def __init__(self, node: Node) -> None:
        """Start without requests; problems go to the node's log."""
        self._node = node
        self._waiting: deque[tuple[float, Client, Any]] = deque()  # with the time to give up

    def send(
        self, client: Client, request: Any, timeout_s: float, on_response: Callable[[Any], None]
    ) -> None:
        """Send a request.

        Args:
            client: of the service.
            request: its request message.
            timeout_s: a response that comes later may be discarded, s.
            on_response: called with the response; what it raises is logged.

        Raises:
            ValueError: MAX_WITHOUT_REPLY requests wait already.
        """
        now_s = time.monotonic()
        for each in [each for each in self._waiting if each[2].done() or now_s > each[0]]:
            self._waiting.remove(each)
            _, expired_client, future = each
            if not future.done():
                expired_client.remove_pending_request(future)
        if len(self._waiting) >= MAX_WITHOUT_REPLY:
            raise ValueError(f"the segmenter has not replied to {MAX_WITHOUT_REPLY} requests yet")
        future = client.call_async(request)
        self._waiting.append((now_s + timeout_s, client, future))

        def finish(done: Any) -> None:
            try:
                on_response(done.result())
            except Exception as error:
                self._node.get_logger().warning(
                    f"a reply of {client.srv_name} is ignored: {one_line(error)}",
                    throttle_duration_sec=_WARN_EVERY_S,
                )

        future.add_done_callback(finish)


def complete(reply: Future[_Value], make: Callable[[], _Value]) -> None:
    """Complete a future with the result or the exception of a function; only once."""
    if reply.done():
        return
    try:
        value = make()
    except Exception as error:
        is_expected = isinstance(error, ValueError)
        reply.set_exception(ValueError(one_line(error, with_type=not is_expected)))
    else:
        reply.set_result(value)
