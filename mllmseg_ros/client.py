# SPDX-License-Identifier: Apache-2.0
"""A client of a running segmenter node, for scripts. Needs ROS 2 and the built workspace."""

from mllmseg_ros.ros.tools.client import Client, describe

__all__ = ["Client", "describe"]
