# SPDX-License-Identifier: Apache-2.0
"""The SROS 2 policy allows exactly what a running node uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

pytest.importorskip("mllmseg_ros.msg", reason="needs ROS 2 and the built workspace: make test")

import policy

if TYPE_CHECKING:
    from ros_harness import Client

# Used only in some configurations, or with a certain package or newer ROS 2.
AT_TIMES = {
    "/clock", "/tf", "/tf_static", "/image/compressed", "/depth/image/compressedDepth",
    "/depth/image/compressed", "/image/camera_info", "/depth/image/camera_info",
    "/detections_2d", "/detections_3d", "/label_info", "/mllmseg/get_type_description",
}  # fmt: skip


def test_the_policy_is_what_the_node_needs(client: Client) -> None:
    client.wait(lambda: ("mllmseg", "/") in client.node.get_node_names_and_namespaces())
    client.spin(1.5)
    policy.check(client.node, "mllmseg", AT_TIMES)
