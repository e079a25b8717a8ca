# SPDX-License-Identifier: Apache-2.0
"""Send goals that no image can meet, and wait for ever; run as a script, to be killed."""

from __future__ import annotations

import sys

import rclpy
from mllmseg_ros.action import SegmentTarget
from rclpy.action import ActionClient


def main() -> None:
    rclpy.init()
    node = rclpy.create_node("goal_sender")
    client = ActionClient(node, SegmentTarget, "segment_target")
    client.wait_for_server()
    goal = SegmentTarget.Goal(expressions=["the red mug"], min_confidence=1.0, timeout=1e6)
    for _ in range(int(sys.argv[1])):
        rclpy.spin_until_future_complete(node, client.send_goal_async(goal))
    print("goals are accepted", flush=True)
    rclpy.spin(node)


if __name__ == "__main__":
    main()
