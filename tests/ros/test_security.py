# SPDX-License-Identifier: Apache-2.0
"""The policy allows what a running node does, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

pytest.importorskip("mllmseg_ros.msg", reason="needs ROS 2 and the built workspace: make test")

from policy import allowed

if TYPE_CHECKING:
    from ros_harness import Client
# Made only where they are needed, or only where a package or a newer ROS 2 is there.
AT_TIMES = {
    "/clock", "/tf", "/tf_static", "/image/compressed", "/depth/image/compressedDepth",
    "/detections_2d", "/detections_3d", "/label_info", "/mllmseg/get_type_description",
}  # fmt: skip


def test_the_policy_is_what_the_node_needs(client: Client) -> None:
    node = client.node
    client.wait(lambda: ("mllmseg", "/") in node.get_node_names_and_namespaces())
    client.spin(1.5)
    found = {
        ("topics", "publish"): node.get_publisher_names_and_types_by_node("mllmseg", "/"),
        ("topics", "subscribe"): node.get_subscriber_names_and_types_by_node("mllmseg", "/"),
        ("services", "reply"): node.get_service_names_and_types_by_node("mllmseg", "/"),
    }
    for (kind, right), entries in found.items():
        names = {name for name, _ in entries if "/_action/" not in name}
        names -= {"/parameter_events"} if right == "subscribe" else set()  # its own clock's
        assert names - allowed("mllmseg", kind, right) == set(), f"{right}: not allowed"
        assert allowed("mllmseg", kind, right) - names - AT_TIMES == set(), f"{right}: not needed"
    actions = {
        name.partition("/_action/")[0]
        for name, _ in found["services", "reply"]
        if "/_action/" in name
    }
    assert actions == allowed("mllmseg", "actions", "execute")
