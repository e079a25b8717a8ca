# SPDX-License-Identifier: Apache-2.0
"""Deprecated: moved to :mod:`mllmseg_ros.ros.messages.image_msgs`."""

from mllmseg_ros.deprecation import forward

__getattr__ = forward(__name__, "mllmseg_ros.ros.messages.image_msgs")
