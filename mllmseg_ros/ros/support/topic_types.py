# SPDX-License-Identifier: Apache-2.0
"""Find publishers whose message type is not the one that a subscription expects.

The middleware drops such messages silently.
"""

from __future__ import annotations

from collections.abc import Sequence

from rclpy.node import Node

__all__ = ["describe_wrong_types", "type_name"]

_COMPRESSED = "sensor_msgs/msg/CompressedImage"


def type_name(message_type: type) -> str:
    """Name of a message type, such as ``sensor_msgs/msg/Image``."""
    package, kind, *_ = message_type.__module__.split(".")
    return f"{package}/{kind}/{message_type.__name__}"


def describe_wrong_types(node: Node, topic: str, message_type: type) -> Sequence[str]:
    """Describe the publishers of another type, one line each with the remedy.

    Args:
        node: any node.
        topic: fully qualified name.
        message_type: the type expected.
    """
    expected = type_name(message_type)
    lines = []
    for publisher in node.get_publishers_info_by_topic(topic):
        if publisher.topic_type == expected:
            continue
        sender = f"{publisher.node_namespace.rstrip('/')}/{publisher.node_name}"
        line = f"{topic} is {publisher.topic_type} from {sender}, expected {expected}"
        base, _, transport = topic.rpartition("/")
        if publisher.topic_type == _COMPRESSED and transport.startswith("compressed"):
            line += f"; remap to {base}, the node adds /{transport}"
        lines.append(line)
    return list(dict.fromkeys(lines))
