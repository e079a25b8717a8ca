# SPDX-License-Identifier: Apache-2.0
"""Services that reply to every call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.qos import QoSProfile

from mllmseg_ros.error_text import one_line

__all__ = ["offer_service"]


def offer_service(
    node: Node,
    kind: type,
    name: str,
    answer: Callable[[Any, Any], Awaitable[Any]],
    *,
    refuse: Callable[[Any, str], None],
    report: Callable[[str, BaseException], None],
    depth: int,
) -> None:
    """Offer a service; calls that wait hold up neither each other nor any other callback.

    Args:
        node: that offers it.
        kind: type of the service.
        name: name of the service.
        answer: fills the response to a request.
        refuse: writes into a response why there is no other one; called where ``answer`` raises.
        report: takes what has failed, and how, where ``answer`` raises.
        depth: number of calls that may wait for the executor; the middleware drops further ones,
            and they get no reply.
    """

    async def call(request: Any, response: Any) -> Any:
        try:
            return await answer(request, response)
        except Exception as error:  # the caller waits for a reply
            report(f"service {name}", error)
            response = kind.Response()  # type: ignore[attr-defined]
            refuse(response, one_line(error))
            return response

    node.create_service(
        kind,
        name,
        call,
        qos_profile=QoSProfile(depth=depth),
        callback_group=ReentrantCallbackGroup(),
    )
