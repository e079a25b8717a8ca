# SPDX-License-Identifier: Apache-2.0
"""Deprecated: moved to :mod:`mllmseg_ros.ros.support.spin`."""

from mllmseg_ros.deprecation import forward

__getattr__ = forward(__name__, "mllmseg_ros.ros.support.spin")
