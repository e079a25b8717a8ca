# SPDX-License-Identifier: Apache-2.0
"""ROS time in nanoseconds."""

from __future__ import annotations

from rclpy.node import Node

__all__ = ["RosClock", "format_age"]


class RosClock:
    """The clock of a node: simulated time where ``use_sim_time`` is set."""

    def __init__(self, node: Node) -> None:
        self._clock = node.get_clock()

    def now_ns(self) -> int:
        """Return the ROS time, ns."""
        return int(self._clock.now().nanoseconds)


def format_age(age_ns: int) -> str:
    """Format an age for people."""
    return f"{age_ns / 1e9:.3f} s old" if age_ns >= 0 else f"{-age_ns / 1e9:.3f} s ahead of time"
