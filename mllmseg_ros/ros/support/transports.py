# SPDX-License-Identifier: Apache-2.0
"""Names of the topics that carry an image compressed."""

from __future__ import annotations

from rclpy.node import Node

__all__ = ["transport_topic"]


def transport_topic(node: Node, topic: str, transport: str) -> str:
    """Return the fully qualified name of an image topic's transport, ``topic/transport``.

    A remapping of that name itself holds. Otherwise it lies below the name that the image topic is
    remapped to, as in image_transport: ``-r image:=/cam/image_raw`` is enough.

    Args:
        node: whose remappings apply.
        topic: of the raw images, as the node names it.
        transport: "compressed" or "compressedDepth".
    """
    name = f"{topic}/{transport}"
    resolved = str(node.resolve_topic_name(name))
    if resolved != node.resolve_topic_name(name, only_expand=True):
        return resolved
    return f"{node.resolve_topic_name(topic)}/{transport}"
