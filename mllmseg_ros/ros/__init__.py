# SPDX-License-Identifier: Apache-2.0
"""The ROS 2 part: the only folder that imports rclpy and messages."""
