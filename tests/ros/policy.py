# SPDX-License-Identifier: Apache-2.0
"""Compare the SROS 2 policy with the graph of a running node."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from rclpy.node import Node

POLICY = Path(__file__).resolve().parents[2] / "config" / "mllmseg.policy.xml"


def allowed(name: str, kind: str, right: str) -> set[str]:
    """Return the fully qualified names that the policy allows a node."""
    profiles = ElementTree.parse(POLICY).getroot().iter("profile")
    (profile,) = (each for each in profiles if each.get("node") == name)
    names = {
        (entry.text or "").replace("~", f"/{name}")
        for group in profile
        if group.tag == kind and group.get(right) == "ALLOW"
        for entry in group
    }
    return {entry if entry.startswith("/") else f"/{entry}" for entry in names}


def check(watcher: Node, name: str, at_times: set[str]) -> None:
    """Assert that the policy allows exactly what a running node uses.

    Args:
        watcher: sees the graph.
        name: of the node.
        at_times: names used only in some configurations, or with a certain package or newer ROS 2.
    """
    found = {
        ("topics", "publish"): watcher.get_publisher_names_and_types_by_node(name, "/"),
        ("topics", "subscribe"): watcher.get_subscriber_names_and_types_by_node(name, "/"),
        ("services", "request"): watcher.get_client_names_and_types_by_node(name, "/"),
        ("services", "reply"): watcher.get_service_names_and_types_by_node(name, "/"),
    }
    for (kind, right), entries in found.items():
        names = {topic for topic, _ in entries if "/_action/" not in topic}
        names -= {"/parameter_events"} if right == "subscribe" else set()  # its own clock's
        assert names - allowed(name, kind, right) == set(), f"{right}: not allowed"
        assert allowed(name, kind, right) - names - at_times == set(), f"{right}: not needed"
    actions = {
        service.partition("/_action/")[0]
        for service, _ in found["services", "reply"]
        if "/_action/" in service
    }
    assert actions == allowed(name, "actions", "execute")
