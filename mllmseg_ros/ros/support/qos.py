# SPDX-License-Identifier: Apache-2.0
"""Quality of service: overridable policies, and mismatches with other nodes.

Publishers and subscriptions whose policies do not match exchange no messages. The middleware's
event reports only that there is a mismatch; the graph tells with which node, and what would help.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from rclpy.node import Node
from rclpy.qos import (
    DurabilityPolicy,
    QoSCompatibility,
    QoSPolicyKind,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
)
from rclpy.qos_overriding_options import QoSOverridingOptions

__all__ = ["QosWatch", "mismatches", "overridable"]

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import (
        PublisherEventCallbacks,
        SubscriptionEventCallbacks,
    )

_SUSPECTED_S = 5.0  # how long the graph may take to show the mismatch


def overridable() -> QoSOverridingOptions:
    """Return the policies that ``qos_overrides.<topic>.<publisher|subscription>.*`` may set."""
    return QoSOverridingOptions(
        (
            QoSPolicyKind.HISTORY,
            QoSPolicyKind.DEPTH,
            QoSPolicyKind.RELIABILITY,
            QoSPolicyKind.DURABILITY,
        )
    )


class QosWatch:
    """Reports mismatches on the topics of one camera, or of the node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._lock = threading.Lock()
        self._suspects: dict[str, float] = {}  # topic -> monotonic time of the event
        self._logged: set[str] = set()

    def of_subscription(self, topic: str) -> Any:
        """Return event callbacks for a subscription to be created."""
        return SubscriptionEventCallbacks(incompatible_qos=lambda event: self._suspect(topic))

    def of_publisher(self, topic: str) -> Any:
        """Return event callbacks for a publisher to be created."""
        return PublisherEventCallbacks(incompatible_qos=lambda event: self._suspect(topic))

    def check(self) -> list[str]:
        """Describe the current mismatches, one line each with the remedy; new ones are logged."""
        with self._lock:
            suspects = dict(self._suspects)
        found = []
        for topic, at_s in suspects.items():
            lines = mismatches(self._node, topic)
            found += lines
            if not lines and time.monotonic() > at_s + _SUSPECTED_S:
                with self._lock:
                    self._suspects.pop(topic, None)
        for line in found:
            if line not in self._logged:
                self._node.get_logger().warning(f"QoS mismatch: {line}")
        self._logged = set(found)
        return found

    def _suspect(self, topic: str) -> None:
        with self._lock:
            self._suspects[self._node.resolve_topic_name(topic)] = time.monotonic()


def mismatches(node: Node, topic: str) -> list[str]:
    """Describe the mismatches of a node on a topic, one line each with the remedy.

    Args:
        node: node with publishers or subscriptions of the topic.
        topic: fully qualified name.
    """
    publishers = node.get_publishers_info_by_topic(topic)
    subscriptions = node.get_subscriptions_info_by_topic(topic)
    lines = []
    for mine in filter(lambda end: _belongs_to(end, node), subscriptions):
        for other in publishers:
            if _are_incompatible(other.qos_profile, mine.qos_profile):
                lines.append(
                    _describe(
                        topic, _name(other), other.qos_profile, mine.qos_profile, "subscription"
                    )
                )
    for mine in filter(lambda end: _belongs_to(end, node), publishers):
        for other in subscriptions:
            if _are_incompatible(mine.qos_profile, other.qos_profile):
                lines.append(
                    _describe(topic, _name(other), mine.qos_profile, other.qos_profile, "publisher")
                )
    return list(dict.fromkeys(lines))


def _belongs_to(end: Any, node: Node) -> bool:
    return (end.node_name, end.node_namespace) == (node.get_name(), node.get_namespace())


def _name(end: Any) -> str:
    return f"{end.node_namespace.rstrip('/')}/{end.node_name}"


def _are_incompatible(publisher: QoSProfile, subscription: QoSProfile) -> bool:
    return qos_check_compatible(publisher, subscription)[0] == QoSCompatibility.ERROR


def _describe(
    topic: str, other: str, publisher: QoSProfile, subscription: QoSProfile, own_end: str
) -> str:
    """Describe a mismatch and the parameter of this node that would remove it."""
    is_publisher = own_end == "publisher"
    offered, requested, fix = "", "", ""
    if (publisher.reliability, subscription.reliability) == (
        ReliabilityPolicy.BEST_EFFORT,
        ReliabilityPolicy.RELIABLE,
    ):
        offered, requested = "best_effort", "reliable"
        fix = f"reliability:={requested if is_publisher else offered}"
    elif (publisher.durability, subscription.durability) == (
        DurabilityPolicy.VOLATILE,
        DurabilityPolicy.TRANSIENT_LOCAL,
    ):
        offered, requested = "volatile", "transient_local"
        fix = f"durability:={requested if is_publisher else offered}"
    if not fix:
        reason = " ".join(qos_check_compatible(publisher, subscription)[1].split())
        return f"{topic}: {other} and this node cannot exchange messages ({reason})"
    direction = (
        f"{other} requests {requested} and this node offers {offered}: it receives nothing"
        if is_publisher
        else f"{other} offers {offered} and this node requests {requested}: nothing arrives"
    )
    parameter = f"qos_overrides.{topic}.{own_end}.{fix}"
    return f"{topic}: {direction}; start this node with -p {parameter}, or change {other}"
